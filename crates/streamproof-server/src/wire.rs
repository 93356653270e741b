//! A small blocking NATS connection: enough to ask a server who it is and whether its JetStream answers. Not for messages.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use streamproof_model::failure::{Code, Failure};

/// How to log in. Debug output shows no secret.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// A user and a password.
    UserPassword {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
    /// An nkey's seed (`SU…`).
    Nkey(String),
    /// A credentials file: a JWT and the seed it belongs to.
    CredsFile(PathBuf),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::None => f.write_str("None"),
            Credentials::UserPassword { user, .. } => write!(f, "UserPassword({user:?})"),
            Credentials::Token(_) => f.write_str("Token"),
            Credentials::Nkey(_) => f.write_str("Nkey"),
            Credentials::CredsFile(path) => write!(f, "CredsFile({})", path.display()),
        }
    }
}

/// What a server says of itself as soon as it is connected to (the protocol's `INFO`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServerInfo {
    /// Its id; new at each start.
    pub server_id: String,
    /// Its name.
    #[serde(default)]
    pub server_name: String,
    /// Its version, as it writes it.
    pub version: String,
    /// Whether its JetStream is on.
    #[serde(default)]
    pub jetstream: bool,
    /// Whether it asks for a login.
    #[serde(default)]
    pub auth_required: bool,
    /// Whether it speaks only TLS.
    #[serde(default)]
    pub tls_required: bool,
    #[serde(default)]
    nonce: String,
}

/// A server that does not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Nothing listens there, or it is gone.
    #[error("no connection: {0}")]
    Io(#[from] io::Error),
    /// What answers is no NATS server.
    #[error("what listens there is no NATS server: it said {0:?}")]
    NotNats(String),
    /// TLS is left to the caller's own client.
    #[error("the server speaks only TLS")]
    TlsRequired,
    /// It does not let this user in.
    #[error("the server refused the login: {0}")]
    Refused(String),
    /// Nobody answers on that subject.
    #[error("nobody answers on {0}")]
    NoResponders(String),
    /// No answer in time.
    #[error("no answer on {subject} within {} ms", bound.as_millis())]
    TimedOut {
        /// The subject.
        subject: String,
        /// How long it was waited for.
        bound: Duration,
    },
    /// The credentials cannot be used.
    #[error("the credentials cannot be used: {0}")]
    Credentials(String),
}

impl Failure for WireError {
    fn code(&self) -> Code {
        match self {
            WireError::Io(_) | WireError::NotNats(_) => Code::Unreachable,
            WireError::TlsRequired => Code::Unsupported,
            WireError::Refused(_) | WireError::Credentials(_) => Code::AccessDenied,
            WireError::NoResponders(_) => Code::NoJetstream,
            WireError::TimedOut { .. } => Code::Timeout,
        }
    }
}

/// Asks who listens at an address: its `INFO`, without logging in.
///
/// # Errors
/// [`WireError::Io`] or [`WireError::NotNats`].
pub fn info(address: &str, bound: Duration) -> Result<ServerInfo, WireError> {
    let mut reader = BufReader::new(open(address, bound)?);
    read_info(&mut reader)
}

/// A logged-in connection.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
    info: ServerInfo,
    requests: u64,
    bound: Duration,
}

impl Connection {
    /// Connects and logs in; `bound` is for each answer.
    ///
    /// # Errors
    /// [`WireError`] of any kind but no responders.
    pub fn open(address: &str, credentials: &Credentials, bound: Duration) -> Result<Connection, WireError> {
        let mut reader = BufReader::new(open(address, bound)?);
        let info = read_info(&mut reader)?;
        if info.tls_required {
            return Err(WireError::TlsRequired);
        }
        let login = credentials.answer(&info.nonce)?;
        let mut connect = serde_json::json!({
            "verbose": false, "pedantic": false, "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
            "name": "streamproof", "protocol": 1, "headers": true, "no_responders": true,
        });
        if let (Some(connect), Some(login)) = (connect.as_object_mut(), login.as_object()) {
            connect.extend(login.clone());
        }
        reader.get_mut().write_all(format!("CONNECT {connect}\r\nPING\r\n").as_bytes())?;
        let mut connection = Connection { reader, info, requests: 0, bound };
        loop {
            let line = connection.line("login")?;
            match line.as_str() {
                "PONG" => return Ok(connection),
                "PING" => connection.reader.get_mut().write_all(b"PONG\r\n")?,
                _ => {
                    if let Some(error) = line.strip_prefix("-ERR ") {
                        return Err(WireError::Refused(error.trim_matches('\'').to_owned()));
                    }
                }
            }
        }
    }

    /// What the server said of itself.
    #[must_use]
    pub fn info(&self) -> &ServerInfo {
        &self.info
    }

    /// A request, and the body of its answer.
    ///
    /// # Errors
    /// No responders, no answer in time, or a connection that broke.
    pub fn request(&mut self, subject: &str, body: &[u8]) -> Result<Vec<u8>, WireError> {
        self.requests += 1;
        let id = self.requests;
        let inbox = format!("_INBOX.streamproof.{}.{id}", self.reader.get_ref().local_addr()?.port());
        let mut sent =
            format!("SUB {inbox} {id}\r\nUNSUB {id} 1\r\nPUB {subject} {inbox} {}\r\n", body.len())
                .into_bytes();
        sent.extend_from_slice(body);
        sent.extend_from_slice(b"\r\n");
        self.reader.get_mut().write_all(&sent)?;
        let deadline = Instant::now() + self.bound;
        loop {
            if Instant::now() > deadline {
                return Err(WireError::TimedOut { subject: subject.to_owned(), bound: self.bound });
            }
            let line = self.line(subject)?;
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let number = |word: &str| word.parse::<usize>().map_err(|_| WireError::NotNats(line.clone()));
            match words.as_slice() {
                ["PING"] => self.reader.get_mut().write_all(b"PONG\r\n")?,
                ["MSG", _, sid, .., size] => {
                    let body = self.body(0, number(size)?)?;
                    if number(sid)? as u64 == id {
                        return Ok(body);
                    }
                }
                ["HMSG", _, sid, .., headers, size] => {
                    let (headers, size) = (number(headers)?, number(size)?);
                    let whole = self.body(0, size)?;
                    if number(sid)? as u64 == id {
                        if whole.starts_with(b"NATS/1.0 503") {
                            return Err(WireError::NoResponders(subject.to_owned()));
                        }
                        return Ok(whole.get(headers..).unwrap_or_default().to_vec());
                    }
                }
                ["-ERR", ..] => {
                    return Err(WireError::Refused(
                        line["-ERR".len()..].trim().trim_matches('\'').to_owned(),
                    ));
                }
                _ => {}
            }
        }
    }

    fn line(&mut self, waiting_for: &str) -> Result<String, WireError> {
        read_line(&mut self.reader).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                WireError::TimedOut { subject: waiting_for.to_owned(), bound: self.bound }
            }
            _ => WireError::Io(error),
        })
    }

    fn body(&mut self, from: usize, size: usize) -> Result<Vec<u8>, WireError> {
        let mut body = vec![0; size + 2];
        self.reader.read_exact(&mut body)?;
        body.truncate(size);
        Ok(body.split_off(from))
    }
}

fn open(address: &str, bound: Duration) -> Result<TcpStream, WireError> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    let mut refused = io::Error::new(io::ErrorKind::NotFound, format!("{address} has no address"));
    for address in addresses {
        match TcpStream::connect_timeout(&address, bound) {
            Ok(stream) => {
                stream.set_read_timeout(Some(bound))?;
                stream.set_write_timeout(Some(bound))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => refused = error,
        }
    }
    Err(refused.into())
}

/// Longest line that is read: a server's `INFO` with many cluster addresses stays far below.
const LONGEST_LINE_BYTES: u64 = 64 * 1024;

fn read_line(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    reader.by_ref().take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn read_info(reader: &mut BufReader<TcpStream>) -> Result<ServerInfo, WireError> {
    let line = match read_line(reader) {
        Ok(line) => line,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            return Err(WireError::NotNats("nothing".to_owned()));
        }
        Err(error) => return Err(error.into()),
    };
    let info = line.strip_prefix("INFO ").and_then(|json| serde_json::from_str(json).ok());
    info.ok_or_else(|| WireError::NotNats(line.chars().take(60).collect()))
}

impl Credentials {
    /// What `CONNECT` says of them to a server that has greeted with this nonce: an object whose keys are the protocol's.
    ///
    /// # Errors
    /// [`WireError::Credentials`]: a key or a file that cannot be used.
    pub fn answer(&self, nonce: &str) -> Result<serde_json::Value, WireError> {
        Ok(match self {
            Credentials::None => serde_json::json!({}),
            Credentials::UserPassword { user, password } => {
                serde_json::json!({ "user": user, "pass": password })
            }
            Credentials::Token(token) => serde_json::json!({ "auth_token": token }),
            Credentials::Nkey(seed) => {
                let pair = key(seed)?;
                serde_json::json!({ "nkey": pair.public_key(), "sig": sign(&pair, nonce)? })
            }
            Credentials::CredsFile(path) => {
                let (jwt, seed) = read_creds(path)?;
                serde_json::json!({ "jwt": jwt, "sig": sign(&key(&seed)?, nonce)? })
            }
        })
    }
}

fn key(seed: &str) -> Result<nkeys::KeyPair, WireError> {
    nkeys::KeyPair::from_seed(seed.trim()).map_err(|error| WireError::Credentials(error.to_string()))
}

fn sign(pair: &nkeys::KeyPair, nonce: &str) -> Result<String, WireError> {
    let signature = pair.sign(nonce.as_bytes()).map_err(|error| WireError::Credentials(error.to_string()))?;
    Ok(base64_url(&signature))
}

/// A credentials file holds two blocks, each between dashed lines: first the JWT, then the seed.
fn read_creds(path: &Path) -> Result<(String, String), WireError> {
    let refuse = |reason: String| WireError::Credentials(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let mut blocks = Vec::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("-----BEGIN") {
            inside = true;
        } else if line.starts_with('-') {
            inside = false;
        } else if inside && !line.is_empty() {
            blocks.push(line.to_owned());
        }
    }
    match <[String; 2]>::try_from(blocks) {
        Ok([jwt, seed]) => Ok((jwt, seed)),
        Err(blocks) => Err(refuse(format!("it holds {} blocks, not a JWT and a seed", blocks.len()))),
    }
}

/// Base64 for URLs, without padding, as the server decodes signatures (`server/auth.go`: `RawURLEncoding`).
fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(char::from(DIGITS[index as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_the_rfc_has_it() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64_url(bytes.as_bytes()), text);
        }
        assert_eq!(base64_url(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn no_secret_is_shown() {
        let secret = Credentials::UserPassword { user: "me".into(), password: "hush".into() };
        assert_eq!(format!("{secret:?}"), "UserPassword(\"me\")");
        assert_eq!(format!("{:?}", Credentials::Nkey("SUA".into())), "Nkey");
    }
}
