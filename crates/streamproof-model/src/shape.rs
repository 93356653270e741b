//! A value against the shape of its field: keys, types, ranges, units; and the value as it is sent.

use serde_json::{Map, Value};

use crate::document::{Data, Entry, Node, Source};
use crate::duration;
use crate::failure::Place;
use crate::fields::{Change, Field, Shape, find};
use crate::finding::{Finding, Rule};
use crate::moment;
use crate::nearest::nearest;
use crate::version::Version;

/// Reads the object of some fields. What is wrong becomes findings; what is right is returned as it is sent: durations in
/// nanoseconds, `null` (which says nothing) left out, unknown keys left out.
pub(crate) fn read(
    source: &Source,
    node: &Node,
    fields: &[Field],
    version: &Version,
    found: &mut Vec<Finding>,
) -> Map<String, Value> {
    Reader { source, version, found }.object(node, fields)
}

const NEWER: &str = "remove it, or set a newer `version` in streamproof.toml";

/// So many keys can be listed in a line or two.
const FEW: usize = 20;

struct Reader<'a> {
    source: &'a Source,
    version: &'a Version,
    found: &'a mut Vec<Finding>,
}

impl Reader<'_> {
    fn object(&mut self, node: &Node, fields: &[Field]) -> Map<String, Value> {
        let mut map = Map::new();
        for entry in node.entries() {
            let Some(field) = find(fields, &entry.key) else {
                self.unknown_key(entry, fields);
                continue;
            };
            if matches!(entry.value.data, Data::Null) || !self.may_stand(entry, field) {
                continue;
            }
            if let Some(value) = self.value(field, &entry.value) {
                map.insert(entry.key.clone(), value);
            }
        }
        map
    }

    fn unknown_key(&mut self, entry: &Entry, fields: &[Field]) {
        let finding = Finding::error(
            Rule::UnknownKey,
            self.place(&entry.key_range),
            format!("unknown key {:?}", entry.key),
        );
        let finding = finding.label("no such field");
        let known = || fields.iter().filter(|field| field.until.is_none()).map(|field| field.name);
        let help = match nearest(&entry.key, known()) {
            Some(name) => format!("a key with a similar name exists: {name:?}"),
            None if known().count() <= FEW => {
                format!("remove it; known here are {}", known().collect::<Vec<_>>().join(", "))
            }
            None => {
                "remove it, or see how the field is called: nats-server knows none of this name".to_owned()
            }
        };
        self.found.push(finding.help(help));
    }

    /// Whether the field may stand in a file for this server; what may not is reported.
    fn may_stand(&mut self, entry: &Entry, field: &Field) -> bool {
        let place = self.place(&entry.key_range);
        let version = self.version;
        let empty = match &entry.value.data {
            Data::Text(text) => text.is_empty(),
            Data::Flag(flag) => !flag,
            _ => false,
        };
        let internal = field.changes.iter().any(|(_, change)| *change == Change::Internal);
        if internal && empty {
            if let Some(until) = field.until {
                self.found.push(
                    Finding::warning(
                        Rule::RemovedKey,
                        place,
                        format!("{:?} is gone from nats-server {until}", field.name),
                    )
                    .label("left out when it is sent")
                    .help("remove this line"),
                );
            }
            return false;
        }
        let finding = if field.until.is_some_and(|until| version.has(until)) {
            Finding::error(
                Rule::RemovedKey,
                place,
                format!("nats-server {version} has no {:?} any more", field.name),
            )
            .label("refused by this server")
        } else if internal {
            Finding::error(
                Rule::InternalKey,
                place,
                format!("only nats-server itself may set {:?}", field.name),
            )
            .label("not for files")
        } else if !version.has(field.since) {
            let message =
                format!("{:?} needs nats-server {}, this project has {version}", field.name, field.since);
            let finding =
                Finding::error(Rule::TooNew, place, message).label(format!("since {}", field.since));
            self.found.push(finding.help(NEWER));
            return false;
        } else {
            return true;
        };
        self.found.push(finding.help("remove this line"));
        false
    }

    fn value(&mut self, field: &Field, node: &Node) -> Option<Value> {
        let wrong = |reader: &mut Self, wanted: &str| reader.wrong_type(field.name, node, wanted);
        match field.shape {
            Shape::Text | Shape::Subject => match &node.data {
                Data::Text(text) => Some(text.clone().into()),
                _ => wrong(self, "a string"),
            },
            Shape::Flag => match &node.data {
                Data::Flag(flag) => Some((*flag).into()),
                _ => wrong(self, "true or false"),
            },
            Shape::Count { min, max } => self.integer(field.name, node, min, max),
            Shape::Bytes { max } => self.integer(field.name, node, -1, max),
            Shape::Duration => self.duration(field.name, node),
            Shape::Time => match node.text() {
                // Go's zero time: `nats consumer info --json` shows it for a consumer that is not paused.
                Some("0001-01-01T00:00:00Z") => None,
                Some(text) if moment::nanoseconds(text).is_some() => Some(text.into()),
                _ => wrong(self, "a time such as \"2026-01-31T12:00:00Z\""),
            },
            Shape::Percent => match node.text() {
                Some(text) => {
                    let digits = text.strip_suffix('%').unwrap_or(text);
                    if text.is_empty() || digits.parse::<u32>().is_ok() {
                        Some(text.into())
                    } else {
                        wrong(self, "a rate such as \"100%\"")
                    }
                }
                None => wrong(self, "a rate such as \"100%\""),
            },
            Shape::Choice(choices) => self.choice(field.name, node, choices),
            Shape::Durations => self
                .list(field, node, "a list of durations", |reader, item| reader.duration(field.name, item)),
            Shape::Texts | Shape::Subjects => {
                self.list(field, node, "a list of strings", |reader, item| match item.text() {
                    Some(text) => Some(text.into()),
                    None => reader.wrong_type(field.name, item, "a string"),
                })
            }
            Shape::Objects(fields) => {
                self.list(field, node, "a list of objects", |reader, item| match &item.data {
                    Data::Object(_) => Some(Value::Object(reader.object(item, fields))),
                    _ => reader.wrong_type(field.name, item, "an object"),
                })
            }
            Shape::Object(fields) => match &node.data {
                Data::Object(_) => Some(Value::Object(self.object(node, fields))),
                _ => wrong(self, "an object"),
            },
            Shape::Any => Some(node.to_value()),
            Shape::Labels => match &node.data {
                Data::Object(entries) => Some(Value::Object(self.labels(field.name, entries))),
                _ => wrong(self, "an object of strings"),
            },
        }
    }

    fn labels(&mut self, name: &str, entries: &[Entry]) -> Map<String, Value> {
        let mut map = Map::new();
        for entry in entries {
            match &entry.value.data {
                Data::Text(text) => {
                    map.insert(entry.key.clone(), text.clone().into());
                }
                _ => {
                    self.wrong_type(&format!("{name}.{}", entry.key), &entry.value, "a string");
                }
            }
        }
        // The server's own; documents that it gave may carry them.
        map.retain(|key, _| !key.starts_with(crate::normalize::SERVER_METADATA));
        map
    }

    fn list(
        &mut self,
        field: &Field,
        node: &Node,
        wanted: &str,
        mut item: impl FnMut(&mut Self, &Node) -> Option<Value>,
    ) -> Option<Value> {
        match &node.data {
            Data::List(items) => Some(items.iter().filter_map(|node| item(self, node)).collect()),
            _ => self.wrong_type(field.name, node, wanted),
        }
    }

    fn integer(&mut self, name: &str, node: &Node, min: i64, max: u64) -> Option<Value> {
        let Data::Number(raw) = &node.data else {
            return self.wrong_type(name, node, "a whole number");
        };
        // Go reads no fraction and no exponent into an integer.
        let digits = raw.strip_prefix('-').unwrap_or(raw);
        let number = match whole(raw) {
            Some(number) => number,
            // More digits than any number has that we can hold.
            None if digits.bytes().all(|byte| byte.is_ascii_digit()) && raw.starts_with('-') => i128::MIN,
            None if digits.bytes().all(|byte| byte.is_ascii_digit()) => i128::MAX,
            None => return self.wrong_type(name, node, "a whole number"),
        };
        // Of the limits the server reads anything below -1 as -1 (2.12), or takes it as it is; it never is what was meant.
        if number < i128::from(min) || number > i128::from(max) {
            let message = format!("{name:?} is {}, and must be from {min} to {max}", shortened(raw));
            let bound = if number < i128::from(min) { i128::from(min) } else { i128::from(max) };
            let help = match (min, number < 0) {
                (-1, true) => "write -1 for no limit".to_owned(),
                _ => format!("the nearest that is allowed: {bound}"),
            };
            self.found.push(
                Finding::error(Rule::OutOfRange, self.place(&node.range), message)
                    .label("out of range")
                    .help(help),
            );
            return None;
        }
        serde_json::from_str(raw).ok()
    }

    fn choice(
        &mut self,
        name: &str,
        node: &Node,
        choices: &[(&'static str, crate::version::Release)],
    ) -> Option<Value> {
        let Some(text) = node.text() else {
            return self.wrong_type(name, node, "a string");
        };
        let place = self.place(&node.range);
        let words = || choices.iter().map(|(word, _)| *word);
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, since)) if !self.version.has(*since) => {
                let message = format!(
                    "{name:?} cannot be {text:?} before nats-server {since}, this project has {}",
                    self.version
                );
                let finding = Finding::error(Rule::TooNew, place, message).label(format!("since {since}"));
                self.found.push(finding.help(NEWER));
                None
            }
            Some((word, _)) => Some((*word).into()),
            None => {
                let all: Vec<String> = words().map(|word| format!("{word:?}")).collect();
                let finding =
                    Finding::error(Rule::UnknownValue, place, format!("{name:?} cannot be {text:?}"));
                let help = match nearest(text, words()) {
                    Some(word) => format!("did you mean {word:?}? It is one of {}", all.join(", ")),
                    None => format!("it is one of {}", all.join(", ")),
                };
                self.found.push(finding.label("none of the values").help(help));
                None
            }
        }
    }

    fn duration(&mut self, name: &str, node: &Node) -> Option<Value> {
        let place = self.place(&node.range);
        match &node.data {
            Data::Text(text) => {
                let nanos = duration::parse(text);
                if nanos.is_none() {
                    self.found.push(
                        Finding::error(Rule::Unit, place, format!("{name:?} is {text:?}, which is no duration"))
                            .label("not a duration")
                            .help("write it as \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"7d\", or as a whole number of nanoseconds"),
                    );
                }
                nanos.map(Value::from)
            }
            Data::Number(raw) => {
                let number = self.integer(name, node, i64::MIN, i64::MAX as u64)?;
                if number.as_i64().is_some_and(|nanos| nanos < 0) {
                    let message = format!("{name:?} is {raw}: a duration cannot be negative");
                    let finding = Finding::error(Rule::OutOfRange, place, message).label("negative");
                    self.found.push(finding.help("write 0 for none"));
                    return None;
                }
                self.suspect_unit(name, number.as_u64().unwrap_or(0), place);
                Some(number)
            }
            _ => self.wrong_type(name, node, "a duration (nanoseconds, or a text such as \"30s\")"),
        }
    }

    /// Nanoseconds are what nobody expects: small numbers were meant as seconds or milliseconds.
    fn suspect_unit(&mut self, name: &str, nanos: u64, place: Place) {
        /// Nothing in JetStream is waited for in less than a millisecond.
        const SHORTEST_NS: u64 = 1_000_000;
        let seconds = duration::format(nanos.saturating_mul(1_000_000_000));
        let millis = duration::format(nanos.saturating_mul(1_000_000));
        let help = if nanos == 0 || nanos >= 60_000_000_000 {
            return;
        } else if nanos < SHORTEST_NS && nanos.is_multiple_of(1_000) {
            format!("if milliseconds were meant, write {millis:?}; if seconds, {seconds:?}")
        } else if nanos < SHORTEST_NS {
            format!("if seconds were meant, write {seconds:?}; if milliseconds, {millis:?}")
        } else if !nanos.is_multiple_of(10_000_000) && nanos.is_multiple_of(60_000) {
            // An odd number of nanoseconds that is a whole number of minutes in milliseconds: 604800000 is 7 days.
            format!(
                "if milliseconds were meant, write {millis:?}; if not, {:?} says it without doubt",
                duration::format(nanos)
            )
        } else {
            return;
        };
        let message =
            format!("{name:?} is in nanoseconds, and {nanos} of them are {}", duration::format(nanos));
        self.found
            .push(Finding::warning(Rule::Unit, place, message).label(duration::format(nanos)).help(help));
    }

    fn wrong_type(&mut self, name: &str, node: &Node, wanted: &str) -> Option<Value> {
        let is = match &node.data {
            Data::Number(raw) => shortened(raw),
            Data::Flag(flag) => flag.to_string(),
            _ => node.kind().to_owned(),
        };
        let message = format!("{name:?} must be {wanted}, and is {is}");
        let finding = Finding::error(Rule::WrongType, self.place(&node.range), message)
            .label(format!("{wanted} is wanted"));
        let bare = node.text().filter(|text| whole(text).is_some() || matches!(*text, "true" | "false"));
        self.found.push(match (bare, &node.data) {
            (Some(bare), _) => finding.help(format!("write {bare} without the quotes")),
            (None, Data::Number(raw)) if wanted == "a string" => {
                finding.help(format!("write {raw:?} with quotes"))
            }
            (None, Data::Number(raw)) => {
                let number =
                    raw.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && number.abs() < 9e15);
                match number {
                    Some(number) if wanted == "a whole number" => finding.help(format!("write {number:.0}")),
                    Some(number) if wanted == "true or false" => {
                        finding.help(format!("write {}", number != 0.0))
                    }
                    _ => finding.help(format!("write {wanted} instead")),
                }
            }
            (None, Data::Text(_)) if wanted.starts_with("a list") => {
                finding.help("put it in brackets: [\"…\"]")
            }
            (None, Data::Object(_)) if wanted == "a list of objects" => {
                finding.help("put it in brackets: [{ … }]")
            }
            _ => finding.help(format!("write {wanted} instead, or remove it")),
        });
        None
    }

    fn place(&self, range: &std::ops::Range<usize>) -> Place {
        self.source.place(range.clone())
    }
}

/// A number as it was typed, or its beginning.
fn shortened(raw: &str) -> String {
    const LONGEST: usize = 24;
    if raw.len() <= LONGEST { raw.to_owned() } else { format!("{}…", &raw[..LONGEST]) }
}

/// A whole number as JSON and Go write it; 40 digits are beyond any of the server's types.
fn whole(raw: &str) -> Option<i128> {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    if digits.is_empty() || digits.len() > 38 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    raw.parse().ok()
}
