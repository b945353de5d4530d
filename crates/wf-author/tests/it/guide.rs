//! The examples of `docs/authoring.md` are workflows.

use wf_author::Spelling;
use wf_ir::{Diagnostic, Severity, validate};

use crate::support::{compiled, findings};

const GUIDE: &str = include_str!("../../../../docs/authoring.md");

const FILES: [(&str, &str); 2] =
    [("lib.star", "verdict = schema.object({'ok': schema.boolean()})"), ("prompts/patch.md", "Fix what is wrong.")];

/// The fenced blocks of the guide: the line each begins in, its language, its text.
fn blocks() -> Vec<(usize, &'static str, String)> {
    let mut blocks: Vec<(usize, &str, String)> = Vec::new();
    let mut open = false;
    for (index, line) in GUIDE.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                blocks.push((index + 1, language, String::new()));
                open = true;
            }
            None if open => blocks.last_mut().unwrap().2 += &format!("{line}\n"),
            None => {}
        }
    }
    blocks
}

/// What is wrong with a source.
fn errors(spelling: Spelling, source: &str) -> Vec<Diagnostic> {
    match compiled(spelling, source, &FILES) {
        Ok(draft) => validate(&draft).1.into_iter().filter(|found| found.severity == Severity::Error).collect(),
        Err(found) => found,
    }
}

#[test]
fn every_example_is_a_workflow() {
    let blocks = blocks();
    let context = blocks.iter().find(|(_, _, text)| text.starts_with("search(\"find\", pattern")).unwrap().2.clone();
    let inputs = "{'goal': input(type = 'string', default = 'x'), 'package': input(type = 'string', default = 'x')}";
    let mut count = 0;
    for (line, language, text) in &blocks {
        let (spelling, source) = match *language {
            "yaml" => (Spelling::Yaml, text.clone()),
            "json" => (Spelling::Json, text.clone()),
            "starlark" if text.contains("workflow(\n") || text.contains("workflow(\"") => {
                (Spelling::Starlark, text.clone())
            }
            "starlark" => {
                let before = if *text == context { "" } else { &context };
                (Spelling::Starlark, format!("workflow('guide', inputs = {inputs}, children = [\n{before}{text}])"))
            }
            other => panic!("line {line}: no example in {other:?} is expected"),
        };
        let found = errors(spelling, &source);
        assert!(found.is_empty(), "the example in line {line}:\n{}", findings(&found));
        count += 1;
    }
    assert_eq!(count, 29);
}
