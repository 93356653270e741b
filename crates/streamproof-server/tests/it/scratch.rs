//! Scratch servers: ready at once, kept across restarts, gone with their process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use streamproof_server::{Scratch, Sources, Wanted, acquire, monitor, poll, processes};

#[test]
fn a_scratch_server_is_ready_keeps_its_port_and_is_gone_on_drop() {
    let mut server = Scratch::new().unwrap();
    let (url, pid) = (server.url(), server.pid().unwrap());
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_ne!(server.pid().unwrap(), pid);
    server.restart_killed().unwrap();
    assert_eq!(server.url(), url);
    let folder = server.log_path().parent().unwrap().to_owned();
    let pid = server.pid().unwrap();
    drop(server);
    assert!(!folder.exists());
    assert_eq!(processes::one(pid), None);
}

#[test]
fn a_stale_ports_file_is_never_believed() {
    let mut server = Scratch::builder().prepare().unwrap();
    let ports = server.log_path().parent().unwrap().join("ports");
    // Somebody else listens there, and is no NATS.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stale = format!("127.0.0.1:{}", other.local_addr().unwrap().port());
    let text = format!(r#"{{"nats":["nats://{stale}"],"monitoring":["http://{stale}"]}}"#);
    for pid in [1, std::process::id()] {
        std::fs::write(ports.join(format!("nats-server_{pid}.ports")), &text).unwrap();
    }
    server.start().unwrap();
    assert_ne!(server.address(), stale);
    let name = monitor::varz(&server.monitor_address(), Duration::from_secs(5)).unwrap().server_name;
    assert_eq!(name, server.name());
}

/// Set where this binary is started once more by one of its own tests.
const HELPER: &str = "STREAMPROOF_TEST_HELPER";

/// This test binary again, as the process of another user's test.
fn helper(what: &str) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "scratch::what_the_helper_does", "--nocapture"])
        .env(HELPER, what)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.into_iter().find_map(|line| Some(line.split_once("says ")?.1.to_owned()));
    (child, said.unwrap_or_default())
}

/// No test of its own: what [`helper`] runs.
#[test]
fn what_the_helper_does() {
    let Ok(what) = std::env::var(HELPER) else { return };
    let server = Scratch::new().unwrap();
    println!("says {} {}", server.pid().unwrap(), server.log_path().parent().unwrap().display());
    if what == "stay" {
        let _ = poll::until(Duration::from_millis(100), Duration::from_secs(600), || Err::<(), _>("stays"));
    }
}

fn is_gone(pid: u32) -> Result<(), String> {
    let gone = poll::until(Duration::from_millis(5), Duration::from_secs(20), || match processes::one(pid) {
        None => Ok(()),
        Some(process) => Err(process.command()),
    });
    gone.map_err(|timed_out| timed_out.last)
}

#[test]
fn a_test_that_is_killed_takes_its_servers_along() {
    let (mut test, said) = helper("stay");
    let (pid, folder) = said.split_once(' ').unwrap();
    let pid = pid.parse().unwrap();
    assert!(processes::one(pid).is_some_and(|process| process.is_nats_server()), "{said}");
    test.kill().unwrap();
    test.wait().unwrap();
    if cfg!(target_os = "linux") {
        is_gone(pid).unwrap();
    }
    // And the next run removes what it left.
    let (mut next, _) = helper("stay");
    let removed = poll::until(Duration::from_millis(5), Duration::from_secs(20), || {
        if std::path::Path::new(folder).exists() { Err("it is there") } else { Ok(()) }
    });
    next.kill().unwrap();
    next.wait().unwrap();
    removed.unwrap();
    is_gone(pid).unwrap();
}

#[test]
fn a_server_that_outlived_its_test_is_reaped_by_the_next_run() {
    // As on a system without the parent-death signal: the server lives, and nobody holds its folder.
    let root = Scratch::new().unwrap().log_path().parent().unwrap().parent().unwrap().to_owned();
    let left = tempfile::Builder::new().prefix("s").tempdir_in(&root).unwrap().keep();
    let config = left.join("server.conf");
    std::fs::write(&config, "listen: 127.0.0.1:-1\n").unwrap();
    let binary = acquire(&Wanted::pinned(), &Sources::from_process()).unwrap().path;
    let mut server = Command::new(binary)
        .arg("-c")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut next, _) = helper("stay");
    let ended =
        poll::until(Duration::from_millis(5), Duration::from_secs(20), || match server.try_wait().unwrap() {
            Some(_) if !left.exists() => Ok(()),
            Some(_) => Err("its folder is there"),
            None => Err("it lives"),
        });
    next.kill().unwrap();
    next.wait().unwrap();
    if ended.is_err() {
        server.kill().unwrap();
    }
    ended.unwrap();
}
