//! Scopes, expressions, templates, types, order.

use expect_test::expect;

use super::{check, check_nodes, workflow_of};

#[test]
fn names_resolve_outwards() {
    check_nodes(
        r#"{ask: plan, prompt: "x"}, {branch: b, children: [
            {ask: one, prompt: "{{ plan }}"},
            {sequence: s, children: [{ask: two, prompt: "{{ plan }} {{ one }}"}]}
        ]}"#,
        expect!["ok"],
    );
}

#[test]
fn unknown_names() {
    check_nodes(
        r#"{ask: plan, prompt: "x"}, {ask: b, prompt: "{{ plam }}", when: "gaol == 1"}"#,
        expect![[r#"
        1:56: WF0201 `plam` means nothing here
             hint: did you mean `plan`?
        1:76: WF0201 `gaol` means nothing here
    "#]],
    );
    check_nodes(
        r#"{parallel: fixes, children: [{ask: green, prompt: "x"}]}, {ask: b, prompt: "{{ green }}"}"#,
        expect![[r#"
        1:88: WF0201 `green` means nothing here
             hint: `green` is inside `fixes`; read `fixes.green`
    "#]],
    );
    check_nodes(
        r#"{ask: b, prompt: "x", needs: [nothing], after: [neither]}"#,
        expect![[r#"
        1:43: WF0201 `nothing` means nothing here
        1:61: WF0201 `neither` means nothing here
    "#]],
    );
    check(
        r#"{workflow: w, inputs: {goal: string}, children: [{ask: a, prompt: "{{ goal }}"}]}"#,
        expect![[r#"
        1:67: WF0201 `goal` means nothing here
             hint: write `inputs.goal` for the input
    "#]],
    );
    check_nodes(
        r#"{cond: c, condition: true, then: [{ask: a, prompt: "x"}], otherwise: [{ask: b, prompt: "{{ a }}"}]}"#,
        expect![[r#"
            1:100: WF0201 `a` means nothing here
                 hint: did you mean `b`?
        "#]],
    );
}

#[test]
fn a_list_in_order_sees_only_what_is_earlier() {
    check_nodes(
        r#"{ask: a, prompt: "{{ b }}"}, {ask: b, prompt: "x"}"#,
        expect![[r#"
        1:30: WF0202 `b` comes after `a`, so its result is not there yet
             hint: move `b` before `a`
    "#]],
    );
    check_nodes(
        r#"{sequence: s, children: [{ask: a, prompt: "x", when: "b == 'x'"}]}, {ask: b, prompt: "x"}"#,
        expect![[r#"
        1:66: WF0202 `b` comes after `s`, so its result is not there yet
             hint: move `b` before `s`
    "#]],
    );
    check_nodes(
        r#"{loop_until: l, until: true, max_iterations: 3, children: [
            {ask: a, prompt: "{{ b }}"}, {ask: b, prompt: "x"}
        ]}"#,
        expect![[r#"
            2:30: WF0202 `b` comes after `a`, so its result is not there yet
                 hint: `prev.b` is its value in the iteration before
        "#]],
    );
}

#[test]
fn enclosing_nodes_have_no_value_yet() {
    check_nodes(
        r#"{sequence: s, children: [{ask: a, prompt: "{{ s }}", needs: [s]}]}"#,
        expect![[r#"
        1:55: WF0203 `s` encloses this place, so its result is not there yet
             hint: name a node that ends before this one begins
        1:74: WF0203 `s` encloses this place, so its result is not there yet
             hint: name a node that ends before this one begins
    "#]],
    );
    check_nodes(
        r#"{loop_until: l, until: "l == 1", max_iterations: 2, children: [{ask: a, prompt: "{{ l }}"}]}"#,
        expect![[r#"
        1:36: WF0107 cycle: l -> l
             hint: a node cannot read its own result
        1:93: WF0203 `l` encloses this place, so its result is not there yet
             hint: in a loop, `prev` has the values of the iteration before
    "#]],
    );
    check_nodes(
        r#"{expand: e, over: 2, max_children: 2, children: [{ask: a, prompt: "x", needs: [e]}]}"#,
        expect![[r#"
        1:92: WF0203 `e` encloses this place
             hint: inside an `expand` its id is the current element, which is there anyway
    "#]],
    );
}

#[test]
fn cycles_have_a_path() {
    check_nodes(
        "{ask: a, prompt: x, needs: [a]}",
        expect![[r#"
        1:41: WF0107 cycle: a -> a
             hint: a node cannot read its own result
    "#]],
    );
    check_nodes(
        "{parallel: p, children: [\n{ask: a, prompt: x, needs: [b]},\n{ask: b, prompt: y, after: [c]},\n\
         {ask: c, prompt: \"{{ a }}\"},\n{ask: d, prompt: z, needs: [a]}]}",
        expect![[r#"
            4:18: WF0107 cycle: a -> b -> c -> a
                 hint: one of them must not wait for the next
        "#]],
    );
    check_nodes(
        "{parallel: p, children: [\n{ask: a, prompt: x, needs: [b]},\n{ask: b, prompt: y, needs: [a]},\n\
         {sequence: c, children: [{ask: i, prompt: \"{{ d }}\"}]},\n{ask: d, prompt: z, needs: [c]}]}",
        expect![[r#"
            3:29: WF0107 cycle: a -> b -> a
                 hint: one of them must not wait for the next
            5:29: WF0107 cycle: c -> d -> c
                 hint: one of them must not wait for the next
        "#]],
    );
    check_nodes("{parallel: p, children: [{ask: a, prompt: x, needs: [b]}, {ask: b, prompt: y}]}", expect!["ok"]);
}

#[test]
fn a_child_waits_for_what_something_below_it_needs() {
    let workflow = workflow_of(
        r#"{parallel: p, children: [
            {sequence: s, children: [{ask: i, prompt: "{{ late }}"}]}, {ask: late, prompt: "x"}
        ]}"#,
    );
    let node = |path: &str| workflow.nodes().iter().find(|node| node.path == path).unwrap();
    assert_eq!(node("p/s").after, [node("p/late").ix].into());
    assert_eq!(node("p/s").needs, [].into());
    assert_eq!(node("p/s/i").needs, [node("p/late").ix].into());
}

#[test]
fn needs_are_declared_and_implied() {
    let workflow = workflow_of(
        r#"{ask: a, prompt: "x"}, {ask: b, prompt: "y"}, {ask: c, prompt: "x"}, {ask: d, prompt: "x"},
        {ask: e, prompt: "{{ a }} {{ v }} {{ node.d.status }}", vars: {v: "b"}, needs: [c], after: [d]},
        {loop_until: l, until: "i == 'x' && a == 'y'", max_iterations: 2, children: [{ask: i, prompt: "x"}]},
        {tournament: t, candidates: [a, b], judge: {prompt: "{{ first }} {{ second }} {{ c }}"}}"#,
    );
    let node = |path: &str| workflow.nodes().iter().find(|node| node.path == path).unwrap();
    let needs = |path: &str| node(path).needs.iter().map(|ix| workflow.node(*ix).path.as_str()).collect::<Vec<_>>();
    assert_eq!(needs("e"), ["a", "b", "c", "d"]);
    assert_eq!(needs("l"), ["a"]);
    assert_eq!(needs("t"), ["a", "b", "c"]);
    assert_eq!(needs("t/judge"), ["c"]);
    assert_eq!(node("t").accept.len(), 5);
    assert_eq!(node("t/judge").accept.len(), 5);
    assert_eq!(node("e").accept.len(), 0);
}

#[test]
fn references_need_the_right_kind() {
    check_nodes(
        "{ask: a, prompt: x}, {ask: b, prompt: x, tree: a}, {ask: c, prompt: x, tree: a.winner}",
        expect![[r#"
        1:60: WF0204 `tree` needs a branch, and `a` is an ask
        1:90: WF0204 `tree` needs a tournament, and `a` is an ask
    "#]],
    );
    check_nodes(
        "{ask: a, prompt: x}, {ask: b, prompt: y}, {tournament: t, candidates: [a, b], by: \"1\"},
        {ask: c, prompt: x, tree: t}, {ask: d, prompt: x, tree: t.winner}, {agent: e, prompt: x, resumes: a}",
        expect![[r#"
            2:35: WF0204 `tree` needs a branch, and `t` is a tournament
                 hint: write `t.winner`
            2:65: WF0204 the winner of `t` may have no tree: `a` is an ask
                 hint: let every candidate be a branch
            2:107: WF0204 `resumes` needs an agent, and `a` is an ask
        "#]],
    );
}

#[test]
fn candidates_are_distinct() {
    check_nodes(
        "{ask: a, prompt: x}, {reduce: r, inputs: [a, a], how: concat}",
        expect![[r#"
        1:58: WF0209 `a` is listed twice
    "#]],
    );
}

#[test]
fn loop_names() {
    check_nodes(
        r#"{ask: a, prompt: "{{ iteration }} {{ prev }}", when: "iteration > 1"}"#,
        expect![[r#"
        1:30: WF0205 `iteration` exists only in a `loop_until`
        1:30: WF0205 `prev` exists only in a `loop_until`
        1:66: WF0205 `iteration` exists only in a `loop_until`
    "#]],
    );
    check_nodes(
        r#"{loop_until: l, until: "iteration > 2 || t.passed", max_iterations: 5, children: [
            {ask: a, prompt: "{{ iteration }} {{ prev }}"}, {test: t, argv: [make]}
        ]}"#,
        expect!["ok"],
    );
}

#[test]
fn tree_names() {
    check_nodes(
        r#"{ask: a, prompt: "{{ tree.diff }}"}"#,
        expect![[r#"
        1:30: WF0206 `tree` exists only in a branch or on a node with `tree`
             hint: put the node in a branch, or give it `tree`
    "#]],
    );
    check_nodes(
        r#"{branch: b, children: [{ask: a, prompt: "{{ tree.diff }}", when: "size(tree.files) > 0"}]},
        {ask: c, prompt: "{{ tree.commit }}", tree: b}"#,
        expect!["ok"],
    );
}

#[test]
fn node_needs_a_name() {
    check_nodes(
        r#"{ask: a, prompt: "{{ node }}"}"#,
        expect![[r#"
        1:30: WF0210 `node` stands without the name of a node
             hint: write `node.x.status` to read the envelope of node `x`
    "#]],
    );
}

#[test]
fn sensitive_inputs_are_for_templates_only() {
    check(
        r#"{workflow: w, inputs: {token: {type: string, sensitive: true}, tokens: int}, children: [
            {ask: a, prompt: "{{ inputs.token }}", when: "inputs.tokens > 1"},
            {ask: b, prompt: "x", when: "inputs.token == 'x'"}
        ]}"#,
        expect![[r#"
            3:49: WF0207 `when` reads `inputs.token`, which is sensitive
                 hint: expressions cannot read sensitive inputs; templates can
        "#]],
    );
}

#[test]
fn unknown_inputs() {
    check(
        r#"{workflow: w, inputs: {goal: string}, children: [
            {ask: a, prompt: "{{ inputs.gaol }}"}, {ask: b, prompt: "x", when: "inputs.gaol == 'x'"}
        ]}"#,
        expect![[r#"
            2:30: WF0208 `inputs.gaol` does not exist: there is no `gaol`
                 hint: did you mean `goal`?
            2:88: WF0302 `when`: `inputs` has no field `gaol`
                 hint: known fields are goal
        "#]],
    );
}

#[test]
fn malformed_expressions() {
    check_nodes(
        r#"{ask: a, prompt: "x", when: "1 +"}"#,
        expect![[r#"
        1:45: WF0301 `when` is no expression: a value is expected, found the end
    "#]],
    );
    check_nodes(
        r#"{ask: a, prompt: "x", when: "a-b"}, {ask: b, prompt: "x", vars: {v: "(1"}}"#,
        expect![[r#"
        1:41: WF0107 cycle: a -> a
             hint: a node cannot read its own result
        1:41: WF0202 `b` comes after `a`, so its result is not there yet
             hint: move `b` before `a`
        1:41: WF0302 `when` must be true or false, and this is number
        1:84: WF0301 `vars.v` is no expression: `)` is expected, found the end
    "#]],
    );
}

#[test]
fn types_of_expressions() {
    check_nodes(
        r#"{test: t, argv: [make]}, {ask: a, prompt: "x", when: "t.passed"},
        {ask: b, prompt: "x", when: "t.pased"},
        {ask: c, prompt: "x", when: "t.exit_code"},
        {expand: e, over: "t.stdout", max_children: 2, children: [{ask: i, prompt: "x"}]},
        {tournament: p, candidates: [a, b], require: "value", by: "status"},
        {ask: g, prompt: "x", ensure: "output.n > 1", output: {type: object, properties: {m: {type: integer}}}}"#,
        expect![[r#"
            2:40: WF0302 `when`: `t` has no field `pased`
                 hint: did you mean `passed`?
            3:37: WF0302 `when` must be true or false, and this is int
            4:27: WF0302 `over` must be a list or an integer, and this is string
            5:54: WF0302 `require` must be true or false, and this is string
            5:67: WF0302 `by` must be a number, and this is string
            6:47: WF0302 `ensure`: `output` has no field `n`
                 hint: known fields are m
        "#]],
    );
    check_nodes(
        r#"{parallel: p, children: [{branch: b, children: [{test: t, argv: [make]}]}]},
        {ask: a, prompt: "x", when: "p.b.results.t.passed && size(p.b.files) > 0"},
        {ask: c, prompt: "x", when: "p.b.t.passed"}"#,
        expect![[r#"
            3:42: WF0302 `when`: `p.b` has no field `t`
                 hint: known fields are base, commit, deletions, files, insertions, results, tree
        "#]],
    );
}

#[test]
fn types_of_control_nodes() {
    check_nodes(
        r#"{search: s, pattern: "x"},
        {expand: e, over: "s.matches", max_children: 9, children: [
            {ask: i, prompt: "{{ e.item.path }} {{ e.index }}", output: {type: object, properties: {n: {type: integer}}}}
        ]},
        {reduce: every, inputs: e, how: concat}, {reduce: one, inputs: e, how: vote, by: "value.n"},
        {reduce: best, inputs: e, how: best, by: "value.n"},
        {pareto: front, candidates: e, objectives: [{by: "value.n"}]},
        {tournament: t, candidates: e, by: "value.n", require: "value.n > 1 && status == 'succeeded'"},
        {teacher_review: review, of: [e]},
        {cond: c, condition: "every[0].n > 1 && one.votes > 1 && best.n > 2 && front[0].value.n > 1 && t.value.n > 1",
            then: [{ask: yes, prompt: "{{ review.candidates[0].title }}"}]}"#,
        expect!["ok"],
    );
    check_nodes(
        r#"{expand: e, over: "3", max_children: 9, children: [{ask: i, prompt: "{{ e.item.path }}", when: "e.item > 1"}]},
        {ask: a, prompt: "x", when: "e[0].n == 1"}"#,
        expect![[r#"
            1:81: WF0306 `e.item.path` does not exist: a value of type int has no fields
            2:43: WF0302 `when`: `e[0]` is string, which has no field `n`
        "#]],
    );
}

#[test]
fn malformed_templates() {
    check_nodes(
        "{ask: a, prompt: \"one\ntwo\n  {{ three four }}\"}",
        expect![[r#"
            3:1: WF0303 line 3 of the template: unexpected identifier, expected end of variable block
                 hint: text that only looks like a template goes between {% raw %} and {% endraw %}
        "#]],
    );
    check_nodes(
        r#"{ask: a, prompt: "{% include 'b' %}"}, {command: c, argv: [ls, "{{"]}"#,
        expect![[r#"
            1:30: WF0305 line 1 of the template: the tag `include` is not available in prompts
                 hint: compute it by an expression in `vars`
            1:76: WF0303 line 1 of the template: unexpected end of input, expected expression
                 hint: text that only looks like a template goes between {% raw %} and {% endraw %}
        "#]],
    );
    check_nodes(
        &format!(r#"{{ask: a, prompt: "{{{{ 1{} }}}}"}}"#, "+1".repeat(2_000)),
        expect![[r#"
            1:30: WF0304 line 1 of the template: a tag of 4007 bytes, at most 1024 are allowed
        "#]],
    );
}

#[test]
fn fields_in_templates() {
    check_nodes(
        r#"{test: t, argv: [make]},
        {ask: a, prompt: "{{ t.passed }} {{ node.t.status }} {{ node.t.value.stdout }} {{ t.pased }} {{ node.t.state }}"},
        {ask: b, prompt: "{{ a.text }}"}"#,
        expect![[r#"
            2:26: WF0306 `node.t.state` does not exist: there is no `state`
                 hint: it has path, status, value
            2:26: WF0306 `t.pased` does not exist: there is no `pased`
                 hint: did you mean `passed`?
            3:26: WF0306 `a.text` does not exist: a value of type string has no fields
        "#]],
    );
}

#[test]
fn variables_hide_nodes_and_inner_names_are_known() {
    check_nodes(
        r#"{ask: a, prompt: "x"}, {ask: b, prompt: "{{ a.anything }}", vars: {a: "1"}},
        {reduce: r, inputs: [a, b], how: model, prompt: "{% for item in items %}{{ item.value }}{% endfor %}{{ first }}"},
        {tournament: t, candidates: [a, b], judge: {prompt: "{{ first.value }} {{ second.value }} {{ items }}"}},
        {teacher_review: v, of: [a], policy: "{{ of }} {{ items }}"}"#,
        expect![[r#"
            2:57: WF0201 `first` means nothing here
            3:61: WF0201 `items` means nothing here
            4:46: WF0201 `items` means nothing here
        "#]],
    );
}

#[test]
fn outputs_read_the_root() {
    check(
        r#"{workflow: w, children: [{sequence: s, children: [{ask: a, prompt: "x"}]}], outputs: {x: "s.a", y: "a", z: iteration}}"#,
        expect![[r#"
            1:100: WF0201 `a` means nothing here
                 hint: did you mean `s`?
            1:108: WF0205 `iteration` exists only in a `loop_until`
        "#]],
    );
}

#[test]
fn a_combination_is_of_one_tournament_that_offers_what_is_taken() {
    let contest = |harvest: &str| {
        format!(
            "{{parallel: f, children: [{{branch: a, children: [{{test: t, argv: [x]}}]}}, {{branch: b, children: [{{test: t, argv: [y]}}]}}]}},
             {{tournament: pick, candidates: f, by: \"1\", harvest: [{harvest}]}},"
        )
    };
    let check = |contest: &str, combine: &str, expected: expect_test::Expect| {
        check_nodes(&format!("{contest}\n{combine}"), expected)
    };
    let all = contest("tests, patches");
    check(&all, "{reduce: r, inputs: pick, how: combine}, {test: t, argv: [x], tree: r}", expect!["ok"]);
    check(
        &all,
        "{reduce: r, inputs: [pick], how: combine, take: [tests], by: \"value.results.t.passed\"}, {branch: on, tree: r, children: [{test: t, argv: [x]}]}",
        expect!["ok"],
    );
    check(
        &all,
        "{reduce: r, inputs: f, how: combine}",
        expect![[r#"
            3:21: WF0204 `combine` needs a tournament, and `f` is a parallel
        "#]],
    );
    check(
        &all,
        "{reduce: r, inputs: [pick, f], how: combine}",
        expect![[r#"
            3:21: WF0204 `combine` needs one tournament, and `inputs` names 2 nodes
        "#]],
    );
    check(
        &all,
        "{reduce: r, inputs: pick, how: combine, by: \"1\", on_empty: 3, prompt: x}",
        expect![[r#"
            3:45: WF0302 `by` must be true or false, and this is int
            3:60: WF0121 `on_empty` means nothing when `how` is "combine"
            3:71: WF0121 `prompt` means nothing when `how` is "combine"
        "#]],
    );
    check(
        &all,
        "{reduce: r, inputs: pick, how: combine, take: []}",
        expect![[r#"
            3:47: WF0123 `take` needs at least 1 item
        "#]],
    );
    check(
        &all,
        "{reduce: r, inputs: pick, how: concat, take: [tests]}",
        expect![[r#"
            3:46: WF0121 `take` means nothing when `how` is "concat"
        "#]],
    );
    check(
        &all,
        "{reduce: r, inputs: pick, how: concat}, {test: t, argv: [x], tree: r}",
        expect![[r#"
            3:68: WF0204 `tree` needs a branch, and `r` is a reduce
        "#]],
    );
    check(
        &contest("results"),
        "{reduce: r, inputs: pick, how: combine}",
        expect![[r#"
            3:1: WF0121 `r` takes "tests", which `pick` does not harvest
                 hint: add "tests" to the `harvest` of `pick`
        "#]],
    );
    check(&contest("tests"), "{reduce: r, inputs: pick, how: combine}", expect!["ok"]);
    check(
        &contest("tests"),
        "{reduce: r, inputs: pick, how: combine, take: [patches]}",
        expect![[r#"
            3:47: WF0121 `r` takes "patches", which `pick` does not harvest
                 hint: add "patches" to the `harvest` of `pick`
        "#]],
    );
    check(
        "{ask: a, prompt: x}, {ask: b, prompt: y}, {tournament: pick, candidates: [a, b], by: \"1\", harvest: [tests]},",
        "{reduce: r, inputs: pick, how: combine}",
        expect![[r#"
            2:21: WF0204 the winner of `pick` may have no tree: `a` is an ask
                 hint: let every candidate be a branch
        "#]],
    );
}
