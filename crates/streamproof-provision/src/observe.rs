//! Looking at a server: its streams and consumers as raw documents, paged and in parallel.

use crate::failure::ProvisionError;
use crate::wire::{Js, is_missing};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use streamproof_model::plan::{AccountSeen, ConsumerSeen, Observed, Older, ServerSeen, StreamSeen, Want};

/// Requests under way at once. The server works through API requests one after the other; this many keep it busy
/// without filling its queue (nats-server drops API requests beyond 10,000 waiting: `JSDefaultRequestQueueLimit`).
pub(crate) const PARALLEL: usize = 64;

/// Looks at everything: every stream, and every consumer of it.
///
/// # Errors
/// Where the server does not answer, or not in full.
pub async fn observe(js: &Js) -> Result<Observed, ProvisionError> {
    let (mut observed, streams) = tokio::try_join!(account(js), list(js, "STREAM.LIST", "streams"))?;
    observed.streams = streams.iter().filter_map(StreamSeen::from_info).collect();
    observed.at =
        streams.iter().filter_map(|s| s.get("ts")?.as_str()).max().map(str::to_owned).or(observed.at);
    observed.consumers = consumers(js, &observed.streams).await?;
    sort(&mut observed);
    Ok(observed)
}

/// Looks at the named streams and their consumers only. A stream that is not there is left out.
///
/// # Errors
/// Where the server does not answer.
pub async fn observe_streams(js: &Js, names: &[String]) -> Result<Observed, ProvisionError> {
    let mut observed = account(js).await?;
    let infos: Vec<Option<Value>> = stream::iter(names.to_vec())
        .map(|name| async move {
            match js.request(&format!("STREAM.INFO.{name}"), &Value::Null).await {
                Ok(info) => Ok(Some(info)),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    let infos: Vec<Value> = infos.into_iter().flatten().collect();
    observed.streams = infos.iter().filter_map(StreamSeen::from_info).collect();
    observed.at = infos.iter().filter_map(|s| s.get("ts")?.as_str()).max().map(str::to_owned).or(observed.at);
    observed.consumers = consumers(js, &observed.streams).await?;
    sort(&mut observed);
    Ok(observed)
}

/// Fetches what a plan asked for to say exactly how much would be deleted. Reads only.
///
/// # Errors
/// Where the server does not answer.
pub async fn refine(js: &Js, observed: &mut Observed, wanted: &[Want]) -> Result<(), ProvisionError> {
    for want in wanted {
        match want {
            Want::Subjects { stream } => {
                let subjects = subjects_of(js, stream).await?;
                if let Some(seen) = observed.streams.iter_mut().find(|s| &s.name == stream) {
                    seen.subjects = Some(subjects);
                }
            }
            Want::Older { stream, before, age_ns } => {
                let Some(seen) = observed.streams.iter_mut().find(|s| &s.name == stream) else { continue };
                let first_kept_seq = first_since(js, seen, before).await?;
                seen.older = Some(Older { age_ns: *age_ns, first_kept_seq });
            }
        }
    }
    Ok(())
}

async fn account(js: &Js) -> Result<Observed, ProvisionError> {
    let answer = js.request("INFO", &Value::Null).await?;
    let info = js.client().server_info();
    let api_level = answer.pointer("/api/level").and_then(Value::as_u64).unwrap_or(0);
    Ok(Observed {
        server: ServerSeen {
            name: info.server_name.clone(),
            version: info.version.clone(),
            url: format!("nats://{}:{}", info.host, info.port),
            id: info.server_id.clone(),
            // The answer itself does not say: what the server told when it was connected to does.
            clustered: info.cluster.is_some(),
            api_level: u32::try_from(api_level).unwrap_or(u32::MAX),
        },
        account: AccountSeen {
            domain: answer.get("domain").and_then(Value::as_str).map(str::to_owned),
            limits: answer.get("limits").and_then(Value::as_object).cloned().unwrap_or_default(),
        },
        ..Observed::default()
    })
}

/// Every page of a list. The first says how many there are; the others are fetched in parallel.
pub(crate) async fn list(js: &Js, subject: &str, key: &str) -> Result<Vec<Value>, ProvisionError> {
    let page = |offset: u64| async move {
        let mut answer = js.request(subject, &json!({ "offset": offset })).await?;
        if let Some(missing) = answer.get("missing").and_then(Value::as_array).filter(|m| !m.is_empty()) {
            let missing = missing.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
            return Err(ProvisionError::Partial { missing });
        }
        let items = match answer.get_mut(key).map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        let number = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or(0);
        Ok((items, number("total"), number("limit")))
    };
    let (mut items, total, limit) = page(0).await?;
    let step = if limit > 0 { limit } else { items.len() as u64 };
    if step == 0 || items.len() as u64 >= total {
        return Ok(items);
    }
    let offsets: Vec<u64> = (step..total).step_by(usize::try_from(step).unwrap_or(usize::MAX)).collect();
    let pages: Vec<Vec<Value>> = stream::iter(offsets)
        .map(|offset| async move { Ok::<_, ProvisionError>(page(offset).await?.0) })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    items.extend(pages.into_iter().flatten());
    Ok(items)
}

async fn consumers(js: &Js, streams: &[StreamSeen]) -> Result<Vec<ConsumerSeen>, ProvisionError> {
    let names: Vec<String> =
        streams.iter().filter(|s| s.consumer_count > 0).map(|s| s.name.clone()).collect();
    let lists: Vec<Vec<Value>> = stream::iter(names)
        .map(|name| async move {
            match list(js, &format!("CONSUMER.LIST.{name}"), "consumers").await {
                Err(error) if is_missing(&error) => Ok(Vec::new()),
                other => other,
            }
        })
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    Ok(lists.iter().flatten().filter_map(ConsumerSeen::from_info).collect())
}

fn sort(observed: &mut Observed) {
    observed.streams.sort_by(|a, b| a.name.cmp(&b.name));
    observed.streams.dedup_by(|a, b| a.name == b.name);
    observed.consumers.sort_by(|a, b| (&a.stream, &a.name).cmp(&(&b.stream, &b.name)));
    observed.consumers.dedup_by(|a, b| a.stream == b.stream && a.name == b.name);
}

/// Messages by subject; the server gives at most 100,000 a page (`JSMaxSubjectDetails`).
async fn subjects_of(js: &Js, stream: &str) -> Result<serde_json::Map<String, Value>, ProvisionError> {
    let mut all = serde_json::Map::new();
    loop {
        let offset = all.len();
        let answer = js
            .request(&format!("STREAM.INFO.{stream}"), &json!({ "subjects_filter": ">", "offset": offset }))
            .await?;
        let page = answer.pointer("/state/subjects").and_then(Value::as_object).cloned().unwrap_or_default();
        let total = answer.get("total").and_then(Value::as_u64).unwrap_or(0);
        all.extend(page);
        if all.len() == offset || all.len() as u64 >= total {
            return Ok(all);
        }
    }
}

/// The first sequence stored at or after a moment, by bisection: times never go back within a stream.
async fn first_since(js: &Js, seen: &StreamSeen, moment: &str) -> Result<u64, ProvisionError> {
    let (mut low, mut high) = (seen.first_seq, seen.last_seq + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let request = json!({ "seq": middle, "next_by_subj": ">" });
        match js.request(&format!("STREAM.MSG.GET.{}", seen.name), &request).await {
            Ok(answer) => {
                let time = answer.pointer("/message/time").and_then(Value::as_str).unwrap_or_default();
                let seq = answer.pointer("/message/seq").and_then(Value::as_u64).unwrap_or(middle);
                if streamproof_model::moment::earlier(time, moment) {
                    low = seq + 1;
                } else {
                    high = middle;
                }
            }
            // 10037: no message found: nothing at or after it.
            Err(ProvisionError::Refused { err_code: 10037, .. }) => high = middle,
            Err(error) => return Err(error),
        }
    }
    Ok(low)
}
