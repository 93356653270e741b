//! A publisher with an ack for each message, under everything that can go wrong: every outcome is there, once, and true.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use streamproof_client::async_nats::connection::State;
use streamproof_client::async_nats::{Client, Message, jetstream};
use streamproof_client::{ClientExt, OnDisconnect, Outcome, PublishError, PublisherOptions};
use streamproof_server::Scratch;

use crate::bed::{bounded, client, client_at, options, stored, stream, until};
use crate::guarded::{ALLOWED, Guarded, NO_INBOX, ONLY_INFO, REVOKED};
use crate::ledger::{Load, WINDOW};
use crate::proxy::Proxy;

/// No test waits for it, but where waiting is the point.
const LONG: Duration = Duration::from_secs(20);

fn full() -> jetstream::stream::Config {
    jetstream::stream::Config {
        max_messages: 5_000,
        discard: jetstream::stream::DiscardPolicy::New,
        ..Default::default()
    }
}

/// Rounds of a fault under load; what was in flight in each.
async fn rounds(choice: OnDisconnect, rounds: usize, fault: impl Fn(&mut Scratch)) {
    let mut server = Scratch::new().unwrap();
    let client = client(&server).await;
    stream(&client, Default::default()).await;
    let load = Load::start(&client, choice, LONG).await;
    let mut bit = 0;
    for _ in 0..rounds {
        load.acked(300).await;
        bit += u64::from(load.publisher.totals().in_flight > 0);
        tokio::task::block_in_place(|| fault(&mut server));
    }
    load.acked(300).await;
    assert!(bit > 0, "nothing was in flight at any of the faults");
    let account = load.finish().await;
    account.holds_against(&stored(&client).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_started() {
    rounds(OnDisconnect::Wait, 8, |server| server.restart().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_started_repeating() {
    rounds(OnDisconnect::Repeat, 4, |server| server.restart().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_many_times() {
    rounds(OnDisconnect::Wait, 8, |server| server.restart_killed().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_many_times_failing_at_once() {
    rounds(OnDisconnect::Fail, 4, |server| server.restart_killed().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_many_times_repeating() {
    rounds(OnDisconnect::Repeat, 6, |server| server.restart_killed().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_by_a_proxy_wherever_it_is() {
    for choice in [OnDisconnect::Wait, OnDisconnect::Repeat, OnDisconnect::Fail] {
        let server = Scratch::new().unwrap();
        let direct = client(&server).await;
        stream(&direct, Default::default()).await;
        let proxy = Proxy::to(server.address()).await;
        proxy.watch("s.a");
        let load = Load::start(&client_at(proxy.url()).await, choice, LONG).await;
        for round in 0..20 {
            load.acked(50 + 37 * round).await;
            proxy.cut();
        }
        load.acked(300).await;
        let account = load.finish().await;
        account.holds_against(&stored(&direct).await);
        let most = proxy.most_in_flight();
        assert!(most > 0 && most <= WINDOW as i64, "{most} in flight on the wire, {choice:?}");
    }
}

/// The server cuts off a client that does not read: it is a slow consumer.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_is_cut_off_and_comes_back() {
    let server = Scratch::builder().config("max_payload: 64KB\nmax_pending: 128KB").start().unwrap();
    let direct = client(&server).await;
    stream(&direct, Default::default()).await;
    let proxy = Proxy::to(server.address()).await;
    proxy.watch("s.a");
    let slow = client_at(proxy.url()).await;
    let _flooded = slow.subscribe("flood").await.unwrap();
    let load = Load::start(&slow, OnDisconnect::Wait, LONG).await;
    let cut_off = || server.log_tail(10_000).matches("Slow Consumer").count();
    for _ in 0..3 {
        load.acked(300).await;
        let before = cut_off();
        proxy.deaf(true);
        until("cut off as a slow consumer", async || {
            for _ in 0..64 {
                direct.publish("flood", vec![b'x'; 64 << 10].into()).await.unwrap();
            }
            direct.flush().await.unwrap();
            cut_off() > before
        })
        .await;
        proxy.deaf(false);
    }
    load.acked(300).await;
    let account = load.finish().await;
    account.holds_against(&stored(&direct).await);
    assert!(proxy.most_in_flight() <= WINDOW as i64);
}

/// The client's own subscription overflows: answers are dropped before they can be read.
#[tokio::test(flavor = "multi_thread")]
async fn answers_dropped_by_a_full_subscription_are_indeterminate() {
    let server = Scratch::new().unwrap();
    let tight = options().subscription_capacity(4).connect(server.url()).await.unwrap();
    stream(&tight, Default::default()).await;
    let load = Load::start(&tight, OnDisconnect::Wait, Duration::from_millis(300)).await;
    load.ended(3_000).await;
    let account = load.finish().await;
    account.holds_against(&stored(&client(&server).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_rejects_exactly_what_it_has_no_room_for() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    stream(&client, full()).await;
    let load = Load::start(&client, OnDisconnect::Wait, LONG).await;
    load.ended(8_000).await;
    let account = load.finish().await;
    let totals = &account.totals;
    assert_eq!((totals.acked, totals.rejected), (5_000, totals.sent - 5_000));
    for outcome in account.outcomes.values() {
        if let Outcome::Rejected(why) = outcome {
            assert_eq!((why.code, why.err_code), (503, 10_077), "{why}");
        }
    }
    account.holds_against(&stored(&client).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_deleted_and_made_again() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    stream(&client, Default::default()).await;
    let load = Load::start(&client, OnDisconnect::Wait, Duration::from_millis(500)).await;
    load.acked(1_000).await;
    jetstream::new(client.clone()).delete_stream("S").await.unwrap();
    until("rejected", async || load.publisher.totals().rejected > 500).await;
    let before = load.publisher.totals().acked;
    let account = load.finish().await;
    assert_eq!(account.totals.acked, before, "acked without a stream");
    for outcome in account.outcomes.values() {
        if let Outcome::Rejected(why) = outcome {
            assert_eq!(why.code, 503, "{why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_revoked_and_given_back() {
    let guarded = Guarded::start(ALLOWED, "");
    let admin = guarded.admin().await;
    stream(&admin, Default::default()).await;
    let app = guarded.app().await;
    let load = Load::start(&app, OnDisconnect::Wait, Duration::from_millis(300)).await;
    for _ in 0..3 {
        load.acked(500).await;
        let unknown = load.publisher.totals().indeterminate();
        guarded.rule(REVOKED, "");
        until("without an answer", async || load.publisher.totals().indeterminate() > unknown).await;
        guarded.rule(ALLOWED, "");
    }
    load.acked(500).await;
    let account = load.finish().await;
    account.holds_against(&stored(&admin).await);
}

/// Whoever may not publish to inboxes must not be left without room when all that is in flight was lost; and nobody on its
/// subjects hears anything but what it publishes.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_publish_to_its_inbox_it_goes_on_after_a_cut() {
    for (rules, asks) in [(NO_INBOX, false), (ONLY_INFO, true)] {
        let guarded = Guarded::start(rules, "");
        let admin = guarded.admin().await;
        stream(&admin, Default::default()).await;
        let (on_subjects, infos) =
            (Overheard::on(&admin, "s.>").await, Overheard::on(&admin, "$JS.API.>").await);
        let proxy = Proxy::to(guarded.server.address()).await;
        proxy.watch("s.a");
        let app = guarded.app_at(proxy.url()).await;
        let load = Load::start(&app, OnDisconnect::Wait, LONG).await;
        for _ in 0..2 {
            load.acked(500).await;
            proxy.deaf(true);
            // Room is handed out an eighth of the window at a time.
            let full = WINDOW as u64 * 7 / 8;
            until("a full window", async || load.publisher.totals().in_flight > full).await;
            proxy.cut();
            until("cut off", async || app.connection_state() != State::Connected).await;
            proxy.deaf(false);
        }
        load.acked(500).await;
        let account = load.finish().await;
        assert!(account.totals.disconnected >= 1, "{:?}", account.totals);
        account.holds_against(&stored(&admin).await);
        assert_eq!(on_subjects.count(|m| m.headers.is_some() || m.payload.is_empty()), 0, "{rules}");
        let most = proxy.most_in_flight();
        assert!(most <= WINDOW as i64 + if asks { 0 } else { 2 }, "{most} in flight on the wire");
        // So far the answer to a later message can have told first. Where none follows, nothing else can.
        let asked = || infos.count(|m| m.reply.as_ref().is_some_and(|r| r.contains(".fence-")));
        let options = PublisherOptions::default().window(WINDOW).on_disconnect(OnDisconnect::Wait);
        let publisher = app.publisher(options.ack_timeout(LONG)).await.unwrap();
        // It asks for the stream that an ack named.
        assert!(publisher.publish(("s.a", vec![b'x'; 16])).await.unwrap().await.acked().is_some());
        proxy.deaf(true);
        let had = stored(&admin).await.len();
        for n in 0..WINDOW as u64 {
            publisher.post(("s.a", vec![b'x'; 16]), n).await.unwrap();
        }
        // What is not written yet would go out over the next connection, and be answered there.
        until("all stored", async || stored(&admin).await.len() == had + WINDOW).await;
        proxy.cut();
        until("cut off", async || app.connection_state() != State::Connected).await;
        proxy.deaf(false);
        until("all has ended", async || publisher.totals().in_flight == 0).await;
        let totals = publisher.totals();
        assert_eq!((totals.acked, totals.disconnected), (1, WINDOW as u64), "{totals:?}");
        until("all is overheard", async || (asked() > 0) == asks).await;
    }
}

/// Everything that was published on a subject.
struct Overheard(Arc<Mutex<Vec<Message>>>);

impl Overheard {
    async fn on(client: &Client, subject: &'static str) -> Overheard {
        let mut messages = client.subscribe(subject).await.unwrap();
        client.flush().await.unwrap();
        let heard = Overheard(Arc::default());
        let list = heard.0.clone();
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                list.lock().unwrap().push(message);
            }
        });
        heard
    }

    fn count(&self, which: impl Fn(&Message) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|m| which(m)).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_max_payload_is_not_sent_and_harms_nothing() {
    let guarded = Guarded::start(ALLOWED, "max_payload: 64KB");
    let admin = guarded.admin().await;
    stream(&admin, Default::default()).await;
    let app = guarded.app().await;
    let publisher = app.publisher(PublisherOptions::default()).await.unwrap();
    let body = vec![b'x'; 64 << 10];
    assert!(publisher.publish(("s.a", body.clone())).await.unwrap().await.acked().is_some());
    let with_header = streamproof_client::Outgoing::new("s.a", body.clone()).header("a", "b");
    let want = PublishError::TooLarge { bytes: (64 << 10) + 18, most_bytes: 64 << 10 };
    assert_eq!(publisher.publish(with_header).await.unwrap_err(), want);
    assert_eq!(publisher.totals().sent, 1);

    // The limit is lowered under load: what is too large now is refused or ends as indeterminate, and the rest goes on.
    let load = Load::start(&app, OnDisconnect::Wait, LONG).await;
    load.acked(300).await;
    guarded.rule(ALLOWED, "max_payload: 1KB");
    let mut large = 0;
    until("refused as too large", async || match publisher.publish(("s.a", body.clone())).await {
        Err(PublishError::TooLarge { most_bytes: 1024, .. } | PublishError::LimitLowered) => true,
        Ok(outcome) => {
            large += u64::from(bounded("an outcome", outcome).await.acked().is_some());
            false
        }
        Err(other) => panic!("{other}"),
    })
    .await;
    load.acked(300).await;
    let account = load.finish().await;
    assert!(publisher.settle().await.balanced());
    let mut stored = stored(&admin).await;
    let all = stored.len();
    stored.retain(|_, body| body.len() < 1024);
    assert!((all - stored.len()) as u64 > large, "an acked one is missing");
    account.holds_against(&stored);
}
