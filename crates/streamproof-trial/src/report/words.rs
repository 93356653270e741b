//! Findings in plain words.

use streamproof_checker::{Blame, Cell, Example, Finding, Invariant, Measure, Overall, Verdict};

/// The one sentence that matters most, with its verdict and the server.
#[must_use]
pub fn headline(verdict: &Verdict) -> String {
    let (what, server) = (matter(verdict), &verdict.server);
    let restarts = count(verdict.restarts_verified, "restart");
    match verdict.verdict {
        Overall::Pass => format!("pass: {what} of nats-server {server}"),
        Overall::Accepted => format!("accepted: {what} (nats-server {server}, {restarts})"),
        Overall::Unprotected => format!("unprotected: {what} (nats-server {server}, {restarts})"),
        Overall::Fail => format!("FAIL: {what} (nats-server {server}, {restarts})"),
        Overall::Inconclusive => format!("inconclusive: {what}"),
        Overall::SelfCheckFailed => format!("SELF-CHECK FAILED: {what}"),
    }
}

/// The one sentence that matters most.
#[must_use]
pub fn matter(verdict: &Verdict) -> String {
    let worst = |cell: Cell| {
        verdict.findings.iter().filter(|finding| finding.verdict == cell).min_by_key(|finding| order(finding))
    };
    let told = |cell: Cell| {
        worst(cell).map(|worst| format!("{}: {}", place(worst, worst.fault.as_deref()), sentence(worst)))
    };
    match verdict.verdict {
        Overall::Pass => format!("no loss found in {}", count(verdict.restarts_verified, "restart")),
        Overall::Accepted => told(Cell::Accepted).unwrap_or_default(),
        Overall::Unprotected => told(Cell::Unprotected).unwrap_or_default(),
        Overall::Fail => told(Cell::Fail)
            .unwrap_or_else(|| "--strict, and something is unprotected or not proven".to_owned()),
        Overall::Inconclusive => {
            verdict.inconclusive.first().cloned().unwrap_or_else(|| "no proof was given".to_owned())
        }
        Overall::SelfCheckFailed => {
            "damage done on purpose was not found as it must be; nothing below counts".to_owned()
        }
    }
}

/// A finding in one sentence, with its invariant, its ages and the known defect that it is.
#[must_use]
pub fn sentence(finding: &Finding) -> String {
    let ages = finding.age_us.map_or(String::new(), |(least, most)| {
        let sent = if finding.count == 1 { "sent" } else { "they were sent" };
        format!("; {sent} {} before the fault", ages(least, most))
    });
    let known = finding.known.as_ref().map_or(String::new(), |name| format!(", known as {name}"));
    let states = match finding.states {
        0 => String::new(),
        states => format!("; {}", in_states(states, finding.count)),
    };
    format!("{}{ages}{states} ({}{known})", what(finding), finding.invariant.name())
}

/// Where crash states show something: how many do, and that it is no more than the worst of them shows.
pub(crate) fn in_states(states: u64, most: u64) -> String {
    let of = count(states, "crash state");
    if states == 1 || most == 1 { format!("in {of}") } else { format!("in the worst of {of}") }
}

/// The same, beside the name of the stream: a finding of a consumer says of which.
#[must_use]
pub fn sentence_in_stream(finding: &Finding) -> String {
    match finding.target.split_once(" > ") {
        Some((_, consumer)) => format!("{consumer}: {}", sentence(finding)),
        None => sentence(finding),
    }
}

/// What was found, in a phrase that begins with how many.
#[must_use]
pub fn what(finding: &Finding) -> String {
    use Invariant as I;
    let n = finding.count;
    let lost = || match finding.invariant {
        I::M2 => format!("{} lost that had been read", count(n, "message")),
        _ => format!("{} lost", count(n, "acked message")),
    };
    let many = |word: &str| count(n, word);
    let times = || if n == 1 { String::new() } else { format!(" ({n} times)") };
    match (finding.invariant, finding.class.as_str()) {
        (I::M2, "lost at the first start") => {
            format!("{} lost at the first start on the copy", many("message"))
        }
        (I::M2, "lost all at the first start") => {
            format!("{} lost at the first start on the copy: all that the stream held", many("message"))
        }
        (I::M7, class) if is_of_first_start(class) => format!("its {class} on the copy{}", times()),
        (I::M1 | I::M2, "lost all") => format!("{}: all that the stream held", lost()),
        (I::M1 | I::M2, "lost prefix") => format!("{}: the oldest of the stream", lost()),
        (I::M1 | I::M2, "lost middle") => format!("{}: from the middle of the stream", lost()),
        (I::M1 | I::M2, "lost tail") => format!("{}: the newest of the stream", lost()),
        (I::M1 | I::M2, "lost, sequence used again") => {
            format!("{}: their sequences were given to others", lost())
        }
        (I::M1, class) if class.starts_with("altered") => {
            format!("{} with another {} than was sent", many("message"), class.trim_start_matches("altered "))
        }
        (I::M3, _) => format!("{} stored that nobody sent", many("message")),
        (I::M4, "acked twice") => format!("{} acked at two sequences", many("message")),
        (I::M4, _) => format!("{} stored more than once", many("message")),
        (I::M6, _) => format!("{} given to a second message", many("sequence")),
        (I::M7, "returned, evicted") => format!("{} back that a limit had removed", many("message")),
        (I::M7, "returned, gone at a stop") => {
            format!("{} back that a restart before had shown to be gone", many("message"))
        }
        (I::M7, "returned, wrong first") => {
            format!("{} back though they had been removed, as the index was refused", many("message"))
        }
        (I::M7, class) if class.starts_with("returned") => {
            format!("{} back that had been deleted", many("message"))
        }
        (I::M7, class) => format!("its {class}{}", times()),
        (I::M10, "stored again") => format!("{} stored again within the duplicate window", many("message")),
        (I::M11, "unreadable") => format!("{} that cannot be read", many("message")),
        (I::M12, _) => format!("{} stored in part", many("batch")),
        (I::K1, class) => format!("{class}{}", times()),
        (I::K2, "changed") => format!("its configuration changed{}", times()),
        (I::K2, class) => format!("its configuration changed: {class}{}", times()),
        (I::K3, _) => format!("its creation time changed{}", times()),
        (I::K4, _) => format!("applying its file again would change it{}", times()),
        (I::C1, _) => format!("{} delivered again", many("message whose ack was answered")),
        (I::C3, class) => format!("its {class}{}", times()).replace("its below", "its ack floor is below"),
        (I::C4, _) => format!("it is ahead of its stream{}", times()),
        (I::C5, "canary not delivered") => format!("a new message was not delivered{}", times()),
        (I::C5, class) => format!("{} {class}", many("unacked message")),
        (I::C9, _) => format!("{} acked by all, and still there", many("message")),
        (I::V1, "last value lost") => format!("the last value of {} lost", many("key")),
        (I::X1, "missing in mirror") => {
            format!("{} that the origin has, and the mirror has not", many("message"))
        }
        (I::A1, "not recovered") => format!("the server did not come back{}", times()),
        (_, class) => format!("{class}{}", times()),
    }
}

/// Whose fault it is, in words.
#[must_use]
pub fn blame(blame: Blame) -> &'static str {
    match blame {
        Blame::Server => "the server broke its promise",
        Blame::Config => "never promised by this configuration",
    }
}

/// Acks that the server had answered, and whose messages came again.
#[must_use]
pub fn redelivered(measure: &Measure) -> String {
    // The oldest is that of any crash state: it tells how long the server takes to write.
    let (states, of_all) = match measure.states {
        0 => (String::new(), ""),
        states => (format!(" {}", in_states(states, measure.count)), " of all"),
    };
    format!(
        "{} of {}{} came again{states}, the oldest{of_all} {} before the fault; the server writes them after its answer",
        count(measure.count, "answered ack"),
        measure.target,
        under(measure.fault.as_deref()),
        age(measure.max_us),
    )
}

/// What a pass says: never that anything is safe.
#[must_use]
pub fn no_loss(bites: u64, tries: u64) -> String {
    let spared = match tries - bites.min(tries) {
        0 => String::new(),
        spared => format!(" ({} more did not bite)", number(spared)),
    };
    format!("no loss found in {}{spared}", count(bites, "try"))
}

/// What an inconclusive cell says: the fault did not bite, or what it left was not read back whole; `shown` says which.
#[must_use]
pub fn no_try(shown: &str) -> String {
    format!("no try counts: {shown}")
}

/// One violation in a line: which message, and what was seen.
#[must_use]
pub fn example(example: &Example) -> String {
    let mut words = Vec::new();
    if let Some(seq) = example.seq {
        words.push(format!("sequence {seq}"));
    }
    if let Some(message) = &example.message {
        words.push(format!("message {message}"));
    }
    if let Some(subject) = &example.subject {
        words.push(format!("on {subject}"));
    }
    format!("{}{}{}", words.join(" "), if words.is_empty() { "" } else { ": " }, example.text)
}

/// Whether messages are gone that must be there.
#[must_use]
pub fn is_loss(finding: &Finding) -> bool {
    matches!(finding.invariant, Invariant::M1 | Invariant::M2) && finding.class.starts_with("lost")
}

/// Worst first: by its verdict, by how much it matters to who lost it, and what is new before what is known.
pub(crate) fn order(finding: &Finding) -> (u8, u8, bool, Invariant) {
    let (weight, invariant) = weight(finding);
    (rank(finding.verdict), weight, finding.known.is_some(), invariant)
}

/// A finding in two or three words, for a cell of a table.
#[must_use]
pub fn short(finding: &Finding) -> String {
    let n = number(finding.count);
    match (finding.invariant, finding.class.as_str()) {
        _ if is_loss(finding) => format!("{n} lost"),
        (Invariant::M1, _) => format!("{n} altered"),
        (Invariant::C1, _) => format!("{n} came again"),
        (Invariant::K3, _) => "creation time".to_owned(),
        (Invariant::A1, class) => class.to_owned(),
        (_, class) if finding.count == 1 => class.to_owned(),
        (_, class) => format!("{n} × {class}"),
    }
}

/// How heavy a finding is within one verdict: lost messages before anything else, then what else is wrong with messages.
fn weight(finding: &Finding) -> (u8, Invariant) {
    use Invariant as I;
    let first = match finding.invariant {
        I::M1 if finding.class.starts_with("lost") => 0,
        I::A1 if finding.class == "not recovered" => 1,
        I::M1 | I::M2 | I::M6 => 2,
        I::M7 if finding.class.starts_with("returned") => 2,
        I::K1 | I::V1 => 3,
        I::C5 | I::C1 => 4,
        _ => 5,
    };
    (first, finding.invariant)
}

/// Worst first.
pub(crate) fn rank(cell: Cell) -> u8 {
    match cell {
        Cell::Fail => 0,
        Cell::Unprotected => 1,
        Cell::Inconclusive => 2,
        Cell::NotProven => 3,
        Cell::Accepted => 4,
        Cell::Pass => 5,
    }
}

/// The stream of a target that may be a consumer.
#[must_use]
pub fn stream_of(target: &str) -> &str {
    target.split(" > ").next().unwrap_or(target)
}

/// What an invariant says.
#[must_use]
pub fn meaning(invariant: Invariant) -> &'static str {
    use Invariant as I;
    match invariant {
        I::M1 => "what was acked is there, as it was sent",
        I::M2 => "what was read stays",
        I::M3 => "nothing is stored that nobody sent",
        I::M4 => "a message is stored once",
        I::M5 => "sequences follow the order of acks",
        I::M6 => "a sequence is never given twice",
        I::M7 => "first and last sequence never fall, and what was deleted stays so",
        I::M8 => "limits are respected",
        I::M9 => "messages end with their time to live, and not before",
        I::M10 => "duplicates are known after a restart",
        I::M11 => "the stream's state agrees with what it holds",
        I::M12 => "a batch is stored whole or not at all",
        I::K1 => "streams and consumers are the same",
        I::K2 => "the configuration is the same",
        I::K3 => "the time of creation is the same",
        I::K4 => "applying the files again changes nothing",
        I::C1 => "a message whose ack was answered does not come again",
        I::C3 => "the ack floor does not fall",
        I::C4 => "a consumer is never ahead of its stream",
        I::C5 => "what is not acked is delivered",
        I::C6 => "the consumer's counts agree with the stream",
        I::C7 => "deliveries are counted, and bounded",
        I::C8 => "only matching messages are delivered, in order",
        I::C9 => "a work queue or interest stream holds what is unacked, and only that",
        I::V1 => "a key has its last value",
        I::X1 => "a mirror equals its origin",
        I::A1 => "the server comes back and answers",
    }
}

/// Where something was found: `ORDERS under stop`. What the first start on the copy of a store did says so itself: it is judged by
/// what is promised of a stop, and there was none.
#[must_use]
pub fn place(finding: &Finding, fault: Option<&str>) -> String {
    let under = if is_of_first_start(&finding.class) { String::new() } else { under(fault) };
    format!("{}{under}", finding.target)
}

fn is_of_first_start(class: &str) -> bool {
    class.ends_with("at the first start")
}

/// `under stop`, or nothing.
pub(crate) fn under(fault: Option<&str>) -> String {
    fault.map_or(" without any fault".to_owned(), |fault| format!(" under {fault}"))
}

/// A time in µs, short.
#[must_use]
pub fn age(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", us / 1000),
        1_000_000..120_000_000 => format!("{:.1} s", us as f64 / 1e6),
        _ => format!("{:.1} min", us as f64 / 6e7),
    }
}

/// From the least age to the most; one, where both read the same.
#[must_use]
pub fn ages(least: u64, most: u64) -> String {
    let (least, most) = (age(least), age(most));
    if least == most { most } else { format!("{least} to {most}") }
}

/// How many of something, with thousands set apart.
#[must_use]
pub fn count(n: u64, word: &str) -> String {
    let plural = match word {
        _ if n == 1 => word.to_owned(),
        "try" => "tries".to_owned(),
        "batch" | "publish" => format!("{word}es"),
        "stream and fault" => "streams and faults".to_owned(),
        _ => match word.split_once(' ') {
            Some((head @ "message", rest)) => {
                format!("{head}s {rest}").replace("whose ack was", "whose acks were")
            }
            _ => format!("{word}s"),
        },
    };
    format!("{} {plural}", number(n))
}

/// A number with its thousands set apart.
#[must_use]
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crash_states_show_is_told_as_the_worst_of_them() {
        let told = [(1, 5), (9, 1), (1_200, 5)].map(|(states, most)| in_states(states, most));
        assert_eq!(told, ["in 1 crash state", "in 9 crash states", "in the worst of 1,200 crash states"]);
    }

    #[test]
    fn ages_that_read_the_same_are_one() {
        assert_eq!(
            [(80_100, 80_900), (900, 900), (900, 20_000)].map(|(least, most)| ages(least, most)),
            ["80 ms", "900 µs", "900 µs to 20 ms"]
        );
    }

    #[test]
    fn a_configuration_that_changed_says_so_once() {
        let mut changed: Finding = serde_json::from_value(serde_json::json!({
            "invariant": "K2", "fault": null, "target": "S", "class": "changed", "count": 1, "blame": "server",
            "known": null, "verdict": "fail", "age_us": null, "source": "", "examples": []
        }))
        .unwrap();
        assert_eq!(what(&changed), "its configuration changed");
        changed.count = 2;
        assert_eq!(what(&changed), "its configuration changed (2 times)");
    }

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(count(1, "acked message"), "1 acked message");
        assert_eq!(count(2, "message whose ack was answered"), "2 messages whose acks were answered");
        assert_eq!(
            [900, 1_500, 20_000, 2_500_000, 180_000_000].map(age),
            ["900 µs", "1.5 ms", "20 ms", "2.5 s", "3.0 min"]
        );
    }
}
