//! A project and its server: what the files say, what runs, and how both are brought together.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use streamproof_model::failure::{Code, Failure};
use streamproof_model::finding::Invalid;
use streamproof_model::project::{Options, Project};
use streamproof_model::settings::Port;
use streamproof_model::version::Version;
use streamproof_server::engine::{self, Asked, Choice, Engine, Keep, Present};
use streamproof_server::image::{self, NotOfficial, Official};
use streamproof_server::import::Imported;
use streamproof_server::interrupt::Interrupt;
use streamproof_server::node::{Node, ProjectLock, Running, Start};
use streamproof_server::ready::Ready;
use streamproof_server::wire::Credentials;
use streamproof_server::{Binary, PINNED, ServerError, Sources, Wanted, acquire};
use streamproof_server::{container, docker, ports};
use thiserror::Error;

use crate::connect::Connect;
use crate::folder::{Folder, FolderError};

/// The port of clients, unless another is asked for.
pub const DEFAULT_PORT: u16 = 4222;
/// The monitoring port that goes with it.
pub const DEFAULT_MONITOR_PORT: u16 = 8222;
/// The node's name; three nodes will be `n1`, `n2`, `n3`.
pub const FIRST_NODE: &str = "n1";
/// How long a server that this call started may take to end in good order.
const STOP_BOUND: Duration = Duration::from_secs(20);
/// Where the port that was asked for is remembered.
const PORT_FILE: &str = "port";

/// Why something could not be done with a project's server.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The files.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A secret that `[connect]` names and that can't be read.
    #[error("cannot read {} (named under [connect]): {source}", .file.display())]
    Secret {
        /// The file.
        file: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No `jetstream.conf`.
    #[error("{} is missing", .0.display())]
    NoServerConf(PathBuf),
    /// The server runs, on another engine than the one asked for.
    #[error("the server runs on the engine {}, and {} was asked for", .running.name(), .asked.name())]
    OtherEngine {
        /// Where it runs.
        running: Engine,
        /// What was asked for.
        asked: Engine,
    },
    /// The server runs, at another port than the one asked for.
    #[error("the server runs at port {running}, and {asked} was asked for")]
    OtherPort {
        /// Where it runs.
        running: u16,
        /// What was asked for.
        asked: u16,
    },
    /// The system has no free port.
    #[error("no port of 127.0.0.1 is free: {source}")]
    NoPort {
        /// What it said.
        source: std::io::Error,
    },
    /// A port that is none.
    #[error("{0:?} is no port: a number from 1 to 65535, or auto")]
    BadPort(String),
}

impl Failure for HomeError {
    fn code(&self) -> Code {
        match self {
            HomeError::Folder(e) => e.code(),
            HomeError::Invalid(e) => e.code(),
            HomeError::Server(e) => e.code(),
            HomeError::Secret { source, .. } => crate::folder::io_code(source),
            HomeError::NoServerConf(_) => Code::InvalidConfig,
            HomeError::BadPort(_) => Code::Usage,
            HomeError::NoPort { .. } => Code::PortInUse,
            HomeError::OtherPort { .. } => Code::AlreadyExists,
            HomeError::OtherEngine { .. } => Code::EngineMismatch,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            HomeError::Folder(e) => e.help(),
            HomeError::Invalid(e) => e.help(),
            HomeError::Server(e) => e.help(),
            HomeError::NoServerConf(_) => {
                Some("cargo xtask init DIR   writes one to start from, in another folder".to_owned())
            }
            HomeError::OtherEngine { asked, .. } => Some(format!(
                "cargo xtask down, then cargo xtask up --engine {}   (the data is kept: both engines use one folder)",
                asked.name()
            )),
            HomeError::OtherPort { asked, .. } => Some(format!(
                "cargo xtask up --recreate --port {asked}   starts it anew there, on the same data"
            )),
            HomeError::Secret { .. } | HomeError::BadPort(_) | HomeError::NoPort { .. } => None,
        }
    }

    fn place(&self) -> Option<&streamproof_model::failure::Place> {
        match self {
            HomeError::Invalid(e) => e.place(),
            HomeError::Server(e) => e.place(),
            _ => None,
        }
    }
}

/// A project on the disk with its node.
#[derive(Debug, Clone)]
pub struct Home {
    /// The folder.
    pub folder: Folder,
    /// The node.
    pub node: Node,
}

/// What `up` is asked.
#[derive(Debug, Clone, Default)]
pub struct UpOptions {
    /// Where it shall run; otherwise what `streamproof.toml` says, what was chosen before, or Docker where an engine answers.
    pub engine: Option<Engine>,
    /// The store in a named volume of Docker's instead of the project's folder; kept once chosen.
    pub volume: bool,
    /// Set when the user wants to end: what this call started is then stopped again.
    pub interrupt: Interrupt,
    /// A port, or `auto`; otherwise the one that was used last, that of `streamproof.toml`, or 4222.
    pub port: Option<String>,
    /// A nats-server to use instead of the pinned one.
    pub server_bin: Option<PathBuf>,
    /// A store made by something else, to be copied into ours, which is empty.
    pub import_store: Option<PathBuf>,
    /// Ask again for what is remembered as not to be had.
    pub afresh: bool,
    /// How long it may take to become ready.
    pub timeout: Duration,
}

/// What `up` came to.
#[derive(Debug, Clone)]
pub struct Up {
    /// The server.
    pub running: Running,
    /// Whether it ran already.
    pub already: bool,
    /// How it became ready.
    pub ready: Ready,
    /// What was copied into its store before it was started.
    pub imported: Option<Imported>,
}

/// A step of `up` that is done.
#[derive(Debug, Clone)]
pub enum Progress {
    /// The engine was chosen; Docker's version, or why it is not Docker.
    Engine(Choice, String),
    /// The nats-server was found; for a container with the official image, or why it is not that one.
    Server(Box<Binary>, Option<Result<Official, NotOfficial>>),
    /// A store was copied into ours.
    Imported(Imported),
    /// The process was started.
    Started(Running),
}

impl Home {
    /// The project in a folder, or in the nearest one from here upwards.
    ///
    /// # Errors
    /// [`HomeError::Folder`] where there is none.
    pub fn open(project: Option<&Path>, current: &Path) -> Result<Home, HomeError> {
        let folder = match project {
            Some(dir) => Folder::at(dir)?,
            None => Folder::find(current)?,
        };
        let node = Node::new(&folder.state_dir(), folder.id(), FIRST_NODE);
        Ok(Home { folder, node })
    }

    /// What the files say, with everything that is wrong with them. `shown` stands before their names in findings.
    ///
    /// # Errors
    /// [`HomeError::Folder`] where a file can't be read.
    pub fn read(&self, shown: &Path, version: Option<Version>) -> Result<Project, HomeError> {
        let options = Options { root: shown.to_owned(), version: version.unwrap_or(PINNED) };
        let files = self.folder.files()?;
        Ok(Project::read_beside(files.texts, &files.unread, &options))
    }

    /// Where a nats-server is looked for: the project's own cache first.
    #[must_use]
    pub fn sources(&self, server_bin: Option<&Path>) -> Sources {
        let mut sources = Sources::from_process();
        sources.caches.insert(0, self.folder.state_dir().join("bin"));
        if let Some(path) = server_bin {
            sources.explicit = Some(path.to_owned());
        }
        sources
    }

    /// Keeps any other streamproof from working on this project meanwhile.
    ///
    /// # Errors
    /// [`ServerError::Locked`].
    pub fn lock(&self) -> Result<ProjectLock, HomeError> {
        Ok(ProjectLock::take(&self.folder.make_state_dir()?)?)
    }

    /// Starts the server unless it runs, and waits until it is ready. Applies nothing.
    ///
    /// # Errors
    /// [`HomeError`]; a server that this call started and that did not become ready is stopped again. Data is kept.
    pub fn up(
        &self,
        project: &Project,
        options: &UpOptions,
        mut progress: impl FnMut(Progress),
    ) -> Result<Up, HomeError> {
        let credentials = self.credentials(project)?;
        let asked = match options.port.as_deref() {
            None | Some("auto") => None,
            Some(text) => Some(parse_port(text)?),
        };
        let running = match self.node.running() {
            // A plain process needs no engine; that no container is on the store is seen to at the start.
            Err(ServerError::EngineDown { .. }) if options.engine == Some(Engine::Process) => None,
            looked => looked?,
        };
        if let Some(running) = running {
            if let Some(engine) = options.engine.filter(|engine| *engine != running.engine) {
                return Err(HomeError::OtherEngine { running: running.engine, asked: engine });
            }
            if asked.is_some_and(|port| port != running.port) {
                return Err(HomeError::OtherPort { running: running.port, asked: asked.unwrap_or_default() });
            }
            if let Some(from) = options.import_store.as_deref().filter(|from| !self.node.has_imported(from)) {
                let what = format!("a store, whose server runs; {} was not imported", from.display());
                return Err(ServerError::AlreadyExists { path: self.node.store_dir(), what }.into());
            }
            let ready = self.node.wait_ready(
                &running,
                &credentials,
                Vec::new(),
                options.timeout,
                &options.interrupt,
            )?;
            return Ok(Up { running, already: true, ready, imported: None });
        }
        let config_file = self.folder.config_dir().join("jetstream.conf");
        if !config_file.is_file() {
            return Err(HomeError::NoServerConf(config_file));
        }
        if let Some(nodes) = project.settings.nodes.filter(|nodes| *nodes > 1) {
            let reason =
                format!("streamproof.toml asks for {nodes} nodes, and one is all that it can run so far");
            return Err(ServerError::Unsupported { what: "a cluster", reason }.into());
        }
        let started = self.start(project, options, config_file, credentials, &mut progress);
        started.map_err(|error| {
            if !options.interrupt.is_set() {
                return error;
            }
            // Whatever it was that failed first: the user wanted it to end, and that is what it died of.
            ServerError::Interrupted.into()
        })
    }

    fn start(
        &self,
        project: &Project,
        options: &UpOptions,
        config_file: PathBuf,
        credentials: Credentials,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Up, HomeError> {
        let (choice, about) = self.choose(project, options)?;
        progress(Progress::Engine(choice, about));
        let wanted = match &project.settings.version {
            Some(version) => Wanted::exactly(version.clone()),
            None => Wanted::pinned(),
        }
        .on(choice.engine().target());
        let mut sources = self.sources(options.server_bin.as_deref());
        sources.interrupt = options.interrupt.clone();
        // Who names a nats-server wants that one, in a container too.
        let (binary, official) = if choice.engine() == Engine::Docker && sources.explicit.is_none() {
            let chosen = image::choose(&wanted, &sources, options.afresh).map_err(ServerError::from)?;
            (chosen.binary, Some(chosen.official))
        } else {
            (acquire(&wanted, &sources).map_err(ServerError::from)?, None)
        };
        progress(Progress::Server(Box::new(binary.clone()), official.clone()));
        // One that was begun and not ended is done again, asked for or not: until then there is no store.
        let mut imported = None;
        if let Some(from) = options.import_store.clone().or_else(|| self.node.unfinished_import()) {
            let copied = self.node.import(&from, &binary.version, &options.interrupt)?;
            progress(Progress::Imported(copied.clone()));
            imported = Some(copied).filter(|copied| !copied.already);
        }
        let (port, monitor_port) = self.ports(project, options.port.as_deref())?;
        let start = Start {
            choice,
            binary,
            image: official.and_then(Result::ok),
            config_file,
            port,
            monitor_port,
            credentials,
            timeout: options.timeout,
            interrupt: options.interrupt.clone(),
        };
        // What this call started and is not usable is not left half alive; the store stays.
        let undo = |error: ServerError| {
            // Who has the store open was not started here.
            if !matches!(error, ServerError::StoreInUse { .. }) {
                let _ = self.node.stop(STOP_BOUND);
            }
            error
        };
        let running = self.node.start(&start).map_err(undo)?;
        progress(Progress::Started(running.clone()));
        let ready = self
            .node
            .wait_ready(&running, &start.credentials, Vec::new(), start.timeout, &start.interrupt)
            .map_err(undo)?;
        self.remember_port(running.port, running.monitor_port)?;
        Ok(Up { running, already: false, ready, imported })
    }

    /// Where it shall run, and keep its store: what is asked for now, what the files say, what was chosen before, else what is
    /// there. With it, why.
    fn choose(&self, project: &Project, options: &UpOptions) -> Result<(Choice, String), HomeError> {
        let written = project.settings.engine.as_deref().and_then(Engine::named);
        let kept = self.node.chosen();
        let imports = options.import_store.is_some() || self.node.unfinished_import().is_some();
        if imports && options.volume {
            let reason = "an imported store is kept in the project's folder; leave out --volume".to_owned();
            return Err(ServerError::Unsupported { what: "an import into a volume", reason }.into());
        }
        let asked = Asked { engine: options.engine.or(written), volume: options.volume };
        let folder = imports || self.node.has_folder_store();
        // Asked at most once, and only where it matters: it takes as long as a server's start.
        let engine = OnceCell::new();
        let answers = || engine.get_or_init(docker::engine_version).is_ok();
        // A volume is looked for only where there is no note of the choice, and no folder.
        let volume = kept.is_none() && !folder && asked.engine != Some(Engine::Process) && answers();
        let present = Present {
            kept,
            folder,
            volume: kept.is_some_and(|choice| choice.keep() == Keep::Volume)
                || (volume && container::has_volume(&self.node)),
        };
        let choice = engine::choose(asked, present, answers)?;
        if choice.engine() == Engine::Process {
            let told = asked.engine.or(kept.map(Choice::engine)).is_some();
            let why = if told { "a plain process" } else { "a plain process (no Docker engine answers)" };
            return Ok((choice, why.to_owned()));
        }
        // Never an empty store in another place: the engine that was chosen is waited for by the user, not replaced.
        match engine.into_inner().unwrap_or_else(docker::engine_version) {
            Ok(version) => Ok((choice, format!("docker {version}"))),
            Err(error) => Err(error.into()),
        }
    }

    /// How to reach our own server, as whom.
    ///
    /// # Errors
    /// [`HomeError::Secret`].
    pub fn connect_to(&self, running: &Running, project: &Project) -> Result<Connect, HomeError> {
        self.connect_at(running.url(), project)
    }

    /// How to reach a server elsewhere, as whom `[connect]` says.
    ///
    /// # Errors
    /// [`HomeError::Secret`].
    pub fn connect_at(&self, url: String, project: &Project) -> Result<Connect, HomeError> {
        let c = &project.settings.connect;
        let path = |p: &Option<String>| p.as_ref().map(|p| self.folder.root().join(p));
        Ok(Connect {
            url,
            creds: path(&c.creds),
            nkey: path(&c.nkey),
            user: c.user.clone(),
            password: self.secret(&c.password_file)?.or_else(|| std::env::var("STREAMPROOF_PASSWORD").ok()),
            token: self.secret(&c.token_file)?,
            tlsca: path(&c.tls_ca),
            tlscert: path(&c.tls_cert),
            tlskey: path(&c.tls_key),
            domain: None,
        })
    }

    fn secret(&self, file: &Option<String>) -> Result<Option<String>, HomeError> {
        let Some(file) = file else { return Ok(None) };
        let file = self.folder.root().join(file);
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(source) => Err(HomeError::Secret { file, source }),
        }
    }

    pub(crate) fn credentials(&self, project: &Project) -> Result<Credentials, HomeError> {
        let c = &project.settings.connect;
        if let Some(creds) = &c.creds {
            return Ok(Credentials::CredsFile(self.folder.root().join(creds)));
        }
        if let Some(seed) = self.secret(&c.nkey)? {
            return Ok(Credentials::Nkey(seed));
        }
        if let Some(token) = self.secret(&c.token_file)? {
            return Ok(Credentials::Token(token));
        }
        if let Some(user) = &c.user {
            let password = self
                .secret(&c.password_file)?
                .or_else(|| std::env::var("STREAMPROOF_PASSWORD").ok())
                .unwrap_or_default();
            return Ok(Credentials::UserPassword { user: user.clone(), password });
        }
        Ok(Credentials::None)
    }

    /// The ports, client's and monitoring, at which `up` starts it: what is asked for (a number, `auto`), what was used last, what
    /// the files say, or the usual ones.
    ///
    /// # Errors
    /// [`HomeError::BadPort`].
    pub fn ports(&self, project: &Project, flag: Option<&str>) -> Result<(u16, u16), HomeError> {
        let monitor = match project.settings.monitor_port {
            Some(Port::Fixed(port)) => Some(port),
            _ => None,
        };
        match flag {
            Some("auto") => any_ports(),
            Some(text) => {
                let port = parse_port(text)?;
                Ok((port, monitor.unwrap_or_else(|| beside(port))))
            }
            None => {
                if let Some(ports) = self.remembered_ports() {
                    return Ok(ports);
                }
                match project.settings.port {
                    Some(Port::Auto) => any_ports(),
                    Some(Port::Fixed(port)) => Ok((port, monitor.unwrap_or_else(|| beside(port)))),
                    None => Ok((DEFAULT_PORT, monitor.unwrap_or(DEFAULT_MONITOR_PORT))),
                }
            }
        }
    }

    fn remembered_ports(&self) -> Option<(u16, u16)> {
        let text = std::fs::read_to_string(self.node.folder().join(PORT_FILE)).ok()?;
        let mut words = text.split_whitespace().map(str::parse::<u16>);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    }

    fn remember_port(&self, port: u16, monitor_port: u16) -> Result<(), HomeError> {
        let path = self.node.folder().join(PORT_FILE);
        std::fs::write(&path, format!("{port} {monitor_port}\n"))
            .map_err(|source| FolderError::Io { action: "write", path, source }.into())
    }
}

fn any_ports() -> Result<(u16, u16), HomeError> {
    let none = |source| HomeError::NoPort { source };
    ports::free().map_err(none)
}

fn parse_port(text: &str) -> Result<u16, HomeError> {
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| HomeError::BadPort(text.to_owned()))
}

/// The monitoring port that goes with a client port: 8222 with 4222, and as far from it with any other.
fn beside(port: u16) -> u16 {
    port.checked_add(DEFAULT_MONITOR_PORT - DEFAULT_PORT).unwrap_or(port - 1)
}
