//! Bytes on their way to the disk: the page cache, delayed allocation, write-back that is waited for and that is not.

use super::{BLOCK, Ext4, Pending, TICK_NS, Volatile};
use crate::content::{Content, Extent};
use crate::image::Image;
use crate::log::Ino;

/// For how long bytes are under way that nobody waits for: ten times what a busy disk takes.
const FLIGHT_NS: u64 = 100_000_000;

/// A write-back that was begun and is not waited for.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) ino: Ino,
    pub(super) extents: Vec<Extent>,
    /// Whether the file got the blocks for it only now: they read as zeros until the bytes have arrived.
    is_new: bool,
    due_ns: u64,
}

impl Flight {
    pub(super) fn bytes(&self) -> u64 {
        self.extents.iter().map(|e| e.len).sum()
    }

    /// What a truncation to `size` leaves of it.
    pub(super) fn truncate(&mut self, size: u64) {
        for e in &mut self.extents {
            e.len = e.len.min(size.saturating_sub(e.off));
        }
        self.extents.retain(|e| e.len > 0);
    }
}

impl Ext4 {
    /// When the next bytes arrive that nobody waits for.
    pub(super) fn next_arrival_ns(&self) -> Option<u64> {
        self.flights.first().map(|f| f.due_ns)
    }

    /// Lets the bytes arrive that are due.
    pub(super) fn arrive(&mut self, at_ns: u64) {
        while self.flights.first().is_some_and(|f| f.due_ns <= at_ns) {
            let flight = self.flights.remove(0);
            self.land(flight, at_ns);
        }
    }

    /// A write, page by page as generic_perform_write does it.
    pub(super) fn write(&mut self, ino: Ino, from: u64, to: u64, at_ns: u64) {
        if from >= to {
            return;
        }
        self.earliest_dirty_ns.get_or_insert(at_ns);
        let file = self.file(ino);
        if file.dirty.is_empty() {
            file.dirty_since_ns = at_ns;
        }
        file.dirty.insert(from, to);
        let stamped = at_ns.saturating_sub(file.stamped_ns) >= TICK_NS;
        let mut grown_to = None;
        let mut at = from;
        while at < to {
            let end = to.min((at / BLOCK + 1) * BLOCK);
            // ext4_da_should_update_i_disksize: the block in which this page's part ends.
            if end > file.size && file.mapped.covers(end - 1, end) {
                grown_to = Some(end);
            }
            file.size = file.size.max(end);
            at = end;
        }
        match grown_to.filter(|size| *size > file.disk_size) {
            Some(size) => {
                file.disk_size = size;
                let tid = self.join(at_ns, Pending::Grow { ino, size });
                self.file(ino).touch(tid, at_ns, true);
                self.file(ino).pending_tid = tid;
            }
            None if stamped => {
                let tid = self.begin(at_ns);
                self.file(ino).touch(tid, at_ns, false);
            }
            None => {}
        }
    }

    /// ext4_alloc_da_blocks: begins to write the file back if some of it has no blocks yet; nobody waits for it.
    pub(super) fn allocate(&mut self, live: &Image, ino: Ino, at_ns: u64) {
        let file = self.file(ino);
        if file.dirty.runs().iter().any(|&(from, to)| !file.has_blocks(from, to)) {
            self.begin_write_back(live, ino, at_ns);
            self.find_earliest_dirty();
        }
    }

    /// Begins to write all dirty bytes of a file back. The file gets its blocks and its size in the running transaction; the
    /// bytes arrive later.
    pub(super) fn begin_write_back(&mut self, live: &Image, ino: Ino, at_ns: u64) {
        for (from, to, extents) in self.take_dirty(live, ino, 0, u64::MAX) {
            let is_new = self.allot(live, ino, from, to, at_ns);
            self.flights.push(Flight { ino, extents, is_new, due_ns: at_ns + FLIGHT_NS });
        }
    }

    /// Writes the dirty bytes in `from..to` back and waits for them, and for all of the file that is under way.
    pub(super) fn write_back(&mut self, live: &Image, ino: Ino, (from, to): (u64, u64), at_ns: u64) {
        let (ours, others) = std::mem::take(&mut self.flights).into_iter().partition(|f| f.ino == ino);
        self.flights = others;
        for flight in ours {
            self.land(flight, at_ns);
        }
        for (from, to, extents) in self.take_dirty(live, ino, from, to) {
            let is_new = self.allot(live, ino, from, to, at_ns);
            self.land(Flight { ino, extents, is_new, due_ns: at_ns }, at_ns);
        }
    }

    fn take_dirty(&mut self, live: &Image, ino: Ino, from: u64, to: u64) -> Vec<(u64, u64, Vec<Extent>)> {
        let Some(content) = live.content(ino) else { return Vec::new() };
        let file: &mut Volatile = self.file(ino);
        let runs = file.dirty.within(from, to);
        file.dirty.remove(from, to);
        runs.into_iter().map(|(from, to)| (from, to, content.slice(from, to).collect())).collect()
    }

    /// Blocks for `from..to`, and the size on disk with them (mpage_map_and_submit_extent). Whether anything had to be got.
    fn allot(&mut self, live: &Image, ino: Ino, from: u64, to: u64, at_ns: u64) -> bool {
        let end = to.min(live.content(ino).map_or(0, Content::size));
        let file = self.file(ino);
        if file.mapped.covers(from, to) && end <= file.disk_size {
            return false;
        }
        file.mapped.insert(from / BLOCK * BLOCK, to.div_ceil(BLOCK) * BLOCK);
        file.disk_size = file.disk_size.max(end);
        let size = file.disk_size;
        let tid = self.join(at_ns, Pending::Grow { ino, size });
        self.file(ino).touch(tid, at_ns, true);
        self.file(ino).pending_tid = tid;
        true
    }

    /// The bytes are on the disk. Where the blocks are new, the file has them with the commit of what says that they are
    /// written (dioread_nolock: ext4_end_io_rsv_work converts the extents).
    fn land(&mut self, flight: Flight, at_ns: u64) {
        let Flight { ino, extents, is_new, .. } = flight;
        if !is_new && self.file(ino).pending_tid != self.tid {
            self.version += 1;
            if let Some(disk) = self.disk.content_mut(ino) {
                let size = disk.size();
                extents.into_iter().for_each(|e| disk.put(e));
                disk.resize(size);
            }
            return;
        }
        let tid = self.join(at_ns, Pending::Bytes { ino, extents });
        self.file(ino).pending_tid = tid;
        if is_new {
            self.file(ino).touch(tid, at_ns, true);
        }
    }
}
