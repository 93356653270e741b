//! Feeds the reader of files with mutated and random inputs: `cargo run --release -p streamproof-model --example fuzz_config --
//! 10000000 [FIRST]`. A panic ends it with the number of the input, which with `1 FIRST` is run again alone; so does an input that
//! takes more than two minutes (a busy machine lets a process wait for many seconds).
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program of its own"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[path = "../tests/it/fuzz.rs"]
mod fuzz;

/// Ten million inputs at tens of microseconds each: one that takes this long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(120);

static AT: AtomicU64 = AtomicU64::new(0);

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let (count, first) = (numbers.next().unwrap_or(100_000), numbers.next().unwrap_or(0));
    let fuzz = fuzz::Fuzz::new(20_260_821);
    if count == 1 {
        println!("{:#?}", fuzz.input(first));
    }
    let began = Instant::now();
    std::thread::spawn(watch);
    let mut slowest = (Duration::ZERO, first);
    for index in first..first + count {
        AT.store(index, Ordering::Relaxed);
        let start = Instant::now();
        if std::panic::catch_unwind(|| fuzz.try_one(index)).is_err() {
            eprintln!("input {index} panics: {:#?}", fuzz.input(index));
            std::process::exit(1);
        }
        slowest = slowest.max((start.elapsed(), index));
        if (index + 1 - first).is_multiple_of(1_000_000) {
            println!(
                "{} inputs, {:.0?}; the slowest took {:.1?} (input {})",
                index + 1 - first,
                began.elapsed(),
                slowest.0,
                slowest.1
            );
        }
    }
    println!(
        "{count} inputs without a panic in {:.1?}; the slowest took {:.1?} (input {})",
        began.elapsed(),
        slowest.0,
        slowest.1
    );
}

/// Ends the program when it stays at one input.
fn watch() {
    let mut seen = (u64::MAX, Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let at = AT.load(Ordering::Relaxed);
        if at != seen.0 {
            seen = (at, Instant::now());
        } else if seen.1.elapsed() > HANGS_AFTER {
            eprintln!("input {at} hangs");
            std::process::exit(1);
        }
    }
}
