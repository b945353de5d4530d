//! Authoring, from outside: sources in, drafts and findings out.

#[cfg(test)]
mod bombs;
#[cfg(test)]
mod guide;
#[cfg(test)]
mod json;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod spellings;
#[cfg(test)]
mod starlark;
#[cfg(test)]
mod support;
#[cfg(test)]
mod words;
#[cfg(test)]
mod yaml;
