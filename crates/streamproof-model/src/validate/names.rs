//! Names of streams, buckets and consumers.

use std::collections::HashMap;

use crate::bucket;
use crate::desired::{Desired, DesiredConsumer, DesiredStream, Kind};
use crate::finding::{Finding, Rule};
use crate::subject::is_valid_name;

/// `JSMaxNameLen`, server/jetstream_api.go.
const LONGEST: usize = 255;

/// `checkStreamCfg`, server/stream.go; ADR-8 and ADR-20 for buckets.
pub(super) fn stream(stream: &DesiredStream, found: &mut Vec<Finding>) {
    let place = stream.places.value("/name");
    match &stream.bucket {
        Some(name) if !bucket::is_valid_name(name) => {
            found.push(
                Finding::error(Rule::InvalidName, place, format!("{name:?} cannot be the name of a bucket"))
                    .label("letters, digits, - and _ only")
                    .help(another(name, bucket::is_valid_name)),
            );
        }
        None if !is_valid_name(&stream.name) => {
            found.push(
                Finding::error(
                    Rule::InvalidName,
                    place,
                    format!("{:?} cannot be the name of a stream", stream.name),
                )
                .label("no blanks, and none of . * > \\ /")
                .help(another(&stream.name, is_valid_name)),
            );
        }
        _ if stream.name.len() > LONGEST => {
            found.push(
                Finding::error(Rule::InvalidName, place, format!("a name has at most {LONGEST} bytes"))
                    .label("too long")
                    .help(format!("shorten it: it has {}", stream.name.len())),
            );
        }
        _ => {}
    }
    let prefixes = [(bucket::KV_PREFIX, "kv"), (bucket::OBJECT_PREFIX, "objects")];
    if let Some((prefix, folder)) =
        prefixes.iter().find(|(prefix, _)| stream.kind == Kind::Stream && stream.name.starts_with(prefix))
    {
        let name = stream.name.trim_start_matches(prefix);
        found.push(
            Finding::warning(
                Rule::InvalidName,
                stream.places.value("/name"),
                format!("streams named {prefix}… belong to buckets"),
            )
            .label("the clients take it for a bucket")
            .help(format!("declare it as {folder}/{name}.json, or give it another name")),
        );
    }
}

/// `checkConsumerCfg` and `addConsumerWithAssignment`, server/consumer.go.
pub(super) fn consumer(consumer: &DesiredConsumer, found: &mut Vec<Finding>) {
    let text = |key: &str| consumer.config.get(key).and_then(serde_json::Value::as_str);
    let place = consumer.places.value(if text("durable_name").is_some() { "/durable_name" } else { "/name" });
    if !is_valid_name(&consumer.name) {
        found.push(
            Finding::error(
                Rule::InvalidName,
                place.clone(),
                format!("{:?} cannot be the name of a consumer", consumer.name),
            )
            .label("no blanks, and none of . * > \\ /")
            .help(another(&consumer.name, is_valid_name)),
        );
    } else if consumer.name.len() > LONGEST {
        found.push(
            Finding::error(Rule::InvalidName, place.clone(), format!("a name has at most {LONGEST} bytes"))
                .label("too long")
                .help(format!("shorten it: it has {}", consumer.name.len())),
        );
    }
    match (text("durable_name"), text("name")) {
        (Some(durable), Some(name)) if durable != name => {
            found.push(
                Finding::error(
                    Rule::Contradiction,
                    consumer.places.value("/name"),
                    "\"name\" and \"durable_name\" differ",
                )
                .label("contradicts \"durable_name\"")
                .help("remove \"name\": the durable name is the name"),
            );
        }
        (None, _) => {
            found.push(
                Finding::warning(
                    Rule::NotDurable,
                    place,
                    "without \"durable_name\" the server forgets the consumer when it is not used",
                )
                .label("not durable")
                .help(format!("write \"durable_name\": {:?} instead", consumer.name)),
            );
        }
        _ => {}
    }
}

/// A name that could be meant, of the same letters.
fn another(name: &str, valid: impl Fn(&str) -> bool) -> String {
    let near: String = name
        .trim()
        .chars()
        .map(|letter| if valid(letter.encode_utf8(&mut [0; 4])) { letter } else { '_' })
        .take(40)
        .collect();
    if valid(&near) && near.chars().any(|letter| letter != '_') {
        format!("call it {near:?}, and its file likewise")
    } else {
        "give it a name, and its file the same".to_owned()
    }
}

/// Two files for one thing, also where the file system tells names apart that the server's own does not.
pub(super) fn twice(desired: &Desired, found: &mut Vec<Finding>) {
    let mut seen: HashMap<&str, &DesiredStream> = HashMap::new();
    for stream in &desired.streams {
        if let Some(first) = seen.insert(&stream.name, stream) {
            let file = first.places.file().file;
            let message = format!("stream {:?} is declared in {}, too", stream.name, file.display());
            found.push(
                Finding::error(Rule::DuplicateName, stream.places.value("/name"), message)
                    .label("declared twice")
                    .help("remove one of the two files"),
            );
        }
    }
    let mut folded: HashMap<String, &DesiredStream> = HashMap::new();
    for stream in &desired.streams {
        let first = folded.entry(stream.name.to_lowercase()).or_insert(stream);
        if first.name != stream.name {
            let message = format!("{:?} and {:?} differ in case only", first.name, stream.name);
            found.push(
                Finding::warning(Rule::DuplicateName, stream.places.value("/name"), message)
                    .label("one file, and one folder of the store, where the file system ignores case")
                    .help("give one of them another name: macOS and Windows keep them as one"),
            );
        }
    }
    let mut folded: HashMap<(&str, String), &DesiredConsumer> = HashMap::new();
    for consumer in &desired.consumers {
        let first = folded.entry((&consumer.stream, consumer.name.to_lowercase())).or_insert(consumer);
        if first.name != consumer.name {
            let message = format!("{:?} and {:?} differ in case only", first.name, consumer.name);
            found.push(
                Finding::warning(Rule::DuplicateName, consumer.places.value("/durable_name"), message)
                    .label("one file, and one folder of the store, where the file system ignores case")
                    .help("give one of them another name: macOS and Windows keep them as one"),
            );
        }
    }
    let mut seen: HashMap<(&str, &str), &DesiredConsumer> = HashMap::new();
    for consumer in &desired.consumers {
        if let Some(first) = seen.insert((&consumer.stream, &consumer.name), consumer) {
            let file = first.places.file().file;
            let message = format!("consumer {:?} is declared in {}, too", consumer.name, file.display());
            found.push(
                Finding::error(Rule::DuplicateName, consumer.places.value("/durable_name"), message)
                    .label("declared twice")
                    .help("remove one of the two files"),
            );
        }
    }
}
