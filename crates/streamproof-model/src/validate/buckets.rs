//! What the clients ask of key-value buckets and object stores beyond what the server asks of their streams (ADR-8, ADR-20).

use serde_json::Value;

use crate::desired::{DesiredStream, Kind};
use crate::finding::{Finding, Rule};

pub(super) fn bucket(stream: &DesiredStream, found: &mut Vec<Finding>) {
    let (mirror, sources) = (stream.config.get("mirror"), stream.config.get("sources"));
    if stream.kind == Kind::Kv && mirror.is_some() && sources.is_some() {
        found.push(super::contradiction(
            &stream.places,
            "sources",
            "a bucket is either a mirror or has sources",
        ));
    }
    // ADR-48: a marker must outlive what it marks.
    let number = |key: &str| stream.config.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (marker, age) = (number("subject_delete_marker_ttl"), number("max_age"));
    if marker > 0 && age > 0 && marker > age {
        found.push(
            Finding::warning(
                Rule::Contradiction,
                stream.places.value("/subject_delete_marker_ttl"),
                "\"limit_marker_ttl\" is longer than \"ttl\"",
            )
            .label("markers are removed at \"ttl\"")
            .help("write a shorter \"limit_marker_ttl\", or a longer \"ttl\""),
        );
    }
}
