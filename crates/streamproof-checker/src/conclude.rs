//! From what was found to the verdict.

use crate::bite::bite;
use crate::findings::{Entry, Kind};
use crate::promise::{Promise, Property, promise};
use crate::verdict::{Blame, Cell, FaultVerdict, Finding, Measure, NotProven, OVER_BUDGET, Overall, Verdict};
use crate::weigh::{cell as cell_of, known};
use crate::world::{Fault, World};
use std::collections::BTreeMap;
use streamproof_model::op::FaultKind;

/// Ends the judgement.
pub(crate) fn conclude(mut world: World<'_>) -> Verdict {
    if !world.finished && world.counts.operations > 0 {
        world.inconclusive.push("the recorder did not reach its end".to_owned());
    }
    let controls = world.findings.controls(|target| world.target_name(target));
    let findings = findings(&world);
    let faults = faults(&world, &findings);
    for kind in &world.context.asked {
        if !world.faults.iter().any(|fault| fault.kind == *kind) {
            world.inconclusive.push(format!("{} was asked for and not run", kind.name()));
        }
    }
    let inconclusive: Vec<String> =
        faults.iter().filter(|fault| fault.verdict == Cell::Inconclusive).map(FaultVerdict::reason).collect();
    world.inconclusive.extend(inconclusive);
    let strict = world.context.strict;
    let unprotected = findings.iter().any(|finding| finding.verdict == Cell::Unprotected);
    let failed = strict && (unprotected || !world.not_proven.is_empty());
    let verdict = Overall::of(&controls, failed, !world.inconclusive.is_empty(), &findings);
    Verdict {
        verdict,
        run: world.meta.id.clone(),
        seed: world.meta.seed,
        server: world.meta.server.clone(),
        restarts_verified: restarts_verified(&world.faults),
        faults,
        findings,
        not_proven: not_proven(&world),
        inconclusive: world.inconclusive.clone(),
        controls,
        measures: measures(&world),
        counts: world.counts,
    }
}

/// Restarts after which at least one stream was read back whole and judged.
fn restarts_verified(faults: &[Fault]) -> u64 {
    faults
        .iter()
        .filter(|fault| fault.kind.restarts() && fault.recovered && !fault.judged.is_empty())
        .map(|fault| u64::from(fault.evidence.as_ref().map_or(1, |evidence| evidence.restarts).max(1)))
        .sum()
}

fn findings(world: &World<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        world.findings.kinds.iter().map(|(kind, entry)| finding(world, kind, entry)).collect();
    findings.sort_by_key(Finding::gravity);
    findings
}

fn finding(world: &World<'_>, kind: &Kind, entry: &Entry) -> Finding {
    let stream = &world.streams[usize::from(kind.target.stream)];
    let over_budget = kind.class == OVER_BUDGET;
    // What is over the owner's budget the server has not promised.
    let blame = if over_budget { Blame::Config } else { entry.blame() };
    let known = known(kind.invariant, kind.class, kind.fault, &stream.rules, world.server, blame);
    let verdict = if over_budget {
        Cell::Fail
    } else {
        cell_of(blame, known.as_deref(), kind.fault, &stream.name, world.context)
    };
    Finding {
        invariant: kind.invariant,
        fault: kind.fault.map(|fault| fault.name().to_owned()),
        target: world.target_name(kind.target),
        class: kind.class.to_owned(),
        count: entry.count,
        states: 0,
        blame,
        known,
        verdict,
        age_us: entry.age_us,
        source: entry.row.source.to_owned(),
        examples: entry.examples.clone(),
    }
}

/// The matrix: each stream under each kind of fault that was tried.
fn faults(world: &World<'_>, findings: &[Finding]) -> Vec<FaultVerdict> {
    let mut by_kind: BTreeMap<FaultKind, Vec<&Fault>> = BTreeMap::new();
    for fault in &world.faults {
        by_kind.entry(fault.kind).or_default().push(fault);
    }
    let mut verdicts = Vec::new();
    for (kind, runs) in by_kind {
        for (index, stream) in world.streams.iter().enumerate() {
            if world.findings.sacrificed(index as u16) {
                continue;
            }
            let runs: Vec<&&Fault> = runs
                .iter()
                .filter(|run| {
                    run.streams.is_empty() || run.streams.iter().any(|id| usize::from(id.0) == index)
                })
                .collect();
            if runs.is_empty() || stream.removed {
                continue;
            }
            verdicts.push(cell(world, kind, index, &runs, findings));
        }
    }
    verdicts
}

fn cell(
    world: &World<'_>,
    kind: FaultKind,
    index: usize,
    runs: &[&&Fault],
    findings: &[Finding],
) -> FaultVerdict {
    let stream = &world.streams[index];
    let (mut bites, mut shown, mut why_not) = (0, String::new(), String::new());
    for run in runs {
        match bite(kind, run.evidence.as_ref()) {
            _ if !run.judged.contains(&(index as u16)) => {
                why_not = "the stream was not read back whole".to_owned();
            }
            Ok(what) => {
                bites += 1;
                shown = what;
            }
            Err(why) => why_not = why,
        }
    }
    let verdict = Cell::of(kind, &stream.name, findings, bites > 0);
    let row = promise(Property::Messages, Some(kind), &stream.rules, world.context.sync, world.server);
    let tries = runs.len() as u64;
    FaultVerdict {
        fault: kind.name().to_owned(),
        target: stream.name.clone(),
        verdict,
        bite: format!("{bites} of {tries}: {}", if bites > 0 { &shown } else { &why_not }),
        tries,
        bites,
        promised: row.promise != Promise::No,
        source: row.source.to_owned(),
        remedy: row.remedy.map(str::to_owned),
    }
}

/// What the run says was not proven, and what no run of its kind can prove.
fn not_proven(world: &World<'_>) -> Vec<NotProven> {
    let mut list: Vec<NotProven> = world.not_proven.iter().cloned().collect();
    let ran = |kinds: &[FaultKind]| world.faults.iter().any(|fault| kinds.contains(&fault.kind));
    if ran(&[FaultKind::Kill, FaultKind::KillAfterAck])
        && !ran(&[FaultKind::PowerCut, FaultKind::PowerCutExt4])
    {
        list.push(NotProven {
            what: "power loss".to_owned(),
            why: "a SIGKILL leaves the page cache intact and shows nothing about it".to_owned(),
        });
    }
    list
}

fn measures(world: &World<'_>) -> Vec<Measure> {
    world
        .measures
        .iter()
        .map(|((name, fault, target), (count, max_us))| Measure {
            name: (*name).to_owned(),
            fault: fault.map(|fault| fault.name().to_owned()),
            target: if *name == "ready" { String::new() } else { world.target_name(*target) },
            count: *count,
            states: 0,
            max_us: *max_us,
        })
        .collect()
}
