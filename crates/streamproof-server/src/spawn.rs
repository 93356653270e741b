//! Starting a nats-server: which streams it gets, whether it outlives this process, and how it is signalled.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;

/// Starts a server that outlives this process, and gives its id: its own process group (a Ctrl-C in the terminal never reaches
/// it), the lock as standard input (so that the server itself holds it), and the log as both outputs (an inherited pipe would
/// keep `$(…)` waiting).
pub(crate) fn detached(
    program: &Path,
    words: &[OsString],
    settings: &[(&str, PathBuf)],
    lock: &File,
    log: &Path,
    folder: &Path,
) -> io::Result<u32> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut server = duct::cmd(program, words)
        .stdin_file(lock.try_clone()?)
        .stdout_file(log.try_clone()?)
        .stderr_file(log)
        .dir(folder)
        .unchecked();
    for (name, value) in settings {
        server = server.env(name, value);
    }
    #[cfg(unix)]
    {
        server = server.before_spawn(|command| {
            std::os::unix::process::CommandExt::process_group(command, 0);
            Ok(())
        });
    }
    let handle = crate::tool::patiently(|| server.start())?;
    let pid = handle.pids().first().copied();
    pid.ok_or_else(|| io::Error::other("it was started, but has no process id"))
}

/// Prepares the command of a server that is to die with this process. The streams are as in [`detached`]. It is no duct
/// expression: which *thread* starts it matters (see [`start`]), and its owner collects it.
pub(crate) fn command(program: &[PathBuf], lock: &File, log: &Path) -> io::Result<Command> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut words = program.iter().map(PathBuf::as_path);
    let first = words.next().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program"))?;
    let mut command = match setpriv() {
        // `setpriv` sets the signal and then executes the server in its place: the process id is the server's. A program's own
        // hook between fork and exec would need unsafe code.
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(first);
            command
        }
        None => Command::new(first),
    };
    command.args(words);
    command.stdin(lock.try_clone()?).stdout(log.try_clone()?).stderr(Stdio::from(log));
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}

/// Starts it. The kernel's parent-death signal is sent at the end of the *thread* that forked (prctl(2)), so all servers that
/// shall die with this process are started by one thread that lives as long as it does.
pub(crate) fn start(command: Command) -> io::Result<Child> {
    let (reply, started) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts servers has ended");
    starter().send((command, reply)).map_err(|_| gone())?;
    started.recv().map_err(|_| gone())?
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

fn starter() -> &'static mpsc::Sender<Order> {
    static STARTER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    STARTER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in orders {
                let _ = reply.send(crate::tool::spawn(&mut command));
            }
        });
        sender
    })
}

/// Where util-linux's `setpriv` is, if it is there and knows the option (2.33 and later).
fn setpriv() -> Option<&'static Path> {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = SETPRIV.get_or_init(|| {
        if !cfg!(target_os = "linux") {
            return None;
        }
        ["/usr/bin/setpriv", "/bin/setpriv"].iter().map(PathBuf::from).find(|path| {
            path.is_file()
                && crate::tool::Tool::new(path).args(["--pdeathsig", "KILL", "--", "/bin/true"]).run().is_ok()
        })
    });
    found.as_deref()
}

/// A signal that this crate sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Term,
    Kill,
    Stop,
    Cont,
}

/// Sends a signal to a process. That it is the right one is for the caller to know.
pub(crate) fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal as Unix, kill_process};
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a process id"))?;
        let unix = match signal {
            Signal::Term => Unix::TERM,
            Signal::Kill => Unix::KILL,
            Signal::Stop => Unix::STOP,
            Signal::Cont => Unix::CONT,
        };
        kill_process(pid, unix).map_err(io::Error::from)
    }
    #[cfg(not(unix))]
    {
        let _ = (pid, signal);
        Err(io::Error::new(io::ErrorKind::Unsupported, "signals are a Unix thing"))
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    use std::io::{Read, Seek, SeekFrom};
    const ENOUGH_BYTES: u64 = 64 * 1024;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH_BYTES)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(end)
    };
    let end = read().unwrap_or_default();
    let end = String::from_utf8_lossy(&end);
    let all: Vec<&str> = end.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
