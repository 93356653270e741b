//! The controls of power cuts, in every run that has them: on a disk that ignores syncs loss must be found though the server syncs
//! always, and on one where every write is durable none.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::json;
use streamproof_checker::{Context, ControlResult, Invariant, SyncInterval, Verdict};
use streamproof_crashfs::{Disk, Rules};
use streamproof_model::desired::{Desired, DesiredStream, Kind, Places};
use streamproof_model::op::FaultKind;
use streamproof_server::Scratch;
use streamproof_server::acquire::Binary;

use super::CutError;
use super::recorded::record;
use super::search::{Hunt, hunt};
use super::visit::Bench;
use crate::nemesis::Arsenal;
use crate::run::Setup;
use crate::seed::Seed;
use crate::target::targets;
use crate::wire::Login;
use crate::workload::{Case, Leg, Step};

/// The stream of these controls.
const NAME: &str = "SP_CONTROL_POWER_CUT";

/// Cuts of each: the states of a lying disk are few.
const CUTS: usize = 12;

/// Runs them on a server and streams of their own, in `folder` and on a mount at `mountpoint`.
///
/// # Errors
/// [`CutError`].
pub(crate) fn run_controls(
    binary: &Binary,
    seed: u64,
    run_id: &str,
    folder: &Path,
    mountpoint: &Path,
    began_ns: i64,
    cancel: &AtomicBool,
) -> Result<Vec<ControlResult>, CutError> {
    let config = json!({ "name": NAME, "subjects": [format!("{NAME}.*")], "storage": "file" });
    let config = config.as_object().cloned().unwrap_or_default();
    let stream = DesiredStream {
        kind: Kind::Stream,
        name: NAME.to_owned(),
        bucket: None,
        declared: config.keys().cloned().collect(),
        config,
        places: Places::default(),
    };
    let (targets, _) = targets(&Desired { streams: vec![stream], consumers: Vec::new() });
    let publish = Step::Publish {
        count: 40,
        len_min: 18,
        len_max: 64,
        window: 4,
        subjects: 4,
        ids: false,
        headers: false,
        ttl_s: None,
    };
    let fault = FaultKind::PowerCut;
    let leg = Leg { steps: vec![(0, publish)], load: vec![0], load_acks: 20, fault, canary: false };
    let case = Case { seed: Seed::new(seed).part("power-cut controls").draw(), legs: vec![leg] };
    let setup = Setup { targets: &targets, notes: &[], login: Login::default(), run_id, cancel };
    let builder =
        Scratch::builder().binary(binary.clone()).jetstream("sync_interval: always").in_memory(true);
    let history = folder.join("controls.power-cut.history");
    let mut arsenal = Arsenal::default();
    let recorded = record(&setup, &case, builder.clone(), &mut arsenal, &history, began_ns, mountpoint)?;
    let context = Context { sync: SyncInterval::Always, ..Context::default() };
    let bench = Bench::new(&builder, 2)?;
    let on = |disk: Disk| -> Result<Vec<Verdict>, CutError> {
        let hunting = Hunt {
            setup: &setup,
            recorded: &recorded,
            context: &context,
            builder: &builder,
            bench: &bench,
            rules: Rules::default().with_disk(disk),
            cuts: CUTS,
            until: Instant::now(),
            second: None,
        };
        Ok(hunt(&hunting, None, |_| false)?.verdicts)
    };
    let lost = |verdicts: &[Verdict]| {
        verdicts
            .iter()
            .flat_map(|verdict| &verdict.findings)
            .any(|finding| finding.invariant == Invariant::M1)
    };
    let (lying, durable) = (on(Disk::Lying)?, on(Disk::Durable)?);
    let beside: Vec<String> = durable
        .iter()
        .flat_map(|verdict| &verdict.findings)
        .map(|finding| format!("{} {}", finding.invariant.name(), finding.class))
        .collect();
    let result = |name: &str, expect: &str, found: bool, beside: Vec<String>| ControlResult {
        name: name.to_owned(),
        target: NAME.to_owned(),
        expect: expect.to_owned(),
        found,
        beside,
    };
    Ok(vec![
        result("lying-disk", "M1", lost(&lying), Vec::new()),
        // Nothing to be found is the expectation; states must have been there to find it in.
        result("durable-disk", "nothing", beside.is_empty() && !durable.is_empty(), beside),
    ])
}
