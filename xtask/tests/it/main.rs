//! The command line as a user meets it: snapshots of help, whole walks on real servers, and what keeps the house tidy.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod access;
mod bad_days;
mod bench;
mod doctor;
mod elsewhere;
mod engine_dies;
mod help;
mod hostile;
mod image;
mod import;
mod pictures;
mod pinned;
mod proof;
mod recipe;
mod sources;
mod tidy;
mod transcripts;
mod volume;
