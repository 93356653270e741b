//! A real file system that loses its power: an image of its own on a loop device, shut down under whoever uses it.
//!
//! The kernel's own truth, one crash a time: after [`RealDisk::shutdown`] every operation is EIO and what had not
//! reached the device is gone; [`RealDisk::remount`] replays the journal as the next boot would. Needs root and loop
//! devices.
//!
//! What it does not show: everything that was handed to the device counts as durable, as if the disk had no cache of
//! its own. A real disk may lose that too, unless it is flushed; ext4 and xfs do flush it at every fsync.

mod loopback;
mod power_cut;
mod shutdown;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::CrashFsError;

pub use loopback::clean_stale;
pub use power_cut::{PowerCut, power_cut};

/// A file system of the kernel that can be shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// ext4, made and mounted with its defaults, in blocks of 4 KiB.
    Ext4,
    /// xfs, made and mounted with its defaults.
    Xfs,
}

impl Kind {
    /// The name by which it is mounted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
        }
    }

    /// The program that makes one.
    #[must_use]
    pub const fn maker(self) -> &'static str {
        match self {
            Kind::Ext4 => "mkfs.ext4",
            Kind::Xfs => "mkfs.xfs",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            // Small images would get blocks of 1 KiB. Nothing is left to be initialised in the background.
            Kind::Ext4 => {
                &["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]
            }
            Kind::Xfs => &["-q", "-f", "-K"],
        }
    }

    /// The least that its maker makes, in bytes (mkfs.xfs 5.19 and later: 300 MB).
    const fn smallest_bytes(self) -> u64 {
        match self {
            Kind::Ext4 => 16 << 20,
            Kind::Xfs => 320 << 20,
        }
    }
}

/// The image in a disk's directory: by this name, and by the lock on it, those that were left behind are found.
const IMAGE: &str = "streamproof-disk.img";

/// Whether such a disk could be had here, and if not, why.
///
/// # Errors
/// One for each of: not root, no loop devices, no such file system in this kernel, no program to make one.
pub fn available(kind: Kind) -> Result<(), CrashFsError> {
    if !rustix::process::geteuid().is_root() {
        return Err(CrashFsError::NotRoot);
    }
    loopback::available()?;
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.split_whitespace().any(|name| name == kind.name()) {
        let why = "it is not in /proc/filesystems".to_owned();
        return Err(CrashFsError::Unsupported { what: kind.name().to_owned(), why });
    }
    loopback::run(kind.maker(), &["-V"]).map(drop)
}

/// A file system of its own on a loop device. Unmounted and removed when it is dropped: end the server first.
#[derive(Debug)]
pub struct RealDisk {
    kind: Kind,
    image: PathBuf,
    /// Locked as long as this process lives.
    _owner: File,
    device: PathBuf,
    mountpoint: PathBuf,
    /// Open on the mount, to shut it down when nothing else can be opened any more.
    root: Option<File>,
}

impl RealDisk {
    /// Makes one of `size_bytes` in the directory `dir`, which gets the image (sparse) and the mount point. What a
    /// killed process left below `dir` is cleaned first.
    ///
    /// # Errors
    /// Where it is not available, or `dir` is in use by somebody alive.
    pub fn create(dir: &Path, kind: Kind, size_bytes: u64) -> Result<Self, CrashFsError> {
        available(kind)?;
        std::fs::create_dir_all(dir).map_err(CrashFsError::io(dir))?;
        let dir = dir.canonicalize().map_err(CrashFsError::io(dir))?;
        clean_stale(&dir)?;
        let (image, mountpoint) = (dir.join(IMAGE), dir.join("mnt"));
        std::fs::create_dir_all(&mountpoint).map_err(CrashFsError::io(&mountpoint))?;
        let owner = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&image)
            .map_err(CrashFsError::io(&image))?;
        owner.try_lock().map_err(|_| CrashFsError::Mounted(mountpoint.clone()))?;
        owner.set_len(0).map_err(CrashFsError::io(&image))?;
        owner.set_len(size_bytes.max(kind.smallest_bytes())).map_err(CrashFsError::io(&image))?;
        let image_text = image.to_string_lossy().into_owned();
        let mut arguments = kind.arguments().to_vec();
        arguments.push(&image_text);
        loopback::run(kind.maker(), &arguments)?;
        let device = loopback::attach(&image)?;
        let mut disk = RealDisk { kind, image, _owner: owner, device, mountpoint, root: None };
        disk.mount()?;
        let opened = disk.open_root().map(drop);
        opened.map_err(CrashFsError::io(&disk.mountpoint))?;
        Ok(disk)
    }

    /// Which file system it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it is mounted.
    #[must_use]
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Makes everything so far durable (syncfs(2)).
    ///
    /// # Errors
    /// The kernel's.
    pub fn sync(&self) -> Result<(), CrashFsError> {
        let root = self.root.as_ref().ok_or_else(|| CrashFsError::io(&self.mountpoint)(not_mounted()))?;
        rustix::fs::syncfs(root).map_err(|e| CrashFsError::io(&self.mountpoint)(e.into()))
    }

    /// The power goes: from here on every operation is EIO, and what had not reached the device is gone. To be called
    /// *before* the server is killed, or the kernel would have time to write back.
    ///
    /// # Errors
    /// The kernel's.
    pub fn shutdown(&self) -> Result<(), CrashFsError> {
        let root = self.root.as_ref().ok_or_else(|| CrashFsError::io(&self.mountpoint)(not_mounted()))?;
        shutdown::shutdown(root).map_err(CrashFsError::io(&self.mountpoint))
    }

    /// The next boot: unmounted and mounted again, which replays the journal. Nobody may have a file open on it.
    ///
    /// # Errors
    /// Where somebody has, and where the kernel cannot recover it.
    pub fn remount(&mut self) -> Result<(), CrashFsError> {
        let begin = Instant::now();
        let wait = |errno: Option<i32>, expected: i32| {
            let waits = errno == Some(expected) && begin.elapsed() < COPIES_BOUND;
            if waits {
                pause();
            }
            waits
        };
        let mut mounted = true;
        loop {
            self.root = None;
            if mounted && let Err(e) = rustix::mount::unmount(&self.mountpoint, UnmountFlags::empty()) {
                // A process that is being started has a copy of our open files until its own exec closes them.
                if wait(Some(e.raw_os_error()), EBUSY) {
                    continue;
                }
                return Err(CrashFsError::Unmount { path: self.mountpoint.clone(), source: e.into() });
            }
            mounted = false;
            // Another mount namespace that was made meanwhile (a container that was starting) has a copy of every mount, and
            // with it the file system that was shut down: mounting the device gives that one again, or EIO, until the other
            // has let go of its copies; or EBUSY, where that one has become read-only.
            match self.mount() {
                Err(CrashFsError::Io { source, .. })
                    if wait(source.raw_os_error(), EIO) || wait(source.raw_os_error(), EBUSY) =>
                {
                    continue;
                }
                done => done?,
            }
            mounted = true;
            let synced = self.open_root().and_then(|root| root.sync_all());
            match synced {
                Err(e) if wait(e.raw_os_error(), EIO) => {}
                done => return done.map_err(CrashFsError::io(&self.mountpoint)),
            }
        }
    }

    fn mount(&mut self) -> Result<(), CrashFsError> {
        rustix::mount::mount(&self.device, &self.mountpoint, self.kind.name(), MountFlags::empty(), None)
            .map_err(|e| CrashFsError::io(&self.mountpoint)(e.into()))
    }

    /// Opened on its own: of a file system that was shut down, mounted once more, even its root cannot be opened.
    fn open_root(&mut self) -> io::Result<&File> {
        Ok(self.root.insert(File::open(&self.mountpoint)?))
    }
}

/// How long the copies of a mount, or of a file on it, that others hold are waited for.
const COPIES_BOUND: Duration = Duration::from_secs(20);

/// The kernel's answer to everything on a file system that was shut down.
const EIO: i32 = 5;

/// The kernel's answer to an unmount while something is open.
const EBUSY: i32 = 16;

#[expect(
    clippy::disallowed_methods,
    reason = "between two looks of a wait that has a bound and a last error"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

fn not_mounted() -> std::io::Error {
    std::io::Error::other("not mounted")
}

impl Drop for RealDisk {
    fn drop(&mut self) {
        // Nothing on it is wanted any more: without power it is gone at once, instead of being written back first.
        let _ = self.shutdown();
        self.root = None;
        // What cannot be unmounted or detached now is found and taken away by the next one here.
        let _ = rustix::mount::unmount(&self.mountpoint, UnmountFlags::DETACH);
        let _ = loopback::detach(&self.device);
        let _ = std::fs::remove_file(&self.image);
        let _ = std::fs::remove_dir(&self.mountpoint);
    }
}
