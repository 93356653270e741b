//! The recorder: writes the history as it happens, a call's invocation before the call is sent.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use streamproof_model::op::{Call, Encoder, Event, Meta, Outcome, Record, SubjectId};

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
    sink: Sink,
    next_id: u64,
    subjects: HashMap<String, SubjectId>,
    failure: Option<io::Error>,
    operations: u64,
}

/// Where records go.
#[derive(Debug)]
enum Sink {
    /// Into a file, some at a time.
    File { encoder: Encoder, buffer: Vec<u8>, file: File, written: Instant },
    /// Into memory: what follows the beginning of another history.
    Memory(Vec<Record>),
    /// Nowhere: to see what recording costs.
    Nowhere,
}

/// What a history in memory goes on from: the names and numbers of the one that it continues.
#[derive(Debug, Clone)]
pub(crate) struct Continued {
    pub(crate) run: u32,
    pub(crate) began_ns: i64,
    pub(crate) start: Instant,
    pub(crate) next_id: u64,
    pub(crate) subjects: HashMap<String, SubjectId>,
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
                sink: Sink::File {
                    encoder: Encoder::default(),
                    buffer: Vec::with_capacity(WRITE_AT_BYTES * 2),
                    file,
                    written: now,
                },
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

    /// One that gives out numbers and records nothing: with it one sees what recording costs.
    #[must_use]
    pub fn silent(meta: &Meta) -> Recorder {
        Recorder {
            run: meta.run,
            began_ns: meta.began_ns,
            start: Instant::now(),
            inner: Mutex::new(Inner {
                sink: Sink::Nowhere,
                next_id: 0,
                subjects: HashMap::new(),
                failure: None,
                operations: 0,
            }),
        }
    }

    /// Goes on in memory where another history is left off: same run, same clock, same names.
    pub(crate) fn continuing(from: &Continued) -> Recorder {
        Recorder {
            run: from.run,
            began_ns: from.began_ns,
            start: from.start,
            inner: Mutex::new(Inner {
                sink: Sink::Memory(Vec::new()),
                next_id: from.next_id,
                subjects: from.subjects.clone(),
                failure: None,
                operations: 0,
            }),
        }
    }

    /// What another history needs to go on from this one.
    pub(crate) fn continued(&self) -> Continued {
        let inner = self.lock();
        Continued {
            run: self.run,
            began_ns: self.began_ns,
            start: self.start,
            next_id: inner.next_id,
            subjects: inner.subjects.clone(),
        }
    }

    /// What was recorded in memory.
    pub(crate) fn into_records(self) -> Vec<Record> {
        match self.inner.into_inner().unwrap_or_else(PoisonError::into_inner).sink {
            Sink::Memory(records) => records,
            Sink::File { .. } | Sink::Nowhere => Vec::new(),
        }
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
        let id = inner.next_id;
        inner.next_id += 1;
        match &mut inner.sink {
            Sink::File { encoder, buffer, .. } => encoder.invoke(id, at, call, buffer),
            Sink::Memory(records) => records.push(Record::Invoke { id, at, call: call.clone() }),
            Sink::Nowhere => {}
        }
        inner.operations += 1;
        inner.write_if_due();
        id
    }

    /// A call has ended.
    pub fn done(&self, id: u64, outcome: Outcome) {
        let mut inner = self.lock();
        let at = self.at();
        match &mut inner.sink {
            Sink::File { encoder, buffer, .. } => encoder.done(id, at, outcome, buffer),
            Sink::Memory(records) => records.push(Record::Done { id, at, outcome }),
            Sink::Nowhere => {}
        }
        inner.write_if_due();
    }

    /// Something was seen.
    pub fn event(&self, event: &Event) {
        let mut inner = self.lock();
        let at = self.at();
        inner.event(at, event);
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
        inner.event(at, &Event::DeclareSubject { id, name: name.to_owned() });
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
    fn event(&mut self, at: u64, event: &Event) {
        match &mut self.sink {
            Sink::File { encoder, buffer, .. } => encoder.event(at, event, buffer),
            Sink::Memory(records) => records.push(Record::Event { at, event: event.clone() }),
            Sink::Nowhere => {}
        }
    }

    fn write_if_due(&mut self) {
        if let Sink::File { buffer, written, .. } = &self.sink
            && (buffer.len() >= WRITE_AT_BYTES || written.elapsed() >= WRITE_EVERY)
        {
            self.write();
        }
    }

    fn write(&mut self) {
        let Sink::File { buffer, file, written, .. } = &mut self.sink else { return };
        if let Err(error) = file.write_all(buffer) {
            self.failure.get_or_insert(error);
        }
        buffer.clear();
        *written = Instant::now();
    }
}
