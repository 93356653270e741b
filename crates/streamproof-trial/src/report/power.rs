//! What a report shows of power cuts: written by whoever tries crash states ([`crate::archive::Archive::write_power`]), drawn by
//! [`super::plots::cuts`].
//!
//! Times are microseconds since the recording began; operations are numbered as in the log of the file system.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use streamproof_checker::{Cell, Verdict};

use super::words;

/// The power cuts of one recording of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PowerCut {
    /// What each sentence rests on.
    pub basis: Basis,
    /// Which recording this is; none: it was written when that was not kept.
    #[serde(default)]
    pub recording: Option<Recording>,
    /// How long the recording was, in µs.
    pub span_us: u64,
    /// Every sync of the recording, in order.
    pub syncs: Vec<Sync>,
    /// Every operation of the recording, in order; its index is its number.
    pub operations: Vec<FsOp>,
    /// Every crash state that was tried after a first cut, at one of the cuts that lead to it; in the order of time.
    pub cuts: Vec<Cut>,
    /// Cuts that were chosen. Many lead to the same crash state.
    #[serde(alias = "states")]
    pub chosen: u64,
    /// Of these, so many lead to the same state as another.
    pub same: u64,
    /// Crash states that were tried after a second cut, during the recovery from the first: beside those of `cuts`.
    pub nested: u64,
}

impl PowerCut {
    /// Of this recording and what was to be drawn until now, the one that is to be drawn: the one whose worst verdict is the worse;
    /// then the one that lost more by it, then what was older. Of the same the earlier, so that what is drawn does not change with
    /// how many there are.
    #[must_use]
    pub(crate) fn or_worse(mut self, known: Option<PowerCut>) -> PowerCut {
        let Some(mut known) = known else { return self };
        let Some(mine) = &mut self.recording else { return known };
        let Some(its) = &mut known.recording else { return self };
        mine.number = its.of + 1;
        mine.of = its.of + 1;
        its.of += 1;
        if mine.order() < its.order() { self } else { known }
    }
}

/// One of the recordings of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// The how-manieth of the run, from 1.
    pub number: u32,
    /// So many recordings has the run.
    pub of: u32,
    /// Its case, from 1.
    pub case: u32,
    /// The worst that was found in its crash states, those after a second cut among them.
    pub worst: Cell,
    /// With that verdict, at most so many messages were lost in one state.
    pub lost: u64,
    /// The age at the cut of the oldest of all of them, in µs.
    pub oldest_lost_us: Option<u64>,
}

impl Recording {
    /// A recording of a run that has no other yet, by what its crash states came to.
    #[must_use]
    pub fn new(case: u32, states: &[Verdict]) -> Recording {
        let all = states.iter().flat_map(|state| &state.findings);
        let worst =
            all.map(|finding| finding.verdict).min_by_key(|cell| words::rank(*cell)).unwrap_or(Cell::Pass);
        let lost_in = |state: &Verdict| {
            let lost =
                state.findings.iter().filter(|finding| finding.verdict == worst && words::is_loss(finding));
            lost.fold((0, None), |(count, oldest), finding| {
                (count + finding.count, oldest.max(finding.age_us.map(|(_, oldest)| oldest)))
            })
        };
        let (lost, oldest_lost_us) = states
            .iter()
            .map(lost_in)
            .fold((0, None), |most, state| (most.0.max(state.0), most.1.max(state.1)));
        Recording { number: 1, of: 1, case, worst, lost, oldest_lost_us }
    }

    /// Worst first.
    fn order(&self) -> (u8, Reverse<u64>, Reverse<Option<u64>>) {
        (words::rank(self.worst), Reverse(self.lost), Reverse(self.oldest_lost_us))
    }

    /// Which one it is and why, and what becomes of the others.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Recording { number, of, case, worst, .. } = self;
        match (of, worst) {
            (0 | 1, _) => format!("The only recording of the run, case {case}."),
            (_, Cell::Pass) => format!(
                "Recording {number} of {of}, case {case}. Nothing was found in any of them; the others are not drawn."
            ),
            _ => format!(
                "Recording {number} of {of}, case {case}: of them the one in which the worst was found. The others are not drawn."
            ),
        }
    }
}

/// What the verdicts on power cuts rest on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A model of what a file system may keep: its name (`ext4`, `strict`, …).
    Model(String),
    /// A real file system, shut down under the server: which (`ext4`, `xfs`).
    Real(String),
    /// Neither is known.
    #[default]
    Unknown,
}

impl Basis {
    /// In words.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Basis::Model(profile) => format!("by the model of a file system, profile {profile}"),
            Basis::Real(name) => {
                format!("by a real {name}, shut down without its journal under the running server")
            }
            Basis::Unknown => "what it rests on is not recorded".to_owned(),
        }
    }
}

/// A sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// When it was answered.
    pub at: u64,
    /// What was synced: a path below the store.
    pub path: String,
}

/// An operation of the file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsOp {
    /// When.
    pub at: u64,
    /// What kind.
    pub kind: FsOpKind,
    /// On what: a path below the store; of a rename, the new one.
    pub path: String,
}

/// Kinds of operations, as the map draws them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FsOpKind {
    /// Data is written.
    Write,
    /// A file or directory is synced (or written with `O_SYNC`).
    Sync,
    /// A name appears: create, mkdir, link.
    Create,
    /// A name goes: unlink, rmdir.
    Remove,
    /// A rename.
    Rename,
    /// A file is cut or extended: truncate, fallocate.
    Resize,
}

impl FsOpKind {
    /// All of them.
    pub const ALL: [FsOpKind; 6] = [
        FsOpKind::Write,
        FsOpKind::Sync,
        FsOpKind::Create,
        FsOpKind::Remove,
        FsOpKind::Rename,
        FsOpKind::Resize,
    ];

    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FsOpKind::Write => "write",
            FsOpKind::Sync => "sync",
            FsOpKind::Create => "create",
            FsOpKind::Remove => "remove",
            FsOpKind::Rename => "rename",
            FsOpKind::Resize => "truncate",
        }
    }
}

/// A cut that was tested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// When the power went.
    pub at: u64,
    /// After how many operations of the log.
    pub after: u64,
    /// What was found, the worst of all streams.
    pub verdict: Cell,
    /// Messages acked before the cut.
    pub acked: u64,
    /// Of these, lost.
    pub lost: u64,
    /// The age at the cut of the oldest that was lost, in µs.
    pub oldest_lost_us: Option<u64>,
    /// The share of the run that this state stands for, 0 to 1.
    pub share: f64,
    /// What was found, in a phrase; empty for nothing.
    pub note: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamproof_checker::{Blame, Finding, Invariant};

    fn finding(verdict: Cell, class: &str, count: u64, oldest_us: u64) -> Finding {
        Finding {
            invariant: Invariant::M1,
            fault: Some("power-cut".to_owned()),
            target: "ORDERS".to_owned(),
            class: class.to_owned(),
            count,
            states: 1,
            blame: Blame::Server,
            known: None,
            verdict,
            age_us: Some((1, oldest_us)),
            source: String::new(),
            examples: Vec::new(),
        }
    }

    fn state(findings: Vec<Finding>) -> Verdict {
        let run = streamproof_checker::Run { id: "r", seed: 1, ..streamproof_checker::Run::default() };
        Verdict { findings, ..streamproof_checker::merge(run, [], &streamproof_checker::Context::default()) }
    }

    /// Recordings one after the other: the case of the one that is drawn, which it is, and of how many.
    fn drawn(recordings: &[&[Verdict]]) -> (u32, u32, u32) {
        let drawn = (1..).zip(recordings).fold(None, |known, (case, states)| {
            // In most of its cuts something was found, which says nothing of how bad it is.
            let cut = Cut {
                at: 1,
                after: 1,
                verdict: Cell::Accepted,
                acked: 1,
                lost: 0,
                oldest_lost_us: None,
                share: 0.0,
                note: String::new(),
            };
            let cuts = vec![cut; states.len()];
            let recording = Some(Recording::new(case, states));
            Some(PowerCut { recording, cuts, ..PowerCut::default() }.or_worse(known))
        });
        let recording = drawn.unwrap().recording.unwrap();
        (recording.case, recording.number, recording.of)
    }

    #[test]
    fn the_recording_that_is_drawn_has_the_worst_verdict_and_of_those_lost_the_most() {
        let accepted = || state(vec![finding(Cell::Accepted, "lost all", 900, 9_000_000)]);
        let failed = |count, oldest_us| state(vec![finding(Cell::Fail, "lost tail", count, oldest_us)]);
        let pass = || state(Vec::new());
        let many = [accepted(), accepted(), accepted(), pass()];
        let one = [pass(), failed(3, 157_000)];
        assert_eq!(drawn(&[&many, &one]), (2, 2, 2), "a failure before however many that are accepted");
        assert_eq!(drawn(&[&one, &many]), (1, 1, 2));
        assert_eq!(drawn(&[&many, &one, &[failed(4, 12_000)], &[pass()]]), (3, 3, 4), "the most");
        assert_eq!(drawn(&[&one, &[failed(3, 158_000)]]), (2, 2, 2), "then the oldest");
        assert_eq!(drawn(&[&one, &one, &one]), (1, 1, 3), "of the same the first");
        assert_eq!(drawn(&[&[pass()], &[]]), (1, 1, 2));
        // What is accepted besides is no part of what the failure lost.
        let besides = [state(vec![
            finding(Cell::Fail, "lost tail", 2, 1),
            finding(Cell::Accepted, "lost all", 900, 9_000_000),
        ])];
        assert_eq!(drawn(&[&one, &besides]), (1, 1, 2));
    }
}
