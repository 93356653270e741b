//! The command that does a run again.

use std::collections::BTreeSet;

use streamproof_model::op::{FaultKind, Level};
use streamproof_server::Source;
use streamproof_server::acquire::Binary;

use crate::trial::{Length, Options};

/// The command line that asks for the same as these options do.
#[must_use]
pub fn command(options: &Options) -> String {
    let mut words = vec!["cargo xtask restart-check".to_owned(), format!("--seed {}", options.seed)];
    match options.length {
        Length::Quick => words.push("--quick".to_owned()),
        Length::Default => {}
        Length::For(time) => words.push(format!("--for {}s", time.as_secs().max(1))),
    }
    words.extend(options.faults.iter().map(|fault| format!("--fault {}", fault.name())));
    words.extend(options.survive.iter().flatten().map(|level| format!("--survive {}", level.name())));
    words.extend(options.profiles.iter().map(|profile| format!("--profile {profile}")));
    if options.full {
        words.push("--full".to_owned());
    }
    if options.strict {
        words.push("--strict".to_owned());
    }
    if options.binary.source == Source::Explicit {
        words.push(format!("--server-bin {}", path(&options.binary)));
    }
    let other = |binary: &Binary| match binary.source {
        Source::Explicit => path(binary),
        _ => binary.version.to_string(),
    };
    words.extend(options.upgrade_to.iter().map(|binary| format!("--upgrade-to {}", other(binary))));
    words.extend(options.downgrade_to.iter().map(|binary| format!("--downgrade-to {}", other(binary))));
    words.join(" ")
}

/// The command line that takes pictures again: `--live`, or `--store DIR`, and what goes with it.
#[must_use]
pub fn pictures(
    of: &[&str],
    faults: &[FaultKind],
    survive: Option<&BTreeSet<Level>>,
    strict: bool,
) -> String {
    let mut words = vec!["cargo xtask restart-check".to_owned()];
    words.extend(of.iter().map(|word| quoted(word)));
    words.extend(faults.iter().map(|fault| format!("--fault {}", fault.name())));
    words.extend(survive.into_iter().flatten().map(|level| format!("--survive {}", level.name())));
    if strict {
        words.push("--strict".to_owned());
    }
    words.join(" ")
}

/// A path as a shell takes it.
fn path(binary: &Binary) -> String {
    quoted(&binary.path.display().to_string())
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@".contains(letter);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
