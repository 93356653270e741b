//! What was found between two pictures: violations, and apart from them what changes by itself or by others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use streamproof_checker::weigh::Violation;
use streamproof_checker::{EXAMPLES_MAX, Example, Invariant};
use streamproof_model::op::FaultKind;

/// A change that is no violation: time passed, a limit was reached, or somebody worked with the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The stream, or `STREAM > CONSUMER`.
    pub target: String,
    /// What changed: `messages added`, `messages expired`, …
    pub what: String,
    /// How many.
    pub count: u64,
    /// Why it is none.
    pub why: String,
}

/// Collects what is found.
#[derive(Debug)]
pub struct Ledger {
    fault: FaultKind,
    // What was so before the fault already is not added to what came with it.
    violations: BTreeMap<(bool, Invariant, String, String), Violation>,
    changes: BTreeMap<(String, &'static str, String), u64>,
}

impl Ledger {
    /// An empty one; violations will be put down to this fault.
    #[must_use]
    pub fn new(fault: FaultKind) -> Ledger {
        Ledger { fault, violations: BTreeMap::new(), changes: BTreeMap::new() }
    }

    /// Notes a violation of a stream, or of one of its consumers.
    pub fn violation(
        &mut self,
        invariant: Invariant,
        of: &Of<'_>,
        class: &str,
        example: impl FnOnce() -> Example,
    ) {
        self.violations(invariant, of, class, 1, example);
    }

    /// Notes violations of one kind, which share an example.
    pub fn violations(
        &mut self,
        invariant: Invariant,
        of: &Of<'_>,
        class: &str,
        count: u64,
        example: impl FnOnce() -> Example,
    ) {
        let target = of.target();
        let fault = (!of.before_it).then_some(self.fault);
        let key = (of.before_it, invariant, target.clone(), class.to_owned());
        let entry = self.violations.entry(key).or_insert_with(|| Violation {
            invariant,
            fault,
            stream: of.stream.to_owned(),
            target,
            class: class.to_owned(),
            count: 0,
            age_us: None,
            examples: Vec::new(),
        });
        entry.count += count;
        if entry.examples.len() < EXAMPLES_MAX {
            let example = example();
            if let Some(age) = example.age_us {
                let (least, most) = entry.age_us.unwrap_or((age, age));
                entry.age_us = Some((least.min(age), most.max(age)));
            }
            entry.examples.push(example);
        }
    }

    /// Notes changes that are no violations.
    pub fn change(&mut self, of: &Of<'_>, what: &'static str, count: u64, why: &str) {
        if count > 0 {
            *self.changes.entry((of.target(), what, why.to_owned())).or_default() += count;
        }
    }

    /// All that was found.
    #[must_use]
    pub fn finish(self) -> (Vec<Violation>, Vec<Change>) {
        let changes = self
            .changes
            .into_iter()
            .map(|((target, what, why), count)| Change { target, what: what.to_owned(), count, why })
            .collect();
        (self.violations.into_values().collect(), changes)
    }
}

/// What something is found of.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    /// The stream.
    pub stream: &'a str,
    /// Its consumer.
    pub consumer: Option<&'a str>,
    /// It was so before the fault already.
    pub before_it: bool,
}

impl<'a> Of<'a> {
    /// A stream.
    #[must_use]
    pub fn stream(stream: &'a str) -> Of<'a> {
        Of { stream, consumer: None, before_it: false }
    }

    /// One of its consumers.
    #[must_use]
    pub fn consumer(self, consumer: &'a str) -> Of<'a> {
        Of { consumer: Some(consumer), ..self }
    }

    /// As it was before the fault.
    #[must_use]
    pub fn before_it(self) -> Of<'a> {
        Of { before_it: true, ..self }
    }

    fn target(&self) -> String {
        match self.consumer {
            Some(consumer) => format!("{} > {consumer}", self.stream),
            None => self.stream.to_owned(),
        }
    }
}

/// An example in words alone.
#[must_use]
pub fn example(text: impl Into<String>) -> Example {
    Example { text: text.into(), ..Example::default() }
}
