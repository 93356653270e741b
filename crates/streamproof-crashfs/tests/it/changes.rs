//! Every kind of change, asked of the kernel on the mount, and what the log says of each; and the mount of a user who is not root.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::fs::{FallocateFlags, RenameFlags};
use streamproof_crashfs::fuse::{MountOptions, Recording};
use streamproof_crashfs::log::{Op, WriteSync};
use streamproof_crashfs::{Cut, Log, Profile, Rules, state};

use super::fuse::skipped;

#[test]
fn every_kind_of_change_is_in_the_log_as_it_was_asked_for() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::mount(&dir.path().join("m"), Log::new(), &MountOptions::default()).unwrap();
    let at = |name: &str| recording.mountpoint().join(name);
    // As the kernel has them; rustix has `DSYNC` with the bits of `SYNC`.
    const O_DSYNC: i32 = 0o10_000;
    const O_SYNC: i32 = 0o4_010_000;
    let with = |name: &str, flags: i32| {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags)
            .open(at(name))
            .unwrap()
    };
    fs::create_dir(at("d")).unwrap();
    with("a", 0).write_all(b"plain").unwrap();
    with("b", O_DSYNC).write_all(b"its data").unwrap();
    with("c", O_SYNC).write_all(b"all of it").unwrap();
    let file = with("a", 0);
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 4096).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 4096, 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 4096);
    assert!(
        rustix::fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 9).is_err()
    );
    file.set_len(5).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    fs::hard_link(at("a"), at("d/link")).unwrap();
    let place = File::open(recording.mountpoint()).unwrap();
    let rename = |from: &str, to: &str, flags| rustix::fs::renameat_with(&place, from, &place, to, flags);
    assert!(rename("a", "b", RenameFlags::NOREPLACE).is_err(), "there is one of that name");
    rename("a", "e", RenameFlags::NOREPLACE).unwrap();
    rename("b", "c", RenameFlags::EXCHANGE).unwrap();
    assert!(rename("b", "c", RenameFlags::WHITEOUT).is_err());
    assert_eq!(fs::read(at("b")).unwrap(), b"all of it");
    rename("b", "c", RenameFlags::empty()).unwrap();
    place.sync_all().unwrap();
    fs::remove_file(at("d/link")).unwrap();
    fs::remove_dir(at("d")).unwrap();
    drop((file, place));
    let log = recording.finish().unwrap();

    let counts = log.counts();
    for (kind, times) in [
        ("mkdir", 1),
        ("create", 3),
        ("write", 3),
        ("sync-write", 2),
        ("fallocate", 2),
        ("truncate", 1),
        ("setattr", 1),
        ("fdatasync", 1),
        ("fsync", 1),
        ("fsyncdir", 1),
        ("link", 1),
        ("rename", 3),
        ("unlink", 1),
        ("rmdir", 1),
    ] {
        assert_eq!(counts.get(kind), Some(&times), "{kind} in {counts:?}");
    }
    let told: Vec<String> = log
        .entries()
        .iter()
        .filter_map(|entry| match &entry.op {
            Op::Write { sync, .. } => Some(match sync {
                WriteSync::None => "write".to_owned(),
                WriteSync::Data => "O_DSYNC".to_owned(),
                WriteSync::Full => "O_SYNC".to_owned(),
            }),
            Op::Fallocate { off, len, keep_size, .. } => Some(format!("fallocate {off} {len} {keep_size}")),
            Op::Rename { exchange, replaced, .. } => Some(match (exchange, replaced) {
                (true, _) => "exchange".to_owned(),
                (false, Some(_)) => "rename over another".to_owned(),
                (false, None) => "rename".to_owned(),
            }),
            _ => None,
        })
        .collect();
    let expected = [
        "write",
        "O_DSYNC",
        "O_SYNC",
        "fallocate 0 4096 false",
        "fallocate 4096 4096 true",
        "rename",
        "exchange",
        "rename over another",
    ];
    assert_eq!(told, expected);
    assert!(log.entries().windows(2).all(|two| two[0].at_ns <= two[1].at_ns), "in the order of time");
}

/// Where the child that is not root records; set for the child alone.
const CHILD_DIR: &str = "STREAMPROOF_TEST_UNPRIVILEGED";

/// Nobody: a user that every Linux has.
const NOBODY: u32 = 65_534;

/// Not a test of its own: what the next one starts as another user.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else { return };
    assert!(!rustix::process::geteuid().is_root());
    if skipped() {
        return;
    }
    let recording = Recording::mount(&dir.join("m"), Log::new(), &MountOptions::default()).unwrap();
    let mut file = File::create(recording.mountpoint().join("a")).unwrap();
    file.write_all(b"synced").unwrap();
    file.sync_all().unwrap();
    file.write_all(b" and not").unwrap();
    let cut = recording.cut();
    drop(file);
    let log = recording.finish().unwrap();
    let tree = |cut: Cut, profile| state(&log, cut, Rules::new(profile)).render(&log);
    assert_eq!(tree(cut, Profile::Path), "a \"synced\"\n");
    writeln!(std::io::stdout(), "RECORDED {}", log.counts()["fsync"]).unwrap();
}

#[test]
fn a_user_who_is_not_root_records_through_fusermount3() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The program and the place must be the other user's to reach.
    let place = dir.path().join("place");
    let program = dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::create_dir(&place).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&program);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&place, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command
        .args(["--exact", "changes::child", "--nocapture"])
        .env(CHILD_DIR, &place)
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said: Vec<String> =
        BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
    let failed = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert!(child.wait().unwrap().success(), "{said:?} {failed}");
    // Where it may not (no `fusermount3`, a device that is not for all), it has said so.
    let ended = said.iter().any(|line| line.contains("RECORDED 1") || line.contains("skipped: "));
    assert!(ended, "{said:?} {failed}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(place.to_str().unwrap()), "something is still mounted");
}
