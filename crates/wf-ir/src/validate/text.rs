//! Small texts with a form of their own: names, durations, paths.

use crate::fields::DURATION_MS_MAX;
use crate::node::RESERVED_NAMES;

/// Longest name, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// Words that expressions or templates understand themselves.
const WORDS: [&str; 14] =
    ["and", "else", "false", "if", "in", "is", "loop", "none", "not", "null", "or", "range", "self", "true"];

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameFault {
    /// It is not `[a-z][a-z0-9_]*`, or too long.
    Form,
    /// It means something already.
    Reserved,
}

/// Checks a name that expressions and templates will use.
pub(super) fn check_name(name: &str) -> Result<(), NameFault> {
    if !is_name(name, false) {
        return Err(NameFault::Form);
    }
    if RESERVED_NAMES.contains(&name) || WORDS.contains(&name) { Err(NameFault::Reserved) } else { Ok(()) }
}

/// Whether `name` is `[a-z][a-z0-9_]*` (with `dashes`, also `-`) and not too long.
pub(super) fn is_name(name: &str, dashes: bool) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || (dashes && byte == b'-'))
}

/// A name of the right form that looks like `name`, if there is one.
pub(super) fn repaired(name: &str) -> Option<String> {
    let lower: String = name
        .chars()
        .take(NAME_BYTES_MAX)
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' })
        .collect();
    let lower = lower.trim_matches('_');
    check_name(lower).ok().map(|()| lower.to_owned())
}

/// The milliseconds of `1h30m`, `250ms`, `2d`.
pub(super) fn parse_duration(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let malformed = || format!("{text:?} is no duration; write it like \"90s\", \"10m\" or \"1h30m\"");
    let mut rest = text;
    let mut next_unit = 0;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| malformed())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let found = UNITS.iter().enumerate().skip(next_unit).find(|(_, (unit, _))| *unit == &rest[..letters]);
        let (position, (_, ms)) = found.ok_or_else(malformed)?;
        rest = &rest[letters..];
        next_unit = position + 1;
        total = number.checked_mul(*ms).and_then(|part| total.checked_add(part)).ok_or_else(too_long)?;
    }
    if text.is_empty() {
        return Err(malformed());
    }
    if total > DURATION_MS_MAX { Err(too_long()) } else { Ok(total) }
}

/// What a duration longer than the limit is told.
pub(super) fn too_long() -> String {
    format!("a duration is at most {} days", DURATION_MS_MAX / 86_400_000)
}

/// The canonical spelling of milliseconds.
pub(super) fn duration_text(ms: u64) -> String {
    format!("{ms}ms")
}

/// What is wrong with a relative path, if anything.
pub(super) fn path_fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("is empty")
    } else if path.starts_with('/') || path.starts_with('~') {
        Some("is absolute")
    } else if path.contains('\\') || path.contains('\0') {
        Some("holds a backslash or a NUL")
    } else if path.split('/').any(|segment| segment == "..") {
        Some("holds `..`")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let check = |text, expected: Option<u64>| assert_eq!(parse_duration(text).ok(), expected, "{text}");
        check("30s", Some(30_000));
        check("1h30m", Some(5_400_000));
        check("250ms", Some(250));
        check("1d1ms", Some(86_400_001));
        check("0s", Some(0));
        check("366d", Some(DURATION_MS_MAX));
        check("", None);
        check("30", None);
        check("s", None);
        check("30s1h", None);
        check("1h1h", None);
        check("1.5h", None);
        check("-1s", None);
        check("1 h", None);
        check("367d", None);
        check("99999999999999999999s", None);
        check("18446744073709551615d", None);
        check("1ß", None);
    }

    #[test]
    fn names_have_one_form() {
        let check = |name, expected: Result<(), NameFault>| assert_eq!(check_name(name), expected, "{name}");
        check("a", Ok(()));
        check("fix_2", Ok(()));
        check("", Err(NameFault::Form));
        check("2fix", Err(NameFault::Form));
        check("Fix", Err(NameFault::Form));
        check("find-cache", Err(NameFault::Form));
        check("é", Err(NameFault::Form));
        check("prev", Err(NameFault::Reserved));
        check("in", Err(NameFault::Reserved));
        assert_eq!(check_name(&"a".repeat(65)), Err(NameFault::Form));
        assert_eq!(repaired("Find-Cache").as_deref(), Some("find_cache"));
        assert_eq!(repaired("---"), None);
    }
}
