//! The task of a pipeline: takes in the answers, watches the clock and the connection, and tells the sink.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::Stream;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::slots::{FenceWork, Now, Told, Way};
use super::token::Token;
use super::{Exchange, Shared, Sink, State};
use crate::outcome::{Indeterminate, number};

/// How often time limits and the connection's state are looked at, while anything is in flight.
const TICK: Duration = Duration::from_millis(20);

/// Answers handled under one lock.
const BATCH: usize = 256;

/// The token of a fence begins with this; the token of a request is hexadecimal.
const FENCE: &str = "fence-";

/// Runs until the last handle is gone and nothing is in flight, or the client is closed.
pub(super) async fn drive<E: Exchange>(
    shared: Arc<Shared<E>>,
    mut answers: Subscriber,
    mut sink: Option<Sink<E::Outcome>>,
) {
    let _end = End(shared.clone());
    let mut inbox: Vec<Message> = Vec::with_capacity(BATCH);
    let mut ended: Vec<Told<E>> = Vec::with_capacity(BATCH);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_watch = Instant::now();
    let mut fencing: Option<JoinHandle<()>> = None;
    loop {
        let (busy, over) = {
            let state = shared.lock();
            (state.slots.occupied() > 0, state.closed && state.slots.totals.in_flight == 0)
        };
        if over {
            break;
        }
        let open = tokio::select! {
            biased;
            open = gather(&mut answers, &mut inbox) => open,
            _ = tick.tick(), if busy => true,
            () = shared.wake.notified(), if !busy => true,
        };
        let now = shared.now();
        let fence = {
            let mut state = shared.lock();
            for message in inbox.drain(..) {
                ended.extend(take_in(&shared, &mut state, &message, now));
            }
            let fence = if !open {
                state.over = true;
                state.slots.end_all(Indeterminate::Closed, &mut ended);
                None
            } else if now.time >= next_watch {
                next_watch = now.time + TICK;
                let may_fence = fencing.as_ref().is_none_or(JoinHandle::is_finished);
                state.slots.watch_over(now, may_fence, &mut ended)
            } else {
                None
            };
            shared.hand_out(&mut state);
            state.telling = !ended.is_empty();
            if state.slots.totals.in_flight == 0 && !state.telling {
                shared.idle.notify_waiters();
            }
            fence
        };
        if !ended.is_empty() {
            for (tag, outcome) in ended.drain(..) {
                if let Some(sink) = &mut sink {
                    sink(tag, outcome);
                }
            }
            // The lock is not held while the sink runs: whoever waits for the end must not be told before the sink.
            let mut state = shared.lock();
            state.telling = false;
            if state.slots.totals.in_flight == 0 {
                shared.idle.notify_waiters();
            }
        }
        if let Some(work) = fence {
            fencing = Some(tokio::spawn(send_fence(shared.clone(), work)));
        }
        if !open {
            break;
        }
    }
}

/// However the driver ends, also where the sink panics or its runtime is shut down: nobody is left waiting for an outcome.
struct End<E: Exchange>(Arc<Shared<E>>);

impl<E: Exchange> Drop for End<E> {
    fn drop(&mut self) {
        let mut untold = Vec::new();
        {
            let mut state = self.0.lock();
            (state.over, state.telling) = (true, false);
            state.slots.end_all(Indeterminate::Closed, &mut untold);
        }
        self.0.free_slots.close();
        self.0.idle.notify_waiters();
    }
}

fn take_in<E: Exchange>(
    shared: &Shared<E>,
    state: &mut State<E>,
    message: &Message,
    now: Now,
) -> Option<Told<E>> {
    let token = message.subject.as_bytes().get(shared.inbox.len() + 1..)?;
    if let Some(fence) = token.strip_prefix(FENCE.as_bytes()) {
        state.slots.fence_is_back(number(fence)?, now.time);
        return None;
    }
    state.slots.answered(Token::parse(token)?, message, now)
}

/// Waits for answers and takes all that are there, up to a batch. False when the subscription has ended.
async fn gather(answers: &mut Subscriber, into: &mut Vec<Message>) -> bool {
    poll_fn(|cx| {
        loop {
            match Pin::new(&mut *answers).poll_next(cx) {
                Poll::Ready(Some(message)) => into.push(message),
                Poll::Ready(None) => return Poll::Ready(false),
                Poll::Pending if into.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(true),
            }
            if into.len() >= BATCH {
                return Poll::Ready(true);
            }
        }
    })
    .await
}

async fn send_fence<E: Exchange>(shared: Arc<Shared<E>>, work: FenceWork) {
    // A failure here means that the client is closed, which the driver sees at the subscription's end.
    for (message, token) in work.repeat {
        if shared.hand_over(message, token.reply_subject(&shared.inbox)).await.is_err() {
            return;
        }
    }
    let fence = format!("{}.{FENCE}{}", shared.inbox, work.number);
    match work.way {
        Way::Inbox => _ = shared.client.publish(fence, Bytes::new()).await,
        Way::Probe => {
            let probe = {
                let state = shared.lock();
                state.subject.clone().map(|used| state.slots.probe(used))
            };
            if let Some(probe) = probe {
                _ = shared.hand_over(probe, fence.into()).await;
            }
        }
        Way::Request => {}
    }
}
