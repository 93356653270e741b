//! Real file systems whose power goes: what the kernel keeps, what the model says of it, and what a killed process leaves.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use streamproof_crashfs::CrashFsError;
use streamproof_crashfs::real::{Kind, RealDisk, available, clean_stale, power_cut};
use streamproof_server::Scratch;
use streamproof_server::poll::{self, Pace};

use super::kernel::{Ending, compare, place, random_sequence};
use super::nats::{Nats, PATIENT};

/// Room for a test's files.
const SIZE: u64 = 64 << 20;

/// Sequences of a test run; the example `kernel` does thousands.
const SEQUENCES: u64 = 60;

/// Whether to skip: never where loop devices are required.
#[expect(clippy::print_stdout, reason = "a test that skips says so")]
fn skipped(kind: Kind) -> bool {
    let Err(why) = available(kind) else { return false };
    let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
    let is_required = required.split(',').any(|r| r.trim() == "loop");
    // XFS is looked at where its tools are; ext4 is what the default profile speaks of.
    assert!(!(is_required && kind == Kind::Ext4), "a loop device is required: {why}");
    println!("skipped: {}: {why}", kind.name());
    true
}

#[test]
fn what_the_kernel_leaves_of_random_sequences_is_what_the_model_allows() {
    if skipped(Kind::Ext4) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut disk = RealDisk::create(&place(dir.path(), 0), Kind::Ext4, SIZE).unwrap();
    for ending in [Ending::Cut, Ending::OthersSync] {
        let mut same = 0;
        for seed in 1..=SEQUENCES {
            let compared = compare(&mut disk, &random_sequence(seed, 30), ending, |_| {}).unwrap();
            assert_eq!(compared.refused, None, "seed {seed}, {ending:?}\n{}", compared.shown);
            same += u64::from(compared.is_the_profiles);
        }
        // A set that allows everything would pass, too: mostly the kernel leaves the one state that the profile makes.
        assert!(same * 2 > SEQUENCES, "{ending:?}: only {same} of {SEQUENCES} are exactly the profile's");
    }
}

#[test]
fn the_kernel_keeps_what_was_synced_and_the_name_alone_of_what_was_not() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        if skipped(kind) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut disk = RealDisk::create(dir.path(), kind, SIZE).unwrap();
        let root = disk.mountpoint().to_owned();
        fs::write(root.join("not-synced"), "bytes").unwrap();
        let mut synced = File::create(root.join("synced")).unwrap();
        synced.write_all(b"bytes").unwrap();
        synced.sync_all().unwrap();
        fs::write(root.join("after"), "bytes").unwrap();
        disk.shutdown().unwrap();
        let refused = fs::write(root.join("later"), "").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(5), "{refused}");
        drop(synced);
        disk.remount().unwrap();
        assert_eq!(fs::read_to_string(root.join("synced")).unwrap(), "bytes", "{}", kind.name());
        assert_eq!(fs::read_to_string(root.join("not-synced")).unwrap(), "", "{}", kind.name());
        assert!(!root.join("after").exists(), "{}", kind.name());
    }
}

/// A server on a real file system publishes, the power goes, and it is started again: how many of how many are there.
fn publish_and_cut(kind: Kind, jetstream: &str, count: u64) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = RealDisk::create(dir.path(), kind, 128 << 20).unwrap();
    let store = disk.mountpoint().join("store");
    let mut server = Scratch::builder().jetstream(jetstream).store_dir(&store).start().unwrap();
    let mut nats = Nats::connect(&server.address(), PATIENT).unwrap();
    nats.create_stream("CUT", "cut", &serde_json::json!({})).unwrap();
    let acked = nats.publish("cut", 0..count, 128).unwrap();
    let other = &mut server;
    let end_server = || -> Result<(), CrashFsError> {
        other.kill().unwrap();
        Ok(())
    };
    let there = power_cut(&mut disk, &store, end_server, |cut| {
        let server = Scratch::builder().store_dir(cut.store).start().unwrap();
        let stored = Nats::connect(&server.address(), PATIENT).unwrap().read("CUT").unwrap();
        let stored = stored.unwrap_or_default();
        let there = acked
            .iter()
            .filter(|a| a.at <= cut.began)
            .filter(|a| stored.iter().any(|s| s.sequence == a.sequence && s.number == Some(a.number)));
        Ok::<_, CrashFsError>(there.count())
    });
    (there.unwrap(), acked.len())
}

#[test]
fn on_the_real_thing_the_default_loses_all_and_sync_always_none() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        if skipped(kind) {
            continue;
        }
        assert_eq!(publish_and_cut(kind, "", 500), (0, 500), "{}", kind.name());
        assert_eq!(publish_and_cut(kind, "sync_interval: always", 200), (200, 200), "{}", kind.name());
    }
}

#[test]
fn a_copy_of_the_mount_that_another_namespace_has_for_a_moment_is_waited_for() {
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    for kind in [Kind::Ext4, Kind::Xfs] {
        if skipped(kind) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut disk = RealDisk::create(dir.path(), kind, SIZE).unwrap();
        fs::write(disk.mountpoint().join("not-synced"), "bytes").unwrap();
        // As a container has, that is being started.
        let mut holder = Command::new("unshare").args(["-m", "sleep", "0.5"]).spawn().unwrap();
        let namespace = PathBuf::from(format!("/proc/{}/ns/mnt", holder.id()));
        let has_its_own = || match fs::read_link(&namespace) {
            Ok(other) if other != own => Ok(()),
            other => Err(format!("{other:?}")),
        };
        poll::until(Pace::QUICK, PATIENT, has_its_own).unwrap();
        disk.shutdown().unwrap();
        disk.remount().unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
        let kept = fs::read_to_string(disk.mountpoint().join("not-synced")).unwrap_or_default();
        assert_eq!(kept, "", "{}: not shut down", kind.name());
        assert!(holder.wait().unwrap().success());
    }
}

/// Where the child of the last test makes its disk; set for the child alone.
const CHILD_DIR: &str = "STREAMPROOF_TEST_DISK_IN";

/// Not a test of its own: what the next test starts as a process, and kills.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else { return };
    let disk = RealDisk::create(&dir, Kind::Ext4, SIZE).unwrap();
    fs::write(disk.mountpoint().join("a"), "written").unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "STEP made").and_then(|()| out.flush()).unwrap();
    // Until the other end is closed, or the process is killed.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn attached(dir: &Path) -> usize {
    let devices = fs::read_dir("/sys/block").unwrap().flatten();
    let files = devices.filter_map(|d| fs::read_to_string(d.path().join("loop/backing_file")).ok());
    files.filter(|file| Path::new(file.trim_end()).starts_with(dir)).count()
}

fn mounted(dir: &Path) -> usize {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|l| l.split(' ').nth(4).is_some_and(|m| Path::new(m).starts_with(dir))).count()
}

#[test]
fn a_killed_process_leaves_a_disk_that_the_next_one_takes_away_and_a_living_one_keeps_its_own() {
    if skipped(Kind::Ext4) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "real::child", "--nocapture"])
        .env(CHILD_DIR, root.join("left"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.ends_with("STEP made")));
    assert_eq!(clean_stale(&root).unwrap(), Vec::<PathBuf>::new(), "a living one was taken away");
    assert_eq!((attached(&root), mounted(&root)), (1, 1));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        (attached(&root), mounted(&root)),
        (1, 1),
        "nothing was left behind: the kill came to nothing"
    );
    assert_eq!(clean_stale(&root).unwrap().len(), 1);
    assert_eq!(mounted(&root), 0);
    // And the place can be used again.
    let disk = RealDisk::create(&root.join("left"), Kind::Ext4, SIZE).unwrap();
    assert!(!disk.mountpoint().join("a").exists());
    drop(disk);
    // Detached at the end of its use: a process that is being started beside us has a copy of our files until its exec.
    let gone = || if (attached(&root), mounted(&root)) == (0, 0) { Ok(()) } else { Err("left after a drop") };
    poll::until(Pace::CALM, PATIENT, gone).unwrap();
}
