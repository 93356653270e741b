//! Inputs for the reader of files, mutated from good ones or random, each made from a seed and its number alone.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use streamproof_model::fields::{CONSUMER, Field, KV, OBJECT, STREAM, Shape};
use streamproof_model::info::{consumer_info, stream_info};
use streamproof_model::normalize::{ServerFacts, normalize_consumer, normalize_stream};
use streamproof_model::plan::{
    ConsumerSeen, Observed, Options as PlanOptions, Plan, ServerSeen, StreamSeen, plan, render,
};
use streamproof_model::project::{Options, Project};
use streamproof_model::version::Version;

/// The generator: SplitMix64 (Steele, Lea, Flood), of which every state is a good one.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or_default()
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// No text grows beyond this: larger ones only take longer.
const LARGEST_BYTES: usize = 16 * 1024;

/// Scraps that files are made of, and that readers stumble over.
const SCRAPS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-1",
    "1e400",
    "1e-400",
    "1.5",
    "01",
    "+1",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999999999",
    "\"\"",
    "\"a.>\"",
    "\">\"",
    "\"*\"",
    "\"a..b\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"24h\"",
    "\"-1s\"",
    "\"9999999999999999h\"",
    "\"0001-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:59.999999999999Z\"",
    "\"2024-02-30T00:00:00Z\"",
    "\"{{wildcard(1)}}\"",
    "\"{{\"",
    "\"{{partition(2147483648)}}\"",
    "\"$99999999999999999999\"",
    "\u{feff}",
    "ä",
    "\u{1f980}",
    "\n",
    "\r\n",
    "\t",
    "//",
    "/* */",
    "#",
    "$STREAMPROOF_STORE",
    "jetstream {",
    "include 'x'",
    "= ",
    "[[accept]]",
    "[streams.\"a.b\"]",
    "survive = [\"power\"]",
    "'''",
    "\"\"\"",
    "0x1F",
    "1979-05-27",
];

pub(crate) struct Fuzz {
    seed: u64,
    corpus: Vec<(String, String)>,
}

const VERSIONS: [Version; 6] = [
    Version::new(2, 10, 0),
    Version::new(2, 11, 0),
    Version::new(2, 12, 1),
    Version::new(2, 14, 6),
    Version::new(2, 15, 1),
    Version::new(3, 0, 0),
];

impl Fuzz {
    pub(crate) fn new(seed: u64) -> Fuzz {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let mut corpus = vec![
            file("jetstream.conf", include_str!("../../../../nats-config/jetstream.conf")),
            file("streamproof.toml", include_str!("../../../../nats-config/streamproof.toml")),
            file(
                "streamproof.toml",
                "port = \"auto\"\nsurvive = [\"restart\"]\n[connect]\nurl = \"nats://h:4222\"\n[streams.S]\nsurvive = []\n\
                 [consumers.S.C]\nredelivery = 5\n[[accept]]\nname = \"x\"\nreason = \"y\"\n[exported]\nversion = \"2.15.1\"\n",
            ),
            file(
                "kv/B.json",
                r#"{"bucket": "B", "history": 5, "ttl": "1h", "limit_marker_ttl": "1m", "mirror": {"name": "A"}}"#,
            ),
            file(
                "objects/O.json",
                r#"{"bucket": "O", "ttl": "1h", "max_bytes": 1000000, "compression": true}"#,
            ),
        ];
        // The documents of the table of rules, as they stand below their titles.
        for line in include_str!("../../../streamproof-provision/tests/it/rules.txt").lines() {
            let Some((path, text)) =
                line.strip_prefix("    ").and_then(|line| Some(line.split_at(line.find(['{', '['])?)))
            else {
                continue;
            };
            let folder = if path.contains('/') { "consumers/" } else { "streams/" };
            corpus.push((format!("{folder}{}.json", path.trim().replace('"', "")), text.to_owned()));
        }
        Fuzz { seed, corpus }
    }

    /// The files of an input.
    pub(crate) fn input(&self, index: u64) -> Vec<(PathBuf, String)> {
        let mut dice = self.dice(index);
        let files = 1 + dice.below(3);
        (0..files)
            .map(|_| {
                let (path, text) = self.file(&mut dice);
                (PathBuf::from(path), text)
            })
            .collect()
    }

    fn dice(&self, index: u64) -> Dice {
        Dice(self.seed ^ index.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn file(&self, dice: &mut Dice) -> (String, String) {
        let (path, text) = dice.pick(&self.corpus).clone();
        match dice.below(8) {
            0 => (path, noise(dice)),
            1 => (path, tree(dice, 0).to_string()),
            2 | 3 => (path.clone(), document(dice, &path).to_string()),
            _ => {
                let mut bytes = text.into_bytes();
                for _ in 0..=dice.below(4) {
                    self.mutate(dice, &mut bytes);
                }
                bytes.truncate(LARGEST_BYTES);
                (path, String::from_utf8_lossy(&bytes).into_owned())
            }
        }
    }

    fn mutate(&self, dice: &mut Dice, bytes: &mut Vec<u8>) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.below(20)).min(bytes.len());
        match dice.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                let times = if dice.one_in(50) { 200 } else { 1 };
                for _ in 0..times {
                    bytes.splice(end..end, again.iter().copied());
                }
            }
            3 => bytes.truncate(at),
            4 => {
                let other = dice.pick(&self.corpus).1.as_bytes();
                let from = dice.below(other.len());
                bytes.splice(at..end, other[from..(from + 40).min(other.len())].iter().copied());
            }
            5 => {
                let table = *dice.pick(&[STREAM, CONSUMER, KV, OBJECT]);
                let key = format!("\"{}\"", dice.pick(table).name);
                bytes.splice(at..at, key.into_bytes());
            }
            6 if dice.one_in(100) => {
                let deep = dice.pick(&["[", "{\"a\":", "\"", "\\"]).repeat(2000);
                bytes.splice(at..at, deep.into_bytes());
            }
            _ => drop(bytes.splice(at..end, dice.pick(SCRAPS).bytes()).count()),
        }
    }

    /// Reads an input and does with it what the commands do. What must always hold is asserted.
    pub(crate) fn try_one(&self, index: u64) {
        let files = self.input(index);
        let mut dice = self.dice(!index);
        let version = dice.pick(&VERSIONS).clone();
        let options = Options { root: "nats-config".into(), version: version.clone() };
        let project = Project::read(files.clone(), &options);
        for finding in &project.findings {
            assert!(!finding.one_line().is_empty() && !finding.message.is_empty());
            assert!(finding.help.as_ref().is_some_and(|help| !help.is_empty()), "no help: {finding:?}");
            let place = &finding.place;
            assert!(place.line == 0 || !finding.label.is_empty(), "no label: {finding:?}");
            let text = files.iter().filter(|(name, _)| place.file.ends_with(name)).map(|(_, text)| text);
            let inside = |text: &String| text.get(place.offset..place.offset + place.length).is_some();
            assert!(
                place.length == 0 || text.into_iter().any(inside),
                "a place outside its file: {finding:?}"
            );
        }
        let facts = ServerFacts::of(version.clone());
        let server = ServerSeen { name: "n".into(), version: version.to_string(), ..ServerSeen::default() };
        let mut observed = Observed { server, ..Observed::default() };
        for stream in &project.desired.streams {
            let full = normalize_stream(&stream.config, &facts, None);
            assert_eq!(normalize_stream(&full, &facts, None), full, "normalised twice");
            let info = json!({"config": full, "state": {"messages": dice.below(10), "bytes": 100, "first_seq": 1, "last_seq": 9}});
            assert_eq!(stream_info(&stream_info(&info)), stream_info(&info));
            if dice.one_in(2) {
                observed.streams.extend(StreamSeen::from_info(&info));
            }
        }
        let none = Map::new();
        for consumer in &project.desired.consumers {
            let stream = project.desired.stream(&consumer.stream).map_or(&none, |stream| &stream.config);
            let full = normalize_consumer(&consumer.config, stream, &facts);
            assert_eq!(normalize_consumer(&full, stream, &facts), full, "normalised twice");
            let info = json!({"stream_name": consumer.stream, "name": consumer.name, "config": full});
            assert_eq!(consumer_info(&consumer_info(&info)), consumer_info(&info));
            if dice.one_in(2) {
                observed.consumers.extend(ConsumerSeen::from_info(&info));
            }
        }
        let options = PlanOptions { prune: dice.one_in(2), adopt: dice.one_in(4), one_node: dice.one_in(2) };
        let plan = plan(&project.desired, &observed, &options);
        assert!(!render(&plan).is_empty());
        if dice.one_in(16) {
            assert_eq!(Plan::from_json(&plan.to_json().to_string()).ok().as_ref(), Some(&plan));
        }
    }
}

/// Bytes without any sense.
fn noise(dice: &mut Dice) -> String {
    let length = dice.below(200);
    let bytes: Vec<u8> = (0..length).map(|_| dice.next().to_le_bytes()[0]).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// JSON without any sense.
fn tree(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth > 6 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => Value::Bool(dice.one_in(2)),
        2 => number(dice),
        3 => word(dice).into(),
        4 => dice.pick(SCRAPS).to_string().into(),
        5 => (0..dice.below(5)).map(|_| tree(dice, depth + 1)).collect(),
        _ => {
            let table = *dice.pick(&[STREAM, CONSUMER, KV, OBJECT]);
            (0..dice.below(6)).map(|_| (dice.pick(table).name.to_owned(), tree(dice, depth + 1))).collect()
        }
    }
}

/// A document of the kind that its path says, of plausible values: most of its fields are right.
fn document(dice: &mut Dice, path: &str) -> Value {
    let (table, name) = match path.split('/').next() {
        Some("consumers") => (CONSUMER, "durable_name"),
        Some("kv") => (KV, "bucket"),
        Some("objects") => (OBJECT, "bucket"),
        _ => (STREAM, "name"),
    };
    let mut document = object(dice, table, 0);
    let own = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if let Some(map) = document.as_object_mut() {
        map.remove("template_owner");
        map.insert(name.to_owned(), own.into());
    }
    document
}

fn object(dice: &mut Dice, table: &[Field], depth: usize) -> Value {
    let fields = dice.below(table.len().min(8) + 1);
    (0..fields)
        .map(|_| {
            let field = dice.pick(table);
            let value = if dice.one_in(40) { tree(dice, 5) } else { value(dice, &field.shape, depth) };
            (field.name.to_owned(), value)
        })
        .collect()
}

fn value(dice: &mut Dice, shape: &Shape, depth: usize) -> Value {
    let list = |dice: &mut Dice, item: &dyn Fn(&mut Dice) -> Value| -> Value {
        let count = if dice.one_in(200) { 300 } else { dice.below(4) };
        (0..count).map(|_| item(dice)).collect()
    };
    match shape {
        Shape::Flag => dice.one_in(2).into(),
        Shape::Count { .. } | Shape::Bytes { .. } => match dice.below(3) {
            0 => number(dice),
            _ => dice.below(100).into(),
        },
        Shape::Duration => match dice.below(4) {
            0 => number(dice),
            1 => (*dice.pick(&["24h", "1m", "100ms", "0s", "90d"])).into(),
            _ => (dice.below(1_000) as u64 * 1_000_000_000).into(),
        },
        Shape::Durations => list(dice, &|dice| (dice.below(100) as u64 * 1_000_000_000).into()),
        Shape::Time => (*dice.pick(&["2026-01-01T00:00:00Z", "2099-12-31T23:59:59.5+01:00", "soon"])).into(),
        Shape::Choice(words) => dice.pick(words).0.into(),
        Shape::Texts => list(dice, &|dice| word(dice).into()),
        Shape::Subject => subject(dice).into(),
        Shape::Subjects => list(dice, &|dice| subject(dice).into()),
        Shape::Labels => (0..dice.below(3)).map(|_| (word(dice), Value::from(word(dice)))).collect(),
        Shape::Object(fields) if depth < 4 => object(dice, fields, depth + 1),
        Shape::Objects(fields) if depth < 4 => list(dice, &|dice| object(dice, fields, depth + 1)),
        Shape::Percent => (*dice.pick(&["100%", "50", "-1", ""])).into(),
        _ => word(dice).into(),
    }
}

fn number(dice: &mut Dice) -> Value {
    match dice.below(6) {
        0 => dice.next().into(),
        1 => (dice.next() as i64).into(),
        2 => i64::MAX.into(),
        3 => i64::MIN.into(),
        4 => json!(1.5),
        _ => (-1).into(),
    }
}

/// Few words, so that names meet.
fn word(dice: &mut Dice) -> String {
    (*dice.pick(&["S", "O", "M", "C", "A", "B", "a", "KV_B", "a.b", "a b", "", "ä", "orders"])).to_owned()
}

fn subject(dice: &mut Dice) -> String {
    let tokens =
        ["a", "b", "*", ">", "c", "$JS", "API", "$KV", "{{wildcard(1)}}", "$1", "{{split(1,-)}}", ""];
    let count = 1 + dice.below(4);
    let tokens: Vec<&str> = (0..count).map(|_| *dice.pick(&tokens)).collect();
    tokens.join(".")
}
