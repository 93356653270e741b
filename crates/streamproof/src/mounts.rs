//! Whether a proof that was killed may have left something mounted in a project's folder, or attached to a loop device. What it is
//! and how it is taken away is known to the proof alone.

use std::path::Path;

/// Whether anything is mounted below this folder, or a loop device is backed by a file in it. Off Linux nothing ever is.
#[must_use]
pub fn are_below(dir: &Path) -> bool {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts.lines().filter_map(|line| line.split(' ').nth(1)).any(|point| is_below(point, &dir));
    mounted || backing_files().any(|file| Path::new(&file).starts_with(&dir))
}

/// proc_pid_mounts(5): spaces and their like are written as octal numbers.
fn is_below(point: &str, dir: &Path) -> bool {
    let point = point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
    let point = Path::new(&point);
    point != dir && point.starts_with(dir)
}

/// What the loop devices in use are attached to (sysfs: /sys/block/loopN/loop/backing_file).
fn backing_files() -> impl Iterator<Item = String> {
    let devices = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices.filter_map(|device| std::fs::read_to_string(device.path().join("loop/backing_file")).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_below_is_told_from_one_at_or_beside() {
        let dir = Path::new("/home/me/my shop/.streamproof");
        for (point, below) in [
            ("/home/me/my\\040shop/.streamproof/runs/7/mnt", true),
            ("/home/me/my\\040shop/.streamproof", false),
            ("/home/me/my\\040shop", false),
            ("/home/me/my\\040shop/.streamproof-old/mnt", false),
        ] {
            assert_eq!(is_below(point, dir), below, "{point}");
        }
        assert!(!are_below(Path::new("/no/such/folder")));
    }
}
