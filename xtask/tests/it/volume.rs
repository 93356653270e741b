//! The store in a named volume of Docker's: kept like the other one, found again, and never left behind for an empty one.

use serde_json::Value;

use crate::recipe::{Project, docker, docker_answers};

#[test]
fn a_named_volume_keeps_the_store_and_is_never_left_behind() {
    if !docker_answers() {
        return;
    }
    let project = Project::on("docker");
    let up = project.json(&["up", "--port", "auto", "--volume"]);
    assert_eq!(up["exit"], 0, "{up}");
    let store = up["data"]["nodes"][0]["store"].as_str().unwrap().to_owned();
    let volume = store.strip_prefix("volume ").unwrap();
    project.ok(&["publish", "xyz.a", "kept", "--count", "3"]);
    let messages = || project.json(&["info", "AnotherStream"])["data"]["stream"]["state"]["messages"].clone();
    let files = project.ok(&["files"]);
    assert!(files.starts_with(&store) && files.contains("a block of messages"), "{files}");
    assert!(project.ok(&["status"]).contains(&store));
    let container = volume.strip_suffix("-data").unwrap();
    for how in ["down", "kill", "rm"] {
        match how {
            "down" => _ = project.ok(&["down"]),
            "kill" => _ = project.ok(&["restart", "--kill"]),
            _ => _ = docker(&["rm", "--force", container]),
        }
        project.ok(&["up"]);
        assert_eq!(messages(), 3, "{how}");
    }
    // What only Docker can read is not for a plain process, and no empty store is begun beside it.
    project.ok(&["down"]);
    let other = project.command(&["up", "--engine", "process", "--json"]).output().unwrap();
    let other: Value = serde_json::from_slice(&other.stdout).unwrap();
    assert_eq!(
        (other["exit"].as_u64(), other["code"].as_str()),
        (Some(5), Some("engine-mismatch")),
        "{other}"
    );
    // Even when all of our notes are gone.
    std::fs::remove_dir_all(project.path().join(".streamproof")).unwrap();
    let again = project.json(&["up", "--port", "auto"]);
    assert_eq!(again["data"]["nodes"][0]["store"], store.as_str(), "{again}");
    assert_eq!(messages(), 3);
    project.ok(&["clean", "--yes"]);
    assert_eq!(docker(&["volume", "ls", "--quiet", "--filter", &format!("name={volume}")]), "");
}

#[test]
fn a_store_in_the_folder_is_not_left_behind_for_a_volume() {
    if !docker_answers() {
        return;
    }
    let project = Project::on("docker");
    project.ok(&["up", "--port", "auto"]);
    project.ok(&["publish", "xyz.a", "kept"]);
    project.ok(&["down"]);
    assert_eq!(project.json(&["up", "--volume"])["code"], "engine-mismatch");
    project.ok(&["up"]);
    assert_eq!(project.json(&["info", "AnotherStream"])["data"]["stream"]["state"]["messages"], 1);
}
