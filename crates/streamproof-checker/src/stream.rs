//! What is known of one stream.

use crate::column::{DELETED, MAYBE_DELETED, Set, Slots};
use crate::promise::{Property, Row};
use crate::rules::{StreamRules, subject_matches};
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};
use streamproof_model::op::{Phase, StreamSnapshot};

/// What is known of one stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) rules: StreamRules,
    /// The tightest rules since the stream was last read back: what may have removed a message.
    pub(crate) tight: StreamRules,
    /// The loosest rules since the last restart: what the stream may still hold.
    pub(crate) loose: StreamRules,
    pub(crate) desired: Option<Value>,
    pub(crate) before: Option<Value>,
    /// An update of unknown outcome: either configuration is right.
    pub(crate) update_in_doubt: bool,
    /// `before` is an update as it was sent; the server has filled in the rest.
    pub(crate) as_sent: bool,
    pub(crate) slots: Slots,
    /// The highest sequence that is known to have been given.
    pub(crate) known_last: u64,
    /// The sequences, from one above the first to the second, that it forgot to have given when it was found empty.
    pub(crate) forgotten: Option<(u64, u64)>,
    /// The message of the last sequence was deleted when the server last went down without warning, and is the last still.
    pub(crate) crashed_without_newest: bool,
    /// The highest first sequence seen while the stream held messages.
    pub(crate) known_first: u64,
    pub(crate) order: AckOrder,
    pub(crate) purges: Purges,
    /// Publishes of unknown outcome since the stream was last read back, by subject.
    pub(crate) doubts: HashMap<u32, u32>,
    /// Empty bodies that were read back where a publish of unknown outcome explains them, by sequence: subject, and headers. They
    /// name nobody, and are as well explained the next time.
    pub(crate) unnamed: HashMap<u64, (u32, u32)>,
    pub(crate) doubt: u64,
    /// Where messages were deleted since: there, one of unknown outcome may have come, pushed an older one out,
    /// and gone again.
    pub(crate) deletions: Deletions,
    /// What was deleted since by overwriting it.
    pub(crate) erased: HashSet<u64>,
    /// The server says that the stream begins with a message that is gone: see `note_wrong_first`.
    pub(crate) wrong_first: bool,
    /// The last state, and the activity at that time: an old state says nothing of what is read now.
    pub(crate) info: Option<(StreamSnapshot, u64)>,
    pub(crate) activity: u64,
    pub(crate) created_ns: Option<i64>,
    pub(crate) consumers: Vec<u16>,
    pub(crate) reading: Option<Reading>,
    /// Messages that the reading that goes on has shown.
    pub(crate) seen: Set,
    /// Messages that were found gone since the last graceful restart, and those that were gone at one.
    pub(crate) gone: Vec<u32>,
    pub(crate) gone_at_stop: Set,
    /// Acked messages that were found back while both their neighbours were gone.
    pub(crate) back_alone: Set,
    /// Acked messages that are back, and of which that has been told.
    pub(crate) back_told: HashSet<u32>,
    /// Batches since the stream was last read back: the numbers of their messages.
    pub(crate) batches: Vec<Vec<u32>>,
    /// The promises under the fault that went on last.
    pub(crate) rows: [&'static Row; 5],
    /// The last acked sequence of each subject, where expectations are checked.
    pub(crate) last_of_subject: HashMap<u32, u64>,
    pub(crate) removed: bool,
    pub(crate) largest: u64,
}

/// A reading that goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) begun: u64,
    pub(crate) phase: Phase,
    pub(crate) count: u64,
    pub(crate) unreadable: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Stream {
    pub(crate) fn new(name: String, rows: [&'static Row; 5]) -> Self {
        Self {
            name,
            rules: StreamRules::default(),
            tight: StreamRules::default(),
            loose: StreamRules::default(),
            desired: None,
            before: None,
            update_in_doubt: false,
            as_sent: false,
            slots: Slots::default(),
            known_last: 0,
            forgotten: None,
            crashed_without_newest: false,
            known_first: 0,
            order: AckOrder::default(),
            purges: Purges::default(),
            doubts: HashMap::new(),
            unnamed: HashMap::new(),
            doubt: 0,
            deletions: Deletions::default(),
            erased: HashSet::new(),
            wrong_first: false,
            info: None,
            activity: 0,
            created_ns: None,
            consumers: Vec::new(),
            reading: None,
            seen: Set::default(),
            gone: Vec::new(),
            gone_at_stop: Set::default(),
            back_alone: Set::default(),
            back_told: HashSet::new(),
            batches: Vec::new(),
            rows,
            last_of_subject: HashMap::new(),
            removed: false,
            largest: 0,
        }
    }

    pub(crate) fn row(&self, property: Property) -> &'static Row {
        self.rows[property as usize]
    }

    /// A copy of another stream: its messages are not published to it.
    pub(crate) fn copies(&self) -> bool {
        self.rules.mirror.is_some() || self.rules.sourced
    }

    /// Notes that a message's deletion was asked for; its subject, where that is known.
    pub(crate) fn delete(&mut self, seq: u64, erase: bool, subject: Option<u32>, happened: bool) {
        self.deletions.note(subject);
        if erase {
            self.erased.insert(seq);
        }
        self.slots.mark(seq, if happened { DELETED | MAYBE_DELETED } else { MAYBE_DELETED });
    }
}

/// Where messages were deleted.
#[derive(Debug, Default)]
pub(crate) struct Deletions {
    subjects: HashSet<u32>,
    anywhere: bool,
}

impl Deletions {
    /// A deletion on this subject, or on one that is not known.
    pub(crate) fn note(&mut self, subject: Option<u32>) {
        match subject {
            Some(subject) => {
                self.subjects.insert(subject);
            }
            None => self.anywhere = true,
        }
    }

    pub(crate) fn any(&self) -> bool {
        self.anywhere || !self.subjects.is_empty()
    }

    pub(crate) fn on(&self, subject: u32) -> bool {
        self.anywhere || self.subjects.contains(&subject)
    }

    pub(crate) fn clear(&mut self) {
        self.subjects.clear();
        self.anywhere = false;
    }
}

/// What acks came when: the highest sequence acked before a time.
#[derive(Debug, Default)]
pub(crate) struct AckOrder {
    /// (time of the ack, highest sequence acked so far), ascending in both.
    recent: VecDeque<(u64, u64)>,
    highest: u64,
}

/// How many acks are remembered. More than could be in flight at once on one stream; an operation that was in
/// flight for longer is not compared.
const REMEMBERED: usize = 4096;

impl AckOrder {
    pub(crate) fn acked(&mut self, done: u64, seq: u64) {
        self.highest = self.highest.max(seq);
        match self.recent.back_mut() {
            Some((at, highest)) if *at >= done => *highest = self.highest,
            _ => {
                if self.recent.len() == REMEMBERED {
                    self.recent.pop_front();
                }
                self.recent.push_back((done, self.highest));
            }
        }
    }

    /// The highest sequence that was acked before this time; 0 if none is remembered.
    pub(crate) fn before(&self, time: u64) -> u64 {
        // Most ask about a moment ago: look from the back before searching.
        for (at, highest) in self.recent.iter().rev().take(8) {
            if *at < time {
                return *highest;
            }
        }
        let index = self.recent.partition_point(|(at, _)| *at < time);
        index.checked_sub(1).map_or(0, |index| self.recent[index].1)
    }

    /// Forgets the past, when sequences have fallen.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The purges since a stream was last read back.
#[derive(Debug, Default)]
pub(crate) struct Purges {
    everything: Option<Purge>,
    by_subject: HashMap<u32, Purge>,
    others: Vec<(Filter, Purge)>,
    /// A purge up to a sequence: the state that follows is not to be compared (see the facts on good servers).
    pub(crate) before_seq: bool,
}

/// What a purge may have removed, and what it has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Purge {
    /// It may have removed messages below this sequence …
    pub(crate) below: u64,
    /// … that were sent before this time.
    pub(crate) until_ms: u32,
    /// It has certainly removed messages up to this sequence.
    pub(crate) sure: u64,
    /// It keeps so many of the newest.
    pub(crate) keep: u64,
}

#[derive(Debug)]
enum Filter {
    Everything,
    Subject(u32),
    Pattern(String),
}

impl Purges {
    pub(crate) fn note(&mut self, filter: Option<(u32, &str)>, purge: Purge) {
        let pattern = filter.filter(|(_, name)| name.split('.').any(|token| token == "*" || token == ">"));
        if pattern.is_some() || purge.keep > 0 {
            let filter = match (filter, pattern) {
                (_, Some((_, name))) => Filter::Pattern(name.to_owned()),
                (Some((subject, _)), None) => Filter::Subject(subject),
                (None, None) => Filter::Everything,
            };
            self.others.push((filter, purge));
            return;
        }
        let have = match filter {
            Some((subject, _)) => self.by_subject.entry(subject).or_default(),
            None => self.everything.get_or_insert_default(),
        };
        have.below = have.below.max(purge.below);
        have.until_ms = have.until_ms.max(purge.until_ms);
        have.sure = have.sure.max(purge.sure);
    }

    pub(crate) fn any(&self) -> bool {
        self.everything.is_some() || !self.by_subject.is_empty() || !self.others.is_empty()
    }

    /// Whether a message may have been purged. `newer` is how many newer ones there are on its subject, or in
    /// the stream for a purge of everything.
    pub(crate) fn may_hit(&self, message: Purged<'_>) -> bool {
        let hits = |purge: &Purge| message.seq < purge.below && message.invoked_ms <= purge.until_ms;
        self.everything.as_ref().is_some_and(hits)
            || self.by_subject.get(&message.subject).is_some_and(hits)
            || self.others.iter().any(|(filter, purge)| {
                hits(purge)
                    && message.matches(filter)
                    && match filter {
                        Filter::Subject(_) => message.newer_on_subject >= purge.keep,
                        _ => message.newer >= purge.keep,
                    }
            })
    }

    /// Whether a message has certainly been purged.
    pub(crate) fn has_hit(&self, seq: u64, subject: u32, name: &str) -> bool {
        self.everything.is_some_and(|purge| seq <= purge.sure)
            || self.has_hit_of(seq, subject, name, |_| true)
    }

    /// Whether a purge or rollup of its subject, or of a pattern of subjects, has certainly hit it.
    pub(crate) fn has_hit_on_subject(&self, seq: u64, subject: u32, name: &str) -> bool {
        self.has_hit_of(seq, subject, name, |filter| !matches!(filter, Filter::Everything))
    }

    fn has_hit_of(&self, seq: u64, subject: u32, name: &str, of: impl Fn(&Filter) -> bool) -> bool {
        let message = Purged { seq, subject, name, invoked_ms: 0, newer: 0, newer_on_subject: 0 };
        self.by_subject.get(&subject).is_some_and(|purge| seq <= purge.sure)
            || self.others.iter().any(|(filter, purge)| {
                of(filter) && purge.keep == 0 && seq <= purge.sure && message.matches(filter)
            })
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A message that may have been purged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purged<'a> {
    pub(crate) seq: u64,
    pub(crate) subject: u32,
    pub(crate) name: &'a str,
    pub(crate) invoked_ms: u32,
    pub(crate) newer: u64,
    pub(crate) newer_on_subject: u64,
}

impl Purged<'_> {
    fn matches(&self, filter: &Filter) -> bool {
        match filter {
            Filter::Everything => true,
            Filter::Subject(subject) => *subject == self.subject,
            Filter::Pattern(pattern) => subject_matches(pattern, self.name),
        }
    }
}
