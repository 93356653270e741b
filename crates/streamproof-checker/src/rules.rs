//! What a configuration means for a judgement: limits, retention, windows, filters.

use serde_json::Value;

/// `retention`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retention {
    /// Messages stay until a limit removes them.
    #[default]
    Limits,
    /// Messages go when every interested consumer has acked them.
    Interest,
    /// Messages go when they are acked.
    WorkQueue,
}

/// What a stream's configuration means. Limits are `u64::MAX` where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRules {
    /// `retention`.
    pub retention: Retention,
    /// `storage: memory`.
    pub memory: bool,
    /// `persist_mode: async`.
    pub async_persist: bool,
    /// `discard: new`.
    pub discard_new: bool,
    /// `max_msgs`.
    pub max_msgs: u64,
    /// `max_bytes`.
    pub max_bytes: u64,
    /// `max_msgs_per_subject`.
    pub max_per_subject: u64,
    /// `max_age`, in µs.
    pub max_age_us: u64,
    /// `duplicate_window`, in µs; 0 where there is none.
    pub window_us: u64,
    /// `mirror`: the stream that it copies.
    pub mirror: Option<String>,
    /// The mirror copies only part of its origin, or under other subjects.
    pub mirror_partial: bool,
    /// It has `sources`.
    pub sourced: bool,
    /// `first_seq`, above 1.
    pub first_seq: bool,
}

impl Default for StreamRules {
    fn default() -> Self {
        Self {
            retention: Retention::Limits,
            memory: false,
            async_persist: false,
            discard_new: false,
            max_msgs: u64::MAX,
            max_bytes: u64::MAX,
            max_per_subject: u64::MAX,
            max_age_us: u64::MAX,
            window_us: 120_000_000,
            mirror: None,
            mirror_partial: false,
            sourced: false,
            first_seq: false,
        }
    }
}

impl StreamRules {
    /// Reads a configuration as the server or a file has it.
    #[must_use]
    pub fn of(config: &Value) -> Self {
        let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
        let max_age_us = limit(config, "max_age").map_or(u64::MAX, |ns| ns / 1000);
        Self {
            retention: match text("retention") {
                "interest" => Retention::Interest,
                "workqueue" => Retention::WorkQueue,
                _ => Retention::Limits,
            },
            memory: text("storage") == "memory",
            async_persist: text("persist_mode") == "async",
            discard_new: text("discard") == "new",
            max_msgs: limit(config, "max_msgs").unwrap_or(u64::MAX),
            max_bytes: limit(config, "max_bytes").unwrap_or(u64::MAX),
            max_per_subject: limit(config, "max_msgs_per_subject").unwrap_or(u64::MAX),
            max_age_us,
            window_us: limit(config, "duplicate_window").map_or(0, |ns| ns / 1000),
            mirror: config.pointer("/mirror/name").and_then(Value::as_str).map(str::to_owned),
            mirror_partial: config.get("mirror").is_some_and(|mirror| {
                ["filter_subject", "subject_transforms", "opt_start_seq", "opt_start_time"]
                    .iter()
                    .any(|key| mirror.get(key).is_some_and(|value| !matches!(value, Value::Null)))
            }),
            sourced: config.get("sources").and_then(Value::as_array).is_some_and(|list| !list.is_empty()),
            first_seq: limit(config, "first_seq").is_some_and(|first| first > 1),
        }
    }

    /// Takes the lower of each limit, for what either configuration may have removed.
    pub fn tighten(&mut self, other: &Self) {
        self.max_msgs = self.max_msgs.min(other.max_msgs);
        self.max_bytes = self.max_bytes.min(other.max_bytes);
        self.max_per_subject = self.max_per_subject.min(other.max_per_subject);
        self.max_age_us = self.max_age_us.min(other.max_age_us);
        if other.retention != Retention::Limits {
            self.retention = other.retention;
        }
        // A limit that is lowered removes messages whatever `discard` says (nats-server stream.go:updateWithAdvisory).
        self.discard_new = false;
    }

    /// Takes the higher of each limit, for what either configuration may still hold.
    pub fn loosen(&mut self, other: &Self) {
        self.max_msgs = self.max_msgs.max(other.max_msgs);
        self.max_bytes = self.max_bytes.max(other.max_bytes);
        self.max_per_subject = self.max_per_subject.max(other.max_per_subject);
        self.max_age_us = self.max_age_us.max(other.max_age_us);
    }

    /// Whether messages may go without anyone asking for it.
    #[must_use]
    pub fn evicts(&self) -> bool {
        self.retention != Retention::Limits || self.has_limits()
    }

    /// How much a block of the stream's file store takes (nats-server `filestore.go:dynBlkSize`).
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        const LEAST: u64 = 32 * 1000;
        const MEDIUM: u64 = 4 * 1024 * 1024;
        const MOST: u64 = 8 * 1024 * 1024;
        match (self.max_bytes, self.retention) {
            (u64::MAX, Retention::Limits) => MOST,
            (u64::MAX, _) => MEDIUM,
            (bytes, _) => match (bytes / 4 + 1).next_multiple_of(100) {
                size if size <= LEAST => LEAST,
                size if size >= MOST => MOST,
                _ => MEDIUM,
            },
        }
    }

    /// Whether a limit may remove messages.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        [self.max_msgs, self.max_bytes, self.max_per_subject, self.max_age_us]
            .iter()
            .any(|limit| *limit != u64::MAX)
    }
}

/// `ack_policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckPolicy {
    /// Every message is acked for itself. Assumed where no configuration was recorded.
    #[default]
    Explicit,
    /// An ack covers all before it.
    All,
    /// A delivery is an ack.
    None,
}

/// What a consumer's configuration means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRules {
    /// `ack_policy`.
    pub ack: AckPolicy,
    /// `filter_subject` or `filter_subjects`; empty for all.
    pub filters: Vec<String>,
    /// `max_deliver`; `u32::MAX` for no bound.
    pub max_deliver: u32,
    /// `ack_wait`, in µs.
    pub ack_wait_us: u64,
    /// `max_ack_pending`; `u64::MAX` for no bound.
    pub max_ack_pending: u64,
    /// `deliver_policy: all`, from the first message on.
    pub deliver_all: bool,
    /// It may go away by itself (no durable name, or an inactivity threshold), or its state is in memory.
    pub fleeting: bool,
}

impl Default for ConsumerRules {
    fn default() -> Self {
        Self {
            ack: AckPolicy::Explicit,
            filters: Vec::new(),
            max_deliver: u32::MAX,
            ack_wait_us: 30_000_000,
            max_ack_pending: u64::MAX,
            deliver_all: true,
            fleeting: false,
        }
    }
}

impl ConsumerRules {
    /// Reads a configuration as the server or a file has it.
    #[must_use]
    pub fn of(config: &Value) -> Self {
        let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut filters: Vec<String> = config
            .get("filter_subjects")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default();
        if !text("filter_subject").is_empty() {
            filters.push(text("filter_subject").to_owned());
        }
        // With a backoff the last step repeats, and the longest is what a redelivery may take.
        let backoff = config
            .get("backoff")
            .and_then(Value::as_array)
            .and_then(|list| list.iter().filter_map(Value::as_u64).max());
        Self {
            // A raw configuration without it is a consumer that never acks (nats-server consumer.go).
            ack: match text("ack_policy") {
                "explicit" => AckPolicy::Explicit,
                "all" => AckPolicy::All,
                _ => AckPolicy::None,
            },
            filters,
            max_deliver: limit(config, "max_deliver")
                .and_then(|value| u32::try_from(value).ok())
                .unwrap_or(u32::MAX),
            ack_wait_us: backoff.or(limit(config, "ack_wait")).map_or(30_000_000, |ns| ns / 1000),
            max_ack_pending: limit(config, "max_ack_pending").unwrap_or(u64::MAX),
            deliver_all: matches!(text("deliver_policy"), "" | "all"),
            fleeting: text("durable_name").is_empty()
                || limit(config, "inactive_threshold").is_some()
                || config.get("mem_storage").and_then(Value::as_bool) == Some(true),
        }
    }

    /// Whether a message of this subject is for it.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| subject_matches(filter, subject))
    }
}

/// A limit: absent, 0 and below mean none.
fn limit(config: &Value, key: &str) -> Option<u64> {
    config.get(key).and_then(Value::as_u64).filter(|value| *value > 0)
}

/// Whether a subject matches a filter with `*` and `>`.
#[must_use]
pub fn subject_matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    let mut filters = filter.split('.');
    loop {
        match (filters.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(expected), Some(token)) if expected == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_server_does() {
        for (filter, subject, expected) in [
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("a", "a", true),
            ("a.b", "a", false),
        ] {
            assert_eq!(subject_matches(filter, subject), expected, "{filter} {subject}");
        }
    }
}
