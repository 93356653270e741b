//! Consumers: what was delivered and when, what came again, what was acked, and the ack floor across restarts.

use maud::{Markup, html};

use super::{Bands, RIGHT, Scale, WIDTH, cross, dots, key, left_axis, picture, sampled, steps, time_axis};
use crate::report::scene::{Lane, Scene};
use crate::report::words;

/// How high the plot of a consumer is.
const HEIGHT: f64 = 140.0;
/// So many violations are marked.
const CROSSES_MAX: usize = 150;

/// Draws them; nothing where there are none.
#[must_use]
pub fn plot(scene: &Scene) -> Markup {
    html! {
        @for lane in &scene.lanes { (one(scene, lane)) }
        @if scene.more_lanes > 0 {
            p.dim { (words::count(scene.more_lanes as u64, "more consumer")) " of this stream: not drawn; no more was found of them than of these." }
        }
    }
}

fn one(scene: &Scene, lane: &Lane) -> Markup {
    let seqs = || {
        let points = [&lane.delivered, &lane.redelivered, &lane.answered, &lane.floor];
        let marked = lane.broken.shown.iter().map(|(_, seq, _)| *seq);
        points
            .into_iter()
            .flat_map(|points| points.shown.iter().map(|(_, seq)| *seq))
            .filter(|seq| *seq > 0)
            .chain(marked)
    };
    let (Some(least), Some(most)) = (seqs().min(), seqs().max()) else {
        return html! { p.dim { "Consumer " (lane.consumer) ": nothing was delivered in this case." } };
    };
    let scale = Scale::time(scene.span_us);
    let bands = Bands::new(&scene.faults, &scale);
    let (top, bottom) = (bands.top(), bands.top() + HEIGHT);
    let y = Scale::rising(least, most, top, bottom);
    let marks = |points: &[(u64, u64)]| -> Vec<(f64, f64)> {
        points.iter().map(|(at, seq)| (scale.at(*at), y.at((*seq).max(least)))).collect()
    };
    let inside = html! {
        (bands.draw(&scale, bottom))
        (time_axis(&scale, top, bottom))
        (left_axis(&y, 6.0))
        (dots("c-blue", marks(&lane.delivered.shown).into_iter()))
        (dots("c-ok", marks(&lane.answered.shown).into_iter()))
        (dots("c-orange", marks(&lane.redelivered.shown).into_iter()))
        (steps("c-dim", marks(&lane.floor.shown).into_iter(), WIDTH - RIGHT))
        @for (at, seq, said) in lane.broken.shown.iter().take(CROSSES_MAX) {
            (cross(scale.at(*at), y.at(*seq), &format!("sequence {seq}: {said}")))
        }
    };
    let description = format!(
        "{} delivered, {} delivered again, {} acks answered, {} violations",
        lane.delivered.of, lane.redelivered.of, lane.answered.of, lane.broken.of
    );
    html! {
        figure {
            figcaption {
                b { "Consumer " (lane.consumer) }
                span.dim {
                    (words::number(lane.delivered.of)) " delivered, " (words::number(lane.redelivered.of)) " delivered again, "
                    (words::number(lane.answered.of)) " acks answered. By sequence in the stream."
                }
            }
            (picture(&format!("Consumer {}", lane.consumer), &description, bottom + 20.0, &inside))
            (key(&[("blue", "delivered"), ("ok", "ack answered"), ("orange", "delivered again"), ("dimmed", "ack floor (line)"), ("bad", "violation (cross)")]))
            (sampled(&[lane.delivered.said("deliveries"), lane.redelivered.said("redeliveries"), lane.answered.said("acks"), lane.broken.said("violations")]))
        }
    }
}
