//! `init`: a `nats-config/` to start from, in any folder.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;
use streamproof::folder::CONFIG_DIR;
use streamproof::model::failure::Code;

use crate::flags::{Global, InitFlags};
use crate::output::Done;
use crate::problem::Problem;

/// The files that the project itself ships, so that there is one set to keep.
const FILES: [(&str, &str); 4] = [
    ("jetstream.conf", include_str!("../../../nats-config/jetstream.conf")),
    ("streamproof.toml", include_str!("../../../nats-config/streamproof.toml")),
    ("streams/AnotherStream.json", include_str!("../../../nats-config/streams/AnotherStream.json")),
    (
        "consumers/AnotherStream/SomeConsumer.json",
        include_str!("../../../nats-config/consumers/AnotherStream/SomeConsumer.json"),
    ),
];

pub(crate) fn run(global: &Global, flags: &InitFlags) -> Result<Done, Problem> {
    let dir = folder(flags.dir.as_ref(), global.project.as_ref());
    let config = dir.join(CONFIG_DIR);
    if config.exists() {
        return Err(Problem::new(Code::AlreadyExists, format!("{} is there already", config.display()))
            .help("nothing was written; edit its files, or name another folder: cargo xtask init DIR"));
    }
    let failed = |path: &std::path::Path, error: &std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Code::Permission,
            std::io::ErrorKind::StorageFull => Code::DiskFull,
            _ => Code::Io,
        };
        Problem::new(code, format!("cannot write {}: {error}", path.display()))
    };
    // Whole or not at all: written beside, then renamed.
    let partial = dir.join(format!(".{CONFIG_DIR}.partial-{}", std::process::id()));
    let written = (|| -> Result<(), Problem> {
        for (name, text) in FILES {
            let path = partial.join(name);
            let parent = path.parent().unwrap_or(&partial);
            std::fs::create_dir_all(parent).map_err(|e| failed(parent, &e))?;
            let mut file = std::fs::File::create(&path).map_err(|e| failed(&path, &e))?;
            file.write_all(text.as_bytes()).map_err(|e| failed(&path, &e))?;
        }
        std::fs::rename(&partial, &config).map_err(|e| failed(&config, &e))
    })();
    if written.is_err() {
        _ = std::fs::remove_dir_all(&partial);
    }
    written?;
    let names: Vec<String> = FILES.iter().map(|(name, _)| config.join(name).display().to_string()).collect();
    let text = names.iter().map(|name| format!("created {name}\n")).collect::<String>();
    Ok(Done::new(text, json!({ "folder": config, "files": names })))
}

/// Where the files go: DIR is the word nearer to them; else where every other command would look for them.
fn folder(dir: Option<&PathBuf>, project: Option<&PathBuf>) -> PathBuf {
    dir.or(project).cloned().unwrap_or_else(|| PathBuf::from("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_one_that_was_named() {
        let (dir, project) = (PathBuf::from("a"), PathBuf::from("b"));
        assert_eq!(folder(Some(&dir), Some(&project)), dir);
        assert_eq!(folder(None, Some(&project)), project);
        assert_eq!(folder(None, None), PathBuf::from("."));
    }
}
