//! A run that is recorded once and cut many times: the workload of a case, on a server whose store is on the recording mount.

use std::fs::File;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use streamproof_crashfs::fuse::{MountOptions, Recording};
use streamproof_crashfs::{Cut, Log};
use streamproof_model::op::{Event, FaultKind, Meta, Phase, Reader};
use streamproof_model::version::Version;
use streamproof_server::Scratch;
use streamproof_server::poll::{self, Pace};
use streamproof_server::scratch::Builder;

use super::CutError;
use super::past::Past;
use crate::nemesis::Arsenal;
use crate::recorder::{Continued, Recorder};
use crate::run::{CaseError, Setup, Stuck, create, perform, run_leg, sites};
use crate::seed::Seed;
use crate::site::{Gauge, Halt, Site};
use crate::workload::{Case, Leg};

/// The load before the cut publishes at most so much: what it writes is read back from every state.
const LOAD_MAX: u32 = 400;

/// The load's answers are waited for so long.
const LOAD_LIMIT: Duration = Duration::from_secs(3);

/// What a recording left.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Every change of the file system.
    pub(crate) log: Log,
    /// Every call and its answer.
    pub(crate) past: Past,
    /// What a history of a crash goes on from.
    pub(crate) continued: Continued,
    /// The case's seed: names of subjects follow from it.
    pub(crate) seed: u64,
    /// The server's process.
    pub(crate) pid: u32,
    /// The earliest cut to be judged: the streams are there.
    pub(crate) first_ns: u64,
    /// From times of the log to times of the history, in µs.
    offset_us: i64,
}

impl Recorded {
    /// A time of the log as one of the history, in µs.
    pub(crate) fn us(&self, at_ns: u64) -> u64 {
        (i64::try_from(at_ns / 1000).unwrap_or(i64::MAX) + self.offset_us).max(0) as u64
    }

    /// The other way round, in ns of the log.
    pub(crate) fn ns(&self, at_us: u64) -> u64 {
        ((i64::try_from(at_us).unwrap_or(i64::MAX) - self.offset_us).max(0) as u64) * 1000
    }

    /// When something was acknowledged, in ns of the log.
    pub(crate) fn acks_ns(&self) -> Vec<u64> {
        self.past.acks_us().into_iter().map(|at| self.ns(at)).collect()
    }

    /// When each message was first acknowledged, in ns of the log.
    pub(crate) fn published_ns(&self) -> Vec<u64> {
        self.past.published_us().into_iter().map(|at| self.ns(at)).collect()
    }

    /// How long it lasted, in ns: what is acknowledged after the last operation is cut, too.
    pub(crate) fn span_ns(&self) -> u64 {
        let last_ack = self.past.acks_us().last().map_or(0, |at| self.ns(*at));
        self.log.end_ns().max(last_ack).max(1)
    }

    /// Whether a cut may be judged.
    pub(crate) fn is_judged(&self, cut: Cut) -> bool {
        cut.at_ns >= self.first_ns
    }
}

/// Runs `case` on a server whose store is mounted at `mountpoint`, until the power goes in its last leg. The other legs end in
/// their own faults where the server is restarted on the mount, and in nothing where the fault is the power cut.
///
/// # Errors
/// [`CutError`]; a recording that comes to a stop before its end is none.
pub(crate) fn record(
    setup: &Setup<'_>,
    case: &Case,
    builder: Builder,
    arsenal: &mut Arsenal,
    history: &Path,
    began_ns: i64,
    mountpoint: &Path,
) -> Result<Recorded, CutError> {
    let recording = Recording::mount(mountpoint, Log::new(), &MountOptions::default())?;
    let mut server = builder.store_dir(recording.mountpoint()).start()?;
    let pid = server.pid().unwrap_or(0);
    let version = server.binary().version.to_string();
    let meta = Meta {
        run: case.seed as u32,
        id: setup.run_id.to_owned(),
        seed: case.seed,
        server: version,
        began_ns,
    };
    let recorder = Recorder::create(history, meta).map_err(CaseError::from)?;
    let address: SocketAddr = server.address().parse().map_err(|_| CaseError::Address(server.address()))?;
    let (gauge, seed) = (Gauge::default(), Seed::new(case.seed));
    let mut sites = sites(setup, &recorder, &gauge, address, &seed);
    for note in setup.notes {
        recorder.event(&Event::NotProven { what: note.what.clone(), why: note.why.clone(), required: false });
    }
    create(&mut sites, &recorder)?;
    arsenal.keep_indexes(server.store_dir());
    let batches = server.binary().version >= Version::new(2, 11, 0);
    let last = case.legs.len().saturating_sub(1);
    for (number, leg) in case.legs.iter().enumerate() {
        let ended = if number == last {
            let ended = last_leg(leg, &mut sites, &mut server, &recording, &gauge);
            ended.map(|_| ())
        } else if leg.fault == FaultKind::PowerCut {
            work(leg, &mut sites)
        } else {
            let number = number as u32 + 1;
            let cancel = setup.cancel;
            run_leg(leg, number, &mut sites, &mut server, arsenal, &recorder, &gauge, cancel, batches)
                .map(|_| ())
        };
        match ended {
            Ok(()) => {}
            Err(Stuck::Cancelled) => {
                recorder.flush().map_err(CaseError::from)?;
                return Err(CaseError::Cancelled.into());
            }
            // What was recorded until then can be cut all the same.
            Err(_) => break,
        }
    }
    recording.cut();
    server.kill()?;
    recorder.event(&Event::Finished);
    recorder.flush().map_err(CaseError::from)?;
    let continued = recorder.continued();
    let offset_us = signed_us(recording.origin(), continued.start);
    let file = File::open(history).map_err(CaseError::from)?;
    let records = Reader::new(BufReader::new(file)).map_err(|error| CutError::History(error.to_string()))?;
    let past = Past::new(records);
    drop(sites);
    let log = recording.finish()?;
    let mut recorded = Recorded { log, past, continued, seed: case.seed, pid, first_ns: 0, offset_us };
    recorded.first_ns = recorded.ns(recorded.past.ready_us()) + 1000;
    Ok(recorded)
}

/// From `start` to `moment`, in µs; negative where it was before.
pub(crate) fn signed_us(moment: std::time::Instant, start: std::time::Instant) -> i64 {
    let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match moment.checked_duration_since(start) {
        Some(after) => us(after),
        None => -us(start.duration_since(moment)),
    }
}

/// Does a leg's steps, those of different streams at the same time: their syncs and removals then meet on the disk.
fn work(leg: &Leg, sites: &mut [Site<'_>]) -> Result<(), Stuck> {
    let ended: Vec<Result<(), Halt>> = std::thread::scope(|scope| {
        let running: Vec<_> = sites
            .iter_mut()
            .enumerate()
            .map(|(index, site)| {
                scope.spawn(move || {
                    leg.steps
                        .iter()
                        .filter(|(of, _)| *of == index)
                        .try_for_each(|(_, step)| perform(site, step))
                })
            })
            .collect();
        let panicked = || Err(Halt::Gone("a thread of the trial panicked".to_owned()));
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panicked())).collect()
    });
    for end in ended {
        end?;
    }
    for site in sites.iter_mut() {
        site.settle(0)?;
        site.snapshot(Phase::Quiet)?;
    }
    Ok(())
}

/// The leg at whose end the power goes: under load, so that what is in flight on every stream meets it; or, where no answers of a
/// load are to be waited for, without one.
fn last_leg(
    leg: &Leg,
    sites: &mut [Site<'_>],
    server: &mut Scratch,
    recording: &Recording,
    gauge: &Gauge,
) -> Result<(), Stuck> {
    work(leg, sites)?;
    if leg.load_acks == 0 {
        recording.cut();
        server.kill().map_err(|error| Stuck::Why(error.to_string()))?;
        return Ok(());
    }
    gauge.halt.store(false, Ordering::Relaxed);
    std::thread::scope(|scope| {
        for site in sites.iter_mut().filter(|site| site.target.rules.publishable) {
            // How it ends is in the history.
            scope.spawn(move || site.load(32, LOAD_MAX).err());
        }
        let wanted = gauge.answered.load(Ordering::Relaxed) + u64::from(leg.load_acks);
        let waited = poll::until(Pace::QUICK, LOAD_LIMIT, || {
            let answered = gauge.answered.load(Ordering::Relaxed);
            if answered >= wanted { Ok(()) } else { Err("the load has not come up to its answers") }
        });
        // A stream that takes nothing more answers nothing: the cut comes all the same.
        waited.ok();
        recording.cut();
        let killed = server.kill();
        gauge.halt.store(true, Ordering::Relaxed);
        killed
    })
    .map_err(|error| Stuck::Why(error.to_string()))?;
    Ok(())
}
