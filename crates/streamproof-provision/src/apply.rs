//! Carrying a plan out: each step as it was decided, in order, in parallel where the order allows.

use crate::failure::ProvisionError;
use crate::journal;
use crate::observe::PARALLEL;
use crate::replace::{self, Halt};
use crate::reposition;
use crate::wire::{Js, is_missing};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use streamproof_model::desired::Kind;
use streamproof_model::plan::{Action, Bound, Document, Effect, Plan, Step, config_digest};

/// What the user consented to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow {
    /// Steps that delete stored messages.
    pub data_loss: bool,
    /// Switches that cannot be switched back.
    pub one_way: bool,
    /// Streams, buckets and consumers (`STREAM/CONSUMER`) that may be replaced.
    pub replace: BTreeSet<String>,
    /// Removing what carries our mark and is in no file.
    pub prune: bool,
    /// Leave out the steps that lack consent, and what waits for them, instead of refusing the whole plan.
    pub skip_refused: bool,
}

/// What was carried out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Applied {
    /// The steps that were done, in the order in which they ended.
    pub done: Vec<Done>,
    /// Steps that were left out for want of consent, each with the flags that it needs.
    pub skipped: Vec<Done>,
}

/// One step that was done, or left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Done {
    /// What it did.
    pub action: Action,
    /// About what kind of thing.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What to know about it.
    pub notes: Vec<String>,
}

/// The steps of a plan for which consent lacks, each with the error that says so.
#[must_use]
pub fn refused<'a>(plan: &'a Plan, allow: &Allow) -> Vec<(&'a Step, ProvisionError)> {
    plan.changing().filter_map(|step| Some((step, refusal(step, allow)?))).collect()
}

fn refusal(step: &Step, allow: &Allow) -> Option<ProvisionError> {
    let name = step.name.clone();
    if let Some(why) = &step.blocked {
        return Some(ProvisionError::Impossible { name, why: why.clone() });
    }
    if step.action == Action::Delete && !allow.prune {
        return Some(ProvisionError::PruneNeeded { name });
    }
    if step.action == Action::Replace && !allow.replace.contains(&step.name) {
        return Some(ProvisionError::ReplaceNeeded { name, why: step.why.clone() });
    }
    if step.action == Action::Update && step.effect == Effect::OneWay && !allow.one_way {
        return Some(ProvisionError::OneWay { name, why: step.why.clone() });
    }
    let loss = step.loses.as_ref().filter(|_| !allow.data_loss)?;
    let bound = match loss.messages_bound {
        Bound::Exact => "",
        Bound::AtMost => "up to ",
        Bound::AtLeast => "at least ",
        Bound::About => "about ",
    };
    Some(ProvisionError::DataLoss { name, messages: format!("{bound}{}", loss.messages) })
}

/// Carries a plan out. Consent is checked for the whole plan before anything is sent; `journals` is the folder in which
/// replacements are written down, so that an interrupted one can be finished.
///
/// # Errors
/// Where consent lacks, the server has moved since the plan was made, or the server refuses. Steps that ended before stay
/// done; the next plan has what is left.
pub async fn apply(js: &Js, plan: &Plan, allow: &Allow, journals: &Path) -> Result<Applied, ProvisionError> {
    apply_halted(js, plan, allow, journals, &Halt::never()).await
}

/// As [`apply`], for tests: `halt` ends it at a boundary of a replacement.
///
/// # Errors
/// As [`apply`], and where it was halted.
#[doc(hidden)]
pub async fn apply_halted(
    js: &Js,
    plan: &Plan,
    allow: &Allow,
    journals: &Path,
    halt: &Halt,
) -> Result<Applied, ProvisionError> {
    if let Some((name, path)) = journal::pending(journals)?.into_iter().next() {
        return Err(ProvisionError::Interrupted { name, journal: path.display().to_string() });
    }
    same_server(js, plan)?;
    let mut applied = Applied::default();
    let skipped = left_out(plan, allow, &mut applied)?;
    let carrier = Carrier {
        js,
        level: plan.server.api_level,
        pedantic: pedantic(&plan.server.version),
        journals,
        halt,
        touched: Mutex::new(BTreeMap::new()),
    };
    let mut waits: Vec<usize> = plan.steps.iter().map(|step| step.after.len()).collect();
    let mut waiters: Vec<Vec<usize>> = vec![Vec::new(); plan.steps.len()];
    for (index, step) in plan.steps.iter().enumerate() {
        for before in &step.after {
            if let Some(list) = waiters.get_mut(*before) {
                list.push(index);
            }
        }
    }
    let mut free: Vec<usize> = (0..plan.steps.len()).rev().filter(|i| waits[*i] == 0).collect();
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < PARALLEL {
            let Some(index) = free.pop() else { break };
            let step = &plan.steps[index];
            let idle = step.action == Action::None || skipped.contains(&index);
            let carrier = &carrier;
            under_way.push(async move {
                if idle {
                    Ok((index, None))
                } else {
                    carrier.carry(step).await.map(|notes| (index, Some(notes)))
                }
            });
        }
        let Some(ended) = under_way.next().await else { break };
        let (index, notes) = ended?;
        if let Some(notes) = notes {
            let step = &plan.steps[index];
            applied.done.push(Done { action: step.action, kind: step.kind, name: step.name.clone(), notes });
        }
        for waiting in &waiters[index] {
            waits[*waiting] -= 1;
            if waits[*waiting] == 0 {
                free.push(*waiting);
            }
        }
    }
    Ok(applied)
}

/// The steps to leave out: those without consent and those that wait for them.
fn left_out(plan: &Plan, allow: &Allow, applied: &mut Applied) -> Result<BTreeSet<usize>, ProvisionError> {
    let mut out = BTreeSet::new();
    for (index, step) in plan.steps.iter().enumerate().filter(|(_, step)| step.action != Action::None) {
        let refusal = refusal(step, allow);
        let waits = step.after.iter().any(|before| out.contains(before));
        match refusal {
            Some(error) if !allow.skip_refused => return Err(error),
            None if !waits => continue,
            _ => {}
        }
        out.insert(index);
        let notes = match &step.blocked {
            _ if waits => vec!["waits for a step that was left out".into()],
            Some(why) => vec![why.clone()],
            None => step.needs.clone(),
        };
        applied.skipped.push(Done { action: step.action, kind: step.kind, name: step.name.clone(), notes });
    }
    Ok(out)
}

fn same_server(js: &Js, plan: &Plan) -> Result<(), ProvisionError> {
    let info = js.client().server_info();
    if info.server_name == plan.server.name && info.version == plan.server.version {
        return Ok(());
    }
    Err(ProvisionError::PlanStale {
        name: format!(
            "the server (it was {} {}, it is {} {})",
            plan.server.name, plan.server.version, info.server_name, info.version
        ),
    })
}

/// Pedantic requests are known from 2.11 on.
pub(crate) fn pedantic(version: &str) -> bool {
    version.parse::<streamproof_model::version::Version>().is_ok_and(|v| (v.major, v.minor) >= (2, 11))
}

struct Carrier<'a> {
    js: &'a Js,
    level: u32,
    pedantic: bool,
    journals: &'a Path,
    halt: &'a Halt,
    /// What a stream or consumer became by a step of this plan: the next step on it expects that.
    touched: Mutex<BTreeMap<String, String>>,
}

impl Carrier<'_> {
    async fn carry(&self, step: &Step) -> Result<Vec<String>, ProvisionError> {
        match (step.action, &step.consumer) {
            (Action::None, _) => {}
            (Action::Create, None) => {
                self.send(step, "CREATE", step.document.as_ref()).await?;
            }
            (Action::Create, Some(name)) => {
                create_consumer(self.js, &step.stream, name, document(step)?, "create", self.wire()).await?;
            }
            (Action::Update, None) => {
                self.unmoved(step).await?;
                if step.first.is_some() {
                    self.send(step, "UPDATE", step.first.as_ref()).await?;
                }
                self.send(step, "UPDATE", step.document.as_ref()).await?;
            }
            (Action::Update, Some(name)) => {
                self.unmoved(step).await?;
                if let Some(document) = &step.document {
                    create_consumer(self.js, &step.stream, name, document, "update", self.wire()).await?;
                }
                if let Some(until) = &step.pause_until {
                    let body = if until.is_empty() { json!({}) } else { json!({ "pause_until": until }) };
                    self.js.request(&format!("CONSUMER.PAUSE.{}.{name}", step.stream), &body).await?;
                }
            }
            (Action::Delete, None) => {
                let info = self.unmoved(step).await?;
                let messages = info.pointer("/state/messages").and_then(Value::as_u64).unwrap_or(0);
                if step.loses.is_none() && messages > 0 {
                    return Err(ProvisionError::PlanStale { name: step.name.clone() });
                }
                self.js.request(&format!("STREAM.DELETE.{}", step.stream), &Value::Null).await?;
            }
            (Action::Delete, Some(name)) => {
                self.unmoved(step).await?;
                self.js.request(&format!("CONSUMER.DELETE.{}.{name}", step.stream), &Value::Null).await?;
            }
            (Action::Replace, None) => {
                let info = self.unmoved(step).await?;
                return replace::stream(self.js, step, &info, self.wire(), self.journals, self.halt).await;
            }
            (Action::Replace, Some(_)) => {
                let info = self.unmoved(step).await?;
                return reposition::consumer(self.js, step, &info, self.wire(), self.journals, self.halt)
                    .await;
            }
        }
        Ok(Vec::new())
    }

    fn wire(&self) -> Sending {
        Sending { level: self.level, pedantic: self.pedantic }
    }

    async fn send(&self, step: &Step, verb: &str, document: Option<&Document>) -> Result<(), ProvisionError> {
        let Some(document) = document else { return Ok(()) };
        let answer = write_stream(self.js, verb, document, self.wire()).await?;
        if let Some(config) = answer.get("config").and_then(Value::as_object) {
            let mut touched = self.touched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            touched.insert(step.stream.clone(), config_digest(config));
        }
        Ok(())
    }

    /// Reads the live document again and refuses where it is not the one that the plan saw. JetStream has no
    /// compare-and-set for configurations: this is as near as one comes.
    async fn unmoved(&self, step: &Step) -> Result<Value, ProvisionError> {
        let subject = match &step.consumer {
            Some(name) => format!("CONSUMER.INFO.{}.{name}", step.stream),
            None => format!("STREAM.INFO.{}", step.stream),
        };
        let stale = || ProvisionError::PlanStale { name: step.name.clone() };
        let info = match self.js.request(&subject, &Value::Null).await {
            Err(error) if is_missing(&error) => return Err(stale()),
            other => other?,
        };
        let now = info.get("config").and_then(Value::as_object).map(config_digest).unwrap_or_default();
        let key =
            step.consumer.as_ref().map_or_else(|| step.stream.clone(), |c| format!("{}/{c}", step.stream));
        let touched = self.touched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let expected = touched.get(&key).unwrap_or(&step.seen);
        if *expected == now { Ok(info) } else { Err(stale()) }
    }
}

/// How a configuration is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending {
    /// The API level that the plan was made for; 0 where the server does not say.
    pub(crate) level: u32,
    /// Whether the server shall refuse rather than rewrite.
    pub(crate) pedantic: bool,
}

fn document(step: &Step) -> Result<&Document, ProvisionError> {
    step.document.as_ref().ok_or_else(|| ProvisionError::Impossible {
        name: step.name.clone(),
        why: "the plan has no document for it".into(),
    })
}

/// How often, and how far apart, a stream is tried to be made where another was just removed: the server removes the folder of
/// the old one, and with the last stream that of all streams, behind its answer; until then it has no place for the new one and
/// says 10049 (seen on 2.10.25 and 2.15.1). The same number says of a transform on 2.10 that it is illegal: that stays so.
const CREATE_TRIES: u32 = 100;
const CREATE_PAUSE: Duration = Duration::from_millis(50);

/// `STREAM.CREATE` or `STREAM.UPDATE`.
pub(crate) async fn write_stream(
    js: &Js,
    verb: &str,
    document: &Document,
    how: Sending,
) -> Result<Value, ProvisionError> {
    let name = document.get("name").and_then(Value::as_str).unwrap_or_default();
    let mut body = document.clone();
    if how.pedantic {
        body.insert("pedantic".into(), true.into());
    }
    let subject = format!("STREAM.{verb}.{name}");
    let body = Value::Object(body);
    for _ in 1..CREATE_TRIES {
        match js.request_at_level(&subject, &body, how.level).await {
            Err(ProvisionError::Refused { err_code: 10049, description, .. })
                if verb == "CREATE" && description.contains("stor") =>
            {
                tokio::time::sleep(CREATE_PAUSE).await;
            }
            other => return other,
        }
    }
    js.request_at_level(&subject, &body, how.level).await
}

/// `CONSUMER.CREATE` with the action that says what is meant: never create-or-update, which would silently take over a
/// consumer of the same name.
pub(crate) async fn create_consumer(
    js: &Js,
    stream: &str,
    name: &str,
    document: &Document,
    action: &str,
    how: Sending,
) -> Result<Value, ProvisionError> {
    let mut config = document.clone();
    config.insert("name".into(), name.into());
    config.insert("durable_name".into(), name.into());
    let mut body = json!({ "stream_name": stream, "config": config, "action": action });
    if let Some(body) = body.as_object_mut().filter(|_| how.pedantic) {
        body.insert("pedantic".into(), true.into());
    }
    js.request_at_level(&format!("CONSUMER.CREATE.{stream}.{name}"), &body, how.level).await
}
