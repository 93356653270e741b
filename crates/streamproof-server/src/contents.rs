//! What a store holds, read from its files with no server: its streams, their consumers, and how new the nats-server must be
//! that wrote it.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use streamproof_model::version::{Release, Version};

use crate::disk::Doing;
use crate::error::ServerError;

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Contents {
    /// Its streams, by account and name.
    pub streams: Vec<StoredStream>,
    /// How many files it has.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The oldest release that writes all that was found, where something tells: [`Contents::written_by`] in words.
    #[serde(skip)]
    pub release: Option<Release>,
}

/// A stream in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredStream {
    /// Its account; `$G` where the server has none configured.
    pub account: String,
    /// Its name.
    pub name: String,
    /// Its consumers.
    pub consumers: Vec<String>,
}

/// The byte with which a stream's `index.db` begins (nats-server `server/filestore.go`: `fullStateMagic`).
const INDEX_MAGIC: u8 = 11;

impl Contents {
    /// Reads it. `store` is the folder that a server has as its `store_dir`: it holds `jetstream/`.
    ///
    /// # Errors
    /// [`ServerError::NotAStore`], or what the file system refuses.
    pub fn read(store: &Path) -> Result<Contents, ServerError> {
        let jetstream = store.join("jetstream");
        if !jetstream.is_dir() {
            let reason = if store.join("$G/streams").is_dir() {
                "this is the folder `jetstream` itself; name the one above it".to_owned()
            } else {
                "it has no folder `jetstream`".to_owned()
            };
            return Err(ServerError::NotAStore { path: store.to_owned(), reason });
        }
        let mut contents = Contents::default();
        contents.count(&jetstream)?;
        for account in folders(&jetstream)? {
            for stream in folders(&account.join("streams"))? {
                contents.stream(name_of(&account), &stream)?;
            }
        }
        contents.streams.sort_by(|one, other| (&one.account, &one.name).cmp(&(&other.account, &other.name)));
        Ok(contents)
    }

    /// How many consumers it holds.
    #[must_use]
    pub fn consumers(&self) -> usize {
        self.streams.iter().map(|stream| stream.consumers.len()).sum()
    }

    /// Which nats-server wrote it, as far as its files tell: `2.12 or newer`.
    #[must_use]
    pub fn written_by(&self) -> Option<String> {
        self.release.map(|release| format!("{release} or newer"))
    }

    /// Whether something in it is newer than this server.
    #[must_use]
    pub fn is_newer_than(&self, version: &Version) -> bool {
        self.release.is_some_and(|release| !version.has(release))
    }

    fn count(&mut self, folder: &Path) -> Result<(), ServerError> {
        for entry in std::fs::read_dir(folder).doing("read", folder)? {
            let entry = entry.doing("read", folder)?;
            let about = entry.metadata().doing("read", &entry.path())?;
            if about.is_dir() {
                self.count(&entry.path())?;
            } else {
                self.files += 1;
                self.bytes += about.len();
            }
        }
        Ok(())
    }

    fn stream(&mut self, account: String, folder: &Path) -> Result<(), ServerError> {
        self.saw(metadata_release(&folder.join("meta.inf")));
        self.saw(index_release(&folder.join("msgs/index.db")));
        let consumers = folders(&folder.join("obs"))?;
        for consumer in &consumers {
            self.saw(metadata_release(&consumer.join("meta.inf")));
        }
        let mut consumers: Vec<String> = consumers.iter().map(|path| name_of(path)).collect();
        consumers.sort();
        self.streams.push(StoredStream { account, name: name_of(folder), consumers });
        Ok(())
    }

    fn saw(&mut self, release: Option<Release>) {
        self.release = self.release.max(release);
    }
}

/// Servers from 2.11 on note the API level that a stream or consumer needs. One that is encrypted tells nothing.
fn metadata_release(file: &Path) -> Option<Release> {
    let about: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let level: u32 = about["metadata"]["_nats.req.level"].as_str()?.parse().ok()?;
    // `streamproof_model::version::Version::api_level` the other way round; a level that no release of ours knows is newer
    // than all of them.
    Some(match level {
        0 | 1 => Release(2, 11, 0),
        2 => Release(2, 12, 0),
        3 | 4 => Release(2, 14, 0),
        5 => Release(2, 15, 0),
        _ => Release(2, u32::MAX, 0),
    })
}

/// The version of the recovery index, which every server writes as new as it can (nats-server `server/filestore.go`:
/// `fullStateVersion`; seen on 2.10.25, 2.11.0, 2.11.11, 2.12.1, 2.14.5 and 2.15.1).
fn index_release(file: &Path) -> Option<Release> {
    let mut start = [0; 2];
    std::io::Read::read_exact(&mut std::fs::File::open(file).ok()?, &mut start).ok()?;
    match start {
        [INDEX_MAGIC, 1] => Some(Release(2, 10, 0)),
        [INDEX_MAGIC, 2] => Some(Release(2, 11, 0)),
        [INDEX_MAGIC, 3] => Some(Release(2, 12, 0)),
        [INDEX_MAGIC, 4] => Some(Release(2, 14, 0)),
        [INDEX_MAGIC, _] => Some(Release(2, u32::MAX, 0)),
        _ => None,
    }
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, ServerError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.doing("read", folder)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.doing("read", folder)?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_store_is_told_from_one_that_is() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("jetstream/$G/streams/A/obs/C")).unwrap();
        let contents = Contents::read(dir.path()).unwrap();
        let stream =
            StoredStream { account: "$G".to_owned(), name: "A".to_owned(), consumers: vec!["C".to_owned()] };
        assert_eq!(contents.streams, [stream]);
        let refused = Contents::read(&dir.path().join("jetstream")).unwrap_err().to_string();
        assert!(refused.contains("name the one above"), "{refused}");
        assert!(matches!(
            Contents::read(&dir.path().join("jetstream/$G/streams/A")),
            Err(ServerError::NotAStore { .. })
        ));
    }

    #[test]
    fn what_no_server_of_today_writes_is_newer_than_all() {
        let dir = tempfile::tempdir().unwrap();
        let stream = dir.path().join("jetstream/$G/streams/A");
        std::fs::create_dir_all(stream.join("msgs")).unwrap();
        let read = || Contents::read(dir.path()).unwrap();
        assert_eq!(read().written_by(), None);
        let meta = |level: &str| format!(r#"{{"metadata":{{"_nats.req.level":"{level}"}}}}"#);
        std::fs::write(stream.join("meta.inf"), meta("2")).unwrap();
        assert_eq!(read().written_by().as_deref(), Some("2.12 or newer"));
        std::fs::write(stream.join("msgs/index.db"), [INDEX_MAGIC, 4, 0]).unwrap();
        assert!(read().is_newer_than(&Version::new(2, 12, 9)));
        assert!(!read().is_newer_than(&Version::new(2, 14, 0)));
        std::fs::write(stream.join("meta.inf"), meta("99")).unwrap();
        assert!(read().is_newer_than(&Version::new(2, 99, 0)));
    }
}
