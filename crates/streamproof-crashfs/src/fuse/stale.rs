//! Mounts that a killed recording left behind: found by name, told from living ones, and taken away.

use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

use crate::error::CrashFsError;
use crate::mounts::mounts;

/// The file system's name; what is mounted from it carries it with the process id of its owner.
pub(super) const SUBTYPE: &str = "streamproof-crashfs";

/// Unmounts every recording below `dir` whose process is gone, and says which.
///
/// # Errors
/// Where one is stale and cannot be unmounted.
pub fn clean_stale(dir: &Path) -> Result<Vec<PathBuf>, CrashFsError> {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mut cleaned = Vec::new();
    for (mountpoint, source) in mounts() {
        let Some(pid) = source.strip_prefix(SUBTYPE).and_then(|s| s.strip_prefix(':')) else { continue };
        if mountpoint.starts_with(&dir) && is_orphan(&mountpoint, pid) {
            detach(&mountpoint)?;
            cleaned.push(mountpoint);
        }
    }
    Ok(cleaned)
}

/// A process id may have been given to somebody else: what counts is the kernel's answer, ENOTCONN where the device
/// was closed. A living process is not asked, lest one that is stuck make us hang.
fn is_orphan(mountpoint: &Path, pid: &str) -> bool {
    if pid == std::process::id().to_string() {
        return false;
    }
    let process_gone = !Path::new("/proc").join(pid).exists();
    process_gone || rustix::fs::stat(mountpoint).is_err_and(|e| e == rustix::io::Errno::NOTCONN)
}

pub(super) fn is_mounted(mountpoint: &Path) -> bool {
    mounts().iter().any(|(path, _)| path == mountpoint)
}

/// Takes the mount's name away at once, also while files are open.
pub(super) fn detach(mountpoint: &Path) -> Result<(), CrashFsError> {
    let busy = |source| CrashFsError::Unmount { path: mountpoint.to_owned(), source };
    match unmount(mountpoint, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
        Err(rustix::io::Errno::PERM) => {
            let done =
                std::process::Command::new("fusermount3").args(["-u", "-z", "--"]).arg(mountpoint).output();
            match done {
                Ok(output) if output.status.success() => Ok(()),
                Ok(output) => {
                    Err(busy(std::io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())))
                }
                Err(e) => Err(busy(e)),
            }
        }
        Err(e) => Err(busy(e.into())),
    }
}
