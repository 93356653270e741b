//! The report of pictures: the same value as of a run, and so the same renderings.

use std::collections::BTreeMap;

use streamproof_model::op::FaultKind;

use super::proof::{Mode, Proof};
use crate::power_cut::tally::Tally;
use crate::report::scene::{Points, Recovery};
use crate::report::{Place, Report};

/// So many times to ready are drawn of each kind of fault.
const READY_MAX: usize = 300;

/// The report of what pictures came to.
#[must_use]
pub fn report(proof: &Proof) -> Report {
    let record = &proof.record;
    let strikes = || record.series.iter().flat_map(|series| &series.strikes);
    let mut ready: BTreeMap<FaultKind, (Vec<u64>, u64)> = BTreeMap::new();
    for strike in strikes() {
        let (times, never) = ready.entry(strike.fault).or_default();
        match strike.after {
            Some(_) => times.push(strike.ready_us),
            None => *never += 1,
        }
    }
    let recoveries = ready.into_iter().map(|(fault, (mut times, never))| {
        times.sort_unstable();
        Recovery { fault, ready_us: Points::sample(times, READY_MAX), never }
    });
    Report {
        place: match record.mode {
            Mode::Live => Place::Live,
            Mode::Store => Place::StoreCopy,
        },
        of: record.source.clone(),
        began: record.began.clone(),
        took_ms: record.took_ms,
        cases: strikes().count() as u32,
        ended: record.ended,
        repeat: record.repeat.clone(),
        folder: proof.folder.display().to_string(),
        servers: record.servers.clone(),
        accept: record.context.accept.clone(),
        verdict: proof.verdict.clone(),
        scenes: Vec::new(),
        more_scenes: 0,
        life: None,
        recoveries: recoveries.collect(),
        power_cut: None,
        reproduce: None,
        power_cuts: Tally::default(),
        pictured: proof.pictured.clone(),
        changed: proof.changes.clone(),
        said: if proof.verdict.findings.is_empty() {
            Vec::new()
        } else {
            strikes().flat_map(|strike| strike.log.iter().cloned()).collect()
        },
    }
}
