//! Each answer means what it says, what is asked for stays within its bounds, and what needs no answer is counted too.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use streamproof_client::async_nats::Client;
use streamproof_client::async_nats::connection::State;
use streamproof_client::async_nats::jetstream::{self, consumer::AckPolicy, consumer::push, stream::Stream};
use streamproof_client::{
    AckerOptions, ClientExt, ConsumeError, Delivery, OnDisconnect, PublisherOptions, PullConsumer,
    PullOptions,
};
use streamproof_server::Scratch;

use crate::bed::{bounded, client, client_at, options, stream, until};
use crate::proxy::Proxy;

/// What is left to this never comes.
const NEVER: Duration = Duration::from_secs(3600);

/// A stream with so many messages, numbered from 1.
async fn filled(server: &Scratch, messages: u64, size: usize) -> Stream {
    let client = client(server).await;
    let stream = stream(&client, Default::default()).await;
    let publisher = client.publisher(PublisherOptions::default()).await.unwrap();
    for n in 1..=messages {
        publisher.post(("s.a", format!("{n:>size$}")), n).await.unwrap();
    }
    assert_eq!(publisher.settle().await.acked, messages);
    stream
}

/// The consumer `C` for pulling.
async fn pulled(stream: &Stream, ack_policy: AckPolicy, ack_wait: Duration) {
    let config = jetstream::consumer::pull::Config {
        durable_name: Some("C".into()),
        ack_policy,
        ack_wait,
        max_ack_pending: if ack_policy == AckPolicy::None { 0 } else { 10_000 },
        ..Default::default()
    };
    stream.create_consumer(config).await.unwrap();
}

fn place(delivery: &Delivery) -> (u64, u64) {
    let at = delivery.metadata().unwrap();
    (at.stream_sequence, at.num_delivered)
}

async fn fetched(pull: &mut PullConsumer, count: usize) -> Vec<Delivery> {
    let got = bounded("fetch", pull.fetch(count, Duration::from_secs(60))).await.unwrap();
    assert_eq!(got.len(), count);
    got
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_means_what_it_says() {
    /// Much longer than between two words that the work goes on.
    const WAIT: Duration = Duration::from_secs(3);
    const LATER: Duration = Duration::from_millis(4_500);
    let server = Scratch::new().unwrap();
    let stream = filled(&server, 5, 1).await;
    pulled(&stream, AckPolicy::Explicit, WAIT).await;
    let app = client(&server).await;
    let terminated = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.C";
    let mut advisories = app.subscribe(terminated).await.unwrap();
    let mut pull = app.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
    let mut got = fetched(&mut pull, 5).await.into_iter();
    let mut one = || got.next().unwrap();
    let begun = Instant::now();
    one().nak(Some(LATER)).await.unwrap();
    one().term(Some("no use")).await.unwrap();
    let long = one();
    one().nak(None).await.unwrap();
    one().ack().await.unwrap();
    let work = async {
        while begun.elapsed() < LATER {
            long.in_progress().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        long.ack().await.unwrap();
    };
    let again = async {
        let mut again = Vec::new();
        for _ in 0..2 {
            let delivery = bounded("again", pull.next()).await.unwrap();
            again.push((place(&delivery), begun.elapsed()));
            delivery.ack().await.unwrap();
        }
        again
    };
    let ((), again) = tokio::join!(work, again);
    assert_eq!((again[0].0, again[1].0), ((4, 2), (1, 2)), "{again:?}");
    assert!(again[1].1 >= LATER, "{again:?}");
    let advisory = bounded("an advisory", advisories.next()).await.unwrap();
    assert!(String::from_utf8_lossy(&advisory.payload).contains("no use"), "{advisory:?}");
    until("all is answered", async || stream.consumer_info("C").await.unwrap().num_ack_pending == 0).await;
    let totals = pull.totals();
    assert_eq!((totals.acked, totals.nacked, totals.termed, totals.delivered), (4, 2, 1, 7), "{totals:?}");
}

/// With a bound that is smaller than the window: the rest waits at the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_pull_asks_for_no_more_messages_than_its_bound() {
    let server = Scratch::new().unwrap();
    let stream = filled(&server, 400, 1_000).await;
    pulled(&stream, AckPolicy::Explicit, NEVER).await;
    let app = client(&server).await;
    let mut pull = app.pull_consumer("S", "C", PullOptions::default().batch(10)).await.unwrap();
    let mut held = Vec::new();
    while held.len() < 100 {
        match held.len() % 7 {
            0 => held.extend(bounded("many", pull.next_many(3)).await.unwrap()),
            _ => held.push(bounded("one", pull.next()).await.unwrap()),
        }
        let sent = stream.consumer_info("C").await.unwrap().num_ack_pending;
        assert!(sent <= held.len() + 10, "{sent} were sent, and {} are held", held.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_asks_for_no_more_bytes_than_its_bound() {
    let server = Scratch::new().unwrap();
    let stream = filled(&server, 50, 1_000).await;
    pulled(&stream, AckPolicy::Explicit, NEVER).await;
    let app = client(&server).await;
    // Three, and what is around them.
    let options = PullOptions::default().max_bytes(3_600);
    let mut pull = app.pull_consumer("S", "C", options).await.unwrap();
    for n in 1..=50 {
        let delivery = bounded("one", pull.next()).await.unwrap();
        assert_eq!(place(&delivery), (n, 1));
        let sent = stream.consumer_info("C").await.unwrap().num_ack_pending;
        assert!(n > 1 || sent <= 3, "{sent} were sent");
        delivery.ack().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_is_given_back_by_a_fetch_too() {
    let server = Scratch::new().unwrap();
    let stream = filled(&server, 10, 1).await;
    pulled(&stream, AckPolicy::Explicit, NEVER).await;
    let mut pull = client(&server).await.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
    drop(fetched(&mut pull, 10).await);
    for delivery in fetched(&mut pull, 10).await {
        assert_eq!(place(&delivery).1, 2);
        delivery.ack().await.unwrap();
    }
    let totals = pull.totals();
    assert_eq!((totals.given_back, totals.acked, totals.unanswered), (10, 10, 0), "{totals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_from_a_consumer_that_is_gone_says_so() {
    let server = Scratch::new().unwrap();
    let stream = filled(&server, 1, 1).await;
    pulled(&stream, AckPolicy::Explicit, NEVER).await;
    let mut pull = client(&server).await.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
    fetched(&mut pull, 1).await.pop().unwrap().ack().await.unwrap();
    stream.delete_consumer("C").await.unwrap();
    let said = async {
        loop {
            match pull.fetch(1, Duration::from_millis(300)).await {
                Ok(got) => assert!(got.is_empty()),
                Err(error) => break error,
            }
        }
    };
    assert!(matches!(bounded("an error", said).await, ConsumeError::Gone { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_acks_all_is_counted_and_nothing_is_waited_for() {
    let server = Scratch::new().unwrap();
    let stream = filled(&server, 10, 1).await;
    pulled(&stream, AckPolicy::None, Duration::ZERO).await;
    let mut pull = client(&server).await.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
    let mut got = fetched(&mut pull, 10).await;
    drop(got.pop().unwrap().into_message());
    assert!(pull.totals().balanced(), "{:?}", pull.totals());
    assert_eq!((pull.totals().delivered, pull.totals().unanswered), (10, 0));
    bounded("drain", pull.drain()).await.unwrap();
}

/// Anybody may publish on a deliver subject: that one came from no consumer, and nothing waits for its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_consumer_sent_holds_nothing_up() {
    let server = Scratch::new().unwrap();
    let stream = filled(&server, 1, 1).await;
    let config = push::Config {
        durable_name: Some("P".into()),
        deliver_subject: "push".into(),
        ack_wait: NEVER,
        ..Default::default()
    };
    stream.create_consumer(config).await.unwrap();
    let mut push = client(&server).await.push_consumer("S", "P").await.unwrap();
    bounded("the message", push.next()).await.unwrap().ack().await.unwrap();
    let somebody = client(&server).await;
    somebody.publish("push", "hello".into()).await.unwrap();
    somebody.flush().await.unwrap();
    let stray = bounded("the stray one", push.next()).await.unwrap();
    assert_eq!(stray.metadata(), None);
    assert!(stray.ack().await.is_err());
    let totals = push.totals();
    assert!(totals.balanced() && (totals.delivered, totals.acked) == (2, 1), "{totals:?}");
    bounded("drain", push.drain()).await.unwrap();
}

/// More than the server sends without a word that it is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_consumer_answers_flow_control() {
    const MSGS: u64 = 500;
    let server = Scratch::new().unwrap();
    let stream = filled(&server, MSGS, 16_000).await;
    let config = push::Config {
        durable_name: Some("P".into()),
        deliver_subject: "push".into(),
        ack_policy: AckPolicy::None,
        flow_control: true,
        idle_heartbeat: Duration::from_secs(1),
        ..Default::default()
    };
    stream.create_consumer(config).await.unwrap();
    let mut push = client(&server).await.push_consumer("S", "P").await.unwrap();
    for n in 1..=MSGS {
        assert_eq!(place(&bounded("the next one", push.next()).await.unwrap()), (n, 1));
    }
    assert!(push.totals().balanced());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deliver_group_shares_its_messages() {
    let server = Scratch::new().unwrap();
    let stream = filled(&server, 200, 1).await;
    let config = push::Config {
        durable_name: Some("P".into()),
        deliver_subject: "push".into(),
        deliver_group: Some("G".into()),
        ack_wait: NEVER,
        ..Default::default()
    };
    stream.create_consumer(config).await.unwrap();
    let mut one = client(&server).await.push_consumer("S", "P").await.unwrap();
    let mut other = client(&server).await.push_consumer("S", "P").await.unwrap();
    let mut seen = HashSet::new();
    while seen.len() < 200 {
        let next = async {
            tokio::select! { got = one.next() => got, got = other.next() => got }
        };
        let delivery = bounded("one of the group", next).await.unwrap();
        assert!(seen.insert(place(&delivery).0), "{delivery:?} came to both");
        delivery.ack().await.unwrap();
    }
}

/// Where the API is elsewhere, all is asked there.
#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_asked_by_its_own_name() {
    let server = Scratch::builder().jetstream("domain: hub").start().unwrap();
    let stream = filled(&server, 1, 1).await;
    pulled(&stream, AckPolicy::Explicit, NEVER).await;
    let app = client(&server).await;
    let prefix = |prefix: &str| PullOptions::default().api_prefix(prefix);
    let nowhere = bounded("no answer", app.pull_consumer("S", "C", prefix("$JS.nowhere.API"))).await;
    assert!(matches!(nowhere, Err(ConsumeError::NoAnswer { .. })));
    let mut pull = app.pull_consumer("S", "C", prefix("$JS.hub.API")).await.unwrap();
    bounded("next", pull.next()).await.unwrap().ack().await.unwrap();
}

/// A program may end right after the drain: its answers are not in a buffer that goes with it.
#[test]
fn after_a_drain_the_program_may_end() {
    let server = Scratch::new().unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let around = runtime();
    around.block_on(async { pulled(&filled(&server, 100, 1).await, AckPolicy::Explicit, NEVER).await });
    let ending = runtime();
    ending.block_on(async {
        let mut pull = client(&server).await.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
        let held = fetched(&mut pull, 100).await;
        // They are answered last, when the subscription has ended.
        let answering = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(held);
        };
        let (drained, ()) = bounded("drain", async { tokio::join!(pull.drain(), answering) }).await;
        drained.unwrap();
    });
    ending.shutdown_background();
    around.block_on(async {
        let mut pull = client(&server).await.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
        for delivery in fetched(&mut pull, 100).await {
            assert_eq!(place(&delivery).1, 2);
            delivery.ack().await.unwrap();
        }
        bounded("drain", pull.drain()).await.unwrap();
    });
}

/// A connection that is gone and does not come back before the proxy is open again.
async fn cut_off(proxy: &Proxy, app: &Client) {
    proxy.shut(true);
    until("cut off", async || app.connection_state() != State::Connected).await;
}

/// Giving back is part of `next`, which may be dropped while it waits for the connection to take it.
#[tokio::test(flavor = "multi_thread")]
async fn a_next_that_is_dropped_forgets_nothing_that_is_to_be_given_back() {
    let server = Scratch::new().unwrap();
    let stream = filled(&server, 10, 1).await;
    pulled(&stream, AckPolicy::Explicit, NEVER).await;
    let proxy = Proxy::to(server.address()).await;
    let tight = options().client_capacity(1).connect(proxy.url()).await.unwrap();
    let mut pull = tight.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
    let got = fetched(&mut pull, 10).await;
    cut_off(&proxy, &tight).await;
    drop(got);
    for _ in 0..20 {
        assert!(tokio::time::timeout(Duration::from_millis(10), pull.next()).await.is_err());
    }
    proxy.shut(false);
    for delivery in fetched(&mut pull, 10).await {
        delivery.ack().await.unwrap();
    }
    let totals = pull.totals();
    assert!(totals.balanced() && totals.given_back == 10 && totals.unanswered == 0, "{totals:?}");
}

/// An ack can always be sent again: where that was chosen, one that was lost with its connection is confirmed all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ack_is_sent_again_until_it_is_confirmed() {
    let server = Scratch::new().unwrap();
    let stream = filled(&server, 20, 1).await;
    pulled(&stream, AckPolicy::Explicit, NEVER).await;
    let proxy = Proxy::to(server.address()).await;
    let app = client_at(proxy.url()).await;
    let mut pull = app.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
    let again = AckerOptions::default().on_disconnect(OnDisconnect::Repeat);
    let acker = app.acker(again).await.unwrap();
    let got = fetched(&mut pull, 20).await;
    proxy.deaf(true);
    for delivery in got {
        acker.post(delivery, 0).await.unwrap();
    }
    let all_read = async || stream.consumer_info("C").await.unwrap().num_ack_pending == 0;
    until("read by the server", all_read).await;
    cut_off(&proxy, &app).await;
    proxy.deaf(false);
    proxy.shut(false);
    let totals = bounded("settle", acker.settle()).await;
    assert_eq!((totals.acked, totals.repeated, totals.sent), (20, 20, 20), "{totals:?}");
}
