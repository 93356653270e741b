//! Every field of a stream and of a consumer: type, unit, the release it came with, and what a change of it does.
//!
//! The one table that `validate` and `plan` both read. Sources: the structs `StreamConfig` (nats-server `server/stream.go`) and
//! `ConsumerConfig` (`server/consumer.go`) at every release tag from 2.10.0, `configUpdateCheck`, `checkNewConsumerConfig`, and
//! what real servers answered where the code leaves room.

mod bucket;
mod consumer;
mod stream;

use crate::version::{Release, Version};

pub use bucket::{KV, OBJECT};
pub use consumer::CONSUMER;
pub use stream::STREAM;

/// The oldest release whose rules are known here.
pub const OLDEST: Release = Release(2, 10, 0);

/// The `inactive_threshold` of the consumer by which a server takes from the origin of a mirror or a source, in nanoseconds
/// (`sourceHealthCheckInterval`, server/stream.go).
pub(crate) const TAKERS_INACTIVE_NS: i64 = 10_000_000_000;

/// One field.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The key in JSON.
    pub name: &'static str,
    /// What its value looks like.
    pub shape: Shape,
    /// The first release that has it; [`OLDEST`] for whatever is older.
    pub since: Release,
    /// The first release that refuses it.
    pub until: Option<Release>,
    /// What a change does, by the release from which it does so, oldest first.
    pub changes: &'static [(Release, Change)],
}

impl Field {
    /// What a change of this field does on that server.
    #[must_use]
    pub fn change(&self, version: &Version) -> Change {
        let known = self.changes.iter().rev().find(|(from, _)| version.has(*from));
        known.or(self.changes.first()).map_or(Change::InPlace, |(_, change)| *change)
    }

    /// Whether that server has the field.
    #[must_use]
    pub fn exists(&self, version: &Version) -> bool {
        version.has(self.since) && !self.until.is_some_and(|until| version.has(until))
    }
}

/// What the value of a field looks like.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A string.
    Text,
    /// A subject, without or with wildcards.
    Subject,
    /// `true` or `false`.
    Flag,
    /// A whole number of things.
    Count {
        /// The least that the server's type can hold and its rules let through.
        min: i64,
        /// The most.
        max: u64,
    },
    /// A whole number of bytes, -1 for no limit.
    Bytes {
        /// The most.
        max: u64,
    },
    /// Nanoseconds as a whole number; in files also `"24h"`.
    Duration,
    /// A list of durations.
    Durations,
    /// A time as in RFC 3339.
    Time,
    /// One of these words, each with the release that brought it.
    Choice(&'static [(&'static str, Release)]),
    /// A list of strings.
    Texts,
    /// A list of subjects.
    Subjects,
    /// An object whose keys are the user's own, and whose values are strings.
    Labels,
    /// An object of these fields.
    Object(&'static [Field]),
    /// A list of objects of these fields.
    Objects(&'static [Field]),
    /// A sampling rate: `"100%"` or `"100"`.
    Percent,
    /// Anything; whoever reads it knows what it must be.
    Any,
}

/// What happens when a field of something that exists gets another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The name: with another one it is another thing.
    Identity,
    /// The server takes it, and it holds from then on.
    InPlace,
    /// The server refuses it; a replacement is needed. The text is the server's own refusal.
    Immutable(&'static str),
    /// `false` to `true` is taken and cannot be taken back; the text is the server's refusal of the way back.
    OneWay(&'static str),
    /// Taken; a lower limit deletes at once what is over it.
    LoweringDeletes,
    /// Taken; the field then holds for new messages only, or new blocks.
    NewOnly,
    /// Between limits and interest it is taken (to interest deletes what no consumer wants); to and from workqueue it is refused.
    Retention,
    /// Taken; messages on a subject that is no longer listed stay, new ones are no longer stored.
    Subjects,
    /// Refused unless there is a cluster.
    Replicas,
    /// Taken; the stream moves to other servers.
    Placement,
    /// Refused, and there is no way to remove a mirror.
    Mirror,
    /// Refused, but the mirror may be removed: the stream is promoted, and cannot become a mirror again.
    Promotion,
    /// Taken, and the server then puts its own value there (the origin's `allow_direct`).
    FollowsOrigin,
    /// Taken, and nothing comes of it. The text says what to do instead.
    Ineffective(&'static str),
    /// Push to push is taken while nobody listens on the old subject; between push and pull it is refused.
    DeliverSubject,
    /// For the server only; no file should have it.
    Internal,
}

/// A field of a table by its name.
#[must_use]
pub fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.name == name)
}

/// A field of a stream's configuration by its name.
#[must_use]
pub fn stream_field(name: &str) -> Option<&'static Field> {
    find(STREAM, name)
}

/// A field of a consumer's configuration by its name.
#[must_use]
pub fn consumer_field(name: &str) -> Option<&'static Field> {
    find(CONSUMER, name)
}

const ALWAYS: Release = OLDEST;
const V2_11: Release = Release(2, 11, 0);
const V2_12: Release = Release(2, 12, 0);
const V2_14: Release = Release(2, 14, 0);

const IN_PLACE: &[(Release, Change)] = &[(ALWAYS, Change::InPlace)];
const LOWERING: &[(Release, Change)] = &[(ALWAYS, Change::LoweringDeletes)];
const INTERNAL: &[(Release, Change)] = &[(ALWAYS, Change::Internal)];
const IDENTITY: &[(Release, Change)] = &[(ALWAYS, Change::Identity)];
const NEW_ONLY: &[(Release, Change)] = &[(ALWAYS, Change::NewOnly)];

const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, since: ALWAYS, until: None, changes: IN_PLACE }
}

impl Field {
    const fn since(self, since: Release) -> Field {
        Field { since, ..self }
    }

    const fn until(self, until: Release) -> Field {
        Field { until: Some(until), ..self }
    }

    const fn changes(self, changes: &'static [(Release, Change)]) -> Field {
        Field { changes, ..self }
    }
}

/// A count of the server's `int` or `int64`, where every value below -1 is read as -1.
const COUNT: Shape = Shape::Count { min: -1, max: i64::MAX as u64 };
/// A count that cannot be negative.
const NATURAL: Shape = Shape::Count { min: 0, max: i64::MAX as u64 };
/// A count of the server's `uint64`.
const SEQUENCE: Shape = Shape::Count { min: 0, max: u64::MAX };
const BYTES: Shape = Shape::Bytes { max: i64::MAX as u64 };

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tables_name_each_field_once_and_order_their_changes() {
        for table in [STREAM, CONSUMER, KV, OBJECT] {
            let names: HashSet<_> = table.iter().map(|field| field.name).collect();
            assert_eq!(names.len(), table.len());
            for field in table {
                assert!(
                    !field.changes.is_empty() && field.changes.is_sorted_by_key(|(from, _)| *from),
                    "{}",
                    field.name
                );
            }
        }
    }

    #[test]
    fn a_change_depends_on_the_server() {
        let ttl = stream_field("allow_msg_ttl").unwrap();
        assert!(matches!(ttl.change(&Version::new(2, 11, 1)), Change::Immutable(_)));
        assert!(matches!(ttl.change(&Version::new(2, 11, 2)), Change::OneWay(_)));
        assert!(!ttl.exists(&Version::new(2, 10, 25)));
        let owner = stream_field("template_owner").unwrap();
        assert!(owner.exists(&Version::new(2, 12, 1)) && !owner.exists(&Version::new(2, 14, 0)));
    }
}
