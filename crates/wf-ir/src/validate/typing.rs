//! The types of nodes, and the check of every expression and template against them.

use std::collections::BTreeMap;

use crate::codes;
use crate::expr::TypeScope;
use crate::node::{Candidates, How, InputDecl, Kind, NodeIx, Reduce};
use crate::types::Type;

use super::lower::{ExprUse, Lowered, TemplatePath, Want, span_within};
use super::normal::{RawWorkflow, shown};
use super::order::Order;
use super::report::{Report, did_you_mean};
use super::scope::{Meaning, Place};

/// Largest type that is kept, in parts; what is larger is not checked before a run.
const TYPE_PARTS_MAX: usize = 1_000;
/// Largest type of a candidate that is kept inside the type of what consumes it, so that chains stay cheap.
const CANDIDATE_PARTS_MAX: usize = 100;

/// Fills in the type of every node and checks what reads them.
pub(super) fn check(raw: &RawWorkflow, lowered: &mut Lowered, order: &Order, report: &mut Report) {
    let inputs = inputs_type(&lowered.inputs);
    let exprs = std::mem::take(&mut lowered.exprs);
    let mut typing = Typing { raw, order, lowered, report, inputs, elements: BTreeMap::new(), exprs: &exprs };
    for ix in &raw.children {
        typing.node(*ix);
    }
    typing.uses(raw.nodes.len(), |_| true);
    lowered.exprs = exprs;
}

/// What expressions may read of the inputs: the sensitive ones are not there.
fn inputs_type(inputs: &BTreeMap<String, InputDecl>) -> Type {
    let readable = inputs.iter().filter(|(_, input)| !input.sensitive);
    Type::Record(readable.map(|(name, input)| (name.clone(), input.ty.clone())).collect())
}

struct Typing<'w, 'r> {
    raw: &'w RawWorkflow,
    order: &'w Order,
    lowered: &'r mut Lowered,
    report: &'r mut Report,
    inputs: Type,
    /// The types of the elements of expands.
    elements: BTreeMap<usize, Type>,
    exprs: &'w [Vec<ExprUse>],
}

impl Typing<'_, '_> {
    /// Checks a node and all below it. What it reads has been looked at before.
    fn node(&mut self, ix: usize) {
        let own_children = |usage: &ExprUse| matches!(usage.place, Place::Until(_));
        self.uses(ix, |usage| !own_children(usage));
        for child in self.order.children(self.raw, ix) {
            self.node(child);
        }
        self.uses(ix, own_children);
        // The ask that a node makes for itself stands right behind it.
        if self.raw.nodes.get(ix + 1).is_some_and(|next| next.inner && next.parent == Some(ix)) {
            self.node(ix + 1);
        }
        self.templates(ix);
        let ty = bounded(self.type_of(ix));
        self.lowered.nodes[ix].ty = ty;
    }

    fn uses(&mut self, slot: usize, which: impl Fn(&ExprUse) -> bool) {
        let exprs = self.exprs;
        for usage in exprs[slot].iter().filter(|usage| which(usage)) {
            let found = usage.expr.check(&UseScope { typing: self, usage });
            match found {
                Ok(ty) => self.fits(usage, ty, slot),
                Err(error) => {
                    let span = span_within(&usage.span, usage.expr.as_str(), error.offset);
                    if let Some(name) = self.sensitive_input(usage) {
                        let message = format!("`{}` reads `inputs.{name}`, which is sensitive", usage.name);
                        let hint = "expressions cannot read sensitive inputs; templates can".to_owned();
                        self.report.hinted(codes::SENSITIVE_READ, &span, message, Some(hint));
                    } else {
                        let message = format!("`{}`: {}", usage.name, error.message);
                        self.report.hinted(codes::EXPR_TYPE, &span, message, error.hint);
                    }
                }
            }
        }
    }

    /// The sensitive input that an expression names, if it names one.
    fn sensitive_input(&self, usage: &ExprUse) -> Option<&str> {
        if usage.names.get("inputs") != Some(&Meaning::Inputs) {
            return None;
        }
        let source = usage.expr.as_str();
        let sensitive = self.lowered.inputs.iter().filter(|(_, input)| input.sensitive).map(|(name, _)| name.as_str());
        sensitive.into_iter().find(|name| {
            ["inputs.", "inputs[\"", "inputs['"].iter().any(|before| {
                source.match_indices(before).any(|(at, _)| {
                    let rest = &source[at + before.len()..];
                    rest.strip_prefix(name)
                        .is_some_and(|after| !after.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
                })
            })
        })
    }

    fn fits(&mut self, usage: &ExprUse, ty: Type, slot: usize) {
        let fits = match (usage.want, &ty) {
            (Want::Any, _) | (_, Type::Any) => true,
            (Want::Bool, ty) => *ty == Type::Bool,
            (Want::Int, ty) => *ty == Type::Int,
            (Want::Number, ty) => matches!(ty, Type::Int | Type::Number),
            (Want::ListOrInt, ty) => matches!(ty, Type::Int | Type::List(_)),
        };
        if !fits {
            let wanted = match usage.want {
                Want::Any => "anything",
                Want::Bool => "true or false",
                Want::Int => "an integer",
                Want::Number => "a number",
                Want::ListOrInt => "a list or an integer",
            };
            let message = format!("`{}` must be {wanted}, and this is {ty}", usage.name);
            self.report.error(codes::EXPR_TYPE, &usage.span, message);
        }
        if usage.want == Want::ListOrInt {
            let element = match ty {
                Type::List(item) => *item,
                Type::Int => Type::Int,
                _ => Type::Any,
            };
            self.elements.insert(slot, element);
        }
    }

    fn meaning(&self, meaning: Meaning) -> Type {
        match meaning {
            Meaning::Any => Type::Any,
            Meaning::Text => Type::Str,
            Meaning::Int => Type::Int,
            Meaning::Inputs => self.inputs.clone(),
            Meaning::Tree => tree_type(),
            Meaning::Node(ix) => self.lowered.nodes[ix].ty.clone(),
            Meaning::Element(ix) => {
                let item = self.elements.get(&ix).cloned().unwrap_or(Type::Any);
                record([("item", item), ("index", Type::Int)])
            }
            Meaning::Output(ix) => output_type(&self.lowered.nodes[ix].kind),
            Meaning::Candidate(ix) => self.candidate_type(ix),
        }
    }

    /// The type that all candidates of a node have.
    fn candidate_type(&self, ix: usize) -> Type {
        match &self.lowered.nodes[ix].kind {
            Kind::Reduce(Reduce { how: How::Combine { .. }, inputs, .. }) => match inputs.nodes() {
                [contest] => self.candidate_type(contest.0 as usize),
                _ => Type::Any,
            },
            Kind::Reduce(reduce) => self.common_type(&reduce.inputs),
            Kind::Pareto { candidates, .. } => self.common_type(candidates),
            Kind::Tournament(tournament) => self.common_type(&tournament.candidates),
            _ => Type::Any,
        }
    }

    fn common_type(&self, candidates: &Candidates) -> Type {
        let ty = |ix: &NodeIx| &self.lowered.nodes[ix.0 as usize].ty;
        let mut types = match candidates {
            Candidates::List(list) => list.iter().map(ty).collect::<Vec<_>>(),
            Candidates::Set(set) => match &self.lowered.nodes[set.0 as usize].kind {
                Kind::Parallel { children, .. } => children.iter().map(ty).collect(),
                Kind::Expand { children, .. } => children.last().map(ty).into_iter().collect(),
                _ => Vec::new(),
            },
        }
        .into_iter();
        match types.next() {
            Some(first) if parts(first) <= CANDIDATE_PARTS_MAX && types.all(|other| other == first) => first.clone(),
            _ => Type::Any,
        }
    }

    /// The type of a node's value, given those of the nodes below it and before it.
    fn type_of(&self, ix: usize) -> Type {
        let node = &self.lowered.nodes[ix];
        match &node.kind {
            Kind::Agent(_) | Kind::Ask(_) | Kind::Command(_) | Kind::Test(_) | Kind::Search(_) | Kind::Approve(_) => {
                output_type(&node.kind)
            }
            Kind::Memory(_) | Kind::Wait(_) | Kind::Call { .. } | Kind::Rlm { .. } => Type::Any,
            Kind::Branch { .. } => record([
                ("results", self.children_type(ix)),
                ("commit", Type::Str),
                ("base", Type::Str),
                ("tree", Type::Str),
                ("files", list(Type::Str)),
                ("insertions", Type::Int),
                ("deletions", Type::Int),
            ]),
            Kind::Parallel { .. } | Kind::Sequence { .. } | Kind::LoopUntil { .. } | Kind::Cond { .. } => {
                self.children_type(ix)
            }
            Kind::Expand { children, .. } => {
                let last = children.last().map(|ix| self.lowered.nodes[ix.0 as usize].ty.clone());
                list(last.unwrap_or(Type::Any))
            }
            Kind::Reduce(reduce) => match &reduce.how {
                _ if reduce.on_empty.is_some() => Type::Any,
                How::Concat => match self.common_type(&reduce.inputs) {
                    Type::List(item) => Type::List(item),
                    item => list(item),
                },
                How::Merge => Type::Map(Box::new(Type::Any)),
                How::Vote { .. } => record([("value", Type::Any), ("votes", Type::Int), ("total", Type::Int)]),
                How::Best { .. } => self.common_type(&reduce.inputs),
                How::Model { ask } => self.lowered.nodes[ask.0 as usize].ty.clone(),
                How::Combine { .. } => combined_type(),
            },
            Kind::Pareto { candidates, .. } => list(record([
                ("path", Type::Str),
                ("value", self.common_type(candidates)),
                ("scores", list(Type::Number)),
            ])),
            Kind::Tournament(tournament) => record([
                ("winner", Type::Str),
                ("value", self.common_type(&tournament.candidates)),
                ("ranking", list(Type::Any)),
                ("bracket", list(Type::Any)),
                ("fruit", list(Type::Any)),
            ]),
            Kind::TeacherReview { review, .. } => self.lowered.nodes[review.0 as usize].ty.clone(),
        }
    }

    /// The values of a node's children by id. Values too large together are not looked into.
    fn children_type(&self, ix: usize) -> Type {
        let children: Vec<usize> = self.raw.nodes[ix].children().collect();
        let parts: usize = children.iter().map(|child| parts(&self.lowered.nodes[*child].ty)).sum();
        if children.len() > TYPE_PARTS_MAX {
            return Type::Map(Box::new(Type::Any));
        }
        let ty = |child: usize| match parts {
            0..=TYPE_PARTS_MAX => self.lowered.nodes[child].ty.clone(),
            _ => Type::Any,
        };
        Type::Record(children.into_iter().map(|child| (self.raw.nodes[child].id.clone(), ty(child))).collect())
    }

    fn templates(&mut self, ix: usize) {
        for usage in std::mem::take(&mut self.lowered.templates[ix]) {
            for path in &usage.paths {
                if let Some((message, hint)) = self.template_fault(path) {
                    let code =
                        if path.meaning == Meaning::Inputs { codes::UNKNOWN_INPUT } else { codes::TEMPLATE_FIELD };
                    self.report.hinted(code, &usage.span, message, hint);
                }
            }
        }
    }

    /// What is wrong with a path of a template: a field that its value certainly has not.
    fn template_fault(&self, path: &TemplatePath) -> Option<(String, Option<String>)> {
        let mut ty = match path.meaning {
            // Templates may read sensitive inputs too.
            Meaning::Inputs => {
                Type::Record(self.lowered.inputs.iter().map(|(name, input)| (name.clone(), input.ty.clone())).collect())
            }
            meaning => self.meaning(meaning),
        };
        if path.envelope {
            ty = record([("path", Type::Str), ("status", Type::Str), ("value", ty)]);
        }
        for field in &path.fields {
            ty = match ty {
                Type::Record(mut fields) => match fields.remove(field) {
                    Some(ty) => ty,
                    None => {
                        let hint = did_you_mean(field, fields.keys().map(String::as_str))
                            .or_else(|| Some(format!("it has {}", names(&fields))));
                        let message =
                            format!("`{}` does not exist: there is no `{}`", shown(&path.whole), shown(field));
                        return Some((message, hint));
                    }
                },
                Type::Map(item) => *item,
                Type::Any => return None,
                ty => {
                    let message =
                        format!("`{}` does not exist: a value of type {ty} has no fields", shown(&path.whole));
                    return Some((message, None));
                }
            };
        }
        None
    }
}

/// Some names of fields, for a hint.
fn names(fields: &BTreeMap<String, Type>) -> String {
    const SHOWN: usize = 12;
    let mut names: Vec<&str> = fields.keys().map(String::as_str).take(SHOWN).collect();
    if names.is_empty() {
        return "no fields".to_owned();
    }
    if fields.len() > SHOWN {
        names.push("…");
    }
    names.join(", ")
}

/// The types an expression sees.
struct UseScope<'u, 'w, 'r> {
    typing: &'u Typing<'w, 'r>,
    usage: &'u ExprUse,
}

impl TypeScope for UseScope<'_, '_, '_> {
    fn name(&self, name: &str) -> Option<Type> {
        self.usage.names.get(name).map(|meaning| self.typing.meaning(*meaning))
    }

    fn envelope(&self, id: &str) -> Option<Type> {
        self.usage.envelopes.get(id).map(|meaning| self.typing.meaning(*meaning))
    }
}

/// The type of what a leaf hands back.
fn output_type(kind: &Kind) -> Type {
    let exit = [("exit_code", Type::Int), ("stdout", Type::Str), ("stderr", Type::Str)];
    match kind {
        Kind::Agent(agent) => agent.output.as_ref().map_or(Type::Str, Type::from_schema),
        Kind::Ask(ask) => ask.output.as_ref().map_or(Type::Str, Type::from_schema),
        Kind::Command(_) => record(exit),
        Kind::Test(_) => record(exit.into_iter().chain([("passed", Type::Bool)])),
        Kind::Search(_) => record([
            ("matches", list(record([("path", Type::Str), ("line", Type::Int), ("text", Type::Str)]))),
            ("count", Type::Int),
            ("truncated", Type::Bool),
        ]),
        Kind::Approve(approve) => approve.form.as_ref().map_or(Type::Any, Type::from_schema),
        _ => Type::Any,
    }
}

/// The type of a winner's tree with chosen fruit.
fn combined_type() -> Type {
    let part = [("path", Type::Str), ("files", list(Type::Str))];
    record([
        ("winner", Type::Str),
        ("commit", Type::Str),
        ("base", Type::Str),
        ("tree", Type::Str),
        ("files", list(Type::Str)),
        ("insertions", Type::Int),
        ("deletions", Type::Int),
        ("taken", list(record(part.clone()))),
        ("left", list(record(part.into_iter().chain([("why", Type::Str)])))),
    ])
}

fn tree_type() -> Type {
    record([("diff", Type::Str), ("files", list(Type::Str)), ("commit", Type::Str)])
}

fn record<'n>(fields: impl IntoIterator<Item = (&'n str, Type)>) -> Type {
    Type::Record(fields.into_iter().map(|(name, ty)| (name.to_owned(), ty)).collect())
}

fn list(item: Type) -> Type {
    Type::List(Box::new(item))
}

/// How many parts a type has.
fn parts(ty: &Type) -> usize {
    match ty {
        Type::Any | Type::Null | Type::Bool | Type::Int | Type::Number | Type::Str => 1,
        Type::List(item) | Type::Map(item) => 1 + parts(item),
        Type::Record(fields) => 1 + fields.values().map(parts).sum::<usize>(),
    }
}

/// The type, unless it is so large that it would cost more than it helps.
fn bounded(ty: Type) -> Type {
    if parts(&ty) > TYPE_PARTS_MAX { Type::Any } else { ty }
}
