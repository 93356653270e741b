//! The verdict, in the shape of the `data` of `restart-check --json`.

use serde::{Deserialize, Serialize};
use streamproof_model::op::FaultKind;

/// How many examples a finding carries.
pub const EXAMPLES_MAX: usize = 32;

macro_rules! names {
    ($(#[doc = $type_doc:literal])+ $type:ident { $($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+ }) => {
        $(#[doc = $type_doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $type {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl $type {
            /// All of them, in order.
            pub const ALL: &'static [$type] = &[$($type::$variant,)+];

            /// The name, as it is printed and stored.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($type::$variant => $name,)+ }
            }

            /// The one of that name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

names! {
    /// What must hold. Each is defined where it is decided.
    Invariant {
        /// Acked messages are present.
        M1 = "M1",
        /// What was read stays.
        M2 = "M2",
        /// Nothing is stored that nobody sent.
        M3 = "M3",
        /// A message is stored once.
        M4 = "M4",
        /// Sequences follow the order of acks.
        M5 = "M5",
        /// A sequence is never given twice.
        M6 = "M6",
        /// First and last sequence never fall; what was deleted stays so.
        M7 = "M7",
        /// Limits are respected.
        M8 = "M8",
        /// Messages end with their time to live.
        M9 = "M9",
        /// Duplicates are known after a restart.
        M10 = "M10",
        /// The state agrees with what is stored.
        M11 = "M11",
        /// A batch is stored whole or not at all.
        M12 = "M12",
        /// The same streams and consumers.
        K1 = "K1",
        /// The same configuration.
        K2 = "K2",
        /// The same creation time.
        K3 = "K3",
        /// Applying the files again changes nothing.
        K4 = "K4",
        /// A double-acked message does not come again.
        C1 = "C1",
        /// The ack floor does not fall.
        C3 = "C3",
        /// A consumer is not ahead of its stream.
        C4 = "C4",
        /// What is not acked is delivered.
        C5 = "C5",
        /// The consumer's counts agree with what is stored.
        C6 = "C6",
        /// Deliveries are counted, and bounded.
        C7 = "C7",
        /// Only matching messages, and in order.
        C8 = "C8",
        /// Work queues and interest streams hold what is unacked, and only that.
        C9 = "C9",
        /// A key has its last value.
        V1 = "V1",
        /// A mirror equals its origin.
        X1 = "X1",
        /// The server answers.
        A1 = "A1",
    }
}

names! {
    /// The verdict of a whole run.
    Overall {
        /// Nothing was lost.
        Pass = "pass",
        /// Something was lost that the owner left out of the budget.
        Accepted = "accepted",
        /// Something was lost that was never promised, and the owner has said nothing.
        Unprotected = "unprotected",
        /// Something was lost that must survive.
        Fail = "fail",
        /// The proof could not be given.
        Inconclusive = "inconclusive",
        /// A control was not found: no verdict counts.
        SelfCheckFailed = "self-check-failed",
    }
}

names! {
    /// The verdict of one stream and fault.
    Cell {
        /// No loss found.
        Pass = "pass",
        /// Lost, and the owner's budget leaves this level out.
        Accepted = "accepted",
        /// Lost, never promised, and the owner has said nothing.
        Unprotected = "unprotected",
        /// Lost, though it must survive.
        Fail = "fail",
        /// The fault did not bite.
        Inconclusive = "inconclusive",
        /// It could not be run here.
        NotProven = "not-proven",
    }
}

impl Overall {
    /// The precedence: a control that was not found, before a failure, before inconclusive, before unprotected and accepted,
    /// before pass.
    #[must_use]
    pub fn of(controls: &[ControlResult], failed: bool, inconclusive: bool, findings: &[Finding]) -> Self {
        let worst = |cell: Cell| findings.iter().any(|finding| finding.verdict == cell);
        if controls.iter().any(|control| !control.found) {
            Self::SelfCheckFailed
        } else if failed || worst(Cell::Fail) {
            Self::Fail
        } else if inconclusive {
            Self::Inconclusive
        } else if worst(Cell::Unprotected) {
            Self::Unprotected
        } else if worst(Cell::Accepted) {
            Self::Accepted
        } else {
            Self::Pass
        }
    }
}

impl Cell {
    /// A stream under a fault, from what was found there. A loss is a loss, bite or no bite; without one nothing else is said.
    #[must_use]
    pub fn of<'a>(
        fault: FaultKind,
        stream: &str,
        findings: impl IntoIterator<Item = &'a Finding>,
        bit: bool,
    ) -> Self {
        let found: Vec<Self> = findings
            .into_iter()
            .filter(|finding| finding.fault.as_deref() == Some(fault.name()) && finding.is_of(stream))
            .map(|finding| finding.verdict)
            .collect();
        if found.contains(&Self::Fail) {
            Self::Fail
        } else if !bit {
            Self::Inconclusive
        } else if found.contains(&Self::Unprotected) {
            Self::Unprotected
        } else if found.contains(&Self::Accepted) {
            Self::Accepted
        } else {
            Self::Pass
        }
    }
}

impl Finding {
    /// Whether it is about a stream or one of its consumers.
    #[must_use]
    pub fn is_of(&self, stream: &str) -> bool {
        self.target.strip_prefix(stream).is_some_and(|rest| rest.is_empty() || rest.starts_with(" > "))
    }

    /// What sorts findings: the gravest first.
    #[must_use]
    pub fn gravity(&self) -> (u8, Invariant) {
        let rank = match self.verdict {
            Cell::Fail => 0,
            Cell::Unprotected => 1,
            _ => 2,
        };
        (rank, self.invariant)
    }
}

names! {
    /// Who is to blame for a loss.
    Blame {
        /// The server broke what the configuration promises.
        Server = "server",
        /// The configuration never promised it.
        Config = "config",
    }
}

/// The verdict of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// In one word.
    pub verdict: Overall,
    /// The run's id.
    pub run: String,
    /// The run's seed.
    pub seed: u64,
    /// The server's version.
    pub server: String,
    /// Restarts after which everything was read back and judged.
    pub restarts_verified: u64,
    /// Every stream under every kind of fault.
    pub faults: Vec<FaultVerdict>,
    /// What was found, worst first.
    pub findings: Vec<Finding>,
    /// What was not proven, and why.
    pub not_proven: Vec<NotProven>,
    /// Why the run is inconclusive, if it is.
    pub inconclusive: Vec<String>,
    /// The controls, and whether each was found.
    pub controls: Vec<ControlResult>,
    /// What was measured, and is no violation.
    pub measures: Vec<Measure>,
    /// What was judged.
    pub counts: Counts,
}

/// One stream under one kind of fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultVerdict {
    /// The fault.
    pub fault: String,
    /// The stream.
    pub target: String,
    /// The verdict.
    pub verdict: Cell,
    /// How often it was tried and bit, and what showed it.
    pub bite: String,
    /// How often it was tried.
    pub tries: u64,
    /// How often it bit.
    pub bites: u64,
    /// Whether the configuration on this server promises that acked messages survive it.
    pub promised: bool,
    /// Where the promise, or its absence, is known from.
    pub source: String,
    /// What would protect the stream, where nothing is promised.
    pub remedy: Option<String>,
}

impl FaultVerdict {
    /// Why it is inconclusive, as [`Verdict::inconclusive`] tells it.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("{} under {}: {}", self.target, self.fault, self.bite)
    }

    /// What showed that it bit, or why it did not; without how often.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.bite.split_once(": ").map_or(self.bite.as_str(), |(_, shown)| shown)
    }
}

/// A kind of violation, of one target under one kind of fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What was violated.
    pub invariant: Invariant,
    /// Under which fault; none: without any.
    pub fault: Option<String>,
    /// The stream, or `STREAM > CONSUMER`.
    pub target: String,
    /// Which way: `lost prefix`, `lost middle`, `lost tail`, `lost all`, `altered`, `returned`, …
    pub class: String,
    /// How many; where crash states show it, in the one with the most of them: they are all of the same operations.
    pub count: u64,
    /// In how many crash states it was found; 0 where it was found otherwise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub states: u64,
    /// Whose fault it is.
    pub blame: Blame,
    /// The known defect that it matches.
    pub known: Option<String>,
    /// What this finding makes of its stream's verdict.
    pub verdict: Cell,
    /// Youngest and oldest at the fault, in µs, where an age can be told.
    pub age_us: Option<(u64, u64)>,
    /// The row of the promise table that decided the blame.
    pub source: String,
    /// The first few.
    pub examples: Vec<Example>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Example {
    /// When it was found, in µs since the run began.
    pub at: u64,
    /// The sequence in the stream.
    pub seq: Option<u64>,
    /// The message, as `publisher.counter`.
    pub message: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// Its age at the fault, in µs.
    pub age_us: Option<u64>,
    /// What was expected and what was seen.
    pub text: String,
}

/// Something that was not proven.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NotProven {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// A control, and whether it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlResult {
    /// Its name.
    pub name: String,
    /// What it was done to.
    pub target: String,
    /// The invariant that had to find it.
    pub expect: String,
    /// Whether it did, and nothing else did.
    pub found: bool,
    /// What was found on its stream beside it, or why it could not be looked for.
    #[serde(default)]
    pub beside: Vec<String>,
}

/// The class of what only the owner's budget for redelivery makes a failure.
pub(crate) const OVER_BUDGET: &str = "more came again than the budget allows";

/// Something measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// What: `double-acks-redelivered`, `plain-acks-redelivered`, `dedup-forgotten`, `stored-by-retry`, `ready`.
    pub name: String,
    /// Under which fault.
    pub fault: Option<String>,
    /// The stream, or `STREAM > CONSUMER`.
    pub target: String,
    /// How often; where it was measured on crash states, on the one with the most.
    pub count: u64,
    /// On how many crash states it was measured; 0 where it was measured otherwise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub states: u64,
    /// The largest value, in µs: of redelivered acks the age at the fault, of `ready` the time.
    pub max_us: u64,
}

/// What was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Operations.
    pub operations: u64,
    /// Publishes acknowledged.
    pub acked: u64,
    /// Publishes of unknown outcome.
    pub indeterminate: u64,
    /// Publishes refused.
    pub rejected: u64,
    /// Messages read back.
    pub read_back: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Double acks answered.
    pub double_acked: u64,
    /// Faults.
    pub faults: u64,
}
