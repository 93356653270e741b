//! What a consumer handed out, and whether each of it was answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Client, Subject};
use bytes::Bytes;
use tokio::sync::Notify;

use crate::delivery::{AckPolicy, parse};
use crate::error::PublishError;
use crate::metrics::ConsumerTotals;

pub(crate) const NAK: Bytes = Bytes::from_static(b"-NAK");

/// How a delivery was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Acked,
    Nacked,
    Termed,
    /// Dropped without an answer, and given back for its owner.
    GivenBack,
    /// The caller has the bare message.
    Taken,
    /// It wants no answer.
    Unasked,
}

const KINDS: usize = 6;

/// What all deliveries of a consumer share.
pub(crate) struct Answers {
    client: Client,
    policy: AckPolicy,
    delivered: AtomicU64,
    answered: [AtomicU64; KINDS],
    /// Handed out, and not answered.
    open: AtomicU64,
    /// Deliveries that somebody holds.
    held: AtomicU64,
    /// Dropped without an answer. Bounded: none is in it that is not also in the server's `max_ack_pending`.
    dropped: Mutex<VecDeque<Subject>>,
    /// With [`AckPolicy::All`]: handed out and not yet answered for, by sequence in the stream. Bounded likewise.
    uncovered: Mutex<BTreeMap<u64, Subject>>,
    changed: Notify,
}

impl Answers {
    pub(crate) fn new(client: Client, policy: AckPolicy) -> Arc<Self> {
        Arc::new(Answers {
            client,
            policy,
            delivered: AtomicU64::new(0),
            answered: Default::default(),
            open: AtomicU64::new(0),
            held: AtomicU64::new(0),
            dropped: Mutex::new(VecDeque::new()),
            uncovered: Mutex::new(BTreeMap::new()),
            changed: Notify::new(),
        })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn policy(&self) -> AckPolicy {
        self.policy
    }

    pub(crate) fn totals(&self) -> ConsumerTotals {
        let of = |kind: Kind| self.answered[kind as usize].load(Relaxed);
        ConsumerTotals {
            delivered: self.delivered.load(Relaxed),
            acked: of(Kind::Acked),
            nacked: of(Kind::Nacked),
            termed: of(Kind::Termed),
            given_back: of(Kind::GivenBack),
            taken: of(Kind::Taken),
            unasked: of(Kind::Unasked),
            unanswered: self.open.load(Relaxed),
        }
    }

    /// Counts one in; every one is let go of later. Whether it wants an answer.
    pub(crate) fn hand_out(&self, reply: Option<&str>) -> bool {
        self.held.fetch_add(1, Relaxed);
        self.delivered.fetch_add(1, Relaxed);
        match (self.policy, reply) {
            (AckPolicy::Explicit, Some(_)) => {}
            (AckPolicy::All, Some(reply)) if let Some(at) = parse(reply) => {
                // One that is delivered again has taken the place of itself.
                if lock(&self.uncovered).insert(at.stream_sequence, reply.into()).is_some() {
                    self.answered[Kind::GivenBack as usize].fetch_add(1, Relaxed);
                    return true;
                }
            }
            // Anybody can publish on a deliver subject: what has no place to answer to is no consumer's.
            _ => {
                self.answered[Kind::Unasked as usize].fetch_add(1, Relaxed);
                return false;
            }
        }
        self.open.fetch_add(1, Relaxed);
        true
    }

    /// It was answered.
    pub(crate) fn close(&self, sequence: u64, kind: Kind) {
        let closed = match (self.policy, kind) {
            (AckPolicy::All, Kind::Acked) => {
                let mut uncovered = lock(&self.uncovered);
                let later = uncovered.split_off(&(sequence + 1));
                std::mem::replace(&mut *uncovered, later).len() as u64
            }
            (AckPolicy::All, _) => u64::from(lock(&self.uncovered).remove(&sequence).is_some()),
            _ => 1,
        };
        self.answered[kind as usize].fetch_add(closed, Relaxed);
        self.open.fetch_sub(closed, Relaxed);
    }

    /// Nobody holds it any more; `open` is where its answer would go, if it had none.
    pub(crate) fn let_go(&self, open: Option<Subject>) {
        if let (AckPolicy::Explicit, Some(reply)) = (self.policy, open) {
            lock(&self.dropped).push_back(reply);
        }
        if self.held.fetch_sub(1, AcqRel) == 1 {
            self.changed.notify_waiters();
        }
    }

    /// Gives back what was dropped without an answer.
    pub(crate) async fn give_back(&self) -> Result<(), PublishError> {
        loop {
            // It leaves the queue when it is sent: this future may be dropped while it waits.
            let first = lock(&self.dropped).front().cloned();
            let Some(reply) = first else { return Ok(()) };
            self.client.publish(reply, NAK).await?;
            lock(&self.dropped).pop_front();
            self.close(0, Kind::GivenBack);
        }
    }

    /// Waits until nobody holds a delivery any more, and gives back what has no answer then.
    pub(crate) async fn all_answered(&self) -> Result<(), PublishError> {
        if self.policy == AckPolicy::None {
            return Ok(());
        }
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            self.give_back().await?;
            if self.held.load(Acquire) == 0 {
                break;
            }
            changed.await;
        }
        self.give_back().await?;
        loop {
            let first = lock(&self.uncovered).first_key_value().map(|(s, reply)| (*s, reply.clone()));
            let Some((sequence, reply)) = first else { return Ok(()) };
            self.client.publish(reply, NAK).await?;
            self.close(sequence, Kind::GivenBack);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
