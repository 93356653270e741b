//! The price list: what each setting of durability costs, and what a host crash takes under it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamproof_server::scratch::Builder;

use crate::error::BenchError;
use crate::loss::{self, Loss};
use crate::progress::Progress;
use crate::report::{LatencyUs, Report, Server};
use crate::run::{Target, run};
use crate::settings::{Measure, Settings};

/// One way to run a server and its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name in the table.
    pub name: String,
    /// Keys of the `jetstream` block; `None` for the project's own `jetstream.conf`.
    pub jetstream: Option<String>,
    /// The stream's `persist_mode: async`.
    pub persist_async: bool,
    /// What a host crash may take by the setting's definition.
    pub by_definition: String,
    /// How long is recorded for the crash states; longer than the interval, where that is not minutes.
    pub recorded: Duration,
    /// It syncs for each message: fewer are measured.
    pub slow: bool,
}

/// nats-server's `sync_interval`, when nothing is said (opts.go, `DEFAULT_SYNC_INTERVAL`).
const DEFAULT_INTERVAL: &str = "2m";

impl Setting {
    /// Those of the price list, from the cheapest on; the project's own comes last.
    #[must_use]
    pub fn all() -> Vec<Setting> {
        let sync = |interval: &str, recorded: u64| Setting {
            name: format!("sync_interval: {interval}"),
            jetstream: Some(format!("sync_interval: {interval}")),
            persist_async: false,
            by_definition: format!("what was acked in the last {interval}"),
            recorded: Duration::from_secs(recorded),
            slow: false,
        };
        let default = Setting {
            name: format!("default (sync_interval: {DEFAULT_INTERVAL})"),
            jetstream: Some(String::new()),
            ..sync(DEFAULT_INTERVAL, 10)
        };
        vec![
            Setting {
                name: "default, persist_mode: async".to_owned(),
                persist_async: true,
                by_definition: format!(
                    "what was acked in the last {DEFAULT_INTERVAL}; a killed process loses some, too"
                ),
                ..default.clone()
            },
            default,
            sync("10s", 25),
            sync("1s", 6),
            sync("100ms", 4),
            Setting { by_definition: "nothing that was acked".to_owned(), slow: true, ..sync("always", 4) },
            Setting {
                name: "nats-config/jetstream.conf".to_owned(),
                jetstream: None,
                persist_async: false,
                by_definition: "by its own sync_interval".to_owned(),
                recorded: Duration::from_secs(6),
                slow: true,
            },
        ]
    }
}

/// What one setting costs, and what it loses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Price {
    /// The setting.
    pub setting: String,
    /// Messages a second with a full window: the median.
    pub msgs_per_s: f64,
    /// The slowest round.
    pub msgs_per_s_least: f64,
    /// The fastest round.
    pub msgs_per_s_most: f64,
    /// Publish to ack with a full window.
    pub latency_us: Option<LatencyUs>,
    /// Publish to ack with one message in flight.
    pub alone_latency_us: Option<LatencyUs>,
    /// Messages a second with one in flight.
    pub alone_msgs_per_s: f64,
    /// What a host crash may take, by the setting's definition.
    pub by_definition: String,
    /// The worst of the crash states; `None` where they cannot be made here.
    pub worst: Option<Loss>,
    /// Every message was accounted for.
    pub counted: bool,
}

/// The list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PriceList {
    /// The server, and the machine.
    pub server: Server,
    /// Size of the body.
    pub size_bytes: usize,
    /// The full window.
    pub window: usize,
    /// How often each was measured.
    pub rounds: usize,
    /// Why there are no crash states.
    pub no_crash_states: Option<String>,
    /// One for each setting.
    pub prices: Vec<Price>,
}

/// How much is measured for each setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Messages of each round; a tenth of them where each one is synced, and with one in flight.
    pub msgs: u64,
    /// Size of the body.
    pub size_bytes: usize,
    /// In flight at most.
    pub window: usize,
    /// How often; the median counts.
    pub rounds: usize,
    /// Make crash states, too.
    pub crash_states: bool,
}

/// Where each one is synced, or there is only one in flight, so much fewer are measured.
const SLOWER: u64 = 10;

impl Price {
    /// Measures on a server that runs with this setting, and records another one, made by `builder`, for the crash states.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn measure(
        setting: &Setting,
        target: &Target,
        builder: &Builder,
        extent: Extent,
        work_dir: &Path,
        progress: &Arc<Progress>,
    ) -> Result<(Price, Server), BenchError> {
        let with = |window: usize| {
            let mut msgs = extent.msgs;
            for slower in [setting.slow, window == 1] {
                msgs = if slower { (msgs / SLOWER).max(1) } else { msgs };
            }
            let settings = Settings {
                measures: vec![Measure::PublishAck],
                msgs,
                sizes_bytes: vec![extent.size_bytes],
                windows: vec![window],
                clients: vec![1],
                rounds: extent.rounds,
                rate_per_second: 1,
                end_to_end_seconds: 1,
                persist_async: setting.persist_async,
                peer: None,
                work_dir: work_dir.to_owned(),
            };
            run(&settings, target, progress)
        };
        let (full, alone) = (with(extent.window)?, with(1)?);
        let worst = if extent.crash_states {
            let seconds = setting.recorded.as_secs();
            progress.begin(format!("{}: {seconds} s recorded, then crash states", setting.name), 0);
            let options = &target.options;
            Some(loss::worst(builder, options, setting.persist_async, setting.recorded, work_dir, progress)?)
        } else {
            None
        };
        let price = Price::new(setting, &full, &alone, worst);
        let price =
            price.ok_or(BenchError::Client { measure: "durability", reason: "nothing measured".into() })?;
        Ok((price, full.server))
    }

    /// From reports of `publish-ack` with a full window and with one in flight.
    fn new(setting: &Setting, full: &Report, alone: &Report, worst: Option<Loss>) -> Option<Price> {
        let (counted, full, alone) =
            (full.counted() && alone.counted(), full.measures.first()?, alone.measures.first()?);
        Some(Price {
            setting: setting.name.clone(),
            msgs_per_s: full.ours.msgs_per_s,
            msgs_per_s_least: full.ours.msgs_per_s_least,
            msgs_per_s_most: full.ours.msgs_per_s_most,
            latency_us: full.ours.latency_us.clone(),
            alone_latency_us: alone.ours.latency_us.clone(),
            alone_msgs_per_s: alone.ours.msgs_per_s,
            by_definition: setting.by_definition.clone(),
            worst,
            counted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_those_of_the_list() {
        let names: Vec<String> = Setting::all().into_iter().map(|s| s.name).collect();
        assert_eq!(
            names,
            [
                "default, persist_mode: async",
                "default (sync_interval: 2m)",
                "sync_interval: 10s",
                "sync_interval: 1s",
                "sync_interval: 100ms",
                "sync_interval: always",
                "nats-config/jetstream.conf",
            ]
        );
    }
}
