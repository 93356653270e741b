//! The proof in one call, for a project's own tests.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use streamproof_checker::{FaultVerdict, Overall, Verdict};
use streamproof_model::finding::{Invalid, Severity};
use streamproof_model::op::FaultKind;
use streamproof_trial::report::terminal::{Screen, render};
use streamproof_trial::trial::Outcome;

use crate::folder::CONFIG_DIR;
use crate::home::{Home, HomeError};
use crate::proof::{ProofError, Request};

/// How wide the text of a verdict is.
const WIDTH: usize = 100;

/// What a project's streams survived.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The verdict, with every stream under every fault and every finding.
    pub verdict: Verdict,
    /// The run's folder: report.html, the histories, and what else there is.
    pub folder: PathBuf,
    text: String,
}

impl Checked {
    /// Whether nothing was lost that must survive: *pass*, or *accepted* by the project's own `survive`. *Unprotected* is not: it
    /// asks the owner to say something.
    #[must_use]
    pub fn survived(&self) -> bool {
        matches!(self.verdict.verdict, Overall::Pass | Overall::Accepted)
    }

    /// A stream under a fault; `None` where that was not run.
    #[must_use]
    pub fn of(&self, stream: &str, fault: FaultKind) -> Option<&FaultVerdict> {
        self.verdict.faults.iter().find(|cell| cell.target == stream && cell.fault == fault.name())
    }
}

/// The whole verdict in words, as the command line tells it: for the message of an assertion.
impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Proves what of a project's streams survives, on scratch servers: a quick run with the default faults.
///
/// `config` is the `nats-config` folder (a test's current folder is its package's), or the folder that holds it. The run is kept in
/// `.streamproof/runs` beside it.
///
/// ```
/// # let project = tempfile::tempdir()?;
/// # let config = project.path().join("nats-config");
/// # std::fs::create_dir_all(config.join("streams"))?;
/// # std::fs::write(config.join("streams/ORDERS.json"), r#"{ "name": "ORDERS", "subjects": ["orders.*"] }"#)?;
/// # std::fs::write(config.join("streamproof.toml"), "survive = [\"restart\", \"process-crash\"]\n")?;
/// let checked = streamproof::restart_check(&config)?;
/// assert!(checked.survived(), "{checked}");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ProofError`]: no such folder, files that are not valid, or no server. What was lost is no error but a verdict.
pub fn restart_check(config: impl AsRef<Path>) -> Result<Checked, ProofError> {
    restart_check_with(config, &Request { quick: true, ..Request::default() })
}

/// As [`restart_check`], with faults, a seed, a length or a server of one's own.
///
/// # Errors
/// As [`restart_check`].
pub fn restart_check_with(config: impl AsRef<Path>, request: &Request) -> Result<Checked, ProofError> {
    let config = config.as_ref();
    let root = match std::fs::canonicalize(config) {
        Ok(path) if path.file_name().is_some_and(|name| name == CONFIG_DIR) => {
            path.parent().map_or(path.clone(), Path::to_owned)
        }
        Ok(path) => path,
        // What is not there is told by its own name.
        Err(_) => config.to_owned(),
    };
    let home = Home::open(Some(&root), &root)?;
    let project = home.read(config, None)?;
    if project.findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(HomeError::from(Invalid { findings: project.findings }).into());
    }
    let outcome: Outcome = home.restart_check(&project, request, &AtomicBool::new(false), |_| {})?;
    let text = render(&outcome.report, Screen { width: Some(WIDTH), colour: false });
    Ok(Checked { verdict: outcome.verdict, folder: outcome.folder, text })
}
