//! What is near a limit: of the account, of the server, of a stream.

use serde_json::Value;
use streamproof_model::plan::StreamSeen;

use super::{Remark, Seen, State, few};

/// From four fifths on a limit is near: time is left to do something.
fn near(used: u64, limit: u64) -> bool {
    u128::from(used) * 5 >= u128::from(limit) * 4
}

pub(super) fn remarks(seen: &Seen) -> Vec<Remark> {
    let mut remarks = account(&seen.account, "the account");
    if let Some(Value::Object(tiers)) = seen.account.get("tiers") {
        remarks.extend(
            tiers.iter().flat_map(|(tier, usage)| account(usage, &format!("the account's tier {tier}"))),
        );
    }
    remarks.extend(server(seen));
    remarks.extend(few("limits", seen.observed.streams.iter().flat_map(stream).collect()));
    if remarks.is_empty() {
        remarks.push(Remark::new(State::Ok, "limits", "none is near"));
    }
    remarks
}

fn percent(used: u64, limit: u64) -> u128 {
    u128::from(used) * 100 / u128::from(limit.max(1))
}

fn remark(whose: &str, used: u64, limit: u64, what: &str, then: &str) -> Option<Remark> {
    let text = format!("{whose}: {used} of {limit} {what} ({} %){then}", percent(used, limit));
    near(used, limit).then(|| Remark::new(State::Warn, "limits", text))
}

/// `$JS.API.INFO`, or one of its tiers.
fn account(usage: &Value, whose: &str) -> Vec<Remark> {
    let used = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
    let limit = |key: &str| usage.get("limits")?.get(key)?.as_i64().filter(|n| *n > 0)?.try_into().ok();
    [
        ("storage", "max_storage", "bytes on the disk"),
        ("memory", "max_memory", "bytes in memory"),
        ("streams", "max_streams", "streams"),
        ("consumers", "max_consumers", "consumers"),
    ]
    .into_iter()
    .filter_map(|(key, max, what)| {
        remark(whose, used(key), limit(max)?, what, "; at the limit writes are refused")
    })
    .collect()
}

fn server(seen: &Seen) -> Vec<Remark> {
    let Ok(monitored) = &seen.monitored else { return Vec::new() };
    let jetstream = &monitored.varz.jetstream;
    let (Some(config), Some(stats)) = (&jetstream.config, &jetstream.stats) else { return Vec::new() };
    [
        (stats.storage, config.max_storage, "bytes on the disk"),
        (stats.memory, config.max_memory, "bytes in memory"),
        (stats.reserved_storage, config.max_storage, "bytes on the disk reserved (max_bytes of its streams)"),
        (stats.reserved_memory, config.max_memory, "bytes in memory reserved (max_bytes of its streams)"),
    ]
    .into_iter()
    .filter_map(|(used, limit, what)| {
        let limit = u64::try_from(limit).ok().filter(|limit| *limit > 0)?;
        remark("the server", used, limit, what, "; at the limit writes or new streams are refused")
    })
    .collect()
}

fn stream(seen: &StreamSeen) -> Vec<Remark> {
    let limit = |key: &str| seen.config.get(key)?.as_i64().filter(|n| *n > 0)?.try_into().ok();
    let text = |key: &str| seen.config.get(key).and_then(Value::as_str).unwrap_or_default();
    // What an old message's removal costs: with a queue it is work that nobody has done.
    let then = match (text("discard"), text("retention")) {
        ("new", _) => Some("; at the limit publishes are refused"),
        (_, "workqueue" | "interest") => Some("; at the limit the oldest go, consumed or not"),
        _ => None,
    };
    let mut remarks = Vec::new();
    if let Some(then) = then {
        for (key, used, what) in [("max_msgs", seen.messages, "messages"), ("max_bytes", seen.bytes, "bytes")]
        {
            remarks.extend(limit(key).and_then(|limit| remark(&seen.name, used, limit, what, then)));
        }
    }
    let consumers = limit("max_consumers");
    remarks.extend(consumers.and_then(|limit| {
        remark(&seen.name, seen.consumer_count, limit, "consumers", "; at the limit no more can be made")
    }));
    remarks
}
