//! `bench` by the command line: the document, a saved run, and nothing left behind. Its numbers are not looked at.

use super::recipe::Project;

const QUICK: [&str; 8] =
    ["bench", "publish-ack", "consume-double-ack", "--as-built", "--msgs", "1000", "--rounds", "2"];

#[test]
fn every_message_is_counted_and_a_saved_run_can_be_compared() {
    let project = Project::new();
    let first = project.json(&[&QUICK[..], &["--window", "10,100", "--save", "run.json"]].concat());
    assert_eq!(first["exit"], 0, "{first}");
    let measures = first["data"]["measures"].as_array().unwrap();
    assert_eq!(measures.len(), 4);
    for m in measures {
        assert_eq!((&m["counted"], &m["msgs"], &m["rounds"]), (&true.into(), &1000.into(), &2.into()), "{m}");
        assert!(m["msgs_per_s"].as_f64().unwrap() > 0.0, "{m}");
        for key in ["client_cpu_s_per_million", "peer", "ratio", "cpu_ratio"] {
            assert!(m.as_object().unwrap().contains_key(key), "{key}");
        }
    }
    assert_eq!(first["data"]["build"], "debug");
    assert!(!project.path().join(".streamproof/bench").exists(), "the server's store is left");

    let second = project.json(&[&QUICK[..], &["--window", "100", "--compare", "run.json"]].concat());
    let compared = second["data"]["compared"].as_array().unwrap();
    assert_eq!(compared.len(), 2, "{second}");
    assert_eq!(compared[0]["before"], first["data"]["measures"][1]["msgs_per_s"]);
    let shown = project.ok(&[&QUICK[..], &["--compare", "run.json", "--sync", "always"]].concat());
    assert!(
        shown.contains("sync_interval: always") && shown.contains("every message is accounted for"),
        "{shown}"
    );
}

#[test]
fn what_is_not_there_has_a_name() {
    let project = Project::new();
    let code = |args: &[&str]| project.json(&[&QUICK[..], args].concat())["code"].clone();
    assert_eq!(code(&["--live"]), "not-running");
    assert_eq!(code(&["--compare", "nothing.json"]), "usage");
    assert_eq!(code(&["--peer", "--nats", "/nowhere/nats"]), "tool-missing");
    assert_eq!(code(&["--size", "1"]), "usage");
    assert_eq!(code(&["--sync", "never"]), "server-died");
}
