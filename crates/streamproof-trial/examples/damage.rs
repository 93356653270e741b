//! Damages recorded histories of real servers, over every configuration in `configs/`, and says what of it is found.
//!
//! `cargo run --release -p streamproof-trial --example damage [-- TIMES [NAME…]]`: so often for each kind of damage and each
//! configuration. The damages, and the invariants that must find them, are those of the checker's own tests.

#![expect(clippy::print_stdout, reason = "an example prints its answer")]
#![expect(dead_code, reason = "the simulator's own histories are not used here")]

mod shipped;
#[path = "../../streamproof-checker/tests/it/simulator.rs"]
mod simulator;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use simulator::{DAMAGES, Good, Random, Tally, damage};
use streamproof_checker::{Context, check};
use streamproof_model::op::{Call, Event, FaultKind, Op, Ops, Outcome, Reader, Seen, Stored};
use streamproof_server::{PINNED, Scratch};
use streamproof_trial::nemesis::Arsenal;
use streamproof_trial::run::{Setup, run_case};
use streamproof_trial::target::{Target, targets};
use streamproof_trial::wire::Login;
use streamproof_trial::workload::{Scale, case};

/// Different histories of each configuration.
const HISTORIES: u64 = 8;
/// Seeds that are tried for them: one in which a known defect shows is no good history.
const SEEDS_MAX: u64 = 60;

/// Not every history has something for every kind: so many tries for each damage.
const TRIES: u64 = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let times: u32 = words.next().map_or(Ok(1000), |word| word.parse())?;
    let mut names: Vec<String> = words.collect();
    let configs = shipped::workspace().join("crates/streamproof-trial/configs");
    if names.is_empty() {
        names = std::fs::read_dir(&configs)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
    }
    println!("{:<14} {:<20} {:>6} {:>6} {:>10}  survivors", "", "", "tried", "found", "by another");
    let mut listed = Vec::new();
    let mut kinds: BTreeMap<usize, Tally> = BTreeMap::new();
    for name in names {
        let project = shipped::project(&configs.join(&name), &PINNED)?;
        let (targets, _) = targets(&project.desired);
        let histories = record(&targets)?;
        for (kind, (of_kind, _)) in DAMAGES.iter().enumerate() {
            let (tally, left) = trial(&histories, kind, times);
            listed.extend(left.into_iter().map(|survivor| format!("{name}, {of_kind}: {survivor}")));
            let survivors = tally.survivors.len();
            let sum = kinds.entry(kind).or_default();
            sum.tried += tally.tried;
            sum.found += tally.found;
            sum.by_another += tally.by_another;
            sum.survivors.extend(&tally.survivors);
            println!(
                "{name:<14} {of_kind:<20} {:>6} {:>6} {:>10}  {survivors} {:?}",
                tally.tried,
                tally.found,
                tally.by_another,
                &tally.survivors[..survivors.min(4)]
            );
        }
    }
    for survivor in listed {
        println!("survived: {survivor}");
    }
    for (kind, sum) in kinds {
        let Tally { tried, found, by_another, survivors } = sum;
        println!(
            "{:<14} {:<20} {tried:>6} {found:>6} {by_another:>10}  {}",
            "all",
            DAMAGES[kind].0,
            survivors.len()
        );
    }
    Ok(())
}

/// Histories of real servers in which nothing is found.
fn record(targets: &[Target]) -> Result<Vec<Good>, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("history");
    let faults = [FaultKind::Stop, FaultKind::Kill, FaultKind::IndexLost];
    let cancel = AtomicBool::new(false);
    let setup = Setup { targets, notes: &[], login: Login::default(), run_id: "damage", cancel: &cancel };
    let mut histories = Vec::new();
    for seed in 0..SEEDS_MAX {
        if histories.len() as u64 >= HISTORIES {
            break;
        }
        let todo = case(targets, &faults, seed, Scale { burst: 120 });
        let mut server = Scratch::builder().in_memory(true).timeout(Duration::from_secs(20)).start()?;
        run_case(&setup, &todo, &mut server, &mut Arsenal::default(), &path, 0)?;
        let ops = read(&path)?;
        if check(ops.iter().cloned(), &Context::default()).findings.is_empty() {
            let gone = gone(&ops);
            histories.push(Good { ops, gone });
        }
    }
    if histories.is_empty() { Err("no history without a finding".into()) } else { Ok(histories) }
}

fn read(path: &Path) -> Result<Vec<Op>, Box<dyn Error>> {
    Ok(Ops::new(Reader::new(BufReader::new(File::open(path)?))?).collect())
}

/// At the end of each reading of the first stream, what an earlier one had and this one has not.
fn gone(ops: &[Op]) -> Vec<(usize, Vec<Stored>)> {
    let mut ends = Vec::new();
    let (mut before, mut now): (BTreeMap<u64, Stored>, BTreeMap<u64, Stored>) = Default::default();
    for (index, op) in ops.iter().enumerate() {
        let Op::Event { event, .. } = op else { continue };
        match event {
            Event::ReadBegin { stream, .. } if *stream == simulator::S => now.clear(),
            Event::Stored(stored) if stored.stream == simulator::S => _ = now.insert(stored.seq, *stored),
            Event::ReadEnd { stream, .. } if *stream == simulator::S => {
                let away: Vec<Stored> = before
                    .iter()
                    .filter(|(seq, _)| !now.contains_key(seq))
                    .map(|(_, stored)| *stored)
                    .collect();
                before.append(&mut now);
                if !away.is_empty() {
                    ends.push((index, away));
                }
            }
            _ => {}
        }
    }
    ends
}

/// What was damaged: the first operation that is another one; how many of those that are had no known outcome themselves; and of a
/// stored message, how many publishes to its subject, or deletions, had none until then.
fn damaged(good: &[Op], ops: &[Op]) -> String {
    let changed: Vec<usize> =
        (0..good.len().min(ops.len())).filter(|index| good[*index] != ops[*index]).collect();
    let Some(index) = changed.first().copied() else {
        return "the end".to_owned();
    };
    let in_doubt = |outcome: &Outcome| outcome.may_have_happened() && !outcome.happened();
    let open = good[..index].iter().filter(|op| match (op, &good[index]) {
        (Op::Call { call, outcome, .. }, Op::Event { event: Event::Stored(stored), .. }) => {
            let on_it = match call {
                Call::Publish(publish) => publish.subject == stored.subject,
                call => matches!(call, Call::Delete { .. } | Call::Purge { .. }),
            };
            on_it && in_doubt(outcome)
        }
        _ => false,
    });
    let open = open.count();
    // Where something was taken out, all that follows is another.
    let changed = if good.len() == ops.len() { changed } else { vec![index] };
    let itself = changed.iter().filter(|index| match &good[**index] {
        Op::Event {
            event: Event::Stored(Stored { seen: Seen::Ours { publisher, counter, .. }, .. }),
            ..
        } => good.iter().any(|op| {
            matches!(op, Op::Call { call: Call::Publish(publish), outcome, .. }
                    if (publish.publisher, publish.counter) == (*publisher, *counter) && in_doubt(outcome))
        }),
        _ => false,
    });
    let (itself, of) = (itself.count(), changed.len());
    let was = format!("{:?}", good[index]);
    format!(
        "{itself} of {of} and {open} before of unknown outcome; {}",
        was.chars().take(260).collect::<String>()
    )
}

fn trial(histories: &[Good], kind: usize, times: u32) -> (Tally, Vec<String>) {
    let (name, expected) = DAMAGES[kind];
    let (mut tally, mut listed) = (Tally::default(), Vec::new());
    let mut seed = 0;
    // A history without a consumer has no floor, and in one where nothing may be deleted nothing can be brought back: given up.
    while tally.tried < times && seed < u64::from(times) * TRIES {
        seed += 1;
        let history = &histories[(seed % histories.len() as u64) as usize];
        if name == "bring back" && history.gone.is_empty() {
            continue;
        }
        let Some(ops) = damage(history, name, &mut Random(seed)) else { continue };
        let verdict = check(ops.iter().cloned(), &Context::default());
        tally.tried += 1;
        if verdict.findings.iter().any(|finding| expected.contains(&finding.invariant)) {
            tally.found += 1;
        } else if verdict.findings.is_empty() {
            tally.survivors.push(seed);
            listed.push(damaged(&history.ops, &ops));
        } else {
            tally.by_another += 1;
        }
    }
    (tally, listed)
}
