//! Starlark, YAML and JSON to a draft.
