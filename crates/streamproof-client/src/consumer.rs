//! What pull and push consumers have in common: the server's description, and a graceful end.

use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use bytes::Bytes;

use crate::answers::Answers;
use crate::delivery::AckPolicy;
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

    /// An error where it is certain that it is not: without an answer there is nothing to conclude.
    pub(crate) async fn is_there(&self, client: &Client) -> Result<(), ConsumeError> {
        match self.config(client).await {
            Err(gone @ ConsumeError::Gone { .. }) => Err(gone),
            _ => Ok(()),
        }
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

/// How long the server is given to send what it has sent already, where nothing says how much that is.
pub(crate) const QUIET: Duration = Duration::from_millis(50);

/// The end of a consumer whose subscription is over: everything is answered, and the server has read the answers.
pub(crate) async fn finish(named: &Named, answers: &Answers) -> Result<(), PublishError> {
    answers.all_answered().await?;
    let client = answers.client();
    // In the socket, and where the connection is lost, in the next one.
    client.flush().await.map_err(|_| PublishError::Closed)?;
    for _ in 0..ASKED_AT_MOST {
        match named.config(client).await {
            // Without the right to ask nobody can say; a server that is gone again does not answer.
            Err(ConsumeError::NoAnswer { .. }) if client.connection_state() != State::Disconnected => {}
            _ => break,
        }
    }
    Ok(())
}

/// How often the server is asked, at a consumer's end, to show that it has read the answers.
const ASKED_AT_MOST: usize = 3;
