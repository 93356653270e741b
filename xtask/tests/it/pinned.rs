//! The info that the shipped `nats-config/` must give, pinned: through the library and through the command, the same.

use std::path::Path;

use serde_json::Value;
use streamproof::model::info::{consumer_info, stream_info};
use streamproof::model::plan::Options;
use streamproof::model::project::{self, Project as Files};
use streamproof::model::version::Version;
use streamproof::provision::{Allow, Js, bring, inspect};
use streamproof::server::{PINNED, Scratch};

use crate::recipe::{Project, docker_answers};

/// The shipped files on a server of that version: the normalised infos of its stream and its consumer.
async fn shipped(version: &Version) -> (Value, Value) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("nats-config");
    let names = ["streams/AnotherStream.json", "consumers/AnotherStream/SomeConsumer.json"];
    let files = names.map(|name| (name.into(), std::fs::read_to_string(config.join(name)).unwrap()));
    let options = project::Options { root: "nats-config".into(), version: version.clone() };
    let desired = Files::load(files, &options).unwrap().desired;
    let server = Scratch::builder().version(version.clone()).start().unwrap();
    let journals = tempfile::tempdir().unwrap();
    let js = Js::new(streamproof::connect::Connect::to(server.url()).client().await.unwrap());
    bring(&js, &desired, &Options::default(), &Allow::default(), journals.path()).await.unwrap();
    let stream = inspect::stream(&js, "AnotherStream").await.unwrap();
    let consumer = inspect::consumer(&js, "AnotherStream", "SomeConsumer").await.unwrap();
    assert!(stream.get("created").is_some() && consumer.get("ts").is_some(), "nothing to normalise");
    (stream_info(&stream), consumer_info(&consumer))
}

#[tokio::test]
async fn the_shipped_files_give_this_info_by_library_and_by_command() {
    let (stream, consumer) = shipped(&PINNED).await;
    insta::assert_json_snapshot!("info-stream", stream);
    insta::assert_json_snapshot!("info-consumer", consumer);

    for engine in ["process", "docker"] {
        if engine == "docker" && !docker_answers() {
            continue;
        }
        let project = Project::on(engine);
        project.ok(&["up", "--port", "auto"]);
        let shown = project.json(&["info", "AnotherStream", "--normalized"]);
        assert_eq!(shown["data"]["stream"], stream, "{engine}");
        assert_eq!(shown["data"]["consumers"][0], consumer, "{engine}");
        let text = project.ok(&["info", "AnotherStream", "SomeConsumer", "--normalized"]);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), consumer, "{text}");
        let all: Value = serde_json::from_str(&project.ok(&["info", "--normalized"])).unwrap();
        assert_eq!(all[0], stream);
        // Killed and started again, it gives the same.
        project.ok(&["restart", "--kill"]);
        assert_eq!(project.json(&["info", "AnotherStream", "--normalized"])["data"], shown["data"]);
    }
}

#[tokio::test]
async fn an_upgrade_of_the_server_does_not_change_the_info() {
    let newest = shipped(&PINNED).await;
    for older in [Version::new(2, 10, 25), Version::new(2, 12, 1), Version::new(2, 14, 6)] {
        assert_eq!(shipped(&older).await, newest, "{older}");
    }
}
