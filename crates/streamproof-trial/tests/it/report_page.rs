//! The page of a report.

use streamproof_checker::Cell;
use streamproof_model::op::FaultKind;
use streamproof_trial::archive::Archive;
use streamproof_trial::report::power::{Basis, Cut, FsOp, FsOpKind, PowerCut, Recording, Sync};
use streamproof_trial::report::scene::{
    AgeBin, Ages, Change, Dot, Fate, Flow, Lane, Life, Mark, Points, Recovery, Scene, Span, State, Step,
};
use streamproof_trial::report::{Report, page};

use super::report::{HOSTILE, all, failed, passed};

/// A stream that loses its newest messages at a kill, with a consumer.
fn scene(name: &str) -> Scene {
    let dot = |at, fate, seq: u64| Dot { at, fate, seq: Some(seq), message: (1, seq as u32) };
    Scene {
        stream: name.to_owned(),
        case: 2,
        span_us: 900_000,
        faults: vec![
            Span {
                number: 1,
                kind: FaultKind::Stop,
                begin: 100_000,
                end: Some(140_000),
                ready_us: 9_000,
                verdict: Cell::Pass,
            },
            Span {
                number: 2,
                kind: FaultKind::Kill,
                begin: 500_000,
                end: None,
                ready_us: 0,
                verdict: Cell::Fail,
            },
        ],
        fates: vec![(Fate::Lost, 2), (Fate::Kept, 1), (Fate::Refused, 40)],
        unnamed: 5,
        dots: Points {
            shown: vec![dot(499_000, Fate::Lost, 3), dot(499_500, Fate::Lost, 4), dot(50_000, Fate::Kept, 2)],
            of: 43,
        },
        acked: Points { shown: vec![(50_000, 2), (499_100, 3), (499_600, 4)], of: 3 },
        states: Points {
            shown: vec![
                State { at: 90_000, first: 1, last: 2, after: false },
                State { at: 600_000, first: 1, last: 2, after: true },
            ],
            of: 2,
        },
        broken: Points { shown: vec![(610_000, 4, format!("M1 lost tail: {name}"))], of: 1 },
        lanes: vec![Lane {
            consumer: format!("{name} C"),
            delivered: Points { shown: vec![(60_000, 2)], of: 1 },
            redelivered: Points { shown: vec![(700_000, 2)], of: 1 },
            answered: Points { shown: vec![(61_000, 2)], of: 1 },
            floor: Points { shown: vec![(90_000, 2), (600_000, 0)], of: 2 },
            broken: Points { shown: vec![(700_000, 2, "C1 redelivered".to_owned())], of: 1 },
        }],
        more_lanes: 2,
        flow: Flow { bin_us: 300_000, acked: vec![1, 2, 0], delivered: vec![1, 0, 1] },
        ages: Some(Ages {
            fault: 2,
            kind: FaultKind::Kill,
            bins: vec![
                AgeBin { from_us: 500, to_us: 1_000, kept: 0, lost: 2 },
                AgeBin { from_us: 200_000, to_us: 500_000, kept: 1, lost: 0 },
            ],
            youngest_kept: Some(450_000),
            lost: Some((500, 1_000)),
        }),
        changes: vec![Change {
            target: name.to_owned(),
            fault: FaultKind::Kill,
            path: "max_msg_size".to_owned(),
            before: "2048".to_owned(),
            after: name.to_owned(),
        }],
    }
}

fn power() -> PowerCut {
    let operation = |at, kind, path: &str| FsOp { at, kind, path: path.to_owned() };
    let cut = |at, after, verdict, lost| Cut {
        at,
        after,
        verdict,
        acked: 10,
        lost,
        oldest_lost_us: (lost > 0).then_some(at / 2),
        share: 0.25,
        note: "acked, and not there".to_owned(),
    };
    PowerCut {
        basis: Basis::Model("ext4".to_owned()),
        recording: Some(Recording {
            number: 2,
            of: 3,
            case: 4,
            worst: Cell::Fail,
            lost: 10,
            oldest_lost_us: Some(150),
        }),
        span_us: 1_000,
        syncs: vec![Sync { at: 400, path: "msgs/1.blk".to_owned() }],
        operations: vec![
            operation(100, FsOpKind::Create, "msgs/1.blk"),
            operation(200, FsOpKind::Write, "msgs/1.blk"),
            operation(400, FsOpKind::Sync, "msgs/1.blk"),
            operation(500, FsOpKind::Rename, "meta.inf"),
        ],
        cuts: vec![
            cut(150, 1, Cell::Pass, 0),
            cut(300, 2, Cell::Fail, 10),
            cut(450, 3, Cell::Pass, 0),
            cut(600, 4, Cell::Unprotected, 1),
        ],
        chosen: 9,
        same: 3,
        nested: 1,
    }
}

#[test]
fn a_cell_of_the_matrix_that_was_not_tried_says_so_alone_and_one_without_a_fault_was_not_left_untried() {
    let html = page::render(&failed());
    let (_, matrix) = html.split_once("<tbody>").unwrap();
    let (matrix, _) = matrix.split_once("</tbody>").unwrap();
    let empty: Vec<&str> = matrix
        .split("<td class=\"empty\">")
        .skip(1)
        .map(|cell| cell.split("</td>").next().unwrap())
        .collect();
    // KV_SETTINGS was looked at under stop and without a fault; ORDERS everywhere, and without a fault nothing was found of it.
    let untried = "<span>not tried</span>";
    assert_eq!(empty, ["<span>nothing found</span>", untried, untried]);
}

#[test]
fn what_was_measured_in_crash_states_is_that_of_the_worst_of_them_in_the_table_of_a_page_too() {
    for (states, count, said) in [
        (0, 483, "<td>483</td>"),
        (1, 483, "<td>483 in 1 crash state</td>"),
        (1_200, 1, "<td>1 in 1,200 crash states</td>"),
        (1_200, 483, "<td>483 in the worst of 1,200 crash states</td>"),
    ] {
        let mut report = passed();
        (report.verdict.measures[0].states, report.verdict.measures[0].count) = (states, count);
        let html = page::render(&report);
        assert!(html.contains(said), "{said} is not in: {html}");
    }
}

#[test]
fn power_cuts_are_kept_in_the_folder_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(folder.path());
    assert_eq!(archive.power().unwrap(), None);
    archive.write_power(&power()).unwrap();
    assert_eq!(archive.power().unwrap(), Some(power()));
    // One that was written before it was said which recording it is.
    let file = folder.path().join("power.json");
    let mut old: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let fields = old.as_object_mut().unwrap();
    fields.remove("recording");
    let chosen = fields.remove("chosen").unwrap();
    fields.insert("states".to_owned(), chosen);
    std::fs::write(&file, old.to_string()).unwrap();
    assert_eq!(archive.power().unwrap(), Some(PowerCut { recording: None, ..power() }));
}

/// What a page says of these power cuts.
fn said_of(power: PowerCut) -> String {
    let mut report = passed();
    report.power_cut = Some(power);
    let html = page::render(&report);
    let (_, section) = html.split_once("<h2 id=\"power-title\">").unwrap();
    section.split_once("</section>").unwrap().0.to_owned()
}

#[test]
fn a_page_says_which_recording_it_draws_and_speaks_of_that_one_alone() {
    let of = |number, of, worst| {
        let recording = Recording { number, of, case: 4, worst, lost: 0, oldest_lost_us: None };
        PowerCut { recording: Some(recording), ..power() }
    };
    let nothing = |mut power: PowerCut| {
        for cut in &mut power.cuts {
            (cut.verdict, cut.lost, cut.oldest_lost_us) = (Cell::Pass, 0, None);
        }
        power
    };
    let is_said = |power: PowerCut, said: &str| {
        let text = said_of(power);
        assert!(text.contains(said), "{said} is not in: {text}");
    };
    let worst = "<p>Recording 2 of 3, case 4: of them the one in which the worst was found. The others are not drawn.</p>";
    is_said(of(2, 3, Cell::Fail), worst);
    is_said(of(1, 1, Cell::Fail), "<p>The only recording of the run, case 4.</p>");
    let none = "<p>Recording 1 of 2, case 4. Nothing was found in any of them; the others are not drawn.</p>";
    is_said(nothing(of(1, 2, Cell::Pass)), none);
    let unknown = "<p>One recording of the run; if there were others, they are not drawn.</p>";
    is_said(PowerCut { recording: None, ..power() }, unknown);
    is_said(power(), "at these cuts of this recording at most 300 µs of acked messages were lost");
    is_said(nothing(power()), "at these cuts of this recording no acked message was found lost");
    let mut ageless = power();
    ageless.cuts.iter_mut().for_each(|cut| cut.oldest_lost_us = None);
    is_said(ageless, "at these cuts of this recording acked messages were lost, how old is not known");
    // What came of a second cut has no mark; that it is the worst is said.
    let second = "The worst was found after a second cut: <span class=\"badge fail\">fail</span>.";
    is_said(nothing(of(2, 3, Cell::Fail)), second);
    assert!(!said_of(power()).contains("The worst was found after"));
}

#[test]
fn a_page_says_how_many_crash_states_were_tried_and_how_many_there_are() {
    let mut power = power();
    let tried =
        "4 of 6 crash states tried, led to by 9 cuts; and 1 more after a second cut, not drawn; by the model";
    let text = said_of(power.clone());
    assert!(text.contains(tried), "{text}");
    power.nested = 0;
    let text = said_of(power);
    assert!(text.contains("4 of 6 crash states tried, led to by 9 cuts; by the model"), "{text}");
    assert!(text.contains("2 crash states, 50.0 % of the recording"), "{text}");
}

fn life(text: &str) -> Life {
    let step = |at, mark, text: &str| Step { at, mark, text: text.to_owned() };
    Life {
        title: format!("message 1.4 on {text}, sequence 4 of ORDERS"),
        violation: "M1 lost tail: acked, and not there".to_owned(),
        case: 2,
        steps: vec![
            step(499_500, Mark::Good, "sent, 40 bytes: acked as sequence 4 after 100 µs"),
            step(500_000, Mark::Fault, "fault 2: kill"),
            step(610_000, Mark::Bad, &format!("violated: {text}")),
        ],
        hidden: 3,
        log: vec![format!("[1] [WRN] {text}")],
        more_log: 7,
    }
}

/// Each report with everything that a page can have in it.
fn full() -> Vec<(&'static str, Report)> {
    let mut all = all().to_vec();
    for (name, report) in &mut all {
        let stream = if *name == "hostile" { HOSTILE } else { "ORDERS" };
        if *name != "pass" && *name != "inconclusive" {
            report.scenes = vec![scene(stream)];
            report.life = Some(life(if *name == "hostile" { HOSTILE } else { "orders.new" }));
            report.more_scenes = 3;
        }
        report.recoveries = vec![
            Recovery {
                fault: FaultKind::Stop,
                ready_us: Points { shown: vec![8_000, 9_000, 40_000], of: 3 },
                never: 0,
            },
            Recovery { fault: FaultKind::Kill, ready_us: Points { shown: vec![11_000], of: 900 }, never: 1 },
        ];
        if *name == "fail" || *name == "hostile" {
            let mut power = power();
            power.operations[3].path = stream.to_owned();
            power.cuts[1].note = stream.to_owned();
            power.basis = Basis::Model(stream.to_owned());
            report.power_cut = Some(power);
            report.reproduce = Some(format!("# {stream}"));
        }
    }
    all
}

#[test]
fn a_page_needs_nothing_else_and_lets_nothing_out_of_its_place() {
    for (name, report) in full() {
        let html = page::render(&report);
        check_page(name, &html);
        if name == "hostile" {
            // Each text is there, as text. (The control characters are; a browser draws them as blanks.)
            let escaped = "&lt;script&gt;alert('x')&lt;/script&gt;&amp;&quot;|`*_";
            assert!(html.matches(escaped).count() > 30, "{html}");
        } else {
            // What the style sheet says is no one's concern here.
            let (_, body) = html.split_once("</style>").unwrap();
            insta::assert_snapshot!(format!("page-{name}"), body.replace("><", ">\n<"));
        }
    }
}

/// No reference to anything outside, no script, every element closed, every link with its target.
pub(crate) fn check_page(name: &str, html: &str) {
    let (mut open, mut ids, mut links) = (Vec::new(), Vec::new(), Vec::new());
    let (head, rest) = html.split_once("<style>").unwrap();
    let (style, body) = rest.split_once("</style>").unwrap();
    assert!(
        !style.contains("url(") && !style.contains("@import") && !style.contains("@font-face"),
        "{style}"
    );
    for tag in [head, body].into_iter().flat_map(|part| part.split('<').skip(1)) {
        let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("{name}: an open tag: {tag}"));
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed), "{name}");
            continue;
        }
        let element = tag.split([' ', '/']).next().unwrap();
        assert!(
            !["script", "link", "img", "iframe", "object", "image", "use", "base"].contains(&element),
            "{name}: {tag}"
        );
        for attribute in attributes(tag) {
            match attribute {
                ("id", value) => ids.push(value.to_owned()),
                ("href", value) => {
                    links.push(value.strip_prefix('#').unwrap_or_else(|| panic!("{name}: {tag}")).to_owned())
                }
                (name, _) => {
                    assert!(
                        !name.starts_with("on") && !["src", "srcset", "action", "style"].contains(&name),
                        "{tag}"
                    );
                }
            }
        }
        if !["!DOCTYPE", "meta"].contains(&element) {
            open.push(element.to_owned());
        }
    }
    assert!(open.is_empty() || open == ["html"], "{name}: not closed: {open:?}");
    assert!(links.iter().all(|link| ids.contains(link)), "{name}: {links:?} {ids:?}");
    let unique: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{name}: {ids:?}");
}

fn attributes(tag: &str) -> Vec<(&str, &str)> {
    // Values are always quoted, and a quote within one is escaped.
    let parts: Vec<&str> = tag.split('"').collect();
    parts
        .chunks(2)
        .filter_map(|pair| {
            let name = pair[0].trim_end_matches('=').rsplit(' ').next()?;
            Some((name, *pair.get(1)?))
        })
        .collect()
}
