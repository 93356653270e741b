//! The fields of `ConsumerConfig`.

use super::{
    ALWAYS, COUNT, Change, Field, IDENTITY, INTERNAL, NATURAL, SEQUENCE, Shape, V2_11, V2_12, V2_14, field,
};
use crate::version::Release;

/// Every field of a consumer's configuration.
pub const CONSUMER: &[Field] = &[
    field("durable_name", Shape::Text).changes(IDENTITY),
    field("name", Shape::Text).changes(IDENTITY),
    field("description", Shape::Text),
    field(
        "deliver_policy",
        Shape::Choice(&[
            ("all", ALWAYS),
            ("last", ALWAYS),
            ("new", ALWAYS),
            ("by_start_sequence", ALWAYS),
            ("by_start_time", ALWAYS),
            ("last_per_subject", ALWAYS),
        ]),
    )
    .changes(&[(ALWAYS, Change::Immutable("deliver policy can not be updated"))]),
    field("opt_start_seq", SEQUENCE)
        .changes(&[(ALWAYS, Change::Immutable("start sequence can not be updated"))]),
    field("opt_start_time", Shape::Time)
        .changes(&[(ALWAYS, Change::Immutable("start time can not be updated"))]),
    field(
        "ack_policy",
        Shape::Choice(&[("none", ALWAYS), ("all", ALWAYS), ("explicit", ALWAYS), ("flow_control", V2_14)]),
    )
    .changes(&[(ALWAYS, Change::Immutable("ack policy can not be updated"))]),
    field("ack_wait", Shape::Duration),
    field("max_deliver", COUNT),
    field("backoff", Shape::Durations),
    field("filter_subject", Shape::Subject),
    field("filter_subjects", Shape::Subjects),
    field("replay_policy", Shape::Choice(&[("instant", ALWAYS), ("original", ALWAYS)]))
        .changes(&[(ALWAYS, Change::Immutable("replay policy can not be updated"))]),
    // Bits a second.
    field("rate_limit_bps", SEQUENCE),
    field("sample_freq", Shape::Percent),
    field("max_waiting", NATURAL).changes(&[(ALWAYS, Change::Immutable("max waiting can not be updated"))]),
    field("max_ack_pending", COUNT),
    field("flow_control", Shape::Flag)
        .changes(&[(ALWAYS, Change::Immutable("flow control can not be updated"))]),
    field("headers_only", Shape::Flag),
    field("max_batch", NATURAL),
    field("max_expires", Shape::Duration),
    field("max_bytes", Shape::Count { min: 0, max: i64::MAX as u64 }),
    field("deliver_subject", Shape::Text).changes(&[(ALWAYS, Change::DeliverSubject)]),
    // Taken, but interest that is registered for the old group is not moved (`updateConfig` leaves `o.qgroup` alone).
    field("deliver_group", Shape::Text).changes(&[(
        ALWAYS,
        Change::Ineffective("the server keeps delivering to the old group until the consumer is made anew"),
    )]),
    field("idle_heartbeat", Shape::Duration)
        .changes(&[(ALWAYS, Change::Immutable("heart beats can not be updated"))]),
    field("inactive_threshold", Shape::Duration),
    field("num_replicas", Shape::Count { min: 0, max: 5 }),
    // `checkNewConsumerConfig` has it from 2.14.4; before, it is taken and the store stays where it is.
    field("mem_storage", Shape::Flag).changes(&[
        (
            ALWAYS,
            Change::Ineffective("the consumer's state stays where it is until the consumer is made anew"),
        ),
        (Release(2, 14, 4), Change::Immutable("storage type can not be updated")),
    ]),
    field("direct", Shape::Flag).changes(INTERNAL),
    field("sourcing", Shape::Flag).since(V2_14).changes(INTERNAL),
    field("metadata", Shape::Labels),
    field("pause_until", Shape::Time).since(V2_11).changes(&[(
        ALWAYS,
        Change::Ineffective("an update ignores it; `nats consumer pause` and `resume` do it"),
    )]),
    field("priority_groups", Shape::Texts).since(V2_11),
    field(
        "priority_policy",
        Shape::Choice(&[
            ("none", V2_11),
            ("overflow", V2_11),
            ("pinned_client", V2_11),
            ("prioritized", V2_12),
        ]),
    )
    .since(V2_11),
    field("priority_timeout", Shape::Duration).since(V2_11),
];
