//! What a person or a script sees: stdout is the answer, stderr is everything else.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use streamproof::model::failure::{Code, Exit};

use crate::flags::{Global, When};
use crate::problem::Problem;

/// The schema that every JSON document names.
pub(crate) const SCHEMA: &str = "streamproof/1";

/// How a command ended well: what it answers, for people and for machines.
#[derive(Debug)]
pub(crate) struct Done {
    /// The status to end with; not always 0 (`status` of a stopped server, a failed proof).
    pub(crate) exit: Exit,
    /// The name that goes with a status other than 0.
    pub(crate) code: Option<Code>,
    /// The `data` of the JSON document.
    pub(crate) data: Value,
    /// The answer for people, on stdout.
    pub(crate) text: String,
}

impl Done {
    pub(crate) fn new(text: impl Into<String>, data: Value) -> Self {
        Self { exit: Exit::Ok, code: None, data, text: text.into() }
    }

    pub(crate) fn ending(mut self, code: Code) -> Self {
        self.exit = code.exit();
        self.code = Some(code);
        self
    }
}

/// The terminal, and what was agreed about it.
pub(crate) struct Out {
    pub(crate) json: bool,
    pub(crate) verbose: u8,
    quiet: bool,
    colour_out: bool,
    colour_err: bool,
    warnings: RefCell<Vec<String>>,
    live: RefCell<Option<ProgressBar>>,
    last_step: RefCell<Instant>,
}

/// Roles that text can have; each is a colour on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Good,
    Bad,
    Careful,
    Quiet,
    Strong,
}

impl Out {
    pub(crate) fn new(global: &Global) -> Self {
        let wanted = |terminal: bool| match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Self {
            json: global.json,
            verbose: global.verbose,
            quiet: global.quiet,
            colour_out: wanted(std::io::stdout().is_terminal()),
            colour_err: wanted(std::io::stderr().is_terminal()),
            warnings: RefCell::new(Vec::new()),
            live: RefCell::new(None),
            last_step: RefCell::new(Instant::now()),
        }
    }

    /// Paints text that goes to stdout.
    pub(crate) fn paint(&self, role: Role, text: &str) -> String {
        paint(self.colour_out, role, text)
    }

    /// How stdout is drawn on: how wide, where it is a terminal, and whether with colours.
    #[cfg(feature = "proof")]
    pub(crate) fn screen(&self) -> (Option<usize>, bool) {
        let size = terminal_size::terminal_size_of(std::io::stdout());
        (size.map(|(width, _)| usize::from(width.0)), self.colour_out)
    }

    /// Shows what is being waited for, on a terminal only.
    pub(crate) fn doing(&self, text: &str) {
        if self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let mut live = self.live.borrow_mut();
        let bar = live.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(text.to_owned());
    }

    /// Shows how far it is, on a terminal only.
    #[cfg(feature = "proof")]
    pub(crate) fn progress(&self, text: &str, done: u64, of: u64) {
        self.doing(text);
        let live = self.live.borrow();
        let Some(bar) = live.as_ref() else { return };
        let template = if of > 0 { "{spinner} {msg}  {bar:24} {percent:>3} %" } else { "{spinner} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_length(of);
        bar.set_position(done);
    }

    /// A step is done: its name, what came of it, and how long it took since the one before.
    pub(crate) fn step(&self, name: &str, text: &str) {
        self.clear();
        let took = self.last_step.replace(Instant::now()).elapsed();
        if self.quiet {
            return;
        }
        let mark = paint(self.colour_err, Role::Good, "✓");
        let took = paint(self.colour_err, Role::Quiet, &format!("{:.1}s", took.as_secs_f64()));
        self.err_line(&format!("{mark} {name:<9} {text}  {took}"));
    }

    /// A line of progress or advice, on stderr.
    pub(crate) fn note(&self, text: &str) {
        self.clear();
        if !self.quiet {
            self.err_line(text);
        }
    }

    /// A warning: on stderr, and in the JSON document.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.clear();
        let text = text.into();
        let word = paint(self.colour_err, Role::Careful, "warning:");
        self.err_line(&format!("{word} {text}"));
        self.warnings.borrow_mut().push(text);
    }

    /// A warning that points into a file: drawn with its line on stderr, and in the JSON document.
    pub(crate) fn warn_about(&self, problem: &Problem) {
        self.clear();
        self.err_line(problem.render(self.colour_err).trim_end());
        self.warnings.borrow_mut().push(problem.summary());
    }

    /// Lines of an answer that come as they are made (`logs -f`), not in JSON.
    pub(crate) fn line(&self, text: &str) {
        // A reader that went away (`| head`) has what it wanted.
        _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Ends the command: prints the answer or the error, and returns the status.
    pub(crate) fn end(&self, command: &str, result: Result<Done, Problem>) -> Exit {
        self.clear();
        let exit = match &result {
            Ok(done) => done.exit,
            Err(problem) => problem.code.exit(),
        };
        if self.json {
            let document = envelope(command, &result, &self.warnings.borrow());
            self.line(&document.to_string());
        } else if let Ok(done) = &result
            && !done.text.is_empty()
        {
            self.line(done.text.trim_end_matches('\n'));
        }
        if let Err(problem) = &result
            && !self.json
        {
            self.err_line(problem.render(self.colour_err).trim_end());
        }
        exit
    }

    fn clear(&self) {
        if let Some(bar) = self.live.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }

    fn err_line(&self, text: &str) {
        _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// The one JSON document of a command. All keys are always there.
fn envelope(command: &str, result: &Result<Done, Problem>, warnings: &[String]) -> Value {
    let (exit, code, data, error) = match result {
        Ok(done) => (done.exit, done.code, done.data.clone(), Value::Null),
        Err(problem) => (problem.code.exit(), Some(problem.code), problem.data.clone(), problem.to_json()),
    };
    json!({
        "schema": SCHEMA,
        "command": command,
        "ok": exit == Exit::Ok,
        "exit": exit.status(),
        "code": code.map(Code::name),
        "data": data,
        "warnings": warnings,
        "error": error,
    })
}

fn paint(on: bool, role: Role, text: &str) -> String {
    if !on {
        return text.to_owned();
    }
    let code = match role {
        Role::Good => "32",
        Role::Bad => "31",
        Role::Careful => "33",
        Role::Quiet => "2",
        Role::Strong => "1",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Lays rows out in columns; a row's last cell is not padded.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|i| rows.iter().filter_map(|row| row.get(i)).map(|cell| width(cell)).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if i + 1 < row.len() {
                line.extend(std::iter::repeat_n(' ', widths[i] - width(cell) + 2));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How wide a cell is on the screen: what only sets its colour takes no room.
fn width(cell: &str) -> usize {
    let mut parts = cell.split('\u{1b}');
    let first = parts.next().map_or(0, |plain| plain.chars().count());
    first
        + parts.map(|part| part.split_once('m').map_or(0, |(_, plain)| plain.chars().count())).sum::<usize>()
}

/// A number of things, for people.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A size in bytes, for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_envelope_is_always_there() {
        let good = envelope("up", &Ok(Done::new("x", json!({"url": "u"}))), &[]);
        let bad = envelope("up", &Err(Problem::new(Code::PortInUse, "taken")), &["w".to_owned()]);
        let keys = |v: &Value| v.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>());
        assert_eq!(keys(&good), keys(&bad));
        assert_eq!(bad["exit"], 6);
        assert_eq!(bad["error"]["code"], "port-in-use");
        assert_eq!(bad["code"], "port-in-use");
        assert_eq!(good["ok"], true);
    }

    #[test]
    fn columns_stand_below_each_other_whatever_their_colour() {
        let row = |role, word: &str| vec![paint(true, role, word), "next".to_owned()];
        let shown = columns(&[row(Role::Good, "ok"), row(Role::Quiet, "info"), row(Role::Strong, "warn")]);
        let at = |line: &str| width(line.split("next").next().unwrap_or_default());
        assert_eq!(shown.lines().map(at).collect::<Vec<_>>(), [6, 6, 6], "{shown:?}");
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
    }
}
