//! The configuration that a server of ours gets: the user's file, included, and what streamproof owns after it.

use std::path::{Component, Path, PathBuf};

use crate::disk::{DiskError, Doing};

/// A line that includes a file. nats-server joins the name to the folder of the including file, absolute or not
/// (nats-server `conf/parse.go`: `itemInclude`), so it is written from there.
pub(crate) fn include(folder: &Path, file: &Path) -> Result<String, DiskError> {
    let file = std::fs::canonicalize(file).doing("read", file)?;
    let folder = std::fs::canonicalize(folder).doing("find", folder)?;
    Ok(format!("include {}\n", quoted(&relative(&folder, &file).to_string_lossy())))
}

/// A text as nats-server's configuration wants it.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn relative(from: &Path, to: &Path) -> PathBuf {
    let (from, to): (Vec<_>, Vec<_>) = (from.components().collect(), to.components().collect());
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[common..].iter().map(|_| Component::ParentDir);
    up.chain(to[common..].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_from_a_folder_to_a_file() {
        let way =
            |from: &str, to: &str| relative(Path::new(from), Path::new(to)).to_string_lossy().into_owned();
        assert_eq!(
            way("/p/.streamproof/n1", "/p/nats-config/jetstream.conf"),
            "../../nats-config/jetstream.conf"
        );
        assert_eq!(way("/a", "/b/c"), "../b/c");
        assert_eq!(way("/a", "/a/c"), "c");
    }
}
