//! Two pictures compared: what must be the same and is not, and what may differ and why.

use std::io;
use std::path::Path;

use streamproof_checker::weigh::Violation;
use streamproof_checker::{Invariant, config_changes};
use streamproof_model::op::FaultKind;

use super::changes::{Change, Ledger, Of, example};
use super::consumers::compare_consumers;
use super::messages::compare_messages;
use super::witness::Witnessed;
use super::{Picture, StreamPicture};

/// A picture with its folder.
#[derive(Debug, Clone, Copy)]
pub struct Shot<'a> {
    /// What it shows.
    pub picture: &'a Picture,
    /// Where its rows are.
    pub folder: &'a Path,
}

/// What lies between two pictures.
#[derive(Debug, Clone, Copy)]
pub struct Between<'a> {
    /// What happened to the server.
    pub fault: FaultKind,
    /// The server's version before and after is not the same.
    pub other_version: bool,
    /// What others asked of it.
    pub witnessed: &'a Witnessed,
}

/// One stream in both pictures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub(crate) name: &'a str,
    pub(crate) before: &'a StreamPicture,
    pub(crate) after: &'a StreamPicture,
    pub(crate) shots: [Shot<'a>; 2],
    pub(crate) between: Between<'a>,
}

impl Pair<'_> {
    /// What others did to the stream, in words, if anything.
    pub(crate) fn by_others(&self) -> Option<String> {
        self.between.witnessed.stream(self.name)
    }

    /// Whether anybody else may have worked with the server.
    pub(crate) fn alone(&self) -> bool {
        self.shots.iter().all(|shot| shot.picture.others == Some(0))
            && !self.before.moved()
            && !self.after.moved()
    }
}

/// Compares two pictures.
///
/// # Errors
/// Rows that cannot be read.
pub fn compare(
    before: Shot<'_>,
    after: Shot<'_>,
    between: Between<'_>,
) -> io::Result<(Vec<Violation>, Vec<Change>)> {
    let mut ledger = Ledger::new(between.fault);
    for (name, was) in &before.picture.streams {
        let of = Of::stream(name);
        if was.offline.is_some() {
            continue;
        }
        match after.picture.streams.get(name) {
            None => missing(&mut ledger, &of, was, between),
            Some(is) if is.offline.is_some() => {
                let why = is.offline.clone().unwrap_or_default();
                ledger.violation(Invariant::K1, &of, "stream offline", || {
                    example(format!("the server lists it and does not offer it: {why}"))
                });
            }
            Some(is) => {
                let pair = Pair { name, before: was, after: is, shots: [before, after], between };
                definition(&mut ledger, &of, &pair);
                states(&mut ledger, &of, &pair);
                let pending = compare_messages(&mut ledger, &pair)?;
                compare_consumers(&mut ledger, &pair, &pending);
            }
        }
    }
    for (name, is) in &after.picture.streams {
        if before.picture.streams.contains_key(name) {
            continue;
        }
        let of = Of::stream(name);
        if is.created_ns >= before.picture.began_ns {
            ledger.change(&of, "stream created", 1, "it was created after the first picture");
        } else if let Some(why) = between.witnessed.stream(name) {
            ledger.change(&of, "stream created", 1, &why);
        } else {
            ledger.violation(Invariant::K1, &of, "stream made up", || {
                example(format!("{name} was not there before"))
            });
        }
    }
    Ok(ledger.finish())
}

/// K1 *the same streams*, M2 of all that went with one.
fn missing(ledger: &mut Ledger, of: &Of<'_>, was: &StreamPicture, between: Between<'_>) {
    if let Some(why) = between.witnessed.stream(of.stream) {
        ledger.change(of, "stream removed", 1, &why);
        return;
    }
    ledger.violation(Invariant::K1, of, "stream missing", || example(format!("{} is gone", of.stream)));
    let count = was.reading.count;
    if count > 0 {
        ledger.violations(Invariant::M2, of, "lost all", count, || {
            example(format!(
                "{count} messages from {} to {} went with their stream",
                was.reading.first_seq, was.reading.last_seq
            ))
        });
    }
}

/// K2 *the configuration is what it was*, K3 *created once*.
fn definition(ledger: &mut Ledger, of: &Of<'_>, pair: &Pair<'_>) {
    let changed = config_changes(&pair.before.config, &pair.after.config, pair.between.other_version);
    for (key, from, to) in changed {
        match pair.by_others() {
            Some(why) => ledger.change(of, "configuration changed", 1, &why),
            None => ledger
                .violation(Invariant::K2, of, "changed", || example(format!("{key}: {from} became {to}"))),
        }
    }
    let (was, is) = (pair.before.created_ns, pair.after.created_ns);
    if was != is {
        match pair.by_others() {
            Some(why) => ledger.change(of, "created again", 1, &why),
            None => ledger.violation(Invariant::K3, of, "stream's creation time changed", || {
                example(format!("created {} before, {} now", time(was), time(is)))
            }),
        }
    }
}

/// M7 *sequences never fall*, M11 *the state adds up*, A1 *it can be read*. As the checker of histories decides them: of an empty
/// stream the first sequence and the count of deleted say nothing.
fn states(ledger: &mut Ledger, of: &Of<'_>, pair: &Pair<'_>) {
    let (was, is) = (pair.before.last, pair.after.first);
    if is.last_seq < was.last_seq {
        match pair.by_others() {
            Some(why) => ledger.change(of, "last sequence fell", 1, &why),
            None => {
                let class = if is.messages == 0 { "last sequence fell, empty" } else { "last sequence fell" };
                ledger.violation(Invariant::M7, of, class, || {
                    example(format!("last_seq is {}, and was {}", is.last_seq, was.last_seq))
                });
            }
        }
    }
    if was.messages > 0 && is.messages > 0 && is.first_seq < was.first_seq && is.last_seq >= was.first_seq {
        match pair.by_others() {
            Some(why) => ledger.change(of, "first sequence fell", 1, &why),
            None => ledger.violation(Invariant::M7, of, "first sequence fell", || {
                example(format!("first_seq is {}, and was {}", is.first_seq, was.first_seq))
            }),
        }
    }
    for (state, of) in [(was, of.before_it()), (is, *of)] {
        let span = (state.last_seq + 1).saturating_sub(state.first_seq);
        if state.messages > 0 && state.messages + state.num_deleted != span {
            ledger.violation(Invariant::M11, &of, "state does not add up", || {
                example(format!(
                    "{} messages and {} deleted from {} to {}",
                    state.messages, state.num_deleted, state.first_seq, state.last_seq
                ))
            });
        }
    }
    for (stream, of) in [(pair.before, of.before_it()), (pair.after, *of)] {
        let reading = &stream.reading;
        if let Some(why) = &reading.cut_short {
            ledger.violation(Invariant::A1, &of, "read cut short", || example(why.clone()));
            continue;
        }
        for (seq, why) in &reading.unreadable_examples {
            ledger.violations(Invariant::M11, &of, "unreadable", 0, || {
                let mut example = example(why.clone());
                example.seq = Some(*seq);
                example
            });
        }
        if reading.unreadable > 0 {
            ledger.violations(Invariant::M11, &of, "unreadable", reading.unreadable, || {
                example(format!("{} messages cannot be read", reading.unreadable))
            });
        }
        let read = reading.count + reading.unreadable;
        if stream.first == stream.last && !stream.copies() && read != stream.first.messages {
            ledger.violation(Invariant::M11, &of, "count differs from what is read", || {
                example(format!("the state says {} messages, {read} were read", stream.first.messages))
            });
        }
    }
}

/// A time as people read it.
pub(crate) fn time(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| ns.to_string(), |time| time.to_string())
}
