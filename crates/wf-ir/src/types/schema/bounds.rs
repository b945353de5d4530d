//! What a schema may not do: leave its document, exhaust the stack, or look at one part of a value too often.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::DEPTH_MAX;
use crate::value::Value;

/// Most patterns in one schema.
const PATTERNS_MAX: usize = 64;
/// Most schemas that can lie within each other when every reference is followed once.
const NESTING_MAX: usize = 512;
/// Most schemas that can be open at once while a value is checked.
const OPEN_MAX: usize = 512;
/// Most single checks of one value against one schema, as an upper bound.
const WORK_MAX: usize = 100_000_000;
/// How deep the values are for which a schema must be workable at all.
const USUAL_DEPTH: usize = 8;

/// Versions of JSON Schema that are read.
const VERSIONS: [&str; 4] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
];

/// What a schema within a schema is applied to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Applies {
    /// The same value.
    Here,
    /// Any part of the value.
    Below,
    /// One part of the value that no other schema of the same keyword is applied to.
    BelowAlone,
    /// Nothing, until it is referred to.
    Never,
}

/// How a keyword holds schemas: as a map of them, or else as one or a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Named,
    Plain,
}

fn keyword(name: &str) -> Option<(Applies, Holds)> {
    match name {
        "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else" => Some((Applies::Here, Holds::Plain)),
        "dependentSchemas" | "dependencies" => Some((Applies::Here, Holds::Named)),
        "items"
        | "additionalItems"
        | "unevaluatedItems"
        | "contains"
        | "additionalProperties"
        | "unevaluatedProperties"
        | "propertyNames" => Some((Applies::Below, Holds::Plain)),
        "patternProperties" => Some((Applies::Below, Holds::Named)),
        "prefixItems" => Some((Applies::BelowAlone, Holds::Plain)),
        "properties" => Some((Applies::BelowAlone, Holds::Named)),
        "$defs" | "definitions" => Some((Applies::Never, Holds::Named)),
        _ => None,
    }
}

/// A schema directly within another.
struct Part<'a> {
    keyword: &'a str,
    applies: Applies,
    /// Its name or number, when the keyword holds several.
    name: Option<String>,
    schema: &'a Value,
}

fn parts(schema: &Value) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for (name, held) in schema.as_map().into_iter().flatten() {
        let Some((applies, holds)) = keyword(name) else { continue };
        let mut push = |below: Option<String>, schema| parts.push(Part { keyword: name, applies, name: below, schema });
        match (holds, held) {
            (Holds::Named, Value::Map(named)) => named.iter().for_each(|(key, part)| push(Some(escaped(key)), part)),
            (Holds::Plain, Value::List(list)) => {
                list.iter().enumerate().for_each(|(at, part)| push(Some(at.to_string()), part));
            }
            (Holds::Plain, Value::Map(_) | Value::Bool(_)) => push(None, held),
            // What is no schema here is an error of the schema, which compiling it will name.
            _ => {}
        }
    }
    parts
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// What the reference `#…` of a document points to.
pub(super) fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    // Escaped with `%`, the same reference could be read in two ways.
    let pointer = reference.strip_prefix('#').filter(|pointer| !pointer.contains('%'))?;
    if pointer.is_empty() {
        return Some(root);
    }
    let mut at = root;
    for segment in pointer.strip_prefix('/')?.split('/') {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        at = match at {
            Value::Map(entries) => entries.get(&segment)?,
            Value::List(items) => items.get(segment.parse::<usize>().ok()?)?,
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Decimal(_) | Value::Str(_) => return None,
        };
    }
    Some(at)
}

/// Checks what can be said without a value.
pub(super) fn check_form(schema: &Value) -> Result<(), String> {
    if let Value::Str(version) = schema.get("$schema")
        && !VERSIONS.contains(&version.trim_end_matches('#'))
    {
        return Err(format!("at /$schema: {version:?} is not read; known are {}", VERSIONS.join(", ")));
    }
    let mut form = Form { root: schema, heights: BTreeMap::new(), targets: BTreeMap::new(), patterns: 0 };
    let mut nesting = form.walk(schema, 0)?;
    let mut counted = BTreeSet::new();
    while let Some((reference, target)) = form.targets.pop_first() {
        if counted.insert(reference) {
            nesting += form.walk(target, 0).map_err(|problem| problem.within(reference))?;
        }
        if nesting > NESTING_MAX {
            return Err(format!("more than {NESTING_MAX} schemas lie within each other through references"));
        }
    }
    Cost { root: schema, known: BTreeMap::new() }.of(schema, USUAL_DEPTH, 0).map(drop)
}

/// What a schema may not do, and where it does it.
struct Problem {
    place: String,
    reason: String,
}

impl Problem {
    fn at<T>(place: &str, reason: impl Into<String>) -> Result<T, Self> {
        Err(Self { place: place.to_owned(), reason: reason.into() })
    }

    /// The same, seen from further out.
    fn within(mut self, place: &str) -> Self {
        self.place.insert_str(0, place.trim_start_matches('#'));
        self
    }
}

impl From<Problem> for String {
    fn from(problem: Problem) -> Self {
        format!("at {}: {}", problem.place, problem.reason)
    }
}

/// A walk over all schemas of a document.
struct Form<'a> {
    root: &'a Value,
    /// How many schemas lie within each that was walked, by its address.
    heights: BTreeMap<usize, usize>,
    /// What references point to and is still to be walked.
    targets: BTreeMap<&'a str, &'a Value>,
    patterns: usize,
}

impl<'a> Form<'a> {
    /// Checks `schema` and what is within it; gives how many schemas lie within each other.
    fn walk(&mut self, schema: &'a Value, depth: usize) -> Result<usize, Problem> {
        let address = std::ptr::from_ref(schema).addr();
        if let Some(height) = self.heights.get(&address) {
            return Ok(*height);
        }
        if depth > DEPTH_MAX {
            return Problem::at("", format!("schemas are nested more than {DEPTH_MAX} levels deep"));
        }
        for (name, held) in schema.as_map().into_iter().flatten() {
            self.keyword(name, held, std::ptr::eq(schema, self.root))?;
        }
        let mut height = 0;
        for Part { keyword, name, schema, .. } in parts(schema) {
            let name = name.map_or(String::new(), |name| format!("/{name}"));
            let within = self.walk(schema, depth + 1).map_err(|it| it.within(&format!("/{keyword}{name}")))?;
            height = height.max(within);
        }
        self.heights.insert(address, height + 1);
        Ok(height + 1)
    }

    fn keyword(&mut self, name: &str, held: &'a Value, root: bool) -> Result<(), Problem> {
        match (name, held) {
            ("$dynamicRef" | "$dynamicAnchor" | "$recursiveRef" | "$recursiveAnchor" | "$anchor", _) => {
                return Problem::at(&format!("/{name}"), "only references of the form \"#/…\" are read");
            }
            ("$id", Value::Str(_)) if !root => {
                return Problem::at("/$id", "only the whole schema may have an id");
            }
            ("$ref", Value::Str(reference)) => {
                let Some(target) = resolve(self.root, reference) else {
                    let local = reference == "#" || reference.starts_with("#/");
                    let reason = if local { "points to nothing" } else { "is not within this schema" };
                    return Problem::at("/$ref", format!("{reference:?} {reason}"));
                };
                self.targets.insert(reference, target);
            }
            ("pattern", _) => self.patterns += 1,
            ("patternProperties", Value::Map(named)) => self.patterns += named.len(),
            _ => {}
        }
        if self.patterns > PATTERNS_MAX {
            return Problem::at(&format!("/{name}"), format!("a schema has at most {PATTERNS_MAX} patterns"));
        }
        Ok(())
    }
}

/// Checks that `value` can be checked against `schema` with bounded work.
pub(super) fn check_work(schema: &Value, value: &Value) -> Result<(), String> {
    check_form(schema)?;
    let (count, depth) = extent(value);
    let work = Cost { root: schema, known: BTreeMap::new() }.of(schema, depth, 0)?;
    if work.looks.saturating_mul(count) > WORK_MAX {
        return Err(format!("a value of {count} parts is too much work to check against this schema"));
    }
    Ok(())
}

/// How many parts a value has, and how deep it is.
fn extent(value: &Value) -> (usize, usize) {
    let sum = |(count, depth): (usize, usize), part: &Value| {
        let (more, deep) = extent(part);
        (count + more, depth.max(deep + 1))
    };
    match value {
        Value::List(items) => items.iter().fold((1, 0), sum),
        Value::Map(entries) => entries.values().fold((1, 0), sum),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Decimal(_) | Value::Str(_) => (1, 0),
    }
}

/// The work of one schema.
#[derive(Clone, Copy)]
struct Work {
    /// How often it looks, at most, at one part of a value and at what encloses that part, counted together.
    looks: usize,
    /// How many schemas are open at once, at most.
    height: usize,
}

impl Work {
    fn look(&mut self, looks: usize) {
        self.looks = self.looks.saturating_add(looks);
    }

    fn add(&mut self, other: Self) {
        self.look(other.looks);
        self.height = self.height.max(other.height);
    }
}

/// Works out the work of schemas.
struct Cost<'a> {
    root: &'a Value,
    /// By reference and remaining depth; none while it is being worked out.
    known: BTreeMap<(&'a str, usize), Option<Work>>,
}

impl<'a> Cost<'a> {
    /// For values that are `depth` levels deep; `open` schemas enclose this one.
    fn of(&mut self, schema: &'a Value, depth: usize, open: usize) -> Result<Work, String> {
        let (mut work, mut again) = (Work { looks: 1, height: 0 }, false);
        for (name, held) in schema.as_map().into_iter().flatten() {
            match (name.as_str(), held) {
                ("enum" | "required", Value::List(items)) => work.look(items.len()),
                ("properties", Value::Map(fields)) => work.look(fields.len()),
                // These ask once more which parts the other keywords have looked at.
                ("unevaluatedItems" | "unevaluatedProperties", _) => again = true,
                ("$ref", Value::Str(reference)) => work.add(self.target(reference, depth, open + 1)?),
                _ => {}
            }
        }
        // The most of each keyword whose schemas share no part of the value.
        let mut alone: BTreeMap<&str, usize> = BTreeMap::new();
        for Part { keyword, applies, schema, .. } in parts(schema) {
            let below = match applies {
                Applies::Never => continue,
                Applies::Here => 0,
                Applies::Below | Applies::BelowAlone => 1,
            };
            let Some(depth) = depth.checked_sub(below) else { continue };
            let mut part = self.of(schema, depth, open + 1)?;
            if applies == Applies::BelowAlone {
                let most = alone.entry(keyword).or_default();
                *most = (*most).max(std::mem::take(&mut part.looks));
            }
            work.add(part);
        }
        alone.into_values().for_each(|looks| work.look(looks));
        if again {
            work.look(work.looks);
        }
        bounded(Work { height: work.height + 1, ..work }, open)
    }

    fn target(&mut self, reference: &'a str, depth: usize, open: usize) -> Result<Work, String> {
        match self.known.get(&(reference, depth)) {
            Some(Some(work)) => return bounded(*work, open),
            Some(None) => return Err(format!("{reference:?} leads back to itself for the same value")),
            None => {}
        }
        // A path that is too long is refused on the way in, before it can exhaust the stack here.
        bounded(Work { looks: 0, height: 0 }, open)?;
        let target = resolve(self.root, reference).ok_or_else(|| format!("{reference:?} points to nothing"))?;
        self.known.insert((reference, depth), None);
        let work = self.of(target, depth, open)?;
        self.known.insert((reference, depth), Some(work));
        Ok(work)
    }
}

fn bounded(work: Work, open: usize) -> Result<Work, String> {
    if open + work.height > OPEN_MAX {
        return Err(format!("more than {OPEN_MAX} schemas are open at once at this depth of values"));
    }
    if work.looks > WORK_MAX {
        return Err("the schema looks at one part of a value too often".to_owned());
    }
    Ok(work)
}
