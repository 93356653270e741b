//! Consuming: pull and push, every kind of answer, acks that the server confirms, one ack for many, and a graceful end.
//!
//! `cargo run -p streamproof-client --example consume`

#![expect(clippy::print_stdout, reason = "an example prints its answer")]

use std::time::Duration;

use streamproof_client::async_nats::{self, Client, jetstream};
use streamproof_client::{AckerOptions, ClientExt, PublisherOptions, PullOptions};
use streamproof_server::Scratch;

const MESSAGES: u64 = 1_000;

type Failed = Box<dyn std::error::Error>;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Failed> {
    let server = Scratch::new()?;
    let client = async_nats::connect(server.url()).await?;
    prepare(&client).await?;
    explicit(&client).await?;
    confirmed(&client).await?;
    one_for_many(&client).await?;
    push(&client).await
}

/// An answer for each message.
async fn explicit(client: &Client) -> Result<(), Failed> {
    let mut consumer = client.pull_consumer("ORDERS", "explicit", PullOptions::default().batch(100)).await?;
    for number in 0..MESSAGES {
        let delivery = consumer.next().await?;
        match number {
            0 => delivery.nak(Some(Duration::from_secs(5))).await?,
            1 => delivery.term(Some("not an order")).await?,
            2 => {
                // It takes longer: `ack_wait` starts anew.
                delivery.in_progress().await?;
                delivery.ack().await?;
            }
            // Without an answer: given back, and delivered again at once.
            3 => drop(delivery),
            _ => delivery.ack().await?,
        }
    }
    println!("explicit: {:?}", consumer.totals());
    // What the server has sent already is given back, what is handed out is waited for.
    consumer.drain().await?;
    Ok(())
}

/// Acks that the server confirms, many at once.
async fn confirmed(client: &Client) -> Result<(), Failed> {
    let acker = client.acker(AckerOptions::default().window(200)).await?;
    let mut consumer = client.pull_consumer("ORDERS", "confirmed", PullOptions::default()).await?;
    for _ in 0..MESSAGES {
        acker.post(consumer.next().await?, 0).await?;
    }
    println!("confirmed: {} acks", acker.settle().await.acked);
    consumer.drain().await?;
    Ok(())
}

/// One ack for all before it.
async fn one_for_many(client: &Client) -> Result<(), Failed> {
    let mut consumer = client.pull_consumer("ORDERS", "one-for-many", PullOptions::default()).await?;
    let mut taken = 0;
    while taken < MESSAGES {
        let mut got = consumer.next_many(100).await?;
        taken += got.len() as u64;
        if let Some(last) = got.pop() {
            last.ack().await?;
        }
    }
    println!("one ack for many: {:?}", consumer.totals());
    consumer.drain().await?;
    Ok(())
}

/// The server sends to a subject, and this listens there.
async fn push(client: &Client) -> Result<(), Failed> {
    let mut consumer = client.push_consumer("ORDERS", "push").await?;
    for _ in 0..MESSAGES {
        consumer.next().await?.ack().await?;
    }
    println!("push: {:?}", consumer.totals());
    consumer.drain().await?;
    Ok(())
}

async fn prepare(client: &Client) -> Result<(), Failed> {
    use jetstream::consumer::{AckPolicy, pull, push};
    let js = jetstream::new(client.clone());
    let config = jetstream::stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["orders".into()],
        ..Default::default()
    };
    let stream = js.create_stream(config).await?;
    for (name, ack_policy) in [
        ("explicit", AckPolicy::Explicit),
        ("confirmed", AckPolicy::Explicit),
        ("one-for-many", AckPolicy::All),
    ] {
        let config = pull::Config { durable_name: Some(name.into()), ack_policy, ..Default::default() };
        stream.create_consumer(config).await?;
    }
    let config = push::Config {
        durable_name: Some("push".into()),
        deliver_subject: "orders.push".into(),
        ..Default::default()
    };
    stream.create_consumer(config).await?;
    let publisher = client.publisher(PublisherOptions::default()).await?;
    for number in 0..MESSAGES {
        publisher.post(("orders", number.to_string()), number).await?;
    }
    publisher.settle().await;
    Ok(())
}
