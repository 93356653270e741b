//! What all plots share: a frame with a time axis, fault bands, dots and marks, as inline SVG.
//!
//! A plot is a pure function of its data. Text is escaped by the template; numbers are rounded to a tenth of a unit.

pub mod ages;
pub mod cuts;
pub mod fate;
pub mod flow;
pub mod lanes;
pub mod recovery;
pub mod stairs;

use maud::{Markup, html};
use streamproof_checker::Cell;

use super::scene::Span;
use super::words;

/// How wide every plot is, in units.
pub(crate) const WIDTH: f64 = 760.0;
/// Room for labels on the left.
pub(crate) const LEFT: f64 = 132.0;
/// Room on the right.
pub(crate) const RIGHT: f64 = 14.0;
/// How high a row of labels of faults is.
const LABEL: f64 = 13.0;
/// About how wide a letter is.
const LETTER: f64 = 6.1;

/// A picture with a name for who cannot see it.
pub(crate) fn picture(name: &str, description: &str, height: f64, inside: &Markup) -> Markup {
    sized("", WIDTH, name, description, height, inside)
}

/// A picture of this width, which a phone shows whole.
pub(crate) fn small_picture(
    width: f64,
    name: &str,
    description: &str,
    height: f64,
    inside: &Markup,
) -> Markup {
    sized("small", width, name, description, height, inside)
}

fn sized(class: &str, width: f64, name: &str, description: &str, height: f64, inside: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(name) {
            svg class=[(!class.is_empty()).then_some(class)] viewBox=(format!("0 0 {} {}", n(width), n(height)))
                role="img" aria-label=(format!("{name}. {description}")) { (inside) }
        }
    }
}

/// A number with a tenth at most.
pub(crate) fn n(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A linear scale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Scale {
    /// Time, from left to right.
    pub(crate) fn time(span_us: u64) -> Scale {
        Scale { from: 0.0, to: span_us.max(1) as f64, low: LEFT, high: WIDTH - RIGHT }
    }

    /// Sequences, from bottom to top.
    pub(crate) fn rising(least: u64, most: u64, top: f64, bottom: f64) -> Scale {
        let room = ((most - least) as f64 * 0.04).max(0.5);
        Scale { from: least as f64 - room, to: most as f64 + room, low: bottom, high: top }
    }

    pub(crate) fn at(&self, value: u64) -> f64 {
        let share = (value as f64 - self.from) / (self.to - self.from);
        self.low + share * (self.high - self.low)
    }

    /// Round values within it, about so many.
    pub(crate) fn ticks(&self, about: f64) -> Vec<u64> {
        let raw = ((self.to - self.from) / about).max(1.0);
        let ten = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|times| times * ten)
            .find(|step| *step >= raw)
            .unwrap_or(raw);
        let mut value = (self.from.max(0.0) / step).ceil() * step;
        let mut ticks = Vec::new();
        while value <= self.to {
            ticks.push(value as u64);
            value += step;
        }
        ticks
    }
}

/// The time axis at the bottom, with grid lines up to the top.
pub(crate) fn time_axis(scale: &Scale, top: f64, bottom: f64) -> Markup {
    html! {
        @for tick in scale.ticks(6.0) {
            @let x = n(scale.at(tick));
            line.grid x1=(x) x2=(x) y1=(n(top)) y2=(n(bottom)) {}
            text.tick x=(x) y=(n(bottom + 13.0)) text-anchor="middle" { (clock(tick)) }
        }
    }
}

/// The axis of sequences or counts on the left.
pub(crate) fn left_axis(scale: &Scale, about: f64) -> Markup {
    html! {
        @for tick in scale.ticks(about) {
            @let y = scale.at(tick);
            line.grid x1=(n(LEFT)) x2=(n(WIDTH - RIGHT)) y1=(n(y)) y2=(n(y)) {}
            text.tick x=(n(LEFT - 6.0)) y=(n(y + 3.5)) text-anchor="end" { (words::number(tick)) }
        }
    }
}

/// A time since the case began.
fn clock(us: u64) -> String {
    match us {
        0 => "0".to_owned(),
        1..10_000_000 => format!("{} ms", words::number(us / 1000)),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// Faults as bands, with their names above in as many rows as they need.
#[derive(Debug)]
pub(crate) struct Bands<'a> {
    placed: Vec<(&'a Span, usize, f64)>,
    rows: usize,
}

impl<'a> Bands<'a> {
    pub(crate) fn new(faults: &'a [Span], scale: &Scale) -> Bands<'a> {
        let mut ends: Vec<f64> = Vec::new();
        let mut placed = Vec::new();
        for fault in faults {
            let width = fault.kind.name().len() as f64 * LETTER;
            let x = scale.at(fault.begin).min(WIDTH - RIGHT - width);
            let row = ends.iter().position(|end| *end <= x).unwrap_or(ends.len());
            if row == ends.len() {
                ends.push(0.0);
            }
            ends[row] = x + width + 6.0;
            placed.push((fault, row, x));
        }
        Bands { placed, rows: ends.len() }
    }

    /// The room that the names need.
    pub(crate) fn top(&self) -> f64 {
        self.rows as f64 * LABEL + 6.0
    }

    pub(crate) fn draw(&self, scale: &Scale, bottom: f64) -> Markup {
        let end = scale.to as u64;
        html! {
            @for (fault, row, x) in &self.placed {
                @let begin = scale.at(fault.begin);
                @let width = (scale.at(fault.end.unwrap_or(end)) - begin).max(1.5);
                @let top = *row as f64 * LABEL;
                @let bad = matches!(fault.verdict, Cell::Fail | Cell::Unprotected);
                g {
                    title { (told(fault)) }
                    rect class=(if bad { "band-bad" } else { "band" }) x=(n(begin)) y=(n(top + 3.0)) width=(n(width)) height=(n(bottom - top - 3.0)) {}
                    text class=[bad.then_some("label-bad")] x=(n(*x)) y=(n(top + 11.0)) { (fault.kind.name()) }
                }
            }
        }
    }
}

fn told(fault: &Span) -> String {
    let ready = match fault.end {
        None => "the server did not come back".to_owned(),
        Some(_) if fault.kind.restarts() => format!("ready again in {}", words::age(fault.ready_us)),
        Some(_) => "the server ran on".to_owned(),
    };
    let found = match fault.verdict {
        Cell::Pass => String::new(),
        verdict => format!("; {}", verdict.name()),
    };
    format!("fault {}: {} at {}; {ready}{found}", fault.number, fault.kind.name(), clock(fault.begin))
}

/// Many dots as one path.
pub(crate) fn dots(class: &str, points: impl Iterator<Item = (f64, f64)>) -> Markup {
    let mut path = String::new();
    for (x, y) in points {
        path.push('M');
        path.push_str(&n(x));
        path.push(' ');
        path.push_str(&n(y));
        path.push_str("h0");
    }
    html! { @if !path.is_empty() { path class=(format!("dots {class}")) d=(path) {} } }
}

/// A line that stays at each value until the next.
pub(crate) fn steps(class: &str, points: impl Iterator<Item = (f64, f64)>, end: f64) -> Markup {
    let mut path = String::new();
    for (x, y) in points {
        if path.is_empty() {
            path = format!("M{} {}", n(x), n(y));
        } else {
            path.push_str(&format!("H{}V{}", n(x), n(y)));
        }
    }
    html! { @if !path.is_empty() { path class=(format!("path {class}")) d=(format!("{path}H{}", n(end))) {} } }
}

/// A cross with what it says.
pub(crate) fn cross(x: f64, y: f64, said: &str) -> Markup {
    html! {
        g {
            title { (said) }
            path class="path c-bad" stroke-width="2" d=(format!("M{} {}l8 8m0 -8l-8 8", n(x - 4.0), n(y - 4.0))) {}
        }
    }
}

/// The key of a plot: a colour and what it stands for.
pub(crate) fn key(entries: &[(&str, &str)]) -> Markup {
    html! {
        ul.key { @for (colour, what) in entries { li { i class=(colour) {} (what) } } }
    }
}

/// What is said where not everything is drawn.
pub(crate) fn sampled(said: &[Option<String>]) -> Markup {
    let said: Vec<&str> = said.iter().flatten().map(String::as_str).collect();
    html! { @if !said.is_empty() { p.dim { "Sampled: " (said.join("; ")) "." } } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamproof_model::op::FaultKind;

    #[test]
    fn ticks_are_round_and_within() {
        let scale = Scale { from: 0.0, to: 1_430_000.0, low: 0.0, high: 1.0 };
        assert_eq!(scale.ticks(6.0), [0, 500_000, 1_000_000]);
        assert_eq!(Scale::rising(7, 9, 0.0, 10.0).ticks(4.0), [7, 8, 9]);
        assert_eq!(Scale::rising(5, 5, 0.0, 10.0).at(5), 5.0);
    }

    #[test]
    fn names_of_faults_do_not_cover_each_other() {
        let span = |begin| Span {
            number: 1,
            kind: FaultKind::KillAfterAck,
            begin,
            end: Some(begin + 10),
            ready_us: 5,
            verdict: Cell::Pass,
        };
        let faults = [span(0), span(10), span(900)];
        let bands = Bands::new(&faults, &Scale::time(1000));
        let rows: Vec<usize> = bands.placed.iter().map(|(_, row, _)| *row).collect();
        assert_eq!(rows, [0, 1, 0]);
    }
}
