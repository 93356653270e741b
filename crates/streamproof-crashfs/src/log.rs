//! The log: every change to a file system, in order, with its time and its bytes.

use crate::image::Image;
use crate::seed::Random;
use crate::tree::{Node, Tree};

/// The number of an inode. The root directory is [`ROOT`]; numbers are never used twice.
pub type Ino = u64;

/// The root directory.
pub const ROOT: Ino = 1;

/// The name of an entry of a directory.
pub type Name = Box<str>;

/// What a write promises by itself, from the flags of the file it went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WriteSync {
    /// Nothing.
    #[default]
    None,
    /// O_DSYNC: the bytes, and what is needed to read them, are durable before the write returns.
    Data,
    /// O_SYNC: as O_DSYNC, and the rest of the inode too.
    Full,
}

/// One change, or one sync. Only operations that succeeded are in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Bytes written to a file.
    Write {
        /// The file.
        ino: Ino,
        /// Offset in the file, in bytes.
        off: u64,
        /// Length, in bytes.
        len: u32,
        /// Where the bytes are in the inode's buffer.
        src: u64,
        /// Whether the write was also a sync.
        sync: WriteSync,
    },
    /// The size of a file set, `open` with O_TRUNC included.
    Truncate {
        /// The file.
        ino: Ino,
        /// The new size, in bytes.
        size: u64,
    },
    /// Space reserved for a file; it grows to `end` unless that was not asked for.
    Fallocate {
        /// The file.
        ino: Ino,
        /// Offset, in bytes.
        off: u64,
        /// Length, in bytes.
        len: u64,
        /// FALLOC_FL_KEEP_SIZE.
        keep_size: bool,
    },
    /// A new file.
    Create {
        /// The directory.
        dir: Ino,
        /// The name in it.
        name: Name,
        /// The new inode.
        ino: Ino,
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        owner: (u32, u32),
    },
    /// A new directory.
    Mkdir {
        /// The directory that it is in.
        dir: Ino,
        /// The name in it.
        name: Name,
        /// The new inode.
        ino: Ino,
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        owner: (u32, u32),
    },
    /// Another name for a file.
    Link {
        /// The file.
        ino: Ino,
        /// The directory.
        dir: Ino,
        /// The name in it.
        name: Name,
    },
    /// A name of a file removed.
    Unlink {
        /// The directory.
        dir: Ino,
        /// The name in it.
        name: Name,
        /// The file that had it.
        ino: Ino,
    },
    /// An empty directory removed.
    Rmdir {
        /// The directory that it was in.
        dir: Ino,
        /// The name in it.
        name: Name,
        /// The directory that had it.
        ino: Ino,
    },
    /// A name moved, replacing what had the new name; or two names exchanged.
    Rename {
        /// The old directory.
        from_dir: Ino,
        /// The name in it.
        from: Name,
        /// The new directory.
        to_dir: Ino,
        /// The name in it.
        to: Name,
        /// What was moved.
        ino: Ino,
        /// What had the new name.
        replaced: Option<Ino>,
        /// RENAME_EXCHANGE.
        exchange: bool,
    },
    /// Permission bits, owner or group set.
    SetAttr {
        /// The file or directory.
        ino: Ino,
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        owner: (u32, u32),
    },
    /// The last handle of a file, opened for writing, closed. Promises nothing by POSIX; ext4 has a rule for it.
    Close {
        /// The file.
        ino: Ino,
    },
    /// fsync or fdatasync of a file.
    Fsync {
        /// The file.
        ino: Ino,
        /// fdatasync.
        datasync: bool,
    },
    /// fsync of a directory.
    FsyncDir {
        /// The directory.
        ino: Ino,
    },
    /// Everything so far is durable, whatever the profile: where an experiment begins, not something a server did.
    Settle,
}

impl Op {
    /// Whether it makes something durable that the writer asked to be.
    #[must_use]
    pub fn is_sync(&self) -> bool {
        match self {
            Op::Fsync { .. } | Op::FsyncDir { .. } | Op::Settle => true,
            Op::Write { sync, .. } => *sync != WriteSync::None,
            _ => false,
        }
    }

    /// Whether it changes what a directory holds, or makes a file shorter or longer by its word: a turn, after which something is
    /// there or gone as a whole.
    #[must_use]
    pub fn turns(&self) -> bool {
        match self {
            Op::Create { .. }
            | Op::Mkdir { .. }
            | Op::Link { .. }
            | Op::Unlink { .. }
            | Op::Rmdir { .. }
            | Op::Rename { .. }
            | Op::Truncate { .. } => true,
            Op::Write { .. }
            | Op::Fallocate { .. }
            | Op::SetAttr { .. }
            | Op::Close { .. }
            | Op::Fsync { .. }
            | Op::FsyncDir { .. }
            | Op::Settle => false,
        }
    }

    /// The name of the operation, as in the text notation.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Write { .. } => "write",
            Op::Truncate { .. } => "truncate",
            Op::Fallocate { .. } => "fallocate",
            Op::Create { .. } => "create",
            Op::Mkdir { .. } => "mkdir",
            Op::Link { .. } => "link",
            Op::Unlink { .. } => "unlink",
            Op::Rmdir { .. } => "rmdir",
            Op::Rename { .. } => "rename",
            Op::SetAttr { .. } => "setattr",
            Op::Close { .. } => "close",
            Op::Fsync { datasync: false, .. } => "fsync",
            Op::Fsync { datasync: true, .. } => "fdatasync",
            Op::FsyncDir { .. } => "fsyncdir",
            Op::Settle => "settle",
        }
    }
}

/// An operation and when it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since the recording began.
    pub at_ns: u64,
    /// What was done.
    pub op: Op,
}

/// Every change to a file system since the recording began, and what was there before (which counts as durable).
#[derive(Debug, Clone, Default)]
pub struct Log {
    base: Image,
    /// By inode: every byte ever written to it, in the order of the writes. Appends are then one extent each file.
    buffers: Vec<Vec<u8>>,
    entries: Vec<Entry>,
    bytes: u64,
}

impl Log {
    /// A log that begins with an empty root directory.
    #[must_use]
    pub fn new() -> Self {
        Log::default()
    }

    /// A log that begins with `tree`, a state of `from`: how a crash during a recovery is recorded.
    #[must_use]
    pub fn from_tree(tree: &Tree, from: &Log) -> Self {
        let mut log = Log::new();
        for (path, node) in tree.nodes() {
            match node {
                Node::Dir { mode, owner } => log.base_dir(path, *mode, *owner),
                Node::File { ino, content, mode, owner } => {
                    log.base_file(path, &from.read_all(*ino, content), *mode, *owner);
                }
            }
        }
        log
    }

    /// Adds a directory to what the log begins with; its parent must be there, and nothing be recorded yet.
    pub fn base_dir(&mut self, path: &str, mode: u32, owner: (u32, u32)) {
        if path.is_empty() {
            self.base.apply(0, &Op::SetAttr { ino: ROOT, mode, owner });
            return;
        }
        if let Some((dir, name)) = self.base_parent(path) {
            let ino = self.base.next_ino();
            self.base.apply(0, &Op::Mkdir { dir, name, ino, mode, owner });
        }
    }

    /// Adds a file to what the log begins with; its parent must be there, and nothing be recorded yet.
    pub fn base_file(&mut self, path: &str, bytes: &[u8], mode: u32, owner: (u32, u32)) {
        if let Some((dir, name)) = self.base_parent(path) {
            let ino = self.base.next_ino();
            self.base.apply(0, &Op::Create { dir, name, ino, mode, owner });
            for part in bytes.chunks(1 << 30) {
                let src = self.store(ino, part);
                self.base.apply(
                    0,
                    &Op::Write { ino, off: src, len: part.len() as u32, src, sync: WriteSync::None },
                );
            }
        }
    }

    fn base_parent(&self, path: &str) -> Option<(Ino, Name)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Some((self.base.resolve(parent)?, name.into()))
    }

    /// What was there when the recording began.
    #[must_use]
    pub fn base(&self) -> &Image {
        &self.base
    }

    /// The operations, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The time of the last operation, in nanoseconds since the recording began.
    #[must_use]
    pub fn end_ns(&self) -> u64 {
        self.entries.last().map_or(0, |e| e.at_ns)
    }

    /// What the log takes in memory, nearly: the bytes written, and the operations.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.bytes + (self.entries.len() * size_of::<Entry>()) as u64
    }

    /// How many operations of each kind there are: a run in which no sync was counted proves nothing.
    #[must_use]
    pub fn counts(&self) -> std::collections::BTreeMap<&'static str, usize> {
        let mut counts = std::collections::BTreeMap::new();
        for entry in &self.entries {
            *counts.entry(entry.op.kind()).or_insert(0) += 1;
            if let Op::Write { sync: WriteSync::Data | WriteSync::Full, .. } = entry.op {
                *counts.entry("sync-write").or_insert(0) += 1;
            }
        }
        counts
    }

    /// The bytes of `content`, a content of inode `ino`, from `off` on, at most `len`.
    pub fn read(&self, ino: Ino, content: &crate::content::Content, off: u64, len: usize, out: &mut Vec<u8>) {
        out.clear();
        let end = content.size().min(off.saturating_add(len as u64));
        if off >= end {
            return;
        }
        let buffer = self.buffers.get(ino as usize).map_or(&[][..], Vec::as_slice);
        for extent in content.slice(off, end) {
            out.resize((extent.off - off) as usize, 0);
            let src = extent.src as usize;
            out.extend_from_slice(&buffer[src..src + extent.len as usize]);
        }
        out.resize((end - off) as usize, 0);
    }

    /// All bytes of `content`, a content of inode `ino`.
    #[must_use]
    pub fn read_all(&self, ino: Ino, content: &crate::content::Content) -> Vec<u8> {
        let mut out = Vec::new();
        self.read(ino, content, 0, usize::MAX, &mut out);
        out
    }

    /// The bytes of an extent of inode `ino`.
    #[must_use]
    pub fn bytes(&self, ino: Ino, src: u64, len: u64) -> &[u8] {
        &self.buffers[ino as usize][src as usize..(src + len) as usize]
    }

    /// Keeps the bytes of a write, and says where they are.
    pub(crate) fn store(&mut self, ino: Ino, bytes: &[u8]) -> u64 {
        let at = ino as usize;
        if self.buffers.len() <= at {
            self.buffers.resize_with(at + 1, Vec::new);
        }
        let buffer = &mut self.buffers[at];
        let src = buffer.len() as u64;
        buffer.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        src
    }

    pub(crate) fn push(&mut self, at_ns: u64, op: Op) {
        // Times never run backwards, or the timers of a file system could not be replayed.
        let at_ns = at_ns.max(self.end_ns());
        self.entries.push(Entry { at_ns, op });
    }
}

/// Records: keeps the log and the live file system in step.
#[derive(Debug, Default)]
pub struct Recorder {
    log: Log,
    live: Image,
}

impl Recorder {
    /// A recorder that goes on from `log`.
    #[must_use]
    pub fn new(log: Log) -> Self {
        let mut live = log.base.clone();
        for entry in &log.entries {
            live.apply(entry.at_ns, &entry.op);
        }
        Recorder { log, live }
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The file system as it is now.
    #[must_use]
    pub fn live(&self) -> &Image {
        &self.live
    }

    /// Records a change that [`Image`] has checked, and makes it.
    pub fn record(&mut self, at_ns: u64, op: Op) {
        self.live.apply(at_ns, &op);
        self.log.push(at_ns, op);
    }

    /// Records bytes written to the file `ino`, and writes them.
    pub fn write(&mut self, at_ns: u64, ino: Ino, off: u64, bytes: &[u8], sync: WriteSync) {
        for (i, part) in bytes.chunks(1 << 30).enumerate() {
            let src = self.log.store(ino, part);
            let off = off + ((i as u64) << 30);
            self.record(at_ns, Op::Write { ino, off, len: part.len() as u32, src, sync });
        }
    }

    /// Reads from the file `ino` as it is now.
    pub fn read(&self, ino: Ino, off: u64, len: usize, out: &mut Vec<u8>) {
        out.clear();
        if let Some(content) = self.live.content(ino) {
            self.log.read(ino, content, off, len, out);
        }
    }

    /// The log, when all is recorded.
    #[must_use]
    pub fn into_log(self) -> Log {
        self.log
    }
}

/// A point of a log at which the power goes: after `ops` operations, at `at_ns`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Cut {
    /// How many operations were done.
    pub ops: usize,
    /// When, in nanoseconds since the recording began: a file system writes back by the clock, too.
    pub at_ns: u64,
}

impl Cut {
    /// The cut just after the first `ops` operations of `log`.
    #[must_use]
    pub fn after(log: &Log, ops: usize) -> Self {
        let ops = ops.min(log.entries.len());
        let at_ns = if ops == 0 { 0 } else { log.entries[ops - 1].at_ns };
        Cut { ops, at_ns }
    }

    /// The cut at `at_ns` nanoseconds since the recording began; it may lie after the last operation.
    #[must_use]
    pub fn at(log: &Log, at_ns: u64) -> Self {
        Cut { ops: log.entries.partition_point(|e| e.at_ns <= at_ns), at_ns }
    }

    /// A seed of its own for each cut, so that a state can be built again from the run's seed and the cut alone.
    #[must_use]
    pub fn seed(&self, run_seed: u64) -> u64 {
        Random::new(run_seed ^ (self.ops as u64).rotate_left(32) ^ self.at_ns).next_u64()
    }
}
