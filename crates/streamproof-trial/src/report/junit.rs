//! The report as JUnit XML, for CI: a test case for each stream and fault, one for each control, and one for the run as a whole.
//!
//! A run that ends with a status other than 0 has a failure or an error in it, and no other has. What is *unprotected* or
//! *accepted* is a skipped test case with its reason. Elements and attributes are those of the schema that Jenkins, GitLab and
//! Maven's surefire share.

use std::fmt::Write;

use streamproof_checker::{Cell, Overall};

use super::{Line, Report, words};

/// Draws it.
#[must_use]
pub fn render(report: &Report) -> String {
    let verdict = &report.verdict;
    let cases: Vec<Case> = report.lines().iter().map(case).collect();
    let controls: Vec<Case> = verdict
        .controls
        .iter()
        .map(|control| Case {
            class: format!("controls.{}", control.target),
            name: control.name.clone(),
            end: if control.found {
                End::Passed
            } else {
                let message = format!("not found by exactly {}", control.expect);
                End::Error(message, control.beside.join("\n"))
            },
            output: String::new(),
        })
        .collect();
    let suites = [("restart-check", cases), ("controls", controls), ("run", vec![whole(report)])]
        .map(|(name, cases)| Suite { name, cases });
    let sum = |of: fn(&End) -> bool| suites.iter().map(|suite| suite.count(of)).sum::<usize>();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let seconds = format!("{:.3}", report.took_ms as f64 / 1000.0);
    _ = writeln!(
        text,
        "<testsuites name=\"streamproof\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{seconds}\">",
        suites.iter().map(|suite| suite.cases.len()).sum::<usize>(),
        sum(End::is_failure),
        sum(End::is_error)
    );
    for suite in &suites {
        let time = if suite.name == "run" { seconds.as_str() } else { "0.000" };
        write_suite(&mut text, suite, report, time);
    }
    text.push_str("</testsuites>\n");
    text
}

#[derive(Debug)]
struct Suite {
    name: &'static str,
    cases: Vec<Case>,
}

impl Suite {
    fn count(&self, of: fn(&End) -> bool) -> usize {
        self.cases.iter().filter(|case| of(&case.end)).count()
    }
}

#[derive(Debug)]
struct Case {
    class: String,
    name: String,
    end: End,
    output: String,
}

/// How a test case ended, with a message and its text.
#[derive(Debug)]
enum End {
    Passed,
    Failure(String, String),
    Error(String, String),
    Skipped(String),
}

impl End {
    fn is_failure(&self) -> bool {
        matches!(self, End::Failure(..))
    }

    fn is_error(&self) -> bool {
        matches!(self, End::Error(..))
    }

    fn is_skipped(&self) -> bool {
        matches!(self, End::Skipped(_))
    }
}

fn case(line: &Line<'_>) -> Case {
    let mut details = String::new();
    for finding in &line.findings {
        _ = writeln!(details, "{}: {}", finding.target, words::sentence(finding));
        for example in finding.examples.iter().take(3) {
            _ = writeln!(details, "  {}", words::example(example));
        }
        _ = writeln!(details, "  {}", finding.source);
    }
    let message = format!("{}: {}", line.verdict.name(), line.sentence);
    let (end, output) = match line.verdict {
        Cell::Pass => (End::Passed, line.sentence.clone()),
        Cell::Fail => (End::Failure(message, details), String::new()),
        Cell::Inconclusive => (End::Error(message, details), String::new()),
        Cell::Unprotected | Cell::Accepted | Cell::NotProven => (End::Skipped(message), details),
    };
    Case {
        class: format!("restart-check.{}", line.target),
        name: line.fault.unwrap_or("without any fault").to_owned(),
        end,
        output,
    }
}

/// The run as a whole: it tells what no stream and fault tells.
fn whole(report: &Report) -> Case {
    let verdict = &report.verdict;
    let headline = words::headline(verdict);
    let details = || verdict.inconclusive.join("\n");
    let end = match verdict.verdict {
        Overall::Pass | Overall::Accepted | Overall::Unprotected => End::Passed,
        Overall::Fail => End::Failure(headline.clone(), details()),
        Overall::Inconclusive | Overall::SelfCheckFailed => End::Error(headline.clone(), details()),
    };
    let mut output = format!("{}\n{headline}\nagain: {}\n", report.opening(), report.repeat);
    for note in &verdict.not_proven {
        _ = writeln!(output, "not proven: {}: {}", note.what, note.why);
    }
    Case { class: "restart-check".to_owned(), name: "the run as a whole".to_owned(), end, output }
}

fn write_suite(text: &mut String, suite: &Suite, report: &Report, time: &str) {
    _ = write!(
        text,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{time}\"",
        suite.name,
        suite.cases.len(),
        suite.count(End::is_failure),
        suite.count(End::is_error),
        suite.count(End::is_skipped)
    );
    if let Some(began) = report.began.get(..19) {
        _ = write!(text, " timestamp=\"{}\"", attribute(began));
    }
    text.push_str(">\n");
    let mut properties = vec![("run".to_owned(), report.verdict.run.clone())];
    if !report.is_of_pictures() {
        properties.push(("seed".to_owned(), report.verdict.seed.to_string()));
    }
    for (role, server) in &report.servers {
        properties.push((format!("{role} version"), server.version.clone()));
        if !server.sha256.is_empty() {
            properties.push((format!("{role} sha256"), server.sha256.clone()));
        }
    }
    text.push_str("    <properties>\n");
    for (name, value) in &properties {
        _ = writeln!(text, "      <property name=\"{}\" value=\"{}\"/>", attribute(name), attribute(value));
    }
    text.push_str("    </properties>\n");
    for case in &suite.cases {
        write_case(text, case);
    }
    text.push_str("  </testsuite>\n");
}

fn write_case(text: &mut String, case: &Case) {
    _ = write!(
        text,
        "    <testcase name=\"{}\" classname=\"{}\" time=\"0.000\"",
        attribute(&case.name),
        attribute(&case.class)
    );
    if matches!(case.end, End::Passed) && case.output.is_empty() {
        text.push_str("/>\n");
        return;
    }
    text.push_str(">\n");
    let mut element = |name: &str, kind: &str, message: &str, details: &str| {
        _ = writeln!(
            text,
            "      <{name} message=\"{}\" type=\"{kind}\">{}</{name}>",
            attribute(message),
            escape(details.trim_end())
        );
    };
    match &case.end {
        End::Passed => {}
        End::Failure(message, details) => element("failure", "violation", message, details),
        End::Error(message, details) => element("error", "inconclusive", message, details),
        End::Skipped(message) => _ = writeln!(text, "      <skipped message=\"{}\"/>", attribute(message)),
    }
    if !case.output.is_empty() {
        _ = writeln!(text, "      <system-out>{}</system-out>", escape(case.output.trim_end()));
    }
    text.push_str("    </testcase>\n");
}

/// The text of an element.
fn escape(text: &str) -> String {
    attribute(text).replace("&#10;", "\n")
}

/// XML's own characters as references, line breaks of attributes kept, and what XML 1.0 does not allow as a replacement mark.
fn attribute(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\t' => escaped.push_str("&#9;"),
            '\n' => escaped.push_str("&#10;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
