//! What consumers of every kind do when their stream goes away, when it is full, and when their own client drops messages.

use std::time::Duration;

use streamproof_client::async_nats::jetstream::{self, consumer::AckPolicy};
use streamproof_client::{
    AckOutcome, AckerOptions, ClientExt, ConsumeError, Outcome, PublisherOptions, PullOptions,
};
use streamproof_server::Scratch;

use crate::bed::{bounded, client, consumer, options, stream, until};
use crate::kinds::Kind;
use crate::site::{ACK_WAIT, MSGS};

/// It says so, in time, and lets go of what it has: nothing hangs, nothing is counted twice.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_ends_when_its_stream_is_deleted() {
    for kind in Kind::ALL {
        let site = kind.site().await;
        // Some are seen, and more are on their way.
        site.hold(3);
        let at_work = kind.start(&site).await;
        until("seen", async || site.seen.count() >= MSGS / 4).await;
        jetstream::new(site.admin.clone()).delete_stream("S").await.unwrap();
        site.seen.open(u64::MAX);
        match at_work.ends().await {
            Err(ConsumeError::Gone { stream, consumer, .. }) => {
                assert_eq!((stream.as_str(), consumer.as_str()), ("S", "C"));
            }
            other => panic!("{kind:?}: {other:?}"),
        }
        assert!(site.seen.count() < MSGS, "{kind:?}: it was not deleted in the middle");
    }
}

/// Acks of what is no longer there are no confirmations.
#[tokio::test(flavor = "multi_thread")]
async fn no_ack_is_confirmed_by_a_stream_that_is_gone() {
    let site = Kind::PullDouble.site().await;
    let mut pull = site.pull().await;
    let acker = site.app.acker(AckerOptions::default().timeout(ACK_WAIT)).await.unwrap();
    let got = bounded("some", pull.fetch(20, Duration::from_secs(60))).await.unwrap();
    assert_eq!(got.len(), 20);
    jetstream::new(site.admin.clone()).delete_stream("S").await.unwrap();
    for delivery in got {
        let outcome = bounded("an outcome", acker.ack(delivery).await.unwrap()).await;
        assert!(matches!(outcome, AckOutcome::Rejected(_) | AckOutcome::Indeterminate(_)), "{outcome:?}");
    }
    let totals = acker.settle().await;
    assert_eq!((totals.acked, totals.sent), (0, 20), "{totals:?}");
}

/// A full work queue with `discard: new`: what is acked makes room for as much, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_work_queue_has_room_for_as_much_as_was_acked() {
    const ROOM: u64 = 500;
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    let queue = jetstream::stream::Config {
        max_messages: ROOM as i64,
        discard: jetstream::stream::DiscardPolicy::New,
        retention: jetstream::stream::RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    let mut stream = stream(&client, queue).await;
    consumer(&stream).await;
    let publisher = client.publisher(PublisherOptions::default()).await.unwrap();
    let fill = async |most: u64| {
        let mut taken = 0;
        for _ in 0..most {
            match publisher.publish(("s.a", "x")).await.unwrap().await {
                Outcome::Acked(_) => taken += 1,
                Outcome::Rejected(why) => {
                    assert_eq!(why.err_code, 10_077, "{why}");
                    return taken;
                }
                Outcome::Indeterminate(why) => panic!("{why}"),
            }
        }
        taken
    };
    assert_eq!(fill(2 * ROOM).await, ROOM);
    let mut pull = client.pull_consumer("S", "C", PullOptions::default()).await.unwrap();
    let acker = client.acker(AckerOptions::default()).await.unwrap();
    for confirmed in [true, false] {
        let got = bounded("some", pull.fetch(100, Duration::from_secs(60))).await.unwrap();
        assert_eq!(got.len(), 100);
        for delivery in got {
            match confirmed {
                true => acker.post(delivery, 0).await.unwrap(),
                false => delivery.ack().await.unwrap(),
            }
        }
        assert_eq!(acker.settle().await.acked, 100);
        until("room", async || stream.info().await.unwrap().state.messages == ROOM - 100).await;
        assert_eq!(fill(2 * ROOM).await, 100);
    }
    let totals = publisher.settle().await;
    assert_eq!((totals.acked, totals.rejected), (ROOM + 200, 3), "{totals:?}");
}

/// async-nats drops what its own subscription has no room for, and says so to nobody here: it comes again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_subscription_drops_comes_again() {
    for push in [false, true] {
        let server = Scratch::new().unwrap();
        let tight = options().subscription_capacity(16).connect(server.url()).await.unwrap();
        let stream = stream(&tight, Default::default()).await;
        let publisher = client(&server).await.publisher(PublisherOptions::default()).await.unwrap();
        for n in 1..=300u64 {
            publisher.post(("s.a", n.to_string()), n).await.unwrap();
        }
        assert_eq!(publisher.settle().await.acked, 300);
        let (ack_policy, ack_wait) = (AckPolicy::Explicit, ACK_WAIT);
        let mut seen = std::collections::HashSet::new();
        let (mut pull, mut pushed) = (None, None);
        if push {
            let config = jetstream::consumer::push::Config {
                durable_name: Some("C".into()),
                deliver_subject: "push".into(),
                ack_policy,
                ack_wait,
                ..Default::default()
            };
            stream.create_consumer(config).await.unwrap();
            pushed = Some(tight.push_consumer("S", "C").await.unwrap());
        } else {
            let config = jetstream::consumer::pull::Config {
                durable_name: Some("C".into()),
                ack_policy,
                ack_wait,
                ..Default::default()
            };
            stream.create_consumer(config).await.unwrap();
            let options = PullOptions::default().batch(200).heartbeat(Duration::from_millis(200));
            pull = Some(tight.pull_consumer("S", "C", options).await.unwrap());
        }
        let mut again = 0;
        while seen.len() < 300 {
            let next = async {
                match (&mut pull, &mut pushed) {
                    (Some(pull), _) => pull.next().await,
                    (_, Some(push)) => push.next().await,
                    _ => unreachable!("one of them"),
                }
            };
            let delivery = bounded("the rest", next).await.unwrap();
            let at = delivery.metadata().unwrap();
            again += u64::from(at.num_delivered > 1);
            seen.insert(at.stream_sequence);
            delivery.ack().await.unwrap();
        }
        assert!(again > 0, "nothing was dropped");
    }
}
