//! The copy: file by file, noticed if the original changes meanwhile, and gone when it is dropped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::look::{Account, walk};
use super::{Doing, StoreError, io};

/// The account that a server without a configuration of accounts keeps its streams in. Nothing in the files of a stream says of
/// which account it is (nats-server filestore.go: its checksums are keyed by the stream's name alone).
const GLOBAL: &str = "$G";
/// So much room is left beside the copy: the servers write to it.
const SPARE_BYTES: u64 = 64 * 1024 * 1024;

/// How far all copying is.
pub(super) struct Total {
    pub(super) bytes: u64,
    pub(super) of: u64,
}

/// A copy of an account as a store of its own; removed on drop.
pub(super) struct Copy {
    folder: PathBuf,
}

impl Copy {
    /// Copies it into `folder`, which must not exist.
    pub(super) fn of(
        account: &Account,
        folder: &Path,
        total: &mut Total,
        cancel: &AtomicBool,
        progress: &mut dyn FnMut(Doing),
    ) -> Result<Copy, StoreError> {
        let to = folder.join("jetstream").join(GLOBAL);
        fs::create_dir_all(&to).map_err(io("create", &to))?;
        let copy = Copy { folder: folder.to_owned() };
        let free = free_bytes(folder)?;
        if account.bytes + SPARE_BYTES > free {
            return Err(StoreError::NoRoom {
                folder: folder.to_owned(),
                need: account.bytes + SPARE_BYTES,
                free,
            });
        }
        let before = stamps(&account.path)?;
        copy_folder(&account.path, &to, total, cancel, progress)?;
        let after = stamps(&account.path)?;
        if let Some(changed) = changed(&before, &after) {
            return Err(StoreError::BeingWritten(changed));
        }
        Ok(copy)
    }

    /// The `store_dir` for a server on it.
    pub(super) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn copy_folder(
    from: &Path,
    to: &Path,
    total: &mut Total,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Doing),
) -> Result<(), StoreError> {
    for entry in fs::read_dir(from).map_err(io("read", from))?.flatten() {
        if cancel.load(Ordering::Relaxed) {
            return Err(StoreError::Cancelled);
        }
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let gone = |source: std::io::Error| match source.kind() {
            // It was there a moment ago.
            std::io::ErrorKind::NotFound => StoreError::BeingWritten(path.clone()),
            _ => StoreError::Io { action: "copy", path: path.clone(), source },
        };
        if fs::metadata(&path).map_err(gone)?.is_dir() {
            fs::create_dir_all(&target).map_err(io("create", &target))?;
            copy_folder(&path, &target, total, cancel, progress)?;
        } else {
            // By the kernel, which on some file systems need not copy at all.
            total.bytes += fs::copy(&path, &target).map_err(gone)?;
            progress(Doing::Copy(total.bytes, total.of));
        }
    }
    Ok(())
}

type Stamps = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

fn stamps(folder: &Path) -> Result<Stamps, StoreError> {
    let mut stamps = Stamps::new();
    walk(folder, &mut |path, size| {
        let modified = fs::metadata(path).and_then(|about| about.modified()).ok();
        stamps.insert(path.to_owned(), (size, modified));
    })?;
    Ok(stamps)
}

/// A file that is not as it was, or not there any more, or new.
fn changed(before: &Stamps, after: &Stamps) -> Option<PathBuf> {
    let paths = before.keys().chain(after.keys());
    paths.into_iter().find(|path| before.get(*path) != after.get(*path)).cloned()
}

fn free_bytes(folder: &Path) -> Result<u64, StoreError> {
    let about = rustix::fs::statvfs(folder).map_err(|error| StoreError::Io {
        action: "look at the file system of",
        path: folder.to_owned(),
        source: error.into(),
    })?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_while_it_is_copied_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("1.blk"), "one").unwrap();
        let before = stamps(dir.path()).unwrap();
        assert_eq!(changed(&before, &stamps(dir.path()).unwrap()), None);
        fs::write(dir.path().join("2.blk"), "two").unwrap();
        assert_eq!(changed(&before, &stamps(dir.path()).unwrap()), Some(dir.path().join("2.blk")));
        fs::remove_file(dir.path().join("2.blk")).unwrap();
        fs::write(dir.path().join("1.blk"), "more").unwrap();
        assert_eq!(changed(&before, &stamps(dir.path()).unwrap()), Some(dir.path().join("1.blk")));
    }
}
