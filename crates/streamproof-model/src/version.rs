//! Versions of nats-server: parsed, compared, and the releases at which rules change.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A version of nats-server, such as `2.15.1` or `2.12.0-RC.3`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
    /// What follows a hyphen (`RC.3`); such a version is older than the one without it.
    pub pre: Option<String>,
}

impl Version {
    /// A release, without anything after a hyphen.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Version {
        Version { major, minor, patch, pre: None }
    }

    /// Whether this version has what came with `major.minor.patch`. Release candidates count as the release: they carry its
    /// fields.
    #[must_use]
    pub const fn has(&self, release: Release) -> bool {
        let Release(major, minor, patch) = release;
        if self.major != major {
            return self.major > major;
        }
        if self.minor != minor {
            return self.minor > minor;
        }
        self.patch >= patch
    }

    /// The newest JetStream API level that this server knows, as it says itself in `$JS.API.INFO` from 2.11 on
    /// (nats-server `server/jetstream_versioning.go`: `JSApiLevel`).
    #[must_use]
    pub const fn api_level(&self) -> u32 {
        if self.has(Release(2, 15, 0)) {
            5
        } else if self.has(Release(2, 14, 0)) {
            4
        } else if self.has(Release(2, 12, 0)) {
            2
        } else if self.has(Release(2, 11, 0)) {
            1
        } else {
            0
        }
    }
}

/// The release at which a rule or field came or went: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release(pub u32, pub u32, pub u32);

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.2 {
            0 => write!(f, "{}.{}", self.0, self.1),
            patch => write!(f, "{}.{}.{patch}", self.0, self.1),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        match &self.pre {
            Some(pre) => write!(f, "-{pre}"),
            None => Ok(()),
        }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = |v: &Version| (v.major, v.minor, v.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| match (&self.pre, &other.pre) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) => a.cmp(b),
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A text that is no version of nats-server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version such as 2.15.1")]
pub struct NotAVersion(pub String);

impl FromStr for Version {
    type Err = NotAVersion;

    /// Takes `2.15.1`, `v2.15.1` and `2.12.0-RC.3`; anything after a `+` is dropped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || NotAVersion(text.to_owned());
        let bare = text.trim().trim_start_matches('v');
        let bare = bare.split_once('+').map_or(bare, |(before, _)| before);
        let (numbers, pre) = match bare.split_once('-') {
            Some((_, "")) => return Err(refused()),
            Some((numbers, pre)) => (numbers, Some(pre.to_owned())),
            None => (bare, None),
        };
        let mut parts = numbers.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse::<u32>().ok() } else { None }
        });
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
                Ok(Version { major, minor, patch, pre })
            }
            _ => Err(refused()),
        }
    }
}

impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_read_and_written() {
        for text in ["2.15.1", "2.10.25", "2.12.0-RC.3"] {
            assert_eq!(v(text).to_string(), text);
        }
        assert_eq!(v("v2.14.6"), Version::new(2, 14, 6));
        assert_eq!(v("2.14.6+build"), Version::new(2, 14, 6));
        for text in
            ["", "2", "2.15", "2.15.x", "2.15.1.1", "2..1", "+2.1.1", "2.15.-1", "2.15.1-", "99999999999.1.1"]
        {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn versions_are_compared_by_number_and_a_candidate_is_older() {
        assert!(v("2.10.25") < v("2.11.0"));
        assert!(v("2.9.30") < v("2.10.0"));
        assert!(v("2.12.0-RC.3") < v("2.12.0"));
        assert!(v("2.12.0-RC.3").has(Release(2, 12, 0)));
        assert!(!v("2.11.1").has(Release(2, 11, 2)));
        assert!(v("3.0.0").has(Release(2, 15, 9)));
    }
}
