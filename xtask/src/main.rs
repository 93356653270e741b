//! The command line of streamproof: `cargo xtask <command>`.

mod commands;
mod excerpt;
mod flags;
mod output;
mod problem;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    let cli = flags::Cli::parse();
    let out = output::Out::new(&cli.global);
    trace(cli.global.verbose);
    let name = commands::name(&cli.command);
    let result = match commands::elsewhere(&cli, &out) {
        Ok(Some(status)) => return ExitCode::from(status),
        Ok(None) => commands::run(&cli, &out),
        Err(problem) => Err(problem),
    };
    ExitCode::from(out.end(name, result).status())
}

/// What the libraries trace goes to stderr, and only where it was asked for.
fn trace(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => "streamproof=info,streamproof_server=info,streamproof_provision=info,streamproof_trial=info",
        _ => "debug",
    };
    // Not `EnvFilter`: what it can do beyond this costs a cold build seconds.
    let Ok(targets) = level.parse::<Targets>() else { return };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    _ = tracing_subscriber::registry().with(lines).with(targets).try_init();
}
