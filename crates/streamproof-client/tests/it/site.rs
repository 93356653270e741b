//! A stream of numbered messages, a consumer of one kind, and everything that can go wrong in between.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streamproof_client::async_nats::{Client, Subscriber, jetstream};
use streamproof_client::{ClientExt, ConsumerTotals, Delivery, PublisherOptions, PullConsumer, PullOptions};
use tokio::sync::watch;

use crate::bed::{bounded, stream, until};
use crate::guarded::{ALLOWED, Guarded, REVOKED};
use crate::proxy::Proxy;

pub(crate) const MSGS: u64 = 6_000;

/// A connection can be lost with deliveries on it: they come again after this.
pub(crate) const ACK_WAIT: Duration = Duration::from_millis(800);

const MAX_ACK_PENDING: i64 = 400;

/// So that the server soon gives up on a client that does not read.
const LIMITS: &str = "max_payload: 64KB\nmax_pending: 128KB";

/// What goes wrong while there is something left to consume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    Stop,
    Cut,
    /// For longer than the server waits for an ack.
    StandStill,
    /// For as long.
    Revoked,
    /// The server cuts the client off, as it does not read.
    SlowConsumer,
    /// What was stored is larger than the server takes now; then it takes it again.
    LowerMaxPayload,
}

impl Fault {
    pub(crate) const ALL: [Fault; 7] = [
        Fault::Kill,
        Fault::Cut,
        Fault::SlowConsumer,
        Fault::Stop,
        Fault::StandStill,
        Fault::LowerMaxPayload,
        Fault::Revoked,
    ];
}

/// Which were seen, by sequence; and how many may be, so that a fast consumer is not done before the last fault.
#[derive(Clone)]
pub(crate) struct Seen(Arc<Mutex<HashSet<u64>>>, watch::Sender<u64>);

impl Seen {
    fn new() -> Seen {
        Seen(Arc::default(), watch::Sender::new(u64::MAX))
    }

    pub(crate) async fn see(&self, delivery: &Delivery) {
        let at = delivery.metadata().unwrap();
        assert_eq!(&delivery.payload()[..], body(at.stream_sequence));
        self.1.subscribe().wait_for(|most| self.count() < *most).await.unwrap();
        self.0.lock().unwrap().insert(at.stream_sequence);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    /// Of the sequences from 1 on, how many without a gap, starting from what is known to be.
    pub(crate) fn whole(&self, mut up_to: u64) -> u64 {
        let seen = self.0.lock().unwrap();
        while seen.contains(&(up_to + 1)) {
            up_to += 1;
        }
        up_to
    }

    /// Lets so many be seen.
    pub(crate) fn open(&self, most: u64) {
        self.1.send_replace(most);
    }
}

/// Its sequence; every hundredth is larger than [`Fault::LowerMaxPayload`] allows.
fn body(sequence: u64) -> Vec<u8> {
    let mut body = sequence.to_string().into_bytes();
    if sequence.is_multiple_of(100) {
        body.resize(2_000, b'.');
    }
    body
}

pub(crate) struct Site {
    pub(crate) guarded: Guarded,
    pub(crate) proxy: Proxy,
    pub(crate) admin: Client,
    pub(crate) app: Client,
    pub(crate) seen: Seen,
    _flooded: Subscriber,
}

impl Site {
    pub(crate) async fn new(ack: jetstream::consumer::AckPolicy, push: bool, ack_wait: Duration) -> Site {
        let guarded = Guarded::start(ALLOWED, LIMITS);
        let admin = guarded.admin().await;
        let stream = stream(&admin, Default::default()).await;
        // Few enough that their acks stay below the limit.
        let publisher = admin.publisher(PublisherOptions::default().window(256)).await.unwrap();
        for n in 1..=MSGS {
            publisher.post(("s.a", body(n)), n).await.unwrap();
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
        let flooded = app.subscribe("flood").await.unwrap();
        Site { guarded, proxy, admin, app, seen: Seen::new(), _flooded: flooded }
    }

    pub(crate) async fn pull(&self) -> PullConsumer {
        let options = PullOptions::default().batch(100).heartbeat(Duration::from_millis(200));
        bounded("a consumer", self.app.pull_consumer("S", "C", options)).await.unwrap()
    }

    /// Lets only so much be seen as comes before the first of so many faults. To be called before anything is consumed.
    pub(crate) fn hold(&self, faults: usize) {
        self.seen.open(MSGS / (faults as u64 + 1));
    }

    /// One fault after another, each when its share was seen, and while the next is on its way.
    pub(crate) async fn happen(&mut self, faults: &[Fault]) {
        let share = |number: usize| MSGS * number as u64 / (faults.len() as u64 + 1);
        for (number, fault) in faults.iter().enumerate() {
            until("seen", async || self.seen.count() >= share(number + 1)).await;
            // What was seen already comes again after the last one: there is no end to that.
            self.seen.open(if number + 1 < faults.len() { share(number + 2) } else { u64::MAX });
            self.one(*fault).await;
        }
        until("all seen", async || self.seen.count() == MSGS).await;
    }

    /// Where it has an end of its own, it lasts so long that what was on its way comes again.
    async fn one(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => tokio::task::block_in_place(|| self.guarded.server.restart_killed()).unwrap(),
            Fault::Stop => tokio::task::block_in_place(|| self.guarded.server.restart()).unwrap(),
            Fault::Cut => self.proxy.cut(),
            Fault::StandStill => {
                self.guarded.server.pause().unwrap();
                tokio::time::sleep(2 * ACK_WAIT).await;
                self.guarded.server.resume().unwrap();
            }
            Fault::Revoked => {
                self.guarded.rule(REVOKED, LIMITS);
                tokio::time::sleep(2 * ACK_WAIT).await;
                self.guarded.rule(ALLOWED, LIMITS);
            }
            Fault::SlowConsumer => {
                let cut_off = || self.guarded.server.log_tail(10_000).matches("Slow Consumer").count();
                let before = cut_off();
                self.proxy.deaf(true);
                until("cut off as a slow consumer", async || {
                    for _ in 0..64 {
                        self.admin.publish("flood", vec![b'x'; 64 << 10].into()).await.unwrap();
                    }
                    self.admin.flush().await.unwrap();
                    cut_off() > before
                })
                .await;
                self.proxy.deaf(false);
            }
            Fault::LowerMaxPayload => {
                self.guarded.rule(ALLOWED, "max_payload: 1KB\nmax_pending: 128KB");
                tokio::time::sleep(2 * ACK_WAIT).await;
                self.guarded.rule(ALLOWED, LIMITS);
            }
        }
    }

    /// Until the server has every ack: what was acked into a lost connection comes again, and is taken until then.
    pub(crate) async fn nothing_pending(&self) {
        let js = jetstream::new(self.admin.clone());
        until("nothing pending", async || {
            let Ok(stream) = js.get_stream("S").await else { return false };
            let Ok(info) = stream.consumer_info("C").await else { return false };
            info.num_ack_pending == 0 && info.num_pending == 0
        })
        .await;
    }

    /// Nothing is left at the server, and nothing that was handed out has no answer.
    pub(crate) async fn nothing_is_left(&self, totals: ConsumerTotals) {
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
