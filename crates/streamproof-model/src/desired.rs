//! What the files of a project ask for: streams, buckets and consumers as they would be sent to a server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::document::{Document, Node};
use crate::failure::Place;

/// The kinds of things that a file can declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `streams/<STREAM>.json`
    Stream,
    /// `consumers/<STREAM>/<NAME>.json`
    Consumer,
    /// `kv/<BUCKET>.json`: a stream on the server, named `KV_<BUCKET>`.
    Kv,
    /// `objects/<BUCKET>.json`: a stream on the server, named `OBJ_<BUCKET>`.
    Object,
}

impl Kind {
    /// The word for it in messages and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Stream => "stream",
            Kind::Consumer => "consumer",
            Kind::Kv => "kv",
            Kind::Object => "object",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Everything that the files ask for, in the order of their names.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// Streams, and the streams behind key-value buckets and object stores.
    pub streams: Vec<DesiredStream>,
    /// Durable consumers.
    pub consumers: Vec<DesiredConsumer>,
}

impl Desired {
    /// The stream of that name on the server (`KV_x` for a bucket `x`).
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<&DesiredStream> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    /// A consumer by stream and name.
    #[must_use]
    pub fn consumer(&self, stream: &str, name: &str) -> Option<&DesiredConsumer> {
        self.consumers.iter().find(|consumer| consumer.stream == stream && consumer.name == name)
    }
}

/// A stream, or the stream behind a bucket.
#[derive(Debug, Clone)]
pub struct DesiredStream {
    /// Stream, kv or object.
    pub kind: Kind,
    /// The stream's name on the server.
    pub name: String,
    /// The bucket, where the kind has one.
    pub bucket: Option<String>,
    /// The configuration as it is sent: durations in nanoseconds, only what was declared or what the kind fixes.
    pub config: Map<String, Value>,
    /// The top-level fields of `config` that the file declares or the kind fixes.
    pub declared: BTreeSet<String>,
    /// Where each field of `config` was written.
    pub places: Places,
}

impl DesiredStream {
    /// What the user calls it: the bucket, or the stream.
    #[must_use]
    pub fn label(&self) -> &str {
        self.bucket.as_deref().unwrap_or(&self.name)
    }
}

/// A durable consumer.
#[derive(Debug, Clone)]
pub struct DesiredConsumer {
    /// The name of its stream on the server.
    pub stream: String,
    /// Its durable name.
    pub name: String,
    /// The configuration as it is sent: durations in nanoseconds, only what was declared.
    pub config: Map<String, Value>,
    /// The top-level fields of `config`.
    pub declared: BTreeSet<String>,
    /// Where each field of `config` was written.
    pub places: Places,
}

/// Where the fields of a configuration were written, by JSON pointer into the configuration (`/sources/0/name`).
#[derive(Debug, Clone, Default)]
pub struct Places {
    file: PathBuf,
    spots: BTreeMap<String, Spot>,
}

#[derive(Debug, Clone)]
struct Spot {
    key: Place,
    value: Place,
}

impl Places {
    /// No field known, only the file.
    #[must_use]
    pub fn of_file(file: impl Into<PathBuf>) -> Places {
        Places { file: file.into(), spots: BTreeMap::new() }
    }

    /// Every field below a node of a document.
    #[must_use]
    pub fn of_node(document: &Document, node: &Node) -> Places {
        let mut places = Places::of_file(document.source.file());
        places.add("", document, node);
        places
    }

    /// The place of the key; of the nearest enclosing field that was written, else of the file as a whole.
    #[must_use]
    pub fn key(&self, pointer: &str) -> Place {
        self.nearest(pointer).map_or_else(|| self.file(), |spot| spot.key.clone())
    }

    /// The place of the value; of the nearest enclosing field that was written, else of the file as a whole.
    #[must_use]
    pub fn value(&self, pointer: &str) -> Place {
        self.nearest(pointer).map_or_else(|| self.file(), |spot| spot.value.clone())
    }

    /// The file as a whole.
    #[must_use]
    pub fn file(&self) -> Place {
        Place { file: self.file.clone(), line: 0, column: 0, offset: 0, length: 0 }
    }

    /// Lets a field of the configuration point to where another key of the file stands.
    pub fn alias(&mut self, pointer: &str, written: &str) {
        if let Some(spot) = self.spots.get(written).cloned() {
            self.spots.insert(pointer.to_owned(), spot);
        }
    }

    fn nearest(&self, pointer: &str) -> Option<&Spot> {
        let mut at = pointer;
        loop {
            if let Some(spot) = self.spots.get(at) {
                return Some(spot);
            }
            at = &at[..at.rfind('/')?];
            if at.is_empty() {
                return None;
            }
        }
    }

    fn add(&mut self, prefix: &str, document: &Document, node: &Node) {
        for entry in node.entries() {
            let pointer = format!("{prefix}/{}", entry.key.replace('~', "~0").replace('/', "~1"));
            let key = document.source.place(entry.key_range.clone());
            let value = document.source.place(entry.value.range.clone());
            self.add(&pointer, document, &entry.value);
            self.spots.insert(pointer, Spot { key, value });
        }
        for (index, item) in node.items().iter().enumerate() {
            let pointer = format!("{prefix}/{index}");
            let place = document.source.place(item.range.clone());
            self.add(&pointer, document, item);
            self.spots.insert(pointer, Spot { key: place.clone(), value: place });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_was_not_written_points_to_what_encloses_it() {
        let document =
            Document::parse("streams/A.json", "{\"name\": \"A\",\n \"placement\": {\"tags\": [\"a\"]}}")
                .unwrap();
        let places = Places::of_node(&document, &document.root);
        assert_eq!(places.value("/placement/tags/0").column, 25);
        assert_eq!(places.key("/placement/cluster").line, 2);
        assert_eq!(places.key("/max_age").line, 0);
    }
}
