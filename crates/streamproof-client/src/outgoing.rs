//! A message to be published, with the headers that JetStream gives a meaning.

use std::time::Duration;

use async_nats::header::{
    NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    NATS_EXPECTED_STREAM, NATS_MESSAGE_ID, NATS_MESSAGE_TTL,
};
use async_nats::{Client, HeaderMap, HeaderName, HeaderValue, Subject};
use bytes::Bytes;

use crate::error::PublishError;

/// A message to be published.
///
/// ```
/// use streamproof_client::Outgoing;
/// let order = Outgoing::new("orders.eu", "17").message_id("order-17").expected_stream("ORDERS");
/// ```
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Where to.
    pub subject: Subject,
    /// The body.
    pub payload: Bytes,
    /// Headers; without any, the server takes a shorter way.
    pub headers: Option<HeaderMap>,
    /// The first header that cannot be sent (a line break in its value); the publish will say so.
    pub(crate) invalid_header: Option<String>,
}

impl Outgoing {
    /// A message without headers. Cloning a [`Subject`] or [`Bytes`] is cheap: keep them.
    pub fn new(subject: impl Into<Subject>, payload: impl Into<Bytes>) -> Self {
        Outgoing { subject: subject.into(), payload: payload.into(), headers: None, invalid_header: None }
    }

    /// Any header. One that cannot be sent makes the publish fail; it does not panic.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            (Ok(name), Ok(value)) => self.headers.get_or_insert_default().insert(name, value),
            _ => {
                self.invalid_header.get_or_insert_with(|| name.to_owned());
            }
        }
        self
    }

    /// `Nats-Msg-Id`: within the stream's `duplicate_window` the same id is stored once, so that a publish that ended
    /// as indeterminate can be repeated.
    #[must_use]
    pub fn message_id(self, id: impl AsRef<str>) -> Self {
        self.header(NATS_MESSAGE_ID.as_ref(), id.as_ref())
    }

    /// Store only if this stream is the one that takes it.
    #[must_use]
    pub fn expected_stream(self, stream: impl AsRef<str>) -> Self {
        self.header(NATS_EXPECTED_STREAM.as_ref(), stream.as_ref())
    }

    /// Store only if this is the stream's last sequence.
    #[must_use]
    pub fn expected_last_sequence(self, sequence: u64) -> Self {
        self.header(NATS_EXPECTED_LAST_SEQUENCE.as_ref(), &sequence.to_string())
    }

    /// Store only if this is the last sequence on the message's subject.
    #[must_use]
    pub fn expected_last_subject_sequence(self, sequence: u64) -> Self {
        self.header(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref(), &sequence.to_string())
    }

    /// Store only if this was the stream's last message id.
    #[must_use]
    pub fn expected_last_message_id(self, id: impl AsRef<str>) -> Self {
        self.header(NATS_EXPECTED_LAST_MESSAGE_ID.as_ref(), id.as_ref())
    }

    /// Let the stream drop it after this time (ADR-43, server 2.11, `allow_msg_ttl`). Whole seconds, at least one;
    /// a fraction is rounded up.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
        self.header(NATS_MESSAGE_TTL.as_ref(), &format!("{}s", seconds.max(1)))
    }

    /// Whether it can be sent at all: the server would cut the connection, and all that is in flight with it.
    pub(crate) fn check(&self, client: &Client) -> Result<(), PublishError> {
        if let Some(name) = &self.invalid_header {
            return Err(PublishError::InvalidHeader { name: name.clone() });
        }
        let (bytes, most_bytes) = (self.wire_bytes(), client.max_payload());
        if bytes > most_bytes {
            return Err(PublishError::TooLarge { bytes, most_bytes });
        }
        Ok(())
    }

    /// Body and headers, as the server counts them: `NATS/1.0`, a line for each value, an empty line.
    fn wire_bytes(&self) -> usize {
        let Some(headers) = self.headers.as_ref().filter(|h| !h.is_empty()) else {
            return self.payload.len();
        };
        let line = |name: &HeaderName, value: &HeaderValue| {
            AsRef::<str>::as_ref(name).len() + ": \r\n".len() + value.as_str().len()
        };
        let lines: usize =
            headers.iter().flat_map(|(name, values)| values.iter().map(move |v| line(name, v))).sum();
        "NATS/1.0\r\n\r\n".len() + lines + self.payload.len()
    }

    pub(crate) fn has_message_id(&self) -> bool {
        self.headers.as_ref().is_some_and(|h| h.get(NATS_MESSAGE_ID).is_some())
    }
}

impl<S: Into<Subject>, P: Into<Bytes>> From<(S, P)> for Outgoing {
    fn from((subject, payload): (S, P)) -> Self {
        Outgoing::new(subject, payload)
    }
}

impl From<async_nats::jetstream::message::OutboundMessage> for Outgoing {
    fn from(m: async_nats::jetstream::message::OutboundMessage) -> Self {
        Outgoing { subject: m.subject, payload: m.payload, headers: m.headers, invalid_header: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_count_as_the_server_counts_them() {
        let plain = Outgoing::new("a", "body");
        assert_eq!(plain.wire_bytes(), 4);
        assert_eq!(plain.header("ab", "cde").wire_bytes(), "NATS/1.0\r\nab: cde\r\n\r\nbody".len());
    }

    #[test]
    fn a_ttl_is_rounded_up_to_whole_seconds() {
        let ms = Duration::from_millis;
        let most = format!("{}s", u64::MAX);
        for (ttl, want) in [
            (Duration::ZERO, "1s"),
            (ms(1), "1s"),
            (ms(1000), "1s"),
            (ms(1001), "2s"),
            (ms(90_000), "90s"),
            (Duration::MAX, &most),
        ] {
            let m = Outgoing::new("a", "b").ttl(ttl);
            assert_eq!(m.headers.unwrap().get(NATS_MESSAGE_TTL).unwrap().as_str(), want);
        }
    }
}
