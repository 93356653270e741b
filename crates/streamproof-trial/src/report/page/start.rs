//! What a reader sees first: the verdict, the matrix, the loss window, the life of the first violating message.

use maud::{Markup, html};
use streamproof_checker::Cell;
use streamproof_model::op::FaultKind;

use super::{anchor, ms};
use crate::report::plots::ages;
use crate::report::scene::Mark;
use crate::report::{Line, Report, words};

pub(super) fn head(report: &Report) -> Markup {
    let verdict = &report.verdict;
    let counts = &verdict.counts;
    html! {
        header {
            p.place { (report.opening()) }
            h1 {
                span class=(format!("badge {}", overall(report))) { (verdict.verdict.name()) }
                " "
                (words::matter(verdict))
            }
            @if verdict.controls.iter().any(|control| !control.found) {
                p.badge.fail { "No verdict below counts: damage done on purpose was not found as it must be." }
            }
            ul.facts {
                li { b { (words::number(verdict.restarts_verified)) } "restarts verified" }
                @if report.is_of_pictures() {
                    li { b { (words::number(counts.read_back)) } "messages read back" }
                    li { b { (format!("{:.1} s", report.took_ms as f64 / 1000.0)) } "from the first picture to the last" @if !report.ended { " (cut off)" } }
                    li { b { (verdict.server) } "nats-server" }
                } @else {
                    li { b { (words::number(counts.acked)) } "publishes acked" }
                    li { b { (words::number(counts.read_back)) } "messages read back" }
                    li { b { (words::number(counts.delivered)) } "deliveries" }
                    li { b { (format!("{:.1} s", report.took_ms as f64 / 1000.0)) } (words::count(report.cases.into(), "case")) @if !report.ended { " (cut off)" } }
                    li { b { (verdict.server) } "nats-server" }
                    li { b { (verdict.seed) } "seed" }
                }
            }
            nav aria-label="Parts of this report" {
                a href="#matrix" { "Matrix" }
                a href="#loss" { "Loss window" }
                @if report.life.is_some() { a href="#life" { "First violation" } }
                @if !verdict.findings.is_empty() { a href="#found" { "What was found" } }
                @if !report.scenes.is_empty() { a href="#plots" { "Plots" } }
                @if report.is_of_pictures() { a href="#pictures" { "Before and after" } a href="#run" { "Server, command" } }
                @else { a href="#run" { "Server, seed, command" } }
                a href="#not-proven" { "Not proven" }
            }
        }
    }
}

/// The class of the badge.
fn overall(report: &Report) -> &'static str {
    use streamproof_checker::Overall;
    match report.verdict.verdict {
        Overall::SelfCheckFailed => "fail",
        other => other.name(),
    }
}

pub(super) fn matrix(report: &Report) -> Markup {
    let lines = report.lines();
    let known = FaultKind::ALL.iter().map(|kind| Some(kind.name()));
    let worst = |fault: Option<&str>| {
        lines.iter().filter(|line| line.fault == fault).map(|line| words::rank(line.verdict)).min()
    };
    let mut faults: Vec<Option<&str>> =
        std::iter::once(None).chain(known).filter(|fault| worst(*fault).is_some()).collect();
    // The worst first, since a phone shows two or three of them; the sort keeps the order of the documentation.
    faults.sort_by_key(|fault| worst(*fault));
    let mut streams: Vec<&str> = Vec::new();
    for line in &lines {
        if !streams.contains(&line.target) {
            streams.push(line.target);
        }
    }
    html! {
        section id="matrix" aria-labelledby="matrix-title" {
            h2 id="matrix-title" { "Every stream under every fault" }
            @if lines.is_empty() { p { "No fault was tried on any stream." } }
            @else {
                div.scroll tabindex="0" role="region" aria-label="Matrix of streams and faults" {
                    table.matrix {
                        thead { tr { th scope="col" { "Stream" } @for fault in &faults { th scope="col" { (fault.unwrap_or("no fault")) } } } }
                        tbody {
                            @for stream in &streams {
                                tr {
                                    th scope="row" title=(stream) { (stream) }
                                    @for fault in &faults {
                                        @match lines.iter().find(|line| line.target == *stream && line.fault == *fault) {
                                            Some(line) => (cell(line, report)),
                                            // Without any fault every stream was looked at, and has no line where nothing was found.
                                            None => td.empty { span { @if fault.is_some() { "not tried" } @else { "nothing found" } } },
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                p.dim { "Worst first. Pass means that no loss was found in so many tries; it never means safe. Unprotected: lost, and never promised by this configuration. Accepted: lost, and the project lives with it." }
            }
        }
    }
}

fn cell(line: &Line<'_>, report: &Report) -> Markup {
    let seen = report
        .verdict
        .faults
        .iter()
        .find(|cell| cell.target == line.target && Some(cell.fault.as_str()) == line.fault);
    let short = match (line.verdict, line.findings.first()) {
        (Cell::Fail | Cell::Unprotected | Cell::Accepted, Some(finding)) => words::short(finding),
        (Cell::Inconclusive, _) => "no try counts".to_owned(),
        _ => seen.map_or(String::new(), |cell| words::count(cell.bites, "try")),
    };
    let told = match seen {
        Some(cell) if line.verdict != Cell::Inconclusive => {
            format!("{}. It bit {}", line.sentence, cell.bite)
        }
        _ => line.sentence.clone(),
    };
    let inside = html! { b { (line.verdict.name()) } span { (short) } };
    html! {
        td class=(line.verdict.name()) title=(told) {
            @if line.findings.is_empty() { div { (inside) } }
            @else { a href=(format!("#{}", anchor(line.target, line.fault))) { (inside) } }
        }
    }
}

pub(super) fn loss_window(report: &Report) -> Markup {
    let lossy = report.verdict.findings.iter().any(words::is_loss);
    let scene = report
        .scenes
        .iter()
        .find(|scene| scene.ages.as_ref().is_some_and(|ages| ages.lost.is_some()))
        .or_else(|| report.scenes.iter().find(|scene| scene.ages.is_some()).filter(|_| !lossy));
    let others = report.verdict.findings.iter().filter(|finding| words::is_loss(finding));
    html! {
        section id="loss" aria-labelledby="loss-title" {
            h2 id="loss-title" { "Loss window" }
            @if let Some((scene, ages)) = scene.and_then(|scene| Some((scene, scene.ages.as_ref()?))) {
                p { (upper(&ages::sentence(scene, ages))) "." }
                (ages::plot(scene, ages))
            } @else if !lossy {
                @if report.is_of_pictures() { p { "No message that was there before was found lost." } }
                @else { p { "No acked message was found lost." } }
            }
            @for measure in report.verdict.measures.iter().filter(|measure| measure.name == "double-acks-redelivered") {
                p { (upper(&words::redelivered(measure))) "." }
            }
            @if lossy {
                p { "All losses of the run:" }
                ul.plain {
                    @for finding in others {
                        li { b { (words::place(finding, finding.fault.as_deref())) } ": " (words::sentence(finding)) }
                    }
                }
            }
        }
    }
}

fn upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

pub(super) fn life(report: &Report) -> Markup {
    let Some(life) = &report.life else { return html! {} };
    html! {
        section id="life" aria-labelledby="life-title" {
            h2 id="life-title" { "The first violation: " (life.title) }
            p.dim { "Case " (life.case) ". Times are since the case began." }
            ol.life {
                @for step in &life.steps {
                    li class=(mark(step.mark)) { time { (ms(step.at)) } span { (step.text) } }
                }
            }
            @if life.hidden > 0 { p.dim { (words::count(life.hidden as u64, "step")) " in the middle are left out; the history has them." } }
            @if !life.log.is_empty() {
                details {
                    summary { "What the server's log says (" (words::count(life.log.len() as u64, "line")) ")" }
                    pre tabindex="0" { @for line in &life.log { (line) "\n" } }
                    @if life.more_log > 0 { p.dim { (words::count(life.more_log as u64, "more line")) " in the log of the case." } }
                }
            }
        }
    }
}

fn mark(mark: Mark) -> &'static str {
    match mark {
        Mark::Plain => "plain",
        Mark::Fault => "fault",
        Mark::Good => "good",
        Mark::Bad => "bad",
    }
}
