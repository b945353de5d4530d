//! Reports on runs.

use expect_test::expect;
use wf_ir::Value;
use wf_ir::node::Budget;
use wf_kernel::record::PassedOver;
use wf_kernel::{Effect, Outcome};
use wf_view::{LogLine, ReportView};

use crate::support::{COMBINED, CONTEST, GATED, Script, usual, value};

#[test]
fn a_report_on_a_success() {
    let script = Script::begin(CONTEST, Budget::default()).finish(usual);
    expect![[r##"
        # contest `r1`: succeeded

        Two fixes, one wins.

        ## Outcome

        - Status: **succeeded**
        - Verified: **passed**
        - Leaves: 6 of 6 succeeded, 0 failed, 0 skipped
        - Time: 20.0s (began 2026-01-02T03:04:05.000Z, ended 2026-01-02T03:04:25.000Z)
        - Used: 3.7k tokens in, 369 out, $0.0370
        - Workflow: `f0b458d0288d42a8a7724399ac27a228afc9e78aa0006726cd9b9ac33a27a246`
        - Result digest: `0533626ec0bbf187c04ad14395004fe6e5b7bd1ca046cac35f4bbd901b99f14e`

        ## Verification

        passed: every test on the chosen line passed, and nothing was written after

        - `fixes/good/check`: passed
        - `fixes/bad/check`: failed

        ## Outputs

        ```json
        {
          "summary": "done",
          "winner": "fixes/good"
        }
        ```

        ## Branches

        | branch | ended | files | lines | tests | cost | commit |
        |---|---|---|---|---|---|---|
        | `fixes/good` (chosen) | succeeded | 1 | +3 −1 | passed | $0.0123 | `9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d` |
        | `fixes/bad` | succeeded | 1 | +3 −1 | failed | $0.0123 | `bdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbd` |

        ## Tournaments

        `pick` was won by `fixes/good`.

        1. `fixes/good` with -3
        2. `fixes/bad`, could not win: does not satisfy value.results.check.passed

        - `fixes/bad` leaves its results

        ## Costs

        Of its budget: 4.0k of 100.0k tokens, $0.0370 of $2.0000, 6 of 20000 leaves.

        | role | leaves | attempts | tokens in | tokens out | cost |
        |---|---|---|---|---|---|
        | `coder` | 2 | 2 | 2.4k | 246 | $0.0247 |
        | `writer` | 1 | 1 | 1.2k | 123 | $0.0123 |

        | node | leaves | attempts | tokens in | tokens out | cost |
        |---|---|---|---|---|---|
        | `fixes/bad/fix` | 1 | 1 | 1.2k | 123 | $0.0123 |
        | `fixes/good/fix` | 1 | 1 | 1.2k | 123 | $0.0123 |
        | `sum_up` | 1 | 1 | 1.2k | 123 | $0.0123 |

        ## Slowest

        - `fixes/bad/fix`: 6.0s
        - `fixes/good/fix`: 6.0s
        - `fixes/bad/check`: 4.0s
        - `fixes/good/check`: 4.0s
        - `sum_up`: 4.0s
        - `look`: 2.0s

        ## Kept work

        - `fixes/bad`: `refs/whaleflow/r1/rescue/0a-bad`

        ## What to do next

        - see what fixes/good changed: `whaleflow diff r1 fixes/good`
        - take it into your checkout: `whaleflow apply r1`
        - look at unsaved work of fixes/bad: `git show refs/whaleflow/r1/rescue/0a-bad`
    "##]]
    .assert_eq(&ReportView::of(&script.fold(), &script.facts()).to_markdown());
}

#[test]
fn a_report_on_a_contest_and_a_combination() {
    let script = Script::begin(COMBINED, Budget::default()).finish(usual);
    let report = ReportView::of(&script.fold(), &script.facts());
    let text = report.to_markdown();
    let part = text.split("## Branches").nth(1).and_then(|rest| rest.split("## Costs").next()).unwrap();
    expect![[r#"


        | branch | ended | files | lines | tests | cost | commit |
        |---|---|---|---|---|---|---|
        | `ways/good` (chosen) | succeeded | 1 | +3 −1 | passed | $0.0123 | `9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d` |
        | `ways/wide` | succeeded | 1 | +3 −1 | passed | $0.0123 | `1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d` |
        | `ways/bad` | succeeded | 1 | +3 −1 | failed | $0.0123 | `bdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbd` |
        | `both` | succeeded | 1 | +3 −1 | passed | none | `cccccccccccccccccccccccccccccccccccccccc` |

        ## Tournaments

        `pick` was won by `ways/good`.

        1. `ways/good`
        2. `ways/wide`
        3. `ways/bad`, could not win: does not satisfy value.results.check.passed

        - `ways/good` against `ways/wide`: the judge preferred `ways/good`, then neither; `ways/good` went on
        - `ways/wide` leaves its results and a patch of its own (`src/1d.rs`); taken by `both`
        - `ways/bad` leaves its results and a patch of its own (`src/bd.rs`)

    "#]]
    .assert_eq(part);
    let branch = report.branches.last().unwrap();
    expect![[r#"
        [
          [
            {
              "path": "pick",
              "winner": "ways/good",
              "ranking": [
                {
                  "path": "ways/good",
                  "status": "succeeded",
                  "eligible": true
                },
                {
                  "path": "ways/wide",
                  "status": "succeeded",
                  "eligible": true
                },
                {
                  "path": "ways/bad",
                  "status": "succeeded",
                  "eligible": false,
                  "why": "does not satisfy value.results.check.passed"
                }
              ],
              "bracket": [
                {
                  "first": "ways/good",
                  "second": "ways/wide",
                  "votes": [
                    "ways/good",
                    "tie"
                  ],
                  "winner": "ways/good"
                }
              ],
              "fruit": [
                {
                  "path": "ways/wide",
                  "results": true,
                  "patch": [
                    "src/1d.rs"
                  ],
                  "commit": "1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d",
                  "taken_by": [
                    "both"
                  ]
                },
                {
                  "path": "ways/bad",
                  "results": true,
                  "patch": [
                    "src/bd.rs"
                  ],
                  "commit": "bdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbd"
                }
              ]
            }
          ],
          {
            "path": "both",
            "status": "succeeded",
            "winner": false,
            "commit": "cccccccccccccccccccccccccccccccccccccccc",
            "files": 1,
            "insertions": 3,
            "deletions": 1,
            "checks": [
              {
                "path": "check",
                "passed": true
              }
            ],
            "outputs": {
              "base": "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0",
              "commit": "cccccccccccccccccccccccccccccccccccccccc",
              "deletions": 1,
              "files": [
                "src/cc.rs"
              ],
              "insertions": 3,
              "left": [
                {
                  "files": [
                    "src/bd.rs"
                  ],
                  "path": "ways/bad",
                  "why": "it is in the way"
                }
              ],
              "taken": [
                {
                  "files": [
                    "src/1d.rs"
                  ],
                  "path": "ways/wide"
                }
              ],
              "tree": "cccccccccccccccccccccccccccccccccccccccc",
              "winner": "ways/good"
            }
          }
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&(&report.contests, branch)).unwrap());
}

#[test]
fn a_report_on_a_wait() {
    let script = Script::begin(GATED, Budget::default()).finish(usual);
    expect![[r##"
        # gated `r1`: waiting

        ## Outcome

        - Status: **waiting**
        - Why: waits for a decision (`ok`)
        - Verified: **none**
        - Leaves: 1 of 4 succeeded, 1 failed, 0 skipped
        - Time: 12.5s (began 2026-01-02T03:04:05.000Z)
        - Used: 1.2k tokens in, 127 out, $0.0127
        - Workflow: `5a83c549d5c25c55c5255bfeec31af75c03f823535aae6b1e456c144ed56b329`

        ## Verification

        none: the run has not ended

        ## Costs

        Of its budget: 3 of 20000 leaves.

        | role | leaves | attempts | tokens in | tokens out | cost |
        |---|---|---|---|---|---|
        | `default` | 2 | 3 | 1.2k | 127 | $0.0127 |

        | node | leaves | attempts | tokens in | tokens out | cost |
        |---|---|---|---|---|---|
        | `tries/plan` | 1 | 1 | 1.2k | 123 | $0.0123 |
        | `tries/broken` | 1 | 2 | 40 | 4 | $0.0004 |

        ## Slowest

        - `tries/broken`: 9.5s in 2 attempts
        - `tries/plan`: 2.0s
        - `ok`: 1.0s

        ## Failures

        ### `tries/broken`

        failed after 2 attempts: the provider said no (`provider`)

        ```json
        {
          "exit_code": 1,
          "stderr": "it broke"
        }
        ```

        ## What to do next

        - decide ok: `whaleflow approve r1 ok --data '{…}'`
    "##]]
    .assert_eq(&ReportView::of(&script.fold(), &script.facts()).to_markdown());
}

#[test]
fn a_report_as_json() {
    let script = Script::begin(GATED, Budget::default()).finish(usual);
    let report = ReportView::of(&script.fold(), &script.facts());
    expect![[r#"
        [
          [
            {
              "name": "default",
              "leaves": 2,
              "attempts": 3,
              "usage": {
                "input_tokens": 1274,
                "output_tokens": 127,
                "cost_usd_micros": 12740
              }
            }
          ],
          [
            {
              "status": "failed",
              "reason": {
                "path": "tries/broken",
                "code": "provider",
                "message": "the provider said no"
              },
              "attempts": 2,
              "evidence": {
                "exit_code": 1,
                "stderr": "it broke"
              }
            }
          ],
          [
            {
              "what": "decide ok",
              "command": "whaleflow approve r1 ok --data '{…}'"
            }
          ]
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&(report.costs_by_role, report.failures, report.next)).unwrap());
}

/// As usual, by models of which one was not asked first.
fn resolved(effect: &Effect) -> Outcome {
    let Outcome::Prepared(mut prepared) = usual(effect) else { return usual(effect) };
    if *prepared.role != Value::Null {
        prepared.role = value(r#"{"model": "org/tiny", "provider": "far", "params": {}}"#);
        prepared.price = Some(value(r#"{"input": 250000, "output": 2000000}"#));
        let is_first = effect.id.subject.contains("good");
        let over = |model: &str, why: &str| PassedOver { model: model.to_owned(), why: why.to_owned() };
        prepared.passed_over = if is_first { vec![over("near/a_b", "out: it said | no")] } else { Vec::new() };
    }
    Outcome::Prepared(prepared)
}

#[test]
fn a_report_says_who_was_asked_and_who_was_not() {
    let script = Script::begin(CONTEST, Budget::default()).finish(resolved);
    let report = ReportView::of(&script.fold(), &script.facts());
    let text = report.to_markdown();
    let from = text.find("## Models").unwrap();
    let to = text[from..].find("## Slowest").unwrap();
    expect![[r#"
        ## Models

        | role | model | leaves | a million tokens in | out |
        |---|---|---|---|---|
        | `coder` | `far/org/tiny` | 2 | $0.2500 | $2.0000 |
        | `writer` | `far/org/tiny` | 1 | $0.2500 | $2.0000 |

        - `coder` was not done by `near/a_b`: out: it said \| no

    "#]]
    .assert_eq(&text[from..from + to]);
    expect![[r#"
        [
          {
            "role": "coder",
            "model": "far/org/tiny",
            "leaves": 2,
            "price": {
              "input": 250000,
              "output": 2000000
            },
            "passed_over": [
              {
                "model": "near/a_b",
                "why": "out: it said | no"
              }
            ]
          },
          {
            "role": "writer",
            "model": "far/org/tiny",
            "leaves": 1,
            "price": {
              "input": 250000,
              "output": 2000000
            }
          }
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&report.models).unwrap());
    let mocked = Script::begin(CONTEST, Budget::default()).finish(usual);
    assert_eq!(ReportView::of(&mocked.fold(), &mocked.facts()).models, []);
}

#[test]
fn a_log_in_words() {
    let script = Script::begin(GATED, Budget::default()).finish(usual);
    let lines: Vec<String> = script
        .records
        .iter()
        .enumerate()
        .map(|(at, record)| LogLine::of_record(at as u64 + 1, 0, record))
        .map(|line| format!("{} {} {}", line.stream, line.instance.as_deref().unwrap_or("-"), line.text))
        .collect();
    expect![[r#"
        input - the run of gated began
        decision tries opened
        decision tries/broken preparation is ordered
        input tries/broken prepared
        decision tries/broken attempt 1 began
        input tries/broken work failed: the provider said no (provider) (22 tokens, $0.0002)
        decision tries/broken attempt 2 follows at 2026-01-02T03:04:12.549Z: the provider said no
        input tries/broken its time came
        decision tries/broken preparation is ordered
        input tries/broken prepared
        decision tries/broken attempt 2 began
        input tries/broken work failed: the provider said no (provider) (22 tokens, $0.0002)
        decision tries/broken failed: the provider said no
        decision tries/plan preparation is ordered
        input tries/plan prepared
        decision tries/plan attempt 1 began
        input tries/plan work succeeded (1.3k tokens, $0.0123)
        decision tries/plan succeeded
        decision tries succeeded
        decision ok preparation is ordered
        input ok prepared
        decision ok waits for a decision"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn traces_in_words() {
    let text = |line: &str| {
        let line = LogLine::of_trace("a", line);
        format!("{}: {}", line.stream, line.text)
    };
    assert_eq!(text(r#"{"stream":"stdout","text":"hello"}"#), "stdout: hello");
    assert_eq!(text(r#"{"trace":"full","bytes_max":10}"#), "note: the trace is full; what came later is not here");
    assert_eq!(text("no json"), "trace: no json");
}
