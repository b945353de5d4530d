//! Where text goes: data to standard output, messages to standard error, and neither ever fails.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::rc::Rc;

use serde::Serialize;
use wf_effects::secret::Redactor;
use wf_server::source::texts_of;
use wf_server::{Class, Environment, Error};
use wf_view::ErrorView;

use crate::render::diagnostics::diagnostics_text;
use crate::render::replies::error_text;
use crate::render::style::Style;

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;
/// Lines of a terminal that does not say how many it has.
const LINES: usize = 24;

/// Standard output and standard error.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    /// Nothing that it knows is printed.
    redactor: Redactor,
    is_json: bool,
    /// Whether colours are wanted where there is a terminal.
    has_colour: bool,
    is_closed: Rc<Cell<bool>>,
}

impl Out {
    pub(crate) fn new(is_json: bool, environment: &Environment) -> Self {
        let has_colour = environment.get("NO_COLOR").is_none() && environment.get("TERM") != Some("dumb");
        Self { redactor: environment.redactor().clone(), is_json, has_colour, is_closed: Rc::default() }
    }

    /// Whether one JSON object is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// Whether messages go to a terminal.
    pub(crate) fn is_watched(&self) -> bool {
        std::io::stderr().is_terminal()
    }

    /// Whether lines on that terminal can be redrawn.
    pub(crate) fn can_redraw(&self) -> bool {
        self.has_colour && self.is_watched()
    }

    /// Whether a person can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        !self.is_json && self.is_watched() && std::io::stdin().is_terminal()
    }

    /// Whether nobody reads standard output any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// How data is written.
    pub(crate) fn data_style(&self) -> Style {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Style::PLAIN;
        }
        let width = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
        Style { colour: self.has_colour, width: if width == 0 { COLUMNS } else { width } }
    }

    /// How messages are written.
    pub(crate) fn message_style(&self) -> Style {
        if !self.is_watched() {
            return Style::PLAIN;
        }
        Style { colour: self.has_colour, width: self.screen().0 }
    }

    /// Columns and lines of the terminal that messages go to.
    pub(crate) fn screen(&self) -> (usize, usize) {
        let size = rustix::termios::tcgetwinsize(std::io::stderr());
        let (columns, lines) = size.map_or((0, 0), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        (if columns == 0 { COLUMNS } else { columns }, if lines == 0 { LINES } else { lines })
    }

    /// Writes data as it is.
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        if self.is_closed.get() {
            return;
        }
        let mut stdout = std::io::stdout().lock();
        if stdout.write_all(&self.redactor.bytes(bytes)).and_then(|()| stdout.flush()).is_err() {
            // A closed pipe is a reader who has seen enough, and no reason to end a run.
            self.is_closed.set(true);
        }
    }

    /// Writes a line of data, or several.
    pub(crate) fn data(&self, text: &str) {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        self.bytes(format!("{text}{end}").as_bytes());
    }

    /// Writes one JSON object on a line.
    pub(crate) fn json<T: Serialize>(&self, view: &T) {
        match serde_json::to_string(view) {
            Ok(text) => self.data(&text),
            Err(error) => self.message(&format!("error: {error}")),
        }
    }

    /// Writes what `--json` wants, or else text.
    pub(crate) fn show<T: Serialize>(&self, view: &T, text: impl FnOnce(&T, Style) -> String) {
        if self.is_json {
            self.json(view);
        } else {
            self.data(&text(view, self.data_style()));
        }
    }

    /// Writes a message for people.
    pub(crate) fn message(&self, text: &str) {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        self.raw_message(&format!("{text}{end}"));
    }

    /// Writes to the terminal as it is.
    pub(crate) fn raw_message(&self, text: &str) {
        let _ = std::io::stderr().lock().write_all(self.redactor.text(text).as_bytes());
    }

    /// Says what did not work.
    pub(crate) fn error(&self, environment: &Environment, error: &Error) {
        let found = error.diagnostics();
        let style = self.message_style();
        if !found.is_empty() {
            self.message(&diagnostics_text(found, &texts_of(environment, found), style));
        }
        let first = found.first().map_or_else(String::new, |first| format!(": {}", first.message));
        let view = ErrorView::new(error.code(), format!("{error}{first}"), error.hint(), class_name(error.class()));
        if self.is_json {
            self.json(&view);
        }
        if found.is_empty() {
            self.message(&error_text(&view, style));
        }
    }
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Failed => "failed",
        Class::Usage => "usage",
        Class::Invalid => "invalid",
        Class::Budget => "budget",
        Class::Waiting => "waiting",
        Class::Store => "store",
        Class::Denied => "trust",
        Class::Sandbox => "sandbox",
        Class::Damaged => "damaged",
        Class::Refused => "refused",
        Class::Bug => "bug",
        Class::Interrupted => "interrupted",
    }
}
