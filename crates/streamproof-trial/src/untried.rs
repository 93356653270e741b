//! What a run did not come to: a stream under a fault that it was never under is in no table, and must not be missed there.

use std::collections::{BTreeMap, BTreeSet};

use streamproof_checker::{Context, Verdict};
use streamproof_model::op::FaultKind;

use crate::group::Group;
use crate::target::NotProven;

/// Where the time was up before all had its turn.
pub const TIME_UP: &str = "the run's time was up before: `--for 5m` gives it more";

/// The same, where something was found: a run that has failed does not go on for what is left.
pub const ENDED: &str = "the run had ended before: it had failed, or its time was up";

/// So many streams are named.
const NAMED: usize = 5;

/// What was not tried, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Untried {
    /// What was asked for by name, is needed by what must survive, or by who asks for everything.
    pub(crate) needed: Vec<NotProven>,
    /// What is run where there is time.
    pub(crate) others: Vec<NotProven>,
}

/// Each stream of `groups` under each of `faults` that can bite there, but for those that the verdicts tell of.
pub(crate) fn untried<'v>(
    groups: &[Group],
    faults: &[FaultKind],
    told: impl Iterator<Item = &'v Verdict>,
    context: &Context,
    why: &str,
) -> Untried {
    let told: BTreeSet<(&str, &str)> = told
        .flat_map(|verdict| &verdict.faults)
        .map(|cell| (cell.fault.as_str(), cell.target.as_str()))
        .collect();
    let mut left: BTreeMap<(bool, FaultKind), Vec<&str>> = BTreeMap::new();
    for group in groups {
        for fault in group.faults(faults) {
            for target in &group.targets {
                if !told.contains(&(fault.name(), target.name.as_str())) {
                    let must_survive = context.budget(&target.name);
                    let needed = context.strict
                        || context.asked.contains(&fault)
                        || must_survive.is_some_and(|levels| levels.contains(&fault.level()));
                    left.entry((needed, fault)).or_default().push(&target.name);
                }
            }
        }
    }
    let streams: usize = groups.iter().map(|group| group.targets.len()).sum();
    let mut untried = Untried::default();
    for ((needed, fault), names) in left {
        let more = names.len().saturating_sub(NAMED);
        let mut list = names[..names.len() - more].join(", ");
        if more > 0 {
            list += &format!(" and {more} more");
        }
        let what = format!("{} on {} of {streams} streams ({list})", fault.name(), names.len());
        let note = NotProven { what, why: why.to_owned() };
        if needed { untried.needed.push(note) } else { untried.others.push(note) }
    }
    untried
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use streamproof_checker::{Cell, FaultVerdict, Run, merge};
    use streamproof_model::desired::{Desired, DesiredStream, Kind, Places};
    use streamproof_model::op::Level;

    fn all(memory: &str) -> Vec<Group> {
        let stream = |name: &str| {
            let storage = if name == memory { "memory" } else { "file" };
            let config = json!({ "name": name, "subjects": [name], "storage": storage });
            DesiredStream {
                kind: Kind::Stream,
                name: name.to_owned(),
                bucket: None,
                declared: Default::default(),
                config: config.as_object().cloned().unwrap(),
                places: Places::default(),
            }
        };
        let streams = ["A", "B", "C", "D", "E", "F", "G"].map(stream).to_vec();
        crate::group::groups(&crate::target::targets(&Desired { streams, consumers: Vec::new() }).0)
    }

    fn told(cells: &[(&str, &str)]) -> Verdict {
        let cell = |(fault, target): &(&str, &str)| FaultVerdict {
            fault: (*fault).to_owned(),
            target: (*target).to_owned(),
            verdict: Cell::Pass,
            bite: String::new(),
            tries: 1,
            bites: 1,
            promised: true,
            source: String::new(),
            remedy: None,
        };
        let faults = cells.iter().map(cell).collect();
        Verdict { faults, ..merge(Run::default(), [], &Context::default()) }
    }

    #[test]
    fn what_no_case_came_to_is_told_with_its_streams_and_is_needed_where_it_must_survive() {
        let groups = all("G");
        let faults = [FaultKind::Stop, FaultKind::Kill, FaultKind::IndexLost];
        let stopped: Vec<(&str, &str)> =
            ["A", "B", "C", "D", "E", "F", "G"].iter().map(|name| ("stop", *name)).collect();
        let verdicts = [told(&stopped), told(&[("kill", "B")])];
        let words = |notes: &[NotProven]| notes.iter().map(|note| note.what.clone()).collect::<Vec<_>>();
        let of = |context: &Context| untried(&groups, &faults, verdicts.iter(), context, TIME_UP);
        let kill = "kill on 6 of 7 streams (A, C, D, E, F and 1 more)";
        // There is no index of a stream in memory.
        let index = "index-lost on 6 of 7 streams (A, B, C, D, E and 1 more)";
        let nobody = of(&Context::default());
        assert_eq!((words(&nobody.needed), words(&nobody.others)), (vec![], vec![kill.into(), index.into()]));
        assert_eq!(nobody.others[0].why, TIME_UP);
        let restart = Context { survive: Some([Level::Restart].into()), ..Context::default() };
        let asked = Context { asked: vec![FaultKind::Kill], ..restart.clone() };
        assert_eq!(words(&of(&asked).needed)[0], kill);
        let strict = Context { strict: true, ..Context::default() };
        assert_eq!((words(&of(&strict).needed).len(), of(&strict).others.len()), (2, 0));
        // Of one stream alone.
        let one = Context { streams: [("C".to_owned(), [Level::ProcessCrash].into())].into(), ..restart };
        assert!(words(&of(&one).needed).contains(&"kill on 1 of 7 streams (C)".to_owned()));
        assert!(words(&of(&one).others).contains(&"kill on 5 of 7 streams (A, D, E, F, G)".to_owned()));
    }
}
