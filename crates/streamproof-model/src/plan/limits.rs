//! The limits that a stream sets for its consumers: which consumers exceed them, and what has to change first.

use super::make::Maker;
use super::observed::{Document, StreamSeen};
use super::send::is_ours;
use super::step::{Action, Effect, Step};
use crate::fields::TAKERS_INACTIVE_NS;
use crate::version::{Release, Version};
use serde_json::Value;

const LIMITS: [&str; 2] = ["max_ack_pending", "inactive_threshold"];

/// Whether a server refuses new limits of a stream for the sake of a consumer that is there (nats-server `updateWithAdvisory`,
/// error 10069).
pub(super) fn violates(consumer: &Document, stream: &Document, version: &Version) -> bool {
    let zero_counts = none_is_zero(version);
    LIMITS
        .iter()
        .any(|key| exceeds(consumer, stream, key) || (zero_counts && exceeds_none(consumer, stream, key)))
}

/// Whether a consumer is above a limit that is there.
fn exceeds(consumer: &Document, stream: &Document, key: &str) -> bool {
    let limit = limit(stream, key);
    limit > 0 && number(consumer.get(key)) > limit
}

fn exceeds_none(consumer: &Document, stream: &Document, key: &str) -> bool {
    limit(stream, key) <= 0 && number(consumer.get(key)) > 0
}

/// Before 2.14.3 a limit that is not there counts as 0 in an update, and any consumer exceeds that.
fn none_is_zero(version: &Version) -> bool {
    !version.has(Release(2, 14, 3))
}

/// Whether a consumer can be had as it is asked for under the limits of a stream: what it leaves out they would fill in, which
/// pedantic mode refuses (`setConsumerConfigDefaults`), and what is above them is refused (`checkConsumerCfg`).
fn fits(consumer: &Document, stream: &Document) -> bool {
    LIMITS.iter().all(|key| {
        let (limit, own) = (limit(stream, key), number(consumer.get(*key)));
        limit <= 0 || (own != 0 && own <= limit)
    })
}

fn limit(stream: &Document, key: &str) -> i64 {
    number(stream.get("consumer_limits").and_then(|limits| limits.get(key)))
}

fn number(value: Option<&Value>) -> i64 {
    value.and_then(Value::as_i64).unwrap_or(0)
}

impl Maker<'_> {
    /// Limits that no order of steps brings about: a consumer exceeds them as it is, and as it can be made while the stream still
    /// has its old ones (which fill in what the consumer leaves out, and bound what it asks for). The consumers by which other
    /// streams take from this one count too, though no listing shows them; a shorter limit than theirs would end that for good.
    pub(super) fn stuck_limits(&self, step: &mut Step, seen: &StreamSeen, full: &Document) {
        if !step.changes.iter().any(|change| change.path.starts_with("consumer_limits")) {
            return;
        }
        let taker = self.observed.streams.iter().find(|other| takes_from(&other.config, &step.stream));
        let inactive_ns = limit(full, "inactive_threshold");
        if let Some(taker) = taker
            && (1..TAKERS_INACTIVE_NS).contains(&inactive_ns)
        {
            step.blocked = Some(format!(
                "{} takes from it by a consumer whose inactive_threshold is 10s, and the server refuses a lower limit \
                 (10069); set consumer_limits.inactive_threshold to 10s or more",
                taker.name
            ));
        }
        if let Some(taker) = taker
            && limit(full, "max_ack_pending") > 0
        {
            step.notes.push(format!(
                "{} takes from it by a consumer that acknowledges nothing; with a max_ack_pending for all consumers the server \
                 refuses to make that again (10082), and at its next start nothing more is copied",
                taker.name
            ));
        }
        if let Some(why) = self.exceeding_stranger(step, full) {
            step.blocked = Some(why);
        }
        let version = &self.facts.version;
        let stuck = self.observed.consumers.iter().filter(|c| c.stream == step.stream).any(|consumer| {
            let wanted = self.wanted_consumers.get(&(consumer.stream.as_str(), consumer.name.as_str()));
            let later = wanted.map(|wanted| self.normal_consumer(&wanted.config, &wanted.stream));
            violates(&consumer.config, full, version)
                && later.is_none_or(|later| violates(&later, full, version) || !fits(&later, &seen.config))
        });
        let zero_counts = none_is_zero(version);
        let stuck = stuck || (zero_counts && taker.is_some() && inactive_ns == 0);
        if !stuck {
            return;
        }
        let rule = if zero_counts {
            "before nats-server 2.14.3 a missing limit for consumers counts as 0 in an update (10069)"
        } else {
            "a consumer exceeds the new limits, and cannot be changed first under the old ones (10069)"
        };
        for change in step.changes.iter_mut().filter(|c| c.path.starts_with("consumer_limits")) {
            change.effect = Effect::Replace;
            change.rule = Some(rule.into());
        }
        (step.action, step.effect) = (Action::Replace, Effect::Replace);
    }

    /// A consumer that is in no file, stays, and is above a new limit: the server takes the limit no more than the consumer on a
    /// stream that is made anew with it, and what is not ours we do not change.
    fn exceeding_stranger(&self, step: &Step, full: &Document) -> Option<String> {
        let stays = |config: &Document| !(self.options.prune && is_ours(config));
        let strangers = self.observed.consumers.iter().filter(|consumer| {
            let key = (consumer.stream.as_str(), consumer.name.as_str());
            consumer.stream == step.stream
                && !self.wanted_consumers.contains_key(&key)
                && stays(&consumer.config)
        });
        let mut above = strangers.filter_map(|one| {
            LIMITS.into_iter().find(|key| exceeds(&one.config, full, key)).map(|key| (one, key))
        });
        let (stranger, key) = above.next()?;
        let (own, limit) = (number(stranger.config.get(key)), limit(full, key));
        Some(format!(
            "{}, a consumer that is in no file, has a {key} of {own}, and the limit would be {limit} (10069); take it into the \
             files (`export`) and lower its {key} there, or remove it, or leave the limit where it is",
            stranger.name
        ))
    }
}

/// Whether a stream is a mirror of another of its account, or has it as a source.
fn takes_from(config: &Document, origin: &str) -> bool {
    let sources = config.get("sources").and_then(Value::as_array).into_iter().flatten();
    let of_here = |from: &Value| {
        from.get("name").and_then(Value::as_str) == Some(origin)
            && from.get("external").is_none_or(Value::is_null)
    };
    config.get("mirror").into_iter().chain(sources).any(of_here)
}
