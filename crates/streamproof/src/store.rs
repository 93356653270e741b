//! What is known of the place where a server stores, as far as it can be known from this machine. Looks only.

use std::path::Path;

use streamproof_server::docker;

use crate::connect::Connect;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// On this machine, on a file system of this kind (`ext4`, `tmpfs`).
    Here {
        /// The kind.
        kind: String,
    },
    /// In a container of this machine.
    Container {
        /// The container.
        name: String,
        /// The folders in it that are on mounts.
        mounts: Vec<String>,
    },
    /// Where nobody can look from here.
    Elsewhere,
}

/// Looks for the store of a server. `store_dir` is what the server calls it.
#[must_use]
pub fn find(connect: &Connect, store_dir: &str) -> Store {
    if !connect.is_loopback() {
        return Store::Elsewhere;
    }
    if let Some(container) = connect.hosts().into_iter().find_map(|(_, port)| docker::publishing(port)) {
        return Store::Container { name: container.name, mounts: container.mounts };
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let there = std::fs::canonicalize(store_dir).ok();
    match there.and_then(|dir| file_system(&mounts, &dir)) {
        Some(kind) => Store::Here { kind },
        None => Store::Elsewhere,
    }
}

/// The kind of the file system that a folder is on (`/proc/self/mounts`: device, folder, kind).
fn file_system(mounts: &str, dir: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(folder), Some(kind)) = (words.next(), words.next()) else { continue };
        let folder = folder.replace("\\040", " ");
        // A later mount hides an earlier one at the same place.
        if dir.starts_with(&folder) && best.is_none_or(|(length, _)| folder.len() >= length) {
            best = Some((folder.len(), kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_and_latest_mount_counts() {
        let mounts =
            "overlay / overlay rw 0 0\n/dev/sda1 /data ext4 rw 0 0\ntmpfs /data/a\\040b tmpfs rw 0 0\n";
        let kind = |dir: &str| file_system(mounts, Path::new(dir)).unwrap();
        assert_eq!(kind("/home/x"), "overlay");
        assert_eq!(kind("/data/js"), "ext4");
        assert_eq!(kind("/database"), "overlay");
        assert_eq!(kind("/data/a b/js"), "tmpfs");
    }
}
