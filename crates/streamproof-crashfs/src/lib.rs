//! Crash states of a data directory, and the FUSE filesystem that records what they are made from.
//!
//! A [`log::Log`] is recorded once, while a real server runs on the file system of `fuse` (a feature, Linux). From it,
//! [`state::state`] makes the directory tree that a crash at any [`log::Cut`] leaves, by the [`profile::Rules`] that
//! were chosen; [`mod@cuts`] says which cuts are worth trying and which states they lead to; [`mod@explore`] builds each state
//! in a directory and hands it to whoever starts a server on it. Nothing here knows NATS.
//!
//! The core is pure: no files but in [`disk`] and [`mod@explore`], no clock, no randomness but a seed.

mod allowed;
pub mod content;
pub mod cuts;
pub mod disk;
pub mod error;
pub mod explore;
mod ext4;
#[cfg(all(feature = "fuse", target_os = "linux"))]
pub mod fuse;
pub mod image;
pub mod log;
#[cfg(all(any(feature = "fuse", feature = "real"), target_os = "linux"))]
mod mounts;
pub mod notation;
mod posix;
pub mod profile;
#[cfg(all(feature = "real", target_os = "linux"))]
pub mod real;
pub mod seed;
pub mod state;
pub mod tree;

pub use allowed::{allows, allows_xfs};
pub use cuts::{Budget, CrashState, cuts, early_commits, states};
pub use disk::{load, materialise};
pub use error::CrashFsError;
pub use explore::{Places, Visit, explore};
pub use log::{Cut, Log, Recorder};
pub use profile::{Disk, Grain, Profile, Rules};
pub use state::{Sweep, state};
pub use tree::{StateId, Tree};
