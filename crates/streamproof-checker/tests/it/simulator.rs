//! A small deterministic simulator of what a good server does, which makes good histories; and ways to damage them.

use std::collections::BTreeMap;
use streamproof_checker::Invariant;
use streamproof_model::op::{
    AckKind, Call, ConfigSource, ConsumerId, ConsumerSnapshot, Deliver, Event, Evidence, Expect, FaultKind,
    Headers, Meta, Op, Outcome, Phase, Publish, Role, Seen, Stored, StreamId, StreamSnapshot, SubjectId, Ttl,
    Why,
};

/// The configurations that are simulated: a name, the stream's configuration, the consumer's if it has one.
pub(crate) const CONFIGURATIONS: &[(&str, &str, &str)] = &[
    ("limits", r#"{"retention":"limits"}"#, EXPLICIT),
    ("max-msgs", r#"{"max_msgs":60}"#, ""),
    ("max-bytes", r#"{"max_bytes":1000000}"#, ""),
    ("discard-new", r#"{"max_msgs":120,"discard":"new"}"#, ""),
    ("per-subject", r#"{"max_msgs_per_subject":8}"#, ""),
    ("work-queue", r#"{"retention":"workqueue"}"#, EXPLICIT),
    ("interest", r#"{"retention":"interest"}"#, EXPLICIT),
    (
        "ack-all",
        r#"{"retention":"limits"}"#,
        r#"{"durable_name":"c","ack_policy":"all","ack_wait":30000000000}"#,
    ),
    ("dedup", r#"{"duplicate_window":120000000000}"#, EXPLICIT),
    ("ttl", r#"{"allow_msg_ttl":true}"#, ""),
    ("kv", r#"{"max_msgs_per_subject":1}"#, ""),
    ("mirror", r#"{"allow_direct":true}"#, ""),
];

const EXPLICIT: &str = r#"{"durable_name":"c","ack_policy":"explicit","ack_wait":30000000000}"#;

/// splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

#[derive(Debug, Clone, Copy)]
struct Message {
    counter: u32,
    subject: u32,
    headers: Headers,
    due: u64,
}

/// A good history, and what a damage needs to know of it.
#[derive(Debug)]
pub(crate) struct Good {
    pub(crate) ops: Vec<Op>,
    /// By position of a `ReadEnd`: messages that were rightly gone then.
    pub(crate) gone: Vec<(usize, Vec<Stored>)>,
}

struct Simulator {
    random: Random,
    name: &'static str,
    ops: Vec<Op>,
    now: u64,
    id: u64,
    counter: u32,
    stored: BTreeMap<u64, Message>,
    gone: BTreeMap<u64, Message>,
    ever: BTreeMap<u32, u64>,
    last: u64,
    /// Delivered and not acked: how often.
    pending: BTreeMap<u64, u32>,
    delivered: u64,
    consumer_seq: u64,
    gone_at: Vec<(usize, Vec<Stored>)>,
}

pub(crate) const S: StreamId = StreamId(0);
const M: StreamId = StreamId(1);
const C: ConsumerId = ConsumerId(0);
const SUBJECTS: u32 = 12;

/// Makes a good history of `rounds` faults with `load` operations between each.
pub(crate) fn good(configuration: usize, seed: u64, rounds: u32, load: u32) -> Good {
    let (name, stream, consumer) = CONFIGURATIONS[configuration];
    let mut sim = Simulator {
        random: Random(seed ^ ((configuration as u64) << 32)),
        name,
        ops: Vec::new(),
        now: 0,
        id: 0,
        counter: 0,
        stored: BTreeMap::new(),
        gone: BTreeMap::new(),
        ever: BTreeMap::new(),
        last: 0,
        pending: BTreeMap::new(),
        delivered: 0,
        consumer_seq: 0,
        gone_at: Vec::new(),
    };
    sim.event(Event::Meta(Meta { run: 1, server: "2.15.1".into(), ..Meta::default() }));
    let stream_name = if name == "kv" { "KV_S" } else { "S" };
    sim.event(Event::DeclareStream { id: S, name: stream_name.into() });
    for id in 0..SUBJECTS {
        sim.event(Event::DeclareSubject { id: SubjectId(id), name: format!("s.{id}") });
    }
    sim.event(config(S, None, ConfigSource::Before, stream));
    if name == "mirror" {
        sim.event(Event::DeclareStream { id: M, name: "M".into() });
        sim.event(config(M, None, ConfigSource::Before, MIRROR));
    }
    if !consumer.is_empty() {
        sim.event(Event::DeclareConsumer { id: C, stream: S, name: "c".into() });
        sim.event(config(S, Some(C), ConfigSource::Before, consumer));
    }
    for round in 1..=rounds {
        for _ in 0..load {
            sim.now += 300;
            sim.expire();
            sim.step(!consumer.is_empty());
        }
        sim.round(round, stream, consumer);
    }
    sim.event(Event::Finished);
    Good { ops: sim.ops, gone: sim.gone_at }
}

const MIRROR: &str = r#"{"mirror":{"name":"S"}}"#;

fn config(stream: StreamId, consumer: Option<ConsumerId>, source: ConfigSource, json: &str) -> Event {
    Event::Config { stream, consumer, source, json: json.into() }
}

impl Simulator {
    fn event(&mut self, event: Event) {
        self.ops.push(Op::Event { at: self.now, event });
    }

    fn call(&mut self, call: Call, outcome: Outcome) {
        let (id, invoked) = (self.id, self.now);
        self.id += 1;
        self.now += 100;
        self.ops.push(Op::Call { id, invoked, done: self.now, call, outcome });
    }

    fn step(&mut self, consumes: bool) {
        match self.random.below(100) {
            0..=2 if self.name != "mirror" => self.delete(),
            3 if self.name != "mirror" => self.purge(),
            4..=39 if consumes => self.consume(),
            40..=44 if self.name == "dedup" && self.counter > 0 => {
                let counter = self.random.below(self.counter.into()) as u32;
                if let Some(seq) = self.ever.get(&counter).copied()
                    && let Some(message) = self.stored.get(&seq).copied()
                {
                    let publish = Publish { attempt: 1, ..self.publish_of(message) };
                    self.call(Call::Publish(publish), Outcome::Acked { seq, duplicate: true });
                }
            }
            _ => self.publish(),
        }
    }

    fn publish(&mut self) {
        let hash = self.random.below(1 << 32) as u32;
        let ttl = self.name == "ttl" && self.random.below(4) == 0;
        let message = Message {
            counter: self.counter,
            subject: self.random.below(SUBJECTS.into()) as u32,
            headers: Headers { len: 12, hash },
            due: if ttl { self.now + 20_000_000 } else { u64::MAX },
        };
        self.counter += 1;
        let call = Call::Publish(self.publish_of(message));
        if self.name == "discard-new" && self.stored.len() >= 120 {
            return self.call(call, Outcome::Rejected { code: 10077 });
        }
        let indeterminate = self.random.below(30) == 0;
        if !indeterminate || self.random.below(2) == 0 {
            self.last += 1;
            self.stored.insert(self.last, message);
            self.ever.insert(message.counter, self.last);
            self.evict(message.subject);
        }
        let outcome = if indeterminate {
            Outcome::Indeterminate { why: Why::Timeout }
        } else {
            Outcome::Acked { seq: self.last, duplicate: false }
        };
        self.call(call, outcome);
    }

    fn publish_of(&self, message: Message) -> Publish {
        Publish {
            stream: S,
            subject: SubjectId(message.subject),
            publisher: 0,
            counter: message.counter,
            attempt: 0,
            len: 100,
            headers: message.headers,
            msg_id: self.name == "dedup",
            expect: Expect::Nothing,
            ttl: if message.due == u64::MAX { Ttl::Stream } else { Ttl::Seconds(20) },
            role: Role::Plain,
        }
    }

    fn evict(&mut self, subject: u32) {
        let most = match self.name {
            "max-msgs" => 60,
            // 1,000,000 bytes of messages of some 530 bytes, as the checker bounds them.
            "max-bytes" => 2_500,
            _ => usize::MAX,
        };
        while self.stored.len() > most {
            let Some((seq, message)) = self.stored.pop_first() else { return };
            self.gone.insert(seq, message);
        }
        let most = match self.name {
            "per-subject" => 8,
            "kv" => 1,
            _ => usize::MAX,
        };
        let on_subject: Vec<u64> = self
            .stored
            .iter()
            .filter(|(_, message)| message.subject == subject)
            .map(|(seq, _)| *seq)
            .collect();
        for seq in on_subject.iter().take(on_subject.len().saturating_sub(most)) {
            self.remove(*seq);
        }
    }

    fn expire(&mut self) {
        if self.name == "ttl" {
            let due: Vec<u64> = self
                .stored
                .iter()
                .filter(|(_, message)| message.due <= self.now)
                .map(|(seq, _)| *seq)
                .collect();
            for seq in due {
                self.remove(seq);
            }
        }
    }

    fn remove(&mut self, seq: u64) {
        if let Some(message) = self.stored.remove(&seq) {
            self.gone.insert(seq, message);
            self.pending.remove(&seq);
        }
    }

    fn any(&mut self) -> Option<u64> {
        let index = self.random.below(self.stored.len() as u64) as usize;
        self.stored.keys().nth(index).copied()
    }

    fn delete(&mut self) {
        if let Some(seq) = self.any() {
            self.remove(seq);
            self.call(Call::Delete { stream: S, seq, erase: false }, Outcome::Done { count: 0 });
        }
    }

    fn purge(&mut self) {
        let subject = self.random.below(SUBJECTS.into()) as u32;
        let seqs: Vec<u64> = self
            .stored
            .iter()
            .filter(|(_, message)| message.subject == subject)
            .map(|(seq, _)| *seq)
            .collect();
        for seq in &seqs {
            self.remove(*seq);
        }
        let call = Call::Purge { stream: S, filter: Some(SubjectId(subject)), before: None, keep: None };
        self.call(call, Outcome::Done { count: seqs.len() as u64 });
    }

    fn consume(&mut self) {
        let Some((seq, message)) = self.stored.range(self.delivered + 1..).next().map(|(seq, m)| (*seq, *m))
        else {
            return;
        };
        self.delivered = seq;
        self.deliver(seq, message, 1);
        if self.random.below(4) != 0 {
            self.ack(seq);
        } else {
            self.pending.insert(seq, 1);
        }
    }

    fn deliver(&mut self, seq: u64, message: Message, delivered: u32) {
        self.consumer_seq += 1;
        self.event(Event::Deliver(Deliver {
            consumer: C,
            seq,
            consumer_seq: self.consumer_seq,
            delivered,
            pending: 0,
            subject: SubjectId(message.subject),
            seen: Seen::Ours { publisher: 0, counter: message.counter, len: 100 },
            headers: message.headers,
        }));
    }

    fn ack(&mut self, seq: u64) {
        let double = self.random.below(4) != 0;
        let (kind, outcome) = if double {
            (AckKind::DoubleAck, Outcome::Done { count: 0 })
        } else {
            (AckKind::Ack, Outcome::Sent)
        };
        self.call(Call::Ack { consumer: C, seq, consumer_seq: self.consumer_seq, kind }, outcome);
        if self.name == "ack-all" {
            self.pending = self.pending.split_off(&(seq + 1));
        }
        self.pending.remove(&seq);
        if matches!(self.name, "work-queue" | "interest") {
            self.remove(seq);
        }
    }

    fn round(&mut self, number: u32, stream: &str, consumer: &str) {
        self.infos(Phase::Quiet, consumer);
        self.now += 600_000;
        let kinds = [FaultKind::Kill, FaultKind::Stop, FaultKind::IndexLost];
        let kind = kinds[self.random.below(3) as usize];
        self.event(Event::FaultBegin { fault: number, kind, streams: vec![] });
        self.now += 10_000;
        let evidence = Evidence {
            pid_before: number,
            pid_after: number + 1,
            in_flight: 1,
            index_files: 1,
            ..Evidence::default()
        };
        self.event(Event::FaultEnd { fault: number, evidence: Box::new(evidence) });
        self.event(Event::Recovered { fault: number, server: "2.15.1".into(), ready_us: 8000 });
        self.expire();
        self.infos(Phase::After, consumer);
        self.event(config(S, None, ConfigSource::After, stream));
        if !consumer.is_empty() {
            self.event(config(S, Some(C), ConfigSource::After, consumer));
        }
        self.read(S, Phase::After);
        if self.name == "mirror" {
            self.read(M, Phase::Quiet);
        }
        for (seq, count) in self.pending.clone() {
            if self.random.below(2) == 0 {
                let message = self.stored[&seq];
                self.deliver(seq, message, count + 1);
                self.pending.insert(seq, count + 1);
                if self.random.below(2) == 0 {
                    self.ack(seq);
                    if self.name == "ack-all" {
                        break;
                    }
                }
            }
        }
    }

    fn infos(&mut self, phase: Phase, consumer: &str) {
        let messages = self.stored.len() as u64;
        let first_seq = self.stored.keys().next().copied().unwrap_or(self.last + 1);
        self.event(Event::StreamInfo(Box::new(StreamSnapshot {
            stream: S,
            phase,
            messages,
            bytes: messages * 100,
            first_seq,
            last_seq: self.last,
            num_deleted: (self.last + 1 - first_seq) - messages,
            num_subjects: 0,
            by_subject: None,
            consumers: 0,
            created_ns: 7,
        })));
        if consumer.is_empty() {
            return;
        }
        let floor = self.pending.keys().next().map_or(self.delivered, |seq| seq - 1);
        self.event(Event::ConsumerInfo(Box::new(ConsumerSnapshot {
            consumer: C,
            phase,
            delivered_consumer: self.consumer_seq,
            delivered_stream: self.delivered,
            floor_consumer: 0,
            floor_stream: floor,
            ack_pending: self.pending.len() as u64,
            redelivered: 0,
            pending: self.stored.range(self.delivered + 1..).count() as u64,
            created_ns: 8,
        })));
    }

    fn read(&mut self, stream: StreamId, phase: Phase) {
        self.event(Event::ReadBegin { stream, phase });
        for (seq, message) in self.stored.clone() {
            let stored = self.stored_of(stream, seq, message);
            self.event(Event::Stored(stored));
        }
        let gone = self.gone.iter().map(|(seq, message)| self.stored_of(stream, *seq, *message)).collect();
        self.gone_at.push((self.ops.len(), gone));
        self.event(Event::ReadEnd { stream, cut_short: None });
    }

    fn stored_of(&self, stream: StreamId, seq: u64, message: Message) -> Stored {
        Stored {
            stream,
            seq,
            subject: SubjectId(message.subject),
            seen: Seen::Ours { publisher: 0, counter: message.counter, len: 100 },
            headers: message.headers,
            ts_us: 0,
            server_made: false,
        }
    }
}

/// The kinds of damage, each with the invariants of which one at least must find it.
pub(crate) const DAMAGES: &[(&str, &[Invariant])] = &[
    ("drop", &[Invariant::M1, Invariant::M2]),
    ("duplicate", &[Invariant::M4]),
    ("reorder", &[Invariant::M6]),
    ("alter body", &[Invariant::M1]),
    ("alter header", &[Invariant::M1]),
    // Of a message of unknown outcome nobody knows where it belongs: then only its old place and the counts tell.
    ("alter sequence", &[Invariant::M4, Invariant::M6, Invariant::M1, Invariant::M2, Invariant::M11]),
    ("drop tail", &[Invariant::M1, Invariant::M2]),
    ("last sequence falls", &[Invariant::M7]),
    ("floor falls", &[Invariant::C3]),
    ("floor falls, crash", &[Invariant::C3]),
    ("change config", &[Invariant::K2]),
    // M11: a plainly acked message of a work queue may be there or not, so only the counts tell.
    (
        "bring back",
        &[Invariant::M7, Invariant::C9, Invariant::M8, Invariant::M9, Invariant::M3, Invariant::M11],
    ),
];

/// Damages a history; none where it has nothing that could be damaged so.
pub(crate) fn damage(good: &Good, kind: &str, random: &mut Random) -> Option<Vec<Op>> {
    let positions = |wanted: &dyn Fn(&Event) -> bool| -> Vec<usize> {
        good.ops
            .iter()
            .enumerate()
            .filter(|(_, op)| matches!(op, Op::Event { event, .. } if wanted(event)))
            .map(|(index, _)| index)
            .collect()
    };
    let mut pick = |list: &[usize]| list.get(random.below(list.len() as u64) as usize).copied();
    let mut ops = good.ops.clone();
    let stored = positions(&|event| matches!(event, Event::Stored(stored) if stored.stream == S));
    match kind {
        "drop" => {
            ops.remove(pick(&stored)?);
        }
        "drop tail" => {
            let ends = positions(&|event| matches!(event, Event::ReadEnd { stream: S, .. }));
            let end = pick(&ends)?;
            let tail = stored.iter().rev().find(|index| **index < end)?;
            (*tail + 1 == end).then(|| ops.remove(*tail))?;
        }
        "duplicate" => {
            let index = pick(&stored)?;
            let at = ops[index].clone();
            let end = (index..ops.len()).find(|index| is_end(&ops[*index]))?;
            let Op::Event { at, event: Event::Stored(mut copy) } = at else { return None };
            copy.seq = 1_000_000;
            ops.insert(end, Op::Event { at, event: Event::Stored(copy) });
        }
        "reorder" => {
            let index = pick(&stored)?;
            let (one, other) = ops.split_at_mut(index + 1);
            let (
                Some(Op::Event { event: Event::Stored(one), .. }),
                Some(Op::Event { event: Event::Stored(other), .. }),
            ) = (one.last_mut(), other.first_mut())
            else {
                return None;
            };
            std::mem::swap(&mut one.seq, &mut other.seq);
        }
        "alter body" | "alter header" | "alter sequence" => {
            let index = pick(&stored)?;
            let Op::Event { event: Event::Stored(stored), .. } = &mut ops[index] else { return None };
            match kind {
                "alter body" => {
                    let Seen::Ours { publisher, counter, len } = stored.seen else { return None };
                    stored.seen = Seen::Damaged { publisher, counter, len, hash: 1 };
                }
                "alter header" => stored.headers.hash ^= 1,
                _ => stored.seq += 1_000_000,
            }
        }
        "last sequence falls" => {
            let index = pick(&positions(
                &|event| matches!(event, Event::StreamInfo(info) if info.phase == Phase::After && info.last_seq > 0),
            ))?;
            let Op::Event { event: Event::StreamInfo(info), .. } = &mut ops[index] else { return None };
            info.last_seq -= 1;
        }
        "floor falls" | "floor falls, crash" => {
            let floors = floors(&ops, kind == "floor falls");
            let (index, before) = *floors.get(random.below(floors.len() as u64) as usize)?;
            let Op::Event { event: Event::ConsumerInfo(info), .. } = &mut ops[index] else { return None };
            info.floor_stream = random.below(before);
        }
        "change config" => {
            let index = pick(&positions(&|event| {
                matches!(event, Event::Config { source: ConfigSource::After, .. })
            }))?;
            let Op::Event { event: Event::Config { json, .. }, .. } = &mut ops[index] else { return None };
            let mut config: serde_json::Value = serde_json::from_str(json).ok()?;
            config["description"] = "another".into();
            *json = config.to_string();
        }
        "bring back" => {
            let (end, gone) = &good.gone[random.below(good.gone.len() as u64) as usize];
            let back = *gone.get(random.below(gone.len() as u64) as usize)?;
            let Op::Event { at, .. } = ops[*end] else { return None };
            ops.insert(*end, Op::Event { at, event: Event::Stored(back) });
        }
        _ => return None,
    }
    Some(ops)
}

/// Where the state of a consumer that acks was taken after a graceful fault (or a crash), and an ack floor above 0 that it had before:
/// right before, or half a second before the crash, for what is younger is not promised.
fn floors(ops: &[Op], graceful: bool) -> Vec<(usize, u64)> {
    let mut floors: BTreeMap<u16, Vec<(u64, u64)>> = BTreeMap::new();
    let mut without_acks = Vec::new();
    let (mut wanted, mut restarts, mut until) = (false, false, 0);
    let mut found = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        let Op::Event { at, event } = op else { continue };
        match event {
            Event::Config { consumer: Some(id), json, .. } if json.contains(r#""ack_policy":"none""#) => {
                without_acks.push(id.0);
            }
            Event::FaultBegin { kind, .. } => {
                restarts = kind.restarts();
                wanted = restarts && kind.graceful() == graceful;
                until = if graceful { *at } else { at.saturating_sub(500_000) };
            }
            Event::ConsumerInfo(info) if info.phase == Phase::Quiet => {
                floors.entry(info.consumer.0).or_default().push((*at, info.floor_stream));
            }
            Event::ConsumerInfo(info) if info.phase == Phase::After && restarts => {
                let floors = floors.entry(info.consumer.0).or_default();
                let before = floors.iter().filter(|(at, _)| *at <= until);
                let before = before.map(|(_, floor)| *floor).max().unwrap_or_default();
                let acks = !without_acks.contains(&info.consumer.0);
                found.extend((wanted && acks && before > 0).then_some((index, before)));
                // What a crash has taken rightly cannot be missed later.
                floors.retain(|(_, floor)| *floor <= info.floor_stream);
            }
            _ => {}
        }
    }
    found
}

fn is_end(op: &Op) -> bool {
    matches!(op, Op::Event { event: Event::ReadEnd { .. }, .. })
}

/// What became of the damages of one kind.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) tried: u32,
    pub(crate) found: u32,
    pub(crate) by_another: u32,
    /// Seeds that reproduce a survivor.
    pub(crate) survivors: Vec<u64>,
}

/// Damages good histories of one configuration in one way, `times` times.
pub(crate) fn trial(configuration: usize, kind: usize, times: u32) -> Tally {
    let (name, expected) = DAMAGES[kind];
    let context = streamproof_checker::Context::default();
    let mut tally = Tally::default();
    let mut seed = 0;
    let mut history = good(configuration, seed, 3, 120);
    // A configuration without a consumer has no floor: give up after as many tries.
    while tally.tried < times && seed < u64::from(times) * 2 {
        seed += 1;
        if seed % 16 == 0 {
            history = good(configuration, seed, 3, 120);
        }
        let Some(ops) = damage(&history, name, &mut Random(seed)) else { continue };
        let verdict = streamproof_checker::check(ops, &context);
        tally.tried += 1;
        if verdict.findings.iter().any(|finding| expected.contains(&finding.invariant)) {
            tally.found += 1;
        } else if verdict.findings.is_empty() {
            tally.survivors.push(seed);
        } else {
            tally.by_another += 1;
        }
    }
    tally
}
