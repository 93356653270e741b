//! Publishing: an ack for each message, or fast batches; and filling a stream with numbered messages.

use bytes::{BufMut, Bytes, BytesMut};
use streamproof_client::{
    ClientExt, FastBatch, FastBatchOptions, Histogram, Outgoing, Publisher, PublisherOptions, Totals,
};
use tokio::task::JoinSet;

use crate::error::BenchError;
use crate::run::Run;
use crate::sample::{Sample, Stopwatch};
use crate::settings::{Shape, share};

/// How many messages are sent between two words to the one who watches.
const WORD_EVERY: u64 = 256;

/// Acks of a fast batch that may be outstanding; the flow is the window. Twice the crate's default: with that the server still waits for
/// the next message at times (README, "How fast the client is").
const OUTSTANDING_ACKS: u16 = 4;

/// How much is in flight while a stream is filled.
const FILL_WINDOW: usize = 2000;

/// A body of this size that begins with a number.
pub(crate) fn numbered(number: u64, size_bytes: usize) -> Bytes {
    let mut body = BytesMut::with_capacity(size_bytes);
    body.put_u64_le(number);
    body.resize(size_bytes, b'x');
    body.freeze()
}

/// The number that a body begins with.
pub(crate) fn number(body: &[u8]) -> Option<u64> {
    body.first_chunk().map(|first| u64::from_le_bytes(*first))
}

pub(crate) async fn ack_each(run: &Run<'_>, shape: Shape, msgs: u64) -> Result<Sample, BenchError> {
    run.bed.empty().await?;
    let mut publishers = Vec::new();
    for _ in 0..shape.clients {
        let options = PublisherOptions::default().window(shape.window).stream(&run.bed.stream);
        let client = run.connect().await?;
        publishers.push(client.publisher(options).await.map_err(|e| run.client_error(e))?);
    }
    let body = numbered(0, shape.size_bytes);
    let watch = Stopwatch::start(run.target.server_pid);
    let mut tasks = JoinSet::new();
    for (number, publisher) in publishers.into_iter().enumerate() {
        let count = share(msgs, shape.clients, number);
        let message = Outgoing::new(run.bed.subject.clone(), body.clone());
        let progress = run.progress.clone();
        tasks.spawn(async move {
            let mut told = 0;
            for n in 0..count {
                if n - told == WORD_EVERY {
                    progress.add(n - told);
                    told = n;
                }
                publisher.post(message.clone(), n).await?;
            }
            let totals = publisher.settle().await;
            progress.add(count - told);
            Ok::<_, streamproof_client::PublishError>((totals, publisher.latency()))
        });
    }
    let mut latency = Histogram::default();
    let mut totals = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        let (total, one) = run.joined(joined)?;
        latency.merge(&one);
        totals.push(total);
    }
    let mut sample = watch.stop(msgs);
    sample.latency = Some(latency);
    let sum = |f: fn(&Totals) -> u64| totals.iter().map(f).sum::<u64>();
    sample.expect("messages sent", msgs, sum(|t| t.sent));
    sample.expect("messages acked", msgs, sum(|t| t.acked - t.duplicates));
    run.bed.check_stored(&mut sample).await?;
    Ok(sample)
}

pub(crate) async fn fast(run: &Run<'_>, shape: Shape, msgs: u64) -> Result<Sample, BenchError> {
    run.bed.empty().await?;
    let flow = u16::try_from(shape.window).unwrap_or(u16::MAX);
    let mut batches = Vec::new();
    for _ in 0..shape.clients {
        let options = FastBatchOptions::default().flow(flow).outstanding_acks(OUTSTANDING_ACKS);
        let client = run.connect().await?;
        batches.push(FastBatch::begin(client, options).await.map_err(|e| run.client_error(e))?);
    }
    let body = numbered(0, shape.size_bytes);
    let watch = Stopwatch::start(run.target.server_pid);
    let mut tasks = JoinSet::new();
    for (number, mut batch) in batches.into_iter().enumerate() {
        let count = share(msgs, shape.clients, number);
        let message = Outgoing::new(run.bed.subject.clone(), body.clone());
        let progress = run.progress.clone();
        tasks.spawn(async move {
            let mut told = 0;
            for n in 0..count {
                if n - told == WORD_EVERY {
                    progress.add(n - told);
                    told = n;
                }
                batch.add(message.clone()).await?;
            }
            let report = batch.commit().await;
            progress.add(count - told);
            Ok::<_, streamproof_client::AddError>(report)
        });
    }
    let mut reports = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        reports.push(run.joined(joined)?);
    }
    let mut sample = watch.stop(msgs);
    sample.expect("messages sent", msgs, reports.iter().map(|r| r.sent).sum());
    sample.expect("messages stored", msgs, reports.iter().map(|r| r.stored).sum());
    for failure in reports.iter().filter_map(|r| r.failure.as_ref()) {
        sample.miscounts.push(failure.to_string());
    }
    run.bed.check_stored(&mut sample).await?;
    Ok(sample)
}

/// Makes the stream anew with messages numbered from 0, in order.
pub(crate) async fn fill(run: &Run<'_>, size_bytes: usize, msgs: u64) -> Result<(), BenchError> {
    run.bed.empty().await?;
    let client = run.connect().await?;
    let options = PublisherOptions::default().window(FILL_WINDOW);
    let publisher: Publisher = client.publisher(options).await.map_err(|e| run.client_error(e))?;
    let subject = async_nats::Subject::from(run.bed.subject.as_str());
    for n in 0..msgs {
        if n % WORD_EVERY == 0 {
            run.progress.add(WORD_EVERY.min(n));
        }
        let message = Outgoing::new(subject.clone(), numbered(n, size_bytes));
        publisher.post(message, n).await.map_err(|e| run.client_error(e))?;
    }
    let totals = publisher.settle().await;
    if totals.acked != msgs {
        return Err(run.client_error(format!("of {msgs} messages to consume {} were stored", totals.acked)));
    }
    Ok(())
}
