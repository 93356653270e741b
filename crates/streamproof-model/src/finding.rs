//! What is wrong, or doubtful, in the files of a project: rule, place, words and remedy.

use crate::failure::{Code, Failure, Place};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It works, and probably not as meant.
    Warning,
    /// The server refuses it, or it cannot be what is meant.
    Error,
}

/// One thing found in one place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The stable name of the rule that found it.
    pub rule: Rule,
    /// How much it weighs.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// What to write under the place.
    pub label: String,
    /// What is wrong, a lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Finding {
    /// Something that the server refuses, or that cannot be what is meant.
    #[must_use]
    pub fn error(rule: Rule, place: Place, message: impl Into<String>) -> Finding {
        Finding {
            rule,
            severity: Severity::Error,
            place,
            label: String::new(),
            message: message.into(),
            help: None,
        }
    }

    /// Something that works, and probably not as meant.
    #[must_use]
    pub fn warning(rule: Rule, place: Place, message: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, ..Finding::error(rule, place, message) }
    }

    /// With words under the place.
    #[must_use]
    pub fn label(self, label: impl Into<String>) -> Finding {
        Finding { label: label.into(), ..self }
    }

    /// With a remedy.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Finding {
        Finding { help: Some(help.into()), ..self }
    }

    /// Whether it forbids going on.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// `file:line:column: error[rule]: message`, for terminals that show no pictures.
    #[must_use]
    pub fn one_line(&self) -> String {
        let Place { file, line, column, .. } = &self.place;
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let at = if *line == 0 { String::new() } else { format!(":{line}:{column}") };
        format!("{}{at}: {severity}[{}]: {}", file.display(), self.rule.name(), self.message)
    }
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// The rules, each with a stable name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant,)+];

            /// The name, as it is printed.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Rule::$variant => $name,)+ }
            }
        }
    };
}

rules! {
    /// The file is not JSON or TOML.
    Syntax = "syntax",
    /// A file that cannot be read.
    Unreadable = "unreadable",
    /// A key stands twice in one object.
    DuplicateKey = "duplicate-key",
    /// A key that nats-server does not know.
    UnknownKey = "unknown-key",
    /// A key that was taken away from nats-server.
    RemovedKey = "removed-key",
    /// A key that only nats-server itself may set.
    InternalKey = "internal-key",
    /// A value of the wrong type.
    WrongType = "wrong-type",
    /// A value that is none of those allowed.
    UnknownValue = "unknown-value",
    /// A number that is too small or too large.
    OutOfRange = "out-of-range",
    /// A duration that seems to be in seconds or milliseconds, or a number with a wrong unit.
    Unit = "unit",
    /// A field or value that is newer than the server.
    TooNew = "too-new",
    /// A name that nats-server refuses, or none.
    InvalidName = "invalid-name",
    /// The name in the file is not the file's name.
    NameMismatch = "name-mismatch",
    /// Two files for the same thing.
    DuplicateName = "duplicate-name",
    /// A subject that nats-server refuses.
    InvalidSubject = "invalid-subject",
    /// Two streams want the same message.
    SubjectOverlap = "subject-overlap",
    /// A filter that no message of the stream can match.
    FilterOutside = "filter-outside",
    /// Two filters match the same message.
    FilterOverlap = "filter-overlap",
    /// Fields that contradict each other.
    Contradiction = "contradiction",
    /// Mirrors and sources in a circle, or a republish into its own stream.
    Cycle = "cycle",
    /// A consumer that delivers into its own stream.
    DeliverCycle = "deliver-cycle",
    /// The old `"deliver_subject": "pull"`.
    LegacyPull = "legacy-pull",
    /// A consumer of a stream that no file declares.
    UnknownStream = "unknown-stream",
    /// A consumer without a durable name.
    NotDurable = "not-durable",
    /// A mirror or source of a stream that no file declares.
    UnknownOrigin = "unknown-origin",
    /// A state that cannot be the one to start from.
    NotAtCreation = "not-at-creation",
    /// A file that nothing reads.
    UnknownFile = "unknown-file",
    /// A setting in `streamproof.toml` that names something that is not there.
    UnknownTarget = "unknown-target",
    /// A secret in a file.
    Secret = "secret",
    /// `jetstream.conf` sets what streamproof owns, or leaves out what it needs.
    ServerConf = "server-conf",
}

impl serde::Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Files that cannot be used, with everything that was found in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", summary(.findings))]
pub struct Invalid {
    /// All findings, in the order of files and places; at least one is an error.
    pub findings: Vec<Finding>,
}

impl Invalid {
    fn first(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.is_error())
    }
}

impl Failure for Invalid {
    fn code(&self) -> Code {
        Code::InvalidConfig
    }

    fn help(&self) -> Option<String> {
        self.first().and_then(|finding| finding.help.clone())
    }

    fn place(&self) -> Option<&Place> {
        self.first().map(|finding| &finding.place)
    }
}

fn summary(findings: &[Finding]) -> String {
    let errors: Vec<&Finding> = findings.iter().filter(|finding| finding.is_error()).collect();
    match errors.as_slice() {
        [] => "nothing is wrong".to_owned(),
        [only] => only.message.clone(),
        [first, rest @ ..] => format!("{} (and {} more)", first.message, rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_rule_has_a_name_of_its_own() {
        let names: HashSet<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
    }
}
