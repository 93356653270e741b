//! The controls of power cuts, in every run that has them: on a disk that ignores syncs loss must be found though the server syncs
//! always, and on one where every write is durable none.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_json::json;
use streamproof_checker::{Context, ControlResult, Invariant, SyncInterval, Verdict};
use streamproof_crashfs::{Disk, Rules};
use streamproof_model::desired::{Desired, DesiredStream, Kind, Places};
use streamproof_model::op::FaultKind;
use streamproof_server::Scratch;
use streamproof_server::acquire::Binary;

use super::CutError;
use super::recorded::record;
use super::search::{Again, Catch, Hunt, hunt};
use super::tally::CONTROLS;
use super::visit::Bench;
use crate::nemesis::Arsenal;
use crate::run::Setup;
use crate::seed::Seed;
use crate::target::targets;
use crate::wire::Login;
use crate::workload::{Case, Leg, Step};

/// The stream of these controls.
const NAME: &str = "SP_CONTROL_POWER_CUT";

/// Recoveries are begun no later than this.
const AGAIN_LIMIT: Duration = Duration::from_secs(60);

/// Cuts of each: the states of a lying disk are few.
const CUTS: usize = 12;

/// Where the controls are run.
#[derive(Debug)]
pub(crate) struct Stand<'a> {
    pub(crate) binary: &'a Binary,
    pub(crate) seed: u64,
    pub(crate) run_id: &'a str,
    /// For their history.
    pub(crate) folder: &'a Path,
    /// For their mount.
    pub(crate) mountpoint: &'a Path,
    pub(crate) began_ns: i64,
    pub(crate) cancel: &'a AtomicBool,
}

/// Runs them on a server and streams of their own.
///
/// # Errors
/// [`CutError`].
pub(crate) fn run_controls(stand: &Stand<'_>) -> Result<Vec<ControlResult>, CutError> {
    let [lying, durable] = on_disks(stand, [(Disk::Lying, None), (Disk::Durable, None)])?;
    Ok(weigh(&lying.verdicts, &durable.verdicts))
}

/// What the states of one recording came to on each of `disks`; with a second one, the power goes again while the server recovers,
/// on that.
fn on_disks(stand: &Stand<'_>, disks: [(Disk, Option<Disk>); 2]) -> Result<[Catch; 2], CutError> {
    let Stand { binary, seed, run_id, folder, mountpoint, began_ns, cancel } = *stand;
    let config = json!({ "name": NAME, "subjects": [format!("{NAME}.*")], "storage": "file" });
    let config = config.as_object().cloned().unwrap_or_default();
    let stream = DesiredStream {
        kind: Kind::Stream,
        name: NAME.to_owned(),
        bucket: None,
        declared: config.keys().cloned().collect(),
        config,
        places: Places::default(),
    };
    let (targets, _) = targets(&Desired { streams: vec![stream], consumers: Vec::new() });
    let publish = Step::Publish {
        count: 40,
        len_min: 18,
        len_max: 64,
        window: 4,
        subjects: 4,
        ids: false,
        headers: false,
        ttl_s: None,
    };
    let fault = FaultKind::PowerCut;
    let leg = Leg { steps: vec![(0, publish)], load: vec![0], load_acks: 20, fault, canary: false };
    let case = Case { seed: Seed::new(seed).part("power-cut controls").draw(), legs: vec![leg] };
    let setup = Setup { targets: &targets, notes: &[], login: Login::default(), run_id, cancel };
    let builder =
        Scratch::builder().binary(binary.clone()).jetstream("sync_interval: always").in_memory(true);
    let history = folder.join("controls.power-cut.history");
    let mut arsenal = Arsenal::default();
    let recorded = record(&setup, &case, builder.clone(), &mut arsenal, &history, began_ns, mountpoint)?;
    let context = Context { sync: SyncInterval::Always, ..Context::default() };
    let bench = Bench::new(&builder, 2)?;
    let on = |(disk, again): (Disk, Option<Disk>)| -> Result<Catch, CutError> {
        let hunting = Hunt {
            setup: &setup,
            recorded: &recorded,
            context: &context,
            builder: &builder,
            bench: &bench,
            rules: Rules::default().with_disk(disk),
            cuts: CUTS,
            // All states are one turn, which is tried in any case; recoveries have time of their own.
            until: Instant::now() + if again.is_some() { AGAIN_LIMIT } else { Duration::ZERO },
            second: again.map(|disk| Again { place: mountpoint, rules: Rules::default().with_disk(disk) }),
        };
        hunt(&hunting, None, |_| false)
    };
    let [one, other] = disks;
    Ok([on(one)?, on(other)?])
}

/// Loss must be found on the one, and nothing on the other.
fn weigh(lying: &[Verdict], durable: &[Verdict]) -> Vec<ControlResult> {
    let findings = |verdicts: &[Verdict]| -> Vec<(Invariant, String)> {
        let found = verdicts.iter().flat_map(|verdict| &verdict.findings);
        found.map(|f| (f.invariant, format!("{} {}", f.invariant.name(), f.class))).collect()
    };
    let lost = findings(lying).iter().any(|(invariant, _)| *invariant == Invariant::M1);
    let beside: Vec<String> = findings(durable).into_iter().map(|(_, words)| words).collect();
    // Nothing to be found is the expectation; states must have been there to find it in, and the server back on each of them.
    let looked = !durable.is_empty() && durable.iter().all(|verdict| verdict.restarts_verified > 0);
    let kept = beside.is_empty() && looked;
    let [lying, durable] = CONTROLS;
    [(lying, "M1", lost, Vec::new()), (durable, "nothing", kept, beside)]
        .map(|(name, expect, found, beside)| ControlResult {
            name: name.to_owned(),
            target: NAME.to_owned(),
            expect: expect.to_owned(),
            found,
            beside,
        })
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power_cut::available;
    use streamproof_checker::{Context, Run, merge};
    use streamproof_server::{Sources, Wanted, acquire};

    /// Whether to skip: never where FUSE is required.
    fn skipped() -> bool {
        let Err(why) = available() else { return false };
        let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|r| r.trim() == "fuse"), "FUSE is required: {why}");
        println!("skipped: {why}");
        true
    }

    fn found(controls: &[ControlResult]) -> Vec<(&str, bool)> {
        controls.iter().map(|control| (control.name.as_str(), control.found)).collect()
    }

    /// Does `act` where controls can be run.
    fn with_stand(act: impl FnOnce(&Stand<'_>)) {
        if skipped() {
            return;
        }
        let binary = acquire(&Wanted::pinned(), &Sources::from_process()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let cancel = AtomicBool::new(false);
        let mountpoint = dir.path().join("mount");
        act(&Stand {
            binary: &binary,
            seed: 3,
            run_id: "controls",
            folder: dir.path(),
            mountpoint: &mountpoint,
            began_ns: 1,
            cancel: &cancel,
        });
    }

    #[test]
    fn what_only_a_crash_during_a_recovery_shows_is_found_and_both_cuts_are_named() {
        with_stand(|stand| {
            // Whatever the first cut leaves is whole; what is lost was acknowledged between the two.
            let disks = [(Disk::Durable, Some(Disk::Lying)), (Disk::Durable, Some(Disk::Durable))];
            let [lost, kept] = on_disks(stand, disks).unwrap();
            for catch in [&lost, &kept] {
                let [first, second] = &catch.searched[..] else { panic!("{:?}", catch.searched) };
                assert_eq!((first.depth, first.lossy, second.depth), (1, 0, 2), "{first:?}");
                assert!(first.tested > 0 && second.recoveries > 0 && second.tested > 0, "{second:?}");
            }
            assert!(lost.searched[1].lossy > 0, "{:?}", lost.searched);
            assert_eq!(kept.searched[1].lossy, 0, "{:?}", kept.verdicts);
            let run = Run { controls: weigh(&lost.verdicts, &kept.verdicts), ..Run::default() };
            let verdict = merge(run, lost.verdicts, &Context::default());
            assert_eq!(verdict.verdict, streamproof_checker::Overall::Fail, "{verdict:?}");
            let of = verdict.findings.iter().find(|finding| finding.invariant == Invariant::M1).unwrap();
            let said = &of.examples[0].text;
            let both = [
                "; the power went after operation ",
                " of the recording, at ",
                " and again after operation ",
            ];
            assert!(both.iter().all(|part| said.contains(part)), "{said}");
        });
    }

    #[test]
    fn a_disk_that_does_not_lie_and_one_that_loses_are_both_noticed() {
        with_stand(|stand| {
            let [lying, durable] = on_disks(stand, [(Disk::Lying, None), (Disk::Durable, None)]).unwrap();
            let (lying, durable) = (lying.verdicts, durable.verdicts);
            assert_eq!(found(&weigh(&lying, &durable)), [("lying-disk", true), ("durable-disk", true)]);
            let broken = weigh(&durable, &lying);
            assert_eq!(found(&broken), [("lying-disk", false), ("durable-disk", false)]);
            assert!(broken[1].beside.iter().any(|what| what.starts_with("M1 ")), "{:?}", broken[1]);
            // Nothing that was looked at is nothing that was kept.
            let mut dead = durable.clone();
            dead[0].restarts_verified = 0;
            for nothing in [Vec::new(), dead] {
                assert_eq!(found(&weigh(&lying, &nothing)), [("lying-disk", true), ("durable-disk", false)]);
            }
            // Either alone, and no verdict of the run counts.
            for (lying, durable) in [(&durable, &durable), (&lying, &lying)] {
                let run = Run { controls: weigh(lying, durable), ..Run::default() };
                let verdict = merge(run, durable.clone(), &Context::default());
                assert_eq!(verdict.verdict, streamproof_checker::Overall::SelfCheckFailed);
            }
        });
    }
}
