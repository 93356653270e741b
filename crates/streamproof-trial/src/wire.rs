//! The wire to a server under test: a blocking connection that never reconnects, never re-sends and never hides a failure.
//!
//! A history must say what was written before a fault and what came back. A client that reconnects by itself, or keeps
//! publishes to send them later, would blur exactly that; so the trial speaks the few verbs of the protocol that it needs
//! (<https://docs.nats.io/reference/reference-protocols/nats-protocol>) over a plain socket, and every wait has a deadline.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use streamproof_server::wire::Credentials;

use socket::Socket;
pub use socket::Tls;

mod socket;

/// Written bytes are handed to the kernel at the latest when this many are waiting: one large write, not many small ones.
const FLUSH_AT_BYTES: usize = 32 * 1024;

/// How a connection may fail.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The server is gone, or the connection was cut.
    #[error("the connection to the server ended: {0}")]
    Closed(String),
    /// The server said no (`-ERR`).
    #[error("the server refused: {0}")]
    Refused(String),
    /// No answer in time.
    #[error("no answer to {what} within {limit_ms} ms")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The limit.
        limit_ms: u64,
    },
    /// The JetStream API answered with an error.
    #[error("{what}: {description} (code {code})")]
    Api {
        /// The subject asked.
        what: String,
        /// The server's `err_code`.
        code: u64,
        /// The server's text.
        description: String,
    },
    /// The server wants TLS, and it cannot be spoken with it.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server sent what the protocol does not know.
    #[error("the server sent something unexpected: {0}")]
    Protocol(String),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        WireError::Closed(error.to_string())
    }
}

/// What a connection presents to a server that asks for it.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// Who connects.
    pub credentials: Credentials,
    /// Whom it trusts, and its own certificate; for a server that speaks TLS.
    pub tls: Tls,
}

impl From<Credentials> for Login {
    fn from(credentials: Credentials) -> Self {
        Login { credentials, tls: Tls::default() }
    }
}

/// One message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The subject it came on.
    pub subject: String,
    /// The subscription it came to.
    pub sid: u32,
    /// Where an answer would go.
    pub reply: Option<String>,
    /// The header block as it came, `NATS/1.0…` line included; empty if there was none.
    pub headers: Vec<u8>,
    /// The body.
    pub payload: Vec<u8>,
}

impl Incoming {
    /// The status code in the first header line, if there is one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let line = self.headers.strip_prefix(b"NATS/1.0 ")?;
        std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
    }

    /// The value of a header, by exact name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// The value of a header in a raw block, by exact name.
#[must_use]
pub fn header<'a>(block: &'a [u8], name: &str) -> Option<&'a str> {
    std::str::from_utf8(block).ok()?.split("\r\n").skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key == name).then(|| value.trim_start())
    })
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    buffer: Vec<u8>,
    consumed: usize,
    out: Vec<u8>,
    inbox: String,
    replies: u32,
    requests: u64,
    subscriptions: u32,
    waiting: VecDeque<Incoming>,
    /// The server's `INFO`, as it greeted.
    pub info: Value,
}

/// Cuts a connection from another thread, as if the cable were pulled on the client's side.
#[derive(Debug)]
pub struct Cut(TcpStream);

impl Cut {
    /// Cuts it; nothing is sent any more, and the reader sees the end.
    pub fn cut(&self) {
        // An error means that it is closed already, which is what was asked for.
        self.0.shutdown(Shutdown::Both).ok();
    }
}

impl Wire {
    /// Connects and waits for the server's `PONG`.
    ///
    /// # Errors
    /// [`WireError::Closed`], [`WireError::Refused`] (credentials) or [`WireError::Timeout`].
    pub fn connect(address: SocketAddr, login: &Login, limit: Duration) -> Result<Wire, WireError> {
        let until = Instant::now() + limit;
        let socket = TcpStream::connect_timeout(&address, limit)?;
        socket.set_nodelay(true)?;
        // A server that stops reading must not hold the writer for ever either.
        socket.set_write_timeout(Some(limit))?;
        let inbox = format!("_INBOX.sp{:x}", unique());
        let mut wire = Wire {
            socket: Socket::Plain(socket),
            buffer: Vec::with_capacity(64 * 1024),
            consumed: 0,
            out: Vec::with_capacity(FLUSH_AT_BYTES * 2),
            inbox,
            replies: 0,
            requests: 0,
            subscriptions: 0,
            waiting: VecDeque::new(),
            info: Value::Null,
        };
        let line = loop {
            if let Some(line) = wire.line()? {
                break line;
            }
            wire.fill(until, "the server's greeting", limit)?;
        };
        let Some(info) = line.strip_prefix("INFO ") else {
            return Err(WireError::Protocol(line));
        };
        wire.info = serde_json::from_str(info).map_err(|error| WireError::Protocol(error.to_string()))?;
        if wire.info["tls_required"] == Value::Bool(true) {
            wire.socket = wire.socket.secured(address, &login.tls, until)?;
        }
        let nonce = wire.info["nonce"].as_str().unwrap_or_default();
        let who = login.credentials.answer(nonce).map_err(|error| WireError::Refused(error.to_string()))?;
        let mut connect = serde_json::json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
            "name": "streamproof-trial", "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
        });
        if let (Some(connect), Value::Object(who)) = (connect.as_object_mut(), who) {
            connect.extend(who);
        }
        wire.out.extend_from_slice(format!("CONNECT {connect}\r\n").as_bytes());
        wire.replies = wire.subscribe(&format!("{}.*", wire.inbox), None);
        wire.out.extend_from_slice(b"PING\r\n");
        wire.flush()?;
        loop {
            match wire.line()? {
                Some(line) if line == "PONG" => return Ok(wire),
                Some(line) if line.starts_with("-ERR") => return Err(WireError::Refused(line)),
                Some(_) => {}
                None => wire.fill(until, "the server's PONG", limit)?,
            }
        }
    }

    /// A handle that cuts this connection from elsewhere.
    ///
    /// # Errors
    /// If the operating system cannot duplicate the socket.
    pub fn cutter(&self) -> Result<Cut, WireError> {
        Ok(Cut(self.socket.tcp().try_clone()?))
    }

    /// Subscribes; the command is buffered until the next flush.
    pub fn subscribe(&mut self, subject: &str, queue: Option<&str>) -> u32 {
        self.subscriptions += 1;
        let sid = self.subscriptions;
        let queue = queue.map_or(String::new(), |queue| format!("{queue} "));
        self.out.extend_from_slice(format!("SUB {subject} {queue}{sid}\r\n").as_bytes());
        sid
    }

    /// Ends a subscription; what has arrived for it is dropped.
    pub fn unsubscribe(&mut self, sid: u32) {
        self.out.extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes());
        self.waiting.retain(|message| message.sid != sid);
    }

    /// A subject of this connection's own that an answer can be sent to; answers arrive with [`Wire::replies_sid`].
    pub fn reply_subject(&mut self) -> (u64, String) {
        self.requests += 1;
        (self.requests, format!("{}.{}", self.inbox, self.requests))
    }

    /// The subscription on which answers arrive.
    #[must_use]
    pub fn replies_sid(&self) -> u32 {
        self.replies
    }

    /// The number of [`Wire::reply_subject`] that an answer is for.
    #[must_use]
    pub fn reply_number(&self, message: &Incoming) -> Option<u64> {
        message.subject.strip_prefix(self.inbox.as_str())?.strip_prefix('.')?.parse().ok()
    }

    /// Publishes; buffered, and written when enough has come together or at [`Wire::flush`].
    ///
    /// `headers` is a whole block, or empty.
    ///
    /// # Errors
    /// [`WireError::Closed`].
    pub fn publish(
        &mut self,
        subject: &str,
        reply: Option<&str>,
        headers: &[u8],
        payload: &[u8],
    ) -> Result<(), WireError> {
        let reply = reply.map_or(String::new(), |reply| format!("{reply} "));
        if headers.is_empty() {
            self.out.extend_from_slice(format!("PUB {subject} {reply}{}\r\n", payload.len()).as_bytes());
        } else {
            let total = headers.len() + payload.len();
            self.out
                .extend_from_slice(format!("HPUB {subject} {reply}{} {total}\r\n", headers.len()).as_bytes());
            self.out.extend_from_slice(headers);
        }
        self.out.extend_from_slice(payload);
        self.out.extend_from_slice(b"\r\n");
        if self.out.len() >= FLUSH_AT_BYTES { self.flush() } else { Ok(()) }
    }

    /// Hands everything to the kernel.
    ///
    /// # Errors
    /// [`WireError::Closed`].
    pub fn flush(&mut self) -> Result<(), WireError> {
        if !self.out.is_empty() {
            self.socket.write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// The next message, or `None` when the deadline passes first. Flushes.
    ///
    /// # Errors
    /// [`WireError::Closed`] or [`WireError::Protocol`].
    pub fn next(&mut self, until: Instant) -> Result<Option<Incoming>, WireError> {
        self.flush()?;
        if let Some(message) = self.waiting.pop_front() {
            return Ok(Some(message));
        }
        loop {
            if let Some(message) = self.message()? {
                return Ok(Some(message));
            }
            match self.fill(until, "a message", Duration::ZERO) {
                Ok(()) => {}
                Err(WireError::Timeout { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// A message that has arrived already, without waiting and without flushing.
    ///
    /// # Errors
    /// [`WireError::Protocol`].
    pub fn buffered(&mut self) -> Result<Option<Incoming>, WireError> {
        match self.waiting.pop_front() {
            Some(message) => Ok(Some(message)),
            None => self.message(),
        }
    }

    /// Asks and waits for the one answer; whatever else arrives meanwhile stays for [`Wire::next`].
    ///
    /// # Errors
    /// [`WireError::Timeout`], [`WireError::Closed`], or [`WireError::Api`] with status 503 if nobody listens.
    pub fn request(&mut self, subject: &str, payload: &[u8], limit: Duration) -> Result<Incoming, WireError> {
        let (number, reply) = self.reply_subject();
        self.publish(subject, Some(&reply), b"", payload)?;
        self.flush()?;
        let until = Instant::now() + limit;
        let mut aside = VecDeque::new();
        std::mem::swap(&mut aside, &mut self.waiting);
        let found = loop {
            match self.message() {
                Ok(Some(message)) if self.reply_number(&message) == Some(number) => break Ok(message),
                Ok(Some(message)) => aside.push_back(message),
                Ok(None) => {
                    if let Err(error) = self.fill(until, subject, limit) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.waiting = aside;
        let message = found?;
        if message.status() == Some(503) {
            return Err(WireError::Api {
                what: subject.to_owned(),
                code: 503,
                description: "no responders".to_owned(),
            });
        }
        Ok(message)
    }

    /// Asks the JetStream API (`$JS.API.` is put in front) and parses the answer.
    ///
    /// # Errors
    /// As [`Wire::request`], and [`WireError::Api`] with the server's own code and text.
    pub fn api(&mut self, subject: &str, payload: &Value, limit: Duration) -> Result<Value, WireError> {
        let subject = format!("$JS.API.{subject}");
        let body = if payload.is_null() { Vec::new() } else { payload.to_string().into_bytes() };
        let answer = self.request(&subject, &body, limit)?;
        let value: Value = serde_json::from_slice(&answer.payload)
            .map_err(|error| WireError::Protocol(format!("{subject}: {error}")))?;
        if let Some(error) = value.get("error") {
            return Err(WireError::Api {
                what: subject,
                code: error["err_code"].as_u64().or_else(|| error["code"].as_u64()).unwrap_or(0),
                description: error["description"].as_str().unwrap_or("").to_owned(),
            });
        }
        Ok(value)
    }

    fn fill(&mut self, until: Instant, what: &str, limit: Duration) -> Result<(), WireError> {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(WireError::Timeout { what: what.to_owned(), limit_ms: limit.as_millis() as u64 });
        }
        self.socket.tcp().set_read_timeout(Some(left))?;
        let mut chunk = [0_u8; 64 * 1024];
        match self.socket.read(&mut chunk) {
            Ok(0) => Err(WireError::Closed("end of stream".to_owned())),
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(WireError::Timeout { what: what.to_owned(), limit_ms: limit.as_millis() as u64 })
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The next whole control line, without its end.
    fn line(&mut self) -> Result<Option<String>, WireError> {
        let rest = &self.buffer[self.consumed..];
        let Some(end) = memchr::memmem::find(rest, b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(&rest[..end])
            .map_err(|error| WireError::Protocol(error.to_string()))?
            .to_owned();
        self.consumed += end + 2;
        Ok(Some(line))
    }

    /// The next whole message in the buffer; answers pings on the way.
    fn message(&mut self) -> Result<Option<Incoming>, WireError> {
        loop {
            let before = self.consumed;
            let Some(line) = self.line()? else { return Ok(None) };
            let (verb, rest) = line.split_once(' ').unwrap_or((line.as_str(), ""));
            let with_headers = verb == "HMSG";
            match verb {
                "MSG" | "HMSG" => {
                    // Subject, subscription, reply where there is one, size of the headers where there are some, size.
                    let mut parts = [""; 5];
                    let mut count = 0;
                    let bad = || WireError::Protocol(line.clone());
                    for part in rest.split_ascii_whitespace() {
                        *parts.get_mut(count).ok_or_else(bad)? = part;
                        count += 1;
                    }
                    let sizes = if with_headers { 2 } else { 1 };
                    if count < 2 + sizes {
                        return Err(bad());
                    }
                    let total: usize = parts[count - 1].parse().map_err(|_| bad())?;
                    let head: usize =
                        if with_headers { parts[count - 2].parse().map_err(|_| bad())? } else { 0 };
                    if head > total || count > 3 + sizes {
                        return Err(bad());
                    }
                    let start = self.consumed;
                    if self.buffer.len() < start + total + 2 {
                        self.consumed = before;
                        return Ok(None);
                    }
                    let body = &self.buffer[start..start + total];
                    let message = Incoming {
                        subject: parts[0].to_owned(),
                        sid: parts[1].parse().map_err(|_| bad())?,
                        reply: (count > 2 + sizes).then(|| parts[2].to_owned()),
                        headers: body[..head].to_vec(),
                        payload: body[head..].to_vec(),
                    };
                    self.consumed = start + total + 2;
                    return Ok(Some(message));
                }
                "PING" => {
                    self.out.extend_from_slice(b"PONG\r\n");
                    self.flush()?;
                }
                "-ERR" => return Err(WireError::Refused(rest.to_owned())),
                // INFO may come again (lame duck, changed routes); PONG and +OK carry nothing we wait for here.
                "INFO" | "PONG" | "+OK" => {}
                _ => return Err(WireError::Protocol(line)),
            }
        }
    }
}

/// A number that no other connection of this process, and hardly one of another, uses in its inbox.
fn unique() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
    hasher.finish()
}
