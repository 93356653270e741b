//! Servers that are not ours: exported from, with what was recorded of them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use streamproof::server::Scratch;

pub(crate) fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("nats-config")).unwrap();
    for (name, text) in files {
        let path = dir.path().join("nats-config").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

pub(crate) fn xtask(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(args)
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .env_remove("STREAMPROOF_PROJECT")
        .output()
        .unwrap()
}

pub(crate) fn json(dir: &Path, args: &[&str]) -> Value {
    let out = xtask(dir, &[args, &["--json"]].concat());
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{args:?}: {e}: {}", String::from_utf8_lossy(&out.stderr)))
}

/// Whether one of the notes says this.
fn says(document: &Value, part: &str) -> bool {
    document["data"]["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().contains(part))
}

const ORDERS: (&str, &str) = ("streams/ORDERS.json", r#"{ "name": "ORDERS", "subjects": ["orders.*"] }"#);

#[test]
fn an_export_records_the_server_and_restart_check_judges_that_one() {
    let server = Scratch::builder()
        .version("2.12.1".parse().unwrap())
        .jetstream("sync_interval: 37s")
        .start()
        .unwrap();
    let (url, monitor) = (server.url(), server.monitor_address());
    let dir = project(&[ORDERS]);
    json(dir.path(), &["apply", "--server", &url]);
    // Without its monitoring port what could not be seen is said; that of another server is not taken for it.
    let other = Scratch::new().unwrap();
    for (args, why) in [
        (vec!["export", "--server", &url], "its sync settings"),
        (vec!["export", "--server", &url, "--monitor", &other.monitor_address()], "of another server"),
    ] {
        let document = json(dir.path(), &args);
        assert!(document["ok"] == true && says(&document, why), "{document:#}");
        assert_eq!(document["data"]["server"]["sync_interval"], Value::Null);
        assert_eq!(document["data"]["server"]["version"], "2.12.1");
    }
    let toml = dir.path().join("nats-config/streamproof.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    assert!(text.contains("version = \"2.12.1\"") && !text.contains("sync_interval"), "{text}");
    // With it the record is whole, and what people wrote around it stays.
    std::fs::write(&toml, format!("# mine\nsurvive = [\"restart\"]\n\n{text}")).unwrap();
    let document = json(dir.path(), &["export", "--server", &url, "--monitor", &monitor]);
    assert_eq!(document["data"]["server"]["sync_interval"], "37s", "{document:#}");
    assert!(!says(&document, "its sync settings") && says(&document, "accounts"), "{document:#}");
    let text = std::fs::read_to_string(&toml).unwrap();
    assert!(text.starts_with("# mine\nsurvive = [\"restart\"]\n\n"), "{text}");
    assert!(text.contains("[exported]") && text.contains("sync_interval = \"37s\""), "{text}");
    assert!(json(dir.path(), &["plan", "--server", &url])["data"]["pending"] == 0);
    // A second time there is nothing to write.
    let document = json(dir.path(), &["export", "--server", &url, "--monitor", &monitor]);
    assert_eq!(document["data"]["written"].as_array().unwrap().len(), 0, "{document:#}");
    drop(server);

    let checked = json(dir.path(), &["restart-check", "--quick", "--fault", "stop", "--seed", "1"]);
    assert!(checked["data"]["server"].to_string().contains("2.12.1"), "{checked:#}");
    let conf = std::fs::read_to_string(dir.path().join(".streamproof/exported.conf")).unwrap();
    assert!(conf.contains("sync_interval: 37s"), "{conf}");
}
