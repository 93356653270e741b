//! The recipe's 13 steps, by command, on a real server; and the bad days around them.

use std::path::Path;
use std::process::{Command, Output};
use std::rc::Rc;

use serde_json::Value;

/// A project of its own in a temporary folder; what it started is gone when it is dropped.
pub(crate) struct Project {
    dir: Rc<tempfile::TempDir>,
    engine: &'static str,
}

impl Project {
    pub(crate) fn new() -> Self {
        Self::on("process")
    }

    pub(crate) fn on(engine: &'static str) -> Self {
        let project = Self { dir: Rc::new(tempfile::tempdir().unwrap()), engine };
        let made = project.run(&["init", project.dir.path().to_str().unwrap()]);
        assert!(made.status.success(), "{made:?}");
        project
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The same project, asked for with another engine from now on.
    pub(crate) fn reopened(project: &Project, engine: &'static str) -> Self {
        Self { dir: project.dir.clone(), engine }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(args)
            .current_dir(self.path())
            .env("NO_COLOR", "1")
            .env("STREAMPROOF_ENGINE", self.engine);
        command.env_remove("STREAMPROOF_PROJECT");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must end well, and gives its stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{args:?}: {text}\n{}", String::from_utf8_lossy(&out.stderr));
        text
    }

    /// Runs a command with `--json`, and gives its one document.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let out = self.run(&[args, &["--json"]].concat());
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{args:?}: {e}: {}", String::from_utf8_lossy(&out.stdout)))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // The last one of a folder.
        if Rc::strong_count(&self.dir) == 1 {
            _ = self.run(&["clean", "--yes"]);
        }
    }
}

/// Whether a Docker engine answers; where one is required it has to.
pub(crate) fn docker_answers() -> bool {
    let answers = streamproof::server::docker::engine_version();
    let required =
        std::env::var("STREAMPROOF_REQUIRE").is_ok_and(|list| list.split(',').any(|one| one == "docker"));
    if let Err(error) = &answers {
        assert!(!required, "a Docker engine is required: {error}");
        print_skip(&error.to_string());
    }
    answers.is_ok()
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
pub(crate) fn print_skip(why: &str) {
    println!("skipped: {why}");
}

pub(crate) fn docker(args: &[&str]) -> String {
    let out = Command::new("docker").args(args).output().unwrap();
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

#[test]
fn every_step_of_the_recipe_is_a_command_in_a_process() {
    walk_the_recipe(&Project::on("process"));
}

#[test]
fn every_step_of_the_recipe_is_a_command_in_docker() {
    if docker_answers() {
        let project = Project::on("docker");
        let id = walk_the_recipe(&project);
        let ours = format!("label=dev.streamproof.project={id}");
        assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &ours]), "");
        assert_eq!(docker(&["network", "ls", "--quiet", "--filter", &ours]), "");
    }
}

#[test]
fn a_container_is_thrown_away_and_made_anew_without_touching_the_data() {
    if !docker_answers() {
        return;
    }
    let project = Project::on("docker");
    let up = project.json(&["up", "--port", "auto"]);
    assert_eq!(up["data"]["engine"], "docker", "{up}");
    project.ok(&["publish", "xyz.a", "kept", "--count", "7"]);
    let network = up["data"]["network"]["name"].as_str().unwrap().to_owned();
    let container = format!("{network}-n1");
    assert_eq!(docker(&["port", &container, "4222/tcp"]).split(':').next(), Some("127.0.0.1"));
    assert!(
        docker(&["network", "inspect", &network]).contains(&container),
        "the container is in the network"
    );
    // Behind our back, and with all that Docker knows of it.
    docker(&["rm", "--force", &container]);
    assert_eq!(project.run(&["status"]).status.code(), Some(3));
    let again = project.json(&["up"]);
    assert_eq!(again["data"]["url"], up["data"]["url"]);
    assert_eq!(project.json(&["info", "AnotherStream"])["data"]["stream"]["state"]["messages"], 7);
    // On the other engine, the same data; while one runs, the other is refused.
    let other = |args: &[&str]| {
        let args = [args, &["--engine", "process", "--json"]].concat();
        serde_json::from_slice::<Value>(&project.run(&args).stdout).unwrap()
    };
    assert_eq!(other(&["up"])["code"], "engine-mismatch");
    project.ok(&["down"]);
    assert_eq!(other(&["up"])["data"]["engine"], "process");
    assert_eq!(project.json(&["info", "AnotherStream"])["data"]["stream"]["state"]["messages"], 7);
}

/// Returns the project's id.
fn walk_the_recipe(project: &Project) -> String {
    // 1 to 4: the files.
    assert!(project.path().join("nats-config/streams/AnotherStream.json").is_file());
    // 5 to 7: the server, a client's way to it, stream and consumer.
    let url = project.ok(&["up", "--port", "auto"]);
    assert!(url.starts_with("nats://127.0.0.1:") && url.trim().lines().count() == 1, "{url:?}");
    assert_eq!(project.ok(&["env"]).trim(), format!("export NATS_URL={}", url.trim()));
    // 8: publish, and look.
    assert_eq!(
        project.ok(&["publish", "xyz.test", "some random data"]).trim(),
        "acknowledged: AnotherStream sequence 1"
    );
    project.ok(&["publish", "xyz.more", "more", "--count", "4"]);
    let stream = project.json(&["info", "AnotherStream"]);
    assert_eq!(stream["data"]["stream"]["state"]["messages"], 5);
    assert_eq!(stream["data"]["stream"]["config"]["subjects"][0], "xyz.*");
    let consumer = project.json(&["info", "AnotherStream", "SomeConsumer"]);
    assert_eq!(consumer["data"]["consumer"]["num_pending"], 5);
    assert!(consumer["data"]["consumer"]["config"].get("deliver_subject").is_none());
    let consumed = project.ok(&["consume", "AnotherStream", "SomeConsumer", "--count", "2"]);
    assert!(
        consumed.contains("1  xyz.test  some random data") && consumed.contains("2 consumed"),
        "{consumed}"
    );
    // 9: the files of the store.
    let files = project.ok(&["files"]);
    for part in ["AnotherStream", "SomeConsumer", "1.blk", "meta.inf"] {
        assert!(files.contains(part), "{part}: {files}");
    }
    // 10 to 12 in one: stop, start, and everything is as it was, every message compared.
    let live = project.json(&["restart-check", "--live"]);
    assert_eq!((live["exit"].as_u64(), &live["data"]["verdict"]), (Some(0), &Value::from("pass")), "{live}");
    assert_eq!(live["data"]["restarts_verified"], 1);
    assert_eq!(live["data"]["counts"]["read_back"], 5);
    assert_eq!(live["data"]["faults"][0]["target"], "AnotherStream");
    assert!(live["warnings"][0].as_str().unwrap().contains("restarts your live server"), "{live}");
    assert_eq!(project.ok(&["env"]).trim(), format!("export NATS_URL={}", url.trim()), "it is up again");
    // And by hand.
    project.ok(&["down"]);
    assert_eq!(project.run(&["status"]).status.code(), Some(3));
    assert_eq!(project.ok(&["up"]), url, "the port is remembered");
    let again = project.json(&["info", "AnotherStream"]);
    assert_eq!(again["data"]["stream"]["config"], stream["data"]["stream"]["config"]);
    assert_eq!(again["data"]["stream"]["created"], stream["data"]["stream"]["created"]);
    assert_eq!(again["data"]["stream"]["state"]["messages"], 5);
    let consumer = project.json(&["info", "AnotherStream", "SomeConsumer"]);
    assert_eq!(consumer["data"]["consumer"]["ack_floor"]["stream_seq"], 2);
    // The same after a SIGKILL.
    let live = project.json(&["restart-check", "--live", "--fault", "kill"]);
    assert_eq!(
        (&live["data"]["verdict"], &live["data"]["faults"][0]["fault"]),
        (&"pass".into(), &"kill".into())
    );
    let killed = project.json(&["restart", "--kill"]);
    assert_ne!(killed["data"]["pid_before"], killed["data"]["pid"]);
    let rest = project.ok(&["consume", "AnotherStream", "SomeConsumer"]);
    assert!(rest.contains("5  xyz.more  more"), "{rest}");
    assert_eq!(project.run(&["status", "--check"]).status.code(), Some(0));
    // 13: nothing is left.
    let listed = project.run(&["clean", "--dry-run"]);
    let listed = String::from_utf8_lossy(&listed.stderr).into_owned();
    let id = listed.split("of project ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    project.ok(&["clean", "--yes"]);
    assert!(!project.path().join(".streamproof").exists());
    assert!(project.path().join("nats-config").is_dir());
    assert_eq!(project.run(&["status"]).status.code(), Some(3));
    id
}

#[test]
fn the_files_are_the_truth_and_data_is_not_deleted_without_a_flag() {
    let project = Project::new();
    project.ok(&["up", "--port", "auto"]);
    project.ok(&["publish", "xyz.a", "x", "--count", "10"]);
    assert_eq!(project.json(&["plan"])["data"]["pending"], 0);
    let file = project.path().join("nats-config/streams/AnotherStream.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut stream: Value = serde_json::from_str(&text).unwrap();
    stream["max_msgs"] = 4.into();
    std::fs::write(&file, stream.to_string()).unwrap();
    assert_eq!(project.run(&["plan", "--check"]).status.code(), Some(4));
    let plan = project.json(&["plan"]);
    assert_eq!(
        plan["data"]["steps"].as_array().unwrap().iter().filter(|s| s["action"] == "update").count(),
        1
    );
    let refused = project.json(&["apply"]);
    assert_eq!((refused["exit"].as_u64(), refused["code"].as_str()), (Some(5), Some("data-loss")));
    assert_eq!(project.json(&["info", "AnotherStream"])["data"]["stream"]["state"]["messages"], 10);
    // `up` leaves it as it is, and says so.
    assert_eq!(project.run(&["up"]).status.code(), Some(4));
    assert_eq!(project.json(&["info", "AnotherStream"])["data"]["stream"]["state"]["messages"], 10);
    project.ok(&["apply", "--allow-data-loss"]);
    assert_eq!(project.json(&["info", "AnotherStream"])["data"]["stream"]["state"]["messages"], 4);
    assert_eq!(project.json(&["plan"])["data"]["pending"], 0);
}

#[test]
fn bad_days_end_with_a_name_and_nothing_half_done() {
    let project = Project::new();
    let named = |args: &[&str]| {
        let document = project.json(args);
        (document["exit"].as_u64().unwrap(), document["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(named(&["env"]), (3, "not-running".to_owned()));
    assert_eq!(named(&["init", project.path().to_str().unwrap()]), (5, "already-exists".to_owned()));
    assert_eq!(named(&["up", "--port", "never"]), (2, "usage".to_owned()));
    // A port that somebody else holds.
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    assert_eq!(named(&["up", "--port", &port]), (6, "port-in-use".to_owned()));
    assert_eq!(named(&["status"]), (3, "not-running".to_owned()));
    // Broken JSON, with its place.
    let file = project.path().join("nats-config/streams/AnotherStream.json");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "{\n  \"name\": \"AnotherStream\",,\n}").unwrap();
    let broken = project.json(&["up", "--port", "auto"]);
    assert_eq!(broken["code"], "invalid-config");
    assert_eq!(broken["error"]["at"]["line"], 2);
    std::fs::write(&file, good).unwrap();
    // A configuration that the server refuses, in its own words.
    let conf = project.path().join("nats-config/jetstream.conf");
    let good = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, format!("{good}\njetstrem: 1\n")).unwrap();
    let broken = project.json(&["up", "--port", "auto"]);
    assert_eq!(broken["code"], "invalid-server-config");
    assert!(broken["error"]["message"].as_str().unwrap().contains("jetstrem"), "{broken}");
    std::fs::write(&conf, good).unwrap();
    assert_eq!(named(&["status"]), (3, "not-running".to_owned()));
    // Without somebody to ask, nothing is removed.
    project.ok(&["up", "--port", "auto"]);
    // A server that runs is not moved, nor is the wish passed over in silence.
    assert_eq!(named(&["up", "--port", &port]), (5, "already-exists".to_owned()));
    assert_eq!(named(&["up", "--port", "70000"]), (2, "usage".to_owned()));
    assert_eq!(named(&["clean"]), (5, "confirmation-needed".to_owned()));
    assert_eq!(project.run(&["status"]).status.code(), Some(0));
}

#[test]
fn a_server_that_is_killed_behind_our_back_is_started_again_on_its_data() {
    let project = Project::new();
    let up = project.json(&["up", "--port", "auto"]);
    project.ok(&["publish", "xyz.a", "kept"]);
    let pid = up["data"]["nodes"][0]["pid"].to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let again = project.json(&["up"]);
    assert_eq!(again["data"]["already"], false);
    assert_eq!(again["data"]["url"], up["data"]["url"]);
    assert_eq!(project.json(&["info", "AnotherStream"])["data"]["stream"]["state"]["messages"], 1);
}
