//! The connection is gone for good, or the one who hears of the outcomes is: everything ends, and nothing is without an outcome.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use streamproof_client::async_nats::connection::State;
use streamproof_client::async_nats::{Client, jetstream};
use streamproof_client::{
    AckOutcome, AckerOptions, AddError, BatchFailure, ClientExt, ConsumeError, FastBatch, FastBatchOptions,
    Indeterminate, Outcome, PublishError, PublisherOptions, PullOptions, WorkOptions, work,
};
use streamproof_server::Scratch;

use crate::bed::{bounded, client, client_at, consumer, options, stream, until};
use crate::proxy::Proxy;

const WINDOW: usize = 8;

#[derive(Debug, Clone, Copy)]
enum Way {
    /// The server is killed, and the client gives up.
    GivesUp,
    /// The client is drained.
    Drained,
}

/// A stream `S` with three consumers, and a client that gives up soon.
async fn prepared(server: &Scratch) -> Client {
    let config = jetstream::stream::Config { allow_batch_publish: true, ..Default::default() };
    let stream = stream(&client(server).await, config).await;
    consumer(&stream).await;
    for name in ["W", "D"] {
        let config =
            jetstream::consumer::pull::Config { durable_name: Some(name.into()), ..Default::default() };
        stream.create_consumer(config).await.unwrap();
    }
    let push = jetstream::consumer::push::Config {
        durable_name: Some("P".into()),
        deliver_subject: "push".into(),
        ..Default::default()
    };
    stream.create_consumer(push).await.unwrap();
    options().max_reconnects(3).connect(server.url()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_ends_when_the_connection_does() {
    for way in [Way::GivesUp, Way::Drained] {
        let mut server = Scratch::new().unwrap();
        let app = prepared(&server).await;
        let publisher = app.publisher(PublisherOptions::default().window(WINDOW)).await.unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        let tells =
            PublisherOptions::default().on_outcome(move |tag, outcome| told.send((tag, outcome)).unwrap());
        let telling = app.publisher(tells).await.unwrap();
        let acker = app.acker(AckerOptions::default().window(WINDOW)).await.unwrap();
        let mut batch = FastBatch::begin(app.clone(), FastBatchOptions::default()).await.unwrap();
        for n in 0..20 {
            batch.add(("s.a", n.to_string())).await.unwrap();
        }
        let pull_options = || PullOptions::default().batch(5);
        let mut pull = app.pull_consumer("S", "C", pull_options()).await.unwrap();
        let idle = app.pull_consumer("S", "D", pull_options()).await.unwrap();
        let mut push = app.push_consumer("S", "P").await.unwrap();
        let held = bounded("one", pull.next()).await.unwrap();
        let double = bounded("another", pull.next()).await.unwrap();
        let pushed = bounded("one pushed", push.next()).await.unwrap();
        let busy = AtomicBool::new(false);
        let worker = app.pull_consumer("S", "W", pull_options()).await.unwrap();
        let working = work(worker, WorkOptions::default(), std::future::pending(), |_| {
            busy.store(true, Ordering::Relaxed);
            async { Ok::<(), std::io::Error>(()) }
        });
        let ending = async {
            until("the worker works", async || busy.load(Ordering::Relaxed)).await;
            // A drain waits for whatever the server says next.
            if matches!(way, Way::GivesUp) {
                server.pause().unwrap();
            }
            let mut outcomes = Vec::new();
            for _ in 0..WINDOW {
                outcomes.push(publisher.publish(("s.a", "x")).await.unwrap());
            }
            telling.post(("s.a", "x"), 17).await.unwrap();
            let confirmation = acker.ack(double).await.unwrap();
            match way {
                Way::GivesUp => _ = server.kill().unwrap(),
                Way::Drained => app.drain().await.unwrap(),
            }
            for outcome in outcomes {
                let outcome = bounded("an outcome", outcome).await;
                let closed = outcome == Outcome::Indeterminate(Indeterminate::Closed);
                assert!(closed || outcome.acked().is_some(), "{way:?}: {outcome}");
            }
            let confirmation = bounded("a confirmation", confirmation).await;
            let closed = confirmation == AckOutcome::Indeterminate(Indeterminate::Closed);
            assert!(closed || confirmation == AckOutcome::Confirmed, "{confirmation:?}");
        };
        let (worked, ()) = bounded("the end of the work", async { tokio::join!(working, ending) }).await;
        assert!(worked.is_err(), "{worked:?}");

        let refused = bounded("publish", publisher.publish(("s.a", "x"))).await;
        assert_eq!(refused.err(), Some(PublishError::Closed), "{way:?}");
        let settled = async { [publisher.settle().await, acker.settle().await] };
        bounded("settle", telling.settle()).await;
        let told: Vec<_> = heard.try_iter().collect();
        assert!(told.len() == 1 && told[0].0 == 17, "{told:?}");
        for totals in bounded("settle", settled).await {
            assert!(totals.balanced() && totals.in_flight == 0, "{totals:?}");
            assert_eq!(totals.otherwise_unknown + totals.acked, totals.sent, "{totals:?}");
        }
        assert_eq!(bounded("ack", held.ack()).await, Err(PublishError::Closed));
        assert!(matches!(
            bounded("add", batch.add(("s.a", "x"))).await,
            Err(AddError::NotSent(PublishError::Closed) | AddError::Ended(_))
        ));
        let report = bounded("commit", batch.commit()).await;
        assert!(matches!(report.failure, Some(BatchFailure::Indeterminate(_))), "{report:?}");
        assert_eq!((report.sent, report.rejected), (20, 0), "{report:?}");
        drop(pushed);
        // What came before the end is still handed out.
        let ended = async {
            loop {
                if let Err(error) = pull.next().await {
                    break error;
                }
            }
        };
        assert_eq!(bounded("next", ended).await, ConsumeError::Closed);
        let ended = async {
            loop {
                if let Err(error) = push.next().await {
                    break error;
                }
            }
        };
        assert_eq!(bounded("next pushed", ended).await, ConsumeError::Closed);
        assert_eq!(pull.totals().unanswered, pull.totals().delivered - 1, "{:?}", pull.totals());
        assert_eq!(bounded("drain", pull.drain()).await, Err(PublishError::Closed));
        assert_eq!(bounded("drain of push", push.drain()).await, Err(PublishError::Closed));
        assert_eq!(bounded("drain of an idle one", idle.drain()).await, Err(PublishError::Closed));
        server.kill().unwrap();
    }
}

/// The sink is the caller's own code: where it panics, nobody is left waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_panics_leaves_nobody_waiting() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    stream(&client, Default::default()).await;
    let options = PublisherOptions::default().window(WINDOW).on_outcome(|_, _| panic!("the sink's own"));
    let publisher = client.publisher(options).await.unwrap();
    let refused = async {
        loop {
            if let Err(error) = publisher.post(("s.a", "x"), 0).await {
                break error;
            }
        }
    };
    assert_eq!(bounded("an end", refused).await, PublishError::Closed);
    let totals = bounded("settle", publisher.settle()).await;
    assert!(totals.balanced() && totals.in_flight == 0, "{totals:?}");
}

/// No time is too long to be asked for.
#[tokio::test(flavor = "multi_thread")]
async fn forever_is_a_time_like_any_other() {
    const FOREVER: Duration = Duration::MAX;
    let server = Scratch::new().unwrap();
    let app = prepared(&server).await;
    let publisher = app.publisher(PublisherOptions::default().ack_timeout(FOREVER)).await.unwrap();
    server.pause().unwrap();
    let outcome = publisher.publish(("s.a", "x")).await.unwrap();
    // So that the clock is looked at.
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.resume().unwrap();
    assert!(bounded("an outcome", outcome).await.acked().is_some());
    let options = PullOptions::default().heartbeat(FOREVER).expires(FOREVER);
    let mut pull = app.pull_consumer("S", "C", options).await.unwrap();
    let got = bounded("fetch", pull.fetch(1, FOREVER)).await.unwrap();
    assert_eq!(got.len(), 1);
    for delivery in got {
        delivery.nak(Some(FOREVER)).await.unwrap();
    }
    publisher.publish(("s.a", "y")).await.unwrap().await;
    let next = bounded("next", pull.next()).await.unwrap();
    assert_eq!(&next.payload()[..], b"y", "what is to come again never came at once");
    drop(next);
    let options = WorkOptions { concurrency: usize::MAX, first_delay: FOREVER, longest_delay: FOREVER };
    let (done, enough) = tokio::sync::oneshot::channel();
    let done = std::sync::Mutex::new(Some(done));
    let until = async { drop(enough.await) };
    let working = work(pull, options, until, |_| {
        if let Some(done) = done.lock().unwrap().take() {
            done.send(()).unwrap();
        }
        async { Ok::<(), std::io::Error>(()) }
    });
    assert_eq!(bounded("work", working).await.unwrap().done, 1);
}

/// Nothing more comes for what was on the old connection, and nothing is sent that could be refused on the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_batch_ends_with_its_connection_and_not_by_its_time() {
    let server = Scratch::new().unwrap();
    drop(prepared(&server).await);
    let proxy = Proxy::to(server.address()).await;
    let app = client_at(proxy.url()).await;
    let options = FastBatchOptions::default().flow(10).timeout(Duration::from_secs(3600));
    let mut batch = FastBatch::begin(app.clone(), options).await.unwrap();
    batch.add(("s.a", "x")).await.unwrap();
    proxy.deaf(true);
    // Dropped while it waits for room, it is not sent.
    while let Ok(added) = tokio::time::timeout(Duration::from_millis(500), batch.add(("s.a", "x"))).await {
        added.unwrap();
    }
    let sent = batch.sent();
    assert!(sent <= 21, "{sent} sent");
    proxy.shut(true);
    until("cut off", async || app.connection_state() != State::Connected).await;
    proxy.deaf(false);
    proxy.shut(false);
    let ended = bounded("add", batch.add(("s.a", "x"))).await;
    let disconnected = BatchFailure::Indeterminate(Indeterminate::Disconnected);
    assert_eq!(ended, Err(AddError::Ended(disconnected)));
    let report = bounded("commit", batch.commit()).await;
    assert_eq!((report.sent, report.rejected), (sent, 0), "{report:?}");
}

/// Nothing runs on, and nobody listens, for what was dropped: not even where it was dropped at work.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_leaves_no_task_behind() {
    let server = Scratch::new().unwrap();
    let app = prepared(&server).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    // Those of the one who prepared it end a moment later.
    let (mut before, mut looks) = (tasks(), 0);
    until("the same for a while", async || {
        looks = if tasks() == before { looks + 1 } else { 0 };
        before = tasks();
        looks == 100
    })
    .await;
    let publisher = app.publisher(PublisherOptions::default()).await.unwrap();
    let acker = app.acker(AckerOptions::default()).await.unwrap();
    let mut batch = FastBatch::begin(app.clone(), FastBatchOptions::default()).await.unwrap();
    for _ in 0..20 {
        batch.add(("s.a", "x")).await.unwrap();
    }
    let mut pull = app.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
    let mut push = app.push_consumer("S", "P").await.unwrap();
    drop(bounded("one pushed", push.next()).await.unwrap());
    drop(acker.ack(bounded("one", pull.next()).await.unwrap()).await.unwrap());
    let busy = tokio::sync::Notify::new();
    let worker = app.pull_consumer("S", "W", PullOptions::default()).await.unwrap();
    let working = work(worker, WorkOptions::default(), std::future::pending(), |_| {
        busy.notify_one();
        std::future::pending::<Result<(), std::io::Error>>()
    });
    tokio::select! {
        ended = working => panic!("{ended:?}"),
        () = bounded("at work", busy.notified()) => {}
    }
    // While something is in flight it is still heard of; here it is not waited for.
    server.pause().unwrap();
    let outcome = publisher.publish(("s.a", "x")).await.unwrap();
    drop((publisher, acker, batch, pull, push));
    server.resume().unwrap();
    assert!(bounded("an outcome", outcome).await.acked().is_some());
    until("no task is left", async || tasks() <= before).await;
}
