//! The report for a browser: one file that needs nothing else, no script, no network, light and dark, wide and narrow.
//!
//! What matters comes first: the matrix of streams and faults, the loss window, the life of the first violating message.

mod evidence;
mod pictured;
mod plotted;
mod start;

use maud::{DOCTYPE, PreEscaped, html};

use super::{Report, words};

/// The style sheet, in the page itself.
const STYLE: &str = include_str!("page/style.css");

/// Nothing is loaded, and nothing is run, even if something got past the escaping.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Draws it.
#[must_use]
pub fn render(report: &Report) -> String {
    let verdict = &report.verdict;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "restart-check: " (verdict.verdict.name()) " (" (verdict.run) ")" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (start::head(report))
                    (start::matrix(report))
                    (start::loss_window(report))
                    (start::life(report))
                    (evidence::findings(report))
                    (plotted::scenes(report))
                    (plotted::recovery(report))
                    (plotted::power_cut(report))
                    @if report.is_of_pictures() { (pictured::before_and_after(report)) (pictured::changed(report)) }
                    @else { (evidence::changes(report)) }
                    (evidence::run(report))
                    (evidence::defects(report))
                    (evidence::not_proven(report))
                }
            }
        }
    };
    page.into_string()
}

/// A name that can be linked to.
fn anchor(target: &str, fault: Option<&str>) -> String {
    // Names are letters of any kind; a checksum makes an id of them.
    let name = format!("{target}\n{}", fault.unwrap_or_default());
    format!("f-{:08x}", crc32fast::hash(name.as_bytes()))
}

/// A time of a case, in ms.
fn ms(us: u64) -> String {
    format!("{}.{:03} ms", words::number(us / 1000), us % 1000)
}
