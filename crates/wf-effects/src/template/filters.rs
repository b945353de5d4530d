//! What templates can do with values. Filters that can make text larger than what they are given are our own, with a
//! bound on what they make; the others are minijinja's.

use std::borrow::Cow;
use std::fmt::Write as _;

use minijinja::filters as stock;
use minijinja::tests as stock_tests;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};
use wf_ir::Decimal;

use super::scope::Part;
use super::{RENDERED_BYTES_MAX, charge};

/// Provides what [`wf_ir::template`] lists, and nothing else.
pub(super) fn add(env: &mut Environment<'static>) {
    env.add_filter("abs", stock::abs);
    env.add_filter("bool", stock::bool);
    env.add_filter("capitalize", stock::capitalize);
    env.add_filter("count", stock::length);
    env.add_filter("d", stock::default);
    env.add_filter("default", stock::default);
    env.add_filter("dictsort", stock::dictsort);
    env.add_filter("first", stock::first);
    env.add_filter("float", stock::float);
    env.add_filter("indent", indent);
    env.add_filter("int", stock::int);
    env.add_filter("items", stock::items);
    env.add_filter("join", join);
    env.add_filter("last", stock::last);
    env.add_filter("length", stock::length);
    env.add_filter("lines", stock::lines);
    env.add_filter("list", stock::list);
    env.add_filter("lower", stock::lower);
    env.add_filter("map", map);
    env.add_filter("max", stock::max);
    env.add_filter("min", stock::min);
    env.add_filter("reject", stock::reject);
    env.add_filter("rejectattr", stock::rejectattr);
    env.add_filter("replace", replace);
    env.add_filter("reverse", stock::reverse);
    env.add_filter("round", stock::round);
    env.add_filter("select", stock::select);
    env.add_filter("selectattr", stock::selectattr);
    env.add_filter("sort", stock::sort);
    env.add_filter("split", stock::split);
    env.add_filter("string", string);
    env.add_filter("sum", stock::sum);
    env.add_filter("title", stock::title);
    env.add_filter("tojson", to_json);
    env.add_filter("trim", stock::trim);
    env.add_filter("unique", stock::unique);
    env.add_filter("upper", stock::upper);
    env.add_function("range", minijinja::functions::range);
    add_tests(env);
}

fn add_tests(env: &mut Environment<'static>) {
    env.add_test("boolean", stock_tests::is_boolean);
    env.add_test("defined", stock_tests::is_defined);
    env.add_test("endingwith", stock_tests::is_endingwith);
    env.add_test("eq", stock_tests::is_eq);
    env.add_test("even", stock_tests::is_even);
    env.add_test("false", stock_tests::is_false);
    env.add_test("float", stock_tests::is_float);
    env.add_test("ge", stock_tests::is_ge);
    env.add_test("gt", stock_tests::is_gt);
    env.add_test("in", stock_tests::is_in);
    env.add_test("integer", stock_tests::is_integer);
    env.add_test("iterable", stock_tests::is_iterable);
    env.add_test("le", stock_tests::is_le);
    env.add_test("lt", stock_tests::is_lt);
    env.add_test("mapping", stock_tests::is_mapping);
    env.add_test("ne", stock_tests::is_ne);
    env.add_test("none", stock_tests::is_none);
    env.add_test("number", stock_tests::is_number);
    env.add_test("odd", stock_tests::is_odd);
    env.add_test("sequence", stock_tests::is_sequence);
    env.add_test("startingwith", stock_tests::is_startingwith);
    env.add_test("string", stock_tests::is_string);
    env.add_test("true", stock_tests::is_true);
    env.add_test("undefined", stock_tests::is_undefined);
}

/// Writes a value into the text.
pub(super) fn insert(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    match value.as_str() {
        Some(text) => out.write_str(text).map_err(Error::from),
        None => out.write_str(&json(value)?).map_err(Error::from),
    }
}

fn to_json(value: &Value) -> Result<String, Error> {
    json(value)
}

fn string(value: &Value) -> Result<String, Error> {
    text_of(value).map(Cow::into_owned)
}

/// A value as it would be inserted.
fn text_of(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value.as_str() {
        Some(text) => Ok(Cow::Borrowed(text)),
        None => json(value).map(Cow::Owned),
    }
}

fn join(value: &Value, separator: Option<Cow<'_, str>>) -> Result<String, Error> {
    let separator = separator.unwrap_or_default();
    let mut text = String::new();
    for (at, item) in value.try_iter()?.enumerate() {
        let part = text_of(&item)?;
        grow(&text, part.len() + separator.len())?;
        if at > 0 {
            text.push_str(&separator);
        }
        text.push_str(&part);
    }
    Ok(text)
}

fn replace(value: Cow<'_, str>, from: Cow<'_, str>, to: Cow<'_, str>) -> Result<String, Error> {
    let mut text = String::new();
    for (at, piece) in value.split(&*from).enumerate() {
        grow(&text, to.len() + piece.len())?;
        if at > 0 {
            text.push_str(&to);
        }
        text.push_str(piece);
    }
    Ok(text)
}

/// Every line but the first (and, unless told, blank ones) moves to the right.
fn indent(value: Cow<'_, str>, width: usize, first: Option<bool>, blank: Option<bool>) -> Result<String, Error> {
    if width > RENDERED_BYTES_MAX {
        return Err(too_large());
    }
    let margin = " ".repeat(width);
    let mut text = String::new();
    for (at, line) in value.split('\n').enumerate() {
        let moved = (at > 0 || first.unwrap_or(false)) && (!line.is_empty() || blank.unwrap_or(false));
        grow(&text, line.len() + margin.len() + 1)?;
        if at > 0 {
            text.push('\n');
        }
        if moved {
            text.push_str(&margin);
        }
        text.push_str(line);
    }
    Ok(text)
}

/// `map(attribute="name")`: that field of every item.
fn map(value: &Value, kwargs: minijinja::value::Kwargs) -> Result<Vec<Value>, Error> {
    let attribute: Cow<'_, str> = kwargs.get("attribute")?;
    kwargs.assert_all_used()?;
    value.try_iter()?.map(|item| item.get_attr(&attribute)).collect()
}

/// Whether `text` may become so much longer.
fn grow(text: &str, by: usize) -> Result<(), Error> {
    charge(by)?;
    if text.len() + by > RENDERED_BYTES_MAX { Err(too_large()) } else { Ok(()) }
}

fn too_large() -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("the text is larger than {RENDERED_BYTES_MAX} bytes"))
}

/// JSON as everywhere else: no spaces, maps in key order.
fn json(value: &Value) -> Result<String, Error> {
    let mut text = String::new();
    write_json(value, &mut text, 0)?;
    Ok(text)
}

fn write_json(value: &Value, text: &mut String, depth: usize) -> Result<(), Error> {
    if depth > wf_ir::limits::DEPTH_MAX {
        return Err(Error::new(ErrorKind::InvalidOperation, "the value is nested too deeply"));
    }
    if let Some(part) = value.downcast_object_ref::<Part>() {
        let json = part.value().to_json();
        grow(text, json.len())?;
        text.push_str(&json);
        return Ok(());
    }
    match value.kind() {
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => text.push_str("null"),
        ValueKind::Seq | ValueKind::Iterable => {
            text.push('[');
            for (at, item) in value.try_iter()?.enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                write_json(&item, text, depth + 1)?;
            }
            text.push(']');
        }
        ValueKind::Map => {
            text.push('{');
            for (at, key) in value.try_iter()?.enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                let name = wf_ir::Value::Str(text_of(&key)?.into_owned()).to_json();
                grow(text, name.len())?;
                text.push_str(&name);
                text.push(':');
                write_json(&value.get_item(&key)?, text, depth + 1)?;
            }
            text.push('}');
        }
        ValueKind::String => {
            let quoted = wf_ir::Value::from(value.as_str().unwrap_or_default()).to_json();
            grow(text, quoted.len())?;
            text.push_str(&quoted);
        }
        ValueKind::Number => write_number(value, text)?,
        ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
        _ => write!(text, "{value}").map_err(|_| Error::from(ErrorKind::WriteFailure))?,
    }
    grow(text, 1)
}

fn write_number(value: &Value, text: &mut String) -> Result<(), Error> {
    if value.is_integer() {
        return write!(text, "{value}").map_err(|_| Error::from(ErrorKind::WriteFailure));
    }
    // Floats come from decimals; arithmetic on them is shown with a decimal's six places.
    let decimal = f64::try_from(value.clone()).ok().and_then(Decimal::from_f64);
    let decimal = decimal.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the number is out of range"))?;
    write!(text, "{decimal}").map_err(|_| Error::from(ErrorKind::WriteFailure))
}
