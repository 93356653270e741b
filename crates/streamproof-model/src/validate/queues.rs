//! What a stream asks of all its consumers together: the rules of a workqueue, and how many there may be
//! (`addConsumerWithAssignment`, server/consumer.go).

use serde_json::Value;

use super::contradiction;
use crate::desired::{Desired, DesiredConsumer, DesiredStream};
use crate::finding::{Finding, Rule};
use crate::subject::collide;
use crate::version::{Release, Version};

pub(super) fn stream(stream: &DesiredStream, desired: &Desired, version: &Version, found: &mut Vec<Finding>) {
    let consumers: Vec<&DesiredConsumer> =
        desired.consumers.iter().filter(|consumer| consumer.stream == stream.name).collect();
    let most = stream.config.get("max_consumers").and_then(Value::as_u64).unwrap_or(0);
    if most > 0 && consumers.len() as u64 > most {
        let message = format!("\"max_consumers\" is {most}, and {} are declared", consumers.len());
        found.push(
            contradiction(&stream.places, "max_consumers", message)
                .help(format!("raise it to {}, or remove consumers", consumers.len())),
        );
    }
    if stream.config.get("retention").and_then(Value::as_str) != Some("workqueue") {
        return;
    }
    for (index, consumer) in consumers.iter().enumerate() {
        member(consumer, version, found);
        let filters = filters(consumer);
        for other in &consumers[..index] {
            let theirs = self::filters(other);
            let message = if filters.is_empty() || theirs.is_empty() {
                format!(
                    "a message of a workqueue goes to one consumer: this one and {:?} need filters",
                    other.name
                )
            } else if filters.iter().any(|own| theirs.iter().any(|their| collide(own, their))) {
                format!(
                    "a message of a workqueue goes to one consumer, and the filters of {:?} overlap",
                    other.name
                )
            } else {
                continue;
            };
            let place =
                consumer.places.value(if filters.len() > 1 { "/filter_subjects" } else { "/filter_subject" });
            found.push(
                Finding::error(Rule::FilterOverlap, place, message)
                    .label("not its own part of the queue")
                    .help("give each a \"filter_subject\" of its own, or keep one consumer"),
            );
        }
    }
}

/// One consumer of a workqueue.
fn member(consumer: &DesiredConsumer, version: &Version, found: &mut Vec<Finding>) {
    let text = |key: &str, absent: &'static str| {
        consumer.config.get(key).and_then(Value::as_str).unwrap_or(absent).to_owned()
    };
    let ack = text("ack_policy", "none");
    if ack != "explicit" && !(ack == "flow_control" && version.has(Release(2, 14, 0))) {
        let message = "a consumer of a workqueue stream needs \"ack_policy\": \"explicit\"";
        found.push(
            contradiction(&consumer.places, "ack_policy", message).help("write \"ack_policy\": \"explicit\""),
        );
    }
    if text("deliver_policy", "all") != "all" {
        let message = "a consumer of a workqueue stream takes all: \"deliver_policy\": \"all\"";
        found.push(
            contradiction(&consumer.places, "deliver_policy", message).help("remove \"deliver_policy\""),
        );
    }
}

fn filters(consumer: &DesiredConsumer) -> Vec<&str> {
    let one =
        consumer.config.get("filter_subject").and_then(Value::as_str).filter(|filter| !filter.is_empty());
    let many = consumer.config.get("filter_subjects").and_then(Value::as_array).into_iter().flatten();
    one.into_iter().chain(many.filter_map(Value::as_str)).collect()
}
