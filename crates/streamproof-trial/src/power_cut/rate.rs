//! How many crash states are tried in a minute: each built, a server started on it, everything read back, and judged.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_json::json;
use streamproof_checker::{Context, SyncInterval};
use streamproof_crashfs::Rules;
use streamproof_model::desired::{Desired, DesiredStream, Kind, Places};
use streamproof_model::op::FaultKind;
use streamproof_server::Scratch;
use streamproof_server::acquire::Binary;

use super::CutError;
use super::recorded::record;
use super::search::{Hunt, hunt};
use super::visit::{Bench, workers};
use crate::nemesis::Arsenal;
use crate::run::Setup;
use crate::target::targets;
use crate::wire::Login;
use crate::workload::{Case, Leg, Step};

/// Cuts that are chosen: more than are tried in the time.
const CUTS: usize = 200_000;

/// What was tried in a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Crash states.
    pub states: usize,
    /// Messages that were read back and judged, all states together.
    pub messages: u64,
    /// Of the states, those in which something acknowledged is missing.
    pub lossy: usize,
    /// The time it took.
    pub took: Duration,
    /// Servers at a time.
    pub workers: usize,
}

impl Rate {
    /// States a minute.
    #[must_use]
    pub fn per_minute(&self) -> f64 {
        self.states as f64 / self.took.as_secs_f64() * 60.0
    }
}

/// Records a stream that holds `messages` messages of 128 bytes and takes a fifth more, cuts the power in that last part, and tries the
/// states for so long. `sync_interval: always`.
///
/// # Errors
/// [`CutError`].
pub fn rate(binary: &Binary, messages: u32, time: Duration, folder: &Path) -> Result<Rate, CutError> {
    let config = json!({ "name": "RATE", "subjects": ["rate.*"], "storage": "file" });
    let config = config.as_object().cloned().unwrap_or_default();
    let stream = DesiredStream {
        kind: Kind::Stream,
        name: "RATE".to_owned(),
        bucket: None,
        declared: config.keys().cloned().collect(),
        config,
        places: Places::default(),
    };
    let (targets, _) = targets(&Desired { streams: vec![stream], consumers: Vec::new() });
    let leg = |count: u32, window: u32| Leg {
        steps: vec![(
            0,
            Step::Publish {
                count,
                len_min: 128,
                len_max: 128,
                window,
                subjects: 8,
                ids: false,
                headers: false,
                ttl_s: None,
            },
        )],
        load: Vec::new(),
        load_acks: 1,
        fault: FaultKind::PowerCut,
        canary: false,
    };
    let case = Case { seed: 1, legs: vec![leg(messages, 64), leg(messages / 5, 1)] };
    let cancel = AtomicBool::new(false);
    let setup =
        Setup { targets: &targets, notes: &[], login: Login::default(), run_id: "rate", cancel: &cancel };
    let builder =
        Scratch::builder().binary(binary.clone()).jetstream("sync_interval: always").in_memory(true);
    let (history, mountpoint) = (folder.join("rate.history"), folder.join("mount"));
    let mut arsenal = Arsenal::default();
    let mut recorded = record(&setup, &case, builder.clone(), &mut arsenal, &history, 0, &mountpoint)?;
    let acks = recorded.acks_ns();
    recorded.first_ns = acks.get(messages as usize).or(acks.last()).copied().unwrap_or(recorded.first_ns);
    let context = Context { sync: SyncInterval::Always, ..Context::default() };
    let workers = workers();
    let bench = Bench::new(&builder, workers)?;
    let begun = Instant::now();
    let hunting = Hunt {
        setup: &setup,
        recorded: &recorded,
        context: &context,
        builder: &builder,
        bench: &bench,
        rules: Rules::default(),
        cuts: CUTS,
        until: begun + time,
        second: None,
    };
    let catch = hunt(&hunting, None, |_| false)?;
    Ok(Rate {
        states: catch.verdicts.len(),
        messages: catch.verdicts.iter().map(|verdict| verdict.counts.read_back).sum(),
        lossy: catch.searched.iter().map(|searched| searched.lossy).sum(),
        took: begun.elapsed(),
        workers,
    })
}
