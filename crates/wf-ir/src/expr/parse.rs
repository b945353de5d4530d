//! The parser: by operator precedence, with bounds on size and nesting, so that no source can exhaust the stack.

use super::ast::{Ast, AstKind, Each, EachKind, Function, Operator};
use super::token::{Token, TokenKind, number_value, tokens};
use super::{ParseError, Parsed, Reference};
use crate::limits::{EXPR_BYTES_MAX, EXPR_NODES_MAX};

/// Deepest nesting of brackets, calls, choices and signs.
const NESTING_MAX: usize = 32;

/// Words that are never names.
const WORDS: [&str; 4] = ["true", "false", "null", "in"];

pub(super) fn parse(source: &str) -> Result<Parsed, ParseError> {
    if source.len() > EXPR_BYTES_MAX {
        let message = format!("an expression has at most {EXPR_BYTES_MAX} bytes, this one has {}", source.len());
        return Err(ParseError::at(EXPR_BYTES_MAX, message));
    }
    let mut parser =
        Parser { tokens: tokens(source)?, at: 0, nodes: 0, nesting: 0, variable: None, references: Vec::new() };
    if parser.peek() == &TokenKind::End {
        return Err(ParseError::at(0, "an expression is missing"));
    }
    let root = parser.expression()?;
    match parser.peek() {
        TokenKind::End => Ok(Parsed { root, references: parser.references }),
        other => {
            let message = match other {
                TokenKind::Name(word) if word == "and" => "`and` is no operator; write `&&`".to_owned(),
                TokenKind::Name(word) if word == "or" => "`or` is no operator; write `||`".to_owned(),
                _ => format!("unexpected {}", other.shown()),
            };
            Err(ParseError::at(parser.offset(), message))
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    nodes: usize,
    nesting: usize,
    /// The variable of the macro whose body is being read.
    variable: Option<String>,
    references: Vec<Reference>,
}

/// What stands between two operands, and how tightly it binds.
enum Infix {
    Or,
    And,
    Binary(Operator),
}

impl Infix {
    fn of(kind: &TokenKind) -> Option<(Self, u8)> {
        let binary = |operator, binding| Some((Self::Binary(operator), binding));
        match kind {
            TokenKind::Mark("||") => Some((Self::Or, 1)),
            TokenKind::Mark("&&") => Some((Self::And, 2)),
            TokenKind::Mark("==") => binary(Operator::Equal, 3),
            TokenKind::Mark("!=") => binary(Operator::Unequal, 3),
            TokenKind::Mark("<") => binary(Operator::Less, 3),
            TokenKind::Mark("<=") => binary(Operator::LessEqual, 3),
            TokenKind::Mark(">") => binary(Operator::Greater, 3),
            TokenKind::Mark(">=") => binary(Operator::GreaterEqual, 3),
            TokenKind::Name(word) if word == "in" => binary(Operator::In, 3),
            TokenKind::Mark("+") => binary(Operator::Add, 4),
            TokenKind::Mark("-") => binary(Operator::Subtract, 4),
            TokenKind::Mark("*") => binary(Operator::Multiply, 5),
            TokenKind::Mark("/") => binary(Operator::Divide, 5),
            TokenKind::Mark("%") => binary(Operator::Remainder, 5),
            _ => None,
        }
    }
}

impl Parser {
    fn peek(&self) -> &TokenKind {
        &self.tokens[self.at].kind
    }

    fn offset(&self) -> usize {
        self.tokens[self.at].offset
    }

    /// The next token; the end is never passed.
    fn advance(&mut self) -> TokenKind {
        let kind = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        kind
    }

    fn eat(&mut self, mark: &'static str) -> bool {
        let found = self.peek() == &TokenKind::Mark(mark);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, mark: &'static str) -> Result<(), ParseError> {
        if self.eat(mark) {
            return Ok(());
        }
        Err(ParseError::at(self.offset(), format!("`{mark}` is expected, found {}", self.peek().shown())))
    }

    fn node(&mut self, offset: usize, kind: AstKind) -> Result<Ast, ParseError> {
        self.nodes += 1;
        if self.nodes > EXPR_NODES_MAX {
            return Err(ParseError::at(offset, format!("an expression has at most {EXPR_NODES_MAX} syntax nodes")));
        }
        Ok(Ast { offset, kind })
    }

    /// Reads something that may hold itself.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            let message = format!("an expression is nested at most {NESTING_MAX} levels deep");
            return Err(ParseError::at(self.offset(), message));
        }
        let res = read(self);
        self.nesting -= 1;
        res
    }

    fn expression(&mut self) -> Result<Ast, ParseError> {
        self.nested(|parser| {
            let offset = parser.offset();
            let condition = parser.infix(0)?;
            if !parser.eat("?") {
                return Ok(condition);
            }
            let then = parser.expression()?;
            parser.expect(":")?;
            let otherwise = parser.expression()?;
            parser.node(offset, AstKind::Choose(Box::new([condition, then, otherwise])))
        })
    }

    /// Operands joined by operators that bind tighter than `floor`.
    fn infix(&mut self, floor: u8) -> Result<Ast, ParseError> {
        let offset = self.offset();
        let mut left = self.unary()?;
        while let Some((infix, binding)) = Infix::of(self.peek()).filter(|(_, binding)| *binding > floor) {
            self.advance();
            let right = Box::new(self.infix(binding)?);
            let whole = Box::new(left);
            left = self.node(
                offset,
                match infix {
                    Infix::Or => AstKind::Or(whole, right),
                    Infix::And => AstKind::And(whole, right),
                    Infix::Binary(operator) => AstKind::Binary(operator, whole, right),
                },
            )?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Ast, ParseError> {
        let offset = self.offset();
        if self.eat("!") {
            let operand = self.nested(Self::unary)?;
            return self.node(offset, AstKind::Not(Box::new(operand)));
        }
        if self.eat("-") {
            // The smallest integer has no positive counterpart, so a sign belongs to its number.
            if let TokenKind::Number(text) = self.peek() {
                let value = number_value(&format!("-{text}"), offset)?;
                self.advance();
                return self.node(offset, AstKind::Literal(value));
            }
            let operand = self.nested(Self::unary)?;
            return self.node(offset, AstKind::Negate(Box::new(operand)));
        }
        self.postfix()
    }

    fn postfix(&mut self) -> Result<Ast, ParseError> {
        let begin = self.offset();
        let mut operand = self.primary()?;
        loop {
            let offset = self.offset();
            if self.eat("[") {
                let index = self.expression()?;
                self.expect("]")?;
                operand = self.node(begin, AstKind::Index(Box::new(operand), Box::new(index)))?;
            } else if self.eat(".") {
                let TokenKind::Name(name) = self.advance() else {
                    return Err(ParseError::at(offset, "a field name is expected after `.`"));
                };
                operand = if self.eat("(") {
                    self.method(operand, &name, offset + 1)?
                } else {
                    self.node(offset + 1, AstKind::Field(Box::new(operand), name))?
                };
            } else {
                return Ok(operand);
            }
        }
    }

    /// What follows `receiver.name(`.
    fn method(&mut self, receiver: Ast, name: &str, offset: usize) -> Result<Ast, ParseError> {
        if let Some(kind) = EachKind::named(name) {
            return self.each(kind, receiver, offset);
        }
        let Some(function) = Function::method(name) else {
            let message = match Function::named(name) {
                Some(_) => format!("`{name}` is no method; write `{name}(x)`"),
                None => format!(
                    "unknown method `{name}`; known are contains, startsWith, endsWith, exists, all, filter, map"
                ),
            };
            return Err(ParseError::at(offset, message));
        };
        let mut arguments = vec![receiver];
        arguments.extend(self.arguments(")")?);
        if arguments.len() != 2 {
            return Err(ParseError::at(offset, format!("`{name}` takes one argument")));
        }
        self.node(offset, AstKind::Call(function, arguments))
    }

    /// What follows `list.exists(` and its like.
    fn each(&mut self, kind: EachKind, list: Ast, offset: usize) -> Result<Ast, ParseError> {
        if self.variable.is_some() {
            return Err(ParseError::at(offset, format!("`{kind}` cannot stand within another macro")));
        }
        let at = self.offset();
        let variable = match self.advance() {
            TokenKind::Name(name) if name != "node" && !WORDS.contains(&name.as_str()) => name,
            _ => return Err(ParseError::at(at, format!("`{kind}` needs the name of a variable first"))),
        };
        self.expect(",")?;
        self.variable = Some(variable);
        let body = self.expression()?;
        self.variable = None;
        self.expect(")")?;
        self.node(offset, AstKind::Each(Box::new(Each { kind, list, body })))
    }

    /// Expressions separated by commas, up to `close`; one trailing comma is fine.
    fn arguments(&mut self, close: &'static str) -> Result<Vec<Ast>, ParseError> {
        let mut arguments = Vec::new();
        while !self.eat(close) {
            arguments.push(self.expression()?);
            if !self.eat(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(arguments)
    }

    fn primary(&mut self) -> Result<Ast, ParseError> {
        let offset = self.offset();
        match self.advance() {
            TokenKind::Number(text) => {
                let value = number_value(&text, offset)?;
                self.node(offset, AstKind::Literal(value))
            }
            TokenKind::Text(text) => self.node(offset, AstKind::Literal(text.into())),
            TokenKind::Name(name) => self.name(name, offset),
            TokenKind::Mark("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            TokenKind::Mark("[") => {
                let items = self.arguments("]")?;
                self.node(offset, AstKind::List(items))
            }
            TokenKind::Mark("{") => self.map(offset),
            other => Err(ParseError::at(offset, format!("a value is expected, found {}", other.shown()))),
        }
    }

    fn map(&mut self, offset: usize) -> Result<Ast, ParseError> {
        let mut entries: Vec<(String, Ast)> = Vec::new();
        while !self.eat("}") {
            let at = self.offset();
            let TokenKind::Text(key) = self.advance() else {
                return Err(ParseError::at(at, "a key is expected, a string"));
            };
            if entries.iter().any(|(known, _)| *known == key) {
                return Err(ParseError::at(at, format!("key {key:?} stands twice")));
            }
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        self.node(offset, AstKind::Map(entries))
    }

    fn name(&mut self, name: String, offset: usize) -> Result<Ast, ParseError> {
        if self.peek() == &TokenKind::Mark("(") {
            self.advance();
            return self.call(&name, offset);
        }
        let kind = match name.as_str() {
            "true" => AstKind::Literal(true.into()),
            "false" => AstKind::Literal(false.into()),
            "null" => AstKind::Literal(crate::value::Value::Null),
            "in" => return Err(ParseError::at(offset, "a value is expected, found `in`")),
            "node" => self.envelope(offset)?,
            _ if self.variable.as_ref() == Some(&name) => AstKind::Variable,
            _ => self.free(Reference::Name(name)),
        };
        self.node(offset, kind)
    }

    /// What follows `node`.
    fn envelope(&mut self, offset: usize) -> Result<AstKind, ParseError> {
        if self.eat(".")
            && let TokenKind::Name(id) = self.advance()
        {
            return Ok(self.free(Reference::Envelope(id)));
        }
        Err(ParseError::at(offset, "`node` is followed by `.` and the id of a node"))
    }

    fn free(&mut self, reference: Reference) -> AstKind {
        AstKind::Free(self.references.iter().position(|known| *known == reference).unwrap_or_else(|| {
            self.references.push(reference);
            self.references.len() - 1
        }))
    }

    /// What follows `name(`.
    fn call(&mut self, name: &str, offset: usize) -> Result<Ast, ParseError> {
        if name == "has" {
            return self.has(offset);
        }
        let Some((function, count)) = Function::named(name) else {
            let message = match (Function::method(name), EachKind::named(name)) {
                (Some(_), _) => format!("`{name}` is a method; write `x.{name}(y)`"),
                (_, Some(_)) => format!("`{name}` is a method; write `list.{name}(v, …)`"),
                (None, None) => {
                    format!("unknown function `{name}`; known are size, range, has, min, max, int, string")
                }
            };
            return Err(ParseError::at(offset, message));
        };
        let arguments = self.arguments(")")?;
        if !count.contains(&arguments.len()) {
            let count = match (count.start(), count.end()) {
                (1, 1) => "one argument",
                (1, _) => "one argument or two",
                _ => "two arguments",
            };
            return Err(ParseError::at(offset, format!("`{name}` takes {count}")));
        }
        self.node(offset, AstKind::Call(function, arguments))
    }

    fn has(&mut self, offset: usize) -> Result<Ast, ParseError> {
        let operand = self.expression()?;
        self.expect(")")?;
        match operand.kind {
            AstKind::Field(..) | AstKind::Index(..) => self.node(offset, AstKind::Has(Box::new(operand))),
            _ => Err(ParseError::at(offset, "`has` takes a field or an index, as in `has(a.b)`")),
        }
    }
}
