//! Scratch servers: real nats-servers for tests, each on free ports and in its own folder, gone on drop.

mod builder;
mod folder;
mod life;
mod listening;

use std::path::{Path, PathBuf};
use std::process::Child;

use crate::acquire::Binary;
use crate::disk::{DiskError, Doing};
use crate::error::ServerError;
use crate::spawn;

pub use builder::Builder;
pub use life::Stopped;

use folder::Folder;
use listening::Ports;

/// A nats-server with JetStream, for a test: on free ports of 127.0.0.1, with its own store, killed and removed on drop.
///
/// It is ready when `new` returns. Its ports stay the same across its restarts. When the process that made it is killed, the
/// server goes with it (Linux), or the next process that makes one removes it (elsewhere).
///
/// ```
/// use streamproof_server::Scratch;
///
/// let mut server = Scratch::new()?;
/// let url = server.url();
/// // … connect to `url`, publish something …
/// server.restart_killed()?; // SIGKILL, then a start on the same store and port
/// assert_eq!(server.url(), url);
/// # Ok::<_, streamproof_server::ServerError>(())
/// ```
#[derive(Debug)]
pub struct Scratch {
    child: Option<Child>,
    settings: Builder,
    binary: Binary,
    folder: Folder,
    store: PathBuf,
    name: String,
    ports: Option<Ports>,
}

impl Scratch {
    /// The pinned nats-server, with nothing special.
    ///
    /// # Errors
    /// [`ServerError`]: no nats-server could be had, or it did not become ready.
    pub fn new() -> Result<Scratch, ServerError> {
        Scratch::builder().start()
    }

    /// One that is special.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `nats://127.0.0.1:PORT`.
    ///
    /// # Panics
    /// Before its first start: there is no port yet.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// `127.0.0.1:PORT`.
    ///
    /// # Panics
    /// Before its first start: there is no port yet.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.known_ports().client)
    }

    /// `http://127.0.0.1:PORT`, where `/varz` and the other monitoring pages are.
    ///
    /// # Panics
    /// Before its first start: there is no port yet.
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://{}", self.monitor_address())
    }

    /// `127.0.0.1:PORT` of the monitoring pages.
    ///
    /// # Panics
    /// Before its first start: there is no port yet.
    #[must_use]
    pub fn monitor_address(&self) -> String {
        format!("127.0.0.1:{}", self.known_ports().monitor)
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The folder that the configuration calls `$STREAMPROOF_STORE`; the server keeps `jetstream/` in it.
    #[must_use]
    pub fn store_dir(&self) -> &Path {
        &self.store
    }

    /// The server's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The nats-server it runs.
    #[must_use]
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// The log of all its starts.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        spawn::tail(&self.log_path(), lines)
    }

    /// Its start uses this nats-server from now on: an upgrade, or a downgrade, on the same store.
    pub fn set_binary(&mut self, binary: Binary) {
        self.binary = binary;
    }

    /// Its starts go through these words from now on, as with [`Builder::wrapper`]; none for none.
    pub fn set_wrapper<W: Into<PathBuf>>(&mut self, words: impl IntoIterator<Item = W>) {
        self.settings.wrapper = words.into_iter().map(Into::into).collect();
    }

    /// What it needs of the file system, for a wrapper that has to bring it along: its folder and its store, which are written,
    /// and its binary and the folder of its configuration file, which are only read.
    #[must_use]
    pub fn places(&self) -> Vec<(PathBuf, Access)> {
        let mut places = vec![
            (self.folder.path().to_owned(), Access::Write),
            (self.store.clone(), Access::Write),
            (self.binary.path.clone(), Access::Read),
        ];
        if let Some(folder) = self
            .settings
            .config_file
            .as_ref()
            .and_then(|file| std::fs::canonicalize(file).ok()?.parent().map(Path::to_owned))
        {
            places.push((folder, Access::Read));
        }
        places
    }

    /// Its start uses this store from now on; one that is not its own is left behind.
    ///
    /// # Errors
    /// A relative path, where the current folder is gone.
    pub fn set_store_dir(&mut self, store: impl AsRef<Path>) -> Result<(), ServerError> {
        self.store = std::path::absolute(store.as_ref()).doing("find", store.as_ref())?;
        Ok(())
    }

    /// Stops it, and starts this nats-server on the same store and port.
    ///
    /// # Errors
    /// As [`Scratch::start`].
    pub fn with_binary(mut self, binary: Binary) -> Result<Scratch, ServerError> {
        self.stop()?;
        self.set_binary(binary);
        self.start()?;
        Ok(self)
    }

    #[expect(
        clippy::expect_used,
        reason = "a server that was never started has no address; the doc comments say so"
    )]
    fn known_ports(&self) -> Ports {
        self.ports.expect("the server has been started")
    }

    fn not_running(&self) -> ServerError {
        ServerError::NotRunning { node: self.name.clone() }
    }

    fn config_path(&self) -> PathBuf {
        self.folder.path().join("server.conf")
    }

    fn config(&self) -> Result<String, DiskError> {
        let ports_dir = self.folder.path().join("ports");
        std::fs::create_dir_all(&ports_dir).doing("create", &ports_dir)?;
        let jetstream = match &self.settings.config_file {
            Some(file) => crate::config::include(self.folder.path(), file)?,
            None => format!("jetstream {{\nstore_dir: $STREAMPROOF_STORE\n{}}}\n", self.settings.jetstream),
        };
        let ports_dir = crate::config::quoted(&ports_dir.to_string_lossy());
        Ok(format!("{jetstream}{}ports_file_dir: {ports_dir}\n", self.settings.config))
    }
}

/// What a server does with a place of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It writes there too.
    Write,
    /// It only reads.
    Read,
}
