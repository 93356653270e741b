//! `restart-check --live`: the project's own server that is up, stopped and started, with a full picture before and after.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use streamproof_model::failure::{Code, Failure};
use streamproof_model::op::{FaultKind, Level};
use streamproof_model::project::Project;
use streamproof_server::acquire;
use streamproof_server::engine::Engine;
use streamproof_server::node::Running;
use streamproof_server::processes;
use streamproof_trial::archive::ServerRecord;
use streamproof_trial::budget;
use streamproof_trial::live::{self, Doing, Live, LiveError, Struck};
use streamproof_trial::picture::proof::Proof;
use streamproof_trial::report::repeat;
use streamproof_trial::wire::{Login, Tls};
use thiserror::Error;

use crate::home::{Home, HomeError, UpOptions};

/// The faults that a server somebody uses is put to: it is stopped in good order, or, where that is asked for by name, killed.
pub const FAULTS: [FaultKind; 2] = [FaultKind::Stop, FaultKind::Kill];

/// How long the server may take to stop before it is killed, and to become ready.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long somebody who listens on our port may take to say who it is.
const GREETING_LIMIT: Duration = Duration::from_secs(2);

/// What `restart-check --live` is asked.
#[derive(Debug, Clone, Default)]
pub struct LiveRequest {
    /// What to do to the server, in order; empty for a plain stop.
    pub faults: Vec<FaultKind>,
    /// What must survive, in place of what `streamproof.toml` says.
    pub survive: Option<BTreeSet<Level>>,
    /// *Unprotected* and *not proven* fail too.
    pub strict: bool,
    /// The server that is meant, where it was named: it must be the project's own.
    pub server: Option<String>,
    /// The folder that the run's folder is made in, instead of `.streamproof/runs`.
    pub out: Option<PathBuf>,
}

/// Why there is no verdict.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LiveCheckError {
    /// The project.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The pictures.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// Nothing of ours runs.
    #[error("no server of this project runs")]
    NotRunning,
    /// Somebody else's server.
    #[error("{name} at {url} is not this project's server; only our own is stopped and started")]
    NotOurs {
        /// What it calls itself.
        name: String,
        /// Where.
        url: String,
    },
    /// A fault that a server in use is not put to.
    #[error("{} is not done to a server that is in use; --live takes stop and kill", .0.name())]
    Fault(FaultKind),
}

impl Failure for LiveCheckError {
    fn code(&self) -> Code {
        match self {
            LiveCheckError::Home(error) => error.code(),
            LiveCheckError::Live(error) => error.code(),
            LiveCheckError::NotRunning => Code::NotRunning,
            LiveCheckError::NotOurs { .. } => Code::NotOurs,
            LiveCheckError::Fault(_) => Code::Usage,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            LiveCheckError::Home(error) => error.help(),
            LiveCheckError::Live(error) => error.help(),
            LiveCheckError::NotRunning => Some("cargo xtask up".to_owned()),
            LiveCheckError::NotOurs { .. } => Some(
                "cargo xtask restart-check --store DIR   proves it on a copy of its store, and leaves the server alone".to_owned(),
            ),
            LiveCheckError::Fault(fault) => {
                Some(format!("cargo xtask restart-check --fault {}   does it to a scratch server", fault.name()))
            }
        }
    }

    fn place(&self) -> Option<&streamproof_model::failure::Place> {
        match self {
            LiveCheckError::Home(error) => error.place(),
            _ => None,
        }
    }
}

/// What is being done.
#[derive(Debug, Clone)]
pub enum Step {
    /// The server that will be restarted.
    Found(Running),
    /// A picture, or the restart itself.
    Doing(Doing),
    /// It is up again.
    Up(Running),
    /// It did not come up.
    Down(String),
}

impl Home {
    /// Takes a full picture of the project's own server, stops and starts it, takes another, and compares. Nothing is published.
    ///
    /// # Errors
    /// [`LiveCheckError`]. What was lost is no error but a verdict.
    pub fn live_check(
        &self,
        project: &Project,
        request: &LiveRequest,
        cancel: &AtomicBool,
        mut progress: impl FnMut(Step),
    ) -> Result<Proof, LiveCheckError> {
        let faults = if request.faults.is_empty() { vec![FaultKind::Stop] } else { request.faults.clone() };
        if let Some(fault) = faults.iter().find(|fault| !FAULTS.contains(fault)) {
            return Err(LiveCheckError::Fault(*fault));
        }
        let running = self.own(project, request.server.as_deref())?;
        let connect = self.connect_to(&running, project)?;
        let login = Login {
            credentials: self.credentials(project)?,
            tls: Tls { ca: connect.tlsca, cert: connect.tlscert, key: connect.tlskey },
        };
        progress(Step::Found(running.clone()));
        let live = Live {
            address: SocketAddr::from(([127, 0, 0, 1], running.port)),
            monitor: running.monitor_address(),
            login,
            server: came_from(&running),
            repeat: repeat::pictures(&["--live"], &request.faults, request.survive.as_ref(), request.strict),
            faults: &faults,
            context: budget::context(project, request.survive.as_ref(), request.strict),
            runs: request.out.clone().unwrap_or_else(|| self.runs()),
            cancel,
        };
        let mut now = running;
        // Both the restart and the pictures tell how far they are.
        let progress = std::cell::RefCell::new(&mut progress);
        let strike = |fault| self.strike(project, fault, &mut now, &mut |step| (progress.borrow_mut())(step));
        Ok(live::check(&live, strike, |doing| (progress.borrow_mut())(Step::Doing(doing)))?)
    }

    /// Our own server, which must run; one that was named must be it.
    fn own(&self, project: &Project, named: Option<&str>) -> Result<Running, LiveCheckError> {
        let running = self.node.running().map_err(HomeError::from)?;
        if let Some(url) = named {
            let address = url.rsplit_once("://").map_or(url, |(_, rest)| rest);
            let address = address.rsplit_once('@').map_or(address, |(_, rest)| rest).trim_end_matches('/');
            let ours = running.as_ref().filter(|running| {
                [format!("127.0.0.1:{}", running.port), format!("localhost:{}", running.port)]
                    .contains(&address.to_owned())
            });
            return ours.cloned().ok_or_else(|| LiveCheckError::NotOurs {
                name: greeting(address).unwrap_or_else(|| "the server".to_owned()),
                url: format!("nats://{address}"),
            });
        }
        if let Some(running) = running {
            return Ok(running);
        }
        // Nothing of ours; but a user who types this believes that something runs, and perhaps something else does.
        let (port, _) = self.ports(project, None)?;
        let address = format!("127.0.0.1:{port}");
        match greeting(&address) {
            Some(name) => Err(LiveCheckError::NotOurs { name, url: format!("nats://{address}") }),
            None => Err(LiveCheckError::NotRunning),
        }
    }

    /// Ends the server and starts it again, as often as it takes a second try: Ctrl-C in a terminal reaches what is just being
    /// run for the start too.
    fn strike(
        &self,
        project: &Project,
        fault: FaultKind,
        now: &mut Running,
        progress: &mut dyn FnMut(Step),
    ) -> Struck {
        let mut struck = Struck { pid_before: now.pid, ..Struck::default() };
        // The very nats-server that runs, not the one that `up` would choose today.
        let server_bin = (now.engine == Engine::Process).then(|| program(now.pid)).flatten();
        let ended = match fault {
            FaultKind::Kill => self.node.kill().map(|_| ()),
            _ => self.node.stop(STOP_LIMIT).map(|_| ()),
        };
        if let Err(error) = ended {
            struck.failed = Some(error.to_string());
            return struck;
        }
        // Not called off by Ctrl-C: the server is brought up again first.
        let options =
            UpOptions { engine: Some(now.engine), server_bin, timeout: READY_LIMIT, ..UpOptions::default() };
        let began = std::time::Instant::now();
        let up = self.up(project, &options, |_| {}).or_else(|_| self.up(project, &options, |_| {}));
        match up {
            Ok(up) => {
                struck.pid_after = up.running.pid;
                struck.version_after = Some(up.ready.version.to_string());
                struck.ready_us = began.elapsed().as_micros() as u64;
                *now = up.running.clone();
                progress(Step::Up(up.running));
            }
            Err(error) => {
                struck.failed = Some(error.to_string());
                progress(Step::Down(error.to_string()));
            }
        }
        let log = self.node.log_tail(LOG_LINES);
        struck.log = log.lines().filter(|line| telling(line)).map(str::to_owned).collect();
        struck
    }
}

/// What is known of where a running server came from; its version is left to it.
fn came_from(running: &Running) -> ServerRecord {
    let program = (running.engine == Engine::Process).then(|| program(running.pid)).flatten();
    match program {
        Some(path) => ServerRecord {
            version: String::new(),
            source: path.display().to_string(),
            // A binary that was replaced meanwhile is another one; nothing is said of it then.
            sha256: acquire::sha256(&path).unwrap_or_default(),
        },
        None => ServerRecord {
            version: String::new(),
            source: format!("{} at {}", running.engine.name(), running.url()),
            sha256: String::new(),
        },
    }
}

/// The file that a process runs, as its command line names it.
fn program(pid: u32) -> Option<PathBuf> {
    let path = PathBuf::from(processes::one(pid)?.words.into_iter().next()?);
    path.is_file().then_some(path)
}

/// What whoever listens at an address calls itself; `None` where nobody does, or something that is no NATS server.
fn greeting(address: &str) -> Option<String> {
    let address = std::net::ToSocketAddrs::to_socket_addrs(address).ok()?.next()?;
    let stream = TcpStream::connect_timeout(&address, GREETING_LIMIT).ok()?;
    stream.set_read_timeout(Some(GREETING_LIMIT)).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    let info: serde_json::Value = serde_json::from_str(line.trim().strip_prefix("INFO ")?).ok()?;
    Some(info["server_name"].as_str().unwrap_or("a NATS server").to_owned())
}

/// So many of the log's last lines are looked at after a restart.
const LOG_LINES: usize = 200;

/// Whether a line of the server's log says that something went wrong.
fn telling(line: &str) -> bool {
    ["[WRN]", "[ERR]", "[FTL]"].iter().any(|mark| line.contains(mark))
}
