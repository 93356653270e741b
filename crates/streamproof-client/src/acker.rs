//! Double acks, many awaited at once: each is confirmed by the server, and none waits for the one before.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_nats::{Client, Message, Subject};
use tokio::sync::oneshot;

use crate::answers::Kind;
use crate::delivery::{Delivery, IN_PROGRESS};
use crate::error::{PublishError, StartError};
use crate::metrics::{Histogram, Totals};
use crate::outcome::{AckOutcome, ErrorJson, Indeterminate, status_rejection};
use crate::outgoing::Outgoing;
use crate::pipeline::{Class, Exchange, OnDisconnect, Pipeline, Settings, Sink};

/// Acks in flight at most, unless told otherwise: the server's default for `max_ack_pending`.
const DEFAULT_WINDOW: usize = 1000;

/// Waiting for a confirmation, unless told otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of an [`Acker`].
pub struct AckerOptions {
    window: usize,
    timeout: Duration,
    on_disconnect: OnDisconnect,
    sink: Option<Sink<AckOutcome>>,
}

impl Default for AckerOptions {
    fn default() -> Self {
        AckerOptions {
            window: DEFAULT_WINDOW,
            timeout: DEFAULT_TIMEOUT,
            on_disconnect: OnDisconnect::Wait,
            sink: None,
        }
    }
}

impl AckerOptions {
    /// How many acks may be in flight, 1 to [`MAX_WINDOW`](crate::MAX_WINDOW).
    #[must_use]
    pub fn window(mut self, acks: usize) -> Self {
        self.window = acks;
        self
    }

    /// After this, an ack without a confirmation ends as indeterminate.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What happens to acks while there is no connection. An ack can always be repeated without harm.
    #[must_use]
    pub fn on_disconnect(mut self, choice: OnDisconnect) -> Self {
        self.on_disconnect = choice;
        self
    }

    /// Called for the outcome of each [`post`](Acker::post), with its tag; exactly once each. It must be quick.
    #[must_use]
    pub fn on_outcome(mut self, f: impl FnMut(u64, AckOutcome) + Send + 'static) -> Self {
        self.sink = Some(Box::new(f));
        self
    }
}

/// Acks with a confirmation from the server, pipelined. Clones share the bound and the counts.
///
/// What a confirmation is worth: the consumer took the ack. On a limits stream the server writes it to disk up to
/// about a tenth of a second later, so that a crash in between delivers the message again.
///
/// ```no_run
/// # async fn f(client: streamproof_client::async_nats::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use streamproof_client::{AckerOptions, ClientExt, PullOptions};
/// let acker = client.acker(AckerOptions::default().window(500)).await?;
/// let mut consumer = client.pull_consumer("ORDERS", "billing", PullOptions::default()).await?;
/// for number in 0..10_000 {
///     acker.post(consumer.next().await?, number).await?;
/// }
/// let totals = acker.settle().await;
/// println!("{} confirmed, {} unknown", totals.acked, totals.indeterminate());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Acker {
    pipeline: Pipeline<Acks>,
}

struct Acks;

impl Exchange for Acks {
    type Outcome = AckOutcome;

    fn answered(&mut self, message: &Message) -> Option<AckOutcome> {
        #[derive(serde::Deserialize)]
        struct Refusal {
            error: ErrorJson,
        }
        Some(if let Some(rejection) = status_rejection(message) {
            AckOutcome::Rejected(rejection)
        } else if message.payload.is_empty() {
            AckOutcome::Confirmed
        } else {
            match serde_json::from_slice::<Refusal>(&message.payload) {
                Ok(refusal) => AckOutcome::Rejected(refusal.error.into()),
                Err(_) => AckOutcome::Indeterminate(Indeterminate::Unreadable),
            }
        })
    }

    fn unanswered(why: Indeterminate) -> AckOutcome {
        AckOutcome::Indeterminate(why)
    }

    fn class(outcome: &AckOutcome) -> Class {
        match outcome {
            AckOutcome::Confirmed => Class::Acked { duplicate: false },
            AckOutcome::Rejected(_) => Class::Rejected,
            AckOutcome::Indeterminate(why) => Class::Unknown(*why),
        }
    }

    fn probe(&self, used: Subject) -> Outgoing {
        Outgoing::new(used, IN_PROGRESS)
    }

    fn may_repeat(_: &Outgoing) -> bool {
        true
    }
}

impl Acker {
    /// Starts one. It serves the deliveries of any consumer on the same account.
    #[tracing::instrument(level = "debug", skip_all, fields(window = options.window))]
    pub async fn new(client: Client, options: AckerOptions) -> Result<Self, StartError> {
        let settings = Settings {
            window: options.window,
            timeout: options.timeout,
            on_disconnect: options.on_disconnect,
            // Only the consumer itself listens on the subjects of its acks.
            one_answer: true,
        };
        Ok(Acker { pipeline: Pipeline::start(client, settings, Acks, options.sink).await? })
    }

    /// Waits for room, sends the ack, and gives a future of the confirmation.
    pub async fn ack(&self, delivery: Delivery) -> Result<AckFuture, PublishError> {
        let (sender, receiver) = oneshot::channel();
        self.send(delivery, 0, Some(sender)).await?;
        Ok(AckFuture(receiver))
    }

    /// Waits for room and sends the ack; its outcome is counted, and given to
    /// [`on_outcome`](AckerOptions::on_outcome) together with `tag`.
    pub async fn post(&self, delivery: Delivery, tag: u64) -> Result<(), PublishError> {
        self.send(delivery, tag, None).await
    }

    async fn send(
        &self,
        mut delivery: Delivery,
        tag: u64,
        waiter: Option<oneshot::Sender<AckOutcome>>,
    ) -> Result<(), PublishError> {
        let (subject, payload) = delivery.ack_request()?;
        self.pipeline.send(Outgoing::new(subject, payload), tag, waiter).await?;
        delivery.close(Kind::Acked);
        Ok(())
    }

    /// Waits until no ack is without an outcome. While others go on acking, that may be never.
    pub async fn settle(&self) -> Totals {
        self.pipeline.settle().await
    }

    /// Counts by outcome, as of now; `acked` are the confirmed ones.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.pipeline.totals()
    }

    /// Time from the ack to its confirmation.
    #[must_use]
    pub fn latency(&self) -> Histogram {
        self.pipeline.latency()
    }
}

/// The confirmation of one ack, when it is there.
#[derive(Debug)]
pub struct AckFuture(oneshot::Receiver<AckOutcome>);

impl Future for AckFuture {
    type Output = AckOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<AckOutcome> {
        Poll::Ready(
            ready!(Pin::new(&mut self.0).poll(cx))
                .unwrap_or(AckOutcome::Indeterminate(Indeterminate::Closed)),
        )
    }
}
