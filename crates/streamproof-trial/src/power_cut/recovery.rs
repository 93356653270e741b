//! Crashes while recovering from a crash: a server is started on a crash state on the recording mount, works a little once it is
//! ready, and the power goes again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use streamproof_crashfs::fuse::{MountOptions, Recording};
use streamproof_crashfs::{Budget, CrashState, Cut, Log, Rules, cuts, state};
use streamproof_model::op::{Event, Evidence, FaultKind, Op, Ops, Outcome, Record, Why};
use streamproof_model::version::Version;
use streamproof_server::Scratch;
use streamproof_server::poll;
use streamproof_server::scratch::Builder;

use super::recorded::{Recorded, signed_us};
use super::search::{Again, with_early_commits};
use super::tally::FirstCut;
use super::visit::Strike;
use super::{CutError, FIRST};
use crate::recorder::{Continued, Recorder};
use crate::run::{Setup, Stuck, perform, recover, sites};
use crate::seed::Seed;
use crate::site::Gauge;
use crate::target::AckPolicy;
use crate::workload::{Acks, Leg, Step};

/// Cuts tried of each recovery.
const CUTS: usize = 16;

/// Messages that are published to each stream once the server is back: a sync each, with `sync_interval: always`.
const MESSAGES: u32 = 6;

/// Publishers after a recovery: numbers that neither a workload nor a canary has.
const PUBLISHERS: u16 = 30_000;

/// The disk is quiet for so long when the server has written what it writes by itself: a consumer's state at most every 100 ms
/// (`flushLoop`, server/filestore.go).
const QUIET: Duration = Duration::from_millis(130);
/// A server that writes on and on is waited for no longer than this.
const QUIET_LIMIT: Duration = Duration::from_millis(400);

/// A recovery that was recorded, and the states that crashes during and after it leave.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// Every change of the file system since the first cut.
    pub(crate) log: Log,
    /// The states: that which it began with only where a crash after the recovery leads to it.
    pub(crate) states: Vec<CrashState>,
    /// What was done, from the first cut on, as a history.
    records: Vec<Record>,
    /// When the server was back and all of it looked at, in µs of the history; none: it did not come up, or not whole.
    back_us: Option<u64>,
    /// What goes on after it.
    continued: Continued,
    /// When the power went first.
    cut_us: u64,
    /// The same, as it is told.
    pub(crate) first: FirstCut,
    /// By what rules it goes again.
    pub(crate) rules: Rules,
    /// From times of the log to times of the history, in µs.
    offset_us: i64,
}

impl Recovery {
    /// Records one, from `parent` of `recorded` on.
    ///
    /// # Errors
    /// [`CutError`].
    pub(crate) fn record(
        setup: &Setup<'_>,
        recorded: &Recorded,
        builder: &Builder,
        rules: Rules,
        parent: &CrashState,
        again: Again<'_>,
    ) -> Result<Recovery, CutError> {
        let tree = parent.tree(&recorded.log, rules);
        let from = Log::from_tree(&tree, &recorded.log);
        let recording = Recording::mount(again.place, from, &MountOptions::default())?;
        let mut server = builder.clone().store_dir(recording.mountpoint()).prepare()?;
        let recorder = Recorder::continuing(&recorded.continued);
        let begun = Instant::now();
        // One that does not come up was seen to be so when the state itself was tried.
        let mut back_us = None;
        if server.start().is_ok() {
            let evidence = Evidence {
                pid_before: recorded.pid,
                pid_after: server.pid().unwrap_or(0),
                unsynced_bytes: parent.unsynced_bytes,
                restarts: 1,
                ..Evidence::default()
            };
            let ready_us = begun.elapsed().as_micros() as u64;
            let version = server.binary().version.to_string();
            recorder.event(&Event::FaultEnd { fault: FIRST, evidence: Box::new(evidence) });
            recorder.event(&Event::Recovered { fault: FIRST, server: version, ready_us });
            // What comes to a stop (a stream that is gone) is cut there.
            let _ = work(setup, recorded, &recorder, &server, &mut back_us);
            quiet(&recording);
        }
        recording.cut();
        server.kill()?;
        let offset_us = signed_us(recording.origin(), recorded.continued.start);
        let (continued, log) = (recorder.continued(), recording.finish()?);
        let mut recovery = Recovery {
            log,
            states: Vec::new(),
            records: recorder.into_records(),
            back_us,
            continued,
            cut_us: recorded.us(parent.cut.at_ns),
            first: FirstCut {
                ops: parent.cut.ops,
                cut_us: recorded.us(parent.cut.at_ns),
                committed: parent.committed.map(|commit| commit.ops),
                began_us: offset_us.max(0) as u64,
            },
            rules: again.rules,
            offset_us,
        };
        let chosen = cuts(&recovery.log, &recovery.acks_ns(), recorded.seed, Budget::new(CUTS));
        let unchanged = state(&recovery.log, Cut::default(), again.rules).id();
        // The one that it began with was tried; not against what was acknowledged since.
        let mut states = with_early_commits(&recovery.log, &chosen, again.rules);
        states.retain(|state| state.id != unchanged || recovery.is_after(state));
        recovery.states = states;
        Ok(recovery)
    }

    /// What a server on one of the states is told by.
    pub(crate) fn strike<'a>(
        &'a self,
        recorded: &'a Recorded,
        state: &CrashState,
        canary: bool,
    ) -> Strike<'a> {
        let again = self.is_after(state);
        Strike {
            cut_us: if again { self.us(state.cut.at_ns) } else { self.cut_us },
            unsynced_bytes: state.unsynced_bytes,
            canary,
            fault: if again { FIRST + 1 } else { FIRST },
            continued: if again { &self.continued } else { &recorded.continued },
        }
    }

    /// The history of a state: what was found and done after the first cut and before the second, and what was found after that
    /// one. What was under way at the second is of unknown outcome, and told before what was found: an ack may have removed what
    /// is not there. A crash before the server was back and looked at is the first one, gone on.
    pub(crate) fn told(&self, state: &CrashState, found: Vec<Record>) -> Vec<Record> {
        if !self.is_after(state) {
            return found;
        }
        let cut_us = self.us(state.cut.at_ns);
        let begin = Event::FaultBegin { fault: FIRST, kind: FaultKind::PowerCut, streams: Vec::new() };
        let mut told = vec![Record::Event { at: self.cut_us, event: begin }];
        // What was answered in the very microsecond of the cut counts as unanswered.
        let before = |record: &&Record| match record {
            Record::Invoke { at, .. } => *at <= cut_us,
            Record::Done { at, .. } => *at < cut_us,
            // Names of what is yet to be seen: what follows the cut uses them.
            Record::Event { event: Event::DeclareSubject { .. }, .. } => true,
            Record::Event { at, .. } => *at < cut_us,
        };
        let mut under_way = BTreeSet::new();
        for record in self.records.iter().filter(before) {
            match record {
                Record::Invoke { id, .. } => _ = under_way.insert(*id),
                Record::Done { id, .. } => _ = under_way.remove(id),
                Record::Event { .. } => {}
            }
            told.push(record.clone());
        }
        let outcome = Outcome::Indeterminate { why: Why::Disconnect };
        told.extend(under_way.into_iter().map(|id| Record::Done { id, at: cut_us, outcome }));
        told.extend(found);
        told
    }

    /// Whether the server was back before the power went again.
    pub(crate) fn is_after(&self, state: &CrashState) -> bool {
        self.back_us.is_some_and(|back| self.us(state.cut.at_ns) > back)
    }

    /// A time of the recovery's log as one of the history, in µs.
    pub(crate) fn us(&self, at_ns: u64) -> u64 {
        (i64::try_from(at_ns / 1000).unwrap_or(i64::MAX) + self.offset_us).max(0) as u64
    }

    /// When something was acknowledged, in ns of the log.
    fn acks_ns(&self) -> Vec<u64> {
        let acked = Ops::new(self.records.iter().cloned()).filter_map(|op| match op {
            Op::Call { done, outcome, .. } if outcome.happened() => Some(done),
            _ => None,
        });
        acked
            .map(|done| ((i64::try_from(done).unwrap_or(i64::MAX) - self.offset_us).max(0) as u64) * 1000)
            .collect()
    }
}

/// What the first cut took is looked at, so that the second is not charged with it; then a few messages to each stream, and a few
/// from each consumer, each answered.
fn work(
    setup: &Setup<'_>,
    recorded: &Recorded,
    recorder: &Recorder,
    server: &Scratch,
    back_us: &mut Option<u64>,
) -> Result<(), Stuck> {
    let address: SocketAddr =
        server.address().parse().map_err(|_| Stuck::Why(format!("{} is no address", server.address())))?;
    let gauge = Gauge::default();
    let mut sites = sites(setup, recorder, &gauge, address, &Seed::new(recorded.seed));
    let publish = Step::Publish {
        count: MESSAGES,
        len_min: 18,
        len_max: 64,
        window: 2,
        subjects: 3,
        ids: false,
        headers: false,
        ttl_s: None,
    };
    for (index, site) in sites.iter_mut().enumerate() {
        site.publish_as(PUBLISHERS + index as u16);
        site.read_by_consumer = true;
    }
    let fault = FaultKind::PowerCut;
    let leg = Leg { steps: Vec::new(), load: Vec::new(), load_acks: 0, fault, canary: false };
    let batches = server.binary().version >= Version::new(2, 11, 0);
    recover(&leg, &mut sites, recorder, setup.cancel, batches)?;
    *back_us = Some(recorder.at());
    for site in &mut sites {
        if site.target.rules.publishable {
            perform(site, &publish)?;
        }
        for consumer in 0..site.target.consumers.len() {
            let acks = match site.target.consumers[consumer].acks {
                AckPolicy::None => Acks::Nothing,
                _ => Acks::Double,
            };
            perform(site, &Step::Consume { consumer, count: MESSAGES, acks })?;
        }
        site.settle(0)?;
    }
    Ok(())
}

/// Waits until the server writes nothing more by itself.
fn quiet(recording: &Recording) {
    let (mut seen, mut since) = (recording.statistics().ops, Instant::now());
    let waited = poll::until(poll::Pace::QUICK, QUIET_LIMIT, || {
        let ops = recording.statistics().ops;
        if ops != seen {
            (seen, since) = (ops, Instant::now());
        }
        if since.elapsed() >= QUIET { Ok(()) } else { Err("the server still writes") }
    });
    // One that never rests is cut all the same.
    waited.ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamproof_crashfs::notation::parse;
    use streamproof_crashfs::states;
    use streamproof_model::op::{Call, StreamId, SubjectId};

    #[test]
    fn what_was_answered_between_two_cuts_counts_and_a_cut_before_the_server_was_back_is_the_first_gone_on() {
        let event = |at, event| Record::Event { at, event };
        let call = |seq| Call::Delete { stream: StreamId(0), seq, erase: false };
        let done = |id, at| Record::Done { id, at, outcome: Outcome::Done { count: 0 } };
        let invoke = |id, at| Record::Invoke { id, at, call: call(id) };
        let name = Event::DeclareSubject { id: SubjectId(7), name: "later".to_owned() };
        let begin = |fault| Event::FaultBegin { fault, kind: FaultKind::PowerCut, streams: Vec::new() };
        let continued = Continued {
            run: 1,
            began_ns: 0,
            start: Instant::now(),
            next_id: 9,
            subjects: std::collections::HashMap::new(),
        };
        let recovered = Event::Recovered { fault: FIRST, server: "2.15.1".to_owned(), ready_us: 1 };
        let records = vec![
            event(110, recovered),
            invoke(0, 150),
            done(0, 160),
            invoke(1, 170),
            done(1, 180),
            invoke(2, 190),
            event(200, name),
        ];
        let log = parse("create a\nwrite a 0 x\n").unwrap();
        let some = states(&log, &cuts(&log, &[], 1, Budget::new(9)), Rules::default());
        let recovery = Recovery {
            log,
            states: Vec::new(),
            records,
            back_us: Some(120),
            continued,
            cut_us: 50,
            first: FirstCut { ops: 1, cut_us: 50, committed: None, began_us: 0 },
            rules: Rules::default(),
            offset_us: 5,
        };
        let told = |at_us: u64| -> Vec<String> {
            let mut state = some[0].clone();
            state.cut.at_ns = (at_us - 5) * 1000;
            let found = vec![event(900, begin(FIRST + 1))];
            let told = recovery.told(&state, found).into_iter().map(|record| match record {
                Record::Invoke { id, .. } => format!("sent {id}"),
                Record::Done { id, outcome: Outcome::Indeterminate { .. }, .. } => format!("unknown {id}"),
                Record::Done { id, .. } => format!("answered {id}"),
                Record::Event { at, event: Event::FaultBegin { .. } } => format!("cut at {at}"),
                Record::Event { event: Event::DeclareSubject { name, .. }, .. } => name,
                Record::Event { at, .. } => format!("event at {at}"),
            });
            told.collect()
        };
        let all = [
            "cut at 50",
            "event at 110",
            "sent 0",
            "answered 0",
            "sent 1",
            "later",
            "unknown 1",
            "cut at 900",
        ];
        assert_eq!(told(180), all, "in the very microsecond: not certain");
        assert_eq!(told(120), ["cut at 900"]);
        assert_eq!(recovery.acks_ns(), [155_000, 175_000]);
    }
}
