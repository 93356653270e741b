//! The plan: from what the files ask for and what a server has to the steps between, with what each of them costs.
//!
//! Everything is decided here. Whoever carries a plan out decides nothing.

mod consumers;
mod diff;
mod limits;
mod loss;
mod make;
mod observed;
mod order;
mod rules;
mod send;
mod step;
mod streams;
mod text;
mod unmanaged;
mod value;

#[cfg(test)]
mod tests;

pub use loss::Want;
pub use make::{Planned, plan, plan_with_wants};
pub use observed::{AccountSeen, ConsumerSeen, Document, Observed, Older, ServerSeen, StreamSeen};
pub use send::{declared_start, resumed};
pub use step::{
    Action, Bound, Carried, Change, Class, Effect, FORMAT, Loss, Plan, PlanError, PlanServer, Restore, Step,
    Unmanaged, config_digest, digest, without_server_marks,
};
pub use text::{Line, Role, Span, render};

/// The metadata key that says who manages a stream or consumer.
pub const MARK_KEY: &str = "managed-by";
/// Its value where that is us.
pub const MARK_VALUE: &str = "streamproof";
/// The metadata key that a replaced consumer carries: where it would have started, had it not been moved to its old
/// position. Without it the moved start would look like a difference for ever.
pub const RESUMED_KEY: &str = "streamproof-resumed-from";

/// What the plan may assume and propose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Propose to delete what is in no file and carries our mark.
    pub prune: bool,
    /// Write our mark to what is declared and does not carry it: adoption.
    pub adopt: bool,
    /// On a server that stands alone, run a file that asks for replicas or placement as its one-node equivalent, and
    /// say so.
    pub one_node: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { prune: false, adopt: false, one_node: true }
    }
}
