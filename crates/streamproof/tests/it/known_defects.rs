//! The known defects of the pinned server, each by the steps that its row gives. A server that mends one ends its test: then its row
//! gets the version that mends it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use streamproof::checker::known::TABLE;
use streamproof::client::async_nats::{Client, HeaderMap};
use streamproof::server::Scratch;
use tokio::runtime::Runtime;

/// Rows that the pinned server has, and the test here that does what they say.
const BY_HAND: &[&str] = &[
    "duplicates-forgotten",
    "evicted-returns",
    "removed-returns",
    "last-of-block-returns",
    "emptied-block-returns",
    "before-first-returns",
    "wrong-first-returns",
    "stream-lost-at-update",
    "removal-undone",
];

#[test]
fn every_open_row_is_done_by_hand() {
    let open: Vec<&str> = TABLE
        .iter()
        .filter(|row| row.versions.iter().any(|(_, mended)| mended.is_none()))
        .map(|row| row.name)
        .collect();
    assert_eq!(open, BY_HAND);
}

/// A server, and what a person does to it with the `nats` CLI.
struct Hand {
    server: Scratch,
    runtime: Runtime,
    client: Client,
}

/// What `J` is in most rows: two blocks hold four hundred of its messages.
const MAX_BYTES: u64 = 100_000;

impl Hand {
    fn new() -> Hand {
        let (server, runtime) = (Scratch::new().unwrap(), Runtime::new().unwrap());
        let client = runtime.block_on(streamproof::client::async_nats::connect(server.url())).unwrap();
        Hand { server, runtime, client }
    }

    fn started(&mut self) {
        self.client =
            self.runtime.block_on(streamproof::client::async_nats::connect(self.server.url())).unwrap();
    }

    fn stop_start(&mut self) {
        self.server.restart().unwrap();
        self.started();
    }

    fn kill_start(&mut self) {
        self.server.restart_killed().unwrap();
        self.started();
    }

    fn request(&self, subject: &str, headers: HeaderMap, payload: Vec<u8>) -> Value {
        let answer = self
            .runtime
            .block_on(self.client.request_with_headers(subject.to_owned(), headers, payload.into()))
            .unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }

    fn api(&self, subject: &str, body: &Value) -> Value {
        let answer =
            self.request(&format!("$JS.API.{subject}"), HeaderMap::new(), body.to_string().into_bytes());
        assert_eq!(answer.get("error"), None, "{subject}: {answer}");
        answer
    }

    fn stream(&self, name: &str, mut config: Value) {
        config["name"] = name.into();
        config["storage"] = "file".into();
        self.api(&format!("STREAM.CREATE.{name}"), &config);
    }

    /// The work queue of most rows, and its consumer `W`.
    fn queue(&self, ack_wait: Duration) {
        self.stream("J", json!({ "subjects": ["j.*"], "retention": "workqueue", "max_bytes": MAX_BYTES }));
        let config = json!({
            "durable_name": "W", "ack_policy": "explicit", "ack_wait": ack_wait.as_nanos() as u64,
            "max_ack_pending": 1000, "deliver_policy": "all",
        });
        self.api("CONSUMER.DURABLE.CREATE.J.W", &json!({ "stream_name": "J", "config": config }));
    }

    fn publish(&self, subject: &str, count: usize, body: &str) {
        for _ in 0..count {
            let answer = self.request(subject, HeaderMap::new(), body.into());
            assert_eq!(answer.get("error"), None, "{answer}");
        }
    }

    fn publish_as(&self, subject: &str, id: &str) -> Value {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        self.request(subject, headers, b"hello".to_vec())
    }

    /// The next `count` messages of `W`, each acked and the ack answered, or none.
    fn next(&self, count: usize, ack: bool) {
        for _ in 0..count {
            self.runtime.block_on(async {
                let inbox = self.client.new_inbox();
                let mut answers = self.client.subscribe(inbox.clone()).await.unwrap();
                let subject = "$JS.API.CONSUMER.MSG.NEXT.J.W";
                self.client
                    .publish_with_reply(subject, inbox, r#"{"batch":1,"expires":20000000000}"#.into())
                    .await
                    .unwrap();
                let message = answers.next().await.unwrap();
                assert_eq!(message.status, None, "{message:?}");
                if ack {
                    self.client.request(message.reply.unwrap(), "+ACK".into()).await.unwrap();
                }
            });
        }
    }

    fn purge(&self, stream: &str, what: &Value) {
        self.api(&format!("STREAM.PURGE.{stream}"), what);
    }

    fn delete(&self, stream: &str, seq: u64, erase: bool) {
        self.api(&format!("STREAM.MSG.DELETE.{stream}"), &json!({ "seq": seq, "no_erase": !erase }));
    }

    /// Messages, and the first sequence.
    fn state(&self, stream: &str) -> (u64, u64) {
        let info = self.api(&format!("STREAM.INFO.{stream}"), &json!({}));
        let of = |key: &str| info["state"][key].as_u64().unwrap();
        (of("messages"), of("first_seq"))
    }

    fn folder_of(&self, stream: &str) -> PathBuf {
        self.server.store_dir().join("jetstream/$G/streams").join(stream)
    }
}

fn x(count: usize) -> String {
    "x".repeat(count)
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn duplicates_forgotten() {
    let mut hand = Hand::new();
    hand.stream("D", json!({ "subjects": ["d.*"], "duplicate_window": 120_000_000_000_u64 }));
    (1..=5).for_each(|id| drop(hand.publish_as("d.x", &format!("m{id}"))));
    hand.delete("D", 5, true);
    let again = hand.publish_as("d.x", "m2");
    assert_eq!((again["seq"].as_u64(), again["duplicate"].as_bool()), (Some(2), Some(true)), "{again}");
    hand.kill_start();
    let again = hand.publish_as("d.x", "m2");
    assert_eq!((again["seq"].as_u64(), again["duplicate"].as_bool()), (Some(6), None), "{again}");
}

#[test]
fn evicted_returns() {
    let mut hand = Hand::new();
    hand.stream(
        "KV_X",
        json!({ "subjects": ["$KV.X.>"], "max_msgs_per_subject": 1, "allow_rollup_hdrs": true }),
    );
    for (key, value) in [("k", "old"), ("k", "new"), ("other", "x")] {
        hand.publish(&format!("$KV.X.{key}"), 1, value);
    }
    hand.purge("KV_X", &json!({ "filter": "$KV.X.k" }));
    assert_eq!(hand.state("KV_X"), (1, 3));
    hand.kill_start();
    assert_eq!(hand.state("KV_X"), (2, 1), "the old value is back");

    hand.stream("B", json!({ "subjects": ["b.*"], "max_bytes": MAX_BYTES }));
    hand.publish("b.x", 400, &x(300));
    (395..=398).for_each(|seq| hand.delete("B", seq, true));
    let (_, first) = hand.state("B");
    hand.kill_start();
    assert!(hand.state("B").1 < first, "{first}: {:?}", hand.state("B"));
}

#[test]
fn removed_returns() {
    let mut hand = Hand::new();
    hand.queue(HOUR);
    hand.publish("j.x", 400, &x(100));
    hand.next(1, false);
    hand.next(399, true);
    hand.stop_start();
    hand.publish("j.x", 1, "more");
    hand.next(1, true);
    hand.publish("j.x", 1, "last");
    hand.purge("J", &json!({ "seq": 402 }));
    hand.next(1, true);
    assert_eq!(hand.state("J").0, 0);
    hand.kill_start();
    assert_eq!(hand.state("J"), (42, 359), "all had been acked");
}

#[test]
fn last_of_block_returns() {
    let mut hand = Hand::new();
    hand.queue(Duration::from_secs(3));
    hand.publish("j.x", 400, &x(100));
    hand.next(1, false);
    hand.next(298, true);
    hand.next(1, false);
    hand.next(100, true);
    // Each waits for its message to be due again.
    hand.next(1, false);
    hand.next(1, true);
    assert_eq!(hand.state("J"), (1, 1));
    hand.kill_start();
    assert_eq!(hand.state("J"), (2, 1), "300 is back");
}

#[test]
fn emptied_block_returns() {
    for alone in [false, true] {
        let mut hand = Hand::new();
        hand.stream("A", json!({ "subjects": ["a.*"], "max_bytes": MAX_BYTES }));
        hand.publish("a.keep", 1, "first");
        hand.publish("a.x", 239, &x(100));
        hand.purge("A", &json!({ "filter": "a.x" }));
        hand.publish("a.y", 200, &x(100));
        hand.publish("a.z", 1, "last");
        let (before, after) = if alone {
            hand.purge("A", &json!({ "filter": "a.y", "seq": 427 }));
            hand.delete("A", 427, false);
            (15, 16)
        } else {
            hand.purge("A", &json!({ "filter": "a.y" }));
            (2, 189)
        };
        assert_eq!(hand.state("A"), (before, 1));
        hand.kill_start();
        assert_eq!(hand.state("A"), (after, 1));
    }
}

#[test]
fn before_first_returns() {
    for kill in [false, true] {
        let mut hand = Hand::new();
        hand.queue(HOUR);
        hand.publish("j.x", 450, &x(100));
        hand.next(200, true);
        hand.next(40, false);
        hand.publish("j.x", 1, "last");
        hand.next(210, true);
        assert_eq!(hand.state("J"), (41, 201));
        if kill {
            hand.kill_start()
        } else {
            hand.stop_start()
        }
        assert_eq!(hand.state("J"), if kill { (176, 1) } else { (41, 201) });
    }
}

#[test]
fn wrong_first_returns() {
    let mut hand = Hand::new();
    hand.queue(HOUR);
    hand.publish("j.x", 400, &x(100));
    hand.next(1, false);
    hand.next(398, true);
    hand.publish("j.x", 2, "more");
    hand.next(2, true);
    hand.purge("J", &json!({ "seq": 200 }));
    assert_eq!(hand.state("J"), (1, 401), "401 was acked");
    hand.stop_start();
    assert_eq!(hand.state("J"), (2, 400), "400 is back");
}

#[test]
fn stream_lost_at_update() {
    let mut hand = Hand::new();
    hand.stream("A", json!({ "subjects": ["a.*"] }));
    let sum = hand.folder_of("A").join("meta.sum");
    let kept = std::fs::read(&sum).unwrap();
    let config = json!({ "name": "A", "subjects": ["a.*"], "storage": "file", "description": "x" });
    hand.api("STREAM.UPDATE.A", &config);
    hand.server.stop().unwrap();
    std::fs::write(&sum, kept).unwrap();
    hand.server.start().unwrap();
    hand.started();
    assert_eq!(hand.api("STREAM.NAMES", &json!({}))["total"], 0);
}

#[test]
fn removal_undone() {
    for purge in [true, false] {
        let mut hand = Hand::new();
        hand.stream("A", json!({ "subjects": ["a.*"] }));
        hand.publish("a.x", 5, "hello");
        let (messages, elsewhere) = (hand.folder_of("A").join("msgs"), tempfile::tempdir().unwrap());
        copy(&messages, elsewhere.path());
        if purge {
            hand.purge("A", &json!({}))
        } else {
            hand.delete("A", 3, false)
        }
        assert_eq!(hand.state("A").0, if purge { 0 } else { 4 });
        hand.server.kill().unwrap();
        std::fs::remove_dir_all(&messages).unwrap();
        std::fs::create_dir(&messages).unwrap();
        copy(elsewhere.path(), &messages);
        hand.server.start().unwrap();
        hand.started();
        assert_eq!(hand.state("A"), (5, 1));
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
