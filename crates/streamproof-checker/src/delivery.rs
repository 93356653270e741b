//! C1, C2, C7, C8: what deliveries and acks say.

use crate::column::{LIVE, READ};
use crate::consumer::{AGED, Consumer, DELIVERED, DOUBLE, LOSABLE, MAYBE_ACKED, NAKED, UNSURE, YOUNG};
use crate::findings::Target;
use crate::promise::ACK_WINDOW_US;
use crate::rules::AckPolicy;
use crate::verdict::{Invariant, OVER_BUDGET};
use crate::world::World;
use streamproof_model::op::{AckKind, ConsumerId, Deliver, FaultKind, Outcome, Seen, StreamId};

impl World<'_> {
    pub(crate) fn ack(&mut self, id: ConsumerId, seq: u64, kind: AckKind, done: u64, outcome: Outcome) {
        let stream = StreamId(self.consumer(id).stream);
        self.stream(stream).activity += 1;
        if !outcome.may_have_happened() {
            return;
        }
        let answered = outcome.happened();
        self.counts.double_acked += u64::from(kind == AckKind::DoubleAck && answered);
        let consumer = self.consumer(id);
        let all = consumer.rules.ack == AckPolicy::All;
        let mark = consumer.marks.slot(seq);
        match kind {
            AckKind::Ack | AckKind::DoubleAck | AckKind::Term => {
                mark.flags |= MAYBE_ACKED;
                if all {
                    consumer.all_maybe = consumer.all_maybe.max(seq);
                }
            }
            AckKind::Nak => mark.flags |= NAKED,
            AckKind::InProgress => {}
        }
        if kind == AckKind::DoubleAck && answered {
            // A later ack of a message that was sent back, or whose ack was young at a fault, counts anew.
            mark.flags = (mark.flags & !(NAKED | YOUNG | AGED | UNSURE | LOSABLE)) | DOUBLE;
            if all {
                consumer.all_double = consumer.all_double.max(seq);
            }
            consumer.young.remove(&seq);
            consumer.double_acked(done, seq);
        }
    }

    pub(crate) fn deliver(&mut self, at: u64, delivery: &Deliver) {
        self.counts.delivered += 1;
        let id = delivery.consumer;
        let index = usize::from(id.0);
        let stream = StreamId(self.consumer(id).stream);
        self.stream(stream).activity += 1;
        self.saw(stream, delivery);
        // What arrives while a server goes down is of the life that ends: the next one knows nothing of it.
        let ends = self.faults.last().is_some_and(|fault| fault.kind.restarts() && !fault.recovered);
        if !ends {
            self.c1_not_again(at, delivery);
        }
        self.c7_counted(delivery);
        self.c8_matching_and_in_order(delivery, ends);
        let consumer = &mut self.consumers[index];
        let epoch = if ends { consumer.epoch_before() } else { consumer.epoch };
        let mark = consumer.marks.slot(delivery.seq);
        mark.flags |= DELIVERED;
        mark.count = u8::try_from(delivery.delivered).unwrap_or(u8::MAX);
        mark.epoch = epoch;
    }

    /// A delivery is a reading: it says what is at a sequence, and that must stay (M2).
    fn saw(&mut self, stream: StreamId, delivery: &Deliver) {
        let (publisher, counter) = match delivery.seen {
            Seen::Ours { publisher, counter, .. } | Seen::Damaged { publisher, counter, .. } => {
                (publisher, counter)
            }
            Seen::Foreign { .. } => return,
        };
        let Some(number) = self.messages.find(publisher, counter) else {
            // The publish may be in flight still; a stored one is judged when it is read back.
            return;
        };
        if matches!(delivery.seen, Seen::Damaged { .. }) {
            self.message_violation(Invariant::M1, stream.0, "altered body", delivery.seq, number, || {
                "its bytes, as delivered, are not those that were sent".to_owned()
            });
        }
        let slot = self.stream(stream).slots.get(delivery.seq);
        if slot.message == number + 1 {
            self.stream(stream).slots.mark(delivery.seq, READ);
        } else {
            self.bind(stream, number, delivery.seq, READ | LIVE);
        }
    }

    /// C1 *double-acked means done*: a message whose double ack was answered before a fault is not delivered again
    /// by that consumer after it. Where the promise is a window, an ack younger than [`ACK_WINDOW_US`] at the
    /// fault is measured and no violation. C2: that a plainly acked one comes again is measured. Only after faults
    /// that end the server's process: on a running server a redelivery can be under way when an ack arrives.
    fn c1_not_again(&mut self, at: u64, delivery: &Deliver) {
        let id = delivery.consumer;
        let index = usize::from(id.0);
        let seq = delivery.seq;
        let consumer = &self.consumers[index];
        let mark = consumer.marks.get(seq);
        let covered = consumer.rules.ack == AckPolicy::All && seq <= consumer.all_aged;
        let acked = mark.flags & (DOUBLE | MAYBE_ACKED) != 0 || covered;
        if !acked || mark.epoch == consumer.epoch || mark.flags & NAKED != 0 {
            return;
        }
        let Some((kind, begun)) = self.findings.fault.filter(|(kind, _)| FaultKind::restarts(*kind)) else {
            return;
        };
        let stream = consumer.stream;
        let target = Target { stream, consumer: Some(id.0) };
        if mark.flags & DOUBLE == 0 && !covered {
            self.measure("plain-acks-redelivered", target, 0);
            self.c2_within_budget(id, seq);
            return;
        }
        if mark.flags & YOUNG != 0 {
            // Put down to the fault that it was young at, which may be an earlier one: it comes again when it is asked for.
            let (age, young_at) = self.consumers[index].young.get(&seq).copied().unwrap_or((0, kind));
            self.measure_under(Some(young_at), "double-acks-redelivered", target, age);
            self.c2_within_budget(id, seq);
        } else {
            let durable =
                if mark.flags & AGED != 0 || covered { "old enough to be durable" } else { "answered" };
            let holder = &self.streams[usize::from(stream)];
            let message = holder.slots.get(seq).message.checked_sub(1);
            let alone = message.is_some_and(|number| holder.back_alone.contains(number));
            let class = if alone { "redelivered, alone back" } else { "redelivered" };
            self.consumer_violation(Invariant::C1, id.0, class, Some(seq), || {
                format!(
                    "double ack {durable} before {}, delivered again {} ms after it began",
                    kind.name(),
                    at.saturating_sub(begun) / 1000
                )
            });
        }
        // It is unacked again, as far as the server goes.
        self.consumers[index].marks.slot(seq).flags &= !(DOUBLE | AGED | YOUNG);
    }

    /// C2, where the owner has set a budget: of what was acked no more than that comes again after one fault. Counted with
    /// C1, of which it is the part that no server promises.
    fn c2_within_budget(&mut self, id: ConsumerId, seq: u64) {
        let consumer = &mut self.consumers[usize::from(id.0)];
        consumer.again += 1;
        let again = consumer.again;
        let target = Target { stream: consumer.stream, consumer: Some(id.0) };
        if self.context.redelivery.is_empty() {
            return;
        }
        let Some(most) = self.context.redelivery.get(&self.target_name(target)).copied() else { return };
        if again > most {
            self.consumer_violation(Invariant::C1, id.0, OVER_BUDGET, Some(seq), || {
                format!("the {again}. acked message that came again, and the budget is {most}")
            });
        }
    }

    /// C7 *deliveries are counted*: a message is delivered at most `max_deliver` times by its own count, and the
    /// count grows with every delivery, across graceful faults too. (After a crash the count may be as old as the
    /// consumer's state.)
    fn c7_counted(&mut self, delivery: &Deliver) {
        let consumer = &self.consumers[usize::from(delivery.consumer.0)];
        let mark = consumer.marks.get(delivery.seq);
        let (most, count) = (consumer.rules.max_deliver, delivery.delivered);
        let same_life = consumer.since(mark.epoch) <= consumer.graceful;
        if count > most {
            self.consumer_violation(
                Invariant::C7,
                delivery.consumer.0,
                "more than max_deliver",
                Some(delivery.seq),
                || format!("delivered for the {count}th time, max_deliver is {most}"),
            );
        } else if mark.flags & DELIVERED != 0
            && mark.count != u8::MAX
            && same_life
            && count <= u32::from(mark.count)
        {
            self.consumer_violation(
                Invariant::C7,
                delivery.consumer.0,
                "count fell",
                Some(delivery.seq),
                || format!("delivery {count}, after delivery {}", mark.count),
            );
        }
    }

    /// C8 *only what matches, and in order*: a delivered subject matches the consumer's filter; first deliveries
    /// come in the order of the stream.
    fn c8_matching_and_in_order(&mut self, delivery: &Deliver, ends: bool) {
        let id = delivery.consumer;
        let subject = delivery.subject.0;
        let name = self.subjects.get(subject as usize).map_or("", String::as_str);
        let consumer = &mut self.consumers[usize::from(id.0)];
        if !consumer.vague && !name.is_empty() && !consumer.matches(subject, name) {
            let name = name.to_owned();
            self.consumer_violation(Invariant::C8, id.0, "not matching", Some(delivery.seq), || {
                format!("delivered {name}, which its filter does not match")
            });
            return;
        }
        let consumer = &mut self.consumers[usize::from(id.0)];
        let (consumer_seq, seq) = consumer.in_order;
        if ends || delivery.delivered != 1 || delivery.consumer_seq <= consumer_seq {
            return;
        }
        consumer.in_order = (delivery.consumer_seq, delivery.seq.max(seq));
        if delivery.seq <= seq {
            self.consumer_violation(Invariant::C8, id.0, "out of order", Some(delivery.seq), || {
                format!(
                    "first delivery of {} as {}, after {seq} as {consumer_seq}",
                    delivery.seq, delivery.consumer_seq
                )
            });
        }
    }
}

impl Consumer {
    /// Notes an answered double ack; those that have outlived the window become durable.
    fn double_acked(&mut self, done: u64, seq: u64) {
        self.recent.push_back((done, seq));
        self.last_answer = self.last_answer.max(done);
        while let Some((at, seq)) = self.recent.front().copied()
            && at + ACK_WINDOW_US <= done
        {
            self.recent.pop_front();
            self.durable(seq);
        }
    }

    fn durable(&mut self, seq: u64) {
        let mark = self.marks.slot(seq);
        if mark.flags & (DOUBLE | YOUNG) == DOUBLE {
            mark.flags |= AGED;
        }
        if self.rules.ack == AckPolicy::All {
            self.all_aged = self.all_aged.max(seq);
        }
    }

    /// A fault begins: what was double-acked shortly before may be lost in it, unless all is promised.
    pub(crate) fn fault(&mut self, begun: u64, kind: FaultKind, promised: bool) {
        self.in_order = (0, 0);
        self.again = 0;
        if !kind.restarts() {
            return;
        }
        self.epoch = if self.epoch == u8::MAX { 1 } else { self.epoch + 1 };
        self.graceful = if kind.graceful() { self.graceful.saturating_add(1) } else { 0 };
        for (at, seq) in std::mem::take(&mut self.recent) {
            if !kind.graceful() && at + ACK_WINDOW_US > begun {
                self.marks.slot(seq).flags |= UNSURE;
                self.unsure.push(seq);
            }
            if promised || at + ACK_WINDOW_US <= begun {
                self.durable(seq);
            } else if self.marks.get(seq).flags & DOUBLE != 0 {
                self.marks.slot(seq).flags |= YOUNG;
                self.young.insert(seq, (begun.saturating_sub(at), kind));
            }
        }
        if !self.unsure.is_empty() {
            // What was walked over while it was sure may not be so any more.
            (self.walked, self.floor) = (0, 0);
        }
        if !kind.graceful() {
            // With `ack_policy: all`: what was young may be lost with the fault, and nothing can be built on it later.
            self.all_double = self.all_aged;
        }
    }

    /// After a recovery the server's own ack floor tells which of the young acks it has kept: those are durable now.
    pub(crate) fn kept(&mut self, floor: u64) {
        for seq in self.unsure.extract_if(.., |seq| *seq <= floor) {
            self.marks.slot(seq).flags &= !UNSURE;
        }
        let kept: Vec<u64> = self.young.keys().copied().filter(|seq| *seq <= floor).collect();
        for seq in kept {
            self.young.remove(&seq);
            let mark = self.marks.slot(seq);
            mark.flags &= !(YOUNG | LOSABLE);
            if mark.flags & DOUBLE != 0 {
                mark.flags |= AGED;
            }
        }
    }

    /// The epoch that the last fault ended.
    fn epoch_before(&self) -> u8 {
        if self.epoch == 1 { u8::MAX } else { self.epoch - 1 }
    }

    /// How many faults that end the process ago an epoch was.
    fn since(&self, epoch: u8) -> u8 {
        if self.epoch >= epoch { self.epoch - epoch } else { self.epoch + (u8::MAX - epoch) }
    }
}
