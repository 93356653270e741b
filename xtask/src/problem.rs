//! What went wrong, as it is shown: a stable name, what was found, the place, and what to do.

use std::fmt;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, Severity, SourceCode};
use serde_json::{Value, json};
use streamproof::model::failure::{Code, Failure, Place};

use crate::excerpt::Excerpt;

/// A failure (or a warning that points into a file) on its way to the user.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) place: Option<Place>,
    /// What the command knows all the same (the plan that was refused), for the JSON document.
    pub(crate) data: Value,
    /// The rule's own name, where it is finer than the code (a finding of `validate`).
    pub(crate) rule: Option<String>,
    /// What stands under the place.
    pub(crate) label: String,
    pub(crate) warning: bool,
    /// Further findings of the same run.
    pub(crate) also: Vec<Problem>,
    source: Option<Excerpt>,
}

impl Problem {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            help: None,
            place: None,
            data: Value::Null,
            rule: None,
            label: String::new(),
            warning: false,
            also: Vec::new(),
            source: None,
        }
    }

    /// A library's error, as it says of itself.
    pub(crate) fn of(failure: impl Failure) -> Self {
        let mut problem = Problem::new(failure.code(), failure.to_string());
        problem.help = failure.help();
        problem.at(failure.place().cloned())
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }

    /// Points into a file; the file is read again only to draw the line.
    pub(crate) fn at(mut self, place: Option<Place>) -> Self {
        if let Some(place) = &place
            && place.line > 0
            && let Ok(bytes) = std::fs::read(&place.file)
        {
            self.source = Excerpt::of(place, &String::from_utf8_lossy(&bytes));
        }
        self.place = place;
        self
    }

    /// In one line, for the JSON document's warnings.
    pub(crate) fn summary(&self) -> String {
        match &self.place {
            Some(p) if p.line > 0 => {
                format!("{}:{}:{}: {}", p.file.display(), p.line, p.column, self.message)
            }
            Some(p) => format!("{}: {}", p.file.display(), self.message),
            None => self.message.clone(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "code": self.code.name(),
            "message": self.message,
            "help": self.help,
            "at": self.place.as_ref().map(|p| json!({
                "file": p.file, "line": p.line, "column": p.column,
            })),
        })
    }

    pub(crate) fn render(&self, colour: bool) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut text = String::new();
        // Without a source the place would be lost: it is told in words.
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
        if handler.render_report(&mut text, self).is_err() {
            text = format!("{}: {}", self.code, self.message);
        }
        text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, &self.source) {
            (Some(_), None) => f.write_str(&self.summary()),
            _ => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(match &self.rule {
            Some(rule) => Box::new(format!("{}[{rule}]", if self.warning { "warning" } else { "error" })),
            None => Box::new(format!("{}[{}]", if self.warning { "warning" } else { "error" }, self.code)),
        })
    }

    fn severity(&self) -> Option<Severity> {
        Some(if self.warning { Severity::Warning } else { Severity::Error })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|s| s as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.source.as_ref()?.span();
        Some(Box::new(std::iter::once(LabeledSpan::new(
            Some(if self.label.is_empty() { "here".to_owned() } else { self.label.clone() }),
            span.start,
            span.len().max(1),
        ))))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        if self.also.is_empty() {
            return None;
        }
        Some(Box::new(self.also.iter().map(|p| p as &dyn Diagnostic)))
    }
}
