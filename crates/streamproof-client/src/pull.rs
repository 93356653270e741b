//! A pull consumer: asks ahead, never for more than a bound, and asks again after whatever cut it off.

mod options;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_nats::connection::State as ConnectionState;
use async_nats::{Client, Message, Subject, Subscriber};
use futures_util::Stream;

use crate::answers::Answers;
use crate::consumer::{Named, QUIET, finish};
use crate::delivery::{AckPolicy, Delivery};
use crate::error::{ConsumeError, PublishError};
use crate::metrics::ConsumerTotals;
use crate::pipeline::LONGEST;

pub use options::PullOptions;

/// The most that can be asked for: half of what async-nats keeps for a subscription, so that an overlap after a
/// reconnect has room too.
pub const MAX_BATCH: usize = 32_768;

/// While nothing comes: how often the connection and the heartbeat are looked at.
const TICK: Duration = Duration::from_millis(50);

/// After a refusal that waiting may mend (no responders while the server starts): the pause before asking again.
const RETRY: Duration = Duration::from_millis(100);

/// A durable or ephemeral pull consumer that exists on the server.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use streamproof_client::{ClientExt, PullOptions};
/// let client = streamproof_client::async_nats::connect("127.0.0.1:4222").await?;
/// let mut consumer = client.pull_consumer("ORDERS", "billing", PullOptions::default()).await?;
/// for _ in 0..100 {
///     let delivery = consumer.next().await?;
///     println!("{:?}", delivery.metadata());
///     delivery.ack().await?;
/// }
/// // What was asked for and is not needed any more goes back to the server at once.
/// consumer.drain().await?;
/// # Ok(()) }
/// ```
pub struct PullConsumer {
    client: Client,
    named: Named,
    options: PullOptions,
    inbox: Subject,
    next_subject: Subject,
    messages: Subscriber,
    answers: Arc<Answers>,
    /// What the server may still send for the requests that are open.
    requested: usize,
    connects: u64,
    last_seen: Instant,
    retry_at: Option<Instant>,
    refusals: u32,
}

/// What one message of the subscription was.
enum Event {
    Delivery(Delivery),
    /// A status; the numbers are up to date.
    Status,
}

impl PullConsumer {
    /// Looks the consumer up and subscribes. It asks for nothing until the first `next`.
    #[tracing::instrument(level = "debug", skip(client, options))]
    pub async fn new(
        client: Client,
        stream: &str,
        consumer: &str,
        options: PullOptions,
    ) -> Result<Self, ConsumeError> {
        if options.batch == 0 || options.batch > MAX_BATCH {
            return Err(ConsumeError::Bound { what: "a batch", asked: options.batch, most: MAX_BATCH });
        }
        let named = Named {
            api_prefix: options.api_prefix.clone(),
            stream: stream.into(),
            consumer: consumer.into(),
        };
        let config = named.config(&client).await?;
        if config.deliver_subject.is_some() {
            return Err(named.wrong_kind("push", "pull"));
        }
        let inbox = client.new_inbox();
        let messages = client.subscribe(inbox.clone()).await.map_err(|_| ConsumeError::Closed)?;
        let next_subject = format!("{}.CONSUMER.MSG.NEXT.{stream}.{consumer}", options.api_prefix);
        Ok(PullConsumer {
            named,
            options,
            inbox: inbox.into(),
            next_subject: next_subject.into(),
            messages,
            answers: Answers::new(client.clone(), config.policy()),
            requested: 0,
            connects: connects(&client),
            last_seen: Instant::now(),
            retry_at: None,
            refusals: 0,
            client,
        })
    }

    /// The next message, however long it takes. Restarts and lost connections are waited out. May be dropped while
    /// it waits: no message is lost with it.
    pub async fn next(&mut self) -> Result<Delivery, ConsumeError> {
        loop {
            self.ask_ahead().await?;
            if let Some(message) = self.message_within(TICK).await?
                && let Event::Delivery(delivery) = self.take_in(message)?
            {
                return Ok(delivery);
            }
            self.check_connection();
        }
    }

    /// Waits for at least one message, and gives all that are there already, at most `most`.
    pub async fn next_many(&mut self, most: usize) -> Result<Vec<Delivery>, ConsumeError> {
        let mut got = Vec::with_capacity(most.min(self.options.batch));
        got.push(self.next().await?);
        while got.len() < most {
            let Some(message) = self.message_now().await else { break };
            match self.take_in(message) {
                Ok(Event::Delivery(delivery)) => got.push(delivery),
                Ok(Event::Status) => {}
                Err(error) => {
                    // The caller gets what it has; the error comes again, since what made it has not gone away.
                    tracing::debug!(%error, "while taking what was there");
                    break;
                }
            }
        }
        Ok(got)
    }

    /// One request: gives what comes until there are `most`, or the time is over. Asks for nothing ahead.
    pub async fn fetch(&mut self, most: usize, within: Duration) -> Result<Vec<Delivery>, ConsumeError> {
        let most = most.min(MAX_BATCH);
        let until = Instant::now() + within.min(LONGEST);
        let mut got: Vec<Delivery> = Vec::with_capacity(most);
        while got.len() < most {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let wanted = most - got.len();
            self.answers.give_back().await.map_err(|_| ConsumeError::Closed)?;
            if self.requested == 0 && self.may_ask() {
                // Without an answer there is nothing to conclude, and the time is the caller's.
                if let Ok(Err(gone)) = tokio::time::timeout(left, self.look()).await
                    && got.is_empty()
                {
                    return Err(gone);
                }
                self.request(wanted, left).await?;
            }
            if let Some(message) = self.message_within(left.min(TICK)).await? {
                match self.take_in(message) {
                    Ok(Event::Delivery(delivery)) => got.push(delivery),
                    Ok(Event::Status) => {}
                    // What is at hand is handed out first.
                    Err(error) if got.is_empty() => return Err(error),
                    Err(_) => break,
                }
            }
            self.check_connection();
        }
        Ok(got)
    }

    /// Asks for no more, and gives what is there already back to the server; then waits until everything that was
    /// handed out is answered, and until the server has read the answers.
    ///
    /// What is still asked for is taken in first, as far as the server has it: a message that it sends in the very moment
    /// in which the subscription ends is lost on the way, and comes again after `ack_wait`.
    #[tracing::instrument(level = "debug", skip_all, fields(stream = self.named.stream, consumer = self.named.consumer))]
    pub async fn drain(mut self) -> Result<(), PublishError> {
        let mut back = Vec::new();
        while self.requested > 0 && self.policy_asks() {
            let Ok(Some(message)) = self.message_within(QUIET).await else { break };
            match self.take_in(message) {
                Ok(Event::Delivery(delivery)) => back.push(delivery),
                Ok(Event::Status) => {}
                Err(_) => break,
            }
        }
        let _ = self.messages.drain().await;
        while let Some(message) = poll_fn(|cx| Pin::new(&mut self.messages).poll_next(cx)).await {
            if message.status.is_none() {
                drop(Delivery::new(message, &self.answers));
            }
        }
        drop(back);
        finish(&self.named, &self.answers).await
    }

    /// What was handed out, and what became of it.
    #[must_use]
    pub fn totals(&self) -> ConsumerTotals {
        self.answers.totals()
    }

    /// How this consumer wants its messages answered.
    #[must_use]
    pub fn ack_policy(&self) -> AckPolicy {
        self.answers.policy()
    }

    fn policy_asks(&self) -> bool {
        self.answers.policy() != AckPolicy::None
    }

    fn may_ask(&self) -> bool {
        self.retry_at.is_none_or(|at| Instant::now() >= at)
            && self.client.connection_state() == ConnectionState::Connected
    }

    async fn ask_ahead(&mut self) -> Result<(), ConsumeError> {
        self.answers.give_back().await.map_err(|_| ConsumeError::Closed)?;
        if self.requested <= self.options.batch / 2 && self.may_ask() {
            self.look().await?;
            let more = self.options.batch - self.requested;
            self.request(more, self.options.expires).await?;
        }
        Ok(())
    }

    /// After some refusals in a row: whether the consumer is still there.
    async fn look(&mut self) -> Result<(), ConsumeError> {
        if self.refusals >= REFUSALS_BEFORE_LOOKING {
            self.refusals = 0;
            self.named.is_there(&self.client).await?;
        }
        Ok(())
    }

    async fn request(&mut self, batch: usize, expires: Duration) -> Result<(), ConsumeError> {
        let heartbeat = self.options.heartbeat.min(expires / 2);
        let mut body = format!("{{\"batch\":{batch},\"expires\":{}", expires.as_nanos());
        // The server wants at least a tenth of a second between heartbeats; a request that short needs none.
        if heartbeat >= Duration::from_millis(100) {
            body.push_str(&format!(",\"idle_heartbeat\":{}", heartbeat.as_nanos()));
        }
        if let Some(bytes) = self.options.max_bytes {
            body.push_str(&format!(",\"max_bytes\":{bytes}"));
        }
        body.push('}');
        self.client
            .publish_with_reply(self.next_subject.clone(), self.inbox.clone(), body.into())
            .await
            .map_err(|_| ConsumeError::Closed)?;
        self.requested += batch;
        self.last_seen = Instant::now();
        self.retry_at = None;
        Ok(())
    }

    async fn message_within(&mut self, wait: Duration) -> Result<Option<Message>, ConsumeError> {
        if let Some(message) = self.message_now().await {
            return Ok(Some(message));
        }
        let next = poll_fn(|cx| Pin::new(&mut self.messages).poll_next(cx));
        match tokio::time::timeout(wait, next).await {
            Ok(Some(message)) => Ok(Some(message)),
            Ok(None) => Err(ConsumeError::Closed),
            Err(_) => Ok(None),
        }
    }

    async fn message_now(&mut self) -> Option<Message> {
        poll_fn(|cx| match Pin::new(&mut self.messages).poll_next(cx) {
            Poll::Ready(message) => Poll::Ready(message),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn check_connection(&mut self) {
        let connects = connects(&self.client);
        let silent = self.last_seen.elapsed() > 2 * self.options.heartbeat + TICK;
        if connects != self.connects || (silent && self.requested > 0) {
            tracing::debug!(
                stream = self.named.stream,
                consumer = self.named.consumer,
                silent,
                "asking again"
            );
            self.connects = connects;
            self.requested = 0;
            self.last_seen = Instant::now();
        }
    }

    fn take_in(&mut self, message: Message) -> Result<Event, ConsumeError> {
        let Some(status) = message.status else {
            self.requested = self.requested.saturating_sub(1);
            self.refusals = 0;
            if self.requested <= self.options.batch / 2 {
                self.last_seen = Instant::now();
            }
            return Ok(Event::Delivery(Delivery::new(message, &self.answers)));
        };
        self.last_seen = Instant::now();
        let text = message.description.clone().unwrap_or_default();
        let lower = text.to_ascii_lowercase();
        match status.as_u16() {
            100 => {}
            409 if lower.contains("consumer deleted") => return Err(self.named.gone(text)),
            409 if lower.contains("push based") => return Err(self.named.wrong_kind("push", "pull")),
            409 if lower.contains("exceeded maxrequest") => return Err(ConsumeError::Refused { text }),
            400 => return Err(ConsumeError::Refused { text }),
            404 | 408 | 409 if self.left_of_request(&message) => {}
            // No responders, a new leader, a shutdown, too many waiting: ask again in a while.
            _ => {
                self.requested = 0;
                self.refusals += 1;
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
        Ok(Event::Status)
    }

    /// A request ended early, and the status says how much of it was left.
    fn left_of_request(&mut self, message: &Message) -> bool {
        let left = message.headers.as_ref().and_then(|h| h.get("Nats-Pending-Messages"));
        match left.and_then(|left| left.as_str().parse::<usize>().ok()) {
            Some(left) => {
                self.requested = self.requested.saturating_sub(left);
                true
            }
            None => false,
        }
    }
}

/// Refusals in a row after which the consumer is looked up again.
const REFUSALS_BEFORE_LOOKING: u32 = 3;

fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}
