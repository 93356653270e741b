//! Reports of pictures: how each is drawn, and that nothing a server says gets out of its place.

use streamproof_checker::{Cell, Overall};
use streamproof_model::op::FaultKind;
use streamproof_trial::picture::changes::Change;
use streamproof_trial::picture::{ConsumerPicture, ConsumerState, Picture, State, StreamPicture};
use streamproof_trial::report::pictured::Pictured;
use streamproof_trial::report::{Place, Report, junit, markdown, page};

use crate::report::{HOSTILE, cell, check_schema, finding, report};
use crate::report_page::check_page;

fn picture(messages: u64, floor: u64) -> Picture {
    let first =
        State { messages, bytes: messages * 100, first_seq: 1, last_seq: messages, ..State::default() };
    let consumer =
        ConsumerState { delivered_stream: 9, floor_stream: floor, pending: 3, ..ConsumerState::default() };
    let mut stream = StreamPicture { first, ..StreamPicture::default() };
    stream.reading.count = messages;
    stream
        .consumers
        .insert("BILLING".to_owned(), ConsumerPicture { first: consumer, ..ConsumerPicture::default() });
    let mut picture = Picture::default();
    picture.streams.insert("ORDERS".to_owned(), stream.clone());
    picture.streams.insert("QUIET".to_owned(), stream);
    picture
}

/// A stream that lost most of what it had, and a consumer that went back.
fn lost(place: Place) -> Report {
    let found = finding("ORDERS", "stop", "lost tail", Cell::Fail);
    let faults = vec![cell("ORDERS", "stop", Cell::Fail), cell("QUIET", "stop", Cell::Pass)];
    let mut report = report(Overall::Fail, faults, vec![found]);
    let (before, mut after) = (picture(1234, 7), picture(1234, 7));
    after.streams.insert("ORDERS".to_owned(), picture(30, 2).streams["ORDERS"].clone());
    after.streams.get_mut("QUIET").unwrap().consumers.clear();
    report.place = place;
    report.of = if place == Place::Live { "127.0.0.1:4222" } else { "/backup/nats" }.to_owned();
    report.repeat = "cargo xtask restart-check --live".to_owned();
    report.pictured = Pictured::of("", FaultKind::Stop, &before, &after);
    report.changed = vec![Change {
        target: "QUIET".to_owned(),
        what: "messages expired".to_owned(),
        count: 5,
        why: "its max_age had come".to_owned(),
    }];
    report.said = vec!["[WRN] Filestore [ORDERS] Stream state recovered".to_owned()];
    report
}

#[test]
fn what_was_lost_between_two_pictures_comes_first_and_nothing_is_said_of_a_workload() {
    let report = lost(Place::Live);
    let html = page::render(&report);
    check_page("pictures", &html);
    let (_, body) = html.split_once("</style>").unwrap();
    assert!(
        body.contains("your own server at 127.0.0.1:4222 was restarted; nothing was published"),
        "{body}"
    );
    for word in ["seed", "publishes acked", "scratch", "case 1", "(at "] {
        assert!(!body.contains(word), "{word}: {body}");
    }
    let at = |text: &str| body.find(text).unwrap_or_else(|| panic!("{text} is not in: {body}"));
    assert!(at("1,234 → <b>30</b>") < at("<th scope=\"row\">QUIET</th>"), "what changed comes first");
    assert!(at("7 → <b>2</b>") > 0 && at("3 → <b>not there</b>") > 0);
    assert!(at("5 messages expired, its max_age had come") > 0);
    insta::assert_snapshot!("page-pictures", body.replace("><", ">\n<"));
    insta::assert_snapshot!("markdown-pictures", markdown::render(&report));
}

#[test]
fn junit_of_pictures_is_well_formed_and_red_where_something_was_lost() {
    let mut passed = lost(Place::StoreCopy);
    passed.verdict.findings.clear();
    passed.verdict.verdict = Overall::Pass;
    passed.verdict.faults[0].verdict = Cell::Pass;
    for (report, is_red) in [(lost(Place::Live), true), (passed, false)] {
        let text = junit::render(&report);
        let document = roxmltree::Document::parse(&text).unwrap();
        document.descendants().filter(roxmltree::Node::is_element).for_each(check_schema);
        let red =
            document.descendants().any(|node| node.has_tag_name("failure") || node.has_tag_name("error"));
        assert_eq!(red, is_red, "{text}");
        assert!(!text.contains("name=\"seed\""), "{text}");
        assert!(text.contains(&report.opening()), "{text}");
    }
}

#[test]
fn a_name_that_would_be_markup_is_text_in_every_rendering_of_pictures() {
    let mut report = lost(Place::StoreCopy);
    report.of = HOSTILE.to_owned();
    report.said = vec![HOSTILE.to_owned()];
    report.changed[0].target = HOSTILE.to_owned();
    report.changed[0].why = HOSTILE.to_owned();
    report.servers[0].1.source = HOSTILE.to_owned();
    report.servers[0].1.sha256 = String::new();
    for row in &mut report.pictured {
        row.target = HOSTILE.to_owned();
    }
    let html = page::render(&report);
    check_page("hostile pictures", &html);
    assert!(html.contains("&lt;script&gt;alert('x')&lt;/script&gt;"), "{html}");
    roxmltree::Document::parse(&junit::render(&report)).unwrap();
    let text = markdown::render(&report);
    assert!(!text.contains("<script>") && !text.contains("@all"), "{text}");
}
