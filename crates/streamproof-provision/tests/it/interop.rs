//! Both ways with the `nats` CLI, where it is installed: what it made we understand, what we made it takes for its own.

use crate::ground::{Ground, from_export, pending};
use serde_json::{Value, json};
use std::process::Command;
use streamproof_model::plan::{Options, plan};
use streamproof_provision::{Allow, export, observe};

fn nats(url: &str, words: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("nats").args(["--server", url]).args(words).output();
    match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        output => {
            let output = output.unwrap();
            let text = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
        }
    }
}

/// Whether it is installed; where not, the test says so.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn installed() -> bool {
    let there = nats("127.0.0.1:1", &["--version"]).is_some();
    if !there {
        println!("skipped: the nats CLI is not installed");
    }
    there
}

fn must(url: &str, words: &[&str]) -> String {
    let (ok, text) = nats(url, words).unwrap();
    assert!(ok, "{words:?}: {text}");
    text
}

#[tokio::test]
async fn what_the_nats_cli_made_is_exported_planned_empty_and_its_files_are_ours() {
    if !installed() {
        return;
    }
    let ground = Ground::new().await;
    let url = ground.url();
    for words in [
        &["stream", "add", "CLI", "--subjects", "cli.>", "--defaults", "--max-age", "1h"][..],
        &[
            "stream",
            "add",
            "WORK",
            "--subjects",
            "work.*",
            "--defaults",
            "--retention",
            "work",
            "--max-msgs",
            "1000",
            "--discard",
            "new",
        ],
        &["stream", "add", "COPY", "--mirror", "CLI", "--defaults"],
        &[
            "stream",
            "add",
            "RICH",
            "--subjects",
            "rich",
            "--defaults",
            "--storage",
            "memory",
            "--compression",
            "s2",
            "--allow-direct",
            "--allow-rollup",
            "--metadata",
            "team:a",
            "--description",
            "rich",
        ],
        &[
            "consumer",
            "add",
            "CLI",
            "PULL",
            "--pull",
            "--defaults",
            "--ack",
            "explicit",
            "--max-pending",
            "7",
            "--filter",
            "cli.a",
        ],
        &[
            "consumer",
            "add",
            "CLI",
            "PUSH",
            "--target",
            "to.here",
            "--defaults",
            "--deliver-group",
            "g",
            "--deliver",
            "new",
            "--ack",
            "all",
        ],
        &["kv", "add", "SETTINGS", "--history", "3", "--ttl", "1h"],
        &["kv", "add", "PLAIN"],
        &["object", "add", "FILES"],
    ] {
        must(&url, words);
    }
    let observed = observe(&ground.js).await.unwrap();
    for full in [false, true] {
        let export = export(&observed, full);
        let desired = from_export(&ground.version, &export);
        let again = plan(&desired, &observed, &Options::default());
        assert_eq!(again.pending, 0, "full={full}: {:?}", pending(&again));
        let paths: Vec<String> = export.files.iter().map(|(path, _)| path.display().to_string()).collect();
        for path in [
            "streams/CLI.json",
            "streams/COPY.json",
            "consumers/CLI/PULL.json",
            "consumers/CLI/PUSH.json",
            "kv/SETTINGS.json",
            "kv/PLAIN.json",
            "objects/FILES.json",
        ] {
            assert!(paths.iter().any(|p| p == path), "{path} is not among {paths:?}");
        }
    }
    // What it prints is a file of ours as it stands.
    let file = |words: &[&str]| serde_json::from_str::<Value>(&must(&url, words)).unwrap();
    let files = [
        ("streams/CLI.json", file(&["stream", "info", "CLI", "--json"])),
        ("streams/WORK.json", file(&["stream", "info", "WORK", "--json"])),
        ("consumers/CLI/PULL.json", file(&["consumer", "info", "CLI", "PULL", "--json"])),
        ("consumers/CLI/PUSH.json", file(&["consumer", "info", "CLI", "PUSH", "--json"])),
    ];
    let planned = ground.plan(&files).await;
    assert_eq!(planned.pending, 0, "{:?}", pending(&planned));
}

#[tokio::test]
async fn what_we_made_the_nats_cli_takes_for_its_own_and_our_files_too() {
    if !installed() {
        return;
    }
    let ground = Ground::new().await;
    let url = ground.url();
    let files = [
        (
            "streams/OURS.json",
            json!({"name": "OURS", "subjects": ["ours.*"], "max_msgs": 100, "max_age": 86_400_000_000_000u64}),
        ),
        (
            "streams/QUEUE.json",
            json!({"name": "QUEUE", "subjects": ["queue"], "retention": "workqueue", "discard": "new", "max_msgs": 9}),
        ),
        (
            "consumers/OURS/C.json",
            json!({"durable_name": "C", "ack_policy": "explicit", "ack_wait": 5_000_000_000u64, "max_deliver": 5}),
        ),
        ("kv/K.json", json!({"bucket": "K", "history": 7})),
        ("objects/O.json", json!({"bucket": "O", "ttl": "1h"})),
    ];
    ground.settle(&files, &Allow::default()).await;
    // Its edits find nothing to change in what its own infos say, and one thing where one is asked for.
    for name in ["OURS", "QUEUE", "KV_K", "OBJ_O"] {
        let mut info: Value = serde_json::from_str(&must(&url, &["stream", "info", name, "--json"])).unwrap();
        info["config"]["metadata"].as_object_mut().unwrap().retain(|key, _| !key.starts_with("_nats."));
        let file = ground.journals.path().join("edit.json");
        let path = file.to_str().unwrap();
        std::fs::write(&file, info["config"].to_string()).unwrap();
        let (ok, text) = nats(&url, &["stream", "edit", name, "--config", path, "--dry-run"]).unwrap();
        assert!(ok && !text.contains("Differences"), "{name}: {text}");
        info["config"]["description"] = json!("another");
        std::fs::write(&file, info["config"].to_string()).unwrap();
        let (ok, text) = nats(&url, &["stream", "edit", name, "--config", path, "--dry-run"]).unwrap();
        assert!(!ok && text.contains("Differences") && text.contains("another"), "{name}: {text}");
    }
    let info: Value =
        serde_json::from_str(&must(&url, &["consumer", "info", "OURS", "C", "--json"])).unwrap();
    assert_eq!(info.pointer("/config/ack_wait"), Some(&json!(5_000_000_000u64)));
    let text = must(&url, &["kv", "info", "K"]);
    assert!(text.contains("History Kept: 7"), "{text}");
    must(&url, &["kv", "put", "K", "key", "value"]);
    assert_eq!(must(&url, &["kv", "get", "K", "key", "--raw"]).trim(), "value");
    assert!(must(&url, &["object", "info", "O"]).contains('O'));
    assert_eq!(ground.plan(&files).await.pending, 0);
    // Our files are what `--config` takes; what it then made is what we would have made.
    let other = Ground::new().await;
    let theirs = other.url();
    for (path, file) in &files[..3] {
        let at = other.journals.path().join("made.json");
        std::fs::write(&at, file.to_string()).unwrap();
        let at = at.to_str().unwrap();
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["consumers", stream, _] => must(&theirs, &["consumer", "add", stream, "--config", at]),
            _ => must(&theirs, &["stream", "add", "--config", at]),
        };
    }
    let planned = other.plan(&files[..3]).await;
    assert_eq!(planned.pending, 0, "{:?}", pending(&planned));
}
