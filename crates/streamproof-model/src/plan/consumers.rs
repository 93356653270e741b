//! A consumer: what is declared against what is there.

use super::diff::changes;
use super::loss::up_to_all;
use super::make::{Maker, comes_again, created, empty, finish};
use super::observed::Document;
use super::send::{FORCED_CONSUMER, declared_start, kept_metadata, merged, to_send, with_mark};
use super::step::{Action, Change, Effect, Step, config_digest};
use super::{MARK_KEY, MARK_VALUE};
use crate::desired::{DesiredConsumer, Kind};
use crate::fields::consumer_field;
use crate::moment::{earlier, nanoseconds};
use crate::subject::is_subset;
use serde_json::Value;
use std::collections::BTreeSet;

impl Maker<'_> {
    pub(super) fn consumer(&self, consumer: &DesiredConsumer) -> Step {
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
        if seen.push_bound {
            listened_to(&mut step);
        }
        self.adopt(&mut step, &seen.config);
        if step.action == Action::None {
            return step;
        }
        if self.retention(&consumer.stream) == "interest" && narrows(&live, &full) {
            step.loses = self.streams.get(consumer.stream.as_str()).and_then(|stream| up_to_all(stream));
            step.notes.push("what it no longer filters, and nobody else waits for, is removed".into());
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
    pub(super) fn pauses_alike(&self, change: &Change) -> bool {
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
}

/// Where messages go to is changed in place only as long as nobody is there (`checkNewConsumerConfig`, server/consumer.go).
fn listened_to(step: &mut Step) {
    let moved = |change: &&mut Change| change.path == "deliver_subject" && change.effect == Effect::InPlace;
    let Some(change) = step.changes.iter_mut().find(moved) else { return };
    change.effect = Effect::Replace;
    change.rule =
        Some("somebody listens to the old deliver subject; when nobody does, it is changed in place".into());
    (step.action, step.effect) = (Action::Replace, Effect::Replace);
}

/// What a consumer filters; nothing: it takes all.
fn filters(doc: &Document) -> BTreeSet<&str> {
    let many = doc.get("filter_subjects").and_then(Value::as_array).into_iter().flatten();
    let one = doc.get("filter_subject").into_iter();
    many.chain(one).filter_map(Value::as_str).filter(|subject| !subject.is_empty()).collect()
}

/// Whether there are messages that a consumer takes now, and will not take then: on a stream of interest it no longer holds them.
fn narrows(live: &Document, full: &Document) -> bool {
    let (before, after) = (filters(live), filters(full));
    let kept = |subject: &&str| after.iter().any(|wider| is_subset(subject, wider));
    !after.is_empty() && (before.is_empty() || !before.iter().all(kept))
}

/// One filter can be written in two ways (`filter_subject`, `filter_subjects`): the same set is no difference.
fn one_filter(changes: &mut Vec<Change>, live: &Document, full: &Document) {
    if filters(live) == filters(full) {
        changes.retain(|change| change.path != "filter_subject" && change.path != "filter_subjects");
    }
}
