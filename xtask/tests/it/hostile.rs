//! Files that nobody should write, all at once: each is a finding with a place and a remedy, and none ends the run or reaches the
//! terminal as it stands.

use std::fmt::Write as _;
use std::fs::{create_dir, create_dir_all, write};

use crate::recipe::Project;

/// What is wrong, by name; the text of the file follows.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let deep = "{\"metadata\": ".repeat(3000);
    let long = format!("{{\"name\": \"long\", \"description\": \"{}\", \"max_mgs\": 1}}", "x".repeat(20_000));
    vec![
        ("streams/bom.json", b"\xef\xbb\xbf{}".to_vec()),
        ("streams/blank.json", b"a b".to_vec()),
        ("streams/colour.json", b"{\"name\": \"colour\",\n \"\x1b[2J\": 1}".to_vec()),
        ("streams/crlf.json", b"{\r\n  \"name\": \"crlf\",\r\n  \"max_age\": 3600\r\n}\r\n".to_vec()),
        ("streams/deep.json", deep.into_bytes()),
        ("streams/empty.json", Vec::new()),
        ("streams/fraction.json", b"{\"max_msgs\": 1.5}".to_vec()),
        ("streams/huge.json", b"{\"max_msgs\": 99999999999999999999999999999999999999999999999}".to_vec()),
        ("streams/long.json", long.into_bytes()),
        ("streams/nul.json", b"{\"name\": \"nul\x00\"}".to_vec()),
        ("streams/other.json", b"{\"name\": \"another\"}".to_vec()),
        ("streams/spaces.json", b"{\"subjects\": [\"a b\", \"c\\td\"]}".to_vec()),
        ("streams/twice.json", b"{\"name\": \"twice\", \"max_msgs\": 1, \"max_msgs\": 2}".to_vec()),
        ("streams/utf16.json", b"\xff\xfe{\x00}\x00".to_vec()),
        ("streams/\u{202e}nosj.json", b"{}".to_vec()),
        ("streams/UPPER.json", b"{}".to_vec()),
        ("streams/upper.json", b"{}".to_vec()),
        ("kv/a.b.json", b"{\"bucket\": \"a.b\"}".to_vec()),
        ("kv/many.json", b"{\"history\": 100}".to_vec()),
        ("consumers/fraction/c.json", b"[]".to_vec()),
        ("consumers/fraction/d.json", b"{\"max_deliver\": \"5\", \"ack_wait\": true}".to_vec()),
    ]
}

#[test]
fn hostile_files_are_findings_each() {
    let project = Project::new();
    let config = project.path().join("nats-config");
    for folder in ["streams", "kv", "consumers/fraction"] {
        create_dir_all(config.join(folder)).unwrap();
    }
    for (name, text) in hostile() {
        write(config.join(name), text).unwrap();
    }
    create_dir(config.join("streams/folder.json")).unwrap();
    #[cfg(unix)]
    for (name, to) in [("loop", ".."), ("nowhere.json", "/nowhere/at/all"), ("itself.json", "itself.json")] {
        std::os::unix::fs::symlink(to, config.join("streams").join(name)).unwrap();
    }
    let document = project.json(&["validate"]);
    assert_eq!((document["exit"].as_u64(), document["code"].as_str()), (Some(2), Some("invalid-config")));
    let mut table = String::new();
    for finding in document["data"]["findings"].as_array().unwrap() {
        let text = |pointer: &str| finding.pointer(pointer).unwrap().as_str().unwrap_or_default().to_owned();
        let message: String = text("/message").chars().take(100).collect();
        let (file, line, column) = (text("/at/file"), &finding["at"]["line"], &finding["at"]["column"]);
        let help: String = text("/help").chars().take(100).collect();
        writeln!(table, "{}:{line}:{column} {} {message:?}\n    {help}", file.escape_debug(), text("/rule"))
            .unwrap();
        assert!(!help.is_empty(), "{finding}");
    }
    insta::assert_snapshot!("hostile", table);

    let shown = project.run(&["validate", "--color", "never"]);
    let shown = String::from_utf8_lossy(&shown.stderr).into_owned();
    for (number, line) in shown.lines().enumerate() {
        // Messages are wrapped at 100, drawings have a frame more.
        assert!(line.chars().count() <= 110, "line {number} is too wide: {line}");
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "line {number}: {line:?}");
    }
    assert!(shown.contains("\"max_mgs\""), "the place in the long line is not shown");
}

#[test]
#[cfg(unix)]
fn a_file_that_must_not_be_read_is_one_finding_among_all() {
    use std::os::unix::fs::PermissionsExt as _;
    let project = Project::new();
    let streams = project.path().join("nats-config/streams");
    let secret = streams.join("SECRET.json");
    write(&secret, "{}").unwrap();
    write(streams.join("WRONG.json"), "{\"max_mgs\": 1}").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read(&secret).is_ok() {
        // Root reads anything; what no one can read is a link in a circle.
        std::fs::remove_file(&secret).unwrap();
        std::os::unix::fs::symlink("SECRET.json", &secret).unwrap();
    }
    let document = project.json(&["plan", "--server", "nats://127.0.0.1:1"]);
    assert_eq!((document["exit"].as_u64(), document["code"].as_str()), (Some(2), Some("invalid-config")));
    let document = project.json(&["validate"]);
    let rules: Vec<&str> = document["data"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["rule"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["unreadable", "unknown-key"]);
}
