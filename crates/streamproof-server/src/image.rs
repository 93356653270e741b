//! The image that a container is made of: the official one, where it is here or can be pulled; else one that is built on the spot
//! around a verified nats-server, so that Docker works with no registry at all.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use streamproof_model::version::Version;

use crate::acquire::{self, AcquireError, Binary, Refusal, Wanted, version_said};
use crate::container::docker;
use crate::disk::{self, Doing};
use crate::environment::Sources;
use crate::error::ServerError;
use crate::pins::{PINNED, Source};
use crate::tool::{Tool, ToolError};

/// Images are shared by all projects of a user: the label says only that they are ours.
const LABEL: &str = "dev.streamproof.image";
const NAME: &str = "streamproof-nats";

/// How long Docker may take for what is done at once.
const QUICK_BOUND: Duration = Duration::from_secs(30);
/// How long the official image may take to come.
const PULL_BOUND: Duration = Duration::from_secs(300);
/// How long a registry may take to answer at all: one on a slow line needs two seconds, and a dead network is not to be waited for.
const ANSWER_BOUND: Duration = Duration::from_secs(8);
/// How long a registry that could not be pulled from is left alone. What is built instead holds the same server.
const LEFT_ALONE: Duration = Duration::from_secs(24 * 60 * 60);

/// The official image, here and looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Official {
    /// As Docker is asked for it: `nats:2.15.1`.
    pub reference: String,
    /// Docker's own id of it.
    pub id: String,
    /// The digest that its registry knows it by; none where it did not come from one.
    pub digest: Option<String>,
    /// Whether this digest is the one that was pinned.
    pub pinned: bool,
}

/// Why it is not the official image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotOfficial {
    /// The image.
    pub reference: String,
    /// Why not.
    pub reason: String,
    /// Whether that was found out just now, or is remembered from an earlier start.
    pub remembered: bool,
}

/// What a container is to be made of.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The nats-server: what the image is built around, or, of the same version, what the configuration is tried with.
    pub binary: Binary,
    /// The official image.
    pub official: Result<Official, NotOfficial>,
}

/// The official image where it can be had, else a nats-server to build one around. `afresh` asks a registry again that was found
/// to give nothing less than a day ago.
///
/// # Errors
/// As [`acquire::acquire`].
pub fn choose(wanted: &Wanted, sources: &Sources, afresh: bool) -> Result<Chosen, AcquireError> {
    let exactly = Wanted::exactly(wanted.version.clone()).on(wanted.target);
    let official = official(&wanted.version, sources, afresh);
    if sources.interrupt.is_set() {
        return Err(AcquireError::Interrupted);
    }
    let official = match official {
        Ok(image) => {
            // What ran before in the container is the image; out of it comes what only tries the configuration.
            let binary = match acquire::cached(&exactly, sources) {
                Some(binary) => Ok(binary),
                None => acquire::acquire(&exactly.from(Source::Image), sources),
            };
            match binary {
                Ok(binary) => return Ok(Chosen { binary, official: Ok(image) }),
                Err(AcquireError::Nowhere { mut refused, .. }) => Err(NotOfficial {
                    reference: image.reference,
                    reason: refused.pop().map_or_else(String::new, |refusal| refusal.reason),
                    remembered: false,
                }),
                Err(error) => return Err(error),
            }
        }
        Err(not) => Err(not),
    };
    let mut binary = acquire::acquire(wanted, sources)?;
    if let Err(NotOfficial { reference, reason, .. }) = &official {
        let reason = format!("{reference}: {reason}");
        binary.refused.insert(0, Refusal { source: Source::Image, reason, mismatch: false });
    }
    Ok(Chosen { binary, official })
}

/// The official image of a version: pulled unless it is here; of the pinned digest, where that is known; and of that version, as
/// the nats-server in it says itself.
///
/// # Errors
/// Why it is not to be used. That a registry gave nothing is remembered for a day.
pub fn official(version: &Version, sources: &Sources, afresh: bool) -> Result<Official, NotOfficial> {
    let pin = sources.image_digest.as_deref().filter(|_| *version == PINNED);
    let reference = match pin {
        Some(digest) => format!("{}@{digest}", sources.image_repository),
        None => format!("{}:{version}", sources.image_repository),
    };
    let refuse =
        |reason: String, remembered| NotOfficial { reference: reference.clone(), reason, remembered };
    let mut note = Note::of(&reference, sources);
    let there = match look(&reference) {
        Ok(Some(there)) => there,
        Ok(None) => {
            pull(&reference, sources, afresh, &mut note).map_err(|(reason, old)| refuse(reason, old))?;
            match look(&reference) {
                Ok(Some(there)) => there,
                Ok(None) => return Err(refuse("it was pulled, and is not here".to_owned(), false)),
                Err(error) => return Err(refuse(said_last(&error), false)),
            }
        }
        Err(error) => return Err(refuse(said_last(&error), false)),
    };
    let version_in_it = match &note.looked {
        Some(looked) if looked.id == there.id => looked.version.clone(),
        _ => {
            // What went wrong with Docker now need not go wrong the next time: only an answer is kept.
            let found = ask(&there.id).map_err(|reason| refuse(reason, false))?;
            note.looked = Some(Looked { id: there.id.clone(), version: found.clone() });
            note.write();
            found
        }
    };
    if version_in_it != *version {
        return Err(refuse(format!("the nats-server in it is {version_in_it}, not {version}"), false));
    }
    Ok(Official { reference, id: there.id, digest: there.digest, pinned: pin.is_some() })
}

/// The name of the image around a nats-server.
pub(crate) fn name(binary: &Binary) -> String {
    format!("{NAME}:{}-{}", binary.version, &binary.sha256[..12])
}

/// Builds the image around a nats-server, unless it is here.
pub(crate) fn build(binary: &Binary) -> Result<(), ServerError> {
    let tag = name(binary);
    if Tool::new("docker").args(["image", "inspect", &tag]).bound(QUICK_BOUND).run().is_ok() {
        return Ok(());
    }
    let folder = tempfile::tempdir().doing("write in", Path::new("the folder for temporary files"))?;
    let program = folder.path().join("nats-server");
    std::fs::copy(&binary.path, &program).doing("copy", &binary.path)?;
    let recipe = folder.path().join("Dockerfile");
    let text = format!(
        "FROM scratch\nCOPY nats-server /nats-server\nLABEL {LABEL}={}\nENTRYPOINT [\"/nats-server\"]\n",
        binary.version
    );
    std::fs::write(&recipe, text).doing("write", &recipe)?;
    let folder = folder.path().to_string_lossy().into_owned();
    docker(["build", "--quiet", "--tag", &tag, &folder]).map(drop)
}

/// The images that streamproof built and that no container uses.
#[must_use]
pub fn unused() -> Vec<String> {
    let filter = format!("label={LABEL}");
    let said = Tool::new("docker")
        .args(["image", "ls", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"])
        .bound(QUICK_BOUND)
        .run();
    let all: Vec<String> =
        said.map(|said| said.text().lines().map(str::to_owned).collect()).unwrap_or_default();
    let used = |image: &String| {
        let users = Tool::new("docker")
            .args(["ps", "--all", "--quiet", "--filter", &format!("ancestor={image}")])
            .bound(QUICK_BOUND)
            .run();
        users.map_or(true, |said| !said.text().is_empty())
    };
    all.into_iter().filter(|image| !used(image)).collect()
}

/// An image that is here.
struct There {
    id: String,
    digest: Option<String>,
}

fn look(reference: &str) -> Result<Option<There>, ToolError> {
    let format = "{{.Id}}{{range .RepoDigests}} {{.}}{{end}}";
    let asked = Tool::new("docker")
        .args(["image", "inspect", "--format", format, reference])
        .bound(QUICK_BOUND)
        .run();
    match asked {
        Ok(said) => {
            let text = said.text();
            let mut words = text.split_whitespace();
            let id = words.next().unwrap_or_default().to_owned();
            // The same image can have come from several registries.
            let repository = reference.split('@').next().unwrap_or(reference);
            let repository = repository
                .rsplit_once(':')
                .filter(|(_, tag)| !tag.contains('/'))
                .map_or(repository, |(name, _)| name);
            let of = |known: &str| known.strip_prefix(repository)?.strip_prefix('@').map(str::to_owned);
            let digest = words.find_map(of);
            Ok(Some(There { id, digest }))
        }
        Err(ToolError::Failed { said, .. }) if said.to_lowercase().contains("no such image") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Pulls it. An error says why not, and whether that is remembered.
fn pull(reference: &str, sources: &Sources, afresh: bool, note: &mut Note) -> Result<(), (String, bool)> {
    if sources.offline {
        return Err(("it is not here, and no network is to be asked".to_owned(), false));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if let Some(failed) = note.failed.as_ref().filter(|_| !afresh)
        // A clock that was set back does not make it wait longer.
        && let Some(ago) = now.checked_sub(Duration::from_secs(failed.at_unix_s))
        && ago < LEFT_ALONE
    {
        return Err((failed.reason.clone(), true));
    }
    let pulled = Tool::new("docker")
        .args(["pull", reference])
        .until(&sources.interrupt)
        .first_word_within(ANSWER_BOUND)
        .bound(PULL_BOUND)
        .run();
    note.failed = match pulled {
        Ok(_) => None,
        // The user had no time for it: that says nothing of the registry.
        Err(error) if sources.interrupt.is_set() => return Err((said_last(&error), false)),
        Err(error) => Some(Failed { at_unix_s: now.as_secs(), reason: said_last(&error) }),
    };
    note.write();
    note.failed.as_ref().map_or(Ok(()), |failed| Err((failed.reason.clone(), false)))
}

/// The version that the nats-server in an image says it is, or what went wrong.
fn ask(id: &str) -> Result<Version, String> {
    let asked = Tool::new("docker")
        .args(["run", "--rm", "--pull", "never", "--network", "none", id, "--version"])
        .bound(QUICK_BOUND)
        .apart()
        .run();
    version_said(&asked.map_err(|error| said_last(&error))?.text())
}

/// Docker's last line has the reason; before it comes what it was doing.
fn said_last(error: &ToolError) -> String {
    match error {
        ToolError::Failed { said, .. } => said.lines().last().unwrap_or_default().to_owned(),
        other => other.to_string(),
    }
}

/// What is known of an image by name, so that nothing of it is asked twice. It is for all projects of a user, beside their
/// nats-servers; where it is lost it is found out again.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// Where it is kept; nowhere, where there is no folder for nats-servers.
    #[serde(skip)]
    path: Option<PathBuf>,
    failed: Option<Failed>,
    looked: Option<Looked>,
}

/// A registry that gave nothing.
#[derive(Debug, Serialize, Deserialize)]
struct Failed {
    at_unix_s: u64,
    reason: String,
}

/// What the nats-server in an image said of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Looked {
    id: String,
    version: Version,
}

impl Note {
    fn of(reference: &str, sources: &Sources) -> Note {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
        let name: String = reference.chars().map(plain).collect();
        let path = sources.caches.last().map(|cache| cache.join("images").join(format!("{name}.json")));
        let text = path.as_ref().and_then(|path| std::fs::read(path).ok());
        let note: Option<Note> = text.and_then(|text| serde_json::from_slice(&text).ok());
        Note { path, ..note.unwrap_or_default() }
    }

    /// What cannot be written is asked again the next time.
    fn write(&self) {
        let Some(path) = &self.path else { return };
        let written = || -> Result<(), disk::DiskError> {
            let folder = path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder).doing("create", folder)?;
            let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::other);
            disk::write_whole(path, &text.doing("write", path)?)
        };
        if let Err(error) = written() {
            tracing::debug!(%error, "what is known of the image is not kept");
        }
    }
}
