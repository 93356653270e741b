//! What is being measured and how far it is, for whoever watches; and the word to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Shared between the one that measures and the one that watches.
#[derive(Debug, Default)]
pub struct Progress {
    doing: Mutex<String>,
    done: AtomicU64,
    of: AtomicU64,
    stop: AtomicBool,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What is being measured.
    pub doing: String,
    /// Messages done.
    pub done: u64,
    /// Of so many; 0 where that is not known.
    pub of: u64,
}

impl Progress {
    /// As of now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            doing: self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            done: self.done(),
            of: self.of.load(Ordering::Relaxed),
        }
    }

    /// The measurement ends soon, with [`BenchError::Interrupted`](crate::BenchError::Interrupted).
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self, doing: String, of: u64) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = doing;
        self.done.store(0, Ordering::Relaxed);
        self.of.store(of, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, messages: u64) {
        self.done.fetch_add(messages, Ordering::Relaxed);
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}
