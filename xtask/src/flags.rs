//! The command line as data: every command and flag is declared once, here; the doc comments are the help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use streamproof::model::op::{FaultKind, Level};

/// A persistent NATS JetStream for development, its streams and consumers as files.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "Start with:  cargo xtask up\nExit codes and every failure's name are in the README.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The folder that holds `nats-config/` (default: the nearest one, from here upwards)
    #[arg(long, global = true, value_name = "DIR", env = "STREAMPROOF_PROJECT")]
    pub(crate) project: Option<PathBuf>,
    /// Print exactly one JSON document on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress on stderr
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Say more on stderr (-vv: what the libraries trace)
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: When,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

/// Which server to talk to: without any of these, the one that is up.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerFlags {
    /// Talk to this server instead of the one that is up
    #[arg(long, value_name = "URL", env = "STREAMPROOF_SERVER", conflicts_with = "context")]
    pub(crate) server: Option<String>,
    /// Talk to the server of this context of the `nats` CLI
    #[arg(long, value_name = "NAME", env = "STREAMPROOF_CONTEXT")]
    pub(crate) context: Option<String>,
    /// Credentials file
    #[arg(long, value_name = "FILE", env = "STREAMPROOF_CREDS")]
    pub(crate) creds: Option<PathBuf>,
    /// Nkey seed file
    #[arg(long, value_name = "FILE", env = "STREAMPROOF_NKEY")]
    pub(crate) nkey: Option<PathBuf>,
    /// User name
    #[arg(long, value_name = "USER", env = "STREAMPROOF_USER")]
    pub(crate) user: Option<String>,
    /// Password, better given as STREAMPROOF_PASSWORD
    #[arg(long, value_name = "PASSWORD", env = "STREAMPROOF_PASSWORD", hide_env_values = true)]
    pub(crate) password: Option<String>,
    /// Token, better given as STREAMPROOF_TOKEN
    #[arg(long, value_name = "TOKEN", env = "STREAMPROOF_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Certificate authority that signed the server's certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) tlsca: Option<PathBuf>,
    /// Client certificate
    #[arg(long, value_name = "FILE", requires = "tlskey")]
    pub(crate) tlscert: Option<PathBuf>,
    /// Key of the client certificate
    #[arg(long, value_name = "FILE", requires = "tlscert")]
    pub(crate) tlskey: Option<PathBuf>,
}

impl ServerFlags {
    /// Whether the server was named on the command line itself. A variable that stands in a shell from yesterday names nothing.
    pub(crate) fn named_by_flag(&self) -> bool {
        let named = |arg: String| {
            ["--server", "--context"].iter().any(|flag| {
                arg.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            })
        };
        (self.server.is_some() || self.context.is_some()) && std::env::args().any(named)
    }
}

/// Where the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineFlag {
    /// Docker where an engine answers, else a plain process
    Auto,
    /// A plain process
    Process,
    /// A container
    Docker,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a persistent JetStream, wait until it is ready, and bring it in line with nats-config/
    Up(UpFlags),
    /// Stop the server and keep its data
    Down(DownFlags),
    /// Stop (or kill) the server and start it again on the same data
    Restart(RestartFlags),
    /// What runs, and whether it is in line with nats-config/
    Status(StatusFlags),
    /// The server's log
    Logs(LogsFlags),
    /// NATS_URL and what else a shell needs, to be evaluated
    Env(EnvFlags),
    /// Check every precondition, each with its fix; or, with --server, what is wrong with a server. Changes nothing
    Doctor(DoctorFlags),
    /// The store directory as a tree, with what each part is
    Files,
    /// Stream and consumer info
    Info(InfoFlags),
    /// Publish a message and wait for its acknowledgement
    Publish(PublishFlags),
    /// Consume messages from a durable consumer and acknowledge them
    Consume(ConsumeFlags),
    /// The `nats` CLI, where it is installed, on our server
    #[command(disable_help_flag = true)]
    Nats(NatsFlags),
    /// Get and verify a nats-server for later, offline use
    Fetch(FetchFlags),
    /// Check the files of nats-config/ against JetStream's rules; needs no server
    Validate(ValidateFlags),
    /// What would change on the server, and what each change costs
    Plan(PlanFlags),
    /// Bring the server in line with nats-config/
    Apply(ApplyFlags),
    /// Write what a live server has into nats-config/
    Export(ExportFlags),
    /// Measure throughput and latency, every message counted; with --peer beside the `nats` CLI
    Bench(BenchFlags),
    /// What of the streams survives a restart or a crash, proven on scratch servers; your data is not touched
    RestartCheck(RestartCheckFlags),
    /// Judge a stored run of restart-check again
    Report(ReportFlags),
    /// Stop the server and remove its data and all else that is ours; nats-config/ stays
    Clean(CleanFlags),
    /// A nats-config/ to start from, in any folder
    Init(InitFlags),
    /// Shell completions
    Completions(CompletionsFlags),
}

#[derive(Debug, Args)]
pub(crate) struct UpFlags {
    /// Where the server runs; the choice is kept until it is changed
    #[arg(long, value_enum, env = "STREAMPROOF_ENGINE", default_value = "auto")]
    pub(crate) engine: EngineFlag,
    /// Keep the store in a named volume of Docker's instead of the project's folder; the choice is kept
    #[arg(long)]
    pub(crate) volume: bool,
    /// Client port, or `auto` for any free one; remembered
    #[arg(long, value_name = "N|auto", env = "STREAMPROOF_PORT")]
    pub(crate) port: Option<String>,
    /// Do not bring the streams and consumers in line
    #[arg(long)]
    pub(crate) no_apply: bool,
    /// Start the server anew even if it runs; its data is kept
    #[arg(long)]
    pub(crate) recreate: bool,
    /// Stay in the foreground and show the log; Ctrl-C stops the server
    #[arg(long)]
    pub(crate) foreground: bool,
    /// A nats-server to use instead of the pinned one
    #[arg(long, value_name = "PATH", env = "STREAMPROOF_SERVER_BIN")]
    pub(crate) server_bin: Option<PathBuf>,
    /// Begin with a copy of this store: the folder that was mounted as another server's data; it is not touched
    #[arg(long, value_name = "DIR")]
    pub(crate) import_store: Option<PathBuf>,
    /// How long to wait until the server is ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, env = "STREAMPROOF_TIMEOUT")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct DownFlags {
    /// How long to wait for a graceful end before the server is killed, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct RestartFlags {
    /// End the server with SIGKILL instead of asking it to stop
    #[arg(long)]
    pub(crate) kill: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusFlags {
    /// Exit with 4 when the server is not in line with nats-config/
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsFlags {
    /// Go on showing what is added
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// How many of the last lines
    #[arg(long, short = 'n', value_name = "LINES", default_value_t = 100)]
    pub(crate) lines: usize,
}

#[derive(Debug, Args)]
pub(crate) struct EnvFlags {
    /// The syntax to print in
    #[arg(long, value_enum, default_value = "sh")]
    pub(crate) shell: ShellSyntax,
}

/// The syntax of `env`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShellSyntax {
    Sh,
    Fish,
    Pwsh,
    Dotenv,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorFlags {
    /// Where the server's monitoring port is (default: 8222 on its host, or as far from the client port as 8222 from 4222)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) monitor: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

#[derive(Debug, Args)]
pub(crate) struct InfoFlags {
    /// A stream; without it, all
    pub(crate) stream: Option<String>,
    /// A consumer of it
    pub(crate) consumer: Option<String>,
    /// Without times, random ids and the server's own marks: the same from run to run
    #[arg(long)]
    pub(crate) normalized: bool,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

#[derive(Debug, Args)]
pub(crate) struct PublishFlags {
    /// Subject
    pub(crate) subject: String,
    /// Body; `-` reads it from stdin
    pub(crate) data: String,
    /// Publish it this often
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Nats-Msg-Id, so that the server drops a repeated one; with --count, the number is added
    #[arg(long, value_name = "ID")]
    pub(crate) msg_id: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ConsumeFlags {
    /// Stream
    pub(crate) stream: String,
    /// Durable consumer, pull or push
    pub(crate) consumer: String,
    /// At most this many; without it, what is there
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Look only: leave the messages unacknowledged
    #[arg(long)]
    pub(crate) no_ack: bool,
    /// How long to wait for the next message, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub(crate) wait: u64,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

#[derive(Debug, Args)]
pub(crate) struct NatsFlags {
    /// Given to `nats` as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct FetchFlags {
    /// Version, such as 2.14.6; without it, the pinned one
    pub(crate) version: Option<String>,
    /// Use this source only, pinned or not
    #[arg(long, value_name = "SOURCE", value_parser = ["image", "release", "wheel", "go"])]
    pub(crate) from: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateFlags {
    /// Check against the rules of this server version instead of the pinned one
    #[arg(long, value_name = "VERSION")]
    pub(crate) server_version: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PlanFlags {
    /// Exit with 4 when anything is pending
    #[arg(long)]
    pub(crate) check: bool,
    /// Save the plan, for `apply FILE`
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Plan the removal of what carries our mark and is no longer in the files
    #[arg(long)]
    pub(crate) prune: bool,
    /// Plan to put our mark on what is in the files and was made by others, so that --prune may remove it one day
    #[arg(long)]
    pub(crate) adopt: bool,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyFlags {
    /// A plan saved by `plan --out`; refused if the server has moved since
    pub(crate) plan: Option<PathBuf>,
    /// Carry out changes that delete messages
    #[arg(long)]
    pub(crate) allow_data_loss: bool,
    /// Carry out changes that can't be undone
    #[arg(long)]
    pub(crate) allow_one_way: bool,
    /// Replace this stream (or STREAM/CONSUMER) where a change can't be made in place
    #[arg(long, value_name = "NAME")]
    pub(crate) replace: Vec<String>,
    /// Remove what carries our mark and is no longer in the files
    #[arg(long)]
    pub(crate) prune: bool,
    /// Put our mark on what is in the files and was made by others, so that --prune may remove it one day
    #[arg(long)]
    pub(crate) adopt: bool,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ExportFlags {
    /// Write into this folder instead of nats-config/
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// Write every field, the server's defaults too
    #[arg(long)]
    pub(crate) full: bool,
    /// Overwrite files that differ
    #[arg(long)]
    pub(crate) force: bool,
    /// Where the server's monitoring port is (default: 8222 on its host, or as far from the client port as 8222 from 4222)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) monitor: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

#[derive(Debug, Args)]
pub(crate) struct BenchFlags {
    /// What to measure; without it, everything
    #[arg(value_name = "MEASURE", value_parser = ["publish-ack", "publish-fast", "consume-explicit", "consume-ack-all", "consume-double-ack", "end-to-end"])]
    pub(crate) measures: Vec<String>,
    /// Messages in each round
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    pub(crate) msgs: u64,
    /// Size of the body in bytes; several separated by commas
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_value = "128")]
    pub(crate) size: Vec<usize>,
    /// In flight at most, for each client; several separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "500")]
    pub(crate) window: Vec<usize>,
    /// Clients that share the messages, each on its own connection; several separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1")]
    pub(crate) clients: Vec<usize>,
    /// How often each is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Messages a second for end-to-end
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) rate: u64,
    /// How long each round of end-to-end takes
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub(crate) seconds: u64,
    /// Measure `nats bench` too, in turn, on the same server and stream
    #[arg(long)]
    pub(crate) peer: bool,
    /// The `nats` CLI to measure
    #[arg(long, value_name = "PATH", env = "STREAMPROOF_NATS", default_value = "nats")]
    pub(crate) nats: PathBuf,
    /// Start a server for it with this sync_interval (`always`, `10s`) instead of nats-server's default of 2m
    #[arg(long, value_name = "INTERVAL", conflicts_with_all = ["config", "server", "context"])]
    pub(crate) sync: Option<String>,
    /// Start a server for it with nats-config/jetstream.conf
    #[arg(long, conflicts_with_all = ["server", "context"])]
    pub(crate) config: bool,
    /// Measure the server that is up
    #[arg(long, conflicts_with_all = ["sync", "config", "server", "context"])]
    pub(crate) live: bool,
    /// The price list: what each setting of durability costs, and what a host crash takes under it. Takes minutes
    #[arg(long, conflicts_with_all = ["measures", "peer", "sync", "config", "live", "server", "context", "compare"])]
    pub(crate) durability: bool,
    /// Draw the price list into this file (SVG)
    #[arg(long, value_name = "FILE", requires = "durability")]
    pub(crate) plot: Option<PathBuf>,
    /// Save the report
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Hold this run against a saved report
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<PathBuf>,
    /// Measure with this build, even if it is not a release build; its numbers say nothing
    #[arg(long)]
    pub(crate) as_built: bool,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

#[derive(Debug, Args)]
pub(crate) struct RestartCheckFlags {
    /// Stop and start the server that is up, your own, and compare all it has before and after; publishes nothing
    #[arg(long, conflicts_with_all = ["quick", "run_for", "seed", "upgrade_to", "downgrade_to"])]
    pub(crate) live: bool,
    /// Restart, upgrade or downgrade a copy of this store and compare all it has; the original is only read
    #[arg(long, value_name = "DIR", conflicts_with_all = ["live", "quick", "run_for", "seed"])]
    pub(crate) store: Option<PathBuf>,
    /// Each fault on each stream and not much more, within 10 s on a small project (without it: 30 s)
    #[arg(long)]
    pub(crate) quick: bool,
    /// Search for so long (30s, 10m, 2h), or until something fails
    #[arg(long = "for", value_name = "TIME", conflicts_with = "quick")]
    pub(crate) run_for: Option<String>,
    /// Repeat the run with this seed
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Only this fault; repeatable. With --live: stop (by default) or kill; with --store
    /// also restarts and index-lost
    #[arg(long, value_name = "NAME", value_parser = fault_names())]
    pub(crate) fault: Vec<String>,
    /// Every fault that can be run here, not the default ones only
    #[arg(long, conflicts_with = "fault")]
    pub(crate) full: bool,
    /// What must survive, instead of what streamproof.toml says; repeatable
    #[arg(long, value_name = "LEVEL", value_parser = level_names())]
    pub(crate) survive: Vec<String>,
    /// Fail also on what is unprotected or not proven
    #[arg(long)]
    pub(crate) strict: bool,
    /// A nats-server to use instead of the pinned one; with --store, the one that the store is of
    #[arg(long, value_name = "PATH", env = "STREAMPROOF_SERVER_BIN")]
    pub(crate) server_bin: Option<PathBuf>,
    /// Upgrade to this server as one more fault
    #[arg(long, value_name = "V|PATH")]
    pub(crate) upgrade_to: Option<String>,
    /// Downgrade to this server as one more fault
    #[arg(long, value_name = "V|PATH")]
    pub(crate) downgrade_to: Option<String>,
    /// Of power cuts, tell also what a file system that keeps less than ext4 would leave; repeatable
    #[arg(long, value_name = "NAME", value_parser = profile_names())]
    pub(crate) profile: Vec<String>,
    /// Make the run's folder in this one instead of .streamproof/runs
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// When the server failed: search so long for the shortest list of operations that fails, for reproduce.md; 0s: not
    #[arg(long, value_name = "TIME", default_value = "20s")]
    pub(crate) shrink: String,
    /// With --live: the server that is meant; any but this project's own is refused
    #[arg(long, value_name = "URL", env = "STREAMPROOF_SERVER")]
    pub(crate) server: Option<String>,
}

/// The faults, as `--fault` takes them.
fn fault_names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(FaultKind::ALL.iter().map(|fault| fault.name()))
}

/// The names of the profiles beside `ext4`; spelled out, as a build without the proof knows none.
const PROFILES: [&str; 4] = ["strict", "path", "torn", "lazyfs"];

/// The profiles that are told beside `ext4`, which is the one that is judged.
fn profile_names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(PROFILES)
}

/// The levels, as `--survive` takes them.
fn level_names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(Level::ALL.iter().map(|level| level.name()))
}

#[derive(Debug, Args)]
pub(crate) struct ReportFlags {
    /// The run: its folder, its id or the end of it, or `last`
    pub(crate) run: String,
}

#[derive(Debug, Args)]
pub(crate) struct CleanFlags {
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// List what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InitFlags {
    /// The folder (default: that of --project, else this one)
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsFlags {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(all(test, feature = "proof"))]
mod tests {
    use streamproof::trial::Profile;

    #[test]
    fn every_profile_can_be_named() {
        let others = Profile::ALL.into_iter().filter(|profile| *profile != Profile::Ext4);
        assert_eq!(others.map(Profile::name).collect::<Vec<_>>(), super::PROFILES);
    }
}
