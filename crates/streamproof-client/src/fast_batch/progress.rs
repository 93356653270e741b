//! How far a batch has come, by the server's words. Pure.

use async_nats::Message;

use super::report::{BatchFailure, BatchReport};
use crate::outcome::{ErrorJson, Indeterminate, PubAck, Rejection, status_rejection};

#[derive(Default)]
pub(super) struct Progress {
    pub(super) sent: u64,
    pub(super) stored: u64,
    /// An ack for every so many.
    pub(super) flow: u64,
    pub(super) started: bool,
    pub(super) committed: Option<Committed>,
    /// An ack for the first message alone.
    pub(super) single: Option<PubAck>,
    /// No further word comes.
    pub(super) over: bool,
    pub(super) failure: Option<BatchFailure>,
    /// The message at which the server stopped taking any.
    failed_at: Option<u64>,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Committed {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    /// Not in the ack of a single message.
    count: Option<u64>,
    error: Option<ErrorJson>,
}

#[derive(serde::Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Flow {
    Ack { seq: u64, msgs: u16 },
    Gap { last_seq: u64 },
    Err { seq: u64, error: ErrorJson },
}

impl Progress {
    pub(super) fn new(flow: u64) -> Self {
        Progress { flow, ..Progress::default() }
    }

    /// What is known of each message.
    pub(super) fn report(&self) -> BatchReport {
        let (mut stored, mut rejected) = (self.stored, 0);
        if let Some(committed) = &self.committed {
            stored = stored.max(committed.count.unwrap_or(0)).min(self.sent);
            // The server's last word: what it did not count, it did not store.
            rejected = self.sent - stored;
        } else if let Some(at) = self.failed_at {
            rejected = (self.sent + 1).saturating_sub(at).min(self.sent - stored);
        }
        BatchReport {
            stream: self
                .committed
                .as_ref()
                .filter(|c| !c.stream.is_empty())
                .map(|c| c.stream.as_str().into())
                .or_else(|| self.single.as_ref().map(|ack| ack.stream.clone())),
            last_sequence: self
                .committed
                .as_ref()
                .map(|c| c.seq)
                .filter(|seq| *seq > 0)
                .or_else(|| self.single.as_ref().map(|ack| ack.sequence)),
            sent: self.sent,
            stored,
            rejected,
            indeterminate: self.sent - stored - rejected,
            failure: self.failure.clone(),
        }
    }

    /// Keeps the first reason; a batch that is already refused and then cannot be heard of is indeterminate between
    /// what is known to be stored and the message that was refused.
    pub(super) fn fail(&mut self, why: Indeterminate) {
        if self.failed_at.is_none() || self.failure.is_none() {
            self.failure = Some(BatchFailure::Indeterminate(why));
        }
        self.over = true;
    }

    /// One answer of the server, and the message of the batch that it is about.
    pub(super) fn take_in(&mut self, message: &Message, sequence: Option<u64>) {
        if let Some(rejection) = status_rejection(message) {
            return self.refused(sequence, rejection);
        }
        if let Ok(flow) = serde_json::from_slice::<Flow>(&message.payload) {
            match flow {
                Flow::Ack { seq, msgs } => {
                    self.started = true;
                    self.stored = self.stored.max(seq.min(self.sent));
                    self.flow = u64::from(msgs.max(1));
                }
                Flow::Gap { last_seq } => {
                    self.failed_at = Some(last_seq);
                    self.failure.get_or_insert(BatchFailure::Gap { expected: last_seq });
                }
                Flow::Err { seq, error } => {
                    self.failed_at = Some(seq);
                    self.failure.get_or_insert(BatchFailure::Rejected(error.into()));
                }
            }
            return;
        }
        match serde_json::from_slice::<Committed>(&message.payload) {
            Ok(Committed { error: Some(error), .. }) => self.refused(sequence, error.into()),
            Ok(committed) if committed.count.is_some() => self.committed = Some(committed),
            // The first waits for its answer, so that no more than it was stored like this.
            Ok(Committed { stream, seq, .. }) if self.sent == 1 && seq > 0 => {
                self.single = Some(PubAck { stream: stream.into(), sequence: seq, duplicate: false });
                self.stored = 1;
                self.failure.get_or_insert(BatchFailure::Unknown);
                self.over = true;
            }
            _ => self.fail(Indeterminate::Unreadable),
        }
    }

    /// One was refused outside of the batch's own words: there is no such batch (a server that was started again), or no
    /// stream. It and all after it are not stored; of those before it, what was not acked is unknown.
    fn refused(&mut self, sequence: Option<u64>, rejection: Rejection) {
        self.failed_at = Some(sequence.unwrap_or(self.sent + 1));
        self.failure.get_or_insert(BatchFailure::Rejected(rejection));
        self.over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten were sent, and then the server says this, each about a message.
    fn after(words: &[(u64, &str)]) -> Progress {
        let mut progress = Progress { sent: 10, ..Progress::new(2) };
        for (about, word) in words {
            let message = Message {
                subject: "x".into(),
                reply: None,
                payload: (*word).to_owned().into(),
                headers: None,
                status: None,
                description: None,
                length: 0,
            };
            progress.take_in(&message, Some(*about));
        }
        progress
    }

    /// Stored, rejected and indeterminate.
    fn counts(progress: &Progress) -> (u64, u64, u64) {
        let report = progress.report();
        assert_eq!(report.sent, report.stored + report.rejected + report.indeterminate);
        (report.stored, report.rejected, report.indeterminate)
    }

    const ACK: (u64, &str) = (4, r#"{"type":"ack","seq":4,"msgs":2}"#);
    const GAP: (u64, &str) = (9, r#"{"type":"gap","last_seq":7,"seq":9}"#);
    const ERR: (u64, &str) =
        (8, r#"{"type":"err","seq":8,"error":{"code":503,"err_code":10077,"description":"full"}}"#);
    const LAST_WORD: (u64, &str) = (10, r#"{"stream":"S","seq":106,"batch":"b","count":6}"#);
    const UNKNOWN: (u64, &str) =
        (9, r#"{"error":{"code":400,"err_code":10208,"description":"unknown"},"stream":"S","seq":0}"#);

    #[test]
    fn each_word_says_what_is_stored_and_what_is_not() {
        assert_eq!(counts(&after(&[])), (0, 0, 10));
        assert_eq!(counts(&after(&[ACK])), (4, 0, 6));
        // From the seventh on nothing is; what is before it and was not acked is unknown.
        assert_eq!(counts(&after(&[ACK, GAP])), (4, 4, 2));
        assert_eq!(counts(&after(&[ACK, ERR])), (4, 3, 3));
        assert_eq!(counts(&after(&[ACK, UNKNOWN])), (4, 2, 4));
        // The last word leaves nothing unknown.
        assert_eq!(counts(&after(&[ACK, GAP, LAST_WORD])), (6, 4, 0));
        assert_eq!(after(&[LAST_WORD]).report().last_sequence, Some(106));
    }

    #[test]
    fn the_first_reason_stays_and_what_cannot_be_read_says_nothing() {
        let gap = after(&[GAP, ERR]);
        assert_eq!(gap.failure, Some(BatchFailure::Gap { expected: 7 }));
        let mut lost = after(&[ACK, GAP]);
        lost.fail(Indeterminate::Disconnected);
        assert_eq!((counts(&lost), lost.over), ((4, 4, 2), true));
        assert_eq!(lost.failure, Some(BatchFailure::Gap { expected: 7 }));
        // An ack of a single message where a batch was known is no word of the batch.
        for word in ["", "{}", r#"{"stream":"S","seq":17}"#, r#"{"stream":"S","seq":0,"count":null}"#] {
            let unreadable = after(&[ACK, (5, word)]);
            assert_eq!(counts(&unreadable), (4, 0, 6), "{word}");
            let why = Some(BatchFailure::Indeterminate(Indeterminate::Unreadable));
            assert_eq!((unreadable.failure, unreadable.over), (why, true), "{word}");
        }
    }
}
