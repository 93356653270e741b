//! Pictures of real servers before and after a restart.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use streamproof_checker::{Blame, Cell, Context, Invariant, Overall};
use streamproof_model::op::FaultKind;
use streamproof_server::Scratch;
use streamproof_server::poll::{self, Pace};
use streamproof_trial::archive::ServerRecord;
use streamproof_trial::live::{Doing, Live, LiveError, Struck, check};
use streamproof_trial::picture::proof::{Proof, judge};
use streamproof_trial::wire::{Login, Wire};

use crate::report_page::check_page;

const LIMIT: Duration = Duration::from_secs(10);

/// A server with a few streams in use, and a folder for runs.
struct Shop {
    server: Scratch,
    runs: tempfile::TempDir,
}

impl Shop {
    fn open(streams: &[Value]) -> Shop {
        let server = Scratch::builder().in_memory(true).start().unwrap();
        let shop = Shop { server, runs: tempfile::tempdir().unwrap() };
        let mut wire = shop.wire();
        for stream in streams {
            let name = stream["name"].as_str().unwrap();
            wire.api(&format!("STREAM.CREATE.{name}"), stream, LIMIT).unwrap();
        }
        shop
    }

    fn address(&self) -> SocketAddr {
        self.server.address().parse().unwrap()
    }

    fn wire(&self) -> Wire {
        Wire::connect(self.address(), &Login::default(), LIMIT).unwrap()
    }

    fn publish(&self, subject: &str, count: usize) {
        let mut wire = self.wire();
        for number in 0..count {
            let headers = if number % 3 == 0 { "NATS/1.0\r\nNote: three\r\n\r\n" } else { "" };
            let (_, reply) = wire.reply_subject();
            let body = format!("body {number}");
            wire.publish(subject, Some(&reply), headers.as_bytes(), body.as_bytes()).unwrap();
        }
        for _ in 0..count {
            wire.next(Instant::now() + LIMIT).unwrap().unwrap();
        }
    }

    /// A consumer that has taken and acked so many.
    fn consumer(&self, stream: &str, name: &str, acked: usize) {
        let mut wire = self.wire();
        let config = json!({ "durable_name": name, "ack_policy": "explicit", "deliver_policy": "all" });
        let request = json!({ "stream_name": stream, "config": config });
        wire.api(&format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), &request, LIMIT).unwrap();
        for _ in 0..acked {
            take_one(&mut wire, stream, name);
        }
    }

    fn live<'a>(&self, faults: &'a [FaultKind], cancel: &'a AtomicBool) -> Live<'a> {
        Live {
            address: self.address(),
            monitor: self.server.monitor_address(),
            login: Login::default(),
            server: ServerRecord {
                version: String::new(),
                source: "the test".to_owned(),
                sha256: self.server.binary().sha256.clone(),
            },
            repeat: "cargo xtask restart-check --live".to_owned(),
            faults,
            context: Context::default(),
            runs: self.runs.path().to_owned(),
            cancel,
        }
    }

    /// Checks it over one stop; `down` is done while the server is down.
    fn over_a_stop(&mut self, up: impl FnOnce(&Shop), down: impl FnOnce(&Path)) -> Proof {
        let never = AtomicBool::new(false);
        let live = self.live(&[FaultKind::Stop], &never);
        let mut doings = Some((up, down));
        check(
            &live,
            |_| {
                let (up, down) = doings.take().unwrap();
                up(self);
                self.restart(down)
            },
            |_| {},
        )
        .unwrap()
    }

    fn restart(&mut self, down: impl FnOnce(&Path)) -> Struck {
        let pid_before = self.server.pid().unwrap();
        self.server.stop().unwrap();
        down(self.server.store_dir());
        self.server.start().unwrap();
        let version_after = Some(self.server.binary().version.to_string());
        Struck { pid_before, pid_after: self.server.pid().unwrap(), version_after, ..Struck::default() }
    }
}

/// Takes a message and acks it. It comes under its own subject, not under that of the answer.
fn take_one(wire: &mut Wire, stream: &str, consumer: &str) {
    let (_, reply) = wire.reply_subject();
    let asked = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
    wire.publish(&asked, Some(&reply), b"", b"1").unwrap();
    let message = wire.next(Instant::now() + LIMIT).unwrap().unwrap();
    wire.request(message.reply.as_ref().unwrap(), b"+ACK", LIMIT).unwrap();
}

fn stream(name: &str) -> Value {
    json!({ "name": name, "subjects": [format!("{name}.*")], "storage": "file", "retention": "limits" })
}

fn with(mut stream: Value, key: &str, value: Value) -> Value {
    stream[key] = value;
    stream
}

fn found(proof: &Proof) -> Vec<(Invariant, &str, &str, u64)> {
    let of = |finding: &'_ streamproof_checker::Finding| finding.count;
    proof
        .verdict
        .findings
        .iter()
        .map(|finding| (finding.invariant, finding.target.as_str(), finding.class.as_str(), of(finding)))
        .collect()
}

fn changes(proof: &Proof) -> Vec<(&str, &str, u64)> {
    proof.changes.iter().map(|one| (one.target.as_str(), one.what.as_str(), one.count)).collect()
}

fn file(store: &Path, end: &str) -> PathBuf {
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().to_string_lossy().ends_with(end) {
                return entry.path();
            }
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    panic!("no {end} in {}", store.display());
}

#[test]
fn a_server_at_rest_passes_and_is_judged_alike_again() {
    let mut shop = Shop::open(&[
        stream("ORDERS"),
        with(stream("QUICK"), "allow_direct", json!(true)),
        with(stream("QUEUE"), "retention", json!("workqueue")),
        stream("EMPTY"),
        stream("HOLES"),
    ]);
    shop.publish("ORDERS.a", 300);
    shop.publish("ORDERS.b", 30);
    shop.publish("QUICK.a", 2500);
    shop.publish("QUEUE.a", 40);
    shop.publish("HOLES.a", 300);
    shop.consumer("ORDERS", "BILLING", 20);
    shop.consumer("QUEUE", "WORKER", 10);
    let purge = json!({ "seq": 300 });
    let mut wire = shop.wire();
    for seq in 2..300 {
        wire.api("STREAM.MSG.DELETE.HOLES", &json!({ "seq": seq }), LIMIT).unwrap();
    }
    wire.api("STREAM.PURGE.EMPTY", &purge, LIMIT).unwrap();
    let proof = shop.over_a_stop(|_| {}, |_| {});
    let verdict = &proof.verdict;
    assert_eq!(verdict.verdict, Overall::Pass, "{verdict:#?}");
    assert_eq!(verdict.restarts_verified, 1);
    assert_eq!(verdict.counts.read_back, 330 + 2500 + 30 + 2);
    assert_eq!(verdict.faults.len(), 5);
    assert!(verdict.faults.iter().all(|cell| cell.verdict == Cell::Pass && cell.fault == "stop"));
    assert!(verdict.controls.len() >= 5 && verdict.controls.iter().all(|control| control.found));
    assert!(proof.changes.is_empty(), "{:?}", proof.changes);
    assert_eq!(judge(&proof.folder).unwrap(), proof);
}

#[test]
fn every_report_is_drawn_of_a_pass_and_of_a_loss_and_again_when_it_is_judged_again() {
    let mut shop = Shop::open(&[stream("ORDERS"), stream("QUIET")]);
    shop.publish("ORDERS.a", 300);
    shop.consumer("ORDERS", "BILLING", 20);
    let files = ["report.html", "summary.md", "junit.xml", "verdict.json"];
    let read = |proof: &Proof, name: &str| std::fs::read_to_string(proof.folder.join(name)).unwrap();
    let passed = shop.over_a_stop(|_| {}, |_| {});
    let page = read(&passed, "report.html");
    check_page("passed", &page);
    let sha = shop.server.binary().sha256.clone();
    for part in ["no loss found in 1 restart", "ORDERS &gt; BILLING", "Nothing changed by itself", &sha] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!read(&passed, "junit.xml").contains("<failure"));
    assert!(read(&passed, "summary.md").contains("restart-check: pass"));
    let lost = shop.over_a_stop(
        |_| {},
        |store| {
            std::fs::remove_dir_all(file(store, "streams/ORDERS/msgs")).unwrap();
        },
    );
    assert_eq!(lost.verdict.verdict, Overall::Fail);
    let page = read(&lost, "report.html");
    check_page("lost", &page);
    for part in ["300 → <b>0</b>", "300 messages lost that had been read: all that the stream held", "--live"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(read(&lost, "junit.xml").contains("<failure"));
    assert!(read(&lost, "summary.md").contains("| ORDERS | **fail** |"), "{}", read(&lost, "summary.md"));
    let document: Value = serde_json::from_str(&read(&lost, "verdict.json")).unwrap();
    assert_eq!((&document["verdict"], &document["mode"]), (&json!("fail"), &json!("live")), "{document:#}");
    let before: Vec<String> = files.iter().map(|name| read(&lost, name)).collect();
    for name in files {
        std::fs::remove_file(lost.folder.join(name)).unwrap();
    }
    assert_eq!(judge(&lost.folder).unwrap(), lost);
    assert_eq!(files.map(|name| read(&lost, name)).to_vec(), before);
}

#[test]
fn what_is_damaged_while_the_server_is_down_is_found() {
    let streams = [stream("GONE"), stream("CUT"), stream("WIPED"), stream("CONSUMED"), stream("WHOLE")];
    let mut shop = Shop::open(&streams);
    for name in ["GONE", "CUT", "WIPED", "CONSUMED", "WHOLE"] {
        shop.publish(&format!("{name}.a"), 50);
    }
    shop.consumer("CONSUMED", "READER", 5);
    shop.consumer("WHOLE", "READER", 5);
    let proof = shop.over_a_stop(
        |_| {},
        |store| {
            std::fs::remove_dir_all(file(store, "streams/GONE")).unwrap();
            let messages = file(store, "streams/CUT").join("msgs");
            std::fs::remove_file(messages.join("index.db")).unwrap();
            let block = std::fs::File::options().write(true).open(messages.join("1.blk")).unwrap();
            block.set_len(block.metadata().unwrap().len() / 2).unwrap();
            std::fs::remove_dir_all(file(store, "streams/WIPED/msgs")).unwrap();
            std::fs::remove_file(file(store, "streams/CONSUMED/obs/READER/o.dat")).unwrap();
        },
    );
    assert_eq!(proof.verdict.verdict, Overall::Fail);
    let found = found(&proof);
    let has = |invariant, target: &str, class: &str| {
        found.iter().any(|(i, t, c, _)| (*i, *t, *c) == (invariant, target, class))
    };
    assert!(has(Invariant::K1, "GONE", "stream missing"), "{found:?}");
    assert!(found.contains(&(Invariant::M2, "GONE", "lost all", 50)), "{found:?}");
    assert!(has(Invariant::M2, "CUT", "lost tail") && has(Invariant::M7, "CUT", "last sequence fell"));
    assert!(found.contains(&(Invariant::M2, "WIPED", "lost all", 50)), "{found:?}");
    assert!(has(Invariant::C3, "CONSUMED > READER", "ack floor fell"), "{found:?}");
    assert!(found.iter().all(|(_, target, _, _)| !target.starts_with("WHOLE")), "{found:?}");
    assert!(proof.verdict.findings.iter().all(|finding| finding.blame == Blame::Server));
    let cell = |name: &str| proof.verdict.faults.iter().find(|cell| cell.target == name).unwrap().verdict;
    assert_eq!((cell("CUT"), cell("WHOLE")), (Cell::Fail, Cell::Pass));
}

#[test]
fn a_stream_in_memory_is_lost_and_unprotected() {
    let mut shop = Shop::open(&[with(stream("CACHE"), "storage", json!("memory")), stream("KEPT")]);
    shop.publish("CACHE.a", 12);
    shop.publish("KEPT.a", 12);
    let proof = shop.over_a_stop(|_| {}, |_| {});
    assert_eq!(proof.verdict.verdict, Overall::Unprotected, "{:#?}", proof.verdict);
    assert!(found(&proof).contains(&(Invariant::M2, "CACHE", "lost all", 12)));
    assert!(proof.verdict.findings.iter().all(|finding| finding.blame == Blame::Config));
    let cell = proof.verdict.faults.iter().find(|cell| cell.target == "CACHE").unwrap();
    assert_eq!(cell.remedy.as_deref(), Some("`storage: file`"));
}

/// Somebody else's client: asks, and waits for each answer.
fn somebody(address: SocketAddr, requests: &[(&str, &str)]) {
    let mut socket = TcpStream::connect(address).unwrap();
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let connect = r#"CONNECT {"verbose":false,"name":"shop","headers":true}"#;
    socket.write_all(format!("{connect}\r\nSUB answers 1\r\n").as_bytes()).unwrap();
    for (subject, body) in requests {
        socket.write_all(format!("PUB {subject} answers {}\r\n{body}\r\n", body.len()).as_bytes()).unwrap();
        let mut line = String::new();
        while !line.starts_with("MSG ") {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        let length: usize = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
        let mut answer = vec![0; length + 2];
        reader.read_exact(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.contains("\"error\""), "{subject}: {answer}");
    }
}

#[test]
fn what_time_and_other_clients_change_is_told_apart() {
    let age = 2_000_000_000_u64;
    let mut shop = Shop::open(&[
        stream("BUSY"),
        with(stream("LAST"), "max_msgs_per_subject", json!(1)),
        with(stream("SHORT"), "max_age", json!(age)),
        with(stream("JOBS"), "retention", json!("workqueue")),
        stream("OLD"),
    ]);
    for name in ["BUSY", "LAST", "SHORT", "JOBS", "OLD"] {
        shop.publish(&format!("{name}.a"), 20);
    }
    shop.consumer("JOBS", "WORKER", 0);
    shop.consumer("BUSY", "READER", 2);
    let published = Instant::now();
    let proof = shop.over_a_stop(
        |shop| {
            let mut update = stream("BUSY");
            update["description"] = json!("changed by its owner");
            let requests = [
                ("BUSY.new", "x"),
                ("LAST.a", "newer"),
                ("$JS.API.STREAM.MSG.DELETE.BUSY", r#"{"seq":7}"#),
                ("$JS.API.STREAM.UPDATE.BUSY", &update.to_string()),
                ("$JS.API.CONSUMER.DELETE.BUSY.READER", ""),
                ("$JS.API.STREAM.DELETE.OLD", ""),
            ];
            somebody(shop.address(), &requests);
            let mut wire = shop.wire();
            take_one(&mut wire, "JOBS", "WORKER");
        },
        |_| {
            let over = Duration::from_nanos(age) + Duration::from_millis(100);
            let waited = || if published.elapsed() > over { Ok(()) } else { Err("not yet") };
            poll::until(Pace::QUICK, LIMIT, waited).unwrap();
        },
    );
    assert_eq!(proof.verdict.verdict, Overall::Pass, "{:#?}", proof.verdict);
    let changes = changes(&proof);
    for expected in [
        ("BUSY", "messages added", 1),
        ("BUSY", "messages removed", 1),
        ("BUSY", "configuration changed", 1),
        ("BUSY > READER", "consumer removed", 1),
        ("LAST", "messages added", 1),
        ("LAST", "messages removed", 1),
        ("SHORT", "messages expired", 20),
        ("JOBS", "messages removed", 1),
        ("JOBS > WORKER", "consumer moved", 1),
        ("OLD", "stream removed", 1),
    ] {
        assert!(changes.contains(&expected), "{expected:?}: {changes:?}");
    }
}

#[test]
fn called_off_it_leaves_the_server_as_it_was_or_up_again() {
    let shop = std::cell::RefCell::new(Shop::open(&[stream("ORDERS")]));
    shop.borrow().publish("ORDERS.a", 20);
    let cancel = AtomicBool::new(true);
    let live = shop.borrow().live(&[FaultKind::Stop], &cancel);
    let untouched = check(&live, |_| panic!("the server is not touched"), |_| {});
    assert!(matches!(untouched, Err(LiveError::Untouched)), "{untouched:?}");
    cancel.store(false, Ordering::Relaxed);
    // At the very moment at which it is stopped.
    let again =
        check(&live, |_| shop.borrow_mut().restart(|_| cancel.store(true, Ordering::Relaxed)), |_| {});
    assert!(matches!(again, Err(LiveError::UpAgain)), "{again:?}");
    assert!(shop.borrow_mut().server.is_running());
    // And while the second picture is taken.
    cancel.store(false, Ordering::Relaxed);
    let again = check(
        &live,
        |_| shop.borrow_mut().restart(|_| {}),
        |doing| {
            if matches!(doing, Doing::Picture(1, _)) {
                cancel.store(true, Ordering::Relaxed);
            }
        },
    );
    // Small streams are read before anything is told: then it is simply done.
    assert!(matches!(again, Err(LiveError::UpAgain) | Ok(_)), "{again:?}");
}

#[test]
fn a_server_that_does_not_come_back_is_a_failure_that_says_why() {
    let mut shop = Shop::open(&[stream("ORDERS")]);
    shop.publish("ORDERS.a", 20);
    let never = AtomicBool::new(false);
    let live = shop.live(&[FaultKind::Stop], &never);
    let proof = check(
        &live,
        |_| {
            let pid_before = shop.server.pid().unwrap();
            shop.server.stop().unwrap();
            let failed = Some("it says: no room".to_owned());
            Struck { pid_before, failed, ..Struck::default() }
        },
        |_| {},
    )
    .unwrap();
    assert_eq!(proof.verdict.verdict, Overall::Fail);
    assert_eq!(found(&proof), [(Invariant::A1, "server", "did not come back", 1)]);
    assert!(proof.verdict.findings[0].examples[0].text.contains("no room"));
}
