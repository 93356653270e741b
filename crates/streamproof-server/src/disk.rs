//! Errors of the file system, each with its path, told apart where a user can do something about it.

use std::io;
use std::path::{Path, PathBuf};

use streamproof_model::failure::{Code, Failure};

/// The file system refused something.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct DiskError {
    /// What was being done, as in "cannot write".
    pub doing: &'static str,
    /// To what.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl Failure for DiskError {
    fn code(&self) -> Code {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Code::Permission,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
            _ => Code::Io,
        }
    }

    fn help(&self) -> Option<String> {
        match self.code() {
            Code::Permission => Some(format!("let this user write to {}", self.path.display())),
            Code::DiskFull => Some(format!("free space on the disk of {}", self.path.display())),
            _ => None,
        }
    }
}

/// Whether this user may write in a folder: its mode, its owner, and how it is mounted.
#[must_use]
pub fn is_writable(folder: &Path) -> bool {
    #[cfg(unix)]
    {
        rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
    }
    #[cfg(not(unix))]
    {
        std::fs::metadata(folder).is_ok_and(|about| !about.permissions().readonly())
    }
}

/// The bytes that this user may still write at a path, where the system tells.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let state = rustix::fs::statvfs(path).ok()?;
        state.f_bavail.checked_mul(state.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// `io::Result` with what was done and to what.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, DiskError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, DiskError> {
        self.map_err(|source| DiskError { doing, path: path.to_owned(), source })
    }
}

/// Writes a file so that it is there whole or not at all, also after a power cut.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), DiskError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).doing("write in", folder)?;
    io::Write::write_all(&mut file, content).doing("write", path)?;
    file.as_file().sync_all().doing("write", path)?;
    file.persist(path).map_err(|refused| refused.error).doing("write", path)?;
    Ok(())
}

/// As [`write_whole`], but a file that says the same already is left alone: a sync costs as much as a server's start.
pub(crate) fn write_changed(path: &Path, content: &[u8]) -> Result<(), DiskError> {
    match std::fs::read(path) {
        Ok(there) if there == content => Ok(()),
        _ => write_whole(path, content),
    }
}
