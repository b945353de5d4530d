//! The syntax tree of an expression.

use std::fmt;

use crate::value::Value;

/// One syntax node and where it begins.
#[derive(Debug)]
pub(super) struct Ast {
    pub(super) offset: usize,
    pub(super) kind: AstKind,
}

#[derive(Debug)]
pub(super) enum AstKind {
    Literal(Value),
    /// What stands outside the expression, by its place in [`super::Parsed::references`].
    Free(usize),
    /// The variable of the enclosing macro.
    Variable,
    List(Vec<Ast>),
    Map(Vec<(String, Ast)>),
    Field(Box<Ast>, String),
    Index(Box<Ast>, Box<Ast>),
    /// Whether a path of fields and indices, the operand, leads to something.
    Has(Box<Ast>),
    Not(Box<Ast>),
    Negate(Box<Ast>),
    And(Box<Ast>, Box<Ast>),
    Or(Box<Ast>, Box<Ast>),
    Binary(Operator, Box<Ast>, Box<Ast>),
    Choose(Box<[Ast; 3]>),
    Call(Function, Vec<Ast>),
    Each(Box<Each>),
}

/// A macro over a list.
#[derive(Debug)]
pub(super) struct Each {
    pub(super) kind: EachKind,
    pub(super) list: Ast,
    pub(super) body: Ast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EachKind {
    Exists,
    All,
    Filter,
    Map,
}

impl EachKind {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "exists" => Some(Self::Exists),
            "all" => Some(Self::All),
            "filter" => Some(Self::Filter),
            "map" => Some(Self::Map),
            _ => None,
        }
    }
}

impl fmt::Display for EachKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exists => "exists",
            Self::All => "all",
            Self::Filter => "filter",
            Self::Map => "map",
        })
    }
}

/// An operator with two operands that are always both evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        })
    }
}

/// A function; of those called as methods the receiver is the first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Range,
    Min,
    Max,
    Int,
    Text,
    Contains,
    StartsWith,
    EndsWith,
}

impl Function {
    /// The function that is called as `name(…)`, and how many arguments it takes.
    pub(super) fn named(name: &str) -> Option<(Self, std::ops::RangeInclusive<usize>)> {
        match name {
            "size" => Some((Self::Size, 1..=1)),
            "range" => Some((Self::Range, 1..=2)),
            "min" => Some((Self::Min, 2..=2)),
            "max" => Some((Self::Max, 2..=2)),
            "int" => Some((Self::Int, 1..=1)),
            "string" => Some((Self::Text, 1..=1)),
            _ => None,
        }
    }

    /// The function that is called as `x.name(…)` with one argument.
    pub(super) fn method(name: &str) -> Option<Self> {
        match name {
            "contains" => Some(Self::Contains),
            "startsWith" => Some(Self::StartsWith),
            "endsWith" => Some(Self::EndsWith),
            _ => None,
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "size",
            Self::Range => "range",
            Self::Min => "min",
            Self::Max => "max",
            Self::Int => "int",
            Self::Text => "string",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
        })
    }
}
