//! Profiles: which of the changes that were not yet synced a file system may lose, and by whose word.

use serde::{Deserialize, Serialize};

/// What a crash may do to the changes that were made before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Profile {
    /// POSIX's least. fsync makes the file's bytes and size durable, not its name (POSIX.1-2024 fsync: "all data for
    /// the open file descriptor"; fsync(2): "does not necessarily ensure that the entry in the directory containing
    /// the file has also reached disk"). A name is durable by an fsync of its directory; a rename is atomic
    /// (POSIX.1-2024 rename), in no order with anything else. Nothing becomes durable by the clock.
    Strict,
    /// A file's sync persists its own path and nothing else: between POSIX's least and what file systems do; ALICE
    /// (Pillai et al., OSDI 2014, section 2) calls it safe file flush and safe rename kept, all ordering given up.
    Path,
    /// ext4 as it is mounted by default (data=ordered, delalloc, auto_da_alloc, commit=5): the least that is durable
    /// at a given time. The rules stand in the module `ext4`, each with its source.
    #[default]
    Ext4,
    /// ext4, and of what was not yet durable any part that may have reached the disk, chosen by the seed: a later
    /// commit, and any subset of dirty pages (ALICE, section 3.2: writes are not atomic and not ordered).
    Torn,
    /// Comparable with Jepsen's: names, renames and removals are durable at once, bytes and sizes by an fsync of the
    /// file, nothing by the clock (LazyFS, `lazyfs/src/lazyfs.cpp`: lfs_create, lfs_rename and lfs_unlink pass
    /// through; lfs_write and lfs_truncate change the cache; lfs_fsync writes the cache back).
    Lazyfs,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 5] =
        [Profile::Strict, Profile::Path, Profile::Ext4, Profile::Torn, Profile::Lazyfs];

    /// The name, as in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Strict => "strict",
            Profile::Path => "path",
            Profile::Ext4 => "ext4",
            Profile::Torn => "torn",
            Profile::Lazyfs => "lazyfs",
        }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What the disk does with syncs; the two that are not honest are controls of the whole proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disk {
    /// It keeps what it promises.
    #[default]
    Honest,
    /// It lies: syncs are ignored. Whoever relies on them must be found to lose.
    Lying,
    /// Every change is durable at once. Nobody may be found to lose.
    Durable,
}

/// The unit in which a disk writes a page or not, in the profile `torn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grain {
    /// A page of 4 KiB: what the kernel writes back.
    #[default]
    Page,
    /// A sector of 512 bytes: what a disk writes at once.
    Sector,
}

impl Grain {
    /// Its size, in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Grain::Page => 4096,
            Grain::Sector => 512,
        }
    }
}

/// The rules by which a state is made from a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Rules {
    /// What a crash may do.
    pub profile: Profile,
    /// What the disk does with syncs.
    pub disk: Disk,
    /// The unit of tearing, for [`Profile::Torn`].
    pub grain: Grain,
    /// What chooses among the states that are legal; only [`Profile::Torn`] has a choice.
    pub seed: u64,
}

impl Rules {
    /// The rules of `profile` on an honest disk.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Rules { profile, ..Rules::default() }
    }

    /// The same, with another seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Rules { seed, ..self }
    }

    /// The same, on another disk.
    #[must_use]
    pub fn with_disk(self, disk: Disk) -> Self {
        Rules { disk, ..self }
    }
}
