//! The canonical form of one field's value, by its type in the table.

use crate::codes;
use crate::draft::{Key, Spanned, SpannedValue};
use crate::fields::{self, FieldType, Shape};
use crate::glob::Glob;
use crate::limits::FAN_OUT_MAX;
use crate::types::{Type, check_is_schema};
use crate::value::{Decimal, Value};

use super::normal::{Reader, shown, with_article};
use super::report::did_you_mean;
use super::text;

/// Longest template or other text of one field, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 256 << 10;
/// Longest regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 4 << 10;

impl Reader<'_> {
    /// The canonical form of `value`, or nothing and a finding.
    pub(super) fn normal(&mut self, name: &str, ty: &FieldType, value: &Spanned) -> Option<Spanned> {
        let spanned = |value_| Some(Spanned { value: value_, span: value.span.clone() });
        match ty {
            FieldType::Bool => match value.value {
                SpannedValue::Bool(_) => Some(value.clone()),
                _ => self.wrong_type(name, "true or false", value),
            },
            FieldType::Text
            | FieldType::Template
            | FieldType::Ref
            | FieldType::TreeRef
            | FieldType::Name
            | FieldType::RoleName
            | FieldType::Glob
            | FieldType::Path
            | FieldType::Regex
            | FieldType::InputType
            | FieldType::Choice(_) => self.normal_text(name, ty, value),
            FieldType::Expr => self.normal_expr(name, value),
            FieldType::Int { min, max } => self.normal_int(name, *min, *max, value),
            FieldType::Factor => self.normal_factor(name, value),
            FieldType::Duration { min_ms } => self.normal_duration(name, *min_ms, value),
            FieldType::Usd => self.normal_usd(name, value),
            FieldType::Schema => {
                let plain = self.normal_any(value)?;
                if let Err(reason) = check_is_schema(&plain.to_value()) {
                    let message = format!("`{name}` is no JSON Schema that can be checked: {reason}");
                    self.report.error(codes::BAD_SCHEMA, &value.span, message);
                    return None;
                }
                Some(plain)
            }
            FieldType::Any => self.normal_any(value),
            FieldType::AnyMap => match &value.value {
                SpannedValue::Map(_) => self.normal_any(value),
                _ => self.wrong_type(name, "a map", value),
            },
            FieldType::Candidates => match &value.value {
                SpannedValue::Str(_) => Some(value.clone()),
                SpannedValue::List(_) => {
                    self.normal_list(name, &FieldType::Ref, 1, value).and_then(|list| spanned(list.value))
                }
                _ => self.wrong_type(name, "the id of a node or a list of ids", value),
            },
            FieldType::List { item, min } => self.normal_list(name, item, *min, value),
            FieldType::MapOf(item) => {
                self.normal_map(name, value, |reader, name, value| reader.normal(name, item, value))
            }
            FieldType::Inputs => self.normal_map(name, value, Self::normal_input),
            FieldType::Roles => self.normal_roles(name, value),
            FieldType::Shape(shape) => self.normal_shape(name, shape, value),
            // Lists of nodes are read by the caller, who knows where they are.
            FieldType::Nodes { .. } => None,
        }
    }

    /// Says that `value` should have been something else.
    pub(super) fn wrong_type(&mut self, name: &str, wanted: &str, value: &Spanned) -> Option<Spanned> {
        let message = format!("`{}` must be {wanted}, not {}", shown(name), with_article(value));
        self.report.error(codes::WRONG_TYPE, &value.span, message);
        None
    }

    fn normal_text(&mut self, name: &str, ty: &FieldType, value: &Spanned) -> Option<Spanned> {
        let SpannedValue::Str(text) = &value.value else {
            let wanted = match ty {
                FieldType::Ref => "the id of a node",
                FieldType::Glob => "a glob",
                FieldType::Path => "a path",
                FieldType::Choice(words) => return self.wrong_type(name, &one_of(words), value),
                _ => "a string",
            };
            return self.wrong_type(name, wanted, value);
        };
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("`{name}` is longer than {TEXT_BYTES_MAX} bytes");
            self.report.error(codes::TOO_LONG, &value.span, message);
            return None;
        }
        if text.contains('\0') {
            self.report.error(codes::WRONG_TYPE, &value.span, format!("`{name}` holds a NUL character"));
            return None;
        }
        let fault = match ty {
            FieldType::Choice(words) if !words.contains(&text.as_str()) => {
                let message = format!("`{name}` must be {}, not {:?}", one_of(words), shown(text));
                Some((codes::BAD_CHOICE, message, did_you_mean(text, words.iter().copied())))
            }
            FieldType::Glob => Glob::parse(text).err().map(|error| (codes::BAD_GLOB, error.to_string(), None)),
            FieldType::Path => text::path_fault(text).map(|fault| {
                let message = format!("`{name}` {fault}: {:?}", shown(text));
                (codes::BAD_PATH, message, Some("write a path inside the directory, with `/`".to_owned()))
            }),
            FieldType::Regex => regex_fault(text).map(|fault| (codes::BAD_REGEX, format!("`{name}`: {fault}"), None)),
            FieldType::Name => {
                self.check_name(text, &value.span, "a name");
                None
            }
            FieldType::RoleName if !text::is_name(text, true) => {
                let message = format!("`{name}` must be a lower-case name, not {:?}", shown(text));
                Some((codes::BAD_NAME, message, text::repaired(text).map(|name| format!("write `{name}`"))))
            }
            FieldType::InputType => return self.normal_type(value, text),
            _ => None,
        };
        if let Some((code, message, hint)) = fault {
            self.report.hinted(code, &value.span, message, hint);
            return None;
        }
        Some(value.clone())
    }

    fn normal_type(&mut self, value: &Spanned, text: &str) -> Option<Spanned> {
        // A bare list or map is one of anything.
        let ty = match text.trim() {
            "list" => Some(Type::List(Box::new(Type::Any))),
            "map" => Some(Type::Map(Box::new(Type::Any))),
            text => Type::parse(text),
        };
        let Some(ty) = ty else {
            let message = format!("{:?} is no type of an input", shown(text));
            let hint = "write string, int, number, bool, any, list, map, list(string), map(int), …".to_owned();
            self.report.hinted(codes::UNKNOWN_TYPE, &value.span, message, Some(hint));
            return None;
        };
        Some(Spanned { value: SpannedValue::Str(ty.to_string()), span: value.span.clone() })
    }

    fn normal_expr(&mut self, name: &str, value: &Spanned) -> Option<Spanned> {
        let text = match &value.value {
            SpannedValue::Str(text) => text.clone(),
            SpannedValue::Int(number) => number.to_string(),
            SpannedValue::Decimal(number) => number.to_string(),
            SpannedValue::Bool(truth) => truth.to_string(),
            _ => return self.wrong_type(name, "an expression", value),
        };
        Some(Spanned { value: SpannedValue::Str(text), span: value.span.clone() })
    }

    fn normal_int(&mut self, name: &str, min: i64, max: i64, value: &Spanned) -> Option<Spanned> {
        let SpannedValue::Int(number) = value.value else {
            return self.wrong_type(name, "an integer", value);
        };
        if number < min || number > max {
            let bounds = if max == i64::MAX { format!("at least {min}") } else { format!("from {min} to {max}") };
            let message = format!("`{name}` must be {bounds}, not {number}");
            let limit = i64::try_from(FAN_OUT_MAX).unwrap_or(i64::MAX);
            let hint = (max == limit && number > max).then(|| format!("nothing fans out wider than {FAN_OUT_MAX}"));
            self.report.hinted(codes::OUT_OF_RANGE, &value.span, message, hint);
            return None;
        }
        Some(value.clone())
    }

    fn normal_factor(&mut self, name: &str, value: &Spanned) -> Option<Spanned> {
        const PERCENT_MICROS: i64 = 10_000;
        let factor = match value.value {
            SpannedValue::Int(number) => Decimal::from_int(number),
            SpannedValue::Decimal(number) => Some(number),
            _ => return self.wrong_type(name, "a number", value),
        };
        let percent = factor.map(Decimal::micros).filter(|micros| micros % PERCENT_MICROS == 0);
        match (factor, percent.map(|micros| micros / PERCENT_MICROS)) {
            (Some(factor), Some(100..=10_000)) => {
                Some(Spanned { value: SpannedValue::Decimal(factor), span: value.span.clone() })
            }
            _ => {
                let message = format!("`{name}` must be from 1 to 100, with two decimal places at most");
                self.report.error(codes::OUT_OF_RANGE, &value.span, message);
                None
            }
        }
    }

    fn normal_duration(&mut self, name: &str, min_ms: u64, value: &Spanned) -> Option<Spanned> {
        let ms = match &value.value {
            SpannedValue::Str(text) => text::parse_duration(text),
            SpannedValue::Int(seconds) => u64::try_from(*seconds)
                .map_err(|_| format!("`{name}` must not be negative"))
                .and_then(|seconds| seconds.checked_mul(1_000).ok_or_else(text::too_long))
                .and_then(|ms| if ms > fields::DURATION_MS_MAX { Err(text::too_long()) } else { Ok(ms) }),
            _ => return self.wrong_type(name, "a duration such as \"10m\", or an integer of seconds", value),
        };
        let ms =
            ms.and_then(|ms| if ms < min_ms { Err(format!("`{name}` must be more than nothing")) } else { Ok(ms) });
        match ms {
            Ok(ms) => Some(Spanned { value: SpannedValue::Str(text::duration_text(ms)), span: value.span.clone() }),
            Err(reason) => {
                self.report.error(codes::BAD_DURATION, &value.span, reason);
                None
            }
        }
    }

    fn normal_usd(&mut self, name: &str, value: &Spanned) -> Option<Spanned> {
        let dollars = match value.value {
            SpannedValue::Int(number) => Decimal::from_int(number),
            SpannedValue::Decimal(number) => Some(number),
            SpannedValue::Str(ref text) => dollars_of(text),
            _ => return self.wrong_type(name, "a number of US dollars", value),
        };
        match dollars.filter(|dollars| dollars.micros() > 0) {
            Some(dollars) => Some(Spanned { value: SpannedValue::Decimal(dollars), span: value.span.clone() }),
            None => {
                let message = format!("`{name}` must be more than 0 and less than 1,000,000,000 US dollars");
                self.report.error(codes::OUT_OF_RANGE, &value.span, message);
                None
            }
        }
    }

    /// Any value, as long as no key is there twice.
    fn normal_any(&mut self, value: &Spanned) -> Option<Spanned> {
        let plain = match &value.value {
            SpannedValue::List(items) => {
                SpannedValue::List(items.iter().filter_map(|item| self.normal_any(item)).collect())
            }
            SpannedValue::Map(entries) => {
                let entries = self.without_duplicates(entries);
                let plain = entries.into_iter().filter_map(|(key, value)| Some((key.clone(), self.normal_any(value)?)));
                SpannedValue::Map(plain.collect())
            }
            SpannedValue::Null
            | SpannedValue::Bool(_)
            | SpannedValue::Int(_)
            | SpannedValue::Decimal(_)
            | SpannedValue::Str(_) => return Some(value.clone()),
        };
        Some(Spanned { value: plain, span: value.span.clone() })
    }

    fn without_duplicates<'d>(&mut self, entries: &'d [(Key, Spanned)]) -> Vec<(&'d Key, &'d Spanned)> {
        let mut seen = std::collections::BTreeSet::new();
        let mut kept = Vec::new();
        for (key, value) in entries {
            if seen.insert(key.name.as_str()) {
                kept.push((key, value));
            } else {
                let message = format!("the key `{}` is there twice", shown(&key.name));
                self.report.error(codes::DUPLICATE_KEY, &key.span, message);
            }
        }
        kept
    }

    fn normal_list(&mut self, name: &str, item: &FieldType, min: usize, value: &Spanned) -> Option<Spanned> {
        let SpannedValue::List(items) = &value.value else {
            return self.wrong_type(name, "a list", value);
        };
        if items.len() < min {
            self.report.error(codes::TOO_FEW, &value.span, format!("`{name}` needs at least {min} item"));
            return None;
        }
        let normal: Vec<Spanned> = items
            .iter()
            .enumerate()
            .filter_map(|(position, value)| self.normal(&format!("{name}[{position}]"), item, value))
            .collect();
        (normal.len() == items.len()).then(|| Spanned { value: SpannedValue::List(normal), span: value.span.clone() })
    }

    /// A map whose keys are names that expressions and templates use.
    fn normal_map(
        &mut self,
        name: &str,
        value: &Spanned,
        mut item: impl FnMut(&mut Self, &str, &Spanned) -> Option<Spanned>,
    ) -> Option<Spanned> {
        let SpannedValue::Map(entries) = &value.value else {
            return self.wrong_type(name, "a map", value);
        };
        let mut normal = Vec::new();
        for (key, value) in self.without_duplicates(entries) {
            self.check_name(&key.name, &key.span, "a name");
            if let Some(value) = item(self, &key.name, value) {
                normal.push((key.clone(), value));
            }
        }
        Some(Spanned { value: SpannedValue::Map(normal), span: value.span.clone() })
    }

    fn normal_roles(&mut self, name: &str, value: &Spanned) -> Option<Spanned> {
        let SpannedValue::Map(entries) = &value.value else {
            return self.wrong_type(name, "a map", value);
        };
        let mut normal = Vec::new();
        for (key, value) in self.without_duplicates(entries) {
            if !text::is_name(&key.name, true) {
                let message = format!("a role is a lower-case name, not {:?}", shown(&key.name));
                self.report.error(codes::BAD_NAME, &key.span, message);
            }
            if let Some(value) = self.normal_shape(&key.name, &fields::ROLE, value) {
                normal.push((key.clone(), value));
            }
        }
        Some(Spanned { value: SpannedValue::Map(normal), span: value.span.clone() })
    }

    fn normal_input(&mut self, name: &str, value: &Spanned) -> Option<Spanned> {
        if let SpannedValue::Str(_) = value.value {
            let key = Key { name: "type".to_owned(), span: value.span.clone() };
            let long = SpannedValue::Map(vec![(key, value.clone())]);
            return self.normal_shape(name, &fields::INPUT, &Spanned { value: long, span: value.span.clone() });
        }
        self.normal_shape(name, &fields::INPUT, value)
    }

    fn normal_shape(&mut self, name: &str, shape: &'static Shape, value: &Spanned) -> Option<Spanned> {
        let SpannedValue::Map(entries) = &value.value else {
            return self.wrong_type(name, &format!("a map with {}", field_names(shape)), value);
        };
        let noun = format!("`{}`", shown(name));
        let picked = self.pick(entries, shape.fields, &noun, None, &value.span);
        let mut normal = Vec::new();
        let mut whole = true;
        for field in shape.fields {
            let given = picked.get(field.name).copied();
            match self.field(field, given, &value.span) {
                Some(value) => {
                    let key = entries.iter().find(|(key, _)| key.name == field.name);
                    let span = key.map_or_else(|| value.span.clone(), |(key, _)| key.span.clone());
                    normal.push((Key { name: field.name.to_owned(), span }, value));
                }
                None => whole &= !matches!(field.presence, fields::Presence::Required),
            }
        }
        whole.then(|| Spanned { value: SpannedValue::Map(normal), span: value.span.clone() })
    }
}

/// US dollars as a text, for languages whose decimals are floats: `"1.50"`.
fn dollars_of(text: &str) -> Option<Decimal> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match Value::from_number_text(text).ok().filter(|_| plain)? {
        Value::Int(number) => Decimal::from_int(number),
        Value::Decimal(number) => Some(number),
        _ => None,
    }
}

fn field_names(shape: &Shape) -> String {
    shape.fields.iter().map(|field| format!("`{}`", field.name)).collect::<Vec<_>>().join(", ")
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    if quoted.len() > 2 { format!("one of {}", quoted.join(", ")) } else { quoted.join(" or ") }
}

/// What is wrong with a regular expression, if anything.
pub(super) fn regex_fault(pattern: &str) -> Option<String> {
    if pattern.len() > REGEX_BYTES_MAX {
        return Some(format!("a regular expression is at most {REGEX_BYTES_MAX} bytes long"));
    }
    let parsed = regex_syntax::ParserBuilder::new().nest_limit(100).build().parse(pattern);
    parsed.err().map(|error| {
        let reason = match &error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            _ => error.to_string(),
        };
        format!("{reason} in the regular expression {:?}", shown(pattern))
    })
}
