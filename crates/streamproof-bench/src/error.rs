//! Why a measurement could not be made.

use streamproof_model::failure::{Code, Failure};
use thiserror::Error;

/// Why a measurement could not be made. One that was made, and counted wrongly, is in the report instead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A setting outside its bounds.
    #[error("{what} of {asked} is not between {least} and {most}")]
    Setting {
        /// Which.
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// No connection.
    #[error("no NATS server answers at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server would not make or show the stream or the consumer.
    #[error("{doing}: {reason}")]
    Refused {
        /// What was asked.
        doing: &'static str,
        /// The server's words.
        reason: String,
    },
    /// The client could not go on.
    #[error("{measure}: {reason}")]
    Client {
        /// While measuring what.
        measure: &'static str,
        /// What happened.
        reason: String,
    },
    /// Nothing moved for a long time.
    #[error("{measure}: nothing moved for {seconds} s, with {done} of {of} messages done")]
    Stalled {
        /// While measuring what.
        measure: &'static str,
        /// For how long.
        seconds: u64,
        /// Messages done.
        done: u64,
        /// Of so many.
        of: u64,
    },
    /// The `nats` CLI is not there.
    #[error("the nats CLI is not at {path}: {reason}")]
    NoPeer {
        /// Where it was looked for.
        path: String,
        /// The system's answer.
        reason: String,
    },
    /// The `nats` CLI ended with an error.
    #[error("{command}: {reason}")]
    Peer {
        /// What was run.
        command: String,
        /// Its last words.
        reason: String,
    },
    /// A file or folder for the work.
    #[error("cannot write {path}: {reason}")]
    Io {
        /// Which.
        path: String,
        /// The system's answer.
        reason: String,
    },
    /// The crash states could not be made or looked at.
    #[error("crash states: {reason}")]
    CrashStates {
        /// Why.
        reason: String,
    },
    /// It was told to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Failure for BenchError {
    fn code(&self) -> Code {
        match self {
            BenchError::Setting { .. } => Code::Usage,
            BenchError::Unreachable { .. } => Code::Unreachable,
            BenchError::Refused { .. } => Code::ServerRefused,
            BenchError::Client { .. } => Code::Internal,
            BenchError::Stalled { .. } => Code::Timeout,
            BenchError::NoPeer { .. } => Code::ToolMissing,
            BenchError::Peer { .. } => Code::ToolFailed,
            BenchError::Io { .. } => Code::Io,
            BenchError::CrashStates { .. } => Code::ToolFailed,
            BenchError::Interrupted => Code::Interrupted,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            BenchError::Interrupted => {
                Some("what was started for it was stopped and removed; nothing was saved".to_owned())
            }
            BenchError::NoPeer { .. } => Some(
                "go install github.com/nats-io/natscli/nats@latest\nor name it: --nats PATH\nor measure without --peer"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
