//! A text notation of logs, for tests, bug reports and whoever wants to try a rule: one operation a line.
//!
//! ```text
//! mkdir d            create d/a           link d/a d/b        unlink d/b        rmdir d
//! write d/a 0 hello  append d/a world     truncate d/a 3      zero d/a 5 100
//! rename d/a d/c     exchange d/a d/c     close d/a
//! fsync d/a          fdatasync d/a        fsyncdir d          fsyncdir .
//! owrite d/a 0 text  dwrite d/a 0 text    (O_SYNC, O_DSYNC)
//! at 35s             settle
//! ```
//!
//! `*N` after a text repeats it: `append a x*5000`. Operations are a millisecond apart; `at` sets the time.

use crate::error::CrashFsError;
use crate::image::{Image, Refusal, RenameMode};
use crate::log::{Ino, Log, Op, Recorder, WriteSync};

const MILLISECOND_NS: u64 = 1_000_000;

/// Reads a log from its text.
///
/// # Errors
/// Where a line is not an operation, or the operation cannot be done.
pub fn parse(text: &str) -> Result<Log, CrashFsError> {
    let mut recorder = Recorder::default();
    let mut now_ns = 0;
    for (i, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let mut words = line.split_whitespace();
        let (verb, args) = (words.next().unwrap_or_default(), words.collect::<Vec<_>>());
        let bad = |what: &str| CrashFsError::Notation { line: i + 1, what: format!("{what}: {line}") };
        if verb == "at" {
            let seconds = args.first().and_then(|a| a.trim_end_matches('s').parse::<f64>().ok());
            now_ns = (seconds.ok_or_else(|| bad("not a time"))? * 1e9) as u64;
            continue;
        }
        now_ns += MILLISECOND_NS;
        perform(&mut recorder, now_ns, verb, &args).map_err(|what| bad(&what))?;
    }
    Ok(recorder.into_log())
}

/// Does one operation, as in the notation.
///
/// # Errors
/// What is wrong with it, in words.
pub fn perform(recorder: &mut Recorder, now_ns: u64, verb: &str, args: &[&str]) -> Result<(), String> {
    let text = |r: Refusal| r.to_string();
    let arg = |i: usize| args.get(i).copied().ok_or_else(|| "an argument is missing".to_owned());
    let number = |i: usize| arg(i)?.parse::<u64>().map_err(|_| "not a number".to_owned());
    let live = recorder.live();
    let op = match verb {
        "write" | "owrite" | "dwrite" | "append" | "zero" => {
            let ino = resolve(live, arg(0)?)?;
            let size = live.content(ino).ok_or("not a file")?.size();
            let (off, bytes) = match verb {
                "append" => (size, repeated(arg(1)?)),
                "zero" => (number(1)?, vec![0; number(2)? as usize]),
                _ => (number(1)?, repeated(arg(2)?)),
            };
            let sync = match verb {
                "owrite" => WriteSync::Full,
                "dwrite" => WriteSync::Data,
                _ => WriteSync::None,
            };
            recorder.write(now_ns, ino, off, &bytes, sync);
            return Ok(());
        }
        "truncate" => Op::Truncate { ino: resolve(live, arg(0)?)?, size: number(1)? },
        "fallocate" => {
            Op::Fallocate { ino: resolve(live, arg(0)?)?, off: number(1)?, len: number(2)?, keep_size: false }
        }
        "create" => {
            let (dir, name) = parent(live, arg(0)?)?;
            live.create(dir, name, 0o644, (0, 0)).map_err(text)?
        }
        "mkdir" => {
            let (dir, name) = parent(live, arg(0)?)?;
            live.mkdir(dir, name, 0o755, (0, 0)).map_err(text)?
        }
        "link" => {
            let (dir, name) = parent(live, arg(1)?)?;
            live.link(resolve(live, arg(0)?)?, dir, name).map_err(text)?
        }
        "unlink" => {
            let (dir, name) = parent(live, arg(0)?)?;
            live.unlink(dir, name).map_err(text)?
        }
        "rmdir" => {
            let (dir, name) = parent(live, arg(0)?)?;
            live.rmdir(dir, name).map_err(text)?
        }
        "rename" | "exchange" => {
            let mode = if verb == "rename" { RenameMode::Replace } else { RenameMode::Exchange };
            match live.rename(parent(live, arg(0)?)?, parent(live, arg(1)?)?, mode).map_err(text)? {
                Some(op) => op,
                None => return Ok(()),
            }
        }
        "close" => Op::Close { ino: resolve(live, arg(0)?)? },
        "fsync" => Op::Fsync { ino: resolve(live, arg(0)?)?, datasync: false },
        "fdatasync" => Op::Fsync { ino: resolve(live, arg(0)?)?, datasync: true },
        "fsyncdir" => Op::FsyncDir { ino: resolve(live, arg(0)?)? },
        "settle" => Op::Settle,
        _ => return Err("not an operation".to_owned()),
    };
    recorder.record(now_ns, op);
    Ok(())
}

fn repeated(text: &str) -> Vec<u8> {
    match text.rsplit_once('*').and_then(|(what, n)| Some((what, n.parse::<usize>().ok()?))) {
        Some((what, n)) => what.repeat(n).into_bytes(),
        None => text.as_bytes().to_vec(),
    }
}

fn resolve(live: &Image, path: &str) -> Result<Ino, String> {
    live.resolve(if path == "." { "" } else { path }).ok_or_else(|| format!("{path} is not there"))
}

fn parent<'a>(live: &Image, path: &'a str) -> Result<(Ino, &'a str), String> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    Ok((resolve(live, dir)?, name))
}
