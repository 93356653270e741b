//! restart-check: workload, faults, recorder, read-back, shrinker, report.
//!
//! [`trial::run`] is the whole of it: it runs the controls and then case after case ([`run::run_case`]), each on a scratch
//! server of its own, judges every history and adds the verdicts up. Everything random follows from one seed.

pub mod archive;
pub mod budget;
pub mod consume;
pub mod contained;
pub mod controls;
pub mod group;
pub mod judge;
pub mod live;
pub mod nemesis;
pub mod picture;
pub mod power_cut;
pub mod price;
pub mod readback;
pub mod recorder;
pub mod report;
pub mod reproduce;
pub mod run;
pub mod seed;
pub mod shrink;
pub mod site;
pub mod small_disk;
pub mod snapshot;
pub mod store;
pub mod subjects;
pub mod target;
pub mod track_record;
pub mod trial;
pub mod untried;
pub mod wire;
pub mod workload;

pub use streamproof_crashfs::Profile;
