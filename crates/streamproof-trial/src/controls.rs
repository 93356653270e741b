//! The controls: damage done on purpose behind the checker's back, in every run; each must be found by exactly its invariant.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};
use streamproof_model::desired::{Desired, DesiredConsumer, DesiredStream, Kind, Places};
use streamproof_model::op::{Control, Event, Evidence, FaultKind, Meta, Phase, StreamId};
use streamproof_server::Scratch;
use streamproof_server::acquire::Binary;

use crate::recorder::Recorder;
use crate::run::{CaseError, Stuck, recover};
use crate::seed::Seed;
use crate::site::{CALL_LIMIT, Gauge, Halt, Site};
use crate::target::targets;
use crate::wire::{Login, Wire, WireError};
use crate::workload::{Acks, Leg};

/// Messages on each stream: enough that a planted deletion is one of many.
const MESSAGES: u32 = 24;

/// The streams, in this order.
const MEMORY: usize = 0;
const DELETED: usize = 1;
const EDITED: usize = 2;
const CONSUMED: usize = 3;
const NAMES: [&str; 4] =
    ["SP_CONTROL_MEMORY", "SP_CONTROL_DELETED", "SP_CONTROL_EDITED", "SP_CONTROL_CONSUMED"];
const CONSUMER: &str = "READER";

/// Runs the controls on a server of their own, with streams of their own, and writes their history.
///
/// What they show is that workload, recorder, read-back and checker see a loss when there is one; the user's server settings
/// have no part in that, so the scratch server has none.
///
/// # Errors
/// [`CaseError`].
pub fn run_controls(
    binary: &Binary,
    seed: u64,
    run_id: &str,
    history: &Path,
    began_ns: i64,
    cancel: &AtomicBool,
) -> Result<(), CaseError> {
    let mut server =
        Scratch::builder().binary(binary.clone()).in_memory(true).timeout(Duration::from_secs(20)).start()?;
    let meta =
        Meta { run: seed as u32, id: run_id.to_owned(), seed, server: binary.version.to_string(), began_ns };
    let recorder = Recorder::create(history, meta)?;
    let address: SocketAddr = server.address().parse().map_err(|_| CaseError::Address(server.address()))?;
    let (gauge, login) = (Gauge::default(), Login::default());
    let (targets, _) = targets(&streams());
    let root = Seed::new(seed).part("controls");
    let mut sites: Vec<Site<'_>> = targets
        .iter()
        .enumerate()
        .map(|(index, target)| {
            Site::new(target, index, index as u16, &recorder, &gauge, cancel, address, &login, &root)
        })
        .collect();
    for site in &mut sites {
        let target = site.target.label.clone();
        site.connect().and_then(|()| site.create()).map_err(|source| CaseError::Create { target, source })?;
    }
    let ended = control(&mut sites, &mut server, &recorder, address);
    match ended {
        Ok(()) => recorder.event(&Event::Finished),
        Err(Halt::Cancelled) => return Err(CaseError::Cancelled),
        Err(Halt::Gone(why)) => {
            recorder.event(&Event::NotProven { what: "the controls".to_owned(), why, required: true });
        }
    }
    recorder.flush()?;
    Ok(())
}

fn control(
    sites: &mut [Site<'_>],
    server: &mut Scratch,
    recorder: &Recorder,
    address: SocketAddr,
) -> Result<(), Halt> {
    let gone = |error: WireError| Halt::Gone(error.to_string());
    if let Some(wire) = sites[0].wire.as_mut() {
        crate::snapshot::listing(wire, recorder, Phase::Quiet).map_err(gone)?;
    }
    for site in sites.iter_mut() {
        site.publish_many(MESSAGES, (18, 64), 8, 4, false, false, None)?;
    }
    sites[CONSUMED].consume(0, MESSAGES / 2, Acks::Double)?;
    for site in sites.iter_mut() {
        site.settle(0)?;
        site.snapshot(Phase::Quiet).map_err(gone)?;
        site.wire = None;
    }
    recorder.event(&Event::FaultBegin { fault: 1, kind: FaultKind::Stop, streams: Vec::new() });
    let pid_before = server.pid().unwrap_or(0);
    let failed = |error: streamproof_server::ServerError| Halt::Gone(error.to_string());
    server.stop().map_err(failed)?;
    server.start().map_err(failed)?;
    let evidence =
        Evidence { pid_before, pid_after: server.pid().unwrap_or(0), restarts: 1, ..Evidence::default() };
    recorder.event(&Event::FaultEnd { fault: 1, evidence: Box::new(evidence) });
    recorder.event(&Event::Recovered { fault: 1, server: server.binary().version.to_string(), ready_us: 0 });
    plant(sites, recorder, address).map_err(gone)?;
    let leg =
        Leg { steps: Vec::new(), load: Vec::new(), load_acks: 0, fault: FaultKind::Stop, canary: false };
    let cancel = AtomicBool::new(false);
    match recover(&leg, sites, recorder, &cancel, false) {
        // The memory stream is gone, as it must be; everything was read.
        Ok(()) | Err(Stuck::Gone) => Ok(()),
        Err(stuck) => Err(stuck.halt()),
    }
}

/// Does the damage, and says in the history what must be found.
fn plant(sites: &[Site<'_>], recorder: &Recorder, address: SocketAddr) -> Result<(), WireError> {
    // A connection that records nothing: that is what makes it damage.
    let mut wire = Wire::connect(address, &Login::default(), CALL_LIMIT)?;
    let deleted = u64::from(MESSAGES / 3);
    wire.api(&format!("STREAM.MSG.DELETE.{}", NAMES[DELETED]), &json!({ "seq": deleted }), CALL_LIMIT)?;
    let mut config = sites[EDITED].config.clone();
    config["max_msg_size"] = json!(4096);
    wire.api(&format!("STREAM.UPDATE.{}", NAMES[EDITED]), &config, CALL_LIMIT)?;
    let name = NAMES[CONSUMED];
    wire.api(&format!("CONSUMER.DELETE.{name}.{CONSUMER}"), &Value::Null, CALL_LIMIT)?;
    let request =
        json!({ "stream_name": name, "config": sites[CONSUMED].consumer_configs[0], "action": "create" });
    wire.api(&format!("CONSUMER.DURABLE.CREATE.{name}.{CONSUMER}"), &request, CALL_LIMIT)?;
    let plant = |name: &str, index: usize, consumer, seq, expect: &str, also: &[&str]| {
        recorder.event(&Event::Control(Control {
            name: name.to_owned(),
            stream: StreamId(index as u16),
            consumer,
            seq,
            expect: expect.to_owned(),
            also: also.iter().map(|name| (*name).to_owned()).collect(),
        }));
    };
    // With the memory went the stream itself, so its absence is found too.
    plant("memory-loss", MEMORY, None, None, "M1", &["K1", "M2", "M7"]);
    plant("planted-deletion", DELETED, None, Some(deleted), "M1", &[]);
    plant("edited-config", EDITED, None, None, "K2", &[]);
    // A consumer that was made anew has another time of creation too.
    plant("reset-consumer", CONSUMED, Some(sites[CONSUMED].consumers[0]), None, "C3", &["K3"]);
    Ok(())
}

fn streams() -> Desired {
    let stream = |name: &str, config: Value| {
        let mut config = config.as_object().cloned().unwrap_or_default();
        config.insert("name".to_owned(), json!(name));
        config.insert("subjects".to_owned(), json!([format!("{name}.*")]));
        DesiredStream {
            kind: Kind::Stream,
            name: name.to_owned(),
            bucket: None,
            declared: config.keys().cloned().collect(),
            config,
            places: Places::default(),
        }
    };
    let consumer = json!({ "durable_name": CONSUMER, "ack_policy": "explicit" });
    let consumer = consumer.as_object().cloned().unwrap_or_default();
    Desired {
        streams: vec![
            stream(NAMES[MEMORY], json!({ "storage": "memory" })),
            stream(NAMES[DELETED], json!({ "storage": "file" })),
            stream(NAMES[EDITED], json!({ "storage": "file", "max_msg_size": 2048 })),
            stream(NAMES[CONSUMED], json!({ "storage": "file" })),
        ],
        consumers: vec![DesiredConsumer {
            stream: NAMES[CONSUMED].to_owned(),
            name: CONSUMER.to_owned(),
            declared: consumer.keys().cloned().collect(),
            config: consumer,
            places: Places::default(),
        }],
    }
}
