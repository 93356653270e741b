//! From a history to what its plots show, and to the life of the first violating message.

use streamproof_checker::{Cell, Checker, Context, notation};
use streamproof_model::op::FaultKind;
use streamproof_trial::report::life::Story;
use streamproof_trial::report::scene::{Fate, Scene};
use streamproof_trial::report::watch::Watch;

/// 0.3 was acked and is lost at a kill; 0.2 was purged before; 0.6 had no answer and was stored; for 0.7 nobody looked.
const HISTORY: &str = r#"
    stream S {"name":"S","subjects":["a"]}
    consumer S c {"ack_policy":"explicit","durable_name":"c"}
    pub S a 0.1 -> 1
    pub S a 0.2 -> 2
    deliver c 1 a 0.1 #1 x1
    dack c 1 -> ok
    delete S 2 -> ok
    pub S a 0.3 -> 3
    pub S a 0.4 -> ?
    pub S a 0.5 -> !10077
    info S quiet msgs=2 first=1 last=3 deleted=1 created=1
    cinfo c quiet delivered=1 floor=1 created=1
    fault kill
    listing after S:c
    config S {"name":"S","subjects":["a"],"max_msg_size":9}
    info S after msgs=1 first=1 last=1 created=2
    cinfo c after delivered=1 floor=0 created=1
    read S after: 1=a:0.1
    deliver c 1 a 0.1 #2 x2
    pub S a 0.6 -> ?
    fault stop
    info S after msgs=2 first=1 last=4 deleted=2 created=2
    read S after: 1=a:0.1 4=a:0.6
    pub S a 0.7 -> 5
    finished
"#;

fn scene(history: &str) -> Scene {
    let (mut watch, context) = (Watch::default(), Context::default());
    let mut checker = Checker::new(&context).with_examples(1000);
    for op in notation::parse(history).unwrap() {
        watch.take(&op);
        checker.take(&op);
    }
    watch.scene("S", 1, &checker.finish()).unwrap()
}

#[test]
fn every_publish_has_its_fate_and_every_plot_its_data() {
    let scene = scene(HISTORY);
    let fates: Vec<(Fate, u64)> = scene.fates.clone();
    let expected = [
        (Fate::Lost, 1),
        (Fate::Kept, 1),
        (Fate::Removed, 1),
        (Fate::Unread, 1),
        (Fate::UnknownThere, 1),
        (Fate::UnknownGone, 1),
        (Fate::Refused, 1),
    ];
    assert_eq!(fates, expected);
    let lost = scene.dots.shown.iter().find(|dot| dot.fate == Fate::Lost).unwrap();
    assert_eq!((lost.message, lost.seq), ((0, 3), Some(3)));
    let faults: Vec<(FaultKind, Cell)> =
        scene.faults.iter().map(|fault| (fault.kind, fault.verdict)).collect();
    assert_eq!(faults, [(FaultKind::Kill, Cell::Fail), (FaultKind::Stop, Cell::Pass)]);
    let last: Vec<(u64, bool)> = scene.states.shown.iter().map(|state| (state.last, state.after)).collect();
    assert_eq!(last, [(3, false), (1, true), (4, true)]);
    assert!(scene.broken.shown.iter().any(|(_, seq, said)| *seq == 3 && said.contains("lost tail")));
    let lane = &scene.lanes[0];
    let of = [&lane.delivered, &lane.redelivered, &lane.answered, &lane.floor].map(|points| points.of);
    assert_eq!((lane.consumer.as_str(), of), ("c", [1, 1, 1, 2]));
    let ages = scene.ages.unwrap();
    assert_eq!((ages.kind, ages.bins.iter().map(|bin| bin.lost).sum::<u64>()), (FaultKind::Kill, 1));
    assert_eq!(ages.bins.iter().map(|bin| bin.kept).sum::<u64>(), 1);
    let changed: Vec<(&str, &str)> =
        scene.changes.iter().map(|change| (change.path.as_str(), change.after.as_str())).collect();
    assert!(changed.contains(&("max_msg_size", "9")), "{changed:?}");
    assert!(changed.iter().any(|(path, _)| *path == "created"), "{changed:?}");
    assert_eq!(scene.flow.acked.iter().sum::<u32>(), 4);
}

#[test]
fn a_stream_that_is_gone_is_a_change_too() {
    let gone = scene(
        "stream S {\"name\":\"S\"}\npub S a 0.1 -> 1\nfault stop\nlisting after\nread S after:\nfinished\n",
    );
    assert_eq!(gone.changes[0].path, "the whole stream");
    assert_eq!(gone.fates, [(Fate::Lost, 1)]);
}

#[test]
fn the_life_of_a_lost_message_is_told_from_its_sending_to_its_absence() {
    let context = Context::default();
    let operations = notation::parse(HISTORY).unwrap();
    let mut checker = Checker::new(&context);
    operations.iter().for_each(|op| checker.take(op));
    let verdict = checker.finish();
    let lost = verdict.findings.iter().find(|finding| finding.class == "lost tail").unwrap();
    let mut story = Story::new(lost, &lost.examples[0]);
    operations.iter().for_each(|op| story.take(op));
    let life = story.finish(1);
    let told: Vec<String> =
        life.steps.iter().map(|step| format!("{:>6} {:?}: {}", step.at, step.mark, step.text)).collect();
    insta::assert_snapshot!(format!("{}\n{}\n{}", life.title, life.violation, told.join("\n")));
}
