//! Kills `apply` at random moments of a replacement, while others publish, and looks for what is lost.
//!
//! `cargo run -p streamproof-provision --example killed_apply -- [KILLS] [SEED]`
//!
//! Every try makes a stream with holes and a consumer that has acked some of it, lets a process of its own replace the
//! stream or the consumer, ends that process by SIGKILL, lets a second `apply` finish, and compares: every message that was
//! acked, before or meanwhile, under its sequence; and the consumer's position.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "an experiment for the terminal")]

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use streamproof_model::desired::Desired;
use streamproof_model::plan::{ConsumerSeen, Options};
use streamproof_model::project::{self, Project};
use streamproof_provision::{Allow, Js, bring, inspect, pending};
use streamproof_server::{PINNED, Scratch};

/// What is replaced by what: storage and retention before and after, and whether the consumer changes instead.
const SCENES: [(&str, &str, &str, &str, bool); 5] = [
    ("file", "limits", "memory", "limits", false),
    ("memory", "limits", "file", "limits", false),
    ("file", "limits", "file", "workqueue", false),
    ("file", "interest", "file", "interest", true),
    ("file", "limits", "file", "limits", true),
];

fn desired(scene: usize, after: bool) -> Desired {
    let (storage, retention, storage_after, retention_after, consumer) = SCENES[scene];
    let (storage, retention) = if after { (storage_after, retention_after) } else { (storage, retention) };
    let waiting = if after && consumer { 99 } else { 512 };
    let files = [
        (
            "streams/S.json",
            json!({"name": "S", "subjects": ["s.*"], "storage": storage, "retention": retention}),
        ),
        (
            "consumers/S/C.json",
            json!({"durable_name": "C", "ack_policy": "explicit", "max_waiting": waiting}),
        ),
    ];
    let files = files.into_iter().map(|(path, value)| (PathBuf::from(path), value.to_string()));
    let options = project::Options { root: PathBuf::new(), version: PINNED };
    Project::load(files, &options).unwrap().desired
}

fn consent() -> Allow {
    let replace = ["S", "S/C"].into_iter().map(str::to_owned).collect();
    Allow { data_loss: true, replace, ..Allow::default() }
}

async fn apply(url: &str, scene: usize, journals: &Path) {
    let js = Js::new(async_nats::connect(url).await.unwrap());
    let brought = bring(&js, &desired(scene, true), &Options::default(), &consent(), journals).await.unwrap();
    assert_eq!(brought.after.pending, 0);
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|w| w == "child") {
        apply(&words[2], words[3].parse().unwrap(), Path::new(&words[4])).await;
        return;
    }
    let tries: usize = words.get(1).map_or(200, |w| w.parse().unwrap());
    let mut seed: u64 = words.get(2).map_or(1, |w| w.parse().unwrap());
    let server = Scratch::new().unwrap();
    let (mut killed, mut caught, mut meanwhile) = (0, BTreeMap::<String, usize>::new(), 0);
    // How long a whole run takes, by scene, so that kills fall all over it.
    let mut lengths = [Duration::from_millis(30); SCENES.len()];
    let mut try_number = 0;
    while killed < tries {
        let scene = try_number % SCENES.len();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let part = u32::try_from(seed >> 40).unwrap() % 1000;
        let (was_killed, stage, during) =
            one(&server.url(), try_number, scene, lengths[scene] * part / 1000, &mut lengths[scene]).await;
        killed += usize::from(was_killed);
        meanwhile += during;
        if was_killed {
            *caught.entry(stage).or_default() += 1;
        }
        try_number += 1;
    }
    println!("{try_number} tries, {killed} killed before they ended, nothing lost");
    println!("{meanwhile} messages were acked while a replacement was under way");
    println!("where the journal stood: {caught:?}");
}

/// One try. Whether it was killed in time, where the journal stood, and how many messages were acked meanwhile.
async fn one(
    url: &str,
    try_number: usize,
    scene: usize,
    wait: Duration,
    length: &mut Duration,
) -> (bool, String, usize) {
    let client = async_nats::connect(url).await.unwrap();
    let js = Js::new(client.clone());
    let journals = tempfile::tempdir().unwrap();
    let _ = js.request("STREAM.DELETE.S", &Value::Null).await;
    bring(&js, &desired(scene, false), &Options::default(), &consent(), journals.path()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let mut acked: BTreeMap<u64, String> = BTreeMap::new();
    for i in 0..30 {
        let body = format!("{try_number}-{i}");
        let ack = context.publish(format!("s.{}", i % 3), body.clone().into()).await.unwrap().await.unwrap();
        acked.insert(ack.sequence, body);
    }
    js.request("STREAM.MSG.DELETE.S", &json!({ "seq": 17 })).await.unwrap();
    acked.remove(&17);
    let consumer: async_nats::jetstream::consumer::PullConsumer =
        context.get_stream("S").await.unwrap().get_consumer("C").await.unwrap();
    let mut batch = consumer.fetch().max_messages(5).messages().await.unwrap();
    while let Some(message) = batch.next().await {
        message.unwrap().double_ack().await.unwrap();
    }
    let interest = SCENES[scene].1 == "interest";
    if interest {
        acked.retain(|seq, _| *seq > 5);
    }
    // Somebody publishes all the while; what is acked has to be there in the end, in whatever stream it went to.
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = tokio::spawn({
        let (context, stop) = (context.clone(), stop.clone());
        async move {
            let mut acked = Vec::new();
            for i in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let body = format!("{try_number}-live-{i}");
                if let Ok(ack) = context.publish("s.9", body.clone().into()).await
                    && let Ok(Ok(ack)) = tokio::time::timeout(Duration::from_millis(200), ack).await
                {
                    acked.push((ack.sequence, body));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            acked
        }
    });
    let started = std::time::Instant::now();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", url, &scene.to_string(), journals.path().to_str().unwrap()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut ended = None;
    while started.elapsed() < wait {
        ended = child.try_wait().unwrap();
        if ended.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    if ended.is_none() {
        // A kill that comes too late is none: it is told by how the child ended.
        child.kill().unwrap();
    } else {
        *length = started.elapsed();
    }
    let killed = !child.wait().unwrap().success();
    let stage = stage(journals.path());
    apply(url, scene, journals.path()).await;
    stop.store(true, Ordering::Relaxed);
    let during = publisher.await.unwrap();
    acked.extend(during.iter().cloned());

    let shown = format!("try {try_number}, scene {:?}, killed after {wait:?} at {stage}", SCENES[scene]);
    for (seq, body) in &acked {
        let found = js.request("STREAM.MSG.GET.S", &json!({ "seq": seq })).await;
        let found = found.unwrap_or_else(|error| panic!("{shown}: message {seq} is lost: {error}"));
        let data = found.pointer("/message/data").and_then(Value::as_str).unwrap();
        assert_eq!(data, base64(body.as_bytes()), "{shown}: message {seq} is another");
    }
    let info = inspect::consumer(&js, "S", "C").await.unwrap();
    let position = ConsumerSeen::from_info(&info).unwrap().position();
    if SCENES[scene].3 != "workqueue" {
        assert_eq!(position, 5, "{shown}: the consumer's position");
    }
    assert!(pending(journals.path()).unwrap().is_empty(), "{shown}: a journal is left");
    (killed, stage, during.len())
}

fn stage(journals: &Path) -> String {
    let Some((_, path)) = pending(journals).unwrap().into_iter().next() else { return "none".into() };
    let journal: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let kind = if journal["consumer"].is_null() { "stream" } else { "consumer" };
    format!("{kind} {}", journal["stage"].as_str().unwrap())
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = usize::try_from(word >> (18 - 6 * place) & 63).unwrap();
            out.push(if place <= chunk.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    out
}
