//! Throughput: acks and deliveries a second, and how it stops and comes back with each fault.

use maud::{Markup, html};

use super::{Bands, Scale, key, left_axis, n, picture, time_axis};
use crate::report::scene::Scene;
use crate::report::words;

/// How high the plot is.
const HEIGHT: f64 = 110.0;

/// Draws it; nothing where nothing happened.
#[must_use]
pub fn plot(scene: &Scene) -> Markup {
    let flow = &scene.flow;
    let per_s = |count: u32| u64::from(count) * 1_000_000 / flow.bin_us.max(1);
    let most = flow.acked.iter().chain(&flow.delivered).copied().max().map_or(0, per_s);
    if most == 0 {
        return html! {};
    }
    let scale = Scale::time(scene.span_us);
    let bands = Bands::new(&scene.faults, &scale);
    let (top, bottom) = (bands.top(), bands.top() + HEIGHT);
    let y = Scale { from: 0.0, to: most as f64 * 1.05, low: bottom, high: top };
    let corners = |bins: &[u32]| -> String {
        let mut path = String::new();
        for (index, count) in bins.iter().enumerate() {
            let left = scale.at(index as u64 * flow.bin_us);
            let right = scale.at(((index as u64 + 1) * flow.bin_us).min(scene.span_us));
            path.push_str(&format!("L{} {}H{}", n(left), n(y.at(per_s(*count))), n(right)));
        }
        path
    };
    let end = n(scale.at(scene.span_us));
    let (start, floor) = (n(scale.at(0)), n(bottom));
    let inside = html! {
        (bands.draw(&scale, bottom))
        (time_axis(&scale, top, bottom))
        (left_axis(&y, 5.0))
        path class="area" d=(format!("M{start} {floor}{}V{floor}H{end}Z", corners(&flow.acked))) {}
        path class="path c-orange" d=(format!("M{start} {floor}{}", corners(&flow.delivered))) {}
    };
    html! {
        figure {
            figcaption {
                b { "Messages a second" }
                span.dim { "The workload alternates bursts and pauses on purpose: this shows stillness and return, and is no benchmark." }
            }
            (picture("Messages a second", &format!("at most {}", words::number(most)), bottom + 20.0, &inside))
            (key(&[("blue", "publishes acked"), ("orange", "deliveries")]))
        }
    }
}
