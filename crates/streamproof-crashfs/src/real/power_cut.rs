//! A power cut under a running server, on a real file system: the file system goes first, then the server, then the
//! next boot.

use std::path::Path;
use std::time::{Duration, Instant};

use super::RealDisk;
use crate::error::CrashFsError;

/// What is known of a power cut when its state is judged.
#[derive(Debug, Clone, Copy)]
pub struct PowerCut<'a> {
    /// The directory that the server had, as the kernel recovered it.
    pub store: &'a Path,
    /// Just before the power went: what was acknowledged until then must be judged.
    pub began: Instant,
    /// Just after it was gone: nothing that was acknowledged later had any power.
    pub gone: Instant,
    /// How long the unmount and the next mount took, with the replay of the journal.
    pub recovered_in: Duration,
}

/// Cuts the power of `disk` while a server runs on `store`, a directory of it; `end_server` kills the server then
/// (SIGKILL, waited for: it may have no file open when it returns), and `judge` is given what the kernel recovered.
///
/// # Errors
/// The disk's, and what the closures gave. The disk must not be used again after an error of its own.
pub fn power_cut<T, E: From<CrashFsError>>(
    disk: &mut RealDisk,
    store: &Path,
    end_server: impl FnOnce() -> Result<(), E>,
    judge: impl FnOnce(&PowerCut<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let began = Instant::now();
    disk.shutdown()?;
    let gone = Instant::now();
    end_server()?;
    let recovery = Instant::now();
    disk.remount()?;
    judge(&PowerCut { store, began, gone, recovered_in: recovery.elapsed() })
}
