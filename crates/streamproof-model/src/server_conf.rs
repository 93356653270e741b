//! `jetstream.conf`: kept as it is, and the few facts that can be read from it without being a server.
//!
//! The syntax is nats-server's own (`conf/lex.go`). Only what is certain is told: whatever a variable, an `include` or an unknown
//! form hides is `None`, and the server itself has the last word (`nats-server -t`).

use crate::document::Source;
use crate::duration;
use crate::finding::{Finding, Rule};

/// The file and what is certain about it.
#[derive(Debug, Clone)]
pub struct ServerConf {
    /// The text and its places.
    pub source: Source,
    /// When the store is synced to the disk; `None` where that cannot be told.
    pub sync: Option<Sync>,
    /// `store_dir` as written.
    pub store_dir: Option<String>,
    /// `max_file_store` or `max_file` as written.
    pub max_file: Option<String>,
    /// Whether clients have to say who they are (`accounts`, `authorization`, `operator`, …).
    pub has_accounts: bool,
    /// Whether other files are included, so that nothing absent is certain.
    pub has_includes: bool,
}

/// When nats-server syncs what it has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before each acknowledgement.
    Always,
    /// Every so many nanoseconds.
    Every(u64),
    /// Nothing is said: every two minutes (`defaultSyncInterval`, server/filestore.go).
    Default,
}

/// What nats-server does where nothing is said (`defaultSyncInterval`, server/filestore.go).
const SYNC_DEFAULT_NS: u64 = 120_000_000_000;
const DAY_NS: u64 = 86_400_000_000_000;

impl Sync {
    /// As it is written after `sync_interval:`; `None` for what is neither `always` nor a time.
    #[must_use]
    pub fn named(text: &str) -> Option<Sync> {
        if text.eq_ignore_ascii_case("always") {
            return Some(Sync::Always);
        }
        duration::parse(text).filter(|every| *every > 0).map(Sync::Every)
    }

    /// Whether both come to the same.
    #[must_use]
    pub fn same_as(self, other: Sync) -> bool {
        let every = |sync| match sync {
            Sync::Always => 0,
            Sync::Every(every) => every,
            Sync::Default => SYNC_DEFAULT_NS,
        };
        every(self) == every(other)
    }
}

impl std::fmt::Display for Sync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Sync::Always => f.write_str("always"),
            // nats-server knows no days.
            Sync::Every(every) if *every >= DAY_NS => write!(f, "{}s", every / 1_000_000_000),
            Sync::Every(every) => f.write_str(&duration::format(*every)),
            Sync::Default => f.write_str(&duration::format(SYNC_DEFAULT_NS)),
        }
    }
}

impl ServerConf {
    /// The text with another `sync_interval`; `None` where it cannot be told what stands there (an `include`, no table
    /// `jetstream`).
    #[must_use]
    pub fn with_sync(&self, sync: Sync) -> Option<String> {
        let text = self.source.text();
        let settings = settings(text);
        let table = settings.iter().rev().find(|s| s.path == ["jetstream"] && s.value == "{")?;
        let written = settings.iter().rev().find(|setting| {
            setting.path.len() == 2
                && setting.path[0] == "jetstream"
                && matches!(setting.key(), "sync" | "sync_interval")
        });
        if self.has_includes {
            return None;
        }
        let line = format!("sync_interval: {sync}");
        let mut text = text.to_owned();
        match written {
            Some(written) => text.replace_range(written.range.clone(), &line),
            None => {
                let open = table.range.end + text[table.range.end..].find('{')? + 1;
                text.insert_str(open, &format!("\n{line}\n"));
            }
        }
        Some(text)
    }

    /// Reads what can be read.
    #[must_use]
    pub fn read(source: Source, found: &mut Vec<Finding>) -> ServerConf {
        let settings = settings(source.text());
        let has_includes = settings.iter().any(|setting| setting.key() == "include");
        let of = |names: &[&str]| {
            settings.iter().rev().find(|setting| {
                setting.path.len() == 2 && setting.path[0] == "jetstream" && names.contains(&setting.key())
            })
        };
        let sync = match of(&["sync", "sync_interval"]) {
            Some(setting) => Sync::named(&setting.value),
            None if has_includes => None,
            None => Some(Sync::Default),
        };
        let text = |names: &[&str]| of(names).map(|setting| setting.value.clone());
        let store_dir = text(&["store_dir", "storedir", "store"]);
        let mut owned = Vec::new();
        for setting in settings
            .iter()
            .filter(|setting| setting.path.len() == 1 || OWNED_TABLES.contains(&setting.path[0].as_str()))
        {
            if OWNED.contains(&setting.path[0].as_str()) && !owned.contains(&&setting.path[0]) {
                owned.push(&setting.path[0]);
                let place = source.place(setting.range.clone());
                found.push(
                    Finding::warning(
                        Rule::ServerConf,
                        place,
                        format!("{:?} is set by streamproof itself", setting.path[0]),
                    )
                    .label("has no effect on the servers that streamproof runs")
                    .help("remove it; ports stand in streamproof.toml"),
                );
            }
        }
        let jetstream = settings.iter().any(|setting| setting.path[0] == "jetstream");
        match of(&["store_dir", "storedir", "store"]) {
            Some(setting) if setting.value != STORE => {
                let place = source.place(setting.range.clone());
                found.push(
                    Finding::warning(Rule::ServerConf, place, "the store is where streamproof does not look")
                        .label(format!("not {STORE}"))
                        .help(format!(
                            "write `store_dir: {STORE}`: streamproof puts the folder there, for either engine"
                        )),
                );
            }
            None if !has_includes => {
                let what = if jetstream { "no store_dir is set" } else { "JetStream is not switched on" };
                found.push(
                    Finding::error(Rule::ServerConf, source.whole(), what)
                        .help(format!("write `jetstream {{ store_dir: {STORE} }}`")),
                );
            }
            _ => {}
        }
        let has_accounts = settings.iter().any(|setting| ACCOUNTS.contains(&setting.path[0].as_str()));
        let max_file = text(&["max_file_store", "max_file"]);
        ServerConf { sync, store_dir, max_file, has_accounts, has_includes, source }
    }
}

/// The variable that streamproof sets to the folder of the store.
const STORE: &str = "$STREAMPROOF_STORE";
/// What streamproof passes on the command line, or what would move the server elsewhere.
const OWNED: &[&str] = &[
    "port",
    "listen",
    "host",
    "net",
    "http",
    "http_port",
    "https",
    "https_port",
    "monitor_port",
    "server_name",
    "server_tags",
    "cluster",
    "pid_file",
    "pidfile",
    "ports_file_dir",
    "log_file",
    "logfile",
];
const OWNED_TABLES: &[&str] = &["cluster"];
const ACCOUNTS: &[&str] = &[
    "accounts",
    "authorization",
    "operator",
    "operators",
    "resolver",
    "trusted",
    "trusted_keys",
    "no_auth_user",
];

/// One `key: value` with the keys of the tables that it is in.
#[derive(Debug)]
struct Setting {
    path: Vec<String>,
    value: String,
    range: std::ops::Range<usize>,
}

impl Setting {
    fn key(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

/// Every setting, in order. Never fails: what is not understood is passed over.
fn settings(text: &str) -> Vec<Setting> {
    let mut found = Vec::new();
    let mut tables: Vec<Option<String>> = Vec::new();
    let mut key: Option<(String, usize)> = None;
    for token in (Tokens { text, at: 0 }) {
        match token {
            Token::Open('{') => {
                if let Some((name, start)) = &key {
                    let path = path(&tables, name);
                    found.push(Setting { path, value: "{".to_owned(), range: *start..start + name.len() });
                }
                tables.push(key.take().map(|(key, _)| key));
            }
            Token::Open(_) => {
                tables.push(None);
                key = None;
            }
            Token::Close => {
                tables.pop();
                key = None;
            }
            Token::Separator => {}
            Token::End => key = None,
            // A list's items are no settings.
            Token::Word(..) if tables.last().is_some_and(Option::is_none) => {}
            Token::Word(word, range) => match key.take() {
                None => key = Some((word.to_ascii_lowercase(), range.start)),
                Some((name, start)) => {
                    let path = path(&tables, &name);
                    found.push(Setting { path, value: word, range: start..range.end });
                }
            },
        }
    }
    found
}

/// The tables around a key, and the key. Nobody asks for what is deeper than two: the path of a key in ten thousand tables would
/// be as long.
fn path(tables: &[Option<String>], key: &str) -> Vec<String> {
    let outer = tables.iter().take(2).map(|table| table.clone().unwrap_or_default());
    outer.chain([key.to_owned()]).collect()
}

enum Token {
    Word(String, std::ops::Range<usize>),
    Open(char),
    Close,
    /// `:` or `=`
    Separator,
    /// A line's end, a comma or a semicolon.
    End,
}

struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let rest = &self.text[self.at..];
            let first = rest.chars().next()?;
            let start = self.at;
            self.at += first.len_utf8();
            match first {
                '\n' | ',' | ';' => return Some(Token::End),
                ':' | '=' => return Some(Token::Separator),
                '{' | '[' => return Some(Token::Open(first)),
                '}' | ']' => return Some(Token::Close),
                '#' => self.at = start + rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("//") => self.at = start + rest.find('\n').unwrap_or(rest.len()),
                '"' | '\'' => {
                    let (word, length) = quoted(rest, first);
                    self.at = start + length;
                    return Some(Token::Word(word, start..self.at));
                }
                c if c.is_whitespace() => {}
                _ => {
                    // In a value a colon is part of it (`a:4222`); after a key it ends it, so a colon before a blank ends a word.
                    let mut end = rest.len();
                    for (index, c) in rest.char_indices() {
                        if c.is_whitespace() || matches!(c, ',' | ';' | '{' | '}' | '[' | ']' | '=' | ':') {
                            end = index;
                            break;
                        }
                    }
                    self.at = start + end.max(first.len_utf8());
                    return Some(Token::Word(rest[..self.at - start].to_owned(), start..self.at));
                }
            }
        }
    }
}

/// A quoted text without its quotes, and how many bytes it took with them; a missing quote ends at the end.
fn quoted(rest: &str, quote: char) -> (String, usize) {
    let mut word = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => {
                if let Some((_, escaped)) = chars.next() {
                    word.push(escaped);
                }
            }
            c if c == quote => return (word, index + c.len_utf8()),
            c => word.push(c),
        }
    }
    (word, rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (ServerConf, Vec<Finding>) {
        let mut found = Vec::new();
        (ServerConf::read(Source::new("jetstream.conf", text), &mut found), found)
    }

    #[test]
    fn the_shipped_form_is_read() {
        let (conf, found) =
            read("# x: {\njetstream {\n  store_dir: $STREAMPROOF_STORE // y\n  sync_interval: always\n}\n");
        assert_eq!((conf.sync, conf.has_accounts), (Some(Sync::Always), false));
        assert_eq!(conf.store_dir.as_deref(), Some("$STREAMPROOF_STORE"));
        assert_eq!(found, []);
    }

    #[test]
    fn what_is_not_certain_is_not_told() {
        assert_eq!(
            read("jetstream: { store_dir = \"$STREAMPROOF_STORE\", sync: '10s' }").0.sync,
            Some(Sync::Every(10_000_000_000))
        );
        assert_eq!(read("include './x.conf'\njetstream {}").0.sync, None);
        assert_eq!(read("jetstream { store_dir: $STREAMPROOF_STORE\n sync_interval: $SYNC }").0.sync, None);
        assert_eq!(read("jetstream { store_dir: /data }").0.sync, Some(Sync::Default));
        assert!(read("accounts { A { users: [{user: a, password: b}] } }").0.has_accounts);
    }

    #[test]
    fn another_sync_interval_is_put_where_it_belongs() {
        for (text, expected) in [
            (
                "jetstream { store_dir: x, sync: 10s }\nport: 1",
                Some("jetstream { store_dir: x, sync_interval: 2m }\nport: 1"),
            ),
            ("jetstream {\n  sync_interval: \"always\"\n}", Some("jetstream {\n  sync_interval: 2m\n}")),
            (
                "accounts {}\njetstream: {\n  store_dir: x\n}",
                Some("accounts {}\njetstream: {\nsync_interval: 2m\n\n  store_dir: x\n}"),
            ),
            ("include 'x'\njetstream { store_dir: x }", None),
            ("jetstream: enabled", None),
        ] {
            let changed = read(text).0.with_sync(Sync::Every(120_000_000_000));
            assert_eq!(changed.as_deref(), expected, "{text}");
            if let Some(changed) = changed {
                assert!(read(&changed).0.sync.is_some_and(|sync| sync.same_as(Sync::Default)), "{changed}");
            }
        }
    }

    #[test]
    fn what_streamproof_owns_is_reported() {
        let (_, found) = read("port: 4222\njetstream { store_dir: \"/data/jsm/\" }\nlisten: 0.0.0.0:4222\n");
        let lines: Vec<u32> = found.iter().map(|finding| finding.place.line).collect();
        assert_eq!(lines, [1, 3, 2]);
        assert!(read("debug: true").1[0].is_error());
    }
}
