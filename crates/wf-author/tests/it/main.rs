//! Authoring, from outside: sources in, drafts and findings out.

mod bombs;
mod json;
mod protocol;
mod spellings;
mod starlark;
mod support;
mod words;
mod yaml;
