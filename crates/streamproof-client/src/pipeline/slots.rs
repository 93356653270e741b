//! The slots of a pipeline and all that is decided about them. Pure: the clock, the connection and the answers are told.
//!
//! A request takes a *slot* and keeps it until the server has answered, or until it is certain that the server no
//! longer can. Running out of time gives the caller an outcome but does not free the slot: otherwise a slow server
//! would be sent more and more, which is what a permit that is dropped at a timeout does.
//!
//! How a slot without an answer is freed: a *fence*, a message to the own inbox, is sent after it on the same
//! connection. When the fence is back, the server has read all that was sent before. What is still unanswered then
//! was lost with an earlier connection, or waits in the server; one more grace period is given to the latter. The answer to a
//! request that was sent after the fence says the same.
//!
//! Where the server speaks and the fence does not come back, the user has no right to publish it. Then the next one is a
//! *probe*, a request that changes nothing; and if that is not answered either, the next request will tell ([`Way`]).

mod fence;

use std::time::{Duration, Instant};

use async_nats::Message;
use tokio::sync::oneshot;

use self::fence::Fence;
pub(crate) use self::fence::{FenceWork, Way};
use super::token::Token;
use super::{Class, Exchange, LONGEST, OnDisconnect, Settings};
use crate::metrics::{Histogram, Totals};
use crate::outcome::Indeterminate;
use crate::outgoing::Outgoing;

/// What the server gets to answer that which reached it over a new connection, counted from the fence.
const RECONNECT_GRACE: Duration = Duration::from_millis(250);

pub(crate) struct Slots<E: Exchange> {
    slots: Vec<Slot<E::Outcome>>,
    free: Vec<u32>,
    timeout: Duration,
    fail_at_once: bool,
    /// Only one answer comes to each request: a reply subject can be used again once it was answered.
    one_answer: bool,
    pub(crate) totals: Totals,
    pub(crate) latency: Histogram,
    exchange: E,
    /// When something that was sent before the last reconnect was last answered: while such answers come, the server
    /// is still working through what it was sent.
    last_old_answer: Option<Instant>,
    fence: Option<Fence>,
    next_fence: u64,
    /// Fences in a row that did not come back though the server spoke.
    unheard: u32,
    /// One has come back: there is a right to them, unless it was taken away.
    came_back: bool,
    /// On which connection a place was last freed for a request that is to tell.
    room_made: u64,
    /// Slots freed since this was last looked at and set back to 0.
    pub(crate) freed: usize,
}

struct Slot<O> {
    generation: u32,
    /// An answer to this generation may come although the slot is free: its next use needs another one.
    stale: bool,
    phase: Phase,
    sent_at: Instant,
    /// How many connections had been made when it was sent.
    connects: u64,
    release_at: Option<Instant>,
    /// Sent again, and no fence that was sent after it is back.
    unread_copy: bool,
    tag: u64,
    waiter: Option<oneshot::Sender<O>>,
    copy: Option<Box<Outgoing>>,
}

impl<O> Slot<O> {
    /// The server has read all that was sent before, and had time to answer.
    fn is_lost(&self, now: Now, quiet: bool) -> bool {
        quiet && self.release_at.is_some_and(|at| now.time >= at)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Free,
    /// No outcome yet.
    Pending,
    /// The outcome is given, but an answer may still come.
    Unanswered,
    /// It was answered, but it was sent twice and the server may not have read the second one yet.
    Answered,
}

/// What is told to the slots at each look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) time: Instant,
    /// How many connections have been made.
    pub(crate) connects: u64,
    pub(crate) connected: bool,
    /// What has come from the server so far, for whomever.
    pub(crate) heard_bytes: u64,
}

/// An outcome that nobody holds a future for, with the caller's tag.
pub(crate) type Told<E> = (u64, <E as Exchange>::Outcome);

impl<E: Exchange> Slots<E> {
    pub(crate) fn new(settings: &Settings, exchange: E, now: Instant) -> Self {
        let slot = |_| Slot {
            generation: 0,
            stale: false,
            phase: Phase::Free,
            sent_at: now,
            connects: 0,
            release_at: None,
            unread_copy: false,
            tag: 0,
            waiter: None,
            copy: None,
        };
        Slots {
            slots: (0..settings.window).map(slot).collect(),
            free: (0..u32::try_from(settings.window).unwrap_or(u32::MAX)).rev().collect(),
            timeout: settings.timeout.min(LONGEST),
            fail_at_once: settings.on_disconnect == OnDisconnect::Fail,
            one_answer: settings.one_answer,
            totals: Totals::default(),
            latency: Histogram::default(),
            exchange,
            last_old_answer: None,
            fence: None,
            next_fence: 0,
            unheard: 0,
            came_back: false,
            room_made: 0,
            freed: 0,
        }
    }

    /// Slots that are taken: in flight, and those whose outcome is known but whose answer may still come.
    pub(crate) fn occupied(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a slot for a message that is about to be handed over. `None` where all are taken.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        connects: u64,
        tag: u64,
        waiter: Option<oneshot::Sender<E::Outcome>>,
        copy: Option<Box<Outgoing>>,
    ) -> Option<Token> {
        let index = self.free.pop()?;
        self.totals.sent += 1;
        self.totals.in_flight += 1;
        let slot = &mut self.slots[index as usize];
        if slot.stale || !self.one_answer {
            slot.generation = slot.generation.wrapping_add(1);
            slot.stale = false;
        }
        slot.phase = Phase::Pending;
        slot.sent_at = now;
        slot.connects = connects;
        slot.release_at = None;
        slot.unread_copy = false;
        slot.tag = tag;
        slot.waiter = waiter;
        slot.copy = copy;
        Some(Token { index, generation: slot.generation })
    }

    /// Whether it still has no outcome.
    pub(crate) fn is_pending(&self, token: Token) -> bool {
        let slot = &self.slots[token.index as usize];
        slot.generation == token.generation && slot.phase == Phase::Pending
    }

    /// It was not handed over: it is as if it had never been. False where its slot had been freed already.
    pub(crate) fn undo(&mut self, token: Token) -> bool {
        let slot = &mut self.slots[token.index as usize];
        if slot.generation != token.generation || slot.phase == Phase::Free {
            return false;
        }
        if slot.phase == Phase::Pending {
            slot.waiter = None;
            self.totals.sent -= 1;
            self.totals.in_flight -= 1;
        }
        self.free_unanswered(token.index);
        true
    }

    /// Takes in one answer. Gives back the outcome, if it is one that the sink is to hear of.
    pub(crate) fn answered(&mut self, token: Token, message: &Message, now: Now) -> Option<Told<E>> {
        let slot = self.slots.get_mut(token.index as usize)?;
        if slot.generation != token.generation || slot.phase == Phase::Free {
            self.totals.late += 1;
            return None;
        }
        let Some(outcome) = self.exchange.answered(message) else {
            self.totals.foreign += 1;
            return None;
        };
        if slot.connects < now.connects {
            self.last_old_answer = Some(now.time);
        }
        let (sent_at, connects) = (slot.sent_at, slot.connects);
        let told = if slot.phase == Phase::Pending {
            self.latency.record(now.time.saturating_duration_since(slot.sent_at));
            self.end(token.index, outcome)
        } else {
            self.totals.late += 1;
            None
        };
        let slot = &mut self.slots[token.index as usize];
        if slot.unread_copy {
            slot.phase = Phase::Answered;
        } else {
            self.release(token.index);
        }
        // Sent again, it may be the first copy that was answered.
        if self.slots[token.index as usize].phase == Phase::Free {
            self.answered_after_fence(sent_at, connects, now.time);
        }
        told
    }

    /// Looks at the clock and at the connection: ends what ran out of time or lost its connection, frees what can no
    /// longer be answered, and says whether a fence is due. Looks at every slot, so it is done once a tick at most.
    ///
    /// `may_fence`: the fence before has been handed over, so that fences and copies keep their order.
    pub(crate) fn watch_over(
        &mut self,
        now: Now,
        may_fence: bool,
        ended: &mut Vec<Told<E>>,
    ) -> Option<FenceWork> {
        if self.occupied() == 0 {
            return None;
        }
        self.miss_fence(now, ended);
        let quiet = self.last_old_answer.is_none_or(|at| now.time >= at + RECONNECT_GRACE);
        let mut fence_due = false;
        for index in 0..self.count() {
            let slot = &self.slots[index as usize];
            let gone = slot.connects < now.connects;
            let outcome = match slot.phase {
                Phase::Free => continue,
                Phase::Pending if self.fail_at_once && (gone || !now.connected) => {
                    Some(Indeterminate::Disconnected)
                }
                Phase::Pending if gone && slot.is_lost(now, quiet) => {
                    fence_due |= slot.copy.is_some();
                    slot.copy.is_none().then_some(Indeterminate::Disconnected)
                }
                Phase::Pending if !gone && now.connected && now.time >= slot.sent_at + self.timeout => {
                    Some(Indeterminate::Timeout)
                }
                Phase::Pending | Phase::Unanswered | Phase::Answered => None,
            };
            if let Some(why) = outcome {
                ended.extend(self.end(index, E::unanswered(why)));
            }
            let slot = &self.slots[index as usize];
            match slot.release_at {
                Some(at) if now.time >= at && slot.phase == Phase::Unanswered && (quiet || !gone) => {
                    self.free_unanswered(index);
                }
                None => fence_due |= gone || slot.phase != Phase::Pending,
                _ => {}
            }
        }
        (fence_due && may_fence && now.connected && self.fence.is_none()).then(|| self.next_fence(now, quiet))
    }

    /// Ends everything that has no outcome.
    pub(crate) fn end_all(&mut self, why: Indeterminate, ended: &mut Vec<Told<E>>) {
        for index in 0..self.count() {
            if self.slots[index as usize].phase == Phase::Pending {
                ended.extend(self.end(index, E::unanswered(why)));
            }
        }
    }

    /// Counts the outcome and gives it to whoever waits. The slot stays taken.
    fn end(&mut self, index: u32, outcome: E::Outcome) -> Option<Told<E>> {
        let totals = &mut self.totals;
        totals.in_flight -= 1;
        match E::class(&outcome) {
            Class::Acked { duplicate } => {
                totals.acked += 1;
                totals.duplicates += u64::from(duplicate);
            }
            Class::Rejected => totals.rejected += 1,
            Class::Unknown(Indeterminate::Timeout) => totals.timed_out += 1,
            Class::Unknown(Indeterminate::Disconnected) => totals.disconnected += 1,
            Class::Unknown(_) => totals.otherwise_unknown += 1,
        }
        let slot = &mut self.slots[index as usize];
        slot.phase = Phase::Unanswered;
        slot.copy = None;
        match slot.waiter.take() {
            // The caller may have dropped its future; the outcome is counted all the same.
            Some(waiter) => {
                let _ = waiter.send(outcome);
                None
            }
            None => Some((slot.tag, outcome)),
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    fn free_unanswered(&mut self, index: u32) {
        self.slots[index as usize].stale = true;
        self.release(index);
    }

    fn release(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.phase = Phase::Free;
        slot.copy = None;
        self.free.push(index);
        self.freed += 1;
    }
}

#[cfg(test)]
mod tests;
