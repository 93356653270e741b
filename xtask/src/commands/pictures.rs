//! `restart-check --live` and `--store`: what a server in use, or a copy of a store, has before and after.

use std::path::Path;

use streamproof::live::{LiveRequest, Step};
use streamproof::model::op::{FaultKind, Level};
use streamproof::proof;
use streamproof::store_check::StoreRequest;
use streamproof::trial::live::Doing;
use streamproof::trial::picture::proof::Proof;
use streamproof::trial::picture::summary::summary;
use streamproof::trial::picture::take::Progress;
use streamproof::trial::store::Doing as Copying;

use super::lifecycle::what_runs;
use super::proof::{cancelled_by_ctrl_c, short};
use super::session::Session;
use crate::flags::RestartCheckFlags;
use crate::output::{Done, size};
use crate::problem::Problem;

pub(crate) fn live(session: &Session<'_>, flags: &RestartCheckFlags) -> Result<Done, Problem> {
    let project = session.load()?;
    let _lock = session.home.lock().map_err(Problem::of)?;
    let request = LiveRequest {
        faults: flags.fault.iter().filter_map(|name| FaultKind::named(name)).collect(),
        survive: (!flags.survive.is_empty())
            .then(|| flags.survive.iter().filter_map(|name| Level::named(name)).collect()),
        strict: flags.strict,
        server: flags.server.clone(),
        out: flags.out.clone(),
    };
    let cancel = cancelled_by_ctrl_c()?;
    let out = session.out;
    let proof = session
        .home
        .live_check(&project, &request, &cancel, |step| match step {
            Step::Found(running) => {
                let runs = what_runs(&session.home.node, &running);
                out.warn(format!(
                    "this restarts your live server ({runs}, {}); its clients are cut off for a moment",
                    running.url()
                ));
            }
            Step::Doing(Doing::Picture(number, at)) => reading(session, number, &at),
            Step::Doing(Doing::Strike(fault)) => {
                out.step("picture", "every stream, consumer and message");
                out.doing(if fault == FaultKind::Kill { "killing it" } else { "stopping it" });
            }
            Step::Up(running) => {
                out.step(
                    "up again",
                    &format!("{}, {}", what_runs(&session.home.node, &running), running.url()),
                );
            }
            Step::Down(why) => out.warn(format!("the server did not come up again: {why}")),
        })
        .map_err(Problem::of)?;
    done(&proof)
}

pub(crate) fn store(session: &Session<'_>, flags: &RestartCheckFlags, store: &Path) -> Result<Done, Problem> {
    let project = session.load()?;
    let request = StoreRequest {
        store: store.to_owned(),
        server_bin: flags.server_bin.clone(),
        upgrade_to: flags.upgrade_to.clone(),
        downgrade_to: flags.downgrade_to.clone(),
        faults: flags.fault.iter().filter_map(|name| FaultKind::named(name)).collect(),
        survive: (!flags.survive.is_empty())
            .then(|| flags.survive.iter().filter_map(|name| Level::named(name)).collect()),
        strict: flags.strict,
        out: flags.out.clone(),
    };
    let cancel = cancelled_by_ctrl_c()?;
    let out = session.out;
    let proof = session
        .home
        .store_check(&project, &request, &cancel, |doing| match doing {
            Copying::Copy(bytes, of) => {
                out.progress(&format!("copying: {} of {}", size(bytes), size(of)), bytes, of);
            }
            Copying::Start(version) => {
                out.doing(&format!("nats-server {version} recovers the copy"));
            }
            Copying::Picture(number, at) => reading(session, number, &at),
        })
        .map_err(Problem::of)?;
    done(&proof)
}

/// How far a picture is.
pub(super) fn reading(session: &Session<'_>, number: u32, at: &Progress) {
    let which = if number == 0 { "before" } else { "after" };
    let text = format!("the picture {which}: {} messages, now of {}", at.messages, at.stream);
    session.out.progress(&text, at.messages, at.of);
}

/// The verdict as the command's answer, with the status that goes with it.
pub(super) fn done(proof: &Proof) -> Result<Done, Problem> {
    let done = Done::new(summary(proof, &short(&proof.folder)), proof.report().document());
    Ok(match proof::code(proof.verdict.verdict) {
        Some(code) => done.ending(code),
        None => done,
    })
}
