//! Looks for false alarms: many runs with fresh seeds over every configuration in `configs/`, and what they came to.
//!
//! `cargo run --release -p streamproof-trial --example campaign [-- [NAME…] [--quick 15] [--default 1] [--for SECONDS]
//! [--fault NAME…] [--full] [--server VERSION] [--upgrade-to VERSION] [--downgrade-to VERSION] [--from SEED] [--jobs 2]
//! [--keep DIR]]`: so many runs of each length on each configuration. It fails where a run is no pass, where one is inconclusive on
//! more than 5 % of its faults, or where a kind of fault bites in less than 95 % of its tries. A run that had no time for all of its
//! faults, on a machine that does something else, is repeated, and counted.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example prints what it finds")]

mod shipped;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use streamproof_checker::{Cell, Overall, Verdict};
use streamproof_model::op::FaultKind;
use streamproof_model::version::Version;
use streamproof_server::PINNED;
use streamproof_server::acquire::Binary;
use streamproof_server::wire::Credentials;
use streamproof_trial::budget::DEFAULT;
use streamproof_trial::trial::{Length, Options, search};
use streamproof_trial::untried::TIME_UP;

struct Asked {
    names: BTreeSet<String>,
    quick: u64,
    default: u64,
    run_for: Option<Duration>,
    faults: Vec<FaultKind>,
    full: bool,
    server: Version,
    upgrade_to: Option<Version>,
    downgrade_to: Option<Version>,
    from: u64,
    jobs: usize,
    keep: Option<PathBuf>,
}

fn configs() -> PathBuf {
    shipped::workspace().join("crates/streamproof-trial/configs")
}

fn asked() -> Result<Asked, Box<dyn Error>> {
    let all: BTreeSet<String> = std::fs::read_dir(configs())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let mut asked = Asked {
        names: BTreeSet::new(),
        quick: 15,
        default: 1,
        run_for: None,
        faults: Vec::new(),
        full: false,
        server: PINNED,
        upgrade_to: None,
        downgrade_to: None,
        from: now.as_secs() % 1_000_000_000,
        jobs: 2,
        keep: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--quick" => asked.quick = value()?.parse()?,
            "--default" => asked.default = value()?.parse()?,
            "--for" => asked.run_for = Some(Duration::from_secs(value()?.parse()?)),
            "--fault" => {
                let name = value()?;
                asked.faults.push(FaultKind::named(&name).ok_or(format!("{name} is no fault"))?);
            }
            "--full" => asked.full = true,
            "--server" => asked.server = version(&value()?)?,
            "--upgrade-to" => asked.upgrade_to = Some(version(&value()?)?),
            "--downgrade-to" => asked.downgrade_to = Some(version(&value()?)?),
            "--from" => asked.from = value()?.parse()?,
            "--jobs" => asked.jobs = value()?.parse::<usize>()?.max(1),
            "--keep" => asked.keep = Some(value()?.into()),
            name if all.contains(name) => _ = asked.names.insert(word),
            other => return Err(format!("{other} is neither a configuration nor a flag").into()),
        }
    }
    if asked.names.is_empty() {
        asked.names = all;
    }
    Ok(asked)
}

fn version(word: &str) -> Result<Version, String> {
    word.parse().map_err(|error| format!("{word}: {error:?}"))
}

/// The servers of a campaign: the one that is tried, and those that are changed to.
struct Servers {
    tried: Binary,
    upgrade: Option<Binary>,
    downgrade: Option<Binary>,
}

struct Job {
    name: String,
    seed: u64,
    length: Length,
}

#[derive(Default)]
struct Tally {
    runs: u64,
    verdicts: BTreeMap<String, u64>,
    /// By fault: cells, cells that were inconclusive, tries, bites.
    faults: BTreeMap<String, [u64; 4]>,
    findings: BTreeMap<String, (u64, String)>,
    errors: Vec<String>,
    out_of_time: u64,
    /// The largest part of a run's faults that were inconclusive, in percent.
    most_open: f64,
    restarts: u64,
    busy: Duration,
}

impl Tally {
    fn add(&mut self, job: &Job, verdict: &Verdict, took: Duration) {
        self.runs += 1;
        self.busy += took;
        self.restarts += verdict.restarts_verified;
        let overall = format!("{:?}", verdict.verdict).to_lowercase();
        *self.verdicts.entry(overall).or_default() += 1;
        let open = verdict.faults.iter().filter(|cell| cell.verdict == Cell::Inconclusive).count();
        self.most_open = self.most_open.max(open as f64 * 100.0 / verdict.faults.len().max(1) as f64);
        for cell in &verdict.faults {
            let [cells, open, tries, bites] = self.faults.entry(cell.fault.clone()).or_default();
            *cells += 1;
            *open += u64::from(cell.verdict == Cell::Inconclusive);
            *tries += cell.tries;
            *bites += cell.bites;
        }
        for finding in &verdict.findings {
            let known = finding.known.as_deref().unwrap_or("not known");
            let what = format!(
                "{:?} {} {} ({known}) {}",
                finding.verdict,
                finding.invariant.name(),
                finding.class,
                job.name
            );
            let example = finding.examples.first().map_or("", |example| example.text.as_str());
            let shown = || {
                format!(
                    "seed {}, {} on {}: {example}",
                    job.seed,
                    finding.fault.as_deref().unwrap_or("-"),
                    finding.target
                )
            };
            self.findings.entry(what).or_insert_with(|| (0, shown())).0 += 1;
        }
        if verdict.verdict == Overall::SelfCheckFailed {
            self.errors.push(format!("{} seed {}: {:?}", job.name, job.seed, verdict.controls));
        }
        if verdict.verdict == Overall::Inconclusive {
            self.errors.push(format!("{} seed {}: {}", job.name, job.seed, verdict.inconclusive.join("; ")));
        }
    }

    /// Kinds of fault that bit in less than 95 % of their tries. Those of a power cut are states of a disk, at every sync and between:
    /// where all has just been synced there is nothing for it to bite, and half of them may be so.
    fn toothless(&self) -> Vec<&str> {
        let toothless = |(name, [_, _, tries, bites]): (&String, &[u64; 4])| {
            let least = if name.as_str() == FaultKind::PowerCut.name() { 50 } else { 95 };
            *bites * 100 < *tries * least
        };
        self.faults.iter().filter(|fault| toothless(*fault)).map(|(fault, _)| fault.as_str()).collect()
    }

    fn show(&self, elapsed: Duration) {
        println!("{} runs in {:.0} s: {:?}", self.runs, elapsed.as_secs_f64(), self.verdicts);
        println!(
            "{} restarts verified, {:.0} a minute of a run",
            self.restarts,
            self.restarts as f64 * 60.0 / self.busy.as_secs_f64().max(0.001)
        );
        for (fault, [cells, open, tries, bites]) in &self.faults {
            println!(
                "  {fault:<16} bit in {bites} of {tries} tries ({:.1} %), inconclusive {open} of {cells} ({:.1} %)",
                *bites as f64 * 100.0 / (*tries).max(1) as f64,
                *open as f64 * 100.0 / (*cells).max(1) as f64
            );
        }
        println!("  {} runs had no time for all of their faults, and were repeated", self.out_of_time);
        println!("  of one run's faults at most {:.1} % were inconclusive", self.most_open);
        for (what, (count, example)) in &self.findings {
            println!("  {count} × {what}\n      {example}");
        }
        for error in &self.errors {
            println!("  {error}");
        }
    }
}

/// A run is repeated so often: a machine that is busy for longer than that is the wrong one.
const REPEATS_MAX: u64 = 8;

/// Whether a run, in which nothing was found, ended before all faults had their turn.
fn out_of_time(verdict: &Verdict) -> bool {
    verdict.verdict == Overall::Inconclusive
        && verdict.findings.iter().all(|finding| finding.verdict != Cell::Fail)
        && verdict
            .inconclusive
            .iter()
            .all(|why| why.ends_with("was asked for and not run") || why.ends_with(TIME_UP))
}

fn attempt(job: &Job, asked: &Asked, servers: &Servers) -> Result<(Verdict, Duration), Box<dyn Error>> {
    let folder = configs().join(&job.name);
    let runs = tempfile::tempdir()?;
    let options = Options {
        seed: job.seed,
        length: job.length,
        faults: if asked.faults.is_empty() { DEFAULT.to_vec() } else { asked.faults.clone() },
        full: asked.full,
        profiles: Vec::new(),
        survive: None,
        strict: false,
        binary: servers.tried.clone(),
        upgrade_to: servers.upgrade.clone(),
        downgrade_to: servers.downgrade.clone(),
        server_conf: shipped::server_conf(&folder),
        credentials: Credentials::None,
        runs: runs.path().to_owned(),
    };
    let started = Instant::now();
    // What is known, and not accepted, ends no run early: it would hide what comes after it.
    let new = |verdict: &Verdict| {
        verdict.findings.iter().any(|finding| finding.verdict == Cell::Fail && finding.known.is_none())
    };
    let project = shipped::project(&folder, &asked.server)?;
    let outcome = search(&options, &project, &AtomicBool::new(false), new, |_| {})?;
    let took = started.elapsed();
    let good = matches!(outcome.verdict.verdict, Overall::Pass | Overall::Accepted | Overall::Unprotected);
    if let (Some(keep), false) = (&asked.keep, good) {
        let place = keep.join(format!("{}-{}", job.name, job.seed));
        std::fs::create_dir_all(&place)?;
        for entry in std::fs::read_dir(&outcome.folder)? {
            let path = entry?.path();
            if let (true, Some(name)) = (path.is_file(), path.file_name()) {
                std::fs::copy(&path, place.join(name))?;
            }
        }
    }
    Ok((outcome.verdict, took))
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked = asked()?;
    let mut jobs = Vec::new();
    for (length, count) in [(Length::Quick, asked.quick), (Length::Default, asked.default)] {
        let length = asked.run_for.map_or(length, Length::For);
        for number in 0..count {
            for name in &asked.names {
                jobs.push(Job { name: name.clone(), seed: asked.from + number, length });
            }
        }
    }
    let other = |version: &Option<Version>| version.as_ref().map(shipped::server).transpose();
    let servers = Servers {
        tried: shipped::server(&asked.server)?,
        upgrade: other(&asked.upgrade_to)?,
        downgrade: other(&asked.downgrade_to)?,
    };
    println!(
        "nats-server {}: {} runs over {} configurations, seeds from {}, {} at a time",
        asked.server,
        jobs.len(),
        asked.names.len(),
        asked.from,
        asked.jobs
    );
    let (next, tally, started) = (AtomicUsize::new(0), Mutex::new(Tally::default()), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..asked.jobs {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut done = attempt(job, &asked, &servers);
                    let mut short = 0;
                    while short < REPEATS_MAX && done.as_ref().is_ok_and(|(verdict, _)| out_of_time(verdict))
                    {
                        short += 1;
                        done = attempt(job, &asked, &servers);
                    }
                    let done = done.map_err(|error| error.to_string());
                    let Ok(mut tally) = tally.lock() else { break };
                    tally.out_of_time += short;
                    match done {
                        Ok((verdict, took)) => tally.add(job, &verdict, took),
                        Err(error) => tally.errors.push(format!("{} seed {}: {error}", job.name, job.seed)),
                    }
                    if tally.runs % 50 == 0 {
                        eprintln!("{} runs, {:?}", tally.runs, tally.verdicts);
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().map_err(|_| "a run panicked")?;
    tally.show(started.elapsed());
    let bad =
        ["fail", "selfcheckfailed", "inconclusive"].iter().any(|name| tally.verdicts.contains_key(*name));
    if bad || !tally.errors.is_empty() {
        return Err("not every run was a pass".into());
    }
    if tally.most_open > 5.0 {
        return Err("a run was inconclusive on more than 5 % of its faults".into());
    }
    match tally.toothless().as_slice() {
        [] => Ok(()),
        kinds => Err(format!("bit in less than 95 % of their tries: {}", kinds.join(", ")).into()),
    }
}
