//! JSON Schema: the types it gives, and checks against it.
use super::Type;
use crate::value::Value;
pub(super) fn type_of(schema: &Value, depth: usize) -> Type {
    let _ = (schema, depth);
    Type::Any
}
/// x
pub fn check_schema(schema: &Value, value: &Value) -> Result<(), String> {
    let _ = (schema, value);
    Ok(())
}
/// x
pub fn check_is_schema(schema: &Value) -> Result<(), String> {
    let _ = schema;
    Ok(())
}
