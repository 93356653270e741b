//! Bad days, on real servers and in both engines: whatever happens, no data is lost, no server is left half started, and the
//! same command works again with nothing deleted by hand.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use streamproof::model::version::Version;
use streamproof::server::{Scratch, Sources, Wanted, acquire, poll, processes};

use crate::recipe::{Project, docker, docker_answers, print_skip};

impl Project {
    fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn code(&self, args: &[&str]) -> (u64, String) {
        let document = self.json(args);
        (document["exit"].as_u64().unwrap(), document["code"].as_str().unwrap_or_default().to_owned())
    }

    fn messages(&self) -> u64 {
        self.json(&["info", "AnotherStream"])["data"]["stream"]["state"]["messages"].as_u64().unwrap()
    }

    /// Servers of this project that run, in either engine: by the name that each of ours has.
    fn servers(&self) -> usize {
        let project = self.id();
        let name = format!("n1-{project}");
        processes::all().iter().filter(|p| p.is_nats_server() && p.words.contains(&name)).count()
    }

    fn id(&self) -> String {
        let listed = self.run(&["clean", "--dry-run"]);
        let listed = String::from_utf8_lossy(&listed.stderr).into_owned();
        listed.split("of project ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned()
    }
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits so long, or until it has ended.
fn wait(child: &mut Child, delay: Duration) {
    let _ = poll::until(Duration::from_micros(200), delay, || match child.try_wait().unwrap() {
        Some(_) => Ok(()),
        None => Err("runs"),
    });
}

/// `up` is ended by a signal again and again, at other moments each time.
fn is_ended_anywhere(engine: &'static str, delays_ms: impl Iterator<Item = u64> + Clone) {
    let project = Project::on(engine);
    project.ok(&["up", "--port", "auto"]);
    project.ok(&["publish", "xyz.a", "kept", "--count", "5"]);
    let mut undone = 0;
    for name in ["-INT", "-KILL", "-TERM"] {
        for delay in delays_ms.clone() {
            project.ok(&["down"]);
            let mut up = project.spawn(&["up"]);
            wait(&mut up, Duration::from_millis(delay));
            if up.try_wait().unwrap().is_none() {
                signal(name, up.id());
            }
            let status = up.wait().unwrap();
            let context = format!("{engine} {name} after {delay} ms: {status}");
            if status.code() == Some(130) {
                // What this call started is undone.
                assert_eq!(project.servers(), 0, "{context}");
                undone += 1;
            }
            let again = project.json(&["up"]);
            assert_eq!(again["exit"], 0, "{context}: {again}");
            assert_eq!(project.servers(), 1, "{context}");
            assert_eq!(project.messages(), 5, "{context}");
        }
    }
    assert!(undone > 0, "no Ctrl-C came in time");
}

#[test]
fn up_is_ended_anywhere_and_works_again_as_a_process() {
    is_ended_anywhere("process", (0..60).step_by(6));
}

#[test]
fn up_is_ended_anywhere_and_works_again_in_docker() {
    if docker_answers() {
        is_ended_anywhere("docker", (0..700).step_by(140));
    }
}

#[test]
fn ctrl_c_ends_a_server_in_the_foreground() {
    for engine in ["process", "docker"] {
        if engine == "docker" && !docker_answers() {
            continue;
        }
        let project = Project::on(engine);
        let mut up = project.spawn(&["up", "--port", "auto", "--foreground"]);
        let ready = poll::until(Duration::from_millis(50), Duration::from_secs(60), || {
            if project.run(&["status", "--check"]).status.success() { Ok(()) } else { Err("not up") }
        });
        ready.unwrap();
        signal("-INT", up.id());
        assert_eq!(up.wait().unwrap().code(), Some(130), "{engine}");
        assert_eq!(project.servers(), 0, "{engine}");
    }
}

/// A file system of its own, in memory, mounted over a folder; it goes with the value.
struct Mount<'a>(&'a Path);

impl Mount<'_> {
    fn new<'a>(at: &'a Path, options: &str) -> Option<Mount<'a>> {
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output().ok()?;
        if !done.status.success() {
            print_skip("only root may mount");
            return None;
        }
        Some(Mount(at))
    }

    fn again(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.0).status().unwrap().success());
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let project = Project::new();
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(dir.path(), "size=64m") else { return };
    let made = project.run(&["init", dir.path().to_str().unwrap()]);
    assert!(made.status.success());
    mount.again("ro");
    let up = ["up", "--port", "auto", "--project", dir.path().to_str().unwrap()];
    let refused = project.json(&up);
    assert_eq!(
        (refused["exit"].as_u64(), refused["code"].as_str()),
        (Some(6), Some("permission")),
        "{refused}"
    );
    assert!(refused["error"]["message"].as_str().unwrap().contains(".streamproof"), "{refused}");
    // One that is written and then is not: its server cannot start, and says so.
    mount.again("rw");
    project.ok(&up);
    project.ok(&["down", "--project", dir.path().to_str().unwrap()]);
    mount.again("ro");
    assert_eq!(project.code(&up), (6, "permission".to_owned()));
    mount.again("rw");
    project.ok(&up);
    project.ok(&["clean", "--yes", "--project", dir.path().to_str().unwrap()]);
}

#[test]
fn a_full_disk_is_named_and_nothing_acknowledged_is_lost() {
    let project = Project::new();
    let dir = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::new(dir.path(), "size=24m") else { return };
    let root = dir.path().to_str().unwrap();
    assert!(project.run(&["init", root]).status.success());
    let full = dir.path().join("full");
    let fill = || {
        // As much as there is: the last write fails.
        let zeros = vec![0_u8; 1 << 16];
        let mut file = std::fs::File::create(&full).unwrap();
        while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
    };
    let up = ["up", "--port", "auto", "--project", root];
    fill();
    let refused = project.json(&up);
    assert_eq!(
        (refused["exit"].as_u64(), refused["code"].as_str()),
        (Some(6), Some("disk-full")),
        "{refused}"
    );
    assert_eq!(project.run(&["status", "--project", root]).status.code(), Some(3));
    std::fs::remove_file(&full).unwrap();
    project.ok(&up);
    // It fills up while the server runs: what is no longer acknowledged may be gone, what was is not.
    let body = "x".repeat(100_000);
    let mut acknowledged = 0;
    for _ in 0..400 {
        if !project.run(&["publish", "xyz.a", &body, "--project", root]).status.success() {
            break;
        }
        acknowledged += 1;
    }
    assert!(acknowledged > 50 && acknowledged < 400, "{acknowledged} fitted");
    _ = project.run(&["down", "--project", root]);
    // A disk as full as before: it is said, and the store is not touched.
    fill();
    let again = project.json(&up);
    assert!([Some(0), Some(6), Some(7)].contains(&again["exit"].as_u64()), "{again}");
    _ = project.run(&["down", "--project", root]);
    std::fs::remove_file(&full).unwrap();
    project.ok(&up);
    let info = project.json(&["info", "AnotherStream", "--project", root]);
    assert!(info["data"]["stream"]["state"]["messages"].as_u64().unwrap() >= acknowledged, "{info}");
    project.ok(&["clean", "--yes", "--project", root]);
}

#[test]
fn a_store_that_another_server_has_open_is_left_alone() {
    let project = Project::new();
    project.ok(&["up", "--port", "auto"]);
    project.ok(&["publish", "xyz.a", "kept"]);
    project.ok(&["down"]);
    let store = project.path().join(".streamproof/n1/data");
    let binary = acquire(&Wanted::pinned(), &Sources::from_process()).unwrap().path;
    // By hand: in so many words, and by a configuration.
    let config = project.path().join("by-hand.conf");
    std::fs::write(&config, format!("jetstream {{ \n store_dir: \"{}\" \n}}\n", store.display())).unwrap();
    let store = store.to_str().unwrap().to_owned();
    for words in [vec!["-js", "-sd", &store], vec!["-c", config.to_str().unwrap()]] {
        let mut foreign = Command::new(&binary)
            .args(&words)
            .args(["-a", "127.0.0.1", "-p", "-1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let seen = poll::until(Duration::from_millis(20), Duration::from_secs(20), || {
            let refused = project.json(&["up"]);
            let named =
                refused["error"]["message"].as_str().unwrap_or_default().contains(&foreign.id().to_string());
            if refused["code"] == "store-in-use" && named { Ok(()) } else { Err(refused.to_string()) }
        });
        // Whatever it is, the foreign one goes on.
        assert!(foreign.try_wait().unwrap().is_none());
        foreign.kill().unwrap();
        foreign.wait().unwrap();
        seen.unwrap();
        assert_eq!(project.run(&["status"]).status.code(), Some(3));
    }
    project.ok(&["up"]);
    assert_eq!(project.messages(), 1);
}

#[test]
fn who_holds_a_port_is_said() {
    let project = Project::new();
    let refused = |port: u16| {
        let document = project.json(&["up", "--port", &port.to_string()]);
        assert_eq!((document["exit"].as_u64(), document["code"].as_str()), (Some(6), Some("port-in-use")));
        assert_eq!(project.run(&["status"]).status.code(), Some(3));
        format!("{} {}", document["error"]["message"], document["error"]["help"])
    };
    let port_of = |document: &Value| -> u16 {
        document["data"]["url"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
    };
    let other = Project::new();
    let up = other.json(&["up", "--port", "auto"]);
    let said = refused(port_of(&up));
    let id = other.id();
    assert!(said.contains(&format!("another project's streamproof ({id})")), "{said}");
    assert!(said.contains(&format!("kill {}", up["data"]["nodes"][0]["pid"])), "{said}");

    let nats = Scratch::new().unwrap();
    let said = refused(nats.address().rsplit(':').next().unwrap().parse().unwrap());
    assert!(said.contains(&format!("named {}", nats.name())), "{said}");

    let something = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let said = refused(something.local_addr().unwrap().port());
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");

    if docker_answers() {
        let contained = Project::on("docker");
        let said = refused(port_of(&contained.json(&["up", "--port", "auto"])));
        assert!(said.contains(&format!("container streamproof-{}-n1", contained.id())), "{said}");
        // And a container for whom the port is taken.
        let mine = nats.address().rsplit(':').next().unwrap().to_owned();
        contained.ok(&["down"]);
        assert_eq!(contained.code(&["up", "--port", &mine]), (6, "port-in-use".to_owned()));
    }
}

#[test]
fn a_stopped_engine_is_an_error_and_never_an_empty_store_elsewhere() {
    if !docker_answers() {
        return;
    }
    let project = Project::on("docker");
    project.ok(&["up", "--port", "auto"]);
    project.ok(&["publish", "xyz.a", "kept"]);
    project.ok(&["down"]);
    let without_engine = |args: &[&str], engine: &str| -> Value {
        let mut command = project.command(&[args, &["--json"]].concat());
        let out = command.env("DOCKER_HOST", "tcp://127.0.0.1:1").env("STREAMPROOF_ENGINE", engine).output();
        serde_json::from_slice(&out.unwrap().stdout).unwrap()
    };
    // Neither asked for by name nor left to itself is another one taken.
    for engine in ["docker", "auto"] {
        for command in ["up", "status", "down", "clean"] {
            let refused = without_engine(&[command], engine);
            assert_eq!((refused["exit"].as_u64(), refused["code"].as_str()), (Some(6), Some("engine-down")));
        }
    }
    assert_eq!(project.servers(), 0);
    // By name, the same data in a plain process; and from then on nobody can start the container beside it.
    let process = without_engine(&["up"], "process");
    assert_eq!((process["exit"].as_u64(), process["data"]["engine"].as_str()), (Some(0), Some("process")));
    assert_eq!(project.messages(), 1);
    let name = format!("streamproof-{}-n1", project.id());
    let started = Command::new("docker").args(["start", &name]).output().unwrap();
    assert!(!started.status.success(), "two servers on one store");
    assert_eq!(project.servers(), 1);
    let as_process = Project::reopened(&project, "process");
    as_process.ok(&["down"]);
    // Back, with the container made anew.
    project.ok(&["up"]);
    assert_eq!(project.messages(), 1);
    // While it runs, not even an engine that does not answer makes room for a second one.
    assert_eq!(without_engine(&["up"], "process")["code"], "store-in-use");
    assert_eq!(project.servers(), 1);
    assert_eq!(project.messages(), 1);
    project.ok(&["down"]);
    as_process.ok(&["up"]);
    assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &format!("name=^{name}$")]), "");
    as_process.ok(&["down"]);
}

#[test]
fn without_an_engine_it_is_a_plain_process_unless_docker_was_asked_for() {
    let project = Project::new();
    let without_engine = |engine: &str| {
        let mut command = project.command(&["up", "--port", "auto", "--json"]);
        let out = command.env("DOCKER_HOST", "tcp://127.0.0.1:1").env("STREAMPROOF_ENGINE", engine).output();
        let out = out.unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        (serde_json::from_slice::<Value>(&out.stdout).unwrap(), said)
    };
    let (refused, _) = without_engine("docker");
    assert_eq!((refused["exit"].as_u64(), refused["code"].as_str()), (Some(6), Some("engine-down")));
    assert_eq!(project.servers(), 0);
    let (up, said) = without_engine("auto");
    assert_eq!((up["exit"].as_u64(), up["data"]["engine"].as_str()), (Some(0), Some("process")), "{up}");
    assert!(said.contains("a plain process (no Docker engine answers)"), "{said}");
}

#[test]
fn two_at_once_start_one_server() {
    for engine in ["process", "docker"] {
        if engine == "docker" && !docker_answers() {
            continue;
        }
        let project = Project::on(engine);
        for _ in 0..3 {
            let mut all: Vec<Child> = (0..4).map(|_| project.spawn(&["up", "--port", "auto"])).collect();
            let codes: Vec<Option<i32>> = all.iter_mut().map(|up| up.wait().unwrap().code()).collect();
            // Who is not first finds the lock held, or a server that is up already.
            assert!(codes.contains(&Some(0)), "{codes:?}");
            assert!(codes.iter().all(|code| matches!(code, Some(0 | 9))), "{codes:?}");
            assert_eq!((project.servers(), project.code(&["status"]).0), (1, 0), "{engine}: {codes:?}");
            project.ok(&["down"]);
        }
    }
}

#[test]
fn a_store_that_a_newer_server_made_is_refused_and_left_as_it_is() {
    let project = Project::new();
    project.ok(&["up", "--port", "auto"]);
    project.ok(&["publish", "xyz.a", "kept"]);
    project.ok(&["down"]);
    let older = acquire(&Wanted::exactly(Version::new(2, 12, 1)), &Sources::from_process()).unwrap().path;
    let older = ["up", "--server-bin", older.to_str().unwrap()];
    let note = project.path().join(".streamproof/n1/last-version");
    // By the note of its last start, and, where that is lost, by what stands in the store itself.
    for _ in 0..2 {
        assert_eq!(project.code(&older), (5, "store-newer".to_owned()));
        assert_eq!(project.servers(), 0);
        _ = std::fs::remove_file(&note);
    }
    project.ok(&["up"]);
    assert_eq!(project.messages(), 1);
}

#[test]
fn after_a_reboot_with_stale_everything_the_same_command_works() {
    for engine in ["process", "docker"] {
        if engine == "docker" && !docker_answers() {
            continue;
        }
        let project = Project::on(engine);
        let up = project.json(&["up", "--port", "auto"]);
        project.ok(&["publish", "xyz.a", "kept", "--count", "3"]);
        // All that a power button leaves: a server that ended in the middle, and files that speak of it.
        match engine {
            "process" => signal("-KILL", up["data"]["nodes"][0]["pid"].as_u64().unwrap().try_into().unwrap()),
            _ => _ = docker(&["kill", &format!("streamproof-{}-n1", project.id())]),
        }
        let node = project.path().join(".streamproof/n1");
        let store = node.join("data");
        std::fs::write(node.join("nats-server_1.ports"), r#"{"nats":["nats://127.0.0.1:1"]}"#).unwrap();
        std::fs::write(node.join("nats-server.pid"), "1").unwrap();
        std::fs::write(store.join("nats-server.pid"), "1").unwrap();
        let gone = poll::until(Duration::from_millis(20), Duration::from_secs(20), || {
            if project.run(&["status"]).status.code() == Some(3) { Ok(()) } else { Err("runs") }
        });
        gone.unwrap();
        assert_eq!(project.code(&["down"]), (0, String::new()));
        let again = project.json(&["up"]);
        assert_eq!(
            (again["exit"].as_u64(), again["data"]["already"].as_bool()),
            (Some(0), Some(false)),
            "{again}"
        );
        assert_eq!(again["data"]["url"], up["data"]["url"], "the port is remembered");
        assert_eq!(project.messages(), 3);
    }
}

#[test]
fn what_is_broken_in_the_files_is_shown_with_its_place() {
    for engine in ["process", "docker"] {
        if engine == "docker" && !docker_answers() {
            continue;
        }
        let project = Project::on(engine);
        let conf = project.path().join("nats-config/jetstream.conf");
        let good = std::fs::read_to_string(&conf).unwrap();
        let lines = good.lines().count() as u64;
        for (broken, says) in [
            (format!("{good}jetstrem: 1\n"), "unknown field \"jetstrem\""),
            (format!("{good}max_payload: [1\n"), "Expected an array value"),
        ] {
            std::fs::write(&conf, broken).unwrap();
            let refused = project.json(&["up", "--port", "auto"]);
            assert_eq!(
                (refused["exit"].as_u64(), refused["code"].as_str()),
                (Some(2), Some("invalid-server-config"))
            );
            let error = &refused["error"];
            assert!(error["message"].as_str().unwrap().contains(says), "{error}");
            assert!(error["at"]["file"].as_str().unwrap().ends_with("nats-config/jetstream.conf"), "{error}");
            assert!((lines + 1..=lines + 2).contains(&error["at"]["line"].as_u64().unwrap()), "{error}");
            assert_eq!(project.servers(), 0);
        }
        std::fs::write(&conf, good).unwrap();
        let file = project.path().join("nats-config/streams/AnotherStream.json");
        std::fs::write(&file, "{\n  \"name\": \"AnotherStream\",,\n}").unwrap();
        let refused = project.json(&["up", "--port", "auto"]);
        assert_eq!(refused["error"]["at"]["line"], 2);
        assert_eq!(refused["error"]["at"]["column"], 27, "{refused}");
    }
}

#[test]
fn more_nodes_than_there_can_be_are_refused() {
    let project = Project::new();
    std::fs::write(project.path().join("nats-config/streamproof.toml"), "nodes = 3\n").unwrap();
    let refused = project.json(&["up", "--port", "auto"]);
    assert_eq!(
        (refused["exit"].as_u64(), refused["code"].as_str()),
        (Some(6), Some("unsupported")),
        "{refused}"
    );
}

#[test]
fn a_server_that_runs_with_an_older_configuration_is_not_passed_over_in_silence() {
    for engine in ["process", "docker"] {
        if engine == "docker" && !docker_answers() {
            continue;
        }
        let project = Project::on(engine);
        project.ok(&["up", "--port", "auto"]);
        project.ok(&["publish", "xyz.a", "kept"]);
        let conf = project.path().join("nats-config/jetstream.conf");
        let text = std::fs::read_to_string(&conf).unwrap();
        std::fs::write(&conf, format!("{text}max_payload: 2000\n")).unwrap();
        let warned = project.json(&["up"]);
        assert!(warned["warnings"][0].as_str().unwrap_or_default().contains("--recreate"), "{warned}");
        project.ok(&["publish", "xyz.a", &"x".repeat(3000)]);
        let anew = project.json(&["up", "--recreate"]);
        assert_eq!((anew["exit"].as_u64(), anew["warnings"].as_array().map(Vec::len)), (Some(0), Some(0)));
        assert!(!project.run(&["publish", "xyz.a", &"x".repeat(3000)]).status.success());
        assert_eq!(project.messages(), 2);
    }
}
