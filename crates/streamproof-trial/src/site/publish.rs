//! What a site publishes, and what an answer to that means.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use streamproof_model::op::{Body, Call, Expect, Headers, Outcome, Publish, Role, Ttl, Why};

use super::{CALL_LIMIT, Halt, Sent, Site, Waiting};

impl Site<'_> {
    /// Publishes `count` messages with at most `window` in flight, and awaits every ack.
    ///
    /// # Errors
    /// [`Halt`].
    #[expect(clippy::too_many_arguments, reason = "a step's fields, one for one")]
    pub fn publish_many(
        &mut self,
        count: u32,
        len: (u32, u32),
        window: u32,
        subjects: usize,
        ids: bool,
        headers: bool,
        ttl_s: Option<u32>,
    ) -> Result<(), Halt> {
        let spread = subjects.clamp(1, self.subjects.len().max(1));
        let offset = self.seed.below(self.subjects.len() as u64) as usize;
        for _ in 0..count {
            self.check_cancel()?;
            let subject = (offset + self.seed.below(spread as u64) as usize) % self.subjects.len();
            let len = self.seed.between(u64::from(len.0), u64::from(len.1.max(len.0))) as u32;
            let ttl = ttl_s.filter(|_| self.seed.chance(50)).map_or(Ttl::Stream, Ttl::Seconds);
            self.send(subject, len, ids, headers, ttl, Expect::Nothing, Role::Plain)?;
            self.settle(window.max(1) as usize - 1)?;
        }
        self.settle(0)
    }

    /// Publishes until told to halt or until the connection ends; at most `most` messages.
    ///
    /// # Errors
    /// [`Halt`]; [`Halt::Gone`] is what a fault under load looks like from here.
    pub fn load(&mut self, window: usize, most: u32) -> Result<(), Halt> {
        let len_most = self.target.rules.max_msg_size.unwrap_or(128).min(128) as u32;
        for _ in 0..most {
            if self.gauge.halt.load(Ordering::Relaxed) {
                break;
            }
            self.check_cancel()?;
            let subject = self.seed.below(self.subjects.len() as u64) as usize;
            let len = self.seed.between(18, u64::from(len_most)) as u32;
            let ids = self.target.rules.window.is_some() && self.seed.chance(30);
            self.send(subject, len, ids, false, Ttl::Stream, Expect::Nothing, Role::Plain)?;
            self.settle(window - 1)?;
        }
        self.settle(0)
    }

    /// One message that expects a last sequence; a wrong expectation must be refused.
    ///
    /// # Errors
    /// [`Halt`].
    pub fn expect(&mut self, right: bool, of_subject: bool) -> Result<(), Halt> {
        let rules = &self.target.rules;
        let subject = self.seed.below(self.subjects.len() as u64) as usize;
        // What a subject's last message is, is only certain where nothing but this workload removes messages.
        let certain = !rules.work_queue
            && !rules.interest
            && rules.max_msgs.is_none()
            && rules.max_bytes.is_none()
            && rules.max_age.is_none()
            && !rules.ttl;
        let expect = match (right, of_subject) {
            (true, true) if certain => Expect::LastSubjectSeq(
                self.live.iter().rev().find(|(_, of)| **of == subject).map_or(0, |(seq, _)| *seq),
            ),
            (true, _) => match self.last_seq {
                Some(seq) => Expect::LastSeq(seq),
                None => return Ok(()),
            },
            (false, true) => Expect::LastSubjectSeq(self.last_seq.unwrap_or(0) + 1_000_000),
            (false, false) => Expect::LastSeq(self.last_seq.unwrap_or(0) + 1_000_000),
        };
        self.send(subject, 40, false, false, Ttl::Stream, expect, Role::Plain)?;
        self.settle(0)
    }

    /// Messages of before, once more, with the same ids.
    ///
    /// # Errors
    /// [`Halt`].
    pub fn again(&mut self, count: u32) -> Result<(), Halt> {
        let window = self.target.rules.window.unwrap_or_default();
        // Near the edge of the window either answer is right; such messages are left out.
        let inside: Vec<Sent> = self
            .sent
            .iter()
            .filter(|sent| sent.publish.msg_id && sent.at.elapsed() + Duration::from_millis(500) < window)
            .cloned()
            .collect();
        if inside.is_empty() {
            return Ok(());
        }
        for _ in 0..count {
            let mut sent = self.seed.pick(&inside).clone();
            let attempt = sent.publish.attempt.saturating_add(1);
            if let Some(known) =
                self.sent.iter_mut().find(|known| known.publish.counter == sent.publish.counter)
            {
                if known.publish.attempt == u8::MAX {
                    continue;
                }
                known.publish.attempt += 1;
                sent.publish.attempt = known.publish.attempt;
            } else {
                sent.publish.attempt = attempt;
            }
            self.transmit(sent)?;
        }
        self.settle(0)
    }

    /// Everything older on one subject goes.
    ///
    /// # Errors
    /// [`Halt`].
    pub fn rollup(&mut self) -> Result<(), Halt> {
        let subject = self.seed.below(self.subjects.len() as u64) as usize;
        let kv = self.target.kind == streamproof_model::desired::Kind::Kv;
        let (len, role) = if kv { (0, Role::KvPurge) } else { (40, Role::RollupSubject) };
        self.send(subject, len, false, false, Ttl::Stream, Expect::Nothing, role)?;
        self.settle(0)
    }

    /// A key is deleted.
    ///
    /// # Errors
    /// [`Halt`].
    pub fn kv_delete(&mut self) -> Result<(), Halt> {
        let subject = self.seed.below(self.subjects.len() as u64) as usize;
        self.send(subject, 0, false, false, Ttl::Stream, Expect::Nothing, Role::KvDelete)?;
        self.settle(0)
    }

    /// One message with its ack awaited: the canary. `None` if there is no connection or no answer.
    pub(crate) fn canary(&mut self, subject: usize) -> Result<Option<Outcome>, Halt> {
        let before = self.counter;
        self.send(subject, 32, false, false, Ttl::Stream, Expect::Nothing, Role::Plain)?;
        let mut outcome = None;
        let until = Instant::now() + CALL_LIMIT;
        while !self.waiting.is_empty() && Instant::now() < until {
            outcome = self.step(until)?.or(outcome);
        }
        self.settle(0)?;
        debug_assert_eq!(self.counter, before + 1);
        Ok(outcome)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a publish, one for one")]
    fn send(
        &mut self,
        subject: usize,
        len: u32,
        ids: bool,
        headers: bool,
        ttl: Ttl,
        expect: Expect,
        role: Role,
    ) -> Result<(), Halt> {
        let counter = self.counter;
        self.counter += 1;
        let publish = Publish {
            stream: self.id,
            subject: self.recorder.subject(&self.subjects[subject]),
            publisher: self.publisher,
            counter,
            attempt: 0,
            len,
            headers: Headers::default(),
            msg_id: ids,
            expect,
            ttl,
            role,
        };
        self.transmit(Sent { publish, subject, headers, at: Instant::now() })
    }

    fn transmit(&mut self, mut sent: Sent) -> Result<(), Halt> {
        let run = self.recorder.run;
        let pairs = header_pairs(run, &sent.publish, sent.headers);
        sent.publish.headers = Headers::of(pairs.iter().map(|(name, value)| (*name, value.as_str())));
        let block = header_block(&pairs);
        let body = if sent.publish.len == 0 {
            Vec::new()
        } else {
            Body {
                run,
                publisher: sent.publish.publisher,
                counter: sent.publish.counter,
                len: sent.publish.len,
            }
            .bytes()
        };
        let Some(wire) = self.wire.as_mut() else { return Err(Halt::Gone("not connected".to_owned())) };
        let (number, reply) = wire.reply_subject();
        sent.at = Instant::now();
        let id = self.recorder.invoke(&Call::Publish(sent.publish));
        self.gauge.in_flight.fetch_add(1, Ordering::Relaxed);
        let subject = &self.subjects[sent.subject];
        let result = wire.publish(subject, Some(&reply), &block, &body);
        self.waiting.insert(number, Waiting { id, until: Instant::now() + CALL_LIMIT, publish: Some(sent) });
        result.map_err(|error| self.gone(&error))
    }
}

pub(super) fn publish_outcome(payload: &[u8]) -> Outcome {
    let Ok(value) = serde_json::from_slice::<Value>(payload) else {
        return Outcome::Indeterminate { why: Why::Timeout };
    };
    if let Some(error) = value.get("error") {
        let code = error["err_code"].as_u64().or_else(|| error["code"].as_u64()).unwrap_or(0);
        // 503 and its kin say that nobody was in charge, not that nothing was stored.
        if error["code"].as_u64() == Some(503) {
            return Outcome::Indeterminate { why: Why::NoResponders };
        }
        return Outcome::Rejected { code: u32::try_from(code).unwrap_or(0) };
    }
    match value["seq"].as_u64() {
        Some(seq) => Outcome::Acked { seq, duplicate: value["duplicate"].as_bool().unwrap_or(false) },
        None => Outcome::Indeterminate { why: Why::Timeout },
    }
}

fn header_pairs(run: u32, publish: &Publish, user: bool) -> Vec<(&'static str, String)> {
    let mut pairs = Vec::new();
    if publish.msg_id {
        pairs.push(("Nats-Msg-Id", format!("{run:x}-{}-{}", publish.publisher, publish.counter)));
    }
    match publish.expect {
        Expect::Nothing => {}
        Expect::LastSeq(seq) => pairs.push(("Nats-Expected-Last-Sequence", seq.to_string())),
        Expect::LastSubjectSeq(seq) => pairs.push(("Nats-Expected-Last-Subject-Sequence", seq.to_string())),
        Expect::LastMsgId(counter) => {
            pairs.push(("Nats-Expected-Last-Msg-Id", format!("{run:x}-{}-{counter}", publish.publisher)))
        }
    }
    match publish.ttl {
        Ttl::Stream => {}
        Ttl::Seconds(seconds) => pairs.push(("Nats-TTL", format!("{seconds}s"))),
        Ttl::Never => pairs.push(("Nats-TTL", "never".to_owned())),
    }
    match publish.role {
        Role::Plain => {}
        Role::KvDelete => pairs.push(("KV-Operation", "DEL".to_owned())),
        Role::KvPurge => {
            pairs.push(("KV-Operation", "PURGE".to_owned()));
            pairs.push(("Nats-Rollup", "sub".to_owned()));
        }
        Role::RollupSubject => pairs.push(("Nats-Rollup", "sub".to_owned())),
        Role::RollupAll => pairs.push(("Nats-Rollup", "all".to_owned())),
    }
    if user {
        pairs.push(("Trial-Note", format!("{}/{}", publish.publisher, publish.counter)));
    }
    pairs
}

fn header_block(pairs: &[(&'static str, String)]) -> Vec<u8> {
    if pairs.is_empty() {
        return Vec::new();
    }
    let mut block = String::from("NATS/1.0\r\n");
    for (name, value) in pairs {
        block.push_str(name);
        block.push_str(": ");
        block.push_str(value);
        block.push_str("\r\n");
    }
    block.push_str("\r\n");
    block.into_bytes()
}
