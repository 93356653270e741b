//! The staircase: sequences as they were acked, and first and last sequence as the server told them, across restarts.

use maud::{Markup, html};

use super::{Bands, RIGHT, Scale, WIDTH, cross, dots, key, left_axis, picture, sampled, steps, time_axis};
use crate::report::scene::Scene;

/// How high the plot is.
const HEIGHT: f64 = 190.0;
/// So many violations are marked.
const CROSSES_MAX: usize = 150;

/// Draws it; nothing where nothing was acked.
#[must_use]
pub fn plot(scene: &Scene) -> Markup {
    let states = &scene.states.shown;
    let seqs = || {
        let acked = scene.acked.shown.iter().map(|(_, seq)| *seq);
        let told = states.iter().map(|state| state.last);
        acked.chain(told).chain(scene.broken.shown.iter().map(|(_, seq, _)| *seq))
    };
    let (Some(least), Some(most)) = (seqs().min(), seqs().max()) else { return html! {} };
    // A first sequence of 0 or 1 of an empty stream says nothing; it would only press the rest together.
    let firsts = || states.iter().filter(|state| state.first > 0 && state.last > 0);
    let least = firsts().map(|state| state.first).min().map_or(least, |first| first.min(least));
    let scale = Scale::time(scene.span_us);
    let bands = Bands::new(&scene.faults, &scale);
    let (top, bottom) = (bands.top(), bands.top() + HEIGHT);
    let y = Scale::rising(least, most, top, bottom);
    let inside = html! {
        (bands.draw(&scale, bottom))
        (time_axis(&scale, top, bottom))
        (left_axis(&y, 8.0))
        (dots("c-ok", scene.acked.shown.iter().map(|(at, seq)| (scale.at(*at), y.at(*seq)))))
        (steps("c-blue", states.iter().map(|state| (scale.at(state.at), y.at(state.last.max(least)))), WIDTH - RIGHT))
        (steps("c-dim dash", firsts().map(|state| (scale.at(state.at), y.at(state.first))), WIDTH - RIGHT))
        @for (at, seq, said) in scene.broken.shown.iter().take(CROSSES_MAX) {
            (cross(scale.at(*at), y.at(*seq), &format!("sequence {seq}: {said}")))
        }
    };
    let description = format!("from {least} to {most}, {} violations", scene.broken.of);
    html! {
        figure {
            figcaption {
                b { "Sequences across restarts" }
                span.dim { "A step down of the last sequence means that numbers were forgotten, and will be given again." }
            }
            (picture("Sequences across restarts", &description, bottom + 20.0, &inside))
            (key(&[("ok", "acked"), ("blue", "last sequence, as the server says"), ("dimmed", "first sequence (dashed)"), ("bad", "violation (cross)")]))
            (sampled(&[scene.acked.said("acks"), scene.broken.said("violations"), scene.states.said("states")]))
        }
    }
}
