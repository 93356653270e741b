//! Publishing in a fast batch: one ack for hundreds of messages (nats-server 2.14), and an ack for each where that is not known.
//!
//! `cargo run -p streamproof-client --example fast_batch`

#![expect(clippy::print_stdout, reason = "an example prints its answer")]

use streamproof_client::async_nats::{self, jetstream};
use streamproof_client::{Batch, FastBatchOptions};
use streamproof_server::Scratch;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Scratch::new()?;
    let client = async_nats::connect(server.url()).await?;
    let js = jetstream::new(client.clone());
    for (name, fast) in [("FAST", true), ("PLAIN", false)] {
        let config = jetstream::stream::Config {
            name: name.into(),
            subjects: vec![name.to_lowercase()],
            allow_batch_publish: fast,
            ..Default::default()
        };
        js.create_stream(config).await?;
        let mut batch = Batch::begin(client.clone(), FastBatchOptions::default()).await?;
        for number in 0..10_000 {
            batch.add((name.to_lowercase(), number.to_string())).await?;
        }
        if let Some(why) = batch.fallback() {
            println!("{name}: an ack for each message: {why}");
        }
        let report = batch.commit().await;
        println!(
            "{name}: {} sent, {} stored, last sequence {:?}",
            report.sent, report.stored, report.last_sequence
        );
    }
    Ok(())
}
