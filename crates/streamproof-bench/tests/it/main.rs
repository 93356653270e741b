//! The measurements against real servers. What they measure is not looked at: that they count is.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream;
use futures_util::StreamExt;
use streamproof_bench::price::{Extent, Price, Setting};
use streamproof_bench::{BenchError, Measure, Progress, Report, Settings, Target, run};
use streamproof_server::{Scratch, poll};

fn target(server: &Scratch) -> Target {
    Target {
        url: server.url(),
        options: ConnectOptions::new(),
        peer_env: Vec::new(),
        server_pid: server.pid(),
        about: "scratch".to_owned(),
    }
}

fn settings(measures: &[Measure], work_dir: &Path) -> Settings {
    Settings {
        measures: measures.to_vec(),
        msgs: 2_000,
        sizes_bytes: vec![64],
        windows: vec![100],
        clients: vec![1, 3],
        rounds: 2,
        rate_per_second: 500,
        end_to_end_seconds: 1,
        persist_async: false,
        peer: None,
        work_dir: work_dir.to_owned(),
    }
}

fn names(report: &Report) -> Vec<(&str, usize)> {
    report.measures.iter().map(|m| (m.name.as_str(), m.clients)).collect()
}

/// The streams that the server has, as the server says.
fn streams(server: &Scratch) -> usize {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let client = async_nats::connect(server.url()).await.unwrap();
        jetstream::new(client).query_account().await.unwrap().streams
    })
}

#[test]
fn every_measure_counts_every_message_and_leaves_nothing() {
    let server = Scratch::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let report =
        run(&settings(&Measure::ALL, dir.path()), &target(&server), &Arc::new(Progress::default())).unwrap();
    let each = [1, 3].map(|clients| Measure::ALL[..5].iter().map(move |m| (m.name(), clients)));
    let mut want: Vec<(&str, usize)> = each.into_iter().flatten().chain([("end-to-end", 1)]).collect();
    let mut got = names(&report);
    want.sort_unstable();
    got.sort_unstable();
    assert_eq!(got, want);
    for m in &report.measures {
        assert!(m.counted, "{}: {:?}", m.name, m.miscounts);
        assert!(m.ours.msgs_per_s > 0.0 && m.peer.is_none() && m.ratio.is_none());
        let timed = matches!(m.name.as_str(), "publish-ack" | "end-to-end");
        assert_eq!(m.ours.latency_us.as_ref().is_some_and(|l| l.p50 > 0 && l.p99_9 <= l.max), timed);
        assert_eq!(m.ours.server_cpu_s_per_million.is_some(), cfg!(target_os = "linux"));
    }
    assert_eq!(streams(&server), 0);
}

/// Somebody else publishes on the subject while it is measured.
#[test]
fn a_message_too_many_is_found_in_every_measure() {
    let server = Scratch::new().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = runtime.block_on(async_nats::connect(server.url())).unwrap();
    let mut heard = runtime.block_on(client.subscribe("streamproof.bench.>")).unwrap();
    runtime.block_on(client.flush()).unwrap();
    runtime.spawn(async move {
        let mut stream = None;
        while let Some(message) = heard.next().await {
            // Once in the stream as it is: its first message is number 0 in each.
            if stream.as_ref() != Some(&message.subject) || message.payload.starts_with(&[0; 8]) {
                stream = Some(message.subject.clone());
                client.publish(message.subject, "strange".into()).await.unwrap();
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(&Measure::ALL[..5], dir.path());
    (settings.clients, settings.msgs) = (vec![1], 500);
    let report = run(&settings, &target(&server), &Arc::default()).unwrap();
    assert_eq!(report.measures.len(), 5);
    for m in &report.measures {
        let said = m.miscounts.join(", ");
        // It is stored with the others, and taken with them or left behind.
        let places: &[&str] = match m.name.as_str() {
            "publish-ack" | "publish-fast" => &["messages in the stream"],
            _ => &["messages received that are not ours", "messages left for the consumer"],
        };
        assert!(!m.counted && places.iter().any(|place| said.contains(place)), "{}: {said}", m.name);
    }
    assert!(!report.counted());
}

#[test]
fn a_server_without_fast_batches_is_measured_without_them() {
    let server = Scratch::builder().version("2.12.1".parse().unwrap()).start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(&[Measure::PublishAck, Measure::PublishFast], dir.path());
    settings.clients = vec![1];
    let report = run(&settings, &target(&server), &Arc::new(Progress::default())).unwrap();
    assert_eq!(names(&report), [("publish-ack", 1)]);
}

#[test]
fn a_word_ends_it_and_the_stream_goes_with_it() {
    let server = Scratch::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(&[Measure::PublishAck], dir.path());
    (settings.msgs, settings.rounds) = (1_000_000, 100);
    let progress = Arc::new(Progress::default());
    let (watched, target) = (progress.clone(), target(&server));
    let measuring = std::thread::spawn(move || run(&settings, &target, &watched));
    let moves = || match progress.snapshot().done {
        0 => Err("nothing done"),
        _ => Ok(()),
    };
    streamproof_server::poll::until(Duration::from_millis(1), Duration::from_secs(20), moves).unwrap();
    progress.stop();
    assert!(matches!(measuring.join().unwrap(), Err(BenchError::Interrupted)));
    assert_eq!(streams(&server), 0);
}

#[test]
fn what_cannot_be_measured_is_refused_first() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Target {
        url: "nats://127.0.0.1:1".to_owned(),
        options: ConnectOptions::new(),
        peer_env: Vec::new(),
        server_pid: None,
        about: String::new(),
    };
    let asked = |change: fn(&mut Settings)| {
        let mut settings = settings(&[Measure::PublishAck], dir.path());
        change(&mut settings);
        run(&settings, &nowhere, &Arc::default()).unwrap_err()
    };
    assert!(matches!(asked(|s| s.sizes_bytes = vec![7]), BenchError::Setting { asked: 7, least: 8, .. }));
    assert!(matches!(asked(|s| s.clients = vec![0]), BenchError::Setting { asked: 0, .. }));
    assert!(matches!(asked(|s| s.windows = vec![40_000]), BenchError::Setting { .. }));
    assert!(matches!(asked(|s| s.peer = Some("/nowhere/nats".into())), BenchError::NoPeer { .. }));
    assert!(matches!(asked(|_| ()), BenchError::Unreachable { .. }));
}

/// The `nats` CLI, where it is installed; without it a test says so, unless it is required.
fn nats() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("STREAMPROOF_NATS").map_or_else(|| "nats".into(), Into::into);
    let there = std::process::Command::new(&path).arg("--version").output().is_ok();
    let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
    assert!(there || !required.split(',').any(|r| r == "nats"), "no nats CLI");
    there.then_some(path)
}

#[test]
fn the_peer_is_measured_in_turn_and_counted_too() {
    let Some(nats) = nats() else {
        eprintln!("skipped: the nats CLI is not installed");
        return;
    };
    let server = Scratch::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(&Measure::ALL[..5], dir.path());
    (settings.clients, settings.peer) = (vec![2], Some(nats));
    let report = run(&settings, &target(&server), &Arc::default()).unwrap();
    assert!(report.peer.unwrap().starts_with("nats "));
    for m in &report.measures {
        assert!(m.counted, "{}: {:?}", m.name, m.miscounts);
        if m.peer_unfinished < 2 {
            let peer = m.peer.as_ref().unwrap();
            assert!(peer.msgs_per_s > 0.0 && m.ratio.is_some_and(|r| r > 0.0), "{}", m.name);
            assert_eq!(peer.msgs, if m.name == "consume-double-ack" { 200 } else { 2_000 });
        }
    }
    assert_eq!(streams(&server), 0);
}

/// Why crash states cannot be made here; without them a test says so, unless they are required.
fn no_crash_states() -> Option<String> {
    let reason = streamproof_bench::loss::available().err()?;
    let required = std::env::var("STREAMPROOF_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r == "fuse"), "{reason}");
    Some(reason)
}

/// The two ends of the price list: nothing is synced, and each message is.
#[test]
fn what_is_paid_is_what_is_kept() {
    let missing = no_crash_states();
    if let Some(reason) = &missing {
        eprintln!("skipped: the crash states: {reason}");
    }
    let crash_states = missing.is_none();
    let dir = tempfile::tempdir().unwrap();
    for (keys, slow) in [("", false), ("sync_interval: always", true)] {
        let builder = Scratch::builder().jetstream(keys);
        let server = builder.clone().start().unwrap();
        let setting = Setting {
            name: keys.to_owned(),
            jetstream: Some(keys.to_owned()),
            persist_async: false,
            by_definition: String::new(),
            recorded: Duration::from_secs(1),
            slow,
        };
        let extent = Extent { msgs: 2_000, size_bytes: 64, window: 100, rounds: 1, crash_states };
        let target = target(&server);
        let (price, _) =
            Price::measure(&setting, &target, &builder, extent, dir.path(), &Arc::default()).unwrap();
        assert!(price.counted && price.msgs_per_s > 0.0 && price.alone_msgs_per_s > 0.0, "{price:?}");
        let Some(worst) = price.worst else { continue };
        assert!(worst.states > 0 && worst.acked > 100, "{worst:?}");
        if slow {
            assert_eq!((worst.lost, worst.stream_gone), (0, false), "{worst:?}");
        } else {
            // All but what was there when the recording began.
            assert_eq!((worst.acked - worst.lost, worst.stream_gone), (100, false), "{worst:?}");
        }
    }
}

#[test]
fn a_stream_that_persists_asynchronously_is_measured_and_counted() {
    let server = Scratch::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(&[Measure::PublishAck], dir.path());
    settings.persist_async = true;
    let report = run(&settings, &target(&server), &Arc::default()).unwrap();
    assert!(report.counted(), "{:?}", report.measures[0].miscounts);
}

/// Ctrl-C while a server is recorded: it ends long before the recording would, and leaves nothing mounted.
#[test]
fn told_to_stop_a_recording_ends_and_nothing_stays_mounted() {
    if let Some(reason) = no_crash_states() {
        eprintln!("skipped: {reason}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let builder = Scratch::builder();
    let server = builder.clone().start().unwrap();
    let setting = Setting {
        name: "long".to_owned(),
        jetstream: Some(String::new()),
        persist_async: false,
        by_definition: String::new(),
        recorded: Duration::from_secs(600),
        slow: true,
    };
    let extent = Extent { msgs: 100, size_bytes: 64, window: 10, rounds: 1, crash_states: true };
    let target = target(&server);
    let progress = Arc::<Progress>::default();
    let here = dir.path().canonicalize().unwrap().display().to_string();
    let mounted = || std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&here);
    std::thread::scope(|scope| {
        let measuring =
            scope.spawn(|| Price::measure(&setting, &target, &builder, extent, dir.path(), &progress));
        let is_mounted = || if mounted() { Ok(()) } else { Err("nothing is mounted") };
        poll::until(Duration::from_millis(10), Duration::from_secs(60), is_mounted).unwrap();
        progress.stop();
        assert!(matches!(measuring.join().unwrap(), Err(BenchError::Interrupted)));
    });
    assert!(!mounted());
    assert_eq!(std::fs::read_dir(dir.path().join("recorded")).map_or(0, Iterator::count), 0);
}
