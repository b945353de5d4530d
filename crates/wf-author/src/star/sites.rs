//! Where the arguments of each call stand.
//!
//! The interpreter knows where a call stands, but not its arguments. So the syntax tree is read once before it runs:
//! each call is remembered by its place, with the places of its arguments, and of the items of lists and maps that
//! are written out in them.

use std::collections::HashMap;
use std::ops::Range;

use starlark::codemap;
use starlark::syntax::AstModule;
use starlark::syntax::ast::{ArgumentP, AstExpr, AstLiteral, AstNoPayload, Expr};

use crate::text::Lines;

/// One file of Starlark: its lines, its calls, and what is said of it before it runs.
pub(crate) struct Source {
    pub(crate) lines: Lines,
    calls: HashMap<(usize, usize), Call>,
    /// Files that it names in so many words, by `load` or `file`.
    pub(crate) named_files: Vec<String>,
    /// Uses of `.format`.
    pub(crate) formats: Vec<Range<usize>>,
}

/// A call, as it is written.
#[derive(Default)]
pub(crate) struct Call {
    pub(crate) callee: Range<usize>,
    pub(crate) positional: Vec<Shape>,
    pub(crate) named: Vec<(String, Range<usize>, Shape)>,
    /// The argument after `**`.
    pub(crate) rest: Option<Range<usize>>,
}

/// An expression with the parts that are written out in it.
pub(crate) struct Shape {
    pub(crate) range: Range<usize>,
    pub(crate) parts: Parts,
}

/// The parts of a list or of a map.
pub(crate) enum Parts {
    None,
    Items(Vec<Shape>),
    /// Each key and its value.
    Entries(Vec<(Range<usize>, Shape)>),
}

impl Source {
    pub(crate) fn new(lines: Lines, ast: &AstModule) -> Self {
        let mut source = Self { lines, calls: HashMap::new(), named_files: Vec::new(), formats: Vec::new() };
        source.named_files.extend(ast.loads().iter().map(|load| load.module_id.to_owned()));
        // A list of what is still to be seen, and no recursion: expressions can be nested as deep as a source is long.
        let mut rest: Vec<&AstExpr> = Vec::new();
        ast.statement().visit_expr(|expr| rest.push(expr));
        while let Some(expr) = rest.pop() {
            source.see(expr);
            expr.visit_expr(|child| rest.push(child));
        }
        source.formats.sort_by_key(|range| range.start);
        source
    }

    /// The call that stands at a place.
    pub(crate) fn call(&self, span: codemap::Span) -> Option<&Call> {
        let range = range(span);
        self.calls.get(&(range.start, range.end))
    }

    fn see(&mut self, expr: &AstExpr) {
        let Expr::Call(callee, arguments) = &expr.node else { return };
        if let Expr::Dot(_, name) = &callee.node
            && name.node == "format"
        {
            self.formats.push(range(name.span));
        }
        if let (Expr::Identifier(name), [ArgumentP::Positional(path)]) =
            (&callee.node, arguments.args.iter().map(|arg| &arg.node).collect::<Vec<_>>().as_slice())
            && name.node.ident == "file"
            && let Expr::Literal(AstLiteral::String(path)) = &path.node
        {
            self.named_files.push(path.node.clone());
        }
        let mut call = Call { callee: range(callee.span), ..Call::default() };
        for argument in &arguments.args {
            match &argument.node {
                ArgumentP::Positional(value) => call.positional.push(shape(value)),
                ArgumentP::Named(name, value) => {
                    call.named.push((name.node.clone(), range(name.span), shape(value)));
                }
                ArgumentP::KwArgs(value) => call.rest = Some(range(value.span)),
                ArgumentP::Args(_) => {}
            }
        }
        let place = range(expr.span);
        self.calls.insert((place.start, place.end), call);
    }
}

/// Follows what is written out, which is nested no deeper than brackets may be.
fn shape(expr: &AstExpr) -> Shape {
    let parts = match &expr.node {
        starlark::syntax::ast::ExprP::<AstNoPayload>::List(items) | Expr::Tuple(items) => {
            Parts::Items(items.iter().map(shape).collect())
        }
        Expr::Dict(entries) => {
            Parts::Entries(entries.iter().map(|(key, value)| (range(key.span), shape(value))).collect())
        }
        _ => Parts::None,
    };
    Shape { range: range(expr.span), parts }
}

/// The bytes of a span.
pub(crate) fn range(span: codemap::Span) -> Range<usize> {
    let offset = |pos: codemap::Pos| usize::try_from(pos.get()).unwrap_or(usize::MAX);
    offset(span.begin())..offset(span.end())
}
