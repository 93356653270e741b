//! What is to be measured.

use std::path::PathBuf;

use crate::error::BenchError;

/// The smallest body: it holds the message's number.
pub const LEAST_SIZE_BYTES: usize = 8;

/// Clients at most: each has a connection of its own.
const MOST_CLIENTS: usize = 256;

/// One thing that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Publish, with an ack for each message.
    PublishAck,
    /// Publish in fast batches (nats-server 2.14).
    PublishFast,
    /// Consume, an ack for each message.
    ConsumeExplicit,
    /// Consume, one ack for many.
    ConsumeAckAll,
    /// Consume, each ack confirmed by the server.
    ConsumeDoubleAck,
    /// From publish to delivery, at a fixed rate.
    EndToEnd,
}

impl Measure {
    /// Every one, in the order in which they are measured.
    pub const ALL: [Measure; 6] = [
        Measure::PublishAck,
        Measure::PublishFast,
        Measure::ConsumeExplicit,
        Measure::ConsumeAckAll,
        Measure::ConsumeDoubleAck,
        Measure::EndToEnd,
    ];

    /// Its name, as it is typed and as it stands in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Measure::PublishAck => "publish-ack",
            Measure::PublishFast => "publish-fast",
            Measure::ConsumeExplicit => "consume-explicit",
            Measure::ConsumeAckAll => "consume-ack-all",
            Measure::ConsumeDoubleAck => "consume-double-ack",
            Measure::EndToEnd => "end-to-end",
        }
    }

    pub(crate) const fn consumes(self) -> bool {
        matches!(self, Measure::ConsumeExplicit | Measure::ConsumeAckAll | Measure::ConsumeDoubleAck)
    }

    /// Whether a consumer's count is held against the stream's.
    pub(crate) const fn has_consumer(self) -> bool {
        self.consumes() || matches!(self, Measure::EndToEnd)
    }
}

/// How to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What.
    pub measures: Vec<Measure>,
    /// Messages of each round; end to end takes fewer (see `end_to_end_seconds`).
    pub msgs: u64,
    /// Sizes of the body.
    pub sizes_bytes: Vec<usize>,
    /// In flight at most, for each client: unacknowledged publishes, messages asked for ahead, acks unconfirmed. The peer
    /// is given the same as its `--batch`.
    pub windows: Vec<usize>,
    /// How many clients share the messages, each on a connection of its own.
    pub clients: Vec<usize>,
    /// How often each is measured; the median counts. Beside a peer there is one round more before, of which only the messages
    /// are counted.
    pub rounds: usize,
    /// Messages a second for end to end.
    pub rate_per_second: u64,
    /// How long end to end is measured in each round.
    pub end_to_end_seconds: u64,
    /// Measure on a stream with `persist_mode: async` (nats-server 2.12).
    pub persist_async: bool,
    /// The `nats` CLI to measure beside it.
    pub peer: Option<PathBuf>,
    /// A folder for what the peer writes.
    pub work_dir: PathBuf,
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), BenchError> {
        let bound = |what, asked: u64, least: u64, most: u64| {
            if asked < least || asked > most {
                Err(BenchError::Setting { what, asked, least, most })
            } else {
                Ok(())
            }
        };
        bound("a number of rounds", self.rounds as u64, 1, 1000)?;
        bound("a number of messages", self.msgs, 1, u64::from(u32::MAX))?;
        bound("a rate", self.rate_per_second, 1, 1_000_000)?;
        bound("a number of seconds", self.end_to_end_seconds, 1, 3600)?;
        for size in &self.sizes_bytes {
            bound("a size in bytes", *size as u64, LEAST_SIZE_BYTES as u64, 64 << 20)?;
        }
        for window in &self.windows {
            bound("a window", *window as u64, 1, streamproof_client::MAX_BATCH as u64)?;
        }
        for clients in &self.clients {
            bound("a number of clients", *clients as u64, 1, self.msgs.min(MOST_CLIENTS as u64))?;
        }
        Ok(())
    }
}

/// One combination of what can be varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) size_bytes: usize,
    pub(crate) window: usize,
    pub(crate) clients: usize,
}

/// How many of `msgs` the client with this number takes.
pub(crate) fn share(msgs: u64, clients: usize, number: usize) -> u64 {
    let (clients, number) = (clients as u64, number as u64);
    msgs / clients + u64::from(number < msgs % clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for (msgs, clients) in [(10, 3), (3, 3), (1_000_001, 7)] {
            let shares: Vec<u64> = (0..clients).map(|n| share(msgs, clients, n)).collect();
            assert_eq!(shares.iter().sum::<u64>(), msgs);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
}
