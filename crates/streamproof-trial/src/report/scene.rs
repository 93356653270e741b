//! What the plots of one stream show: its fates, sequences, consumers and speed in one case. Pure values, of bounded size.

use streamproof_checker::Cell;
use streamproof_model::op::FaultKind;

/// One stream in one case.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scene {
    /// The stream.
    pub stream: String,
    /// The case, from 1.
    pub case: u32,
    /// How long the case took, in µs.
    pub span_us: u64,
    /// The faults, in order.
    pub faults: Vec<Span>,
    /// What became of every publish: how many of each fate.
    pub fates: Vec<(Fate, u64)>,
    /// Violations that are counted and not named, so that their messages may stand among those that are rightly gone.
    pub unnamed: u64,
    /// Some of these publishes.
    pub dots: Points<Dot>,
    /// Sequences that were acked: when, and which.
    pub acked: Points<(u64, u64)>,
    /// First and last sequence, as the server told them.
    pub states: Points<State>,
    /// Violations that have a sequence: when, which sequence, and what.
    pub broken: Points<(u64, u64, String)>,
    /// Its consumers.
    pub lanes: Vec<Lane>,
    /// Consumers that are not shown.
    pub more_lanes: usize,
    /// Acks and deliveries, by time.
    pub flow: Flow,
    /// How old what was acked was at one fault, and what of it was lost.
    pub ages: Option<Ages>,
    /// What differs between the configuration before and after a fault.
    pub changes: Vec<Change>,
}

/// A fault, in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its number in the case.
    pub number: u32,
    /// Its kind.
    pub kind: FaultKind,
    /// When it began, in µs since the case began.
    pub begin: u64,
    /// When the server was ready again; none: it never was.
    pub end: Option<u64>,
    /// From start to ready, in µs.
    pub ready_us: u64,
    /// The worst that was found after it.
    pub verdict: Cell,
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// Acked, and gone though it must not be.
    Lost,
    /// Something else is wrong with it: altered, back from the dead, stored twice.
    Wrong,
    /// Acked, and there at the last look.
    Kept,
    /// Acked, and rightly gone: by a limit, a delete, a consumer's ack, its time.
    Removed,
    /// The server said that it had it already.
    Duplicate,
    /// Sent after the stream was read for the last time: nobody looked.
    Unread,
    /// No answer, and it is there.
    UnknownThere,
    /// No answer, and it is not there.
    UnknownGone,
    /// The server refused it.
    Refused,
}

impl Fate {
    /// All of them, in the order in which they are drawn.
    pub const ALL: [Fate; 9] = [
        Fate::Lost,
        Fate::Wrong,
        Fate::Kept,
        Fate::Removed,
        Fate::Duplicate,
        Fate::Unread,
        Fate::UnknownThere,
        Fate::UnknownGone,
        Fate::Refused,
    ];

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Fate::Lost => "acked, LOST",
            Fate::Wrong => "acked, WRONG",
            Fate::Kept => "acked, there",
            Fate::Removed => "acked, rightly gone",
            Fate::Duplicate => "known as duplicate",
            Fate::Unread => "after the last look",
            Fate::UnknownThere => "no answer, there",
            Fate::UnknownGone => "no answer, not there",
            Fate::Refused => "refused",
        }
    }

    /// Whether it must not be.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Fate::Lost | Fate::Wrong)
    }
}

/// A publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dot {
    /// When it was sent, in µs since the case began.
    pub at: u64,
    /// What became of it.
    pub fate: Fate,
    /// The sequence that it was acked with.
    pub seq: Option<u64>,
    /// Which message, as publisher and counter.
    pub message: (u16, u32),
}

/// Some of many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Points<T> {
    /// Those that are shown.
    pub shown: Vec<T>,
    /// How many there were.
    pub of: u64,
}

impl<T> Default for Points<T> {
    fn default() -> Self {
        Points { shown: Vec::new(), of: 0 }
    }
}

impl<T> Points<T> {
    /// At most so many, evenly taken, the last one always.
    #[must_use]
    pub fn sample(all: Vec<T>, most: usize) -> Points<T> {
        let of = all.len() as u64;
        if all.len() <= most {
            return Points { shown: all, of };
        }
        let (count, last) = (all.len(), all.len() - 1);
        let mut next = 0;
        let mut taken = 0;
        let shown = all
            .into_iter()
            .enumerate()
            .filter(|(index, _)| {
                let take = *index >= next || *index == last;
                if take {
                    taken += 1;
                    next = taken * count / most;
                }
                take
            })
            .map(|(_, item)| item)
            .collect();
        Points { shown, of }
    }

    /// What is said where not all are shown.
    #[must_use]
    pub fn said(&self, what: &str) -> Option<String> {
        let shown = self.shown.len() as u64;
        (shown < self.of).then(|| {
            format!("{} of {} {what} are drawn", super::words::number(shown), super::words::number(self.of))
        })
    }
}

/// First and last sequence of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// When, in µs since the case began.
    pub at: u64,
    /// The first sequence.
    pub first: u64,
    /// The last sequence.
    pub last: u64,
    /// Right after a recovery.
    pub after: bool,
}

/// One consumer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lane {
    /// Its name.
    pub consumer: String,
    /// First deliveries: when, and which sequence.
    pub delivered: Points<(u64, u64)>,
    /// Later deliveries.
    pub redelivered: Points<(u64, u64)>,
    /// Acks that the server answered.
    pub answered: Points<(u64, u64)>,
    /// The ack floor, as the server told it.
    pub floor: Points<(u64, u64)>,
    /// Violations: when, which sequence, and what.
    pub broken: Points<(u64, u64, String)>,
}

/// How much happened in each of equal times.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flow {
    /// How long each is, in µs.
    pub bin_us: u64,
    /// Publishes that were acked.
    pub acked: Vec<u32>,
    /// Deliveries.
    pub delivered: Vec<u32>,
}

/// How old what was acked was at one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ages {
    /// Which fault, by its number in the case.
    pub fault: u32,
    /// Its kind.
    pub kind: FaultKind,
    /// By age, youngest first.
    pub bins: Vec<AgeBin>,
    /// The youngest that was kept, in µs.
    pub youngest_kept: Option<u64>,
    /// Youngest and oldest that were lost, in µs.
    pub lost: Option<(u64, u64)>,
}

/// Messages of about one age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgeBin {
    /// From this age, in µs…
    pub from_us: u64,
    /// …to below this one.
    pub to_us: u64,
    /// So many were there after the fault.
    pub kept: u64,
    /// So many were not, and must be.
    pub lost: u64,
}

/// A field that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The stream, or `STREAM > CONSUMER`.
    pub target: String,
    /// After which fault.
    pub fault: FaultKind,
    /// The field.
    pub path: String,
    /// As it was.
    pub before: String,
    /// As it is.
    pub after: String,
}

/// What became of one message, or of what was violated first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Life {
    /// Which.
    pub title: String,
    /// The violation.
    pub violation: String,
    /// The case.
    pub case: u32,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// Steps in the middle that are not shown.
    pub hidden: usize,
    /// Lines of the server's log that belong to it.
    pub log: Vec<String>,
    /// How many more lines there are.
    pub more_log: usize,
}

/// One step of a life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When, in µs since the case began.
    pub at: u64,
    /// What kind of step.
    pub mark: Mark,
    /// What happened.
    pub text: String,
}

/// What kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The client did or saw something.
    Plain,
    /// A fault, or a recovery.
    Fault,
    /// It was there.
    Good,
    /// The violation.
    Bad,
}

/// Recoveries of one kind of fault, over the whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The fault.
    pub fault: FaultKind,
    /// Times from start to ready, in µs, shortest first.
    pub ready_us: Points<u64>,
    /// How often the server did not come back.
    pub never: u64,
}

#[cfg(test)]
mod tests {
    use super::Points;

    #[test]
    fn a_sample_is_even_has_the_last_and_says_how_many_there_were() {
        let all: Vec<u64> = (0..1000).collect();
        let some = Points::sample(all.clone(), 10);
        assert_eq!(some.shown, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 999]);
        assert_eq!(some.said("publishes").unwrap(), "11 of 1,000 publishes are drawn");
        assert_eq!(Points::sample(all.clone(), 1000), Points { shown: all, of: 1000 });
    }
}
