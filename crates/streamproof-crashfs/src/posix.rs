//! The rules of POSIX's least, and of the two profiles that are told apart from it by their names: `path` and `lazyfs`.

use crate::content::Extent;
use crate::image::{Body, Entries, Image};
use crate::log::{Ino, Name, Op, ROOT, WriteSync};

/// When a name is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// By a sync of its directory.
    BySyncOfDirectory,
    /// By that, or by a sync of the file itself, its whole path with it.
    BySyncOfFile,
    /// At once.
    AtOnce,
}

/// What is durable while a log is replayed: bytes by inode, and names by directory.
#[derive(Debug, Clone)]
pub(crate) struct Posix {
    names: Names,
    disk: Image,
    /// Renames from one directory to another of which neither side was synced yet: a rename is atomic.
    moves: Vec<Move>,
    version: u64,
}

#[derive(Debug, Clone)]
struct Move {
    ino: Ino,
    from: (Ino, Name),
    to: (Ino, Name),
}

impl Posix {
    pub(crate) fn new(base: &Image, names: Names) -> Self {
        Posix { names, disk: base.clone(), moves: Vec::new(), version: 0 }
    }

    pub(crate) fn disk(&self) -> &Image {
        &self.disk
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// One operation. `live` is the file system after it.
    pub(crate) fn step(&mut self, live: &Image, at_ns: u64, op: &Op, honest: bool) {
        match op {
            Op::Write { ino, off, len, src, sync } if *sync != WriteSync::None && honest => {
                // Synchronised I/O completion (POSIX.1-2024, 3.382): these bytes, and what is needed to read them.
                let size = live.content(*ino).map_or(0, crate::content::Content::size);
                if let Some(disk) = self.disk.content_mut(*ino) {
                    disk.put(Extent { off: *off, len: u64::from(*len), src: *src });
                    disk.resize(size);
                }
                self.persist_path_of(live, *ino);
                self.version += 1;
            }
            Op::Create { ino, mode, owner, .. } if self.names != Names::AtOnce => {
                self.disk.add(at_ns, *ino, *mode, *owner, Body::File(Default::default()));
            }
            Op::Mkdir { dir, ino, mode, owner, .. } if self.names != Names::AtOnce => {
                self.disk.add(
                    at_ns,
                    *ino,
                    *mode,
                    *owner,
                    Body::Dir { parent: *dir, entries: Entries::new() },
                );
            }
            Op::Rename { from_dir, from, to_dir, to, ino, .. }
                if self.names != Names::AtOnce && from_dir != to_dir =>
            {
                self.moves.push(Move {
                    ino: *ino,
                    from: (*from_dir, from.clone()),
                    to: (*to_dir, to.clone()),
                });
            }
            Op::Create { .. }
            | Op::Mkdir { .. }
            | Op::Rename { .. }
            | Op::Link { .. }
            | Op::Unlink { .. }
            | Op::Rmdir { .. }
            | Op::SetAttr { .. } => {
                if self.names == Names::AtOnce {
                    self.disk.apply(at_ns, op);
                    self.version += 1;
                }
            }
            Op::Fsync { ino, .. } if honest => {
                if let (Some(disk), Some(content)) = (self.disk.content_mut(*ino), live.content(*ino)) {
                    disk.clone_from(content);
                }
                self.persist_path_of(live, *ino);
                self.version += 1;
            }
            Op::FsyncDir { ino } if honest && self.names != Names::AtOnce => {
                self.persist_directory(live, *ino);
                self.persist_path_of(live, *ino);
                self.version += 1;
            }
            Op::Settle => {
                self.disk = live.clone();
                self.moves.clear();
                self.version += 1;
            }
            Op::Write { .. }
            | Op::Truncate { .. }
            | Op::Fallocate { .. }
            | Op::Close { .. }
            | Op::Fsync { .. }
            | Op::FsyncDir { .. } => {}
        }
    }

    fn persist_directory(&mut self, live: &Image, dir: Ino) {
        if let (Some(durable), Some(entries)) = (self.disk.entries_mut(dir), live.entries(dir)) {
            durable.clone_from(entries);
        }
        for m in std::mem::take(&mut self.moves) {
            if m.from.0 == dir {
                // Gone from here, so it is there: unless there it was overtaken by something later.
                if live.entries(m.to.0).and_then(|e| e.get(&m.to.1)) == Some(&m.ino) {
                    self.set_entry(m.to.0, &m.to.1, m.ino);
                }
            } else if m.to.0 == dir {
                if let Some(entries) = self.disk.entries_mut(m.from.0)
                    && entries.get(&m.from.1) == Some(&m.ino)
                {
                    entries.remove(&m.from.1);
                }
            } else {
                self.moves.push(m);
            }
        }
    }

    /// In the profile `path`: every name of `ino`, and of the directories above it.
    fn persist_path_of(&mut self, live: &Image, ino: Ino) {
        if self.names != Names::BySyncOfFile {
            return;
        }
        let mut above = Vec::new();
        for dir in 1..live.next_ino() {
            let Some(entries) = live.entries(dir) else { continue };
            let now: Vec<Name> = entries.iter().filter(|(_, i)| **i == ino).map(|(n, _)| n.clone()).collect();
            if let Some(durable) = self.disk.entries_mut(dir) {
                durable.retain(|name, i| *i != ino || now.contains(name));
            }
            for name in &now {
                self.set_entry(dir, name, ino);
                above.push(dir);
            }
        }
        for dir in above {
            if dir != ROOT && dir != ino {
                self.persist_path_of(live, dir);
            }
        }
    }

    fn set_entry(&mut self, dir: Ino, name: &Name, ino: Ino) {
        if let Some(entries) = self.disk.entries_mut(dir) {
            entries.insert(name.clone(), ino);
        }
    }
}
