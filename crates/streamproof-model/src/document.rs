//! A JSON file as its author wrote it: values with positions, duplicate keys, numbers as they were typed.

mod node;
mod read;
mod source;

use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;

use serde_json::Value;

use crate::failure::Place;
use crate::finding::{Finding, Rule};

pub use node::{Data, Entry, Node};
pub use source::Source;

/// A JSON file that was read.
#[derive(Debug, Clone)]
pub struct Document {
    /// The text.
    pub source: Source,
    /// The value.
    pub root: Node,
}

impl Document {
    /// Reads strict JSON: no comments, no trailing commas, at most 127 levels deep.
    ///
    /// # Errors
    /// The one place at which the text stops being JSON.
    pub fn parse(file: impl Into<PathBuf>, text: impl Into<String>) -> Result<Document, Box<Finding>> {
        let source = Source::new(file, text);
        if let Some(finding) = no_text(&source) {
            return Err(Box::new(finding));
        }
        if source.text().trim().is_empty() {
            let finding = syntax(&source, 0..0, "the file is empty".to_owned());
            return Err(Box::new(finding.help("an object stands here: { … }; or remove the file")));
        }
        // What is JSON is decided by serde_json, which bounds the depth; the positions come from a second, laxer parser.
        if let Err(error) = serde_json::from_str::<Value>(source.text()) {
            let at = source.offset(error.line(), error.column());
            let text = error.to_string();
            let message =
                text.rsplit_once(" at line ").map_or(text.as_str(), |(before, _)| before).to_owned();
            let help = remedy(&message);
            return Err(Box::new(syntax(&source, at..at + 1, message).help(help)));
        }
        let parsed = jsonc_parser::parse_to_ast(
            source.text(),
            &jsonc_parser::CollectOptions::default(),
            &read::strict(),
        );
        let root = match parsed {
            Ok(parsed) => parsed.value.map(|value| read::node(&value)),
            Err(error) => {
                let range = error.range();
                let finding = syntax(&source, range.start..range.end, error.kind().to_string());
                return Err(Box::new(finding.help(remedy(""))));
            }
        };
        match root {
            Some(root) => Ok(Document { source, root }),
            None => Err(Box::new(syntax(&source, 0..0, "the file is empty".to_owned()).help(remedy("")))),
        }
    }

    /// Reads TOML into the same form; every syntax error has its place.
    ///
    /// # Errors
    /// Every place at which the text is not TOML.
    pub fn parse_toml(file: impl Into<PathBuf>, text: impl Into<String>) -> Result<Document, Vec<Finding>> {
        let source = Source::new(file, text);
        if let Some(finding) = no_text(&source) {
            return Err(vec![finding]);
        }
        let (table, errors) = toml::de::DeTable::parse_recoverable(source.text());
        if !errors.is_empty() {
            let finding = |error: &toml::de::Error| {
                syntax(&source, error.span().unwrap_or(0..0), error.message().to_owned())
                    .help("TOML: key = value, texts in double quotes, tables as [name]")
            };
            return Err(errors.iter().map(finding).collect());
        }
        let root = Node { range: table.span(), data: Data::Object(read::toml_entries(table.get_ref())) };
        Ok(Document { source, root })
    }

    /// The place of the value at a JSON pointer (RFC 6901: `/sources/0/name`), if there is one.
    #[must_use]
    pub fn place(&self, pointer: &str) -> Option<Place> {
        self.find(pointer).map(|(_, node)| self.source.place(node.range.clone()))
    }

    /// The place of the key at a JSON pointer; for the item of an array, of the item.
    #[must_use]
    pub fn key_place(&self, pointer: &str) -> Option<Place> {
        self.find(pointer).map(|(key, node)| self.source.place(key.unwrap_or_else(|| node.range.clone())))
    }

    /// Every key that stands twice in one object, at any depth, with its place.
    #[must_use]
    pub fn duplicates(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        self.collect_duplicates(&self.root, &mut found);
        found
    }

    fn collect_duplicates(&self, node: &Node, found: &mut Vec<Finding>) {
        let mut seen = HashSet::new();
        for entry in node.entries() {
            if !seen.insert(entry.key.as_str()) {
                let place = self.source.place(entry.key_range.clone());
                found.push(
                    Finding::error(Rule::DuplicateKey, place, format!("{:?} stands twice", entry.key))
                        .label("again here")
                        .help("keep one of them: nats-server would take the last and say nothing"),
                );
            }
            self.collect_duplicates(&entry.value, found);
        }
        for item in node.items() {
            self.collect_duplicates(item, found);
        }
    }

    fn find(&self, pointer: &str) -> Option<(Option<Range<usize>>, &Node)> {
        let mut at = &self.root;
        let mut key = None;
        if pointer.is_empty() {
            return Some((None, at));
        }
        for token in pointer.strip_prefix('/')?.split('/') {
            let token = token.replace("~1", "/").replace("~0", "~");
            (key, at) = match &at.data {
                Data::Object(_) => {
                    at.entry(&token).map(|entry| (Some(entry.key_range.clone()), &entry.value))?
                }
                Data::List(items) => (None, items.get(token.parse::<usize>().ok()?)?),
                _ => return None,
            };
        }
        Some((key, at))
    }
}

/// What stands at the start of some files of Windows, and in the place of bytes that are no text.
fn no_text(source: &Source) -> Option<Finding> {
    if source.text().starts_with('\u{feff}') {
        let finding = syntax(source, 0..3, "the file begins with a byte order mark".to_owned());
        return Some(
            finding.help("save it as UTF-8 without one: nats-server and the nats CLI do not read it either"),
        );
    }
    let at = source.text().find('\u{fffd}')?;
    let finding = syntax(source, at..at + 3, "these bytes are not UTF-8".to_owned());
    Some(finding.help("save the file as UTF-8"))
}

fn syntax(source: &Source, range: Range<usize>, message: String) -> Finding {
    Finding::error(Rule::Syntax, source.place(range), message).label("here")
}

/// What to do where JSON ends to be JSON, by the words of serde_json (`ErrorCode`), which has no kinds for them.
fn remedy(message: &str) -> &'static str {
    match message {
        "recursion limit exceeded" => "at most 127 levels are read",
        "trailing comma" => "remove the comma before it",
        "trailing characters" => "one object stands in a file, and nothing after it",
        "key must be a string" => "keys stand in double quotes; JSON has no comments",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "write line ends and tabs in a text as \\n and \\t"
        }
        "invalid number" => "write numbers as 10 or -1: no +, no leading 0",
        "number out of range" => "no field takes a number as large",
        _ if message.starts_with("EOF") => "a bracket or a quote that was opened is not closed",
        _ => {
            "JSON: keys and texts in double quotes, a comma between fields and none after the last, no comments"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_carry_their_places() {
        let text = "{\n  \"näme\": \"A\",\n  \"sources\": [{\"name\": \"B\"}]\n}\n";
        let document = Document::parse("streams/A.json", text).unwrap();
        let place = document.place("/sources/0/name").unwrap();
        assert_eq!((place.line, place.column, place.length), (3, 24, 3));
        assert_eq!(&text[place.offset..place.offset + place.length], "\"B\"");
        let key = document.key_place("/näme").unwrap();
        assert_eq!((key.line, key.column), (2, 3));
        assert_eq!(document.place("/nothing"), None);
        assert_eq!(document.root.to_value(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn columns_count_characters_in_a_long_line() {
        let text = format!("{{\"{}\": 1}}\n{{", "ä".repeat(600));
        let source = Source::new("x.json", text.clone());
        for (offset, _) in text.char_indices().chain([(text.len(), ' ')]) {
            let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
            let column = u32::try_from(text[start..offset].chars().count() + 1).unwrap();
            assert_eq!(source.place(offset..offset).column, column, "{offset}");
        }
    }

    #[test]
    fn a_syntax_error_has_its_line_and_column() {
        let wrong = |text: &str| {
            let finding = Document::parse("x.json", text).unwrap_err();
            (finding.place.line, finding.place.column, finding.message)
        };
        assert_eq!(wrong("{\n \"a\": 1,\n}"), (3, 1, "trailing comma".to_owned()));
        assert_eq!(wrong("{\"a\": 1 // x\n}").0, 1);
        assert_eq!(wrong("").0, 1);
        assert_eq!(wrong("{} {}"), (1, 4, "trailing characters".to_owned()));
        let deep = "[".repeat(100_000);
        assert_eq!(wrong(&deep).2, "recursion limit exceeded");
    }

    #[test]
    fn what_is_no_text_or_nothing_is_told_apart() {
        let said = |text: &str| {
            let finding = *Document::parse("x.json", text).unwrap_err();
            assert!(finding.help.is_some(), "{text:?}");
            (finding.message, finding.place.line, finding.place.column)
        };
        assert_eq!(said(""), ("the file is empty".into(), 1, 1));
        assert_eq!(said(" \r\n"), ("the file is empty".into(), 1, 1));
        assert_eq!(said("\u{feff}{}"), ("the file begins with a byte order mark".into(), 1, 1));
        assert_eq!(said("{\n \"\u{fffd}\": 1}"), ("these bytes are not UTF-8".into(), 2, 3));
        assert!(said(&"[".repeat(500)).0.starts_with("recursion limit"));
    }

    #[test]
    fn numbers_stay_as_typed_and_duplicates_are_seen() {
        let document =
            Document::parse("x.json", r#"{"a": 1e3, "b": {"c": 1, "c": 18446744073709551616}}"#).unwrap();
        assert!(matches!(&document.root.get("a").unwrap().data, Data::Number(raw) if raw == "1e3"));
        let found = document.duplicates();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place.column, 26);
    }
}
