//! Where findings are gathered.

use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::draft::Span;

/// Most findings that are shown; the last one says how many more there are.
const FINDINGS_MAX: usize = 1_000;
/// Most names that a hint is looked for among.
const NAMES_COMPARED_MAX: usize = 2_000;
/// Longest name that a hint is looked for.
const NAME_CHARS_MAX: usize = 64;

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Diagnostic>,
    left_out: usize,
    last: Span,
    failed: bool,
}

impl Report {
    /// Adds a finding.
    pub(super) fn push(&mut self, finding: Diagnostic) {
        self.failed |= finding.severity == Severity::Error;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.left_out += 1;
            self.last = finding.span;
        }
    }

    /// Adds an error.
    pub(super) fn error(&mut self, code: &'static str, span: &Span, message: impl Into<String>) {
        self.push(Diagnostic::error(code, span, message));
    }

    /// Adds an error that has a hint if `hint` is there.
    pub(super) fn hinted(&mut self, code: &'static str, span: &Span, message: impl Into<String>, hint: Option<String>) {
        self.push(Diagnostic { hint, ..Diagnostic::error(code, span, message) });
    }

    /// Whether no more findings are shown, so that their words do not matter.
    pub(super) fn is_full(&self) -> bool {
        self.findings.len() >= FINDINGS_MAX
    }

    /// Whether there was an error.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// All findings in the order of the source, each once.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.findings.sort_by(|a, b| (&a.span, a.code, &a.message).cmp(&(&b.span, b.code, &b.message)));
        self.findings.dedup();
        if self.left_out > 0 {
            let message = format!("{} more findings are not shown; at most {FINDINGS_MAX} are", self.left_out);
            self.findings.push(Diagnostic::error(codes::TOO_MANY_FINDINGS, &self.last, message));
        }
        self.findings
    }
}

/// "did you mean …", when one of `known` is close to `name`.
pub(super) fn did_you_mean<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
    nearest(name, known).map(|near| format!("did you mean `{near}`?"))
}

/// The closest of `known`, when it is close enough to be meant.
pub(super) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let letters: Vec<char> = name.chars().take(NAME_CHARS_MAX + 1).collect();
    if letters.len() > NAME_CHARS_MAX {
        return None;
    }
    let most = (letters.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .take(NAMES_COMPARED_MAX)
        .filter(|candidate| candidate.len().abs_diff(letters.len()) <= most && *candidate != name)
        .map(|candidate| (distance(&letters, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be changed, added, removed or swapped with their neighbour to get from one to the other.
fn distance(left: &[char], right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut current = vec![row];
        for column in 1..=right.len() {
            let same = left[row - 1] == right[column - 1];
            let mut best = (above[column - 1] + usize::from(!same)).min(above[column] + 1).min(current[column - 1] + 1);
            let swapped =
                row > 1 && column > 1 && left[row - 1] == right[column - 2] && left[row - 2] == right[column - 1];
            if swapped {
                best = best.min(before[column - 2] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        let check = |name, known: &[&'static str], expected| {
            assert_eq!(nearest(name, known.iter().copied()), expected, "{name}");
        };
        check("promt", &["prompt", "vars"], Some("prompt"));
        check("widht", &["width", "writes"], Some("width"));
        check("x", &["y", "zz"], Some("y"));
        check("prompt", &["vars", "output"], None);
        check("", &["a"], Some("a"));
        check("same", &["same"], None);
    }
}
