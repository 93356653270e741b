//! A push consumer: the server sends to a subject, and this listens there.

use std::sync::Arc;

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::consumer::{API_PREFIX, Named, all_answered};
use crate::delivery::{AckPolicy, Answers, Delivery};
use crate::error::{ConsumeError, PublishError};

/// A push consumer that exists on the server. What it is sent and has not taken is bounded by the consumer's
/// `max_ack_pending`, or by its `flow_control` where nothing is acked; keep both below the subscription's capacity.
pub struct PushConsumer {
    client: Client,
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
        Ok(PushConsumer { client, messages, answers })
    }

    /// The next message, however long it takes. After a restart the server sends on where it was.
    pub async fn next(&mut self) -> Result<Delivery, ConsumeError> {
        loop {
            self.answers.give_back().await.map_err(|_| ConsumeError::Closed)?;
            let message = self.messages.next().await.ok_or(ConsumeError::Closed)?;
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

    /// Listens no more; gives back what is there and was not handed out, and waits until the rest is answered.
    pub async fn drain(mut self) -> Result<(), PublishError> {
        let _ = self.messages.drain().await;
        while let Some(message) = self.messages.next().await {
            if message.status.is_none() {
                drop(Delivery::new(message, &self.answers));
            }
        }
        all_answered(&self.answers).await?;
        self.client.flush().await.map_err(|_| PublishError::Closed)
    }

    /// Handed out and not answered yet. Only counted with [`AckPolicy::Explicit`].
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.answers.open()
    }

    /// How this consumer wants its messages answered.
    #[must_use]
    pub fn ack_policy(&self) -> AckPolicy {
        self.answers.policy()
    }
}
