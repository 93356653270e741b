//! A plan as a document: steps in order, what each costs, and a digest of what was seen.

use super::observed::Document;
use crate::desired::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The format of a saved plan. A reader refuses any other.
pub const FORMAT: &str = "streamproof-plan/1";

/// What to do to bring a server in line with the files, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: String,
    /// The server that was looked at.
    pub server: PlanServer,
    /// How many steps change something.
    pub pending: usize,
    /// The steps, in an order in which they can be carried out.
    pub steps: Vec<Step>,
    /// What is on the server and in no file. Never touched without `--prune`.
    pub unmanaged: Vec<Unmanaged>,
    /// What the reader should know besides.
    pub notes: Vec<String>,
    /// A digest of all that was seen and decided, see [`Plan::digest_of`].
    pub digest: String,
}

/// The server that a plan is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanServer {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it was reached.
    pub url: String,
    /// Its JetStream API level; 0 where it does not say.
    pub api_level: u32,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Make what is not there.
    Create,
    /// Change in place.
    Update,
    /// Back up, remove, make anew, bring back.
    Replace,
    /// Remove.
    Delete,
    /// In line already.
    None,
}

/// How a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The server changes it where it is.
    InPlace,
    /// The server refuses to change it: it has to be made anew.
    Replace,
    /// The server changes it, and never back.
    OneWay,
    /// The server takes it and does nothing.
    Ineffective,
}

/// Where the wanted value of a field comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The file sets it.
    Declared,
    /// No file says it: the server's own default.
    ServerDefault,
    /// No file says it, and the server holds something else than its default.
    Drift,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The field, dotted where it is nested.
    pub path: String,
    /// What the server has; null where nothing.
    pub from: Value,
    /// What is wanted; null where nothing.
    pub to: Value,
    /// Where the wanted value comes from.
    pub class: Class,
    /// How it takes effect.
    pub effect: Effect,
    /// The rule behind the effect, with its source, where it is not simply in place.
    pub rule: Option<String>,
}

/// How well a number is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// Exactly this many.
    Exact,
    /// This many or fewer.
    AtMost,
    /// This many or more.
    AtLeast,
    /// Worked out from averages.
    About,
}

/// Stored data that a step deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Messages that go.
    pub messages: u64,
    /// Bytes that go.
    pub bytes: u64,
    /// How well the number of messages is known.
    pub messages_bound: Bound,
    /// How well the number of bytes is known.
    pub bytes_bound: Bound,
}

/// A consumer that is made again after its stream was replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// Its name.
    pub name: String,
    /// The document to make it from, but for the position, which is read when the time comes.
    pub document: Document,
}

/// What a replacement does with what was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restore {
    /// The server's own snapshot goes into the new stream: sequences, times and headers stay.
    Snapshot,
    /// Every message is stored again under its old sequence; the time of storing is new.
    Copy,
    /// Nothing is brought back (a mirror fills itself from its origin).
    Nothing,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What it does.
    pub action: Action,
    /// About what kind of thing.
    pub kind: Kind,
    /// Its name: a stream, `STREAM/CONSUMER`, or a bucket.
    pub name: String,
    /// The fields that differ.
    pub changes: Vec<Change>,
    /// The gravest effect among the changes.
    pub effect: Effect,
    /// Stored data that goes with it.
    pub loses: Option<Loss>,
    /// Flags without which it is not carried out.
    pub needs: Vec<String>,
    /// Why no server carries it out, whatever the flags; `null` where it can be carried out.
    pub blocked: Option<String>,
    /// Why it is as it is, in a sentence; empty where there is nothing to say.
    pub why: String,
    /// What else to know: one sentence each.
    pub notes: Vec<String>,
    /// The stream it touches.
    pub stream: String,
    /// The consumer it touches, if it is about one.
    pub consumer: Option<String>,
    /// Steps (by index) that must be done before.
    pub after: Vec<usize>,
    /// The whole document to send; `null` where nothing is sent.
    pub document: Option<Document>,
    /// An update to send before `document`: the server refuses some changes in one request.
    pub first: Option<Document>,
    /// A pause to set (RFC 3339) or, as an empty string, to lift, through `CONSUMER.PAUSE`.
    pub pause_until: Option<String>,
    /// Consumers to make again after a stream was replaced.
    pub carries: Vec<Carried>,
    /// What a replacement does with what was stored.
    pub restore: Option<Restore>,
    /// Digest of the live configuration that was seen; empty where there was none.
    pub seen: String,
}

/// Something that is on the server and in no file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmanaged {
    /// What kind of thing.
    pub kind: Kind,
    /// Its name: a stream, `STREAM/CONSUMER`, or a bucket.
    pub name: String,
    /// Whether it carries our mark: only such are ever pruned.
    pub ours: bool,
    /// Messages in it (streams).
    pub messages: u64,
}

/// A saved plan that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not a plan.
    #[error("not a saved plan: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A plan of another format.
    #[error("a plan of format {found:?}, this program reads {FORMAT:?}")]
    Format {
        /// What it says it is.
        found: String,
    },
    /// The digest does not fit the content.
    #[error("the plan was changed after it was saved: its digest does not fit")]
    Altered,
}

impl crate::failure::Failure for PlanError {
    fn code(&self) -> crate::failure::Code {
        crate::failure::Code::InvalidPlan
    }

    fn help(&self) -> Option<String> {
        Some("make it again: cargo xtask plan --out FILE".into())
    }
}

impl Plan {
    /// Steps that change something.
    pub fn changing(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|s| s.action != Action::None)
    }

    /// The plan as the document that `--out FILE` writes and the `data` of `plan --json`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        // Strings, numbers and maps with string keys only: there is nothing in it that JSON cannot hold.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Reads a saved plan.
    ///
    /// # Errors
    /// Where the text is no plan, is one of another format, or was changed after it was saved.
    pub fn from_json(text: &str) -> Result<Self, PlanError> {
        let value: Value = serde_json::from_str(text)?;
        let found = value.get("format").and_then(Value::as_str).unwrap_or_default();
        if found != FORMAT {
            return Err(PlanError::Format { found: found.to_owned() });
        }
        let plan: Plan = serde_json::from_value(value)?;
        if Self::digest_of(&plan) != plan.digest {
            return Err(PlanError::Altered);
        }
        Ok(plan)
    }

    /// The digest of a plan: of everything in it but the digest itself.
    #[must_use]
    pub fn digest_of(plan: &Plan) -> String {
        let mut value = plan.to_json();
        if let Some(object) = value.as_object_mut() {
            object.remove("digest");
        }
        digest(&value)
    }
}

/// SHA-256 of a value, keys sorted, as `sha256:<hex>`.
#[must_use]
pub fn digest(value: &Value) -> String {
    let mut hasher = Sha256::new();
    hasher.update(canonical(value).as_bytes());
    let mut out = String::from("sha256:");
    for byte in hasher.finalize() {
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

/// The digest of a live configuration: what the server adds for itself (`_nats.*`) is left out, because an
/// upgrade of the server changes it.
#[must_use]
pub fn config_digest(config: &Document) -> String {
    digest(&Value::Object(without_server_marks(config)))
}

/// A configuration without the `_nats.*` metadata that the server adds from 2.11 on (ADR-44).
#[must_use]
pub fn without_server_marks(config: &Document) -> Document {
    let mut config = config.clone();
    if let Some(Value::Object(metadata)) = config.get_mut("metadata") {
        metadata.retain(|key, _| !key.starts_with("_nats."));
        if metadata.is_empty() {
            config.remove("metadata");
        }
    }
    config
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by(|a, b| a.0.cmp(b.0));
            let parts: Vec<String> = keys
                .into_iter()
                .map(|(k, v)| format!("{}:{}", Value::String(k.clone()), canonical(v)))
                .collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}
