//! Fast batches (ADR-50, nats-server 2.14): one ack for hundreds of messages, with the server setting the pace.
//!
//! Each message carries its place in the reply subject, `<inbox>.<flow>.fail.<sequence>.<operation>.$FI`. With gap mode
//! `fail` an ack for a sequence says that everything up to it is stored, and after a gap or an error nothing more is.

mod progress;
mod report;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::Stream;

use crate::error::{PublishError, StartError};
use crate::outcome::{Indeterminate, PubAck, Rejection, number};
use crate::outgoing::Outgoing;
use crate::pipeline::MAX_WINDOW;

use progress::Progress;
pub use report::{AddError, BatchFailure, BatchReport};

/// The server never acks more rarely than every 500 messages (jetstream_batching.go, `fastBatchInit`).
const DEFAULT_FLOW: u16 = 500;

/// Acks that may be outstanding: two keep the server busy while one ack travels (ADR-50 advises one or two).
const DEFAULT_OUTSTANDING_ACKS: u16 = 2;

/// Without an ack for this long the batch ends as indeterminate; a third of it in, the server is asked (a ping).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// While waiting, how often the connection is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Settings of a [`FastBatch`].
#[derive(Debug, Clone)]
pub struct FastBatchOptions {
    flow: u16,
    outstanding_acks: u16,
    timeout: Duration,
}

impl Default for FastBatchOptions {
    fn default() -> Self {
        FastBatchOptions {
            flow: DEFAULT_FLOW,
            outstanding_acks: DEFAULT_OUTSTANDING_ACKS,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

impl FastBatchOptions {
    /// An ack for every so many messages. The server may make it fewer.
    #[must_use]
    pub fn flow(mut self, messages: u16) -> Self {
        self.flow = messages.max(1);
        self
    }

    /// How many acks may be outstanding. In flight at most: this times the flow.
    #[must_use]
    pub fn outstanding_acks(mut self, acks: u16) -> Self {
        self.outstanding_acks = acks.max(1);
        self
    }

    /// Without an ack for this long the batch ends as indeterminate.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) fn in_flight(&self) -> usize {
        (usize::from(self.flow) * usize::from(self.outstanding_acks)).min(MAX_WINDOW)
    }

    pub(crate) fn ack_timeout(&self) -> Duration {
        self.timeout
    }
}

/// One batch. Many messages may be in it; it is one sender's, in order. [`Batch`](crate::Batch) is the same with a fallback.
///
/// ```no_run
/// # async fn f(client: streamproof_client::async_nats::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use streamproof_client::{FastBatch, FastBatchOptions};
/// let mut batch = FastBatch::begin(client, FastBatchOptions::default()).await?;
/// for n in 0..10_000 {
///     // Ended early: the report says why, and what is stored.
///     if batch.add(("orders.eu", n.to_string())).await.is_err() {
///         break;
///     }
/// }
/// let report = batch.commit().await;
/// assert_eq!(report.sent, report.stored + report.rejected + report.indeterminate);
/// # Ok(()) }
/// ```
pub struct FastBatch {
    client: Client,
    acks: Subscriber,
    /// `<inbox>.<flow>.fail.`
    reply_prefix: String,
    subject: Option<Subject>,
    progress: Progress,
    outstanding_acks: u64,
    timeout: Duration,
    connects: u64,
}

#[derive(Clone, Copy)]
enum Operation {
    Start = 0,
    Append = 1,
    CommitWithout = 3,
    Ping = 4,
}

impl FastBatch {
    /// Begins a batch; the stream must have `allow_batched`. On a server before 2.14 this says so.
    #[tracing::instrument(level = "debug", skip_all, fields(flow = options.flow))]
    pub async fn begin(client: Client, options: FastBatchOptions) -> Result<Self, StartError> {
        if !client.is_server_compatible(2, 14, 0) {
            return Err(StartError::ServerTooOld {
                what: "a fast batch",
                needs: "2.14",
                has: client.server_info().version,
            });
        }
        let inbox = client.new_inbox();
        let acks =
            client.subscribe(format!("{inbox}.>")).await.map_err(|e| StartError::Subscribe(Box::new(e)))?;
        Ok(FastBatch {
            reply_prefix: format!("{inbox}.{}.fail.", options.flow),
            connects: client.statistics().connects.load(Ordering::Relaxed),
            client,
            acks,
            subject: None,
            progress: Progress::new(u64::from(options.flow)),
            outstanding_acks: u64::from(options.outstanding_acks),
            timeout: options.timeout,
        })
    }

    /// Sends one more; waits while as much is in flight as may be. The first waits for the server's answer.
    pub async fn add(&mut self, message: impl Into<Outgoing>) -> Result<(), AddError> {
        let message = message.into();
        message.check(&self.client)?;
        while self.progress.failure.is_none()
            && self.progress.sent - self.progress.stored >= self.progress.flow * self.outstanding_acks
        {
            self.await_answer().await;
        }
        if let Some(failure) = &self.progress.failure {
            return Err(AddError::Ended(failure.clone()));
        }
        let operation = if self.progress.sent == 0 { Operation::Start } else { Operation::Append };
        let reply = self.reply(self.progress.sent + 1, operation);
        if self.subject.is_none() {
            self.subject = Some(message.subject.clone());
        }
        // From here on it counts as sent: with this future dropped while it waits, nobody could say.
        self.progress.sent += 1;
        let sent = match message.headers {
            None => self.client.publish_with_reply(message.subject, reply, message.payload).await,
            Some(h) => {
                self.client.publish_with_reply_and_headers(message.subject, reply, h, message.payload).await
            }
        };
        if let Err(error) = sent {
            self.progress.sent -= 1;
            return Err(PublishError::from(error).into());
        }
        while self.progress.sent == 1 && !self.progress.started && self.progress.failure.is_none() {
            self.await_answer().await;
        }
        Ok(())
    }

    /// Messages handed to the connection, so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.progress.sent
    }

    /// Messages of which it is known that they are stored, so far.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.progress.stored
    }

    /// Ends the batch, waits for the server's last word, and accounts for every message.
    #[tracing::instrument(level = "debug", skip_all, fields(sent = self.progress.sent))]
    pub async fn commit(mut self) -> BatchReport {
        if let Some(subject) = self.subject.clone()
            && self.progress.failure.is_none()
        {
            let reply = self.reply(self.progress.sent + 1, Operation::CommitWithout);
            if self.client.publish_with_reply(subject, reply, Bytes::new()).await.is_err() {
                self.progress.failure = Some(BatchFailure::Indeterminate(Indeterminate::Closed));
            }
        }
        // After a gap or a refusal the server still says how much it stored before.
        let may_answer = |f: &BatchFailure| !matches!(f, BatchFailure::Indeterminate(_));
        while self.progress.sent > 0
            && self.progress.committed.is_none()
            && !self.progress.over
            && self.progress.failure.as_ref().is_none_or(may_answer)
        {
            self.await_answer().await;
        }
        self.progress.report()
    }

    /// What the server said when it refused.
    pub(crate) fn refusal(&self) -> Option<&Rejection> {
        match &self.progress.failure {
            Some(BatchFailure::Rejected(rejection)) => Some(rejection),
            _ => None,
        }
    }

    /// The ack of a server that does not know batches, for the first message.
    pub(crate) fn single(&self) -> Option<&PubAck> {
        self.progress.single.as_ref()
    }

    fn reply(&self, sequence: u64, operation: Operation) -> Subject {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = sequence;
        while rest > 0 {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let mut subject = String::with_capacity(self.reply_prefix.len() + 26);
        subject.push_str(&self.reply_prefix);
        subject.extend(digits[at..].iter().map(|d| char::from(*d)));
        subject.push('.');
        subject.push(char::from(b'0' + operation as u8));
        subject.push_str(".$FI");
        Subject::from(subject)
    }

    /// Waits for one answer, or sets the failure.
    async fn await_answer(&mut self) {
        let begun = Instant::now();
        let mut pinged = false;
        loop {
            let next = poll_fn(|cx| Pin::new(&mut self.acks).poll_next(cx));
            match tokio::time::timeout(TICK, next).await {
                Ok(Some(message)) => return self.take_in(&message),
                Ok(None) => return self.progress.fail(Indeterminate::Closed),
                Err(_) => {}
            }
            // The server forgets its batches when it goes, and a new connection proves nothing about the old one.
            if self.client.statistics().connects.load(Ordering::Relaxed) != self.connects {
                return self.progress.fail(Indeterminate::Disconnected);
            }
            if begun.elapsed() >= self.timeout {
                return self.progress.fail(Indeterminate::Timeout);
            }
            // A server that does not know batches would store it.
            if self.progress.started && !pinged && begun.elapsed() >= self.timeout / 3 {
                pinged = true;
                if let Some(subject) = self.subject.clone() {
                    let reply = self.reply(self.progress.sent, Operation::Ping);
                    let _ = self.client.publish_with_reply(subject, reply, Bytes::new()).await;
                }
            }
        }
    }

    fn take_in(&mut self, message: &Message) {
        let sequence = message.subject.strip_prefix(self.reply_prefix.as_str());
        let sequence = sequence.and_then(|rest| number(rest.split('.').next()?.as_bytes()));
        self.progress.take_in(message, sequence);
    }
}
