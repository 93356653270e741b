//! What a report shows of power cuts: written by whoever tries crash states ([`crate::archive::Archive::write_power`]), drawn by
//! [`super::plots::cuts`].
//!
//! Times are microseconds since the recording began; operations are numbered as in the log of the file system.

use serde::{Deserialize, Serialize};
use streamproof_checker::Cell;

/// The power cuts of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PowerCut {
    /// What each sentence rests on.
    pub basis: Basis,
    /// How long the recording was, in µs.
    pub span_us: u64,
    /// Every sync of the recording, in order.
    pub syncs: Vec<Sync>,
    /// Every operation of the recording, in order; its index is its number.
    pub operations: Vec<FsOp>,
    /// Every cut that was tested, in the order of time.
    pub cuts: Vec<Cut>,
    /// Crash states that were looked at.
    pub states: u64,
    /// Of these, so many were the same as one tested before, and were not tested again.
    pub same: u64,
    /// Of those tested, so many were cuts during a recovery from a cut.
    pub nested: u64,
}

/// What the verdicts on power cuts rest on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A model of what a file system may keep: its name (`ext4`, `strict`, …).
    Model(String),
    /// A real file system, shut down under the server: which (`ext4`, `xfs`).
    Real(String),
    /// Neither is known.
    #[default]
    Unknown,
}

impl Basis {
    /// In words.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Basis::Model(profile) => format!("by the model of a file system, profile {profile}"),
            Basis::Real(name) => {
                format!("by a real {name}, shut down without its journal under the running server")
            }
            Basis::Unknown => "what it rests on is not recorded".to_owned(),
        }
    }
}

/// A sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// When it was answered.
    pub at: u64,
    /// What was synced: a path below the store.
    pub path: String,
}

/// An operation of the file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsOp {
    /// When.
    pub at: u64,
    /// What kind.
    pub kind: FsOpKind,
    /// On what: a path below the store; of a rename, the new one.
    pub path: String,
}

/// Kinds of operations, as the map draws them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FsOpKind {
    /// Data is written.
    Write,
    /// A file or directory is synced (or written with `O_SYNC`).
    Sync,
    /// A name appears: create, mkdir, link.
    Create,
    /// A name goes: unlink, rmdir.
    Remove,
    /// A rename.
    Rename,
    /// A file is cut or extended: truncate, fallocate.
    Resize,
}

impl FsOpKind {
    /// All of them.
    pub const ALL: [FsOpKind; 6] = [
        FsOpKind::Write,
        FsOpKind::Sync,
        FsOpKind::Create,
        FsOpKind::Remove,
        FsOpKind::Rename,
        FsOpKind::Resize,
    ];

    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FsOpKind::Write => "write",
            FsOpKind::Sync => "sync",
            FsOpKind::Create => "create",
            FsOpKind::Remove => "remove",
            FsOpKind::Rename => "rename",
            FsOpKind::Resize => "truncate",
        }
    }
}

/// A cut that was tested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// When the power went.
    pub at: u64,
    /// After how many operations of the log.
    pub after: u64,
    /// What was found, the worst of all streams.
    pub verdict: Cell,
    /// Messages acked before the cut.
    pub acked: u64,
    /// Of these, lost.
    pub lost: u64,
    /// The age at the cut of the oldest that was lost, in µs.
    pub oldest_lost_us: Option<u64>,
    /// The share of the run that this state stands for, 0 to 1.
    pub share: f64,
    /// What was found, in a phrase; empty for nothing.
    pub note: String,
}
