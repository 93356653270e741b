//! The defaults of a stream.

use serde_json::{Map, Value};

use super::{
    ServerFacts, default, drop_empty, flag, in_order, integer, list_is_empty, settle_moment, sort,
    strip_metadata, text,
};
use crate::fields::STREAM;
use crate::version::{Release, Version};

/// `StreamDefaultDuplicatesWindow`, server/stream.go: two minutes.
const DUPLICATE_WINDOW_NS: i64 = 120_000_000_000;

/// The fields that the server's JSON leaves out when they are zero or false.
const OMITTED_ZEROS: &[&str] = &[
    "no_ack",
    "duplicate_window",
    "first_seq",
    "discard_new_per_subject",
    "subject_delete_marker_ttl",
    "allow_msg_counter",
    "allow_atomic",
    "allow_msg_schedules",
    "allow_batched",
];

/// The full configuration that the server would show for a stream, in the one comparable form.
///
/// `origin` is the configuration of the stream that this one mirrors, where it is in the same account: the server copies
/// its `allow_direct` into `mirror_direct`.
#[must_use]
pub fn normalize_stream(
    config: &Map<String, Value>,
    facts: &ServerFacts,
    origin: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let version = &facts.version;
    let mut full = config.clone();
    in_form(&mut full);
    let name = text(&full, "name").to_owned();
    let (mirror, sourced) = (full.contains_key("mirror"), !list_is_empty(&full, "sources"));
    for (key, value) in
        [("retention", "limits"), ("discard", "old"), ("storage", "file"), ("compression", "none")]
    {
        default(&mut full, key, value);
    }
    if integer(&full, "num_replicas") == 0 {
        full.insert("num_replicas".to_owned(), 1.into());
    }
    // From 2.12 anything below -1 is read as -1, too.
    let lenient = version.has(Release(2, 12, 0));
    for key in ["max_msgs", "max_msgs_per_subject", "max_bytes", "max_msg_size", "max_consumers"] {
        let limit = integer(&full, key);
        if limit == 0 || (lenient && limit < -1) {
            full.insert(key.to_owned(), (-1).into());
        }
    }
    default(&mut full, "max_age", 0);
    for key in ["allow_direct", "mirror_direct", "sealed", "deny_delete", "deny_purge", "allow_rollup_hdrs"] {
        default(&mut full, key, false);
    }
    if version.has(Release(2, 11, 0)) {
        default(&mut full, "allow_msg_ttl", false);
    }

    // Before 2.14 a stream with sources got the default window, too.
    let windowless = mirror || (sourced && version.has(Release(2, 14, 0)));
    if integer(&full, "duplicate_window") == 0 && !windowless {
        let limit =
            facts.duplicate_window_ns.and_then(|limit| i64::try_from(limit).ok()).filter(|limit| *limit > 0);
        let widest = limit.map_or(DUPLICATE_WINDOW_NS, |limit| limit.min(DUPLICATE_WINDOW_NS));
        let age = integer(&full, "max_age");
        full.insert(
            "duplicate_window".to_owned(),
            if age != 0 && age < widest { age } else { widest }.into(),
        );
    }
    if integer(&full, "subject_delete_marker_ttl") > 0 && version.has(Release(2, 11, 0)) {
        full.insert("allow_msg_ttl".to_owned(), true.into());
        force_rollup(&mut full);
    }
    if flag(&full, "allow_msg_schedules") {
        force_rollup(&mut full);
    }
    if flag(&full, "sealed") {
        full.insert("max_age".to_owned(), 0.into());
        full.insert("discard".to_owned(), "new".into());
        full.insert("deny_delete".to_owned(), true.into());
        full.insert("deny_purge".to_owned(), true.into());
        full.insert("allow_rollup_hdrs".to_owned(), false.into());
    }
    if let Some(origin) = origin.filter(|_| mirror) {
        full.insert("mirror_direct".to_owned(), flag(origin, "allow_direct").into());
    }
    if list_is_empty(&full, "subjects") && !mirror && !sourced {
        full.insert("subjects".to_owned(), Value::Array(vec![name.into()]));
    }
    if text(&full, "persist_mode") == "default" {
        full.remove("persist_mode");
    }
    let implicit = implicit_republish(&full, version);
    if let Some(Value::Object(republish)) = full.get_mut("republish") {
        match implicit {
            Some(both) => {
                republish.insert("src".to_owned(), both.clone().into());
                republish.insert("dest".to_owned(), both.into());
            }
            None => default(republish, "src", ">"),
        }
    }
    drop_empty(&mut full, OMITTED_ZEROS);
    sort(&mut full, "subjects");
    in_order(&mut full, STREAM);
    full
}

/// The comparable form of a stream's configuration, without any of the defaults.
pub(crate) fn in_form(full: &mut Map<String, Value>) {
    strip_metadata(full);
    for key in ["placement", "consumer_limits", "mirror", "subject_transform", "republish"] {
        if let Some(Value::Object(part)) = full.get_mut(key) {
            part_in_form(key, part);
        }
    }
    if let Some(Value::Array(sources)) = full.get_mut("sources") {
        for source in sources.iter_mut().filter_map(Value::as_object_mut) {
            part_in_form("source", source);
        }
    }
    sort(full, "subjects");
    sort(full, "sources");
    drop_empty(full, &[]);
    in_order(full, STREAM);
}

/// What a republish of everything to everything means for a stream that transforms all it stores: everything under its new
/// subject. From 2.11.11 and 2.12.2 on; before, it is refused.
pub(crate) fn implicit_republish(config: &Map<String, Value>, version: &Version) -> Option<String> {
    let known = version.has(Release(2, 12, 2))
        || (version.has(Release(2, 11, 11)) && !version.has(Release(2, 12, 0)));
    let end = |part: &str, key: &str| {
        config.get(part).and_then(|part| part.get(key)).and_then(Value::as_str).unwrap_or_default()
    };
    let all = end("republish", "dest") == ">" && matches!(end("republish", "src"), "" | ">");
    let subjects = config.get("subjects").and_then(Value::as_array)?;
    let whole = matches!(subjects.as_slice(), [one] if one == end("subject_transform", "src"));
    let dest = end("subject_transform", "dest");
    (known && all && whole && !dest.is_empty()).then(|| dest.to_owned())
}

fn force_rollup(full: &mut Map<String, Value>) {
    if !flag(full, "allow_rollup_hdrs") {
        full.insert("allow_rollup_hdrs".to_owned(), true.into());
        full.insert("deny_purge".to_owned(), false.into());
    }
}

fn part_in_form(key: &str, part: &mut Map<String, Value>) {
    match key {
        "placement" => sort(part, "tags"),
        "mirror" | "source" => {
            settle_moment(part, "opt_start_time");
            for key in ["external", "consumer"] {
                if let Some(Value::Object(inner)) = part.get_mut(key) {
                    drop_empty(inner, &[]);
                }
            }
        }
        _ => {}
    }
    // A transform always shows both of its ends.
    if key == "subject_transform" {
        default(part, "src", "");
        default(part, "dest", "");
    } else {
        drop_empty(part, &["opt_start_seq", "headers_only", "inactive_threshold", "max_ack_pending"]);
    }
}
