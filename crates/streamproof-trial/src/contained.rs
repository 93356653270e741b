//! A scratch server in a container, for the fault `recreate`: each of its starts makes a new container on the same store, and
//! each of its ends removes it.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use streamproof_server::scratch::Access;
use streamproof_server::{Scratch, ServerError};

/// Containers of ours carry it; its value is the process that made them.
const LABEL: &str = "dev.streamproof.trial";
/// An image with nothing in it: the server's own binary is mounted into it.
const IMAGE: &str = "streamproof-trial-empty:1";

/// What holds the name of the container, and removes what a killed client has left of it.
#[derive(Debug)]
pub struct Contained {
    name: String,
}

impl Contained {
    /// Why there can be none here, if so.
    ///
    /// # Errors
    /// With the reason.
    pub fn can_be_had() -> Result<(), &'static str> {
        if !cfg!(target_os = "linux") {
            return Err("it needs a Docker engine that shares this machine's folders and network: Linux");
        }
        static CAN: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        if *CAN.get_or_init(|| streamproof_server::docker::engine_version().is_ok() && image()) {
            Ok(())
        } else {
            Err("it needs a Docker engine, and none answers")
        }
    }

    /// Moves a server that runs into a container: it is stopped, and started there on the same store and ports.
    ///
    /// # Errors
    /// It does not come up there.
    pub fn around(server: &mut Scratch) -> Result<Contained, ServerError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        remove_left_over();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let contained = Contained { name: format!("streamproof-trial-{}-{number}", std::process::id()) };
        server.stop()?;
        server.set_wrapper(contained.words(server));
        server.start()?;
        Ok(contained)
    }

    /// The words before the server's own. The network is the host's, so that the ports stay what they are.
    fn words(&self, server: &Scratch) -> Vec<String> {
        let mut words: Vec<String> =
            ["docker", "run", "--rm", "--pull", "never", "--network", "host", "--env", "STREAMPROOF_STORE"]
                .map(str::to_owned)
                .into();
        let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
        add("--name", self.name.clone());
        add("--label", format!("{LABEL}={}", std::process::id()));
        // What the server writes belongs to who called.
        if let Ok(own) = std::fs::metadata("/proc/self") {
            use std::os::unix::fs::MetadataExt;
            add("--user", format!("{}:{}", own.uid(), own.gid()));
        }
        for (place, access) in server.places() {
            let how = if access == Access::Read { ",readonly" } else { "" };
            let place = place.display();
            add("--mount", format!("type=bind,source={place},target={place}{how}"));
        }
        words.push(IMAGE.to_owned());
        words
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

fn image() -> bool {
    let there = run(Command::new("docker").args(["image", "inspect", IMAGE]));
    there || {
        let Ok(folder) = std::env::temp_dir().canonicalize() else { return false };
        let recipe = folder.join(format!("streamproof-trial-{}.Dockerfile", std::process::id()));
        let text = "FROM scratch\nLABEL dev.streamproof.image=trial\nCMD [\"nothing\"]\n";
        let built = std::fs::write(&recipe, text).is_ok() && build(&recipe);
        // A recipe that stays in the folder for temporary files harms nobody.
        std::fs::remove_file(&recipe).ok();
        built
    }
}

/// The context is an empty folder: nothing is copied from it.
fn build(recipe: &Path) -> bool {
    let empty = recipe.with_extension("context");
    let built = std::fs::create_dir_all(&empty).is_ok()
        && run(Command::new("docker")
            .args(["build", "--quiet", "--tag", IMAGE, "--file"])
            .arg(recipe)
            .arg(&empty));
    std::fs::remove_dir(&empty).ok();
    built
}

/// Containers of processes that are gone, and could not remove them any more.
fn remove_left_over() {
    let format = format!("{{{{.Names}}}} {{{{.Label \"{LABEL}\"}}}}");
    let filter = format!("label={LABEL}");
    let listed =
        Command::new("docker").args(["ps", "--all", "--filter", &filter, "--format", &format]).output();
    let Ok(listed) = listed else { return };
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        if let Some((name, owner)) = line.split_once(' ')
            && !Path::new("/proc").join(owner).exists()
        {
            remove(name);
        }
    }
}

/// Also where it is gone already.
fn remove(name: &str) {
    run(Command::new("docker").args(["rm", "--force", name]));
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|done| done.status.success())
}
