//! `plan`, `apply`, `export`: the files against a server, and back.

use std::path::Path;

use serde_json::{Value, json};
use streamproof::model::exported::record;
use streamproof::model::failure::Code;
use streamproof::model::plan::Observed;
use streamproof::model::plan::{Options, Plan, Role as PlanRole, render};
use streamproof::model::settings::Exported;
use streamproof::monitoring;
use streamproof::provision::{self, Allow, Js, inspect};

use super::session::{Reached, Session, wait};
use crate::flags::{ApplyFlags, ExportFlags, PlanFlags, ServerFlags};
use crate::output::{Done, Out, Role};
use crate::problem::Problem;

pub(crate) fn plan(session: &Session<'_>, flags: &PlanFlags) -> Result<Done, Problem> {
    let project = session.load()?;
    let reached = session.reach(&flags.server, &project)?;
    let options = Options { prune: flags.prune, adopt: flags.adopt, ..Options::default() };
    let plan = wait(async {
        let js = session.js(&reached.connect).await?;
        let (mut plan, _) =
            provision::plan_for(&js, &project.desired, &options).await.map_err(Problem::of)?;
        named(&mut plan, &reached);
        Ok(plan)
    })?;
    if let Some(file) = &flags.out {
        write_whole(file, &format!("{}\n", plan.to_json()))?;
        session.out.note(&format!(
            "saved {}; carry it out with: cargo xtask apply {}",
            file.display(),
            file.display()
        ));
    }
    let done = Done::new(text(session.out, &plan), plan.to_json());
    Ok(if flags.check && plan.pending > 0 { done.ending(Code::Pending) } else { done })
}

pub(crate) fn apply(session: &Session<'_>, flags: &ApplyFlags) -> Result<Done, Problem> {
    let project = session.load()?;
    let _lock = session.home.lock().map_err(Problem::of)?;
    let reached = session.reach(&flags.server, &project)?;
    let allow = Allow {
        data_loss: flags.allow_data_loss,
        one_way: flags.allow_one_way,
        replace: flags.replace.iter().cloned().collect(),
        prune: flags.prune,
        skip_refused: false,
    };
    let options = Options { prune: flags.prune, adopt: flags.adopt, ..Options::default() };
    let journals = session.home.folder.state_dir().join("apply");
    wait(async {
        let js = session.js(&reached.connect).await?;
        if !reached.connect.is_loopback() {
            named_by_flag(session, &reached, &flags.server, &js).await?;
        }
        let (plan, applied, after) = if let Some(file) = &flags.plan {
            let text = std::fs::read_to_string(file).map_err(|e| {
                Problem::new(Code::InvalidPlan, format!("cannot read {}: {e}", file.display()))
            })?;
            let plan = Plan::from_json(&text).map_err(Problem::of)?;
            for finished in provision::resume(&js, &journals).await.map_err(Problem::of)? {
                session.out.step("finished", &finished);
            }
            refuse(session, &plan, &allow)?;
            let applied = provision::apply(&js, &plan, &allow, &journals).await.map_err(Problem::of)?;
            let (after, _) =
                provision::plan_for(&js, &project.desired, &options).await.map_err(Problem::of)?;
            (plan, applied, after)
        } else {
            for finished in provision::resume(&js, &journals).await.map_err(Problem::of)? {
                session.out.step("finished", &finished);
            }
            let (plan, _) =
                provision::plan_for(&js, &project.desired, &options).await.map_err(Problem::of)?;
            refuse(session, &plan, &allow)?;
            if plan.pending == 0 {
                (plan.clone(), provision::Applied::default(), plan)
            } else {
                let applied = provision::apply(&js, &plan, &allow, &journals).await.map_err(Problem::of)?;
                let (after, _) =
                    provision::plan_for(&js, &project.desired, &options).await.map_err(Problem::of)?;
                (plan, applied, after)
            }
        };
        let mut shown = text(session.out, &plan);
        for done in &applied.done {
            for note in &done.notes {
                shown.push_str(&format!("  {}: {note}\n", done.name));
            }
        }
        shown.push_str(&format!("applied: {} done\n", applied.done.len()));
        if after.pending > 0 {
            session.out.warn("the server changed what it was sent: this is still pending");
            shown.push_str(&text(session.out, &after));
        }
        let data =
            json!({ "plan": plan.to_json(), "applied": applied, "after": { "pending": after.pending } });
        let done = Done::new(shown, data);
        Ok(if after.pending > 0 { done.ending(Code::Pending) } else { done })
    })
}

/// Consent is looked at for the whole plan before anything is sent; the plan is shown with the refusal.
fn refuse(session: &Session<'_>, plan: &Plan, allow: &Allow) -> Result<(), Problem> {
    let refused = provision::refused(plan, allow);
    let mut problems = refused.into_iter().map(|(_, error)| Problem::of(error));
    let Some(mut first) = problems.next() else { return Ok(()) };
    first.also = problems.collect();
    session.out.note(text(session.out, plan).trim_end());
    Err(first.data(plan.to_json()))
}

/// A server that is not on this machine is named on the command line; which one it is, and as whom we are there, is said before it is
/// changed.
async fn named_by_flag(
    session: &Session<'_>,
    reached: &Reached,
    flags: &ServerFlags,
    js: &Js,
) -> Result<(), Problem> {
    let url = reached.connect.shown();
    if !flags.named_by_flag() {
        return Err(Problem::new(Code::NotOurs, format!("{url} is not on this machine"))
            .help("name it on the command line: --server URL or --context NAME"));
    }
    let info = js.client().server_info();
    let who = inspect::who(js).await;
    let named = |name: &Option<String>| name.clone().unwrap_or_else(|| "not said".to_owned());
    session.out.warn(format!(
        "{url} is not on this machine: server {} (nats-server {}), account {}, user {}",
        info.server_name,
        info.version,
        named(&who.account),
        named(&who.user)
    ));
    Ok(())
}

pub(crate) fn export(session: &Session<'_>, flags: &ExportFlags) -> Result<Done, Problem> {
    let project = session.read(None)?;
    let reached = session.reach(&flags.server, &project)?;
    let observed: Observed = wait(async {
        let js = session.js(&reached.connect).await?;
        provision::observe(&js).await.map_err(Problem::of)
    })?;
    let mut export = provision::export(&observed, flags.full);
    let to = flags.to.clone().unwrap_or_else(|| session.shown());
    let mut same = Vec::new();
    let mut fresh = Vec::new();
    let mut differ = Vec::new();
    for (name, value) in &export.files {
        let path = to.join(name);
        let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
        match std::fs::read_to_string(&path) {
            Ok(there) if serde_json::from_str::<Value>(&there).ok().as_ref() == Some(value) => {
                same.push(path)
            }
            Ok(_) => differ.push((path, text)),
            Err(_) => fresh.push((path, text)),
        }
    }
    if !differ.is_empty() && !flags.force {
        let names: Vec<String> = differ.iter().map(|(path, _)| path.display().to_string()).collect();
        return Err(Problem::new(
            Code::AlreadyExists,
            format!("these files say something else: {}", names.join(", ")),
        )
        .help("nothing was written; --force overwrites them, --to DIR writes elsewhere"));
    }
    let exported =
        if reached.ours { None } else { Some(seen(&reached, flags, &observed, &mut export.notes)) };
    if let Some(exported) = &exported {
        let path = to.join("streamproof.toml");
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        match record(&there, exported) {
            Some(text) if text == there => same.push(path),
            Some(text) => fresh.push((path, text)),
            None => export.notes.push(format!(
                "{} has an `exported` of its own form: the server was not recorded in it",
                path.display()
            )),
        }
        if let (Some(asked), Some(found)) = (&project.settings.version, &exported.version)
            && asked != found
        {
            export.notes.push(format!(
                "streamproof.toml asks for version {asked}: restart-check judges that one, not this server's {found}"
            ));
        }
    }
    let mut shown = String::new();
    for (path, text) in fresh.iter().chain(&differ) {
        write_whole(path, text)?;
        shown.push_str(&format!("wrote {}\n", path.display()));
    }
    for note in &export.notes {
        session.out.note(note);
    }
    shown.push_str(&format!("{} written, {} the same already\n", fresh.len() + differ.len(), same.len()));
    let written: Vec<_> = fresh.iter().chain(&differ).map(|(path, _)| path).collect();
    let server = exported.map(|exported| {
        json!({
            "name": exported.server,
            "version": observed.server.version,
            "sync_interval": exported.sync_interval.map(|sync| sync.to_string()),
        })
    });
    Ok(Done::new(
        shown,
        json!({ "folder": to, "written": written, "same": same, "server": server, "notes": export.notes }),
    ))
}

/// What is to be recorded of a server that is not ours; what of it could not be seen is said.
fn seen(reached: &Reached, flags: &ExportFlags, observed: &Observed, notes: &mut Vec<String>) -> Exported {
    let server = &observed.server;
    let version = server.version.parse().ok();
    if version.is_none() {
        notes.push(format!("its version, {:?}, is none that is known: it was not recorded", server.version));
    }
    let monitored = monitoring::find(&reached.connect, &server.id, flags.monitor.as_deref());
    let sync_interval = match &monitored {
        Ok(monitored) => monitored.varz.jetstream.sync(),
        Err(tried) => {
            notes.push(format!(
                "not seen: its sync settings, for its monitoring port was not found ({tried}); --monitor HOST:PORT names it"
            ));
            None
        }
    };
    if monitored.is_ok() && sync_interval.is_none() {
        notes.push("not seen: its sync settings, for its monitoring port does not say them".to_owned());
    }
    notes.push("not seen: the rest of the server's own configuration (accounts, limits, cluster)".to_owned());
    Exported { server: Some(server.name.clone()), version, sync_interval }
}

fn named(plan: &mut Plan, reached: &Reached) {
    plan.server.url = reached.connect.shown();
    plan.digest = Plan::digest_of(plan);
}

/// A plan for people.
pub(crate) fn text(out: &Out, plan: &Plan) -> String {
    let mut text = String::new();
    for line in render(plan) {
        let mut shown = String::new();
        for span in &line.spans {
            let role = match span.role {
                PlanRole::Create => Role::Good,
                PlanRole::Update => Role::Careful,
                PlanRole::Replace | PlanRole::Delete | PlanRole::Danger => Role::Bad,
                PlanRole::Quiet | PlanRole::From => Role::Quiet,
                PlanRole::Summary | PlanRole::To => Role::Strong,
                PlanRole::Detail => {
                    shown.push_str(&span.text);
                    continue;
                }
            };
            shown.push_str(&out.paint(role, &span.text));
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

/// Whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<(), Problem> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let partial = folder.join(format!(".partial-{}", std::process::id()));
    let wrote = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&partial, text))
        .and_then(|()| std::fs::rename(&partial, path));
    wrote.map_err(|e| {
        _ = std::fs::remove_file(&partial);
        let code = match e.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Code::Permission,
            std::io::ErrorKind::StorageFull => Code::DiskFull,
            _ => Code::Io,
        };
        Problem::new(code, format!("cannot write {}: {e}", path.display()))
    })
}
