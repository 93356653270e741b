//! What a change of a stream deletes of what it holds, in messages and bytes, and how well that is known.

use super::observed::{Document, StreamSeen};
use super::step::{Bound, Loss};
use crate::moment::{before, nanoseconds};
use serde_json::Value;

/// Something to look up on the server so that a loss can be told exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Want {
    /// Messages by subject.
    Subjects {
        /// The stream.
        stream: String,
    },
    /// The first message stored at or after a moment.
    Older {
        /// The stream.
        stream: String,
        /// The moment (RFC 3339).
        before: String,
        /// The age that it stands for, in nanoseconds.
        age_ns: u64,
    },
}

/// What all of a stream is.
pub(super) fn all(seen: &StreamSeen) -> Option<Loss> {
    (seen.messages > 0).then_some(Loss {
        messages: seen.messages,
        bytes: seen.bytes,
        messages_bound: Bound::Exact,
        bytes_bound: Bound::Exact,
    })
}

/// As [`all`], where it may also be less.
pub(super) fn up_to_all(seen: &StreamSeen) -> Option<Loss> {
    all(seen).map(|loss| Loss { messages_bound: Bound::AtMost, bytes_bound: Bound::AtMost, ..loss })
}

/// What the server deletes when the stream's limits become those of `wanted`. `at` is the server's time.
pub(super) fn of_limits(
    seen: &StreamSeen,
    live: &Document,
    wanted: &Document,
    at: Option<&str>,
    wants: &mut Vec<Want>,
) -> Option<Loss> {
    if seen.messages == 0 {
        return None;
    }
    let number =
        |doc: &Document, key: &str| doc.get(key).and_then(Value::as_i64).unwrap_or(0).max(0).unsigned_abs();
    // 0 is "no limit" here: a limit counts where it is new or lower than before.
    let lowered = |key: &str| {
        let (old, new) = (number(live, key), number(wanted, key));
        (new > 0 && (old == 0 || new < old)).then_some(new)
    };
    // A stream that discards new messages keeps what it has over these two (`enforceMsgLimit`, `enforceBytesLimit` in
    // server/filestore.go), until it discards old ones.
    let discards_new = |doc: &Document| doc.get("discard").and_then(Value::as_str) == Some("new");
    let enforced = |key: &str| match (discards_new(live), discards_new(wanted)) {
        (_, true) => None,
        (true, false) => Some(number(wanted, key)).filter(|limit| *limit > 0),
        (false, false) => lowered(key),
    };
    let mut causes = Vec::new();
    if let Some(limit) = enforced("max_msgs").filter(|limit| *limit < seen.messages) {
        causes.push(messages(seen, seen.messages - limit, Bound::Exact));
    }
    if let Some(limit) = enforced("max_bytes").filter(|limit| *limit < seen.bytes) {
        let bytes = seen.bytes - limit;
        let average = (seen.bytes / seen.messages).max(1);
        causes.push(Loss {
            messages: bytes.div_ceil(average).min(seen.messages),
            bytes,
            messages_bound: Bound::About,
            bytes_bound: Bound::AtLeast,
        });
    }
    if let Some(limit) = lowered("max_age") {
        causes.extend(by_age(seen, limit, at, wants));
    }
    if let Some(limit) = lowered("max_msgs_per_subject") {
        causes.extend(by_subject(seen, limit, wants));
    }
    if live.get("retention").and_then(Value::as_str) == Some("limits")
        && wanted.get("retention").and_then(Value::as_str) == Some("interest")
    {
        // Messages that no consumer waits for go: at once from 2.15 on, as consumers move before.
        causes.extend(up_to_all(seen));
    }
    combine(seen, &causes)
}

fn by_age(seen: &StreamSeen, limit: u64, at: Option<&str>, wants: &mut Vec<Want>) -> Option<Loss> {
    if let Some(older) = seen.older.as_ref().filter(|older| older.age_ns == limit) {
        let span = older.first_kept_seq.saturating_sub(seen.first_seq);
        let holes = (seen.last_seq + 1).saturating_sub(seen.first_seq) != seen.messages;
        let bound = if holes && span > 0 { Bound::AtMost } else { Bound::Exact };
        return (span > 0).then(|| messages(seen, span.min(seen.messages), bound));
    }
    let Some(at) = at else { return up_to_all(seen) };
    let cut = before(at, limit)?;
    let first = seen.first_ts.as_deref().and_then(nanoseconds)?;
    if first >= nanoseconds(&cut)? {
        return None;
    }
    wants.push(Want::Older { stream: seen.name.clone(), before: cut, age_ns: limit });
    up_to_all(seen)
}

fn by_subject(seen: &StreamSeen, limit: u64, wants: &mut Vec<Want>) -> Option<Loss> {
    if let Some(subjects) = &seen.subjects {
        let gone: u64 = subjects.values().filter_map(Value::as_u64).map(|n| n.saturating_sub(limit)).sum();
        return (gone > 0).then(|| messages(seen, gone, Bound::Exact));
    }
    if seen.num_subjects.is_some_and(|n| n == seen.messages) || seen.messages <= limit {
        return None;
    }
    wants.push(Want::Subjects { stream: seen.name.clone() });
    let kept = seen.num_subjects.unwrap_or(0);
    Some(messages(seen, seen.messages.saturating_sub(kept), Bound::AtMost))
}

/// So many messages, and about as many bytes as they have on average.
fn messages(seen: &StreamSeen, gone: u64, bound: Bound) -> Loss {
    let (bytes, bytes_bound) = if gone == seen.messages {
        (seen.bytes, bound)
    } else {
        let bytes = u128::from(seen.bytes) * u128::from(gone) / u128::from(seen.messages);
        (u64::try_from(bytes).unwrap_or(u64::MAX), Bound::About)
    };
    Loss { messages: gone, bytes, messages_bound: bound, bytes_bound }
}

/// Several causes may delete the same messages: no more than the sum, and no more than there is.
fn combine(seen: &StreamSeen, causes: &[Loss]) -> Option<Loss> {
    match causes {
        [] => None,
        [one] => Some(*one),
        many => Some(Loss {
            messages: many.iter().map(|l| l.messages).sum::<u64>().min(seen.messages),
            bytes: many.iter().map(|l| l.bytes).sum::<u64>().min(seen.bytes),
            messages_bound: Bound::AtMost,
            bytes_bound: Bound::About,
        }),
    }
}
