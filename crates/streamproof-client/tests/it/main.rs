//! The client against real servers.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod answers;
mod batches;
mod bed;
mod closed;
mod consumer_ends;
mod consumer_faults;
mod consuming;
mod documentation;
mod examples;
mod faults;
mod guarded;
mod interleavings;
mod kinds;
mod ledger;
mod million;
mod proxy;
mod publishing;
mod site;
