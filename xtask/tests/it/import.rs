//! `up --import-store`: a store made by hand, by the recipe, becomes ours; it is copied whole or not at all, and stays as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use streamproof::model::version::Version;
use streamproof::server::{PINNED, Scratch, Sources, Wanted, acquire, poll};

use crate::recipe::{Project, docker_answers};

/// The consumer as the recipe has it: today's servers make a push consumer of it.
const RECIPES_CONSUMER: &str = r#"{
  "durable_name": "SomeConsumer", "deliver_subject": "pull", "deliver_policy": "all", "ack_policy": "explicit",
  "ack_wait": 2000000000, "max_deliver": -1, "filter_subject": "xyz.*", "replay_policy": "instant"
}"#;

/// A store as the recipe makes it, with a server of that version: a stream of so many messages, two of them acknowledged.
struct Store {
    dir: tempfile::TempDir,
    server: Option<Scratch>,
}

impl Store {
    fn made_by(version: Version, messages: &str, body: &str) -> Store {
        let dir = tempfile::tempdir().unwrap();
        let server = Scratch::builder().version(version).store_dir(dir.path()).start().unwrap();
        let hand = Project::new();
        std::fs::write(
            hand.path().join("nats-config/consumers/AnotherStream/SomeConsumer.json"),
            RECIPES_CONSUMER,
        )
        .unwrap();
        let url = server.url();
        hand.ok(&["apply", "--server", &url]);
        hand.ok(&["publish", "xyz.old", body, "--count", messages, "--server", &url]);
        hand.ok(&["consume", "AnotherStream", "SomeConsumer", "--count", "2", "--server", &url]);
        Store { dir, server: Some(server) }
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    fn stop(&mut self) {
        self.server.take().unwrap().stop().unwrap();
    }

    /// Every file with its content and its time.
    fn all(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        fn walk(dir: &Path, all: &mut BTreeMap<PathBuf, (Vec<u8>, SystemTime)>) {
            for entry in std::fs::read_dir(dir).unwrap().flatten() {
                let about = entry.metadata().unwrap();
                if about.is_dir() {
                    walk(&entry.path(), all);
                } else {
                    all.insert(
                        entry.path(),
                        (std::fs::read(entry.path()).unwrap(), about.modified().unwrap()),
                    );
                }
            }
        }
        let mut all = BTreeMap::new();
        walk(self.dir.path(), &mut all);
        all
    }
}

fn messages(project: &Project) -> u64 {
    project.json(&["info", "AnotherStream"])["data"]["stream"]["state"]["messages"].as_u64().unwrap()
}

#[test]
fn a_store_of_the_recipe_becomes_ours_once_and_stays_as_it_is() {
    let mut store = Store::made_by(Version::new(2, 10, 25), "7", "by hand");
    let project = Project::new();
    let up = |extra: &[&str]| {
        project.json(&[&["up", "--port", "auto", "--import-store", store.path()], extra].concat())
    };
    // While its server runs, nothing is begun.
    let refused = up(&[]);
    assert_eq!((refused["exit"].as_u64(), refused["code"].as_str()), (Some(5), Some("store-in-use")));
    assert_eq!(project.run(&["status"]).status.code(), Some(3));
    assert!(!project.path().join(".streamproof/n1/data").exists());
    store.stop();

    let before = store.all();
    let up = |extra: &[&str]| {
        project.json(&[&["up", "--port", "auto", "--import-store", store.path()], extra].concat())
    };
    let imported = up(&[]);
    // Imported and up; the recipe's push consumer is left as it is, and what the files want instead needs a flag.
    assert_eq!(
        (imported["exit"].as_u64(), imported["code"].as_str()),
        (Some(4), Some("pending")),
        "{imported}"
    );
    assert_eq!(imported["data"]["apply"]["skipped"][0]["name"], "AnotherStream/SomeConsumer");
    let found = &imported["data"]["imported"];
    assert_eq!(found["streams"][0]["name"], "AnotherStream");
    assert_eq!(found["streams"][0]["consumers"][0], "SomeConsumer");
    assert_eq!(
        (found["messages"].as_u64(), found["recovered"][0].as_str()),
        (Some(7), Some("AnotherStream"))
    );
    assert_eq!(found["written_by"], "2.10 or newer");
    let stream = project.json(&["info", "AnotherStream"]);
    assert_eq!(stream["data"]["stream"]["state"]["messages"], 7);
    let consumer = project.json(&["info", "AnotherStream", "SomeConsumer"]);
    assert_eq!(consumer["data"]["consumer"]["ack_floor"]["stream_seq"], 2);
    assert_eq!(store.all(), before, "the original was touched");

    // Once: the same again copies nothing, another one is refused, whether the server runs or not.
    project.ok(&["publish", "xyz.new", "ours"]);
    assert_eq!(up(&[])["data"]["imported"], Value::Null);
    let mut other = Store::made_by(PINNED, "3", "another");
    other.stop();
    let refused = || project.json(&["up", "--import-store", other.path()])["code"].clone();
    assert_eq!(refused(), "already-exists");
    project.ok(&["down"]);
    assert_eq!(refused(), "already-exists");
    assert_eq!(project.run(&["status"]).status.code(), Some(3));
    assert_eq!(up(&[])["data"]["imported"], Value::Null);
    assert_eq!(messages(&project), 8);
}

#[test]
fn a_store_of_a_newer_server_or_none_at_all_is_refused() {
    let mut store = Store::made_by(PINNED, "3", "new");
    store.stop();
    let project = Project::new();
    let older = acquire(&Wanted::exactly(Version::new(2, 12, 1)), &Sources::from_process()).unwrap().path;
    let older = older.to_str().unwrap();
    let refused =
        project.json(&["up", "--port", "auto", "--server-bin", older, "--import-store", store.path()]);
    assert_eq!((refused["exit"].as_u64(), refused["code"].as_str()), (Some(5), Some("store-newer")));
    assert!(refused["error"]["message"].as_str().unwrap().contains("2.14 or newer"), "{refused}");
    let inside = format!("{}/jetstream", store.path());
    for wrong in [inside.as_str(), project.path().to_str().unwrap()] {
        let refused = project.json(&["up", "--port", "auto", "--import-store", wrong]);
        assert_eq!(
            (refused["exit"].as_u64(), refused["code"].as_str()),
            (Some(2), Some("usage")),
            "{refused}"
        );
    }
    assert_eq!(project.json(&["up", "--import-store", "/no/such/folder"])["code"], "io");
    assert!(!project.path().join(".streamproof/n1/data").exists());
    // The same of our own store, when our note of who ran it is lost.
    project.ok(&["up", "--port", "auto"]);
    project.ok(&["publish", "xyz.a", "x"]);
    project.ok(&["down"]);
    for note_is_there in [true, false] {
        if !note_is_there {
            std::fs::remove_file(project.path().join(".streamproof/n1/last-version")).unwrap();
        }
        let refused = project.json(&["up", "--server-bin", older]);
        assert_eq!(refused["code"], "store-newer", "{refused}");
    }
    project.ok(&["up"]);
    assert_eq!(messages(&project), 1);
}

#[test]
fn a_copy_that_was_killed_is_never_used_and_made_anew() {
    // Large enough to be caught in the middle.
    let mut store = Store::made_by(PINNED, "2000", &"x".repeat(20_000));
    store.stop();
    let before = store.all();
    let mut caught = false;
    for _ in 0..20 {
        let project = Project::new();
        let mut up = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["up", "--port", "auto", "--import-store", store.path()])
            .current_dir(project.path())
            .env("STREAMPROOF_ENGINE", "process")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let staging = project.path().join(".streamproof/n1/data.importing");
        let begun = poll::until(Duration::from_micros(200), Duration::from_secs(60), || {
            let ended = up.try_wait().unwrap().is_some();
            if ended || staging.join("jetstream").exists() { Ok(()) } else { Err("not begun") }
        });
        begun.unwrap();
        up.kill().unwrap();
        up.wait().unwrap();
        caught |= staging.exists();
        if staging.exists() {
            assert!(!project.path().join(".streamproof/n1/data").exists(), "half a copy is in its place");
        }
        // Plain `up`: the import goes on, asked for or not; never an empty store in its place.
        assert_eq!(project.json(&["up", "--port", "auto"])["code"], "pending");
        assert_eq!(messages(&project), 2000);
        assert!(!staging.exists());
        if caught {
            break;
        }
    }
    assert!(caught, "no copy was caught in the middle");
    assert_eq!(store.all(), before, "the original was touched");
}

#[test]
fn a_store_that_a_container_has_open_is_refused() {
    if !docker_answers() {
        return;
    }
    let holder = Project::on("docker");
    holder.ok(&["up", "--port", "auto"]);
    holder.ok(&["publish", "xyz.a", "x"]);
    let project = Project::new();
    let store = holder.path().join(".streamproof/n1/data");
    let store = store.to_str().unwrap();
    let refused = project.json(&["up", "--port", "auto", "--import-store", store]);
    assert_eq!(refused["code"], "store-in-use", "{refused}");
    holder.ok(&["down"]);
    let imported = project.json(&["up", "--port", "auto", "--import-store", store]);
    assert_eq!(imported["data"]["imported"]["messages"], 1, "{imported}");
}
