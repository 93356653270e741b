//! Publish, consume and ack on JetStream at the server's speed, with nothing unaccounted for.

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
pub use worker::{WorkOptions, Worked, work};
