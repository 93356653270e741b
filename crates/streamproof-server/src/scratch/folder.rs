//! A scratch server's folder, and the removal of those whose process is gone.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::disk::{DiskError, Doing};
use crate::processes;
use crate::spawn::{self, Signal};

/// A folder that is removed on drop. While this process lives it holds the lock `OWNER` in it, and the system lets go of that
/// however the process ends: so a folder whose `OWNER` is free is left over.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    name: String,
    _owner: File,
}

impl Folder {
    /// In memory only where that was asked for and there is room.
    pub(super) fn create(in_memory: bool) -> Result<Folder, DiskError> {
        let root = if in_memory { memory().unwrap_or_else(root) } else { root() };
        std::fs::create_dir_all(&root).doing("create", &root)?;
        static REAP: Once = Once::new();
        REAP.call_once(|| {
            // Beside the first start, not before it.
            std::thread::spawn(|| {
                reap(&self::root());
                if let Some(root) = memory().filter(|root| root.is_dir()) {
                    reap(&root);
                }
            });
        });
        let _gate = gate(&root)?;
        let folder = tempfile::Builder::new().prefix("s").tempdir_in(&root).doing("write in", &root)?;
        let path = std::fs::canonicalize(folder.path()).doing("find", folder.path())?;
        let owner_path = path.join("OWNER");
        let owner = File::create(&owner_path).doing("write", &owner_path)?;
        owner.try_lock().map_err(std::io::Error::from).doing("lock", &owner_path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // From here on the drop of the folder is ours.
        let _ = folder.keep();
        Ok(Folder { path, name, _owner: owner })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// One folder for each user, so that none meets another's files.
fn root() -> PathBuf {
    std::env::temp_dir().join(name())
}

fn name() -> String {
    #[cfg(unix)]
    let user = rustix::process::getuid().as_raw();
    #[cfg(not(unix))]
    let user = "user";
    format!("streamproof-scratch-{user}")
}

/// A store in memory needs this much room: a container's `/dev/shm` has 64 MB unless it was asked for more.
#[cfg(target_os = "linux")]
const MEMORY_BYTES: u64 = 512 << 20;

/// The same folder on Linux's file system in memory, where there is one with room.
#[cfg(target_os = "linux")]
fn memory() -> Option<PathBuf> {
    let shm = Path::new("/dev/shm");
    let state = rustix::fs::statvfs(shm).ok()?;
    let room = state.f_bavail.checked_mul(state.f_frsize)? >= MEMORY_BYTES;
    let writable = !state.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)
        && rustix::fs::access(shm, rustix::fs::Access::WRITE_OK).is_ok();
    (room && writable).then(|| shm.join(name()))
}

#[cfg(not(target_os = "linux"))]
fn memory() -> Option<PathBuf> {
    None
}

/// Held while a folder is made and while they are looked through: one that is half made is never taken for a left one.
fn gate(root: &Path) -> Result<File, DiskError> {
    let path = root.join(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).doing("write", &path)?;
    file.lock().doing("lock", &path)?;
    Ok(file)
}

fn reap(root: &Path) {
    let left = || -> Result<Vec<(PathBuf, File)>, DiskError> {
        let _gate = gate(root)?;
        let entries = std::fs::read_dir(root).doing("read", root)?.flatten().map(|entry| entry.path());
        Ok(entries
            .filter(|path| path.is_dir())
            .filter_map(|path| Some((path.clone(), take(&path)?)))
            .collect())
    };
    for (path, _owner) in left().unwrap_or_default() {
        if let Some(pid) = processes::with_config(&path.join("server.conf")) {
            tracing::debug!(pid, folder = %path.display(), "killing a scratch server whose process is gone");
            let _ = spawn::signal(pid, Signal::Kill);
        }
        let _ = std::fs::remove_dir_all(&path);
    }
}

/// The lock of a folder whose process is gone.
fn take(folder: &Path) -> Option<File> {
    let owner = File::options().create(true).truncate(false).write(true).open(folder.join("OWNER")).ok()?;
    owner.try_lock().ok()?;
    Some(owner)
}
