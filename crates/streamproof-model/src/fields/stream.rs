//! The fields of `StreamConfig`.

use super::{
    ALWAYS, BYTES, COUNT, Change, Field, IDENTITY, IN_PLACE, INTERNAL, LOWERING, NEW_ONLY, SEQUENCE, Shape,
    V2_11, V2_12, V2_14, field,
};
use crate::version::Release;

/// Every field of a stream's configuration.
pub const STREAM: &[Field] = &[
    field("name", Shape::Text).changes(IDENTITY),
    field("description", Shape::Text),
    field("subjects", Shape::Subjects).changes(&[(ALWAYS, Change::Subjects)]),
    field("retention", Shape::Choice(&[("limits", ALWAYS), ("interest", ALWAYS), ("workqueue", ALWAYS)]))
        .changes(&[(ALWAYS, Change::Retention)]),
    // The refusal left `configUpdateCheck` in 2.12.5.
    field("max_consumers", COUNT).changes(&[
        (ALWAYS, Change::Immutable("stream configuration update can not change MaxConsumers")),
        (Release(2, 12, 5), Change::InPlace),
    ]),
    field("max_msgs", COUNT).changes(LOWERING),
    field("max_bytes", BYTES).changes(LOWERING),
    field("max_age", Shape::Duration).changes(LOWERING),
    field("max_msgs_per_subject", COUNT).changes(LOWERING),
    field("max_msg_size", Shape::Bytes { max: i32::MAX as u64 }).changes(NEW_ONLY),
    field("discard", Shape::Choice(&[("old", ALWAYS), ("new", ALWAYS)])),
    field("storage", Shape::Choice(&[("file", ALWAYS), ("memory", ALWAYS)]))
        .changes(&[(ALWAYS, Change::Immutable("stream configuration update can not change storage type"))]),
    // `StreamMaxReplicas` in server/jetstream_api.go.
    field("num_replicas", Shape::Count { min: 0, max: 5 }).changes(&[(ALWAYS, Change::Replicas)]),
    field("no_ack", Shape::Flag),
    field("duplicate_window", Shape::Duration),
    field("placement", Shape::Object(PLACEMENT)).changes(&[(ALWAYS, Change::Placement)]),
    field("mirror", Shape::Object(SOURCE)).changes(&[(ALWAYS, Change::Mirror), (V2_12, Change::Promotion)]),
    field("sources", Shape::Objects(SOURCE)),
    field("compression", Shape::Choice(&[("none", ALWAYS), ("s2", ALWAYS)])).changes(NEW_ONLY),
    field("first_seq", SEQUENCE).changes(&[(
        ALWAYS,
        Change::Ineffective(
            "it only counts when the stream is created; a purge up to a sequence moves the first one",
        ),
    )]),
    field("subject_transform", Shape::Object(TRANSFORM)).changes(NEW_ONLY),
    field("republish", Shape::Object(REPUBLISH)),
    field("allow_direct", Shape::Flag),
    field("mirror_direct", Shape::Flag).changes(&[(ALWAYS, Change::FollowsOrigin)]),
    field("discard_new_per_subject", Shape::Flag),
    field("sealed", Shape::Flag)
        .changes(&[(ALWAYS, Change::OneWay("stream configuration update can not unseal a sealed stream"))]),
    field("deny_delete", Shape::Flag).changes(&[(
        ALWAYS,
        Change::OneWay("stream configuration update can not cancel deny message deletes"),
    )]),
    field("deny_purge", Shape::Flag)
        .changes(&[(ALWAYS, Change::OneWay("stream configuration update can not cancel deny purge"))]),
    field("allow_rollup_hdrs", Shape::Flag),
    field("consumer_limits", Shape::Object(CONSUMER_LIMITS)),
    field("allow_msg_ttl", Shape::Flag).since(V2_11).changes(&[
        (V2_11, Change::Immutable("message TTL status can not be changed after stream creation")),
        (Release(2, 11, 2), Change::OneWay("message TTL status can not be disabled")),
    ]),
    field("subject_delete_marker_ttl", Shape::Duration).since(V2_11),
    field("allow_msg_counter", Shape::Flag).since(V2_12).changes(&[(
        ALWAYS,
        Change::Immutable("stream configuration update can not change message counter setting"),
    )]),
    field("allow_atomic", Shape::Flag).since(V2_12),
    field("allow_msg_schedules", Shape::Flag)
        .since(V2_12)
        .changes(&[(ALWAYS, Change::OneWay("message schedules can not be disabled"))]),
    field("persist_mode", Shape::Choice(&[("default", V2_12), ("async", V2_12)]))
        .since(V2_12)
        .changes(&[(ALWAYS, Change::Immutable("stream configuration update can not change persist mode"))]),
    field("allow_batched", Shape::Flag).since(V2_14),
    field("metadata", Shape::Labels),
    field("template_owner", Shape::Text).until(V2_14).changes(INTERNAL),
];

/// `Placement`, server/jetstream_cluster.go; `preferred` is for step-down requests and is refused in a configuration.
const PLACEMENT: &[Field] = &[
    field("cluster", Shape::Text),
    field("tags", Shape::Texts),
    field("preferred", Shape::Text).since(V2_11),
];

/// `StreamSource`, server/stream.go.
pub(super) const SOURCE: &[Field] = &[
    field("name", Shape::Text).changes(IDENTITY),
    field("opt_start_seq", SEQUENCE),
    field("opt_start_time", Shape::Time),
    field("filter_subject", Shape::Subject),
    field("subject_transforms", Shape::Objects(TRANSFORM)),
    field("external", Shape::Object(&[field("api", Shape::Text), field("deliver", Shape::Text)])),
    field("consumer", Shape::Object(&[field("name", Shape::Text), field("deliver_subject", Shape::Subject)]))
        .since(V2_14),
];

/// `SubjectTransformConfig`, server/stream.go.
const TRANSFORM: &[Field] = &[field("src", Shape::Subject), field("dest", Shape::Text)];

/// `RePublish`, server/stream.go.
pub(super) const REPUBLISH: &[Field] =
    &[field("src", Shape::Subject), field("dest", Shape::Text), field("headers_only", Shape::Flag)];

/// `StreamConsumerLimits`, server/stream.go.
const CONSUMER_LIMITS: &[Field] = &[
    field("inactive_threshold", Shape::Duration).changes(IN_PLACE),
    field("max_ack_pending", Shape::Count { min: 0, max: i64::MAX as u64 }).changes(IN_PLACE),
];

/// The placement of a bucket is the placement of its stream.
pub(super) const BUCKET_PLACEMENT: Shape = Shape::Object(PLACEMENT);
