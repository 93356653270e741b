//! A persistent JetStream for development, its streams and consumers as files.
//!
//! This crate is the face of streamproof: what the command line and users' own tests call.

pub use streamproof_checker as checker;
pub use streamproof_client as client;
pub use streamproof_model as model;
pub use streamproof_provision as provision;
pub use streamproof_server as server;
pub use streamproof_trial as trial;

pub mod bench;
pub mod check;
pub mod checkup;
pub mod connect;
pub mod folder;
pub mod home;
pub mod live;
pub mod monitoring;
pub mod proof;
pub mod store;
pub mod store_check;

pub use check::{Checked, restart_check};
