//! `doctor --server`: each finding on a real server that has it, and nothing but looking.

use std::path::Path;

use serde_json::Value;
use streamproof::server::Scratch;
use streamproof::server::wire::Credentials;

use crate::elsewhere::{json, project};
use crate::recipe::{Project, docker, docker_answers};

/// Whether one of the remarks is of that state and name and says that.
fn has(document: &Value, state: &str, name: &str, part: &str) -> bool {
    document["data"]["checks"].as_array().unwrap().iter().any(|check| {
        check["state"] == state && check["name"] == name && check["text"].as_str().unwrap().contains(part)
    })
}

fn doctor(dir: &Path, server: &Scratch, more: &[&str]) -> Value {
    let (url, monitor) = (server.url(), server.monitor_address());
    json(dir, &[&["doctor", "--server", &url, "--monitor", &monitor], more].concat())
}

#[track_caller]
fn expect(document: &Value, remarks: &[(&str, &str, &str)]) {
    for (state, name, part) in remarks {
        assert!(has(document, state, name, part), "{state} {name} {part}: {document:#}");
    }
}

#[test]
fn a_server_with_everything_wrong_is_told_so() {
    let files = [
        ("streams/CACHE.json", r#"{ "name": "CACHE", "subjects": ["cache.*"], "storage": "memory" }"#),
        (
            "streams/FULL.json",
            r#"{ "name": "FULL", "subjects": ["full"], "discard": "new", "max_msgs": 5, "max_consumers": 1 }"#,
        ),
        (
            "streams/QUEUE.json",
            r#"{ "name": "QUEUE", "subjects": ["queue.*"], "retention": "workqueue", "max_msgs": 6 }"#,
        ),
        (
            "consumers/QUEUE/STUCK.json",
            r#"{ "durable_name": "STUCK", "ack_policy": "explicit", "ack_wait": "10m", "max_ack_pending": 2, "filter_subject": "queue.a" }"#,
        ),
        (
            "consumers/QUEUE/IDLE.json",
            r#"{ "durable_name": "IDLE", "ack_policy": "explicit", "filter_subject": "queue.b" }"#,
        ),
        (
            "consumers/FULL/PUSH.json",
            r#"{ "durable_name": "PUSH", "ack_policy": "explicit", "deliver_subject": "to.nobody" }"#,
        ),
        (
            "consumers/CACHE/PAUSED.json",
            r#"{ "durable_name": "PAUSED", "ack_policy": "explicit", "pause_until": "2099-01-01T00:00:00Z" }"#,
        ),
        ("streamproof.toml", "version = \"2.11.2\"\n"),
    ];
    let dir = project(&files);
    let server = Scratch::builder()
        .version("2.11.2".parse().unwrap())
        .jetstream("max_file_store: 1MB\n")
        .start()
        .unwrap();
    let url = server.url();
    let applied = json(dir.path(), &["apply", "--server", &url]);
    assert_eq!(applied["ok"], true, "{applied:#}");
    for (subject, count) in [("cache.a", "3"), ("full", "4"), ("queue.a", "4"), ("queue.b", "1")] {
        json(dir.path(), &["publish", subject, "x", "--count", count, "--server", &url]);
    }
    let words = ["consume", "QUEUE", "STUCK", "--no-ack", "--count", "2", "--server", &url];
    assert_eq!(json(dir.path(), &words)["ok"], true);
    let document = doctor(dir.path(), &server, &[]);
    assert_eq!((&document["exit"], &document["data"]["failures"]), (&0.into(), &0.into()));
    expect(
        &document,
        &[
            ("ok", "jetstream", "3 streams, 4 consumers"),
            ("ok", "version", "2.11.2"),
            ("warn", "defect", "drained-queue-forgets"),
            ("warn", "defect", "(here: QUEUE)"),
            ("warn", "defect", "evicted-returns"),
            ("warn", "sync", "every 2m"),
            ("warn", "store", "temporary folder"),
            ("warn", "memory", "CACHE keeps its 3 messages in memory"),
            ("warn", "consumers", "QUEUE/STUCK is stuck: 2 are delivered and not acked"),
            ("info", "consumers", "QUEUE/IDLE: 1 wait"),
            ("warn", "consumers", "FULL/PUSH is stuck: it pushes to \"to.nobody\""),
            ("info", "consumers", "CACHE/PAUSED is paused until 2099"),
            ("warn", "limits", "FULL: 4 of 5 messages (80 %); at the limit publishes are refused"),
            ("warn", "limits", "FULL: 1 of 1 consumers"),
            ("warn", "limits", "QUEUE: 5 of 6 messages (83 %); at the limit the oldest go, consumed or not"),
        ],
    );
    assert!(!has(&document, "warn", "defect", "first-seq-emptied"), "mended in 2.11.2");
    // Nothing of it without the monitoring port but that.
    let other = Scratch::new().unwrap();
    let words = ["doctor", "--server", &url, "--monitor", &other.monitor_address()];
    let document = json(dir.path(), &words);
    expect(&document, &[("info", "sync", "of another server"), ("info", "store", "not seen")]);
}

#[test]
fn a_consumer_ahead_of_its_stream_is_a_failure() {
    let dir = project(&[
        ("streams/Q.json", r#"{ "name": "Q", "subjects": ["q"] }"#),
        ("consumers/Q/C.json", r#"{ "durable_name": "C", "ack_policy": "explicit" }"#),
        ("streams/L.json", r#"{ "name": "L", "subjects": ["l"] }"#),
        (
            "consumers/L/LATE.json",
            r#"{ "durable_name": "LATE", "ack_policy": "explicit", "deliver_policy": "by_start_sequence", "opt_start_seq": 100 }"#,
        ),
    ]);
    let mut server = Scratch::builder().version("2.11.2".parse().unwrap()).start().unwrap();
    let url = server.url();
    json(dir.path(), &["apply", "--server", &url]);
    json(dir.path(), &["publish", "q", "x", "--count", "20", "--server", &url]);
    let consumed = json(dir.path(), &["consume", "Q", "C", "--server", &url]);
    assert_eq!(consumed["ok"], true, "{consumed:#}");
    // What a power cut can do: the consumer's state is on the disk, the messages are not.
    server.kill().unwrap();
    let messages = server.store_dir().join("jetstream/$G/streams/Q/msgs");
    std::fs::remove_dir_all(&messages).unwrap();
    std::fs::create_dir(&messages).unwrap();
    server.start().unwrap();
    let document = doctor(dir.path(), &server, &[]);
    expect(&document, &[("fail", "consumers", "Q/C stands at sequence 20, and the stream ends at 0")]);
    assert_eq!(document["exit"], 8, "{document:#}");
    assert!(!document.to_string().contains("L/LATE"), "{document:#}");
}

#[test]
fn limits_of_the_server_and_the_account_and_an_account_without_jetstream() {
    let accounts = "accounts {\n A { jetstream { max_streams: 2, max_disk: 900000 }, users: [{ user: a, password: a }, { user: r, password: r, \
                    permissions: { publish: [\"$JS.API.INFO\", \"$JS.API.STREAM.LIST\", \"$JS.API.CONSUMER.LIST.*\"], subscribe: \"_INBOX.>\" } }] }\n \
                    B { users: [{ user: b, password: b }] }\n}\n";
    let server = Scratch::builder()
        .jetstream("sync_interval: always\nmax_file_store: 1000000\n")
        .config(accounts)
        .credentials(Credentials::UserPassword { user: "a".into(), password: "a".into() })
        .start()
        .unwrap();
    let url = server.url();
    let dir = project(&[
        ("streams/A.json", r#"{ "name": "A", "subjects": ["a"], "max_bytes": 500000 }"#),
        ("streams/B.json", r#"{ "name": "B", "subjects": ["b"], "max_bytes": 300000 }"#),
    ]);
    let user = |name: &'static str| ["--user", name, "--password", name];
    let applied = json(dir.path(), &[&["apply", "--server", &url], &user("a")[..]].concat());
    assert_eq!(applied["ok"], true, "{applied:#}");
    // It only looks: a user who may do nothing else sees the same.
    for name in ["a", "r"] {
        let document = doctor(dir.path(), &server, &user(name));
        expect(
            &document,
            &[
                ("ok", "sync", "always"),
                ("ok", "version", "2.15.1"),
                ("warn", "limits", "the account: 2 of 2 streams (100 %)"),
                ("warn", "limits", "bytes on the disk reserved"),
            ],
        );
    }
    let document = doctor(dir.path(), &server, &user("b"));
    assert_eq!((&document["exit"], &document["code"]), (&6.into(), &"no-jetstream".into()), "{document:#}");
    expect(&document, &[("fail", "jetstream", "not on")]);
}

#[test]
fn a_container_without_a_mount_is_told_from_one_with() {
    if !docker_answers() {
        return;
    }
    let project = Project::on("docker");
    let up = project.json(&["up", "--port", "auto"]);
    let url = up["data"]["url"].as_str().unwrap();
    let document = project.json(&["doctor"]);
    assert!(has(&document, "ok", "store", "on a mount of the container"), "{url} {document:#}");
    // The same image, started by hand as people do.
    let ours =
        docker(&["ps", "--quiet", "--filter", &format!("publish={}", url.rsplit(':').next().unwrap())]);
    let image = docker(&["inspect", "--format", "{{.Image}}", &ours]);
    let id = docker(&[
        "run",
        "--detach",
        "--rm",
        "--publish",
        "127.0.0.1::4222",
        "--publish",
        "127.0.0.1::8222",
        &image,
        "--jetstream",
        "--store_dir",
        "/data/js",
        "--http_port",
        "8222",
    ]);
    let port = |inside: &str| docker(&["port", &id, inside]);
    let (client, monitor) = (port("4222/tcp"), port("8222/tcp"));
    let url = format!("nats://{client}");
    let words = ["doctor", "--server", &url, "--monitor", &monitor];
    let document = streamproof::server::poll::until(
        streamproof::server::poll::Pace::QUICK,
        std::time::Duration::from_secs(20),
        || Some(project.json(&words)).filter(|document| document["ok"] == true).ok_or("does not answer"),
    );
    docker(&["rm", "--force", &id]);
    let document = document.unwrap();
    assert!(has(&document, "warn", "store", "on no mount"), "{document:#}");
}

#[test]
fn what_up_needs_is_said_with_its_fix() {
    let project = Project::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::fs::write(project.path().join("nats-config/streamproof.toml"), format!("port = {port}\n")).unwrap();
    let document = project.json(&["doctor"]);
    assert_eq!((&document["exit"], &document["data"]["failures"]), (&0.into(), &0.into()), "{document:#}");
    expect(
        &document,
        &[
            ("ok", "files", "1 stream, 1 consumer"),
            ("ok", "server", "works offline"),
            (
                "warn",
                "ports",
                &format!("127.0.0.1:{port} (client) is taken by process {}", std::process::id()),
            ),
            ("ok", "folder", project.path().file_name().unwrap().to_str().unwrap()),
            ("ok", "disk", "free at"),
        ],
    );
    // Nothing to run, and nothing to get it with.
    let empty = tempfile::tempdir().unwrap();
    let out = project
        .command(&["doctor", "--json"])
        .env("PATH", empty.path())
        .env("STREAMPROOF_CACHE", empty.path())
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(document["exit"], 6, "{document:#}");
    expect(
        &document,
        &[("fail", "server", "nothing to get one with"), ("info", "docker", "no engine answers")],
    );
    assert!(!project.path().join(".streamproof/n1").exists(), "something was made");
}
