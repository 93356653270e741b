//! Random legal projects, each brought in on top of the one before: applied, the plan is empty; exported, the plan is empty; and the
//! server shows what normalising said.
//!
//! `STREAMPROOF_ROUNDS=1000 STREAMPROOF_SEED=7 cargo test -p streamproof-provision random` is a longer run; a round that fails says
//! the seed with which it is run again alone.

use std::path::PathBuf;

use crate::ground::{Ground, LINES, from_export, pending, replacing, unlike_the_server, until};
use crate::world::{Dice, Files, world};
use serde_json::{Map, Value};
use streamproof_model::plan::{Options, plan};
use streamproof_model::project::{self, Project};
use streamproof_model::version::Version;
use streamproof_provision::{Allow, ProvisionError, bring, export, observe};

/// So many projects a line: enough that most kinds of changes meet, few enough for a slow machine.
const ROUNDS: u64 = 12;

/// What a longer run is asked for by.
fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn is_legal(files: &Files, version: &Version) -> bool {
    let files = files.iter().map(|(path, value)| (PathBuf::from(path), value.to_string()));
    let options = project::Options { root: "nats-config".into(), version: version.clone() };
    Project::load(files, &options).is_ok()
}

/// Some messages in every stream that takes them, so that there is something to keep.
async fn fill(ground: &Ground, files: &Files) {
    let client = ground.js.client();
    for (path, _) in files.iter().filter(|(path, _)| path.starts_with("streams/")) {
        let name = path.trim_start_matches("streams/").trim_end_matches(".json");
        for subject in [format!("{name}.a"), format!("{name}.x.y")] {
            client.publish(subject, "x".into()).await.unwrap();
        }
    }
    client.flush().await.unwrap();
    // Nobody acks them, and copies take them later: a plan of the next round must not be overtaken by them.
    let (mut before, mut same) = (0, 0);
    until("no more messages arrive", async || {
        let streams = ground.js.request("STREAM.LIST", &Value::Null).await.unwrap();
        let streams = streams["streams"].as_array().cloned().unwrap_or_default();
        let now: u64 = streams.iter().filter_map(|info| info["state"]["messages"].as_u64()).sum();
        same = if now == before { same + 1 } else { 0 };
        before = now;
        same >= 5
    })
    .await;
}

async fn clear(ground: &Ground) {
    let names = ground.js.request("STREAM.NAMES", &Value::Null).await.unwrap();
    for name in names["streams"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        ground.js.request(&format!("STREAM.DELETE.{name}"), &Value::Null).await.unwrap();
    }
}

/// What came of a project.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Came {
    Illegal,
    InPlace,
    /// What is there cannot become it, and the plan says so: made from nothing.
    Anew,
}

async fn round(ground: &Ground, seed: u64) -> Came {
    let version = &ground.version;
    let files = world(&mut Dice(seed), version);
    if !is_legal(&files, version) {
        return Came::Illegal;
    }
    let about = || {
        let files: Vec<String> = files.iter().map(|(path, value)| format!("\n    {path} {value}")).collect();
        format!("{version}, STREAMPROOF_SEED={seed} STREAMPROOF_ROUNDS=1:{}", files.concat())
    };
    let borrowed: Vec<(&str, Value)> =
        files.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
    let desired = ground.desired(&borrowed);
    let names = files.iter().map(|(path, _)| {
        let path = path.trim_end_matches(".json");
        path.split_once('/').map_or(path, |(_, name)| name).to_owned()
    });
    let allow = Allow { replace: names.collect(), ..replacing(&[]) };
    let options = Options { prune: true, ..Options::default() };
    let bring = || bring(&ground.js, &desired, &options, &allow, ground.journals.path());
    let mut came = Came::InPlace;
    let mut first = bring().await;
    // A copy that got its first message just now.
    if matches!(&first, Err(ProvisionError::PlanStale { name }) if name == "M" || name == "S") {
        first = bring().await;
    }
    // The consumer by which another took from it until now: no listing shows it, and for ten seconds more it counts.
    if matches!(&first, Err(error) if error.to_string().contains("violates consumers: src-")) {
        until("the hidden consumer goes", async || {
            first = bring().await;
            first.is_ok() || matches!(&first, Err(ProvisionError::Impossible { .. }))
        })
        .await;
    }
    let brought = match first {
        Err(ProvisionError::Impossible { .. }) => {
            came = Came::Anew;
            clear(ground).await;
            bring().await
        }
        other => other,
    };
    let brought = brought.unwrap_or_else(|error| panic!("{}\n{error}", about()));
    assert_eq!(brought.after.pending, 0, "{}\n{:#?}", about(), pending(&brought.after));
    // What a server that stands alone cannot have it is not sent.
    let alone = |(_, file): &(String, Value)| {
        file.get("num_replicas").and_then(Value::as_u64).is_none_or(|replicas| replicas <= 1)
            && file.get("placement").is_none_or(|placement| *placement == Value::Object(Map::new()))
    };
    if files.iter().all(alone) {
        let unlike = unlike_the_server(ground, &desired).await;
        assert!(unlike.is_empty(), "{}\n{unlike:#?}", about());
    }
    let observed = observe(&ground.js).await.unwrap();
    for full in [false, true] {
        let again = plan(&from_export(version, &export(&observed, full)), &observed, &Options::default());
        assert_eq!(again.pending, 0, "{}\nfull={full}: {:#?}", about(), pending(&again));
    }
    fill(ground, &files).await;
    came
}

#[expect(clippy::print_stdout, reason = "a long run says how far it came")]
fn say(text: &str) {
    println!("{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_projects_settle_and_are_exported() {
    let (rounds, seed) = (asked("STREAMPROOF_ROUNDS", ROUNDS), asked("STREAMPROOF_SEED", 20_260_821));
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        let mut came = Vec::new();
        for index in 0..rounds {
            came.push(round(&ground, seed + index).await);
        }
        let count = |what: Came| came.iter().filter(|came| **came == what).count();
        say(&format!(
            "{version}: {} projects on top of the one before, {} from nothing, {} illegal",
            count(Came::InPlace),
            count(Came::Anew),
            count(Came::Illegal)
        ));
        // With one round alone that may be what is looked at.
        assert!(rounds < ROUNDS || count(Came::InPlace) * 4 > came.len(), "hardly any was legal");
    }
}
