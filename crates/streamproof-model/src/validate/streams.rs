//! Fields of a stream that contradict each other: `checkStreamCfg`, server/stream.go.

use serde_json::{Map, Value};

use super::contradiction;
use crate::desired::DesiredStream;
use crate::duration;
use crate::finding::{Finding, Rule};
use crate::plan::{MARK_KEY, MARK_VALUE};
use crate::version::{Release, Version};

const SHORTEST_NS: u64 = 100_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// `JSMaxDescriptionLen` and `JSMaxMetadataLen`, server/jetstream_api.go.
const LONGEST_DESCRIPTION: usize = 4 * 1024;
const LARGEST_METADATA: usize = 128 * 1024;

pub(super) fn contradictions(stream: &DesiredStream, version: &Version, found: &mut Vec<Finding>) {
    let config = &stream.config;
    let places = &stream.places;
    let flag = |key: &str| config.get(key) == Some(&Value::Bool(true));
    let off = |key: &str| config.get(key) == Some(&Value::Bool(false));
    let is = |key: &str, word: &str| config.get(key).and_then(Value::as_str) == Some(word);
    let number = |key: &str| config.get(key).and_then(Value::as_i64).unwrap_or(0);
    let nanos = |key: &str| config.get(key).and_then(Value::as_u64).unwrap_or(0);
    let has = |key: &str| config.get(key).is_some_and(|value| *value != Value::Array(Vec::new()));
    let mut refuse = |wrong: bool, field: &str, message: &str| {
        if wrong {
            found.push(contradiction(places, field, message));
        }
    };

    let per_subject = flag("discard_new_per_subject");
    refuse(
        per_subject && !is("discard", "new"),
        "discard_new_per_subject",
        "\"discard_new_per_subject\" needs \"discard\": \"new\"",
    );
    refuse(
        per_subject && number("max_msgs_per_subject") <= 0,
        "discard_new_per_subject",
        "\"discard_new_per_subject\" needs \"max_msgs_per_subject\"",
    );
    refuse(
        flag("deny_purge") && flag("allow_rollup_hdrs"),
        "deny_purge",
        "roll-ups require the purge permission",
    );

    let (age, window, marker) =
        (nanos("max_age"), nanos("duplicate_window"), nanos("subject_delete_marker_ttl"));
    refuse(
        age != 0 && window > age,
        "duplicate_window",
        "\"duplicate_window\" cannot be longer than \"max_age\"",
    );
    // What the server switches on by itself, and would have to switch on against the file. 2.11.0 and 2.11.1 do not.
    if marker > 0 && version.has(Release(2, 11, 0)) {
        let by_itself = version.has(Release(2, 11, 2));
        for key in ["allow_msg_ttl", "allow_rollup_hdrs"] {
            refuse(
                off(key) || !(by_itself || flag(key)),
                "subject_delete_marker_ttl",
                &format!("delete markers need {key:?}: true"),
            );
        }
        refuse(
            flag("deny_purge"),
            "subject_delete_marker_ttl",
            "delete markers need roll-ups, and roll-ups need the purge permission",
        );
        refuse(has("mirror"), "subject_delete_marker_ttl", "delete markers are forbidden on mirrors");
        refuse(
            flag("allow_msg_counter"),
            "subject_delete_marker_ttl",
            "delete markers need message TTLs, and a counter stream cannot use them",
        );
    }
    // These two came with 2.12.10 and 2.14.2.
    let later = version.has(Release(2, 14, 2))
        || (version.has(Release(2, 12, 10)) && !version.has(Release(2, 14, 0)));
    if flag("allow_msg_schedules") {
        refuse(off("allow_rollup_hdrs"), "allow_msg_schedules", "schedules need \"allow_rollup_hdrs\": true");
        refuse(
            flag("deny_purge"),
            "allow_msg_schedules",
            "schedules need roll-ups, and roll-ups need the purge permission",
        );
        refuse(
            later && is("discard", "new"),
            "allow_msg_schedules",
            "schedules cannot use \"discard\": \"new\"",
        );
        refuse(has("sources"), "allow_msg_schedules", "a stream with sources cannot have schedules");
    }
    if flag("allow_msg_counter") {
        refuse(is("discard", "new"), "allow_msg_counter", "a counter stream cannot use \"discard\": \"new\"");
        refuse(flag("allow_msg_ttl"), "allow_msg_counter", "a counter stream cannot use message TTLs");
        refuse(
            later && flag("allow_msg_schedules"),
            "allow_msg_counter",
            "a counter stream cannot use schedules",
        );
        refuse(
            has("retention") && !is("retention", "limits"),
            "allow_msg_counter",
            "a counter stream can only use \"retention\": \"limits\"",
        );
    }
    if is("persist_mode", "async") {
        refuse(is("storage", "memory"), "persist_mode", "\"persist_mode\": \"async\" needs file storage");
        refuse(
            number("num_replicas") > 1,
            "persist_mode",
            "\"persist_mode\": \"async\" is not for replicated streams",
        );
        refuse(
            flag("allow_atomic"),
            "persist_mode",
            "\"persist_mode\": \"async\" does not go with \"allow_atomic\"",
        );
    }
    if has("mirror") {
        refuse(
            number("first_seq") > 0 || nanos("first_seq") > 0,
            "first_seq",
            "a mirror cannot have a \"first_seq\"",
        );
        refuse(has("subjects"), "subjects", "a mirror cannot have subjects");
        refuse(has("sources"), "sources", "a stream is either a mirror or has sources");
        for key in ["allow_msg_counter", "allow_atomic", "allow_batched", "allow_msg_schedules"] {
            refuse(flag(key), key, &format!("a mirror cannot have {key:?}"));
        }
    } else {
        refuse(flag("mirror_direct"), "mirror_direct", "only a mirror can have \"mirror_direct\"");
    }
    let preferred = config.get("placement").and_then(|placement| placement.get("preferred")).is_some();
    refuse(preferred, "placement/preferred", "a preferred server is not permitted in \"placement\"");

    shortest(stream, "max_age", age, SHORTEST_NS, found);
    shortest(stream, "duplicate_window", window, SHORTEST_NS, found);
    shortest(stream, "subject_delete_marker_ttl", marker, SECOND_NS, found);
    sizes(&stream.config, &stream.places, found);
}

/// A duration below the server's least; what was suspected of its unit before is said better here.
fn shortest(stream: &DesiredStream, field: &str, nanos: u64, least: u64, found: &mut Vec<Finding>) {
    if nanos == 0 || nanos >= least {
        return;
    }
    let place = stream.places.value(&format!("/{field}"));
    found.retain(|finding| !(finding.rule == Rule::Unit && finding.place == place));
    let (millis, seconds) = (
        duration::format(nanos.saturating_mul(1_000_000)),
        duration::format(nanos.saturating_mul(SECOND_NS)),
    );
    found.push(
        Finding::error(
            Rule::Unit,
            place,
            format!("{field:?} is in nanoseconds, and must be at least {}", duration::format(least)),
        )
        .label(duration::format(nanos))
        .help(format!("if seconds were meant, write {seconds:?}; if milliseconds, {millis:?}")),
    );
}

/// Descriptions and metadata have a largest size.
pub(super) fn sizes(config: &Map<String, Value>, places: &crate::desired::Places, found: &mut Vec<Finding>) {
    if config.get("description").and_then(Value::as_str).is_some_and(|text| text.len() > LONGEST_DESCRIPTION)
    {
        let message = format!("a description has at most {LONGEST_DESCRIPTION} bytes");
        found.push(
            Finding::error(Rule::OutOfRange, places.key("/description"), message)
                .label("too long")
                .help("shorten it"),
        );
    }
    let labels = config.get("metadata").and_then(Value::as_object).into_iter().flatten();
    let size: usize = labels.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    let mark = MARK_KEY.len() + MARK_VALUE.len();
    if size + mark > LARGEST_METADATA {
        let message =
            format!("metadata has at most {LARGEST_METADATA} bytes, {mark} of them for our own mark");
        found.push(
            Finding::error(Rule::OutOfRange, places.key("/metadata"), message)
                .label("too large")
                .help("keep large values elsewhere, and their name here"),
        );
    }
}
