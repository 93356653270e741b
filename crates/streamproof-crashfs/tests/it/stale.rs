//! Recordings whose process was killed, at any moment: the next one finds the place clean.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use streamproof_crashfs::fuse::{MountOptions, Recording, clean_stale};
use streamproof_crashfs::{Log, Profile, Rules, state};
use streamproof_server::Scratch;

use super::fuse::skipped;
use super::nats::{Nats, PATIENT};

/// Where the child of these tests records; set for the child alone.
const CHILD_DIR: &str = "STREAMPROOF_TEST_RECORD_IN";

/// The step at which the child stands still; without it, it goes through all of them.
const CHILD_HOLD: &str = "STREAMPROOF_TEST_HOLD_AT";

/// What the child says before each step, in this order.
const STEPS: [&str; 8] = ["mount", "write", "server", "stream", "publish", "published", "kill", "unmount"];

/// Not a test of its own: what the other tests of this file start as a process, and kill.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else { return };
    let hold = std::env::var(CHILD_HOLD).unwrap_or_default();
    let say = |step: &str| {
        let mut out = std::io::stdout();
        writeln!(out, "STEP {step}").and_then(|()| out.flush()).unwrap();
        if step == hold {
            // Until the other end is closed.
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        }
    };
    say("mount");
    let recording = Recording::mount(&dir, Log::new(), &MountOptions::default()).unwrap();
    say("write");
    std::fs::write(dir.join("a"), "written").unwrap();
    say("server");
    let mut server = Scratch::builder().store_dir(&dir).start().unwrap();
    let mut nats = Nats::connect(&server.address(), PATIENT).unwrap();
    say("stream");
    nats.create_stream("S", "s", &serde_json::json!({})).unwrap();
    say("publish");
    nats.publish("s", 0..2000, 128).unwrap();
    say("published");
    recording.cut();
    say("kill");
    server.kill().unwrap();
    say("unmount");
    recording.finish().unwrap();
}

fn start(dir: &Path, hold: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stale::child", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_HOLD, hold)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a child record in `dir`, and kills it (SIGKILL) when it says `step`.
fn killed_at(dir: &Path, step: &str) {
    let mut child = start(dir, "");
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    // Beside the lines of the test harness, and at their ends.
    let mut lines = said.map_while(Result::ok).filter(|line| line.contains("STEP "));
    let reached = lines.any(|line| line.ends_with(&format!("STEP {step}")));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(reached, "the child ended before {step}");
}

fn mounted_at(dir: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(4) == dir.to_str())
}

/// A recording in `dir` works as in a new place.
fn works(dir: &Path, why: &str) {
    let recording = Recording::mount(dir, Log::new(), &MountOptions::default())
        .unwrap_or_else(|e| panic!("killed at {why}: {e}"));
    std::fs::write(dir.join("b"), "again").unwrap();
    let cut = recording.cut();
    let log = recording.finish().unwrap_or_else(|e| panic!("killed at {why}: {e}"));
    let tree = state(&log, cut, Rules::new(Profile::Lazyfs)).render(&log);
    assert_eq!(tree, "b \"\"\n", "killed at {why}");
    assert!(!mounted_at(dir), "killed at {why}");
}

#[test]
fn killed_at_any_step_the_next_recording_takes_the_place() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().canonicalize().unwrap().join("m");
    let mut left = 0;
    for step in STEPS {
        killed_at(&place, step);
        left += usize::from(mounted_at(&place));
        works(&place, step);
    }
    assert!(left >= 4, "only {left} mounts were left behind: the kills came to nothing");
}

#[test]
fn a_stale_mount_is_found_by_whoever_cleans_above_it_and_a_living_one_is_left() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (dead, alive) = (root.join("dead"), root.join("alive"));
    let mut other = start(&alive, "server");
    let mut said = BufReader::new(other.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.ends_with("STEP server")));
    killed_at(&dead, "server");
    assert!(mounted_at(&dead), "nothing was left behind");
    let own = Recording::mount(&root.join("own"), Log::new(), &MountOptions::default()).unwrap();
    assert!(!mounted_at(&dead), "a mount beside it cleans");
    killed_at(&dead, "server");
    assert_eq!(clean_stale(&root).unwrap(), vec![dead.clone()]);
    assert!(!mounted_at(&dead));
    for living in [&alive, &root.join("own")] {
        assert!(mounted_at(living), "{} was taken away", living.display());
    }
    assert_eq!(std::fs::read_to_string(alive.join("a")).unwrap(), "written");
    let refused = Recording::mount(&alive, Log::new(), &MountOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("by a process that is alive"), "{refused}");
    own.finish().unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(clean_stale(&root).unwrap(), vec![alive]);
}
