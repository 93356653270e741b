//! `restart-check --live`: whose server it restarts, and whose not.

use std::process::Command;

use super::access::{certificates, with_an_operator};
use super::recipe::{Project, print_skip};

/// Writes the port that the project's server would have.
fn port(project: &Project, port: u16) {
    let file = project.path().join("nats-config/streamproof.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("port = {port}\n{settings}")).unwrap();
}

#[test]
fn only_the_projects_own_server_is_restarted() {
    let other = streamproof::server::Scratch::new().unwrap();
    let pid = other.pid();
    let project = Project::new();
    port(&project, other.address().rsplit(':').next().unwrap().parse().unwrap());
    // Nothing of ours runs, but somebody answers where it would be.
    let refused = project.json(&["restart-check", "--live"]);
    assert_eq!(
        (refused["exit"].as_u64(), refused["code"].as_str()),
        (Some(5), Some("not-ours")),
        "{refused}"
    );
    assert!(refused["error"]["message"].as_str().unwrap().contains(other.name()), "{refused}");
    project.ok(&["up", "--port", "auto"]);
    let url = other.url();
    let refused = project.json(&["restart-check", "--live", "--server", &url]);
    assert_eq!(
        (refused["exit"].as_u64(), refused["code"].as_str()),
        (Some(5), Some("not-ours")),
        "{refused}"
    );
    assert_eq!(other.pid(), pid);
    let usage = project.json(&["restart-check", "--live", "--fault", "disconnect"]);
    assert_eq!((usage["exit"].as_u64(), usage["code"].as_str()), (Some(2), Some("usage")), "{usage}");
    project.ok(&["down"]);
    let down = project.json(&["restart-check", "--live"]);
    assert_eq!((down["exit"].as_u64(), down["code"].as_str()), (Some(3), Some("not-running")), "{down}");
}

#[test]
fn a_run_of_pictures_can_be_read_by_people_and_judged_again() {
    let project = Project::new();
    project.ok(&["up", "--port", "auto"]);
    project.ok(&["publish", "xyz.a", "x", "--count", "30"]);
    let text = project.ok(&["restart-check", "--live"]);
    assert!(text.starts_with("your own server at 127.0.0.1:"), "{text}");
    assert!(text.contains("pass: no loss found in 1 restart"), "{text}");
    assert!(text.contains("30 messages read back"), "{text}");
    assert!(text.contains("not proven: what is acknowledged shortly before a restart"), "{text}");
    let runs = project.path().join(".streamproof/runs");
    let run = std::fs::read_dir(&runs).unwrap().flatten().next().unwrap().path();
    for file in ["report.html", "summary.md", "junit.xml", "verdict.json"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("cargo xtask restart-check --live") && page.contains("AnotherStream"), "{page}");
    assert!(text.contains("/report.html"), "{text}");
    let again = project.ok(&["report", "last"]);
    assert_eq!(again, text);
    assert_eq!(std::fs::read_to_string(run.join("report.html")).unwrap(), page);
}

/// A project whose server lets in, by this part of its configuration, only who connects as this part of `streamproof.toml` says:
/// it is restarted, and all is there.
fn is_restarted(project: &Project, config: &str, connect: &str) {
    let conf = format!("jetstream {{ store_dir: $STREAMPROOF_STORE }}\n{config}\n");
    std::fs::write(project.path().join("nats-config/jetstream.conf"), conf).unwrap();
    let file = project.path().join("nats-config/streamproof.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{settings}\n[connect]\n{connect}\n")).unwrap();
    project.ok(&["up", "--port", "auto"]);
    project.ok(&["publish", "xyz.a", "x", "--count", "30"]);
    let checked = project.json(&["restart-check", "--live"]);
    assert_eq!(checked["data"]["verdict"], "pass", "{checked:#}");
    assert_eq!(checked["data"]["counts"]["read_back"], 30, "{checked:#}");
}

#[test]
fn a_server_that_lets_in_by_nkey_is_restarted() {
    let project = Project::new();
    let pair = nkeys::KeyPair::new_user();
    std::fs::write(project.path().join("me.nk"), pair.seed().unwrap()).unwrap();
    let config = format!("authorization {{ users: [{{ nkey: {} }}] }}", pair.public_key());
    is_restarted(&project, &config, "nkey = \"me.nk\"");
    // Whom it does not know it does not let in, and then nothing is done to it.
    let pid = project.json(&["status"])["data"]["pid"].clone();
    std::fs::write(project.path().join("me.nk"), nkeys::KeyPair::new_user().seed().unwrap()).unwrap();
    let refused = project.json(&["restart-check", "--live"]);
    assert_eq!(
        (refused["exit"].as_u64(), refused["code"].as_str()),
        (Some(6), Some("access-denied")),
        "{refused:#}"
    );
    assert_eq!(project.json(&["status"])["data"]["pid"], pid);
}

#[test]
fn a_server_that_lets_in_by_a_credentials_file_is_restarted() {
    let project = Project::new();
    let (config, _) = with_an_operator(project.path());
    is_restarted(&project, &config, "creds = \"me.creds\"");
}

#[test]
fn a_server_that_speaks_only_tls_and_asks_for_a_certificate_is_restarted() {
    let project = Project::new();
    if !certificates(project.path()) {
        print_skip("openssl is not installed");
        return;
    }
    let at = |name: &str| project.path().join(name).display().to_string();
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        at("server.pem"),
        at("server.key"),
        at("ca.pem")
    );
    is_restarted(
        &project,
        &config,
        "tls_ca = \"ca.pem\"\ntls_cert = \"client.pem\"\ntls_key = \"client.key\"",
    );
}

#[test]
fn ctrl_c_in_the_middle_leaves_the_server_up() {
    let project = Project::new();
    project.ok(&["up", "--port", "auto"]);
    project.ok(&["publish", "xyz.a", "x", "--count", "20000"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["restart-check", "--live", "--json"])
        .current_dir(project.path())
        .env("STREAMPROOF_ENGINE", "process")
        .env_remove("STREAMPROOF_PROJECT")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // As soon as the first picture is done: the server is being stopped, is down, or has just come up.
    let said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(said).map_while(Result::ok);
    assert!(lines.any(|line| line.contains("every stream, consumer and message")));
    let child_pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &child_pid]).status().unwrap().success());
    let _rest: Vec<String> = lines.collect();
    let out = child.wait_with_output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (out.status.code(), document["code"].as_str()),
        (Some(130), Some("interrupted")),
        "{document}"
    );
    assert!(document["error"]["message"].as_str().unwrap().contains("is up again"), "{document}");
    assert_eq!(project.json(&["info", "AnotherStream"])["data"]["stream"]["state"]["messages"], 20000);
}
