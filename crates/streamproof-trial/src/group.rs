//! Which streams share a case: those that belong together, and few enough that a case stays short.

use streamproof_model::op::FaultKind;

use crate::target::Target;

/// So many streams share a server at most, origins and mirrors of one family aside.
const TOGETHER_MAX: usize = 6;

/// Streams that are run together.
#[derive(Debug, Clone)]
pub struct Group {
    /// The streams, origins before what copies them.
    pub targets: Vec<Target>,
    /// In memory: nothing of them is left after a restart, so a case on them ends with its first one.
    pub memory: bool,
}

impl Group {
    /// The faults that can bite here, of these.
    #[must_use]
    pub fn faults(&self, faults: &[FaultKind]) -> Vec<FaultKind> {
        // Streams in memory have no index that could be lost.
        let index = |fault: &FaultKind| matches!(fault, FaultKind::IndexLost | FaultKind::IndexStale);
        faults.iter().copied().filter(|fault| !(self.memory && index(fault))).collect()
    }
}

/// Puts streams into groups. A mirror or a stream with sources is in the group of its origins.
#[must_use]
pub fn groups(targets: &[Target]) -> Vec<Group> {
    let mut family: Vec<usize> = (0..targets.len()).collect();
    let of = |name: &str| targets.iter().position(|target| target.name == name);
    // Few passes: families are small, and each pass joins everything that names each other.
    for _ in 0..targets.len() {
        let mut changed = false;
        for (index, target) in targets.iter().enumerate() {
            for origin in target.rules.mirror.iter().chain(&target.rules.sources).filter_map(|name| of(name))
            {
                let least = family[index].min(family[origin]);
                changed |= family[index] != least || family[origin] != least;
                family[index] = least;
                family[origin] = least;
            }
        }
        if !changed {
            break;
        }
    }
    let mut groups: Vec<Group> = Vec::new();
    for head in 0..targets.len() {
        let members: Vec<Target> = (0..targets.len())
            .filter(|index| family[*index] == head)
            .map(|index| targets[index].clone())
            .collect();
        if members.is_empty() {
            continue;
        }
        let memory = members.iter().any(|member| member.rules.memory);
        let room = groups
            .iter_mut()
            .find(|group| group.memory == memory && group.targets.len() + members.len() <= TOGETHER_MAX);
        match room {
            Some(group) => group.targets.extend(members),
            None => groups.push(Group { targets: members, memory }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use streamproof_model::desired::{Desired, DesiredStream, Kind, Places};

    fn stream(config: serde_json::Value) -> DesiredStream {
        DesiredStream {
            kind: Kind::Stream,
            name: config["name"].as_str().unwrap().to_owned(),
            bucket: None,
            declared: Default::default(),
            config: config.as_object().cloned().unwrap(),
            places: Places::default(),
        }
    }

    #[test]
    fn families_stay_together_and_memory_apart() {
        let mut streams: Vec<DesiredStream> = (0..8)
            .map(|n| stream(json!({ "name": format!("S{n}"), "subjects": [format!("s{n}")] })))
            .collect();
        streams.push(stream(json!({ "name": "M", "mirror": { "name": "S7" } })));
        streams.push(stream(json!({ "name": "V", "subjects": ["v"], "storage": "memory" })));
        let (targets, _) = crate::target::targets(&Desired { streams, consumers: Vec::new() });
        let groups = groups(&targets);
        assert_eq!(groups.iter().map(|group| group.targets.len()).sum::<usize>(), 10);
        assert!(groups.iter().all(|group| group.targets.len() <= TOGETHER_MAX));
        let with = |name: &str| {
            groups.iter().find(|group| group.targets.iter().any(|target| target.name == name)).unwrap()
        };
        assert!(with("M").targets.iter().any(|target| target.name == "S7"));
        assert!(with("V").memory && with("V").targets.len() == 1);
        assert_eq!(with("V").faults(&[FaultKind::Stop, FaultKind::IndexLost]), [FaultKind::Stop]);
    }
}
