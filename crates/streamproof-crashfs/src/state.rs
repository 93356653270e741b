//! From a log and a point in it to the directory tree that a crash there leaves: one forward pass for many points.

use crate::ext4::Ext4;
use crate::image::Image;
use crate::log::{Cut, Log, Op};
use crate::posix::{Names, Posix};
use crate::profile::{Disk, Profile, Rules};
use crate::seed::Random;
use crate::tree::{StateId, Tree};

/// The state that a crash at `cut` leaves. For more than one, use [`Sweep`] or [`crate::cuts::states`].
#[must_use]
pub fn state(log: &Log, cut: Cut, rules: Rules) -> Tree {
    let mut sweep = Sweep::new(log, rules);
    sweep.advance(cut);
    sweep.tree()
}

/// A pass over a log: the live file system, and what of it is durable, after each operation.
#[derive(Debug, Clone)]
pub struct Sweep<'l> {
    log: &'l Log,
    rules: Rules,
    live: Image,
    model: Model,
    ops_done: usize,
    now_ns: u64,
    known_id: Option<((u64, usize), StateId)>,
}

#[derive(Debug, Clone)]
enum Model {
    Ext4(Box<Ext4>),
    Posix(Posix),
    Durable,
}

impl<'l> Sweep<'l> {
    /// A pass that stands before the first operation.
    #[must_use]
    pub fn new(log: &'l Log, rules: Rules) -> Self {
        let base = log.base();
        let model = match (rules.disk, rules.profile) {
            (Disk::Durable, _) => Model::Durable,
            (_, Profile::Strict) => Model::Posix(Posix::new(base, Names::BySyncOfDirectory)),
            (_, Profile::Path) => Model::Posix(Posix::new(base, Names::BySyncOfFile)),
            (_, Profile::Lazyfs) => Model::Posix(Posix::new(base, Names::AtOnce)),
            (_, Profile::Ext4 | Profile::Torn) => Model::Ext4(Box::new(Ext4::new(base))),
        };
        Sweep { log, rules, live: base.clone(), model, ops_done: 0, now_ns: 0, known_id: None }
    }

    /// Where the pass stands.
    #[must_use]
    pub fn cut(&self) -> Cut {
        Cut { ops: self.ops_done, at_ns: self.now_ns }
    }

    /// The file system as the server saw it here.
    #[must_use]
    pub fn live(&self) -> &Image {
        &self.live
    }

    /// When the clock next makes something durable by itself, in nanoseconds since the recording began.
    #[must_use]
    pub fn next_timer_ns(&self) -> Option<u64> {
        if let Model::Ext4(ext4) = &self.model { ext4.next_timer_ns() } else { None }
    }

    /// Goes forward to `cut`. A pass does not go back: an earlier cut leaves it where it is.
    pub fn advance(&mut self, cut: Cut) {
        while self.ops_done < cut.ops.min(self.log.entries().len()) {
            self.run_timers(self.log.entries()[self.ops_done].at_ns);
            self.step();
        }
        self.run_timers(cut.at_ns);
        self.now_ns = self.now_ns.max(cut.at_ns);
    }

    /// Lets everything happen that the clock brings until `until_ns`.
    fn run_timers(&mut self, until_ns: u64) {
        while let Some(at_ns) = self.next_timer_ns().filter(|t| *t <= until_ns) {
            self.timer(at_ns);
        }
    }

    pub(crate) fn timer(&mut self, at_ns: u64) {
        self.now_ns = self.now_ns.max(at_ns);
        if let Model::Ext4(ext4) = &mut self.model {
            ext4.timer(self.log, &self.live, at_ns, self.ops_done);
        }
    }

    /// Does the next operation, and nothing that the clock brings before it.
    pub(crate) fn step(&mut self) -> Option<&'l Op> {
        let entry = self.log.entries().get(self.ops_done)?;
        let honest = self.rules.disk != Disk::Lying;
        self.now_ns = self.now_ns.max(entry.at_ns);
        self.live.apply(entry.at_ns, &entry.op);
        match &mut self.model {
            Model::Ext4(ext4) => {
                ext4.step(self.log, &self.live, self.ops_done, entry.at_ns, &entry.op, honest);
            }
            Model::Posix(posix) => posix.step(&self.live, entry.at_ns, &entry.op, honest),
            Model::Durable => {}
        }
        self.ops_done += 1;
        Some(&entry.op)
    }

    /// The state that a crash here leaves.
    #[must_use]
    pub fn tree(&self) -> Tree {
        match &self.model {
            Model::Ext4(ext4) if self.rules.profile == Profile::Torn => {
                let mut random = Random::new(self.cut().seed(self.rules.seed));
                ext4.torn(self.log, &self.live, self.rules.grain, &mut random)
            }
            Model::Ext4(ext4) => Tree::of(ext4.disk()),
            Model::Posix(posix) => Tree::of(posix.disk()),
            Model::Durable => Tree::of(&self.live),
        }
    }

    /// The state that a crash here leaves, if the journal was committed just before without a word of this log: by the clock, or for a
    /// sync of somebody else's on the same file system (jbd2_log_start_commit). None where the state is that anyway, or nothing is
    /// known of a journal.
    #[must_use]
    pub fn tree_after_commit(&self) -> Option<Tree> {
        match &self.model {
            Model::Ext4(ext4) if self.rules.profile == Profile::Ext4 && self.rules.disk == Disk::Honest => {
                ext4.committed(self.log, self.ops_done).map(|disk| Tree::of(&disk))
            }
            _ => None,
        }
    }

    /// Changes whenever something becomes durable, as far as the profile counts that (ext4 only; elsewhere 0).
    pub(crate) fn version(&self) -> u64 {
        if let Model::Ext4(ext4) = &self.model { ext4.version() } else { 0 }
    }

    /// The identity of that state; cheap where nothing became durable since it was last asked for.
    pub fn id(&mut self) -> StateId {
        let version = match &self.model {
            Model::Ext4(ext4) if self.rules.profile == Profile::Ext4 => Some((ext4.version(), 0)),
            Model::Posix(posix) => Some((posix.version(), 0)),
            Model::Ext4(_) => None,
            Model::Durable => Some((0, self.ops_done)),
        };
        match (version, self.known_id) {
            (Some(version), Some((known, id))) if version == known => id,
            _ => {
                let id = self.tree().id();
                self.known_id = version.map(|v| (v, id));
                id
            }
        }
    }

    /// Bytes written and not durable here, by the profile's own count: at 0 a cut bites nothing.
    #[must_use]
    pub fn unsynced_bytes(&self) -> u64 {
        match &self.model {
            Model::Ext4(ext4) => ext4.unsynced_bytes(),
            Model::Posix(posix) => {
                let files = 1..self.live.next_ino();
                let missing = |ino| {
                    let live = self.live.content(ino)?;
                    let durable = posix.disk().content(ino).map_or(0, crate::content::Content::size);
                    Some(live.size().saturating_sub(durable))
                };
                files.filter_map(missing).sum()
            }
            Model::Durable => 0,
        }
    }

    /// How many operations are surely in a commit of the journal (ext4 only; elsewhere 0).
    #[must_use]
    pub fn committed_ops(&self) -> usize {
        if let Model::Ext4(ext4) = &self.model { ext4.committed_ops() } else { 0 }
    }
}

/// Whether an operation made a promise that a state may be asked for.
#[must_use]
pub(crate) fn is_turning_point(op: &Op) -> bool {
    op.turns() || op.is_sync() || matches!(op, Op::Close { .. })
}
