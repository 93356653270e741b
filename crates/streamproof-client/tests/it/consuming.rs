//! Consuming: answers of every kind, and a graceful end.

use std::sync::Mutex;
use std::time::Duration;

use streamproof_client::async_nats::jetstream;
use streamproof_client::{
    AckOutcome, AckerOptions, ClientExt, PublisherOptions, PullOptions, WorkOptions, work,
};
use streamproof_server::Scratch;

use crate::bed::{bounded, client, consumer, stream};

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
    assert_eq!(pull.totals().unanswered, 0);
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

/// What failed is worked on again after its delay, which doubles.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_gives_back_what_failed_for_later() {
    const FIRST: Duration = Duration::from_millis(200);
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    let stream = stream(&client, jetstream::stream::Config::default()).await;
    consumer(&stream).await;
    let publisher = client.publisher(PublisherOptions::default()).await.unwrap();
    assert!(publisher.publish(("s.a", "x")).await.unwrap().await.acked().is_some());
    let pull = client.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
    let (begun, enough) = (Mutex::new(Vec::new()), tokio::sync::Notify::new());
    let options = WorkOptions { first_delay: FIRST, ..WorkOptions::default() };
    let worked = work(pull, options, enough.notified(), |delivery| {
        let nth = delivery.metadata().unwrap().num_delivered;
        begun.lock().unwrap().push(std::time::Instant::now());
        if nth == 3 {
            enough.notify_one();
        }
        async move { if nth < 3 { Err("not yet") } else { Ok(()) } }
    });
    let worked = bounded("work", worked).await.unwrap();
    assert_eq!((worked.done, worked.failed, worked.unanswered), (1, 2, 0));
    let begun = begun.into_inner().unwrap();
    assert!(begun[1] - begun[0] >= FIRST && begun[2] - begun[1] >= 2 * FIRST, "{begun:?}");
}
