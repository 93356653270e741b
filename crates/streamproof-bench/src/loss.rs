//! The worst that a host crash takes: a server is recorded while it is published to, and started again on crash states of its
//! disk.
//!
//! The states are those of ext4 as it is mounted by default, on an honest disk ([`Profile::Ext4`]). A setting is as bad as the
//! worst state that was found; an interval of minutes is longer than a recording, and then that is all that can be said.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, context::GetStreamErrorKind, stream};
use serde::{Deserialize, Serialize};
use streamproof_client::{ClientExt, Outcome, Outgoing, PublisherOptions};
use streamproof_crashfs::{
    Budget, CrashFsError, CrashState, Log, Places, Profile, Rules, cuts, explore, states,
};
use streamproof_server::scratch::Builder;
use streamproof_server::{Scratch, ServerError};

use crate::error::BenchError;
use crate::progress::Progress;
use crate::publish::numbered;

/// The stream is not a new one: it and so many messages are on the disk when the recording begins. A stream that was made less
/// than about half a minute ago goes as a whole, under every setting but `always`: its `meta.inf` is not synced.
const THERE_ALREADY: u64 = 100;

/// Published in each tick of a recording.
const MSGS_PER_TICK: u64 = 5;
const TICK: Duration = Duration::from_millis(10);

/// For what is acked before it is written.
const SETTLING: Duration = Duration::from_millis(200);

/// Cuts that are tried; they lead to fewer states.
const CUTS: usize = 120;

/// What chooses the cuts: the same ones each time.
const SEED: u64 = 1;

const STREAM: &str = "PRICE";
const SIZE_BYTES: usize = 128;

/// What the worst crash state lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// States that a server was started on.
    pub states: usize,
    /// How long was published.
    pub recorded_ms: u64,
    /// The most acked messages that one state lost.
    pub lost: u64,
    /// Of so many that were acked before the power went.
    pub acked: u64,
    /// The age, at the cut, of the oldest acked message that a state lost; the largest over all states.
    pub oldest_ms: u64,
    /// In some state the stream itself was gone.
    pub stream_gone: bool,
}

/// Whether crash states can be made here; the reason where not.
///
/// # Errors
/// The reason, in words.
pub fn available() -> Result<(), String> {
    #[cfg(target_os = "linux")]
    return streamproof_crashfs::fuse::available(false).map_err(|e| e.to_string());
    #[cfg(not(target_os = "linux"))]
    Err("the recording file system is for Linux".to_owned())
}

/// A recorded run: the log, and for each acked message its sequence and when the ack was here, by time.
struct Run {
    log: Log,
    acked: Vec<(u64, u64)>,
    /// When what was there already was on the disk: earlier cuts are not asked about.
    settled_ns: u64,
}

/// Records, cuts, starts and looks. `builder` is the setting; the server's store is put where it is needed. Told to stop by
/// `progress`, it does so in the middle of either, with nothing left mounted.
///
/// # Errors
/// [`BenchError`].
pub fn worst(
    builder: &Builder,
    options: &ConnectOptions,
    persist_async: bool,
    recorded: Duration,
    work_dir: &Path,
    progress: &Progress,
) -> Result<Loss, BenchError> {
    let run = record(builder, options, persist_async, recorded, work_dir, progress)?;
    let marks: Vec<u64> = run.acked.iter().map(|(_, at_ns)| *at_ns).collect();
    let rules = Rules::new(Profile::Ext4);
    let mut chosen = cuts(&run.log, &marks, SEED, Budget::new(CUTS));
    chosen.retain(|cut| cut.at_ns > run.settled_ns);
    let states = states(&run.log, &chosen, rules);
    let places = Places::fastest(&format!("streamproof-price-{}", std::process::id()), work_dir);
    let servers: Vec<Mutex<Option<Scratch>>> = (0..64).map(|_| Mutex::new(None)).collect();
    let found = explore::<_, LossError, _>(&run.log, &states, rules, &places, |visit| {
        go_on(progress)?;
        let mut server = servers[visit.worker % servers.len()].lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_none() {
            *server = Some(builder.clone().prepare()?);
        }
        let Some(server) = server.as_mut() else { return Err(LossError::Bench(BenchError::Interrupted)) };
        server.set_store_dir(visit.dir)?;
        server.start()?;
        let stored = block_on(stored(&server.url(), options.clone()))?;
        server.kill()?;
        Ok(lost(&run.acked, visit.state, stored))
    });
    let found = found.map_err(LossError::into_bench)?;
    let worst = found.iter().max_by_key(|f| f.lost);
    Ok(Loss {
        states: states.len(),
        recorded_ms: u64::try_from(recorded.as_millis()).unwrap_or(u64::MAX),
        lost: worst.map_or(0, |f| f.lost),
        acked: worst.map_or(0, |f| f.acked),
        oldest_ms: found.iter().map(|f| f.oldest_ns).max().unwrap_or(0) / 1_000_000,
        stream_gone: found.iter().any(|f| f.stream_gone),
    })
}

/// What one state lost.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    acked: u64,
    lost: u64,
    oldest_ns: u64,
    stream_gone: bool,
}

/// What a stream says that it holds: messages, the first sequence and the last one. Nobody deletes, so what is missing in
/// between is lost.
type Stored = Option<(u64, u64, u64)>;

fn lost(acked: &[(u64, u64)], state: &CrashState, stored: Stored) -> Found {
    let until_ns = state.cut.at_ns;
    let before = &acked[..acked.partition_point(|(_, at_ns)| *at_ns <= until_ns)];
    let (messages, first, last) = stored.unwrap_or((0, 1, 0));
    let holes = (last + 1).saturating_sub(first).saturating_sub(messages);
    let outside = |sequence: u64| sequence < first || sequence > last;
    let gone = before.iter().filter(|(sequence, _)| outside(*sequence)).count() as u64;
    // With holes nobody says where they are: the oldest message may be one.
    let oldest = before.iter().find(|(sequence, _)| holes > 0 || outside(*sequence));
    Found {
        acked: before.len() as u64,
        lost: gone + holes.min(before.len() as u64 - gone),
        oldest_ns: oldest.map_or(0, |(_, at_ns)| until_ns - at_ns),
        stream_gone: stored.is_none() && !before.is_empty(),
    }
}

#[cfg(target_os = "linux")]
fn record(
    builder: &Builder,
    options: &ConnectOptions,
    persist_async: bool,
    recorded: Duration,
    work_dir: &Path,
    progress: &Progress,
) -> Result<Run, BenchError> {
    use streamproof_crashfs::fuse::{MountOptions, Recording};
    let mount = || -> Result<Run, LossError> {
        let recording = Recording::mount(&work_dir.join("recorded"), Log::new(), &MountOptions::default())?;
        let mut server = builder.clone().store_dir(recording.mountpoint()).start()?;
        let mut settled_ns = 0;
        let settle = || {
            recording.settle();
            settled_ns = recording.at_ns(Instant::now());
        };
        let published =
            block_on(publish(&server.url(), options.clone(), persist_async, recorded, settle, progress));
        recording.cut();
        server.kill()?;
        let mut acked: Vec<(u64, u64)> =
            published?.into_iter().map(|(sequence, at)| (sequence, recording.at_ns(at))).collect();
        acked.sort_by_key(|(_, at_ns)| *at_ns);
        Ok(Run { log: recording.finish()?, acked, settled_ns })
    };
    mount().map_err(LossError::into_bench)
}

#[cfg(not(target_os = "linux"))]
fn record(
    _: &Builder,
    _: &ConnectOptions,
    _: bool,
    _: Duration,
    _: &Path,
    _: &Progress,
) -> Result<Run, BenchError> {
    Err(BenchError::CrashStates { reason: "the recording file system is for Linux".to_owned() })
}

/// Publishes at a steady pace; the sequence of each acked message, and when its ack was here.
async fn publish(
    url: &str,
    options: ConnectOptions,
    persist_async: bool,
    recorded: Duration,
    settle: impl FnOnce(),
    progress: &Progress,
) -> Result<Vec<(u64, Instant)>, LossError> {
    let failed = |e: String| LossError::Bench(BenchError::Client { measure: "durability", reason: e });
    let client = options.connect(url).await.map_err(|e| failed(e.to_string()))?;
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["price".to_owned()],
        persist_mode: persist_async.then_some(stream::PersistenceMode::Async),
        ..Default::default()
    };
    jetstream::new(client.clone()).create_stream(config).await.map_err(|e| failed(e.to_string()))?;
    let acked = Arc::<Mutex<Vec<(u64, Instant)>>>::default();
    let sink = acked.clone();
    let options = PublisherOptions::default().on_outcome(move |_, outcome| {
        if let Outcome::Acked(ack) = outcome {
            sink.lock().unwrap_or_else(PoisonError::into_inner).push((ack.sequence, Instant::now()));
        }
    });
    let publisher = client.publisher(options).await.map_err(|e| failed(e.to_string()))?;
    for number in 0..THERE_ALREADY {
        let message = Outgoing::new("price", numbered(number, SIZE_BYTES));
        publisher.post(message, number).await.map_err(|e| failed(e.to_string()))?;
    }
    publisher.settle().await;
    // What is acked may be on its way to the disk still, where that is asynchronous. Nothing tells when it has arrived: a wait that
    // is too short only makes the loss that is reported larger.
    tokio::time::sleep(SETTLING).await;
    settle();
    let mut tick = tokio::time::interval(TICK);
    let (begun, mut number) = (Instant::now(), THERE_ALREADY);
    while begun.elapsed() < recorded {
        tick.tick().await;
        go_on(progress)?;
        for _ in 0..MSGS_PER_TICK {
            let message = Outgoing::new("price", numbered(number, SIZE_BYTES));
            publisher.post(message, number).await.map_err(|e| failed(e.to_string()))?;
            number += 1;
        }
    }
    let totals = publisher.settle().await;
    if totals.acked != number {
        return Err(failed(format!("of {number} messages {} were acked", totals.acked)));
    }
    let acked = std::mem::take(&mut *acked.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(acked)
}

async fn stored(url: &str, options: ConnectOptions) -> Result<Stored, LossError> {
    let failed = |e: String| LossError::Bench(BenchError::Client { measure: "durability", reason: e });
    let client = options.connect(url).await.map_err(|e| failed(e.to_string()))?;
    match jetstream::new(client).get_stream(STREAM).await {
        Ok(stream) => {
            let state = &stream.cached_info().state;
            Ok(Some((state.messages, state.first_sequence, state.last_sequence)))
        }
        Err(e) if matches!(e.kind(), GetStreamErrorKind::JetStream(j) if j.code() == 404) => Ok(None),
        Err(e) => Err(failed(e.to_string())),
    }
}

fn go_on(progress: &Progress) -> Result<(), LossError> {
    if progress.stopped() { Err(LossError::Bench(BenchError::Interrupted)) } else { Ok(()) }
}

fn block_on<T>(work: impl Future<Output = Result<T, LossError>>) -> Result<T, LossError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| {
        LossError::Bench(BenchError::Io { path: "a runtime".to_owned(), reason: e.to_string() })
    })?;
    runtime.block_on(work)
}

/// What can go wrong on the way to a loss.
#[derive(Debug, thiserror::Error)]
enum LossError {
    #[error(transparent)]
    CrashFs(#[from] CrashFsError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Bench(BenchError),
}

impl LossError {
    fn into_bench(self) -> BenchError {
        match self {
            LossError::Bench(e) => e,
            other => BenchError::CrashStates { reason: other.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamproof_crashfs::Cut;

    fn at(at_ns: u64, stored: Stored) -> (u64, u64, bool) {
        let acked: Vec<(u64, u64)> = (1..=10).map(|n| (n, n * 100)).collect();
        let cut = Cut { ops: 0, at_ns };
        let state = states(&Log::new(), &[cut], Rules::default()).pop().unwrap();
        let found = lost(&acked, &CrashState { cut, ..state }, stored);
        (found.lost, found.oldest_ns, found.stream_gone)
    }

    #[test]
    fn what_is_missing_is_told_with_its_age() {
        assert_eq!(at(1_050, None), (10, 950, true));
        assert_eq!(at(50, None), (0, 0, false), "nothing was acked yet");
        assert_eq!(at(1_050, Some((10, 1, 10))), (0, 0, false));
        assert_eq!(at(1_050, Some((7, 1, 7))), (3, 250, false));
        assert_eq!(at(650, Some((7, 1, 7))), (0, 0, false), "stored before its ack");
        assert_eq!(at(1_050, Some((8, 1, 10))), (2, 950, false), "holes");
        assert_eq!(at(1_050, Some((0, 1, 0))), (10, 950, false));
    }
}
