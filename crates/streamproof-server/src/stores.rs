//! Who else has a store open: nats-server itself takes no lock on it, and two servers on one store damage it unnoticed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::ServerError;
use crate::processes::{self, Process};
use crate::tool::Tool;
use crate::{monitor, ports};

/// How long a server may take to say where its store is.
const ASK_BOUND: Duration = Duration::from_millis(200);

/// Fails where a server has this store open, as far as this user may see: on this machine, or in a container that shows its
/// files.
///
/// # Errors
/// [`ServerError::StoreInUse`], with who it is.
pub fn check(store: &Path) -> Result<(), ServerError> {
    let Ok(store) = std::fs::canonicalize(store) else { return Ok(()) };
    // Of an empty folder nothing can be lost, and looking at every server of this machine takes time.
    if std::fs::read_dir(&store).is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(());
    }
    let servers = processes::all().into_iter().filter(Process::is_nats_server);
    match servers.into_iter().find(|server| uses(server, &store)) {
        None => Ok(()),
        Some(server) => Err(ServerError::StoreInUse {
            store,
            by: format!("process {}: {}", server.pid, server.command()),
            help: format!("stop it first: kill {}\nnothing was started or changed", server.pid),
        }),
    }
}

/// As [`check`], and asks Docker too, whose containers' processes may be in a virtual machine or another user's.
///
/// # Errors
/// [`ServerError::StoreInUse`].
pub fn check_docker_too(store: &Path) -> Result<(), ServerError> {
    check(store)?;
    let Ok(store) = std::fs::canonicalize(store) else { return Ok(()) };
    let mounted = |path: &Path| {
        let filter = format!("volume={}", path.display());
        let asked = Tool::new("docker")
            .args(["ps", "--filter", &filter, "--format", "{{.Names}}"])
            .bound(Duration::from_secs(5))
            .run();
        asked.ok().and_then(|said| said.text().lines().next().map(str::to_owned))
    };
    match mounted(&store).or_else(|| mounted(&store.join("jetstream"))) {
        None => Ok(()),
        Some(container) => Err(ServerError::StoreInUse {
            store,
            by: format!("container {container}, which has it mounted"),
            help: format!("stop it first: docker stop {container}\nnothing was started or changed"),
        }),
    }
}

/// Whether this server's store is that folder, by what tells: its command line, its environment, its configuration, what is
/// mounted into its container; and, where all of these are silent, its own word.
fn uses(server: &Process, store: &Path) -> bool {
    let inside = Inside::of(server.pid);
    let mut named = flag_values(server, &["sd", "store_dir"]);
    named.extend(environment(server.pid, "STREAMPROOF_STORE"));
    let told = !named.is_empty();
    for config in flag_values(server, &["c", "config"]) {
        named.extend(configured(&inside.path(&config)));
    }
    if named.iter().any(|path| is_same(&inside.path(path), store)) || inside.mounts(store) {
        return true;
    }
    !told && says_so(server.pid, store)
}

/// The values of a flag, in each way in which Go's flags can be written.
fn flag_values(server: &Process, flags: &[&str]) -> Vec<PathBuf> {
    let words = server.words.iter().enumerate();
    let values = words.filter_map(|(i, word)| {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (word.as_str(), server.words.get(i + 1).map(String::as_str)),
        };
        (flag.starts_with('-') && flags.contains(&flag.trim_start_matches('-'))).then_some(value)?
    });
    values.map(PathBuf::from).collect()
}

/// The `store_dir` of a configuration, where it stands there in so many words.
fn configured(config: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(config).unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let rest = ["store_dir", "store", "storedir"].iter().find_map(|key| line.trim().strip_prefix(key))?;
        let value = rest.trim_start_matches([':', '=', ' ', '\t']);
        let value = value.trim_matches(|c: char| matches!(c, '"' | '\'' | ',' | ' ' | '}'));
        (!value.is_empty() && !value.starts_with('$')).then(|| PathBuf::from(value))
    });
    lines.collect()
}

fn environment(pid: u32, name: &str) -> Option<PathBuf> {
    let all = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{name}=");
    let found = all.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(prefix.as_bytes()))?;
    Some(PathBuf::from(String::from_utf8_lossy(found).into_owned()))
}

/// The same folder, or the store's own `jetstream`, by the file system's identity and not by its name.
fn is_same(path: &Path, store: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |path: &Path| std::fs::metadata(path).map(|about| (about.dev(), about.ino())).ok();
        let Some(path) = id(path) else { return false };
        [store.to_owned(), store.join("jetstream")].iter().any(|own| id(own) == Some(path))
    }
    #[cfg(not(unix))]
    {
        std::fs::canonicalize(path).is_ok_and(|path| path == store || path == store.join("jetstream"))
    }
}

/// A process's own view of the files: in a container the same names mean other files.
struct Inside {
    pid: u32,
    apart: bool,
    current: PathBuf,
}

impl Inside {
    fn of(pid: u32) -> Inside {
        let space = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let apart = match (space("self"), space(&pid.to_string())) {
            (Some(own), Some(its)) => own != its,
            _ => false,
        };
        let current = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_else(|_| PathBuf::from("/"));
        Inside { pid, apart, current }
    }

    fn path(&self, path: &Path) -> PathBuf {
        let path = self.current.join(path);
        if !self.apart {
            return path;
        }
        Path::new(&format!("/proc/{}/root", self.pid)).join(path.strip_prefix("/").unwrap_or(&path))
    }

    /// Whether the store is mounted into it (proc_pid_mountinfo(5)).
    fn mounts(&self, store: &Path) -> bool {
        if !self.apart {
            return false;
        }
        let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", self.pid)).unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        points.into_iter().any(|point| is_same(&self.path(Path::new(point)), store))
    }
}

fn says_so(pid: u32, store: &Path) -> bool {
    let says = |port: u16| {
        let varz = monitor::varz(&format!("127.0.0.1:{port}"), ASK_BOUND).ok()?;
        Some(PathBuf::from(varz.jetstream.config?.store_dir))
    };
    !Inside::of(pid).apart
        && ports::listening(pid).into_iter().filter_map(says).any(|dir| is_same(&dir, store))
}
