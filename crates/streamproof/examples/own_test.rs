//! A project's own test of what its streams survive: in `tests/survives.rs`, beside a `nats-config/`.
//!
//! `cargo run -p streamproof --example own_test` runs the same thing on a project made on the spot.

use std::error::Error;

use streamproof::checker::{Cell, Overall};
use streamproof::model::op::FaultKind;
use streamproof::proof::Request;

/// As it would stand in the project, with `#[test]` above it.
fn streams_survive(config: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let checked = streamproof::restart_check(config)?;
    assert!(checked.survived(), "{checked}");
    let orders = checked.of("ORDERS", FaultKind::Kill).ok_or("kill was not tried on ORDERS")?;
    assert_eq!(orders.verdict, Cell::Pass);
    Ok(())
}

/// A stream that is meant to be lost, and a test that says so.
fn cache_is_lost_at_a_restart(config: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let request = Request { quick: true, faults: vec![FaultKind::Stop], ..Request::default() };
    let checked = streamproof::check::restart_check_with(config, &request)?;
    assert_eq!(checked.verdict.verdict, Overall::Unprotected, "{checked}");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it did")]
fn main() -> Result<(), Box<dyn Error>> {
    let project = |name: &str, stream: &str| -> Result<tempfile::TempDir, Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        let streams = dir.path().join("nats-config/streams");
        std::fs::create_dir_all(&streams)?;
        std::fs::write(streams.join(format!("{name}.json")), stream)?;
        Ok(dir)
    };
    let orders = project("ORDERS", r#"{ "name": "ORDERS", "subjects": ["orders.*"] }"#)?;
    // What it must survive; a power cut is left out.
    let survive = "survive = [\"restart\", \"process-crash\"]\n";
    std::fs::write(orders.path().join("nats-config/streamproof.toml"), survive)?;
    streams_survive(&orders.path().join("nats-config"))?;
    println!("ORDERS survives what it must");
    let cache = project("CACHE", r#"{ "name": "CACHE", "subjects": ["cache.*"], "storage": "memory" }"#)?;
    cache_is_lost_at_a_restart(cache.path())?;
    println!("CACHE is lost at a restart, as it is known to be");
    Ok(())
}
