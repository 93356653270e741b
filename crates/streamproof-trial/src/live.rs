//! The server that is up, stopped and started: a picture before, a picture after, and what differs. Nothing is published.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use streamproof_checker::Context;
use streamproof_model::failure::{Code, Failure};
use streamproof_model::op::{Evidence, FaultKind};

use crate::archive::{Archive, ServerRecord};
use crate::picture::proof::{Mode, Proof, Record, Series, Strike, judge, picture_folder};
use crate::picture::take::{Camera, PictureError, Progress, now_ns, take};
use crate::picture::witness::{Witness, Witnessed};
use crate::trial::run_id;
use crate::wire::{Login, WireError};

/// Whose server, and what to do to it.
#[derive(Debug)]
pub struct Live<'a> {
    /// Its client address.
    pub address: SocketAddr,
    /// Its monitoring pages.
    pub monitor: String,
    /// How to log in.
    pub login: Login,
    /// Where it came from, as far as that is known; its version is what it says itself.
    pub server: ServerRecord,
    /// The command that does it again.
    pub repeat: String,
    /// What to do to it, in order; each is followed by a picture.
    pub faults: &'a [FaultKind],
    /// How the pictures are judged.
    pub context: Context,
    /// The folder that the run's own folder is made in.
    pub runs: PathBuf,
    /// Set to call it off.
    pub cancel: &'a AtomicBool,
}

/// What was done to the server, as whoever did it saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Struck {
    /// Its process before.
    pub pid_before: u32,
    /// Its process after; 0 where it did not come back.
    pub pid_after: u32,
    /// The version that is started.
    pub version_after: Option<String>,
    /// From start to ready, in µs.
    pub ready_us: u64,
    /// Why it did not come back.
    pub failed: Option<String>,
    /// What its log says of its recovery.
    pub log: Vec<String>,
}

/// A step that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    /// Picture of this number, and how far it is.
    Picture(u32, Progress),
    /// The server is struck.
    Strike(FaultKind),
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The server could not be looked at before anything was done to it.
    #[error("no full picture of the server could be taken: {0}")]
    Picture(PictureError),
    /// It was restarted, and could not be looked at afterwards.
    #[error("the server was restarted and runs, and no full picture of it could be taken: {source}; pictures so far in {}", .folder.display())]
    After {
        /// Why.
        source: PictureError,
        /// The run's folder.
        folder: PathBuf,
    },
    /// The folder of the run.
    #[error("cannot write {}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Called off before the server was touched.
    #[error("interrupted; the server was not touched and runs as before")]
    Untouched,
    /// Called off after the server had been struck: it was started again first.
    #[error("interrupted; the server was restarted and is up again, and nothing was compared")]
    UpAgain,
    /// Called off, and the server is not up.
    #[error("interrupted, and the server did not come up again: {0}")]
    Down(String),
}

impl Failure for LiveError {
    fn code(&self) -> Code {
        match self {
            LiveError::Picture(error) | LiveError::After { source: error, .. } => picture_code(error),
            LiveError::Io { source, .. } => io_code(source),
            LiveError::Untouched | LiveError::UpAgain | LiveError::Down(_) => Code::Interrupted,
        }
    }

    fn help(&self) -> Option<String> {
        matches!(self, LiveError::Down(_)).then(|| {
            "cargo xtask up     starts it again on its data\ncargo xtask logs   says why it did not"
                .to_owned()
        })
    }
}

pub(crate) fn picture_code(error: &PictureError) -> Code {
    match error {
        PictureError::Wire(WireError::Refused(_)) => Code::AccessDenied,
        PictureError::Wire(WireError::Timeout { .. }) => Code::Timeout,
        PictureError::Wire(WireError::Api { code: 503, .. }) => Code::NoJetstream,
        PictureError::Wire(WireError::Api { .. }) => Code::ServerRefused,
        PictureError::Wire(_) => Code::Unreachable,
        PictureError::Io { source, .. } => io_code(source),
        PictureError::Cancelled => Code::Interrupted,
    }
}

pub(crate) fn io_code(source: &std::io::Error) -> Code {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => Code::Permission,
        std::io::ErrorKind::StorageFull => Code::DiskFull,
        std::io::ErrorKind::InvalidData => Code::InvalidHistory,
        _ => Code::Io,
    }
}

/// Takes a picture, lets `strike` stop and start the server, and takes another, for each fault; and compares.
///
/// Once the server has been struck it is brought up again whatever happens: `strike` is not called off.
///
/// # Errors
/// [`LiveError`]. What was lost, or a server that did not come back, is no error but a verdict.
pub fn check(
    live: &Live<'_>,
    mut strike: impl FnMut(FaultKind) -> Struck,
    mut progress: impl FnMut(Doing),
) -> Result<Proof, LiveError> {
    let began = Instant::now();
    let cancelled = || live.cancel.load(Ordering::Relaxed);
    let io = |path: &std::path::Path| {
        let path = path.to_owned();
        move |source| LiveError::Io { path, source }
    };
    let (archive, id) = Archive::create(&live.runs, &run_id(now_ns(), "live")).map_err(io(&live.runs))?;
    let folder = archive.folder();
    let source = format!("{}", live.address);
    let mut record = Record::begin(folder, &id, Mode::Live, &source, &live.context).map_err(io(folder))?;
    record.series.push(Series::default());
    record.repeat.clone_from(&live.repeat);
    record.write(folder).map_err(io(folder))?;
    let monitor = live.monitor.as_str();
    let camera =
        Camera { address: live.address, login: &live.login, monitor: Some(monitor), cancel: live.cancel };
    let listen = || Witness::begin(live.address, &live.login).map_err(PictureError::from);
    let mut witness = Some(listen().map_err(LiveError::Picture)?);
    let mut number = 0;
    let first = take(&camera, &picture_folder(folder, 0, number), |at| progress(Doing::Picture(number, at)));
    let mut version = match first {
        Ok(picture) => picture.server,
        Err(PictureError::Cancelled) => return Err(LiveError::Untouched),
        Err(error) => return Err(LiveError::Picture(error)),
    };
    record.series[0].pictures = 1;
    record.servers =
        vec![("server".to_owned(), ServerRecord { version: version.clone(), ..live.server.clone() })];
    let mut heard = Witnessed::default();
    for fault in live.faults {
        if cancelled() {
            return Err(if number == 0 { LiveError::Untouched } else { LiveError::UpAgain });
        }
        progress(Doing::Strike(*fault));
        let struck = strike(*fault);
        let mut witnessed = witness.take().map(Witness::end).unwrap_or_default();
        witnessed.add(&heard);
        let mut evidence = Evidence {
            pid_before: struck.pid_before,
            pid_after: struck.pid_after,
            restarts: 1,
            version_before: Some(version.clone()),
            version_after: struck.version_after.clone(),
            failed: struck.failed.clone(),
            ..Evidence::default()
        };
        if let Some(why) = struck.failed {
            if cancelled() {
                return Err(LiveError::Down(why));
            }
            record.series[0].strikes.push(Strike {
                fault: *fault,
                before: number,
                after: None,
                evidence,
                ready_us: 0,
                witnessed,
                log: struck.log,
            });
            break;
        }
        if cancelled() {
            return Err(LiveError::UpAgain);
        }
        let after = |source: PictureError| match source {
            PictureError::Cancelled => LiveError::UpAgain,
            source => LiveError::After { source, folder: folder.to_owned() },
        };
        let listening = listen().map_err(after)?;
        let next = number + 1;
        let picture =
            take(&camera, &picture_folder(folder, 0, next), |at| progress(Doing::Picture(next, at)))
                .map_err(after)?;
        record.series[0].pictures += 1;
        // What comes later belongs to the next fault, and what came while the picture was taken to both.
        witness = Some(listen().map_err(after)?);
        heard = listening.end();
        witnessed.add(&heard);
        evidence.version_after = Some(picture.server.clone());
        record.series[0].strikes.push(Strike {
            fault: *fault,
            before: number,
            after: Some(next),
            evidence,
            ready_us: struck.ready_us,
            witnessed,
            log: struck.log,
        });
        version = picture.server;
        number = next;
    }
    record.ended = true;
    record.took_ms = began.elapsed().as_millis() as u64;
    record.write(folder).map_err(io(folder))?;
    judge(folder).map_err(io(folder))
}
