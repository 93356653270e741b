//! The witness: listens to what the server's audit tells of others' requests while the pictures are taken, so that what they
//! changed is not put down to a restart.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::take::ANSWER_LIMIT;
use crate::wire::{Login, Wire, WireError};

/// Every request to the JetStream API, told after it was answered (nats-server jetstream_api.go:sendJetStreamAPIAuditAdvisory).
const AUDIT: &str = "$JS.EVENT.ADVISORY.API";

/// How often it is looked whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The name of our own connections.
pub(crate) const OURS: &str = "streamproof-trial";

/// Requests of others that change something: by `STREAM` or `STREAM > CONSUMER`, how many of which kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Witnessed {
    requests: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Witnessed {
    /// Notes a request by its subject, if it changes something.
    pub fn note(&mut self, subject: &str) {
        let Some(rest) = subject.strip_prefix("$JS.API.") else { return };
        let words: Vec<&str> = rest.split('.').collect();
        let (kind, target) = match words.as_slice() {
            ["STREAM", kind @ ("CREATE" | "UPDATE" | "DELETE" | "PURGE" | "RESTORE"), stream] => {
                (format!("STREAM.{kind}"), (*stream).to_owned())
            }
            ["STREAM", "MSG", "DELETE", stream] => ("STREAM.MSG.DELETE".to_owned(), (*stream).to_owned()),
            ["CONSUMER", "DURABLE", "CREATE", stream, consumer]
            | ["CONSUMER", "CREATE", stream, consumer, ..] => {
                ("CONSUMER.CREATE".to_owned(), format!("{stream} > {consumer}"))
            }
            ["CONSUMER", "CREATE", stream] => ("CONSUMER.CREATE".to_owned(), format!("{stream} > ")),
            ["CONSUMER", kind @ ("DELETE" | "PAUSE" | "UNPIN" | "RESET"), stream, consumer] => {
                (format!("CONSUMER.{kind}"), format!("{stream} > {consumer}"))
            }
            _ => return,
        };
        *self.requests.entry(target).or_default().entry(kind).or_default() += 1;
    }

    /// Takes in what another has noted.
    pub fn add(&mut self, other: &Witnessed) {
        for (target, kinds) in &other.requests {
            for (kind, count) in kinds {
                *self.requests.entry(target.clone()).or_default().entry(kind.clone()).or_default() += count;
            }
        }
    }

    /// Requests that changed the stream itself, in words; none if there were none.
    #[must_use]
    pub fn stream(&self, stream: &str) -> Option<String> {
        self.requests.get(stream).map(words)
    }

    /// Requests that changed the consumer, or its stream.
    #[must_use]
    pub fn consumer(&self, stream: &str, consumer: &str) -> Option<String> {
        self.requests.get(&format!("{stream} > {consumer}")).map(words).or_else(|| self.stream(stream))
    }
}

fn words(kinds: &BTreeMap<String, u64>) -> String {
    let list: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    format!("others asked the server for {}", list.join(", "))
}

/// A witness at work.
#[derive(Debug)]
pub struct Witness {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Witnessed>>,
}

impl Witness {
    /// Begins to listen.
    ///
    /// # Errors
    /// No connection.
    pub fn begin(address: SocketAddr, login: &Login) -> Result<Witness, WireError> {
        let mut wire = Wire::connect(address, login, ANSWER_LIMIT)?;
        wire.subscribe(AUDIT, None);
        wire.flush()?;
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut seen = Witnessed::default();
            // The end of the connection is the end of what can be heard: the server stops.
            while let Ok(message) = wire.next(Instant::now() + LOOK_EVERY) {
                match message {
                    Some(message) => note(&mut seen, &message.payload),
                    None if end.load(Ordering::Relaxed) => break,
                    None => {}
                }
            }
            seen
        });
        Ok(Witness { ended, thread: Some(thread) })
    }

    /// Hears to the end what has been told, and ends.
    #[must_use]
    pub fn end(mut self) -> Witnessed {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn note(seen: &mut Witnessed, payload: &[u8]) {
    let Ok(advisory) = serde_json::from_slice::<Value>(payload) else { return };
    if advisory["client"]["name"].as_str() != Some(OURS)
        && let Some(subject) = advisory["subject"].as_str()
    {
        seen.note(subject);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_change_something_are_told_from_questions() {
        let mut seen = Witnessed::default();
        for subject in [
            "$JS.API.STREAM.INFO.A",
            "$JS.API.STREAM.MSG.GET.A",
            "$JS.API.CONSUMER.MSG.NEXT.A.c",
            "$JS.API.CONSUMER.INFO.A.c",
        ] {
            seen.note(subject);
        }
        assert_eq!(seen, Witnessed::default());
        for subject in [
            "$JS.API.STREAM.MSG.DELETE.A",
            "$JS.API.STREAM.PURGE.A",
            "$JS.API.CONSUMER.CREATE.B.c.filter.x",
            "$JS.API.CONSUMER.DURABLE.CREATE.B.d",
        ] {
            seen.note(subject);
        }
        let mut twice = seen.clone();
        twice.add(&seen);
        assert_eq!(
            twice.stream("A").as_deref(),
            Some("others asked the server for 2 STREAM.MSG.DELETE, 2 STREAM.PURGE")
        );
        assert_eq!(twice.stream("B"), None);
        assert!(seen.consumer("B", "c").is_some() && seen.consumer("A", "any").is_some());
        assert_eq!(seen.consumer("B", "other"), None);
    }
}
