//! Watches the operations of one case go by, and keeps of every stream what its plots need.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use streamproof_checker::{Cell, Example, Verdict};
use streamproof_model::op::{
    AckKind, Call, ConfigSource, ConsumerId, Deliver, Event, FaultKind, Op, Outcome, Phase, Publish, Seen,
    Stored, StreamId,
};

use super::scene::{AgeBin, Ages, Change, Dot, Fate, Flow, Lane, Points, Scene, Span, State};
use super::words;

/// So many marks of one kind are drawn; what is bad has a count of its own.
const MARKS_MAX: usize = 700;
/// So many publishes of each fate are drawn.
const DOTS_MAX: usize = 600;
/// So many times are told apart.
const BINS: u64 = 120;
/// So many consumers of a stream are drawn.
const LANES_MAX: usize = 4;
/// So many changes of configuration are told.
const CHANGES_MAX: usize = 40;
/// Values of a configuration are cut after this many letters.
const VALUE_MAX: usize = 160;
/// Reads of a stream that are told apart; later ones count as the last.
const READS_MAX: u32 = 127;

/// Watches one case.
#[derive(Debug, Default)]
pub struct Watch {
    streams: Vec<StreamSeen>,
    consumers: Vec<ConsumerSeen>,
    messages: HashMap<(u16, u32), (usize, usize)>,
    faults: Vec<FaultSeen>,
    began_ns: i64,
    end: u64,
}

#[derive(Debug, Default)]
struct StreamSeen {
    name: String,
    publishes: Vec<Sent>,
    by_seq: HashMap<u64, usize>,
    acked: Vec<(u64, u64)>,
    states: Vec<State>,
    reads: u32,
    /// When the last read began.
    read_at: u64,
    /// The first read after each fault, by the fault's number.
    read_after: BTreeMap<u32, u32>,
    config: BTreeMap<Option<u16>, Value>,
    created_ns: i64,
    changes: Vec<Change>,
}

#[derive(Debug, Default)]
struct ConsumerSeen {
    stream: usize,
    name: String,
    created_ns: i64,
    delivered: Vec<(u64, u64)>,
    redelivered: Vec<(u64, u64)>,
    answered: Vec<(u64, u64)>,
    floor: Vec<(u64, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: u64,
    message: (u16, u32),
    outcome: Outcome,
    /// A bit for each read that it was in.
    seen: u128,
}

#[derive(Debug, Clone, Copy)]
struct FaultSeen {
    number: u32,
    kind: FaultKind,
    begin: u64,
    end: Option<u64>,
    ready_us: u64,
}

impl Watch {
    /// Takes the next operation.
    pub fn take(&mut self, op: &Op) {
        match op {
            Op::Call { invoked, done, call, outcome, .. } => {
                self.end = self.end.max(*invoked);
                match call {
                    Call::Publish(publish) => self.publish(publish, *invoked, *done, *outcome),
                    Call::Batch { messages } => {
                        let count = messages.len() as u64;
                        for (index, publish) in messages.iter().enumerate() {
                            let outcome = match *outcome {
                                Outcome::Acked { seq, duplicate } => Outcome::Acked {
                                    seq: (seq + 1 + index as u64).saturating_sub(count),
                                    duplicate,
                                },
                                other => other,
                            };
                            self.publish(publish, *invoked, *done, outcome);
                        }
                    }
                    Call::Ack { consumer, seq, kind: AckKind::DoubleAck, .. } if outcome.happened() => {
                        if let Some(seen) = self.consumers.get_mut(usize::from(consumer.0)) {
                            seen.answered.push((*done, *seq));
                        }
                    }
                    _ => {}
                }
            }
            Op::Event { at, event } => {
                self.end = self.end.max(*at);
                self.event(*at, event);
            }
        }
    }

    /// When the run began, in ns since 1970.
    #[must_use]
    pub fn began_ns(&self) -> i64 {
        self.began_ns
    }

    fn stream(&mut self, id: StreamId) -> &mut StreamSeen {
        let index = usize::from(id.0);
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, StreamSeen::default);
        }
        &mut self.streams[index]
    }

    fn consumer(&mut self, id: ConsumerId) -> &mut ConsumerSeen {
        let index = usize::from(id.0);
        if self.consumers.len() <= index {
            self.consumers.resize_with(index + 1, ConsumerSeen::default);
        }
        &mut self.consumers[index]
    }

    fn publish(&mut self, publish: &Publish, invoked: u64, done: u64, outcome: Outcome) {
        let message = (publish.publisher, publish.counter);
        let id = usize::from(publish.stream.0);
        let stream = self.stream(publish.stream);
        let index = stream.publishes.len();
        stream.publishes.push(Sent { at: invoked, message, outcome, seen: 0 });
        match outcome {
            Outcome::Acked { seq, duplicate: false } => {
                stream.acked.push((done, seq));
                stream.by_seq.insert(seq, index);
                self.messages.insert(message, (id, index));
            }
            Outcome::Indeterminate { .. } => {
                self.messages.entry(message).or_insert((id, index));
            }
            _ => {}
        }
    }

    fn event(&mut self, at: u64, event: &Event) {
        let fault = self.faults.last().copied();
        match event {
            Event::Meta(meta) => self.began_ns = meta.began_ns,
            Event::DeclareStream { id, name } => self.stream(*id).name.clone_from(name),
            Event::DeclareConsumer { id, stream, name } => {
                let seen = self.consumer(*id);
                seen.name.clone_from(name);
                seen.stream = usize::from(stream.0);
            }
            Event::FaultBegin { fault, kind, .. } => {
                self.faults.push(FaultSeen {
                    number: *fault,
                    kind: *kind,
                    begin: at,
                    end: None,
                    ready_us: 0,
                });
            }
            Event::Recovered { fault, ready_us, .. } => {
                if let Some(seen) = self.faults.iter_mut().find(|seen| seen.number == *fault) {
                    (seen.end, seen.ready_us) = (Some(at), *ready_us);
                }
            }
            Event::StreamInfo(info) => {
                let stream = self.stream(info.stream);
                let after = info.phase == Phase::After;
                if let (true, Some(fault)) = (after && stream.created_ns != 0, fault) {
                    stream.created(fault.kind, stream.name.clone(), stream.created_ns, info.created_ns);
                }
                stream.created_ns = info.created_ns;
                stream.states.push(State { at, first: info.first_seq, last: info.last_seq, after });
            }
            Event::ConsumerInfo(info) => {
                let seen = self.consumer(info.consumer);
                seen.floor.push((at, info.floor_stream));
                let (before, stream, name) = (seen.created_ns, seen.stream, seen.name.clone());
                seen.created_ns = info.created_ns;
                if let (true, Some(fault), Some(stream)) =
                    (info.phase == Phase::After && before != 0, fault, self.streams.get_mut(stream))
                {
                    let target = format!("{} > {name}", stream.name);
                    stream.created(fault.kind, target, before, info.created_ns);
                }
            }
            Event::Config { stream, consumer, source, json } => {
                let name = consumer.map(|id| self.consumer(id).name.clone());
                self.stream(*stream).config(fault, consumer.map(|id| id.0), name, *source, json);
            }
            Event::Listing { phase: Phase::After, streams } => {
                for stream in self.streams.iter_mut().filter(|stream| !streams.contains_key(&stream.name)) {
                    if let Some(fault) = fault {
                        stream.change(
                            fault.kind,
                            stream.name.clone(),
                            "the whole stream",
                            "there",
                            "not there",
                        );
                    }
                }
            }
            Event::Deliver(delivery) => self.deliver(at, delivery),
            Event::ReadBegin { stream, .. } => {
                let seen = self.stream(*stream);
                seen.reads = (seen.reads + 1).min(READS_MAX);
                seen.read_at = at;
                if let Some(fault) = fault {
                    let read = seen.reads;
                    seen.read_after.entry(fault.number).or_insert(read);
                }
            }
            Event::Stored(stored) => self.stored(stored),
            _ => {}
        }
    }

    fn deliver(&mut self, at: u64, delivery: &Deliver) {
        let seen = self.consumer(delivery.consumer);
        let list = if delivery.delivered > 1 { &mut seen.redelivered } else { &mut seen.delivered };
        list.push((at, delivery.seq));
    }

    fn stored(&mut self, stored: &Stored) {
        let id = usize::from(stored.stream.0);
        let named = match stored.seen {
            Seen::Ours { publisher, counter, .. } | Seen::Damaged { publisher, counter, .. } => self
                .messages
                .get(&(publisher, counter))
                .filter(|(stream, _)| *stream == id)
                .map(|(_, index)| *index),
            Seen::Foreign { .. } => None,
        };
        let stream = self.stream(stored.stream);
        let bit = 1_u128 << stream.reads;
        if let Some(index) = named.or_else(|| stream.by_seq.get(&stored.seq).copied()) {
            stream.publishes[index].seen |= bit;
        }
    }

    /// The scene of one stream. The verdict is that of this case, with as many examples as there are violations.
    #[must_use]
    pub fn scene(&self, name: &str, case: u32, verdict: &Verdict) -> Option<Scene> {
        let id = self.streams.iter().position(|stream| stream.name == name)?;
        let stream = &self.streams[id];
        let violations = violations(verdict, name);
        let lost = messages(&violations, |violation| violation.lost);
        let wrong = messages(&violations, |violation| !violation.lost);
        let mut by_fate: BTreeMap<Fate, Vec<Dot>> = BTreeMap::new();
        for sent in &stream.publishes {
            let fate = sent.fate(stream, &lost, &wrong);
            let seq = match sent.outcome {
                Outcome::Acked { seq, .. } => Some(seq),
                _ => None,
            };
            by_fate.entry(fate).or_default().push(Dot { at: sent.at, fate, seq, message: sent.message });
        }
        let fates = by_fate.iter().map(|(fate, dots)| (*fate, dots.len() as u64)).collect();
        let of_stream = verdict.findings.iter().filter(|finding| words::stream_of(&finding.target) == name);
        let unnamed = of_stream
            .filter(|finding| words::is_loss(finding))
            .map(|finding| finding.count.saturating_sub(finding.examples.len() as u64))
            .sum();
        let mut dots = Points::default();
        for (_, list) in by_fate {
            let some = Points::sample(list, DOTS_MAX);
            dots.of += some.of;
            dots.shown.extend(some.shown);
        }
        let mut lanes: Vec<(usize, Lane)> = self
            .consumers
            .iter()
            .filter(|consumer| consumer.stream == id)
            .map(|consumer| consumer.lane(name, &violations))
            .map(|lane| (lane.broken.shown.len(), lane))
            .collect();
        lanes.sort_by_key(|(broken, _)| std::cmp::Reverse(*broken));
        let more_lanes = lanes.len().saturating_sub(LANES_MAX);
        let lanes = lanes.into_iter().take(LANES_MAX).map(|(_, lane)| lane).collect();
        let broken = violations
            .iter()
            .filter(|violation| violation.consumer.is_none())
            .filter_map(|violation| violation.mark())
            .collect();
        Some(Scene {
            stream: name.to_owned(),
            case,
            span_us: self.end.max(1),
            faults: self.spans(&violations),
            fates,
            unnamed,
            dots,
            acked: Points::sample(stream.acked.clone(), MARKS_MAX),
            states: Points::sample(stream.states.clone(), MARKS_MAX),
            broken: Points::sample(broken, MARKS_MAX),
            lanes,
            more_lanes,
            flow: self.flow(id),
            ages: self.ages(stream, &violations),
            changes: stream.changes.clone(),
        })
    }

    fn spans(&self, violations: &[Violation<'_>]) -> Vec<Span> {
        let next = self.faults.iter().skip(1).map(|fault| fault.begin).chain([u64::MAX]);
        self.faults
            .iter()
            .zip(next)
            .map(|(fault, next)| Span {
                number: fault.number,
                kind: fault.kind,
                begin: fault.begin,
                end: fault.end,
                ready_us: fault.ready_us,
                verdict: violations
                    .iter()
                    .filter(|violation| (fault.begin..next).contains(&violation.example.at))
                    .map(|violation| violation.cell)
                    .min_by_key(|cell| words::rank(*cell))
                    .unwrap_or(Cell::Pass),
            })
            .collect()
    }

    fn flow(&self, id: usize) -> Flow {
        let bin_us = (self.end / BINS).max(1);
        let bins = usize::try_from(self.end / bin_us).unwrap_or(0) + 1;
        let mut flow = Flow { bin_us, acked: vec![0; bins], delivered: vec![0; bins] };
        let add = |bins: &mut Vec<u32>, at: u64| {
            if let Some(bin) = bins.get_mut(usize::try_from(at / bin_us).unwrap_or(usize::MAX)) {
                *bin += 1;
            }
        };
        for (at, _) in &self.streams[id].acked {
            add(&mut flow.acked, *at);
        }
        for consumer in self.consumers.iter().filter(|consumer| consumer.stream == id) {
            for (at, _) in consumer.delivered.iter().chain(&consumer.redelivered) {
                add(&mut flow.delivered, *at);
            }
        }
        flow
    }

    /// At the first fault that lost something; without any, at the last crash, or else the last fault, that was read after.
    fn ages(&self, stream: &StreamSeen, violations: &[Violation<'_>]) -> Option<Ages> {
        let read = |fault: &&FaultSeen| stream.read_after.contains_key(&fault.number);
        let next = |fault: &FaultSeen| {
            self.faults.iter().map(|other| other.begin).find(|begin| *begin > fault.begin).unwrap_or(u64::MAX)
        };
        let losing = self.faults.iter().filter(read).find(|fault| {
            let span = fault.begin..next(fault);
            violations.iter().any(|violation| violation.lost && span.contains(&violation.example.at))
        });
        let crash = || {
            self.faults
                .iter()
                .filter(read)
                .rev()
                .find(|fault| !fault.kind.graceful() && fault.kind.restarts())
        };
        let fault = losing.or_else(crash).or_else(|| self.faults.iter().rev().find(read))?;
        let read = *stream.read_after.get(&fault.number)?;
        let kept: Vec<u64> = stream
            .publishes
            .iter()
            .filter(|sent| {
                matches!(sent.outcome, Outcome::Acked { duplicate: false, .. }) && sent.seen >> read & 1 == 1
            })
            .filter_map(|sent| fault.begin.checked_sub(sent.at))
            .collect();
        let mut counted = BTreeSet::new();
        let lost: Vec<u64> = violations
            .iter()
            .filter(|violation| violation.lost && (fault.begin..next(fault)).contains(&violation.example.at))
            .filter(|violation| counted.insert(violation.example.message.clone()))
            .filter_map(|violation| violation.example.age_us)
            .collect();
        let edges = edges();
        let bin = |ages: &[u64], from: u64, to: u64| {
            ages.iter().filter(|age| (from..to).contains(age)).count() as u64
        };
        let mut bins: Vec<AgeBin> = edges
            .windows(2)
            .map(|edge| AgeBin {
                from_us: edge[0],
                to_us: edge[1],
                kept: bin(&kept, edge[0], edge[1]),
                lost: bin(&lost, edge[0], edge[1]),
            })
            .collect();
        let full = |bin: &AgeBin| bin.kept + bin.lost > 0;
        let last = bins.iter().rposition(full)?;
        bins.truncate(last + 1);
        bins.drain(..bins.iter().position(full).unwrap_or(0));
        Some(Ages {
            fault: fault.number,
            kind: fault.kind,
            bins,
            youngest_kept: kept.iter().min().copied(),
            lost: lost.iter().min().zip(lost.iter().max()).map(|(least, most)| (*least, *most)),
        })
    }
}

/// 1, 2, 5 in each power of ten: from a tenth of a millisecond to an hour.
fn edges() -> Vec<u64> {
    let mut edges = vec![0];
    let mut ten = 100_u64;
    while ten < 3_600_000_000 {
        edges.extend([ten, ten * 2, ten * 5]);
        ten *= 10;
    }
    edges.push(u64::MAX);
    edges
}

impl StreamSeen {
    fn created(&mut self, fault: FaultKind, target: String, before: i64, after: i64) {
        if before != after {
            let time = |ns: i64| {
                jiff::Timestamp::from_nanosecond(i128::from(ns))
                    .map_or_else(|_| ns.to_string(), |time| time.to_string())
            };
            self.change(fault, target, "created", &time(before), &time(after));
        }
    }

    fn change(&mut self, fault: FaultKind, target: String, path: &str, before: &str, after: &str) {
        let change = Change {
            target,
            fault,
            path: path.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        };
        if self.changes.len() < CHANGES_MAX && !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }

    fn config(
        &mut self,
        fault: Option<FaultSeen>,
        consumer: Option<u16>,
        name: Option<String>,
        source: ConfigSource,
        json: &str,
    ) {
        let Ok(now) = serde_json::from_str::<Value>(json) else { return };
        if source == ConfigSource::Desired {
            return;
        }
        let before = self.config.insert(consumer, now.clone());
        if let (ConfigSource::After, Some(before), Some(fault)) = (source, before, fault) {
            let target = name.map_or_else(|| self.name.clone(), |name| format!("{} > {name}", self.name));
            let mut found = Vec::new();
            differences("", &before, &now, &mut found);
            for (path, before, after) in found {
                self.change(fault.kind, target.clone(), &path, &before, &after);
            }
        }
    }
}

/// Which fields differ, each with both values.
fn differences(path: &str, before: &Value, after: &Value, found: &mut Vec<(String, String, String)>) {
    if before == after {
        return;
    }
    if let (Value::Object(one), Value::Object(other)) = (before, after) {
        let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            differences(&path, &before[key.as_str()], &after[key.as_str()], found);
        }
        return;
    }
    let shown = |value: &Value| {
        let text = if value.is_null() { "not set".to_owned() } else { value.to_string() };
        match text.char_indices().nth(VALUE_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    };
    found.push((path.to_owned(), shown(before), shown(after)));
}

impl ConsumerSeen {
    fn lane(&self, stream: &str, violations: &[Violation<'_>]) -> Lane {
        let target = format!("{stream} > {}", self.name);
        let broken = violations
            .iter()
            .filter(|violation| violation.consumer == Some(&target))
            .filter_map(|violation| violation.mark())
            .collect();
        let some = |list: &Vec<(u64, u64)>| Points::sample(list.clone(), MARKS_MAX);
        Lane {
            consumer: self.name.clone(),
            delivered: some(&self.delivered),
            redelivered: some(&self.redelivered),
            answered: some(&self.answered),
            floor: some(&self.floor),
            broken: Points::sample(broken, MARKS_MAX),
        }
    }
}

impl Sent {
    fn fate(&self, stream: &StreamSeen, lost: &BTreeSet<(u16, u32)>, wrong: &BTreeSet<(u16, u32)>) -> Fate {
        let there = self.seen >> stream.reads & 1 == 1;
        match self.outcome {
            Outcome::Acked { duplicate: true, .. } => Fate::Duplicate,
            Outcome::Rejected { .. } => Fate::Refused,
            _ if lost.contains(&self.message) => Fate::Lost,
            _ if wrong.contains(&self.message) => Fate::Wrong,
            _ if stream.reads == 0 || self.at > stream.read_at => Fate::Unread,
            Outcome::Indeterminate { .. } if self.seen == 0 => Fate::UnknownGone,
            Outcome::Indeterminate { .. } => Fate::UnknownThere,
            _ if there => Fate::Kept,
            _ => Fate::Removed,
        }
    }
}

/// One violation of a stream or its consumers.
#[derive(Debug, Clone, Copy)]
struct Violation<'a> {
    consumer: Option<&'a String>,
    cell: Cell,
    lost: bool,
    class: &'a str,
    name: &'static str,
    example: &'a Example,
}

impl Violation<'_> {
    /// When, which sequence, and what; none without a sequence.
    fn mark(&self) -> Option<(u64, u64, String)> {
        let text = format!("{} {}: {}", self.name, self.class, self.example.text);
        Some((self.example.at, self.example.seq?, text))
    }
}

fn violations<'a>(verdict: &'a Verdict, stream: &str) -> Vec<Violation<'a>> {
    let mut list: Vec<Violation<'a>> = verdict
        .findings
        .iter()
        .filter(|finding| words::stream_of(&finding.target) == stream)
        .flat_map(|finding| {
            finding.examples.iter().map(|example| Violation {
                consumer: finding.target.contains(" > ").then_some(&finding.target),
                cell: finding.verdict,
                lost: words::is_loss(finding),
                class: &finding.class,
                name: finding.invariant.name(),
                example,
            })
        })
        .collect();
    list.sort_by_key(|violation| violation.example.at);
    list
}

fn messages(violations: &[Violation<'_>], of: impl Fn(&Violation<'_>) -> bool) -> BTreeSet<(u16, u32)> {
    violations
        .iter()
        .filter(|violation| violation.consumer.is_none() && of(violation))
        .filter_map(|violation| message(violation.example))
        .collect()
}

/// Publisher and counter of an example.
pub(crate) fn message(example: &Example) -> Option<(u16, u32)> {
    let (publisher, counter) = example.message.as_deref()?.split_once('.')?;
    Some((publisher.parse().ok()?, counter.parse().ok()?))
}
