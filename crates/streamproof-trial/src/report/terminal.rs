//! The report for a terminal: what was tried, the one sentence that matters, a line for each stream and fault, what was found,
//! and last what was not proven.

use streamproof_checker::{Cell, Overall};

use super::{Report, words};
use crate::price;

/// So many findings are explained; the others are in the page.
const EXPLAINED_MAX: usize = 4;

/// Streams with longer names break the columns rather than the line.
const NAME_MAX: usize = 28;

/// A line is not made shorter than this, whatever the terminal says.
const SENTENCE_MIN: usize = 32;

/// How to draw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Columns; lines are broken between words. None: lines are as long as they are.
    pub width: Option<usize>,
    /// With colours.
    pub colour: bool,
}

impl Screen {
    /// For a file or a pipe.
    pub const PLAIN: Screen = Screen { width: None, colour: false };
}

/// Draws it.
#[must_use]
pub fn render(report: &Report, screen: Screen) -> String {
    let mut page = Page { text: String::new(), screen };
    let verdict = &report.verdict;
    page.line(&report.opening());
    page.flow("", 2, &words::headline(verdict), Some(overall(verdict.verdict)));
    page.line("");
    matrix(&mut page, report);
    found(&mut page, report);
    page.line("");
    measured(&mut page, report);
    controls(&mut page, report);
    for reason in &verdict.inconclusive {
        page.flow("", 2, &format!("inconclusive: {reason}"), Some(Paint::Careful));
    }
    let counts = &verdict.counts;
    page.flow(
        "",
        2,
        &format!(
            "{} in {:.1} s{}: {} acked, {} of unknown outcome, {} read back, {} delivered",
            words::count(report.cases.into(), "case"),
            report.took_ms as f64 / 1000.0,
            if report.ended { "" } else { " (cut off)" },
            words::count(counts.acked, "publish"),
            words::number(counts.indeterminate),
            words::count(counts.read_back, "message"),
            words::number(counts.delivered)
        ),
        None,
    );
    for words in report.power_cuts.words() {
        page.flow("", 2, &words, None);
    }
    if let Some((median, most, of)) = report.ready() {
        let text = format!(
            "back after a restart: in {} at the median, in {} at most, {} times",
            words::age(median),
            words::age(most),
            words::number(of)
        );
        page.flow("", 2, &text, None);
    }
    for (role, server) in &report.servers {
        let sha = server.sha256.get(..12).unwrap_or(&server.sha256);
        page.flow(
            "",
            2,
            &format!("{role}: nats-server {} ({}, sha256 {sha}…)", server.version, server.source),
            None,
        );
    }
    page.flow("", 2, &format!("again: {}", report.repeat), None);
    if !report.folder.is_empty() {
        page.flow("", 2, &format!("report: {}/report.html", report.folder), Some(Paint::Strong));
    }
    if report.reproduce.is_some() {
        page.flow(
            "",
            2,
            &format!("how to see it by hand: {}/reproduce.md", report.folder),
            Some(Paint::Strong),
        );
    }
    page.line("");
    if verdict.not_proven.is_empty() {
        page.line("not proven: anything that was not run");
    }
    for note in &verdict.not_proven {
        page.flow("", 2, &format!("not proven: {}: {}", note.what, note.why), None);
    }
    page.text
}

fn matrix(page: &mut Page, report: &Report) {
    let lines = report.lines();
    let verdicts = lines.iter().map(|line| line.verdict.name().len()).max().unwrap_or(0);
    let names = lines.iter().map(|line| line.target.chars().count()).max().unwrap_or(0).min(NAME_MAX);
    let faults = lines.iter().map(|line| line.fault.unwrap_or("no fault").len()).max().unwrap_or(0);
    for line in &lines {
        let word = page.paint(cell(line.verdict), &format!("{:<verdicts$}", line.verdict.name()));
        let target = printable(line.target);
        let place = format!("{target:<names$}  {:<faults$}", line.fault.unwrap_or("no fault"));
        let indent = verdicts + 2 + names.max(line.target.chars().count()) + 2 + faults + 2;
        let head = format!("{word}  {place}  ");
        let rest = line.findings.len().saturating_sub(1);
        let more = if rest > 0 && line.verdict != Cell::Inconclusive {
            format!("; and {rest} more")
        } else {
            String::new()
        };
        page.hang(&head, indent, &format!("{}{more}", line.sentence), None);
    }
}

fn found(page: &mut Page, report: &Report) {
    let groups = report.groups();
    for group in groups.iter().take(EXPLAINED_MAX) {
        let finding = &group.finding;
        page.line("");
        page.flow("", 2, &format!("{}: {}", group.place(), words::sentence(finding)), Some(Paint::Strong));
        page.flow("  ", 4, &format!("must hold: {}", words::meaning(finding.invariant)), None);
        if let Some(example) = finding.examples.first() {
            page.flow("  ", 4, &format!("for example: {}", words::example(example)), None);
        }
        page.flow("  ", 4, &format!("{}: {}", words::blame(finding.blame), finding.source), None);
        if let Some(remedy) = report.remedy(finding) {
            page.flow("  ", 4, &format!("what would protect it: {remedy}"), Some(Paint::Good));
            if let Some(price) = price::beside(remedy) {
                page.flow("  ", 4, &format!("what it costs: {price}"), None);
            }
        }
    }
    if groups.len() > EXPLAINED_MAX {
        page.line("");
        page.line(&format!(
            "and {} more, each with its examples, in the report",
            groups.len() - EXPLAINED_MAX
        ));
    }
    let defects = report.defects();
    if !defects.is_empty() {
        page.line("");
    }
    for (defect, accepted) in defects {
        let accepted = accepted.map_or(String::new(), |reason| format!("; accepted: {reason}"));
        page.flow("", 2, &format!("known defect {}: {}{accepted}", defect.name, defect.issue), None);
    }
}

fn measured(page: &mut Page, report: &Report) {
    for measure in report.verdict.measures.iter().filter(|measure| measure.name == "double-acks-redelivered")
    {
        page.flow("", 2, &format!("measured: {}", words::redelivered(measure)), None);
    }
}

fn controls(page: &mut Page, report: &Report) {
    let controls = &report.verdict.controls;
    let found = controls.iter().filter(|control| control.found).count();
    let all = found == controls.len() && found > 0;
    let each = if all { ", each by exactly its invariant" } else { "" };
    let paint = if all { None } else { Some(Paint::Bad) };
    page.flow("", 2, &format!("controls: {found} of {} found{each}", controls.len()), paint);
    for control in controls.iter().filter(|control| !control.found) {
        let beside = if control.beside.is_empty() {
            String::new()
        } else {
            format!("; {}", control.beside.join(", "))
        };
        let text = format!(
            "{} on {} was not found by exactly {}{beside}",
            control.name, control.target, control.expect
        );
        page.flow("  ", 4, &text, Some(Paint::Bad));
    }
}

/// The colours, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paint {
    Good,
    Bad,
    Careful,
    Info,
    Strong,
}

fn cell(cell: Cell) -> Paint {
    match cell {
        Cell::Pass => Paint::Good,
        Cell::Fail => Paint::Bad,
        Cell::Unprotected | Cell::Inconclusive => Paint::Careful,
        Cell::Accepted | Cell::NotProven => Paint::Info,
    }
}

fn overall(verdict: Overall) -> Paint {
    match verdict {
        Overall::Pass => Paint::Good,
        Overall::Fail | Overall::SelfCheckFailed => Paint::Bad,
        Overall::Unprotected | Overall::Inconclusive => Paint::Careful,
        Overall::Accepted => Paint::Info,
    }
}

#[derive(Debug)]
struct Page {
    text: String,
    screen: Screen,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.screen.colour {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Bad => "1;31",
            Paint::Careful => "33",
            Paint::Info => "36",
            Paint::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A paragraph: it begins with `start`, and goes on at the column `indent`.
    fn flow(&mut self, start: &str, indent: usize, text: &str, paint: Option<Paint>) {
        self.set(start, start.len(), indent, text, paint);
    }

    /// A head of so many columns, and the text beside it.
    fn hang(&mut self, head: &str, columns: usize, text: &str, paint: Option<Paint>) {
        let beside = self.screen.width.is_none_or(|width| columns + SENTENCE_MIN <= width);
        self.set(head, columns, if beside { columns } else { 4 }, text, paint);
    }

    fn set(&mut self, head: &str, columns: usize, indent: usize, text: &str, paint: Option<Paint>) {
        let width = self.screen.width.unwrap_or(usize::MAX);
        let mut lines: Vec<String> = vec![String::new()];
        let mut at = columns;
        for word in printable(text).split(' ').filter(|word| !word.is_empty()) {
            let long = word.chars().count();
            let line = lines.len() - 1;
            let gap = usize::from(!lines[line].is_empty());
            if at + gap + long > width && (at > indent || gap > 0) {
                lines.push(word.to_owned());
                at = indent + long;
            } else {
                if gap > 0 {
                    lines[line].push(' ');
                }
                lines[line].push_str(word);
                at += gap + long;
            }
        }
        self.text.push_str(head);
        for (number, line) in lines.iter().enumerate() {
            if number > 0 {
                // No trailing blanks where nothing fitted beside the head.
                let end = self.text.trim_end_matches(' ').len();
                self.text.truncate(end);
                self.text.push('\n');
                self.text.extend(std::iter::repeat_n(' ', indent));
            }
            let line = match paint {
                Some(paint) => self.paint(paint, line),
                None => line.clone(),
            };
            self.text.push_str(&line);
        }
        self.text.push('\n');
    }
}

/// What a server or a file says must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
