//! The configuration that a server of ours gets: the user's file, included, and what streamproof owns after it.

use std::path::{Component, Path, PathBuf};

use streamproof_model::failure::Place;

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

/// Where nats-server's message points to in the user's file: `FILE:LINE:COLUMN: …`, or, where the file cannot be parsed at all,
/// `… on line LINE: …`.
pub(crate) fn place(message: &str, file: &Path) -> Option<Place> {
    let number = |text: &str| -> Option<u32> {
        text.split(|c: char| !c.is_ascii_digit()).next().filter(|digits| !digits.is_empty())?.parse().ok()
    };
    let named = format!("{}:", file.display());
    let (line, column) = match message.find(&named) {
        Some(at) => {
            let rest = &message[at + named.len()..];
            let line = number(rest)?;
            (line, rest.split(':').nth(1).and_then(number).unwrap_or(1))
        }
        None => (number(message.split("on line ").nth(1)?)?, 1),
    };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1) as usize).map(str::len).sum();
    let whole = text.get(before..).unwrap_or_default().lines().next().unwrap_or_default();
    // The server counts columns from 1 or from 0, by message: the line's first word on is what is marked.
    let indent = whole.len() - whole.trim_start().len();
    Some(Place {
        file: file.to_owned(),
        line,
        column: column.max(1),
        offset: before + indent,
        length: whole.trim().len(),
    })
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

    #[test]
    fn the_servers_messages_point_into_the_users_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jetstream.conf");
        std::fs::write(&file, "jetstream {\n  sync_interval: foo\n}\njetstrem: 1\n").unwrap();
        let at = |message: &str| place(message, &file).map(|place| (place.line, place.column, place.offset));
        let named = |rest: &str| format!("nats-server: {}:{rest}", file.display());
        assert_eq!(at(&named("4:1: unknown field \"jetstrem\"")), Some((4, 1, 35)));
        assert_eq!(at(&named("2:3: error parsing sync_interval")), Some((2, 3, 14)));
        assert_eq!(at("error parsing include file 'x', Parse error on line 4: 'Expected'"), Some((4, 1, 35)));
        assert_eq!(at("something else"), None);
    }
}
