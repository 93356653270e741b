//! What a verdict rests on: findings with their examples, configuration that changed, the server, the controls, known defects,
//! and what was not proven.

use maud::{Markup, html};
use streamproof_checker::Finding;

use super::{anchor, ms};
use crate::price;
use crate::report::{Report, words};

/// So many examples stand open; the others fold away.
const EXAMPLES_OPEN: usize = 3;

pub(super) fn findings(report: &Report) -> Markup {
    let lines = report.lines();
    if report.verdict.findings.is_empty() {
        return html! {};
    }
    html! {
        section id="found" aria-labelledby="found-title" {
            h2 id="found-title" { "What was found" }
            @for line in lines.iter().filter(|line| !line.findings.is_empty()) {
                div class=(format!("card is-{}", line.verdict.name())) id=(anchor(line.target, line.fault)) {
                    h3 {
                        span class=(format!("badge {}", line.verdict.name())) { (line.verdict.name()) } " "
                        (line.target) (words::under(line.fault))
                    }
                    @for finding in &line.findings { (one(report, finding)) }
                }
            }
        }
    }
}

fn one(report: &Report, finding: &Finding) -> Markup {
    let (open, folded) = finding.examples.split_at(finding.examples.len().min(EXAMPLES_OPEN));
    html! {
        p {
            @if finding.target.contains(" > ") { b { (finding.target) } ": " }
            (words::sentence(finding)) "."
        }
        p.dim { "Must hold: " (words::meaning(finding.invariant)) ". " (upper(words::blame(finding.blame))) ": " (finding.source) "." }
        @if let Some(remedy) = report.remedy(finding) {
            p.remedy { "What would protect it: " (remedy) }
            @if let Some(price) = price::beside(remedy) { p.dim { "What it costs: " (price) "." } }
        }
        ul.plain {
            @for example in open {
                // Pictures have no clock of their own.
                li { (words::example(example)) @if !report.is_of_pictures() { span.dim { " (at " (ms(example.at)) ")" } } }
            }
        }
        @if !folded.is_empty() {
            details {
                summary { (words::count(folded.len() as u64, "more example"))
                    // Those of crash states are of any of them, and the count is that of the worst.
                    @if finding.states > 0 { ", of " (words::count(finding.states, "crash state")) }
                    @else { " of " (words::number(finding.count)) } }
                ul.plain { @for example in folded { li { (words::example(example)) } } }
            }
        }
    }
}

fn upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

pub(super) fn changes(report: &Report) -> Markup {
    let changes: Vec<_> = report.scenes.iter().flat_map(|scene| &scene.changes).collect();
    html! {
        section id="changes" aria-labelledby="changes-title" {
            h2 id="changes-title" { "Configuration before and after" }
            @if changes.is_empty() {
                p { "No field of any stream or consumer that is plotted above was another one after a fault." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Fields that changed" {
                    table {
                        thead { tr { th scope="col" { "Stream or consumer" } th scope="col" { "After" } th scope="col" { "Field" } th scope="col" { "Was" } th scope="col" { "Is" } } }
                        tbody {
                            @for change in changes {
                                tr {
                                    td { (change.target) } td { (change.fault.name()) } td { code { (change.path) } }
                                    td { code { (change.before) } } td { code { (change.after) } }
                                }
                            }
                        }
                    }
                }
                p.dim { "In the cases that are plotted. Whether a change is a violation is said under what was found." }
            }
        }
    }
}

pub(super) fn run(report: &Report) -> Markup {
    let verdict = &report.verdict;
    let found = verdict.controls.iter().filter(|control| control.found).count();
    // Times to ready have a plot.
    let measures: Vec<_> = verdict.measures.iter().filter(|measure| measure.name != "ready").collect();
    html! {
        section id="run" aria-labelledby="run-title" {
            h2 id="run-title" {
                @if report.is_of_pictures() { "Server, and how to repeat it" } @else { "Server, seed, and how to repeat it" }
            }
            div.scroll tabindex="0" role="region" aria-label="Servers" {
                table {
                    thead { tr { th scope="col" { "Role" } th scope="col" { "nats-server" } th scope="col" { "From" } th scope="col" { "sha256" } } }
                    tbody {
                        @for (role, server) in &report.servers {
                            tr { td { (role) } td { (server.version) } td { (server.source) } td { code { (server.sha256) } @if server.sha256.is_empty() { "not known" } } }
                        }
                    }
                }
            }
            p {
                "Run " code { (verdict.run) } @if !report.began.is_empty() { ", begun " (report.began) }
                @if !report.is_of_pictures() { ", seed " code { (verdict.seed) } } "."
            }
            pre tabindex="0" { (report.repeat) }
            @if report.is_of_pictures() {
                p.dim { "The pictures are in the folder of the run; " code { "cargo xtask report " (verdict.run) } " judges them again." }
                @if !report.said.is_empty() {
                    details {
                        summary { "What the server's log says of its recovery (" (words::count(report.said.len() as u64, "line")) ")" }
                        pre tabindex="0" { @for line in &report.said { (line) "\n" } }
                    }
                }
            } @else {
                p.dim { "The same seed gives the same operations and faults; what is in flight when a fault strikes differs from run to run." }
            }
            @if let Some(text) = &report.reproduce {
                details { summary { "By hand, in the fewest steps (reproduce.md)" } pre tabindex="0" { (text) } }
            }
            h3 { "Controls: " (found) " of " (verdict.controls.len()) " found" }
            p.dim { "Damage done on purpose in streams of streamproof's own. Each must be found, by exactly its invariant, or no verdict counts." }
            ul.plain {
                @for control in &verdict.controls {
                    li {
                        @if control.found { span.badge.pass { "found" } } @else { span.badge.fail { "not found" } }
                        " " (control.name) " on " (control.target) ", by " (control.expect)
                        @if !control.beside.is_empty() { "; " (control.beside.join(", ")) }
                    }
                }
            }
            @if !measures.is_empty() {
                h3 { "Measured" }
                div.scroll tabindex="0" role="region" aria-label="Measures" {
                    table {
                        thead { tr { th scope="col" { "What" } th scope="col" { "Of" } th scope="col" { "Under" } th scope="col" { "How often" } th scope="col" { "At most" } } }
                        tbody {
                            @for measure in measures {
                                tr {
                                    td { (measure.name.replace('-', " ")) } td { (measure.target) } td { (measure.fault.as_deref().unwrap_or_default()) }
                                    td { (words::number(measure.count)) @if measure.states > 0 { " " (words::in_states(measure.states, measure.count)) } } td { @if measure.max_us > 0 { (words::age(measure.max_us)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn defects(report: &Report) -> Markup {
    let defects = report.defects();
    let unused: Vec<_> = report
        .accept
        .iter()
        .filter(|accept| !defects.iter().any(|(defect, _)| defect.name == accept.name))
        .collect();
    html! {
        section id="defects" aria-labelledby="defects-title" {
            h2 id="defects-title" { "Known defects, and what the project accepts" }
            @if defects.is_empty() { p { "No known defect of nats-server was met." } }
            @for (defect, accepted) in &defects {
                h3 { (defect.name) " (" (defect.issue) ")" }
                p { "By hand, with the nats CLI:" }
                pre { (defect.reproduction.trim_matches('\n')) }
                @match accepted {
                    Some(reason) => p { span.badge.accepted { "accepted" } " " (reason) },
                    None => p.dim { "Not accepted by this project." },
                }
            }
            @for accept in unused {
                p.dim { "Accepted and not met in this run: " (accept.name) " (" (accept.reason) ")." }
            }
        }
    }
}

pub(super) fn not_proven(report: &Report) -> Markup {
    let verdict = &report.verdict;
    html! {
        section id="not-proven" aria-labelledby="not-proven-title" {
            h2 id="not-proven-title" { "What was not proven" }
            @if !verdict.inconclusive.is_empty() {
                p { b { "Inconclusive:" } }
                ul.plain { @for reason in &verdict.inconclusive { li { (reason) } } }
            }
            ul.plain {
                @if verdict.not_proven.is_empty() { li { "Anything that was not run." } }
                @for note in &verdict.not_proven { li { b { (note.what) } ": " (note.why) } }
            }
        }
    }
}
