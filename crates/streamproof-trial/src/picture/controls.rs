//! The controls of a comparison: small pictures that are damaged on purpose, each of which must be found by exactly its invariant.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde_json::json;
use streamproof_checker::{ControlResult, Invariant};
use streamproof_model::op::FaultKind;

use super::compare::{Between, Shot, compare};
use super::rows::{Row, Writer};
use super::witness::Witnessed;
use super::{ConsumerPicture, ConsumerState, Picture, Reading, State, StreamPicture};

const STREAM: &str = "CONTROL";
const CONSUMER: &str = "control";
const MESSAGES: u64 = 20;
/// Neither the first nor the last.
const HIT: u64 = 7;
const BEGAN_NS: i64 = 1_700_000_000_000_000_000;

/// One damage: its name, the invariants that must find it and no others, and what it does.
type Damage = (&'static str, &'static [Invariant], fn(&mut Picture, &mut Vec<Row>));

const DAMAGES: [Damage; 6] = [
    ("memory-loss", &[Invariant::K1, Invariant::M2], |picture, _| picture.streams.clear()),
    ("planted-deletion", &[Invariant::M2], |picture, rows| {
        rows.retain(|row| row.seq != HIT);
        resize(picture, rows.len() as u64);
    }),
    ("altered-message", &[Invariant::M2], |_, rows| {
        if let Some(row) = rows.iter_mut().find(|row| row.seq == HIT) {
            row.body[0] ^= 1;
        }
    }),
    ("returned-message", &[Invariant::M7], |_, _| {}),
    ("edited-config", &[Invariant::K2], |picture, _| {
        if let Some(stream) = picture.streams.get_mut(STREAM) {
            stream.config["max_msg_size"] = json!(4096);
        }
    }),
    ("reset-consumer", &[Invariant::C3], |picture, _| {
        if let Some(consumer) =
            picture.streams.get_mut(STREAM).and_then(|stream| stream.consumers.get_mut(CONSUMER))
        {
            let state = ConsumerState { pending: MESSAGES, ..ConsumerState::default() };
            (consumer.first, consumer.last) = (state, state);
        }
    }),
];

/// Runs them in `folder`, which is made and removed again.
///
/// # Errors
/// If a file cannot be written.
pub fn controls(folder: &Path) -> io::Result<Vec<ControlResult>> {
    let (before, after) = (folder.join("before"), folder.join("after"));
    std::fs::create_dir_all(&before)?;
    std::fs::create_dir_all(&after)?;
    let mut results = Vec::new();
    for (name, expect, damage) in DAMAGES {
        let (mut was, mut rows) = good();
        if name == "returned-message" {
            // It is there again: what was taken away is taken away before.
            let mut fewer = rows.clone();
            fewer.retain(|row| row.seq != HIT);
            resize(&mut was, MESSAGES - 1);
            write(&before, &fewer)?;
        } else {
            write(&before, &rows)?;
        }
        let (mut is, _) = good();
        damage(&mut is, &mut rows);
        write(&after, &rows)?;
        let (violations, _) = compare(
            Shot { picture: &was, folder: &before },
            Shot { picture: &is, folder: &after },
            Between {
                fault: FaultKind::Stop,
                other_version: false,
                witnessed: &Witnessed::default(),
                is_first_look: true,
            },
        )?;
        let found: BTreeSet<Invariant> = violations.iter().map(|violation| violation.invariant).collect();
        let wanted: BTreeSet<Invariant> = expect.iter().copied().collect();
        let beside = violations
            .iter()
            .filter(|violation| !wanted.contains(&violation.invariant))
            .map(|violation| format!("{} {}", violation.invariant.name(), violation.class))
            .collect();
        results.push(ControlResult {
            name: name.to_owned(),
            target: STREAM.to_owned(),
            expect: expect.first().map_or("", |invariant| invariant.name()).to_owned(),
            found: found == wanted,
            beside,
        });
    }
    std::fs::remove_dir_all(folder)?;
    Ok(results)
}

fn write(folder: &Path, rows: &[Row]) -> io::Result<()> {
    let mut writer = Writer::create(&folder.join("0.rows"))?;
    for row in rows {
        writer.write(row)?;
    }
    writer.finish()
}

fn good() -> (Picture, Vec<Row>) {
    let rows: Vec<Row> = (1..=MESSAGES)
        .map(|seq| Row {
            seq,
            time_ns: BEGAN_NS - 1_000_000_000 + seq as i64,
            body: [seq as u8; 16],
            size: 100,
            subject: format!("control.{}", seq % 3),
            ..Row::default()
        })
        .collect();
    let state = State {
        messages: MESSAGES,
        bytes: MESSAGES * 100,
        first_seq: 1,
        last_seq: MESSAGES,
        num_deleted: 0,
        num_subjects: 3,
    };
    let of_consumer = ConsumerState {
        delivered_consumer: 5,
        delivered_stream: 5,
        floor_consumer: 5,
        floor_stream: 5,
        ack_pending: 0,
        pending: MESSAGES - 5,
    };
    let consumer = ConsumerPicture {
        config: json!({ "durable_name": CONSUMER, "ack_policy": "explicit", "deliver_policy": "all" }),
        created_ns: BEGAN_NS - 10_000_000_000,
        first: of_consumer,
        last: of_consumer,
    };
    let reading = Reading {
        file: "0.rows".to_owned(),
        count: MESSAGES,
        first_seq: 1,
        last_seq: MESSAGES,
        began_ns: BEGAN_NS,
        ended_ns: BEGAN_NS,
        ..Reading::default()
    };
    let stream = StreamPicture {
        config: json!({ "name": STREAM, "subjects": ["control.*"], "storage": "file", "retention": "limits" }),
        created_ns: BEGAN_NS - 10_000_000_000,
        first: state,
        last: state,
        offline: None,
        consumers: [(CONSUMER.to_owned(), consumer)].into(),
        reading,
    };
    let picture = Picture {
        server: String::new(),
        began_ns: BEGAN_NS,
        ended_ns: BEGAN_NS,
        others: Some(0),
        streams: [(STREAM.to_owned(), stream)].into(),
    };
    (picture, rows)
}

/// The state as a server would tell it of so many messages.
fn resize(picture: &mut Picture, messages: u64) {
    let Some(stream) = picture.streams.get_mut(STREAM) else { return };
    for state in [&mut stream.first, &mut stream.last] {
        state.messages = messages;
        state.num_deleted = MESSAGES - messages;
    }
    stream.reading.count = messages;
    for consumer in stream.consumers.values_mut() {
        for state in [&mut consumer.first, &mut consumer.last] {
            state.pending = messages - 5;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_damage_is_found_by_exactly_its_invariant() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("controls");
        let results = controls(&folder).unwrap();
        assert_eq!(results.len(), DAMAGES.len());
        for result in results {
            assert!(result.found, "{result:?}");
        }
        assert!(!folder.exists());
    }
}
