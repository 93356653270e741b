//! A real nats-server on the FUSE filesystem, and on the crash states that its log leads to.

use std::path::Path;
use std::time::Duration;

use streamproof_crashfs::fuse::{MountOptions, Recording};
use streamproof_crashfs::{Budget, Disk, Log, Places, Profile, Rules, cuts, explore, states};
use streamproof_server::Scratch;

use super::fuse::skipped;
use super::nats::{Nats, PATIENT};

const STREAM: &str = "CUT";
const SUBJECT: &str = "cut.here";

/// How long an acknowledgement that must not come is waited for: a thousand times what one takes.
const LATE: Duration = Duration::from_secs(1);

/// What was acknowledged, and when; by time.
struct Run {
    log: Log,
    /// Number, sequence, and time in nanoseconds of the log.
    acked: Vec<(u64, u64, u64)>,
}

/// A server with its store on the mount publishes `count` messages, then the power goes.
fn run(jetstream: &str, count: u64) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::mount(&dir.path().join("m"), Log::new(), &MountOptions::default()).unwrap();
    let mut server =
        Scratch::builder().jetstream(jetstream).store_dir(recording.mountpoint()).start().unwrap();
    let mut nats = Nats::connect(&server.address(), PATIENT).unwrap();
    nats.create_stream(STREAM, SUBJECT, &serde_json::json!({})).unwrap();
    let acked = nats.publish(SUBJECT, 0..count, 128).unwrap();
    assert_eq!(acked.len() as u64, count, "not all was acknowledged:\n{}", server.log_tail(20));
    recording.cut();
    // After the cut nothing is acknowledged any more.
    let mut late = Nats::connect(&server.address(), LATE).unwrap();
    let late = late.publish(SUBJECT, count..count + 1, 128).unwrap_or_default();
    assert!(late.is_empty(), "acknowledged without power");
    server.kill().unwrap();
    let acked = acked.iter().map(|a| (a.number, a.sequence, recording.at_ns(a.at))).collect();
    Run { log: recording.finish().unwrap(), acked }
}

/// What was found in a crash state.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// Whether there was a stream at all.
    stream: bool,
    /// Acknowledged before the cut.
    acked: usize,
    /// Of those, not there with their sequence and their body.
    lost: usize,
    /// There, and not one of ours.
    foreign: usize,
}

/// Starts a server on some states of a run and reads everything back.
fn judge(run: &Run, rules: Rules, cut_count: usize) -> Vec<Found> {
    let marks: Vec<u64> = run.acked.iter().map(|a| a.2).collect();
    let chosen = cuts(&run.log, &marks, 7, Budget::new(cut_count));
    let states = states(&run.log, &chosen, rules);
    let dir = tempfile::tempdir().unwrap();
    let places = Places::below(&dir.path().join("states"), 2);
    let visit = |dir: &Path, cut_ns: u64| {
        let server = Scratch::builder().store_dir(dir).start().unwrap();
        let found = Nats::connect(&server.address(), PATIENT).unwrap().read(STREAM).unwrap();
        let stored = found.clone().unwrap_or_default();
        let acked: Vec<_> = run.acked.iter().filter(|a| a.2 <= cut_ns).collect();
        let there = |a: &&&(u64, u64, u64)| {
            stored.binary_search_by_key(&a.1, |s| s.sequence).is_ok_and(|at| stored[at].number == Some(a.0))
        };
        Found {
            stream: found.is_some(),
            acked: acked.len(),
            lost: acked.len() - acked.iter().filter(there).count(),
            foreign: stored.iter().filter(|s| s.number.is_none()).count(),
        }
    };
    explore::<_, streamproof_crashfs::CrashFsError, _>(&run.log, &states, rules, &places, |v| {
        Ok(visit(v.dir, v.state.cut.at_ns))
    })
    .unwrap()
}

#[test]
fn by_default_a_power_cut_takes_every_acknowledged_message_and_the_stream() {
    if skipped() {
        return;
    }
    let run = run("", 1000);
    let counts = run.log.counts();
    assert!(counts["write"] >= 1000, "{counts:?}");
    assert_eq!(counts.get("fsync"), None, "nothing is synced in the first seconds: {counts:?}");
    for found in judge(&run, Rules::new(Profile::Ext4), 10) {
        assert_eq!((found.stream, found.lost), (false, found.acked), "{found:?}");
    }
    // The control: were every write durable, none would be lost.
    let all = judge(&run, Rules::new(Profile::Ext4).with_disk(Disk::Durable), 10);
    assert!(all.iter().any(|f| f.acked > 0), "{all:?}");
    for found in all {
        assert_eq!((found.lost, found.foreign), (0, 0), "{found:?}");
    }
}

#[test]
fn with_sync_always_no_acknowledged_message_is_lost_on_ext4() {
    if skipped() {
        return;
    }
    let run = run("sync_interval: always", 200);
    let counts = run.log.counts();
    let syncs = counts.get("fsync").unwrap_or(&0) + counts.get("sync-write").unwrap_or(&0);
    assert!(syncs >= 200, "{counts:?}");
    let found = judge(&run, Rules::new(Profile::Ext4), 30);
    assert!(found.iter().any(|f| f.acked > 100), "{found:?}");
    assert!(found.iter().all(|f| f.lost == 0 && f.foreign == 0), "{found:?}");
    // The control: on a disk that lies, whoever relies on syncs must be found to lose.
    let lying = judge(&run, Rules::new(Profile::Ext4).with_disk(Disk::Lying), 10);
    assert!(lying.iter().any(|f| f.acked > 0 && f.lost == f.acked), "{lying:?}");
}
