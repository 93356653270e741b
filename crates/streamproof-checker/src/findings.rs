//! Collects what was found, by kind, with the first examples of each; and takes out what the controls planted.

use crate::promise::{Promise, Row};
use crate::verdict::{Blame, ControlResult, EXAMPLES_MAX, Example, Invariant};
use std::collections::BTreeMap;
use streamproof_model::op::{Control, FaultKind};

/// Of what something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) stream: u16,
    pub(crate) consumer: Option<u16>,
}

/// What is found is counted by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) invariant: Invariant,
    pub(crate) fault: Option<FaultKind>,
    pub(crate) target: Target,
    pub(crate) class: &'static str,
}

/// All of one kind.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) count: u64,
    pub(crate) examples: Vec<Example>,
    pub(crate) age_us: Option<(u64, u64)>,
    pub(crate) row: &'static Row,
}

impl Entry {
    pub(crate) fn blame(&self) -> Blame {
        if self.row.promise == Promise::No { Blame::Config } else { Blame::Server }
    }
}

#[derive(Debug)]
struct Planted {
    control: Control,
    expect: Option<Invariant>,
    also: Vec<Invariant>,
    found: bool,
}

/// Everything found so far.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) kinds: BTreeMap<Kind, Entry>,
    /// The fault that what is found now is put down to, and when it began.
    pub(crate) fault: Option<(FaultKind, u64)>,
    /// How many examples are kept of each kind.
    pub(crate) examples_max: usize,
    planted: Vec<Planted>,
}

impl Default for Findings {
    fn default() -> Self {
        Self { kinds: BTreeMap::new(), fault: None, examples_max: EXAMPLES_MAX, planted: Vec::new() }
    }
}

impl Findings {
    pub(crate) fn plant(&mut self, control: Control) {
        let expect = Invariant::named(&control.expect);
        let also = control.also.iter().filter_map(|name| Invariant::named(name)).collect();
        self.planted.push(Planted { control, expect, also, found: false });
    }

    /// Notes a violation. The example is only made while examples are kept.
    pub(crate) fn add(
        &mut self,
        invariant: Invariant,
        target: Target,
        class: &'static str,
        seq: Option<u64>,
        row: &'static Row,
        example: impl FnOnce() -> Example,
    ) {
        if self.is_planted(invariant, target, seq) {
            return;
        }
        let kind = Kind { invariant, fault: self.fault.map(|(kind, _)| kind), target, class };
        let entry = self.kinds.entry(kind).or_insert_with(|| Entry {
            count: 0,
            examples: Vec::new(),
            age_us: None,
            row,
        });
        entry.count += 1;
        if entry.examples.len() < self.examples_max {
            let mut example = example();
            example.seq = example.seq.or(seq);
            entry.examples.push(example);
        }
    }

    /// Widens the ages of a kind by one more.
    pub(crate) fn age(&mut self, invariant: Invariant, target: Target, class: &'static str, age_us: u64) {
        let kind = Kind { invariant, fault: self.fault.map(|(kind, _)| kind), target, class };
        if let Some(entry) = self.kinds.get_mut(&kind) {
            let (least, most) = entry.age_us.unwrap_or((age_us, age_us));
            entry.age_us = Some((least.min(age_us), most.max(age_us)));
        }
    }

    /// Streams that exist only to be lost by a control.
    pub(crate) fn sacrificed(&self, stream: u16) -> bool {
        self.planted.iter().any(|planted| {
            let control = &planted.control;
            control.stream.0 == stream
                && control.seq.is_none()
                && control.consumer.is_none()
                && planted.expect == Some(Invariant::M1)
        })
    }

    pub(crate) fn controls(&self, name: impl Fn(Target) -> String) -> Vec<ControlResult> {
        self.planted
            .iter()
            .map(|planted| {
                let control = &planted.control;
                let target = Target {
                    stream: control.stream.0,
                    consumer: control.consumer.map(|consumer| consumer.0),
                };
                ControlResult {
                    name: control.name.clone(),
                    target: name(target),
                    expect: control.expect.clone(),
                    found: planted.found,
                    beside: Vec::new(),
                }
            })
            .collect()
    }

    fn is_planted(&mut self, invariant: Invariant, target: Target, seq: Option<u64>) -> bool {
        let mut planted = false;
        for plant in &mut self.planted {
            let control = &plant.control;
            let same_target = control.stream.0 == target.stream
                && control.consumer.is_none_or(|id| target.consumer.is_none_or(|consumer| id.0 == consumer))
                && (control.seq.is_none() || seq.is_none() || control.seq == seq);
            if !same_target {
                continue;
            }
            if plant.expect == Some(invariant) {
                plant.found = true;
                planted = true;
            } else if plant.also.contains(&invariant) {
                planted = true;
            }
        }
        planted
    }
}
