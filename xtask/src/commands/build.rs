//! Another build of this program, which does what this one cannot: as a release build, or with the proof in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use streamproof::model::failure::Code;
#[cfg(not(unix))]
use streamproof::model::failure::Exit;

use crate::output::Out;
use crate::problem::Problem;

/// The profile of `cargo xtask`.
const PROFILE: &str = "cli";

/// Has a release build do what was asked for: its status, where this process outlives it.
pub(crate) fn release(out: &Out) -> Result<Option<u8>, Problem> {
    let hint = "run a release build of the command line, or add --as-built to measure with this one";
    let first = is_first("release");
    if first {
        out.note("bench measures a release build: building it, which takes minutes this once");
    }
    run(first, &["--release"], hint)
}

/// Has a build with the proof in it do what was asked for. `cargo xtask` is one without: most commands need none, and start
/// sooner on a new machine.
pub(crate) fn whole(out: &Out) -> Result<Option<u8>, Problem> {
    let first = is_first(PROFILE);
    if first {
        out.note("building the proof, which takes a while this once");
    }
    run(first, &["--profile", PROFILE], "run it where cargo is on PATH")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The folder of `cargo xtask`'s own builds; what both builds share is built once.
fn target_dir() -> PathBuf {
    root().join("target/xtask")
}

/// Whether it has never been built. What has changed since is built without a word.
fn is_first(profile: &str) -> bool {
    let built = std::fs::read_dir(target_dir().join(profile).join(".fingerprint"));
    !built
        .into_iter()
        .flatten()
        .flatten()
        .any(|unit| unit.file_name().to_string_lossy().starts_with("streamproof-trial-"))
}

/// Runs this very command again. In place of this process where the system can do that: signals then reach the one that works.
fn run(aloud: bool, profile: &[&str], hint: &str) -> Result<Option<u8>, Problem> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.arg("run").args((!aloud).then_some("--quiet")).args(profile).args(["--package", "xtask"]);
    command.arg("--manifest-path").arg(root().join("Cargo.toml"));
    command.arg("--target-dir").arg(target_dir());
    command.arg("--").args(std::env::args_os().skip(1));
    let failed = |error: std::io::Error| {
        Problem::new(Code::ToolMissing, format!("cannot run cargo: {error}")).help(hint)
    };
    #[cfg(unix)]
    return Err(failed(std::os::unix::process::CommandExt::exec(&mut command)));
    #[cfg(not(unix))]
    {
        let status = command.status().map_err(failed)?;
        let ended = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(Some(ended.unwrap_or(Exit::Interrupted.status())))
    }
}
