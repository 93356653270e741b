//! A JSON file as its author wrote it: values with positions, duplicate keys, numbers as they were typed.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use jsonc_parser::ast;
use serde_json::{Map, Value};

use crate::failure::Place;
use crate::finding::{Finding, Rule};

/// A text with the name of its file, from which places are made.
#[derive(Debug, Clone)]
pub struct Source {
    file: PathBuf,
    text: String,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
    /// Characters before each block of [`BLOCK`] bytes, so that a column costs the same in a file of one long line.
    chars: Vec<usize>,
}

/// Small enough to count through for every place, large enough that the table is a small part of the text.
const BLOCK: usize = 256;

impl Source {
    /// A text and the name of its file, as the user would write it.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>, text: impl Into<String>) -> Source {
        let text = text.into();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let chars = text.as_bytes().chunks(BLOCK).scan(0, |count, block| {
            let before = *count;
            *count += starts(block);
            Some(before)
        });
        let chars = chars.collect();
        Source { file: file.into(), text, lines, chars }
    }

    /// The name of the file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place of a range of bytes; a range beyond the text is cut.
    #[must_use]
    pub fn place(&self, range: Range<usize>) -> Place {
        let offset = floor_char(&self.text, range.start);
        let end = floor_char(&self.text, range.end).max(offset);
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let column = self.chars_before(offset) - self.chars_before(self.lines[line - 1]) + 1;
        Place {
            file: self.file.clone(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            offset,
            length: end - offset,
        }
    }

    /// The file as a whole.
    #[must_use]
    pub fn whole(&self) -> Place {
        Place { file: self.file.clone(), line: 0, column: 0, offset: 0, length: 0 }
    }

    fn chars_before(&self, offset: usize) -> usize {
        let block = offset / BLOCK;
        match self.chars.get(block) {
            Some(before) => before + starts(&self.text.as_bytes()[block * BLOCK..offset]),
            None => {
                self.chars.last().copied().unwrap_or(0)
                    + starts(&self.text.as_bytes()[offset.saturating_sub(BLOCK)..offset])
            }
        }
    }

    /// The offset of a line and a column in bytes, both from 1.
    fn offset(&self, line: usize, column: usize) -> usize {
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        floor_char(&self.text, start + column.saturating_sub(1))
    }
}

/// The characters that start in a piece of UTF-8.
fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte as i8) >= -0x40).count()
}

fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A JSON value with the bytes that it stands on.
#[derive(Debug, Clone)]
pub struct Node {
    /// The bytes of the value.
    pub range: Range<usize>,
    /// The value.
    pub data: Data,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone)]
pub enum Data {
    /// `null`
    Null,
    /// `true` or `false`
    Flag(bool),
    /// A number, as it was typed.
    Number(String),
    /// A string, unescaped.
    Text(String),
    /// An array.
    List(Vec<Node>),
    /// An object, in the order of the file, duplicates included.
    Object(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key, unescaped.
    pub key: String,
    /// The bytes of the key, quotes included.
    pub key_range: Range<usize>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The value of a key; of a duplicate key the last, as nats-server takes it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The key and its value; of a duplicate key the last.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().rev().find(|entry| entry.key == key)
    }

    /// The entries of an object; of anything else none.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Object(entries) => entries,
            _ => &[],
        }
    }

    /// The items of an array; of anything else none.
    #[must_use]
    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    /// The string, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// How a person would call the type of this value.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "null",
            Data::Flag(_) => "true or false",
            Data::Number(_) => "a number",
            Data::Text(_) => "a string",
            Data::List(_) => "a list",
            Data::Object(_) => "an object",
        }
    }

    /// The same value without positions; of a duplicate key the last value counts.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Flag(flag) => Value::Bool(*flag),
            Data::Number(raw) => serde_json::from_str(raw).unwrap_or(Value::Null),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => items.iter().map(Node::to_value).collect(),
            Data::Object(_) => Value::Object(self.to_map()),
        }
    }

    /// The object without positions; empty for anything else.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        self.entries().iter().map(|entry| (entry.key.clone(), entry.value.to_value())).collect()
    }
}

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
        // What is JSON is decided by serde_json, which bounds the depth; the positions come from a second, laxer parser.
        if let Err(error) = serde_json::from_str::<Value>(source.text()) {
            let at = source.offset(error.line(), error.column());
            let text = error.to_string();
            let message =
                text.rsplit_once(" at line ").map_or(text.as_str(), |(before, _)| before).to_owned();
            return Err(Box::new(syntax(&source, at..at + 1, message)));
        }
        let parsed =
            jsonc_parser::parse_to_ast(source.text(), &jsonc_parser::CollectOptions::default(), &strict());
        let root = match parsed {
            Ok(parsed) => parsed.value.map(|value| node(&value)),
            Err(error) => {
                let range = error.range();
                return Err(Box::new(syntax(&source, range.start..range.end, error.kind().to_string())));
            }
        };
        match root {
            Some(root) => Ok(Document { source, root }),
            None => Err(Box::new(syntax(&source, 0..0, "the file is empty".to_owned()))),
        }
    }

    /// Reads TOML into the same form; every syntax error has its place.
    ///
    /// # Errors
    /// Every place at which the text is not TOML.
    pub fn parse_toml(file: impl Into<PathBuf>, text: impl Into<String>) -> Result<Document, Vec<Finding>> {
        let source = Source::new(file, text);
        let (table, errors) = toml::de::DeTable::parse_recoverable(source.text());
        if !errors.is_empty() {
            let finding = |error: &toml::de::Error| {
                syntax(&source, error.span().unwrap_or(0..0), error.message().to_owned())
            };
            return Err(errors.iter().map(finding).collect());
        }
        let root = Node { range: table.span(), data: Data::Object(toml_entries(table.get_ref())) };
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

fn syntax(source: &Source, range: Range<usize>, message: String) -> Finding {
    Finding::error(Rule::Syntax, source.place(range), message).label("here")
}

fn strict() -> jsonc_parser::ParseOptions {
    jsonc_parser::ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// Depth is bounded by serde_json's limit, which was passed before.
fn node(value: &ast::Value<'_>) -> Node {
    let span = |range: jsonc_parser::common::Range| range.start..range.end;
    match value {
        ast::Value::NullKeyword(null) => Node { range: span(null.range), data: Data::Null },
        ast::Value::BooleanLit(flag) => Node { range: span(flag.range), data: Data::Flag(flag.value) },
        ast::Value::NumberLit(number) => {
            Node { range: span(number.range), data: Data::Number(number.value.to_owned()) }
        }
        ast::Value::StringLit(text) => {
            Node { range: span(text.range), data: Data::Text(text.value.to_string()) }
        }
        ast::Value::Array(array) => {
            Node { range: span(array.range), data: Data::List(array.elements.iter().map(node).collect()) }
        }
        ast::Value::Object(object) => {
            let entries = object.properties.iter().map(|property| {
                use jsonc_parser::common::Ranged;
                Entry {
                    key: property.name.as_str().to_owned(),
                    key_range: span(property.name.range()),
                    value: node(&property.value),
                }
            });
            Node { range: span(object.range), data: Data::Object(entries.collect()) }
        }
    }
}

/// Depth is bounded by the parser's own limit.
fn toml_entries(table: &toml::de::DeTable<'_>) -> Vec<Entry> {
    let entry =
        |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<toml::de::DeValue<'_>>)| {
            Entry { key: key.get_ref().to_string(), key_range: key.span(), value: toml_node(value) }
        };
    table.iter().map(entry).collect()
}

fn toml_node(value: &toml::Spanned<toml::de::DeValue<'_>>) -> Node {
    use toml::de::DeValue;
    let data = match value.get_ref() {
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Data::Number(parsed.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()))
        }
        DeValue::Float(number) => Data::Number(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Data::Flag(*flag),
        DeValue::Datetime(moment) => Data::Text(moment.to_string()),
        DeValue::Array(items) => Data::List(items.iter().map(toml_node).collect()),
        DeValue::Table(table) => Data::Object(toml_entries(table)),
    };
    Node { range: value.span(), data }
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
    fn numbers_stay_as_typed_and_duplicates_are_seen() {
        let document =
            Document::parse("x.json", r#"{"a": 1e3, "b": {"c": 1, "c": 18446744073709551616}}"#).unwrap();
        assert!(matches!(&document.root.get("a").unwrap().data, Data::Number(raw) if raw == "1e3"));
        let found = document.duplicates();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place.column, 26);
    }
}
