//! Which cuts to try, and which states they lead to: each state once, with the share of the run it stands for.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::log::{Cut, Log, Op};
use crate::profile::{Profile, Rules};
use crate::seed::Random;
use crate::state::{Sweep, is_turning_point, state};
use crate::tree::{StateId, Tree};

/// How many cuts to take, and how they are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The most cuts.
    pub cuts: usize,
    /// The part of them, in percent, that is kept for cuts just after an acknowledgement.
    pub marks_percent: u8,
    /// The part of them, in percent, that is kept for cuts anywhere.
    pub random_percent: u8,
}

impl Budget {
    /// At most `cuts`, a quarter of them just after acknowledgements and a tenth anywhere.
    #[must_use]
    pub fn new(cuts: usize) -> Self {
        Budget { cuts, marks_percent: 25, random_percent: 10 }
    }
}

/// The cuts to try, in order and without repetition: around every sync, rename, removal, truncation and creation,
/// just after a sample of `marks_ns` (the times of acknowledgements, in nanoseconds since the recording began), and a
/// few anywhere. Where that is more than the budget, a sample of each, rare kinds of operations first.
#[must_use]
pub fn cuts(log: &Log, marks_ns: &[u64], seed: u64, budget: Budget) -> Vec<Cut> {
    let mut random = Random::new(seed);
    let share = |percent: u8| budget.cuts * usize::from(percent) / 100;
    let mut chosen = BTreeSet::new();

    // A log has ten thousand syncs and three renames: by kind, so that the renames are never sampled away.
    let mut by_kind: HashMap<&'static str, Vec<usize>> = HashMap::new();
    for (i, entry) in log.entries().iter().enumerate() {
        if is_turning_point(&entry.op) {
            by_kind.entry(entry.op.kind()).or_default().push(i);
        }
    }
    let mut kinds: Vec<(&'static str, Vec<usize>)> = by_kind.into_iter().collect();
    kinds.sort_by_key(|(kind, places)| (places.len(), *kind));
    let mut left = budget.cuts.saturating_sub(share(budget.marks_percent) + share(budget.random_percent));
    let kinds_count = kinds.len();
    for (done, (_, places)) in kinds.into_iter().enumerate() {
        // Before the operation, after it, and after the one that follows.
        let quota = left / (kinds_count - done) / 3;
        for at in sample(places, quota.max(1), &mut random) {
            for ops in [at, at + 1, at + 2] {
                if left > 0 && chosen.insert(Cut::after(log, ops)) {
                    left -= 1;
                }
            }
        }
    }
    let marks: Vec<Cut> = marks_ns.iter().map(|at| Cut::at(log, *at)).collect();
    chosen.extend(sample(marks, share(budget.marks_percent).max(1), &mut random));
    for _ in 0..share(budget.random_percent).max(1) {
        chosen.insert(Cut::after(log, random.below(log.entries().len() as u64 + 1) as usize));
    }
    chosen.insert(Cut::after(log, log.entries().len()));
    while chosen.len() > budget.cuts.max(1) {
        let extra = random.below(chosen.len() as u64) as usize;
        if let Some(cut) = chosen.iter().nth(extra).copied() {
            chosen.remove(&cut);
        }
    }
    chosen.into_iter().collect()
}

fn sample<T>(mut from: Vec<T>, count: usize, random: &mut Random) -> Vec<T> {
    for i in 0..from.len().min(count) {
        let other = i + random.below((from.len() - i) as u64) as usize;
        from.swap(i, other);
    }
    from.truncate(count);
    from
}

/// A state to test, and what it stands for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrashState {
    /// The last cut that leads to it: there, most has been acknowledged, so it is judged most strictly.
    pub cut: Cut,
    /// The cut that asked for it.
    pub asked: Cut,
    /// Tells it apart from the others of this log.
    #[serde(skip, default = "no_id")]
    pub id: StateId,
    /// In how many places of the log (after how many different operations) a crash leads to it.
    pub places: usize,
    /// For how long a crash led to it, in nanoseconds.
    pub lasted_ns: u64,
    /// Bytes that were written and are not in it.
    pub unsynced_bytes: u64,
    /// Where the journal was committed without a word of the log, and not again until the cut ([`early_commits`]).
    #[serde(default)]
    pub committed: Option<Cut>,
}

impl CrashState {
    /// Where a pass has to stand to make it.
    pub(crate) fn made_at(&self) -> Cut {
        self.committed.unwrap_or(self.cut)
    }

    /// It, by a pass that stands there.
    pub(crate) fn made_by(&self, sweep: &Sweep<'_>) -> Tree {
        self.committed.and_then(|_| sweep.tree_after_commit()).unwrap_or_else(|| sweep.tree())
    }

    /// It, by a pass of its own; for more than one, use [`crate::explore()`].
    #[must_use]
    pub fn tree(&self, log: &Log, rules: Rules) -> Tree {
        if self.committed.is_none() {
            return state(log, self.cut, rules);
        }
        let mut sweep = Sweep::new(log, rules);
        sweep.advance(self.made_at());
        self.made_by(&sweep)
    }
}

fn no_id() -> StateId {
    StateId(0)
}

/// The states that `cuts` lead to, each once, by the cut at which each is to be tested. One pass over the log.
#[must_use]
pub fn states(log: &Log, cuts: &[Cut], rules: Rules) -> Vec<CrashState> {
    if rules.profile == Profile::Torn {
        return torn_states(log, cuts, rules);
    }
    let mut found: HashMap<StateId, Seen> = HashMap::new();
    stretches(log, cuts, rules, |sweep, stretch| {
        let seen = found.entry(sweep.id()).or_default();
        seen.last = stretch.last;
        seen.unsynced_bytes = sweep.unsynced_bytes();
        seen.lasted_ns += stretch.lasted_ns;
        seen.places += usize::from(seen.last_place != Some(stretch.last.ops));
        seen.last_place = Some(stretch.last.ops);
        seen.asked = seen.asked.or(stretch.asked);
    });
    let mut states: Vec<CrashState> = found
        .into_iter()
        .filter_map(|(id, seen)| {
            Some(CrashState {
                cut: seen.last,
                asked: seen.asked?,
                id,
                places: seen.places,
                lasted_ns: seen.lasted_ns,
                unsynced_bytes: seen.unsynced_bytes,
                committed: None,
            })
        })
        .collect();
    states.sort_by_key(|s| s.cut);
    states
}

/// The states that `cuts` lead to where the journal is committed just before, by the clock or for a sync of somebody else's on the same
/// file system: what a file system may always do. After each change of names, each state once, by the last cut before anything else
/// became durable; ext4 only. They stand for no share of the run: whether one comes is not for this log to say.
#[must_use]
pub fn early_commits(log: &Log, cuts: &[Cut], rules: Rules) -> Vec<CrashState> {
    let mut found: HashMap<StateId, CrashState> = HashMap::new();
    // Those since which nothing has become durable.
    let (mut open, mut version): (Vec<StateId>, u64) = (Vec::new(), 0);
    stretches(log, cuts, rules, |sweep, stretch| {
        if std::mem::replace(&mut version, sweep.version()) != version {
            open.clear();
        }
        let changed = stretch.last.ops.checked_sub(1).and_then(|before| log.entries().get(before));
        if let Some(asked) = stretch.asked
            && changed.is_some_and(|entry| entry.op.turns())
            && let Some(tree) = sweep.tree_after_commit()
        {
            let id = tree.id();
            let committed = Some(sweep.cut());
            let (cut, unsynced_bytes) = (stretch.last, sweep.unsynced_bytes());
            found.insert(
                id,
                CrashState { cut, asked, id, places: 1, lasted_ns: 0, unsynced_bytes, committed },
            );
            open.push(id);
        }
        for id in &open {
            if let Some(state) = found.get_mut(id) {
                state.cut = stretch.last;
            }
        }
    });
    let mut states: Vec<CrashState> = found.into_values().collect();
    states.sort_by_key(|state| (state.cut, state.committed));
    states
}

/// From one thing that happens, by an operation or by the clock, to the next.
struct Stretch {
    /// Its last moment.
    last: Cut,
    lasted_ns: u64,
    /// The first of the cuts in it.
    asked: Option<Cut>,
}

/// One pass over the log. `take` is given each stretch, and the pass as it stands in it.
fn stretches<'l>(log: &'l Log, cuts: &[Cut], rules: Rules, mut take: impl FnMut(&mut Sweep<'l>, &Stretch)) {
    let mut asked: Vec<Cut> = cuts.to_vec();
    asked.sort_unstable();
    let mut next_asked = 0;
    let mut sweep = Sweep::new(log, rules);
    let end_ns = asked.last().map_or(0, |c| c.at_ns).max(log.end_ns());
    loop {
        let from = sweep.cut();
        let op_ns = log.entries().get(from.ops).map(|e| e.at_ns);
        let timer_ns = sweep.next_timer_ns().filter(|t| op_ns.is_none_or(|op| *t <= op) && *t <= end_ns);
        let until_ns = timer_ns.or(op_ns).unwrap_or(end_ns).max(from.at_ns);
        // At the very moment of the clock's event the state is the next one already.
        let last_ns = if timer_ns.is_some() { until_ns.saturating_sub(1).max(from.at_ns) } else { until_ns };
        let mut stretch = Stretch {
            last: Cut { ops: from.ops, at_ns: last_ns },
            lasted_ns: until_ns - from.at_ns,
            asked: None,
        };
        while let Some(cut) = asked.get(next_asked) {
            if cut.ops > from.ops || (cut.ops == from.ops && timer_ns.is_some_and(|t| cut.at_ns >= t)) {
                break;
            }
            stretch.asked.get_or_insert(*cut);
            next_asked += 1;
        }
        take(&mut sweep, &stretch);
        match (timer_ns, op_ns) {
            (Some(at_ns), _) => sweep.timer(at_ns),
            (None, Some(_)) => {
                sweep.step();
            }
            (None, None) => break,
        }
    }
}

#[derive(Default)]
struct Seen {
    last: Cut,
    asked: Option<Cut>,
    places: usize,
    last_place: Option<usize>,
    lasted_ns: u64,
    unsynced_bytes: u64,
}

/// Each cut has a choice of its own among the legal states, so each stands for itself.
fn torn_states(log: &Log, cuts: &[Cut], rules: Rules) -> Vec<CrashState> {
    let mut asked = cuts.to_vec();
    asked.sort_unstable();
    asked.dedup();
    let mut found: HashMap<StateId, CrashState> = HashMap::new();
    let mut sweep = Sweep::new(log, rules);
    for (i, &cut) in asked.iter().enumerate() {
        sweep.advance(cut);
        let lasted_ns = asked.get(i + 1).map_or(0, |next| next.at_ns.saturating_sub(cut.at_ns));
        let state = CrashState {
            cut,
            asked: cut,
            id: sweep.id(),
            places: 1,
            lasted_ns,
            unsynced_bytes: sweep.unsynced_bytes(),
            committed: None,
        };
        found
            .entry(state.id)
            .and_modify(|s| {
                s.cut = cut;
                s.places += 1;
                s.lasted_ns += lasted_ns;
            })
            .or_insert(state);
    }
    let mut states: Vec<CrashState> = found.into_values().collect();
    states.sort_by_key(|s| s.cut);
    states
}

/// For each operation of the log, its place, time, kind and path as it was then: what a map of the run is drawn from.
#[must_use]
pub fn timeline(log: &Log) -> Vec<(usize, u64, &'static str, String)> {
    let mut sweep = Sweep::new(log, Rules::new(Profile::Lazyfs));
    let mut paths: HashMap<u64, String> = HashMap::new();
    collect_paths(sweep.live(), crate::log::ROOT, "", &mut paths);
    let mut lines = Vec::with_capacity(log.entries().len());
    for (i, entry) in log.entries().iter().enumerate() {
        sweep.step();
        let path = match &entry.op {
            Op::Create { dir, name, ino, .. }
            | Op::Mkdir { dir, name, ino, .. }
            | Op::Link { ino, dir, name } => {
                let path = join(paths.get(dir), name);
                paths.insert(*ino, path.clone());
                path
            }
            Op::Rename { to_dir, to, ino, .. } => {
                let path = join(paths.get(to_dir), to);
                paths.insert(*ino, path.clone());
                path
            }
            Op::Unlink { dir, name, .. } | Op::Rmdir { dir, name, .. } => join(paths.get(dir), name),
            Op::Write { ino, .. }
            | Op::Truncate { ino, .. }
            | Op::Fallocate { ino, .. }
            | Op::SetAttr { ino, .. }
            | Op::Close { ino }
            | Op::Fsync { ino, .. }
            | Op::FsyncDir { ino } => paths.get(ino).cloned().unwrap_or_default(),
            Op::Settle => String::new(),
        };
        lines.push((i, entry.at_ns, entry.op.kind(), path));
    }
    lines
}

fn collect_paths(image: &crate::image::Image, dir: u64, prefix: &str, paths: &mut HashMap<u64, String>) {
    for (name, &ino) in image.entries(dir).into_iter().flatten() {
        let path = if prefix.is_empty() { name.to_string() } else { format!("{prefix}/{name}") };
        collect_paths(image, ino, &path, paths);
        paths.insert(ino, path);
    }
}

fn join(dir: Option<&String>, name: &str) -> String {
    match dir.map(String::as_str) {
        None | Some("") => name.to_owned(),
        Some(dir) => format!("{dir}/{name}"),
    }
}
