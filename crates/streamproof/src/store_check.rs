//! `restart-check --store`: a copy of a real store, restarted, upgraded or downgraded, and compared. The original is only read.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use streamproof_model::op::{FaultKind, Level};
use streamproof_model::project::Project;
use streamproof_server::{ServerError, Wanted, acquire};
use streamproof_trial::budget;
use streamproof_trial::picture::proof::Proof;
use streamproof_trial::report::repeat;
use streamproof_trial::store::{self, Doing, Options, Store, StoreError};

use crate::home::{Home, HomeError};
use crate::proof::ProofError;

/// What `restart-check --store` is asked.
#[derive(Debug, Clone, Default)]
pub struct StoreRequest {
    /// The store.
    pub store: PathBuf,
    /// The nats-server that it is of; without one, that of `streamproof.toml`, or the pinned one.
    pub server_bin: Option<PathBuf>,
    /// Upgrade to this: a version, or the path of a nats-server.
    pub upgrade_to: Option<String>,
    /// Downgrade to this: a version, or the path of a nats-server.
    pub downgrade_to: Option<String>,
    /// What else to do first.
    pub faults: Vec<FaultKind>,
    /// What must survive, in place of what `streamproof.toml` says.
    pub survive: Option<BTreeSet<Level>>,
    /// *Unprotected* and *not proven* fail too.
    pub strict: bool,
    /// The folder that the run's folder, and in it the copy, is made in, instead of `.streamproof/runs`.
    pub out: Option<PathBuf>,
}

impl StoreRequest {
    /// The command line that asks for the same.
    fn repeat(&self) -> String {
        let mut words = vec!["--store".to_owned(), self.store.display().to_string()];
        let server = self.server_bin.as_ref().map(|path| path.display().to_string());
        let flags = [
            ("--server-bin", &server),
            ("--upgrade-to", &self.upgrade_to),
            ("--downgrade-to", &self.downgrade_to),
        ];
        for (flag, value) in flags {
            words.extend(value.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        repeat::pictures(&words, &self.faults, self.survive.as_ref(), self.strict)
    }
}

impl Home {
    /// Copies a store, starts its server on the copy, takes a full picture, does what was asked, and compares.
    ///
    /// # Errors
    /// [`ProofError`]. What was lost is no error but a verdict.
    pub fn store_check(
        &self,
        project: &Project,
        request: &StoreRequest,
        cancel: &AtomicBool,
        progress: impl FnMut(Doing),
    ) -> Result<Proof, ProofError> {
        let store = Store::look(&request.store)?;
        let ours = std::fs::canonicalize(self.node.store_dir().join("jetstream")).ok();
        if ours.as_ref() == Some(&store.root)
            && let Some(running) = self.node.running().map_err(HomeError::from)?
        {
            let by = format!("this project's own server at {}", running.url());
            return Err(StoreError::InUse { store: store.root, by }.into());
        }
        self.folder.make_state_dir().map_err(HomeError::from)?;
        let wanted = match &project.settings.version {
            Some(version) => Wanted::exactly(version.clone()),
            None => Wanted::pinned(),
        };
        let binary = acquire(&wanted, &self.sources(request.server_bin.as_deref()))
            .map_err(|error| HomeError::from(ServerError::from(error)))?;
        let options = Options {
            store,
            binary,
            upgrade_to: request.upgrade_to.as_deref().map(|text| self.server(text)).transpose()?,
            downgrade_to: request.downgrade_to.as_deref().map(|text| self.server(text)).transpose()?,
            faults: &request.faults,
            repeat: request.repeat(),
            context: budget::context(project, request.survive.as_ref(), request.strict),
            runs: request.out.clone().unwrap_or_else(|| self.runs()),
            cancel,
        };
        Ok(store::check(&options, progress)?)
    }
}
