//! The Docker engine dies under a running server: really, by SIGKILL, which leaves its containers running. The engine is one of this
//! test's own, beside the machine's.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use streamproof::server::poll;

use crate::recipe::{Project, docker_answers, print_skip};

/// A dockerd with folders, a socket and a network of its own: one that shares the network takes the other's bridge away.
struct Dockerd {
    dir: tempfile::TempDir,
    process: Child,
    space: Space,
}

/// A network of its own, with nothing in it but 127.0.0.1.
struct Space(String);

impl Space {
    fn new() -> Option<Space> {
        let space = Space(format!("streamproof-{}", std::process::id()));
        let made = Command::new("ip").args(["netns", "add", &space.0]).output().ok()?.status.success();
        let up = Command::new("ip").args(["-n", &space.0, "link", "set", "lo", "up"]).output().ok()?;
        (made && up.status.success()).then_some(space)
    }

    /// A command in it. Not by `ip netns exec`, which hides the control groups that dockerd needs.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.0)).arg(program);
        command
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        _ = Command::new("ip").args(["netns", "delete", &self.0]).output();
    }
}

impl Dockerd {
    fn start() -> Option<Dockerd> {
        let space = Space::new()?;
        let dir = tempfile::tempdir().unwrap();
        let process = Dockerd::spawn(&space, dir.path());
        let mut engine = Dockerd { dir, process, space };
        engine.wait().then_some(engine)
    }

    fn spawn(space: &Space, dir: &Path) -> Child {
        let at = |name: &str| dir.join(name).display().to_string();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        space
            .command("dockerd")
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--host", &format!("unix://{}", at("socket"))])
            .args(["--bridge", "none", "--iptables=false", "--storage-driver", "vfs"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("socket").display())
    }

    /// Whether it came up; one that may not run here, or is not installed, ends.
    fn wait(&mut self) -> bool {
        let host = self.host();
        let up = poll::until(Duration::from_millis(100), Duration::from_secs(60), || {
            if self.process.try_wait().unwrap().is_some() {
                return Ok(false);
            }
            let asked = Command::new("docker").args(["--host", &host, "version"]).output().unwrap();
            if asked.status.success() { Ok(true) } else { Err(asked) }
        });
        up.unwrap()
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn start_again(&mut self) {
        // Its containerd ends with it, but not at once; one that is about to end would be taken for one that serves.
        let pid = std::fs::read_to_string(self.dir.path().join("exec/containerd/containerd.pid"));
        if let Ok(pid) = pid {
            let process = Path::new("/proc").join(pid.trim());
            let gone = poll::until(Duration::from_millis(20), Duration::from_secs(60), || {
                if process.exists() { Err("containerd runs") } else { Ok(()) }
            });
            gone.unwrap();
        }
        self.process = Dockerd::spawn(&self.space, self.dir.path());
        assert!(self.wait(), "{}", std::fs::read_to_string(self.dir.path().join("log")).unwrap());
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(Some(_))) && std::thread::panicking() {
            // The test has failed while it was dead: its container still runs, and only it can end that.
            self.start_again();
        }
        // In good order: it then takes its containers and mounts with it.
        _ = Command::new("kill").arg(self.process.id().to_string()).output();
        _ = self.process.wait();
        // One that was killed leaves its folder mounted onto itself.
        _ = Command::new("umount").args(["--lazy", "--quiet"]).arg(self.dir.path().join("data")).output();
    }
}

#[test]
fn an_engine_that_is_killed_leaves_nothing_half_done_and_loses_nothing() {
    if !docker_answers() {
        return;
    }
    let Some(mut engine) = Dockerd::start() else {
        let required = std::env::var("STREAMPROOF_REQUIRE").is_ok_and(|list| list.contains("docker"));
        assert!(!required, "a Docker engine is required, and a second dockerd may not run here");
        print_skip("a second dockerd may not run here");
        return;
    };
    let host = engine.host();
    let project = Project::on("docker");
    let run = |engine: &Dockerd, args: &[&str], on: &str| -> Value {
        let mut command = engine.space.command(env!("CARGO_BIN_EXE_xtask"));
        command.args(args).arg("--json").current_dir(project.path()).env_remove("STREAMPROOF_PROJECT");
        let out = command.env("DOCKER_HOST", &host).env("STREAMPROOF_ENGINE", on).output().unwrap();
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{args:?} {e}: {out:?}"))
    };
    let up = run(&engine, &["up", "--port", "auto"], "docker");
    assert_eq!(up["exit"], 0, "{up}");
    assert_eq!(run(&engine, &["publish", "xyz.a", "kept", "--count", "5"], "docker")["exit"], 0);
    let pid = run(&engine, &["status"], "docker")["data"]["nodes"][0]["pid"].as_u64().unwrap_or_default();
    engine.kill();
    // The server lives on, and nobody may speak for its engine: every command says what is wrong, whichever engine is asked for.
    for command in ["up", "status", "down", "restart", "clean"] {
        let refused = run(&engine, &[command], "docker");
        let code = (refused["exit"].as_u64(), refused["code"].as_str());
        assert_eq!(code, (Some(6), Some("engine-down")), "{command}: {refused}");
        let help = refused["error"]["help"].as_str().unwrap();
        assert!(help.contains("start Docker"), "{help}");
    }
    let beside = run(&engine, &["up"], "process");
    assert_eq!(beside["code"], "store-in-use", "a second server on the store: {beside}");
    assert!(beside["error"]["message"].as_str().unwrap().contains(&format!("process {pid}:")), "{beside}");
    // Back again, the same command goes on.
    engine.start_again();
    let again = run(&engine, &["up"], "docker");
    assert_eq!(
        (again["exit"].as_u64(), again["data"]["url"].as_str()),
        (Some(0), up["data"]["url"].as_str())
    );
    let info = run(&engine, &["info", "AnotherStream"], "docker");
    assert_eq!(info["data"]["stream"]["state"]["messages"], 5, "{info}");
    assert_eq!(run(&engine, &["publish", "xyz.a", "goes on"], "docker")["exit"], 0);
    assert_eq!(run(&engine, &["clean", "--yes"], "docker")["exit"], 0);
    // It began anew there: nothing is left for the engine of this machine.
    assert!(!project.path().join(".streamproof").exists());
}
