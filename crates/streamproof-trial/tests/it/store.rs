//! Copies of stores, restarted and upgraded; the originals must stay as they are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use streamproof_checker::{Cell, Context, Invariant, Overall};
use streamproof_model::failure::{Code, Failure};
use streamproof_model::op::FaultKind;
use streamproof_server::acquire::Binary;
use streamproof_server::{PINNED, Scratch, Sources, Version, Wanted, acquire};
use streamproof_trial::picture::proof::Proof;
use streamproof_trial::store::{Doing, Options, Store, StoreError, check};
use streamproof_trial::wire::{Login, Wire};

const LIMIT: Duration = Duration::from_secs(10);

fn binary(version: Version) -> Binary {
    acquire(&Wanted::exactly(version), &Sources::from_process()).unwrap()
}

/// A store that was made by this server and stopped in good order.
fn store(binary: &Binary, streams: &[Value], count: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Scratch::builder().binary(binary.clone()).store_dir(dir.path()).start().unwrap();
    let address: SocketAddr = server.address().parse().unwrap();
    let mut wire = Wire::connect(address, &Login::default(), LIMIT).unwrap();
    for stream in streams {
        let name = stream["name"].as_str().unwrap();
        wire.api(&format!("STREAM.CREATE.{name}"), stream, LIMIT).unwrap();
        for number in 0..count {
            let (_, reply) = wire.reply_subject();
            wire.publish(&format!("{name}.a"), Some(&reply), b"", number.to_string().as_bytes()).unwrap();
        }
        for _ in 0..count {
            wire.next(Instant::now() + LIMIT).unwrap().unwrap();
        }
        let request =
            json!({ "stream_name": name, "config": { "durable_name": "READER", "ack_policy": "explicit" } });
        wire.api(&format!("CONSUMER.DURABLE.CREATE.{name}.READER"), &request, LIMIT).unwrap();
    }
    server.stop().unwrap();
    dir
}

fn stream(name: &str) -> Value {
    json!({ "name": name, "subjects": [format!("{name}.*")], "storage": "file" })
}

/// Every file with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                files.insert(entry.path(), std::fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

fn options<'a>(
    dir: &Path,
    binary: &Binary,
    faults: &'a [FaultKind],
    cancel: &'a AtomicBool,
    runs: &Path,
) -> Options<'a> {
    Options {
        store: Store::look(dir).unwrap(),
        binary: binary.clone(),
        upgrade_to: None,
        downgrade_to: None,
        repeat: "cargo xtask restart-check --store".to_owned(),
        faults,
        context: Context::default(),
        runs: runs.to_owned(),
        cancel,
    }
}

fn found(proof: &Proof) -> Vec<(Invariant, &str, &str, u64)> {
    let findings = proof.verdict.findings.iter();
    findings.map(|one| (one.invariant, one.target.as_str(), one.class.as_str(), one.count)).collect()
}

#[test]
fn a_copy_is_restarted_and_the_original_stays_as_it_is() {
    let pinned = binary(PINNED);
    let dir = store(&pinned, &[stream("ORDERS"), stream("JOBS")], 200);
    let before = files(dir.path());
    let runs = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let faults = [FaultKind::Restarts, FaultKind::Kill, FaultKind::IndexLost];
    let mut copied = 0;
    let proof = check(&options(dir.path(), &pinned, &faults, &never, runs.path()), |doing| {
        if let Doing::Copy(bytes, _) = doing {
            copied = bytes;
        }
    })
    .unwrap();
    assert_eq!(proof.verdict.verdict, Overall::Pass, "{:#?}", proof.verdict);
    assert_eq!(proof.verdict.faults.len(), 6);
    assert!(proof.verdict.faults.iter().all(|cell| cell.verdict == Cell::Pass));
    assert_eq!(proof.verdict.restarts_verified, 3 + 1 + 1);
    assert_eq!(files(dir.path()), before, "the original was changed");
    assert_eq!(copied, before.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    assert!(!proof.folder.join("copy").exists(), "the copy is left behind");
    // The folder below is a store too, and what holds none is refused.
    assert_eq!(Store::look(&dir.path().join("jetstream")).unwrap(), Store::look(dir.path()).unwrap());
    assert!(matches!(Store::look(runs.path()), Err(StoreError::NotAStore(_))));
}

#[test]
fn an_upgrade_and_a_downgrade_are_compared_and_a_newer_store_is_refused() {
    let (old, pinned) = (binary(Version::new(2, 11, 2)), binary(PINNED));
    let dir = store(&old, &[stream("ORDERS")], 100);
    let before = files(dir.path());
    let runs = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let mut asked = options(dir.path(), &old, &[], &never, runs.path());
    asked.upgrade_to = Some(pinned.clone());
    asked.downgrade_to = Some(old.clone());
    let proof = check(&asked, |_| {}).unwrap();
    let cells: Vec<(&str, &str)> =
        proof.verdict.faults.iter().map(|cell| (cell.fault.as_str(), cell.shown())).collect();
    assert_eq!(
        cells,
        [
            ("upgrade", format!("2.11.2 became {PINNED}").as_str()),
            ("downgrade", format!("{PINNED} became 2.11.2").as_str())
        ]
    );
    assert_eq!(proof.verdict.verdict, Overall::Pass, "{:#?}", proof.verdict);
    assert_eq!(files(dir.path()), before);
    // A store that the pinned server wrote is not opened by the older one as if it were its own.
    let newer = store(&pinned, &[stream("ORDERS")], 10);
    let refused = check(&options(newer.path(), &old, &[], &never, runs.path()), |_| {}).unwrap_err();
    assert_eq!(refused.code(), Code::StoreNewer, "{refused}");
    assert!(refused.to_string().contains("stream ORDERS"), "{refused}");
    // Nor one with a stream that asks for more than a server knows.
    let meta = dir.path().join("jetstream/$G/streams/ORDERS/meta.inf");
    let text = std::fs::read_to_string(&meta).unwrap();
    std::fs::write(&meta, text.replace(r#""_nats.req.level":"0""#, r#""_nats.req.level":"99""#)).unwrap();
    let refused = check(&options(dir.path(), &pinned, &[], &never, runs.path()), |_| {}).unwrap_err();
    assert_eq!(refused.code(), Code::StoreNewer, "{refused}");
    assert!(refused.to_string().contains("API level 99"), "{refused}");
}

#[test]
fn a_store_that_a_bad_server_empties_is_a_failure() {
    // nats-server #6753: a stream with `first_seq` is emptied by a plain restart.
    let (bad, good) = (binary(Version::new(2, 11, 1)), binary(Version::new(2, 11, 2)));
    let mut config = stream("LATE");
    config["first_seq"] = json!(1000);
    let runs = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let dir = store(&bad, &[config], 50);
    let proof = check(&options(dir.path(), &bad, &[], &never, runs.path()), |_| {}).unwrap();
    assert_eq!(proof.verdict.verdict, Overall::Fail, "{:#?}", proof.verdict);
    // Already the first start on the copy does it.
    assert!(
        found(&proof).contains(&(Invariant::M2, "LATE", "lost all at the first start", 50)),
        "{:?}",
        found(&proof)
    );
    let mended = check(&options(dir.path(), &good, &[], &never, runs.path()), |_| {}).unwrap();
    assert_eq!(mended.verdict.verdict, Overall::Pass, "{:#?}", mended.verdict);
}

#[test]
fn a_store_in_use_is_noticed_and_a_run_called_off_leaves_nothing() {
    let pinned = binary(PINNED);
    let dir = store(&pinned, &[stream("ORDERS")], 20);
    let runs = tempfile::tempdir().unwrap();
    let cancel = AtomicBool::new(false);
    let asked = options(dir.path(), &pinned, &[], &cancel, runs.path());
    let user = Scratch::builder().binary(pinned.clone()).store_dir(dir.path()).start().unwrap();
    let refused = check(&asked, |_| {}).unwrap_err();
    assert_eq!(refused.code(), Code::StoreInUse, "{refused}");
    assert!(refused.to_string().contains(&user.pid().unwrap().to_string()), "{refused}");
    drop(user);
    let ended = check(&asked, |doing| {
        if matches!(doing, Doing::Start(_)) {
            cancel.store(true, Ordering::Relaxed);
        }
    });
    assert!(matches!(ended, Err(StoreError::Cancelled)), "{ended:?}");
    let left: Vec<PathBuf> =
        std::fs::read_dir(runs.path()).unwrap().flatten().map(|run| run.path().join("copy")).collect();
    assert!(!left.is_empty() && left.iter().all(|copy| !copy.exists()), "{left:?}");
}

#[test]
fn every_account_of_a_store_is_looked_at() {
    let pinned = binary(PINNED);
    let one = store(&pinned, &[stream("ORDERS")], 20);
    let other = store(&pinned, &[stream("ORDERS"), stream("MORE")], 30);
    let from = other.path().join("jetstream/$G");
    std::fs::rename(from, one.path().join("jetstream/SHOP")).unwrap();
    let runs = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let proof = check(&options(one.path(), &pinned, &[], &never, runs.path()), |_| {}).unwrap();
    assert_eq!(proof.verdict.verdict, Overall::Pass, "{:#?}", proof.verdict);
    let mut targets: Vec<&str> = proof.verdict.faults.iter().map(|cell| cell.target.as_str()).collect();
    targets.sort_unstable();
    assert_eq!(targets, ["$G/ORDERS", "SHOP/MORE", "SHOP/ORDERS"]);
    assert_eq!(proof.verdict.counts.read_back, 20 + 60);
}
