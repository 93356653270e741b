//! Where a nats-server comes from: each source against a stand-in of this machine that behaves like the real one.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use streamproof::model::version::Version;
use streamproof::server::{Sources, Wanted, acquire, docker};

use crate::recipe::{Project, docker as run_docker, docker_answers, print_skip};

/// A version that is had by its wheel and has no other pin: other sources give it when they are asked for by name.
const VERSION: &str = "2.12.1";

fn real() -> PathBuf {
    acquire(&Wanted::exactly(Version::new(2, 12, 1)), &Sources::from_process()).unwrap().path
}

/// `fetch` with a cache of its own, nothing on `PATH` but what is named, and settings; its document.
struct Fetch {
    project: Project,
    cache: tempfile::TempDir,
}

impl Fetch {
    fn new() -> Fetch {
        Fetch { project: Project::new(), cache: tempfile::tempdir().unwrap() }
    }

    fn run(&self, args: &[&str], settings: &[(&str, &str)]) -> Value {
        let out = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg("fetch")
            .args(args)
            .arg("--json")
            .current_dir(self.project.path())
            .env("STREAMPROOF_CACHE", self.cache.path())
            .envs(settings.iter().copied())
            .output()
            .unwrap();
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)))
    }

    /// What is in both caches, but their locks and notes.
    fn kept(&self) -> Vec<PathBuf> {
        let mut open = vec![self.cache.path().to_owned(), self.project.path().join(".streamproof/bin")];
        let mut found = Vec::new();
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    open.push(entry.path());
                } else if entry.file_name() != ".lock" {
                    found.push(entry.path());
                }
            }
        }
        found
    }
}

/// What a server of archives gives.
#[derive(Clone, Copy, PartialEq)]
enum Gives {
    Everything,
    HalfOfIt,
    NotFound,
}

/// A server of release archives, as the official one lays them out; its address. It ends with the test's process.
fn archives(binary: &Path, gives: Gives) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let binary = binary.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = Vec::new();
            let mut byte = [0];
            while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                asked.push(byte[0]);
            }
            let asked = String::from_utf8(asked).unwrap();
            let path = asked.split(' ').nth(1).unwrap();
            let name = path.rsplit('/').next().unwrap().trim_end_matches(".tar.gz").to_owned();
            if gives == Gives::NotFound {
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join(&name)).unwrap();
            std::fs::copy(&binary, folder.path().join(&name).join("nats-server")).unwrap();
            let made = Command::new("tar")
                .args(["-czf", "a.tar.gz", &name])
                .current_dir(folder.path())
                .status()
                .unwrap();
            assert!(made.success());
            let archive = std::fs::read(folder.path().join("a.tar.gz")).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", archive.len());
            let end = if gives == Gives::HalfOfIt { archive.len() / 2 } else { archive.len() };
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&archive[..end]));
        }
    });
    url
}

#[test]
fn a_release_archive_is_fetched_verified_and_used_offline() {
    let fetch = Fetch::new();
    let mirror = archives(&real(), Gives::Everything);
    let settings = [("STREAMPROOF_RELEASES", mirror.as_str())];
    let got = fetch.run(&[VERSION, "--from", "release"], &settings);
    assert_eq!((got["exit"].as_u64(), got["data"]["origin"].as_str()), (Some(0), Some("release")), "{got}");
    let path = got["data"]["path"].as_str().unwrap().to_owned();
    let said = Command::new(&path).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains(VERSION));
    // From here on without any network.
    let nowhere = [("STREAMPROOF_RELEASES", "http://127.0.0.1:1"), ("STREAMPROOF_OFFLINE", "1")];
    let again = fetch.run(&[VERSION], &nowhere);
    assert_eq!(again["data"]["source"], "cache", "{again}");
    assert_eq!(again["data"]["path"], path);
    // One that was damaged on the disk meanwhile is not used, and says so.
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap();
    let damaged = fetch.run(&[VERSION], &nowhere);
    assert_eq!(damaged["code"], "checksum-mismatch", "{damaged}");
}

#[test]
fn an_archive_that_is_wrong_cut_short_or_missing_is_never_used_and_each_refusal_is_shown() {
    let fetch = Fetch::new();
    let refused = |args: &[&str], gives: Gives| {
        let mirror = archives(&real(), gives);
        // No pip, no Go, no Docker: only what a stand-in and curl need.
        let got = fetch.run(
            args,
            &[
                ("STREAMPROOF_RELEASES", &mirror),
                ("GOPROXY", "off"),
                ("PIP_INDEX_URL", "http://127.0.0.1:1"),
                ("PIP_RETRIES", "0"),
                ("UV_INDEX_URL", "http://127.0.0.1:1"),
                ("UV_DEFAULT_INDEX", "http://127.0.0.1:1"),
                ("DOCKER_HOST", "tcp://127.0.0.1:1"),
            ],
        );
        assert_eq!(fetch.kept(), Vec::<PathBuf>::new(), "something of it was kept");
        got
    };
    // 2.14.5 has a pin for the archive: another nats-server under its name is not what was pinned. All other sources are
    // asked, too, and each says why not.
    let wrong = refused(&["2.14.5"], Gives::Everything);
    assert_eq!((wrong["exit"].as_u64(), wrong["code"].as_str()), (Some(6), Some("checksum-mismatch")));
    let said = wrong["error"]["message"].as_str().unwrap();
    for reason in
        ["\n  path: ", "\n  image: ", "\n  release: release.tar.gz has sha256 ", "\n  wheel: ", "\n  go: "]
    {
        assert!(said.contains(reason), "{reason:?} is not in {said}");
    }
    let short = refused(&[VERSION, "--from", "release"], Gives::HalfOfIt);
    assert_eq!(
        (short["exit"].as_u64(), short["code"].as_str()),
        (Some(6), Some("no-server-binary")),
        "{short}"
    );
    let missing = refused(&[VERSION, "--from", "release"], Gives::NotFound);
    assert!(missing["error"]["message"].as_str().unwrap().contains("404"), "{missing}");
    // Asked for one version, given another.
    let other = refused(&["2.11.5", "--from", "release"], Gives::Everything);
    assert!(other["error"]["message"].as_str().unwrap().contains("it gave 2.12.1, not 2.11.5"), "{other}");
}

#[test]
fn the_binary_is_copied_out_of_an_image() {
    if !docker_answers() {
        return;
    }
    let fetch = Fetch::new();
    // Tagged and laid out as the official one is; its Alpine variant keeps the server elsewhere.
    for (number, place) in ["/nats-server", "/usr/local/bin/nats-server"].into_iter().enumerate() {
        let repository = format!("streamproof-stand-in-{}-{number}", std::process::id());
        let tag = format!("{repository}:{VERSION}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(real(), folder.path().join("nats-server")).unwrap();
        let recipe = format!("FROM scratch\nCOPY nats-server {place}\nENTRYPOINT [\"{place}\"]\n");
        std::fs::write(folder.path().join("Dockerfile"), recipe).unwrap();
        run_docker(&["build", "--quiet", "--tag", &tag, folder.path().to_str().unwrap()]);
        let got = fetch.run(&[VERSION, "--from", "image"], &[("STREAMPROOF_IMAGE", &repository)]);
        run_docker(&["image", "rm", &tag]);
        assert_eq!((got["exit"].as_u64(), got["data"]["origin"].as_str()), (Some(0), Some("image")), "{got}");
        let of = format!("ancestor={tag}");
        assert_eq!(run_docker(&["ps", "--all", "--quiet", "--filter", &of]), "", "a container was left");
        std::fs::remove_dir_all(fetch.project.path().join(".streamproof/bin")).unwrap();
    }
    let none =
        fetch.run(&[VERSION, "--from", "image"], &[("STREAMPROOF_IMAGE", "127.0.0.1:1/no-such-image")]);
    assert_eq!((none["exit"].as_u64(), none["code"].as_str()), (Some(6), Some("no-server-binary")), "{none}");
    assert!(docker::engine_version().is_ok());
}

/// A module proxy in a folder (`go help goproxy`) with a program under nats-server's name that knows its version and no more.
const MODULE: &str = r#"
import json, os, sys, zipfile
root, version = sys.argv[1], sys.argv[2]
module = "github.com/nats-io/nats-server/v2"
folder = os.path.join(root, module, "@v")
os.makedirs(folder, exist_ok=True)
mod = f"module {module}\n\ngo 1.20\n"
main = f'package main\n\nimport "os"\n\nfunc main() {{ os.Stdout.WriteString("nats-server: v{version}\\n") }}\n'
open(os.path.join(folder, "list"), "a").write(f"v{version}\n")
open(os.path.join(folder, f"v{version}.info"), "w").write(json.dumps({"Version": f"v{version}"}))
open(os.path.join(folder, f"v{version}.mod"), "w").write(mod)
with zipfile.ZipFile(os.path.join(folder, f"v{version}.zip"), "w") as z:
    z.writestr(f"{module}@v{version}/go.mod", mod)
    z.writestr(f"{module}@v{version}/main.go", main)
"#;

#[test]
fn go_install_builds_it_and_is_held_to_its_checksum() {
    if Command::new("go").arg("version").output().is_err() {
        print_skip("Go is not installed");
        return;
    }
    let fetch = Fetch::new();
    let proxy = tempfile::tempdir().unwrap();
    let modules = tempfile::tempdir().unwrap();
    let pinned = streamproof::server::PINNED.to_string();
    for version in [VERSION, &pinned] {
        let made =
            Command::new("python3").args(["-c", MODULE]).arg(proxy.path()).arg(version).status().unwrap();
        assert!(made.success());
    }
    let url = format!("file://{}", proxy.path().display());
    let cache = modules.path().to_str().unwrap();
    // `modcacherw`: what Go keeps read-only could not be removed after the test.
    let settings = |database: &'static str| {
        vec![
            ("GOPROXY", url.as_str()),
            ("GOSUMDB", database),
            ("GOMODCACHE", cache),
            ("GOFLAGS", "-modcacherw"),
            ("GOTOOLCHAIN", "local"),
        ]
    };
    let got = fetch.run(&[VERSION, "--from", "go"], &settings("off"));
    assert_eq!((got["exit"].as_u64(), got["data"]["origin"].as_str()), (Some(0), Some("go")), "{got}");
    // The pinned version must have the pinned sum: what this proxy gives under its name has not.
    let wrong = fetch.run(&[&pinned, "--from", "go"], &settings("off"));
    assert_eq!(wrong["code"], "checksum-mismatch", "{wrong}");
    // Where nothing vouches for it, it is not used unless it is asked for by name.
    let mut alone = settings("off");
    alone.extend([
        ("STREAMPROOF_RELEASES", "http://127.0.0.1:1"),
        ("PIP_INDEX_URL", "http://127.0.0.1:1"),
        ("PIP_RETRIES", "0"),
        ("UV_INDEX_URL", "http://127.0.0.1:1"),
        ("UV_DEFAULT_INDEX", "http://127.0.0.1:1"),
        ("DOCKER_HOST", "tcp://127.0.0.1:1"),
    ]);
    let unvouched = fetch.run(&["2.11.5"], &alone);
    assert!(unvouched["error"]["message"].as_str().unwrap().contains("go: GOSUMDB is off"), "{unvouched}");
}
