//! Damages good histories a thousand times for each kind of damage and configuration, and lists what survives.
//!
//! `cargo run --release -p streamproof-checker --example mutations [TIMES]`

#[path = "../tests/it/simulator.rs"]
mod simulator;

use simulator::{CONFIGURATIONS, DAMAGES, trial};

#[expect(clippy::print_stdout, reason = "an example prints its answer")]
fn main() {
    let times = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1000);
    println!("{:<12} {:<20} {:>6} {:>6} {:>10}  survivors", "", "", "tried", "found", "by another");
    for (index, (name, ..)) in CONFIGURATIONS.iter().enumerate() {
        for (kind, (damage, _)) in DAMAGES.iter().enumerate() {
            let tally = trial(index, kind, times);
            let (tried, found, by_another) = (tally.tried, tally.found, tally.by_another);
            let survivors = tally.survivors.len();
            let some = &tally.survivors[..survivors.min(5)];
            println!("{name:<12} {damage:<20} {tried:>6} {found:>6} {by_another:>10}  {survivors} {some:?}");
        }
    }
}
