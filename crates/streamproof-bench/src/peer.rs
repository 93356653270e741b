//! The same by the `nats` CLI (`nats bench js …`), on the same server and stream.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::cpu;
use crate::error::BenchError;
use crate::run::Run;
use crate::sample::Sample;
use crate::settings::{Measure, Shape};

/// Between two looks whether it has ended.
const INTERVAL: Duration = Duration::from_millis(5);

/// The longest that one round of it may take: this, and so much for each message. It has been seen to wait for ever for a
/// consumer that the server had dropped as inactive.
const BOUND: Duration = Duration::from_secs(60);
const BOUND_EACH: Duration = Duration::from_micros(500);

/// The name for which `nats bench js consume` makes its own consumer, with its own settings, as it does for its users.
const CONSUMER: &str = "nats-bench";

/// Its double acks wait for one another; a tenth of the messages is enough to know its pace.
const DOUBLE_ACK_PART: u64 = 10;

/// What the `nats` CLI is asked to do.
pub(crate) struct Peer {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

impl Peer {
    pub(crate) fn find(path: &Path) -> Result<Self, BenchError> {
        let out = Command::new(path).arg("--version").stdin(Stdio::null()).output();
        let out =
            out.map_err(|e| BenchError::NoPeer { path: path.display().to_string(), reason: e.to_string() })?;
        let version = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        Ok(Peer { path: path.to_owned(), version })
    }

    /// The words after `nats bench js`, for those measures that it has.
    pub(crate) fn words(measure: Measure) -> Option<&'static [&'static str]> {
        Some(match measure {
            Measure::PublishAck => &["pub", "async"],
            Measure::PublishFast => &["pub", "fast"],
            Measure::ConsumeExplicit => &["consume", "--acks", "explicit"],
            Measure::ConsumeAckAll => &["consume", "--acks", "all"],
            Measure::ConsumeDoubleAck => &["consume", "--acks", "explicit", "--doubleack"],
            Measure::EndToEnd => return None,
        })
    }

    pub(crate) fn msgs(measure: Measure, msgs: u64) -> u64 {
        if measure == Measure::ConsumeDoubleAck { (msgs / DOUBLE_ACK_PART).max(1) } else { msgs }
    }

    /// One round. `None` where it does not end.
    pub(crate) async fn sample(
        &self,
        run: &Run<'_>,
        measure: Measure,
        shape: Shape,
        msgs: u64,
    ) -> Result<Option<Sample>, BenchError> {
        let words = Peer::words(measure).unwrap_or_default();
        let csv = run.work_dir.join("peer.csv");
        let mut command = Command::new(&self.path);
        command.args(["bench", "js"]).args(words);
        if !measure.consumes() {
            run.bed.empty().await?;
            command.arg(&run.bed.subject);
        }
        if measure == Measure::PublishFast {
            command.args(["--max-outstanding-acks", "2"]);
        }
        command
            .args(["--stream", &run.bed.stream])
            .args(["--msgs", &msgs.to_string()])
            .args(["--size", &format!("{}B", shape.size_bytes)])
            .args(["--batch", &shape.window.to_string()])
            .args(["--clients", &shape.clients.to_string()])
            .args(["--no-progress", "--no-context", "--server", &run.target.url])
            .arg("--csv")
            .arg(&csv)
            .envs(run.target.peer_env.iter().map(|(name, value)| (name, value)));
        let (server, client) = (run.target.server_pid.and_then(cpu::of), cpu::ended_children());
        let bound = BOUND + BOUND_EACH * u32::try_from(msgs).unwrap_or(u32::MAX);
        if !self.to_end(run, command, bound).await? {
            if measure.consumes() {
                // It may be gone already.
                _ = run.bed.remove_consumer(CONSUMER).await;
            }
            return Ok(None);
        }
        let since = |now: Option<Duration>, then: Option<Duration>| Some(now?.saturating_sub(then?));
        let path = csv.display().to_string();
        let text =
            std::fs::read_to_string(&csv).map_err(|e| BenchError::Io { path, reason: e.to_string() })?;
        let took = took(&text).ok_or_else(|| BenchError::Peer {
            command: self.path.display().to_string(),
            reason: format!("its CSV cannot be read: {text}"),
        })?;
        let mut sample = Sample {
            msgs,
            took,
            client_cpu: since(cpu::ended_children(), client),
            server_cpu: since(run.target.server_pid.and_then(cpu::of), server),
            latency: None,
            miscounts: Vec::new(),
        };
        self.check(&run.bed, measure, &mut sample).await?;
        Ok(Some(sample))
    }

    async fn check(&self, bed: &Bed, measure: Measure, sample: &mut Sample) -> Result<(), BenchError> {
        if !measure.consumes() {
            return bed.check_stored(sample).await;
        }
        // How much it took it says itself; what the server says is only held against it where it took all.
        if Peer::msgs(measure, sample.msgs) == sample.msgs {
            bed.check_consumed(CONSUMER, sample).await?;
        }
        bed.remove_consumer(CONSUMER).await
    }

    /// Runs it until it ends, and ends it when it is told to stop, or when its time is over: false, then.
    async fn to_end(&self, run: &Run<'_>, mut command: Command, bound: Duration) -> Result<bool, BenchError> {
        let log_path = run.work_dir.join("peer.log");
        let io = |e: std::io::Error| BenchError::Io {
            path: log_path.display().to_string(),
            reason: e.to_string(),
        };
        let log = std::fs::File::create(&log_path).map_err(io)?;
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(io)?).stderr(log);
        let shown = format!("{command:?}").replace('"', "");
        let mut child = command.spawn().map_err(|e| BenchError::NoPeer {
            path: self.path.display().to_string(),
            reason: e.to_string(),
        })?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().map_err(io)? {
                break status;
            }
            if run.progress.stopped() || begun.elapsed() > bound {
                _ = child.kill();
                _ = child.wait();
                return if run.progress.stopped() { Err(BenchError::Interrupted) } else { Ok(false) };
            }
            tokio::time::sleep(INTERVAL).await;
        };
        if status.success() {
            return Ok(true);
        }
        let said = std::fs::read_to_string(&log_path).unwrap_or_default();
        let last: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let reason = last[last.len().saturating_sub(3)..].join("; ");
        Err(BenchError::Peer { command: shown, reason: format!("{status}: {reason}") })
    }
}

/// The longest time in the column `DurationSecs`, one line a client.
fn took(csv: &str) -> Option<Duration> {
    let mut lines = csv.lines();
    let column = lines.next()?.split(',').position(|name| name == "DurationSecs")?;
    let seconds = lines.filter_map(|line| line.split(',').nth(column)?.parse::<f64>().ok());
    let longest = seconds.fold(0.0, f64::max);
    (longest > 0.0).then(|| Duration::from_secs_f64(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_client_counts() {
        let csv = "#RunID,ClientID,MsgCount,MsgBytes,MsgsPerSec,BytesPerSec,DurationSecs,Min\n\
                   a,S0,15,64,7890,10.5,0.5,1\na,S1,15,64,7890,10.5,1.25,1\n";
        assert_eq!(took(csv), Some(Duration::from_millis(1250)));
        assert_eq!(took("#RunID\n"), None);
    }
}
