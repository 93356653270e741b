//! Seeded choice: the one source of randomness of a run, so that a seed repeats it.

/// A small generator (SplitMix64): every 64-bit seed is a good one, and its stream never depends on the platform.
#[derive(Debug, Clone)]
pub struct Seed(u64);

impl Seed {
    /// A generator that starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Seed(seed)
    }

    /// An independent generator for a named part, so that a part keeps its choices when another part draws more.
    #[must_use]
    pub fn part(&self, name: &str) -> Self {
        let mut hash = self.0 ^ 0xcbf2_9ce4_8422_2325;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let mut seed = Seed(hash);
        seed.draw();
        seed
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.draw() % bound }
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the items, with equal weight.
    ///
    /// # Panics
    /// If there are no items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let index = self.below(items.len() as u64) as usize;
        &items[index]
    }

    /// One of the items, by weight; `None` if no weight is above zero.
    pub fn weighted<'a, T>(&mut self, items: &'a [(u32, T)]) -> Option<&'a T> {
        let total: u64 = items.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let mut at = self.below(total);
        for (weight, item) in items {
            let weight = u64::from(*weight);
            if at < weight {
                return Some(item);
            }
            at -= weight;
        }
        None
    }

    /// The items in another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_parts_are_independent() {
        let draw = |mut seed: Seed| (0..8).map(|_| seed.draw()).collect::<Vec<_>>();
        assert_eq!(draw(Seed::new(7)), draw(Seed::new(7)));
        assert_ne!(draw(Seed::new(7)), draw(Seed::new(8)));
        assert_eq!(draw(Seed::new(7).part("a")), draw(Seed::new(7).part("a")));
        assert_ne!(draw(Seed::new(7).part("a")), draw(Seed::new(7).part("b")));
    }

    #[test]
    fn weights_of_zero_are_never_drawn() {
        let mut seed = Seed::new(1);
        for _ in 0..200 {
            assert_eq!(seed.weighted(&[(0, 'a'), (3, 'b')]), Some(&'b'));
        }
        assert_eq!(seed.weighted::<char>(&[]), None);
    }
}
