//! Which case comes next: each fault on each stream first, then again while there is time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamproof_checker::Verdict;
use streamproof_model::op::FaultKind;

use super::{Length, Options};
use crate::group::Group;
use crate::seed::Seed;
use crate::workload::Schedule;

/// Containers are made anew, processes paused and disks filled up in times of their own.
const FULL_MORE: Duration = Duration::from_secs(30);

/// Which case comes next, and when it is enough.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) groups: Vec<Group>,
    schedules: Vec<Schedule>,
    /// Of each group: the faults that have not yet bitten, by stream.
    open: Vec<BTreeMap<String, BTreeSet<FaultKind>>>,
    length: Length,
    root: Seed,
    number: u32,
    turn: usize,
    longest: Duration,
    found: bool,
    /// Of the run's time, what is not for cases.
    pub(super) reserved: Duration,
    /// What is granted beyond the length's own limit, for many groups.
    pub(super) for_groups: Duration,
    /// The same, and for faults that are not run by default.
    more: Duration,
}

/// The next case.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) group: usize,
    pub(super) faults: Vec<FaultKind>,
    pub(super) seed: u64,
}

impl Search {
    pub(super) fn new(groups: Vec<Group>, faults: &[FaultKind], options: &Options) -> Search {
        let root = Seed::new(options.seed);
        let of = |group: &Group| group.faults(faults);
        let for_groups = options.length.each_group() * (groups.len() as u32).saturating_sub(1);
        Search {
            schedules: groups
                .iter()
                .enumerate()
                .map(|(number, group)| {
                    Schedule::new(&of(group), root.part(&format!("group {number}")).draw())
                })
                .collect(),
            open: groups
                .iter()
                .map(|group| {
                    let faults: BTreeSet<FaultKind> = of(group).into_iter().collect();
                    group.targets.iter().map(|target| (target.name.clone(), faults.clone())).collect()
                })
                .collect(),
            groups,
            length: options.length,
            root,
            number: 0,
            turn: 0,
            longest: Duration::ZERO,
            found: false,
            reserved: Duration::ZERO,
            for_groups,
            more: if options.full { FULL_MORE } else { Duration::ZERO } + for_groups,
        }
    }

    pub(super) fn next(&mut self, elapsed: Duration) -> Option<Next> {
        let (enough, most) = self.length.limits();
        let (enough, most) = (enough.saturating_sub(self.reserved), most.saturating_sub(self.reserved));
        let most = most + self.more;
        let is_open =
            |open: &BTreeMap<String, BTreeSet<FaultKind>>| open.values().any(|faults| !faults.is_empty());
        let covered = !self.open.iter().any(is_open);
        let searching = matches!(self.length, Length::For(_));
        let done = elapsed >= most
            || (self.found && (searching || covered))
            || (covered && (elapsed >= enough || (!searching && elapsed + self.longest > most)));
        // At least one case, however short the time.
        if done && self.number > 0 {
            return None;
        }
        let turns = (0..self.groups.len()).map(|step| (self.turn + step) % self.groups.len());
        let group = turns
            .clone()
            .find(|group| covered || is_open(&self.open[*group]))
            .or_else(|| turns.clone().next())?;
        self.turn = (group + 1) % self.groups.len();
        self.number += 1;
        let mut faults = self.schedules[group].next_case();
        if self.groups[group].memory {
            // Up to the first restart, after which there is nothing left to go on with.
            let end = faults.iter().position(|fault| fault.restarts()).map_or(faults.len(), |at| at + 1);
            faults.truncate(end);
        }
        let seed = self.root.part(&format!("case {}", self.number)).draw();
        Some(Next { group, faults, seed })
    }

    pub(super) fn learn(&mut self, group: usize, verdict: &Verdict, found: bool, took: Duration) {
        self.longest = self.longest.max(took);
        self.found |= found;
        for fault in verdict.faults.iter().filter(|fault| fault.bites > 0) {
            if let (Some(kind), Some(open)) =
                (FaultKind::named(&fault.fault), self.open[group].get_mut(&fault.target))
            {
                open.remove(&kind);
            }
        }
    }
}
