//! The file of states: what was read back from each crash state, so that a later checker can judge it again.

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use streamproof_checker::{Context, Finding, Verdict};
use streamproof_model::op::{Encoder, Event, HistoryError, Reader, Record};

use super::FIRST;
use super::judged::judge;
use super::past::Past;
use super::tally::StateLine;
use crate::judge::JudgeError;

/// States in which nothing is missing are kept up to here: enough for tens of thousands of small ones, and no more than a
/// run's folder can bear.
const KEPT_MAX_BYTES: u64 = 48 << 20;

/// States in which something is missing are kept up to here.
const LOSSY_MAX_BYTES: u64 = 256 << 20;

/// A file of states that grows: one history after the other, each from its cut on.
#[derive(Debug)]
pub(crate) struct StatesFile {
    file: File,
    encoder: Encoder,
    written: u64,
    index: Index,
}

/// What is beside the file: a line for each state, and what those came to that are not in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// Every state.
    pub(crate) states: Vec<StateLine>,
    /// The verdicts over those that are not kept.
    pub(crate) rest: Vec<Verdict>,
}

impl StatesFile {
    /// A new one at `path`.
    pub(crate) fn create(path: &Path) -> io::Result<StatesFile> {
        let mut file = File::create(path)?;
        file.write_all(Encoder::magic())?;
        let index = Index { states: Vec::new(), rest: Vec::new() };
        Ok(StatesFile { file, encoder: Encoder::default(), written: 0, index })
    }

    /// Adds a state.
    pub(crate) fn add(
        &mut self,
        mut line: StateLine,
        records: &[Record],
        verdict: &Verdict,
    ) -> io::Result<()> {
        let most = if verdict.findings.is_empty() { KEPT_MAX_BYTES } else { LOSSY_MAX_BYTES };
        line.kept = self.written < most;
        if line.kept {
            let mut bytes = Vec::new();
            for record in records {
                match record {
                    Record::Invoke { id, at, call } => self.encoder.invoke(*id, *at, call, &mut bytes),
                    Record::Done { id, at, outcome } => self.encoder.done(*id, *at, *outcome, &mut bytes),
                    Record::Event { at, event } => self.encoder.event(*at, event, &mut bytes),
                }
            }
            self.file.write_all(&bytes)?;
            self.written += bytes.len() as u64;
        } else {
            self.index.rest.push(verdict.clone());
        }
        self.index.states.push(line);
        Ok(())
    }

    /// Writes the index to `path`.
    pub(crate) fn finish(self, path: &Path) -> io::Result<()> {
        crate::archive::write_json(path, &self.index)
    }
}

/// Judges the stored states of a recording again.
pub(crate) fn judge_stored(
    history: &Path,
    states: &Path,
    index: &Path,
    context: &Context,
) -> Result<Vec<Verdict>, JudgeError> {
    let wrap = |path: &Path| {
        let path = path.to_owned();
        move |source: HistoryError| JudgeError { path, source }
    };
    let open = |path: &Path| -> Result<Reader<BufReader<File>>, JudgeError> {
        let file = File::open(path).map_err(|error| wrap(path)(error.into()))?;
        Reader::new(BufReader::new(file)).map_err(wrap(path))
    };
    let text = std::fs::read(index).map_err(|error| wrap(index)(error.into()))?;
    let index: Index =
        serde_json::from_slice(&text).map_err(|error| wrap(index)(HistoryError::Io(error.into())))?;
    let past = Past::new(open(history)?);
    let mut verdicts = index.rest;
    let mut kept = index.states.iter().filter(|line| line.kept);
    let mut judged = |state: Vec<Record>| {
        let mut verdict = judge(&past, state, context);
        if let Some(line) = kept.next() {
            line.name_cuts(&mut verdict);
        }
        verdict
    };
    let mut state: Vec<Record> = Vec::new();
    for record in open(states)? {
        // One that was cut a second time has two.
        let begins = matches!(record, Record::Event { event: Event::FaultBegin { fault: FIRST, .. }, .. });
        if begins && !state.is_empty() {
            verdicts.push(judged(std::mem::take(&mut state)));
        }
        state.push(record);
    }
    if !state.is_empty() {
        verdicts.push(judged(state));
    }
    Ok(verdicts)
}

/// Whether a stored state of a recording shows the failure.
pub(crate) fn stored_shows(
    history: &Path,
    states: &Path,
    index: &Path,
    context: &Context,
    same: impl Fn(&Finding) -> bool,
) -> bool {
    let judged = index.is_file().then(|| judge_stored(history, states, index, context));
    judged.is_some_and(|judged| {
        judged.is_ok_and(|all| all.iter().any(|verdict| verdict.findings.iter().any(&same)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power_cut::judged::tests::story;
    use crate::power_cut::tally::FirstCut;
    use streamproof_checker::Cell;

    #[test]
    fn a_stored_state_that_was_cut_twice_is_judged_again_with_both_cuts_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let context = Context::default();
        let (past, once) = story(5, &[], &[7]);
        let (_, twice) = story(5, &[], &[7, 9]);
        let line = |first: Option<FirstCut>| StateLine {
            profile: "ext4".to_owned(),
            depth: 1 + u32::from(first.is_some()),
            ops: 31,
            committed: None,
            cut_us: 2_250_000,
            first,
            lasted_ns: 1,
            unsynced_bytes: 1,
            cell: Cell::Fail,
            lost: 0,
            lost_age_us: None,
            kept: false,
        };
        let told = Past::new(past.clone());
        let mut first = judge(&told, once.clone(), &context);
        first.findings.iter_mut().for_each(|finding| finding.examples.clear());
        let mut history = StatesFile::create(&at("history")).unwrap();
        history.add(line(None), &past, &first).unwrap();
        let mut states = StatesFile::create(&at("states")).unwrap();
        for (records, first) in [
            (&once, None),
            (&twice, Some(FirstCut { ops: 512, cut_us: 1_500_000, committed: None, began_us: 2_000_000 })),
            (&once, None),
        ] {
            states.add(line(first), records, &judge(&told, records.clone(), &context)).unwrap();
        }
        states.finish(&at("index")).unwrap();
        let verdicts = judge_stored(&at("history"), &at("states"), &at("index"), &context).unwrap();
        let said: Vec<bool> = verdicts
            .iter()
            .map(|verdict| {
                let mut examples = verdict.findings.iter().flat_map(|finding| &finding.examples);
                let words = "the power went after operation 512 of the recording, at 1.500 s, and again after \
                             operation 31 of the recovery, 0.250 s after its beginning";
                assert!(!verdict.findings.is_empty());
                examples.any(|example| example.text.contains(words))
            })
            .collect();
        assert_eq!(said, [false, true, false], "{verdicts:?}");
        // A commit that nothing in the recording asked for is told, before one cut and before two.
        let commit = "the file system's journal was committed after operation 30 of the recording, by the clock or for another program's sync";
        for of in [None, Some(FirstCut { ops: 512, cut_us: 1, committed: Some(30), began_us: 1 })] {
            let mut verdict = judge(&told, once.clone(), &context);
            let committed = Some(of.map_or(30, |_| 29));
            StateLine { committed, ..line(of) }.name_cuts(&mut verdict);
            assert!(!verdict.findings.is_empty());
            for finding in &verdict.findings {
                assert!(finding.examples.iter().all(|example| example.text.contains(commit)), "{finding:?}");
                let again = "was committed after operation 29 of the recovery";
                assert!(finding.examples.iter().all(|example| example.text.contains(again) == of.is_some()));
            }
        }
        // One without an example has one, that both are said.
        line(Some(FirstCut { ops: 1, cut_us: 1, committed: None, began_us: 1 })).name_cuts(&mut first);
        assert!(first.findings.iter().all(|finding| finding.examples.len() == 1));
    }
}
