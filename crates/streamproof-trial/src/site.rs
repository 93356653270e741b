//! One stream during a case: what is known of it locally, and the calls that are made on it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use streamproof_model::op::{
    Body, Call, ConfigSource, ConsumerId, Event, Expect, Headers, Outcome, Publish, Role, StreamId, Ttl, Why,
};

use crate::recorder::Recorder;
use crate::seed::Seed;
use crate::target::{NotProven, Target};
use crate::wire::{Incoming, Login, Wire, WireError};

/// Every call has an answer within this time, or it is a hang. A healthy server answers in milliseconds, and a loaded machine in
/// tens of them.
pub const CALL_LIMIT: Duration = Duration::from_secs(5);

/// What all sites of a case share with whoever brings the fault about.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Calls without an outcome.
    pub in_flight: AtomicU32,
    /// Calls acknowledged since the last fault.
    pub acked: AtomicU64,
    /// Calls answered since the case began, one way or another.
    pub answered: AtomicU64,
    /// Publishes and calls that were answered with an error.
    pub refused: AtomicU64,
    /// Connections that broke.
    pub connections_lost: AtomicU32,
    /// The load is to end.
    pub halt: AtomicBool,
    /// The power goes: the server runs on for a moment, on a file system that takes nothing any more, and what it answers says
    /// nothing about what is on the disk.
    pub power_gone: AtomicBool,
}

impl Gauge {
    /// What an answer is worth.
    fn worth(&self, outcome: Outcome) -> Outcome {
        if self.power_gone.load(Ordering::SeqCst) {
            Outcome::Indeterminate { why: Why::Disconnect }
        } else {
            outcome
        }
    }
}

/// Why a site stopped before its steps were done.
#[derive(Debug)]
pub enum Halt {
    /// The connection ended: the fault, or the server's own end.
    Gone(String),
    /// The run was cancelled.
    Cancelled,
}

/// A message that was acknowledged, as far as it takes to send it again.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    publish: Publish,
    subject: usize,
    headers: bool,
    at: Instant,
}

/// What a call in flight is.
#[derive(Debug)]
struct Waiting {
    id: u64,
    until: Instant,
    publish: Option<Sent>,
}

/// A stream during a case.
#[derive(Debug)]
pub struct Site<'a> {
    /// What it is.
    pub target: &'a Target,
    /// Its number in the history.
    pub id: StreamId,
    /// Its consumers' numbers.
    pub consumers: Vec<ConsumerId>,
    pub(crate) recorder: &'a Recorder,
    pub(crate) gauge: &'a Gauge,
    cancel: &'a AtomicBool,
    pub(crate) wire: Option<Wire>,
    address: SocketAddr,
    login: Login,
    /// The configuration that the server should have now.
    pub config: Value,
    /// The consumers' configurations that the server should have now.
    pub consumer_configs: Vec<Value>,
    subjects: Vec<String>,
    publisher: u16,
    counter: u32,
    waiting: HashMap<u64, Waiting>,
    pub(crate) sent: VecDeque<Sent>,
    /// Sequences that should be there, with their subject.
    pub(crate) live: BTreeMap<u64, usize>,
    /// The last sequence, where it is known for certain.
    pub(crate) last_seq: Option<u64>,
    pub(crate) seed: Seed,
    /// The stream is read back by a consumer made for it, where that changes nothing.
    pub(crate) read_by_consumer: bool,
    changes: u32,
    /// Priority pins that a consumer has given (ADR-42).
    pub(crate) pins: HashMap<usize, String>,
    /// Push consumers that this connection listens to, by subscription.
    pub(crate) listening: HashMap<u32, usize>,
    /// What they have delivered and no step has taken yet.
    pub(crate) arrived: HashMap<usize, VecDeque<crate::consume::Delivered>>,
}

/// So many sent messages are remembered for sending again.
const SENT_MAX: usize = 512;

impl<'a> Site<'a> {
    /// A site for `target`, with its streams and consumers declared in the history.
    #[expect(clippy::too_many_arguments, reason = "made in one place; each is a different thing")]
    pub fn new(
        target: &'a Target,
        index: usize,
        consumer_base: u16,
        recorder: &'a Recorder,
        gauge: &'a Gauge,
        cancel: &'a AtomicBool,
        address: SocketAddr,
        login: &Login,
        seed: &Seed,
    ) -> Self {
        let id = StreamId(index as u16);
        recorder.event(&Event::DeclareStream { id, name: target.name.clone() });
        let mut consumers = Vec::new();
        for (number, consumer) in target.consumers.iter().enumerate() {
            let consumer_id = ConsumerId(consumer_base + number as u16);
            recorder.event(&Event::DeclareConsumer {
                id: consumer_id,
                stream: id,
                name: consumer.name.clone(),
            });
            consumers.push(consumer_id);
        }
        let mut seed = seed.part(&target.name);
        let subjects = crate::subjects::concrete(&target.rules.subjects, 12, &mut seed);
        Site {
            target,
            id,
            consumers,
            recorder,
            gauge,
            cancel,
            wire: None,
            address,
            login: login.clone(),
            config: target.config.clone(),
            consumer_configs: target.consumers.iter().map(|consumer| consumer.config.clone()).collect(),
            subjects,
            publisher: index as u16,
            counter: 0,
            waiting: HashMap::new(),
            sent: VecDeque::new(),
            live: BTreeMap::new(),
            last_seq: Some(0),
            seed,
            read_by_consumer: false,
            changes: 0,
            pins: HashMap::new(),
            listening: HashMap::new(),
            arrived: HashMap::new(),
        }
    }

    /// Connects anew.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn connect(&mut self) -> Result<(), WireError> {
        self.wire = Some(Wire::connect(self.address, &self.login, CALL_LIMIT)?);
        self.listening.clear();
        self.arrived.clear();
        Ok(())
    }

    /// Publishes as somebody else from now on: the numbers of the one before may be taken already.
    pub(crate) fn publish_as(&mut self, publisher: u16) {
        self.publisher = publisher;
        self.counter = 0;
    }

    /// Creates the stream and its consumers.
    ///
    /// # Errors
    /// The server's refusal: what it says is a finding about the files, not about its durability.
    pub fn create(&mut self) -> Result<(), WireError> {
        let name = self.target.name.clone();
        let config = self.config.clone();
        self.recorder.event(&Event::Config {
            stream: self.id,
            consumer: None,
            source: ConfigSource::Desired,
            json: config.to_string(),
        });
        self.api(&format!("STREAM.CREATE.{name}"), &config)?;
        for (number, consumer) in self.target.consumers.iter().enumerate() {
            let config = self.consumer_configs[number].clone();
            self.recorder.event(&Event::Config {
                stream: self.id,
                consumer: Some(self.consumers[number]),
                source: ConfigSource::Desired,
                json: config.to_string(),
            });
            let request = json!({ "stream_name": name, "config": config, "action": "create" });
            self.api(&format!("CONSUMER.DURABLE.CREATE.{name}.{}", consumer.name), &request)?;
        }
        Ok(())
    }

    /// Asks the JetStream API; a missing answer is recorded as a hang.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn api(&mut self, subject: &str, payload: &Value) -> Result<Value, WireError> {
        let Some(wire) = self.wire.as_mut() else {
            return Err(WireError::Closed("not connected".to_owned()));
        };
        let result = wire.api(subject, payload, CALL_LIMIT);
        if let Err(WireError::Timeout { .. }) = &result {
            self.hung(subject);
        }
        result
    }

    pub(crate) fn hung(&self, what: &str) {
        self.recorder.event(&Event::Hung {
            stream: self.id,
            what: what.to_owned(),
            waited_us: CALL_LIMIT.as_micros() as u64,
        });
    }

    pub(crate) fn check_cancel(&self) -> Result<(), Halt> {
        if self.cancel.load(Ordering::Relaxed) { Err(Halt::Cancelled) } else { Ok(()) }
    }

    /// The number of subjects that it publishes to.
    #[must_use]
    pub fn subject_count(&self) -> usize {
        self.subjects.len()
    }

    /// Records the wish that could not be met.
    pub fn not_proven(&self, note: NotProven) {
        self.recorder.event(&Event::NotProven { what: note.what, why: note.why, required: false });
    }

    // ---- publishing

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

    /// The subject of that number.
    #[must_use]
    pub fn subject_name(&self, subject: usize) -> &str {
        &self.subjects[subject]
    }

    /// The number of a subject.
    pub(crate) fn subject_index(&self, name: &str) -> Option<usize> {
        self.subjects.iter().position(|subject| subject == name)
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

    // ---- outcomes

    /// Tracks a call that was sent with this reply number.
    pub(crate) fn track(&mut self, number: u64, id: u64) {
        self.gauge.in_flight.fetch_add(1, Ordering::Relaxed);
        self.waiting.insert(number, Waiting { id, until: Instant::now() + CALL_LIMIT, publish: None });
    }

    /// How many calls are in flight here.
    pub(crate) fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    /// Waits until at most `most` calls are in flight.
    ///
    /// # Errors
    /// [`Halt`].
    pub(crate) fn settle(&mut self, most: usize) -> Result<(), Halt> {
        loop {
            // What has arrived is taken in any case, so that outcomes are recorded when they come, not when the window is full.
            while let Some(message) = self.buffered()? {
                self.answer(&message);
            }
            if self.waiting.len() <= most {
                return Ok(());
            }
            let until = self.waiting.values().map(|waiting| waiting.until).min().unwrap_or_else(Instant::now);
            self.step(until)?;
        }
    }

    fn buffered(&mut self) -> Result<Option<Incoming>, Halt> {
        let Some(wire) = self.wire.as_mut() else { return Err(Halt::Gone("not connected".to_owned())) };
        match wire.buffered() {
            Ok(message) => Ok(message),
            Err(error) => Err(self.gone(&error)),
        }
    }

    /// Takes one message, or gives up on what has waited too long.
    fn step(&mut self, until: Instant) -> Result<Option<Outcome>, Halt> {
        let slice = until.min(Instant::now() + Duration::from_millis(200));
        let Some(wire) = self.wire.as_mut() else { return Err(Halt::Gone("not connected".to_owned())) };
        match wire.next(slice) {
            Ok(Some(message)) => Ok(self.answer(&message)),
            Ok(None) => {
                self.check_cancel().inspect_err(|_| ())?;
                let now = Instant::now();
                let late: Vec<u64> = self
                    .waiting
                    .iter()
                    .filter(|(_, waiting)| waiting.until <= now)
                    .map(|(number, _)| *number)
                    .collect();
                for number in &late {
                    if let Some(waiting) = self.waiting.remove(number) {
                        self.finish(&waiting, Outcome::Indeterminate { why: Why::Timeout });
                    }
                }
                if !late.is_empty() && !self.gauge.halt.load(Ordering::Relaxed) {
                    self.hung("an acknowledgement");
                }
                Ok(None)
            }
            Err(error) => Err(self.gone(&error)),
        }
    }

    /// Takes the answer to a call in flight, or a delivery; anything else is not for this place and is dropped.
    pub(crate) fn answer(&mut self, message: &Incoming) -> Option<Outcome> {
        if let Some(consumer) = self.listening.get(&message.sid).copied() {
            self.arrive(consumer, message);
            return None;
        }
        let wire = self.wire.as_ref()?;
        let waiting = self.waiting.remove(&wire.reply_number(message)?)?;
        let outcome = if message.status() == Some(503) {
            Outcome::Indeterminate { why: Why::NoResponders }
        } else if waiting.publish.is_some() {
            publish_outcome(&message.payload)
        } else {
            Outcome::Done { count: 0 }
        };
        let outcome = self.gauge.worth(outcome);
        self.finish(&waiting, outcome);
        if let (Some(sent), Outcome::Acked { seq, duplicate: false }) = (waiting.publish, outcome) {
            if sent.publish.role.rolls_subject() {
                self.live.retain(|_, subject| *subject != sent.subject);
            }
            self.live.insert(seq, sent.subject);
            self.last_seq = self.last_seq.map(|last| last.max(seq));
            self.sent.push_back(sent);
            if self.sent.len() > SENT_MAX {
                self.sent.pop_front();
            }
        }
        Some(outcome)
    }

    fn finish(&mut self, waiting: &Waiting, outcome: Outcome) {
        self.recorder.done(waiting.id, outcome);
        self.gauge.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.gauge.answered.fetch_add(1, Ordering::Relaxed);
        if matches!(outcome, Outcome::Rejected { .. } | Outcome::Indeterminate { why: Why::NoResponders }) {
            self.gauge.refused.fetch_add(1, Ordering::Relaxed);
        }
        if outcome.happened() {
            self.gauge.acked.fetch_add(1, Ordering::Relaxed);
        } else if outcome.may_have_happened() {
            self.last_seq = None;
        }
    }

    /// The connection ended: what is in flight stays unknown.
    pub(crate) fn gone(&mut self, error: &WireError) -> Halt {
        self.wire = None;
        self.gauge.connections_lost.fetch_add(1, Ordering::Relaxed);
        let waiting: Vec<Waiting> = self.waiting.drain().map(|(_, waiting)| waiting).collect();
        for waiting in &waiting {
            self.finish(waiting, Outcome::Indeterminate { why: Why::Disconnect });
        }
        Halt::Gone(error.to_string())
    }

    // ---- changes

    /// Sends a call to the API and records both halves.
    pub(crate) fn call(&mut self, call: &Call, subject: &str, payload: &Value) -> Result<Outcome, Halt> {
        self.settle(0)?;
        let id = self.recorder.invoke(call);
        self.gauge.in_flight.fetch_add(1, Ordering::Relaxed);
        let result = self.api(subject, payload);
        self.gauge.in_flight.fetch_sub(1, Ordering::Relaxed);
        let outcome = match &result {
            Ok(value) => Outcome::Done { count: value["purged"].as_u64().unwrap_or(0) },
            Err(WireError::Api { code: 503, .. }) => Outcome::Indeterminate { why: Why::NoResponders },
            Err(WireError::Api { code, .. }) => Outcome::Rejected { code: u32::try_from(*code).unwrap_or(0) },
            Err(WireError::Timeout { .. }) => Outcome::Indeterminate { why: Why::Timeout },
            Err(_) => Outcome::Indeterminate { why: Why::Disconnect },
        };
        let outcome = self.gauge.worth(outcome);
        self.recorder.done(id, outcome);
        if outcome.happened() {
            self.gauge.acked.fetch_add(1, Ordering::Relaxed);
        }
        match result {
            Err(error @ (WireError::Closed(_) | WireError::Protocol(_) | WireError::Refused(_))) => {
                Err(self.gone(&error))
            }
            _ => Ok(outcome),
        }
    }

    /// Changes the stream's description; everything else stays.
    ///
    /// # Errors
    /// [`Halt`].
    pub fn update_stream(&mut self) -> Result<(), Halt> {
        self.changes += 1;
        let mut config = self.config.clone();
        config["description"] = json!(format!("changed {} times by a trial", self.changes));
        let call = Call::UpdateStream { stream: self.id, config: config.to_string() };
        let outcome = self.call(&call, &format!("STREAM.UPDATE.{}", self.target.name), &config)?;
        if outcome.happened() {
            self.config = config;
        }
        Ok(())
    }

    /// Changes a consumer's description; everything else stays.
    ///
    /// # Errors
    /// [`Halt`].
    pub fn update_consumer(&mut self, consumer: usize) -> Result<(), Halt> {
        self.changes += 1;
        let mut config = self.consumer_configs[consumer].clone();
        config["description"] = json!(format!("changed {} times by a trial", self.changes));
        let call = Call::UpdateConsumer { consumer: self.consumers[consumer], config: config.to_string() };
        let name = self.target.consumers[consumer].name.clone();
        let request = json!({ "stream_name": self.target.name, "config": config, "action": "update" });
        let outcome =
            self.call(&call, &format!("CONSUMER.DURABLE.CREATE.{}.{name}", self.target.name), &request)?;
        if outcome.happened() {
            self.consumer_configs[consumer] = config;
        }
        Ok(())
    }
}

fn publish_outcome(payload: &[u8]) -> Outcome {
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
