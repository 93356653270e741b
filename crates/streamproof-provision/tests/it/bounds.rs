//! Buckets and object stores whose bounds are lowered below what they hold, and streams that hold more than they take: what goes is
//! said before, and goes.

use crate::costs::{aged, fits};
use crate::ground::{Ground, LINES, everything, until_or};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use streamproof_model::failure::{Code, Failure as _};
use streamproof_model::plan::{Bound, Loss};
use streamproof_provision::{Allow, inspect};

const HELD: u64 = 12;

/// Waits until what was said to go is gone; where nothing was, a second long that nothing goes.
async fn goes(about: &str, loss: Option<Loss>, mut gone: impl AsyncFnMut() -> u64) {
    let mut last = 0;
    let bound = Duration::from_secs(if loss.is_some() { 5 } else { 1 });
    let so = until_or(Instant::now() + bound, async || {
        last = gone().await;
        last > 0 && fits(loss, last)
    });
    let so = so.await;
    assert!(so || (loss.is_none() && last == 0), "{about}: {loss:?} was said, {last} are gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bucket_with_lower_bounds_loses_is_said_before() {
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        for (path, stream, subject, more, bound) in [
            ("kv/B.json", "KV_B", "$KV.B", json!({"ttl": 500_000_000}), Some(Bound::Exact)),
            ("kv/B.json", "KV_B", "$KV.B", json!({"max_bytes": 300}), None),
            ("objects/B.json", "OBJ_B", "$O.B.C", json!({"ttl": 500_000_000}), Some(Bound::Exact)),
            ("objects/B.json", "OBJ_B", "$O.B.C", json!({"max_bytes": 300}), None),
        ] {
            let about = format!("{version} {path} {more}");
            let file = |more: &Value| {
                let mut document = json!({"bucket": "B"});
                document.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
                [(path, document)]
            };
            let held = async || {
                let info = inspect::stream(&ground.js, stream).await.unwrap();
                info.pointer("/state/messages").and_then(Value::as_u64).unwrap()
            };
            ground.settle(&file(&json!({})), &everything()).await;
            for key in 0..HELD {
                ground.publish(&format!("{subject}.{key}"), 1).await;
            }
            aged(&ground, stream).await;
            let plan = ground.plan(&file(&more)).await;
            let step = plan.changing().next().unwrap();
            assert_eq!(step.loses.map(|loss| loss.messages_bound), bound, "{about}");
            if step.loses.is_some() {
                let unarmed = Allow::default();
                let refused = ground.bring(&file(&more), &unarmed).await.unwrap_err();
                assert_eq!(refused.code(), Code::DataLoss, "{about}");
                assert_eq!(held().await, HELD, "{about}: refused, and yet sent");
            }
            ground.settle(&file(&more), &everything()).await;
            goes(&about, step.loses, async || HELD - held().await).await;
            ground.js.request(&format!("STREAM.DELETE.{stream}"), &Value::Null).await.unwrap();
        }
    }
}

/// A stream that discards new messages holds what it is over; no limit is lowered when that goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stream_is_over_goes_when_it_discards_old_messages_again() {
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        for (limit, bound) in
            [(json!({"max_msgs": 5}), Bound::Exact), (json!({"max_bytes": 300}), Bound::About)]
        {
            let about = format!("{version} {limit}");
            let file = |discard: &str, limit: &Value| {
                let mut document = json!({"name": "S", "subjects": ["s"], "discard": discard});
                document.as_object_mut().unwrap().extend(limit.as_object().cloned().unwrap());
                [("streams/S.json", document)]
            };
            let held = async || {
                let info = inspect::stream(&ground.js, "S").await.unwrap();
                info.pointer("/state/messages").and_then(Value::as_u64).unwrap()
            };
            ground.settle(&file("old", &json!({})), &everything()).await;
            ground.publish("s", HELD).await;
            // Held, though it is over: nothing to consent to.
            ground.settle(&file("new", &limit), &Allow::default()).await;
            assert_eq!(held().await, HELD, "{about}");
            let plan = ground.plan(&file("old", &limit)).await;
            let loss = plan.changing().next().unwrap().loses;
            assert_eq!(loss.map(|loss| loss.messages_bound), Some(bound), "{about}");
            let refused = ground.bring(&file("old", &limit), &Allow::default()).await.unwrap_err();
            assert_eq!(refused.code(), Code::DataLoss, "{about}");
            assert_eq!(held().await, HELD, "{about}: refused, and yet sent");
            ground.settle(&file("old", &limit), &everything()).await;
            goes(&about, loss, async || HELD - held().await).await;
            ground.js.request("STREAM.DELETE.S", &Value::Null).await.unwrap();
        }
    }
}
