//! `doctor`: every precondition, each with its fix; and what is wrong with a server. Nothing is changed or fetched.

use serde_json::json;
use streamproof::checkup::{Remark, Seen, State, checkup};
use streamproof::model::failure::{Code, Failure as _};
use streamproof::model::finding::Severity;
use streamproof::model::project::Project;
use streamproof::provision::{self, inspect};
use streamproof::server::{Wanted, acquire, docker, ports};
use streamproof::{monitoring, store};

use super::session::{Reached, Session, wait};
use crate::flags::DoctorFlags;
use crate::output::{Done, Role, columns};
use crate::problem::Problem;

pub(crate) fn run(session: &Session<'_>, flags: &DoctorFlags) -> Result<Done, Problem> {
    let project = session.read(None)?;
    let named = flags.server.server.is_some() || flags.server.context.is_some();
    let mut remarks = if named { Vec::new() } else { here(session, &project)? };
    let running = if named { None } else { session.running()? };
    let mut code = remarks.iter().any(|remark| remark.state == State::Fail).then_some(Code::Unsupported);
    if named || running.is_some() {
        let reached = session.reach(&flags.server, &project)?;
        let monitor = flags.monitor.clone().or_else(|| running.map(|running| running.monitor_address()));
        let (of_server, wrong) = server(session, &reached, monitor.as_deref())?;
        // A consumer ahead of its stream: what it had was lost.
        let lost = of_server.iter().any(|remark| remark.state == State::Fail).then_some(Code::Violation);
        code = code.or(wrong).or(lost);
        remarks.extend(of_server);
    }
    let failures = remarks.iter().filter(|remark| remark.state == State::Fail).count();
    let done = Done::new(text(session, &remarks), json!({ "failures": failures, "checks": remarks }));
    Ok(match code {
        Some(code) => done.ending(code),
        None => done,
    })
}

/// What is to be said of a server; and the name for it, where it has no JetStream.
fn server(
    session: &Session<'_>,
    reached: &Reached,
    monitor: Option<&str>,
) -> Result<(Vec<Remark>, Option<Code>), Problem> {
    let looked = wait(async {
        let js = session.js(&reached.connect).await?;
        let id = js.client().server_info().server_id;
        let account = match inspect::account(&js).await {
            Err(error) if error.code() == Code::NoJetstream => return Ok((id, None)),
            other => other.map_err(Problem::of)?,
        };
        let observed = provision::observe(&js).await.map_err(Problem::of)?;
        let mut consumers = Vec::new();
        for stream in observed.streams.iter().filter(|stream| stream.consumer_count > 0) {
            match inspect::consumers(&js, &stream.name).await {
                Ok(infos) => consumers.extend(infos),
                // Removed meanwhile.
                Err(provision::ProvisionError::Refused { .. }) => {}
                Err(error) => return Err(Problem::of(error)),
            }
        }
        Ok((id, Some((account, observed, consumers))))
    })?;
    let (id, Some((account, observed, consumers))) = looked else {
        let remark = Remark::new(State::Fail, "jetstream", "JetStream is not on for this account")
            .fix("`jetstream { store_dir: … }` in the server's configuration, and in the account's");
        return Ok((vec![remark], Some(Code::NoJetstream)));
    };
    let monitored = monitoring::find(&reached.connect, &id, monitor);
    let dir =
        monitored.as_ref().ok().and_then(|m| m.varz.jetstream.config.as_ref()).map(|c| c.store_dir.clone());
    let store = dir.map_or(store::Store::Elsewhere, |dir| store::find(&reached.connect, &dir));
    Ok((checkup(&Seen { observed, account, consumers, monitored, store }), None))
}

/// The preconditions on this machine.
fn here(session: &Session<'_>, project: &Project) -> Result<Vec<Remark>, Problem> {
    let mut remarks = Vec::new();
    let errors = project.findings.iter().filter(|f| f.severity == Severity::Error).count();
    remarks.push(if errors == 0 {
        let (streams, consumers) = (project.desired.streams.len(), project.desired.consumers.len());
        Remark::new(State::Ok, "files", format!("{streams} streams, {consumers} consumers"))
    } else {
        Remark::new(State::Fail, "files", format!("{errors} errors in nats-config/"))
            .fix("cargo xtask validate")
    });
    let mut sources = session.home.sources(None);
    sources.offline = true;
    remarks.push(match acquire(&Wanted::pinned(), &sources) {
        Ok(binary) => Remark::new(
            State::Ok,
            "server",
            format!("nats-server {} ({}): works offline", binary.version, binary.source),
        ),
        Err(_) => Remark::new(State::Info, "server", "no nats-server on this machine yet; `up` fetches one")
            .fix("cargo xtask fetch"),
    });
    remarks.push(match session.running()? {
        Some(running) => {
            Remark::new(State::Ok, "running", format!("pid {} at {}", running.pid, running.url()))
        }
        None => match ports::check(&[(4222, "client"), (8222, "monitoring")]) {
            Ok(()) => Remark::new(State::Ok, "ports", "4222 and 8222 are free on 127.0.0.1"),
            Err(conflict) => {
                Remark::new(State::Warn, "ports", conflict.to_string()).fix("cargo xtask up --port auto")
            }
        },
    });
    remarks.push(match docker::engine_version() {
        Ok(version) => Remark::new(
            State::Info,
            "docker",
            format!("engine {version} answers: `up` runs a container unless told otherwise"),
        ),
        Err(_) => Remark::new(State::Info, "docker", "no engine answers: `up` runs a plain process"),
    });
    let root = session.home.folder.root();
    let readonly = std::fs::metadata(root).is_ok_and(|about| about.permissions().readonly());
    remarks.push(if readonly {
        Remark::new(State::Fail, "folder", format!("{} cannot be written", root.display()))
            .fix(format!("see who owns it: ls -ld {}", root.display()))
    } else {
        let id = session.home.folder.id();
        Remark::new(State::Ok, "folder", format!("{} (project {id})", root.display()))
    });
    Ok(remarks)
}

fn text(session: &Session<'_>, remarks: &[Remark]) -> String {
    let rows: Vec<Vec<String>> = remarks
        .iter()
        .map(|remark| {
            let role = match remark.state {
                State::Ok => Role::Good,
                State::Fail => Role::Bad,
                State::Warn => Role::Careful,
                State::Info => Role::Quiet,
            };
            let fix = remark.fix.as_ref().map(|fix| format!("   fix: {fix}")).unwrap_or_default();
            let state = session.out.paint(role, &format!("{:<4}", remark.state.name()));
            vec![state, remark.name.to_owned(), format!("{}{fix}", remark.text)]
        })
        .collect();
    columns(&rows)
}
