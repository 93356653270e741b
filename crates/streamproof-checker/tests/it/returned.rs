//! What is back after it was removed, and the classes by which known defects are told.

use crate::{finds, judge};
use streamproof_checker::{Accept, Cell, Context};
use streamproof_model::op::{Call, Event, Op, Seen, Stored};

/// Six messages, of which 1 stays; 2 is deleted before all else, so that the file of a later block may be kept for it.
const SIX: &str = "stream S\n pub S a 0.0 -> 1\n pub S x 0.1 -> 2\n pub S y 0.2 -> 3\n pub S y 0.3 -> 4\n pub S y 0.4 -> 5\n pub S a 0.5 -> 6
    delete S 2 -> ok\n";

#[test]
fn m7_a_deleted_message_that_is_back_alone_has_a_class_of_its_own() {
    let deleted =
        |deletions: &str, read: &str| format!("{SIX} {deletions}\n fault kill\n read S after: {read}");
    let all = "delete S 3 -> ok\n delete S 4 -> ok\n delete S 5 -> ok";
    finds(&deleted(all, "1=a:0.0 6=a:0.5"), &[]);
    finds(&deleted(all, "1=a:0.0 4=y:0.3 6=a:0.5"), &["M7 returned, alone ×1"]);
    // With a neighbour that lives, or is back too; erased; or where no block can have been kept: it is something else.
    finds(&deleted(all, "1=a:0.0 5=y:0.4 6=a:0.5"), &["M7 returned ×1"]);
    finds(&deleted(all, "1=a:0.0 3=y:0.2 4=y:0.3 6=a:0.5"), &["M7 returned ×2"]);
    let erased = all.replace("delete S 4", "delete S 4 erase");
    finds(&deleted(&erased, "1=a:0.0 4=y:0.3 6=a:0.5"), &["M7 returned ×1"]);
    let first_too = format!("delete S 1 -> ok\n {all}");
    finds(&deleted(&first_too, "4=y:0.3 6=a:0.5"), &["M7 returned ×1"]);
}

#[test]
fn m7_what_a_purge_of_a_subject_removed_and_is_back_as_a_whole_has_a_class_of_its_own() {
    let purged = |purge: &str, read: &str| format!("{SIX} {purge} -> ok\n fault kill\n read S after: {read}");
    let all = "purge S on=y";
    finds(&purged(all, "1=a:0.0 6=a:0.5"), &[]);
    finds(&purged(all, "1=a:0.0 3=y:0.2 4=y:0.3 5=y:0.4 6=a:0.5"), &["M7 returned, purged together ×3"]);
    finds(&purged(all, "1=a:0.0 4=y:0.3 5=y:0.4 6=a:0.5"), &["M7 returned, purged together ×2"]);
    // One of them stays away between the others, something lives among them, or all was purged: it is something else.
    finds(&purged(all, "1=a:0.0 3=y:0.2 5=y:0.4 6=a:0.5"), &["M7 returned ×2"]);
    finds(&purged("purge S on=a", "1=a:0.0 3=y:0.2 4=y:0.3 5=y:0.4 6=a:0.5"), &["M7 returned ×2"]);
    finds(&purged("purge S", "3=y:0.2 4=y:0.3 5=y:0.4"), &["M7 returned ×3"]);
    finds(&purged("purge S before=6", "3=y:0.2 4=y:0.3 5=y:0.4 6=a:0.5"), &["M7 returned ×3"]);
    // What had been acked before the purge was removed by that, and has its tombstone.
    let acked = format!("{SIX} consumer S c {{\"ack_policy\":\"explicit\",\"durable_name\":\"c\"}}\n deliver c 4 y 0.3\n dack c 4 -> ok\n")
        .replace("stream S", "stream S {\"retention\":\"workqueue\"}");
    finds(
        &format!("{acked} {all} -> ok\n fault kill\n read S after: 1=a:0.0 3=y:0.2 5=y:0.4 6=a:0.5"),
        &["M7 returned, purged together ×2"],
    );
    // Where nothing was removed before, or nothing lives below, no block is kept.
    let without = |history: String| history.replace("delete S 2 -> ok", "");
    let back = purged(all, "1=a:0.0 2=x:0.1 4=y:0.3 5=y:0.4 6=a:0.5");
    finds(&without(back), &["M7 returned, purged together ×2"]);
    let back = purged(all, "1=a:0.0 2=x:0.1 3=y:0.2 4=y:0.3 6=a:0.5");
    finds(&without(back), &["M7 returned ×2"]);
    let back = purged(&format!("delete S 1 -> ok\n {all}"), "3=y:0.2 4=y:0.3 5=y:0.4 6=a:0.5");
    finds(&back, &["M7 returned ×3"]);
}

/// A queue of six, all acked but the first and the last; then the first is purged, and the server says where it begins.
fn queue(purge: &str, first: u64, fault: &str, then: &str) -> String {
    let mut text = "stream S {\"retention\":\"workqueue\"}\n consumer S c {\"ack_policy\":\"explicit\",\"durable_name\":\"c\"}\n".to_owned();
    for seq in 1..=6 {
        text += &format!("pub S a 0.{seq} -> {seq}\n");
    }
    for seq in 2..=5 {
        text += &format!("deliver c {seq} a 0.{seq}\n dack c {seq} -> ok\n");
    }
    let deleted = 6 - first;
    text + &format!(
        "{purge}\n info S quiet msgs=1 first={first} last=6 deleted={deleted}\n fault {fault}\n {then}"
    )
}

#[test]
fn m7_and_c9_what_is_back_since_a_wrong_first_sequence_spoilt_the_index_has_a_class_of_its_own() {
    let purge = "purge S before=2 -> ok";
    let back = "info S after msgs=2 first=3 last=6 deleted=2\n read S after: 3=a:0.3 6=a:0.6";
    finds(&queue(purge, 5, "stop", "info S after msgs=1 first=6 last=6\n read S after: 6=a:0.6"), &[]);
    for fault in ["stop", "restarts", "upgrade"] {
        finds(
            &queue(purge, 5, fault, back),
            &["M7 first sequence fell, wrong first ×1", "C9 acked and still there, wrong first ×1"],
        );
    }
    // The first sequence was right, or nothing was purged up to a sequence: no graceful restart brings anything back.
    let otherwise = ["M7 first sequence fell ×1", "C9 acked and still there, alone ×1"];
    finds(&queue(purge, 6, "stop", back), &otherwise);
    finds(&queue("delete S 1 -> ok", 5, "stop", back), &otherwise);
    // With a neighbour it is not the last of its block.
    finds(
        &queue(purge, 5, "stop", "read S after: 3=a:0.3 4=a:0.4 6=a:0.6"),
        &["C9 acked and still there ×2"],
    );
    // A crash needs no refused index; only that the first sequence falls is told by it.
    finds(
        &queue(purge, 5, "kill", back),
        &["M7 first sequence fell, wrong first ×1", "C9 acked and still there, alone ×1"],
    );
    // A restart makes the first sequence right: the next one has no such excuse.
    let again = format!(
        "info S after msgs=1 first=6 last=6\n read S after: 6=a:0.6\n info S quiet msgs=1 first=6 last=6\n fault stop\n {back}"
    );
    finds(
        &queue(purge, 5, "stop", &again),
        &[
            "M7 first sequence fell, gone at a stop ×1",
            "M7 returned, gone at a stop ×1",
            "C9 acked and still there, gone at a stop ×1",
        ],
    );
    // And of a stream with limits, what was purged by its subject comes back in the same way.
    let purged = |first: u64, before: &str| {
        format!(
            "{SIX} purge S on=y -> ok\n purge S {before} -> ok\n info S quiet msgs=1 first={first} last=6 deleted={}\n fault stop
             info S after msgs=4 first=3 last=6\n read S after: 3=y:0.2 4=y:0.3 5=y:0.4 6=a:0.5",
            6 - first
        )
    };
    finds(&purged(5, "before=2"), &["M7 first sequence fell, wrong first ×1", "M7 returned, wrong first ×3"]);
    finds(&purged(6, "before=2"), &["M7 first sequence fell ×1", "M7 returned ×3"]);
    // What the purge up to a sequence itself removed went with its blocks.
    finds(
        &format!(
            "{SIX} delete S 5 -> ok\n purge S before=5 -> ok\n info S quiet msgs=1 first=5 last=6 deleted=1\n fault stop
             info S after msgs=3 first=3 last=6 deleted=1\n read S after: 3=y:0.2 4=y:0.3 6=a:0.5"
        ),
        &["M7 first sequence fell, wrong first ×1", "M7 returned ×2"],
    );
    // A message that lives, and that the server had passed over, is not back.
    let lives = queue(
        purge,
        5,
        "stop",
        "info S after msgs=2 first=3 last=6 deleted=2\n read S after: 3=a:0.3 6=a:0.6",
    )
    .replace("dack c 3 -> ok", "ack c 3");
    finds(&lives, &["M7 first sequence fell ×1"]);
    // Nor does the excuse outlive a restart after which nobody asked.
    let next = format!("read S after: 6=a:0.6\n fault stop\n {back}")
        .replace("info S after msgs=2 first=3 last=6 deleted=2", "");
    finds(
        &queue(purge, 5, "stop", &next),
        &["M7 returned, gone at a stop ×1", "C9 acked and still there, gone at a stop ×1"],
    );
}

#[test]
fn what_is_back_is_accepted_by_the_name_of_its_defect_alone() {
    let accepting = |name: &str, history: &str| {
        let accept = vec![Accept { name: name.to_owned(), reason: "it is known".to_owned() }];
        let verdict = judge(&format!("{history}\n finished"), &Context { accept, ..Context::default() });
        verdict.findings.iter().map(|finding| finding.verdict).collect::<Vec<_>>()
    };
    let wrong_first = queue(
        "purge S before=2 -> ok",
        5,
        "stop",
        "info S after msgs=2 first=3 last=6 deleted=2\n read S after: 3=a:0.3 6=a:0.6",
    );
    assert_eq!(accepting("wrong-first-returns", &wrong_first), [Cell::Accepted; 2]);
    assert_eq!(accepting("last-of-block-returns", &wrong_first), [Cell::Fail; 2]);
    let purged = format!(
        "{SIX} purge S on=y -> ok\n fault kill\n read S after: 1=a:0.0 3=y:0.2 4=y:0.3 5=y:0.4 6=a:0.5"
    );
    assert_eq!(accepting("emptied-block-returns", &purged), [Cell::Accepted]);
    let head =
        with_a_head("", &[1, 2, 5], "fault kill\n read S after: 1=a:0.1 2=a:0.2 3=a:0.3 4=a:0.4 6=a:0.6");
    assert_eq!(accepting("before-first-returns", &head), [Cell::Accepted]);
    assert_eq!(accepting("before-first-returns", &head.replace("kill", "stop")), [Cell::Fail]);
    assert_eq!(accepting("removed-returns", &purged), [Cell::Fail]);
    assert_eq!(accepting("emptied-block-returns", &purged.replace("kill", "stop")), [Cell::Fail]);
}

/// A queue of six: two are acked, two stay, the fifth is acked, and the last stays.
fn with_a_head(rules: &str, acked: &[u64], then: &str) -> String {
    let mut text = format!(
        "stream S {{\"retention\":\"workqueue\"{rules}}}\n consumer S c {{\"ack_policy\":\"explicit\",\"durable_name\":\"c\"}}\n"
    );
    for seq in 1..=6 {
        text += &format!("pub S a 0.{seq} -> {seq}\n");
    }
    for seq in acked {
        text += &format!("deliver c {seq} a 0.{seq}\n dack c {seq} -> ok\n");
    }
    text + then
}

#[test]
fn m7_and_c9_what_is_back_from_before_the_first_message_has_a_class_of_its_own() {
    let back = "info S quiet msgs=3 first=3 last=6 deleted=1\n fault kill\n info S after msgs=5 first=1 last=6 deleted=1
        read S after: 1=a:0.1 2=a:0.2 3=a:0.3 4=a:0.4 6=a:0.6";
    let found =
        ["M7 first sequence fell, before the first ×1", "C9 acked and still there, before the first ×2"];
    finds(&with_a_head("", &[1, 2, 5], back), &found);
    // No later message is gone, so no block was emptied; or there is no first message in whose block they could have been.
    let none_gone = "info S quiet msgs=4 first=3 last=6\n fault kill\n info S after msgs=6 first=1 last=6
        read S after: 1=a:0.1 2=a:0.2 3=a:0.3 4=a:0.4 5=a:0.5 6=a:0.6";
    finds(
        &with_a_head("", &[1, 2], none_gone),
        &["M7 first sequence fell ×1", "C9 acked and still there ×2"],
    );
    finds(
        &with_a_head("", &[1, 2, 3, 4, 5, 6], "fault kill\n read S after: 1=a:0.1 2=a:0.2"),
        &["C9 acked and still there ×2"],
    );
    // Above the first message it is something else.
    finds(
        &with_a_head("", &[2, 3, 5], "fault kill\n read S after: 1=a:0.1 2=a:0.2 3=a:0.3 4=a:0.4 6=a:0.6"),
        &["C9 acked and still there ×2"],
    );
    // It was gone when the stream was read before.
    let seen = "fault kill\n read S after: 3=a:0.3 4=a:0.4 6=a:0.6\n fault kill\n read S after: 1=a:0.1 2=a:0.2 3=a:0.3 4=a:0.4 6=a:0.6";
    finds(
        &with_a_head("", &[1, 2, 5], seen),
        &["M7 returned, before the first ×2", "C9 acked and still there, before the first ×2"],
    );
    // More than a block takes.
    let text = with_a_head(r#","max_bytes":100000"#, &[1, 2, 5], back);
    let mut operations = streamproof_checker::notation::parse(&text).unwrap();
    let classes = |operations: &[Op]| {
        let verdict = streamproof_checker::check(operations.to_vec(), &Context::default());
        verdict.findings.iter().map(|finding| finding.class.clone()).collect::<Vec<_>>()
    };
    assert!(classes(&operations).iter().any(|class| class == "acked and still there, before the first"));
    for operation in &mut operations {
        if let Op::Call { call: Call::Publish(publish), .. } = operation {
            publish.len = 20_000;
        }
        if let Op::Event { event: Event::Stored(Stored { seen: Seen::Ours { len, .. }, .. }), .. } = operation
        {
            *len = 20_000;
        }
    }
    let classes = classes(&operations);
    assert!(!classes.iter().any(|class| class == "acked and still there, before the first"), "{classes:?}");
}

#[test]
fn c9_what_is_back_is_told_once_until_it_is_gone_again() {
    let there = "read S after: 1=a:0.1 2=a:0.2 3=a:0.3 4=a:0.4 6=a:0.6";
    let told = ["C9 acked and still there, before the first ×2"];
    finds(&with_a_head("", &[1, 2, 5], &format!("fault kill\n {there}\n fault stop\n {there}")), &told);
    let gone = "fault stop\n read S after: 3=a:0.3 4=a:0.4 6=a:0.6";
    finds(
        &with_a_head("", &[1, 2, 5], &format!("fault kill\n {there}\n {gone}\n fault stop\n {there}")),
        &["M7 returned, gone at a stop ×2", "C9 acked and still there, gone at a stop ×2", told[0]],
    );
}
