//! Publish, consume and ack on JetStream at the server's speed, with nothing unaccounted for.
//!
//! On the [`async_nats::Client`] or [`Context`](async_nats::jetstream::Context) that you have, [`ClientExt`] adds:
//!
//! | | gives | with |
//! |---|---|---|
//! | [`publisher`](ClientExt::publisher) | [`Publisher`] | an ack for each message, a hard bound on what is in flight |
//! | [`Batch`], [`FastBatch`] | [`BatchReport`] | one ack for hundreds of messages (nats-server 2.14), with a fallback |
//! | [`pull_consumer`](ClientExt::pull_consumer) | [`PullConsumer`] | [`Delivery`]: ack, nak with delay, term, in-progress |
//! | [`push_consumer`](ClientExt::push_consumer) | [`PushConsumer`] | the same |
//! | [`acker`](ClientExt::acker) | [`Acker`] | acks that the server confirms, many at once |
//! | [`work`] | [`Worked`] | a function for each message, so many at once |
//!
//! **What holds, whatever happens.** Every publish ends exactly once, as acked, rejected or indeterminate ([`Outcome`]): never
//! silently dropped, never counted twice. A message that is in flight keeps its place in the window until its answer is
//! here or cannot come any more; a timeout frees nothing. Nothing handed out by a consumer is left without an answer: what is
//! dropped is given back, and `drain` waits for the rest. While the server is away, publishing waits, fails or repeats as you
//! chose ([`OnDisconnect`]); consuming goes on where it was.
//!
//! **What can be read.** [`Totals`] and [`ConsumerTotals`] count by outcome, with what is in flight; [`Histogram`] has the
//! latencies. Spans and events of `tracing` are at the levels debug and info.
//!
//! Every use is an example to run, on a server of its own: `publish`, `fast_batch`, `consume`, `worker`, and `million`.
//!
//! **To read it**: `outcome`, `outgoing` and `error` are what is said; `pipeline` with its `slots` (pure, and the heart of
//! it) is how a request gets its one answer; `publisher` and `acker` are thin on top of that; `delivery` with `answers`, then
//! `pull` and `push`, are the other half; `fast_batch` stands by itself.

pub use async_nats;

mod acker;
mod answers;
mod batch;
mod consumer;
mod delivery;
mod error;
mod extension;
mod fast_batch;
mod metrics;
mod outcome;
mod outgoing;
mod pipeline;
mod publisher;
mod pull;
mod push;
mod worker;

pub use acker::{AckFuture, Acker, AckerOptions};
pub use batch::{Batch, Fallback};
pub use delivery::{AckPolicy, Delivery, Metadata};
pub use error::{ConsumeError, PublishError, StartError};
pub use extension::ClientExt;
pub use fast_batch::{AddError, BatchFailure, BatchReport, FastBatch, FastBatchOptions};
pub use metrics::{ConsumerTotals, Histogram, Totals};
pub use outcome::{AckOutcome, Indeterminate, Outcome, PubAck, Rejection};
pub use outgoing::Outgoing;
pub use pipeline::{MAX_WINDOW, OnDisconnect};
pub use publisher::{OutcomeFuture, Publisher, PublisherOptions};
pub use pull::{MAX_BATCH, PullConsumer, PullOptions};
pub use push::PushConsumer;
pub use worker::{WorkEnded, WorkOptions, Worked, work};
