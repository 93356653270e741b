//! Crash states a minute: a server is recorded once, then started on each state, and everything is read back and held
//! against what had been acknowledged before the cut.
//!
//! `cargo run --release -p streamproof-crashfs --features fuse --example explore [MESSAGES] [CUTS] [VERSION]`; 1,000
//! messages of 128 bytes, 2,000 cuts and the pinned nats-server by default. Two workers; the states are on tmpfs.

#[path = "../tests/it/nats.rs"]
mod nats;

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nats::{Nats, PATIENT};
use streamproof_crashfs::fuse::{MountOptions, Recording};
use streamproof_crashfs::{Budget, CrashState, Disk, Log, Places, Profile, Rules, cuts, explore, states};
use streamproof_server::{Binary, PINNED, Scratch, Sources, Wanted, acquire};

const STREAM: &str = "EXPLORE";
const SUBJECT: &str = "explore";
const WORKERS: usize = 2;
const SEED: u64 = 1;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A recorded run.
struct Run {
    log: Log,
    /// Number and sequence, and when the acknowledgement was here, in nanoseconds of the log; by time.
    acked: Vec<(u64, u64, u64)>,
}

#[expect(clippy::print_stdout, reason = "an example prints its answer")]
fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let messages: u64 = arguments.first().map_or(Ok(1000), |n| n.parse())?;
    let cut_count: usize = arguments.get(1).map_or(Ok(2000), |n| n.parse())?;
    let version = arguments.get(2).map_or(Ok(PINNED), |v| v.parse())?;
    let binary = acquire(&Wanted::exactly(version.clone()), &Sources::from_process())?;
    println!("nats-server {version}, {messages} messages, {cut_count} cuts, {WORKERS} workers");
    println!(
        "{:<22} {:<8} {:<8} {:>7} {:>8} {:>11} {:>11} {:>11} {:>11}",
        "settings",
        "profile",
        "disk",
        "states",
        "seconds",
        "states/min",
        "loses some",
        "of the run",
        "no stream"
    );
    for (name, jetstream) in [("default", ""), ("sync_interval: always", "sync_interval: always")] {
        let run = record(&binary, jetstream, messages)?;
        let controls = [Rules::default().with_disk(Disk::Lying), Rules::default().with_disk(Disk::Durable)];
        for rules in Profile::ALL.map(Rules::new).into_iter().chain(controls) {
            let rules = rules.with_seed(SEED);
            let marks: Vec<u64> = run.acked.iter().map(|a| a.2).collect();
            let begin = Instant::now();
            let chosen = cuts(&run.log, &marks, SEED, Budget::new(cut_count));
            let states = states(&run.log, &chosen, rules);
            let found = judge(&binary, &run, &states, rules)?;
            let seconds = begin.elapsed().as_secs_f64();
            let per_minute = states.len() as f64 / seconds * 60.0;
            // A state stands for the time in which a cut leads to it.
            let whole: u64 = states.iter().map(|s| s.lasted_ns).sum();
            let lossy: u64 =
                states.iter().zip(&found).filter(|(_, f)| f.lost > 0).map(|(s, _)| s.lasted_ns).sum();
            let share = lossy as f64 * 100.0 / whole.max(1) as f64;
            let lossy = found.iter().filter(|f| f.lost > 0).count();
            let gone = found.iter().filter(|f| !f.stream).count();
            let foreign: usize = found.iter().map(|f| f.foreign).sum();
            assert_eq!(foreign, 0, "messages that nobody published");
            println!(
                "{name:<22} {:<8} {:<8} {:>7} {seconds:>8.1} {per_minute:>11.0} {lossy:>11} {share:>10.1}% {gone:>11}",
                rules.profile.name(),
                format!("{:?}", rules.disk).to_lowercase(),
                states.len(),
            );
        }
    }
    Ok(())
}

/// A server with its store on the mount publishes, then the power goes.
fn record(binary: &Binary, jetstream: &str, messages: u64) -> Result<Run, Failed> {
    let dir = tempfile::tempdir()?;
    let recording = Recording::mount(&dir.path().join("m"), Log::new(), &MountOptions::default())?;
    let builder = Scratch::builder().binary(binary.clone()).jetstream(jetstream);
    let mut server = builder.store_dir(recording.mountpoint()).start()?;
    let mut nats = Nats::connect(&server.address(), PATIENT)?;
    nats.create_stream(STREAM, SUBJECT, &serde_json::json!({}))?;
    let acked = nats.publish(SUBJECT, 0..messages, 128)?;
    assert_eq!(acked.len() as u64, messages, "not every message was acknowledged");
    recording.cut();
    server.kill()?;
    let acked = acked.iter().map(|a| (a.number, a.sequence, recording.at_ns(a.at))).collect();
    Ok(Run { log: recording.finish()?, acked })
}

/// What was found in a crash state.
struct Found {
    stream: bool,
    lost: usize,
    foreign: usize,
}

fn judge(binary: &Binary, run: &Run, states: &[CrashState], rules: Rules) -> Result<Vec<Found>, Failed> {
    let mut servers = Vec::new();
    for _ in 0..WORKERS {
        servers.push(Mutex::new(Scratch::builder().binary(binary.clone()).prepare()?));
    }
    let shm = std::path::Path::new("/dev/shm");
    let root = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let places = Places::below(&root.join(format!("streamproof-explore-{}", std::process::id())), WORKERS);
    explore(&run.log, states, rules, &places, |visit| {
        let mut server = servers[visit.worker].lock().unwrap_or_else(PoisonError::into_inner);
        server.set_store_dir(visit.dir)?;
        server.start()?;
        let stored = Nats::connect(&server.address(), PATIENT)?.read(STREAM)?;
        server.kill()?;
        let stream = stored.is_some();
        let stored = stored.unwrap_or_default();
        let acked = &run.acked[..run.acked.partition_point(|a| a.2 <= visit.state.cut.at_ns)];
        let there = |a: &&(u64, u64, u64)| {
            stored.binary_search_by_key(&a.1, |s| s.sequence).is_ok_and(|at| stored[at].number == Some(a.0))
        };
        Ok(Found {
            stream,
            lost: acked.len() - acked.iter().filter(there).count(),
            foreign: stored.iter().filter(|s| s.number.is_none()).count(),
        })
    })
}
