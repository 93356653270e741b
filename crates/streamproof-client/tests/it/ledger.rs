//! A publisher under load whose every outcome is written down, and held against what the stream has at the end.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streamproof_client::async_nats::Client;
use streamproof_client::{
    ClientExt, OnDisconnect, Outcome, Outgoing, PublishError, Publisher, PublisherOptions, Totals,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bed::{bounded, until};

pub(crate) const WINDOW: usize = 256;

/// Publishes at once, unless told otherwise: a fault must find something in flight.
pub(crate) struct Load {
    pub(crate) publisher: Publisher,
    outcomes: Arc<Mutex<Vec<(u64, Outcome)>>>,
    stop: watch::Sender<bool>,
    sending: JoinHandle<u64>,
    repeats: bool,
}

/// How it went.
pub(crate) struct Account {
    pub(crate) totals: Totals,
    /// By tag.
    pub(crate) outcomes: HashMap<u64, Outcome>,
    repeats: bool,
}

impl Load {
    pub(crate) async fn start(client: &Client, choice: OnDisconnect, ack_timeout: Duration) -> Load {
        let outcomes: Arc<Mutex<Vec<(u64, Outcome)>>> = Arc::default();
        let sink = outcomes.clone();
        let options = PublisherOptions::default()
            .window(WINDOW)
            .on_disconnect(choice)
            .ack_timeout(ack_timeout)
            .on_outcome(move |tag, outcome| sink.lock().unwrap().push((tag, outcome)));
        let publisher = client.publisher(options).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let repeats = choice == OnDisconnect::Repeat;
        let sending = tokio::spawn(send(publisher.clone(), stopped, repeats));
        Load { publisher, outcomes, stop, sending, repeats }
    }

    /// Waits until so many more are acked.
    pub(crate) async fn acked(&self, more: u64) {
        let goal = self.publisher.totals().acked + more;
        until("acked", async || self.publisher.totals().acked >= goal).await;
    }

    /// Waits until so many more have ended, in whatever way.
    pub(crate) async fn ended(&self, more: u64) {
        let ended = || self.publisher.totals().sent - self.publisher.totals().in_flight;
        let goal = ended() + more;
        until("ended", async || ended() >= goal).await;
    }

    /// Sends no more and waits for the last outcome. Every one that was sent has exactly one, and the counts are those of the
    /// outcomes.
    pub(crate) async fn finish(self) -> Account {
        self.stop.send(true).unwrap();
        let sending = self.sending;
        let totals = bounded("settle", async {
            // It may wait for room until the last outcomes are there.
            let sent = sending.await.unwrap();
            let totals = self.publisher.settle().await;
            assert_eq!(totals.sent, sent, "{totals:?}");
            totals
        })
        .await;
        assert!(totals.balanced(), "{totals:?}");
        let told = std::mem::take(&mut *self.outcomes.lock().unwrap());
        let count = told.len() as u64;
        let outcomes: HashMap<u64, Outcome> = told.into_iter().collect();
        assert_eq!((outcomes.len() as u64, count), (totals.sent, totals.sent), "one outcome for each");
        let of = |f: fn(&Outcome) -> bool| outcomes.values().filter(|o| f(o)).count() as u64;
        assert_eq!(of(|o| matches!(o, Outcome::Acked(_))), totals.acked);
        assert_eq!(of(|o| matches!(o, Outcome::Rejected(_))), totals.rejected);
        assert_eq!(of(|o| matches!(o, Outcome::Indeterminate(_))), totals.indeterminate());
        let timed = self.publisher.latency().count();
        assert_eq!(timed, totals.acked + totals.rejected, "a latency for each answer");
        Account { totals, outcomes, repeats: self.repeats }
    }
}

async fn send(publisher: Publisher, mut stopped: watch::Receiver<bool>, repeats: bool) -> u64 {
    let mut tag = 0u64;
    while !*stopped.borrow_and_update() {
        let mut message = Outgoing::new("s.a", tag.to_string());
        // Some have no id: they must not be repeated.
        if repeats && !tag.is_multiple_of(4) {
            message = message.message_id(tag.to_string());
        }
        let post = publisher.post(message, tag);
        tokio::select! {
            sent = post => match sent {
                Ok(()) => tag += 1,
                Err(PublishError::Disconnected) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            },
            // Dropped while it waits: as if it had never been.
            _ = stopped.changed() => {}
        }
        assert!(publisher.occupied() <= WINDOW, "more is taken than may be in flight");
    }
    tag
}

impl Account {
    /// What was acked is there, under its sequence; what was rejected is not; what is there and was not acked is among those
    /// of which nobody knows.
    pub(crate) fn holds_against(&self, stored: &HashMap<u64, Vec<u8>>) {
        let mut sequences = HashSet::new();
        for (tag, outcome) in &self.outcomes {
            if let Outcome::Acked(ack) = outcome {
                let body = stored.get(&ack.sequence).map(|b| String::from_utf8_lossy(b).into_owned());
                assert_eq!(body, Some(tag.to_string()), "{tag} was acked as {}", ack.sequence);
                assert!(sequences.insert(ack.sequence), "{} was acked twice", ack.sequence);
            }
        }
        let mut unknown = 0;
        let mut seen = HashSet::new();
        for (sequence, body) in stored {
            let tag: u64 = std::str::from_utf8(body).unwrap().parse().unwrap();
            assert!(seen.insert(tag), "{tag} is stored twice");
            match &self.outcomes[&tag] {
                Outcome::Acked(ack) => assert_eq!(ack.sequence, *sequence),
                Outcome::Rejected(why) => panic!("{tag} is stored, and was rejected: {why}"),
                Outcome::Indeterminate(_) => unknown += 1,
            }
        }
        assert_eq!(stored.len() as u64, self.totals.acked + unknown);
        assert!(unknown <= self.totals.indeterminate());
        assert!(self.totals.repeated == 0 || self.repeats);
    }
}
