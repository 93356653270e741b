//! Snapshots: what a server says of its streams and consumers, taken before anything is read.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use streamproof_model::op::{ConfigSource, ConsumerSnapshot, Event, Phase, StreamSnapshot};

use crate::recorder::Recorder;
use crate::site::{CALL_LIMIT, Site};
use crate::wire::{Wire, WireError};

/// `err_code` of a stream that is not there (nats-server errors.json, `JSStreamNotFoundErr`).
const STREAM_NOT_FOUND: u64 = 10059;

/// The same of a consumer (`JSConsumerNotFoundErr`).
const CONSUMER_NOT_FOUND: u64 = 10014;

/// Lists every stream and its consumers; records and returns it.
///
/// # Errors
/// [`WireError`].
pub fn listing(
    wire: &mut Wire,
    recorder: &Recorder,
    phase: Phase,
) -> Result<BTreeMap<String, Vec<String>>, WireError> {
    let mut streams = BTreeMap::new();
    for name in names(wire, "STREAM.NAMES", "streams")? {
        let consumers = names(wire, &format!("CONSUMER.NAMES.{name}"), "consumers")?;
        streams.insert(name, consumers);
    }
    recorder.event(&Event::Listing { phase, streams: streams.clone() });
    Ok(streams)
}

fn names(wire: &mut Wire, subject: &str, key: &str) -> Result<Vec<String>, WireError> {
    let mut names = Vec::new();
    loop {
        let answer = wire.api(subject, &json!({ "offset": names.len() }), CALL_LIMIT)?;
        let page: Vec<String> = answer[key]
            .as_array()
            .map(|items| items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
            .unwrap_or_default();
        let total = answer["total"].as_u64().unwrap_or(0);
        let empty = page.is_empty();
        names.extend(page);
        if empty || names.len() as u64 >= total {
            return Ok(names);
        }
    }
}

impl Site<'_> {
    /// Takes and records the state and configuration of the stream and its consumers. What is missing is not an error here:
    /// the listing shows it; `None` is a stream that the server says it does not have.
    ///
    /// # Errors
    /// [`WireError`], when the server does not answer, or with anything else than an info.
    pub fn snapshot(&mut self, phase: Phase) -> Result<Option<StreamSnapshot>, WireError> {
        let name = self.target.name.clone();
        let info = match self.api(&format!("STREAM.INFO.{name}"), &Value::Null) {
            Ok(info) => info,
            Err(WireError::Api { code: STREAM_NOT_FOUND, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let source = if phase == Phase::After { ConfigSource::After } else { ConfigSource::Before };
        let snapshot = stream_snapshot(&info, self.id, phase);
        self.recorder.event(&Event::Config {
            stream: self.id,
            consumer: None,
            source,
            json: info["config"].to_string(),
        });
        self.recorder.event(&Event::StreamInfo(Box::new(snapshot.clone())));
        if phase != Phase::Busy && self.in_flight() == 0 {
            self.last_seq = Some(snapshot.last_seq);
        }
        for number in 0..self.target.consumers.len() {
            let consumer = self.target.consumers[number].name.clone();
            let info = match self.api(&format!("CONSUMER.INFO.{name}.{consumer}"), &Value::Null) {
                Ok(info) => {
                    self.missing.remove(&number);
                    info
                }
                Err(WireError::Api { code, .. }) => {
                    if code == CONSUMER_NOT_FOUND {
                        self.missing.insert(number);
                    }
                    continue;
                }
                Err(WireError::Timeout { .. }) => continue,
                Err(error) => return Err(error),
            };
            let id = self.consumers[number];
            self.recorder.event(&Event::Config {
                stream: self.id,
                consumer: Some(id),
                source,
                json: info["config"].to_string(),
            });
            let number = |path: &str| info.pointer(path).and_then(Value::as_u64).unwrap_or(0);
            self.recorder.event(&Event::ConsumerInfo(Box::new(ConsumerSnapshot {
                consumer: id,
                phase,
                delivered_consumer: number("/delivered/consumer_seq"),
                delivered_stream: number("/delivered/stream_seq"),
                floor_consumer: number("/ack_floor/consumer_seq"),
                floor_stream: number("/ack_floor/stream_seq"),
                ack_pending: number("/num_ack_pending"),
                redelivered: number("/num_redelivered"),
                pending: number("/num_pending"),
                created_ns: time_ns(info["created"].as_str()),
            })));
        }
        Ok(Some(snapshot))
    }
}

/// Reads a stream's info.
pub(crate) fn stream_snapshot(
    info: &Value,
    stream: streamproof_model::op::StreamId,
    phase: Phase,
) -> StreamSnapshot {
    let state = &info["state"];
    let number = |key: &str| state[key].as_u64().unwrap_or(0);
    StreamSnapshot {
        stream,
        phase,
        messages: number("messages"),
        bytes: number("bytes"),
        first_seq: number("first_seq"),
        last_seq: number("last_seq"),
        num_deleted: number("num_deleted"),
        num_subjects: number("num_subjects"),
        by_subject: None,
        consumers: number("consumer_count") as u32,
        created_ns: time_ns(info["created"].as_str()),
    }
}

/// A time as the server writes it, in ns since 1970; 0 where it is none.
pub(crate) fn time_ns(text: Option<&str>) -> i64 {
    text.and_then(|text| text.parse::<jiff::Timestamp>().ok())
        .map_or(0, |time| i64::try_from(time.as_nanosecond()).unwrap_or(0))
}
