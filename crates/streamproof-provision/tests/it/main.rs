//! Plans, their carrying out and exports, against real servers of every supported line.
#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod bounds;
mod buckets;
mod cases;
mod cluster;
mod costs;
mod delivery;
mod ground;
mod interop;
mod limits;
mod lines;
mod random;
mod replacement;
mod rules;
mod sent;
mod steps;
mod world;
