//! Runs candidates, each on a server of its own and on whatever its faults need: a disk that fills up, a container, a file system
//! whose power goes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use streamproof_checker::{Blame, Context, FaultVerdict, Finding};
use streamproof_model::op::FaultKind;
use streamproof_server::Scratch;

use super::reduce::Subject;
use crate::contained::Contained;
use crate::judge::judge;
use crate::nemesis::Arsenal;
use crate::run::{Setup, run_case};
use crate::small_disk::SmallDisk;
use crate::target::NotProven;
use crate::trial::{Options, scratch};
use crate::wire::Login;

#[cfg(target_os = "linux")]
use crate::power_cut::again::{Shown, Stand};

/// So long the crash states of one candidate are tried.
#[cfg(target_os = "linux")]
const STATES_FOR: Duration = Duration::from_secs(4);
/// Room for the store of a candidate on a real file system; sparse.
#[cfg(target_os = "linux")]
const DISK_BYTES: u64 = 256 << 20;

/// The same failure; whichever fault it shows under, since a shorter case may do with a milder one.
pub(super) fn same(one: &Finding, other: &Finding) -> bool {
    one.invariant == other.invariant
        && one.class == other.class
        && one.target == other.target
        && one.blame == Blame::Server
        && one.fault.is_some()
}

/// Runs candidates.
pub(super) struct Bench<'a> {
    pub(super) options: &'a Options,
    login: Login,
    context: Context,
    finding: &'a Finding,
    cancel: &'a AtomicBool,
    /// Without the project's own server configuration.
    pub(super) plain: bool,
    folder: PathBuf,
    /// The history and the log of the last candidate that failed.
    pub(super) kept: (PathBuf, PathBuf),
    /// What the finding looked like in it.
    pub(super) last: Option<Finding>,
    /// It is shown by a crash state of a recording, not by what happened in it.
    pub(super) by_state: bool,
    #[cfg(target_os = "linux")]
    stand: Option<Stand>,
    /// The crash state of the last candidate that failed; its store is in [`Bench::store`].
    #[cfg(target_os = "linux")]
    shown: Option<Shown>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        options: &'a Options,
        run: &Path,
        context: Context,
        finding: &'a Finding,
        cancel: &'a AtomicBool,
    ) -> io::Result<Bench<'a>> {
        let folder = run.join("shrink");
        fs::create_dir_all(&folder)?;
        Ok(Bench {
            options,
            login: options.credentials.clone().into(),
            context: Context { asked: Vec::new(), ..context },
            finding,
            cancel,
            plain: false,
            kept: (folder.join("kept.history"), folder.join("kept.log")),
            folder,
            last: None,
            by_state: false,
            #[cfg(target_os = "linux")]
            stand: None,
            #[cfg(target_os = "linux")]
            shown: None,
        })
    }

    /// Whether a candidate fails as the finding says.
    pub(super) fn fails(&mut self, subject: &Subject) -> bool {
        let options = if self.plain {
            Options {
                server_conf: None,
                credentials: streamproof_server::wire::Credentials::None,
                ..self.options.clone()
            }
        } else {
            self.options.clone()
        };
        #[cfg(target_os = "linux")]
        if self.by_state {
            return self.state_fails(subject, &options).unwrap_or(false);
        }
        self.run_fails(subject, &options).unwrap_or(false)
    }

    fn setup<'s>(&self, subject: &'s Subject) -> Setup<'s>
    where
        'a: 's,
    {
        const NOTES: &[NotProven] = &[];
        Setup {
            targets: &subject.targets,
            notes: NOTES,
            login: if self.plain { Login::default() } else { self.login.clone() },
            run_id: "shrink",
            cancel: self.cancel,
        }
    }

    /// None where a candidate could not be run: it shows nothing.
    fn run_fails(&mut self, subject: &Subject, options: &Options) -> Option<bool> {
        let has = |fault: FaultKind| subject.case.legs.iter().any(|leg| leg.fault == fault);
        // What the server stands on goes after it.
        let mut arsenal = Arsenal::new(options.upgrade_to.clone(), options.downgrade_to.clone());
        if has(FaultKind::DiskFull) {
            arsenal.small_disk = Some(SmallDisk::mount().ok()?);
        }
        let mut server = self.server(options, &mut arsenal, has(FaultKind::PowerCutExt4))?;
        if has(FaultKind::Recreate) {
            arsenal.container = Some(Contained::around(&mut server).ok()?);
        }
        let history = self.folder.join("candidate.history");
        let began_ns = crate::picture::take::now_ns();
        run_case(&self.setup(subject), &subject.case, &mut server, &mut arsenal, &history, began_ns).ok()?;
        let verdict = judge(&history, &self.context).ok()?;
        // Where no write was refused, the disk was not full.
        let filled = |of: &FaultVerdict| of.fault == FaultKind::DiskFull.name() && of.bites > 0;
        if has(FaultKind::DiskFull) && !verdict.faults.iter().any(filled) {
            return None;
        }
        let found = verdict.findings.into_iter().find(|one| same(one, self.finding))?;
        self.last = Some(found);
        // What is not kept can be made again.
        fs::rename(&history, &self.kept.0).ok();
        fs::copy(server.log_path(), &self.kept.1).ok();
        // It has files open on the disk.
        drop(server);
        Some(true)
    }

    #[cfg(target_os = "linux")]
    fn server(&self, options: &Options, arsenal: &mut Arsenal, on_disk: bool) -> Option<Scratch> {
        use streamproof_crashfs::real::{Kind, RealDisk};
        if !on_disk {
            return scratch(options, arsenal.small_disk.as_ref()).ok();
        }
        let disk = RealDisk::create(&self.folder.join("disk"), Kind::Ext4, DISK_BYTES).ok()?;
        let store = disk.mountpoint().join("store");
        arsenal.disk = Some(disk);
        crate::trial::builder(options).store_dir(store).start().ok()
    }

    #[cfg(not(target_os = "linux"))]
    fn server(&self, options: &Options, arsenal: &mut Arsenal, _: bool) -> Option<Scratch> {
        scratch(options, arsenal.small_disk.as_ref()).ok()
    }

    /// Where the store is that the last crash state left.
    fn store(&self) -> PathBuf {
        self.folder.join("kept-store")
    }

    #[cfg(target_os = "linux")]
    fn state_fails(&mut self, subject: &Subject, options: &Options) -> Option<bool> {
        // The power goes at the end of the recording, whatever has been left out.
        if subject.case.legs.last()?.fault != FaultKind::PowerCut {
            return None;
        }
        let stand = match self.stand.take() {
            Some(stand) => stand,
            None => Stand::new(crate::trial::builder(options)).ok()?,
        };
        let history = self.folder.join("candidate.history");
        let store = self.folder.join("candidate-store");
        let shown = stand.shows(
            &self.setup(subject),
            &subject.case,
            &self.context,
            (&self.folder, &history, &store),
            || Instant::now() + STATES_FOR,
            |one| same(one, self.finding),
        );
        // Another configuration is another server.
        self.stand = Some(stand);
        let shown = shown.ok()??;
        self.last = Some(shown.finding.clone());
        fs::rename(&history, &self.kept.0).ok();
        fs::remove_dir_all(self.store()).ok();
        fs::rename(&store, self.store()).ok()?;
        self.shown = Some(shown);
        Some(true)
    }

    /// When the power went in the last candidate that failed, in µs of its history.
    pub(super) fn cut_us(&self) -> Option<u64> {
        #[cfg(target_os = "linux")]
        return self.shown.as_ref().map(|shown| shown.cut_us);
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Puts the store that the last crash state left at `place`; none where there is none.
    pub(super) fn keep_store(&self, place: &Path) -> io::Result<Option<PathBuf>> {
        if self.cut_us().is_none() {
            return Ok(None);
        }
        fs::rename(self.store(), place)?;
        Ok(Some(place.to_owned()))
    }

    /// What the file system had been asked for when the power went, for a report.
    pub(super) fn of_the_cut(&self) -> Vec<String> {
        #[cfg(target_os = "linux")]
        if let Some(shown) = &self.shown {
            let (after, all) = shown.after;
            let mut lines = vec![
                "## The cut\n".to_owned(),
                format!(
                    "The power went after operation {after} of {all} of the file system that the store was on, with {} bytes \
                     written and not durable. What ext4 leaves then, by the model of it, is the store beside this report. The \
                     last operations before, with their numbers:\n",
                    shown.unsynced_bytes
                ),
                "```".to_owned(),
            ];
            lines.extend(shown.operations.iter().cloned());
            lines.push("```\n".to_owned());
            return lines;
        }
        Vec::new()
    }

    /// From now on with the project's own server configuration.
    pub(super) fn with_configuration(&mut self) {
        self.plain = false;
        #[cfg(target_os = "linux")]
        {
            self.stand = None;
        }
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
