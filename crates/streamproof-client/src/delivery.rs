//! A message that a consumer delivered, and the answers that it can be given.

use std::{fmt, sync::Arc, time::Duration};

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;

use crate::answers::{Answers, Kind, NAK};
use crate::error::PublishError;
use crate::outcome::number;
use crate::pipeline::LONGEST;

const ACK: Bytes = Bytes::from_static(b"+ACK");
const TERM: Bytes = Bytes::from_static(b"+TERM");
pub(crate) const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");

/// Where a message stands in its stream and consumer, as the server says in the reply subject (ADR-15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// The stream.
    pub stream: &'a str,
    /// The consumer.
    pub consumer: &'a str,
    /// Sequence in the stream.
    pub stream_sequence: u64,
    /// Sequence of this delivery in the consumer; every delivery has its own.
    pub consumer_sequence: u64,
    /// Which delivery of this message it is, from 1.
    pub num_delivered: u64,
    /// How many more wait for this consumer.
    pub pending: u64,
    /// When the stream stored it, in nanoseconds since 1970.
    pub stored_at_unix_ns: u64,
}

/// How answers are counted: what the consumer's `ack_policy` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckPolicy {
    /// Each message is answered.
    Explicit,
    /// An ack answers for all before it, also for those that were lost with a connection and never seen: they do not come
    /// again then. Whoever must see each acks only as far as nothing is missing.
    All,
    /// Nothing is answered.
    None,
}

/// A delivered message. With [`AckPolicy::Explicit`] it wants one answer; one that is dropped without any is
/// given back (nak) by its consumer, so that it is delivered again at once rather than after `ack_wait`. With
/// [`AckPolicy::All`] it may be dropped: an ack of a later one answers for it.
pub struct Delivery {
    message: Message,
    answers: Arc<Answers>,
    open: bool,
}

impl Delivery {
    pub(crate) fn new(message: Message, answers: &Arc<Answers>) -> Self {
        let open = answers.hand_out(message.reply.as_deref());
        Delivery { message, answers: answers.clone(), open }
    }

    /// The subject that it was published on.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.message.subject
    }

    /// The body.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// The headers, if it has any.
    #[must_use]
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.message.headers.as_ref()
    }

    /// Where it stands. `None` if it did not come from a consumer.
    #[must_use]
    pub fn metadata(&self) -> Option<Metadata<'_>> {
        parse(self.message.reply.as_deref()?)
    }

    /// Done: the server need not deliver it again. Whether the server got to know is not waited for; the one who
    /// must know uses an [`Acker`](crate::Acker). With [`AckPolicy::All`] it stands for all before it, too.
    pub async fn ack(self) -> Result<(), PublishError> {
        self.answer(ACK, Kind::Acked).await
    }

    /// Not done: to be delivered again, at once or after a delay.
    pub async fn nak(self, delay: Option<Duration>) -> Result<(), PublishError> {
        let payload = match delay {
            None => NAK,
            Some(delay) => format!("-NAK {{\"delay\":{}}}", delay.min(LONGEST).as_nanos()).into(),
        };
        self.answer(payload, Kind::Nacked).await
    }

    /// Never to be delivered again, though it was not done; the reason is in the server's advisory (2.10.4).
    pub async fn term(self, reason: Option<&str>) -> Result<(), PublishError> {
        let payload = match reason {
            None => TERM,
            Some(reason) => format!("+TERM {reason}").into(),
        };
        self.answer(payload, Kind::Termed).await
    }

    /// Still being worked on: `ack_wait` starts anew.
    pub async fn in_progress(&self) -> Result<(), PublishError> {
        let reply = self.message.reply.clone().ok_or(PublishError::NoReply)?;
        Ok(self.answers.client().publish(reply, IN_PROGRESS).await?)
    }

    /// The message as async-nats has it. Its answer is then the caller's own business.
    #[must_use]
    pub fn into_message(mut self) -> Message {
        self.close(Kind::Taken);
        self.message.clone()
    }

    async fn answer(mut self, payload: Bytes, kind: Kind) -> Result<(), PublishError> {
        let reply = self.message.reply.clone().ok_or(PublishError::NoReply)?;
        // If this is dropped while it waits, the delivery is still open, and is given back.
        self.answers.client().publish(reply, payload).await?;
        self.close(kind);
        Ok(())
    }

    pub(crate) fn ack_request(&self) -> Result<(Subject, Bytes), PublishError> {
        Ok((self.message.reply.clone().ok_or(PublishError::NoReply)?, ACK))
    }

    pub(crate) fn close(&mut self, kind: Kind) {
        if std::mem::take(&mut self.open) {
            // Only an ack for all before it needs to know where it stands.
            let all = self.answers.policy() == AckPolicy::All;
            let sequence = if all { self.metadata().map_or(0, |m| m.stream_sequence) } else { 0 };
            self.answers.close(sequence, kind);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.answers.let_go(if self.open { self.message.reply.take() } else { None });
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("subject", &self.message.subject)
            .field("bytes", &self.message.payload.len())
            .field("metadata", &self.metadata())
            .finish_non_exhaustive()
    }
}

/// Nine tokens, or eleven and more with domain and account after `$JS.ACK`.
pub(crate) fn parse(reply: &str) -> Option<Metadata<'_>> {
    let mut tokens = [""; 11];
    let mut count = 0;
    for token in reply.strip_prefix("$JS.ACK.")?.split('.') {
        if count < tokens.len() {
            tokens[count] = token;
        }
        count += 1;
    }
    let at = match count {
        7 => 0,
        9.. => 2,
        _ => return None,
    };
    let n = |i: usize| number(tokens[at + i].as_bytes());
    Some(Metadata {
        stream: tokens[at],
        consumer: tokens[at + 1],
        num_delivered: n(2)?,
        stream_sequence: n(3)?,
        consumer_sequence: n(4)?,
        stored_at_unix_ns: n(5)?,
        pending: n(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_reply_subject_are_read() {
        let want = Metadata {
            stream: "S",
            consumer: "C",
            num_delivered: 2,
            stream_sequence: 30,
            consumer_sequence: 31,
            stored_at_unix_ns: 1_700_000_000_000_000_000,
            pending: 7,
        };
        for reply in [
            "$JS.ACK.S.C.2.30.31.1700000000000000000.7",
            "$JS.ACK._.hash.S.C.2.30.31.1700000000000000000.7",
            "$JS.ACK.hub.hash.S.C.2.30.31.1700000000000000000.7.token",
        ] {
            assert_eq!(parse(reply), Some(want), "{reply}");
        }
        for reply in ["_INBOX.a.b", "$JS.ACK.S.C.2.30.31.17", "$JS.ACK.S.C.2.x.31.17.7", ""] {
            assert_eq!(parse(reply), None, "{reply}");
        }
    }
}
