//! A recorded case once more, shorter: whether some crash state of it still shows a failure, and the store of that state.

use std::path::Path;
use std::time::Instant;

use streamproof_checker::{Context, Finding};
use streamproof_crashfs::Rules;
use streamproof_crashfs::cuts::timeline;
use streamproof_crashfs::disk::materialise;
use streamproof_server::ServerError;
use streamproof_server::scratch::Builder;

use super::CutError;
use super::recorded::record;
use super::search::{Hunt, hunt};
use super::visit::{Bench, workers};
use crate::nemesis::Arsenal;
use crate::run::Setup;
use crate::workload::Case;

/// Cuts of a recording at most. A short case has fewer.
const CUTS: usize = 1_500;
/// So many operations of the file system before the cut are told.
const TOLD: usize = 14;

/// Servers that states are started on; they serve any number of cases.
#[derive(Debug)]
pub(crate) struct Stand {
    builder: Builder,
    bench: Bench,
}

/// A crash state that shows the failure.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// The failure.
    pub(crate) finding: Finding,
    /// When the power went, in µs of the history.
    pub(crate) cut_us: u64,
    /// The number of operations of the file system before it, and of all that were recorded.
    pub(crate) after: (usize, usize),
    /// Bytes that were written and not durable.
    pub(crate) unsynced_bytes: u64,
    /// The last of them, in a line each.
    pub(crate) operations: Vec<String>,
}

impl Stand {
    pub(crate) fn new(builder: Builder) -> Result<Stand, ServerError> {
        Ok(Stand { bench: Bench::new(&builder, workers())?, builder })
    }

    /// Records `case` below `folder` with its history at `history`, and tries its crash states until one of them has a finding to
    /// which `same` says yes; the store as that cut left it is then at `store`.
    ///
    /// # Errors
    /// [`CutError`].
    pub(crate) fn shows(
        &self,
        setup: &Setup<'_>,
        case: &Case,
        context: &Context,
        (folder, history, store): (&Path, &Path, &Path),
        until: impl Fn() -> Instant,
        same: impl Fn(&Finding) -> bool,
    ) -> Result<Option<Shown>, CutError> {
        let (mut arsenal, began_ns) = (Arsenal::default(), crate::picture::take::now_ns());
        let place = folder.join("mount");
        let recorded = record(setup, case, self.builder.clone(), &mut arsenal, history, began_ns, &place)?;
        let rules = Rules::default();
        let hunting = Hunt {
            setup,
            recorded: &recorded,
            context,
            builder: &self.builder,
            bench: &self.bench,
            rules,
            cuts: CUTS,
            until: until(),
            second: None,
        };
        let has = |findings: &[Finding]| findings.iter().find(|one| same(one)).cloned();
        let catch = hunt(&hunting, None, |verdict| has(&verdict.findings).is_some())?;
        // Without second cuts, the states come in their order.
        let found = catch.verdicts.iter().enumerate().find_map(|(at, one)| Some((at, has(&one.findings)?)));
        let Some((at, finding)) = found else { return Ok(None) };
        let Some(shown) = hunting.states().into_iter().nth(at) else { return Ok(None) };
        if store.exists() {
            std::fs::remove_dir_all(store)?;
        }
        materialise(&recorded.log, &shown.tree(&recorded.log, rules), store)?;
        let all = timeline(&recorded.log);
        let before = shown.cut.ops.min(all.len());
        let told = all.get(before.saturating_sub(TOLD)..before).unwrap_or_default();
        Ok(Some(Shown {
            finding,
            cut_us: recorded.us(shown.cut.at_ns),
            after: (shown.cut.ops, all.len()),
            unsynced_bytes: shown.unsynced_bytes,
            operations: told
                .iter()
                .flat_map(|(number, _, kind, path)| {
                    let line = format!("{:>6}  {kind} {path}", number + 1).trim_end().to_owned();
                    let committed = shown.committed.is_some_and(|commit| commit.ops == number + 1);
                    let commit = committed.then(|| format!("{:>6}  (the journal is committed)", ""));
                    std::iter::once(line).chain(commit)
                })
                .collect(),
        }))
    }
}
