//! The past of a crash: what of a recorded run had been sent, answered and seen before the power went. Pure.

use std::collections::{HashMap, HashSet};

use streamproof_model::op::{Call, Event, NEVER, Op, Ops, Outcome, Phase, Publish, Record, StreamId, Why};

/// A recorded run that can be cut anywhere.
#[derive(Debug)]
pub(crate) struct Past {
    ops: Vec<Op>,
    /// When each was over, in µs of the history.
    times: Vec<u64>,
    ready_us: u64,
}

impl Past {
    /// The past that these records tell.
    pub(crate) fn new(records: impl IntoIterator<Item = Record>) -> Past {
        let ops: Vec<Op> = Ops::new(records).collect();
        let mut last = 0;
        let mut times = Vec::with_capacity(ops.len());
        let mut ready_us = None;
        for op in &ops {
            match op {
                Op::Call { done, .. } if *done != NEVER => last = last.max(*done),
                Op::Call { .. } => {}
                Op::Event { at, event } => {
                    last = last.max(*at);
                    if matches!(event, Event::Listing { phase: Phase::Quiet, .. }) {
                        ready_us.get_or_insert(last);
                    }
                }
            }
            times.push(last);
        }
        Past { ops, times, ready_us: ready_us.unwrap_or(0) }
    }

    /// From here on there is something to lose: every stream was there, and listed.
    pub(crate) fn ready_us(&self) -> u64 {
        self.ready_us
    }

    /// When something was acknowledged, in µs; ascending.
    pub(crate) fn acks_us(&self) -> Vec<u64> {
        let acked = self.ops.iter().filter_map(|op| match op {
            Op::Call { done, outcome, .. } if outcome.happened() => Some(*done),
            _ => None,
        });
        acked.filter(|at| *at > self.ready_us).collect()
    }

    /// When each message was first acknowledged, in µs; ascending. Of a batch that is each of its messages; one that was sent again is
    /// the same one.
    pub(crate) fn published_us(&self) -> Vec<u64> {
        let mut known = HashSet::new();
        let mut published = Vec::new();
        for op in &self.ops {
            let Op::Call { done, call, outcome: Outcome::Acked { .. }, .. } = op else { continue };
            let messages = match call {
                Call::Publish(publish) => std::slice::from_ref(publish),
                Call::Batch { messages } => messages.as_slice(),
                _ => continue,
            };
            let new = |publish: &&Publish| known.insert((publish.stream, publish.publisher, publish.counter));
            published.extend(messages.iter().filter(new).map(|_| *done));
        }
        published.sort_unstable();
        published
    }

    /// Tells what was before `cut_us`. What was answered in the very microsecond of the cut counts as unanswered; what had
    /// been sent by then, and had no answer yet, is of unknown outcome. A fault that was going on, and a reading that had not
    /// come to its end, are left out.
    pub(crate) fn tell(&self, cut_us: u64, mut take: impl FnMut(&Op)) {
        let end = self.times.partition_point(|time| *time < cut_us);
        let (before, after) = self.ops.split_at(end);
        let (fault, readings) = unfinished(before);
        for (index, op) in before.iter().enumerate() {
            let left_out = match op {
                Op::Event { event: Event::FaultBegin { fault: of, .. }, .. }
                | Op::Event { event: Event::FaultEnd { fault: of, .. }, .. } => fault == Some(*of),
                Op::Event { event: Event::Finished, .. } => true,
                Op::Event { event, .. } => {
                    reading(event).is_some_and(|of| readings.get(&of).is_some_and(|begun| *begun <= index))
                }
                Op::Call { .. } => false,
            };
            if !left_out {
                take(op);
            }
        }
        for op in after {
            match op {
                // Names of what is yet to be seen: what follows the cut uses them.
                Op::Event { event: Event::DeclareSubject { .. }, .. } => take(op),
                Op::Call { id, invoked, call, .. } if *invoked <= cut_us => take(&Op::Call {
                    id: *id,
                    invoked: *invoked,
                    done: NEVER,
                    call: call.clone(),
                    outcome: Outcome::Indeterminate { why: Why::Disconnect },
                }),
                _ => {}
            }
        }
    }
}

/// The fault that is not over yet, and the readings of streams, by where each began.
fn unfinished(ops: &[Op]) -> (Option<u32>, HashMap<StreamId, usize>) {
    let (mut fault, mut readings) = (None, HashMap::new());
    for (index, op) in ops.iter().enumerate() {
        match op {
            Op::Event { event: Event::FaultBegin { fault: of, .. }, .. } => fault = Some(*of),
            Op::Event { event: Event::Recovered { .. } | Event::NotRecovered { .. }, .. } => fault = None,
            Op::Event { event: Event::ReadBegin { stream, .. }, .. } => {
                readings.insert(*stream, index);
            }
            Op::Event { event: Event::ReadEnd { stream, .. }, .. } => {
                readings.remove(stream);
            }
            _ => {}
        }
    }
    (fault, readings)
}

/// The stream that an event of a reading is about.
fn reading(event: &Event) -> Option<StreamId> {
    match event {
        Event::ReadBegin { stream, .. } | Event::Unreadable { stream, .. } => Some(*stream),
        Event::Stored(stored) => Some(stored.stream),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamproof_model::op::{Evidence, Expect, FaultKind, Headers, Role, SubjectId, Ttl};

    fn delete(seq: u64) -> Call {
        Call::Delete { stream: StreamId(0), seq, erase: false }
    }

    fn told(records: Vec<Record>, cut_us: u64) -> Vec<String> {
        let mut told = Vec::new();
        Past::new(records).tell(cut_us, |op| {
            told.push(match op {
                Op::Call { id, outcome, .. } => format!("{id} {}", outcome.happened()),
                Op::Event { event, .. } => match event {
                    Event::FaultBegin { fault, .. } => format!("fault {fault}"),
                    Event::Recovered { .. } => "recovered".to_owned(),
                    Event::ReadBegin { .. } => "read".to_owned(),
                    Event::ReadEnd { .. } => "end".to_owned(),
                    Event::DeclareSubject { name, .. } => name.clone(),
                    other => format!("{other:?}"),
                },
            });
        });
        told
    }

    #[test]
    fn what_was_answered_before_the_cut_is_certain_and_what_was_only_sent_is_not() {
        let done = |id, at| Record::Done { id, at, outcome: Outcome::Done { count: 0 } };
        let invoke = |id, at| Record::Invoke { id, at, call: delete(id) };
        let name =
            Event::DeclareSubject { id: streamproof_model::op::SubjectId(0), name: "later".to_owned() };
        let records = vec![
            invoke(0, 1),
            invoke(1, 2),
            done(0, 5),
            done(1, 7),
            invoke(2, 8),
            done(2, 9),
            Record::Event { at: 9, event: name },
        ];
        assert_eq!(told(records.clone(), 6), ["0 true", "1 false", "later"]);
        // In the very microsecond: not certain.
        assert_eq!(told(records.clone(), 7), ["0 true", "1 false", "later"]);
        assert_eq!(told(records.clone(), 8), ["0 true", "1 true", "2 false", "later"]);
        assert_eq!(told(records, 1), ["0 false", "later"]);
    }

    #[test]
    fn messages_are_counted_once_each_and_nothing_else_that_was_acknowledged_is_one() {
        let message = |counter, attempt| Publish {
            stream: StreamId(0),
            subject: SubjectId(0),
            publisher: 1,
            counter,
            attempt,
            len: 20,
            headers: Headers::default(),
            msg_id: true,
            expect: Expect::Nothing,
            ttl: Ttl::Stream,
            role: Role::Plain,
        };
        let publish = |counter, attempt| Call::Publish(message(counter, attempt));
        let acked = Outcome::Acked { seq: 1, duplicate: false };
        let again = Outcome::Acked { seq: 1, duplicate: true };
        let lost = Outcome::Indeterminate { why: Why::Timeout };
        let calls = [
            (delete(3), Outcome::Done { count: 0 }),
            (publish(0, 0), acked),
            (publish(0, 1), again),
            (publish(1, 0), lost),
            (publish(1, 1), again),
            (publish(2, 0), Outcome::Rejected { code: 10_077 }),
            (Call::Batch { messages: vec![message(3, 0), message(4, 0)] }, acked),
        ];
        let mut records = Vec::new();
        for (id, (call, outcome)) in (0..).zip(calls) {
            records.push(Record::Invoke { id, at: id * 10, call });
            records.push(Record::Done { id, at: id * 10 + 5, outcome });
        }
        let past = Past::new(records);
        assert_eq!(past.published_us(), [15, 45, 65, 65]);
        assert_eq!(past.acks_us(), [5, 15, 25, 45, 65], "where to cut: whatever was acknowledged");
    }

    #[test]
    fn a_fault_and_a_reading_that_are_not_over_are_left_out() {
        let event = |at, event| Record::Event { at, event };
        let begin = |fault| Event::FaultBegin { fault, kind: FaultKind::Stop, streams: Vec::new() };
        let end = |fault| Event::FaultEnd { fault, evidence: Box::new(Evidence::default()) };
        let recovered = |fault| Event::Recovered { fault, server: String::new(), ready_us: 0 };
        let read = || Event::ReadBegin { stream: StreamId(0), phase: Phase::After };
        let records = vec![
            event(1, begin(1)),
            event(2, end(1)),
            event(3, recovered(1)),
            event(4, read()),
            event(5, Event::ReadEnd { stream: StreamId(0), cut_short: None }),
            event(6, begin(2)),
            event(8, end(2)),
            event(9, recovered(2)),
            event(10, read()),
            event(12, Event::ReadEnd { stream: StreamId(0), cut_short: None }),
        ];
        let kinds = |cut| -> Vec<String> {
            told(records.clone(), cut).into_iter().filter(|line| !line.starts_with("FaultEnd")).collect()
        };
        assert_eq!(kinds(5), ["fault 1", "recovered"]);
        assert_eq!(kinds(9), ["fault 1", "recovered", "read", "end"]);
        assert_eq!(kinds(12), ["fault 1", "recovered", "read", "end", "fault 2", "recovered"]);
    }
}
