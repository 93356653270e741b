//! How long a cold build of `cargo xtask up` takes, beside that of a program that depends on `async-nats`, with the same
//! features and the same versions, and does nothing; in turn. Everything is downloaded before the clock starts.
//!
//! ```text
//! cargo run -p streamproof --example cold_build [ROUNDS]
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// How much longer ours may take.
const BOUND: f64 = 1.6;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let dir = tempfile::tempdir()?;
    let hello = dir.path().join("hello");
    std::fs::create_dir_all(hello.join("src"))?;
    let workspace = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let dependency = workspace
        .lines()
        .find(|line| line.starts_with("async-nats = "))
        .ok_or("Cargo.toml does not say what is taken of async-nats")?;
    std::fs::write(
        hello.join("Cargo.toml"),
        format!(
            "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n{dependency}\n\n[workspace]\n"
        ),
    )?;
    std::fs::write(
        hello.join("src/main.rs"),
        "fn main() {\n    drop(async_nats::connect(\"nats://127.0.0.1\"));\n}\n",
    )?;
    std::fs::copy(root.join("Cargo.lock"), hello.join("Cargo.lock"))?;
    cargo(&hello, &["fetch", "--quiet"])?;
    cargo(&root, &["fetch", "--quiet", "--locked"])?;
    let rounds = std::env::args().nth(1).map_or(Ok(1), |text| text.parse::<u32>())?;
    let (mut hello_s, mut ours_s) = (0.0, 0.0);
    for _ in 0..rounds {
        // What both read is in the page cache then.
        let hello = build(&hello, &[], &dir.path().join("target"))?;
        // As the alias in `.cargo/config.toml` has it.
        let ours = build(
            &root,
            &["--package", "xtask", "--profile", "cli", "--no-default-features"],
            &dir.path().join("target"),
        )?;
        println!("async-nats alone {hello:.1} s, cargo xtask {ours:.1} s");
        hello_s += hello / f64::from(rounds);
        ours_s += ours / f64::from(rounds);
    }
    let ratio = ours_s / hello_s;
    println!(
        "cold build: cargo xtask {ours_s:.1} s, async-nats alone {hello_s:.1} s: {ratio:.2} times, {} {BOUND}",
        if ratio <= BOUND { "within" } else { "OVER" }
    );
    Ok(())
}

fn build(dir: &Path, words: &[&str], target: &Path) -> Outcome<f64> {
    let target = target.to_string_lossy();
    let start = Instant::now();
    cargo(dir, &[&["build", "--quiet", "--offline", "--target-dir", &target], words].concat())?;
    let took = start.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&*target)?;
    Ok(took)
}

fn cargo(dir: &Path, words: &[&str]) -> Outcome<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo).args(words).current_dir(dir).env_remove("CARGO_TARGET_DIR").output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("cargo {words:?} ended with {}: {}", out.status, String::from_utf8_lossy(&out.stderr)).into())
}
