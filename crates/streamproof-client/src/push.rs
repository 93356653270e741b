//! A push consumer: the server sends to a subject, and this listens there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::answers::Answers;
use crate::consumer::{API_PREFIX, Named, QUIET, finish};
use crate::delivery::{AckPolicy, Delivery};
use crate::error::{ConsumeError, PublishError};
use crate::metrics::ConsumerTotals;

/// After so long without a message the consumer is looked up: the server tells nobody when a push consumer is deleted.
const IDLE: Duration = Duration::from_secs(2);

/// How long a drain takes in what the server goes on sending.
const TAKING_IN: Duration = Duration::from_secs(1);

/// A push consumer that exists on the server. What it is sent and has not taken is bounded by the consumer's
/// `max_ack_pending`, or by its `flow_control` where nothing is acked; keep both below the subscription's capacity.
///
/// ```no_run
/// # async fn f(client: streamproof_client::async_nats::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use streamproof_client::ClientExt;
/// let mut consumer = client.push_consumer("ORDERS", "billing").await?;
/// for _ in 0..100 {
///     let delivery = consumer.next().await?;
///     match delivery.payload().is_empty() {
///         true => delivery.nak(Some(Duration::from_secs(1))).await?,
///         false => delivery.ack().await?,
///     }
/// }
/// consumer.drain().await?;
/// # Ok(()) }
/// ```
pub struct PushConsumer {
    client: Client,
    named: Named,
    messages: Subscriber,
    answers: Arc<Answers>,
}

impl PushConsumer {
    /// Looks the consumer up and subscribes to its deliver subject, in its deliver group where it has one.
    #[tracing::instrument(level = "debug", skip(client))]
    pub async fn new(client: Client, stream: &str, consumer: &str) -> Result<Self, ConsumeError> {
        let named = Named { api_prefix: API_PREFIX.into(), stream: stream.into(), consumer: consumer.into() };
        let config = named.config(&client).await?;
        let Some(subject) = config.deliver_subject.clone() else {
            return Err(named.wrong_kind("pull", "push"));
        };
        let subscribed = match config.deliver_group.clone() {
            Some(group) => client.queue_subscribe(subject, group).await,
            None => client.subscribe(subject).await,
        };
        let messages = subscribed.map_err(|_| ConsumeError::Closed)?;
        let answers = Answers::new(client.clone(), config.policy());
        Ok(PushConsumer { client, named, messages, answers })
    }

    /// The next message, however long it takes. After a restart the server sends on where it was. A consumer that is gone is
    /// an error, within seconds.
    pub async fn next(&mut self) -> Result<Delivery, ConsumeError> {
        loop {
            self.answers.give_back().await.map_err(|_| ConsumeError::Closed)?;
            let Ok(message) = tokio::time::timeout(IDLE, self.messages.next()).await else {
                self.named.is_there(&self.client).await?;
                continue;
            };
            let message = message.ok_or(ConsumeError::Closed)?;
            if message.status.is_none() {
                return Ok(Delivery::new(message, &self.answers));
            }
            // A flow control request, or a heartbeat that says that one was lost: the server waits for the answer.
            let stalled = message.headers.as_ref().and_then(|h| h.get("Nats-Consumer-Stalled"));
            let answer = message.reply.clone().or_else(|| stalled.map(|subject| subject.as_str().into()));
            if let Some(subject) = answer {
                self.client.publish(subject, Bytes::new()).await.map_err(|_| ConsumeError::Closed)?;
            }
        }
    }

    /// Listens no more; gives back what is there and was not handed out, and waits until the rest is answered and the server
    /// has read the answers. What the server sends unasked is taken in for a moment first.
    #[tracing::instrument(level = "debug", skip_all, fields(stream = self.named.stream, consumer = self.named.consumer))]
    pub async fn drain(mut self) -> Result<(), PublishError> {
        let mut back = Vec::new();
        // Without acks it sends no more than `max_ack_pending`; where that is unlimited, a clock is the bound.
        let begun = Instant::now();
        while self.answers.policy() != AckPolicy::None && begun.elapsed() < TAKING_IN {
            let Ok(Some(message)) = tokio::time::timeout(QUIET, self.messages.next()).await else { break };
            if message.status.is_none() {
                back.push(Delivery::new(message, &self.answers));
            }
        }
        let _ = self.messages.drain().await;
        while let Some(message) = self.messages.next().await {
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
}
