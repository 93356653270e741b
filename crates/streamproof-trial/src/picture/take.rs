//! Taking a picture: the listing, every info, then every message, then every info again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use streamproof_server::monitor;

use super::read::{How, Room, read};
use super::{ConsumerPicture, ConsumerState, Picture, State, StreamPicture};
use crate::archive::write_json;
use crate::snapshot::time_ns;
use crate::wire::{Login, Wire, WireError};

/// Every question is answered within this time, or the server hangs; it is a server that others use too.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// `err_code` of a stream that is not there (nats-server errors.json, `JSStreamNotFoundErr`).
const STREAM_NOT_FOUND: u64 = 10059;
/// `err_code` of a consumer that is not there (`JSConsumerNotFoundErr`).
const CONSUMER_NOT_FOUND: u64 = 10014;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The server.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// The picture's own files.
    #[error("cannot write {}: {source}", .path.display())]
    Io {
        /// Which.
        path: std::path::PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It was called off.
    #[error("interrupted")]
    Cancelled,
}

/// How far a picture is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The stream that is being read.
    pub stream: String,
    /// Messages of all streams so far.
    pub messages: u64,
    /// Messages that there were to read when it began.
    pub of: u64,
}

/// Where a picture is taken from and put to.
#[derive(Debug)]
pub struct Camera<'a> {
    /// The server.
    pub address: SocketAddr,
    /// How to log in.
    pub login: &'a Login,
    /// Its monitoring pages, which say who else is connected.
    pub monitor: Option<&'a str>,
    /// Set to call it off.
    pub cancel: &'a AtomicBool,
}

/// Takes a picture into `folder`, which is made.
///
/// # Errors
/// [`PictureError`]. A stream that cannot be read to its end is not one: the picture says so.
pub fn take(
    camera: &Camera<'_>,
    folder: &Path,
    mut progress: impl FnMut(Progress),
) -> Result<Picture, PictureError> {
    let io = |source| PictureError::Io { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut wire = Wire::connect(camera.address, camera.login, ANSWER_LIMIT)?;
    let mut picture = Picture {
        server: wire.info["version"].as_str().unwrap_or_default().to_owned(),
        began_ns: now_ns(),
        ..Picture::default()
    };
    // Every state comes before every message: reading heals some servers.
    for name in names(&mut wire, "STREAM.NAMES", "streams")? {
        camera.go_on()?;
        if let Some(stream) = stream(&mut wire, &name)? {
            picture.streams.insert(name, stream);
        }
    }
    let others = camera.others();
    let mirrored = answered_by_mirrors(&picture);
    let of = picture.streams.values().map(|stream| stream.first.messages).sum();
    let mut messages = 0;
    for (number, (name, stream)) in picture.streams.iter_mut().enumerate() {
        if stream.offline.is_some() {
            continue;
        }
        let how = How {
            batches: stream.config["allow_direct"] == json!(true)
                && !mirrored.contains(name)
                && knows_batches(&picture.server),
        };
        let file = format!("{number:05}.rows");
        let room = Room { camera, path: &folder.join(&file) };
        let mut reading = read(&mut wire, name, &stream.first, how, &room, |count| {
            progress(Progress { stream: name.clone(), messages: messages + count, of });
        })?;
        messages += reading.count;
        reading.file = file;
        stream.reading = reading;
    }
    for (name, stream) in &mut picture.streams {
        camera.go_on()?;
        if stream.offline.is_some() {
            continue;
        }
        match info(&mut wire, &format!("STREAM.INFO.{name}"), STREAM_NOT_FOUND)? {
            Some(info) => stream.last = state(&info),
            None => stream.last = State::default(),
        }
        for (consumer, known) in &mut stream.consumers {
            let asked = format!("CONSUMER.INFO.{name}.{consumer}");
            if let Some(info) = info_or_none(&mut wire, &asked, CONSUMER_NOT_FOUND)? {
                known.last = consumer_state(&info);
            }
        }
    }
    picture.others = others.zip(camera.others()).map(|(first, last)| first.max(last));
    picture.ended_ns = now_ns();
    write_json(&folder.join("picture.json"), &picture).map_err(io)?;
    Ok(picture)
}

impl Camera<'_> {
    /// How many connections there are beside our own; `None` where nobody says.
    fn others(&self) -> Option<u64> {
        let page = monitor::get(self.monitor?, "/connz?limit=1024", ANSWER_LIMIT).ok()?;
        let page: Value = serde_json::from_str(&page.body).ok()?;
        let listed = page["connections"].as_array()?;
        let ours = listed.iter().filter(|one| one["name"].as_str() == Some(super::witness::OURS)).count();
        Some(page["total"].as_u64()?.saturating_sub(ours as u64))
    }

    pub(crate) fn go_on(&self) -> Result<(), PictureError> {
        if self.cancel.load(Ordering::Relaxed) { Err(PictureError::Cancelled) } else { Ok(()) }
    }
}

/// Reads a stored picture again.
///
/// # Errors
/// No such file, or one that cannot be read.
pub fn load(folder: &Path) -> std::io::Result<Picture> {
    Ok(serde_json::from_slice(&std::fs::read(folder.join("picture.json"))?)?)
}

/// Names by pages.
pub(crate) fn names(wire: &mut Wire, subject: &str, key: &str) -> Result<BTreeSet<String>, WireError> {
    let mut names = BTreeSet::new();
    let mut offset = 0;
    loop {
        let answer = wire.api(subject, &json!({ "offset": offset }), ANSWER_LIMIT)?;
        let page = answer[key].as_array().cloned().unwrap_or_default();
        offset += page.len() as u64;
        names.extend(page.iter().filter_map(|name| name.as_str().map(str::to_owned)));
        if page.is_empty() || offset >= answer["total"].as_u64().unwrap_or(0) {
            return Ok(names);
        }
    }
}

fn stream(wire: &mut Wire, name: &str) -> Result<Option<StreamPicture>, WireError> {
    let info = match info(wire, &format!("STREAM.INFO.{name}"), STREAM_NOT_FOUND) {
        Ok(Some(info)) => info,
        // Removed by somebody between the listing and the question.
        Ok(None) => return Ok(None),
        // nats-server 2.12 and later list what needs a newer server, and answer with the reason (`JSStreamOfflineReasonErrF`).
        Err(WireError::Api { code, description, .. }) => {
            let offline = Some(format!("{description} (code {code})"));
            return Ok(Some(StreamPicture { offline, ..StreamPicture::default() }));
        }
        Err(error) => return Err(error),
    };
    let mut stream = StreamPicture {
        config: info["config"].clone(),
        created_ns: time_ns(info["created"].as_str()),
        first: state(&info),
        ..StreamPicture::default()
    };
    stream.last = stream.first;
    for consumer in names(wire, &format!("CONSUMER.NAMES.{name}"), "consumers")? {
        let asked = format!("CONSUMER.INFO.{name}.{consumer}");
        let Some(info) = info_or_none(wire, &asked, CONSUMER_NOT_FOUND)? else { continue };
        let state = consumer_state(&info);
        let picture = ConsumerPicture {
            config: info["config"].clone(),
            created_ns: time_ns(info["created"].as_str()),
            first: state,
            last: state,
        };
        stream.consumers.insert(consumer, picture);
    }
    Ok(Some(stream))
}

/// An info; `None` where the server says with this code that there is no such thing.
fn info(wire: &mut Wire, subject: &str, absent: u64) -> Result<Option<Value>, WireError> {
    match wire.api(subject, &Value::Null, ANSWER_LIMIT) {
        Ok(info) => Ok(Some(info)),
        Err(WireError::Api { code, .. }) if code == absent => Ok(None),
        Err(error) => Err(error),
    }
}

/// As [`info`], where any other refusal also means that it cannot be looked at.
fn info_or_none(wire: &mut Wire, subject: &str, absent: u64) -> Result<Option<Value>, WireError> {
    match info(wire, subject, absent) {
        Err(WireError::Api { .. }) => Ok(None),
        other => other,
    }
}

fn state(info: &Value) -> State {
    let number = |key: &str| info["state"][key].as_u64().unwrap_or(0);
    State {
        messages: number("messages"),
        bytes: number("bytes"),
        first_seq: number("first_seq"),
        last_seq: number("last_seq"),
        num_deleted: number("num_deleted"),
        num_subjects: number("num_subjects"),
    }
}

fn consumer_state(info: &Value) -> ConsumerState {
    let number = |path: &str| info.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    ConsumerState {
        delivered_consumer: number("/delivered/consumer_seq"),
        delivered_stream: number("/delivered/stream_seq"),
        floor_consumer: number("/ack_floor/consumer_seq"),
        floor_stream: number("/ack_floor/stream_seq"),
        ack_pending: number("/num_ack_pending"),
        pending: number("/num_pending"),
    }
}

/// Streams whose direct gets their mirrors answer too (`mirror_direct`): read directly, a mirror could stand in for its origin.
fn answered_by_mirrors(picture: &Picture) -> BTreeSet<String> {
    picture
        .streams
        .values()
        .filter(|stream| stream.config["mirror_direct"] == json!(true))
        .filter_map(|stream| stream.config["mirror"]["name"].as_str().map(str::to_owned))
        .collect()
}

/// Batched direct gets came with 2.11 (ADR-31).
fn knows_batches(server: &str) -> bool {
    streamproof_checker::Version::parse(server) >= streamproof_checker::Version::new(2, 11, 0)
}

pub(crate) fn now_ns() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
