//! Pictures and what lay between them, kept in the folder of a run, and the verdict over them; enough to judge them again later.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use streamproof_checker::promise::{Promise, Property, promise};
use streamproof_checker::rules::StreamRules;
use streamproof_checker::weigh::{Violation, weigh};
use streamproof_checker::{
    Cell, Context, ControlResult, Counts, Example, FaultVerdict, Finding, Invariant, NotProven, Overall, Run,
    Verdict, Version, merge,
};
use streamproof_model::op::{Evidence, FaultKind};

use super::changes::Change;
use super::compare::{Between, Shot, compare};
use super::controls::controls;
use super::report::report;
use super::take::{load, now_ns};
use super::witness::Witnessed;
use super::{Picture, StreamPicture};
use crate::archive::{ServerRecord, write_json};
use crate::report::build::time;
use crate::report::pictured::Pictured;
use crate::report::{Report, files};
use crate::target;

/// The format of [`Record`].
const FORMAT: u32 = 1;
/// The document in the run's folder.
const FILE: &str = "pictures.json";

/// Whose pictures these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The project's own server, stopped and started.
    Live,
    /// A copy of a store.
    Store,
}

/// What was done, as `pictures.json` in the folder of the run has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The format of this document.
    pub format: u32,
    /// The run's id.
    pub id: String,
    /// Whose pictures.
    pub mode: Mode,
    /// The server's address, or the store that was copied.
    pub source: String,
    /// How they are judged.
    pub context: Context,
    /// What could not be looked at.
    pub missing: Vec<target::NotProven>,
    /// One of the server, or one of each account in the store.
    pub series: Vec<Series>,
    /// What the controls came to.
    pub controls: Vec<ControlResult>,
    /// It reached its end.
    pub ended: bool,
    /// How long it took, in ms.
    pub took_ms: u64,
    /// When it began, in UTC.
    #[serde(default)]
    pub began: String,
    /// The command that does it again.
    #[serde(default)]
    pub repeat: String,
    /// The servers: in which role, and which.
    #[serde(default)]
    pub servers: Vec<(String, ServerRecord)>,
}

/// Pictures of one server, and what lay between them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The account, where it is not the only one.
    pub account: Option<String>,
    /// What the store itself says of its streams, where the first picture comes after a start on it.
    #[serde(default)]
    pub indexed: BTreeMap<String, Indexed>,
    /// How many pictures there are, numbered from 0.
    pub pictures: u32,
    /// What was done to the server.
    pub strikes: Vec<Strike>,
}

/// What a stream's recovery index says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Indexed {
    /// Messages.
    pub messages: u64,
    /// The last sequence.
    pub last_seq: u64,
}

/// One thing done to the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Strike {
    /// What.
    pub fault: FaultKind,
    /// The number of the picture before it.
    pub before: u32,
    /// The number of the picture after it; none if the server did not come back.
    pub after: Option<u32>,
    /// What was seen of it.
    pub evidence: Evidence,
    /// From start to ready, in µs.
    pub ready_us: u64,
    /// What others asked of the server meanwhile.
    pub witnessed: Witnessed,
    /// The lines of the server's log that tell of its recovery, if anything was found.
    #[serde(default)]
    pub log: Vec<String>,
}

/// What pictures came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// What held.
    pub verdict: Verdict,
    /// What changed and is no violation.
    pub changes: Vec<Change>,
    /// What was done.
    pub record: Record,
    /// The run's folder.
    pub folder: PathBuf,
    /// Streams and consumers before and after.
    pub pictured: Vec<Pictured>,
}

impl Proof {
    /// The report of it, as of any run; in the folder it is drawn already.
    #[must_use]
    pub fn report(&self) -> Report {
        report(self)
    }
}

impl Record {
    /// A new one.
    ///
    /// # Errors
    /// If the controls cannot be run in the folder.
    pub fn begin(folder: &Path, id: &str, mode: Mode, source: &str, context: &Context) -> io::Result<Record> {
        Ok(Record {
            format: FORMAT,
            id: id.to_owned(),
            mode,
            source: source.to_owned(),
            context: context.clone(),
            missing: Vec::new(),
            series: Vec::new(),
            controls: controls(&folder.join("controls"))?,
            ended: false,
            took_ms: 0,
            began: time(now_ns()),
            repeat: String::new(),
            servers: Vec::new(),
        })
    }

    /// Writes it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        write_json(&folder.join(FILE), self)
    }
}

/// The folder of a picture.
#[must_use]
pub fn picture_folder(run: &Path, series: usize, picture: u32) -> PathBuf {
    run.join(format!("{series}")).join(format!("{picture}"))
}

/// Whether a folder holds pictures.
#[must_use]
pub fn is_one(folder: &Path) -> bool {
    folder.join(FILE).is_file()
}

/// Judges stored pictures, and writes the verdict and the report beside them.
///
/// # Errors
/// Pictures that cannot be read.
pub fn judge(folder: &Path) -> io::Result<Proof> {
    let record: Record = serde_json::from_slice(&std::fs::read(folder.join(FILE))?)?;
    if record.format != FORMAT {
        let text = format!("{FILE} has format {}, this streamproof reads {FORMAT}", record.format);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut cases = Vec::new();
    let mut changes = Vec::new();
    let mut pictured = Vec::new();
    for (number, series) in record.series.iter().enumerate() {
        if series.pictures > 0 && !series.indexed.is_empty() {
            cases.push(first_start(folder, number, series, &record, &mut changes)?);
        }
        let mut looked_at = BTreeSet::new();
        for strike in &series.strikes {
            let told =
                &mut Told { changes: &mut changes, pictured: &mut pictured, looked_at: &mut looked_at };
            cases.push(case(folder, number, series, strike, &record, told)?);
        }
    }
    let mut missing: Vec<NotProven> = record
        .missing
        .iter()
        .map(|note| NotProven { what: note.what.clone(), why: note.why.clone() })
        .collect();
    if !record.ended {
        missing.push(NotProven { what: "the rest of the run".to_owned(), why: "it was cut off".to_owned() });
    }
    let run = Run { id: &record.id, seed: 0, controls: record.controls.clone(), missing: &missing };
    let verdict = merge(run, cases, &record.context);
    let proof = Proof { verdict, changes, record, folder: folder.to_owned(), pictured };
    files::write(folder, &proof.report())?;
    Ok(proof)
}

/// The first picture of a store already comes after a start, and a start can lose something: what is there then is held against
/// what the store's own indexes say.
fn first_start(
    folder: &Path,
    number: usize,
    series: &Series,
    record: &Record,
    changes: &mut Vec<Change>,
) -> io::Result<Verdict> {
    let picture = load(&picture_folder(folder, number, 0))?;
    let mut verdict = empty(record, &picture);
    let server = Version::parse(&picture.server);
    let prefix = series.account.as_ref().map_or(String::new(), |account| format!("{account}/"));
    for (name, was) in &series.indexed {
        let Some(stream) = picture.streams.get(name).filter(|stream| stream.offline.is_none()) else {
            continue;
        };
        let rules = StreamRules::of(&stream.config);
        let target = format!("{prefix}{name}");
        let is = stream.first;
        let mut violation = |invariant, class: &str, count, text| {
            let violation = Violation {
                invariant,
                fault: Some(FaultKind::Stop),
                stream: name.clone(),
                target: target.clone(),
                class: class.to_owned(),
                count,
                age_us: None,
                examples: vec![Example { text, ..Example::default() }],
            };
            verdict.findings.push(weigh(violation, &rules, server, &record.context));
        };
        if is.last_seq < was.last_seq {
            let text = format!("last_seq is {}, and the store's index says {}", is.last_seq, was.last_seq);
            violation(Invariant::M7, "last sequence fell at the first start", 1, text);
        }
        let fewer = was.messages.saturating_sub(is.messages);
        let may_go = rules.evicts() || stream.config["allow_msg_ttl"] == true;
        if fewer > 0 && may_go {
            changes.push(Change {
                target,
                what: "messages removed".to_owned(),
                count: fewer,
                why: "at the first start on the copy; its limits, ages or acks may have removed them"
                    .to_owned(),
            });
        } else if fewer > 0 {
            let class =
                if is.messages == 0 { "lost all at the first start" } else { "lost at the first start" };
            let text =
                format!("{} messages are there, and the store's index says {}", is.messages, was.messages);
            violation(Invariant::M2, class, fewer, text);
        }
    }
    conclude(&mut verdict, &record.context);
    Ok(verdict)
}

/// What is told of a run beside its verdicts.
struct Told<'a> {
    changes: &'a mut Vec<Change>,
    pictured: &'a mut Vec<Pictured>,
    /// Pictures of the series that were judged by themselves: the one after a fault is the one before the next.
    looked_at: &'a mut BTreeSet<u32>,
}

fn case(
    folder: &Path,
    number: usize,
    series: &Series,
    strike: &Strike,
    record: &Record,
    told: &mut Told<'_>,
) -> io::Result<Verdict> {
    let before_folder = picture_folder(folder, number, strike.before);
    let before = load(&before_folder)?;
    let shot = Shot { picture: &before, folder: &before_folder };
    let mut verdict = empty(record, &before);
    let context = &record.context;
    let server = Version::parse(strike.evidence.version_after.as_deref().unwrap_or(&before.server));
    let prefix = series.account.as_ref().map_or(String::new(), |account| format!("{account}/"));
    let Some(after) = strike.after else {
        let why = strike.evidence.failed.clone().unwrap_or_default();
        let down = Violation {
            invariant: Invariant::A1,
            fault: Some(strike.fault),
            stream: String::new(),
            target: format!("{prefix}server"),
            class: "did not come back".to_owned(),
            count: 1,
            age_us: None,
            examples: vec![Example { text: why, ..Example::default() }],
        };
        verdict.findings.push(weigh(down, &StreamRules::default(), server, context));
        conclude(&mut verdict, context);
        return Ok(verdict);
    };
    let is_first_look = told.looked_at.insert(strike.before);
    told.looked_at.insert(after);
    let after_folder = picture_folder(folder, number, after);
    let after = load(&after_folder)?;
    told.pictured.extend(Pictured::of(&prefix, strike.fault, &before, &after));
    let versions = (&strike.evidence.version_before, &strike.evidence.version_after);
    let between = Between {
        fault: strike.fault,
        other_version: versions.0 != versions.1,
        witnessed: &strike.witnessed,
        is_first_look,
    };
    let (violations, found) = compare(shot, Shot { picture: &after, folder: &after_folder }, between)?;
    for mut violation in violations {
        let stream = before.streams.get(&violation.stream).or_else(|| after.streams.get(&violation.stream));
        let rules = stream.map_or_else(StreamRules::default, |stream| StreamRules::of(&stream.config));
        violation.target.insert_str(0, &prefix);
        verdict.findings.push(weigh(violation, &rules, server, context));
    }
    told.changes.extend(found.into_iter().map(|mut change| {
        change.target.insert_str(0, &prefix);
        change
    }));
    for (name, stream) in &before.streams {
        if let Some(why) = &stream.offline {
            verdict.inconclusive.push(format!("{prefix}{name}: the server did not offer it before: {why}"));
            continue;
        }
        verdict.faults.push(cell(&prefix, name, stream, strike, context, &verdict.findings, server));
    }
    let streams = || after.streams.values();
    verdict.counts.read_back = streams().map(|stream| stream.reading.count).sum();
    verdict.counts.operations = verdict.counts.read_back;
    verdict.counts.faults = 1;
    if streams().any(|stream| stream.reading.cut_short.is_none()) {
        verdict.restarts_verified = strike.evidence.restarts.max(1).into();
    }
    verdict.measures.push(streamproof_checker::Measure {
        name: "ready".to_owned(),
        fault: Some(strike.fault.name().to_owned()),
        target: String::new(),
        count: 1,
        states: 0,
        max_us: strike.ready_us,
    });
    verdict.not_proven.extend(general(strike.fault));
    conclude(&mut verdict, context);
    Ok(verdict)
}

/// A stream under what was done.
fn cell(
    prefix: &str,
    name: &str,
    stream: &StreamPicture,
    strike: &Strike,
    context: &Context,
    findings: &[Finding],
    server: Version,
) -> FaultVerdict {
    let target = format!("{prefix}{name}");
    let bitten = if stream.reading.cut_short.is_some() {
        Err("the stream was not read whole before".to_owned())
    } else {
        bite(&strike.evidence)
    };
    let verdict = Cell::of(strike.fault, &target, findings, bitten.is_ok());
    let rules = StreamRules::of(&stream.config);
    let row = promise(Property::Messages, Some(strike.fault), &rules, context.sync, server);
    let bites = u64::from(bitten.is_ok());
    FaultVerdict {
        fault: strike.fault.name().to_owned(),
        target,
        verdict,
        bite: format!("{bites} of 1: {}", bitten.unwrap_or_else(|why| why)),
        tries: 1,
        bites,
        promised: row.promise != Promise::No,
        source: row.source.to_owned(),
        remedy: row.remedy.map(str::to_owned),
    }
}

/// Whether the server is another process now. No load is needed here for it to count: what is compared is what was at rest.
fn bite(evidence: &Evidence) -> Result<String, String> {
    let Evidence { pid_before, pid_after, version_before, version_after, .. } = evidence;
    if let Some(why) = &evidence.failed {
        return Err(why.clone());
    }
    if pid_before == pid_after {
        return Err(format!("the process is the same ({pid_before})"));
    }
    match (version_before, version_after) {
        (Some(before), Some(after)) if before != after => Ok(format!("{before} became {after}")),
        _ => Ok(format!("process {pid_before} became {pid_after}")),
    }
}

/// What no comparison of pictures can show.
fn general(fault: FaultKind) -> Vec<NotProven> {
    let note = |what: &str, why: &str| NotProven { what: what.to_owned(), why: why.to_owned() };
    let mut notes = vec![note(
        "what is acknowledged shortly before a restart",
        "nothing was published; `restart-check` on a scratch server does",
    )];
    if fault == FaultKind::Kill {
        notes.push(note("power loss", "a SIGKILL leaves the page cache intact and shows nothing about it"));
    }
    notes
}

fn conclude(verdict: &mut Verdict, context: &Context) {
    verdict.findings.sort_by_key(Finding::gravity);
    let unprotected = verdict.findings.iter().any(|finding| finding.verdict == Cell::Unprotected);
    // Its controls and what is inconclusive are added over all.
    verdict.verdict = Overall::of(&[], context.strict && unprotected, false, &verdict.findings);
}

fn empty(record: &Record, before: &Picture) -> Verdict {
    Verdict {
        verdict: Overall::Inconclusive,
        run: record.id.clone(),
        seed: 0,
        server: before.server.clone(),
        restarts_verified: 0,
        faults: Vec::new(),
        findings: Vec::new(),
        not_proven: Vec::new(),
        inconclusive: Vec::new(),
        controls: Vec::new(),
        measures: Vec::new(),
        counts: Counts::default(),
    }
}
