//! Why something could not be started or sent. What was sent has an [`Outcome`](crate::Outcome), not an error.

use async_nats::client::PublishErrorKind;

/// A publish, or an ack, that was not sent: there is nothing to wait for, and nothing is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Body and headers are more than the server takes.
    #[error("{bytes} bytes are more than the server's max_payload of {most_bytes}")]
    TooLarge {
        /// The size.
        bytes: usize,
        /// The server's `max_payload`.
        most_bytes: usize,
    },
    /// As `TooLarge`: the server's `max_payload` was lowered just now.
    #[error("more than the server's max_payload, which was lowered just now")]
    LimitLowered,
    /// A subject that cannot be published to.
    #[error("the subject is not one that can be published to")]
    InvalidSubject,
    /// A header that cannot be sent.
    #[error("header {name:?} cannot be sent: a line break in its value, or a name that is not one")]
    InvalidHeader {
        /// Its name.
        name: String,
    },
    /// There is no connection, and [`OnDisconnect::Fail`](crate::OnDisconnect::Fail) was chosen.
    #[error("there is no connection")]
    Disconnected,
    /// The client or publisher is closed.
    #[error("the client is closed")]
    Closed,
    /// A message without a reply subject cannot be acknowledged: it did not come from a consumer.
    #[error("the message has no reply subject, so it cannot be acknowledged")]
    NoReply,
}

impl From<async_nats::client::PublishError> for PublishError {
    fn from(e: async_nats::client::PublishError) -> Self {
        match e.kind() {
            PublishErrorKind::MaxPayloadExceeded => PublishError::LimitLowered,
            PublishErrorKind::InvalidSubject => PublishError::InvalidSubject,
            PublishErrorKind::Send => PublishError::Closed,
        }
    }
}

/// A publisher, consumer or acker that could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A window outside the bounds.
    #[error("a window of {asked} is not between 1 and {most}")]
    Window {
        /// What was asked for.
        asked: usize,
        /// The largest.
        most: usize,
    },
    /// The client would not subscribe.
    #[error("cannot subscribe")]
    Subscribe(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server does not have what is needed.
    #[error("{what} needs nats-server {needs}, and this one is {has}")]
    ServerTooOld {
        /// What was asked for.
        what: &'static str,
        /// The first version that has it.
        needs: &'static str,
        /// The server's version.
        has: String,
    },
}

/// Why consuming cannot go on. What can be mended by waiting (a restart, a lost connection, a new leader) is not an
/// error: the consumer mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// The consumer or its stream does not exist, or no longer.
    #[error("consumer {consumer} on stream {stream} does not exist: {text}")]
    Gone {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// The server's words.
        text: String,
    },
    /// The consumer is of the other kind.
    #[error("consumer {consumer} on stream {stream} is {is}, and was used as {wanted}")]
    WrongKind {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// What it is.
        is: &'static str,
        /// What it was used as.
        wanted: &'static str,
    },
    /// The server refuses the pull, and would every time.
    #[error("the server refuses to deliver: {text}")]
    Refused {
        /// The server's words.
        text: String,
    },
    /// No answer from the JetStream API.
    #[error("no answer from the JetStream API on {subject}: {text}")]
    NoAnswer {
        /// The subject asked.
        subject: String,
        /// What went wrong.
        text: String,
    },
    /// A setting outside its bounds.
    #[error("{what} of {asked} is not between 1 and {most}")]
    Bound {
        /// Which setting.
        what: &'static str,
        /// What was asked for.
        asked: usize,
        /// The largest.
        most: usize,
    },
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}
