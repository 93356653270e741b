//! Each invariant: a history that holds it and one that does not.

use crate::finds;
use streamproof_checker::Context;
use streamproof_model::op::{Event, Op};

const THREE: &str = "stream S
    pub S a 0.0 -> 1
    pub S a 0.1 -> 2
    pub S b 0.2 -> 3
    info S quiet msgs=3 first=1 last=3
    fault kill
    ";

fn after(tail: &str, expected: &[&str]) {
    finds(&format!("{THREE}{tail}"), expected);
}

#[test]
fn m1_acked_messages_are_present_and_unaltered() {
    after("read S after: 1=a:0.0 2=a:0.1 3=b:0.2", &[]);
    after("read S after: 1=a:0.0 3=b:0.2", &["M1 lost middle ×1"]);
    after("read S after: 2=a:0.1 3=b:0.2", &["M1 lost prefix ×1"]);
    after("read S after: 1=a:0.0", &["M1 lost tail ×2"]);
    after("read S after:", &["M1 lost all ×3"]);
    after("read S after: 1=a:0.0~ 2=a:0.1 3=b:0.2", &["M1 altered body ×1"]);
    after("read S after: 1=a:0.0^ 2=a:0.1 3=b:0.2", &["M1 altered headers ×1"]);
    after("read S after: 1=b:0.0 2=a:0.1 3=b:0.2", &["M1 altered subject ×1"]);
    after("read S after: 1=a:? 2=a:0.1 3=b:0.2", &["M1 altered body ×1"]);
}

#[test]
fn m1_a_loss_is_reported_once_and_a_short_reading_proves_nothing() {
    after("read S after: 1=a:0.0\n fault kill\n read S after: 1=a:0.0", &["M1 lost tail ×2"]);
    after("read S after: 1=a:0.0 cut\n read S after: 1=a:0.0 2=a:0.1 3=b:0.2", &["A1 read cut short ×1"]);
}

#[test]
fn m2_what_was_read_stays() {
    let history = "stream S\n pub S a 0.0 -> ?\n read S quiet: 1=a:0.0\n fault kill\n";
    finds(&format!("{history} read S after: 1=a:0.0"), &[]);
    finds(&format!("{history} read S after:"), &["M2 lost all ×1"]);
    finds("stream S\n pub S a 0.0 -> ?\n fault kill\n read S after:", &[]);
    finds(
        "stream S\n consumer S c {\"ack_policy\":\"explicit\",\"durable_name\":\"c\"}\n pub S a 0.0 -> ?
         deliver c 1 a 0.0\n fault kill\n read S after:",
        &["M2 lost all ×1"],
    );
}

#[test]
fn m3_nothing_is_made_up() {
    after("read S after: 1=a:0.0 2=a:0.1 3=b:0.2 4=a:9.9", &["M3 never sent ×1"]);
    after("read S after: 1=a:0.0 2=a:0.1 3=b:0.2 4=a:?", &["M3 of somebody else ×1"]);
    after("read S after: 1=a:0.0 2=a:0.1 3=b:0.2 4=a:server", &[]);
    let two = "stream T\n pub T a 7.0 -> 1\n";
    finds(&format!("{two} stream S\n read S quiet: 1=a:7.0"), &["M3 of another stream ×1"]);
}

#[test]
fn m4_a_message_is_stored_once() {
    after(
        "read S after: 1=a:0.0 2=a:0.1 3=b:0.2 4=a:0.1",
        &["M4 at another sequence ×1", "M4 stored twice ×1"],
    );
    let retry = |rest: &str| format!("stream S {{\"duplicate_window\":120000000000}}\n pub S a 0.0 {rest}");
    let both = "read S quiet: 1=a:0.0 2=a:0.0";
    finds(&retry(&format!("id -> ?\n pub S a 0.0 again id -> 2\n {both}")), &["M4 stored twice ×1"]);
    finds(&retry(&format!("-> ?\n pub S a 0.0 again -> 2\n {both}")), &[]);
    finds(&retry(&format!("id -> ?\n wait 130s\n pub S a 0.0 again id -> 2\n {both}")), &[]);
}

#[test]
fn m5_acks_are_in_order() {
    finds("stream S\n pub S a 0.0 -> 5\n pub S a 0.1 -> 4", &["M5 out of order ×1"]);
    finds("stream S\n pub S a 0.0 -> 5\n pub S a 0.1 last=5 -> 6", &[]);
    finds("stream S\n pub S a 0.0 -> 5\n pub S a 0.1 last=4 -> 6", &["M5 expectation ignored ×1"]);
}

#[test]
fn m6_a_sequence_is_never_given_twice() {
    after(
        "info S after msgs=1 first=1 last=1\n read S after: 1=a:0.0\n pub S a 0.3 -> 2",
        &["M1 lost tail ×2", "M6 sequence used again ×1", "M7 last sequence fell ×1"],
    );
    // What an empty stream has forgotten it gives again: one failure, and both its faces have its name.
    finds(
        &format!(
            "{THREE} purge S -> ok\n info S quiet msgs=0 first=4 last=3\n fault kill\n info S after msgs=0 first=0 last=0\n \
             pub S a 0.3 -> 1"
        ),
        &["M6 sequence used again, by an emptied stream ×1", "M7 last sequence fell, empty ×1"],
    );
    after(
        "pub S a 0.3 -> 3",
        &["M1 lost, sequence used again ×1", "M5 out of order ×1", "M6 sequence used again ×1"],
    );
    after(
        "read S after: 1=a:0.0 2=b:0.2 3=a:0.1",
        &["M1 lost, sequence used again ×2", "M6 sequence used again ×2"],
    );
}

#[test]
fn m7_sequences_never_fall_and_deletions_last() {
    after("info S after msgs=0 first=0 last=0", &["M7 last sequence fell, empty ×1"]);
    let deleted = format!("{THREE} delete S 1 -> ok\n info S quiet msgs=2 first=2 last=3\n fault kill\n");
    finds(&format!("{deleted} read S after: 2=a:0.1 3=b:0.2"), &[]);
    finds(&format!("{deleted} read S after: 1=a:0.0 2=a:0.1 3=b:0.2"), &["M7 returned ×1"]);
    finds(&format!("{deleted} info S after msgs=3 first=1 last=3"), &["M7 first sequence fell ×1"]);
    // Gone in one reading, back in the next.
    finds(
        &format!(
            "{deleted} read S after: 2=a:0.1 3=b:0.2\n fault kill\n read S after: 1=a:0.0 2=a:0.1 3=b:0.2"
        ),
        &["M7 returned ×1"],
    );
    let purged = format!("{THREE} purge S on=a -> ok\n fault kill\n");
    finds(&format!("{purged} read S after: 3=b:0.2"), &[]);
    finds(&format!("{purged} read S after: 2=a:0.1 3=b:0.2"), &["M7 returned ×1"]);
    finds(&format!("{THREE} purge S on=a -> ?\n fault kill\n read S after: 2=a:0.1 3=b:0.2"), &[]);
}

#[test]
fn m8_removals_are_justified_and_limits_hold() {
    let limited = |config: &str| {
        format!("stream S {config}\n pub S a 0.0 -> 1\n pub S b 0.1 -> 2\n pub S a 0.2 -> 3\n fault stop\n")
    };
    let two = limited(r#"{"max_msgs":2}"#);
    finds(&format!("{two} read S after: 2=b:0.1 3=a:0.2"), &[]);
    finds(&format!("{two} read S after: 3=a:0.2"), &["M1 lost prefix ×1"]);
    finds(&format!("{two} read S after: 1=a:0.0 2=b:0.1 3=a:0.2"), &["M8 more than max_msgs ×1"]);
    // Limits of the stream take the oldest: what is below stays longer.
    let one = limited(r#"{"max_msgs":1}"#);
    finds(&format!("{one} read S after: 1=a:0.0"), &["M1 lost tail ×2"]);
    let new = limited(r#"{"max_msgs":2,"discard":"new"}"#);
    finds(&format!("{new} read S after: 2=b:0.1 3=a:0.2"), &["M1 lost prefix ×1"]);
    let last = limited(r#"{"max_msgs_per_subject":1}"#);
    finds(&format!("{last} read S after: 2=b:0.1 3=a:0.2"), &[]);
    finds(
        &format!("{last} read S after: 1=a:0.0 3=a:0.2"),
        &["M1 lost middle ×1", "M8 more than max_msgs_per_subject ×1"],
    );
    finds(
        &format!("{last} read S after: 1=a:0.0 2=b:0.1 3=a:0.2"),
        &["M8 more than max_msgs_per_subject ×1"],
    );
    let bytes = limited(r#"{"max_bytes":100000}"#);
    finds(&format!("{bytes} read S after: 2=b:0.1 3=a:0.2"), &["M1 lost prefix ×1"]);
    let age = limited(r#"{"max_age":10000000000}"#);
    finds(&format!("{age} read S after: 2=b:0.1 3=a:0.2"), &["M1 lost prefix ×1"]);
    finds(&format!("{age} wait 11s\n read S after:"), &[]);
    finds(&format!("{age} wait 16s\n read S after: 3=a:0.2"), &["M8 older than max_age ×1"]);
    finds("stream S\n pub S a 0.0 -> !10077\n read S quiet: 1=a:0.0", &["M8 stored though refused ×1"]);
}

#[test]
fn m7_what_a_limit_removed_does_not_come_back() {
    let bucket = "stream KV_B {\"max_msgs_per_subject\":1}\n pub KV_B k 0.0 -> 1\n pub KV_B k 0.1 -> 2\n pub KV_B j 0.2 -> 3
        purge KV_B on=k -> ok\n fault kill\n";
    finds(&format!("{bucket} read KV_B after: 3=j:0.2"), &[]);
    finds(&format!("{bucket} read KV_B after: 1=k:0.0 3=j:0.2"), &["M7 returned, evicted ×1"]);
    finds(&format!("{bucket} read KV_B after: 2=k:0.1 3=j:0.2"), &["M7 returned ×1"]);
    let two = format!(
        "{THREE} info S quiet msgs=2 first=2 last=3\n fault kill\n info S after msgs=3 first=1 last=3"
    );
    finds(&two, &["M7 first sequence fell ×1"]);
    finds(
        &two.replacen("stream S", r#"stream S {"max_msgs":2}"#, 1),
        &["M7 first sequence fell, evicted ×1"],
    );
    // Of unknown outcome, and removed before anybody saw it.
    let unseen =
        "stream S\n pub S a 0.0 -> ?\n pub S a 0.1 -> 2\n info S quiet msgs=1 first=2 last=2\n fault kill
        info S after msgs=2 first=1 last=2";
    finds(unseen, &["M7 first sequence fell ×1"]);
    finds(
        &unseen.replacen("stream S", r#"stream S {"max_msgs_per_subject":1}"#, 1),
        &["M7 first sequence fell, evicted ×1"],
    );
}

#[test]
fn m8_other_ways_to_go() {
    let three = |line: &str| format!("{THREE}{line}\n fault stop\n read S after: 2=a:0.1 3=b:0.2");
    finds(&three("delete S 1 -> ?"), &[]);
    finds(&three("delete S 1 -> !10057"), &["M1 lost prefix ×1"]);
    finds(&three("purge S before=2 -> ok"), &[]);
    finds(&three("purge S before=1 -> ok"), &["M1 lost prefix ×1"]);
    finds(&three("purge S keep=2 -> ok"), &[]);
    finds(&three("purge S keep=3 -> ok"), &["M1 lost prefix ×1"]);
    finds(&three("purge S on=> keep=2 -> ok"), &[]);
    finds(&three(r#"update S {"max_msgs":2} -> ?"#), &[]);
    finds(&three(r#"update S {"max_msgs":2} -> !1"#), &["M1 lost prefix ×1"]);
    let rollup = format!("{THREE} pub S a 0.3 rollup -> 4\n read S quiet: 3=b:0.2 4=a:0.3");
    finds(&rollup, &[]);
}

#[test]
fn m9_time_to_live() {
    let history = "stream S\n pub S a 0.0 ttl=10 -> 1\n pub S a 0.1 -> 2\n fault stop\n";
    finds(&format!("{history} read S after: 1=a:0.0 2=a:0.1"), &[]);
    finds(&format!("{history} read S after: 2=a:0.1"), &["M1 lost prefix ×1"]);
    finds(&format!("{history} wait 11s\n read S after: 2=a:0.1"), &[]);
    finds(&format!("{history} wait 16s\n read S after: 1=a:0.0 2=a:0.1"), &["M9 overdue ×1"]);
    // A server that has just been started has not looked yet.
    finds(&format!("{history} wait 16s\n fault kill\n read S after: 1=a:0.0 2=a:0.1"), &[]);
}

/// A key's deletion has no body that could name it.
#[test]
fn m3_an_empty_body_that_was_explained_once_stays_so() {
    let history = "stream S\n pub S a 0.0 -> 1\n pub S b 0.1 -> ?\n fault kill\n read S after: 1=a:0.0 2=b:-\n fault kill\n";
    finds(&format!("{history} read S after: 1=a:0.0 2=b:-"), &[]);
    finds(&format!("{history} read S after: 1=a:0.0 2=b:- 3=b:-"), &["M3 of somebody else ×1"]);
    finds(&format!("{history} read S after: 1=a:0.0 2=a:-"), &["M3 of somebody else ×1"]);
}

#[test]
fn m10_duplicates_are_known_after_a_restart() {
    let history = "stream S {\"duplicate_window\":120000000000}\n pub S a 0.0 id -> 1\n fault kill\n";
    finds(&format!("{history} pub S a 0.0 again id -> dup 1"), &[]);
    finds(&format!("{history} pub S a 0.0 again id -> dup 2"), &["M10 wrong original ×1"]);
    finds(&format!("{history} pub S a 0.0 again id -> 2"), &["M10 stored again ×1"]);
    finds(&format!("{history} wait 130s\n pub S a 0.0 again id -> 2"), &[]);
    // Told apart, for it is a known defect: only after a crash, and only while the newest message is a deleted one.
    let erased = "stream S {\"duplicate_window\":120000000000}\n pub S a 0.0 id -> 1\n pub S a 0.1 id -> 2\n delete S 2 -> ok\n";
    let again = "pub S a 0.0 again id -> 3";
    finds(&format!("{erased} fault kill\n {again}"), &["M10 stored again, newest deleted ×1"]);
    finds(&format!("{erased} fault stop\n {again}"), &["M10 stored again ×1"]);
    finds(
        &format!("{erased} fault kill\n pub S a 0.2 -> 3\n fault kill\n {}", again.replace('3', "4")),
        &["M10 stored again ×1"],
    );
    finds(&format!("{history} delete S 1 -> ok\n pub S a 0.0 again id -> 2"), &[]);
    finds("stream S\n pub S a 0.0 id -> dup 1", &["M10 called a duplicate ×1"]);
    // The ids of deleted messages are remembered too: a duplicate's ack does not say that the message is there.
    let deleted = "stream S\n pub S a 0.0 id -> 1\n pub S a 0.1 -> 2\n delete S 1 -> ok\n pub S a 0.0 again id -> dup 1\n";
    finds(&format!("{deleted} read S quiet: 2=a:0.1"), &[]);
    finds(&format!("{deleted} read S quiet: 1=a:0.0 2=a:0.1"), &["M7 returned ×1"]);
}

#[test]
fn m11_the_state_adds_up() {
    after("info S after msgs=2 first=1 last=3", &["M11 state does not add up ×1"]);
    after("info S after msgs=3 first=1 last=3 bysubject=2", &["M11 subjects do not add up ×1"]);
    after(
        "info S after msgs=3 first=1 last=3\n read S after: 1=a:0.0 2=a:0.1",
        &["M1 lost tail ×1", "M11 count differs from what is read ×1"],
    );
    after("unreadable S 2", &["M11 unreadable ×1"]);
}

#[test]
fn m12_a_batch_is_whole() {
    finds("stream S\n batch S a 0.0..0.2 -> ?\n read S quiet: 1=a:0.0 2=a:0.1 3=a:0.2", &[]);
    finds("stream S\n batch S a 0.0..0.2 -> ?\n read S quiet:", &[]);
    finds("stream S\n batch S a 0.0..0.2 -> ?\n read S quiet: 1=a:0.0 2=a:0.1", &["M12 torn batch ×1"]);
    finds("stream S\n batch S a 0.0..0.2 -> 3\n read S quiet: 1=a:0.0 2=a:0.1 3=a:0.2", &[]);
}

#[test]
fn k1_the_same_streams_and_consumers() {
    let history = "stream S\n consumer S c {\"durable_name\":\"c\"}\n listing quiet S:c\n fault stop\n";
    finds(&format!("{history} listing after S:c"), &[]);
    finds(&format!("{history} listing after S:"), &["K1 consumer missing ×1"]);
    finds(&format!("{history} listing after"), &["K1 stream missing ×1"]);
    finds(&format!("{history} listing after S:c T"), &["K1 stream made up ×1"]);
    finds(&format!("{history} listing after S:c,d"), &["K1 consumer made up ×1"]);
}

#[test]
fn k2_the_same_configuration() {
    let history = r#"desired S {"max_msgs":5,"max_age":0}
        stream S {"max_msgs":5,"max_bytes":-1,"metadata":{"_nats.ver":"2.14"}}
        fault stop
        "#;
    finds(&format!(r#"{history} config S {{"max_msgs":5,"metadata":{{"_nats.ver":"2.15"}}}}"#), &[]);
    finds(&format!(r#"{history} config S {{"max_msgs":6}}"#), &["K2 changed ×1"]);
    finds(&format!(r#"{history} config S {{"max_msgs":5,"deny_delete":true}}"#), &["K2 changed ×1"]);
    finds(
        r#"desired S {"max_msgs":5}
           stream S {"max_msgs":6}"#,
        &["K2 not as asked for ×1"],
    );
    finds("stream S\n refuse S delete -> ok", &["K2 accepted what it must refuse ×1"]);
    finds("stream S\n refuse S delete -> !10057", &[]);
    let updated = format!(
        r#"{history} update S {{"max_msgs":9}} -> ok
        fault stop
        "#
    );
    finds(&format!(r#"{updated} config S {{"max_msgs":9,"max_bytes":7}}"#), &[]);
    finds(&format!(r#"{updated} config S {{"max_msgs":5}}"#), &["K2 changed ×1"]);
}

#[test]
fn k3_created_once_and_k4_applying_again_changes_nothing() {
    finds(
        "stream S\n info S quiet created=5\n fault stop\n info S after created=6",
        &["K3 stream's creation time changed ×1"],
    );
    finds("stream S\n info S quiet created=5\n fault stop\n info S after created=5\n reapplied", &[]);
    finds("stream S\n reapplied S: max_msgs", &["K4 not in line ×1"]);
}

const CONSUMED: &str = "stream S
    consumer S c {\"ack_policy\":\"explicit\",\"durable_name\":\"c\",\"max_deliver\":3,\"filter_subject\":\"a\"}
    pub S a 0.0 -> 1
    pub S a 0.1 -> 2
    pub S a 0.2 -> 3
    deliver c 1 a 0.0
    deliver c 2 a 0.1
    dack c 1 -> ok
    ";

fn consumed(tail: &str, expected: &[&str]) {
    finds(&format!("{CONSUMED}{tail}"), expected);
}

#[test]
fn c1_double_acked_means_done() {
    consumed("wait 600ms\n fault kill\n deliver c 2 a 0.1 x2", &[]);
    consumed("wait 600ms\n fault kill\n deliver c 1 a 0.0 x2", &["C1 redelivered ×1"]);
    // Younger than the window: measured. A graceful stop has no window.
    consumed("fault kill\n deliver c 1 a 0.0 x2", &[]);
    consumed("fault stop\n deliver c 1 a 0.0 x2", &["C1 redelivered ×1"]);
    // Young at one fault stays in doubt at the next, until it comes again.
    consumed("fault kill\n wait 600ms\n fault kill\n deliver c 1 a 0.0 x2", &[]);
    // Even when that one is graceful: what the crash has lost, a later stop cannot give back.
    consumed("fault kill\n fault stop\n deliver c 1 a 0.0 x2", &[]);
    // But the server's own floor after the crash says what it has kept, and that must not come again.
    consumed(
        "fault kill\n cinfo c after delivered=2 floor=1\n fault stop\n deliver c 1 a 0.0 x2",
        &["C1 redelivered ×1"],
    );
    consumed("fault disconnect\n deliver c 1 a 0.0 x2", &[]);
    consumed("nak c 1\n wait 600ms\n fault kill\n deliver c 1 a 0.0 x2", &[]);
}

#[test]
fn c3_the_floor_holds_and_c4_is_not_ahead() {
    consumed("wait 600ms\n fault kill\n cinfo c after delivered=2 floor=1", &[]);
    consumed("wait 600ms\n fault kill\n cinfo c after delivered=2 floor=0", &["C3 below what was acked ×1"]);
    consumed("fault kill\n cinfo c after delivered=2 floor=0", &[]);
    // As low before the fault, after the last answer: it lags while the server runs, and the fault took nothing from it.
    consumed(
        "cinfo c quiet delivered=2 floor=0\n wait 600ms\n fault kill\n cinfo c after delivered=2 floor=0",
        &[],
    );
    consumed(
        "cinfo c quiet delivered=2 floor=0\n dack c 1 -> ok\n wait 600ms\n fault kill\n cinfo c after delivered=2 floor=0",
        &["C3 below what was acked ×1"],
    );
    // Sure after a disconnect, and lost with a kill right after.
    consumed(
        "fault disconnect\n cinfo c after delivered=2 floor=1\n fault kill\n cinfo c after delivered=0 floor=0",
        &[],
    );
    consumed(
        "dack c 2 -> ok\n cinfo c quiet delivered=2 floor=2\n fault stop\n cinfo c after delivered=2 floor=1",
        &["C3 ack floor fell ×1"],
    );
    consumed(
        "fault stop\n info S after msgs=3 first=1 last=3\n cinfo c after delivered=4 floor=1",
        &["C4 ahead of its stream ×1"],
    );
}

#[test]
fn c5_what_is_not_acked_is_delivered() {
    consumed("drained c 1s", &["C5 never delivered ×1"]);
    consumed("deliver c 3 a 0.2\n drained c 1s", &[]);
    // What a limit may have taken by now cannot be told from what is stuck, in a work queue neither.
    for rules in ["{\"max_bytes\":1000}", "{\"retention\":\"workqueue\",\"max_bytes\":1000}"] {
        finds(
            &format!("{} drained c 1s", CONSUMED.replacen("stream S", &format!("stream S {rules}"), 1)),
            &[],
        );
    }
    consumed("deliver c 3 a 0.2\n fault kill\n drained c 40s", &["C5 not delivered again ×2"]);
    // Without acks, what the server says it has delivered may have been lost on its way.
    let unacked = CONSUMED.replace("explicit", "none").replace("dack c 1 -> ok", "cinfo c quiet delivered=3");
    finds(&format!("{unacked} drained c 1s"), &[]);
    finds(
        &format!("{} drained c 1s", unacked.replace("delivered=3", "delivered=2")),
        &["C5 never delivered ×1"],
    );
    consumed("canary S c lost", &["C5 canary not delivered ×1"]);
    consumed("canary S c ok", &[]);
}

#[test]
fn c6_the_counts_agree() {
    let state = "fault stop\n info S after msgs=3 first=1 last=3\n";
    let read = "read S after: 1=a:0.0 2=a:0.1 3=a:0.2";
    consumed(&format!("{state} cinfo c after delivered=2 floor=1 pending=1\n {read}"), &[]);
    consumed(
        &format!("{state} cinfo c after delivered=2 floor=1 pending=2\n {read}"),
        &["C6 num_pending ×1"],
    );
}

#[test]
fn c7_deliveries_are_counted_and_c8_only_what_matches_in_order() {
    consumed("deliver c 2 a 0.1 #3 x4", &["C7 more than max_deliver ×1"]);
    consumed("deliver c 2 a 0.1 #3 x1", &["C7 count fell ×1", "C8 out of order ×1"]);
    // After a crash the count may be as old as the consumer's state, however many stops have been since.
    consumed("fault stop\n deliver c 2 a 0.1 #3 x1", &["C7 count fell ×1"]);
    consumed("fault kill\n fault stop\n deliver c 2 a 0.1 #3 x1", &[]);
    consumed("fault stop\n fault stop\n deliver c 2 a 0.1 #3 x1", &["C7 count fell ×1"]);
    consumed("pub S b 0.3 -> 4\n deliver c 4 b 0.3", &["C8 not matching ×1"]);
    consumed("deliver c 3 a 0.2 #3", &[]);
}

#[test]
fn c9_work_queues_hold_what_is_unacked() {
    let queue =
        format!("{}fault kill\n", CONSUMED.replacen("stream S", r#"stream S {"retention":"workqueue"}"#, 1));
    finds(&format!("{queue} read S after: 2=a:0.1 3=a:0.2"), &[]);
    finds(&format!("{queue} read S after: 1=a:0.0 2=a:0.1 3=a:0.2"), &["C9 acked and still there ×1"]);
    finds(&format!("{queue} read S after: 3=a:0.2"), &["M1 lost prefix ×1"]);
    // In a work queue the answer is durable at once.
    finds(&format!("{queue} deliver c 1 a 0.0 x2"), &["C1 redelivered ×1"]);
    let interest = queue.replace("workqueue", "interest");
    finds(&format!("{interest} read S after: 2=a:0.1 3=a:0.2"), &[]);
    finds(&format!("{interest} read S after: 3=a:0.2"), &["M1 lost prefix ×1"]);
    // In an interest stream that another consumer still holds the message for, it is written with the consumer's state, and late.
    finds(&format!("{interest} deliver c 1 a 0.0 x2"), &[]);
    let late = interest.replace("fault kill", "wait 600ms\n fault kill");
    finds(&format!("{late} deliver c 1 a 0.0 x2"), &["C1 redelivered ×1"]);
    // The floor that the info shows is written late in a work queue too; that takes nothing from the ack.
    finds(&format!("{queue} cinfo c after delivered=2 floor=0"), &[]);
    let late = queue.replace("fault kill", "wait 600ms\n fault kill");
    finds(&format!("{late} cinfo c after delivered=2 floor=0"), &["C3 below what was acked ×1"]);
    let plain = queue.replace("dack c 1 -> ok", "ack c 1");
    finds(&format!("{plain} read S after: 2=a:0.1 3=a:0.2"), &[]);
    finds(&format!("{plain} read S after: 1=a:0.0 2=a:0.1 3=a:0.2"), &[]);
}

#[test]
fn c9_and_c1_a_message_that_is_back_alone_has_a_class_of_its_own() {
    let queue = r#"stream S {"retention":"workqueue"}
        consumer S c {"ack_policy":"explicit","durable_name":"c"}
        pub S a 0.0 -> 1\n pub S a 0.1 -> 2\n pub S a 0.2 -> 3
        deliver c 1 a 0.0\n deliver c 2 a 0.1\n deliver c 3 a 0.2
        dack c 1 -> ok\n dack c 2 -> ok\n dack c 3 -> ok
        fault kill\n"#
        .replace("\\n", "\n");
    finds(&format!("{queue} read S after:"), &[]);
    finds(
        &format!("{queue} read S after: 2=a:0.1\n deliver c 2 a 0.1 #4 x2"),
        &["C1 redelivered, alone back ×1", "C9 acked and still there, alone ×1"],
    );
    // With a neighbour, or at the end of the stream, it is something else.
    finds(&format!("{queue} read S after: 1=a:0.0 2=a:0.1"), &["C9 acked and still there ×2"]);
    finds(
        &format!("{queue} read S after: 3=a:0.2\n deliver c 3 a 0.2 #4 x2"),
        &["C1 redelivered ×1", "C9 acked and still there ×1"],
    );
}

#[test]
fn c3_a_floor_that_was_held_once_is_held_by_later_lives_of_the_server_too() {
    let quiet = |floor: u64| format!("cinfo c quiet delivered=3 floor={floor}\n");
    let after = |floor: u64| format!("cinfo c after delivered=3 floor={floor}\n");
    let held = format!("ack c 1\n ack c 2\n {} wait 600ms\n", quiet(2));
    let fell = &["C3 ack floor fell ×1"];
    // A younger state in between does not make it younger.
    consumed(&format!("{held} {} fault kill\n {}", quiet(3), after(2)), &[]);
    consumed(&format!("{held} {} fault kill\n {}", quiet(3), after(1)), fell);
    // It was there after a restart, so the server has read it from its store: whatever comes next begins with that.
    consumed(&format!("{held} fault kill\n {} {} fault kill\n {}", after(2), quiet(2), after(1)), fell);
    consumed(&format!("{} fault kill\n {} fault kill\n {}", quiet(2), after(2), after(1)), fell);
    consumed(&format!("{} fault stop\n {} fault kill\n {}", quiet(2), after(2), after(1)), fell);
    // It was young when it fell: that is nothing, then and later.
    consumed(&format!("{} fault kill\n {} wait 600ms\n fault kill\n {}", quiet(2), after(1), after(1)), &[]);
    // Gone altogether, it is told apart: a state was lost, and not an older one found.
    let gone = &["C3 ack floor fell to nothing ×1"];
    consumed(&format!("{} fault kill\n {} fault kill\n {}", quiet(2), after(1), after(0)), gone);
    // On a running server nothing is written yet.
    consumed(&format!("{} fault disconnect\n {} fault kill\n {}", quiet(2), after(2), after(1)), &[]);
    // A purge up to a sequence moves it.
    let purged = format!("{held} purge S before=2 -> ok\n");
    consumed(&format!("{purged} {} fault kill\n {}", quiet(2), after(1)), &[]);
    let read = "fault disconnect\n read S after: 2=a:0.1 3=a:0.2";
    consumed(&format!("{purged} {read}\n {} fault kill\n {}", quiet(1), after(1)), &[]);
    // What has been told is not told again.
    consumed(&format!("{held} fault stop\n {} {} fault stop\n {}", after(1), quiet(1), after(1)), fell);
}

/// What a push consumer had sent is read while its server goes down: the fault has begun, and the next life sends it again.
#[test]
fn c7_and_c8_what_arrives_while_a_server_goes_down_is_of_the_life_that_ends() {
    let parsed = |fault: &str, then: &str| {
        let text = format!("{CONSUMED} deliver c 3 a 0.2 #3\n fault {fault}\n {then}");
        let mut operations = streamproof_checker::notation::parse(&text).unwrap();
        let event =
            |op: &Op, wanted: fn(&Event) -> bool| matches!(op, Op::Event { event, .. } if wanted(event));
        let begins =
            operations.iter().position(|op| event(op, |event| matches!(event, Event::FaultBegin { .. })));
        let last = operations.iter().rposition(|op| event(op, |event| matches!(event, Event::Deliver(deliver) if deliver.seq == 3 && deliver.consumer_seq == 3)));
        let (Some(begins), Some(last)) = (begins, last) else { panic!("{text}") };
        operations[last..=begins].rotate_left(1);
        let verdict = streamproof_checker::check(operations, &Context::default());
        let found =
            verdict.findings.iter().map(|finding| format!("{} {}", finding.invariant.name(), finding.class));
        found.collect::<Vec<String>>()
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(parsed("kill", "deliver c 3 a 0.2 #4 x1"), none);
    assert_eq!(parsed("kill", "deliver c 2 a 0.1 #3 x1\n deliver c 3 a 0.2 #4 x1"), none);
    // At a stop the count is written; and it counts as no delivery since.
    assert_eq!(parsed("stop", "deliver c 3 a 0.2 #4 x1"), ["C7 count fell"]);
    assert_eq!(parsed("kill", "deliver c 2 a 0.1 #3 x2\n drained c 40s"), ["C5 not delivered again"]);
}

/// An interest stream that two consumers read: `c` acks, a fault comes, then `d` acks.
fn two_interested(between: &str, tail: &str, expected: &[&str]) {
    let consumer =
        |name| format!("consumer S {name} {{\"ack_policy\":\"explicit\",\"durable_name\":\"{name}\"}}\n");
    finds(
        &format!(
            "stream S {{\"retention\":\"interest\"}}\n {}{} pub S a 0.0 -> 1\n deliver c 1 a 0.0\n dack c 1 -> ok\n {between}
             deliver d 1 a 0.0\n dack d 1 -> ok\n {tail}",
            consumer("c"),
            consumer("d")
        ),
        expected,
    );
}

#[test]
fn c9_an_ack_that_a_crash_took_before_the_last_one_came_removes_nothing() {
    let there = "fault stop\n read S after: 1=a:0.0";
    let violated = &["C9 acked and still there ×1"];
    two_interested("fault kill\n read S after: 1=a:0.0\n", there, &[]);
    two_interested("fault kill\n read S after: 1=a:0.0\n", "fault stop\n read S after:", &[]);
    // Written long before the crash, or at a stop; or all had acked, and the last ack removed it before its answer.
    two_interested("wait 600ms\n fault kill\n read S after: 1=a:0.0\n", there, violated);
    two_interested("fault stop\n read S after: 1=a:0.0\n", there, violated);
    two_interested("", "fault kill\n read S after: 1=a:0.0", violated);
    // It came again, and was acked again; or the server's own floor says that the ack has outlived the crash.
    two_interested(
        "fault kill\n read S after: 1=a:0.0\n deliver c 1 a 0.0 x2\n dack c 1 -> ok\n",
        there,
        violated,
    );
    two_interested(
        "fault kill\n cinfo c after delivered=1 floor=1\n read S after: 1=a:0.0\n",
        there,
        violated,
    );
}

/// The power can go before the server has said how a stream is configured: until then it is as it was asked for.
#[test]
fn c9_a_stream_that_nobody_has_looked_at_yet_is_as_its_file_says() {
    let text = |between: &str| {
        format!(
            "desired S {{\"retention\":\"interest\"}}\n consumer S c {{\"ack_policy\":\"explicit\",\"durable_name\":\"c\"}}
             consumer S d {{\"ack_policy\":\"explicit\",\"durable_name\":\"d\"}}\n pub S a 0.0 -> 1\n deliver c 1 a 0.0\n dack c 1 -> ok
             {between} fault power-cut\n read S after: 1=a:0.0\n deliver d 1 a 0.0\n dack d 1 -> ok
             fault power-cut\n config S {{\"retention\":\"interest\"}}\n read S after: 1=a:0.0"
        )
    };
    finds(&text(""), &[]);
    finds(&text("wait 600ms\n"), &["C9 acked and still there ×1"]);
}

#[test]
fn m7_what_was_gone_at_a_restart_and_is_back_after_a_crash_has_a_class_of_its_own() {
    let queue =
        format!("{} fault stop\n", CONSUMED.replacen("stream S", r#"stream S {"retention":"workqueue"}"#, 1));
    let back = "fault kill\n info S after msgs=3 first=1 last=3\n read S after: 1=a:0.0 2=a:0.1 3=a:0.2";
    finds(
        &format!("{queue} info S after msgs=2 first=2 last=3\n read S after: 2=a:0.1 3=a:0.2\n {back}"),
        &[
            "M7 first sequence fell, gone at a stop ×1",
            "M7 returned, gone at a stop ×1",
            "C9 acked and still there, gone at a stop ×1",
        ],
    );
    // Gone since, or seen to be gone after a crash only: something else brings it back.
    finds(
        &format!("{queue} fault kill\n read S after: 2=a:0.1 3=a:0.2\n {back}"),
        &["M7 returned ×1", "C9 acked and still there ×1"],
    );
    let deleted = format!(
        "{THREE} fault stop\n read S after: 1=a:0.0 2=a:0.1 3=b:0.2\n delete S 1 -> ok\n fault kill\n"
    );
    finds(&format!("{deleted} read S after: 1=a:0.0 2=a:0.1 3=b:0.2"), &["M7 returned ×1"]);
}

#[test]
fn v1_a_key_has_its_last_value() {
    let bucket =
        "stream KV_B {\"max_msgs_per_subject\":1}\n pub KV_B k 0.0 -> 1\n pub KV_B k 0.1 rev=1 -> 2\n";
    finds(&format!("{bucket} fault kill\n read KV_B after: 2=k:0.1"), &[]);
    finds(
        &format!("{bucket} fault kill\n read KV_B after: 1=k:0.0"),
        &["M1 lost tail ×1", "V1 last value lost ×1"],
    );
    finds(&format!("{bucket} pub KV_B k 0.2 rev=1 -> 3"), &["V1 stale revision ×1"]);
    // With the newest deleted, the one before it is the last again.
    finds(&format!("{bucket} delete KV_B 2 -> ok\n pub KV_B k 0.2 rev=1 -> 3"), &[]);
}

#[test]
fn x1_a_mirror_equals_its_origin() {
    let mirrored = "stream O\n stream M {\"mirror\":{\"name\":\"O\"}}
        pub O a 0.0 -> 1\n pub O a 0.1 -> 2\n";
    finds(&format!("{mirrored} read M quiet: 1=a:0.0 2=a:0.1"), &[]);
    finds(&format!("{mirrored} read M after: 1=a:0.0"), &[]);
    finds(&format!("{mirrored} read M quiet: 1=a:0.0"), &["X1 missing in mirror ×1"]);
    finds(&format!("{mirrored} read M quiet: 1=a:0.1 2=a:0.0"), &["X1 differs from origin ×2"]);
}

#[test]
fn a1_the_server_answers() {
    finds("stream S\n hung S info", &["A1 no answer ×1"]);
    finds("stream S\n consumer S c\n canary S c silent", &["A1 canary not answered ×1"]);
}
