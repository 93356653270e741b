//! What is asked of a server, and how it ended.

use super::{ConsumerId, Headers, StreamId, SubjectId};
use serde::{Deserialize, Serialize};

/// What is asked of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// One message, with an ack awaited. KV puts, updates, deletes and purges are publishes with a [`Role`].
    Publish(Publish),
    /// An atomic batch (`allow_atomic`): all of it is stored, or none. The ack has the sequence of the last.
    Batch {
        /// The messages, in order. All are of one stream.
        messages: Vec<Publish>,
    },
    /// An acknowledgement of a delivered message.
    Ack {
        /// Whose delivery it was.
        consumer: ConsumerId,
        /// Which message, by its sequence in the stream.
        seq: u64,
        /// The sequence of that delivery in the consumer.
        consumer_seq: u64,
        /// Which kind.
        kind: AckKind,
    },
    /// Deletion of one message.
    Delete {
        /// Of which stream.
        stream: StreamId,
        /// Which message.
        seq: u64,
        /// With its bytes overwritten (`no_erase: false`).
        erase: bool,
    },
    /// A purge. Without `filter`, `before` and `keep`, of everything.
    Purge {
        /// Of which stream.
        stream: StreamId,
        /// Only messages that match this subject, which may have wildcards; a declared subject.
        filter: Option<SubjectId>,
        /// Only messages with a smaller sequence (`seq` of the request).
        before: Option<u64>,
        /// All but the newest so many.
        keep: Option<u64>,
    },
    /// A stream is changed to this configuration.
    UpdateStream {
        /// Which.
        stream: StreamId,
        /// The whole configuration, as sent, JSON.
        config: String,
    },
    /// A consumer is changed to this configuration.
    UpdateConsumer {
        /// Which.
        consumer: ConsumerId,
        /// The whole configuration, as sent, JSON.
        config: String,
    },
    /// A consumer or (without one) a stream is removed on purpose.
    Remove {
        /// Of which stream.
        stream: StreamId,
        /// Which consumer; none for the stream itself.
        consumer: Option<ConsumerId>,
    },
    /// Something that the server must refuse: a create or update against its rules, a delete where it is denied.
    MustRefuse {
        /// Of which stream.
        stream: StreamId,
        /// What, in words.
        what: String,
    },
}

impl Call {
    /// The stream that the call is about. An ack names its consumer only.
    #[must_use]
    pub fn stream(&self) -> Option<StreamId> {
        match self {
            Call::Publish(publish) => Some(publish.stream),
            Call::Batch { messages } => messages.first().map(|publish| publish.stream),
            Call::Delete { stream, .. }
            | Call::Purge { stream, .. }
            | Call::UpdateStream { stream, .. }
            | Call::Remove { stream, .. }
            | Call::MustRefuse { stream, .. } => Some(*stream),
            Call::Ack { .. } | Call::UpdateConsumer { .. } => None,
        }
    }
}

/// A message to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The stream that is to store it.
    pub stream: StreamId,
    /// The subject as the stream will store it (after a subject transform).
    pub subject: SubjectId,
    /// Who publishes.
    pub publisher: u16,
    /// The how-manieth of that publisher.
    pub counter: u32,
    /// 0 for the first sending of this message, more for each time it is sent again.
    #[serde(default)]
    pub attempt: u8,
    /// Length of the body; 0 for an empty one (KV deletes), which cannot name itself.
    pub len: u32,
    /// The user's headers.
    #[serde(default)]
    pub headers: Headers,
    /// It carries `Nats-Msg-Id`, the same at every attempt.
    #[serde(default)]
    pub msg_id: bool,
    /// What it expects of the stream.
    #[serde(default)]
    pub expect: Expect,
    /// `Nats-TTL`.
    #[serde(default)]
    pub ttl: Ttl,
    /// What kind of message it is.
    #[serde(default)]
    pub role: Role,
}

/// A publish's condition; the server must refuse it where the condition does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// None.
    #[default]
    Nothing,
    /// `Nats-Expected-Last-Sequence`.
    LastSeq(u64),
    /// `Nats-Expected-Last-Subject-Sequence`; of a KV update, the revision; 0 of a KV create.
    LastSubjectSeq(u64),
    /// `Nats-Expected-Last-Msg-Id`: that of this counter of the same publisher.
    LastMsgId(u32),
}

/// The time to live of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ttl {
    /// As the stream says.
    #[default]
    Stream,
    /// So many seconds.
    Seconds(u32),
    /// `never`: exempt from the stream's `max_age`.
    Never,
}

/// What kind of message a publish is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A plain message; a KV put or update, which are no different to the server.
    #[default]
    Plain,
    /// `KV-Operation: DEL`.
    KvDelete,
    /// `KV-Operation: PURGE`, which also rolls the subject up.
    KvPurge,
    /// `Nats-Rollup: sub`: everything older on this subject goes.
    RollupSubject,
    /// `Nats-Rollup: all`: everything older goes.
    RollupAll,
}

impl Role {
    /// Whether everything older on the subject goes with it.
    #[must_use]
    pub fn rolls_subject(self) -> bool {
        matches!(self, Role::KvPurge | Role::RollupSubject)
    }
}

/// The kinds of acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckKind {
    /// `+ACK`, no answer awaited. Its outcome is [`Outcome::Sent`].
    Ack,
    /// `+ACK` with an answer awaited. Its outcome is [`Outcome::Done`] when that came.
    DoubleAck,
    /// `-NAK`: deliver it again.
    Nak,
    /// `+TERM`: never deliver it again.
    Term,
    /// `+WPI`: still at work.
    InProgress,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The server acknowledged a publish.
    Acked {
        /// The sequence it gave.
        seq: u64,
        /// It says that it had the message already.
        duplicate: bool,
    },
    /// The server says that it did what was asked.
    Done {
        /// How many messages it says it removed, of a purge; else 0.
        count: u64,
    },
    /// It was sent, and no answer was asked for (plain acks).
    Sent,
    /// The server says that it did not do it.
    Rejected {
        /// Its error code (`err_code`, or `code` where there is no such).
        code: u32,
    },
    /// Nobody knows. Timeouts, lost connections and *no responders* after sending are this, never a rejection.
    Indeterminate {
        /// Why not.
        why: Why,
    },
}

impl Outcome {
    /// Whether it may have taken effect.
    #[must_use]
    pub fn may_have_happened(self) -> bool {
        !matches!(self, Outcome::Rejected { .. })
    }

    /// Whether the server said that it took effect.
    #[must_use]
    pub fn happened(self) -> bool {
        matches!(self, Outcome::Acked { .. } | Outcome::Done { .. })
    }
}

/// Why an outcome is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Disconnect,
    /// The server said that nobody listens, after it was sent.
    NoResponders,
    /// It was still in flight when the stream was read back.
    InFlight,
    /// The recorder ended first.
    Unrecorded,
}
