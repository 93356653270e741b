//! Who holds a port: another project of ours, another NATS, a container, a process; asked before anything is started.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::ControlFlow;
use std::time::Duration;

use streamproof_model::failure::{Code, Failure};

use crate::poll::{self, Pace};
use crate::{monitor, processes, tool::Tool, wire};

/// A port that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("127.0.0.1:{port} ({use_}) is taken by {by}")]
pub struct Conflict {
    /// The port.
    pub port: u16,
    /// What it was wanted for: `client`, `monitoring`, `cluster`.
    pub use_: &'static str,
    /// Who holds it, as far as this user may know.
    pub by: Holder,
}

/// Who holds a port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// A NATS server: its version and name.
    pub nats: Option<(String, String)>,
    /// A project of ours, by its id.
    pub project: Option<String>,
    /// A container, by its name.
    pub container: Option<String>,
    /// A process: its id and command line.
    pub process: Option<(u32, String)>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if let Some(project) = &self.project {
            parts.push(format!("another project's streamproof ({project})"));
        }
        if let Some((version, name)) = &self.nats {
            parts.push(format!("nats-server {version} named {name}"));
        }
        if let Some(container) = &self.container {
            parts.push(format!("container {container}"));
        }
        if let Some((pid, command)) = &self.process {
            parts.push(format!("process {pid}: {command}"));
        }
        if parts.is_empty() {
            parts.push("a process that this user may not see".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}

impl Failure for Conflict {
    fn code(&self) -> Code {
        Code::PortInUse
    }

    fn help(&self) -> Option<String> {
        let mut help = Vec::new();
        match (&self.by.container, &self.by.process) {
            (Some(container), _) => help.push(format!("docker stop {container}")),
            (None, Some((pid, _))) => help.push(format!("kill {pid}")),
            (None, None) => {}
        }
        help.push("cargo xtask up --port auto    (or a port of your choice; it is remembered)".to_owned());
        Some(help.join("\n"))
    }
}

/// How long a port is waited for that the system has lent to an outgoing connection: nobody listens there, and those are short.
const LENT_BOUND: Duration = Duration::from_secs(5);

/// Whether each port can be listened on at 127.0.0.1 now; the first that cannot is the error.
///
/// # Errors
/// [`Conflict`], with all that can be found out of its holder.
pub fn check(wanted: &[(u16, &'static str)]) -> Result<(), Box<Conflict>> {
    for &(port, use_) in wanted.iter().filter(|(port, _)| *port != 0) {
        let free = poll::until_or(Pace::CALM, LENT_BOUND, || {
            if !is_taken(port) {
                return ControlFlow::Break(Ok(()));
            }
            match holder(port) {
                lent if lent == Holder::default() => ControlFlow::Continue(lent),
                by => ControlFlow::Break(Err(by)),
            }
        });
        free.map_err(|ended| {
            let by = match ended {
                poll::Ended::Hopeless(by) => by,
                poll::Ended::TimedOut(timed_out) => timed_out.last,
            };
            Box::new(Conflict { port, use_, by })
        })?;
    }
    Ok(())
}

/// From where on a system lends ports to outgoing connections: 32768 on Linux, 49152 elsewhere. A server's own port is better
/// below: otherwise it may be lent away while the server is down.
const LENT: u16 = 32_768;
/// Below this are the ports that are known by their number.
const KNOWN: u16 = 10_000;
/// How many ports are tried before any is taken that the system gives.
const TRIES: u32 = 200;

/// Two ports that are free now, for `--port auto`.
///
/// # Errors
/// What the system says where it has none.
pub fn free() -> io::Result<(u16, u16)> {
    // Where to begin: somewhere else in each process, or two that begin at once would take the same.
    let mut state = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    let mut next = || {
        for _ in 0..TRIES {
            // Knuth's MMIX: any generator does.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let port = KNOWN + u16::try_from((state >> 33) % u64::from(LENT - KNOWN)).unwrap_or_default();
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                return Ok(listener);
            }
        }
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
    };
    let (one, other) = (next()?, next()?);
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}

/// The tag by which servers of ours are known.
pub const PROJECT_TAG: &str = "streamproof:";

/// How long a holder may take to say who it is.
const ASK_BOUND: Duration = Duration::from_millis(500);

/// All that can be found out of who holds a port.
#[must_use]
pub fn holder(port: u16) -> Holder {
    let mut holder = Holder::default();
    if let Ok(info) = wire::info(&format!("127.0.0.1:{port}"), ASK_BOUND) {
        holder.nats = Some((info.version, info.server_name));
    }
    holder.container = container(port);
    if holder.container.is_none()
        && let Some(process) = listener(port).and_then(processes::one)
    {
        holder.project = project_of(process.pid);
        holder.process = Some((process.pid, process.command()));
    }
    holder
}

/// The project id of a server of ours: its tag, by any port of its that answers `/varz`.
fn project_of(pid: u32) -> Option<String> {
    listening(pid).into_iter().find_map(|port| {
        let varz = monitor::varz(&format!("127.0.0.1:{port}"), ASK_BOUND).ok()?;
        varz.tags.iter().find_map(|tag| tag.strip_prefix(PROJECT_TAG).map(str::to_owned))
    })
}

fn is_taken(port: u16) -> bool {
    // Both: a holder on 0.0.0.0 alone is also one for 127.0.0.1 on Linux, but not everywhere.
    is_refused(Ipv4Addr::LOCALHOST, port) || is_refused(Ipv4Addr::UNSPECIFIED, port)
}

fn is_refused(address: Ipv4Addr, port: u16) -> bool {
    matches!(TcpListener::bind((address, port)), Err(error) if error.kind() == io::ErrorKind::AddrInUse)
}

fn container(port: u16) -> Option<String> {
    let listed = Tool::new("docker")
        .args(["ps", "--filter", &format!("publish={port}"), "--format", "{{.Names}}"])
        .bound(Duration::from_secs(3))
        .run();
    listed.ok()?.text().lines().next().map(str::to_owned)
}

/// The process that listens on a port, where this user may see it.
#[must_use]
pub fn listener(port: u16) -> Option<u32> {
    #[cfg(target_os = "linux")]
    {
        let inodes: Vec<String> =
            sockets().into_iter().filter(|(p, _)| *p == port).map(|(_, inode)| inode).collect();
        let pids = std::fs::read_dir("/proc").ok()?.flatten();
        pids.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok())
            .find(|pid| socket_inodes(*pid).iter().any(|inode| inodes.contains(inode)))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let found = Tool::new("lsof")
            .args(["-nP", "-t", "-sTCP:LISTEN", &format!("-iTCP:{port}")])
            .bound(Duration::from_secs(3))
            .run();
        found.ok()?.text().lines().next()?.parse().ok()
    }
}

/// The ports that a process listens on.
#[must_use]
pub fn listening(pid: u32) -> Vec<u16> {
    #[cfg(target_os = "linux")]
    {
        let own = socket_inodes(pid);
        sockets().into_iter().filter(|(_, inode)| own.contains(inode)).map(|(port, _)| port).collect()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let pid = pid.to_string();
        let found = Tool::new("lsof")
            .args(["-nP", "-a", "-p", &pid, "-iTCP", "-sTCP:LISTEN", "-Fn"])
            .bound(Duration::from_secs(3))
            .run();
        let text = found.map(|said| said.text()).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix('n')?.rsplit(':').next()?.parse().ok()).collect()
    }
}

/// Ports that are listened on and their sockets' inodes, from the kernel's tables (proc_pid_net(5): state 0A is LISTEN).
#[cfg(target_os = "linux")]
fn sockets() -> Vec<(u16, String)> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in std::fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            if let [_, local, _, "0A", _, _, _, _, _, inode, ..] = words.as_slice()
                && let Some(port) =
                    local.rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok())
            {
                found.push((port, (*inode).to_owned()));
            }
        }
    }
    found
}

#[cfg(target_os = "linux")]
fn socket_inodes(pid: u32) -> Vec<String> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| {
        let link = std::fs::read_link(entry.path()).ok()?;
        Some(link.to_string_lossy().strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    })
    .collect()
}
