//! Scratch servers: real nats-servers for tests, each on free ports and in its own folder, gone on drop.

mod folder;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::time::Duration;

use crate::acquire::{self, Binary, Wanted};
use crate::disk::{DiskError, Doing};
use crate::environment::Sources;
use crate::error::ServerError;
use crate::pins::PINNED;
use crate::poll::{self, Pace};
use crate::ready::{self, Ladder, Rung};
use crate::spawn::{self, Signal};
use crate::wire::Credentials;
use streamproof_model::version::Version;

use folder::Folder;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    client: u16,
    monitor: u16,
}

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
    config: String,
    config_file: Option<PathBuf>,
    jetstream: String,
    store: Option<PathBuf>,
    in_memory: bool,
    wrapper: Vec<PathBuf>,
    envs: Vec<(OsString, OsString)>,
    credentials: Credentials,
    healthz: bool,
    timeout: Duration,
    stop_timeout: Duration,
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

    /// Starts it, unless it runs, and returns when it is ready.
    ///
    /// # Errors
    /// [`ServerError::Died`] with its last words, or [`ServerError::NotReady`].
    pub fn start(&mut self) -> Result<(), ServerError> {
        if self.is_running() {
            return Ok(());
        }
        // The system may lend a port that was ours to an outgoing connection while the server is down; those are short.
        let started = poll::until_or(Pace::CALM, PORT_BOUND, || match self.start_once() {
            Ok(()) => std::ops::ControlFlow::Break(Ok(())),
            Err(error) if self.ports.is_some() && lost_port(&error) => std::ops::ControlFlow::Continue(error),
            Err(error) => std::ops::ControlFlow::Break(Err(error)),
        });
        started.map_err(|ended| match ended {
            poll::Ended::TimedOut(timed_out) => timed_out.last,
            poll::Ended::Hopeless(error) => error,
        })
    }

    /// Starts it, unless it runs, but does not wait until it is ready; for who wants to disturb that.
    ///
    /// # Errors
    /// A process that cannot be started at all.
    pub fn launch(&mut self) -> Result<(), ServerError> {
        if self.is_running() {
            return Ok(());
        }
        self.forget_ports_files();
        let lock_path = self.folder.path().join("LOCK");
        let lock = std::fs::File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.doing("open", &lock_path)?;
        // A process that is being started at the same time holds a copy of every open file until its own exec has closed it: on a
        // busy machine that can outlive the server that was just killed.
        let locked = poll::until(Pace::QUICK, LOCK_BOUND, || lock.try_lock());
        locked.map_err(|timed_out| std::io::Error::from(timed_out.last)).doing("lock", &lock_path)?;
        let port =
            |known: fn(Ports) -> u16| self.ports.map_or("-1".to_owned(), |ports| known(ports).to_string());
        let mut program = self.settings.wrapper.clone();
        program.push(self.binary.path.clone());
        let mut command =
            spawn::command(&program, &lock, &self.log_path()).doing("start", &self.binary.path)?;
        command.arg("-c").arg(self.config_path());
        command.args(["-a", "127.0.0.1", "-n", &self.name]);
        command.args(["-p", &port(|ports| ports.client), "-m", &port(|ports| ports.monitor)]);
        command
            .env("STREAMPROOF_STORE", &self.store)
            .envs(self.settings.envs.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path());
        let child = spawn::start(command).doing("start", &self.binary.path)?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it is ready, after [`Scratch::launch`].
    ///
    /// # Errors
    /// As [`Scratch::start`].
    pub fn wait_ready(&mut self) -> Result<(), ServerError> {
        let start = std::time::Instant::now();
        let bound = self.settings.timeout;
        let ports = self.wait_for_ports(bound)?;
        self.ports = Some(ports);
        let ladder = Ladder {
            address: format!("127.0.0.1:{}", ports.client),
            monitor: self.settings.healthz.then(|| format!("127.0.0.1:{}", ports.monitor)),
            credentials: self.settings.credentials.clone(),
            name: Some(self.name.clone()),
            assets: Vec::new(),
        };
        let log = self.log_path();
        ready::climb(&ladder, bound.saturating_sub(start.elapsed()), &log, || self.alive())?;
        Ok(())
    }

    /// Stops it in good order (SIGTERM); a server that does not end in time is killed.
    ///
    /// # Errors
    /// [`ServerError::StopTimeout`]: it did not even end when killed.
    pub fn stop(&mut self) -> Result<Stopped, ServerError> {
        let Some(pid) = self.pid() else { return Ok(Stopped::DidNotRun) };
        // A paused one would get the signal only when it goes on.
        self.signal(pid, Signal::Cont)?;
        self.signal(pid, Signal::Term)?;
        match self.wait(self.settings.stop_timeout) {
            Ok(status) => Ok(Stopped::Ended(status)),
            Err(_) => {
                self.kill()?;
                Ok(Stopped::Killed)
            }
        }
    }

    /// Kills it (SIGKILL), and returns when it is gone. The page cache stays: this says nothing of a power cut.
    ///
    /// # Errors
    /// [`ServerError::StopTimeout`]: it did not end.
    pub fn kill(&mut self) -> Result<Stopped, ServerError> {
        let Some(child) = &mut self.child else { return Ok(Stopped::DidNotRun) };
        child.kill().doing("kill", &self.binary.path)?;
        self.wait(KILL_BOUND)?;
        Ok(Stopped::Killed)
    }

    /// Stops it in good order and starts it again, on the same store and ports.
    ///
    /// # Errors
    /// As [`Scratch::start`].
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.stop()?;
        self.start()
    }

    /// Kills it and starts it again, on the same store and ports.
    ///
    /// # Errors
    /// As [`Scratch::start`].
    pub fn restart_killed(&mut self) -> Result<(), ServerError> {
        self.kill()?;
        self.start()
    }

    /// Makes it stand still (SIGSTOP), with all its connections open.
    ///
    /// # Errors
    /// [`ServerError::NotRunning`].
    pub fn pause(&self) -> Result<(), ServerError> {
        self.signal(self.pid().ok_or_else(|| self.not_running())?, Signal::Stop)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// [`ServerError::NotRunning`].
    pub fn resume(&self) -> Result<(), ServerError> {
        self.signal(self.pid().ok_or_else(|| self.not_running())?, Signal::Cont)
    }

    /// Whether the process lives.
    pub fn is_running(&mut self) -> bool {
        match &mut self.child {
            None => false,
            Some(child) => match child.try_wait() {
                Ok(None) => true,
                _ => {
                    self.child = None;
                    false
                }
            },
        }
    }

    fn start_once(&mut self) -> Result<(), ServerError> {
        self.launch()?;
        self.wait_ready().inspect_err(|_| {
            let _ = self.kill();
        })
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

    fn signal(&self, pid: u32, signal: Signal) -> Result<(), ServerError> {
        // Not collected yet, so the id cannot have gone to another process.
        Ok(spawn::signal(pid, signal).doing("signal", &self.binary.path)?)
    }

    fn wait(&mut self, bound: Duration) -> Result<ExitStatus, ServerError> {
        let name = self.name.clone();
        let Some(child) = &mut self.child else { return Err(self.not_running()) };
        let ended = poll::until(Pace::QUICK, bound, || child.try_wait().ok().flatten().ok_or("runs"));
        match ended {
            Ok(status) => {
                self.child = None;
                Ok(status)
            }
            Err(timed_out) => Err(ServerError::StopTimeout { what: name, waited: timed_out.waited }),
        }
    }

    fn alive(&mut self) -> Result<(), ServerError> {
        let status = match &mut self.child {
            None => return Err(self.not_running()),
            Some(child) => child.try_wait(),
        };
        match status {
            Ok(None) => Ok(()),
            ended => {
                self.child = None;
                let how =
                    ended.ok().flatten().map_or("not known how".to_owned(), |status| status.to_string());
                Err(ServerError::Died {
                    how,
                    log_tail: self.log_tail(ready::LOG_LINES),
                    log: self.log_path(),
                })
            }
        }
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

    /// A file from an earlier start says where that one listened.
    fn forget_ports_files(&self) {
        for entry in std::fs::read_dir(self.folder.path().join("ports")).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
    }

    /// The ports of the process that was started: from the file that carries its id (nats-server `server.go`: `logPorts`).
    fn wait_for_ports(&mut self, bound: Duration) -> Result<Ports, ServerError> {
        if let Some(ports) = self.ports {
            return Ok(ports);
        }
        let folder = self.folder.path().join("ports");
        let ending = format!("_{}.ports", self.pid().ok_or_else(|| self.not_running())?);
        let found = poll::until_or(Pace::QUICK, bound, || {
            if let Err(dead) = self.alive() {
                return std::ops::ControlFlow::Break(Err(dead));
            }
            let mut entries =
                std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
            let file = entries.find(|path| path.to_string_lossy().ends_with(&ending));
            // Not written in one step: a half-written one is read again.
            match file.and_then(|path| read_ports(&std::fs::read_to_string(path).ok()?)) {
                Some(ports) => std::ops::ControlFlow::Break(Ok(ports)),
                None => std::ops::ControlFlow::Continue("has not said where it listens"),
            }
        });
        found.map_err(|ended| match ended {
            poll::Ended::Hopeless(error) => error,
            poll::Ended::TimedOut(timed_out) => ServerError::NotReady {
                rung: Rung::Process,
                last: timed_out.last.to_owned(),
                waited: timed_out.waited,
                log_tail: self.log_tail(ready::LOG_LINES),
            },
        })
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

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// There was nothing to stop.
    DidNotRun,
    /// It ended by itself, with this status.
    Ended(ExitStatus),
    /// It had to be killed, or was to be.
    Killed,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// How long the kernel may take to end a killed process: it may be writing to a slow disk.
const KILL_BOUND: Duration = Duration::from_secs(30);

/// How long a lock that was ours is waited for: an exec takes a millisecond, a busy machine makes more of it.
const LOCK_BOUND: Duration = Duration::from_secs(5);

/// How long a port that was ours is waited for.
const PORT_BOUND: Duration = Duration::from_secs(10);

fn lost_port(error: &ServerError) -> bool {
    matches!(error, ServerError::Died { log_tail, .. } if log_tail.contains("address already in use"))
}

fn read_ports(json: &str) -> Option<Ports> {
    #[derive(serde::Deserialize)]
    struct File {
        nats: Vec<String>,
        monitoring: Vec<String>,
    }
    let file: File = serde_json::from_str(json).ok()?;
    let port = |urls: &[String]| urls.first()?.rsplit(':').next()?.parse().ok();
    Some(Ports { client: port(&file.nats)?, monitor: port(&file.monitoring)? })
}
