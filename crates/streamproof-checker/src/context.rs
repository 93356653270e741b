//! What a judgement takes into account beside the history: what must survive, what is accepted.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use streamproof_model::op::{FaultKind, Level};

/// What a judgement takes into account beside the history. It is stored beside it, so that `report` can judge
/// again, or judge by another budget.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// When the server syncs.
    pub sync: SyncInterval,
    /// The budget of every stream without one of its own. None: the owner has said nothing.
    pub survive: Option<BTreeSet<Level>>,
    /// Budgets by stream.
    pub streams: BTreeMap<String, BTreeSet<Level>>,
    /// Defects of the server that the owner accepts.
    pub accept: Vec<Accept>,
    /// Of what was acked, so many messages may come again to a consumer (`STREAM > CONSUMER`) after one fault.
    pub redelivery: BTreeMap<String, u64>,
    /// Faults that were asked for by name: not run is then inconclusive.
    pub asked: Vec<FaultKind>,
    /// What is stored before the first fault and not of this run is taken as it is, and must stay: for a copy of
    /// a real store.
    pub adopt: bool,
    /// *Unprotected* and *not proven* fail too.
    pub strict: bool,
}

impl Context {
    /// What this stream must survive; none where the owner has said nothing.
    #[must_use]
    pub fn budget(&self, stream: &str) -> Option<&BTreeSet<Level>> {
        self.streams.get(stream).or(self.survive.as_ref())
    }
}

/// `sync_interval` of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncInterval {
    /// Not set: two minutes.
    #[default]
    Default,
    /// So many milliseconds.
    EveryMs(u64),
    /// `always`.
    Always,
}

/// A defect of the server that the owner lives with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// Its name in the table of known defects.
    pub name: String,
    /// Why.
    pub reason: String,
}
