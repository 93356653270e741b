//! Reports of small fixed runs: how each is drawn, and that nothing a server or a file says gets out of its place.

use streamproof_checker::promise::{Promise, TABLE, When};
use streamproof_checker::{
    Accept, Blame, Cell, Context, ControlResult, Counts, Example, FaultVerdict, Finding, Invariant, Measure,
    NotProven, Overall, Verdict,
};
use streamproof_model::op::FaultKind;
use streamproof_trial::archive::{Record, ServerRecord};
use streamproof_trial::report::terminal::{self, Screen};
use streamproof_trial::report::{Place, Report, junit, markdown, page};

/// Names that would be markup, or commands, wherever they are not escaped.
pub(crate) const HOSTILE: &str = "<script>alert('x')</script>&\"|`*_\u{1b}[31m\u{0}]]>\n@all";

pub(crate) fn cell(target: &str, fault: &str, verdict: Cell) -> FaultVerdict {
    let lost = verdict == Cell::Unprotected;
    let (bites, bite) = match verdict {
        Cell::Inconclusive => (0, "0 of 3: no calls in flight at the kill"),
        _ => (3, "3 of 3: process 100 became 200"),
    };
    FaultVerdict {
        fault: fault.to_owned(),
        target: target.to_owned(),
        verdict,
        bite: bite.to_owned(),
        tries: 3,
        bites,
        promised: !lost,
        source: "nats-server memstore.go".to_owned(),
        remedy: lost.then(|| "`storage: file`".to_owned()),
    }
}

pub(crate) fn finding(target: &str, fault: &str, class: &str, verdict: Cell) -> Finding {
    let example = |seq: u64| Example {
        at: 1_000_000 + seq,
        seq: Some(seq),
        message: Some(format!("1.{seq}")),
        subject: Some("orders.new".to_owned()),
        age_us: Some(900),
        text: "acked, and not there".to_owned(),
    };
    Finding {
        invariant: Invariant::M1,
        fault: Some(fault.to_owned()),
        target: target.to_owned(),
        class: class.to_owned(),
        count: 1204,
        states: 0,
        blame: if verdict == Cell::Fail { Blame::Server } else { Blame::Config },
        known: None,
        verdict,
        age_us: Some((900, 1_250_000)),
        source: "nats-server filestore.go:writeMsgRecord".to_owned(),
        examples: vec![example(7), example(8)],
    }
}

pub(crate) fn report(verdict: Overall, faults: Vec<FaultVerdict>, findings: Vec<Finding>) -> Report {
    let control = |name: &str, expect: &str| ControlResult {
        name: name.to_owned(),
        target: "SP_CONTROL".to_owned(),
        expect: expect.to_owned(),
        found: true,
        beside: Vec::new(),
    };
    let verdict = Verdict {
        verdict,
        run: "20261124-101500-7".to_owned(),
        seed: 7,
        server: "2.15.1".to_owned(),
        restarts_verified: 24,
        faults,
        findings,
        not_proven: vec![NotProven {
            what: "power loss".to_owned(),
            why: "a SIGKILL leaves the page cache intact and shows nothing about it".to_owned(),
        }],
        inconclusive: Vec::new(),
        controls: vec![control("memory-loss", "M1"), control("edited-config", "K2")],
        measures: Vec::new(),
        counts: Counts {
            operations: 9000,
            acked: 4200,
            indeterminate: 31,
            read_back: 8000,
            delivered: 2100,
            ..Counts::default()
        },
    };
    let record = Record {
        format: Record::FORMAT,
        id: verdict.run.clone(),
        seed: 7,
        server: ServerRecord {
            version: "2.15.1".to_owned(),
            source: "wheel".to_owned(),
            sha256: "ab".repeat(32),
        },
        upgrade_to: None,
        downgrade_to: None,
        faults: Vec::new(),
        context: Context::default(),
        missing: Vec::new(),
        untried: Vec::new(),
        power_cuts: Default::default(),
        cases: 6,
        ended: true,
        took_ms: 18_250,
        repeat: "cargo xtask restart-check --seed 7".to_owned(),
        place: Place::Scratch,
    };
    let mut report = Report::new(verdict, &record);
    report.began = "2026-11-24T10:15:00Z".to_owned();
    report.folder = ".streamproof/runs/20261124-101500-7".to_owned();
    report
}

pub(crate) fn passed() -> Report {
    let mut report = report(
        Overall::Pass,
        vec![cell("ORDERS", "stop", Cell::Pass), cell("ORDERS", "kill", Cell::Pass)],
        Vec::new(),
    );
    report.verdict.measures = vec![Measure {
        name: "double-acks-redelivered".to_owned(),
        fault: Some("kill".to_owned()),
        target: "ORDERS > BILLING".to_owned(),
        count: 483,
        states: 0,
        max_us: 94_000,
    }];
    report
}

pub(crate) fn failed() -> Report {
    let mut known = finding("ORDERS > BILLING", "restarts", "creation time changed", Cell::Fail);
    (known.invariant, known.count, known.age_us) = (Invariant::K3, 1, None);
    known.known = Some("creation-time-changes".to_owned());
    known.examples.truncate(1);
    known.examples[0] =
        Example { at: 5, text: "created 1 ns before, 2 ns now".to_owned(), ..Example::default() };
    let other = Finding { fault: Some("stop".to_owned()), ..known.clone() };
    let mut alone = finding("KV_SETTINGS", "", "never sent", Cell::Fail);
    (alone.invariant, alone.fault, alone.count, alone.age_us) = (Invariant::M3, None, 1, None);
    report(
        Overall::Fail,
        vec![
            cell("ORDERS", "stop", Cell::Fail),
            cell("ORDERS", "restarts", Cell::Fail),
            cell("ORDERS", "kill", Cell::Pass),
            cell("KV_SETTINGS", "stop", Cell::Pass),
        ],
        vec![known, other, finding("ORDERS", "stop", "lost all", Cell::Fail), alone],
    )
}

pub(crate) fn mixed() -> Report {
    let mut accepted = finding("LOGS", "kill", "returned, evicted", Cell::Accepted);
    (accepted.invariant, accepted.blame, accepted.count) = (Invariant::M7, Blame::Server, 6);
    accepted.known = Some("evicted-returns".to_owned());
    let mut report = report(
        Overall::Unprotected,
        vec![
            cell("CACHE", "stop", Cell::Unprotected),
            cell("LOGS", "stop", Cell::Pass),
            cell("LOGS", "kill", Cell::Accepted),
        ],
        vec![accepted, finding("CACHE", "stop", "lost all", Cell::Unprotected)],
    );
    report.accept = vec![Accept { name: "evicted-returns".to_owned(), reason: "we never purge".to_owned() }];
    report
}

pub(crate) fn inconclusive() -> Report {
    let mut report = report(
        Overall::Inconclusive,
        vec![cell("ORDERS", "kill", Cell::Inconclusive), cell("ORDERS", "stop", Cell::Pass)],
        Vec::new(),
    );
    report.ended = false;
    report.verdict.inconclusive =
        vec!["ORDERS under kill: 0 of 3: no calls in flight at the kill".to_owned()];
    report
}

pub(crate) fn broken() -> Report {
    let mut report = report(Overall::SelfCheckFailed, vec![cell("ORDERS", "stop", Cell::Pass)], Vec::new());
    report.verdict.controls[1].found = false;
    report.verdict.controls[1].beside = vec!["M7 returned".to_owned()];
    report
}

/// Every text that comes from outside, hostile.
pub(crate) fn hostile() -> Report {
    let mut bad = finding(HOSTILE, "stop", HOSTILE, Cell::Fail);
    bad.source = HOSTILE.to_owned();
    bad.examples[0].text = HOSTILE.to_owned();
    bad.examples[0].subject = Some(HOSTILE.to_owned());
    let mut report = report(Overall::Fail, vec![cell(HOSTILE, "stop", Cell::Fail)], vec![bad]);
    report.verdict.not_proven[0].why = HOSTILE.to_owned();
    report.verdict.inconclusive = vec![HOSTILE.to_owned()];
    report.verdict.controls[0].beside = vec![HOSTILE.to_owned()];
    report.verdict.controls[0].found = false;
    report.verdict.run = HOSTILE.to_owned();
    report.accept = vec![Accept { name: HOSTILE.to_owned(), reason: HOSTILE.to_owned() }];
    report.repeat = format!("cargo xtask restart-check --server-bin '{HOSTILE}'");
    report.servers[0].1 =
        ServerRecord { version: HOSTILE.to_owned(), source: HOSTILE.to_owned(), sha256: HOSTILE.to_owned() };
    report
}

pub(crate) fn all() -> [(&'static str, Report); 6] {
    [
        ("pass", passed()),
        ("fail", failed()),
        ("mixed", mixed()),
        ("inconclusive", inconclusive()),
        ("self-check-failed", broken()),
        ("hostile", hostile()),
    ]
}

#[test]
fn a_terminal_gets_what_matters_first_and_last_what_was_not_proven() {
    for (name, report) in all().iter().filter(|(name, _)| *name != "hostile") {
        for width in [80, 120] {
            let text = terminal::render(report, Screen { width: Some(width), colour: false });
            assert!(text.starts_with("scratch server; your data is untouched\n"), "{text}");
            assert!(text.trim_end().rsplit("\n\n").next().unwrap().starts_with("not proven: "), "{text}");
            let broad = text.lines().filter(|line| line.chars().count() > width).collect::<Vec<_>>();
            assert!(broad.iter().all(|line| !line.trim().contains(' ')), "{broad:?}");
            insta::assert_snapshot!(format!("terminal-{name}-{width}"), text);
        }
    }
    let coloured = terminal::render(&failed(), Screen { width: Some(80), colour: true });
    let plain = terminal::render(&failed(), Screen { width: Some(80), colour: false });
    let mut bare = coloured.clone();
    for code in ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[1;31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[36m"] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare, plain, "colours change no text");
    assert!(coloured.contains("\u{1b}[1;31mfail\u{1b}[0m  ORDERS"), "{coloured:?}");
    let hostile = terminal::render(&hostile(), Screen { width: Some(80), colour: false });
    assert!(!hostile.chars().any(|letter| letter.is_control() && letter != '\n'), "{hostile:?}");
}

#[test]
fn a_loss_that_was_never_promised_comes_with_the_row_that_says_so_what_would_protect_it_and_its_price() {
    for row in TABLE.iter().filter(|row| row.promise == Promise::No) {
        let kind = row.kinds.first().copied().unwrap_or(FaultKind::PowerCutExt4).name();
        let mut lost = cell("CACHE", kind, Cell::Unprotected);
        (lost.source, lost.remedy) = (row.source.to_owned(), row.remedy.map(str::to_owned));
        let mut found = finding("CACHE", kind, "lost all", Cell::Unprotected);
        found.source = row.source.to_owned();
        let report = report(Overall::Unprotected, vec![lost], vec![found]);
        let price = row.remedy.and_then(streamproof_trial::price::beside);
        assert_eq!(price.is_some(), row.when == When::Unsynced, "{row:?}");
        // One line each, and what Markdown and HTML escape as they were.
        let plain = |text: &str| text.replace("&amp;", "&").replace("&gt;", ">").replace('\\', "");
        for text in [
            terminal::render(&report, Screen { width: None, colour: false }),
            plain(&markdown::render(&report)),
            plain(&page::render(&report)),
        ] {
            let said = [Some(row.source), row.remedy, price.as_deref()];
            for said in said.into_iter().flatten() {
                assert!(text.contains(said), "{said} is not in: {text}");
            }
        }
    }
}

#[test]
fn junit_is_well_formed_of_the_common_schema_and_red_exactly_when_the_run_is() {
    for (name, report) in all() {
        let text = junit::render(&report);
        let document =
            roxmltree::Document::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
        for node in document.descendants().filter(roxmltree::Node::is_element) {
            check_schema(node);
        }
        let cases = document.descendants().filter(|node| node.has_tag_name("testcase")).count();
        let verdict = &report.verdict;
        let alone = usize::from(verdict.findings.iter().any(|finding| finding.fault.is_none()));
        assert_eq!(cases, verdict.faults.len() + verdict.controls.len() + 1 + alone, "{name}");
        let red =
            document.descendants().any(|node| node.has_tag_name("failure") || node.has_tag_name("error"));
        assert_eq!(red, report.is_bad(), "{name}");
        if name == "hostile" {
            let class = document.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
            let shown = HOSTILE.replace(['\u{1b}', '\u{0}'], "\u{fffd}");
            assert_eq!(class.attribute("classname"), Some(format!("restart-check.{shown}").as_str()));
        } else {
            insta::assert_snapshot!(format!("junit-{name}"), text);
        }
    }
}

/// What the schema allows (the one of Jenkins' xUnit plugin, `junit-10.xsd`, which is the strictest in use).
pub(crate) fn check_schema(node: roxmltree::Node<'_, '_>) {
    let (children, needed, allowed): (&[&str], &[&str], &[&str]) = match node.tag_name().name() {
        "testsuites" => (&["testsuite"], &[], &["name", "time", "tests", "failures", "errors"]),
        "testsuite" => (
            &["properties", "testcase", "system-out", "system-err"],
            &["name", "tests", "failures", "errors"],
            &[
                "name",
                "tests",
                "failures",
                "errors",
                "time",
                "skipped",
                "timestamp",
                "hostname",
                "id",
                "package",
            ],
        ),
        "properties" => (&["property"], &[], &[]),
        "property" => (&[], &["name", "value"], &["name", "value"]),
        "testcase" => (
            &["skipped", "error", "failure", "system-out", "system-err"],
            &["name", "classname"],
            &["name", "classname", "time"],
        ),
        "skipped" => (&[], &[], &["message", "type"]),
        "failure" | "error" => (&[], &[], &["message", "type"]),
        "system-out" => (&[], &[], &[]),
        other => panic!("<{other}> is not in the schema"),
    };
    for child in node.children().filter(roxmltree::Node::is_element) {
        assert!(
            children.contains(&child.tag_name().name()),
            "{:?} in {:?}",
            child.tag_name(),
            node.tag_name()
        );
    }
    for attribute in node.attributes() {
        assert!(allowed.contains(&attribute.name()), "{} of {:?}", attribute.name(), node.tag_name());
    }
    assert!(needed.iter().all(|name| node.has_attribute(*name)), "{:?}", node.tag_name());
    for (name, tag) in
        [("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")]
    {
        if let Some(count) = node.attribute(name) {
            let found = node.descendants().filter(|inner| inner.has_tag_name(tag)).count();
            assert_eq!(count, found.to_string(), "{name}");
        }
    }
}

#[test]
fn a_pull_request_gets_the_matrix_and_no_markup_from_outside() {
    for (name, report) in all() {
        let text = markdown::render(&report);
        if name == "hostile" {
            // Between backticks nothing is markup; and none from outside can end that, since every other one is escaped.
            let outside: String = text.replace("\\`", "").split('`').step_by(2).collect();
            assert!(!outside.contains("<script") && !outside.contains("@all"), "{text}");
            assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
            let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
            assert_eq!(rows.len(), 2, "one row for the stream, whatever its name: {rows:?}");
            let cells = rows.iter().map(|row| row.replace("\\|", "").matches('|').count());
            assert!(cells.clone().all(|count| count == 3), "{rows:?}");
        } else {
            insta::assert_snapshot!(format!("markdown-{name}"), text);
        }
    }
}

/// What the first start on a copy of a store came to: it lost some, and no stop was asked for.
fn first_start(faults: Vec<FaultVerdict>) -> Report {
    let mut lost = finding("BIG", "stop", "lost at the first start", Cell::Fail);
    (lost.invariant, lost.count, lost.age_us) = (Invariant::M2, 25, None);
    let mut report = report(Overall::Fail, faults, vec![lost]);
    report.place = Place::StoreCopy;
    report
}

#[test]
fn what_was_found_under_a_fault_that_no_cell_tells_of_has_a_row_in_every_rendering() {
    for faults in [vec![cell("BIG", "kill", Cell::Pass)], vec![cell("BIG", "stop", Cell::Pass)]] {
        let report = first_start(faults);
        let failed: Vec<_> = report
            .lines()
            .iter()
            .map(|line| (line.verdict, line.target.to_owned(), line.fault.map(str::to_owned)))
            .collect();
        assert_eq!(failed[0], (Cell::Fail, "BIG".to_owned(), Some("stop".to_owned())), "{failed:?}");
        let text = terminal::render(&report, Screen { width: None, colour: false });
        assert!(text.lines().any(|line| line.starts_with("fail  BIG  stop")), "{text}");
        let text = junit::render(&report);
        let document = roxmltree::Document::parse(&text).unwrap();
        let case = document
            .descendants()
            .find(|node| {
                node.attribute("classname") == Some("restart-check.BIG")
                    && node.attribute("name") == Some("stop")
            })
            .unwrap_or_else(|| panic!("no test case: {text}"));
        assert!(case.children().any(|node| node.has_tag_name("failure")), "{text}");
        let text = markdown::render(&report);
        let row = text.lines().find(|line| line.starts_with("| BIG |")).unwrap_or_else(|| panic!("{text}"));
        assert!(row.contains("**fail**"), "{text}");
        let text = page::render(&report);
        assert!(text.contains("<td class=\"fail\""), "{text}");
    }
}

#[test]
fn what_the_first_start_on_a_copy_loses_is_told_as_messages_and_not_as_times() {
    let report = first_start(vec![cell("BIG", "kill", Cell::Pass)]);
    let told = "25 messages lost at the first start on the copy (M2)";
    let terminal = terminal::render(&report, Screen { width: None, colour: false });
    for text in [&terminal, &markdown::render(&report), &junit::render(&report), &page::render(&report)] {
        assert!(text.contains(told), "{told} is not in: {text}");
        assert!(!text.contains("(25 times)"), "{text}");
    }
    // It is judged as a stop is, and none was asked for.
    assert!(terminal.contains(&format!("FAIL: BIG: {told}")), "{terminal}");
    assert!(!terminal.contains("BIG under stop"), "{terminal}");
}

#[test]
fn the_document_has_the_verdict_and_how_to_repeat_it() {
    let document = failed().document();
    let verdict: Verdict = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(verdict, failed().verdict);
    assert_eq!(document["repeat"], "cargo xtask restart-check --seed 7");
    assert_eq!(document["servers"][0]["sha256"], "ab".repeat(32));
}
