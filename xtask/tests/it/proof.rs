//! `restart-check` and `report`: exit statuses, the JSON document, and what a person reads first and last.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join("nats-config").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn xtask(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(args)
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .env_remove("STREAMPROOF_PROJECT")
        .output()
        .unwrap()
}

fn json(dir: &Path, args: &[&str]) -> (i32, Value) {
    let out = xtask(dir, &[args, &["--json"]].concat());
    let document = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{args:?}: {e}: {}", String::from_utf8_lossy(&out.stderr)));
    (out.status.code().unwrap(), document)
}

const CONF: (&str, &str) =
    ("jetstream.conf", "jetstream { store_dir: $STREAMPROOF_STORE\n sync_interval: always }\n");
const ORDERS: (&str, &str) = ("streams/ORDERS.json", r#"{ "name": "ORDERS", "subjects": ["orders.*"] }"#);
const BILLING: (&str, &str) =
    ("consumers/ORDERS/BILLING.json", r#"{ "durable_name": "BILLING", "ack_policy": "explicit" }"#);
const CACHE: (&str, &str) =
    ("streams/CACHE.json", r#"{ "name": "CACHE", "subjects": ["cache.*"], "storage": "memory" }"#);

/// What a cut of the power does to a stream that is being changed is a defect of every server so far.
const ACCEPT: &str = "accept = [{ name = \"stream-lost-at-update\", reason = \"known\" }]\n";

#[test]
fn a_proof_ends_with_0_and_can_be_read_by_people_and_by_scripts() {
    let dir = project(&[
        CONF,
        ORDERS,
        BILLING,
        ("streamproof.toml", &format!("survive = [\"restart\", \"process-crash\"]\n{ACCEPT}")),
    ]);
    let (status, document) = json(dir.path(), &["restart-check", "--quick", "--seed", "3"]);
    let data = &document["data"];
    assert_eq!((status, &document["ok"]), (0, &Value::Bool(true)), "{document:#}");
    // Accepted where a cut has met a change of the stream, which loses it on this server.
    let verdict = data["verdict"].as_str().unwrap();
    assert!(["pass", "accepted"].contains(&verdict), "{document:#}");
    assert_eq!(data["seed"].as_u64(), Some(3));
    assert!(data["restarts_verified"].as_u64().unwrap() >= 6);
    let faults: Vec<&str> =
        data["faults"].as_array().unwrap().iter().filter_map(|f| f["fault"].as_str()).collect();
    for fault in ["stop", "kill", "kill-after-ack", "restarts", "index-lost", "index-stale", "disconnect"] {
        assert!(faults.contains(&fault), "{fault}: {faults:?}");
    }
    assert_eq!(data["faults"][0]["target"], "ORDERS");
    // Where there is no FUSE, it says that power loss is not proven; else it was tried.
    let fuse = streamproof::trial::power_cut::available().is_ok();
    assert_eq!(faults.contains(&"power-cut"), fuse, "{faults:?}");
    let not_proven = data["not_proven"].as_array().unwrap();
    assert_eq!(not_proven.iter().any(|note| note["what"] == "power cut" && note["why"] != ""), !fuse);
    assert_eq!(not_proven.iter().any(|note| note["what"] == "power loss"), !fuse);

    // What is left in the folder says the same, also after it was judged again.
    let folder = Path::new(data["folder"].as_str().unwrap());
    let stored =
        || serde_json::from_slice::<Value>(&std::fs::read(folder.join("verdict.json")).unwrap()).unwrap();
    let page = || std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert_eq!(stored(), *data);
    let before = page();
    assert!(before.contains("What became of every publish") && before.contains("ORDERS"));
    let report = xtask(dir.path(), &["report", "last"]);
    assert_eq!((stored(), page()), (data.clone(), before));
    assert!(folder.join("junit.xml").is_file() && folder.join("summary.md").is_file());
    let text = String::from_utf8_lossy(&report.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(report.status.code(), Some(0), "{text}");
    assert_eq!(lines[0], "scratch server; your data is untouched");
    assert!(lines[1].starts_with("pass: no loss found in ") || verdict == "accepted", "{text}");
    let controls = if fuse { 6 } else { 4 };
    let found = format!("controls: {controls} of {controls} found, each by exactly its invariant");
    assert!(lines.contains(&found.as_str()), "{text}");
    assert!(lines.last().unwrap().starts_with("not proven: "), "{text}");
    let rests = lines.iter().any(|line| line.starts_with("power-cut rests on a model of ext4: "));
    assert_eq!(rests, fuse, "{text}");
    assert!(!text.contains("safe"), "no proof says that anything is safe: {text}");
    // Every key stands in the page about it.
    let page = include_str!("../../../docs/verdict.md");
    let told = |key: &str| page.contains(&format!("`{key}`"));
    assert_eq!(keys(data).into_iter().filter(|key| !told(key)).collect::<Vec<_>>(), Vec::<String>::new());
    // The project's own server was neither started nor written to.
    assert!(!dir.path().join(".streamproof/n1").exists());
    if fuse {
        // Where the disk that should have lied did not, nothing of it counts.
        let file = folder.join("run.json");
        let mut run: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let lying = &mut run["power_cuts"]["controls"][0];
        assert_eq!((lying["name"].as_str(), lying["found"].as_bool()), (Some("lying-disk"), Some(true)));
        lying["found"] = false.into();
        std::fs::write(&file, serde_json::to_vec(&run).unwrap()).unwrap();
        let (status, document) = json(dir.path(), &["report", "last"]);
        assert_eq!((status, document["code"].as_str()), (11, Some("self-check-failed")), "{document:#}");
        assert_eq!(document["data"]["verdict"], "self-check-failed");
    }
}

/// Every key of a document, wherever it is.
fn keys(value: &Value) -> std::collections::BTreeSet<String> {
    match value {
        Value::Object(map) => {
            map.iter().flat_map(|(key, value)| keys(value).into_iter().chain([key.clone()])).collect()
        }
        Value::Array(list) => list.iter().flat_map(keys).collect(),
        _ => std::collections::BTreeSet::new(),
    }
}

#[test]
fn a_loss_that_must_not_be_ends_with_8_and_says_what_would_protect() {
    let dir = project(&[CONF, CACHE, ("streamproof.toml", "survive = [\"restart\"]\n")]);
    let out = xtask(dir.path(), &["restart-check", "--quick", "--seed", "5", "--fault", "stop"]);
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(8), "{text}");
    assert!(text.lines().nth(1).unwrap().starts_with("FAIL: CACHE under stop: "), "{text}");
    assert!(text.contains("what would protect it: `storage: file`"), "{text}");
    // The same loss, where its owner leaves restarts out, and where he has said nothing.
    let (status, document) = json(
        dir.path(),
        &["restart-check", "--quick", "--seed", "5", "--fault", "stop", "--survive", "upgrade"],
    );
    assert_eq!((status, document["data"]["verdict"].as_str()), (0, Some("accepted")));
    let silent = project(&[CONF, CACHE]);
    let (status, document) =
        json(silent.path(), &["restart-check", "--quick", "--seed", "5", "--fault", "stop"]);
    assert_eq!((status, document["data"]["verdict"].as_str()), (0, Some("unprotected")));
    let (status, document) =
        json(silent.path(), &["restart-check", "--quick", "--seed", "5", "--fault", "stop", "--strict"]);
    assert_eq!((status, document["code"].as_str()), (8, Some("violation")));
}

#[test]
fn what_cannot_be_run_ends_with_10() {
    let dir = project(&[
        CONF,
        ORDERS,
        ("streamproof.toml", &format!("survive = [\"restart\", \"upgrade\"]\n{ACCEPT}")),
    ]);
    let (status, document) = json(dir.path(), &["restart-check", "--quick", "--seed", "5"]);
    assert_eq!((status, document["code"].as_str()), (10, Some("inconclusive")), "{document:#}");
    assert!(document["data"]["not_proven"].to_string().contains("upgrade"));
    let (status, document) = json(dir.path(), &["restart-check", "--quick", "--fault", "upgrade"]);
    assert_eq!((status, document["error"]["code"].as_str()), (10, Some("inconclusive")), "{document:#}");
}

#[cfg(target_os = "linux")]
fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

/// `restart-check` where neither the device of FUSE nor loop devices can be had: in a mount namespace of its own a socket lies
/// over them.
#[cfg(target_os = "linux")]
fn without_fuse(dir: &Path, args: &str) -> Option<(i32, Value)> {
    let socket = dir.join("no-fuse");
    let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    // Who is not root is it in a user namespace.
    let namespaces = if is_root() { "-m" } else { "-rm" };
    let script = "for device in /dev/fuse /dev/loop-control; do \
        [ ! -e $device ] || mount --bind \"$1\" $device || exit 99; done; exec \"$0\" $2 --json";
    let out = Command::new("unshare")
        .args([namespaces, "sh", "-c", script, env!("CARGO_BIN_EXE_xtask")])
        .arg(&socket)
        .arg(args)
        .current_dir(dir)
        .env_remove("STREAMPROOF_PROJECT")
        .output();
    std::fs::remove_file(&socket).unwrap();
    let out = out.ok()?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if out.status.code() == Some(99) || said.starts_with("unshare: ") {
        return None;
    }
    let document = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{args}: {e}: {said}"));
    Some((out.status.code().unwrap(), document))
}

#[cfg(target_os = "linux")]
#[test]
fn without_fuse_power_cuts_are_not_proven_and_it_says_why() {
    let dir = project(&[CONF, ORDERS, ("streamproof.toml", "survive = [\"restart\", \"host-crash\"]\n")]);
    // Nothing else is asked for: then nothing can be run.
    let Some((status, alone)) = without_fuse(dir.path(), "restart-check --quick --fault power-cut") else {
        println!("skipped: no mount namespace of one's own can be had here");
        return;
    };
    assert_eq!((status, alone["error"]["code"].as_str()), (10, Some("inconclusive")), "{alone:#}");
    assert!(alone["error"]["message"].as_str().unwrap().contains("/dev/fuse"), "{alone:#}");
    let told = |args: &str| {
        let (status, document) = without_fuse(dir.path(), args).unwrap();
        let data = &document["data"];
        let why = |what: &str| {
            let notes = data["not_proven"].as_array().unwrap();
            let note = notes.iter().find(|note| note["what"] == what);
            note.unwrap_or_else(|| panic!("{what}: {document:#}"))["why"].as_str().unwrap().to_owned()
        };
        assert!(why("power cut").contains("/dev/fuse"), "{document:#}");
        assert!(!why("power loss").is_empty(), "{document:#}");
        let faults = data["faults"].as_array().unwrap();
        assert!(faults.iter().all(|cell| cell["fault"] != "power-cut"), "{document:#}");
        (status, data["verdict"].as_str().unwrap().to_owned())
    };
    // A crash of the host that is to be survived and could not be tried is no pass; where nobody names it, the others count.
    assert_eq!(told("restart-check --quick --seed 1"), (10, "inconclusive".to_owned()));
    let others = told("restart-check --quick --seed 1 --survive restart");
    assert_eq!(others, (0, "pass".to_owned()));
}

/// Nobody: a user that every Linux has.
#[cfg(target_os = "linux")]
const NOBODY: u32 = 65_534;

#[cfg(target_os = "linux")]
#[test]
fn a_user_who_is_not_root_has_power_cuts_too() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    use std::os::unix::process::CommandExt as _;
    let dir = project(&[CONF, ORDERS, BILLING, ("streamproof.toml", ACCEPT)]);
    // Both programs must be the other user's to reach, and the folder to write.
    let (program, server) = (dir.path().join("xtask"), dir.path().join("nats-server"));
    std::fs::copy(env!("CARGO_BIN_EXE_xtask"), &program).unwrap();
    let (_, fetched) = json(dir.path(), &["fetch"]);
    std::fs::copy(fetched["data"]["path"].as_str().unwrap(), &server).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&program);
    if is_root() {
        for place in [dir.path().to_owned(), dir.path().join(".streamproof")] {
            std::fs::create_dir_all(&place).unwrap();
            chown(&place, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    let out = command
        .args(["restart-check", "--fault", "power-cut", "--quick", "--seed", "2", "--json", "--server-bin"])
        .arg(&server)
        .current_dir(dir.path())
        .env("HOME", dir.path())
        .env_remove("STREAMPROOF_PROJECT")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let document: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    let data = &document["data"];
    if out.status.code() == Some(10) {
        // A device that is not for all, or no `fusermount3`.
        let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|word| word.trim() == "fuse"), "FUSE is required: {document:#}");
        println!("skipped: {}", document["error"]["message"]);
        return;
    }
    assert_eq!(out.status.code(), Some(0), "{document:#} {said}");
    let cell = data["faults"].as_array().unwrap().iter().find(|cell| cell["fault"] == "power-cut").unwrap();
    assert!(cell["bites"].as_u64().unwrap() > 10, "{cell:#}");
    let controls = data["controls"].as_array().unwrap();
    let found = |name: &str| controls.iter().any(|one| one["name"] == name && one["found"] == true);
    assert!(found("lying-disk") && found("durable-disk"), "{document:#}");
    assert_eq!(mounted(dir.path()), 0);
}

#[test]
fn wrong_words_end_with_2() {
    let dir = project(&[CONF, ORDERS]);
    for args in [
        &["restart-check", "--fault", "earthquake"][..],
        &["restart-check", "--for", "soon"],
        &["restart-check", "--upgrade-to", "no-such-thing"],
        &["report", "no-such-run"],
    ] {
        assert_eq!(xtask(dir.path(), args).status.code(), Some(2), "{args:?}");
    }
}

/// What is mounted below `dir`.
fn mounted(dir: &Path) -> usize {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = |line: &str| line.split(' ').nth(4).is_some_and(|place| Path::new(place).starts_with(dir));
    mounts.lines().filter(|line| below(line)).count()
}

#[test]
#[cfg(target_os = "linux")]
fn a_proof_that_is_killed_leaves_nothing_mounted_after_the_next_command() {
    use streamproof::server::poll::{self, Pace};
    let dir = project(&[CONF, ORDERS]);
    let root = dir.path().canonicalize().unwrap();
    let mut faults = Vec::new();
    if streamproof::trial::power_cut::available().is_ok() {
        faults.push("power-cut");
    }
    if streamproof::trial::power_cut::disk_available().is_ok() {
        faults.push("power-cut-ext4");
    }
    for fault in faults {
        let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["restart-check", "--for", "60s", "--fault", fault])
            .current_dir(&root)
            .env_remove("STREAMPROOF_PROJECT")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let there = || if mounted(&root) > 0 { Ok(()) } else { Err("nothing is mounted") };
        poll::until(Pace::QUICK, std::time::Duration::from_secs(60), there).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(mounted(&root) > 0, "{fault}: the kill came to nothing");
        let said = xtask(&root, &["status"]);
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("left by a run that was killed"), "{fault}: {said}");
        assert_eq!(mounted(&root), 0, "{fault}");
    }
}
