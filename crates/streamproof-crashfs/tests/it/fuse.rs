//! The FUSE filesystem as a program sees it, and what its log says afterwards.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use streamproof_crashfs::fuse::{MountOptions, Recording, available};
use streamproof_crashfs::{Cut, Log, Profile, Rules, Tree, materialise, state};

/// Whether to skip: never where FUSE is required.
#[expect(clippy::print_stdout, reason = "a test that skips says so")]
pub(crate) fn skipped() -> bool {
    let Err(why) = available(false) else { return false };
    let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r.trim() == "fuse"), "FUSE is required: {why}");
    println!("skipped: {why}");
    true
}

fn record(act: impl FnOnce(&std::path::Path)) -> Log {
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::mount(&dir.path().join("m"), Log::new(), &MountOptions::default()).unwrap();
    act(recording.mountpoint());
    recording.finish().unwrap()
}

fn end(log: &Log, profile: Profile) -> String {
    state(log, Cut::after(log, log.entries().len()), Rules::new(profile)).render(log)
}

#[test]
fn a_write_without_a_sync_vanishes_and_with_one_stays() {
    if skipped() {
        return;
    }
    let log = record(|dir| {
        fs::write(dir.join("lost"), "never synced").unwrap();
        let mut file = File::create(dir.join("kept")).unwrap();
        file.write_all(b"synced").unwrap();
        file.sync_all().unwrap();
    });
    assert_eq!(log.counts().get("fsync"), Some(&1), "{:?}", log.counts());
    assert_eq!(end(&log, Profile::Ext4), "kept \"synced\"\nlost \"\"\n");
    assert_eq!(end(&log, Profile::Path), "kept \"synced\"\n");
    assert_eq!(end(&log, Profile::Strict), "");
}

#[test]
fn syncs_of_directories_and_synchronous_writes_are_seen() {
    if skipped() {
        return;
    }
    let log = record(|dir| {
        const O_SYNC: i32 = 0o4_010_000;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(O_SYNC)
            .open(dir.join("a"))
            .unwrap();
        file.write_all(b"by flag").unwrap();
        File::open(dir).unwrap().sync_all().unwrap();
        let mut file = OpenOptions::new().append(true).open(dir.join("a")).unwrap();
        file.write_all(b"+data").unwrap();
        file.sync_data().unwrap();
    });
    let counts = log.counts();
    for (kind, times) in [("sync-write", 1), ("fsyncdir", 1), ("fdatasync", 1)] {
        assert_eq!(counts.get(kind), Some(&times), "{kind} in {counts:?}");
    }
    assert_eq!(end(&log, Profile::Strict), "a \"by flag+data\"\n");
}

#[test]
fn it_is_a_file_system() {
    if skipped() {
        return;
    }
    let log = record(|dir| {
        fs::create_dir_all(dir.join("d/e")).unwrap();
        let errno = |e: std::io::Error| e.kind();
        assert_eq!(errno(fs::remove_file(dir.join("d")).unwrap_err()), std::io::ErrorKind::IsADirectory);
        assert_eq!(errno(fs::remove_dir(dir.join("d")).unwrap_err()), std::io::ErrorKind::DirectoryNotEmpty);
        assert_eq!(errno(fs::read_dir(dir.join("x")).unwrap_err()), std::io::ErrorKind::NotFound);
        let body: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        fs::write(dir.join("d/big"), &body).unwrap();
        assert!(fs::read(dir.join("d/big")).unwrap() == body, "bytes differ");
        assert_eq!(errno(fs::remove_dir(dir.join("d/big")).unwrap_err()), std::io::ErrorKind::NotADirectory);
        fs::rename(dir.join("d/big"), dir.join("d/e/moved")).unwrap();
        let mut file = OpenOptions::new().read(true).write(true).open(dir.join("d/e/moved")).unwrap();
        file.seek(std::io::SeekFrom::Start(10)).unwrap();
        file.write_all(b"overwritten").unwrap();
        file.set_len(21).unwrap();
        file.seek(std::io::SeekFrom::Start(10)).unwrap();
        let mut tail = String::new();
        file.read_to_string(&mut tail).unwrap();
        assert_eq!(tail, "overwritten");
        for i in 0..500 {
            File::create(dir.join(format!("d/e/{i}"))).unwrap();
        }
        let names: Vec<_> = fs::read_dir(dir.join("d/e")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 501);
        fs::remove_dir_all(dir.join("d")).unwrap();
        assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
    });
    assert!(log.entries().len() > 1000);
}

#[test]
fn after_the_cut_every_change_is_an_error_and_not_in_the_log() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::mount(&dir.path().join("m"), Log::new(), &MountOptions::default()).unwrap();
    let mut file = File::create(recording.mountpoint().join("a")).unwrap();
    file.write_all(b"before").unwrap();
    let cut = recording.cut();
    assert!(file.write_all(b"after").is_err());
    assert!(file.sync_all().is_err());
    assert!(File::create(recording.mountpoint().join("b")).is_err());
    drop(file);
    let log = recording.finish().unwrap();
    assert_eq!(log.entries().len(), cut.ops);
}

#[test]
fn a_state_can_be_recorded_from_again() {
    if skipped() {
        return;
    }
    let log = record(|dir| {
        fs::create_dir(dir.join("d")).unwrap();
        let mut file = File::create(dir.join("d/a")).unwrap();
        file.write_all(b"first life").unwrap();
        file.sync_all().unwrap();
        file.write_all(b" lost").unwrap();
    });
    let tree = state(&log, Cut::after(&log, log.entries().len()), Rules::new(Profile::Ext4));
    let dir = tempfile::tempdir().unwrap();
    materialise(&log, &tree, &dir.path().join("plain")).unwrap();
    let plain = fs::read_to_string(dir.path().join("plain/d/a")).unwrap();
    let again = Log::from_tree(&tree, &log);
    let recording = Recording::mount(&dir.path().join("m"), again, &MountOptions::default()).unwrap();
    assert_eq!(fs::read_to_string(recording.mountpoint().join("d/a")).unwrap(), plain);
    fs::remove_file(recording.mountpoint().join("d/a")).unwrap();
    let second = recording.finish().unwrap();
    assert!(Tree::of(second.base()).render(&second).starts_with("d/\nd/a \"first life"));
    assert_eq!(end(&second, Profile::Lazyfs), "d/\n");
    assert!(end(&second, Profile::Ext4).starts_with("d/\nd/a \"first life"), "the removal was not synced");
}

#[test]
fn a_recording_that_is_full_ends_by_name() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let options = MountOptions { limit_bytes: 1 << 20, ..MountOptions::default() };
    let recording = Recording::mount(&dir.path().join("m"), Log::new(), &options).unwrap();
    assert!(fs::write(recording.mountpoint().join("a"), vec![1; 8 << 20]).is_err());
    assert!(recording.is_full());
    let failure = recording.finish().unwrap_err();
    assert!(failure.to_string().contains("limit of 1048576 bytes"), "{failure}");
}
