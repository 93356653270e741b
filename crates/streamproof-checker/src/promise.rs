//! The promise table: what a configuration on a version of the server promises under a fault, as data.
//!
//! The first row that applies decides. A promise is what the server's own code does in that situation, seen in
//! its source or in an experiment; each row says which.

use crate::context::SyncInterval;
use crate::rules::{Retention, StreamRules};
use crate::verdict::Invariant;
use crate::version::Version;
use streamproof_model::op::{FaultKind, Level};

/// How long before a fault a double ack on a limits stream must have been answered to be promised. The server
/// answers from memory and writes the consumer's state at most every 100 ms (nats-server
/// `filestore.go:consumerFileStore.flushLoop`); up to 94 ms were seen lost. Five times that leaves room for a
/// busy machine.
pub const ACK_WINDOW_US: u64 = 500_000;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// Acked messages, their sequences and their order.
    Messages,
    /// Streams, consumers and their configuration.
    Definitions,
    /// Acks that were answered.
    Acks,
    /// What no fault excuses: nothing made up, limits, arithmetic, liveness.
    Sanity,
    /// The ack floor, as a consumer's info shows it.
    Floors,
}

impl Property {
    /// Every property, in the order of their numbers.
    pub const ALL: [Property; 5] =
        [Property::Messages, Property::Definitions, Property::Acks, Property::Sanity, Property::Floors];

    /// The property that a finding is about. A work queue's message that is back though its ack was answered is a lost ack, not a
    /// lost message.
    #[must_use]
    pub fn of_finding(invariant: Invariant, class: &str) -> Self {
        match invariant {
            Invariant::C9 if class.starts_with("acked and still there") => Property::Acks,
            _ => Property::of(invariant),
        }
    }

    /// The property that an invariant guards.
    #[must_use]
    pub const fn of(invariant: Invariant) -> Self {
        use Invariant as I;
        match invariant {
            I::M1
            | I::M2
            | I::M4
            | I::M5
            | I::M6
            | I::M7
            | I::M10
            | I::M12
            | I::V1
            | I::X1
            | I::C9
            | I::C4 => Property::Messages,
            I::K1 | I::K2 | I::K3 | I::K4 => Property::Definitions,
            I::C1 | I::C7 => Property::Acks,
            I::C3 => Property::Floors,
            I::M3 | I::M8 | I::M9 | I::M11 | I::C5 | I::C6 | I::C8 | I::A1 => Property::Sanity,
        }
    }
}

/// Whether it is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// It must hold.
    Yes,
    /// What is younger than [`ACK_WINDOW_US`] at the fault may be lost.
    Window,
    /// It may be lost.
    No,
}

/// When a row applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always.
    Any,
    /// `storage: memory`.
    Memory,
    /// `persist_mode: async`.
    AsyncPersist,
    /// The server does not sync at every write.
    Unsynced,
    /// `retention: workqueue`.
    WorkQueue,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What is promised or not.
    pub property: Property,
    /// Under faults of these levels.
    pub levels: &'static [Level],
    /// Only under these kinds; empty for all of the levels.
    pub kinds: &'static [FaultKind],
    /// For configurations like this.
    pub when: When,
    /// From this version of the server on.
    pub since: Version,
    /// The promise.
    pub promise: Promise,
    /// Where that is known from.
    pub source: &'static str,
    /// What would give the promise, and what that costs.
    pub remedy: Option<&'static str>,
}

const ALWAYS: Version = Version::new(0, 0, 0);
const EVERY: &[Level] = &Level::ALL;
const CRASH: &[Level] = &[Level::ProcessCrash];
const HOST: &[Level] = &[Level::HostCrash];

const SYNC: &str = "`sync_interval: always` in jetstream.conf: a sync for every write, so publishing is many \
                    times slower on one node (`cargo xtask bench` measures it here)";
const FILE: &str = "`storage: file`";

/// The table. Order matters.
pub const TABLE: &[Row] = &[
    Row {
        property: Property::Messages,
        levels: EVERY,
        kinds: RESTARTING,
        when: When::Memory,
        since: ALWAYS,
        promise: Promise::No,
        source: "nats-server memstore.go: messages are held in the process only",
        remedy: Some(FILE),
    },
    Row {
        property: Property::Acks,
        levels: EVERY,
        kinds: RESTARTING,
        when: When::Memory,
        since: ALWAYS,
        promise: Promise::No,
        source: "nats-server memstore.go: consumers of a memory stream are held in the process only",
        remedy: Some(FILE),
    },
    Row {
        property: Property::Floors,
        levels: EVERY,
        kinds: RESTARTING,
        when: When::Memory,
        since: ALWAYS,
        promise: Promise::No,
        source: "nats-server memstore.go: consumers of a memory stream are held in the process only",
        remedy: Some(FILE),
    },
    Row {
        property: Property::Definitions,
        levels: EVERY,
        kinds: RESTARTING,
        when: When::Memory,
        since: ALWAYS,
        promise: Promise::No,
        source: "nats-server stream.go: only a stream of file storage has a meta.inf to come back from; seen: after a \
                 restart the stream itself is gone",
        remedy: Some(FILE),
    },
    Row {
        property: Property::Definitions,
        levels: HOST,
        kinds: &[],
        when: When::Unsynced,
        since: ALWAYS,
        promise: Promise::No,
        source: "nats-server filestore.go:writeFileWithOptionalSync: meta.inf and meta.sum are synced only with \
                 `always`; seen: the stream itself is gone after a power cut within the first minute",
        remedy: Some(SYNC),
    },
    Row {
        property: Property::Messages,
        levels: HOST,
        kinds: &[],
        when: When::AsyncPersist,
        since: Version::new(2, 12, 0),
        promise: Promise::No,
        source: "nats-server stream.go: `persist_mode: async` switches `sync_interval: always` off for the stream",
        remedy: Some("`persist_mode: default`"),
    },
    Row {
        property: Property::Messages,
        levels: HOST,
        kinds: &[],
        when: When::Unsynced,
        since: ALWAYS,
        promise: Promise::No,
        source: "nats-server opts.go: `sync_interval` is two minutes by default, and a publish is acked before it \
                 is synced; nats-server #7564",
        remedy: Some(SYNC),
    },
    Row {
        property: Property::Acks,
        levels: HOST,
        kinds: &[],
        when: When::Unsynced,
        since: ALWAYS,
        promise: Promise::No,
        source: "nats-server filestore.go:consumerFileStore: o.dat is synced only with `always`",
        remedy: Some(SYNC),
    },
    Row {
        property: Property::Floors,
        levels: HOST,
        kinds: &[],
        when: When::Unsynced,
        since: ALWAYS,
        promise: Promise::No,
        source: "nats-server filestore.go:consumerFileStore: o.dat is synced only with `always`",
        remedy: Some(SYNC),
    },
    Row {
        property: Property::Messages,
        levels: CRASH,
        kinds: &[FaultKind::Kill, FaultKind::KillAfterAck, FaultKind::IndexLost, FaultKind::IndexStale],
        when: When::AsyncPersist,
        since: Version::new(2, 12, 0),
        promise: Promise::No,
        source: "nats-server filestore.go: `persist_mode: async` acks before the write; seen: 14 to 509 acked \
                 messages lost at SIGKILL",
        remedy: Some("`persist_mode: default`"),
    },
    Row {
        property: Property::Acks,
        levels: HOST,
        kinds: &[],
        when: When::WorkQueue,
        since: ALWAYS,
        promise: Promise::No,
        source: "nats-server filestore.go:removeMsgBlock: the block of a queue's last message is unlinked without a sync, `always` \
                 or not, and no tombstone says so; seen: an ack answered 45 ms before a power cut lost with `always`, on 2.14.6 \
                 and 2.15.1",
        remedy: Some(
            "make the work of a consumer idempotent; or three replicas, where the answer waits for Raft",
        ),
    },
    Row {
        property: Property::Acks,
        levels: &[Level::ProcessCrash, Level::HostCrash, Level::DiskFull],
        kinds: &[],
        when: When::WorkQueue,
        since: ALWAYS,
        promise: Promise::Yes,
        source: "nats-server consumer.go:ackMsg, stream.go:ackMsg: the removal of the message is written before \
                 the answer",
        remedy: None,
    },
    Row {
        property: Property::Acks,
        levels: &[Level::ProcessCrash, Level::HostCrash, Level::DiskFull],
        kinds: &[],
        when: When::Any,
        since: ALWAYS,
        promise: Promise::Window,
        source: "nats-server filestore.go:consumerFileStore.flushLoop writes at most every 100 ms, after the \
                 answer; seen: acks up to 94 ms old lost at SIGKILL",
        remedy: Some(
            "make the work of a consumer idempotent; or three replicas, where the answer waits for Raft",
        ),
    },
    Row {
        property: Property::Floors,
        levels: &[Level::ProcessCrash, Level::HostCrash, Level::DiskFull],
        kinds: &[],
        when: When::Any,
        since: ALWAYS,
        promise: Promise::Window,
        source: "nats-server filestore.go:consumerFileStore.flushLoop writes at most every 100 ms, after the \
                 answer; seen: acks up to 94 ms old lost at SIGKILL",
        remedy: Some(
            "make the work of a consumer idempotent; or three replicas, where the answer waits for Raft",
        ),
    },
    Row {
        property: Property::Messages,
        levels: EVERY,
        kinds: &[],
        when: When::Any,
        since: ALWAYS,
        promise: Promise::Yes,
        source: "nats-server filestore.go:writeMsgRecord writes to the file before the ack; at a stop the server \
                 syncs and writes its index",
        remedy: None,
    },
    Row {
        property: Property::Definitions,
        levels: EVERY,
        kinds: &[],
        when: When::Any,
        since: ALWAYS,
        promise: Promise::Yes,
        source: "nats-server filestore.go:writeStreamMeta, consumerFileStore.writeConsumerMeta: written before \
                 the answer",
        remedy: None,
    },
    Row {
        property: Property::Acks,
        levels: EVERY,
        kinds: &[],
        when: When::Any,
        since: ALWAYS,
        promise: Promise::Yes,
        source: "nats-server filestore.go:consumerFileStore.Stop writes the consumer's state at a stop",
        remedy: None,
    },
    Row {
        property: Property::Floors,
        levels: EVERY,
        kinds: &[],
        when: When::Any,
        since: ALWAYS,
        promise: Promise::Yes,
        source: "nats-server filestore.go:consumerFileStore.Stop writes the consumer's state at a stop",
        remedy: None,
    },
    Row {
        property: Property::Sanity,
        levels: EVERY,
        kinds: &[],
        when: When::Any,
        since: ALWAYS,
        promise: Promise::Yes,
        source: "no fault makes up messages, breaks limits or stops deliveries",
        remedy: None,
    },
];

/// Kinds that end the process: what is held in memory only is gone.
const RESTARTING: &[FaultKind] = &[
    FaultKind::Stop,
    FaultKind::Restarts,
    FaultKind::Recreate,
    FaultKind::Kill,
    FaultKind::KillAfterAck,
    FaultKind::IndexLost,
    FaultKind::IndexStale,
    FaultKind::PowerCut,
    FaultKind::PowerCutExt4,
    FaultKind::Upgrade,
    FaultKind::Downgrade,
    FaultKind::DiskFull,
];

/// The row that decides. Without a fault everything is promised.
#[must_use]
pub fn promise(
    property: Property,
    fault: Option<FaultKind>,
    rules: &StreamRules,
    sync: SyncInterval,
    server: Version,
) -> &'static Row {
    let level = fault.map(FaultKind::level);
    let applies = |row: &&Row| {
        row.property == property
            && server >= row.since
            && match (level, fault) {
                (Some(level), Some(kind)) => {
                    row.levels.contains(&level)
                        && (row.kinds.is_empty() || row.kinds.contains(&kind))
                        && holds(row.when, rules, sync)
                }
                _ => row.promise == Promise::Yes && row.when == When::Any,
            }
    };
    // The table ends with a row for every property that always applies; the last row stands in for it here.
    TABLE.iter().find(applies).unwrap_or(&TABLE[TABLE.len() - 1])
}

fn holds(when: When, rules: &StreamRules, sync: SyncInterval) -> bool {
    match when {
        When::Any => true,
        When::Memory => rules.memory,
        When::AsyncPersist => rules.async_persist,
        When::Unsynced => sync != SyncInterval::Always,
        When::WorkQueue => rules.retention == Retention::WorkQueue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_ends_with_a_row_that_always_applies() {
        for property in Property::ALL {
            for kind in FaultKind::ALL {
                let rules = StreamRules::default();
                let row =
                    promise(property, Some(*kind), &rules, SyncInterval::Default, Version::new(2, 10, 0));
                assert_eq!(row.property, property, "{kind:?}");
                assert!(row.promise != Promise::No || row.remedy.is_some(), "no remedy: {row:?}");
            }
            let last = TABLE.iter().rev().find(|row| row.property == property).unwrap();
            assert_eq!((last.when, last.promise, last.levels), (When::Any, Promise::Yes, EVERY));
        }
    }

    #[test]
    fn the_table_says_what_was_seen() {
        let file = StreamRules::default();
        let memory = StreamRules { memory: true, ..StreamRules::default() };
        let relaxed = StreamRules { async_persist: true, ..StreamRules::default() };
        let interest = StreamRules { retention: Retention::Interest, ..StreamRules::default() };
        let queue = StreamRules { retention: Retention::WorkQueue, ..StreamRules::default() };
        let cases = [
            (Property::Messages, FaultKind::Kill, &file, SyncInterval::Default, Promise::Yes),
            (Property::Messages, FaultKind::Kill, &relaxed, SyncInterval::Default, Promise::No),
            (Property::Messages, FaultKind::Stop, &relaxed, SyncInterval::Default, Promise::Yes),
            (Property::Messages, FaultKind::Stop, &memory, SyncInterval::Always, Promise::No),
            (Property::Definitions, FaultKind::Kill, &memory, SyncInterval::Always, Promise::No),
            (Property::Messages, FaultKind::Disconnect, &memory, SyncInterval::Always, Promise::Yes),
            (Property::Messages, FaultKind::PowerCutExt4, &file, SyncInterval::Default, Promise::No),
            (Property::Messages, FaultKind::PowerCutExt4, &file, SyncInterval::Always, Promise::Yes),
            (Property::Messages, FaultKind::PowerCutExt4, &relaxed, SyncInterval::Always, Promise::No),
            // Judged by what ext4 keeps, too; what less would keep is told, and not judged.
            (Property::Messages, FaultKind::PowerCut, &file, SyncInterval::Default, Promise::No),
            (Property::Messages, FaultKind::PowerCut, &file, SyncInterval::Always, Promise::Yes),
            (Property::Acks, FaultKind::PowerCut, &file, SyncInterval::Always, Promise::Window),
            (Property::Acks, FaultKind::Kill, &file, SyncInterval::Always, Promise::Window),
            (Property::Acks, FaultKind::Kill, &queue, SyncInterval::Default, Promise::Yes),
            (Property::Floors, FaultKind::Kill, &queue, SyncInterval::Default, Promise::Window),
            (Property::Acks, FaultKind::PowerCut, &queue, SyncInterval::Always, Promise::No),
            (Property::Acks, FaultKind::Kill, &interest, SyncInterval::Default, Promise::Window),
            (Property::Acks, FaultKind::Stop, &file, SyncInterval::Default, Promise::Yes),
        ];
        for (property, kind, rules, sync, expected) in cases {
            let row = promise(property, Some(kind), rules, sync, Version::new(2, 15, 1));
            assert_eq!(row.promise, expected, "{property:?} {kind:?} {sync:?}: {row:?}");
        }
    }
}
