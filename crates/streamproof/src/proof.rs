//! `restart-check`: what of a project's streams survives which fault, on scratch servers; the project's own server and data are
//! not touched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use streamproof_model::document::Source;
use streamproof_model::failure::{Code, Failure};
use streamproof_model::op::{FaultKind, Level};
use streamproof_model::project::Project;
use streamproof_model::server_conf::{ServerConf, Sync};
use streamproof_model::version::Version;
use streamproof_server::acquire::Binary;
use streamproof_server::{ServerError, Wanted, acquire};
use streamproof_trial::Profile;
use streamproof_trial::picture::proof::{self as pictures, Proof};
use streamproof_trial::reproduce::{Reproduced, reproduce};
use streamproof_trial::store::StoreError;
use streamproof_trial::trial::{self, Length, Options, Outcome, Progress, TrialError};
use thiserror::Error;

use crate::folder::FolderError;
use crate::home::{Home, HomeError};

/// What `restart-check` is asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Everything random follows from it; without one, a new one is drawn and reported.
    pub seed: Option<u64>,
    /// Each fault on each stream, and not much more.
    pub quick: bool,
    /// Search for so long, or until something fails.
    pub run_for: Option<Duration>,
    /// The faults; empty for the default ones.
    pub faults: Vec<FaultKind>,
    /// Every fault that can be run here, beside the default ones.
    pub full: bool,
    /// What must survive, in place of what `streamproof.toml` says.
    pub survive: Option<BTreeSet<Level>>,
    /// *Unprotected* and *not proven* fail too.
    pub strict: bool,
    /// A nats-server to use instead of the pinned one.
    pub server_bin: Option<PathBuf>,
    /// Upgrade to this: a version, or the path of a nats-server.
    pub upgrade_to: Option<String>,
    /// Downgrade to this: a version, or the path of a nats-server.
    pub downgrade_to: Option<String>,
    /// The folder that the run's folder is made in, instead of `.streamproof/runs`.
    pub out: Option<PathBuf>,
    /// Profiles of crash states that are told beside the judged one.
    pub profiles: Vec<Profile>,
}

/// Why there is no verdict.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The project.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The run.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// A copy of a store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such run.
    #[error("there is no run {name:?} in {}", .runs.display())]
    NoRun {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        runs: PathBuf,
    },
    /// The `sync_interval` of the server that the files come from has no place in `jetstream.conf`.
    #[error(
        "jetstream.conf does not let itself be given the sync_interval {sync} of the server that the files were exported from"
    )]
    Sync {
        /// The interval.
        sync: Sync,
    },
    /// Neither a version nor a file.
    #[error("{0:?} is neither a version, such as 2.14.6, nor a file")]
    NoServer(String),
}

impl Failure for ProofError {
    fn code(&self) -> Code {
        match self {
            ProofError::Home(error) => error.code(),
            ProofError::Trial(error) => error.code(),
            ProofError::Store(error) => error.code(),
            ProofError::NoRun { .. } => Code::InvalidHistory,
            ProofError::NoServer(_) => Code::Usage,
            ProofError::Sync { .. } => Code::InvalidConfig,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            ProofError::Home(error) => error.help(),
            ProofError::Trial(error) => error.help(),
            ProofError::Store(error) => error.help(),
            ProofError::NoRun { runs, .. } => Some(format!("ls {}", runs.display())),
            ProofError::NoServer(_) => None,
            ProofError::Sync { sync } => Some(format!(
                "write `sync_interval: {sync}` into the jetstream table there, or remove it from [exported] in streamproof.toml"
            )),
        }
    }

    fn place(&self) -> Option<&streamproof_model::failure::Place> {
        match self {
            ProofError::Home(error) => error.place(),
            _ => None,
        }
    }
}

/// The status that goes with a verdict; none for one that ends with 0.
#[must_use]
pub fn code(verdict: streamproof_checker::Overall) -> Option<Code> {
    use streamproof_checker::Overall;
    match verdict {
        Overall::Pass | Overall::Accepted | Overall::Unprotected => None,
        Overall::Fail => Some(Code::Violation),
        Overall::Inconclusive => Some(Code::Inconclusive),
        Overall::SelfCheckFailed => Some(Code::SelfCheckFailed),
    }
}

impl Home {
    /// Runs the proof for a project's files.
    ///
    /// # Errors
    /// [`ProofError`]. What was lost is no error but a verdict.
    pub fn restart_check(
        &self,
        project: &Project,
        request: &Request,
        cancel: &AtomicBool,
        progress: impl FnMut(Progress),
    ) -> Result<Outcome, ProofError> {
        let (options, project) = self.options(project, request)?;
        Ok(trial::run(&options, &project, cancel, progress)?)
    }

    /// Makes the worst failures of a run as short as they can be, within `budget`, and writes them down in its folder as a report
    /// that could be filed.
    ///
    /// # Errors
    /// [`ProofError`]: no server, or a folder that cannot be written.
    pub fn reproduce(
        &self,
        project: &Project,
        request: &Request,
        outcome: &Outcome,
        budget: Duration,
        cancel: &AtomicBool,
        progress: impl FnMut(&str, u32),
    ) -> Result<Reproduced, ProofError> {
        let (options, project) = self.options(project, request)?;
        let write = |source| TrialError::Io { action: "write in", path: outcome.folder.clone(), source };
        Ok(reproduce(&options, &project, outcome, budget, cancel, progress).map_err(write)?)
    }

    /// What a run is asked, and the project as it is judged.
    fn options(&self, project: &Project, request: &Request) -> Result<(Options, Project), ProofError> {
        self.folder.make_state_dir().map_err(HomeError::from)?;
        let (wanted, project, server_conf) = self.judged(project)?;
        let binary = acquire(&wanted, &self.sources(request.server_bin.as_deref()))
            .map_err(|error| HomeError::from(ServerError::from(error)))?;
        let options = Options {
            seed: request.seed.unwrap_or_else(new_seed),
            length: match (request.run_for, request.quick) {
                (Some(time), _) => Length::For(time),
                (None, true) => Length::Quick,
                (None, false) => Length::Default,
            },
            faults: request.faults.clone(),
            full: request.full,
            survive: request.survive.clone(),
            strict: request.strict,
            binary,
            upgrade_to: request.upgrade_to.as_deref().map(|text| self.server(text)).transpose()?,
            downgrade_to: request.downgrade_to.as_deref().map(|text| self.server(text)).transpose()?,
            server_conf,
            credentials: self.credentials(&project)?,
            runs: request.out.clone().unwrap_or_else(|| self.runs()),
            profiles: request.profiles.clone(),
        };
        Ok((options, project))
    }

    /// The server that is judged: of the version that `streamproof.toml` asks for, else of the one that the files were exported
    /// from, and with its `sync_interval`.
    fn judged(&self, project: &Project) -> Result<(Wanted, Project, Option<PathBuf>), ProofError> {
        let mut project = project.clone();
        let exported = project.settings.exported.clone();
        let version = exported.as_ref().and_then(|exported| exported.version.clone());
        let wanted = match project.settings.version.clone().or(version) {
            Some(version) => Wanted::exactly(version),
            None => Wanted::pinned(),
        };
        let written = self.folder.config_dir().join("jetstream.conf");
        let written = written.is_file().then_some(written);
        let Some(sync) = exported.and_then(|exported| exported.sync_interval) else {
            return Ok((wanted, project, written));
        };
        let said = project.server_conf.as_ref().map_or(Some(Sync::Default), |conf| conf.sync);
        if said.is_some_and(|said| said.same_as(sync)) {
            return Ok((wanted, project, written));
        }
        let text = match &project.server_conf {
            Some(conf) => conf.with_sync(sync).ok_or(ProofError::Sync { sync })?,
            None => {
                format!("jetstream {{\n    store_dir: $STREAMPROOF_STORE\n    sync_interval: {sync}\n}}\n")
            }
        };
        let file = self.folder.state_dir().join("exported.conf");
        std::fs::write(&file, &text).map_err(|source| {
            HomeError::from(FolderError::Io { action: "write", path: file.clone(), source })
        })?;
        project.server_conf = Some(ServerConf::read(Source::new(file.clone(), text), &mut Vec::new()));
        Ok((wanted, project, Some(file)))
    }

    /// Takes away what a killed run left mounted, or attached to a loop device, and says what. What cannot be taken away stays for
    /// the next one: no command fails for it.
    #[must_use]
    pub fn clean_stale_mounts(&self) -> Vec<PathBuf> {
        streamproof_trial::power_cut::clean_stale(&self.folder.state_dir()).unwrap_or_default()
    }

    /// Judges a stored run again: the path of its folder, its id, or the end of its id; `last` is the newest.
    ///
    /// # Errors
    /// [`ProofError::NoRun`], or a history that cannot be read.
    pub fn report(&self, run: &str) -> Result<Outcome, ProofError> {
        let none = || ProofError::NoRun { name: run.to_owned(), runs: self.runs() };
        let path = Path::new(run);
        if path.join("run.json").is_file() {
            return Ok(trial::judge_again(path)?);
        }
        let mut names: Vec<String> = std::fs::read_dir(self.runs())
            .map_err(|_| none())?
            .flatten()
            .filter(|entry| entry.path().join("run.json").is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| run == "last" || name == run || name.ends_with(run))
            .collect();
        // Ids begin with the time.
        names.sort();
        let name = names.pop().ok_or_else(none)?;
        Ok(trial::judge_again(&self.runs().join(name))?)
    }

    /// Judges a stored run of pictures again (`--live`, `--store`); `None` where that is no such run.
    ///
    /// # Errors
    /// [`ProofError::Trial`]: pictures that cannot be read.
    pub fn report_pictures(&self, run: &str) -> Result<Option<Proof>, ProofError> {
        let mut named: Vec<PathBuf> = std::fs::read_dir(self.runs())
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().join("run.json").is_file() || pictures::is_one(&entry.path()))
            .filter(|entry| {
                entry.file_name().to_str().is_some_and(|name| run == "last" || name.ends_with(run))
            })
            .map(|entry| entry.path())
            .collect();
        named.sort();
        let given = Some(PathBuf::from(run)).filter(|path| pictures::is_one(path));
        let Some(folder) = given.or(named.pop()).filter(|path| pictures::is_one(path)) else {
            return Ok(None);
        };
        let read = |source| TrialError::Io { action: "read the pictures in", path: folder.clone(), source };
        Ok(Some(pictures::judge(&folder).map_err(read)?))
    }

    /// Where runs are kept.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.folder.state_dir().join("runs")
    }

    /// A nats-server by version or by path.
    pub(crate) fn server(&self, text: &str) -> Result<Binary, ProofError> {
        let found = match text.trim_start_matches('v').parse::<Version>() {
            Ok(version) => acquire(&Wanted::exactly(version), &self.sources(None)),
            Err(_) if Path::new(text).is_file() => {
                acquire(&Wanted::pinned(), &self.sources(Some(Path::new(text))))
            }
            Err(_) => return Err(ProofError::NoServer(text.to_owned())),
        };
        Ok(found.map_err(|error| HomeError::from(ServerError::from(error)))?)
    }
}

/// A seed that is short enough to be typed again.
fn new_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() % 1_000_000_000
}
