//! A store that something else made, copied into a node's own, once: whole or not at all, the original untouched.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use streamproof_model::version::Version;

use crate::contents::Contents;
use crate::disk::{Doing, write_whole};
use crate::error::ServerError;
use crate::interrupt::Interrupt;
use crate::node::Node;
use crate::stores;

/// The note of an import: begun, and whether it was ended. What lies in [`STAGING`] is never used.
const NOTE: &str = "import.json";
/// Where the copy is made, beside the store, so that the last step is a rename.
const STAGING: &str = "data.importing";

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// From where.
    pub from: PathBuf,
    /// What is in it.
    pub contents: Contents,
    /// Whether that was done before, and nothing now.
    pub already: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    from: PathBuf,
    done: bool,
}

impl Node {
    /// The folder of an import that was begun and not ended. Until it is, the node has no store.
    #[must_use]
    pub fn unfinished_import(&self) -> Option<PathBuf> {
        self.import_note().filter(|note| !note.done).map(|note| note.from)
    }

    /// Whether there is a store in its folder.
    #[must_use]
    pub fn has_folder_store(&self) -> bool {
        !is_empty(&self.store_dir())
    }

    /// Whether this very folder was imported before.
    #[must_use]
    pub fn has_imported(&self, from: &Path) -> bool {
        let from = std::fs::canonicalize(from).unwrap_or_else(|_| from.to_owned());
        self.import_note().is_some_and(|note| note.done && note.from == from)
    }

    /// Copies a store into the node's own, which is empty, for a server of this version. The node does not run.
    ///
    /// # Errors
    /// [`ServerError::AlreadyExists`], [`ServerError::StoreInUse`], [`ServerError::StoreNewer`] or
    /// [`ServerError::NotAStore`] before anything is copied; what the file system refuses.
    pub fn import(
        &self,
        from: &Path,
        version: &Version,
        interrupt: &Interrupt,
    ) -> Result<Imported, ServerError> {
        let from = std::fs::canonicalize(from).doing("find", from)?;
        if self.has_imported(&from) {
            return Ok(Imported { contents: Contents::read(&self.store_dir())?, from, already: true });
        }
        let staging = self.folder().join(STAGING);
        // It was moved into its place, and only the note says otherwise: no server has run since, that comes after.
        let moved = self.unfinished_import().as_deref() == Some(&from) && !staging.exists();
        if !is_empty(&self.store_dir()) {
            if moved {
                self.note_import(&from, true)?;
                return Ok(Imported { contents: Contents::read(&self.store_dir())?, from, already: false });
            }
            let what = "a store, which an import would have to overwrite".to_owned();
            return Err(ServerError::AlreadyExists { path: self.store_dir(), what });
        }
        let contents = Contents::read(&from)?;
        if contents.is_newer_than(version) {
            let made_by = contents.written_by().unwrap_or_default();
            return Err(ServerError::StoreNewer { store: from, made_by, version: version.clone() });
        }
        stores::check_docker_too(&from)?;
        std::fs::create_dir_all(self.folder()).doing("create", self.folder())?;
        self.note_import(&from, false)?;
        if staging.exists() {
            std::fs::remove_dir_all(&staging).doing("remove", &staging)?;
        }
        copy(&from.join("jetstream"), &staging.join("jetstream"), interrupt)?;
        sync_folder(&staging)?;
        // A server that came up meanwhile has written to it: such a copy is of no moment in particular.
        stores::check_docker_too(&from)?;
        if Contents::read(&from)? != contents {
            return Err(ServerError::StoreInUse {
                store: from,
                by: "something that wrote to it while it was copied".to_owned(),
                help: "stop what writes to it, then run the same command again".to_owned(),
            });
        }
        let store = self.store_dir();
        if store.exists() {
            // It holds no file; was it not so after all, this would fail and remove none.
            remove_empty(&store)?;
        }
        std::fs::rename(&staging, &store).doing("write", &store)?;
        sync_folder(self.folder())?;
        self.note_import(&from, true)?;
        Ok(Imported { from, contents, already: false })
    }

    fn import_note(&self) -> Option<Note> {
        serde_json::from_slice(&std::fs::read(self.folder().join(NOTE)).ok()?).ok()
    }

    fn note_import(&self, from: &Path, done: bool) -> Result<(), ServerError> {
        let path = self.folder().join(NOTE);
        let note = serde_json::to_vec(&Note { from: from.to_owned(), done });
        let note = note.map_err(std::io::Error::other).doing("write", &path)?;
        Ok(write_whole(&path, &note)?)
    }
}

/// Whether there is no file in a folder, or below.
pub(crate) fn is_empty(folder: &Path) -> bool {
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.all(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_empty(&entry.path()))
}

fn remove_empty(folder: &Path) -> Result<(), ServerError> {
    for entry in std::fs::read_dir(folder).doing("read", folder)? {
        remove_empty(&entry.doing("read", folder)?.path())?;
    }
    Ok(std::fs::remove_dir(folder).doing("remove", folder)?)
}

/// Files and folders, each on the disk when this returns. A store has nothing else in it.
fn copy(from: &Path, to: &Path, interrupt: &Interrupt) -> Result<(), ServerError> {
    std::fs::create_dir_all(to).doing("create", to)?;
    for entry in std::fs::read_dir(from).doing("read", from)? {
        let entry = entry.doing("read", from)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if interrupt.is_set() {
            return Err(ServerError::Interrupted);
        }
        let kind = entry.file_type().doing("read", &source)?;
        if kind.is_dir() {
            copy(&source, &target, interrupt)?;
        } else if kind.is_file() {
            std::fs::copy(&source, &target).doing("copy", &source)?;
            let written = std::fs::File::open(&target).doing("open", &target)?;
            written.sync_all().doing("write", &target)?;
        } else {
            let reason = format!("{} is neither file nor folder", source.display());
            return Err(ServerError::NotAStore { path: from.to_owned(), reason });
        }
    }
    sync_folder(to)
}

/// The names in a folder, too, are only on the disk when it is told so.
fn sync_folder(folder: &Path) -> Result<(), ServerError> {
    #[cfg(unix)]
    std::fs::File::open(folder).and_then(|open| open.sync_all()).doing("write", folder)?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
