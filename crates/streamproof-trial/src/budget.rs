//! What must survive, from `streamproof.toml` and the flags; and which faults that asks for.

use std::collections::BTreeSet;

use streamproof_checker::{Accept, Context, SyncInterval};
use streamproof_model::op::{FaultKind, Level};
use streamproof_model::project::Project;
use streamproof_model::server_conf::Sync;
use streamproof_model::settings;

use crate::nemesis::Arsenal;
use crate::target::NotProven;

/// The faults of a run that names none.
pub const DEFAULT: [FaultKind; 7] = [
    FaultKind::Stop,
    FaultKind::Kill,
    FaultKind::KillAfterAck,
    FaultKind::Restarts,
    FaultKind::IndexLost,
    FaultKind::IndexStale,
    FaultKind::Disconnect,
];

/// Reads what the project's owner has said. `survive`, where given, stands for all that the files say.
#[must_use]
pub fn context(project: &Project, survive: Option<&BTreeSet<Level>>, strict: bool) -> Context {
    let settings = &project.settings;
    let sync = match project.server_conf.as_ref().map(|conf| conf.sync) {
        Some(Some(Sync::Always)) => SyncInterval::Always,
        Some(Some(Sync::Every(nanos))) => SyncInterval::EveryMs(nanos / 1_000_000),
        // Where it cannot be told, the least is assumed: nothing is then said to be promised that might not be.
        Some(Some(Sync::Default) | None) | None => SyncInterval::Default,
    };
    let streams = match survive {
        Some(_) => Default::default(),
        None => settings
            .survive_by_stream
            .iter()
            .map(|(stream, levels)| (stream.clone(), known(levels)))
            .collect(),
    };
    Context {
        sync,
        survive: survive.cloned().or_else(|| settings.survive.as_ref().map(known)),
        streams,
        accept: settings
            .accepted
            .iter()
            .map(|accepted| Accept { name: accepted.name.clone(), reason: accepted.reason.clone() })
            .collect(),
        redelivery: settings
            .redelivery
            .iter()
            .map(|((stream, consumer), budget)| (format!("{stream} > {consumer}"), *budget))
            .collect(),
        asked: Vec::new(),
        adopt: false,
        strict,
    }
}

/// The levels that a history can have faults of.
fn known(levels: &BTreeSet<settings::Level>) -> BTreeSet<Level> {
    levels.iter().filter_map(|level| Level::named(level.name())).collect()
}

/// What `--full` adds.
pub const ON_REQUEST: [FaultKind; 5] =
    [FaultKind::Recreate, FaultKind::Pause, FaultKind::Upgrade, FaultKind::Downgrade, FaultKind::DiskFull];

/// Adds every fault that is not run by default and can be run here, and takes out of `missing` the levels that have one by now; says which cannot be run.
pub fn more(faults: &mut Vec<FaultKind>, missing: &mut Vec<NotProven>, arsenal: &Arsenal) -> Vec<NotProven> {
    let mut notes = Vec::new();
    for fault in &ON_REQUEST {
        match arsenal.can(*fault) {
            Ok(()) if !faults.contains(fault) => faults.push(*fault),
            Ok(()) => {}
            Err(why) => {
                notes.push(NotProven { what: format!("the fault {}", fault.name()), why });
            }
        }
    }
    missing.retain(|note| !faults.iter().any(|fault| note.what == of_level(fault.level())));
    notes
}

/// What a level that is asked for and has no fault is called.
fn of_level(level: Level) -> String {
    format!("that streams survive {}", level.name())
}

/// The faults to run, and what `survive` or the caller asks for and cannot be run here.
#[must_use]
pub fn faults(
    asked: &[FaultKind],
    context: &Context,
    project: &Project,
    arsenal: &Arsenal,
) -> (Vec<FaultKind>, Vec<NotProven>) {
    let mut missing = Vec::new();
    let mut wanted: Vec<FaultKind> = if asked.is_empty() { DEFAULT.to_vec() } else { asked.to_vec() };
    // Where it cannot be run and nobody has asked for it, that is told, and takes nothing from the rest.
    let without_power_cut = arsenal.can(FaultKind::PowerCut).err().filter(|_| asked.is_empty());
    if asked.is_empty() && without_power_cut.is_none() {
        wanted.push(FaultKind::PowerCut);
    }
    for (fault, other) in [(FaultKind::Upgrade, &arsenal.upgrade), (FaultKind::Downgrade, &arsenal.downgrade)]
    {
        if other.is_some() && !wanted.contains(&fault) {
            wanted.push(fault);
        }
    }
    let mut faults = Vec::new();
    for fault in wanted {
        match arsenal.can(fault) {
            Ok(()) if !faults.contains(&fault) => faults.push(fault),
            Ok(()) => {}
            Err(why) => missing.push(NotProven { what: format!("the fault {}", fault.name()), why }),
        }
    }
    let levels: BTreeSet<Level> =
        context.survive.iter().chain(context.streams.values()).flatten().copied().collect();
    for level in levels.iter().filter(|_| asked.is_empty()) {
        // Not among the default ones, and needed: it is run where it can be.
        if !faults.iter().any(|fault| fault.level() == *level) {
            let of_level = FaultKind::ALL.iter().filter(|fault| fault.level() == *level);
            faults.extend(of_level.filter(|fault| arsenal.can(**fault).is_ok()));
        }
    }
    for level in levels {
        // A run that names its faults was asked for those, and not for all that `survive` lists.
        if asked.is_empty() && !faults.iter().any(|fault| fault.level() == level) {
            let why = match (level, &without_power_cut) {
                (Level::Upgrade, _) => "it needs another version: --upgrade-to VERSION",
                (Level::HostCrash, Some(why)) => why,
                _ => "no fault of this level can be run here",
            };
            missing.push(NotProven { what: of_level(level), why: format!("`survive` names it, and {why}") });
        }
    }
    let settings = &project.settings;
    let nodes = settings.survive.iter().chain(settings.survive_by_stream.values());
    if asked.is_empty() && nodes.flatten().any(|level| *level == settings::Level::NodeLoss) {
        missing.push(NotProven {
            what: "that streams survive node-loss".to_owned(),
            why: "`survive` names it, and only one node is run".to_owned(),
        });
    }
    (faults, missing)
}
