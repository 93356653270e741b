//! Fast batches, and what stands in for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use streamproof_client::async_nats::{self, jetstream};
use streamproof_client::{
    AddError, Batch, BatchFailure, BatchReport, ClientExt, FastBatch, FastBatchOptions, Indeterminate,
    Outgoing, PublishError,
};
use streamproof_server::Scratch;

use crate::bed::{bounded, client, client_at, stream, until};
use crate::guarded::{ALLOWED, Guarded, REVOKED};
use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_batch_accounts_for_every_message() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    let config = jetstream::stream::Config { allow_batch_publish: true, ..Default::default() };
    let mut stream = stream(&client, config).await;
    let mut batch = FastBatch::begin(client.clone(), FastBatchOptions::default()).await.unwrap();
    for n in 0..5_000 {
        batch.add(("s.a", n.to_string())).await.unwrap();
    }
    let report = batch.commit().await;
    assert_eq!((report.sent, report.stored, report.failure), (5_000, 5_000, None));
    assert_eq!((report.last_sequence, stream.info().await.unwrap().state.messages), (Some(5_000), 5_000));

    let mut batch = FastBatch::begin(client.clone(), FastBatchOptions::default()).await.unwrap();
    let mut refused = None;
    for n in 1..=2_000u64 {
        let mut message = Outgoing::new("s.a", n.to_string());
        if n == 700 {
            message = message.expected_last_sequence(1);
        }
        if let Err(error) = batch.add(message).await {
            refused = Some(error);
            break;
        }
    }
    let report = batch.commit().await;
    assert!(matches!(report.failure, Some(BatchFailure::Rejected(_))), "{report:?}");
    assert!(matches!(refused, None | Some(AddError::Ended(_))));
    assert_eq!(report.stored, 699, "{report:?}");
    assert_eq!(report.stored + report.rejected + report.indeterminate, report.sent);
    assert_eq!(stream.info().await.unwrap().state.messages, 5_699);
}

/// A batch of `count` into which something happens after `at`; what it reports must hold against the stream.
async fn disturbed(
    server: &mut Scratch,
    client: &async_nats::Client,
    options: FastBatchOptions,
    (at, count): (u64, u64),
    fault: impl FnOnce(&mut Scratch),
) -> BatchReport {
    let before = messages(client).await;
    let mut batch = FastBatch::begin(client.clone(), options).await.unwrap();
    let mut fault = Some(fault);
    let mut added = 0;
    for n in 0..count {
        if n == at
            && let Some(fault) = fault.take()
        {
            tokio::task::block_in_place(|| fault(server));
        }
        match bounded("add", batch.add(("s.a", n.to_string()))).await {
            Ok(()) => added += 1,
            Err(AddError::Ended(_)) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let report = bounded("commit", batch.commit()).await;
    assert_eq!(report.sent, added, "{report:?}");
    assert_eq!(report.stored + report.rejected + report.indeterminate, report.sent, "{report:?}");
    if let Some(before) = before
        && let Some(after) = messages(client).await
    {
        let stored = after - before;
        assert!(stored >= report.stored, "{report:?}, {stored} in the stream");
        assert!(stored <= report.stored + report.indeterminate, "{report:?}, {stored} in the stream");
    }
    report
}

/// `None` where there is no stream.
async fn messages(client: &async_nats::Client) -> Option<u64> {
    let js = jetstream::new(client.clone());
    let mut found = None;
    until("an answer", async || match js.get_stream("S").await {
        Ok(stream) => {
            found = Some(stream.cached_info().state.messages);
            true
        }
        Err(error) => matches!(error.kind(), jetstream::context::GetStreamErrorKind::JetStream(_)),
    })
    .await;
    found
}

fn batched() -> jetstream::stream::Config {
    jetstream::stream::Config { allow_batch_publish: true, ..Default::default() }
}

/// The connection went, and with it the batch: the server that is there now does not know it (JSBatchPublishUnknownBatchIDErr),
/// or did not listen any more.
fn gone(report: &BatchReport) -> bool {
    match &report.failure {
        Some(BatchFailure::Indeterminate(_)) => true,
        Some(BatchFailure::Rejected(why)) => why.err_code == 10_208 || why.code == 503,
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_server_goes_is_indeterminate_in_between() {
    let mut server = Scratch::new().unwrap();
    let client = client(&server).await;
    stream(&client, batched()).await;
    // None of them is to end by its time.
    let options = || FastBatchOptions::default().flow(50).timeout(Duration::from_secs(3600));
    let mut unknown = 0;
    for round in 0..4 {
        let at = 500 + 333 * round;
        let report =
            disturbed(&mut server, &client, options(), (at, 20_000), |s| s.restart_killed().unwrap()).await;
        assert!(gone(&report), "{report:?}");
        assert!(report.indeterminate <= 100, "more was in flight than two flows: {report:?}");
        unknown += report.indeterminate;
        let report = disturbed(&mut server, &client, options(), (at, 20_000), |s| s.restart().unwrap()).await;
        assert!(gone(&report), "{report:?}");
        unknown += report.indeterminate;
        // The next one is a batch like any other.
        let report = disturbed(&mut server, &client, options(), (1, 1_000), |_| ()).await;
        assert_eq!((report.stored, report.failure), (1_000, None));
    }
    assert!(unknown > 0, "nothing was in flight at any of the faults");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_gets_no_answer_ends_in_time() {
    let mut server = Scratch::new().unwrap();
    let client = client(&server).await;
    stream(&client, batched()).await;
    let options = FastBatchOptions::default().flow(50).timeout(Duration::from_millis(300));
    let mut batch = FastBatch::begin(client.clone(), options).await.unwrap();
    for n in 0..200 {
        batch.add(("s.a", n.to_string())).await.unwrap();
    }
    server.pause().unwrap();
    let mut sent = 200;
    let failure = loop {
        match bounded("add", batch.add(("s.a", "x"))).await {
            Ok(()) => sent += 1,
            Err(AddError::Ended(failure)) => break failure,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(failure, BatchFailure::Indeterminate(Indeterminate::Timeout));
    let report = bounded("commit", batch.commit()).await;
    assert_eq!((report.sent, report.rejected), (sent, 0), "{report:?}");
    assert!(report.indeterminate > 0 && report.indeterminate <= 100, "{report:?}");
    server.resume().unwrap();
    let stored = messages(&client).await.unwrap();
    assert!(stored >= report.stored && stored <= report.sent, "{report:?}");
    server.kill().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_into_a_full_stream_says_how_much_fitted() {
    let mut server = Scratch::new().unwrap();
    let client = client(&server).await;
    let full = jetstream::stream::Config {
        max_messages: 700,
        discard: jetstream::stream::DiscardPolicy::New,
        ..batched()
    };
    stream(&client, full).await;
    let report = disturbed(&mut server, &client, FastBatchOptions::default(), (1, 3_000), |_| ()).await;
    assert!(
        matches!(&report.failure, Some(BatchFailure::Rejected(why)) if why.err_code == 10_077),
        "{report:?}"
    );
    assert_eq!((report.stored, report.indeterminate), (700, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_stream_is_deleted_ends() {
    let mut server = Scratch::new().unwrap();
    let client = client(&server).await;
    stream(&client, batched()).await;
    let options = FastBatchOptions::default().flow(50).timeout(Duration::from_millis(500));
    let deleting = client.clone();
    let report = disturbed(&mut server, &client, options, (1_000, 20_000), move |_| {
        let js = jetstream::new(deleting);
        tokio::runtime::Handle::current().block_on(js.delete_stream("S")).unwrap();
    })
    .await;
    assert!(report.failure.is_some() && report.stored >= 900, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_cut_off_or_without_rights_is_indeterminate_in_between() {
    let mut guarded = Guarded::start(ALLOWED, "");
    let admin = guarded.admin().await;
    stream(&admin, batched()).await;
    let proxy = Proxy::to(guarded.server.address()).await;
    let app = guarded.app_at(proxy.url()).await;
    let options = || FastBatchOptions::default().flow(50).timeout(Duration::from_millis(500));
    for at in [1_000, 1_777] {
        let mut batch = FastBatch::begin(app.clone(), options()).await.unwrap();
        let before = messages(&admin).await.unwrap();
        let mut revoked = false;
        // Where the cut hit nothing, the batch goes on and is whole.
        let mut failure = None;
        while failure.is_none() && batch.sent() < 20_000 {
            if batch.sent() == at && at == 1_000 {
                proxy.cut();
            } else if batch.sent() == at && !revoked {
                guarded.rule(REVOKED, "");
                revoked = true;
            }
            match bounded("add", batch.add(("s.a", "x"))).await {
                Ok(()) => {}
                Err(AddError::Ended(ended)) => failure = Some(ended),
                Err(other) => panic!("{other}"),
            }
        }
        let report = bounded("commit", batch.commit()).await;
        match &failure {
            Some(BatchFailure::Indeterminate(_) | BatchFailure::Gap { .. }) => {}
            None => assert!(!revoked && report.stored == report.sent, "{report:?}"),
            Some(other) => panic!("{other}"),
        }
        assert_eq!(report.stored + report.rejected + report.indeterminate, report.sent, "{report:?}");
        let stored = messages(&admin).await.unwrap() - before;
        assert!(
            stored >= report.stored && stored <= report.stored + report.indeterminate,
            "{stored}, {report:?}"
        );
    }
    guarded.server.kill().unwrap();
}

/// The server cuts the sender off, as it does not read: what was in flight then is unknown, and nothing else. Where the
/// server still knows the batch when the sender is back, it says from where on it missed something, and all is known; where it
/// missed nothing, the batch goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_a_slow_consumer_is_indeterminate_in_between() {
    let server = Scratch::builder().config("max_payload: 64KB\nmax_pending: 128KB").start().unwrap();
    let direct = client(&server).await;
    stream(&direct, batched()).await;
    let proxy = Proxy::to(server.address()).await;
    let slow = client_at(proxy.url()).await;
    let _flooded = slow.subscribe("flood").await.unwrap();
    let cut_off = || server.log_tail(10_000).matches("Slow Consumer").count();
    for _ in 0..2 {
        let before = messages(&direct).await.unwrap();
        let options = FastBatchOptions::default().flow(50);
        let mut batch = FastBatch::begin(slow.clone(), options).await.unwrap();
        for _ in 0..1_000 {
            bounded("add", batch.add(("s.a", "x"))).await.unwrap();
        }
        let seen = cut_off();
        proxy.deaf(true);
        let flooding = until("cut off as a slow consumer", async || {
            for _ in 0..64 {
                direct.publish("flood", vec![b'x'; 64 << 10].into()).await.unwrap();
            }
            direct.flush().await.unwrap();
            cut_off() > seen
        });
        let over = AtomicBool::new(false);
        let adding = async {
            let mut after = 0;
            while after < 1_000 {
                match bounded("add", batch.add(("s.a", "x"))).await {
                    Ok(()) => after += u32::from(over.load(Ordering::Relaxed)),
                    Err(AddError::Ended(failure)) => return Some(failure),
                    Err(other) => panic!("{other}"),
                }
            }
            None
        };
        let (failure, ()) = tokio::join!(adding, async {
            flooding.await;
            proxy.deaf(false);
            over.store(true, Ordering::Relaxed);
        });
        let report = bounded("commit", batch.commit()).await;
        match &report.failure {
            None => assert_eq!(report.stored, report.sent, "{report:?}"),
            Some(BatchFailure::Gap { .. }) => {}
            Some(_) => assert!(gone(&report), "{report:?}"),
        }
        assert!(failure.is_none() || report.failure == failure, "{report:?}");
        assert_eq!(report.stored + report.rejected + report.indeterminate, report.sent, "{report:?}");
        assert!(report.stored >= 900 && report.indeterminate <= 100, "{report:?}");
        let stored = messages(&direct).await.unwrap() - before;
        assert!(
            stored >= report.stored && stored <= report.stored + report.indeterminate,
            "{stored}, {report:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_max_payload_ends_no_batch() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    stream(&client, batched()).await;
    let mut batch = FastBatch::begin(client.clone(), FastBatchOptions::default()).await.unwrap();
    batch.add(("s.a", "x")).await.unwrap();
    let large = vec![0; client.max_payload() + 1];
    let refused = batch.add(("s.a", large)).await.unwrap_err();
    assert!(matches!(refused, AddError::NotSent(PublishError::TooLarge { .. })), "{refused}");
    batch.add(("s.a", "x")).await.unwrap();
    let report = batch.commit().await;
    assert_eq!((report.sent, report.stored, report.failure), (2, 2, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_fast_batches_each_message_is_acked_and_the_reason_is_told() {
    let old = Scratch::builder().version("2.12.1".parse().unwrap()).start().unwrap();
    let new = Scratch::new().unwrap();
    for (server, want) in [(&old, "needs nats-server 2.14"), (&new, "allow_batched")] {
        let client = client(server).await;
        // This one does not allow batches.
        stream(&client, Default::default()).await;
        let mut batch = Batch::begin(client.clone(), FastBatchOptions::default()).await.unwrap();
        for n in 0..2_000 {
            batch.add(("s.a", n.to_string())).await.unwrap();
        }
        let why = batch.fallback().unwrap().to_string();
        assert!(why.contains(want), "{why}");
        let report = batch.commit().await;
        assert_eq!((report.sent, report.stored, report.last_sequence), (2_000, 2_000, Some(2_000)));
        assert_eq!((report.stream.as_deref(), report.failure), (Some("S"), None));
        assert_eq!(messages(&client).await, Some(2_000));
    }
    let client = client(&new).await;
    jetstream::new(client.clone()).delete_stream("S").await.unwrap();
    until("made anew", async || {
        let config =
            jetstream::stream::Config { name: "S".into(), subjects: vec!["s.>".into()], ..batched() };
        jetstream::new(client.clone()).create_stream(config).await.is_ok()
    })
    .await;
    let mut batch = Batch::begin(client, FastBatchOptions::default()).await.unwrap();
    batch.add(("s.a", "x")).await.unwrap();
    assert!(batch.fallback().is_none());
    assert_eq!(batch.commit().await.stored, 1);
}

/// Behind a leaf that takes batches, a hub that does not know them: it stores each message by itself, and says so as for any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_on_a_server_without_fast_batches_elsewhere_gets_each_message_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}");
    let old = Scratch::builder().version("2.12.1".parse().unwrap()).config(&listen).start().unwrap();
    let remotes = format!("leafnodes {{ remotes: [{{ url: \"nats-leaf://127.0.0.1:{port}\" }}] }}");
    let leaf = Scratch::builder().config(&remotes).start().unwrap();
    let hub = client(&old).await;
    stream(&hub, Default::default()).await;
    let client = client(&leaf).await;
    let publisher = client.publisher(Default::default()).await.unwrap();
    until("the leaf knows of the stream", async || {
        publisher.publish(("s.a", "x")).await.unwrap().await.acked().is_some()
    })
    .await;
    let before = messages(&hub).await.unwrap();

    let mut batch = FastBatch::begin(client.clone(), FastBatchOptions::default()).await.unwrap();
    bounded("an answer", batch.add(("s.a", "x"))).await.unwrap();
    let ended = bounded("an end", batch.add(("s.a", "x"))).await;
    assert_eq!(ended, Err(AddError::Ended(BatchFailure::Unknown)));
    let report = batch.commit().await;
    assert_eq!((report.sent, report.stored, report.last_sequence), (1, 1, Some(before + 1)), "{report:?}");
    assert_eq!(messages(&hub).await, Some(before + 1));

    let mut batch = Batch::begin(client.clone(), FastBatchOptions::default()).await.unwrap();
    for n in 0..500 {
        bounded("add", batch.add(("s.a", n.to_string()))).await.unwrap();
    }
    let why = batch.fallback().unwrap().to_string();
    assert!(why.contains("2.14"), "{why}");
    let report = bounded("commit", batch.commit()).await;
    assert_eq!(
        (report.sent, report.stored, report.last_sequence),
        (500, 500, Some(before + 501)),
        "{report:?}"
    );
    assert_eq!((report.stream.as_deref(), report.failure), (Some("S"), None));
    assert_eq!(messages(&hub).await, Some(before + 501));
}
