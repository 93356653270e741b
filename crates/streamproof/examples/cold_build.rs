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
    let rounds = std::env::args().nth(1).map_or(Ok(1), |text| text.parse::<usize>())?;
    let target = dir.path().join("target");
    let (mut hellos, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        // What both read is in the page cache then.
        hellos.push(build("async-nats alone", &hello, &[], &target)?);
        // As the alias in `.cargo/config.toml` has it.
        let words = ["--package", "xtask", "--profile", "cli", "--no-default-features"];
        ours.push(build("cargo xtask", &root, &words, &target)?);
    }
    let sum = |took: &[Took], part: fn(&Took) -> f64| took.iter().map(part).sum::<f64>();
    let ratio = |part: fn(&Took) -> f64| sum(&ours, part) / sum(&hellos, part);
    let by_clock = ratio(|took| took.clock_s);
    println!(
        "cold build of cargo xtask: {by_clock:.2} times that of async-nats alone, {} {BOUND}; {:.2} times its processor time",
        if by_clock <= BOUND { "within" } else { "OVER" },
        ratio(|took| took.processor_s)
    );
    Ok(())
}

/// What a build took.
struct Took {
    clock_s: f64,
    processor_s: f64,
}

fn build(name: &str, dir: &Path, words: &[&str], target: &Path) -> Outcome<Took> {
    let shown = target.to_string_lossy();
    let (start, before) = (Instant::now(), processor_s());
    cargo(dir, &[&["build", "--quiet", "--offline", "--target-dir", &shown], words].concat())?;
    let took = Took { clock_s: start.elapsed().as_secs_f64(), processor_s: processor_s() - before };
    println!("{name:<17} {:6.1} s, {:6.1} s of the processors", took.clock_s, took.processor_s);
    std::fs::remove_dir_all(target)?;
    Ok(took)
}

/// The processor time of all that this process has started and waited for, where the system tells: proc_pid_stat(5), fields 16 and
/// 17, in hundredths. On a machine that does other things as well it says more than the clock.
fn processor_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 =
        after_name.split(' ').skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn cargo(dir: &Path, words: &[&str]) -> Outcome<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo).args(words).current_dir(dir).env_remove("CARGO_TARGET_DIR").output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("cargo {words:?} ended with {}: {}", out.status, String::from_utf8_lossy(&out.stderr)).into())
}
