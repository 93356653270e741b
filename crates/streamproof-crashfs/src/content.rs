//! What a file holds, as extents of the bytes that were written to it: states share bytes, none is copied.

/// A run of bytes of a file, and where in the inode's buffer of the log those bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Offset in the file, in bytes.
    pub off: u64,
    /// Length, in bytes.
    pub len: u64,
    /// Offset in the inode's buffer, in bytes.
    pub src: u64,
}

impl Extent {
    fn end(&self) -> u64 {
        self.off + self.len
    }
}

/// The content of a file. What no extent covers reads as zeros.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Content {
    size: u64,
    extents: Vec<Extent>,
}

impl Content {
    /// The size, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The extents, by offset; they neither overlap nor could be joined.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Lays `extent` over what is there, and makes the file at least that long.
    pub fn put(&mut self, extent: Extent) {
        if extent.len == 0 {
            return;
        }
        self.size = self.size.max(extent.end());
        match self.extents.last_mut() {
            // Appends are nearly all that a log-structured store does: they cost no search.
            Some(last) if last.end() == extent.off && last.src + last.len == extent.src => {
                last.len += extent.len;
                return;
            }
            Some(last) if last.end() <= extent.off => {
                self.extents.push(extent);
                return;
            }
            None => {
                self.extents.push(extent);
                return;
            }
            Some(_) => {}
        }
        self.cut_out(extent.off, extent.end());
        let at = self.extents.partition_point(|e| e.off < extent.off);
        self.extents.insert(at, extent);
        self.join(at);
        if at > 0 {
            self.join(at - 1);
        }
    }

    /// Sets the size: what lies beyond is gone, what is gained reads as zeros.
    pub fn resize(&mut self, size: u64) {
        if size < self.size {
            self.cut_out(size, u64::MAX);
        }
        self.size = size;
    }

    /// Makes the file at least `size` long.
    pub fn grow(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// The parts of the extents that lie in `from..to`.
    pub fn slice(&self, from: u64, to: u64) -> impl Iterator<Item = Extent> + '_ {
        let first = self.extents.partition_point(|e| e.end() <= from);
        self.extents[first..].iter().take_while(move |e| e.off < to).map(move |e| {
            let off = e.off.max(from);
            let end = e.end().min(to);
            Extent { off, len: end - off, src: e.src + (off - e.off) }
        })
    }

    /// Takes over what `other` holds in `from..to`, holes included; the size grows to hold it.
    pub fn copy_range(&mut self, other: &Content, from: u64, to: u64) {
        let to = to.min(other.size);
        if from >= to {
            return;
        }
        self.cut_out(from, to);
        for extent in other.slice(from, to) {
            self.put(extent);
        }
        self.grow(to);
    }

    fn cut_out(&mut self, from: u64, to: u64) {
        let first = self.extents.partition_point(|e| e.end() <= from);
        let mut at = first;
        while at < self.extents.len() && self.extents[at].off < to {
            let e = self.extents[at];
            let keep_left = e.off < from;
            let keep_right = e.end() > to;
            let left = Extent { off: e.off, len: from.saturating_sub(e.off), src: e.src };
            let right = || Extent { off: to, len: e.end() - to, src: e.src + (to - e.off) };
            match (keep_left, keep_right) {
                (false, false) => {
                    self.extents.remove(at);
                }
                (true, false) => {
                    self.extents[at] = left;
                    at += 1;
                }
                (false, true) => {
                    self.extents[at] = right();
                    at += 1;
                }
                (true, true) => {
                    let right = right();
                    self.extents[at] = left;
                    self.extents.insert(at + 1, right);
                    return;
                }
            }
        }
    }

    fn join(&mut self, at: usize) {
        if at + 1 >= self.extents.len() {
            return;
        }
        let (left, right) = (self.extents[at], self.extents[at + 1]);
        if left.end() == right.off && left.src + left.len == right.src {
            self.extents[at].len += right.len;
            self.extents.remove(at + 1);
        }
    }
}

/// A set of byte ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    runs: Vec<(u64, u64)>,
}

impl Ranges {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The runs `from..to`, by offset; they neither overlap nor touch.
    #[must_use]
    pub fn runs(&self) -> &[(u64, u64)] {
        &self.runs
    }

    /// The number of bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|(from, to)| to - from).sum()
    }

    /// Adds `from..to`.
    pub fn insert(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        match self.runs.last_mut() {
            Some(last) if last.0 <= from && from <= last.1 => {
                last.1 = last.1.max(to);
                return;
            }
            Some(last) if last.1 < from => {
                self.runs.push((from, to));
                return;
            }
            _ => {}
        }
        let first = self.runs.partition_point(|r| r.1 < from);
        let end = self.runs.partition_point(|r| r.0 <= to);
        let mut run = (from, to);
        for r in &self.runs[first..end] {
            run = (run.0.min(r.0), run.1.max(r.1));
        }
        self.runs.splice(first..end, [run]);
    }

    /// Removes `from..to`.
    pub fn remove(&mut self, from: u64, to: u64) {
        if from >= to || self.runs.is_empty() {
            return;
        }
        let first = self.runs.partition_point(|r| r.1 <= from);
        let end = self.runs.partition_point(|r| r.0 < to);
        let mut kept = Vec::new();
        for r in &self.runs[first..end] {
            if r.0 < from {
                kept.push((r.0, from));
            }
            if r.1 > to {
                kept.push((to, r.1));
            }
        }
        if first < end {
            self.runs.splice(first..end, kept);
        }
    }

    /// Whether all of `from..to` is in it.
    #[must_use]
    pub fn covers(&self, from: u64, to: u64) -> bool {
        from >= to || {
            let at = self.runs.partition_point(|r| r.1 <= from);
            self.runs.get(at).is_some_and(|r| r.0 <= from && to <= r.1)
        }
    }

    /// The parts of it that lie in `from..to`.
    #[must_use]
    pub fn within(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        self.runs.iter().filter(|r| r.0 < to && r.1 > from).map(|r| (r.0.max(from), r.1.min(to))).collect()
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Random;

    /// Every operation is held against a plain array of bytes.
    #[test]
    fn content_is_what_an_array_would_hold() {
        let mut random = Random::new(7);
        for _ in 0..300 {
            let mut content = Content::default();
            let mut plain: Vec<u64> = Vec::new();
            let mut src = 1;
            for _ in 0..40 {
                let off = random.below(64);
                let len = 1 + random.below(24);
                if random.below(5) == 0 {
                    content.resize(off);
                    plain.resize(off as usize, 0);
                } else {
                    content.put(Extent { off, len, src });
                    if plain.len() < (off + len) as usize {
                        plain.resize((off + len) as usize, 0);
                    }
                    for i in 0..len {
                        plain[(off + i) as usize] = src + i;
                    }
                    src += len + random.below(2);
                }
                let mut read = vec![0; content.size() as usize];
                for e in content.extents() {
                    for i in 0..e.len {
                        read[(e.off + i) as usize] = e.src + i;
                    }
                }
                assert_eq!(read, plain);
                for pair in content.extents().windows(2) {
                    assert!(pair[0].end() <= pair[1].off);
                    assert!(
                        pair[0].end() < pair[1].off || pair[0].src + pair[0].len != pair[1].src,
                        "not joined: {pair:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn ranges_are_what_a_set_would_hold() {
        let mut random = Random::new(3);
        for _ in 0..300 {
            let mut ranges = Ranges::default();
            let mut plain = [false; 80];
            for _ in 0..30 {
                let from = random.below(60);
                let to = from + random.below(20);
                let add = random.below(3) > 0;
                if add {
                    ranges.insert(from, to);
                } else {
                    ranges.remove(from, to);
                }
                for p in &mut plain[from as usize..to as usize] {
                    *p = add;
                }
                let mut read = [false; 80];
                for &(from, to) in ranges.runs() {
                    read[from as usize..to as usize].fill(true);
                }
                assert_eq!(read, plain);
                assert!(ranges.runs().windows(2).all(|w| w[0].1 < w[1].0), "{ranges:?}");
                assert_eq!(ranges.covers(from, to), plain[from as usize..to as usize].iter().all(|p| *p));
            }
        }
    }
}
