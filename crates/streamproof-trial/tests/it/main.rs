//! A trial against real servers: histories are complete, and each fault leaves the proof that it bit.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod cases;
#[cfg(target_os = "linux")]
mod power_cut;
mod report;
#[path = "../../examples/shipped/mod.rs"]
mod shipped;
mod track_record;
mod trial;
mod watch;
