//! The server's own backup of a stream: `STREAM.SNAPSHOT` and `STREAM.RESTORE`, chunk by chunk with flow control.

use crate::failure::ProvisionError;
use crate::journal::io;
use crate::wire::{Js, read};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;
use streamproof_model::plan::Document;

/// The server gives up on a silent peer after 5 s (`snapshotAckTimeout`); it may itself be busy for longer.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);

/// What a server before 2.14 waits for at most between two acks is a window of 8 MiB; this is the size it prefers.
const CHUNK_BYTES: usize = 128 * 1024;

/// Streams the server's snapshot of a stream, without its consumers, into a file.
///
/// The server reads every message and checks its hash first (`jsck`), so that a snapshot of a damaged stream fails here.
pub(crate) async fn take(js: &Js, stream: &str, path: &Path) -> Result<(), ProvisionError> {
    let subject = format!("STREAM.SNAPSHOT.{stream}");
    let incomplete = |cause: String| ProvisionError::BackupIncomplete { name: stream.into(), cause };
    let inbox = js.client().new_inbox();
    let connection = |error: String| ProvisionError::Connection { request: subject.clone(), cause: error };
    let mut chunks = js.client().subscribe(inbox.clone()).await.map_err(|e| connection(e.to_string()))?;
    let request =
        json!({ "deliver_subject": inbox, "no_consumers": true, "jsck": true, "chunk_size": CHUNK_BYTES });
    js.request(&subject, &request).await?;
    let mut file = File::create(path).map_err(|source| io(path, source))?;
    let (mut bytes, mut expected) = (0u64, 1u64);
    loop {
        let chunk = tokio::time::timeout(CHUNK_TIMEOUT, chunks.next())
            .await
            .map_err(|_| ProvisionError::Timeout {
                request: subject.clone(),
                timeout_s: CHUNK_TIMEOUT.as_secs(),
            })?
            .ok_or_else(|| incomplete("the connection ended".into()))?;
        if chunk.payload.is_empty() {
            // The last one says how it went: 204 from 2.11 on, nothing before, else an error.
            let status = chunk.status.map(|s| s.as_u16());
            match status {
                None | Some(204 | 200) => break,
                Some(code) => {
                    let words = chunk.description.as_deref().unwrap_or("no reason given");
                    return Err(incomplete(format!("the server gave up: {code} {words}")));
                }
            }
        }
        bytes += chunk.payload.len() as u64;
        file.write_all(&chunk.payload).map_err(|source| io(path, source))?;
        if let Some(ack) = chunk.reply {
            // `$JS.SNAPSHOT.ACK.<stream>.<id>.<bytes>.<index>`: a chunk that went missing shows in the index.
            if let Some(index) = ack.rsplit('.').next().and_then(|t| t.parse::<u64>().ok()) {
                if index != expected {
                    return Err(incomplete(format!("chunk {expected} went missing")));
                }
                expected += 1;
            }
            js.client().publish(ack, bytes::Bytes::new()).await.map_err(|e| connection(e.to_string()))?;
        }
    }
    if bytes == 0 {
        return Err(incomplete("the server sent nothing".into()));
    }
    file.sync_all().map_err(|source| io(path, source))
}

/// Makes a stream from a snapshot, under a configuration of our choice.
pub(crate) async fn restore(js: &Js, config: &Document, path: &Path) -> Result<(), ProvisionError> {
    let name = config.get("name").and_then(Value::as_str).unwrap_or_default();
    let subject = format!("STREAM.RESTORE.{name}");
    let answer = js.request(&subject, &json!({ "config": config, "state": {} })).await?;
    let to = answer.get("deliver_subject").and_then(Value::as_str).ok_or_else(|| {
        ProvisionError::Garbled { request: subject.clone(), cause: "no deliver_subject in it".into() }
    })?;
    let mut file = File::open(path).map_err(|source| io(path, source))?;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let length = file.read(&mut buffer).map_err(|source| io(path, source))?;
        let request = async_nats::Request::new()
            .payload(bytes::Bytes::copy_from_slice(&buffer[..length]))
            .timeout(Some(CHUNK_TIMEOUT));
        let answer = js.client().send_request(to.to_owned(), request).await.map_err(|error| {
            ProvisionError::Connection { request: subject.clone(), cause: error.to_string() }
        })?;
        // A chunk is answered with nothing, or with the reason why there is no use in sending more.
        if length == 0 || !answer.payload.is_empty() {
            read(&subject, &answer.payload)?;
            if length == 0 {
                return Ok(());
            }
        }
    }
}
