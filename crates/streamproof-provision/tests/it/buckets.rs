//! Buckets stay buckets: what the clients stored they find again, and edits after which they could not are refused.

use crate::ground::{Ground, LINES, everything, replacing, until};
use async_nats::jetstream::{self, kv};
use serde_json::{Value, json};
use streamproof_model::failure::{Code, Failure as _};
use streamproof_provision::{Allow, inspect};
use tokio::io::AsyncReadExt as _;

async fn values(bucket: &kv::Store) -> Vec<Option<String>> {
    let mut found = Vec::new();
    for key in ["a", "b", "gone"] {
        let value = bucket.get(key).await.unwrap();
        found.push(value.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_clients_stored_they_find_after_every_edit() {
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        let context = jetstream::new(ground.js.client().clone());
        let files = |kv: Value, object: Value| [("kv/K.json", kv), ("objects/F.json", object)];
        ground
            .settle(&files(json!({"bucket": "K", "history": 5}), json!({"bucket": "F"})), &Allow::default())
            .await;
        let bucket = context.get_key_value("K").await.unwrap();
        for (key, value) in [("a", "old"), ("a", "new"), ("b", "one"), ("gone", "x")] {
            bucket.put(key, value.into()).await.unwrap();
        }
        bucket.delete("gone").await.unwrap();
        let store = context.get_object_store("F").await.unwrap();
        let body = vec![7u8; 300_000];
        store.put("file", &mut body.as_slice()).await.unwrap();
        let before = values(&bucket).await;
        assert_eq!(before, [Some("new".into()), Some("one".into()), None]);
        for (kv, object) in [
            (
                json!({"bucket": "K", "history": 9, "ttl": "1h"}),
                json!({"bucket": "F", "ttl": "2h", "compression": true}),
            ),
            (
                json!({"bucket": "K", "history": 1, "max_bytes": 1_000_000}),
                json!({"bucket": "F", "max_bytes": 1_000_000}),
            ),
            (
                json!({"bucket": "K", "history": 1, "storage": "memory"}),
                json!({"bucket": "F", "storage": "memory"}),
            ),
            (json!({"bucket": "K", "history": 2}), json!({"bucket": "F", "description": "files"})),
        ] {
            ground.settle(&files(kv.clone(), object), &replacing(&["K", "F"])).await;
            assert_eq!(values(&bucket).await, before, "{version} {kv}");
            let mut read = Vec::new();
            store.get("file").await.unwrap().read_to_end(&mut read).await.unwrap();
            assert!(read == body, "{version} {kv}: the object has changed");
            bucket.put("b", "one".into()).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_that_would_break_a_bucket_are_refused() {
    let ground = Ground::new().await;
    let context = jetstream::new(ground.js.client().clone());
    let config = kv::Config { bucket: "K".into(), history: 5, ..Default::default() };
    context.create_key_value(config).await.unwrap().put("a", "kept".into()).await.unwrap();
    let config = jetstream::object_store::Config { bucket: "F".into(), ..Default::default() };
    context.create_object_store(config).await.unwrap();
    let mut refused = 0;
    for (name, field, value) in [
        ("KV_K", "subjects", json!(["$KV.K.>", "orders"])),
        ("KV_K", "subjects", json!(["$KV.other.>"])),
        ("KV_K", "max_msgs_per_subject", json!(100)),
        ("KV_K", "max_msgs_per_subject", json!(-1)),
        ("KV_K", "discard", json!("old")),
        ("KV_K", "allow_rollup_hdrs", json!(false)),
        ("KV_K", "retention", json!("interest")),
        ("KV_K", "subject_transform", json!({"src": "$KV.K.>", "dest": "x.>"})),
        ("OBJ_F", "subjects", json!(["$O.F.C.>"])),
        ("OBJ_F", "discard", json!("old")),
        ("OBJ_F", "allow_rollup_hdrs", json!(false)),
    ] {
        let seen = inspect::stream(&ground.js, name).await.unwrap();
        let mut file = seen["config"].clone();
        file.as_object_mut().unwrap().remove("metadata");
        let path = format!("streams/{name}.json");
        // As it is it may be declared by its stream, too, and what does no harm may be changed.
        assert_eq!(ground.plan(&[(&path, file.clone())]).await.pending, 0, "{name}");
        let mut harmless = file.clone();
        harmless["description"] = json!(format!("{field} {value}"));
        ground.settle(&[(&path, harmless.clone())], &Allow::default()).await;
        harmless[field] = value.clone();
        let files = [(path.as_str(), harmless)];
        let plan = ground.plan(&files).await;
        let blocked = plan.changing().next().and_then(|step| step.blocked.clone());
        assert!(blocked.is_some_and(|why| why.contains("it is a bucket")), "{name} {field} {value}");
        let error = ground.bring(&files, &everything()).await.unwrap_err();
        assert_eq!(error.code(), Code::ServerRefused, "{name} {field}: {error}");
        let now = inspect::stream(&ground.js, name).await.unwrap();
        assert_eq!(
            now["config"].get(field),
            seen["config"].get(field),
            "{name} {field}: refused, and yet sent"
        );
        refused += 1;
    }
    assert_eq!(refused, 11);
}

#[tokio::test]
async fn a_mirrored_bucket_with_values_is_not_promoted_to_one_that_would_not_find_them() {
    let ground = Ground::new().await;
    let context = jetstream::new(ground.js.client().clone());
    let files = |mirror: Option<Value>| {
        let mut copy = json!({"bucket": "COPY"});
        if let Some(mirror) = mirror {
            copy["mirror"] = mirror;
        }
        [("kv/K.json", json!({"bucket": "K"})), ("kv/COPY.json", copy)]
    };
    let mirrored = files(Some(json!({"name": "K"})));
    ground.settle(&mirrored, &Allow::default()).await;
    // Empty, nothing is lost with it.
    assert_eq!(ground.plan(&files(None)).await.changing().next().unwrap().blocked, None);
    context.get_key_value("K").await.unwrap().put("a", "x".into()).await.unwrap();
    until("the mirror has it", async || {
        inspect::stream(&ground.js, "KV_COPY").await.unwrap().pointer("/state/messages") == Some(&json!(1))
    })
    .await;
    let plan = ground.plan(&files(None)).await;
    let blocked = plan.changing().next().unwrap().blocked.clone().unwrap_or_default();
    assert!(blocked.contains("would not find them"), "{blocked}");
    assert!(ground.bring(&files(None), &replacing(&["COPY"])).await.is_err());
}
