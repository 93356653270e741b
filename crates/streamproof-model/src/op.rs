//! Operations and their outcomes: the contract between who runs a workload and who judges it.
//!
//! A history is a list of [`Record`]s in the order in which they happened. What is *asked* of a server is a
//! [`Call`], recorded before it is sent ([`Record::Invoke`]) and again when its [`Outcome`] is known
//! ([`Record::Done`]): a recorder that dies in between leaves an operation of unknown outcome, never one that
//! did not happen. What is merely *seen* (a delivery, a message read back, a snapshot, a fault) is an [`Event`].
//! [`Ops`] joins the two halves of every call again and yields [`Op`]s, which is what a checker takes.
//!
//! Times are microseconds since the run began, from one monotonic clock. Streams, subjects, consumers and
//! publishers are small numbers, given names once by the `Declare…` events before they are used.
//!
//! The rules for whoever records:
//!
//! 1. Operation ids ascend from 0; an id is used once. A retry is a new operation with the same publisher and
//!    counter and a higher `attempt`.
//! 2. A (publisher, counter) names one message body in one run. Counters of one publisher ascend from 0.
//! 3. A stream is read back only while nothing is in flight on it: [`Event::ReadBegin`] makes every call of that
//!    stream that has no outcome yet indeterminate.
//! 4. After a fault the order is [`Event::Recovered`], the listing, the infos and the configurations (phase
//!    [`Phase::After`]), and only then anything that reads messages: reading heals some servers.
//! 5. Deliveries that a client had buffered when its connection broke are not recorded after
//!    [`Event::Recovered`].

mod body;
mod call;
mod event;
mod fault;
mod frame;
mod jsonl;
mod pair;

pub use body::{Body, Headers, MIN_BODY_LEN, Seen};
pub use call::{AckKind, Call, Expect, Outcome, Publish, Role, Ttl, Why};
pub use event::{
    CanaryEnd, ConfigSource, ConsumerSnapshot, Control, Deliver, Event, Meta, Phase, Stored, StreamSnapshot,
};
pub use fault::{Evidence, FaultKind, Level};
pub use frame::{Encoder, HistoryError, Reader};
pub use jsonl::{from_jsonl, to_jsonl};
pub use pair::Ops;

use serde::{Deserialize, Serialize};

/// A stream, by its number in this history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(pub u16);

/// A subject, by its number in this history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubjectId(pub u32);

/// A consumer of one stream, by its number in this history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConsumerId(pub u16);

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A call is about to be sent.
    Invoke {
        /// The operation.
        id: u64,
        /// When, in µs since the run began.
        at: u64,
        /// What is asked.
        call: Call,
    },
    /// The outcome of a call.
    Done {
        /// The operation.
        id: u64,
        /// When, in µs since the run began.
        at: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// Something seen.
    Event {
        /// When, in µs since the run began.
        at: u64,
        /// What.
        event: Event,
    },
}

/// What a checker takes: a call with its outcome, or something seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// A call, both halves.
    Call {
        /// The operation.
        id: u64,
        /// When it was about to be sent, in µs since the run began.
        invoked: u64,
        /// When its outcome was known; [`NEVER`] if it never was.
        done: u64,
        /// What was asked.
        call: Call,
        /// How it ended.
        outcome: Outcome,
    },
    /// Something seen.
    Event {
        /// When, in µs since the run began.
        at: u64,
        /// What.
        event: Event,
    },
}

/// The time of an outcome that never came.
pub const NEVER: u64 = u64::MAX;
