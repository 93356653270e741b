//! Joins the two halves of every call.

use super::{Call, Event, NEVER, Op, Outcome, Record, StreamId, Why};
use std::collections::VecDeque;

/// Yields [`Op`]s from [`Record`]s: a call when its outcome is known, in the order of the outcomes.
///
/// A call is yielded as indeterminate when its stream is read back before its outcome came (an outcome that
/// comes later is dropped), and when the history ends. Memory grows with what is in flight only.
#[derive(Debug)]
pub struct Ops<I> {
    records: I,
    /// Calls without an outcome, by id from `base`; ids ascend, so this is a window that slides.
    pending: VecDeque<Option<(u64, Call)>>,
    base: u64,
    ready: VecDeque<Op>,
    ended: bool,
}

/// Ids may skip so many; beyond that the window starts anew, and what was in it is indeterminate.
const GAP_MAX: u64 = 1 << 20;

impl<I: Iterator<Item = Record>> Ops<I> {
    /// Joins these records.
    pub fn new(records: impl IntoIterator<IntoIter = I>) -> Self {
        Self {
            records: records.into_iter(),
            pending: VecDeque::new(),
            base: 0,
            ready: VecDeque::new(),
            ended: false,
        }
    }

    fn invoke(&mut self, id: u64, at: u64, call: Call) {
        if self.pending.is_empty() {
            self.base = id;
        }
        let Some(index) = id.checked_sub(self.base).filter(|gap| *gap < GAP_MAX) else {
            self.flush(None, Why::Unrecorded);
            return self.invoke(id, at, call);
        };
        let index = index as usize;
        while self.pending.len() <= index {
            self.pending.push_back(None);
        }
        self.pending[index] = Some((at, call));
    }

    fn done(&mut self, id: u64) -> Option<(u64, Call)> {
        let index = usize::try_from(id.checked_sub(self.base)?).ok()?;
        let half = self.pending.get_mut(index)?.take();
        while let Some(None) = self.pending.front() {
            self.pending.pop_front();
            self.base += 1;
        }
        half
    }

    /// Gives up on the calls of one stream, or on all. Acks name no stream: they wait for the end.
    fn flush(&mut self, stream: Option<StreamId>, why: Why) {
        for (index, slot) in self.pending.iter_mut().enumerate() {
            if let Some((_, call)) = slot
                && (stream.is_none() || call.stream() == stream)
                && let Some((invoked, call)) = slot.take()
            {
                let id = self.base + index as u64;
                let outcome = Outcome::Indeterminate { why };
                self.ready.push_back(Op::Call { id, invoked, done: NEVER, call, outcome });
            }
        }
        while let Some(None) = self.pending.front() {
            self.pending.pop_front();
            self.base += 1;
        }
    }
}

impl<I: Iterator<Item = Record>> Iterator for Ops<I> {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        loop {
            if let Some(op) = self.ready.pop_front() {
                return Some(op);
            }
            if self.ended {
                return None;
            }
            match self.records.next() {
                Some(Record::Invoke { id, at, call }) => self.invoke(id, at, call),
                Some(Record::Done { id, at, outcome }) => {
                    if let Some((invoked, call)) = self.done(id) {
                        return Some(Op::Call { id, invoked, done: at, call, outcome });
                    }
                }
                Some(Record::Event { at, event }) => {
                    match &event {
                        Event::ReadBegin { stream, .. } => self.flush(Some(*stream), Why::InFlight),
                        Event::Torn { .. } => self.flush(None, Why::Unrecorded),
                        _ => {}
                    }
                    self.ready.push_back(Op::Event { at, event });
                }
                None => {
                    self.ended = true;
                    self.flush(None, Why::Unrecorded);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AckKind, ConsumerId, Phase};
    use super::*;

    fn delete(stream: u16, seq: u64) -> Call {
        Call::Delete { stream: StreamId(stream), seq, erase: false }
    }

    fn invoke(id: u64, call: Call) -> Record {
        Record::Invoke { id, at: id, call }
    }

    #[test]
    fn a_call_in_flight_is_indeterminate_once_its_stream_is_read_back() {
        let done = Outcome::Done { count: 0 };
        let ack = Call::Ack { consumer: ConsumerId(0), seq: 1, consumer_seq: 1, kind: AckKind::DoubleAck };
        let records = vec![
            invoke(0, delete(0, 1)),
            invoke(1, delete(1, 1)),
            invoke(2, ack),
            invoke(3, delete(0, 2)),
            Record::Done { id: 3, at: 9, outcome: done },
            Record::Event { at: 10, event: Event::ReadBegin { stream: StreamId(0), phase: Phase::Quiet } },
            Record::Done { id: 0, at: 11, outcome: done },
            Record::Done { id: 1, at: 12, outcome: done },
        ];
        let seen: Vec<_> = Ops::new(records)
            .map(|op| match op {
                Op::Call { id, outcome, .. } => format!("{id} {}", outcome.happened()),
                Op::Event { .. } => "event".to_owned(),
            })
            .collect();
        assert_eq!(seen, ["3 true", "0 false", "event", "1 true", "2 false"]);
    }
}
