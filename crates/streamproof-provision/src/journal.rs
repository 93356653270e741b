//! The journal of a replacement: what is being replaced, how far it is, and where its backup is.
//!
//! It is written before each thing that cannot be taken back, synced, and renamed into place, so that whoever comes next
//! finds either the state before or the state after.

use crate::failure::ProvisionError;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use streamproof_model::plan::{Document, Restore};

/// How far the replacement of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// Nothing was changed but that the stream may take no messages any more.
    Begun,
    /// The backup is there and verified.
    BackedUp,
    /// The old one may be gone; whatever of that name is frozen is ours to remove.
    Removing,
    /// The new one holds everything, verified; what is left is to let it take messages.
    Filled,
}

/// A replacement under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// A name of this replacement of its own: part of the subjects that keep others out.
    pub(crate) nonce: String,
    /// How far it is.
    pub(crate) stage: Stage,
    /// The stream.
    pub(crate) stream: String,
    /// The consumer, where only that is replaced.
    pub(crate) consumer: Option<String>,
    /// When the old one was created, which tells it from the new one.
    pub(crate) created: String,
    /// The configuration that it had.
    pub(crate) old: Document,
    /// The configuration that it shall have.
    pub(crate) new: Document,
    /// What happens with what was stored.
    pub(crate) restore: Restore,
    /// Consumers to make again.
    pub(crate) consumers: Vec<Position>,
    /// The API level of the plan.
    pub(crate) level: u32,
    /// Whether the server knows pedantic requests.
    pub(crate) pedantic: bool,
}

/// A consumer to make again, and where it stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Its name.
    pub(crate) name: String,
    /// The document to make it from.
    pub(crate) document: Document,
    /// Where it stood: everything up to here was acked.
    pub(crate) ack_floor: u64,
    /// What was delivered.
    pub(crate) delivered: u64,
}

/// The replacements that were interrupted: what they are of, and the journal's file.
///
/// # Errors
/// Where the folder cannot be read.
pub fn pending(folder: &Path) -> Result<Vec<(String, PathBuf)>, ProvisionError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| io(folder, source))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| io(folder, source))?.path();
        if path.extension().is_some_and(|e| e == "json") {
            let journal = Journal::load(&path)?;
            found.push((journal.label(), path));
        }
    }
    found.sort();
    Ok(found)
}

impl Journal {
    /// What is being replaced, as the user calls it.
    pub(crate) fn label(&self) -> String {
        self.consumer.as_ref().map_or_else(|| self.stream.clone(), |c| format!("{}/{c}", self.stream))
    }

    /// Its file.
    pub(crate) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.json", self.nonce))
    }

    /// The folder of its backup.
    pub(crate) fn backup(&self, folder: &Path) -> PathBuf {
        folder.join(&self.nonce)
    }

    pub(crate) fn load(path: &Path) -> Result<Self, ProvisionError> {
        let text = fs::read_to_string(path).map_err(|source| io(path, source))?;
        serde_json::from_str(&text).map_err(|error| ProvisionError::Journal {
            path: path.display().to_string(),
            cause: error.to_string(),
        })
    }

    /// Writes it down; it is on the disk when this returns.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), ProvisionError> {
        fs::create_dir_all(folder).map_err(|source| io(folder, source))?;
        let path = self.path(folder);
        let new = folder.join(format!("{}.new", self.nonce));
        let text = serde_json::to_string_pretty(self).map_err(|error| ProvisionError::Journal {
            path: path.display().to_string(),
            cause: error.to_string(),
        })?;
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|source| io(&path, source))
    }

    /// Moves on to a stage, and writes that down.
    pub(crate) fn reach(&mut self, stage: Stage, folder: &Path) -> Result<(), ProvisionError> {
        self.stage = stage;
        self.save(folder)
    }

    /// Closes it; the backup goes too, unless it is the only place where the old messages still are.
    pub(crate) fn close(&self, folder: &Path, keep_backup: bool) -> Result<(), ProvisionError> {
        let path = self.path(folder);
        fs::remove_file(&path).map_err(|source| io(&path, source))?;
        let backup = self.backup(folder);
        if !keep_backup && backup.exists() {
            fs::remove_dir_all(&backup).map_err(|source| io(&backup, source))?;
        }
        Ok(())
    }
}

pub(crate) fn io(path: &Path, source: std::io::Error) -> ProvisionError {
    ProvisionError::Io { path: path.display().to_string(), source }
}
