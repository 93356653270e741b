//! A node as a plain process: found by the lock that it holds, started, signalled.

use std::ffi::OsString;
use std::time::Duration;

use super::{LOOK_BOUND, Node, Running, Start, open_lock};
use crate::config;
use crate::disk::Doing;
use crate::engine::Engine;
use crate::error::ServerError;
use crate::poll::{self, Pace};
use crate::processes;
use crate::spawn::{self, Signal};
use crate::tool::{Tool, ToolError};

/// How long nats-server may take to read its configuration.
const CHECK_BOUND: Duration = Duration::from_secs(20);

impl Node {
    pub(super) fn process(&self) -> Result<Option<Running>, ServerError> {
        let lock_path = self.folder.join("LOCK");
        if !lock_path.exists() {
            return Ok(None);
        }
        let lock = open_lock(&lock_path)?;
        // Another command's look holds the lock for a moment. A server may have been started this very moment and be without a
        // command line still, or be ending (one that was killed keeps its lock until the kernel is done with it).
        let found = poll::until(Pace::QUICK, LOOK_BOUND, || {
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
            help: format!("find it: lsof {}", lock_path.display()),
        })
    }

    pub(super) fn start_process(&self, start: &Start) -> Result<Running, ServerError> {
        let lock_path = self.folder.join("LOCK");
        let lock = open_lock(&lock_path)?;
        // Another command's look at the lock holds it for a moment.
        poll::until(Pace::QUICK, LOOK_BOUND, || lock.try_lock())
            .map_err(|timed_out| std::io::Error::from(timed_out.last))
            .doing("lock", &lock_path)?;
        let port = |port: u16| OsString::from(port.to_string());
        let mut words: Vec<OsString> = vec!["-c".into(), self.config_path().into()];
        words.extend(["-a".into(), "127.0.0.1".into(), "-n".into(), self.server_name().into()]);
        words.extend(["-p".into(), port(start.port), "-m".into(), port(start.monitor_port)]);
        let settings = [("STREAMPROOF_STORE", self.store_dir())];
        let pid =
            spawn::detached(&start.binary.path, &words, &settings, &lock, &self.log_path(), &self.folder)
                .doing("start", &start.binary.path)?;
        Ok(Running { engine: Engine::Process, pid, port: start.port, monitor_port: start.monitor_port })
    }

    pub(super) fn signal(&self, pid: u32, signal: Signal) -> Result<(), ServerError> {
        match spawn::signal(pid, signal) {
            // It ended between the look and the signal: that is what was wanted.
            Err(error) if error.raw_os_error() == Some(3) => Ok(()),
            other => Ok(other.doing("signal", &self.folder)?),
        }
    }

    /// The lock is free only when the server is gone, whoever started it.
    pub(super) fn wait_gone(&self, bound: Duration) -> Result<(), ServerError> {
        let path = self.folder.join("LOCK");
        let lock = open_lock(&path)?;
        poll::until(Pace::QUICK, bound, || lock.try_lock().map_err(|_| "runs")).map_err(|timed_out| {
            ServerError::StopTimeout { what: self.server_name(), waited: timed_out.waited }
        })
    }

    /// The server reads the configuration and ends (`-t`): its own message, with file and line, before anything is started.
    pub(super) fn check_config(&self, start: &Start) -> Result<(), ServerError> {
        let asked = Tool::new(&start.binary.path)
            .arg("-t")
            .arg("-c")
            .arg(self.config_path())
            .env("STREAMPROOF_STORE", self.store_dir())
            .bound(CHECK_BOUND)
            .apart()
            .run();
        let said = match asked {
            Ok(_) => return Ok(()),
            Err(ToolError::Failed { said, .. }) => said,
            Err(error) => return Err(ServerError::Tool(error)),
        };
        let message = said.trim().trim_start_matches("nats-server: ").to_owned();
        Err(ServerError::Config {
            place: config::place(&message, &start.config_file).map(Box::new),
            message,
            help: Some(format!("edit {}", start.config_file.display())),
        })
    }
}
