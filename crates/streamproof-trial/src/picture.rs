//! A full picture of a server that somebody uses: every stream and consumer, and a hash of every message; and what differs
//! between two of them.
//!
//! Nothing is published and nothing is created for it. The messages go to a file of their own ([`rows`]), so that a picture
//! takes little memory however large a stream is; two pictures are compared row by row ([`compare`]).

pub mod changes;
pub mod compare;
pub mod consumers;
pub mod controls;
pub mod messages;
pub mod proof;
pub mod read;
pub mod report;
pub mod rows;
pub mod summary;
pub mod take;
pub mod witness;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a server had at a moment; as `picture.json` in its folder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// The server's version.
    pub server: String,
    /// When the first question was asked, in ns since 1970.
    pub began_ns: i64,
    /// When the last answer had come, in ns since 1970.
    pub ended_ns: i64,
    /// Connections of others to the server, where it says.
    pub others: Option<u64>,
    /// The streams, by name.
    pub streams: BTreeMap<String, StreamPicture>,
}

/// What a stream was at a moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamPicture {
    /// Its configuration.
    pub config: Value,
    /// Its time of creation, in ns since 1970.
    pub created_ns: i64,
    /// Its state before its messages were read.
    pub first: State,
    /// Its state after its messages had been read.
    pub last: State,
    /// Why the server does not offer it, though it lists it.
    pub offline: Option<String>,
    /// Its consumers, by name.
    pub consumers: BTreeMap<String, ConsumerPicture>,
    /// What was read of it.
    pub reading: Reading,
}

/// The state of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
    /// First sequence.
    pub first_seq: u64,
    /// Last sequence.
    pub last_seq: u64,
    /// Deleted between the first and the last.
    pub num_deleted: u64,
    /// Subjects.
    pub num_subjects: u64,
}

/// How the messages of a stream were read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The file of the rows, in the folder of the picture.
    pub file: String,
    /// How many messages.
    pub count: u64,
    /// The lowest sequence; 0 where there is none.
    pub first_seq: u64,
    /// The highest sequence; 0 where there is none.
    pub last_seq: u64,
    /// When it began, in ns since 1970.
    pub began_ns: i64,
    /// When it ended, in ns since 1970.
    pub ended_ns: i64,
    /// How many messages the server says are there and does not give.
    pub unreadable: u64,
    /// The first few of them, with what the server said.
    pub unreadable_examples: Vec<(u64, String)>,
    /// Why it was not read to its end.
    pub cut_short: Option<String>,
}

/// What a consumer was at a moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConsumerPicture {
    /// Its configuration.
    pub config: Value,
    /// Its time of creation, in ns since 1970.
    pub created_ns: i64,
    /// Its state before the stream's messages were read.
    pub first: ConsumerState,
    /// Its state after the stream's messages had been read.
    pub last: ConsumerState,
}

/// The state of a consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerState {
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
    /// `num_pending`.
    pub pending: u64,
}

impl StreamPicture {
    /// Up to this sequence the messages are known; what lies above came while or after they were read.
    #[must_use]
    pub fn known_up_to(&self) -> u64 {
        self.first.last_seq.max(self.reading.last_seq)
    }

    /// Whether it changed while the picture was taken, or one of its consumers did: somebody uses it.
    #[must_use]
    pub fn moved(&self) -> bool {
        self.first != self.last || self.consumers.values().any(ConsumerPicture::moved)
    }

    /// Whether messages come to it from other streams, with the times that they had there.
    #[must_use]
    pub fn copies(&self) -> bool {
        let set = |key: &str| {
            self.config.get(key).is_some_and(|value| match value {
                Value::Array(list) => !list.is_empty(),
                other => !other.is_null(),
            })
        };
        set("mirror") || set("sources")
    }
}

impl ConsumerPicture {
    /// Whether it changed while the picture was taken.
    #[must_use]
    pub fn moved(&self) -> bool {
        self.first != self.last
    }
}
