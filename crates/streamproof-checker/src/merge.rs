//! Many cases, one verdict: what each history came to, added up without losing what was not seen.

use crate::context::Context;
use crate::verdict::{
    Cell, ControlResult, Counts, EXAMPLES_MAX, FaultVerdict, Finding, Measure, NotProven, Overall, Verdict,
};
use std::collections::BTreeSet;
use streamproof_model::op::FaultKind;

/// What is known of a run beside its cases.
#[derive(Debug, Clone, Default)]
pub struct Run<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its seed.
    pub seed: u64,
    /// What its controls came to; without any, the run is inconclusive.
    pub controls: Vec<ControlResult>,
    /// What was asked for, or needed by the budget, and could not be run.
    pub missing: &'a [NotProven],
}

/// Adds up the verdicts of the cases of one run. Each case must have been judged with nothing in [`Context::asked`]:
/// whether what was asked for was run is decided here, over all of them.
///
/// A stream under a fault is inconclusive only if the fault bit in no case; a case that ended early makes the run
/// inconclusive by itself.
#[must_use]
pub fn merge(run: Run<'_>, cases: impl IntoIterator<Item = Verdict>, context: &Context) -> Verdict {
    let mut sum = empty(run.id, run.seed);
    sum.controls = run.controls;
    let (mut failed, mut not_proven, mut reasons) = (false, BTreeSet::new(), BTreeSet::new());
    for missing in run.missing {
        failed |= context.strict;
        reasons.insert(format!("{}: {}", missing.what, missing.why));
        not_proven.insert(missing.clone());
    }
    for case in cases {
        failed |= case.verdict == Overall::Fail;
        if sum.server.is_empty() {
            sum.server.clone_from(&case.server);
        }
        sum.restarts_verified += case.restarts_verified;
        let of_cells: BTreeSet<String> = case.faults.iter().map(FaultVerdict::reason).collect();
        reasons.extend(case.inconclusive.into_iter().filter(|reason| !of_cells.contains(reason)));
        not_proven.extend(case.not_proven);
        for fault in case.faults {
            add_fault(&mut sum.faults, fault);
        }
        for finding in case.findings {
            add_finding(&mut sum.findings, finding);
        }
        for measure in case.measures {
            add_measure(&mut sum.measures, measure);
        }
        sum.counts = add_counts(sum.counts, case.counts);
    }
    sum.faults.sort_by_key(|fault| {
        (
            FaultKind::named(&fault.fault).map(|kind| FaultKind::ALL.iter().position(|one| *one == kind)),
            fault.target.clone(),
        )
    });
    sum.findings.sort_by_key(Finding::gravity);
    if sum.faults.is_empty() {
        reasons.insert("no fault was tried on any stream".to_owned());
    }
    if sum.controls.is_empty() {
        reasons.insert("the controls were not run".to_owned());
    }
    for kind in &context.asked {
        if !sum.faults.iter().any(|fault| fault.fault == kind.name()) {
            reasons.insert(format!("{} was asked for and not run", kind.name()));
        }
    }
    reasons.extend(
        sum.faults.iter().filter(|fault| fault.verdict == Cell::Inconclusive).map(FaultVerdict::reason),
    );
    sum.not_proven = not_proven.into_iter().collect();
    sum.inconclusive = reasons.into_iter().collect();
    sum.verdict = Overall::of(&sum.controls, failed, !sum.inconclusive.is_empty(), &sum.findings);
    sum
}

/// What the controls of a run came to, from the verdict over their own history: each must have been found, on a stream of
/// its own, by exactly the invariants that it names.
#[must_use]
pub fn controls(verdict: &Verdict) -> Vec<ControlResult> {
    let stream = |target: &str| target.split(" > ").next().unwrap_or_default().to_owned();
    let mut controls = verdict.controls.clone();
    for control in &mut controls {
        let beside =
            verdict.findings.iter().filter(|finding| stream(&finding.target) == stream(&control.target));
        control.beside =
            beside.map(|finding| format!("{} {}", finding.invariant.name(), finding.class)).collect();
        control.found &= control.beside.is_empty();
    }
    // A history that was not read to its end can have missed what was beside.
    if !verdict.inconclusive.is_empty() {
        for control in &mut controls {
            control.found = false;
            control.beside.clone_from(&verdict.inconclusive);
        }
    }
    controls
}

fn empty(run: &str, seed: u64) -> Verdict {
    Verdict {
        verdict: Overall::Inconclusive,
        run: run.to_owned(),
        seed,
        server: String::new(),
        restarts_verified: 0,
        faults: Vec::new(),
        findings: Vec::new(),
        not_proven: Vec::new(),
        inconclusive: Vec::new(),
        controls: Vec::new(),
        measures: Vec::new(),
        counts: Counts::default(),
    }
}

fn add_fault(sum: &mut Vec<FaultVerdict>, fault: FaultVerdict) {
    let Some(known) = sum.iter_mut().find(|known| known.fault == fault.fault && known.target == fault.target)
    else {
        sum.push(fault);
        return;
    };
    // What showed a bite is told from a case in which it bit.
    let shown = if known.bites > 0 || fault.bites == 0 { known.shown() } else { fault.shown() }.to_owned();
    known.tries += fault.tries;
    known.bites += fault.bites;
    known.bite = format!("{} of {}: {shown}", known.bites, known.tries);
    known.promised &= fault.promised;
    let rank = |cell: Cell| match cell {
        Cell::Fail => 5,
        Cell::Unprotected => 4,
        Cell::Accepted => 3,
        Cell::Pass => 2,
        Cell::Inconclusive => 1,
        Cell::NotProven => 0,
    };
    if rank(fault.verdict) > rank(known.verdict) {
        known.verdict = fault.verdict;
        known.source = fault.source;
        known.remedy = fault.remedy;
    }
}

fn add_finding(sum: &mut Vec<Finding>, finding: Finding) {
    let same = |known: &&mut Finding| {
        known.invariant == finding.invariant
            && known.fault == finding.fault
            && known.target == finding.target
            && known.class == finding.class
            && known.verdict == finding.verdict
            && known.known == finding.known
            && (known.states > 0) == (finding.states > 0)
    };
    let Some(known) = sum.iter_mut().find(same) else {
        sum.push(finding);
        return;
    };
    if known.states > 0 {
        // The worst state is told, with its own ages and examples.
        let states = known.states + finding.states;
        if finding.count > known.count {
            *known = finding;
        }
        known.states = states;
        return;
    }
    known.count += finding.count;
    known.age_us = match (known.age_us, finding.age_us) {
        (Some((least, most)), Some((other_least, other_most))) => {
            Some((least.min(other_least), most.max(other_most)))
        }
        (one, other) => one.or(other),
    };
    let room = EXAMPLES_MAX.saturating_sub(known.examples.len());
    known.examples.extend(finding.examples.into_iter().take(room));
}

/// How many of two verdicts. Crash states are many ends of the same operations: what is missing in two of them is not missing twice.
fn together(states: u64, one: u64, other: u64) -> u64 {
    if states > 0 { one.max(other) } else { one + other }
}

fn add_measure(sum: &mut Vec<Measure>, measure: Measure) {
    let same = |known: &&mut Measure| {
        (&known.name, &known.fault, &known.target, known.states > 0)
            == (&measure.name, &measure.fault, &measure.target, measure.states > 0)
    };
    match sum.iter_mut().find(same) {
        Some(known) => {
            known.count = together(known.states, known.count, measure.count);
            known.states += measure.states;
            known.max_us = known.max_us.max(measure.max_us);
        }
        None => sum.push(measure),
    }
}

fn add_counts(one: Counts, other: Counts) -> Counts {
    Counts {
        operations: one.operations + other.operations,
        acked: one.acked + other.acked,
        indeterminate: one.indeterminate + other.indeterminate,
        rejected: one.rejected + other.rejected,
        read_back: one.read_back + other.read_back,
        delivered: one.delivered + other.delivered,
        double_acked: one.double_acked + other.double_acked,
        faults: one.faults + other.faults,
    }
}
