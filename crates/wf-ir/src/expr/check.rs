//! Static types of expressions.
//!
//! [`Type::Any`] fits everywhere; a [`Type::Number`] may be an integer. What is refused here would be an error, or
//! mean nothing, at every evaluation.

use super::ast::{Ast, AstKind, Each, EachKind, Function, Operator};
use super::{Parsed, Reference, TypeError, TypeScope, path_text};
use crate::types::{Type, nearest};
use crate::value::Value;

pub(super) fn check(parsed: &Parsed, scope: &dyn TypeScope) -> Result<Type, TypeError> {
    Checker { references: &parsed.references, scope }.of(&parsed.root, None)
}

struct Checker<'a> {
    references: &'a [Reference],
    scope: &'a dyn TypeScope,
}

fn error<T>(ast: &Ast, message: impl Into<String>, hint: Option<String>) -> Result<T, TypeError> {
    Err(TypeError { offset: ast.offset, message: message.into(), hint })
}

fn list(item: Type) -> Type {
    Type::List(Box::new(item))
}

impl Checker<'_> {
    /// The type of `ast`, where the variable of the enclosing macro has the type `variable`.
    fn of(&self, ast: &Ast, variable: Option<&Type>) -> Result<Type, TypeError> {
        match &ast.kind {
            AstKind::Literal(value) => Ok(Type::of(value)),
            AstKind::Free(at) => self.free(ast, &self.references[*at]),
            AstKind::Variable => Ok(variable.cloned().unwrap_or(Type::Any)),
            AstKind::List(items) => {
                let mut types = items.iter().map(|item| self.of(item, variable));
                let first = types.next().unwrap_or(Ok(Type::Any))?;
                types.try_fold(first, |joined, ty| Ok(joined.join(&ty?))).map(list)
            }
            AstKind::Map(entries) => {
                let fields = entries.iter().map(|(key, value)| Ok((key.clone(), self.of(value, variable)?)));
                fields.collect::<Result<_, _>>().map(Type::Record)
            }
            AstKind::Field(base, field) => {
                let base_type = self.of(base, variable)?;
                self.field(ast, base, &base_type, field)
            }
            AstKind::Index(base, index) => self.index(ast, base, index, variable),
            AstKind::Has(path) => self.of(path, variable).map(|_| Type::Bool),
            AstKind::Not(operand) => self.bool(operand, "!", variable),
            AstKind::Negate(operand) => {
                let ty = self.of(operand, variable)?;
                if ty.may_be_number() { Ok(ty) } else { error(ast, format!("`-` needs a number, not {ty}"), None) }
            }
            AstKind::And(left, right) => {
                self.bool(left, "&&", variable)?;
                self.bool(right, "&&", variable)
            }
            AstKind::Or(left, right) => {
                self.bool(left, "||", variable)?;
                self.bool(right, "||", variable)
            }
            AstKind::Binary(operator, left, right) => {
                let (left, right) = (self.of(left, variable)?, self.of(right, variable)?);
                binary(ast, *operator, &left, &right)
            }
            AstKind::Choose(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                self.bool(condition, "?", variable)?;
                Ok(self.of(then, variable)?.join(&self.of(otherwise, variable)?))
            }
            AstKind::Call(function, arguments) => {
                let types: Vec<Type> =
                    arguments.iter().map(|argument| self.of(argument, variable)).collect::<Result<_, _>>()?;
                call(ast, *function, arguments, &types)
            }
            AstKind::Each(each) => self.each(ast, each, variable),
        }
    }

    fn free(&self, ast: &Ast, reference: &Reference) -> Result<Type, TypeError> {
        match reference {
            Reference::Name(name) => match self.scope.name(name) {
                Some(ty) => Ok(ty),
                None => error(ast, format!("unknown name `{name}`"), None),
            },
            Reference::Envelope(id) => match self.scope.envelope(id) {
                Some(value) => {
                    let fields = [("path", Type::Str), ("status", Type::Str), ("value", value)];
                    Ok(Type::Record(fields.into_iter().map(|(name, ty)| (name.to_owned(), ty)).collect()))
                }
                None => error(ast, format!("there is no node `{id}` here"), None),
            },
        }
    }

    fn bool(&self, ast: &Ast, operator: &str, variable: Option<&Type>) -> Result<Type, TypeError> {
        match self.of(ast, variable)? {
            Type::Bool | Type::Any => Ok(Type::Bool),
            other => error(ast, format!("`{operator}` needs true or false, not {other}"), None),
        }
    }

    fn field(&self, ast: &Ast, base: &Ast, base_type: &Type, field: &str) -> Result<Type, TypeError> {
        let name = path_text(base, self.references).map_or("this map".to_owned(), |path| format!("`{path}`"));
        match base_type {
            Type::Any => Ok(Type::Any),
            Type::Map(item) => Ok(item.as_ref().clone()),
            Type::Record(fields) => match fields.get(field) {
                Some(ty) => Ok(ty.clone()),
                None => {
                    let hint = nearest(field, fields.keys().map(String::as_str));
                    error(ast, format!("{name} has no field `{field}`"), Some(hint))
                }
            },
            other => error(ast, format!("{name} is {other}, which has no field `{field}`"), None),
        }
    }

    fn index(&self, ast: &Ast, base: &Ast, index: &Ast, variable: Option<&Type>) -> Result<Type, TypeError> {
        let (base_type, index_type) = (self.of(base, variable)?, self.of(index, variable)?);
        if let (Type::Record(_), AstKind::Literal(Value::Str(key))) = (&base_type, &index.kind) {
            return self.field(index, base, &base_type, key);
        }
        match &base_type {
            Type::List(_) if !index_type.may_be_int() => {
                error(index, format!("a list is indexed by an int, not {index_type}"), None)
            }
            Type::Record(_) | Type::Map(_) if !matches!(index_type, Type::Str | Type::Any) => {
                error(index, format!("a map is indexed by a string, not {index_type}"), None)
            }
            Type::List(item) | Type::Map(item) => Ok(item.as_ref().clone()),
            Type::Any | Type::Record(_) => Ok(Type::Any),
            other => error(ast, format!("{other} cannot be indexed"), None),
        }
    }

    fn each(&self, ast: &Ast, each: &Each, variable: Option<&Type>) -> Result<Type, TypeError> {
        let kind = each.kind;
        let item = match self.of(&each.list, variable)? {
            Type::List(item) => *item,
            Type::Any => Type::Any,
            other => return error(ast, format!("`{kind}` needs a list, not {other}"), None),
        };
        let body = self.of(&each.body, Some(&item))?;
        match kind {
            EachKind::Map => Ok(list(body)),
            _ if !matches!(body, Type::Bool | Type::Any) => {
                error(&each.body, format!("`{kind}` needs true or false for each item, not {body}"), None)
            }
            EachKind::Filter => Ok(list(item)),
            EachKind::Exists | EachKind::All => Ok(Type::Bool),
        }
    }
}

fn binary(ast: &Ast, operator: Operator, left: &Type, right: &Type) -> Result<Type, TypeError> {
    let unfit = |needs: &str| error(ast, format!("`{operator}` needs {needs}, not {left} and {right}"), None);
    match operator {
        Operator::Equal | Operator::Unequal => {
            if left.may_equal(right) {
                Ok(Type::Bool)
            } else {
                error(ast, format!("`{operator}` compares {left} with {right}, which are never equal"), None)
            }
        }
        Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => {
            let numbers = left.may_be_number() && right.may_be_number();
            let texts = left.may_be_text() && right.may_be_text();
            if numbers || texts { Ok(Type::Bool) } else { unfit("two numbers or two strings") }
        }
        Operator::In => contained(ast, left, right),
        Operator::Add => match (left, right) {
            (Type::Str, Type::Str | Type::Any) | (Type::Any, Type::Str) => Ok(Type::Str),
            (Type::List(left), Type::List(right)) => Ok(list(left.join(right))),
            (Type::List(_), Type::Any) | (Type::Any, Type::List(_)) => Ok(list(Type::Any)),
            (Type::Any, Type::Any) => Ok(Type::Any),
            _ if left.may_be_number() && right.may_be_number() => Ok(arithmetic(left, right)),
            _ => unfit("two numbers, two strings or two lists"),
        },
        Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
            if left.may_be_number() && right.may_be_number() {
                Ok(arithmetic(left, right))
            } else {
                unfit("two numbers")
            }
        }
    }
}

fn arithmetic(left: &Type, right: &Type) -> Type {
    if (left, right) == (&Type::Int, &Type::Int) { Type::Int } else { Type::Number }
}

fn contained(ast: &Ast, item: &Type, whole: &Type) -> Result<Type, TypeError> {
    match whole {
        Type::Any => Ok(Type::Bool),
        Type::List(items) if items.may_equal(item) => Ok(Type::Bool),
        Type::List(items) => error(ast, format!("a list of {items} never holds {item}"), None),
        Type::Map(_) | Type::Record(_) if item.may_be_text() => Ok(Type::Bool),
        Type::Map(_) | Type::Record(_) => error(ast, format!("the keys of a map are strings, not {item}"), None),
        Type::Str => {
            error(ast, "`in` looks into lists and maps, not into strings", Some("write `text.contains(part)`".into()))
        }
        other => error(ast, format!("`in` looks into lists and maps, not into {other}"), None),
    }
}

fn call(ast: &Ast, function: Function, arguments: &[Ast], types: &[Type]) -> Result<Type, TypeError> {
    let unfit = |at: usize, needs: &str, hint: Option<String>| {
        error(arguments.get(at).unwrap_or(ast), format!("`{function}` needs {needs}, not {}", types[at]), hint)
    };
    match function {
        Function::Size => match types[0] {
            Type::Any | Type::Str | Type::List(_) | Type::Map(_) | Type::Record(_) => Ok(Type::Int),
            Type::Null | Type::Bool | Type::Int | Type::Number => unfit(0, "a string, a list or a map", None),
        },
        Function::Range => match types.iter().position(|ty| !ty.may_be_int()) {
            Some(at) => unfit(at, "an int", None),
            None => Ok(list(Type::Int)),
        },
        Function::Min | Function::Max => match types.iter().position(|ty| !ty.may_be_number()) {
            Some(at) => unfit(at, "two numbers", None),
            None => Ok(arithmetic(&types[0], &types[1])),
        },
        Function::Int if types[0].may_be_number() || types[0].may_be_text() => Ok(Type::Int),
        Function::Int => unfit(0, "a number or a string", None),
        Function::Text => Ok(Type::Str),
        Function::Contains | Function::StartsWith | Function::EndsWith => {
            match types.iter().position(|ty| !ty.may_be_text()) {
                Some(0) if matches!(types[0], Type::List(_)) => {
                    unfit(0, "a string", Some("write `item in list`".to_owned()))
                }
                Some(at) => unfit(at, "a string", None),
                None => Ok(Type::Bool),
            }
        }
    }
}
