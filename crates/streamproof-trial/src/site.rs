//! One stream during a case: what is known of it locally, and the calls that are made on it.

mod flight;
mod publish;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use streamproof_model::op::{Call, ConfigSource, ConsumerId, Event, Outcome, Publish, StreamId, Why};

use crate::recorder::Recorder;
use crate::seed::Seed;
use crate::target::{NotProven, Target};
use crate::wire::{Login, Wire, WireError};

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
    /// Consumers that the server said are not there, when it was last asked: nothing more is asked of them. That they are missing is
    /// found by what is listed; that they then do not answer is no finding of its own.
    pub(crate) missing: BTreeSet<usize>,
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
            missing: BTreeSet::new(),
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

    /// The subject of that number.
    #[must_use]
    pub fn subject_name(&self, subject: usize) -> &str {
        &self.subjects[subject]
    }

    /// The number of a subject.
    pub(crate) fn subject_index(&self, name: &str) -> Option<usize> {
        self.subjects.iter().position(|subject| subject == name)
    }

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
