//! A failure made short, and written down as a report that could be filed: `reproduce.md` in the folder of its run.

mod bench;
pub mod reduce;
pub mod script;

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use streamproof_checker::{Blame, Cell, Context, Finding, Invariant, Verdict};
use streamproof_model::op::{Event, FaultKind, Level, Op, Ops, Reader};
use streamproof_model::project::Project;

use crate::archive::Archive;
use crate::judge::judge;
use crate::power_cut::stored_shows;
use crate::shrink::Bounds;
use crate::target::{Target, targets};
use crate::trial::{Options, Outcome};
use crate::workload::{Case, Step};
use bench::{Bench, same};
use reduce::{Reduced, Subject, reduce};
use script::{Around, PowerCut, script};

/// The report's name in the folder of a run.
pub const FILE: &str = "reproduce.md";
/// What the folders beside it begin with that hold the store as a power cut left it.
const STORE: &str = "reproduce-store";
/// So many failures are written down, each of another stream or another invariant.
const SECTIONS_MAX: usize = 3;
/// So often the shortest form is run once more, to say how surely it fails.
const SURE: u32 = 3;
/// Candidates at most; the time ends it earlier.
const TRIES_MAX: u32 = 5_000;
/// So many lines of the server's log are quoted.
const LOG_LINES: usize = 15;

/// What was written down of one failure.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Shortest {
    /// What failed, and how.
    pub title: String,
    /// Operations before.
    pub operations_before: usize,
    /// Operations left.
    pub operations: usize,
    /// Nothing more can be left out.
    pub minimal: bool,
    /// How often the shortest form failed again, of `SURE`.
    pub again: u32,
    /// Candidates that were run.
    pub tries: u32,
}

/// What became of a run's failures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reproduced {
    /// The report; none where there was nothing to write down.
    pub path: Option<PathBuf>,
    /// Of each failure.
    pub shortest: Vec<Shortest>,
    /// What could not be made short, and why.
    pub not: Vec<String>,
}

/// Reduces the worst failures of a run and writes its report, within `budget`.
///
/// # Errors
/// If the report, or the histories that it takes, cannot be written.
pub fn reproduce(
    options: &Options,
    project: &Project,
    outcome: &Outcome,
    budget: Duration,
    cancel: &std::sync::atomic::AtomicBool,
    mut progress: impl FnMut(&str, u32),
) -> io::Result<Reproduced> {
    let until = Instant::now() + budget;
    let mut reproduced = Reproduced::default();
    let failures = failures(&outcome.verdict);
    let mut sections = Vec::new();
    for (number, finding) in failures.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / (failures.len() - number) as u32;
        let title = title(finding, &outcome.verdict.server);
        let (found, by_state) = match find(outcome, project, finding)? {
            Some(found) => found,
            None => {
                reproduced.not.push(format!("{title}: no stored case of this run holds it alone"));
                continue;
            }
        };
        let mut bench =
            Bench::new(options, &outcome.folder, outcome.record.context.clone(), finding, cancel)?;
        bench.by_state = by_state;
        let before = found.case.legs.iter().map(|leg| leg.steps.len() + 1).sum();
        // Whether the project's own server configuration has a part in it.
        let bounds = |share: Duration| Bounds { tries_max: TRIES_MAX, until: Instant::now() + share };
        // What a power cut leaves is judged by the sync settings in it: never without.
        bench.plain = finding.fault.as_deref().and_then(FaultKind::named).map(FaultKind::level)
            != Some(Level::HostCrash);
        if !bench.fails(&found) && !bench.fails(&found) {
            bench.with_configuration();
            if !bench.fails(&found) && !bench.fails(&found) {
                reproduced.not.push(format!("{title}: the same operations did not fail again"));
                continue;
            }
        }
        let name = stream_of(finding);
        let mut tries = 0;
        let reduced = reduce(found, name, bounds(share), |candidate| {
            tries += 1;
            progress(&title, tries);
            bench.fails(candidate)
        });
        let again = (0..SURE).map(|_| u32::from(bench.fails(&reduced.subject))).sum();
        // The last one that failed is what is written down.
        let left = reduced.subject.case.legs.iter().map(|leg| leg.steps.len() + 1).sum();
        reproduced.shortest.push(Shortest {
            title: title.clone(),
            operations_before: before,
            operations: left,
            minimal: reduced.minimal,
            again,
            tries: reduced.tries,
        });
        let store = bench.keep_store(&outcome.folder.join(format!("{STORE}-{}", number + 1)))?;
        sections.push(section(finding, &reduced, &bench, store.as_deref(), outcome, (before, left, again))?);
    }
    if !sections.is_empty() {
        let path = outcome.folder.join(FILE);
        fs::write(&path, sections.join("\n"))?;
        reproduced.path = Some(path);
    }
    Ok(reproduced)
}

/// The failures worth a report: of each stream the worst, lost messages before all else.
fn failures(verdict: &Verdict) -> Vec<&Finding> {
    let mut chosen: Vec<&Finding> = Vec::new();
    let failing = verdict.findings.iter().filter(|finding| {
        finding.verdict == Cell::Fail && finding.blame == Blame::Server && finding.fault.is_some()
    });
    for finding in failing {
        let same = |one: &&Finding| {
            stream_of(one) == stream_of(finding)
                && (one.invariant == finding.invariant || of_messages(one) == of_messages(finding))
        };
        if chosen.len() < SECTIONS_MAX && !chosen.iter().any(same) {
            chosen.push(finding);
        }
    }
    chosen
}

fn of_messages(finding: &Finding) -> bool {
    !matches!(finding.invariant, Invariant::K1 | Invariant::K2 | Invariant::K3 | Invariant::K4)
}

fn stream_of(finding: &Finding) -> &str {
    finding.target.split(" > ").next().unwrap_or_default()
}

fn title(finding: &Finding, server: &str) -> String {
    let fault = finding.fault.as_deref().unwrap_or("no fault");
    format!("nats-server {server}: {} of {} after {fault}", finding.class, finding.target)
}

/// The case of a run that shows a finding, with its streams as they were run; and whether it takes a crash state of it.
fn find(outcome: &Outcome, project: &Project, finding: &Finding) -> io::Result<Option<(Subject, bool)>> {
    let archive = Archive::open(&outcome.folder);
    let context = Context { asked: Vec::new(), ..outcome.record.context.clone() };
    let (all, _) = targets(&project.desired);
    for number in 1..=outcome.record.cases {
        let Ok(verdict) = judge(&archive.history(number), &context) else { continue };
        let by_state = !verdict.findings.iter().any(|one| same(one, finding));
        let stored = || {
            let (states, index) = (archive.states(number), archive.states_index(number));
            stored_shows(&archive.history(number), &states, &index, &context, |one| same(one, finding))
        };
        if by_state && !stored() {
            continue;
        }
        let Ok(case) = serde_json::from_slice::<Case>(&fs::read(archive.case(number))?) else { continue };
        let names = streams(&archive.history(number))?;
        let targets: Option<Vec<Target>> =
            names.iter().map(|name| all.iter().find(|target| target.name == *name).cloned()).collect();
        if let Some(targets) = targets {
            return Ok(Some((Subject { targets, case }, by_state)));
        }
    }
    Ok(None)
}

/// The streams of a history, in the order of their numbers.
fn streams(history: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for operation in operations(history)? {
        match operation {
            Op::Event { event: Event::DeclareStream { name, .. }, .. } => names.push(name),
            Op::Event { event: Event::Listing { .. }, .. } => break,
            _ => {}
        }
    }
    Ok(names)
}

fn operations(history: &Path) -> io::Result<impl Iterator<Item = Op>> {
    let reader = Reader::new(BufReader::new(File::open(history)?));
    Ok(Ops::new(reader.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?))
}

/// One failure, as a report.
fn section(
    finding: &Finding,
    reduced: &Reduced,
    bench: &Bench<'_>,
    store: Option<&Path>,
    outcome: &Outcome,
    (before, left, again): (usize, usize, u32),
) -> io::Result<String> {
    let record = &outcome.record;
    let seen = bench.last.clone().unwrap_or_else(|| finding.clone());
    let around = Around {
        server_conf: match (&bench.options.server_conf, bench.plain) {
            (Some(path), false) => Some(fs::read_to_string(path)?),
            _ => None,
        },
        created: seen.invariant == Invariant::K3,
        upgrade_to: record.upgrade_to.as_ref().map(|server| server.version.clone()),
        downgrade_to: record.downgrade_to.as_ref().map(|server| server.version.clone()),
        power_cut: bench.cut_us().zip(store).map(|(cut_us, store)| PowerCut {
            cut_us,
            store: store.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }),
    };
    let commands = script(operations(&bench.kept.0)?, &around);
    let mut text = format!("# {}\n\n", title(&seen, &record.server.version));
    let mut add = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    add("## Versions\n");
    add(&format!(
        "- nats-server {} ({}), sha256 {}",
        record.server.version, record.server.source, record.server.sha256
    ));
    for (what, server) in [("upgraded to", &record.upgrade_to), ("downgraded to", &record.downgrade_to)] {
        if let Some(server) = server {
            add(&format!(
                "- {what} nats-server {} ({}), sha256 {}",
                server.version, server.source, server.sha256
            ));
        }
    }
    add(&format!("- {} {}; one node", std::env::consts::OS, std::env::consts::ARCH));
    add("- the commands are for the `nats` CLI, 0.5\n");
    add("## Expected\n");
    add(&format!("{} ({}).\n", crate::report::words::meaning(seen.invariant), seen.source));
    add("## Seen\n");
    add(&format!("{}:\n", crate::report::words::what(&seen)));
    for example in seen.examples.iter().take(5) {
        let seq = example.seq.map_or(String::new(), |seq| format!("sequence {seq}: "));
        let on = example.subject.as_ref().map_or(String::new(), |subject| format!(" (on `{subject}`)"));
        add(&format!("- {seq}{}{on}", example.text));
    }
    if let Some(known) = &seen.known {
        add(&format!("\nKnown as `{known}`: {}", issue(known)));
    }
    add("\n## To reproduce\n");
    if bench.plain {
        add("With a plain server, no configuration needed:\n");
    } else {
        add("It takes the server's configuration (`server.conf` below):\n");
    }
    add("```sh");
    add(commands.trim_end());
    add("```\n");
    for line in bench.of_the_cut() {
        add(&line);
    }
    let random = reduced.subject.case.legs.iter().any(|leg| !leg.load.is_empty());
    if random && around.power_cut.is_none() {
        add(
            "The publishes right before the fault were in flight when it came; by hand the moment is hard to hit.\n",
        );
    }
    let log = telling(&fs::read_to_string(&bench.kept.1).unwrap_or_default());
    if !log.is_empty() {
        add("## The server's log\n");
        add("```");
        for line in log {
            add(&line);
        }
        add("```\n");
    }
    add("## How it was found\n");
    add(&format!(
        "`cargo xtask restart-check --seed {}`, run {}: {before} operations and faults, reduced to {left} in {} tries{}; \
         the shortest failed {again} of {SURE} times when it was run again.",
        record.seed,
        record.id,
        reduced.tries,
        if reduced.minimal { ", and none of them can be left out" } else { " before the time was up" },
    ));
    let steps: Vec<&Step> =
        reduced.subject.case.legs.iter().flat_map(|leg| &leg.steps).map(|(_, step)| step).collect();
    add(&format!(
        "\nThe operations as they were run: `{}`",
        serde_json::to_string(&steps).unwrap_or_default()
    ));
    Ok(text)
}

fn issue(known: &str) -> &'static str {
    let defect = streamproof_checker::known::TABLE.iter().find(|defect| defect.name == known);
    defect.map_or("", |defect| defect.issue)
}

/// The lines of a log that tell of a recovery or of something wrong.
fn telling(log: &str) -> Vec<String> {
    let marks = [
        "[WRN]",
        "[ERR]",
        "[FTL]",
        "Restored",
        "recover",
        "Starting nats-server",
        "Version:",
        "Initiating Shutdown",
    ];
    let mut lines: Vec<String> =
        log.lines().filter(|line| marks.iter().any(|mark| line.contains(mark))).map(str::to_owned).collect();
    lines.drain(..lines.len().saturating_sub(LOG_LINES));
    lines
}
