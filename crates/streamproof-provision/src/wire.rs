//! The JetStream API as raw JSON: a request, an answer, and the server's refusal as an error.

use crate::failure::ProvisionError;
use async_nats::client::RequestErrorKind;
use async_nats::{Client, HeaderMap, Request};
use serde_json::Value;
use std::time::Duration;

/// An update of a large stream walks its messages; half a minute is what such a walk may take on a slow disk.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The header by which a request asks for a server that knows at least that API level (ADR-44).
pub(crate) const REQUIRED_LEVEL: &str = "Nats-Required-Api-Level";

/// A JetStream API: a connection, and the prefix under which the API answers.
#[derive(Debug, Clone)]
pub struct Js {
    client: Client,
    prefix: String,
}

impl Js {
    /// The API of the account that the connection is in.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, prefix: "$JS.API".into() }
    }

    /// The API of a JetStream domain (a leaf node's own).
    #[must_use]
    pub fn with_domain(client: Client, domain: &str) -> Self {
        Self { client, prefix: format!("$JS.{domain}.API") }
    }

    /// The API under a prefix of one's own (imported from another account).
    #[must_use]
    pub fn with_prefix(client: Client, prefix: impl Into<String>) -> Self {
        Self { client, prefix: prefix.into() }
    }

    /// The connection.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request to the API and gives its answer, raw. `subject` is without the prefix: `STREAM.INFO.ORDERS`.
    ///
    /// # Errors
    /// Where there is no answer, or the answer is the server's refusal.
    pub async fn request(&self, subject: &str, payload: &Value) -> Result<Value, ProvisionError> {
        self.request_at_level(subject, payload, 0).await
    }

    /// As [`Js::request`], asking for a server of at least that API level (0 asks for nothing).
    pub(crate) async fn request_at_level(
        &self,
        subject: &str,
        payload: &Value,
        level: u32,
    ) -> Result<Value, ProvisionError> {
        let body = if payload.is_null() { Vec::new() } else { payload.to_string().into_bytes() };
        let mut request = Request::new().payload(body.into()).timeout(Some(TIMEOUT));
        if level > 0 {
            let mut headers = HeaderMap::new();
            headers.insert(REQUIRED_LEVEL, level.to_string());
            request = request.headers(headers);
        }
        let answer = self
            .client
            .send_request(format!("{}.{subject}", self.prefix), request)
            .await
            .map_err(|error| unanswered(subject, &error))?;
        read(subject, &answer.payload)
    }
}

/// Reads an answer: JSON, and not an error.
pub(crate) fn read(subject: &str, payload: &[u8]) -> Result<Value, ProvisionError> {
    let answer: Value = serde_json::from_slice(payload)
        .map_err(|error| ProvisionError::Garbled { request: subject.into(), cause: error.to_string() })?;
    let Some(error) = answer.get("error") else { return Ok(answer) };
    let number = |key: &str| error.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (status, err_code) = (number("code"), number("err_code"));
    // 10039: JetStream not enabled for account; 10076: not enabled (nats-server server/errors.json).
    if err_code == 10039 || err_code == 10076 {
        return Err(ProvisionError::NoJetstream { request: subject.into() });
    }
    Err(ProvisionError::Refused {
        request: subject.into(),
        status,
        err_code,
        description: error.get("description").and_then(Value::as_str).unwrap_or("no reason given").into(),
    })
}

fn unanswered(subject: &str, error: &async_nats::RequestError) -> ProvisionError {
    let request = subject.to_owned();
    match error.kind() {
        RequestErrorKind::TimedOut => ProvisionError::Timeout { request, timeout_s: TIMEOUT.as_secs() },
        RequestErrorKind::NoResponders => ProvisionError::NoJetstream { request },
        _ => ProvisionError::Connection { request, cause: error.to_string() },
    }
}

/// Whether the server says that the stream or consumer is not there.
pub(crate) fn is_missing(error: &ProvisionError) -> bool {
    // 10059: stream not found; 10014: consumer not found (nats-server server/errors.json).
    matches!(error, ProvisionError::Refused { err_code: 10059 | 10014, .. })
}
