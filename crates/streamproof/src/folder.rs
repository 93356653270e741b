//! A project on the disk: the folder with a `nats-config/`, what it is called, and where its things live.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use streamproof_model::failure::{Code, Failure};
use streamproof_model::project::Unread;
use thiserror::Error;

/// The folder of the files that people write.
pub const CONFIG_DIR: &str = "nats-config";
/// The folder of everything that streamproof writes.
pub const STATE_DIR: &str = ".streamproof";

/// Files of `nats-config` are read whole; one beyond this size is not a configuration.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A folder with a `nats-config/` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    root: PathBuf,
    id: String,
}

/// Why a project's folder can't be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FolderError {
    /// No `nats-config/` where one was named, or from here upwards.
    #[error("no {CONFIG_DIR}/ in {}{}", .from.display(), if *.searched { " or any folder above it" } else { "" })]
    NoProject {
        /// Where the search began.
        from: PathBuf,
        /// Whether the folders above were searched too.
        searched: bool,
    },
    /// A file or folder that can't be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl Failure for FolderError {
    fn code(&self) -> Code {
        match self {
            FolderError::NoProject { .. } => Code::NoProject,
            FolderError::Io { source, .. } => io_code(source),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            FolderError::NoProject { .. } => Some(
                "cargo xtask init DIR   makes one to start from\n--project DIR          names another folder"
                    .into(),
            ),
            FolderError::Io { source, path, .. } => match io_code(source) {
                Code::Permission => Some(format!("see who owns it: ls -ld {}", path.display())),
                Code::DiskFull => Some("free some space, then run the same command again".into()),
                _ => None,
            },
        }
    }
}

/// The name for a failure of the file system.
pub(crate) fn io_code(error: &std::io::Error) -> Code {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Code::Permission,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    }
}

impl Folder {
    /// The nearest folder with a `nats-config/`, from `start` upwards.
    ///
    /// # Errors
    /// [`FolderError::NoProject`] where there is none.
    pub fn find(start: &Path) -> Result<Self, FolderError> {
        let start = canonical(start)?;
        match start.ancestors().find(|dir| dir.join(CONFIG_DIR).is_dir()) {
            Some(root) => Ok(Self::of(root.to_owned())),
            None => Err(FolderError::NoProject { from: start, searched: true }),
        }
    }

    /// This very folder.
    ///
    /// # Errors
    /// [`FolderError::NoProject`] where it has no `nats-config/`.
    pub fn at(root: &Path) -> Result<Self, FolderError> {
        let none = || FolderError::NoProject { from: root.to_owned(), searched: false };
        let root = canonical(root).map_err(|_| none())?;
        if root.join(CONFIG_DIR).is_dir() { Ok(Self::of(root)) } else { Err(none()) }
    }

    fn of(root: PathBuf) -> Self {
        // Two checkouts never collide: the id is of the path, not of the name.
        let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
        let id = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
        Self { root, id }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Ten hex digits of the folder's path: the label of its containers, the tag of its servers.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `nats-config/`
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        self.root.join(CONFIG_DIR)
    }

    /// `.streamproof/`
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.root.join(STATE_DIR)
    }

    /// `.streamproof/`, made if need be, with a `.gitignore` of its own so that data is never committed.
    ///
    /// # Errors
    /// [`FolderError::Io`] where it can't be written.
    pub fn make_state_dir(&self) -> Result<PathBuf, FolderError> {
        let dir = self.state_dir();
        std::fs::create_dir_all(&dir).map_err(|source| io("create", &dir, source))?;
        let ignore = dir.join(".gitignore");
        if !ignore.exists() {
            std::fs::write(&ignore, "*\n").map_err(|source| io("write", &ignore, source))?;
        }
        Ok(dir)
    }

    /// `.streamproof/runs/`
    #[must_use]
    pub fn runs_dir(&self) -> PathBuf {
        self.state_dir().join("runs")
    }

    /// Every file of `nats-config/`, by its path below it (`streams/A.json`), in order; beside them what could not be read.
    ///
    /// # Errors
    /// [`FolderError::Io`] where the folder itself can't be read.
    pub fn files(&self) -> Result<Files, FolderError> {
        let dir = self.config_dir();
        let mut files = Files::default();
        let entries = std::fs::read_dir(&dir).map_err(|source| io("read", &dir, source))?;
        collect(entries, Path::new(""), &mut vec![canonical(&dir)?], &mut files);
        files.texts.sort();
        files.unread.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }
}

/// What is in a `nats-config/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Names, from the folder on, and texts.
    pub texts: Vec<(PathBuf, String)>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// `above` are the folders that it is in, as they are without links.
fn collect(entries: std::fs::ReadDir, name: &Path, above: &mut Vec<PathBuf>, files: &mut Files) {
    for entry in entries {
        let read = entry.map_err(|source| unread(name, &source)).and_then(|entry| {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                return Ok(());
            }
            read(&entry.path(), name.join(entry.file_name()), above, files)
        });
        files.unread.extend(read.err());
    }
}

fn read(path: &Path, name: PathBuf, above: &mut Vec<PathBuf>, files: &mut Files) -> Result<(), Unread> {
    let because = |why: String, help: String| Unread { name: name.clone(), why, help };
    let remove = || format!("rm {CONFIG_DIR}/{}", name.display());
    let about = match std::fs::metadata(path) {
        Err(source) if source.kind() == std::io::ErrorKind::NotFound && path.is_symlink() => {
            return Err(because("is a link that leads nowhere".to_owned(), remove()));
        }
        other => other.map_err(|source| unread(&name, &source))?,
    };
    if about.is_dir() {
        // A loop of links would be walked until the system refuses, and more than one of them nearly for ever.
        let real = std::fs::canonicalize(path).map_err(|source| unread(&name, &source))?;
        if above.contains(&real) {
            return Err(because("is a link to a folder that it stands in".to_owned(), remove()));
        }
        let is_file =
            |name: &Path| name.extension().is_some_and(|end| end == "json" || end == "conf" || end == "toml");
        if is_file(&name) {
            let help = format!("put a file in its place: rm -r {CONFIG_DIR}/{}", name.display());
            return Err(because("is a folder, and a file is expected".to_owned(), help));
        }
        let entries = std::fs::read_dir(path).map_err(|source| unread(&name, &source))?;
        above.push(real);
        collect(entries, &name, above, files);
        above.pop();
    } else if !about.is_file() {
        // It would only be waited for.
        return Err(because("is neither a file nor a folder".to_owned(), remove()));
    } else if about.len() > MAX_FILE_BYTES {
        let why = format!("has {} bytes; a configuration has at most {MAX_FILE_BYTES}", about.len());
        return Err(because(why, "put large files elsewhere".to_owned()));
    } else {
        let bytes = std::fs::read(path).map_err(|source| unread(&name, &source))?;
        files.texts.push((name, String::from_utf8_lossy(&bytes).into_owned()));
    }
    Ok(())
}

fn unread(name: &Path, source: &std::io::Error) -> Unread {
    let help = format!("see who may read it: ls -ld {CONFIG_DIR}/{}", name.display());
    Unread { name: name.to_owned(), why: format!("cannot be read: {source}"), help }
}

fn canonical(path: &Path) -> Result<PathBuf, FolderError> {
    std::fs::canonicalize(path).map_err(|source| io("find", path, source))
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> FolderError {
    FolderError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_folder_is_found_from_below() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/nats-config/streams")).unwrap();
        std::fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        let found = Folder::find(&dir.path().join("a/b/c")).unwrap();
        assert_eq!(found, Folder::at(&dir.path().join("a")).unwrap());
        assert_eq!(found.id().len(), 10);
        assert!(matches!(Folder::at(&dir.path().join("a/b")), Err(FolderError::NoProject { .. })));
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_file_is_said_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let streams = dir.path().join("nats-config/streams");
        std::fs::create_dir_all(&streams).unwrap();
        use std::os::unix::fs::symlink;
        symlink("/nowhere/at/all", streams.join("A.json")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(streams.join("B.json")).unwrap();
        std::fs::create_dir(streams.join("C.json")).unwrap();
        // Three links in a circle each: walked to the end they would be millions of files.
        for name in ["x", "y", "z"] {
            symlink("..", streams.join(name)).unwrap();
        }
        symlink("D.json", streams.join("D.json")).unwrap();
        std::fs::write(streams.join("good.json"), "{}").unwrap();
        let files = Folder::at(dir.path()).unwrap().files().unwrap();
        let said: Vec<String> =
            files.unread.iter().map(|u| format!("{} {}", u.name.display(), u.why)).collect();
        assert_eq!(said.len(), 7, "{said:#?}");
        assert_eq!(said[0], "streams/A.json is a link that leads nowhere");
        assert_eq!(said[1], "streams/B.json is neither a file nor a folder");
        assert_eq!(said[2], "streams/C.json is a folder, and a file is expected");
        assert!(said[3].starts_with("streams/D.json cannot be read: "), "{}", said[3]);
        for said in &said[4..] {
            assert!(said.ends_with(" is a link to a folder that it stands in"), "{said}");
        }
        // What stands beside them is read all the same.
        assert_eq!(files.texts, [(PathBuf::from("streams/good.json"), "{}".to_owned())]);
    }

    #[test]
    fn files_are_named_from_the_folder_on() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("nats-config/streams")).unwrap();
        std::fs::write(dir.path().join("nats-config/streams/A.json"), "{}").unwrap();
        std::fs::write(dir.path().join("nats-config/.hidden"), "x").unwrap();
        let files = Folder::at(dir.path()).unwrap().files().unwrap();
        assert_eq!(files.texts, [(PathBuf::from("streams/A.json"), "{}".to_owned())]);
    }
}
