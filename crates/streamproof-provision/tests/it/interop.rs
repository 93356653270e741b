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

#[tokio::test]
async fn the_nats_cli_and_we_understand_each_other() {
    let ground = Ground::new().await;
    let url = ground.url();
    let Some(made) =
        nats(&url, &["stream", "add", "CLI", "--subjects", "cli.>", "--defaults", "--max-age", "1h"])
    else {
        println!("skipped: the nats CLI is not installed");
        return;
    };
    assert!(made.0, "{}", made.1);
    for words in [
        vec!["consumer", "add", "CLI", "WORK", "--pull", "--defaults", "--ack", "explicit"],
        vec!["kv", "add", "SETTINGS", "--history", "3", "--ttl", "1h"],
        vec!["object", "add", "FILES"],
    ] {
        let (ok, text) = nats(&url, &words).unwrap();
        assert!(ok, "{words:?}: {text}");
    }
    let observed = observe(&ground.js).await.unwrap();
    let export = export(&observed, false);
    let desired = from_export(&ground.version, &export);
    let again = plan(&desired, &observed, &Options::default());
    assert_eq!(again.pending, 0, "{:?}", pending(&again));
    let paths: Vec<String> = export.files.iter().map(|(path, _)| path.display().to_string()).collect();
    for path in ["streams/CLI.json", "consumers/CLI/WORK.json", "kv/SETTINGS.json", "objects/FILES.json"] {
        assert!(paths.iter().any(|p| p == path), "{path} is not among {paths:?}");
    }

    let files = [
        (
            "streams/OURS.json",
            json!({"name": "OURS", "subjects": ["ours.*"], "max_msgs": 100, "max_age": "24h"}),
        ),
        ("consumers/OURS/C.json", json!({"durable_name": "C", "ack_policy": "explicit", "ack_wait": "5s"})),
        ("kv/K.json", json!({"bucket": "K", "history": 7})),
    ];
    ground.settle(&files, &Allow::default()).await;
    let (ok, text) = nats(&url, &["stream", "info", "OURS", "--json"]).unwrap();
    assert!(ok, "{text}");
    let mut info: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(info.pointer("/config/max_age"), Some(&json!(86_400_000_000_000u64)));
    // The CLI's own edit finds nothing to change in what its own info says.
    info["config"]["metadata"].as_object_mut().unwrap().retain(|key, _| !key.starts_with("_nats."));
    let file = ground.journals.path().join("ours.json");
    std::fs::write(&file, info["config"].to_string()).unwrap();
    let (ok, text) =
        nats(&url, &["stream", "edit", "OURS", "--config", file.to_str().unwrap(), "--dry-run"]).unwrap();
    assert!(ok && !text.contains("Differences"), "{text}");
    let (ok, text) = nats(&url, &["kv", "info", "K"]).unwrap();
    assert!(ok && text.contains("History Kept: 7"), "{text}");
}
