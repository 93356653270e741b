//! The settings of a pull consumer.

use std::time::Duration;

use crate::consumer::API_PREFIX;
use crate::pipeline::LONGEST;

/// Asked for ahead, unless told otherwise.
const DEFAULT_BATCH: usize = 1000;

/// A request is kept by the server for this long; then it says so, and is asked again.
const DEFAULT_EXPIRES: Duration = Duration::from_secs(30);

/// The server shows that it is alive this often while it has nothing to deliver.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(5);

/// Settings of a [`PullConsumer`](crate::PullConsumer).
#[derive(Debug, Clone)]
pub struct PullOptions {
    pub(super) batch: usize,
    pub(super) max_bytes: Option<usize>,
    pub(super) expires: Duration,
    pub(super) heartbeat: Duration,
    pub(super) api_prefix: String,
}

impl Default for PullOptions {
    fn default() -> Self {
        PullOptions {
            batch: DEFAULT_BATCH,
            max_bytes: None,
            expires: DEFAULT_EXPIRES,
            heartbeat: DEFAULT_HEARTBEAT,
            api_prefix: API_PREFIX.into(),
        }
    }
}

impl PullOptions {
    /// How many messages may be asked for and not yet handed to the caller, 1 to [`MAX_BATCH`](crate::MAX_BATCH). This is also the most
    /// that is buffered.
    #[must_use]
    pub fn batch(mut self, messages: usize) -> Self {
        self.batch = messages;
        self
    }

    /// A bound in bytes for each request.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// How long the server keeps a request; the heartbeat is made no longer than half of it.
    #[must_use]
    pub fn expires(mut self, expires: Duration) -> Self {
        self.expires = expires.min(LONGEST);
        self
    }

    /// How often the server shows that it is alive. After two missed ones it is asked again.
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat.min(LONGEST);
        self
    }

    /// The API's prefix, where there is a domain (`$JS.hub.API`) or an import.
    #[must_use]
    pub fn api_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.api_prefix = prefix.into();
        self
    }
}
