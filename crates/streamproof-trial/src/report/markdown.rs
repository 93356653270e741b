//! The report as Markdown, for a pull request or a job's summary: the verdict, the matrix, what was found, how to see it again.

use std::fmt::Write;

use streamproof_checker::{Cell, Overall};
use streamproof_model::op::FaultKind;

use super::scene::Mark;
use super::{Report, words};
use crate::price;

/// So many findings are told; the page has them all.
const FINDINGS_MAX: usize = 10;
/// So many changes that are no violations are told.
const CHANGES_MAX: usize = 10;
/// So many streams have a row, those first whose verdict is worst.
const ROWS_MAX: usize = 50;

/// Draws it.
#[must_use]
pub fn render(report: &Report) -> String {
    let verdict = &report.verdict;
    let mut text = String::new();
    let mark = match verdict.verdict {
        Overall::Pass => "✅",
        Overall::Accepted => "☑️",
        Overall::Unprotected | Overall::Inconclusive => "⚠️",
        Overall::Fail | Overall::SelfCheckFailed => "❌",
    };
    line(&mut text, &format!("### {mark} restart-check: {}", verdict.verdict.name()));
    line(&mut text, "");
    line(&mut text, &format!("{}. _{}._", escape(&words::headline(verdict)), escape(&report.opening())));
    line(&mut text, "");
    matrix(&mut text, report);
    let groups = report.groups();
    if !groups.is_empty() {
        line(&mut text, "");
        line(&mut text, "**Found**");
        line(&mut text, "");
    }
    for group in groups.iter().take(FINDINGS_MAX) {
        let finding = &group.finding;
        let (place, told) = (escape(&group.place()), escape(&words::sentence(finding)));
        line(&mut text, &format!("- {}: **{place}**: {told}", finding.verdict.name()));
        line(&mut text, &format!("  - {}: {}", words::blame(finding.blame), escape(&finding.source)));
        if let Some(remedy) = report.remedy(finding) {
            line(&mut text, &format!("  - what would protect it: {}", escape(remedy)));
            if let Some(price) = price::beside(remedy) {
                line(&mut text, &format!("  - what it costs: {}", escape(&price)));
            }
        }
    }
    if groups.len() > FINDINGS_MAX {
        line(&mut text, &format!("- and {} more in `verdict.json`", groups.len() - FINDINGS_MAX));
    }
    for (defect, accepted) in report.defects() {
        let reason = accepted.map_or(String::new(), |reason| format!(" Accepted: {}.", escape(reason)));
        let told = format!("- known defect {}: {}.{reason}", escape(defect.name), escape(defect.issue));
        line(&mut text, &told);
    }
    life(&mut text, report);
    line(&mut text, "");
    line(&mut text, "<details><summary>How it was proven, and what was not</summary>");
    line(&mut text, "");
    let found = verdict.controls.iter().filter(|control| control.found).count();
    line(&mut text, &format!("- controls found: {found} of {}", verdict.controls.len()));
    for (role, server) in &report.servers {
        let sha = match server.sha256.as_str() {
            "" => String::new(),
            sha => format!(", sha256 `{}`", code(sha)),
        };
        let (version, source) = (escape(&server.version), escape(&server.source));
        line(&mut text, &format!("- {role}: nats-server {version} ({source}){sha}"));
    }
    let counts = &verdict.counts;
    let restarts = words::count(verdict.restarts_verified, "restart");
    let seconds = report.took_ms as f64 / 1000.0;
    let read_back = words::count(counts.read_back, "message");
    line(
        &mut text,
        &if report.is_of_pictures() {
            format!("- {restarts} verified in {seconds:.1} s; {read_back} read back after them")
        } else {
            let cases = words::count(report.cases.into(), "case");
            let acked = words::count(counts.acked, "publish");
            format!(
                "- {restarts} verified in {cases} and {seconds:.1} s; {acked} acked, {read_back} read back"
            )
        },
    );
    for change in report.changed.iter().take(CHANGES_MAX) {
        line(
            &mut text,
            &format!(
                "- changed, not lost: {}: {} {}, {}",
                escape(&change.target),
                change.count,
                escape(&change.what),
                escape(&change.why)
            ),
        );
    }
    if report.changed.len() > CHANGES_MAX {
        line(
            &mut text,
            &format!("- and {} more changes in `verdict.json`", report.changed.len() - CHANGES_MAX),
        );
    }
    line(&mut text, &format!("- again: `{}`", code(&report.repeat)));
    for reason in &verdict.inconclusive {
        line(&mut text, &format!("- inconclusive: {}", escape(reason)));
    }
    for note in &verdict.not_proven {
        line(&mut text, &format!("- not proven: {}: {}", escape(&note.what), escape(&note.why)));
    }
    line(&mut text, "");
    line(&mut text, "</details>");
    text
}

fn life(text: &mut String, report: &Report) {
    let Some(life) = &report.life else { return };
    line(text, "");
    line(text, &format!("<details><summary>The first of it: {}</summary>", escape(&life.title)));
    line(text, "");
    line(text, "| ms | what happened |");
    line(text, "|---:|---|");
    for step in &life.steps {
        let told = escape(&step.text);
        let told = if step.mark == Mark::Bad { format!("**{told}**") } else { told };
        line(text, &format!("| {:.3} | {told} |", step.at as f64 / 1000.0));
    }
    line(text, "");
    if life.hidden > 0 {
        line(text, &format!("{} steps in the middle are left out.", life.hidden));
        line(text, "");
    }
    line(text, "</details>");
}

fn matrix(text: &mut String, report: &Report) {
    let lines = report.lines();
    let known = FaultKind::ALL.iter().map(|kind| Some(kind.name()));
    let faults: Vec<Option<&str>> = std::iter::once(None)
        .chain(known)
        .filter(|name| lines.iter().any(|line| line.fault == *name))
        .collect();
    if faults.is_empty() {
        return;
    }
    line(
        text,
        &format!(
            "| stream | {} |",
            faults.iter().map(|fault| fault.unwrap_or("no fault")).collect::<Vec<_>>().join(" | ")
        ),
    );
    line(text, &format!("|---|{}", "---|".repeat(faults.len())));
    let mut streams: Vec<&str> = Vec::new();
    for line in &lines {
        if !streams.contains(&line.target) {
            streams.push(line.target);
        }
    }
    for stream in streams.iter().take(ROWS_MAX) {
        let cells = faults.iter().map(|fault| {
            lines
                .iter()
                .find(|line| line.target == *stream && line.fault == *fault)
                .map_or("", |line| word(line.verdict))
        });
        line(text, &format!("| {} | {} |", escape(stream), cells.collect::<Vec<_>>().join(" | ")));
    }
    if streams.len() > ROWS_MAX {
        line(text, "");
        line(
            text,
            &format!(
                "{} more streams are in `verdict.json`, none with a worse verdict.",
                streams.len() - ROWS_MAX
            ),
        );
    }
}

fn word(cell: Cell) -> &'static str {
    match cell {
        Cell::Fail => "**fail**",
        other => other.name(),
    }
}

/// Text in which nothing is markup, on one line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            // A mention or a reference would reach people, or other threads.
            '@' => escaped.push_str("&#64;"),
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// What stands between two backticks.
fn code(text: &str) -> String {
    text.chars().map(|letter| if letter == '`' || letter.is_control() { ' ' } else { letter }).collect()
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    _ = writeln!(text, "{line}");
}
