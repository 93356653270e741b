//! From findings to the verdict: blame, budgets, bites, precedence.

use crate::{budget, judge};
use streamproof_checker::{Accept, Blame, Cell, Context, Overall, SyncInterval};
use streamproof_model::op::{FaultKind, Level};

const LOST: &str = "stream S\n pub S a 0.0 -> 1\n fault power-cut-ext4\n read S after:\n finished";

#[test]
fn a_loss_that_was_never_promised_is_the_owners_to_judge() {
    let said_nothing = Context::default();
    let left_out = Context { survive: budget(&[Level::Restart]), ..Context::default() };
    let named = Context { survive: budget(&[Level::HostCrash]), ..Context::default() };
    let strict = Context { strict: true, ..Context::default() };
    let synced = Context { sync: SyncInterval::Always, ..Context::default() };
    for (context, overall, cell, blame) in [
        (&said_nothing, Overall::Unprotected, Cell::Unprotected, Blame::Config),
        (&left_out, Overall::Accepted, Cell::Accepted, Blame::Config),
        (&named, Overall::Fail, Cell::Fail, Blame::Config),
        (&strict, Overall::Fail, Cell::Unprotected, Blame::Config),
        (&synced, Overall::Fail, Cell::Fail, Blame::Server),
    ] {
        let verdict = judge(LOST, context);
        let finding = &verdict.findings[0];
        assert_eq!((verdict.verdict, finding.verdict, finding.blame), (overall, cell, blame), "{context:?}");
        assert!(finding.age_us.is_some());
    }
}

#[test]
fn a_fault_that_did_not_bite_proves_nothing() {
    let history = "stream S\n pub S a 0.0 -> 1\n fault kill nobite\n read S after: 1=a:0.0\n finished";
    let verdict = judge(history, &Context::default());
    assert_eq!((verdict.verdict, verdict.faults[0].verdict), (Overall::Inconclusive, Cell::Inconclusive));
    let again = format!("{} fault kill\n read S after: 1=a:0.0\n finished", history.replace("finished", ""));
    let verdict = judge(&again, &Context::default());
    assert_eq!((verdict.verdict, verdict.faults[0].bites, verdict.faults[0].tries), (Overall::Pass, 1, 2));
    assert_eq!(verdict.restarts_verified, 2);
    // A loss is a loss, bite or no bite.
    let lost = judge(&history.replace("1=a:0.0\n finished", "\n finished"), &Context::default());
    assert_eq!(lost.verdict, Overall::Fail);
}

#[test]
fn what_was_asked_for_and_not_run_is_inconclusive() {
    let asked = Context { asked: vec![FaultKind::Upgrade], ..Context::default() };
    assert_eq!(judge("stream S\n finished", &asked).verdict, Overall::Inconclusive);
    assert_eq!(judge("stream S\n finished", &Context::default()).verdict, Overall::Pass);
    assert_eq!(judge("stream S", &Context::default()).verdict, Overall::Inconclusive);
}

#[test]
fn a_known_defect_can_be_accepted_by_name() {
    let history = "stream S {\"first_seq\":100}\n pub S a 0.0 -> 100\n fault stop\n read S after:\n finished";
    let mut operations = streamproof_checker::notation::parse(history).unwrap();
    for operation in &mut operations {
        if let streamproof_model::op::Op::Event { event, .. } = operation
            && let streamproof_model::op::Event::Recovered { server, .. } = event
        {
            *server = "2.11.1".into();
        }
    }
    let judge = |context: &Context| streamproof_checker::check(operations.clone(), context);
    let verdict = judge(&Context::default());
    assert_eq!(
        (verdict.verdict, verdict.findings[0].known.as_deref()),
        (Overall::Fail, Some("first-seq-emptied"))
    );
    let accept = Accept { name: "first-seq-emptied".into(), reason: "we upgrade next week".into() };
    let accepted = Context { accept: vec![accept], ..Context::default() };
    assert_eq!(judge(&accepted).verdict, Overall::Accepted);
    // The same loss of a stream in memory was never promised otherwise: no defect, and not accepted as one.
    for operation in &mut operations {
        if let streamproof_model::op::Op::Event { event, .. } = operation
            && let streamproof_model::op::Event::Config { json, .. } = event
        {
            *json = r#"{"first_seq":100,"storage":"memory"}"#.into();
        }
    }
    let memory = streamproof_checker::check(operations, &accepted);
    assert_eq!((memory.verdict, memory.findings[0].known.as_deref()), (Overall::Unprotected, None));
}

#[test]
fn the_document_has_the_keys_that_scripts_rely_on() {
    let document = serde_json::to_value(judge(LOST, &Context::default())).unwrap();
    for key in ["verdict", "run", "seed", "server", "restarts_verified", "faults", "findings", "not_proven"] {
        assert!(document.get(key).is_some(), "{key}");
    }
    for key in ["fault", "target", "verdict", "bite"] {
        assert!(document.pointer(&format!("/faults/0/{key}")).is_some(), "{key}");
    }
    for key in ["invariant", "fault", "target", "class", "count", "blame", "known", "examples"] {
        assert!(document.pointer(&format!("/findings/0/{key}")).is_some(), "{key}");
    }
    assert_eq!(document["verdict"], "unprotected");
}

/// Two messages, the first double-acked right before a SIGKILL, after which it comes again.
const AGAIN: &str = "stream S
    consumer S c {\"ack_policy\":\"explicit\",\"durable_name\":\"c\"}
    pub S a 0.0 -> 1
    pub S a 0.1 -> 2
    deliver c 1 a 0.0
    deliver c 2 a 0.1
    dack c 1 -> ok
    fault kill
    deliver c 1 a 0.0 x2
    read S after: 1=a:0.0 2=a:0.1
    finished";

#[test]
fn a_consumers_budget_for_redelivery_decides_what_no_server_promises() {
    let budget =
        |most: u64| Context { redelivery: [("S > c".to_owned(), most)].into(), ..Context::default() };
    assert_eq!(judge(AGAIN, &Context::default()).verdict, Overall::Pass);
    assert_eq!(judge(AGAIN, &budget(1)).verdict, Overall::Pass);
    let verdict = judge(AGAIN, &budget(0));
    let finding = &verdict.findings[0];
    assert_eq!((verdict.verdict, finding.verdict, finding.blame), (Overall::Fail, Cell::Fail, Blame::Config));
    assert_eq!((finding.target.as_str(), finding.count), ("S > c", 1));
    let of_another = Context { redelivery: [("S > d".to_owned(), 0)].into(), ..Context::default() };
    assert_eq!(judge(AGAIN, &of_another).verdict, Overall::Pass);
}
