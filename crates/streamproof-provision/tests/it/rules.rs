//! The rules of `validate` against real servers: what passes is accepted, what is an error is refused.
//!
//! What passes is brought in, as `apply` does it, and the plan afterwards must be empty; the server shows what normalising said, to
//! the letter.
//! What is an error is sent as it stands, without pedantic mode: a server that takes it needs a mark in the table that says why
//! we are stricter.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;
use streamproof_model::bucket::{kv_stream, object_stream};
use streamproof_model::finding::Finding;
use streamproof_model::plan::Options;
use streamproof_model::project::{self, Project};
use streamproof_model::version::{Release, Version};
use streamproof_provision::bring;

use crate::ground::{Ground, LINES, everything, pending, unlike_the_server, until};

/// A few files, and whether we mean to be stricter than the server.
struct Row {
    what: &'static str,
    files: Vec<(String, String)>,
    /// Why we refuse what some server takes.
    stricter: Option<&'static str>,
}

/// The rows of `rules.txt`, which says how it is written.
fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in include_str!("rules.txt").lines().filter(|line| !line.starts_with('#')) {
        let Some(detail) = line.strip_prefix("    ") else {
            rows.push(Row { what: line, files: Vec::new(), stricter: None });
            continue;
        };
        let row = rows.last_mut().unwrap();
        if let Some(why) = detail.strip_prefix("stricter: ") {
            row.stricter = Some(why);
            continue;
        }
        // A path ends where an object or a list begins.
        let (path, text) = detail.split_at(detail.find(['{', '[']).unwrap());
        let path = long(&path.trim().replace('"', ""));
        let folder = match path.split('/').next() {
            Some("kv" | "objects") => "",
            _ if path.contains('/') => "consumers/",
            _ => "streams/",
        };
        row.files.push((format!("{folder}{path}.json"), long(text.trim())));
    }
    rows
}

/// `<x*3>` is xxx.
fn long(text: &str) -> String {
    let repeated = |inner: &str| {
        let (part, count) = inner.split_once('*')?;
        Some(part.repeat(count.parse().ok()?))
    };
    let Some((before, rest)) = text.split_once('<') else { return text.to_owned() };
    match rest.split_once('>').and_then(|(inner, after)| Some((repeated(inner)?, after))) {
        Some((middle, after)) => format!("{before}{middle}{}", long(after)),
        None => format!("{before}<{}", long(rest)),
    }
}

/// What we say of some files: the rules that forbid them, or none.
fn ours(row: &Row, version: &Version) -> (Project, Vec<&'static str>) {
    let files = row.files.iter().map(|(path, text)| (PathBuf::from(path), text.clone()));
    let options = project::Options { root: "nats-config".into(), version: version.clone() };
    let project = Project::read(files, &options);
    let rules = project.findings.iter().filter(|f| f.is_error()).map(|f: &Finding| f.rule.name()).collect();
    (project, rules)
}

/// What a server says to the files as they stand.
enum Answer {
    Taken,
    /// Not even asked: no subject can name it.
    NoSubject,
    Refused,
}

async fn theirs(ground: &Ground, row: &Row) -> Answer {
    for (path, text) in &row.files {
        let parts: Vec<&str> = path.trim_end_matches(".json").split('/').collect();
        let bucket = |make: fn(&serde_json::Map<String, Value>) -> serde_json::Map<String, Value>| {
            let file: Value = serde_json::from_str(text).unwrap();
            Value::Object(make(file.as_object().unwrap())).to_string()
        };
        let (subject, body) = match parts.as_slice() {
            ["streams", name] => (format!("STREAM.CREATE.{name}"), text.clone()),
            ["kv", name] => (format!("STREAM.CREATE.KV_{name}"), bucket(kv_stream)),
            ["objects", name] => (format!("STREAM.CREATE.OBJ_{name}"), bucket(object_stream)),
            ["consumers", stream, name] => (
                format!("CONSUMER.CREATE.{stream}.{name}"),
                format!(r#"{{"stream_name": "{stream}", "config": {text}, "action": "create"}}"#),
            ),
            _ => panic!("{path}"),
        };
        let subject = format!("$JS.API.{subject}");
        // A name with a blank or a dot cannot even be asked for.
        if subject.contains(' ') || parts.last().is_some_and(|name| name.contains('.')) {
            return Answer::NoSubject;
        }
        let mut taken = false;
        until("the place of the stream before is free", async || {
            let answer = ground.js.client().request(subject.clone(), body.clone().into()).await;
            let answer = answer.unwrap_or_else(|error| panic!("{} {}: {error}", ground.version, row.what));
            let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
            taken = answer.get("error").is_none();
            // No refusal: `CREATE_TRIES` in apply.rs says where it comes from.
            answer["error"]["description"] != "error creating store for stream"
        })
        .await;
        if !taken {
            return Answer::Refused;
        }
    }
    Answer::Taken
}

async fn clear(ground: &Ground) {
    let names = ground.js.request("STREAM.NAMES", &Value::Null).await.unwrap();
    for name in names["streams"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        ground.js.request(&format!("STREAM.DELETE.{name}"), &Value::Null).await.unwrap();
    }
}

/// The first server that refuses what it does not know.
const STRICT: Release = Release(2, 12, 0);

/// `=` both take it, `x` both refuse it, `!` only we refuse it, `-` only we refuse it because the server is too old to know it and
/// forgets it; anything else is said in `wrong`.
async fn judge(ground: &Ground, row: &Row, wrong: &mut Vec<String>) -> (char, Vec<&'static str>) {
    let version = &ground.version;
    let (project, rules) = ours(row, version);
    let mark = if rules.is_empty() {
        let brought =
            bring(&ground.js, &project.desired, &Options::default(), &everything(), ground.journals.path())
                .await;
        match brought {
            Ok(brought) if brought.after.pending == 0 => {
                for unlike in unlike_the_server(ground, &project.desired).await {
                    wrong.push(format!("{version} {}: {unlike}", row.what));
                }
            }
            Ok(brought) => {
                wrong.push(format!("{version} {}: afterwards {:?}", row.what, pending(&brought.after)));
            }
            Err(error) => wrong.push(format!("{version} {}: passes, and {error}", row.what)),
        }
        '='
    } else {
        match theirs(ground, row).await {
            Answer::NoSubject | Answer::Refused => 'x',
            Answer::Taken if row.stricter.is_some() => '!',
            Answer::Taken if rules.contains(&"too-new") && !version.has(STRICT) => '-',
            Answer::Taken => {
                wrong.push(format!("{version} {}: taken, and we say {rules:?}", row.what));
                '?'
            }
        }
    };
    clear(ground).await;
    (mark, rules)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_accepted_and_what_is_an_error_is_refused() {
    let mut wrong = Vec::new();
    let rows = rows();
    let mut marks = vec![String::new(); rows.len()];
    let mut named = vec![std::collections::BTreeSet::new(); rows.len()];
    for version in LINES {
        let ground = Ground::of(version).await;
        for (index, row) in rows.iter().enumerate() {
            let (mark, rules) = judge(&ground, row, &mut wrong).await;
            marks[index].push(mark);
            named[index].extend(rules);
        }
    }
    let mut table = String::new();
    for (index, row) in rows.iter().enumerate() {
        let rules: Vec<&str> = named[index].iter().copied().collect();
        writeln!(table, "{}  {}  {}", marks[index], row.what, rules.join(" ")).unwrap();
        if let Some(why) = row.stricter {
            writeln!(table, "       stricter: {why}").unwrap();
            if !marks[index].contains('!') {
                wrong.push(format!("{}: marked as stricter, and no server takes it", row.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
    insta::assert_snapshot!("rules", table);
}
