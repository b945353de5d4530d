//! Numbers of expressions: 64-bit integers and decimals. Every result is checked; a result out of range is an error.

use std::cmp::Ordering;

use super::EvalError;
use super::ast::Operator;
use super::eval::unfit;
use crate::value::{Decimal, Value};

/// Millionths in one.
const SCALE: i128 = 1_000_000;

fn error<T>(message: impl Into<String>) -> Result<T, EvalError> {
    Err(EvalError(message.into()))
}

/// The order of two numbers by what they stand for; `None` unless both are numbers.
pub(super) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    Some(left.millionths()?.cmp(&right.millionths()?))
}

/// An integer, also one written as a decimal.
pub(super) fn whole(value: &Value) -> Option<i64> {
    let millionths = value.millionths()?;
    if millionths % SCALE == 0 { i64::try_from(millionths / SCALE).ok() } else { None }
}

/// `-value`
pub(super) fn negate(value: &Value) -> Result<Value, EvalError> {
    let negated = match value {
        Value::Int(value) => value.checked_neg().map(Value::Int),
        Value::Decimal(value) => Decimal::from_micros(-value.micros()).map(Value::Decimal),
        other => return error(format!("`-` needs a number, not {}", other.type_name())),
    };
    negated.map_or_else(|| error(format!("-({}) is outside the range of numbers", value.to_json())), Ok)
}

/// `left operator right` for an operator of arithmetic.
pub(super) fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value, EvalError> {
    let needs = if operator == Operator::Add { "two numbers, two strings or two lists" } else { "two numbers" };
    let (Some(first), Some(second)) = (left.millionths(), right.millionths()) else {
        return unfit(operator, needs, left, right);
    };
    if second == 0 && matches!(operator, Operator::Divide | Operator::Remainder) {
        return error(format!("{} {operator} 0 is a division by zero", left.to_json()));
    }
    let res = match (left, right) {
        (Value::Int(left), Value::Int(right)) => integers(operator, *left, *right).map(Value::Int),
        _ => decimals(operator, first, second).map(Value::Decimal),
    };
    let message = || format!("{} {operator} {} is outside the range of numbers", left.to_json(), right.to_json());
    res.map_or_else(|| error(message()), Ok)
}

fn integers(operator: Operator, left: i64, right: i64) -> Option<i64> {
    match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide => left.checked_div(right),
        // The remainder of the smallest integer by -1 is 0, though the quotient is out of range.
        Operator::Remainder => Some(left.wrapping_rem(right)),
        _ => None,
    }
}

/// On millionths. What overflows 128 bits on the way is far outside the range of decimals, so it is the same error.
fn decimals(operator: Operator, left: i128, right: i128) -> Option<Decimal> {
    let millionths = match operator {
        Operator::Add => left.checked_add(right)?,
        Operator::Subtract => left.checked_sub(right)?,
        Operator::Multiply => rounded(left.checked_mul(right)?, SCALE)?,
        Operator::Divide => rounded(left.checked_mul(SCALE)?, right)?,
        Operator::Remainder => left.checked_rem(right)?,
        _ => return None,
    };
    i64::try_from(millionths).ok().and_then(Decimal::from_micros)
}

/// The nearest integer to the quotient, halves away from zero.
fn rounded(dividend: i128, divisor: i128) -> Option<i128> {
    let quotient = dividend.checked_div(divisor)?;
    let rest = (dividend % divisor).unsigned_abs();
    let away = if (dividend < 0) == (divisor < 0) { 1 } else { -1 };
    Some(if rest >= divisor.unsigned_abs() - rest { quotient + away } else { quotient })
}

/// `int(value)`
pub(super) fn int(value: &Value) -> Result<Value, EvalError> {
    match value {
        Value::Int(value) => Ok(Value::Int(*value)),
        Value::Decimal(value) => Ok(Value::Int(value.micros() / SCALE as i64)),
        Value::Str(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let value = text.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()));
            let shown: String = text.chars().take(40).collect();
            value.map_or_else(|| error(format!("{shown:?} is no int")), |value| Ok(Value::Int(value)))
        }
        other => error(format!("`int` needs a number or a string, not {}", other.type_name())),
    }
}
