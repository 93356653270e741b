//! Where a scratch server listens, as the file says that the server itself writes: no port is looked for first and lost again.

use std::time::Duration;

use super::Scratch;
use crate::error::ServerError;
use crate::poll::{self, Pace};
use crate::ready::{self, Rung};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) monitor: u16,
}

impl Scratch {
    /// A file from an earlier start says where that one listened.
    pub(super) fn forget_ports_files(&self) {
        for entry in std::fs::read_dir(self.folder.path().join("ports")).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
    }

    /// The ports of the process that was started: from the file that carries its id (nats-server `server.go`: `logPorts`).
    pub(super) fn wait_for_ports(&mut self, bound: Duration) -> Result<Ports, ServerError> {
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
