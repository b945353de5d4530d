//! Names of refs, directories and commits: what may be given, and what is made.

use wf_ir::Digest;

use super::error::GitError;

/// The longest run id that becomes part of a ref.
const RUN_ID_LEN_MAX: usize = 64;

/// The longest readable part of a name.
const SLUG_LEN_MAX: usize = 40;

/// A run id that can be part of a ref and of a path.
pub(crate) fn check_run(run: &str) -> Result<(), GitError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if run.is_empty() || run.len() > RUN_ID_LEN_MAX || run.starts_with('-') || !run.bytes().all(is_plain) {
        let reason = "it must be 1 to 64 letters, digits, '-' or '_'";
        return Err(GitError::Invalid { what: "run id", value: run.to_owned(), reason });
    }
    Ok(())
}

/// A full object id, in lower-case hex.
pub(crate) fn check_id(id: &str) -> Result<(), GitError> {
    if is_id(id) {
        return Ok(());
    }
    Err(GitError::Invalid { what: "commit id", value: id.to_owned(), reason: "it must be 40 or 64 hex digits" })
}

pub(crate) fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `<hash>-<slug>` of an instance path, for refs of a run: git refuses `a[2]`, and `x/a` beside `x/a/b`.
pub(crate) fn ref_leaf(path: &str) -> String {
    format!("{}-{}", Digest::of(path.as_bytes()).short(), slug(path))
}

fn slug(path: &str) -> String {
    let mut slug = String::new();
    for c in path.chars().map(|c| c.to_ascii_lowercase()) {
        let c = if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        if c != '-' || !(slug.is_empty() || slug.ends_with('-')) {
            slug.push(c);
        }
        if slug.len() == SLUG_LEN_MAX {
            break;
        }
    }
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "branch".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_hold_nothing_that_a_ref_or_a_file_name_could_trip_over() {
        let cases = [
            ("green[2]/tests", "green-2-tests"),
            ("fix-loop[2]", "fix-loop-2"),
            ("..//a.lock", "a-lock"),
            ("ÄÖ", "branch"),
            ("", "branch"),
            ("-x-", "x"),
        ];
        for (path, expected) in cases {
            assert_eq!(slug(path), expected, "{path:?}");
        }
        assert_eq!(slug(&"ab/".repeat(100)).len(), SLUG_LEN_MAX);
        assert_eq!(slug(&"abc/".repeat(100)).len(), SLUG_LEN_MAX - 1);
    }

    #[test]
    fn names_of_nested_and_similar_paths_differ() {
        let names = ["x/a", "x/a/b", "x-a", "x[a]"].map(ref_leaf);
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }

    #[test]
    fn ids_and_run_ids_have_one_form() {
        assert!(is_id(&"a".repeat(40)) && is_id(&"0".repeat(64)));
        assert!(!is_id(&"A".repeat(40)) && !is_id("HEAD") && !is_id(""));
        assert!(check_run("01J-ab_c").is_ok());
        for bad in ["", "-x", "a/b", "a.lock", "..", "a b", &"a".repeat(65)] {
            assert!(check_run(bad).is_err(), "{bad:?}");
        }
    }
}
