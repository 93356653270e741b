//! Values of a configuration in words, safe to show on a terminal.

use serde_json::Value;

/// So much of a value is shown.
const LONGEST: usize = 160;

/// A field's value: durations with units, texts as they are where that is clear.
pub(super) fn words(path: &str, value: &Value) -> String {
    let last = path.rsplit('.').next().unwrap_or(path);
    let duration = matches!(
        last,
        "max_age"
            | "duplicate_window"
            | "ack_wait"
            | "backoff"
            | "max_expires"
            | "idle_heartbeat"
            | "inactive_threshold"
            | "subject_delete_marker_ttl"
            | "priority_timeout"
    );
    match value {
        Value::Null => "nothing".into(),
        Value::Number(n) if duration => n.as_u64().map_or_else(|| n.to_string(), crate::duration::format),
        Value::String(text) if text.is_empty() => "\"\"".into(),
        Value::String(text) => clean(text),
        // One list in words: what stands in it, not how JSON writes it.
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            clean(&items.iter().map(|item| words(path, item)).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) if map.len() == 1 && map.contains_key("name") => words("name", &map["name"]),
        Value::Object(map) => {
            let parts = map.iter().map(|(key, value)| match value {
                Value::Object(_) => format!("{key} {{{}}}", words(key, value)),
                Value::Array(items) if items.iter().any(Value::is_object) => {
                    let items: Vec<String> =
                        items.iter().map(|item| format!("{{{}}}", words(key, item))).collect();
                    format!("{key} {}", items.join(" "))
                }
                _ => format!("{key} {}", words(key, value)),
            });
            clean(&parts.collect::<Vec<_>>().join(", "))
        }
        other => clean(&other.to_string()),
    }
}

/// Without what a terminal would obey, and not too long.
pub(super) fn clean(text: &str) -> String {
    let obeyed = |letter: char| {
        letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::with_capacity(text.len().min(4 * LONGEST));
    for (at, letter) in text.chars().enumerate() {
        if at == LONGEST {
            out.push('…');
            break;
        }
        if obeyed(letter) { out.extend(letter.escape_default()) } else { out.push(letter) }
    }
    out
}
