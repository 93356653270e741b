//! What goes over the wire: requests that name what they ask for, never more of them than are needed, and each change just after a
//! look at what it changes.

use crate::ground::{Ground, LINES, everything};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use streamproof_model::version::Release;

/// A request of the API: its subject without the prefix, its level, its body.
struct Sent {
    subject: String,
    level: Option<u64>,
    body: Value,
}

impl Sent {
    /// Whether it changes something.
    fn writes(&self) -> bool {
        ["CREATE", "UPDATE", "DELETE", "PAUSE", "PURGE"].iter().any(|verb| self.subject.contains(verb))
    }
}

/// What is sent while something is done, in order.
async fn sent(ground: &Ground, work: impl AsyncFnOnce()) -> Vec<Sent> {
    let mut requests = ground.js.client().subscribe("$JS.API.>").await.unwrap();
    ground.js.client().flush().await.unwrap();
    work().await;
    ground.js.client().publish("$JS.API.end", "".into()).await.unwrap();
    let mut sent = Vec::new();
    while let Some(request) = requests.next().await {
        let subject = request.subject.as_str().trim_start_matches("$JS.API.").to_owned();
        if subject == "end" {
            break;
        }
        let level = request.headers.as_ref().and_then(|headers| headers.get("Nats-Required-Api-Level"));
        sent.push(Sent {
            subject,
            level: level.and_then(|level| level.as_str().parse().ok()),
            body: serde_json::from_slice(&request.payload).unwrap_or_default(),
        });
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_pedantic_say_their_level_and_follow_a_look_at_what_they_change() {
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        let new = version.has(Release(2, 11, 0));
        let files = |text: &str, wait: u64| {
            [
                ("streams/S.json", json!({"name": "S", "subjects": ["s.*"], "description": text})),
                (
                    "consumers/S/C.json",
                    json!({"durable_name": "C", "ack_policy": "explicit", "ack_wait": wait * 1_000_000_000}),
                ),
            ]
        };
        for (text, wait, action) in [("one", 5, "create"), ("two", 6, "update")] {
            let sent =
                sent(&ground, async || drop(ground.settle(&files(text, wait), &everything()).await)).await;
            let subjects: Vec<&str> = sent.iter().map(|sent| sent.subject.as_str()).collect();
            let writes: Vec<usize> = (0..sent.len()).filter(|index| sent[*index].writes()).collect();
            let verb = action.to_uppercase();
            let written: Vec<&str> = writes.iter().map(|index| subjects[*index]).collect();
            let expected = [format!("STREAM.{verb}.S"), "CONSUMER.CREATE.S.C".to_owned()];
            assert_eq!(written.len(), 2, "{version} {subjects:?}");
            assert!(
                expected.iter().all(|subject| written.contains(&subject.as_str())),
                "{version} {written:?}"
            );
            for index in writes {
                let Sent { subject, level, body } = &sent[index];
                assert_eq!(level.is_some(), new, "{version} {subject}: level {level:?}");
                assert_eq!(body["pedantic"] == true, new, "{version} {subject}");
                if subject.starts_with("CONSUMER") {
                    assert_eq!(body["action"], action, "{version} {subject}");
                }
                if action == "update" {
                    let look = match subject.as_str() {
                        "CONSUMER.CREATE.S.C" => "CONSUMER.INFO.S.C",
                        _ => "STREAM.INFO.S",
                    };
                    // Of two that change at the same time each is looked at before its own change.
                    let last = subjects[..index].iter().rposition(|subject| *subject == look);
                    assert!(last.is_some_and(|last| index - last <= 2), "{version} {subjects:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_change_made_by_others_between_the_look_and_the_plan_is_not_overwritten() {
    let ground = Ground::new().await;
    let file = |wait: &str| {
        [
            ("streams/S.json", json!({"name": "S", "subjects": ["s.*"]})),
            ("consumers/S/C.json", json!({"durable_name": "C", "ack_policy": "explicit", "ack_wait": wait})),
        ]
    };
    ground.settle(&file("5s"), &everything()).await;
    let plan = ground.plan(&file("6s")).await;
    let theirs = json!({"stream_name": "S", "action": "update",
        "config": {"name": "C", "durable_name": "C", "ack_policy": "explicit", "ack_wait": 9_000_000_000u64}});
    ground.js.request("CONSUMER.CREATE.S.C", &theirs).await.unwrap();
    let journals = ground.journals.path();
    let refused = streamproof_provision::apply(&ground.js, &plan, &everything(), journals).await.unwrap_err();
    assert!(refused.to_string().contains("S/C"), "{refused}");
    let info = ground.js.request("CONSUMER.INFO.S.C", &Value::Null).await.unwrap();
    assert_eq!(info["config"]["ack_wait"], 9_000_000_000u64);
}
