//! Putting messages back: each under its old sequence, holes where there were holes, and a comparison at the end.

use crate::backup::{Backup, state};
use crate::failure::ProvisionError;
use crate::journal::Journal;
use crate::message::{Message, get};
use crate::replace::{DUPLICATES_NS, Halt, consumers, copy_prefix, create_stream, on, open_to_backup, plain};
use crate::wire::Js;
use async_nats::HeaderMap;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use streamproof_model::plan::Document;

/// Headers that make the server do something when a message is published with them, and cannot be replayed.
const NOT_REPLAYED: [&str; 6] = [
    "Nats-Expected-Last-Msg-Id",
    "Nats-Expected-Last-Subject-Sequence-Subject",
    "Nats-Batch-Id",
    "Nats-Batch-Sequence",
    "Nats-Batch-Commit",
    "Nats-Required-Api-Level",
];

/// Messages under way at once when they are stored again.
const WINDOW: usize = 256;

/// Stores every message of the backup again, under its old sequence.
pub(crate) async fn copy(
    js: &Js,
    journal: &Journal,
    backup: &Backup,
    halt: &Halt,
) -> Result<Vec<String>, ProvisionError> {
    let prefix = copy_prefix(journal);
    let mut open = open_to_backup(journal);
    open.insert("subjects".into(), json!([format!("{prefix}.>")]));
    open.insert("subject_transform".into(), json!({ "src": format!("{prefix}.>"), "dest": ">" }));
    open.insert("allow_rollup_hdrs".into(), true.into());
    // An empty stream starts after its last sequence, so that no sequence is ever given twice.
    let seal = &backup.seal;
    let first = if seal.messages == 0 { seal.last_seq + 1 } else { seal.first_seq };
    if first > 1 {
        open.insert("first_seq".into(), first.into());
    }
    create_empty(js, journal, &open, first).await?;
    halt.here()?;
    // Where interest decides what is kept, the consumers have to be there before the messages.
    let mut notes = consumers(js, journal, true).await?;
    halt.here()?;
    let mut writer = Writer {
        js,
        stream: &journal.stream,
        prefix: &prefix,
        next: first,
        under_way: Vec::with_capacity(WINDOW),
        ids: HashSet::new(),
        subjects: HashMap::new(),
        ttl: on(&journal.new, "allow_msg_ttl"),
        changed: HashSet::new(),
    };
    if seal.messages > 0 {
        for message in backup.messages()? {
            let message = message?;
            writer.gap_until(message.seq).await?;
            writer.store(&message).await?;
        }
        writer.gap_until(seal.last_seq + 1).await?;
    }
    writer.settle().await?;
    let changed = std::mem::take(&mut writer.changed);
    halt.here()?;
    js.request(&format!("STREAM.PURGE.{}", journal.stream), &json!({ "filter": GAP })).await?;
    halt.here()?;
    // Interest may rightly have dropped what every consumer has acked.
    if journal.new.get("retention").and_then(Value::as_str) != Some("interest") {
        compare(js, journal, backup, &changed).await?;
    }
    if !changed.is_empty() {
        notes.push(format!(
            "{} messages are stored without the headers that make the server act",
            changed.len()
        ));
    }
    Ok(notes)
}

/// How often, and how far apart, a stream is made anew that came up with messages in it.
const EMPTY_TRIES: u32 = 40;
const EMPTY_PAUSE: Duration = Duration::from_millis(100);

/// Makes the stream and sees that it is empty. A stream that was deleted twice in short order and made again can come back with
/// its old messages: the second delete cannot move the store's folder aside while the first one's is still being removed
/// (`fileStore.Delete`: the rename to `.<STREAM>`), so the blocks stay where the new stream looks for them. Seen on 2.15.1.
async fn create_empty(js: &Js, journal: &Journal, open: &Document, first: u64) -> Result<(), ProvisionError> {
    for _ in 1..EMPTY_TRIES {
        create_stream(js, open, plain(journal)).await?;
        let seen = state(js, &journal.stream).await?;
        if seen.messages == 0 && seen.last_seq + 1 == first {
            return Ok(());
        }
        js.request(&format!("STREAM.DELETE.{}", journal.stream), &Value::Null).await?;
        tokio::time::sleep(EMPTY_PAUSE).await;
    }
    Err(ProvisionError::RestoreIncomplete {
        name: journal.stream.clone(),
        cause: "the server makes it with messages of the old one in it".into(),
        backup: journal.nonce.clone(),
    })
}

/// The subject of what fills the holes of a stream until they are made holes again.
const GAP: &str = "_streamproof_gap";

struct Writer<'a> {
    js: &'a Js,
    stream: &'a str,
    prefix: &'a str,
    next: u64,
    under_way: Vec<(u64, String, HeaderMap, Vec<u8>)>,
    ids: HashSet<String>,
    subjects: HashMap<String, u64>,
    ttl: bool,
    changed: HashSet<u64>,
}

impl Writer<'_> {
    async fn gap_until(&mut self, seq: u64) -> Result<(), ProvisionError> {
        while self.next < seq {
            self.push(format!("{}.{GAP}", self.prefix), HeaderMap::new(), Vec::new()).await?;
        }
        Ok(())
    }

    async fn store(&mut self, message: &Message) -> Result<(), ProvisionError> {
        let mut headers = HeaderMap::new();
        let last = self.subjects.insert(message.subject.clone(), message.seq).unwrap_or(0);
        for (name, value) in message.headers()? {
            let replayable = match name.as_str() {
                "Nats-Expected-Last-Subject-Sequence" => value == last.to_string(),
                "Nats-Expected-Last-Sequence" => value == (message.seq - 1).to_string(),
                "Nats-TTL" => self.ttl,
                name => !NOT_REPLAYED.contains(&name),
            };
            if !replayable {
                self.changed.insert(message.seq);
                continue;
            }
            if name == "Nats-Msg-Id" && !self.ids.insert(value.clone()) {
                // The same id again: it was stored outside the window then, and has to be now.
                self.settle().await?;
                tokio::time::sleep(Duration::from_nanos(DUPLICATES_NS * 2)).await;
            }
            headers.append(name, value);
        }
        self.push(format!("{}.{}", self.prefix, message.subject), headers, message.body()?).await
    }

    async fn push(
        &mut self,
        subject: String,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<(), ProvisionError> {
        self.under_way.push((self.next, subject, headers, body));
        self.next += 1;
        if self.under_way.len() == WINDOW { self.settle().await } else { Ok(()) }
    }

    /// Sends what is under way, in order, and checks that each got its old sequence.
    async fn settle(&mut self) -> Result<(), ProvisionError> {
        if self.under_way.is_empty() {
            return Ok(());
        }
        let request = "the publish of a message that is brought back".to_owned();
        let lost = |cause: String| ProvisionError::Connection { request: request.clone(), cause };
        let client = self.js.client();
        let inbox = client.new_inbox();
        let mut acks = client.subscribe(format!("{inbox}.*")).await.map_err(|e| lost(e.to_string()))?;
        let count = self.under_way.len();
        for (seq, subject, headers, body) in self.under_way.drain(..) {
            let reply = format!("{inbox}.{seq}");
            let sent = client.publish_with_reply_and_headers(subject, reply, headers, body.into()).await;
            sent.map_err(|e| lost(e.to_string()))?;
        }
        for _ in 0..count {
            let ack = tokio::time::timeout(Duration::from_secs(30), acks.next())
                .await
                .map_err(|_| ProvisionError::Timeout { request: request.clone(), timeout_s: 30 })?
                .ok_or_else(|| lost("the connection ended".into()))?;
            let wanted = ack.subject.rsplit('.').next().and_then(|t| t.parse::<u64>().ok());
            if ack.payload.is_empty() {
                return Err(lost("nobody takes it".into()));
            }
            let answer = crate::wire::read(&request, &ack.payload)?;
            let got = answer.get("seq").and_then(Value::as_u64);
            if got != wanted || on_value(&answer, "duplicate") {
                return Err(ProvisionError::RestoreIncomplete {
                    name: self.stream.to_owned(),
                    cause: format!("message {wanted:?} was stored as {got:?}"),
                    backup: self.prefix.to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn on_value(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// Compares what is in the new stream with the backup, message by message. What has aged out meanwhile is not missed.
pub(crate) async fn compare(
    js: &Js,
    journal: &Journal,
    backup: &Backup,
    changed: &HashSet<u64>,
) -> Result<(), ProvisionError> {
    let differs = |cause: String| ProvisionError::RestoreIncomplete {
        name: journal.stream.clone(),
        cause,
        backup: journal.nonce.clone(),
    };
    let seen = state(js, &journal.stream).await?;
    if seen.last_seq != backup.seal.last_seq {
        return Err(differs(format!(
            "its last sequence is {}, it was {}",
            seen.last_seq, backup.seal.last_seq
        )));
    }
    let stream = journal.stream.as_str();
    let pairs = futures_util::stream::iter(backup.messages()?).map(|message| async move {
        let message = message?;
        let live = get(js, stream, message.seq).await?;
        Ok::<_, ProvisionError>((message, live))
    });
    let mut pairs = pairs.buffered(crate::observe::PARALLEL);
    let mut same = 0;
    while let Some(pair) = pairs.next().await {
        let (message, live) = pair?;
        let Some(live) = live else { return Err(differs(format!("message {} is not there", message.seq))) };
        let headers = |m: &Message| {
            let mut headers = m.headers()?;
            headers.sort();
            Ok::<_, ProvisionError>(headers)
        };
        if live.subject != message.subject || live.data != message.data {
            return Err(differs(format!("message {} is another", message.seq)));
        }
        if !changed.contains(&message.seq) && headers(&live)? != headers(&message)? {
            return Err(differs(format!("message {} has other headers", message.seq)));
        }
        same += 1;
    }
    if seen.messages != same {
        return Err(differs(format!("it holds {} messages, {same} were backed up", seen.messages)));
    }
    Ok(())
}
