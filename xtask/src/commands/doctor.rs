//! `doctor`: every precondition, each with its fix; nothing is changed or fetched.

use serde_json::json;
use streamproof::model::failure::Code;
use streamproof::model::finding::Severity;
use streamproof::server::{Wanted, acquire, docker, ports};

use super::session::Session;
use crate::output::{Done, Role, columns};
use crate::problem::Problem;

pub(crate) fn run(session: &Session<'_>) -> Result<Done, Problem> {
    let out = session.out;
    let mut checks: Vec<(&str, &str, String, Option<String>)> = Vec::new();
    let project = session.read(None)?;
    let errors = project.findings.iter().filter(|f| f.severity == Severity::Error).count();
    checks.push(if errors == 0 {
        (
            "ok",
            "files",
            format!(
                "{} streams, {} consumers",
                project.desired.streams.len(),
                project.desired.consumers.len()
            ),
            None,
        )
    } else {
        ("fail", "files", format!("{errors} errors in nats-config/"), Some("cargo xtask validate".to_owned()))
    });
    let mut sources = session.home.sources(None);
    sources.offline = true;
    checks.push(match acquire(&Wanted::pinned(), &sources) {
        Ok(binary) => (
            "ok",
            "server",
            format!("nats-server {} ({}): works offline", binary.version, binary.source),
            None,
        ),
        Err(_) => (
            "info",
            "server",
            "no nats-server on this machine yet; `up` fetches one".to_owned(),
            Some("cargo xtask fetch".to_owned()),
        ),
    });
    match session.running()? {
        Some(running) => {
            checks.push(("ok", "running", format!("pid {} at {}", running.pid, running.url()), None))
        }
        None => match ports::check(&[(4222, "client"), (8222, "monitoring")]) {
            Ok(()) => checks.push(("ok", "ports", "4222 and 8222 are free on 127.0.0.1".to_owned(), None)),
            Err(conflict) => checks.push((
                "warn",
                "ports",
                conflict.to_string(),
                Some("cargo xtask up --port auto".to_owned()),
            )),
        },
    }
    checks.push(match docker::engine_version() {
        Ok(version) => (
            "info",
            "docker",
            format!("engine {version} answers: `up` runs a container unless told otherwise"),
            None,
        ),
        Err(_) => ("info", "docker", "no engine answers: `up` runs a plain process".to_owned(), None),
    });
    let root = session.home.folder.root();
    let readonly = std::fs::metadata(root).is_ok_and(|about| about.permissions().readonly());
    checks.push(if readonly {
        (
            "fail",
            "folder",
            format!("{} cannot be written", root.display()),
            Some(format!("see who owns it: ls -ld {}", root.display())),
        )
    } else {
        ("ok", "folder", format!("{} (project {})", root.display(), session.home.folder.id()), None)
    });
    let failures = checks.iter().filter(|(state, ..)| *state == "fail").count();
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|(state, name, text, fix)| {
            let role = match *state {
                "ok" => Role::Good,
                "fail" => Role::Bad,
                "warn" => Role::Careful,
                _ => Role::Quiet,
            };
            let fix = fix.as_ref().map(|fix| format!("   fix: {fix}")).unwrap_or_default();
            vec![out.paint(role, &format!("{state:<4}")), (*name).to_owned(), format!("{text}{fix}")]
        })
        .collect();
    let data = json!({
        "failures": failures,
        "checks": checks.iter().map(|(state, name, text, fix)| json!({"state": state, "name": name, "text": text, "fix": fix})).collect::<Vec<_>>(),
    });
    let done = Done::new(columns(&rows), data);
    Ok(if failures > 0 { done.ending(Code::Unsupported) } else { done })
}
