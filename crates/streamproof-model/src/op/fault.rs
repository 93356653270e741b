//! Faults, the level each belongs to, and the evidence that one bit.

use serde::{Deserialize, Serialize};

/// What a stream can be asked to survive. The order is that of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A stop and a start, or a broken connection.
    Restart,
    /// The process dies; what it had written to the kernel is kept.
    ProcessCrash,
    /// The machine dies; only what was synced is kept.
    HostCrash,
    /// Another version on the same store.
    Upgrade,
    /// No room left.
    DiskFull,
}

impl Level {
    /// Every level.
    pub const ALL: [Level; 5] =
        [Level::Restart, Level::ProcessCrash, Level::HostCrash, Level::Upgrade, Level::DiskFull];

    /// The name, as in `survive`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Level::Restart => "restart",
            Level::ProcessCrash => "process-crash",
            Level::HostCrash => "host-crash",
            Level::Upgrade => "upgrade",
            Level::DiskFull => "disk-full",
        }
    }

    /// The level of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal => $level:ident,)+) => {
        /// The faults, by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum FaultKind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl FaultKind {
            /// Every fault.
            pub const ALL: &'static [FaultKind] = &[$(FaultKind::$variant,)+];

            /// The name, as `--fault` takes it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(FaultKind::$variant => $name,)+ }
            }

            /// The level that it belongs to.
            #[must_use]
            pub const fn level(self) -> Level {
                match self { $(FaultKind::$variant => Level::$level,)+ }
            }

            /// The fault of that name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.name() == name)
            }
        }
    };
}

faults! {
    /// Asked to stop, and started again.
    Stop = "stop" => Restart,
    /// Several graceful restarts in a row.
    Restarts = "restarts" => Restart,
    /// The container is removed and made anew on the same volume.
    Recreate = "recreate" => Restart,
    /// Every client is cut off and comes back; the server runs on.
    Disconnect = "disconnect" => Restart,
    /// SIGKILL under load.
    Kill = "kill" => ProcessCrash,
    /// SIGKILL right after one acknowledged operation.
    KillAfterAck = "kill-after-ack" => ProcessCrash,
    /// The recovery index is deleted while the server is down.
    IndexLost = "index-lost" => ProcessCrash,
    /// The recovery index is replaced by an older copy of itself while the server is down.
    IndexStale = "index-stale" => ProcessCrash,
    /// SIGSTOP and SIGCONT.
    Pause = "pause" => ProcessCrash,
    /// Only what is durable is kept, by a model of what ext4 does: every crash state of a recorded run.
    PowerCut = "power-cut" => HostCrash,
    /// Only what the kernel keeps of a real file system (ext4, XFS) that is shut down under the running server.
    PowerCutExt4 = "power-cut-ext4" => HostCrash,
    /// A newer server on the same store.
    Upgrade = "upgrade" => Upgrade,
    /// An older server on the same store.
    Downgrade = "downgrade" => Upgrade,
    /// The disk fills up, and is freed.
    DiskFull = "disk-full" => DiskFull,
}

impl FaultKind {
    /// Whether the server's process ends in it. If not, deliveries may race with acks as on any day.
    #[must_use]
    pub const fn restarts(self) -> bool {
        !matches!(self, FaultKind::Disconnect | FaultKind::Pause)
    }

    /// Whether the server was given the time to write down what it knew.
    #[must_use]
    pub const fn graceful(self) -> bool {
        matches!(
            self,
            FaultKind::Stop
                | FaultKind::Restarts
                | FaultKind::Recreate
                | FaultKind::Upgrade
                | FaultKind::Downgrade
        )
    }
}

/// What was seen of a fault. A field that does not apply stays as it is by default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// The server's process before; 0 where there is none to see (in a container, its id's hash).
    pub pid_before: u32,
    /// The server's process after.
    pub pid_after: u32,
    /// Calls without an outcome at the moment of the fault.
    pub in_flight: u32,
    /// Calls acknowledged since the previous fault.
    pub acked: u64,
    /// Bytes written and not synced, of a power cut.
    pub unsynced_bytes: u64,
    /// Connections that broke.
    pub connections_lost: u32,
    /// How often the server was restarted.
    pub restarts: u32,
    /// Index files deleted or replaced.
    pub index_files: u32,
    /// Writes that were refused for want of room.
    pub refused_writes: u64,
    /// How long the server did not answer.
    pub silent_us: u64,
    /// The server's version before.
    pub version_before: Option<String>,
    /// The server's version after.
    pub version_after: Option<String>,
    /// The line of the server's log that tells of its recovery.
    pub log: Option<String>,
    /// Why the fault could not be carried out, if so.
    pub failed: Option<String>,
}
