//! The consumers of a stream in two pictures: K1, K2, K3, C3, C6, C7.

use streamproof_checker::promise::{ACK_WINDOW_US, Promise, Property, promise};
use streamproof_checker::rules::{ConsumerRules, StreamRules};
use streamproof_checker::{Context, Invariant, Version, config_changes};

use super::changes::{Ledger, Of, example};
use super::compare::{Pair, time};
use super::messages::Pending;
use super::{ConsumerPicture, ConsumerState};

/// Compares the consumers; `pending` is what was counted above each one's delivered sequence.
pub(crate) fn compare_consumers(ledger: &mut Ledger, pair: &Pair<'_>, pending: &Pending) {
    let stream = Of::stream(pair.name);
    for (name, was) in &pair.before.consumers {
        let of = stream.consumer(name);
        let by_others = pair.between.witnessed.consumer(pair.name, name);
        let rules = ConsumerRules::of(&was.config);
        let Some(is) = pair.after.consumers.get(name) else {
            if let Some(why) = by_others {
                ledger.change(&of, "consumer removed", 1, &why);
            } else if rules.fleeting {
                let why = "it has no durable name, an inactive_threshold, or its state in memory";
                ledger.change(&of, "consumer removed", 1, why);
            } else {
                ledger
                    .violation(Invariant::K1, &of, "consumer missing", || example(format!("{name} is gone")));
            }
            continue;
        };
        definition(ledger, &of, pair, was, is, by_others.as_deref());
        if by_others.is_some() {
            continue;
        }
        progress(ledger, &of, pair, was, is, &rules, pending.get(name).copied());
    }
    for (name, is) in &pair.after.consumers {
        if pair.before.consumers.contains_key(name) {
            continue;
        }
        let of = stream.consumer(name);
        if is.created_ns >= pair.shots[0].picture.began_ns {
            ledger.change(&of, "consumer created", 1, "it was created after the first picture");
        } else if let Some(why) = pair.between.witnessed.consumer(pair.name, name) {
            ledger.change(&of, "consumer created", 1, &why);
        } else {
            ledger.violation(Invariant::K1, &of, "consumer made up", || {
                example(format!("{name} was not there before"))
            });
        }
    }
}

fn definition(
    ledger: &mut Ledger,
    of: &Of<'_>,
    pair: &Pair<'_>,
    was: &ConsumerPicture,
    is: &ConsumerPicture,
    by_others: Option<&str>,
) {
    for (key, from, to) in config_changes(&was.config, &is.config, pair.between.other_version) {
        match by_others {
            Some(why) => ledger.change(of, "configuration changed", 1, why),
            None => ledger
                .violation(Invariant::K2, of, "changed", || example(format!("{key}: {from} became {to}"))),
        }
    }
    if was.created_ns != is.created_ns {
        match by_others {
            Some(why) => ledger.change(of, "created again", 1, why),
            None => ledger.violation(Invariant::K3, of, "consumer's creation time changed", || {
                example(format!("created {} before, {} now", time(was.created_ns), time(is.created_ns)))
            }),
        }
    }
}

/// C3 *the ack floor holds*, C7 *deliveries are counted*, C6 *the counts agree*.
fn progress(
    ledger: &mut Ledger,
    of: &Of<'_>,
    pair: &Pair<'_>,
    was: &ConsumerPicture,
    is: &ConsumerPicture,
    rules: &ConsumerRules,
    pending: Option<u64>,
) {
    // What had been written by the fault for certain: the last state, or where the server writes later, the one before it.
    let stream = StreamRules::of(&pair.before.config);
    let fault = Some(pair.between.fault);
    let server = Version::parse(&pair.shots[0].picture.server);
    let row = promise(Property::Floors, fault, &stream, Context::default().sync, server);
    let window_ns = i64::try_from(ACK_WINDOW_US).unwrap_or(i64::MAX).saturating_mul(1000);
    let reading = &pair.before.reading;
    let long_enough = reading.ended_ns - reading.began_ns >= window_ns;
    let must = match row.promise {
        Promise::Window if was.moved() && !long_enough => ConsumerState::default(),
        Promise::Window if was.moved() => was.first,
        _ => was.last,
    };
    let now = is.first;
    if now.floor_stream < must.floor_stream {
        ledger.violation(Invariant::C3, of, "ack floor fell", || {
            example(format!("ack floor {}, and {} before", now.floor_stream, must.floor_stream))
        });
        return;
    }
    if now.delivered_stream < must.delivered_stream || now.delivered_consumer < must.delivered_consumer {
        ledger.violation(Invariant::C7, of, "deliveries forgotten", || {
            example(format!(
                "delivered up to {} ({} deliveries), and up to {} ({}) before",
                now.delivered_stream, now.delivered_consumer, must.delivered_stream, must.delivered_consumer
            ))
        });
        return;
    }
    if now.floor_stream != was.last.floor_stream || now.delivered_consumer != was.last.delivered_consumer {
        ledger.change(of, "consumer moved", 1, "clients took or acknowledged messages meanwhile");
        return;
    }
    if now.ack_pending != was.last.ack_pending {
        // A message that goes by itself takes its pending ack along.
        if pair.alone() && pair.before.last == pair.after.first {
            ledger.violation(Invariant::C6, of, "acks pending changed", || {
                example(format!(
                    "num_ack_pending is {}, and was {}; nobody else was connected",
                    now.ack_pending, was.last.ack_pending
                ))
            });
        } else {
            let why = "clients acknowledged messages meanwhile, or messages went";
            ledger.change(of, "acks pending changed", 1, why);
        }
    }
    // Only where it follows from the stream: every message that matches lies before it, and none goes by itself.
    let countable = rules.deliver_all && !pair.after.copies() && !is.moved() && !pair.after.moved();
    if let Some(expected) = pending.filter(|_| countable)
        && now.pending != expected
    {
        ledger.violation(Invariant::C6, of, "num_pending", || {
            example(format!(
                "num_pending {}, and {expected} matching messages lie above {}",
                now.pending, now.delivered_stream
            ))
        });
    }
}
