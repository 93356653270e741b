//! Random interleavings of all that goes wrong, on a real server: the counts are exact after each of them.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use streamproof_client::async_nats::{Client, jetstream};
use streamproof_client::{AddError, BatchReport, FastBatch, FastBatchOptions, OnDisconnect};
use streamproof_server::Scratch;
use tokio::sync::watch;

use crate::bed::{bounded, client, client_at, stored, stream, until};
use crate::ledger::{Load, WINDOW};
use crate::proxy::Proxy;

#[derive(Debug, Clone)]
enum Event {
    /// So many end first, in whatever way.
    After(u64),
    Kill,
    Stop,
    Cut,
    /// Longer than the ack timeout, or shorter.
    StandStill {
        milliseconds: u64,
    },
    /// The client does not get what the server sends.
    Deaf {
        milliseconds: u64,
    },
    /// The stream gets room for no more, or for as much as it likes.
    Full(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..1_500u64).prop_map(Event::After),
        2 => Just(Event::Kill),
        1 => Just(Event::Stop),
        3 => Just(Event::Cut),
        1 => (10..600u64).prop_map(|milliseconds| Event::StandStill { milliseconds }),
        1 => (10..600u64).prop_map(|milliseconds| Event::Deaf { milliseconds }),
        2 => any::<bool>().prop_map(Event::Full),
    ]
}

const ACK_TIMEOUT: Duration = Duration::from_millis(250);

/// The same ones each time: a failure is found again.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, max_shrink_iters: 8, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn counts_are_exact_after_any_of_them() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let choice = prop_oneof![Just(OnDisconnect::Wait), Just(OnDisconnect::Repeat), Just(OnDisconnect::Fail)];
    runner(12)
        .run(&(choice, prop::collection::vec(event(), 4..12)), |(choice, events)| {
            runtime.block_on(happen(choice, &events));
            Ok(())
        })
        .unwrap();
}

async fn happen(choice: OnDisconnect, events: &[Event]) {
    let mut server = Scratch::new().unwrap();
    let direct = client(&server).await;
    stream(&direct, Default::default()).await;
    let proxy = Proxy::to(server.address()).await;
    proxy.watch("s.a");
    let load = Load::start(&client_at(proxy.url()).await, choice, ACK_TIMEOUT).await;
    for event in events {
        match event {
            Event::After(count) => load.ended(*count).await,
            other => go_wrong(other, &mut server, &direct, &proxy).await,
        }
    }
    let account = load.finish().await;
    account.holds_against(&stored(&direct).await);
    let most = proxy.most_in_flight();
    assert!(most <= WINDOW as i64, "{most} in flight on the wire");
}

async fn go_wrong(event: &Event, server: &mut Scratch, direct: &Client, proxy: &Proxy) {
    // Where there is a time, the fault is its length.
    match event {
        Event::After(_) => {}
        Event::Kill => tokio::task::block_in_place(|| server.restart_killed()).unwrap(),
        Event::Stop => tokio::task::block_in_place(|| server.restart()).unwrap(),
        Event::Cut => proxy.cut(),
        Event::StandStill { milliseconds } => {
            server.pause().unwrap();
            tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
            server.resume().unwrap();
        }
        Event::Deaf { milliseconds } => {
            proxy.deaf(true);
            tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
            proxy.deaf(false);
        }
        Event::Full(full) => make_full(direct, *full).await,
    }
}

async fn make_full(client: &Client, full: bool) {
    use streamproof_client::async_nats::jetstream::stream;
    let js = jetstream::new(client.clone());
    until("the stream is changed", async || {
        let Ok(found) = js.get_stream("S").await else { return false };
        let config = stream::Config {
            max_messages: if full { (found.cached_info().state.messages as i64 + 50).max(1) } else { -1 },
            discard: stream::DiscardPolicy::New,
            ..found.cached_info().config.clone()
        };
        js.update_stream(config).await.is_ok()
    })
    .await;
}

/// Fast batches one after another, each with its number and each message with its place in the body.
#[test]
fn batches_are_exact_after_any_of_them() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runner(8)
        .run(&prop::collection::vec(event(), 4..10), |events| {
            runtime.block_on(happen_to_batches(&events));
            Ok(())
        })
        .unwrap();
}

async fn happen_to_batches(events: &[Event]) {
    let mut server = Scratch::new().unwrap();
    let direct = client(&server).await;
    stream(&direct, jetstream::stream::Config { allow_batch_publish: true, ..Default::default() }).await;
    let proxy = Proxy::to(server.address()).await;
    let (added, mut adding) = watch::channel(0u64);
    let (stop, stopped) = watch::channel(false);
    let batching = tokio::spawn(batches(client_at(proxy.url()).await, added, stopped));
    for event in events {
        match event {
            Event::After(count) => {
                let goal = *adding.borrow() + count;
                bounded("added", adding.wait_for(|added| *added >= goal)).await.unwrap();
            }
            other => go_wrong(other, &mut server, &direct, &proxy).await,
        }
    }
    stop.send(true).unwrap();
    let reports = bounded("the batches", batching).await.unwrap();
    let mut found = std::collections::HashSet::new();
    for body in stored(&direct).await.into_values() {
        let body = String::from_utf8(body).unwrap();
        let (batch, place) = body.split_once(':').unwrap();
        let at: (usize, u64) = (batch.parse().unwrap(), place.parse().unwrap());
        assert!(found.insert(at), "{body} is stored twice");
    }
    for (number, report) in reports.iter().enumerate() {
        assert_eq!(report.stored + report.rejected + report.indeterminate, report.sent, "{report:?}");
        for place in 0..report.sent {
            let there = found.remove(&(number, place));
            let must_be = place < report.stored;
            let may_be = place < report.sent - report.rejected;
            assert!(there || !must_be, "{place} of {report:?} is missing");
            assert!(!there || may_be, "{place} of {report:?} is stored");
        }
    }
    assert!(found.is_empty(), "stored, and never sent: {found:?}");
}

/// What each came to.
async fn batches(
    client: Client,
    added: watch::Sender<u64>,
    stopped: watch::Receiver<bool>,
) -> Vec<BatchReport> {
    let mut reports = Vec::new();
    while !*stopped.borrow() {
        let options = FastBatchOptions::default().flow(50).timeout(ACK_TIMEOUT);
        let mut batch = FastBatch::begin(client.clone(), options).await.unwrap();
        let mut sent = 0;
        while sent < 3_000 && !*stopped.borrow() {
            match batch.add(("s.a", format!("{}:{sent}", reports.len()))).await {
                Ok(()) => sent += 1,
                Err(AddError::Ended(_)) => break,
                Err(other) => panic!("{other}"),
            }
            added.send_modify(|added| *added += 1);
        }
        let report = batch.commit().await;
        assert_eq!(report.sent, sent, "{report:?}");
        // A full stream, or no server: the next one may come through, and it need not be tried without end.
        if report.failure.is_some() {
            added.send_modify(|added| *added += 20);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        reports.push(report);
    }
    reports
}
