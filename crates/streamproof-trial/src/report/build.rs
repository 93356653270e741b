//! Builds a report from the folder of a run and its verdict: reads again the few histories that the plots are of.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use streamproof_checker::{Context, Finding, Verdict};
use streamproof_model::op::{Event, FaultKind, Op};

use super::life::Story;
use super::scene::{Life, Points, Recovery, Scene};
use super::watch::Watch;
use super::{Report, words};
use crate::archive::{Archive, Record};
use crate::judge::{JudgeError, judge_whole, watch};

/// So many streams have plots, those first of which the worst was found.
const SCENES_MAX: usize = 8;
/// So many times to ready are drawn of each kind of fault.
const READY_MAX: usize = 300;
/// So many lines of the server's log are told.
const LOG_MAX: usize = 24;

/// What is seen of every case while it is judged.
#[derive(Debug, Clone, Default)]
pub struct Recoveries {
    ready_us: BTreeMap<FaultKind, Vec<u32>>,
    never: BTreeMap<FaultKind, u64>,
    kinds: BTreeMap<u32, FaultKind>,
}

impl Recoveries {
    /// Takes the next operation.
    pub fn take(&mut self, op: &Op) {
        let Op::Event { event, .. } = op else { return };
        match event {
            Event::FaultBegin { fault, kind, .. } => _ = self.kinds.insert(*fault, *kind),
            Event::Recovered { fault, ready_us, .. } => {
                if let Some(kind) = self.kinds.get(fault).filter(|kind| kind.restarts()) {
                    self.ready_us
                        .entry(*kind)
                        .or_default()
                        .push(u32::try_from(*ready_us).unwrap_or(u32::MAX));
                }
            }
            Event::NotRecovered { fault, .. } => {
                if let Some(kind) = self.kinds.get(fault) {
                    *self.never.entry(*kind).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    fn finish(&self) -> Vec<Recovery> {
        let kinds: BTreeSet<FaultKind> = self.ready_us.keys().chain(self.never.keys()).copied().collect();
        kinds
            .into_iter()
            .map(|fault| {
                let mut times: Vec<u64> =
                    self.ready_us.get(&fault).into_iter().flatten().map(|us| u64::from(*us)).collect();
                times.sort_unstable();
                let never = self.never.get(&fault).copied().unwrap_or(0);
                Recovery { fault, ready_us: Points::sample(times, READY_MAX), never }
            })
            .collect()
    }
}

/// Builds the report of a run. `cases` are the verdicts of its cases, in order.
///
/// # Errors
/// A history that cannot be read.
pub fn build(
    archive: &Archive,
    record: &Record,
    verdict: Verdict,
    cases: &[Verdict],
    recoveries: &Recoveries,
) -> Result<Report, JudgeError> {
    let mut report = Report::new(verdict, record);
    report.folder = archive.folder().display().to_string();
    report.recoveries = recoveries.finish();
    report.reproduce = fs::read_to_string(archive.folder().join("reproduce.md")).ok();
    let streams = streams(cases);
    report.more_scenes = streams.len().saturating_sub(SCENES_MAX);
    let context = Context { asked: Vec::new(), ..record.context.clone() };
    let mut wanted: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let shown: Vec<String> = streams.iter().take(SCENES_MAX).map(|(stream, _)| stream.clone()).collect();
    for (stream, case) in streams.into_iter().take(SCENES_MAX) {
        wanted.entry(case).or_default().push(stream);
    }
    let worst = worst(cases);
    if let Some((case, _)) = worst {
        wanted.entry(case).or_default();
    }
    for (case, streams) in wanted {
        let mut seen = Watch::default();
        let whole = judge_whole(&archive.history(case), &context, |op| seen.take(op))?;
        if report.began.is_empty() {
            report.began = time(seen.began_ns());
        }
        report.scenes.extend(streams.iter().filter_map(|stream| seen.scene(stream, case, &whole)));
        if let Some((_, finding)) = worst.filter(|(of, _)| *of == case) {
            report.life = life(archive, case, finding, &whole)?;
        }
    }
    report.scenes.sort_by_key(|scene: &Scene| shown.iter().position(|stream| *stream == scene.stream));
    Ok(report)
}

/// Every stream, and the case that shows most of it: where the worst was found, or else the first. Worst first.
fn streams(cases: &[Verdict]) -> Vec<(String, u32)> {
    // Of what weighs the same, the most: that shows best.
    let mut streams: BTreeMap<&str, (Option<_>, u32)> = BTreeMap::new();
    for (number, case) in (1..).zip(cases) {
        for cell in &case.faults {
            streams.entry(&cell.target).or_insert((None, number));
        }
        for finding in &case.findings {
            let order = (words::order(finding), Reverse(finding.count));
            let known = streams.entry(words::stream_of(&finding.target)).or_insert((Some(order), number));
            if known.0.is_none_or(|least| order < least) {
                *known = (Some(order), number);
            }
        }
    }
    let mut list: Vec<_> = streams.into_iter().collect();
    list.sort_by_key(|(name, (worst, _))| (worst.is_none(), *worst, *name));
    list.into_iter().map(|(name, (_, case))| (name.to_owned(), case)).collect()
}

/// The worst finding of the run, and the case that it is first found in.
fn worst(cases: &[Verdict]) -> Option<(u32, &Finding)> {
    (1..)
        .zip(cases)
        .flat_map(|(number, case)| case.findings.iter().map(move |finding| (number, finding)))
        .min_by_key(|(number, finding)| (words::order(finding), *number))
}

fn life(
    archive: &Archive,
    case: u32,
    finding: &Finding,
    whole: &Verdict,
) -> Result<Option<Life>, JudgeError> {
    let same = |other: &&Finding| {
        other.invariant == finding.invariant
            && other.target == finding.target
            && other.class == finding.class
            && other.fault == finding.fault
    };
    let Some(finding) = whole.findings.iter().find(same) else { return Ok(None) };
    let Some(example) = finding.examples.iter().min_by_key(|example| (example.at, example.seq)) else {
        return Ok(None);
    };
    let mut story = Story::new(finding, example);
    watch(&archive.history(case), |op| story.take(op))?;
    let mut life = story.finish(case);
    (life.log, life.more_log) = log(&archive.log(case), words::stream_of(&finding.target));
    Ok(Some(life))
}

/// What the server's log says of a stream, and its warnings and errors.
fn log(path: &Path, stream: &str) -> (Vec<String>, usize) {
    let Ok(file) = fs::File::open(path) else { return (Vec::new(), 0) };
    let (mut lines, mut more) = (Vec::new(), 0);
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let telling = ["[WRN]", "[ERR]", "[FTL]"].iter().any(|level| line.contains(level))
            || (line.contains(stream) && !line.contains("[TRC]"))
            || line.contains("Restored");
        if telling {
            if lines.len() < LOG_MAX {
                lines.push(line);
            } else {
                more += 1;
            }
        }
    }
    (lines, more)
}

/// `2026-11-24T10:15:00Z`.
pub(crate) fn time(ns: i64) -> String {
    let seconds = jiff::Timestamp::from_second(ns.div_euclid(1_000_000_000));
    seconds.map_or_else(|_| String::new(), |time| time.to_string())
}
