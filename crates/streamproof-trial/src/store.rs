//! A copy of a real store, restarted, upgraded or downgraded, and compared. The original is only read.

mod copy;
mod look;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use streamproof_checker::Context;
use streamproof_model::failure::{Code, Failure};
use streamproof_model::op::{Evidence, FaultKind};
use streamproof_model::version::Version;
use streamproof_server::acquire::Binary;
use streamproof_server::{Scratch, ServerError};

use crate::archive::{Archive, ServerRecord};
use crate::live::{io_code, picture_code};
use crate::nemesis::{self, Arsenal};
use crate::picture::proof::{Mode, Proof, Record, Series, Strike, judge, picture_folder};
use crate::picture::take::{ANSWER_LIMIT, Camera, PictureError, Progress, now_ns, take};
use crate::picture::witness::Witnessed;
use crate::report::roles;
use crate::target::NotProven;
use crate::trial::run_id;
use crate::wire::{Login, Wire, WireError};

pub use look::{Account, Store};

/// The faults that a store at rest can be put to beside a change of version.
pub const FAULTS: [FaultKind; 4] =
    [FaultKind::Stop, FaultKind::Restarts, FaultKind::Kill, FaultKind::IndexLost];

/// How long a server may take to recover a store, and to write it down at a stop: with a large one it is minutes.
const START_LIMIT: Duration = Duration::from_secs(1800);
const STOP_LIMIT: Duration = Duration::from_secs(300);
/// What the server may take up: a stream that has reserved more than the disk's share would be refused otherwise.
const LIMITS: &str = "max_file_store: 4611686018427387904\nmax_memory_store: 4611686018427387904";
/// So many lines of the server's log are kept of each start.
const LOG_LINES: usize = 20;

/// What is done with which store.
#[derive(Debug)]
pub struct Options<'a> {
    /// The store.
    pub store: Store,
    /// The server that it is of.
    pub binary: Binary,
    /// The server to upgrade to.
    pub upgrade_to: Option<Binary>,
    /// The server to downgrade to.
    pub downgrade_to: Option<Binary>,
    /// What else to do first, of [`FAULTS`]; without any change of version at least a stop.
    pub faults: &'a [FaultKind],
    /// How the pictures are judged.
    pub context: Context,
    /// The command that does it again.
    pub repeat: String,
    /// The folder that the run's own folder is made in; the copy is made in there too, and removed in the end.
    pub runs: PathBuf,
    /// Set to call it off.
    pub cancel: &'a AtomicBool,
}

/// A step that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    /// So many bytes of the store are copied, of so many.
    Copy(u64, u64),
    /// The server recovers the copy, for the picture of this number.
    Start(String),
    /// Picture of this number, and how far it is.
    Picture(u32, Progress),
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It is no store.
    #[error("{} is no JetStream store: it holds neither jetstream/ nor an account with streams/", .0.display())]
    NotAStore(PathBuf),
    /// A server is at work on it.
    #[error("the store {} is in use by {by}", .store.display())]
    InUse {
        /// The store.
        store: PathBuf,
        /// By whom.
        by: String,
    },
    /// It changed while it was copied.
    #[error("{} changed while it was copied: something writes to the store", .0.display())]
    BeingWritten(PathBuf),
    /// It needs a newer server.
    #[error("{what} was written by a newer nats-server than {version}: {why}")]
    Newer {
        /// Which part of the store.
        what: String,
        /// What shows it.
        why: String,
        /// The server that was to open it.
        version: String,
    },
    /// Its files are encrypted.
    #[error("{} is encrypted, and its key is in no file of ours", .0.display())]
    Encrypted(PathBuf),
    /// No room for the copy.
    #[error("the copy needs {need} bytes in {}, and {free} are free", .folder.display())]
    NoRoom {
        /// Where the copy would be.
        folder: PathBuf,
        /// What it takes.
        need: u64,
        /// What there is.
        free: u64,
    },
    /// The file system.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The first server did not even start on the copy.
    #[error("{0}")]
    Server(ServerError),
    /// No picture.
    #[error("no full picture of the copy could be taken: {0}")]
    Picture(PictureError),
    /// A fault that a store at rest is not put to.
    #[error("{} is not done to a copy of a store; --store takes stop, restarts, kill and index-lost", .0.name())]
    Fault(FaultKind),
    /// Called off.
    #[error("interrupted; the copy is removed, and the original was only read")]
    Cancelled,
}

impl Failure for StoreError {
    fn code(&self) -> Code {
        match self {
            StoreError::NotAStore(_) | StoreError::Fault(_) => Code::Usage,
            StoreError::InUse { .. } | StoreError::BeingWritten(_) => Code::StoreInUse,
            StoreError::Newer { .. } => Code::StoreNewer,
            StoreError::Encrypted(_) => Code::Unsupported,
            StoreError::NoRoom { .. } => Code::DiskFull,
            StoreError::Io { source, .. } => io_code(source),
            StoreError::Server(error) => error.code(),
            StoreError::Picture(error) => picture_code(error),
            StoreError::Cancelled => Code::Interrupted,
        }
    }

    fn help(&self) -> Option<String> {
        Some(
            match self {
                StoreError::NotAStore(_) => {
                    "name the folder that `store_dir` in the server's configuration names, or a copy of it"
                }
                StoreError::InUse { .. } | StoreError::BeingWritten(_) => {
                    "stop that server first, or name a backup of its store;\n\
                     a copy that is taken while a server writes shows nothing"
                }
                StoreError::Newer { .. } => {
                    "name the nats-server that it is of: --server-bin PATH;\n\
                     to see what an older one makes of it: --downgrade-to VERSION"
                }
                StoreError::NoRoom { .. } => "name a folder with room: --out DIR",
                StoreError::Server(error) => return error.help(),
                _ => return None,
            }
            .to_owned(),
        )
    }
}

/// Copies the store, account by account, and takes a picture before and after each thing that is done to the copy.
///
/// # Errors
/// [`StoreError`]. What was lost, or a server that does not start on the copy after a change, is no error but a verdict.
pub fn check(options: &Options<'_>, mut progress: impl FnMut(Doing)) -> Result<Proof, StoreError> {
    let began = Instant::now();
    if let Some(fault) = options.faults.iter().find(|fault| !FAULTS.contains(fault)) {
        return Err(StoreError::Fault(*fault));
    }
    let store = &options.store;
    store.is_free()?;
    store.is_not_newer_than(&options.binary.version, api_level(&options.binary)?)?;
    let (archive, id) =
        Archive::create(&options.runs, &run_id(now_ns(), "store")).map_err(io("create", &options.runs))?;
    let folder = archive.folder();
    let source = store.root.display().to_string();
    let mut record =
        Record::begin(folder, &id, Mode::Store, &source, &options.context).map_err(io("write", folder))?;
    record.repeat.clone_from(&options.repeat);
    let other = |binary: &Option<Binary>| binary.as_ref().map(ServerRecord::of);
    let (up, down) = (other(&options.upgrade_to), other(&options.downgrade_to));
    record.servers = roles(&ServerRecord::of(&options.binary), up.as_ref(), down.as_ref());
    record
        .missing
        .push(NotProven { what: "the rest of the run".to_owned(), why: "it was cut off".to_owned() });
    record.write(folder).map_err(io("write", folder))?;
    record.missing.clear();
    let mut total = copy::Total { bytes: 0, of: store.bytes() };
    for account in &store.accounts {
        let copied =
            copy::Copy::of(account, &folder.join("copy"), &mut total, options.cancel, &mut progress)?;
        let one_of_many = store.accounts.len() > 1;
        let number = record.series.len();
        record.series.push(Series {
            account: one_of_many.then(|| account.name.clone()),
            indexed: account.indexed(),
            ..Series::default()
        });
        series(options, account, copied.path(), folder, number, &mut record, &mut progress)?;
    }
    record.ended = true;
    record.took_ms = began.elapsed().as_millis() as u64;
    record.write(folder).map_err(io("write", folder))?;
    judge(folder).map_err(io("read the pictures in", folder))
}

/// All that is done to the copy of one account.
fn series(
    options: &Options<'_>,
    account: &Account,
    copy: &Path,
    folder: &Path,
    number: usize,
    record: &mut Record,
    progress: &mut dyn FnMut(Doing),
) -> Result<(), StoreError> {
    let mut server = scratch(&options.binary, copy)?;
    let go_on = || if options.cancel.load(Ordering::Relaxed) { Err(StoreError::Cancelled) } else { Ok(()) };
    progress(Doing::Start(options.binary.version.to_string()));
    server.start().map_err(StoreError::Server)?;
    let shoot = |server: &Scratch, picture: u32, progress: &mut dyn FnMut(Doing)| {
        let address: SocketAddr = server.address().parse().map_err(|_| {
            StoreError::Picture(WireError::Protocol(format!("{} is no address", server.address())).into())
        })?;
        let camera = Camera {
            address,
            login: &Login::default(),
            monitor: Some(&server.monitor_address()),
            cancel: options.cancel,
        };
        take(&camera, &picture_folder(folder, number, picture), |at| progress(Doing::Picture(picture, at)))
            .map_err(|error| match error {
                PictureError::Cancelled => StoreError::Cancelled,
                other => StoreError::Picture(other),
            })
    };
    let first = shoot(&server, 0, progress)?;
    for name in account.streams.iter().filter(|name| !first.streams.contains_key(*name)) {
        let log = complaints(&server).into_iter().find(|line| line.contains(name.as_str()));
        record.missing.push(NotProven {
            what: format!("stream {name}"),
            why: format!(
                "it is in the store, and nats-server {} does not offer it{}",
                first.server,
                log.map_or(String::new(), |line| format!(": {line}"))
            ),
        });
    }
    record.series[number].pictures = 1;
    let mut arsenal = Arsenal::new(options.upgrade_to.clone(), options.downgrade_to.clone());
    let (mut now, mut base) = (0, 0);
    for fault in steps(options) {
        go_on()?;
        let before = match fault {
            // What an upgrade and a downgrade leave is held against what was there before both.
            FaultKind::Downgrade => base,
            _ => now,
        };
        if fault == FaultKind::Upgrade {
            base = now;
        }
        let to = match fault {
            FaultKind::Upgrade => options.upgrade_to.as_ref(),
            FaultKind::Downgrade => options.downgrade_to.as_ref(),
            _ => None,
        };
        progress(Doing::Start(to.map_or(server.binary(), |binary| binary).version.to_string()));
        let mut evidence = Evidence::default();
        let struck = nemesis::strike(&mut server, fault, &mut arsenal, &mut evidence);
        let log = complaints(&server);
        let mut strike = Strike {
            fault,
            before,
            after: None,
            evidence,
            ready_us: 0,
            witnessed: Witnessed::default(),
            log,
        };
        match struck {
            Err(error) => {
                strike.evidence.failed = Some(error.to_string());
                record.series[number].strikes.push(strike);
                break;
            }
            Ok(ready) => {
                now += 1;
                shoot(&server, now, progress)?;
                strike.after = Some(now);
                strike.ready_us = ready.as_micros() as u64;
                record.series[number].pictures += 1;
                record.series[number].strikes.push(strike);
            }
        }
    }
    Ok(())
}

/// What is done, in order.
fn steps(options: &Options<'_>) -> Vec<FaultKind> {
    let mut steps = options.faults.to_vec();
    steps.extend(options.upgrade_to.as_ref().map(|_| FaultKind::Upgrade));
    steps.extend(options.downgrade_to.as_ref().map(|_| FaultKind::Downgrade));
    if steps.is_empty() {
        steps.push(FaultKind::Stop);
    }
    steps
}

fn scratch(binary: &Binary, store: &Path) -> Result<Scratch, StoreError> {
    Scratch::builder()
        .binary(binary.clone())
        .in_memory(true)
        .store_dir(store)
        .jetstream(LIMITS)
        .timeout(START_LIMIT)
        .stop_timeout(STOP_LIMIT)
        .prepare()
        .map_err(StoreError::Server)
}

/// The JetStream API level that a server supports; it says so itself from 2.11 on (ADR-44).
fn api_level(binary: &Binary) -> Result<u64, StoreError> {
    let server =
        Scratch::builder().binary(binary.clone()).in_memory(true).start().map_err(StoreError::Server)?;
    let asked = || -> Result<u64, WireError> {
        let address = server
            .address()
            .parse()
            .map_err(|_| WireError::Protocol(format!("{} is no address", server.address())))?;
        let info = Wire::connect(address, &Login::default(), ANSWER_LIMIT)?.api(
            "INFO",
            &Value::Null,
            ANSWER_LIMIT,
        )?;
        Ok(info["api"]["level"].as_u64().unwrap_or(0))
    };
    asked().map_err(|error| StoreError::Picture(error.into()))
}

/// What the server's log complains of.
fn complaints(server: &Scratch) -> Vec<String> {
    let mut lines: Vec<String> = server
        .log_tail(1000)
        .lines()
        .filter(|line| ["[WRN]", "[ERR]", "[FTL]"].iter().any(|mark| line.contains(mark)))
        .map(str::to_owned)
        .collect();
    lines.drain(..lines.len().saturating_sub(LOG_LINES));
    lines
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

/// The first version whose recovery index (`index.db`) has a format, by the number in its second byte: seen on 2.10.25, 2.11.11,
/// 2.12.1, 2.14.6 and the newest (nats-server filestore.go:fullStateVersion).
fn index_format_of(format: u8) -> Option<Version> {
    match format {
        0 | 1 => None,
        2 => Some(Version::new(2, 11, 0)),
        3 => Some(Version::new(2, 12, 0)),
        _ => Some(Version::new(2, 14, 0)),
    }
}
