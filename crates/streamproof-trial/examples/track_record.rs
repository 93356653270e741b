//! Runs the track record: every defect of the table, in the version that has it and in the one that mends it, each from fresh
//! seeds, and says how many of them found it.
//!
//! `cargo run --release -p streamproof-trial --example track_record [-- [NAME…] [--seeds 10] [--for 120] [--good-for 120]
//! [--from SEED] [--jobs 2]]`

#![expect(clippy::print_stdout, reason = "an example prints what it finds")]

mod shipped;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use streamproof_model::version::Version;
use streamproof_server::wire::Credentials;
use streamproof_trial::track_record::{Row, TABLE};
use streamproof_trial::trial::{Length, Options, search};

struct Asked {
    names: Vec<String>,
    seeds: u64,
    from: u64,
    bad_for: Duration,
    good_for: Duration,
    jobs: usize,
}

fn asked() -> Result<Asked, Box<dyn Error>> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let mut asked = Asked {
        names: Vec::new(),
        seeds: 10,
        // Fresh ones: a seed that is chosen proves little.
        from: now.as_secs() % 1_000_000_000,
        bad_for: Duration::from_secs(120),
        good_for: Duration::from_secs(120),
        jobs: 2,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, Box<dyn Error>> {
            Ok(words.next().ok_or(format!("{word} needs a number"))?.parse()?)
        };
        match word.as_str() {
            "--seeds" => asked.seeds = number()?,
            "--from" => asked.from = number()?,
            "--for" => asked.bad_for = Duration::from_secs(number()?),
            "--good-for" => asked.good_for = Duration::from_secs(number()?),
            "--jobs" => asked.jobs = number()?.max(1) as usize,
            name if TABLE.iter().any(|row| row.name == name) => asked.names.push(word),
            other => return Err(format!("{other} is neither a row nor a flag").into()),
        }
    }
    Ok(asked)
}

/// What one search came to.
struct Try {
    found: Vec<String>,
    took: Duration,
    restarts: u64,
}

fn attempt(row: &Row, version: &Version, seed: u64, time: Duration) -> Result<Try, Box<dyn Error>> {
    let folder = shipped::workspace().join("docs/track-record").join(row.name);
    let runs = tempfile::tempdir()?;
    let options = Options {
        seed,
        length: Length::For(time),
        faults: row.faults.to_vec(),
        full: false,
        profiles: Vec::new(),
        survive: None,
        strict: false,
        binary: shipped::server(version)?,
        upgrade_to: None,
        downgrade_to: None,
        server_conf: shipped::server_conf(&folder),
        credentials: Credentials::None,
        runs: runs.path().to_owned(),
    };
    let project = shipped::project(&folder, version)?;
    let started = Instant::now();
    let outcome = search(&options, &project, &AtomicBool::new(false), |verdict| row.found(verdict), |_| {})?;
    Ok(Try {
        found: row.findings(&outcome.verdict).collect(),
        took: started.elapsed(),
        restarts: outcome.verdict.restarts_verified,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked = asked()?;
    let rows =
        TABLE.iter().filter(|row| asked.names.is_empty() || asked.names.iter().any(|name| name == row.name));
    let mut kept = true;
    println!(
        "{} seeds from {}, {} s each ({} s where it is mended), {} at a time",
        asked.seeds,
        asked.from,
        asked.bad_for.as_secs(),
        asked.good_for.as_secs(),
        asked.jobs
    );
    for row in rows {
        for (version, time, has_it) in [(&row.bad, asked.bad_for, true), (&row.good, asked.good_for, false)] {
            let next = AtomicUsize::new(0);
            let tries: Mutex<BTreeMap<u64, Result<Try, String>>> = Mutex::default();
            std::thread::scope(|scope| {
                for _ in 0..asked.jobs {
                    scope.spawn(|| {
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed) as u64;
                            if number >= asked.seeds {
                                break;
                            }
                            let seed = asked.from + number;
                            let done = attempt(row, version, seed, time).map_err(|error| error.to_string());
                            if let Ok(mut tries) = tries.lock() {
                                tries.insert(seed, done);
                            }
                        }
                    });
                }
            });
            let tries = tries.into_inner().map_err(|_| "a search panicked")?;
            let (mut found, mut restarts, mut longest) = (0, 0, Duration::ZERO);
            let mut shown: BTreeMap<String, u32> = BTreeMap::new();
            for (seed, done) in &tries {
                let done =
                    done.as_ref().map_err(|error| format!("{} {version}, seed {seed}: {error}", row.name))?;
                restarts += done.restarts;
                if !done.found.is_empty() {
                    found += 1;
                    longest = longest.max(done.took);
                }
                for what in &done.found {
                    *shown.entry(what.clone()).or_default() += 1;
                }
            }
            let shown: Vec<&str> = shown.keys().map(String::as_str).collect();
            let slowest = if found > 0 {
                format!(", the slowest after {:.0} s", longest.as_secs_f64())
            } else {
                String::new()
            };
            println!(
                "{:<32} {:<8} {found}/{} seeds{slowest}, {restarts} restarts verified   {}",
                row.name,
                version.to_string(),
                asked.seeds,
                shown.join(", ")
            );
            // 8 of 10 where it is, none where it is not.
            kept &= if has_it { found * 10 >= asked.seeds * 8 } else { found == 0 };
        }
    }
    if kept { Ok(()) } else { Err("the track record does not hold".into()) }
}
