//! A server in a container, its store on the mount: recorded, cut and read back like any other.

use std::path::Path;
use std::process::Command;

use streamproof_crashfs::fuse::{MountOptions, Recording, available};
use streamproof_crashfs::{Log, Profile, Rules, materialise, state};
use streamproof_server::poll::{self, Pace};
use streamproof_server::{Scratch, Sources, Wanted, acquire, docker};

use super::nats::{Nats, PATIENT};

/// Whether to skip: never where both are required.
#[expect(clippy::print_stdout, reason = "a test that skips says so")]
fn skipped() -> bool {
    let fuse = available(true).map_err(|why| why.to_string());
    let Err(why) = fuse.and_then(|()| docker::engine_version().map(drop).map_err(|why| why.to_string()))
    else {
        return false;
    };
    let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
    let required = |what: &str| required.split(',').any(|r| r.trim() == what);
    assert!(!(required("docker") && required("fuse")), "both are required: {why}");
    println!("skipped: {why}");
    true
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// An image and a container of this test's own, gone with it.
struct Container {
    name: String,
}

impl Container {
    /// A server with `sync_interval: always` whose store is `mountpoint`, as a user that is not ours.
    fn start(dir: &Path, mountpoint: &Path) -> Container {
        let name = format!("streamproof-crashfs-test-{}", std::process::id());
        let binary = acquire(&Wanted::pinned(), &Sources::from_process()).unwrap();
        let root = dir.join("image");
        std::fs::create_dir(&root).unwrap();
        std::fs::copy(&binary.path, root.join("nats-server")).unwrap();
        let conf = "listen: 0.0.0.0:4222\njetstream { store_dir: /data\n sync_interval: always }\n";
        std::fs::write(root.join("nats.conf"), conf).unwrap();
        let tar = dir.join("image.tar");
        let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap();
        assert!(packed.success());
        docker(&["import", tar.to_str().unwrap(), &name]);
        let container = Container { name };
        let volume = format!("{}:/data", mountpoint.display());
        let name = container.name.as_str();
        let arguments = ["run", "-d", "--name", name, "--user", "4321:4321", "-p", "127.0.0.1::4222"];
        docker(&[&arguments[..], &["-v", &volume, name, "/nats-server", "-c", "/nats.conf"]].concat());
        container
    }

    fn connect(&self) -> Nats {
        let port = docker(&["port", &self.name, "4222/tcp"]);
        let address = port.lines().next().unwrap().to_owned();
        let connected = poll::until(Pace::CALM, PATIENT, || Nats::connect(&address, PATIENT));
        connected.unwrap_or_else(|_| panic!("{}", docker(&["logs", &self.name])))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", &self.name]).output();
        let _ = Command::new("docker").args(["rmi", "-f", &self.name]).output();
    }
}

#[test]
fn a_server_in_a_container_on_the_mount_loses_nothing_that_it_acknowledged_with_sync_always() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let options = MountOptions { allow_other: true, ..MountOptions::default() };
    let recording = Recording::mount(&dir.path().join("m"), Log::new(), &options).unwrap();
    let container = Container::start(dir.path(), recording.mountpoint());
    let mut nats = container.connect();
    nats.create_stream("CUT", "cut", &serde_json::json!({})).unwrap();
    let acked = nats.publish("cut", 0..200, 128).unwrap();
    assert_eq!(acked.len(), 200);
    let cut = recording.cut();
    docker(&["kill", &container.name]);
    let log = recording.finish().unwrap();
    assert!(log.counts()["fsync"] >= 100, "{:?}", log.counts());
    let store = dir.path().join("state");
    materialise(&log, &state(&log, cut, Rules::new(Profile::Ext4)), &store).unwrap();
    let server = Scratch::builder().store_dir(&store).start().unwrap();
    let stored = Nats::connect(&server.address(), PATIENT).unwrap().read("CUT").unwrap().unwrap();
    let there = acked
        .iter()
        .filter(|a| stored.iter().any(|s| s.sequence == a.sequence && s.number == Some(a.number)));
    assert_eq!(there.count(), 200);
}
