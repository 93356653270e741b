//! The price list as one picture: an SVG that needs nothing else.

use std::fmt::Write;

use crate::price::{Price, PriceList};
use crate::report::of_rounds;

const WIDTH: u32 = 860;
const ROW_HEIGHT: u32 = 46;
const TOP: u32 = 64;
const LEFT: u32 = 230;
const BAR_WIDTH: u32 = 300;
const GAP: u32 = 40;

/// Each setting a row: to the left its throughput, to the right the age of the oldest acked message that a crash took.
#[must_use]
pub fn svg(list: &PriceList) -> String {
    let rows = u32::try_from(list.prices.len()).unwrap_or(0);
    let height = TOP + rows * ROW_HEIGHT + 56;
    let most = list.prices.iter().map(|p| p.msgs_per_s).fold(1.0, f64::max);
    let oldest = list.prices.iter().map(oldest_ms).fold(1.0, f64::max);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"13\">\n<style>text{{fill:#222}}.q{{fill:#666}}.g{{fill:#2f7d4f}}.r{{fill:#b4432f}}\
         @media(prefers-color-scheme:dark){{text{{fill:#eee}}.q{{fill:#aaa}}.g{{fill:#58b37f}}.r{{fill:#e07a66}}}}</style>\n"
    );
    let right = LEFT + BAR_WIDTH + GAP;
    _ = writeln!(
        svg,
        "<text x=\"12\" y=\"22\" font-weight=\"600\">what durability costs, and what a host crash takes</text>\n\
         <text x=\"{LEFT}\" y=\"48\" class=\"q\">acked messages a second</text>\n\
         <text x=\"{right}\" y=\"48\" class=\"q\">oldest acked message lost, log scale</text>"
    );
    for (row, price) in (0u32..).zip(&list.prices) {
        let y = TOP + row * ROW_HEIGHT;
        let rate = share(price.msgs_per_s / most);
        let age = share((oldest_ms(price) + 1.0).ln() / (oldest + 1.0).ln());
        let (text, bar) = (y + 18, y + 4);
        _ = writeln!(
            svg,
            "<text x=\"12\" y=\"{text}\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{bar}\" width=\"{rate}\" height=\"20\" class=\"g\"/>\n\
             <text x=\"{LEFT}\" y=\"{}\" class=\"q\" font-size=\"11\">{:.0}/s, p99 {}</text>\n\
             <rect x=\"{right}\" y=\"{bar}\" width=\"{}\" height=\"20\" class=\"r\"/>\n\
             <text x=\"{right}\" y=\"{}\" class=\"q\" font-size=\"11\">{}</text>",
            escaped(&price.setting),
            y + 36,
            price.msgs_per_s,
            price.latency_us.as_ref().map_or_else(|| "?".to_owned(), |l| time_us(l.p99)),
            if price.worst.is_some() { age * 2 / 3 } else { 0 },
            y + 36,
            escaped(&loss(price)),
        );
    }
    _ = writeln!(
        svg,
        "<text x=\"12\" y=\"{}\" class=\"q\" font-size=\"11\">nats-server {}, {} B, window {}, {}, {} cores; \
         crash states of ext4 on an honest disk</text>\n</svg>",
        height - 18,
        escaped(&list.server.version),
        list.size_bytes,
        list.window,
        of_rounds(list.rounds),
        list.server.cores
    );
    svg
}

/// What a crash takes, in a few words.
#[must_use]
pub fn loss(price: &Price) -> String {
    match &price.worst {
        None => format!("by definition: {}", price.by_definition),
        Some(worst) if worst.lost == 0 => format!("none in {} crash states", worst.states),
        Some(worst) => {
            let all = if worst.lost == worst.acked { "all " } else { "" };
            let stream = if worst.stream_gone { ", and the stream" } else { "" };
            let age = time_us(worst.oldest_ms.saturating_mul(1000));
            format!("{all}{} of {} acked, up to {age} old{stream}", worst.lost, worst.acked)
        }
    }
}

/// A time with the unit that reads best.
#[must_use]
pub fn time_us(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

fn oldest_ms(price: &Price) -> f64 {
    price.worst.as_ref().map_or(0.0, |worst| worst.oldest_ms as f64)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a width on a screen")]
fn share(part: f64) -> u32 {
    (f64::from(BAR_WIDTH) * part.clamp(0.0, 1.0)).round().max(1.0) as u32
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Loss;
    use crate::report::Server;

    fn price(setting: &str, worst: Option<Loss>) -> Price {
        Price {
            setting: setting.to_owned(),
            msgs_per_s: 1000.0,
            msgs_per_s_least: 900.0,
            msgs_per_s_most: 1100.0,
            latency_us: None,
            alone_latency_us: None,
            alone_msgs_per_s: 10.0,
            by_definition: "what was acked in the last 2m".to_owned(),
            worst,
            counted: true,
        }
    }

    fn worst(lost: u64, stream_gone: bool) -> Option<Loss> {
        Some(Loss { states: 7, recorded_ms: 10_000, acked: 500, lost, oldest_ms: 1_250, stream_gone })
    }

    #[test]
    fn a_loss_is_told_as_it_was_found() {
        assert_eq!(loss(&price("a", None)), "by definition: what was acked in the last 2m");
        assert_eq!(loss(&price("a", worst(0, false))), "none in 7 crash states");
        assert_eq!(loss(&price("a", worst(20, false))), "20 of 500 acked, up to 1.2 s old");
        assert_eq!(
            loss(&price("a", worst(500, true))),
            "all 500 of 500 acked, up to 1.2 s old, and the stream"
        );
    }

    #[test]
    fn the_picture_is_one_whole_document() {
        let list = PriceList {
            server: Server { version: "2".into(), url: "u".into(), about: "a".into(), cores: 2 },
            size_bytes: 128,
            window: 500,
            rounds: 3,
            no_crash_states: None,
            prices: vec![price("a < b", worst(1, false)), price("c", None)],
        };
        let svg = svg(&list);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt; b") && !svg.contains("http://www.w3.org/1999/xlink"));
        assert_eq!(svg.matches("<rect").count(), 4);
        for (open, close) in [("<text", "</text>"), ("<style", "</style>")] {
            assert_eq!(svg.matches(open).count(), svg.matches(close).count());
        }
    }
}
