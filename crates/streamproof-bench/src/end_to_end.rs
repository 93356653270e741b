//! From publish to delivery: one publisher at a fixed rate, one consumer, and the time between the two for each message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::AckPolicy;
use bytes::{BufMut, BytesMut};
use streamproof_client::{ClientExt, Histogram, Outgoing, PublisherOptions, PullOptions};
use tokio::task::JoinSet;

use crate::consume::{CONSUMER, Seen};
use crate::error::BenchError;
use crate::run::Run;
use crate::sample::{Sample, Stopwatch};
use crate::settings::Shape;

/// Bytes before the filling: the message's number, and when it was due, in nanoseconds since the start.
pub(crate) const HEAD_BYTES: usize = 16;

/// The time of a message runs from when it was handed over; but where the publisher lags behind its rate, because the
/// server keeps it waiting, from when it was due. Otherwise a server that stands still would be asked nothing in that
/// time, and its worst would be missing from the numbers.
pub(crate) async fn latency(
    run: &Run<'_>,
    shape: Shape,
    rate_per_second: u64,
    seconds: u64,
) -> Result<Sample, BenchError> {
    let msgs = rate_per_second * seconds;
    run.bed.empty().await?;
    run.bed.add_consumer(CONSUMER, AckPolicy::Explicit, shape.window).await?;
    let client = run.connect().await?;
    let publisher = client
        .publisher(PublisherOptions::default().window(shape.window))
        .await
        .map_err(|e| run.client_error(e))?;
    let other = run.connect().await?;
    let mut pull = other
        .pull_consumer(&run.bed.stream, CONSUMER, PullOptions::default().batch(shape.window))
        .await
        .map_err(|e| run.client_error(e))?;
    let seen = Arc::new(Seen::new(msgs));
    let start = Instant::now();
    let watch = Stopwatch::start(run.target.server_pid);
    let taking = {
        let (seen, progress) = (seen.clone(), run.progress.clone());
        async move {
            let mut latency = Histogram::default();
            while !seen.all() {
                let delivery = pull.next().await?;
                let now = start.elapsed();
                seen.see(delivery.payload());
                if let Some(due) = due(delivery.payload()) {
                    latency.record(now.saturating_sub(due));
                }
                delivery.ack().await?;
                progress.add(1);
            }
            Ok::<_, crate::consume::Failed>((latency, pull))
        }
    };
    // In a set, so that it ends with this.
    let mut tasks = JoinSet::new();
    tasks.spawn(taking);
    let subject = async_nats::Subject::from(run.bed.subject.as_str());
    let gap = Duration::from_secs(1) / u32::try_from(rate_per_second).unwrap_or(u32::MAX);
    for n in 0..msgs {
        let due = gap * u32::try_from(n).unwrap_or(u32::MAX);
        let waited = start.elapsed() < due;
        if waited {
            tokio::time::sleep_until((start + due).into()).await;
        }
        // A timer that wakes late is not the server's doing.
        let from = if waited { start.elapsed() } else { due };
        let mut body = BytesMut::with_capacity(shape.size_bytes);
        body.put_u64_le(n);
        body.put_u64_le(u64::try_from(from.as_nanos()).unwrap_or(u64::MAX));
        body.resize(shape.size_bytes.max(HEAD_BYTES), b'x');
        let message = Outgoing::new(subject.clone(), body.freeze());
        publisher.post(message, n).await.map_err(|e| run.client_error(e))?;
    }
    let totals = publisher.settle().await;
    let taken = tasks.join_next().await.ok_or_else(|| run.client_error("the consumer is gone"))?;
    let (latency, pull) = run.joined(taken)?;
    other.flush().await.map_err(|e| run.client_error(e))?;
    let mut sample = watch.stop(msgs);
    sample.latency = Some(latency);
    sample.expect("messages acked", msgs, totals.acked);
    seen.check(&mut sample);
    run.bed.check_stored(&mut sample).await?;
    run.bed.check_consumed(CONSUMER, &mut sample).await?;
    drop(pull);
    run.bed.remove_consumer(CONSUMER).await?;
    Ok(sample)
}

fn due(body: &[u8]) -> Option<Duration> {
    let nanoseconds = body.get(8..HEAD_BYTES)?.first_chunk()?;
    Some(Duration::from_nanos(u64::from_le_bytes(*nanoseconds)))
}
