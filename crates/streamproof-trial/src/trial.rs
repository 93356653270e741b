//! A whole run: the controls, then case after case on servers of their own, each judged as it ends, and one verdict.

mod search;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use streamproof_checker::{Context, FaultVerdict, Overall, Run, Verdict, controls, merge};
use streamproof_crashfs::Profile;
use streamproof_model::failure::{Code, Failure};
use streamproof_model::op::{FaultKind, Level};
use streamproof_model::project::Project;
use streamproof_server::acquire::Binary;
use streamproof_server::scratch::Builder;
use streamproof_server::wire::Credentials;
use streamproof_server::{Scratch, ServerError};

use crate::archive::{Archive, Record, ServerRecord, write_json};
use crate::budget;
use crate::contained::Contained;
use crate::controls::run_controls;
use crate::group::groups;
use crate::judge::{JudgeError, judge, judge_and};
use crate::nemesis::Arsenal;
use crate::power_cut::judge_stored;
use crate::power_cut::tally::Tally;
#[cfg(target_os = "linux")]
use crate::power_cut::{CutError, Ended, Rounds};
use crate::report::build::{self, Recoveries};
use crate::report::{Place, Report, files, repeat};
use crate::run::{CaseError, Setup, run_case};
use crate::small_disk::SmallDisk;
use crate::target::{NotProven, targets};
use crate::untried::{ENDED, TIME_UP, Untried, untried};
use crate::wire::{Login, WireError};
use crate::workload::{Scale, case};
use search::Search;

/// A scratch server with a few thousand messages is ready in milliseconds; this is far beyond what a busy machine needs.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// How long a run searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Each fault on each stream, and not much more: within 10 s on a small project.
    Quick,
    /// Each fault on each stream several times: within 30 s on a small project.
    Default,
    /// For so long, or until something fails.
    For(Duration),
}

impl Length {
    /// After this, no more cases once each fault has bitten each stream; and after that, none in any case.
    fn limits(self) -> (Duration, Duration) {
        match self {
            Length::Quick => (Duration::from_secs(4), Duration::from_millis(8_500)),
            Length::Default => (Duration::from_secs(18), Duration::from_secs(26)),
            Length::For(time) => (time, time),
        }
    }

    /// What each further group of streams adds: more streams need more time until each was under each fault.
    fn each_group(self) -> Duration {
        match self {
            Length::Quick => Duration::from_secs(3),
            Length::Default => Duration::from_secs(8),
            Length::For(_) => Duration::ZERO,
        }
    }

    /// Of that time, what is kept for power cuts.
    fn reserved(self) -> Duration {
        match self {
            Length::Quick => Duration::from_millis(3_000),
            Length::Default => Duration::from_secs(8),
            Length::For(time) => time / 2,
        }
    }
}

/// What a run is asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything random follows from it.
    pub seed: u64,
    /// How long to search.
    pub length: Length,
    /// The faults; empty for the default ones.
    pub faults: Vec<FaultKind>,
    /// Beside those, every other that can be run here; what cannot is *not proven*.
    pub full: bool,
    /// What must survive, in place of what the files say.
    pub survive: Option<BTreeSet<Level>>,
    /// *Unprotected* and *not proven* fail too.
    pub strict: bool,
    /// The nats-server.
    pub binary: Binary,
    /// The nats-server to upgrade to.
    pub upgrade_to: Option<Binary>,
    /// The nats-server to downgrade to.
    pub downgrade_to: Option<Binary>,
    /// The project's `jetstream.conf`, where it has one.
    pub server_conf: Option<PathBuf>,
    /// How to log in, where that file asks for it.
    pub credentials: Credentials,
    /// The folder that the run's own folder is made in.
    pub runs: PathBuf,
    /// Profiles of crash states that are told beside the judged one.
    pub profiles: Vec<Profile>,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What held.
    pub verdict: Verdict,
    /// What was run.
    pub record: Record,
    /// What it came to, as it is told; also in the run's folder.
    pub report: Report,
    /// The run's folder.
    pub folder: PathBuf,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Cases so far; 0 while the controls run.
    pub cases: u32,
    /// Restarts after which everything was read back and judged.
    pub restarts: u64,
    /// Violations so far, whatever they are worth.
    pub violations: u64,
    /// How long it has been running.
    pub elapsed: Duration,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// There is nothing to check.
    #[error("nats-config/ declares no stream, bucket or object store: there is nothing to check")]
    NoStreams,
    /// None of the faults can be run here.
    #[error("none of the faults can be run here: {0}")]
    NoFaults(String),
    /// The server could not be had, or did not start at all.
    #[error(transparent)]
    Server(ServerError),
    /// The server refuses a stream or consumer as its file has it.
    #[error("nats-server refuses {target} as its file has it: {source}")]
    Refused {
        /// The stream.
        target: String,
        /// What it said.
        source: WireError,
    },
    /// Another failure of a case.
    #[error(transparent)]
    Case(CaseError),
    /// A history cannot be judged.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// The run's folder.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Cancelled; what was recorded is kept.
    #[error("interrupted; what was recorded is in {}", .0.display())]
    Cancelled(PathBuf),
}

impl Failure for TrialError {
    fn code(&self) -> Code {
        match self {
            TrialError::NoStreams => Code::InvalidConfig,
            TrialError::NoFaults(_) => Code::Inconclusive,
            TrialError::Server(error) | TrialError::Case(CaseError::Server(error)) => error.code(),
            TrialError::Refused { .. } => Code::ServerRefused,
            TrialError::Case(_) => Code::Internal,
            TrialError::Judge(error) => error.code(),
            TrialError::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::PermissionDenied => Code::Permission,
                std::io::ErrorKind::StorageFull => Code::DiskFull,
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::NotFound => Code::InvalidHistory,
                _ => Code::Io,
            },
            TrialError::Cancelled(_) => Code::Interrupted,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            TrialError::Server(error) => error.help(),
            TrialError::Refused { .. } => {
                Some("cargo xtask validate   shows what is wrong with the files".to_owned())
            }
            TrialError::NoStreams => Some("add one as nats-config/streams/<STREAM>.json".to_owned()),
            _ => None,
        }
    }
}

impl From<CaseError> for TrialError {
    fn from(error: CaseError) -> Self {
        match error {
            CaseError::Server(error) => TrialError::Server(error),
            CaseError::Create { target, source } => TrialError::Refused { target, source },
            other => TrialError::Case(other),
        }
    }
}

/// Runs the controls and the cases, and judges them.
///
/// # Errors
/// [`TrialError`]. What was lost is no error but a verdict.
pub fn run(
    options: &Options,
    project: &Project,
    cancel: &AtomicBool,
    progress: impl FnMut(Progress),
) -> Result<Outcome, TrialError> {
    search(options, project, cancel, |verdict| verdict.verdict == Overall::Fail, progress)
}

/// As [`run`], for somebody who looks for one thing: `found` is asked about the verdict of each case, and with
/// [`Length::For`] the search ends at its first yes, and at nothing else before the time is up.
///
/// # Errors
/// [`TrialError`].
pub fn search(
    options: &Options,
    project: &Project,
    cancel: &AtomicBool,
    mut found: impl FnMut(&Verdict) -> bool,
    mut progress: impl FnMut(Progress),
) -> Result<Outcome, TrialError> {
    let began = Instant::now();
    let began_ns = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(0));
    let (targets, mut notes) = targets(&project.desired);
    if targets.is_empty() {
        return Err(TrialError::NoStreams);
    }
    let login = Login::from(options.credentials.clone());
    let mut arsenal = Arsenal::new(options.upgrade_to.clone(), options.downgrade_to.clone());
    let mut context = budget::context(project, options.survive.as_ref(), options.strict);
    let (mut faults, mut missing) = budget::faults(&options.faults, &context, project, &arsenal);
    if options.full {
        notes.extend(budget::more(&mut faults, &mut missing, &arsenal));
    }
    if faults.is_empty() {
        let why = missing.iter().map(|note| format!("{}: {}", note.what, note.why));
        return Err(TrialError::NoFaults(why.collect::<Vec<_>>().join("; ")));
    }
    context.asked.clone_from(&options.faults);
    if options.faults.is_empty()
        && let Err(why) = arsenal.can(FaultKind::PowerCut)
    {
        notes.push(NotProven { what: "power cut".to_owned(), why });
    }
    let (archive, id) = Archive::create(&options.runs, &run_id(began_ns, &options.seed.to_string()))
        .map_err(io("create", &options.runs))?;
    let mut record = Record {
        format: Record::FORMAT,
        id: id.clone(),
        seed: options.seed,
        server: ServerRecord::of(&options.binary),
        upgrade_to: options.upgrade_to.as_ref().map(ServerRecord::of),
        downgrade_to: options.downgrade_to.as_ref().map(ServerRecord::of),
        faults: faults.clone(),
        context,
        missing,
        untried: Vec::new(),
        power_cuts: Tally::default(),
        cases: 0,
        ended: false,
        took_ms: 0,
        repeat: repeat::command(options),
        place: Place::Scratch,
    };
    archive.write_record(&record).map_err(io("write", archive.folder()))?;
    let cancelled = |error: TrialError| match error {
        TrialError::Case(CaseError::Cancelled) => TrialError::Cancelled(archive.folder().to_owned()),
        other => other,
    };
    let of_case = Context { asked: Vec::new(), ..record.context.clone() };

    run_controls(&options.binary, options.seed, &id, &archive.controls(), began_ns, cancel)
        .map_err(|error| cancelled(error.into()))?;
    // Power cuts are no legs of these cases: they need a store of their own kind.
    let (cuts, legs): (Vec<FaultKind>, Vec<FaultKind>) =
        faults.iter().copied().partition(|fault| fault.level() == Level::HostCrash);
    let mut search = Search::new(groups(&targets), &legs, options);
    if !cuts.is_empty() && !legs.is_empty() {
        search.reserved = options.length.reserved();
    }
    let (mut verdicts, mut states): (Vec<Verdict>, Vec<Verdict>) = (Vec::new(), Vec::new());
    let mut recoveries = Recoveries::default();
    let (mut restarts, mut violations) = (0, 0);
    progress(Progress { cases: 0, restarts, violations, elapsed: began.elapsed() });
    while !legs.is_empty()
        && let Some(next) = search.next(began.elapsed())
    {
        let number = record.cases + 1;
        let group = &search.groups[next.group];
        let scale = Scale::for_targets(group.targets.len());
        let todo = case(&group.targets, &next.faults, next.seed, scale);
        write_json(&archive.case(number), &todo).map_err(io("write", &archive.case(number)))?;
        // Dropped after the server, which is declared later; the disk of an earlier case goes now.
        arsenal.small_disk = None;
        if next.faults.contains(&FaultKind::DiskFull) {
            arsenal.small_disk =
                Some(SmallDisk::mount().map_err(io("mount a small disk in", &std::env::temp_dir()))?);
        }
        let mut server = scratch(options, arsenal.small_disk.as_ref())?;
        arsenal.container = if next.faults.contains(&FaultKind::Recreate) {
            Some(Contained::around(&mut server).map_err(TrialError::Server)?)
        } else {
            None
        };
        let setup =
            Setup { targets: &group.targets, notes: &notes, login: login.clone(), run_id: &id, cancel };
        let started = Instant::now();
        let done = run_case(&setup, &todo, &mut server, &mut arsenal, &archive.history(number), began_ns);
        record.cases = number;
        let stuck = match done {
            Ok(done) => done.stuck.is_some(),
            Err(error) => {
                record.took_ms = began.elapsed().as_millis() as u64;
                archive.write_record(&record).map_err(io("write", archive.folder()))?;
                return Err(cancelled(error.into()));
            }
        };
        let verdict = judge_and(&archive.history(number), &of_case, |op| recoveries.take(op))?;
        if stuck || !matches!(verdict.verdict, Overall::Pass | Overall::Accepted) {
            // What the server said of it belongs to the finding; a log that cannot be copied takes nothing from it.
            fs::copy(server.log_path(), archive.log(number)).ok();
        }
        restarts += verdict.restarts_verified;
        violations += verdict.findings.iter().map(|finding| finding.count).sum::<u64>();
        search.learn(next.group, &verdict, found(&verdict), started.elapsed());
        verdicts.push(verdict);
        progress(Progress { cases: number, restarts, violations, elapsed: began.elapsed() });
    }
    // Elsewhere the budget has left them out, with the reason.
    #[cfg(target_os = "linux")]
    if !cuts.is_empty() {
        let rounds = Rounds {
            groups: &search.groups,
            notes: &notes,
            login: &login,
            run_id: &id,
            cancel,
            archive: &archive,
            context: &of_case,
            builder: builder(options),
            binary: &options.binary,
            seed: options.seed,
            began_ns,
            profiles: &options.profiles,
            until: began + options.length.limits().1 + search.for_groups,
            // A default run has time for one; a search goes on.
            again: legs.is_empty() || matches!(options.length, Length::For(_)),
            first: matches!(options.length, Length::For(_)),
        };
        let mut ended = Ended { cases: record.cases, ..Ended::default() };
        let done = rounds.run(&cuts, &mut ended, &mut found, |number, verdict| {
            restarts += verdict.restarts_verified;
            violations += verdict.findings.iter().map(|finding| finding.count).sum::<u64>();
            progress(Progress { cases: number, restarts, violations, elapsed: began.elapsed() });
        });
        // How long the server took in these cases, too: whoever judges the run again sees them all.
        for number in record.cases + 1..=ended.cases {
            crate::judge::watch(&archive.history(number), |op| recoveries.take(op))?;
        }
        record.cases = ended.cases;
        record.power_cuts = ended.tally;
        verdicts.extend(ended.verdicts);
        states = ended.states;
        match done {
            Ok(()) => {}
            Err(CutError::Case(error)) => {
                record.took_ms = began.elapsed().as_millis() as u64;
                archive.write_record(&record).map_err(io("write", archive.folder()))?;
                return Err(cancelled(error.into()));
            }
            Err(error) => {
                record.missing.push(NotProven { what: "power cuts".to_owned(), why: error.to_string() });
            }
        }
    }
    let told = || verdicts.iter().chain(&states);
    // A run in which something was found does not go on for what is left, and nothing more is asked of it.
    let ended = told().any(&mut found);
    let why = if ended { ENDED } else { TIME_UP };
    let Untried { needed, others } = untried(&search.groups, &faults, told(), &record.context, why);
    (if ended { &mut record.untried } else { &mut record.missing }).extend(needed);
    record.untried.extend(others);
    record.ended = true;
    record.took_ms = began.elapsed().as_millis() as u64;
    archive.write_record(&record).map_err(io("write", archive.folder()))?;
    conclude(&archive, record, &verdicts, &states, &recoveries)
}

/// Judges a stored run again.
///
/// # Errors
/// [`TrialError::Io`] or [`TrialError::Judge`]: no run, or one that cannot be read.
pub fn judge_again(folder: &Path) -> Result<Outcome, TrialError> {
    let archive = Archive::open(folder);
    let record = archive.record().map_err(io("read the run in", folder))?;
    let of_case = Context { asked: Vec::new(), ..record.context.clone() };
    let mut recoveries = Recoveries::default();
    let (mut verdicts, mut states) = (Vec::new(), Vec::new());
    for number in 1..=record.cases {
        verdicts.push(judge_and(&archive.history(number), &of_case, |op| recoveries.take(op))?);
        let index = archive.states_index(number);
        if index.is_file() {
            states.extend(judge_stored(&archive.history(number), &archive.states(number), &index, &of_case)?);
        }
    }
    conclude(&archive, record, &verdicts, &states, &recoveries)
}

fn conclude(
    archive: &Archive,
    record: Record,
    cases: &[Verdict],
    states: &[Verdict],
    recoveries: &Recoveries,
) -> Result<Outcome, TrialError> {
    let of_controls = judge(&archive.controls(), &Context::default())?;
    let mut missing: Vec<streamproof_checker::NotProven> = record.missing.iter().map(note).collect();
    if !record.ended {
        missing.push(streamproof_checker::NotProven {
            what: "the rest of the run".to_owned(),
            why: "it was cut off".to_owned(),
        });
    }
    let mut controls = controls(&of_controls);
    controls.extend(record.power_cuts.controls());
    let run = Run { id: &record.id, seed: record.seed, controls, missing: &missing };
    let mut verdict = merge(run, cases.iter().chain(states).cloned(), &record.context);
    let host_crash = |fault: &FaultVerdict| {
        fault.bites > 0 && FaultKind::named(&fault.fault).is_some_and(|kind| kind.level() == Level::HostCrash)
    };
    if verdict.faults.iter().any(host_crash) {
        // Cases without one say so of themselves; the run has them.
        verdict.not_proven.retain(|note| note.what != "power loss");
    }
    verdict.not_proven.extend(record.untried.iter().map(note));
    let folder = archive.folder().to_owned();
    let mut report = build::build(archive, &record, verdict.clone(), cases, recoveries)?;
    report.power_cut = archive.power().map_err(io("read the power cuts in", &folder))?;
    files::write(&folder, &report).map_err(io("write", &folder))?;
    Ok(Outcome { verdict, record, report, folder })
}

fn note(note: &NotProven) -> streamproof_checker::NotProven {
    streamproof_checker::NotProven { what: note.what.clone(), why: note.why.clone() }
}

pub(crate) fn scratch(options: &Options, disk: Option<&SmallDisk>) -> Result<Scratch, TrialError> {
    let mut builder = builder(options);
    if let Some(disk) = disk {
        builder = builder.store_dir(disk.store_dir());
    }
    builder.start().map_err(TrialError::Server)
}

pub(crate) fn builder(options: &Options) -> Builder {
    let mut builder = Scratch::builder()
        .binary(options.binary.clone())
        .credentials(options.credentials.clone())
        // `sync_interval: always` would cost most of the time otherwise, and the faults of a run end a process, not a disk.
        .in_memory(true)
        .timeout(READY_LIMIT);
    if let Some(path) = &options.server_conf {
        builder = builder.config_file(path);
    }
    builder
}

/// `20261124-131502-<seed>`: sorts by time, and the seed is what one wants to copy.
pub(crate) fn run_id(began_ns: i64, end: &str) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(began_ns)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let digits: String = time.to_string().chars().take(19).filter(char::is_ascii_digit).collect();
    format!("{}-{}-{end}", &digits[..8.min(digits.len())], digits.get(8..).unwrap_or_default())
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> TrialError {
    let path = path.to_owned();
    move |source| TrialError::Io { action, path, source }
}
