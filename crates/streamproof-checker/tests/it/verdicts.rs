//! From findings to the verdict: blame, budgets, bites, precedence.

use crate::{budget, judge};
use streamproof_checker::promise::{Promise, Property, TABLE};
use streamproof_checker::{Accept, Blame, Cell, Context, Invariant, Overall, SyncInterval};
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

/// What of a stream is lost under a fault that a row of the promise table does not cover.
struct Unpromised {
    property: Property,
    /// The stream's configuration for which it is not promised, and one for which it is; the same where only the owner can ask.
    config: [&'static str; 2],
    sync: [SyncInterval; 2],
    fault: FaultKind,
    level: Level,
    invariant: Invariant,
}

impl Unpromised {
    fn history(&self, config: &str) -> String {
        let (fault, last) = (
            self.fault.name(),
            match self.property {
                Property::Messages => "read S after: 2=a:0.1",
                // The consumer is.
                Property::Definitions => "listing after S\n read S after: 1=a:0.0 2=a:0.1",
                // Long after the ack, and the message is there still.
                Property::Acks => "deliver c 1 a 0.0 x2\n read S after: 1=a:0.0 2=a:0.1",
                Property::Floors => "cinfo c after delivered=2 floor=0\n read S after: 1=a:0.0 2=a:0.1",
                Property::Sanity => "",
            },
        );
        format!(
            "stream S {config}\n consumer S c {{\"ack_policy\":\"explicit\",\"durable_name\":\"c\"}}
             listing quiet S:c\n pub S a 0.0 -> 1\n pub S a 0.1 -> 2\n deliver c 1 a 0.0\n dack c 1 -> ok\n wait 600ms
             fault {fault}\n {last}\n finished"
        )
    }
}

const FILE: &str = r#"{"storage":"file"}"#;
const MEMORY: &str = r#"{"storage":"memory"}"#;
const ASYNC: &str = r#"{"persist_mode":"async"}"#;
const QUEUE: &str = r#"{"retention":"workqueue"}"#;

/// One for each row of the table that promises nothing.
fn unpromised() -> Vec<Unpromised> {
    use Property as P;
    let synced = [SyncInterval::Always; 2];
    let sync = [SyncInterval::Default, SyncInterval::Always];
    let of = |property, invariant, config, sync, fault: FaultKind| Unpromised {
        property,
        config,
        sync,
        fault,
        level: fault.level(),
        invariant,
    };
    let (stop, kill, cut) = (FaultKind::Stop, FaultKind::Kill, FaultKind::PowerCutExt4);
    vec![
        of(P::Messages, Invariant::M1, [MEMORY, FILE], synced, stop),
        of(P::Acks, Invariant::C1, [MEMORY, FILE], synced, stop),
        of(P::Floors, Invariant::C3, [MEMORY, FILE], synced, stop),
        of(P::Definitions, Invariant::K1, [MEMORY, FILE], synced, stop),
        of(P::Definitions, Invariant::K1, [FILE, FILE], sync, cut),
        of(P::Messages, Invariant::M1, [ASYNC, FILE], synced, cut),
        of(P::Messages, Invariant::M1, [FILE, FILE], sync, cut),
        of(P::Acks, Invariant::C1, [FILE, FILE], sync, cut),
        of(P::Floors, Invariant::C3, [FILE, FILE], sync, cut),
        of(P::Messages, Invariant::M1, [ASYNC, FILE], synced, kill),
        of(P::Acks, Invariant::C1, [QUEUE, FILE], synced, cut),
    ]
}

#[test]
fn every_row_that_promises_nothing_is_named_and_raising_the_promise_turns_its_history_into_a_fail() {
    let mut rows: Vec<(Property, &str)> =
        TABLE.iter().filter(|row| row.promise == Promise::No).map(|row| (row.property, row.source)).collect();
    for loss in unpromised() {
        let judged = |config: usize, sync: usize, levels: Option<&[Level]>| {
            let survive = levels.and_then(budget);
            let context = Context { sync: loss.sync[sync], survive, ..Context::default() };
            let verdict = judge(&loss.history(loss.config[config]), &context);
            let finding = verdict.findings.iter().find(|finding| finding.invariant == loss.invariant);
            let finding =
                finding.unwrap_or_else(|| panic!("{:?} {:?}", loss.property, verdict.findings)).clone();
            (finding.verdict, finding.blame, verdict.verdict, finding.source)
        };
        let (cell, blame, overall, source) = judged(0, 0, None);
        let named = format!("{:?} {} {:?}: {source}", loss.property, loss.config[0], loss.fault);
        assert_eq!(
            (cell, blame, overall),
            (Cell::Unprotected, Blame::Config, Overall::Unprotected),
            "{named}"
        );
        let row = rows.iter().position(|row| *row == (loss.property, source.as_str()));
        rows.remove(row.unwrap_or_else(|| panic!("no row, or tried before: {named}")));
        let (cell, blame, overall, also) = judged(0, 0, Some(&[]));
        assert_eq!((cell, blame, overall), (Cell::Accepted, Blame::Config, Overall::Accepted), "{named}");
        assert_eq!(also, source);
        // The owner asks for it.
        let (cell, blame, overall, _) = judged(0, 0, Some(&[loss.level]));
        assert_eq!((cell, blame, overall), (Cell::Fail, Blame::Config, Overall::Fail), "{named}");
        // The configuration promises it, whatever the owner says.
        for levels in [None, Some(&[][..])] {
            let (cell, blame, overall, other) = judged(1, 1, levels);
            assert_eq!((cell, blame, overall), (Cell::Fail, Blame::Server, Overall::Fail), "{named}");
            assert_ne!(other, source, "another row decides");
        }
    }
    assert_eq!(rows, [], "rows without a history");
}

#[test]
fn an_ack_older_than_the_window_is_a_fail_and_a_younger_one_is_measured() {
    let young = judge(AGAIN, &Context::default());
    assert_eq!((young.verdict, young.findings.len()), (Overall::Pass, 0));
    assert!(young.measures.iter().any(|measure| measure.name == "double-acks-redelivered"));
    let old = judge(&AGAIN.replace("fault kill", "wait 600ms\n fault kill"), &Context::default());
    let finding = &old.findings[0];
    assert_eq!(
        (old.verdict, finding.invariant, finding.blame),
        (Overall::Fail, Invariant::C1, Blame::Server)
    );
    let window = TABLE.iter().find(|row| row.property == Property::Acks && row.promise == Promise::Window);
    assert_eq!(Some(finding.source.as_str()), window.map(|row| row.source));
}
