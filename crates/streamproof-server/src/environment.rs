//! What getting a nats-server needs to know of the machine, as a value; and the one place that asks the process for it.

use std::path::PathBuf;

use crate::interrupt::Interrupt;
use crate::pins;

/// Where to look for a nats-server, and where to keep it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// A path that the user gave: used, or refused, but never passed over.
    pub explicit: Option<PathBuf>,
    /// Folders of the form `<version>/nats-server`. All are looked in; what is fetched goes into the first.
    pub caches: Vec<PathBuf>,
    /// The folders of `PATH`.
    pub path_dirs: Vec<PathBuf>,
    /// Ask no network: only what is on this machine counts.
    pub offline: bool,
    /// Set when the user wants to end: what is being fetched is then given up.
    pub interrupt: Interrupt,
    /// Where the release archives lie, up to and without `/v2.15.1/nats-server-v2.15.1-linux-amd64.tar.gz`.
    pub release_base: String,
    /// The official image's repository, without a tag.
    pub image_repository: String,
    /// The digest that the official image of the pinned version must have, where that is known.
    pub image_digest: Option<String>,
}

/// The official releases.
pub const RELEASE_BASE: &str = "https://github.com/nats-io/nats-server/releases/download";

/// The official image.
pub const IMAGE_REPOSITORY: &str = "nats";

impl Sources {
    /// Nothing but this cache: no `PATH`, but the network's sources at their official places.
    #[must_use]
    pub fn with_cache(cache: impl Into<PathBuf>) -> Sources {
        Sources {
            explicit: None,
            caches: vec![cache.into()],
            path_dirs: Vec::new(),
            offline: false,
            interrupt: Interrupt::default(),
            release_base: RELEASE_BASE.to_owned(),
            image_repository: IMAGE_REPOSITORY.to_owned(),
            image_digest: pins::IMAGE_DIGEST.map(str::to_owned),
        }
    }

    /// What this process's environment says: `STREAMPROOF_SERVER_BIN` (an explicit path), `STREAMPROOF_CACHE` (else
    /// `$XDG_CACHE_HOME/streamproof/bin`, else `~/.cache/streamproof/bin`), `STREAMPROOF_OFFLINE` (anything but empty and
    /// `0`), `STREAMPROOF_RELEASES` and `STREAMPROOF_IMAGE` (mirrors of the release archives and of the official image; what
    /// they give is held against the same checksums), `PATH`.
    ///
    /// Scratch servers use it by default. Everything else in this crate takes a [`Sources`] and asks the process nothing.
    #[must_use]
    pub fn from_process() -> Sources {
        Sources::from_variables(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Sources {
        let home = variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from);
        let cache = variable("STREAMPROOF_CACHE")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(variable("XDG_CACHE_HOME")?).join("streamproof/bin")))
            .or_else(|| Some(home?.join(".cache/streamproof/bin")))
            .unwrap_or_else(|| std::env::temp_dir().join("streamproof/bin"));
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
        let path_dirs =
            variable("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        Sources {
            explicit: variable("STREAMPROOF_SERVER_BIN").map(PathBuf::from),
            path_dirs,
            offline: variable("STREAMPROOF_OFFLINE").is_some_and(|value| value != "0"),
            release_base: text("STREAMPROOF_RELEASES").unwrap_or_else(|| RELEASE_BASE.to_owned()),
            image_repository: text("STREAMPROOF_IMAGE").unwrap_or_else(|| IMAGE_REPOSITORY.to_owned()),
            ..Sources::with_cache(cache)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(variables: &[(&str, &str)]) -> Sources {
        Sources::from_variables(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_cache_is_the_users_own_unless_said_otherwise() {
        let cache = |variables: &[(&str, &str)]| sources(variables).caches[0].clone();
        assert_eq!(cache(&[("HOME", "/h")]), PathBuf::from("/h/.cache/streamproof/bin"));
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), PathBuf::from("/x/streamproof/bin"));
        assert_eq!(cache(&[("HOME", "/h"), ("STREAMPROOF_CACHE", "/c")]), PathBuf::from("/c"));
    }

    #[test]
    fn offline_is_any_value_but_nought() {
        assert!(!sources(&[]).offline);
        assert!(!sources(&[("STREAMPROOF_OFFLINE", "0")]).offline);
        assert!(sources(&[("STREAMPROOF_OFFLINE", "1")]).offline);
    }

    #[test]
    fn path_and_the_explicit_path_are_taken() {
        let sources = sources(&[("PATH", "/a:/b"), ("STREAMPROOF_SERVER_BIN", "/s")]);
        assert_eq!(sources.path_dirs, ["/a", "/b"].map(PathBuf::from));
        assert_eq!(sources.explicit, Some(PathBuf::from("/s")));
    }
}
