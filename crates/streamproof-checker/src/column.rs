//! Columns by sequence or by message: a few bytes for each, in chunks, so that growing never doubles memory.

use std::cell::Cell;

/// Cells of one chunk. Small histories stay small; a chunk of the widest column is 14 KB.
pub(crate) const CHUNK: usize = 512;

/// A sparse column by sequence. Sequences come mostly in order, so the chunk used last is looked at first.
#[derive(Debug)]
pub(crate) struct Column<T> {
    chunks: Vec<(u64, Box<[T; CHUNK]>)>,
    hot: Cell<usize>,
}

impl<T: Copy + Default> Default for Column<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), hot: Cell::new(0) }
    }
}

impl<T: Copy + Default> Column<T> {
    pub(crate) fn get(&self, index: u64) -> T {
        self.find(index / CHUNK as u64)
            .map(|chunk| self.chunks[chunk].1[(index % CHUNK as u64) as usize])
            .unwrap_or_default()
    }

    pub(crate) fn slot(&mut self, index: u64) -> &mut T {
        let key = index / CHUNK as u64;
        let chunk = self.find(key).unwrap_or_else(|| {
            let place = self.chunks.partition_point(|(have, _)| *have < key);
            self.chunks.insert(place, (key, Box::new([T::default(); CHUNK])));
            self.hot.set(place);
            place
        });
        &mut self.chunks[chunk].1[(index % CHUNK as u64) as usize]
    }

    fn find(&self, key: u64) -> Option<usize> {
        let hot = self.hot.get();
        if self.chunks.get(hot).is_some_and(|(have, _)| *have == key) {
            return Some(hot);
        }
        let found = self.chunks.binary_search_by_key(&key, |(have, _)| *have).ok()?;
        self.hot.set(found);
        Some(found)
    }
}

/// What a stream holds at a sequence, and what is known of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slot {
    /// The message, as a number of the table of messages plus one; 0 while it is not known.
    pub(crate) message: u32,
    pub(crate) flags: u8,
}

/// The publish was acked.
pub(crate) const ACKED: u8 = 1;
/// A reader has seen it.
pub(crate) const READ: u8 = 2;
/// It was absent when the stream was last read back.
pub(crate) const GONE: u8 = 4;
/// It is expected, or was there when the stream was last read back.
pub(crate) const LIVE: u8 = 8;
/// It is in the reading that goes on.
pub(crate) const PRESENT: u8 = 16;
/// Its deletion may have happened.
pub(crate) const MAYBE_DELETED: u8 = 32;
/// Its deletion was acknowledged.
pub(crate) const DELETED: u8 = 64;
/// Its loss has been reported.
pub(crate) const REPORTED: u8 = 128;

/// The slots of a stream, in chunks that know how many of theirs are live, so that a stream's long past costs
/// nothing.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    chunks: Vec<Chunk>,
    hot: Cell<usize>,
}

#[derive(Debug)]
struct Chunk {
    key: u64,
    live: u32,
    messages: Box<[u32; CHUNK]>,
    flags: Box<[u8; CHUNK]>,
}

impl Slots {
    pub(crate) fn get(&self, seq: u64) -> Slot {
        let at = (seq % CHUNK as u64) as usize;
        self.find(seq / CHUNK as u64)
            .map(|chunk| &self.chunks[chunk])
            .map(|chunk| Slot { message: chunk.messages[at], flags: chunk.flags[at] })
            .unwrap_or_default()
    }

    pub(crate) fn set(&mut self, seq: u64, slot: Slot) {
        let key = seq / CHUNK as u64;
        let chunk = self.find(key).unwrap_or_else(|| {
            let place = self.chunks.partition_point(|chunk| chunk.key < key);
            let chunk = Chunk { key, live: 0, messages: Box::new([0; CHUNK]), flags: Box::new([0; CHUNK]) };
            self.chunks.insert(place, chunk);
            self.hot.set(place);
            place
        });
        let chunk = &mut self.chunks[chunk];
        let at = (seq % CHUNK as u64) as usize;
        let (before, after) = (chunk.flags[at] & LIVE != 0, slot.flags & LIVE != 0);
        chunk.live = chunk.live + u32::from(after) - u32::from(before);
        chunk.messages[at] = slot.message;
        chunk.flags[at] = slot.flags;
    }

    /// Adds flags to what is there.
    pub(crate) fn mark(&mut self, seq: u64, flags: u8) {
        let mut slot = self.get(seq);
        if slot.flags & flags != flags {
            slot.flags |= flags;
            self.set(seq, slot);
        }
    }

    /// The next live sequence at or after `seq`.
    pub(crate) fn next_live(&self, seq: u64) -> Option<u64> {
        let key = seq / CHUNK as u64;
        let first = self.chunks.partition_point(|chunk| chunk.key < key);
        for chunk in &self.chunks[first..] {
            if chunk.live == 0 {
                continue;
            }
            let from = if chunk.key == key { (seq % CHUNK as u64) as usize } else { 0 };
            if let Some(at) = chunk.flags[from..].iter().position(|flags| flags & LIVE != 0) {
                return Some(chunk.key * CHUNK as u64 + (from + at) as u64);
            }
        }
        None
    }

    /// The next live sequence at or before `seq`.
    pub(crate) fn previous_live(&self, seq: u64) -> Option<u64> {
        let key = seq / CHUNK as u64;
        let end = self.chunks.partition_point(|chunk| chunk.key <= key);
        for chunk in self.chunks[..end].iter().rev() {
            if chunk.live == 0 {
                continue;
            }
            let to = if chunk.key == key { (seq % CHUNK as u64) as usize + 1 } else { CHUNK };
            if let Some(at) = chunk.flags[..to].iter().rposition(|flags| flags & LIVE != 0) {
                return Some(chunk.key * CHUNK as u64 + at as u64);
            }
        }
        None
    }

    fn find(&self, key: u64) -> Option<usize> {
        let hot = self.hot.get();
        if self.chunks.get(hot).is_some_and(|chunk| chunk.key == key) {
            return Some(hot);
        }
        let found = self.chunks.binary_search_by_key(&key, |chunk| chunk.key).ok()?;
        self.hot.set(found);
        Some(found)
    }
}

/// A set of message numbers that is emptied again and again.
#[derive(Debug, Default)]
pub(crate) struct Set {
    words: Vec<u64>,
    touched: Vec<u32>,
}

impl Set {
    /// Whether it was not in the set before.
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        let word = (number / 64) as usize;
        if word >= self.words.len() {
            // Grown by whole chunks, not doubled.
            self.words.reserve_exact((word + 1 + CHUNK).saturating_sub(self.words.len()));
            self.words.resize(word + 1 + CHUNK, 0);
        }
        let bit = 1_u64 << (number % 64);
        let new = self.words[word] & bit == 0;
        if self.words[word] == 0 {
            self.touched.push(word as u32);
        }
        self.words[word] |= bit;
        new
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        self.words.get((number / 64) as usize).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    pub(crate) fn clear(&mut self) {
        for word in self.touched.drain(..) {
            self.words[word as usize] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_slots_are_walked_both_ways_across_gaps() {
        let mut slots = Slots::default();
        let seqs = [1, 2, 511, 512, 100_000, 5_000_000_000];
        for seq in [100_000, 1, 5_000_000_000, 512, 2, 511] {
            slots.set(seq, Slot { message: seq as u32, flags: LIVE });
        }
        slots.set(700, Slot { message: 1, flags: GONE });
        let mut up = Vec::new();
        let mut at = 0;
        while let Some(seq) = slots.next_live(at) {
            up.push(seq);
            at = seq + 1;
        }
        let mut down = Vec::new();
        let mut at = u64::MAX;
        while let Some(seq) = slots.previous_live(at) {
            down.push(seq);
            at = seq - 1;
        }
        down.reverse();
        assert_eq!((up, down), (seqs.to_vec(), seqs.to_vec()));
    }

    #[test]
    fn a_set_empties_only_what_was_touched() {
        let mut set = Set::default();
        assert!(set.insert(5) && set.insert(70_000) && !set.insert(5));
        assert!(set.contains(70_000) && !set.contains(6));
        set.clear();
        assert!(!set.contains(5) && set.insert(70_000));
    }
}
