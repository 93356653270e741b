//! Power cuts in a run: group after group is recorded, cut and judged, until the time is up.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use streamproof_checker::{Context, Overall, Verdict};
use streamproof_crashfs::real::{Kind as DiskKind, RealDisk, available as disk_available};
use streamproof_crashfs::{Profile, Rules};
use streamproof_model::op::FaultKind;
use streamproof_server::scratch::Builder;

use super::CutError;
use super::controls::{Stand, run_controls};
use super::plot::plot;
use super::recorded::record;
use super::search::{Again, Hunt, hunt};
use super::states::StatesFile;
use super::tally::Tally;
use super::visit::{Bench, workers};
use crate::archive::{Archive, write_json};
use crate::group::Group;
use crate::judge::judge;
use crate::nemesis::Arsenal;
use crate::report::power::PowerCut;
use crate::run::{Setup, run_case};
use crate::seed::Seed;
use crate::target::NotProven;
use crate::wire::Login;
use crate::workload::{Case, Scale, case};

/// Room for the store of a case on a real file system; sparse, so that only what is written takes any.
const DISK_BYTES: u64 = 512 << 20;

/// Cuts of a case on a real file system.
const ON_DISK_CUTS: usize = 3;

/// Cuts that are chosen of a recording: more than are ever tried in a default run, so that the time decides.
const CUTS: usize = 4_000;

/// Messages of a large burst, shared by the streams of a group: what is written is read back from every state.
const BURST: u32 = 240;

/// A search of many rounds tries the states of a recording for so long, in no order, and then records anew, which takes some tenths
/// of a second: what is rare (a purge of everything) is in one of ten recordings, and is seen there early, since each kind of turn
/// has its turn (`search.rs`).
const ONE_RECORDING: Duration = Duration::from_secs(3);

/// What the rounds need.
#[derive(Debug)]
pub(crate) struct Rounds<'a> {
    pub(crate) groups: &'a [Group],
    pub(crate) notes: &'a [NotProven],
    pub(crate) login: &'a Login,
    pub(crate) run_id: &'a str,
    pub(crate) cancel: &'a AtomicBool,
    pub(crate) archive: &'a Archive,
    pub(crate) context: &'a Context,
    pub(crate) builder: Builder,
    pub(crate) binary: &'a streamproof_server::Binary,
    pub(crate) seed: u64,
    pub(crate) began_ns: i64,
    /// Profiles that are told beside the judged one.
    pub(crate) profiles: &'a [Profile],
    /// No round is begun after this.
    pub(crate) until: Instant,
    /// Further rounds are begun while there is time.
    pub(crate) again: bool,
    /// Many rounds are wanted, and the first find ends it, not the last state of the recording in which it is.
    pub(crate) first: bool,
}

/// What the rounds came to.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// The number of the last case; counts on.
    pub(crate) cases: u32,
    /// What each case came to.
    pub(crate) verdicts: Vec<Verdict>,
    /// What each crash state of a recorded case came to.
    pub(crate) states: Vec<Verdict>,
    /// In numbers.
    pub(crate) tally: Tally,
    /// Of the recording in which the worst was found: what a report draws.
    pub(crate) drawn: Option<PowerCut>,
}

impl Rounds<'_> {
    /// Runs the controls and then round after round of the faults `kinds`, both of the level host-crash, until `found` says yes to what
    /// a case or a state came to.
    ///
    /// # Errors
    /// [`CutError`]; what was done until then is in `ended`.
    pub(crate) fn run(
        &self,
        kinds: &[FaultKind],
        ended: &mut Ended,
        mut found: impl FnMut(&Verdict) -> bool,
        mut progress: impl FnMut(u32, &Verdict),
    ) -> Result<(), CutError> {
        let modelled = kinds.contains(&FaultKind::PowerCut);
        let kernels: Vec<DiskKind> = match kinds.contains(&FaultKind::PowerCutExt4) {
            true => [DiskKind::Ext4, DiskKind::Xfs]
                .into_iter()
                .filter(|kind| disk_available(*kind).is_ok())
                .collect(),
            false => Vec::new(),
        };
        let workers = workers();
        let mut bench = None;
        if modelled {
            let (folder, mountpoint) = (self.archive.folder(), self.archive.mountpoint());
            ended.tally.controls = run_controls(&Stand {
                binary: self.binary,
                seed: self.seed,
                run_id: self.run_id,
                folder,
                mountpoint: &mountpoint,
                began_ns: self.began_ns,
                cancel: self.cancel,
            })?;
            bench = Some(Bench::new(&self.builder, workers)?);
        }
        let parts = usize::from(modelled) + kernels.len();
        for round in 0.. {
            let (mut done, mut on_disk) = (false, false);
            for (index, group) in self.groups.iter().enumerate() {
                let parts = (self.groups.len() - index) * parts;
                if let Some(bench) = &bench
                    && let Some(place) = self.place(ended.cases, round, parts, done)
                {
                    let number = place.number;
                    done |= self.group(group, bench, &place, ended, |verdict| {
                        progress(number, verdict);
                        found(verdict)
                    })?;
                }
                for (before, kernel) in kernels.iter().enumerate() {
                    let left = parts.saturating_sub(usize::from(modelled) + before);
                    let Some(place) = self.place(ended.cases, round, left, done) else { break };
                    let verdict = self.on_disk(*kernel, group, &place, ended)?;
                    progress(place.number, &verdict);
                    on_disk |= found(&verdict);
                    ended.verdicts.push(verdict);
                }
            }
            if !self.again || done || on_disk || Instant::now() >= self.until {
                break;
            }
        }
        let _ = std::fs::remove_dir(self.archive.mountpoint());
        Ok(())
    }

    /// The next part, `left` of which are to share the time; none where it is up. Each part is done once in any case.
    fn place(&self, cases: u32, round: u32, left: usize, done: bool) -> Option<Place> {
        let now = Instant::now();
        let mut share = self.until.saturating_duration_since(now) / left.max(1) as u32;
        if self.first {
            share = share.min(ONE_RECORDING);
        }
        let over = (round > 0 && now >= self.until) || done;
        (!over).then(|| Place { number: cases + 1, until: now + share, round })
    }

    /// A case on a real file system, whose power goes under the running server.
    fn on_disk(
        &self,
        kernel: DiskKind,
        group: &Group,
        place: &Place,
        ended: &mut Ended,
    ) -> Result<Verdict, CutError> {
        let (archive, number) = (self.archive, place.number);
        let disk = RealDisk::create(&archive.folder().join("disk"), kernel, DISK_BYTES)?;
        let mut server = self.builder.clone().store_dir(disk.mountpoint().join("store")).start()?;
        let mut seed = Seed::new(self.seed).part(&format!("{} {} {number}", kernel.name(), place.round));
        let cuts = if group.memory { 1 } else { ON_DISK_CUTS };
        let scale = Scale { burst: (BURST / group.targets.len().max(1) as u32).max(20) };
        let mut todo = case(&group.targets, &vec![FaultKind::PowerCutExt4; cuts], seed.draw(), scale);
        for leg in &mut todo.legs {
            // Under load on every stream: what is in flight meets the cut.
            let publishable = |index: &usize| group.targets[*index].rules.publishable;
            leg.load = (0..group.targets.len()).filter(publishable).collect();
        }
        write_json(&archive.case(number), &todo)?;
        let setup = self.setup(group);
        let mut arsenal = Arsenal::with_disk(disk);
        let history = archive.history(number);
        run_case(&setup, &todo, &mut server, &mut arsenal, &history, self.began_ns)?;
        ended.cases = number;
        let verdict = judge(&history, self.context).map_err(|error| CutError::History(error.to_string()))?;
        ended.tally.cut(kernel.name(), verdict.faults.iter().map(|fault| fault.tries).max().unwrap_or(0));
        if !matches!(verdict.verdict, Overall::Pass | Overall::Accepted) {
            std::fs::copy(server.log_path(), archive.log(number)).ok();
        }
        // The server goes before the disk: it has files open on it.
        drop(server);
        Ok(verdict)
    }

    fn setup<'s>(&'s self, group: &'s Group) -> Setup<'s> {
        Setup {
            targets: &group.targets,
            notes: self.notes,
            login: self.login.clone(),
            run_id: self.run_id,
            cancel: self.cancel,
        }
    }

    fn group(
        &self,
        group: &Group,
        bench: &Bench,
        place: &Place,
        ended: &mut Ended,
        mut found: impl FnMut(&Verdict) -> bool,
    ) -> Result<bool, CutError> {
        let (archive, number) = (self.archive, place.number);
        let (setup, mountpoint) = (self.setup(group), archive.mountpoint());
        let todo = self.case(group, place.round, number);
        write_json(&archive.case(number), &todo)?;
        let mut arsenal = Arsenal::default();
        let history = archive.history(number);
        let recorded =
            record(&setup, &todo, self.builder.clone(), &mut arsenal, &history, self.began_ns, &mountpoint)?;
        ended.cases = number;
        let own = judge(&history, self.context).map_err(|error| CutError::History(error.to_string()))?;
        let mut done = found(&own);
        ended.verdicts.push(own);
        let hunting = |rules: Rules, until: Instant, second| Hunt {
            setup: &setup,
            recorded: &recorded,
            context: self.context,
            builder: &self.builder,
            bench,
            rules,
            cuts: CUTS,
            until,
            second,
        };
        let mut file = StatesFile::create(&archive.states(number))?;
        let begun = Instant::now();
        // What is told for information has as much time as what is judged, all profiles together.
        let time = place.until.saturating_duration_since(begun);
        let judged_for = if self.profiles.is_empty() { time } else { time / 2 };
        let catch = hunt(
            &hunting(
                Rules::default(),
                begun + judged_for,
                Some(Again { place: &mountpoint, rules: Rules::default() }),
            ),
            Some(&mut file),
            |verdict| {
                done |= found(verdict);
                done && self.first
            },
        )?;
        file.finish(&archive.states_index(number))?;
        catch.searched.iter().for_each(|searched| ended.tally.searched(searched));
        // It is written anew even where another one stays: it says how many there are.
        let drawn = plot(number, &recorded, &catch).or_worse(ended.drawn.take());
        archive.write_power(&drawn)?;
        ended.drawn = Some(drawn);
        ended.states.extend(catch.verdicts);
        for (index, profile) in self.profiles.iter().enumerate() {
            let left = place.until.saturating_duration_since(Instant::now());
            let until = Instant::now() + left / (self.profiles.len() - index) as u32;
            let rules = Rules::new(*profile).with_seed(self.seed);
            let catch = hunt(&hunting(rules, until, None), None, |_| false)?;
            catch.searched.iter().for_each(|searched| ended.tally.searched(searched));
        }
        Ok(done)
    }

    /// One to three legs; between them now and then a restart on the same file system.
    fn case(&self, group: &Group, round: u32, number: u32) -> Case {
        let mut seed = Seed::new(self.seed).part(&format!("power-cut {round} {number}"));
        let mut faults = vec![FaultKind::PowerCut];
        if !group.memory {
            for _ in 0..seed.below(3) {
                // No kill: what it leaves in the page cache was never acknowledged, is seen, and may go with the power.
                let between = [FaultKind::PowerCut, FaultKind::PowerCut, FaultKind::Stop];
                faults.push(*seed.pick(&between));
            }
        }
        faults.reverse();
        // The last leg ends in the cut.
        faults.push(FaultKind::PowerCut);
        let scale = Scale { burst: (BURST / group.targets.len().max(1) as u32).max(20) };
        case(&group.targets, &faults, seed.draw(), scale)
    }
}

/// Where and when a group is recorded.
#[derive(Debug)]
struct Place {
    number: u32,
    until: Instant,
    round: u32,
}
