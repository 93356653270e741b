//! What a run came to, as a value, and its renderings: for a terminal, a browser, a pull request, and CI.
//!
//! A [`Report`] is the same for a run that has just ended and for a stored one that is judged again: it is built from the
//! folder of the run and the verdict alone. Every renderer is a pure function of it. A report decides nothing: what was lost
//! is the checker's word.

pub mod build;
pub mod files;
pub mod junit;
pub mod life;
pub mod markdown;
pub mod page;
pub mod pictured;
pub mod plots;
pub mod power;
pub mod repeat;
pub mod scene;
pub mod terminal;
pub mod watch;
pub mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use streamproof_checker::{Accept, Blame, Cell, FaultVerdict, Finding, Overall, Verdict};
use streamproof_model::op::FaultKind;

use crate::archive::{Record, ServerRecord};
use crate::picture::changes::Change;
use crate::power_cut::tally::Tally;
use pictured::Pictured;
use power::PowerCut;
use scene::{Life, Recovery, Scene};

/// What was tried, and so what is untouched. Every report begins with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Place {
    /// A server of its own, on a store of its own.
    #[default]
    Scratch,
    /// The project's own server.
    Live,
    /// A copy of a store.
    StoreCopy,
}

impl Place {
    /// The first line of a report.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Place::Scratch => "scratch server; your data is untouched",
            Place::Live => "your own server was restarted; nothing was published",
            Place::StoreCopy => "a copy of the store; the original is untouched",
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What was tried.
    pub place: Place,
    /// The address of the server, or the store that was copied; empty for a scratch server.
    pub of: String,
    /// When the run began, in UTC; empty where that is not known.
    pub began: String,
    /// How long it took, in ms.
    pub took_ms: u64,
    /// How many cases there were, beside the controls.
    pub cases: u32,
    /// It reached its end.
    pub ended: bool,
    /// The command that repeats it.
    pub repeat: String,
    /// Where its folder is, as it is best shown.
    pub folder: String,
    /// The servers that were used: in which role, and which.
    pub servers: Vec<(String, ServerRecord)>,
    /// Defects that the project lives with, and why.
    pub accept: Vec<Accept>,
    /// The verdict.
    pub verdict: Verdict,
    /// What the plots show, stream by stream, worst first.
    pub scenes: Vec<Scene>,
    /// Streams without plots.
    pub more_scenes: usize,
    /// The life of the first violation of the worst kind.
    pub life: Option<Life>,
    /// How long the server took to come back.
    pub recoveries: Vec<Recovery>,
    /// Power cuts, where any were tried.
    pub power_cut: Option<PowerCut>,
    /// How to repeat a failure in few steps, as `reproduce.md` has it.
    pub reproduce: Option<String>,
    /// What its power cuts came to.
    pub power_cuts: Tally,
    /// Streams and consumers before and after, where pictures were taken.
    pub pictured: Vec<Pictured>,
    /// What changed between pictures and is no violation.
    pub changed: Vec<Change>,
    /// What the server's log said of its recovery, where something was found between pictures.
    pub said: Vec<String>,
}

impl Report {
    /// The first line of every rendering: what was tried, and what is untouched.
    #[must_use]
    pub fn opening(&self) -> String {
        match self.place {
            Place::Live => format!("your own server at {} was restarted; nothing was published", self.of),
            Place::StoreCopy => format!("a copy of {}; the original is untouched", self.of),
            Place::Scratch => self.place.sentence().to_owned(),
        }
    }

    /// Whether it is of pictures of a server with data of its own, and not of a workload.
    #[must_use]
    pub fn is_of_pictures(&self) -> bool {
        self.place != Place::Scratch
    }

    /// The report of a run, as far as the verdict and the record of it go.
    #[must_use]
    pub fn new(verdict: Verdict, record: &Record) -> Report {
        let servers = roles(&record.server, record.upgrade_to.as_ref(), record.downgrade_to.as_ref());
        Report {
            place: record.place,
            of: String::new(),
            began: String::new(),
            took_ms: record.took_ms,
            cases: record.cases,
            ended: record.ended,
            repeat: if record.repeat.is_empty() {
                format!("cargo xtask restart-check --seed {}", record.seed)
            } else {
                record.repeat.clone()
            },
            folder: String::new(),
            servers,
            accept: record.context.accept.clone(),
            verdict,
            scenes: Vec::new(),
            more_scenes: 0,
            life: None,
            recoveries: Vec::new(),
            power_cut: None,
            reproduce: None,
            power_cuts: record.power_cuts.clone(),
            pictured: Vec::new(),
            changed: Vec::new(),
            said: Vec::new(),
        }
    }

    /// Every stream under every kind of fault, worst first; then by stream, and by fault in the order of the documentation.
    #[must_use]
    pub fn lines(&self) -> Vec<Line<'_>> {
        let verdict = &self.verdict;
        let mut by_place: BTreeMap<(&str, Option<&str>), Vec<&Finding>> = BTreeMap::new();
        for finding in &verdict.findings {
            let place = (words::stream_of(&finding.target), finding.fault.as_deref());
            by_place.entry(place).or_default().push(finding);
        }
        for findings in by_place.values_mut() {
            findings.sort_by_key(|finding| words::order(finding));
        }
        let mut lines: Vec<Line<'_>> = verdict
            .faults
            .iter()
            .map(|cell| {
                let place = (cell.target.as_str(), Some(cell.fault.as_str()));
                let findings = by_place.get(&place).cloned().unwrap_or_default();
                // A cell judges its own tries; what else was found under the name of its fault, as at the first start on the copy
                // of a store, is not hidden behind it.
                let verdict = match (cell.verdict, findings.first()) {
                    (Cell::Inconclusive | Cell::NotProven, Some(worst)) if worst.verdict != Cell::Fail => {
                        cell.verdict
                    }
                    (said, Some(worst)) if words::rank(worst.verdict) < words::rank(said) => worst.verdict,
                    (said, _) => said,
                };
                let sentence = match (verdict, findings.first()) {
                    (Cell::Pass, _) => words::no_loss(cell.bites, cell.tries),
                    (Cell::Inconclusive, _) => words::no_try(&cell.bite),
                    (Cell::NotProven, _) => cell.bite.clone(),
                    (_, Some(worst)) => words::sentence_in_stream(worst),
                    (_, None) => cell.bite.clone(),
                };
                Line { verdict, target: &cell.target, fault: Some(&cell.fault), sentence, findings }
            })
            .collect();
        // What has no cell: found without any fault, or under one that no cell tells of, as where the server did not come back.
        for ((stream, fault), findings) in &by_place {
            let told = |cell: &FaultVerdict| cell.target == *stream && Some(cell.fault.as_str()) == *fault;
            if verdict.faults.iter().any(told) {
                continue;
            }
            if let Some(worst) = findings.first() {
                let (verdict, sentence) = (worst.verdict, words::sentence_in_stream(worst));
                lines.push(Line {
                    verdict,
                    target: stream,
                    fault: *fault,
                    sentence,
                    findings: findings.clone(),
                });
            }
        }
        // Streams in the order of the worst that was found of each, so that what matters comes first.
        let mut streams: BTreeMap<&str, _> = BTreeMap::new();
        for finding in &verdict.findings {
            let worst =
                streams.entry(words::stream_of(&finding.target)).or_insert_with(|| words::order(finding));
            *worst = words::order(finding).min(*worst);
        }
        lines.sort_by_key(|line| {
            let kind = line.fault.and_then(FaultKind::named);
            let order = kind.and_then(|kind| FaultKind::ALL.iter().position(|one| *one == kind));
            let worst = streams.get(line.target).copied();
            (words::rank(line.verdict), worst.is_none(), worst, line.target, order)
        });
        lines
    }

    /// What was found, worst first; the same of one target under several faults is told once.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for finding in &self.verdict.findings {
            let same = groups.iter_mut().find(|group| {
                let known = &group.finding;
                let key = |of: &Finding| (of.invariant, of.verdict, of.blame, of.states > 0);
                (&known.target, &known.class, &known.known, key(known))
                    == (&finding.target, &finding.class, &finding.known, key(finding))
            });
            match same {
                Some(group) => {
                    let sum = &mut group.finding;
                    sum.count += finding.count;
                    sum.examples.extend(finding.examples.iter().cloned());
                    sum.age_us = match (sum.age_us, finding.age_us) {
                        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
                        (one, other) => one.or(other),
                    };
                    group.faults.push(finding.fault.clone());
                }
                None => groups.push(Group { finding: finding.clone(), faults: vec![finding.fault.clone()] }),
            }
        }
        groups.sort_by_key(|group| words::order(&group.finding));
        groups
    }

    /// What would protect a stream from a loss that was never promised not to happen.
    #[must_use]
    pub fn remedy(&self, finding: &Finding) -> Option<&str> {
        let stream = words::stream_of(&finding.target);
        self.verdict
            .faults
            .iter()
            .filter(|_| finding.blame == Blame::Config)
            .find(|cell| cell.target == stream && Some(&cell.fault) == finding.fault.as_ref())
            .and_then(|cell| cell.remedy.as_deref())
    }

    /// The verdict as `--json` and `verdict.json` have it.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut data = serde_json::to_value(&self.verdict).unwrap_or_default();
        data["folder"] = json!(self.folder);
        data["repeat"] = json!(self.repeat);
        data["servers"] = self
            .servers
            .iter()
            .map(|(role, server)| {
                json!({ "role": role, "version": server.version, "source": server.source, "sha256": server.sha256 })
            })
            .collect();
        data["took_ms"] = json!(self.took_ms);
        if self.is_of_pictures() {
            data["mode"] = json!(if self.place == Place::Live { "live" } else { "store" });
            data["source"] = json!(self.of);
            data["changes"] = json!(self.changed);
        } else {
            data["power_cuts"] = json!(self.power_cuts);
            data["cases"] = json!(self.cases);
        }
        data
    }

    /// The defects of nats-server that were met, each once: its row of the table, and why the project lives with it, if so.
    #[must_use]
    pub fn defects(&self) -> Vec<(&'static streamproof_checker::known::Defect, Option<&str>)> {
        let mut defects: Vec<(&'static streamproof_checker::known::Defect, Option<&str>)> = Vec::new();
        for name in self.verdict.findings.iter().filter_map(|finding| finding.known.as_deref()) {
            if defects.iter().any(|(known, _)| known.name == name) {
                continue;
            }
            if let Some(defect) = streamproof_checker::known::TABLE.iter().find(|defect| defect.name == name)
            {
                let accept = self.accept.iter().find(|accept| accept.name == name);
                defects.push((defect, accept.map(|accept| accept.reason.as_str())));
            }
        }
        defects
    }

    /// Of all restarts, in µs: the median of the times to ready and the longest, and how many there were.
    #[must_use]
    pub fn ready(&self) -> Option<(u64, u64, u64)> {
        let mut all: Vec<u64> =
            self.recoveries.iter().flat_map(|of| of.ready_us.shown.iter().copied()).collect();
        all.sort_unstable();
        let of = self.recoveries.iter().map(|of| of.ready_us.of).sum();
        Some((*all.get(all.len() / 2)?, *all.last()?, of))
    }

    /// Whether the run ends with a status other than 0.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        !matches!(self.verdict.verdict, Overall::Pass | Overall::Accepted | Overall::Unprotected)
    }
}

/// The servers of a run, each with its role.
#[must_use]
pub fn roles(
    server: &ServerRecord,
    upgrade_to: Option<&ServerRecord>,
    downgrade_to: Option<&ServerRecord>,
) -> Vec<(String, ServerRecord)> {
    let all =
        [("server", Some(server)), ("upgraded to", upgrade_to), ("downgraded to", downgrade_to)].into_iter();
    all.filter_map(|(role, server)| Some((role.to_owned(), server?.clone()))).collect()
}

/// One stream under one kind of fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// The verdict.
    pub verdict: Cell,
    /// The stream.
    pub target: &'a str,
    /// The fault; none: without any.
    pub fault: Option<&'a str>,
    /// What matters first.
    pub sentence: String,
    /// What was found, worst first.
    pub findings: Vec<&'a Finding>,
}

/// The same finding of one target, under one or more faults.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The sum of them; its fault is that of the first.
    pub finding: Finding,
    /// The faults; none: without any.
    pub faults: Vec<Option<String>>,
}

impl Group {
    /// Where it was found: `ORDERS under stop, restarts`.
    #[must_use]
    pub fn place(&self) -> String {
        let faults: Vec<&str> = self.faults.iter().flatten().map(String::as_str).collect();
        match faults.as_slice() {
            [] => words::place(&self.finding, None),
            faults => words::place(&self.finding, Some(&faults.join(", "))),
        }
    }
}
