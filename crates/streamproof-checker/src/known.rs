//! Known defects of nats-server, as data. A finding that matches one is labelled with its name; no invariant is
//! weaker for it.

mod table;

pub use table::TABLE;

use crate::rules::{Retention, StreamRules};
use crate::verdict::Invariant;
use crate::version::Version;
use streamproof_model::op::FaultKind;

/// A known defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defect {
    /// Its name, as a project accepts it.
    pub name: &'static str,
    /// What a user sees of it.
    pub seen: &'static str,
    /// What finds it: an invariant, and what the class of the finding begins with.
    pub shows: &'static [(Invariant, &'static str)],
    /// Under which faults; empty for any.
    pub faults: &'static [FaultKind],
    /// Only of streams of this retention.
    pub retention: Option<Retention>,
    /// Only of streams with a `first_seq`.
    pub first_seq: bool,
    /// The versions that have it: from the first, up to the one that mends it; to none while it is open.
    pub versions: &'static [(Version, Option<Version>)],
    /// Where it is reported.
    pub issue: &'static str,
    /// How to see it with the `nats` CLI alone; `start`, `stop` and `kill -9` are of the server, always on the same store.
    pub reproduction: &'static str,
    /// The versions on which that was done by hand, and what came of it.
    pub tried: &'static str,
}

/// Rows that no finding matches alone: what tells them is that the change was going on, or was the last that was acknowledged, as
/// the power went, which the search of crash states sees; it gives them their name.
const NAMED_BY_SEARCH: &[&str] = &["stream-lost-at-update", "consumer-lost-at-update", "removal-undone"];

impl Defect {
    /// Whether a version of the server has it.
    #[must_use]
    pub fn is_in(&self, server: Version) -> bool {
        self.versions
            .iter()
            .any(|(since, mended)| server >= *since && mended.is_none_or(|mended| server < mended))
    }

    /// The version that mends it for those who run this one, if there is one.
    #[must_use]
    pub fn mended_for(&self, server: Version) -> Option<Version> {
        let mut mends =
            self.versions.iter().filter(|(since, _)| server >= *since).filter_map(|(_, mended)| *mended);
        mends.find(|mended| server < *mended)
    }

    /// Whether a finding of this invariant and class shows it, whatever the version.
    #[must_use]
    pub fn is_shown_by(&self, invariant: Invariant, class: &str) -> bool {
        self.shows.iter().any(|(shows, begins)| *shows == invariant && class.starts_with(begins))
    }
}

/// The known defect that a finding matches.
#[must_use]
pub fn known(
    invariant: Invariant,
    class: &str,
    fault: Option<FaultKind>,
    rules: &StreamRules,
    server: Version,
) -> Option<&'static Defect> {
    TABLE.iter().filter(|defect| !NAMED_BY_SEARCH.contains(&defect.name)).find(|defect| {
        defect.is_shown_by(invariant, class)
            && (defect.faults.is_empty() || fault.is_some_and(|fault| defect.faults.contains(&fault)))
            && defect.retention.is_none_or(|retention| retention == rules.retention)
            && (rules.first_seq || !defect.first_seq)
            && defect.is_in(server)
    })
}

/// The table as a page of documentation: docs/known-defects.md is this, to the letter.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(PAGE_HEAD);
    for defect in TABLE {
        let versions: Vec<String> = defect
            .versions
            .iter()
            .map(|(since, mended)| match mended {
                Some(mended) => format!("{since} to before {mended}"),
                None => format!("{since} on; not mended yet"),
            })
            .collect();
        let shows: Vec<String> = defect
            .shows
            .iter()
            .map(|(invariant, class)| format!("{} \"{class}\"", invariant.name()))
            .collect();
        let faults: Vec<&str> = defect.faults.iter().map(|fault| fault.name()).collect();
        let under = if faults.is_empty() { "any fault".to_owned() } else { faults.join(", ") };
        let only = if defect.retention == Some(Retention::WorkQueue) { ", of work queues" } else { "" };
        let Defect { name, seen, issue, reproduction, tried, .. } = defect;
        page += &format!(
            "\n## {name}\n\n{}{}.\n\n- versions: {}\n- found by: {}{only}, under {under}\n- reported: {issue}\n- tried by hand: {tried}\n\n```\n{}\n```\n",
            seen[..1].to_uppercase(),
            &seen[1..],
            versions.join(", "),
            shows.join(", "),
            reproduction.trim_matches('\n'),
        );
    }
    page
}

const PAGE_HEAD: &str = "# Known defects of nats-server

Findings of `restart-check` that match a row are labelled with its name. No invariant is weaker for it: a row changes what a
finding is called, not that it is found. A project that has to live with one says so in `streamproof.toml`, with its reason:

```toml
accept = [{ name = \"evicted-returns\", reason = \"our limits are never reached\" }]
```

Each reproduction needs the `nats` CLI only, and two of them `strace`, to end the server at the right moment. `start`, `stop`
(SIGTERM) and `kill -9` are of the server, always on the same store.

This page is printed by `cargo run -p streamproof-checker --example known_defects` from
`crates/streamproof-checker/src/known/table.rs`; a test holds the two equal.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_is_known_in_its_versions_only() {
        let rules = StreamRules { first_seq: true, ..StreamRules::default() };
        let name = |patch| {
            let server = Version::new(2, 11, patch);
            known(Invariant::M1, "lost all", Some(FaultKind::Stop), &rules, server).map(|defect| defect.name)
        };
        assert_eq!((name(1), name(2)), (Some("first-seq-emptied"), None));
        let plain = StreamRules::default();
        let other = known(Invariant::M1, "lost all", Some(FaultKind::Stop), &plain, Version::new(2, 11, 1));
        assert_eq!(other, None, "a stream without a first_seq was emptied by something else");
    }
}
