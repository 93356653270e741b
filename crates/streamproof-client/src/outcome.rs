//! How a publish or an acknowledgement can end, and how the server's answers are read.

use std::fmt;
use std::sync::Arc;

use async_nats::{Message, StatusCode};

/// The end of one publish. There are exactly three, and every publish reaches exactly one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The stream stored it, or had it already.
    Acked(PubAck),
    /// The server said no: it is not stored.
    Rejected(Rejection),
    /// Nobody knows. It may be stored; with a message id it can be published again without harm.
    Indeterminate(Indeterminate),
}

impl Outcome {
    /// The ack, if it is one.
    #[must_use]
    pub fn acked(&self) -> Option<&PubAck> {
        match self {
            Outcome::Acked(ack) => Some(ack),
            _ => None,
        }
    }
}

/// What the stream says about a stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PubAck {
    /// The stream that holds it.
    pub stream: Arc<str>,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// The message id was known already; `sequence` is that of the first one.
    pub duplicate: bool,
}

/// The server's refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} (code {code}, err_code {err_code})")]
pub struct Rejection {
    /// Status as in HTTP: 400, 404, 503.
    pub code: u16,
    /// The JetStream error code, 0 where the refusal did not come from JetStream (no responders).
    pub err_code: u64,
    /// The server's own words.
    pub text: String,
}

/// Why nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Indeterminate {
    /// No answer within the bound.
    #[error("no answer in time")]
    Timeout,
    /// The connection on which the answer would have come is gone.
    #[error("the connection was lost before the answer came")]
    Disconnected,
    /// The client was closed first.
    #[error("the client was closed before the answer came")]
    Closed,
    /// The answer could not be read.
    #[error("the answer could not be read")]
    Unreadable,
}

/// The end of one double ack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckOutcome {
    /// The server confirmed that the consumer took the ack.
    Confirmed,
    /// The server said no: the consumer or its stream is gone.
    Rejected(Rejection),
    /// Nobody knows. The message may be delivered again.
    Indeterminate(Indeterminate),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Acked(a) if a.duplicate => {
                write!(f, "acked as duplicate of {}:{}", a.stream, a.sequence)
            }
            Outcome::Acked(a) => write!(f, "acked as {}:{}", a.stream, a.sequence),
            Outcome::Rejected(r) => write!(f, "rejected: {r}"),
            Outcome::Indeterminate(i) => write!(f, "indeterminate: {i}"),
        }
    }
}

#[derive(serde::Deserialize)]
struct AckJson {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    domain: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<ErrorJson>,
}

#[derive(Debug, serde::Deserialize)]
pub(crate) struct ErrorJson {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl From<ErrorJson> for Rejection {
    fn from(e: ErrorJson) -> Self {
        Rejection { code: e.code, err_code: e.err_code, text: e.description }
    }
}

/// Reads publish acks. The name of the stream is kept, since it is almost always the same as last time.
#[derive(Debug, Default)]
pub(crate) struct AckReader {
    stream: Option<Arc<str>>,
    /// The only stream whose answers count.
    only: Option<Only>,
}

#[derive(Debug)]
struct Only {
    stream: String,
    /// The domain of its first ack: a stream of this name can be in several. `None` before that ack.
    domain: Option<String>,
}

impl AckReader {
    pub(crate) fn new(only: Option<String>) -> Self {
        AckReader { stream: None, only: only.map(|stream| Only { stream, domain: None }) }
    }

    /// Where the stream that answers can be asked for its description.
    pub(crate) fn info_subject(&self) -> String {
        let only = self.only.as_ref();
        let Some(stream) = only.map(|o| o.stream.as_str()).or(self.stream.as_deref()) else {
            return "$JS.API.INFO".to_owned();
        };
        match only.and_then(|o| o.domain.as_deref()).filter(|domain| !domain.is_empty()) {
            Some(domain) => format!("$JS.{domain}.API.STREAM.INFO.{stream}"),
            None => format!("$JS.API.STREAM.INFO.{stream}"),
        }
    }

    /// `None` where somebody else answered than the stream that was named.
    pub(crate) fn read(&mut self, message: &Message) -> Option<Outcome> {
        if let Some(rejection) = status_rejection(message) {
            return Some(Outcome::Rejected(rejection));
        }
        if let Some(PlainAck { stream, domain, sequence }) = plain_ack(&message.payload) {
            return self
                .is_from(stream, domain)
                .then(|| Outcome::Acked(PubAck { stream: self.intern(stream), sequence, duplicate: false }));
        }
        match serde_json::from_slice::<AckJson>(&message.payload) {
            // A refusal names the stream, but not the domain.
            Ok(AckJson { error: Some(error), stream, .. }) => {
                let ours = self.only.as_ref().is_none_or(|only| stream.is_empty() || only.stream == stream);
                ours.then(|| Outcome::Rejected(error.into()))
            }
            Ok(ack) if !ack.stream.is_empty() && ack.seq > 0 => {
                self.is_from(&ack.stream, &ack.domain).then(|| {
                    let stream = self.intern(&ack.stream);
                    Outcome::Acked(PubAck { stream, sequence: ack.seq, duplicate: ack.duplicate })
                })
            }
            _ if self.only.is_some() => None,
            _ => Some(Outcome::Indeterminate(Indeterminate::Unreadable)),
        }
    }

    fn is_from(&mut self, stream: &str, domain: &str) -> bool {
        let Some(only) = &mut self.only else { return true };
        if only.stream != stream {
            return false;
        }
        match &only.domain {
            Some(known) => known == domain,
            None => {
                only.domain = Some(domain.to_owned());
                true
            }
        }
    }

    fn intern(&mut self, name: &str) -> Arc<str> {
        match &self.stream {
            Some(known) if &**known == name => known.clone(),
            _ => {
                let name: Arc<str> = name.into();
                self.stream = Some(name.clone());
                name
            }
        }
    }
}

/// A status line in place of an answer. 503 is the server saying that nobody listens: nothing was stored.
pub(crate) fn status_rejection(message: &Message) -> Option<Rejection> {
    let status = message.status?;
    if status == StatusCode::OK {
        return None;
    }
    let text = match &message.description {
        Some(text) if !text.is_empty() => text.clone(),
        _ if status == StatusCode::NO_RESPONDERS => "no stream or consumer listens on this subject".into(),
        _ => "refused without a reason".into(),
    };
    Some(Rejection { code: status.as_u16(), err_code: 0, text })
}

struct PlainAck<'a> {
    stream: &'a str,
    domain: &'a str,
    sequence: u64,
}

/// The common forms, `{"stream":"NAME","seq":N}` and `{"stream":"NAME","domain":"NAME","seq":N}`, as nats-server writes
/// them (stream.go, `pubAck`), without the cost of a JSON parser. Everything else, also a name with an escape, takes the
/// long way.
fn plain_ack(payload: &[u8]) -> Option<PlainAck<'_>> {
    let (stream, rest) = plain_text(payload.strip_prefix(b"{\"stream\":\"")?)?;
    let (domain, rest) = match rest.strip_prefix(b",\"domain\":\"") {
        Some(rest) => plain_text(rest)?,
        None => ("", rest),
    };
    let digits = rest.strip_prefix(b",\"seq\":")?.strip_suffix(b"}")?;
    let sequence = number(digits)?;
    (sequence > 0).then_some(PlainAck { stream, domain, sequence })
}

/// A text without escapes, up to its closing quote, and what comes after that.
fn plain_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|b| matches!(b, b'"' | b'\\'))?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    Some((text, bytes[end..].strip_prefix(b"\"")?))
}

/// A decimal number that fits, and nothing else.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0u64, |n, d| d.is_ascii_digit().then(|| n * 10 + u64::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &str) -> Message {
        Message {
            subject: "x".into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        }
    }

    fn read(payload: &str) -> Outcome {
        AckReader::default().read(&message(payload)).unwrap()
    }

    #[test]
    fn every_form_of_answer_is_read() {
        let ack = |stream: &str, sequence, duplicate| {
            Outcome::Acked(PubAck { stream: stream.into(), sequence, duplicate })
        };
        assert_eq!(read(r#"{"stream":"S","seq":17}"#), ack("S", 17, false));
        assert_eq!(read(r#"{"stream":"S", "seq":17}"#), ack("S", 17, false));
        assert_eq!(read(r#"{"stream":"S","seq":17,"duplicate": true}"#), ack("S", 17, true));
        assert_eq!(read(r#"{"stream":"S","domain":"hub","seq":17}"#), ack("S", 17, false));
        assert_eq!(read(r#"{"stream":"S","domain":"a\"b","seq":17,"duplicate":true}"#), ack("S", 17, true));
        assert_eq!(read(r#"{"stream":"a\"b","seq":1}"#), ack("a\"b", 1, false));
        assert_eq!(
            read(
                r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"},"stream":"S","seq":0}"#
            ),
            Outcome::Rejected(Rejection {
                code: 400,
                err_code: 10071,
                text: "wrong last sequence: 4".into()
            })
        );
        for unreadable in ["", "{}", "+OK", r#"{"stream":"S","seq":0}"#, r#"{"stream":"S","seq":-1}"#] {
            assert_eq!(read(unreadable), Outcome::Indeterminate(Indeterminate::Unreadable), "{unreadable}");
        }
    }

    #[test]
    fn only_the_stream_that_was_named_is_heard() {
        let mut reader = AckReader::new(Some("S".into()));
        let mut read = |payload: &str| reader.read(&message(payload));
        assert_eq!(read(r#"{"stream":"T","seq":1}"#), None);
        assert_eq!(read("+OK"), None);
        assert_eq!(read(r#"{"error":{"code":503,"description":"full"},"stream":"T","seq":0}"#), None);
        assert!(read(r#"{"stream":"S","domain":"hub","seq":1}"#).is_some());
        assert_eq!(read(r#"{"stream":"S","domain":"leaf","seq":2}"#), None);
        assert_eq!(read(r#"{"stream":"S","seq":2}"#), None);
        assert!(read(r#"{"stream":"S","domain":"hub","seq":2,"duplicate":true}"#).is_some());
        assert!(read(r#"{"error":{"code":503,"description":"full"},"stream":"S","seq":0}"#).is_some());
    }

    #[test]
    fn no_responders_is_a_rejection() {
        let mut m = message("");
        m.status = Some(StatusCode::NO_RESPONDERS);
        assert!(matches!(
            AckReader::default().read(&m),
            Some(Outcome::Rejected(Rejection { code: 503, .. }))
        ));
    }

    #[test]
    fn numbers_do_not_wrap() {
        assert_eq!(number(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        assert_eq!(number(b"99999999999999999999"), None);
        assert_eq!(number(b"1x"), None);
    }
}
