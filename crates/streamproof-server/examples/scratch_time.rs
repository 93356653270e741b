//! How long a scratch server takes from `new` to ready, and from SIGKILL to ready again; medians.
//!
//! ```text
//! cargo run -p streamproof-server --example scratch_time [ROUNDS]
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::{Duration, Instant};

use streamproof_server::Scratch;

/// What a test should have to wait at most, on an idle machine.
const BOUND: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds = std::env::args().nth(1).map_or(Ok(51), |text| text.parse())?;
    // The first one finds nats-server, or fetches it.
    drop(Scratch::new()?);
    let (mut new, mut again) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        let mut server = Scratch::new()?;
        new.push(start.elapsed());
        let url = server.url();
        let start = Instant::now();
        server.restart_killed()?;
        again.push(start.elapsed());
        assert_eq!(server.url(), url, "its port is kept");
    }
    let new = median(&mut new);
    println!(
        "new to ready {:.1} ms, killed to ready again {:.1} ms (medians of {rounds}), {} {} ms",
        new.as_secs_f64() * 1e3,
        median(&mut again).as_secs_f64() * 1e3,
        if new <= BOUND { "within" } else { "OVER" },
        BOUND.as_millis(),
    );
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
