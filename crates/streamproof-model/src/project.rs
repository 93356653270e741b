//! Everything that a `nats-config/` holds, read from the names and texts of its files.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use crate::bucket::{self, KV_PREFIX, OBJECT_PREFIX};
use crate::desired::{Desired, DesiredConsumer, DesiredStream, Kind, Places};
use crate::document::{Data, Document, Node, Source};
use crate::fields::{CONSUMER, Field, KV, OBJECT, STREAM};
use crate::finding::{Finding, Invalid, Rule};
use crate::server_conf::ServerConf;
use crate::settings::Settings;
use crate::version::Version;
use crate::{shape, validate};

/// What the files of a project say.
#[derive(Debug, Clone)]
pub struct Project {
    /// Streams, buckets and consumers.
    pub desired: Desired,
    /// `streamproof.toml`.
    pub settings: Settings,
    /// `jetstream.conf`, where there is one.
    pub server_conf: Option<ServerConf>,
    /// The version whose rules hold: that of `streamproof.toml`, else the one given.
    pub version: Version,
    /// What is doubtful; after [`Project::load`] no error is among them.
    pub findings: Vec<Finding>,
}

/// A file or folder of which the text is not there to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its name, relative to `nats-config/`.
    pub name: PathBuf,
    /// Why, after its name: `cannot be read: permission denied`.
    pub why: String,
    /// What to do about it.
    pub help: String,
}

/// How files are read.
#[derive(Debug, Clone)]
pub struct Options {
    /// What stands before the names of files in findings, such as `nats-config`.
    pub root: PathBuf,
    /// The version whose rules hold where `streamproof.toml` says none.
    pub version: Version,
}

impl Project {
    /// Reads and validates all files; names are relative to `nats-config/` (`streams/A.json`).
    ///
    /// # Errors
    /// All findings in all files, if at least one is an error.
    pub fn load(
        files: impl IntoIterator<Item = (PathBuf, String)>,
        options: &Options,
    ) -> Result<Project, Invalid> {
        let project = Project::read(files, options);
        if project.findings.iter().any(Finding::is_error) {
            Err(Invalid { findings: project.findings })
        } else {
            Ok(project)
        }
    }

    /// As [`Project::load`], but keeps what could be read beside the errors.
    #[must_use]
    pub fn read(files: impl IntoIterator<Item = (PathBuf, String)>, options: &Options) -> Project {
        Project::read_beside(files, &[], options)
    }

    /// As [`Project::read`]; each file that could not be read is a finding among the others.
    #[must_use]
    pub fn read_beside(
        files: impl IntoIterator<Item = (PathBuf, String)>,
        unread: &[Unread],
        options: &Options,
    ) -> Project {
        let mut files: Vec<(PathBuf, String)> = files.into_iter().collect();
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut found = Vec::new();
        // Streams that may well be declared, in files that say nothing.
        let mut unknown = BTreeSet::new();
        for Unread { name, why, help } in unread {
            let place = Source::new(options.root.join(name), "").whole();
            match Place::of(name) {
                Place::Ignored => continue,
                Place::Asset(asset) => unknown.extend(asset.stream_name()),
                _ => {}
            }
            found.push(Finding::error(Rule::Unreadable, place, why.clone()).help(help.clone()));
        }
        let mut settings = Settings::default();
        let mut server_conf = None;
        let mut assets = Vec::new();
        for (name, text) in files {
            let shown = options.root.join(&name);
            match Place::of(&name) {
                Place::ServerConf => {
                    server_conf = Some(ServerConf::read(Source::new(shown, text), &mut found))
                }
                Place::Settings => match Document::parse_toml(shown, text) {
                    Ok(document) => settings = Settings::read(&document, &mut found),
                    Err(errors) => found.extend(errors),
                },
                Place::Asset(asset) => match Document::parse(shown, text) {
                    Ok(document) => {
                        found.extend(document.duplicates());
                        assets.push((asset, document));
                    }
                    Err(error) => {
                        unknown.extend(asset.stream_name());
                        found.push(*error);
                    }
                },
                Place::Ignored => {}
                Place::Unknown(help) => {
                    let place = Source::new(shown, "").whole();
                    found.push(
                        Finding::warning(Rule::UnknownFile, place, "nothing reads this file").help(help),
                    );
                }
            }
        }
        let version = settings.version.clone().unwrap_or_else(|| options.version.clone());
        let mut desired = Desired::default();
        for (asset, document) in &assets {
            declare(asset, document, &version, &mut desired, &mut found);
        }
        desired.streams.sort_by(|a, b| a.name.cmp(&b.name));
        desired.consumers.sort_by(|a, b| (&a.stream, &a.name).cmp(&(&b.stream, &b.name)));
        validate::desired(&desired, &version, &mut found);
        validate::settings(&settings, &desired, &mut found);
        found.retain(|finding| finding.rule != Rule::UnknownStream || !unknown.contains(folder(finding)));
        found.sort_by(|a, b| {
            (&a.place.file, a.place.offset, a.rule).cmp(&(&b.place.file, b.place.offset, b.rule))
        });
        Project { desired, settings, server_conf, version, findings: found }
    }
}

/// The folder in which a file stands: of a consumer's, the name of its stream.
fn folder(finding: &Finding) -> &str {
    let folder = finding.place.file.parent().and_then(Path::file_name);
    folder.and_then(std::ffi::OsStr::to_str).unwrap_or_default()
}

/// What a file is for, by its name.
enum Place {
    ServerConf,
    Settings,
    Asset(Asset),
    Ignored,
    Unknown(String),
}

/// A file that declares something, and the names that its path gives.
struct Asset {
    kind: Kind,
    /// The folder's name, of consumers.
    stream: Option<String>,
    name: String,
}

impl Asset {
    /// The stream that it declares, if it does, as the server would call it.
    fn stream_name(&self) -> Option<String> {
        match self.kind {
            Kind::Stream => Some(self.name.clone()),
            Kind::Kv => Some(format!("{KV_PREFIX}{}", self.name)),
            Kind::Object => Some(format!("{OBJECT_PREFIX}{}", self.name)),
            Kind::Consumer => None,
        }
    }
}

impl Place {
    fn of(name: &Path) -> Place {
        let parts: Option<Vec<&str>> = name
            .components()
            .filter(|part| *part != Component::CurDir)
            .map(|part| if let Component::Normal(part) = part { part.to_str() } else { None })
            .collect();
        let Some(parts) = parts else {
            return Place::Unknown("its name is not readable text".to_owned());
        };
        // Leftovers of editors and systems, and notes to the reader.
        if parts
            .last()
            .is_some_and(|last| last.starts_with('.') || last.ends_with('~') || last.ends_with(".md"))
        {
            return Place::Ignored;
        }
        let asset = |kind, stream: Option<&str>, file: &str| match file.strip_suffix(".json") {
            Some(name) => {
                Place::Asset(Asset { kind, stream: stream.map(str::to_owned), name: name.to_owned() })
            }
            None => Place::Unknown("only files that end in .json are read here".to_owned()),
        };
        match parts.as_slice() {
            ["jetstream.conf"] => Place::ServerConf,
            ["streamproof.toml"] => Place::Settings,
            ["streams", file] => asset(Kind::Stream, None, file),
            ["kv", file] => asset(Kind::Kv, None, file),
            ["objects", file] => asset(Kind::Object, None, file),
            ["consumers", stream, file] => asset(Kind::Consumer, Some(stream), file),
            ["consumers", file] => {
                Place::Unknown(format!("a consumer stands in the folder of its stream: consumers/<STREAM>/{file}"))
            }
            _ => Place::Unknown(
                "known are jetstream.conf, streamproof.toml, streams/<STREAM>.json, consumers/<STREAM>/<NAME>.json, kv/<BUCKET>.json \
                 and objects/<BUCKET>.json"
                    .to_owned(),
            ),
        }
    }
}

fn declare(
    asset: &Asset,
    document: &Document,
    version: &Version,
    desired: &mut Desired,
    found: &mut Vec<Finding>,
) {
    let node = configuration(document, asset.kind);
    if !matches!(node.data, Data::Object(_)) {
        let place = document.source.place(node.range.clone());
        found.push(
            Finding::error(
                Rule::WrongType,
                place,
                format!("a {} is an object, and this is {}", asset.kind, node.kind()),
            )
            .label("an object is wanted")
            .help("write { … }: what `nats … info --json` shows as its config"),
        );
        return;
    }
    let mut config = shape::read(&document.source, node, table(asset.kind), version, found);
    let mut places = Places::of_node(document, node);
    let identity = match asset.kind {
        Kind::Stream => "name",
        Kind::Consumer if config.contains_key("name") && !config.contains_key("durable_name") => "name",
        Kind::Consumer => "durable_name",
        Kind::Kv | Kind::Object => "bucket",
    };
    let name = name(asset, identity, &mut config, &places, found);
    match asset.kind {
        Kind::Consumer => {
            let stream = asset.stream.clone().unwrap_or_default();
            validate::legacy_pull(&mut config, &places, document, node, found);
            let declared = config.keys().cloned().collect();
            desired.consumers.push(DesiredConsumer { stream, name, config, declared, places });
        }
        kind => {
            let (stream, bucket, config) = match kind {
                Kind::Kv => (format!("{KV_PREFIX}{name}"), Some(name), bucket::kv_stream(&config)),
                Kind::Object => {
                    (format!("{OBJECT_PREFIX}{name}"), Some(name), bucket::object_stream(&config))
                }
                _ => (name, None, config),
            };
            if bucket.is_some() {
                bucket::alias(&mut places);
            }
            let declared = config.keys().cloned().collect();
            desired.streams.push(DesiredStream { kind, name: stream, bucket, config, declared, places });
        }
    }
}

fn table(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Stream => STREAM,
        Kind::Consumer => CONSUMER,
        Kind::Kv => KV,
        Kind::Object => OBJECT,
    }
}

/// The configuration itself, also where the document is an answer of `nats stream info --json` or `nats consumer info --json`.
fn configuration(document: &Document, kind: Kind) -> &Node {
    let root = &document.root;
    let answer = matches!(kind, Kind::Stream | Kind::Consumer)
        && (root.get("created").is_some()
            || root.get("state").is_some()
            || root.get("stream_name").is_some());
    match root.get("config") {
        Some(config) if answer && matches!(config.data, Data::Object(_)) => config,
        _ => root,
    }
}

/// The name that a file gives; where it gives none the file's own name is filled in.
fn name(
    asset: &Asset,
    identity: &str,
    config: &mut Map<String, Value>,
    places: &Places,
    found: &mut Vec<Finding>,
) -> String {
    let pointer = format!("/{identity}");
    let given =
        config.get(identity).and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned);
    let name = given.unwrap_or_else(|| asset.name.clone());
    config.insert(identity.to_owned(), name.clone().into());
    if name != asset.name {
        found.push(
            Finding::error(
                Rule::NameMismatch,
                places.value(&pointer),
                format!("{identity:?} is {name:?}, and the file is {:?}", asset.name),
            )
            .label("not the file's name")
            .help(format!("rename the file to {name}.json, or write {:?} here", asset.name)),
        );
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;

    fn read(files: &[(&str, &str)]) -> Project {
        let files = files.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_owned()));
        Project::read(files, &Options { root: "nats-config".into(), version: Version::new(2, 15, 1) })
    }

    fn rules(project: &Project) -> Vec<(Severity, &'static str, u32)> {
        project
            .findings
            .iter()
            .map(|finding| (finding.severity, finding.rule.name(), finding.place.line))
            .collect()
    }

    #[test]
    fn the_shipped_files_are_valid() {
        let project = read(&[
            ("jetstream.conf", include_str!("../../../nats-config/jetstream.conf")),
            ("streamproof.toml", include_str!("../../../nats-config/streamproof.toml")),
            ("streams/AnotherStream.json", include_str!("../../../nats-config/streams/AnotherStream.json")),
            (
                "consumers/AnotherStream/SomeConsumer.json",
                include_str!("../../../nats-config/consumers/AnotherStream/SomeConsumer.json"),
            ),
        ]);
        assert_eq!(rules(&project), []);
        assert!(project.desired.consumer("AnotherStream", "SomeConsumer").is_some());
        assert_eq!(
            project.settings.survive_of("AnotherStream").map(std::collections::BTreeSet::len),
            Some(3)
        );
    }

    #[test]
    fn all_findings_come_in_one_run_each_at_its_place() {
        use Severity::{Error, Warning};
        let project = read(&[
            (
                "streams/A.json",
                "{\n\"name\": \"B\",\n\"subjects\": [\"a.>\"],\n\"max_mgs\": 1,\n\"max_age\": 3600\n}",
            ),
            ("streams/C.json", "{\n\"subjects\": [\"a.b\"],\n\"storage\": \"disk\"}"),
            (
                "consumers/C/old.json",
                "{\"ack_policy\": \"explicit\",\n\"deliver_subject\": \"PULL\",\n\"filter_subject\": \"x\"}",
            ),
            ("streams/broken.json", "{\n  \"name\": ,\n}"),
            ("streams/readme.txt", ""),
        ]);
        assert_eq!(
            rules(&project),
            [
                (Warning, "legacy-pull", 2),
                (Error, "filter-outside", 3),
                (Error, "name-mismatch", 2),
                (Error, "unknown-key", 4),
                (Error, "unit", 5),
                (Error, "subject-overlap", 2),
                (Error, "unknown-value", 3),
                (Error, "syntax", 2),
                (Warning, "unknown-file", 0),
            ]
        );
        let help = project.findings[0].help.clone().unwrap_or_default();
        assert!(help.contains("\"deliver_subject\": \"PULL\""), "{help}");
    }

    #[test]
    fn what_cannot_be_read_is_one_finding_and_does_not_bring_others() {
        let files = [
            ("consumers/A/c.json", r#"{"durable_name": "c", "ack_policy": "explicit"}"#),
            ("consumers/B/c.json", r#"{"durable_name": "c", "ack_policy": "explicit"}"#),
            ("consumers/KV_K/c.json", r#"{"durable_name": "c", "ack_policy": "explicit"}"#),
            ("consumers/Z/c.json", r#"{"durable_name": "c", "ack_policy": "explicit"}"#),
            ("kv/K.json", "{"),
            ("streams/B.json", "{"),
            ("streams/C.json", r#"{"max_mgs": 1}"#),
        ];
        let files = files.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_owned()));
        let unread = ["streams/A.json", "notes.md"].map(|name| Unread {
            name: name.into(),
            why: "cannot be read".into(),
            help: "ls -l".into(),
        });
        let options = Options { root: "nats-config".into(), version: Version::new(2, 15, 1) };
        let project = Project::read_beside(files, &unread, &options);
        let found: Vec<(&str, String)> =
            project.findings.iter().map(|f| (f.rule.name(), f.place.file.display().to_string())).collect();
        let expected = [
            ("unknown-stream", "nats-config/consumers/Z/c.json"),
            ("syntax", "nats-config/kv/K.json"),
            ("unreadable", "nats-config/streams/A.json"),
            ("syntax", "nats-config/streams/B.json"),
            ("unknown-key", "nats-config/streams/C.json"),
        ];
        assert_eq!(found, expected.map(|(rule, file)| (rule, file.to_owned())));
    }

    #[test]
    fn the_answer_of_info_is_read_as_its_configuration() {
        let project = read(&[
            (
                "streams/A.json",
                r#"{"config": {"name": "A", "metadata": {"_nats.ver": "2.15.1"}, "max_age": "24h"}, "created": "x", "state": {}}"#,
            ),
            (
                "consumers/A/c.json",
                r#"{"stream_name": "A", "config": {"durable_name": "c", "pause_until": "0001-01-01T00:00:00Z"}}"#,
            ),
            ("kv/cfg.json", r#"{"bucket": "cfg", "ttl": "1h"}"#),
        ]);
        assert_eq!(rules(&project), []);
        assert_eq!(project.desired.stream("A").unwrap().config["max_age"], 86_400_000_000_000u64);
        assert_eq!(project.desired.stream("KV_cfg").unwrap().label(), "cfg");
        assert!(!project.desired.consumer("A", "c").unwrap().config.contains_key("pause_until"));
    }
}
