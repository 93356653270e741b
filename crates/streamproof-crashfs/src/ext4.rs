//! The rules of ext4 as it is mounted by default: what is durable at a given moment, at the least.
//!
//! Functions named here are the kernel's (fs/ext4, fs/jbd2). The rules are held against a real kernel: random sequences of
//! system calls on an ext4 image that is then shut down by force, its tree compared with what [`crate::allows`] says
//! (`cargo run --release -p streamproof-crashfs --features real --example kernel`, as root; a part of it is a test). The state
//! that is made here is one of those; docs/power-cut.md says how often it is exactly the kernel's.
//!
//! 1. Changes of metadata join the running transaction in order; a commit makes all of it durable, or nothing
//!    (jbd2_journal_commit_transaction; Documentation/filesystems/journalling).
//! 2. fsync writes the file's dirty pages, then commits if the inode was changed in the running transaction
//!    (ext4_sync_file, ext4_fsync_journal: i_sync_tid; fdatasync: i_datasync_tid, moved by a new inode, by new blocks
//!    and by the size). Everybody's earlier metadata is in that commit. An inode that was not changed costs no commit.
//! 3. Bytes get their blocks late (delayed allocation): a file written and not synced has its name and not its bytes.
//!    The size on disk (i_disksize) moves when blocks are allocated (mpage_map_and_submit_extent), or at once where a
//!    write ends in a block that the file has already (ext4_da_do_write_end): then a commit caused by somebody else
//!    leaves zeros at the end of the file.
//! 4. Bytes over blocks that are there go in place, without the journal, when they are written back.
//! 5. truncate is metadata: size on disk and blocks go with the transaction (ext4_setattr).
//! 6. auto_da_alloc: a rename over an existing file allocates the new file's blocks first (ext4_rename,
//!    ext4_alloc_da_blocks); so does the close of a file that was truncated to nothing (ext4_release_file).
//!    Documentation/admin-guide/ext4.rst, "auto_da_alloc".
//! 7. By the clock: a transaction commits 5 s after it began (commit=5, JBD2_DEFAULT_MAX_COMMIT_AGE); the flusher
//!    wakes every 5 s and writes files that were dirty for 30 s (dirty_writeback_centisecs, dirty_expire_centisecs).
//! 8. A write dirties the inode by its time stamp, whose grain is the timer tick (file_update_time,
//!    current_time): a second write in place within a tick changes no metadata.

mod torn;
mod writeback;

use crate::content::{Content, Extent, Ranges};
use crate::image::Image;
use crate::log::{Ino, Log, Op, WriteSync};
use writeback::Flight;

/// Size of a block and of a page.
pub(crate) const BLOCK: u64 = 4096;

/// The age at which a transaction commits.
pub(crate) const COMMIT_NS: u64 = 5_000_000_000;

/// How often the flusher looks.
pub(crate) const WRITEBACK_NS: u64 = 5_000_000_000;

/// The age at which dirty pages are written back.
pub(crate) const EXPIRE_NS: u64 = 30_000_000_000;

/// The coarsest tick that a kernel is built with (CONFIG_HZ=100).
const TICK_NS: u64 = 10_000_000;

/// What ext4 knows of an inode beside the disk.
#[derive(Debug, Clone, Default)]
struct Volatile {
    /// Bytes in the page cache that are not on disk.
    dirty: Ranges,
    /// When the first of them was written.
    dirty_since_ns: u64,
    /// Blocks that the file has, in bytes; in the running transaction's view.
    mapped: Ranges,
    /// Blocks that fallocate got and nobody has written to.
    reserved: Ranges,
    /// i_disksize, in the running transaction's view.
    disk_size: u64,
    /// i_size: as readers see it.
    size: u64,
    /// The transaction that last changed the inode.
    sync_tid: u64,
    /// The transaction that last changed what reading the data needs.
    datasync_tid: u64,
    /// The transaction that last got blocks or a size of this file that are not yet on disk.
    pending_tid: u64,
    /// When its time stamp last moved.
    stamped_ns: u64,
    /// It was truncated to nothing since it was last closed.
    flush_on_close: bool,
}

/// A change of metadata that waits for the commit.
#[derive(Debug, Clone)]
enum Pending {
    /// A change of names, attributes or a truncation: the operation at this place in the log.
    Op(usize),
    /// The size on disk grew ahead of the bytes, which read as zeros.
    Grow { ino: Ino, size: u64 },
    /// Bytes in blocks that became the file's.
    Bytes { ino: Ino, extents: Vec<Extent> },
}

/// The state of an ext4 file system while a log is replayed.
#[derive(Debug, Clone)]
pub(crate) struct Ext4 {
    disk: Image,
    pending: Vec<Pending>,
    files: Vec<Volatile>,
    /// What is being written back and nobody waits for, by the time at which it arrives.
    flights: Vec<Flight>,
    tid: u64,
    transaction_since_ns: Option<u64>,
    earliest_dirty_ns: Option<u64>,
    /// Operations that are surely in a commit: a prefix of the log.
    committed_ops: usize,
    version: u64,
}

impl Ext4 {
    pub(crate) fn new(base: &Image) -> Self {
        let mut ext4 = Ext4 {
            disk: base.clone(),
            pending: Vec::new(),
            files: Vec::new(),
            flights: Vec::new(),
            tid: 1,
            transaction_since_ns: None,
            earliest_dirty_ns: None,
            committed_ops: 0,
            version: 0,
        };
        ext4.settle(base, 0);
        ext4
    }

    pub(crate) fn disk(&self) -> &Image {
        &self.disk
    }

    /// Changes whenever what is durable does.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn committed_ops(&self) -> usize {
        self.committed_ops
    }

    /// What is on disk where the journal is committed here; none where nothing waits for it.
    pub(crate) fn committed(&self, log: &Log, ops_done: usize) -> Option<Image> {
        (!self.pending.is_empty()).then(|| {
            let mut ext4 = self.clone();
            ext4.commit(log, ops_done);
            ext4.disk
        })
    }

    /// Bytes that are in no file on disk, and files that hold some.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        let dirty: u64 = self.files.iter().map(|f| f.dirty.bytes()).sum();
        dirty + self.flights.iter().map(Flight::bytes).sum::<u64>()
    }

    /// When the clock next makes something durable.
    pub(crate) fn next_timer_ns(&self) -> Option<u64> {
        let commit = self.transaction_since_ns.map(|since| since + COMMIT_NS);
        let flush =
            self.earliest_dirty_ns.map(|since| (since + EXPIRE_NS).div_ceil(WRITEBACK_NS) * WRITEBACK_NS);
        [commit, flush, self.next_arrival_ns()].into_iter().flatten().min()
    }

    /// Lets the clock's next event happen.
    pub(crate) fn timer(&mut self, log: &Log, live: &Image, at_ns: u64, ops_done: usize) {
        if self.transaction_since_ns.is_some_and(|since| since + COMMIT_NS <= at_ns) {
            self.commit(log, ops_done);
            return;
        }
        self.arrive(at_ns);
        let due = |f: &Volatile| !f.dirty.is_empty() && f.dirty_since_ns + EXPIRE_NS <= at_ns;
        let old: Vec<Ino> =
            (0..self.files.len()).filter(|&i| due(&self.files[i])).map(|i| i as Ino).collect();
        for ino in old {
            self.begin_write_back(live, ino, at_ns);
        }
        self.find_earliest_dirty();
    }

    /// One operation. `live` is the file system after it; `index` its place in the log.
    pub(crate) fn step(&mut self, log: &Log, live: &Image, index: usize, at_ns: u64, op: &Op, honest: bool) {
        match op {
            Op::Write { ino, off, len, sync, .. } => {
                self.write(*ino, *off, off + u64::from(*len), at_ns);
                if *sync != WriteSync::None && honest {
                    // generic_write_sync: only the range that was written, then the commit.
                    let from = off / BLOCK * BLOCK;
                    let to = (off + u64::from(*len)).div_ceil(BLOCK) * BLOCK;
                    self.write_back(live, *ino, (from, to), at_ns);
                    self.commit_for(log, *ino, *sync == WriteSync::Data, index + 1);
                }
            }
            Op::Truncate { ino, size } => {
                let tid = self.join(at_ns, Pending::Op(index));
                let file = self.file(*ino);
                file.dirty.remove(*size, u64::MAX);
                file.mapped.remove(size.div_ceil(BLOCK) * BLOCK, u64::MAX);
                file.reserved.remove(size.div_ceil(BLOCK) * BLOCK, u64::MAX);
                // For fdatasync only where the size on disk moves (ext4_do_update_inode: need_datasync).
                let moves = file.disk_size != *size;
                file.disk_size = *size;
                file.size = *size;
                file.flush_on_close |= *size == 0;
                file.touch(tid, at_ns, moves);
                file.pending_tid = tid;
                self.flights.iter_mut().filter(|f| f.ino == *ino).for_each(|f| f.truncate(*size));
            }
            Op::Fallocate { ino, off, len, keep_size } => {
                let tid = self.join(at_ns, Pending::Op(index));
                let file = self.file(*ino);
                file.reserved.insert(off / BLOCK * BLOCK, (off + len).div_ceil(BLOCK) * BLOCK);
                if !keep_size {
                    file.disk_size = file.disk_size.max(off + len);
                    file.size = file.size.max(off + len);
                }
                file.touch(tid, at_ns, true);
                file.pending_tid = tid;
            }
            Op::Create { dir, ino, .. } | Op::Mkdir { dir, ino, .. } => {
                let tid = self.join(at_ns, Pending::Op(index));
                self.file(*dir).touch(tid, at_ns, true);
                self.file(*ino).touch(tid, at_ns, true);
                self.file(*ino).pending_tid = tid;
            }
            Op::Link { ino, dir, .. } | Op::Unlink { dir, ino, .. } | Op::Rmdir { dir, ino, .. } => {
                let tid = self.join(at_ns, Pending::Op(index));
                self.file(*dir).touch(tid, at_ns, true);
                self.file(*ino).touch(tid, at_ns, false);
            }
            Op::Rename { from_dir, to_dir, ino, replaced, exchange, .. } => {
                if replaced.is_some() && !exchange {
                    self.allocate(live, *ino, at_ns);
                }
                let tid = self.join(at_ns, Pending::Op(index));
                self.file(*from_dir).touch(tid, at_ns, true);
                self.file(*to_dir).touch(tid, at_ns, true);
                self.file(*ino).touch(tid, at_ns, false);
                if let Some(other) = replaced {
                    self.file(*other).touch(tid, at_ns, false);
                }
            }
            Op::SetAttr { ino, .. } => {
                let tid = self.join(at_ns, Pending::Op(index));
                self.file(*ino).touch(tid, at_ns, false);
            }
            Op::Close { ino } => {
                if std::mem::take(&mut self.file(*ino).flush_on_close) {
                    self.allocate(live, *ino, at_ns);
                }
            }
            Op::Fsync { ino, datasync } if honest => {
                self.write_back(live, *ino, (0, u64::MAX), at_ns);
                self.find_earliest_dirty();
                self.commit_for(log, *ino, *datasync, index + 1);
            }
            // Whatever the directory's own transaction is (ext4_fsync_journal; before 5.10, as data journalling).
            Op::FsyncDir { .. } if honest && self.transaction_since_ns.is_some() => {
                self.commit(log, index + 1)
            }
            Op::Fsync { .. } | Op::FsyncDir { .. } => {}
            Op::Settle => self.settle(live, index + 1),
        }
    }

    fn commit_for(&mut self, log: &Log, ino: Ino, datasync: bool, ops_done: usize) {
        let file = self.file(ino);
        let tid = if datasync { file.datasync_tid } else { file.sync_tid };
        if tid == self.tid {
            self.commit(log, ops_done);
        }
    }

    fn commit(&mut self, log: &Log, ops_done: usize) {
        for pending in std::mem::take(&mut self.pending) {
            apply(&mut self.disk, log, &pending);
        }
        self.tid += 1;
        self.transaction_since_ns = None;
        self.committed_ops = ops_done;
        self.version += 1;
    }

    fn settle(&mut self, live: &Image, ops_done: usize) {
        self.disk = live.clone();
        self.pending.clear();
        self.flights.clear();
        self.tid += 1;
        self.transaction_since_ns = None;
        self.earliest_dirty_ns = None;
        self.committed_ops = ops_done;
        self.version += 1;
        for ino in 0..live.next_ino() {
            let size = live.content(ino).map_or(0, Content::size);
            let file = self.file(ino);
            file.dirty.clear();
            file.mapped.clear();
            file.reserved.clear();
            file.mapped.insert(0, size.div_ceil(BLOCK) * BLOCK);
            file.disk_size = size;
            file.size = size;
        }
    }

    fn file(&mut self, ino: Ino) -> &mut Volatile {
        let at = ino as usize;
        if self.files.len() <= at {
            self.files.resize_with(at + 1, Volatile::default);
        }
        &mut self.files[at]
    }

    fn begin(&mut self, at_ns: u64) -> u64 {
        self.transaction_since_ns.get_or_insert(at_ns);
        self.tid
    }

    fn join(&mut self, at_ns: u64, pending: Pending) -> u64 {
        self.pending.push(pending);
        self.begin(at_ns)
    }

    fn find_earliest_dirty(&mut self) {
        self.earliest_dirty_ns =
            self.files.iter().filter(|f| !f.dirty.is_empty()).map(|f| f.dirty_since_ns).min();
    }
}

impl Volatile {
    /// Whether no block has to be got for `from..to`.
    fn has_blocks(&self, from: u64, to: u64) -> bool {
        let blocks = from / BLOCK..to.div_ceil(BLOCK);
        blocks.map(|b| b * BLOCK).all(|b| self.mapped.covers(b, b + 1) || self.reserved.covers(b, b + 1))
    }

    fn touch(&mut self, tid: u64, at_ns: u64, data: bool) {
        self.sync_tid = tid;
        self.stamped_ns = at_ns;
        if data {
            self.datasync_tid = tid;
        }
    }
}

fn apply(disk: &mut Image, log: &Log, pending: &Pending) {
    match pending {
        Pending::Op(index) => {
            let entry = &log.entries()[*index];
            disk.apply(entry.at_ns, &entry.op);
        }
        Pending::Grow { ino, size } => {
            if let Some(content) = disk.content_mut(*ino) {
                content.grow(*size);
            }
        }
        Pending::Bytes { ino, extents } => {
            if let Some(content) = disk.content_mut(*ino) {
                let size = content.size();
                extents.iter().for_each(|e| content.put(*e));
                content.resize(size);
            }
        }
    }
}
