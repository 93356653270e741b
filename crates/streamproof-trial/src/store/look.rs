//! What a folder holds before anything is done with it: accounts, streams, sizes; whether a server works on it, or a newer one did.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use streamproof_model::version::Version;
use streamproof_server::{ServerError, processes, stores};

use super::{StoreError, index_format_of, io};
use crate::picture::proof::Indexed;

/// A store as nats-server keeps it: `<root>/<account>/streams/<STREAM>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The folder of the accounts, which is `jetstream` below the `store_dir`.
    pub root: PathBuf,
    /// The accounts that have streams.
    pub accounts: Vec<Account>,
}

/// One account's part of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name; `$G` where nothing was configured.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// The streams in it.
    pub streams: Vec<String>,
    /// What its files take.
    pub bytes: u64,
}

/// The note of the version that ran last, which `up` leaves beside a store of its own.
const LAST_VERSION: &str = "last-version";
/// The lock that our own servers hold, beside the store.
const LOCK: &str = "LOCK";

impl Account {
    /// What the recovery indexes say, by stream; nothing of a stream without one that can be read.
    #[must_use]
    pub fn indexed(&self) -> BTreeMap<String, Indexed> {
        let of = |name: &String| Some((name.clone(), indexed(&self.path.join("streams").join(name))?));
        self.streams.iter().filter_map(of).collect()
    }
}

impl Store {
    /// Looks at a folder: a `store_dir`, or the `jetstream` in it.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`], [`StoreError::Encrypted`], or what the file system says.
    pub fn look(dir: &Path) -> Result<Store, StoreError> {
        let dir = fs::canonicalize(dir).map_err(io("find", dir))?;
        let inner = dir.join("jetstream");
        let root = if inner.is_dir() { inner } else { dir.clone() };
        let mut accounts = Vec::new();
        for path in folders(&root)? {
            let streams_dir = path.join("streams");
            if !streams_dir.is_dir() {
                continue;
            }
            let mut streams = Vec::new();
            for stream in folders(&streams_dir)? {
                if stream.join("meta.key").exists() {
                    return Err(StoreError::Encrypted(stream));
                }
                if stream.join("meta.inf").exists() {
                    streams.push(name_of(&stream));
                }
            }
            streams.sort();
            let mut bytes = 0;
            walk(&path, &mut |_, size| bytes += size)?;
            accounts.push(Account { name: name_of(&path), path, streams, bytes });
        }
        accounts.sort_by(|one, other| one.name.cmp(&other.name));
        if accounts.is_empty() { Err(StoreError::NotAStore(dir)) } else { Ok(Store { root, accounts }) }
    }

    /// What its files take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.accounts.iter().map(|account| account.bytes).sum()
    }

    /// That no server works on it, as far as can be seen: nats-server takes no lock, so its open files are looked for (Linux), and
    /// the lock that our own servers hold.
    ///
    /// # Errors
    /// [`StoreError::InUse`].
    pub fn is_free(&self) -> Result<(), StoreError> {
        let in_use = |by: String| StoreError::InUse { store: self.root.clone(), by };
        let node = self.root.parent().and_then(Path::parent);
        if let Some(lock) = node.map(|node| node.join(LOCK)).filter(|lock| lock.is_file())
            && node.is_some_and(|node| node.join(LAST_VERSION).is_file())
            && let Ok(file) = fs::File::options().write(true).open(&lock)
            && file.try_lock().is_err()
        {
            return Err(in_use(format!("a server of a streamproof project ({} is held)", lock.display())));
        }
        // Which servers there are, and where each stores.
        let dir = self.root.parent().unwrap_or(&self.root);
        stores::check_docker_too(dir).map_err(|error| match error {
            ServerError::StoreInUse { by, .. } => in_use(by),
            other => StoreError::Server(other),
        })?;
        // And whoever else has one of its files open.
        for process in processes::all() {
            let files = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten();
            for entry in files {
                if fs::read_link(entry.path()).is_ok_and(|file| file.starts_with(&self.root)) {
                    return Err(in_use(format!("process {} ({})", process.pid, process.command())));
                }
            }
        }
        Ok(())
    }

    /// That a server of this version, which supports this API level, may open it.
    ///
    /// # Errors
    /// [`StoreError::Newer`].
    pub fn is_not_newer_than(&self, version: &Version, level: u64) -> Result<(), StoreError> {
        let newer =
            |what: String, why: String| Err(StoreError::Newer { what, why, version: version.to_string() });
        let noted = self.root.parent().and_then(Path::parent).map(|node| node.join(LAST_VERSION));
        let noted = noted.and_then(|note| fs::read_to_string(note).ok());
        if let Some(last) = noted.and_then(|text| text.trim().parse::<Version>().ok())
            && last > *version
        {
            return newer(self.root.display().to_string(), format!("nats-server {last} ran on it last"));
        }
        for account in &self.accounts {
            for stream in &account.streams {
                let path = account.path.join("streams").join(stream);
                if let Some(needs) = required_level(&path.join("meta.inf")).filter(|needs| *needs > level) {
                    return newer(
                        format!("stream {stream}"),
                        format!("it needs JetStream API level {needs}, and that one has {level}"),
                    );
                }
                let format = index_format(&path.join("msgs/index.db"));
                if let Some(first) = format.and_then(index_format_of).filter(|first| first > version) {
                    return newer(
                        format!("stream {stream}"),
                        format!("its recovery index has the format of nats-server {first} and later"),
                    );
                }
            }
        }
        Ok(())
    }
}

/// `_nats.req.level` of a stream (nats-server jetstream_versioning.go:setStaticStreamMetadata).
fn required_level(meta: &Path) -> Option<u64> {
    let value: Value = serde_json::from_slice(&fs::read(meta).ok()?).ok()?;
    value["metadata"]["_nats.req.level"].as_str()?.parse().ok()
}

/// The format of a recovery index: its second byte, after the magic 11 (nats-server filestore.go:fullStateMagic).
fn index_format(index: &Path) -> Option<u8> {
    let mut head = [0; 2];
    fs::File::open(index).ok()?.read_exact(&mut head).ok()?;
    (head[0] == 11).then_some(head[1])
}

/// What a stream's recovery index says of it: the state in which the server that wrote it left the stream at a stop, or had it
/// some time before a crash. The same in every format (nats-server filestore.go:writeFullState): after magic and format the
/// messages, the bytes and the first sequence as varints, the first time, and the last sequence.
fn indexed(stream: &Path) -> Option<Indexed> {
    let bytes = fs::read(stream.join("msgs/index.db")).ok()?;
    let mut rest = bytes.strip_prefix(&[11])?.get(1..)?;
    let mut next = || {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, more) = rest.split_first()?;
            rest = more;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    };
    let (messages, _bytes, _first, _time, last_seq) = (next()?, next()?, next()?, next()?, next()?);
    Some(Indexed { messages, last_seq })
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(path).map_err(io("read", path))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

/// Every file below a folder, with its size.
pub(super) fn walk(path: &Path, each: &mut dyn FnMut(&Path, u64)) -> Result<(), StoreError> {
    for entry in fs::read_dir(path).map_err(io("read", path))?.flatten() {
        let path = entry.path();
        let about = fs::metadata(&path).map_err(io("read", &path))?;
        if about.is_dir() {
            walk(&path, each)?;
        } else {
            each(&path, about.len());
        }
    }
    Ok(())
}
