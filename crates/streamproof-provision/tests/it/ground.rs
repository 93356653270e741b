//! A server, a connection, and files as text.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use streamproof_model::desired::Desired;
use streamproof_model::info::{consumer_info, stream_info};
use streamproof_model::normalize::{ServerFacts, normalize_consumer, normalize_stream};
use streamproof_model::plan::{Document, MARK_KEY, Options, Plan, declared_start};
use streamproof_model::project::{self, Project};
use streamproof_model::version::Version;
use streamproof_provision::{Allow, Brought, Export, Js, ProvisionError, bring, inspect, plan_for};
use streamproof_server::{PINNED, Scratch};

/// The lines of nats-server whose rules differ.
pub(crate) const LINES: [Version; 5] = [
    Version::new(2, 10, 25),
    Version::new(2, 11, 2),
    Version::new(2, 12, 1),
    Version::new(2, 14, 6),
    Version::new(2, 15, 1),
];

pub(crate) struct Ground {
    pub(crate) js: Js,
    pub(crate) version: Version,
    pub(crate) journals: tempfile::TempDir,
    /// The one that is talked to is the first.
    servers: Vec<Scratch>,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        Self::of(PINNED).await
    }

    pub(crate) async fn of(version: Version) -> Self {
        Self::on(vec![Scratch::builder().version(version).start().unwrap()]).await
    }

    /// On servers that are up, of one version.
    pub(crate) async fn on(servers: Vec<Scratch>) -> Self {
        let client = async_nats::connect(servers[0].url()).await.unwrap();
        let version = servers[0].binary().version.clone();
        Self { js: Js::new(client), version, journals: tempfile::tempdir().unwrap(), servers }
    }

    pub(crate) fn servers(&self) -> &[Scratch] {
        &self.servers
    }

    pub(crate) fn url(&self) -> String {
        self.servers[0].url()
    }

    /// Stops the server and starts it again; the connection comes back by itself.
    pub(crate) async fn restart(&mut self) {
        self.servers[0].restart().unwrap();
        until("the connection is back", async || self.js.request("INFO", &Value::Null).await.is_ok()).await;
    }

    pub(crate) fn desired(&self, files: &[(&str, Value)]) -> Desired {
        desired(&self.version, files)
    }

    pub(crate) async fn plan(&self, files: &[(&str, Value)]) -> Plan {
        plan_for(&self.js, &self.desired(files), &Options::default()).await.unwrap().0
    }

    pub(crate) async fn bring(
        &self,
        files: &[(&str, Value)],
        allow: &Allow,
    ) -> Result<Brought, ProvisionError> {
        bring(&self.js, &self.desired(files), &Options::default(), allow, self.journals.path()).await
    }

    /// Brings the files in, and expects nothing to be left to do.
    pub(crate) async fn settle(&self, files: &[(&str, Value)], allow: &Allow) -> Brought {
        let brought = self
            .bring(files, allow)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}\nfiles {files:?}", self.version));
        assert_eq!(brought.after.pending, 0, "{}: {:#?}", self.version, pending(&brought.after));
        brought
    }

    /// Publishes so many messages and waits for their acks.
    pub(crate) async fn publish(&self, subject: &str, count: u64) {
        let context = async_nats::jetstream::new(self.js.client().clone());
        for i in 0..count {
            let ack = context.publish(subject.to_owned(), format!("message {i}").into()).await.unwrap();
            ack.await.unwrap();
        }
    }
}

pub(crate) fn desired(version: &Version, files: &[(&str, Value)]) -> Desired {
    let files = files.iter().map(|(path, value)| (PathBuf::from(*path), value.to_string()));
    let options = project::Options { root: "nats-config".into(), version: version.clone() };
    let project = Project::read(files, &options);
    let wrong: Vec<_> = project.findings.iter().filter(|f| f.is_error()).collect();
    assert!(wrong.is_empty(), "{version}: {wrong:#?}");
    project.desired
}

pub(crate) fn from_export(version: &Version, export: &Export) -> Desired {
    let files: Vec<(String, Value)> =
        export.files.iter().map(|(path, value)| (path.display().to_string(), value.clone())).collect();
    let files: Vec<(&str, Value)> =
        files.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
    desired(version, &files)
}

/// Where normalising says something else than the server shows; and where doing it twice, or to what the server shows, is not
/// the same as doing it once.
pub(crate) async fn unlike_the_server(ground: &Ground, desired: &Desired) -> Vec<String> {
    let facts = ServerFacts::of(ground.version.clone());
    let mut wrong = Vec::new();
    let mut compare = |name: &str, said: &Value, shown: &Value, again: [&Value; 2]| {
        if said != shown {
            wrong.push(format!("{name}: normalising says {said}, and the server shows {shown}"));
        }
        if again.iter().any(|again| *again != said) {
            wrong.push(format!("{name}: not the same twice: {said}, {again:?}"));
        }
    };
    let config = |map: Document| json!({ "config": unmarked(map) });
    for stream in &desired.streams {
        let origin =
            stream.config.get("mirror").and_then(|m| m["name"].as_str()).map(|name| desired.stream(name));
        let origin = origin.flatten().map(|origin| &origin.config);
        let normal = |map: &Document| normalize_stream(map, &facts, origin);
        let shown = inspect::stream(&ground.js, &stream.name).await.unwrap()["config"].take();
        let shown = shown.as_object().unwrap();
        let said = normal(&stream.config);
        let form = |map: Document| stream_info(&config(map));
        let twice = [&form(normal(&said)), &form(normal(shown))];
        compare(&stream.name, &form(said.clone()), &form(shown.clone()), twice);
    }
    for consumer in &desired.consumers {
        let stream = desired.stream(&consumer.stream).map(|stream| stream.config.clone()).unwrap_or_default();
        let normal = |map: &Document| {
            // A consumer that is declared by name alone is made durable.
            let mut map = map.clone();
            map.insert("durable_name".into(), consumer.name.clone().into());
            normalize_consumer(&map, &stream, &facts)
        };
        let shown =
            inspect::consumer(&ground.js, &consumer.stream, &consumer.name).await.unwrap()["config"].take();
        // One that a replacement has moved says where it would have started.
        let mut shown = declared_start(shown.as_object().unwrap());
        shown.entry("deliver_policy").or_insert_with(|| "all".into());
        let said = normal(&consumer.config);
        let form = |map: Document| consumer_info(&config(map));
        let twice = [&form(normal(&said)), &form(normal(&shown))];
        compare(&consumer.name, &form(said.clone()), &form(shown.clone()), twice);
    }
    wrong
}

fn unmarked(mut config: Document) -> Document {
    if let Some(Value::Object(metadata)) = config.get_mut("metadata") {
        metadata.retain(|key, _| key != MARK_KEY);
    }
    config
}

/// What a plan would change, in a line each.
pub(crate) fn pending(plan: &Plan) -> Vec<String> {
    plan.changing()
        .map(|step| {
            let changes: Vec<String> =
                step.changes.iter().map(|c| format!("{} {} -> {}", c.path, c.from, c.to)).collect();
            format!("{:?} {}: {}", step.action, step.name, changes.join(", "))
        })
        .collect()
}

pub(crate) fn everything() -> Allow {
    Allow { data_loss: true, one_way: true, prune: true, ..Allow::default() }
}

pub(crate) fn replacing(names: &[&str]) -> Allow {
    Allow { replace: names.iter().map(|n| (*n).to_owned()).collect(), ..everything() }
}

/// Looks until it is so, for half a minute.
pub(crate) async fn until(what: &str, so: impl AsyncFnMut() -> bool) {
    let bound = Duration::from_secs(30);
    assert!(until_or(Instant::now() + bound, so).await, "not within {bound:?}: {what}");
}

/// Waits until it is so, or until then: which of the two.
pub(crate) async fn until_or(end: Instant, mut so: impl AsyncFnMut() -> bool) -> bool {
    while !so().await {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}
