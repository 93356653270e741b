//! What is seen: deliveries, messages read back, snapshots, faults.

use super::{ConsumerId, Evidence, FaultKind, Headers, Seen, StreamId, SubjectId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a history begins with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// The run, as bodies name it.
    pub run: u32,
    /// The run's id, as its folder is named.
    pub id: String,
    /// The seed.
    pub seed: u64,
    /// The server's version at the start.
    pub server: String,
    /// When the run began, in ns since 1970.
    pub began_ns: i64,
}

/// Something seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// What run this is. The first record.
    Meta(Meta),
    /// Gives a stream its number.
    DeclareStream {
        /// The number.
        id: StreamId,
        /// The name.
        name: String,
    },
    /// Gives a subject its number.
    DeclareSubject {
        /// The number.
        id: SubjectId,
        /// The name; filters of purges may have wildcards.
        name: String,
    },
    /// Gives a consumer its number.
    DeclareConsumer {
        /// The number.
        id: ConsumerId,
        /// Its stream.
        stream: StreamId,
        /// The name.
        name: String,
    },
    /// A configuration: of a consumer, or (without one) of the stream.
    Config {
        /// The stream.
        stream: StreamId,
        /// The consumer.
        consumer: Option<ConsumerId>,
        /// Where the document is from.
        source: ConfigSource,
        /// The configuration as JSON (the `config` of an info, or the file).
        json: String,
    },
    /// All streams and consumers that the server lists.
    Listing {
        /// When.
        phase: Phase,
        /// Names of streams, with those of their consumers.
        streams: BTreeMap<String, Vec<String>>,
    },
    /// The state of a stream.
    StreamInfo(Box<StreamSnapshot>),
    /// The state of a consumer.
    ConsumerInfo(Box<ConsumerSnapshot>),
    /// A delivery.
    Deliver(Deliver),
    /// The whole stream is about to be read back; nothing is in flight on it.
    ReadBegin {
        /// Which.
        stream: StreamId,
        /// When.
        phase: Phase,
    },
    /// One message, read back.
    Stored(Stored),
    /// A message that the state says is there, and that cannot be read.
    Unreadable {
        /// The stream.
        stream: StreamId,
        /// Which message.
        seq: u64,
        /// What the server says.
        error: String,
    },
    /// The stream has been read back.
    ReadEnd {
        /// Which.
        stream: StreamId,
        /// When it was not read to its end (no answer in time), why.
        cut_short: Option<String>,
    },
    /// A consumer was pulled from (or listened to) until nothing more came.
    Drained {
        /// Which.
        consumer: ConsumerId,
        /// How long nothing had come.
        silent_us: u64,
    },
    /// A message was published, after recovery, for a consumer that must then get it.
    Canary {
        /// The stream.
        stream: StreamId,
        /// The consumer; none where the stream has none.
        consumer: Option<ConsumerId>,
        /// How it ended.
        end: CanaryEnd,
        /// How long it took, or was waited for.
        took_us: u64,
    },
    /// The files were applied again after a restart.
    Reapplied {
        /// What a plan still wanted to change; empty in good order.
        pending: Vec<String>,
    },
    /// A request that the server did not answer within its time limit, though it was ready.
    Hung {
        /// The stream.
        stream: StreamId,
        /// Which request.
        what: String,
        /// How long it was waited for.
        waited_us: u64,
    },
    /// A fault begins.
    FaultBegin {
        /// Its number, from 1.
        fault: u32,
        /// Its kind.
        kind: FaultKind,
        /// The streams that it is aimed at; empty for all.
        streams: Vec<StreamId>,
    },
    /// A fault is over.
    FaultEnd {
        /// Its number.
        fault: u32,
        /// What was seen of it.
        evidence: Box<Evidence>,
    },
    /// The server is ready again.
    Recovered {
        /// After which fault.
        fault: u32,
        /// The server's version.
        server: String,
        /// From start to ready.
        ready_us: u64,
    },
    /// The server did not come back.
    NotRecovered {
        /// After which fault.
        fault: u32,
        /// What was seen last.
        why: String,
    },
    /// A control: damage done on purpose behind the checker's back, which must be found.
    Control(Control),
    /// Something that could not be run, and stays unproven.
    NotProven {
        /// What.
        what: String,
        /// Why not.
        why: String,
        /// It was asked for by name, or `survive` needs it: the run is inconclusive.
        required: bool,
    },
    /// The run's recorder reached its end.
    Finished,
    /// The history ends here though its recorder did not: what follows is unknown.
    Torn {
        /// The first byte that makes no sense.
        offset: u64,
    },
}

/// Where a configuration is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigSource {
    /// The file, in the form that was sent to the server.
    Desired,
    /// The server's answer, before any fault or after a change.
    Before,
    /// The server's answer after a recovery.
    After,
}

/// When a snapshot is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// While operations may be in flight.
    Busy,
    /// Nothing is in flight, and no fault has begun since.
    Quiet,
    /// After a recovery, before anything was read or sent.
    After,
}

/// A delivery to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// By which consumer.
    pub consumer: ConsumerId,
    /// The sequence in the stream.
    pub seq: u64,
    /// The sequence in the consumer.
    pub consumer_seq: u64,
    /// The how-manieth delivery of this message, from 1.
    pub delivered: u32,
    /// How many more the consumer says it has.
    pub pending: u64,
    /// The subject.
    pub subject: SubjectId,
    /// The body.
    pub seen: Seen,
    /// The user's headers.
    pub headers: Headers,
}

/// A message read back from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The stream.
    pub stream: StreamId,
    /// The sequence.
    pub seq: u64,
    /// The subject.
    pub subject: SubjectId,
    /// The body.
    pub seen: Seen,
    /// The user's headers.
    pub headers: Headers,
    /// When the server says it was stored, in µs since the run began (negative: before).
    pub ts_us: i64,
    /// The server made it (a delete marker).
    pub server_made: bool,
}

/// The state of a stream (`STREAM.INFO`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSnapshot {
    /// The stream.
    pub stream: StreamId,
    /// When.
    pub phase: Phase,
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
    /// First sequence.
    pub first_seq: u64,
    /// Last sequence.
    pub last_seq: u64,
    /// Deleted messages between the two.
    pub num_deleted: u64,
    /// Subjects.
    pub num_subjects: u64,
    /// The sum of the messages by subject, where it was asked for.
    pub by_subject: Option<u64>,
    /// Consumers.
    pub consumers: u32,
    /// `created`, in ns since 1970.
    pub created_ns: i64,
}

/// The state of a consumer (`CONSUMER.INFO`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerSnapshot {
    /// The consumer.
    pub consumer: ConsumerId,
    /// When.
    pub phase: Phase,
    /// `delivered.consumer_seq`.
    pub delivered_consumer: u64,
    /// `delivered.stream_seq`.
    pub delivered_stream: u64,
    /// `ack_floor.consumer_seq`.
    pub floor_consumer: u64,
    /// `ack_floor.stream_seq`.
    pub floor_stream: u64,
    /// `num_ack_pending`.
    pub ack_pending: u64,
    /// `num_redelivered`.
    pub redelivered: u64,
    /// `num_pending`.
    pub pending: u64,
    /// `created`, in ns since 1970.
    pub created_ns: i64,
}

/// How a canary ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryEnd {
    /// Acked and delivered (or acked, where there is no consumer).
    Arrived,
    /// Acked, and not delivered in time.
    NotDelivered,
    /// The server answered with an error.
    Refused {
        /// Its error code.
        code: u32,
    },
    /// The publish got no answer in time.
    NoAnswer,
}

/// Damage done on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Its name: `memory-loss`, `planted-deletion`, `edited-config`, `reset-consumer`.
    pub name: String,
    /// The stream it is done to.
    pub stream: StreamId,
    /// The consumer it is done to.
    pub consumer: Option<ConsumerId>,
    /// The message it is done to; none for the whole stream or consumer.
    pub seq: Option<u64>,
    /// The invariant that must find it (`M1`).
    pub expect: String,
    /// Invariants that may find it too.
    pub also: Vec<String>,
}
