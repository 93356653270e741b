//! Outcomes one by one, and the bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use streamproof_client::async_nats::connection::State;
use streamproof_client::async_nats::jetstream;
use streamproof_client::{
    ClientExt, Indeterminate, OnDisconnect, Outcome, Outgoing, PublishError, PublisherOptions,
};
use streamproof_server::Scratch;

use crate::bed::{bounded, client, client_at, options, stored, stream, until};
use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_answer_is_told_apart() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    let full = jetstream::stream::Config {
        max_messages: 2,
        discard: jetstream::stream::DiscardPolicy::New,
        ..Default::default()
    };
    let stream = stream(&client, full).await;
    let publisher = client.publisher(PublisherOptions::default()).await.unwrap();
    let publish = async |m: Outgoing| publisher.publish(m).await.unwrap().await;
    let code = |o: &Outcome| match o {
        Outcome::Rejected(r) => (r.code, r.err_code),
        other => panic!("{other}"),
    };

    let first = publish(Outgoing::new("s.a", "1").message_id("one")).await;
    assert_eq!(first.acked().map(|a| (&*a.stream, a.sequence, a.duplicate)), Some(("S", 1, false)));
    let again = publish(Outgoing::new("s.a", "1").message_id("one")).await;
    assert_eq!(again.acked().map(|a| (a.sequence, a.duplicate)), Some((1, true)));
    assert_eq!(code(&publish(Outgoing::new("s.a", "2").expected_last_sequence(7)).await), (400, 10071));
    assert_eq!(code(&publish(Outgoing::new("nobody", "2")).await).0, 503);
    assert!(publish(Outgoing::new("s.a", "2")).await.acked().is_some());
    assert_eq!(code(&publish(Outgoing::new("s.a", "3")).await), (503, 10077), "the stream is full");
    let too_large = vec![0; client.max_payload() + 1];
    assert!(matches!(publisher.publish(("s.a", too_large)).await, Err(PublishError::TooLarge { .. })));
    let bad_header = Outgoing::new("s.a", "x").header("a", "b\r\nc");
    assert!(matches!(publisher.publish(bad_header).await, Err(PublishError::InvalidHeader { .. })));
    jetstream::new(client.clone()).delete_stream("S").await.unwrap();
    assert_eq!(code(&publish(Outgoing::new("s.a", "4")).await).0, 503);
    drop(stream);

    let totals = publisher.settle().await;
    assert!(totals.balanced(), "{totals:?}");
    assert_eq!((totals.sent, totals.acked, totals.duplicates, totals.rejected), (7, 3, 1, 4));
    assert_eq!(publisher.occupied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_holds_while_the_server_stands_still() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    let _stream = stream(&client, jetstream::stream::Config::default()).await;
    let options = PublisherOptions::default().window(8).ack_timeout(Duration::from_millis(200));
    let publisher = client.publisher(options).await.unwrap();
    server.pause().unwrap();
    let mut outcomes = Vec::new();
    // What it answered in the moment before it stood still does not count.
    let publish = || tokio::time::timeout(Duration::from_millis(1_500), publisher.publish(("s.a", "x")));
    while let Ok(outcome) = publish().await {
        outcomes.push(outcome.unwrap());
    }
    let answered = outcomes.len() - 8;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.await.acked().is_some(), n < answered, "{n} of {answered}");
    }
    assert_eq!((publisher.totals().in_flight, publisher.occupied()), (0, 8), "an outcome frees no slot");
    server.resume().unwrap();
    let next = tokio::time::timeout(Duration::from_secs(30), publisher.publish(("s.a", "x"))).await.unwrap();
    assert!(next.unwrap().await.acked().is_some());
    assert!(publisher.settle().await.balanced());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_expected_is_what_the_server_looks_at() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    let mut stream = stream(&client, Default::default()).await;
    let publisher = client.publisher(PublisherOptions::default()).await.unwrap();
    let ends = async |m: Outgoing| match publisher.publish(m).await.unwrap().await {
        Outcome::Acked(ack) => Ok(ack.sequence),
        Outcome::Rejected(why) => Err(why.err_code),
        Outcome::Indeterminate(why) => panic!("{why}"),
    };
    let on = |subject: &str| Outgoing::new(subject.to_owned(), "x");
    assert_eq!(ends(on("s.a").message_id("one").expected_last_sequence(0)).await, Ok(1));
    assert_eq!(ends(on("s.b").expected_last_message_id("one")).await, Ok(2));
    assert_eq!(ends(on("s.a").expected_last_message_id("one")).await, Err(10_070));
    assert_eq!(ends(on("s.a").expected_last_subject_sequence(1)).await, Ok(3));
    assert_eq!(ends(on("s.a").expected_last_subject_sequence(1)).await, Err(10_071));
    assert_eq!(ends(on("s.a").expected_stream("S")).await, Ok(4));
    assert_eq!(ends(on("s.a").expected_stream("T")).await, Err(10_060));
    // Not while the stream does not allow it; then for a while.
    assert_eq!(ends(on("s.a").ttl(Duration::from_secs(1))).await, Err(10_166));
    let allows =
        jetstream::stream::Config { allow_message_ttl: true, ..stream.info().await.unwrap().config.clone() };
    jetstream::new(client.clone()).update_stream(allows).await.unwrap();
    assert_eq!(ends(on("s.a").ttl(Duration::from_secs(1))).await, Ok(5));
    until("dropped", async || stream.info().await.unwrap().state.messages == 4).await;
    let totals = publisher.settle().await;
    assert_eq!((totals.acked, totals.rejected, totals.sent), (5, 4, 9));
    assert_eq!(publisher.latency().count(), 9);
}

/// While it waits to be handed over, a publish can be dropped: it was never sent, and its place is there for the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_is_dropped_gives_its_place_back() {
    const WINDOW: usize = 8;
    let server = Scratch::new().unwrap();
    let direct = client(&server).await;
    stream(&direct, Default::default()).await;
    let proxy = Proxy::to(server.address()).await;
    // So that it takes in no more than one while it has no connection.
    let tight = options().client_capacity(1).connect(proxy.url()).await.unwrap();
    let publisher = tight.publisher(PublisherOptions::default().window(WINDOW)).await.unwrap();
    assert!(publisher.publish(("s.a", "x")).await.unwrap().await.acked().is_some());
    proxy.shut(true);
    until("cut off", async || tight.connection_state() != State::Connected).await;
    let (mut sent, mut dropped) = (1, 0);
    for _ in 0..5 * WINDOW {
        match tokio::time::timeout(Duration::from_millis(20), publisher.post(("s.a", "x"), 0)).await {
            Ok(posted) => sent += posted.map(|()| 1).unwrap(),
            Err(_) => dropped += 1,
        }
    }
    assert!(dropped > 2 * WINDOW && sent < WINDOW as u64, "{sent} sent, {dropped} dropped");
    assert_eq!((publisher.totals().sent, publisher.occupied() as u64), (sent, sent - 1));
    proxy.shut(false);
    for _ in 0..4 * WINDOW {
        bounded("room", publisher.post(("s.a", "x"), 0)).await.unwrap();
        sent += 1;
    }
    bounded("settle", publisher.settle()).await;
    // All of the window is there.
    server.pause().unwrap();
    for _ in 0..WINDOW {
        bounded("room for all", publisher.post(("s.a", "x"), 0)).await.unwrap();
        sent += 1;
    }
    server.resume().unwrap();
    let totals = bounded("settle", publisher.settle()).await;
    assert!(totals.balanced() && totals.sent == sent, "{totals:?}, {sent} sent");
    let unknown = stored(&direct).await.len() as u64 - totals.acked;
    assert!(unknown <= totals.indeterminate(), "{totals:?}, {unknown} stored and not acked");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_chose_to_fail_is_told_while_there_is_no_connection() {
    let server = Scratch::new().unwrap();
    let direct = client(&server).await;
    stream(&direct, Default::default()).await;
    let proxy = Proxy::to(server.address()).await;
    let app = client_at(proxy.url()).await;
    let options = PublisherOptions::default().on_disconnect(OnDisconnect::Fail);
    let publisher = app.publisher(options).await.unwrap();
    proxy.deaf(true);
    let outcome = publisher.publish(("s.a", "x")).await.unwrap();
    proxy.shut(true);
    proxy.deaf(false);
    let outcome = bounded("an outcome", outcome).await;
    assert_eq!(outcome, Outcome::Indeterminate(Indeterminate::Disconnected));
    let refused = bounded("a refusal", publisher.publish(("s.a", "x"))).await;
    assert_eq!(refused.err(), Some(PublishError::Disconnected));
    assert_eq!((publisher.totals().sent, publisher.totals().disconnected), (1, 1));
    proxy.shut(false);
    until("back", async || app.connection_state() == State::Connected).await;
    assert!(bounded("an ack", publisher.publish(("s.a", "x")).await.unwrap()).await.acked().is_some());
}

/// Where the sink takes its time, whoever settles waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn settled_means_that_the_sink_was_told() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    stream(&client, Default::default()).await;
    let told = Arc::new(AtomicU64::new(0));
    let telling = told.clone();
    let (_never, waits) = std::sync::mpsc::channel::<()>();
    let options = PublisherOptions::default().on_outcome(move |_, _| {
        _ = waits.recv_timeout(Duration::from_millis(2));
        telling.fetch_add(1, Ordering::Relaxed);
    });
    let publisher = client.publisher(options).await.unwrap();
    for n in 0..50 {
        publisher.post(("s.a", "x"), n).await.unwrap();
    }
    until("all is known", async || publisher.totals().in_flight == 0).await;
    assert_eq!((publisher.settle().await.acked, told.load(Ordering::Relaxed)), (50, 50));
}
