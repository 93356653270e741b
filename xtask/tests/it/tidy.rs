//! What keeps the house tidy: crate edges, purity, documents that agree with the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use streamproof::model::failure::{Code, Exit};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file below a folder with this ending.
fn files(dir: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                if !matches!(entry.file_name().to_str(), Some("target" | ".git" | ".streamproof")) {
                    open.push(path);
                }
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The normal dependencies among our own crates.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let ours = |name: &str| name == "xtask" || name.starts_with("streamproof");
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let needs = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|d| d["kind"].is_null())
                .filter_map(|d| d["name"].as_str())
                .filter(|name| ours(name))
                .map(str::to_owned)
                .collect();
            (package["name"].as_str().unwrap().to_owned(), needs)
        })
        .collect()
}

#[test]
fn crates_depend_on_each_other_only_as_the_architecture_says() {
    let edges = edges();
    let allowed: &[(&str, &[&str])] = &[
        ("streamproof-model", &[]),
        ("streamproof-client", &[]),
        (
            "streamproof-bench",
            &["streamproof-model", "streamproof-client", "streamproof-crashfs", "streamproof-server"],
        ),
        ("streamproof-crashfs", &["streamproof-model"]),
        ("streamproof-checker", &["streamproof-model"]),
        ("streamproof-server", &["streamproof-model"]),
        ("streamproof-provision", &["streamproof-model"]),
        (
            "streamproof-trial",
            &[
                "streamproof-model",
                "streamproof-checker",
                "streamproof-server",
                "streamproof-provision",
                "streamproof-client",
                "streamproof-crashfs",
            ],
        ),
        ("xtask", &["streamproof"]),
    ];
    for (krate, may) in allowed {
        for needs in &edges[*krate] {
            assert!(may.contains(&needs.as_str()), "{krate} must not depend on {needs}");
        }
    }
    let known = allowed.iter().map(|(name, _)| *name).chain(["streamproof"]).collect::<BTreeSet<_>>();
    let there = edges.keys().map(String::as_str).collect::<BTreeSet<_>>();
    assert_eq!(known, there, "a crate came or went: say here what it may depend on");
}

#[test]
fn pure_code_stays_pure() {
    let foreign = [
        "tokio::",
        "async_nats",
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "std::time::Instant",
        "SystemTime",
        "std::thread",
    ];
    let mut pure = files("crates/streamproof-model/src", ".rs");
    pure.extend(files("crates/streamproof-checker/src", ".rs"));
    assert!(pure.len() > 10);
    for path in pure {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for word in foreign {
            for (number, line) in code.lines().enumerate() {
                let comment = line.trim_start().starts_with("//");
                assert!(comment || !line.contains(word), "{}:{}: {word}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut modules = files("crates", ".rs");
    modules.extend(files("xtask", ".rs"));
    for path in modules {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} has no //! line", path.display());
    }
}

#[test]
fn libraries_never_print() {
    for path in files("crates", ".rs") {
        let path_text = path.to_string_lossy().into_owned();
        if path_text.contains("/tests/") || path_text.contains("/examples/") || path_text.contains("/bin/") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let comment = line.trim_start().starts_with("//");
            for word in ["println!", "eprintln!", "print!(", "process::exit"] {
                assert!(comment || !line.contains(word), "{path_text}:{}: {word}", number + 1);
            }
        }
    }
}

#[test]
fn the_readme_knows_every_command_and_every_exit_code() {
    let readme = read("README.md");
    for command in super::help::commands() {
        assert!(readme.contains(&format!("`{command}")), "README does not mention `{command}`");
    }
    for exit in Exit::ALL {
        let row = format!("| {} | {} |", exit.status(), exit.name());
        assert!(readme.contains(&row), "README lacks the row {row}");
    }
}

#[test]
fn every_failure_is_documented() {
    let text = read("docs/failures.md");
    for code in Code::ALL {
        let row = format!("| `{}` | {} |", code.name(), code.exit().status());
        assert!(text.contains(&row), "docs/failures.md lacks the row {row}");
    }
}

#[test]
fn the_pinned_version_stands_in_one_place() {
    let pinned = streamproof::server::PINNED.to_string();
    let quoted = format!("\"{pinned}\"");
    let holders: Vec<PathBuf> = files("crates", ".rs")
        .into_iter()
        .chain(files("xtask/src", ".rs"))
        .filter(|path| {
            !["/tests/", "/examples/", "tests.rs", "/notation.rs"]
                .iter()
                .any(|part| path.to_string_lossy().contains(part))
        })
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.split("#[cfg(test)]")
                .next()
                .unwrap()
                .lines()
                .any(|l| !l.trim_start().starts_with("//") && l.contains(&quoted))
        })
        .collect();
    assert!(
        holders.iter().all(|path| path.to_string_lossy().contains("streamproof-server")),
        "{pinned} stands outside streamproof-server: {holders:?}"
    );
}

#[test]
fn there_are_no_shell_scripts() {
    assert_eq!(files("crates", ".sh"), Vec::<PathBuf>::new());
    assert_eq!(files("xtask", ".sh"), Vec::<PathBuf>::new());
    assert_eq!(files("nats-config", ".sh"), Vec::<PathBuf>::new());
}

#[test]
fn the_licences_are_there() {
    for file in ["LICENSE-MIT", "LICENSE-APACHE", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        assert!(root().join(file).is_file(), "{file}");
    }
}
