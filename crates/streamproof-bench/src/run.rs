//! The run: every measure in every shape, round by round, ours and the peer's in turn.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions};
use tokio::task::JoinError;

use crate::bed::Bed;
use crate::error::BenchError;
use crate::peer::Peer;
use crate::progress::Progress;
use crate::report::{Measured, Report, Server};
use crate::sample::Sample;
use crate::settings::{Measure, Settings, Shape};
use crate::{consume, end_to_end, publish};

/// A round in which no message moves for this long has failed.
const STALL_SECONDS: u64 = 60;

/// How often it is looked whether anything moves, and whether to stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The server to measure on.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its address.
    pub url: String,
    /// How to connect.
    pub options: ConnectOptions,
    /// What the `nats` CLI needs in its environment to be let in.
    pub peer_env: Vec<(String, String)>,
    /// Its process, where it is on this machine: its processor time is then told.
    pub server_pid: Option<u32>,
    /// How it is configured, in words.
    pub about: String,
}

/// What every measure needs.
pub(crate) struct Run<'a> {
    pub(crate) target: &'a Target,
    pub(crate) progress: Arc<Progress>,
    pub(crate) bed: Bed,
    pub(crate) work_dir: &'a Path,
    measure: Measure,
}

/// Measures. Blocks; whoever wants to watch looks at `progress` from another thread.
///
/// # Errors
/// [`BenchError`]. Messages that are not accounted for are no error: they are in the report.
pub fn run(settings: &Settings, target: &Target, progress: &Arc<Progress>) -> Result<Report, BenchError> {
    settings.check()?;
    // A thread for each client: one connection and one task gain nothing from a second but waking each other up.
    let most_clients = settings.clients.iter().copied().max().unwrap_or(1);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(most_clients.clamp(1, cores))
        .enable_all()
        .build()
        .map_err(|e| BenchError::Io { path: "a runtime".into(), reason: e.to_string() })?;
    runtime.block_on(measure_all(settings, target, progress))
}

async fn measure_all(
    settings: &Settings,
    target: &Target,
    progress: &Arc<Progress>,
) -> Result<Report, BenchError> {
    let peer = settings.peer.as_deref().map(Peer::find).transpose()?;
    let client = connect(target).await?;
    let server = Server {
        version: client.server_info().version,
        url: target.url.clone(),
        about: target.about.clone(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut run = Run {
        target,
        progress: progress.clone(),
        bed: Bed::new(client, settings.persist_async),
        work_dir: &settings.work_dir,
        measure: Measure::PublishAck,
    };
    let measures = run.measures(settings, peer.as_ref()).await;
    // The stream is ours: it goes in any case. What went wrong first is what is told.
    let removed = run.bed.remove().await;
    let measures = measures?;
    removed?;
    let peer = peer.map(|peer| format!("nats {}", peer.version));
    Ok(Report { server, peer, measures })
}

impl Run<'_> {
    async fn measures(
        &mut self,
        settings: &Settings,
        peer: Option<&Peer>,
    ) -> Result<Vec<Measured>, BenchError> {
        let mut measured = Vec::new();
        for &size_bytes in &settings.sizes_bytes {
            let mut filled = false;
            for &measure in &settings.measures {
                self.measure = measure;
                if measure == Measure::PublishFast && !self.bed.fast {
                    continue;
                }
                if measure.consumes() && !filled {
                    self.progress.begin(format!("{size_bytes} B: filling a stream"), settings.msgs);
                    self.bounded(publish::fill(self, size_bytes, settings.msgs)).await?;
                }
                filled = measure.consumes();
                for shape in shapes(settings, measure, size_bytes) {
                    measured.push(self.rounds(settings, peer, measure, shape).await?);
                }
            }
        }
        Ok(measured)
    }

    async fn rounds(
        &self,
        settings: &Settings,
        peer: Option<&Peer>,
        measure: Measure,
        shape: Shape,
    ) -> Result<Measured, BenchError> {
        let peer = peer.filter(|_| Peer::words(measure).is_some());
        let (mut rounds, mut warm_up_miscounts, mut unfinished) = (Vec::new(), Vec::new(), 0);
        // Beside a peer the first round warms both up: it is counted, but no number of it is used.
        let warm_ups = usize::from(peer.is_some());
        for round in 0..settings.rounds + warm_ups {
            let (mut ours, mut theirs) = (None, None);
            // The one that comes second finds the machine warmer: each does so every other time.
            for turn in 0..2 {
                if (round + turn) % 2 == 0 {
                    ours = Some(self.ours(settings, measure, shape, round).await?);
                } else if let Some(peer) = peer {
                    let msgs = Peer::msgs(measure, settings.msgs);
                    self.begin(settings, measure, shape, round, "nats bench", 0);
                    theirs = peer.sample(self, measure, shape, msgs).await?;
                    unfinished += usize::from(theirs.is_none());
                }
            }
            let Some(ours) = ours else { continue };
            if round < warm_ups {
                let theirs =
                    theirs.into_iter().flat_map(|s| s.miscounts).map(|m| format!("of the peer: {m}"));
                warm_up_miscounts.extend(ours.miscounts.into_iter().chain(theirs));
            } else {
                rounds.push((ours, theirs));
            }
        }
        let mut measured = Measured::new(measure.name(), shape, &rounds);
        measured.counted &= warm_up_miscounts.is_empty();
        measured.miscounts.extend(warm_up_miscounts);
        Ok(Measured { peer_unfinished: unfinished, ..measured })
    }

    async fn ours(
        &self,
        settings: &Settings,
        measure: Measure,
        shape: Shape,
        round: usize,
    ) -> Result<Sample, BenchError> {
        let (msgs, rate, seconds) = (settings.msgs, settings.rate_per_second, settings.end_to_end_seconds);
        let of = if measure == Measure::EndToEnd { rate * seconds } else { msgs };
        self.begin(settings, measure, shape, round, "streamproof", of);
        match measure {
            Measure::PublishAck => self.bounded(publish::ack_each(self, shape, msgs)).await,
            Measure::PublishFast => self.bounded(publish::fast(self, shape, msgs)).await,
            Measure::EndToEnd => self.bounded(end_to_end::latency(self, shape, rate, seconds)).await,
            _ => self.bounded(consume::all(self, measure, shape, msgs)).await,
        }
    }

    fn begin(&self, settings: &Settings, measure: Measure, shape: Shape, round: usize, who: &str, of: u64) {
        let Shape { size_bytes, window, clients } = shape;
        let name = measure.name();
        let (round, rounds) = (round + 1, settings.rounds + usize::from(settings.peer.is_some()));
        self.progress.begin(
            format!("{name} {size_bytes} B, window {window}, clients {clients}: {round}/{rounds} {who}"),
            of,
        );
    }

    /// Ends what does not move any more, and what is not wanted any more.
    async fn bounded<T>(&self, work: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
        let watch = async {
            let mut last = (self.progress.done(), Instant::now());
            loop {
                tokio::time::sleep(LOOK_INTERVAL).await;
                if self.progress.stopped() {
                    return BenchError::Interrupted;
                }
                let done = self.progress.done();
                if done != last.0 {
                    last = (done, Instant::now());
                } else if last.1.elapsed().as_secs() >= STALL_SECONDS {
                    let of = self.progress.snapshot().of;
                    let measure = self.measure.name();
                    return BenchError::Stalled { measure, seconds: STALL_SECONDS, done, of };
                }
            }
        };
        tokio::select! {
            done = work => done,
            error = watch => Err(error),
        }
    }

    pub(crate) async fn connect(&self) -> Result<Client, BenchError> {
        connect(self.target).await
    }

    pub(crate) fn client_error(&self, error: impl Display) -> BenchError {
        BenchError::Client { measure: self.measure.name(), reason: error.to_string() }
    }

    /// What a task came to.
    pub(crate) fn joined<T, E: Display>(
        &self,
        joined: Result<Result<T, E>, JoinError>,
    ) -> Result<T, BenchError> {
        joined.map_err(|e| self.client_error(e))?.map_err(|e| self.client_error(e))
    }
}

async fn connect(target: &Target) -> Result<Client, BenchError> {
    let connected = target.options.clone().connect(target.url.as_str()).await;
    connected.map_err(|e| BenchError::Unreachable { url: target.url.clone(), reason: e.to_string() })
}

fn shapes(settings: &Settings, measure: Measure, size_bytes: usize) -> Vec<Shape> {
    if measure == Measure::EndToEnd {
        // One publisher, one consumer, at a rate that leaves little in flight.
        let size_bytes = size_bytes.max(end_to_end::HEAD_BYTES);
        let window = settings.windows.iter().copied().max().unwrap_or(1);
        return vec![Shape { size_bytes, window, clients: 1 }];
    }
    let each =
        |&window: &usize| settings.clients.iter().map(move |&clients| Shape { size_bytes, window, clients });
    settings.windows.iter().flat_map(each).collect()
}
