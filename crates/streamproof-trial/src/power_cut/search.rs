//! The search: from a recording to its crash states, each tried once by a server, several at a time; and from some of them to
//! the crashes that may come while the server recovers.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use streamproof_checker::{Context, Invariant, Verdict};
use streamproof_crashfs::log::{Entry, Op};
use streamproof_crashfs::seed::Random;
use streamproof_crashfs::{
    Budget, CrashState, Cut, Log, Places, Rules, StateId, cuts, early_commits, explore, states,
};
use streamproof_model::op::Record;
use streamproof_server::scratch::Builder;

use super::judged::{judge, worst};
use super::recorded::Recorded;
use super::recovery::Recovery;
use super::states::StatesFile;
use super::tally::{Searched, StateLine};
use super::visit::{Bench, Strike, visit};
use super::{CutError, FIRST};
use crate::report::power::Cut as Drawn;
use crate::report::words;
use crate::run::{CaseError, Setup};

/// So many states are tried before the clock is looked at.
const CHUNK: usize = 24;

/// In every so manieth state a message is published, too, and every consumer seen through to it: it waits for redeliveries, and
/// would else be most of the time.
const CANARY_EVERY: usize = 24;

/// A recovery is recorded for every so manieth state: it costs as much time as some twenty of them.
const SECOND_EVERY: usize = CHUNK;

/// The first so many verdicts with findings keep their examples.
const WITH_EXAMPLES: usize = 24;

/// What is to be searched.
#[derive(Debug)]
pub(crate) struct Hunt<'a> {
    /// The streams.
    pub(crate) setup: &'a Setup<'a>,
    /// The recording.
    pub(crate) recorded: &'a Recorded,
    /// How it is judged.
    pub(crate) context: &'a Context,
    /// How each server is to be.
    pub(crate) builder: &'a Builder,
    /// The servers.
    pub(crate) bench: &'a Bench,
    /// By what rules.
    pub(crate) rules: Rules,
    /// The most cuts.
    pub(crate) cuts: usize,
    /// No state is begun after this.
    pub(crate) until: Instant,
    /// How recoveries are recorded; none: they are not.
    pub(crate) second: Option<Again<'a>>,
}

/// Crashes while the server recovers from a crash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Again<'a> {
    /// Where the recovery is recorded.
    pub(crate) place: &'a Path,
    /// By what rules the power goes again.
    pub(crate) rules: Rules,
}

/// What a search came to.
#[derive(Debug, Default)]
pub(crate) struct Catch {
    /// What each state came to.
    pub(crate) verdicts: Vec<Verdict>,
    /// In numbers; the second is of crashes during recoveries.
    pub(crate) searched: Vec<Searched>,
    /// The cuts of the recording, for a picture.
    pub(crate) cuts: Vec<Drawn>,
    /// Cuts that were chosen.
    pub(crate) looked_at: usize,
}

/// A state that was tried.
#[derive(Debug)]
struct Tried {
    line: StateLine,
    records: Vec<Record>,
    verdict: Verdict,
}

/// Tries the states of `hunt`. What each came to goes into `file`, where there is one, and to `enough`, which ends the search with a
/// yes.
///
/// # Errors
/// [`CutError`]; the first one ends the search.
pub(crate) fn hunt(
    hunt: &Hunt<'_>,
    mut file: Option<&mut StatesFile>,
    mut enough: impl FnMut(&Verdict) -> bool,
) -> Result<Catch, CutError> {
    let begun = Instant::now();
    let Hunt { recorded, rules, .. } = hunt;
    let chosen = hunt.chosen();
    let states = hunt.states_of(&chosen);
    let early = states.iter().filter(|state| state.committed.is_some()).count();
    let mut catch = Catch { looked_at: chosen.len() + early, ..Catch::default() };
    let published_ns = recorded.published_ns();
    let span_ns = recorded.span_ns() as f64;
    let mut first = hunt.searched(1, states.len());
    let mut second = hunt.searched(2, 0);
    let mut done = false;
    let mut keep =
        |tried: Vec<Tried>, searched: &mut Searched, catch: &mut Catch| -> Result<bool, CutError> {
            for Tried { line, records, mut verdict } in tried {
                searched.tested += 1;
                let lossy = is_lossy(&verdict);
                searched.lossy += usize::from(lossy);
                searched.others += usize::from(!lossy && !verdict.findings.is_empty());
                searched.committed += usize::from(line.committed.is_some());
                if line.depth == 1 {
                    searched.tried_ns += line.lasted_ns;
                    searched.lossy_ns += if lossy { line.lasted_ns } else { 0 };
                }
                if let Some(file) = file.as_deref_mut() {
                    file.add(line, &records, &verdict)?;
                }
                done |= enough(&verdict);
                if searched.lossy > WITH_EXAMPLES {
                    verdict.findings.iter_mut().for_each(|finding| finding.examples.clear());
                }
                catch.verdicts.push(verdict);
            }
            Ok(done)
        };
    'states: for (number, chunk) in states.chunks(CHUNK).enumerate() {
        if number > 0 && Instant::now() >= hunt.until {
            break;
        }
        let tried = hunt.try_all(&recorded.log, chunk, number * CHUNK, None)?;
        for tried in &tried {
            let (line, findings) = (&tried.line, &tried.verdict.findings);
            let at_ns = recorded.ns(line.cut_us);
            catch.cuts.push(Drawn {
                at: at_ns / 1000,
                after: line.ops as u64,
                verdict: line.cell,
                acked: before(&published_ns, at_ns),
                lost: line.lost,
                oldest_lost_us: line.lost_age_us.map(|(_, oldest)| oldest),
                share: line.lasted_ns as f64 / span_ns,
                note: line
                    .commit_words()
                    .into_iter()
                    .chain(findings.iter().min_by_key(|finding| words::order(finding)).map(words::sentence))
                    .collect::<Vec<_>>()
                    .join("; "),
            });
        }
        if keep(tried, &mut first, &mut catch)? {
            break;
        }
        for parent in chunk.iter().step_by(SECOND_EVERY) {
            let Some(again) = hunt.second.filter(|_| Instant::now() < hunt.until) else { break };
            let recovery = Recovery::record(hunt.setup, recorded, hunt.builder, *rules, parent, again)?;
            second.found += recovery.states.len();
            second.recoveries += 1;
            let tried = hunt.try_all(&recovery.log, &recovery.states, 1, Some(&recovery))?;
            if keep(tried, &mut second, &mut catch)? {
                break 'states;
            }
        }
    }
    first.took_ms = begun.elapsed().as_millis() as u64;
    catch.searched.push(first);
    if second.recoveries > 0 {
        catch.searched.push(second);
    }
    Ok(catch)
}

impl Hunt<'_> {
    /// The states, in the order in which they are tried.
    pub(crate) fn states(&self) -> Vec<CrashState> {
        self.states_of(&self.chosen())
    }

    fn chosen(&self) -> Vec<Cut> {
        let recorded = self.recorded;
        let mut chosen = cuts(&recorded.log, &recorded.acks_ns(), recorded.seed, Budget::new(self.cuts));
        chosen.retain(|cut| recorded.is_judged(*cut));
        chosen
    }

    fn states_of(&self, chosen: &[Cut]) -> Vec<CrashState> {
        let recorded = self.recorded;
        let mut states = with_early_commits(&recorded.log, chosen, self.rules);
        states.retain(|state| recorded.is_judged(state.cut));
        in_turn(states, &recorded.log, recorded.seed)
    }

    fn searched(&self, depth: u32, found: usize) -> Searched {
        Searched {
            profile: self.rules.profile.name().to_owned(),
            depth,
            judged: self.rules == Rules::default().with_seed(self.rules.seed),
            found,
            ..Searched::default()
        }
    }

    /// Tries `states` of `log`; `number` is that of the first of them. Those of a recovery are judged by what had been acknowledged
    /// before the first cut, and from then on before the second.
    fn try_all(
        &self,
        log: &Log,
        states: &[CrashState],
        number: usize,
        recovery: Option<&Recovery>,
    ) -> Result<Vec<Tried>, CutError> {
        let Hunt { setup, recorded, context, bench, rules, .. } = self;
        let places = Places { dirs: bench.dirs() };
        let rules = recovery.map_or(*rules, |recovery| recovery.rules);
        explore(log, states, rules, &places, |visited| {
            if setup.cancel.load(Ordering::Relaxed) {
                return Err(CutError::Case(CaseError::Cancelled));
            }
            let state = visited.state;
            let at = states.iter().position(|one| one.id == state.id).unwrap_or(0);
            let canary = (number + at).is_multiple_of(CANARY_EVERY);
            let first = || Strike {
                cut_us: recorded.us(state.cut.at_ns),
                unsynced_bytes: state.unsynced_bytes,
                canary,
                fault: FIRST,
                continued: &recorded.continued,
            };
            let strike = recovery.map_or_else(first, |recovery| recovery.strike(recorded, state, canary));
            let records = visit(setup, recorded, bench, visited.worker, visited.dir, strike)?;
            let records = match recovery {
                Some(recovery) => recovery.told(state, records),
                None => records,
            };
            let mut verdict = judge(&recorded.past, records.clone(), context);
            let lost = verdict.findings.iter().filter(|finding| is_loss(finding.invariant, &finding.class));
            let cut_us = recovery.map_or(strike.cut_us, |recovery| recovery.us(state.cut.at_ns));
            let line = StateLine {
                profile: rules.profile.name().to_owned(),
                depth: if recovery.is_some() { 2 } else { 1 },
                ops: state.cut.ops,
                committed: state.committed.map(|commit| commit.ops),
                cut_us,
                first: recovery.map(|recovery| recovery.first),
                lasted_ns: state.lasted_ns,
                unsynced_bytes: state.unsynced_bytes,
                cell: worst(&verdict.findings),
                lost: lost.clone().map(|finding| finding.count).sum(),
                lost_age_us: lost
                    .filter_map(|finding| finding.age_us)
                    .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1))),
                kept: false,
            };
            line.name_cuts(&mut verdict);
            Ok(Tried { line, records, verdict })
        })
    }
}

/// The states that cuts lead to, and those that they lead to where the journal was committed just before.
pub(super) fn with_early_commits(log: &Log, cuts: &[Cut], rules: Rules) -> Vec<CrashState> {
    let mut states = states(log, cuts, rules);
    let known: HashSet<StateId> = states.iter().map(|state| state.id).collect();
    states.extend(early_commits(log, cuts, rules).into_iter().filter(|early| !known.contains(&early.id)));
    states
}

/// How many of these times lie before the cut: what was answered in its very microsecond is not missed, and does not count here.
fn before(times_ns: &[u64], cut_ns: u64) -> u64 {
    times_ns.partition_point(|at| *at < cut_ns) as u64
}

/// Whether acknowledged messages are missing: one whose body is another's is there (also M1), and not as it was sent.
fn is_loss(invariant: Invariant, class: &str) -> bool {
    invariant == Invariant::M1 && class.starts_with("lost")
}

/// Whether something that was acknowledged is missing, promised or not: messages, acks, configuration, or all of it. What is back,
/// or twice there, or not as it should be, is not missing.
fn is_lossy(verdict: &Verdict) -> bool {
    use Invariant as I;
    let missing = [I::M1, I::M2, I::M6, I::K1, I::K2, I::C1, I::C3, I::V1, I::A1];
    verdict.findings.iter().any(|finding| {
        missing.contains(&finding.invariant)
            || (finding.invariant == I::M7 && finding.class.starts_with("last sequence fell"))
    })
}

/// The order in which states are tried: in turn one at a turn of the directories or of a file's size, and one anywhere. The former
/// are few and short, and where most goes wrong; of them, each kind has its turn before one comes again, since a log has a hundred
/// renames of one file and one of another. What states show is weighted by how long each lasted.
fn in_turn(states: Vec<CrashState>, log: &Log, seed: u64) -> Vec<CrashState> {
    let mut random = Random::new(seed);
    let mut kinds: BTreeMap<String, Vec<CrashState>> = BTreeMap::new();
    let mut others = Vec::new();
    for state in states {
        match turn(log, &state) {
            Some(kind) => kinds.entry(kind).or_default().push(state),
            None => others.push(state),
        }
    }
    let mut kinds: Vec<Vec<CrashState>> = kinds.into_values().collect();
    for kind in &mut kinds {
        shuffle(kind, &mut random);
    }
    shuffle(&mut kinds, &mut random);
    shuffle(&mut others, &mut random);
    let rounds = kinds.iter().map(Vec::len).max().unwrap_or(0);
    let mut turns: Vec<CrashState> = Vec::new();
    for _ in 0..rounds {
        turns.extend(kinds.iter_mut().filter_map(Vec::pop));
    }
    let mut order = Vec::with_capacity(turns.len() + others.len());
    let (mut turns, mut others) = (turns.into_iter(), others.into_iter());
    loop {
        let before = order.len();
        order.extend(turns.next());
        order.extend(others.next());
        if order.len() == before {
            return order;
        }
    }
}

/// What is done before and after a cut, if one of it changes what a folder holds or makes a file shorter; or before a commit.
fn turn(log: &Log, state: &CrashState) -> Option<String> {
    let entries = log.entries();
    let before = |cut: Cut| cut.ops.checked_sub(1).and_then(|before| entries.get(before));
    if let Some(commit) = state.committed {
        return before(commit).map(|entry| format!("commit after {}", kind(&entry.op)));
    }
    let around = [before(state.cut), entries.get(state.cut.ops)];
    let is_turn = around.into_iter().flatten().any(|entry| entry.op.turns());
    let words = |entry: Option<&Entry>| entry.map_or(String::new(), |entry| kind(&entry.op));
    is_turn.then(|| around.map(words).join(" | "))
}

/// An operation by its kind and, where it has one, the name that it is about; numbers are left out of it.
fn kind(op: &Op) -> String {
    let name = match op {
        Op::Rename { to, .. } => to.to_string(),
        Op::Unlink { name, .. }
        | Op::Rmdir { name, .. }
        | Op::Mkdir { name, .. }
        | Op::Create { name, .. }
        | Op::Link { name, .. } => name.to_string(),
        _ => String::new(),
    };
    format!("{} {}", op.kind(), name.trim_start_matches(|letter: char| letter.is_ascii_digit()))
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for at in 1..items.len() {
        items.swap(at, random.below(at as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamproof_crashfs::notation::parse;

    #[test]
    fn a_message_that_is_there_and_altered_is_not_lost() {
        let found =
            [(Invariant::M1, "lost tail"), (Invariant::M1, "altered body"), (Invariant::M2, "lost all")];
        assert_eq!(found.map(|(invariant, class)| is_loss(invariant, class)), [true, false, false]);
    }

    #[test]
    fn what_was_answered_at_the_very_cut_is_not_before_it() {
        assert_eq!([4, 5, 6, 21].map(|cut| before(&[5, 20, 25], cut)), [0, 0, 1, 2]);
    }

    #[test]
    fn every_state_is_tried_once_and_each_kind_of_turn_early() {
        let mut text = String::from("mkdir d\ncreate a\ncreate b\n");
        (0..40).for_each(|at| text.push_str(&format!("owrite a {at} x\ncreate tmp\nrename tmp c\n")));
        text.push_str("rename d e\n");
        (40..80).for_each(|at| text.push_str(&format!("owrite a {at} y\nowrite a {at} z\n")));
        text.push_str("truncate a 3\nfsync a\n");
        let log = parse(&text).unwrap();
        let found = states(&log, &cuts(&log, &[], 1, Budget::new(1_000)), Rules::default());
        let is_turn = |state: &CrashState| turn(&log, state).is_some();
        let turns = found.iter().filter(|state| is_turn(state)).count();
        assert!(turns > 40 && found.len() - turns > 40, "{turns} of {}", found.len());
        for seed in 0..20 {
            let order = in_turn(found.clone(), &log, seed);
            let mut ops: Vec<usize> = order.iter().map(|state| state.cut.ops).collect();
            ops.sort_unstable();
            assert_eq!(ops, found.iter().map(|state| state.cut.ops).collect::<Vec<_>>());
            assert_eq!(order[..40].iter().filter(|state| is_turn(state)).count(), 20);
            // There is one of these among a hundred turns.
            let rare = order
                .iter()
                .position(|state| turn(&log, state).is_some_and(|kind| kind.contains("rename e")));
            assert!(rare.is_some_and(|at| at < 24), "{rare:?} with seed {seed}");
        }
        // Those that only a commit of the journal leads to have their turns with the others.
        let chosen = cuts(&log, &[], 1, Budget::new(1_000));
        let early = early_commits(&log, &chosen, Rules::default());
        let order = in_turn([found.clone(), early.clone()].concat(), &log, 1);
        assert_eq!(order.len(), found.len() + early.len());
        let first =
            |kind: &str| order.iter().position(|state| turn(&log, state).is_some_and(|of| of == kind));
        assert!(first("commit after create tmp").is_some_and(|at| at < 24), "{order:?}");
        let of = |seed| -> Vec<usize> {
            in_turn(found.clone(), &log, seed).iter().map(|state| state.cut.ops).collect()
        };
        assert_ne!(of(1), of(2));
    }
}
