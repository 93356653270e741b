//! restart-check: workload, faults, recorder, read-back, shrinker, report.

pub mod consume;
pub mod nemesis;
pub mod readback;
pub mod recorder;
pub mod run;
pub mod seed;
pub mod shrink;
pub mod site;
pub mod snapshot;
pub mod subjects;
pub mod target;
pub mod wire;
pub mod workload;
