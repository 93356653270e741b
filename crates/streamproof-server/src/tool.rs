//! Running a program that ends (docker, pip, go, curl, tar), with what it said.
//!
//! The command is xshell's. It is waited for here: within a bound, and no longer than the user wants it, which xshell's own
//! `run` and `read` know nothing of.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use xshell::{Cmd, Shell};

use streamproof_model::failure::{Code, Failure};

use crate::interrupt::Interrupt;
use crate::poll::{self, Pace};

/// What a program that ended well said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

/// A program that is missing, failed, or did not end in time.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error("{program} is not installed")]
    Missing {
        /// Its name.
        program: String,
    },
    /// It could not be started, or not be talked to.
    #[error("cannot run {program}: {source}")]
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("`{command}` failed ({status}): {said}")]
    Failed {
        /// The command as it would be typed.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said, on standard error first.
        said: String,
    },
    /// It did not end in time, and was killed.
    #[error("`{command}` did not end within {} s", bound.as_secs())]
    TimedOut {
        /// The command as it would be typed.
        command: String,
        /// How long it was given.
        bound: Duration,
    },
    /// It said nothing, and was killed.
    #[error("`{command}` said nothing within {} s", bound.as_secs())]
    Silent {
        /// The command as it would be typed.
        command: String,
        /// How long it was given.
        bound: Duration,
    },
    /// The user wanted it to end.
    #[error("`{command}` was interrupted")]
    Interrupted {
        /// The command as it would be typed.
        command: String,
    },
}

impl Failure for ToolError {
    fn code(&self) -> Code {
        match self {
            ToolError::Missing { .. } => Code::ToolMissing,
            ToolError::Start { .. } | ToolError::Failed { .. } => Code::ToolFailed,
            ToolError::TimedOut { .. } | ToolError::Silent { .. } => Code::Timeout,
            ToolError::Interrupted { .. } => Code::Interrupted,
        }
    }
}

/// A command to be run; its arguments are never read by a shell.
#[derive(Debug)]
pub(crate) struct Tool {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    bound: Duration,
    silence: Option<Duration>,
    apart: bool,
    interrupt: Interrupt,
}

/// Long enough for a download over a slow line, short enough that a hung one is noticed.
const USUAL_BOUND: Duration = Duration::from_secs(600);

impl Tool {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Tool {
        Tool {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            bound: USUAL_BOUND,
            silence: None,
            apart: false,
            interrupt: Interrupt::default(),
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Tool {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Tool {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Tool {
        self.envs.push((name.into(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn bound(mut self, bound: Duration) -> Tool {
        self.bound = bound;
        self
    }

    /// Killed if nothing comes on its standard output for so long.
    pub(crate) fn first_word_within(mut self, silence: Duration) -> Tool {
        self.silence = Some(silence);
        self
    }

    /// Out of reach of a Ctrl-C in the terminal: what it began, it ends.
    pub(crate) fn apart(mut self) -> Tool {
        self.apart = true;
        self
    }

    /// Killed when the user wants to end.
    pub(crate) fn until(mut self, interrupt: &Interrupt) -> Tool {
        self.interrupt = interrupt.clone();
        self
    }

    fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    fn typed(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    fn command<'a>(&self, shell: &'a Shell) -> Cmd<'a> {
        shell.cmd(&self.program).args(&self.args).envs(self.envs.iter().map(|(name, value)| (name, value)))
    }

    /// Runs it to its end; an exit status other than 0 is an error.
    pub(crate) fn run(self) -> Result<Said, ToolError> {
        let (status, said) = self.outcome()?;
        if status.success() {
            return Ok(said);
        }
        let stdout = said.text();
        let said = match said.stderr.trim() {
            "" if stdout.is_empty() => "it said nothing".to_owned(),
            "" => stdout,
            stderr => stderr.to_owned(),
        };
        Err(ToolError::Failed { command: self.typed(), status, said })
    }

    /// Runs it to its end, whatever that is.
    pub(crate) fn outcome(&self) -> Result<(ExitStatus, Said), ToolError> {
        let shell = Shell::new().map_err(|refused| self.start_error(io::Error::other(refused)))?;
        let mut command = Command::from(self.command(&shell));
        #[cfg(unix)]
        if self.apart {
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(&mut command).map_err(|source| self.start_error(source))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let spoken = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stdout = scope.spawn(|| read_all(stdout, &spoken));
            let stderr = scope.spawn(|| read_all(stderr, &AtomicBool::default()));
            let status = self.wait(&mut child, &spoken);
            let stdout = stdout.join().unwrap_or_default();
            let stderr = stderr.join().unwrap_or_default();
            Ok((status?, Said { stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }))
        })
    }

    fn wait(&self, child: &mut Child, spoken: &AtomicBool) -> Result<ExitStatus, ToolError> {
        let began = Instant::now();
        let ended = poll::until_or(Pace::QUICK, self.bound, || match child.try_wait() {
            Ok(Some(status)) => ControlFlow::Break(Ok(status)),
            Ok(None) if self.interrupt.is_set() => {
                ControlFlow::Break(Err(ToolError::Interrupted { command: self.typed() }))
            }
            Ok(None) => match self.silence {
                Some(bound) if began.elapsed() > bound && !spoken.load(Ordering::Relaxed) => {
                    ControlFlow::Break(Err(ToolError::Silent { command: self.typed(), bound }))
                }
                _ => ControlFlow::Continue("it runs"),
            },
            Err(source) => ControlFlow::Break(Err(self.start_error(source))),
        });
        match ended {
            Ok(status) => Ok(status),
            Err(ended) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(match ended {
                    poll::Ended::Hopeless(error) => error,
                    poll::Ended::TimedOut(_) => {
                        ToolError::TimedOut { command: self.typed(), bound: self.bound }
                    }
                })
            }
        }
    }

    fn start_error(&self, source: io::Error) -> ToolError {
        match source.kind() {
            io::ErrorKind::NotFound => ToolError::Missing { program: self.name() },
            _ => ToolError::Start { program: self.name(), source },
        }
    }
}

/// How long a file that was just written may stay "busy": another thread of this process may have forked while the file was
/// open for writing, and its child keeps it so until it executes (golang/go#22315 is the same trouble).
const BUSY_BOUND: Duration = Duration::from_secs(2);

/// Starts a command, patient with a program file that is still open for writing in a process that is about to execute.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    patiently(|| command.spawn())
}

/// The same for whatever else starts a program.
pub(crate) fn patiently<T>(mut start: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let started = poll::until_or(Pace::QUICK, BUSY_BOUND, || match start() {
        Ok(started) => ControlFlow::Break(Ok(started)),
        Err(busy) if busy.kind() == io::ErrorKind::ExecutableFileBusy => ControlFlow::Continue(busy),
        Err(refused) => ControlFlow::Break(Err(refused)),
    });
    started.map_err(|ended| match ended {
        poll::Ended::TimedOut(timed_out) => timed_out.last,
        poll::Ended::Hopeless(refused) => refused,
    })
}

fn read_all(pipe: Option<impl Read>, spoken: &AtomicBool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let mut first = [0];
        if matches!(pipe.read(&mut first), Ok(1)) {
            spoken.store(true, Ordering::Relaxed);
            bytes.extend(first);
        }
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_and_how_it_ends_is_kept() {
        let said = Tool::new("sh").args(["-c", "printf in; echo aside >&2"]).run().unwrap();
        assert_eq!((said.text().as_str(), said.stderr.as_str()), ("in", "aside\n"));
        let failed = Tool::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).run().unwrap_err();
        assert_eq!(
            failed.to_string(),
            "`sh -c echo out; echo err >&2; exit 3` failed (exit status: 3): err\n".trim_end()
        );
    }

    #[test]
    fn a_missing_program_and_a_hung_one_are_told_apart() {
        let missing = Tool::new("no-such-program-here").run().unwrap_err();
        assert_eq!(missing.code(), Code::ToolMissing);
        let hung = Tool::new("sleep").arg("600").bound(Duration::from_millis(50)).run().unwrap_err();
        assert_eq!(hung.code(), Code::Timeout);
    }

    #[test]
    fn one_that_says_nothing_is_not_waited_for_and_one_that_speaks_is() {
        let within = Duration::from_millis(300);
        let dumb = Tool::new("sleep").arg("600").first_word_within(within).run().unwrap_err();
        assert!(matches!(dumb, ToolError::Silent { .. }), "{dumb}");
        let slow =
            Tool::new("sh").args(["-c", "printf x; sleep 1; printf y"]).first_word_within(within).run();
        assert_eq!(slow.unwrap().text(), "xy");
    }

    #[test]
    fn one_that_the_user_has_no_time_for_is_killed() {
        let interrupt = Interrupt::default();
        interrupt.set();
        let ended = Tool::new("sleep").arg("600").until(&interrupt).run().unwrap_err();
        assert_eq!(ended.code(), Code::Interrupted);
    }
}
