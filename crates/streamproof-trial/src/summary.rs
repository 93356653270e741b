//! The verdict in plain words: a line a stream and fault, what matters first, and last what was not proven.

use std::fmt::Write;

use streamproof_checker::{Blame, Cell, FaultVerdict, Finding, Invariant, Overall, Verdict};

use crate::archive::Record;

/// What every summary of a run on a scratch server begins with.
pub const SCRATCH: &str = "scratch server; your data is untouched";

/// The verdict for a person, many lines; without colours.
#[must_use]
pub fn summary(verdict: &Verdict, record: &Record, folder: &str) -> String {
    let mut text = format!("{SCRATCH}\n");
    line(&mut text, &headline(verdict));
    line(&mut text, "");
    for cell in &verdict.faults {
        line(&mut text, &cell_line(verdict, cell));
    }
    let without: Vec<&Finding> = verdict.findings.iter().filter(|finding| finding.fault.is_none()).collect();
    for finding in without {
        line(
            &mut text,
            &format!(
                "{:<13} {} without any fault: {}",
                finding.verdict.name(),
                finding.target,
                what(finding)
            ),
        );
    }
    if !verdict.findings.is_empty() {
        line(&mut text, "");
        for finding in &verdict.findings {
            explain(&mut text, finding, verdict);
        }
    }
    for measure in verdict.measures.iter().filter(|measure| measure.name == "double-acks-redelivered") {
        line(
            &mut text,
            &format!(
                "measured: {} answered acks of {}{} came again, the oldest {} before the fault; the server writes them after \
                 its answer",
                measure.count,
                measure.target,
                under(measure.fault.as_deref()),
                age(measure.max_us)
            ),
        );
    }
    line(&mut text, "");
    let found = verdict.controls.iter().filter(|control| control.found).count();
    line(
        &mut text,
        &format!(
            "controls: {found} of {} found{}",
            verdict.controls.len(),
            if found == verdict.controls.len() && found > 0 { ", each by exactly its invariant" } else { "" }
        ),
    );
    for control in verdict.controls.iter().filter(|control| !control.found) {
        let beside = if control.beside.is_empty() {
            String::new()
        } else {
            format!("; {}", control.beside.join(", "))
        };
        line(
            &mut text,
            &format!(
                "  {} on {} was not found by exactly {}{beside}",
                control.name, control.target, control.expect
            ),
        );
    }
    for reason in &verdict.inconclusive {
        line(&mut text, &format!("inconclusive: {reason}"));
    }
    let counts = &verdict.counts;
    line(
        &mut text,
        &format!(
            "{} cases in {:.1} s: {} publishes acked, {} of unknown outcome, {} messages read back, {} delivered",
            record.cases,
            record.took_ms as f64 / 1000.0,
            counts.acked,
            counts.indeterminate,
            counts.read_back,
            counts.delivered
        ),
    );
    line(&mut text, &format!("seed {}; history and verdict in {folder}", record.seed));
    line(&mut text, "");
    if verdict.not_proven.is_empty() {
        line(&mut text, "not proven: anything that was not run");
    }
    for note in &verdict.not_proven {
        line(&mut text, &format!("not proven: {}: {}", note.what, note.why));
    }
    text
}

/// The one sentence that matters most.
#[must_use]
pub fn headline(verdict: &Verdict) -> String {
    let restarts = verdict.restarts_verified;
    let server = &verdict.server;
    let of = |cell: Cell| verdict.findings.iter().filter(move |finding| finding.verdict == cell);
    match verdict.verdict {
        Overall::Pass => format!("pass: no loss found in {restarts} restarts of nats-server {server}"),
        Overall::Accepted => format!(
            "accepted: what was lost in {restarts} restarts of nats-server {server}, the project accepts ({} kinds)",
            of(Cell::Accepted).count()
        ),
        Overall::Unprotected => format!(
            "unprotected: lost, and never promised by this configuration ({} kinds, in {restarts} restarts of nats-server {server})",
            of(Cell::Unprotected).count()
        ),
        Overall::Fail => match of(Cell::Fail).next() {
            Some(worst) => format!(
                "FAIL: {}{}: {} (nats-server {server}, {restarts} restarts)",
                worst.target,
                under(worst.fault.as_deref()),
                what(worst)
            ),
            None => {
                format!("FAIL: --strict, and something is unprotected or not proven (nats-server {server})")
            }
        },
        Overall::Inconclusive => {
            format!(
                "inconclusive: {}",
                verdict.inconclusive.first().map_or("no proof was given", String::as_str)
            )
        }
        Overall::SelfCheckFailed => {
            "SELF-CHECK FAILED: damage done on purpose was not found as it must be; nothing below counts"
                .to_owned()
        }
    }
}

fn cell_line(verdict: &Verdict, cell: &FaultVerdict) -> String {
    let mine = verdict.findings.iter().find(|finding| {
        finding.fault.as_deref() == Some(&cell.fault)
            && finding.verdict == cell.verdict
            && (finding.target == cell.target || finding.target.starts_with(&format!("{} > ", cell.target)))
    });
    let why = match (cell.verdict, mine) {
        (Cell::Pass, _) => format!("no loss found; it bit {}", cell.bite),
        (Cell::Inconclusive, _) => format!("it did not bite: {}", cell.bite),
        (_, Some(finding)) => what(finding),
        (_, None) => cell.bite.clone(),
    };
    format!("{:<13} {} under {}: {why}", cell.verdict.name(), cell.target, cell.fault)
}

/// A finding in one phrase.
fn what(finding: &Finding) -> String {
    let ages = finding.age_us.map_or(String::new(), |(least, most)| {
        format!(", acked or sent {} to {} before the fault", age(least), age(most))
    });
    let known = finding.known.as_ref().map_or(String::new(), |name| format!(", known as {name}"));
    format!("{} {} ({} times{ages}{known})", finding.invariant.name(), finding.class, finding.count)
}

fn explain(text: &mut String, finding: &Finding, verdict: &Verdict) {
    line(
        text,
        &format!(
            "{}{}: {}, {}",
            finding.target,
            under(finding.fault.as_deref()),
            finding.class,
            meaning(finding.invariant)
        ),
    );
    for example in finding.examples.iter().take(3) {
        let mut words = Vec::new();
        if let Some(seq) = example.seq {
            words.push(format!("sequence {seq}"));
        }
        if let Some(message) = &example.message {
            words.push(format!("message {message}"));
        }
        if let Some(subject) = &example.subject {
            words.push(format!("on {subject}"));
        }
        line(
            text,
            &format!("  {}{}{}", words.join(" "), if words.is_empty() { "" } else { ": " }, example.text),
        );
    }
    match finding.blame {
        Blame::Server => line(text, &format!("  the server broke its promise: {}", finding.source)),
        Blame::Config => {
            line(text, &format!("  never promised by this configuration: {}", finding.source));
            let stream = finding.target.split(" > ").next().unwrap_or_default();
            let remedy = verdict
                .faults
                .iter()
                .find(|cell| cell.target == stream && Some(&cell.fault) == finding.fault.as_ref())
                .and_then(|cell| cell.remedy.as_ref());
            if let Some(remedy) = remedy {
                line(text, &format!("  what would protect it: {remedy}"));
            }
        }
    }
}

/// What an invariant says, in a few words.
fn meaning(invariant: Invariant) -> &'static str {
    use Invariant as I;
    match invariant {
        I::M1 => "though what was acked must be there (M1)",
        I::M2 => "though what was read must stay (M2)",
        I::M3 => "though nothing may be stored that nobody sent (M3)",
        I::M4 => "though a message is stored once (M4)",
        I::M5 => "though sequences follow the order of acks (M5)",
        I::M6 => "though a sequence is never given twice (M6)",
        I::M7 => "though first and last sequence never fall, and what was deleted stays so (M7)",
        I::M8 => "though limits are respected (M8)",
        I::M9 => "though messages end with their time to live, and not before (M9)",
        I::M10 => "though duplicates are known after a restart (M10)",
        I::M11 => "though the stream's state agrees with what it holds (M11)",
        I::M12 => "though a batch is stored whole or not at all (M12)",
        I::K1 => "though streams and consumers must be the same (K1)",
        I::K2 => "though the configuration must be the same (K2)",
        I::K3 => "though the time of creation must be the same (K3)",
        I::K4 => "though applying the files again must change nothing (K4)",
        I::C1 => "though a message whose ack was answered must not come again (C1)",
        I::C3 => "though the ack floor must not fall (C3)",
        I::C4 => "though a consumer is never ahead of its stream (C4)",
        I::C5 => "though what is not acked must be delivered (C5)",
        I::C6 => "though the consumer's counts agree with the stream (C6)",
        I::C7 => "though deliveries are counted, and bounded (C7)",
        I::C8 => "though only matching messages are delivered, in order (C8)",
        I::C9 => "though a work queue or interest stream holds what is unacked, and only that (C9)",
        I::V1 => "though a key has its last value (V1)",
        I::X1 => "though a mirror equals its origin (X1)",
        I::A1 => "though the server must come back and answer (A1)",
    }
}

fn under(fault: Option<&str>) -> String {
    fault.map_or(String::new(), |fault| format!(" under {fault}"))
}

fn age(us: u64) -> String {
    if us < 10_000_000 { format!("{} ms", us / 1000) } else { format!("{:.1} s", us as f64 / 1e6) }
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    _ = writeln!(text, "{line}");
}
