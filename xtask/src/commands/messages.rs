//! `publish` and `consume`: a message with its acknowledgement, by hand.

use std::io::Read;
use std::time::Duration;

use serde_json::json;
use streamproof::client::{
    AckPolicy, Acker, AckerOptions, ClientExt, ConsumeError, Delivery, Outcome, Outgoing, PublisherOptions,
    PullOptions,
};
use streamproof::model::failure::Code;

use super::session::{Session, wait};
use crate::flags::{ConsumeFlags, PublishFlags};
use crate::output::Done;
use crate::problem::Problem;

/// How many publishes may be in flight.
const WINDOW: usize = 256;

pub(crate) fn publish(session: &Session<'_>, flags: &PublishFlags) -> Result<Done, Problem> {
    let project = session.load()?;
    let reached = session.reach(&flags.server, &project)?;
    let body = if flags.data == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|e| Problem::new(Code::Io, format!("cannot read stdin: {e}")))?;
        bytes
    } else {
        flags.data.clone().into_bytes()
    };
    wait(async {
        let client = reached.connect.client().await.map_err(Problem::of)?;
        let publisher = client
            .publisher(PublisherOptions::default().window(WINDOW))
            .await
            .map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
        let mut waiting = std::collections::VecDeque::new();
        let (mut stream, mut first, mut last, mut duplicates) = (String::new(), None, 0, 0u64);
        let mut sent = 0;
        while sent < flags.count || !waiting.is_empty() {
            if sent < flags.count && waiting.len() < WINDOW {
                let mut message = Outgoing::new(flags.subject.clone(), body.clone());
                if let Some(id) = &flags.msg_id {
                    message = message.message_id(&if flags.count > 1 {
                        format!("{id}-{}", sent + 1)
                    } else {
                        id.clone()
                    });
                }
                let outcome =
                    publisher.publish(message).await.map_err(|e| Problem::new(Code::Usage, e.to_string()))?;
                waiting.push_back(outcome);
                sent += 1;
                continue;
            }
            let Some(outcome) = waiting.pop_front() else { break };
            match outcome.await {
                Outcome::Acked(ack) => {
                    stream = ack.stream.to_string();
                    first.get_or_insert(ack.sequence);
                    last = ack.sequence;
                    duplicates += u64::from(ack.duplicate);
                }
                Outcome::Rejected(rejection) if rejection.code == 503 => {
                    return Err(Problem::new(
                        Code::ServerRefused,
                        format!("no stream takes {}", flags.subject),
                    )
                    .help("cargo xtask info   shows the streams and their subjects"));
                }
                Outcome::Rejected(rejection) => {
                    return Err(Problem::new(Code::ServerRefused, format!("{}: {rejection}", flags.subject)));
                }
                Outcome::Indeterminate(why) => {
                    return Err(Problem::new(
                        Code::Timeout,
                        format!("nobody knows whether it was stored: {why}"),
                    )
                    .help("publish it again with --msg-id, so that a stored one is not stored twice"));
                }
            }
        }
        let count = flags.count;
        let first = first.unwrap_or_default();
        let again = if duplicates > 0 {
            format!(", {duplicates} of them duplicates, stored once")
        } else {
            String::new()
        };
        let text = if count == 1 {
            format!("acknowledged: {stream} sequence {last}{again}")
        } else {
            format!("{count} acknowledged: {stream} sequences {first} to {last}{again}")
        };
        let data = json!({ "stream": stream, "first_seq": first, "last_seq": last, "count": count, "duplicates": duplicates });
        Ok(Done::new(text, data))
    })
}

pub(crate) fn consume(session: &Session<'_>, flags: &ConsumeFlags) -> Result<Done, Problem> {
    let project = session.load()?;
    let reached = session.reach(&flags.server, &project)?;
    let most = flags.count.unwrap_or(u64::MAX);
    let quiet = Duration::from_millis(flags.wait);
    wait(async {
        let client = reached.connect.client().await.map_err(Problem::of)?;
        let acker = client
            .acker(AckerOptions::default())
            .await
            .map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
        let mut rows = Vec::new();
        let mut lines = String::new();
        match client.pull_consumer(&flags.stream, &flags.consumer, PullOptions::default()).await {
            Ok(mut pull) => {
                let explicit = pull.ack_policy() != AckPolicy::None;
                while (rows.len() as u64) < most {
                    let some = (most - rows.len() as u64).min(500) as usize;
                    let got = pull.fetch(some, quiet).await.map_err(refused)?;
                    if got.is_empty() {
                        break;
                    }
                    for delivery in got {
                        take(delivery, &acker, explicit && !flags.no_ack, &mut rows, &mut lines).await?;
                    }
                }
            }
            Err(ConsumeError::WrongKind { .. }) => {
                let mut push = client.push_consumer(&flags.stream, &flags.consumer).await.map_err(refused)?;
                let explicit = push.ack_policy() != AckPolicy::None;
                while (rows.len() as u64) < most {
                    match tokio::time::timeout(quiet, push.next()).await {
                        Ok(delivery) => {
                            take(
                                delivery.map_err(refused)?,
                                &acker,
                                explicit && !flags.no_ack,
                                &mut rows,
                                &mut lines,
                            )
                            .await?;
                        }
                        Err(_) => break,
                    }
                }
            }
            Err(error) => return Err(refused(error)),
        }
        let count = rows.len();
        let how =
            if flags.no_ack { "not acknowledged" } else { "acknowledged, each confirmed by the server" };
        lines.push_str(&if count == 0 {
            "nothing to consume\n".to_owned()
        } else {
            format!("{count} consumed, {how}\n")
        });
        Ok(Done::new(lines, json!({ "count": count, "acked": !flags.no_ack, "messages": rows })))
    })
}

async fn take(
    delivery: Delivery,
    acker: &Acker,
    ack: bool,
    rows: &mut Vec<serde_json::Value>,
    lines: &mut String,
) -> Result<(), Problem> {
    let (mut seq, mut delivered) = (0, 0);
    if let Some(metadata) = delivery.metadata() {
        seq = metadata.stream_sequence;
        delivered = metadata.num_delivered;
    }
    let subject = delivery.subject().to_string();
    let body = String::from_utf8_lossy(delivery.payload()).into_owned();
    let again = if delivered > 1 { format!("  (delivery {delivered})") } else { String::new() };
    lines.push_str(&format!("{seq}  {subject}  {body}{again}\n"));
    rows.push(json!({ "seq": seq, "subject": subject, "data": body, "num_delivered": delivered }));
    if ack {
        let outcome =
            acker.ack(delivery).await.map_err(|e| Problem::new(Code::Internal, e.to_string()))?.await;
        match outcome {
            streamproof::client::AckOutcome::Confirmed => {}
            streamproof::client::AckOutcome::Rejected(why) => {
                return Err(Problem::new(
                    Code::ServerRefused,
                    format!("sequence {seq} could not be acknowledged: {why}"),
                ));
            }
            streamproof::client::AckOutcome::Indeterminate(why) => {
                return Err(Problem::new(
                    Code::Timeout,
                    format!("nobody knows whether sequence {seq} was acknowledged: {why}"),
                )
                .help("consume again: an unacknowledged message comes again after ack_wait"));
            }
        }
    } else {
        // Left as it is: it comes again after ack_wait, or to the next who asks.
        _ = delivery.into_message();
    }
    Ok(())
}

fn refused(error: ConsumeError) -> Problem {
    Problem::new(Code::ServerRefused, error.to_string())
        .help("cargo xtask info   shows the streams and their consumers")
}
