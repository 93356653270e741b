//! K1 to K4: streams, consumers and their configuration.

use crate::rules::{ConsumerRules, StreamRules};
use crate::verdict::Invariant;
use crate::world::World;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use streamproof_model::op::{ConfigSource, ConsumerId, FaultKind, Outcome, Phase, StreamId};

impl World<'_> {
    pub(crate) fn config(
        &mut self,
        id: StreamId,
        consumer: Option<ConsumerId>,
        source: ConfigSource,
        json: &str,
    ) {
        self.stream(id);
        let Ok(config) = serde_json::from_str::<Value>(json) else {
            let name = self.stream(id).name.clone();
            self.inconclusive.push(format!("a configuration of {name} in the history is not JSON"));
            return;
        };
        if let Some(consumer) = consumer {
            self.consumer(consumer);
        }
        match source {
            ConfigSource::Desired => self.desired(id, consumer, config),
            ConfigSource::Before => {
                self.k2_as_desired(id, consumer, &config);
                self.take_config(id, consumer, config);
            }
            ConfigSource::After => {
                self.k2_as_before(id, consumer, &config);
                self.take_config(id, consumer, config);
            }
        }
    }

    /// Until the server has said what a stream or consumer is (the power can go before), it is what was asked for.
    fn desired(&mut self, id: StreamId, consumer: Option<ConsumerId>, config: Value) {
        if let Some(consumer) = consumer {
            let state = self.consumer(consumer);
            if state.before.is_none() {
                state.set_rules(ConsumerRules::of(&config));
            }
            state.desired = Some(config);
            return;
        }
        let stream = self.stream(id);
        if stream.before.is_none() {
            stream.rules = StreamRules::of(&config);
            (stream.tight, stream.loose) = (stream.rules.clone(), stream.rules.clone());
        }
        stream.desired = Some(config);
    }

    fn take_config(&mut self, id: StreamId, consumer: Option<ConsumerId>, config: Value) {
        if let Some(consumer) = consumer {
            let state = self.consumer(consumer);
            state.set_rules(ConsumerRules::of(&config));
            state.update_in_doubt = false;
            state.as_sent = false;
            state.before = Some(config);
            return;
        }
        let rules = StreamRules::of(&config);
        let stream = self.stream(id);
        if stream.before.is_some() {
            if stream.rules != rules {
                stream.tight.tighten(&rules);
                stream.loose.loosen(&rules);
            }
        } else {
            stream.tight = rules.clone();
            stream.loose = rules.clone();
        }
        stream.rules = rules;
        stream.update_in_doubt = false;
        stream.as_sent = false;
        stream.before = Some(config);
    }

    pub(crate) fn update_stream(&mut self, id: StreamId, config: &str, outcome: Outcome) {
        self.stream(id).activity += 1;
        if !outcome.may_have_happened() {
            return;
        }
        let Ok(config) = serde_json::from_str::<Value>(config) else { return };
        let rules = StreamRules::of(&config);
        let stream = self.stream(id);
        stream.tight.tighten(&rules);
        stream.loose.loosen(&rules);
        if outcome.happened() {
            stream.rules = rules;
            stream.desired = Some(config.clone());
            stream.before = Some(config);
            stream.as_sent = true;
        } else {
            stream.update_in_doubt = true;
        }
    }

    pub(crate) fn update_consumer(&mut self, id: ConsumerId, config: &str, outcome: Outcome) {
        if !outcome.may_have_happened() {
            return;
        }
        let Ok(config) = serde_json::from_str::<Value>(config) else { return };
        let consumer = self.consumer(id);
        if outcome.happened() {
            consumer.set_rules(ConsumerRules::of(&config));
            consumer.desired = Some(config.clone());
            consumer.before = Some(config);
            consumer.as_sent = true;
        } else {
            consumer.update_in_doubt = true;
            consumer.vague = true;
        }
    }

    pub(crate) fn remove(&mut self, id: StreamId, consumer: Option<ConsumerId>, outcome: Outcome) {
        if !outcome.may_have_happened() {
            return;
        }
        self.stream(id).activity += 1;
        match consumer {
            Some(consumer) => self.consumer(consumer).removed = true,
            None => self.stream(id).removed = true,
        }
    }

    /// K2, as to refusals: what the server must refuse, it refuses.
    pub(crate) fn must_refuse(&mut self, id: StreamId, what: &str, outcome: Outcome) {
        self.stream(id);
        if outcome.happened() {
            self.violation(Invariant::K2, id.0, "accepted what it must refuse", None, || what.to_owned());
        }
    }

    /// K1 *the same streams and consumers*: what was listed before a fault is listed after it, and nothing else.
    /// Consumers that may go by themselves, or are held in memory, are left out.
    pub(crate) fn k1_listed(&mut self, phase: Phase, listed: &BTreeMap<String, Vec<String>>) {
        let before = match (&self.listed, phase) {
            (Some(before), Phase::After) => before.clone(),
            _ => {
                self.listed = Some(listed.clone());
                return;
            }
        };
        for index in 0..self.streams.len() {
            let id = index as u16;
            let stream = &self.streams[index];
            if stream.removed {
                continue;
            }
            let name = stream.name.clone();
            match (before.get(&name), listed.get(&name)) {
                (Some(_), None) => {
                    self.violation(Invariant::K1, id, "stream missing", None, || format!("{name} is gone"));
                }
                (None, Some(_)) => {
                    self.violation(Invariant::K1, id, "stream made up", None, || {
                        format!("{name} was not there before")
                    });
                }
                (Some(had), Some(has)) => self.k1_consumers(id, had, has),
                (None, None) => {}
            }
        }
        for name in listed.keys().filter(|name| !before.contains_key(*name)) {
            if !self.streams.iter().any(|stream| stream.name == *name) && !self.streams.is_empty() {
                self.violation(Invariant::K1, 0, "stream made up", None, || {
                    format!("{name} was not there before")
                });
            }
        }
        self.listed = Some(listed.clone());
    }

    fn k1_consumers(&mut self, stream: u16, had: &[String], has: &[String]) {
        for id in self.streams[usize::from(stream)].consumers.clone() {
            let consumer = &self.consumers[usize::from(id)];
            if consumer.removed || consumer.rules.fleeting {
                continue;
            }
            let name = consumer.name.clone();
            if had.contains(&name) && !has.contains(&name) {
                self.consumer_violation(Invariant::K1, id, "consumer missing", None, || {
                    format!("{name} is gone")
                });
            }
        }
        for name in has.iter().filter(|name| !had.contains(name)) {
            self.violation(Invariant::K1, stream, "consumer made up", None, || {
                format!("{name} was not there before")
            });
        }
    }

    /// K2 *the configuration is what was asked for*: every field of the file is in the server's answer; none, 0,
    /// −1 and empty count as the same, since the server fills in its defaults.
    fn k2_as_desired(&mut self, id: StreamId, consumer: Option<ConsumerId>, config: &Value) {
        let desired = match consumer {
            Some(consumer) => self.consumer(consumer).desired.clone(),
            None => self.stream(id).desired.clone(),
        };
        let (Some(Value::Object(desired)), Value::Object(config)) = (desired, config) else { return };
        for (key, wanted) in &desired {
            let unset = Value::Null;
            let got = config.get(key).unwrap_or(&unset);
            // What is not set the server may fill in as it likes.
            if !is_unset(wanted) && !same(wanted, got) && !IGNORED.contains(&key.as_str()) {
                self.k2_differs(id, consumer, "not as asked for", key, wanted, got);
            }
        }
    }

    /// K2 *the configuration is what it was*: field by field, save what the server notes for itself
    /// (`metadata._nats.…`); after a change of version, or an update that the server filled in, also save the
    /// fields that one side does not have.
    fn k2_as_before(&mut self, id: StreamId, consumer: Option<ConsumerId>, config: &Value) {
        let (before, in_doubt, as_sent) = match consumer {
            Some(consumer) => {
                let state = self.consumer(consumer);
                (state.before.clone(), state.update_in_doubt, state.as_sent)
            }
            None => {
                let state = self.stream(id);
                (state.before.clone(), state.update_in_doubt, state.as_sent)
            }
        };
        let (Some(Value::Object(before)), Value::Object(_)) = (before, config) else { return };
        if in_doubt {
            return;
        }
        let other_version = self
            .findings
            .fault
            .is_some_and(|(kind, _)| matches!(kind, FaultKind::Upgrade | FaultKind::Downgrade));
        let before = Value::Object(before);
        for (key, was, is) in config_changes(&before, config, other_version || as_sent) {
            self.k2_differs(id, consumer, "changed", &key, &was, &is);
        }
    }

    fn k2_differs(
        &mut self,
        id: StreamId,
        consumer: Option<ConsumerId>,
        class: &'static str,
        key: &str,
        from: &Value,
        to: &Value,
    ) {
        let text = || format!("{key}: {from} became {to}");
        match consumer {
            Some(consumer) => self.consumer_violation(Invariant::K2, consumer.0, class, None, text),
            None => self.violation(Invariant::K2, id.0, class, None, text),
        }
    }

    /// K3 *created once*: the time of creation stays (nats-server #8471).
    pub(crate) fn k3_created(&mut self, id: StreamId, consumer: Option<ConsumerId>, created_ns: i64) {
        let (known, removed) = match consumer {
            Some(consumer) => {
                let state = self.consumer(consumer);
                (state.created_ns.replace(created_ns), state.removed)
            }
            None => {
                let state = self.stream(id);
                (state.created_ns.replace(created_ns), state.removed)
            }
        };
        let Some(known) = known.filter(|known| *known != created_ns && !removed) else { return };
        let text = || format!("created {known} ns before, {created_ns} ns now");
        match consumer {
            Some(consumer) => {
                self.consumer_violation(
                    Invariant::K3,
                    consumer.0,
                    "consumer's creation time changed",
                    None,
                    text,
                );
            }
            None => self.violation(Invariant::K3, id.0, "stream's creation time changed", None, text),
        }
    }

    /// K4 *applying again changes nothing*: after a restart a plan of the files is empty (nats-server #8491).
    pub(crate) fn k4_reapplied(&mut self, pending: &[String]) {
        for what in pending {
            let stream = self.streams.iter().position(|stream| {
                what.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').any(|w| w == stream.name)
            });
            self.stream(StreamId(0));
            let id = stream.unwrap_or_default() as u16;
            self.violation(Invariant::K4, id, "not in line", None, || what.clone());
        }
    }
}

/// The fields of two configurations that do not mean the same to the server, with both values; `one_sided`: a field that only
/// one of them has is no difference (another version knows it, or fills it in).
#[must_use]
pub fn config_changes(before: &Value, after: &Value, one_sided: bool) -> Vec<(String, Value, Value)> {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return Vec::new() };
    let unset = Value::Null;
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut changes = Vec::new();
    for key in keys {
        let is_one_sided = before.contains_key(key) != after.contains_key(key);
        if IGNORED.contains(&key.as_str()) || (one_sided && is_one_sided) {
            continue;
        }
        let (was, is) = (before.get(key).unwrap_or(&unset), after.get(key).unwrap_or(&unset));
        if !same(was, is) {
            changes.push((key.clone(), was.clone(), is.clone()));
        }
    }
    changes
}

/// Fields that the server overwrites: `mirror_direct` follows the origin's `allow_direct`; `pause_until` of a
/// consumer passes.
const IGNORED: &[&str] = &["mirror_direct", "pause_until", "pedantic"];

/// Whether two values mean the same to the server.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let (one, other) = (noted_by_user(one), noted_by_user(other));
            one.iter().all(|(key, value)| same(value, other.get(*key).copied().unwrap_or(&Value::Null)))
                && other.iter().all(|(key, value)| one.contains_key(*key) || is_unset(value))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        _ => one == other || (is_unset(one) && is_unset(other)),
    }
}

fn noted_by_user(object: &Map<String, Value>) -> BTreeMap<&str, &Value> {
    object
        .iter()
        .map(|(key, value)| (key.as_str(), value))
        .filter(|(key, _)| !key.starts_with("_nats."))
        .collect()
}

/// None, 0, −1, false, `""`, `[]` and `{}` are what the server writes for a field that is not set.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => matches!(number.as_i64(), Some(0 | -1)),
        Value::String(text) => text.is_empty() || text == "none" || text == "default",
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => noted_by_user(object).values().all(|value| is_unset(value)),
        Value::Bool(true) => false,
    }
}
