//! What can go wrong between us and a JetStream server, each with a stable code.

use streamproof_model::failure::{Code, Failure};

/// A failure while looking at a server, carrying a plan out, or exporting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// The server answered with an error.
    #[error("the server refused {request}: {description} ({err_code})")]
    Refused {
        /// The API request, without the prefix.
        request: String,
        /// The HTTP-like status.
        status: u64,
        /// The JetStream error code.
        err_code: u64,
        /// The server's words.
        description: String,
    },
    /// Nobody answers the JetStream API.
    #[error("JetStream is not enabled for this account: nobody answers {request}")]
    NoJetstream {
        /// The API request, without the prefix.
        request: String,
    },
    /// No answer came in time.
    #[error("no answer to {request} within {timeout_s} s")]
    Timeout {
        /// The API request, without the prefix.
        request: String,
        /// How long was waited, in seconds.
        timeout_s: u64,
    },
    /// The connection failed.
    #[error("{request} could not be sent: {cause}")]
    Connection {
        /// The API request, without the prefix.
        request: String,
        /// What the client says.
        cause: String,
    },
    /// This user may not use a subject of the JetStream API.
    #[error("this user may not ask for {request}")]
    Denied {
        /// The API request, without the prefix.
        request: String,
    },
    /// The server answered with something that is not what the protocol says.
    #[error("the answer to {request} cannot be read: {cause}")]
    Garbled {
        /// The API request, without the prefix.
        request: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Part of a cluster did not answer, so that what was seen is not everything.
    #[error("the server did not hear of every stream: {missing}")]
    Partial {
        /// The streams that did not answer.
        missing: String,
    },
    /// The server's version cannot be read.
    #[error(transparent)]
    Version(#[from] streamproof_model::version::NotAVersion),
    /// A step deletes data and was not allowed to.
    #[error("{name}: deletes {messages} stored messages")]
    DataLoss {
        /// The step.
        name: String,
        /// How many messages, in words.
        messages: String,
    },
    /// A step cannot be undone and was not allowed.
    #[error("{name}: {why}")]
    OneWay {
        /// The step.
        name: String,
        /// What cannot be undone.
        why: String,
    },
    /// A step replaces something and was not allowed to.
    #[error("{name} has to be replaced: {why}")]
    ReplaceNeeded {
        /// The step.
        name: String,
        /// The rule.
        why: String,
    },
    /// A step removes something that is in no file and was not allowed to.
    #[error("{name} is in no file: removing it needs consent")]
    PruneNeeded {
        /// The step.
        name: String,
    },
    /// A step that this server can never carry out as it is declared.
    #[error("{name}: {why}")]
    Impossible {
        /// The step.
        name: String,
        /// Why not.
        why: String,
    },
    /// The server is not what the plan saw.
    #[error("{name} has changed since the plan was made")]
    PlanStale {
        /// What moved.
        name: String,
    },
    /// An earlier replacement was interrupted and must be finished by `apply` first.
    #[error("a replacement of {name} was interrupted: its journal is in {journal}")]
    Interrupted {
        /// What was being replaced.
        name: String,
        /// Where the journal is.
        journal: String,
    },
    /// A backup that does not hold what the stream holds.
    #[error("the backup of {name} is not complete: {cause}; nothing was removed")]
    BackupIncomplete {
        /// The stream.
        name: String,
        /// What is missing.
        cause: String,
    },
    /// What was brought back is not what was backed up.
    #[error("{name} could not be brought back as it was: {cause}; the backup is in {backup}")]
    RestoreIncomplete {
        /// The stream.
        name: String,
        /// What differs.
        cause: String,
        /// Where the backup is.
        backup: String,
    },
    /// The journal of a replacement cannot be read or written.
    #[error("the journal {path} cannot be used: {cause}")]
    Journal {
        /// The file.
        path: String,
        /// What is wrong.
        cause: String,
    },
    /// A file or folder.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Failure for ProvisionError {
    fn code(&self) -> Code {
        match self {
            ProvisionError::Refused { .. } | ProvisionError::Impossible { .. } => Code::ServerRefused,
            ProvisionError::NoJetstream { .. } => Code::NoJetstream,
            ProvisionError::Timeout { .. } | ProvisionError::Partial { .. } => Code::Timeout,
            ProvisionError::Connection { .. } => Code::Unreachable,
            ProvisionError::Denied { .. } => Code::AccessDenied,
            ProvisionError::Garbled { .. } => Code::Internal,
            ProvisionError::Version(_) => Code::VersionMismatch,
            ProvisionError::DataLoss { .. } => Code::DataLoss,
            ProvisionError::OneWay { .. } => Code::OneWay,
            ProvisionError::ReplaceNeeded { .. } => Code::ImmutableField,
            ProvisionError::PruneNeeded { .. } => Code::ConfirmationNeeded,
            ProvisionError::PlanStale { .. } => Code::PlanStale,
            ProvisionError::Interrupted { .. } => Code::Locked,
            ProvisionError::BackupIncomplete { .. } | ProvisionError::RestoreIncomplete { .. } => {
                Code::ServerRefused
            }
            ProvisionError::Journal { .. } => Code::Io,
            ProvisionError::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::PermissionDenied => Code::Permission,
                std::io::ErrorKind::StorageFull => Code::DiskFull,
                _ => Code::Io,
            },
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            ProvisionError::NoJetstream { .. } => {
                "add a `jetstream {}` block to the server's configuration, or enable it for the account"
                    .into()
            }
            ProvisionError::Timeout { .. } => "is the server busy, or without a leader? try again".into(),
            ProvisionError::DataLoss { .. } => "cargo xtask apply --allow-data-loss".into(),
            ProvisionError::OneWay { .. } => "cargo xtask apply --allow-one-way".into(),
            ProvisionError::ReplaceNeeded { name, .. } => format!("cargo xtask apply --replace {name}"),
            ProvisionError::PruneNeeded { .. } => "cargo xtask apply --prune".into(),
            ProvisionError::PlanStale { .. } => "make the plan again: cargo xtask plan".into(),
            ProvisionError::Interrupted { .. } => "finish it: cargo xtask apply".into(),
            ProvisionError::BackupIncomplete { .. } => {
                "run `cargo xtask apply` again; nothing was removed, and the stream takes messages again then"
                    .into()
            }
            ProvisionError::RestoreIncomplete { .. } => {
                "run `cargo xtask apply` again: it goes on from the backup".into()
            }
            _ => return None,
        })
    }
}
