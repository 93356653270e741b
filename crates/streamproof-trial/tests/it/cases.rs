//! Cases, run on real servers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use streamproof_model::desired::{Desired, DesiredConsumer, DesiredStream, Kind, Places};
use streamproof_model::op::{Call, Event, Evidence, FaultKind, Op, Ops, Outcome, Reader};
use streamproof_server::Scratch;
use streamproof_trial::nemesis::Arsenal;
use streamproof_trial::run::{Setup, run_case};
use streamproof_trial::target::targets;
use streamproof_trial::wire::Login;
use streamproof_trial::workload::{Scale, case};

fn stream(kind: Kind, config: Value) -> DesiredStream {
    let config = config.as_object().cloned().unwrap();
    DesiredStream {
        kind,
        name: config["name"].as_str().unwrap().to_owned(),
        bucket: None,
        declared: config.keys().cloned().collect(),
        config,
        places: Places::default(),
    }
}

fn consumer(stream: &str, config: Value) -> DesiredConsumer {
    let config = config.as_object().cloned().unwrap();
    DesiredConsumer {
        stream: stream.to_owned(),
        name: config["durable_name"].as_str().unwrap().to_owned(),
        declared: config.keys().cloned().collect(),
        config,
        places: Places::default(),
    }
}

fn project() -> Desired {
    Desired {
        streams: vec![
            stream(
                Kind::Stream,
                json!({ "name": "LIMITS", "subjects": ["limits.*"], "max_msgs": 300, "num_replicas": 1 }),
            ),
            stream(
                Kind::Stream,
                json!({ "name": "WORK", "subjects": ["work.>"], "retention": "workqueue", "allow_direct": true }),
            ),
        ],
        consumers: vec![
            consumer("LIMITS", json!({ "durable_name": "READER", "ack_policy": "explicit" })),
            consumer("WORK", json!({ "durable_name": "WORKER", "ack_policy": "explicit" })),
        ],
    }
}

fn run(desired: &Desired, faults: &[FaultKind], seed: u64, history: &Path) -> Vec<Op> {
    let (targets, notes) = targets(desired);
    let case = case(&targets, faults, seed, Scale { burst: 60 });
    let cancel = AtomicBool::new(false);
    let setup =
        Setup { targets: &targets, notes: &notes, login: Login::default(), run_id: "test", cancel: &cancel };
    let mut server = Scratch::new().unwrap();
    let done = run_case(&setup, &case, &mut server, &mut Arsenal::default(), history, 0).unwrap();
    assert_eq!(done.stuck, None);
    assert_eq!(done.legs, faults.len());
    Ops::new(Reader::new(BufReader::new(File::open(history).unwrap())).unwrap()).collect()
}

fn evidence(operations: &[Op]) -> Vec<(FaultKind, Evidence)> {
    let mut kinds = BTreeMap::new();
    let mut found = Vec::new();
    for operation in operations {
        match operation {
            Op::Event { event: Event::FaultBegin { fault, kind, .. }, .. } => {
                kinds.insert(*fault, *kind);
            }
            Op::Event { event: Event::FaultEnd { fault, evidence }, .. } => {
                found.push((kinds[fault], (**evidence).clone()))
            }
            _ => {}
        }
    }
    found
}

#[test]
fn every_fault_of_the_default_run_bites() {
    let folder = tempfile::tempdir().unwrap();
    let faults = [
        FaultKind::Stop,
        FaultKind::Kill,
        FaultKind::KillAfterAck,
        FaultKind::Restarts,
        FaultKind::IndexLost,
        FaultKind::IndexStale,
        FaultKind::Disconnect,
        FaultKind::Pause,
    ];
    let operations = run(&project(), &faults, 7, &folder.path().join("history"));
    let seen = evidence(&operations);
    assert_eq!(seen.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), faults);
    for (kind, evidence) in &seen {
        assert_eq!(evidence.failed, None, "{}", kind.name());
        assert_eq!(
            evidence.pid_before != evidence.pid_after,
            kind.restarts(),
            "{}: {evidence:?}",
            kind.name()
        );
        match kind {
            FaultKind::Kill | FaultKind::Disconnect => {
                assert!(evidence.in_flight > 0, "{}: {evidence:?}", kind.name())
            }
            FaultKind::Restarts => assert_eq!(evidence.restarts, 3),
            FaultKind::IndexLost => assert!(evidence.index_files > 0, "{evidence:?}"),
            FaultKind::Pause => assert!(evidence.silent_us > 300_000, "{evidence:?}"),
            _ => {}
        }
    }
}

#[test]
fn what_was_acknowledged_is_read_back_at_its_sequence() {
    let folder = tempfile::tempdir().unwrap();
    let desired = Desired {
        streams: vec![stream(
            Kind::Stream,
            json!({ "name": "PLAIN", "subjects": ["plain.*"], "deny_delete": true, "deny_purge": true }),
        )],
        consumers: Vec::new(),
    };
    for seed in 0..3 {
        let operations =
            run(&desired, &[FaultKind::Kill, FaultKind::Stop], seed, &folder.path().join("history"));
        let (mut acked, mut stored) = (BTreeMap::new(), BTreeMap::new());
        for operation in &operations {
            match operation {
                Op::Call {
                    call: Call::Publish(publish),
                    outcome: Outcome::Acked { seq, duplicate: false },
                    ..
                } => {
                    acked.insert(*seq, (publish.publisher, publish.counter, publish.subject));
                }
                Op::Event { event: Event::ReadBegin { .. }, .. } => stored.clear(),
                Op::Event { event: Event::Stored(message), .. } => {
                    if let streamproof_model::op::Seen::Ours { publisher, counter, .. } = message.seen {
                        stored.insert(message.seq, (publisher, counter, message.subject));
                    }
                }
                _ => {}
            }
        }
        // The canary comes after the last read-back; everything else was acknowledged before it.
        let last = acked.keys().last().copied().unwrap();
        acked.remove(&last);
        assert!(acked.len() > 1, "seed {seed}");
        for (seq, message) in &acked {
            assert_eq!(stored.get(seq), Some(message), "seed {seed}, sequence {seq}");
        }
    }
}
