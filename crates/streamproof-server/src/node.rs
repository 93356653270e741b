//! The persistent server: where it lives, whether it runs, its start and its end. As a plain process in `process`; as a
//! container in [`crate::container`].
//!
//! What is known of a node is never read from a leftover file. It runs if its `LOCK` is held, which the server does (it has
//! the lock as its standard input, so the lock ends with it); its process is the one that names the node's configuration; its
//! ports stand in that process's command line.

mod log;
mod process;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::acquire::{Binary, sha256};
use crate::contents::Contents;
use crate::disk::{Doing, write_changed, write_whole};
use crate::engine::{Choice, Engine, Keep};
use crate::error::ServerError;
use crate::image::Official;
use crate::interrupt::Interrupt;
use crate::pins::Target;
use crate::ready::{self, Asset, Ladder, Ready};
use crate::spawn::Signal;
use crate::wire::Credentials;
use crate::{config, container, ports, stores};
use streamproof_model::version::Version;

pub use log::follow;

/// One node's place: its name, its project, its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    name: String,
    project: String,
    folder: PathBuf,
}

/// What a start needs.
#[derive(Debug, Clone)]
pub struct Start {
    /// Where it runs, and where its store is kept.
    pub choice: Choice,
    /// The nats-server.
    pub binary: Binary,
    /// The official image to make a container of; else one is built around the nats-server.
    pub image: Option<Official>,
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
    /// Set when the user wants to end.
    pub interrupt: Interrupt,
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

/// The sha256 of the user's configuration at the last start.
const STARTED_WITH: &str = "started-with";

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

    /// What was chosen for it: the user's wish, kept until it is changed. Whether it runs is another question.
    #[must_use]
    pub fn chosen(&self) -> Option<Choice> {
        Choice::parse(&std::fs::read_to_string(self.folder.join(ENGINE_FILE)).ok()?)
    }

    /// The engine that was chosen for it.
    #[must_use]
    pub fn engine(&self) -> Option<Engine> {
        self.chosen().map(Choice::engine)
    }

    /// Whether its store is a named volume of Docker's instead of [`Node::store_dir`].
    #[must_use]
    pub fn keeps_volume(&self) -> bool {
        self.chosen().is_some_and(|choice| choice.keep() == Keep::Volume)
    }

    /// Its store, for people.
    #[must_use]
    pub fn store_shown(&self) -> String {
        if self.keeps_volume() {
            return format!("volume {}", container::volume(self));
        }
        self.store_dir().display().to_string()
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

    /// Whether the user's configuration is another than at its last start. A hint, from a note beside it: files that it includes
    /// are not looked at.
    #[must_use]
    pub fn has_old_config(&self, config_file: &Path) -> bool {
        match (std::fs::read_to_string(self.folder.join(STARTED_WITH)), sha256(config_file)) {
            (Ok(then), Ok(now)) => then.trim() != now,
            _ => false,
        }
    }

    /// The server's own name: the node and the project, so that two projects are told apart.
    #[must_use]
    pub fn server_name(&self) -> String {
        format!("{}-{}", self.name, self.project)
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.join("nats.conf")
    }

    /// The configuration of its container. It is there only while Docker is the chosen engine: without it the container, which
    /// mounts it, cannot be started, by nobody, and so never beside a plain process on the same store.
    pub(crate) fn container_config_path(&self) -> PathBuf {
        self.folder.join("container.conf")
    }

    /// Whether it runs, and where.
    ///
    /// # Errors
    /// [`ServerError::StoreInUse`]: its lock is held by something that is not our server.
    pub fn running(&self) -> Result<Option<Running>, ServerError> {
        match self.process()? {
            Some(running) => Ok(Some(running)),
            None if self.engine() == Some(Engine::Docker) || self.container_config_path().exists() => {
                container::running(self)
            }
            None => Ok(None),
        }
    }

    /// Starts it and returns at once; [`Node::wait_ready`] waits. The caller holds the project's lock and has seen that it does
    /// not run.
    ///
    /// Nothing is started before the store, the configuration and the ports have been checked.
    ///
    /// # Errors
    /// [`ServerError`], with what to do.
    pub fn start(&self, start: &Start) -> Result<Running, ServerError> {
        std::fs::create_dir_all(self.store_dir()).doing("create", &self.store_dir())?;
        self.check_store(start)?;
        let config = self.config(&start.config_file)?;
        write_changed(&self.config_path(), config.as_bytes())?;
        if start.binary.target == Target::host() {
            self.check_config(start)?;
        }
        ports::check(&[(start.port, "client"), (start.monitor_port, "monitoring")])?;
        // The choice is written before anything runs, so that whatever runs is looked for where it is.
        write_changed(&self.folder.join(ENGINE_FILE), format!("{}\n", start.choice).as_bytes())?;
        write_changed(&self.folder.join(LAST_VERSION), format!("{}\n", start.binary.version).as_bytes())?;
        let started_with = format!("{}\n", sha256(&start.config_file)?);
        write_changed(&self.folder.join(STARTED_WITH), started_with.as_bytes())?;
        if start.interrupt.is_set() {
            return Err(ServerError::Interrupted);
        }
        match start.choice {
            Choice::Process => {
                self.leave_docker()?;
                self.start_process(start)
            }
            Choice::Docker(keep) => {
                write_changed(&self.container_config_path(), config.as_bytes())?;
                container::start(self, start, keep)
            }
        }
    }

    /// Sees that no container can use the store any more.
    fn leave_docker(&self) -> Result<(), ServerError> {
        let path = self.container_config_path();
        let config = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            read => read.doing("read", &path)?,
        };
        std::fs::remove_file(&path).doing("remove", &path)?;
        // One that somebody has started in between is left to them, as it was.
        match container::leave(self) {
            Ok(None) => Ok(()),
            Ok(Some(running)) => {
                write_whole(&path, &config)?;
                Err(ServerError::StoreInUse {
                    store: self.store_dir(),
                    by: format!("container {}, which runs at {}", container::name(self), running.url()),
                    help: format!("docker stop {}", container::name(self)),
                })
            }
            // Without its engine no container runs, and without that file none can be started later.
            Err(ServerError::EngineDown { .. }) => Ok(()),
            Err(error) => Err(error),
        }
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
        interrupt: &Interrupt,
    ) -> Result<Ready, ServerError> {
        let ladder = Ladder {
            address: format!("127.0.0.1:{}", running.port),
            monitor: Some(running.monitor_address()),
            credentials: credentials.clone(),
            name: Some(self.server_name()),
            assets,
        };
        if running.engine == Engine::Docker {
            return self.wait_container(&ladder, timeout, interrupt);
        }
        // The lock ends with the server: a look at the process would be fooled by one that has not been collected yet, or whose
        // command line the kernel has not filled in.
        let lock = open_lock(&self.folder.join("LOCK"))?;
        ready::climb(&ladder, timeout, &self.log_path(), || {
            if interrupt.is_set() {
                return Err(ServerError::Interrupted);
            }
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
    fn wait_container(
        &self,
        ladder: &Ladder,
        timeout: Duration,
        interrupt: &Interrupt,
    ) -> Result<Ready, ServerError> {
        let mut looked = Instant::now();
        ready::climb(ladder, timeout, &self.log_path(), || {
            if interrupt.is_set() {
                return Err(ServerError::Interrupted);
            }
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

    /// A store that a newer server has run on may be unreadable for an older one, or lose streams to it. The note says which
    /// it was; where it is missing, the store's own files tell the release.
    fn check_store(&self, start: &Start) -> Result<(), ServerError> {
        let version = &start.binary.version;
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
        if start.choice.keep() == Keep::Volume { Ok(()) } else { stores::check(&self.store_dir()) }
    }

    fn config(&self, file: &Path) -> Result<String, ServerError> {
        let include = config::include(&self.folder, file)?;
        let tag = config::quoted(&format!("{}{}", ports::PROJECT_TAG, self.project));
        Ok(format!(
            "# Written by streamproof at each start; edit {} instead.\n{include}server_tags: [{tag}]\n",
            file.display()
        ))
    }
}

fn open_lock(path: &Path) -> Result<File, ServerError> {
    Ok(File::options().create(true).truncate(false).write(true).open(path).doing("open", path)?)
}
