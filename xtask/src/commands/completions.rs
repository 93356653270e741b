//! `completions`: what a shell needs to complete our commands.

use clap::CommandFactory;
use serde_json::json;

use crate::flags::{Cli, CompletionsFlags};
use crate::output::Done;
use crate::problem::Problem;

pub(crate) fn run(flags: &CompletionsFlags) -> Result<Done, Problem> {
    let mut text = Vec::new();
    // Completed as `xtask`: a shell completes words of `cargo xtask` through an alias or a wrapper of that name.
    clap_complete::generate(
        flags.shell,
        &mut Cli::command().name("xtask").bin_name("xtask"),
        "xtask",
        &mut text,
    );
    let text = String::from_utf8_lossy(&text).into_owned();
    let data = json!({ "shell": flags.shell.to_string(), "script": text });
    Ok(Done::new(text, data))
}
