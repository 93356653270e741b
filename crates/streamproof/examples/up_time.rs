//! How long `cargo xtask up` takes on a warm machine, from the call of the built binary to its end, beside the server's own
//! start (plain process) and beside `docker run` (Docker); in turn, on the same store, configuration, ports and image.
//!
//! ```text
//! cargo run -p streamproof --example up_time [ROUNDS]
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use streamproof::home::Home;
use streamproof::server::ready::{Ladder, climb};
use streamproof::server::wire::Credentials;
use streamproof::server::{Engine, Sources, Wanted, acquire, container, docker};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What `up` may cost beyond the server's own start.
const PROCESS_BOUND: Duration = Duration::from_millis(50);
/// What `up` may cost beyond `docker run`.
const DOCKER_BOUND: Duration = Duration::from_millis(150);
/// How long a server may take before the measurement is given up.
const READY_BOUND: Duration = Duration::from_secs(60);

fn main() -> Outcome<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(15), |text| text.parse())?;
    let xtask = build()?;
    let dir = tempfile::tempdir()?;
    run(Command::new(&xtask).arg("init").arg(dir.path()))?;
    let mut engines = vec![Engine::Process];
    match docker::engine_version() {
        Ok(_) => engines.push(Engine::Docker),
        Err(error) => println!("docker is left out: {error}"),
    }
    for engine in engines {
        let bench = Bench { xtask: &xtask, dir: dir.path(), engine };
        let measured = bench.measure(rounds);
        run(&mut bench.xtask(&["clean", "--yes"]))?;
        measured?;
    }
    Ok(())
}

/// The command line in the profile in which `cargo xtask` runs it.
fn build() -> Outcome<PathBuf> {
    // target/debug/examples/up_time
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(3).ok_or("this example is not in a target folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = ["--profile", "cli", "--no-default-features", "--target-dir"];
    run(Command::new(cargo).args(["build", "--quiet", "--package", "xtask"]).args(profile).arg(target))?;
    Ok(target.join("cli").join("xtask"))
}

struct Bench<'a> {
    xtask: &'a Path,
    dir: &'a Path,
    engine: Engine,
}

impl Bench<'_> {
    fn xtask(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.xtask);
        command.args(words).current_dir(self.dir).env("STREAMPROOF_ENGINE", self.engine.name());
        command
    }

    fn measure(&self, rounds: usize) -> Outcome<()> {
        // Warm: the store, the image, the container are there.
        run(&mut self.xtask(&["up", "--port", "auto"]))?;
        let home = Home::open(Some(self.dir), self.dir)?;
        let running = home.node.running()?.ok_or("it does not run")?;
        run(&mut self.xtask(&["down"]))?;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(timed(|| run(&mut self.xtask(&["up"])))?);
            run(&mut self.xtask(&["down"]))?;
            bare.push(match self.engine {
                Engine::Process => self.server_alone(&home, running.port, running.monitor_port)?,
                Engine::Docker => self.docker_run(&home, running.port, running.monitor_port)?,
            });
        }
        let (peer, bound) = match self.engine {
            Engine::Process => ("the server's own start", PROCESS_BOUND),
            Engine::Docker => ("docker run", DOCKER_BOUND),
        };
        let (ours, bare) = (median(&mut ours), median(&mut bare));
        let more = ours.saturating_sub(bare);
        println!(
            "{:<8} up {:>4} ms, {peer} {:>4} ms: {:>4} ms more, {} {} ms (medians of {rounds})",
            self.engine,
            ours.as_millis(),
            bare.as_millis(),
            more.as_millis(),
            if more <= bound { "within" } else { "OVER" },
            bound.as_millis(),
        );
        Ok(())
    }

    /// nats-server with the same words, until it is ready.
    fn server_alone(&self, home: &Home, port: u16, monitor: u16) -> Outcome<Duration> {
        let binary = acquire(&Wanted::pinned(), &Sources::from_process())?;
        let start = Instant::now();
        let mut server = Command::new(binary.path)
            .arg("-c")
            .arg(home.node.folder().join("nats.conf"))
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-m", &monitor.to_string()])
            .env("STREAMPROOF_STORE", home.node.store_dir())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let ready = wait_ready(port, monitor);
        let took = start.elapsed();
        // In good order, as `down` does it: the next start has the same to recover.
        run(Command::new("kill").arg(server.id().to_string()))?;
        server.wait()?;
        ready.map(|()| took)
    }

    /// The same container, by hand.
    fn docker_run(&self, home: &Home, port: u16, monitor: u16) -> Outcome<Duration> {
        let (name, node) = (format!("{}-bare", container::name(&home.node)), &home.node);
        let image = Command::new("docker")
            .args(["container", "inspect", "--format", "{{.Config.Image}}", &container::name(node)])
            .output()?;
        let image = String::from_utf8(image.stdout)?.trim().to_owned();
        let mount = |from: &Path, to: &str| format!("type=bind,source={},target={to}", from.display());
        let config = "/streamproof/state/n1/nats.conf";
        let start = Instant::now();
        run(Command::new("docker")
            .args(["run", "--detach", "--name", &name])
            .args(["--network", &container::network(node.project())])
            .args(["--publish", &format!("127.0.0.1:{port}:4222")])
            .args(["--publish", &format!("127.0.0.1:{monitor}:8222")])
            .args(["--mount", &mount(&node.store_dir(), "/data/jsm")])
            .args(["--mount", &mount(&home.folder.config_dir(), "/streamproof/nats-config")])
            .args(["--mount", &mount(&node.folder().join("container.conf"), config)])
            .args(["--env", "STREAMPROOF_STORE=/data/jsm", &image])
            .args(["-c", config, "-a", "0.0.0.0", "-p", "4222", "-m", "8222"]))?;
        let ready = wait_ready(port, monitor);
        let took = start.elapsed();
        run(Command::new("docker").args(["container", "stop", &name]))?;
        run(Command::new("docker").args(["container", "rm", &name]))?;
        ready.map(|()| took)
    }
}

fn wait_ready(port: u16, monitor: u16) -> Outcome<()> {
    let ladder = Ladder {
        address: format!("127.0.0.1:{port}"),
        monitor: Some(format!("127.0.0.1:{monitor}")),
        credentials: Credentials::None,
        name: None,
        assets: Vec::new(),
    };
    climb(&ladder, READY_BOUND, Path::new(""), || Ok(()))?;
    Ok(())
}

fn run(command: &mut Command) -> Outcome<()> {
    let out = command.stdin(Stdio::null()).output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} ended with {}: {}", out.status, String::from_utf8_lossy(&out.stderr)).into())
}

fn timed(work: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
