//! The keys of the files for key-value buckets and object stores.

use super::stream::{BUCKET_PLACEMENT, REPUBLISH, SOURCE};
use super::{ALWAYS, BYTES, Field, IDENTITY, LOWERING, NEW_ONLY, Shape, V2_11, field};

const STORAGE: Shape = Shape::Choice(&[("file", ALWAYS), ("memory", ALWAYS)]);
const REPLICAS: Shape = Shape::Count { min: 0, max: 5 };

/// Every key of `kv/<BUCKET>.json`. What a change does is that of the stream's field it maps to.
pub const KV: &[Field] = &[
    field("bucket", Shape::Text).changes(IDENTITY),
    field("description", Shape::Text),
    // ADR-8: 1 to 64 values of each key.
    field("history", Shape::Count { min: 0, max: 64 }).changes(LOWERING),
    field("ttl", Shape::Duration).changes(LOWERING),
    field("max_value_size", Shape::Bytes { max: i32::MAX as u64 }).changes(NEW_ONLY),
    field("max_bytes", BYTES).changes(LOWERING),
    field("storage", STORAGE),
    field("num_replicas", REPLICAS),
    field("placement", BUCKET_PLACEMENT),
    field("republish", Shape::Object(REPUBLISH)),
    field("mirror", Shape::Object(SOURCE)),
    field("sources", Shape::Objects(SOURCE)),
    field("compression", Shape::Flag),
    field("limit_marker_ttl", Shape::Duration).since(V2_11),
    field("metadata", Shape::Labels),
];

/// Every key of `objects/<BUCKET>.json`. What a change does is that of the stream's field it maps to.
pub const OBJECT: &[Field] = &[
    field("bucket", Shape::Text).changes(IDENTITY),
    field("description", Shape::Text),
    field("ttl", Shape::Duration).changes(LOWERING),
    field("max_bytes", BYTES).changes(LOWERING),
    field("storage", STORAGE),
    field("num_replicas", REPLICAS),
    field("placement", BUCKET_PLACEMENT),
    field("compression", Shape::Flag),
    field("metadata", Shape::Labels),
];
