//! The lines of a file around a place, as they can be shown: cut to the width of a screen, without what a terminal would obey.

use std::ops::Range;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use streamproof::model::failure::Place;

/// A line up to this long is shown whole; that, with the number before it, is the width of the drawing.
const WIDEST: usize = 92;
/// So much of a long line stands before the place.
const BEFORE: usize = 30;
/// A place over more lines than this is shown by its first ones.
const MOST_LINES: usize = 12;

/// Some lines, and where the place is in them.
#[derive(Debug)]
pub(crate) struct Excerpt {
    file: String,
    text: String,
    /// How many lines of the file stand before it.
    skipped: usize,
    span: Range<usize>,
    line: usize,
    column: usize,
}

impl Excerpt {
    /// `None` where the place is not in the text: the file has changed since.
    pub(crate) fn of(place: &Place, text: &str) -> Option<Excerpt> {
        let inside = place.offset..place.offset.checked_add(place.length)?;
        text.get(inside.clone())?;
        let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
        let mut excerpt = Excerpt {
            file: place.file.display().to_string(),
            text: String::new(),
            skipped: line.saturating_sub(1),
            span: 0..0,
            line,
            column: usize::try_from(place.column).ok()?.saturating_sub(1),
        };
        let mut start = 0;
        let mut marked = None;
        for (number, shown) in text.split_inclusive('\n').enumerate() {
            let at = start..start + shown.len();
            start = at.end;
            if number + 1 < line || number > line + MOST_LINES {
                continue;
            }
            let own = inside.start.max(at.start)..inside.end.min(at.end);
            let within = (own.start < own.end || own.start == inside.start && at.contains(&own.start))
                .then(|| own.start - at.start..own.end - at.start);
            let cut = cut(shown.trim_end_matches(['\n', '\r']), within.clone());
            if within.is_some() {
                let base = excerpt.text.len();
                let first = marked.map_or(base + cut.1.start, |range: Range<usize>| range.start);
                marked = Some(first..base + cut.1.end);
            }
            excerpt.text.push_str(&cut.0);
            excerpt.text.push('\n');
            if at.start > inside.end {
                break;
            }
        }
        // A place at the very end of the file.
        let end = excerpt.text.len();
        excerpt.span = marked.unwrap_or(end..end);
        Some(excerpt)
    }

    /// Where the place is, in the excerpt.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// A line, shortened around what matters, and where that is in it.
fn cut(line: &str, within: Option<Range<usize>>) -> (String, Range<usize>) {
    let total = line.chars().count();
    let focus = within.clone().map_or(0, |range| line[..range.start.min(line.len())].chars().count());
    let first = if total <= WIDEST { 0 } else { focus.saturating_sub(BEFORE).min(total - WIDEST) };
    let mut out = String::new();
    if first > 0 {
        out.push('…');
    }
    let within = within.unwrap_or(0..0);
    let (mut from, mut to) = (None, None);
    for (at, letter) in line.char_indices().skip(first).take(WIDEST) {
        if at >= within.start && from.is_none() {
            from = Some(out.len());
        }
        if at >= within.end && to.is_none() {
            to = Some(out.len());
        }
        // What a terminal takes for a command, or turns lines around with.
        let obeyed = (letter.is_control() && letter != '\t')
            || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        out.push(if obeyed { '\u{fffd}' } else { letter });
    }
    let end = out.len();
    if first + WIDEST < total {
        out.push('…');
    }
    let from = from.unwrap_or(end);
    (out, from..to.unwrap_or(end).max(from))
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.text.read_span(span, before, after)?;
        // What is asked for without the lines around it is the heading: file, line, column.
        let (line, column) = match (before, after) {
            (0, 0) => (self.line, self.column),
            _ => (inner.line() + self.skipped, inner.column()),
        };
        Ok(Box::new(MietteSpanContents::new_named(
            self.file.clone(),
            inner.data(),
            *inner.span(),
            line,
            column,
            inner.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamproof::model::document::Source;

    fn shown(text: &str, mark: &str) -> (String, String) {
        let start = text.find(mark).unwrap();
        let place = Source::new("a.json", text).place(start..start + mark.len());
        let excerpt = Excerpt::of(&place, text).unwrap();
        (excerpt.text[excerpt.span()].to_owned(), excerpt.text)
    }

    #[test]
    fn a_long_line_is_cut_around_its_place() {
        let text =
            format!("{{\"a\": \"{}\", \"wrong\": 1, \"b\": \"{}\"}}", "ä".repeat(5000), "b".repeat(9000));
        let (marked, text) = shown(&text, "\"wrong\"");
        assert_eq!(marked, "\"wrong\"");
        assert!(text.starts_with('…') && text.ends_with("…\n"), "{text}");
        assert_eq!(text.trim_end().chars().count(), WIDEST + 2);
    }

    #[test]
    fn short_lines_stay_with_one_before_and_one_after() {
        let text = "one\r\ntwo\nthree \x1b[31m\nfour\nfive\n";
        let (marked, text) = shown(text, "three");
        assert_eq!(marked, "three");
        assert_eq!(text, "two\nthree \u{fffd}[31m\nfour\n");
    }

    #[test]
    fn a_place_at_an_end_or_over_lines_is_kept() {
        let place = Source::new("a.json", "{\n").place(2..2);
        assert_eq!(Excerpt::of(&place, "{\n").unwrap().span(), 2..2);
        let (marked, _) = shown("{\n \"a\": {\n  \"b\": 1\n }\n}\n", "{\n  \"b\": 1\n }");
        assert_eq!(marked, "{\n  \"b\": 1\n }");
        let changed = Place { file: "a.json".into(), line: 1, column: 9, offset: 8, length: 3 };
        assert!(Excerpt::of(&changed, "{}").is_none());
    }
}
