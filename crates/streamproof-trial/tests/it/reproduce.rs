//! Failures made short, on real servers that have them, and done again by hand where the `nats` CLI is installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use streamproof_checker::Overall;
use streamproof_model::op::FaultKind;
use streamproof_model::project::{self, Project};
use streamproof_server::acquire::Binary;
use streamproof_server::ports;
use streamproof_server::wire::Credentials;
use streamproof_server::{PINNED, Sources, Version, Wanted, acquire};
use streamproof_trial::power_cut::available;
use streamproof_trial::reproduce::{Reproduced, reproduce};
use streamproof_trial::small_disk::SmallDisk;
use streamproof_trial::trial::{Length, Options, run};

/// A project whose streams have more than the failure needs.
const SHOP: &[(&str, &str)] = &[
    (
        "streams/LATE.json",
        r#"{ "name": "LATE", "subjects": ["late.*"], "first_seq": 1000, "max_msg_size": 100000, "description": "from 1000 on" }"#,
    ),
    ("consumers/LATE/READER.json", r#"{ "durable_name": "READER", "ack_policy": "explicit" }"#),
    ("streams/OTHER.json", r#"{ "name": "OTHER", "subjects": ["other.*"] }"#),
];

fn project() -> Project {
    let files = SHOP.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_owned()));
    Project::load(files, &project::Options { root: "nats-config".into(), version: PINNED }).unwrap()
}

fn options(runs: &Path, binary: Binary, faults: &[FaultKind]) -> Options {
    Options {
        seed: 5,
        length: Length::Quick,
        faults: faults.to_vec(),
        full: false,
        survive: None,
        strict: false,
        binary,
        upgrade_to: None,
        downgrade_to: None,
        server_conf: None,
        credentials: Credentials::None,
        runs: runs.to_owned(),
        profiles: Vec::new(),
    }
}

/// The commands of a report.
fn commands(report: &str) -> &str {
    let (_, rest) = report.split_once("```sh\n").unwrap();
    rest.split_once("```").unwrap().0
}

/// Does what the report says, with this server, and gives what was printed; `None` where there is no `nats` CLI.
fn by_hand(report: &str, server: &Path, store: &Path) -> Option<String> {
    let nats = std::env::var_os("STREAMPROOF_NATS").map_or_else(|| PathBuf::from("nats"), PathBuf::from);
    Command::new(&nats).arg("--version").output().ok()?;
    let folder = tempfile::tempdir().unwrap();
    let (port, _) = ports::free().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = nats.parent().map(Path::to_owned).into_iter().collect();
    folders.extend(std::env::split_paths(&path));
    let out = Command::new("sh")
        .args(["-c", commands(report)])
        .current_dir(folder.path())
        .env("SERVER", server)
        .env("STORE", store)
        .env("PORT", port.to_string())
        .env("PATH", std::env::join_paths(folders).unwrap())
        .output()
        .unwrap();
    Some(format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn skipped(why: &str) {
    println!("skipped: {why}");
}

#[test]
fn a_stream_that_a_restart_empties_is_made_short_and_can_be_emptied_by_hand() {
    // nats-server #6753.
    let [bad, good] = [Version::new(2, 11, 1), Version::new(2, 11, 2)]
        .map(|version| acquire(&Wanted::exactly(version), &Sources::from_process()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let options = options(folder.path(), bad.clone(), &[FaultKind::Stop, FaultKind::Restarts]);
    let outcome = run(&options, &project(), &never, |_| {}).unwrap();
    assert_eq!(outcome.verdict.verdict, Overall::Fail);
    let budget = Duration::from_secs(40);
    let reproduced = reproduce(&options, &project(), &outcome, budget, &never, |_, _| {}).unwrap();
    let [short, ..] = reproduced.shortest.as_slice() else { panic!("{reproduced:?}") };
    // One message, one plain restart.
    assert_eq!((short.operations, short.minimal, short.again), (2, true, 3), "{reproduced:?}");
    let report = std::fs::read_to_string(reproduced.path.unwrap()).unwrap();
    let script = commands(&report);
    assert!(script.contains(r#"{"name":"LATE","subjects":["late.*"],"first_seq":1000}"#), "{report}");
    assert_eq!(script.matches("nats publish").count(), 1, "{report}");
    assert_eq!(script.matches("kill $PID; wait $PID; start\n").count(), 1, "{report}");
    assert!(!script.contains("OTHER") && !script.contains("READER"), "{report}");
    for part in
        ["## Versions", "nats-server 2.11.1", "## Expected", "## Seen", "## The server's log", "#6753"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!outcome.folder.join("shrink").exists());
    match by_hand(&report, &bad.path, Path::new("")) {
        None => skipped("no nats CLI"),
        Some(said) => {
            let last = said.rsplit("Messages:").next().unwrap();
            assert!(last.trim_start().starts_with('0'), "{said}");
            let said = by_hand(&report, &good.path, Path::new("")).unwrap();
            let last = said.rsplit("Messages:").next().unwrap();
            assert!(last.trim_start().starts_with('1'), "{said}");
        }
    }
}

/// What the server does with `sync_interval: always` and yet loses: known defects that a project has not accepted.
#[test]
fn what_a_power_cut_shows_is_made_short_and_its_store_is_kept_to_be_seen_by_hand() {
    if super::power_cut::skipped(available(), "fuse") {
        return;
    }
    let pinned = acquire(&Wanted::exactly(PINNED), &Sources::from_process()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let conf = folder.path().join("jetstream.conf");
    let always = "jetstream { store_dir: $STREAMPROOF_STORE\n sync_interval: always }\n";
    std::fs::write(&conf, always).unwrap();
    let files = [
        ("streams/LATE.json", r#"{ "name": "LATE", "subjects": ["late.*"], "description": "late" }"#),
        ("streams/OTHER.json", r#"{ "name": "OTHER", "subjects": ["other.*"] }"#),
        ("jetstream.conf", always),
        ("streamproof.toml", "survive = [\"host-crash\"]\n"),
    ];
    let files = files.map(|(name, text)| (PathBuf::from(name), text.to_owned()));
    let project =
        Project::load(files, &project::Options { root: "nats-config".into(), version: PINNED }).unwrap();
    let (options, outcome) = (5..15)
        .map(|seed| {
            let options = options(folder.path(), pinned.clone(), &[FaultKind::PowerCut]);
            let options = Options { seed, server_conf: Some(conf.clone()), ..options };
            let outcome = run(&options, &project, &never, |_| {}).unwrap();
            (options, outcome)
        })
        .find(|(_, outcome)| outcome.verdict.verdict == Overall::Fail)
        .expect("none of ten seeds finds any of the defects that are known");
    let reproduced =
        reproduce(&options, &project, &outcome, Duration::from_secs(40), &never, |_, _| {}).unwrap();
    let [short, ..] = reproduced.shortest.as_slice() else {
        panic!("{reproduced:?} {:#?}", outcome.verdict.findings)
    };
    assert!(short.operations < short.operations_before && short.again > 0, "{reproduced:?}");
    let report = std::fs::read_to_string(reproduced.path.unwrap()).unwrap();
    let store = outcome.folder.join("reproduce-store-1");
    assert!(store.join("jetstream").is_dir(), "{report}");
    for part in [
        "## The cut",
        "written and not durable",
        "STORE=${STORE:-reproduce-store-1}",
        "sync_interval: always",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!outcome.folder.join("shrink").exists());
    match by_hand(&report, &pinned.path, &store) {
        None => skipped("no nats CLI"),
        // The server starts on what is left, and says what it has.
        Some(said) if short.title.contains("stream missing") => {
            assert!(said.contains("stream not found"), "{report}{said}");
        }
        Some(said) => {
            assert!(said.matches("Messages:").count() > 0 && !said.contains("no servers"), "{report}{said}")
        }
    }
}

#[test]
fn what_a_full_disk_shows_is_made_short_on_disks_that_fill_up() {
    if !SmallDisk::can_be_had() {
        let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|what| what == "mount"));
        return skipped("a file system cannot be mounted here");
    }
    // Any restart empties it (nats-server #6753), that after a full disk, too.
    let bad = acquire(&Wanted::exactly(Version::new(2, 11, 1)), &Sources::from_process()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let options = options(folder.path(), bad, &[FaultKind::DiskFull]);
    let outcome = run(&options, &project(), &never, |_| {}).unwrap();
    let budget = Duration::from_secs(30);
    let reproduced = reproduce(&options, &project(), &outcome, budget, &never, |_, _| {}).unwrap();
    let [short, ..] = reproduced.shortest.as_slice() else { panic!("{reproduced:?}") };
    assert!(short.operations < short.operations_before && short.again > 0, "{reproduced:?}");
    let report = std::fs::read_to_string(reproduced.path.unwrap()).unwrap();
    assert!(commands(&report).contains("given room again\nkill $PID; wait $PID; start\n"), "{report}");
}

#[test]
fn a_run_without_a_failure_of_the_server_has_nothing_to_make_short() {
    let pinned = acquire(&Wanted::exactly(PINNED), &Sources::from_process()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let options = options(folder.path(), pinned, &[FaultKind::Stop]);
    let outcome = run(&options, &project(), &never, |_| {}).unwrap();
    let budget = Duration::from_secs(5);
    let reproduced = reproduce(&options, &project(), &outcome, budget, &never, |_, _| {}).unwrap();
    assert_eq!(reproduced, Reproduced::default(), "{:#?}", outcome.verdict.findings);
}
