//! A case, run: a fresh server, its streams, and leg after leg of steps, fault, recovery and read-back, all recorded.

mod steps;
#[cfg(test)]
mod tests;

use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use streamproof_model::op::{CanaryEnd, Event, Evidence, FaultKind, Level, Meta, Outcome, Phase};
use streamproof_model::version::Version;
use streamproof_server::{Scratch, ServerError};

use crate::nemesis::{self, Arsenal};
use crate::recorder::Recorder;
use crate::seed::Seed;
use crate::site::{Gauge, Halt, Site};
use crate::target::{NotProven, Target};
use crate::wire::{Login, WireError};
use crate::workload::{Case, Leg};

pub(crate) use steps::perform;

/// A load publishes at most so much before its fault comes.
const LOAD_MAX: u32 = 4_000;
/// The load's answers are waited for so long; a fault then comes anyway, and its evidence says how little was in flight.
const LOAD_LIMIT: Duration = Duration::from_secs(3);

/// A full disk is freed when so many writes were refused, or after so long.
const REFUSED_MIN: u64 = 5;
/// See [`REFUSED_MIN`].
const REFUSED_LIMIT: Duration = Duration::from_secs(2);

/// After a fault that the server survives, it comes to rest within this time.
const QUIESCE_LIMIT: Duration = Duration::from_secs(5);

/// Why a case could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A stream or consumer could not be created as its file says.
    #[error("{target}: {source}")]
    Create {
        /// The stream.
        target: String,
        /// What the server said.
        source: WireError,
    },
    /// The history could not be written.
    #[error("the history cannot be written: {0}")]
    History(#[from] std::io::Error),
    /// The server's address makes no sense.
    #[error("the server listens on {0:?}, which is no address")]
    Address(String),
    /// Cancelled: the history so far is kept.
    #[error("cancelled")]
    Cancelled,
}

/// What a case came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaseDone {
    /// Restarts after which everything was read back.
    pub restarts: u64,
    /// Legs that were run to their end.
    pub legs: usize,
    /// The server did not come back after a fault, or could not be talked to: why.
    pub stuck: Option<String>,
}

/// What a case needs.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The streams.
    pub targets: &'a [Target],
    /// What was left out to run them on one node.
    pub notes: &'a [NotProven],
    /// How to log in.
    pub login: Login,
    /// The run's id, as its folder is named.
    pub run_id: &'a str,
    /// Set to end it early.
    pub cancel: &'a AtomicBool,
}

/// Runs a case on a server that has nothing in it yet, and writes its history to `history`.
///
/// # Errors
/// [`CaseError`]. A server that does not come back is not an error here but recorded, and ends the case.
pub fn run_case(
    setup: &Setup<'_>,
    case: &Case,
    server: &mut Scratch,
    arsenal: &mut Arsenal,
    history: &Path,
    began_ns: i64,
) -> Result<CaseDone, CaseError> {
    let recorder = Recorder::create(
        history,
        Meta {
            run: case.seed as u32,
            id: setup.run_id.to_owned(),
            seed: case.seed,
            server: server.binary().version.to_string(),
            began_ns,
        },
    )?;
    let address: SocketAddr = server.address().parse().map_err(|_| CaseError::Address(server.address()))?;
    let gauge = Gauge::default();
    let seed = Seed::new(case.seed);
    let batches = server.binary().version >= Version::new(2, 11, 0);
    let mut sites = sites(setup, &recorder, &gauge, address, &seed);
    for note in setup.notes {
        recorder.event(&Event::NotProven { what: note.what.clone(), why: note.why.clone(), required: false });
    }
    create(&mut sites, &recorder)?;
    let mut done = CaseDone::default();
    arsenal.keep_indexes(server.store_dir());
    for (number, leg) in case.legs.iter().enumerate() {
        match run_leg(
            leg,
            number as u32 + 1,
            &mut sites,
            server,
            arsenal,
            &recorder,
            &gauge,
            setup.cancel,
            batches,
        ) {
            Ok(restarts) => {
                done.restarts += u64::from(restarts);
                done.legs += 1;
            }
            Err(Stuck::Cancelled) => {
                recorder.flush()?;
                return Err(CaseError::Cancelled);
            }
            Err(Stuck::NotRecovered(why)) => {
                done.stuck = Some(why);
                break;
            }
            Err(Stuck::Gone) => break,
            Err(Stuck::Why(why)) => {
                // Not by a fault of ours: what was to follow is unknown, and what the server's end means is not decided here.
                let what = format!("leg {} of case {:x}", number + 1, case.seed);
                recorder.event(&Event::NotProven { what, why: why.clone(), required: true });
                done.stuck = Some(why);
                break;
            }
        }
    }
    recorder.event(&Event::Finished);
    recorder.flush()?;
    Ok(done)
}

/// A site for each stream, declared in the history.
pub(crate) fn sites<'a>(
    setup: &Setup<'a>,
    recorder: &'a Recorder,
    gauge: &'a Gauge,
    address: SocketAddr,
    seed: &Seed,
) -> Vec<Site<'a>> {
    let mut sites = Vec::new();
    let mut base = 0;
    for (index, target) in setup.targets.iter().enumerate() {
        sites.push(Site::new(
            target,
            index,
            base,
            recorder,
            gauge,
            setup.cancel,
            address,
            &setup.login,
            seed,
        ));
        base += target.consumers.len() as u16;
    }
    sites
}

/// Creates every stream with its consumers, and lists them: what is there from then on must stay.
pub(crate) fn create(sites: &mut [Site<'_>], recorder: &Recorder) -> Result<(), CaseError> {
    for site in sites.iter_mut() {
        let target = site.target.label.clone();
        site.connect().and_then(|()| site.create()).map_err(|source| CaseError::Create { target, source })?;
    }
    if let Some(wire) = sites.first_mut().and_then(|site| site.wire.as_mut()) {
        let target = "the streams".to_owned();
        crate::snapshot::listing(wire, recorder, Phase::Quiet)
            .map_err(|source| CaseError::Create { target, source })?;
    }
    Ok(())
}

#[derive(Debug)]
pub(crate) enum Stuck {
    Cancelled,
    /// The server did not come back, and that is recorded.
    NotRecovered(String),
    /// A stream is gone, as the read-back has recorded: there is nothing left to go on with.
    Gone,
    /// The connection ended where no fault had cut it.
    Why(String),
}

impl Stuck {
    /// As a site would say it.
    pub(crate) fn halt(self) -> Halt {
        match self {
            Stuck::Cancelled => Halt::Cancelled,
            // A stream that is gone has been recorded as such.
            Stuck::Gone => Halt::Gone("a stream is gone".to_owned()),
            Stuck::NotRecovered(why) | Stuck::Why(why) => Halt::Gone(why),
        }
    }
}

impl From<Halt> for Stuck {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Gone(why) => Stuck::Why(why),
            Halt::Cancelled => Stuck::Cancelled,
        }
    }
}

impl From<WireError> for Stuck {
    fn from(error: WireError) -> Self {
        Stuck::Why(error.to_string())
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of a case; a struct would only rename them")]
pub(crate) fn run_leg(
    leg: &Leg,
    number: u32,
    sites: &mut [Site<'_>],
    server: &mut Scratch,
    arsenal: &mut Arsenal,
    recorder: &Recorder,
    gauge: &Gauge,
    cancel: &AtomicBool,
    batches: bool,
) -> Result<u32, Stuck> {
    for (target, step) in &leg.steps {
        perform(&mut sites[*target], step)?;
    }
    for site in sites.iter_mut() {
        site.settle(0)?;
        site.snapshot(Phase::Quiet)?;
    }
    let acked_before = gauge.acked.load(Ordering::Relaxed);
    gauge.connections_lost.store(0, Ordering::Relaxed);
    gauge.halt.store(false, Ordering::Relaxed);
    if leg.fault == FaultKind::KillAfterAck {
        // The one acknowledged operation right before it, where the stream takes any.
        if let Some(site) = sites.iter_mut().find(|site| site.target.rules.publishable) {
            let window = 1;
            // Sometimes nothing: what was acknowledged last is then the last step's, and a drained stream stays drained.
            if site.seed.chance(50) {
                site.load(window, 1)?;
            }
        }
    }
    let mut evidence = Evidence::default();
    let mut cut_off = 0;
    let struck = std::thread::scope(|scope| {
        let mut cuts = Vec::new();
        for (index, site) in sites.iter_mut().enumerate() {
            if leg.load.contains(&index) {
                cuts.extend(site.wire.as_ref().and_then(|wire| wire.cutter().ok()));
                scope.spawn(move || {
                    // How it ends is in the history: cut off, cancelled, or at its bound.
                    site.load(32, LOAD_MAX).err()
                });
            }
        }
        if !leg.load.is_empty() {
            // Answers, not acks: a stream that is full refuses at once, and that too is work in flight.
            let wanted = gauge.answered.load(Ordering::Relaxed) + u64::from(leg.load_acks);
            let waited =
                streamproof_server::poll::until(streamproof_server::poll::Pace::QUICK, LOAD_LIMIT, || {
                    let (answered, in_flight) =
                        (gauge.answered.load(Ordering::Relaxed), gauge.in_flight.load(Ordering::Relaxed));
                    if (answered >= wanted && in_flight > 0) || cancel.load(Ordering::Relaxed) {
                        Ok(())
                    } else {
                        Err("the load has not come up to its answers")
                    }
                });
            // Not reached: the evidence says so, and the checker calls it inconclusive.
            waited.ok();
        }
        gauge.power_gone.store(leg.fault.level() == Level::HostCrash, Ordering::SeqCst);
        recorder.event(&Event::FaultBegin { fault: number, kind: leg.fault, streams: Vec::new() });
        evidence.in_flight = gauge.in_flight.load(Ordering::Relaxed);
        evidence.acked = gauge.acked.load(Ordering::Relaxed);
        if leg.fault == FaultKind::Disconnect {
            for cut in &cuts {
                cut.cut();
            }
            cut_off = cuts.len() as u32;
        }
        if leg.fault == FaultKind::DiskFull {
            match fill(server, arsenal, gauge, cancel) {
                Ok(refused) => evidence.refused_writes = refused,
                Err(why) => evidence.failed = Some(why),
            }
        }
        let struck = nemesis::strike(server, leg.fault, arsenal, &mut evidence);
        gauge.halt.store(true, Ordering::Relaxed);
        struck
    });
    gauge.power_gone.store(false, Ordering::SeqCst);
    debug_assert!(acked_before <= evidence.acked);
    gauge.acked.store(0, Ordering::Relaxed);
    for site in sites.iter_mut() {
        if site.wire.take().is_some() {
            // The old connection is of the old process, or is given up with the fault; nothing is taken from it any more.
            gauge.connections_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
    // Those that are given up here anyway are not what cutting them off has come to.
    evidence.connections_lost = match leg.fault {
        FaultKind::Disconnect => cut_off,
        _ => gauge.connections_lost.load(Ordering::Relaxed),
    };
    let restarts = evidence.restarts;
    let failed = evidence.failed.clone();
    recorder.event(&Event::FaultEnd { fault: number, evidence: Box::new(evidence) });
    let ready = match struck {
        Ok(ready) => ready,
        Err(error) => {
            let why = error.to_string();
            recorder.event(&Event::NotRecovered { fault: number, why: why.clone() });
            return Err(Stuck::NotRecovered(why));
        }
    };
    if let Some(why) = failed.filter(|_| !server.is_running()) {
        return Err(Stuck::Why(format!("{} could not be brought about: {why}", leg.fault.name())));
    }
    if !leg.fault.restarts() {
        quiesce(server, sites)?;
    }
    recorder.event(&Event::Recovered {
        fault: number,
        server: server.binary().version.to_string(),
        ready_us: ready.as_micros() as u64,
    });
    recover(leg, sites, recorder, cancel, batches)?;
    Ok(restarts)
}

/// Fills the disk until the server refuses writes, and frees it; says how many writes were refused. A server tells it in its
/// answers, or, where it gives none (2.15.1), in its log.
fn fill(server: &Scratch, arsenal: &Arsenal, gauge: &Gauge, cancel: &AtomicBool) -> Result<u64, String> {
    let Some(disk) = &arsenal.small_disk else {
        return Err("the store is not on a disk that can be filled".to_owned());
    };
    let log = |from: u64| -> std::io::Result<String> {
        let mut file = std::fs::File::open(server.log_path())?;
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let answered_before = gauge.refused.load(Ordering::Relaxed);
    let logged_before = std::fs::metadata(server.log_path()).map_or(0, |data| data.len());
    let refused = || {
        // A log that cannot be read says nothing; the answers may.
        let logged = log(logged_before).unwrap_or_default();
        let logged = logged.lines().filter(|line| DISK_FULL.iter().any(|words| line.contains(words))).count();
        (gauge.refused.load(Ordering::Relaxed) - answered_before).max(logged as u64)
    };
    disk.fill().map_err(|error| format!("the disk could not be filled: {error}"))?;
    let waited = streamproof_server::poll::until(streamproof_server::poll::Pace::CALM, REFUSED_LIMIT, || {
        // What limits and consumers let go of makes room for what comes.
        if disk.has_room() {
            disk.fill().ok();
        }
        if refused() >= REFUSED_MIN || cancel.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err("writes are not refused")
        }
    });
    // Fewer, or none: the evidence says so.
    waited.ok();
    let refused = refused();
    disk.free().map_err(|error| format!("the disk could not be freed: {error}"))?;
    Ok(refused)
}

/// What nats-server logs when it cannot write, or has given up to (2.10 to 2.15).
const DISK_FULL: [&str; 3] = ["no space left on device", "insufficient storage", "JetStream out of"];

/// The server ran on, and what it had read from the cut connections it may still be working off: no state that is taken
/// before it is done says anything. So: until it has no client, and then until the streams stand still.
fn quiesce(server: &Scratch, sites: &mut [Site<'_>]) -> Result<(), Stuck> {
    let clients = || -> Result<(), String> {
        let page = streamproof_server::monitor::get(&server.monitor_address(), "/connz", QUIESCE_LIMIT)
            .map_err(|error| error.to_string())?;
        let page: Value = serde_json::from_str(&page.body).map_err(|error| error.to_string())?;
        match page["num_connections"].as_u64() {
            Some(0) => Ok(()),
            other => Err(format!("{other:?} clients")),
        }
    };
    let pace = streamproof_server::poll::Pace::QUICK;
    let unquiet =
        |last: String| Stuck::Why(format!("the server does not come to rest after the fault: {last}"));
    streamproof_server::poll::until(pace, QUIESCE_LIMIT, clients).map_err(|late| unquiet(late.last))?;
    for site in sites.iter_mut() {
        site.connect()?;
    }
    let mut before = Vec::new();
    let mut same = 0;
    let still = streamproof_server::poll::until_or(pace, QUIESCE_LIMIT, || {
        let mut states = Vec::new();
        for site in sites.iter_mut() {
            match site.api(&format!("STREAM.INFO.{}", site.target.name), &Value::Null) {
                Ok(info) => states.push(info["state"].clone()),
                Err(WireError::Api { .. }) => {}
                Err(error) => return std::ops::ControlFlow::Break(Err(error)),
            }
        }
        same = if states == before { same + 1 } else { 0 };
        before = states;
        // The looks come a few ms apart; a queue that stands still over this many is empty.
        if same >= 8 {
            std::ops::ControlFlow::Break(Ok(()))
        } else {
            std::ops::ControlFlow::Continue("streams still change")
        }
    });
    match still {
        Ok(()) => Ok(()),
        Err(streamproof_server::poll::Ended::Hopeless(error)) => Err(error.into()),
        Err(streamproof_server::poll::Ended::TimedOut(late)) => Err(unquiet(late.last.to_owned())),
    }
}

/// Looks at everything, in the order that shows most: the listing, the infos, and only then the messages.
pub(crate) fn recover(
    leg: &Leg,
    sites: &mut [Site<'_>],
    recorder: &Recorder,
    cancel: &AtomicBool,
    batches: bool,
) -> Result<(), Stuck> {
    for site in sites.iter_mut() {
        site.connect()?;
    }
    if let Some(wire) = sites.first_mut().and_then(|site| site.wire.as_mut()) {
        crate::snapshot::listing(wire, recorder, Phase::After)?;
    }
    let mut infos = Vec::new();
    for site in sites.iter_mut() {
        infos.push(site.snapshot(Phase::After)?);
    }
    for (site, info) in sites.iter_mut().zip(&infos) {
        if cancel.load(Ordering::Relaxed) {
            return Err(Stuck::Cancelled);
        }
        match info {
            Some(info) => {
                site.read_back(info, Phase::After, batches)?;
            }
            None => site.read_nothing(Phase::After),
        }
    }
    if infos.iter().any(Option::is_none) {
        return Err(Stuck::Gone);
    }
    if leg.canary {
        let ended: Vec<Result<(), Halt>> = std::thread::scope(|scope| {
            let running: Vec<_> = sites.iter_mut().map(|site| scope.spawn(move || canary(site))).collect();
            running
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or(Err(Halt::Gone("a thread of the trial panicked".to_owned())))
                })
                .collect()
        });
        for end in ended {
            end?;
        }
    }
    Ok(())
}

/// Publishes one message, and sees every consumer that wants it through to it.
fn canary(site: &mut Site<'_>) -> Result<(), Halt> {
    if !site.target.rules.publishable || site.subject_count() == 0 {
        return Ok(());
    }
    // A subject that a consumer wants, where there is one.
    let subject = (0..site.subject_count())
        .find(|subject| {
            site.target.consumers.iter().any(|consumer| consumer.wants(site.subject_name(*subject)))
        })
        .unwrap_or(0);
    let started = std::time::Instant::now();
    let outcome = site.canary(subject)?;
    let took = |started: std::time::Instant| started.elapsed().as_micros() as u64;
    let end = match outcome {
        Some(Outcome::Acked { .. }) => CanaryEnd::Arrived,
        Some(Outcome::Rejected { code }) => CanaryEnd::Refused { code },
        _ => CanaryEnd::NoAnswer,
    };
    let Some(Outcome::Acked { seq, .. }) = outcome else {
        // A full stream that discards new messages refuses the canary as it should.
        if !site.target.rules.discard_new {
            site.recorder.event(&Event::Canary {
                stream: site.id,
                consumer: None,
                end,
                took_us: took(started),
            });
        }
        return Ok(());
    };
    let name = site.subject_name(subject).to_owned();
    if site.target.consumers.is_empty() {
        site.recorder.event(&Event::Canary { stream: site.id, consumer: None, end, took_us: took(started) });
    }
    for consumer in 0..site.target.consumers.len() {
        if site.missing.contains(&consumer) {
            continue;
        }
        let wanted = site.target.consumers[consumer].wants(&name);
        let seen = site.see_through(consumer, wanted.then_some(seq), Duration::from_secs(15))?;
        if wanted {
            let end = if seen { CanaryEnd::Arrived } else { CanaryEnd::NotDelivered };
            let id = site.consumers[consumer];
            site.recorder.event(&Event::Canary {
                stream: site.id,
                consumer: Some(id),
                end,
                took_us: took(started),
            });
        }
    }
    Ok(())
}
