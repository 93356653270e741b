//! Deliveries and acknowledgements: pulling from and listening to the consumers of a site, and what is answered.

use std::time::{Duration, Instant};

use serde_json::json;
use streamproof_model::op::{AckKind, Call, Deliver, Event, Outcome, Seen};

use crate::site::{CALL_LIMIT, Halt, Site};
use crate::target::AckPolicy;
use crate::wire::{Incoming, WireError};
use crate::workload::Acks;

/// How long a push consumer may be silent before a step that takes what is there goes on.
const PUSH_SILENCE: Duration = Duration::from_millis(60);
/// How much longer than its `ack_wait` a redelivery may take on a busy machine; the checker says the same.
const REDELIVERY_SLACK: Duration = Duration::from_millis(2_100);
/// While something is due, the consumer's state is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A request for what is there now ends after this at the latest.
const NO_WAIT: Duration = Duration::from_millis(60);
/// Messages asked for at once.
const BATCH: u32 = 256;
/// Double acks in flight at once.
const ACKS_IN_FLIGHT: usize = 64;

/// A delivery, as its reply subject and headers tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) seq: u64,
    pub(crate) consumer_seq: u64,
    pub(crate) count: u32,
    pub(crate) pending: u64,
    pub(crate) reply: String,
    pub(crate) subject: String,
}

/// Reads an ack subject: `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, or the longer
/// form with a domain and an account's hash in front (ADR-15).
pub(crate) fn parse_reply(reply: &str) -> Option<(u32, u64, u64, u64)> {
    let tokens: Vec<&str> = reply.split('.').collect();
    if tokens.len() < 9 || tokens[0] != "$JS" || tokens[1] != "ACK" {
        return None;
    }
    let skip = if tokens.len() >= 11 { 2 } else { 0 };
    let number = |index: usize| tokens.get(index + skip).and_then(|token| token.parse::<u64>().ok());
    Some((number(4)? as u32, number(5)?, number(6)?, number(8)?))
}

impl Site<'_> {
    /// Takes up to `count` messages from a consumer and answers them.
    ///
    /// # Errors
    /// [`Halt`].
    pub fn consume(&mut self, consumer: usize, count: u32, acks: Acks) -> Result<u32, Halt> {
        let mut taken = Vec::new();
        let mut got = 0;
        while got < count {
            self.check_cancel()?;
            let want = (count - got).min(BATCH);
            let batch = self.take(consumer, want, None)?;
            let number = batch.len() as u32;
            for delivered in batch {
                self.answer_delivery(consumer, delivered, acks, &mut taken)?;
            }
            self.settle(0)?;
            got += number;
            if number < want {
                break;
            }
        }
        if let Some(last) = taken.pop() {
            // One ack covers all before it: it is sent once, for the last.
            self.acknowledge(
                consumer,
                &last,
                if acks == Acks::Plain { AckKind::Ack } else { AckKind::DoubleAck },
            )?;
            self.settle(0)?;
        }
        Ok(got)
    }

    /// Takes everything that a consumer has now, and leaves `leave` of it without an ack.
    ///
    /// # Errors
    /// [`Halt`].
    pub fn drain(&mut self, consumer: usize, leave: u32) -> Result<(), Halt> {
        let policy = self.target.consumers[consumer].acks;
        let mut held: Vec<Delivered> = Vec::new();
        // A bound on the rounds: a server that delivers the same again and again would keep a drain for ever.
        for _ in 0..200 {
            self.check_cancel()?;
            let batch = self.take(consumer, self.at_once(consumer), None)?;
            if batch.is_empty() {
                break;
            }
            held.extend(batch);
            let keep = held.len().min(leave as usize);
            let ready: Vec<Delivered> = held.drain(..held.len() - keep).collect();
            match policy {
                AckPolicy::None => {}
                AckPolicy::All => {
                    if let Some(last) = ready.last() {
                        self.acknowledge(consumer, last, AckKind::DoubleAck)?;
                    }
                }
                AckPolicy::Explicit => {
                    for delivered in &ready {
                        self.acknowledge(consumer, delivered, AckKind::DoubleAck)?;
                    }
                }
            }
            self.settle(0)?;
        }
        Ok(())
    }

    /// Sees a consumer through to its end: everything is taken and double-acked until the server says that nothing is pending and
    /// nothing without an ack; or, where it keeps saying otherwise, until nothing has come for longer than a redelivery takes.
    /// Says whether `wanted` was among it; `None` counts as seen.
    ///
    /// # Errors
    /// [`Halt`].
    pub fn see_through(
        &mut self,
        consumer: usize,
        wanted: Option<u64>,
        limit: Duration,
    ) -> Result<bool, Halt> {
        let mut seen = wanted.is_none();
        let policy = self.target.consumers[consumer].acks;
        let wait = match policy {
            AckPolicy::None => Duration::ZERO,
            _ => self.target.consumers[consumer].ack_wait,
        };
        let silence = wait + REDELIVERY_SLACK;
        let until = Instant::now() + limit;
        let mut quiet_since = Instant::now();
        while Instant::now() < until {
            self.check_cancel()?;
            // What is there is taken at once, so that acks are not held up by what is yet to come.
            let mut batch = self.take(consumer, self.at_once(consumer), None)?;
            if batch.is_empty() {
                let quiet = quiet_since.elapsed();
                let done = seen && self.nothing_left(consumer)?;
                if done || quiet >= silence {
                    self.recorder.event(&Event::Drained {
                        consumer: self.consumers[consumer],
                        silent_us: quiet.as_micros() as u64,
                    });
                    return Ok(seen);
                }
                let wait = (silence - quiet).clamp(Duration::from_millis(20), LOOK_EVERY);
                // A pull is answered with the first that comes; what a push consumer sends comes together.
                let count = if self.target.consumers[consumer].deliver.is_some() { BATCH } else { 1 };
                batch = self.take(consumer, count, Some(wait))?;
            }
            if batch.is_empty() {
                continue;
            }
            seen |= batch.iter().any(|delivered| Some(delivered.seq) == wanted);
            let last = batch.len() - 1;
            for (number, delivered) in batch.iter().enumerate() {
                if policy == AckPolicy::Explicit || (policy == AckPolicy::All && number == last) {
                    self.acknowledge(consumer, delivered, AckKind::DoubleAck)?;
                }
            }
            self.settle(0)?;
            quiet_since = Instant::now();
        }
        Ok(seen)
    }

    /// As many as a consumer gives out before it wants acks: a pull for more is answered only when it expires.
    fn at_once(&self, consumer: usize) -> u32 {
        let most = self.target.consumers[consumer].config.get("max_ack_pending");
        let most = most.and_then(serde_json::Value::as_u64).filter(|most| *most > 0);
        most.map_or(BATCH, |most| BATCH.min(u32::try_from(most).unwrap_or(BATCH)))
    }

    /// Whether the server says that a consumer has nothing to deliver, and nothing that waits for an ack.
    fn nothing_left(&mut self, consumer: usize) -> Result<bool, Halt> {
        let subject = format!("CONSUMER.INFO.{}.{}", self.target.name, self.target.consumers[consumer].name);
        match self.api(&subject, &serde_json::Value::Null) {
            Ok(info) => {
                Ok(info["num_pending"].as_u64() == Some(0) && info["num_ack_pending"].as_u64() == Some(0))
            }
            // What it is that it says instead, the next look at everything shows.
            Err(WireError::Api { .. } | WireError::Timeout { .. }) => Ok(false),
            Err(error) => Err(self.gone(&error)),
        }
    }

    /// Takes up to `count` messages; without `wait` only what is there now.
    pub(crate) fn take(
        &mut self,
        consumer: usize,
        count: u32,
        wait: Option<Duration>,
    ) -> Result<Vec<Delivered>, Halt> {
        self.settle(0)?;
        if self.target.consumers[consumer].deliver.is_some() {
            self.listen(consumer, count, wait)
        } else {
            self.pull(consumer, count, wait)
        }
    }

    fn pull(&mut self, consumer: usize, count: u32, wait: Option<Duration>) -> Result<Vec<Delivered>, Halt> {
        let spec = &self.target.consumers[consumer];
        let number =
            |key: &str| spec.config.get(key).and_then(serde_json::Value::as_u64).filter(|number| *number > 0);
        let count = number("max_batch").map_or(count, |most| count.min(most as u32)).max(1);
        let mut request = json!({ "batch": count });
        if wait.is_none() {
            request["no_wait"] = json!(true);
        }
        // Also without a wait: with max_ack_pending reached a request with no_wait alone is never answered
        // (nats-server consumer.go:processWaiting is then called without `eos`).
        let nanos = wait.unwrap_or(NO_WAIT).as_nanos() as u64;
        request["expires"] = json!(number("max_expires").map_or(nanos, |most| nanos.min(most)));
        if let Some(group) = &spec.priority_group {
            request["group"] = json!(group);
        }
        if let Some(pin) = self.pins.get(&consumer) {
            request["id"] = json!(pin);
        }
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.target.name, spec.name);
        let until = Instant::now() + wait.unwrap_or_default() + CALL_LIMIT;
        let Some(wire) = self.wire.as_mut() else { return Err(Halt::Gone("not connected".to_owned())) };
        let (number, reply) = wire.reply_subject();
        if let Err(error) = wire.publish(&subject, Some(&reply), b"", request.to_string().as_bytes()) {
            return Err(self.gone(&error));
        }
        let mut batch = Vec::new();
        while (batch.len() as u32) < count {
            let message = self.receive(until)?;
            let Some(message) = message else {
                self.hung("a pull request");
                break;
            };
            if parse_reply(message.reply.as_deref().unwrap_or_default()).is_none() {
                let ours = self.wire.as_ref().and_then(|wire| wire.reply_number(&message));
                if ours == Some(number) && message.status().is_some_and(|status| status != 100) {
                    if message.status() == Some(423) {
                        // Another pin holds; ours is no longer good (ADR-42).
                        self.pins.remove(&consumer);
                    }
                    break;
                }
                self.answer(&message);
                continue;
            }
            if let Some(pin) = message.header("Nats-Pin-Id") {
                let pin = pin.to_owned();
                self.pins.insert(consumer, pin);
            }
            batch.extend(self.delivered(consumer, &message));
        }
        Ok(batch)
    }

    /// Takes what a push consumer delivers. It is listened to for as long as the connection lives: what a server sends into a
    /// subscription that ends is delivered as far as it goes, and seen by nobody.
    fn listen(
        &mut self,
        consumer: usize,
        count: u32,
        wait: Option<Duration>,
    ) -> Result<Vec<Delivered>, Halt> {
        let spec = &self.target.consumers[consumer];
        let Some(deliver) = spec.deliver.clone() else { return Ok(Vec::new()) };
        let group = spec.group.clone();
        if !self.listening.values().any(|listened| *listened == consumer) {
            let Some(wire) = self.wire.as_mut() else { return Err(Halt::Gone("not connected".to_owned())) };
            let sid = wire.subscribe(&deliver, group.as_deref());
            self.listening.insert(sid, consumer);
        }
        let silence = wait.unwrap_or(PUSH_SILENCE);
        let mut batch = Vec::new();
        let mut until = Instant::now() + silence;
        while (batch.len() as u32) < count {
            if let Some(delivered) = self.arrived.entry(consumer).or_default().pop_front() {
                batch.push(delivered);
                until = Instant::now() + silence.min(PUSH_SILENCE);
                continue;
            }
            let Some(message) = self.receive(until)? else { break };
            self.answer(&message);
        }
        Ok(batch)
    }

    /// A push consumer has sent something: a delivery, which is recorded when it is read, or a word about the flow.
    pub(crate) fn arrive(&mut self, consumer: usize, message: &Incoming) {
        if message.status() == Some(100) {
            // Flow control asks for an answer; so does a stalled consumer's heartbeat (ADR-9).
            let stalled = message.header("Nats-Consumer-Stalled").map(str::to_owned);
            if let Some(reply) = message.reply.clone().or(stalled)
                && let Some(wire) = self.wire.as_mut()
            {
                // A connection that cannot be written to is seen to be so by whoever reads from it next.
                wire.publish(&reply, None, b"", b"").ok();
            }
            return;
        }
        if let Some(delivered) = self.delivered(consumer, message) {
            self.arrived.entry(consumer).or_default().push_back(delivered);
        }
    }

    fn receive(&mut self, until: Instant) -> Result<Option<Incoming>, Halt> {
        let Some(wire) = self.wire.as_mut() else { return Err(Halt::Gone("not connected".to_owned())) };
        match wire.next(until) {
            Ok(message) => Ok(message),
            Err(error) => Err(self.gone(&error)),
        }
    }

    /// Records a delivery.
    fn delivered(&mut self, consumer: usize, message: &Incoming) -> Option<Delivered> {
        let reply = message.reply.clone()?;
        let (count, seq, consumer_seq, pending) = parse_reply(&reply)?;
        self.recorder.event(&Event::Deliver(Deliver {
            consumer: self.consumers[consumer],
            seq,
            consumer_seq,
            delivered: count,
            pending,
            subject: self.recorder.subject(&message.subject),
            seen: Seen::of(self.recorder.run, &message.payload),
            headers: crate::readback::headers_of(&message.headers),
        }));
        Some(Delivered { seq, consumer_seq, count, pending, reply, subject: message.subject.clone() })
    }

    fn answer_delivery(
        &mut self,
        consumer: usize,
        delivered: Delivered,
        acks: Acks,
        taken: &mut Vec<Delivered>,
    ) -> Result<(), Halt> {
        match (self.target.consumers[consumer].acks, acks) {
            (AckPolicy::None, _) | (_, Acks::Nothing) => Ok(()),
            (AckPolicy::All, _) => {
                taken.clear();
                taken.push(delivered);
                Ok(())
            }
            (AckPolicy::Explicit, Acks::Double) => self.acknowledge(consumer, &delivered, AckKind::DoubleAck),
            (AckPolicy::Explicit, Acks::Plain) => self.acknowledge(consumer, &delivered, AckKind::Ack),
            (AckPolicy::Explicit, Acks::Mixed) => {
                let kind = match self.seed.below(12) {
                    0 if delivered.count < 3 => AckKind::Nak,
                    1 => AckKind::Term,
                    2 => AckKind::InProgress,
                    3 => return Ok(()),
                    4 | 5 => AckKind::Ack,
                    _ => AckKind::DoubleAck,
                };
                self.acknowledge(consumer, &delivered, kind)
            }
        }
    }

    fn acknowledge(&mut self, consumer: usize, delivered: &Delivered, kind: AckKind) -> Result<(), Halt> {
        let word: &[u8] = match kind {
            AckKind::Ack | AckKind::DoubleAck => b"+ACK",
            AckKind::Nak => b"-NAK",
            AckKind::Term => b"+TERM",
            AckKind::InProgress => b"+WPI",
        };
        let Some(wire) = self.wire.as_mut() else { return Err(Halt::Gone("not connected".to_owned())) };
        let call = Call::Ack {
            consumer: self.consumers[consumer],
            seq: delivered.seq,
            consumer_seq: delivered.consumer_seq,
            kind,
        };
        let id = self.recorder.invoke(&call);
        let result = if kind == AckKind::DoubleAck {
            let (number, reply) = wire.reply_subject();
            let result = wire.publish(&delivered.reply, Some(&reply), b"", word);
            self.track(number, id);
            result
        } else {
            let result: Result<(), WireError> = wire.publish(&delivered.reply, None, b"", word);
            self.recorder.done(id, Outcome::Sent);
            result
        };
        if let Err(error) = result {
            return Err(self.gone(&error));
        }
        if self.in_flight() >= ACKS_IN_FLIGHT { self.settle(ACKS_IN_FLIGHT / 2) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_ack_subject_are_read() {
        assert_eq!(parse_reply("$JS.ACK.S.C.2.30.40.1700000000000000000.5"), Some((2, 30, 40, 5)));
        assert_eq!(parse_reply("$JS.ACK._.hash.S.C.2.30.40.1700000000000000000.5.rnd"), Some((2, 30, 40, 5)));
        assert_eq!(parse_reply("_INBOX.x.1"), None);
    }
}
