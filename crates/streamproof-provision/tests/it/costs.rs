//! What a change destroys, what cannot be taken back, and what does nothing, on every line: as the plan says it before, and as it
//! comes.

use std::fmt::Write as _;
use std::time::Duration;

use crate::ground::{Ground, LINES, everything, from_export, replacing, until, until_or};
use serde_json::{Value, json};
use streamproof_model::moment;
use streamproof_model::plan::{self, Action, Bound, Effect, Loss, Options};
use streamproof_provision::{ProvisionError, export, inspect, observe};

const HELD: u64 = 50;

async fn messages(ground: &Ground) -> u64 {
    let info = inspect::stream(&ground.js, "S").await.unwrap();
    info.pointer("/state/messages").and_then(Value::as_u64).unwrap()
}

/// Thirty messages on one subject and twenty on another, by the server's own clock at least a second old.
async fn fill(ground: &Ground) {
    ground.publish("s.a", 30).await;
    ground.publish("s.b", 20).await;
    aged(ground, "S").await;
}

/// Waits until the last message of a stream is a second old.
pub(crate) async fn aged(ground: &Ground, stream: &str) {
    // Servers before 2.12 say no time with it: there, by the machine's clock, which is theirs too.
    let began = std::time::Instant::now();
    until("they are a second old", async || {
        let info = inspect::stream(&ground.js, stream).await.unwrap();
        let last = info.pointer("/state/last_ts").and_then(Value::as_str).unwrap();
        match info.get("ts").and_then(Value::as_str) {
            Some(now) => moment::before(now, 1_000_000_000).is_some_and(|then| moment::earlier(last, &then)),
            None => began.elapsed() > Duration::from_millis(1_100),
        }
    })
    .await;
}

/// Whether so many fit what was said.
pub(crate) fn fits(loss: Option<Loss>, gone: u64) -> bool {
    let Some(loss) = loss else { return gone == 0 };
    match loss.messages_bound {
        Bound::Exact => gone == loss.messages,
        Bound::AtMost => gone <= loss.messages,
        Bound::AtLeast => gone >= loss.messages,
        Bound::About => gone.abs_diff(loss.messages) <= 2,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_to_go_goes_and_nothing_else() {
    let (mut table, mut wrong) = (String::new(), Vec::new());
    for version in LINES {
        let mut ground = Ground::of(version.clone()).await;
        let file = |more: &Value| {
            let mut document = json!({"name": "S", "subjects": ["s.*"]});
            document.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            [("streams/O.json", json!({"name": "O"})), ("streams/S.json", document)]
        };
        for (change, certain) in [
            (json!({"max_msgs": 10}), true),
            (json!({"max_msgs": 10, "discard": "new"}), true),
            (json!({"max_bytes": 1000, "discard": "new"}), true),
            (json!({"max_msgs_per_subject": 5, "discard": "new"}), true),
            (json!({"max_msgs": 10, "discard": "new", "storage": "memory"}), true),
            (json!({"max_msg_size": 2}), true),
            (json!({"max_bytes": 1000}), false),
            (json!({"max_age": 500_000_000, "duplicate_window": 500_000_000}), true),
            (json!({"max_msgs_per_subject": 5}), true),
            (json!({"max_msgs": 40, "max_msgs_per_subject": 25}), false),
            (json!({"retention": "interest"}), false),
            (json!({"subjects": ["s.a"]}), true),
            (json!({"max_msgs": 50, "max_msgs_per_subject": 30, "max_bytes": 1_000_000}), true),
            (json!({"storage": "memory", "max_msgs": 10}), true),
            (json!({"subjects": null, "mirror": {"name": "O"}}), true),
        ] {
            ground.settle(&file(&json!({})), &everything()).await;
            fill(&ground).await;
            let mut after = file(&change);
            after[1].1.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            let plan = ground.plan(&after).await;
            let step = plan.changing().next().unwrap();
            let loss = step.loses;
            let exact = loss.is_none_or(|loss| loss.messages_bound == Bound::Exact);
            assert!(exact || !certain, "{version} {change}: {loss:?}");
            assert_eq!(loss.is_some(), step.needs.iter().any(|flag| flag == "--allow-data-loss"));
            if loss.is_some() {
                let unarmed = streamproof_provision::Allow { data_loss: false, ..replacing(&["S"]) };
                assert!(ground.bring(&after, &unarmed).await.is_err(), "{version} {change}: taken");
                assert_eq!(messages(&ground).await, HELD, "{version} {change}: refused, and yet sent");
            }
            ground.settle(&after, &replacing(&["S"])).await;
            let late = step.notes.iter().any(|note| note.contains("at its next start"));
            if late {
                // What another limit is over goes at once; what the one by subject alone is over does not.
                let at_once = HELD - messages(&ground).await;
                assert!(at_once < loss.unwrap().messages, "{version} {change}: removed at once after all");
                ground.restart().await;
            }
            // Some of it the server removes behind its answer.
            let mut gone = HELD - messages(&ground).await;
            let bound = std::time::Instant::now() + Duration::from_secs(5);
            let settled = until_or(bound, async || {
                gone = HELD - messages(&ground).await;
                fits(loss, gone)
            });
            if !settled.await {
                wrong.push(format!("{version} {change}: {loss:?} was said, {gone} are gone"));
            }
            let said = loss
                .map_or("nothing".to_owned(), |loss| format!("{:?} {}", loss.messages_bound, loss.messages));
            writeln!(
                table,
                "{version} {change}: {said} said, {gone} gone{}",
                if late { " at the next start" } else { "" }
            )
            .unwrap();
            ground.js.request("STREAM.DELETE.S", &Value::Null).await.unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    insta::assert_snapshot!("costs", table);
}

/// A stream of interest with messages that `C` still waits for, all of which `D` has had and acked.
async fn waited_for(ground: &Ground, files: &[(&str, Value)]) {
    use futures_util::StreamExt as _;
    ground.settle(files, &everything()).await;
    ground.publish("s.a", 6).await;
    ground.publish("s.b", 4).await;
    let context = async_nats::jetstream::new(ground.js.client().clone());
    let stream = context.get_stream("S").await.unwrap();
    let consumer: async_nats::jetstream::consumer::PullConsumer = stream.get_consumer("D").await.unwrap();
    let mut batch = consumer.fetch().max_messages(10).messages().await.unwrap();
    while let Some(message) = batch.next().await {
        message.unwrap().double_ack().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_with_a_consumer_of_a_stream_of_interest_is_said_before() {
    let mut table = String::new();
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        let stream = ("streams/S.json", json!({"name": "S", "subjects": ["s.*"], "retention": "interest"}));
        let consumer = |path: &'static str, name: &str, filter: &str| {
            let mut document = json!({"durable_name": name, "ack_policy": "explicit"});
            if !filter.is_empty() {
                document["filter_subject"] = filter.into();
            }
            (path, document)
        };
        let before = [
            stream.clone(),
            consumer("consumers/S/C.json", "C", ""),
            consumer("consumers/S/D.json", "D", ""),
        ];
        for (what, after) in [
            ("C is removed", vec![before[0].clone(), before[2].clone()]),
            (
                "C filters s.a alone",
                vec![before[0].clone(), consumer("consumers/S/C.json", "C", "s.a"), before[2].clone()],
            ),
        ] {
            waited_for(&ground, &before).await;
            assert_eq!(messages(&ground).await, 10, "{version}");
            let options = Options { prune: true, ..Options::default() };
            let desired = ground.desired(&after);
            let (plan, _) = streamproof_provision::plan_for(&ground.js, &desired, &options).await.unwrap();
            let loss = plan.changing().next().unwrap().loses;
            let journals = ground.journals.path();
            streamproof_provision::apply(&ground.js, &plan, &everything(), journals).await.unwrap();
            // What nobody waits for any more is removed behind the answer, if at all. That no more goes than was said can only be
            // seen by waiting for it.
            let mut gone = 0;
            let bound = std::time::Instant::now() + Duration::from_secs(1);
            until_or(bound, async || {
                gone = 10 - messages(&ground).await;
                loss.is_some_and(|loss| gone > loss.messages)
            })
            .await;
            assert!(fits(loss, gone), "{version} {what}: {loss:?} was said, {gone} are gone");
            let said = loss
                .map_or("nothing".to_owned(), |loss| format!("{:?} {}", loss.messages_bound, loss.messages));
            writeln!(table, "{version} {what}: {said} said, {gone} gone").unwrap();
            ground.js.request("STREAM.DELETE.S", &Value::Null).await.unwrap();
        }
    }
    insta::assert_snapshot!("interest", table);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_keeps_less_says_what_goes() {
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        let bucket = |history: u64| [("kv/K.json", json!({"bucket": "K", "history": history}))];
        ground.settle(&bucket(5), &everything()).await;
        ground.publish("$KV.K.a", 5).await;
        ground.publish("$KV.K.b", 2).await;
        let plan = ground.plan(&bucket(1)).await;
        let step = plan.changing().next().unwrap();
        let loss = step.loses.unwrap();
        assert_eq!((loss.messages, loss.messages_bound), (5, Bound::Exact), "{version}");
        assert!(step.needs.iter().any(|flag| flag == "--allow-data-loss"), "{version}");
        let unarmed = streamproof_provision::Allow::default();
        assert!(ground.bring(&bucket(1), &unarmed).await.is_err(), "{version}");
        ground.settle(&bucket(1), &everything()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_consumer_that_somebody_listens_to_is_moved_or_it_is_said_that_it_cannot_be() {
    let mut table = String::new();
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        let files = |to: &str| {
            [
                ("streams/S.json", json!({"name": "S", "subjects": ["s.*"]})),
                (
                    "consumers/S/C.json",
                    json!({"durable_name": "C", "ack_policy": "explicit", "deliver_subject": to}),
                ),
            ]
        };
        ground.settle(&files("to.here"), &everything()).await;
        let _listens = ground.js.client().subscribe("to.here").await.unwrap();
        ground.js.client().flush().await.unwrap();
        until("the server sees that somebody listens", async || {
            let info = inspect::consumer(&ground.js, "S", "C").await.unwrap();
            info.get("push_bound") == Some(&json!(true))
        })
        .await;
        let plan = ground.plan(&files("to.there")).await;
        let step = plan.changing().next().unwrap();
        let body = json!({"stream_name": "S", "action": "update", "config": step.document.clone().unwrap()});
        let theirs = match ground.js.request("CONSUMER.CREATE.S.C", &body).await {
            Ok(_) => "taken".to_owned(),
            Err(ProvisionError::Refused { err_code, description, .. }) => format!("{err_code} {description}"),
            Err(error) => panic!("{error}"),
        };
        writeln!(table, "{version} listened to: {:?}; in place: {theirs}", step.action).unwrap();
        if theirs != "taken" {
            assert_eq!(
                step.action,
                Action::Replace,
                "{version}: refused in place, and the plan did not say so"
            );
        }
        ground.settle(&files("to.there"), &replacing(&["S/C"])).await;
    }
    insta::assert_snapshot!("listened", table);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_servers_take_and_do_not_do_is_said_or_done_another_way() {
    let mut table = String::new();
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        let file = |more: Value| {
            let mut document = json!({"name": "S", "subjects": ["s.*"]});
            document.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            [("streams/S.json", document)]
        };
        // `first_seq` of a stream that is there.
        ground.settle(&file(json!({})), &everything()).await;
        ground.publish("s.a", 3).await;
        let plan = ground.plan(&file(json!({"first_seq": 1000}))).await;
        assert_eq!(plan.changing().next().unwrap().effect, Effect::Ineffective);
        ground.settle(&file(json!({"first_seq": 1000})), &everything()).await;
        let info = inspect::stream(&ground.js, "S").await.unwrap();
        assert_eq!(
            info.pointer("/state/first_seq"),
            Some(&json!(1)),
            "{version}: it has an effect after all"
        );
        // Replicas on a server that stands alone: what it says to them; what we do is run one, and say so.
        let three = json!({"name": "S", "subjects": ["s.*"], "first_seq": 1000, "num_replicas": 3});
        let theirs = match ground.js.request("STREAM.UPDATE.S", &three).await {
            Ok(_) => "taken".to_owned(),
            Err(ProvisionError::Refused { err_code, description, .. }) => format!("{err_code} {description}"),
            Err(error) => panic!("{error}"),
        };
        writeln!(table, "{version} num_replicas 3 on one server: {theirs}").unwrap();
        let one = json!({"name": "S", "subjects": ["s.*"], "first_seq": 1000, "num_replicas": 1});
        ground.js.request("STREAM.UPDATE.S", &one).await.unwrap();
        assert_eq!(ground.plan(&file(json!({"first_seq": 1000, "num_replicas": 3}))).await.pending, 0);
        let plan = ground.plan(&[("streams/T.json", json!({"name": "T", "num_replicas": 3}))]).await;
        let step = plan.changing().next().unwrap();
        assert!(step.notes.iter().any(|note| note.contains("3 replicas run as 1")), "{version}: {step:?}");
        // A pause in an update.
        if !streamproof_model::fields::consumer_field("pause_until").unwrap().exists(&version) {
            continue;
        }
        let consumer = |pause: Option<&str>| {
            let mut document = json!({"durable_name": "C", "ack_policy": "explicit"});
            if let Some(until) = pause {
                document["pause_until"] = until.into();
            }
            [file(json!({"first_seq": 1000}))[0].clone(), ("consumers/S/C.json", document)]
        };
        let until = "2099-01-01T00:00:00Z";
        ground.settle(&consumer(None), &everything()).await;
        let body = json!({"stream_name": "S", "action": "update",
            "config": {"name": "C", "durable_name": "C", "ack_policy": "explicit", "pause_until": until}});
        ground.js.request("CONSUMER.CREATE.S.C", &body).await.unwrap();
        let paused = async || inspect::consumer(&ground.js, "S", "C").await.unwrap().get("paused").cloned();
        assert_ne!(paused().await, Some(json!(true)), "{version}: an update pauses after all");
        ground.settle(&consumer(Some(until)), &everything()).await;
        assert_eq!(paused().await, Some(json!(true)), "{version}");
        ground.settle(&consumer(None), &everything()).await;
        assert_ne!(paused().await, Some(json!(true)), "{version}");
    }
    insta::assert_snapshot!("ineffective", table);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_stream_is_exported_none_is_made_sealed_and_unsealing_is_a_replacement() {
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        let file =
            |sealed: bool| [("streams/S.json", json!({"name": "S", "subjects": ["s"], "sealed": sealed}))];
        let plan = ground.plan(&file(true)).await;
        let step = plan.changing().next().unwrap();
        assert!(step.blocked.as_deref().is_some_and(|why| why.contains("fill it, and seal it")), "{step:?}");
        assert!(ground.bring(&file(true), &everything()).await.is_err());
        assert!(inspect::stream(&ground.js, "S").await.is_err(), "refused, and yet made");

        ground.settle(&file(false), &everything()).await;
        ground.publish("s", 3).await;
        let plan = ground.plan(&file(true)).await;
        assert_eq!(plan.changing().next().unwrap().needs, ["--allow-one-way"]);
        ground.settle(&file(true), &everything()).await;
        let observed = observe(&ground.js).await.unwrap();
        for full in [false, true] {
            let desired = from_export(&version, &export(&observed, full));
            let plan = plan::plan(&desired, &observed, &Options::default());
            assert_eq!(plan.pending, 0, "{version} full={full}");
        }
        // Anything that needs a replacement would have to make it sealed again.
        let mut moved = file(true);
        moved[0].1["storage"] = json!("memory");
        assert!(ground.plan(&moved).await.changing().next().unwrap().blocked.is_some());
        // The server never unseals; a new one has what the sealed one had.
        let unsealed = json!({"name": "S", "subjects": ["s"], "sealed": false, "discard": "new"});
        assert!(
            ground.js.request("STREAM.UPDATE.S", &unsealed).await.is_err(),
            "{version}: unsealed in place"
        );
        assert_eq!(ground.plan(&file(false)).await.changing().next().unwrap().action, Action::Replace);
        ground.settle(&file(false), &replacing(&["S"])).await;
        assert_eq!(messages(&ground).await, 3, "{version}");
        ground.publish("s", 1).await;
    }
}

/// No listing shows the consumer by which a stream takes from another, and its inactive_threshold is 10 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_count_the_consumers_by_which_others_take_from_a_stream() {
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        let files = |limits: Value| {
            let origin = json!({"name": "O", "subjects": ["o"], "consumer_limits": limits});
            [("streams/O.json", origin), ("streams/S.json", json!({"name": "S", "sources": [{"name": "O"}]}))]
        };
        let hour = json!({"inactive_threshold": 3_600_000_000_000_u64});
        ground.settle(&files(hour), &everything()).await;
        ground.publish("o", 1).await;
        until("S takes from O", async || messages(&ground).await == 1).await;
        // Of S there is no file: `validate` cannot see it.
        let shorter = ground.plan(&files(json!({"inactive_threshold": 5_000_000_000_u64}))[..1]).await;
        let step = shorter.steps.iter().find(|step| step.name == "O").unwrap();
        let why = step.blocked.as_deref().unwrap_or_default();
        assert!(why.contains("S takes from it"), "{version}: {step:#?}");
        // None at all is in place only since 2.14.3; and ten seconds are enough.
        ground.settle(&files(json!({})), &replacing(&["O"])).await;
        let enough = json!({"inactive_threshold": 10_000_000_000_u64});
        ground.settle(&files(enough), &replacing(&[])).await;
    }
}

/// What `validate` and `plan` say of it, on servers that take it without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_copied_from_a_stream_whose_limits_refuse_the_consumers_of_those_who_take_from_it() {
    for version in LINES {
        for (limits, code) in [
            (json!({"max_ack_pending": 5}), 10082),
            (json!({"inactive_threshold": 9_000_000_000_u64}), 10153),
        ] {
            let ground = Ground::of(version.clone()).await;
            let create = async |name: &str, config: Value| {
                ground.js.request(&format!("STREAM.CREATE.{name}"), &config).await.unwrap();
            };
            create("O", json!({"name": "O", "subjects": ["o"], "consumer_limits": limits})).await;
            ground.publish("o", 1).await;
            create("S", json!({"name": "S", "sources": [{"name": "O"}]})).await;
            until("S says why it does not", async || {
                let info = inspect::stream(&ground.js, "S").await.unwrap();
                info.pointer("/sources/0/error/err_code").and_then(Value::as_u64) == Some(code)
            })
            .await;
            assert_eq!(messages(&ground).await, 0, "{version}");
            let origin = json!({"name": "O", "subjects": ["o"], "consumer_limits": {"max_ack_pending": 4}});
            let plan = ground.plan(&[("streams/O.json", origin)]).await;
            let step = plan.steps.iter().find(|step| step.name == "O").unwrap();
            assert!(step.notes.iter().any(|note| note.contains("10082")), "{version}: {step:#?}");
        }
    }
}
