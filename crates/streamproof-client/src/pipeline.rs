//! Many requests at once over one inbox: a hard bound on what is in flight, and exactly one outcome for each.

mod driver;
mod slots;
mod token;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::connection::State as ConnectionState;
use async_nats::{Client, Message, Statistics, Subject};
use tokio::sync::{Notify, Semaphore, oneshot};
use tracing::Instrument;

use crate::error::{PublishError, StartError};
use crate::metrics::{Histogram, Totals};
use crate::outcome::Indeterminate;
use crate::outgoing::Outgoing;
use slots::{Now, Slots};
use token::Token;

/// The largest window: the capacity that async-nats gives a subscription by default. With more in flight, answers
/// could be dropped on their way in.
pub const MAX_WINDOW: usize = 65_536;

/// A hundred years: a longer time means the same, and neither a clock nor the server's nanoseconds in 63 bits can be moved by it.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What to do with that which is in flight, and with what is published, while there is no connection.
///
/// ```no_run
/// # async fn f(client: streamproof_client::async_nats::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use streamproof_client::{ClientExt, OnDisconnect, Outgoing, PublisherOptions};
/// let options = PublisherOptions::default().on_disconnect(OnDisconnect::Repeat);
/// let publisher = client.publisher(options).await?;
/// // With an id it is sent again after a reconnect, and stored once.
/// let order = Outgoing::new("orders.eu", "17").message_id("order-17");
/// println!("{}", publisher.publish(order).await?.await);
/// # Ok(()) }
/// ```
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
    /// What an answer says. `None` where it is not from the one who was asked: it is passed over, then.
    fn answered(&mut self, message: &Message) -> Option<Self::Outcome>;
    fn unanswered(why: Indeterminate) -> Self::Outcome;
    fn class(outcome: &Self::Outcome) -> Class;
    /// A request that is answered, if it is allowed, and changes nothing. `used` was the subject of a request.
    fn probe(&self, used: Subject) -> Outgoing;
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
    /// The exchange lets only one answer to each request through, so that reply subjects can be used again. nats-server
    /// looks up who listens on a subject in caches of 512 and 1024 subjects (client.go, `maxResultCacheSize`; sublist.go,
    /// `slCacheMax`): subjects that come again are found there, new ones are a search and an entry each.
    pub(crate) one_answer: bool,
}

pub(crate) struct Pipeline<E: Exchange> {
    shared: Arc<Shared<E>>,
}

struct Shared<E: Exchange> {
    client: Client,
    statistics: Arc<Statistics>,
    inbox: String,
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
    slots: Slots<E>,
    /// One that was used.
    subject: Option<Subject>,
    handles: usize,
    closed: bool,
    /// The driver has ended: nothing more gets an outcome.
    over: bool,
    /// Outcomes are counted that the sink has not been told yet.
    telling: bool,
}

/// A slot taken, before its message is handed over. Dropped before that, it is as if it had never been.
struct Ticket<'a, E: Exchange> {
    shared: &'a Shared<E>,
    token: Token,
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
        let slots = Slots::new(&settings, exchange, Instant::now());
        let shared = Arc::new(Shared {
            statistics: client.statistics(),
            client,
            inbox,
            on_disconnect: settings.on_disconnect,
            free_slots: Semaphore::new(window),
            window,
            state: Mutex::new(State {
                slots,
                subject: None,
                handles: 1,
                closed: false,
                over: false,
                telling: false,
            }),
            idle: Notify::new(),
            wake: Notify::new(),
        });
        let span = tracing::debug_span!("pipeline", inbox = shared.inbox, window);
        tokio::spawn(driver::drive(shared.clone(), answers, sink).instrument(span));
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
        message.check(&shared.client)?;
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
        let mut ticket = shared.take(tag, waiter, copy, &message.subject)?;
        let reply = ticket.token.reply_subject(&shared.inbox);
        let handed_over = shared.hand_over(message, reply).await;
        // One that was given an outcome while it waited keeps it.
        ticket.sent = handed_over.is_ok() || !shared.lock().slots.is_pending(ticket.token);
        if ticket.sent { Ok(()) } else { handed_over }
    }

    /// Waits until nothing is without an outcome.
    pub(crate) async fn settle(&self) -> Totals {
        loop {
            let changed = self.shared.idle.notified();
            {
                let state = self.shared.lock();
                if state.slots.totals.in_flight == 0 && !state.telling {
                    return state.slots.totals.clone();
                }
            }
            changed.await;
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.shared.lock().slots.totals.clone()
    }

    pub(crate) fn latency(&self) -> Histogram {
        self.shared.lock().slots.latency.clone()
    }

    /// Slots that are taken: in flight, and those whose outcome is known but whose answer may still come.
    pub(crate) fn occupied(&self) -> usize {
        self.shared.lock().slots.occupied()
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

    fn now(&self) -> Now {
        Now {
            time: Instant::now(),
            connects: self.connects(),
            connected: self.connected(),
            heard_bytes: self.statistics.in_bytes.load(Ordering::Relaxed),
        }
    }

    fn connects(&self) -> u64 {
        self.statistics.connects.load(Ordering::Relaxed)
    }

    fn take(
        &self,
        tag: u64,
        waiter: Option<oneshot::Sender<E::Outcome>>,
        copy: Option<Box<Outgoing>>,
        subject: &Subject,
    ) -> Result<Ticket<'_, E>, PublishError> {
        let (time, connects) = (Instant::now(), self.connects());
        let mut state = self.lock();
        if state.over {
            return Err(PublishError::Closed);
        }
        let first = state.slots.totals.in_flight == 0;
        if first {
            state.subject = Some(subject.clone());
        }
        let taken = state.slots.take(time, connects, tag, waiter, copy);
        drop(state);
        // A permit was taken, and there is a free slot for each permit.
        debug_assert!(taken.is_some());
        let token = taken.ok_or(PublishError::Closed)?;
        if first {
            self.wake.notify_one();
        }
        Ok(Ticket { shared: self, token, sent: false })
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

    /// Gives the freed slots out: at once where little is in flight, else an eighth of the window at a time, since
    /// waking a publisher for each single slot costs more than the publish.
    fn hand_out(&self, state: &mut State<E>) {
        let freed = state.slots.freed;
        let in_flight = usize::try_from(state.slots.totals.in_flight).unwrap_or(usize::MAX);
        if freed > 0 && (freed >= self.window / 8 || in_flight <= self.window / 2) {
            self.free_slots.add_permits(freed);
            state.slots.freed = 0;
        }
    }
}

impl<E: Exchange> Drop for Ticket<'_, E> {
    fn drop(&mut self) {
        if self.sent {
            return;
        }
        let mut state = self.shared.lock();
        if state.slots.undo(self.token) {
            self.shared.hand_out(&mut state);
            drop(state);
            self.shared.idle.notify_waiters();
        }
    }
}
