//! `validate`: the files against JetStream's rules; no server is asked.

use serde_json::json;
use streamproof::model::failure::Code;
use streamproof::model::finding::Severity;
use streamproof::model::version::Version;

use super::session::{Session, invalid, shown};
use crate::flags::ValidateFlags;
use crate::output::{Done, count};
use crate::problem::Problem;

pub(crate) fn run(session: &Session<'_>, flags: &ValidateFlags) -> Result<Done, Problem> {
    let version = match &flags.server_version {
        Some(text) => Some(
            text.parse::<Version>()
                .map_err(|_| Problem::new(Code::Usage, format!("{text:?} is no version, such as 2.14.6")))?,
        ),
        None => None,
    };
    let project = session.read(version)?;
    let findings: Vec<_> = project
        .findings
        .iter()
        .map(|f| {
            json!({
                "rule": f.rule.name(), "severity": f.severity, "message": f.message, "help": f.help,
                "at": { "file": f.place.file, "line": f.place.line, "column": f.place.column },
            })
        })
        .collect();
    let data = json!({
        "version": project.version.to_string(),
        "streams": project.desired.streams.len(),
        "consumers": project.desired.consumers.len(),
        "findings": findings,
    });
    let (errors, warnings): (Vec<_>, Vec<_>) =
        project.findings.iter().partition(|finding| finding.severity == Severity::Error);
    for finding in &warnings {
        session.out.warn_about(&shown(finding));
    }
    if !errors.is_empty() {
        return Err(invalid(&errors).data(data));
    }
    let text = format!(
        "valid for nats-server {}: {}, {}, {}",
        project.version,
        count(project.desired.streams.len() as u64, "stream"),
        count(project.desired.consumers.len() as u64, "consumer"),
        count(warnings.len() as u64, "warning")
    );
    Ok(Done::new(text, data))
}
