//! A trial against real servers: histories are complete, and each fault leaves the proof that it bit.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod cases;
mod live;
mod pictured;
#[cfg(target_os = "linux")]
mod power_cut;
mod report;
mod report_page;
mod reproduce;
#[path = "../../examples/shipped/mod.rs"]
mod shipped;
mod store;
mod track_record;
mod trial;
mod watch;
