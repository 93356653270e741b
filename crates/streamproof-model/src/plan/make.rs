//! Making a plan: each declared thing against what is there, and what is there in no file.

use super::diff::{changes, same};
use super::loss::{Want, all, of_limits, up_to_all};
use super::moment::earlier;
use super::observed::{ConsumerSeen, Document, Observed, StreamSeen};
use super::order::{self, RELEASES};
use super::rules::judge;
use super::send::{
    FORCED_CONSUMER, FORCED_STREAM, declared_start, is_ours, kept_metadata, merged, placement_first, to_send,
    with_mark,
};
use super::step::{
    Action, Carried, Change, Effect, FORMAT, Loss, Plan, PlanServer, Restore, Step, Unmanaged, config_digest,
    without_server_marks,
};
use super::{MARK_KEY, MARK_VALUE, Options};
use crate::desired::{Desired, DesiredConsumer, DesiredStream, Kind};
use crate::fields::{consumer_field, stream_field};
use crate::moment::nanoseconds;
use crate::normalize::{ServerFacts, normalize_consumer, normalize_stream};
use crate::subject::collide;
use crate::version::{Release, Version};
use serde_json::{Map, Value, json};
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
    let steps = order::arrange(steps, observed);
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

struct Maker<'a> {
    observed: &'a Observed,
    options: &'a Options,
    facts: ServerFacts,
    streams: BTreeMap<&'a str, &'a StreamSeen>,
    consumers: BTreeMap<(&'a str, &'a str), &'a ConsumerSeen>,
    wanted: BTreeMap<&'a str, &'a DesiredStream>,
    wanted_consumers: BTreeMap<(&'a str, &'a str), &'a DesiredConsumer>,
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

    fn live_consumer(&self, stream: &str, name: &str) -> Option<&'a ConsumerSeen> {
        self.consumers.get(&(stream, name)).copied()
    }

    /// What a file asks for, as this server can have it.
    fn stream_config(&self, stream: &DesiredStream) -> (Document, Vec<String>) {
        let mut config = stream.config.clone();
        let mut notes = Vec::new();
        if self.options.one_node && !self.observed.server.clustered {
            if let Some(replicas) = config.get("num_replicas").and_then(Value::as_u64).filter(|n| *n > 1) {
                config.insert("num_replicas".into(), 1.into());
                notes.push(format!("{replicas} replicas run as 1: this server stands alone"));
            }
            if config.get("placement").is_some_and(|p| !same("placement", p, &Value::Null)) {
                config.remove("placement");
                notes.push("placement is left out: this server stands alone".into());
            }
        }
        (config, notes)
    }

    fn stream(&self, stream: &DesiredStream, wants: &mut Vec<Want>) -> Step {
        let (config, notes) = self.stream_config(stream);
        let full = self.normal_stream(&config);
        let mut step = Step {
            action: Action::Create,
            kind: stream.kind,
            name: stream.label().to_owned(),
            stream: stream.name.clone(),
            notes,
            ..empty()
        };
        let Some(seen) = self.streams.get(stream.name.as_str()) else {
            step.changes = created(&config);
            step.blocked = sealed(&full);
            step.document =
                Some(with_mark(&to_send(&config, &full, &FORCED_STREAM), &[(MARK_KEY, MARK_VALUE)]));
            return step;
        };
        let live = self.normal_stream(&seen.config);
        step.seen = config_digest(&seen.config);
        step.changes = changes(&live, &full, &stream.declared, &|key| stream_field(key).is_some());
        // The server puts the origin's own setting there, whatever it is sent.
        step.changes.retain(|change| change.path != "mirror_direct" || !full.contains_key("mirror"));
        self.judge(&mut step);
        self.stuck_limits(&mut step, &full);
        self.adopt(&mut step, &seen.config);
        if step.action == Action::None {
            return step;
        }
        let keep = kept_metadata(&seen.config, self.options.adopt);
        let keep: Vec<(&str, &str)> = keep.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let document = with_mark(&to_send(&config, &full, &FORCED_STREAM), &keep);
        let document = merged(&seen.config, document, &|key| stream_field(key).is_some());
        if step.action == Action::Replace {
            self.replace_stream(&mut step, seen, &live, &full);
            step.blocked = sealed(&full);
            // A mark of ownership is ours to give to what we make.
            step.document = Some(with_mark(&document, &[(MARK_KEY, MARK_VALUE)]));
        } else {
            step.loses = of_limits(seen, &live, &full, self.observed.at.as_deref(), wants);
            step.first = placement_first(&step.changes, &seen.config, &document);
            step.document = Some(document);
            for gone in released_subjects(&step.changes) {
                step.notes
                    .push(format!("messages on {gone} are no longer stored; those that are stored stay"));
            }
        }
        finish(&mut step);
        step
    }

    /// Before 2.14.3 a limit for consumers that is not there counts as 0 in an update, and any consumer exceeds that
    /// (nats-server `updateWithAdvisory`, error 10069): such limits cannot be lifted where they are.
    fn stuck_limits(&self, step: &mut Step, full: &Document) {
        if self.facts.version.has(Release(2, 14, 3)) {
            return;
        }
        let number = |doc: &Document, key: &str| doc.get(key).and_then(Value::as_i64).unwrap_or(0);
        let none = Document::new();
        let limits = full.get("consumer_limits").and_then(Value::as_object).unwrap_or(&none);
        let exceeds = |config: &Document| {
            ["max_ack_pending", "inactive_threshold"]
                .iter()
                .any(|key| number(config, key) > number(limits, key))
        };
        let stuck = self.observed.consumers.iter().filter(|c| c.stream == step.stream).any(|consumer| {
            let wanted = self.wanted_consumers.get(&(consumer.stream.as_str(), consumer.name.as_str()));
            let later = wanted.map(|wanted| self.normal_consumer(&wanted.config, &wanted.stream));
            exceeds(&consumer.config) && later.is_none_or(|later| exceeds(&later))
        });
        let mut limits = step.changes.iter_mut().filter(|c| c.path.starts_with("consumer_limits")).peekable();
        if stuck && limits.peek().is_some() {
            for change in limits {
                change.effect = Effect::Replace;
                change.rule = Some(
                    "before nats-server 2.14.3 a missing limit for consumers counts as 0 in an update (10069)".into(),
                );
            }
            (step.action, step.effect) = (Action::Replace, Effect::Replace);
        }
    }

    /// What goes, what comes back and what is made again when a stream is replaced.
    fn replace_stream(&self, step: &mut Step, seen: &StreamSeen, live: &Document, full: &Document) {
        let mirrors = |doc: &Document| doc.get("mirror").cloned().filter(|m| !m.is_null());
        let file = |doc: &Document| doc.get("storage").and_then(Value::as_str) == Some("file");
        let interest = full.get("retention").and_then(Value::as_str) == Some("interest");
        let counter = |doc: &Document| doc.get("allow_msg_counter").and_then(Value::as_bool) == Some(true);
        let restore = if mirrors(full).is_some() {
            Restore::Nothing
        } else if file(live) && file(full) && !interest && counter(full) == counter(live) {
            Restore::Snapshot
        } else if counter(full) || counter(live) {
            // Counted messages are sums: stored again they would be added again (ADR-49).
            Restore::Nothing
        } else {
            Restore::Copy
        };
        step.restore = Some(restore);
        step.loses = match restore {
            Restore::Nothing => all(seen),
            Restore::Snapshot | Restore::Copy => of_limits(seen, live, full, None, &mut Vec::new()),
        };
        step.notes.push(match restore {
            Restore::Nothing => "nothing is brought back; the backup is kept".into(),
            Restore::Snapshot => "its messages come back from the server's own snapshot, unchanged".into(),
            Restore::Copy => {
                "its messages are stored again under their sequences; the time at which they were stored is new"
                    .to_owned()
            }
        });
        step.notes
            .push("while it is replaced it takes no messages: publishers get an error, not an ack".into());
        let workqueue = full.get("retention").and_then(Value::as_str) == Some("workqueue");
        for consumer in self.observed.consumers.iter().filter(|c| c.stream == seen.name && c.is_durable()) {
            let document = match self.wanted_consumers.get(&(seen.name.as_str(), consumer.name.as_str())) {
                Some(wanted) => {
                    let full = self.normal_consumer(&wanted.config, &wanted.stream);
                    with_mark(&to_send(&wanted.config, &full, &FORCED_CONSUMER), &[(MARK_KEY, MARK_VALUE)])
                }
                None => declared_start(&without_server_marks(&consumer.config)),
            };
            step.notes.push(comes_again(consumer, workqueue || restore == Restore::Nothing));
            step.carries.push(Carried { name: consumer.name.clone(), document });
        }
    }

    fn consumer(&self, consumer: &DesiredConsumer) -> Step {
        let mut step = Step {
            action: Action::Create,
            kind: Kind::Consumer,
            name: format!("{}/{}", consumer.stream, consumer.name),
            stream: consumer.stream.clone(),
            consumer: Some(consumer.name.clone()),
            ..empty()
        };
        let mut config = consumer.config.clone();
        let replicas = config.get("num_replicas").and_then(Value::as_u64).filter(|n| *n > 1);
        if let Some(replicas) = replicas.filter(|_| self.options.one_node && !self.observed.server.clustered)
        {
            config.insert("num_replicas".into(), 1.into());
            step.notes.push(format!("{replicas} replicas run as 1: this server stands alone"));
        }
        let full = self.normal_consumer(&config, &consumer.stream);
        let document = to_send(&config, &full, &FORCED_CONSUMER);
        let Some(seen) = self.live_consumer(&consumer.stream, &consumer.name) else {
            step.changes = created(&config);
            step.document = Some(with_mark(&document, &[(MARK_KEY, MARK_VALUE)]));
            return step;
        };
        let live = self.normal_consumer(&declared_start(&seen.config), &consumer.stream);
        step.seen = config_digest(&seen.config);
        step.changes = changes(&live, &full, &consumer.declared, &|key| consumer_field(key).is_some());
        step.changes.retain(|change| change.path != "pause_until" || !self.pauses_alike(change));
        one_filter(&mut step.changes, &live, &full);
        self.judge(&mut step);
        self.adopt(&mut step, &seen.config);
        if step.action == Action::None {
            return step;
        }
        if step.action == Action::Replace {
            step.document = Some(with_mark(&document, &[(MARK_KEY, MARK_VALUE)]));
            let workqueue = self.retention(&consumer.stream) == "workqueue";
            step.notes.push(comes_again(seen, workqueue));
        } else {
            if let Some(pause) = step.changes.iter().find(|change| change.path == "pause_until") {
                step.pause_until = Some(pause.to.as_str().unwrap_or_default().to_owned());
            }
            // Where only the pause changes, the pause is all there is to send.
            if self.options.adopt || step.changes.iter().any(|change| change.path != "pause_until") {
                let keep = kept_metadata(&seen.config, self.options.adopt);
                let keep: Vec<(&str, &str)> = keep.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                let document = with_mark(&document, &keep);
                let mut document = merged(&seen.config, document, &|key| consumer_field(key).is_some());
                // Where it starts cannot be changed, and a moved one keeps the start that it was given.
                for key in ["deliver_policy", "opt_start_seq", "opt_start_time", "pause_until"] {
                    match seen.config.get(key) {
                        Some(value) => document.insert(key.into(), value.clone()),
                        None => document.remove(key),
                    };
                }
                step.document = Some(document);
            }
        }
        finish(&mut step);
        step
    }

    /// A pause that is over is none.
    fn pauses_alike(&self, change: &Change) -> bool {
        let over = |v: &Value| match (v.as_str(), self.observed.at.as_deref()) {
            (None, _) => true,
            (Some(until), Some(now)) => earlier(until, now),
            (Some(_), None) => false,
        };
        let alike = || match (change.from.as_str(), change.to.as_str()) {
            (Some(a), Some(b)) => nanoseconds(a) == nanoseconds(b),
            _ => false,
        };
        (over(&change.from) && over(&change.to)) || alike()
    }

    fn judge(&self, step: &mut Step) {
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
    fn adopt(&self, step: &mut Step, config: &Document) {
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

    fn normal_stream(&self, config: &Document) -> Document {
        let origin = config.get("mirror").and_then(|m| m.get("name")).and_then(Value::as_str);
        let origin = origin.and_then(|name| {
            let wanted = self.wanted.get(name).map(|s| &s.config);
            wanted.or_else(|| self.streams.get(name).map(|s| &s.config))
        });
        normalize_stream(config, &self.facts, origin)
    }

    fn normal_consumer(&self, config: &Document, stream: &str) -> Document {
        let none = Map::new();
        let stream = self.wanted.get(stream).map(|s| &s.config);
        normalize_consumer(config, stream.unwrap_or(&none), &self.facts)
    }

    fn retention(&self, stream: &str) -> String {
        let config = self.streams.get(stream).map(|s| &s.config);
        let retention = config.and_then(|c| c.get("retention")).and_then(Value::as_str);
        retention.unwrap_or("limits").to_owned()
    }

    fn unmanaged(&self) -> Vec<Unmanaged> {
        let mut found = Vec::new();
        for seen in self.observed.streams.iter().filter(|s| !self.wanted.contains_key(s.name.as_str())) {
            let (kind, name) = kind_of(&seen.name);
            found.push(Unmanaged {
                kind,
                name: name.to_owned(),
                ours: is_ours(&seen.config),
                messages: seen.messages,
            });
        }
        for seen in self.observed.consumers.iter().filter(|c| c.is_durable() && !c.is_internal()) {
            if !self.wanted_consumers.contains_key(&(seen.stream.as_str(), seen.name.as_str())) {
                found.push(Unmanaged {
                    kind: Kind::Consumer,
                    name: format!("{}/{}", seen.stream, seen.name),
                    ours: is_ours(&seen.config),
                    messages: 0,
                });
            }
        }
        found
    }

    fn prune(&self, unmanaged: &Unmanaged) -> Step {
        let mut step = Step {
            action: Action::Delete,
            kind: unmanaged.kind,
            name: unmanaged.name.clone(),
            why: "it carries our mark and is in no file".into(),
            needs: vec!["--prune".into()],
            ..empty()
        };
        match (unmanaged.kind, unmanaged.name.split_once('/')) {
            (Kind::Consumer, Some((stream, consumer))) => {
                step.stream = stream.to_owned();
                step.consumer = Some(consumer.to_owned());
                if let Some(seen) = self.live_consumer(stream, consumer) {
                    step.seen = config_digest(&seen.config);
                }
                if self.retention(stream) == "interest" {
                    // What only this consumer still waits for goes with it.
                    step.loses = self.streams.get(stream).and_then(|seen| up_to_all(seen));
                }
            }
            (kind, _) => {
                step.stream = stream_of(kind, &unmanaged.name);
                if let Some(seen) = self.streams.get(step.stream.as_str()) {
                    step.seen = config_digest(&seen.config);
                    step.loses = all(seen);
                }
            }
        }
        if step.loses.is_some() {
            step.needs.push("--allow-data-loss".into());
        }
        step
    }

    /// Where two streams swap subjects, one of them has to let go first.
    fn releases(&self, steps: &[Step]) -> Vec<Step> {
        let pairs = order::handovers(steps, self.observed);
        let mut made: BTreeMap<usize, Step> = BTreeMap::new();
        for (taker, giver) in &pairs {
            // The lower index of a mutual pair lets go first.
            if taker > giver && pairs.contains(&(*giver, *taker)) && steps[*giver].action == Action::Update {
                let Some(seen) = self.streams.get(steps[*giver].stream.as_str()) else { continue };
                let gone = order::released(&steps[*giver], self.observed);
                let kept: Vec<String> =
                    order::subjects(&seen.config).into_iter().filter(|s| !gone.contains(s)).collect();
                let kept =
                    if kept.is_empty() { vec![format!("_streamproof.released.{}", seen.name)] } else { kept };
                let mut document = without_server_marks(&seen.config);
                document.insert("subjects".into(), json!(kept));
                made.entry(*giver).or_insert_with(|| Step {
                    action: Action::Update,
                    kind: steps[*giver].kind,
                    name: steps[*giver].name.clone(),
                    stream: seen.name.clone(),
                    why: format!(
                        "{RELEASES}: {} takes what it has, and it takes what {} has",
                        steps[*taker].name, steps[*taker].name
                    ),
                    document: Some(document),
                    seen: steps[*giver].seen.clone(),
                    ..empty()
                });
            }
        }
        made.into_values().collect()
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

fn empty() -> Step {
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

/// Only what is there can be sealed (error 10052: "can not create a sealed stream").
fn sealed(full: &Document) -> Option<String> {
    (full.get("sealed") == Some(&Value::Bool(true))).then(|| {
        "no stream can be made sealed: apply it with \"sealed\": false, fill it, and seal it then".to_owned()
    })
}

/// Every declared field of something new.
fn created(config: &Document) -> Vec<Change> {
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

fn released_subjects(changes: &[Change]) -> Vec<String> {
    let list = |v: &Value| -> Vec<String> {
        v.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let Some(change) = changes.iter().find(|c| c.path == "subjects") else { return Vec::new() };
    let kept = list(&change.to);
    let covered = |subject: &String| kept.iter().any(|k| k == subject || collide(k, subject));
    list(&change.from).into_iter().filter(|s| !covered(s)).collect()
}

/// One filter can be written in two ways (`filter_subject`, `filter_subjects`): the same set is no difference.
fn one_filter(changes: &mut Vec<Change>, live: &Document, full: &Document) {
    let filters = |doc: &Document| -> BTreeSet<String> {
        let mut all: BTreeSet<String> = doc
            .get("filter_subjects")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        all.extend(
            doc.get("filter_subject").and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned),
        );
        all
    };
    if filters(live) == filters(full) {
        changes.retain(|change| change.path != "filter_subject" && change.path != "filter_subjects");
    }
}

fn comes_again(consumer: &ConsumerSeen, from_start: bool) -> String {
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
fn finish(step: &mut Step) {
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

fn kind_of(stream: &str) -> (Kind, &str) {
    if let Some(bucket) = stream.strip_prefix("KV_") {
        (Kind::Kv, bucket)
    } else if let Some(bucket) = stream.strip_prefix("OBJ_") {
        (Kind::Object, bucket)
    } else {
        (Kind::Stream, stream)
    }
}

fn stream_of(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Kv => format!("KV_{name}"),
        Kind::Object => format!("OBJ_{name}"),
        Kind::Stream | Kind::Consumer => name.to_owned(),
    }
}
