//! Where to measure: a server of its own below the project's `.streamproof/`, on the same disk as the real one; or any other.

use std::path::PathBuf;
use std::sync::Arc;

pub use streamproof_bench::price::{Extent, PriceList};
use streamproof_bench::price::{Price, Setting};
pub use streamproof_bench::*;
use streamproof_model::failure::{Code, Failure};
use streamproof_model::project::Project;
use streamproof_server::scratch::Builder;
use streamproof_server::{Scratch, ServerError, Version, Wanted, acquire};
use thiserror::Error;

use crate::connect::{Connect, ConnectError};
use crate::folder::FolderError;
use crate::home::{Home, HomeError};

/// The configuration of a server that is started only to be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// nats-server's defaults, but for this `sync_interval` if one is given: `always`, `10s`, `100ms`.
    Sync(Option<String>),
    /// nats-server's defaults, but for these keys of the `jetstream` block.
    Keys(String),
    /// The project's `nats-config/jetstream.conf`.
    Project,
}

/// A server to measure on. One that was started for it goes, with its store, when this is dropped.
#[derive(Debug)]
pub struct Host {
    /// How to reach it.
    pub target: Target,
    /// A folder for what is written on the way.
    pub work_dir: PathBuf,
    scratch: Option<Scratch>,
}

/// Why there is no server to measure on.
#[derive(Debug, Error)]
pub enum HostError {
    /// The project.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The measurement.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// A JetStream domain, which the measurements do not know.
    #[error("a server behind a JetStream domain cannot be measured")]
    Domain,
}

impl Failure for HostError {
    fn code(&self) -> Code {
        match self {
            HostError::Home(e) => e.code(),
            HostError::Server(e) => e.code(),
            HostError::Connect(e) => e.code(),
            HostError::Folder(e) => e.code(),
            HostError::Bench(e) => e.code(),
            HostError::Domain => Code::Unsupported,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            HostError::Home(e) => e.help(),
            HostError::Server(e) => e.help(),
            HostError::Connect(e) => e.help(),
            HostError::Folder(e) => e.help(),
            HostError::Bench(e) => e.help(),
            HostError::Domain => None,
        }
    }
}

impl Host {
    /// Starts one. The caller holds the project's lock: what an earlier run left behind is removed first.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn start(home: &Home, project: &Project, config: &Config) -> Result<Host, HostError> {
        let work_dir = make_work_dir(home)?;
        let (builder, about) = builder(home, project, config)?;
        Host::of(home, project, config, builder, about, work_dir)
    }

    fn of(
        home: &Home,
        project: &Project,
        config: &Config,
        builder: Builder,
        about: String,
        work_dir: PathBuf,
    ) -> Result<Host, HostError> {
        let scratch = builder.store_dir(work_dir.join("store")).start()?;
        let connect = match config {
            Config::Sync(_) | Config::Keys(_) => Connect::to(scratch.url()),
            Config::Project => home.connect_at(scratch.url(), project)?,
        };
        let target = target(&connect, scratch.pid(), about)?;
        Ok(Host { target, work_dir, scratch: Some(scratch) })
    }

    /// One that runs already. `pid` where it is known, and on this machine.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn at(home: &Home, connect: &Connect, pid: Option<u32>) -> Result<Host, HostError> {
        let target = target(connect, pid, "as it runs".to_owned())?;
        Ok(Host { target, work_dir: make_work_dir(home)?, scratch: None })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The server first, then what it wrote.
        drop(self.scratch.take());
        _ = std::fs::remove_dir_all(&self.work_dir);
    }
}

/// What each setting of durability costs and loses: the settings of the list, and the project's own. The caller holds the
/// project's lock.
///
/// # Errors
/// [`HostError`].
pub fn price_list(
    home: &Home,
    project: &Project,
    extent: Extent,
    progress: &Arc<Progress>,
) -> Result<PriceList, HostError> {
    let no_crash_states = if extent.crash_states { loss::available().err() } else { None };
    let extent = Extent { crash_states: extent.crash_states && no_crash_states.is_none(), ..extent };
    let (mut prices, mut server) = (Vec::new(), None);
    for setting in Setting::all() {
        let config = setting.jetstream.clone().map_or(Config::Project, Config::Keys);
        let (builder, _) = builder(home, project, &config)?;
        let host = Host::start(home, project, &config)?;
        if setting.persist_async && !has_async_persistence(&host) {
            continue;
        }
        let measured = Price::measure(&setting, &host.target, &builder, extent, &host.work_dir, progress)?;
        prices.push(measured.0);
        server = Some(measured.1);
    }
    let Extent { size_bytes, window, rounds, .. } = extent;
    let server = server.ok_or(BenchError::Interrupted)?;
    Ok(PriceList { server, size_bytes, window, rounds, no_crash_states, prices })
}

/// nats-server 2.12.
fn has_async_persistence(host: &Host) -> bool {
    let version = host.scratch.as_ref().map(|scratch| scratch.binary().version.clone());
    version.is_some_and(|version| version >= Version::new(2, 12, 0))
}

fn builder(home: &Home, project: &Project, config: &Config) -> Result<(Builder, String), HostError> {
    let wanted = match &project.settings.version {
        Some(version) => Wanted::exactly(version.clone()),
        None => Wanted::pinned(),
    };
    let binary = acquire(&wanted, &home.sources(None)).map_err(ServerError::from)?;
    let builder = Scratch::builder().binary(binary);
    Ok(match config {
        Config::Sync(None) => (builder, "nats-server's defaults (sync_interval: 2m)".to_owned()),
        Config::Sync(Some(sync)) => {
            let line = format!("sync_interval: {sync}");
            (builder.jetstream(&line), line)
        }
        Config::Keys(keys) => (builder.jetstream(keys), keys.clone()),
        Config::Project => {
            let file = home.folder.config_dir().join("jetstream.conf");
            let credentials = home.credentials(project)?;
            (builder.config_file(file).credentials(credentials), "nats-config/jetstream.conf".to_owned())
        }
    })
}

fn target(connect: &Connect, server_pid: Option<u32>, about: String) -> Result<Target, HostError> {
    if connect.domain.is_some() {
        return Err(HostError::Domain);
    }
    Ok(Target {
        url: connect.url.clone(),
        options: connect.options()?.name("streamproof bench"),
        peer_env: connect.cli_environment(),
        server_pid,
        about,
    })
}

fn make_work_dir(home: &Home) -> Result<PathBuf, HostError> {
    let path = home.folder.make_state_dir()?.join("bench");
    _ = std::fs::remove_dir_all(&path);
    match std::fs::create_dir_all(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(FolderError::Io { action: "make", path, source }.into()),
    }
}
