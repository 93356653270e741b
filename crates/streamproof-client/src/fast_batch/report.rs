//! How a batch ended, and why.

use std::sync::Arc;

use crate::error::PublishError;
use crate::outcome::{Indeterminate, Rejection};

/// How a batch ended. `sent == stored + rejected + indeterminate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchReport {
    /// The stream, once it is known.
    pub stream: Option<Arc<str>>,
    /// The sequence of the last message, where the batch was committed.
    pub last_sequence: Option<u64>,
    /// Messages handed to the connection.
    pub sent: u64,
    /// The first so many are stored (or were, by their message id).
    pub stored: u64,
    /// The last so many are not.
    pub rejected: u64,
    /// Those between, of which nobody knows.
    pub indeterminate: u64,
    /// Why it ended before it was committed.
    pub failure: Option<BatchFailure>,
}

/// Why a batch ended before it was committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchFailure {
    /// The server refused a message, and takes none after it.
    #[error("refused: {0}")]
    Rejected(Rejection),
    /// The server that has the stream does not know fast batches: it stored the first message by itself, and that is all there is.
    #[error("the server that has the stream does not know fast batches; that needs nats-server 2.14")]
    Unknown,
    /// A message did not arrive, and the server takes none after it.
    #[error("message {expected} of the batch did not reach the server")]
    Gap {
        /// The first that is missing.
        expected: u64,
    },
    /// Nobody knows.
    #[error(transparent)]
    Indeterminate(Indeterminate),
}

/// Why a message was not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// It was not sent; the batch goes on.
    #[error(transparent)]
    NotSent(#[from] PublishError),
    /// The batch has ended; [`FastBatch::commit`](crate::FastBatch::commit) has the report. This message was not sent.
    #[error("the batch has ended: {0}")]
    Ended(BatchFailure),
}
