//! To whom a push consumer delivers after its group has changed.

use crate::ground::{Ground, LINES, everything, replacing, until_or};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use streamproof_model::plan::Action;

const SENT: u64 = 5;

/// How many messages a member of that group gets, until it has all of them or that long.
async fn member_gets(ground: &Ground, group: &str, within: Duration) -> u64 {
    let client = ground.js.client();
    let mut member = client.queue_subscribe("to.here", group.to_owned()).await.unwrap();
    client.flush().await.unwrap();
    ground.publish("s.a", SENT).await;
    let (mut got, end) = (0, Instant::now() + within);
    until_or(end, async || {
        while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(50), member.next()).await {
            client.publish(message.reply.unwrap(), "".into()).await.unwrap();
            got += 1;
        }
        got >= SENT
    })
    .await;
    member.unsubscribe().await.unwrap();
    client.flush().await.unwrap();
    got
}

/// The servers take another group in place, and go on looking for members of the old one: so it is made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_group_is_delivered_to_only_by_a_consumer_that_was_made_anew() {
    let mut table = String::new();
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        let files = |group: &str| {
            [
                ("streams/S.json", json!({"name": "S", "subjects": ["s.*"]})),
                (
                    "consumers/S/C.json",
                    json!({"durable_name": "C", "ack_policy": "explicit", "deliver_subject": "to.here",
                        "deliver_group": group}),
                ),
            ]
        };
        ground.settle(&files("old"), &everything()).await;
        assert_eq!(member_gets(&ground, "old", Duration::from_secs(30)).await, SENT, "{version}");
        let plan = ground.plan(&files("new")).await;
        let step = plan.changing().next().unwrap();
        assert_eq!((step.action, step.name.as_str()), (Action::Replace, "S/C"), "{version}");
        let config = Value::Object(step.document.clone().unwrap());
        let body = json!({"stream_name": "S", "action": "update", "config": config});
        ground.js.request("CONSUMER.CREATE.S.C", &body).await.unwrap();
        // That none comes can only be seen by waiting.
        let in_place = member_gets(&ground, "new", Duration::from_secs(1)).await;
        ground.settle(&files("old"), &replacing(&["S/C"])).await;
        ground.settle(&files("new"), &replacing(&["S/C"])).await;
        let anew = member_gets(&ground, "new", Duration::from_secs(30)).await;
        assert!(anew >= SENT, "{version}: {anew}");
        writeln!(
            table,
            "{version}: changed in place a member of the new group gets {in_place}, made anew all"
        )
        .unwrap();
    }
    insta::assert_snapshot!("groups", table);
}
