//! The life of one message, from the history: sent, acked, delivered, read back, and then not. Where what was violated is no
//! message, the life of its stream around the violation.

use std::collections::VecDeque;

use streamproof_checker::{Example, Finding};
use streamproof_model::op::{AckKind, Call, Event, Op, Outcome, Phase, Publish, Seen, StreamId, Why};

use super::scene::{Life, Mark, Step};
use super::watch::message;
use super::words;

/// So many steps are kept from the beginning…
const FIRST: usize = 12;
/// …and so many up to the violation.
const LAST: usize = 28;
/// So many steps follow the violation.
const AFTER: usize = 4;

/// Takes the operations of the case, and keeps what belongs to the life.
#[derive(Debug)]
pub struct Story<'a> {
    finding: &'a Finding,
    example: &'a Example,
    message: Option<(u16, u32)>,
    seq: Option<u64>,
    streams: Vec<String>,
    consumers: Vec<(StreamId, String)>,
    subjects: Vec<String>,
    stream: Option<StreamId>,
    /// In the reading that is under way: whether it was seen, and how many messages were.
    reading: Option<(bool, u64)>,
    first: Vec<Step>,
    last: VecDeque<Step>,
    hidden: usize,
    told: bool,
    after: usize,
}

impl<'a> Story<'a> {
    /// Of what this example is about.
    #[must_use]
    pub fn new(finding: &'a Finding, example: &'a Example) -> Story<'a> {
        Story {
            finding,
            example,
            message: message(example),
            seq: example.seq,
            streams: Vec::new(),
            consumers: Vec::new(),
            subjects: Vec::new(),
            stream: None,
            reading: None,
            first: Vec::new(),
            last: VecDeque::new(),
            hidden: 0,
            told: false,
            after: 0,
        }
    }

    /// Takes the next operation.
    pub fn take(&mut self, op: &Op) {
        let at = match op {
            Op::Call { invoked, done, .. } if *done == u64::MAX => *invoked,
            Op::Call { done, .. } => *done,
            Op::Event { at, .. } => *at,
        };
        if at > self.example.at {
            self.violated();
        }
        match op {
            Op::Call { invoked, done, call, outcome, .. } => self.call(*invoked, *done, call, *outcome),
            Op::Event { at, event } => self.event(*at, event),
        }
    }

    /// Its life.
    #[must_use]
    pub fn finish(mut self, case: u32) -> Life {
        self.violated();
        let mut steps = self.first;
        steps.extend(self.last);
        // A call is told when it ended, and began before.
        steps.sort_by_key(|step| step.at);
        let stream = words::stream_of(&self.finding.target);
        let title = match (self.message, self.seq) {
            (Some((publisher, counter)), seq) => {
                let seq = seq.map_or(String::new(), |seq| format!(", sequence {seq} of {stream}"));
                let subject =
                    self.example.subject.as_ref().map_or(String::new(), |name| format!(" on {name}"));
                format!("message {publisher}.{counter}{subject}{seq}")
            }
            (None, Some(seq)) => format!("sequence {seq} of {}", self.finding.target),
            (None, None) => self.finding.target.clone(),
        };
        let violation =
            format!("{} {}: {}", self.finding.invariant.name(), self.finding.class, self.example.text);
        Life { title, violation, case, steps, hidden: self.hidden, log: Vec::new(), more_log: 0 }
    }

    fn violated(&mut self) {
        if !self.told {
            self.told = true;
            let text = format!(
                "{} ({}): {}",
                words::meaning(self.finding.invariant),
                self.finding.invariant.name(),
                self.example.text
            );
            self.add(self.example.at, Mark::Bad, format!("violated: {text}"));
        }
    }

    fn add(&mut self, at: u64, mark: Mark, text: String) {
        if self.told && mark != Mark::Bad {
            self.after += 1;
            if self.after > AFTER {
                return;
            }
        }
        let step = Step { at, mark, text };
        if self.first.len() < FIRST {
            self.first.push(step);
            return;
        }
        self.last.push_back(step);
        if self.last.len() > LAST {
            self.last.pop_front();
            self.hidden += 1;
        }
    }

    fn is_mine(&self, stream: StreamId, seq: u64) -> bool {
        Some(stream) == self.stream && Some(seq) == self.seq
    }

    fn call(&mut self, invoked: u64, done: u64, call: &Call, outcome: Outcome) {
        match call {
            Call::Publish(publish) => self.publish(publish, invoked, done, outcome, ""),
            Call::Batch { messages } => {
                for publish in messages {
                    self.publish(publish, invoked, done, outcome, " in an atomic batch");
                }
            }
            Call::Ack { consumer, seq, kind, .. } => {
                let Some((stream, name)) = self.consumers.get(usize::from(consumer.0)).cloned() else {
                    return;
                };
                if self.is_mine(stream, *seq) {
                    let what = match kind {
                        AckKind::Ack => "acked, no answer asked for",
                        AckKind::DoubleAck if outcome.happened() => "acked, and the server answered",
                        AckKind::DoubleAck => "acked, and no answer came",
                        AckKind::Nak => "given back (nak)",
                        AckKind::Term => "ended (term)",
                        AckKind::InProgress => "said to be in progress",
                    };
                    self.add(invoked, Mark::Plain, format!("{name}: {what}{}", took(invoked, done)));
                }
            }
            Call::Delete { stream, seq, .. } if self.is_mine(*stream, *seq) => {
                let text = format!("deletion asked for{}: {}", took(invoked, done), end(outcome));
                self.add(invoked, Mark::Plain, text);
            }
            Call::Purge { stream, filter, before, keep } if Some(*stream) == self.stream => {
                let mut text = "purge".to_owned();
                if let Some(name) = filter.and_then(|id| self.subjects.get(id.0 as usize)) {
                    text += &format!(" of {name}");
                }
                if let Some(before) = before {
                    text += &format!(" up to sequence {before}");
                }
                if let Some(keep) = keep {
                    text += &format!(" but for the newest {keep}");
                }
                self.add(invoked, Mark::Plain, format!("{text}: {}", end(outcome)));
            }
            Call::UpdateStream { stream, .. } if self.message.is_none() && Some(*stream) == self.stream => {
                self.add(invoked, Mark::Plain, format!("the stream is updated: {}", end(outcome)));
            }
            _ => {}
        }
    }

    fn publish(&mut self, publish: &Publish, invoked: u64, done: u64, outcome: Outcome, how: &str) {
        let same = self.message == Some((publish.publisher, publish.counter));
        let again =
            matches!(outcome, Outcome::Acked { seq, duplicate: false } if self.is_mine(publish.stream, seq));
        if !same && !again {
            return;
        }
        let who = if same {
            let attempt = if publish.attempt > 0 {
                format!(" again (attempt {})", publish.attempt + 1)
            } else {
                String::new()
            };
            format!("sent{attempt}{how}, {} bytes", publish.len)
        } else {
            format!("another message, {}.{}, was sent", publish.publisher, publish.counter)
        };
        let mark = if outcome.happened() { Mark::Good } else { Mark::Plain };
        self.add(invoked, mark, format!("{who}: {}{}", end(outcome), took(invoked, done)));
    }

    fn event(&mut self, at: u64, event: &Event) {
        match event {
            Event::DeclareStream { id, name } => {
                self.streams.push(name.clone());
                if name == words::stream_of(&self.finding.target) {
                    self.stream = Some(*id);
                }
            }
            Event::DeclareConsumer { stream, name, .. } => self.consumers.push((*stream, name.clone())),
            Event::DeclareSubject { name, .. } => self.subjects.push(name.clone()),
            Event::FaultBegin { fault, kind, .. } => {
                self.add(at, Mark::Fault, format!("fault {fault}: {}", kind.name()));
            }
            Event::Recovered { fault, ready_us, server } => {
                let text = format!(
                    "nats-server {server} is ready again after fault {fault}, in {}",
                    words::age(*ready_us)
                );
                self.add(at, Mark::Fault, text);
            }
            Event::NotRecovered { why, .. } => {
                self.add(at, Mark::Fault, format!("the server did not come back: {why}"));
            }
            Event::Deliver(delivery) => {
                let Some((stream, name)) = self.consumers.get(usize::from(delivery.consumer.0)).cloned()
                else {
                    return;
                };
                if self.is_mine(stream, delivery.seq) {
                    let text = format!("{name}: delivered, for the {} time", ordinal(delivery.delivered));
                    self.add(at, Mark::Plain, text);
                }
            }
            Event::ReadBegin { stream, .. } if Some(*stream) == self.stream => {
                self.reading = Some((false, 0))
            }
            Event::Stored(stored) if Some(stored.stream) == self.stream => {
                let named = match stored.seen {
                    Seen::Ours { publisher, counter, .. } | Seen::Damaged { publisher, counter, .. } => {
                        Some((publisher, counter))
                    }
                    Seen::Foreign { .. } => None,
                };
                let mine = match (self.message, named) {
                    (Some(message), Some(named)) => message == named,
                    _ => Some(stored.seq) == self.seq,
                };
                if let Some((seen, count)) = &mut self.reading {
                    *seen |= mine;
                    *count += 1;
                }
            }
            Event::ReadEnd { stream, .. } if Some(*stream) == self.stream => {
                let Some((seen, count)) = self.reading.take() else { return };
                let of = words::count(count, "message");
                if self.seq.is_none() {
                    self.add(at, Mark::Plain, format!("read back: {of}"));
                } else if seen {
                    self.add(at, Mark::Good, format!("read back: there, among {of}"));
                } else {
                    self.add(at, Mark::Plain, format!("read back: not there, among {of}"));
                }
            }
            Event::StreamInfo(info) if Some(info.stream) == self.stream && info.phase != Phase::Busy => {
                let text = format!(
                    "the stream says: {}, sequences {} to {}",
                    words::count(info.messages, "message"),
                    info.first_seq,
                    info.last_seq
                );
                self.add(at, Mark::Plain, text);
            }
            Event::ConsumerInfo(info) => {
                let Some((stream, name)) = self.consumers.get(usize::from(info.consumer.0)).cloned() else {
                    return;
                };
                let target = format!("{} > {name}", words::stream_of(&self.finding.target));
                if Some(stream) == self.stream && target == self.finding.target {
                    let text = format!(
                        "{name} says: delivered up to {}, ack floor {}, {} pending",
                        info.delivered_stream, info.floor_stream, info.pending
                    );
                    self.add(at, Mark::Plain, text);
                }
            }
            _ => {}
        }
    }
}

fn end(outcome: Outcome) -> String {
    match outcome {
        Outcome::Acked { seq, duplicate: false } => format!("acked as sequence {seq}"),
        Outcome::Acked { seq, duplicate: true } => format!("known as a duplicate of {seq}"),
        Outcome::Done { count: 0 } => "done".to_owned(),
        Outcome::Done { count } => format!("done, {} removed", words::count(count, "message")),
        Outcome::Sent => "sent".to_owned(),
        Outcome::Rejected { code } => format!("refused, with error {code}"),
        Outcome::Indeterminate { why } => match why {
            Why::Timeout => "no answer in time",
            Why::Disconnect => "no answer: the connection broke",
            Why::NoResponders => "nobody was in charge",
            Why::InFlight | Why::Unrecorded => "no answer was recorded",
        }
        .to_owned(),
    }
}

fn took(invoked: u64, done: u64) -> String {
    if done == u64::MAX {
        String::new()
    } else {
        format!(" after {}", words::age(done.saturating_sub(invoked)))
    }
}

fn ordinal(n: u32) -> String {
    match (n % 10, n % 100) {
        (1, 1..=10 | 12..) | (1, 0) => format!("{n}st"),
        (2, hundred) if hundred != 12 => format!("{n}nd"),
        (3, hundred) if hundred != 13 => format!("{n}rd"),
        _ => format!("{n}th"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn ordinals() {
        let all = [1, 2, 3, 4, 11, 12, 13, 21, 22, 101, 111].map(super::ordinal);
        assert_eq!(all.join(" "), "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 101st 111th");
    }
}
