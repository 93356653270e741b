//! The workload: from a seed, the legs of a case, each a list of steps a stream's configuration allows and the fault after them.
//!
//! Pure. A step names what to do in terms of what is there when it runs ("the oldest", "all but one"), so that every
//! sub-list of a case's steps is a case too: that is what lets a failing case be shrunk.

use serde::{Deserialize, Serialize};
use streamproof_model::desired::Kind;
use streamproof_model::op::FaultKind;

use crate::seed::Seed;
use crate::target::{AckPolicy, MAX_BYTES_REACHED, MAX_MSGS_REACHED, Rules, Target};

/// A case: what is done to one fresh server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its own seed, from which everything in it follows.
    pub seed: u64,
    /// Its legs, in order.
    pub legs: Vec<Leg>,
}

/// Steps, then a fault, then what is looked at beyond the read-back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// What is done before the fault: the target's number and the step. Steps of one target run in order.
    pub steps: Vec<(usize, Step)>,
    /// The targets on which publishes are in flight when the fault comes.
    pub load: Vec<usize>,
    /// So many of the load's publishes are answered before the fault.
    pub load_acks: u32,
    /// The fault.
    pub fault: FaultKind,
    /// Publish one message to every stream afterwards, and see every consumer through to it.
    pub canary: bool,
}

/// One thing done to a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Messages, each with its ack.
    Publish {
        /// How many.
        count: u32,
        /// Smallest body.
        len_min: u32,
        /// Largest body.
        len_max: u32,
        /// So many without an ack at a time; 1 is a trickle.
        window: u32,
        /// Over so many of the stream's subjects.
        subjects: usize,
        /// With message ids.
        ids: bool,
        /// With headers of the user's.
        headers: bool,
        /// With a time to live.
        ttl_s: Option<u32>,
    },
    /// Messages sent before, sent again with the same id.
    Again {
        /// How many.
        count: u32,
    },
    /// A publish that expects a last sequence: the right one, or a wrong one that must be refused.
    Expect {
        /// The right one.
        right: bool,
        /// Of the subject rather than of the stream.
        of_subject: bool,
    },
    /// Everything older on one subject goes (`Nats-Rollup: sub`), or a key is purged.
    Rollup,
    /// A key is deleted.
    KvDelete,
    /// Messages are taken from a consumer.
    Consume {
        /// Which consumer.
        consumer: usize,
        /// How many at most.
        count: u32,
        /// What is answered.
        acks: Acks,
    },
    /// A consumer is drained to empty.
    Drain {
        /// Which consumer.
        consumer: usize,
        /// So many of the messages stay without an ack.
        leave: u32,
    },
    /// Messages are deleted.
    Delete {
        /// Which.
        pick: Pick,
        /// How many.
        count: u32,
        /// With their bytes overwritten.
        erase: bool,
    },
    /// Messages are purged.
    Purge {
        /// Which.
        what: Purged,
    },
    /// The stream's description is changed.
    UpdateStream,
    /// A consumer's description is changed.
    UpdateConsumer {
        /// Which consumer.
        consumer: usize,
    },
    /// Something that the server must refuse.
    Refused {
        /// What.
        what: Refusal,
    },
}

/// What a consumer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acks {
    /// Acks whose answer is awaited.
    Double,
    /// Acks that are only sent.
    Plain,
    /// Nothing.
    Nothing,
    /// Double acks, and now and then a nak, a term or a sign of life.
    Mixed,
}

/// Which messages to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pick {
    /// From the first on.
    Oldest,
    /// From the last back.
    Newest,
    /// A run somewhere in the middle.
    Run,
    /// Here and there.
    Scattered,
}

/// Which messages to purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purged {
    /// All.
    All,
    /// Those of one subject.
    Subject,
    /// Those before the middle.
    Before,
    /// All but a few.
    Keep,
}

/// What must be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// A deletion where it is denied.
    DeniedDelete,
    /// A purge where it is denied.
    DeniedPurge,
    /// A change of storage.
    ChangedStorage,
    /// A change of a consumer's ack policy.
    ChangedAckPolicy,
}

/// What a leg is about, for one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    Nothing,
    One,
    Burst,
    Trickle,
    Overflow,
    Drained,
    OneLeft,
    Deletes,
    Purges,
    Mixed,
}

/// How a workload is sized.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Messages of a large burst, for each target.
    pub burst: u32,
}

impl Scale {
    /// Bursts shrink where many streams share the run, so that each leg stays short.
    #[must_use]
    pub fn for_targets(count: usize) -> Scale {
        Scale { burst: (1200 / count.max(1) as u32).clamp(40, 600) }
    }
}

/// Makes a case that ends in the given faults, one leg each.
#[must_use]
pub fn case(targets: &[Target], faults: &[FaultKind], seed: u64, scale: Scale) -> Case {
    let root = Seed::new(seed);
    let mut legs = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        let part = root.part(&format!("leg {number}"));
        let mut steps = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            let mut seed = part.part(&target.name);
            steps.extend(leg_steps(target, &mut seed, scale).into_iter().map(|step| (index, step)));
        }
        let mut seed = part.part("load");
        let candidates: Vec<usize> =
            (0..targets.len()).filter(|index| targets[*index].rules.publishable).collect();
        let loaded = match fault {
            FaultKind::Kill | FaultKind::Pause | FaultKind::Disconnect | FaultKind::DiskFull => true,
            FaultKind::KillAfterAck => false,
            _ => seed.chance(35),
        };
        let mut load: Vec<usize> = Vec::new();
        if loaded {
            load = candidates.iter().copied().filter(|_| seed.chance(70)).collect();
            if load.is_empty() && !candidates.is_empty() {
                load.push(*seed.pick(&candidates));
            }
        }
        legs.push(Leg {
            steps,
            load,
            load_acks: if seed.chance(30) { 1 } else { seed.between(2, 200) as u32 },
            fault: *fault,
            canary: number + 1 == faults.len() || seed.chance(35),
        });
    }
    Case { seed, legs }
}

fn leg_steps(target: &Target, seed: &mut Seed, scale: Scale) -> Vec<Step> {
    let rules = &target.rules;
    let mut steps = Vec::new();
    let consumers = target.consumers.len();
    if rules.publishable {
        let removable = !rules.deny_delete;
        let theme = *seed
            .weighted(&[
                (8, Theme::Nothing),
                (12, Theme::One),
                (14, Theme::Burst),
                (8, Theme::Trickle),
                (if limit_reached(rules) { 16 } else { 0 }, Theme::Overflow),
                (if consumers > 0 { 14 } else { 0 }, Theme::Drained),
                (if consumers > 0 { 10 } else { 0 }, Theme::OneLeft),
                (if removable { 12 } else { 0 }, Theme::Deletes),
                (if rules.deny_purge { 0 } else { 7 }, Theme::Purges),
                (20, Theme::Mixed),
            ])
            .unwrap_or(&Theme::Mixed);
        themed(target, theme, seed, scale, &mut steps);
    } else {
        for consumer in 0..consumers {
            steps.push(Step::Consume { consumer, count: 50, acks: acks_for(target, consumer, seed) });
        }
    }
    if seed.chance(35) {
        steps.push(Step::UpdateStream);
    }
    if consumers > 0 && seed.chance(25) {
        steps.push(Step::UpdateConsumer { consumer: seed.below(consumers as u64) as usize });
    }
    if seed.chance(15) {
        steps.push(Step::Refused { what: refusal(target, seed) });
    }
    steps
}

fn themed(target: &Target, theme: Theme, seed: &mut Seed, scale: Scale, steps: &mut Vec<Step>) {
    let rules = &target.rules;
    let few = seed.between(2, 40) as u32;
    let consumers = target.consumers.len();
    match theme {
        Theme::Nothing => {}
        Theme::One => {
            steps.push(publish(target, 1, 1, seed));
            if consumers > 0 && seed.chance(50) {
                steps.push(Step::Drain {
                    consumer: seed.below(consumers as u64) as usize,
                    leave: seed.below(2) as u32,
                });
            }
        }
        Theme::Burst => {
            let count = seed.between(u64::from(few), u64::from(scale.burst)) as u32;
            let window = seed.between(8, 256) as u32;
            steps.push(publish(target, count, window, seed));
            again(target, seed, steps);
        }
        Theme::Trickle => {
            steps.push(publish(target, few, 1, seed));
            again(target, seed, steps);
            for consumer in 0..consumers {
                steps.push(Step::Consume {
                    consumer,
                    count: few / 2,
                    acks: acks_for(target, consumer, seed),
                });
            }
        }
        Theme::Overflow => {
            steps.push(overflow(target, seed));
            for consumer in 0..consumers {
                if seed.chance(50) {
                    steps.push(Step::Consume {
                        consumer,
                        count: few,
                        acks: acks_for(target, consumer, seed),
                    });
                }
            }
        }
        Theme::Drained | Theme::OneLeft => {
            // Sometimes so many that what the acks leave behind fills blocks of its own.
            let count =
                if seed.chance(40) { seed.between(few.into(), scale.burst.into()) as u32 } else { few };
            steps.push(publish(target, count, 64, seed));
            for consumer in 0..consumers {
                steps.push(Step::Drain { consumer, leave: u32::from(theme == Theme::OneLeft) });
            }
        }
        Theme::Deletes => {
            let count = seed.between(u64::from(few), u64::from(scale.burst / 2).max(u64::from(few))) as u32;
            steps.push(publish(target, count, 64, seed));
            for _ in 0..seed.between(1, 3) {
                let pick = *seed.pick(&[Pick::Oldest, Pick::Newest, Pick::Run, Pick::Scattered]);
                let most = if seed.chance(15) { count } else { (count / 3).max(1) };
                steps.push(Step::Delete {
                    pick,
                    count: seed.between(1, u64::from(most)) as u32,
                    erase: seed.chance(50),
                });
            }
            if seed.chance(50) {
                steps.push(publish(target, seed.between(1, 5) as u32, 1, seed));
            }
        }
        Theme::Purges => {
            steps.push(publish(target, few, 16, seed));
            steps.push(Step::Purge {
                what: *seed.pick(&[Purged::All, Purged::Subject, Purged::Before, Purged::Keep]),
            });
            if seed.chance(50) {
                steps.push(publish(target, seed.between(1, 5) as u32, 1, seed));
            }
        }
        Theme::Mixed => {
            for _ in 0..seed.between(2, 5) {
                steps.push(publish(target, seed.between(1, 30) as u32, 8, seed));
                for consumer in 0..consumers {
                    if seed.chance(60) {
                        steps.push(Step::Consume {
                            consumer,
                            count: seed.between(1, 40) as u32,
                            acks: acks_for(target, consumer, seed),
                        });
                    }
                }
                if !rules.deny_delete && seed.chance(30) {
                    steps.push(Step::Delete {
                        pick: Pick::Scattered,
                        count: seed.between(1, 4) as u32,
                        erase: seed.chance(50),
                    });
                }
                if seed.chance(25) {
                    steps.push(Step::Expect { right: seed.chance(50), of_subject: seed.chance(50) });
                }
                if rules.rollup && seed.chance(25) {
                    steps.push(Step::Rollup);
                }
                if target.kind == Kind::Kv && seed.chance(35) {
                    steps.push(Step::KvDelete);
                }
            }
            again(target, seed, steps);
        }
    }
}

fn publish(target: &Target, count: u32, window: u32, seed: &mut Seed) -> Step {
    let rules = &target.rules;
    let most = rules.max_msg_size.unwrap_or(u64::MAX).min(if seed.chance(10) { 8_000 } else { 160 });
    // A stream with a small limit in bytes holds many small messages rather than two large ones.
    let most = rules.max_bytes.map_or(most, |bytes| most.min((bytes / 40).max(64))) as u32;
    let len_min = 18.min(most);
    Step::Publish {
        count,
        len_min,
        len_max: most.max(len_min),
        window,
        subjects: if seed.chance(30) { 1 } else { seed.between(2, 12) as usize },
        ids: rules.window.is_some() && seed.chance(50),
        headers: seed.chance(30),
        ttl_s: if rules.ttl && seed.chance(40) { Some(if seed.chance(50) { 1 } else { 3600 }) } else { None },
    }
}

fn again(target: &Target, seed: &mut Seed, steps: &mut Vec<Step>) {
    if target.rules.window.is_some() && seed.chance(50) {
        steps.push(Step::Again { count: seed.between(1, 8) as u32 });
    }
}

fn overflow(target: &Target, seed: &mut Seed) -> Step {
    let rules = &target.rules;
    let by_count = rules.max_msgs.filter(|most| *most as i64 <= MAX_MSGS_REACHED);
    let by_subject = rules.max_per_subject.filter(|most| *most <= 100).map(|most| most * 4);
    let len_max = rules.max_msg_size.unwrap_or(400).clamp(18, 400) as u32;
    let by_bytes = rules
        .max_bytes
        .filter(|most| *most as i64 <= MAX_BYTES_REACHED)
        .map(|most| most / u64::from(len_max) + 1);
    let needed = [by_count, by_bytes, by_subject].into_iter().flatten().min().unwrap_or(100);
    let count = (needed + needed / seed.between(2, 10) + 1).min(3_000) as u32;
    let subjects = if by_subject.is_some() && by_count.is_none() && by_bytes.is_none() { 3 } else { 8 };
    Step::Publish {
        count,
        len_min: (len_max / 2).max(18),
        len_max,
        window: 64,
        subjects,
        ids: false,
        headers: false,
        ttl_s: None,
    }
}

fn limit_reached(rules: &Rules) -> bool {
    rules.max_msgs.is_some_and(|most| most as i64 <= MAX_MSGS_REACHED)
        || rules.max_bytes.is_some_and(|most| most as i64 <= MAX_BYTES_REACHED)
        || rules.max_per_subject.is_some_and(|most| most <= 100)
}

fn acks_for(target: &Target, consumer: usize, seed: &mut Seed) -> Acks {
    match target.consumers[consumer].acks {
        AckPolicy::None => Acks::Nothing,
        AckPolicy::All => *seed.pick(&[Acks::Double, Acks::Double, Acks::Plain, Acks::Nothing]),
        AckPolicy::Explicit => {
            *seed.pick(&[Acks::Double, Acks::Double, Acks::Mixed, Acks::Plain, Acks::Nothing])
        }
    }
}

fn refusal(target: &Target, seed: &mut Seed) -> Refusal {
    let mut choices = vec![Refusal::ChangedStorage];
    if target.rules.deny_delete {
        choices.extend([Refusal::DeniedDelete; 2]);
    }
    if target.rules.deny_purge {
        choices.extend([Refusal::DeniedPurge; 2]);
    }
    if !target.consumers.is_empty() {
        choices.push(Refusal::ChangedAckPolicy);
    }
    *seed.pick(&choices)
}

/// Whether the server writes its recovery index in it: only then is there an older one to go back to.
fn writes_index(fault: FaultKind) -> bool {
    fault.graceful() || fault == FaultKind::IndexLost
}

/// The faults of the legs of successive cases: every fault comes round, in an order that varies with the seed.
#[derive(Debug, Clone)]
pub struct Schedule {
    faults: Vec<FaultKind>,
    queue: Vec<FaultKind>,
    seed: Seed,
}

impl Schedule {
    /// A schedule over these faults.
    #[must_use]
    pub fn new(faults: &[FaultKind], seed: u64) -> Schedule {
        Schedule { faults: faults.to_vec(), queue: Vec::new(), seed: Seed::new(seed).part("schedule") }
    }

    /// The faults of the next case: two to five legs.
    pub fn next_case(&mut self) -> Vec<FaultKind> {
        let legs = self.seed.between(2, 5) as usize;
        let mut faults = Vec::new();
        while faults.len() < legs && !self.faults.is_empty() {
            if self.queue.is_empty() {
                self.queue.clone_from(&self.faults);
                self.seed.shuffle(&mut self.queue);
            }
            // The version changes at most once each way: a second time it would already be the other one.
            let once = |fault: &FaultKind| matches!(fault, FaultKind::Upgrade | FaultKind::Downgrade);
            match self.queue.pop() {
                Some(fault) if once(&fault) && faults.contains(&fault) => break,
                // A server in a container is ended through its client, gracefully: nothing that has to kill it goes with it.
                Some(FaultKind::Recreate) if !faults.is_empty() => {
                    self.queue.push(FaultKind::Recreate);
                    break;
                }
                Some(FaultKind::Recreate) => return vec![FaultKind::Recreate],
                // The version that is gone back to is mostly the one that the case began with: there and back.
                Some(FaultKind::Downgrade)
                    if self.faults.contains(&FaultKind::Upgrade) && !faults.contains(&FaultKind::Upgrade) =>
                {
                    faults.extend([FaultKind::Upgrade, FaultKind::Downgrade]);
                }
                Some(FaultKind::IndexStale) if !faults.iter().any(|fault| writes_index(*fault)) => {
                    faults.extend([FaultKind::Stop, FaultKind::IndexStale]);
                }
                fault => faults.extend(fault),
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_downgrade_comes_after_an_upgrade_where_both_are_asked_for_and_alone_where_it_is_alone() {
        for seed in 0..200 {
            let mut both = Schedule::new(&[FaultKind::Upgrade, FaultKind::Downgrade, FaultKind::Kill], seed);
            let cases: Vec<_> = (0..8).map(|_| both.next_case()).collect();
            assert!(cases.iter().flatten().any(|fault| *fault == FaultKind::Downgrade), "{cases:?}");
            for case in cases {
                let at = |kind| case.iter().position(|fault| *fault == kind);
                let (up, down) = (at(FaultKind::Upgrade), at(FaultKind::Downgrade));
                assert!(down.is_none() || up < down && up.is_some(), "{case:?}");
                let changes = case.iter().filter(|fault| **fault == FaultKind::Upgrade).count();
                assert!(changes <= 1, "{case:?}");
            }
            let mut alone = Schedule::new(&[FaultKind::Downgrade, FaultKind::Kill], seed);
            assert!((0..8).flat_map(|_| alone.next_case()).all(|fault| fault != FaultKind::Upgrade));
        }
    }

    #[test]
    fn every_fault_has_its_turn_and_a_container_its_own_case() {
        let faults = [FaultKind::Recreate, FaultKind::DiskFull, FaultKind::Kill, FaultKind::Upgrade];
        for seed in 0..200 {
            let mut schedule = Schedule::new(&faults, seed);
            let cases: Vec<_> = (0..8).map(|_| schedule.next_case()).collect();
            for case in &cases {
                assert!(
                    !case.is_empty() && (case.len() == 1 || !case.contains(&FaultKind::Recreate)),
                    "{cases:?}"
                );
            }
            for fault in faults {
                assert!(cases.iter().flatten().any(|one| *one == fault), "no {} in {cases:?}", fault.name());
            }
        }
    }
}
