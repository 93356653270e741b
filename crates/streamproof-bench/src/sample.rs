//! One round of one measure: how long it took, what it cost, and whether every message was accounted for.

use std::time::{Duration, Instant};

use streamproof_client::Histogram;

use crate::cpu;

/// What one round came to.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) msgs: u64,
    pub(crate) took: Duration,
    pub(crate) client_cpu: Option<Duration>,
    pub(crate) server_cpu: Option<Duration>,
    pub(crate) latency: Option<Histogram>,
    /// What does not add up; empty where every message is accounted for.
    pub(crate) miscounts: Vec<String>,
}

impl Sample {
    pub(crate) fn msgs_per_s(&self) -> f64 {
        self.msgs as f64 / self.took.as_secs_f64().max(1e-9)
    }

    pub(crate) fn client_cpu_s_per_msg(&self) -> Option<f64> {
        Some(self.client_cpu?.as_secs_f64() / self.msgs as f64)
    }

    /// Notes a number that is not what it must be.
    pub(crate) fn expect(&mut self, what: &str, want: u64, got: u64) {
        if want != got {
            self.miscounts.push(format!("{what}: {got} instead of {want}"));
        }
    }
}

/// Runs from just before the first message to just after the last answer.
pub(crate) struct Stopwatch {
    server_pid: Option<u32>,
    client: Option<Duration>,
    server: Option<Duration>,
    start: Instant,
}

impl Stopwatch {
    pub(crate) fn start(server_pid: Option<u32>) -> Self {
        Stopwatch {
            server_pid,
            client: cpu::own(),
            server: server_pid.and_then(cpu::of),
            start: Instant::now(),
        }
    }

    pub(crate) fn stop(self, msgs: u64) -> Sample {
        let took = self.start.elapsed();
        let since = |now: Option<Duration>, then: Option<Duration>| Some(now?.saturating_sub(then?));
        Sample {
            msgs,
            took,
            client_cpu: since(cpu::own(), self.client),
            server_cpu: since(self.server_pid.and_then(cpu::of), self.server),
            latency: None,
            miscounts: Vec::new(),
        }
    }
}
