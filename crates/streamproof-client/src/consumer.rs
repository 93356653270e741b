//! What pull and push consumers have in common: the server's description, and a graceful end.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;

use crate::delivery::{AckPolicy, Answers};
use crate::error::{ConsumeError, PublishError};
use crate::outcome::{ErrorJson, Rejection};

/// The prefix of the JetStream API on a server without a domain.
pub(crate) const API_PREFIX: &str = "$JS.API";

/// Waiting for the description of a consumer. A server that is starting answers late, not never.
const INFO_TIMEOUT: Duration = Duration::from_secs(5);

/// A consumer by name.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) api_prefix: String,
    pub(crate) stream: String,
    pub(crate) consumer: String,
}

/// What is needed of a consumer's configuration.
#[derive(Debug, Clone, serde::Deserialize)]
pub(crate) struct Config {
    pub(crate) deliver_subject: Option<String>,
    pub(crate) deliver_group: Option<String>,
    #[serde(default)]
    ack_policy: String,
}

impl Config {
    pub(crate) fn policy(&self) -> AckPolicy {
        match self.ack_policy.as_str() {
            "explicit" => AckPolicy::Explicit,
            "all" => AckPolicy::All,
            _ => AckPolicy::None,
        }
    }
}

impl Named {
    pub(crate) fn gone(&self, text: impl Into<String>) -> ConsumeError {
        ConsumeError::Gone { stream: self.stream.clone(), consumer: self.consumer.clone(), text: text.into() }
    }

    pub(crate) fn wrong_kind(&self, is: &'static str, wanted: &'static str) -> ConsumeError {
        ConsumeError::WrongKind { stream: self.stream.clone(), consumer: self.consumer.clone(), is, wanted }
    }

    pub(crate) async fn config(&self, client: &Client) -> Result<Config, ConsumeError> {
        #[derive(serde::Deserialize)]
        struct Answer {
            config: Option<Config>,
            error: Option<ErrorJson>,
        }
        let subject = format!("{}.CONSUMER.INFO.{}.{}", self.api_prefix, self.stream, self.consumer);
        let no_answer = |text: String| ConsumeError::NoAnswer { subject: subject.clone(), text };
        let request = async_nats::Request::new().payload(Bytes::new()).timeout(Some(INFO_TIMEOUT));
        let answer =
            client.send_request(subject.clone(), request).await.map_err(|e| no_answer(e.to_string()))?;
        let answer: Answer = serde_json::from_slice(&answer.payload).map_err(|e| no_answer(e.to_string()))?;
        match answer {
            Answer { error: Some(error), .. } => {
                let rejection = Rejection::from(error);
                match rejection.code {
                    404 => Err(self.gone(rejection.text)),
                    _ => Err(no_answer(rejection.to_string())),
                }
            }
            Answer { config: Some(config), .. } => Ok(config),
            Answer { .. } => Err(no_answer("neither a configuration nor an error".into())),
        }
    }
}

/// Waits until everything that was handed out is answered; what was dropped without an answer is given back.
pub(crate) async fn all_answered(answers: &Arc<Answers>) -> Result<(), PublishError> {
    loop {
        let changed = answers.all_answered.notified();
        let mut changed = std::pin::pin!(changed);
        changed.as_mut().enable();
        answers.give_back().await?;
        if answers.open() == 0 {
            return Ok(());
        }
        changed.await;
    }
}
