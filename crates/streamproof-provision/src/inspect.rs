//! Raw information on one stream or consumer, as the server gives it.

use crate::failure::ProvisionError;
use crate::observe::list;
use crate::wire::Js;
use serde_json::Value;

/// `$JS.API.INFO`: the account's limits and usage.
///
/// # Errors
/// Where the server does not answer.
pub async fn account(js: &Js) -> Result<Value, ProvisionError> {
    js.request("INFO", &Value::Null).await
}

/// As whom a connection is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// The account.
    pub account: Option<String>,
    /// The user.
    pub user: Option<String>,
}

/// `$SYS.REQ.USER.INFO`: the account and the user of this connection. A server before 2.9, or one that does not let this user ask,
/// says nothing.
pub async fn who(js: &Js) -> Who {
    let request = async_nats::Request::new().timeout(Some(WHO_BOUND));
    let Ok(answer) = js.client().send_request("$SYS.REQ.USER.INFO", request).await else {
        return Who::default();
    };
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    let text = |key: &str| answer.pointer(&format!("/data/{key}")).and_then(Value::as_str).map(str::to_owned);
    Who { account: text("account"), user: text("user") }
}

/// The server answers this itself, at once; a user who may not ask gets no answer.
const WHO_BOUND: std::time::Duration = std::time::Duration::from_secs(2);

/// `STREAM.INFO` of one stream.
///
/// # Errors
/// Where the server does not answer, or there is no such stream.
pub async fn stream(js: &Js, name: &str) -> Result<Value, ProvisionError> {
    js.request(&format!("STREAM.INFO.{name}"), &Value::Null).await
}

/// `CONSUMER.INFO` of one consumer.
///
/// # Errors
/// Where the server does not answer, or there is no such consumer.
pub async fn consumer(js: &Js, stream: &str, name: &str) -> Result<Value, ProvisionError> {
    js.request(&format!("CONSUMER.INFO.{stream}.{name}"), &Value::Null).await
}

/// The infos of every stream.
///
/// # Errors
/// Where the server does not answer, or not in full.
pub async fn streams(js: &Js) -> Result<Vec<Value>, ProvisionError> {
    list(js, "STREAM.LIST", "streams").await
}

/// The infos of every consumer of a stream.
///
/// # Errors
/// Where the server does not answer, or there is no such stream.
pub async fn consumers(js: &Js, stream: &str) -> Result<Vec<Value>, ProvisionError> {
    list(js, &format!("CONSUMER.LIST.{stream}"), "consumers").await
}
