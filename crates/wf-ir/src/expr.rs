//! Expressions: predicates, scores, lists to expand. A small typed language in CEL's spelling, evaluated totally.
//!
//! - Literals: `1`, `-1.5` (at most six decimal places), `'text'` and `"text"` with the escapes `\\ \' \" \n \r \t
//!   \uXXXX`, `true`, `false`, `null`, `[1, 2]`, `{"key": 1}`.
//! - Names are what the scope gives them; `node.x` is the envelope of node `x`: `node.x.status`, `node.x.value`,
//!   `node.x.path`.
//! - `a.b`, `a["b"]`, `a[0]`. A field that is not there is an error; `has(a.b)` asks first, and is false when any part
//!   of the path is not there.
//! - Loosest to tightest: `c ? a : b`, `||`, `&&`, `== != < <= > >= in`, `+ -`, `* / %`, `! -`. `&&`, `||` and the
//!   choice evaluate only what they need, from the left.
//! - Integers have 64 bits, decimals six places, and a result outside their range is an error. An integer and a
//!   decimal make a decimal. Integers divide towards zero; decimals round to the nearest, halves away from zero. `+`
//!   also joins strings and lists.
//! - Values of different types are unequal, integers and decimals apart, which compare as numbers, also within lists
//!   and maps. Only numbers, and only strings, have an order.
//! - `x in list`; `"key" in map`. For text: `s.contains(t)`, `s.startsWith(t)`, `s.endsWith(t)`.
//! - `size(x)` of a string (in characters), list or map; `range(n)`, `range(from, to)`; `min(a, b)`, `max(a, b)`;
//!   `int(x)` of a number (towards zero) or of text; `string(x)` of anything (lists and maps as JSON).
//! - `list.exists(v, p)`, `list.all(v, p)`, `list.filter(v, p)`, `list.map(v, e)`; none within another.
//!
//! A decimal without a fraction serves wherever an integer is needed, since JSON writers do not tell `3` from `3.0`.

mod ast;
mod check;
mod eval;
mod number;
mod parse;
mod token;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::types::Type;
use crate::value::Value;

use ast::Ast;

/// A parsed expression. A clone shares everything.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    parsed: Arc<Parsed>,
}

/// What the source of an expression says.
struct Parsed {
    root: Ast,
    /// What it reads, each once; [`ast::AstKind::Free`] points here.
    references: Vec<Reference>,
}

/// Something an expression reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// A free name: a reserved name, a node in scope, `output`, `value`, …
    Name(String),
    /// `node.x`: the envelope `{path, status, value}` of node `x`.
    Envelope(String),
}

/// A text that is no expression, or one that is too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// Byte offset in the source.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

/// An expression whose types do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TypeError {
    /// Byte offset in the source.
    pub offset: usize,
    /// What does not fit.
    pub message: String,
    /// What could be meant.
    pub hint: Option<String>,
}

/// Why an evaluation gave no value. It is data: it fails the node, never the engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvalError(pub String);

/// What the names in an expression mean when it is evaluated.
pub trait Scope {
    /// The value of a free name.
    ///
    /// # Errors
    /// When the name means nothing here or its value cannot be read.
    fn name(&self, name: &str) -> Result<Arc<Value>, EvalError>;

    /// The envelope of a node: `{path, status, value}`.
    ///
    /// # Errors
    /// When there is no such node here or its value cannot be read.
    fn envelope(&self, id: &str) -> Result<Arc<Value>, EvalError>;
}

/// What the names in an expression mean when it is checked.
pub trait TypeScope {
    /// The type of a free name; `None` when it means nothing here.
    fn name(&self, name: &str) -> Option<Type>;
    /// The type of the value of node `id`; `None` when there is no such node here.
    fn envelope(&self, id: &str) -> Option<Type>;
}

impl Expr {
    /// Parses an expression of at most [`crate::limits::EXPR_BYTES_MAX`] bytes and
    /// [`crate::limits::EXPR_NODES_MAX`] nodes.
    ///
    /// # Errors
    /// Where and why it is no expression.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        Ok(Self { source: source.into(), parsed: Arc::new(parse::parse(source)?) })
    }

    /// Its source.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// What it reads, without the variables of its own macros.
    pub fn references(&self) -> BTreeSet<Reference> {
        self.parsed.references.iter().cloned().collect()
    }

    /// Its type.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self, scope: &dyn TypeScope) -> Result<Type, TypeError> {
        check::check(&self.parsed, scope)
    }

    /// Its value. Total: every error is a value of [`EvalError`], no input makes it panic, and its work is bounded.
    ///
    /// # Errors
    /// When a name, field, index, type or range does not fit, or the work is too much.
    pub fn eval(&self, scope: &dyn Scope) -> Result<Value, EvalError> {
        eval::eval(&self.parsed, scope)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Expr {}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({:?})", self.source)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Envelope(id) => write!(f, "node.{id}"),
        }
    }
}

impl ParseError {
    fn at(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into() }
    }
}

/// What errors call `ast`, where it is a path that a reader finds in the source.
fn path_text(ast: &Ast, references: &[Reference]) -> Option<String> {
    match &ast.kind {
        ast::AstKind::Free(at) => Some(references[*at].to_string()),
        ast::AstKind::Field(base, field) => Some(format!("{}.{field}", path_text(base, references)?)),
        ast::AstKind::Index(base, index) => match &index.kind {
            ast::AstKind::Literal(key) => Some(format!("{}[{}]", path_text(base, references)?, key.to_json())),
            _ => Some(format!("{}[…]", path_text(base, references)?)),
        },
        _ => None,
    }
}
