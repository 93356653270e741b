//! The track record: defects of nats-server that the general search finds in the version that has them, and not in the one
//! that mends them. Data; the example `track_record` runs it, and docs/track-record.md shows it.

use streamproof_checker::Verdict;
use streamproof_model::op::FaultKind;
use streamproof_model::version::Version;

use crate::budget::DEFAULT;

/// A defect, and two versions to tell it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The defect's name in the table of known defects, and the folder of the project it is found with.
    pub name: &'static str,
    /// A version that has it.
    pub bad: Version,
    /// A version that does not.
    pub good: Version,
    /// What a user sees of it.
    pub seen: &'static str,
    /// The faults of the search.
    pub faults: &'static [FaultKind],
}

/// The rows. A search knows nothing of them: it is the general one, and they only say what it was seen to find.
pub const TABLE: &[Row] = &[
    Row {
        name: "first-seq-emptied",
        bad: Version::new(2, 11, 1),
        good: Version::new(2, 11, 2),
        seen: "a stream with `first_seq` is empty after a plain restart",
        faults: &DEFAULT,
    },
    Row {
        name: "creation-time-changes",
        bad: Version::new(2, 14, 5),
        good: Version::new(2, 14, 6),
        seen: "a stream's creation time changes over restart, update, restart",
        faults: &DEFAULT,
    },
    Row {
        name: "drained-queue-forgets",
        bad: Version::new(2, 11, 10),
        good: Version::new(2, 11, 11),
        seen: "a drained work queue forgets its last sequence at a crash, and its consumer waits for ever",
        faults: &DEFAULT,
    },
    Row {
        name: "consumer-creation-time-changes",
        bad: Version::new(2, 15, 0),
        good: Version::new(2, 15, 1),
        seen: "a consumer's creation time changes over restart, update, restart",
        faults: &DEFAULT,
    },
    Row {
        name: "acks-forgotten",
        bad: Version::new(2, 11, 10),
        good: Version::new(2, 11, 11),
        seen: "a consumer forgets all its acks, if the power goes while its state is written",
        faults: &[FaultKind::PowerCut],
    },
    Row {
        name: "consumer-lost-at-update",
        bad: Version::new(2, 11, 10),
        good: Version::new(2, 11, 11),
        seen: "a consumer is gone, if the power goes while its configuration is changed",
        faults: &[FaultKind::PowerCut],
    },
    Row {
        name: "purge-forgets",
        bad: Version::new(2, 12, 8),
        good: Version::new(2, 14, 0),
        seen: "a stream begins at 1 again, with its consumers ahead of it, if the power goes while it is purged",
        faults: &[FaultKind::PowerCut],
    },
];

impl Row {
    /// Whether a verdict has the row's defect among its findings.
    #[must_use]
    pub fn found(&self, verdict: &Verdict) -> bool {
        self.findings(verdict).next().is_some()
    }

    /// What shows the defect in a verdict, as `M7 last sequence fell`. In the version that mends it nothing has its name, so
    /// there it is told by invariant and class alone.
    pub fn findings(&self, verdict: &Verdict) -> impl Iterator<Item = String> {
        verdict
            .findings
            .iter()
            .filter(|finding| self.shows(finding.invariant, &finding.class))
            .map(|finding| format!("{} {}", finding.invariant.name(), finding.class))
    }

    fn shows(&self, invariant: streamproof_checker::Invariant, class: &str) -> bool {
        let mut defects = streamproof_checker::known::TABLE.iter().filter(|defect| defect.name == self.name);
        defects.any(|defect| defect.is_shown_by(invariant, class))
    }
}
