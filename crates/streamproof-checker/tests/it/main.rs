//! Histories in, verdicts out.

mod benign;
mod controls;
mod invariants;
mod known;
mod merge;
mod mutations;
mod returned;
mod simulator;
mod verdicts;

use std::collections::BTreeSet;
use streamproof_checker::{Context, Verdict, check, notation};

/// What a history gives, as `M1 lost tail ×2` for each finding.
fn found(history: &str) -> Vec<String> {
    let verdict = judge(history, &Context::default());
    verdict
        .findings
        .iter()
        .map(|finding| format!("{} {} ×{}", finding.invariant.name(), finding.class, finding.count))
        .collect()
}

fn judge(history: &str, context: &Context) -> Verdict {
    check(notation::parse(history).unwrap_or_else(|error| panic!("{error}")), context)
}

/// A history that must give exactly these findings.
fn finds(history: &str, expected: &[&str]) {
    assert_eq!(found(history), expected, "{history}");
}

fn budget(levels: &[streamproof_model::op::Level]) -> Option<BTreeSet<streamproof_model::op::Level>> {
    Some(levels.iter().copied().collect())
}
