//! Power cuts of whole runs: the settings that lose and those that do not, by the model and on real file systems.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use streamproof_checker::{Cell, Overall, Verdict};
use streamproof_crashfs::real::{Kind, available as real_available};
use streamproof_model::op::FaultKind;
use streamproof_model::project::Project;
use streamproof_trial::Profile;
use streamproof_trial::power_cut::tally::Kernel;
use streamproof_trial::power_cut::{available, disk_available};
use streamproof_trial::trial::{Length, Options, Outcome, judge_again, run, search};

use super::trial::{SHOP, options, project, show};

/// Whether to skip: never where what is missing is required.
#[expect(clippy::print_stdout, reason = "a test that skips says so")]
pub(crate) fn skipped(found: Result<(), String>, what: &str) -> bool {
    let Err(why) = found else { return false };
    let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r.trim() == what), "{what} is required: {why}");
    println!("skipped: {why}");
    true
}

const ALWAYS: &str = "jetstream { store_dir: $STREAMPROOF_STORE\n sync_interval: always }\n";
const DEFAULT: &str = "jetstream { store_dir: $STREAMPROOF_STORE }\n";

/// The one defect of the pinned server that power cuts find in such a project; with it a run is accepted, not failed.
const ACCEPT: &str = "accept = [{ name = \"stream-lost-at-update\", reason = \"it is known\" }]\n";

fn power_cut(dir: &Path, fault: FaultKind, conf: &str, toml: &str, profiles: &[Profile]) -> Outcome {
    let file = dir.join("jetstream.conf");
    std::fs::write(&file, conf).unwrap();
    let options = Options {
        server_conf: Some(file),
        profiles: profiles.to_vec(),
        ..options(&dir.join("runs"), &[fault])
    };
    let files = [SHOP, &[("jetstream.conf", conf), ("streamproof.toml", toml)]].concat();
    let project: Project = project(&files);
    run(&options, &project, &AtomicBool::new(false), |_| {}).unwrap()
}

fn cell<'v>(verdict: &'v Verdict, fault: &str) -> &'v streamproof_checker::FaultVerdict {
    let found = verdict.faults.iter().find(|cell| cell.fault == fault && cell.target == "ORDERS");
    found.unwrap_or_else(|| panic!("{}", show(verdict)))
}

#[test]
fn with_sync_always_no_crash_state_of_ext4_loses_anything_and_the_controls_bite() {
    if skipped(available(), "fuse") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let others: Vec<Profile> = Profile::ALL.into_iter().filter(|profile| *profile != Profile::Ext4).collect();
    let outcome = power_cut(dir.path(), FaultKind::PowerCut, ALWAYS, ACCEPT, &others);
    let verdict = &outcome.verdict;
    assert!(matches!(verdict.verdict, Overall::Pass | Overall::Accepted), "{}", show(verdict));
    let cell = cell(verdict, "power-cut");
    assert!(cell.bites > 10 && cell.promised, "{cell:?}");
    let controls: Vec<&str> = verdict
        .controls
        .iter()
        .filter(|control| control.found)
        .map(|control| control.name.as_str())
        .collect();
    assert!(controls.contains(&"lying-disk") && controls.contains(&"durable-disk"), "{:?}", verdict.controls);
    // Less than ext4 would lose, and that is told and not judged.
    let tally = &outcome.record.power_cuts;
    let of = |profile: &str| tally.profiles.iter().find(|of| of.profile == profile && of.depth == 1).unwrap();
    assert!(of("ext4").judged && of("ext4").tested > 10, "{tally:?}");
    // What another program's sync makes durable is among them; elsewhere there is no journal.
    assert!(of("ext4").committed > 0 && of("strict").committed == 0, "{tally:?}");
    assert!(!of("strict").judged && of("strict").lossy > 0, "{tally:?}");
    for profile in others {
        let of = of(profile.name());
        assert!(!of.judged && of.tested > 0 && (0.0..=1.0).contains(&of.lossy_share), "{of:?}");
    }
    // Crashes that follow a crash have states of their own, and what was acknowledged in between must be there.
    let second = tally.profiles.iter().find(|of| of.depth == 2).unwrap();
    assert!(second.judged && second.recoveries > 0 && second.found > 5 && second.tested > 5, "{tally:?}");
    assert!(second.committed > 0, "{tally:?}");
    // Nothing is left mounted, and nothing of it rests on memory.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(dir.path().to_str().unwrap()), "{mounts}");
    let again = judge_again(&outcome.folder).unwrap();
    assert_eq!(again.verdict, outcome.verdict);
    assert_eq!(format!("{:?}", again.report.recoveries), format!("{:?}", outcome.report.recoveries));
    // Without either control nothing of it counts, whatever was found.
    let file = outcome.folder.join("run.json");
    let stored: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for control in 0..2 {
        for missed in [true, false] {
            let mut run = stored.clone();
            let controls = run["power_cuts"]["controls"].as_array_mut().unwrap();
            assert_eq!(controls.len(), 2);
            match missed {
                true => controls[control]["found"] = false.into(),
                false => drop(controls.remove(control)),
            }
            std::fs::write(&file, serde_json::to_vec(&run).unwrap()).unwrap();
            let again = judge_again(&outcome.folder).unwrap().verdict;
            assert_eq!(again.verdict, Overall::SelfCheckFailed, "{control} {missed}");
        }
    }
}

#[test]
fn by_default_everything_is_lost_which_is_unprotected_or_a_failure_where_it_must_survive() {
    if skipped(available(), "fuse") {
        return;
    }
    for (toml, overall, of_cell) in [
        ("", Overall::Unprotected, Cell::Unprotected),
        ("survive = [\"host-crash\"]\n", Overall::Fail, Cell::Fail),
        ("survive = [\"restart\"]\n", Overall::Accepted, Cell::Accepted),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let outcome = power_cut(dir.path(), FaultKind::PowerCut, DEFAULT, toml, &[]);
        let verdict = &outcome.verdict;
        assert_eq!(verdict.verdict, overall, "{}", show(verdict));
        let cell = cell(verdict, "power-cut");
        assert_eq!(cell.verdict, of_cell, "{cell:?}");
        assert!(!cell.promised && cell.source.contains("sync_interval"), "{cell:?}");
        let remedy = cell.remedy.as_deref().unwrap_or_default();
        assert!(remedy.contains("sync_interval: always") && remedy.contains("slower"), "{remedy}");
        let ext4 = &outcome.record.power_cuts.profiles[0];
        assert_eq!(ext4.lossy, ext4.tested, "{ext4:?}");
        // However many states show it, no more is lost than was acknowledged.
        let lost = verdict.findings.iter().filter(|f| f.target == "ORDERS" && f.class.starts_with("lost"));
        let lost: Vec<_> = lost.map(|finding| (finding.count, finding.states)).collect();
        let (most, states) = lost.iter().fold((0, 0), |sum, one| (sum.0.max(one.0), sum.1 + one.1));
        assert!(states > 0 && most > 0 && most <= verdict.counts.acked, "{lost:?} {}", verdict.counts.acked);
        assert_eq!(judge_again(&outcome.folder).unwrap().verdict, outcome.verdict);
    }
}

#[test]
fn a_search_ends_at_the_first_state_that_shows_what_is_looked_for() {
    if skipped(available(), "fuse") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jetstream.conf");
    std::fs::write(&file, ALWAYS).unwrap();
    let options = Options {
        server_conf: Some(file),
        length: Length::For(Duration::from_secs(600)),
        ..options(&dir.path().join("runs"), &[FaultKind::PowerCut])
    };
    let project = project(&[SHOP, &[("jetstream.conf", ALWAYS)]].concat());
    let outcome = search(&options, &project, &AtomicBool::new(false), |_| true, |_| {}).unwrap();
    // A few at a time are tried, of hundreds; and nothing is recorded anew.
    let ext4 = &outcome.record.power_cuts.profiles[0];
    assert!(ext4.tested > 0 && ext4.tested < ext4.found / 2, "{ext4:?}");
    assert_eq!(outcome.record.cases, 1);
}

#[test]
fn a_real_file_system_that_is_shut_down_under_the_server_says_the_same() {
    if skipped(disk_available(), "loop") {
        return;
    }
    for (conf, overall) in [(ALWAYS, Overall::Pass), (DEFAULT, Overall::Unprotected)] {
        let dir = tempfile::tempdir().unwrap();
        let outcome = power_cut(dir.path(), FaultKind::PowerCutExt4, conf, "", &[]);
        let verdict = &outcome.verdict;
        assert_eq!(verdict.verdict, overall, "{}", show(verdict));
        assert!(cell(verdict, "power-cut-ext4").bites > 0, "{}", show(verdict));
        let kernels = &outcome.record.power_cuts.kernels;
        for kind in [Kind::Ext4, Kind::Xfs].into_iter().filter(|kind| real_available(*kind).is_ok()) {
            let cut = |kernel: &Kernel| kernel.name == kind.name() && kernel.cuts > 0;
            assert!(kernels.iter().any(cut), "{}: {kernels:?}", kind.name());
        }
        assert_eq!(judge_again(&outcome.folder).unwrap().verdict, outcome.verdict);
    }
}
