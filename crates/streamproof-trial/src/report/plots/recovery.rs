//! Times to ready, by kind of fault, over the whole run.

use maud::{Markup, html};

use super::{LEFT, RIGHT, WIDTH, dots, n, picture, sampled};
use crate::report::scene::Recovery;
use crate::report::words;

/// How high a row is.
const ROW: f64 = 26.0;

/// Draws it; nothing where nothing was restarted.
#[must_use]
pub fn plot(recoveries: &[Recovery]) -> Markup {
    let times = || recoveries.iter().flat_map(|recovery| recovery.ready_us.shown.iter().copied());
    let (Some(least), Some(most)) = (times().min(), times().max()) else { return html! {} };
    // A logarithmic axis, from the power of ten below to the one above.
    let low = (least.max(1) as f64).log10().floor();
    let high = (most.max(1) as f64 * 1.01).log10().ceil().max(low + 1.0);
    let x =
        |us: u64| LEFT + ((us.max(1) as f64).log10() - low) / (high - low) * (WIDTH - RIGHT - 60.0 - LEFT);
    let bottom = recoveries.len() as f64 * ROW + 4.0;
    let powers: Vec<u64> = (low as u32..=high as u32).map(|power| 10_u64.pow(power)).collect();
    let inside = html! {
        @for power in &powers {
            line.grid x1=(n(x(*power))) x2=(n(x(*power))) y1="0" y2=(n(bottom)) {}
            text.tick x=(n(x(*power))) y=(n(bottom + 13.0)) text-anchor="middle" { (words::age(*power)) }
        }
        @for (index, recovery) in recoveries.iter().enumerate() {
            @let y = index as f64 * ROW + ROW / 2.0;
            @let shown = &recovery.ready_us.shown;
            text x=(n(LEFT - 8.0)) y=(n(y + 4.0)) text-anchor="end" { (recovery.fault.name()) }
            (dots("c-blue", shown.iter().enumerate().map(|(index, us)| (x(*us), y + ((index * 7) % 11) as f64 - 5.0))))
            @if let Some(median) = shown.get(shown.len() / 2) {
                line.c-bad x1=(n(x(*median))) x2=(n(x(*median))) y1=(n(y - 9.0)) y2=(n(y + 9.0)) stroke-width="2" {}
                text.tick x=(n(WIDTH - RIGHT)) y=(n(y + 4.0)) text-anchor="end" { (words::age(*median)) }
            }
            @if recovery.never > 0 {
                text.label-bad x=(n(WIDTH - RIGHT - 60.0)) y=(n(y + 4.0)) text-anchor="end" { (words::number(recovery.never)) "× never" }
            }
        }
    };
    let told: Vec<String> = recoveries
        .iter()
        .filter_map(|recovery| {
            let shown = &recovery.ready_us.shown;
            Some(format!("{}: {}", recovery.fault.name(), words::age(*shown.get(shown.len() / 2)?)))
        })
        .collect();
    let said: Vec<Option<String>> = recoveries
        .iter()
        .map(|recovery| recovery.ready_us.said(&format!("times after {}", recovery.fault.name())))
        .collect();
    html! {
        figure {
            figcaption {
                b { "How long until the server was ready again" }
                span.dim { "From start to ready, every restart of the run; the line and the number on the right are the median." }
            }
            (picture("Time to ready", &told.join(", "), bottom + 20.0, &inside))
            (sampled(&said))
        }
    }
}
