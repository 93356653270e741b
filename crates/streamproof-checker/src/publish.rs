//! M4, M5, M6, M10 and the conditions of V1: what acks say of sequences, order and duplicates.

use crate::column::{ACKED, GONE, LIVE, MAYBE_DELETED, REPORTED, Slot};
use crate::findings::Target;
use crate::messages::{HAS_ID, MAY_BE_STORED, MAY_REPEAT, RETRIED, WAS_ACKED, millis};
use crate::rules::Retention;
use crate::stream::Purge;
use crate::verdict::Invariant;
use crate::world::World;
use streamproof_model::op::{Expect, NEVER, Outcome, Publish, Role, StreamId, SubjectId, Ttl};

/// How far the ends of a duplicate window are left alone: the server's clock and ours are read at other moments.
const WINDOW_SLACK_US: u64 = 1_000_000;

impl World<'_> {
    pub(crate) fn publish(&mut self, publish: &Publish, invoked: u64, done: u64, outcome: Outcome) {
        let id = publish.stream;
        let number = self.messages.attempt(publish, invoked);
        self.has_ttls |= publish.ttl != Ttl::Stream;
        self.stream(id).activity += 1;
        match outcome {
            Outcome::Acked { seq, duplicate: true } => {
                self.counts.acked += 1;
                self.m10_duplicate(publish, number, seq);
            }
            Outcome::Acked { seq, duplicate: false } => {
                self.counts.acked += 1;
                self.m5_in_order(publish, number, invoked, done, seq);
                self.m10_not_duplicate(publish, number, done, seq);
                self.v1_expected(publish, number, seq);
                self.acked(id, number, seq);
                self.rollup(publish, Some(seq));
            }
            Outcome::Rejected { .. } => self.counts.rejected += 1,
            Outcome::Done { .. } | Outcome::Sent | Outcome::Indeterminate { .. } => {
                self.counts.indeterminate += 1;
                let sent = self.messages.get_mut(number);
                sent.flags |= MAY_BE_STORED;
                let stream = self.stream(id);
                stream.doubt += 1;
                *stream.doubts.entry(publish.subject.0).or_default() += 1;
                self.rollup(publish, None);
            }
        }
    }

    /// Notes a batch for M12, and its messages one by one.
    pub(crate) fn batch(&mut self, messages: &[Publish], invoked: u64, done: u64, outcome: Outcome) {
        let Some(first) = messages.first() else { return };
        let last_index = messages.len() as u64 - 1;
        let mut numbers = Vec::with_capacity(messages.len());
        for (index, publish) in messages.iter().enumerate() {
            let outcome = match outcome {
                Outcome::Acked { seq, duplicate } => {
                    Outcome::Acked { seq: seq.saturating_sub(last_index) + index as u64, duplicate }
                }
                other => other,
            };
            self.publish(publish, invoked, done, outcome);
            numbers.extend(self.messages.find(publish.publisher, publish.counter));
        }
        if outcome.may_have_happened() {
            self.stream(first.stream).batches.push(numbers);
        }
    }

    pub(crate) fn purge(
        &mut self,
        id: StreamId,
        filter: Option<SubjectId>,
        before: Option<u64>,
        keep: Option<u64>,
        (invoked, done): (u64, u64),
        outcome: Outcome,
    ) {
        if !outcome.may_have_happened() {
            return;
        }
        let name = filter.map(|subject| (subject.0, self.subject(subject.0).to_owned()));
        let stream = self.stream(id);
        stream.activity += 1;
        let below = before.unwrap_or(u64::MAX);
        // What was acked before the purge was sent has a sequence that the purge could see.
        let visible = stream.order.before(invoked);
        let sure = if outcome.happened() { visible.min(below.saturating_sub(1)) } else { 0 };
        stream.purges.note(
            name.as_ref().map(|(subject, name)| (*subject, name.as_str())),
            Purge { below, until_ms: millis(done), sure, keep: keep.unwrap_or_default() },
        );
        if before.is_some() {
            stream.purges.before_seq = true;
            for consumer in stream.consumers.clone() {
                self.consumers[usize::from(consumer)].floors.forget();
            }
        }
        let literal = name.filter(|(_, name)| !name.contains(['*', '>']));
        self.stream(id).deletions.note(literal.map(|(subject, _)| subject));
    }

    fn rollup(&mut self, publish: &Publish, seq: Option<u64>) {
        let filter = match publish.role {
            Role::RollupAll => None,
            role if role.rolls_subject() => Some((publish.subject.0, "")),
            _ => return,
        };
        let (below, sure) = seq.map_or((u64::MAX, 0), |seq| (seq, seq.saturating_sub(1)));
        let purge = Purge { below, until_ms: u32::MAX, sure, keep: 0 };
        let stream = self.stream(publish.stream);
        stream.purges.note(filter, purge);
        stream.deletions.note(filter.map(|(subject, _)| subject));
    }

    fn acked(&mut self, id: StreamId, number: u32, seq: u64) {
        let sent = *self.messages.get(number);
        let size = self.size(number);
        if sent.flags & WAS_ACKED != 0 && sent.seq != seq && sent.flags & RETRIED == 0 {
            self.message_violation(Invariant::M4, id.0, "acked twice", seq, number, || {
                format!("acked as {} and as {seq}, and sent once", sent.seq)
            });
        }
        let sent = self.messages.get_mut(number);
        sent.flags |= WAS_ACKED | MAY_BE_STORED;
        sent.seq = seq;
        self.bind(id, number, seq, ACKED | LIVE);
        let stream = self.stream(id);
        stream.largest = stream.largest.max(size);
        stream.known_last = stream.known_last.max(seq);
    }

    /// M6 *no sequence is given twice*: over the whole history, across faults, a sequence of a stream stands for
    /// one message. A lost tail whose numbers are issued again is the worst of outcomes: consumers believe that
    /// they have seen what they have not.
    pub(crate) fn bind(&mut self, id: StreamId, number: u32, seq: u64, flags: u8) {
        let slot = self.stream(id).slots.get(seq);
        let same = slot.message == number + 1;
        if slot.message != 0 && !same {
            let before = slot.message - 1;
            let (publisher, counter) = self.messages.name(number);
            let forgotten = self.stream(id).forgotten.is_some_and(|(last, known)| last < seq && seq <= known);
            let class =
                if forgotten { "sequence used again, by an emptied stream" } else { "sequence used again" };
            self.message_violation(Invariant::M6, id.0, class, seq, before, || {
                format!("{seq} was given again, to {publisher}.{counter}")
            });
            let open = slot.flags & LIVE != 0 && slot.flags & (REPORTED | MAYBE_DELETED) == 0;
            if open && !self.may_be_removed(id, seq, before) {
                self.m1_lost(id, seq, before, slot.flags, "lost, sequence used again");
            }
        }
        let kept = if same { slot.flags & !GONE } else { 0 };
        self.stream(id).slots.set(seq, Slot { message: number + 1, flags: kept | flags });
    }

    /// M5 *acks are in order*: if one publish was acked before another was sent, its sequence is lower. A publish
    /// that expects a last sequence gets the next one.
    fn m5_in_order(&mut self, publish: &Publish, number: u32, invoked: u64, done: u64, seq: u64) {
        let stream = self.stream(publish.stream);
        let before = stream.order.before(invoked);
        stream.order.acked(done, seq);
        if before >= seq {
            stream.order.reset();
            stream.order.acked(done, seq);
            self.message_violation(Invariant::M5, publish.stream.0, "out of order", seq, number, || {
                format!("acked as {seq}, but {before} had been acked before it was sent")
            });
        }
        if let Expect::LastSeq(expected) = publish.expect
            && expected + 1 != seq
        {
            self.message_violation(
                Invariant::M5,
                publish.stream.0,
                "expectation ignored",
                seq,
                number,
                || format!("expected last sequence {expected}, stored as {seq}"),
            );
        }
    }

    /// M10 *duplicates are known*: within the duplicate window a message that is sent again with its id is
    /// acked as a duplicate, with the sequence of the original.
    fn m10_duplicate(&mut self, publish: &Publish, number: u32, seq: u64) {
        let stream = publish.stream;
        let sent = *self.messages.get(number);
        if sent.flags & WAS_ACKED != 0 && sent.seq != seq && sent.flags & MAY_REPEAT == 0 {
            self.message_violation(Invariant::M10, stream.0, "wrong original", seq, number, || {
                format!("called a duplicate of {seq}, but was acked as {}", sent.seq)
            });
        } else if sent.flags & (WAS_ACKED | MAY_BE_STORED) == 0 {
            self.message_violation(Invariant::M10, stream.0, "called a duplicate", seq, number, || {
                format!("called a duplicate of {seq} at its first sending")
            });
        } else if self.stream(stream).slots.get(seq).message == number + 1 {
            // It says that the message was stored, which was known, and not that it is there still: the ids of deleted messages
            // are remembered too.
            let sent = self.messages.get_mut(number);
            sent.flags |= WAS_ACKED;
            sent.seq = seq;
        } else {
            // The server says where an earlier attempt of unknown outcome went.
            self.acked(stream, number, seq);
        }
    }

    /// The other half of M10: a new sequence within the window. After a restart the server knows only the ids of
    /// messages that are still stored (nats-server `stream.go:rebuildDedupe`); that an id of a removed message
    /// is forgotten is measured, not a violation.
    fn m10_not_duplicate(&mut self, publish: &Publish, number: u32, done: u64, seq: u64) {
        let sent = *self.messages.get(number);
        if sent.flags & WAS_ACKED == 0 || sent.flags & RETRIED == 0 {
            if sent.flags & (MAY_BE_STORED | RETRIED) == MAY_BE_STORED | RETRIED
                && (sent.flags & HAS_ID == 0 || !self.within_window(publish.stream, sent.invoked_ms, done))
            {
                self.messages.get_mut(number).flags |= MAY_REPEAT;
            }
            return;
        }
        let target = Target { stream: publish.stream.0, consumer: None };
        let in_window = self.within_window(publish.stream, sent.invoked_ms, done);
        self.messages.get_mut(number).flags |= MAY_REPEAT;
        if sent.flags & HAS_ID == 0 || !in_window {
            self.measure("stored-by-retry", target, 0);
        } else if self.surely_still_there(publish.stream, sent.seq) {
            let class = if self.stream(publish.stream).crashed_without_newest {
                "stored again, newest deleted"
            } else {
                "stored again"
            };
            self.message_violation(Invariant::M10, target.stream, class, seq, number, || {
                format!("acked as {}, and as {seq} within the duplicate window", sent.seq)
            });
        } else {
            self.measure("dedup-forgotten", target, 0);
        }
    }

    fn within_window(&mut self, id: StreamId, first_ms: u32, done: u64) -> bool {
        let window = self.stream(id).rules.window_us;
        done != NEVER && done.saturating_sub(u64::from(first_ms) * 1000) + WINDOW_SLACK_US < window
    }

    /// Whether nothing can have removed a message since it was stored.
    fn surely_still_there(&mut self, id: StreamId, seq: u64) -> bool {
        let stream = self.stream(id);
        let slot = stream.slots.get(seq);
        let newer = stream.known_last.saturating_sub(seq) + stream.doubt + 1;
        let rules = &stream.tight;
        slot.flags & LIVE != 0
            && slot.flags & MAYBE_DELETED == 0
            && !stream.purges.any()
            && rules.retention == Retention::Limits
            && rules.max_per_subject == u64::MAX
            && rules.max_age_us == u64::MAX
            && newer < rules.max_msgs
            && newer.saturating_mul(stream.largest) < rules.max_bytes
    }

    /// Whether nobody asked for the removal of a message, and no age or ack can have removed it. Limits remove the oldest first.
    fn surely_not_removed(&mut self, id: StreamId, seq: u64) -> bool {
        let has_ttls = self.has_ttls;
        let stream = self.stream(id);
        let slot = stream.slots.get(seq);
        slot.flags & LIVE != 0
            && slot.flags & MAYBE_DELETED == 0
            && !stream.purges.any()
            && !has_ttls
            && stream.tight.retention == Retention::Limits
            && stream.tight.max_age_us == u64::MAX
    }

    /// V1, its condition: a publish that expects a revision of its subject is stored only if that is the last
    /// one. Decided where a newer one is known to lie between, and nothing can have removed that.
    fn v1_expected(&mut self, publish: &Publish, number: u32, seq: u64) {
        let stream = self.stream(publish.stream);
        let last = stream.last_of_subject.insert(publish.subject.0, seq).unwrap_or_default();
        if last > seq {
            stream.last_of_subject.insert(publish.subject.0, last);
        }
        if let Expect::LastSubjectSeq(expected) = publish.expect
            && expected != 0
            && expected < last
            && last < seq
            && self.surely_not_removed(publish.stream, last)
        {
            self.message_violation(Invariant::V1, publish.stream.0, "stale revision", seq, number, || {
                format!("expected revision {expected}, but {last} was the last one")
            });
        }
    }

    /// An upper bound of what the server counts for a message (nats-server `filestore.go:fileStoreMsgSize`, with
    /// room for its own headers).
    pub(crate) fn size(&self, number: u32) -> u64 {
        let sent = self.messages.get(number);
        let subject = self.subject(sent.subject).len() as u64;
        u64::from(sent.len.max(18)) + 2 * u64::from(sent.headers_len) + subject + 400
    }

    /// A lower bound of what a message takes in a block (nats-server `filestore.go:fileStoreMsgSizeRaw`).
    pub(crate) fn least_size(&self, number: u32) -> u64 {
        let sent = self.messages.get(number);
        30 + self.subject(sent.subject).len() as u64 + u64::from(sent.headers_len) + u64::from(sent.len)
    }
}
