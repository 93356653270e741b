//! A JSON value as it stands in its file.

use std::ops::Range;

use serde_json::{Map, Value};

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
