//! What the recording costs a server: acknowledged messages a second on the mount, beside the same on a plain directory.
//!
//! `cargo run --release -p streamproof-crashfs --features fuse --example throughput [DIR] [MESSAGES] [ROUNDS]`; DIR is a
//! directory on the disk to compare with, the temporary folder by default. 128 bytes a message, 500 in flight.

#[path = "../tests/it/nats.rs"]
mod nats;

use std::path::Path;
use std::time::{Duration, Instant};

use nats::{Nats, PATIENT};
use streamproof_crashfs::Log;
use streamproof_crashfs::fuse::{MountOptions, Recording};
use streamproof_server::Scratch;

const STREAM: &str = "THROUGHPUT";
const SUBJECT: &str = "throughput";

#[expect(clippy::print_stdout, reason = "an example prints its answer")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dir = arguments.first().map_or_else(std::env::temp_dir, Into::into);
    let messages: u64 = arguments.get(1).map_or(Ok(20_000), |n| n.parse())?;
    let rounds: usize = arguments.get(2).map_or(Ok(5), |n| n.parse())?;
    println!("{:<22} {:>12} {:>12} {:>8}  (medians of {rounds})", "", "plain/s", "mount/s", "ratio");
    for (name, jetstream) in [("default", ""), ("sync_interval: always", "sync_interval: always")] {
        let (mut plain, mut mount) = (Vec::new(), Vec::new());
        // Turn and turn about: what else the machine does hits both alike.
        for _ in 0..rounds {
            let folder = tempfile::tempdir_in(&dir)?;
            plain.push(rate(&folder.path().join("plain"), jetstream, messages)?);
            let recording =
                Recording::mount(&folder.path().join("mount"), Log::new(), &MountOptions::default())?;
            mount.push(rate(recording.mountpoint(), jetstream, messages)?);
            let log = recording.finish()?;
            let counts = log.counts();
            let writes = counts.get("write").copied().unwrap_or(0);
            assert!(writes as u64 >= messages, "the log saw {writes} writes: {counts:?}");
            let syncs = counts.get("fsync").copied().unwrap_or(0);
            assert!(jetstream.is_empty() || syncs > 0, "no sync was seen: {counts:?}");
        }
        let (plain, mount) = (median(&mut plain), median(&mut mount));
        println!("{name:<22} {plain:>12.0} {mount:>12.0} {:>8.2}", mount / plain);
    }
    Ok(())
}

/// Acknowledged messages a second of a new server whose store is `dir`; every message is counted in the end.
fn rate(dir: &Path, jetstream: &str, messages: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let mut server = Scratch::builder().jetstream(jetstream).store_dir(dir).start()?;
    let mut nats = Nats::connect(&server.address(), PATIENT)?;
    nats.create_stream(STREAM, SUBJECT, &serde_json::json!({}))?;
    let begin = Instant::now();
    let acked = nats.publish(SUBJECT, 0..messages, 128)?;
    let took: Duration = begin.elapsed();
    assert_eq!(acked.len() as u64, messages, "not every message was acknowledged");
    assert!(acked.iter().all(|a| a.sequence == a.number + 1 && a.at >= begin), "in another order");
    let stored = nats.read(STREAM)?.unwrap_or_default();
    assert!(stored.iter().map(|s| (s.number, s.sequence)).eq((0..messages).map(|n| (Some(n), n + 1))));
    server.kill()?;
    Ok(messages as f64 / took.as_secs_f64())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
