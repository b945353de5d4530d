//! The JSON Schema of the definition, for editors and for people who generate workflows.

use crate::fields::{self, Field, FieldType, KindFields, Presence, Shape};
use crate::value::Value;

/// The JSON Schema of a workflow, as pretty JSON with a final newline.
pub fn definition_schema() -> String {
    let mut defs: Vec<(String, Value)> =
        fields::KINDS.iter().map(|kind| (kind.tag.as_str().to_owned(), node(kind))).collect();
    let any = fields::KINDS.iter().map(|kind| reference(kind.tag.as_str())).collect();
    defs.push(("node".to_owned(), Value::map([("oneOf", Value::List(any))])));
    for shape in [
        &fields::BUDGET,
        &fields::PERMISSIONS,
        &fields::OUTERMOST,
        &fields::RETRY,
        &fields::TASKS,
        &fields::OBJECTIVE,
        &fields::JUDGE,
        &fields::INPUT,
        &fields::ROLE,
    ] {
        defs.push((format!("shape_{}", shape.name), object(shape.fields.iter(), None)));
    }
    defs.extend([
        ("form_name".to_owned(), pattern("^[a-z][a-z0-9_]{0,63}$")),
        ("form_role".to_owned(), pattern("^[a-z][a-z0-9_-]{0,63}$")),
        ("form_tree".to_owned(), pattern("^[a-z][a-z0-9_]{0,63}(\\.winner)?$")),
        ("form_duration".to_owned(), any_of(vec![pattern(DURATION), at_least("integer", 0)])),
        ("form_expression".to_owned(), any_of(vec![typed("string"), typed("number"), typed("boolean")])),
    ]);
    let mut root = object(fields::WORKFLOW.iter(), None);
    if let Value::Map(entries) = &mut root {
        let draft = "https://json-schema.org/draft/2020-12/schema";
        entries.insert("$schema".to_owned(), draft.into());
        entries.insert("title".to_owned(), "whaleflow workflow".into());
        entries.insert("$defs".to_owned(), Value::map(defs));
    }
    let text = serde_json::to_string_pretty(&root).unwrap_or_default();
    text + "\n"
}

fn node(kind: &KindFields) -> Value {
    let mut schema = object(kind.tag.fields(), Some(kind.tag.as_str()));
    if let Value::Map(entries) = &mut schema {
        entries.insert("description".to_owned(), kind.doc.into());
    }
    schema
}

/// An object with these fields; `kind` is the key that holds a node's id.
fn object(fields: impl Iterator<Item = &'static Field>, kind: Option<&str>) -> Value {
    let mut properties: Vec<(String, Value)> = Vec::new();
    let mut required: Vec<Value> = Vec::new();
    if let Some(kind) = kind {
        properties.push((kind.to_owned(), reference("form_name")));
        required.push(kind.into());
    }
    for field in fields {
        let mut schema = schema_of(&field.ty);
        if let Value::Map(entries) = &mut schema {
            entries.insert("description".to_owned(), field.doc.into());
            if let Presence::Default(json) = field.presence {
                entries.insert("default".to_owned(), Value::from_json(json).unwrap_or_default());
            }
        }
        if matches!(field.presence, Presence::Required) {
            required.push(field.name.into());
        }
        properties.push((field.name.to_owned(), schema));
    }
    Value::map([
        ("type", Value::from("object")),
        ("properties", Value::map(properties)),
        ("required", Value::List(required)),
        ("additionalProperties", Value::Bool(false)),
    ])
}

const DURATION: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

fn reference(name: &str) -> Value {
    Value::map([("$ref", format!("#/$defs/{name}"))].map(|(key, text)| (key, Value::from(text))))
}

fn typed(name: &str) -> Value {
    Value::map([("type", name)].map(|(key, text)| (key, Value::from(text))))
}

fn at_least(name: &str, least: i64) -> Value {
    Value::map([("type", Value::from(name)), ("minimum", Value::Int(least))])
}

fn pattern(pattern: &str) -> Value {
    Value::map([("type", Value::from("string")), ("pattern", pattern.into())])
}

fn any_of(schemas: Vec<Value>) -> Value {
    Value::map([("anyOf", Value::List(schemas))])
}

fn list_of(item: Value, min: usize) -> Value {
    let min = i64::try_from(min).unwrap_or(i64::MAX);
    Value::map([("type", Value::from("array")), ("items", item), ("minItems", Value::Int(min))])
}

fn map_of(item: Value) -> Value {
    Value::map([("type", Value::from("object")), ("additionalProperties", item)])
}

fn shape_of(shape: &Shape) -> Value {
    reference(&format!("shape_{}", shape.name))
}

fn schema_of(ty: &FieldType) -> Value {
    match ty {
        FieldType::Bool => typed("boolean"),
        FieldType::Text | FieldType::Template | FieldType::Glob | FieldType::Path | FieldType::Regex => typed("string"),
        FieldType::InputType => typed("string"),
        FieldType::Name | FieldType::Ref => reference("form_name"),
        FieldType::TreeRef => reference("form_tree"),
        FieldType::RoleName => reference("form_role"),
        FieldType::Expr => reference("form_expression"),
        FieldType::Int { min, max } => {
            let bounds = [("minimum", *min), ("maximum", *max)].into_iter().filter(|(_, bound)| *bound != i64::MAX);
            let bounds = bounds.map(|(name, bound)| (name, Value::Int(bound)));
            Value::map(bounds.chain([("type", Value::from("integer"))]))
        }
        FieldType::Factor => {
            Value::map([("type", Value::from("number")), ("minimum", Value::Int(1)), ("maximum", Value::Int(100))])
        }
        FieldType::Duration { .. } => reference("form_duration"),
        FieldType::Usd => any_of(vec![
            Value::map([("type", Value::from("number")), ("exclusiveMinimum", Value::Int(0))]),
            pattern("^[0-9]+(\\.[0-9]{1,6})?$"),
        ]),
        FieldType::Choice(words) => {
            Value::map([("enum", Value::List(words.iter().map(|word| Value::from(*word)).collect()))])
        }
        FieldType::Schema => any_of(vec![typed("object"), typed("boolean")]),
        FieldType::Any => Value::map::<String>([]),
        FieldType::AnyMap => typed("object"),
        FieldType::Candidates => any_of(vec![reference("form_name"), list_of(reference("form_name"), 1)]),
        FieldType::Inputs => map_of(any_of(vec![typed("string"), shape_of(&fields::INPUT)])),
        FieldType::Nodes { min } => list_of(reference("node"), *min),
        FieldType::List { item, min } => list_of(schema_of(item), *min),
        FieldType::MapOf(item) => map_of(schema_of(item)),
        FieldType::Roles => map_of(shape_of(&fields::ROLE)),
        FieldType::Shape(shape) => shape_of(shape),
    }
}
