//! Replacing a stream or a consumer: backed up, removed, made anew, brought back, and at no point lost.
//!
//! A stream that is replaced first gives up its subjects ("frozen"), so that nobody gets an ack for a message that would
//! not be in the backup. Each stage is in the journal before it begins; [`resume`] goes on from there.

use crate::apply::{Sending, create_consumer, write_stream};
use crate::backup::{Backup, state};
use crate::failure::ProvisionError;
use crate::journal::{self, Journal, Position, Stage};
use crate::message::{Message, get};
use crate::snapshot;
use crate::wire::{Js, is_missing};
use async_nats::HeaderMap;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use streamproof_model::plan::{ConsumerSeen, Document, Restore, Step, resumed, without_server_marks};

/// Where a replacement is made to end in the middle, by tests: at the n-th boundary between two things that it does.
#[derive(Debug)]
pub struct Halt {
    left: AtomicUsize,
}

impl Halt {
    /// Nowhere.
    #[must_use]
    pub const fn never() -> Self {
        Self { left: AtomicUsize::new(usize::MAX) }
    }

    /// At the n-th boundary, from 0.
    #[must_use]
    pub const fn at(boundary: usize) -> Self {
        Self { left: AtomicUsize::new(boundary) }
    }

    fn here(&self) -> Result<(), ProvisionError> {
        let before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| match n {
            usize::MAX => None,
            n => Some(n.wrapping_sub(1)),
        });
        match before {
            Ok(0) => {
                self.left.store(usize::MAX, Ordering::SeqCst);
                Err(ProvisionError::Interrupted { name: "halted by a test".into(), journal: String::new() })
            }
            _ => Ok(()),
        }
    }
}

/// Finishes every replacement that was interrupted, and says what was done. Call it before a plan is made.
///
/// # Errors
/// Where the server refuses, or a backup cannot be read. The journal stays until the work is done.
pub async fn resume(js: &Js, journals: &Path) -> Result<Vec<String>, ProvisionError> {
    let mut said = Vec::new();
    for (name, path) in journal::pending(journals)? {
        let journal = Journal::load(&path)?;
        let notes = if journal.consumer.is_some() {
            consumer_from(js, journal, journals, &Halt::never()).await?
        } else {
            stream_from(js, journal, journals, &Halt::never()).await?
        };
        said.push(format!("finished the interrupted replacement of {name}"));
        said.extend(notes);
    }
    Ok(said)
}

fn nonce(js: &Js) -> String {
    let inbox = js.client().new_inbox();
    inbox.rsplit('.').next().unwrap_or(&inbox).to_owned()
}

fn text(info: &Value, key: &str) -> String {
    info.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn config(info: &Value) -> Document {
    without_server_marks(info.get("config").and_then(Value::as_object).unwrap_or(&Document::new()))
}

/// Replaces a stream, as the step says.
pub(crate) async fn stream(
    js: &Js,
    step: &Step,
    info: &Value,
    how: Sending,
    journals: &Path,
    halt: &Halt,
) -> Result<Vec<String>, ProvisionError> {
    let journal = Journal {
        nonce: nonce(js),
        stage: Stage::Begun,
        stream: step.stream.clone(),
        consumer: None,
        created: text(info, "created"),
        old: config(info),
        new: step.document.clone().unwrap_or_default(),
        restore: step.restore.unwrap_or(Restore::Copy),
        consumers: step
            .carries
            .iter()
            .map(|c| Position {
                name: c.name.clone(),
                document: c.document.clone(),
                ack_floor: 0,
                delivered: 0,
            })
            .collect(),
        level: how.level,
        pedantic: how.pedantic,
    };
    journal.save(journals)?;
    halt.here()?;
    stream_from(js, journal, journals, halt).await
}

async fn stream_from(
    js: &Js,
    mut journal: Journal,
    journals: &Path,
    halt: &Halt,
) -> Result<Vec<String>, ProvisionError> {
    if journal.stage == Stage::Begun {
        match secure(js, &mut journal, journals, halt).await {
            Ok(()) => {}
            // A test's halt is a crash: nothing is tidied up.
            Err(error @ ProvisionError::Interrupted { .. }) => return Err(error),
            Err(error) => {
                // Nothing was removed: the stream gets its subjects back, and the replacement is off.
                if !journal.old.is_empty()
                    && write_stream(js, "UPDATE", &journal.old, plain(&journal)).await.is_ok()
                {
                    journal.close(journals, false)?;
                }
                return Err(error);
            }
        }
    }
    if journal.stage == Stage::Filled && !exists(js, &journal.stream).await? {
        journal.reach(Stage::Removing, journals)?;
    }
    if journal.stage == Stage::BackedUp {
        positions(js, &mut journal).await?;
        halt.here()?;
        journal.reach(Stage::Removing, journals)?;
        halt.here()?;
    }
    let mut notes = Vec::new();
    if journal.stage == Stage::Removing {
        remove_ours(js, &journal).await?;
        halt.here()?;
        notes = build(js, &journal, journals, halt).await?;
        halt.here()?;
        journal.reach(Stage::Filled, journals)?;
        halt.here()?;
    }
    let kept = journal.restore == Restore::Nothing;
    if !kept {
        write_stream(js, "UPDATE", &journal.new, sending(&journal)).await?;
        halt.here()?;
    }
    if kept {
        notes.push(format!("its old messages are in {}", journal.backup(journals).display()));
    }
    journal.close(journals, kept)?;
    Ok(notes)
}

fn sending(journal: &Journal) -> Sending {
    Sending { level: journal.level, pedantic: journal.pedantic }
}

/// For configurations that nobody declared and nobody will see.
fn plain(journal: &Journal) -> Sending {
    Sending { level: journal.level, pedantic: false }
}

fn frozen_subject(journal: &Journal) -> String {
    format!("_streamproof.frozen.{}", journal.nonce)
}

/// The subjects under which messages are stored again: the rest of each is its subject in the stream.
fn copy_prefix(journal: &Journal) -> String {
    format!("_streamproof.{}", journal.nonce)
}

fn is_frozen(journal: &Journal, config: &Document) -> bool {
    let subjects = config.get("subjects").and_then(Value::as_array);
    let ours = [frozen_subject(journal), format!("{}.>", copy_prefix(journal))];
    subjects.is_some_and(|s| s.len() == 1 && s[0].as_str().is_some_and(|s| ours.iter().any(|o| o == s)))
}

fn on(config: &Document, key: &str) -> bool {
    config.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// Whether publishers can put messages into the stream: not into a mirror, nor into a sealed one.
fn takes_messages(config: &Document) -> bool {
    config.get("mirror").is_none_or(Value::is_null) && !on(config, "sealed")
}

/// Freezes the stream and backs it up, in two ways where the server can.
async fn secure(js: &Js, journal: &mut Journal, journals: &Path, halt: &Halt) -> Result<(), ProvisionError> {
    if takes_messages(&journal.old) {
        let mut frozen = journal.old.clone();
        frozen.insert("subjects".into(), json!([frozen_subject(journal)]));
        frozen.remove("sources");
        write_stream(js, "UPDATE", &frozen, plain(journal)).await?;
        halt.here()?;
    }
    let folder = journal.backup(journals);
    let backup = Backup::take(js, &journal.stream, &folder).await?;
    halt.here()?;
    // Only file stores can be snapshotted (nats-server `memStore.Snapshot`: "no impl").
    if journal.old.get("storage").and_then(Value::as_str) == Some("file") {
        snapshot::take(js, &journal.stream, &folder.join("snapshot.tar.s2")).await?;
        halt.here()?;
    }
    tracing::debug!(stream = journal.stream, messages = backup.seal.messages, "backed up");
    positions(js, journal).await?;
    journal.reach(Stage::BackedUp, journals)
}

/// Reads where each consumer stands; one that is gone keeps what was read before.
async fn positions(js: &Js, journal: &mut Journal) -> Result<(), ProvisionError> {
    for position in &mut journal.consumers {
        match js.request(&format!("CONSUMER.INFO.{}.{}", journal.stream, position.name), &Value::Null).await {
            Ok(info) => {
                if let Some(seen) = ConsumerSeen::from_info(&info) {
                    position.ack_floor = position.ack_floor.max(seen.position());
                    position.delivered = position.delivered.max(seen.delivered).max(position.ack_floor);
                }
            }
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn exists(js: &Js, stream: &str) -> Result<bool, ProvisionError> {
    match js.request(&format!("STREAM.INFO.{stream}"), &Value::Null).await {
        Err(error) if is_missing(&error) => Ok(false),
        other => other.map(|_| true),
    }
}

/// Removes the old stream, or what an interrupted attempt left; never what somebody else has made meanwhile.
async fn remove_ours(js: &Js, journal: &Journal) -> Result<(), ProvisionError> {
    let info = match js.request(&format!("STREAM.INFO.{}", journal.stream), &Value::Null).await {
        Err(error) if is_missing(&error) => return Ok(()),
        other => other?,
    };
    let live = config(&info);
    let old = !takes_messages(&journal.old) && text(&info, "created") == journal.created;
    // Nothing is brought back into it, so it was made as it shall be, by an attempt that was interrupted afterwards.
    if journal.restore == Restore::Nothing && text(&info, "created") != journal.created {
        return Ok(());
    }
    let ours = old || is_frozen(journal, &live);
    if !ours {
        return Err(ProvisionError::RestoreIncomplete {
            name: journal.stream.clone(),
            cause: "somebody else has made a stream of that name meanwhile".into(),
            backup: journal.nonce.clone(),
        });
    }
    match js.request(&format!("STREAM.DELETE.{}", journal.stream), &Value::Null).await {
        // The request of an attempt that was interrupted may arrive as late as this.
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

/// The new configuration, open to nothing but what is brought back: no subjects of its own, no limits, no side effects.
fn open_to_backup(journal: &Journal) -> Document {
    let mut config = journal.new.clone();
    for key in [
        "sources",
        "republish",
        "subject_transform",
        "max_msgs",
        "max_bytes",
        "max_age",
        "max_msgs_per_subject",
        "max_msg_size",
        "discard",
        "discard_new_per_subject",
        "deny_delete",
        "deny_purge",
        "sealed",
        "no_ack",
        "subject_delete_marker_ttl",
        "first_seq",
    ] {
        config.remove(key);
    }
    config.insert("subjects".into(), json!([frozen_subject(journal)]));
    // The least that the server takes.
    config.insert("duplicate_window".into(), DUPLICATES_NS.into());
    config
}

/// 100 ms, the least that the server takes (`checkStreamCfg`).
const DUPLICATES_NS: u64 = 100_000_000;

async fn build(
    js: &Js,
    journal: &Journal,
    journals: &Path,
    halt: &Halt,
) -> Result<Vec<String>, ProvisionError> {
    let mut notes = Vec::new();
    if journal.restore == Restore::Nothing {
        create_stream(js, &journal.new, sending(journal)).await?;
        halt.here()?;
        notes.extend(consumers(js, journal, false).await?);
        return Ok(notes);
    }
    let folder = journal.backup(journals);
    let backup = Backup::open(&folder, &journal.stream)?;
    let mut restored = false;
    if journal.restore == Restore::Snapshot {
        match snapshot::restore(js, &open_to_backup(journal), &folder.join("snapshot.tar.s2")).await {
            Ok(()) => match compare(js, journal, &backup, &HashSet::new()).await {
                Ok(()) => restored = true,
                Err(error) => {
                    notes.push(format!("the server's snapshot was not what was backed up ({error})"))
                }
            },
            Err(error) => notes.push(format!("the server did not take its snapshot back ({error})")),
        }
        halt.here()?;
        if !restored {
            remove_ours(js, journal).await?;
            notes.push(
                "its messages were stored again one by one; the time at which they were stored is new".into(),
            );
        }
    }
    if restored {
        notes.extend(consumers(js, journal, true).await?);
    } else {
        notes.extend(copy(js, journal, &backup, halt).await?);
    }
    Ok(notes)
}

/// How often, and how far apart, a stream is tried to be made where an old one of that name was just removed: the folder of
/// the old one is removed behind the answer, and until then the server has no place for the new one (10049).
const CREATE_TRIES: u32 = 100;
const CREATE_PAUSE: Duration = Duration::from_millis(50);

async fn create_stream(js: &Js, document: &Document, how: Sending) -> Result<(), ProvisionError> {
    for _ in 1..CREATE_TRIES {
        match write_stream(js, "CREATE", document, how).await {
            Err(ProvisionError::Refused { err_code: 10049, .. }) => tokio::time::sleep(CREATE_PAUSE).await,
            other => return other.map(drop),
        }
    }
    write_stream(js, "CREATE", document, how).await.map(drop)
}

/// Makes the consumers again, each right after what it had acked.
async fn consumers(js: &Js, journal: &Journal, keep: bool) -> Result<Vec<String>, ProvisionError> {
    let workqueue = journal.new.get("retention").and_then(Value::as_str) == Some("workqueue");
    let mut notes = Vec::new();
    for position in &journal.consumers {
        let moved = keep && !workqueue && (position.ack_floor > 0 || position.delivered > 0);
        let document =
            if moved { resumed(&position.document, position.ack_floor) } else { position.document.clone() };
        create_consumer(js, &journal.stream, &position.name, &document, "create", plain(journal)).await?;
        let again = position.delivered.saturating_sub(position.ack_floor);
        notes.push(if moved {
            let from = position.ack_floor + 1;
            format!("{} goes on at {from}: up to {again} messages that it has seen come again", position.name)
        } else {
            format!("{} starts at the first message that is there", position.name)
        });
    }
    Ok(notes)
}

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
async fn copy(
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
    create_stream(js, &open, plain(journal)).await?;
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
async fn compare(
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

/// Replaces a consumer, as the step says: made anew right after what it had acked.
pub(crate) async fn consumer(
    js: &Js,
    step: &Step,
    info: &Value,
    how: Sending,
    journals: &Path,
    halt: &Halt,
) -> Result<Vec<String>, ProvisionError> {
    let seen = ConsumerSeen::from_info(info).unwrap_or_default();
    let name = step.consumer.clone().unwrap_or_default();
    let document = step.document.clone().unwrap_or_default();
    let journal = Journal {
        nonce: nonce(js),
        stage: Stage::Begun,
        stream: step.stream.clone(),
        consumer: Some(name.clone()),
        created: text(info, "created"),
        old: config(info),
        new: document.clone(),
        restore: Restore::Nothing,
        consumers: vec![Position {
            name,
            document,
            ack_floor: seen.position(),
            delivered: seen.delivered.max(seen.position()),
        }],
        level: how.level,
        pedantic: how.pedantic,
    };
    journal.save(journals)?;
    halt.here()?;
    consumer_from(js, journal, journals, halt).await
}

async fn consumer_from(
    js: &Js,
    mut journal: Journal,
    journals: &Path,
    halt: &Halt,
) -> Result<Vec<String>, ProvisionError> {
    let stream = journal.stream.clone();
    let name = journal.consumer.clone().unwrap_or_default();
    let retention = state(js, &stream).await?.config.get("retention").cloned().unwrap_or(Value::Null);
    let info_of = format!("CONSUMER.INFO.{stream}.{name}");
    let hold = format!("streamproof_hold_{}", journal.nonce);
    let live = match js.request(&info_of, &Value::Null).await {
        Ok(info) => Some(info),
        Err(error) if is_missing(&error) => None,
        Err(error) => return Err(error),
    };
    let is_old = live.as_ref().is_some_and(|info| text(info, "created") == journal.created);
    if is_old {
        positions(js, &mut journal).await?;
        journal.save(journals)?;
        if retention == "interest" {
            // The last consumer of an interest stream takes its messages with it: another one keeps them meanwhile.
            let document = holding(&journal);
            match create_consumer(js, &stream, &hold, &document, "create", plain(&journal)).await {
                Ok(_) | Err(ProvisionError::Refused { err_code: 10105 | 10148, .. }) => {}
                Err(error) => {
                    journal.close(journals, false)?;
                    return Err(error);
                }
            }
            halt.here()?;
        }
        positions(js, &mut journal).await?;
        journal.save(journals)?;
        halt.here()?;
        release(js, &stream, &name).await?;
        halt.here()?;
    }
    let mut notes = Vec::new();
    if is_old || live.is_none() {
        let position = &journal.consumers[0];
        let moved = retention != "workqueue" && (position.ack_floor > 0 || position.delivered > 0);
        let at = |document: &Document| {
            if moved { resumed(document, position.ack_floor) } else { document.clone() }
        };
        let made = create_consumer(js, &stream, &name, &at(&journal.new), "create", plain(&journal)).await;
        if let Err(error @ ProvisionError::Refused { .. }) = made {
            // The server does not take the new one: the old one comes back where it stood.
            create_consumer(js, &stream, &name, &at(&journal.old), "create", plain(&journal)).await?;
            release(js, &stream, &hold).await?;
            journal.close(journals, false)?;
            return Err(error);
        }
        made?;
        let again = position.delivered.saturating_sub(position.ack_floor);
        let from = position.ack_floor + 1;
        notes.push(format!("{name} goes on at {from}: up to {again} messages that it has seen come again"));
        halt.here()?;
    }
    release(js, &stream, &hold).await?;
    halt.here()?;
    journal.close(journals, false)?;
    Ok(notes)
}

/// A consumer that wants the same messages and delivers nothing.
fn holding(journal: &Journal) -> Document {
    let mut document = Document::new();
    for key in ["filter_subject", "filter_subjects"] {
        if let Some(filter) = journal.old.get(key) {
            document.insert(key.into(), filter.clone());
        }
    }
    document.insert("ack_policy".into(), "explicit".into());
    document.insert("deliver_policy".into(), "all".into());
    document
}

async fn release(js: &Js, stream: &str, hold: &str) -> Result<(), ProvisionError> {
    match js.request(&format!("CONSUMER.DELETE.{stream}.{hold}"), &Value::Null).await {
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}
