//! The order of steps: what has to be done before what, with the reason for each edge.

use super::limits;
use super::observed::{Document, Observed};
use super::step::{Action, Change, Step};
use crate::desired::Kind;
use crate::subject::collide;
use crate::version::Version;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Puts steps in an order in which each comes after what it needs, and writes down what that is.
///
/// A cycle of subjects (two streams that swap them) is broken by the caller beforehand; any other cycle (mirrors in a
/// ring, which `validate` refuses) is cut at its first step in the order of names.
pub(super) fn arrange(steps: Vec<Step>, observed: &Observed, version: &Version) -> Vec<Step> {
    let mut edges: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); steps.len()];
    let mut streams: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut consumers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate().filter(|(_, step)| step.action != Action::None) {
        let of = if step.kind == Kind::Consumer { &mut consumers } else { &mut streams };
        of.entry(step.stream.as_str()).or_default().push(index);
    }
    for (name, own) in &consumers {
        // The room of a removed consumer is there for a new one (max_consumers; filters of a workqueue, 10100).
        let (gone, kept): (Vec<usize>, Vec<usize>) =
            own.iter().copied().partition(|i| steps[*i].action == Action::Delete);
        for index in kept {
            edges[index].extend(gone.iter().copied());
        }
        for stream in streams.get(name).into_iter().flatten() {
            for consumer in own {
                if consumers_first(&steps[*stream], &steps[*consumer], observed, version) {
                    edges[*stream].insert(*consumer);
                } else {
                    edges[*consumer].insert(*stream);
                }
            }
        }
    }
    for own in streams.values() {
        for index in own.iter().filter(|i| !is_release(&steps[**i])) {
            edges[*index].extend(own.iter().copied().filter(|other| is_release(&steps[*other])));
            if steps[*index].action == Action::Delete {
                continue;
            }
            for origin in origins(&steps[*index]).iter().filter_map(|name| streams.get(name.as_str())) {
                edges[*index].extend(origin.iter().copied().filter(|other| other != index));
            }
        }
    }
    for (index, other) in handovers(&steps, observed) {
        // Where the other lets go in a step of its own, that step is enough.
        let own = streams.get(steps[other].stream.as_str()).into_iter().flatten();
        if is_release(&steps[other]) || !own.into_iter().any(|i| is_release(&steps[*i])) {
            edges[index].insert(other);
        }
    }
    sort(steps, edges)
}

/// Pairs of steps of which the first takes a subject that the second gives up (an overlap is refused: 10065).
pub(super) fn handovers(steps: &[Step], observed: &Observed) -> Vec<(usize, usize)> {
    let those = |of: &dyn Fn(&Step, &Observed) -> Vec<String>| -> Vec<(usize, Vec<String>)> {
        steps.iter().map(|step| of(step, observed)).enumerate().filter(|(_, list)| !list.is_empty()).collect()
    };
    let released = those(&released);
    if released.is_empty() {
        return Vec::new();
    }
    let mut pairs = Vec::new();
    for (index, taken) in those(&claimed) {
        for (other, gone) in &released {
            let meets = || gone.iter().any(|gone| taken.iter().any(|taken| collide(gone, taken)));
            if index != *other && steps[index].stream != steps[*other].stream && meets() {
                pairs.push((index, *other));
            }
        }
    }
    pairs
}

/// Whether a change of a stream has to wait for its consumers: they would not fit its new limits, or it goes.
fn consumers_first(stream: &Step, consumer: &Step, observed: &Observed, version: &Version) -> bool {
    // What is pruned is not carried over to the stream that takes the place of its own.
    if stream.action == Action::Delete
        || (stream.action == Action::Replace && consumer.action == Action::Delete)
    {
        return true;
    }
    if consumer.action == Action::Create || stream.action != Action::Update {
        return false;
    }
    let fewer = |change: &Change| {
        let number = |v: &Value| v.as_i64().filter(|n| *n > 0).unwrap_or(i64::MAX);
        change.path == "max_consumers" && number(&change.to) < number(&change.from)
    };
    let of_consumers = |change: &Change| change.path.starts_with("consumer_limits");
    let live = || {
        observed
            .consumers
            .iter()
            .find(|c| c.stream == consumer.stream && Some(&c.name) == consumer.consumer.as_ref())
    };
    stream.changes.iter().any(fewer)
        || (stream.changes.iter().any(of_consumers)
            && stream
                .document
                .as_ref()
                .zip(live())
                .is_some_and(|(new, live)| limits::violates(&live.config, new, version)))
}

/// The streams that a step's configuration mirrors or sources, on the same server.
fn origins(step: &Step) -> BTreeSet<String> {
    let Some(document) = &step.document else { return BTreeSet::new() };
    let name = |v: &Value| {
        (v.get("external").is_none_or(Value::is_null))
            .then(|| v.get("name")?.as_str().map(str::to_owned))
            .flatten()
    };
    let mut found: BTreeSet<String> = document.get("mirror").and_then(name).into_iter().collect();
    if let Some(sources) = document.get("sources").and_then(Value::as_array) {
        found.extend(sources.iter().filter_map(name));
    }
    found
}

/// Subjects that a stream has after its step and had not before.
fn claimed(step: &Step, observed: &Observed) -> Vec<String> {
    if step.kind == Kind::Consumer || matches!(step.action, Action::None | Action::Delete) {
        return Vec::new();
    }
    let before = observed.stream(&step.stream).map(|seen| subjects(&seen.config)).unwrap_or_default();
    let after = step.document.as_ref().map(subjects).unwrap_or_default();
    after.into_iter().filter(|s| !before.contains(s)).collect()
}

/// Subjects that a stream had before its step and has not after.
pub(super) fn released(step: &Step, observed: &Observed) -> Vec<String> {
    if step.kind == Kind::Consumer || step.action == Action::None {
        return Vec::new();
    }
    let before = observed.stream(&step.stream).map(|seen| subjects(&seen.config)).unwrap_or_default();
    let after = match (&step.document, step.action) {
        (_, Action::Delete) | (None, _) => Vec::new(),
        (Some(document), _) => subjects(document),
    };
    before.into_iter().filter(|s| !after.contains(s)).collect()
}

/// A step that only gives up subjects, so that two streams can swap them.
fn is_release(step: &Step) -> bool {
    step.why.starts_with(RELEASES)
}

/// How the reason of such a step begins.
pub(super) const RELEASES: &str = "gives up subjects first";

pub(super) fn subjects(config: &Document) -> Vec<String> {
    config
        .get("subjects")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default()
}

/// Kahn's algorithm; among the steps that are free the first by its present place goes first.
fn sort(steps: Vec<Step>, mut edges: Vec<BTreeSet<usize>>) -> Vec<Step> {
    let needs = edges.clone();
    let mut order: Vec<usize> = Vec::with_capacity(steps.len());
    let mut waits: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, before) in edges.iter().enumerate() {
        for other in before {
            waits.entry(*other).or_default().push(index);
        }
    }
    let mut free: BTreeSet<usize> = (0..steps.len()).filter(|i| edges[*i].is_empty()).collect();
    let mut left: BTreeSet<usize> = (0..steps.len()).filter(|i| !edges[*i].is_empty()).collect();
    while order.len() < steps.len() {
        // With nothing free the rest is a ring: it is cut at its first step.
        let Some(next) = free.pop_first().or_else(|| left.pop_first()) else { break };
        order.push(next);
        for waiting in waits.get(&next).into_iter().flatten() {
            edges[*waiting].remove(&next);
            if edges[*waiting].is_empty() && left.remove(waiting) {
                free.insert(*waiting);
            }
        }
    }
    let mut place = vec![0; steps.len()];
    for (at, index) in order.iter().enumerate() {
        place[*index] = at;
    }
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let mut arranged = Vec::with_capacity(order.len());
    for (at, index) in order.iter().enumerate() {
        if let Some(mut step) = steps[*index].take() {
            step.after = needs[*index].iter().map(|i| place[*i]).filter(|i| *i < at).collect();
            step.after.sort_unstable();
            arranged.push(step);
        }
    }
    arranged
}
