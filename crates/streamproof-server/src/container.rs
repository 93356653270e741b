//! The persistent server as a container, through the `docker` client: made, found again by its name and labels, thrown away
//! without touching the data.
//!
//! The store is the same folder as the process engine's, mounted, so that changing the engine keeps the data; or, where that is
//! asked for and off Linux, a named volume: a folder that is shared into a virtual machine has damaged stores. Ports are
//! published on the loopback address only; a network of the project's own lets further containers reach the server by the
//! node's name.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::acquire::sha256;
use crate::disk::Doing;
use crate::engine::{Engine, Keep};
use crate::error::ServerError;
use crate::image;
use crate::node::{Node, Running, Start};
use crate::poll::{self, Pace};
use crate::tool::{Tool, ToolError};
use streamproof_model::version::Version;

/// The label that every thing of ours carries; its value is the project's id.
pub const PROJECT_LABEL: &str = "dev.streamproof.project";
const NODE_LABEL: &str = "dev.streamproof.node";
const VERSION_LABEL: &str = "dev.streamproof.version";
const SPEC_LABEL: &str = "dev.streamproof.spec";

/// Where things are in the container. The node's configuration includes `../../nats-config/jetstream.conf`, as on the host.
const INSIDE: &str = "/streamproof";
const STORE_INSIDE: &str = "/data/jsm";
const CLIENT_INSIDE: u16 = 4222;
const MONITOR_INSIDE: u16 = 8222;

/// How long Docker may take for what is done at once.
const QUICK_BOUND: Duration = Duration::from_secs(30);
/// How long Docker may take for anything at all, building an image for one.
const LONG_BOUND: Duration = Duration::from_secs(300);

/// A container of ours, as Docker shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    /// `running`, `paused`, `exited`, `created`, `dead`.
    pub(crate) status: String,
    pub(crate) pid: u32,
    pub(crate) spec: String,
    pub(crate) version: String,
    pub(crate) port: u16,
    pub(crate) monitor_port: u16,
}

/// The name of a node's container.
#[must_use]
pub fn name(node: &Node) -> String {
    format!("streamproof-{}-{}", node.project(), node.name())
}

/// The name of a project's network.
#[must_use]
pub fn network(project: &str) -> String {
    format!("streamproof-{project}")
}

/// The volume that keeps a node's store, where a folder does not.
#[must_use]
pub fn volume(node: &Node) -> String {
    format!("{}-data", name(node))
}

/// Where another container in [`network`] reaches the node.
#[must_use]
pub fn url_inside(node: &Node) -> String {
    format!("nats://{}:{CLIENT_INSIDE}", node.name())
}

/// The node's container, if there is one.
pub(crate) fn find(node: &Node) -> Result<Option<Container>, ServerError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Shown {
        state: State,
        config: Config,
        host_config: HostConfig,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct State {
        status: String,
        pid: u32,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        #[serde(default)]
        labels: std::collections::BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct HostConfig {
        #[serde(default)]
        port_bindings: Option<std::collections::BTreeMap<String, Option<Vec<Binding>>>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Binding {
        host_port: String,
    }
    let name = name(node);
    let asked = Tool::new("docker").args(["container", "inspect", &name]).bound(QUICK_BOUND).apart().run();
    let text = match asked {
        Ok(said) => said.text(),
        Err(ToolError::Failed { said, .. }) if said.to_lowercase().contains("no such container") => {
            return Ok(None);
        }
        Err(error) => return Err(down_or(error)),
    };
    let garbled = |reason: String| ServerError::EngineDown {
        reason: format!("what it shows of {name} can't be read: {reason}"),
    };
    let mut shown: Vec<Shown> = serde_json::from_str(&text).map_err(|e| garbled(e.to_string()))?;
    let shown = shown.pop().ok_or_else(|| garbled("nothing".to_owned()))?;
    let label = |key: &str| shown.config.labels.get(key).cloned().unwrap_or_default();
    if label(PROJECT_LABEL) != node.project() {
        return Err(ServerError::NotOurs { what: format!("container {name}") });
    }
    let bindings = shown.host_config.port_bindings.unwrap_or_default();
    let port = |inside: u16| {
        let binding = bindings.get(&format!("{inside}/tcp"))?.as_ref()?.first()?;
        binding.host_port.parse::<u16>().ok()
    };
    Ok(Some(Container {
        status: shown.state.status,
        pid: shown.state.pid,
        spec: label(SPEC_LABEL),
        version: label(VERSION_LABEL),
        port: port(CLIENT_INSIDE).unwrap_or_default(),
        monitor_port: port(MONITOR_INSIDE).unwrap_or_default(),
    }))
}

/// Whether it runs, and where. A paused one does: it holds its store.
pub(crate) fn running(node: &Node) -> Result<Option<Running>, ServerError> {
    Ok(find(node)?.filter(Container::lives).map(|container| container.running()))
}

impl Container {
    fn lives(&self) -> bool {
        matches!(self.status.as_str(), "running" | "paused" | "restarting")
    }

    fn running(&self) -> Running {
        Running { engine: Engine::Docker, pid: self.pid, port: self.port, monitor_port: self.monitor_port }
    }
}

/// Starts it: an ended container that is as it should be is started again, any other is made anew. The data is in the mounted
/// folder, or in the volume, either way.
pub(crate) fn start(node: &Node, start: &Start, keep: Keep) -> Result<Running, ServerError> {
    let name = name(node);
    let old = find(node)?;
    if keep == Keep::Volume {
        make_volume(node, start, old.as_ref())?;
    }
    let mut old = old;
    let mut tries = 0;
    let made = loop {
        let (image, id) = match &start.image {
            Some(official) => (official.reference.clone(), official.id.as_str()),
            None => (image::name(&start.binary), ""),
        };
        let words = words(node, start, &image, keep);
        let spec = spec(&words, id, &start.config_file)?;
        match &old {
            Some(container) if container.lives() => return Ok(container.running()),
            Some(container) if container.spec == spec => break false,
            Some(_) => {
                docker(["container", "rm", &name])?;
                old = None;
            }
            None => {}
        }
        // A container that is there has its image; only a new one needs it looked for.
        if start.image.is_none() {
            image::build(&start.binary)?;
        }
        make_network(node.project())?;
        let mut create =
            vec!["container".to_owned(), "create".to_owned(), "--pull".to_owned(), "never".to_owned()];
        create.extend(["--name".to_owned(), name.clone()]);
        create.extend(["--label".to_owned(), format!("{SPEC_LABEL}={spec}")]);
        create.extend(words);
        tries += 1;
        match docker(&create) {
            Ok(_) => break true,
            // Another project's `clean` found the image unused and removed it this very moment: it is built again.
            Err(ServerError::Docker(ToolError::Failed { said, .. }))
                if tries < IMAGE_TRIES && is_without_image(&said) => {}
            Err(error) => return Err(error),
        }
    };
    let started = if start.interrupt.is_set() {
        Err(ServerError::Interrupted)
    } else {
        docker(["container", "start", &name]).map(drop)
    };
    if let Err(error) = started {
        // A container that never ran is of no use to anybody, and its name would be in the way.
        if made {
            let _ = docker(["container", "rm", "--force", &name]);
        }
        return Err(error);
    }
    let started = find(node)?.ok_or_else(|| ServerError::NotRunning { node: name.clone() })?;
    Ok(started.running())
}

/// How often an image that is gone again is built.
const IMAGE_TRIES: u32 = 5;

/// In Docker's words: the image is not there, nor in any registry under our name.
fn is_without_image(said: &str) -> bool {
    ["No such image", "Unable to find image", "pull access denied"].iter().any(|words| said.contains(words))
}

/// Removes a container that has ended, so that nobody starts it by mistake. One that runs is left, and given back.
pub(crate) fn leave(node: &Node) -> Result<Option<Running>, ServerError> {
    match find(node)? {
        Some(container) if container.lives() => Ok(Some(container.running())),
        Some(_) => docker(["container", "rm", &name(node)]).map(|_| None),
        None => Ok(None),
    }
}

/// Whether a node's volume is there. Where no engine answers, it is not known and taken not to be.
#[must_use]
pub fn has_volume(node: &Node) -> bool {
    Tool::new("docker").args(["volume", "inspect", &volume(node)]).bound(QUICK_BOUND).run().is_ok()
}

/// The volume with our labels, and a look at who ran on it last where our own note of that is lost: its container knows.
fn make_volume(node: &Node, start: &Start, old: Option<&Container>) -> Result<(), ServerError> {
    if has_volume(node) {
        let version = &start.binary.version;
        return match old.and_then(|container| container.version.parse::<Version>().ok()) {
            Some(made_by) if (made_by.major, made_by.minor) > (version.major, version.minor) => {
                Err(ServerError::StoreNewer {
                    store: volume(node).into(),
                    made_by: made_by.to_string(),
                    version: version.clone(),
                })
            }
            _ => Ok(()),
        };
    }
    let label = |key: &str, value: &str| ["--label".to_owned(), format!("{key}={value}")];
    let mut words = vec!["volume".to_owned(), "create".to_owned()];
    words.extend(label(PROJECT_LABEL, node.project()));
    words.extend(label(NODE_LABEL, node.name()));
    words.push(volume(node));
    docker(&words).map(drop)
}

/// Copies the store out of a node's container, which may be stopped; for a look at it.
///
/// # Errors
/// [`ServerError::Docker`], [`ServerError::EngineDown`].
pub fn copy_store(node: &Node, to: &Path) -> Result<(), ServerError> {
    let from = format!("{}:{STORE_INSIDE}/.", name(node));
    docker(["container", "cp", &from, &to.to_string_lossy()]).map(drop)
}

/// The words of `docker container create` behind the name and the spec, with the image and the server's own.
fn words(node: &Node, start: &Start, image: &str, keep: Keep) -> Vec<String> {
    let mut words = Vec::new();
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    add("--label", format!("{PROJECT_LABEL}={}", node.project()));
    add("--label", format!("{NODE_LABEL}={}", node.name()));
    add("--label", format!("{VERSION_LABEL}={}", start.binary.version));
    add("--network", network(node.project()));
    add("--network-alias", node.name().to_owned());
    add("--hostname", node.name().to_owned());
    add("--publish", format!("127.0.0.1:{}:{CLIENT_INSIDE}", start.port));
    add("--publish", format!("127.0.0.1:{}:{MONITOR_INSIDE}", start.monitor_port));
    add("--stop-timeout", "20".to_owned());
    let mount =
        |from: &Path, to: &str, how: &str| format!("type=bind,source={},target={to}{how}", from.display());
    match keep {
        Keep::Folder => {
            // What the server writes belongs to who called, not to root.
            #[cfg(target_os = "linux")]
            add(
                "--user",
                format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()),
            );
            add("--mount", mount(&node.store_dir(), STORE_INSIDE, ""));
        }
        Keep::Volume => add("--mount", format!("type=volume,source={},target={STORE_INSIDE}", volume(node))),
    }
    let config_dir = start.config_file.parent().unwrap_or(Path::new("/"));
    add("--mount", mount(config_dir, &format!("{INSIDE}/nats-config"), ",readonly"));
    let config_inside = format!("{INSIDE}/state/{}/nats.conf", node.name());
    add("--mount", mount(&node.container_config_path(), &config_inside, ",readonly"));
    add("--env", format!("STREAMPROOF_STORE={STORE_INSIDE}"));
    words.push(image.to_owned());
    words.extend(["-c", &config_inside, "-a", "0.0.0.0", "-n", &node.server_name()].map(str::to_owned));
    words.extend(["-p".to_owned(), CLIENT_INSIDE.to_string(), "-m".to_owned(), MONITOR_INSIDE.to_string()]);
    words
}

/// What a container was made from: one whose words, image or configuration differ is made anew.
fn spec(words: &[String], image_id: &str, config_file: &Path) -> Result<String, ServerError> {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for word in words {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    hash.update(image_id.as_bytes());
    hash.update(sha256(config_file)?.as_bytes());
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn make_network(project: &str) -> Result<(), ServerError> {
    let name = network(project);
    if Tool::new("docker").args(["network", "inspect", &name]).bound(QUICK_BOUND).run().is_ok() {
        return Ok(());
    }
    docker(["network", "create", "--label", &format!("{PROJECT_LABEL}={project}"), &name]).map(drop)
}

/// Asks it to stop; Docker kills one that does not in time. Returns whether it had to be killed.
pub(crate) fn stop(node: &Node, bound: Duration) -> Result<bool, ServerError> {
    let name = name(node);
    if find(node)?.is_some_and(|container| container.status == "paused") {
        docker(["container", "unpause", &name])?;
    }
    let seconds = bound.as_secs().max(1).to_string();
    docker_within(["container", "stop", "--time", &seconds, &name], bound + QUICK_BOUND)?;
    // 137: the SIGKILL that Docker sends when the time is over.
    let code = docker(["container", "inspect", "--format", "{{.State.ExitCode}}", &name])?;
    Ok(code == "137")
}

/// Kills it, and returns when it is gone.
pub(crate) fn kill(node: &Node) -> Result<(), ServerError> {
    docker(["container", "kill", &name(node)])?;
    poll::until(Pace::QUICK, QUICK_BOUND, || match find(node) {
        Ok(Some(container)) if container.lives() => Err("runs"),
        _ => Ok(()),
    })
    .map_err(|timed_out| ServerError::StopTimeout { what: name(node), waited: timed_out.waited })
}

/// The last lines of its log; none where there is no container.
pub(crate) fn log_tail(node: &Node, lines: usize) -> String {
    let asked = Tool::new("docker")
        .args(["container", "logs", "--tail", &lines.to_string(), &name(node)])
        .bound(QUICK_BOUND)
        .outcome();
    // nats-server logs to standard error.
    asked.map(|(_, said)| format!("{}{}", said.text(), said.stderr)).unwrap_or_default().trim_end().to_owned()
}

/// Its log as it grows; the client that brings it ends with the reader, and with the container.
pub(crate) fn log_reader(node: &Node, from_lines: usize) -> Result<duct::ReaderHandle, ServerError> {
    let words = ["container", "logs", "--follow", "--tail", &from_lines.to_string(), &name(node)];
    let client = duct::cmd("docker", words).stdin_null().stderr_to_stdout().unchecked();
    Ok(client.reader().doing("run", Path::new("docker"))?)
}

/// Everything of a project that Docker has, by its exact label, as `(kind, name)`. Where no engine answers, nothing.
#[must_use]
pub fn things(project: &str) -> Vec<(&'static str, String)> {
    let filter = format!("label={PROJECT_LABEL}={project}");
    let ask = |args: &[&str]| {
        let said = Tool::new("docker").args(args).args(["--filter", &filter]).bound(QUICK_BOUND).run();
        said.map(|said| said.text().lines().map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default()
    };
    let mut things = Vec::new();
    things
        .extend(ask(&["ps", "--all", "--format", "{{.Names}}"]).into_iter().map(|name| ("container", name)));
    things.extend(ask(&["volume", "ls", "--format", "{{.Name}}"]).into_iter().map(|name| ("volume", name)));
    things.extend(ask(&["network", "ls", "--format", "{{.Name}}"]).into_iter().map(|name| ("network", name)));
    things
}

/// Removes one of [`things`], or an image.
///
/// # Errors
/// [`ServerError::Docker`].
pub fn remove(kind: &str, name: &str) -> Result<(), ServerError> {
    match kind {
        "container" => docker(["container", "rm", "--force", "--volumes", name]),
        _ => docker([kind, "rm", name]),
    }
    .map(drop)
}

pub(crate) fn docker<A: AsRef<std::ffi::OsStr>>(
    args: impl IntoIterator<Item = A>,
) -> Result<String, ServerError> {
    docker_within(args, LONG_BOUND)
}

fn docker_within<A: AsRef<std::ffi::OsStr>>(
    args: impl IntoIterator<Item = A>,
    bound: Duration,
) -> Result<String, ServerError> {
    // Out of reach of a Ctrl-C: what Docker began, it ends, and is undone in good order.
    Tool::new("docker").args(args).bound(bound).apart().run().map(|said| said.text()).map_err(down_or)
}

/// The client's own error where it cannot reach its engine; else what Docker said.
fn down_or(error: ToolError) -> ServerError {
    match &error {
        ToolError::Missing { .. } => ServerError::EngineDown { reason: error.to_string() },
        ToolError::Failed { said, .. }
            if [
                "Cannot connect",
                "failed to connect",
                "error during connect",
                "Is the docker daemon running",
            ]
            .iter()
            .any(|words| said.contains(words)) =>
        {
            ServerError::EngineDown { reason: said.lines().next().unwrap_or_default().to_owned() }
        }
        _ => ServerError::Docker(error),
    }
}
