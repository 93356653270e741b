//! A batch that is fast where the server and the stream can, and an ack for each message where not, with the reason.

use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Client;

use crate::error::{PublishError, StartError};
use crate::fast_batch::{AddError, BatchFailure, BatchReport, FastBatch, FastBatchOptions};
use crate::outcome::{Outcome, PubAck, Rejection};
use crate::outgoing::Outgoing;
use crate::publisher::{Publisher, PublisherOptions};

/// JSBatchPublishDisabledErr: the stream lacks `allow_batched`.
const BATCH_PUBLISH_DISABLED: u64 = 10_205;

/// Why a [`Batch`] is not a fast one.
#[derive(Debug, thiserror::Error)]
pub enum Fallback {
    /// The server does not know fast batches.
    #[error(transparent)]
    Server(StartError),
    /// The stream does not allow them.
    #[error("the stream does not take fast batches; it needs allow_batched: {0}")]
    Stream(Rejection),
    /// This server knows them, but not the one that has the stream, behind a leaf or in the same cluster.
    #[error("{0}")]
    Elsewhere(BatchFailure),
}

/// As [`FastBatch`], and on a server before 2.14 or a stream without `allow_batched` an ack for each message instead.
///
/// ```no_run
/// # async fn f(client: streamproof_client::async_nats::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use streamproof_client::Batch;
/// let mut batch = Batch::begin(client, Default::default()).await?;
/// for n in 0..10_000 {
///     batch.add(("orders.eu", n.to_string())).await?;
/// }
/// if let Some(why) = batch.fallback() {
///     println!("an ack for each: {why}");
/// }
/// println!("{:?}", batch.commit().await);
/// # Ok(()) }
/// ```
pub struct Batch {
    client: Client,
    options: FastBatchOptions,
    way: Way,
    fallback: Option<Fallback>,
}

enum Way {
    Fast(Box<FastBatch>),
    /// `before` are stored and not the publisher's.
    Each {
        publisher: Publisher,
        seen: Arc<Mutex<Seen>>,
        before: u64,
    },
}

/// What the report needs of the outcomes.
#[derive(Default)]
struct Seen {
    last: Option<PubAck>,
    failure: Option<BatchFailure>,
}

impl Batch {
    /// Begins one.
    ///
    /// # Errors
    /// [`StartError`], but not for a server that is too old.
    pub async fn begin(client: Client, options: FastBatchOptions) -> Result<Self, StartError> {
        let (way, fallback) = match FastBatch::begin(client.clone(), options.clone()).await {
            Ok(fast) => (Way::Fast(Box::new(fast)), None),
            Err(old @ StartError::ServerTooOld { .. }) => {
                tracing::info!(why = %old, "an ack for each message");
                (each(&client, &options, Seen::default(), 0).await?, Some(Fallback::Server(old)))
            }
            Err(other) => return Err(other),
        };
        Ok(Batch { client, options, way, fallback })
    }

    /// Why it is not a fast one. Known with the first message at the latest.
    #[must_use]
    pub fn fallback(&self) -> Option<&Fallback> {
        self.fallback.as_ref()
    }

    /// Sends one more; waits while as much is in flight as may be.
    ///
    /// # Errors
    /// [`AddError`]: this message was not sent. Without fast batches there is no end before the commit.
    pub async fn add(&mut self, message: impl Into<Outgoing>) -> Result<(), AddError> {
        let message = message.into();
        if let Way::Fast(fast) = &mut self.way {
            let first = fast.sent() == 0;
            let copy = first.then(|| message.clone());
            fast.add(message).await?;
            if let Some(ack) = fast.single().cloned() {
                let why = BatchFailure::Unknown;
                tracing::info!(%why, "an ack for each message");
                let seen = Seen { last: Some(ack), failure: None };
                let way = each(&self.client, &self.options, seen, 1).await;
                (self.way, self.fallback) =
                    (way.map_err(|_| PublishError::Closed)?, Some(Fallback::Elsewhere(why)));
                return Ok(());
            }
            let Some(Rejection { err_code: BATCH_PUBLISH_DISABLED, .. }) = fast.refusal() else {
                return Ok(());
            };
            let (Some(message), Some(refusal)) = (copy, fast.refusal().cloned()) else { return Ok(()) };
            // It was refused, so that it is not stored: it goes the other way.
            tracing::info!(why = %refusal, "an ack for each message");
            let way = each(&self.client, &self.options, Seen::default(), 0)
                .await
                .map_err(|_| PublishError::Closed)?;
            (self.way, self.fallback) = (way, Some(Fallback::Stream(refusal)));
            return self.post(message).await;
        }
        self.post(message).await
    }

    async fn post(&self, message: Outgoing) -> Result<(), AddError> {
        match &self.way {
            Way::Each { publisher, .. } => Ok(publisher.post(message, 0).await?),
            Way::Fast(_) => Ok(()),
        }
    }

    /// Ends it, and accounts for every message. With an ack for each, the refused ones may be anywhere in it, and
    /// `failure` is the first that was not an ack.
    pub async fn commit(self) -> BatchReport {
        match self.way {
            Way::Fast(fast) => fast.commit().await,
            Way::Each { publisher, seen, before } => {
                let totals = publisher.settle().await;
                let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
                let whole = totals.acked == totals.sent;
                BatchReport {
                    last_sequence: seen.last.as_ref().map(|ack| ack.sequence).filter(|_| whole),
                    stream: seen.last.map(|ack| ack.stream),
                    sent: totals.sent + before,
                    stored: totals.acked + before,
                    rejected: totals.rejected,
                    indeterminate: totals.indeterminate(),
                    failure: seen.failure,
                }
            }
        }
    }
}

async fn each(
    client: &Client,
    options: &FastBatchOptions,
    seen: Seen,
    before: u64,
) -> Result<Way, StartError> {
    let seen = Arc::new(Mutex::new(seen));
    let sink = seen.clone();
    let options = PublisherOptions::default()
        .window(options.in_flight())
        .ack_timeout(options.ack_timeout())
        .on_outcome(move |_, outcome| sink.lock().unwrap_or_else(PoisonError::into_inner).hear(outcome));
    let publisher = Publisher::new(client.clone(), options).await?;
    Ok(Way::Each { publisher, seen, before })
}

impl Seen {
    fn hear(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Acked(ack) => self.last = Some(ack),
            Outcome::Rejected(why) => _ = self.failure.get_or_insert(BatchFailure::Rejected(why)),
            Outcome::Indeterminate(why) => _ = self.failure.get_or_insert(BatchFailure::Indeterminate(why)),
        }
    }
}
