//! Random sequences of system calls, done on a real ext4 and in the model alike; then the power goes in both.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::io::ReadWriteFlags;
use streamproof_crashfs::log::{Ino, Recorder};
use streamproof_crashfs::notation::perform;
use streamproof_crashfs::real::{Kind, RealDisk};
use streamproof_crashfs::seed::Random;
use streamproof_crashfs::{Cut, Profile, Rules, Sweep, Tree, allows, allows_xfs, early_commits, load, state};

const DIRS: [&str; 3] = ["", "d/", "e/"];
const NAMES: [&str; 4] = ["a", "b", "c", "t"];

/// A sequence of `length` operations that can be done one after the other, in the notation of logs.
pub(crate) fn random_sequence(seed: u64, length: usize) -> Vec<String> {
    let mut random = Random::new(seed);
    let mut recorder = Recorder::default();
    let mut open: std::collections::HashSet<Ino> = std::collections::HashSet::new();
    let mut lines = vec!["mkdir d".to_owned(), "mkdir e".to_owned()];
    let made = lines.iter().all(|line| do_in_model(&mut recorder, 0, line).is_ok());
    assert!(made, "the first directories");
    // Names of two directories and few files, so that they meet.
    let dirs = 1 + random.below(DIRS.len() as u64);
    while lines.len() < length {
        let mut path = || {
            let dir = DIRS[random.below(dirs) as usize];
            format!("{dir}{}", NAMES[random.below(NAMES.len() as u64) as usize])
        };
        let (path, other) = (path(), path());
        let ino = recorder.live().resolve(&path);
        let size = ino.and_then(|i| recorder.live().content(i)).map_or(0, |c| c.size());
        // Sizes around pages, and small ones; a letter tells the writes apart.
        let letter = char::from(b'A' + (lines.len() % 26) as u8);
        let length_of = |random: &mut Random| match random.below(4) {
            0 => 1 + random.below(50),
            1 => 4096 * (1 + random.below(3)),
            2 => 4090 + random.below(12),
            _ => 1 + random.below(9000),
        };
        let line = match random.below(100) {
            0..12 => format!("create {path}"),
            12..32 => format!("append {path} {letter}*{}", length_of(&mut random)),
            32..42 => {
                // Mostly without holes.
                let far = if random.one_in(8) { 9000 } else { 1 };
                format!("write {path} {} {letter}*{}", random.below(size + far), length_of(&mut random))
            }
            42..46 => {
                let verb = if random.one_in(2) { "owrite" } else { "dwrite" };
                format!("{verb} {path} {} {letter}*{}", random.below(size + 1), length_of(&mut random))
            }
            46..50 => format!("truncate {path} 0"),
            50..54 => format!("truncate {path} {}", random.below(size + 5000)),
            54..56 => format!("fallocate {path} {} {}", random.below(size + 1), length_of(&mut random)),
            56..66 => format!("rename {path} {other}"),
            66..67 => format!("exchange {path} {other}"),
            67..69 => format!("link {path} {other}"),
            69..75 => format!("unlink {path}"),
            75..82 => format!("close {path}"),
            82..90 => format!("fsync {path}"),
            90..94 => format!("fdatasync {path}"),
            94..98 => format!("fsyncdir {}", [".", "d", "e"][random.below(3) as usize]),
            98..99 => "rmdir e".to_owned(),
            _ => "mkdir e".to_owned(),
        };
        let verb = line.split(' ').next().unwrap_or_default();
        // A close without an open file is no operation.
        if verb == "close" && ino.is_none_or(|i| !open.remove(&i)) {
            continue;
        }
        if do_in_model(&mut recorder, 0, &line).is_err() {
            continue;
        }
        let opens = matches!(
            verb,
            "create"
                | "append"
                | "write"
                | "owrite"
                | "dwrite"
                | "truncate"
                | "fallocate"
                | "fsync"
                | "fdatasync"
        );
        if opens {
            open.extend(recorder.live().resolve(&path));
        }
        lines.push(line);
    }
    lines
}

fn do_in_model(recorder: &mut Recorder, now_ns: u64, line: &str) -> Result<(), String> {
    let mut words = line.split(' ');
    let verb = words.next().unwrap_or_default();
    perform(recorder, now_ns, verb, &words.collect::<Vec<_>>())
}

/// What came of a sequence.
pub(crate) struct Compared {
    /// Why the model does not allow what the kernel left.
    pub(crate) refused: Option<String>,
    /// Whether the kernel left exactly what the profile `ext4` says.
    pub(crate) is_the_profiles: bool,
    /// The sequence, and what each side has at its end.
    pub(crate) shown: String,
}

/// What comes between the last operation and the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing.
    Cut,
    /// A file outside of what is compared is synced, as another program would: the journal is committed.
    OthersSync,
}

/// Does the sequence `lines` in a directory of its own on `disk`, cuts the power, and compares. `pause` is called
/// with each line before it is done.
pub(crate) fn compare(
    disk: &mut RealDisk,
    lines: &[String],
    ending: Ending,
    pause: impl Fn(&str),
) -> io::Result<Compared> {
    for entry in fs::read_dir(disk.mountpoint())? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    let root = disk.mountpoint().join("sequence");
    fs::create_dir(&root)?;
    disk.sync().map_err(io::Error::other)?;
    let mut recorder = Recorder::default();
    let mut real = Real { root: root.clone(), open: HashMap::new() };
    let origin = Instant::now();
    for line in lines {
        pause(line);
        let before = recorder.live().clone();
        let now_ns = origin.elapsed().as_nanos() as u64;
        do_in_model(&mut recorder, now_ns, line).map_err(|e| io::Error::other(format!("{line}: {e}")))?;
        real.perform(line, |path| before.resolve(path).or_else(|| recorder.live().resolve(path)))
            .map_err(|e| io::Error::other(format!("{line}: {e}")))?;
    }
    pause("");
    if ending == Ending::OthersSync {
        let mut other = File::create(disk.mountpoint().join("other"))?;
        io::Write::write_all(&mut other, b"of another program")?;
        other.sync_all()?;
    }
    let cut_ns = origin.elapsed().as_nanos() as u64;
    disk.shutdown().map_err(io::Error::other)?;
    drop(real);
    disk.remount().map_err(io::Error::other)?;
    let found = load(&root).map_err(io::Error::other)?;
    let tree = Tree::of(found.base());
    let log = recorder.into_log();
    let cut = Cut { ops: log.entries().len(), at_ns: cut_ns };
    let rules = Rules::new(Profile::Ext4);
    let mut sweep = Sweep::new(&log, rules);
    sweep.advance(cut);
    let profiles = match ending {
        Ending::Cut => state(&log, cut, rules),
        Ending::OthersSync => sweep.tree_after_commit().unwrap_or_else(|| sweep.tree()),
    };
    let refused = match disk.kind() {
        Kind::Ext4 => allows(&log, cut, &tree, &found).err(),
        Kind::Xfs => allows_xfs(&log, cut, &tree, &found).err(),
    };
    // The two sides of the model agree: what the profile says, and what it tears, is in the set.
    let own = allows(&log, cut, &profiles, &log).err().map(|why| format!("the profile's own state: {why}"));
    let torn = state(&log, cut, Rules::new(Profile::Torn).with_seed(cut_ns));
    let torn = allows(&log, cut, &torn, &log).err().map(|why| format!("a torn state: {why}"));
    let all: Vec<Cut> = (0..=log.entries().len()).map(|ops| Cut::after(&log, ops)).collect();
    let early = early_commits(&log, &all, rules).into_iter().find_map(|early| {
        let why = allows(&log, early.cut, &early.tree(&log, rules), &log).err()?;
        Some(format!("a state with an early commit, {early:?}: {why}"))
    });
    let (profiles, left) = (profiles.render(&log), tree.render(&found));
    Ok(Compared {
        refused: refused.or(own).or(torn).or(early),
        is_the_profiles: profiles == left,
        shown: format!(
            "{}\n--- the profile's\n{}--- the kernel's\n{}",
            lines.join("\n"),
            shortened(&profiles),
            shortened(&left)
        ),
    })
}

/// Runs of a letter as in the notation.
fn shortened(tree: &str) -> String {
    let mut out = String::new();
    let text = tree.replace("\\x00", "0");
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut count = 1;
        while letters.next_if_eq(&letter).is_some() {
            count += 1;
        }
        out.push(letter);
        if count > 1 {
            out.push_str(&format!("*{count} "));
        }
    }
    out
}

/// The real side: a directory, and the files that are open, by the inode that the model gave them.
struct Real {
    root: PathBuf,
    open: HashMap<Ino, File>,
}

impl Real {
    fn perform(&mut self, line: &str, ino: impl Fn(&str) -> Option<Ino>) -> io::Result<()> {
        let mut words = line.split(' ');
        let verb = words.next().unwrap_or_default();
        let args: Vec<&str> = words.collect();
        let path = args[0];
        let at = self.root.join(path);
        let number = |i: usize| args[i].parse::<u64>().map_err(io::Error::other);
        match verb {
            "mkdir" => return fs::create_dir(at),
            "rmdir" => return fs::remove_dir(at),
            "unlink" => return fs::remove_file(at),
            "link" => return fs::hard_link(at, self.root.join(args[1])),
            "rename" => return fs::rename(at, self.root.join(args[1])),
            "exchange" => {
                let (cwd, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
                return Ok(rustix::fs::renameat_with(cwd, &at, cwd, self.root.join(args[1]), flags)?);
            }
            "fsyncdir" => return File::open(if path == "." { self.root.clone() } else { at })?.sync_all(),
            _ => {}
        }
        let ino = ino(path).ok_or(io::ErrorKind::NotFound)?;
        if verb == "close" {
            self.open.remove(&ino);
            return Ok(());
        }
        let file = match self.open.entry(ino) {
            std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => place
                .insert(OpenOptions::new().read(true).write(true).create_new(verb == "create").open(&at)?),
        };
        let bytes = |i: usize| -> io::Result<Vec<u8>> {
            let (text, count) = args[i].split_once('*').ok_or(io::ErrorKind::InvalidInput)?;
            Ok(text.repeat(count.parse().map_err(io::Error::other)?).into_bytes())
        };
        let synced = |flags| -> io::Result<()> {
            let body = bytes(2)?;
            let done = rustix::io::pwritev2(&*file, &[IoSlice::new(&body)], number(1)?, flags)?;
            if done == body.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
        };
        match verb {
            "create" => Ok(()),
            "append" => file.write_all_at(&bytes(1)?, file.metadata()?.len()),
            "write" => file.write_all_at(&bytes(2)?, number(1)?),
            "owrite" => synced(ReadWriteFlags::SYNC),
            "dwrite" => synced(ReadWriteFlags::DSYNC),
            "truncate" => file.set_len(number(1)?),
            "fallocate" => {
                let flags = rustix::fs::FallocateFlags::empty();
                Ok(rustix::fs::fallocate(&*file, flags, number(1)?, number(2)?)?)
            }
            "fsync" => file.sync_all(),
            "fdatasync" => file.sync_data(),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// The directory in which disks are made for a comparison.
pub(crate) fn place(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("disk{number}"))
}
