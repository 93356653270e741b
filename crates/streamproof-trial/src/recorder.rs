//! The recorder: writes the history as it happens, a call's invocation before the call is sent.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use streamproof_model::op::{Call, Encoder, Event, Meta, Outcome, SubjectId};

/// What has been recorded reaches the file at the latest when this much has come together…
const WRITE_AT_BYTES: usize = 128 * 1024;
/// …or when this much time has passed: a recorder that is killed loses no more than the last second.
const WRITE_EVERY: Duration = Duration::from_millis(500);

/// Writes one history; shared by everyone who acts in a case.
#[derive(Debug)]
pub struct Recorder {
    inner: Mutex<Inner>,
    start: Instant,
    /// The run, as bodies name it.
    pub run: u32,
    began_ns: i64,
}

#[derive(Debug)]
struct Inner {
    encoder: Encoder,
    buffer: Vec<u8>,
    file: File,
    written: Instant,
    next_id: u64,
    subjects: HashMap<String, SubjectId>,
    failure: Option<io::Error>,
    operations: u64,
}

impl Recorder {
    /// Begins a history at `path`.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(path: &Path, meta: Meta) -> io::Result<Recorder> {
        let mut file = File::create(path)?;
        file.write_all(Encoder::magic())?;
        let now = Instant::now();
        let recorder = Recorder {
            run: meta.run,
            began_ns: meta.began_ns,
            inner: Mutex::new(Inner {
                encoder: Encoder::default(),
                buffer: Vec::with_capacity(WRITE_AT_BYTES * 2),
                file,
                written: now,
                next_id: 0,
                subjects: HashMap::new(),
                failure: None,
                operations: 0,
            }),
            start: now,
        };
        recorder.event(&Event::Meta(meta));
        Ok(recorder)
    }

    /// Microseconds since the history began.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// A wall-clock time as microseconds since the history began; negative before it.
    #[must_use]
    pub fn wall_to_run_us(&self, wall_ns: i64) -> i64 {
        (wall_ns - self.began_ns) / 1000
    }

    /// A call is about to be sent; the number is for [`Recorder::done`].
    pub fn invoke(&self, call: &Call) -> u64 {
        let mut inner = self.lock();
        // Taken inside the lock: the order in the file is the order in time.
        let at = self.at();
        let Inner { encoder, buffer, next_id, .. } = &mut *inner;
        let id = *next_id;
        *next_id += 1;
        encoder.invoke(id, at, call, buffer);
        inner.operations += 1;
        inner.write_if_due();
        id
    }

    /// A call has ended.
    pub fn done(&self, id: u64, outcome: Outcome) {
        let mut inner = self.lock();
        let at = self.at();
        let Inner { encoder, buffer, .. } = &mut *inner;
        encoder.done(id, at, outcome, buffer);
        inner.write_if_due();
    }

    /// Something was seen.
    pub fn event(&self, event: &Event) {
        let mut inner = self.lock();
        let at = self.at();
        let Inner { encoder, buffer, .. } = &mut *inner;
        encoder.event(at, event, buffer);
        inner.operations += 1;
        inner.write_if_due();
    }

    /// The number of a subject, which is declared when it is first asked for.
    pub fn subject(&self, name: &str) -> SubjectId {
        let mut inner = self.lock();
        if let Some(id) = inner.subjects.get(name) {
            return *id;
        }
        let id = SubjectId(inner.subjects.len() as u32);
        inner.subjects.insert(name.to_owned(), id);
        let at = self.at();
        let Inner { encoder, buffer, .. } = &mut *inner;
        encoder.event(at, &Event::DeclareSubject { id, name: name.to_owned() }, buffer);
        id
    }

    /// How many calls and events there are so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Writes out what is buffered; the first error of any write so far is returned.
    ///
    /// # Errors
    /// If the file could not be written.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.write();
        inner.failure.take().map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked while it recorded left whole frames behind: the buffer only ever grows by frames.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write_if_due(&mut self) {
        if self.buffer.len() >= WRITE_AT_BYTES || self.written.elapsed() >= WRITE_EVERY {
            self.write();
        }
    }

    fn write(&mut self) {
        if let Err(error) = self.file.write_all(&self.buffer) {
            self.failure.get_or_insert(error);
        }
        self.buffer.clear();
        self.written = Instant::now();
    }
}
