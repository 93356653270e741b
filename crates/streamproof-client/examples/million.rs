//! A million messages published and consumed while the server is killed twenty times, and every one accounted for.
//!
//! `cargo run --release -p streamproof-client --example million [MESSAGES] [KILLS]`
//!
//! Publishes with an ack for each, under a message id, and repeats what ended as indeterminate; consumes at the same time, each
//! ack confirmed. Ends with an error if an acked message is missing, if one is there that is not acked and not among the
//! indeterminate ones, or if an outcome is missing or comes twice.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use streamproof_client::async_nats::{self, ConnectOptions, jetstream};
use streamproof_client::{
    AckOutcome, AckerOptions, ClientExt, OnDisconnect, Outcome, Outgoing, PublisherOptions, PullOptions,
    Totals,
};
use streamproof_server::Scratch;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What is known of a message.
const ACKED: u8 = 1;
const UNKNOWN: u8 = 2;
const SEEN: u8 = 4;

/// Longer than the whole run: what is repeated is known as a duplicate.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1800);

/// What a connection took with it comes again after this.
const ACK_WAIT: Duration = Duration::from_secs(2);

/// Nothing moves for so long: something is lost.
const STALL: Duration = Duration::from_secs(60);

/// Every message by its number, from 0.
struct Ledger {
    messages: Vec<AtomicU8>,
    seen: AtomicU64,
    wrong: AtomicU64,
    repeat: Mutex<Vec<u64>>,
}

/// What came out.
pub struct Came {
    /// Of the publisher.
    pub published: Totals,
    /// Of the acks.
    pub confirmed: Totals,
    /// Different messages seen by the consumer.
    pub seen: u64,
    /// Kills with something in flight.
    pub bit: u64,
}

#[expect(clippy::print_stdout, reason = "an example prints its answer")]
#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let messages: u64 = arguments.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let kills: u64 = arguments.next().map_or(Ok(20), |n| n.parse())?;
    let begun = Instant::now();
    let came = run(messages, kills).await?;
    println!(
        "{messages} messages in {:.1} s, {kills} kills, {} of them with publishes in flight",
        begun.elapsed().as_secs_f64(),
        came.bit
    );
    println!("published: {:?}", came.published);
    println!("acks:      {:?}", came.confirmed);
    println!("seen:      {}; no acked message is missing, no outcome is unaccounted for", came.seen);
    Ok(())
}

/// Publishes and consumes so many while the server is killed so often.
pub async fn run(messages: u64, kills: u64) -> Result<Came, Failed> {
    let mut server = tokio::task::spawn_blocking(Scratch::new).await??;
    let client = connect(&server).await?;
    let stream = make_stream(&client).await?;
    let ledger = Arc::new(Ledger {
        messages: (0..messages).map(|_| AtomicU8::new(0)).collect(),
        seen: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
        repeat: Mutex::default(),
    });
    let sink = ledger.clone();
    let options = PublisherOptions::default()
        .window(500)
        .on_disconnect(OnDisconnect::Wait)
        .on_outcome(move |number, outcome| sink.ended(number, &outcome));
    let publisher = client.publisher(options).await?;
    let publishing = {
        let (publisher, ledger) = (publisher.clone(), ledger.clone());
        tokio::spawn(async move {
            for number in 0..messages {
                publisher.post(message(number), number).await?;
            }
            loop {
                let totals = publisher.settle().await;
                let again =
                    std::mem::take(&mut *ledger.repeat.lock().unwrap_or_else(PoisonError::into_inner));
                if again.is_empty() {
                    return Ok::<Totals, Failed>(totals);
                }
                for number in again {
                    publisher.post(message(number), number).await?;
                }
            }
        })
    };
    let consuming = tokio::spawn(consume(connect(&server).await?, ledger.clone()));

    let mut bit = 0;
    for kill in 1..=kills {
        let goal = messages * kill / (kills + 1);
        reached(&ledger, goal).await?;
        bit += u64::from(publisher.totals().in_flight > 0);
        server = tokio::task::spawn_blocking(move || server.restart_killed().map(|()| server)).await??;
    }
    let published = publishing.await??;
    let confirmed = consuming.await??;
    let stored = stream.get_info().await?.state.messages;
    let seen = ledger.seen.load(Ordering::Relaxed);
    let acked = ledger.messages.iter().filter(|m| m.load(Ordering::Relaxed) & ACKED != 0).count() as u64;
    if !published.balanced() || published.sent != published.acked + published.indeterminate() {
        return Err(format!("the publisher's counts do not add up: {published:?}").into());
    }
    if !confirmed.balanced() || confirmed.in_flight != 0 {
        return Err(format!("the acks' counts do not add up: {confirmed:?}").into());
    }
    if (acked, stored, seen, ledger.wrong.load(Ordering::Relaxed)) != (messages, messages, messages, 0) {
        return Err(format!("of {messages} messages {acked} are acked, {stored} stored, {seen} seen").into());
    }
    Ok(Came { published, confirmed, seen, bit })
}

impl Ledger {
    fn ended(&self, number: u64, outcome: &Outcome) {
        let message = &self.messages[number as usize];
        match outcome {
            Outcome::Acked(_) if message.fetch_or(ACKED, Ordering::Relaxed) & ACKED == 0 => {}
            Outcome::Indeterminate(_) if message.fetch_or(UNKNOWN, Ordering::Relaxed) & ACKED == 0 => {
                self.repeat.lock().unwrap_or_else(PoisonError::into_inner).push(number);
            }
            // Acked twice, an outcome after the ack, or a refusal: none of them may be.
            _ => _ = self.wrong.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn see(&self, body: &[u8]) {
        let number = body.first_chunk().map(|n| u64::from_le_bytes(*n));
        match number.and_then(|n| self.messages.get(n as usize)) {
            Some(message) if message.fetch_or(SEEN, Ordering::Relaxed) & SEEN == 0 => {
                self.seen.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) => {}
            None => _ = self.wrong.fetch_add(1, Ordering::Relaxed),
        }
    }
}

fn message(number: u64) -> Outgoing {
    let mut body = vec![b'x'; 128];
    body[..8].copy_from_slice(&number.to_le_bytes());
    Outgoing::new("million", body).message_id(number.to_string())
}

async fn connect(server: &Scratch) -> Result<async_nats::Client, Failed> {
    let options = ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(10));
    Ok(options.connect(server.url()).await?)
}

async fn make_stream(client: &async_nats::Client) -> Result<jetstream::stream::Stream, Failed> {
    let config = jetstream::stream::Config {
        name: "MILLION".into(),
        subjects: vec!["million".into()],
        duplicate_window: DUPLICATE_WINDOW,
        ..Default::default()
    };
    let stream = jetstream::new(client.clone()).create_stream(config).await?;
    let consumer = jetstream::consumer::pull::Config {
        durable_name: Some("all".into()),
        ack_wait: ACK_WAIT,
        max_ack_pending: 10_000,
        ..Default::default()
    };
    stream.create_consumer(consumer).await?;
    Ok(stream)
}

/// Until every message was seen; each ack is confirmed, or ends as indeterminate and its message comes again.
async fn consume(client: async_nats::Client, ledger: Arc<Ledger>) -> Result<Totals, Failed> {
    let refused = Arc::new(AtomicU64::new(0));
    let sink = refused.clone();
    let options = AckerOptions::default().on_outcome(move |_, outcome| {
        if matches!(outcome, AckOutcome::Rejected(_)) {
            sink.fetch_add(1, Ordering::Relaxed);
        }
    });
    let acker = client.acker(options).await?;
    let mut pull = client.pull_consumer("MILLION", "all", PullOptions::default()).await?;
    while ledger.seen.load(Ordering::Relaxed) < ledger.messages.len() as u64 {
        let got =
            tokio::time::timeout(STALL, pull.next_many(256)).await.map_err(|_| "nothing is delivered")?;
        for delivery in got? {
            ledger.see(delivery.payload());
            acker.post(delivery, 0).await?;
        }
    }
    let totals = acker.settle().await;
    pull.drain().await?;
    match refused.load(Ordering::Relaxed) {
        0 => Ok(totals),
        n => Err(format!("{n} acks were refused").into()),
    }
}

async fn reached(ledger: &Ledger, goal: u64) -> Result<(), Failed> {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let seen = ledger.seen.load(Ordering::Relaxed);
        if seen >= goal {
            return Ok(());
        }
        if seen != last {
            (last, since) = (seen, Instant::now());
        } else if since.elapsed() > STALL {
            return Err(format!("nothing moves: {seen} seen of {goal}").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
