//! Circles of mirrors and sources: `checkStreamCfg`, server/stream.go.

use std::collections::{HashSet, VecDeque};

use serde_json::Value;

use super::subjects;
use crate::desired::{Desired, DesiredStream};
use crate::finding::{Finding, Rule};
use crate::subject::collide;

/// Where a stream takes messages from, in this account and domain.
struct Edge<'a> {
    name: &'a str,
    pointer: String,
    filter: &'a str,
    mirror: bool,
}

/// What is in another account or domain is left out. Sources come before the mirror, as the server walks them.
fn edges(stream: &DesiredStream) -> Vec<Edge<'_>> {
    let sources = stream.config.get("sources").and_then(Value::as_array).into_iter().flatten().enumerate();
    let sources = sources.map(|(index, source)| (source, format!("/sources/{index}"), false));
    let mirror = stream.config.get("mirror").map(|mirror| (mirror, "/mirror".to_owned(), true));
    let inside = sources.chain(mirror).filter(|(origin, _, _)| origin.get("external").is_none());
    inside
        .filter_map(|(origin, pointer, mirror)| {
            let filter = origin.get("filter_subject").and_then(Value::as_str).unwrap_or_default();
            Some(Edge { name: origin.get("name")?.as_str()?, pointer, filter, mirror })
        })
        .collect()
}

pub(super) fn circles(desired: &Desired, found: &mut Vec<Finding>) {
    for stream in &desired.streams {
        if let Some((at, edge)) = circle(desired, stream) {
            // In a larger circle every member finds it; each is told at its own first step into it.
            let pointer = if at.name == stream.name {
                edge.pointer
            } else {
                edges(stream).into_iter().next().map_or_else(String::new, |edge| edge.pointer)
            };
            found.push(
                Finding::error(
                    Rule::Cycle,
                    stream.places.value(&pointer),
                    format!("stream {:?} takes messages from {:?}, which it feeds", at.name, edge.name),
                )
                .label("part of a circle")
                .help(
                    "remove one of its mirrors or sources, or let it filter subjects that do not come back",
                ),
            );
        }
        for edge in edges(stream).iter().filter(|edge| desired.stream(edge.name).is_none()) {
            found.push(
                Finding::warning(
                    Rule::UnknownOrigin,
                    stream.places.value(&edge.pointer),
                    format!("no file declares stream {:?}", edge.name),
                )
                .label("not declared")
                .help("nothing is copied until a stream of that name exists"),
            );
        }
    }
}

/// The server's own walk, breadth first: a step to a stream that was visited closes a circle, unless it filters subjects that
/// the one who takes the step does not have.
fn circle<'a>(desired: &'a Desired, start: &'a DesiredStream) -> Option<(&'a DesiredStream, Edge<'a>)> {
    let mut next = VecDeque::from([start]);
    let mut visited = HashSet::new();
    // The server visits a stream as often as it meets it.
    let mut steps = 0;
    while let Some(stream) = next.pop_front() {
        visited.insert(stream.name.as_str());
        steps += 1;
        if steps > MOST_STEPS {
            return None;
        }
        for edge in edges(stream) {
            if visited.contains(edge.name) {
                let taken = edge.mirror
                    || edge.filter.is_empty()
                    || subjects::of(stream).iter().any(|subject| collide(subject, edge.filter));
                if taken {
                    return Some((stream, edge));
                }
            } else if let Some(origin) = desired.stream(edge.name) {
                next.push_back(origin);
            }
        }
    }
    None
}

/// Layers of streams that all take from all of the next double the server's walk with every layer; this many steps are beyond
/// what people draw, and some milliseconds.
const MOST_STEPS: usize = 10_000;
