//! The fate plot: each publish at the time when it was sent, in the row of what became of it.

use maud::{Markup, html};

use super::{Bands, LEFT, RIGHT, Scale, WIDTH, cross, dots, n, picture, sampled, time_axis};
use crate::report::scene::{Dot, Fate, Scene};
use crate::report::words;

/// How high a row is.
const ROW: f64 = 30.0;
/// So many bad publishes say which they are; the others are dots.
const NAMED_MAX: usize = 150;

/// Draws it.
#[must_use]
pub fn plot(scene: &Scene) -> Markup {
    let scale = Scale::time(scene.span_us);
    let bands = Bands::new(&scene.faults, &scale);
    let top = bands.top();
    let rows: Vec<(Fate, u64)> = scene.fates.iter().copied().filter(|(_, count)| *count > 0).collect();
    if rows.is_empty() {
        return html! { p.dim { "Nothing was published to this stream itself in this case." } };
    }
    let bottom = top + rows.len().max(1) as f64 * ROW;
    let inside = html! {
        (bands.draw(&scale, bottom))
        (time_axis(&scale, top, bottom))
        @for (index, (fate, count)) in rows.iter().enumerate() {
            @let middle = top + (index as f64 + 0.5) * ROW;
            line.grid x1=(n(0.0)) x2=(n(WIDTH - RIGHT)) y1=(n(middle + ROW / 2.0)) y2=(n(middle + ROW / 2.0)) {}
            text class=[fate.is_bad().then_some("label-bad")] x=(n(LEFT - 8.0)) y=(n(middle - 1.0)) text-anchor="end" { (fate.words()) }
            text.tick x=(n(LEFT - 8.0)) y=(n(middle + 11.0)) text-anchor="end" { (words::number(*count)) }
            (row(scene, *fate, &scale, middle))
        }
    };
    let counts: Vec<String> =
        rows.iter().map(|(fate, count)| format!("{}: {}", fate.words(), words::number(*count))).collect();
    html! {
        figure {
            figcaption {
                b { "What became of every publish" }
                span.dim { "Each dot is a message at the time when it was sent; shaded: a fault, until the server was ready again." }
            }
            (picture("Fate of every publish", &counts.join(", "), bottom + 20.0, &inside))
            (sampled(&[scene.dots.said("publishes")]))
            @if scene.unnamed > 0 {
                p.dim { (words::count(scene.unnamed, "lost message")) " more: counted, not named, and so among those that are gone." }
            }
        }
    }
}

fn row(scene: &Scene, fate: Fate, scale: &Scale, middle: f64) -> Markup {
    let mine: Vec<&Dot> = scene.dots.shown.iter().filter(|dot| dot.fate == fate).collect();
    let named = if fate.is_bad() { mine.len().min(NAMED_MAX) } else { 0 };
    let place = |dot: &Dot| (scale.at(dot.at), middle + jitter(dot.message.1));
    html! {
        (dots(colour(fate), mine.iter().skip(named).map(|dot| place(dot))))
        @for dot in &mine[..named] {
            @let (x, y) = place(dot);
            (cross(x, y, &format!("message {}.{}{}", dot.message.0, dot.message.1, dot.seq.map_or(String::new(), |seq| format!(", sequence {seq}")))))
        }
    }
}

/// Spreads dots over the height of a row, the same ones always alike.
fn jitter(counter: u32) -> f64 {
    let spread = counter.wrapping_mul(2_654_435_761) >> 16;
    (f64::from(spread % 1000) / 1000.0 - 0.5) * (ROW - 10.0)
}

fn colour(fate: Fate) -> &'static str {
    match fate {
        Fate::Lost | Fate::Wrong => "c-bad",
        Fate::Kept => "c-ok",
        Fate::Removed | Fate::Unread => "c-dim",
        Fate::Duplicate => "c-info",
        Fate::UnknownThere | Fate::UnknownGone => "c-orange",
        Fate::Refused => "c-blue",
    }
}
