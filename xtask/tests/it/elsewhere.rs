//! Servers that are not ours: exported from, with what was recorded of them; adopted and pruned; plans saved and interrupted.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json as value};
use streamproof::connect::Connect;
use streamproof::provision::Js;
use streamproof::server::{Scratch, poll};

pub(crate) fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("nats-config")).unwrap();
    for (name, text) in files {
        let path = dir.path().join("nats-config").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

pub(crate) fn xtask(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(args)
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .env_remove("STREAMPROOF_PROJECT")
        .output()
        .unwrap()
}

pub(crate) fn json(dir: &Path, args: &[&str]) -> Value {
    let out = xtask(dir, &[args, &["--json"]].concat());
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{args:?}: {e}: {}", String::from_utf8_lossy(&out.stderr)))
}

/// Whether one of the notes says this.
fn says(document: &Value, part: &str) -> bool {
    document["data"]["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().contains(part))
}

const ORDERS: (&str, &str) = ("streams/ORDERS.json", r#"{ "name": "ORDERS", "subjects": ["orders.*"] }"#);

#[test]
fn an_export_records_the_server_and_restart_check_judges_that_one() {
    let server = Scratch::builder()
        .version("2.12.1".parse().unwrap())
        .jetstream("sync_interval: 37s")
        .start()
        .unwrap();
    let (url, monitor) = (server.url(), server.monitor_address());
    let dir = project(&[ORDERS]);
    json(dir.path(), &["apply", "--server", &url]);
    // Without its monitoring port what could not be seen is said; that of another server is not taken for it.
    let other = Scratch::new().unwrap();
    for (args, why) in [
        (vec!["export", "--server", &url], "its sync settings"),
        (vec!["export", "--server", &url, "--monitor", &other.monitor_address()], "of another server"),
    ] {
        let document = json(dir.path(), &args);
        assert!(document["ok"] == true && says(&document, why), "{document:#}");
        assert_eq!(document["data"]["server"]["sync_interval"], Value::Null);
        assert_eq!(document["data"]["server"]["version"], "2.12.1");
    }
    let toml = dir.path().join("nats-config/streamproof.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    assert!(text.contains("version = \"2.12.1\"") && !text.contains("sync_interval"), "{text}");
    // With it the record is whole, and what people wrote around it stays.
    std::fs::write(&toml, format!("# mine\nsurvive = [\"restart\"]\n\n{text}")).unwrap();
    let document = json(dir.path(), &["export", "--server", &url, "--monitor", &monitor]);
    assert_eq!(document["data"]["server"]["sync_interval"], "37s", "{document:#}");
    assert!(!says(&document, "its sync settings") && says(&document, "accounts"), "{document:#}");
    let text = std::fs::read_to_string(&toml).unwrap();
    assert!(text.starts_with("# mine\nsurvive = [\"restart\"]\n\n"), "{text}");
    assert!(text.contains("[exported]") && text.contains("sync_interval = \"37s\""), "{text}");
    assert!(json(dir.path(), &["plan", "--server", &url])["data"]["pending"] == 0);
    // A second time there is nothing to write.
    let document = json(dir.path(), &["export", "--server", &url, "--monitor", &monitor]);
    assert_eq!(document["data"]["written"].as_array().unwrap().len(), 0, "{document:#}");
    drop(server);

    let checked = json(dir.path(), &["restart-check", "--quick", "--fault", "stop", "--seed", "1"]);
    assert!(checked["data"]["server"].to_string().contains("2.12.1"), "{checked:#}");
    let conf = std::fs::read_to_string(dir.path().join(".streamproof/exported.conf")).unwrap();
    assert!(conf.contains("sync_interval: 37s"), "{conf}");
}

/// Sends requests of the API as others do.
fn others(url: &str, requests: &[(&str, Value)]) -> Vec<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let js = Js::new(Connect::to(url).client().await.unwrap());
        let mut answers = Vec::new();
        for (subject, body) in requests {
            answers.push(js.request(subject, body).await.unwrap());
        }
        answers
    })
}

#[test]
fn what_others_made_is_pruned_only_after_it_was_adopted() {
    let server = Scratch::new().unwrap();
    let url = server.url();
    others(
        &url,
        &[
            ("STREAM.CREATE.THEIRS", value!({"name": "THEIRS", "subjects": ["theirs"]})),
            ("STREAM.CREATE.KEPT", value!({"name": "KEPT", "subjects": ["kept"]})),
        ],
    );
    let dir = project(&[]);
    let at = |words: &[&str]| json(dir.path(), &[words, &["--server", &url]].concat());
    at(&["export"]);
    assert_eq!(at(&["plan"])["data"]["pending"], 0);
    let file = dir.path().join("nats-config/streams/THEIRS.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    // Without our mark it is nobody's business.
    for words in [&["plan", "--prune"][..], &["apply", "--prune", "--allow-data-loss"]] {
        let document = at(words);
        let plan = if words[0] == "plan" { &document["data"] } else { &document["data"]["plan"] };
        assert_eq!(plan["pending"], 0, "{document:#}");
        assert_eq!(plan["unmanaged"][0]["name"], "THEIRS");
        assert_eq!(plan["unmanaged"][0]["ours"], false);
    }
    std::fs::write(&file, text).unwrap();
    assert_eq!(at(&["plan", "--adopt"])["data"]["pending"], 2);
    assert_eq!(at(&["apply", "--adopt"])["data"]["after"]["pending"], 0);
    assert_eq!(at(&["plan"])["data"]["pending"], 0, "our mark is no difference");
    std::fs::remove_file(&file).unwrap();
    json(dir.path(), &["publish", "theirs", "x", "--server", &url]);
    assert_eq!(at(&["plan"])["data"]["pending"], 0, "nothing is pruned unasked");
    assert_eq!(at(&["apply", "--prune"])["code"], "data-loss");
    assert_eq!(at(&["apply", "--prune", "--allow-data-loss"])["ok"], true);
    assert_eq!(others(&url, &[("STREAM.NAMES", Value::Null)])[0]["streams"], value!(["KEPT"]));
}

#[test]
fn a_saved_plan_is_carried_out_as_it_is_or_refused() {
    let server = Scratch::new().unwrap();
    let url = server.url();
    let dir = project(&[ORDERS]);
    let at = |words: &[&str]| json(dir.path(), &[words, &["--server", &url]].concat());
    at(&["apply"]);
    let file = dir.path().join("nats-config/streams/ORDERS.json");
    let write = |text: &str| {
        let file_text =
            format!(r#"{{ "name": "ORDERS", "subjects": ["orders.*"], "description": "{text}" }}"#);
        std::fs::write(&file, file_text).unwrap();
    };
    let description = || {
        let infos = others(&url, &[("STREAM.INFO.ORDERS", Value::Null)]);
        infos[0]["config"]["description"].as_str().unwrap_or_default().to_owned()
    };
    write("one");
    at(&["plan", "--out", "one.json"]);
    // The plan counts, not what the files say meanwhile; and it says what is then still to be done.
    write("two");
    let applied = at(&["apply", "one.json"]);
    assert_eq!(description(), "one");
    assert_eq!(
        (&applied["exit"], &applied["data"]["after"]["pending"]),
        (&4.into(), &1.into()),
        "{applied:#}"
    );
    // Overtaken by somebody else, it is refused.
    at(&["plan", "--out", "two.json"]);
    others(
        &url,
        &[(
            "STREAM.UPDATE.ORDERS",
            value!({"name": "ORDERS", "subjects": ["orders.*"], "description": "theirs"}),
        )],
    );
    for plan in ["one.json", "two.json"] {
        let refused = at(&["apply", plan]);
        assert_eq!((&refused["code"], &refused["exit"]), (&"plan-stale".into(), &5.into()), "{refused:#}");
    }
    assert_eq!(description(), "theirs");
    // Changed by hand, of another server, or no plan at all.
    let saved = std::fs::read_to_string(dir.path().join("two.json")).unwrap();
    std::fs::write(dir.path().join("altered.json"), saved.replace("\"two\"", "\"six\"")).unwrap();
    std::fs::write(dir.path().join("none.json"), "{}").unwrap();
    for plan in ["altered.json", "none.json", "missing.json"] {
        let refused = at(&["apply", plan]);
        assert_eq!(
            (&refused["code"], &refused["exit"]),
            (&"invalid-plan".into(), &2.into()),
            "{plan}: {refused:#}"
        );
    }
    let other = Scratch::new().unwrap();
    let refused = json(dir.path(), &["apply", "two.json", "--server", &other.url()]);
    assert_eq!(refused["code"], "plan-stale", "{refused:#}");
}

#[test]
fn an_apply_that_is_interrupted_is_finished_by_the_next() {
    const STREAMS: u64 = 1500;
    let files: Vec<(String, String)> = (0..STREAMS)
        .map(|i| (format!("streams/S{i}.json"), format!(r#"{{ "name": "S{i}", "subjects": ["s.{i}"] }}"#)))
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let dir = project(&files);
    let caught = (0..10).any(|_| {
        let mut server = Scratch::new().unwrap();
        let url = server.url();
        let made = || others(&url, &[("STREAM.NAMES", Value::Null)])[0]["total"].as_u64().unwrap();
        let mut apply = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["apply", "--server", &url, "--json"])
            .current_dir(dir.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let first = server.store_dir().join("jetstream/$G/streams");
        poll::until(Duration::from_micros(100), Duration::from_secs(60), || {
            if first.exists() { Ok(()) } else { Err("it has made nothing") }
        })
        .unwrap();
        // While the server stands still, so does what is in the middle of it.
        server.pause().unwrap();
        let sent = Command::new("kill").args(["-INT", &apply.id().to_string()]).status().unwrap();
        assert!(sent.success() || apply.try_wait().unwrap().is_some());
        let out = apply.wait_with_output().unwrap();
        server.resume().unwrap();
        let left = STREAMS - made();
        if left == 0 {
            // This machine was too fast, or this test too slow, to see the middle.
            return false;
        }
        let document: Value = serde_json::from_slice(&out.stdout).unwrap();
        let ended = (out.status.code(), &document["code"]);
        assert_eq!(ended, (Some(130), &"interrupted".into()), "{document:#}");
        let document = json(dir.path(), &["apply", "--server", &url]);
        assert_eq!((&document["exit"], &document["data"]["after"]["pending"]), (&0.into(), &0.into()));
        assert_eq!(made(), STREAMS);
        assert!(server.is_running());
        true
    });
    assert!(caught, "no apply was in the middle");
}

/// What of a stream and its consumer must stay: each message with its sequence, and where the consumer stands.
fn kept(url: &str) -> (Vec<Value>, Value) {
    let infos = others(url, &[("STREAM.INFO.S", Value::Null), ("CONSUMER.INFO.S.C", Value::Null)]);
    let last = infos[0]["state"]["last_seq"].as_u64().unwrap();
    let gets: Vec<(&str, Value)> =
        (1..=last).map(|seq| ("STREAM.MSG.GET.S", value!({ "seq": seq }))).collect();
    let messages = others(url, &gets);
    let messages = messages.iter().map(|answer| {
        let message = &answer["message"];
        value!([message["seq"], message["subject"], message["data"]])
    });
    // A consumer that was made anew and has not acked since begins after what it had acked.
    let consumer = &infos[1];
    let floor = consumer["ack_floor"]["stream_seq"].as_u64().unwrap();
    let start = consumer["config"]["opt_start_seq"].as_u64().unwrap_or(1);
    (messages.collect(), floor.max(start - 1).into())
}

#[test]
fn ctrl_c_in_a_replacement_loses_nothing_and_the_next_apply_finishes_it() {
    let server = Scratch::new().unwrap();
    let url = server.url();
    let dir = project(&[("consumers/S/C.json", r#"{ "durable_name": "C", "ack_policy": "explicit" }"#)]);
    let file = dir.path().join("nats-config/streams/S.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let write = |storage: &str| {
        let text = format!(r#"{{ "name": "S", "subjects": ["s.*"], "storage": "{storage}" }}"#);
        std::fs::write(&file, text).unwrap();
    };
    write("file");
    json(dir.path(), &["apply", "--server", &url]);
    json(dir.path(), &["publish", "s.a", "x", "--count", "200", "--server", &url]);
    json(dir.path(), &["consume", "S", "C", "--count", "30", "--server", &url]);
    let before = kept(&url);
    assert_eq!((before.0.len(), &before.1), (200, &30.into()));

    let words = ["apply", "--replace", "S", "--server", &url, "--json"];
    let spawn = || {
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(words)
            .current_dir(dir.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    // How long it takes undisturbed, so that interrupts fall all over it.
    write("memory");
    let began = std::time::Instant::now();
    assert!(spawn().wait().unwrap().success());
    let mut length = began.elapsed();
    let journals = || {
        let folder = std::fs::read_dir(dir.path().join(".streamproof/apply"));
        folder.into_iter().flatten().filter_map(Result::ok).count()
    };
    let (mut interrupted, mut inside) = (0, 0);
    for index in 0..60u32 {
        if index >= 16 && inside >= 3 {
            break;
        }
        write(if index % 2 == 0 { "file" } else { "memory" });
        let began = std::time::Instant::now();
        let mut apply = spawn();
        // The later half of it is where it works.
        let delay = length * (20 + (index * 7) % 80) / 100;
        let ended = poll::until(Duration::from_micros(200), delay, || match apply.try_wait().unwrap() {
            Some(_) => Ok(()),
            None => Err("runs"),
        });
        if ended.is_ok() {
            length = began.elapsed();
        } else {
            let sent = Command::new("kill").args(["-INT", &apply.id().to_string()]).status().unwrap();
            assert!(sent.success() || apply.try_wait().unwrap().is_some());
        }
        let status = apply.wait().unwrap().code();
        interrupted += u32::from(status == Some(130));
        inside += u32::from(journals() > 0);
        let document = json(dir.path(), &words[..5]);
        assert_eq!(
            (&document["exit"], &document["data"]["after"]["pending"]),
            (&0.into(), &0.into()),
            "try {index}, after {delay:?}, status {status:?}: {document:#}"
        );
        assert_eq!(journals(), 0, "try {index}: something is left");
        assert!(kept(&url) == before, "try {index}, after {delay:?}, status {status:?}: something is lost");
    }
    assert!(interrupted > 0 && inside > 0, "{interrupted} interrupted, {inside} of them in a replacement");
}
