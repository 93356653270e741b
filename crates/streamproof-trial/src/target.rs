//! What a trial exercises: one stream with its consumers, as it can be run on one node, and what was left out for that.

use std::time::Duration;

use serde_json::{Map, Value, json};
use streamproof_model::desired::{Desired, Kind};

/// Consumers wait this long at most for an ack in a trial; longer waits in the files are scaled to it. A redelivery has to be
/// seen within a run, and half a second is far above what a loaded machine needs between delivery and ack.
pub const ACK_WAIT_MAX: Duration = Duration::from_millis(500);

/// What could not be run as written, and so stays unproven.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NotProven {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// A stream, bucket or mirror, with its consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Stream, kv or object.
    pub kind: Kind,
    /// The stream's name on the server.
    pub name: String,
    /// What the user calls it.
    pub label: String,
    /// The configuration as it is run.
    pub config: Value,
    /// Its consumers.
    pub consumers: Vec<Consumer>,
    /// What its configuration allows.
    pub rules: Rules,
}

/// A durable consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// The configuration as it is run.
    pub config: Value,
    /// Where it delivers, if it is a push consumer.
    pub deliver: Option<String>,
    /// Its queue group, of a push consumer.
    pub group: Option<String>,
    /// How it wants to be acknowledged.
    pub acks: AckPolicy,
    /// How long it waits for an ack.
    pub ack_wait: Duration,
    /// How many deliveries may be without an ack; `None` for no bound.
    pub max_ack_pending: Option<u64>,
    /// How often a message is delivered at most; `None` for no bound.
    pub max_deliver: Option<u64>,
    /// Its priority group, where it has one (ADR-42).
    pub priority_group: Option<String>,
    /// Subjects that it asks for; empty for all.
    pub filters: Vec<String>,
}

/// How a consumer wants to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckPolicy {
    /// Not at all.
    None,
    /// One ack covers everything before it.
    All,
    /// Each message by itself.
    Explicit,
}

/// What a stream's configuration allows, read once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Subjects that it takes.
    pub subjects: Vec<String>,
    /// Messages can be published to it, with an ack.
    pub publishable: bool,
    /// Retention is `workqueue`.
    pub work_queue: bool,
    /// Retention is `interest`.
    pub interest: bool,
    /// In memory.
    pub memory: bool,
    /// Refuses new messages where full.
    pub discard_new: bool,
    /// Deletes are denied.
    pub deny_delete: bool,
    /// Purges are denied.
    pub deny_purge: bool,
    /// `Nats-TTL` is allowed.
    pub ttl: bool,
    /// `Nats-Rollup` is allowed.
    pub rollup: bool,
    /// Batched direct gets are allowed.
    pub direct: bool,
    /// Duplicates are recognised within this time.
    pub window: Option<Duration>,
    /// Most messages.
    pub max_msgs: Option<u64>,
    /// Most bytes.
    pub max_bytes: Option<u64>,
    /// Most messages of one subject.
    pub max_per_subject: Option<u64>,
    /// Largest message.
    pub max_msg_size: Option<u64>,
    /// Oldest message.
    pub max_age: Option<Duration>,
    /// The stream that it mirrors.
    pub mirror: Option<String>,
    /// The streams that it draws from.
    pub sources: Vec<String>,
}

/// Turns the files into what can be run on one node; what had to go is said.
///
/// `accepts` says whether the server under test knows the field of that name at all (older servers refuse or ignore it).
#[must_use]
pub fn targets(desired: &Desired) -> (Vec<Target>, Vec<NotProven>) {
    let mut notes = Vec::new();
    let mut targets: Vec<Target> = Vec::new();
    let declared = |name: &str| desired.stream(name).is_some();
    for stream in &desired.streams {
        let mut config = stream.config.clone();
        one_node(&stream.name, &mut config, &declared, &mut notes);
        let rules = Rules::of(&config);
        if !rules.publishable && rules.mirror.is_none() && rules.sources.is_empty() {
            notes.push(note(&stream.name, "its content", unpublishable(&config)));
        }
        let mut consumers = Vec::new();
        for consumer in desired.consumers.iter().filter(|consumer| consumer.stream == stream.name) {
            consumers.push(Consumer::of(&stream.name, &consumer.name, consumer.config.clone(), &mut notes));
        }
        targets.push(Target {
            kind: stream.kind,
            name: stream.name.clone(),
            label: stream.label().to_owned(),
            config: Value::Object(config),
            consumers,
            rules,
        });
    }
    // Origins before what mirrors or draws from them.
    targets.sort_by_key(|target| target.rules.mirror.is_some() || !target.rules.sources.is_empty());
    (targets, notes)
}

impl Rules {
    /// Reads a stream's configuration.
    #[must_use]
    pub fn of(config: &Map<String, Value>) -> Rules {
        let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
        let yes = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
        let number = |key: &str| {
            config
                .get(key)
                .and_then(Value::as_i64)
                .and_then(|number| u64::try_from(number).ok())
                .filter(|number| *number > 0)
        };
        let nanos = |key: &str| number(key).map(Duration::from_nanos);
        let mirror = config.get("mirror").and_then(|mirror| mirror["name"].as_str()).map(str::to_owned);
        let sources: Vec<String> = config
            .get("sources")
            .and_then(Value::as_array)
            .map(|sources| {
                sources.iter().filter_map(|source| source["name"].as_str().map(str::to_owned)).collect()
            })
            .unwrap_or_default();
        let mut subjects = strings(config.get("subjects"));
        if subjects.is_empty() && mirror.is_none() && sources.is_empty() {
            subjects.push(text("name").to_owned());
        }
        let markers = number("subject_delete_marker_ttl").is_some();
        // A counter takes only increments, a transform stores under another subject, `no_ack` never answers, and a sealed
        // stream takes nothing: none of them can be published to with a plain message whose place is known.
        let publishable = mirror.is_none()
            && !subjects.is_empty()
            && !yes("no_ack")
            && !yes("sealed")
            && !yes("allow_msg_counter")
            && config.get("subject_transform").is_none_or(Value::is_null);
        Rules {
            publishable,
            work_queue: text("retention") == "workqueue",
            interest: text("retention") == "interest",
            memory: text("storage") == "memory",
            discard_new: text("discard") == "new",
            deny_delete: yes("deny_delete"),
            deny_purge: yes("deny_purge"),
            ttl: yes("allow_msg_ttl") || markers,
            rollup: yes("allow_rollup_hdrs") || markers,
            direct: yes("allow_direct"),
            window: if mirror.is_some() {
                None
            } else {
                Some(nanos("duplicate_window").unwrap_or_else(|| {
                    let default = Duration::from_secs(120);
                    nanos("max_age").map_or(default, |age| age.min(default))
                }))
            },
            max_msgs: number("max_msgs"),
            max_bytes: number("max_bytes"),
            max_per_subject: number("max_msgs_per_subject"),
            max_msg_size: number("max_msg_size"),
            max_age: nanos("max_age"),
            subjects,
            mirror,
            sources,
        }
    }
}

impl Consumer {
    fn of(stream: &str, name: &str, mut config: Map<String, Value>, notes: &mut Vec<NotProven>) -> Consumer {
        config.remove("num_replicas");
        if config.remove("pause_until").is_some() {
            notes.push(note(
                &format!("{stream} > {name}"),
                "its pause",
                "a paused consumer delivers nothing that could be checked; it is run unpaused",
            ));
        }
        let acks = match config.get("ack_policy").and_then(Value::as_str) {
            Some("explicit") => AckPolicy::Explicit,
            Some("all") => AckPolicy::All,
            _ => AckPolicy::None,
        };
        let limit = ACK_WAIT_MAX.as_nanos() as u64;
        if let Some(backoff) =
            config.get_mut("backoff").and_then(Value::as_array_mut).filter(|backoff| !backoff.is_empty())
        {
            let longest = backoff.iter().filter_map(Value::as_u64).max().unwrap_or(0);
            if longest > limit {
                for wait in backoff.iter_mut() {
                    let nanos = wait.as_u64().unwrap_or(limit);
                    *wait =
                        json!((u128::from(nanos) * u128::from(limit) / u128::from(longest)).max(100_000_000)
                            as u64);
                }
                config.remove("ack_wait");
                notes.push(note(
                    &format!("{stream} > {name}"),
                    "its backoff as written",
                    &format!(
                        "the waits are scaled by {:.4} so that redeliveries happen within the run",
                        limit as f64 / longest as f64
                    ),
                ));
            }
        } else if acks != AckPolicy::None {
            let wait = config
                .get("ack_wait")
                .and_then(Value::as_u64)
                .filter(|wait| *wait > 0)
                .unwrap_or(30_000_000_000);
            if wait > limit {
                config.insert("ack_wait".to_owned(), json!(limit));
                notes.push(note(
                    &format!("{stream} > {name}"),
                    &format!("its ack_wait of {} s as written", wait as f64 / 1e9),
                    &format!(
                        "it is run with {} s so that redeliveries happen within the run",
                        ACK_WAIT_MAX.as_secs_f64()
                    ),
                ));
            }
        }
        if let Some(delay) = config
            .get("inactive_threshold")
            .and_then(Value::as_u64)
            .filter(|delay| *delay > 0 && *delay < 60_000_000_000)
        {
            config.remove("inactive_threshold");
            notes.push(note(
                &format!("{stream} > {name}"),
                &format!("its removal after {} s without use", delay as f64 / 1e9),
                "it is run without inactive_threshold, or it could vanish between two steps",
            ));
        }
        let text = |key: &str| {
            config.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let mut filters = strings(config.get("filter_subjects"));
        filters.extend(text("filter_subject"));
        let longest = config
            .get("backoff")
            .and_then(Value::as_array)
            .and_then(|backoff| backoff.iter().filter_map(Value::as_u64).max());
        Consumer {
            name: name.to_owned(),
            deliver: text("deliver_subject"),
            group: text("deliver_group"),
            acks,
            ack_wait: Duration::from_nanos(
                longest.or_else(|| config.get("ack_wait").and_then(Value::as_u64)).unwrap_or(limit),
            ),
            max_ack_pending: match config.get("max_ack_pending").and_then(Value::as_i64) {
                None | Some(0) => Some(1000),
                Some(number) => u64::try_from(number).ok(),
            },
            max_deliver: config
                .get("max_deliver")
                .and_then(Value::as_i64)
                .and_then(|number| u64::try_from(number).ok())
                .filter(|number| *number > 0),
            priority_group: config
                .get("priority_groups")
                .and_then(|groups| groups[0].as_str())
                .map(str::to_owned),
            filters,
            config: Value::Object(config),
        }
    }

    /// Whether a message on `subject` is for it.
    #[must_use]
    pub fn wants(&self, subject: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| crate::subjects::matches(filter, subject))
    }
}

fn one_node(
    name: &str,
    config: &mut Map<String, Value>,
    declared: &dyn Fn(&str) -> bool,
    notes: &mut Vec<NotProven>,
) {
    if let Some(replicas) =
        config.get("num_replicas").and_then(Value::as_u64).filter(|replicas| *replicas > 1)
    {
        config.insert("num_replicas".to_owned(), json!(1));
        notes.push(note(name, &format!("its {replicas} replicas"), "one node is run, with one replica"));
    }
    if config
        .remove("placement")
        .is_some_and(|placement| placement.as_object().is_some_and(|placement| !placement.is_empty()))
    {
        notes.push(note(name, "its placement", "one node is run, which has no cluster and no such tags"));
    }
    let elsewhere = |origin: &Value| {
        origin.get("external").is_some_and(|external| !external.is_null())
            || !origin["name"].as_str().is_some_and(declared)
    };
    if config.get("mirror").is_some_and(|mirror| !mirror.is_null() && elsewhere(mirror)) {
        config.remove("mirror");
        config.entry("subjects").or_insert_with(|| json!([format!("streamproof.stand-in.{name}")]));
        notes.push(note(name, "its mirroring", "the origin is elsewhere; it is run as a stream of its own"));
    }
    if let Some(sources) = config.get_mut("sources").and_then(Value::as_array_mut) {
        let before = sources.len();
        sources.retain(|source| !elsewhere(source));
        if sources.len() < before {
            notes.push(note(
                name,
                &format!("{} of its sources", before - sources.len()),
                "their origins are elsewhere; it is run without them",
            ));
        }
        if sources.is_empty() {
            config.remove("sources");
            config.entry("subjects").or_insert_with(|| json!([format!("streamproof.stand-in.{name}")]));
        }
    }
    if let Some(age) = config.get("max_age").and_then(Value::as_u64).filter(|age| *age > 60_000_000_000) {
        notes.push(note(
            name,
            &format!("the expiry after its max_age of {} s", age / 1_000_000_000),
            "it is longer than the run; nothing grew that old",
        ));
    }
    if let Some(bytes) =
        config.get("max_bytes").and_then(Value::as_i64).filter(|bytes| *bytes > MAX_BYTES_REACHED)
    {
        notes.push(note(
            name,
            &format!("its limit of {bytes} bytes"),
            "more than a run writes; the limit was not reached",
        ));
    }
    if let Some(messages) =
        config.get("max_msgs").and_then(Value::as_i64).filter(|messages| *messages > MAX_MSGS_REACHED)
    {
        notes.push(note(
            name,
            &format!("its limit of {messages} messages"),
            "more than a run publishes; the limit was not reached",
        ));
    }
}

/// A limit in bytes above this is not reached by a run, and the report says so.
pub const MAX_BYTES_REACHED: i64 = 1024 * 1024;
/// A limit in messages above this is not reached by a run, and the report says so.
pub const MAX_MSGS_REACHED: i64 = 2_000;

fn unpublishable(config: &Map<String, Value>) -> &'static str {
    let yes = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    if yes("no_ack") {
        "a stream with no_ack never says what it stored, so nothing can be held against it"
    } else if yes("sealed") {
        "a sealed stream takes no messages"
    } else if yes("allow_msg_counter") {
        "counters are not exercised yet; its configuration and state are compared"
    } else {
        "a subject transform stores messages elsewhere than they were sent; its configuration and state are compared"
    }
}

fn note(name: &str, what: &str, why: &str) -> NotProven {
    NotProven { what: format!("{name}: {what}"), why: why.to_owned() }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .map(|items| items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
        .unwrap_or_default()
}
