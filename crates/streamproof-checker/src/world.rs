//! All that is known at a point of the history, and which function looks at which operation.

use crate::column::{DELETED, GONE, MAYBE_DELETED};
use crate::consumer::Consumer;
use crate::context::Context;
use crate::findings::{Findings, Target};
use crate::messages::Messages;
use crate::promise::{Promise, Property, Row, promise};
use crate::returned::Back;
use crate::rules::StreamRules;
use crate::stream::Stream;
use crate::verdict::{Counts, Example, Invariant, NotProven};
use crate::version::Version;
use std::collections::{BTreeMap, BTreeSet};
use streamproof_model::op::{
    Call, ConsumerId, Event, Evidence, FaultKind, Meta, Op, Outcome, StreamId, SubjectId,
};

/// All that is known at a point of the history.
#[derive(Debug)]
pub(crate) struct World<'a> {
    pub(crate) context: &'a Context,
    pub(crate) meta: Meta,
    pub(crate) server: Version,
    pub(crate) subjects: Vec<String>,
    pub(crate) messages: Messages,
    pub(crate) streams: Vec<Stream>,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) findings: Findings,
    pub(crate) measures: BTreeMap<(&'static str, Option<FaultKind>, Target), (u64, u64)>,
    pub(crate) not_proven: BTreeSet<NotProven>,
    pub(crate) inconclusive: Vec<String>,
    pub(crate) counts: Counts,
    /// Streams and consumers that must be listed, by name.
    pub(crate) listed: Option<BTreeMap<String, Vec<String>>>,
    /// Counters by subject, for the walk over a stream.
    pub(crate) newer: Tally,
    pub(crate) present: Tally,
    /// What is back, in the reading that ends.
    pub(crate) back: Vec<Back>,
    pub(crate) now: u64,
    /// When the server was last seen to be back, in µs.
    pub(crate) up_since: u64,
    pub(crate) finished: bool,
    /// Bodies of others that were there before the first fault, numbered.
    pub(crate) adopted: u32,
    /// Some message has a time to live of its own.
    pub(crate) has_ttls: bool,
    /// The reading has shown messages that cannot be told apart (made by the server, or of others).
    pub(crate) unnamed_read: bool,
}

/// One fault.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) number: u32,
    pub(crate) kind: FaultKind,
    pub(crate) streams: Vec<StreamId>,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) recovered: bool,
    /// Streams that were read back whole after it.
    pub(crate) judged: BTreeSet<u16>,
}

impl<'a> World<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self {
            context,
            meta: Meta::default(),
            server: Version::default(),
            subjects: Vec::new(),
            messages: Messages::default(),
            streams: Vec::new(),
            consumers: Vec::new(),
            faults: Vec::new(),
            findings: Findings::default(),
            measures: BTreeMap::new(),
            not_proven: BTreeSet::new(),
            inconclusive: Vec::new(),
            counts: Counts::default(),
            listed: None,
            newer: Tally::default(),
            present: Tally::default(),
            back: Vec::new(),
            now: 0,
            up_since: 0,
            finished: false,
            adopted: 0,
            has_ttls: false,
            unnamed_read: false,
        }
    }

    pub(crate) fn take(&mut self, op: &Op) {
        self.counts.operations += 1;
        match op {
            Op::Call { invoked, done, call, outcome, .. } => self.call(*invoked, *done, call, *outcome),
            Op::Event { at, event } => {
                self.now = self.now.max(*at);
                self.event(*at, event);
            }
        }
    }

    fn call(&mut self, invoked: u64, done: u64, call: &Call, outcome: Outcome) {
        match call {
            Call::Publish(publish) => self.publish(publish, invoked, done, outcome),
            Call::Batch { messages } => self.batch(messages, invoked, done, outcome),
            Call::Ack { consumer, seq, kind, .. } => self.ack(*consumer, *seq, *kind, done, outcome),
            Call::Delete { stream, seq, erase } => {
                if outcome.may_have_happened() {
                    let message = self.stream(*stream).slots.get(*seq).message;
                    let subject = message.checked_sub(1).map(|number| self.messages.get(number).subject);
                    let stream = self.stream(*stream);
                    stream.delete(*seq, *erase, subject, outcome.happened());
                    stream.activity += 1;
                }
            }
            Call::Purge { stream, filter, before, keep } => {
                self.purge(*stream, *filter, *before, *keep, (invoked, done), outcome);
            }
            Call::UpdateStream { stream, config } => self.update_stream(*stream, config, outcome),
            Call::UpdateConsumer { consumer, config } => self.update_consumer(*consumer, config, outcome),
            Call::Remove { stream, consumer } => self.remove(*stream, *consumer, outcome),
            Call::MustRefuse { stream, what } => self.must_refuse(*stream, what, outcome),
        }
    }

    fn event(&mut self, at: u64, event: &Event) {
        match event {
            Event::Meta(meta) => {
                self.server = Version::parse(&meta.server);
                self.meta = meta.clone();
            }
            Event::DeclareStream { id, name } => {
                self.stream(*id).name.clone_from(name);
            }
            Event::DeclareSubject { id: SubjectId(id), name } => {
                let index = *id as usize;
                if self.subjects.len() <= index {
                    self.subjects.resize(index + 1, String::new());
                }
                self.subjects[index].clone_from(name);
            }
            Event::DeclareConsumer { id, stream, name } => {
                self.stream(*stream);
                let consumer = self.consumer(*id);
                consumer.stream = stream.0;
                consumer.name.clone_from(name);
                consumer.declared_us = at;
                let consumers = &mut self.stream(*stream).consumers;
                if !consumers.contains(&id.0) {
                    consumers.push(id.0);
                }
            }
            Event::Config { stream, consumer, source, json } => {
                self.config(*stream, *consumer, *source, json);
            }
            Event::Listing { phase, streams } => self.k1_listed(*phase, streams),
            Event::StreamInfo(info) => self.stream_info(info),
            Event::ConsumerInfo(info) => self.consumer_info(at, info),
            Event::Deliver(delivery) => self.deliver(at, delivery),
            Event::ReadBegin { stream, phase } => self.read_begin(*stream, *phase, at),
            Event::Stored(stored) => self.stored(stored),
            Event::Unreadable { stream, seq, error } => self.unreadable(*stream, *seq, error),
            Event::ReadEnd { stream, cut_short } => self.read_end(*stream, cut_short.as_deref(), at),
            Event::Drained { consumer, silent_us } => self.c5_drained(*consumer, *silent_us),
            Event::Canary { stream, consumer, end, took_us } => {
                self.canary(*stream, *consumer, *end, *took_us);
            }
            Event::Reapplied { pending } => self.k4_reapplied(pending),
            Event::Hung { stream, what, waited_us } => self.a1_hung(*stream, what, *waited_us),
            Event::FaultBegin { fault, kind, streams } => self.fault_begin(at, *fault, *kind, streams),
            Event::FaultEnd { fault, evidence } => {
                if let Some(run) = self.faults.iter_mut().rev().find(|run| run.number == *fault) {
                    run.evidence = Some((**evidence).clone());
                }
            }
            Event::Recovered { fault, server, ready_us } => {
                self.up_since = at;
                self.recovered(*fault, server, *ready_us);
            }
            Event::NotRecovered { fault, why } => self.a1_not_recovered(*fault, why),
            Event::Control(control) => self.findings.plant(control.clone()),
            Event::NotProven { what, why, required } => {
                if *required {
                    self.inconclusive.push(format!("{what}: {why}"));
                }
                self.not_proven.insert(NotProven { what: what.clone(), why: why.clone() });
            }
            Event::Finished => self.finished = true,
            Event::Torn { offset } => {
                self.inconclusive
                    .push(format!("the history is torn at byte {offset}: what followed is unknown"));
            }
        }
    }

    /// The stream of a number; an undeclared one is made up, so that no index is ever out of range.
    pub(crate) fn stream(&mut self, id: StreamId) -> &mut Stream {
        while self.streams.len() <= usize::from(id.0) {
            let rows = self.rows(None, &StreamRules::default());
            self.streams.push(Stream::new(format!("#{}", self.streams.len()), rows));
        }
        &mut self.streams[usize::from(id.0)]
    }

    pub(crate) fn consumer(&mut self, id: ConsumerId) -> &mut Consumer {
        while self.consumers.len() <= usize::from(id.0) {
            self.stream(StreamId(0));
            self.consumers.push(Consumer::new());
        }
        &mut self.consumers[usize::from(id.0)]
    }

    pub(crate) fn subject(&self, subject: u32) -> &str {
        self.subjects.get(subject as usize).map_or("", String::as_str)
    }

    pub(crate) fn target_name(&self, target: Target) -> String {
        let stream = self.streams.get(usize::from(target.stream)).map_or("", |stream| stream.name.as_str());
        match target.consumer.and_then(|id| self.consumers.get(usize::from(id))) {
            Some(consumer) => format!("{stream} > {}", consumer.name),
            None => stream.to_owned(),
        }
    }

    /// Notes a violation of a stream.
    pub(crate) fn violation(
        &mut self,
        invariant: Invariant,
        stream: u16,
        class: &'static str,
        seq: Option<u64>,
        text: impl FnOnce() -> String,
    ) {
        let row = self.streams[usize::from(stream)].row(Property::of_finding(invariant, class));
        let at = self.now;
        self.findings.add(invariant, Target { stream, consumer: None }, class, seq, row, || Example {
            at,
            text: text(),
            ..Example::default()
        });
    }

    /// Notes a violation of a consumer.
    pub(crate) fn consumer_violation(
        &mut self,
        invariant: Invariant,
        consumer: u16,
        class: &'static str,
        seq: Option<u64>,
        text: impl FnOnce() -> String,
    ) {
        let stream = self.consumers[usize::from(consumer)].stream;
        let row = self.streams[usize::from(stream)].row(Property::of_finding(invariant, class));
        let at = self.now;
        let target = Target { stream, consumer: Some(consumer) };
        self.findings.add(invariant, target, class, seq, row, || Example {
            at,
            text: text(),
            ..Example::default()
        });
    }

    /// Notes a violation that is about one message, with its age at the fault.
    pub(crate) fn message_violation(
        &mut self,
        invariant: Invariant,
        stream: u16,
        class: &'static str,
        seq: u64,
        number: u32,
        text: impl FnOnce() -> String,
    ) {
        let sent = *self.messages.get(number);
        let (publisher, counter) = self.messages.name(number);
        let subject = &self.subjects.get(sent.subject as usize);
        let row = self.streams[usize::from(stream)].row(Property::of_finding(invariant, class));
        let at = self.now;
        let age =
            self.findings.fault.and_then(|(_, begun)| begun.checked_sub(u64::from(sent.invoked_ms) * 1000));
        let target = Target { stream, consumer: None };
        self.findings.add(invariant, target, class, Some(seq), row, || Example {
            at,
            seq: Some(seq),
            message: Some(format!("{publisher}.{counter}")),
            subject: subject.map(|name| (*name).clone()),
            age_us: age,
            text: text(),
        });
        if let Some(age) = age {
            self.findings.age(invariant, target, class, age);
        }
    }

    pub(crate) fn measure(&mut self, name: &'static str, target: Target, value_us: u64) {
        let fault = self.findings.fault.map(|(kind, _)| kind);
        self.measure_under(fault, name, target, value_us);
    }

    pub(crate) fn measure_under(
        &mut self,
        fault: Option<FaultKind>,
        name: &'static str,
        target: Target,
        value_us: u64,
    ) {
        let entry = self.measures.entry((name, fault, target)).or_default();
        entry.0 += 1;
        entry.1 = entry.1.max(value_us);
    }

    fn rows(&self, fault: Option<FaultKind>, rules: &StreamRules) -> [&'static Row; 5] {
        Property::ALL.map(|property| promise(property, fault, rules, self.context.sync, self.server))
    }

    fn fault_begin(&mut self, at: u64, number: u32, kind: FaultKind, streams: &[StreamId]) {
        self.counts.faults += 1;
        self.findings.fault = Some((kind, at));
        self.faults.push(Fault {
            number,
            kind,
            streams: streams.to_vec(),
            evidence: None,
            recovered: false,
            judged: BTreeSet::new(),
        });
        for index in 0..self.streams.len() {
            let rows = self.rows(Some(kind), &self.streams[index].rules);
            self.streams[index].rows = rows;
            if kind.restarts() {
                let stream = &mut self.streams[index];
                let newest = stream.slots.get(stream.known_last);
                let gone = newest.flags & (GONE | DELETED | MAYBE_DELETED) != 0;
                stream.crashed_without_newest = gone && (!kind.graceful() || stream.crashed_without_newest);
            }
            // A state from before the fault says nothing of what is read after it.
            self.streams[index].activity += 1;
        }
        let promised: Vec<bool> = self
            .consumers
            .iter()
            .map(|consumer| self.streams[usize::from(consumer.stream)].row(Property::Acks).promise)
            .map(|promise| promise == Promise::Yes)
            .collect();
        for (index, _) in promised.iter().enumerate().filter(|(_, promised)| kind.restarts() && !**promised) {
            self.c9_acks_at_stake(index, at);
        }
        for (consumer, promised) in self.consumers.iter_mut().zip(promised) {
            consumer.fault(at, kind, promised);
        }
    }

    fn recovered(&mut self, number: u32, server: &str, ready_us: u64) {
        self.server = Version::parse(server);
        if let Some(fault) = self.faults.iter_mut().rev().find(|fault| fault.number == number) {
            fault.recovered = true;
        }
        for index in 0..self.streams.len() {
            let stream = &mut self.streams[index];
            stream.loose = stream.rules.clone();
        }
        self.measure("ready", Target { stream: 0, consumer: None }, ready_us);
    }

    /// The fault that a reading now belongs to.
    pub(crate) fn current_fault(&mut self) -> Option<&mut Fault> {
        self.faults.last_mut()
    }
}

/// Counters by subject that are emptied again and again.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Vec<u32>,
    touched: Vec<u32>,
}

impl Tally {
    pub(crate) fn get(&self, subject: u32) -> u64 {
        self.counts.get(subject as usize).copied().unwrap_or_default().into()
    }

    pub(crate) fn add(&mut self, subject: u32) -> u64 {
        let index = subject as usize;
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        if self.counts[index] == 0 {
            self.touched.push(subject);
        }
        self.counts[index] += 1;
        self.counts[index].into()
    }

    /// A subject that has more than `most`, with its count.
    pub(crate) fn first_over(&self, most: u64) -> Option<(u32, u64)> {
        self.touched.iter().map(|subject| (*subject, self.get(*subject))).find(|(_, count)| *count > most)
    }

    pub(crate) fn clear(&mut self) {
        for subject in self.touched.drain(..) {
            self.counts[subject as usize] = 0;
        }
    }
}
