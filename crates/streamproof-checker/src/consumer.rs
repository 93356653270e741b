//! What is known of one consumer.

use crate::column::Column;
use crate::rules::{AckPolicy, ConsumerRules};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use streamproof_model::op::{ConsumerSnapshot, FaultKind};

/// What a consumer has done with the message of a sequence.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mark {
    pub(crate) flags: u8,
    /// How often it was delivered, as the server last counted; 255 for more.
    pub(crate) count: u8,
    /// In which epoch (between two faults) it was last delivered; epochs count from 1 and wrap.
    pub(crate) epoch: u8,
}

/// It was delivered.
pub(crate) const DELIVERED: u8 = 1;
/// An ack (of a kind that ends it) was sent, and may have arrived.
pub(crate) const MAYBE_ACKED: u8 = 2;
/// A double ack was answered.
pub(crate) const DOUBLE: u8 = 4;
/// That answer is old enough to be durable under any fault so far.
pub(crate) const AGED: u8 = 8;
/// It was so young at a fault that it may be lost.
pub(crate) const YOUNG: u8 = 16;
/// Another delivery was asked for after the ack, so nothing follows from it.
pub(crate) const NAKED: u8 = 32;
/// It was answered so shortly before a crash that the ack floor may not tell of it, whatever is promised of the ack itself.
pub(crate) const UNSURE: u8 = 64;
/// It was so young at a crash that it may be lost, while another consumer had still to ack: no removal can be built on it later.
pub(crate) const LOSABLE: u8 = 128;

/// What is known of one consumer.
#[derive(Debug, Default)]
pub(crate) struct Consumer {
    pub(crate) stream: u16,
    pub(crate) name: String,
    pub(crate) declared_us: u64,
    pub(crate) rules: ConsumerRules,
    pub(crate) desired: Option<Value>,
    pub(crate) before: Option<Value>,
    pub(crate) update_in_doubt: bool,
    /// `before` is an update as it was sent; the server has filled in the rest.
    pub(crate) as_sent: bool,
    /// Its filter changed: what it was to deliver earlier cannot be told.
    pub(crate) vague: bool,
    pub(crate) removed: bool,
    pub(crate) marks: Column<Mark>,
    /// Double acks that are younger than the window: (time of the answer, sequence).
    pub(crate) recent: VecDeque<(u64, u64)>,
    /// When a double ack was last answered.
    pub(crate) last_answer: u64,
    /// What was too young at a fault that does not promise it: its age then, and the fault.
    pub(crate) young: HashMap<u64, (u64, FaultKind)>,
    /// What is unsure.
    pub(crate) unsure: Vec<u64>,
    /// How many acked messages have come again since the last fault.
    pub(crate) again: u64,
    /// How many faults in a row, up to now, gave the server time to write the consumer's state.
    pub(crate) graceful: u8,
    /// All up to here is acked or may be, with `ack_policy: all`.
    pub(crate) all_maybe: u64,
    /// All up to here is double-acked, with `ack_policy: all`; and that is durable.
    pub(crate) all_double: u64,
    pub(crate) all_aged: u64,
    pub(crate) epoch: u8,
    /// The last first-time delivery of this epoch: (sequence in the consumer, in the stream).
    pub(crate) in_order: (u64, u64),
    /// How far the search for the lowest unacked message has come, and the highest durably acked one below it.
    pub(crate) walked: u64,
    pub(crate) floor: u64,
    pub(crate) info: Option<(ConsumerSnapshot, u64, u64)>,
    pub(crate) floors: Floors,
    pub(crate) created_ns: Option<i64>,
    /// Whether a message of this subject is for it: 0 not looked up, 1 yes, 2 no.
    matching: Vec<u8>,
}

/// The ack floors that were seen of a consumer, for they do not fall.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    /// The highest that was seen in quiet and has outlived a restart: the server has read it from its store.
    kept: u64,
    /// Those seen in quiet since the last restart: (time, floor), ascending in both.
    seen: Vec<(u64, u64)>,
}

impl Floors {
    pub(crate) fn saw(&mut self, at: u64, floor: u64) {
        if self.seen.last().is_none_or(|(_, highest)| floor > *highest) {
            self.seen.push((at, floor));
        }
    }

    /// The highest floor that was seen by a time.
    pub(crate) fn by(&self, until: u64) -> u64 {
        let seen = self.seen.iter().rev().find(|(at, _)| *at <= until);
        seen.map_or(self.kept, |(_, floor)| self.kept.max(*floor))
    }

    /// A restart has left this one.
    pub(crate) fn restarted(&mut self, floor: u64) {
        self.kept = self.by(u64::MAX).min(floor);
        self.seen.clear();
    }

    /// A purge up to a sequence: it moves floors.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Consumer {
    pub(crate) fn new() -> Self {
        Self { epoch: 1, ..Self::default() }
    }

    pub(crate) fn matches(&mut self, subject: u32, name: &str) -> bool {
        if self.rules.filters.is_empty() {
            return true;
        }
        let index = subject as usize;
        if self.matching.len() <= index {
            self.matching.resize(index + 1, 0);
        }
        if self.matching[index] == 0 {
            self.matching[index] = if self.rules.matches(name) { 1 } else { 2 };
        }
        self.matching[index] == 1
    }

    pub(crate) fn set_rules(&mut self, rules: ConsumerRules) {
        if rules.filters != self.rules.filters {
            self.vague |= self.before.is_some();
            self.matching.clear();
        }
        self.rules = rules;
    }

    /// Whether the message may have been acked, as far as retention goes.
    pub(crate) fn may_have_acked(&self, seq: u64) -> bool {
        self.rules.ack == AckPolicy::None
            || seq <= self.all_maybe
            || self.marks.get(seq).flags & MAYBE_ACKED != 0
    }

    /// Whether the message was acked and the server said so.
    pub(crate) fn has_acked(&self, seq: u64) -> bool {
        seq <= self.all_double || self.marks.get(seq).flags & (DOUBLE | NAKED | LOSABLE) == DOUBLE
    }
}
