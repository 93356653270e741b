//! Power cuts: a run is recorded once on a file system that remembers every change, and then cut anywhere; a server is started on
//! every state that is left, everything is read back, and it is judged against what had been acknowledged before the cut.
//!
//! The state that is judged is what ext4 leaves, by a model (`streamproof-crashfs`, held against a real kernel). What less would
//! leave is told beside it, weighted by the share of the run that each state stands for, and not judged.

#[cfg(target_os = "linux")]
pub(crate) mod again;
#[cfg(target_os = "linux")]
mod controls;
mod judged;
mod past;
#[cfg(target_os = "linux")]
mod plot;
#[cfg(target_os = "linux")]
pub mod rate;
#[cfg(target_os = "linux")]
mod recorded;
#[cfg(target_os = "linux")]
mod recovery;
#[cfg(target_os = "linux")]
mod rounds;
#[cfg(target_os = "linux")]
mod search;
mod states;
pub mod tally;
#[cfg(target_os = "linux")]
mod visit;

use std::path::{Path, PathBuf};

use streamproof_crashfs::CrashFsError;
use streamproof_model::failure::{Code, Failure};
use streamproof_server::ServerError;

use crate::run::CaseError;

#[cfg(target_os = "linux")]
pub(crate) use rounds::{Ended, Rounds};
pub(crate) use states::{judge_stored, stored_shows};

/// The number of the first cut of a state: no fault of the run before it has one as high. That of a second one is the next.
pub(crate) const FIRST: u32 = 1_000_000;

/// Why a power cut could not be brought about or judged.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// The case.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// The file system that records, or the states that it leads to.
    #[error(transparent)]
    FileSystem(#[from] CrashFsError),
    /// The history of the recording cannot be read again.
    #[error("the recording's history cannot be read: {0}")]
    History(String),
}

impl From<ServerError> for CutError {
    fn from(error: ServerError) -> Self {
        CutError::Case(error.into())
    }
}

impl From<std::io::Error> for CutError {
    fn from(error: std::io::Error) -> Self {
        CutError::Case(error.into())
    }
}

impl Failure for CutError {
    fn code(&self) -> Code {
        match self {
            CutError::Case(CaseError::Server(error)) => error.code(),
            CutError::FileSystem(error) => error.code(),
            CutError::Case(CaseError::Cancelled) => Code::Interrupted,
            CutError::Case(_) | CutError::History(_) => Code::Internal,
        }
    }
}

/// Whether a real file system can be had here whose power goes, and if not, why.
///
/// # Errors
/// With the reason, in words.
pub fn disk_available() -> Result<(), String> {
    #[cfg(target_os = "linux")]
    return streamproof_crashfs::real::available(streamproof_crashfs::real::Kind::Ext4)
        .map_err(|error| error.to_string());
    #[cfg(not(target_os = "linux"))]
    Err(LINUX.to_owned())
}

/// Whether power cuts can be recorded here, and if not, why.
///
/// # Errors
/// With the reason, in words.
pub fn available() -> Result<(), String> {
    #[cfg(target_os = "linux")]
    return streamproof_crashfs::fuse::available(false).map_err(|error| error.to_string());
    #[cfg(not(target_os = "linux"))]
    Err(LINUX.to_owned())
}

#[cfg(not(target_os = "linux"))]
const LINUX: &str = "it needs Linux";

/// Takes away what a killed run left mounted below `dir`, or attached to a loop device, and says what.
///
/// # Errors
/// What cannot be taken away, and why.
pub fn clean_stale(dir: &Path) -> Result<Vec<PathBuf>, CrashFsError> {
    #[cfg(target_os = "linux")]
    {
        let mut cleaned = streamproof_crashfs::fuse::clean_stale(dir)?;
        cleaned.extend(streamproof_crashfs::real::clean_stale(dir)?);
        Ok(cleaned)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        Ok(Vec::new())
    }
}
