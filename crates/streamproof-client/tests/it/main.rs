//! The client against real servers.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streamproof_client::async_nats::{self, jetstream};
use streamproof_client::{
    AckOutcome, AckerOptions, AddError, BatchFailure, ClientExt, FastBatch, FastBatchOptions, OnDisconnect,
    Outcome, Outgoing, PublishError, PublisherOptions, PullOptions, WorkOptions, work,
};
use streamproof_server::Scratch;

async fn client(server: &Scratch) -> async_nats::Client {
    let options = async_nats::ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(5));
    options.connect(server.url()).await.unwrap()
}

async fn stream(client: &async_nats::Client, config: jetstream::stream::Config) -> jetstream::stream::Stream {
    let config = jetstream::stream::Config { name: "S".into(), subjects: vec!["s.>".into()], ..config };
    jetstream::new(client.clone()).create_stream(config).await.unwrap()
}

async fn consumer(stream: &jetstream::stream::Stream) {
    let config = jetstream::consumer::pull::Config {
        durable_name: Some("C".into()),
        max_ack_pending: 10_000,
        ..Default::default()
    };
    stream.create_consumer(config).await.unwrap();
}

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

/// Publishes while the server is killed; each acked sequence must hold the body that was acked.
async fn rounds_of_kills(choice: OnDisconnect, rounds: u32) {
    let mut server = Scratch::new().unwrap();
    let client = client(&server).await;
    let mut stream = stream(&client, jetstream::stream::Config::default()).await;
    consumer(&stream).await;
    let seen: Arc<Mutex<HashMap<u64, Vec<Outcome>>>> = Arc::default();
    let sink = seen.clone();
    let options = PublisherOptions::default()
        .window(256)
        .on_disconnect(choice)
        .on_outcome(move |tag, outcome| sink.lock().unwrap().entry(tag).or_default().push(outcome));
    let publisher = client.publisher(options).await.unwrap();
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let sender = publisher.clone();
    let sending = tokio::spawn(async move {
        let mut tag = 0u64;
        while !*stopped.borrow_and_update() {
            let message = Outgoing::new("s.a", tag.to_string()).message_id(tag.to_string());
            match sender.post(message, tag).await {
                Ok(()) => tag += 1,
                Err(PublishError::Disconnected) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
            assert!(sender.occupied() <= 256);
        }
        tag
    });
    for _ in 0..rounds {
        let goal = publisher.totals().acked + 500;
        let bound = tokio::time::Instant::now() + Duration::from_secs(30);
        while publisher.totals().acked < goal {
            assert!(tokio::time::Instant::now() < bound, "no progress: {:?}", publisher.totals());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::task::block_in_place(|| server.restart_killed()).unwrap();
    }
    stop.send(true).unwrap();
    let sent = sending.await.unwrap();
    let totals = tokio::time::timeout(Duration::from_secs(30), publisher.settle()).await.unwrap();
    assert!(totals.balanced(), "{totals:?}");
    assert_eq!(totals.sent, sent, "{totals:?}");

    let outcomes = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(outcomes.len() as u64, sent, "an outcome for each");
    assert!(outcomes.values().all(|o| o.len() == 1), "one outcome for each");
    let stored = stream.info().await.unwrap().state.messages;
    let mut pull = client.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
    let mut bodies = HashMap::new();
    while (bodies.len() as u64) < stored {
        let delivery = tokio::time::timeout(Duration::from_secs(20), pull.next()).await.unwrap().unwrap();
        bodies.insert(delivery.metadata().unwrap().stream_sequence, delivery.payload().clone());
        delivery.ack().await.unwrap();
    }
    pull.drain().await.unwrap();
    for (tag, outcome) in &outcomes {
        if let Some(ack) = outcome[0].acked() {
            assert_eq!(bodies.get(&ack.sequence).map(|b| &b[..]), Some(tag.to_string().as_bytes()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_exact_when_killed_and_waiting() {
    rounds_of_kills(OnDisconnect::Wait, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_exact_when_killed_and_failing() {
    rounds_of_kills(OnDisconnect::Fail, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_exact_when_killed_and_repeating() {
    rounds_of_kills(OnDisconnect::Repeat, 4).await;
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
    for _ in 0..8 {
        outcomes.push(publisher.publish(("s.a", "x")).await.unwrap());
    }
    for outcome in outcomes {
        assert!(matches!(outcome.await, Outcome::Indeterminate(_)));
    }
    assert_eq!((publisher.totals().in_flight, publisher.occupied()), (0, 8), "an outcome frees no slot");
    let ninth = tokio::time::timeout(Duration::from_millis(600), publisher.publish(("s.a", "x"))).await;
    assert!(ninth.is_err(), "a ninth was sent to a server that has answered none");
    server.resume().unwrap();
    let ninth = tokio::time::timeout(Duration::from_secs(10), publisher.publish(("s.a", "x"))).await.unwrap();
    assert!(ninth.unwrap().await.acked().is_some());
    assert!(publisher.settle().await.balanced());
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_are_confirmed_and_what_is_dropped_comes_again() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    let mut stream = stream(&client, jetstream::stream::Config::default()).await;
    consumer(&stream).await;
    let publisher = client.publisher(PublisherOptions::default()).await.unwrap();
    for tag in 0..500u64 {
        publisher.post(("s.a", tag.to_string()), tag).await.unwrap();
    }
    assert_eq!(publisher.settle().await.acked, 500);
    let acker = client.acker(AckerOptions::default().window(64)).await.unwrap();
    let mut pull = client.pull_consumer("S", "C", PullOptions::default().batch(100)).await.unwrap();

    drop(pull.next().await.unwrap());
    let mut firsts = 0;
    let mut again = 0;
    while firsts + again < 500 {
        let delivery = tokio::time::timeout(Duration::from_secs(10), pull.next()).await.unwrap().unwrap();
        match delivery.metadata().unwrap().num_delivered {
            1 => firsts += 1,
            _ => again += 1,
        }
        acker.post(delivery, 0).await.unwrap();
    }
    assert_eq!((firsts, again), (499, 1));
    assert_eq!(acker.settle().await.acked, 500);
    assert_eq!(pull.unanswered(), 0);
    let ack_floor = stream.consumer_info("C").await.unwrap().ack_floor.stream_sequence;
    assert_eq!(ack_floor, 500);

    publisher.publish(("s.a", "last")).await.unwrap().await;
    let delivery = pull.next().await.unwrap();
    stream.delete_consumer("C").await.unwrap();
    assert!(!matches!(acker.ack(delivery).await.unwrap().await, AckOutcome::Confirmed));
    let ended = tokio::time::timeout(Duration::from_secs(10), pull.next()).await.unwrap();
    assert!(ended.is_err(), "a deleted consumer ends it");
    let _ = stream.info().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_leaves_nothing_unanswered() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    let stream = stream(&client, jetstream::stream::Config::default()).await;
    consumer(&stream).await;
    let publisher = client.publisher(PublisherOptions::default()).await.unwrap();
    for tag in 0..300 {
        publisher.post(("s.a", "x"), tag).await.unwrap();
    }
    publisher.settle().await;
    let pull = client.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
    let (done, enough) = tokio::sync::oneshot::channel::<()>();
    let done = Mutex::new(Some(done));
    let count = std::sync::atomic::AtomicU64::new(0);
    let until = async { drop(enough.await) };
    let worked = work(pull, WorkOptions::default(), until, |_| {
        if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 100 {
            drop(done.lock().unwrap().take());
        }
        async { Ok::<(), std::io::Error>(()) }
    });
    let worked = tokio::time::timeout(Duration::from_secs(20), worked).await.unwrap().unwrap();
    assert_eq!((worked.failed, worked.unanswered), (0, 0), "{worked:?}");
    let mut pull = client.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
    // What was given back comes again at once, long before ack_wait of 30 s.
    for _ in worked.done..300 {
        tokio::time::timeout(Duration::from_secs(10), pull.next())
            .await
            .unwrap()
            .unwrap()
            .ack()
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_batch_accounts_for_every_message() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    let config = jetstream::stream::Config { allow_batch_publish: true, ..Default::default() };
    let mut stream = stream(&client, config).await;
    let mut batch = FastBatch::begin(client.clone(), FastBatchOptions::default()).await.unwrap();
    for n in 0..5_000 {
        batch.add(("s.a", n.to_string())).await.unwrap();
    }
    let report = batch.commit().await;
    assert_eq!((report.sent, report.stored, report.failure), (5_000, 5_000, None));
    assert_eq!((report.last_sequence, stream.info().await.unwrap().state.messages), (Some(5_000), 5_000));

    let mut batch = FastBatch::begin(client.clone(), FastBatchOptions::default()).await.unwrap();
    let mut refused = None;
    for n in 1..=2_000u64 {
        let mut message = Outgoing::new("s.a", n.to_string());
        if n == 700 {
            message = message.expected_last_sequence(1);
        }
        if let Err(error) = batch.add(message).await {
            refused = Some(error);
            break;
        }
    }
    let report = batch.commit().await;
    assert!(matches!(report.failure, Some(BatchFailure::Rejected(_))), "{report:?}");
    assert!(matches!(refused, None | Some(AddError::Ended(_))));
    assert_eq!(report.stored, 699, "{report:?}");
    assert_eq!(report.stored + report.rejected + report.indeterminate, report.sent);
    assert_eq!(stream.info().await.unwrap().state.messages, 5_699);
}
