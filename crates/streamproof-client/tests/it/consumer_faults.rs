//! Consumers of every kind while the server is stopped, killed, stands still, is cut off, cuts off, takes less and takes rights
//! away: everything is seen, everything handed out is answered, and at the end nothing is left at the server.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use streamproof_client::ClientExt;
use streamproof_client::async_nats::jetstream::consumer::AckPolicy;

use crate::bed::bounded;
use crate::kinds::Kind;
use crate::site::{Fault, MSGS, Site};

async fn under(kind: Kind, faults: &[Fault]) {
    let mut site = kind.site().await;
    site.hold(faults.len());
    let at_work = kind.start(&site).await;
    site.happen(faults).await;
    site.nothing_pending().await;
    let totals = at_work.stop().await;
    site.nothing_is_left(totals).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_with_explicit_acks_of_every_kind() {
    under(Kind::PullExplicit, &Fault::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_with_one_ack_for_many() {
    under(Kind::PullAll, &Fault::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_with_double_acks_in_flight() {
    under(Kind::PullDouble, &Fault::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn push_with_explicit_acks() {
    under(Kind::PushExplicit, &Fault::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn push_with_one_ack_for_many() {
    under(Kind::PushAll, &Fault::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_function_fails_at_times() {
    under(Kind::Worker, &Fault::ALL).await;
}

/// Other kinds under other orders of other faults: the same ones each time, so that a failure is found again.
#[test]
fn any_kind_under_any_order_of_faults() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config = Config { cases: 6, max_shrink_iters: 4, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let faults = prop::collection::vec(prop::sample::select(&Fault::ALL[..]), 1..6);
    runner
        .run(&(prop::sample::select(&Kind::ALL[..]), faults), |(kind, faults)| {
            runtime.block_on(under(kind, &faults));
            Ok(())
        })
        .unwrap();
}

/// A push consumer as well: as much as it may be sent unasked.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_of_a_push_consumer_leaves_nothing_to_ack_wait() {
    let site = Site::new(AckPolicy::Explicit, true, Duration::from_secs(3600)).await;
    for _ in 0..5 {
        let mut push = site.app.push_consumer("S", "C").await.unwrap();
        for _ in 0..20 {
            drop(bounded("next", push.next()).await.unwrap());
        }
        bounded("drain", push.drain()).await.unwrap();
    }
    let mut push = site.app.push_consumer("S", "C").await.unwrap();
    while site.seen.count() < MSGS {
        let delivery = bounded("what was given back", push.next()).await.unwrap();
        site.seen.see(&delivery).await;
        delivery.ack().await.unwrap();
    }
}

/// The stream goes on while the consumer ends: what the server had sent already is given back, not left to `ack_wait`.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_in_full_flow_leaves_nothing_to_ack_wait() {
    for policy in [AckPolicy::Explicit, AckPolicy::All] {
        // What is left to this never comes.
        let site = Site::new(policy, false, Duration::from_secs(3600)).await;
        for _ in 0..10 {
            let mut pull = site.pull().await;
            let mut held = Vec::new();
            for _ in 0..20 {
                held.push(bounded("next", pull.next()).await.unwrap());
            }
            let answering = tokio::spawn(async move {
                tokio::task::yield_now().await;
                drop(held);
            });
            bounded("drain", pull.drain()).await.unwrap();
            answering.await.unwrap();
        }
        let mut pull = site.pull().await;
        let mut whole_up_to = 0;
        while site.seen.count() < MSGS {
            let delivery = bounded("what was given back", pull.next()).await.unwrap();
            site.seen.see(&delivery).await;
            whole_up_to = site.seen.whole(whole_up_to);
            // With one ack for many: only for what is here without a gap.
            if policy == AckPolicy::Explicit || delivery.metadata().unwrap().stream_sequence <= whole_up_to {
                delivery.ack().await.unwrap();
            }
        }
    }
}
