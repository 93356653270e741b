//! Whole runs on real servers.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use streamproof_checker::{Cell, Context, Overall, Verdict};
use streamproof_model::failure::{Code, Failure};
use streamproof_model::op::FaultKind;
use streamproof_model::project::{self, Project};
use streamproof_server::acquire::Binary;
use streamproof_server::wire::Credentials;
use streamproof_server::{PINNED, Sources, Wanted, acquire};
use streamproof_trial::judge::judge;
use streamproof_trial::trial::{Length, Options, TrialError, judge_again, run};

pub(crate) fn project(files: &[(&str, &str)]) -> Project {
    let files = files.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_owned()));
    let options = project::Options { root: "nats-config".into(), version: PINNED };
    Project::load(files, &options).unwrap()
}

fn binary() -> Binary {
    acquire(&Wanted::exactly(PINNED), &Sources::from_process()).unwrap()
}

pub(crate) fn options(runs: &Path, faults: &[FaultKind]) -> Options {
    Options {
        seed: 11,
        length: Length::Quick,
        faults: faults.to_vec(),
        survive: None,
        strict: false,
        binary: binary(),
        upgrade_to: None,
        downgrade_to: None,
        server_conf: None,
        credentials: Credentials::None,
        runs: runs.to_owned(),
        profiles: Vec::new(),
    }
}

fn never() -> AtomicBool {
    AtomicBool::new(false)
}

pub(crate) const SHOP: &[(&str, &str)] = &[
    ("streams/ORDERS.json", r#"{ "name": "ORDERS", "subjects": ["orders.*"] }"#),
    ("consumers/ORDERS/BILLING.json", r#"{ "durable_name": "BILLING", "ack_policy": "explicit" }"#),
];

pub(crate) fn show(verdict: &Verdict) -> String {
    serde_json::to_string_pretty(verdict).unwrap()
}

#[test]
fn a_run_finds_every_control_and_its_faults_bite_and_it_can_be_judged_again() {
    let folder = tempfile::tempdir().unwrap();
    let faults = [FaultKind::Stop, FaultKind::Kill];
    let mut cases = 0;
    let outcome = run(&options(folder.path(), &faults), &project(SHOP), &never(), |progress| {
        cases = progress.cases;
    })
    .unwrap();
    let verdict = &outcome.verdict;
    assert_eq!(verdict.verdict, Overall::Pass, "{}", show(verdict));
    let names: Vec<&str> = verdict.controls.iter().map(|control| control.name.as_str()).collect();
    assert_eq!(names, ["memory-loss", "planted-deletion", "edited-config", "reset-consumer"]);
    assert!(verdict.controls.iter().all(|control| control.found), "{:?}", verdict.controls);
    assert!(verdict.restarts_verified >= 2);
    assert!(cases > 0 && cases == outcome.record.cases);
    for fault in ["stop", "kill"] {
        let cell = verdict.faults.iter().find(|cell| cell.fault == fault).unwrap();
        assert_eq!((cell.target.as_str(), cell.verdict), ("ORDERS", Cell::Pass), "{}", show(verdict));
    }
    // Nothing of it rests on memory: the stored histories give the same.
    let again = judge_again(&outcome.folder).unwrap();
    assert_eq!(again.verdict, outcome.verdict);
    // And a history that is cut off in the middle is no longer a pass.
    let history = outcome.folder.join("00001.history");
    let bytes = std::fs::read(&history).unwrap();
    std::fs::write(&history, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(judge_again(&outcome.folder).unwrap().verdict.verdict, Overall::Inconclusive);
}

#[test]
fn a_stream_in_memory_is_unprotected_and_its_owner_may_say_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let stream =
        ("streams/CACHE.json", r#"{ "name": "CACHE", "subjects": ["cache.*"], "storage": "memory" }"#);
    for (survive, overall) in [
        ("", Overall::Unprotected),
        ("survive = [\"restart\"]\n", Overall::Fail),
        ("survive = [\"process-crash\"]\n", Overall::Accepted),
    ] {
        let project = project(&[stream, ("streamproof.toml", survive)]);
        let outcome = run(&options(folder.path(), &[FaultKind::Stop]), &project, &never(), |_| {}).unwrap();
        assert_eq!(outcome.verdict.verdict, overall, "{}", show(&outcome.verdict));
        // The report tells the life of the first message that was lost, and of every restart how long it took.
        let life = outcome.report.life.as_ref().unwrap();
        assert!(life.title.contains("of CACHE") && life.violation.starts_with("M1 lost all"), "{life:?}");
        let ready: u64 = outcome.report.recoveries.iter().map(|recovery| recovery.ready_us.of).sum();
        assert_eq!(ready, outcome.verdict.counts.faults);
    }
}

#[test]
fn what_cannot_be_run_is_said_and_never_a_pass() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = run(&options(folder.path(), &[FaultKind::Upgrade]), &project(SHOP), &never(), |_| {});
    assert!(matches!(&nothing, Err(error @ TrialError::NoFaults(_)) if error.code() == Code::Inconclusive));
    let some = [FaultKind::Stop, FaultKind::Upgrade];
    let outcome = run(&options(folder.path(), &some), &project(SHOP), &never(), |_| {}).unwrap();
    assert_eq!(outcome.verdict.verdict, Overall::Inconclusive, "{}", show(&outcome.verdict));
    assert!(outcome.verdict.not_proven.iter().any(|note| note.what.contains("upgrade")));
    let empty = run(&options(folder.path(), &[]), &project(&[]), &never(), |_| {});
    assert!(matches!(empty, Err(TrialError::NoStreams)));
}

#[test]
fn a_cancelled_run_says_so_and_keeps_what_it_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let cancel = AtomicBool::new(false);
    let ended = run(&options(folder.path(), &[FaultKind::Stop]), &project(SHOP), &cancel, |_| {
        cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let Err(TrialError::Cancelled(run)) = ended else { panic!("{ended:?}") };
    let again = judge_again(&run).unwrap();
    assert_eq!(again.verdict.verdict, Overall::Inconclusive, "{}", show(&again.verdict));
    assert!(judge(&run.join("controls.history"), &Context::default()).is_ok());
}
