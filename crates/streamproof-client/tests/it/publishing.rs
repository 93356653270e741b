//! Outcomes one by one, and the bound.

use std::time::Duration;

use streamproof_client::async_nats::jetstream;
use streamproof_client::{ClientExt, Outcome, Outgoing, PublishError, PublisherOptions};
use streamproof_server::Scratch;

use crate::bed::{client, stream};

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_answer_is_told_apart() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    let full = jetstream::stream::Config {
        max_messages: 2,
        discard: jetstream::stream::DiscardPolicy::New,
        ..Default::default()
    };
    let stream = stream(&client, full).await;
    let publisher = client.publisher(PublisherOptions::default()).await.unwrap();
    let publish = async |m: Outgoing| publisher.publish(m).await.unwrap().await;
    let code = |o: &Outcome| match o {
        Outcome::Rejected(r) => (r.code, r.err_code),
        other => panic!("{other}"),
    };

    let first = publish(Outgoing::new("s.a", "1").message_id("one")).await;
    assert_eq!(first.acked().map(|a| (&*a.stream, a.sequence, a.duplicate)), Some(("S", 1, false)));
    let again = publish(Outgoing::new("s.a", "1").message_id("one")).await;
    assert_eq!(again.acked().map(|a| (a.sequence, a.duplicate)), Some((1, true)));
    assert_eq!(code(&publish(Outgoing::new("s.a", "2").expected_last_sequence(7)).await), (400, 10071));
    assert_eq!(code(&publish(Outgoing::new("nobody", "2")).await).0, 503);
    assert!(publish(Outgoing::new("s.a", "2")).await.acked().is_some());
    assert_eq!(code(&publish(Outgoing::new("s.a", "3")).await), (503, 10077), "the stream is full");
    let too_large = vec![0; client.max_payload() + 1];
    assert!(matches!(publisher.publish(("s.a", too_large)).await, Err(PublishError::TooLarge { .. })));
    let bad_header = Outgoing::new("s.a", "x").header("a", "b\r\nc");
    assert!(matches!(publisher.publish(bad_header).await, Err(PublishError::InvalidHeader { .. })));
    jetstream::new(client.clone()).delete_stream("S").await.unwrap();
    assert_eq!(code(&publish(Outgoing::new("s.a", "4")).await).0, 503);
    drop(stream);

    let totals = publisher.settle().await;
    assert!(totals.balanced(), "{totals:?}");
    assert_eq!((totals.sent, totals.acked, totals.duplicates, totals.rejected), (7, 3, 1, 4));
    assert_eq!(publisher.occupied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_holds_while_the_server_stands_still() {
    let server = Scratch::new().unwrap();
    let client = client(&server).await;
    let _stream = stream(&client, jetstream::stream::Config::default()).await;
    let options = PublisherOptions::default().window(8).ack_timeout(Duration::from_millis(200));
    let publisher = client.publisher(options).await.unwrap();
    server.pause().unwrap();
    let mut outcomes = Vec::new();
    // What it answered in the moment before it stood still does not count.
    let publish = || tokio::time::timeout(Duration::from_millis(1_500), publisher.publish(("s.a", "x")));
    while let Ok(outcome) = publish().await {
        outcomes.push(outcome.unwrap());
    }
    let answered = outcomes.len() - 8;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.await.acked().is_some(), n < answered, "{n} of {answered}");
    }
    assert_eq!((publisher.totals().in_flight, publisher.occupied()), (0, 8), "an outcome frees no slot");
    server.resume().unwrap();
    let next = tokio::time::timeout(Duration::from_secs(30), publisher.publish(("s.a", "x"))).await.unwrap();
    assert!(next.unwrap().await.acked().is_some());
    assert!(publisher.settle().await.balanced());
}
