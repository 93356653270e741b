//! What a violation is worth: whose fault it is, whether it is known, and what the owner's budget makes of it. For who finds
//! violations in another way than by a history.

use crate::context::Context;
use crate::promise::{Promise, Property, promise};
use crate::rules::StreamRules;
use crate::verdict::{Blame, Cell, Example, Finding, Invariant};
use crate::version::Version;
use streamproof_model::op::FaultKind;

/// Violations of one kind, of one target under one kind of fault, not yet weighed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What was violated.
    pub invariant: Invariant,
    /// Under which fault; none: without any.
    pub fault: Option<FaultKind>,
    /// The stream whose configuration and budget decide.
    pub stream: String,
    /// The stream, or `STREAM > CONSUMER`, as the finding names it.
    pub target: String,
    /// Which way.
    pub class: String,
    /// How many.
    pub count: u64,
    /// Youngest and oldest at the fault, in µs.
    pub age_us: Option<(u64, u64)>,
    /// The first few.
    pub examples: Vec<Example>,
}

/// Weighs a violation on a stream of these rules and a server of this version.
#[must_use]
pub fn weigh(violation: Violation, rules: &StreamRules, server: Version, context: &Context) -> Finding {
    let Violation { invariant, fault, .. } = violation;
    let row = promise(Property::of_finding(invariant, &violation.class), fault, rules, context.sync, server);
    let blame = if row.promise == Promise::No { Blame::Config } else { Blame::Server };
    let known = known(invariant, &violation.class, fault, rules, server, blame);
    let verdict = cell(blame, known.as_deref(), fault, &violation.stream, context);
    Finding {
        invariant,
        fault: fault.map(|fault| fault.name().to_owned()),
        target: violation.target,
        class: violation.class,
        count: violation.count,
        states: 0,
        blame,
        known,
        verdict,
        age_us: violation.age_us,
        source: row.source.to_owned(),
        examples: violation.examples,
    }
}

/// The name of the known defect that a violation shows. What was never promised is no defect, and nobody accepts it under the name
/// of one.
pub(crate) fn known(
    invariant: Invariant,
    class: &str,
    fault: Option<FaultKind>,
    rules: &StreamRules,
    server: Version,
    blame: Blame,
) -> Option<String> {
    let defect = crate::known::known(invariant, class, fault, rules, server)?;
    (blame == Blame::Server).then(|| defect.name.to_owned())
}

/// What a violation makes of its stream's verdict.
pub(crate) fn cell(
    blame: Blame,
    known: Option<&str>,
    fault: Option<FaultKind>,
    stream: &str,
    context: &Context,
) -> Cell {
    let accepted = known.is_some_and(|name| context.accept.iter().any(|accept| accept.name == name));
    let named = match (context.budget(stream), fault) {
        (Some(budget), Some(fault)) => Some(budget.contains(&fault.level())),
        (None, Some(_)) => None,
        (_, None) => Some(true),
    };
    match (blame, named) {
        _ if accepted => Cell::Accepted,
        (Blame::Server, _) | (_, Some(true)) => Cell::Fail,
        (Blame::Config, Some(false)) => Cell::Accepted,
        (Blame::Config, None) => Cell::Unprotected,
    }
}
