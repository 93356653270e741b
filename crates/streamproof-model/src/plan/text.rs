//! A plan for people: lines of text, each with its role, so that whoever prints them can colour them.

use super::step::{Action, Bound, Change, Class, Effect, Loss, Plan, Step};
use crate::desired::Kind;
use serde_json::Value;

/// What a line is about.
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
    /// What is left alone.
    Quiet,
    /// The one-line summary.
    Summary,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub role: Role,
    /// The text, without an end of line.
    pub text: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The lines of a plan; the last is its summary.
#[must_use]
pub fn render(plan: &Plan) -> Vec<Line> {
    let mut lines = Vec::new();
    for step in plan.changing() {
        lines.extend(step_lines(step));
    }
    for thing in &plan.unmanaged {
        let mark = if thing.ours { ", carries our mark" } else { "" };
        let text = format!("? {} {}  unmanaged{mark}", thing.kind, thing.name);
        lines.push(Line { role: Role::Quiet, text });
    }
    lines.extend(plan.notes.iter().map(|note| Line { role: Role::Quiet, text: format!("  {note}") }));
    lines.push(Line { role: Role::Summary, text: summary(plan) });
    lines
}

fn step_lines(step: &Step) -> Vec<Line> {
    let (role, sign) = match step.action {
        Action::Create => (Role::Create, '+'),
        Action::Update => (Role::Update, '~'),
        Action::Replace => (Role::Replace, '!'),
        Action::Delete => (Role::Delete, '-'),
        Action::None => (Role::Quiet, ' '),
    };
    let mut lines = vec![Line { role, text: format!("{sign} {} {}", step.kind, step.name) }];
    let width = step.changes.iter().map(|c| written(step.kind, &c.path).len()).max().unwrap_or(0);
    if step.action != Action::Create {
        lines.extend(step.changes.iter().map(|change| change_line(step.kind, change, width)));
    }
    let mut say = |role, text: String| lines.push(Line { role, text: format!("    {text}") });
    if !step.why.is_empty() {
        let role = if step.effect == Effect::InPlace { Role::Detail } else { Role::Danger };
        say(role, step.why.clone());
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
    lines
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

fn change_line(kind: Kind, change: &Change, width: usize) -> Line {
    let effect = match change.effect {
        Effect::InPlace => "",
        Effect::Replace => "  needs replacing",
        Effect::OneWay => "  cannot be undone",
        Effect::Ineffective => "  has no effect",
    };
    let drift = if change.class == Class::Drift { "  (in no file)" } else { "" };
    let role = if change.effect == Effect::InPlace { Role::Detail } else { Role::Danger };
    let text = format!(
        "    {:width$}  {} -> {}{drift}{effect}",
        written(kind, &change.path),
        value_words(&change.path, &change.from),
        value_words(&change.path, &change.to)
    );
    Line { role, text }
}

fn value_words(path: &str, value: &Value) -> String {
    let last = path.rsplit('.').next().unwrap_or(path);
    let duration = matches!(
        last,
        "max_age"
            | "duplicate_window"
            | "ack_wait"
            | "max_expires"
            | "idle_heartbeat"
            | "inactive_threshold"
            | "subject_delete_marker_ttl"
            | "priority_timeout"
    );
    match value {
        Value::Null => "nothing".into(),
        Value::Number(n) if duration => n.as_u64().map_or_else(|| n.to_string(), crate::duration::format),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A loss in words: `1,204 messages (3.1 MiB)`, with how well that is known.
#[must_use]
pub(super) fn loss_words(loss: &Loss) -> String {
    let bound = |bound: Bound| match bound {
        Bound::Exact => "",
        Bound::AtMost => "up to ",
        Bound::AtLeast => "at least ",
        Bound::About => "about ",
    };
    let messages = format!("{}{} messages", bound(loss.messages_bound), thousands(loss.messages));
    format!("{messages} ({}{} bytes)", bound(loss.bytes_bound), thousands(loss.bytes))
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
    format!("{}; {same} in line", parts.join(", "))
}
