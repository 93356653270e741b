//! Publishing with an answer for each message.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_nats::{Client, Message, Subject};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::{PublishError, StartError};
use crate::metrics::{Histogram, Totals};
use crate::outcome::{AckReader, Indeterminate, Outcome};
use crate::outgoing::Outgoing;
use crate::pipeline::{Class, Exchange, OnDisconnect, Pipeline, Settings, Sink};

/// In flight at most, unless told otherwise. At this size a local server is busy all the time; more only adds latency.
const DEFAULT_WINDOW: usize = 4096;

/// Waiting for an ack, unless told otherwise: the default of the NATS clients.
const DEFAULT_ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of a [`Publisher`].
pub struct PublisherOptions {
    window: usize,
    ack_timeout: Duration,
    on_disconnect: OnDisconnect,
    stream: Option<String>,
    sink: Option<Sink<Outcome>>,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        PublisherOptions {
            window: DEFAULT_WINDOW,
            ack_timeout: DEFAULT_ACK_TIMEOUT,
            on_disconnect: OnDisconnect::Wait,
            stream: None,
            sink: None,
        }
    }
}

impl PublisherOptions {
    /// How many messages may be in flight, 1 to [`MAX_WINDOW`](crate::MAX_WINDOW). The next publish waits. A message
    /// that ran out of time still counts until its answer can no longer come.
    #[must_use]
    pub fn window(mut self, messages: usize) -> Self {
        self.window = messages;
        self
    }

    /// After this a publish without an answer ends as indeterminate. Time without a connection is not held against
    /// it: while the server is away, nothing times out.
    #[must_use]
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.ack_timeout = timeout;
        self
    }

    /// What happens to publishes while there is no connection.
    #[must_use]
    pub fn on_disconnect(mut self, choice: OnDisconnect) -> Self {
        self.on_disconnect = choice;
        self
    }

    /// All that is published goes to this stream; what anybody else answers is passed over and counted as
    /// [`foreign`](Totals::foreign). As then only one answer counts for each message, reply subjects are used again, which
    /// spares the server a search for each: with a window of up to 500 a busy server takes about a fifth more. A message
    /// that another stream takes ends as indeterminate, by its time limit.
    #[must_use]
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = Some(name.into());
        self
    }

    /// Called for the outcome of each [`post`](Publisher::post), with its tag; exactly once each, in the order in
    /// which they are known. It runs on the task that takes in the acks: it must be quick and must not wait. Where it panics
    /// the publisher ends: what is in flight then is counted as closed, and told to nobody.
    #[must_use]
    pub fn on_outcome(mut self, f: impl FnMut(u64, Outcome) + Send + 'static) -> Self {
        self.sink = Some(Box::new(f));
        self
    }
}

/// Publishes with an ack for each message, with a hard bound on how many are in flight. Clones share the bound and
/// the counts.
///
/// Besides its subjects, the user needs the right to subscribe to `_INBOX.>`, and should have that to publish there: after a
/// timeout or a reconnect the publisher sends itself a message, to learn what the server has read. Without that right it asks
/// for the stream's description (`$JS.API.STREAM.INFO.<stream>`); and without that one as well the next message tells, which
/// takes a few seconds where the window is full of what was lost, and is one more than the window allows. Nothing is sent on
/// your subjects but what you publish.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use streamproof_client::{ClientExt, Outcome, Outgoing};
/// let client = streamproof_client::async_nats::connect("127.0.0.1:4222").await?;
/// let publisher = client.publisher(Default::default()).await?;
/// match publisher.publish(("orders.eu", "17")).await?.await {
///     Outcome::Acked(ack) => println!("stored as {}:{}", ack.stream, ack.sequence),
///     Outcome::Rejected(why) => println!("not stored: {why}"),
///     Outcome::Indeterminate(why) => println!("may be stored: {why}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Publisher {
    pipeline: Pipeline<Publishes>,
}

struct Publishes(AckReader);

impl Exchange for Publishes {
    type Outcome = Outcome;

    fn answered(&mut self, message: &Message) -> Option<Outcome> {
        self.0.read(message)
    }

    fn unanswered(why: Indeterminate) -> Outcome {
        Outcome::Indeterminate(why)
    }

    fn class(outcome: &Outcome) -> Class {
        match outcome {
            Outcome::Acked(ack) => Class::Acked { duplicate: ack.duplicate },
            Outcome::Rejected(_) => Class::Rejected,
            Outcome::Indeterminate(why) => Class::Unknown(*why),
        }
    }

    /// Asks for the stream's description: a message on the user's own subjects would be somebody's work.
    fn probe(&self, _: Subject) -> Outgoing {
        Outgoing::new(self.0.info_subject(), Bytes::new())
    }

    fn may_repeat(message: &Outgoing) -> bool {
        message.has_message_id()
    }
}

impl Publisher {
    /// Starts one on a client that is shared with whatever else uses it.
    #[tracing::instrument(level = "debug", skip_all, fields(window = options.window))]
    pub async fn new(client: Client, options: PublisherOptions) -> Result<Self, StartError> {
        let settings = Settings {
            window: options.window,
            timeout: options.ack_timeout,
            on_disconnect: options.on_disconnect,
            one_answer: options.stream.is_some(),
        };
        let publishes = Publishes(AckReader::new(options.stream));
        let pipeline = Pipeline::start(client, settings, publishes, options.sink).await?;
        Ok(Publisher { pipeline })
    }

    /// Waits for room, sends, and gives a future of the outcome. An error means that nothing was sent; so does
    /// dropping this future before it is ready. Dropping the future of the outcome does not undo the publish.
    pub async fn publish(&self, message: impl Into<Outgoing>) -> Result<OutcomeFuture, PublishError> {
        let (sender, receiver) = oneshot::channel();
        self.pipeline.send(message.into(), 0, Some(sender)).await?;
        Ok(OutcomeFuture(receiver))
    }

    /// Waits for room and sends; the outcome is counted in [`totals`](Publisher::totals), and given to
    /// [`on_outcome`](PublisherOptions::on_outcome) together with `tag`. The cheapest way.
    pub async fn post(&self, message: impl Into<Outgoing>, tag: u64) -> Result<(), PublishError> {
        self.pipeline.send(message.into(), tag, None).await
    }

    /// Waits until nothing is without an outcome. While others go on publishing, that may be never.
    pub async fn settle(&self) -> Totals {
        self.pipeline.settle().await
    }

    /// Counts by outcome, as of now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.pipeline.totals()
    }

    /// Time from being sent to the answer, of all that were answered.
    #[must_use]
    pub fn latency(&self) -> Histogram {
        self.pipeline.latency()
    }

    /// How much of the window is taken. At least what is in flight; more while answers of timed out publishes may
    /// still come.
    #[must_use]
    pub fn occupied(&self) -> usize {
        self.pipeline.occupied()
    }

    /// The client that it publishes on.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.pipeline.client()
    }
}

/// The outcome of one publish, when it is known.
#[derive(Debug)]
pub struct OutcomeFuture(oneshot::Receiver<Outcome>);

impl Future for OutcomeFuture {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        // The sender is only ever dropped with the whole runtime.
        Poll::Ready(
            ready!(Pin::new(&mut self.0).poll(cx)).unwrap_or(Outcome::Indeterminate(Indeterminate::Closed)),
        )
    }
}
