//! Every kind of consumer, at work until it is told to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use streamproof_client::async_nats::jetstream::consumer::AckPolicy;
use streamproof_client::{
    AckerOptions, ClientExt, ConsumeError, ConsumerTotals, Delivery, OnDisconnect, PullConsumer,
    PushConsumer, WorkOptions, work,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bed::bounded;
use crate::site::{ACK_WAIT, Seen, Site};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With answers of every kind.
    PullExplicit,
    PullAll,
    PullDouble,
    PushExplicit,
    PushAll,
    /// Whose function fails at times.
    Worker,
}

/// One of them at work.
pub(crate) struct AtWork {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<ConsumerTotals, ConsumeError>>,
}

impl Kind {
    pub(crate) const ALL: [Kind; 6] = [
        Kind::PullExplicit,
        Kind::PullAll,
        Kind::PullDouble,
        Kind::PushExplicit,
        Kind::PushAll,
        Kind::Worker,
    ];

    pub(crate) fn ack_policy(self) -> AckPolicy {
        match self {
            Kind::PullAll | Kind::PushAll => AckPolicy::All,
            _ => AckPolicy::Explicit,
        }
    }

    pub(crate) fn pushes(self) -> bool {
        matches!(self, Kind::PushExplicit | Kind::PushAll)
    }

    pub(crate) async fn site(self) -> Site {
        Site::new(self.ack_policy(), self.pushes(), ACK_WAIT).await
    }

    pub(crate) async fn start(self, site: &Site) -> AtWork {
        let (stop, stopped) = watch::channel(false);
        let seen = site.seen.clone();
        let task = match self {
            Kind::PullExplicit => tokio::spawn(every_answer(site.pull().await, seen, stopped)),
            Kind::PullAll => tokio::spawn(pull_all(site.pull().await, seen, stopped)),
            Kind::PullDouble => tokio::spawn(double(site.pull().await, site.app.clone(), seen, stopped)),
            Kind::PushExplicit | Kind::PushAll => {
                let push = bounded("a consumer", site.app.push_consumer("S", "C")).await.unwrap();
                match self {
                    Kind::PushAll => tokio::spawn(push_all(push, seen, stopped)),
                    _ => tokio::spawn(push_each(push, seen, stopped)),
                }
            }
            Kind::Worker => tokio::spawn(worker(site.pull().await, seen, stopped)),
        };
        AtWork { stop, task }
    }
}

impl AtWork {
    /// Tells it to stop; what it handed out, and what became of it. By then it has drained.
    pub(crate) async fn stop(self) -> ConsumerTotals {
        self.stop.send(true).unwrap();
        bounded("the end", self.task).await.unwrap().unwrap()
    }

    /// Waits for it to end by itself.
    pub(crate) async fn ends(self) -> Result<ConsumerTotals, ConsumeError> {
        bounded("an end by itself", self.task).await.unwrap()
    }
}

/// What the next one is; `None` where it is told to stop.
macro_rules! next {
    ($next:expr, $stopped:ident) => {
        tokio::select! {
            next = $next => Some(next),
            _ = $stopped.changed() => None,
        }
    };
}

type End = Result<ConsumerTotals, ConsumeError>;

async fn every_answer(mut pull: PullConsumer, seen: Seen, mut stopped: watch::Receiver<bool>) -> End {
    let mut n = 0u64;
    let mut end = Ok(());
    while let Some(next) = next!(pull.next(), stopped) {
        let delivery = match next {
            Ok(delivery) => delivery,
            Err(error) => {
                end = Err(error);
                break;
            }
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
            // More than fits is not sent; the message comes again.
            5 if first => {
                let reason = "x".repeat(70_000);
                assert!(delivery.term(Some(&reason)).await.is_err());
            }
            _ => delivery.ack().await.unwrap(),
        }
        assert!(pull.totals().unanswered <= 100, "{:?}", pull.totals());
    }
    let totals = pull.totals();
    assert!(totals.nacked > 0 && totals.termed > 0 && totals.given_back > 0, "{totals:?}");
    bounded("drain", pull.drain()).await.unwrap();
    end.map(|()| totals)
}

/// What is here and not acked yet, and how far everything is.
#[derive(Default)]
struct Waiting {
    whole_up_to: u64,
    deliveries: BTreeMap<u64, Delivery>,
}

impl Waiting {
    /// What was lost with a connection comes again later: an ack beyond it would answer for it unseen.
    async fn ack_what_is_whole(&mut self, seen: &Seen, got: Vec<Delivery>) {
        for delivery in got {
            seen.see(&delivery).await;
            self.deliveries.insert(delivery.metadata().unwrap().stream_sequence, delivery);
        }
        self.whole_up_to = seen.whole(self.whole_up_to);
        let later = self.deliveries.split_off(&(self.whole_up_to + 1));
        if let Some((_, last)) = std::mem::replace(&mut self.deliveries, later).pop_last() {
            last.ack().await.unwrap();
        }
    }
}

async fn pull_all(mut pull: PullConsumer, seen: Seen, mut stopped: watch::Receiver<bool>) -> End {
    let (mut waiting, mut end) = (Waiting::default(), Ok(()));
    while let Some(next) = next!(pull.next_many(64), stopped) {
        match next {
            Ok(got) => waiting.ack_what_is_whole(&seen, got).await,
            Err(error) => {
                end = Err(error);
                break;
            }
        }
    }
    drop(waiting);
    let totals = pull.totals();
    bounded("drain", pull.drain()).await.unwrap();
    end.map(|()| totals)
}

async fn push_all(mut push: PushConsumer, seen: Seen, mut stopped: watch::Receiver<bool>) -> End {
    let (mut waiting, mut end) = (Waiting::default(), Ok(()));
    while let Some(next) = next!(push.next(), stopped) {
        match next {
            Ok(delivery) => waiting.ack_what_is_whole(&seen, vec![delivery]).await,
            Err(error) => {
                end = Err(error);
                break;
            }
        }
    }
    drop(waiting);
    let totals = push.totals();
    bounded("drain", push.drain()).await.unwrap();
    end.map(|()| totals)
}

async fn push_each(mut push: PushConsumer, seen: Seen, mut stopped: watch::Receiver<bool>) -> End {
    let mut end = Ok(());
    while let Some(next) = next!(push.next(), stopped) {
        match next {
            Ok(delivery) => {
                seen.see(&delivery).await;
                delivery.ack().await.unwrap();
            }
            Err(error) => {
                end = Err(error);
                break;
            }
        }
    }
    let totals = push.totals();
    bounded("drain", push.drain()).await.unwrap();
    end.map(|()| totals)
}

async fn double(
    mut pull: PullConsumer,
    app: streamproof_client::async_nats::Client,
    seen: Seen,
    mut stopped: watch::Receiver<bool>,
) -> End {
    let outcomes = Arc::new(AtomicU64::new(0));
    let told = outcomes.clone();
    let options = AckerOptions::default()
        .window(50)
        .on_disconnect(OnDisconnect::Repeat)
        .timeout(ACK_WAIT)
        .on_outcome(move |_, _| _ = told.fetch_add(1, Ordering::Relaxed));
    let acker = app.acker(options).await.unwrap();
    let mut end = Ok(());
    while let Some(next) = next!(pull.next(), stopped) {
        let delivery = match next {
            Ok(delivery) => delivery,
            Err(error) => {
                end = Err(error);
                break;
            }
        };
        seen.see(&delivery).await;
        // Dropped while it waits for room, the delivery is given back.
        let Some(posted) = next!(acker.post(delivery, 0), stopped) else { break };
        posted.unwrap();
        assert!(acker.totals().in_flight <= 50);
    }
    let confirmed = bounded("every outcome", acker.settle()).await;
    assert!(confirmed.balanced(), "{confirmed:?}");
    assert_eq!(outcomes.load(Ordering::Relaxed), confirmed.sent, "an outcome for each");
    let totals = pull.totals();
    bounded("drain", pull.drain()).await.unwrap();
    end.map(|()| totals)
}

async fn worker(pull: PullConsumer, seen: Seen, mut stopped: watch::Receiver<bool>) -> End {
    const AT_ONCE: usize = 8;
    let options = WorkOptions {
        concurrency: AT_ONCE,
        first_delay: Duration::from_millis(10),
        longest_delay: Duration::from_millis(100),
    };
    let busy = Arc::new(AtomicU64::new(0));
    let until = async move { _ = stopped.changed().await };
    let worked = work(pull, options, until, move |delivery: Arc<Delivery>| {
        let (seen, busy) = (seen.clone(), busy.clone());
        async move {
            assert!(busy.fetch_add(1, Ordering::Relaxed) < AT_ONCE as u64, "more at once than may be");
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
    })
    .await;
    let (worked, end) = match worked {
        Ok(worked) => (worked, Ok(ConsumerTotals::default())),
        Err(ended) => (ended.worked, Err(ended.why)),
    };
    assert!(worked.done > 0 && worked.failed > 0 && worked.unanswered == 0, "{worked:?}");
    end
}
