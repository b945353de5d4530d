//! Where text goes: data to standard output, messages to standard error, and neither ever fails.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::rc::Rc;

use serde::Serialize;
use wf_server::{Class, Error};
use wf_view::ErrorView;

/// Standard output and standard error.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    is_json: bool,
    is_closed: Rc<Cell<bool>>,
}

impl Out {
    pub(crate) fn new(is_json: bool) -> Self {
        Self { is_json, is_closed: Rc::default() }
    }

    /// Whether one JSON object is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// Whether messages go to a terminal.
    pub(crate) fn is_watched(&self) -> bool {
        std::io::stderr().is_terminal()
    }

    /// Whether a person can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        !self.is_json && self.is_watched() && std::io::stdin().is_terminal()
    }

    /// Whether nobody reads standard output any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Writes data as it is.
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        if self.is_closed.get() {
            return;
        }
        let mut stdout = std::io::stdout().lock();
        if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
            // A closed pipe is a reader who has seen enough, and no reason to end a run.
            self.is_closed.set(true);
        }
    }

    /// Writes a line of data, or several.
    pub(crate) fn data(&self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
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
    pub(crate) fn show<T: Serialize>(&self, view: &T, text: impl FnOnce(&T) -> String) {
        if self.is_json {
            self.json(view);
        } else {
            self.data(&text(view));
        }
    }

    /// Writes a message for people.
    pub(crate) fn message(&self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let _ = std::io::stderr().lock().write_all(format!("{text}{end}").as_bytes());
    }

    /// Says what did not work.
    pub(crate) fn error(&self, error: &Error) {
        let mut message = error.to_string();
        if let Some(first) = error.diagnostics().first() {
            message = format!("{message}: {}", first.message);
        }
        if self.is_json {
            let class = class_name(error.class());
            self.json(&ErrorView::new(error.code(), message.as_str(), error.hint(), class));
        }
        self.message(&format!("error[{}]: {message}", error.code()));
        if let Some(hint) = error.hint() {
            self.message(&format!("  hint: {hint}"));
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
