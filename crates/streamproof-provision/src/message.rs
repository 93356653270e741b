//! A stored message as `STREAM.MSG.GET` gives it: base64 undone, headers read.

use crate::failure::ProvisionError;
use crate::observe::PARALLEL;
use crate::wire::Js;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Its sequence.
    pub(crate) seq: u64,
    /// Its subject.
    pub(crate) subject: String,
    /// When it was stored (RFC 3339).
    pub(crate) time: String,
    /// Its headers as they stand in the store, base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) hdrs: String,
    /// Its body, base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) data: String,
}

impl Message {
    /// The body.
    pub(crate) fn body(&self) -> Result<Vec<u8>, ProvisionError> {
        self.decoded(&self.data)
    }

    /// The headers, in the order in which they stand.
    pub(crate) fn headers(&self) -> Result<Vec<(String, String)>, ProvisionError> {
        let raw = self.decoded(&self.hdrs)?;
        let text = String::from_utf8_lossy(&raw);
        Ok(text
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect())
    }

    fn decoded(&self, text: &str) -> Result<Vec<u8>, ProvisionError> {
        base64(text).ok_or_else(|| ProvisionError::Garbled {
            request: format!("message {}", self.seq),
            cause: "not base64".into(),
        })
    }
}

/// One message, or none where there is none under that sequence.
pub(crate) async fn get(js: &Js, stream: &str, seq: u64) -> Result<Option<Message>, ProvisionError> {
    fetch(js, stream, json!({ "seq": seq })).await
}

async fn fetch(js: &Js, stream: &str, request: Value) -> Result<Option<Message>, ProvisionError> {
    let subject = format!("STREAM.MSG.GET.{stream}");
    match js.request(&subject, &request).await {
        Ok(mut answer) => {
            let message = answer.get_mut("message").map(Value::take).unwrap_or(Value::Null);
            serde_json::from_value(message)
                .map(Some)
                .map_err(|error| ProvisionError::Garbled { request: subject, cause: error.to_string() })
        }
        // 10037: no message found; 10025 and 10043 with 404 on older servers for a deleted one.
        Err(
            ProvisionError::Refused { err_code: 10037, .. } | ProvisionError::Refused { status: 404, .. },
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A hole this many times larger than what is stored is stepped over message by message instead of being asked through.
const SPARSE: u64 = 4;

/// Reads every message from `first` to `last`, in order, and hands each to `take`.
pub(crate) async fn read_all(
    js: &Js,
    stream: &str,
    (first, last, messages): (u64, u64, u64),
    mut take: impl FnMut(Message) -> Result<(), ProvisionError>,
) -> Result<(), ProvisionError> {
    if messages == 0 || last < first {
        return Ok(());
    }
    if (last - first) / SPARSE > messages {
        let mut next = first;
        while next <= last {
            let Some(message) = fetch(js, stream, json!({ "seq": next, "next_by_subj": ">" })).await? else {
                break;
            };
            next = message.seq + 1;
            take(message)?;
        }
        return Ok(());
    }
    let mut all = stream::iter(first..=last).map(|seq| get(js, stream, seq)).buffered(PARALLEL);
    while let Some(message) = all.try_next().await? {
        if let Some(message) = message {
            take(message)?;
        }
    }
    Ok(())
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_undone() {
        for (text, plain) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob")]
        {
            assert_eq!(base64(text).as_deref(), Some(plain.as_bytes()), "{text}");
        }
        assert_eq!(base64("a b"), None);
        let message = Message {
            seq: 1,
            subject: "a".into(),
            time: String::new(),
            hdrs: "TkFUUy8xLjANCmE6IGI6Yw0KDQo=".into(),
            data: String::new(),
        };
        assert_eq!(message.headers().unwrap(), [("a".to_owned(), "b:c".to_owned())]);
    }
}
