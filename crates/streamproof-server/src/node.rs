//! The persistent server: where it lives, whether it runs, its start and its end. As a plain process here; as a container in
//! [`crate::container`].
//!
//! What is known of a node is never read from a leftover file. It runs if its `LOCK` is held, which the server does (it has
//! the lock as its standard input, so the lock ends with it); its process is the one that names the node's configuration; its
//! ports stand in that process's command line.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::acquire::Binary;
use crate::contents::Contents;
use crate::disk::{Doing, write_whole};
use crate::error::ServerError;
use crate::pins::Target;
use crate::poll::{self, Pace};
use crate::ready::{self, Asset, Ladder, Ready};
use crate::spawn::{self, Lifetime, Signal};
use crate::wire::Credentials;
use crate::{config, container, ports, processes, stores};
use streamproof_model::version::Version;

/// One node's place: its name, its project, its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    name: String,
    project: String,
    folder: PathBuf,
}

/// Where a server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// A plain process, detached.
    Process,
    /// A container.
    Docker,
}

impl Engine {
    /// Its name, as flags and documents have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Engine::Process => "process",
            Engine::Docker => "docker",
        }
    }

    /// The engine of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Engine> {
        [Engine::Process, Engine::Docker].into_iter().find(|engine| engine.name() == name)
    }

    /// What a nats-server for it must run on.
    #[must_use]
    pub const fn target(self) -> Target {
        match self {
            Engine::Process => Target::host(),
            Engine::Docker => container::target(),
        }
    }
}

/// What a start needs.
#[derive(Debug, Clone)]
pub struct Start {
    /// Where it runs.
    pub engine: Engine,
    /// The nats-server.
    pub binary: Binary,
    /// The user's `jetstream.conf`.
    pub config_file: PathBuf,
    /// Client port.
    pub port: u16,
    /// Monitoring port.
    pub monitor_port: u16,
    /// How to log in.
    pub credentials: Credentials,
    /// How long it may take to become ready.
    pub timeout: Duration,
}

/// A node that runs, from live facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Running {
    /// Where it runs.
    pub engine: Engine,
    /// Its process id, on the host where the container's is known there.
    pub pid: u32,
    /// Its client port.
    pub port: u16,
    /// Its monitoring port.
    pub monitor_port: u16,
}

impl Running {
    /// `nats://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:PORT` of the monitoring pages.
    #[must_use]
    pub fn monitor_address(&self) -> String {
        format!("127.0.0.1:{}", self.monitor_port)
    }
}

/// Where the choice of the engine is kept.
const ENGINE_FILE: &str = "engine";

/// How often a container is looked at while it starts.
const CONTAINER_LOOK: Duration = Duration::from_millis(200);

/// How long another command's look at a lock can take.
const LOOK_BOUND: Duration = Duration::from_secs(2);

/// How long a killed process may take to be gone.
const KILL_BOUND: Duration = Duration::from_secs(30);

/// The note beside the store that says which server ran on it last.
const LAST_VERSION: &str = "last-version";

/// Held while one streamproof works on a project; it ends with the process that holds it.
#[derive(Debug)]
pub struct ProjectLock {
    _file: File,
}

impl ProjectLock {
    /// Takes the lock in this folder, which exists.
    ///
    /// # Errors
    /// [`ServerError::Locked`] while another streamproof holds it.
    pub fn take(state_dir: &Path) -> Result<ProjectLock, ServerError> {
        let path = state_dir.join("LOCK");
        let file = open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(ProjectLock { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(ServerError::Locked { path }),
            Err(std::fs::TryLockError::Error(error)) => {
                Err::<(), _>(error).doing("lock", &path)?;
                Err(ServerError::Locked { path })
            }
        }
    }
}

impl Node {
    /// A node of a project, in the project's state folder.
    #[must_use]
    pub fn new(state_dir: &Path, project: &str, name: &str) -> Node {
        Node { name: name.to_owned(), project: project.to_owned(), folder: state_dir.join(name) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its project's id.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The engine that was chosen for it: the user's wish, kept until it is changed. Whether it runs is another question.
    #[must_use]
    pub fn chosen(&self) -> Option<Engine> {
        Engine::named(std::fs::read_to_string(self.folder.join(ENGINE_FILE)).ok()?.trim())
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its store; the server keeps `jetstream/` in it.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The log of all its starts.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        if self.chosen() == Some(Engine::Docker) {
            return container::log_tail(self, lines);
        }
        spawn::tail(&self.log_path(), lines)
    }

    /// The server's own name: the node and the project, so that two projects are told apart.
    #[must_use]
    pub fn server_name(&self) -> String {
        format!("{}-{}", self.name, self.project)
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.join("nats.conf")
    }

    /// Whether it runs, and where.
    ///
    /// # Errors
    /// [`ServerError::StoreInUse`]: its lock is held by something that is not our server.
    pub fn running(&self) -> Result<Option<Running>, ServerError> {
        match self.process()? {
            Some(running) => Ok(Some(running)),
            None if self.chosen() == Some(Engine::Docker) => container::running(self),
            None => Ok(None),
        }
    }

    /// The server that holds the lock. It may have been started this very moment and be without a command line still, or be
    /// ending (one that was killed keeps its lock until the kernel is done with it), so both are looked at more than once.
    fn process(&self) -> Result<Option<Running>, ServerError> {
        let lock_path = self.folder.join("LOCK");
        if !lock_path.exists() {
            return Ok(None);
        }
        let lock = open_lock(&lock_path)?;
        let found = poll::until(Pace::QUICK, Duration::from_secs(2), || {
            if lock.try_lock().is_ok() {
                return Ok(None);
            }
            let pid =
                processes::with_config(&self.config_path()).ok_or("no process names its configuration")?;
            let words = processes::one(pid).ok_or("it has just ended")?.words;
            let port = |flag: &str| words.iter().skip_while(|word| *word != flag).nth(1)?.parse::<u16>().ok();
            match (port("-p"), port("-m")) {
                (Some(port), Some(monitor_port)) => {
                    Ok(Some(Running { engine: Engine::Process, pid, port, monitor_port }))
                }
                _ => Err("its command line names no ports"),
            }
        });
        found.map_err(|_| ServerError::StoreInUse {
            store: self.store_dir(),
            by: "a process that is not our server but holds its lock".to_owned(),
            help: format!("find it: lsof {}", self.folder.join("LOCK").display()),
        })
    }

    /// Starts it and returns at once; [`Node::wait_ready`] waits.
    ///
    /// Nothing is started before the store, the configuration and the ports have been checked.
    ///
    /// # Errors
    /// [`ServerError`], with what to do.
    pub fn start(&self, start: &Start) -> Result<Running, ServerError> {
        if let Some(running) = self.running()? {
            return Ok(running);
        }
        std::fs::create_dir_all(self.store_dir()).doing("create", &self.store_dir())?;
        self.check_store(&start.binary.version)?;
        let config = self.config(&start.config_file)?;
        write_whole(&self.config_path(), config.as_bytes())?;
        if start.binary.target == Target::host() {
            self.check_config(start)?;
        }
        ports::check(&[(start.port, "client"), (start.monitor_port, "monitoring")])?;
        // The choice is written before anything runs, so that whatever runs is looked for where it is.
        write_whole(&self.folder.join(ENGINE_FILE), format!("{}\n", start.engine.name()).as_bytes())?;
        write_whole(&self.folder.join(LAST_VERSION), format!("{}\n", start.binary.version).as_bytes())?;
        match start.engine {
            Engine::Process => self.start_process(start),
            Engine::Docker => container::start(self, start),
        }
    }

    fn start_process(&self, start: &Start) -> Result<Running, ServerError> {
        let lock_path = self.folder.join("LOCK");
        let lock = open_lock(&lock_path)?;
        // Another command's look at the lock holds it for a moment.
        poll::until(Pace::QUICK, LOOK_BOUND, || lock.try_lock())
            .map_err(|timed_out| std::io::Error::from(timed_out.last))
            .doing("lock", &lock_path)?;
        let program = [start.binary.path.clone()];
        let mut command = spawn::command(&program, &lock, &self.log_path(), Lifetime::Own)
            .doing("start", &start.binary.path)?;
        command.arg("-c").arg(self.config_path());
        command.args(["-a", "127.0.0.1", "-n", &self.server_name()]);
        command.args(["-p", &start.port.to_string(), "-m", &start.monitor_port.to_string()]);
        command.env("STREAMPROOF_STORE", self.store_dir()).current_dir(&self.folder);
        let child = spawn::start(command, Lifetime::Own).doing("start", &start.binary.path)?;
        Ok(Running {
            engine: Engine::Process,
            pid: child.id(),
            port: start.port,
            monitor_port: start.monitor_port,
        })
    }

    /// Waits until it is ready. A server that ends ends the wait at once.
    ///
    /// # Errors
    /// [`ServerError::Died`] with its last words, or [`ServerError::NotReady`].
    pub fn wait_ready(
        &self,
        running: &Running,
        credentials: &Credentials,
        assets: Vec<Asset>,
        timeout: Duration,
    ) -> Result<Ready, ServerError> {
        let ladder = Ladder {
            address: format!("127.0.0.1:{}", running.port),
            monitor: Some(running.monitor_address()),
            credentials: credentials.clone(),
            name: Some(self.server_name()),
            assets,
        };
        if running.engine == Engine::Docker {
            return self.wait_container(&ladder, timeout);
        }
        // The lock ends with the server: a look at the process would be fooled by one that has not been collected yet, or whose
        // command line the kernel has not filled in.
        let lock = open_lock(&self.folder.join("LOCK"))?;
        ready::climb(&ladder, timeout, &self.log_path(), || {
            if lock.try_lock().is_err() {
                return Ok(());
            }
            Err(ServerError::Died {
                how: "see its log".to_owned(),
                log_tail: self.log_tail(ready::LOG_LINES),
                log: self.log_path(),
            })
        })
    }

    /// As [`Node::wait_ready`]. A look at a container takes longer than all of a server's start, so it is not taken each time.
    fn wait_container(&self, ladder: &Ladder, timeout: Duration) -> Result<Ready, ServerError> {
        let mut looked = Instant::now();
        ready::climb(ladder, timeout, &self.log_path(), || {
            if looked.elapsed() < CONTAINER_LOOK {
                return Ok(());
            }
            looked = Instant::now();
            if container::running(self)?.is_some() {
                return Ok(());
            }
            Err(ServerError::Died {
                how: format!("container {}", container::name(self)),
                log_tail: self.log_tail(ready::LOG_LINES),
                log: PathBuf::from(format!("`docker logs {}`", container::name(self))),
            })
        })
    }

    /// Stops it in good order; one that does not end in time is killed. `None`: it did not run. `Some(true)`: it had to be killed.
    ///
    /// # Errors
    /// [`ServerError::StopTimeout`]: it did not even end when killed.
    pub fn stop(&self, bound: Duration) -> Result<Option<bool>, ServerError> {
        let Some(running) = self.running()? else { return Ok(None) };
        if running.engine == Engine::Docker {
            return container::stop(self, bound).map(Some);
        }
        // A paused one would get the signal only when it goes on.
        self.signal(running.pid, Signal::Cont)?;
        self.signal(running.pid, Signal::Term)?;
        if self.wait_gone(bound).is_ok() {
            return Ok(Some(false));
        }
        self.kill()?;
        Ok(Some(true))
    }

    /// Kills it (SIGKILL) and returns when it is gone. `false`: it did not run.
    ///
    /// # Errors
    /// [`ServerError::StopTimeout`].
    pub fn kill(&self) -> Result<bool, ServerError> {
        let Some(running) = self.running()? else { return Ok(false) };
        if running.engine == Engine::Docker {
            return container::kill(self).map(|()| true);
        }
        self.signal(running.pid, Signal::Kill)?;
        self.wait_gone(KILL_BOUND)?;
        Ok(true)
    }

    fn signal(&self, pid: u32, signal: Signal) -> Result<(), ServerError> {
        match spawn::signal(pid, signal) {
            // It ended between the look and the signal: that is what was wanted.
            Err(error) if error.raw_os_error() == Some(3) => Ok(()),
            other => Ok(other.doing("signal", &self.folder)?),
        }
    }

    /// The lock is free only when the server is gone, whoever started it.
    fn wait_gone(&self, bound: Duration) -> Result<(), ServerError> {
        let path = self.folder.join("LOCK");
        let lock = open_lock(&path)?;
        poll::until(Pace::QUICK, bound, || lock.try_lock().map_err(|_| "runs")).map_err(|timed_out| {
            ServerError::StopTimeout { what: self.server_name(), waited: timed_out.waited }
        })
    }

    /// A store that a newer server has run on may be unreadable for an older one, or lose streams to it. The note says which
    /// it was; where it is missing, the store's own files tell the release.
    fn check_store(&self, version: &Version) -> Result<(), ServerError> {
        let note = std::fs::read_to_string(self.folder.join(LAST_VERSION)).unwrap_or_default();
        let newer = |made_by: String| ServerError::StoreNewer {
            store: self.store_dir(),
            made_by,
            version: version.clone(),
        };
        if let Ok(made_by) = note.trim().parse::<Version>()
            && (made_by.major, made_by.minor) > (version.major, version.minor)
        {
            return Err(newer(made_by.to_string()));
        }
        if self.store_dir().join("jetstream").is_dir() {
            let contents = Contents::read(&self.store_dir())?;
            if contents.is_newer_than(version) {
                return Err(newer(contents.written_by().unwrap_or_default()));
            }
        }
        stores::check(&self.store_dir())
    }

    fn config(&self, file: &Path) -> Result<String, ServerError> {
        let include = config::include(&self.folder, file)?;
        let tag = config::quoted(&format!("{}{}", ports::PROJECT_TAG, self.project));
        Ok(format!(
            "# Written by streamproof at each start; edit {} instead.\n{include}server_tags: [{tag}]\n",
            file.display()
        ))
    }

    /// The server reads the configuration and ends (`-t`): its own message, with file and line, before anything is started.
    fn check_config(&self, start: &Start) -> Result<(), ServerError> {
        let mut command = Command::new(&start.binary.path);
        command.arg("-t").arg("-c").arg(self.config_path()).env("STREAMPROOF_STORE", self.store_dir());
        command.current_dir(&self.folder).stdin(std::process::Stdio::null());
        let said = command.output().doing("run", &start.binary.path)?;
        if said.status.success() {
            return Ok(());
        }
        let text =
            String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
        let message = text.trim().trim_start_matches("nats-server: ").to_owned();
        Err(ServerError::Config {
            message,
            place: None,
            help: Some(format!("edit {}", start.config_file.display())),
        })
    }
}

fn open_lock(path: &Path) -> Result<File, ServerError> {
    Ok(File::options().create(true).truncate(false).write(true).open(path).doing("open", path)?)
}

/// Two ports that are free now, for `--port auto`.
///
/// # Errors
/// [`ServerError::Disk`] where the system gives none.
pub fn free_ports() -> Result<(u16, u16), ServerError> {
    let listen = || std::net::TcpListener::bind("127.0.0.1:0").doing("listen on", Path::new("127.0.0.1"));
    let (a, b) = (listen()?, listen()?);
    let port = |l: &std::net::TcpListener| {
        l.local_addr().map(|a| a.port()).doing("listen on", Path::new("127.0.0.1"))
    };
    Ok((port(&a)?, port(&b)?))
}

/// Waits on a node's log for more lines, calling `line` with each; ends when `go_on` says so or the node is gone.
///
/// # Errors
/// [`ServerError::Disk`].
pub fn follow(
    node: &Node,
    from_lines: usize,
    mut line: impl FnMut(&str),
    mut go_on: impl FnMut() -> bool,
) -> Result<(), ServerError> {
    use std::io::{BufRead, BufReader, Seek, SeekFrom};
    if node.chosen() == Some(Engine::Docker) {
        return container::follow(node, from_lines, line, go_on);
    }
    let path = node.log_path();
    for text in node.log_tail(from_lines).lines() {
        line(text);
    }
    let file = File::open(&path).doing("read", &path)?;
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::End(0)).doing("read", &path)?;
    let mut text = String::new();
    let never = Duration::from_secs(u64::MAX / 4);
    let ended = poll::until_or(
        Pace { first: Duration::from_millis(50), longest: Duration::from_millis(200) },
        never,
        || {
            loop {
                match reader.read_line(&mut text) {
                    Ok(0) => break,
                    Ok(_) if text.ends_with('\n') => {
                        line(text.trim_end());
                        text.clear();
                    }
                    Ok(_) => break,
                    Err(error) => return ControlFlow::Break(Err(error)),
                }
            }
            if go_on() { ControlFlow::Continue("more to come") } else { ControlFlow::Break(Ok(())) }
        },
    );
    match ended {
        Err(poll::Ended::Hopeless(error)) => Ok(Err(error).doing("read", &path)?),
        _ => Ok(()),
    }
}
