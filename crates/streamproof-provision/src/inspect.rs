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
