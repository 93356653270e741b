//! The stream that is measured on, and what the server says is in it.

use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::consumer::{self, AckPolicy};
use async_nats::jetstream::stream::{Config, PersistenceMode, State, StorageType};
use async_nats::jetstream::{self, Context};

use crate::error::BenchError;
use crate::sample::Sample;

/// How long the server's count may lag behind the last ack: an ack that nobody waits for is read a little later.
const SETTLE_BOUND: Duration = Duration::from_secs(10);

/// Between two tries to make an empty stream.
const EMPTY_INTERVAL: Duration = Duration::from_millis(100);

/// Between two looks at a count that lags.
const SETTLE_INTERVAL: Duration = Duration::from_millis(5);

/// A stream of our own on the server, and its consumers.
pub(crate) struct Bed {
    js: Context,
    pub(crate) stream: String,
    pub(crate) subject: String,
    /// Whether the server takes fast batches.
    pub(crate) fast: bool,
    config: Config,
}

impl Bed {
    /// Names a stream that does not exist yet; [`Bed::empty`] makes it.
    pub(crate) fn new(client: Client, persist_async: bool) -> Self {
        // An inbox is `_INBOX.<unique>`: its second half is a name that nobody else has.
        let inbox = client.new_inbox();
        let unique = inbox.rsplit('.').next().unwrap_or_default();
        let stream = format!("streamproof-bench-{unique}");
        let subject = format!("streamproof.bench.{unique}");
        let fast = client.is_server_compatible(2, 14, 0);
        let config = Config {
            name: stream.clone(),
            subjects: vec![subject.clone()],
            storage: StorageType::File,
            allow_batch_publish: fast,
            persist_mode: persist_async.then_some(PersistenceMode::Async),
            ..Config::default()
        };
        Bed { js: jetstream::new(client), stream, subject, fast, config }
    }

    /// Makes the stream anew, with nothing in it.
    ///
    /// A stream that was deleted and is made again at once may not be made yet, or come up with old messages: the server removes
    /// its folder behind the answer, and a second delete fails to move it aside while that goes on (nats-server
    /// `fileStore.Delete`; seen on 2.15.1). So it is looked at, and made again until it is empty.
    pub(crate) async fn empty(&self) -> Result<(), BenchError> {
        self.remove().await?;
        let begun = Instant::now();
        loop {
            let late = begun.elapsed() > SETTLE_BOUND;
            match self.js.create_stream(&self.config).await {
                Ok(made) => {
                    let state = &made.cached_info().state;
                    if (state.messages == 0 && state.last_sequence == 0) || late {
                        return Ok(());
                    }
                    self.remove().await?;
                }
                Err(error) if late => return Err(refused("make the stream")(error)),
                Err(_) => {}
            }
            tokio::time::sleep(EMPTY_INTERVAL).await;
        }
    }

    /// Removes it with its consumers.
    pub(crate) async fn remove(&self) -> Result<(), BenchError> {
        match self.js.delete_stream(&self.stream).await {
            Err(error) if !is_not_found(&error) => Err(refused("remove the stream")(error)),
            _ => Ok(()),
        }
    }

    pub(crate) async fn state(&self) -> Result<State, BenchError> {
        let stream = self.js.get_stream(&self.stream).await.map_err(refused("look at the stream"))?;
        Ok(stream.cached_info().state.clone())
    }

    /// Holds what the stream has against what was published into it, empty as it was.
    pub(crate) async fn check_stored(&self, sample: &mut Sample) -> Result<(), BenchError> {
        let state = self.state().await?;
        sample.expect("messages in the stream", sample.msgs, state.messages);
        sample.expect("last sequence of the stream", sample.msgs, state.last_sequence);
        Ok(())
    }

    /// Makes a durable consumer of the whole stream.
    pub(crate) async fn add_consumer(
        &self,
        name: &str,
        ack_policy: AckPolicy,
        max_ack_pending: usize,
    ) -> Result<(), BenchError> {
        let config = consumer::pull::Config {
            durable_name: Some(name.to_owned()),
            ack_policy,
            max_ack_pending: i64::try_from(max_ack_pending).unwrap_or(i64::MAX),
            ..Default::default()
        };
        let made = self.js.create_consumer_strict_on_stream(config, &self.stream).await;
        made.map(drop).map_err(refused("make the consumer"))
    }

    pub(crate) async fn remove_consumer(&self, name: &str) -> Result<(), BenchError> {
        let removed = self.js.delete_consumer_from_stream(name, &self.stream).await;
        removed.map(drop).map_err(refused("remove the consumer"))
    }

    /// Holds what the consumer says against all of the stream consumed and acked.
    pub(crate) async fn check_consumed(&self, name: &str, sample: &mut Sample) -> Result<(), BenchError> {
        let last = self.state().await?.last_sequence;
        let begun = Instant::now();
        loop {
            let stream = self.js.get_stream_no_info(&self.stream).await;
            let stream = stream.map_err(refused("look at the stream"))?;
            let info = stream.consumer_info(name).await.map_err(refused("look at the consumer"))?;
            let done = info.num_pending == 0 && info.num_ack_pending == 0;
            if (done && info.ack_floor.stream_sequence == last) || begun.elapsed() > SETTLE_BOUND {
                sample.expect("messages left for the consumer", 0, info.num_pending);
                sample.expect("messages without an ack", 0, info.num_ack_pending as u64);
                sample.expect("ack floor", last, info.ack_floor.stream_sequence);
                sample.expect("redelivered messages", 0, info.num_redelivered as u64);
                return Ok(());
            }
            tokio::time::sleep(SETTLE_INTERVAL).await;
        }
    }
}

fn is_not_found(error: &jetstream::context::DeleteStreamError) -> bool {
    use jetstream::context::GetStreamErrorKind::JetStream;
    matches!(error.kind(), JetStream(e) if e.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND)
}

fn refused<E: std::fmt::Display>(doing: &'static str) -> impl FnOnce(E) -> BenchError {
    move |error| BenchError::Refused { doing, reason: error.to_string() }
}
