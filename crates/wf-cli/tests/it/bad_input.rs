//! Bad input: a code and a place, the right exit code, and nothing written.

use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::place::Place;

/// Checks a source: exit code and the findings' codes with their places.
fn check(place: &Place, name: &str, expected_code: i32, expected: &[&str]) {
    let ran = place.run(&["check", name, "--json"]);
    let found = ran.json();
    let place_of = |it: &Value| {
        let number = |field: &str| it[field].as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
        let file = it["file"].as_str().unwrap_or("-");
        format!("{} {file}:{}:{}", it["code"].as_str().unwrap(), number("line"), number("column"))
    };
    let codes: Vec<String> = found["diagnostics"].as_array().unwrap().iter().map(place_of).collect();
    assert_eq!((ran.code, codes), (expected_code, expected.iter().map(|it| (*it).to_owned()).collect()), "{name}");
    assert_eq!(found["valid"], expected_code == 0, "{name}");
    assert!(!place.home().exists(), "{name}: something was written");
    // What cannot be checked cannot be run either.
    assert_eq!(place.run(&["run", name, "--json"]).code, expected_code, "{name}");
    assert!(expected_code == 0 || !place.home().exists(), "{name}: something was written");
}

#[test]
fn sources_that_are_no_workflows() {
    let place = Place::new();
    let dir = place.dir();
    place.write("empty.star", "");
    place.write("syntax.star", "workflow(\n");
    place.write("unknown.yaml", "workflow: w\nchildren:\n  - ask: a\n    prompt: x\n    promt: y\n");
    place.write("twice.json", r#"{"workflow": "w", "children": [{"ask": "a", "prompt": "x", "prompt": "y"}]}"#);
    place.write("deep.json", &"[".repeat(100_000));
    place.write("bomb.star", "x = 'a' * 2000000000\n");
    place.write("huge.star", &"#".repeat((1 << 20) + 1));
    place.write("dir.star/x", "");
    place.write("name.txt", "");
    std::fs::write(dir.join("binary.star"), [0xff, 0xfe, 0x00]).unwrap();
    mknodat(CWD, dir.join("pipe.star"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    symlink("/etc/hostname", dir.join("secret.md")).unwrap();
    place.write("load.star", "workflow('w', children = [ask('a', prompt = file('secret.md'))])\n");
    place.write("up.star", "workflow('w', children = [ask('a', prompt = file('../x'))])\n");

    check(&place, "missing.star", 3, &["WF0704 missing.star:1:1"]);
    check(&place, "missing", 3, &["WF0704 missing:1:1"]);
    check(&place, "name.txt", 3, &["WF0705 name.txt:1:1"]);
    check(&place, "dir.star", 3, &["WF0704 dir.star:1:1"]);
    check(&place, "pipe.star", 3, &["WF0704 pipe.star:1:1"]);
    check(&place, "binary.star", 3, &["WF0704 binary.star:1:1"]);
    check(&place, "huge.star", 3, &["WF0704 huge.star:1:1"]);
    check(&place, "empty.star", 3, &["WF0607 empty.star:1:1"]);
    check(&place, "syntax.star", 3, &["WF0602 syntax.star:1:9"]);
    check(&place, "unknown.yaml", 3, &["WF0103 unknown.yaml:5:5"]);
    check(&place, "twice.json", 3, &["WF0104 twice.json:1:60"]);
    check(&place, "deep.json", 3, &["WF0605 deep.json:1:193"]);
    check(&place, "load.star", 3, &["WF0614 load.star:1:50"]);
    check(&place, "up.star", 3, &["WF0613 up.star:1:50"]);
    check(&place, "bomb.star", 3, &["WF0631 bomb.star:1:1"]);
}

#[test]
fn requests_that_mean_nothing() {
    let place = Place::new();
    place.write("w.star", "workflow('w', inputs = {'n': 'int'}, children = [ask('a', prompt = 'x {{ inputs.n }}')])\n");
    place.write("bad.json", "[1]");
    place.write("bad.mock.toml", "[[rule]]\nmatch = 1\n");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["run", "w.star"], 2, "WF0702"),
        (&["run", "w.star", "-i", "n=x"], 2, "WF0702"),
        (&["run", "w.star", "-i", "n=1", "-i", "m=1"], 2, "WF0702"),
        (&["run", "w.star", "--inputs", "bad.json"], 2, "WF0702"),
        (&["run", "w.star", "--inputs", "missing.json"], 2, "WF0702"),
        (&["run", "w.star", "-i", "n=1", "--label", "x"], 2, "WF0701"),
        (&["run", "w.star", "-i", "n=1", "--budget-usd", "-1"], 2, "WF0701"),
        (&["run", "w.star", "-i", "n=1", "--timeout", "soon"], 2, "WF0701"),
        (&["run", "w.star", "-i", "n=1", "--base", "main"], 2, "WF0701"),
        (&["run", "w.star", "-i", "n=1", "--mock", "missing.toml"], 3, "WF0704"),
        (&["show"], 2, "WF0706"),
        (&["show", "zzz"], 2, "WF0706"),
        (&["resume", "../etc"], 2, "WF0706"),
        (&["explain", "WF9999"], 2, "WF0701"),
        (&["import", "w.star"], 9, "WF0720"),
        (&["import", "missing"], 9, "WF0720"),
        (&["trust"], 2, "WF0717"),
    ];
    for (args, code, word) in cases {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let ran = place.run(&args);
        let error = ran.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!((ran.code, error.as_str()), (*code, *word), "{args:?}: {ran:?}");
    }
    for args in [&[][..], &["dance"], &["run"], &["run", "w.star", "--seed", "x"], &["approve", "@last"]] {
        let ran = place.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}");
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let ran = place.run(&args);
        assert_eq!((ran.code, ran.json()["error"]["code"].as_str()), (2, Some("WF0701")), "{args:?}");
    }
    assert_eq!(place.run(&["--version"]).out, "whaleflow 0.0.0\n");
    assert_eq!(place.run(&["run", "--help"]).code, 0);
    assert_eq!(place.run(&["ps", "--json"]).ok()["runs"], Value::Array(Vec::new()));
    assert_eq!(place.run(&["explain", "wf0107", "--json"]).ok()["code"], "WF0107");
}

#[test]
fn a_misspelt_configuration_is_refused_with_its_place() {
    let place = Place::new();
    place.write("w.star", "workflow('w', children = [ask('a', prompt = 'x')])\n");
    std::fs::create_dir_all(place.home()).unwrap();
    std::fs::write(place.home().join("config.toml"), "[run]\nbudget = 1\n").unwrap();
    let ran = place.run(&["run", "w.star", "--json"]);
    assert_eq!((ran.code, ran.json()["error"]["code"].as_str()), (3, Some("WF0703")));
    assert!(ran.err.contains("config.toml:2:1: unknown field `budget`"), "{ran:?}");
}
