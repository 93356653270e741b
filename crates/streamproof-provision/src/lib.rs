//! Look at a JetStream server, carry a plan out, export what is there.
//!
//! The wire is raw JSON: a field of a newer server survives, and "absent" is told from "zero". Nothing is decided here;
//! [`streamproof_model::plan`] decides.

pub mod apply;
mod backup;
mod bring;
pub mod export;
pub mod failure;
pub mod inspect;
mod journal;
mod message;
mod observe;
mod replace;
mod reposition;
mod restock;
mod snapshot;
mod wire;

pub use apply::{Allow, Applied, Done, apply, apply_halted, refused};
pub use bring::{Brought, bring, plan_for};
pub use export::{Export, export};
pub use failure::ProvisionError;
pub use journal::pending;
pub use observe::{observe, observe_streams, refine};
pub use replace::{Halt, resume};
pub use wire::Js;
