//! A disk that can be filled up and freed, for the fault `disk-full`: a file system in memory whose size is changed while the
//! server runs on it.
//!
//! Linux, and only as root: somebody else cannot mount. It is filled by making it as small as what it holds, so that no room
//! is needed for a filler, and what the server reserves for its streams at its start is not affected.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The size while there is room: more than a run writes, and enough for the limits in bytes that streams reserve. Memory is
/// only used for what is written.
const ROOMY: &str = "8g";
/// Room is given out in pages of this size.
const PAGE: u64 = 4096;
/// While the server writes, what it holds grows between the look and the change; so often it is looked again.
const FILL_TRIES: u32 = 200;
/// What the folders of these disks begin with; the process that made one follows.
const PREFIX: &str = "streamproof-disk-";

/// A mounted disk; unmounted and removed on drop.
#[derive(Debug)]
pub struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// Whether there can be one here: one is mounted and gone again.
    #[must_use]
    pub fn can_be_had() -> bool {
        static CAN: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        *CAN.get_or_init(|| SmallDisk::mount().is_ok())
    }

    /// Mounts one, with plenty of room.
    ///
    /// # Errors
    /// Where the system does not let us.
    pub fn mount() -> io::Result<SmallDisk> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = std::env::temp_dir();
        remove_left_over(&root);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = root.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir_all(&place)?;
        let options = format!("size={ROOMY},mode=0700");
        let mounted =
            run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "streamproof"]).arg(&place));
        if let Err(error) = mounted {
            // The error is of the mount; an empty folder that stays is removed by whoever comes next.
            fs::remove_dir(&place).ok();
            return Err(error);
        }
        Ok(SmallDisk { place })
    }

    /// Where the server's store goes.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.place.join("data")
    }

    /// No room is left, from now on.
    ///
    /// # Errors
    /// Where the size cannot be changed.
    pub fn fill(&self) -> io::Result<()> {
        let mut last = io::Error::other("it was never tried");
        for _ in 0..FILL_TRIES {
            let about = rustix::fs::statvfs(&self.place)?;
            // One page at least: 0 would mean no limit.
            let size = ((about.f_blocks - about.f_bfree) * about.f_frsize).max(PAGE);
            match self.resize(&size.to_string()) {
                Ok(()) => return Ok(()),
                // More has been written since the look.
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether room has come free since it was filled: a server removes files, too.
    #[must_use]
    pub fn has_room(&self) -> bool {
        rustix::fs::statvfs(&self.place).is_ok_and(|about| about.f_bfree > 0)
    }

    /// There is room again.
    ///
    /// # Errors
    /// Where the size cannot be changed.
    pub fn free(&self) -> io::Result<()> {
        self.resize(ROOMY)
    }

    fn resize(&self, size: &str) -> io::Result<()> {
        // By the call itself, not by a process: the load does not wait, and has an end.
        let data = std::ffi::CString::new(format!("size={size}"))?;
        rustix::mount::mount_remount(&self.place, rustix::mount::MountFlags::empty(), data.as_c_str())?;
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.place);
    }
}

/// Lazily: a server that is about to end may still have files open.
fn unmount(place: &Path) {
    // What cannot be unmounted stays, and is tried again by the next process.
    if run(Command::new("umount").arg("-l").arg(place)).is_ok() {
        fs::remove_dir(place).ok();
    }
}

/// Disks of processes that are gone, and could not unmount them any more.
fn remove_left_over(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists()) {
            unmount(&entry.path());
        }
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let done = command.output()?;
    if done.status.success() {
        Ok(())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&done.stderr).trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_refuses_and_a_freed_one_does_not() {
        let Ok(disk) = SmallDisk::mount() else {
            let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|what| what == "mount"));
            eprintln!("skipped: a file system cannot be mounted here");
            return;
        };
        fs::create_dir(disk.store_dir()).unwrap();
        let file = disk.store_dir().join("file");
        fs::write(&file, vec![1; 3 * PAGE as usize]).unwrap();
        fs::write(disk.store_dir().join("kept"), vec![1; PAGE as usize]).unwrap();
        disk.fill().unwrap();
        let more = disk.store_dir().join("more");
        assert_eq!(fs::write(&more, vec![1; PAGE as usize]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!disk.has_room());
        fs::remove_file(&file).unwrap();
        assert!(disk.has_room());
        disk.fill().unwrap();
        assert_eq!(fs::write(&more, vec![1; PAGE as usize]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.free().unwrap();
        fs::write(&more, vec![1; PAGE as usize]).unwrap();
        let place = disk.place.clone();
        drop(disk);
        assert!(!place.exists());
    }
}
