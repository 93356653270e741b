//! A scratch server's life: started, stopped, killed, paused, restarted, and gone on drop.

use std::process::ExitStatus;
use std::time::Duration;

use super::{Ports, Scratch};
use crate::disk::Doing;
use crate::error::ServerError;
use crate::poll::{self, Pace};
use crate::ready::{self, Ladder};
use crate::spawn::{self, Signal};

/// How long the kernel may take to end a killed process: it may be writing to a slow disk.
const KILL_BOUND: Duration = Duration::from_secs(30);

/// How long a lock that was ours is waited for: an exec takes a millisecond, a busy machine makes more of it.
const LOCK_BOUND: Duration = Duration::from_secs(5);

/// How long a port that was ours is waited for.
const PORT_BOUND: Duration = Duration::from_secs(10);

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

impl Scratch {
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

    pub(super) fn alive(&mut self) -> Result<(), ServerError> {
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
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn lost_port(error: &ServerError) -> bool {
    matches!(error, ServerError::Died { log_tail, .. } if log_tail.contains("address already in use"))
}
