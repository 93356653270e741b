//! What the power cuts of a run came to, beside the verdict: how many states by which rules, and what less than ext4 would leave.

use serde::{Deserialize, Serialize};
use streamproof_checker::{Cell, ControlResult, Example, Verdict};

/// The controls of the model, by name: a disk that ignores syncs, and one on which every write is durable.
pub(crate) const CONTROLS: [&str; 2] = ["lying-disk", "durable-disk"];

/// All power cuts of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// By the rules of each profile; `ext4` is the one that is judged.
    pub profiles: Vec<Searched>,
    /// On real file systems, by name.
    pub kernels: Vec<Kernel>,
    /// A disk that ignores syncs, which must lose; and one on which every write is durable, which must not.
    pub controls: Vec<ControlResult>,
}

/// The crash states of one profile.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Searched {
    /// The profile.
    pub profile: String,
    /// 1: a crash while the server worked. 2: another one while it recovered from that.
    pub depth: u32,
    /// Its verdicts count.
    pub judged: bool,
    /// Different states that the chosen cuts lead to.
    pub found: usize,
    /// Of these, those that a server was started on and everything was read back from.
    pub tested: usize,
    /// Of these, those in which something is missing that had been acknowledged, promised or not.
    pub lossy: usize,
    /// Of the others, those in which something else was found.
    #[serde(default)]
    pub others: usize,
    /// Of those that were tried, the ones in which the journal was committed by no word of the recording.
    #[serde(default)]
    pub committed: usize,
    /// For how long of the recording a crash leads to one of the tried states, in ns, all recordings together; 0 at depth 2.
    #[serde(default)]
    pub tried_ns: u64,
    /// Of that, to one in which something acknowledged is missing.
    #[serde(default)]
    pub lossy_ns: u64,
    /// The share of the one in the other, from 0 to 1; at depth 2 that of the states.
    pub lossy_share: f64,
    /// How long it took, in ms.
    pub took_ms: u64,
    /// Recoveries that were recorded for it, where it is of crashes during them.
    #[serde(default)]
    pub recoveries: usize,
}

impl Searched {
    /// Adds another recording's.
    pub(crate) fn add(&mut self, other: &Searched) {
        self.found += other.found;
        self.tested += other.tested;
        self.lossy += other.lossy;
        self.others += other.others;
        self.committed += other.committed;
        self.tried_ns += other.tried_ns;
        self.lossy_ns += other.lossy_ns;
        self.share();
        self.took_ms += other.took_ms;
        self.recoveries += other.recoveries;
    }

    /// Tells the share anew.
    pub(crate) fn share(&mut self) {
        let (part, all) = match self.depth {
            1 => (self.lossy_ns as f64, self.tried_ns as f64),
            _ => (self.lossy as f64, self.tested as f64),
        };
        self.lossy_share = part / all.max(1.0);
    }

    fn words(&self) -> String {
        // How long the run would have lost something for; of a second crash there is no such time.
        let of_time = match self.lossy_share * 100.0 {
            _ if self.depth > 1 => String::new(),
            percent if percent < 0.05 => " (less than 0.1 % of the time that they stand for)".to_owned(),
            percent => format!(" ({percent:.1} % of the time that they stand for)"),
        };
        let lost = match (self.lossy, self.others) {
            (0, _) if self.tested == 0 => "and nothing is known of them".to_owned(),
            (0, 0) => "nothing was found in any of them".to_owned(),
            (0, others) => {
                format!("something was found in {others} of them, nothing acknowledged is missing")
            }
            (lossy, 0) => format!("something acknowledged is missing in {lossy} of them{of_time}"),
            (lossy, others) => format!(
                "something acknowledged is missing in {lossy} of them{of_time}, and something else was found in {others}"
            ),
        };
        let (tested, found, profile) = (self.tested, self.found, &self.profile);
        let tried = match self.committed {
            0 => "tried".to_owned(),
            committed => format!("tried ({committed} of them with the journal committed just before)"),
        };
        match (self.depth, self.judged) {
            (1, true) => {
                format!(
                    "power-cut rests on a model of {profile}: {tested} of {found} crash states {tried}, {lost}"
                )
            }
            (1, false) => {
                format!("for information, by {profile}: {tested} of {found} crash states tried, {lost}")
            }
            _ => {
                let recoveries = match self.recoveries {
                    1 => "1 recovery".to_owned(),
                    many => format!("{many} recoveries"),
                };
                // Where the first crash leaves nothing, or nothing is synced after it, the second one finds the same.
                let further = match (found, tested) {
                    (0, _) => {
                        "each of the cuts that were chosen leads to the state that it began with".to_owned()
                    }
                    _ => format!("{tested} further states {tried}, {lost}"),
                };
                format!(
                    "a second crash while the server recovered, by {profile}: {recoveries} recorded, {further}"
                )
            }
        }
    }
}

/// Cuts on one real file system.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kernel {
    /// `ext4` or `xfs`.
    pub name: String,
    /// How often it was shut down under the running server.
    pub cuts: u64,
}

impl Tally {
    /// The controls. Where states of the model were tried and one of them was not run, that one was not found: states without
    /// them are no proof.
    #[must_use]
    pub fn controls(&self) -> Vec<ControlResult> {
        let mut controls = self.controls.clone();
        let missing = CONTROLS.iter().filter(|name| !self.controls.iter().any(|known| known.name == **name));
        if !self.profiles.is_empty() {
            controls.extend(missing.map(|name| ControlResult {
                name: (*name).to_owned(),
                target: "power-cut".to_owned(),
                expect: "to be run".to_owned(),
                found: false,
                beside: vec!["it was not run".to_owned()],
            }));
        }
        controls
    }

    /// Adds what one search came to.
    pub(crate) fn searched(&mut self, searched: &Searched) {
        let same = |known: &&mut Searched| known.profile == searched.profile && known.depth == searched.depth;
        match self.profiles.iter_mut().find(same) {
            Some(known) => known.add(searched),
            None => {
                let mut first = searched.clone();
                first.share();
                self.profiles.push(first);
            }
        }
    }

    /// Adds cuts on a real file system.
    pub(crate) fn cut(&mut self, name: &str, cuts: u64) {
        match self.kernels.iter_mut().find(|kernel| kernel.name == name) {
            Some(known) => known.cuts += cuts,
            None if cuts > 0 => self.kernels.push(Kernel { name: name.to_owned(), cuts }),
            None => {}
        }
    }

    /// In words, a line each; none where no power was cut.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let kernel = |kernel: &Kernel| {
            format!(
                "power-cut-ext4 rests on the kernel's own {}: shut down {} under the running server",
                kernel.name,
                crate::report::words::count(kernel.cuts, "time")
            )
        };
        self.profiles.iter().map(Searched::words).chain(self.kernels.iter().map(kernel)).collect()
    }
}

/// One crash state, as the map of a recording shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateLine {
    /// The profile.
    pub profile: String,
    /// 1, or 2 for a crash during the recovery from one.
    pub depth: u32,
    /// After how many operations of the file system the power went; of the recovery, where `depth` is 2.
    pub ops: usize,
    /// After how many the journal was committed, not by any of them: by the clock, or for a sync of another program's.
    #[serde(default)]
    pub committed: Option<usize>,
    /// When, in µs of the history.
    pub cut_us: u64,
    /// The cut before it, where `depth` is 2.
    #[serde(default)]
    pub first: Option<FirstCut>,
    /// For how long a crash leads to this state, in ns.
    pub lasted_ns: u64,
    /// Bytes written and not durable.
    pub unsynced_bytes: u64,
    /// The worst that was found.
    pub cell: Cell,
    /// Acknowledged messages that are missing.
    pub lost: u64,
    /// Age of the youngest and the oldest of them at the cut, in µs.
    pub lost_age_us: Option<(u64, u64)>,
    /// What was read back is in the file of states.
    pub kept: bool,
}

/// The cut whose recovery was cut again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstCut {
    /// After how many operations of the recording.
    pub ops: usize,
    /// When, in µs of the history.
    pub cut_us: u64,
    /// After how many operations the journal was committed, if by none of them.
    #[serde(default)]
    pub committed: Option<usize>,
    /// When the recording of the recovery began, in µs of the history: some time after the cut, in which other states were tried.
    #[serde(default)]
    pub began_us: u64,
}

impl StateLine {
    /// That the journal was committed for nothing the server did, where it was.
    pub(crate) fn commit_words(&self) -> Option<String> {
        self.committed.map(|after| commit_words(after, "recording"))
    }

    /// Whoever reads a finding of a state that was cut twice, or before which the journal was committed by itself, must know of it: it
    /// is said with each of its examples.
    pub(crate) fn name_cuts(&self, verdict: &mut Verdict) {
        let words = match (self.first, self.commit_words()) {
            (None, None) => return,
            (None, Some(commit)) => commit,
            (Some(first), _) => {
                let at = first.cut_us as f64 / 1e6;
                let later = self.cut_us.saturating_sub(first.began_us.max(first.cut_us)) as f64 / 1e6;
                let words = |after: Option<usize>, of| after.map(|after| commit_words(after, of));
                let commit = words(first.committed, "recording").map_or(String::new(), |words| words + "; ");
                let again =
                    words(self.committed, "recovery").map_or(String::new(), |words| format!("; {words}"));
                format!(
                    "{commit}the power went after operation {} of the recording, at {at:.3} s, and again after operation {} of the \
                     recovery, {later:.3} s after its beginning{again}",
                    first.ops, self.ops
                )
            }
        };
        for finding in &mut verdict.findings {
            if finding.examples.is_empty() {
                finding.examples.push(Example { at: self.cut_us, ..Example::default() });
            }
            for example in &mut finding.examples {
                let between = if example.text.is_empty() { "" } else { "; " };
                example.text = format!("{}{between}{words}", example.text);
            }
        }
    }
}

fn commit_words(after: usize, of: &str) -> String {
    format!(
        "the file system's journal was committed after operation {after} of the {of}, by the clock or for another program's sync"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sentence_says_what_it_rests_on() {
        let of = |profile: &str, depth, judged, lossy| Searched {
            profile: profile.to_owned(),
            depth,
            judged,
            found: 40,
            tested: 30,
            lossy,
            others: if profile == "strict" { 3 } else { 0 },
            committed: if profile == "ext4" { 4 } else { 0 },
            tried_ns: 4_000 + lossy as u64 * 1_000,
            lossy_ns: lossy as u64 * 100,
            lossy_share: 0.0,
            took_ms: 1,
            recoveries: 2,
        };
        let mut tally = Tally::default();
        tally.searched(&of("ext4", 1, true, 0));
        tally.searched(&of("ext4", 1, true, 30));
        tally.searched(&of("ext4", 2, true, 0));
        tally.searched(&of("strict", 1, false, 6));
        let nothing_new = Searched { found: 0, tested: 0, recoveries: 1, ..of("path", 2, true, 0) };
        tally.searched(&nothing_new);
        tally.cut("xfs", 0);
        tally.cut("ext4", 2);
        assert_eq!(
            tally.words(),
            [
                // 3 of 4 + 34 µs: what was tried longer weighs more.
                "power-cut rests on a model of ext4: 60 of 80 crash states tried (8 of them with the journal committed just before), something acknowledged is missing in 30 of them (7.9 % of the time that they stand for)",
                "a second crash while the server recovered, by ext4: 2 recoveries recorded, 30 further states tried (4 of them with the journal committed just before), nothing was found in any of them",
                "for information, by strict: 30 of 40 crash states tried, something acknowledged is missing in 6 of them (6.0 % of the time that they stand for), and something else was found in 3",
                "a second crash while the server recovered, by path: 1 recovery recorded, each of the cuts that were chosen leads to the state that it began with",
                "power-cut-ext4 rests on the kernel's own ext4: shut down 2 times under the running server",
            ]
        );
    }
}
