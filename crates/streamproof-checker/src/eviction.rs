//! M8: whether a message that is no longer there was rightly removed.

use crate::column::{MAYBE_DELETED, Slot};
use crate::consumer::LOSABLE;
use crate::messages::ADOPTED;
use crate::promise::ACK_WINDOW_US;
use crate::rules::Retention;
use crate::stream::Purged;
use crate::world::World;
use streamproof_model::op::{StreamId, Ttl};

/// How far limits of age are left alone: the server looks at ages from time to time, and its clock is another.
pub(crate) const AGE_SLACK_US: u64 = 5_000_000;

/// What lies above a message in its stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Above {
    /// Messages that were stored above it.
    pub(crate) count: u64,
    /// An upper bound of their bytes.
    pub(crate) bytes: u64,
    /// The lowest sequence that is present.
    pub(crate) first_present: u64,
}

impl World<'_> {
    /// M8 *a removal is justified*: a message that is gone was deleted, purged or rolled up; or acked, where acks
    /// remove; or so many newer ones came, in the stream or on its subject, that a limit removed it; or its age or
    /// time to live was reached. Conservative: what may have happened (operations of unknown outcome, the tighter
    /// of two configurations) justifies too. Limits of the whole stream take the oldest first (nats-server
    /// `filestore.go:deleteFirstMsg`), so they justify nothing above a message that is present.
    pub(crate) fn m8_justified(
        &mut self,
        id: StreamId,
        seq: u64,
        slot: Slot,
        number: Option<u32>,
        above: Above,
        at: u64,
    ) -> bool {
        if slot.flags & MAYBE_DELETED != 0 {
            return true;
        }
        let Some(number) = number else { return true };
        let sent = *self.messages.get(number);
        let size = self.size(number);
        let age_us = at.saturating_sub(u64::from(sent.invoked_ms) * 1000);
        let ttl = self.messages.ttl(number);
        let ttl_due = matches!(ttl, Ttl::Seconds(seconds)
            if age_us + AGE_SLACK_US >= u64::from(seconds) * 1_000_000);
        if ttl_due {
            return true;
        }
        let newer_on_subject = self.newer.get(sent.subject);
        let stream = &self.streams[usize::from(id.0)];
        let rules = &stream.tight;
        // A message of unknown outcome that pushed this one out is itself there, or was pushed out by newer ones
        // that are; unless something else can have removed it.
        let vanishes = self.has_ttls
            || self.unnamed_read
            || rules.max_age_us != u64::MAX
            || rules.retention != Retention::Limits;
        let doubt = if vanishes || stream.deletions.any() { stream.doubt } else { 0 };
        let doubts = if vanishes || stream.deletions.on(sent.subject) {
            u64::from(stream.doubts.get(&sent.subject).copied().unwrap_or_default())
        } else {
            0
        };
        let by_age = ttl != Ttl::Never
            && rules.max_age_us != u64::MAX
            && (self.messages.name(number).0 == ADOPTED
                || age_us + AGE_SLACK_US.min(rules.max_age_us / 2) >= rules.max_age_us);
        let by_subject = newer_on_subject + doubts >= rules.max_per_subject;
        let is_head = seq < above.first_present && !rules.discard_new;
        let by_count = is_head && above.count + doubt >= rules.max_msgs;
        let by_bytes =
            is_head && above.bytes + size + (doubt + 1) * stream.largest.max(size) >= rules.max_bytes;
        if by_age || by_subject || by_count || by_bytes || stream.removed {
            return true;
        }
        let purged = Purged {
            seq,
            subject: sent.subject,
            name: self.subject(sent.subject),
            invoked_ms: sent.invoked_ms,
            newer: above.count + stream.doubt,
            newer_on_subject: newer_on_subject + doubts,
        };
        stream.purges.may_hit(purged) || self.may_be_consumed(id, seq, sent.subject, sent.invoked_ms)
    }

    /// Whether a purge or its consumers may have removed a message since the stream was last read.
    pub(crate) fn may_be_removed(&mut self, id: StreamId, seq: u64, number: u32) -> bool {
        let sent = self.messages.get(number);
        let (subject, invoked_ms) = (sent.subject, sent.invoked_ms);
        let name = self.subject(subject);
        // How many newer ones a purge that keeps some would have counted is not known here.
        let newer = u64::MAX;
        let purged = Purged { seq, subject, name, invoked_ms, newer, newer_on_subject: newer };
        self.streams[usize::from(id.0)].purges.may_hit(purged)
            || self.may_be_consumed(id, seq, subject, invoked_ms)
    }

    /// Whether so many messages have been stored above a sequence, gone or not, that a limit may have removed what was there.
    pub(crate) fn may_have_been_evicted(&mut self, id: StreamId, seq: u64, subject: u32) -> bool {
        let stream = &self.streams[usize::from(id.0)];
        let (now, tight) = (&stream.rules, &stream.tight);
        let most = now.max_msgs.min(tight.max_msgs);
        let most_bytes = now.max_bytes.min(tight.max_bytes);
        let most_of_subject = now.max_per_subject.min(tight.max_per_subject);
        let (mut count, mut bytes, mut of_subject) = (0, self.size_at(id, seq), 0);
        for above in seq + 1..=stream.known_last {
            let Some(number) = stream.slots.get(above).message.checked_sub(1) else { continue };
            count += 1;
            bytes += self.size(number);
            of_subject += u64::from(self.messages.get(number).subject == subject);
            if count >= most || bytes > most_bytes || of_subject >= most_of_subject {
                return true;
            }
        }
        false
    }

    fn size_at(&self, id: StreamId, seq: u64) -> u64 {
        let message = self.streams[usize::from(id.0)].slots.get(seq).message;
        message.checked_sub(1).map_or(0, |number| self.size(number))
    }

    /// Whether acks may have removed a message: any consumer's in a work queue; those of all interested ones in
    /// an interest stream, where a message that interests nobody goes too.
    fn may_be_consumed(&mut self, id: StreamId, seq: u64, subject: u32, invoked_ms: u32) -> bool {
        let retention = self.streams[usize::from(id.0)].tight.retention;
        if retention == Retention::Limits {
            return false;
        }
        for index in 0..self.streams[usize::from(id.0)].consumers.len() {
            let consumer = usize::from(self.streams[usize::from(id.0)].consumers[index]);
            let name = self.subjects.get(subject as usize).map_or("", String::as_str);
            let consumer = &mut self.consumers[consumer];
            let interested = !consumer.removed
                && !consumer.vague
                && consumer.rules.deliver_all
                && consumer.declared_us / 1000 <= u64::from(invoked_ms)
                && consumer.matches(subject, name);
            let acked = consumer.may_have_acked(seq);
            match retention {
                Retention::WorkQueue if acked => return true,
                Retention::Interest if interested && !acked => return false,
                _ => {}
            }
        }
        retention == Retention::Interest
    }

    /// C9 *what is acked is gone*: whether a message of a work queue or interest stream was double-acked by
    /// whoever it was for, so that it must be absent. The last of these acks removes it before its answer (nats-server
    /// `stream.go:ackMsg`), so it stays away; the earlier ones are with their consumers only, and one that a crash may
    /// have taken before the last came removes nothing.
    pub(crate) fn c9_must_be_gone(&mut self, id: StreamId, seq: u64, subject: u32) -> bool {
        let retention = self.streams[usize::from(id.0)].rules.retention;
        if retention == Retention::Limits {
            return false;
        }
        let mut acked_by_all = false;
        for index in 0..self.streams[usize::from(id.0)].consumers.len() {
            let consumer = usize::from(self.streams[usize::from(id.0)].consumers[index]);
            let name = self.subjects.get(subject as usize).map_or("", String::as_str);
            let consumer = &mut self.consumers[consumer];
            if consumer.vague {
                return false;
            }
            if consumer.removed || !consumer.matches(subject, name) {
                continue;
            }
            if !consumer.has_acked(seq) {
                return false;
            }
            acked_by_all = true;
        }
        acked_by_all
    }

    /// A crash begins that may take the young acks of an interest stream: those of messages that others had still to ack.
    pub(crate) fn c9_acks_at_stake(&mut self, index: usize, begun: u64) {
        let id = StreamId(self.consumers[index].stream);
        if self.streams[usize::from(id.0)].rules.retention != Retention::Interest {
            return;
        }
        let recent = &self.consumers[index].recent;
        let young: Vec<u64> =
            recent.iter().filter(|(at, _)| at + ACK_WINDOW_US > begun).map(|(_, seq)| *seq).collect();
        for seq in young {
            let message = self.streams[usize::from(id.0)].slots.get(seq).message;
            let subject = message.checked_sub(1).map(|number| self.messages.get(number).subject);
            if !subject.is_some_and(|subject| self.c9_must_be_gone(id, seq, subject)) {
                self.consumers[index].marks.slot(seq).flags |= LOSABLE;
            }
        }
    }
}
