//! A text notation for histories, so that a test is a few lines.
//!
//! One operation a line; `//` begins a comment. Every operation takes 1 ms; `wait 600ms` lets time pass. Streams,
//! subjects and consumers are declared by being named. Messages are `publisher.counter`, with 100 bytes.
//!
//! ```text
//! stream S {"max_msgs":10}          the server's answer, before any fault
//! desired S {…}                     the file
//! config S {…} / config S c {…}     the server's answer, after a recovery
//! consumer S c {"ack_policy":"explicit","durable_name":"c"}
//! pub S a 0.1 -> 5                  acked as 5; `-> dup 5`, `-> !10077` rejected, `-> ?` indeterminate
//! pub S a 0.1 again id ttl=5 last=3 rev=3 rollup -> 6
//! batch S a 0.1..0.4 -> 4           acked, the last as 4
//! deliver c 5 a 0.1 #7 x2           sequence 7 in the consumer, second delivery
//! ack c 5 / dack c 5 -> ok / dack c 5 -> ? / nak c 5 / term c 5
//! delete S 5 -> ok / delete S 5 erase -> ok / purge S on=a.> before=5 keep=2 -> ok
//! update S {…} -> ok / refuse S delete -> !10057
//! info S quiet msgs=2 first=1 last=2 deleted=0 bytes=0 created=1
//! cinfo c after delivered=5 floor=3 pending=0 ackpending=2 created=1
//! listing quiet S:c T
//! read S after: 1=a:0.1 2=a:0.2 3=a:0.3~ 4=a:? 5=a:server
//! unreadable S 5 / hung S info / drained c 40s / canary S c lost / reapplied S: max_msgs
//! fault kill / fault kill nobite    FaultBegin, FaultEnd and Recovered
//! control planted-deletion S 5 M1
//! finished
//! ```
//!
//! In `read`, `~` is a damaged body, `^` are other headers, `?` is somebody else's body, `-` is an empty one.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use streamproof_model::op::{
    AckKind, Call, CanaryEnd, ConfigSource, ConsumerId, ConsumerSnapshot, Control, Deliver, Event, Evidence,
    Expect, FaultKind, Headers, Meta, Op, Outcome, Phase, Publish, Role, Seen, Stored, StreamId,
    StreamSnapshot, SubjectId, Ttl, Why,
};

/// A line that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Malformed {}

/// Reads a history. It begins with a meta record of server 2.15.1.
///
/// # Errors
///
/// With the first line that makes no sense.
pub fn parse(text: &str) -> Result<Vec<Op>, Malformed> {
    let mut scribe = Scribe::default();
    let meta = Meta { run: 1, id: "notation".into(), seed: 0, server: "2.15.1".into(), began_ns: 0 };
    scribe.event(Event::Meta(meta));
    for (index, line) in text.lines().enumerate() {
        let line = line.split_once("//").map_or(line, |(line, _)| line).trim();
        if !line.is_empty() {
            let what = scribe.line(line);
            what.map_err(|what| Malformed { line: index + 1, what })?;
        }
    }
    Ok(scribe.ops)
}

#[derive(Default)]
struct Scribe {
    ops: Vec<Op>,
    now: u64,
    fault: u32,
    names: HashMap<String, u32>,
    streams: u16,
    consumers: u16,
    subjects: u32,
    next_id: u64,
}

type Parsed<T> = Result<T, String>;

impl Scribe {
    fn line(&mut self, line: &str) -> Parsed<()> {
        self.now += 1000;
        let (line, result) = match line.split_once("->") {
            Some((line, result)) => (line.trim(), result.trim()),
            None => (line, ""),
        };
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let word = |index: usize| words.get(index).copied().ok_or_else(|| format!("`{verb}` needs more"));
        let options: HashMap<&str, &str> =
            words.iter().filter(|word| !word.contains('{')).filter_map(|word| word.split_once('=')).collect();
        let number = |key: &str| options.get(key).map(|text| parsed::<u64>(text)).transpose();
        match verb {
            "stream" | "desired" | "config" | "consumer" => self.configuration(verb, rest)?,
            "wait" => self.now += duration_us(word(0)?)?,
            "pub" => {
                let stream = self.stream(word(0)?);
                let mut publish = self.message(stream, word(1)?, word(2)?)?;
                let has = |name: &str| words[3..].contains(&name);
                publish.attempt = u8::from(has("again"));
                publish.msg_id = has("id");
                if has("rollup") {
                    publish.role = Role::RollupSubject;
                }
                if let Some(seconds) = number("ttl")? {
                    publish.ttl = Ttl::Seconds(seconds as u32);
                }
                if let Some(seq) = number("last")? {
                    publish.expect = Expect::LastSeq(seq);
                }
                if let Some(seq) = number("rev")? {
                    publish.expect = Expect::LastSubjectSeq(seq);
                }
                self.call(Call::Publish(publish), outcome(result)?);
            }
            "batch" => {
                let stream = self.stream(word(0)?);
                let (first, last) = word(2)?.split_once("..").ok_or("a batch is `first..last`")?;
                let (first, last) = (name(first)?, name(last)?);
                let messages: Parsed<Vec<_>> = (first.1..=last.1)
                    .map(|counter| self.message(stream, word(1)?, &format!("{}.{counter}", first.0)))
                    .collect();
                self.call(Call::Batch { messages: messages? }, outcome(result)?);
            }
            "deliver" => {
                let consumer = self.consumer(word(0)?)?;
                let seq = parsed(word(1)?)?;
                let subject = self.subject(word(2)?);
                let (seen, headers) = seen(word(3)?)?;
                let tagged = |tag: &str| {
                    words[4..].iter().find_map(|word| word.strip_prefix(tag)).map(parsed::<u64>).transpose()
                };
                self.event(Event::Deliver(Deliver {
                    consumer,
                    seq,
                    consumer_seq: tagged("#")?.unwrap_or(seq),
                    delivered: tagged("x")?.unwrap_or(1) as u32,
                    pending: 0,
                    subject,
                    seen,
                    headers,
                }));
            }
            "ack" | "dack" | "nak" | "term" => {
                let consumer = self.consumer(word(0)?)?;
                let seq = parsed(word(1)?)?;
                let kind = match verb {
                    "ack" => AckKind::Ack,
                    "dack" => AckKind::DoubleAck,
                    "nak" => AckKind::Nak,
                    _ => AckKind::Term,
                };
                let outcome = if result.is_empty() { Outcome::Sent } else { outcome(result)? };
                self.call(Call::Ack { consumer, seq, consumer_seq: seq, kind }, outcome);
            }
            "delete" => {
                let stream = self.stream(word(0)?);
                let erase = words[2..].contains(&"erase");
                let call = Call::Delete { stream, seq: parsed(word(1)?)?, erase };
                self.call(call, outcome(result)?);
            }
            "purge" => {
                let stream = self.stream(word(0)?);
                let filter = options.get("on").map(|name| self.subject(name));
                let call = Call::Purge { stream, filter, before: number("before")?, keep: number("keep")? };
                self.call(call, outcome(result)?);
            }
            "update" => {
                let stream = self.stream(word(0)?);
                let config = rest.split_once(' ').map(|(_, json)| json.to_owned()).unwrap_or_default();
                self.call(Call::UpdateStream { stream, config }, outcome(result)?);
            }
            "refuse" => {
                let stream = self.stream(word(0)?);
                self.call(Call::MustRefuse { stream, what: word(1)?.to_owned() }, outcome(result)?);
            }
            "info" => {
                let stream = self.stream(word(0)?);
                let or = |key, default| number(key).map(|value| value.unwrap_or(default));
                self.event(Event::StreamInfo(Box::new(StreamSnapshot {
                    stream,
                    phase: phase(word(1)?)?,
                    messages: or("msgs", 0)?,
                    bytes: or("bytes", 0)?,
                    first_seq: or("first", 0)?,
                    last_seq: or("last", 0)?,
                    num_deleted: or("deleted", 0)?,
                    num_subjects: 0,
                    by_subject: number("bysubject")?,
                    consumers: 0,
                    created_ns: or("created", 1)? as i64,
                })));
            }
            "cinfo" => {
                let consumer = self.consumer(word(0)?)?;
                let or = |key, default| number(key).map(|value| value.unwrap_or(default));
                let (delivered, floor) = (or("delivered", 0)?, or("floor", 0)?);
                self.event(Event::ConsumerInfo(Box::new(ConsumerSnapshot {
                    consumer,
                    phase: phase(word(1)?)?,
                    delivered_consumer: delivered,
                    delivered_stream: delivered,
                    floor_consumer: floor,
                    floor_stream: floor,
                    ack_pending: or("ackpending", 0)?,
                    redelivered: 0,
                    pending: or("pending", 0)?,
                    created_ns: or("created", 1)? as i64,
                })));
            }
            "listing" => {
                let streams: BTreeMap<String, Vec<String>> = words[1..]
                    .iter()
                    .map(|word| word.split_once(':').unwrap_or((word, "")))
                    .map(|(stream, consumers)| {
                        let consumers = consumers.split(',').filter(|name| !name.is_empty());
                        (stream.to_owned(), consumers.map(str::to_owned).collect())
                    })
                    .collect();
                self.event(Event::Listing { phase: phase(word(0)?)?, streams });
            }
            "read" => self.read(rest)?,
            "unreadable" => {
                let stream = self.stream(word(0)?);
                let error = "message block data missing".to_owned();
                self.event(Event::Unreadable { stream, seq: parsed(word(1)?)?, error });
            }
            "hung" => {
                let stream = self.stream(word(0)?);
                self.event(Event::Hung { stream, what: word(1)?.to_owned(), waited_us: 5_000_000 });
            }
            "drained" => {
                let consumer = self.consumer(word(0)?)?;
                self.event(Event::Drained { consumer, silent_us: duration_us(word(1)?)? });
            }
            "canary" => {
                let stream = self.stream(word(0)?);
                let consumer = Some(self.consumer(word(1)?)?);
                let end = match word(2)? {
                    "lost" => CanaryEnd::NotDelivered,
                    "silent" => CanaryEnd::NoAnswer,
                    "refused" => CanaryEnd::Refused { code: 503 },
                    _ => CanaryEnd::Arrived,
                };
                self.event(Event::Canary { stream, consumer, end, took_us: 1 });
            }
            "reapplied" => {
                let pending = if rest.is_empty() { vec![] } else { vec![rest.to_owned()] };
                self.event(Event::Reapplied { pending });
            }
            "fault" => self.fault(word(0)?, words.get(1).copied() != Some("nobite"))?,
            "control" => {
                let stream = self.stream(word(1)?);
                let seq = parsed(word(2)?).ok();
                let consumer = if seq.is_some() { None } else { self.consumer(word(2)?).ok() };
                self.event(Event::Control(Control {
                    name: word(0)?.to_owned(),
                    stream,
                    consumer,
                    seq,
                    expect: word(3)?.to_owned(),
                    also: words[4..].iter().map(|&name| name.to_owned()).collect(),
                }));
            }
            "finished" => self.event(Event::Finished),
            other => return Err(format!("`{other}` is no operation")),
        }
        Ok(())
    }

    fn configuration(&mut self, verb: &str, rest: &str) -> Parsed<()> {
        let at = rest.find('{').unwrap_or(rest.len());
        let (names, json) = rest.split_at(at);
        let json = if json.is_empty() { "{}" } else { json }.to_owned();
        let mut names = names.split_whitespace();
        let stream = self.stream(names.next().ok_or("a stream is missing")?);
        let consumer = match (names.next(), verb) {
            (Some(name), "consumer") => {
                let id = ConsumerId(self.consumers);
                self.consumers += 1;
                self.names.insert(format!("consumer {name}"), id.0.into());
                self.event(Event::DeclareConsumer { id, stream, name: name.to_owned() });
                Some(id)
            }
            (Some(name), _) => Some(self.consumer(name)?),
            (None, _) => None,
        };
        let source = match verb {
            "desired" => ConfigSource::Desired,
            "config" => ConfigSource::After,
            _ => ConfigSource::Before,
        };
        self.event(Event::Config { stream, consumer, source, json });
        Ok(())
    }

    fn read(&mut self, rest: &str) -> Parsed<()> {
        let (head, messages) = rest.split_once(':').ok_or("`read STREAM PHASE: …`")?;
        let mut head = head.split_whitespace();
        let stream = self.stream(head.next().ok_or("a stream is missing")?);
        let phase = phase(head.next().unwrap_or("quiet"))?;
        self.event(Event::ReadBegin { stream, phase });
        let mut cut_short = None;
        for word in messages.split_whitespace() {
            if word == "cut" {
                cut_short = Some("no answer".to_owned());
                continue;
            }
            let (seq, message) = word.split_once('=').ok_or("a message is `seq=subject:name`")?;
            let (subject, message) = message.split_once(':').ok_or("a message is `seq=subject:name`")?;
            let subject = self.subject(subject);
            let server_made = message == "server";
            let (seen, headers) = if server_made { seen("?")? } else { seen(message)? };
            let ts_us = self.now as i64;
            let seq = parsed(seq)?;
            self.event(Event::Stored(Stored { stream, seq, subject, seen, headers, ts_us, server_made }));
        }
        self.event(Event::ReadEnd { stream, cut_short });
        Ok(())
    }

    fn fault(&mut self, kind: &str, bites: bool) -> Parsed<()> {
        let kind = FaultKind::named(kind).ok_or_else(|| format!("no fault is called {kind}"))?;
        self.fault += 1;
        let fault = self.fault;
        self.event(Event::FaultBegin { fault, kind, streams: vec![] });
        let many = u32::from(bites) * 3;
        let evidence = Evidence {
            pid_before: 100,
            pid_after: 100 + many,
            in_flight: many,
            acked: many.into(),
            unsynced_bytes: many.into(),
            connections_lost: many,
            restarts: 1,
            index_files: many,
            refused_writes: many.into(),
            silent_us: u64::from(many) * 1000,
            version_before: Some("2.14.6".into()),
            version_after: bites.then(|| "2.15.1".into()),
            log: None,
            failed: None,
        };
        self.event(Event::FaultEnd { fault, evidence: Box::new(evidence) });
        self.event(Event::Recovered { fault, server: "2.15.1".into(), ready_us: 8000 });
        Ok(())
    }

    fn message(&mut self, stream: StreamId, subject: &str, message: &str) -> Parsed<Publish> {
        let subject = self.subject(subject);
        let (publisher, counter) = name(message)?;
        Ok(Publish {
            stream,
            subject,
            publisher,
            counter,
            attempt: 0,
            len: 100,
            headers: Headers::default(),
            msg_id: false,
            expect: Expect::Nothing,
            ttl: Ttl::Stream,
            role: Role::Plain,
        })
    }

    fn call(&mut self, call: Call, outcome: Outcome) {
        let id = self.next_id;
        self.next_id += 1;
        self.ops.push(Op::Call { id, invoked: self.now, done: self.now + 500, call, outcome });
    }

    fn event(&mut self, event: Event) {
        self.ops.push(Op::Event { at: self.now, event });
    }

    fn stream(&mut self, name: &str) -> StreamId {
        if let Some(id) = self.names.get(&format!("stream {name}")) {
            return StreamId(*id as u16);
        }
        let id = StreamId(self.streams);
        self.streams += 1;
        self.names.insert(format!("stream {name}"), id.0.into());
        self.event(Event::DeclareStream { id, name: name.to_owned() });
        id
    }

    fn subject(&mut self, name: &str) -> SubjectId {
        if let Some(id) = self.names.get(&format!("subject {name}")) {
            return SubjectId(*id);
        }
        let id = SubjectId(self.subjects);
        self.subjects += 1;
        self.names.insert(format!("subject {name}"), id.0);
        self.event(Event::DeclareSubject { id, name: name.to_owned() });
        id
    }

    fn consumer(&mut self, name: &str) -> Parsed<ConsumerId> {
        let id = self.names.get(&format!("consumer {name}"));
        id.map(|id| ConsumerId(*id as u16)).ok_or_else(|| format!("no consumer {name} was declared"))
    }
}

fn parsed<T: std::str::FromStr>(text: &str) -> Parsed<T> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn name(text: &str) -> Parsed<(u16, u32)> {
    let (publisher, counter) = text.split_once('.').ok_or("a message is `publisher.counter`")?;
    Ok((parsed(publisher)?, parsed(counter)?))
}

fn seen(text: &str) -> Parsed<(Seen, Headers)> {
    if let "?" | "-" = text {
        let len = if text == "?" { 3 } else { 0 };
        return Ok((Seen::Foreign { len, hash: 9 }, Headers::default()));
    }
    let (publisher, counter) = name(text.trim_end_matches(['~', '^']))?;
    let headers = if text.ends_with('^') { Headers { len: 4, hash: 4 } } else { Headers::default() };
    let seen = if text.ends_with('~') {
        Seen::Damaged { publisher, counter, len: 100, hash: 9 }
    } else {
        Seen::Ours { publisher, counter, len: 100 }
    };
    Ok((seen, headers))
}

fn outcome(text: &str) -> Parsed<Outcome> {
    if text == "?" {
        return Ok(Outcome::Indeterminate { why: Why::Timeout });
    }
    if text == "ok" {
        return Ok(Outcome::Done { count: 0 });
    }
    if let Some(code) = text.strip_prefix('!') {
        return Ok(Outcome::Rejected { code: parsed(code)? });
    }
    if let Some(seq) = text.strip_prefix("dup ") {
        return Ok(Outcome::Acked { seq: parsed(seq)?, duplicate: true });
    }
    Ok(Outcome::Acked { seq: parsed(text)?, duplicate: false })
}

fn phase(text: &str) -> Parsed<Phase> {
    match text {
        "busy" => Ok(Phase::Busy),
        "quiet" => Ok(Phase::Quiet),
        "after" => Ok(Phase::After),
        other => Err(format!("`{other}` is no phase")),
    }
}

fn duration_us(text: &str) -> Parsed<u64> {
    if let Some(ms) = text.strip_suffix("ms") {
        return Ok(parsed::<u64>(ms)? * 1000);
    }
    let seconds = text.strip_suffix('s').ok_or_else(|| format!("`{text}` is no duration"))?;
    Ok(parsed::<u64>(seconds)? * 1_000_000)
}
