//! How long `plan` and `apply` take for many streams and consumers, beside the bare requests and the `nats` CLI.
//!
//! `cargo run --release -p streamproof-provision --example many -- [COUNT] [CLI_COUNT]`
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for the terminal")]

use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use streamproof_model::plan::Options;
use streamproof_model::project::{self, Project};
use streamproof_provision::{Allow, Js, apply, plan_for};
use streamproof_server::{PINNED, Scratch};

const PARALLEL: usize = 64;

fn stream_file(i: usize) -> Value {
    json!({"name": format!("S{i}"), "subjects": [format!("s.{i}.*")]})
}

async fn server() -> (Scratch, Js) {
    let server = Scratch::new().unwrap();
    let js = Js::new(async_nats::connect(server.url()).await.unwrap());
    (server, js)
}

/// The same requests, in the same parallel, with nothing around them.
async fn bare(count: usize) -> Duration {
    let (_server, js) = server().await;
    let started = Instant::now();
    let streams = stream::iter(0..count).map(|i| {
        let js = &js;
        async move { js.request(&format!("STREAM.CREATE.S{i}"), &stream_file(i)).await.unwrap() }
    });
    streams.buffer_unordered(PARALLEL).for_each(|_| async {}).await;
    let consumers = stream::iter(0..count).map(|i| {
        let js = &js;
        let body = json!({"stream_name": format!("S{i}"), "action": "create",
            "config": {"name": "C", "durable_name": "C", "ack_policy": "explicit"}});
        async move { js.request(&format!("CONSUMER.CREATE.S{i}.C"), &body).await.unwrap() }
    });
    consumers.buffer_unordered(PARALLEL).for_each(|_| async {}).await;
    started.elapsed()
}

/// `nats stream add` and `nats consumer add`, one after the other, for so many; `None` without the CLI.
async fn by_cli(count: usize) -> Option<Duration> {
    let (server, _js) = server().await;
    let folder = tempfile::tempdir().unwrap();
    let url = server.url();
    let started = Instant::now();
    for i in 0..count {
        let file = folder.path().join("s.json");
        std::fs::write(&file, stream_file(i).to_string()).unwrap();
        let name = format!("S{i}");
        let mut stream = Command::new("nats");
        stream.args(["--server", &url, "stream", "add", &name, "--config"]).arg(&file);
        let mut consumer = Command::new("nats");
        consumer.args(["--server", &url, "consumer", "add", &name, "C", "--pull", "--defaults"]);
        for command in [&mut stream, &mut consumer] {
            assert!(command.output().ok()?.status.success());
        }
    }
    Some(started.elapsed())
}

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1).map(|w| w.parse::<usize>().unwrap());
    let count = words.next().unwrap_or(1000);
    let cli_count = words.next().unwrap_or(50);
    let files = (0..count).flat_map(|i| {
        let stream = (PathBuf::from(format!("streams/S{i}.json")), stream_file(i).to_string());
        let consumer = json!({"durable_name": "C", "ack_policy": "explicit"}).to_string();
        [stream, (PathBuf::from(format!("consumers/S{i}/C.json")), consumer)]
    });
    let options = project::Options { root: PathBuf::new(), version: PINNED };
    let desired = Project::load(files, &options).unwrap().desired;
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let bare = bare(count).await;
        let (_server, js) = server().await;
        let started = Instant::now();
        let (plan, _) = plan_for(&js, &desired, &Options::default()).await.unwrap();
        let empty = started.elapsed();
        let started = Instant::now();
        apply(&js, &plan, &Allow::default(), folder.path()).await.unwrap();
        let applied = started.elapsed();
        let started = Instant::now();
        let (plan, _) = plan_for(&js, &desired, &Options::default()).await.unwrap();
        let full = started.elapsed();
        assert_eq!(plan.pending, 0);
        let ratio = applied.as_secs_f64() / bare.as_secs_f64();
        println!("round {round}: {count} streams and {count} consumers");
        println!(
            "  bare requests {bare:.2?}, apply {applied:.2?} ({ratio:.2} times), plan of nothing {empty:.2?}, plan of all {full:.2?}"
        );
        if round == 1
            && let Some(cli) = by_cli(cli_count).await
        {
            let each = cli.as_secs_f64() / cli_count as f64;
            let times = each * count as f64 / applied.as_secs_f64();
            println!(
                "  nats CLI {cli:.2?} for {cli_count} and {cli_count}: at that rate apply is {times:.1} times faster"
            );
        }
    }
}
