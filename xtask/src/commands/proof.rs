//! `restart-check` and `report`: the proof, and a stored one judged again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use streamproof::checker::Overall;
use streamproof::model::duration;
use streamproof::model::failure::Code;
use streamproof::model::op::{FaultKind, Level};
use streamproof::proof::{self, Request};
use streamproof::trial::Profile;
use streamproof::trial::report::terminal::{self, Screen};
use streamproof::trial::reproduce::Reproduced;
use streamproof::trial::trial::Outcome;

use super::pictures;
use super::session::Session;
use crate::flags::{ReportFlags, RestartCheckFlags};
use crate::output::Done;
use crate::problem::Problem;

pub(crate) fn restart_check(session: &Session<'_>, flags: &RestartCheckFlags) -> Result<Done, Problem> {
    if flags.live {
        return pictures::live(session, flags);
    }
    if let Some(store) = &flags.store {
        return pictures::store(session, flags, store);
    }
    let project = session.load()?;
    let request = Request {
        seed: flags.seed,
        quick: flags.quick,
        run_for: flags.run_for.as_deref().map(time).transpose()?,
        faults: flags.fault.iter().filter_map(|name| FaultKind::named(name)).collect(),
        full: flags.full,
        survive: (!flags.survive.is_empty())
            .then(|| flags.survive.iter().filter_map(|name| Level::named(name)).collect()),
        strict: flags.strict,
        server_bin: flags.server_bin.clone(),
        upgrade_to: flags.upgrade_to.clone(),
        downgrade_to: flags.downgrade_to.clone(),
        out: flags.out.clone(),
        profiles: Profile::ALL
            .into_iter()
            .filter(|profile| flags.profile.iter().any(|name| name == profile.name()))
            .collect(),
    };
    let budget = if flags.shrink == "0s" { Duration::ZERO } else { time(&flags.shrink)? };
    let cancel = cancelled_by_ctrl_c()?;
    session.out.doing("the controls: damage done on purpose must be found");
    let outcome = session
        .home
        .restart_check(&project, &request, &cancel, |progress| {
            session.out.doing(&format!(
                "case {}: {} restarts verified, {} violations so far",
                progress.cases + 1,
                progress.restarts,
                progress.violations
            ));
        })
        .map_err(Problem::of)?;
    let mut answer = done(session, &outcome);
    if outcome.verdict.verdict == Overall::Fail && !budget.is_zero() {
        let reproduced = session
            .home
            .reproduce(&project, &request, &outcome, budget, &cancel, |what, tries| {
                session.out.doing(&format!("making it short: {what}: {tries} tries"));
            })
            .map_err(Problem::of)?;
        told(&mut answer, &reproduced);
    }
    Ok(answer)
}

/// What became of the failures, at the end of the answer.
fn told(answer: &mut Done, reproduced: &Reproduced) {
    for short in &reproduced.shortest {
        answer.text.push_str(&format!(
            "\nshortest form of {}: {} of {} operations{}; it failed {} of 3 times again\n",
            short.title,
            short.operations,
            short.operations_before,
            if short.minimal { "" } else { ", more could perhaps be left out" },
            short.again
        ));
    }
    for why in &reproduced.not {
        answer.text.push_str(&format!("\nnot made short: {why}\n"));
    }
    if let Some(path) = &reproduced.path {
        answer.text.push_str(&format!("a report that could be filed: {}\n", short(path)));
    }
    answer.data["reproduce"] = json!(reproduced.path);
    answer.data["shortest"] = json!(reproduced.shortest);
}

pub(crate) fn report(session: &Session<'_>, flags: &ReportFlags) -> Result<Done, Problem> {
    if let Some(proof) = session.home.report_pictures(&flags.run).map_err(Problem::of)? {
        return pictures::done(&proof);
    }
    let outcome = session.home.report(&flags.run).map_err(Problem::of)?;
    Ok(done(session, &outcome))
}

/// The verdict as the command's answer, with the status that goes with it.
fn done(session: &Session<'_>, outcome: &Outcome) -> Done {
    let (width, colour) = session.out.screen();
    let mut report = outcome.report.clone();
    report.folder = short(&outcome.folder);
    let done = Done::new(terminal::render(&report, Screen { width, colour }), outcome.report.document());
    match proof::code(outcome.verdict.verdict) {
        Some(code) => done.ending(code),
        None => done,
    }
}

/// A path as it is best shown from here.
pub(super) fn short(path: &Path) -> String {
    let here = std::env::current_dir().and_then(std::fs::canonicalize).unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

fn time(text: &str) -> Result<Duration, Problem> {
    duration::parse(text)
        .filter(|nanos| *nanos > 0)
        .map(Duration::from_nanos)
        .ok_or_else(|| Problem::new(Code::Usage, format!("{text:?} is no time, such as 30s, 10m or 2h")))
}

/// Set at Ctrl-C: the run ends what it is at, stops its server and keeps what it recorded.
pub(super) fn cancelled_by_ctrl_c() -> Result<Arc<AtomicBool>, Problem> {
    let cancel = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::new(Code::Internal, format!("no runtime: {e}")))?;
    let set = cancel.clone();
    std::thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            set.store(true, Ordering::Relaxed);
        }
    });
    Ok(cancel)
}
