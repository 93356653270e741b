//! The same, as methods on the client that the caller has already.

use std::future::Future;

use async_nats::Client;
use async_nats::jetstream::Context;

use crate::acker::{Acker, AckerOptions};
use crate::error::{ConsumeError, StartError};
use crate::publisher::{Publisher, PublisherOptions};
use crate::pull::{PullConsumer, PullOptions};
use crate::push::PushConsumer;

/// What this crate adds to [`async_nats::Client`] and [`async_nats::jetstream::Context`].
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use streamproof_client::async_nats::{self, jetstream};
/// use streamproof_client::{ClientExt, PublisherOptions};
/// // The context that the rest of the program has anyway.
/// let js = jetstream::new(async_nats::connect("127.0.0.1:4222").await?);
/// let publisher = js.publisher(PublisherOptions::default()).await?;
/// publisher.post(("orders.eu", "17"), 17).await?;
/// println!("{:?}", publisher.settle().await);
/// # Ok(()) }
/// ```
pub trait ClientExt {
    /// The connection that all of these use.
    fn connection(&self) -> Client;

    /// A [`Publisher`] on this connection.
    fn publisher(
        &self,
        options: PublisherOptions,
    ) -> impl Future<Output = Result<Publisher, StartError>> + Send {
        Publisher::new(self.connection(), options)
    }

    /// An [`Acker`] on this connection, for double acks.
    fn acker(&self, options: AckerOptions) -> impl Future<Output = Result<Acker, StartError>> + Send {
        Acker::new(self.connection(), options)
    }

    /// A [`PullConsumer`] that exists on the server.
    fn pull_consumer(
        &self,
        stream: &str,
        consumer: &str,
        options: PullOptions,
    ) -> impl Future<Output = Result<PullConsumer, ConsumeError>> + Send {
        PullConsumer::new(self.connection(), stream, consumer, options)
    }

    /// A [`PushConsumer`] that exists on the server.
    fn push_consumer(
        &self,
        stream: &str,
        consumer: &str,
    ) -> impl Future<Output = Result<PushConsumer, ConsumeError>> + Send {
        PushConsumer::new(self.connection(), stream, consumer)
    }
}

impl ClientExt for Client {
    fn connection(&self) -> Client {
        self.clone()
    }
}

impl ClientExt for Context {
    fn connection(&self) -> Client {
        self.client()
    }
}
