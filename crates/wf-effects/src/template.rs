//! Rendering: a template and the values of its names become text, once and strictly.
//!
//! An undefined name is an error, a value's braces are text and never looked at again, and text outside of tags stays
//! as it is. Strings are inserted as they are, everything else as JSON. What a template can do is
//! [`wf_ir::template`]'s closed list, chosen so that none can make a text that is much larger than what it was given:
//! together with fuel and a bound on the output, every rendering ends soon and in little memory.

mod filters;
mod scope;

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::{Arc, PoisonError, RwLock};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use wf_ir::template::{FaultKind, TemplateFault, check, has_tags};

pub use scope::Scope;

/// Largest rendered text, in bytes.
pub const RENDERED_BYTES_MAX: usize = 1 << 20;
/// Most instructions one rendering may take.
pub const FUEL_MAX: u64 = 200_000;
/// Most bytes that one rendering may read from values and make in filters, all together.
pub const WORK_BYTES_MAX: usize = 64 << 20;
/// Compiled templates kept; beyond it all are dropped and compiled again when needed.
const TEMPLATES_MAX: usize = 10_000;

/// Why a template gives no text. All of these are the template's or its values' fault: another attempt ends the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TemplateError {
    /// Line of the template, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Compiled templates by their source.
pub struct Templates {
    compiled: RwLock<Compiled>,
}

struct Compiled {
    env: Arc<Environment<'static>>,
    count: usize,
}

impl Default for Templates {
    fn default() -> Self {
        Self { compiled: RwLock::new(Compiled { env: Arc::new(environment()), count: 0 }) }
    }
}

impl From<TemplateFault> for TemplateError {
    fn from(fault: TemplateFault) -> Self {
        let message = match fault.kind {
            FaultKind::Syntax => format!("syntax error: {}", fault.message),
            FaultKind::Limit | FaultKind::Denied => fault.message,
        };
        Self { line: fault.line, message }
    }
}

impl Templates {
    /// Renders `source` with the values of `scope`.
    ///
    /// # Errors
    /// When it is no template, names something undefined, or is too much work or text.
    pub fn render(&self, source: &str, scope: Scope) -> Result<String, TemplateError> {
        if !has_tags(source) {
            return within_bounds(source);
        }
        let env = self.environment_with(source)?;
        let template = env.get_template(source).map_err(|error| error_of(&error))?;
        let mut text = Bounded { text: Vec::with_capacity(source.len()), is_full: false };
        WORK.set(WORK_BYTES_MAX);
        let rendered = template.render_captured_to(scope.into_value(), &mut text).map(drop);
        if text.is_full {
            return Err(too_large());
        }
        rendered.map_err(|error| error_of(&error))?;
        // It only ever gets whole pieces of text.
        Ok(String::from_utf8_lossy(&text.text).into_owned())
    }

    /// An environment in which `source` is known.
    fn environment_with(&self, source: &str) -> Result<Arc<Environment<'static>>, TemplateError> {
        {
            let compiled = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
            if compiled.env.get_template(source).is_ok() {
                return Ok(Arc::clone(&compiled.env));
            }
        }
        check(source)?;
        let mut compiled = self.compiled.write().unwrap_or_else(PoisonError::into_inner);
        if compiled.count >= TEMPLATES_MAX {
            *compiled = Compiled { env: Arc::new(environment()), count: 0 };
        }
        // Copied only when somebody renders right now; templates themselves are shared.
        let env = Arc::make_mut(&mut compiled.env);
        env.add_template_owned(source.to_owned(), source.to_owned()).map_err(|error| error_of(&error))?;
        compiled.count += 1;
        Ok(Arc::clone(&compiled.env))
    }
}

fn within_bounds(text: &str) -> Result<String, TemplateError> {
    if text.len() > RENDERED_BYTES_MAX { Err(too_large()) } else { Ok(text.to_owned()) }
}

fn too_large() -> TemplateError {
    TemplateError { line: 1, message: format!("the rendered text is larger than {RENDERED_BYTES_MAX} bytes") }
}

fn environment() -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL_MAX));
    env.set_recursion_limit(50);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_debug(true);
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        env.set_syntax(syntax);
    }
    env.set_formatter(filters::insert);
    filters::add(&mut env);
    env
}

thread_local! {
    /// What the rendering on this thread may still read and make. A rendering never leaves its thread.
    static WORK: Cell<usize> = const { Cell::new(WORK_BYTES_MAX) };
}

/// Takes `bytes` from what this rendering may still read and make.
fn charge(bytes: usize) -> Result<(), minijinja::Error> {
    let left = WORK.get();
    WORK.set(left.saturating_sub(bytes));
    if bytes > left {
        return Err(minijinja::Error::from(ErrorKind::OutOfFuel));
    }
    Ok(())
}

fn error_of(error: &minijinja::Error) -> TemplateError {
    let line = error.line().unwrap_or(1);
    let message = match error.kind() {
        ErrorKind::OutOfFuel => "the template is too much work".to_owned(),
        // The parser gives it no detail, and it is found before a run as any other fault of what is written.
        kind @ ErrorKind::BadEscape => format!("{}: {kind}", ErrorKind::SyntaxError),
        // Its detail says all that the kind says.
        kind => match error.detail() {
            Some(detail) if kind == ErrorKind::UndefinedError => detail.to_owned(),
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    };
    TemplateError { line, message }
}

/// Text up to a bound.
struct Bounded {
    text: Vec<u8>,
    is_full: bool,
}

impl Write for &mut Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > RENDERED_BYTES_MAX {
            self.is_full = true;
            return Err(io::Error::other("too large"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
