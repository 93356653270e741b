//! The files of a report, beside the histories in the folder of the run.

use std::fs;
use std::io;
use std::path::Path;

use super::{Report, junit, markdown, page};
use crate::archive::write_json;

/// Writes all of them: `report.html`, `verdict.json`, `junit.xml` and `summary.md`.
///
/// # Errors
/// If one cannot be written.
pub fn write(folder: &Path, report: &Report) -> io::Result<()> {
    write_json(&folder.join("verdict.json"), &report.document())?;
    fs::write(folder.join("report.html"), page::render(report))?;
    fs::write(folder.join("junit.xml"), junit::render(report))?;
    fs::write(folder.join("summary.md"), markdown::render(report))
}
