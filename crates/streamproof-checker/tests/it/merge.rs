//! Many cases, one verdict.

use crate::judge;
use streamproof_checker::{Cell, Context, ControlResult, NotProven, Overall, Run, Verdict, controls, merge};
use streamproof_model::op::{FaultKind, Level};

const GOOD: &str = "stream S\n pub S a 0.0 -> 1\n fault kill\n read S after: 1=a:0.0\n finished";
const BITELESS: &str = "stream S\n pub S a 0.0 -> 1\n fault kill nobite\n read S after: 1=a:0.0\n finished";
const LOST: &str = "stream S\n pub S a 0.0 -> 1\n fault kill\n read S after:\n finished";
const CUT: &str = "stream S\n pub S a 0.0 -> 1\n fault power-cut-ext4\n read S after:\n finished";

fn found() -> Vec<ControlResult> {
    vec![ControlResult {
        name: "memory-loss".into(),
        target: "M".into(),
        expect: "M1".into(),
        found: true,
        beside: Vec::new(),
    }]
}

fn run(controls: Vec<ControlResult>) -> Run<'static> {
    Run { id: "r", seed: 7, controls, missing: &[] }
}

fn merged(histories: &[&str], context: &Context) -> Verdict {
    let cases = histories.iter().map(|history| judge(history, context));
    merge(run(found()), cases, context)
}

#[test]
fn a_fault_that_bit_in_one_case_is_judged_and_the_restarts_add_up() {
    let verdict = merged(&[BITELESS, GOOD, GOOD], &Context::default());
    assert_eq!((verdict.verdict, verdict.restarts_verified), (Overall::Pass, 3), "{verdict:#?}");
    let cell = &verdict.faults[0];
    assert_eq!((verdict.faults.len(), cell.verdict, cell.bites, cell.tries), (1, Cell::Pass, 2, 3));
    assert!(cell.bite.starts_with("2 of 3: ") && cell.bite.contains("in flight"), "{}", cell.bite);
    let verdict = merged(&[BITELESS, BITELESS], &Context::default());
    assert_eq!(verdict.verdict, Overall::Inconclusive);
    assert!(verdict.inconclusive[0].starts_with("S under kill: 0 of 2"), "{:?}", verdict.inconclusive);
}

#[test]
fn one_loss_is_enough_and_its_examples_add_up() {
    let verdict = merged(&[GOOD, LOST, LOST], &Context::default());
    assert_eq!((verdict.verdict, verdict.faults[0].verdict), (Overall::Fail, Cell::Fail));
    let finding = &verdict.findings[0];
    assert_eq!((verdict.findings.len(), finding.count, finding.examples.len()), (1, 2, 2));
}

#[test]
fn what_crash_states_of_the_same_operations_lose_is_not_lost_once_for_each_of_them() {
    const TWO: &str =
        "stream S\n pub S a 0.0 -> 1\n pub S a 0.1 -> 2\n fault kill\n read S after:\n finished";
    let state = |history: &str| {
        let mut verdict = judge(history, &Context::default());
        verdict.findings.iter_mut().for_each(|finding| finding.states = 1);
        verdict.measures.iter_mut().for_each(|measure| measure.states = 1);
        verdict
    };
    let lost = |verdicts: Vec<Verdict>| -> Vec<(u64, u64)> {
        let verdict = merge(run(found()), verdicts, &Context::default());
        verdict.findings.iter().filter(|f| f.class == "lost all").map(|f| (f.count, f.states)).collect()
    };
    assert_eq!(lost(vec![state(LOST), state(TWO), state(LOST)]), [(2, 3)], "the worst of three");
    // With its own ages: the oldest of another one is not among what this one lost.
    let old = LOST.replace(" fault kill", " wait 600ms\n fault kill");
    let ages = |verdicts: Vec<Verdict>| {
        let verdict = merge(run(found()), verdicts, &Context::default());
        (verdict.findings[0].age_us, verdict.findings[0].examples.len())
    };
    let (youngest, oldest) = ages(vec![state(&old), state(TWO), state(&old)]).0.unwrap();
    assert!(youngest <= oldest && oldest < 600_000, "{youngest} {oldest}");
    assert_eq!(ages(vec![state(&old), state(TWO)]), ages(vec![state(TWO)]));
    // What was found otherwise adds up, and is told for itself.
    let case = || judge(TWO, &Context::default());
    assert_eq!(lost(vec![case(), state(LOST), case(), state(TWO)]), [(4, 0), (2, 2)]);
    let ready = |verdicts: Vec<Verdict>| {
        let verdict = merge(run(found()), verdicts, &Context::default());
        let measure = verdict.measures.iter().find(|measure| measure.name == "ready").unwrap();
        (measure.count, measure.states)
    };
    assert_eq!(ready(vec![state(GOOD), state(GOOD)]), (1, 2));
    assert_eq!(ready(vec![judge(GOOD, &Context::default()), judge(GOOD, &Context::default())]), (2, 0));
}

#[test]
fn a_case_that_ended_early_and_no_case_at_all_prove_nothing() {
    let torn = GOOD.replace("\n finished", "");
    assert_eq!(merged(&[GOOD, &torn], &Context::default()).verdict, Overall::Inconclusive);
    assert_eq!(merged(&[], &Context::default()).verdict, Overall::Inconclusive);
    let verdict = merge(run(Vec::new()), [judge(GOOD, &Context::default())], &Context::default());
    assert_eq!(verdict.verdict, Overall::Inconclusive);
}

#[test]
fn what_was_asked_for_is_looked_for_in_all_cases() {
    let asked = Context { asked: vec![FaultKind::Kill], ..Context::default() };
    let cases = || [judge(GOOD, &Context::default()), judge(CUT, &Context::default())];
    let verdict = merge(run(found()), cases(), &asked);
    assert_eq!(verdict.verdict, Overall::Unprotected, "{:?}", verdict.inconclusive);
    let asked = Context { asked: vec![FaultKind::Upgrade], ..Context::default() };
    assert_eq!(merge(run(found()), cases(), &asked).verdict, Overall::Inconclusive);
}

#[test]
fn what_could_not_be_run_is_never_a_pass() {
    let missing = [NotProven { what: "survive host-crash".into(), why: "not built".into() }];
    let of = |context: &Context| {
        let run = Run { missing: &missing, ..run(found()) };
        merge(run, [judge(GOOD, &Context::default())], context)
    };
    let verdict = of(&Context::default());
    assert_eq!((verdict.verdict, verdict.not_proven.contains(&missing[0])), (Overall::Inconclusive, true));
    assert_eq!(of(&Context { strict: true, ..Context::default() }).verdict, Overall::Fail);
}

#[test]
fn a_case_that_fails_by_strictness_fails_the_run() {
    let strict = Context { strict: true, ..Context::default() };
    assert_eq!(merged(&[CUT], &strict).verdict, Overall::Fail);
    let left_out = Context { survive: crate::budget(&[Level::Restart]), ..Context::default() };
    assert_eq!(merged(&[CUT, GOOD], &left_out).verdict, Overall::Accepted);
}

#[test]
fn a_control_is_found_by_exactly_its_invariant() {
    let history =
        "stream S\n pub S a 0.0 -> 1\n pub S a 0.1 -> 2\n control planted-deletion S 1 M1\n fault stop\n";
    let alone = judge(&format!("{history} read S after: 2=a:0.1\n finished"), &Context::default());
    assert!(controls(&alone)[0].found);
    let with_more = judge(&format!("{history} read S after:\n finished"), &Context::default());
    let result = &controls(&with_more)[0];
    assert!(!result.found && result.beside[0].starts_with("M1 "), "{result:?}");
    let torn = judge(&format!("{history} read S after: 2=a:0.1"), &Context::default());
    assert!(!controls(&torn)[0].found);
    let verdict = merge(run(controls(&with_more)), [judge(GOOD, &Context::default())], &Context::default());
    assert_eq!(verdict.verdict, Overall::SelfCheckFailed);
}
