//! Calls in flight: tracked, answered, given up on.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use streamproof_model::op::{Outcome, Why};

use super::publish::publish_outcome;
use super::{CALL_LIMIT, Halt, SENT_MAX, Site, Waiting};
use crate::wire::{Incoming, WireError};

impl Site<'_> {
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
    pub(super) fn step(&mut self, until: Instant) -> Result<Option<Outcome>, Halt> {
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
}
