//! The cache: `<version>/nats-server` with a note of its checksum and origin beside it. Both are looked at before each use.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use streamproof_model::version::Version;

use super::{Binary, Refusal, Wanted, sha256};
use crate::disk::{self, DiskError, Doing};
use crate::environment::Sources;
use crate::pins::{self, Source, Target};

/// What was known of a binary when it was put there.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    version: Version,
    origin: Source,
    target: String,
    sha256: String,
}

/// Where the cache keeps a binary. What runs here lies where the design says; other targets' have a folder each.
pub(super) fn place(cache: &Path, version: &Version, target: Target) -> PathBuf {
    let folder = cache.join(version.to_string());
    let folder = if target == Target::host() { folder } else { folder.join(target.to_string()) };
    folder.join(target.binary_name())
}

pub(super) fn find(wanted: &Wanted, sources: &Sources, refused: &mut Vec<Refusal>) -> Option<Binary> {
    for cache in &sources.caches {
        match look(cache, wanted) {
            Ok(found) => return Some(found),
            Err(Miss::Absent) => {}
            Err(Miss::Unusable { reason, mismatch }) => {
                refused.push(Refusal { source: Source::Cache, reason, mismatch });
            }
        }
    }
    None
}

/// Puts a checked binary into the cache, in one step that either happens or does not, and gives it back.
pub(super) fn put(cache: &Path, partial: &Path, binary: Binary) -> Result<Binary, DiskError> {
    let place = place(cache, &binary.version, binary.target);
    let folder = place.parent().unwrap_or(cache);
    std::fs::create_dir_all(folder).doing("create", folder)?;
    let note = Note {
        version: binary.version.clone(),
        origin: binary.origin,
        target: binary.target.to_string(),
        sha256: binary.sha256.clone(),
    };
    let note =
        serde_json::to_vec_pretty(&note).map_err(std::io::Error::other).doing("write", &note_of(&place))?;
    // Binary first: a note without its binary, or with another one, is a miss; the next fetch mends it.
    std::fs::rename(partial, &place).doing("write", &place)?;
    disk::write_whole(&note_of(&place), &note)?;
    let path = std::path::absolute(&place).doing("find", &place)?;
    Ok(Binary { path, ..binary })
}

enum Miss {
    Absent,
    Unusable { reason: String, mismatch: bool },
}

fn note_of(place: &Path) -> PathBuf {
    place.with_extension("json")
}

fn look(cache: &Path, wanted: &Wanted) -> Result<Binary, Miss> {
    let unusable = |reason: String| Miss::Unusable { reason, mismatch: false };
    let place = place(cache, &wanted.version, wanted.target);
    if !place.is_file() {
        return Err(Miss::Absent);
    }
    let note = std::fs::read(note_of(&place)).map_err(|_| {
        unusable(format!("{} has no note of its checksum: its fetching was cut short", place.display()))
    })?;
    let note: Note = serde_json::from_slice(&note)
        .map_err(|error| unusable(format!("{}: {error}", note_of(&place).display())))?;
    let from_there = wanted.only.is_none_or(|only| only == note.origin || only == Source::Cache);
    if !from_there {
        return Err(unusable(format!("{} came from {}", place.display(), note.origin)));
    }
    let sum = sha256(&place).map_err(|error| unusable(error.to_string()))?;
    let pinned = pins::find(&wanted.version, wanted.target, note.origin).and_then(|pin| pin.binary);
    for expected in std::iter::once(note.sha256.as_str()).chain(pinned) {
        if sum != expected {
            let reason = format!("{} has sha256 {sum}, not {expected}", place.display());
            return Err(Miss::Unusable { reason, mismatch: true });
        }
    }
    let path = std::path::absolute(&place).map_err(|error| unusable(error.to_string()))?;
    Ok(Binary {
        path,
        version: note.version,
        source: Source::Cache,
        origin: note.origin,
        sha256: sum,
        target: wanted.target,
        refused: Vec::new(),
    })
}
