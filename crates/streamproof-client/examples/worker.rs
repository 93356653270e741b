//! A function for each message, so many at once: acked where it succeeds, given back with a growing delay where it fails.
//!
//! `cargo run -p streamproof-client --example worker`

#![expect(clippy::print_stdout, reason = "an example prints its answer")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use streamproof_client::async_nats::{self, jetstream};
use streamproof_client::{ClientExt, Delivery, PublisherOptions, PullOptions, WorkOptions, work};
use streamproof_server::Scratch;
use tokio::sync::Notify;

const JOBS: u64 = 500;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Scratch::new()?;
    let client = async_nats::connect(server.url()).await?;
    let config = jetstream::stream::Config {
        name: "JOBS".into(),
        subjects: vec!["jobs".into()],
        ..Default::default()
    };
    let stream = jetstream::new(client.clone()).create_stream(config).await?;
    let config =
        jetstream::consumer::pull::Config { durable_name: Some("worker".into()), ..Default::default() };
    stream.create_consumer(config).await?;
    let publisher = client.publisher(PublisherOptions::default()).await?;
    for job in 0..JOBS {
        publisher.post(("jobs", job.to_string()), job).await?;
    }
    publisher.settle().await;

    // In a service this would be a signal: `async { tokio::signal::ctrl_c().await.ok(); }`.
    let all_done = Arc::new(Notify::new());
    let (done, stop) = (Arc::new(AtomicU64::new(0)), all_done.clone());
    let job = move |delivery: Arc<Delivery>| {
        let (done, all_done) = (done.clone(), all_done.clone());
        async move {
            let attempt = delivery.metadata().map_or(1, |m| m.num_delivered);
            if delivery.payload().ends_with(b"7") && attempt == 1 {
                return Err("this one takes two attempts");
            }
            if done.fetch_add(1, Ordering::Relaxed) + 1 == JOBS {
                all_done.notify_one();
            }
            Ok(())
        }
    };
    let options =
        WorkOptions { concurrency: 8, first_delay: Duration::from_millis(50), ..Default::default() };
    let consumer = client.pull_consumer("JOBS", "worker", PullOptions::default().batch(64)).await?;
    let worked = work(consumer, options, async move { stop.notified().await }, job).await?;
    println!("{worked:?}");
    Ok(())
}
