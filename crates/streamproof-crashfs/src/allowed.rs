//! All states that ext4 may leave, as a set: what a real kernel left is in it, or the model is wrong.
//!
//! [`crate::state`] gives one state by the profile `ext4`: what is durable where nothing comes earlier than it must.
//! But commits and write-backs may come early, and one that does can make a later one unnecessary: a sync finds its
//! file in a commit already, and does not commit what others changed since. So that state is neither the least nor the
//! only one. Allowed is a state where
//!
//! 1. its names are those after some number of operations, at least as many as are surely committed: up to the last
//!    change of a synced file by a call (ext4_fsync_journal: i_sync_tid, i_datasync_tid), up to the sync of a directory
//!    (ext4_force_commit), and all that is older than a commit may take;
//! 2. the size of each file is at most what readers saw then, and at least what was synced or is in what is committed;
//! 3. each byte of each file is as readers saw it at some moment since its page was last surely on disk. Not each page:
//!    one that is written to while it is on its way to the disk arrives as a mixture (seen).
//!
//! For logs of some tens of operations: everything is kept, nothing is clever.

use std::collections::BTreeMap;

use crate::content::Content;
use crate::ext4::{BLOCK, COMMIT_NS, EXPIRE_NS, WRITEBACK_NS};
use crate::image::Image;
use crate::log::{Cut, Entry, Ino, Log, Op, WriteSync};
use crate::tree::{Node, Tree};

/// By how much a timer may be late: the flusher and the journal's thread are threads like any other.
const LATE_NS: u64 = 2_000_000_000;

/// Whether a crash of `log` at `cut` may leave `tree`, whose bytes are in `bytes`, on ext4; if not, why not.
///
/// # Errors
/// What about the state that comes nearest is not allowed, in words.
pub fn allows(log: &Log, cut: Cut, tree: &Tree, bytes: &Log) -> Result<(), String> {
    allowed_by(Journal::Ext4, log, cut, tree, bytes)
}

/// The same of xfs, for what it does alike: names in order and up to what was synced, sizes and bytes as they were. Where it
/// differs: a sync of a directory promises that directory's own changes and all before them, not what others did since
/// (xfs_dir_fsync, xfs_log_force_inode), space got for a part that is there already moves no size, and its log is written by
/// the clock every 30 s (fs.xfs.xfssyncd_centisecs).
///
/// # Errors
/// As [`allows`].
pub fn allows_xfs(log: &Log, cut: Cut, tree: &Tree, bytes: &Log) -> Result<(), String> {
    allowed_by(Journal::Xfs, log, cut, tree, bytes)
}

/// Whose journal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Journal {
    Ext4,
    Xfs,
}

impl Journal {
    /// The age at which what happened is in the log.
    fn commit_ns(self) -> u64 {
        match self {
            Journal::Ext4 => COMMIT_NS,
            Journal::Xfs => 6 * COMMIT_NS,
        }
    }
}

fn allowed_by(journal: Journal, log: &Log, cut: Cut, tree: &Tree, bytes: &Log) -> Result<(), String> {
    let history = History::of(journal, log, cut);
    let found: Found<'_> = tree.nodes().iter().map(|(path, node)| (path.as_str(), node)).collect();
    let mut nearest: Option<Refused> = None;
    for committed in history.sure_ops..history.lives.len() {
        let Err((depth, why)) = history.allows_with(committed, &found, bytes) else { return Ok(()) };
        if nearest.as_ref().is_none_or(|(nearest, _)| *nearest < depth) {
            nearest = Some((depth, format!("with {committed} operations committed: {why}")));
        }
    }
    Err(nearest.map_or_else(String::new, |(_, why)| why))
}

type Found<'a> = BTreeMap<&'a str, &'a Node>;

/// How near it came, and what is wrong.
type Refused = (u8, String);

/// Bytes that are surely on disk, with the size that the file had.
struct Written {
    ino: Ino,
    from: u64,
    to: u64,
    size: u64,
    /// After how many operations.
    ops: usize,
}

struct History<'l> {
    journal: Journal,
    entries: &'l [Entry],
    log: &'l Log,
    /// The file system as readers saw it, by the number of operations done.
    lives: Vec<Image>,
    /// So many operations are surely committed.
    sure_ops: usize,
    written: Vec<Written>,
}

impl<'l> History<'l> {
    fn of(journal: Journal, log: &'l Log, cut: Cut) -> Self {
        let entries = &log.entries()[..cut.ops.min(log.entries().len())];
        let mut history = History {
            journal,
            entries,
            log,
            lives: vec![log.base().clone()],
            sure_ops: 0,
            written: Vec::new(),
        };
        // By inode: after how many operations a call last changed it, and what reading its data needs.
        let mut changed: BTreeMap<Ino, (usize, usize)> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let ops = index + 1;
            let mut live = history.lives[index].clone();
            live.apply(entry.at_ns, &entry.op);
            for (ino, data) in history.changes(&entry.op, index) {
                let last = changed.entry(ino).or_default();
                *last = (ops, if data { ops } else { last.1 });
            }
            let last = |ino: &Ino| changed.get(ino).copied().unwrap_or_default();
            match &entry.op {
                Op::Fsync { ino, datasync } => {
                    history.sure_ops =
                        history.sure_ops.max(if *datasync { last(ino).1 } else { last(ino).0 });
                    history.wrote(&live, *ino, 0, u64::MAX, ops);
                }
                Op::Write { ino, off, len, sync, .. } if *sync != WriteSync::None => {
                    let data = *sync == WriteSync::Data;
                    history.sure_ops = history.sure_ops.max(if data { last(ino).1 } else { last(ino).0 });
                    history.wrote(&live, *ino, *off, off + u64::from(*len), ops);
                }
                Op::FsyncDir { ino } if journal == Journal::Xfs => {
                    history.sure_ops = history.sure_ops.max(last(ino).0);
                }
                Op::FsyncDir { .. } => history.sure_ops = ops,
                Op::Settle => {
                    history.sure_ops = ops;
                    (1..live.next_ino()).for_each(|ino| history.wrote(&live, ino, 0, u64::MAX, ops));
                }
                _ => {}
            }
            history.lives.push(live);
        }
        let older_than =
            |age_ns: u64| entries.partition_point(|e| e.at_ns.saturating_add(age_ns) <= cut.at_ns);
        history.sure_ops = history.sure_ops.max(older_than(journal.commit_ns() + LATE_NS));
        let ops = older_than(EXPIRE_NS + WRITEBACK_NS + journal.commit_ns() + 2 * LATE_NS);
        let live = history.lives[ops].clone();
        if ops > 0 {
            (1..live.next_ino()).for_each(|ino| history.wrote(&live, ino, 0, u64::MAX, ops));
        }
        history
    }

    fn wrote(&mut self, live: &Image, ino: Ino, from: u64, to: u64, ops: usize) {
        if let Some(content) = live.content(ino) {
            let to = to.min(content.size());
            // Whole pages are written, and a size no smaller than what was synced.
            let (from, end) = (from / BLOCK * BLOCK, to.div_ceil(BLOCK) * BLOCK);
            self.written.push(Written { ino, from, to: end, size: to, ops });
        }
    }

    fn allows_with(&self, committed: usize, found: &Found<'_>, bytes: &Log) -> Result<(), Refused> {
        let expected = Tree::of(&self.lives[committed]);
        for (path, node) in expected.nodes() {
            match (found.get(path.as_str()), node) {
                (None, _) => return Err((0, format!("{path} is not there"))),
                (Some(Node::Dir { .. }), Node::Dir { .. }) | (Some(Node::File { .. }), Node::File { .. }) => {
                }
                (Some(_), _) => return Err((0, format!("{path} is of the other kind"))),
            }
        }
        if let Some(path) = found.keys().find(|path| !expected.nodes().contains_key(**path)) {
            return Err((0, format!("{path} is there")));
        }
        for (path, node) in expected.nodes() {
            let (Node::File { ino, content, .. }, Some(Node::File { ino: found_ino, content: found, .. })) =
                (node, found.get(path.as_str()))
            else {
                continue;
            };
            let least = self.least_size(committed, *ino);
            let size = found.size();
            if size < least || size > content.size() {
                let allowed = format!("{least} to {} are allowed", content.size());
                return Err((1, format!("{path} has {size} bytes, {allowed}")));
            }
            let mut page = Vec::new();
            for from in (0..size).step_by(BLOCK as usize) {
                bytes.read(*found_ino, found, from, BLOCK as usize, &mut page);
                if !self.may_be(committed, *ino, from, &page) {
                    let shown: String = page.escape_ascii().take(80).map(char::from).collect();
                    return Err((2, format!("{path} holds at {from} what it must not: {shown}")));
                }
            }
        }
        Ok(())
    }

    /// The least size on disk, `committed` operations being committed.
    fn least_size(&self, committed: usize, ino: Ino) -> u64 {
        let mut least = self.log.base().content(ino).map_or(0, Content::size);
        for ops in 1..self.lives.len() {
            if ops <= committed {
                match &self.entries[ops - 1].op {
                    Op::Truncate { ino: of, size } if *of == ino => least = *size,
                    Op::Fallocate { ino: of, off, len, keep_size: false } if *of == ino => {
                        // xfs moves the size on disk only where readers see it move (xfs_falloc_newsize).
                        let seen = self.lives[ops - 1].content(ino).map_or(0, Content::size);
                        if self.journal == Journal::Ext4 || off + len > seen {
                            least = least.max(off + len);
                        }
                    }
                    _ => {}
                }
            }
            // A sync that found nothing to commit has made the size durable all the same.
            let synced = self.written.iter().filter(|w| w.ino == ino && w.ops == ops).map(|w| w.size);
            least = synced.fold(least, u64::max);
        }
        least
    }

    /// Whether the page at `from` may hold `page` on disk.
    fn may_be(&self, committed: usize, ino: Ino, from: u64, page: &[u8]) -> bool {
        let covers = |w: &&Written| w.ino == ino && w.from <= from && from < w.to;
        let since = self.written.iter().filter(covers).map(|w| w.ops).max().unwrap_or(0);
        let mut explained = vec![false; page.len()];
        let mut version = Vec::new();
        for ops in since..self.lives.len() {
            match self.lives[ops].content(ino) {
                Some(content) => self.log.read(ino, content, from, page.len(), &mut version),
                None => version.clear(),
            }
            version.resize(page.len(), 0);
            // What a committed truncation cut off since is zeros.
            for entry in self.entries.get(ops..committed).unwrap_or_default() {
                match entry.op {
                    Op::Truncate { ino: of, size } if of == ino => {
                        let kept = size.saturating_sub(from).min(page.len() as u64) as usize;
                        version[kept..].fill(0);
                    }
                    _ => {}
                }
            }
            for (explained, (a, b)) in explained.iter_mut().zip(version.iter().zip(page)) {
                *explained |= a == b;
            }
        }
        explained.into_iter().all(|byte| byte)
    }

    /// The inodes that a call surely changes in the transaction that runs then, and whether in what reading data needs. Not
    /// those that only get a time stamp, which moves once a tick, nor those whose blocks and sizes a flusher may have got.
    /// `index` operations were done before it.
    fn changes(&self, op: &Op, index: usize) -> Vec<(Ino, bool)> {
        match op {
            Op::Truncate { ino, size } => {
                // Only where the size on disk moves (ext4_do_update_inode: need_datasync).
                let before = self.lives[index].content(*ino).map_or(0, Content::size);
                vec![(*ino, *size > before || *size < self.least_size(index, *ino))]
            }
            Op::Fallocate { ino, off, len, keep_size } => {
                let before = self.lives[index].content(*ino).map_or(0, Content::size);
                vec![(*ino, !keep_size && off + len > before)]
            }
            Op::Create { dir, ino, .. } | Op::Mkdir { dir, ino, .. } => vec![(*dir, true), (*ino, true)],
            Op::Link { ino, dir, .. } | Op::Unlink { dir, ino, .. } | Op::Rmdir { dir, ino, .. } => {
                vec![(*dir, true), (*ino, false)]
            }
            Op::Rename { from_dir, to_dir, ino, replaced, .. } => {
                let names = [(*from_dir, true), (*to_dir, true), (*ino, false)];
                names.into_iter().chain(replaced.map(|other| (other, false))).collect()
            }
            Op::SetAttr { ino, .. } => vec![(*ino, false)],
            Op::Write { .. } | Op::Close { .. } | Op::Fsync { .. } | Op::FsyncDir { .. } | Op::Settle => {
                Vec::new()
            }
        }
    }
}
