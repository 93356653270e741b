//! One crash state: a server is started on it, everything is looked at and read back, and it is judged against what had been
//! acknowledged before the cut.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use streamproof_model::op::{Event, Evidence, FaultKind, Record};
use streamproof_model::version::Version;
use streamproof_server::scratch::Builder;
use streamproof_server::{Scratch, ServerError};

use super::CutError;
use super::recorded::Recorded;
use crate::recorder::{Continued, Recorder};
use crate::run::{Setup, Stuck, recover, sites};
use crate::seed::Seed;
use crate::site::Gauge;
use crate::workload::Leg;

/// Publishers of canaries: numbers that no stream of the workload has.
const CANARIES: u16 = 20_000;

/// Servers that crash states are started on, one at a time each.
#[derive(Debug)]
pub(crate) struct Bench {
    servers: Vec<Mutex<Scratch>>,
}

impl Bench {
    /// So many.
    ///
    /// # Errors
    /// No nats-server, or no room.
    pub(crate) fn new(builder: &Builder, workers: usize) -> Result<Bench, ServerError> {
        // A server that lives for a tenth of a second has no garbage worth collecting; what it does is the same.
        let builder = builder.clone().env("GOGC", "off").env("GOMEMLIMIT", "1GiB");
        let servers = (0..workers.max(1)).map(|_| builder.clone().prepare().map(Mutex::new));
        Ok(Bench { servers: servers.collect::<Result<_, _>>()? })
    }

    /// The directory of each server's store: gone with the server, whatever happens to this process.
    pub(crate) fn dirs(&self) -> Vec<PathBuf> {
        let dir = |server: &Mutex<Scratch>| {
            server.lock().unwrap_or_else(PoisonError::into_inner).store_dir().to_path_buf()
        };
        self.servers.iter().map(dir).collect()
    }
}

/// How many servers work at a time: one more than there are cores, for while one of them waits for its server.
pub(crate) fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get) + 1
}

/// What is known of a cut when its state is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strike<'a> {
    /// When the power went, in µs of the history.
    pub(crate) cut_us: u64,
    /// Bytes that were written and not durable then.
    pub(crate) unsynced_bytes: u64,
    /// Also publish to every stream and see every consumer through to it.
    pub(crate) canary: bool,
    /// The number of the fault.
    pub(crate) fault: u32,
    /// What the records go on from.
    pub(crate) continued: &'a Continued,
}

/// Starts server `worker` of `bench` on the state in `dir`, and looks at everything. The records go on where those before end.
///
/// # Errors
/// [`CutError`]. A server that does not come up, or ends, is none, but recorded.
pub(crate) fn visit(
    setup: &Setup<'_>,
    recorded: &Recorded,
    bench: &Bench,
    worker: usize,
    dir: &Path,
    strike: Strike<'_>,
) -> Result<Vec<Record>, CutError> {
    let mut server = bench.servers[worker].lock().unwrap_or_else(PoisonError::into_inner);
    server.set_store_dir(dir)?;
    let recorder = Recorder::continuing(strike.continued);
    let begun = Instant::now();
    let started = server.start();
    let version = server.binary().version.clone();
    let mut evidence = Evidence {
        pid_before: recorded.pid,
        pid_after: server.pid().unwrap_or(0),
        unsynced_bytes: strike.unsynced_bytes,
        restarts: 1,
        version_before: Some(version.to_string()),
        version_after: Some(version.to_string()),
        ..Evidence::default()
    };
    let ready_us = begun.elapsed().as_micros() as u64;
    let ended = match started {
        Ok(()) => {
            recorder.event(&Event::FaultEnd { fault: strike.fault, evidence: Box::new(evidence) });
            let server_version = version.to_string();
            recorder.event(&Event::Recovered { fault: strike.fault, server: server_version, ready_us });
            look(setup, recorded, &recorder, &mut server, &version, strike.canary)
        }
        Err(error @ (ServerError::Died { .. } | ServerError::NotReady { .. })) => {
            evidence.pid_after = 0;
            recorder.event(&Event::FaultEnd { fault: strike.fault, evidence: Box::new(evidence) });
            Err(Stuck::NotRecovered(error.to_string()))
        }
        Err(error) => return Err(error.into()),
    };
    match ended {
        Ok(()) | Err(Stuck::Gone) => {}
        Err(Stuck::Cancelled) => return Err(crate::run::CaseError::Cancelled.into()),
        Err(Stuck::NotRecovered(why)) => recorder.event(&Event::NotRecovered { fault: strike.fault, why }),
        // The server ended while it was looked at.
        Err(Stuck::Why(why)) if !server.is_running() => {
            let log = server.log_tail(5);
            recorder.event(&Event::NotRecovered { fault: strike.fault, why: format!("{why}\n{log}") });
        }
        Err(Stuck::Why(why)) => {
            recorder.event(&Event::NotProven { what: "a crash state".to_owned(), why, required: true });
        }
    }
    server.kill()?;
    recorder.event(&Event::Finished);
    let kind = FaultKind::PowerCut;
    let begin = Event::FaultBegin { fault: strike.fault, kind, streams: Vec::new() };
    let mut records = vec![Record::Event { at: strike.cut_us, event: begin }];
    records.extend(recorder.into_records());
    Ok(records)
}

fn look(
    setup: &Setup<'_>,
    recorded: &Recorded,
    recorder: &Recorder,
    server: &mut Scratch,
    version: &Version,
    canary: bool,
) -> Result<(), Stuck> {
    let address: SocketAddr =
        server.address().parse().map_err(|_| Stuck::Why(format!("{} is no address", server.address())))?;
    let gauge = Gauge::default();
    let mut sites = sites(setup, recorder, &gauge, address, &Seed::new(recorded.seed));
    for (index, site) in sites.iter_mut().enumerate() {
        site.publish_as(CANARIES + index as u16);
        site.read_by_consumer = true;
    }
    let fault = FaultKind::PowerCut;
    let leg = Leg { steps: Vec::new(), load: Vec::new(), load_acks: 0, fault, canary };
    recover(&leg, &mut sites, recorder, setup.cancel, *version >= Version::new(2, 11, 0))
}
