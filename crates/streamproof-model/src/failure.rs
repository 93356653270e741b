//! Failure codes: every way in which streamproof can fail has one stable name and one exit status.

use std::fmt;

/// Exit statuses of the command line. Scripts may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done, or already so.
    Ok = 0,
    /// A bug in streamproof.
    Internal = 1,
    /// Wrong flags, or a file in `nats-config` that is not valid.
    Usage = 2,
    /// The server is down.
    NotRunning = 3,
    /// The server is not in line with the files.
    Pending = 4,
    /// Destructive, immutable, a downgrade, or not ours; a flag that names it is needed.
    Refused = 5,
    /// No engine, no binary, port taken, permission, disk.
    Environment = 6,
    /// The server did not become ready in time.
    NotReady = 7,
    /// `restart-check`: something that must survive did not.
    Violation = 8,
    /// Another streamproof works on this project.
    Locked = 9,
    /// `restart-check`: the fault did not bite, could not be run, or the run could not finish.
    Inconclusive = 10,
    /// `restart-check`: a control was not found; no verdict of this run counts.
    SelfCheckFailed = 11,
    /// Ctrl-C; what was started by this call is undone, data is kept.
    Interrupted = 130,
}

impl Exit {
    /// Every status, in the order of the documentation.
    pub const ALL: [Exit; 13] = [
        Exit::Ok,
        Exit::Internal,
        Exit::Usage,
        Exit::NotRunning,
        Exit::Pending,
        Exit::Refused,
        Exit::Environment,
        Exit::NotReady,
        Exit::Violation,
        Exit::Locked,
        Exit::Inconclusive,
        Exit::SelfCheckFailed,
        Exit::Interrupted,
    ];

    /// The status as the number that the process ends with.
    #[must_use]
    pub const fn status(self) -> u8 {
        self as u8
    }

    /// The status as it is named in the documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Internal => "internal",
            Exit::Usage => "usage",
            Exit::NotRunning => "not-running",
            Exit::Pending => "pending",
            Exit::Refused => "refused",
            Exit::Environment => "environment",
            Exit::NotReady => "not-ready",
            Exit::Violation => "violation",
            Exit::Locked => "locked",
            Exit::Inconclusive => "inconclusive",
            Exit::SelfCheckFailed => "self-check-failed",
            Exit::Interrupted => "interrupted",
        }
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal => $exit:ident,)+) => {
        /// The stable name of a failure. A script should match the name, not the text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The name, as it is printed and as it stands in the JSON envelope.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)+ }
            }

            /// The exit status that goes with it.
            #[must_use]
            pub const fn exit(self) -> Exit {
                match self { $(Code::$variant => Exit::$exit,)+ }
            }
        }
    };
}

codes! {
    /// A bug in streamproof.
    Internal = "internal" => Internal,
    /// Wrong flags or arguments.
    Usage = "usage" => Usage,
    /// A folder without a `nats-config/`.
    NoProject = "no-project" => Usage,
    /// A file in `nats-config` is not valid.
    InvalidConfig = "invalid-config" => Usage,
    /// nats-server refuses `jetstream.conf`.
    InvalidServerConfig = "invalid-server-config" => Usage,
    /// A saved plan cannot be read.
    InvalidPlan = "invalid-plan" => Usage,
    /// A stored run or its history cannot be read.
    InvalidHistory = "invalid-history" => Usage,
    /// No server of this project runs.
    NotRunning = "not-running" => NotRunning,
    /// The server that was named does not answer.
    Unreachable = "unreachable" => NotRunning,
    /// The server is not in line with the files.
    Pending = "pending" => Pending,
    /// A change deletes data.
    DataLoss = "data-loss" => Refused,
    /// A change cannot be undone.
    OneWay = "one-way" => Refused,
    /// A field cannot be changed in place.
    ImmutableField = "immutable-field" => Refused,
    /// The store was made by a newer server.
    StoreNewer = "store-newer" => Refused,
    /// The server or folder is not ours.
    NotOurs = "not-ours" => Refused,
    /// A store is in use by a server that is not ours.
    StoreInUse = "store-in-use" => Refused,
    /// Something is there already and would be overwritten.
    AlreadyExists = "already-exists" => Refused,
    /// The server moved since the plan was made.
    PlanStale = "plan-stale" => Refused,
    /// A confirmation is needed and there is nobody to ask.
    ConfirmationNeeded = "confirmation-needed" => Refused,
    /// The engine chosen earlier differs from the one asked for.
    EngineMismatch = "engine-mismatch" => Refused,
    /// The server refused a request.
    ServerRefused = "server-refused" => Refused,
    /// The server lets this user not in, or not do this.
    AccessDenied = "access-denied" => Environment,
    /// JetStream is not enabled on the server.
    NoJetstream = "no-jetstream" => Environment,
    /// No Docker engine answers.
    EngineDown = "engine-down" => Environment,
    /// Docker answered with an error.
    DockerFailed = "docker-failed" => Environment,
    /// No nats-server could be had from any source.
    NoServerBinary = "no-server-binary" => Environment,
    /// A file is not what its pinned checksum says.
    ChecksumMismatch = "checksum-mismatch" => Environment,
    /// A nats-server is of a version that is not wanted.
    VersionMismatch = "version-mismatch" => Environment,
    /// A port is taken.
    PortInUse = "port-in-use" => Environment,
    /// A file or folder may not be read or written.
    Permission = "permission" => Environment,
    /// The disk is full.
    DiskFull = "disk-full" => Environment,
    /// Any other failure of the file system.
    Io = "io" => Environment,
    /// A program that is needed is not installed.
    ToolMissing = "tool-missing" => Environment,
    /// A program that was run ended with an error.
    ToolFailed = "tool-failed" => Environment,
    /// Something this machine does not have (FUSE, loop devices) is needed.
    Unsupported = "unsupported" => Environment,
    /// The server ended while it was starting.
    ServerDied = "server-died" => NotReady,
    /// The server did not become ready in time.
    NotReady = "not-ready" => NotReady,
    /// The server did not stop in time.
    StopTimeout = "stop-timeout" => NotReady,
    /// A request got no answer in time.
    Timeout = "timeout" => NotReady,
    /// Something that must survive did not.
    Violation = "violation" => Violation,
    /// Another streamproof works on this project.
    Locked = "locked" => Locked,
    /// The proof could not be given.
    Inconclusive = "inconclusive" => Inconclusive,
    /// A control was not found.
    SelfCheckFailed = "self-check-failed" => SelfCheckFailed,
    /// Ctrl-C.
    Interrupted = "interrupted" => Interrupted,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A place in a file that a person wrote. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// The file, as the user would name it.
    pub file: std::path::PathBuf,
    /// Line, from 1; 0 where only the file is known.
    pub line: u32,
    /// Column in characters, from 1; 0 where only the file is known.
    pub column: u32,
    /// Byte offset of the label.
    pub offset: usize,
    /// Length of the label in bytes.
    pub length: usize,
}

/// What every library error can say of itself, so that the command line can print it and end with the right status.
pub trait Failure: std::error::Error {
    /// The stable name.
    fn code(&self) -> Code;
    /// What to do, ready to be pasted where it is a command; one remedy a line.
    fn help(&self) -> Option<String> {
        None
    }
    /// Where it is, if it is in a file that a person wrote.
    fn place(&self) -> Option<&Place> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_is_used_once() {
        let names: HashSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        let statuses: HashSet<_> = Exit::ALL.iter().map(|e| e.status()).collect();
        assert_eq!(statuses.len(), Exit::ALL.len());
    }
}
