//! Compiling in a process of its own, with the processes played by functions.

use std::cell::RefCell;

use expect_test::{Expect, expect};
use wf_author::limits::{FILES_BYTES_MAX, FILES_MAX, RESPONSE_BYTES_MAX, SOURCE_BYTES_MAX};
use wf_author::protocol::{ChildResult, FileAnswer, Request, drive, serve};
use wf_author::{LoadError, Loader, NoFiles, Spelling, compile};
use wf_ir::{Diagnostic, Draft};

use crate::support::{Files, findings, name, plain};

/// Drives real compilations; also gives how many children it took.
fn driven(spelling: Spelling, source: &str, loader: &dyn Loader) -> (Result<Draft, Vec<Diagnostic>>, usize) {
    let mut children = 0;
    let mut run = |request: &Request| {
        children += 1;
        ChildResult::Answered(serve(&request.to_json()))
    };
    let result = drive(spelling, name(spelling), source, &mut run, loader);
    (result, children)
}

/// The same comes out of a child as of a call.
fn check_same(spelling: Spelling, source: &str, files: &[(&str, &str)], children: usize) {
    let files = Files::of(files);
    let (result, ran) = driven(spelling, source, &files);
    assert_eq!(result, compile(spelling, name(spelling), source, &files), "{source}");
    assert_eq!(ran, children, "{source}");
}

/// What becomes of a child that ends like this.
fn check_child(result: ChildResult, expected: Expect) {
    let found = drive(Spelling::Starlark, "main.star", "", &mut |_| result.clone(), &NoFiles).unwrap_err();
    expected.assert_eq(&findings(&found));
}

#[test]
fn a_child_finds_what_a_call_finds() {
    let starlark = "load('a.star', 'a')\nworkflow('w', x = [1, -0.5, None, True, {'k': 'é\\n'}, [], {}], children = [a], p = file('p.md'))";
    check_same(Spelling::Starlark, "workflow('w')", &[], 1);
    check_same(Spelling::Starlark, starlark, &[("a.star", "a = ask('a', prompt = 'x')"), ("p.md", "P")], 2);
    check_same(
        Spelling::Starlark,
        starlark,
        &[("a.star", "load('b.star', 'b')\na = b"), ("b.star", "b = 1"), ("p.md", "")],
        3,
    );
    check_same(Spelling::Starlark, starlark, &[("a.star", "a = ask('a', prompt = 'x')")], 2);
    check_same(Spelling::Starlark, "x = (", &[], 1);
    check_same(
        Spelling::Starlark,
        "x = file('p' + '.md')\nworkflow('w', y = file(x))",
        &[("p.md", "q.md"), ("q.md", "Q")],
        3,
    );
    check_same(
        Spelling::Yaml,
        "workflow: w\nchildren: [{ask: a, prompt: {file: a.md}}, {ask: b, prompt: {file: b.md}}]",
        &[("a.md", "A")],
        2,
    );
    check_same(Spelling::Json, r#"{"workflow": "w", "x": [1.5, null]}"#, &[], 1);
    check_same(Spelling::Json, "[1e99, 1e98]", &[], 1);
}

#[test]
fn a_file_that_is_named_but_not_needed_is_not_waited_for() {
    check_same(Spelling::Starlark, "if False:\n  file('gone.md')\nworkflow('w')", &[], 1);
}

#[test]
fn deep_drafts_cross() {
    let source = format!("{}{}", "[".repeat(192), "]".repeat(192));
    check_same(Spelling::Json, &source, &[], 1);
    check_same(Spelling::Yaml, &source, &[], 1);
}

#[test]
fn each_way_to_end_badly_has_its_finding() {
    check_child(
        ChildResult::Crashed { reason: "killed by signal 9".to_owned() },
        expect![[r#"
            main.star:1:1: WF0631 the compiling process ended without an answer: killed by signal 9
              hint: a source that nests or repeats without bounds ends like this; build the workflow in smaller steps
        "#]],
    );
    check_child(
        ChildResult::TimedOut,
        expect![[r#"
            main.star:1:1: WF0632 the source took too long to compile
              hint: a source that nests or repeats without bounds ends like this; build the workflow in smaller steps
        "#]],
    );
    check_child(
        ChildResult::TooMuchOutput,
        expect![[r#"
            main.star:1:1: WF0633 the compiling process wrote more than 100663296 bytes
              hint: a source that nests or repeats without bounds ends like this; build the workflow in smaller steps
        "#]],
    );
    check_child(
        ChildResult::Answered(" ".repeat(RESPONSE_BYTES_MAX + 1)),
        expect![[r#"
            main.star:1:1: WF0633 the compiling process wrote more than 100663296 bytes
              hint: a source that nests or repeats without bounds ends like this; build the workflow in smaller steps
        "#]],
    );
    check_child(
        ChildResult::Answered(String::new()),
        expect![[r#"
            main.star:1:1: WF0634 the compiling process gave an answer that cannot be used: it is not of the agreed form
              hint: this is a fault of the program, not of the workflow
        "#]],
    );
}

#[test]
fn a_child_is_not_believed() {
    let long = serde_json::to_string(&"x".repeat(10_000)).unwrap();
    let span = r#"{"file":"f","line":1,"column":1,"end_line":0,"end_column":0}"#;
    for (answer, reason) in [
        (r#"{"draft":{"files":[],"parts":[]}}"#.to_owned(), "the draft ends too early"),
        (r#"{"draft":{"files":[],"parts":[[0,1,1,1,1,"null"]]}}"#.to_owned(), "a place has no file"),
        (r#"{"draft":{"files":["f"],"parts":[[0,1,1,1,1,"null"],[0,1,1,1,1,"null"]]}}"#.to_owned(), "the draft goes on"),
        (r#"{"draft":{"files":["f"],"parts":[[0,1,1,1,1,{"list":2}],[0,1,1,1,1,"null"]]}}"#.to_owned(), "the draft ends too early"),
        (r#"{"draft":{"files":["f"],"parts":[[0,1,1,1,1,{"map":1}],[0,1,1,1,1,"null"]]}}"#.to_owned(), "a value of a map has no key"),
        (r#"{"draft":{"files":["f"],"parts":[[0,1,1,1,1,{"key":"k"}]]}}"#.to_owned(), "a key stands outside a map"),
        (r#"{"draft":{"files":["f"],"parts":[[0,1,1,1,1,{"map":1}],[0,1,1,1,1,{"key":"k"}],[0,1,1,1,1,{"key":"k"}]]}}"#.to_owned(), "a key stands outside a map"),
        (r#"{"draft":{"files":["f"],"parts":[[0,1,1,1,1,{"decimal":9223372036854775807}]]}}"#.to_owned(), "a decimal is out of range"),
        (format!(r#"{{"draft":{{"files":["f"],"parts":[{}]}}}}"#, vec![r#"[0,1,1,1,1,{"list":1}]"#; 193].join(",")), "the draft is nested too deeply"),
        (r#"{"draft":{"files":["f"],"parts":[[0,1,1,1,1,{"list":4294967295}]]}}"#.to_owned(), "the draft ends too early"),
        (format!(r#"{{"draft":{{"files":[{}],"parts":[]}}}}"#, vec!["\"f\""; FILES_MAX + 2].join(",")), "it is not of the agreed form"),
        (r#"{"draft":{"files":["f"],"parts":[[0,-1,1,1,1,"null"]]}}"#.to_owned(), "it is not of the agreed form"),
        (r#"{"findings":[]}"#.to_owned(), "its findings are not of the agreed form"),
        (format!(r#"{{"findings":[{{"code":"WF9999","message":"m","hint":null,"span":{span}}}]}}"#), "its findings are not of the agreed form"),
        (format!(r#"{{"findings":[{}]}}"#, vec!["1"; 1000].join(",")), "it is not of the agreed form"),
        (r#"{"needs_files":[]}"#.to_owned(), "it needs no file and says so"),
        (r#"{"needs_files":["../x"]}"#.to_owned(), "it asks for a file outside the workflow's directory"),
        (r#"{"needs_files":["/etc/passwd"]}"#.to_owned(), "it asks for a file outside the workflow's directory"),
        (r#"{"needs_files":["a","a"]}"#.to_owned(), "it asks for a file again"),
        (r#"{"needs_files":["a"]}"#.to_owned(), "it asks for a file again"),
        (r#"{"other":1}"#.to_owned(), "it is not of the agreed form"),
        ("[".repeat(100_000), "it is not of the agreed form"),
    ] {
        let mut run = |_: &Request| ChildResult::Answered(answer.clone());
        let found = drive(Spelling::Starlark, "main.star", "", &mut run, &NoFiles).unwrap_err();
        assert_eq!(found.len(), 1, "{answer:.200}");
        assert_eq!(found[0].code, "WF0634", "{answer:.200}");
        assert_eq!(found[0].message, format!("the compiling process gave an answer that cannot be used: {reason}"));
    }

    let answer = format!(r#"{{"findings":[{{"code":"WF0602","message":{long},"hint":{long},"span":{span}}}]}}"#);
    let mut run = |_: &Request| ChildResult::Answered(answer.clone());
    let found = drive(Spelling::Starlark, "main.star", "", &mut run, &NoFiles).unwrap_err();
    assert_eq!((found[0].code, found[0].message.chars().count()), ("WF0602", 4_097));
}

#[test]
fn a_request_that_cannot_be_read_is_a_finding() {
    for request in ["", "{}", "[[[[", "{\"spelling\":\"toml\",\"file\":\"\",\"source\":\"\",\"files\":{}}"] {
        let answer = serve(request);
        assert!(answer.starts_with(r#"{"findings":[{"code":"WF0634","#), "{answer}");
    }
}

/// A loader with endless files, of a size.
struct Endless(usize);

impl Loader for Endless {
    fn load(&self, _: &str) -> Result<String, LoadError> {
        Ok("x".repeat(self.0))
    }
}

#[test]
fn files_are_bounded_in_number() {
    let source = "x = [file('f%d' % n) for n in range(1000)]\nworkflow('w')";
    let (result, children) = driven(Spelling::Starlark, source, &Endless(1));
    let found = result.unwrap_err();
    expect![[r#"
        main.star:1:11: WF0616 the file "f64" cannot be used: one workflow may name 64 files with 4194304 bytes in all
    "#]]
    .assert_eq(&findings(&found));
    assert_eq!(children, FILES_MAX + 1);
    assert_eq!(compile(Spelling::Starlark, "main.star", source, &Endless(1)), Err(found));

    let source = format!(
        "[{}]",
        (0..100).map(|n| format!("{{\"prompt\": {{\"file\": \"f{n}\"}}}}")).collect::<Vec<_>>().join(",")
    );
    let found = driven(Spelling::Json, &source, &Endless(1)).0.unwrap_err();
    assert_eq!((found.len(), found[0].code), (100 - FILES_MAX, "WF0616"));
}

#[test]
fn files_are_bounded_in_size() {
    let source = "x = [file('f%d' % n) for n in range(1000)]\nworkflow('w')";
    let (result, children) = driven(Spelling::Starlark, source, &Endless(SOURCE_BYTES_MAX));
    expect![[r#"
        main.star:1:11: WF0616 the file "f4" cannot be used: one workflow may name 64 files with 4194304 bytes in all
    "#]]
    .assert_eq(&findings(&result.unwrap_err()));
    assert_eq!(children, FILES_BYTES_MAX / SOURCE_BYTES_MAX + 2);

    let (result, children) = driven(Spelling::Starlark, "file('a')", &Endless(SOURCE_BYTES_MAX + 1));
    expect![[r#"
        main.star:1:6: WF0614 the file "a" cannot be used: it is larger than 1048576 bytes
    "#]]
    .assert_eq(&findings(&result.unwrap_err()));
    assert_eq!(children, 2);
}

#[test]
fn a_source_that_is_too_large_reaches_no_child() {
    let source = " ".repeat(SOURCE_BYTES_MAX + 1);
    let (result, children) = driven(Spelling::Yaml, &source, &NoFiles);
    expect![[r#"
        main.yaml:1:1: WF0601 the source has 1048577 bytes; 1048576 are allowed
          hint: put long texts into files of their own and name them with `file`
    "#]]
    .assert_eq(&findings(&result.unwrap_err()));
    assert_eq!(children, 0);
}

#[test]
fn a_child_that_asks_without_end_is_stopped() {
    let asked = RefCell::new(0);
    let mut run = |request: &Request| {
        *asked.borrow_mut() += 1;
        assert!(request.files.values().all(|file| *file == FileAnswer::Refused(LoadError::Missing)));
        ChildResult::Answered(format!("{{\"needs_files\":[\"f{}\"]}}", asked.borrow()))
    };
    let found = drive(Spelling::Starlark, "main.star", "", &mut run, &NoFiles).unwrap_err();
    expect![[r#"
        main.star:1:1: WF0616 the source names more than 64 files
    "#]]
    .assert_eq(&findings(&found));
    assert_eq!(*asked.borrow(), FILES_MAX + 2);
}

#[test]
fn a_draft_comes_back_as_it_was() {
    let source = "workflow: w\nx: [1, 2.5, ~, true, {a: b, a: c}, [], {}]\n";
    let draft = driven(Spelling::Yaml, source, &NoFiles).0.unwrap();
    expect![[r#"{workflow: "w", x: [1, 2.5, null, true, {a: "b", a: "c"}, [], {}]}"#]].assert_eq(&plain(&draft));
}
