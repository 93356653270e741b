//! How often the client allocates for each message, everything counted: this crate, async-nats and tokio.
//!
//! `cargo run -p streamproof-client --example allocations`

#![expect(clippy::print_stdout, reason = "an example prints its answer")]

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use streamproof_client::async_nats::{self, jetstream};
use streamproof_client::{
    AckerOptions, ClientExt, FastBatch, FastBatchOptions, Outgoing, PublisherOptions, PullConsumer,
    PullOptions,
};
use streamproof_server::Scratch;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Messages of 128 bytes, for each row.
const MSGS: u64 = 100_000;

type Failed = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let server = Scratch::new()?;
    let client = async_nats::connect(server.url()).await?;
    let js = jetstream::new(client.clone());
    let config = jetstream::stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["orders".into()],
        allow_batch_publish: true,
        ..Default::default()
    };
    let stream = js.create_stream(config).await?;
    // Cloning it allocates nothing.
    let message = Outgoing::new("orders", vec![b'x'; 128]);

    let options = || PublisherOptions::default().window(500).stream("ORDERS");
    let publisher = client.publisher(options()).await?;
    publisher.publish(message.clone()).await?.await;
    row("publish, outcomes counted (post)", async {
        for tag in 0..MSGS {
            publisher.post(message.clone(), tag).await?;
        }
        publisher.settle().await;
        Ok(())
    })
    .await?;
    row("publish, a future for each outcome", async {
        for _ in 0..MSGS / 500 {
            let mut outcomes = Vec::with_capacity(500);
            for _ in 0..500 {
                outcomes.push(publisher.publish(message.clone()).await?);
            }
            for outcome in outcomes {
                outcome.await;
            }
        }
        Ok(())
    })
    .await?;
    let mut batch = FastBatch::begin(client.clone(), FastBatchOptions::default()).await?;
    row("publish, fast batch", async {
        for _ in 0..MSGS {
            batch.add(message.clone()).await?;
        }
        Ok(())
    })
    .await?;
    batch.commit().await;

    let consumer = async |name: &str, ack_policy| -> Result<PullConsumer, Failed> {
        let durable_name = Some(name.to_owned());
        let config = jetstream::consumer::pull::Config { durable_name, ack_policy, ..Default::default() };
        stream.create_consumer(config).await?;
        Ok(client.pull_consumer("ORDERS", name, PullOptions::default().batch(500)).await?)
    };
    let mut explicit = consumer("explicit", jetstream::consumer::AckPolicy::Explicit).await?;
    row("consume, an ack for each", async {
        for _ in 0..MSGS {
            explicit.next().await?.ack().await?;
        }
        Ok(())
    })
    .await?;
    let mut all = consumer("all", jetstream::consumer::AckPolicy::All).await?;
    row("consume, one ack for 100", async {
        for n in 1..=MSGS {
            let delivery = all.next().await?;
            if n.is_multiple_of(100) {
                delivery.ack().await?;
            }
        }
        Ok(())
    })
    .await?;
    let mut double = consumer("double", jetstream::consumer::AckPolicy::Explicit).await?;
    let acker = client.acker(AckerOptions::default().window(500)).await?;
    row("consume, each ack confirmed", async {
        for tag in 0..MSGS {
            acker.post(double.next().await?, tag).await?;
        }
        acker.settle().await;
        Ok(())
    })
    .await
}

async fn row(what: &str, work: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let region = Region::new(ALLOCATOR);
    work.await?;
    let change = region.change();
    let each = |number: usize| number as f64 / MSGS as f64;
    println!(
        "{what:36} {:5.2} allocations, {:5.0} bytes a message",
        each(change.allocations + change.reallocations),
        each(change.bytes_allocated)
    );
    Ok(())
}
