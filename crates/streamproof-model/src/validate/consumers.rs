//! Fields of a consumer that contradict each other: `checkConsumerCfg`, server/consumer.go.

use serde_json::{Map, Value};

use super::{contradiction, subjects};
use crate::desired::DesiredConsumer;
use crate::finding::{Finding, Rule};
use crate::normalize::FLOW_CONTROL_HEARTBEAT_NS;
use crate::version::{Release, Version};

/// `full` is the configuration with the server's defaults, `stream` that of its stream as declared.
pub(super) fn contradictions(
    consumer: &DesiredConsumer,
    full: &Map<String, Value>,
    stream: &Map<String, Value>,
    version: &Version,
    found: &mut Vec<Finding>,
) {
    let places = &consumer.places;
    let text = |key: &str| full.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| full.get(key).and_then(Value::as_i64).unwrap_or(0);
    let flag = |key: &str| full.get(key) == Some(&Value::Bool(true));
    let has = |key: &str| full.contains_key(key);
    let retention = stream.get("retention").and_then(Value::as_str).unwrap_or("limits");
    let replicas = stream.get("num_replicas").and_then(Value::as_i64).unwrap_or(1).max(1);
    let deliver = text("deliver_subject").to_owned();
    let push = !deliver.is_empty();
    let ack = text("ack_policy");
    let mut refuse = |wrong: bool, field: &str, message: &str| {
        if wrong {
            found.push(contradiction(places, field, message));
        }
    };

    refuse(
        number("num_replicas") > replicas,
        "num_replicas",
        "a consumer cannot have more replicas than its stream",
    );
    let bound = matches!(retention, "interest" | "workqueue")
        && number("num_replicas") != 0
        && number("num_replicas") != replicas;
    refuse(
        bound,
        "num_replicas",
        "a consumer of an interest or workqueue stream has as many replicas as the stream",
    );
    let backoff = full.get("backoff").and_then(Value::as_array).map_or(0, Vec::len);
    let deliveries = number("max_deliver");
    let short =
        backoff > 0 && deliveries != -1 && i64::try_from(backoff).is_ok_and(|backoff| backoff > deliveries);
    refuse(short, "max_deliver", "\"max_deliver\" cannot be less than the number of \"backoff\" values");
    if push {
        refuse(has("max_waiting"), "max_waiting", "a push consumer has no \"max_waiting\"");
        refuse(
            number("max_ack_pending") > 0 && ack == "none",
            "max_ack_pending",
            "\"max_ack_pending\" needs acks",
        );
        let beat = number("idle_heartbeat");
        refuse(beat > 0 && beat < 100_000_000, "idle_heartbeat", "\"idle_heartbeat\" must be at least 100ms");
    } else {
        refuse(has("rate_limit_bps"), "rate_limit_bps", "a pull consumer has no \"rate_limit_bps\"");
        refuse(has("idle_heartbeat"), "idle_heartbeat", "a pull consumer has no \"idle_heartbeat\"");
        refuse(flag("flow_control"), "flow_control", "a pull consumer has no \"flow_control\"");
        let expires = number("max_expires");
        refuse(expires != 0 && expires < 1_000_000, "max_expires", "\"max_expires\" must be at least 1ms");
    }
    refuse(
        flag("flow_control") && !has("idle_heartbeat"),
        "flow_control",
        "\"flow_control\" needs an \"idle_heartbeat\"",
    );
    if ack == "flow_control" {
        refuse(!push, "ack_policy", "\"ack_policy\": \"flow_control\" is for push consumers");
        let declared = |key: &str| consumer.config.get(key);
        refuse(
            declared("flow_control") == Some(&Value::Bool(false)),
            "flow_control",
            "\"ack_policy\": \"flow_control\" needs \"flow_control\": true",
        );
        refuse(
            declared("idle_heartbeat").is_some_and(|beat| *beat != 0 && *beat != FLOW_CONTROL_HEARTBEAT_NS),
            "idle_heartbeat",
            "\"ack_policy\": \"flow_control\" has an \"idle_heartbeat\" of 1s",
        );
        refuse(
            number("max_ack_pending") <= 0,
            "max_ack_pending",
            "\"ack_policy\": \"flow_control\" needs a limit in \"max_ack_pending\"",
        );
        refuse(
            has("ack_wait") || backoff > 0,
            "ack_wait",
            "\"ack_policy\": \"flow_control\" has no \"ack_wait\" and no \"backoff\"",
        );
        refuse(deliveries > 0, "max_deliver", "\"ack_policy\": \"flow_control\" has no \"max_deliver\"");
    }
    limits(consumer, stream, full, &mut refuse);
    start(text("deliver_policy"), full, &mut refuse);
    priority(full, push, version, &mut refuse);

    if push && !subjects::is_target(&deliver) {
        found.push(
            Finding::error(
                Rule::InvalidSubject,
                places.value("/deliver_subject"),
                "a deliver subject is one subject without wildcards",
            )
            .label("not a subject to deliver to")
            .help("write one subject, such as \"deliver.here\"; or remove it for a pull consumer"),
        );
    } else if push {
        let listed: Vec<&str> = stream
            .get("subjects")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if let Some(subject) = subjects::delivers_into(&listed, &deliver) {
            let message =
                format!("the consumer delivers to {deliver:?}, which its own stream stores ({subject:?})");
            found.push(
                Finding::error(Rule::DeliverCycle, places.value("/deliver_subject"), message)
                    .label("forms a cycle")
                    .help("deliver to a subject that the stream does not store; or remove it for a pull consumer"),
            );
        }
    }
    let first = consumer.config.get("backoff").and_then(|backoff| backoff.get(0));
    if let (Some(first), Some(wait)) = (first, consumer.config.get("ack_wait"))
        && first != wait
        && *wait != 0
    {
        found.push(
            Finding::warning(
                Rule::Contradiction,
                places.value("/ack_wait"),
                "the first value of \"backoff\" takes the place of \"ack_wait\"",
            )
            .label("has no effect")
            .help("remove this line"),
        );
    }
    super::streams::sizes(&consumer.config, places, found);
}

fn limits(
    consumer: &DesiredConsumer,
    stream: &Map<String, Value>,
    full: &Map<String, Value>,
    refuse: &mut impl FnMut(bool, &str, &str),
) {
    let Some(limits) = stream.get("consumer_limits") else { return };
    for key in ["max_ack_pending", "inactive_threshold"] {
        let limit = limits.get(key).and_then(Value::as_i64).unwrap_or(0);
        let value = full.get(key).and_then(Value::as_i64).unwrap_or(0);
        let message =
            format!("{key:?} of {:?} is over the stream's \"consumer_limits\" ({limit})", consumer.name);
        refuse(limit > 0 && value > limit, key, &message);
    }
}

/// Where delivery starts.
fn start(policy: &str, full: &Map<String, Value>, refuse: &mut impl FnMut(bool, &str, &str)) {
    let (sequence, time) = (full.contains_key("opt_start_seq"), full.contains_key("opt_start_time"));
    let filtered = full.contains_key("filter_subject") || full.contains_key("filter_subjects");
    refuse(
        policy == "by_start_sequence" && !sequence,
        "deliver_policy",
        "\"by_start_sequence\" needs an \"opt_start_seq\"",
    );
    refuse(
        policy == "by_start_time" && !time,
        "deliver_policy",
        "\"by_start_time\" needs an \"opt_start_time\"",
    );
    refuse(
        policy != "by_start_sequence" && sequence,
        "opt_start_seq",
        "\"opt_start_seq\" goes with \"deliver_policy\": \"by_start_sequence\"",
    );
    refuse(
        policy != "by_start_time" && time,
        "opt_start_time",
        "\"opt_start_time\" goes with \"deliver_policy\": \"by_start_time\"",
    );
    refuse(
        policy == "last_per_subject" && !filtered,
        "deliver_policy",
        "\"last_per_subject\" needs a filter",
    );
}

fn priority(
    full: &Map<String, Value>,
    push: bool,
    version: &Version,
    refuse: &mut impl FnMut(bool, &str, &str),
) {
    let groups = full.get("priority_groups").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !full.contains_key("priority_policy") {
        // From 2.12 on; before, they are kept and mean nothing.
        let strict = version.has(Release(2, 12, 0));
        refuse(
            strict && !groups.is_empty(),
            "priority_groups",
            "\"priority_groups\" need a \"priority_policy\"",
        );
        refuse(
            strict && full.contains_key("priority_timeout"),
            "priority_timeout",
            "\"priority_timeout\" needs a \"priority_policy\"",
        );
        return;
    }
    let late = version.has(Release(2, 11, 7));
    refuse(push && late, "priority_policy", "a push consumer has no \"priority_policy\"");
    refuse(groups.is_empty(), "priority_policy", "a \"priority_policy\" needs \"priority_groups\"");
    // `validGroupName`: ^[a-zA-Z0-9/_=-]{1,16}$
    let legal = |name: &str| {
        (1..=16).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_=-".contains(&byte))
    };
    let illegal = groups.iter().filter_map(Value::as_str).any(|name| !legal(name));
    refuse(illegal, "priority_groups", "a group's name has 1 to 16 letters, digits, / _ = or -");
}
