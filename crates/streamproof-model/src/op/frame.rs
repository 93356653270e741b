//! The history as a file: checksummed binary frames.
//!
//! ```text
//! file    = "SPHIST01" frame*
//! frame   = length (varint, of the payload) | crc32 of the payload (4 bytes, little-endian) | payload
//! payload = tag (1 byte) | fields
//! ```
//!
//! Numbers are LEB128 varints, signed ones zigzagged; hashes are 4 bytes, little-endian. The frequent records
//! have tags of their own; every other record is tag 0 and the same JSON as in the export. A frame that is
//! short or whose checksum does not match ends the history: what follows it is unknown, and reading says so
//! with [`Event::Torn`] as the last record. It is no error. `docs/history.md` has the table of the fields.

use super::{
    AckKind, Call, ConsumerId, Deliver, Event, Expect, Headers, Outcome, Publish, Record, Role, Seen, Stored,
    StreamId, SubjectId, Ttl, Why,
};
use crate::failure::{Code, Failure};
use std::io::{self, Read};

/// What a history file begins with. The last two characters are the version of the format.
const MAGIC: &[u8; 8] = b"SPHIST01";

/// No record is as long as this; a longer length is damage, not a record (a configuration has some kilobytes).
const FRAME_MAX: u64 = 64 << 20;

const TAG_JSON: u8 = 0;
const TAG_PUBLISH: u8 = 1;
const TAG_ACK: u8 = 2;
const TAG_DELETE: u8 = 3;
const TAG_DONE: u8 = 4;
const TAG_DELIVER: u8 = 5;
const TAG_STORED: u8 = 6;

/// Why a history cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The file is no history, or of a later format.
    #[error("not a history of streamproof (format 01)")]
    NotAHistory,
    /// It cannot be read.
    #[error("cannot read the history")]
    Io(#[from] io::Error),
    /// A line of an export makes no sense.
    #[error("line {line} of the export is not a record")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
}

impl Failure for HistoryError {
    fn code(&self) -> Code {
        match self {
            HistoryError::NotAHistory | HistoryError::Line { .. } => Code::InvalidHistory,
            HistoryError::Io(_) => Code::Io,
        }
    }
}

/// Turns records into bytes. It only appends to a buffer; whoever records decides when to write that out.
#[derive(Debug, Default)]
pub struct Encoder {
    payload: Vec<u8>,
}

impl Encoder {
    /// What a file must begin with.
    #[must_use]
    pub fn magic() -> &'static [u8] {
        MAGIC
    }

    /// Appends a call that is about to be sent.
    pub fn invoke(&mut self, id: u64, at: u64, call: &Call, out: &mut Vec<u8>) {
        let p = &mut self.payload;
        p.clear();
        match call {
            Call::Publish(publish) => {
                begin(p, TAG_PUBLISH, &[id, at]);
                put_publish(p, publish);
            }
            Call::Ack { consumer, seq, consumer_seq, kind } => {
                begin(p, TAG_ACK, &[id, at, consumer.0.into(), *seq, *consumer_seq]);
                p.push(ack_code(*kind));
            }
            Call::Delete { stream, seq, erase } => {
                begin(p, TAG_DELETE, &[id, at, stream.0.into(), *seq, u64::from(*erase)]);
            }
            _ => put_json(p, &Record::Invoke { id, at, call: call.clone() }),
        }
        self.frame(out);
    }

    /// Appends the outcome of a call.
    pub fn done(&mut self, id: u64, at: u64, outcome: Outcome, out: &mut Vec<u8>) {
        let p = &mut self.payload;
        p.clear();
        let (code, value) = match outcome {
            Outcome::Acked { seq, duplicate: false } => (0, seq),
            Outcome::Acked { seq, duplicate: true } => (1, seq),
            Outcome::Done { count } => (2, count),
            Outcome::Sent => (3, 0),
            Outcome::Rejected { code } => (4, u64::from(code)),
            Outcome::Indeterminate { why } => (5, why_code(why)),
        };
        begin(p, TAG_DONE, &[id, at, code, value]);
        self.frame(out);
    }

    /// Appends something seen.
    pub fn event(&mut self, at: u64, event: &Event, out: &mut Vec<u8>) {
        let p = &mut self.payload;
        p.clear();
        match event {
            Event::Deliver(d) => {
                begin(
                    p,
                    TAG_DELIVER,
                    &[
                        at,
                        d.consumer.0.into(),
                        d.seq,
                        d.consumer_seq,
                        d.delivered.into(),
                        d.pending,
                        d.subject.0.into(),
                    ],
                );
                put_seen(p, d.seen);
                put_headers(p, d.headers);
            }
            Event::Stored(s) => {
                begin(p, TAG_STORED, &[at, s.stream.0.into(), s.seq, s.subject.0.into(), zigzag(s.ts_us)]);
                p.push(u8::from(s.server_made));
                put_seen(p, s.seen);
                put_headers(p, s.headers);
            }
            _ => put_json(p, &Record::Event { at, event: event.clone() }),
        }
        self.frame(out);
    }

    /// Appends any record.
    pub fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
        match record {
            Record::Invoke { id, at, call } => self.invoke(*id, *at, call, out),
            Record::Done { id, at, outcome } => self.done(*id, *at, *outcome, out),
            Record::Event { at, event } => self.event(*at, event, out),
        }
    }

    fn frame(&self, out: &mut Vec<u8>) {
        varint(out, self.payload.len() as u64);
        out.extend_from_slice(&crc32fast::hash(&self.payload).to_le_bytes());
        out.extend_from_slice(&self.payload);
    }
}

/// Reads a history, record by record, in constant memory.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    payload: Vec<u8>,
    offset: u64,
    at: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Begins to read. Give it a buffered source.
    ///
    /// # Errors
    ///
    /// When the file is no history. All later damage is [`Event::Torn`].
    pub fn new(mut source: R) -> Result<Self, HistoryError> {
        let mut magic = [0; MAGIC.len()];
        source.read_exact(&mut magic).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => HistoryError::NotAHistory,
            _ => HistoryError::Io(error),
        })?;
        if magic != *MAGIC {
            return Err(HistoryError::NotAHistory);
        }
        Ok(Self { source, payload: Vec::new(), offset: MAGIC.len() as u64, at: 0, ended: false })
    }

    /// The next payload's length in the file; none at a clean end.
    fn next_frame(&mut self) -> Result<Option<u64>, Damage> {
        let mut length = 0_u64;
        let mut size = 0_u64;
        loop {
            let mut byte = [0];
            match self.source.read(&mut byte) {
                Ok(0) if size == 0 => return Ok(None),
                Ok(1) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                _ => return Err(Damage),
            }
            length |= u64::from(byte[0] & 0x7f) << (7 * size);
            size += 1;
            if byte[0] & 0x80 == 0 {
                break;
            }
            if size > 4 {
                return Err(Damage);
            }
        }
        if length == 0 || length > FRAME_MAX {
            return Err(Damage);
        }
        let mut check = [0; 4];
        self.source.read_exact(&mut check).map_err(|_| Damage)?;
        self.payload.clear();
        let read = self.source.by_ref().take(length).read_to_end(&mut self.payload).map_err(|_| Damage)?;
        if read as u64 != length || crc32fast::hash(&self.payload) != u32::from_le_bytes(check) {
            return Err(Damage);
        }
        Ok(Some(size + 4 + length))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.ended {
            return None;
        }
        let frame = self.next_frame();
        let record = frame.and_then(|size| match size {
            None => Ok(None),
            Some(size) => Fields(&self.payload).record().map(|record| Some((size, record))),
        });
        match record {
            Ok(None) => {
                self.ended = true;
                None
            }
            Ok(Some((size, record))) => {
                self.offset += size;
                self.at = match &record {
                    Record::Invoke { at, .. } | Record::Done { at, .. } | Record::Event { at, .. } => *at,
                };
                Some(record)
            }
            Err(Damage) => {
                self.ended = true;
                Some(Record::Event { at: self.at, event: Event::Torn { offset: self.offset } })
            }
        }
    }
}

/// A frame that makes no sense.
struct Damage;

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn record(mut self) -> Result<Record, Damage> {
        let tag = self.byte()?;
        if tag == TAG_JSON {
            return serde_json::from_slice(self.0).map_err(|_| Damage);
        }
        let first = self.varint()?;
        let record = match tag {
            TAG_PUBLISH => {
                Record::Invoke { id: first, at: self.varint()?, call: Call::Publish(self.publish()?) }
            }
            TAG_ACK => {
                let at = self.varint()?;
                let consumer = ConsumerId(self.small()?);
                let (seq, consumer_seq) = (self.varint()?, self.varint()?);
                let kind = ack_kind(self.byte()?)?;
                Record::Invoke { id: first, at, call: Call::Ack { consumer, seq, consumer_seq, kind } }
            }
            TAG_DELETE => {
                let at = self.varint()?;
                let stream = StreamId(self.small()?);
                let (seq, erase) = (self.varint()?, self.varint()? != 0);
                Record::Invoke { id: first, at, call: Call::Delete { stream, seq, erase } }
            }
            TAG_DONE => {
                let (at, code, value) = (self.varint()?, self.varint()?, self.varint()?);
                let outcome = match code {
                    0 | 1 => Outcome::Acked { seq: value, duplicate: code == 1 },
                    2 => Outcome::Done { count: value },
                    3 => Outcome::Sent,
                    4 => Outcome::Rejected { code: u32::try_from(value).map_err(|_| Damage)? },
                    5 => Outcome::Indeterminate { why: why(value)? },
                    _ => return Err(Damage),
                };
                Record::Done { id: first, at, outcome }
            }
            TAG_DELIVER => {
                let deliver = Deliver {
                    consumer: ConsumerId(self.small()?),
                    seq: self.varint()?,
                    consumer_seq: self.varint()?,
                    delivered: self.small()?,
                    pending: self.varint()?,
                    subject: SubjectId(self.small()?),
                    seen: self.seen()?,
                    headers: self.headers()?,
                };
                Record::Event { at: first, event: Event::Deliver(deliver) }
            }
            TAG_STORED => {
                let stored = Stored {
                    stream: StreamId(self.small()?),
                    seq: self.varint()?,
                    subject: SubjectId(self.small()?),
                    ts_us: unzigzag(self.varint()?),
                    server_made: self.byte()? != 0,
                    seen: self.seen()?,
                    headers: self.headers()?,
                };
                Record::Event { at: first, event: Event::Stored(stored) }
            }
            _ => return Err(Damage),
        };
        if self.0.is_empty() { Ok(record) } else { Err(Damage) }
    }

    fn byte(&mut self) -> Result<u8, Damage> {
        let (first, rest) = self.0.split_first().ok_or(Damage)?;
        self.0 = rest;
        Ok(*first)
    }

    fn varint(&mut self) -> Result<u64, Damage> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damage)
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Damage> {
        T::try_from(self.varint()?).map_err(|_| Damage)
    }

    fn hash(&mut self) -> Result<u32, Damage> {
        let (hash, rest) = self.0.split_first_chunk().ok_or(Damage)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*hash))
    }

    fn headers(&mut self) -> Result<Headers, Damage> {
        let len = self.small()?;
        Ok(Headers { len, hash: if len == 0 { 0 } else { self.hash()? } })
    }

    fn seen(&mut self) -> Result<Seen, Damage> {
        Ok(match self.byte()? {
            0 => Seen::Ours { publisher: self.small()?, counter: self.small()?, len: self.small()? },
            1 => Seen::Damaged {
                publisher: self.small()?,
                counter: self.small()?,
                len: self.small()?,
                hash: self.hash()?,
            },
            2 => Seen::Foreign { len: self.small()?, hash: self.hash()? },
            _ => return Err(Damage),
        })
    }

    fn publish(&mut self) -> Result<Publish, Damage> {
        let flags = self.byte()?;
        let mut publish = Publish {
            stream: StreamId(self.small()?),
            subject: SubjectId(self.small()?),
            publisher: self.small()?,
            counter: self.small()?,
            len: self.small()?,
            attempt: 0,
            headers: Headers::default(),
            msg_id: flags & HAS_MSG_ID != 0,
            expect: Expect::Nothing,
            ttl: Ttl::Stream,
            role: Role::Plain,
        };
        if flags & HAS_ATTEMPT != 0 {
            publish.attempt = self.byte()?;
        }
        if flags & HAS_HEADERS != 0 {
            publish.headers = self.headers()?;
        }
        if flags & HAS_EXPECT != 0 {
            publish.expect = match self.byte()? {
                1 => Expect::LastSeq(self.varint()?),
                2 => Expect::LastSubjectSeq(self.varint()?),
                3 => Expect::LastMsgId(self.small()?),
                _ => return Err(Damage),
            };
        }
        if flags & HAS_TTL != 0 {
            publish.ttl = match self.varint()? {
                0 => Ttl::Never,
                seconds => Ttl::Seconds(u32::try_from(seconds - 1).map_err(|_| Damage)?),
            };
        }
        if flags & HAS_ROLE != 0 {
            publish.role = match self.byte()? {
                1 => Role::KvDelete,
                2 => Role::KvPurge,
                3 => Role::RollupSubject,
                4 => Role::RollupAll,
                _ => return Err(Damage),
            };
        }
        Ok(publish)
    }
}

const HAS_MSG_ID: u8 = 1;
const HAS_ATTEMPT: u8 = 2;
const HAS_HEADERS: u8 = 4;
const HAS_EXPECT: u8 = 8;
const HAS_TTL: u8 = 16;
const HAS_ROLE: u8 = 32;

fn put_publish(p: &mut Vec<u8>, publish: &Publish) {
    let mut flags = 0;
    for (bit, set) in [
        (HAS_MSG_ID, publish.msg_id),
        (HAS_ATTEMPT, publish.attempt != 0),
        (HAS_HEADERS, publish.headers.len != 0),
        (HAS_EXPECT, publish.expect != Expect::Nothing),
        (HAS_TTL, publish.ttl != Ttl::Stream),
        (HAS_ROLE, publish.role != Role::Plain),
    ] {
        if set {
            flags |= bit;
        }
    }
    p.push(flags);
    for value in [
        u64::from(publish.stream.0),
        publish.subject.0.into(),
        publish.publisher.into(),
        publish.counter.into(),
        publish.len.into(),
    ] {
        varint(p, value);
    }
    if flags & HAS_ATTEMPT != 0 {
        p.push(publish.attempt);
    }
    if flags & HAS_HEADERS != 0 {
        put_headers(p, publish.headers);
    }
    let (expect, value) = match publish.expect {
        Expect::Nothing => (0, 0),
        Expect::LastSeq(seq) => (1, seq),
        Expect::LastSubjectSeq(seq) => (2, seq),
        Expect::LastMsgId(counter) => (3, counter.into()),
    };
    if expect != 0 {
        p.push(expect);
        varint(p, value);
    }
    match publish.ttl {
        Ttl::Stream => {}
        Ttl::Never => varint(p, 0),
        Ttl::Seconds(seconds) => varint(p, u64::from(seconds) + 1),
    }
    match publish.role {
        Role::Plain => {}
        Role::KvDelete => p.push(1),
        Role::KvPurge => p.push(2),
        Role::RollupSubject => p.push(3),
        Role::RollupAll => p.push(4),
    }
}

fn put_headers(p: &mut Vec<u8>, headers: Headers) {
    varint(p, headers.len.into());
    if headers.len != 0 {
        p.extend_from_slice(&headers.hash.to_le_bytes());
    }
}

fn put_seen(p: &mut Vec<u8>, seen: Seen) {
    match seen {
        Seen::Ours { publisher, counter, len } => {
            begin(p, 0, &[publisher.into(), counter.into(), len.into()])
        }
        Seen::Damaged { publisher, counter, len, hash } => {
            begin(p, 1, &[publisher.into(), counter.into(), len.into()]);
            p.extend_from_slice(&hash.to_le_bytes());
        }
        Seen::Foreign { len, hash } => {
            begin(p, 2, &[len.into()]);
            p.extend_from_slice(&hash.to_le_bytes());
        }
    }
}

/// Every type of a record serialises: maps have string keys, and no `Serialize` here fails.
fn put_json(p: &mut Vec<u8>, record: &Record) {
    p.push(TAG_JSON);
    if serde_json::to_writer(&mut *p, record).is_err() {
        // An unreadable frame is found when it is read; better than a record that was silently left out.
        p.truncate(1);
    }
}

fn begin(p: &mut Vec<u8>, tag: u8, fields: &[u64]) {
    p.push(tag);
    for field in fields {
        varint(p, *field);
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn ack_code(kind: AckKind) -> u8 {
    match kind {
        AckKind::Ack => 0,
        AckKind::DoubleAck => 1,
        AckKind::Nak => 2,
        AckKind::Term => 3,
        AckKind::InProgress => 4,
    }
}

fn ack_kind(code: u8) -> Result<AckKind, Damage> {
    Ok(match code {
        0 => AckKind::Ack,
        1 => AckKind::DoubleAck,
        2 => AckKind::Nak,
        3 => AckKind::Term,
        4 => AckKind::InProgress,
        _ => return Err(Damage),
    })
}

fn why_code(why: Why) -> u64 {
    match why {
        Why::Timeout => 0,
        Why::Disconnect => 1,
        Why::NoResponders => 2,
        Why::InFlight => 3,
        Why::Unrecorded => 4,
    }
}

fn why(code: u64) -> Result<Why, Damage> {
    Ok(match code {
        0 => Why::Timeout,
        1 => Why::Disconnect,
        2 => Why::NoResponders,
        3 => Why::InFlight,
        4 => Why::Unrecorded,
        _ => return Err(Damage),
    })
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
