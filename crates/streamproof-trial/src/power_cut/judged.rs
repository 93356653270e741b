//! The judgement of one crash state: what was acknowledged before the cut against what was read back after it. Pure.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use streamproof_checker::{
    Blame, Cell, Checker, Context, Counts, FaultVerdict, Finding, Invariant, Overall, Verdict, Version, known,
};
use streamproof_model::op::{Call, ConsumerId, Event, FaultKind, NEVER, Op, Ops, Record, StreamId};

use super::past::Past;

/// The name of the defect by which a stream is gone when the power goes while it is changed (`known.rs`).
const STREAM_LOST: &str = "stream-lost-at-update";

/// The name of the defect by which a consumer is gone when the power goes while it is changed.
const CONSUMER_LOST: &str = "consumer-lost-at-update";

/// The name of the defect by which an acknowledged purge or deletion is undone as the power goes.
const REMOVAL_UNDONE: &str = "removal-undone";

/// What a removal that is undone shows as: not what a limit had removed, or what had been seen to be gone.
const BACK: &[&str] = &[
    "returned",
    "returned, alone",
    "returned, purged together",
    "returned, before the first",
    "first sequence fell",
    "first sequence fell, before the first",
];

/// The name of the defect by which a message that a limit removed is back after a crash.
const EVICTED_RETURNS: &str = "evicted-returns";

/// Judges a state: `records` go on where the past ends. Only what this cut came to is in the verdict; what the run before it came
/// to is judged once, with its own history.
pub(crate) fn judge(past: &Past, records: Vec<Record>, context: &Context) -> Verdict {
    let cut_us = match records.first() {
        Some(Record::Event { at, .. }) => *at,
        _ => 0,
    };
    let mut checker = Checker::new(context);
    let mut changing = Changing::default();
    past.tell(cut_us, |op| {
        changing.take(op);
        checker.take(op);
    });
    let (mut read_back, mut bit) = (0, false);
    for op in Ops::new(records) {
        match &op {
            Op::Event { event: Event::Stored(_), .. } => read_back += 1,
            Op::Event { event: Event::FaultEnd { evidence, .. }, .. } => bit = evidence.unsynced_bytes > 0,
            _ => {}
        }
        checker.take(&op);
    }
    let mut verdict = checker.finish();
    let name = FaultKind::PowerCut.name();
    let recovered = verdict.faults.iter().any(|fault| fault.fault == name);
    // The reasons of streams are told anew from what is left of them, in the words that they have then: whoever adds up many
    // states knows them by these.
    let of_streams: Vec<String> = verdict.faults.iter().map(FaultVerdict::reason).collect();
    verdict.inconclusive.retain(|reason| !of_streams.contains(reason));
    verdict.faults.retain(|fault| fault.fault == name);
    verdict.findings.retain(|finding| finding.fault.as_deref() == Some(name));
    for fault in &mut verdict.faults {
        count_once(fault, bit);
        if changing.is_in_memory(&fault.target) {
            gone_with_the_process(fault, &verdict.findings);
        }
    }
    let left = verdict.faults.iter().filter(|fault| fault.verdict == Cell::Inconclusive);
    verdict.inconclusive.extend(left.map(FaultVerdict::reason));
    verdict.measures.retain(|measure| measure.fault.as_deref() == Some(name));
    verdict.findings.iter_mut().for_each(|finding| finding.states = 1);
    verdict.measures.iter_mut().for_each(|measure| measure.states = 1);
    verdict.not_proven.clear();
    verdict.restarts_verified = u64::from(recovered);
    verdict.counts = Counts { read_back, ..Counts::default() };
    follow(&mut verdict);
    changing.name(&mut verdict, context);
    if !context.strict {
        conclude(&mut verdict);
    }
    verdict
}

/// A state is one try, by the last of its cuts: the first of two made the state that the recovery began with, and is counted there.
fn count_once(fault: &mut FaultVerdict, bit: bool) {
    if fault.tries > 1 {
        fault.bites = fault.bites.min(bit.into());
        fault.tries = 1;
        let shown = fault.bite.split_once(": ").map_or("", |(_, shown)| shown);
        let shown = if fault.bites > 0 { shown } else { "all was on the disk as the power went again" };
        fault.bite = format!("{} of 1: {shown}", fault.bites);
        if fault.bites == 0 && fault.verdict == Cell::Pass {
            fault.verdict = Cell::Inconclusive;
        }
    }
}

/// What is in memory has no bytes that could be on a disk: the end of the process takes it, and that has always come.
fn gone_with_the_process(fault: &mut FaultVerdict, findings: &[Finding]) {
    if fault.bites == 0 {
        fault.bites = fault.tries;
        fault.bite =
            format!("{} of {}: another process, and the stream is in memory", fault.bites, fault.tries);
        fault.verdict = worst(findings.iter().filter(|finding| finding.is_of(&fault.target)));
    }
}

/// What is found of a stream or consumer that is missing follows from that: whoever is to blame for the one is for the other.
fn follow(verdict: &mut Verdict) {
    let gone: Vec<Finding> = verdict
        .findings
        .iter()
        .filter(|finding| finding.invariant == Invariant::K1 && finding.class.ends_with("missing"))
        .cloned()
        .collect();
    for gone in gone {
        for finding in verdict.findings.iter_mut().filter(|finding| finding.is_of(&gone.target)) {
            finding.blame = gone.blame;
            finding.verdict = gone.verdict;
            finding.source.clone_from(&gone.source);
        }
    }
}

/// Once the verdicts of findings have changed: those of the streams, and the whole.
fn conclude(verdict: &mut Verdict) {
    let Verdict { faults, findings, .. } = verdict;
    for fault in faults.iter_mut().filter(|fault| fault.verdict == Cell::Fail) {
        fault.verdict = worst(findings.iter().filter(|finding| finding.is_of(&fault.target)));
    }
    if verdict.verdict == Overall::Fail {
        verdict.verdict = match worst(&verdict.findings) {
            Cell::Fail => Overall::Fail,
            _ if !verdict.inconclusive.is_empty() => Overall::Inconclusive,
            Cell::Unprotected => Overall::Unprotected,
            Cell::Accepted => Overall::Accepted,
            _ => Overall::Pass,
        };
    }
}

/// The worst that a state came to, over all streams.
pub(crate) fn worst<'v>(findings: impl IntoIterator<Item = &'v Finding>) -> Cell {
    let rank = |cell: &Cell| match cell {
        Cell::Fail => 5,
        Cell::Unprotected => 4,
        Cell::Accepted => 3,
        Cell::Pass => 2,
        Cell::Inconclusive => 1,
        Cell::NotProven => 0,
    };
    let found = findings.into_iter().map(|finding| finding.verdict);
    found.chain([Cell::Pass]).max_by_key(rank).unwrap_or(Cell::Pass)
}

/// What is known of a stream beside the verdict: whether it was being changed as the power went (nobody but who
/// sees that moment can tell what the server does then from any other loss), whether limits remove messages from it, and whether
/// something was removed from it and nothing has been synced since.
#[derive(Debug, Default)]
struct Changing {
    limited: HashSet<StreamId>,
    /// Streams in memory.
    memory: HashSet<StreamId>,
    streams: HashMap<StreamId, String>,
    consumers: HashMap<ConsumerId, (StreamId, String)>,
    /// Streams that were being changed, by name.
    changed_streams: Vec<String>,
    /// Consumers that were being changed, as findings name them.
    changed_consumers: Vec<String>,
    /// Streams of which the last that was acknowledged is a purge or a deletion: no message with its sync came after it.
    removed: HashSet<StreamId>,
}

impl Changing {
    fn take(&mut self, op: &Op) {
        match op {
            Op::Event { event: Event::DeclareStream { id, name }, .. } => {
                self.streams.insert(*id, name.clone());
            }
            Op::Event { event: Event::DeclareConsumer { id, stream, name }, .. } => {
                self.consumers.insert(*id, (*stream, name.clone()));
            }
            Op::Event { event: Event::Config { stream, consumer: None, json, .. }, .. } => {
                let config: Value = serde_json::from_str(json).unwrap_or_default();
                let limits = ["max_msgs", "max_bytes", "max_age", "max_msgs_per_subject"];
                if limits.iter().any(|limit| config[limit].as_i64().is_some_and(|most| most > 0)) {
                    self.limited.insert(*stream);
                }
                if config["storage"] == "memory" {
                    self.memory.insert(*stream);
                }
            }
            Op::Call { call: Call::Purge { stream, .. } | Call::Delete { stream, .. }, outcome, .. }
                if outcome.happened() =>
            {
                self.removed.insert(*stream);
            }
            // Each is synced, or the settings say that it need not be.
            Op::Call { call: call @ (Call::Publish(_) | Call::Batch { .. }), outcome, .. }
                if outcome.happened() =>
            {
                if let Some(stream) = call.stream() {
                    self.removed.remove(&stream);
                }
            }
            Op::Call { call: Call::UpdateStream { stream, .. }, done: NEVER, .. } => {
                self.changed_streams.extend(self.streams.get(stream).cloned());
            }
            Op::Call { call: Call::UpdateConsumer { consumer, .. }, done: NEVER, .. } => {
                if let Some((stream, name)) = self.consumers.get(consumer)
                    && let Some(stream) = self.streams.get(stream)
                {
                    self.changed_consumers.push(format!("{stream} > {name}"));
                }
            }
            _ => {}
        }
    }

    fn is_in_memory(&self, name: &str) -> bool {
        self.memory.iter().any(|id| self.streams.get(id).is_some_and(|known| known == name))
    }

    /// Gives the defect's name to what is gone together with what was being changed, to what a limit had removed, a crash has
    /// brought back, and a consumer has been past, and to what is back though it was removed last of all.
    fn name(&self, verdict: &mut Verdict, context: &Context) {
        let is_accepted = |name: &str| context.accept.iter().any(|accept| accept.name == name);
        let give = |finding: &mut Finding, name: &str| {
            finding.known = Some(name.to_owned());
            finding.verdict = if is_accepted(name) { Cell::Accepted } else { finding.verdict };
        };
        for stream in self.limited.iter().filter_map(|id| self.streams.get(id)) {
            let behind = |finding: &&mut Finding| {
                finding.blame == Blame::Server
                    && finding.invariant == Invariant::C5
                    && finding.class == "never delivered"
                    && finding.is_of(stream)
            };
            for finding in verdict.findings.iter_mut().filter(behind) {
                give(finding, EVICTED_RETURNS);
            }
        }
        for stream in self.removed.iter().filter_map(|id| self.streams.get(id)) {
            let back = |finding: &&mut Finding| {
                finding.blame == Blame::Server
                    && finding.invariant == Invariant::M7
                    && BACK.contains(&finding.class.as_str())
                    && finding.target == *stream
            };
            for finding in verdict.findings.iter_mut().filter(back) {
                give(finding, REMOVAL_UNDONE);
            }
        }
        let server = Version::parse(&verdict.server);
        let is_in = |name: &str| known::TABLE.iter().any(|row| row.name == name && row.is_in(server));
        for target in self.changed_consumers.iter().filter(|_| is_in(CONSUMER_LOST)) {
            let missing = |finding: &&mut Finding| {
                finding.blame == Blame::Server
                    && finding.invariant == Invariant::K1
                    && finding.class == "consumer missing"
                    && finding.target == *target
            };
            for finding in verdict.findings.iter_mut().filter(missing) {
                give(finding, CONSUMER_LOST);
            }
        }
        for target in &self.changed_streams {
            // What was never promised is no defect, and nobody accepts it under the name of one.
            let missing = |finding: &Finding| {
                finding.invariant == Invariant::K1
                    && finding.target == *target
                    && finding.blame == Blame::Server
            };
            if !verdict.findings.iter().any(missing) {
                continue;
            }
            for finding in verdict.findings.iter_mut().filter(|finding| finding.is_of(target)) {
                give(finding, STREAM_LOST);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::power_cut::FIRST;
    use streamproof_checker::{Accept, Run, merge};
    use streamproof_model::op::{
        ConfigSource, Evidence, Expect, Headers, Outcome, Phase, Publish, Role, SubjectId, Ttl,
    };

    /// A stream that is there, is changed, and is gone after a cut at `cut_us`; the change takes from 10 to 20.
    fn judged(cut_us: u64, accept: bool) -> Verdict {
        judged_after(cut_us, accept, &[], &[1])
    }

    /// After as many cuts, with so many unsynced bytes at each; the streams are those that are there then.
    fn judged_after(cut_us: u64, accept: bool, streams: &[&str], unsynced_bytes: &[u64]) -> Verdict {
        let (past, records) = story(cut_us, streams, unsynced_bytes);
        let sync = streamproof_checker::SyncInterval::Always;
        let accepted = Accept { name: STREAM_LOST.to_owned(), reason: "it is known".to_owned() };
        let accept = if accept { vec![accepted] } else { Vec::new() };
        judge(&Past::new(past), records, &Context { sync, accept, ..Context::default() })
    }

    /// The run, and what follows its first cut.
    pub(in crate::power_cut) fn story(
        cut_us: u64,
        streams: &[&str],
        unsynced_bytes: &[u64],
    ) -> (Vec<Record>, Vec<Record>) {
        let event = |at, event| Record::Event { at, event };
        let listing = |phase, streams: &[&str]| Event::Listing {
            phase,
            streams: streams.iter().map(|name| ((*name).to_owned(), Vec::new())).collect(),
        };
        let config = |source| Event::Config {
            stream: StreamId(0),
            consumer: None,
            source,
            json: r#"{"name":"S"}"#.to_owned(),
        };
        let call = Call::UpdateStream { stream: StreamId(0), config: r#"{"name":"S"}"#.to_owned() };
        let past = vec![
            event(1, Event::DeclareStream { id: StreamId(0), name: "S".to_owned() }),
            event(2, config(ConfigSource::Desired)),
            event(3, listing(Phase::Quiet, &["S"])),
            Record::Invoke { id: 0, at: 10, call },
            Record::Done { id: 0, at: 20, outcome: Outcome::Done { count: 0 } },
        ];
        let kind = FaultKind::PowerCut;
        let mut records = Vec::new();
        for (fault, unsynced_bytes) in (FIRST..).zip(unsynced_bytes) {
            let evidence = Evidence { unsynced_bytes: *unsynced_bytes, ..Evidence::default() };
            records.extend([
                event(cut_us, Event::FaultBegin { fault, kind, streams: Vec::new() }),
                event(90, Event::FaultEnd { fault, evidence: Box::new(evidence) }),
                event(91, Event::Recovered { fault, server: "2.15.1".to_owned(), ready_us: 1 }),
                event(92, listing(Phase::After, streams)),
                event(93, Event::ReadBegin { stream: StreamId(0), phase: Phase::After }),
                event(94, Event::ReadEnd { stream: StreamId(0), cut_short: None }),
            ]);
        }
        records.push(event(95, Event::Finished));
        (past, records)
    }

    #[test]
    fn a_state_is_one_try_by_the_last_of_its_cuts() {
        let tries = |unsynced_bytes: &[u64]| {
            let fault = judged_after(5, false, &[], unsynced_bytes).faults.remove(0);
            (fault.tries, fault.bites, fault.bite)
        };
        assert_eq!(tries(&[7]), (1, 1, "1 of 1: 7 unsynced bytes".to_owned()));
        assert_eq!(tries(&[7, 9]), (1, 1, "1 of 1: 9 unsynced bytes".to_owned()));
        assert_eq!(tries(&[7, 0]), (1, 0, "0 of 1: all was on the disk as the power went again".to_owned()));
    }

    #[test]
    fn of_a_stream_in_memory_the_end_of_the_process_is_the_bite() {
        let (mut past, records) = story(50, &[], &[0]);
        past[1] = Record::Event {
            at: 2,
            event: Event::Config {
                stream: StreamId(0),
                consumer: None,
                source: ConfigSource::Desired,
                json: r#"{"name":"S","storage":"memory"}"#.to_owned(),
            },
        };
        let verdict = judge(&Past::new(past), records, &Context::default());
        let cell = &verdict.faults[0];
        let bite = "1 of 1: another process, and the stream is in memory";
        assert_eq!((cell.tries, cell.bites, cell.bite.as_str()), (1, 1, bite));
        assert_eq!((cell.verdict, verdict.inconclusive.len()), (Cell::Unprotected, 0), "{verdict:?}");
    }

    #[test]
    fn a_state_in_which_nothing_was_lost_makes_no_run_inconclusive_that_has_another() {
        let run = || Run { id: "r", seed: 1, ..Run::default() };
        for unsynced_bytes in [vec![0], vec![0, 0], vec![7, 0]] {
            let dull = judged_after(50, false, &["S"], &unsynced_bytes);
            assert_eq!(dull.faults[0].verdict, Cell::Inconclusive, "{unsynced_bytes:?}");
            assert_eq!(dull.inconclusive, [dull.faults[0].reason()]);
            let sum = merge(run(), [dull, judged_after(50, false, &["S"], &[7])], &Context::default());
            assert_eq!(sum.inconclusive, ["the controls were not run"], "{unsynced_bytes:?}");
        }
    }

    #[test]
    fn a_removal_that_was_the_last_to_be_acknowledged_has_a_name_where_it_is_undone_and_no_other_return_has()
    {
        let publish = |counter| {
            Call::Publish(Publish {
                stream: StreamId(0),
                subject: SubjectId(0),
                publisher: 0,
                counter,
                attempt: 0,
                len: 20,
                headers: Headers::default(),
                msg_id: false,
                expect: Expect::Nothing,
                ttl: Ttl::Stream,
                role: Role::Plain,
            })
        };
        let acked = |seq| Outcome::Acked { seq, duplicate: false };
        let purge = Call::Purge { stream: StreamId(0), filter: None, before: None, keep: None };
        let delete = Call::Delete { stream: StreamId(0), seq: 1, erase: false };
        let known = |calls: &[(Call, Outcome)]| {
            let mut changing = Changing::default();
            changing.streams.insert(StreamId(0), "S".to_owned());
            for (id, (call, outcome)) in (0..).zip(calls) {
                let (call, outcome) = (call.clone(), *outcome);
                changing.take(&Op::Call { id, invoked: id * 2, done: id * 2 + 1, call, outcome });
            }
            let mut verdict = judged(5, false);
            let of = verdict.findings[0].clone();
            let returned = |target: &str, class: &str| Finding {
                invariant: Invariant::M7,
                target: target.to_owned(),
                class: class.to_owned(),
                known: None,
                ..of.clone()
            };
            verdict.findings = vec![
                returned("S", "returned, alone"),
                returned("S", "returned, evicted"),
                returned("T", "returned"),
            ];
            let accept = vec![Accept { name: REMOVAL_UNDONE.to_owned(), reason: "it is known".to_owned() }];
            changing.name(&mut verdict, &Context { accept, ..Context::default() });
            let known = verdict.findings.into_iter().map(|finding| (finding.known, finding.verdict));
            known.collect::<Vec<_>>()
        };
        let none = (None, Cell::Fail);
        for removal in [purge, delete] {
            let calls =
                [(publish(0), acked(1)), (removal, Outcome::Done { count: 1 }), (publish(1), acked(2))];
            let undone = (Some(REMOVAL_UNDONE.to_owned()), Cell::Accepted);
            assert_eq!(known(&calls[..2]), [undone, none.clone(), none.clone()]);
            assert_eq!(known(&calls), [none.clone(), none.clone(), none.clone()], "a message came after it");
            let [Call::Publish(last), ..] = [&calls[2].0] else { panic!("not a publish") };
            let batch = Call::Batch { messages: vec![*last] };
            let batched = [calls[0].clone(), calls[1].clone(), (batch, acked(2))];
            assert_eq!(known(&batched), [none.clone(), none.clone(), none.clone()], "a batch came after it");
            assert_eq!(known(&calls[..1]), [none.clone(), none.clone(), none.clone()]);
        }
    }

    #[test]
    fn what_is_found_of_a_missing_stream_follows_from_that() {
        let mut verdict = judged(5, false);
        let of = verdict.findings.iter().position(|finding| finding.invariant == Invariant::K1).unwrap();
        verdict.findings[of].blame = Blame::Config;
        verdict.findings[of].verdict = Cell::Unprotected;
        let other = |target: &str| Finding {
            invariant: Invariant::C5,
            target: target.to_owned(),
            class: "never delivered".to_owned(),
            blame: Blame::Server,
            verdict: Cell::Fail,
            ..verdict.findings[of].clone()
        };
        let (ours, others) = (other("S > C"), other("ST > C"));
        verdict.findings.push(ours);
        follow(&mut verdict);
        conclude(&mut verdict);
        assert_eq!((verdict.verdict, verdict.faults[0].verdict), (Overall::Unprotected, Cell::Unprotected));
        verdict.findings.push(others);
        verdict.verdict = Overall::Fail;
        follow(&mut verdict);
        conclude(&mut verdict);
        assert_eq!(verdict.verdict, Overall::Fail, "another stream's is not excused");
    }

    #[test]
    fn what_a_limit_removed_and_a_consumer_has_been_past_has_a_name_on_streams_with_limits_alone() {
        let mut changing = Changing::default();
        for (id, name, limits) in [
            (0, "S", r#""max_msgs":10"#),
            (1, "ST", r#""max_msgs":-1"#),
            (2, "AGED", r#""max_age":1000000000"#),
        ] {
            let event = |event| Op::Event { at: 1, event };
            changing.take(&event(Event::DeclareStream { id: StreamId(id), name: name.to_owned() }));
            changing.take(&event(Event::Config {
                stream: StreamId(id),
                consumer: None,
                source: ConfigSource::Desired,
                json: format!(r#"{{"name":"{name}",{limits}}}"#),
            }));
        }
        let base = judged(5, false);
        let finding = |invariant: Invariant, target: &str, class: &str| Finding {
            invariant,
            target: target.to_owned(),
            class: class.to_owned(),
            blame: Blame::Server,
            verdict: Cell::Fail,
            known: None,
            ..base.findings[0].clone()
        };
        let cases = [
            (finding(Invariant::C5, "S > C", "never delivered"), true),
            (finding(Invariant::C5, "AGED > C", "never delivered"), true),
            (finding(Invariant::C5, "ST > C", "never delivered"), false),
            // Never promised: no defect, and nobody accepts it under the name of one.
            (Finding { blame: Blame::Config, ..finding(Invariant::C5, "S > C", "never delivered") }, false),
            (finding(Invariant::C5, "S > C", "not delivered again"), false),
            (finding(Invariant::C5, "S > C", "canary not delivered"), false),
            (finding(Invariant::M1, "S", "never delivered"), false),
        ];
        for accept in [false, true] {
            let accepted = Accept { name: EVICTED_RETURNS.to_owned(), reason: "it is known".to_owned() };
            let accept = if accept { vec![accepted] } else { Vec::new() };
            let context = Context { accept, ..Context::default() };
            let mut verdict = base.clone();
            verdict.findings = cases.iter().map(|(finding, _)| finding.clone()).collect();
            changing.name(&mut verdict, &context);
            for (found, (_, named)) in verdict.findings.iter().zip(&cases) {
                assert_eq!(found.known.as_deref() == Some(EVICTED_RETURNS), *named, "{found:?}");
                let accepted = *named && !context.accept.is_empty();
                assert_eq!(found.verdict, if accepted { Cell::Accepted } else { Cell::Fail }, "{found:?}");
            }
        }
    }

    #[test]
    fn a_stream_that_is_lost_while_it_is_changed_has_a_name_and_can_be_accepted_by_it_and_no_other_can() {
        let during = judged(15, false);
        assert_eq!(during.verdict, Overall::Fail);
        assert!(during.findings.iter().all(|f| f.known.as_deref() == Some(STREAM_LOST)), "{during:?}");
        let accepted = judged(15, true);
        assert_eq!((accepted.verdict, accepted.faults[0].verdict), (Overall::Accepted, Cell::Accepted));
        for cut_us in [5, 30] {
            let other = judged(cut_us, true);
            assert_eq!((other.verdict, other.faults[0].verdict), (Overall::Fail, Cell::Fail), "at {cut_us}");
            assert!(other.findings.iter().all(|finding| finding.known.is_none()), "{other:?}");
        }
    }

    #[test]
    fn a_consumer_that_is_lost_while_it_is_changed_has_a_name_in_the_versions_that_have_the_defect() {
        let changing = |done| {
            let mut changing = Changing::default();
            let declared = [
                Event::DeclareStream { id: StreamId(0), name: "S".to_owned() },
                Event::DeclareConsumer { id: ConsumerId(0), stream: StreamId(0), name: "C".to_owned() },
            ];
            declared.into_iter().for_each(|event| changing.take(&Op::Event { at: 1, event }));
            let call = Call::UpdateConsumer { consumer: ConsumerId(0), config: "{}".to_owned() };
            let outcome = Outcome::Done { count: 0 };
            changing.take(&Op::Call { id: 0, invoked: 2, done, call, outcome });
            changing
        };
        let base = judged(15, false);
        let gone = |class: &str, target: &str| {
            let mut finding = base.findings[0].clone();
            (finding.known, finding.verdict, finding.invariant) = (None, Cell::Fail, Invariant::K1);
            (finding.class, finding.target) = (class.to_owned(), target.to_owned());
            finding
        };
        for (server, done, named) in [
            ("2.10.25", NEVER, true),
            ("2.11.11", NEVER, false),
            ("2.12.0", NEVER, true),
            ("2.10.25", 9, false),
        ] {
            for accept in [false, true] {
                let accepted = Accept { name: CONSUMER_LOST.to_owned(), reason: "it is known".to_owned() };
                let context = Context {
                    accept: accept.then_some(accepted).into_iter().collect(),
                    ..Context::default()
                };
                let mut verdict = base.clone();
                verdict.server = server.to_owned();
                verdict.findings = vec![
                    gone("consumer missing", "S > C"),
                    gone("consumer missing", "S > D"),
                    gone("stream missing", "S"),
                ];
                changing(done).name(&mut verdict, &context);
                let known: Vec<Option<&str>> = verdict.findings.iter().map(|f| f.known.as_deref()).collect();
                assert_eq!(known, [named.then_some(CONSUMER_LOST), None, None], "{server}");
                let cell = if named && accept { Cell::Accepted } else { Cell::Fail };
                assert_eq!(
                    verdict.findings.iter().map(|f| f.verdict).collect::<Vec<_>>(),
                    [cell, Cell::Fail, Cell::Fail]
                );
            }
        }
    }
}
