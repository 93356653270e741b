//! Two pictures compared: what must be the same and is not, and what may differ and why.

use std::io;
use std::path::Path;

use streamproof_checker::weigh::Violation;
use streamproof_checker::{Example, Invariant, config_changes};
use streamproof_model::op::FaultKind;

use super::changes::{Change, Ledger, Of, example};
use super::consumers::compare_consumers;
use super::messages::compare_messages;
use super::witness::Witnessed;
use super::{Picture, State, StreamPicture};
use crate::report::words;

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
    /// The first picture has not been judged yet: what is wrong with it by itself is told. Otherwise it was told of the picture
    /// after an earlier fault, and would be counted twice.
    pub is_first_look: bool,
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
            if let Some(is) = after.picture.streams.get(name) {
                first_seen(&mut ledger, &of, is);
            }
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
        first_seen(&mut ledger, &of, is);
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
    let (stood, stands) = (wrong(pair.before, was), wrong(pair.after, is));
    if pair.between.is_first_look {
        for one in &stood {
            one.tell(ledger, &of.before_it(), one.count, &[]);
        }
    }
    for one in &stands {
        // What stood before the fault did not come with it.
        let known = stood.iter().find(|known| known.class == one.class);
        let count = known.map_or(one.count, |known| one.more_than(known));
        if count > 0 {
            one.tell(ledger, of, count, known.map_or(&[], |known| &known.examples));
        }
    }
}

/// A stream that only the second picture shows: whether what is wrong with it came with the fault is not known.
fn first_seen(ledger: &mut Ledger, of: &Of<'_>, is: &StreamPicture) {
    for one in wrong(is, is.first).iter().filter(|_| is.offline.is_none()) {
        one.tell(ledger, &of.before_it(), one.count, &[]);
    }
}

/// What is wrong with one picture by itself.
#[derive(Debug)]
struct Wrong {
    invariant: Invariant,
    class: &'static str,
    count: u64,
    examples: Vec<Example>,
}

impl Wrong {
    fn tell(&self, ledger: &mut Ledger, of: &Of<'_>, count: u64, known: &[Example]) {
        let is_known = |one: &Example| one.seq.is_some() && known.iter().any(|other| other.seq == one.seq);
        let mut left = count;
        for example in self.examples.iter().filter(|one| !is_known(one)) {
            ledger.violations(self.invariant, of, self.class, std::mem::take(&mut left), || example.clone());
        }
    }

    /// How many of these were not there before: by their number, and by their sequences where all of those before are known.
    fn more_than(&self, before: &Wrong) -> u64 {
        let more = self.count.saturating_sub(before.count);
        let seqs = |of: &Wrong| of.examples.iter().filter_map(|one| one.seq).collect::<Vec<_>>();
        let known = seqs(before);
        if known.len() as u64 != before.count {
            return more;
        }
        more.max(seqs(self).iter().filter(|seq| !known.contains(seq)).count() as u64)
    }
}

/// M11, A1 of one picture, with the state that stands nearest to the fault.
fn wrong(stream: &StreamPicture, state: State) -> Vec<Wrong> {
    let mut all = Vec::new();
    let one = |invariant, class, text| Wrong { invariant, class, count: 1, examples: vec![example(text)] };
    let span = (state.last_seq + 1).saturating_sub(state.first_seq);
    if state.messages > 0 && state.messages + state.num_deleted != span {
        let text = format!(
            "{} messages and {} deleted from {} to {}",
            state.messages, state.num_deleted, state.first_seq, state.last_seq
        );
        all.push(one(Invariant::M11, "state does not add up", text));
    }
    let reading = &stream.reading;
    if let Some(why) = &reading.cut_short {
        all.push(one(Invariant::A1, "read cut short", why.clone()));
        return all;
    }
    if reading.unreadable > 0 {
        let of_seq = |(seq, why): &(u64, String)| Example { seq: Some(*seq), ..example(why.clone()) };
        let mut examples: Vec<Example> = reading.unreadable_examples.iter().map(of_seq).collect();
        examples.push(example(format!("{} cannot be read", words::count(reading.unreadable, "message"))));
        all.push(Wrong {
            invariant: Invariant::M11,
            class: "unreadable",
            count: reading.unreadable,
            examples,
        });
    }
    let read = reading.count + reading.unreadable;
    if stream.first == stream.last && !stream.copies() && read != stream.first.messages {
        let text = format!("the state says {} messages, {read} were read", stream.first.messages);
        all.push(one(Invariant::M11, "count differs from what is read", text));
    }
    all
}

/// A time as people read it.
pub(crate) fn time(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| ns.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use streamproof_model::op::FaultKind;

    use super::*;

    fn counting(messages: u64, read: u64, unreadable: &[u64]) -> StreamPicture {
        let state = State { messages, first_seq: 1, last_seq: messages, ..State::default() };
        let mut stream = StreamPicture { first: state, last: state, ..StreamPicture::default() };
        stream.reading.count = read;
        stream.reading.unreadable = unreadable.len() as u64;
        stream.reading.unreadable_examples = unreadable.iter().map(|seq| (*seq, "bad".to_owned())).collect();
        stream
    }

    /// Fault, class, how many, and the sequences of the examples.
    type Told = (Option<FaultKind>, String, u64, Vec<u64>);

    fn told(before: &StreamPicture, after: &StreamPicture, is_first_look: bool) -> Vec<Told> {
        let empty = Picture::default();
        let shot = Shot { picture: &empty, folder: Path::new("") };
        let witnessed = Witnessed::default();
        let between =
            Between { fault: FaultKind::Kill, other_version: false, witnessed: &witnessed, is_first_look };
        let pair = Pair { name: "S", before, after, shots: [shot, shot], between };
        let mut ledger = Ledger::new(FaultKind::Kill);
        states(&mut ledger, &Of::stream("S"), &pair);
        let seqs = |violation: &Violation| violation.examples.iter().filter_map(|one| one.seq).collect();
        let (violations, _) = ledger.finish();
        violations.into_iter().map(|one| (one.fault, one.class.clone(), one.count, seqs(&one))).collect()
    }

    #[test]
    fn what_stands_in_every_picture_is_counted_once_and_before_the_fault() {
        let bad = counting(10, 8, &[]);
        let class = "count differs from what is read".to_owned();
        assert_eq!(told(&bad, &bad, true), [(None, class.clone(), 1, vec![])]);
        assert_eq!(told(&bad, &bad, false), [], "it was told of the picture before");
        let good = counting(10, 10, &[]);
        assert_eq!(told(&good, &bad, true), [(Some(FaultKind::Kill), class, 1, vec![])]);
    }

    #[test]
    fn a_message_that_cannot_be_read_is_put_down_to_the_fault_only_if_it_could_be_before() {
        let (two, three) = (counting(10, 8, &[3, 4]), counting(10, 7, &[3, 4, 9]));
        let class = "unreadable".to_owned();
        assert_eq!(
            told(&two, &three, true),
            [(Some(FaultKind::Kill), class.clone(), 1, vec![9]), (None, class.clone(), 2, vec![3, 4])]
        );
        assert_eq!(told(&two, &three, false), [(Some(FaultKind::Kill), class.clone(), 1, vec![9])]);
        let others = counting(10, 8, &[3, 5]);
        assert_eq!(told(&two, &others, false), [(Some(FaultKind::Kill), class, 1, vec![5])]);
    }
}
