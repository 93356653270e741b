//! The server's monitoring pages (`/varz`, `/healthz`, `/jsz`): one blocking HTTP request each.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde::Deserialize;
use streamproof_model::server_conf::Sync;

/// What a page gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// What is read of `/varz`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Varz {
    /// The server's id; new at each start.
    pub server_id: String,
    /// Its name.
    #[serde(default)]
    pub server_name: String,
    /// Its version, as it writes it.
    pub version: String,
    /// The digest of its configuration; servers before 2.11 give none.
    #[serde(default)]
    pub config_digest: Option<String>,
    /// Its tags; ours carry the project and the node.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The client port.
    #[serde(default)]
    pub port: i64,
    /// How long it runs, as it writes it (`4m12s`).
    #[serde(default)]
    pub uptime: String,
    /// When it started (RFC 3339).
    #[serde(default)]
    pub start: String,
    /// Its JetStream.
    #[serde(default)]
    pub jetstream: JetStreamVarz,
}

/// The JetStream part of `/varz`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct JetStreamVarz {
    /// Its configuration; none where JetStream is off.
    #[serde(default)]
    pub config: Option<JetStreamConfig>,
    /// What it uses.
    #[serde(default)]
    pub stats: Option<JetStreamStats>,
}

/// The usage in the JetStream part of `/varz`, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct JetStreamStats {
    /// In memory.
    pub memory: u64,
    /// On the disk.
    pub storage: u64,
    /// Reserved in memory, by streams with `max_bytes`.
    pub reserved_memory: u64,
    /// Reserved on the disk, by streams with `max_bytes`.
    pub reserved_storage: u64,
}

/// The configuration in the JetStream part of `/varz`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct JetStreamConfig {
    /// Where it stores: the configured folder with `/jetstream` after it.
    #[serde(default)]
    pub store_dir: String,
    /// How often it flushes to the disk, in nanoseconds, unless at each write.
    #[serde(default)]
    pub sync_interval: i64,
    /// Whether it flushes to the disk at each write.
    #[serde(default)]
    pub sync_always: bool,
    /// The most that it may keep in memory, in bytes.
    #[serde(default)]
    pub max_memory: i64,
    /// The most that it may keep on the disk, in bytes.
    #[serde(default)]
    pub max_storage: i64,
}

impl JetStreamVarz {
    /// When it syncs; `None` where JetStream is off, or the page is of a server that does not say it.
    #[must_use]
    pub fn sync(&self) -> Option<Sync> {
        let config = self.config.as_ref()?;
        if config.sync_always {
            return Some(Sync::Always);
        }
        u64::try_from(config.sync_interval).ok().filter(|every| *every > 0).map(Sync::Every)
    }
}

/// Gets a page of the monitoring port, such as `/healthz`; `address` is `127.0.0.1:8222`.
///
/// # Errors
/// Nothing listens, or what answers is not HTTP.
pub fn get(address: &str, page: &str, bound: Duration) -> io::Result<Page> {
    let nowhere = || io::Error::new(io::ErrorKind::NotFound, format!("{address} has no address"));
    let socket = address.to_socket_addrs()?.next().ok_or_else(nowhere)?;
    let mut stream = TcpStream::connect_timeout(&socket, bound)?;
    stream.set_read_timeout(Some(bound))?;
    stream.set_write_timeout(Some(bound))?;
    // HTTP/1.0: the body is not chunked and ends with the connection.
    stream.write_all(
        format!("GET {page} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let not_http = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(not_http)?;
    let status = head
        .strip_prefix("HTTP/")
        .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
        .ok_or_else(not_http)?;
    Ok(Page { status, body: body.to_owned() })
}

/// Gets `/varz`.
///
/// # Errors
/// As [`get`], or a page that is no `/varz`.
pub fn varz(address: &str, bound: Duration) -> io::Result<Varz> {
    let page = get(address, "/varz", bound)?;
    serde_json::from_str(&page.body).map_err(io::Error::from)
}
