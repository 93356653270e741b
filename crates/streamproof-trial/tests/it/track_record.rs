//! The track record: real defects of older servers, found by the general search.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use streamproof_model::version::Version;
use streamproof_server::PINNED;
use streamproof_server::wire::Credentials;
use streamproof_trial::track_record::{Row, TABLE};
use streamproof_trial::trial::{Length, Options, search};

use crate::shipped;

/// What a search with a fixed seed finds of a row in a version; `None` where that version cannot be had here.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn found(row: &Row, version: &Version, time: Duration) -> Option<Vec<String>> {
    let binary = match shipped::server(version) {
        Ok(binary) => binary,
        Err(error) => {
            let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|what| what == "fetch"), "{error}");
            eprintln!("skipped: nats-server {version} cannot be fetched here: {error}");
            return None;
        }
    };
    let folder = shipped::workspace().join("docs/track-record").join(row.name);
    let runs = tempfile::tempdir().unwrap();
    let options = Options {
        seed: 6753,
        length: Length::For(time),
        faults: row.faults.to_vec(),
        full: false,
        profiles: Vec::new(),
        survive: None,
        strict: false,
        binary,
        upgrade_to: None,
        downgrade_to: None,
        server_conf: shipped::server_conf(&folder),
        credentials: Credentials::None,
        runs: runs.path().to_owned(),
    };
    let project = shipped::project(&folder, version).unwrap();
    let outcome =
        search(&options, &project, &AtomicBool::new(false), |verdict| row.found(verdict), |_| {}).unwrap();
    Some(row.findings(&outcome.verdict).collect())
}

#[test]
fn a_stream_that_a_plain_restart_empties_is_found_in_the_version_that_does_it_and_not_in_the_next() {
    let row = TABLE.iter().find(|row| row.name == "first-seq-emptied").unwrap();
    // Found within seconds; the bound is for a busy machine.
    if let Some(found) = found(row, &row.bad, Duration::from_secs(90)) {
        assert_eq!(found, ["M1 lost all"]);
    }
    if let Some(found) = found(row, &row.good, Duration::from_secs(3)) {
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test]
fn every_row_is_a_known_defect_of_the_one_version_and_not_of_the_other_and_stands_in_the_documentation() {
    let page = std::fs::read_to_string(shipped::workspace().join("docs/track-record.md")).unwrap();
    for row in TABLE {
        let mut of_name = streamproof_checker::known::TABLE.iter().filter(|defect| defect.name == row.name);
        let defect = of_name.next().unwrap();
        let version = |version: &Version| streamproof_checker::Version::parse(&version.to_string());
        assert!(defect.is_in(version(&row.bad)) && !defect.is_in(version(&row.good)), "{}", row.name);
        let line = page.lines().find(|line| line.starts_with(&format!("| `{}` |", row.name))).unwrap();
        for part in [format!("{} → {}", row.bad, row.good), row.seen.to_owned()] {
            assert!(line.contains(&part), "{part} is not in: {line}");
        }
        assert!(page.contains(&format!("--example track_record -- {}", row.name)), "{}", row.name);
    }
}

#[test]
fn the_shipped_projects_are_valid() {
    for folder in ["docs/track-record", "crates/streamproof-trial/configs"] {
        for entry in std::fs::read_dir(shipped::workspace().join(folder)).unwrap() {
            let project = shipped::project(&entry.unwrap().path(), &PINNED).unwrap();
            assert!(!project.desired.streams.is_empty());
            assert!(project.findings.is_empty(), "{:?}", project.findings);
        }
    }
}
