//! What is mounted, by the kernel's own word.

use std::path::PathBuf;

/// Mount points and sources, from /proc/self/mountinfo (proc_pid_mountinfo(5): fields 5 and, after the dash, 2).
pub(crate) fn mounts() -> Vec<(PathBuf, String)> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mountpoint = left.split(' ').nth(4)?.replace("\\040", " ");
        Some((PathBuf::from(mountpoint), right.split(' ').nth(1)?.to_owned()))
    };
    text.lines().filter_map(line).collect()
}
