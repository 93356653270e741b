//! What is on the server and in no file: listed, and pruned where it carries our mark.

use super::loss::{all, up_to_all};
use super::make::{Maker, empty};
use super::send::is_ours;
use super::step::{Action, Step, Unmanaged, config_digest};
use crate::bucket::{KV_PREFIX, OBJECT_PREFIX};
use crate::desired::Kind;

impl Maker<'_> {
    pub(super) fn unmanaged(&self) -> Vec<Unmanaged> {
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

    pub(super) fn prune(&self, unmanaged: &Unmanaged) -> Step {
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
}

fn kind_of(stream: &str) -> (Kind, &str) {
    if let Some(bucket) = stream.strip_prefix(KV_PREFIX) {
        (Kind::Kv, bucket)
    } else if let Some(bucket) = stream.strip_prefix(OBJECT_PREFIX) {
        (Kind::Object, bucket)
    } else {
        (Kind::Stream, stream)
    }
}

fn stream_of(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Kv => format!("{KV_PREFIX}{name}"),
        Kind::Object => format!("{OBJECT_PREFIX}{name}"),
        Kind::Stream | Kind::Consumer => name.to_owned(),
    }
}
