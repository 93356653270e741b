//! Fences: how it is learned that the server has read what was sent, so that what is without an answer then is lost.

use std::time::{Duration, Instant};

use async_nats::Subject;

use super::{Now, Phase, RECONNECT_GRACE, Slots, Told};
use crate::outcome::Indeterminate;
use crate::outgoing::Outgoing;
use crate::pipeline::Exchange;
use crate::pipeline::token::Token;

/// A fence that is not back after this is taken for lost. A server that stands still for longer costs a small message each.
const FENCE_TIMEOUT: Duration = Duration::from_secs(1);

/// Unheard fences, inbox and probe in turn, before the next request is to tell; and where one has come back before, so that the
/// user has the right and the server is only slow.
const UNHEARD_AT_FIRST: u32 = 2;
const UNHEARD_AFTER_ALL: u32 = 30;

/// How it is learned that the server has read what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A message to the own inbox.
    Inbox,
    /// [`Exchange::probe`].
    Probe,
    /// Nothing is sent: the next request will tell, for which there must be a place.
    Request,
}

pub(super) struct Fence {
    pub(super) number: u64,
    pub(super) sent_at: Instant,
    pub(super) connects: u64,
    heard_bytes: u64,
}

/// What is sent again, and after it the fence, of which an answer comes under the number.
pub(crate) struct FenceWork {
    pub(crate) number: u64,
    pub(crate) way: Way,
    pub(crate) repeat: Vec<(Outgoing, Token)>,
}

impl<E: Exchange> Slots<E> {
    /// The fence is back: the server has read all that was sent before it.
    pub(crate) fn fence_is_back(&mut self, number: u64, now: Instant) {
        if let Some(fence) = self.fence.take_if(|f| f.number == number) {
            self.came_back = true;
            self.read_up_to(&fence, now);
        }
    }

    fn way(&self) -> Way {
        let most = if self.came_back { UNHEARD_AFTER_ALL } else { UNHEARD_AT_FIRST };
        match self.unheard {
            unheard if unheard >= most => Way::Request,
            unheard if unheard % 2 == 1 => Way::Probe,
            _ => Way::Inbox,
        }
    }

    fn read_up_to(&mut self, fence: &Fence, now: Instant) {
        // Where a probe was needed it is again.
        self.unheard = u32::from(self.way() == Way::Probe);
        for index in 0..self.count() {
            let slot = &mut self.slots[index as usize];
            // Copies are handed over just before their fence, and keep their order in the client over a reconnect.
            if slot.sent_at <= fence.sent_at {
                slot.unread_copy = false;
            }
            match slot.phase {
                Phase::Answered if !slot.unread_copy => self.release(index),
                Phase::Pending | Phase::Unanswered
                    if slot.release_at.is_none() && slot.sent_at < fence.sent_at =>
                {
                    if slot.connects < fence.connects {
                        slot.release_at = Some(now + RECONNECT_GRACE);
                    } else if slot.phase == Phase::Unanswered {
                        slot.release_at = Some(now + self.timeout);
                    }
                }
                _ => {}
            }
        }
    }

    /// A request that was sent at this time over this connection was answered: had it been sent after the fence, the server has
    /// read that, too.
    pub(super) fn answered_after_fence(&mut self, sent_at: Instant, connects: u64, now: Instant) {
        if let Some(fence) = self.fence.take_if(|f| f.connects == connects && f.sent_at < sent_at) {
            self.read_up_to(&fence, now);
        }
    }

    /// Looks whether the fence should have been back by now.
    pub(super) fn miss_fence(&mut self, now: Now, ended: &mut Vec<Told<E>>) {
        // A fence can be lost with its connection.
        _ = self.fence.take_if(|f| f.connects < now.connects);
        let unheard = self.fence.take_if(|f| now.time > f.sent_at + FENCE_TIMEOUT);
        if let Some(fence) = unheard {
            // A server that stands still says nothing; one that refuses a fence says so (an `-ERR`, of which no more is known here).
            if self.way() == Way::Request {
                self.unheard = 0;
            } else if fence.heard_bytes < now.heard_bytes {
                self.unheard += 1;
                if self.way() == Way::Request {
                    self.wait_for_request(now, ended);
                }
            }
        }
    }

    /// Nothing but the next request can tell. What was lost with its connection ends here, and where no place is free, one
    /// of those is freed for that request: the only case in which more can be in flight than may be, by one on each connection.
    fn wait_for_request(&mut self, now: Now, ended: &mut Vec<Told<E>>) {
        for index in 0..self.count() {
            let slot = &self.slots[index as usize];
            if slot.phase == Phase::Pending && slot.connects < now.connects {
                ended.extend(self.end(index, E::unanswered(Indeterminate::Disconnected)));
            }
        }
        if self.free.is_empty() && self.room_made < now.connects {
            let unanswered = |index: &u32| self.slots[*index as usize].phase == Phase::Unanswered;
            if let Some(index) = (0..self.count()).find(unanswered) {
                self.room_made = now.connects;
                self.free_unanswered(index);
            }
        }
    }

    /// See [`Exchange::probe`].
    pub(crate) fn probe(&self, used: Subject) -> Outgoing {
        self.exchange.probe(used)
    }

    /// What is sent again goes before it. Not earlier: the first copy may still be unread, and then twice as much would be
    /// in flight as may be.
    pub(super) fn next_fence(&mut self, now: Now, quiet: bool) -> FenceWork {
        let number = self.next_fence;
        self.next_fence += 1;
        self.fence =
            Some(Fence { number, sent_at: now.time, connects: now.connects, heard_bytes: now.heard_bytes });
        let mut repeat = Vec::new();
        for (index, slot) in (0u32..).zip(&mut self.slots) {
            let lost =
                slot.phase == Phase::Pending && slot.connects < now.connects && slot.is_lost(now, quiet);
            if let Some(copy) = slot.copy.as_deref().filter(|_| lost) {
                repeat.push((copy.clone(), Token { index, generation: slot.generation }));
                // It is sent anew: its time runs from now, on this connection. Both may be answered.
                (slot.connects, slot.sent_at) = (now.connects, now.time);
                (slot.stale, slot.unread_copy, slot.release_at) = (true, true, None);
                self.totals.repeated += 1;
            }
        }
        FenceWork { number, way: self.way(), repeat }
    }
}
