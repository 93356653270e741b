//! `status`, `logs`, `env`, `files`, `info`, `nats`: what is there, without touching it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use streamproof::model::failure::Code;
use streamproof::model::info::{consumer_info, stream_info};
use streamproof::model::plan::{Action, Options};
use streamproof::provision::{self, inspect};
use streamproof::server::{Engine, container, monitor, node};

use super::lifecycle::{network, what_runs};
use super::session::{Session, wait};
use crate::flags::{EnvFlags, InfoFlags, LogsFlags, NatsFlags, ShellSyntax, StatusFlags};
use crate::output::{Done, Role, columns, size};
use crate::problem::Problem;

/// How long a monitoring page may take.
pub(crate) const ASK_BOUND: Duration = Duration::from_secs(2);

pub(crate) fn status(session: &Session<'_>, flags: &StatusFlags) -> Result<Done, Problem> {
    let out = session.out;
    let node = &session.home.node;
    let Some(running) = session.running()? else {
        let data = json!({ "running": false, "url": null, "nodes": [], "network": null, "streams": [], "pending": null, "durability": null });
        let kept = if node.keeps_volume() || node.has_folder_store() { "; its data is kept" } else { "" };
        return Ok(Done::new(format!("{}  stopped{kept}", node.name()), data).ending(Code::NotRunning));
    };
    let project = session.load()?;
    let varz = monitor::varz(&running.monitor_address(), ASK_BOUND).map_err(|e| {
        Problem::new(Code::NotReady, format!("the server runs but its monitoring port does not answer: {e}"))
    })?;
    let connect = session.home.connect_to(&running, &project).map_err(Problem::of)?;
    let (plan, observed) = wait(async {
        let js = session.js(&connect).await?;
        provision::plan_for(&js, &project.desired, &Options::default()).await.map_err(Problem::of)
    })?;
    let store = node.store_shown();
    let held = if node.keeps_volume() {
        store.clone()
    } else {
        format!("{} ({store})", size(folder_bytes(&node.store_dir())))
    };
    let mut rows =
        vec![["STREAM", "MSGS", "BYTES", "FIRST..LAST", "CONSUMERS", "CONFIG"].map(str::to_owned).to_vec()];
    let mut streams = Vec::new();
    for seen in &observed.streams {
        let ours: Vec<_> = plan.steps.iter().filter(|step| step.stream == seen.name).collect();
        let state = if ours.iter().any(|step| step.action != Action::None) {
            "differs"
        } else if ours.is_empty() {
            "unmanaged"
        } else {
            "in line"
        };
        streams.push(json!({
            "name": seen.name, "messages": seen.messages, "bytes": seen.bytes, "first_seq": seen.first_seq,
            "last_seq": seen.last_seq, "consumers": seen.consumer_count, "config": state,
        }));
        rows.push(vec![
            seen.name.clone(),
            seen.messages.to_string(),
            size(seen.bytes),
            format!("{}..{}", seen.first_seq, seen.last_seq),
            seen.consumer_count.to_string(),
            state.to_owned(),
        ]);
    }
    let always = varz.jetstream.config.as_ref().is_some_and(|c| c.sync_always);
    let durability = if always {
        "sync always: what was acknowledged was synced first".to_owned()
    } else {
        "sync is periodic: a power cut can lose what was acknowledged since the last sync (2 minutes by default)".to_owned()
    };
    let mut text = format!(
        "{}   {}   nats-server {}   {}   up {}   data {held}\n",
        what_runs(node, &running),
        out.paint(Role::Good, "running"),
        varz.version,
        running.url(),
        varz.uptime,
    );
    if rows.len() > 1 {
        text.push_str(&columns(&rows));
    } else {
        text.push_str("no streams\n");
    }
    text.push_str(&format!("durability: {durability}\n"));
    let network = network(session, &running);
    if let (Some(name), Some(url)) = (network["name"].as_str(), network["url"].as_str()) {
        text.push_str(&format!("other containers: docker run --network {name} …, server {url}\n"));
    }
    if plan.pending > 0 {
        text.push_str(&format!("{} pending: cargo xtask plan\n", plan.pending));
    }
    let data = json!({
        "running": true,
        "url": running.url(),
        "nodes": [{ "name": node.name(), "engine": running.engine.name(), "pid": running.pid, "version": varz.version, "uptime": varz.uptime, "store": store }],
        "network": network,
        "streams": streams,
        "pending": plan.pending,
        "durability": { "sync_always": always, "text": durability },
    });
    let done = Done::new(text, data);
    Ok(if flags.check && plan.pending > 0 { done.ending(Code::Pending) } else { done })
}

pub(crate) fn logs(session: &Session<'_>, flags: &LogsFlags) -> Result<Done, Problem> {
    let node = &session.home.node;
    if node.engine() != Some(Engine::Docker) && !node.log_path().exists() {
        return Err(Problem::new(Code::NotRunning, "there is no log: the server has never run")
            .help("cargo xtask up"));
    }
    if flags.follow && !session.out.json {
        node::follow(node, flags.lines, |line| session.out.line(line), || true).map_err(Problem::of)?;
        return Ok(Done::new("", Value::Null));
    }
    let text = node.log_tail(flags.lines);
    let lines: Vec<&str> = text.lines().collect();
    let data = json!({ "file": node.log_path(), "lines": lines });
    Ok(Done::new(text.clone(), data))
}

pub(crate) fn env(session: &Session<'_>, flags: &EnvFlags) -> Result<Done, Problem> {
    let running = session.must_run()?;
    let url = running.url();
    let network = network(session, &running);
    if let (Some(name), Some(url)) = (network["name"].as_str(), network["url"].as_str()) {
        session.out.note(&format!("other containers: docker run --network {name} --env NATS_URL={url} …"));
    }
    let text = match flags.shell {
        ShellSyntax::Sh => format!("export NATS_URL={url}"),
        ShellSyntax::Fish => format!("set -gx NATS_URL {url}"),
        ShellSyntax::Pwsh => format!("$env:NATS_URL = \"{url}\""),
        ShellSyntax::Dotenv => format!("NATS_URL={url}"),
    };
    Ok(Done::new(text, json!({ "NATS_URL": url, "network": network })))
}

pub(crate) fn files(session: &Session<'_>) -> Result<Done, Problem> {
    let node = &session.home.node;
    let none = || Problem::new(Code::NotRunning, "there is no store yet").help("cargo xtask up");
    let mut text = format!("{}\n", node.store_shown());
    let mut entries = Vec::new();
    if node.keeps_volume() {
        // A volume's files are Docker's: a copy of them is looked at.
        let copy = session.home.folder.state_dir().join("files");
        let io = |e| Problem::new(Code::Io, format!("cannot make {}: {e}", copy.display()));
        _ = std::fs::remove_dir_all(&copy);
        std::fs::create_dir_all(&copy).map_err(io)?;
        let copied = container::copy_store(node, &copy);
        if copied.is_ok() {
            tree(&copy, &copy, "", &mut text, &mut entries);
        }
        _ = std::fs::remove_dir_all(&copy);
        copied.map_err(Problem::of)?;
    } else {
        let store = node.store_dir();
        if !store.exists() {
            return Err(none());
        }
        tree(&store, &store, "", &mut text, &mut entries);
    }
    Ok(Done::new(text, json!({ "store": node.store_shown(), "entries": entries })))
}

fn tree(root: &Path, dir: &Path, indent: &str, text: &mut String, entries: &mut Vec<Value>) {
    let mut children: Vec<_> = std::fs::read_dir(dir).into_iter().flatten().flatten().collect();
    children.sort_by_key(std::fs::DirEntry::file_name);
    for (i, child) in children.iter().enumerate() {
        let last = i + 1 == children.len();
        let path = child.path();
        let name = child.file_name().to_string_lossy().into_owned();
        let bytes = child.metadata().map_or(0, |m| if m.is_dir() { 0 } else { m.len() });
        let is_dir = path.is_dir();
        let what = meaning(root, &path, is_dir);
        let amount = if is_dir { String::new() } else { format!("  {}", size(bytes)) };
        let note = if what.is_empty() { String::new() } else { format!("  ({what})") };
        text.push_str(&format!("{indent}{}{name}{amount}{note}\n", if last { "└── " } else { "├── " }));
        let below = path.strip_prefix(root).unwrap_or(&path);
        entries.push(json!({ "path": below, "directory": is_dir, "bytes": bytes, "what": what }));
        if is_dir {
            tree(root, &path, &format!("{indent}{}", if last { "    " } else { "│   " }), text, entries);
        }
    }
}

/// What a part of the store is (nats-server `filestore.go`).
fn meaning(root: &Path, path: &Path, is_dir: bool) -> &'static str {
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<&str> = below.iter().filter_map(|p| p.to_str()).collect();
    let consumer = parts.contains(&"obs");
    match (parts.as_slice(), is_dir) {
        (["jetstream"], true) => "JetStream's store",
        (["jetstream", account], true) => {
            if *account == "$G" {
                "the global account"
            } else {
                "an account"
            }
        }
        ([.., "streams"], true) => "its streams",
        ([.., "streams", _], true) => "a stream",
        ([.., "msgs"], true) => "its messages",
        ([.., "obs"], true) => "its consumers",
        ([.., "obs", _], true) => "a consumer",
        ([.., "meta.inf"], false) => {
            if consumer {
                "the consumer's configuration"
            } else {
                "the stream's configuration"
            }
        }
        ([.., "meta.sum"], false) => "its checksum",
        ([.., "o.dat"], false) => "what was delivered and acked",
        ([.., "index.db"], false) => "the recovery index, rebuilt if lost",
        ([.., name], false) if name.ends_with(".blk") => "a block of messages",
        ([.., name], false) if name.ends_with(".idx") => "a block's index, of servers before 2.10",
        _ => "",
    }
}

/// The bytes of all files below a folder.
pub(crate) fn folder_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => folder_bytes(&entry.path()),
            Ok(about) => about.len(),
            Err(_) => 0,
        })
        .sum()
}

/// How many messages a server holds, if it says so.
pub(crate) fn count_messages(monitor_address: &str) -> Option<u64> {
    let page = monitor::get(monitor_address, "/jsz", ASK_BOUND).ok()?;
    serde_json::from_str::<Value>(&page.body).ok()?.get("messages")?.as_u64()
}

pub(crate) fn info(session: &Session<'_>, flags: &InfoFlags) -> Result<Done, Problem> {
    let project = session.load()?;
    let reached = session.reach(&flags.server, &project)?;
    let of_stream = |about: Value| if flags.normalized { stream_info(&about) } else { about };
    let of_consumer = |about: Value| if flags.normalized { consumer_info(&about) } else { about };
    wait(async {
        let js = session.js(&reached.connect).await?;
        match (&flags.stream, &flags.consumer) {
            (None, _) => {
                let mut streams = inspect::streams(&js).await.map_err(Problem::of)?;
                streams = streams.into_iter().map(of_stream).collect();
                streams.sort_by_key(|about| about["config"]["name"].to_string());
                let text = match (streams.is_empty(), flags.normalized) {
                    (true, _) => "no streams".to_owned(),
                    (false, true) => pretty(&Value::Array(streams.clone())),
                    (false, false) => overview(&streams),
                };
                Ok(Done::new(text, json!({ "streams": streams })))
            }
            (Some(stream), None) => {
                let about = of_stream(inspect::stream(&js, stream).await.map_err(Problem::of)?);
                let consumers = inspect::consumers(&js, stream).await.map_err(Problem::of)?;
                let mut consumers: Vec<Value> = consumers.into_iter().map(of_consumer).collect();
                consumers.sort_by_key(|about| about["name"].to_string());
                Ok(Done::new(pretty(&about), json!({ "stream": about, "consumers": consumers })))
            }
            (Some(stream), Some(consumer)) => {
                let about = of_consumer(inspect::consumer(&js, stream, consumer).await.map_err(Problem::of)?);
                Ok(Done::new(pretty(&about), json!({ "consumer": about })))
            }
        }
    })
}

/// A line a stream.
fn overview(streams: &[Value]) -> String {
    let mut rows = vec![["STREAM", "SUBJECTS", "MSGS", "BYTES", "CONSUMERS"].map(str::to_owned).to_vec()];
    for stream in streams {
        let state = |key: &str| stream["state"][key].as_u64().unwrap_or_default();
        let subjects: Vec<&str> =
            stream["config"]["subjects"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        rows.push(vec![
            stream["config"]["name"].as_str().unwrap_or_default().to_owned(),
            subjects.join(" "),
            state("messages").to_string(),
            size(state("bytes")),
            state("consumer_count").to_string(),
        ]);
    }
    columns(&rows)
}

/// An info for people: the configuration and the state, key by key, without what only machines read.
fn pretty(about: &Value) -> String {
    let mut about = about.clone();
    if let Some(object) = about.as_object_mut() {
        object.remove("type");
        object.remove("ts");
    }
    serde_json::to_string_pretty(&about).unwrap_or_default()
}

pub(crate) fn nats(session: &Session<'_>, flags: &NatsFlags) -> Result<Done, Problem> {
    let running = session.must_run()?;
    // `unchecked`: how it ended is looked at here, so that "not installed" and "failed" are told apart.
    let ended = duct::cmd("nats", &flags.args).env("NATS_URL", running.url()).unchecked().run();
    match ended {
        Ok(end) if end.status.success() => Ok(Done::new("", Value::Null)),
        Ok(end) => Err(Problem::new(Code::ToolFailed, format!("nats ended with {}", end.status))),
        Err(_) => Err(Problem::new(Code::ToolMissing, "the nats CLI is not installed").help(
            "go install github.com/nats-io/natscli/nats@latest\nor use: cargo xtask info, publish, consume",
        )),
    }
}
