//! Every way in which recording, building or exploring crash states can fail.

use std::path::PathBuf;

use streamproof_model::failure::{Code, Failure};

/// A failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrashFsError {
    /// This machine has no FUSE.
    #[error("no FUSE on this machine: /dev/fuse is missing")]
    NoFuseDevice,
    /// FUSE is there, and not for this user.
    #[error("/dev/fuse may not be opened: {0}")]
    FuseDeviceDenied(std::io::Error),
    /// Who is not root mounts by way of a program that is not installed.
    #[error("fusermount3 is not installed, and only root can mount without it")]
    NoFusermount,
    /// Who is not root may not let others (a container) in.
    #[error("user_allow_other is not set in /etc/fuse.conf, and a container needs it")]
    NoAllowOther,
    /// Only root can mount a real file system.
    #[error("a real file system can be mounted by root only")]
    NotRoot,
    /// No loop device, or no such file system in this kernel.
    #[error("{what} cannot be had on this machine: {why}")]
    Unsupported {
        /// What is missing.
        what: String,
        /// How that was seen.
        why: String,
    },
    /// A program that is needed is not installed.
    #[error("{0} is not installed")]
    ToolMissing(String),
    /// A program that was run ended with an error.
    #[error("{command}: {stderr}")]
    ToolFailed {
        /// The command line.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// The mount point is in use, by somebody who is alive.
    #[error("{} is mounted already, by a process that is alive", .0.display())]
    Mounted(PathBuf),
    /// The file system could not be unmounted: somebody has a file open on it.
    #[error("{} could not be unmounted: {source}", path.display())]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The recording reached its limit of memory.
    #[error(
        "the recording reached its limit of {limit_bytes} bytes after {ops} operations and was ended there"
    )]
    RecordingFull {
        /// The limit.
        limit_bytes: u64,
        /// What fitted.
        ops: usize,
    },
    /// A line of the text notation could not be read.
    #[error("line {line}: {what}")]
    Notation {
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Any other failure of the file system.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        source: std::io::Error,
    },
}

impl CrashFsError {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> CrashFsError {
        let path = path.to_owned();
        move |source| CrashFsError::Io { path, source }
    }
}

impl Failure for CrashFsError {
    fn code(&self) -> Code {
        match self {
            CrashFsError::NoFuseDevice | CrashFsError::Unsupported { .. } => Code::Unsupported,
            CrashFsError::FuseDeviceDenied(_) | CrashFsError::NoAllowOther | CrashFsError::NotRoot => {
                Code::Permission
            }
            CrashFsError::NoFusermount | CrashFsError::ToolMissing(_) => Code::ToolMissing,
            CrashFsError::ToolFailed { .. } => Code::ToolFailed,
            CrashFsError::Mounted(_) => Code::AlreadyExists,
            CrashFsError::RecordingFull { .. } => Code::Inconclusive,
            CrashFsError::Notation { .. } => Code::Usage,
            CrashFsError::Unmount { .. } => Code::Io,
            CrashFsError::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::PermissionDenied => Code::Permission,
                std::io::ErrorKind::StorageFull => Code::DiskFull,
                _ => Code::Io,
            },
        }
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            CrashFsError::NoFuseDevice => {
                "modprobe fuse\nin a container: docker run --device /dev/fuse --cap-add SYS_ADMIN"
            }
            CrashFsError::FuseDeviceDenied(_) => "sudo chmod 666 /dev/fuse",
            CrashFsError::NoFusermount => "apt-get install fuse3\nor run as root",
            CrashFsError::NoAllowOther => {
                "echo user_allow_other | sudo tee -a /etc/fuse.conf\nor use --engine process"
            }
            CrashFsError::NotRoot => "run as root, or use --fault power-cut, which needs FUSE only",
            CrashFsError::RecordingFull { .. } => {
                "a shorter run, fewer or smaller messages, or a higher limit"
            }
            CrashFsError::Unmount { .. } => "end what has files open there; the next command unmounts it",
            _ => return None,
        };
        Some(help.to_owned())
    }
}
