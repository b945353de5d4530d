//! Inputs of a run, as people give them: `key=value`, or a file of them.

use std::collections::BTreeMap;
use std::path::Path;

use wf_author::{NoFiles, Spelling, compile};
use wf_ir::node::InputDecl;
use wf_ir::{Type, Value, Workflow};

use crate::error::Error;
use crate::files::read_named;

/// The inputs of a run of `workflow`: what was given, by a file and then one by one, and defaults.
///
/// # Errors
/// Everything that is missing, unknown or of the wrong type, in one message.
pub(crate) fn inputs_of(
    workflow: &Workflow,
    given: &[String],
    file: Option<(&Path, &str)>,
) -> Result<BTreeMap<String, Value>, Error> {
    let declared = workflow.inputs();
    let mut values = BTreeMap::new();
    if let Some((path, label)) = file {
        values = read_file(path, label)?;
    }
    let mut wrong = Vec::new();
    for pair in given {
        match pair.split_once('=') {
            Some((name, text)) => {
                let value = declared.get(name).map_or_else(|| Value::from(text), |input| read_as(&input.ty, text));
                values.insert(name.to_owned(), value);
            }
            None => wrong.push(format!("{pair:?} is not of the form name=value")),
        }
    }
    for (name, value) in &values {
        match declared.get(name) {
            Some(input) => wrong.extend(input.ty.check_value(value).err().map(|why| format!("input `{name}`: {why}"))),
            None => wrong.push(format!("input `{name}` is not declared; {}", listed(declared))),
        }
    }
    for (name, input) in declared.iter().filter(|(name, _)| !values.contains_key(*name)).collect::<Vec<_>>() {
        match &input.default {
            Some(default) => drop(values.insert(name.clone(), default.clone())),
            None => wrong.push(format!("input `{name}` is missing; give it with -i {name}=…")),
        }
    }
    if wrong.is_empty() { Ok(values) } else { Err(Error::Input { message: wrong.join("; ") }) }
}

fn listed(declared: &BTreeMap<String, InputDecl>) -> String {
    if declared.is_empty() {
        return "the workflow has no inputs".to_owned();
    }
    let names: Vec<_> = declared.keys().map(|name| format!("`{name}`")).collect();
    format!("there is {}", names.join(", "))
}

/// A text as a value of a type. What does not fit stays text, so that the check of its type says what is wrong.
fn read_as(ty: &Type, text: &str) -> Value {
    match ty {
        Type::Str => Value::from(text),
        Type::Any
        | Type::Null
        | Type::Bool
        | Type::Int
        | Type::Number
        | Type::List(_)
        | Type::Record(_)
        | Type::Map(_) => Value::from_json(text).unwrap_or_else(|_| Value::from(text)),
    }
}

/// Reads a map of inputs. JSON and YAML are read by the reader of workflows, which has bounds for both.
fn read_file(path: &Path, label: &str) -> Result<BTreeMap<String, Value>, Error> {
    let wrong = |message: String| Error::Input { message: format!("the inputs in {label:?}: {message}") };
    let text = read_named(path).map_err(|error| wrong(error.to_string()))?;
    let value = if label.ends_with(".toml") {
        let table: toml::Table = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
        of_toml(&toml::Value::Table(table)).map_err(wrong)?
    } else {
        let spelling = match Spelling::of_path(label) {
            Some(spelling @ (Spelling::Json | Spelling::Yaml)) => spelling,
            Some(Spelling::Starlark) | None => {
                return Err(wrong("the name must end with .json, .yaml, .yml or .toml".to_owned()));
            }
        };
        let draft = compile(spelling, label, &text, &NoFiles).map_err(|found| {
            let first = found.first();
            wrong(first.map_or_else(String::new, |it| format!("line {}: {}", it.span.line, it.message)))
        })?;
        draft.root.to_value()
    };
    match value {
        Value::Map(entries) => Ok(entries),
        other => Err(wrong(format!("a map from names to values is wanted, not {}", other.type_name()))),
    }
}

fn of_toml(value: &toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::Int(*number),
        toml::Value::Float(number) => {
            Value::from_number_text(&format!("{number:?}")).map_err(|error| error.to_string())?
        }
        toml::Value::Boolean(value) => Value::Bool(*value),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(items) => Value::List(items.iter().map(of_toml).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => {
            let entries = table.iter().map(|(key, value)| Ok((key.clone(), of_toml(value)?)));
            Value::Map(entries.collect::<Result<_, String>>()?)
        }
    })
}

/// Reads `name=value` labels.
///
/// # Errors
/// When one is malformed, too long, or there are too many.
pub(crate) fn labels_of(given: &[String]) -> Result<BTreeMap<String, String>, Error> {
    /// Most labels of a run.
    const LABELS_MAX: usize = 64;
    /// Longest label, name and value together.
    const LABEL_BYTES_MAX: usize = 512;
    let mut labels = BTreeMap::new();
    for text in given {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty() && text.len() <= LABEL_BYTES_MAX && !text.contains(char::is_control))
            .ok_or_else(|| Error::usage(format!("the label {text:?} is not of the form name=value")))?;
        labels.insert(name.to_owned(), value.to_owned());
    }
    if labels.len() > LABELS_MAX {
        return Err(Error::usage(format!("a run has at most {LABELS_MAX} labels")));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use wf_ir::{Draft, Span, Spanned, validate};

    use super::*;

    fn workflow() -> Workflow {
        let source = r#"{"workflow":"w","inputs":{"n":{"type":"int","default":3},"name":"string","on":{"type":"bool","default":false},"xs":{"type":"list(int)","default":[]}},"children":[{"wait":"a","duration":"1s"}]}"#;
        let root = Spanned::from_value(&Value::from_json(source).unwrap(), &Span::default());
        let wf_ir::SpannedValue::Map(mut entries) = root.value else { unreachable!() };
        // A source says its kind first.
        entries.sort_by_key(|(key, _)| key.name != "workflow");
        let draft = Draft { root: Spanned { value: wf_ir::SpannedValue::Map(entries), span: Span::default() } };
        let (workflow, found) = validate(&draft);
        workflow.unwrap_or_else(|| panic!("{found:?}"))
    }

    fn said(result: Result<BTreeMap<String, Value>, Error>) -> String {
        match result {
            Ok(values) => Value::Map(values).to_json(),
            Err(error) => format!("{} {error}", error.code()),
        }
    }

    fn check(given: &[&str], expected: Expect) {
        let given: Vec<_> = given.iter().map(|text| (*text).to_owned()).collect();
        expected.assert_eq(&said(inputs_of(&workflow(), &given, None)));
    }

    fn check_file(name: &str, text: &str, given: &[&str], expected: Expect) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(name);
        std::fs::write(&path, text).unwrap();
        let given: Vec<_> = given.iter().map(|text| (*text).to_owned()).collect();
        expected.assert_eq(&said(inputs_of(&workflow(), &given, Some((&path, name)))));
    }

    #[test]
    fn texts_are_read_by_declared_types() {
        check(&["name=x"], expect![[r#"{"n":3,"name":"x","on":false,"xs":[]}"#]]);
        check(&["name=12", "n=12", "on=true", "xs=[1,2]"], expect![[r#"{"n":12,"name":"12","on":true,"xs":[1,2]}"#]]);
        check(&["name=a=b"], expect![[r#"{"n":3,"name":"a=b","on":false,"xs":[]}"#]]);
        check(&["name=x", "n=1", "n=2"], expect![[r#"{"n":2,"name":"x","on":false,"xs":[]}"#]]);
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        check(
            &["n=1.5", "on=maybe", "xs=[1,\"a\"]", "extra=1", "novalue"],
            expect![[
                r#"WF0702 "novalue" is not of the form name=value; input `extra` is not declared; there is `n`, `name`, `on`, `xs`; input `n`: int is expected, found decimal; input `on`: bool is expected, found string; input `xs`: at /1: int is expected, found string; input `name` is missing; give it with -i name=…"#
            ]],
        );
    }

    #[test]
    fn files_are_read_by_their_names() {
        check_file(
            "i.json",
            r#"{"name": "x", "n": 5}"#,
            &["n=6"],
            expect![[r#"{"n":6,"name":"x","on":false,"xs":[]}"#]],
        );
        check_file("i.yaml", "name: x\nxs: [1]\n", &[], expect![[r#"{"n":3,"name":"x","on":false,"xs":[1]}"#]]);
        check_file("i.toml", "name = \"x\"\nn = 9\n", &[], expect![[r#"{"n":9,"name":"x","on":false,"xs":[]}"#]]);
        check_file(
            "i.toml",
            "name = \n",
            &[],
            expect![[r#"WF0702 the inputs in "i.toml": string values must be quoted, expected literal string"#]],
        );
        check_file(
            "i.json",
            "[1]",
            &[],
            expect![[r#"WF0702 the inputs in "i.json": a map from names to values is wanted, not list"#]],
        );
        check_file(
            "i.txt",
            "x",
            &[],
            expect![[r#"WF0702 the inputs in "i.txt": the name must end with .json, .yaml, .yml or .toml"#]],
        );
        check_file(
            "i.yaml",
            "a: *b",
            &[],
            expect![[r#"WF0702 the inputs in "i.yaml": line 1: the alias has no anchor before it"#]],
        );
    }
}
