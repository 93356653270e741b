//! The profile `ext4` held against the kernel: random sequences of system calls on a real ext4 whose power goes.
//!
//! `cargo run --release -p streamproof-crashfs --features real --example kernel [SEQUENCES] [LENGTH] [SEED] [PAUSE] [xfs|sync]`,
//! as root; 1,000 sequences of 30 operations by default; with PAUSE, so many seconds pass at a random place of each, for
//! what the kernel does by the clock (several disks at a time then); with `sync`, another program's file is synced before the
//! power goes, which commits the journal. A sequence that the model does not allow is shown, and
//! the exit is 1; with SHOW=1 in the environment, those too in which the kernel left another state than the profile's.
//! `kernel -` does one sequence, in the notation of logs, from standard input.

#[path = "../tests/it/kernel.rs"]
mod kernel;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kernel::{Ending, compare, place, random_sequence};
use streamproof_crashfs::real::{Kind, RealDisk};
use streamproof_crashfs::seed::Random;
use streamproof_server::poll::{self, Pace};

/// How many disks are used at a time where there are pauses: waiting costs nothing.
const DISKS_WITH_PAUSES: usize = 16;

#[expect(clippy::print_stdout, reason = "an example prints its answer")]
fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == "-") {
        let lines: Vec<String> = std::io::stdin().lines().collect::<Result<_, _>>()?;
        let dir = tempfile::tempdir()?;
        let mut disk = RealDisk::create(&place(dir.path(), 0), Kind::Ext4, 64 << 20)?;
        let compared = compare(&mut disk, &lines, Ending::Cut, |_| {})?;
        println!("{}\n{}", compared.shown, compared.refused.unwrap_or_else(|| "allowed".to_owned()));
        return Ok(ExitCode::SUCCESS);
    }
    let number = |at: usize, or: u64| arguments.get(at).map_or(Ok(or), |n| n.parse::<u64>());
    let (count, length, first) = (number(0, 1000)?, number(1, 30)? as usize, number(2, 1)?);
    let pause = Duration::from_secs(number(3, 0)?);
    let (kind, ending) = match arguments.get(4).map(String::as_str) {
        None => (Kind::Ext4, Ending::Cut),
        Some("xfs") => (Kind::Xfs, Ending::Cut),
        Some("sync") => (Kind::Ext4, Ending::OthersSync),
        Some(other) => return Err(format!("{other} is neither xfs nor sync").into()),
    };
    let dir = tempfile::tempdir()?;
    let next = AtomicU64::new(first);
    let (refused, same) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = |disk: usize| -> Result<(), std::io::Error> {
        let disk = RealDisk::create(&place(dir.path(), disk), kind, 64 << 20);
        let mut disk = disk.map_err(std::io::Error::other)?;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return Ok(());
            }
            let lines = random_sequence(seed, length);
            let pause_at = Random::new(!seed).below(lines.len() as u64 + 1);
            let done = AtomicU64::new(0);
            let compared = compare(&mut disk, &lines, ending, |_| {
                if done.fetch_add(1, Ordering::Relaxed) == pause_at {
                    // Nothing to look at: what is waited for are the kernel's timers.
                    let _ = poll::until(Pace::CALM, pause, || Err::<(), _>("time passes"));
                }
            })?;
            same.fetch_add(u64::from(compared.is_the_profiles), Ordering::Relaxed);
            if let Some(why) = compared.refused {
                if refused.fetch_add(1, Ordering::Relaxed) < 3 {
                    println!(
                        "seed {seed}, a pause before line {}: {why}\n{}\n",
                        pause_at + 1,
                        compared.shown
                    );
                }
            } else if !compared.is_the_profiles && std::env::var_os("SHOW").is_some() {
                println!(
                    "seed {seed}, a pause before line {}: another state\n{}\n",
                    pause_at + 1,
                    compared.shown
                );
            }
        }
    };
    let work = &work;
    let disks = if pause.is_zero() { 1 } else { DISKS_WITH_PAUSES };
    std::thread::scope(|scope| {
        let working: Vec<_> = (0..disks).map(|disk| scope.spawn(move || work(disk))).collect();
        working
            .into_iter()
            .try_for_each(|w| w.join().unwrap_or_else(|_| Err(std::io::Error::other("panicked"))))
    })?;
    let (refused, same) = (refused.into_inner(), same.into_inner());
    println!(
        "{}: {count} sequences of {length}: {refused} not allowed, {same} are exactly the profile's state",
        kind.name()
    );
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
