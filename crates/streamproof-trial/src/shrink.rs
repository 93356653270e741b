//! The shortest list that still fails: delta debugging over any list, pure; what a failure is, is asked of the caller.

use std::time::Instant;

/// What a shrink came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk<T> {
    /// The shortest list found that still fails.
    pub items: Vec<T>,
    /// How often the caller was asked.
    pub tries: u32,
    /// No single item can be left out any more; false where the tries or the time ran out first.
    pub minimal: bool,
}

/// The bounds of a shrink.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The caller is asked at most this often.
    pub tries_max: u32,
    /// No try begins after this moment.
    pub until: Instant,
}

/// Reduces `items` to a list of which no chunk, and in the end no single item, can be left out so that `fails` still says yes.
///
/// This is Zeller's `ddmin` without its subset step (complements only: in a history of operations a lone chunk rarely fails
/// by itself, so asking for it first wastes restarts). The list given is taken to fail and is not asked about.
pub fn shrink<T: Clone>(items: Vec<T>, bounds: Bounds, mut fails: impl FnMut(&[T]) -> bool) -> Shrunk<T> {
    let mut current = items;
    let mut tries = 0;
    let mut chunks = 2_usize;
    while current.len() > 1 {
        let size = current.len().div_ceil(chunks);
        let mut reduced = false;
        let mut start = 0;
        while start < current.len() {
            if tries >= bounds.tries_max || Instant::now() >= bounds.until {
                return Shrunk { items: current, tries, minimal: false };
            }
            let end = (start + size).min(current.len());
            let mut candidate = Vec::with_capacity(current.len() - (end - start));
            candidate.extend_from_slice(&current[..start]);
            candidate.extend_from_slice(&current[end..]);
            tries += 1;
            if !candidate.is_empty() && fails(&candidate) {
                current = candidate;
                reduced = true;
                // The next chunk now begins where this one did.
            } else {
                start = end;
            }
        }
        if size == 1 && !reduced {
            break;
        }
        // Chunks shrink whether or not something went: what is left is usually scattered.
        chunks = (chunks * 2).min(current.len().max(1));
    }
    Shrunk { items: current, tries, minimal: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn bounds(tries_max: u32) -> Bounds {
        Bounds { tries_max, until: Instant::now() + Duration::from_secs(60) }
    }

    #[test]
    fn keeps_exactly_what_the_failure_needs() {
        let shrunk = shrink((0..100).collect(), bounds(10_000), |items| {
            [3, 50, 97].iter().all(|need| items.contains(need))
        });
        assert_eq!(shrunk.items, [3, 50, 97]);
        assert!(shrunk.minimal);
        assert!(shrunk.tries < 120, "{} tries", shrunk.tries);
    }

    #[test]
    fn one_item_is_found_in_few_tries() {
        let shrunk = shrink((0..1024).collect(), bounds(10_000), |items| items.contains(&700));
        assert_eq!(shrunk.items, [700]);
        assert!(shrunk.tries < 40, "{} tries", shrunk.tries);
    }

    #[test]
    fn order_is_kept_and_the_bound_is_honoured() {
        let shrunk = shrink((0..64).collect(), bounds(3), |items| items.len() > 30);
        assert_eq!(shrunk.tries, 3);
        assert!(!shrunk.minimal);
        assert!(shrunk.items.is_sorted());
    }
}
