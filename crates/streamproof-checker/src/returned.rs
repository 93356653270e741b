//! M7 and C9, as to what is back: what was removed and is read again, and in which of the ways that are known of the server.

use crate::column::{DELETED, GONE, LIVE, MAYBE_DELETED, Slot};
use crate::verdict::Invariant;
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};
use streamproof_model::op::{FaultKind, StreamId, StreamSnapshot};

/// A message that should be gone, and was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Back {
    pub(crate) seq: u64,
    pub(crate) number: u32,
    pub(crate) by: Removal,
}

/// What had removed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// An acknowledged deletion; one that erases overwrites the message itself.
    Deleted { erased: bool },
    /// An acknowledged purge or rollup, of one subject or of all.
    Purged { on_subject: bool },
    /// The acks of all whom it was for.
    Acked,
    /// Something that an earlier reading had shown.
    Seen,
}

impl Removal {
    fn why(self) -> &'static str {
        match self {
            Removal::Deleted { .. } => "back: its deletion was acknowledged",
            Removal::Purged { .. } => "back: its purge was acknowledged",
            Removal::Seen => "back: it was gone when the stream was read before",
            Removal::Acked => "all consumers that it was for have acked it, and got an answer",
        }
    }
}

impl World<'_> {
    /// M7, as to deletion: what an acknowledged delete, purge or rollup removed does not come back. And C9 *what is acked is gone*.
    ///
    /// Where what is back stands tells how it may have come. *Alone*: both its neighbours are gone, so that it may be the last
    /// that was left of its block. *Purged together*: nothing that lives stands among the purged messages that are back, none
    /// that was purged with them stays away between them, and what lies at one of their ends or between them is gone, so that
    /// they may be what a purge had left of a block. A server keeps the file of an empty block for the tombstones in it, of what
    /// was removed below and above the first message (nats-server `filestore.go:numPriorTombsLocked`): where nothing has been,
    /// neither class is given to what was deleted or purged. *Before the first*: below the first message that lives, where there
    /// is room for all of it in one block, and above that one something is gone: its tombstones may have been in a block that was
    /// emptied, and whose file went with those of what lay before the first message (`numPriorTombsLocked` again).
    ///
    /// What is acked and back is told once, until it is gone again.
    pub(crate) fn m7_and_c9_back(&mut self, id: StreamId, purged_away: &[u64]) {
        let back = std::mem::take(&mut self.back);
        let together = self.purged_together(id, &back, purged_away);
        let before = self.before_first(id, &back);
        for Back { seq, number, by } in back {
            if by == Removal::Acked && !self.stream(id).back_told.insert(number) {
                continue;
            }
            let alone = self.is_gone(id, seq.wrapping_sub(1)) && self.is_gone(id, seq + 1);
            let subject = self.messages.get(number).subject;
            let deleted = matches!(by, Removal::Deleted { .. });
            let held = by == Removal::Acked || self.may_be_held(id, seq);
            let evicted = by != Removal::Acked && !deleted && self.may_have_been_evicted(id, seq, subject);
            let refused = self.index_is_refused(id);
            let stream = self.stream(id);
            let at_stop = stream.gone_at_stop.contains(number);
            let alone = alone && held && by != Removal::Deleted { erased: true };
            let together = together.contains(&seq);
            let before = seq < before && by != Removal::Deleted { erased: true };
            let class = match by {
                Removal::Acked if refused && (alone || at_stop) => "acked and still there, wrong first",
                Removal::Acked if at_stop => "acked and still there, gone at a stop",
                Removal::Acked if alone => "acked and still there, alone",
                Removal::Acked if before => "acked and still there, before the first",
                Removal::Acked => "acked and still there",
                _ if refused && (evicted || alone || at_stop || together) => "returned, wrong first",
                _ if evicted => "returned, evicted",
                _ if at_stop => "returned, gone at a stop",
                Removal::Deleted { .. } if alone => "returned, alone",
                _ if together => "returned, purged together",
                _ if before => "returned, before the first",
                _ => "returned",
            };
            let invariant = if by == Removal::Acked { Invariant::C9 } else { Invariant::M7 };
            if by == Removal::Acked && alone {
                stream.back_alone.insert(number);
            }
            self.message_violation(invariant, id.0, class, seq, number, || by.why().to_owned());
        }
    }

    /// The first message that lives, where what is back below it may have been in its block; 0 if not.
    fn before_first(&self, id: StreamId, back: &[Back]) -> u64 {
        let stream = &self.streams[usize::from(id.0)];
        let returned: BTreeMap<u64, u32> = back.iter().map(|back| (back.seq, back.number)).collect();
        let mut first = stream.slots.next_live(0);
        while let Some(seq) = first.filter(|seq| returned.contains_key(seq)) {
            first = stream.slots.next_live(seq + 1);
        }
        let Some(first) = first else { return 0 };
        let below: u64 = returned.range(..first).map(|(_, number)| self.least_size(*number)).sum();
        let fits = below <= stream.rules.block_bytes();
        if fits && self.is_gone_above(id, first) { first } else { 0 }
    }

    /// Whether something is gone above a sequence, or was certainly removed since it was read.
    pub(crate) fn is_removed_above(&mut self, id: StreamId, seq: u64) -> bool {
        let last = self.stream(id).known_last;
        (seq + 1..=last).any(|above| {
            let slot = self.stream(id).slots.get(above);
            slot.message.checked_sub(1).is_some_and(|number| {
                let subject = self.messages.get(number).subject;
                self.is_removed(id, above, slot.flags, subject)
            })
        })
    }

    fn is_gone_above(&self, id: StreamId, seq: u64) -> bool {
        let last = self.streams[usize::from(id.0)].known_last;
        (seq + 1..=last).any(|above| self.is_gone(id, above))
    }

    /// Whether the file of an empty block that began at or below a sequence may have been kept: something was removed below it
    /// while the stream began lower still, and does now, unless the server is wrong about that.
    fn may_be_held(&self, id: StreamId, seq: u64) -> bool {
        let stream = &self.streams[usize::from(id.0)];
        let first = if stream.wrong_first { Some(0) } else { stream.slots.next_live(0) };
        first.is_some_and(|first| (first + 1..seq).any(|below| self.is_gone(id, below)))
    }

    /// Whether a sequence is known, and holds nothing.
    fn is_gone(&self, id: StreamId, seq: u64) -> bool {
        let slot = self.streams[usize::from(id.0)].slots.get(seq);
        slot.message != 0 && slot.flags & LIVE == 0
    }

    /// Whether a message that is not there was removed by a purge of its subject, and by nothing else that is known.
    pub(crate) fn was_purged_away(
        &mut self,
        id: StreamId,
        seq: u64,
        slot: Slot,
        number: Option<u32>,
    ) -> bool {
        let Some(number) = number else { return false };
        let subject = self.messages.get(number).subject;
        slot.flags & MAYBE_DELETED == 0
            && self.streams[usize::from(id.0)].purges.has_hit_on_subject(seq, subject, self.subject(subject))
            && !self.c9_must_be_gone(id, seq, subject)
    }

    /// Those of the purged messages that may have come back with a block: see [`Self::m7_and_c9_back`].
    fn purged_together(&self, id: StreamId, back: &[Back], purged_away: &[u64]) -> BTreeSet<u64> {
        let slots = &self.streams[usize::from(id.0)].slots;
        let purged: BTreeSet<u64> = back
            .iter()
            .filter(|back| back.by == Removal::Purged { on_subject: true })
            .map(|back| back.seq)
            .collect();
        let mut together = BTreeSet::new();
        let mut next = purged.first().copied();
        while let Some(first) = next {
            let mut run = vec![first];
            let mut last = first;
            while let Some(live) = slots.next_live(last + 1).filter(|live| purged.contains(live)) {
                run.push(live);
                last = live;
            }
            let held = self.may_be_held(id, first);
            let whole = !purged_away.iter().any(|away| (first..=last).contains(away));
            let gaps = run.len() as u64 != last - first + 1;
            let ends = self.is_gone(id, first.wrapping_sub(1)) || self.is_gone(id, last + 1);
            if held && whole && (gaps || ends) {
                together.extend(run);
            }
            next = purged.range(last + 1..).next().copied();
        }
        together
    }

    /// Before a fault: whether the server says that its stream begins with a message that is certainly gone, since a purge up to a
    /// sequence. (nats-server `filestore.go:compactLocked` leaves a block that is empty, but holds tombstones, at the head, and
    /// `recoverFullState` leaves it out: they do not agree on the first sequence, and an index in which it is wrong is refused.)
    pub(crate) fn note_wrong_first(&mut self, info: &StreamSnapshot) {
        let (id, seq) = (info.stream, info.first_seq);
        let slot = self.stream(id).slots.get(seq);
        let gone = info.messages > 0
            && slot.message.checked_sub(1).is_some_and(|number| {
                let subject = self.messages.get(number).subject;
                self.is_removed(id, seq, slot.flags, subject)
            });
        let stream = self.stream(id);
        stream.wrong_first = gone && (stream.purges.before_seq || stream.wrong_first);
    }

    /// Whether an acknowledged removal, or acks, took what is at a sequence.
    pub(crate) fn is_removed(&mut self, id: StreamId, seq: u64, flags: u8, subject: u32) -> bool {
        flags & (GONE | DELETED) != 0
            || self.streams[usize::from(id.0)].purges.has_hit(seq, subject, self.subject(subject))
            || self.c9_must_be_gone(id, seq, subject)
    }

    /// Whether the server has refused its index after a graceful restart, since a wrong first sequence stood in it.
    pub(crate) fn index_is_refused(&self, id: StreamId) -> bool {
        let graceful = |kind: FaultKind| kind.restarts() && kind.graceful();
        self.streams[usize::from(id.0)].wrong_first
            && self.findings.fault.is_some_and(|(kind, _)| graceful(kind))
    }
}
