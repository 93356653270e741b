//! The history as lines of JSON, for eyes and for other programs.

use super::{HistoryError, Record};

/// One record as a line, without the newline.
#[must_use]
pub fn to_jsonl(record: &Record) -> String {
    // No `Serialize` of a record fails; an empty line is read as nothing.
    serde_json::to_string(record).unwrap_or_default()
}

/// Reads an export back. Empty lines are skipped.
pub fn from_jsonl(text: &str) -> impl Iterator<Item = Result<Record, HistoryError>> {
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(|(index, line)| {
        serde_json::from_str(line).map_err(|source| HistoryError::Line { line: index + 1, source })
    })
}
