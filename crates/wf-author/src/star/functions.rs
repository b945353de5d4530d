//! The functions of the Starlark spelling: one for each kind of node, and those for parts of nodes.

use std::fmt;
use std::sync::Arc;

use starlark::environment::{Globals, GlobalsBuilder, LibraryExtension};
use starlark::eval::{Arguments, Evaluator};
use starlark::values::dict::DictRef;
use starlark::values::{StarlarkValue, StringValue, Value, starlark_value};
use wf_ir::{Diagnostic, Key, Span, Spanned, SpannedValue};

use super::Refusal;
use super::made::{Conversion, Item, Part, Place};
use super::sites::{Call, Source};
use super::types::{Context, Function, Made};
use crate::code;

/// The kinds of nodes. Each is a function, called with the node's id and its fields.
pub(crate) const KINDS: [&str; 20] = [
    "agent",
    "ask",
    "command",
    "test",
    "search",
    "memory",
    "approve",
    "wait",
    "branch",
    "parallel",
    "sequence",
    "reduce",
    "pareto",
    "tournament",
    "loop_until",
    "cond",
    "expand",
    "call",
    "rlm",
    "teacher_review",
];

/// Functions that make a map of their arguments.
const PARTS: [&str; 8] = ["budget", "permissions", "retry", "tasks", "input", "role", "judge", "objective"];

/// Functions under `schema` that only name a type of JSON Schema.
const SCALARS: [&str; 4] = ["string", "integer", "number", "boolean"];

/// Fields whose nodes stay nodes; in all others a node is its id.
const NODE_FIELDS: [&str; 3] = ["children", "then", "otherwise"];

/// Arguments for which `None` is a value; for all others it is as if they were not given.
const NONE_FIELDS: [&str; 2] = ["on_empty", "default"];

/// What a function makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Makes {
    Node,
    Workflow,
    Part,
    ScalarSchema,
    ObjectSchema,
    ListSchema,
    AnySchema,
    Text,
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.makes {
            Makes::ScalarSchema | Makes::ObjectSchema | Makes::ListSchema | Makes::AnySchema => {
                write!(f, "schema.{}", self.name)
            }
            Makes::Node | Makes::Workflow | Makes::Part | Makes::Text => f.write_str(self.name),
        }
    }
}

/// Everything a program can name: standard Starlark, a `print` that goes nowhere, and the functions of this file.
pub(crate) fn globals() -> Globals {
    GlobalsBuilder::extended_by(&[LibraryExtension::Print]).with(register).build()
}

fn register(builder: &mut GlobalsBuilder) {
    let mut set = |name, makes| builder.set(name, Function { name, makes });
    KINDS.iter().for_each(|kind| set(kind, Makes::Node));
    PARTS.iter().for_each(|part| set(part, Makes::Part));
    set("workflow", Makes::Workflow);
    set("file", Makes::Text);
    builder.namespace("schema", |builder| {
        let mut set = |name, makes| builder.set(name, Function { name, makes });
        SCALARS.iter().for_each(|scalar| set(scalar, Makes::ScalarSchema));
        set("object", Makes::ObjectSchema);
        set("list", Makes::ListSchema);
        set("any", Makes::AnySchema);
    });
}

#[starlark_value(type = "native_function")]
impl<'v> StarlarkValue<'v> for Function {
    fn invoke(
        &self,
        _me: Value<'v>,
        args: &Arguments<'v, '_>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let Some(context) = eval.extra.and_then(|extra| extra.downcast_ref::<Context<'_>>()) else {
            return Err(starlark::Error::new_other(Refusal(Diagnostic::error(
                code::STARLARK_RUNTIME,
                &Span::default(),
                format!("{self} was called outside a workflow"),
            ))));
        };
        let place = eval.call_stack_top_location();
        let source = place.as_ref().and_then(|place| context.source(place.filename()));
        let span = match (&place, &source) {
            (Some(place), Some(source)) => source.lines.span(super::sites::range(place.span)),
            _ => context.start(),
        };
        let call = match (&place, &source) {
            (Some(place), Some(source)) => source.call(place.span).map(|call| (call, source.as_ref())),
            _ => None,
        };
        let heap = eval.heap();
        let positional = args.positions(heap)?.collect();
        let named = args.names_map()?.iter().enumerate().map(Named::new).collect();
        let mut invocation = Invocation { function: self, context, span, call, positional, named };
        let mut made = context.made.borrow_mut();
        let mut conversion = Conversion { heap, made: &mut made };
        let result = match self.makes {
            Makes::Text => invocation.text().map(|text| heap.alloc(text.as_ref())),
            Makes::Workflow => invocation.workflow(&mut conversion).map(|()| Value::new_none()),
            _ => invocation.part(&mut conversion).map(|part| heap.alloc(Made(Arc::new(part)))),
        };
        result.map_err(|found| starlark::Error::new_other(Refusal(found)))
    }
}

/// One call of a function.
struct Invocation<'a, 'v> {
    function: &'a Function,
    context: &'a Context<'a>,
    span: Span,
    call: Option<(&'a Call, &'a Source)>,
    positional: Vec<Value<'v>>,
    named: Vec<Named<'v>>,
}

/// A named argument, and the how-manieth it is.
struct Named<'v> {
    index: usize,
    name: &'v str,
    value: Value<'v>,
}

impl<'v> Named<'v> {
    fn new((index, (name, value)): (usize, (&StringValue<'v>, &Value<'v>))) -> Self {
        Self { index, name: name.as_str(), value: *value }
    }
}

impl<'a, 'v> Invocation<'a, 'v> {
    fn part(&mut self, conversion: &mut Conversion<'_, 'v>) -> Result<Part, Diagnostic> {
        let name = self.function.name;
        let mut id = None;
        let mut entries = Vec::new();
        match self.function.makes {
            Makes::Node | Makes::Workflow => {
                let (key, item, text) = self.id(conversion)?;
                entries.push((key, item));
                id = Some(text);
            }
            Makes::ScalarSchema => entries.push(self.stated("type", name)),
            Makes::ObjectSchema => self.object(conversion, &mut entries)?,
            Makes::ListSchema => {
                entries.push(self.stated("type", "array"));
                if let Some((place, value)) = self.first("items")? {
                    let key = self.key("items");
                    entries.push((key, conversion.item(value, &place, false, 1)?));
                }
            }
            Makes::Part | Makes::AnySchema | Makes::Text => {}
        }
        self.refuse_positional()?;
        let stated = entries.len();
        for named in std::mem::take(&mut self.named) {
            if named.value.is_none() && !NONE_FIELDS.contains(&named.name) {
                continue;
            }
            let (key, place) = self.argument(&named);
            let item = conversion.item(named.value, &place, id.is_some() && NODE_FIELDS.contains(&named.name), 1)?;
            // In a schema, a keyword that is spelt out replaces the one that the function states.
            match entries[..stated].iter_mut().find(|(key, _)| id.is_none() && key.name == named.name) {
                Some(entry) => *entry = (key, item),
                None => entries.push((key, item)),
            }
        }
        Ok(Part::new(name, id, entries, &self.span))
    }

    /// The first entry of a node: its kind and its id.
    fn id(&mut self, conversion: &mut Conversion<'_, 'v>) -> Result<(Key, Item, String), Diagnostic> {
        let keyword = if self.function.makes == Makes::Workflow { "name" } else { "id" };
        let Some((place, value)) = self.first(keyword)? else {
            return Err(self.wrong(format!(
                "{0} needs {1}: {0}(\"its_{keyword}\", …)",
                self.function,
                article(keyword)
            )));
        };
        let Some(id) = value.unpack_str() else {
            let message = format!("the {keyword} of {} is of type {}, not text", self.function, value.get_type());
            return Err(Diagnostic::error(code::WRONG_CALL, &place.span, message));
        };
        let item = conversion.item(value, &place, false, 1)?;
        let span = self.call.map_or_else(|| self.span.clone(), |(call, source)| source.lines.span(call.callee.clone()));
        Ok((Key { name: self.function.name.to_owned(), span }, item, id.to_owned()))
    }

    /// `schema.object(properties, required = […])`: nothing else is allowed, and all of it is required, unless the
    /// call says otherwise.
    fn object(
        &mut self,
        conversion: &mut Conversion<'_, 'v>,
        entries: &mut Vec<(Key, Item)>,
    ) -> Result<(), Diagnostic> {
        entries.push(self.stated("type", "object"));
        let Some((place, value)) = self.first("properties")? else { return Ok(()) };
        let Some(properties) = DictRef::from_value(value) else {
            return Err(Diagnostic::error(
                code::WRONG_CALL,
                &place.span,
                format!(
                    "the properties of an object are of type {}, not a map from names to schemas",
                    value.get_type()
                ),
            ));
        };
        let names =
            properties.iter().filter_map(|(name, _)| name.unpack_str()).map(|name| self.text_item(name)).collect();
        let item = conversion.item(value, &place, false, 1)?;
        entries.push((self.key("properties"), item));
        entries.push((self.key("required"), Item::List(names, self.span.clone())));
        let closed = Spanned { value: SpannedValue::Bool(false), span: self.span.clone() };
        entries.push((self.key("additionalProperties"), Item::Leaf(closed)));
        Ok(())
    }

    fn workflow(&mut self, conversion: &mut Conversion<'_, 'v>) -> Result<(), Diagnostic> {
        let hint = "a workflow is called once, in the file that is run; functions for it may live in other files";
        if !self.context.main.get() {
            let message = "workflow is called in a file that is only loaded";
            return Err(Diagnostic::error(code::SECOND_WORKFLOW, &self.span, message).with_hint(hint));
        }
        if self.context.workflow.borrow().is_some() {
            let message = "workflow is called a second time";
            return Err(Diagnostic::error(code::SECOND_WORKFLOW, &self.span, message).with_hint(hint));
        }
        let part = self.part(conversion)?;
        *self.context.workflow.borrow_mut() = Some(part);
        Ok(())
    }

    fn text(&mut self) -> Result<Arc<str>, Diagnostic> {
        let Some((place, value)) = self.first("path")? else {
            return Err(self.wrong("file needs a path: file(\"prompts/patch.md\")".to_owned()));
        };
        self.refuse_positional()?;
        if let Some(named) = self.named.first() {
            return Err(self.wrong(format!("file has no argument {:?}", named.name)));
        }
        match value.unpack_str() {
            Some(path) => self.context.files.text(path, &place.span),
            None => {
                let message = format!("the path of a file is of type {}, not text", value.get_type());
                Err(Diagnostic::error(code::WRONG_CALL, &place.span, message))
            }
        }
    }

    /// Takes the one argument that may stand without its name.
    fn first(&mut self, keyword: &str) -> Result<Option<(Place<'a>, Value<'v>)>, Diagnostic> {
        let named = self.named.iter().position(|named| named.name == keyword);
        if self.positional.is_empty() {
            let named = named.map(|at| self.named.remove(at));
            return Ok(named.map(|named| (self.argument(&named).1, named.value)));
        }
        if named.is_some() {
            return Err(self.wrong(format!("{} is given {keyword:?} twice", self.function)));
        }
        let place = match self.call {
            Some((call, source)) => call.positional.first().map(|shape| Place::of(shape, &source.lines)),
            None => None,
        };
        Ok(Some((place.unwrap_or_else(|| Place::at(&self.span)), self.positional.remove(0))))
    }

    /// The key and the place of a named argument.
    fn argument(&self, named: &Named<'v>) -> (Key, Place<'a>) {
        let Some((call, source)) = self.call else { return (self.key(named.name), Place::at(&self.span)) };
        match call.named.get(named.index) {
            Some((name, key, value)) if name == named.name => {
                let key = Key { name: name.clone(), span: source.lines.span(key.clone()) };
                (key, Place::of(value, &source.lines))
            }
            _ => {
                let span = call.rest.clone().map_or_else(|| self.span.clone(), |rest| source.lines.span(rest));
                (Key { name: named.name.to_owned(), span: span.clone() }, Place::at(&span))
            }
        }
    }

    fn refuse_positional(&self) -> Result<(), Diagnostic> {
        if self.positional.is_empty() {
            return Ok(());
        }
        let message = match self.function.makes {
            Makes::Part | Makes::ScalarSchema | Makes::AnySchema => {
                format!("the arguments of {} need their names", self.function)
            }
            _ => format!("only the first argument of {} may stand without its name", self.function),
        };
        Err(self.wrong(message))
    }

    fn stated(&self, name: &str, text: &str) -> (Key, Item) {
        (self.key(name), self.text_item(text))
    }

    fn text_item(&self, text: &str) -> Item {
        Item::Leaf(Spanned { value: SpannedValue::Str(text.to_owned()), span: self.span.clone() })
    }

    fn key(&self, name: &str) -> Key {
        Key { name: name.to_owned(), span: self.span.clone() }
    }

    fn wrong(&self, message: String) -> Diagnostic {
        Diagnostic::error(code::WRONG_CALL, &self.span, message)
    }
}

fn article(keyword: &str) -> String {
    if keyword == "id" { "an id".to_owned() } else { format!("a {keyword}") }
}
