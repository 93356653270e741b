//! The one call that safe Rust cannot make: the ioctl that shuts a mounted file system down.
#![expect(unsafe_code, reason = "an ioctl takes a pointer; no safe wrapper knows this one")]

use std::fs::File;
use std::io;

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `_IOR('X', 125, __u32)`: FS_IOC_SHUTDOWN (include/uapi/linux/fs.h), XFS_IOC_GOINGDOWN and EXT4_IOC_SHUTDOWN before
/// that. Read by direction, though the kernel reads the flags.
const FS_IOC_SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);

/// FS_SHUTDOWN_FLAGS_NOLOGFLUSH: without writing the journal first, as a power cut does not either.
const NOLOGFLUSH: u32 = 2;

/// Shuts down the file system that `root`, a file or directory, is on.
pub(super) fn shutdown(root: &File) -> io::Result<()> {
    // SAFETY: the kernel reads one u32 through the pointer and writes nothing (fs/ext4/ioctl.c: ext4_ioctl_shutdown;
    // fs/xfs/xfs_ioctl.c: XFS_IOC_GOINGDOWN), and `Setter` keeps that u32 alive for the call. On a file system
    // that does not know the number the answer is ENOTTY.
    let done = unsafe { ioctl(root, Setter::<FS_IOC_SHUTDOWN, u32>::new(NOLOGFLUSH)) };
    done.map_err(io::Error::from)
}
