//! The loss window: how old, at the fault, what was acked was, and what of it was lost.

use maud::{Markup, html};

use super::{LEFT, RIGHT, WIDTH, key, n, picture, small_picture};
use crate::report::scene::{Ages, Scene};
use crate::report::words;

/// How high the plot is.
const HEIGHT: f64 = 130.0;

/// So few bars fit on a phone.
const FEW: usize = 6;
/// The width of a picture that does.
const SMALL: f64 = 400.0;
/// A bar is no wider.
const SLOT_MAX: f64 = 72.0;

/// Draws it.
#[must_use]
pub fn plot(scene: &Scene, ages: &Ages) -> Markup {
    let most = ages.bins.iter().map(|bin| bin.kept + bin.lost).max().unwrap_or(0).max(1);
    let few = ages.bins.len() <= FEW;
    let (left, width) = if few { (92.0, SMALL) } else { (LEFT, WIDTH) };
    let slot = ((width - RIGHT - left) / ages.bins.len().max(1) as f64).min(SLOT_MAX);
    let top = 16.0;
    let bottom = top + HEIGHT;
    let height = |count: u64| count as f64 / most as f64 * HEIGHT;
    let inside = html! {
        line.grid x1=(n(left)) x2=(n(width - RIGHT)) y1=(n(bottom)) y2=(n(bottom)) {}
        text.tick x=(n(left - 8.0)) y=(n(top + 4.0)) text-anchor="end" { (words::count(most, "message")) }
        text.tick x=(n(left - 22.0)) y=(n(bottom + 13.0)) text-anchor="end" { "age" }
        @for (index, bin) in ages.bins.iter().enumerate() {
            @let x = left + index as f64 * slot;
            @let (kept, lost) = (height(bin.kept), height(bin.lost));
            g {
                title { (format!("{} to {} old: {} kept, {} lost", words::age(bin.from_us), words::age(bin.to_us), bin.kept, bin.lost)) }
                rect.f-ok x=(n(x + 2.0)) y=(n(bottom - kept)) width=(n(slot - 4.0)) height=(n(kept)) {}
                rect.f-bad x=(n(x + 2.0)) y=(n(bottom - kept - lost)) width=(n(slot - 4.0)) height=(n(lost)) {}
                @if bin.lost > 0 {
                    text.label-bad x=(n(x + slot / 2.0)) y=(n(bottom - kept - lost - 4.0)) text-anchor="middle" { (words::number(bin.lost)) }
                }
            }
            @if slot > 44.0 || index % 2 == 0 {
                text.tick x=(n(x)) y=(n(bottom + 13.0)) text-anchor="middle" { (words::age(bin.from_us)) }
            }
        }
    };
    let (kept, lost) = ages.bins.iter().fold((0, 0), |sum, bin| (sum.0 + bin.kept, sum.1 + bin.lost));
    let description = format!("{kept} kept, {lost} lost");
    html! {
        figure {
            figcaption {
                b { (scene.stream) " under " (ages.kind.name()) ", case " (scene.case) ": " (words::number(kept)) " kept, " (words::number(lost)) " lost" }
                span.dim { "Acked messages by their age when the fault began, youngest left." }
            }
            @if few { (small_picture(width, "Loss window", &description, bottom + 20.0, &inside)) }
            @else { (picture("Loss window", &description, bottom + 20.0, &inside)) }
            (key(&[("ok", "there after the fault"), ("bad", "lost")]))
        }
    }
}

/// The loss window in a sentence.
#[must_use]
pub fn sentence(scene: &Scene, ages: &Ages) -> String {
    let lost: u64 = ages.bins.iter().map(|bin| bin.lost).sum();
    match (ages.lost, ages.youngest_kept) {
        (Some((least, most)), kept) => {
            let kept = kept.map_or("nothing acked was there any more".to_owned(), |kept| {
                format!("the youngest that was there was {} old", words::age(kept))
            });
            let (least, most) = (words::age(least), words::age(most));
            let old = if least == most { most } else { format!("between {least} and {most}") };
            format!(
                "{} of {} lost at {}: {old} old; {kept}",
                words::count(lost, "acked message"),
                scene.stream,
                ages.kind.name()
            )
        }
        (None, Some(kept)) => format!(
            "no loss window was seen: of {}, the youngest acked message that was looked for was {} old at {}, and it was there",
            scene.stream,
            words::age(kept),
            ages.kind.name()
        ),
        (None, None) => "nothing acked was left to be lost".to_owned(),
    }
}
