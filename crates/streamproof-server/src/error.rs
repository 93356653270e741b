//! Every way in which running a server can fail, with its stable code and what to do.

use std::path::PathBuf;
use std::time::Duration;

use streamproof_model::failure::{Code, Failure, Place};
use streamproof_model::version::Version;

use crate::acquire::AcquireError;
use crate::disk::DiskError;
use crate::ports::Conflict;
use crate::ready::Rung;
use crate::tool::ToolError;

/// A server that could not be started, found, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// No nats-server could be had.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The file system refused something.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another streamproof works on this project.
    #[error("another streamproof works on this project ({} is held)", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// nats-server refuses its configuration; the message is its own.
    #[error("nats-server refuses the configuration: {message}")]
    Config {
        /// What it said, with file and line.
        message: String,
        /// Where, if it said so.
        place: Option<Box<Place>>,
        /// What to do, if that is known.
        help: Option<String>,
    },
    /// A port is taken.
    #[error(transparent)]
    Port(#[from] Box<Conflict>),
    /// The store is used by another server.
    #[error("the store {} is in use by {by}", store.display())]
    StoreInUse {
        /// The store.
        store: PathBuf,
        /// By whom.
        by: String,
        /// What to do.
        help: String,
    },
    /// The store was last run by a newer server.
    #[error("the store {} was written by nats-server {made_by}, which is newer than {version}", store.display())]
    StoreNewer {
        /// The store.
        store: PathBuf,
        /// Who ran it last, as far as is known: `2.15.1`, `2.14 or newer`.
        made_by: String,
        /// Who should run it now.
        version: Version,
    },
    /// The server ended while it was starting.
    #[error("nats-server ended while it was starting ({how}); its last words:\n{log_tail}")]
    Died {
        /// How it ended.
        how: String,
        /// The last lines of its log.
        log_tail: String,
        /// The log.
        log: PathBuf,
    },
    /// The server did not become ready in time.
    #[error("not ready after {:.1} s: {rung} {last}", waited.as_secs_f64())]
    NotReady {
        /// What it did not reach.
        rung: Rung,
        /// The last that was seen.
        last: String,
        /// How long it was waited for.
        waited: Duration,
        /// The last lines of its log.
        log_tail: String,
    },
    /// JetStream is off, or the user may not use it.
    #[error("JetStream does not answer: {reason}")]
    NoJetStream {
        /// What the server said.
        reason: String,
    },
    /// The server lets this user not in.
    #[error("the server refused the login: {reason}")]
    AccessDenied {
        /// What the server said.
        reason: String,
    },
    /// Nothing of ours runs there.
    #[error("{node} does not run")]
    NotRunning {
        /// The node.
        node: String,
    },
    /// The server did not even end when killed.
    #[error("{what} did not end within {:.0} s after it was killed", waited.as_secs_f64())]
    StopTimeout {
        /// The server.
        what: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// No Docker engine answers.
    #[error("no Docker engine answers: {reason}")]
    EngineDown {
        /// What the client said.
        reason: String,
    },
    /// Docker answered with an error.
    #[error("docker: {0}")]
    Docker(ToolError),
    /// nats-server could not be asked to check its configuration.
    #[error(transparent)]
    Tool(ToolError),
    /// The engine that is asked for is not the one that has the store.
    #[error("{what}")]
    EngineMismatch {
        /// What stands against it.
        what: String,
        /// What to do.
        help: String,
    },
    /// Ctrl-C; what was started by this call is undone.
    #[error("interrupted; what was started is stopped again, data is kept")]
    Interrupted,
    /// Something else is where ours would go.
    #[error("{what} is not ours")]
    NotOurs {
        /// What it is.
        what: String,
    },
    /// Something is there already and would be overwritten.
    #[error("{} already holds {what}", path.display())]
    AlreadyExists {
        /// Where.
        path: PathBuf,
        /// What is there.
        what: String,
    },
    /// The folder to import is no store.
    #[error("{} is no JetStream store: {reason}", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        reason: String,
    },
    /// An engine cannot do this here.
    #[error("{what} is not possible here: {reason}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

impl Failure for ServerError {
    fn code(&self) -> Code {
        match self {
            ServerError::Acquire(error) => error.code(),
            ServerError::Disk(error) => error.code(),
            ServerError::Locked { .. } => Code::Locked,
            ServerError::Config { .. } => Code::InvalidServerConfig,
            ServerError::Port(conflict) => conflict.code(),
            ServerError::StoreInUse { .. } => Code::StoreInUse,
            ServerError::StoreNewer { .. } => Code::StoreNewer,
            ServerError::Died { log_tail, .. } if log_tail.contains("no space left on device") => {
                Code::DiskFull
            }
            ServerError::Died { log_tail, .. }
                if log_tail.contains("permission denied") || log_tail.contains("read-only file system") =>
            {
                Code::Permission
            }
            ServerError::Died { .. } => Code::ServerDied,
            ServerError::NotReady { .. } => Code::NotReady,
            ServerError::NoJetStream { .. } => Code::NoJetstream,
            ServerError::AccessDenied { .. } => Code::AccessDenied,
            ServerError::NotRunning { .. } => Code::NotRunning,
            ServerError::StopTimeout { .. } => Code::StopTimeout,
            ServerError::EngineDown { .. } => Code::EngineDown,
            ServerError::Docker(_) => Code::DockerFailed,
            ServerError::Tool(error) => error.code(),
            ServerError::EngineMismatch { .. } => Code::EngineMismatch,
            ServerError::Interrupted => Code::Interrupted,
            ServerError::NotOurs { .. } => Code::NotOurs,
            ServerError::AlreadyExists { .. } => Code::AlreadyExists,
            ServerError::NotAStore { .. } => Code::Usage,
            ServerError::Unsupported { .. } => Code::Unsupported,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            ServerError::Acquire(error) => error.help(),
            ServerError::Disk(error) => error.help(),
            ServerError::Locked { .. } => {
                Some("wait for it to end, then try again; nothing needs to be deleted".to_owned())
            }
            ServerError::Config { help, .. } => help.clone(),
            ServerError::Port(conflict) => conflict.help(),
            ServerError::StoreInUse { help, .. } => Some(help.clone()),
            ServerError::StoreNewer { made_by, .. } => Some(format!(
                "use nats-server {}: an older one can put streams out of service, or not read them at all",
                if made_by.ends_with("newer") { made_by.clone() } else { format!("{made_by} or newer") }
            )),
            ServerError::Died { log, .. } => Some(format!("the whole log is in {}", log.display())),
            ServerError::NotReady { .. } => {
                Some("give it longer with --timeout, or look at `cargo xtask logs`".to_owned())
            }
            ServerError::NoJetStream { .. } => {
                Some("jetstream.conf needs a block `jetstream { store_dir: $STREAMPROOF_STORE }`".to_owned())
            }
            ServerError::AccessDenied { .. } => {
                Some("name the credentials under [connect] in nats-config/streamproof.toml".to_owned())
            }
            ServerError::NotRunning { .. } => Some("cargo xtask up".to_owned()),
            ServerError::EngineDown { .. } => Some(
                "start Docker, then run the same command again: its data is where it was\n\
                 or run a plain process on the same data: cargo xtask up --engine process"
                    .to_owned(),
            ),
            ServerError::EngineMismatch { help, .. } => Some(help.clone()),
            ServerError::Interrupted => {
                Some("run the same command again: it goes on from what is there".to_owned())
            }
            ServerError::StopTimeout { .. }
            | ServerError::Docker(_)
            | ServerError::Tool(_)
            | ServerError::NotOurs { .. }
            | ServerError::Unsupported { .. } => None,
            ServerError::AlreadyExists { .. } => {
                Some("nothing was changed; clean it first: cargo xtask clean".to_owned())
            }
            ServerError::NotAStore { .. } => Some(
                "name the folder that was mounted as the store: the one that holds jetstream/$G/streams"
                    .to_owned(),
            ),
        }
    }

    fn place(&self) -> Option<&Place> {
        match self {
            ServerError::Config { place, .. } => place.as_deref(),
            _ => None,
        }
    }
}
