//! From an issue to the files of the checkout: candidates, the engine's tests, a winner, what losers leave, and `apply`.

use std::path::Path;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::apply::stand;
use crate::place::Place;

/// The workflow that ships.
fn shipped() -> String {
    format!("{}/../../workflows/issue_fix_tournament.star", env!("CARGO_MANIFEST_DIR"))
}

/// A repository of the user's with the sources that the shipped workflow mends.
fn slug() -> Place {
    let place = Place::new();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../workflows/fixtures/slug"), &place.dir());
    place.commit_all();
    place
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// What `show` says of an instance.
fn shown(place: &Place, path: &str) -> Value {
    place.run(&["show", "@last", path, "--json"]).ok()
}

fn check(value: &Value, expected: Expect) {
    expected.assert_eq(&serde_json::to_string_pretty(value).unwrap());
}

/// The value of a key in the records of a log, wherever it is.
fn in_log(place: &Place, key: &str) -> Vec<Value> {
    fn look(value: &Value, key: &str, found: &mut Vec<Value>) {
        match value {
            Value::Object(entries) => {
                found.extend(entries.get(key).cloned());
                entries.values().for_each(|value| look(value, key, found));
            }
            Value::Array(items) => items.iter().for_each(|value| look(value, key, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for line in place.run(&["logs", "@last", "--raw"]).out.lines() {
        look(&serde_json::from_str(line).unwrap(), key, &mut found);
    }
    found
}

#[test]
fn the_good_one_of_three_fixes_is_applied_and_taken_back() {
    let place = slug();
    let before = stand(&place, &place.dir());
    let ran = place.run(&["run", &shipped(), "--repo", ".", "--trust", "--json"]).ok();
    assert_eq!((&ran["status"], &ran["verified"]), (&json!("succeeded"), &json!("passed")));
    assert_eq!(ran["outputs"]["winner"], "fixes/careful");
    assert_eq!(stand(&place, &place.dir()), before, "a run does not touch the checkout");

    // One is good, one does not work, and one reached beyond what it may write.
    let branch = |name: &str| {
        let it = shown(&place, &format!("fixes/{name}"));
        json!([it["status"], it["checks"], it["diffstat"], it["output"], it["reason"]])
    };
    check(
        &json!([branch("careful"), branch("hasty"), branch("sweeping")]),
        expect![[r#"
        [
          [
            "succeeded",
            [
              {
                "passed": true,
                "path": "fixes/careful/tests"
              }
            ],
            {
              "deletions": 1,
              "files": 1,
              "insertions": 3
            },
            {
              "tests": {
                "exit_code": 0,
                "passed": true,
                "stderr": "",
                "stdout": "5 passed, 0 failed\n"
              },
              "write": {
                "summary": "one dash between words, none at the ends"
              }
            },
            null
          ],
          [
            "succeeded",
            [
              {
                "passed": false,
                "path": "fixes/hasty/tests"
              }
            ],
            {
              "deletions": 1,
              "files": 1,
              "insertions": 1
            },
            {
              "tests": {
                "exit_code": 1,
                "passed": false,
                "stderr": "",
                "stdout": "FAIL slug(\"Hello World\"): got \"helloworld\", wanted \"hello-world\"\nFAIL slug(\"Hello,  World\"): got \"helloworld\", wanted \"hello-world\"\n3 passed, 2 failed\n"
              },
              "write": {
                "summary": "spaces are dropped"
              }
            },
            null
          ],
          [
            "failed",
            [
              {
                "passed": null,
                "path": "fixes/sweeping/tests"
              }
            ],
            {
              "deletions": 0,
              "files": 0,
              "insertions": 0
            },
            {
              "tests": null,
              "write": null
            },
            {
              "code": "child",
              "message": "fixes/sweeping/write did not succeed",
              "path": "fixes/sweeping"
            }
          ]
        ]"#]],
    );
    let contest = shown(&place, "pick")["contest"].clone();
    check(
        &contest,
        expect![[r#"
        {
          "fruit": [
            {
              "path": "fixes/hasty",
              "results": true
            }
          ],
          "path": "pick",
          "ranking": [
            {
              "eligible": true,
              "path": "fixes/careful",
              "score": -4,
              "status": "succeeded"
            },
            {
              "eligible": false,
              "path": "fixes/hasty",
              "status": "succeeded",
              "why": "does not satisfy value.results.tests.passed"
            },
            {
              "eligible": false,
              "path": "fixes/sweeping",
              "status": "failed",
              "why": "failed"
            }
          ],
          "winner": "fixes/careful"
        }"#]],
    );
    // The log holds all of it.
    assert_eq!(in_log(&place, "ranking").last().unwrap().as_array().unwrap().len(), 3);
    let report = place.run(&["report"]).out;
    for line in [
        "1. `fixes/careful` with -4",
        "2. `fixes/hasty`, could not win: does not satisfy value.results.tests.passed",
        "3. `fixes/sweeping`, could not win: failed",
    ] {
        assert!(report.contains(line), "{line}: {report}");
    }

    // What losers did is kept: in the branch's commit, and what nobody could commit under a ref of its own.
    let diff = place.run(&["diff", "@last", "fixes/hasty", "--json"]).ok();
    assert_eq!((&diff["files"][0]["path"], &diff["insertions"]), (&json!("slug.c"), &json!(1)));
    let kept = place.run(&["show", "--json"]).ok()["rescued"].clone();
    assert_eq!((kept.as_array().unwrap().len(), &kept[0]["path"]), (1, &json!("fixes/sweeping")), "{kept}");
    let none = place.run(&["diff", "@last", "fixes/sweeping", "--json"]);
    let hint = none.json()["error"]["hint"].as_str().unwrap().to_owned();
    assert_eq!((none.code, hint.contains(kept[0]["ref"].as_str().unwrap())), (2, true), "{none:?}");
    let header = place.git(&["show", &format!("{}:slug.h", kept[0]["ref"].as_str().unwrap())]);
    assert!(header.contains("SLUG_VERSION 2"), "{header}");

    // The winner's files come into the checkout, and nothing else does.
    let won = place.run(&["diff", "--json"]).ok();
    assert_eq!((&won["branch"], &won["files"][0]["path"]), (&json!("fixes/careful"), &json!("slug.c")));
    let applied = place.run(&["apply", "--json"]).ok();
    assert_eq!((&applied["branch"], &applied["files"]), (&json!("fixes/careful"), &json!(["slug.c"])));
    let mut wanted = before.clone();
    let file = wanted.iter_mut().find(|(name, _)| name.starts_with("slug.c ")).unwrap().1;
    *file = place.git(&["show", &format!("{}:slug.c", won["commit"].as_str().unwrap())]).into_bytes();
    wanted.insert("git [\"status\", \"--porcelain\"]".to_owned(), b" M slug.c\n".to_vec());
    assert_eq!(stand(&place, &place.dir()), wanted);
    assert_eq!(place.run(&["apply", "--undo", "--json"]).ok()["files"], json!(["slug.c"]));
    assert_eq!(stand(&place, &place.dir()), before);
    assert_eq!(place.run(&["replay", "--json"]).ok()["equal"], true);
}

/// Judges choose between two that pass the tests; the loser's test is taken into the winner's tree and run there.
const JUDGED: &str = r#"
def way(name):
    return branch(name, writes = ["src/**", "tests/**"], children = [
        agent("write", prompt = name, writes = ["src/**", "tests/**"]),
        test("tests", argv = ["sh", "tests/run.sh"]),
    ])

workflow(
    "judged",
    children = [
        parallel("ways", children = [way("plain"), way("thorough"), way("broken")]),
        tournament(
            "pick", candidates = "ways", require = "value.results.tests.passed",
            judge = judge(prompt = "{{ first.path }} or {{ second.path }}?"),
            harvest = ["results", "tests", "patches"],
        ),
        reduce("both", inputs = "pick", how = "combine"),
        test("again", argv = ["sh", "tests/run.sh"], tree = "both", expect = "2 tests"),
    ],
    outputs = {"winner": "pick.winner", "files": "both.files", "passed": "again.passed"},
)
"#;

const JUDGED_RULES: &str = r#"
[[rule]]
match = { node = "ways/plain/write" }
text = "plain"
edits = [{ path = "src/a.txt", replace = { from = "bad", to = "good" } }]

[[rule]]
match = { node = "ways/thorough/write" }
text = "thorough"
edits = [
  { path = "src/a.txt", replace = { from = "bad", to = "good enough" } },
  { path = "tests/test_more.sh", write = "grep -q good src/a.txt\n" },
]

[[rule]]
match = { node = "ways/broken/write" }
text = "broken"
edits = [{ path = "src/a.txt", replace = { from = "bad", to = "worse" } }]

[[rule]]
match = { node = "pick/judge[1]" }
json = { winner = "first", reason = "less" }

[[rule]]
match = { node = "pick/judge[2]" }
json = { winner = "second", reason = "still less" }
"#;

const JUDGED_TESTS: &str =
    "for it in tests/test_*.sh; do sh $it || exit 1; done\nls tests/test_*.sh | wc -l | sed 's/$/ tests/'\n";

#[test]
fn judges_choose_and_the_losers_test_goes_with_the_winner() {
    let place = Place::new();
    place.write("src/a.txt", "bad\n");
    place.write("tests/run.sh", JUDGED_TESTS);
    place.write("tests/test_a.sh", "! grep -q -e bad -e worse src/a.txt\n");
    place.write("flows/judged.star", JUDGED);
    place.write("flows/judged.mock.toml", JUDGED_RULES);
    place.commit_all();
    let before = stand(&place, &place.dir());
    let ran = place.run(&["run", "flows/judged.star", "--trust", "--json"]).ok();
    check(
        &ran["outputs"],
        expect![[r#"
        {
          "files": [
            "src/a.txt",
            "tests/test_more.sh"
          ],
          "passed": true,
          "winner": "ways/plain"
        }"#]],
    );
    let mut contest = shown(&place, "pick")["contest"].clone();
    let commit = contest["fruit"][0].as_object_mut().unwrap().remove("commit").unwrap();
    assert_eq!(commit, shown(&place, "ways/thorough")["commit"]);
    check(
        &contest,
        expect![[r#"
        {
          "bracket": [
            {
              "first": "ways/plain",
              "second": "ways/thorough",
              "votes": [
                "ways/plain",
                "ways/plain"
              ],
              "winner": "ways/plain"
            }
          ],
          "fruit": [
            {
              "path": "ways/thorough",
              "results": true,
              "taken_by": [
                "both"
              ],
              "tests": [
                "tests/test_more.sh"
              ]
            },
            {
              "path": "ways/broken",
              "results": true
            }
          ],
          "path": "pick",
          "ranking": [
            {
              "eligible": true,
              "path": "ways/plain",
              "status": "succeeded"
            },
            {
              "eligible": true,
              "path": "ways/thorough",
              "status": "succeeded"
            },
            {
              "eligible": false,
              "path": "ways/broken",
              "status": "succeeded",
              "why": "does not satisfy value.results.tests.passed"
            }
          ],
          "winner": "ways/plain"
        }"#]],
    );
    let bracket =
        in_log(&place, "bracket").into_iter().find(|it| it.as_array().is_some_and(|it| !it.is_empty())).unwrap();
    check(
        &bracket,
        expect![[r#"
        [
          {
            "first": "ways/plain",
            "second": "ways/thorough",
            "votes": [
              "first",
              "second"
            ],
            "winner": "ways/plain"
          }
        ]"#]],
    );
    // What is offered is what `apply` takes.
    let report = place.run(&["report", "--json"]).ok();
    assert_eq!(report["next"][0]["what"], "see what both changed");
    let both = shown(&place, "both");
    check(
        &json!([both["checks"], both["diffstat"], both["output"]["taken"], both["output"]["left"]]),
        expect![[r#"
        [
          [
            {
              "passed": true,
              "path": "again"
            }
          ],
          {
            "deletions": 1,
            "files": 2,
            "insertions": 2
          },
          [
            {
              "files": [
                "tests/test_more.sh"
              ],
              "path": "ways/thorough"
            }
          ],
          []
        ]"#]],
    );

    assert_eq!(place.run(&["diff", "--json"]).ok()["branch"], "both");
    let applied = place.run(&["apply", "--json"]).ok();
    assert_eq!(applied["files"], json!(["src/a.txt", "tests/test_more.sh"]));
    assert_eq!((place.read("src/a.txt").as_str(), place.read("tests/test_more.sh").lines().count()), ("good\n", 1));
    assert_eq!(place.git(&["status", "--porcelain"]), " M src/a.txt\n?? tests/test_more.sh\n");
    place.run(&["apply", "--undo", "--json"]).ok();
    assert_eq!(stand(&place, &place.dir()), before);
}
