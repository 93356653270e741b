//! What pictures came to, in plain words.

use std::fmt::Write;

use streamproof_checker::{Blame, Cell, FaultVerdict, Finding, Verdict};

use super::proof::Proof;
use crate::report::words::{self, headline};

/// The verdict for a person, many lines; without colours.
#[must_use]
pub fn summary(proof: &Proof, folder: &str) -> String {
    let Proof { verdict, changes, record, .. } = proof;
    let mut text = String::new();
    line(&mut text, &proof.report().opening());
    line(&mut text, &headline(verdict));
    line(&mut text, "");
    for cell in &verdict.faults {
        let why = match cell.verdict {
            Cell::Pass => words::no_loss(cell.bites, cell.tries),
            Cell::Inconclusive | Cell::NotProven => words::no_try(cell.shown()),
            _ => worst(verdict, cell),
        };
        line(&mut text, &format!("{:<13} {} under {}: {why}", cell.verdict.name(), cell.target, cell.fault));
    }
    if !verdict.findings.is_empty() {
        line(&mut text, "");
        for finding in &verdict.findings {
            explain(&mut text, finding, verdict);
        }
        for strike in record.series.iter().flat_map(|series| &series.strikes) {
            for said in &strike.log {
                line(&mut text, &format!("  the server's log: {said}"));
            }
        }
    }
    if !changes.is_empty() {
        line(&mut text, "");
    }
    for change in changes {
        line(
            &mut text,
            &format!(
                "changed, not lost: {}: {} {}, {}",
                change.target, change.count, change.what, change.why
            ),
        );
    }
    line(&mut text, "");
    let found = verdict.controls.iter().filter(|control| control.found).count();
    line(&mut text, &format!("controls: {found} of {} found", verdict.controls.len()));
    for control in verdict.controls.iter().filter(|control| !control.found) {
        line(&mut text, &format!("  {} was not found by exactly {}", control.name, control.expect));
    }
    for reason in &verdict.inconclusive {
        line(&mut text, &format!("inconclusive: {reason}"));
    }
    let streams: usize = {
        let mut names: Vec<&str> = verdict.faults.iter().map(|cell| cell.target.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    };
    line(
        &mut text,
        &format!(
            "{}, {} read back, in {:.1} s",
            with_consumers(streams),
            words::count(verdict.counts.read_back, "message"),
            record.took_ms as f64 / 1000.0
        ),
    );
    line(&mut text, &format!("report: {folder}/report.html"));
    line(&mut text, "");
    for note in &verdict.not_proven {
        line(&mut text, &format!("not proven: {}: {}", note.what, note.why));
    }
    text
}

fn with_consumers(streams: usize) -> String {
    let them = if streams == 1 { "it" } else { "them" };
    format!("{} and every consumer of {them}", words::count(streams as u64, "stream"))
}

/// The finding that made a cell what it is.
fn worst(verdict: &Verdict, cell: &FaultVerdict) -> String {
    let mine = verdict.findings.iter().find(|finding| {
        finding.fault.as_deref() == Some(&cell.fault)
            && finding.verdict == cell.verdict
            && words::stream_of(&finding.target) == cell.target
    });
    mine.map_or_else(|| cell.bite.clone(), words::sentence)
}

fn explain(text: &mut String, finding: &Finding, verdict: &Verdict) {
    let place = words::place(finding, finding.fault.as_deref());
    line(text, &format!("{place}: {}", words::sentence(finding)));
    for example in finding.examples.iter().take(3) {
        line(text, &format!("  {}", words::example(example)));
    }
    match finding.blame {
        Blame::Server => {
            let meaning = words::meaning(finding.invariant);
            line(text, &format!("  the server broke its promise that {meaning}: {}", finding.source));
        }
        Blame::Config => {
            line(text, &format!("  never promised by this configuration: {}", finding.source));
            let stream = words::stream_of(&finding.target);
            let of =
                |cell: &&FaultVerdict| cell.target == stream && Some(&cell.fault) == finding.fault.as_ref();
            if let Some(remedy) = verdict.faults.iter().find(of).and_then(|cell| cell.remedy.as_ref()) {
                line(text, &format!("  what would protect it: {remedy}"));
            }
        }
    }
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_is_no_plural() {
        assert_eq!(with_consumers(1), "1 stream and every consumer of it");
        assert_eq!(with_consumers(2), "2 streams and every consumer of them");
    }
}
