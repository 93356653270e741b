//! Consuming all of a stream: an ack for each message, one ack for many, or each ack confirmed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::jetstream::consumer::AckPolicy;
use streamproof_client::{
    Acker, AckerOptions, ClientExt, ConsumeError, Delivery, PublishError, PullConsumer, PullOptions,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::BenchError;
use crate::publish::number;
use crate::run::Run;
use crate::sample::{Sample, Stopwatch};
use crate::settings::{Measure, Shape};

/// Taken from the consumer at a time, at most.
const AT_A_TIME: usize = 256;

/// The name of the consumer in each round.
pub(crate) const CONSUMER: &str = "bench";

/// Which messages were seen, by the number in their bodies.
pub(crate) struct Seen {
    bits: Vec<AtomicU64>,
    msgs: u64,
    distinct: AtomicU64,
    again: AtomicU64,
    foreign: AtomicU64,
}

impl Seen {
    pub(crate) fn new(msgs: u64) -> Self {
        Seen {
            bits: (0..msgs.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            msgs,
            distinct: AtomicU64::new(0),
            again: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
        }
    }

    pub(crate) fn see(&self, body: &[u8]) {
        let Some(n) = number(body).filter(|n| *n < self.msgs) else {
            self.foreign.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let bit = 1 << (n % 64);
        let before = self.bits[(n / 64) as usize].fetch_or(bit, Ordering::Relaxed);
        let counter = if before & bit == 0 { &self.distinct } else { &self.again };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn all(&self) -> bool {
        self.distinct.load(Ordering::Relaxed) >= self.msgs
    }

    pub(crate) fn check(&self, sample: &mut Sample) {
        sample.expect("different messages received", self.msgs, self.distinct.load(Ordering::Relaxed));
        sample.expect("messages received again", 0, self.again.load(Ordering::Relaxed));
        sample.expect("messages received that are not ours", 0, self.foreign.load(Ordering::Relaxed));
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    #[error(transparent)]
    Answer(#[from] PublishError),
}

/// Consumes the stream, which holds the numbers 0 to `msgs`, through a consumer of its own.
pub(crate) async fn all(
    run: &Run<'_>,
    measure: Measure,
    shape: Shape,
    msgs: u64,
) -> Result<Sample, BenchError> {
    let policy = if measure == Measure::ConsumeAckAll { AckPolicy::All } else { AckPolicy::Explicit };
    run.bed.add_consumer(CONSUMER, policy, shape.window * shape.clients).await?;
    let mut consumers = Vec::new();
    for _ in 0..shape.clients {
        let client = run.connect().await?;
        let options = PullOptions::default().batch(shape.window);
        let pull = client.pull_consumer(&run.bed.stream, CONSUMER, options).await;
        let acker = match measure {
            Measure::ConsumeDoubleAck => {
                let options = AckerOptions::default().window(shape.window);
                Some(client.acker(options).await.map_err(|e| run.client_error(e))?)
            }
            _ => None,
        };
        consumers.push((pull.map_err(|e| run.client_error(e))?, acker, client));
    }
    let seen = Arc::new(Seen::new(msgs));
    let (done, _) = watch::channel(false);
    let done = Arc::new(done);
    let watch = Stopwatch::start(run.target.server_pid);
    let mut tasks = JoinSet::new();
    for (pull, acker, client) in consumers {
        let (seen, done, progress) = (seen.clone(), done.clone(), run.progress.clone());
        tasks.spawn(async move {
            let mut pull = pull;
            let took = take(&mut pull, acker.as_ref(), &seen, &done, |n| progress.add(n)).await;
            // The last acks are in the server's hands, not only in the socket's.
            client.flush().await.map_err(|_| PublishError::Closed)?;
            let confirmed = match &acker {
                Some(acker) => acker.settle().await.acked,
                None => 0,
            };
            took.map(|()| (confirmed, pull))
        });
    }
    let mut confirmed = 0;
    let mut pulls = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        let (n, pull) = run.joined(joined)?;
        confirmed += n;
        pulls.push(pull);
    }
    let mut sample = watch.stop(msgs);
    seen.check(&mut sample);
    if measure == Measure::ConsumeDoubleAck {
        sample.expect("acks confirmed", msgs, confirmed);
    }
    run.bed.check_consumed(CONSUMER, &mut sample).await?;
    drop(pulls);
    run.bed.remove_consumer(CONSUMER).await?;
    Ok(sample)
}

async fn take(
    pull: &mut PullConsumer,
    acker: Option<&Acker>,
    seen: &Seen,
    done: &watch::Sender<bool>,
    progress: impl Fn(u64),
) -> Result<(), Failed> {
    let all = pull.ack_policy() == streamproof_client::AckPolicy::All;
    let mut over = done.subscribe();
    while !seen.all() {
        let got = tokio::select! {
            biased;
            _ = over.changed() => break,
            got = pull.next_many(AT_A_TIME) => got?,
        };
        let count = got.len() as u64;
        got.iter().for_each(|delivery| seen.see(delivery.payload()));
        match acker {
            Some(acker) => {
                for delivery in got {
                    acker.post(delivery, 0).await?;
                }
            }
            None if all => ack_last(got).await?,
            None => {
                for delivery in got {
                    delivery.ack().await?;
                }
            }
        }
        progress(count);
    }
    _ = done.send(true);
    Ok(())
}

async fn ack_last(mut got: Vec<Delivery>) -> Result<(), PublishError> {
    match got.pop() {
        Some(last) => last.ack().await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::numbered;

    #[test]
    fn what_is_missing_double_or_foreign_is_noticed() {
        let seen = Seen::new(70);
        (0..70).filter(|n| *n != 66).for_each(|n| seen.see(&numbered(n, 8)));
        assert!(!seen.all());
        seen.see(&numbered(3, 16));
        seen.see(&numbered(70, 16));
        seen.see(b"short");
        let mut sample = Stopwatch::start(None).stop(70);
        seen.check(&mut sample);
        assert_eq!(
            sample.miscounts,
            [
                "different messages received: 69 instead of 70",
                "messages received again: 1 instead of 0",
                "messages received that are not ours: 2 instead of 0"
            ]
        );
        seen.see(&numbered(66, 8));
        assert!(seen.all());
    }
}
