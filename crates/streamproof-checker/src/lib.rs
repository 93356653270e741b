//! Pure: a history of operations in, a verdict out.
//!
//! [`check`] takes [`Op`]s in the order in which they ended and a [`Context`] (what must survive, what is
//! accepted) and says what held. It reads no file and no clock, its cost is linear in the history, and it keeps
//! a few bytes for each message. Each invariant is defined at the function that decides it; what a
//! configuration promises under a fault is data, in [`promise`].

pub mod bite;
mod column;
mod conclude;
mod config;
mod consumer;
mod context;
mod delivery;
mod eviction;
mod findings;
pub mod known;
mod liveness;
mod merge;
mod messages;
pub mod notation;

pub mod promise;
mod publish;
mod readback;
mod returned;
pub mod rules;
mod state;
mod stream;
mod verdict;
mod version;
pub mod weigh;
mod world;

pub use config::config_changes;
pub use context::{Accept, Context, SyncInterval};
pub use merge::{Run, controls, merge};
pub use verdict::{
    Blame, Cell, ControlResult, Counts, EXAMPLES_MAX, Example, FaultVerdict, Finding, Invariant, Measure,
    NotProven, Overall, Verdict,
};
pub use version::Version;

use streamproof_model::op::Op;

/// Judges a whole history.
#[must_use]
pub fn check(operations: impl IntoIterator<Item = Op>, context: &Context) -> Verdict {
    let mut checker = Checker::new(context);
    for operation in operations {
        checker.take(&operation);
    }
    checker.finish()
}

/// Judges a history while it grows.
#[derive(Debug)]
pub struct Checker<'a> {
    world: world::World<'a>,
}

impl<'a> Checker<'a> {
    /// Begins.
    #[must_use]
    pub fn new(context: &'a Context) -> Self {
        Self { world: world::World::new(context) }
    }

    /// Keeps so many examples of each finding, instead of [`EXAMPLES_MAX`].
    #[must_use]
    pub fn with_examples(mut self, most: usize) -> Self {
        self.world.findings.examples_max = most;
        self
    }

    /// Takes the next operation.
    pub fn take(&mut self, operation: &Op) {
        self.world.take(operation);
    }

    /// How many violations have been found so far, whatever they are worth.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.world.findings.kinds.values().map(|entry| entry.count).sum()
    }

    /// Ends, and says what held.
    #[must_use]
    pub fn finish(self) -> Verdict {
        conclude::conclude(self.world)
    }
}
