//! What good servers do, and a checker must not call a violation.

use crate::finds;

#[test]
fn a_never_used_stream_after_a_purge_and_a_crash() {
    finds(
        "stream S\n purge S -> ok\n info S quiet msgs=0 first=1 last=0 deleted=0
         fault kill\n info S after msgs=0 first=0 last=0 deleted=1\n read S after:",
        &[],
    );
}

#[test]
fn a_purge_up_to_a_sequence_that_leaves_nothing() {
    finds(
        "stream S\n consumer S c {\"ack_policy\":\"explicit\",\"durable_name\":\"c\"}
         pub S a 0.0 -> 1\n pub S a 0.1 -> 2\n info S quiet msgs=2 first=1 last=2
         purge S before=3 -> ok\n info S quiet msgs=0 first=5 last=2 deleted=3
         fault kill\n info S after msgs=0 first=3 last=2\n cinfo c after delivered=2 floor=4\n read S after:",
        &[],
    );
}

#[test]
fn num_pending_off_by_one_before_a_restart() {
    finds(
        "stream S\n consumer S c {\"ack_policy\":\"explicit\",\"durable_name\":\"c\"}
         pub S a 0.0 -> 1\n info S quiet msgs=1 first=1 last=1\n cinfo c quiet pending=2\n read S quiet: 1=a:0.0
         fault stop\n info S after msgs=1 first=1 last=1\n cinfo c after pending=1\n read S after: 1=a:0.0",
        &[],
    );
}

#[test]
fn a_lowered_limit_that_takes_effect_at_the_next_restart() {
    let history = r#"stream S {"max_msgs_per_subject":5}
        pub S a 0.0 -> 1
        pub S a 0.1 -> 2
        update S {"max_msgs_per_subject":1} -> ok
        "#;
    finds(&format!("{history} read S quiet: 1=a:0.0 2=a:0.1\n fault stop\n read S after: 2=a:0.1"), &[]);
    finds(
        &format!("{history} fault stop\n read S after: 1=a:0.0 2=a:0.1"),
        &["M8 more than max_msgs_per_subject ×1"],
    );
}

#[test]
fn plain_acks_come_again_and_retries_are_stored_twice() {
    finds(
        "stream S\n consumer S c {\"ack_policy\":\"explicit\",\"durable_name\":\"c\"}\n pub S a 0.0 -> 1
         deliver c 1 a 0.0\n ack c 1\n wait 600ms\n fault kill\n deliver c 1 a 0.0 x2",
        &[],
    );
    finds("stream S\n pub S a 0.0 -> 1\n pub S a 0.0 again -> 2\n read S quiet: 1=a:0.0 2=a:0.0", &[]);
}
