//! A failing case made as short as it can be: fewer streams, fewer operations, smaller ones, fewer fields in the configuration.
//!
//! Pure, but for the question whether a candidate still fails, which the caller answers by running it.

use serde_json::Value;
use streamproof_model::op::FaultKind;

use crate::shrink::{Bounds, shrink};
use crate::target::{Rules, Target};
use crate::workload::{Acks, Case, Leg, Step};

/// A single message.
const ONE: Step = Step::Publish {
    count: 1,
    len_min: 18,
    len_max: 18,
    window: 1,
    subjects: 1,
    ids: false,
    headers: false,
    ttl_s: None,
};

/// What is made shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The streams.
    pub targets: Vec<Target>,
    /// What is done to them.
    pub case: Case,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduced {
    /// The shortest that still fails.
    pub subject: Subject,
    /// Candidates that were run.
    pub tries: u32,
    /// Nothing more can be left out; false where the time ran out first.
    pub minimal: bool,
}

/// Fields of a stream without which it is another stream.
const KEPT_OF_STREAM: [&str; 4] = ["name", "subjects", "mirror", "sources"];
/// Fields of a consumer without which it is another consumer.
const KEPT_OF_CONSUMER: [&str; 3] = ["durable_name", "name", "deliver_subject"];

/// An operation of a case, or the fault that ends a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Step(usize, Step),
    Fault(Leg),
}

/// Reduces a failing subject; `name` is the stream that the failure is of.
pub fn reduce(
    subject: Subject,
    name: &str,
    bounds: Bounds,
    mut fails: impl FnMut(&Subject) -> bool,
) -> Reduced {
    let mut tries = 0;
    let mut current = subject;
    let seed = current.case.seed;
    let spent = |tries: u32| Bounds { tries_max: bounds.tries_max.saturating_sub(tries), ..bounds };
    let over = |tries: u32| tries >= bounds.tries_max || std::time::Instant::now() >= bounds.until;
    let mut ask = |candidate: &Subject, tries: &mut u32| {
        *tries += 1;
        fails(candidate)
    };
    // Without the other streams, which halves everything that follows.
    let alone = only(&current, name);
    if alone.targets.len() < current.targets.len() && ask(&alone, &mut tries) {
        current = alone;
    }
    let mut minimal = true;
    // Smaller operations can make others needless, and the other way round; twice is nearly always enough.
    for _ in 0..3 {
        let before = current.clone();
        let targets = current.targets.clone();
        let shrunk = shrink(items(&current.case), spent(tries), |items| {
            fails_with(items, seed, &targets, &mut |candidate| ask(candidate, &mut 0))
        });
        tries += shrunk.tries;
        minimal = shrunk.minimal;
        current.case = case_of(&shrunk.items, seed);
        loop {
            let mut smaller = None;
            for candidate in simpler(&current) {
                if over(tries) {
                    minimal = false;
                    break;
                }
                if ask(&candidate, &mut tries) {
                    smaller = Some(candidate);
                    break;
                }
            }
            match smaller {
                Some(smaller) => current = smaller,
                None => break,
            }
        }
        if current == before || over(tries) {
            break;
        }
    }
    Reduced { subject: current, tries, minimal }
}

fn fails_with(items: &[Item], seed: u64, targets: &[Target], ask: &mut dyn FnMut(&Subject) -> bool) -> bool {
    let case = case_of(items, seed);
    !case.legs.is_empty() && ask(&Subject { targets: targets.to_vec(), case })
}

/// The stream alone, with those that it copies.
fn only(subject: &Subject, name: &str) -> Subject {
    let needed = |target: &Target| {
        target.name == name
            || subject.targets.iter().any(|one| {
                one.name == name
                    && (one.rules.mirror.as_ref() == Some(&target.name)
                        || one.rules.sources.contains(&target.name))
            })
    };
    let kept: Vec<usize> =
        (0..subject.targets.len()).filter(|index| needed(&subject.targets[*index])).collect();
    let place = |index: usize| kept.iter().position(|one| *one == index);
    let legs = subject.case.legs.iter().map(|leg| Leg {
        steps: leg.steps.iter().filter_map(|(index, step)| Some((place(*index)?, step.clone()))).collect(),
        load: leg.load.iter().filter_map(|index| place(*index)).collect(),
        ..leg.clone()
    });
    Subject {
        targets: kept.iter().map(|index| subject.targets[*index].clone()).collect(),
        case: Case { seed: subject.case.seed, legs: legs.collect() },
    }
}

fn items(case: &Case) -> Vec<Item> {
    let mut items = Vec::new();
    for leg in &case.legs {
        items.extend(leg.steps.iter().map(|(target, step)| Item::Step(*target, step.clone())));
        items.push(Item::Fault(Leg { steps: Vec::new(), ..leg.clone() }));
    }
    items
}

/// Steps that no fault follows show nothing, and are left out.
fn case_of(items: &[Item], seed: u64) -> Case {
    let mut legs = Vec::new();
    let mut steps = Vec::new();
    for item in items {
        match item {
            Item::Step(target, step) => steps.push((*target, step.clone())),
            Item::Fault(leg) => legs.push(Leg { steps: std::mem::take(&mut steps), ..leg.clone() }),
        }
    }
    Case { seed, legs }
}

/// Each way in which one thing can be simpler, the greatest gain first.
fn simpler(subject: &Subject) -> Vec<Subject> {
    let mut candidates = Vec::new();
    for (number, leg) in subject.case.legs.iter().enumerate() {
        let mut with = |change: &dyn Fn(&mut Leg)| {
            let mut candidate = subject.clone();
            change(&mut candidate.case.legs[number]);
            if candidate != *subject {
                candidates.push(candidate);
            }
        };
        with(&|leg| leg.load.clear());
        with(&|leg| leg.canary = false);
        with(&|leg| {
            if leg.fault == FaultKind::PowerCut {
                leg.load_acks = 0;
            }
        });
        with(&|leg| leg.load_acks = leg.load_acks.min(1));
        with(&|leg| {
            leg.fault = match leg.fault {
                FaultKind::Restarts => FaultKind::Stop,
                FaultKind::KillAfterAck => FaultKind::Kill,
                other => other,
            };
        });
        for (place, (_, step)) in leg.steps.iter().enumerate() {
            for step in simpler_steps(step) {
                with(&|leg| leg.steps[place].1 = step.clone());
            }
        }
    }
    // A canary that matters is a message like any other, and the fault before it may then be needless.
    for number in 1..subject.case.legs.len() {
        for target in 0..subject.targets.len() {
            if subject.case.legs[number - 1].canary && subject.targets[target].rules.publishable {
                let mut candidate = subject.clone();
                candidate.case.legs[number - 1].canary = false;
                candidate.case.legs[number].steps.insert(0, (target, ONE));
                candidates.push(candidate);
            }
        }
    }
    for (number, target) in subject.targets.iter().enumerate() {
        for consumer in (0..target.consumers.len()).rev() {
            let used = subject.case.legs.iter().flat_map(|leg| &leg.steps).any(|(of, step)| {
                *of == number
                    && matches!(step, Step::Consume { consumer: at, .. } | Step::Drain { consumer: at, .. }
                        | Step::UpdateConsumer { consumer: at } if *at >= consumer)
            });
            if !used {
                let mut candidate = subject.clone();
                candidate.targets[number].consumers.remove(consumer);
                candidates.push(candidate);
            }
            for key in fields(&target.consumers[consumer].config, &KEPT_OF_CONSUMER) {
                let mut candidate = subject.clone();
                remove(&mut candidate.targets[number].consumers[consumer].config, &key);
                candidates.push(candidate);
            }
        }
        for key in fields(&target.config, &KEPT_OF_STREAM) {
            let mut candidate = subject.clone();
            let target = &mut candidate.targets[number];
            remove(&mut target.config, &key);
            if let Value::Object(config) = &target.config {
                target.rules = Rules::of(config);
            }
            candidates.push(candidate);
        }
    }
    candidates
}

fn simpler_steps(step: &Step) -> Vec<Step> {
    let mut steps = Vec::new();
    let counts = |count: u32| {
        let mut counts = vec![1, count / 8, count / 2, count.saturating_sub(1)];
        counts.retain(|smaller| *smaller > 0 && *smaller < count);
        counts.dedup();
        counts
    };
    match step {
        Step::Publish { count, .. } => {
            let change = |change: &dyn Fn(&mut Step)| {
                let mut step = step.clone();
                change(&mut step);
                step
            };
            for smaller in counts(*count) {
                steps.push(change(&|step| {
                    if let Step::Publish { count, .. } = step {
                        *count = smaller;
                    }
                }));
            }
            steps.push(change(&|step| {
                if let Step::Publish { len_min, len_max, .. } = step {
                    (*len_min, *len_max) = ((*len_min).min(18), (*len_max).min(18));
                }
            }));
            steps.push(change(&|step| {
                if let Step::Publish { subjects, window, .. } = step {
                    (*subjects, *window) = (1, 1);
                }
            }));
            steps.push(change(&|step| {
                if let Step::Publish { ids, headers, ttl_s, .. } = step {
                    (*ids, *headers, *ttl_s) = (false, false, None);
                }
            }));
        }
        Step::Again { count } => steps.extend(counts(*count).into_iter().map(|count| Step::Again { count })),
        Step::Consume { consumer, count, acks } => {
            let consumer = *consumer;
            steps.extend(counts(*count).into_iter().map(|count| Step::Consume {
                consumer,
                count,
                acks: *acks,
            }));
            if *acks != Acks::Double && *acks != Acks::Nothing {
                steps.push(Step::Consume { consumer, count: *count, acks: Acks::Double });
            }
        }
        Step::Delete { pick, count, erase } => {
            let (pick, erase) = (*pick, *erase);
            steps.extend(counts(*count).into_iter().map(|count| Step::Delete { pick, count, erase }));
            if !erase {
                steps.push(Step::Delete { pick, count: *count, erase: true });
            }
        }
        Step::Drain { .. }
        | Step::Expect { .. }
        | Step::Rollup
        | Step::KvDelete
        | Step::Purge { .. }
        | Step::UpdateStream
        | Step::UpdateConsumer { .. }
        | Step::Refused { .. } => {}
    }
    steps.retain(|simpler| simpler != step);
    steps
}

fn fields(config: &Value, kept: &[&str]) -> Vec<String> {
    let keys =
        config.as_object().map(|config| config.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    keys.into_iter().filter(|key| !kept.contains(&key.as_str())).collect()
}

fn remove(config: &mut Value, key: &str) {
    if let Value::Object(config) = config {
        config.shift_remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Pick, Scale, case};
    use serde_json::json;
    use std::time::{Duration, Instant};
    use streamproof_model::desired::Kind;

    fn target(name: &str) -> Target {
        let config = json!({ "name": name, "subjects": [format!("{name}.*")], "first_seq": 10, "max_msgs": 100, "description": "x" });
        let rules = config.as_object().map(Rules::of).unwrap_or_default();
        let (name, label) = (name.to_owned(), name.to_owned());
        Target { kind: Kind::Stream, name, label, config, consumers: Vec::new(), rules }
    }

    #[test]
    fn only_what_the_failure_needs_is_left() {
        let targets = vec![target("A"), target("B"), target("C")];
        let faults = [FaultKind::Stop, FaultKind::Kill, FaultKind::Restarts, FaultKind::Stop];
        let case = case(&targets, &faults, 5, Scale::for_targets(1));
        let mut legs = case.legs;
        legs[2].steps.push((1, Step::UpdateStream));
        legs[3].steps.push((1, Step::Delete { pick: Pick::Run, count: 33, erase: false }));
        // A delete after an update with a fault between, on B, which has a `first_seq`; then a stop.
        let fails = |subject: &Subject| {
            let Some(b) = subject.targets.iter().position(|target| target.name == "B") else { return false };
            let legs = &subject.case.legs;
            let updated = legs.iter().position(|leg| leg.steps.contains(&(b, Step::UpdateStream)));
            let deleted = legs.iter().position(|leg| {
                let steps = leg.steps.iter();
                steps.filter(|(of, step)| *of == b && matches!(step, Step::Delete { .. })).count() > 0
                    && leg.fault == FaultKind::Stop
            });
            subject.targets[b].config.get("first_seq").is_some()
                && matches!((updated, deleted), (Some(one), Some(other)) if one < other)
        };
        let subject = Subject { targets, case: Case { seed: 5, legs } };
        assert!(fails(&subject));
        let bounds = Bounds { tries_max: 10_000, until: Instant::now() + Duration::from_secs(60) };
        let reduced = reduce(subject, "B", bounds, fails);
        assert!(reduced.minimal);
        let left = &reduced.subject;
        assert_eq!(left.targets.len(), 1);
        assert_eq!(left.targets[0].config, json!({ "name": "B", "subjects": ["B.*"], "first_seq": 10 }));
        let steps: Vec<&Step> =
            left.case.legs.iter().flat_map(|leg| &leg.steps).map(|(_, step)| step).collect();
        assert_eq!(steps, [&Step::UpdateStream, &Step::Delete { pick: Pick::Run, count: 1, erase: true }]);
        assert_eq!(left.case.legs.len(), 2);
        assert!(left.case.legs.iter().all(|leg| leg.load.is_empty() && !leg.canary), "{left:?}");
    }
}
