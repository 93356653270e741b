//! Subjects of streams, and filters of consumers.

use serde_json::Value;

use crate::desired::{Desired, DesiredConsumer, DesiredStream};
use crate::finding::{Finding, Rule};
use crate::subject::{collide, is_literal, is_subset, is_valid};
use crate::version::{Release, Version};

/// `checkStreamCfg`, server/stream.go.
pub(super) fn stream(stream: &DesiredStream, version: &Version, found: &mut Vec<Finding>) {
    let subjects = of(stream);
    let config = &stream.config;
    let no_ack = config.get("no_ack") == Some(&Value::Bool(true));
    let replicas = config.get("num_replicas").and_then(Value::as_i64).unwrap_or(1);
    for (index, subject) in subjects.iter().enumerate() {
        let pointer = format!("/subjects/{index}");
        let mut report = |rule, message: String, label: &str, help: &str| {
            found.push(Finding::error(rule, stream.places.value(&pointer), message).label(label).help(help));
        };
        if !is_valid(subject) {
            report(
                Rule::InvalidSubject,
                format!("{subject:?} is not a subject"),
                "not a subject",
                SUBJECT_HELP,
            );
            continue;
        }
        for other in subjects.iter().skip(index + 1) {
            if collide(subject, other) {
                report(
                    Rule::SubjectOverlap,
                    format!("{subject:?} overlaps with {other:?} in the same stream"),
                    "overlaps",
                    "keep the wider of the two",
                );
            }
        }
        if *subject == ">" && !(no_ack && replicas <= 1) {
            report(
                Rule::Contradiction,
                "capturing all subjects requires \"no_ack\": true, and one replica".to_owned(),
                "captures the answers of JetStream itself",
                "list the subjects that are meant",
            );
        } else if !no_ack && is_of_the_server(subject, version) {
            report(
                Rule::Contradiction,
                format!(
                    "{subject:?} overlaps with the server's own subjects, which requires \"no_ack\": true"
                ),
                "overlaps with the server's own subjects",
                "list the subjects that are meant",
            );
        }
    }
}

/// Until 2.10.28 and 2.11.2 only what lies wholly in the server's own space was refused.
fn is_of_the_server(subject: &str, version: &Version) -> bool {
    let wide = version.has(Release(2, 11, 2))
        || (version.has(Release(2, 10, 28)) && !version.has(Release(2, 11, 0)));
    let meets = if wide { collide } else { is_subset };
    let api: &[&str] = if wide { &["$JS.>", "$JSC.>", "$NRG.>"] } else { &["$JS.>", "$JSC.>"] };
    (api.iter().any(|space| meets(subject, space)) && !is_subset(subject, "$JS.EVENT.>"))
        || (meets(subject, "$SYS.>") && !is_subset(subject, "$SYS.ACCOUNT.>"))
}

pub(super) const SUBJECT_HELP: &str = "tokens stand between dots; * is one token, > the rest; no blanks";

/// Error 10065: two streams of one account may not store the same message.
pub(super) fn overlaps(desired: &Desired, found: &mut Vec<Finding>) {
    let all: Vec<(&DesiredStream, Vec<&str>)> =
        desired.streams.iter().map(|stream| (stream, of(stream))).collect();
    for (index, (stream, subjects)) in all.iter().enumerate() {
        for (other, others) in all.iter().take(index).filter(|(other, _)| other.name != stream.name) {
            for (at, subject) in subjects.iter().enumerate() {
                if let Some(theirs) = others
                    .iter()
                    .find(|theirs| is_valid(subject) && is_valid(theirs) && collide(subject, theirs))
                {
                    let place = stream.places.value(&format!("/subjects/{at}"));
                    let message = format!("{subject:?} overlaps with {theirs:?} of stream {:?}", other.name);
                    found.push(
                        Finding::error(Rule::SubjectOverlap, place, message)
                            .label("another stream stores this")
                            .help(format!(
                                "a message can be stored by one stream only; see {}",
                                other.places.file().file.display()
                            )),
                    );
                }
            }
        }
    }
}

/// `checkConsumerCfg`, server/consumer.go. A filter outside the stream's subjects is taken by the server from 2.10 on, and never
/// matches anything.
pub(super) fn filters(
    consumer: &DesiredConsumer,
    stream: Option<&DesiredStream>,
    version: &Version,
    found: &mut Vec<Finding>,
) {
    let config = &consumer.config;
    // From 2.10.14 until 2.12.5 filters that meet were refused, too.
    let overlaps = if version.has(Release(2, 12, 5)) { is_subset } else { collide };
    let one = config.get("filter_subject").and_then(Value::as_str).filter(|filter| !filter.is_empty());
    let many: Vec<&str> = config
        .get("filter_subjects")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if one.is_some() && !many.is_empty() {
        found.push(
            super::contradiction(
                &consumer.places,
                "filter_subjects",
                "a consumer has either \"filter_subject\" or \"filter_subjects\"",
            )
            .help("put all filters into \"filter_subjects\""),
        );
    }
    let listed =
        many.iter().enumerate().map(|(index, filter)| (*filter, format!("/filter_subjects/{index}")));
    let filters: Vec<(&str, String)> =
        one.map(|filter| (filter, "/filter_subject".to_owned())).into_iter().chain(listed).collect();
    for (index, (filter, pointer)) in filters.iter().enumerate() {
        let place = consumer.places.value(pointer);
        if !is_valid(filter) {
            found.push(
                Finding::error(Rule::InvalidSubject, place, format!("{filter:?} is not a subject"))
                    .label("not a subject")
                    .help(SUBJECT_HELP),
            );
            continue;
        }
        let others =
            filters.iter().enumerate().filter(|(other, (text, _))| *other != index && is_valid(text));
        if let Some((_, (other, _))) = others.into_iter().find(|(_, (other, _))| overlaps(filter, other)) {
            let message = format!("filter {filter:?} overlaps with {other:?}");
            found.push(
                Finding::error(Rule::FilterOverlap, place.clone(), message)
                    .label("overlaps")
                    .help("keep the wider of the two"),
            );
        }
        // What a mirror or a stream with sources holds is not said by its own subjects.
        let Some(stream) = stream
            .filter(|stream| !stream.config.contains_key("mirror") && !stream.config.contains_key("sources"))
        else {
            continue;
        };
        // A transform stores messages under other subjects than they came with.
        if stream.config.contains_key("subject_transform") {
            continue;
        }
        let subjects = of(stream);
        if !subjects.iter().any(|subject| collide(subject, filter)) {
            found.push(
                Finding::error(
                    Rule::FilterOutside,
                    place,
                    format!("filter {filter:?} is outside the subjects of stream {:?}", stream.name),
                )
                .label("matches nothing")
                .help(format!("the stream has {}", subjects.join(", "))),
            );
        }
    }
}

/// The subjects of a stream as the server takes them: its name where it has none.
pub(super) fn of(stream: &DesiredStream) -> Vec<&str> {
    let listed: Vec<&str> = stream
        .config
        .get("subjects")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let elsewhere = stream.config.contains_key("mirror")
        || stream.config.get("sources").is_some_and(|sources| sources != &Value::Array(vec![]));
    if listed.is_empty() && !elsewhere { vec![&stream.name] } else { listed }
}

/// A deliver subject may have no wildcard and may not lead back into the stream (`deliveryFormsCycle`).
pub(super) fn delivers_into(stream: &[&str], deliver: &str) -> Option<String> {
    stream.iter().find(|subject| is_subset(deliver, subject)).map(|subject| (*subject).to_owned())
}

/// Whether a deliver subject is one.
pub(super) fn is_target(deliver: &str) -> bool {
    is_valid(deliver) && is_literal(deliver)
}
