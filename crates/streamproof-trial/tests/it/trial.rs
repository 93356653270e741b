//! Whole runs on real servers.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use streamproof_checker::{Cell, Context, Overall, Verdict};
use streamproof_model::failure::{Code, Failure};
use streamproof_model::op::{FaultKind, Level};
use streamproof_model::project::{self, Project};
use streamproof_model::version::Version;
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
        full: false,
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
fn what_there_was_no_time_for_is_told_and_no_pass_where_it_must_survive() {
    let files: Vec<(String, String)> = (0..14)
        .map(|n| {
            let config = format!(r#"{{ "name": "S{n}", "subjects": ["s{n}.*"] }}"#);
            (format!("streams/S{n}.json"), config)
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    for (survive, needed) in [(Level::Restart, false), (Level::ProcessCrash, true)] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            length: Length::For(Duration::from_millis(1)),
            survive: Some([survive].into()),
            ..options(folder.path(), &[])
        };
        let outcome = run(&options, &project(&files), &never(), |_| {}).unwrap();
        let verdict = &outcome.verdict;
        let noted: Vec<&str> = verdict.not_proven.iter().map(|note| note.what.as_str()).collect();
        let kill = noted.iter().find(|what| what.starts_with("kill on ")).unwrap();
        assert!(kill.contains(" of 14 streams (") && kill.ends_with(" more)"), "{kill}");
        let of_kill: Vec<&String> =
            verdict.inconclusive.iter().filter(|why| why.starts_with("kill on ")).collect();
        assert_eq!(of_kill.len(), usize::from(needed), "{}", show(verdict));
        assert!(matches!(verdict.verdict, Overall::Inconclusive | Overall::Fail), "{}", show(verdict));
        assert_eq!(judge_again(&outcome.folder).unwrap().verdict, outcome.verdict);
    }
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
fn the_command_that_repeats_a_run_asks_for_the_same() {
    use streamproof_model::op::Level;
    use streamproof_server::Source;
    use streamproof_trial::report::repeat::command;

    let mut asked = options(Path::new("runs"), &[FaultKind::Stop, FaultKind::Upgrade]);
    let plain = "cargo xtask restart-check --seed 11 --quick --fault stop --fault upgrade";
    assert_eq!(command(&asked), plain);
    asked.strict = true;
    asked.survive = Some([Level::Restart, Level::HostCrash].into());
    asked.upgrade_to = Some(asked.binary.clone());
    asked.binary.source = Source::Explicit;
    asked.binary.path = PathBuf::from("/opt/it's here/nats-server");
    let rest =
        "--survive restart --survive host-crash --strict --server-bin '/opt/it'\\''s here/nats-server'";
    assert_eq!(command(&asked), format!("{plain} {rest} --upgrade-to {PINNED}"));
    asked.length = Length::For(std::time::Duration::from_secs(600));
    assert!(command(&asked).contains(" --for 600s "), "{}", command(&asked));
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

#[test]
fn an_upgrade_and_the_way_back_bite_each_time_and_lose_nothing() {
    let old = Version::new(2, 14, 6);
    let binary = match crate::shipped::server(&old) {
        Ok(binary) => binary,
        Err(error) => {
            let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|what| what == "fetch"), "{error}");
            eprintln!("skipped: nats-server {old} cannot be fetched here: {error}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let mut asked = options(folder.path(), &[FaultKind::Upgrade, FaultKind::Downgrade]);
    asked.upgrade_to = Some(asked.binary.clone());
    asked.downgrade_to = Some(binary.clone());
    asked.binary = binary;
    // A defect that the older of the two has.
    let accept = "survive = [\"upgrade\"]\n[[accept]]\nname = \"consumer-creation-time-changes\"\nreason = \"it is known\"\n";
    let project = project(&[SHOP, &[("streamproof.toml", accept)]].concat());
    let outcome = run(&asked, &project, &never(), |_| {}).unwrap();
    let verdict = &outcome.verdict;
    assert!(matches!(verdict.verdict, Overall::Pass | Overall::Accepted), "{}", show(verdict));
    for (fault, told) in
        [("upgrade", format!("{old} became {PINNED}")), ("downgrade", format!("{PINNED} became {old}"))]
    {
        let cell = verdict.faults.iter().find(|cell| cell.fault == fault).unwrap();
        assert!(matches!(cell.verdict, Cell::Pass | Cell::Accepted), "{}", show(verdict));
        assert!(cell.bites > 0 && cell.bites == cell.tries && cell.bite.contains(&told), "{cell:?}");
    }
    let roles: Vec<&str> = outcome.report.servers.iter().map(|(role, _)| role.as_str()).collect();
    assert_eq!(roles, ["server", "upgraded to", "downgraded to"]);
    assert_eq!(judge_again(&outcome.folder).unwrap().verdict, outcome.verdict);
}

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing_once_it_is_freed() {
    if !streamproof_trial::small_disk::SmallDisk::can_be_had() {
        let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|what| what == "mount"));
        eprintln!("skipped: a file system cannot be mounted here");
        // Asked for by name and not to be had: inconclusive, never a pass.
        let folder = tempfile::tempdir().unwrap();
        let ended = run(&options(folder.path(), &[FaultKind::DiskFull]), &project(SHOP), &never(), |_| {});
        assert!(matches!(&ended, Err(error @ TrialError::NoFaults(_)) if error.code() == Code::Inconclusive));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let outcome =
        run(&options(folder.path(), &[FaultKind::DiskFull]), &project(SHOP), &never(), |_| {}).unwrap();
    let verdict = &outcome.verdict;
    assert_eq!(verdict.verdict, Overall::Pass, "{}", show(verdict));
    let cell = verdict.faults.iter().find(|cell| cell.fault == "disk-full").unwrap();
    assert_eq!((cell.target.as_str(), cell.verdict), ("ORDERS", Cell::Pass), "{}", show(verdict));
    assert!(cell.bite.contains("refused writes"), "{}", cell.bite);
    assert!(verdict.counts.rejected + verdict.counts.indeterminate > 0, "{:?}", verdict.counts);
}

#[test]
fn a_container_that_is_made_anew_on_the_same_store_loses_nothing() {
    if let Err(why) = streamproof_trial::contained::Contained::can_be_had() {
        let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|what| what == "docker"), "{why}");
        eprintln!("skipped: {why}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let outcome =
        run(&options(folder.path(), &[FaultKind::Recreate]), &project(SHOP), &never(), |_| {}).unwrap();
    let verdict = &outcome.verdict;
    assert_eq!(verdict.verdict, Overall::Pass, "{}", show(verdict));
    let cell = verdict.faults.iter().find(|cell| cell.fault == "recreate").unwrap();
    assert_eq!((cell.target.as_str(), cell.verdict), ("ORDERS", Cell::Pass), "{}", show(verdict));
    assert!(verdict.restarts_verified > 0);
}

#[test]
fn what_survive_needs_is_run_or_the_run_is_inconclusive_and_full_runs_all_that_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut of_all = options(folder.path(), &[]);
    of_all.full = true;
    let outcome = run(&of_all, &project(SHOP), &never(), |_| {}).unwrap();
    // Power cuts are among the default faults where they can be had, and this project has promised nothing against them.
    let good = matches!(outcome.verdict.verdict, Overall::Pass | Overall::Unprotected);
    assert!(good, "{}", show(&outcome.verdict));
    let ran = |name: &str| outcome.verdict.faults.iter().any(|cell| cell.fault == name);
    let said =
        |name: &str| outcome.verdict.not_proven.iter().any(|note| note.what == format!("the fault {name}"));
    for fault in streamproof_trial::budget::ON_REQUEST {
        assert!(ran(fault.name()) != said(fault.name()), "{}", fault.name());
    }
    assert!(ran("pause") && said("upgrade"));
    let needs = project(&[SHOP[0], ("streamproof.toml", "survive = [\"upgrade\"]\n")]);
    let mut asked = options(folder.path(), &[]);
    asked.length = Length::For(std::time::Duration::from_millis(1));
    let outcome = run(&asked, &needs, &never(), |_| {}).unwrap();
    assert_eq!(outcome.verdict.verdict, Overall::Inconclusive, "{}", show(&outcome.verdict));
}

#[test]
fn what_the_owner_says_in_streamproof_toml_reaches_the_judge() {
    let toml = "survive = [\"restart\"]\n[streams.ORDERS]\nsurvive = [\"process-crash\"]\n[consumers.ORDERS.BILLING]\nredelivery = 3\n\
                [[accept]]\nname = \"evicted-returns\"\nreason = \"nobody reads those\"\n";
    let project = project(&[SHOP[0], SHOP[1], ("streamproof.toml", toml)]);
    let context = streamproof_trial::budget::context(&project, None, false);
    assert_eq!(context.redelivery, [("ORDERS > BILLING".to_owned(), 3)].into());
    assert_eq!(context.survive, Some([Level::Restart].into()));
    assert_eq!(context.budget("ORDERS"), Some(&[Level::ProcessCrash].into()));
    assert_eq!((context.accept[0].name.as_str(), context.strict), ("evicted-returns", false));
    let flags = streamproof_trial::budget::context(&project, Some(&[Level::Upgrade].into()), true);
    assert_eq!((flags.budget("ORDERS"), flags.strict), (Some(&[Level::Upgrade].into()), true));
}
