//! M7, M11, C3, C4, C6: what snapshots of streams and consumers say.

use crate::column::{GONE, LIVE};
use crate::consumer::{AGED, DELIVERED, DOUBLE, NAKED, UNSURE, YOUNG};
use crate::promise::{ACK_WINDOW_US, Promise, Property};
use crate::rules::AckPolicy;
use crate::stream::Reading;
use crate::verdict::Invariant;
use crate::world::World;
use streamproof_model::op::{ConsumerSnapshot, Phase, StreamId, StreamSnapshot};

impl World<'_> {
    pub(crate) fn stream_info(&mut self, info: &StreamSnapshot) {
        let id = info.stream;
        self.stream(id);
        if info.phase != Phase::Busy {
            self.m7_state(info);
            if info.phase == Phase::Quiet {
                self.note_wrong_first(info);
            }
            self.m8_bytes(info);
            self.m11_arithmetic(info);
        }
        self.k3_created(id, None, info.created_ns);
        let stream = self.stream(id);
        if info.messages > 0 {
            stream.known_first = stream.known_first.max(info.first_seq);
        }
        stream.known_last = stream.known_last.max(info.last_seq);
        stream.info = Some((info.clone(), stream.activity));
    }

    /// M7 *sequences never fall*: the last sequence is at least every sequence that was acked, read or reported
    /// before, of an empty stream too (nats-server #6881, #7384, #7627 show only there); the first sequence of
    /// a stream that holds messages does not fall either. An empty stream's first sequence says nothing: a good
    /// server reports it wrongly after a purge.
    fn m7_state(&mut self, info: &StreamSnapshot) {
        let stream = self.stream(info.stream);
        let (known_last, known_first) = (stream.known_last, stream.known_first);
        if info.last_seq < known_last {
            // What follows would only repeat it.
            stream.known_last = info.last_seq;
            stream.forgotten = (info.messages == 0).then_some((info.last_seq, known_last));
            stream.order.reset();
            let class = if info.messages == 0 { "last sequence fell, empty" } else { "last sequence fell" };
            self.violation(Invariant::M7, info.stream.0, class, Some(info.last_seq), || {
                format!("last_seq is {}, and {known_last} was known", info.last_seq)
            });
        }
        if info.messages > 0 && info.first_seq < known_first && info.last_seq >= known_first {
            self.stream(info.stream).known_first = info.first_seq;
            let number = self.stream(info.stream).slots.get(info.first_seq).message.checked_sub(1);
            let evicted = match number {
                Some(number) => {
                    let subject = self.messages.get(number).subject;
                    self.may_have_been_evicted(info.stream, info.first_seq, subject)
                }
                // One of unknown outcome, which nobody has seen: where there are limits, one of them removed it.
                None => self.stream(info.stream).rules.has_limits(),
            };
            let at_stop = number.is_some_and(|number| self.stream(info.stream).gone_at_stop.contains(number));
            let removed = number.is_some_and(|number| {
                let flags = self.stream(info.stream).slots.get(info.first_seq).flags;
                let subject = self.messages.get(number).subject;
                self.is_removed(info.stream, info.first_seq, flags, subject)
            });
            let lives = self.stream(info.stream).slots.get(known_first).flags & LIVE != 0;
            let before = removed && lives && self.is_removed_above(info.stream, known_first);
            let wrong_first = removed && self.stream(info.stream).wrong_first;
            let class = match (evicted, at_stop) {
                _ if wrong_first && self.index_is_refused(info.stream) => "first sequence fell, wrong first",
                (true, _) => "first sequence fell, evicted",
                (false, true) => "first sequence fell, gone at a stop",
                (false, false) if wrong_first => "first sequence fell, wrong first",
                (false, false) if before => "first sequence fell, before the first",
                (false, false) => "first sequence fell",
            };
            self.violation(Invariant::M7, info.stream.0, class, Some(info.first_seq), || {
                format!("first_seq is {}, and was {known_first}", info.first_seq)
            });
        }
    }

    /// M8, as to bytes: no more than `max_bytes`.
    fn m8_bytes(&mut self, info: &StreamSnapshot) {
        let most = self.stream(info.stream).loose.max_bytes;
        if info.bytes > most {
            self.violation(Invariant::M8, info.stream.0, "more than max_bytes", None, || {
                format!("{} bytes, max_bytes is {most}", info.bytes)
            });
        }
    }

    /// M11 *the state adds up*: messages = last − first + 1 − deleted, and the subjects' messages sum up to them.
    /// Not of an empty stream: a good server's first sequence and deleted count are wrong there after a purge.
    /// `state.lost` proves nothing: it is set for messages that were rightly deleted.
    fn m11_arithmetic(&mut self, info: &StreamSnapshot) {
        if info.messages == 0 {
            return;
        }
        let span = (info.last_seq + 1).saturating_sub(info.first_seq);
        if info.messages + info.num_deleted != span {
            self.violation(Invariant::M11, info.stream.0, "state does not add up", None, || {
                format!(
                    "{} messages and {} deleted from {} to {}",
                    info.messages, info.num_deleted, info.first_seq, info.last_seq
                )
            });
        }
        if let Some(sum) = info.by_subject
            && sum != info.messages
        {
            self.violation(Invariant::M11, info.stream.0, "subjects do not add up", None, || {
                format!("{} messages, {sum} by subject", info.messages)
            });
        }
    }

    /// M11, as to what is stored: as many messages can be read as the state says, from its first sequence to its
    /// last. Compared only if nothing happened in between; where ages remove messages, fewer is right.
    pub(crate) fn m11_counts(&mut self, id: StreamId, reading: &Reading) {
        let stream = self.stream(id);
        let Some((info, activity)) = &stream.info else { return };
        if info.phase == Phase::Busy || *activity != stream.activity || stream.copies() {
            return;
        }
        let info = info.clone();
        let expires = stream.tight.max_age_us != u64::MAX || self.has_ttls;
        let read = reading.count + reading.unreadable;
        let agree = read == info.messages || (expires && read < info.messages);
        if !agree {
            self.violation(Invariant::M11, id.0, "count differs from what is read", None, || {
                format!("the state says {} messages, {read} were read", info.messages)
            });
        }
        if reading.count > 0 && (reading.last > info.last_seq || reading.first < info.first_seq) {
            self.violation(Invariant::M11, id.0, "read outside of the state", Some(reading.last), || {
                format!(
                    "read from {} to {}, the state says {} to {}",
                    reading.first, reading.last, info.first_seq, info.last_seq
                )
            });
        }
    }

    pub(crate) fn consumer_info(&mut self, at: u64, info: &ConsumerSnapshot) {
        let id = info.consumer;
        self.consumer(id);
        if info.phase != Phase::Busy {
            self.c4_not_ahead(info);
            match info.phase {
                Phase::After => {
                    self.c3_floor(info);
                    self.consumer(id).kept(info.floor_stream);
                }
                Phase::Quiet => self.consumer(id).floors.saw(at, info.floor_stream),
                Phase::Busy => {}
            }
        }
        let stream = self.consumer(id).stream;
        self.k3_created(StreamId(stream), Some(id), info.created_ns);
        let activity = self.streams[usize::from(stream)].activity;
        self.consumer(id).info = Some((info.clone(), at, activity));
    }

    /// C4 *not ahead*: a consumer has neither delivered nor acked beyond the last sequence of its stream
    /// (nats-server #6600, #5412). After a purge up to a sequence that leaves nothing, a good server's floor lies
    /// elsewhere.
    fn c4_not_ahead(&mut self, info: &ConsumerSnapshot) {
        let stream = &self.streams[usize::from(self.consumers[usize::from(info.consumer.0)].stream)];
        let Some((state, activity)) = &stream.info else { return };
        if state.phase == Phase::Busy || *activity != stream.activity || stream.purges.before_seq {
            return;
        }
        let last = state.last_seq;
        let ahead = info.floor_stream.max(info.delivered_stream);
        if ahead > last {
            self.consumer_violation(
                Invariant::C4,
                info.consumer.0,
                "ahead of its stream",
                Some(ahead),
                || {
                    format!(
                        "delivered {}, ack floor {}, and the stream ends at {last}",
                        info.delivered_stream, info.floor_stream
                    )
                },
            );
        }
    }

    /// C3 *the ack floor holds*: after a recovery the ack floor is at least F, the highest durably double-acked
    /// sequence below which every matching message is durably double-acked, or was gone before it was delivered;
    /// and at least what it was in a snapshot that is old enough, or any snapshot after a graceful stop, of this life of the server
    /// or an earlier one. Durable is what the promise table says: by default, answered [`ACK_WINDOW_US`] before the fault.
    fn c3_floor(&mut self, info: &ConsumerSnapshot) {
        let id = info.consumer;
        let index = usize::from(id.0);
        let stream = usize::from(self.consumers[index].stream);
        let consumer = &self.consumers[index];
        if consumer.removed || consumer.rules.ack == AckPolicy::None || consumer.vague {
            return;
        }
        let promise = self.streams[stream].row(Property::Floors).promise;
        // After a purge up to a sequence a good server's floor moves; other purges only raise it (nats-server
        // consumer.go:purge).
        let purged = self.streams[stream].purges.before_seq;
        let held = match (promise, self.findings.fault) {
            (Promise::Yes, Some((kind, begun))) if !purged => Some((kind, begun)),
            (Promise::Window, Some((kind, begun))) if !purged => {
                Some((kind, begun.saturating_sub(ACK_WINDOW_US)))
            }
            _ => None,
        };
        if let (Some((before, at, _)), Some((kind, begun)), false) =
            (&consumer.info, self.findings.fault, purged)
            && before.phase != Phase::After
        {
            let old_enough = match promise {
                Promise::Yes => before.phase == Phase::Quiet,
                Promise::Window => at + ACK_WINDOW_US <= begun,
                // What is not promised is still told, if all was quiet: the report says what it costs.
                Promise::No => before.phase == Phase::Quiet,
            };
            let floor = before.floor_stream;
            if old_enough && info.floor_stream < floor {
                self.consumer_violation(
                    Invariant::C3,
                    id.0,
                    fell(info.floor_stream),
                    Some(info.floor_stream),
                    || format!("ack floor {} after {}, {floor} before", info.floor_stream, kind.name()),
                );
                self.consumers[index].floors.forget();
                return;
            }
        }
        if let Some((kind, until)) = held {
            let floor = self.consumers[index].floors.by(until);
            if info.floor_stream < floor {
                self.consumers[index].floors.forget();
                self.consumer_violation(
                    Invariant::C3,
                    id.0,
                    fell(info.floor_stream),
                    Some(info.floor_stream),
                    || format!("ack floor {} after {}, {floor} earlier", info.floor_stream, kind.name()),
                );
                return;
            }
        }
        match (held, self.findings.fault) {
            (Some((kind, _)), _) if kind.restarts() => {
                self.consumers[index].floors.restarted(info.floor_stream);
            }
            (None, Some((kind, _))) if kind.restarts() => self.consumers[index].floors.forget(),
            _ => {}
        }
        let mut floor = self.acked_floor(index, stream);
        // A running server's floor can lag behind what was acked: where it was seen to after the last answer, the fault took nothing.
        if let Some((before, at, _)) = &self.consumers[index].info
            && before.phase == Phase::Quiet
            && *at >= self.consumers[index].last_answer
        {
            floor = floor.min(before.floor_stream);
        }
        if info.floor_stream < floor && !purged {
            self.consumer_violation(Invariant::C3, id.0, "below what was acked", Some(floor), || {
                format!("ack floor {}, and all up to {floor} was double-acked", info.floor_stream)
            });
        }
    }

    /// Walks on to the lowest matching message that is not durably double-acked.
    fn acked_floor(&mut self, index: usize, stream: usize) -> u64 {
        let durable = self.streams[stream].row(Property::Floors).promise == Promise::Yes;
        let Self { consumers, streams, messages, subjects, .. } = self;
        let (consumer, stream) = (&mut consumers[index], &streams[stream]);
        if consumer.rules.ack == AckPolicy::All {
            return if durable { consumer.all_double } else { consumer.all_aged };
        }
        while consumer.walked < stream.known_last {
            let seq = consumer.walked + 1;
            let mark = consumer.marks.get(seq);
            let slot = stream.slots.get(seq);
            let acked = mark.flags & DOUBLE != 0
                && mark.flags & (NAKED | UNSURE) == 0
                && (mark.flags & AGED != 0 || (durable && mark.flags & YOUNG == 0));
            if acked {
                consumer.floor = seq;
            } else if slot.message == 0 {
                return consumer.floor;
            } else {
                let subject = messages.get(slot.message - 1).subject;
                let name = subjects.get(subject as usize).map_or("", String::as_str);
                let matches = consumer.matches(subject, name);
                let gone_unseen = slot.flags & GONE != 0 && mark.flags & DELIVERED == 0;
                if matches && !gone_unseen {
                    return consumer.floor;
                }
            }
            consumer.walked = seq;
        }
        consumer.floor
    }

    /// C6 *the counts agree*: `num_pending` is the number of matching messages above what was delivered, as read
    /// back with nothing happening in between; `num_ack_pending` is within `max_ack_pending`. Only right after a
    /// recovery from a fault that ended the process: of a running server it has been seen off by one or two (2.11.6,
    /// 2.12.2), and a restart counts anew.
    pub(crate) fn c6_counts(&mut self, id: StreamId) {
        for position in 0..self.stream(id).consumers.len() {
            let consumer = self.stream(id).consumers[position];
            let index = usize::from(consumer);
            let activity = self.stream(id).activity;
            let state = &self.consumers[index];
            let Some((info, _, at_activity)) = &state.info else { continue };
            if info.phase != Phase::After || *at_activity != activity || state.removed {
                continue;
            }
            let info = info.clone();
            let most = state.rules.max_ack_pending;
            let counted_anew = self.findings.fault.is_none_or(|(kind, _)| kind.restarts());
            let comparable = state.rules.deliver_all && !state.vague && counted_anew;
            if info.ack_pending > most {
                self.consumer_violation(Invariant::C6, consumer, "more than max_ack_pending", None, || {
                    format!("{} pending acks, max_ack_pending is {most}", info.ack_pending)
                });
            }
            if !comparable || self.stream(id).copies() || self.may_expire(id) {
                continue;
            }
            let expected = self.matching_above(id, index, info.delivered_stream);
            if info.pending != expected {
                self.consumer_violation(Invariant::C6, consumer, "num_pending", None, || {
                    format!(
                        "num_pending {}, and {expected} matching messages lie above {}",
                        info.pending, info.delivered_stream
                    )
                });
            }
        }
    }

    fn may_expire(&mut self, id: StreamId) -> bool {
        self.has_ttls || self.stream(id).tight.max_age_us != u64::MAX || self.unnamed_read
    }

    fn matching_above(&mut self, id: StreamId, index: usize, delivered: u64) -> u64 {
        let Self { consumers, streams, messages, subjects, .. } = self;
        let (consumer, stream) = (&mut consumers[index], &streams[usize::from(id.0)]);
        let mut count = 0;
        let mut next = stream.slots.next_live(delivered + 1);
        while let Some(seq) = next {
            let slot = stream.slots.get(seq);
            if slot.message != 0 && slot.flags & LIVE != 0 {
                let subject = messages.get(slot.message - 1).subject;
                let name = subjects.get(subject as usize).map_or("", String::as_str);
                count += u64::from(consumer.matches(subject, name));
            }
            next = stream.slots.next_live(seq + 1);
        }
        count
    }
}

/// A floor that is gone altogether is told apart: that is a state which was lost, not an older one.
fn fell(floor: u64) -> &'static str {
    if floor == 0 { "ack floor fell to nothing" } else { "ack floor fell" }
}
