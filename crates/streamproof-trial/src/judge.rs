//! From a stored history to its verdict.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use streamproof_checker::{Context, Verdict, check};
use streamproof_model::failure::{Code, Failure};
use streamproof_model::op::{HistoryError, Ops, Reader};

/// A history that cannot be judged.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .path.display())]
pub struct JudgeError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub source: HistoryError,
}

impl Failure for JudgeError {
    fn code(&self) -> Code {
        match &self.source {
            HistoryError::Io(error) if error.kind() != std::io::ErrorKind::NotFound => Code::Io,
            _ => Code::InvalidHistory,
        }
    }
}

/// Judges the history in a file. A history whose end is missing is judged as far as it goes, and is inconclusive.
///
/// # Errors
/// [`JudgeError`]: no file, or no history.
pub fn judge(history: &Path, context: &Context) -> Result<Verdict, JudgeError> {
    let wrap = |source: HistoryError| JudgeError { path: history.to_owned(), source };
    let file = File::open(history).map_err(|error| wrap(error.into()))?;
    let reader = Reader::new(BufReader::with_capacity(256 * 1024, file)).map_err(wrap)?;
    Ok(check(Ops::new(reader), context))
}
