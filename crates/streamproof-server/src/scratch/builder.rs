//! How a scratch server shall be, said before it is made.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use streamproof_model::version::Version;

use super::{Folder, Scratch};
use crate::acquire::{self, Binary, Wanted};
use crate::disk::Doing;
use crate::environment::Sources;
use crate::error::ServerError;
use crate::pins::PINNED;
use crate::wire::Credentials;

/// How a [`Scratch`] server shall be.
///
/// ```
/// use streamproof_server::Scratch;
///
/// let server = Scratch::builder().jetstream("sync_interval: always").config("max_payload: 2MB").start()?;
/// assert!(server.store_dir().is_dir());
/// # Ok::<_, streamproof_server::ServerError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    sources: Option<Sources>,
    wanted: Wanted,
    binary: Option<Binary>,
    pub(super) config: String,
    pub(super) config_file: Option<PathBuf>,
    pub(super) jetstream: String,
    store: Option<PathBuf>,
    in_memory: bool,
    pub(super) wrapper: Vec<PathBuf>,
    pub(super) envs: Vec<(OsString, OsString)>,
    pub(super) credentials: Credentials,
    pub(super) healthz: bool,
    pub(super) timeout: Duration,
    pub(super) stop_timeout: Duration,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            sources: None,
            wanted: Wanted::exactly(PINNED),
            binary: None,
            config: String::new(),
            config_file: None,
            jetstream: String::new(),
            store: None,
            in_memory: false,
            wrapper: Vec::new(),
            envs: Vec::new(),
            credentials: Credentials::None,
            healthz: false,
            // A big store takes a server seconds to recover; a noisy machine, more.
            timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(20),
        }
    }
}

impl Builder {
    /// Another version than the pinned one; fetched if need be.
    pub fn version(mut self, version: Version) -> Builder {
        self.wanted = Wanted::exactly(version);
        self
    }

    /// Where to get it from; without this, what the process's environment says.
    pub fn sources(mut self, sources: Sources) -> Builder {
        self.sources = Some(sources);
        self
    }

    /// This nats-server, and no looking for one.
    pub fn binary(mut self, binary: Binary) -> Builder {
        self.binary = Some(binary);
        self
    }

    /// More of the server's configuration, top level. Neither port nor address: those are its own.
    pub fn config(mut self, text: &str) -> Builder {
        self.config.push_str(text);
        self.config.push('\n');
        self
    }

    /// More keys for the `jetstream` block, such as `sync_interval: always`.
    pub fn jetstream(mut self, keys: &str) -> Builder {
        self.jetstream.push_str(keys);
        self.jetstream.push('\n');
        self
    }

    /// This configuration file instead of a block of our own; it says `store_dir: $STREAMPROOF_STORE`.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.config_file = Some(path.into());
        self
    }

    /// Store here instead of in its own folder; such a store is left behind.
    pub fn store_dir(mut self, path: impl Into<PathBuf>) -> Builder {
        self.store = Some(path.into());
        self
    }

    /// Its folder, and the store in it, on a file system in memory where the system has one with room (`/dev/shm`): a sync costs
    /// nothing there. Nothing that the server's process or its end could tell is different; a power cut cannot be shown on it.
    pub fn in_memory(mut self, in_memory: bool) -> Builder {
        self.in_memory = in_memory;
        self
    }

    /// Words before the server's own, such as `prlimit --as=…`. The program must execute the server in its place.
    pub fn wrapper<W: Into<PathBuf>>(mut self, words: impl IntoIterator<Item = W>) -> Builder {
        self.wrapper = words.into_iter().map(Into::into).collect();
        self
    }

    /// A variable for the server, such as `GOMEMLIMIT`.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Builder {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// How to log in, where the configuration asks for it.
    pub fn credentials(mut self, credentials: Credentials) -> Builder {
        self.credentials = credentials;
        self
    }

    /// Ready only when `/healthz` is 200 too. Off by default: a server with a stream that it could not recover answers, and some
    /// tests want to see just that.
    pub fn healthz(mut self, wait: bool) -> Builder {
        self.healthz = wait;
        self
    }

    /// How long it may take to become ready: 60 s unless said otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Builder {
        self.timeout = timeout;
        self
    }

    /// How long a graceful stop may take before the server is killed: 20 s unless said otherwise.
    pub fn stop_timeout(mut self, timeout: Duration) -> Builder {
        self.stop_timeout = timeout;
        self
    }

    /// Starts it, and returns when it is ready.
    ///
    /// # Errors
    /// [`ServerError`]: no nats-server, a configuration that it refuses, or one that did not become ready.
    pub fn start(self) -> Result<Scratch, ServerError> {
        let mut scratch = self.prepare()?;
        scratch.start()?;
        Ok(scratch)
    }

    /// Everything but the start.
    ///
    /// # Errors
    /// [`ServerError`]: no nats-server, or a folder that cannot be written.
    pub fn prepare(mut self) -> Result<Scratch, ServerError> {
        let binary = match self.binary.take() {
            Some(binary) => binary,
            None => cached(&self.wanted, self.sources.take())?,
        };
        let folder = Folder::create(self.in_memory)?;
        let own = folder.path().join("data");
        let store = match &self.store {
            Some(store) => std::path::absolute(store).doing("find", store)?,
            None => own,
        };
        let name = format!("scratch-{}", folder.name());
        let scratch = Scratch { child: None, settings: self, binary, folder, store, name, ports: None };
        let config = scratch.config()?;
        std::fs::write(scratch.config_path(), config).doing("write", &scratch.config_path())?;
        Ok(scratch)
    }
}

/// The binary is looked for, hashed and checked once in a process, not at each start.
fn cached(wanted: &Wanted, sources: Option<Sources>) -> Result<Binary, ServerError> {
    static KNOWN: Mutex<Option<HashMap<String, Binary>>> = Mutex::new(None);
    let sources = sources.unwrap_or_else(Sources::from_process);
    let key = format!("{wanted:?} {sources:?}");
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let known = known.get_or_insert_with(HashMap::new);
    if let Some(binary) = known.get(&key).filter(|binary| binary.path.is_file()) {
        return Ok(binary.clone());
    }
    let binary = acquire::acquire(wanted, &sources)?;
    known.insert(key, binary.clone());
    Ok(binary)
}
