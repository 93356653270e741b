//! What a look at any server tells: what is wrong, what will be, and what could not be seen. Pure: what was seen in, remarks out.

mod consumers;
mod limits;
mod server;

use serde::Serialize;
use serde_json::Value;
use streamproof_model::plan::Observed;

use crate::monitoring::Monitored;
use crate::store::Store;

/// How a remark is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// To be known.
    Info,
    /// Something is lost, or stands still, if a thing happens that will happen.
    Warn,
    /// It does not work.
    Fail,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Info => "info",
            State::Warn => "warn",
            State::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// How it is meant.
    pub state: State,
    /// What was looked at: one word.
    pub name: &'static str,
    /// What was found.
    pub text: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Remark {
    /// A remark without anything to do.
    #[must_use]
    pub fn new(state: State, name: &'static str, text: impl Into<String>) -> Self {
        Self { state, name, text: text.into(), fix: None }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

/// What was seen of a server.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Through the API.
    pub observed: Observed,
    /// `$JS.API.INFO`, raw.
    pub account: Value,
    /// `CONSUMER.LIST` of every stream, raw.
    pub consumers: Vec<Value>,
    /// Through the monitoring port, or why not.
    pub monitored: Result<Monitored, String>,
    /// What is known of the place where it stores.
    pub store: Store,
}

/// Everything that is to be said of it.
#[must_use]
pub fn checkup(seen: &Seen) -> Vec<Remark> {
    let mut remarks = server::remarks(seen);
    remarks.extend(in_memory(seen));
    remarks.extend(consumers::remarks(seen));
    remarks.extend(limits::remarks(seen));
    remarks
}

/// So many of a kind are named; a server with thousands of streams has a page, not a book.
const NAMED_MAX: usize = 10;

/// The first of many, and how many more there are.
fn few(name: &'static str, mut remarks: Vec<Remark>) -> Vec<Remark> {
    // The gravest first.
    remarks.sort_by_key(|remark| std::cmp::Reverse(remark.state));
    let more = remarks.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        let state = remarks[NAMED_MAX].state;
        remarks.truncate(NAMED_MAX);
        remarks.push(Remark::new(state, name, format!("and {more} more of the kind")));
    }
    remarks
}

fn in_memory(seen: &Seen) -> Vec<Remark> {
    let memory =
        seen.observed.streams.iter().filter(|s| s.config.get("storage").is_some_and(|v| v == "memory"));
    let remarks = memory.map(|stream| {
        Remark::new(
            State::Warn,
            "memory",
            format!(
                "{} keeps its {} messages in memory: they are gone when the server ends",
                stream.name, stream.messages
            ),
        )
        .fix(format!("\"storage\": \"file\" in its file, and cargo xtask apply --replace {}", stream.name))
    });
    few("memory", remarks.collect())
}
