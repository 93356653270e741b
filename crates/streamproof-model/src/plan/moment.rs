//! Moments compared and moved, as a plan needs it.

use crate::moment::{nanoseconds, write};

/// Whether the first moment is before the second. Where one cannot be read, it is not.
#[must_use]
pub fn earlier(a: &str, b: &str) -> bool {
    matches!((nanoseconds(a), nanoseconds(b)), (Some(a), Some(b)) if a < b)
}

/// The moment so many nanoseconds before another, as RFC 3339.
#[must_use]
pub fn before(moment: &str, age_ns: u64) -> Option<String> {
    Some(write(nanoseconds(moment)? - i128::from(age_ns)))
}
