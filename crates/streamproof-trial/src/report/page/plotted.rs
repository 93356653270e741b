//! The plots: a stream at a time, those first of which the worst was found.

use maud::{Markup, html};
use streamproof_checker::Cell;

use crate::report::plots::{cuts, fate, flow, lanes, recovery as ready, stairs};
use crate::report::{Report, words};

pub(super) fn scenes(report: &Report) -> Markup {
    if report.scenes.is_empty() {
        return html! {};
    }
    let lines = report.lines();
    let worst = |stream: &str| {
        let mine = lines.iter().filter(|line| line.target == stream).map(|line| line.verdict);
        mine.min_by_key(|cell| words::rank(*cell)).unwrap_or(Cell::Pass)
    };
    html! {
        section id="plots" aria-labelledby="plots-title" {
            h2 id="plots-title" { "Stream by stream" }
            p.dim { "Each stream in one case of the run: the one in which the worst of it was found, or else its first." }
            @for (index, scene) in report.scenes.iter().enumerate() {
                @let cell = worst(&scene.stream);
                details.scene open[index == 0] {
                    summary {
                        (scene.stream) " " span class=(format!("badge {}", cell.name())) { (cell.name()) } " "
                        span.dim { "case " (scene.case) }
                    }
                    (fate::plot(scene))
                    (stairs::plot(scene))
                    (lanes::plot(scene))
                    (flow::plot(scene))
                }
            }
            @if report.more_scenes > 0 {
                p.dim { (words::count(report.more_scenes as u64, "more stream")) " without plots: nothing worse was found of them than of these. Their verdicts are in the matrix." }
            }
        }
    }
}

pub(super) fn recovery(report: &Report) -> Markup {
    if report.recoveries.is_empty() {
        return html! {};
    }
    html! {
        section id="recovery" aria-labelledby="recovery-title" {
            h2 id="recovery-title" { "Recovery time" }
            (ready::plot(&report.recoveries))
        }
    }
}

pub(super) fn power_cut(report: &Report) -> Markup {
    html! {
        @if let Some(power) = &report.power_cut {
            section id="power" aria-labelledby="power-title" {
                h2 id="power-title" { "Power cut" }
                (cuts::summary(power))
                (cuts::loss_window(power))
                (cuts::map(power))
            }
        }
    }
}
