//! Replacing a stream or a consumer: backed up, removed, made anew, brought back, and at no point lost.
//!
//! A stream that is replaced first gives up its subjects ("frozen"), so that nobody gets an ack for a message that would
//! not be in the backup. Each stage is in the journal before it begins; [`resume`] goes on from there.

use crate::apply::{Sending, create_consumer, write_stream};
use crate::backup::{Backup, state};
use crate::failure::ProvisionError;
use crate::journal::{self, Journal, Position, Stage};
use crate::reposition;
use crate::restock::{compare, copy};
use crate::snapshot;
use crate::wire::{Js, is_missing};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
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

    pub(crate) fn here(&self) -> Result<(), ProvisionError> {
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
            reposition::consumer_from(js, journal, journals, &Halt::never()).await?
        } else {
            stream_from(js, journal, journals, &Halt::never()).await?
        };
        said.push(format!("finished the interrupted replacement of {name}"));
        said.extend(notes);
    }
    Ok(said)
}

pub(crate) fn nonce(js: &Js) -> String {
    let inbox = js.client().new_inbox();
    inbox.rsplit('.').next().unwrap_or(&inbox).to_owned()
}

pub(crate) fn text(info: &Value, key: &str) -> String {
    info.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(crate) fn config(info: &Value) -> Document {
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
pub(crate) fn plain(journal: &Journal) -> Sending {
    Sending { level: journal.level, pedantic: false }
}

fn frozen_subject(journal: &Journal) -> String {
    format!("_streamproof.frozen.{}", journal.nonce)
}

/// The subjects under which messages are stored again: the rest of each is its subject in the stream.
pub(crate) fn copy_prefix(journal: &Journal) -> String {
    format!("_streamproof.{}", journal.nonce)
}

fn is_frozen(journal: &Journal, config: &Document) -> bool {
    let subjects = config.get("subjects").and_then(Value::as_array);
    let ours = [frozen_subject(journal), format!("{}.>", copy_prefix(journal))];
    subjects.is_some_and(|s| s.len() == 1 && s[0].as_str().is_some_and(|s| ours.iter().any(|o| o == s)))
}

pub(crate) fn on(config: &Document, key: &str) -> bool {
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
    for left in (0..BACKUP_TRIES).rev() {
        match back_up(js, journal, &folder, halt).await {
            // Messages that were on their way when the stream was frozen may still have been stored.
            Err(ProvisionError::BackupIncomplete { .. }) if left > 0 => {}
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    positions(js, journal).await?;
    journal.reach(Stage::BackedUp, journals)
}

/// What is on its way to a stream is stored within moments of its freezing: more tries would be for something else.
const BACKUP_TRIES: u32 = 5;

async fn back_up(js: &Js, journal: &Journal, folder: &Path, halt: &Halt) -> Result<(), ProvisionError> {
    let backup = Backup::take(js, &journal.stream, folder).await?;
    halt.here()?;
    // Only file stores can be snapshotted (nats-server `memStore.Snapshot`: "no impl").
    if journal.old.get("storage").and_then(Value::as_str) == Some("file") {
        snapshot::take(js, &journal.stream, &folder.join("snapshot.tar.s2")).await?;
        halt.here()?;
    }
    let last = state(js, &journal.stream).await?.last_seq;
    if takes_messages(&journal.old) && last != backup.seal.last_seq {
        let cause = format!("{} messages came while it was made", last.saturating_sub(backup.seal.last_seq));
        return Err(ProvisionError::BackupIncomplete { name: journal.stream.clone(), cause });
    }
    tracing::debug!(stream = journal.stream, messages = backup.seal.messages, "backed up");
    Ok(())
}

/// Reads where each consumer stands; one that is gone keeps what was read before.
pub(crate) async fn positions(js: &Js, journal: &mut Journal) -> Result<(), ProvisionError> {
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
pub(crate) fn open_to_backup(journal: &Journal) -> Document {
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
pub(crate) const DUPLICATES_NS: u64 = 100_000_000;

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

pub(crate) async fn create_stream(js: &Js, document: &Document, how: Sending) -> Result<(), ProvisionError> {
    write_stream(js, "CREATE", document, how).await.map(drop)
}

/// Makes the consumers again, each right after what it had acked.
pub(crate) async fn consumers(js: &Js, journal: &Journal, keep: bool) -> Result<Vec<String>, ProvisionError> {
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
