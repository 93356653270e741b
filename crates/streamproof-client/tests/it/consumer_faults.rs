//! Consumers of every kind while the server is stopped, killed, stands still, is cut off and takes rights away: everything is
//! seen, everything handed out is answered, and at the end nothing is left at the server.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streamproof_client::async_nats::{Client, jetstream};
use streamproof_client::{
    AckPolicy, Acker, AckerOptions, ClientExt, ConsumerTotals, Delivery, OnDisconnect, PublisherOptions,
    PullConsumer, PullOptions, PushConsumer, WorkOptions, work,
};
use tokio::sync::watch;

use crate::bed::{bounded, stream, until};
use crate::guarded::{ALLOWED, Guarded, REVOKED};
use crate::proxy::Proxy;

const MSGS: u64 = 6_000;

/// A connection can be lost with deliveries on it: they come again after this.
const ACK_WAIT: Duration = Duration::from_millis(800);

const MAX_ACK_PENDING: i64 = 400;

const FAULTS: u64 = 6;

/// Which were seen, by sequence; and how many may be, so that a fast consumer is not done before the last fault.
#[derive(Clone)]
struct Seen(Arc<Mutex<HashSet<u64>>>, watch::Sender<u64>);

impl Seen {
    fn new() -> Seen {
        Seen(Arc::default(), watch::Sender::new(u64::MAX))
    }

    async fn see(&self, delivery: &Delivery) {
        let at = delivery.metadata().unwrap();
        assert_eq!(&delivery.payload()[..], at.stream_sequence.to_string().as_bytes());
        self.1.subscribe().wait_for(|most| self.count() < *most).await.unwrap();
        self.0.lock().unwrap().insert(at.stream_sequence);
    }

    fn count(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    /// Of the sequences from 1 on, how many without a gap, starting from what is known to be.
    fn whole(&self, mut up_to: u64) -> u64 {
        let seen = self.0.lock().unwrap();
        while seen.contains(&(up_to + 1)) {
            up_to += 1;
        }
        up_to
    }

    /// Lets so many be seen.
    fn open(&self, most: u64) {
        self.1.send_replace(most);
    }
}

struct Site {
    guarded: Guarded,
    proxy: Proxy,
    admin: Client,
    app: Client,
    seen: Seen,
}

impl Site {
    /// A stream of messages, each with its sequence as its body, and a consumer.
    async fn new(ack: jetstream::consumer::AckPolicy, push: bool, ack_wait: Duration) -> Site {
        let guarded = Guarded::start(ALLOWED, "");
        let admin = guarded.admin().await;
        let stream = stream(&admin, Default::default()).await;
        let publisher = admin.publisher(PublisherOptions::default()).await.unwrap();
        for n in 1..=MSGS {
            publisher.post(("s.a", n.to_string()), n).await.unwrap();
        }
        assert_eq!(publisher.settle().await.acked, MSGS);
        if push {
            let config = jetstream::consumer::push::Config {
                durable_name: Some("C".into()),
                deliver_subject: "push".into(),
                ack_policy: ack,
                ack_wait,
                max_ack_pending: MAX_ACK_PENDING,
                ..Default::default()
            };
            stream.create_consumer(config).await.unwrap();
        } else {
            let config = jetstream::consumer::pull::Config {
                durable_name: Some("C".into()),
                ack_policy: ack,
                ack_wait,
                max_ack_pending: MAX_ACK_PENDING,
                ..Default::default()
            };
            stream.create_consumer(config).await.unwrap();
        }
        let proxy = Proxy::to(guarded.server.address()).await;
        let app = guarded.app_at(proxy.url()).await;
        Site { guarded, proxy, admin, app, seen: Seen::new() }
    }

    async fn pull(&self) -> PullConsumer {
        let options = PullOptions::default().batch(100).heartbeat(Duration::from_millis(200));
        bounded("a consumer", self.app.pull_consumer("S", "C", options)).await.unwrap()
    }

    /// What comes before the first fault. To be called before anything is consumed.
    fn hold(&self) {
        self.seen.open(MSGS / (FAULTS + 1));
    }

    /// One fault after another, each when its share was seen, and while the next is on its way.
    async fn faults(&mut self) {
        let share = |number: u64| MSGS * number / (FAULTS + 1);
        for fault in 0..FAULTS {
            until("seen", async || self.seen.count() >= share(fault + 1)).await;
            // What was seen already comes again after the last one: there is no end to that.
            self.seen.open(if fault + 1 < FAULTS { share(fault + 2) } else { u64::MAX });
            match fault {
                0 => tokio::task::block_in_place(|| self.guarded.server.restart_killed()).unwrap(),
                1 => self.proxy.cut(),
                2 => tokio::task::block_in_place(|| self.guarded.server.restart()).unwrap(),
                3 => {
                    // The fault is its length: longer than the server waits for an ack.
                    self.guarded.server.pause().unwrap();
                    tokio::time::sleep(2 * ACK_WAIT).await;
                    self.guarded.server.resume().unwrap();
                }
                4 => {
                    self.guarded.rule(REVOKED, "");
                    tokio::time::sleep(2 * ACK_WAIT).await;
                    self.guarded.rule(ALLOWED, "");
                }
                _ => self.proxy.cut(),
            }
        }
        until("all seen", async || self.seen.count() == MSGS).await;
    }

    /// Until the server has every ack: what was acked into a lost connection comes again, and is taken until then.
    async fn nothing_pending(&self) {
        let js = jetstream::new(self.admin.clone());
        until("nothing pending", async || {
            let info = js.get_stream("S").await.unwrap().consumer_info("C").await.unwrap();
            info.num_ack_pending == 0 && info.num_pending == 0
        })
        .await;
    }

    /// Nothing is left at the server, and nothing that was handed out has no answer.
    async fn nothing_is_left(&self, totals: ConsumerTotals) {
        assert!(totals.balanced() && totals.unanswered == 0, "{totals:?}");
        let js = jetstream::new(self.admin.clone());
        let mut last = String::new();
        until("all answered at the server", async || {
            let stream = js.get_stream("S").await.unwrap();
            let info = stream.consumer_info("C").await.unwrap();
            last = format!("{info:?}");
            info.num_pending == 0 && info.num_ack_pending == 0 && info.ack_floor.stream_sequence == MSGS
        })
        .await;
        assert_eq!(self.seen.count(), MSGS, "{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_with_explicit_acks_of_every_kind() {
    let mut site = Site::new(jetstream::consumer::AckPolicy::Explicit, false, ACK_WAIT).await;
    site.hold();
    let (mut pull, seen) = (site.pull().await, site.seen.clone());
    let (stop, mut stopped) = watch::channel(false);
    let consuming = tokio::spawn(async move {
        let mut n = 0u64;
        loop {
            let delivery = tokio::select! {
                delivery = pull.next() => delivery.unwrap(),
                _ = stopped.changed() => break,
            };
            seen.see(&delivery).await;
            n += 1;
            let first = delivery.metadata().unwrap().num_delivered == 1;
            match n % 50 {
                1 if first => delivery.nak(Some(Duration::from_millis(20))).await.unwrap(),
                2 => delivery.term(Some("why not")).await.unwrap(),
                3 => {
                    delivery.in_progress().await.unwrap();
                    delivery.ack().await.unwrap();
                }
                4 if first => drop(delivery),
                _ => delivery.ack().await.unwrap(),
            }
            assert!(pull.totals().unanswered <= 100, "{:?}", pull.totals());
        }
        pull
    });
    site.faults().await;
    site.nothing_pending().await;
    stop.send(true).unwrap();
    let pull = consuming.await.unwrap();
    let answers = pull.totals();
    assert!(answers.nacked > 0 && answers.termed > 0 && answers.given_back > 0, "{answers:?}");
    bounded("drain", pull.drain()).await.unwrap();
    site.nothing_is_left(answers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_with_one_ack_for_many() {
    let mut site = Site::new(jetstream::consumer::AckPolicy::All, false, ACK_WAIT).await;
    site.hold();
    let (mut pull, seen) = (site.pull().await, site.seen.clone());
    assert_eq!(pull.ack_policy(), AckPolicy::All);
    let (stop, mut stopped) = watch::channel(false);
    let consuming = tokio::spawn(async move {
        let mut whole_up_to = 0;
        let mut waiting = std::collections::BTreeMap::new();
        loop {
            let got = tokio::select! {
                got = pull.next_many(64) => got.unwrap(),
                _ = stopped.changed() => break,
            };
            for delivery in got {
                seen.see(&delivery).await;
                waiting.insert(delivery.metadata().unwrap().stream_sequence, delivery);
            }
            // What was lost with a connection comes again later: an ack beyond it would answer for it unseen.
            whole_up_to = seen.whole(whole_up_to);
            let later = waiting.split_off(&(whole_up_to + 1));
            if let Some((_, last)) = std::mem::replace(&mut waiting, later).pop_last() {
                last.ack().await.unwrap();
            }
        }
        pull
    });
    site.faults().await;
    site.nothing_pending().await;
    stop.send(true).unwrap();
    let pull = consuming.await.unwrap();
    let totals = pull.totals();
    bounded("drain", pull.drain()).await.unwrap();
    site.nothing_is_left(totals).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_with_double_acks_in_flight() {
    let mut site = Site::new(jetstream::consumer::AckPolicy::Explicit, false, ACK_WAIT).await;
    site.hold();
    let (mut pull, seen) = (site.pull().await, site.seen.clone());
    let outcomes = Arc::new(AtomicU64::new(0));
    let told = outcomes.clone();
    let options = AckerOptions::default()
        .window(50)
        .on_disconnect(OnDisconnect::Repeat)
        .timeout(ACK_WAIT)
        .on_outcome(move |_, _| _ = told.fetch_add(1, Ordering::Relaxed));
    let acker = site.app.acker(options).await.unwrap();
    let (stop, mut stopped) = watch::channel(false);
    let acking = acker.clone();
    let consuming = tokio::spawn(async move {
        loop {
            let delivery = tokio::select! {
                delivery = pull.next() => delivery.unwrap(),
                _ = stopped.changed() => break,
            };
            seen.see(&delivery).await;
            tokio::select! {
                posted = acking.post(delivery, 0) => posted.unwrap(),
                // Dropped while it waits for room: the delivery is given back.
                _ = stopped.changed() => break,
            }
            assert!(acking.totals().in_flight <= 50);
        }
        pull
    });
    site.faults().await;
    let confirmed = bounded("confirmed", settled(&site, &acker)).await;
    assert_eq!(outcomes.load(Ordering::Relaxed), confirmed.sent, "an outcome for each");
    stop.send(true).unwrap();
    let pull = consuming.await.unwrap();
    let totals = pull.totals();
    bounded("drain", pull.drain()).await.unwrap();
    site.nothing_is_left(totals).await;
}

/// Until the server has every ack; what is delivered again until then is acked again.
async fn settled(site: &Site, acker: &Acker) -> streamproof_client::Totals {
    site.nothing_pending().await;
    let totals = acker.settle().await;
    assert!(totals.balanced(), "{totals:?}");
    assert!(totals.acked >= MSGS - totals.indeterminate(), "{totals:?}");
    totals
}

#[tokio::test(flavor = "multi_thread")]
async fn push_with_explicit_acks() {
    let mut site = Site::new(jetstream::consumer::AckPolicy::Explicit, true, ACK_WAIT).await;
    site.hold();
    let mut push: PushConsumer = site.app.push_consumer("S", "C").await.unwrap();
    let seen = site.seen.clone();
    let (stop, mut stopped) = watch::channel(false);
    let consuming = tokio::spawn(async move {
        loop {
            let delivery = tokio::select! {
                delivery = push.next() => delivery.unwrap(),
                _ = stopped.changed() => break,
            };
            seen.see(&delivery).await;
            delivery.ack().await.unwrap();
        }
        push
    });
    site.faults().await;
    site.nothing_pending().await;
    stop.send(true).unwrap();
    let push = consuming.await.unwrap();
    let totals = push.totals();
    bounded("drain", push.drain()).await.unwrap();
    site.nothing_is_left(totals).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_function_fails_at_times() {
    let mut site = Site::new(jetstream::consumer::AckPolicy::Explicit, false, ACK_WAIT).await;
    site.hold();
    let (pull, seen) = (site.pull().await, site.seen.clone());
    let (stop, mut stopped) = watch::channel(false);
    let options = WorkOptions {
        concurrency: 8,
        first_delay: Duration::from_millis(10),
        longest_delay: Duration::from_millis(100),
    };
    let busy = Arc::new(AtomicU64::new(0));
    let working = tokio::spawn(work(
        pull,
        options,
        async move { _ = stopped.changed().await },
        move |delivery: Arc<Delivery>| {
            let (seen, busy) = (seen.clone(), busy.clone());
            async move {
                assert!(busy.fetch_add(1, Ordering::Relaxed) < 8, "more at once than may be");
                tokio::task::yield_now().await;
                let at = delivery.metadata().unwrap();
                let fails = at.stream_sequence.is_multiple_of(97) && at.num_delivered == 1;
                busy.fetch_sub(1, Ordering::Relaxed);
                if fails {
                    return Err("not this time");
                }
                seen.see(&delivery).await;
                Ok(())
            }
        },
    ));
    site.faults().await;
    site.nothing_pending().await;
    stop.send(true).unwrap();
    let worked = bounded("the worker", working).await.unwrap().unwrap();
    assert!(worked.done >= MSGS && worked.failed > 0 && worked.unanswered == 0, "{worked:?}");
    site.nothing_is_left(ConsumerTotals::default()).await;
}

/// The stream goes on while the consumer ends: what the server had sent already is given back, not left to `ack_wait`.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_in_full_flow_leaves_nothing_to_ack_wait() {
    for policy in [jetstream::consumer::AckPolicy::Explicit, jetstream::consumer::AckPolicy::All] {
        // What is left to this never comes.
        let site = Site::new(policy, false, Duration::from_secs(3600)).await;
        for _ in 0..10 {
            let mut pull = site.pull().await;
            let mut held = Vec::new();
            for _ in 0..20 {
                held.push(bounded("next", pull.next()).await.unwrap());
            }
            let answering = tokio::spawn(async move {
                tokio::task::yield_now().await;
                drop(held);
            });
            bounded("drain", pull.drain()).await.unwrap();
            answering.await.unwrap();
        }
        let mut pull = site.pull().await;
        let mut whole_up_to = 0;
        while site.seen.count() < MSGS {
            let delivery = bounded("what was given back", pull.next()).await.unwrap();
            site.seen.see(&delivery).await;
            whole_up_to = site.seen.whole(whole_up_to);
            // With one ack for many: only for what is here without a gap.
            let explicit = policy == jetstream::consumer::AckPolicy::Explicit;
            if explicit || delivery.metadata().unwrap().stream_sequence <= whole_up_to {
                delivery.ack().await.unwrap();
            }
        }
    }
}
