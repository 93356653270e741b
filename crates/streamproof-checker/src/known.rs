//! Known defects of nats-server, as data. A finding that matches one is labelled with its name; no invariant is
//! weaker for it.

use crate::rules::{Retention, StreamRules};
use crate::verdict::Invariant;
use crate::version::Version;
use streamproof_model::op::FaultKind;

/// A known defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defect {
    /// Its name, as a project accepts it.
    pub name: &'static str,
    /// What finds it.
    pub invariants: &'static [Invariant],
    /// The class of the finding begins with this.
    pub class: &'static str,
    /// Under which faults; empty for any.
    pub faults: &'static [FaultKind],
    /// Only of streams of this retention.
    pub retention: Option<Retention>,
    /// The first version that has it.
    pub since: Version,
    /// The first version that does not; none while it is open.
    pub mended: Option<Version>,
    /// Where it is reported.
    pub issue: &'static str,
    /// How to see it.
    pub reproduction: &'static str,
}

/// The table. Rows with an issue number are as its thread tells them, and the first versions that have a defect (`since`) are
/// guesses where the thread does not say.
pub const TABLE: &[Defect] = &[
    Defect {
        name: "first-seq-emptied",
        invariants: &[Invariant::M1],
        class: "lost all",
        faults: &[],
        retention: None,
        since: Version::new(2, 11, 0),
        mended: Some(Version::new(2, 11, 2)),
        issue: "nats-server #6753",
        reproduction: "a stream with `first_seq`, some messages, a plain restart: it is empty; seen on 2.11.1, not on 2.11.2",
    },
    Defect {
        name: "creation-time-changes",
        invariants: &[Invariant::K3],
        class: "stream's creation time changed",
        faults: &[],
        retention: None,
        since: Version::new(2, 10, 0),
        mended: Some(Version::new(2, 14, 6)),
        issue: "nats-server #8471",
        reproduction: "restart, `nats stream edit A --description x`, restart: `created` in `nats stream info A --json` is another \
                       time; seen on 2.10.25, 2.11.11, 2.12.1 and 2.14.5, not on 2.14.6",
    },
    Defect {
        name: "consumer-creation-time-changes",
        invariants: &[Invariant::K3],
        class: "consumer's creation time changed",
        faults: &[],
        retention: None,
        since: Version::new(2, 10, 0),
        mended: Some(Version::new(2, 15, 1)),
        issue: "the same as nats-server #8471, for consumers",
        reproduction: "restart, `nats consumer edit A R --description x`, restart: `created` in `nats consumer info A R --json` is \
                       another time; seen on 2.10.25, 2.11.11, 2.12.1, 2.14.6 and 2.15.0, not on 2.15.1",
    },
    Defect {
        name: "drained-queue-forgets",
        invariants: &[Invariant::M7, Invariant::M6, Invariant::C4, Invariant::C5],
        class: "",
        faults: &[FaultKind::Kill, FaultKind::KillAfterAck, FaultKind::IndexLost, FaultKind::IndexStale],
        retention: Some(Retention::WorkQueue),
        since: Version::new(2, 10, 0),
        mended: Some(Version::new(2, 11, 11)),
        issue: "nats-server #7384",
        reproduction: "drain a work queue to empty, SIGKILL: last_seq is 0, and its consumer waits for ever",
    },
    Defect {
        name: "evicted-returns",
        invariants: &[Invariant::M7],
        class: "returned, evicted",
        faults: CRASHES,
        retention: None,
        since: Version::new(2, 10, 0),
        mended: None,
        issue: "not reported yet; filestore.go:removeMsgFromBlock writes no tombstone for what a limit removes",
        reproduction: EVICTED,
    },
    Defect {
        name: "evicted-returns",
        invariants: &[Invariant::M7],
        class: "first sequence fell, evicted",
        faults: CRASHES,
        retention: None,
        since: Version::new(2, 10, 0),
        mended: None,
        issue: "not reported yet; filestore.go:removeMsgFromBlock writes no tombstone for what a limit removes",
        reproduction: EVICTED,
    },
    // Matched by no finding alone: what tells these is that the change was going on when the power went, which the search of
    // crash states sees and names.
    Defect {
        name: "stream-lost-at-update",
        invariants: &[],
        class: "stream missing",
        faults: &[FaultKind::PowerCut],
        retention: None,
        since: Version::new(2, 10, 0),
        mended: None,
        issue: "not reported yet; filestore.go:writeStreamMeta writes meta.inf and then meta.sum, and jetstream.go leaves a \
                stream out whose two do not agree",
        reproduction: "what a power cut between the two leaves: keep a copy of `streams/A/meta.sum`, `nats stream edit A \
                       --description x`, stop the server, put the copy back, start: stream A is gone, with all its messages; seen \
                       on 2.10.25, 2.12.1, 2.14.6 and 2.15.1",
    },
    Defect {
        name: "consumer-lost-at-update",
        invariants: &[],
        class: "consumer missing",
        faults: &[FaultKind::PowerCut],
        retention: None,
        since: Version::new(2, 10, 0),
        mended: None,
        issue: "not reported yet; filestore.go:writeConsumerMeta, as for streams",
        reproduction: "as `stream-lost-at-update`, with `streams/A/obs/R/meta.sum` and `nats consumer edit A R --description x`",
    },
];

/// Faults after which the server reads its blocks instead of its index.
const CRASHES: &[FaultKind] = &[
    FaultKind::Kill,
    FaultKind::KillAfterAck,
    FaultKind::IndexLost,
    FaultKind::IndexStale,
    FaultKind::PowerCut,
    FaultKind::PowerCutExt4,
];

const EVICTED: &str = "a KV bucket with history 1: `nats kv put X k old`, `nats kv put X k new`, purge the subject `$KV.X.k` of \
                       stream KV_X, SIGKILL, start: `nats kv get X k` says old. Or a stream with `max_bytes` that overflows, \
                       then some of its newest messages deleted, SIGKILL: its first sequence is lower than before. Seen on \
                       2.11.11, 2.14.6 and 2.15.1, the second on 2.10.25 too";

/// The known defect that a finding matches.
#[must_use]
pub fn known(
    invariant: Invariant,
    class: &str,
    fault: Option<FaultKind>,
    rules: &StreamRules,
    server: Version,
) -> Option<&'static Defect> {
    TABLE.iter().find(|defect| {
        defect.invariants.contains(&invariant)
            && class.starts_with(defect.class)
            && (defect.faults.is_empty() || fault.is_some_and(|fault| defect.faults.contains(&fault)))
            && defect.retention.is_none_or(|retention| retention == rules.retention)
            && server >= defect.since
            && defect.mended.is_none_or(|mended| server < mended)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_is_known_in_its_versions_only() {
        let rules = StreamRules::default();
        let name = |patch| {
            let server = Version::new(2, 11, patch);
            known(Invariant::M1, "lost all", Some(FaultKind::Stop), &rules, server).map(|defect| defect.name)
        };
        assert_eq!((name(1), name(2)), (Some("first-seq-emptied"), None));
    }
}
