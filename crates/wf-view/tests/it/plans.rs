//! Plans of workflows.

use expect_test::expect;
use wf_view::PlanView;

use crate::support::{CONTEST, FAN_OUT, workflow_of};

#[test]
fn a_plan() {
    let plan = PlanView::of(&workflow_of(CONTEST));
    expect![[r#"
        {
          "version": 1,
          "workflow": {
            "id": "contest",
            "hash": "f0b458d0288d42a8a7724399ac27a228afc9e78aa0006726cd9b9ac33a27a246"
          },
          "description": "Two fixes, one wins.",
          "inputs": [],
          "budget": {
            "tokens": 100000,
            "cost_usd_micros": 2000000,
            "wall_ms": null,
            "leaves": null
          },
          "permissions": {
            "writes": null,
            "commands": null,
            "network": [],
            "tools": null,
            "secrets": []
          },
          "roles": {
            "coder": 2,
            "writer": 1
          },
          "totals": {
            "nodes": 10,
            "kinds": {
              "agent": 2,
              "ask": 1,
              "branch": 2,
              "parallel": 1,
              "search": 1,
              "test": 2,
              "tournament": 1
            },
            "leaves_max": 6,
            "dynamic": false,
            "runs_commands": true,
            "writes_files": true,
            "gates": 0
          },
          "nodes": [
            {
              "id": "look",
              "path": "look",
              "kind": "search",
              "leaves_max": 1,
              "dynamic": false,
              "what": "cache",
              "reads": [
                "src/**"
              ],
              "max": 200
            },
            {
              "id": "fixes",
              "path": "fixes",
              "kind": "parallel",
              "leaves_max": 4,
              "dynamic": false,
              "what": "",
              "width": "2",
              "children": [
                {
                  "id": "good",
                  "path": "fixes/good",
                  "kind": "branch",
                  "leaves_max": 2,
                  "dynamic": false,
                  "what": "",
                  "permissions": {
                    "writes": [
                      "src/**"
                    ],
                    "commands": null,
                    "network": [],
                    "tools": null,
                    "secrets": []
                  },
                  "children": [
                    {
                      "id": "fix",
                      "path": "fixes/good/fix",
                      "kind": "agent",
                      "leaves_max": 1,
                      "dynamic": false,
                      "what": "Fix the cache.",
                      "role": "coder",
                      "writes": [
                        "src/**"
                      ],
                      "needs": [
                        "look"
                      ]
                    },
                    {
                      "id": "check",
                      "path": "fixes/good/check",
                      "kind": "test",
                      "leaves_max": 1,
                      "dynamic": false,
                      "what": "cargo test"
                    }
                  ]
                },
                {
                  "id": "bad",
                  "path": "fixes/bad",
                  "kind": "branch",
                  "leaves_max": 2,
                  "dynamic": false,
                  "what": "",
                  "permissions": {
                    "writes": [
                      "src/**"
                    ],
                    "commands": null,
                    "network": [],
                    "tools": null,
                    "secrets": []
                  },
                  "children": [
                    {
                      "id": "fix",
                      "path": "fixes/bad/fix",
                      "kind": "agent",
                      "leaves_max": 1,
                      "dynamic": false,
                      "what": "Rewrite the cache.",
                      "role": "coder",
                      "writes": [
                        "src/**"
                      ]
                    },
                    {
                      "id": "check",
                      "path": "fixes/bad/check",
                      "kind": "test",
                      "leaves_max": 1,
                      "dynamic": false,
                      "what": "cargo test"
                    }
                  ]
                }
              ]
            },
            {
              "id": "pick",
              "path": "pick",
              "kind": "tournament",
              "leaves_max": 0,
              "dynamic": false,
              "what": "of fixes that satisfy value.results.check.passed",
              "needs": [
                "fixes"
              ]
            },
            {
              "id": "sum_up",
              "path": "sum_up",
              "kind": "ask",
              "leaves_max": 1,
              "dynamic": false,
              "what": "Sum up {{ pick.winner }}.",
              "role": "writer",
              "needs": [
                "pick"
              ]
            }
          ],
          "outputs": {
            "summary": "sum_up",
            "winner": "pick.winner"
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&plan).unwrap());
}

#[test]
fn a_list_of_known_length_is_not_dynamic() {
    let plan = PlanView::of(&workflow_of(FAN_OUT));
    assert_eq!((plan.totals.leaves_max, plan.totals.dynamic), (Some(5), false));
    let dynamic = FAN_OUT.replace(r#""over": "5""#, r#""over": "range(inputs.n)""#);
    let dynamic = dynamic.replace(
        r#""children": [
    {"expand""#,
        r#""inputs": {"n": "int"}, "children": [
    {"expand""#,
    );
    let plan = PlanView::of(&workflow_of(&dynamic));
    assert_eq!((plan.totals.leaves_max, plan.totals.dynamic), (Some(5), true));
}
