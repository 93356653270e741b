//! The faults: each is brought about on a scratch server and leaves the evidence that it bit.

#[cfg(target_os = "linux")]
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use streamproof_crashfs::real::RealDisk;
use streamproof_model::op::{Evidence, FaultKind};
use streamproof_server::acquire::Binary;
use streamproof_server::{Scratch, ServerError};

use crate::contained::Contained;
use crate::small_disk::SmallDisk;

/// Restarts in a row of the fault `restarts`.
const RESTARTS: u32 = 3;

/// How long a process stays paused.
const PAUSE: Duration = Duration::from_millis(400);

/// What a fault may need beyond the server.
#[derive(Debug, Default)]
pub struct Arsenal {
    /// The server to change to, for `upgrade`.
    pub upgrade: Option<Binary>,
    /// The server to change to, for `downgrade`.
    pub downgrade: Option<Binary>,
    /// The disk that the server's store is on, where it is one that can be filled.
    pub small_disk: Option<SmallDisk>,
    /// The container that the server is in, where it is in one.
    pub container: Option<Contained>,
    /// Index files as they were at an earlier moment, by their path.
    stale: Vec<(PathBuf, Vec<u8>)>,
    /// The file system that the store is on, for `power-cut-ext4`.
    #[cfg(target_os = "linux")]
    pub(crate) disk: Option<RealDisk>,
}

impl Arsenal {
    /// With these servers to change to.
    #[must_use]
    pub fn new(upgrade: Option<Binary>, downgrade: Option<Binary>) -> Arsenal {
        Arsenal { upgrade, downgrade, ..Arsenal::default() }
    }

    /// With this file system, which the store is on.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn with_disk(disk: RealDisk) -> Arsenal {
        Arsenal { disk: Some(disk), ..Arsenal::default() }
    }

    /// Remembers the recovery indexes as they are now: while the server is down after a graceful stop, or while it runs.
    pub fn keep_indexes(&mut self, store: &Path) {
        self.stale = indexes(store)
            .into_iter()
            .filter_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes)))
            .collect();
    }
}

impl Arsenal {
    /// Why this fault cannot be brought about, if so.
    ///
    /// # Errors
    /// With the reason.
    pub fn can(&self, fault: FaultKind) -> Result<(), String> {
        match fault {
            FaultKind::Upgrade if self.upgrade.is_none() => {
                Err("it needs the other version: --upgrade-to VERSION".to_owned())
            }
            FaultKind::Downgrade if self.downgrade.is_none() => {
                Err("it needs the other version: --downgrade-to VERSION".to_owned())
            }
            FaultKind::DiskFull if !SmallDisk::can_be_had() => {
                Err("it needs a small file system of its own, which only root can mount, on Linux".to_owned())
            }
            FaultKind::Recreate => Contained::can_be_had().map_err(str::to_owned),
            FaultKind::Stop
            | FaultKind::DiskFull
            | FaultKind::Restarts
            | FaultKind::Disconnect
            | FaultKind::Kill
            | FaultKind::KillAfterAck
            | FaultKind::IndexLost
            | FaultKind::IndexStale
            | FaultKind::Pause
            | FaultKind::Upgrade
            | FaultKind::Downgrade => Ok(()),
            FaultKind::PowerCut => crate::power_cut::available(),
            FaultKind::PowerCutExt4 => crate::power_cut::disk_available(),
            _ => Err("it is not built yet".to_owned()),
        }
    }
}

/// Brings a fault about, and the server up again. On return the evidence is complete but for what the workload saw.
///
/// # Errors
/// The server did not come back: that is a finding, with the evidence so far.
pub fn strike(
    server: &mut Scratch,
    fault: FaultKind,
    arsenal: &mut Arsenal,
    evidence: &mut Evidence,
) -> Result<Duration, ServerError> {
    evidence.pid_before = server.pid().unwrap_or(0);
    evidence.version_before = Some(server.binary().version.to_string());
    let store = server.store_dir().to_path_buf();
    match fault {
        FaultKind::Disconnect => {}
        FaultKind::Pause => {
            server.pause()?;
            let paused = Instant::now();
            // Nothing tells when a paused process has been paused for long enough: the time is the fault.
            let waited: Result<(), _> =
                streamproof_server::poll::until(streamproof_server::poll::Pace::QUICK, PAUSE, || {
                    Err("paused")
                });
            debug_assert!(waited.is_err());
            server.resume()?;
            evidence.silent_us = paused.elapsed().as_micros() as u64;
        }
        FaultKind::Kill | FaultKind::KillAfterAck => {
            server.kill()?;
            evidence.restarts = 1;
        }
        FaultKind::Restarts => {
            for _ in 1..RESTARTS {
                server.restart()?;
            }
            server.stop()?;
            evidence.restarts = RESTARTS;
        }
        FaultKind::IndexLost => {
            server.stop()?;
            arsenal.keep_indexes(&store);
            for path in indexes(&store) {
                if fs::remove_file(&path).is_ok() {
                    evidence.index_files += 1;
                }
            }
            evidence.restarts = 1;
        }
        FaultKind::IndexStale => {
            server.stop()?;
            for (path, bytes) in &arsenal.stale {
                // Only where the stream is still there, and only an index that differs: the same one would show nothing.
                if path.parent().is_some_and(Path::is_dir)
                    && fs::read(path).ok().as_deref() != Some(bytes)
                    && fs::write(path, bytes).is_ok()
                {
                    evidence.index_files += 1;
                }
            }
            evidence.restarts = 1;
        }
        FaultKind::Upgrade | FaultKind::Downgrade => {
            server.stop()?;
            match if fault == FaultKind::Upgrade { &arsenal.upgrade } else { &arsenal.downgrade } {
                Some(binary) => server.set_binary(binary.clone()),
                None => evidence.failed = Some("no other version was given".to_owned()),
            }
            evidence.restarts = 1;
        }
        // The disk has been full, and has room again: see run.rs.
        // A server in a container: its end removes the container, its start makes a new one.
        FaultKind::Recreate if arsenal.container.is_none() => {
            evidence.failed = Some("the server is not in a container".to_owned());
        }
        FaultKind::Stop | FaultKind::DiskFull | FaultKind::Recreate => {
            server.stop()?;
            evidence.restarts = 1;
        }
        #[cfg(target_os = "linux")]
        FaultKind::PowerCutExt4 => {
            let Some(disk) = &mut arsenal.disk else {
                evidence.failed = Some("its store is on no file system of its own".to_owned());
                return Ok(Duration::ZERO);
            };
            let before = sizes(&store);
            let cut = disk.shutdown();
            server.kill()?;
            if let Err(error) = cut.and_then(|()| disk.remount()) {
                // No server is started on what is not there: it would be empty, and look like a loss.
                evidence.failed = Some(error.to_string());
                return Ok(Duration::ZERO);
            }
            let after = sizes(&store);
            let lost =
                |(path, size): (&PathBuf, &u64)| size.saturating_sub(after.get(path).copied().unwrap_or(0));
            evidence.unsynced_bytes = before.iter().map(lost).sum();
            evidence.restarts = 1;
        }
        other => evidence.failed = Some(format!("{} is not built yet", other.name())),
    }
    if fault.graceful() {
        arsenal.keep_indexes(&store);
    }
    let start = Instant::now();
    server.start()?;
    evidence.pid_after = server.pid().unwrap_or(0);
    evidence.version_after = Some(server.binary().version.to_string());
    evidence.log = server
        .log_tail(60)
        .lines()
        .rev()
        .find(|line| line.contains("Restored") || line.contains("recover"))
        .map(str::to_owned);
    Ok(start.elapsed())
}

/// The size of each file of a store, in bytes.
#[cfg(target_os = "linux")]
fn sizes(store: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut folders = vec![store.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => _ = found.insert(entry.path(), meta.len()),
                // Gone since it was listed.
                Err(_) => {}
            }
        }
    }
    found
}

/// The recovery indexes of all streams in a store (`…/streams/<name>/msgs/index.db`).
fn indexes(store: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![store.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "index.db") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
