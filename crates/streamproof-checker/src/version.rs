//! Versions of the server, as far as they are compared.

/// A version; what follows the three numbers is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version {
    major: u16,
    minor: u16,
    patch: u16,
}

impl Version {
    /// A version of these numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `2.15.1`, `v2.15.1` or `2.15.1-beta.1`; what cannot be read counts as 0.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut numbers =
            text.trim_start_matches('v').split(['.', '-', '+']).map(|part| part.parse().unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        Self { major: next(), minor: next(), patch: next() }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(Version::parse("v2.15.1-beta.2"), Version::new(2, 15, 1));
        assert!(Version::parse("2.9.25") < Version::parse("2.10.0"));
    }
}
