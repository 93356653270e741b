//! The official image: pulled from a registry of this test's own, which behaves like the real one, or dies, or is dead; and what is
//! left by a fetch out of it that was killed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use streamproof::model::version::Version;
use streamproof::server::acquire::sha256;
use streamproof::server::{PINNED, Sources, Wanted, acquire, image, poll};

use crate::recipe::{Project, docker, docker_answers};

/// How a registry behaves.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    /// It has the image.
    Fine,
    /// It knows of no image.
    Empty,
    /// It takes connections and says nothing.
    Dead,
}

/// A registry on this machine (the engine takes one on 127.0.0.1 without TLS) with one image under every tag. What was pulled from
/// it is removed with the value.
struct Registry {
    repository: String,
    digest: String,
    asked: Arc<AtomicUsize>,
}

impl Registry {
    fn new(holds: &Version, mood: Mood) -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let repository = format!("{}/nats", listener.local_addr().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let digest = lay_out(dir.path(), holds);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::Relaxed);
                answer(stream.unwrap(), dir.path(), mood);
            }
        });
        Registry { repository, digest, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let here = docker(&["image", "ls", "--quiet", "--filter", &format!("reference={}", self.repository)]);
        for id in here.lines() {
            docker(&["image", "rm", "--force", id]);
        }
    }
}

/// Writes an image as a registry has it, each blob under its sha256: the layer, the configuration, the manifest. Gives the
/// manifest's digest.
fn lay_out(dir: &Path, holds: &Version) -> String {
    let binary = acquire(&Wanted::exactly(holds.clone()), &Sources::from_process()).unwrap();
    std::fs::copy(&binary.path, dir.join("nats-server")).unwrap();
    let run = |program: &str, args: &[&str]| {
        assert!(Command::new(program).args(args).current_dir(dir).status().unwrap().success());
    };
    run("tar", &["-cf", "layer.tar", "nats-server"]);
    let layer = sha256(&dir.join("layer.tar")).unwrap();
    run("gzip", &["-n", "-1", "layer.tar"]);
    let blob = |name: &str| {
        let sum = sha256(&dir.join(name)).unwrap();
        std::fs::rename(dir.join(name), dir.join(&sum)).unwrap();
        (std::fs::metadata(dir.join(&sum)).unwrap().len(), format!("sha256:{sum}"))
    };
    let (layer_bytes, layer_digest) = blob("layer.tar.gz");
    let config = serde_json::json!({
        "os": "linux", "architecture": binary.target.arch,
        "config": { "Entrypoint": ["/nats-server"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
    });
    std::fs::write(dir.join("config"), config.to_string()).unwrap();
    let (config_bytes, config_digest) = blob("config");
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": { "mediaType": "application/vnd.docker.container.image.v1+json", "size": config_bytes, "digest": config_digest },
        "layers": [{ "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": layer_bytes, "digest": layer_digest }],
    });
    std::fs::write(dir.join("manifest"), manifest.to_string()).unwrap();
    std::fs::copy(dir.join("manifest"), dir.join("latest")).unwrap();
    blob("manifest").1
}

fn answer(mut stream: TcpStream, dir: &Path, mood: Mood) {
    if mood == Mood::Dead {
        // It is held open for as long as the test's process lives.
        std::mem::forget(stream);
        return;
    }
    let mut asked = Vec::new();
    let mut byte = [0];
    // A first byte of 22 begins TLS: the connection is closed, and plain HTTP comes next.
    while !asked.ends_with(b"\r\n\r\n") && asked.first() != Some(&22) {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        asked.push(byte[0]);
    }
    let asked = String::from_utf8_lossy(&asked).into_owned();
    let mut words = asked.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let name = path.rsplit('/').next().unwrap_or_default();
    let file = dir.join(name.strip_prefix("sha256:").unwrap_or("latest"));
    let (status, kind, body) = if path == "/v2/" {
        ("200 OK", "application/json", b"{}".to_vec())
    } else if mood == Mood::Empty || !file.is_file() {
        ("404 Not Found", "application/json", br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#.to_vec())
    } else if path.contains("/manifests/") {
        ("200 OK", "application/vnd.docker.distribution.manifest.v2+json", std::fs::read(&file).unwrap())
    } else {
        ("200 OK", "application/octet-stream", std::fs::read(&file).unwrap())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    if method != "HEAD" {
        let _ = stream.write_all(&body);
    }
}

/// A project in Docker that gets the official image from a registry, with a cache of its own that has nats-server already.
struct User<'a> {
    project: Project,
    cache: tempfile::TempDir,
    registry: &'a Registry,
}

impl User<'_> {
    fn of(registry: &Registry) -> User<'_> {
        let cache = tempfile::tempdir().unwrap();
        let has = acquire(&Wanted::exactly(PINNED), &Sources::from_process()).unwrap().path;
        let folder = cache.path().join(PINNED.to_string());
        std::fs::create_dir(&folder).unwrap();
        for name in ["nats-server", "nats-server.json"] {
            std::fs::copy(has.with_file_name(name), folder.join(name)).unwrap();
        }
        User { project: Project::on("docker"), cache, registry }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.project.command(args);
        command.env("STREAMPROOF_CACHE", self.cache.path());
        command.env("STREAMPROOF_IMAGE", &self.registry.repository);
        command
    }

    /// The document, and what was said beside it.
    fn run(&self, args: &[&str]) -> (Value, String) {
        let out = self.command(&[args, &["--json"]].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let document = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
        (document, said)
    }

    fn up(&self, more: &[&str]) -> (String, String) {
        let (document, said) = self.run(&[&["up", "--port", "auto"], more].concat());
        assert_eq!(document["exit"], 0, "{document} {said}");
        let network = document["data"]["network"]["name"].as_str().unwrap();
        (docker(&["inspect", "--format", "{{.Config.Image}}", &format!("{network}-n1")]), said)
    }

    fn down(&self) {
        assert_eq!(self.run(&["down"]).0["exit"], 0);
    }
}

/// A search path on which `docker` is the real one, but for what this line of shell does first. It is there as long as the folder.
fn docker_but(first: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("docker");
    let path = std::env::var("PATH").unwrap();
    let real = std::env::split_paths(&path).map(|folder| folder.join("docker")).find(|path| path.is_file());
    let text = format!("#!/bin/sh\n{first}\nexec {} \"$@\"\n", real.unwrap().display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{path}", folder.path().display());
    (folder, path)
}

fn older() -> Version {
    Version::new(2, 12, 1)
}

#[test]
fn the_official_image_is_pulled_once_looked_at_and_used_with_and_without_a_network() {
    if !docker_answers() {
        return;
    }
    let registry = Registry::new(&PINNED, Mood::Fine);
    let user = User::of(&registry);
    let name = format!("{}:{PINNED}", registry.repository);
    let (image, said) = user.up(&[]);
    assert_eq!(image, name, "{said}");
    assert!(said.contains(&format!("the official image {name}, {}", registry.digest)), "{said}");
    assert_eq!(user.run(&["publish", "xyz.a", "kept"]).0["exit"], 0);
    let asked = registry.asked();
    assert!(asked > 0);
    // It is here now: nobody is asked again, and the same container is started.
    user.down();
    let (image, _) = user.up(&[]);
    assert_eq!((image, registry.asked()), (name.clone(), asked));
    user.down();
    // Another machine's worth of memory lost, and no network: what is here is used.
    std::fs::remove_dir_all(user.cache.path()).unwrap();
    std::fs::remove_dir_all(user.project.path().join(".streamproof/bin")).unwrap_or_default();
    let offline = user.command(&["up"]).env("STREAMPROOF_OFFLINE", "1").output().unwrap();
    assert!(offline.status.success(), "{}", String::from_utf8_lossy(&offline.stderr));
    assert_eq!(registry.asked(), asked);
    let info = user.run(&["info", "AnotherStream"]).0;
    assert_eq!(info["data"]["stream"]["state"]["messages"], 1, "{info}");
    // What is not ours stays.
    assert_eq!(user.run(&["clean", "--yes"]).0["exit"], 0);
    assert_ne!(docker(&["image", "ls", "--quiet", &name]), "");
}

#[test]
fn a_registry_that_gives_nothing_is_named_once_and_an_image_is_built() {
    if !docker_answers() {
        return;
    }
    for mood in [Mood::Empty, Mood::Dead] {
        let registry = Registry::new(&PINNED, mood);
        let user = User::of(&registry);
        // Without a network nobody is asked.
        let offline =
            user.command(&["up", "--port", "auto"]).env("STREAMPROOF_OFFLINE", "1").output().unwrap();
        assert!(offline.status.success(), "{}", String::from_utf8_lossy(&offline.stderr));
        assert_eq!(registry.asked(), 0);
        user.down();
        let (image, said) = user.up(&[]);
        assert!(image.starts_with(&format!("streamproof-nats:{PINNED}-")), "{image}");
        let refusal = format!("not the official image {}:{PINNED}: ", registry.repository);
        assert!(said.contains(&refusal), "{said}");
        let asked = registry.asked();
        assert!(asked > 0);
        // It is remembered, also by the next project, until somebody wants to know.
        user.down();
        let (again, said) = user.up(&[]);
        assert_eq!((again, registry.asked()), (image.clone(), asked), "{said}");
        assert!(!said.contains(&refusal), "{said}");
        if mood == Mood::Empty {
            let (_, said) = user.up(&["--recreate"]);
            assert!(said.contains(&refusal) && registry.asked() > asked, "{said}");
        }
    }
}

#[test]
fn an_image_with_another_server_or_another_digest_is_not_used() {
    if !docker_answers() {
        return;
    }
    // Under the name of the pinned version, an older one.
    let registry = Registry::new(&older(), Mood::Fine);
    let user = User::of(&registry);
    let (image, said) = user.up(&[]);
    assert!(image.starts_with("streamproof-nats:"), "{image}");
    let why = format!("the nats-server in it is {}, not {PINNED}", older());
    assert!(said.contains(&why), "{said}");
    // By digest: the right one is taken, any other is not.
    let registry = Registry::new(&PINNED, Mood::Fine);
    let pinned = |digest: &str| Sources {
        image_repository: registry.repository.clone(),
        image_digest: Some(digest.to_owned()),
        ..Sources::with_cache(user.cache.path())
    };
    let official = image::official(&PINNED, &pinned(&registry.digest), false).unwrap();
    assert!(official.pinned && official.digest.as_ref() == Some(&registry.digest), "{official:?}");
    let other = format!("sha256:{}", "0".repeat(64));
    let refused = image::official(&PINNED, &pinned(&other), false).unwrap_err();
    assert!(refused.reference.ends_with(&other) && !refused.reason.is_empty(), "{refused:?}");
}

#[test]
fn an_image_that_could_not_be_looked_into_is_looked_into_the_next_time() {
    if !docker_answers() {
        return;
    }
    let registry = Registry::new(&PINNED, Mood::Fine);
    let user = User::of(&registry);
    let (_folder, path) = docker_but("case \"$*\" in *--version) echo no memory >&2; exit 125;; esac");
    let up = user.command(&["up", "--port", "auto"]).env("PATH", &path).output().unwrap();
    let said = String::from_utf8_lossy(&up.stderr).into_owned();
    assert!(
        up.status.success() && said.contains(&format!("{}:{PINNED}: no memory", registry.repository)),
        "{said}"
    );
    user.down();
    let (image, said) = user.up(&[]);
    assert_eq!(image, format!("{}:{PINNED}", registry.repository), "{said}");
}

#[test]
fn a_container_that_a_killed_fetch_has_left_is_removed_by_the_next_one_and_by_clean() {
    if !docker_answers() {
        return;
    }
    let registry = Registry::new(&older(), Mood::Fine);
    let user = User::of(&registry);
    let version = older().to_string();
    let left = || -> usize {
        let of = format!("ancestor={}:{version}", registry.repository);
        docker(&["ps", "--all", "--quiet", "--filter", &of]).lines().count()
    };
    // A fetch whose `docker cp` never ends: it can be killed right between making the container and removing it.
    let (_stuck, path) = docker_but("case \"$1\" in cp) exec sleep 20;; esac");
    let fetch = ["fetch", version.as_str(), "--from", "image"];
    let kill_one = |had: usize| {
        let mut command = user.command(&fetch);
        let mut child =
            command.env("PATH", &path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let made = poll::until(Duration::from_millis(50), Duration::from_secs(60), || match left() {
            now if now > had => Ok(()),
            now => Err(now),
        });
        made.unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    };
    kill_one(0);
    assert_eq!(left(), 1, "it was not killed in between");
    let fetched = user.run(&fetch).0;
    assert_eq!((fetched["exit"].as_u64(), left()), (Some(0), 0), "{fetched}");
    // And by `clean`, which lists it.
    std::fs::remove_dir_all(user.project.path().join(".streamproof/bin")).unwrap();
    kill_one(0);
    let cleaned = user.run(&["clean", "--yes"]).0;
    assert_eq!((cleaned["exit"].as_u64(), left()), (Some(0), 0), "{cleaned}");
    assert!(cleaned["data"]["removed"].to_string().contains("container "), "{cleaned}");
}
