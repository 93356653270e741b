//! What is asked of a server after a fault, and what is not.

use super::*;
use crate::recorder::Continued;
use streamproof_model::desired::{Desired, DesiredConsumer, DesiredStream, Kind, Places};
use streamproof_model::op::Record;
use streamproof_server::{Scratch, Sources, Wanted, acquire};

#[test]
fn of_a_consumer_that_is_not_there_nothing_is_asked() {
    let binary = acquire(&Wanted::pinned(), &Sources::from_process()).unwrap();
    let server = Scratch::builder().binary(binary).start().unwrap();
    let map = |value: serde_json::Value| value.as_object().cloned().unwrap();
    let consumer = |name: &str| DesiredConsumer {
        stream: "S".to_owned(),
        name: name.to_owned(),
        declared: std::collections::BTreeSet::new(),
        config: map(serde_json::json!({ "durable_name": name, "ack_policy": "explicit" })),
        places: Places::default(),
    };
    let stream = DesiredStream {
        kind: Kind::Stream,
        name: "S".to_owned(),
        bucket: None,
        declared: std::collections::BTreeSet::new(),
        config: map(serde_json::json!({ "name": "S", "subjects": ["s.*"] })),
        places: Places::default(),
    };
    let desired = Desired { streams: vec![stream], consumers: vec![consumer("GONE"), consumer("THERE")] };
    let (targets, _) = crate::target::targets(&desired);
    let (cancel, gauge) = (AtomicBool::new(false), Gauge::default());
    let login = Login::default();
    let setup =
        Setup { targets: &targets, notes: &[], login: login.clone(), run_id: "missing", cancel: &cancel };
    let recorder = Recorder::continuing(&Continued {
        run: 1,
        began_ns: 0,
        start: std::time::Instant::now(),
        next_id: 0,
        subjects: std::collections::HashMap::new(),
    });
    let address: SocketAddr = server.address().parse().unwrap();
    let mut sites = sites(&setup, &recorder, &gauge, address, &Seed::new(1));
    create(&mut sites, &recorder).unwrap();
    let mut other = crate::wire::Wire::connect(address, &login, Duration::from_secs(5)).unwrap();
    other.api("CONSUMER.DELETE.S.GONE", &serde_json::Value::Null, Duration::from_secs(5)).unwrap();
    let leg = Leg { steps: Vec::new(), load: Vec::new(), load_acks: 0, fault: FaultKind::Stop, canary: true };
    recover(&leg, &mut sites, &recorder, &cancel, true).unwrap();
    let acks = crate::workload::Acks::Double;
    let [gone, there] = [0, 1].map(|consumer| sites[0].consumers[consumer]);
    perform(&mut sites[0], &crate::workload::Step::Consume { consumer: 0, count: 1, acks }).unwrap();
    perform(&mut sites[0], &crate::workload::Step::Drain { consumer: 0, leave: 0 }).unwrap();
    drop(sites);
    let records = recorder.into_records();
    let of = |wanted| {
        let canary = |record: &&Record| matches!(record, Record::Event { event: Event::Canary { consumer, .. }, .. } if *consumer == Some(wanted));
        records.iter().filter(canary).count()
    };
    assert_eq!((of(gone), of(there)), (0, 1), "{records:?}");
    let hung = |record: &Record| matches!(record, Record::Event { event: Event::Hung { .. }, .. });
    assert!(!records.iter().any(hung), "{records:?}");
}
