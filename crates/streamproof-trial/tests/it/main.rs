//! A trial against real servers: histories are complete, and each fault leaves the proof that it bit.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod cases;
mod report;
mod trial;
mod watch;
