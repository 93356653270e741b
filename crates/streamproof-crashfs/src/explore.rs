//! Explores crash states: builds each in a directory of its own and hands it to a closure, several at a time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use crate::cuts::CrashState;
use crate::disk::materialise;
use crate::error::CrashFsError;
use crate::log::Log;
use crate::profile::Rules;
use crate::state::Sweep;
use crate::tree::Tree;

/// Where, and so how many at a time.
#[derive(Debug, Clone)]
pub struct Places {
    /// A directory for each worker, made and removed by it; best on tmpfs.
    pub dirs: Vec<PathBuf>,
}

impl Places {
    /// Below `name` under /dev/shm where that can be written, else under `fallback`; a worker for each core.
    #[must_use]
    pub fn fastest(name: &str, fallback: &Path) -> Self {
        let shm = Path::new("/dev/shm").join(name);
        let dir = if std::fs::create_dir_all(&shm).is_ok() { shm } else { fallback.join(name) };
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Places::below(&dir, workers)
    }

    /// So many directories below `dir`.
    #[must_use]
    pub fn below(dir: &Path, workers: usize) -> Self {
        Places { dirs: (0..workers).map(|worker| dir.join(format!("w{worker}"))).collect() }
    }
}

/// What the closure is given.
#[derive(Debug)]
pub struct Visit<'a> {
    /// The directory that holds the state; it is the closure's own until it returns.
    pub dir: &'a Path,
    /// Which worker this is, from 0: for ports and names that must differ.
    pub worker: usize,
    /// The state.
    pub state: &'a CrashState,
    /// The state as a tree, to record a recovery from it ([`Log::from_tree`]).
    pub tree: &'a Tree,
}

/// Builds every state of `states` and calls `visit` with each. The answers come back in the order of `states`.
///
/// `visit` may break the search off by an error: the states that were not begun by then are not visited, and the
/// first error is returned.
///
/// # Errors
/// The first error of `visit`, or of writing a state to disk.
pub fn explore<R, E, F>(
    log: &Log,
    states: &[CrashState],
    rules: Rules,
    places: &Places,
    visit: F,
) -> Result<Vec<R>, E>
where
    R: Send,
    E: From<CrashFsError> + Send,
    F: Fn(&Visit<'_>) -> Result<R, E> + Sync,
{
    let workers = places.dirs.len().clamp(1, states.len().max(1));
    let (send, receive) = mpsc::sync_channel::<(usize, Tree)>(workers * 2);
    let receive = Mutex::new(receive);
    let answers: Mutex<Vec<Option<R>>> = Mutex::new(states.iter().map(|_| None).collect());
    let first_error: Mutex<Option<E>> = Mutex::new(None);
    let stop = AtomicBool::new(false);
    let fail = |e: E| {
        stop.store(true, Ordering::Relaxed);
        lock(&first_error).get_or_insert(e);
    };
    std::thread::scope(|scope| {
        for (worker, dir) in places.dirs.iter().enumerate().take(workers) {
            let (receive, answers, stop, visit, fail) = (&receive, &answers, &stop, &visit, &fail);
            scope.spawn(move || {
                loop {
                    let next = lock(receive).recv();
                    let Ok((at, tree)) = next else { break };
                    if stop.load(Ordering::Relaxed) {
                        continue;
                    }
                    let state = &states[at];
                    let answer = materialise(log, &tree, dir)
                        .map_err(E::from)
                        .and_then(|()| visit(&Visit { dir, worker, state, tree: &tree }));
                    match answer {
                        Ok(answer) => lock(answers)[at] = Some(answer),
                        Err(e) => fail(e),
                    }
                }
                let _ = std::fs::remove_dir_all(dir);
            });
        }
        // One pass.
        let mut order: Vec<usize> = (0..states.len()).collect();
        order.sort_by_key(|&i| states[i].made_at());
        let mut sweep = Sweep::new(log, rules);
        for at in order {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            sweep.advance(states[at].made_at());
            if send.send((at, states[at].made_by(&sweep))).is_err() {
                break;
            }
        }
        drop(send);
    });
    // Where nothing else is in it.
    places.dirs.first().and_then(|dir| dir.parent()).map(std::fs::remove_dir);
    match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(e) => Err(e),
        None => {
            Ok(answers.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect())
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
