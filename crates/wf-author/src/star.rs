//! Starlark: a program that builds a workflow.
//!
//! The functions of `functions` return parts of a workflow, which `made` holds as plain data; nothing of the
//! interpreter reaches a draft. A program has no effect but the one call of `workflow(…)`. The interpreter's own limits
//! are set here, but they do not hold against a hostile source: that needs a process of its own.

mod functions;
mod made;
mod scan;
mod sites;
mod types;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;

use starlark::environment::{FrozenModule, Globals, Module};
use starlark::eval::{Evaluator, ReturnFileLoader};
use starlark::syntax::{AstModule, Dialect, DialectTypes};
use starlark::values::FrozenHeapName;
use starlark::{Error, ErrorKind, PrintHandler};
use wf_ir::{Diagnostic, Span, Spanned};

use self::scan::Obstacle;
use self::sites::Source;
use self::types::Context;
use crate::code;
use crate::compile::{Files, Weight};
use crate::limits::{
    BRACKETS_MAX, DIAGNOSTICS_MAX, DRAFT_DEPTH_MAX, LOAD_DEPTH_MAX, MESSAGE_BYTES_MAX, STARLARK_CALLS_MAX,
    STARLARK_HEAP_BYTES_MAX, STARLARK_TICKS_MAX,
};
use crate::text::{Lines, cut, sentence, start_of};

/// Words that cannot be the name of an argument. No field of a node may be one of them.
pub const RESERVED_WORDS: [&str; 33] = [
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except",
    "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "load", "nonlocal", "not", "or", "pass",
    "raise", "return", "try", "while", "with", "yield",
];

/// What is allowed: functions, loops and conditions everywhere; no types, no f-strings, no `load` of what was loaded.
const DIALECT: Dialect = Dialect {
    enable_def: true,
    enable_lambda: true,
    enable_load: true,
    enable_keyword_only_arguments: true,
    enable_positional_only_arguments: false,
    enable_types: DialectTypes::Disable,
    enable_load_reexport: false,
    enable_top_level_stmt: true,
    enable_f_strings: false,
    _non_exhaustive: (),
};

/// Reads a source.
pub(crate) fn read(source: &str, lines: &Lines, files: &Files<'_>) -> Result<Spanned, Vec<Diagnostic>> {
    let program = Program {
        context: Context {
            files,
            file: lines.file().to_string(),
            sources: RefCell::new(BTreeMap::new()),
            made: RefCell::new(Weight::default()),
            main: Cell::new(false),
            workflow: RefCell::new(None),
        },
        globals: functions::globals(),
        modules: RefCell::new(BTreeMap::new()),
        ticks: Cell::new(0),
    };
    program.main(source).map_err(|found| if found.is_empty() { vec![program.context.nothing()] } else { found })
}

impl Context<'_> {
    pub(crate) fn source(&self, file: &str) -> Option<Rc<Source>> {
        self.sources.borrow().get(file).cloned()
    }

    pub(crate) fn start(&self) -> Span {
        start_of(&self.file)
    }

    fn nothing(&self) -> Diagnostic {
        Diagnostic::error(code::NO_WORKFLOW, &self.start(), "the file calls no workflow(…)")
            .with_hint("end it with workflow(\"its_name\", children = […])")
    }
}

/// A finding on its way through the interpreter.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Diagnostic);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Refusal {}

/// `print` is for trying things out; nothing of it is kept.
struct Silence;

impl PrintHandler for Silence {
    fn println(&self, _: &str) -> starlark::Result<()> {
        Ok(())
    }
}

struct Program<'a> {
    context: Context<'a>,
    globals: Globals,
    modules: RefCell<BTreeMap<String, FrozenModule>>,
    ticks: Cell<u64>,
}

impl Program<'_> {
    fn main(&self, source: &str) -> Result<Spanned, Vec<Diagnostic>> {
        let file = self.context.file.clone();
        let ast = self.parse(&file, source)?;
        let loaded = self.loads(&ast, &mut vec![file])?;
        self.context.main.set(true);
        self.evaluate(ast, &loaded, |_| Ok(()))?;
        let workflow = self.context.workflow.borrow_mut().take();
        let Some(workflow) = workflow else { return Err(vec![self.context.nothing()]) };
        workflow.weight.check(&workflow.span).map_err(|found| vec![found])?;
        if workflow.depth > DRAFT_DEPTH_MAX {
            let message = format!("nodes and values are nested more than {DRAFT_DEPTH_MAX} deep");
            return Err(vec![Diagnostic::error(code::TOO_DEEP, &workflow.span, message)]);
        }
        Ok(workflow.to_spanned())
    }

    /// Parses a file and remembers where its calls stand.
    fn parse(&self, file: &str, text: &str) -> Result<AstModule, Vec<Diagnostic>> {
        let lines = Lines::new(file, text);
        match scan::scan(text) {
            Some(Obstacle::TooDeep(range)) => {
                let message = format!("brackets are nested more than {BRACKETS_MAX} deep");
                return Err(vec![Diagnostic::error(code::TOO_DEEP, &lines.span(range), message)]);
            }
            Some(Obstacle::FString(range)) => {
                let message = "f-strings are not part of this language: they would eat the braces of templates";
                return Err(vec![format_refused(&lines.span(range), message)]);
            }
            None => {}
        }
        let ast = AstModule::parse(file, text.to_owned(), &DIALECT).map_err(|error| vec![syntax(&error, &lines)])?;
        let source = Source::new(lines, &ast);
        let formats = source.formats.iter().take(DIAGNOSTICS_MAX).map(|range| {
            let message = "`.format` is not part of this language: it would eat the braces of templates";
            format_refused(&source.lines.span(range.clone()), message)
        });
        let formats: Vec<_> = formats.collect();
        if !formats.is_empty() {
            return Err(formats);
        }
        source.named_files.iter().for_each(|path| self.context.files.expect(path));
        self.context.sources.borrow_mut().insert(file.to_owned(), Rc::new(source));
        Ok(ast)
    }

    /// The modules that a file loads. `chain` holds the files that are being loaded, the file itself last.
    fn loads(&self, ast: &AstModule, chain: &mut Vec<String>) -> Result<Vec<(String, FrozenModule)>, Vec<Diagnostic>> {
        let mut loaded = Vec::new();
        for load in ast.loads() {
            let path = load.module_id;
            let span = match self.context.source(load.span.filename()) {
                Some(source) => source.lines.span(sites::range(load.span.span)),
                None => self.context.start(),
            };
            loaded.push((path.to_owned(), self.load(path, &span, chain)?));
        }
        Ok(loaded)
    }

    fn load(&self, path: &str, span: &Span, chain: &mut Vec<String>) -> Result<FrozenModule, Vec<Diagnostic>> {
        if chain.iter().any(|file| file == path) {
            let message = format!("files load each other: {} -> {path}", chain.join(" -> "));
            return Err(vec![Diagnostic::error(code::LOAD_CYCLE, span, cut(message, MESSAGE_BYTES_MAX))]);
        }
        if let Some(module) = self.modules.borrow().get(path) {
            return Ok(module.clone());
        }
        if chain.len() > LOAD_DEPTH_MAX {
            let message = format!("files load each other more than {LOAD_DEPTH_MAX} deep");
            return Err(vec![Diagnostic::error(code::TOO_MANY_FILES, span, message)]);
        }
        let text = self.context.files.text(path, span).map_err(|found| vec![found])?;
        let ast = self.parse(path, &text)?;
        chain.push(path.to_owned());
        let loaded = self.loads(&ast, chain)?;
        chain.pop();
        let module = self.evaluate(ast, &loaded, |module| {
            module.freeze_named(FrozenHeapName::User(Box::new(path.to_owned()))).map_err(|error| {
                let message = sentence(&Error::from(error).without_diagnostic().to_string(), MESSAGE_BYTES_MAX);
                vec![Diagnostic::error(code::STARLARK_RUNTIME, span, message)]
            })
        })?;
        self.modules.borrow_mut().insert(path.to_owned(), module.clone());
        Ok(module)
    }

    fn evaluate<R>(
        &self,
        ast: AstModule,
        loaded: &[(String, FrozenModule)],
        then: impl FnOnce(Module<'_>) -> Result<R, Vec<Diagnostic>>,
    ) -> Result<R, Vec<Diagnostic>> {
        let modules: HashMap<_, _> = loaded.iter().map(|(path, module)| (path.as_str(), module)).collect();
        let loader = ReturnFileLoader { modules: &modules };
        let ticks_max = STARLARK_TICKS_MAX.saturating_sub(self.ticks.get()).max(1);
        Module::with_temp_heap(|module| {
            let outcome = {
                let mut eval = Evaluator::new(&module);
                let limited = eval
                    .set_max_tick_count(ticks_max)
                    .and_then(|()| eval.set_max_heap_size(STARLARK_HEAP_BYTES_MAX))
                    .and_then(|()| eval.set_max_callstack_size(STARLARK_CALLS_MAX));
                eval.extra = Some(&self.context);
                eval.set_loader(&loader);
                eval.set_print_handler(&Silence);
                let outcome = limited.map_err(Error::new_other).and_then(|()| eval.eval_module(ast, &self.globals));
                let ticks = eval.get_total_tick_count();
                self.ticks.set(self.ticks.get().saturating_add(ticks));
                let exhausted = if ticks > ticks_max {
                    Some(format!("more than {STARLARK_TICKS_MAX} calls and loop turns"))
                } else if eval.heap().peak_allocated_bytes() > STARLARK_HEAP_BYTES_MAX {
                    Some(format!("more than {STARLARK_HEAP_BYTES_MAX} bytes of memory"))
                } else {
                    None
                };
                outcome.map(|_| ()).map_err(|error| vec![self.explain(error, exhausted)])
            };
            outcome.and_then(|()| then(module))
        })
    }

    /// A finding for an error of the interpreter.
    fn explain(&self, error: Error, exhausted: Option<String>) -> Diagnostic {
        let places = self.places(&error);
        let span = places.first().cloned().unwrap_or_else(|| self.context.start());
        let message = sentence(&error.without_diagnostic().to_string(), MESSAGE_BYTES_MAX);
        let found = match error.kind() {
            ErrorKind::Other(inner) | ErrorKind::Native(inner) | ErrorKind::Value(inner) => {
                if let Some(Refusal(found)) = inner.downcast_ref::<Refusal>() {
                    return found.clone();
                }
                match exhausted {
                    Some(what) => Diagnostic::error(code::STARLARK_LIMIT, &span, format!("the program took {what}"))
                        .with_hint("look for a loop, or for functions that call each other, without an end"),
                    None => Diagnostic::error(code::STARLARK_RUNTIME, &span, message),
                }
            }
            ErrorKind::Fail(inner) => {
                let message = sentence(&inner.to_string(), MESSAGE_BYTES_MAX);
                Diagnostic::error(code::STARLARK_FAIL, &span, message)
            }
            ErrorKind::StackOverflow(_) => {
                let message = format!("functions call each other more than {STARLARK_CALLS_MAX} deep");
                Diagnostic::error(code::STARLARK_LIMIT, &span, message)
            }
            ErrorKind::Parser(_) => Diagnostic::error(code::STARLARK_SYNTAX, &span, message),
            _ => Diagnostic::error(code::STARLARK_RUNTIME, &span, message),
        };
        if let Some(hint) = hint_for(&found.message) {
            return found.with_hint(hint);
        }
        match places.iter().find(|place| place.line != span.line || place.file != span.file) {
            Some(place) => found.with_hint(format!("called at {}:{}:{}", place.file, place.line, place.column)),
            None => found,
        }
    }

    /// Where an error stands, and then where the functions that led there were called, outermost first.
    fn places(&self, error: &Error) -> Vec<Span> {
        let frames = error.call_stack().frames.iter().filter_map(|frame| frame.location.as_ref());
        let called: Vec<_> = frames.filter_map(|place| self.place(place)).collect();
        let own = error.span().and_then(|place| self.place(place)).or_else(|| called.last().cloned());
        own.into_iter().chain(called).collect()
    }

    fn place(&self, place: &starlark::codemap::FileSpan) -> Option<Span> {
        let source = self.context.source(place.filename())?;
        Some(source.lines.span(sites::range(place.span)))
    }
}

/// What to do about errors whose message does not say it.
fn hint_for(message: &str) -> Option<&'static str> {
    if message == "immutable" {
        Some("what a loaded file made cannot be changed; copy it first, with list(…) or dict(…)")
    } else if message.contains("referenced before assignment") {
        Some("a variable hides the function of the same name in the whole file; give it another name")
    } else {
        None
    }
}

fn syntax(error: &Error, lines: &Lines) -> Diagnostic {
    let span = match error.span().map(|place| sites::range(place.span)) {
        Some(range) if range.end > range.start => lines.span(range),
        // An error at the end of the file has an empty place behind everything that can be seen.
        Some(range) if lines.has_text_after(range.start) => lines.span(range.start..range.start + 1),
        _ => lines.end(),
    };
    let message = sentence(&error.without_diagnostic().to_string(), MESSAGE_BYTES_MAX);
    let message = message.strip_prefix("parse error: ").unwrap_or(&message).to_owned();
    Diagnostic::error(code::STARLARK_SYNTAX, &span, message)
}

fn format_refused(span: &Span, message: &str) -> Diagnostic {
    Diagnostic::error(code::FORMAT, span, message)
        .with_hint("put values into a prompt with `vars`, or put texts together with `+` or `%`")
}
