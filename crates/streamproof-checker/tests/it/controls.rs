//! Damage that is done on purpose is found by the right invariant, or no verdict counts.

use crate::judge;
use streamproof_checker::{Context, Overall};

#[test]
fn a_control_that_is_found_leaves_no_finding_behind() {
    let history =
        "stream S\n pub S a 0.0 -> 1\n pub S a 0.1 -> 2\n control planted-deletion S 1 M1\n fault stop\n";
    let found = judge(&format!("{history} read S after: 2=a:0.1\n finished"), &Context::default());
    assert_eq!((found.verdict, found.findings.len()), (Overall::Pass, 0));
    let missed = judge(&format!("{history} read S after: 1=a:0.0 2=a:0.1\n finished"), &Context::default());
    assert_eq!(missed.verdict, Overall::SelfCheckFailed);
    // Another loss beside it is still a failure.
    let both = judge(&format!("{history} read S after:\n finished"), &Context::default());
    assert_eq!((both.verdict, both.findings.len()), (Overall::Fail, 1));
}

#[test]
fn a_reset_consumer_and_an_edited_configuration_are_controls_too() {
    let history = r#"stream S {"max_msgs":5}
        consumer S c {"ack_policy":"explicit","durable_name":"c"}
        pub S a 0.0 -> 1
        deliver c 1 a 0.0
        dack c 1 -> ok
        cinfo c quiet delivered=1 floor=1
        control reset-consumer S c C3 K3
        control edited-config S - K2
        fault stop
        "#;
    let history = history.replace("S - K2", "S x K2");
    let verdict = judge(
        &format!(
            "{history} config S {{\"max_msgs\":6}}\n cinfo c after created=2 pending=1\n read S after: 1=a:0.0\n finished"
        ),
        &Context::default(),
    );
    assert_eq!(verdict.verdict, Overall::Pass, "{verdict:#?}");
    assert!(verdict.controls.iter().all(|control| control.found));
}
