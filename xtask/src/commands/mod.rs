//! One file a command, or a family of commands; here only which is which.

mod apply;
#[cfg(feature = "proof")]
mod bench;
mod build;
mod clean;
mod completions;
mod doctor;
mod fetch;
mod init;
mod lifecycle;
mod look;
mod messages;
#[cfg(feature = "proof")]
mod pictures;
#[cfg(feature = "proof")]
mod proof;
mod session;
mod validate;

use crate::flags::{Cli, Command};
use crate::output::{Done, Out};
use crate::problem::Problem;
use session::Session;
#[cfg(not(feature = "proof"))]
use streamproof::model::failure::Code;

/// The command's name, as it is typed.
pub(crate) fn name(command: &Command) -> &'static str {
    match command {
        Command::Up(_) => "up",
        Command::Down(_) => "down",
        Command::Restart(_) => "restart",
        Command::Status(_) => "status",
        Command::Logs(_) => "logs",
        Command::Env(_) => "env",
        Command::Doctor(_) => "doctor",
        Command::Files => "files",
        Command::Info(_) => "info",
        Command::Publish(_) => "publish",
        Command::Consume(_) => "consume",
        Command::Nats(_) => "nats",
        Command::Fetch(_) => "fetch",
        Command::Validate(_) => "validate",
        Command::Plan(_) => "plan",
        Command::Apply(_) => "apply",
        Command::Export(_) => "export",
        Command::Bench(_) => "bench",
        Command::RestartCheck(_) => "restart-check",
        Command::Report(_) => "report",
        Command::Clean(_) => "clean",
        Command::Init(_) => "init",
        Command::Completions(_) => "completions",
    }
}

/// Has another build of this program do it, where that is asked for: its status, as it has answered all by itself.
pub(crate) fn elsewhere(cli: &Cli, out: &Out) -> Result<Option<u8>, Problem> {
    match &cli.command {
        // A debug build measures itself, not the server.
        Command::Bench(flags) if !flags.as_built && cfg!(debug_assertions) => build::release(out),
        Command::Bench(_) | Command::RestartCheck(_) | Command::Report(_) if cfg!(not(feature = "proof")) => {
            build::whole(out)
        }
        _ => Ok(None),
    }
}

/// Runs it.
pub(crate) fn run(cli: &Cli, out: &Out) -> Result<Done, Problem> {
    let session = || Session::open(&cli.global, out);
    match &cli.command {
        Command::Up(flags) => lifecycle::up(&session()?, flags),
        Command::Down(flags) => lifecycle::down(&session()?, flags),
        Command::Restart(flags) => lifecycle::restart(&session()?, flags),
        Command::Status(flags) => look::status(&session()?, flags),
        Command::Logs(flags) => look::logs(&session()?, flags),
        Command::Env(flags) => look::env(&session()?, flags),
        Command::Doctor(flags) => doctor::run(&session()?, flags),
        Command::Files => look::files(&session()?),
        Command::Info(flags) => look::info(&session()?, flags),
        Command::Publish(flags) => messages::publish(&session()?, flags),
        Command::Consume(flags) => messages::consume(&session()?, flags),
        Command::Nats(flags) => look::nats(&session()?, flags),
        Command::Fetch(flags) => fetch::run(&session()?, flags),
        Command::Validate(flags) => validate::run(&session()?, flags),
        Command::Plan(flags) => apply::plan(&session()?, flags),
        Command::Apply(flags) => apply::apply(&session()?, flags),
        Command::Export(flags) => apply::export(&session()?, flags),
        #[cfg(feature = "proof")]
        Command::Bench(flags) => bench::run(&session()?, flags),
        #[cfg(feature = "proof")]
        Command::RestartCheck(flags) => proof::restart_check(&session()?, flags),
        #[cfg(feature = "proof")]
        Command::Report(flags) => proof::report(&session()?, flags),
        #[cfg(not(feature = "proof"))]
        Command::Bench(_) | Command::RestartCheck(_) | Command::Report(_) => {
            Err(Problem::new(Code::Internal, "this build does not have the proof in it"))
        }
        Command::Clean(flags) => clean::run(&session()?, flags),
        Command::Init(flags) => init::run(&cli.global, flags),
        Command::Completions(flags) => completions::run(flags),
    }
}
