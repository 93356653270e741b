//! `clean`: remove all that is ours, list it first, check that it is gone.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use serde_json::json;
use streamproof::model::failure::Code;
use streamproof::server::{acquire, container, image};

use super::lifecycle::what_runs;
use super::look::{count_messages, folder_bytes};
use super::session::Session;
use crate::flags::CleanFlags;
use crate::output::{Done, count, size};
use crate::problem::Problem;

pub(crate) fn run(session: &Session<'_>, flags: &CleanFlags) -> Result<Done, Problem> {
    let home = &session.home;
    let dir = home.folder.state_dir();
    let things = in_docker(session);
    if !dir.exists() && things.is_empty() {
        return Ok(Done::new("nothing to clean", json!({ "removed": [], "bytes": 0 })));
    }
    let lock = home.lock().map_err(Problem::of)?;
    let running = session.running()?;
    let bytes = folder_bytes(&dir);
    let messages = running.as_ref().and_then(|running| count_messages(&running.monitor_address()));
    let mut list = Vec::new();
    if let Some(running) = &running {
        list.push(format!("the server {} (running)", what_runs(&home.node, running)));
    }
    list.extend(things.iter().map(|(kind, name)| format!("{kind} {name}")));
    let held = messages.map(|n| format!(", {}", count(n, "message"))).unwrap_or_default();
    list.push(format!("{} ({}{held})", dir.display(), size(bytes)));
    session.out.note(&format!(
        "{} of project {} ({}):",
        if flags.dry_run { "would remove, all" } else { "will remove, all" },
        home.folder.id(),
        home.folder.root().display()
    ));
    for line in &list {
        session.out.note(&format!("  {line}"));
    }
    session.out.note("will keep: nats-config/");
    let data = json!({ "removed": if flags.dry_run { json!([]) } else { json!(list) }, "bytes": bytes, "messages": messages });
    if flags.dry_run {
        return Ok(Done::new("nothing was removed", data));
    }
    if !flags.yes {
        confirm(session)?;
    }
    home.node.stop(Duration::from_secs(20)).map_err(Problem::of)?;
    // Containers before the network that they are in; then the images that nothing uses any more.
    for (kind, name) in &things {
        container::remove(kind, name).map_err(Problem::of)?;
    }
    if !things.is_empty() {
        for image in image::unused() {
            // Another project may have begun to use it this moment: then it stays.
            if container::remove("image", &image).is_ok() {
                session.out.note(&format!("  removed image {image}: nothing uses it"));
            }
        }
    }
    // The lock's file goes with the folder; the lock itself ends after it, so that nobody starts in between.
    std::fs::remove_dir_all(&dir).map_err(|e| {
        let code = if e.kind() == std::io::ErrorKind::PermissionDenied { Code::Permission } else { Code::Io };
        Problem::new(code, format!("cannot remove {}: {e}", dir.display()))
    })?;
    drop(lock);
    let left = in_docker(session);
    if let Some((kind, name)) = left.first() {
        return Err(Problem::new(Code::DockerFailed, format!("{kind} {name} is still there")));
    }
    if dir.exists() {
        return Err(Problem::new(Code::Io, format!("{} is still there", dir.display())));
    }
    Ok(Done::new("removed; checked: nothing of it is left", data))
}

/// All of the project's that Docker has, with what a killed `fetch` has left.
fn in_docker(session: &Session<'_>) -> Vec<(&'static str, String)> {
    let folder = &session.home.folder;
    let left = acquire::left_in_docker(&folder.state_dir().join("bin"));
    let mut things: Vec<_> = left.into_iter().map(|name| ("container", name)).collect();
    things.extend(container::things(folder.id()));
    things
}

fn confirm(session: &Session<'_>) -> Result<(), Problem> {
    let needed = || {
        Problem::new(Code::ConfirmationNeeded, "nothing was removed: nobody confirmed it")
            .help("cargo xtask clean --yes")
    };
    if !std::io::stdin().is_terminal() {
        return Err(needed());
    }
    session.out.note("type the project id to delete, or use --yes:");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|_| needed())?;
    if answer.trim() == session.home.folder.id() { Ok(()) } else { Err(needed()) }
}
