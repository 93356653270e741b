//! The folder of a run: what was run, every history, and what it came to; enough to judge it again later.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use streamproof_checker::Context;
use streamproof_model::op::FaultKind;

use crate::power_cut::tally::Tally;
use crate::report::Place;
use crate::report::power::PowerCut;
use crate::target::NotProven;

/// The format of [`Record`].
const FORMAT: u32 = 1;

/// What was run, as `run.json` in the folder of the run has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The format of this document.
    pub format: u32,
    /// The run's id.
    pub id: String,
    /// The seed that every case follows from.
    pub seed: u64,
    /// The nats-server.
    pub server: ServerRecord,
    /// The one that was upgraded to.
    pub upgrade_to: Option<ServerRecord>,
    /// The one that was downgraded to.
    pub downgrade_to: Option<ServerRecord>,
    /// The faults that were tried.
    pub faults: Vec<FaultKind>,
    /// How the histories are judged.
    pub context: Context,
    /// What was asked for and could not be run.
    pub missing: Vec<NotProven>,
    /// What nobody had asked for, and was not come to.
    #[serde(default)]
    pub untried: Vec<NotProven>,
    /// What its power cuts came to, beside the verdict.
    #[serde(default)]
    pub power_cuts: Tally,
    /// How many cases there are, beside the controls.
    pub cases: u32,
    /// The run reached its end; false where it was cut off.
    pub ended: bool,
    /// How long it took, in ms.
    pub took_ms: u64,
    /// The command that does it again.
    #[serde(default)]
    pub repeat: String,
    /// What was tried.
    #[serde(default)]
    pub place: Place,
}

/// A nats-server that a run used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// The version.
    pub version: String,
    /// Where it came from.
    pub source: String,
    /// Its sha256.
    pub sha256: String,
}

impl ServerRecord {
    /// Of this binary.
    #[must_use]
    pub fn of(binary: &streamproof_server::Binary) -> ServerRecord {
        ServerRecord {
            version: binary.version.to_string(),
            source: binary.source.to_string(),
            sha256: binary.sha256.clone(),
        }
    }
}

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// Makes the folder `id` below `runs`; an id that is taken gets a number.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(runs: &Path, id: &str) -> io::Result<(Archive, String)> {
        fs::create_dir_all(runs)?;
        let mut name = id.to_owned();
        for number in 2..1000 {
            match fs::create_dir(runs.join(&name)) {
                Ok(()) => return Ok((Archive { folder: runs.join(&name) }, name)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => name = format!("{id}-{number}"),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} and a thousand more", runs.join(id).display()),
        ))
    }

    /// An existing run's folder.
    #[must_use]
    pub fn open(folder: impl Into<PathBuf>) -> Archive {
        Archive { folder: folder.into() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The history of the controls.
    #[must_use]
    pub fn controls(&self) -> PathBuf {
        self.folder.join("controls.history")
    }

    /// The history of a case, from 1.
    #[must_use]
    pub fn history(&self, case: u32) -> PathBuf {
        self.folder.join(format!("{case:05}.history"))
    }

    /// What was done in a case, as it can be run again.
    #[must_use]
    pub fn case(&self, case: u32) -> PathBuf {
        self.folder.join(format!("{case:05}.case.json"))
    }

    /// The server's log of a case.
    #[must_use]
    pub fn log(&self, case: u32) -> PathBuf {
        self.folder.join(format!("{case:05}.server.log"))
    }

    /// What was read back from each crash state of a recorded case.
    #[must_use]
    pub fn states(&self, case: u32) -> PathBuf {
        self.folder.join(format!("{case:05}.states"))
    }

    /// A line for each of them: what a map of the recording is drawn from.
    #[must_use]
    pub fn states_index(&self, case: u32) -> PathBuf {
        self.folder.join(format!("{case:05}.states.json"))
    }

    /// Where the file systems of its power cuts are mounted.
    #[must_use]
    pub fn mountpoint(&self) -> PathBuf {
        self.folder.join("mount")
    }

    /// Writes what was run.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_record(&self, record: &Record) -> io::Result<()> {
        write_json(&self.folder.join("run.json"), record)
    }

    /// Writes what is known of power cuts, for the report.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_power(&self, power: &PowerCut) -> io::Result<()> {
        write_json(&self.folder.join("power.json"), power)
    }

    /// What is known of power cuts, if anything is.
    ///
    /// # Errors
    /// A file that this version cannot read.
    pub fn power(&self) -> io::Result<Option<PowerCut>> {
        match fs::read(self.folder.join("power.json")) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads what was run.
    ///
    /// # Errors
    /// No such file, or one that this version cannot read.
    pub fn record(&self) -> io::Result<Record> {
        let record: Record = serde_json::from_slice(&fs::read(self.folder.join("run.json"))?)?;
        if record.format == FORMAT {
            Ok(record)
        } else {
            let text = format!("run.json has format {}, this streamproof reads {FORMAT}", record.format);
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }
}

impl Record {
    /// The format that this version writes.
    pub const FORMAT: u32 = FORMAT;
}

/// Writes a document by way of a temporary file, so that no half of one is ever found.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    let half = path.with_extension("json.half");
    fs::write(&half, text)?;
    fs::rename(&half, path)
}
