//! `restart-check --live`: whose server it restarts, and whose not.

use std::process::Command;

use super::recipe::Project;

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
    assert_eq!(project.ok(&["report", "last"]), text);
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
