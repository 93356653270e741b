//! Trees to and from plain directories. With `explore`, the only part of the core that touches files.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::error::CrashFsError;
use crate::log::Log;
use crate::tree::{Node, Tree};

/// Writes `tree` into the directory `to`, which is made anew: what was there is gone.
///
/// # Errors
/// Where the directory cannot be written.
pub fn materialise(log: &Log, tree: &Tree, to: &Path) -> Result<(), CrashFsError> {
    match fs::remove_dir_all(to) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(CrashFsError::io(to)(e)),
        _ => {}
    }
    fs::create_dir_all(to).map_err(CrashFsError::io(to))?;
    for (name, node) in tree.nodes() {
        let path = to.join(name);
        match node {
            Node::Dir { mode, .. } => {
                // Whatever the server set: we must be able to go in.
                fs::DirBuilder::new().mode(mode | 0o700).create(&path).map_err(CrashFsError::io(&path))?;
            }
            Node::File { ino, content, mode, .. } => {
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(mode | 0o600)
                    .open(&path)
                    .map_err(CrashFsError::io(&path))?;
                match content.extents() {
                    [only] if only.off == 0 && only.len == content.size() => {
                        file.write_all(log.bytes(*ino, only.src, only.len))
                            .map_err(CrashFsError::io(&path))?;
                    }
                    extents => {
                        for e in extents {
                            file.write_all_at(log.bytes(*ino, e.src, e.len), e.off)
                                .map_err(CrashFsError::io(&path))?;
                        }
                        file.set_len(content.size()).map_err(CrashFsError::io(&path))?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// A log that begins with what is in the directory `from`; special files and symbolic links are passed over.
///
/// # Errors
/// Where the directory cannot be read, or a name in it is not UTF-8.
pub fn load(from: &Path) -> Result<Log, CrashFsError> {
    let mut log = Log::new();
    let meta = fs::metadata(from).map_err(CrashFsError::io(from))?;
    log.base_dir("", meta.mode() & 0o7777, (meta.uid(), meta.gid()));
    load_into(&mut log, from, "")?;
    Ok(log)
}

fn load_into(log: &mut Log, dir: &Path, prefix: &str) -> Result<(), CrashFsError> {
    let mut entries: Vec<_> =
        fs::read_dir(dir).and_then(Iterator::collect::<Result<_, _>>).map_err(CrashFsError::io(dir))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let not_utf8 = || CrashFsError::io(&path)(std::io::Error::other("the name is not UTF-8"));
        let file_name = entry.file_name();
        let name = file_name.to_str().ok_or_else(not_utf8)?;
        let below = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        let meta = entry.metadata().map_err(CrashFsError::io(&path))?;
        let (mode, owner) = (meta.mode() & 0o7777, (meta.uid(), meta.gid()));
        if meta.is_dir() {
            log.base_dir(&below, mode, owner);
            load_into(log, &path, &below)?;
        } else if meta.is_file() {
            log.base_file(&below, &fs::read(&path).map_err(CrashFsError::io(&path))?, mode, owner);
        }
    }
    Ok(())
}
