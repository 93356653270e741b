//! What the tests stand on: a server with a stream and a consumer, and a client that is back at once.

use std::collections::HashMap;
use std::time::Duration;

use streamproof_client::async_nats::{self, jetstream};
use streamproof_client::{ClientExt, PullOptions};
use streamproof_server::Scratch;

/// Longer than anything takes on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// Between two looks at something that is waited for.
const INTERVAL: Duration = Duration::from_millis(2);

pub(crate) async fn client(server: &Scratch) -> async_nats::Client {
    client_at(&server.url()).await
}

pub(crate) async fn client_at(url: &str) -> async_nats::Client {
    options().connect(url).await.unwrap()
}

/// Back at once after a lost connection, and never gives up.
pub(crate) fn options() -> async_nats::ConnectOptions {
    async_nats::ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(5))
}

/// The stream `S` on `s.>`.
pub(crate) async fn stream(
    client: &async_nats::Client,
    config: jetstream::stream::Config,
) -> jetstream::stream::Stream {
    let config = jetstream::stream::Config { name: "S".into(), subjects: vec!["s.>".into()], ..config };
    jetstream::new(client.clone()).create_stream(config).await.unwrap()
}

/// The pull consumer `C`.
pub(crate) async fn consumer(stream: &jetstream::stream::Stream) {
    let config = jetstream::consumer::pull::Config {
        durable_name: Some("C".into()),
        max_ack_pending: 10_000,
        ..Default::default()
    };
    stream.create_consumer(config).await.unwrap();
}

/// Looks until it is so.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + BOUND;
    while !so().await {
        assert!(tokio::time::Instant::now() < end, "not within {BOUND:?}: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}

pub(crate) async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(BOUND, future).await {
        Ok(done) => done,
        Err(_) => panic!("not within {BOUND:?}: {what}"),
    }
}

/// All that is in the stream, by sequence.
pub(crate) async fn stored(client: &async_nats::Client) -> HashMap<u64, Vec<u8>> {
    let js = jetstream::new(client.clone());
    let mut stream = js.get_stream("S").await.unwrap();
    let count = stream.info().await.unwrap().state.messages;
    let config = jetstream::consumer::pull::Config {
        name: Some("readback".into()),
        ack_policy: jetstream::consumer::AckPolicy::None,
        memory_storage: true,
        ..Default::default()
    };
    stream.create_consumer(config).await.unwrap();
    let mut pull = client.pull_consumer("S", "readback", PullOptions::default()).await.unwrap();
    let mut stored = HashMap::new();
    while (stored.len() as u64) < count {
        for delivery in bounded("read back", pull.next_many(1000)).await.unwrap() {
            stored.insert(delivery.metadata().unwrap().stream_sequence, delivery.payload().to_vec());
        }
    }
    stream.delete_consumer("readback").await.unwrap();
    stored
}
