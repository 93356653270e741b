//! A crash state: the directory tree that is there when the machine comes up again.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::content::Content;
use crate::image::{Body, Image};
use crate::log::{Ino, Log, ROOT};
use crate::seed::Fingerprint;

/// A file or a directory of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir {
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        owner: (u32, u32),
    },
    /// A file.
    File {
        /// Whose buffer of the log holds the bytes.
        ino: Ino,
        /// Where the bytes are in it.
        content: Content,
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        owner: (u32, u32),
    },
}

/// Tells states apart without touching their bytes: a hash over paths, sizes and extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub u128);

impl std::fmt::Display for StateId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", (self.0 >> 64) as u64 ^ self.0 as u64)
    }
}

/// A directory tree, by path relative to its root, without a leading slash; the root is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// What can be reached from the root of `image`.
    #[must_use]
    pub fn of(image: &Image) -> Self {
        let mut tree = Tree::default();
        tree.walk(image, ROOT, "", 0);
        tree
    }

    fn walk(&mut self, image: &Image, dir: Ino, prefix: &str, depth: usize) {
        // A directory moved by half (POSIX's least allows it) could hold itself.
        const DEPTH_MAX: usize = 64;
        let Some(entries) = image.entries(dir) else { return };
        for (name, &ino) in entries {
            let path = if prefix.is_empty() { name.to_string() } else { format!("{prefix}/{name}") };
            let Some(inode) = image.inode(ino) else { continue };
            match &inode.body {
                Body::File(content) => {
                    let node =
                        Node::File { ino, content: content.clone(), mode: inode.mode, owner: inode.owner };
                    self.nodes.insert(path, node);
                }
                Body::Dir { .. } => {
                    self.nodes.insert(path.clone(), Node::Dir { mode: inode.mode, owner: inode.owner });
                    if depth < DEPTH_MAX {
                        self.walk(image, ino, &path, depth + 1);
                    }
                }
            }
        }
    }

    /// The nodes; a directory comes before what is in it.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<String, Node> {
        &self.nodes
    }

    pub(crate) fn nodes_mut(&mut self) -> &mut BTreeMap<String, Node> {
        &mut self.nodes
    }

    /// The bytes of all files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.nodes.values().map(|n| if let Node::File { content, .. } = n { content.size() } else { 0 }).sum()
    }

    /// The identity of the state. Equal trees of one log have equal identities.
    #[must_use]
    pub fn id(&self) -> StateId {
        let mut hash = Fingerprint::new();
        for (path, node) in &self.nodes {
            hash.text(path);
            match node {
                Node::Dir { .. } => hash.number(u64::MAX),
                Node::File { ino, content, .. } => hash_file(&mut hash, *ino, content),
            }
        }
        StateId(hash.value())
    }

    /// The tree as text, one node a line: `dir/`, or `dir/file 5 "bytes"`.
    #[must_use]
    pub fn render(&self, log: &Log) -> String {
        let mut out = String::new();
        for (path, node) in &self.nodes {
            let _ = match node {
                Node::Dir { .. } => writeln!(out, "{path}/"),
                Node::File { ino, content, .. } => {
                    writeln!(out, "{path} \"{}\"", log.read_all(*ino, content).escape_ascii())
                }
            };
        }
        out
    }
}

pub(crate) fn hash_file(hash: &mut Fingerprint, ino: Ino, content: &Content) {
    hash.number(content.size());
    // Two empty files are alike, whichever inode they are.
    for e in content.extents() {
        hash.number(ino);
        hash.number(e.off);
        hash.number(e.len);
        hash.number(e.src);
    }
}
