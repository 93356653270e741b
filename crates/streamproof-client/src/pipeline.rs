//! Many requests at once over one inbox: a hard bound on what is in flight, and exactly one outcome for each.
//!
//! A request takes a *slot* and keeps it until the server has answered, or until it is certain that the server no
//! longer can. Running out of time gives the caller an outcome but does not free the slot: otherwise a slow server
//! would be sent more and more, which is what a permit that is dropped at a timeout does.
//!
//! How a slot without an answer is freed: a *fence*, a message to the own inbox, is sent after it on the same
//! connection. When the fence is back, the server has read all that was sent before. What is still unanswered then
//! was lost with an earlier connection, or waits in the server; one more grace period is given to the latter.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_nats::connection::State as ConnectionState;
use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::MissedTickBehavior;

use crate::error::{PublishError, StartError};
use crate::metrics::{Histogram, Totals};
use crate::outcome::{Indeterminate, number};
use crate::outgoing::Outgoing;

/// The largest window: the capacity that async-nats gives a subscription by default. With more in flight, answers
/// could be dropped on their way in.
pub const MAX_WINDOW: usize = 65_536;

/// How often time limits and the connection's state are looked at, while anything is in flight.
const TICK: Duration = Duration::from_millis(20);

/// What the server gets to answer that which reached it over a new connection, counted from the fence.
const RECONNECT_GRACE: Duration = Duration::from_millis(250);

/// Answers handled under one lock.
const BATCH: usize = 256;

/// What to do with that which is in flight, and with what is published, while there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDisconnect {
    /// New publishes wait for the connection. One in flight ends as indeterminate once it is certain that its answer
    /// cannot come any more.
    #[default]
    Wait,
    /// As `Wait`; and what is in flight and has a message id is sent again after the reconnect, which the stream's
    /// `duplicate_window` makes safe. Keeps a (cheap) copy of each message in flight.
    Repeat,
    /// All that is in flight ends as indeterminate at once, and a new publish fails at once, with nothing sent.
    Fail,
}

/// What kind of answers are expected.
pub(crate) trait Exchange: Send + 'static {
    type Outcome: Clone + Send + 'static;
    fn answered(&mut self, message: &Message) -> Self::Outcome;
    fn unanswered(why: Indeterminate) -> Self::Outcome;
    fn class(outcome: &Self::Outcome) -> Class;
    /// Whether sending it twice does the same as sending it once.
    fn may_repeat(message: &Outgoing) -> bool;
}

/// What an outcome counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Acked { duplicate: bool },
    Rejected,
    Unknown(Indeterminate),
}

/// Called with the caller's tag for each outcome that nobody holds a future for.
pub(crate) type Sink<O> = Box<dyn FnMut(u64, O) + Send>;

pub(crate) struct Settings {
    pub(crate) window: usize,
    pub(crate) timeout: Duration,
    pub(crate) on_disconnect: OnDisconnect,
}

pub(crate) struct Pipeline<E: Exchange> {
    shared: Arc<Shared<E>>,
}

struct Shared<E: Exchange> {
    client: Client,
    inbox: String,
    timeout: Duration,
    on_disconnect: OnDisconnect,
    free_slots: Semaphore,
    window: usize,
    state: Mutex<State<E>>,
    /// Something ended; `settle` looks again.
    idle: Notify,
    /// There is something to watch over; the driver starts ticking.
    wake: Notify,
}

struct State<E: Exchange> {
    slots: Vec<Slot<E::Outcome>>,
    free: Vec<u32>,
    totals: Totals,
    latency: Histogram,
    exchange: E,
    /// When something that was sent before the last reconnect was last answered: while such answers come, the server
    /// is still working through what it was sent.
    last_old_answer: Option<Instant>,
    /// Slots that are free but not yet given out, so that a waiting publisher is woken for many at a time.
    held_permits: usize,
    fence: Option<Fence>,
    next_fence: u64,
    handles: usize,
    closed: bool,
    /// Outcomes are counted that the sink has not been told yet.
    telling: bool,
}

struct Slot<O> {
    generation: u32,
    phase: Phase,
    sent_at: Instant,
    /// How many connections had been made when it was sent.
    connects: u64,
    release_at: Option<Instant>,
    tag: u64,
    waiter: Option<oneshot::Sender<O>>,
    copy: Option<Box<Outgoing>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Free,
    /// No outcome yet.
    Pending,
    /// The outcome is given, but an answer may still come.
    Unanswered,
}

struct Fence {
    number: u64,
    sent_at: Instant,
    connects: u64,
}

/// A slot taken, before its message is handed over. Dropped before that, it is as if it had never been.
struct Ticket<'a, E: Exchange> {
    shared: &'a Shared<E>,
    index: u32,
    generation: u32,
    sent: bool,
}

impl<E: Exchange> Clone for Pipeline<E> {
    fn clone(&self) -> Self {
        self.shared.lock().handles += 1;
        Pipeline { shared: self.shared.clone() }
    }
}

impl<E: Exchange> Drop for Pipeline<E> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.handles -= 1;
        if state.handles == 0 {
            state.closed = true;
            drop(state);
            self.shared.wake.notify_one();
        }
    }
}

impl<E: Exchange> Pipeline<E> {
    pub(crate) async fn start(
        client: Client,
        settings: Settings,
        exchange: E,
        sink: Option<Sink<E::Outcome>>,
    ) -> Result<Self, StartError> {
        let window = settings.window;
        if window == 0 || window > MAX_WINDOW {
            return Err(StartError::Window { asked: window, most: MAX_WINDOW });
        }
        let inbox = client.new_inbox();
        let answers =
            client.subscribe(format!("{inbox}.*")).await.map_err(|e| StartError::Subscribe(Box::new(e)))?;
        let now = Instant::now();
        let slot = |_| Slot {
            generation: 0,
            phase: Phase::Free,
            sent_at: now,
            connects: 0,
            release_at: None,
            tag: 0,
            waiter: None,
            copy: None,
        };
        let shared = Arc::new(Shared {
            client,
            inbox,
            timeout: settings.timeout,
            on_disconnect: settings.on_disconnect,
            free_slots: Semaphore::new(window),
            window,
            state: Mutex::new(State {
                slots: (0..window).map(slot).collect(),
                free: (0..u32::try_from(window).unwrap_or(u32::MAX)).rev().collect(),
                totals: Totals::default(),
                latency: Histogram::default(),
                exchange,
                last_old_answer: None,
                held_permits: 0,
                fence: None,
                next_fence: 0,
                handles: 1,
                closed: false,
                telling: false,
            }),
            idle: Notify::new(),
            wake: Notify::new(),
        });
        tokio::spawn(drive(shared.clone(), answers, sink));
        Ok(Pipeline { shared })
    }

    /// Waits for a slot and hands the message over. Where the future is dropped before it is ready, nothing was sent.
    pub(crate) async fn send(
        &self,
        message: Outgoing,
        tag: u64,
        waiter: Option<oneshot::Sender<E::Outcome>>,
    ) -> Result<(), PublishError> {
        let shared = &*self.shared;
        check(&shared.client, &message)?;
        if shared.on_disconnect == OnDisconnect::Fail && !shared.connected() {
            return Err(PublishError::Disconnected);
        }
        let permit = match shared.free_slots.try_acquire() {
            Ok(permit) => permit,
            Err(_) => shared.free_slots.acquire().await.map_err(|_| PublishError::Closed)?,
        };
        permit.forget();
        let copy = (shared.on_disconnect == OnDisconnect::Repeat && E::may_repeat(&message))
            .then(|| Box::new(message.clone()));
        let mut ticket = shared.take(tag, waiter, copy);
        let reply = shared.reply_subject(ticket.index, ticket.generation);
        let handed_over = shared.hand_over(message, reply).await;
        ticket.sent = handed_over.is_ok() || ticket.has_ended();
        if ticket.sent { Ok(()) } else { handed_over }
    }

    /// Waits until nothing is without an outcome.
    pub(crate) async fn settle(&self) -> Totals {
        loop {
            let changed = self.shared.idle.notified();
            let totals = self.totals();
            if totals.in_flight == 0 && !self.shared.lock().telling {
                return totals;
            }
            changed.await;
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.shared.lock().totals.clone()
    }

    pub(crate) fn latency(&self) -> Histogram {
        self.shared.lock().latency.clone()
    }

    /// Slots that are taken: in flight, and those whose outcome is known but whose answer may still come.
    pub(crate) fn occupied(&self) -> usize {
        self.shared.window - self.shared.lock().free.len()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.shared.client
    }
}

impl<E: Exchange> Shared<E> {
    fn lock(&self) -> MutexGuard<'_, State<E>> {
        // Nothing that runs under the lock can panic half way through a change; a poisoned lock is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self) -> bool {
        self.client.connection_state() == ConnectionState::Connected
    }

    fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    fn take(
        &self,
        tag: u64,
        waiter: Option<oneshot::Sender<E::Outcome>>,
        copy: Option<Box<Outgoing>>,
    ) -> Ticket<'_, E> {
        let (now, connects) = (Instant::now(), self.connects());
        let mut state = self.lock();
        // A permit was taken, and there is a free slot for each permit.
        debug_assert!(!state.free.is_empty());
        let index = state.free.pop().unwrap_or_default();
        let first = state.totals.in_flight == 0;
        state.totals.sent += 1;
        state.totals.in_flight += 1;
        let slot = &mut state.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.phase = Phase::Pending;
        slot.sent_at = now;
        slot.connects = connects;
        slot.release_at = None;
        slot.tag = tag;
        slot.waiter = waiter;
        slot.copy = copy;
        let generation = slot.generation;
        drop(state);
        if first {
            self.wake.notify_one();
        }
        Ticket { shared: self, index, generation, sent: false }
    }

    fn reply_subject(&self, index: u32, generation: u32) -> Subject {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut subject = String::with_capacity(self.inbox.len() + 1 + TOKEN_LENGTH);
        subject.push_str(&self.inbox);
        subject.push('.');
        let token = u64::from(generation) << 16 | u64::from(index);
        for nibble in (0..TOKEN_LENGTH).rev() {
            subject.push(HEX[(token >> (4 * nibble) & 0xf) as usize] as char);
        }
        Subject::from(subject)
    }

    async fn hand_over(&self, message: Outgoing, reply: Subject) -> Result<(), PublishError> {
        let Outgoing { subject, payload, headers, .. } = message;
        match headers {
            None => self.client.publish_with_reply(subject, reply, payload).await,
            Some(headers) => {
                self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await
            }
        }
        .map_err(PublishError::from)
    }

    /// Takes in one answer. Gives back the outcome, if it is one that the sink is to hear of.
    fn answer(
        &self,
        state: &mut State<E>,
        message: &Message,
        now: Instant,
        connects: u64,
    ) -> Option<(u64, E::Outcome)> {
        let token = message.subject.as_bytes().get(self.inbox.len() + 1..)?;
        if let Some(fence) = token.strip_prefix(b"fence-") {
            state.fence_is_back(number(fence)?, self.timeout, now);
            return None;
        }
        let (index, generation) = parse_token(token)?;
        let slot = state.slots.get_mut(index as usize)?;
        if slot.generation != generation || slot.phase == Phase::Free {
            state.totals.late += 1;
            return None;
        }
        if slot.connects < connects {
            state.last_old_answer = Some(now);
        }
        let ended = if slot.phase == Phase::Pending {
            let latency = now.saturating_duration_since(slot.sent_at);
            state.latency.record(latency);
            let outcome = state.exchange.answered(message);
            state.end(index, outcome)
        } else {
            state.totals.late += 1;
            None
        };
        self.release(state, index);
        ended
    }

    fn release(&self, state: &mut State<E>, index: u32) {
        let slot = &mut state.slots[index as usize];
        slot.phase = Phase::Free;
        slot.copy = None;
        state.free.push(index);
        state.held_permits += 1;
    }

    /// Gives the freed slots out: at once where little is in flight, else an eighth of the window at a time, since
    /// waking a publisher for each single slot costs more than the publish.
    fn hand_out(&self, state: &mut State<E>) {
        let in_flight = usize::try_from(state.totals.in_flight).unwrap_or(usize::MAX);
        if state.held_permits > 0 && (state.held_permits >= self.window / 8 || in_flight <= self.window / 2) {
            self.free_slots.add_permits(state.held_permits);
            state.held_permits = 0;
        }
    }
}

/// Sixteen bits of index and thirty-two of generation, in hexadecimal.
const TOKEN_LENGTH: usize = 12;

fn parse_token(token: &[u8]) -> Option<(u32, u32)> {
    if token.len() != TOKEN_LENGTH {
        return None;
    }
    let n = token.iter().try_fold(0u64, |n, c| char::from(*c).to_digit(16).map(|d| n << 4 | u64::from(d)))?;
    Some(((n & 0xffff) as u32, u32::try_from(n >> 16).ok()?))
}

impl<E: Exchange> State<E> {
    /// Counts the outcome and gives it to whoever waits. The slot stays taken.
    fn end(&mut self, index: u32, outcome: E::Outcome) -> Option<(u64, E::Outcome)> {
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

    fn fence_is_back(&mut self, number: u64, timeout: Duration, now: Instant) {
        let Some(fence) = self.fence.take_if(|f| f.number == number) else { return };
        for slot in &mut self.slots {
            if slot.phase != Phase::Free && slot.release_at.is_none() && slot.sent_at < fence.sent_at {
                if slot.connects < fence.connects {
                    slot.release_at = Some(now + RECONNECT_GRACE);
                } else if slot.phase == Phase::Unanswered {
                    slot.release_at = Some(now + timeout);
                }
            }
        }
    }
}

impl<E: Exchange> Ticket<'_, E> {
    /// Whether it was given an outcome while it waited to be handed over. That one stands, then.
    fn has_ended(&self) -> bool {
        let state = self.shared.lock();
        let slot = &state.slots[self.index as usize];
        slot.generation != self.generation || slot.phase != Phase::Pending
    }
}

impl<E: Exchange> Drop for Ticket<'_, E> {
    fn drop(&mut self) {
        if self.sent {
            return;
        }
        let mut state = self.shared.lock();
        let slot = &mut state.slots[self.index as usize];
        if slot.generation != self.generation {
            return;
        }
        match slot.phase {
            Phase::Pending => {
                slot.waiter = None;
                state.totals.sent -= 1;
                state.totals.in_flight -= 1;
                self.shared.release(&mut state, self.index);
            }
            Phase::Unanswered => self.shared.release(&mut state, self.index),
            Phase::Free => return,
        }
        self.shared.hand_out(&mut state);
        drop(state);
        self.shared.idle.notify_waiters();
    }
}

fn check(client: &Client, message: &Outgoing) -> Result<(), PublishError> {
    if let Some(name) = &message.invalid_header {
        return Err(PublishError::InvalidHeader { name: name.clone() });
    }
    // async-nats counts headers and body; the server would cut the connection, and all that is in flight with it.
    let most_bytes = client.max_payload();
    if message.payload.len() > most_bytes {
        return Err(PublishError::TooLarge { bytes: message.payload.len(), most_bytes });
    }
    Ok(())
}

/// Runs until the last handle is gone and nothing is in flight, or the client is closed.
async fn drive<E: Exchange>(
    shared: Arc<Shared<E>>,
    mut answers: Subscriber,
    mut sink: Option<Sink<E::Outcome>>,
) {
    let mut inbox: Vec<Message> = Vec::with_capacity(BATCH);
    let mut ended: Vec<(u64, E::Outcome)> = Vec::with_capacity(BATCH);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_watch = Instant::now();
    loop {
        let (busy, over) = {
            let state = shared.lock();
            let busy = state.free.len() < shared.window;
            (busy, state.closed && state.totals.in_flight == 0)
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
        let (now, connects) = (Instant::now(), shared.connects());
        let fence = {
            let mut state = shared.lock();
            for message in inbox.drain(..) {
                ended.extend(shared.answer(&mut state, &message, now, connects));
            }
            let fence = if !open {
                end_all(&shared, &mut state, Indeterminate::Closed, &mut ended);
                None
            } else if now >= next_watch {
                next_watch = now + TICK;
                watch_over(&shared, &mut state, now, connects, &mut ended)
            } else {
                None
            };
            shared.hand_out(&mut state);
            state.telling = !ended.is_empty();
            if state.totals.in_flight == 0 && !state.telling {
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
            if state.totals.in_flight == 0 {
                shared.idle.notify_waiters();
            }
        }
        if let Some(work) = fence {
            tokio::spawn(send_fence(shared.clone(), work));
        }
        if !open {
            break;
        }
    }
    shared.free_slots.close();
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

/// What has to be sent once the lock is free.
struct FenceWork {
    number: u64,
    repeat: Vec<(Outgoing, Subject)>,
}

/// Looks at the clock and at the connection: ends what ran out of time or lost its connection, frees what can no
/// longer be answered, and says whether a fence is due. Looks at every slot, so it is done once a tick at most.
fn watch_over<E: Exchange>(
    shared: &Shared<E>,
    state: &mut State<E>,
    now: Instant,
    connects: u64,
    ended: &mut Vec<(u64, E::Outcome)>,
) -> Option<FenceWork> {
    if state.free.len() == shared.window {
        return None;
    }
    // A fence can be lost with its connection.
    state.fence.take_if(|f| f.connects < connects || now > f.sent_at + shared.timeout);
    let connected = shared.connected();
    let quiet = state.last_old_answer.is_none_or(|at| now >= at + RECONNECT_GRACE);
    let fail_at_once = shared.on_disconnect == OnDisconnect::Fail;
    let mut fence_due = false;
    for index in 0..shared.window {
        let slot = &state.slots[index];
        let gone = slot.connects < connects;
        let outcome = match slot.phase {
            Phase::Free => continue,
            Phase::Pending if fail_at_once && (gone || !connected) => Some(Indeterminate::Disconnected),
            Phase::Pending if gone && quiet && slot.release_at.is_some_and(|at| now >= at) => {
                Some(Indeterminate::Disconnected)
            }
            Phase::Pending if !gone && connected && now >= slot.sent_at + shared.timeout => {
                Some(Indeterminate::Timeout)
            }
            Phase::Pending | Phase::Unanswered => None,
        };
        let at = u32::try_from(index).unwrap_or_default();
        if let Some(why) = outcome {
            ended.extend(state.end(at, E::unanswered(why)));
        }
        let slot = &state.slots[index];
        match slot.release_at {
            Some(release_at) if now >= release_at && slot.phase == Phase::Unanswered && (quiet || !gone) => {
                shared.release(state, at);
            }
            None => fence_due |= gone || slot.phase == Phase::Unanswered,
            _ => {}
        }
    }
    if !(fence_due && connected && state.fence.is_none()) {
        return None;
    }
    let number = state.next_fence;
    state.next_fence += 1;
    state.fence = Some(Fence { number, sent_at: now, connects });
    let mut repeat = Vec::new();
    for (index, slot) in state.slots.iter_mut().enumerate() {
        let lost = slot.phase == Phase::Pending && slot.connects < connects && slot.release_at.is_none();
        if let Some(copy) = slot.copy.as_deref().filter(|_| lost) {
            let index = u32::try_from(index).unwrap_or_default();
            repeat.push((copy.clone(), shared.reply_subject(index, slot.generation)));
            // It is sent anew: its time runs from now, on this connection.
            (slot.connects, slot.sent_at) = (connects, now);
            state.totals.repeated += 1;
        }
    }
    Some(FenceWork { number, repeat })
}

async fn send_fence<E: Exchange>(shared: Arc<Shared<E>>, work: FenceWork) {
    // A failure here means that the client is closed, which the driver sees at the subscription's end.
    for (message, reply) in work.repeat {
        if shared.hand_over(message, reply).await.is_err() {
            return;
        }
    }
    let _ = shared.client.publish(format!("{}.fence-{}", shared.inbox, work.number), Bytes::new()).await;
}

fn end_all<E: Exchange>(
    shared: &Shared<E>,
    state: &mut State<E>,
    why: Indeterminate,
    ended: &mut Vec<(u64, E::Outcome)>,
) {
    for index in 0..shared.window {
        let at = u32::try_from(index).unwrap_or_default();
        if state.slots[index].phase == Phase::Pending {
            ended.extend(state.end(at, E::unanswered(why)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_slot_and_generation() {
        assert_eq!(parse_token(b"000000010002"), Some((2, 1)));
        assert_eq!(parse_token(b"ffffffffffff"), Some((0xffff, u32::MAX)));
        assert_eq!(parse_token(b"00000001000"), None);
        assert_eq!(parse_token(b"00000001000g"), None);
    }
}
