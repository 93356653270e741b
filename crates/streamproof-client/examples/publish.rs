//! Publishing with an ack for each message: one by one, many in flight, safely repeated, and only if nothing came between.
//!
//! `cargo run -p streamproof-client --example publish`

#![expect(clippy::print_stdout, reason = "an example prints its answer")]

use std::time::Duration;

use streamproof_client::async_nats::{self, jetstream};
use streamproof_client::{ClientExt, OnDisconnect, Outcome, Outgoing, PublisherOptions};
use streamproof_server::Scratch;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Scratch::new()?;
    let client = async_nats::connect(server.url()).await?;
    let js = jetstream::new(client.clone());
    let config = jetstream::stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["orders.>".into()],
        allow_message_ttl: true,
        ..Default::default()
    };
    js.create_stream(config).await?;

    // One message, and its outcome. There are three, and it is always exactly one of them.
    let publisher = client.publisher(PublisherOptions::default()).await?;
    match publisher.publish(("orders.eu", "17")).await?.await {
        Outcome::Acked(ack) => println!("stored as {}:{}", ack.stream, ack.sequence),
        Outcome::Rejected(why) => println!("not stored: {why}"),
        Outcome::Indeterminate(why) => println!("may be stored: {why}"),
    }

    // Many in flight, at most a thousand; the outcome of each comes with the number that it was posted with.
    let options = PublisherOptions::default().window(1000).on_disconnect(OnDisconnect::Repeat).on_outcome(
        |number, outcome| {
            if outcome.acked().is_none() {
                println!("{number}: {outcome}");
            }
        },
    );
    let publisher = client.publisher(options).await?;
    for number in 0..10_000 {
        // With an id the stream stores it once, however often it is sent.
        let order = Outgoing::new("orders.eu", number.to_string()).message_id(format!("order-{number}"));
        publisher.post(order, number).await?;
    }
    println!("{:?}", publisher.settle().await);
    let latency = publisher.latency();
    println!("from publish to ack: p50 {:?}, p99.9 {:?}", latency.quantile(0.5), latency.quantile(0.999));

    // Only if the stream is as it was; and gone again after a minute.
    let late = Outgoing::new("orders.eu", "late").expected_last_sequence(7).ttl(Duration::from_secs(60));
    println!("{}", publisher.publish(late).await?.await);
    Ok(())
}
