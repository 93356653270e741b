//! `up`, `down`, `restart`: the server's life, its data kept throughout.

use std::time::Duration;

use serde_json::{Value, json};
use streamproof::home::{Progress, Up, UpOptions};
use streamproof::model::failure::Code;
use streamproof::model::plan::Options;
use streamproof::model::project::Project;
use streamproof::provision::{self, Allow};
use streamproof::server::image::{NotOfficial, Official};
use streamproof::server::import::Imported;
use streamproof::server::interrupt::Interrupt;
use streamproof::server::node::{self, Node, Running};
use streamproof::server::{Binary, Engine, ServerError, container, monitor};

use super::look::ASK_BOUND;
use super::session::{Session, interrupt, interrupted, wait};
use crate::flags::{DownFlags, EngineFlag, RestartFlags, UpFlags};
use crate::output::{Done, count, size};
use crate::problem::Problem;

pub(crate) fn up(session: &Session<'_>, flags: &UpFlags) -> Result<Done, Problem> {
    let out = session.out;
    let project = session.load()?;
    let _lock = session.home.lock().map_err(Problem::of)?;
    let interrupt = interrupt()?;
    let options = UpOptions {
        interrupt: interrupt.clone(),
        volume: flags.volume,
        engine: match flags.engine {
            EngineFlag::Auto => None,
            EngineFlag::Process => Some(Engine::Process),
            EngineFlag::Docker => Some(Engine::Docker),
        },
        port: flags.port.clone(),
        server_bin: flags.server_bin.clone(),
        import_store: flags.import_store.clone(),
        afresh: flags.recreate,
        timeout: Duration::from_secs(flags.timeout),
    };
    if flags.recreate {
        session.home.node.stop(Duration::from_secs(20)).map_err(Problem::of)?;
    }
    out.doing("looking for nats-server");
    let up = start(session, &project, &options)?;
    let imported =
        up.imported.as_ref().map_or(Value::Null, |imported| recovered(session, imported, &up.running));
    let mut code = None;
    let mut applied = Value::Null;
    if !flags.no_apply {
        out.doing("bringing streams and consumers in line");
        let connect = session.home.connect_to(&up.running, &project).map_err(Problem::of)?;
        let allow = Allow { skip_refused: true, ..Allow::default() };
        let journals = session.home.folder.state_dir().join("apply");
        let brought = wait(async {
            let js = session.js(&connect).await?;
            provision::bring(&js, &project.desired, &Options::default(), &allow, &journals)
                .await
                .map_err(Problem::of)
        });
        // A Ctrl-C reaches who waits and who notes it each on its own: it may have ended the wait and not be noted yet.
        let ended = matches!(&brought, Err(problem) if problem.code == Code::Interrupted);
        if ended || interrupt.is_set() {
            return Err(undone(session, &up));
        }
        let brought = brought?;
        for done in &brought.finished {
            out.step("finished", done);
        }
        let made = brought.applied.done.len();
        let total = brought.plan.steps.len();
        out.step(
            "apply",
            &if made == 0 { format!("{total} in line") } else { format!("{made} of {total} changed") },
        );
        for left in &brought.applied.skipped {
            out.warn(format!("{} {} was left as it is: {}", left.kind, left.name, left.notes.join("; ")));
        }
        if brought.after.pending > 0 {
            code = Some(Code::Pending);
            out.note("see what is pending: cargo xtask plan");
        }
        applied = json!({ "done": brought.applied.done, "skipped": brought.applied.skipped, "pending": brought.after.pending });
    }
    let running = &up.running;
    let data = json!({
        "url": running.url(),
        "monitor": format!("http://{}", running.monitor_address()),
        "engine": running.engine.name(),
        "network": network(session, running),
        "already": up.already,
        "nodes": [{
            "name": session.home.node.name(),
            "pid": running.pid,
            "version": up.ready.version,
            "store": session.home.node.store_shown(),
        }],
        "imported": imported,
        "apply": applied,
    });
    if flags.foreground {
        if !out.json {
            out.line(&running.url());
        }
        follow_until_interrupted(session, running, &interrupt)?;
        return Err(interrupted());
    }
    out.note("next: cargo xtask status · eval \"$(cargo xtask env)\"");
    let done = Done::new(running.url(), data);
    Ok(match code {
        Some(code) => done.ending(code),
        None => done,
    })
}

fn start(session: &Session<'_>, project: &Project, options: &UpOptions) -> Result<Up, Problem> {
    let out = session.out;
    let node = session.home.node.clone();
    let up = session
        .home
        .up(project, options, |progress| match progress {
            Progress::Engine(_, about) => out.step("engine", &about),
            Progress::Server(binary, official) => {
                for refusal in binary.refused.iter().filter(|_| out.verbose > 0) {
                    out.note(&format!("  not from {refusal}"));
                }
                if let Some(Err(not)) = official.as_ref().filter(|_| out.verbose == 0)
                    && !not.remembered
                {
                    out.note(&format!("  not the official image {}: {}", not.reference, not.reason));
                }
                out.step("server", &what_serves(&binary, official.as_ref()));
                out.doing("starting");
            }
            Progress::Imported(imported) => out.step("import", &what_was_imported(&imported)),
            Progress::Started(running) => {
                out.step("start", &format!("{}, store {}", what_runs(&node, &running), node.store_shown()));
                out.doing("waiting until it is ready");
            }
        })
        .map_err(Problem::of)?;
    let running = &up.running;
    if up.already {
        out.step("running", &format!("{} {}, already up", what_runs(&node, running), up.ready.version));
        if node.has_old_config(&session.home.folder.config_dir().join("jetstream.conf")) {
            out.warn("jetstream.conf has changed since the server was started: cargo xtask up --recreate");
        }
    } else {
        let reached: Vec<String> =
            up.ready.reached.iter().map(|(rung, took)| format!("{rung} {} ms", took.as_millis())).collect();
        out.step(
            "ready",
            &format!(
                "127.0.0.1:{} client, {} monitor: {}",
                running.port,
                running.monitor_port,
                reached.join(" → ")
            ),
        );
    }
    Ok(up)
}

/// The nats-server, and what it comes in.
fn what_serves(binary: &Binary, official: Option<&Result<Official, NotOfficial>>) -> String {
    match official {
        Some(Ok(image)) => {
            let digest = image.digest.as_deref().map(|digest| format!(", {digest}")).unwrap_or_default();
            let pinned = if image.pinned { " as pinned" } else { "" };
            format!("nats-server {}, the official image {}{digest}{pinned}", binary.version, image.reference)
        }
        Some(Err(_)) => {
            format!("nats-server {} ({}), in an image built around it", binary.version, binary.source)
        }
        None => format!("nats-server {} ({})", binary.version, binary.source),
    }
}

fn what_was_imported(imported: &Imported) -> String {
    if imported.already {
        return format!("{} was imported before; nothing was copied", imported.from.display());
    }
    let contents = &imported.contents;
    let written =
        contents.written_by().map(|by| format!(", written by nats-server {by}")).unwrap_or_default();
    format!(
        "{}: {}, {}, {} in {}{written}",
        imported.from.display(),
        count(contents.streams.len() as u64, "stream"),
        count(contents.consumers() as u64, "consumer"),
        size(contents.bytes),
        count(contents.files, "file")
    )
}

/// What the server made of an imported store, held against what lay in it.
fn recovered(session: &Session<'_>, imported: &Imported, running: &Running) -> Value {
    let contents = &imported.contents;
    let page = monitor::get(&running.monitor_address(), "/jsz?accounts=true&streams=true", ASK_BOUND);
    let page: Value = page.ok().and_then(|page| serde_json::from_str(&page.body).ok()).unwrap_or_default();
    let seen: Vec<&str> = page["account_details"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|account| account["stream_detail"].as_array().into_iter().flatten())
        .filter_map(|stream| stream["name"].as_str())
        .collect();
    let messages = page["messages"].as_u64();
    let held = messages.map(|n| format!(", {}", count(n, "message"))).unwrap_or_default();
    session.out.step("recovered", &format!("{}{held}", count(seen.len() as u64, "stream")));
    for stream in contents.streams.iter().filter(|stream| !seen.contains(&stream.name.as_str())) {
        session.out.warn(format!(
            "the server did not recover the stream {} of account {}; see: cargo xtask logs",
            stream.name, stream.account
        ));
    }
    json!({
        "from": imported.from,
        "streams": contents.streams,
        "messages": messages,
        "recovered": seen,
        "written_by": contents.written_by(),
    })
}

/// A node that runs, in a few words.
pub(crate) fn what_runs(node: &Node, running: &Running) -> String {
    match running.engine {
        Engine::Process => format!("{} pid {}", node.name(), running.pid),
        Engine::Docker => format!("{} container {}", node.name(), container::name(node)),
    }
}

/// The network over which other containers reach a container of ours.
pub(crate) fn network(session: &Session<'_>, running: &Running) -> Value {
    match running.engine {
        Engine::Process => Value::Null,
        Engine::Docker => json!({
            "name": container::network(session.home.folder.id()),
            "url": container::url_inside(&session.home.node),
        }),
    }
}

/// A server that this call started does not outlive a Ctrl-C; one that ran already does.
fn undone(session: &Session<'_>, up: &Up) -> Problem {
    if up.already {
        return interrupted();
    }
    match session.home.node.stop(Duration::from_secs(20)) {
        Ok(_) => Problem::of(ServerError::Interrupted),
        Err(error) => Problem::of(error),
    }
}

/// The recipe's own way: the log in the terminal, and Ctrl-C stops the server.
fn follow_until_interrupted(
    session: &Session<'_>,
    running: &Running,
    interrupt: &Interrupt,
) -> Result<(), Problem> {
    let node = &session.home.node;
    // A container's log ends with it; a process's file has no end.
    let lives = || running.engine == Engine::Docker || matches!(node.running(), Ok(Some(_)));
    node::follow(node, 20, |line| session.out.note(line), || !interrupt.is_set() && lives())
        .map_err(Problem::of)?;
    if !interrupt.is_set() {
        return Err(Problem::new(Code::ServerDied, "the server ended by itself; its data is kept")
            .help("see its last words: cargo xtask logs"));
    }
    node.stop(Duration::from_secs(20)).map_err(Problem::of)?;
    session.out.step("stopped", "its data is kept");
    Ok(())
}

pub(crate) fn down(session: &Session<'_>, flags: &DownFlags) -> Result<Done, Problem> {
    let _lock = session.home.lock().map_err(Problem::of)?;
    session.out.doing("stopping");
    let stopped = session.home.node.stop(Duration::from_secs(flags.timeout)).map_err(Problem::of)?;
    let text = match stopped {
        None => "nothing of ours runs",
        Some(false) => "stopped; its data is kept",
        Some(true) => "killed: it did not stop in time; its data is kept",
    };
    if stopped == Some(true) {
        session.out.warn("the server had to be killed");
    }
    Ok(Done::new(text, json!({ "stopped": stopped.is_some(), "killed": stopped == Some(true) })))
}

pub(crate) fn restart(session: &Session<'_>, flags: &RestartFlags) -> Result<Done, Problem> {
    let project = session.load()?;
    let _lock = session.home.lock().map_err(Problem::of)?;
    let before = session.must_run()?;
    session.out.doing("stopping");
    if flags.kill {
        session.home.node.kill().map_err(Problem::of)?;
        session.out.step(
            "killed",
            &format!("pid {} (SIGKILL; the page cache is kept, so this is no power cut)", before.pid),
        );
    } else {
        session.home.node.stop(Duration::from_secs(20)).map_err(Problem::of)?;
        session.out.step("stopped", &format!("pid {}", before.pid));
    }
    let options = UpOptions {
        engine: Some(before.engine),
        timeout: Duration::from_secs(60),
        interrupt: interrupt()?,
        ..UpOptions::default()
    };
    let up = start(session, &project, &options)?;
    Ok(Done::new(up.running.url(), restarted(&before, &up.running, flags.kill)))
}

fn restarted(before: &Running, after: &Running, killed: bool) -> Value {
    json!({ "url": after.url(), "killed": killed, "pid_before": before.pid, "pid": after.pid })
}
