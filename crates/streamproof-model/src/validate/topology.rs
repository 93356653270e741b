//! Circles of mirrors and sources, and republishing into oneself: `checkStreamCfg`, server/stream.go.

use std::collections::HashSet;

use serde_json::Value;

use super::subjects;
use crate::desired::{Desired, DesiredStream};
use crate::finding::{Finding, Rule};
use crate::subject::{collide, is_valid};

/// Where a stream takes messages from: the origin's name, the pointer, the filter. What is in another account or domain is left out.
fn origins(stream: &DesiredStream) -> Vec<(&str, String, &str)> {
    let mirror = stream.config.get("mirror").map(|mirror| (mirror, "/mirror".to_owned()));
    let sources = stream.config.get("sources").and_then(Value::as_array).into_iter().flatten().enumerate();
    let sources = sources.map(|(index, source)| (source, format!("/sources/{index}")));
    let inside = mirror.into_iter().chain(sources).filter(|(origin, _)| origin.get("external").is_none());
    inside
        .filter_map(|(origin, pointer)| {
            let name = origin.get("name")?.as_str()?;
            Some((name, pointer, origin.get("filter_subject").and_then(Value::as_str).unwrap_or_default()))
        })
        .collect()
}

pub(super) fn circles(desired: &Desired, found: &mut Vec<Finding>) {
    for stream in &desired.streams {
        for (name, pointer, filter) in origins(stream) {
            if leads_back(desired, stream, name, filter) {
                found.push(
                    Finding::error(
                        Rule::Cycle,
                        stream.places.value(&pointer),
                        format!("stream {:?} takes its own messages from {name:?}", stream.name),
                    )
                    .label("part of a circle"),
                );
            } else if desired.stream(name).is_none() {
                found.push(
                    Finding::warning(
                        Rule::UnknownOrigin,
                        stream.places.value(&pointer),
                        format!("no file declares stream {name:?}"),
                    )
                    .label("not declared")
                    .help("nothing is copied until a stream of that name exists"),
                );
            }
        }
        republish(stream, found);
    }
}

/// Whether following the origins from `name` leads to `stream`.
fn leads_back(desired: &Desired, stream: &DesiredStream, name: &str, filter: &str) -> bool {
    let own = subjects::of(stream);
    // The server looks at the subjects of the stream that closes the circle, and at the filter that leads there.
    let taken = |filter: &str| filter.is_empty() || own.iter().any(|subject| collide(subject, filter));
    let mut next = vec![(name, filter)];
    let mut seen = HashSet::new();
    while let Some((name, filter)) = next.pop() {
        if name == stream.name {
            if taken(filter) {
                return true;
            }
            continue;
        }
        if seen.insert(name) {
            next.extend(
                desired
                    .stream(name)
                    .map(origins)
                    .into_iter()
                    .flatten()
                    .map(|(name, _, filter)| (name, filter)),
            );
        }
    }
    false
}

fn republish(stream: &DesiredStream, found: &mut Vec<Finding>) {
    let Some(republish) = stream.config.get("republish") else { return };
    let to = republish.get("dest").and_then(Value::as_str).unwrap_or_default();
    let everything = to == ">" && stream.config.contains_key("subject_transform");
    if is_valid(to) && !everything && subjects::of(stream).iter().any(|subject| collide(to, subject)) {
        found.push(
            Finding::error(
                Rule::Cycle,
                stream.places.value("/republish/dest"),
                format!("{to:?} is stored by stream {:?} itself", stream.name),
            )
            .label("forms a cycle"),
        );
    }
}
