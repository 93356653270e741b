//! A plan for people: lines in columns, made of pieces of text that each have a role, so that whoever prints them can colour them.

use super::step::{Action, Bound, Change, Class, Effect, Loss, Plan, Step};
use super::{MARK_KEY, value};
use crate::desired::Kind;
use crate::fields::{KV, OBJECT, find};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a piece of text is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Something is made.
    Create,
    /// Something is changed in place.
    Update,
    /// Something is made anew.
    Replace,
    /// Something is removed.
    Delete,
    /// Data goes, or there is no way back.
    Danger,
    /// A field, or a remark below its step.
    Detail,
    /// A value that goes.
    From,
    /// A value that comes.
    To,
    /// What is left alone, or is only said beside.
    Quiet,
    /// The one-line summary.
    Summary,
}

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What it is about.
    pub role: Role,
    /// The text.
    pub text: String,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// Its pieces, from left to right, without an end of line.
    pub spans: Vec<Span>,
}

impl Line {
    fn of(role: Role, text: impl Into<String>) -> Line {
        Line::default().and(role, text)
    }

    fn and(mut self, role: Role, text: impl Into<String>) -> Line {
        let text = text.into();
        if !text.is_empty() {
            self.spans.push(Span { role, text });
        }
        self
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.spans.iter().map(|span| span.text.as_str()).collect();
        f.write_str(text.trim_end())
    }
}

/// A name longer than this does not push the column beside it further.
const WIDEST_NAME: usize = 40;
/// A value longer than this is told in a line of its own.
const WIDEST_VALUE: usize = 24;
/// What is made is told by its fields, in one line of at most so many characters.
const WIDEST_FIELDS: usize = 60;

/// The lines of a plan; the last is its summary.
#[must_use]
pub fn render(plan: &Plan) -> Vec<Line> {
    let columns = Columns::of(plan);
    let mut lines = Vec::new();
    for step in plan.changing() {
        step_lines(step, &columns, &mut lines);
    }
    let deleted =
        |name: &str| plan.steps.iter().any(|step| step.action == Action::Delete && step.name == name);
    for thing in plan.unmanaged.iter().filter(|thing| !deleted(&thing.name)) {
        let mark = if thing.ours { "unmanaged, carries our mark" } else { "unmanaged" };
        let name = title('?', thing.kind, &thing.name);
        lines.push(Line::of(Role::Quiet, format!("{name:width$}  {mark}", width = columns.title)));
    }
    lines.extend(plan.notes.iter().map(|note| Line::of(Role::Quiet, format!("  {note}"))));
    lines.push(Line::of(Role::Summary, summary(plan)));
    lines
}

/// How wide the columns are, over all steps.
struct Columns {
    title: usize,
    path: usize,
    from: usize,
    to: usize,
}

impl Columns {
    fn of(plan: &Plan) -> Columns {
        let widest = |lengths: &mut dyn Iterator<Item = usize>, most: usize| {
            lengths.filter(|length| *length <= most).max().unwrap_or(0)
        };
        let titles = plan.changing().map(|step| title(' ', step.kind, &step.name));
        let others = plan.unmanaged.iter().map(|thing| title(' ', thing.kind, &thing.name));
        let rows: Vec<Row> = plan
            .changing()
            .filter(|step| step.action != Action::Create)
            .flat_map(|step| step.changes.iter().flat_map(|change| rows(step.kind, change)))
            .collect();
        let values = |value: fn(&Row) -> Option<&String>| {
            rows.iter().filter(|row| row.fits()).filter_map(value).map(|text| width(text)).collect::<Vec<_>>()
        };
        Columns {
            title: widest(&mut titles.chain(others).map(|title| width(&title)), WIDEST_NAME),
            path: widest(&mut rows.iter().map(|row| width(&row.path)), WIDEST_NAME),
            from: widest(&mut values(|row| row.from.as_ref()).into_iter(), WIDEST_VALUE),
            to: widest(&mut values(|row| row.to.as_ref()).into_iter(), WIDEST_VALUE),
        }
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn title(sign: char, kind: Kind, name: &str) -> String {
    format!("{sign} {kind} {}", value::clean(name))
}

fn step_lines(step: &Step, columns: &Columns, lines: &mut Vec<Line>) {
    let (role, sign) = match step.action {
        Action::Create => (Role::Create, '+'),
        Action::Update => (Role::Update, '~'),
        Action::Replace => (Role::Replace, '!'),
        Action::Delete => (Role::Delete, '-'),
        Action::None => (Role::Quiet, ' '),
    };
    let what = match (step.action, step.effect) {
        _ if step.blocked.is_some() => "cannot be done".to_owned(),
        (Action::Create, _) => made(step),
        (Action::Replace, _) => "is replaced".to_owned(),
        (Action::Delete, _) => "is deleted".to_owned(),
        (_, Effect::OneWay) => "in place, cannot be undone".to_owned(),
        (_, Effect::Ineffective) => "in place, has no effect".to_owned(),
        _ => "in place".to_owned(),
    };
    let beside = match (step.action, step.effect) {
        _ if step.blocked.is_some() => Role::Danger,
        (Action::Create, _) | (Action::Update, Effect::InPlace) => Role::Quiet,
        _ => Role::Danger,
    };
    let name = format!("{:width$}  ", title(sign, step.kind, &step.name), width = columns.title);
    lines.push(Line::of(role, name).and(beside, what));
    if step.action != Action::Create {
        for change in &step.changes {
            lines.extend(rows(step.kind, change).iter().flat_map(|row| row.lines(columns)));
        }
    }
    let mut say = |role, text: String| lines.push(Line::of(role, format!("    {text}")));
    if !step.why.is_empty() {
        say(if step.effect == Effect::InPlace { Role::Detail } else { Role::Danger }, step.why.clone());
    }
    if let Some(loss) = &step.loses {
        say(Role::Danger, format!("deletes {}", loss_words(loss)));
    }
    for note in &step.notes {
        say(Role::Detail, note.clone());
    }
    if let Some(why) = &step.blocked {
        say(Role::Danger, format!("cannot be done: {why}"));
    }
    if !step.needs.is_empty() {
        say(Role::Danger, format!("needs {}", step.needs.join(" ")));
    }
}

/// What is made, by the fields that were written for it.
fn made(step: &Step) -> String {
    let of_bucket = |key: &str| match step.kind {
        Kind::Kv => find(KV, key).is_some(),
        Kind::Object => find(OBJECT, key).is_some(),
        _ => true,
    };
    let mut text = String::new();
    for change in &step.changes {
        let key = written(step.kind, &change.path);
        if key == "metadata" && change.to.get(MARK_KEY).is_some() || !of_bucket(key) {
            continue;
        }
        let next = format!("{key} {}", value::words(&change.path, &change.to));
        let separator = if text.is_empty() { "" } else { ", " };
        if width(&text) + width(&next) > WIDEST_FIELDS {
            text.push_str(separator);
            text.push('…');
            break;
        }
        text.push_str(separator);
        text.push_str(&next);
    }
    text
}

/// The key of the file that a field of the stream comes from.
fn written(kind: Kind, path: &str) -> &str {
    if !matches!(kind, Kind::Kv | Kind::Object) {
        return path;
    }
    match path {
        "max_age" => "ttl",
        "max_msgs_per_subject" => "history",
        "max_msg_size" => "max_value_size",
        "subject_delete_marker_ttl" => "limit_marker_ttl",
        other => other,
    }
}

/// One change of a field, or of one item of a list.
struct Row {
    path: String,
    /// `None`: an item comes.
    from: Option<String>,
    /// `None`: an item goes.
    to: Option<String>,
    remarks: Vec<(Role, &'static str)>,
}

/// A list is told item by item, anything else by its values.
fn rows(kind: Kind, change: &Change) -> Vec<Row> {
    let path = value::clean(written(kind, &change.path));
    let effect = match change.effect {
        Effect::InPlace => None,
        Effect::Replace => Some((Role::Danger, "needs replacing")),
        Effect::OneWay => Some((Role::Danger, "cannot be undone")),
        Effect::Ineffective => Some((Role::Danger, "has no effect")),
    };
    let drift = (change.class == Class::Drift).then_some((Role::Quiet, "in no file"));
    let remarks: Vec<_> = effect.into_iter().chain(drift).collect();
    let list = |value: &Value| -> Option<Vec<String>> {
        match value {
            Value::Array(items) => Some(items.iter().map(|item| value::words(&change.path, item)).collect()),
            Value::Null => Some(Vec::new()),
            _ => None,
        }
    };
    let (from, to) = (list(&change.from), list(&change.to));
    let (true, Some(from), Some(to)) = (change.from.is_array() || change.to.is_array(), from, to) else {
        let words = |value: &Value| Some(value::words(&change.path, value));
        return vec![Row { path, from: words(&change.from), to: words(&change.to), remarks }];
    };
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (from.iter().collect(), to.iter().collect());
    let gone = from.iter().filter(|item| !after.contains(item));
    let come = to.iter().filter(|item| !before.contains(item));
    let item = |from: Option<&String>, to: Option<&String>| Row {
        path: String::new(),
        from: from.cloned(),
        to: to.cloned(),
        remarks: Vec::new(),
    };
    let mut rows: Vec<Row> =
        gone.map(|text| item(Some(text), None)).chain(come.map(|text| item(None, Some(text)))).collect();
    match rows.first_mut() {
        Some(first) => (first.path, first.remarks) = (path, remarks),
        // The same items in another order, or another number of them.
        None => rows.push(Row { path, from: Some(from.join(", ")), to: Some(to.join(", ")), remarks }),
    }
    rows
}

impl Row {
    fn fits(&self) -> bool {
        [&self.from, &self.to].into_iter().flatten().all(|text| width(text) <= WIDEST_VALUE)
    }

    fn lines(&self, columns: &Columns) -> Vec<Line> {
        let path = format!("    {:width$}  ", self.path, width = columns.path);
        let both = columns.from + 4 + columns.to;
        let said = |line: Line, used: usize| {
            let mut line = line.and(Role::Detail, " ".repeat(both.saturating_sub(used)));
            for (role, remark) in &self.remarks {
                line = line.and(*role, format!("  {remark}"));
            }
            line
        };
        let pad = |text: &str, to: usize| " ".repeat(to.saturating_sub(width(text)));
        match (&self.from, &self.to) {
            (Some(from), Some(to)) if self.fits() => {
                let line = Line::of(Role::Detail, path)
                    .and(Role::From, from.clone())
                    .and(Role::Detail, format!("{} -> ", pad(from, columns.from)))
                    .and(Role::To, to.clone());
                vec![said(line, columns.from + 4 + width(to))]
            }
            (Some(from), Some(to)) => {
                let below = " ".repeat(4 + columns.path + 2);
                vec![
                    said(Line::of(Role::Detail, path).and(Role::From, format!("- {from}")), width(from) + 2),
                    Line::of(Role::Detail, below).and(Role::To, format!("+ {to}")),
                ]
            }
            (Some(from), None) => {
                vec![said(Line::of(Role::Detail, path).and(Role::From, format!("- {from}")), width(from) + 2)]
            }
            (None, Some(to)) => {
                vec![said(Line::of(Role::Detail, path).and(Role::To, format!("+ {to}")), width(to) + 2)]
            }
            (None, None) => Vec::new(),
        }
    }
}

/// A loss in words: `1,204 messages (3.1 MiB)`, with how well that is known.
#[must_use]
pub(super) fn loss_words(loss: &Loss) -> String {
    let messages = format!("{}{} messages", bound(loss.messages_bound), thousands(loss.messages));
    format!("{messages} ({}{} bytes)", bound(loss.bytes_bound), thousands(loss.bytes))
}

fn bound(bound: Bound) -> &'static str {
    match bound {
        Bound::Exact => "",
        Bound::AtMost => "up to ",
        Bound::AtLeast => "at least ",
        Bound::About => "about ",
    }
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

fn summary(plan: &Plan) -> String {
    let count = |action: Action| plan.steps.iter().filter(|s| s.action == action).count();
    let same = count(Action::None);
    if plan.pending == 0 {
        return format!("in line: {same} checked, nothing to do");
    }
    let parts = [
        (Action::Create, "to create"),
        (Action::Update, "to update"),
        (Action::Replace, "to replace"),
        (Action::Delete, "to delete"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(action, words)| (count(action), words))
        .filter(|(n, _)| *n > 0)
        .map(|(n, words)| format!("{n} {words}"))
        .collect();
    let mut text = format!("{}; {same} in line", parts.join(", "));
    let losses: Vec<&Loss> = plan.changing().filter_map(|step| step.loses.as_ref()).collect();
    if let Some(first) = losses.first() {
        let same = losses.iter().all(|loss| loss.messages_bound == first.messages_bound);
        let how = bound(if same { first.messages_bound } else { Bound::About });
        let sum = losses.iter().fold(0, |sum: u64, loss| sum.saturating_add(loss.messages));
        text.push_str(&format!("; deletes {how}{} messages", thousands(sum)));
    }
    let blocked = plan.changing().filter(|step| step.blocked.is_some()).count();
    if blocked > 0 {
        text.push_str(&format!("; {blocked} cannot be done"));
    }
    text
}
