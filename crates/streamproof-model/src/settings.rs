//! `streamproof.toml`: the server, how to connect, what each stream must survive, and the defects that are accepted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::document::{Data, Document, Entry, Node};
use crate::failure::Place;
use crate::fields::{Field, OLDEST, Shape};
use crate::finding::{Finding, Rule};
use crate::server_conf::Sync;
use crate::shape;
use crate::version::{Release, Version};

/// What `streamproof.toml` says; what it leaves out is `None` or empty.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The version of nats-server to run.
    pub version: Option<Version>,
    /// `auto`, `process` or `docker`.
    pub engine: Option<String>,
    /// The port for clients; `Port::Auto` takes any free one.
    pub port: Option<Port>,
    /// The port for monitoring.
    pub monitor_port: Option<Port>,
    /// How many nodes.
    pub nodes: Option<u32>,
    /// How to connect.
    pub connect: Connect,
    /// What streams must survive, unless they say otherwise.
    pub survive: Option<BTreeSet<Level>>,
    /// What single streams must survive, by their name on the server (`KV_x` for a bucket `x`).
    pub survive_by_stream: BTreeMap<String, BTreeSet<Level>>,
    /// How many messages that were acked a consumer may see again after a fault, by stream and consumer.
    pub redelivery: BTreeMap<(String, String), u64>,
    /// Defects of the server that this project accepts.
    pub accepted: Vec<Accepted>,
    /// What `export` recorded of the server that the files came from.
    pub exported: Option<Exported>,
    places: BTreeMap<String, Place>,
}

/// A port, or any free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Whatever is free.
    Auto,
    /// This one.
    Fixed(u16),
}

/// How to connect. Secrets stand in the files named here or in the environment, never in this file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connect {
    /// The server to talk to, where it is not our own.
    pub url: Option<String>,
    /// A credentials file.
    pub creds: Option<String>,
    /// A file with an nkey seed.
    pub nkey: Option<String>,
    /// A user; the password comes from the environment or from `password_file`.
    pub user: Option<String>,
    /// A file with the user's password.
    pub password_file: Option<String>,
    /// A file with a token.
    pub token_file: Option<String>,
    /// A file with the authorities that the server's certificate is checked against.
    pub tls_ca: Option<String>,
    /// A client certificate.
    pub tls_cert: Option<String>,
    /// The key of the client certificate.
    pub tls_key: Option<String>,
}

/// A level of fault that a stream can be asked to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A stop and start.
    Restart,
    /// The process is killed.
    ProcessCrash,
    /// The machine loses power.
    HostCrash,
    /// The server is replaced by a newer one.
    Upgrade,
    /// No space is left.
    DiskFull,
    /// One of several nodes is lost.
    NodeLoss,
}

impl Level {
    /// Every level.
    pub const ALL: [Level; 6] = [
        Level::Restart,
        Level::ProcessCrash,
        Level::HostCrash,
        Level::Upgrade,
        Level::DiskFull,
        Level::NodeLoss,
    ];

    /// The name in `survive`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Level::Restart => "restart",
            Level::ProcessCrash => "process-crash",
            Level::HostCrash => "host-crash",
            Level::Upgrade => "upgrade",
            Level::DiskFull => "disk-full",
            Level::NodeLoss => "node-loss",
        }
    }

    /// The level of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// A known defect of the server that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its name in the table of known defects.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// The server that the files were exported from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Its name.
    pub server: Option<String>,
    /// Its version.
    pub version: Option<Version>,
    /// When it syncs, where its monitoring port said it.
    pub sync_interval: Option<Sync>,
}

impl Settings {
    /// What a stream must survive: its own setting, else the default; `None` where nothing was said.
    #[must_use]
    pub fn survive_of(&self, stream: &str) -> Option<&BTreeSet<Level>> {
        self.survive_by_stream.get(stream).or(self.survive.as_ref())
    }

    /// Where a key was written (`/port`, `/accept/0`).
    #[must_use]
    pub fn place(&self, pointer: &str) -> Option<&Place> {
        self.places.get(pointer)
    }

    /// Reads the file; what is wrong becomes findings.
    #[must_use]
    pub fn read(document: &Document, found: &mut Vec<Finding>) -> Settings {
        // Keys have no versions here: the newest there is has them all.
        let newest = Version::new(u32::MAX, 0, 0);
        let named = |fields: &'static [Field],
                     table: &str,
                     found: &mut Vec<Finding>|
         -> Vec<(String, Map<String, Value>)> {
            let entries = document.root.get(table).map(Node::entries).unwrap_or_default();
            entries
                .iter()
                .map(|entry| {
                    (entry.key.clone(), shape::read(&document.source, &entry.value, fields, &newest, found))
                })
                .collect()
        };
        for (table, below, example) in TABLES {
            if let Some(entry) = document.root.entry(table) {
                must_be_table(document, entry, below, example, found);
            }
        }
        let mut top = document.root.clone();
        if let Data::Object(entries) = &mut top.data {
            entries.retain(|entry| TABLES.iter().all(|(table, _, _)| *table != entry.key));
        }
        let map = shape::read(&document.source, &top, TOP, &newest, found);
        let text =
            |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
        let mut settings = Settings {
            version: version(document, "/version", text(&map, "version"), found),
            engine: text(&map, "engine"),
            port: port(document, "port", found),
            monitor_port: port(document, "monitor_port", found),
            nodes: map.get("nodes").and_then(Value::as_u64).and_then(|nodes| u32::try_from(nodes).ok()),
            survive: map.get("survive").map(|value| levels(document, "/survive", value, found)),
            ..Settings::default()
        };
        if let Some(Value::Object(connect)) = map.get("connect") {
            settings.connect = Connect {
                url: text(connect, "url"),
                creds: text(connect, "creds"),
                nkey: text(connect, "nkey"),
                user: text(connect, "user"),
                password_file: text(connect, "password_file"),
                token_file: text(connect, "token_file"),
                tls_ca: text(connect, "tls_ca"),
                tls_cert: text(connect, "tls_cert"),
                tls_key: text(connect, "tls_key"),
            };
        }
        if let Some(Value::Object(exported)) = map.get("exported") {
            settings.exported = Some(Exported {
                server: text(exported, "server"),
                version: version(document, "/exported/version", text(exported, "version"), found),
                sync_interval: sync(document, text(exported, "sync_interval"), found),
            });
        }
        for (index, accepted) in map.get("accept").and_then(Value::as_array).into_iter().flatten().enumerate()
        {
            let get = |key: &str| accepted.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (name, reason) = (get("name"), get("reason"));
            if name.is_empty() || reason.trim().is_empty() {
                let place =
                    document.place(&format!("/accept/{index}")).unwrap_or_else(|| document.source.whole());
                found.push(
                    Finding::error(Rule::WrongType, place, "an accepted defect needs a name and a reason")
                        .label("incomplete")
                        .help("such as { name = \"evicted-returns\", reason = \"limits are rarely reached here\" }"),
                );
            }
            settings.accepted.push(Accepted { name, reason });
        }
        for (table, prefix) in
            [("streams", ""), ("kv", crate::bucket::KV_PREFIX), ("objects", crate::bucket::OBJECT_PREFIX)]
        {
            for (name, map) in named(STREAM, table, found) {
                if let Some(value) = map.get("survive") {
                    let levels = levels(document, &format!("/{table}/{name}/survive"), value, found);
                    settings.survive_by_stream.insert(format!("{prefix}{name}"), levels);
                    settings.remember(document, &format!("/{table}/{name}"));
                }
            }
        }
        for stream in document.root.get("consumers").map(Node::entries).unwrap_or_default() {
            for consumer in stream.value.entries() {
                let map = shape::read(&document.source, &consumer.value, CONSUMER, &newest, found);
                if let Some(budget) = map.get("redelivery").and_then(Value::as_u64) {
                    settings.redelivery.insert((stream.key.clone(), consumer.key.clone()), budget);
                    settings.remember(document, &format!("/consumers/{}/{}", stream.key, consumer.key));
                }
            }
        }
        settings
    }

    /// The same wherever it was written.
    pub(crate) fn without_places(self) -> Settings {
        Settings { places: BTreeMap::new(), ..self }
    }

    /// The streams and consumers that are named, with the places where they are.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&String, &Place)> {
        self.places.iter()
    }

    fn remember(&mut self, document: &Document, pointer: &str) {
        if let Some(place) = document.key_place(pointer) {
            self.places.insert(pointer.to_owned(), place);
        }
    }
}

const fn key(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, since: OLDEST, until: None, changes: &[] }
}

const ALWAYS: Release = OLDEST;

const TOP: &[Field] = &[
    key("version", Shape::Text),
    key("engine", Shape::Choice(&[("auto", ALWAYS), ("process", ALWAYS), ("docker", ALWAYS)])),
    key("port", Shape::Any),
    key("monitor_port", Shape::Any),
    key("nodes", Shape::Count { min: 1, max: 9 }),
    key("survive", Shape::Texts),
    key(
        "connect",
        Shape::Object(&[
            key("url", Shape::Text),
            key("creds", Shape::Text),
            key("nkey", Shape::Text),
            key("user", Shape::Text),
            key("password_file", Shape::Text),
            key("token_file", Shape::Text),
            key("tls_ca", Shape::Text),
            key("tls_cert", Shape::Text),
            key("tls_key", Shape::Text),
        ]),
    ),
    key("accept", Shape::Objects(&[key("name", Shape::Text), key("reason", Shape::Text)])),
    key(
        "exported",
        Shape::Object(&[
            key("server", Shape::Text),
            key("version", Shape::Text),
            key("sync_interval", Shape::Text),
        ]),
    ),
    // Read apart, because their keys are names; here so that a typo finds them.
    key("streams", Shape::Labels),
    key("kv", Shape::Labels),
    key("objects", Shape::Labels),
    key("consumers", Shape::Labels),
];

const STREAM: &[Field] = &[key("survive", Shape::Texts)];
const CONSUMER: &[Field] = &[key("redelivery", Shape::Count { min: 0, max: i64::MAX as u64 })];

/// Tables whose keys are names, how many levels of such tables are below them, and an example.
const TABLES: [(&str, u8, &str); 4] = [
    ("streams", 1, "[streams.ORDERS]"),
    ("kv", 1, "[kv.SETTINGS]"),
    ("objects", 1, "[objects.FILES]"),
    ("consumers", 2, "[consumers.ORDERS.BILLING]"),
];

fn must_be_table(document: &Document, entry: &Entry, below: u8, example: &str, found: &mut Vec<Finding>) {
    if !matches!(entry.value.data, Data::Object(_)) {
        let place = document.source.place(entry.value.range.clone());
        let message = format!("{:?} must be a table, and is {}", entry.key, entry.value.kind());
        found.push(
            Finding::error(Rule::WrongType, place, message)
                .label("a table is wanted")
                .help(format!("such as {example}, and its keys in the lines below")),
        );
    } else if below > 0 {
        for entry in entry.value.entries() {
            must_be_table(document, entry, below - 1, example, found);
        }
    }
}

fn version(
    document: &Document,
    pointer: &str,
    text: Option<String>,
    found: &mut Vec<Finding>,
) -> Option<Version> {
    let text = text?;
    match text.parse::<Version>() {
        Ok(version) if version.has(OLDEST) => Some(version),
        Ok(version) => {
            let place = document.place(pointer).unwrap_or_else(|| document.source.whole());
            let message = format!("nats-server {version} is too old, the rules are known from {OLDEST} on");
            found.push(
                Finding::error(Rule::OutOfRange, place, message)
                    .label("too old")
                    .help(format!("write {OLDEST} or newer")),
            );
            None
        }
        Err(error) => {
            let place = document.place(pointer).unwrap_or_else(|| document.source.whole());
            found.push(
                Finding::error(Rule::WrongType, place, error.to_string())
                    .label("not a version")
                    .help("write it as \"2.15.1\""),
            );
            None
        }
    }
}

fn sync(document: &Document, text: Option<String>, found: &mut Vec<Finding>) -> Option<Sync> {
    let text = text?;
    let sync = Sync::named(&text);
    if sync.is_none() {
        let place = document.place("/exported/sync_interval").unwrap_or_else(|| document.source.whole());
        let message = format!("{text:?} is no interval");
        found.push(
            Finding::error(Rule::WrongType, place, message)
                .label("neither \"always\" nor a time")
                .help("write \"always\", or a time such as \"2m\""),
        );
    }
    sync
}

fn port(document: &Document, key: &str, found: &mut Vec<Finding>) -> Option<Port> {
    let node = document.root.get(key)?;
    let port = match &node.data {
        Data::Text(text) if text == "auto" => Some(Port::Auto),
        Data::Number(raw) => raw.parse::<u16>().ok().filter(|port| *port > 0).map(Port::Fixed),
        _ => None,
    };
    if port.is_none() {
        let place = document.source.place(node.range.clone());
        found.push(
            Finding::error(Rule::WrongType, place, format!("{key:?} must be from 1 to 65535, or \"auto\""))
                .label("not a port")
                .help("such as 4222, or \"auto\" for any that is free"),
        );
    }
    port
}

fn levels(document: &Document, pointer: &str, value: &Value, found: &mut Vec<Finding>) -> BTreeSet<Level> {
    let mut levels = BTreeSet::new();
    for (index, name) in value.as_array().into_iter().flatten().filter_map(Value::as_str).enumerate() {
        match Level::named(name) {
            Some(level) => {
                levels.insert(level);
            }
            None => {
                let place =
                    document.place(&format!("{pointer}/{index}")).unwrap_or_else(|| document.source.whole());
                let names: Vec<&str> = Level::ALL.iter().map(|level| level.name()).collect();
                let help = crate::nearest::nearest(name, names.iter().copied()).map_or_else(
                    || format!("it is one of {}", names.join(", ")),
                    |near| format!("did you mean {near:?}?"),
                );
                let finding = Finding::error(
                    Rule::UnknownValue,
                    place,
                    format!("nothing is called {name:?} that a stream could survive"),
                );
                found.push(finding.label("unknown level").help(help));
            }
        }
    }
    levels
}
