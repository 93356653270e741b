//! A few lines of the NATS protocol, blocking: publish with acknowledgements in flight, and read a whole stream back.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long an answer may take: recovery of a big store on a busy machine is slow, a server that hangs is a finding.
pub(crate) const PATIENT: Duration = Duration::from_secs(30);

/// Publishes that wait for their acknowledgement at the same time.
const IN_FLIGHT: u64 = 500;

/// An acknowledgement, and when it was here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acked {
    /// The message's number, from 0: what is in its body.
    pub(crate) number: u64,
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
    /// When it was here, or a little later.
    pub(crate) at: Instant,
}

/// A message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its sequence.
    pub(crate) sequence: u64,
    /// Its number, from its body; `None` where the body is not one of ours.
    pub(crate) number: Option<u64>,
}

/// The body of message `number`: the number, and filling that depends on it.
pub(crate) fn body(number: u64, size_bytes: usize) -> Vec<u8> {
    let mut body = format!("{number:016}").into_bytes();
    let filling = b'a' + (number % 26) as u8;
    body.resize(size_bytes.max(16), filling);
    body
}

fn number_of(bytes: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(bytes.get(..16)?).ok()?.parse().ok()?;
    (body(number, bytes.len()) == bytes).then_some(number)
}

/// A connection.
pub(crate) struct Nats {
    reader: BufReader<TcpStream>,
    subscriptions: u64,
}

struct Message {
    sid: u64,
    subject: String,
    reply: String,
    body: Vec<u8>,
}

impl Nats {
    /// Connects to `127.0.0.1:PORT`; `bound` is for each answer.
    pub(crate) fn connect(address: &str, bound: Duration) -> io::Result<Nats> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(bound))?;
        stream.set_write_timeout(Some(bound))?;
        let mut nats = Nats { reader: BufReader::with_capacity(1 << 16, stream), subscriptions: 0 };
        nats.line()?;
        let hello =
            "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n";
        nats.send(hello.as_bytes())?;
        Ok(nats)
    }

    /// A file-stored stream of one replica, `subject` its subject; what `more` says on top.
    pub(crate) fn create_stream(&mut self, name: &str, subject: &str, more: &Value) -> io::Result<()> {
        let mut config = json!({ "name": name, "subjects": [subject], "storage": "file", "num_replicas": 1,
            "retention": "limits", "discard": "old", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1,
            "max_age": 0, "max_msg_size": -1 });
        if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
            config.extend(more.clone());
        }
        let answer = self.request(&format!("$JS.API.STREAM.CREATE.{name}"), &config)?;
        if answer["error"].is_null() { Ok(()) } else { Err(io::Error::other(answer["error"].to_string())) }
    }

    /// Publishes the messages `numbers`, and gives the acknowledgements that came; it ends at the first that did not.
    pub(crate) fn publish(
        &mut self,
        subject: &str,
        numbers: std::ops::Range<u64>,
        size_bytes: usize,
    ) -> io::Result<Vec<Acked>> {
        let inbox = self.subscribe("*")?;
        let prefix = inbox.trim_end_matches('*').to_owned();
        let mut acked = Vec::with_capacity((numbers.end - numbers.start) as usize);
        let mut next = numbers.start;
        let mut sent = Vec::new();
        while (acked.len() as u64) < numbers.end - numbers.start {
            while next < numbers.end && next - numbers.start - (acked.len() as u64) < IN_FLIGHT {
                let body = body(next, size_bytes);
                write!(sent, "PUB {subject} {prefix}{next} {}\r\n", body.len())?;
                sent.extend_from_slice(&body);
                sent.extend_from_slice(b"\r\n");
                next += 1;
            }
            if !sent.is_empty() {
                self.send(&sent)?;
                sent.clear();
            }
            // All that came, before more is sent: batches on both sides.
            loop {
                let message = self.message()?;
                let Some(number) = message.subject.strip_prefix(&prefix).and_then(|n| n.parse().ok()) else {
                    continue;
                };
                let answer: Value = serde_json::from_slice(&message.body).unwrap_or_default();
                let (Some(sequence), None) = (answer["seq"].as_u64(), answer.get("error")) else {
                    return Ok(acked);
                };
                acked.push(Acked { number, sequence, at: Instant::now() });
                if self.reader.buffer().is_empty() {
                    break;
                }
            }
        }
        Ok(acked)
    }

    /// Every message of a stream, in order; `None` where there is no such stream.
    pub(crate) fn read(&mut self, stream: &str) -> io::Result<Option<Vec<Stored>>> {
        let info = self.request(&format!("$JS.API.STREAM.INFO.{stream}"), &json!({}))?;
        if info["error"]["code"] == 404 {
            return Ok(None);
        }
        let count = info["state"]["messages"].as_u64().ok_or_else(|| io::Error::other(info.to_string()))?;
        let mut stored = Vec::with_capacity(count as usize);
        if count == 0 {
            return Ok(Some(stored));
        }
        // A push consumer without acks: the one way to read everything in one go that every version knows.
        let inbox = self.subscribe("all")?;
        let sid = self.subscriptions;
        let config = json!({ "stream_name": stream, "config": { "deliver_subject": inbox, "ack_policy": "none",
            "deliver_policy": "all", "replay_policy": "instant", "mem_storage": true } });
        self.publish_request(&format!("$JS.API.CONSUMER.CREATE.{stream}"), &config)?;
        loop {
            let message = self.message()?;
            if message.sid != sid {
                let answer: Value = serde_json::from_slice(&message.body).unwrap_or_default();
                if !answer["error"].is_null() {
                    return Err(io::Error::other(answer["error"].to_string()));
                }
                continue;
            }
            // $JS.ACK.<stream>.<consumer>.<times>.<sequence>.<consumer sequence>.<time>.<pending> (ADR-15)
            let mut words = message.reply.rsplit('.');
            let pending: u64 = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
            let sequence = words.nth(2).and_then(|w| w.parse().ok()).unwrap_or(0);
            stored.push(Stored { sequence, number: number_of(&message.body) });
            if pending == 0 {
                return Ok(Some(stored));
            }
        }
    }

    fn request(&mut self, subject: &str, body: &Value) -> io::Result<Value> {
        self.publish_request(subject, body)?;
        let sid = self.subscriptions;
        loop {
            let message = self.message()?;
            if message.sid == sid {
                return serde_json::from_slice(&message.body).map_err(io::Error::other);
            }
        }
    }

    fn publish_request(&mut self, subject: &str, body: &Value) -> io::Result<()> {
        let inbox = self.subscribe("one")?;
        let body = body.to_string();
        self.send(format!("PUB {subject} {inbox} {}\r\n{body}\r\n", body.len()).as_bytes())
    }

    fn subscribe(&mut self, last: &str) -> io::Result<String> {
        self.subscriptions += 1;
        let port = self.reader.get_ref().local_addr()?.port();
        let inbox = format!("_INBOX.{port}.{}.{last}", self.subscriptions);
        self.send(format!("SUB {inbox} {}\r\n", self.subscriptions).as_bytes())?;
        Ok(inbox)
    }

    fn message(&mut self) -> io::Result<Message> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let number = |word: &str| word.parse::<usize>().map_err(io::Error::other);
            let (subject, sid, reply, headers, size) = match words.as_slice() {
                ["PING"] => {
                    self.send(b"PONG\r\n")?;
                    continue;
                }
                ["MSG", subject, sid, size] => (subject, sid, "", 0, number(size)?),
                ["MSG", subject, sid, reply, size] => (subject, sid, *reply, 0, number(size)?),
                ["HMSG", subject, sid, headers, size] => (subject, sid, "", number(headers)?, number(size)?),
                ["HMSG", subject, sid, reply, headers, size] => {
                    (subject, sid, *reply, number(headers)?, number(size)?)
                }
                ["-ERR", ..] => return Err(io::Error::other(line)),
                _ => continue,
            };
            let (subject, sid, reply) = (subject.to_string(), number(sid)? as u64, reply.to_owned());
            let mut body = vec![0; size + 2];
            self.reader.read_exact(&mut body)?;
            body.truncate(size);
            return Ok(Message { sid, subject, reply, body: body.split_off(headers) });
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }
}
