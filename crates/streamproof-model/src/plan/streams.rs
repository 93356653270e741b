//! A stream, or the stream of a bucket: what is declared against what is there.

use super::diff::{changes, same};
use super::loss::{Want, all, of_limits};
use super::make::{Maker, comes_again, created, empty, finish};
use super::observed::{ConsumerSeen, Document, StreamSeen};
use super::order::{self, RELEASES};
use super::send::{
    FORCED_CONSUMER, FORCED_STREAM, declared_start, is_ours, kept_metadata, merged, placement_first, to_send,
    with_mark,
};
use super::step::{Action, Carried, Change, Restore, Step, config_digest, without_server_marks};
use super::{MARK_KEY, MARK_VALUE};
use crate::bucket;
use crate::desired::DesiredStream;
use crate::fields::stream_field;
use crate::subject::collide;
use crate::version::Release;
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Maker<'_> {
    /// What a file asks for, as this server can have it.
    pub(super) fn stream_config(&self, stream: &DesiredStream) -> (Document, Vec<String>) {
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

    pub(super) fn stream(&self, stream: &DesiredStream, wants: &mut Vec<Want>) -> Step {
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
        self.stuck_limits(&mut step, seen, &full);
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
            let blocked = step.blocked.take().or_else(|| sealed(&full));
            step.blocked = blocked.or_else(|| self.sourced(&step, seen, &live));
            // A mark of ownership is ours to give to what we make.
            step.document = Some(with_mark(&document, &[(MARK_KEY, MARK_VALUE)]));
        } else {
            step.loses = of_limits(seen, &live, &full, self.observed.at.as_deref(), wants);
            if step.loses.is_some() && self.forgets_subject_limit(&step.changes) {
                step.notes.push(
                    "this server removes what a new max_msgs_per_subject is over at its next start, or as the subject is published to"
                        .into(),
                );
            }
            step.first = placement_first(&step.changes, &seen.config, &document);
            step.document = Some(document);
            for gone in released_subjects(&step.changes) {
                step.notes
                    .push(format!("messages on {gone} are no longer stored; those that are stored stay"));
            }
        }
        if step.blocked.is_none() {
            step.blocked = breaks_bucket(seen, &live, &full);
        }
        finish(&mut step);
        step
    }

    /// Before 2.12.10 and 2.14.2 a first limit by subject is not enforced in an update (nats-server filestore.go:UpdateConfig:
    /// none was -1, and only 0 counted as none).
    fn forgets_subject_limit(&self, changes: &[Change]) -> bool {
        let version = &self.facts.version;
        let mended = version.has(Release(2, 14, 2))
            || (version.has(Release(2, 12, 10)) && !version.has(Release(2, 13, 0)));
        let first = |change: &Change| {
            change.path == "max_msgs_per_subject" && change.from.as_i64().is_none_or(|limit| limit < 0)
        };
        !mended && changes.iter().any(first)
    }

    /// What a stream took from its sources cannot be published again: from 2.15 on the server refuses the header that says where a
    /// message is from (10227, `processJetStreamMsg`), and without it the sources would begin anew.
    fn sourced(&self, step: &Step, seen: &StreamSeen, live: &Document) -> Option<String> {
        let sources = live.get("sources").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        let refused = self.facts.version.has(Release(2, 15, 0));
        (sources && refused && seen.messages > 0 && step.restore == Some(Restore::Copy)).then(|| {
            "this server does not take back what a stream has from its sources; make a new stream under another name".into()
        })
    }

    /// What goes, what comes back and what is made again when a stream is replaced.
    pub(super) fn replace_stream(
        &self,
        step: &mut Step,
        seen: &StreamSeen,
        live: &Document,
        full: &Document,
    ) {
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
        // What mirrors and sources made for themselves they make again.
        let theirs = |c: &&ConsumerSeen| c.stream == seen.name && c.is_durable() && !c.is_internal();
        for consumer in self.observed.consumers.iter().filter(theirs) {
            let document = match self.wanted_consumers.get(&(seen.name.as_str(), consumer.name.as_str())) {
                Some(wanted) => {
                    let full = self.normal_consumer(&wanted.config, &wanted.stream);
                    with_mark(&to_send(&wanted.config, &full, &FORCED_CONSUMER), &[(MARK_KEY, MARK_VALUE)])
                }
                // It is removed before, by a step of its own.
                None if self.options.prune && is_ours(&consumer.config) => continue,
                None => declared_start(&without_server_marks(&consumer.config)),
            };
            step.notes.push(comes_again(consumer, workqueue || restore == Restore::Nothing));
            step.carries.push(Carried { name: consumer.name.clone(), document });
        }
    }

    /// Where two streams swap subjects, one of them has to let go first.
    pub(super) fn releases(&self, steps: &[Step]) -> Vec<Step> {
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
}

/// Only what is there can be sealed (error 10052: "can not create a sealed stream").
fn sealed(full: &Document) -> Option<String> {
    (full.get("sealed") == Some(&Value::Bool(true))).then(|| {
        "no stream can be made sealed: apply it with \"sealed\": false, fill it, and seal it then".to_owned()
    })
}

/// A bucket that is one stays one, whatever a file of its stream says.
fn breaks_bucket(seen: &StreamSeen, live: &Document, full: &Document) -> Option<String> {
    let mirror = |doc: &Document| doc.get("mirror").is_some_and(|mirror| !mirror.is_null());
    if bucket::broken(&seen.name, live).is_some() {
        return None;
    }
    if let Some(why) = bucket::broken(&seen.name, full) {
        return Some(format!("it is a bucket, and it {why}: the clients could not use it any more"));
    }
    // ADR-8: a mirror keeps the keys under the origin's subjects, where a bucket of its own does not look.
    let promoted =
        seen.name.starts_with(bucket::KV_PREFIX) && mirror(live) && !mirror(full) && seen.messages > 0;
    promoted.then(|| {
        format!(
            "its {} values are stored under the subjects of the bucket that it mirrors: as a bucket of its own it would not find them",
            seen.messages
        )
    })
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
