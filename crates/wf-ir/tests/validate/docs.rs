//! Every code has an entry in the documentation and a test that brings it about.

use std::collections::BTreeSet;

use wf_ir::codes;

const DOCS: &str = include_str!("../../../../docs/errors.md");
const TESTS: [&str; 6] = [
    include_str!("shape.rs"),
    include_str!("names.rs"),
    include_str!("canonical.rs"),
    include_str!("resources.rs"),
    include_str!("preflight.rs"),
    include_str!("hostile.rs"),
];

#[test]
fn codes_are_distinct_and_in_order() {
    let codes: Vec<&str> = codes::ALL.iter().map(|(code, _)| *code).collect();
    let sorted: Vec<&str> = codes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(codes, sorted);
}

#[test]
fn every_code_has_an_entry() {
    let missing: Vec<String> = codes::ALL
        .iter()
        .map(|(code, title)| format!("## {code} {title}"))
        .filter(|heading| !DOCS.lines().any(|line| line == heading))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_code_is_brought_about_by_a_test() {
    let untested: Vec<&str> =
        codes::ALL.iter().map(|(code, _)| *code).filter(|code| !TESTS.iter().any(|test| test.contains(code))).collect();
    assert_eq!(untested, [""; 0]);
}
