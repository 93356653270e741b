//! A backup that we can read ourselves: every message of a stream in a file, sealed by its count and checksum.

use crate::failure::ProvisionError;
use crate::journal::io;
use crate::message::{Message, read_all};
use crate::wire::Js;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use streamproof_model::plan::StreamSeen;

/// The last line of a backup: what it must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seal {
    /// How many messages are in it.
    pub(crate) messages: u64,
    /// The stream's first sequence when it was made.
    pub(crate) first_seq: u64,
    /// The stream's last sequence when it was made.
    pub(crate) last_seq: u64,
    /// A checksum (CRC-32) over all lines before.
    pub(crate) checksum: u32,
}

/// A backup on the disk.
#[derive(Debug, Clone)]
pub(crate) struct Backup {
    path: PathBuf,
    /// What it holds.
    pub(crate) seal: Seal,
}

impl Backup {
    /// Copies every message of a stream that takes no more messages, and verifies that all are there.
    pub(crate) async fn take(js: &Js, stream: &str, folder: &Path) -> Result<Self, ProvisionError> {
        fs::create_dir_all(folder).map_err(|source| io(folder, source))?;
        let path = folder.join("messages.jsonl");
        let seen = state(js, stream).await?;
        let mut file = BufWriter::new(File::create(&path).map_err(|source| io(&path, source))?);
        let (mut hasher, mut messages) = (crc32fast::Hasher::new(), 0);
        read_all(js, stream, (seen.first_seq, seen.last_seq, seen.messages), |message| {
            let mut line = serde_json::to_vec(&message).unwrap_or_default();
            line.push(b'\n');
            hasher.update(&line);
            messages += 1;
            file.write_all(&line).map_err(|source| io(&path, source))
        })
        .await?;
        let after = state(js, stream).await?;
        // Acks and ages may take messages away while they are copied; nothing may come.
        let short = if after.last_seq != seen.last_seq {
            Some(format!("{} messages came while it was made", after.last_seq.saturating_sub(seen.last_seq)))
        } else if messages < after.messages || messages > seen.messages {
            Some(format!("{messages} messages copied, {} are there", after.messages))
        } else {
            None
        };
        if let Some(cause) = short {
            return Err(ProvisionError::BackupIncomplete { name: stream.into(), cause });
        }
        let seal = Seal {
            messages,
            first_seq: seen.first_seq,
            last_seq: seen.last_seq,
            checksum: hasher.finalize(),
        };
        let end = serde_json::to_string(&seal).unwrap_or_default();
        let written =
            writeln!(file, "{end}").and_then(|()| file.into_inner().map_err(|e| e.into_error())?.sync_all());
        written.map_err(|source| io(&path, source))?;
        Self::open(folder, stream)
    }

    /// Opens a backup, having read all of it: what cannot be read back is none.
    pub(crate) fn open(folder: &Path, stream: &str) -> Result<Self, ProvisionError> {
        let path = folder.join("messages.jsonl");
        let bad = |cause: &str| ProvisionError::BackupIncomplete { name: stream.into(), cause: cause.into() };
        let file = BufReader::new(File::open(&path).map_err(|source| io(&path, source))?);
        let (mut hasher, mut messages, mut before) = (crc32fast::Hasher::new(), 0u64, None::<String>);
        for line in file.lines() {
            let line = line.map_err(|source| io(&path, source))?;
            if let Some(before) = before.replace(line) {
                hasher.update(before.as_bytes());
                hasher.update(b"\n");
                messages += 1;
            }
        }
        let seal: Seal =
            before.and_then(|line| serde_json::from_str(&line).ok()).ok_or_else(|| bad("it has no end"))?;
        if seal.messages != messages || seal.checksum != hasher.finalize() {
            return Err(bad("what was written cannot be read back"));
        }
        Ok(Self { path, seal })
    }

    /// Its messages, in order.
    pub(crate) fn messages(
        &self,
    ) -> Result<impl Iterator<Item = Result<Message, ProvisionError>> + use<>, ProvisionError> {
        let file = BufReader::new(File::open(&self.path).map_err(|source| io(&self.path, source))?);
        let (path, count) = (self.path.clone(), usize::try_from(self.seal.messages).unwrap_or(usize::MAX));
        Ok(file.lines().take(count).map(move |line| {
            let line = line.map_err(|source| io(&path, source))?;
            serde_json::from_str(&line).map_err(|error| ProvisionError::Journal {
                path: path.display().to_string(),
                cause: error.to_string(),
            })
        }))
    }
}

/// What a stream holds now.
pub(crate) async fn state(js: &Js, stream: &str) -> Result<StreamSeen, ProvisionError> {
    let subject = format!("STREAM.INFO.{stream}");
    let info = js.request(&subject, &Value::Null).await?;
    StreamSeen::from_info(&info)
        .ok_or(ProvisionError::Garbled { request: subject, cause: "no configuration in it".into() })
}
