//! Throughput and latency of JetStream by the client of this project, every message counted, beside the `nats` CLI.
//!
//! [`run`] measures on a server that somebody else started, in a stream of its own, which it removes again. Each number
//! is the median of several rounds; with a peer, the rounds alternate, so that what else the machine does falls on both.

pub mod bar;
mod bed;
mod consume;
mod cpu;
mod end_to_end;
mod error;
pub mod loss;
mod peer;
pub mod plot;
pub mod price;
mod progress;
mod publish;
pub mod report;
mod run;
mod sample;
mod settings;

pub use error::BenchError;
pub use progress::{Progress, Snapshot};
pub use report::Report;
pub use run::{Target, run};
pub use settings::{LEAST_SIZE_BYTES, Measure, Settings};
