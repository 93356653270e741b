//! Power cuts: the loss window over time with the syncs drawn in, and the map of the file system's operations in which each
//! tested cut has the colour of its verdict.

use std::collections::BTreeMap;

use maud::{Markup, html};
use streamproof_checker::Cell;

use super::{LEFT, RIGHT, Scale, WIDTH, dots, key, n, picture, time_axis};
use crate::report::power::{Cut, FsOpKind, PowerCut};
use crate::report::words;

/// How high the loss window is.
const HEIGHT: f64 = 150.0;
/// How high a file's row is.
const ROW: f64 = 18.0;
/// So many files have a row of their own, those with the most operations.
const FILES_MAX: usize = 24;
/// More cuts than columns are drawn as one mark a column, the worst of them.
const COLUMN: f64 = 1.5;
/// So many bad cuts say what was found.
const NAMED_MAX: usize = 200;

/// Which recording this is, how many of its crash states were tried, and what came of them.
#[must_use]
pub fn summary(power: &PowerCut) -> Markup {
    let of = |cell: Cell| power.cuts.iter().filter(move |cut| cut.verdict == cell);
    let cells = [Cell::Fail, Cell::Unprotected, Cell::Accepted, Cell::Inconclusive, Cell::Pass];
    let states = power.chosen.saturating_sub(power.same);
    // Those after a second cut are not among the marks.
    let worst_drawn = power.cuts.iter().map(|cut| words::rank(cut.verdict)).min().unwrap_or(u8::MAX);
    let undrawn =
        power.recording.as_ref().map(|of| of.worst).filter(|worst| words::rank(*worst) < worst_drawn);
    html! {
        p {
            @match &power.recording {
                Some(recording) => (recording.sentence()),
                None => "One recording of the run; if there were others, they are not drawn.",
            }
        }
        p {
            (words::number(power.cuts.len() as u64)) " of " (words::count(states, "crash state")) " tried, led to by "
            (words::count(power.chosen, "cut"))
            @if power.nested > 0 { "; and " (words::number(power.nested)) " more after a second cut, not drawn" }
            "; " (power.basis.sentence()) "."
        }
        @if let Some(worst) = undrawn.filter(|_| power.nested > 0) {
            p {
                "The worst was found after a second cut: " span class=(format!("badge {}", worst.name())) { (worst.name()) } "."
            }
        }
        ul.plain {
            @for cell in cells {
                @let count = of(cell).count() as u64;
                @if count > 0 {
                    li {
                        span class=(format!("badge {}", cell.name())) { (cell.name()) } " " (words::count(count, "crash state"))
                        ", " (format!("{:.1}", of(cell).map(|cut| cut.share).sum::<f64>() * 100.0)) " % of the recording"
                    }
                }
            }
        }
    }
}

/// The loss window of the recording: at each tested cut, how old the oldest acked message was that was lost; syncs as lines.
#[must_use]
pub fn loss_window(power: &PowerCut) -> Markup {
    let most = power.cuts.iter().filter_map(|cut| cut.oldest_lost_us).max().unwrap_or(0);
    let scale = Scale::time(power.span_us);
    let (top, bottom) = (22.0, 22.0 + HEIGHT);
    let y = Scale { from: 0.0, to: (most.max(1) as f64) * 1.05, low: bottom, high: top };
    let columns = columns(power.syncs.iter().map(|sync| scale.at(sync.at)));
    let inside = html! {
        (time_axis(&scale, top, bottom))
        @for tick in y.ticks(4.0) {
            text.tick x=(n(LEFT - 6.0)) y=(n(y.at(tick) + 3.5)) text-anchor="end" { (words::age(tick)) }
            line.grid x1=(n(LEFT)) x2=(n(WIDTH - RIGHT)) y1=(n(y.at(tick))) y2=(n(y.at(tick))) {}
        }
        text.tick x=(n(LEFT - 6.0)) y="13" text-anchor="end" { "syncs" }
        @if !columns.is_empty() {
            path.c-blue stroke-width="1" d=(columns.iter().map(|x| format!("M{} 4V16", n(*x))).collect::<String>()) {}
        }
        @for cell in [Cell::Pass, Cell::Inconclusive, Cell::Accepted, Cell::Unprotected, Cell::Fail] {
            (dots(colour(cell), power.cuts.iter().filter(|cut| cut.verdict == cell).map(|cut| (scale.at(cut.at), y.at(cut.oldest_lost_us.unwrap_or(0))))))
        }
    };
    // Of this recording alone, and of its first cuts; a server that did not come back was not read from.
    let lost = power.cuts.iter().any(|cut| cut.lost > 0);
    let what = match (lost, most) {
        (_, 1..) => format!("at most {} of acked messages were lost", words::age(most)),
        (true, 0) => "acked messages were lost, how old is not known".to_owned(),
        (false, 0) => "no acked message was found lost".to_owned(),
    };
    let description = format!("at these cuts of this recording {what}");
    html! {
        figure {
            figcaption {
                b { "Loss window by the time of the cut" }
                span.dim { "How old the oldest lost acked message was, at each tested cut; at the bottom: none was found lost. The ticks above are "
                    (words::count(power.syncs.len() as u64, "sync")) "; " (description) "." }
            }
            (picture("Loss window by the time of the cut", &description, bottom + 20.0, &inside))
            (verdict_key())
        }
    }
}

/// The map: what was done to which file, and where it was cut.
#[must_use]
pub fn map(power: &PowerCut) -> Markup {
    // Of each file: how many operations, and the first of them.
    let mut by_file: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for (index, operation) in power.operations.iter().enumerate() {
        by_file.entry(&operation.path).or_insert((0, index)).0 += 1;
    }
    let mut files: Vec<(&str, (u64, usize))> = by_file.into_iter().collect();
    files.sort_by_key(|(path, (count, _))| (std::cmp::Reverse(*count), *path));
    let others: u64 = files.iter().skip(FILES_MAX).map(|(_, (count, _))| count).sum();
    let hidden = files.len().saturating_sub(FILES_MAX);
    files.truncate(FILES_MAX);
    files.sort_by_key(|(_, (_, first))| *first);
    let mut names: Vec<String> = files.iter().map(|(path, _)| (*path).to_owned()).collect();
    if hidden > 0 {
        names.push(format!("{} others", words::number(hidden as u64)));
    }
    let row: BTreeMap<&str, usize> =
        files.iter().enumerate().map(|(index, (path, _))| (*path, index)).collect();
    let x = Scale { from: 0.0, to: power.operations.len().max(1) as f64, low: LEFT, high: WIDTH - RIGHT };
    let top = 30.0;
    let bottom = top + names.len().max(1) as f64 * ROW;
    let place = |index: usize, path: &str| {
        let row = row.get(path).copied().unwrap_or(names.len().saturating_sub(1));
        (x.at(index as u64), top + (row as f64 + 0.5) * ROW)
    };
    let inside = html! {
        text.tick x=(n(LEFT - 6.0)) y="16" text-anchor="end" { "tested cuts" }
        (strip(&power.cuts, &x))
        @for (index, name) in names.iter().enumerate() {
            @let y = top + (index as f64 + 0.5) * ROW;
            text.tick x=(n(LEFT - 6.0)) y=(n(y + 3.5)) text-anchor="end" { title { (name) } (tail(name)) }
            line.grid x1=(n(LEFT)) x2=(n(WIDTH - RIGHT)) y1=(n(y + ROW / 2.0)) y2=(n(y + ROW / 2.0)) {}
        }
        @for kind in FsOpKind::ALL {
            (marks(kind, power.operations.iter().enumerate().filter(|(_, operation)| operation.kind == kind).map(|(index, operation)| place(index, &operation.path))))
        }
        @for tick in x.ticks(6.0) {
            text.tick x=(n(x.at(tick))) y=(n(bottom + 13.0)) text-anchor="middle" { (words::number(tick)) }
        }
    };
    let description = format!(
        "{} on {}, {}",
        words::count(power.operations.len() as u64, "operation"),
        words::count((files.len() + hidden) as u64, "file"),
        words::count(power.cuts.len() as u64, "cut")
    );
    html! {
        figure {
            figcaption {
                b { "Operations of the file system, and where they were cut" }
                span.dim { "From left to right the operations in their order; a cut keeps what is left of it, as far as the file system would have." }
            }
            (picture("Map of the file system's operations", &description, bottom + 20.0, &inside))
            (key(&[("dimmed", "write"), ("blue", "sync (upright)"), ("ok", "create"), ("bad", "remove"), ("orange", "rename"), ("info", "truncate")]))
            (verdict_key())
            @if hidden > 0 {
                p.dim { (words::number(hidden as u64)) " files with the fewest operations share the last row (" (words::number(others)) " operations)." }
            }
        }
    }
}

/// The cuts as a strip: the worst verdict of each column, and what was found for the bad ones.
fn strip(cuts: &[Cut], x: &Scale) -> Markup {
    let mut worst: BTreeMap<u64, &Cut> = BTreeMap::new();
    for cut in cuts {
        let column = (x.at(cut.after) / COLUMN) as u64;
        let known = worst.entry(column).or_insert(cut);
        if words::rank(cut.verdict) < words::rank(known.verdict) {
            *known = cut;
        }
    }
    let bad = |cut: &Cut| matches!(cut.verdict, Cell::Fail | Cell::Unprotected);
    let named: Vec<(&u64, &&Cut)> = worst.iter().filter(|(_, cut)| bad(cut)).take(NAMED_MAX).collect();
    html! {
        @for cell in [Cell::Pass, Cell::Inconclusive, Cell::NotProven, Cell::Accepted, Cell::Unprotected, Cell::Fail] {
            @let path = worst.iter().filter(|(_, cut)| cut.verdict == cell).map(|(column, _)| format!("M{} 6V22", n((*column as f64 + 0.5) * COLUMN))).collect::<String>();
            @if !path.is_empty() { path class=(colour(cell)) stroke-width=(n(COLUMN)) d=(path) {} }
        }
        @for (column, cut) in named {
            rect x=(n(*column as f64 * COLUMN - 1.0)) y="4" width=(n(COLUMN + 2.0)) height="20" fill-opacity="0" {
                title { (format!("cut after operation {}: {}; {} of {} acked messages lost. {}", cut.after, cut.verdict.name(), cut.lost, cut.acked, cut.note)) }
            }
        }
    }
}

fn marks(kind: FsOpKind, points: impl Iterator<Item = (f64, f64)>) -> Markup {
    match kind {
        FsOpKind::Write => dots("c-dim", columns_of(points).into_iter()),
        FsOpKind::Sync => {
            let path: String =
                columns_of(points).into_iter().map(|(x, y)| format!("M{} {}v10", n(x), n(y - 5.0))).collect();
            html! { @if !path.is_empty() { path.c-blue stroke-width="1.5" d=(path) {} } }
        }
        FsOpKind::Create => dots("c-ok", points),
        FsOpKind::Remove => dots("c-bad", points),
        FsOpKind::Rename => dots("c-orange", points),
        FsOpKind::Resize => dots("c-info", points),
    }
}

/// Marks that would cover each other are drawn once: the picture is the same.
fn columns_of(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut seen = std::collections::BTreeSet::new();
    points.filter(|(x, y)| seen.insert(((x * 2.0) as u64, *y as u64))).collect()
}

fn columns(points: impl Iterator<Item = f64>) -> Vec<f64> {
    columns_of(points.map(|x| (x, 0.0))).into_iter().map(|(x, _)| x).collect()
}

/// The end of a path is what tells it.
fn tail(path: &str) -> String {
    const LETTERS: usize = 20;
    let count = path.chars().count();
    if count <= LETTERS {
        path.to_owned()
    } else {
        format!("…{}", path.chars().skip(count - LETTERS + 1).collect::<String>())
    }
}

fn colour(cell: Cell) -> &'static str {
    match cell {
        Cell::Pass => "c-ok",
        Cell::Fail => "c-bad",
        Cell::Unprotected | Cell::Inconclusive => "c-warn",
        Cell::Accepted | Cell::NotProven => "c-info",
    }
}

fn verdict_key() -> Markup {
    key(&[
        ("ok", "cut: pass"),
        ("bad", "cut: fail"),
        ("warn", "cut: unprotected or inconclusive"),
        ("info", "cut: accepted"),
    ])
}
