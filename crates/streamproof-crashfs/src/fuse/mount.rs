//! A recording: the mount, the moment the power goes, and the log that is left.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuser::{BackgroundSession, Config, Errno, MountOption, SessionACL};

use super::filesystem::CrashFs;
use super::stale::{SUBTYPE, clean_stale, is_mounted};
use crate::error::CrashFsError;
use crate::log::{Cut, Log, Op, Recorder};

/// The memory that a recording may take unless said otherwise: ten times what a minute's workload writes.
const LIMIT_BYTES: u64 = 2 << 30;

/// How a recording is mounted.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// Whether other users, and so containers, may use it. Needs root, or `user_allow_other` in /etc/fuse.conf.
    pub allow_other: bool,
    /// The memory that the log may take, in bytes. At the limit the power goes, and the recording says so by name.
    pub limit_bytes: u64,
}

impl Default for MountOptions {
    fn default() -> Self {
        MountOptions { allow_other: false, limit_bytes: LIMIT_BYTES }
    }
}

/// What was counted so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// Operations in the log.
    pub ops: usize,
    /// What the log takes, in bytes.
    pub memory_bytes: u64,
    /// Operations by kind. No `fsync` where the server was to sync means that something is wrong.
    pub counts: std::collections::BTreeMap<&'static str, usize>,
}

/// Whether a recording could be mounted here, and if not, why.
///
/// # Errors
/// One for each of: no `/dev/fuse`, no right to open it, no `fusermount3`, no `user_allow_other`.
pub fn available(allow_other: bool) -> Result<(), CrashFsError> {
    let device = Path::new("/dev/fuse");
    match std::fs::OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(CrashFsError::FuseDeviceDenied(e));
        }
        Err(_) => return Err(CrashFsError::NoFuseDevice),
    }
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if std::process::Command::new("fusermount3").arg("-V").output().is_err() {
        return Err(CrashFsError::NoFusermount);
    }
    let conf = std::fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    if allow_other && !conf.lines().any(|line| line.trim() == "user_allow_other") {
        return Err(CrashFsError::NoAllowOther);
    }
    Ok(())
}

/// What the file system and its guard share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    dead: AtomicBool,
    full: AtomicBool,
    /// The time of the power cut, in nanoseconds since the recording began; 0 while it is on.
    cut_ns: AtomicU64,
    origin: Instant,
    pub(super) wall_origin: Duration,
    pub(super) limit_bytes: u64,
    writers: Mutex<HashMap<u64, usize>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) recorder: Recorder,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time for the next line of the log, or EIO where the power is gone. The state is locked by then, so no line
    /// can follow the cut.
    pub(super) fn alive(&self, _locked: &State) -> Result<u64, Errno> {
        if self.dead.load(Ordering::SeqCst) { Err(Errno::EIO) } else { Ok(self.now_ns()) }
    }

    pub(super) fn check_limit(&self, locked: &State) {
        if locked.recorder.log().memory_bytes() > self.limit_bytes {
            self.full.store(true, Ordering::SeqCst);
            self.die(locked);
        }
    }

    fn die(&self, _locked: &State) {
        if !self.dead.swap(true, Ordering::SeqCst) {
            self.cut_ns.store(self.now_ns(), Ordering::SeqCst);
        }
    }

    fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    pub(super) fn opened(&self, ino: u64, writable: bool) {
        if writable {
            *self.writers.lock().unwrap_or_else(PoisonError::into_inner).entry(ino).or_insert(0) += 1;
        }
    }

    /// Whether that was the last handle that could write.
    pub(super) fn closed(&self, ino: u64, writable: bool) -> bool {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        match writers.get_mut(&ino) {
            Some(count) if writable && *count > 1 => {
                *count -= 1;
                false
            }
            Some(_) if writable => {
                writers.remove(&ino);
                true
            }
            _ => false,
        }
    }
}

/// A mounted file system that records. Unmounted when it is dropped: end the server first.
#[derive(Debug)]
pub struct Recording {
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    mountpoint: PathBuf,
}

impl Recording {
    /// Mounts at `mountpoint`, a directory that is made if it is not there; a stale mount in its place or beside it is
    /// cleaned first. `from` is what the file system holds at the beginning, as durable.
    ///
    /// # Errors
    /// Where FUSE is not available, or somebody alive has it mounted.
    pub fn mount(mountpoint: &Path, from: Log, options: &MountOptions) -> Result<Self, CrashFsError> {
        available(options.allow_other)?;
        if let Some(parent) = mountpoint.parent() {
            clean_stale(parent)?;
        }
        std::fs::create_dir_all(mountpoint).map_err(CrashFsError::io(mountpoint))?;
        let mountpoint = mountpoint.canonicalize().map_err(CrashFsError::io(mountpoint))?;
        if is_mounted(&mountpoint) {
            return Err(CrashFsError::Mounted(mountpoint));
        }
        let mut recorder = Recorder::new(from);
        if options.allow_other && recorder.log().entries().is_empty() {
            // A container's user is not ours: the root of the store must be writable for it.
            let mut log = recorder.into_log();
            log.base_dir("", 0o777, (0, 0));
            recorder = Recorder::new(log);
        } else if recorder.log().entries().is_empty() {
            let mut log = recorder.into_log();
            let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            log.base_dir("", 0o755, owner);
            recorder = Recorder::new(log);
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(State { recorder }),
            dead: AtomicBool::new(false),
            full: AtomicBool::new(false),
            cut_ns: AtomicU64::new(0),
            origin: Instant::now(),
            wall_origin: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            limit_bytes: options.limit_bytes,
            writers: Mutex::default(),
        });
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName(format!("{SUBTYPE}:{}", std::process::id())),
            MountOption::Subtype(SUBTYPE.to_owned()),
            MountOption::DefaultPermissions,
            MountOption::NoAtime,
        ];
        config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
        config.n_threads = Some(1);
        let session = fuser::spawn_mount(CrashFs::new(shared.clone()), &mountpoint, &config)
            .map_err(CrashFsError::io(&mountpoint))?;
        Ok(Recording { shared, session: Some(session), mountpoint })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// The moment the recording began; times of the log count from it.
    #[must_use]
    pub fn origin(&self) -> Instant {
        self.shared.origin
    }

    /// A moment as a time of the log, in nanoseconds: for the times of acknowledgements.
    #[must_use]
    pub fn at_ns(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.shared.origin).as_nanos() as u64
    }

    /// What was counted so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let state = self.shared.state();
        let log = state.recorder.log();
        Statistics { ops: log.entries().len(), memory_bytes: log.memory_bytes(), counts: log.counts() }
    }

    /// Makes all that was done so far durable, in every profile.
    pub fn settle(&self) {
        let mut state = self.shared.state();
        if let Ok(at_ns) = self.shared.alive(&state) {
            state.recorder.record(at_ns, Op::Settle);
        }
    }

    /// Cuts the power: every later change is EIO, and not in the log. To be called *before* the server is killed, or
    /// its last writes would land after the cut.
    pub fn cut(&self) -> Cut {
        let state = self.shared.state();
        self.shared.die(&state);
        Cut { ops: state.recorder.log().entries().len(), at_ns: self.shared.cut_ns.load(Ordering::SeqCst) }
    }

    /// Whether the recording reached its limit of memory, and cut the power itself.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::SeqCst)
    }

    /// Cuts the power if that was not done, unmounts and gives the log. The server must be gone by then.
    ///
    /// # Errors
    /// Where it cannot be unmounted, and where the recording reached its limit of memory.
    pub fn finish(mut self) -> Result<Log, CrashFsError> {
        self.cut();
        self.unmount()?;
        let mut state = self.shared.state();
        let log = std::mem::take(&mut state.recorder).into_log();
        if self.is_full() {
            let (limit_bytes, ops) = (self.shared.limit_bytes, log.entries().len());
            return Err(CrashFsError::RecordingFull { limit_bytes, ops });
        }
        Ok(log)
    }

    fn unmount(&mut self) -> Result<(), CrashFsError> {
        let Some(session) = self.session.take() else { return Ok(()) };
        // fuser leaves a busy mount behind, alive until this process ends. Detaching it first takes the name away at
        // once; the file system itself ends with its last open file.
        super::stale::detach(&self.mountpoint)?;
        if is_mounted(&self.mountpoint) {
            let source = std::io::Error::other("still mounted");
            return Err(CrashFsError::Unmount { path: self.mountpoint.clone(), source });
        }
        drop(session);
        Ok(())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.cut();
        // The next command cleans up what cannot be unmounted now.
        let _ = self.unmount();
    }
}
