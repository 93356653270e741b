//! Loop devices: attached, detached, and found again where a killed process left them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{UnmountFlags, unmount};

use super::IMAGE;
use crate::error::CrashFsError;

/// Whether there are loop devices here.
pub(super) fn available() -> Result<(), CrashFsError> {
    let control = Path::new("/dev/loop-control");
    if let Err(e) = File::open(control) {
        return Err(CrashFsError::Unsupported {
            what: "a loop device".to_owned(),
            why: format!("{}: {e}", control.display()),
        });
    }
    run("losetup", &["--version"]).map(drop)
}

/// Attaches `image` to the next free loop device.
pub(super) fn attach(image: &Path) -> Result<PathBuf, CrashFsError> {
    run("losetup", &["--find", "--show", "--", &image.to_string_lossy()]).map(PathBuf::from)
}

/// Detaches a loop device; where it is still in use, the kernel does it at the end of the use.
pub(super) fn detach(device: &Path) -> Result<(), CrashFsError> {
    run("losetup", &["--detach", &device.to_string_lossy()]).map(drop)
}

/// Runs a program that ends by itself, and gives what it printed.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String, CrashFsError> {
    let output = Command::new(program).args(arguments).output().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => CrashFsError::ToolMissing(program.to_owned()),
        _ => CrashFsError::io(Path::new(program))(e),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(CrashFsError::ToolFailed {
        command: format!("{program} {}", arguments.join(" ")),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Unmounts, detaches and removes every disk below `dir` whose process is gone, and says which images those were.
///
/// # Errors
/// Where one cannot be unmounted or detached.
pub fn clean_stale(dir: &Path) -> Result<Vec<PathBuf>, CrashFsError> {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mut cleaned = Vec::new();
    for (device, image) in attached() {
        if !image.starts_with(&dir) || !image.ends_with(IMAGE) || !is_orphan(&image) {
            continue;
        }
        for mountpoint in mountpoints(&device) {
            unmount(&mountpoint, UnmountFlags::DETACH)
                .map_err(|e| CrashFsError::Unmount { path: mountpoint, source: e.into() })?;
        }
        detach(&device)?;
        match std::fs::remove_file(&image) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(CrashFsError::io(&image)(e)),
            _ => cleaned.push(image),
        }
    }
    Ok(cleaned)
}

/// The owner of an image holds a lock on it, and the kernel lets go of that however the process ends.
fn is_orphan(image: &Path) -> bool {
    match File::open(image) {
        Ok(file) => file.try_lock().is_ok(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Loop devices in use, and what each is attached to (sysfs: /sys/block/loopN/loop/backing_file).
fn attached() -> Vec<(PathBuf, PathBuf)> {
    let devices = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices
        .filter_map(|device| {
            let file = std::fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
            let file = file.trim_end_matches('\n');
            let image = file.strip_suffix(" (deleted)").unwrap_or(file);
            Some((Path::new("/dev").join(device.file_name()), PathBuf::from(image)))
        })
        .collect()
}

fn mountpoints(device: &Path) -> Vec<PathBuf> {
    let mounts = crate::mounts::mounts();
    mounts.into_iter().filter(|(_, source)| Path::new(source) == device).map(|(path, _)| path).collect()
}
