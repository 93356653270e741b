//! What `export` records in `streamproof.toml` of the server that the files came from.

use std::path::PathBuf;

use crate::document::Document;
use crate::settings::{Exported, Settings};

const HEAD: &str = "[exported]";

/// What stands above the table, for whoever reads the file.
const ABOUT: &str = "# The server that these files were exported from. restart-check judges this one.";

/// The text of a `streamproof.toml` with that record in it, in place of an older one; all else stays as it is. `None` where that
/// cannot be done without understanding more of the file than is certain.
#[must_use]
pub fn record(text: &str, exported: &Exported) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let table = line.trim_start();
        if table.starts_with('[') {
            inside = table.starts_with(HEAD);
        }
        if !inside && line != ABOUT {
            kept.push(line);
        }
    }
    while kept.last().is_some_and(|line| line.trim().is_empty()) {
        kept.pop();
    }
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut lines = vec![ABOUT.to_owned(), HEAD.to_owned()];
    lines.extend(exported.server.as_deref().map(|name| format!("server = {}", quoted(name))));
    lines.extend(exported.version.as_ref().map(|version| format!("version = \"{version}\"")));
    lines.extend(exported.sync_interval.map(|sync| format!("sync_interval = \"{sync}\"")));
    let mut new = kept.join("\n");
    if !new.is_empty() {
        new.push_str("\n\n");
    }
    new.push_str(&lines.join("\n"));
    new.push('\n');
    let whole = |text: &str| {
        let document = Document::parse_toml(PathBuf::new(), text.to_owned()).ok()?;
        Some(Settings::read(&document, &mut Vec::new()))
    };
    let (before, after) = (whole(text)?, whole(&new)?);
    let rest = |settings: Settings| {
        let mut settings = settings.without_places();
        settings.exported = None;
        format!("{settings:?}")
    };
    (after.exported.as_ref() == Some(exported) && rest(before) == rest(after)).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server_conf::Sync;
    use crate::version::Version;

    fn exported() -> Exported {
        Exported {
            server: Some("n \"1\"".into()),
            version: Some(Version::new(2, 11, 3)),
            sync_interval: Some(Sync::Every(120_000_000_000)),
        }
    }

    const RECORD: &str = "# The server that these files were exported from. restart-check judges this one.\n[exported]\n\
                          server = \"n \\\"1\\\"\"\nversion = \"2.11.3\"\nsync_interval = \"2m\"\n";

    #[test]
    fn it_is_added_and_replaced_and_the_rest_stays() {
        assert_eq!(record("", &exported()).as_deref(), Some(RECORD));
        let text = "# mine\nport = 4333 # here\n\n[streams.S]\nsurvive = []\n";
        let once = record(text, &exported()).unwrap();
        assert_eq!(once, format!("{text}\n{RECORD}"));
        assert_eq!(record(&once, &exported()), Some(once.clone()));
        let older = "port = 1\n[exported]\nversion = \"2.10.0\"\n[streams.S]\nsurvive = []\n";
        let newer = record(older, &exported()).unwrap();
        assert_eq!(newer, format!("port = 1\n[streams.S]\nsurvive = []\n\n{RECORD}"));
    }

    #[test]
    fn a_file_that_says_it_in_another_form_is_left_alone() {
        assert_eq!(record("exported = { version = \"2.10.0\" }\n", &exported()), None);
        assert_eq!(record("exported.version = \"2.10.0\"\n", &exported()), None);
        assert_eq!(record("port = = 1\n", &exported()), None);
        let within = "[[accept]]\nname = \"x\"\nreason = \"\"\"\n[exported]\nmine\n\"\"\"\n";
        assert_eq!(record(within, &exported()), None);
    }
}
