//! The rules that files must hold to, beyond the shape of each value: names, subjects, contradictions, circles.
//!
//! What is an error here the server would refuse, or cannot be what its author meant; each rule names its source.

mod buckets;
mod consumers;
mod names;
mod queues;
mod sources;
mod streams;
mod subjects;
mod topology;
mod transforms;

use serde_json::{Map, Value};

use crate::desired::{Desired, DesiredConsumer, Places};
use crate::document::{Document, Node};
use crate::finding::{Finding, Rule};
use crate::nearest::nearest;
use crate::normalize::{ServerFacts, normalize_consumer};
use crate::settings::Settings;
use crate::version::Version;

/// Checks what is asked for as a whole. Findings come unsorted.
pub fn desired(desired: &Desired, version: &Version, found: &mut Vec<Finding>) {
    for stream in &desired.streams {
        names::stream(stream, found);
        subjects::stream(stream, version, found);
        streams::contradictions(stream, version, found);
        sources::stream(stream, desired, version, found);
        transforms::stream(stream, version, found);
        queues::stream(stream, desired, version, found);
        if stream.bucket.is_some() {
            buckets::bucket(stream, found);
        }
    }
    names::twice(desired, found);
    subjects::overlaps(desired, found);
    topology::circles(desired, found);
    let nothing = Map::new();
    for consumer in &desired.consumers {
        names::consumer(consumer, found);
        let stream = desired.stream(&consumer.stream);
        if stream.is_none() {
            unknown_stream(consumer, desired, found);
        }
        let config = stream.map_or(&nothing, |stream| &stream.config);
        let full = normalize_consumer(&consumer.config, config, &ServerFacts::of(version.clone()));
        consumers::contradictions(consumer, &full, config, version, found);
        subjects::filters(consumer, stream, version, found);
    }
}

/// Checks that the settings name what there is.
pub fn settings(settings: &Settings, desired: &Desired, found: &mut Vec<Finding>) {
    for (pointer, place) in settings.targets() {
        let parts: Vec<&str> = pointer.split('/').skip(1).collect();
        let known = match parts.as_slice() {
            ["streams", name] => desired.stream(name).is_some(),
            ["kv", name] => desired.stream(&format!("{}{name}", crate::bucket::KV_PREFIX)).is_some(),
            ["objects", name] => desired.stream(&format!("{}{name}", crate::bucket::OBJECT_PREFIX)).is_some(),
            ["consumers", stream, name] => desired.consumer(stream, name).is_some(),
            _ => true,
        };
        if !known {
            let named = parts.get(1..).unwrap_or_default().join("/");
            let finding =
                Finding::warning(Rule::UnknownTarget, place.clone(), format!("no file declares {named:?}"))
                    .label("not declared");
            found.push(
                match nearest(
                    parts.last().unwrap_or(&""),
                    desired.streams.iter().map(crate::desired::DesiredStream::label),
                ) {
                    Some(near) => finding.help(format!("did you mean {near:?}?")),
                    None => finding.help("declare it, or remove this"),
                },
            );
        }
    }
}

/// The old `"deliver_subject": "pull"`, which is no pull consumer today but a push consumer that delivers to the subject `pull`
/// (natscli issue 68): reported, and sent as it stands.
pub(crate) fn legacy_pull(
    config: &mut Map<String, Value>,
    places: &Places,
    document: &Document,
    node: &Node,
    found: &mut Vec<Finding>,
) {
    let is_old = config
        .get("deliver_subject")
        .and_then(Value::as_str)
        .is_some_and(|subject| subject.eq_ignore_ascii_case("pull"));
    if !is_old {
        return;
    }
    let line = node.entry("deliver_subject").map(|entry| {
        let text = document.source.text();
        let (from, to) = (entry.key_range.start, entry.value.range.end);
        text.get(from..to).unwrap_or_default().to_owned()
    });
    let line = line.unwrap_or_else(|| "\"deliver_subject\": \"pull\"".to_owned());
    found.push(
        Finding::warning(
            Rule::LegacyPull,
            places.value("/deliver_subject"),
            "this makes a push consumer that delivers to the subject \"pull\", not a pull consumer",
        )
        .label("an old way to ask for a pull consumer")
        .help(format!("remove `{line}`: a consumer without a deliver_subject is a pull consumer")),
    );
}

fn unknown_stream(consumer: &DesiredConsumer, desired: &Desired, found: &mut Vec<Finding>) {
    let DesiredConsumer { stream, name, places, .. } = consumer;
    let finding = Finding::error(
        Rule::UnknownStream,
        places.file(),
        format!("consumer {name:?} is of stream {stream:?}, which no file declares"),
    );
    found.push(match nearest(stream, desired.streams.iter().map(|stream| stream.name.as_str())) {
        Some(near) => finding.help(format!("did you mean the folder consumers/{near}/?")),
        None => finding.help(format!("declare it in streams/{stream}.json")),
    });
}

/// A contradiction at a field, in the server's words.
fn contradiction(places: &Places, field: &str, message: impl Into<String>) -> Finding {
    Finding::error(Rule::Contradiction, places.key(&format!("/{field}")), message)
        .label("contradicts another field")
        .help(format!(
            "remove {:?}, or change what it contradicts",
            field.rsplit('/').next().unwrap_or(field)
        ))
}
