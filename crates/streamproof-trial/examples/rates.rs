//! What a trial costs: verified restarts a minute, the share that recording takes, and the size of a history.
//!
//! `cargo run --release -p streamproof-trial --example rates [-- [RESTARTS] [MESSAGES]]`

#![expect(clippy::print_stdout, reason = "an example prints its answer")]

#[expect(dead_code, reason = "other examples use more of it")]
mod shipped;

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use streamproof_checker::{Context, Overall};
use streamproof_model::op::{FaultKind, Meta};
use streamproof_server::{PINNED, Scratch};
use streamproof_trial::judge::judge;
use streamproof_trial::nemesis::Arsenal;
use streamproof_trial::recorder::Recorder;
use streamproof_trial::run::{Setup, run_case};
use streamproof_trial::seed::Seed;
use streamproof_trial::site::{Gauge, Site};
use streamproof_trial::target::{Target, targets};
use streamproof_trial::wire::Login;
use streamproof_trial::workload::{Case, Leg, Step};

/// The restarts come in cases of this many, as they do in a run.
const LEGS: u32 = 25;
/// Messages in the stream at each restart, or a few more.
const STORED: u32 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let restarts: u32 = words.next().map_or(Ok(300), |word| word.parse())?;
    let messages: u32 = words.next().map_or(Ok(1_000_000), |word| word.parse())?;
    let folder = tempfile::tempdir()?;
    let project =
        shipped::project(&shipped::workspace().join("crates/streamproof-trial/configs/plain"), &PINNED)?;
    let (targets, _) = targets(&project.desired);
    restarts_a_minute(&targets, restarts, folder.path())?;
    recording(&targets[0], messages, folder.path())
}

fn publish(count: u32) -> Step {
    Step::Publish {
        count,
        len_min: 64,
        len_max: 160,
        window: 64,
        subjects: 8,
        ids: false,
        headers: false,
        ttl_s: None,
    }
}

/// Each restart with everything that makes it verified: the workload's acks known, the fault, the server ready, the whole
/// stream read back, and the history judged.
fn restarts_a_minute(targets: &[Target], restarts: u32, folder: &Path) -> Result<(), Box<dyn Error>> {
    let faults = [FaultKind::Stop, FaultKind::Kill, FaultKind::KillAfterAck, FaultKind::IndexLost];
    let cancel = AtomicBool::new(false);
    let setup = Setup { targets, notes: &[], login: Login::default(), run_id: "rates", cancel: &cancel };
    let (mut verified, mut read_back, mut took) = (0, 0, Duration::ZERO);
    for round in 0..restarts.div_ceil(LEGS) {
        let legs = (0..LEGS).map(|number| {
            let fault = faults[number as usize % faults.len()];
            Leg {
                steps: vec![(0, publish(if number == 0 { STORED } else { 5 }))],
                load: if fault == FaultKind::Kill { vec![0] } else { Vec::new() },
                load_acks: 1,
                fault,
                canary: false,
            }
        });
        let case = Case { seed: u64::from(round), legs: legs.collect() };
        let history = folder.join("restarts.history");
        let started = Instant::now();
        let mut server = Scratch::builder()
            .in_memory(true)
            .jetstream("sync_interval: always")
            .timeout(Duration::from_secs(20))
            .start()?;
        run_case(&setup, &case, &mut server, &mut Arsenal::default(), &history, 0)?;
        let verdict = judge(&history, &Context::default())?;
        took += started.elapsed();
        if verdict.verdict != Overall::Pass {
            return Err(
                format!("{:?}: {:?} {:?}", verdict.verdict, verdict.findings, verdict.inconclusive).into()
            );
        }
        verified += verdict.restarts_verified;
        read_back += verdict.counts.read_back;
    }
    println!(
        "{verified} restarts of a stream of {} messages on average, each verified: {:.0} a minute",
        read_back / verified.max(1),
        verified as f64 * 60.0 / took.as_secs_f64()
    );
    Ok(())
}

/// The same publishes with the recorder and without, in turns, so that what else the machine does falls on both.
fn recording(target: &Target, messages: u32, folder: &Path) -> Result<(), Box<dyn Error>> {
    const ROUNDS: u32 = 20;
    let (gauge, cancel, seed) = (Gauge::default(), AtomicBool::new(false), Seed::new(1));
    let path = folder.join("recording.history");
    let meta = || Meta { run: 1, id: "rates".to_owned(), seed: 1, server: PINNED.to_string(), began_ns: 0 };
    let recorders = [Recorder::create(&path, meta())?, Recorder::silent(&meta())];
    let mut took = [Duration::ZERO; 2];
    let mut fastest = [f64::MAX; 2];
    let each = messages / ROUNDS;
    for round in 0..ROUNDS * 2 {
        let which = (round % 2) as usize;
        // A server for each round: none has more in its stream than another.
        let server = Scratch::builder().in_memory(true).start()?;
        let address: SocketAddr = server.address().parse()?;
        let mut site =
            Site::new(target, 0, 0, &recorders[which], &gauge, &cancel, address, &Login::default(), &seed);
        site.connect()?;
        site.create()?;
        let started = Instant::now();
        site.load(32, each).map_err(|halt| format!("{halt:?}"))?;
        let round = started.elapsed();
        took[which] += round;
        fastest[which] = fastest[which].min(round.as_secs_f64());
    }
    let rate = |took: Duration| f64::from(each * ROUNDS) / took.as_secs_f64();
    println!(
        "recording: {:.0} publishes a second, {:.0} without it: it takes {:.1} % (of the fastest rounds {:.1} %)",
        rate(took[0]),
        rate(took[1]),
        100.0 - 100.0 * rate(took[0]) / rate(took[1]),
        100.0 - 100.0 * fastest[1] / fastest[0]
    );
    recorders[0].flush()?;
    let (bytes, operations) = (std::fs::metadata(&path)?.len(), recorders[0].operations());
    println!(
        "a history of {operations} operations has {bytes} bytes: {:.1} MB for a million",
        bytes as f64 / operations as f64
    );
    Ok(())
}
