//! The messages of a stream in two pictures, row by row: M2, M3, M6, M7, and why a message may be gone.

use std::collections::HashMap;
use std::io;

use streamproof_checker::rules::{ConsumerRules, Retention, StreamRules};
use streamproof_checker::{Example, Invariant};
use streamproof_model::op::Level;

use super::changes::{Ledger, Of};
use super::compare::Pair;
use super::rows::{Reader, Role, Row, Ttl};
use super::{ConsumerPicture, Reading, StreamPicture};
use crate::picture::compare::time;

/// How far limits of age are left alone: the server looks at ages from time to time.
const AGE_SLACK_NS: i64 = 5_000_000_000;
/// A message may seem to have been stored so long before a picture began and still have come after it: clocks are coarse.
const CLOCK_SLACK_NS: i64 = 1_000_000_000;
/// Of so many subjects it is remembered what newer messages did to them.
const SUBJECTS_MAX: usize = 1_000_000;

/// Of each consumer: how many messages that match it lie above what it has delivered.
pub(crate) type Pending = HashMap<String, u64>;

/// Compares, and counts what each consumer has still to deliver.
pub(crate) fn compare_messages(ledger: &mut Ledger, pair: &Pair<'_>) -> io::Result<Pending> {
    let of = Of::stream(pair.name);
    let whole = |stream: &StreamPicture| stream.reading.cut_short.is_none();
    let mut pending = Pending::new();
    if !whole(pair.before) || !whole(pair.after) {
        return Ok(pending);
    }
    let known_up_to = pair.before.known_up_to();
    let newer = Newer::read(pair, known_up_to)?;
    let excuse = Excuse::of(pair, &newer);
    let mut consumers: Vec<(&String, ConsumerRules, u64, u64)> = pair
        .after
        .consumers
        .iter()
        .map(|(name, consumer)| {
            (name, ConsumerRules::of(&consumer.config), consumer.first.delivered_stream, 0)
        })
        .collect();
    let mut before = pair.open(0)?;
    let mut after = pair.open(1)?;
    let (mut was, mut is) = (before.next()?, after.next()?);
    loop {
        let now = is.as_ref().map_or(u64::MAX, |row| row.seq);
        match (&was, &is) {
            (None, None) => break,
            (Some(old), _) if old.seq < now => {
                gone(ledger, &of, pair, &excuse, old);
                was = before.next()?;
                continue;
            }
            (Some(old), Some(new)) if old.seq == new.seq => {
                altered(ledger, &of, pair, old, new);
                was = before.next()?;
            }
            (_, Some(new)) => came(ledger, &of, pair, new, known_up_to),
            // The first arm has taken what is only in the first picture.
            (Some(_), None) => break,
        }
        if let Some(new) = &is {
            for (_, rules, delivered, count) in &mut consumers {
                *count += u64::from(new.seq > *delivered && rules.matches(&new.subject));
            }
        }
        is = after.next()?;
    }
    pending.extend(consumers.into_iter().map(|(name, _, _, count)| (name.clone(), count)));
    Ok(pending)
}

impl Pair<'_> {
    fn open(&self, which: usize) -> io::Result<Reader> {
        let stream = if which == 0 { self.before } else { self.after };
        Reader::open(&self.shots[which].folder.join(&stream.reading.file))
    }
}

/// M2 *what was read stays*.
fn gone(ledger: &mut Ledger, of: &Of<'_>, pair: &Pair<'_>, excuse: &Excuse<'_>, row: &Row) {
    if row.seq < pair.before.last.first_seq {
        ledger.change(of, "messages removed", 1, "they went while the first picture was being taken");
        return;
    }
    if let Some((what, why)) = excuse.find(row) {
        ledger.change(of, what, 1, &why);
        return;
    }
    let Reading { count, first_seq, last_seq, .. } = pair.after.reading;
    let class = match (row.seq > last_seq, row.seq < first_seq) {
        _ if count == 0 => "lost all",
        (true, _) => "lost tail",
        (_, true) => "lost prefix",
        _ => "lost middle",
    };
    ledger.violation(Invariant::M2, of, class, || about(pair, row, "read before, and not there".to_owned()));
}

/// M2, as to content, and M6 *a sequence is never given twice*.
fn altered(ledger: &mut Ledger, of: &Of<'_>, pair: &Pair<'_>, old: &Row, new: &Row) {
    if old == new {
        return;
    }
    let body = old.body != new.body;
    if old.time_ns != new.time_ns && body {
        ledger.violation(Invariant::M6, of, "sequence given again", || {
            about(pair, old, format!("another message, stored {}, has its sequence", time(new.time_ns)))
        });
        return;
    }
    let class = if body {
        "altered body"
    } else if old.headers != new.headers {
        "altered headers"
    } else if old.subject != new.subject {
        "altered subject"
    } else {
        "altered time"
    };
    ledger.violation(Invariant::M2, of, class, || {
        let text = if class == "altered time" {
            format!("stored {} before, {} now", time(old.time_ns), time(new.time_ns))
        } else {
            "it is not what was read before".to_owned()
        };
        about(pair, old, text)
    });
}

/// A message that only the second picture has. M7 *what was deleted stays so*; M3 *nothing is made up*.
fn came(ledger: &mut Ledger, of: &Of<'_>, pair: &Pair<'_>, row: &Row, known_up_to: u64) {
    if row.seq <= known_up_to {
        match pair.by_others() {
            // A stream that was removed and restored, or made again.
            Some(why) => ledger.change(of, "messages returned", 1, &why),
            None => ledger.violation(Invariant::M7, of, "returned", || {
                about(pair, row, "it was not there when the stream was read before".to_owned())
            }),
        }
    } else if row.time_ns < pair.shots[0].picture.began_ns - CLOCK_SLACK_NS && !pair.after.copies() {
        ledger.violation(Invariant::M3, of, "made up", || {
            let began = time(pair.shots[0].picture.began_ns);
            about(pair, row, format!("stored {}, and it was not there at {began}", time(row.time_ns)))
        });
    } else {
        ledger.change(of, "messages added", 1, "published or copied since the first picture");
    }
}

fn about(pair: &Pair<'_>, row: &Row, text: String) -> Example {
    let age = pair.shots[0].picture.ended_ns - row.time_ns;
    Example {
        seq: Some(row.seq),
        subject: Some(row.subject.clone()),
        age_us: u64::try_from(age / 1000).ok(),
        text,
        ..Example::default()
    }
}

/// What the messages that came between the pictures can have removed.
#[derive(Debug, Default)]
struct Newer {
    count: u64,
    bytes: u64,
    by_subject: HashMap<String, (u64, bool)>,
    rolls_all: bool,
    too_many: bool,
}

impl Newer {
    fn read(pair: &Pair<'_>, known_up_to: u64) -> io::Result<Newer> {
        let mut newer = Newer::default();
        if pair.after.reading.last_seq <= known_up_to {
            return Ok(newer);
        }
        let mut rows = pair.open(1)?;
        while let Some(row) = rows.next()? {
            if row.seq <= known_up_to {
                continue;
            }
            newer.count += 1;
            newer.bytes += row.size;
            newer.rolls_all |= row.role == Role::RollsAll;
            if newer.by_subject.len() < SUBJECTS_MAX || newer.by_subject.contains_key(&row.subject) {
                let entry = newer.by_subject.entry(row.subject).or_default();
                entry.0 += 1;
                entry.1 |= row.role == Role::RollsSubject;
            } else {
                newer.too_many = true;
            }
        }
        Ok(newer)
    }
}

/// Why a message may be gone.
#[derive(Debug)]
struct Excuse<'a> {
    pair: &'a Pair<'a>,
    newer: &'a Newer,
    rules: StreamRules,
    by_others: Option<String>,
}

impl<'a> Excuse<'a> {
    fn of(pair: &'a Pair<'a>, newer: &'a Newer) -> Excuse<'a> {
        Excuse { pair, newer, rules: StreamRules::of(&pair.before.config), by_others: pair.by_others() }
    }

    /// M8 *a removal is justified*.
    fn find(&self, row: &Row) -> Option<(&'static str, String)> {
        let newer = self.newer;
        let age_ns = self.pair.after.reading.ended_ns - row.time_ns + AGE_SLACK_NS;
        let old = |limit_ns: i64| age_ns >= limit_ns;
        if let Ttl::Seconds(seconds) = row.ttl
            && old(nanos(seconds.saturating_mul(1_000_000)))
        {
            return Some(("messages expired", "their time to live was over".to_owned()));
        }
        if row.ttl != Ttl::Never && self.rules.max_age_us != u64::MAX && old(nanos(self.rules.max_age_us)) {
            return Some(("messages expired", "they were older than max_age".to_owned()));
        }
        if row.role == Role::Schedule {
            return Some(("messages removed", "their schedule was due".to_owned()));
        }
        let of_subject = newer.by_subject.get(&row.subject).copied().unwrap_or_default();
        if newer.rolls_all || of_subject.1 {
            return Some(("messages removed", "a newer message rolled them up".to_owned()));
        }
        if (of_subject.0 > 0 || newer.too_many) && self.rules.max_per_subject != u64::MAX {
            return Some((
                "messages removed",
                "newer ones on their subject reached max_msgs_per_subject".to_owned(),
            ));
        }
        let (before, after) = (&self.pair.before.last, &self.pair.after.first);
        let is_head = row.seq < self.pair.after.reading.first_seq || self.pair.after.reading.count == 0;
        if newer.count > 0 && is_head && !self.rules.discard_new {
            let most = self.rules.max_msgs;
            if before.messages.saturating_add(newer.count) > most && after.messages >= most.min(newer.count) {
                return Some(("messages removed", "newer ones reached max_msgs".to_owned()));
            }
            if before.bytes.saturating_add(newer.bytes) > self.rules.max_bytes {
                return Some(("messages removed", "newer ones reached max_bytes".to_owned()));
            }
        }
        if let Some(why) = self.consumed(row) {
            return Some(("messages removed", why.to_owned()));
        }
        self.by_others.clone().map(|why| ("messages removed", why))
    }

    /// Whether acks can have removed a message: one consumer's in a work queue, all of them in an interest stream. An ack that
    /// the server had before the fault may be carried out after it (nats-server stream.go:checkInterestState).
    fn consumed(&self, row: &Row) -> Option<&'static str> {
        let (mut matching, mut acked, mut delivered) = (0, 0, 0);
        for (name, is) in &self.pair.after.consumers {
            let rules = ConsumerRules::of(&is.config);
            if !rules.matches(&row.subject) {
                continue;
            }
            matching += 1;
            let state = if is.last.floor_stream > is.first.floor_stream { is.last } else { is.first };
            if state.floor_stream >= row.seq {
                acked += 1;
            } else if state.delivered_stream >= row.seq && self.may_have_acked(name, is) {
                delivered += 1;
            }
        }
        let enough = |done: usize| match self.rules.retention {
            Retention::Limits => false,
            Retention::WorkQueue => done > 0,
            Retention::Interest => done == matching,
        };
        match (enough(acked), enough(acked + delivered)) {
            (true, _) if matching == 0 => Some("no consumer that is there wants them"),
            (true, _) => Some("they were acknowledged"),
            (false, true) => {
                Some("they had been delivered to clients that were at work, and may have been acknowledged")
            }
            (false, false) => None,
        }
    }

    /// Whether a client may have acked a message above the floor of a consumer: a server tells how many wait for their ack, and not
    /// which. Where each of the deliveries above the floor still waits, none of them was acked; after a crash that count may be
    /// older than what was acked.
    fn may_have_acked(&self, name: &str, is: &ConsumerPicture) -> bool {
        let at_work = self
            .pair
            .before
            .consumers
            .get(name)
            .is_none_or(|was| was.last != is.last || was.moved() || is.moved());
        let all_wait = !is.moved()
            && is.first.ack_pending == is.first.delivered_consumer.saturating_sub(is.first.floor_consumer);
        at_work && !(all_wait && self.pair.between.fault.level() == Level::Restart)
    }
}

fn nanos(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;
    use streamproof_model::op::FaultKind;

    use super::*;
    use crate::picture::compare::{Between, Shot};
    use crate::picture::witness::Witnessed;
    use crate::picture::{ConsumerState, Picture};

    /// Why the message of sequence 6 may be gone from a work queue, of which a consumer had acked up to 5 and taken up to 8.
    fn why(fault: FaultKind, floor: u64, ack_pending: u64) -> Option<String> {
        let stream = |delivered: u64, floor: u64, ack_pending: u64| {
            let state = ConsumerState {
                delivered_consumer: delivered,
                delivered_stream: delivered,
                floor_consumer: floor,
                floor_stream: floor,
                ack_pending,
                pending: 0,
            };
            let config = json!({ "durable_name": "C", "ack_policy": "explicit" });
            let consumer = ConsumerPicture { config, created_ns: 0, first: state, last: state };
            StreamPicture {
                config: json!({ "name": "Q", "subjects": ["q"], "retention": "workqueue" }),
                consumers: [("C".to_owned(), consumer)].into(),
                ..StreamPicture::default()
            }
        };
        let (before, after) = (stream(5, 5, 0), stream(8, floor, ack_pending));
        let (empty, witnessed, newer) = (Picture::default(), Witnessed::default(), Newer::default());
        let shot = Shot { picture: &empty, folder: Path::new("") };
        let between = Between { fault, other_version: false, witnessed: &witnessed, is_first_look: true };
        let pair = Pair { name: "Q", before: &before, after: &after, shots: [shot, shot], between };
        let row = Row { seq: 6, subject: "q".to_owned(), ..Row::default() };
        Excuse::of(&pair, &newer).find(&row).map(|(_, why)| why)
    }

    #[test]
    fn a_message_that_was_only_delivered_is_not_told_as_acknowledged() {
        assert_eq!(why(FaultKind::Stop, 6, 2).as_deref(), Some("they were acknowledged"));
        assert!(
            why(FaultKind::Stop, 5, 2).unwrap().contains("may have been acknowledged"),
            "one of three was"
        );
        assert_eq!(why(FaultKind::Stop, 5, 3), None, "all three still wait for their ack");
        assert!(why(FaultKind::Kill, 5, 3).unwrap().contains("may have been"), "the count may be an old one");
    }
}
