//! Mirrors and sources: `checkStreamCfg`, server/stream.go.

use serde_json::Value;

use super::transforms;
use crate::desired::{Desired, DesiredStream};
use crate::fields::TAKERS_INACTIVE_NS;
use crate::finding::{Finding, Rule};
use crate::subject::{collide, is_literal, is_subset, is_valid, is_valid_name};
use crate::version::{Release, Version};

/// `JSApiPrefix`, server/jetstream_api.go.
const API: &str = "$JS.API";

pub(super) fn stream(stream: &DesiredStream, desired: &Desired, version: &Version, found: &mut Vec<Finding>) {
    let mirror = stream.config.get("mirror").map(|mirror| ("/mirror".to_owned(), mirror));
    let sources = stream.config.get("sources").and_then(Value::as_array).into_iter().flatten();
    let sources = sources.enumerate().map(|(index, source)| (format!("/sources/{index}"), source));
    let all: Vec<Origin<'_>> = mirror
        .into_iter()
        .chain(sources)
        .map(|(pointer, config)| Origin {
            stream,
            pointer,
            config,
            mirror: stream.config.contains_key("mirror"),
        })
        .collect();
    let mut seen = Vec::new();
    let mut consumers = Vec::new();
    for origin in &all {
        origin.own_rules(found);
        origin.transforms(version, found);
        origin.external(desired, &all, found);
        origin.sizes(desired, found);
        origin.limits(desired, found);
        if seen.contains(&origin.identity()) {
            found.push(
                Finding::error(Rule::Contradiction, origin.place(""), "the same source is listed twice")
                    .label("again here")
                    .help("remove one of the two, or give each a filter of its own"),
            );
        }
        seen.push(origin.identity());
        if let Some(consumer) = origin.config.get("consumer") {
            let name = (origin.text("name").to_owned(), origin.api(), consumer.get("name").cloned());
            if consumers.contains(&name) {
                let message = "two sources of one stream need a consumer each";
                found.push(
                    Finding::error(Rule::Contradiction, origin.place("/consumer"), message)
                        .label("used by another source")
                        .help("give each source a consumer of its own"),
                );
            }
            consumers.push(name);
        }
    }
}

/// The name, the other account or domain, the consumer, and what is taken as what.
type Identity = (String, Option<Value>, Option<Value>, Vec<(String, String)>);

struct Origin<'a> {
    stream: &'a DesiredStream,
    pointer: String,
    config: &'a Value,
    mirror: bool,
}

impl Origin<'_> {
    fn place(&self, below: &str) -> crate::failure::Place {
        self.stream.places.value(&format!("{}{below}", self.pointer))
    }

    fn text(&self, key: &str) -> &str {
        self.config.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn api(&self) -> Option<Value> {
        self.config.get("external").map(|external| external.get("api").cloned().unwrap_or_default())
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        let pairs = self.config.get("subject_transforms").and_then(Value::as_array).into_iter().flatten();
        pairs
            .map(|pair| {
                let end = |key: &str| pair.get(key).and_then(Value::as_str).unwrap_or_default();
                (end("src"), end("dest"))
            })
            .collect()
    }

    /// What makes two sources one: `composeIName`.
    fn identity(&self) -> Identity {
        let or_all = |text: &str| if text.is_empty() { ">".to_owned() } else { text.to_owned() };
        let pairs = self.pairs();
        let subjects = if pairs.is_empty() {
            vec![(or_all(self.text("filter_subject")), ">".to_owned())]
        } else {
            pairs.iter().map(|(src, dest)| (or_all(src), or_all(dest))).collect()
        };
        let consumer =
            self.config.get("consumer").map(|consumer| consumer.get("name").cloned().unwrap_or_default());
        (self.text("name").to_owned(), self.api(), consumer, subjects)
    }

    /// A server takes these files, and copies nothing: the consumer by which it takes from the origin acknowledges nothing and
    /// idles for ten seconds (`sourceHealthCheckInterval`, server/stream.go), and the origin's limits refuse it (10082, 10153).
    fn limits(&self, desired: &Desired, found: &mut Vec<Finding>) {
        let here = self.config.get("external").is_none() && self.config.get("consumer").is_none();
        let origin = desired.stream(self.text("name")).filter(|_| here);
        let Some(limits) = origin.and_then(|origin| origin.config.get("consumer_limits")) else { return };
        let limit = |key: &str| limits.get(key).and_then(Value::as_i64).unwrap_or(0);
        let (name, own) = (self.text("name"), &self.stream.name);
        let mut refuse = |wrong: bool, why: &str, help: &str| {
            if wrong {
                let message =
                    format!("{own:?} takes from {name:?} by a consumer that {why}: nothing would be copied");
                found.push(
                    Finding::error(Rule::Contradiction, self.place(""), message)
                        .label("is refused there")
                        .help(help),
                );
            }
        };
        refuse(
            limit("max_ack_pending") > 0,
            "acknowledges nothing, which its \"consumer_limits\" do not allow (\"max_ack_pending\", 10082)",
            "set \"max_ack_pending\" in each consumer of that stream instead",
        );
        refuse(
            (1..TAKERS_INACTIVE_NS).contains(&limit("inactive_threshold")),
            "idles for ten seconds, longer than its \"consumer_limits\" allow (\"inactive_threshold\", 10153)",
            "set the \"inactive_threshold\" of the limits to 10s or more",
        );
    }

    fn own_rules(&self, found: &mut Vec<Finding>) {
        let elsewhere = self.config.get("external").is_some();
        let named = is_valid_name(self.text("name")) || (self.mirror && elsewhere);
        if !named {
            found.push(
                Finding::error(
                    Rule::InvalidName,
                    self.place(""),
                    "a mirror or source needs the name of a stream",
                )
                .label("no valid name")
                .help("write \"name\": \"<STREAM>\""),
            );
        }
        let filter = self.text("filter_subject");
        let filters = !filter.is_empty();
        if filters && !self.pairs().is_empty() {
            let message = "a mirror or source has either \"filter_subject\" or \"subject_transforms\"";
            found.push(
                Finding::error(Rule::Contradiction, self.place(""), message)
                    .label("has both")
                    .help("remove \"filter_subject\": the \"src\" of a transform filters, too"),
            );
        }
        if filters && !is_valid(filter) {
            let message = format!("{filter:?} is not a subject");
            found.push(
                Finding::error(Rule::InvalidSubject, self.place("/filter_subject"), message)
                    .label("not a subject")
                    .help(super::subjects::SUBJECT_HELP),
            );
        }
        let Some(consumer) = self.config.get("consumer") else { return };
        let text = |key: &str| consumer.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut refuse = |wrong: bool, message: &str| {
            if wrong {
                found.push(
                    Finding::error(Rule::Contradiction, self.place("/consumer"), message)
                        .label("contradicts the mirror or source")
                        .help("such as \"consumer\": {\"name\": \"COPY\", \"deliver_subject\": \"copy.to\"}, and nothing else beside it"),
                );
            }
        };
        refuse(!is_valid_name(text("name")), "the consumer of a mirror or source needs a name");
        let target = text("deliver_subject");
        refuse(
            !(is_valid(target) && is_literal(target)),
            "the consumer of a mirror or source delivers to one subject without wildcards",
        );
        let starts = self.config.get("opt_start_seq").is_some_and(|seq| seq != 0)
            || self.config.get("opt_start_time").is_some();
        refuse(
            starts,
            "the consumer says where to start: no \"opt_start_seq\" and no \"opt_start_time\" beside it",
        );
        refuse(filters, "the consumer says what to filter: no \"filter_subject\" beside it");
    }

    fn transforms(&self, version: &Version, found: &mut Vec<Finding>) {
        let pairs = self.pairs();
        for (index, (src, dest)) in pairs.iter().enumerate() {
            let below = format!("/subject_transforms/{index}");
            transforms::pair(&self.place(&below), src, dest, version, found);
            if src.is_empty() && !version.has(Release(2, 11, 0)) {
                let message = "before nats-server 2.11 a transform needs a \"src\"";
                found.push(
                    Finding::error(Rule::InvalidSubject, self.place(&below), message)
                        .label("no source")
                        .help("write \"src\": \">\" for everything"),
                );
            }
            // The server asks this of a mirror and that of a source.
            let overlaps =
                |other: &str| if self.mirror { collide(src, other) } else { is_subset(src, other) };
            if pairs.iter().enumerate().any(|(other, (src, _))| other != index && overlaps(src)) {
                found.push(
                    Finding::error(
                        Rule::FilterOverlap,
                        self.place(&below),
                        format!("{src:?} is taken by another transform, too"),
                    )
                    .label("overlaps")
                    .help("let each transform take subjects of its own"),
                );
            }
        }
    }

    /// Prefixes by which another account or domain is reached.
    fn external(&self, desired: &Desired, all: &[Origin<'_>], found: &mut Vec<Finding>) {
        let Some(external) = self.config.get("external") else { return };
        let text = |key: &str| external.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut refuse = |key: &str, message: String| {
            let place = self.place(&format!("/external/{key}"));
            found.push(
                Finding::error(Rule::InvalidSubject, place, message)
                    .label("not a prefix for this")
                    .help("such as \"api\": \"$JS.hub.API\", \"deliver\": \"from.hub\""),
            );
        };
        for key in ["api", "deliver"] {
            let prefix = text(key);
            let legal = is_valid(prefix) && is_literal(prefix);
            if !(prefix.is_empty() || legal) {
                refuse(key, format!("{prefix:?} is not a subject without wildcards"));
            }
        }
        if collide(text("api"), API) {
            refuse("api", format!("{API:?} is this account's own API"));
        }
        let deliver = text("deliver");
        let near = all.iter().filter(|origin| origin.config.get("external").is_none());
        for subject in
            near.filter_map(|origin| desired.stream(origin.text("name"))).flat_map(super::subjects::of)
        {
            if !deliver.is_empty() && collide(subject, &format!("{deliver}.{subject}")) {
                refuse("deliver", format!("{deliver:?} overlaps with {subject:?} of another origin"));
            }
        }
    }

    /// A copy must hold what its origin holds.
    fn sizes(&self, desired: &Desired, found: &mut Vec<Finding>) {
        let size = |stream: &DesiredStream| {
            stream.config.get("max_msg_size").and_then(Value::as_i64).filter(|size| *size > 0)
        };
        let near = self.config.get("external").is_none();
        let origin = desired.stream(self.text("name")).filter(|_| near).and_then(size);
        if let (Some(own), Some(origin)) = (size(self.stream), origin)
            && own < origin
        {
            let message = format!(
                "\"max_msg_size\" is {own}, and {:?} has messages of up to {origin} bytes",
                self.text("name")
            );
            found.push(
                Finding::error(Rule::Contradiction, self.stream.places.value("/max_msg_size"), message)
                    .label("too small for its origin")
                    .help(format!("raise it to {origin}, or remove it")),
            );
        }
    }
}
