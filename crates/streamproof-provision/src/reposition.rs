//! Replacing a consumer: made anew right after what it had acked, with its messages held meanwhile.

use crate::apply::{Sending, create_consumer};
use crate::backup::state;
use crate::failure::ProvisionError;
use crate::journal::{Journal, Position, Stage};
use crate::replace::{Halt, config, nonce, plain, positions, text};
use crate::wire::{Js, is_missing};
use serde_json::Value;
use std::path::Path;
use streamproof_model::plan::{ConsumerSeen, Document, Restore, Step, resumed};

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

pub(crate) async fn consumer_from(
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
