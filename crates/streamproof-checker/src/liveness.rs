//! C5 and A1: what must go on after a recovery.

use crate::column::MAYBE_DELETED;
use crate::consumer::DELIVERED;
use crate::rules::AckPolicy;
use crate::verdict::Invariant;
use crate::world::World;
use streamproof_model::op::{CanaryEnd, ConsumerId, StreamId};

/// How much longer than `ack_wait` a redelivery may take on a busy machine.
const REDELIVERY_SLACK_US: u64 = 2_000_000;

impl World<'_> {
    /// C5 *at least once*: once a consumer delivers nothing more, every matching message that is there and not
    /// acked has been delivered; and, if it was silent for longer than `ack_wait`, again since the last fault,
    /// unless it has been delivered `max_deliver` times. Without acks nobody notices a delivery that is lost on its way:
    /// there, what the server says it has delivered counts as delivered.
    pub(crate) fn c5_drained(&mut self, id: ConsumerId, silent_us: u64) {
        let stream = usize::from(self.consumer(id).stream);
        let Self { consumers, streams, messages, subjects, .. } = self;
        let (consumer, state) = (&mut consumers[usize::from(id.0)], &streams[stream]);
        if consumer.removed || consumer.vague || !consumer.rules.deliver_all || state.purges.any() {
            return;
        }
        // Messages that a limit may have taken since the stream was last read back cannot be told from stuck ones.
        if state.tight.has_limits() {
            return;
        }
        let waited = silent_us >= consumer.rules.ack_wait_us + REDELIVERY_SLACK_US;
        let acks = consumer.rules.ack != AckPolicy::None;
        let told = consumer.info.as_ref().map_or(0, |(info, _, _)| info.delivered_stream);
        let mut stuck = Vec::new();
        let mut next = state.slots.next_live(0);
        while let Some(seq) = next {
            next = state.slots.next_live(seq + 1);
            let slot = state.slots.get(seq);
            let Some(number) = slot.message.checked_sub(1) else { continue };
            let sent = messages.get(number);
            let name = subjects.get(sent.subject as usize).map_or("", String::as_str);
            let expires = sent.flags & crate::messages::HAS_TTL != 0;
            let mark = consumer.marks.get(seq);
            if slot.flags & MAYBE_DELETED != 0
                || expires
                || !consumer.matches(sent.subject, name)
                || consumer.may_have_acked(seq) && acks
            {
                continue;
            }
            if mark.flags & DELIVERED == 0 && !acks && seq <= told {
                continue;
            }
            if mark.flags & DELIVERED == 0 {
                stuck.push((seq, "never delivered"));
            } else if acks
                && waited
                && mark.epoch != consumer.epoch
                && u32::from(mark.count) < consumer.rules.max_deliver
            {
                stuck.push((seq, "not delivered again"));
            }
        }
        for (seq, class) in stuck {
            self.consumer_violation(Invariant::C5, id.0, class, Some(seq), || {
                format!("nothing came for {} ms, and it is not acked", silent_us / 1000)
            });
        }
    }

    /// C5, by a canary: a message that is published after a recovery is delivered. (A consumer that is ahead of
    /// its stream swallows it.) A canary that gets no answer is A1.
    pub(crate) fn canary(
        &mut self,
        id: StreamId,
        consumer: Option<ConsumerId>,
        end: CanaryEnd,
        took_us: u64,
    ) {
        self.stream(id);
        if let Some(consumer) = consumer {
            self.consumer(consumer);
        }
        let waited = took_us / 1000;
        match (end, consumer) {
            (CanaryEnd::Arrived, _) => {}
            (CanaryEnd::NotDelivered, Some(consumer)) => {
                self.consumer_violation(Invariant::C5, consumer.0, "canary not delivered", None, || {
                    format!("acked, and not delivered within {waited} ms")
                });
            }
            (CanaryEnd::Refused { code }, _) => {
                // A stream that is full and discards the new says so rightly.
                let rules = &self.stream(id).rules;
                if !(rules.discard_new && rules.evicts()) {
                    self.violation(Invariant::A1, id.0, "canary refused", None, || {
                        format!("the server answered with error {code}")
                    });
                }
            }
            (CanaryEnd::NoAnswer | CanaryEnd::NotDelivered, _) => {
                self.violation(Invariant::A1, id.0, "canary not answered", None, || {
                    format!("no answer within {waited} ms")
                });
            }
        }
    }

    /// A1 *the server answers*: once it is ready every request is answered within its time limit.
    pub(crate) fn a1_hung(&mut self, id: StreamId, what: &str, waited_us: u64) {
        self.stream(id);
        self.violation(Invariant::A1, id.0, "no answer", None, || {
            format!("{what}: no answer within {} ms", waited_us / 1000)
        });
    }

    /// A1, as to recovery: the server becomes ready after a fault.
    pub(crate) fn a1_not_recovered(&mut self, fault: u32, why: &str) {
        let targets = self.faults.iter().rev().find(|run| run.number == fault).map(|run| run.streams.clone());
        let mut streams = targets.unwrap_or_default();
        if streams.is_empty() {
            streams = (0..self.streams.len()).map(|index| StreamId(index as u16)).collect();
        }
        for id in streams {
            self.stream(id);
            self.violation(Invariant::A1, id.0, "not recovered", None, || why.to_owned());
        }
    }
}
