//! Making a plan: each declared thing against what is there, and what is there in no file.

use super::loss::Want;
use super::observed::{ConsumerSeen, Document, Observed, StreamSeen};
use super::order;
use super::rules::judge;
use super::send::is_ours;
use super::step::{Action, Change, Effect, FORMAT, Loss, Plan, PlanServer, Step};
use super::{MARK_KEY, MARK_VALUE, Options};
use crate::desired::{Desired, DesiredConsumer, DesiredStream, Kind};
use crate::normalize::{ServerFacts, normalize_consumer, normalize_stream};
use crate::version::Version;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A plan, and what to look up to tell its losses exactly.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// What would make it more exact; empty where it is exact or cannot be.
    pub wants: Vec<Want>,
}

/// The steps from what a server has to what the files ask for.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, options: &Options) -> Plan {
    plan_with_wants(desired, observed, options).plan
}

/// As [`plan`], with what to look up on the server to make its losses exact.
#[must_use]
pub fn plan_with_wants(desired: &Desired, observed: &Observed, options: &Options) -> Planned {
    let maker = Maker::new(desired, observed, options);
    let mut steps: Vec<Step> = Vec::with_capacity(desired.streams.len() + desired.consumers.len());
    let mut wants = Vec::new();
    for stream in &desired.streams {
        steps.push(maker.stream(stream, &mut wants));
    }
    let replaced: BTreeSet<String> =
        steps.iter().filter(|s| s.action == Action::Replace).map(|s| s.stream.clone()).collect();
    for consumer in &desired.consumers {
        if !replaced.contains(&consumer.stream)
            || maker.live_consumer(&consumer.stream, &consumer.name).is_none()
        {
            steps.push(maker.consumer(consumer));
        }
    }
    let unmanaged = maker.unmanaged();
    if options.prune {
        steps.extend(unmanaged.iter().filter(|u| u.ours).map(|u| maker.prune(u)));
    }
    let swaps = maker.releases(&steps);
    steps.extend(swaps);
    let steps = order::arrange(steps, observed, &maker.facts.version);
    let mut plan = Plan {
        format: FORMAT.to_owned(),
        server: PlanServer {
            name: observed.server.name.clone(),
            version: observed.server.version.clone(),
            url: observed.server.url.clone(),
            api_level: observed.server.api_level,
        },
        pending: steps.iter().filter(|s| s.action != Action::None).count(),
        steps,
        unmanaged,
        notes: maker.notes(),
        digest: String::new(),
    };
    plan.digest = Plan::digest_of(&plan);
    Planned { plan, wants }
}

/// Everything that a step is made from.
pub(super) struct Maker<'a> {
    pub(super) observed: &'a Observed,
    pub(super) options: &'a Options,
    pub(super) facts: ServerFacts,
    pub(super) streams: BTreeMap<&'a str, &'a StreamSeen>,
    pub(super) consumers: BTreeMap<(&'a str, &'a str), &'a ConsumerSeen>,
    pub(super) wanted: BTreeMap<&'a str, &'a DesiredStream>,
    pub(super) wanted_consumers: BTreeMap<(&'a str, &'a str), &'a DesiredConsumer>,
}

impl<'a> Maker<'a> {
    fn new(desired: &'a Desired, observed: &'a Observed, options: &'a Options) -> Self {
        // A version that cannot be read is one of a build of its own: the newest rules are the likeliest.
        let version = observed.server.version.parse().unwrap_or(Version::new(2, 15, 1));
        let mut facts = ServerFacts::of(version);
        let limit = observed.account.limits.get("max_ack_pending").and_then(Value::as_i64);
        facts.max_ack_pending = limit.filter(|n| *n > 0).and_then(|n| u64::try_from(n).ok());
        Self {
            observed,
            options,
            facts,
            streams: observed.streams.iter().map(|s| (s.name.as_str(), s)).collect(),
            consumers: observed.consumers.iter().map(|c| ((c.stream.as_str(), c.name.as_str()), c)).collect(),
            wanted: desired.streams.iter().map(|s| (s.name.as_str(), s)).collect(),
            wanted_consumers: desired
                .consumers
                .iter()
                .map(|c| ((c.stream.as_str(), c.name.as_str()), c))
                .collect(),
        }
    }

    pub(super) fn live_consumer(&self, stream: &str, name: &str) -> Option<&'a ConsumerSeen> {
        self.consumers.get(&(stream, name)).copied()
    }

    pub(super) fn judge(&self, step: &mut Step) {
        for change in &mut step.changes {
            judge(step.kind, change, &self.facts.version);
        }
        let has = |effect: Effect| step.changes.iter().any(|change| change.effect == effect);
        (step.action, step.effect) = if step.changes.is_empty() {
            (Action::None, Effect::InPlace)
        } else if has(Effect::Replace) {
            (Action::Replace, Effect::Replace)
        } else if has(Effect::OneWay) {
            (Action::Update, Effect::OneWay)
        } else if has(Effect::InPlace) {
            (Action::Update, Effect::InPlace)
        } else {
            (Action::Update, Effect::Ineffective)
        };
    }

    /// Adoption writes our mark to what does not carry it.
    pub(super) fn adopt(&self, step: &mut Step, config: &Document) {
        if self.options.adopt && !is_ours(config) {
            let path = format!("metadata.{MARK_KEY}");
            step.changes.push(Change {
                path,
                from: Value::Null,
                to: MARK_VALUE.into(),
                class: super::Class::ServerDefault,
                effect: Effect::InPlace,
                rule: None,
            });
            if step.action == Action::None {
                step.action = Action::Update;
            }
        }
    }

    pub(super) fn normal_stream(&self, config: &Document) -> Document {
        let origin = config.get("mirror").and_then(|m| m.get("name")).and_then(Value::as_str);
        let origin = origin.and_then(|name| {
            let wanted = self.wanted.get(name).map(|s| &s.config);
            wanted.or_else(|| self.streams.get(name).map(|s| &s.config))
        });
        normalize_stream(config, &self.facts, origin)
    }

    pub(super) fn normal_consumer(&self, config: &Document, stream: &str) -> Document {
        let none = Map::new();
        let stream = self.wanted.get(stream).map(|s| &s.config);
        normalize_consumer(config, stream.unwrap_or(&none), &self.facts)
    }

    pub(super) fn retention(&self, stream: &str) -> String {
        let config = self.streams.get(stream).map(|s| &s.config);
        let retention = config.and_then(|c| c.get("retention")).and_then(Value::as_str);
        retention.unwrap_or("limits").to_owned()
    }

    fn notes(&self) -> Vec<String> {
        let transient = self.observed.consumers.iter().filter(|c| !c.is_durable()).count();
        let mut notes = Vec::new();
        if transient > 0 {
            notes.push(format!("{transient} consumers are not durable: they come and go with their users"));
        }
        notes
    }
}

pub(super) fn empty() -> Step {
    Step {
        action: Action::None,
        kind: Kind::Stream,
        name: String::new(),
        changes: Vec::new(),
        effect: Effect::InPlace,
        loses: None,
        needs: Vec::new(),
        blocked: None,
        why: String::new(),
        notes: Vec::new(),
        stream: String::new(),
        consumer: None,
        after: Vec::new(),
        document: None,
        first: None,
        pause_until: None,
        carries: Vec::new(),
        restore: None,
        seen: String::new(),
    }
}

/// Every declared field of something new.
pub(super) fn created(config: &Document) -> Vec<Change> {
    let change = |(key, value): (&String, &Value)| Change {
        path: key.clone(),
        from: Value::Null,
        to: value.clone(),
        class: super::Class::Declared,
        effect: Effect::InPlace,
        rule: None,
    };
    config.iter().filter(|(key, _)| *key != "name" && *key != "durable_name").map(change).collect()
}

pub(super) fn comes_again(consumer: &ConsumerSeen, from_start: bool) -> String {
    let (name, floor) = (&consumer.name, consumer.position());
    if from_start {
        return format!("{name} starts again at the first message that is there");
    }
    let again = consumer.delivered.saturating_sub(floor);
    match again {
        0 => format!("{name} goes on at {}; nothing comes again", floor + 1),
        n => format!("{name} goes on at {}: up to {n} messages that it has seen come again", floor + 1),
    }
}

/// Flags that the step needs, and its reason.
pub(super) fn finish(step: &mut Step) {
    let rules: Vec<&str> = step
        .changes
        .iter()
        .filter(|change| change.effect == step.effect)
        .filter_map(|change| change.rule.as_deref())
        .collect();
    step.why = rules.join("; ");
    if step.action == Action::Replace {
        step.needs.push(format!("--replace {}", step.name));
    }
    if step.effect == Effect::OneWay
        || step.changes.iter().any(|c| c.effect == Effect::OneWay && step.action == Action::Update)
    {
        step.needs.push("--allow-one-way".into());
    }
    if let Some(Loss { .. }) = step.loses {
        step.needs.push("--allow-data-loss".into());
    }
}
