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
pub trait ClientExt {
    /// A [`Publisher`] on this connection.
    fn publisher(
        &self,
        options: PublisherOptions,
    ) -> impl Future<Output = Result<Publisher, StartError>> + Send;

    /// An [`Acker`] on this connection, for double acks.
    fn acker(&self, options: AckerOptions) -> impl Future<Output = Result<Acker, StartError>> + Send;

    /// A [`PullConsumer`] that exists on the server.
    fn pull_consumer(
        &self,
        stream: &str,
        consumer: &str,
        options: PullOptions,
    ) -> impl Future<Output = Result<PullConsumer, ConsumeError>> + Send;

    /// A [`PushConsumer`] that exists on the server.
    fn push_consumer(
        &self,
        stream: &str,
        consumer: &str,
    ) -> impl Future<Output = Result<PushConsumer, ConsumeError>> + Send;
}

impl ClientExt for Client {
    fn publisher(
        &self,
        options: PublisherOptions,
    ) -> impl Future<Output = Result<Publisher, StartError>> + Send {
        Publisher::new(self.clone(), options)
    }

    fn acker(&self, options: AckerOptions) -> impl Future<Output = Result<Acker, StartError>> + Send {
        Acker::new(self.clone(), options)
    }

    fn pull_consumer(
        &self,
        stream: &str,
        consumer: &str,
        options: PullOptions,
    ) -> impl Future<Output = Result<PullConsumer, ConsumeError>> + Send {
        PullConsumer::new(self.clone(), stream, consumer, options)
    }

    fn push_consumer(
        &self,
        stream: &str,
        consumer: &str,
    ) -> impl Future<Output = Result<PushConsumer, ConsumeError>> + Send {
        PushConsumer::new(self.clone(), stream, consumer)
    }
}

impl ClientExt for Context {
    fn publisher(
        &self,
        options: PublisherOptions,
    ) -> impl Future<Output = Result<Publisher, StartError>> + Send {
        Publisher::new(self.client(), options)
    }

    fn acker(&self, options: AckerOptions) -> impl Future<Output = Result<Acker, StartError>> + Send {
        Acker::new(self.client(), options)
    }

    fn pull_consumer(
        &self,
        stream: &str,
        consumer: &str,
        options: PullOptions,
    ) -> impl Future<Output = Result<PullConsumer, ConsumeError>> + Send {
        PullConsumer::new(self.client(), stream, consumer, options)
    }

    fn push_consumer(
        &self,
        stream: &str,
        consumer: &str,
    ) -> impl Future<Output = Result<PushConsumer, ConsumeError>> + Send {
        PushConsumer::new(self.client(), stream, consumer)
    }
}
