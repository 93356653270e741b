//! What a plan says of losses, order, ownership and consent; what apply refuses; what export gives back.

use crate::ground::{Ground, LINES, everything, from_export, pending, replacing, until};
use serde_json::{Value, json};
use streamproof_model::failure::{Code, Failure as _};
use streamproof_model::moment;
use streamproof_model::plan::{self, Action, Bound, MARK_KEY, Options, Plan};
use streamproof_provision::{Allow, apply, export, inspect, observe, plan_for};

#[tokio::test]
async fn lowered_limits_are_counted_before_they_delete() {
    let ground = Ground::new().await;
    let file = |more: Value| {
        let mut doc = json!({"name": "S", "subjects": ["s.*"]});
        doc.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        [("streams/S.json", doc)]
    };
    ground.settle(&file(json!({})), &Allow::default()).await;
    ground.publish("s.a", 30).await;
    ground.publish("s.b", 20).await;
    let loss = |plan: &Plan| plan.changing().next().unwrap().loses.unwrap();

    let by_count = loss(&ground.plan(&file(json!({"max_msgs": 10}))).await);
    assert_eq!((by_count.messages, by_count.messages_bound), (40, Bound::Exact));
    let by_subject = loss(&ground.plan(&file(json!({"max_msgs_per_subject": 5}))).await);
    assert_eq!((by_subject.messages, by_subject.messages_bound), (40, Bound::Exact));
    let by_bytes = loss(&ground.plan(&file(json!({"max_bytes": 100}))).await);
    assert_eq!(by_bytes.bytes_bound, Bound::AtLeast);
    let interest = loss(&ground.plan(&file(json!({"retention": "interest"}))).await);
    assert_eq!((interest.messages, interest.messages_bound), (50, Bound::AtMost));
    // Far above what is there: nothing goes, nothing is asked for.
    let plan = ground.plan(&file(json!({"max_msgs": 1000, "max_age": 3_600_000_000_000u64}))).await;
    assert_eq!(plan.changing().next().unwrap().loses, None);

    let error = ground.bring(&file(json!({"max_msgs": 10})), &Allow::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss);
    let before = inspect::stream(&ground.js, "S").await.unwrap();
    assert_eq!(before.pointer("/state/messages"), Some(&json!(50)), "refused, and yet sent");
    ground.settle(&file(json!({"max_msgs": 10})), &everything()).await;
    let after = inspect::stream(&ground.js, "S").await.unwrap();
    assert_eq!(after.pointer("/state/messages"), Some(&json!(10)), "the plan said 40 of 50 go");
}

#[tokio::test]
async fn a_shorter_age_is_counted_exactly() {
    let ground = Ground::new().await;
    let file = |age: u64| [("streams/S.json", json!({"name": "S", "max_age": age}))];
    ground.settle(&file(0), &Allow::default()).await;
    ground.publish("S", 7).await;
    let last = inspect::stream(&ground.js, "S").await.unwrap();
    let last = last.pointer("/state/last_ts").and_then(Value::as_str).unwrap().to_owned();
    // Two seconds by the server's own clock, so that the first seven are older than what comes next.
    until("they are two seconds old", async || {
        let info = inspect::stream(&ground.js, "S").await.unwrap();
        let now = info.get("ts").and_then(Value::as_str).unwrap().to_owned();
        moment::before(&now, 2_000_000_000).is_some_and(|then| moment::earlier(&last, &then))
    })
    .await;
    ground.publish("S", 5).await;
    let plan = ground.plan(&file(1_500_000_000)).await;
    let loss = plan.changing().next().unwrap().loses.unwrap();
    assert!(loss.messages >= 7, "{loss:?}");
    assert_eq!(loss.messages_bound, Bound::Exact);
}

#[tokio::test]
async fn a_plan_that_was_overtaken_is_refused_and_a_saved_one_round_trips() {
    let ground = Ground::new().await;
    let file = |text: &str| [("streams/S.json", json!({"name": "S", "description": text}))];
    ground.settle(&file("one"), &Allow::default()).await;
    let plan = ground.plan(&file("two")).await;
    let saved = plan.to_json().to_string();
    assert_eq!(Plan::from_json(&saved).unwrap(), plan);
    let altered = saved.replace("\"two\"", "\"too\"");
    assert!(Plan::from_json(&altered).is_err(), "an altered plan was taken");

    ground.settle(&file("meanwhile"), &Allow::default()).await;
    let error = apply(&ground.js, &plan, &Allow::default(), ground.journals.path()).await.unwrap_err();
    assert_eq!(error.code(), Code::PlanStale);
    assert_eq!(
        inspect::stream(&ground.js, "S").await.unwrap().pointer("/config/description"),
        Some(&json!("meanwhile"))
    );
}

#[tokio::test]
async fn order_follows_origins_subjects_and_consumers() {
    let ground = Ground::new().await;
    let before = [
        ("streams/A.json", json!({"name": "A", "subjects": ["x"]})),
        ("streams/B.json", json!({"name": "B", "subjects": ["y"]})),
    ];
    ground.settle(&before, &Allow::default()).await;
    // A and B swap their subjects; the mirror of Z comes by name before its origin.
    let after = [
        ("streams/A.json", json!({"name": "A", "subjects": ["y"]})),
        ("streams/B.json", json!({"name": "B", "subjects": ["x"]})),
        ("streams/M.json", json!({"name": "M", "mirror": {"name": "Z"}})),
        ("streams/Z.json", json!({"name": "Z", "allow_direct": true})),
        ("consumers/M/C.json", json!({"durable_name": "C", "ack_policy": "explicit"})),
    ];
    let plan = ground.plan(&after).await;
    let at = |name: &str| plan.steps.iter().position(|s| s.name == name).unwrap();
    assert!(at("Z") < at("M") && at("M") < at("M/C"), "{:?}", pending(&plan));
    ground.settle(&after, &Allow::default()).await;
    // Lower limits for consumers: the consumer first.
    let shrink = |limit: u64, pending: u64| {
        [
            (
                "streams/A.json",
                json!({"name": "A", "subjects": ["y"], "consumer_limits": {"max_ack_pending": limit}}),
            ),
            (
                "consumers/A/C.json",
                json!({"durable_name": "C", "ack_policy": "explicit", "max_ack_pending": pending}),
            ),
        ]
    };
    ground.settle(&shrink(100, 100), &Allow::default()).await;
    let plan = ground.plan(&shrink(50, 50)).await;
    let at = |name: &str| plan.steps.iter().position(|s| s.name == name).unwrap();
    assert!(at("A/C") < at("A"));
    ground.settle(&shrink(50, 50), &Allow::default()).await;
    ground.settle(&shrink(200, 150), &Allow::default()).await;
}

#[tokio::test]
async fn only_what_carries_our_mark_is_pruned() {
    let ground = Ground::new().await;
    let foreign = json!({"name": "THEIRS", "subjects": ["theirs"]});
    ground.js.request("STREAM.CREATE.THEIRS", &foreign).await.unwrap();
    let files = [
        ("streams/OURS.json", json!({"name": "OURS"})),
        ("streams/KEPT.json", json!({"name": "KEPT"})),
        ("consumers/KEPT/C.json", json!({"durable_name": "C", "ack_policy": "explicit"})),
    ];
    ground.settle(&files, &Allow::default()).await;
    ground.publish("OURS", 3).await;
    let ours = inspect::stream(&ground.js, "OURS").await.unwrap();
    assert_eq!(ours.pointer(&format!("/config/metadata/{MARK_KEY}")), Some(&json!("streamproof")));

    let fewer = &files[1..2];
    let desired = ground.desired(fewer);
    let prune = Options { prune: true, ..Options::default() };
    let (plan, _) = plan_for(&ground.js, &desired, &prune).await.unwrap();
    let deletes: Vec<&str> =
        plan.steps.iter().filter(|s| s.action == Action::Delete).map(|s| s.name.as_str()).collect();
    assert_eq!(deletes, ["OURS", "KEPT/C"], "{:?}", pending(&plan));
    let unarmed = Allow { data_loss: true, ..Allow::default() };
    let error = apply(&ground.js, &plan, &unarmed, ground.journals.path()).await.unwrap_err();
    assert_eq!(error.code(), Code::ConfirmationNeeded);
    let unarmed = Allow { prune: true, ..Allow::default() };
    let error = apply(&ground.js, &plan, &unarmed, ground.journals.path()).await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss);
    apply(&ground.js, &plan, &everything(), ground.journals.path()).await.unwrap();
    assert!(inspect::stream(&ground.js, "THEIRS").await.is_ok(), "a stream of others was removed");
    let (plan, _) = plan_for(&ground.js, &desired, &prune).await.unwrap();
    assert_eq!(plan.pending, 0);
    assert_eq!(plan.unmanaged.len(), 1);
}

#[tokio::test]
async fn what_others_made_is_exported_planned_empty_and_adopted() {
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        let context = async_nats::jetstream::new(ground.js.client().clone());
        let bucket = |name: &str| async_nats::jetstream::kv::Config {
            bucket: name.into(),
            history: 5,
            ..Default::default()
        };
        context.create_key_value(bucket("settings")).await.unwrap();
        for (name, config) in [
            ("PLAIN", json!({"name": "PLAIN"})),
            (
                "RICH",
                json!({"name": "RICH", "subjects": ["r.>"], "max_age": 60_000_000_000u64, "storage": "memory",
                "metadata": {"team": "a"}, "republish": {"src": "r.x", "dest": "out.x"}}),
            ),
            ("COPY", json!({"name": "COPY", "mirror": {"name": "PLAIN"}})),
        ] {
            ground.js.request(&format!("STREAM.CREATE.{name}"), &config).await.unwrap();
        }
        let consumer = json!({"stream_name": "RICH", "config": {"durable_name": "C", "name": "C",
            "ack_policy": "explicit", "backoff": [1_000_000_000u64], "max_deliver": 3, "filter_subject": "r.y"}});
        ground.js.request("CONSUMER.CREATE.RICH.C.r.y", &consumer).await.unwrap();
        let ephemeral = json!({"stream_name": "RICH", "config": {"name": "E", "ack_policy": "none"}});
        ground.js.request("CONSUMER.CREATE.RICH.E", &ephemeral).await.unwrap();

        let observed = observe(&ground.js).await.unwrap();
        for full in [false, true] {
            let export = export(&observed, full);
            let desired = from_export(&version, &export);
            let plan = plan::plan(&desired, &observed, &Options::default());
            assert_eq!(plan.pending, 0, "{version} full={full}: {:?}", pending(&plan));
            assert!(export.notes.iter().any(|n| n.contains("RICH/E")), "an ephemeral consumer went unsaid");
            assert!(export.files.iter().any(|(p, _)| p.ends_with("kv/settings.json")), "{:?}", export.files);
            if !full {
                let plain = export.files.iter().find(|(p, _)| p.ends_with("streams/PLAIN.json")).unwrap();
                assert_eq!(plain.1, json!({"name": "PLAIN"}), "{version}");
            }
        }
        let desired = from_export(&version, &export(&observed, false));
        let adopt = Options { adopt: true, ..Options::default() };
        let (plan, _) = plan_for(&ground.js, &desired, &adopt).await.unwrap();
        assert_eq!(plan.pending, 5, "{version}: {:?}", pending(&plan));
        apply(&ground.js, &plan, &Allow::default(), ground.journals.path()).await.unwrap();
        let (plan, _) = plan_for(&ground.js, &desired, &adopt).await.unwrap();
        assert_eq!(plan.pending, 0, "{version}: {:?}", pending(&plan));
    }
}

#[tokio::test]
async fn nothing_is_sent_where_nothing_differs() {
    let ground = Ground::new().await;
    let files = [
        ("streams/S.json", json!({"name": "S"})),
        ("consumers/S/C.json", json!({"durable_name": "C", "ack_policy": "explicit"})),
    ];
    ground.settle(&files, &Allow::default()).await;
    let mut requests = ground.js.client().subscribe("$JS.API.>").await.unwrap();
    ground.js.client().flush().await.unwrap();
    let brought = ground.bring(&files, &replacing(&["S"])).await.unwrap();
    assert!(brought.applied.done.is_empty());
    ground.js.client().publish("$JS.API.end", "".into()).await.unwrap();
    use futures_util::StreamExt as _;
    while let Some(request) = requests.next().await {
        let subject = request.subject.as_str();
        if subject.ends_with(".end") {
            break;
        }
        assert!(["INFO", "LIST"].iter().any(|verb| subject.contains(verb)), "{subject} was sent");
    }
}
