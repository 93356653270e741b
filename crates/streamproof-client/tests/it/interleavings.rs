//! Random interleavings of all that goes wrong, on a real server: the counts are exact after each of them.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use streamproof_client::OnDisconnect;
use streamproof_server::Scratch;

use crate::bed::{client, client_at, stored, stream};
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

#[test]
fn counts_are_exact_after_any_of_them() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let choice = prop_oneof![Just(OnDisconnect::Wait), Just(OnDisconnect::Repeat), Just(OnDisconnect::Fail)];
    // The same ones each time: a failure is found again.
    let config = Config { cases: 12, max_shrink_iters: 8, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner
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
            Event::Full(full) => make_full(&direct, *full).await,
        }
    }
    let account = load.finish().await;
    account.holds_against(&stored(&direct).await);
    let most = proxy.most_in_flight();
    assert!(most <= WINDOW as i64, "{most} in flight on the wire");
}

async fn make_full(client: &streamproof_client::async_nats::Client, full: bool) {
    use streamproof_client::async_nats::jetstream::{self, stream};
    let js = jetstream::new(client.clone());
    crate::bed::until("the stream is changed", async || {
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
