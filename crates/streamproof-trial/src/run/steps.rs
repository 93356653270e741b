//! The steps of a leg, each as calls of a site.

use serde_json::{Value, json};
use streamproof_model::op::Call;

use crate::site::{Halt, Site};
use crate::workload::{Pick, Purged, Refusal, Step};

pub(crate) fn perform(site: &mut Site<'_>, step: &Step) -> Result<(), Halt> {
    match step {
        Step::Publish { count, len_min, len_max, window, subjects, ids, headers, ttl_s } => {
            site.publish_many(*count, (*len_min, *len_max), *window, *subjects, *ids, *headers, *ttl_s)
        }
        Step::Again { count } => site.again(*count),
        Step::Expect { right, of_subject } => site.expect(*right, *of_subject),
        Step::Rollup => site.rollup(),
        Step::KvDelete => site.kv_delete(),
        Step::Consume { consumer, .. } | Step::Drain { consumer, .. } if site.missing.contains(consumer) => {
            Ok(())
        }
        Step::Consume { consumer, count, acks } => site.consume(*consumer, *count, *acks).map(|_| ()),
        Step::Drain { consumer, leave } => site.drain(*consumer, *leave),
        Step::Delete { pick, count, erase } => delete(site, *pick, *count, *erase),
        Step::Purge { what } => purge(site, *what),
        Step::UpdateStream => site.update_stream(),
        Step::UpdateConsumer { consumer } => site.update_consumer(*consumer),
        Step::Refused { what } => refused(site, *what),
    }
}

fn delete(site: &mut Site<'_>, pick: Pick, count: u32, erase: bool) -> Result<(), Halt> {
    let live: Vec<u64> = site.live.keys().copied().collect();
    let count = (count as usize).min(live.len());
    let chosen: Vec<u64> = match pick {
        Pick::Oldest => live[..count].to_vec(),
        Pick::Newest => live[live.len() - count..].to_vec(),
        Pick::Run => {
            let start = site.seed.below((live.len() - count) as u64 + 1) as usize;
            live[start..start + count].to_vec()
        }
        Pick::Scattered => {
            let mut all = live;
            site.seed.shuffle(&mut all);
            all.truncate(count);
            all
        }
    };
    for seq in chosen {
        site.check_cancel()?;
        let request = if erase { json!({ "seq": seq }) } else { json!({ "seq": seq, "no_erase": true }) };
        let subject = format!("STREAM.MSG.DELETE.{}", site.target.name);
        let outcome = site.call(&Call::Delete { stream: site.id, seq, erase }, &subject, &request)?;
        if outcome.happened() {
            site.live.remove(&seq);
        }
    }
    Ok(())
}

fn purge(site: &mut Site<'_>, what: Purged) -> Result<(), Halt> {
    let (mut filter, mut before, mut keep) = (None, None, None);
    let mut request = json!({});
    match what {
        Purged::All => {}
        Purged::Subject => {
            let subject = site.seed.below(site.subject_count() as u64) as usize;
            let name = site.subject_name(subject).to_owned();
            request["filter"] = json!(name);
            filter = Some(site.recorder.subject(&name));
        }
        Purged::Before => {
            let Some(seq) = site.live.keys().nth(site.live.len() / 2).copied() else { return Ok(()) };
            request["seq"] = json!(seq);
            before = Some(seq);
        }
        Purged::Keep => {
            request["keep"] = json!(3);
            keep = Some(3);
        }
    }
    let subject = format!("STREAM.PURGE.{}", site.target.name);
    site.call(&Call::Purge { stream: site.id, filter, before, keep }, &subject, &request)?;
    // What is left is known again at the next read-back; deletes until then find less to delete.
    site.live.clear();
    Ok(())
}

fn refused(site: &mut Site<'_>, what: Refusal) -> Result<(), Halt> {
    let name = site.target.name.clone();
    let (what, subject, request): (String, String, Value) = match what {
        Refusal::DeniedDelete => (
            "a delete where it is denied".to_owned(),
            format!("STREAM.MSG.DELETE.{name}"),
            json!({ "seq": 1 }),
        ),
        Refusal::DeniedPurge => {
            ("a purge where it is denied".to_owned(), format!("STREAM.PURGE.{name}"), json!({}))
        }
        Refusal::ChangedStorage => {
            let mut config = site.config.clone();
            config["storage"] = json!(if site.target.rules.memory { "file" } else { "memory" });
            ("another storage for a stream that is there".to_owned(), format!("STREAM.UPDATE.{name}"), config)
        }
        Refusal::ChangedAckPolicy => {
            let consumer = site.target.consumers[0].name.clone();
            let mut config = site.consumer_configs[0].clone();
            let explicit = config["ack_policy"] == json!("explicit");
            config["ack_policy"] = json!(if explicit { "all" } else { "explicit" });
            let request = json!({ "stream_name": name, "config": config, "action": "update" });
            (
                "another ack policy for a consumer that is there".to_owned(),
                format!("CONSUMER.DURABLE.CREATE.{name}.{consumer}"),
                request,
            )
        }
    };
    site.call(&Call::MustRefuse { stream: site.id, what }, &subject, &request)?;
    Ok(())
}
