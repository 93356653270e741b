//! Two documents in, a rendered plan out.

use super::*;
use crate::project::{self, Project};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn made(files: &[(&str, Value)], streams: &[Value], consumers: &[Value]) -> Plan {
    let files = files.iter().map(|(path, value)| (PathBuf::from(*path), value.to_string()));
    let options = project::Options { root: PathBuf::new(), version: crate::version::Version::new(2, 15, 1) };
    let desired = Project::load(files, &options).unwrap().desired;
    let observed = Observed {
        server: ServerSeen { name: "n".into(), version: "2.15.1".into(), ..ServerSeen::default() },
        streams: streams.iter().filter_map(StreamSeen::from_info).collect(),
        consumers: consumers.iter().filter_map(ConsumerSeen::from_info).collect(),
        at: Some("2026-08-21T12:00:00Z".into()),
        ..Observed::default()
    };
    plan(&desired, &observed, &Options::default())
}

fn shown(plan: &Plan) -> String {
    render(plan).iter().map(|line| line.to_string() + "\n").collect()
}

fn orders(config: Value) -> Value {
    json!({"config": config, "created": "2026-08-21T11:00:00Z",
        "state": {"messages": 1200, "bytes": 120_000, "first_seq": 1, "last_seq": 1200,
            "first_ts": "2026-08-21T11:00:00Z", "num_subjects": 3, "consumer_count": 1}})
}

#[test]
fn a_plan_says_what_changes_and_what_it_costs() {
    let live =
        orders(json!({"name": "ORDERS", "subjects": ["orders.*"], "retention": "limits", "max_age": 0,
        "storage": "file", "num_replicas": 1, "description": "old", "metadata": {"_nats.ver": "2.15.1"}}));
    let consumer = json!({"stream_name": "ORDERS", "name": "C", "created": "2026-08-21T11:00:00Z",
        "config": {"durable_name": "C", "name": "C", "ack_policy": "explicit", "deliver_policy": "all"},
        "ack_floor": {"stream_seq": 700}, "delivered": {"stream_seq": 704}});
    let files = [
        (
            "streams/ORDERS.json",
            json!({"name": "ORDERS", "subjects": ["orders.*"], "max_msgs": 200, "deny_purge": true}),
        ),
        ("consumers/ORDERS/C.json", json!({"durable_name": "C", "ack_policy": "all"})),
        ("kv/K.json", json!({"bucket": "K"})),
    ];
    let plan = made(&files, &[live], &[consumer]);
    assert_eq!(
        shown(&plan),
        "\
+ kv K               history 1
~ stream ORDERS      in place, cannot be undone
    max_msgs     -1       -> 200
    deny_purge   false    -> true     cannot be undone
    description  old      -> nothing  in no file
    deny_purge cannot be switched off again
    deletes 1,000 messages (about 100,000 bytes)
    needs --allow-one-way --allow-data-loss
! consumer ORDERS/C  is replaced
    ack_policy   explicit -> all      needs replacing
    ack policy can not be updated
    C goes on at 701: up to 4 messages that it has seen come again
    needs --replace ORDERS/C
1 to create, 1 to update, 1 to replace; 0 in line; deletes 1,000 messages
"
    );
}

/// A plan in which every key has a value.
fn whole() -> Value {
    let live =
        orders(json!({"name": "ORDERS", "subjects": ["orders.*"], "storage": "file", "description": "old"}));
    let consumer = json!({"stream_name": "ORDERS", "name": "C", "config": {"durable_name": "C", "ack_policy": "explicit"}});
    let other = json!({"config": {"name": "THEIRS"}, "state": {"messages": 3}});
    let files = [(
        "streams/ORDERS.json",
        json!({"name": "ORDERS", "subjects": ["orders.*"], "storage": "memory", "max_msgs": 5}),
    )];
    let mut plan = made(&files, &[live, other], &[consumer]).to_json();
    plan["steps"][0]["consumer"] = "C".into();
    plan["steps"][0]["first"] = json!({});
    plan
}

#[test]
fn the_json_has_the_documented_keys_and_no_others() {
    let text = include_str!("../../../../docs/plan.md");
    let mut documented: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut about = "plan";
    for line in text.lines() {
        match line {
            "A step:" => about = "step",
            "A change:" => about = "change",
            // The tables of the sections that follow are of other things.
            _ if line.starts_with("## ") => about = "another section",
            _ => {}
        }
        if let Some((key, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) {
            documented.entry(about).or_default().push(key);
        }
    }
    let plan = whole();
    let step = &plan["steps"][0];
    for (about, value) in [("plan", &plan), ("step", step), ("change", &step["changes"][0])] {
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(documented[about], keys, "the keys of a {about}");
    }
    let words = |value: &Value| -> Vec<String> {
        match value {
            Value::Object(map) => map.keys().cloned().collect(),
            other => vec![other.as_str().unwrap().to_owned()],
        }
    };
    let enums = [
        json!([Action::Create, Action::Update, Action::Replace, Action::Delete, Action::None]),
        json!([Effect::InPlace, Effect::Replace, Effect::OneWay, Effect::Ineffective]),
        json!([Class::Declared, Class::ServerDefault, Class::Drift]),
        json!([Bound::Exact, Bound::AtMost, Bound::AtLeast, Bound::About]),
        json!([Restore::Snapshot, Restore::Copy, Restore::Nothing]),
        json!([plan["server"], step["loses"], step["carries"][0], plan["unmanaged"][0]]),
    ];
    for word in enums.iter().flat_map(|list| list.as_array().unwrap()).flat_map(words) {
        assert!(text.contains(&format!("`{word}`")), "{word} is not documented");
    }
    assert!(text.contains(&format!("`{FORMAT}`")));
}

#[test]
fn fields_of_a_newer_server_survive_an_update_and_the_servers_marks_are_not_sent() {
    let live = orders(json!({"name": "ORDERS", "subjects": ["orders.*"], "description": "old",
        "field_of_2_19": {"x": 1}, "metadata": {"_nats.ver": "2.15.1", "managed-by": "streamproof"}}));
    let files = [("streams/ORDERS.json", json!({"name": "ORDERS", "subjects": ["orders.*"]}))];
    let plan = made(&files, &[live], &[]);
    let document = plan.steps[0].document.as_ref().unwrap();
    assert_eq!(document["field_of_2_19"], json!({"x": 1}));
    assert_eq!(document["metadata"], json!({"managed-by": "streamproof"}));
}

#[test]
fn a_moved_consumer_is_no_difference_and_is_not_moved_twice() {
    let declared = json!({"durable_name": "C", "ack_policy": "explicit", "deliver_policy": "new"});
    let moved = resumed(declared.as_object().unwrap(), 41);
    assert_eq!(
        (&moved["deliver_policy"], &moved["opt_start_seq"]),
        (&json!("by_start_sequence"), &json!(42))
    );
    assert_eq!(declared_start(&moved), *declared.as_object().unwrap());
    assert_eq!(resumed(&moved, 50)["opt_start_seq"], 51);
    assert_eq!(declared_start(&resumed(&moved, 50))["deliver_policy"], "new");
}

#[test]
fn what_is_pruned_goes_before_its_stream_is_replaced_and_is_not_carried_over() {
    let ours = json!({"managed-by": "streamproof"});
    let consumer = |name: &str, metadata: &Value| {
        json!({"stream_name": "ORDERS", "name": name,
            "config": {"durable_name": name, "ack_policy": "explicit", "metadata": metadata}})
    };
    let live =
        orders(json!({"name": "ORDERS", "subjects": ["orders.*"], "storage": "file", "metadata": ours}));
    let files = [
        ("streams/ORDERS.json", json!({"name": "ORDERS", "subjects": ["orders.*"], "storage": "memory"})),
        ("consumers/ORDERS/KEPT.json", json!({"durable_name": "KEPT", "ack_policy": "explicit"})),
    ];
    let desired = files.map(|(path, value)| (PathBuf::from(path), value.to_string()));
    let options = project::Options { root: PathBuf::new(), version: crate::version::Version::new(2, 15, 1) };
    let desired = Project::load(desired, &options).unwrap().desired;
    // The last is a source's own (ADR-60), which the server makes again by itself.
    let seen = [
        consumer("GONE", &ours),
        consumer("KEPT", &ours),
        consumer("THEIRS", &json!({})),
        consumer("JS_SRC_N6lXlrSF", &json!({})),
    ];
    let observed = Observed {
        server: ServerSeen { name: "n".into(), version: "2.15.1".into(), ..ServerSeen::default() },
        streams: StreamSeen::from_info(&live).into_iter().collect(),
        consumers: seen.iter().filter_map(ConsumerSeen::from_info).collect(),
        ..Observed::default()
    };
    for (prune, carried) in [(true, vec!["KEPT", "THEIRS"]), (false, vec!["GONE", "KEPT", "THEIRS"])] {
        let plan = plan(&desired, &observed, &Options { prune, ..Options::default() });
        let at = |name: &str| plan.steps.iter().position(|step| step.name == name);
        let carries: Vec<&str> =
            plan.steps[at("ORDERS").unwrap()].carries.iter().map(|carried| carried.name.as_str()).collect();
        assert_eq!(carries, carried);
        assert_eq!(at("ORDERS/GONE").is_some_and(|gone| gone < at("ORDERS").unwrap()), prune);
    }
}

#[test]
fn a_stream_with_messages_of_its_sources_is_not_replaced_by_a_copy() {
    for (messages, blocked) in [(0, false), (3, true)] {
        let live = json!({"config": {"name": "S", "sources": [{"name": "O"}], "storage": "file"},
            "state": {"messages": messages, "last_seq": messages}});
        let origin = json!({"config": {"name": "O", "subjects": ["o"]}, "state": {"messages": 3}});
        let files = [
            ("streams/O.json", json!({"name": "O", "subjects": ["o"]})),
            ("streams/S.json", json!({"name": "S", "sources": [{"name": "O"}], "storage": "memory"})),
        ];
        let plan = made(&files, &[live, origin], &[]);
        let step = plan.changing().next().unwrap();
        assert_eq!((step.name.as_str(), step.action), ("S", Action::Replace));
        assert_eq!(step.blocked.is_some(), blocked, "{step:?}");
    }
}

#[test]
fn a_filter_that_takes_less_of_a_stream_of_interest_says_what_goes_and_a_wider_one_nothing() {
    let live = orders(json!({"name": "ORDERS", "subjects": ["orders.>"], "retention": "interest"}));
    for (from, to, loses) in [
        (json!({}), json!({"filter_subject": "orders.a"}), true),
        (json!({"filter_subject": "orders.*"}), json!({"filter_subject": "orders.a"}), true),
        (json!({"filter_subjects": ["orders.a", "orders.b"]}), json!({"filter_subject": "orders.a"}), true),
        (json!({"filter_subject": "orders.a"}), json!({"filter_subject": "orders.*"}), false),
        (json!({"filter_subject": "orders.a"}), json!({"filter_subjects": ["orders.b", "orders.a"]}), false),
        (json!({"filter_subject": "orders.a"}), json!({}), false),
    ] {
        let with = |filter: &Value| {
            let mut config = json!({"durable_name": "C", "ack_policy": "explicit"});
            config.as_object_mut().unwrap().extend(filter.as_object().cloned().unwrap());
            config
        };
        let consumer = json!({"stream_name": "ORDERS", "name": "C", "config": with(&from)});
        let files = [
            (
                "streams/ORDERS.json",
                json!({"name": "ORDERS", "subjects": ["orders.>"], "retention": "interest"}),
            ),
            ("consumers/ORDERS/C.json", with(&to)),
        ];
        let plan = made(&files, std::slice::from_ref(&live), &[consumer]);
        let step = plan.changing().next().unwrap();
        assert_eq!(step.loses.is_some(), loses, "{from} {to}");
        assert_eq!(step.needs.iter().any(|flag| flag == "--allow-data-loss"), loses, "{from} {to}");
    }
}

#[test]
fn a_plan_of_many_kinds_of_changes_stands_in_columns() {
    let live = [
        orders(
            json!({"name": "ORDERS", "subjects": ["orders.*", "old.>"], "description": "one line\u{1b}[2J",
            "max_age": 86_400_000_000_000u64, "republish": {"src": "orders.*", "dest": "a.very.long.subject.of.its.own.{{wildcard(1)}}"}}),
        ),
        json!({"config": {"name": "AUDIT", "subjects": ["audit.>"], "storage": "memory"}, "state": {"messages": 3, "bytes": 300}}),
        json!({"config": {"name": "OLD", "subjects": ["older"], "metadata": {"managed-by": "streamproof"}}, "state": {"messages": 7, "bytes": 70}}),
        json!({"config": {"name": "THEIRS", "subjects": ["theirs"]}, "state": {"messages": 0}}),
    ];
    let files = [
        (
            "streams/ORDERS.json",
            json!({"name": "ORDERS", "subjects": ["orders.*", "new.>", "newer.>"], "max_msgs": 200, "max_age": "1h",
                "deny_delete": true, "republish": {"src": "orders.*", "dest": "short.{{wildcard(1)}}"}, "first_seq": 5}),
        ),
        ("streams/AUDIT.json", json!({"name": "AUDIT", "subjects": ["audit.>"], "storage": "file"})),
        ("streams/SEALED.json", json!({"name": "SEALED", "sealed": true})),
        (
            "consumers/ORDERS/BILLING.json",
            json!({"durable_name": "BILLING", "ack_policy": "explicit", "backoff": ["1s", "5s"], "max_deliver": 5}),
        ),
        ("kv/SETTINGS.json", json!({"bucket": "SETTINGS", "history": 5, "ttl": "24h"})),
    ];
    let desired = files.map(|(path, value)| (PathBuf::from(path), value.to_string()));
    let options = project::Options { root: PathBuf::new(), version: crate::version::Version::new(2, 15, 1) };
    let desired = Project::load(desired, &options).unwrap().desired;
    let observed = Observed {
        server: ServerSeen { name: "n".into(), version: "2.15.1".into(), ..ServerSeen::default() },
        streams: live.iter().filter_map(StreamSeen::from_info).collect(),
        at: Some("2026-08-21T12:00:00Z".into()),
        ..Observed::default()
    };
    let plan = plan(&desired, &observed, &Options { prune: true, ..Options::default() });
    assert_eq!(shown(&plan), include_str!("tests/columns.txt"));
}
