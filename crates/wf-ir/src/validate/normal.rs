//! First pass: from a draft to nodes whose fields have the right types and are in canonical form, with every default
//! filled in. It follows the table in [`crate::fields`] and knows nothing of names, expressions or trees.

use std::collections::{BTreeMap, BTreeSet};

use crate::codes;
use crate::draft::{Key, Span, Spanned, SpannedValue};
use crate::fields::{self, Field, FieldType, KindTag, Presence};
use crate::limits::{DEPTH_MAX, NODES_MAX};
use crate::node::SCHEMA_VERSION;
use crate::value::Value;

use super::report::{Report, did_you_mean};
use super::text::{self, NameFault};

/// A node after the first pass.
#[derive(Debug)]
pub(crate) struct RawNode {
    /// Its kind; `None` when the source names no known one.
    pub(crate) tag: Option<KindTag>,
    /// Its id.
    pub(crate) id: String,
    /// Where its id stands.
    pub(crate) id_span: Span,
    /// Where it stands.
    pub(crate) span: Span,
    /// The enclosing node.
    pub(crate) parent: Option<usize>,
    /// Which list of the enclosing node it is in (`otherwise` is 1).
    pub(crate) side: usize,
    /// Its position in that list.
    pub(crate) position: usize,
    /// Whether it is the ask that its parent makes for itself.
    pub(crate) inner: bool,
    /// The keys that the source gives, even when their values are wrong.
    pub(crate) given: BTreeSet<&'static str>,
    /// Its fields, without lists of nodes.
    pub(crate) fields: BTreeMap<&'static str, Spanned>,
    /// Its lists of nodes.
    pub(crate) lists: Vec<(&'static str, Vec<usize>)>,
}

impl RawNode {
    /// The nodes directly below, in order; inner asks are not among them.
    pub(crate) fn children(&self) -> impl Iterator<Item = usize> + '_ {
        self.lists.iter().flat_map(|(_, list)| list.iter().copied())
    }

    /// The text of a field, if it has one.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        match &self.fields.get(field)?.value {
            SpannedValue::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a field, if it is a list.
    pub(crate) fn items(&self, field: &str) -> &[Spanned] {
        match self.fields.get(field).map(|field| &field.value) {
            Some(SpannedValue::List(items)) => items,
            _ => &[],
        }
    }

    /// Where a field stands; where the node stands when the field was not given.
    pub(crate) fn span_of(&self, field: &str) -> &Span {
        self.fields.get(field).map_or(&self.span, |field| &field.span)
    }

    /// Whether it is of this kind.
    pub(crate) fn is(&self, tag: KindTag) -> bool {
        self.tag == Some(tag)
    }
}

/// A workflow after the first pass.
#[derive(Debug, Default)]
pub(crate) struct RawWorkflow {
    /// Its fields, without `children`.
    pub(crate) fields: BTreeMap<&'static str, Spanned>,
    /// All nodes; parents before children.
    pub(crate) nodes: Vec<RawNode>,
    /// The nodes at the root, in order.
    pub(crate) children: Vec<usize>,
    /// Where it stands.
    pub(crate) span: Span,
}

/// Deepest nesting of lists and maps in a draft: nodes take two levels each, and a field may nest on its own.
pub(crate) const DRAFT_DEPTH_MAX: usize = 3 * DEPTH_MAX + 8;

/// The first pass. `None` when nothing can be made of the draft.
pub(super) fn read_workflow(root: &Spanned, report: &mut Report) -> Option<RawWorkflow> {
    if let Some(span) = too_deep(root) {
        report.error(codes::TOO_DEEP, &span, format!("this nests deeper than {DRAFT_DEPTH_MAX} levels"));
        return None;
    }
    let SpannedValue::Map(entries) = &root.value else {
        report.hinted(
            codes::NOT_A_WORKFLOW,
            &root.span,
            format!("a workflow is a map, not {}", with_article(root)),
            Some("write `{workflow: name, children: […]}`".to_owned()),
        );
        return None;
    };
    if newer_schema(entries, report) {
        return None;
    }
    let mut reader = Reader { report, nodes: Vec::new(), full: false, defaults: BTreeMap::new() };
    let picked = reader.pick(entries, fields::WORKFLOW, "a workflow", None, &root.span);
    let mut children = Vec::new();
    let mut values = BTreeMap::new();
    let given_version = picked.get("schema_version").copied();
    for field in fields::WORKFLOW {
        let given = picked.get(field.name).copied();
        if let FieldType::Nodes { min } = field.ty {
            children = reader.nodes_of(field.name, min, given, &root.span, Place { parent: None, side: 0, depth: 1 });
        } else if let Some(value) = reader.field(field, given, &root.span) {
            values.insert(field.name, value);
        }
    }
    let nodes = reader.nodes;
    settle_version(&mut values, given_version, &nodes, &root.span, report);
    Some(RawWorkflow { fields: values, nodes, children, span: root.span.clone() })
}

/// Writes down the lowest version that has everything the definition uses, so that one meaning has one hash and a new
/// field changes none of a definition without it.
fn settle_version(
    values: &mut BTreeMap<&'static str, Spanned>,
    given: Option<&Spanned>,
    nodes: &[RawNode],
    span: &Span,
    report: &mut Report,
) {
    let newest = nodes.iter().map(|node| (version_of(node), node)).max_by_key(|(version, _)| *version);
    let needed = newest.map_or(1, |(version, _)| version);
    if let (Some(Spanned { value: SpannedValue::Int(version), span }), Some((_, node))) = (given, newest)
        && *version >= 1
        && *version < i64::from(needed)
    {
        let message = format!("this definition says schema version {version}, and `{}` needs {needed}", node.id);
        let hint = "leave `schema_version` out: it is found from what the definition uses".to_owned();
        report.hinted(codes::OLDER_SCHEMA, span, message, Some(hint));
    }
    if values.contains_key("schema_version") {
        let value = SpannedValue::Int(i64::from(needed));
        values.insert("schema_version", Spanned { value, span: span.clone() });
    }
}

/// The version of the definition that brought what a node uses.
fn version_of(node: &RawNode) -> u32 {
    match node.tag {
        Some(KindTag::Reduce) if node.text("how") == Some("combine") => 2,
        Some(KindTag::Agent) if node.fields.contains_key("tasks") => 2,
        _ => 1,
    }
}

/// Says so when the definition is written for a version that this binary does not know. Its keys may mean anything
/// then, so nothing else is said about it.
fn newer_schema(entries: &[(Key, Spanned)], report: &mut Report) -> bool {
    let version = entries.iter().find(|(key, _)| key.name == "schema_version");
    if let Some((_, Spanned { value: SpannedValue::Int(version), span })) = version
        && *version > i64::from(SCHEMA_VERSION)
    {
        let message =
            format!("this definition has schema version {version}; this binary knows versions up to {SCHEMA_VERSION}");
        report.hinted(codes::NEWER_SCHEMA, span, message, Some("use a newer whaleflow".to_owned()));
        return true;
    }
    false
}

/// The place at which a draft nests deeper than the limit. It does not recurse, so it may be asked of anything.
fn too_deep(root: &Spanned) -> Option<Span> {
    let mut open = vec![(root, 1)];
    while let Some((spanned, depth)) = open.pop() {
        if depth > DRAFT_DEPTH_MAX {
            return Some(spanned.span.clone());
        }
        match &spanned.value {
            SpannedValue::List(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            SpannedValue::Map(entries) => open.extend(entries.iter().map(|(_, value)| (value, depth + 1))),
            SpannedValue::Null
            | SpannedValue::Bool(_)
            | SpannedValue::Int(_)
            | SpannedValue::Decimal(_)
            | SpannedValue::Str(_) => {}
        }
    }
    None
}

/// `a list`, `an int`, …
pub(super) fn with_article(spanned: &Spanned) -> &'static str {
    match &spanned.value {
        SpannedValue::Null => "null",
        SpannedValue::Bool(_) => "a bool",
        SpannedValue::Int(_) => "an integer",
        SpannedValue::Decimal(_) => "a decimal",
        SpannedValue::Str(_) => "a string",
        SpannedValue::List(_) => "a list",
        SpannedValue::Map(_) => "a map",
    }
}

/// Where a list of nodes is.
#[derive(Clone, Copy)]
struct Place {
    parent: Option<usize>,
    side: usize,
    depth: usize,
}

pub(super) struct Reader<'r> {
    pub(super) report: &'r mut Report,
    nodes: Vec<RawNode>,
    full: bool,
    /// The canonical forms of defaults, by field.
    defaults: BTreeMap<*const Field, Value>,
}

pub(super) type Picked<'d> = BTreeMap<&'static str, &'d Spanned>;

impl<'r> Reader<'r> {
    /// The values of known keys; says which keys are unknown or there twice.
    pub(super) fn pick<'d>(
        &mut self,
        entries: &'d [(Key, Spanned)],
        known: impl IntoIterator<Item = &'static Field> + Clone,
        noun: &str,
        skip: Option<&str>,
        span: &Span,
    ) -> Picked<'d> {
        let mut picked = Picked::new();
        let mut seen = BTreeSet::new();
        for (key, value) in entries {
            if !seen.insert(key.name.as_str()) {
                let message = format!("the key `{}` is there twice", key.name);
                self.report.error(codes::DUPLICATE_KEY, &key.span, message);
                continue;
            }
            if skip == Some(key.name.as_str()) {
                continue;
            }
            match known.clone().into_iter().find(|field| field.name == key.name) {
                Some(field) => {
                    let absent = matches!(value.value, SpannedValue::Null) && !matches!(field.ty, FieldType::Any);
                    if !absent {
                        picked.insert(field.name, value);
                    }
                }
                None => self.unknown_key(key, known.clone(), noun),
            }
        }
        for field in known {
            if matches!(field.presence, Presence::Required) && !picked.contains_key(field.name) {
                let message = format!("{noun} needs `{}`", field.name);
                self.report.hinted(codes::MISSING_KEY, span, message, Some(described(field)));
            }
        }
        picked
    }

    fn unknown_key(&mut self, key: &Key, known: impl IntoIterator<Item = &'static Field> + Clone, noun: &str) {
        if self.report.is_full() {
            return self.report.error(codes::UNKNOWN_KEY, &key.span, "");
        }
        let names = || known.clone().into_iter().map(|field| field.name);
        let hint = did_you_mean(&key.name, names())
            .unwrap_or_else(|| format!("it has {}", names().collect::<Vec<_>>().join(", ")));
        let message = format!("{noun} has no field `{}`", shown(&key.name));
        self.report.hinted(codes::UNKNOWN_KEY, &key.span, message, Some(hint));
    }

    /// The canonical form of one field, or its default.
    pub(super) fn field(&mut self, field: &'static Field, given: Option<&Spanned>, span: &Span) -> Option<Spanned> {
        if let Some(value) = given {
            return self.normal(field.name, &field.ty, value);
        }
        match field.presence {
            Presence::Required | Presence::Optional | Presence::Computed(_) => None,
            Presence::Default(json) => {
                let place = std::ptr::from_ref(field);
                if !self.defaults.contains_key(&place) {
                    let value = Value::from_json(json).ok()?;
                    let normal = self.normal(field.name, &field.ty, &Spanned::from_value(&value, span))?;
                    self.defaults.insert(place, normal.to_value());
                }
                self.defaults.get(&place).map(|value| Spanned::from_value(value, span))
            }
        }
    }

    fn nodes_of(&mut self, name: &str, min: usize, given: Option<&Spanned>, span: &Span, place: Place) -> Vec<usize> {
        let Some(given) = given else { return Vec::new() };
        let SpannedValue::List(items) = &given.value else {
            self.wrong_type(name, "a list of nodes", given);
            return Vec::new();
        };
        if items.len() < min {
            let span = if given.span.line == 0 { span } else { &given.span };
            self.report.error(codes::TOO_FEW, span, format!("`{name}` needs at least {min} node"));
        }
        if place.depth > DEPTH_MAX && !items.is_empty() {
            self.report.error(
                codes::NODES_TOO_DEEP,
                &given.span,
                format!("nodes nest deeper than {DEPTH_MAX} levels here"),
            );
            return Vec::new();
        }
        let mut list = Vec::new();
        for item in items {
            if let Some(ix) = self.node(item, place, list.len()) {
                list.push(ix);
            }
        }
        list
    }

    fn node(&mut self, item: &Spanned, place: Place, position: usize) -> Option<usize> {
        if self.nodes.len() >= NODES_MAX {
            if !std::mem::replace(&mut self.full, true) {
                let message = format!("a workflow has at most {NODES_MAX} nodes");
                let hint = "let `expand` make nodes of one kind from a list".to_owned();
                self.report.hinted(codes::TOO_MANY_NODES, &item.span, message, Some(hint));
            }
            return None;
        }
        let SpannedValue::Map(entries) = &item.value else {
            let hint = "write a node as `{ask: its_id, prompt: …}`".to_owned();
            let message = format!("a node is a map, not {}", with_article(item));
            self.report.hinted(codes::WRONG_TYPE, &item.span, message, Some(hint));
            return None;
        };
        let (tag, id) = self.kind_of(entries, &item.span);
        let (id, id_span) = match id {
            Some((id, span)) => (id, span),
            None => (String::new(), item.span.clone()),
        };
        let ix = self.nodes.len();
        self.nodes.push(RawNode {
            tag,
            id,
            id_span,
            span: item.span.clone(),
            parent: place.parent,
            side: place.side,
            position,
            inner: false,
            given: BTreeSet::new(),
            fields: BTreeMap::new(),
            lists: Vec::new(),
        });
        if let Some(tag) = tag {
            self.fields_of(ix, tag, entries, place.depth);
        }
        Some(ix)
    }

    /// The kind and the id of a node: from its first key, or, as in the canonical form, from the only key that names
    /// a kind. No field of a node is named as a kind.
    fn kind_of(&mut self, entries: &[(Key, Spanned)], span: &Span) -> (Option<KindTag>, Option<(String, Span)>) {
        let mut kinds = entries.iter().filter_map(|entry| Some((KindTag::from_word(&entry.0.name)?, entry)));
        let Some((tag, (_, id))) = kinds.next() else {
            let first = entries.first();
            let (span, message) = match first {
                Some((key, _)) => (&key.span, format!("`{}` is no kind of node", shown(&key.name))),
                None => (span, "a node needs a kind and an id".to_owned()),
            };
            let words = fields::KINDS.iter().map(|kind| kind.tag.as_str());
            let hint = first
                .and_then(|(key, _)| did_you_mean(&key.name, words.clone()))
                .unwrap_or_else(|| format!("the kinds are {}", words.collect::<Vec<_>>().join(", ")));
            self.report.hinted(codes::UNKNOWN_KIND, span, message, Some(hint));
            let id = first.and_then(|(_, id)| match &id.value {
                SpannedValue::Str(text) if text::is_name(text, false) => Some((text.clone(), id.span.clone())),
                _ => None,
            });
            return (None, id);
        };
        if let Some((other, (key, _))) = kinds.find(|(other, _)| *other != tag) {
            let message = format!("a node is of one kind: `{}` or `{}`", tag.as_str(), other.as_str());
            self.report.error(codes::TWO_KINDS, &key.span, message);
            return (None, None);
        }
        let SpannedValue::Str(text) = &id.value else {
            self.wrong_type(tag.as_str(), "the id of the node", id);
            return (Some(tag), None);
        };
        self.check_name(text, &id.span, "an id");
        (Some(tag), Some((text.clone(), id.span.clone())))
    }

    pub(super) fn check_name(&mut self, name: &str, span: &Span, noun: &str) {
        match text::check_name(name) {
            Ok(()) => {}
            Err(NameFault::Form) => {
                let message = format!(
                    "{noun} is a lower-case letter and at most {} letters, digits and `_`, not {:?}",
                    text::NAME_BYTES_MAX - 1,
                    shown(name)
                );
                let hint = text::repaired(name).map(|name| format!("write `{name}`"));
                self.report.hinted(codes::BAD_NAME, span, message, hint);
            }
            Err(NameFault::Reserved) => {
                let message = format!("`{name}` cannot be {noun}: expressions and templates understand it already");
                self.report.error(codes::RESERVED_NAME, span, message);
            }
        }
    }

    fn fields_of(&mut self, ix: usize, tag: KindTag, entries: &[(Key, Spanned)], depth: usize) {
        let span = self.nodes[ix].span.clone();
        let known: Vec<&'static Field> = tag.fields().collect();
        let word = tag.as_str();
        let picked = self.pick(entries, known.iter().copied(), &format!("`{word}`"), Some(word), &span);
        let mut values = BTreeMap::new();
        let mut lists = Vec::new();
        for field in known {
            let given = picked.get(field.name).copied();
            if let FieldType::Nodes { min } = field.ty {
                let place = Place { parent: Some(ix), side: lists.len(), depth: depth + 1 };
                let list = self.nodes_of(field.name, min, given, &span, place);
                lists.push((field.name, list));
            } else if let Some(value) = self.field(field, given, &span) {
                values.insert(field.name, value);
            }
        }
        self.computed(tag, &mut values, &lists, &span);
        let node = &mut self.nodes[ix];
        node.given = picked.into_keys().collect();
        node.fields = values;
        node.lists = lists;
        self.inner(ix, depth + 1);
    }

    /// The defaults that depend on the node.
    fn computed(
        &mut self,
        tag: KindTag,
        values: &mut BTreeMap<&'static str, Spanned>,
        lists: &[(&'static str, Vec<usize>)],
        span: &Span,
    ) {
        if tag.fields().any(|field| field.name == "retry") && !values.contains_key("retry") {
            let attempts = if values.contains_key("ensure") { 3 } else { 1 };
            let retry = Spanned::from_value(&Value::map([("attempts", Value::Int(attempts))]), span);
            if let Some(retry) = self.normal("retry", &FieldType::Shape(&fields::RETRY), &retry) {
                values.insert("retry", retry);
            }
        }
        if tag == KindTag::Parallel && !values.contains_key("width") {
            let children: usize = lists.iter().map(|(_, list)| list.len()).sum();
            let width = i64::try_from(children.max(1)).unwrap_or(i64::MAX);
            values.insert("width", Spanned { value: SpannedValue::Int(width), span: span.clone() });
        }
        let combines =
            matches!(values.get("how").map(|how| &how.value), Some(SpannedValue::Str(how)) if how == "combine");
        if tag == KindTag::Reduce && combines && !values.contains_key("take") {
            let both = Value::List(["tests", "patches"].map(Value::from).to_vec());
            values.insert("take", Spanned::from_value(&both, span));
        }
    }

    /// The ask that a control node makes for itself, as a node under it.
    fn inner(&mut self, ix: usize, depth: usize) {
        let node = &self.nodes[ix];
        let (id, fields) = match node.tag {
            Some(KindTag::Reduce) if node.text("how") == Some("model") && node.fields.contains_key("prompt") => {
                ("model", copied(&node.fields, &["prompt", "vars", "output", "retry", "timeout"]))
            }
            Some(KindTag::Tournament) => match node.fields.get("judge").map(|judge| &judge.value) {
                Some(SpannedValue::Map(judge)) => ("judge", self.judge_fields(judge, &node.span)),
                _ => return,
            },
            Some(KindTag::TeacherReview) => ("review", review_fields(node)),
            _ => return,
        };
        let span = node.span.clone();
        if depth > DEPTH_MAX {
            let message = format!("nodes nest deeper than {DEPTH_MAX} levels here");
            self.report.error(codes::NODES_TOO_DEEP, &span, message);
        }
        self.nodes.push(RawNode {
            tag: Some(KindTag::Ask),
            id: id.to_owned(),
            id_span: span.clone(),
            span,
            parent: Some(ix),
            side: 0,
            position: 0,
            inner: true,
            given: BTreeSet::new(),
            fields,
            lists: Vec::new(),
        });
    }

    fn judge_fields(&self, judge: &[(Key, Spanned)], span: &Span) -> BTreeMap<&'static str, Spanned> {
        let mut fields: BTreeMap<&'static str, Spanned> = BTreeMap::new();
        for name in ["prompt", "vars", "role", "retry", "timeout"] {
            if let Some((_, value)) = judge.iter().find(|(key, _)| key.name == name) {
                fields.insert(name, value.clone());
            }
        }
        fields.insert("output", Spanned::from_value(&json(JUDGE_OUTPUT), span));
        fields
    }
}

/// The answer of a judge.
const JUDGE_OUTPUT: &str = r#"{
    "type": "object", "additionalProperties": false, "required": ["winner", "reason"],
    "properties": {"winner": {"enum": ["first", "second", "tie"]}, "reason": {"type": "string"}}
}"#;

/// The answer of a teacher.
const REVIEW_OUTPUT: &str = r#"{
    "type": "object", "additionalProperties": false, "required": ["candidates"],
    "properties": {"candidates": {"type": "array", "items": {
        "type": "object", "additionalProperties": false, "required": ["kind", "title", "body", "evidence"],
        "properties": {
            "kind": {"enum": ["note", "prompt_patch", "workflow", "test", "branch_heuristic", "model_policy",
                              "cache_policy"]},
            "title": {"type": "string"}, "body": {"type": "string"},
            "evidence": {"type": "array", "items": {"type": "string"}}
        }
    }}}
}"#;

/// What a teacher is asked, before the policy.
const REVIEW_PROMPT: &str = "Read what the nodes below did and propose what later runs should know or do differently. \
Propose only what the evidence below supports, and name that evidence; an empty list is a good answer.
{% for item in of %}
## {{ item.path }}: {{ item.status }}
{{ item.value }}
{% endfor %}
";

fn json(text: &str) -> Value {
    Value::from_json(text).unwrap_or_default()
}

fn copied(fields: &BTreeMap<&'static str, Spanned>, names: &[&'static str]) -> BTreeMap<&'static str, Spanned> {
    names.iter().filter_map(|name| Some((*name, fields.get(name)?.clone()))).collect()
}

fn review_fields(node: &RawNode) -> BTreeMap<&'static str, Spanned> {
    let mut fields = copied(&node.fields, &["retry", "timeout"]);
    let policy = node.text("policy").unwrap_or_default();
    let wanted = if policy.is_empty() { "" } else { "\nWhat to look for: " };
    let prompt = format!("{REVIEW_PROMPT}{wanted}{policy}");
    let span = node.span_of("policy").clone();
    fields.insert("prompt", Spanned { value: SpannedValue::Str(prompt), span });
    fields.insert("output", Spanned::from_value(&json(REVIEW_OUTPUT), &node.span));
    fields
}

/// What a field is, as a hint.
fn described(field: &Field) -> String {
    let doc = field.doc.trim_end_matches('.');
    let mut letters = doc.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    let keep = letters.as_str().starts_with(|second: char| second.is_ascii_uppercase());
    let doc = if keep { doc.to_owned() } else { first.into_iter().chain(letters).collect() };
    format!("`{}` is: {doc}", field.name)
}

/// A name from a source, cut to a length that fits a sentence.
pub(super) fn shown(name: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut text: String = name.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}
