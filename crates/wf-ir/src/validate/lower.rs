//! Second pass: from raw nodes to typed ones. Expressions and templates are parsed and every name is resolved; what
//! they say about order and types is kept for the passes that follow.

use std::collections::{BTreeMap, BTreeSet};

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::draft::{Span, Spanned, SpannedValue};
use crate::expr::{Expr, Reference};
use crate::fields::KindTag;
use crate::node::{
    Budget, InputDecl, Kind, Node, NodeIx, Permissions, Retry, RoleOverride, Status, Template, TreeRef, Wait,
};
use crate::template::{self, FaultKind, first_name};
use crate::types::Type;

use super::normal::{RawNode, RawWorkflow};
use super::report::Report;
use super::scope::{Meaning, Place, Scopes};

/// What the value of an expression must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Any,
    Bool,
    Int,
    Number,
    ListOrInt,
}

/// An expression at its place, to be checked once the types are known.
#[derive(Debug)]
pub(super) struct ExprUse {
    pub(super) name: String,
    pub(super) expr: Expr,
    pub(super) span: Span,
    pub(super) place: Place,
    pub(super) want: Want,
    pub(super) names: BTreeMap<String, Meaning>,
    pub(super) envelopes: BTreeMap<String, Meaning>,
}

/// A template at its place, to be checked once the types are known.
#[derive(Debug)]
pub(super) struct TemplateUse {
    pub(super) span: Span,
    /// Each path it reads with the meaning of its first name; of `node.x.status`, the path is `status` of `x`.
    pub(super) paths: Vec<TemplatePath>,
}

/// A dotted path that a template reads.
#[derive(Debug)]
pub(super) struct TemplatePath {
    pub(super) whole: String,
    pub(super) meaning: Meaning,
    pub(super) fields: Vec<String>,
    pub(super) envelope: bool,
}

/// That one node waits for another.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) span: Span,
}

/// A workflow after the second pass.
#[derive(Debug, Default)]
pub(super) struct Lowered {
    pub(super) nodes: Vec<Node>,
    pub(super) inputs: BTreeMap<String, InputDecl>,
    pub(super) outputs: BTreeMap<String, Expr>,
    pub(super) budget: Budget,
    pub(super) permissions: Permissions,
    pub(super) roles: BTreeMap<String, RoleOverride>,
    /// By node; the outputs come last.
    pub(super) exprs: Vec<Vec<ExprUse>>,
    /// By node.
    pub(super) templates: Vec<Vec<TemplateUse>>,
    pub(super) edges: Vec<Edge>,
}

/// The second pass.
pub(super) fn lower(raw: &RawWorkflow, report: &mut Report) -> Lowered {
    let inputs = read_inputs(raw);
    let mut lowering = Lowering {
        raw,
        scopes: Scopes::new(raw, inputs.keys().map(String::as_str).collect()),
        report,
        out: Lowered::default(),
        needs: BTreeSet::new(),
    };
    lowering.out.exprs.resize_with(raw.nodes.len() + 1, Vec::new);
    lowering.out.templates.resize_with(raw.nodes.len(), Vec::new);
    lowering.ids();
    for ix in 0..raw.nodes.len() {
        lowering.node(ix);
    }
    lowering.needs_of_inner_asks();
    if let Some(outputs) = raw.fields.get("outputs") {
        lowering.out.outputs = lowering.expr_map("outputs", outputs, Place::End);
    }
    let mut out = lowering.out;
    out.inputs = inputs;
    out.budget = raw.fields.get("budget").map(read_budget).unwrap_or_default();
    out.permissions = raw.fields.get("permissions").map(read_permissions).unwrap_or_default();
    out.roles = raw.fields.get("roles").map(read_roles).unwrap_or_default();
    out
}

/// The second pass under way.
pub(super) struct Lowering<'w, 'r> {
    pub(super) raw: &'w RawWorkflow,
    pub(super) scopes: Scopes<'w>,
    pub(super) report: &'r mut Report,
    pub(super) out: Lowered,
    /// What the node at hand needs.
    needs: BTreeSet<NodeIx>,
}

impl<'w> Lowering<'w, '_> {
    /// Ids are unique among the children of a node, on both sides of a `cond` together: they name instances.
    fn ids(&mut self) {
        for (ix, node) in self.raw.nodes.iter().enumerate() {
            if node.inner || node.id.is_empty() {
                continue;
            }
            let first = self.scopes.child(node.parent, &node.id);
            if let Some(first) = first.filter(|first| *first != ix) {
                let line = self.raw.nodes[first].id_span.line;
                let message = format!("the id `{}` is taken by a sibling in line {line}", node.id);
                self.report.error(codes::DUPLICATE_ID, &node.id_span, message);
            }
        }
    }

    fn node(&mut self, ix: usize) {
        let raw = &self.raw.nodes[ix];
        self.needs = BTreeSet::new();
        for (id, span) in texts(raw.items("needs")) {
            self.need(ix, id, span);
        }
        let after: BTreeSet<NodeIx> =
            texts(raw.items("after")).filter_map(|(id, span)| self.reference(ix, id, span)).map(index).collect();
        let when = self.expr_field(ix, "when", Place::Node(ix), Want::Bool);
        let tree = raw.fields.get("tree").and_then(|tree| self.tree(ix, tree));
        // A kind with a finding stands as a wait; the workflow is not made then.
        let kind = self.kind(ix).unwrap_or(Kind::Wait(Wait::Duration { ms: 1 }));
        let parent = raw.parent.map(|parent| &self.out.nodes[parent]);
        let path = parent.map_or_else(|| raw.id.clone(), |parent| format!("{}/{}", parent.path, raw.id));
        let inherited = parent.and_then(|parent| parent.role.clone());
        let node = Node {
            id: raw.id.clone(),
            ix: index(ix),
            parent: raw.parent.map(index),
            path,
            span: raw.span.clone(),
            kind,
            needs: std::mem::take(&mut self.needs),
            after,
            accept: accepted(raw),
            when,
            budget: raw.fields.get("budget").map(read_budget).unwrap_or_default(),
            permissions: raw.fields.get("permissions").map(read_permissions).unwrap_or_default(),
            role: raw.text("role").map(str::to_owned).or(inherited),
            timeout_ms: millis(raw, "timeout"),
            retry: raw.fields.get("retry").map(read_retry).unwrap_or_default(),
            ty: Type::Any,
            writes_tree: false,
            tree,
        };
        self.out.nodes.push(node);
    }

    /// What an inner ask needs, its control node waits for; and what that accepts, the ask accepts.
    fn needs_of_inner_asks(&mut self) {
        for ix in 0..self.raw.nodes.len() {
            let Some(parent) = self.raw.nodes[ix].parent.filter(|_| self.raw.nodes[ix].inner) else { continue };
            let needs = self.out.nodes[ix].needs.clone();
            self.out.nodes[parent].needs.extend(needs);
            self.out.nodes[ix].accept = self.out.nodes[parent].accept.clone();
        }
    }

    /// Resolves the id of a node that `ix` waits for.
    pub(super) fn reference(&mut self, ix: usize, id: &str, span: &Span) -> Option<usize> {
        let finding = match self.scopes.node(Place::Node(ix), id, span) {
            Ok(Meaning::Node(to)) => {
                self.out.edges.push(Edge { from: ix, to, span: span.clone() });
                return Some(to);
            }
            Ok(_) => Diagnostic::error(codes::ENCLOSING, span, format!("`{id}` encloses this place"))
                .with_hint("inside an `expand` its id is the current element, which is there anyway"),
            Err(finding) => finding,
        };
        self.report.push(finding);
        None
    }

    /// Resolves the id of a node whose result `ix` reads.
    pub(super) fn need(&mut self, ix: usize, id: &str, span: &Span) -> Option<usize> {
        let to = self.reference(ix, id, span)?;
        self.needs.insert(index(to));
        Some(to)
    }

    /// Where a tree begins.
    fn tree(&mut self, ix: usize, tree: &Spanned) -> Option<TreeRef> {
        let SpannedValue::Str(text) = &tree.value else { return None };
        let (id, winner) = match text.strip_suffix(".winner") {
            Some(id) => (id, true),
            None => (text.as_str(), false),
        };
        let to = self.need(ix, id, &tree.span)?;
        let target = &self.raw.nodes[to];
        let (fits, wanted, hint) = if winner {
            (target.is(KindTag::Tournament), "a tournament", None)
        } else {
            let hint = target.is(KindTag::Tournament).then(|| format!("write `{id}.winner`"));
            let combines = target.is(KindTag::Reduce) && target.text("how") == Some("combine");
            (target.is(KindTag::Branch) || combines, "a branch", hint)
        };
        if !fits && target.tag.is_some() {
            let message = format!("`tree` needs {wanted}, and `{id}` is {}", kind_word(target));
            self.report.hinted(codes::WRONG_KIND, &tree.span, message, hint);
            return None;
        }
        Some(if winner { TreeRef::Winner(index(to)) } else { TreeRef::Branch(index(to)) })
    }

    /// The expression of a field of a node.
    pub(super) fn expr_field(&mut self, ix: usize, name: &str, place: Place, want: Want) -> Option<Expr> {
        let field = self.raw.nodes[ix].fields.get(name)?;
        self.expr(name, field, place, want)
    }

    /// Parses and resolves an expression.
    pub(super) fn expr(&mut self, name: &str, field: &Spanned, place: Place, want: Want) -> Option<Expr> {
        let SpannedValue::Str(source) = &field.value else { return None };
        let expr = match Expr::parse(source) {
            Ok(expr) => expr,
            Err(error) => {
                let span = span_within(&field.span, source, error.offset);
                let message = format!("`{name}` is no expression: {}", error.message);
                self.report.error(codes::EXPR_SYNTAX, &span, message);
                return None;
            }
        };
        let mut usage = ExprUse {
            name: name.to_owned(),
            expr: expr.clone(),
            span: field.span.clone(),
            place,
            want,
            names: BTreeMap::new(),
            envelopes: BTreeMap::new(),
        };
        for reference in expr.references() {
            match reference {
                Reference::Name(free) => {
                    let meaning = self.scopes.meaning(place, &free, &field.span);
                    let meaning = self.taken(place, meaning, &field.span);
                    usage.names.insert(free, meaning);
                }
                Reference::Envelope(id) => {
                    let meaning = self.scopes.node(place, &id, &field.span);
                    let meaning = self.taken(place, meaning, &field.span);
                    usage.envelopes.insert(id, meaning);
                }
            }
        }
        let slot = place.node().unwrap_or(self.raw.nodes.len());
        self.out.exprs[slot].push(usage);
        Some(expr)
    }

    /// Notes what a resolved name makes a node wait for; a name that means nothing is said once and then anything.
    fn taken(&mut self, place: Place, meaning: Result<Meaning, Diagnostic>, span: &Span) -> Meaning {
        let meaning = meaning.unwrap_or_else(|finding| {
            self.report.push(finding);
            Meaning::Any
        });
        if let (Meaning::Node(to), Some(from)) = (meaning, place.node()) {
            // A loop does not wait for its own children before it begins.
            let own_child = matches!(place, Place::Until(_)) && self.raw.nodes[to].parent == Some(from);
            if !own_child {
                self.out.edges.push(Edge { from, to, span: span.clone() });
                self.needs.insert(index(to));
            }
        }
        meaning
    }

    /// The expressions of a map, by name.
    pub(super) fn expr_map(&mut self, name: &str, field: &Spanned, place: Place) -> BTreeMap<String, Expr> {
        let SpannedValue::Map(entries) = &field.value else { return BTreeMap::new() };
        let mut exprs = BTreeMap::new();
        for (key, value) in entries {
            if let Some(expr) = self.expr(&format!("{name}.{}", key.name), value, place, Want::Any) {
                exprs.insert(key.name.clone(), expr);
            }
        }
        exprs
    }

    /// The variables of a node's templates.
    pub(super) fn vars(&mut self, ix: usize) -> BTreeMap<String, Expr> {
        match self.raw.nodes[ix].fields.get("vars") {
            Some(field) => self.expr_map("vars", field, Place::Node(ix)),
            None => BTreeMap::new(),
        }
    }

    /// The template of a field of a node.
    pub(super) fn template_field(&mut self, ix: usize, name: &str) -> Option<Template> {
        let field = self.raw.nodes[ix].fields.get(name)?;
        self.template(ix, field)
    }

    /// Parses and resolves a template.
    pub(super) fn template(&mut self, ix: usize, field: &Spanned) -> Option<Template> {
        let SpannedValue::Str(source) = &field.value else { return None };
        let reads = match template::reads(source) {
            Ok(reads) => reads,
            Err(fault) => {
                let span = line_within(&field.span, source, fault.line);
                let (code, hint) = match fault.kind {
                    FaultKind::Syntax => {
                        let hint = "text that only looks like a template goes between {% raw %} and {% endraw %}";
                        (codes::TEMPLATE_SYNTAX, Some(hint))
                    }
                    FaultKind::Limit => (codes::TEMPLATE_LIMIT, None),
                    FaultKind::Denied => (codes::TEMPLATE_DENIED, Some("compute it by an expression in `vars`")),
                };
                let message = format!("line {} of the template: {}", fault.line, fault.message);
                self.report.hinted(code, &span, message, hint.map(str::to_owned));
                return None;
            }
        };
        let mut template = Template { source: source.clone(), names: BTreeSet::new(), envelopes: BTreeSet::new() };
        let mut usage = TemplateUse { span: field.span.clone(), paths: Vec::new() };
        let locals = self.locals(ix);
        for whole in reads {
            let first = first_name(&whole).to_owned();
            let mut fields: Vec<String> = whole.split('.').skip(1).map(str::to_owned).collect();
            let place = Place::Node(ix);
            if locals.contains(&first) {
                template.names.insert(first);
                continue;
            }
            let envelope = first == "node" && !fields.is_empty();
            let meaning = if envelope {
                let id = fields.remove(0);
                let meaning = self.scopes.node(place, &id, &field.span);
                template.envelopes.insert(id);
                meaning
            } else {
                let meaning = self.scopes.meaning(place, &first, &field.span);
                template.names.insert(first);
                meaning
            };
            let meaning = self.taken(place, meaning, &field.span);
            usage.paths.push(TemplatePath { whole, meaning, fields, envelope });
        }
        self.out.templates[ix].push(usage);
        Some(template)
    }

    /// The names that only the templates of this node know.
    fn locals(&self, ix: usize) -> BTreeSet<String> {
        let node = &self.raw.nodes[ix];
        let mut locals: BTreeSet<String> = match node.fields.get("vars").map(|vars| &vars.value) {
            Some(SpannedValue::Map(entries)) => entries.iter().map(|(key, _)| key.name.clone()).collect(),
            _ => BTreeSet::new(),
        };
        if let Some(parent) = node.parent.filter(|_| node.inner) {
            let names: &[&str] = match self.raw.nodes[parent].tag {
                Some(KindTag::Reduce) => &["items"],
                Some(KindTag::Tournament) => &["first", "second"],
                Some(KindTag::TeacherReview) => &["of"],
                _ => &[],
            };
            locals.extend(names.iter().map(|name| (*name).to_owned()));
        }
        locals
    }
}

/// The position of a raw node in the arena: it is the same.
pub(super) fn index(ix: usize) -> NodeIx {
    NodeIx(u32::try_from(ix).unwrap_or(u32::MAX))
}

/// `an ask`, `a branch`, …
pub(super) fn kind_word(node: &RawNode) -> String {
    let word = node.tag.map_or("node", KindTag::as_str);
    let article = if word.starts_with(['a', 'e']) { "an" } else { "a" };
    format!("{article} {word}")
}

/// The statuses a node can live with; what consumes candidates lives with all.
fn accepted(raw: &RawNode) -> BTreeSet<Status> {
    const ENDS: [Status; 5] =
        [Status::Failed, Status::Skipped, Status::Cancelled, Status::TimedOut, Status::BudgetExceeded];
    let consumer =
        matches!(raw.tag, Some(KindTag::Reduce | KindTag::Pareto | KindTag::Tournament | KindTag::TeacherReview));
    let listed: BTreeSet<&str> = texts(raw.items("accept")).map(|(word, _)| word).collect();
    ENDS.into_iter().filter(|status| consumer || listed.contains(status.as_str())).collect()
}

/// The texts of a list with their places.
pub(super) fn texts(items: &[Spanned]) -> impl Iterator<Item = (&str, &Span)> {
    items.iter().filter_map(|item| match &item.value {
        SpannedValue::Str(text) => Some((text.as_str(), &item.span)),
        _ => None,
    })
}

/// A field of a map.
pub(super) fn entry<'d>(map: &'d Spanned, name: &str) -> Option<&'d Spanned> {
    match &map.value {
        SpannedValue::Map(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| value),
        _ => None,
    }
}

/// The milliseconds of a canonical duration.
pub(super) fn millis(raw: &RawNode, name: &str) -> Option<u64> {
    raw.fields.get(name).and_then(millis_of)
}

fn millis_of(field: &Spanned) -> Option<u64> {
    match &field.value {
        SpannedValue::Str(text) => super::text::parse_duration(text).ok(),
        _ => None,
    }
}

pub(super) fn count_of(field: Option<&Spanned>) -> Option<u64> {
    match field.map(|field| &field.value) {
        Some(SpannedValue::Int(number)) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn read_budget(field: &Spanned) -> Budget {
    let usd = entry(field, "usd").and_then(|usd| match usd.value {
        SpannedValue::Decimal(dollars) => u64::try_from(dollars.micros()).ok(),
        _ => None,
    });
    Budget {
        tokens: count_of(entry(field, "tokens")),
        cost_usd_micros: usd,
        wall_ms: entry(field, "wall").and_then(millis_of),
        leaves: count_of(entry(field, "leaves")),
    }
}

fn read_permissions(field: &Spanned) -> Permissions {
    let list = |name| match entry(field, name).map(|field| &field.value) {
        Some(SpannedValue::List(items)) => Some(texts(items).map(|(text, _)| text.to_owned()).collect::<Vec<_>>()),
        _ => None,
    };
    let writes = match entry(field, "writes").map(|field| &field.value) {
        Some(SpannedValue::List(items)) => Some(globs(items)),
        _ => None,
    };
    Permissions {
        writes,
        commands: list("commands"),
        network: list("network"),
        tools: list("tools"),
        secrets: list("secrets"),
    }
}

/// The globs of a list that the first pass has checked.
pub(super) fn globs(items: &[Spanned]) -> Vec<crate::glob::Glob> {
    texts(items).filter_map(|(text, _)| crate::glob::Glob::parse(text).ok()).collect()
}

fn read_retry(field: &Spanned) -> Retry {
    let default = Retry::default();
    let percent = entry(field, "factor").and_then(|factor| match factor.value {
        SpannedValue::Decimal(factor) => u32::try_from(factor.micros() / 10_000).ok(),
        _ => None,
    });
    let on = entry(field, "on").map(|on| match &on.value {
        SpannedValue::List(items) => texts(items).map(|(text, _)| text.to_owned()).collect(),
        _ => Vec::new(),
    });
    let attempts = count_of(entry(field, "attempts")).and_then(|count| u32::try_from(count).ok());
    Retry {
        attempts_max: attempts.unwrap_or(default.attempts_max),
        backoff_ms: entry(field, "backoff").and_then(millis_of).unwrap_or(default.backoff_ms),
        backoff_percent: percent.unwrap_or(default.backoff_percent),
        backoff_max_ms: entry(field, "max_backoff").and_then(millis_of).unwrap_or(default.backoff_max_ms),
        on: on.unwrap_or_default(),
    }
}

fn read_inputs(raw: &RawWorkflow) -> BTreeMap<String, InputDecl> {
    let Some(SpannedValue::Map(entries)) = raw.fields.get("inputs").map(|inputs| &inputs.value) else {
        return BTreeMap::new();
    };
    let text = |input: &Spanned, name: &str| match entry(input, name).map(|field| &field.value) {
        Some(SpannedValue::Str(text)) => text.clone(),
        _ => String::new(),
    };
    let read = |input: &Spanned| InputDecl {
        ty: Type::parse(&text(input, "type")).unwrap_or(Type::Any),
        default: entry(input, "default").map(Spanned::to_value),
        sensitive: matches!(entry(input, "sensitive").map(|field| &field.value), Some(SpannedValue::Bool(true))),
        description: text(input, "description"),
    };
    entries.iter().map(|(key, input)| (key.name.clone(), read(input))).collect()
}

fn read_roles(field: &Spanned) -> BTreeMap<String, RoleOverride> {
    let SpannedValue::Map(entries) = &field.value else { return BTreeMap::new() };
    let read = |role: &Spanned| RoleOverride {
        needs: match entry(role, "needs").map(|needs| &needs.value) {
            Some(SpannedValue::List(items)) => texts(items).map(|(text, _)| text.to_owned()).collect(),
            _ => Vec::new(),
        },
        params: entry(role, "params").and_then(|params| params.to_value().as_map().cloned()).unwrap_or_default(),
    };
    entries.iter().map(|(key, role)| (key.name.clone(), read(role))).collect()
}

/// The place of byte `offset` of a text, as far as its own place tells: exact for texts on one line that stand in the
/// source as they are, with or without quotes; otherwise where the text begins.
pub(super) fn span_within(span: &Span, text: &str, offset: usize) -> Span {
    let chars = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let width = span.end_column.saturating_sub(span.column);
    let quotes = width.checked_sub(chars(text));
    let before = text.get(..offset.min(text.len())).map(chars);
    match (quotes, before) {
        (Some(quotes @ (0 | 2)), Some(before)) if span.line != 0 && span.line == span.end_line => {
            Span { column: span.column + quotes / 2 + before, ..span.clone() }
        }
        _ => span.clone(),
    }
}

/// The place of a line of a text, as far as its own place tells: exact when it has as many lines in the source.
fn line_within(span: &Span, text: &str, line: usize) -> Span {
    let lines = text.matches('\n').count();
    let spread = span.end_line.saturating_sub(span.line) as usize;
    if line > 1 && lines == spread && span.line != 0 {
        let line = u32::try_from(line - 1).map_or(span.line, |below| span.line.saturating_add(below));
        return Span { line, column: 1, ..span.clone() };
    }
    span.clone()
}
