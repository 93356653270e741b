//! From a stored history to its verdict.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use streamproof_checker::{Checker, Context, Verdict};
use streamproof_model::failure::{Code, Failure};
use streamproof_model::op::{HistoryError, Op, Ops, Reader};

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
    judge_with(history, Checker::new(context), |_| {})
}

/// Judges, and shows every operation to somebody else too.
///
/// # Errors
/// As [`judge`].
pub fn judge_and(history: &Path, context: &Context, see: impl FnMut(&Op)) -> Result<Verdict, JudgeError> {
    judge_with(history, Checker::new(context), see)
}

/// The same, with an example for every single violation.
///
/// # Errors
/// As [`judge`].
pub fn judge_whole(history: &Path, context: &Context, see: impl FnMut(&Op)) -> Result<Verdict, JudgeError> {
    judge_with(history, Checker::new(context).with_examples(EXAMPLES_OF_A_CASE), see)
}

/// A case has some thousand messages; whoever has lost more than this is told enough by these.
const EXAMPLES_OF_A_CASE: usize = 20_000;

/// Shows every operation of a history.
///
/// # Errors
/// As [`judge`].
pub fn watch(history: &Path, mut see: impl FnMut(&Op)) -> Result<(), JudgeError> {
    for op in Ops::new(open(history)?) {
        see(&op);
    }
    Ok(())
}

fn judge_with(
    history: &Path,
    mut checker: Checker<'_>,
    mut see: impl FnMut(&Op),
) -> Result<Verdict, JudgeError> {
    for op in Ops::new(open(history)?) {
        see(&op);
        checker.take(&op);
    }
    Ok(checker.finish())
}

fn open(history: &Path) -> Result<Reader<BufReader<File>>, JudgeError> {
    let wrap = |source: HistoryError| JudgeError { path: history.to_owned(), source };
    let file = File::open(history).map_err(|error| wrap(error.into()))?;
    Reader::new(BufReader::with_capacity(256 * 1024, file)).map_err(wrap)
}
