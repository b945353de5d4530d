//! Summaries, details, lists, gates.

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use wf_ir::Workflow;
use wf_ir::node::Budget;
use wf_kernel::{Command, Decision, Effect, Outcome, Record, Request};
use wf_view::{
    GatesView, InstanceDetail, Keep, ReportView, RunDetail, RunFacts, RunFold, RunList, RunListItem, RunSummary,
    WhyView,
};

use crate::support::{BEGAN_MS, CONTEST, FAN_OUT, GATED, Script, succeeded, usage, usual};

fn json<T: serde::Serialize>(view: &T) -> String {
    serde_json::to_string_pretty(view).unwrap()
}

fn check<T: serde::Serialize>(view: &T, expected: Expect) {
    expected.assert_eq(&json(view));
}

fn no_budget() -> Budget {
    Budget::default()
}

#[test]
fn a_run_that_succeeded() {
    let script = Script::begin(CONTEST, no_budget()).finish(usual);
    check(
        &RunSummary::of(&script.fold(), &script.facts()),
        expect![[r#"
            {
              "version": 1,
              "run_id": "r1",
              "workflow": {
                "id": "contest",
                "hash": "f0b458d0288d42a8a7724399ac27a228afc9e78aa0006726cd9b9ac33a27a246"
              },
              "status": "succeeded",
              "verified": "passed",
              "leaves": {
                "total": 6,
                "done": 6,
                "failed": 0,
                "skipped": 0
              },
              "usage": {
                "input_tokens": 3702,
                "output_tokens": 369,
                "cost_usd_micros": 37020
              },
              "memo": {
                "hits": 0,
                "misses": 0
              },
              "records": 55,
              "log_digest": "9fbf48f8224338b32a7f298140ee6c52b29a22d05b35c9be97e19b614e4726ba",
              "result_digest": "0533626ec0bbf187c04ad14395004fe6e5b7bd1ca046cac35f4bbd901b99f14e",
              "duration_ms": 20000,
              "outputs": {
                "summary": "done",
                "winner": "fixes/good"
              }
            }"#]],
    );
}

#[test]
fn a_run_with_all_its_instances() {
    let script = Script::begin(CONTEST, no_budget()).finish(usual);
    check(
        &RunDetail::of(&script.fold(), &script.facts()),
        expect![[r#"
            {
              "version": 1,
              "run_id": "r1",
              "workflow": {
                "id": "contest",
                "hash": "f0b458d0288d42a8a7724399ac27a228afc9e78aa0006726cd9b9ac33a27a246"
              },
              "status": "succeeded",
              "verified": "passed",
              "leaves": {
                "total": 6,
                "done": 6,
                "failed": 0,
                "skipped": 0
              },
              "usage": {
                "input_tokens": 3702,
                "output_tokens": 369,
                "cost_usd_micros": 37020
              },
              "memo": {
                "hits": 0,
                "misses": 0
              },
              "records": 55,
              "log_digest": "9fbf48f8224338b32a7f298140ee6c52b29a22d05b35c9be97e19b614e4726ba",
              "result_digest": "0533626ec0bbf187c04ad14395004fe6e5b7bd1ca046cac35f4bbd901b99f14e",
              "duration_ms": 20000,
              "outputs": {
                "summary": "done",
                "winner": "fixes/good"
              },
              "started_at": "2026-01-02T03:04:05.000Z",
              "ended_at": "2026-01-02T03:04:25.000Z",
              "labels": {
                "team": "core"
              },
              "inputs": {},
              "seed": 7,
              "base": {
                "commit": "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0",
                "source": "commit"
              },
              "budget": {
                "tokens": 100000,
                "cost_usd_micros": 2000000,
                "wall_ms": null,
                "leaves": 20000,
                "settled": {
                  "tokens": 4071,
                  "cost_usd_micros": 37020
                },
                "reserved": {
                  "tokens": 0,
                  "cost_usd_micros": 0
                },
                "leaves_begun": 6
              },
              "sandbox": "none",
              "rescued": [
                {
                  "path": "fixes/bad",
                  "ref": "refs/whaleflow/r1/rescue/0a-bad"
                }
              ],
              "contests": [
                {
                  "path": "pick",
                  "winner": "fixes/good",
                  "ranking": [
                    {
                      "path": "fixes/good",
                      "status": "succeeded",
                      "eligible": true,
                      "score": -3
                    },
                    {
                      "path": "fixes/bad",
                      "status": "succeeded",
                      "eligible": false,
                      "why": "does not satisfy value.results.check.passed"
                    }
                  ],
                  "fruit": [
                    {
                      "path": "fixes/bad",
                      "results": true
                    }
                  ]
                }
              ],
              "instances": [
                {
                  "path": "look",
                  "kind": "search",
                  "status": "succeeded",
                  "attempts": 1,
                  "started_at": "2026-01-02T03:04:05.000Z",
                  "ended_at": "2026-01-02T03:04:07.000Z",
                  "output": {
                    "count": 1,
                    "matches": [
                      {
                        "line": 1,
                        "path": "src/a.rs",
                        "text": "cache"
                      }
                    ],
                    "truncated": false
                  }
                },
                {
                  "path": "fixes",
                  "kind": "parallel",
                  "status": "succeeded",
                  "attempts": 1,
                  "started_at": "2026-01-02T03:04:07.000Z",
                  "ended_at": "2026-01-02T03:04:21.000Z",
                  "output": null
                },
                {
                  "path": "fixes/good",
                  "kind": "branch",
                  "status": "succeeded",
                  "attempts": 1,
                  "started_at": "2026-01-02T03:04:07.000Z",
                  "ended_at": "2026-01-02T03:04:20.000Z",
                  "output": {
                    "check": {
                      "exit_code": 0,
                      "passed": true,
                      "stderr": "",
                      "stdout": "ok"
                    },
                    "fix": "done"
                  },
                  "usage": {
                    "input_tokens": 1234,
                    "output_tokens": 123,
                    "cost_usd_micros": 12340
                  },
                  "commit": "9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d",
                  "files": [
                    {
                      "path": "src/9d.rs",
                      "change": "modified",
                      "insertions": 3,
                      "deletions": 1
                    }
                  ],
                  "diffstat": {
                    "files": 1,
                    "insertions": 3,
                    "deletions": 1
                  },
                  "checks": [
                    {
                      "path": "fixes/good/check",
                      "passed": true
                    }
                  ]
                },
                {
                  "path": "fixes/good/fix",
                  "kind": "agent",
                  "status": "succeeded",
                  "attempts": 1,
                  "started_at": "2026-01-02T03:04:08.000Z",
                  "ended_at": "2026-01-02T03:04:14.000Z",
                  "output": "done",
                  "role": {
                    "name": "coder",
                    "provider": "mock",
                    "model": "m1"
                  },
                  "usage": {
                    "input_tokens": 1234,
                    "output_tokens": 123,
                    "cost_usd_micros": 12340
                  },
                  "commit": "9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d",
                  "files": [
                    {
                      "path": "src/9d.rs",
                      "change": "modified",
                      "insertions": 3,
                      "deletions": 1
                    }
                  ],
                  "diffstat": {
                    "files": 1,
                    "insertions": 3,
                    "deletions": 1
                  }
                },
                {
                  "path": "fixes/good/check",
                  "kind": "test",
                  "status": "succeeded",
                  "attempts": 1,
                  "started_at": "2026-01-02T03:04:14.000Z",
                  "ended_at": "2026-01-02T03:04:18.000Z",
                  "output": {
                    "exit_code": 0,
                    "passed": true,
                    "stderr": "",
                    "stdout": "ok"
                  }
                },
                {
                  "path": "fixes/bad",
                  "kind": "branch",
                  "status": "succeeded",
                  "attempts": 1,
                  "started_at": "2026-01-02T03:04:07.000Z",
                  "ended_at": "2026-01-02T03:04:21.000Z",
                  "output": {
                    "check": {
                      "exit_code": 101,
                      "passed": false,
                      "stderr": "assertion failed",
                      "stdout": ""
                    },
                    "fix": "done"
                  },
                  "usage": {
                    "input_tokens": 1234,
                    "output_tokens": 123,
                    "cost_usd_micros": 12340
                  },
                  "commit": "bdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbd",
                  "files": [
                    {
                      "path": "src/bd.rs",
                      "change": "modified",
                      "insertions": 3,
                      "deletions": 1
                    }
                  ],
                  "diffstat": {
                    "files": 1,
                    "insertions": 3,
                    "deletions": 1
                  },
                  "checks": [
                    {
                      "path": "fixes/bad/check",
                      "passed": false
                    }
                  ]
                },
                {
                  "path": "fixes/bad/fix",
                  "kind": "agent",
                  "status": "succeeded",
                  "attempts": 1,
                  "started_at": "2026-01-02T03:04:09.000Z",
                  "ended_at": "2026-01-02T03:04:15.000Z",
                  "output": "done",
                  "role": {
                    "name": "coder",
                    "provider": "mock",
                    "model": "m1"
                  },
                  "usage": {
                    "input_tokens": 1234,
                    "output_tokens": 123,
                    "cost_usd_micros": 12340
                  },
                  "commit": "bdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbd",
                  "files": [
                    {
                      "path": "src/bd.rs",
                      "change": "modified",
                      "insertions": 3,
                      "deletions": 1
                    }
                  ],
                  "diffstat": {
                    "files": 1,
                    "insertions": 3,
                    "deletions": 1
                  }
                },
                {
                  "path": "fixes/bad/check",
                  "kind": "test",
                  "status": "succeeded",
                  "attempts": 1,
                  "started_at": "2026-01-02T03:04:15.000Z",
                  "ended_at": "2026-01-02T03:04:19.000Z",
                  "output": {
                    "exit_code": 101,
                    "passed": false,
                    "stderr": "assertion failed",
                    "stdout": ""
                  }
                },
                {
                  "path": "pick",
                  "kind": "tournament",
                  "status": "succeeded",
                  "attempts": 0,
                  "started_at": null,
                  "ended_at": "2026-01-02T03:04:21.000Z",
                  "output": {
                    "bracket": [],
                    "fruit": [
                      {
                        "path": "fixes/bad",
                        "results": {
                          "base": "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0",
                          "commit": "bdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbd",
                          "deletions": 1,
                          "files": [
                            "src/bd.rs"
                          ],
                          "insertions": 3,
                          "results": {
                            "check": {
                              "exit_code": 101,
                              "passed": false,
                              "stderr": "assertion failed",
                              "stdout": ""
                            },
                            "fix": "done"
                          },
                          "tree": "bdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbd"
                        }
                      }
                    ],
                    "ranking": [
                      {
                        "eligible": true,
                        "path": "fixes/good",
                        "score": -3,
                        "status": "succeeded"
                      },
                      {
                        "eligible": false,
                        "path": "fixes/bad",
                        "status": "succeeded",
                        "why": "does not satisfy value.results.check.passed"
                      }
                    ],
                    "value": {
                      "base": "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0",
                      "commit": "9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d",
                      "deletions": 1,
                      "files": [
                        "src/9d.rs"
                      ],
                      "insertions": 3,
                      "results": {
                        "check": {
                          "exit_code": 0,
                          "passed": true,
                          "stderr": "",
                          "stdout": "ok"
                        },
                        "fix": "done"
                      },
                      "tree": "9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d"
                    },
                    "winner": "fixes/good"
                  }
                },
                {
                  "path": "sum_up",
                  "kind": "ask",
                  "status": "succeeded",
                  "attempts": 1,
                  "started_at": "2026-01-02T03:04:21.000Z",
                  "ended_at": "2026-01-02T03:04:25.000Z",
                  "output": "done",
                  "role": {
                    "name": "writer",
                    "provider": "mock",
                    "model": "m1"
                  },
                  "usage": {
                    "input_tokens": 1234,
                    "output_tokens": 123,
                    "cost_usd_micros": 12340
                  }
                }
              ]
            }"#]],
    );
}

#[test]
fn a_run_at_a_gate() {
    let script = Script::begin(GATED, no_budget()).finish(usual);
    check(
        &RunSummary::of(&script.fold(), &script.facts()),
        expect![[r#"
            {
              "version": 1,
              "run_id": "r1",
              "workflow": {
                "id": "gated",
                "hash": "5a83c549d5c25c55c5255bfeec31af75c03f823535aae6b1e456c144ed56b329"
              },
              "status": "waiting",
              "verified": "none",
              "leaves": {
                "total": 4,
                "done": 1,
                "failed": 1,
                "skipped": 0
              },
              "usage": {
                "input_tokens": 1274,
                "output_tokens": 127,
                "cost_usd_micros": 12740
              },
              "memo": {
                "hits": 0,
                "misses": 0
              },
              "records": 22,
              "log_digest": "9fbf48f8224338b32a7f298140ee6c52b29a22d05b35c9be97e19b614e4726ba",
              "result_digest": null,
              "duration_ms": 12549,
              "outputs": null,
              "reason": {
                "path": "ok",
                "code": "decision",
                "message": "waits for a decision"
              }
            }"#]],
    );
    check(
        &GatesView::of(&script.fold()),
        expect![[r#"
        {
          "version": 1,
          "run_id": "r1",
          "gates": [
            {
              "path": "ok",
              "prompt": "Please: ok",
              "shows": null,
              "form": {
                "properties": {
                  "why": {
                    "type": "string"
                  }
                },
                "type": "object"
              },
              "digest": "500dafaf7013f0b4ca21c6e4a33aa83d51c8acb70c2de6d80585b779bfcdf703",
              "by": [
                "ada"
              ],
              "opened_at": "2026-01-02T03:04:17.549Z"
            }
          ]
        }"#]],
    );
}

#[test]
fn an_instance_in_full() {
    let script = Script::begin(GATED, no_budget()).finish(usual);
    check(
        &InstanceDetail::of(&script.fold(), "tries/broken"),
        expect![[r#"
        {
          "version": 1,
          "run_id": "r1",
          "path": "tries/broken",
          "kind": "ask",
          "status": "failed",
          "attempts": 2,
          "started_at": "2026-01-02T03:04:05.000Z",
          "ended_at": "2026-01-02T03:04:14.549Z",
          "output": null,
          "reason": {
            "path": "tries/broken",
            "code": "provider",
            "message": "the provider said no"
          },
          "role": {
            "name": "default",
            "provider": "mock",
            "model": "m1"
          },
          "usage": {
            "input_tokens": 40,
            "output_tokens": 4,
            "cost_usd_micros": 400
          },
          "history": [
            {
              "number": 1,
              "started_at": "2026-01-02T03:04:06.000Z",
              "ended_at": "2026-01-02T03:04:07.000Z",
              "outcome": "provider",
              "message": "the provider said no",
              "usage": {
                "input_tokens": 20,
                "output_tokens": 2,
                "cost_usd_micros": 200
              }
            },
            {
              "number": 2,
              "started_at": "2026-01-02T03:04:13.549Z",
              "ended_at": "2026-01-02T03:04:14.549Z",
              "outcome": "provider",
              "message": "the provider said no",
              "usage": {
                "input_tokens": 20,
                "output_tokens": 2,
                "cost_usd_micros": 200
              }
            }
          ],
          "request": {
            "prompt": "Please: tries/broken"
          },
          "resolved_role": {
            "model": "m1",
            "provider": "mock"
          },
          "memo_key": "69eaf7bb1515f3ddbc0e9f99201ac823c2dd9098414e5a84032759bf1873dc1d",
          "evidence": {
            "exit_code": 1,
            "stderr": "it broke"
          },
          "seq": 13
        }"#]],
    );
    assert_eq!(InstanceDetail::of(&script.fold(), "nothing"), None);
}

fn decide(by: &str, approved: bool) -> Command {
    let data = wf_ir::Value::map::<String>([]);
    Command::Decide { path: "ok".to_owned(), digest: None, approved, data, by: by.to_owned() }
}

#[test]
fn the_first_decision_that_counts_is_told() {
    let script = Script::begin(GATED, no_budget()).finish(usual);
    let script = script.command(decide("eve", true)).command(decide("ada", false)).command(decide("ada", true));
    let fold = script.fold();
    let told: Vec<String> = fold
        .commands()
        .iter()
        .map(|note| format!("{} {} {:?} {:?}", note.verb, note.by, note.subject, note.refused))
        .collect();
    assert_eq!(
        told,
        [
            r#"approve eve Some("ok") Some("not_allowed")"#,
            r#"reject ada Some("ok") None"#,
            r#"approve ada Some("ok") Some("already_resolved")"#
        ]
    );
    let gate = InstanceDetail::of(&fold, "ok").unwrap();
    assert_eq!(gate.decided_by.as_deref(), Some("ada"));
    assert_eq!(gate.instance.reason.unwrap().message, "ada rejected it");
    assert_eq!(GatesView::of(&fold).gates, []);
}

#[test]
fn a_run_out_of_budget_says_of_what() {
    let cases = [
        (
            Budget { tokens: Some(1_900), ..no_budget() },
            "the run's budget of tokens ran out: fixes/good/fix may take 2.0k tokens, 1.9k tokens left",
        ),
        (
            Budget { cost_usd_micros: Some(30_000), ..no_budget() },
            "the run's budget of money ran out: fixes/bad/fix may take $0.0200, $0.0177 left",
        ),
        (Budget { leaves: Some(1), ..no_budget() }, "the run's budget of leaves ran out"),
        (Budget { wall_ms: Some(2_500), ..no_budget() }, "the run's budget of time ran out"),
    ];
    for (budget, message) in cases {
        let script = Script::begin(CONTEST, budget).finish_by(BEGAN_MS + 2_500, usual);
        let summary = RunSummary::of(&script.fold(), &script.facts());
        assert_eq!(
            (summary.status, summary.reason.map(|it| it.message)),
            ("budget_exceeded", Some(message.to_owned()))
        );
    }
}

#[test]
fn a_run_whose_provider_overcharged_says_so() {
    let budget = Budget { tokens: Some(100_000), ..no_budget() };
    let dear = |effect: &Effect| match (&effect.request, usual(effect)) {
        (Request::Perform { .. }, Outcome::Succeeded(_)) if effect.id.subject.ends_with("fix") => {
            succeeded(r#""done""#, usage(5_000))
        }
        (_, outcome) => outcome,
    };
    let script = Script::begin(CONTEST, budget).finish(dear);
    let summary = RunSummary::of(&script.fold(), &script.facts());
    let message = "a provider charged more than was reserved; nothing begins before the run's budget is raised";
    assert_eq!((summary.status, summary.reason.map(|it| it.message)), ("budget_exceeded", Some(message.to_owned())));
}

#[test]
fn a_cancelled_run_says_by_whom() {
    let cancel = Command::Cancel { path: None, by: "bob".to_owned() };
    let script = Script::begin(FAN_OUT, no_budget()).answer_some(3, usual).command(cancel).finish(usual);
    let summary = RunSummary::of(&script.fold(), &script.facts());
    assert_eq!(summary.status, "cancelled");
    assert_eq!(summary.reason.unwrap().message, "it was cancelled by bob");
}

#[test]
fn unopened_elements_count_among_the_leaves() {
    let script = Script::begin(FAN_OUT, no_budget()).answer_some(4, usual);
    let fold = script.fold();
    let leaves = RunSummary::of(&fold, &script.facts()).leaves;
    assert_eq!((leaves.total, leaves.done, fold.state().instances().len()), (5, 2, 6));
}

#[test]
fn a_list_of_runs() {
    let script = Script::begin(CONTEST, no_budget()).answer_some(9, usual);
    let head = script.fold().state().head();
    let text = serde_json::to_string(&head).unwrap();
    let head = serde_json::from_str(&text).unwrap();
    let running = RunListItem::of("r1", "contest", BTreeMap::new(), &head, script.now + 500);
    let gate = Script::begin(GATED, no_budget()).finish(usual);
    let head = gate.fold().state().head();
    let waiting = RunListItem::of("r2", "gated", BTreeMap::new(), &head, gate.now);
    check(
        &RunList::new(vec![waiting, running]),
        expect![[r#"
        {
          "version": 1,
          "runs": [
            {
              "run_id": "r2",
              "workflow": "gated",
              "status": "waiting",
              "done": 1,
              "total": 4,
              "longest": {
                "instance": "ok",
                "elapsed_ms": 1000
              },
              "cost_usd_micros": 12740,
              "started_at": "2026-01-02T03:04:05.000Z",
              "duration_ms": 12549,
              "failed": 1,
              "skipped": 0,
              "gate": "ok"
            },
            {
              "run_id": "r1",
              "workflow": "contest",
              "status": "running",
              "done": 2,
              "total": 6,
              "longest": {
                "instance": "fixes/bad/fix",
                "elapsed_ms": 5500
              },
              "cost_usd_micros": 24680,
              "started_at": "2026-01-02T03:04:05.000Z",
              "duration_ms": 9500,
              "failed": 0,
              "skipped": 0
            }
          ]
        }"#]],
    );
}

#[test]
fn a_damaged_log_is_an_error() {
    let script = Script::begin(FAN_OUT, no_budget()).finish(usual);
    let workflow = script.fold().workflow().clone();
    let position = |wanted: fn(&Decision) -> bool| {
        script.records.iter().position(|it| matches!(it, Record::Decision(decision) if wanted(decision))).unwrap()
    };
    let mut missing = script.records.clone();
    missing.remove(position(|decision| matches!(decision, Decision::Opened { .. })));
    let mut doubled = script.records.clone();
    let ended = position(|decision| matches!(decision, Decision::Ended { .. }));
    doubled.insert(ended + 1, doubled[ended].clone());
    let first_error = |records: &[Record]| {
        let mut fold = RunFold::new(workflow.clone(), Keep::Lean);
        records
            .iter()
            .enumerate()
            .find_map(|(at, record)| fold.push(at as u64 + 1, record).err())
            .map(|it| it.to_string())
    };
    assert_eq!(first_error(&script.records), None);
    expect!["record 2 does not fit the ones before it: there is no instance each[0]/leaf"]
        .assert_eq(&first_error(&missing).unwrap());
    expect!["record 11 does not fit the ones before it: each[0]/leaf has ended already"]
        .assert_eq(&first_error(&doubled).unwrap());
}

fn check_why(script: &Script, path: &str, expected: Expect) {
    let why = WhyView::of(&script.fold(), path).unwrap();
    let steps: Vec<String> = why.because.iter().map(|step| format!("{} [{}]", step.message, step.code)).collect();
    expected.assert_eq(&steps.join("\n"));
}

#[test]
fn causes_are_told_from_the_end_to_the_beginning() {
    let gated = Script::begin(GATED, no_budget()).finish(usual);
    check_why(&gated, "tries/broken", expect!["tries/broken failed after 2 attempts: the provider said no [provider]"]);
    check_why(
        &gated,
        "act",
        expect![[r#"
        act has not begun: it needs ok [pending]
        ok is waiting: waits for a decision [decision]"#]],
    );
    let rejected = gated.command(decide("ada", false));
    check_why(
        &rejected,
        "act",
        expect![[r#"
        act was skipped: ok, before it in the list, did not succeed [stopped]
        ok failed: ada rejected it [rejected]"#]],
    );
    check_why(
        &Script::begin(CONTEST, no_budget()).answer_some(1, usual),
        "sum_up",
        expect![[r#"
        sum_up has not begun: it needs pick [pending]
        pick has not begun: it needs fixes [pending]
        fixes has not begun: look comes first [pending]
        look is running []"#]],
    );
    assert_eq!(WhyView::of(&rejected.fold(), "nothing"), None);
}

/// Folds as far as it goes, and looks at what came of it.
fn look_at(workflow: &Arc<Workflow>, records: &[Record]) -> bool {
    let mut fold = RunFold::new(workflow.clone(), Keep::Everything);
    let fits = records.iter().enumerate().all(|(at, record)| fold.push(at as u64 + 1, record).is_ok());
    let facts = RunFacts::default();
    let detail = json(&RunDetail::of(&fold, &facts));
    assert!(!detail.is_empty() && !ReportView::of(&fold, &facts).to_markdown().is_empty());
    for instance in fold.state().instances() {
        assert!(WhyView::of(&fold, &instance.path).is_some());
    }
    fits
}

#[test]
fn no_damage_to_a_log_breaks_a_view() {
    let mut found = (0, 0);
    for (workflow, budget) in [(CONTEST, no_budget()), (GATED, no_budget()), (FAN_OUT, no_budget())] {
        let script = Script::begin(workflow, budget).finish(usual);
        let workflow = script.fold().workflow().clone();
        let count = script.records.len();
        for at in 0..count {
            let mut damaged = Vec::new();
            let mut missing = script.records.clone();
            missing.remove(at);
            damaged.push(missing);
            let mut doubled = script.records.clone();
            doubled.insert(at, script.records[at].clone());
            damaged.push(doubled);
            for other in [at + 1, at + 5, count - 1].into_iter().filter(|other| *other < count) {
                let mut swapped = script.records.clone();
                swapped.swap(at, other);
                damaged.push(swapped);
            }
            for records in damaged {
                let fits = look_at(&workflow, &records);
                found = (found.0 + 1, found.1 + u32::from(!fits));
            }
        }
    }
    expect!["71 of 517 damaged logs do not fold"]
        .assert_eq(&format!("{} of {} damaged logs do not fold", found.1, found.0));
}
