//! Reading a stream's messages into rows, whatever its size: nothing of it stays in memory but what is on its way.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::rows::{Role, Row, Ttl, Writer};
use super::take::{ANSWER_LIMIT, Camera, PictureError, now_ns};
use super::{Reading, State};
use crate::readback::base64;
use crate::snapshot::time_ns;
use crate::wire::{Incoming, Wire, WireError};

/// Messages asked for in one batched direct get.
const BATCH: u64 = 1000;
/// Bytes asked for in one batched direct get: what may be on its way at once.
const BATCH_BYTES: u64 = 8 * 1024 * 1024;
/// Single gets in flight at once.
const WINDOW: usize = 128;
/// With more holes than messages each message is asked for as the next after another, and not each sequence by itself.
const HOLES_PER_MESSAGE: u64 = 8;
/// Progress is told at most so often.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// So many unreadable messages are kept as examples.
const EXAMPLES_MAX: usize = 32;
/// `err_code` of a message that is not there (`JSNoMessageFoundErr`).
const NO_MESSAGE: u64 = 10037;

/// How a stream can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// By batched direct gets.
    pub batches: bool,
}

/// Where the rows go.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    pub(crate) camera: &'a Camera<'a>,
    pub(crate) path: &'a Path,
}

/// Reads all messages of a stream, from its first to whatever is its last by then.
pub(crate) fn read(
    wire: &mut Wire,
    stream: &str,
    state: &State,
    how: How,
    room: &Room<'_>,
    progress: impl FnMut(u64),
) -> Result<Reading, PictureError> {
    let io = |source| PictureError::Io { path: room.path.to_owned(), source };
    let began_ns = now_ns();
    let mut film = Film {
        writer: Writer::create(room.path).map_err(io)?,
        reading: Reading { began_ns, ..Reading::default() },
        room,
        progress,
        told: Instant::now(),
    };
    let holes = (state.last_seq + 1).saturating_sub(state.first_seq.max(1)).saturating_sub(state.messages);
    let ended = if state.last_seq == 0 {
        Ok(None)
    } else if how.batches {
        film.batches(wire, stream, state)
    } else if holes > state.messages.saturating_mul(HOLES_PER_MESSAGE) {
        film.one_after_another(wire, stream, state)
    } else {
        film.each(wire, stream, state)
    };
    let Film { writer, mut reading, .. } = film;
    reading.cut_short = match ended {
        Ok(why) => why,
        // The server hangs or says no: that is what this picture shows.
        Err(PictureError::Wire(
            error @ (WireError::Timeout { .. } | WireError::Api { .. } | WireError::Protocol(_)),
        )) => Some(error.to_string()),
        Err(error) => return Err(error),
    };
    reading.count = writer.count();
    reading.last_seq = writer.last_seq();
    writer.finish().map_err(io)?;
    reading.ended_ns = now_ns();
    Ok(reading)
}

struct Film<'a, P> {
    writer: Writer,
    reading: Reading,
    room: &'a Room<'a>,
    progress: P,
    told: Instant,
}

impl<P: FnMut(u64)> Film<'_, P> {
    fn batches(
        &mut self,
        wire: &mut Wire,
        stream: &str,
        state: &State,
    ) -> Result<Option<String>, PictureError> {
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let mut from = state.first_seq.max(1);
        loop {
            self.room.camera.go_on()?;
            let request = json!({ "seq": from, "batch": BATCH, "max_bytes": BATCH_BYTES });
            let (number, reply) = wire.reply_subject();
            wire.publish(&subject, Some(&reply), b"", request.to_string().as_bytes())?;
            let mut last = None;
            let pending = loop {
                let Some(message) = wire.next(Instant::now() + ANSWER_LIMIT)? else {
                    return Ok(Some("a batched direct get was not answered in time".to_owned()));
                };
                if wire.reply_number(&message) != Some(number) {
                    continue;
                }
                match message.status() {
                    // The end of a batch says how many more there are (ADR-31).
                    Some(204) => {
                        break message
                            .header("Nats-Num-Pending")
                            .and_then(|count| count.parse().ok())
                            .unwrap_or(0_u64);
                    }
                    Some(404) => return Ok(None),
                    Some(status) => {
                        return Ok(Some(format!("a batched direct get was answered with status {status}")));
                    }
                    None => last = Some(self.direct(&message)?),
                }
            };
            match last {
                Some(seq) if pending > 0 => from = seq + 1,
                None if pending > 0 => {
                    return Ok(Some(format!(
                        "from sequence {from} on the server says that there are {pending} messages, and gives none"
                    )));
                }
                _ => return Ok(None),
            }
        }
    }

    /// One request for each sequence, many in flight.
    fn each(&mut self, wire: &mut Wire, stream: &str, state: &State) -> Result<Option<String>, PictureError> {
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        let (mut next, last) = (state.first_seq.max(1), state.last_seq);
        let mut asked: BTreeMap<u64, u64> = BTreeMap::new();
        // Rows ascend, and answers mostly do: what is early waits here, at most a window of it.
        let mut early: BTreeMap<u64, Option<Row>> = BTreeMap::new();
        while next <= last || !asked.is_empty() {
            self.room.camera.go_on()?;
            while next <= last && asked.len() < WINDOW && early.len() < WINDOW {
                let (number, reply) = wire.reply_subject();
                wire.publish(&subject, Some(&reply), b"", format!("{{\"seq\":{next}}}").as_bytes())?;
                asked.insert(number, next);
                next += 1;
            }
            let Some(message) = wire.next(Instant::now() + ANSWER_LIMIT)? else {
                return Ok(Some(format!("{} message gets were not answered in time", asked.len())));
            };
            let Some(seq) = wire.reply_number(&message).and_then(|number| asked.remove(&number)) else {
                continue;
            };
            early.insert(seq, self.single(seq, &message)?);
            let waiting = asked.values().min().copied().unwrap_or(next);
            while let Some(entry) = early.first_entry().filter(|entry| *entry.key() < waiting) {
                if let Some(row) = entry.remove() {
                    self.write(&row)?;
                }
            }
        }
        Ok(None)
    }

    /// Each message as the next one after another, for streams that are mostly holes.
    fn one_after_another(
        &mut self,
        wire: &mut Wire,
        stream: &str,
        state: &State,
    ) -> Result<Option<String>, PictureError> {
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        let mut from = state.first_seq.max(1);
        while from <= state.last_seq {
            self.room.camera.go_on()?;
            let request = json!({ "seq": from, "next_by_subj": ">" });
            let message = wire.request(&subject, request.to_string().as_bytes(), ANSWER_LIMIT)?;
            let before = self.reading.unreadable;
            match self.single(from, &message)? {
                Some(row) => {
                    from = row.seq + 1;
                    self.write(&row)?;
                }
                None if self.reading.unreadable > before => from += 1,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    fn direct(&mut self, message: &Incoming) -> Result<u64, PictureError> {
        let seq = message.header("Nats-Sequence").and_then(|seq| seq.parse::<u64>().ok());
        let subject = message.header("Nats-Subject");
        let (Some(seq), Some(subject)) = (seq, subject) else {
            return Err(WireError::Protocol("a direct get without sequence or subject".to_owned()).into());
        };
        let time = time_ns(message.header("Nats-Time-Stamp"));
        self.write(&row(seq, time, subject, &message.headers, &message.payload))?;
        Ok(seq)
    }

    /// A message of a single get; `None` where there is none, or none that can be read.
    fn single(&mut self, seq: u64, message: &Incoming) -> Result<Option<Row>, PictureError> {
        let Ok(value) = serde_json::from_slice::<Value>(&message.payload) else {
            self.unreadable(seq, "an answer that is no JSON");
            return Ok(None);
        };
        if let Some(error) = value.get("error") {
            if error["err_code"].as_u64() != Some(NO_MESSAGE) {
                self.unreadable(seq, error["description"].as_str().unwrap_or("unknown"));
            }
            return Ok(None);
        }
        let stored = &value["message"];
        let body = base64(stored["data"].as_str().unwrap_or_default());
        let headers = base64(stored["hdrs"].as_str().unwrap_or_default());
        let (Some(body), Some(headers), Some(subject)) = (body, headers, stored["subject"].as_str()) else {
            self.unreadable(seq, "an answer without a readable message");
            return Ok(None);
        };
        let seq = stored["seq"].as_u64().unwrap_or(seq);
        Ok(Some(row(seq, time_ns(stored["time"].as_str()), subject, &headers, &body)))
    }

    fn unreadable(&mut self, seq: u64, why: &str) {
        self.reading.unreadable += 1;
        if self.reading.unreadable_examples.len() < EXAMPLES_MAX {
            self.reading.unreadable_examples.push((seq, why.to_owned()));
        }
    }

    fn write(&mut self, row: &Row) -> Result<(), PictureError> {
        if self.writer.count() == 0 {
            self.reading.first_seq = row.seq;
        }
        self.writer
            .write(row)
            .map_err(|source| PictureError::Io { path: self.room.path.to_owned(), source })?;
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            (self.progress)(self.writer.count());
        }
        Ok(())
    }
}

/// Headers that a direct get adds (nats-server stream.go:getDirectRequest). A message that carries them itself, as republished
/// ones do, loses them here however it is read.
const ADDED: [&str; 7] = [
    "Nats-Stream",
    "Nats-Subject",
    "Nats-Sequence",
    "Nats-Time-Stamp",
    "Nats-Num-Pending",
    "Nats-Last-Sequence",
    "Nats-UpTo-Sequence",
];

/// A message as a row. `block` is its headers as they came, with or without what a direct get adds.
pub(crate) fn row(seq: u64, time_ns: i64, subject: &str, block: &[u8], body: &[u8]) -> Row {
    let mut row = Row { seq, time_ns, subject: subject.to_owned(), ..Row::default() };
    let digest = Sha256::digest(body);
    row.body.copy_from_slice(&digest[..16]);
    row.size = (subject.len() + body.len()) as u64;
    let mut hasher = Sha256::new();
    let mut lines = block.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    // What stands behind the version on the first line belongs to the message too.
    let first = lines.next().and_then(|line| line.strip_prefix(b"NATS/1.0")).unwrap_or_default();
    let mut any = !first.is_empty();
    hasher.update(first);
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        if ADDED.iter().any(|added| added.as_bytes() == name) {
            continue;
        }
        any = true;
        row.size += line.len() as u64 + 2;
        hasher.update(line);
        hasher.update(b"\n");
        let value = std::str::from_utf8(value).unwrap_or_default().trim_start_matches(':').trim();
        match name {
            b"Nats-TTL" => row.ttl = ttl(value),
            b"Nats-Rollup" if value == "all" => row.role = Role::RollsAll,
            b"Nats-Rollup" => row.role = Role::RollsSubject,
            b"Nats-Schedule" => row.role = Role::Schedule,
            _ => {}
        }
    }
    if any {
        let digest = hasher.finalize();
        let mut eight = [0; 8];
        eight.copy_from_slice(&digest[..8]);
        // 0 says that there are none.
        row.headers = u64::from_le_bytes(eight).max(1);
    }
    row
}

/// `Nats-TTL`: seconds, a duration as Go writes it, or `never` (ADR-43).
fn ttl(value: &str) -> Ttl {
    if value == "never" {
        return Ttl::Never;
    }
    if let Ok(seconds) = value.parse() {
        return Ttl::Seconds(seconds);
    }
    streamproof_model::duration::parse(value).map_or(Ttl::Stream, |nanos| Ttl::Seconds(nanos / 1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_same_row_however_it_is_read() {
        let single = row(4, 9, "a", b"NATS/1.0\r\nNote: x\r\nNats-TTL: 1h\r\n\r\n", b"body");
        let direct = row(
            4,
            9,
            "a",
            b"NATS/1.0\r\nNote: x\r\nNats-TTL: 1h\r\nNats-Stream: S\r\nNats-Subject: a\r\nNats-Sequence: 4\r\n\
              Nats-Time-Stamp: t\r\nNats-Num-Pending: 3\r\nNats-Last-Sequence: 2\r\n\r\n",
            b"body",
        );
        assert_eq!(single, direct);
        assert_eq!(single.ttl, Ttl::Seconds(3600));
        let plain = row(4, 9, "a", b"", b"body");
        assert_eq!(plain, row(4, 9, "a", b"NATS/1.0\r\nNats-Stream: S\r\nNats-Subject: a\r\n\r\n", b"body"));
        assert_eq!((plain.headers, plain.ttl), (0, Ttl::Stream));
        let others = [
            row(4, 9, "a", b"NATS/1.0\r\nNote: y\r\nNats-TTL: 1h\r\n\r\n", b"body"),
            row(4, 9, "a", b"NATS/1.0\r\nNats-TTL: 1h\r\nNote: x\r\n\r\n", b"body"),
            row(4, 9, "a", b"NATS/1.0\r\nNote: x\r\nNats-TTL: 1h\r\n\r\n", b"Body"),
            row(4, 9, "a", b"", b"body"),
        ];
        for other in others {
            assert_ne!(single, other);
        }
    }
}
