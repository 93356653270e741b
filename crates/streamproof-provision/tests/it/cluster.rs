//! Three servers as one: replicas and placement, which a server that stands alone has not.

use crate::ground::{Ground, replacing, until_or};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use streamproof_model::plan::{Effect, Options, Plan};
use streamproof_provision::{inspect, plan_for};
use streamproof_server::Scratch;

/// Named by tags of their own, and by one that they share.
fn three() -> Vec<Scratch> {
    let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
    drop(listeners);
    let routes: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let mut servers: Vec<Scratch> = ["a", "b", "c"]
        .into_iter()
        .zip(&ports)
        .map(|(tag, port)| {
            let config = format!(
                "server_tags: [\"node:{tag}\", \"all\"]\ncluster {{ name: three, listen: \"127.0.0.1:{port}\", routes: [{}] }}\n",
                routes.join(", ")
            );
            Scratch::builder().config(&config).prepare().unwrap()
        })
        .collect();
    // None is ready before they have elected a leader.
    servers.iter_mut().for_each(|server| server.launch().unwrap());
    servers.iter_mut().for_each(|server| server.wait_ready().unwrap());
    servers
}

fn file(replicas: u64, tag: Option<&str>) -> [(&'static str, Value); 1] {
    let mut stream = json!({"name": "S", "subjects": ["s"], "num_replicas": replicas});
    if let Some(tag) = tag {
        stream["placement"] = json!({"tags": [tag]});
    }
    [("streams/S.json", stream)]
}

/// While copies are made, moved, or elect a leader, servers refuse or answer in part: whatever is asked is asked again.
const BOUND: Duration = Duration::from_secs(180);

async fn eventually<T>(what: &str, mut so: impl AsyncFnMut() -> Option<T>) -> T {
    let mut found = None;
    let so = until_or(Instant::now() + BOUND, async || {
        found = so().await;
        found.is_some()
    });
    assert!(so.await, "not within {BOUND:?}: {what}");
    found.unwrap()
}

struct Cluster(Ground);

impl Cluster {
    async fn plan(&self, files: &[(&str, Value)]) -> Plan {
        eventually("a plan", async || {
            let plan = plan_for(&self.0.js, &self.0.desired(files), &Options::default()).await;
            plan.ok().map(|(plan, _)| plan)
        })
        .await
    }

    async fn settle(&self, files: &[(&str, Value)]) {
        eventually("settled", async || {
            let brought = self.0.bring(files, &replacing(&[])).await.ok()?;
            (brought.after.pending == 0).then_some(())
        })
        .await;
    }

    /// The stream's copies that are up to date.
    async fn copies(&self, count: usize) {
        eventually(&format!("{count} copies"), async || {
            let info = inspect::stream(&self.0.js, "S").await.ok()?;
            info.pointer("/cluster/leader")?;
            let none = Vec::new();
            let others = info.pointer("/cluster/replicas").and_then(Value::as_array).unwrap_or(&none);
            (others.iter().filter(|other| other["current"] == json!(true)).count() + 1 == count).then_some(())
        })
        .await;
    }

    async fn messages(&self) -> u64 {
        eventually("its state", async || {
            let info = inspect::stream(&self.0.js, "S").await.ok()?;
            info.pointer("/state/messages").and_then(Value::as_u64)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_and_placement_change_in_place_and_one_after_the_other() {
    let cluster = Cluster(Ground::on(three()).await);
    cluster.settle(&file(3, None)).await;
    cluster.copies(3).await;
    cluster.0.publish("s", 5).await;
    // Fewer: in place, and nothing goes.
    let plan = cluster.plan(&file(1, None)).await;
    let step = plan.changing().next().unwrap();
    assert_eq!((step.effect, step.loses.as_ref()), (Effect::InPlace, None), "{step:#?}");
    cluster.settle(&file(1, None)).await;
    cluster.copies(1).await;
    // A move.
    let b = cluster.0.servers()[1].name().to_owned();
    cluster.settle(&file(1, Some("node:b"))).await;
    eventually("moved to b", async || {
        let info = inspect::stream(&cluster.0.js, "S").await.ok()?;
        (info.pointer("/cluster/leader")?.as_str()? == b).then_some(())
    })
    .await;
    // Both in one are refused by the server (10123), and sent one after the other by us.
    let both = file(3, Some("all"));
    eventually("10123", async || {
        let refused = cluster.0.js.request("STREAM.UPDATE.S", &both[0].1).await.unwrap_err();
        refused.to_string().contains("10123").then_some(())
    })
    .await;
    let plan = cluster.plan(&both).await;
    let step = plan.changing().next().unwrap();
    assert!(step.first.is_some() && step.effect == Effect::InPlace, "{step:#?}");
    cluster.settle(&both).await;
    cluster.copies(3).await;
    assert_eq!(cluster.messages().await, 5);
}
