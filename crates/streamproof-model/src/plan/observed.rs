//! What was seen on a server: raw documents as the server gave them, with the numbers a plan needs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A JSON object in the server's own spelling.
pub type Document = Map<String, Value>;

/// Everything a plan is made from, besides the files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// The server that answered.
    pub server: ServerSeen,
    /// The account's limits and usage, as `$JS.API.INFO` gives them.
    pub account: AccountSeen,
    /// Every stream that was asked for and is there.
    pub streams: Vec<StreamSeen>,
    /// Every consumer of those streams.
    pub consumers: Vec<ConsumerSeen>,
    /// When this was seen, by the server's clock (RFC 3339), where the server says it.
    pub at: Option<String>,
}

/// The server that answered, as it presents itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSeen {
    /// Its name.
    pub name: String,
    /// Its version, like `2.15.1`.
    pub version: String,
    /// Where it was reached.
    pub url: String,
    /// Its id; it changes with every start.
    pub id: String,
    /// Whether it is part of a cluster.
    pub clustered: bool,
    /// The JetStream API level it speaks; 0 where it does not say (before 2.11).
    pub api_level: u32,
}

/// The account's view: limits that change what the server fills in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AccountSeen {
    /// The JetStream domain, if any.
    pub domain: Option<String>,
    /// `limits` of the answer, raw.
    pub limits: Document,
}

/// A stream as the server gave it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamSeen {
    /// Its name.
    pub name: String,
    /// Its configuration, raw.
    pub config: Document,
    /// When it was created (RFC 3339).
    pub created: String,
    /// How many messages it holds.
    pub messages: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// First sequence.
    pub first_seq: u64,
    /// Last sequence.
    pub last_seq: u64,
    /// When its first message was stored (RFC 3339); the year 1 where there is none.
    pub first_ts: Option<String>,
    /// How many subjects it holds, where known.
    pub num_subjects: Option<u64>,
    /// How many consumers it has.
    pub consumer_count: u64,
    /// Messages by subject; only fetched where a plan asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects: Option<Document>,
    /// Messages stored before the moment at which a shorter `max_age` would cut; only fetched where a plan asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<Older>,
}

/// How much of a stream is older than a given age.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Older {
    /// The age in nanoseconds.
    pub age_ns: u64,
    /// The first sequence that is young enough; one past the last where none is.
    pub first_kept_seq: u64,
}

/// A consumer as the server gave it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConsumerSeen {
    /// Its stream.
    pub stream: String,
    /// Its name.
    pub name: String,
    /// Its configuration, raw.
    pub config: Document,
    /// When it was created (RFC 3339).
    pub created: String,
    /// Stream sequence up to which everything is acked.
    pub ack_floor: u64,
    /// Stream sequence last delivered.
    pub delivered: u64,
    /// Delivered, not yet acked.
    pub num_ack_pending: u64,
    /// Not yet delivered.
    pub num_pending: u64,
    /// Whether somebody listens to its deliver subject.
    #[serde(default)]
    pub push_bound: bool,
}

impl Observed {
    /// The stream of that name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<&StreamSeen> {
        self.streams.iter().find(|s| s.name == name)
    }

    /// The consumer of that stream and name.
    #[must_use]
    pub fn consumer(&self, stream: &str, name: &str) -> Option<&ConsumerSeen> {
        self.consumers.iter().find(|c| c.stream == stream && c.name == name)
    }
}

impl StreamSeen {
    /// Reads one entry of `STREAM.LIST`, or the answer of `STREAM.INFO`. `None` where it has no name.
    #[must_use]
    pub fn from_info(info: &Value) -> Option<Self> {
        let config = info.get("config")?.as_object()?.clone();
        let name = config.get("name")?.as_str()?.to_owned();
        let state = info.get("state").unwrap_or(&Value::Null);
        let number = |key: &str| state.get(key).and_then(Value::as_u64).unwrap_or(0);
        Some(Self {
            name,
            config,
            created: text(info, "created"),
            messages: number("messages"),
            bytes: number("bytes"),
            first_seq: number("first_seq"),
            last_seq: number("last_seq"),
            first_ts: state.get("first_ts").and_then(Value::as_str).map(str::to_owned),
            num_subjects: state.get("num_subjects").and_then(Value::as_u64),
            consumer_count: number("consumer_count"),
            subjects: state.get("subjects").and_then(Value::as_object).cloned(),
            older: None,
        })
    }
}

impl ConsumerSeen {
    /// Reads one entry of `CONSUMER.LIST`, or the answer of `CONSUMER.INFO`. `None` where it has no name.
    #[must_use]
    pub fn from_info(info: &Value) -> Option<Self> {
        let config = info.get("config")?.as_object()?.clone();
        let seq = |part: &str| {
            info.get(part).and_then(|p| p.get("stream_seq")).and_then(Value::as_u64).unwrap_or(0)
        };
        let number = |key: &str| info.get(key).and_then(Value::as_u64).unwrap_or(0);
        Some(Self {
            stream: info.get("stream_name")?.as_str()?.to_owned(),
            name: info.get("name")?.as_str()?.to_owned(),
            config,
            created: text(info, "created"),
            ack_floor: seq("ack_floor"),
            delivered: seq("delivered"),
            num_ack_pending: number("num_ack_pending"),
            num_pending: number("num_pending"),
            push_bound: info.get("push_bound").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    /// Stream sequence up to which it is done: what it has acked, or what it was made to start after.
    ///
    /// nats-server before 2.12 shows an ack floor of 0 until the first ack, also where a consumer starts later.
    #[must_use]
    pub fn position(&self) -> u64 {
        let started = self.config.get("opt_start_seq").and_then(Value::as_u64).unwrap_or(0);
        self.ack_floor.max(started.saturating_sub(1))
    }

    /// Whether it outlives its users: a durable one. The others come and go and are nobody's to declare.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.config.get("durable_name").and_then(Value::as_str).is_some_and(|n| !n.is_empty())
    }

    /// Whether the server or a mirror made it for itself: sourcing and direct consumers (ADR-59, ADR-60).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        let set = |key: &str| self.config.get(key).and_then(Value::as_bool).unwrap_or(false);
        set("direct")
            || set("sourcing")
            || self.name.starts_with("JS_MIRROR_")
            || self.name.starts_with("JS_SRC_")
    }
}

fn text(info: &Value, key: &str) -> String {
    info.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
