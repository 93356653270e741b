//! Streams and consumers before and after, and what changed and is no violation: of pictures only.

use maud::{Markup, html};

use crate::report::pictured::{Pictured, Sight};
use crate::report::{Report, words};

/// So many rows; those first that are not the same.
const ROWS_MAX: usize = 200;

pub(super) fn before_and_after(report: &Report) -> Markup {
    let (consumers, streams): (Vec<&Pictured>, Vec<&Pictured>) =
        report.pictured.iter().partition(|row| row.target.contains(" > "));
    html! {
        section id="pictures" aria-labelledby="pictures-title" {
            h2 id="pictures-title" { "Before and after" }
            @if report.pictured.is_empty() { p { "There are no two pictures to show." } }
            (table("Stream", &["Messages", "Read", "Bytes", "First sequence", "Last sequence"], &streams))
            (table("Consumer", &["Delivered", "Ack floor", "Unacked", "Pending"], &consumers))
            @if !report.pictured.is_empty() {
                p.dim { "What is not the same comes first. Beside these numbers every field of the configuration, and a hash of every message with its headers, time and sequence, was compared." }
            }
        }
    }
}

fn table(of: &str, columns: &[&str], rows: &[&Pictured]) -> Markup {
    if rows.is_empty() {
        return html! {};
    }
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.is_same());
    html! {
        div.scroll tabindex="0" role="region" aria-label=(format!("{of}s before and after")) {
            table.pictured {
                thead { tr { th scope="col" { (of) } th scope="col" { "Under" } @for column in columns { th scope="col" { (column) } } } }
                tbody {
                    @for row in rows.iter().take(ROWS_MAX) {
                        tr {
                            th scope="row" { (row.target) }
                            td { (row.fault.name()) }
                            @let (before, after) = (row.before.map(numbers), row.after.map(numbers));
                            @for index in 0..columns.len() {
                                (cell(before.as_ref().and_then(|all| all.get(index)), after.as_ref().and_then(|all| all.get(index))))
                            }
                        }
                    }
                }
            }
        }
        @if rows.len() > ROWS_MAX { p.dim { (words::count((rows.len() - ROWS_MAX) as u64, "more row")) " in the pictures themselves." } }
    }
}

fn cell(before: Option<&u64>, after: Option<&u64>) -> Markup {
    let said = |number: Option<&u64>| number.map_or("not there".to_owned(), |number| words::number(*number));
    html! {
        @if before == after { td { (said(before)) } }
        @else { td { (said(before)) " → " b { (said(after)) } } }
    }
}

fn numbers(sight: Sight) -> Vec<u64> {
    match sight {
        Sight::Stream { messages, read, bytes, first_seq, last_seq } => {
            vec![messages, read, bytes, first_seq, last_seq]
        }
        Sight::Consumer { delivered, floor, unacked, pending } => vec![delivered, floor, unacked, pending],
    }
}

pub(super) fn changed(report: &Report) -> Markup {
    html! {
        section id="changes" aria-labelledby="changes-title" {
            h2 id="changes-title" { "Changed, not lost" }
            @if report.changed.is_empty() { p { "Nothing changed by itself or by others." } }
            @else {
                p { "By itself, or by clients that were at work meanwhile; none of it is a violation." }
                ul.plain {
                    @for change in &report.changed {
                        li { b { (change.target) } ": " (words::number(change.count)) " " (change.what) ", " (change.why) }
                    }
                }
            }
        }
    }
}
