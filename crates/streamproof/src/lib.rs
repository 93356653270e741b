//! A persistent JetStream for development, its streams and consumers as files.
//!
//! This crate is the face of streamproof: what the command line and users' own tests call.
//!
//! The feature `proof`, on unless it is turned off, is restart-check, the judging of its runs, and bench: half of what there is
//! to build.

pub use streamproof_checker as checker;
pub use streamproof_client as client;
pub use streamproof_model as model;
pub use streamproof_provision as provision;
pub use streamproof_server as server;
#[cfg(feature = "proof")]
pub use streamproof_trial as trial;

#[cfg(feature = "proof")]
pub mod bench;
#[cfg(feature = "proof")]
pub mod check;
pub mod checkup;
pub mod connect;
pub mod folder;
pub mod home;
#[cfg(feature = "proof")]
pub mod live;
pub mod monitoring;
pub mod mounts;
#[cfg(feature = "proof")]
pub mod proof;
pub mod store;
#[cfg(feature = "proof")]
pub mod store_check;

#[cfg(feature = "proof")]
pub use check::{Checked, restart_check};
