//! A function per message, so many at once: ack where it succeeds, nak with a growing delay where it fails.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::delivery::Delivery;
use crate::error::ConsumeError;
use crate::pull::PullConsumer;

/// Settings of [`work`].
#[derive(Debug, Clone)]
pub struct WorkOptions {
    /// How many messages are worked on at once.
    pub concurrency: usize,
    /// The delay after the first failure; it doubles with each delivery.
    pub first_delay: Duration,
    /// The longest delay.
    pub longest_delay: Duration,
}

impl Default for WorkOptions {
    fn default() -> Self {
        WorkOptions {
            concurrency: 16,
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(60),
        }
    }
}

/// What [`work`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Worked {
    /// Succeeded and acked.
    pub done: u64,
    /// Failed and given back for later.
    pub failed: u64,
    /// Not answered here. The function panicked, or kept the message beyond its end: that gives it back when it is dropped. Or the
    /// client was closed: it is delivered again after `ack_wait`.
    pub unanswered: u64,
}

/// Why [`work`] ended before it was told to, and what it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the work ended by itself, with {} messages done", worked.done)]
pub struct WorkEnded {
    /// What it did. Each message that was taken is in it.
    pub worked: Worked,
    /// Why it could not go on.
    #[source]
    pub why: ConsumeError,
}

/// Works until `until` is ready; then takes no more, waits for what is being worked on, and gives back the rest.
///
/// ```no_run
/// # async fn f(consumer: streamproof_client::PullConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// use streamproof_client::{WorkOptions, work};
/// let stop = async { tokio::signal::ctrl_c().await.ok(); };
/// let worked = work(consumer, WorkOptions::default(), stop, |delivery| async move {
///     println!("{} bytes", delivery.payload().len());
///     Ok::<(), std::io::Error>(())
/// }).await?;
/// println!("{worked:?}");
/// # Ok(()) }
/// ```
pub async fn work<F, R, E>(
    mut consumer: PullConsumer,
    options: WorkOptions,
    until: impl Future<Output = ()>,
    f: F,
) -> Result<Worked, WorkEnded>
where
    F: Fn(Arc<Delivery>) -> R,
    R: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display,
{
    let room = Arc::new(Semaphore::new(options.concurrency.clamp(1, Semaphore::MAX_PERMITS)));
    let mut tasks: JoinSet<End> = JoinSet::new();
    let mut worked = Worked::default();
    let mut until = pin!(until);
    let result = loop {
        let permit = tokio::select! {
            biased;
            () = &mut until => break Ok(()),
            permit = room.clone().acquire_owned() => permit,
        };
        let delivery = tokio::select! {
            biased;
            () = &mut until => break Ok(()),
            delivery = consumer.next() => match delivery {
                Ok(delivery) => Arc::new(delivery),
                Err(error) => break Err(error),
            },
        };
        let job = f(delivery.clone());
        let options = options.clone();
        tasks.spawn(async move {
            let succeeded = job.await.map_err(|error| tracing::debug!(%error, "given back")).is_ok();
            let end = answer(delivery, succeeded, &options).await;
            drop(permit);
            end
        });
        while let Some(end) = tasks.try_join_next() {
            worked.count(end.unwrap_or(End::Unanswered));
        }
    };
    while let Some(end) = tasks.join_next().await {
        worked.count(end.unwrap_or(End::Unanswered));
    }
    let drained = consumer.drain().await;
    let ended = result.and(drained.map_err(|_| ConsumeError::Closed));
    ended.map(|()| worked).map_err(|why| WorkEnded { worked, why })
}

enum End {
    Done,
    Failed,
    Unanswered,
}

impl Worked {
    fn count(&mut self, end: End) {
        match end {
            End::Done => self.done += 1,
            End::Failed => self.failed += 1,
            End::Unanswered => self.unanswered += 1,
        }
    }
}

async fn answer(delivery: Arc<Delivery>, succeeded: bool, options: &WorkOptions) -> End {
    // The function kept it: its last owner drops it, which gives it back.
    let Some(delivery) = Arc::into_inner(delivery) else { return End::Unanswered };
    let delay = delay(delivery.metadata().map_or(1, |m| m.num_delivered), options);
    let sent = if succeeded { delivery.ack().await } else { delivery.nak(Some(delay)).await };
    match (sent, succeeded) {
        (Ok(()), true) => End::Done,
        (Ok(()), false) => End::Failed,
        (Err(_), _) => End::Unanswered,
    }
}

fn delay(num_delivered: u64, options: &WorkOptions) -> Duration {
    let doublings = u32::try_from(num_delivered.saturating_sub(1)).unwrap_or(u32::MAX).min(30);
    options.first_delay.saturating_mul(1 << doublings).min(options.longest_delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_bound() {
        let options = WorkOptions::default();
        let ms = |n| delay(n, &options).as_millis();
        assert_eq!((ms(1), ms(2), ms(4), ms(40)), (100, 200, 800, 60_000));
    }
}
