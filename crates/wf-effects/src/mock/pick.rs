//! Which questions a rule answers.

use wf_ir::Value;

use super::Question;
use super::rules::{map, optional};

/// What a question must be for a rule to answer it. What is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) node: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) role: Option<String>,
    pub(super) prompt_contains: Option<String>,
    pub(super) iteration: Option<u32>,
    pub(super) attempt: Option<u32>,
    pub(super) sample: Option<u32>,
}

impl Pick {
    /// Whether the rule answers `question`.
    pub(super) fn fits(&self, question: &Question<'_>) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let equal = |wanted: Option<u32>, found: u32| wanted.is_none_or(|wanted| wanted == found);
        same(&self.kind, question.kind)
            && same(&self.role, question.role)
            && equal(self.iteration, question.iteration)
            && equal(self.attempt, question.attempt)
            && equal(self.sample, question.sample)
            && self.node.as_deref().is_none_or(|pattern| path_matches(pattern, question.path))
            && self.prompt_contains.as_deref().is_none_or(|part| question.prompt.contains(part))
    }

    /// Checks a pattern of paths.
    pub(super) fn check_node(pattern: &str) -> Result<(), String> {
        let name = |segment: &str| {
            let (name, index) = match segment.strip_suffix(']').and_then(|segment| segment.split_once('[')) {
                Some((name, index)) => (name, Some(index)),
                None => (segment, None),
            };
            let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '*');
            let is_index = |c: char| c.is_ascii_digit() || matches!(c, '.' | '*');
            !name.is_empty()
                && name.chars().all(is_part)
                && index.is_none_or(|index| !index.is_empty() && index.chars().all(is_index))
        };
        if pattern.split('/').all(name) { Ok(()) } else { Err(format!("{pattern:?} is no pattern of node paths")) }
    }

    pub(super) fn canonical(&self) -> Value {
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        map([
            ("node", text(&self.node)),
            ("kind", text(&self.kind)),
            ("role", text(&self.role)),
            ("prompt_contains", text(&self.prompt_contains)),
            ("iteration", optional(self.iteration)),
            ("attempt", optional(self.attempt)),
            ("sample", optional(self.sample)),
        ])
    }
}

/// Whether an instance's path matches a pattern. `*` stands for any text within a segment, a segment `**` for any
/// number of segments. A segment of the pattern without an index matches every index.
fn path_matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    wild(&pattern, &path, |part| *part == "**", |wanted, found| segment_matches(wanted, found))
}

fn segment_matches(pattern: &str, segment: &str) -> bool {
    let found = if pattern.contains('[') { segment } else { segment.split('[').next().unwrap_or(segment) };
    let (pattern, found) = (pattern.as_bytes(), found.as_bytes());
    wild(pattern, found, |byte| *byte == b'*', |wanted, found| wanted == found)
}

/// Matches a list with wildcards that stand for any number of elements, in time proportional to the product of the
/// lengths.
fn wild<P, T>(pattern: &[P], list: &[T], is_wild: impl Fn(&P) -> bool, same: impl Fn(&P, &T) -> bool) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while from < list.len() {
        match pattern.get(at) {
            Some(part) if is_wild(part) => {
                retry = Some((at, from));
                at += 1;
            }
            Some(part) if same(part, &list[from]) => {
                at += 1;
                from += 1;
            }
            _ => {
                // The last wildcard takes one more.
                let Some((wild_at, wild_from)) = retry else { return false };
                retry = Some((wild_at, wild_from + 1));
                at = wild_at + 1;
                from = wild_from + 1;
            }
        }
    }
    pattern[at..].iter().all(is_wild)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (pattern, path, expected) in [
            ("green/fix", "green/fix", true),
            ("green/fix", "green[2]/fix", true),
            ("green[2]/fix", "green[2]/fix", true),
            ("green[2]/fix", "green[3]/fix", false),
            ("green[*]/fix", "green[13]/fix", true),
            ("green[*]/fix", "green/fix", false),
            ("fix", "green/fix", false),
            ("**/fix", "green/fix", true),
            ("**/fix", "fix", true),
            ("**", "a/b/c", true),
            ("a/**/d", "a/d", true),
            ("a/**/d", "a/b[1]/c/d", true),
            ("a/**/d", "a/b/c", false),
            ("*/fix", "green/fix", true),
            ("*/fix", "a/green/fix", false),
            ("fix_*", "fix_a", true),
            ("fix_*", "fix_", true),
            ("f*x_*b", "fix_axxb", true),
            ("fix_*", "fi_a", false),
            ("pick/judge", "pick/judge[3]", true),
            ("a", "a/b", false),
            ("a/b", "a", false),
        ] {
            assert_eq!(path_matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, expected) in [
            ("a/b_2/*c", true),
            ("a[3]/**", true),
            ("", false),
            ("a//b", false),
            ("A", false),
            ("a[x]", false),
            ("a[]", false),
            ("a[1", false),
            ("/a", false),
            ("a-b", false),
        ] {
            assert_eq!(Pick::check_node(pattern).is_ok(), expected, "{pattern}");
        }
    }
}
