//! What people read, over logs that the kernel made.

#[expect(dead_code, reason = "it serves the tests of wf-view too, which use more of it")]
#[path = "../../../wf-view/tests/it/support.rs"]
mod support;

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use wf_ir::draft::Span;
use wf_ir::node::Budget;
use wf_ir::{Diagnostic, Severity};
use wf_view::run::PassedOverView;
use wf_view::{GatesView, InstanceDetail, PlanView, PriceView, RoleView, RunList, RunListItem};

use self::support::{COMBINED, CONTEST, FAN_OUT, GATED, Script, usual, workflow_of};
use super::live::LiveTree;
use super::style::{Line, Style, Tone};
use super::{diagnostics, diff, list, plan, progress, replies, show, summary};

const NARROW: Style = Style { colour: false, width: 60 };
const WIDE: Style = Style { colour: false, width: 100 };

fn contest() -> Script {
    Script::begin(CONTEST, Budget::default())
}

fn live(script: &Script, style: Style, height: usize) -> String {
    let fold = script.fold();
    let traces = BTreeMap::from([("fixes/good/fix".to_owned(), "editing \u{1b}[31msrc/a.rs".to_owned())]);
    let tree = LiveTree { fold: &fold, now_ms: script.now + 1_500, traces: &traces };
    let lines = tree.lines(style, height);
    assert!(lines.len() <= height);
    lines.join("\n")
}

fn check_live(script: &Script, style: Style, height: usize, expected: Expect) {
    expected.assert_eq(&live(script, style, height));
}

#[test]
fn a_live_run() {
    check_live(
        &contest().answer_some(6, usual),
        WIDE,
        20,
        expect![[r#"
        contest r1 · running · 1/6 leaves · 7.5s
        0 of 100.0k tokens · 0 of $2.0000 · memo 0 hits · longest fixes/good/fix 4.5s
        ✓ look search · 2.0s
        ▸ fixes parallel · 5.5s
          ▸ good branch · 5.5s
            ▸ fix agent · 4.5s · editing src/a.rs
            · check test
          ▸ bad branch · 5.5s
            ▸ fix agent · 3.5s
            · check test
        · pick tournament
        · sum_up ask"#]],
    );
}

#[test]
fn a_live_run_on_a_small_screen() {
    check_live(
        &contest().answer_some(6, usual),
        NARROW,
        6,
        expect![[r#"
        contest r1 · running · 1/6 leaves · 7.5s
        0 of 100.0k tokens · 0 of $2.0000 · memo 0 hits · longest f…
        ▸ fixes parallel · 5.5s
          ▸ good branch · 5.5s
            ▸ fix agent · 4.5s · editing src/a.rs
          and 7 more"#]],
    );
}

#[test]
fn a_live_run_on_no_screen() {
    let script = contest().answer_some(6, usual);
    for (width, height) in [(0, 0), (0, 5), (1, 1), (2, 3)] {
        live(&script, Style { colour: true, width }, height);
    }
}

#[test]
fn a_live_run_in_colour() {
    let script = contest().answer_some(2, usual);
    check_live(
        &script,
        Style { colour: true, width: 80 },
        3,
        expect![[r#"
        [1mcontest[0m [2mr1[0m[2m · [0m[36mrunning[0m[2m · [0m1/2 leaves[2m · [0m3.5s
        [2m0 of 100.0k tokens[0m[2m · [0m[2m0 of $2.0000[0m[2m · [0m[2mmemo 0 hits[0m
        [2m  and 6 more[0m"#]],
    );
}

#[test]
fn a_live_run_that_waits_for_a_person() {
    check_live(
        &Script::begin(GATED, Budget::default()).finish(usual),
        WIDE,
        20,
        expect![[r#"
            gated r1 · waiting · 1/4 leaves, 1 failed · 14.0s
            1.4k tokens · $0.0127 · memo 0 hits · longest ok 2.5s
            waits for you: ok  (whaleflow approve r1 ok)
            ✓ tries sequence · 11.5s
              ✗ broken ask · 9.5s · 44 tokens $0.0004 · the provider said no
              ✓ plan ask · 2.0s · 1.3k tokens $0.0123
            ◦ ok approve · 2.5s · waits for a decision
            · act ask"#]],
    );
}

#[test]
fn a_wide_run_is_one_line_with_counts() {
    let workflow = FAN_OUT
        .replace(r#""over": "5", "width": 2, "max_children": 5"#, r#""over": "40", "width": 3, "max_children": 40"#);
    check_live(
        &Script::begin(&workflow, Budget::default()).answer_some(30, usual),
        WIDE,
        20,
        expect![[r#"
        fanout r1 · running · 15/40 leaves · 31.5s
        20.3k tokens · $0.1851 · memo 0 hits · longest each[15]/leaf 3.5s
        ▸ each expand · ███████░░░░░░░░░░░░░ 15/40, 3 open · 31.5s
          ▸ [15]/leaf ask · 3.5s
          ▸ [16]/leaf ask · 2.5s
          ▸ [17]/leaf ask · 1.5s
        · total reduce
          and 15 more"#]],
    );
}

#[test]
fn a_run_line_by_line() {
    let script = Script::begin(GATED, Budget::default()).finish(usual);
    let mut fold = wf_view::RunFold::new(script.fold().workflow().clone(), wf_view::Keep::Lean);
    let mut lines = Vec::new();
    for (at, record) in script.records.iter().enumerate() {
        fold.push(at as u64 + 1, record).unwrap();
        lines.extend(progress::progress_line(&fold, record, Style::PLAIN).map(|line| format!("|{line}")));
    }
    expect![[r#"
        |   2.0s      0/4  tries/broken attempt 2 follows: the provider said no
        |   9.5s      0/4  tries/broken failed (9.5s, 44 tokens $0.0004): the provider said no
        |  11.5s      1/4  tries/plan succeeded (2.0s, 1.3k tokens $0.0123)
        |  11.5s      1/4  tries succeeded (11.5s)
        |  12.5s      1/4  ok waits for a decision"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn a_summary() {
    let script = contest().finish(usual);
    expect![[r#"
        contest r1 · succeeded · 6/6 leaves · 20.0s · 4.0k of 100.0k tokens · $0.0370 of $2.0000
        verified  passed: every test on the chosen line passed, and nothing was written after
        outputs
          {
            "summary": "done",
            "winner": "fixes/good"
          }
        next
          see what fixes/good changed
            whaleflow diff r1 fixes/good
          take it into your checkout
            whaleflow apply r1
          look at unsaved work of fixes/bad
            git show refs/whaleflow/r1/rescue/0a-bad
    "#]]
    .assert_eq(&summary::summary(&script.fold(), &script.facts(), WIDE));
}

#[test]
fn a_run_in_full() {
    let script = contest().finish(usual);
    expect![[r#"
        contest r1 · succeeded · 6/6 leaves · 20.0s · 4.0k of 100.0k tokens · $0.0370 of $2.0000
        verified  passed: every test on the chosen line passed, and nothing was written after
        outputs
          {
            "summary": "done",
            "winner": "fixes/good"
          }
        next
          see what fixes/good changed
            whaleflow diff r1 fixes/good
          take it into your checkout
            whaleflow apply r1
          look at unsaved work of fixes/bad
            git show refs/whaleflow/r1/rescue/0a-bad

        ✓ look search · 2.0s
        ✓ fixes parallel · 14.0s
          ✓ good branch · 13.0s
            ✓ fix agent · 6.0s · 1.3k tokens $0.0123
            ✓ check test · 4.0s
          ✓ bad branch · 14.0s
            ✓ fix agent · 6.0s · 1.3k tokens $0.0123
            ✓ check test · 4.0s
        ✓ pick tournament
        ✓ sum_up ask · 4.0s · 1.3k tokens $0.0123

        pick won by fixes/good
          1 fixes/good · -3
          2 fixes/bad · does not satisfy value.results.check.passed
          leaves fixes/bad · results
    "#]]
    .assert_eq(&show::run_text(&script.fold(), &script.facts(), WIDE));
}

#[test]
fn an_instance_in_full() {
    let script = Script::begin(GATED, Budget::default()).finish(usual);
    let detail = InstanceDetail::of(&script.fold(), "tries/broken").unwrap();
    expect![[r#"
        tries/broken ask · failed
        why         the provider said no (provider)
        role        default · mock · m1
        began       2026-01-02T03:04:05.000Z
        ended       2026-01-02T03:04:14.549Z
        used        40 tokens in, 4 out, $0.0004
        memo key    69eaf7bb1515f3ddbc0e9f99201ac823c2dd9098414e5a84032759bf1873dc1d
        attempts
          1 provider · 2026-01-02T03:04:06.000Z · 20 tokens in, 2 out, $0.0002 · the provider said no
          2 provider · 2026-01-02T03:04:13.549Z · 20 tokens in, 2 out, $0.0002 · the provider said no
        request
          {
            "prompt": "Please: tries/broken"
          }
        evidence
          {
            "exit_code": 1,
            "stderr": "it broke"
          }
    "#]]
    .assert_eq(&show::instance_text(&detail, WIDE));
    let script = contest().finish(usual);
    let detail = InstanceDetail::of(&script.fold(), "fixes/good/fix").unwrap();
    expect![[r#"
        fixes/good/fix agent · succeeded
        role        coder · mock · m1
        began       2026-01-02T03:04:08.000Z
        ended       2026-01-02T03:04:14.000Z
        used        1.2k tokens in, 123 out, $0.0123
        commit      9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d9d
        tree        b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0
        memo key    9f6b8167a5cc8113e5179844c66eab7bfc86ed6f040aa61004433082d1a6f3c5
        attempts
          1 succeeded · 2026-01-02T03:04:10.000Z · 1.2k tokens in, 123 out, $0.0123
        files
          src/9d.rs  modified      4 +++-
          1 file, 3 added, 1 removed
        request
          {
            "prompt": "Please: fixes/good/fix"
          }
        output
          done
    "#]]
    .assert_eq(&show::instance_text(&detail, WIDE));
}

#[test]
fn contests_and_combinations_in_full() {
    let script = Script::begin(COMBINED, Budget::default()).finish(usual);
    let fold = script.fold();
    let shown = show::run_text(&fold, &script.facts(), WIDE);
    expect![[r#"
        pick won by ways/good
          1 ways/good
          2 ways/wide
          3 ways/bad · does not satisfy value.results.check.passed
          ways/good : ways/wide · ways/good, then tie · ways/good
          leaves ways/wide · results · patch src/1d.rs · taken by both
          leaves ways/bad · results · patch src/bd.rs
    "#]]
    .assert_eq(&shown[shown.find("pick won").unwrap()..]);
    let instance = |path: &str| show::instance_text(&InstanceDetail::of(&fold, path).unwrap(), WIDE);
    expect![[r#"
        ways/bad branch · succeeded
        began       2026-01-02T03:04:05.000Z
        ended       2026-01-02T03:04:26.000Z
        used        1.2k tokens in, 123 out, $0.0123
        commit      bdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbd
        files
          src/bd.rs  modified      4 +++-
          1 file, 3 added, 1 removed
        checks
          ways/bad/check · did not pass
        output
          {
            "check": {
              "exit_code": 101,
              "passed": false,
              "stderr": "assertion failed",
              "stdout": ""
            },
            "fix": "done"
          }

        both reduce · succeeded
        began       2026-01-02T03:04:33.000Z
        ended       2026-01-02T03:04:34.000Z
        commit      cccccccccccccccccccccccccccccccccccccccc
        files
          src/cc.rs  modified      4 +++-
          1 file, 3 added, 1 removed
        checks
          check · passed
        output
          {
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
    "#]]
    .assert_eq(&format!("{}\n{}", instance("ways/bad"), instance("both")));
}

#[test]
fn a_list_of_runs() {
    let item = |script: &Script, id: &str, name: &str| {
        RunListItem::of(id, name, BTreeMap::new(), &script.fold().state().head(), script.now)
    };
    let gated = Script::begin(GATED, Budget::default()).finish(usual);
    let runs = vec![
        item(&contest().answer_some(6, usual), "01k8zq7w3f9xra", "contest"),
        item(&gated, "01k8zq7w3f9xrb", "gated"),
        item(&contest().finish(usual), "01k8zq7w3f9xrc", "contest"),
    ];
    expect![[r#"
        RUN             STATUS              LEAVES          TIME   COST     WORKFLOW  NOW
        01k8zq7w3f9xra  running             1/6             6.0s   -        contest   fixes/good/fix 3.0s
        01k8zq7w3f9xrb  waiting             1/4 (1 failed)  12.5s  $0.0127  gated     waits for you: ok
        01k8zq7w3f9xrc  succeeded verified  6/6             20.0s  $0.0370  contest
    "#]]
    .assert_eq(&list::run_table(&RunList::new(runs), WIDE));
    assert_eq!(list::run_table(&RunList::new(Vec::new()), WIDE), "no runs yet; `whaleflow run FILE` begins one\n");
}

#[test]
fn a_plan() {
    expect![[r#"
        contest f0b458d0288d
        Two fixes, one wins.
        leaves      at most 6
        budget      100.0k tokens, $2.0000
        roles       coder (2 nodes), writer (1 node)
        may         reach no host; know no secret
        does        writes files in trees of its own; runs commands
        output      summary = sum_up
        output      winner = pick.winner

        ├─ look search · cache
        │     reads src/**
        ├─ fixes parallel · 4 leaves · 2 at a time
        │  ├─ good branch · 2 leaves
        │  │  │  may write src/**; reach no host; know no secret
        │  │  ├─ fix agent · coder · Fix the cache.
        │  │  │     writes src/**
        │  │  │     needs look
        │  │  └─ check test · cargo test
        │  └─ bad branch · 2 leaves
        │     │  may write src/**; reach no host; know no secret
        │     ├─ fix agent · coder · Rewrite the cache.
        │     │     writes src/**
        │     └─ check test · cargo test
        ├─ pick tournament · of fixes that satisfy value.results.check.passed
        │     needs fixes
        └─ sum_up ask · writer · Sum up {{ pick.winner }}.
              needs pick
    "#]]
    .assert_eq(&plan::plan_text(&PlanView::of(&workflow_of(CONTEST)), WIDE));
    expect![[r#"
        gated 5a83c549d5c2
        leaves      at most 4
        budget      no ceiling of its own
        roles       default (3 nodes)
        may         reach no host; know no secret
        does        waits for people at 1 gate

        ├─ tries sequence · 2 leaves
        │  │  goes on after a failure
        │  ├─ broken ask · default · Try.
        │  │     attempts 2
        │  └─ plan ask · default · Plan.
        ├─ ok approve · Shall I?
        │     needs tries
        │     shows plan
        │     decided by ada
        └─ act ask · default · Act.
              when true
              needs ok
    "#]]
    .assert_eq(&plan::plan_text(&PlanView::of(&workflow_of(GATED)), WIDE));
    expect![[r#"
        fanout 3d2e8e3d7371
        leaves      at most 5
        budget      no ceiling of its own
        roles       default (1 node)
        may         reach no host; know no secret

        ├─ each expand · 5 leaves · 2 at a time · at most 5 elements · over 5
        │  └─ leaf ask · default · Number {{ each.item }}.
        └─ total reduce · concat of each
              needs each
    "#]]
    .assert_eq(&plan::plan_text(&PlanView::of(&workflow_of(FAN_OUT)), WIDE));
}

#[test]
fn a_plan_says_who_does_its_roles() {
    let view = |role: &str, model: Option<&str>| RoleView {
        role: role.to_owned(),
        nodes: 2,
        model: model.map(str::to_owned),
        price: None,
        passed_over: Vec::new(),
        problem: None,
    };
    let over = |model: &str, why: &str| PassedOverView { model: model.to_owned(), why: why.to_owned() };
    let price = PriceView { input: 250_000, output: 2_000_000, cached: Some(25_000), cache_write: None };
    let roles = vec![
        RoleView {
            price: Some(price),
            passed_over: vec![
                over("near/org/tiny", "it is not known to have `tools`"),
                over("far/huge", "out: the provider answered 503"),
            ],
            ..view("coder", Some("far/org/small"))
        },
        view("default", Some("mock/mock")),
        RoleView { problem: Some("local/a: there is no provider `local`".to_owned()), ..view("judge", None) },
        view("writer", Some("near/org/tiny")),
    ];
    let text = plan::plan_text(&PlanView::of(&workflow_of(CONTEST)).done_by(roles), WIDE);
    let shown: Vec<&str> = text.lines().skip(8).take(7).collect();
    expect![[r#"
        roles       coder    2 nodes  far/org/small      per million tokens $0.2500 in, $2.0000 out, $0.025…
                                      not near/org/tiny  it is not known to have `tools`
                                      not far/huge       out: the provider answered 503
                    default  2 nodes  mock/mock          costs nothing
                    judge    2 nodes  nobody             local/a: there is no provider `local`
                    writer   2 nodes  near/org/tiny      its price is not known
    "#]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn a_gate_as_it_is_asked() {
    let script = Script::begin(GATED, Budget::default()).finish(usual);
    expect![[r#"
        decide ok
          Please: ok
          data must fit
            {
              "properties": {
                "why": {
                  "type": "string"
                }
              },
              "type": "object"
            }
          only ada may decide
    "#]]
    .assert_eq(&replies::gates_text(&GatesView::of(&script.fold()), WIDE));
}

fn finding(severity: Severity, line: u32, column: u32, end: (u32, u32)) -> Diagnostic {
    let span = Span { file: "a.star".into(), line, column, end_line: end.0, end_column: end.1 };
    let finding = Diagnostic::error("WF0201", &span, "`cach` means nothing here").with_severity(severity);
    finding.with_hint("did you mean `cache`?")
}

fn check_diagnostics(source: &str, list: &[Diagnostic], expected: Expect) {
    let sources = BTreeMap::from([("a.star".to_owned(), source.to_owned())]);
    expected.assert_eq(&diagnostics::diagnostics_text(list, &sources, WIDE));
}

#[test]
fn a_finding_shows_its_source() {
    let source = "first()\nask(\"a\", when = \"cach.ok\")\nlast()\n";
    check_diagnostics(
        source,
        &[finding(Severity::Error, 2, 18, (2, 22))],
        expect![[r#"
        error[WF0201]: `cach` means nothing here
         --> a.star:2:18
          |
        2 | ask("a", when = "cach.ok")
          |                  ^^^^
          |
          = help: did you mean `cache`?

        1 error
    "#]],
    );
}

#[test]
fn a_finding_over_several_lines() {
    let source = "f(\n  a,\n  b,\n)\n";
    check_diagnostics(
        source,
        &[finding(Severity::Warning, 1, 1, (4, 2))],
        expect![[r#"
        warning[WF0201]: `cach` means nothing here
         --> a.star:1:1
          |
        1 | / f(
        2 | |   a,
        3 | |   b,
        4 | | )
          | |_^
          |
          = help: did you mean `cache`?

        1 warning
    "#]],
    );
}

#[test]
fn findings_with_odd_places_are_shown_somehow() {
    let source = "ä\ta\u{1b}[31m = 1\r\n\n";
    let long = "x".repeat(10_000);
    let cases = [
        (1, 3, (0, 0)),
        (1, 99, (1, 120)),
        (2, 1, (0, 0)),
        (9, 1, (9, 4)),
        (1, 1, (3, 1)),
        (0, 0, (0, 0)),
        (1, 9, (1, 2)),
    ];
    let list: Vec<Diagnostic> =
        cases.iter().map(|(line, column, end)| finding(Severity::Note, *line, *column, *end)).collect();
    check_diagnostics(
        source,
        &list,
        expect![[r#"
            note[WF0201]: `cach` means nothing here
             --> a.star:1:3
              |
            1 | ä    a�[31m = 1
              |      ^
              |
              = help: did you mean `cache`?

            note[WF0201]: `cach` means nothing here
             --> a.star:1:13
              |
            1 | ä    a�[31m = 1
              |                ^
              |
              = help: did you mean `cache`?

            note[WF0201]: `cach` means nothing here
             --> a.star:2:1
              |
            2 |
              | ^
              |
              = help: did you mean `cache`?

            note[WF0201]: `cach` means nothing here
             |
             = at a.star:9:1
             = help: did you mean `cache`?

            note[WF0201]: `cach` means nothing here
             --> a.star:1:1
              |
            1 | / ä    a�[31m = 1
            2 | |
            3 | |
              | |_^
              |
              = help: did you mean `cache`?

            note[WF0201]: `cach` means nothing here
             |
             = help: did you mean `cache`?

            note[WF0201]: `cach` means nothing here
             --> a.star:1:9
              |
            1 | ä    a�[31m = 1
              |            ^
              |
              = help: did you mean `cache`?

            7 notes
        "#]],
    );
    check_diagnostics(
        &long,
        &list[..1],
        expect![[r#"
        note[WF0201]: `cach` means nothing here
         |
         = at a.star:1:3
         = help: did you mean `cache`?

        1 note
    "#]],
    );
}

const PATCH: &str =
    "diff --git a/a.rs b/a.rs\n--- a/a.rs\n+++ b/a.rs\n@@ -1,2 +1,2 @@\n \tkept\u{1b}[2J\n-old\n--- a comment\n+new\n";

#[test]
fn a_difference() {
    let script = contest().finish(usual);
    let fold = script.fold();
    let ix = fold.state().at_path("fixes/good").unwrap();
    let harvest = fold.state().instance(ix).tree.as_ref().unwrap().harvest.clone().unwrap();
    let view = wf_view::DiffView::of("r1", "fixes/good", &harvest, Some((PATCH.to_owned(), true)));
    expect![[r#"
          src/9d.rs  modified      4 +++-
          1 file, 3 added, 1 removed

        diff --git a/a.rs b/a.rs
        --- a/a.rs
        +++ b/a.rs
        @@ -1,2 +1,2 @@
         	kept�[2J
        -old
        --- a comment
        +new
        (the rest is left out; `whaleflow apply --patch` prints all of it)
    "#]]
    .assert_eq(&diff::diff_text(&view, WIDE));
    let colour = Style { colour: true, width: 100 };
    expect![[r#""\u{1b}[1mdiff --git a/a.rs b/a.rs\u{1b}[0m\n\u{1b}[1m--- a/a.rs\u{1b}[0m\n\u{1b}[1m+++ b/a.rs\u{1b}[0m\n\u{1b}[36m@@ -1,2 +1,2 @@\u{1b}[0m\n \tkept�[2J\n\u{1b}[31m-old\u{1b}[0m\n\u{1b}[31m--- a comment\u{1b}[0m\n\u{1b}[32m+new\u{1b}[0m\n""#]].assert_eq(&format!("{:?}", diff::patch_text(PATCH, colour)));
}

#[test]
fn lines_are_cut_by_columns() {
    let cut = |width: usize| {
        Line::of(Tone::Plain, "漢字 and ").add(Tone::Good, "täxt\u{1b}[0m").finish(Style { colour: false, width })
    };
    assert_eq!([0, 1, 3, 4, 12, 13].map(cut), ["", "…", "漢…", "漢…", "漢字 and tä…", "漢字 and täxt"]);
    let colour = Line::of(Tone::Bad, "abcdef").finish(Style { colour: true, width: 4 });
    assert_eq!(colour, "\u{1b}[31mabc\u{1b}[0m…");
}

#[test]
fn causes_in_words() {
    let script = contest().answer_some(1, usual);
    let why = wf_view::WhyView::of(&script.fold(), "sum_up").unwrap();
    expect![[r#"
        sum_up has not begun: it needs pick
          because pick has not begun: it needs fixes
            because fixes has not begun: look comes first
              because look is running
    "#]]
    .assert_eq(&replies::why_text(&why, WIDE));
}

#[test]
fn replies_in_words() {
    use wf_view::reply::{BadView, DoctorCheck, DoctorLevel};
    use wf_view::{CommandView, DoctorView, ErrorView, LogLine, ReplayView, VerifyView};
    let differs = wf_kernel::ReplayError::Differs { seq: 7, expected: "a".to_owned(), got: "b".to_owned() };
    let bad = BadView { run_id: "r1".to_owned(), seq: 9, detail: "the hash is wrong".to_owned() };
    let doctor = |name: &str, level, hint: Option<&str>| DoctorCheck {
        name: name.to_owned(),
        level,
        message: "found".to_owned(),
        hint: hint.map(str::to_owned),
    };
    let checks = vec![doctor("git", DoctorLevel::Ok, None), doctor("trust", DoctorLevel::Warn, Some("run trust"))];
    let apply = wf_view::ApplyView {
        version: wf_view::VERSION,
        run_id: "r1".to_owned(),
        branch: "fixes/good".to_owned(),
        commit: "9d".repeat(20),
        how: "branch".to_owned(),
        target: "whaleflow/r1".to_owned(),
        files: vec!["src/a.rs".to_owned()],
        made: None,
        undone: false,
        left: Vec::new(),
        recovered: None,
    };
    let recovered = wf_view::reply::RecoveredView {
        run_id: "r0".to_owned(),
        branch: "fixes/other".to_owned(),
        finished: false,
        left: vec!["src/b.rs".to_owned()],
    };
    let squashed = wf_view::ApplyView {
        how: "squash".to_owned(),
        target: "/repo".to_owned(),
        made: Some("9d".repeat(20)),
        recovered: Some(recovered),
        ..apply.clone()
    };
    let undone = wf_view::ApplyView { undone: true, left: vec!["x\u{1b}[1m".to_owned()], ..squashed.clone() };
    let texts = [
        replies::replay_text(&ReplayView::of("r1", 12, &Ok(())), WIDE),
        replies::replay_text(&ReplayView::of("r1", 12, &Err(differs)), WIDE),
        replies::verify_text(&VerifyView::new(2, 30, Vec::new()), WIDE),
        replies::verify_text(&VerifyView::new(2, 30, vec![bad]), WIDE),
        replies::command_text(&CommandView::accepted("trust", None, "trusted").with("repo", "/r\u{1b}[1m"), WIDE),
        replies::command_text(&CommandView::refused("approve", Some("r1"), "already_resolved", "too late"), WIDE),
        replies::apply_text(&apply, WIDE),
        replies::apply_text(&squashed, WIDE),
        replies::apply_text(&wf_view::ApplyView { recovered: None, ..undone }, WIDE),
        replies::doctor_text(&DoctorView::new(checks), WIDE),
        replies::error_text(&ErrorView::new("WF0101", "no such file", Some("look".to_owned()), "usage"), WIDE),
        show::log_line(&LogLine::of_trace("a[0]/b", r#"{"stream":"stderr","text":"oh\u001b[31m no"}"#), WIDE) + "\n",
    ];
    expect![[r#"
        equal: 12 records, no effect was performed
        differs at record 7
          recorded  a
          decided   b
        intact: 2 runs, 30 records
        damage among 2 runs, 30 records
          r1 record 9: the hash is wrong
        trusted
          repo /r
        refused (already_resolved): too late
        made the branch whaleflow/r1 (1 file)
          src/a.rs
        took back an apply of fixes/other of run r0 that was interrupted
          src/b.rs was changed since, and was left as it is
        made the commit 9d9d9d9d9d9d at /repo (1 file)
          src/a.rs
        took a commit back at /repo (1 file)
          src/a.rs
          x was changed since, and was left as it is
        ✓ git               found
        ! trust             found
          hint: run trust
        error[WF0101]: no such file
          hint: look
        a[0]/b · stderr  oh no
    "#]]
    .assert_eq(&texts.concat());
}
