//! Permissions, budgets, trees, write scopes, bounds, twins.

use expect_test::expect;

use super::{check, check_nodes, workflow, workflow_of};

#[test]
fn permissions_only_narrow() {
    check(
        r#"{workflow: w, permissions: {writes: ["src/**"], network: [docs.rs], commands: [make]}, children: [
            {sequence: s, permissions: {writes: ["src/a/**"], network: []}, children: [
                {ask: a, prompt: "x", permissions: {writes: ["src/b.rs"], network: [docs.rs], tools: [read], secrets: [KEY]}}
            ]},
            {branch: b, writes: ["**"], children: [{test: t, argv: [cargo, test]}, {test: u, argv: [make]}]},
            {branch: c, writes: ["src/c/**"], permissions: {writes: ["src/**"], commands: [make, cargo]}, children: [
                {agent: d, prompt: "x", writes: ["src/c/x.rs"]}, {agent: e, prompt: "x", writes: ["src/**"]}
            ]}
        ]}"#,
        expect![[r#"
            3:61: WF0501 `permissions.writes` allows "src/b.rs", which is more than is allowed around it
                 hint: `writes` around it allows "src/a/**"
            3:84: WF0501 `permissions.network` allows "docs.rs", which nothing around it allows
                 hint: `network` around it allows nothing; widen the `permissions` of the workflow
            3:119: WF0501 `permissions.secrets` allows "KEY", which nothing around it allows
                 hint: `secrets` around it allows nothing; widen the `permissions` of the workflow
            5:33: WF0501 `writes` allows "**", which is more than is allowed around it
                 hint: `writes` around it allows "src/**"
            5:68: WF0503 `t` runs "cargo", which is not among its `commands`
                 hint: it may run make
            6:91: WF0501 `permissions.commands` allows "cargo", which nothing around it allows
                 hint: `commands` around it allows make
            7:98: WF0502 `e` writes "src/**", which is more than it is allowed
                 hint: it may write "src/c/**"
        "#]],
    );
}

#[test]
fn permissions_are_effective() {
    let workflow = workflow(
        r#"{workflow: w, permissions: {network: [docs.rs]}, children: [
            {branch: b, writes: ["src/**"], children: [
                {agent: a, prompt: "x", writes: ["src/a.rs"]}, {agent: r, prompt: "x"}, {test: t, argv: [make]}
            ]}
        ]}"#,
    );
    let writes = |path: &str| {
        let node = workflow.nodes().iter().find(|node| node.path == path).unwrap();
        node.permissions.writes.as_ref().map(|globs| globs.iter().map(|glob| glob.as_str()).collect::<Vec<_>>())
    };
    assert_eq!(writes("b"), Some(vec!["src/**"]));
    assert_eq!(writes("b/a"), Some(vec!["src/a.rs"]));
    assert_eq!(writes("b/r"), Some(vec![]));
    assert_eq!(writes("b/t"), Some(vec![]));
    assert_eq!(workflow.nodes()[1].permissions.network.as_deref(), Some(&["docs.rs".to_owned()][..]));
    assert_eq!(workflow.permissions().secrets.as_deref(), Some(&[][..]));
    assert_eq!(workflow.permissions().writes, None);
    let writing: Vec<_> =
        workflow.nodes().iter().filter(|node| node.writes_tree).map(|node| node.path.as_str()).collect();
    assert_eq!(writing, ["b", "b/a"]);
}

#[test]
fn writers_are_in_branches() {
    check_nodes(
        r#"{agent: a, prompt: x, writes: ["**"]}, {command: c, argv: [make], writes: [out.txt]}"#,
        expect![[r#"
        1:43: WF0504 `a` writes outside a branch
             hint: put it in a branch
        1:87: WF0504 `c` writes outside a branch
             hint: put it in a branch
    "#]],
    );
    check_nodes(
        r#"{branch: b, children: [{agent: a, prompt: x, writes: ["**"]}]},
        {agent: c, prompt: x, tree: b, writes: ["**"]}, {branch: d, tree: b, children: [{agent: a, prompt: x, writes: ["**"]}]}"#,
        expect![[r#"
            2:48: WF0504 `c` writes, but a node with `tree` reads a snapshot only
                 hint: put it in a branch that has this `tree`
        "#]],
    );
}

#[test]
fn writers_of_one_tree_do_not_overlap() {
    check_nodes(
        r#"{branch: b, children: [{parallel: p, children: [
            {agent: one, prompt: x, writes: ["src/*.rs"]},
            {sequence: s, children: [{agent: two, prompt: y, writes: ["docs/**", "src/main.rs"]}]},
            {agent: three, prompt: z, writes: ["src/*.rs"]}
        ]}]}"#,
        expect![[r#"
            3:70: WF0505 `one` and `two` could write one file at the same time: "src/*.rs" and "src/main.rs" both match "src/main.rs"
                 hint: give each a branch of its own, narrow their `writes`, or order them by `after`
            4:47: WF0505 `one` and `three` could write one file at the same time: both write "src/*.rs"
                 hint: give each a branch of its own, narrow their `writes`, or order them by `after`
            4:47: WF0505 `two` and `three` could write one file at the same time: "src/main.rs" and "src/*.rs" both match "src/main.rs"
                 hint: give each a branch of its own, narrow their `writes`, or order them by `after`
        "#]],
    );
    check_nodes(
        r#"{branch: b, children: [{parallel: p, children: [
            {agent: one, prompt: x, writes: ["src/**"]}, {agent: two, prompt: y, writes: ["docs/**"]}
        ]}]}"#,
        expect![[r#"
            1:36: note: WF0506 `one` and `two` write different files of one tree, so they take turns
                 hint: branches of their own would let them write at the same time
        "#]],
    );
}

#[test]
fn what_cannot_run_at_the_same_time_may_overlap() {
    check_nodes(
        r#"{branch: b, children: [{parallel: p, children: [
            {agent: one, prompt: x, writes: ["**"]}, {agent: two, prompt: y, writes: ["**"], needs: [mid]},
            {ask: mid, prompt: x, after: [one]}
        ]}, {parallel: q, width: 1, children: [
            {agent: one, prompt: x, writes: ["**"]}, {agent: two, prompt: y, writes: ["**"]}
        ]}]},
        {parallel: r, children: [
            {branch: one, children: [{agent: a, prompt: x, writes: ["**"]}]},
            {branch: two, children: [{agent: a, prompt: y, writes: ["**"]}]}
        ]}"#,
        expect!["ok"],
    );
}

#[test]
fn elements_that_write_need_branches() {
    check_nodes(
        r#"{branch: b, children: [{expand: e, over: 3, max_children: 3, children: [{agent: a, prompt: x, writes: ["**"]}]}]}"#,
        expect![[r#"
            1:36: WF0507 elements of `e` run at the same time, and each writes the same files of one tree by `a`
                 hint: give each element a branch of its own, or set `width` to 1
        "#]],
    );
    check_nodes(
        r#"{branch: b, children: [
            {expand: e, over: 3, width: 1, max_children: 3, children: [{agent: a, prompt: x, writes: ["**"]}]}
        ]},
        {expand: f, over: 3, max_children: 3, children: [
            {branch: b, children: [{agent: a, prompt: x, writes: ["**"]}]}
        ]}"#,
        expect!["ok"],
    );
}

#[test]
fn comparing_scopes_is_bounded() {
    let agent = |n: usize| format!(r#"{{agent: a{n}, prompt: "x", writes: ["f{n}.txt"]}}"#);
    let agents: Vec<String> = (0..600).map(agent).collect();
    check_nodes(
        &format!("{{branch: b, children: [{{parallel: p, children: [{}]}}]}}", agents.join(",")),
        expect![[r#"
        1:36: WF0508 more than 20000 pairs of write scopes would have to be compared here
             hint: give the writing nodes branches of their own, or wider globs and fewer of them
    "#]],
    );
}

#[test]
fn agents_that_add_tasks_stand_in_a_list() {
    check_nodes(
        r#"{agent: a, prompt: "x", tasks: {max: 2}},
        {expand: e, over: "['x']", max_children: 5, children: [
            {agent: b, prompt: "y", tasks: {max: 2}},
            {loop_until: l, until: "iteration > 1", max_iterations: 2, children: [{agent: f, prompt: "q", tasks: {max: 1}}]},
            {parallel: p, children: [{agent: c, prompt: "z", tasks: {max: 2}}, {agent: d, prompt: "w", tasks: {max: 0}}]}
        ]}"#,
        expect![[r#"
            1:44: WF0510 `tasks` adds to the list of the `expand` around the agent, and there is none
                 hint: put the agent into an `expand` over the first tasks
            5:69: WF0510 `tasks` adds to a list, and here the agents of `p` would add side by side
                 hint: put the agent directly into the `expand`, or into a sequence in it
            5:117: WF0114 `max` must be from 1 to 20000, not 0
        "#]],
    );
}

#[test]
fn equal_candidates() {
    check_nodes(
        r#"{parallel: p, children: [
            {branch: a, children: [{ask: x, prompt: "x"}]}, {branch: b, children: [{ask: x, prompt: "x"}]},
            {branch: c, children: [{ask: x, prompt: "y"}]}
        ]},
        {tournament: t, candidates: p, by: "1"},
        {ask: d, prompt: "x"}, {ask: e, prompt: "x", memo: auto}, {ask: f, prompt: "x", sample: 1},
        {pareto: q, candidates: [d, e, f], objectives: [{by: "1"}]}"#,
        expect![[r#"
            2:70: WF0509 `b` is equal to `a` but for its id
                 hint: let them differ, or repeat one by an `expand` over a number
            6:38: WF0509 `e` is equal to `d` but for its id
                 hint: let them differ, or repeat one by an `expand` over a number
        "#]],
    );
    check_nodes(r#"{parallel: p, children: [{ask: d, prompt: "x"}, {ask: e, prompt: "x"}]}"#, expect!["ok"]);
}

#[test]
fn budgets_only_narrow() {
    check(
        r#"{workflow: w, budget: {tokens: 100, usd: 2}, children: [
            {sequence: s, budget: {tokens: 200, wall: 1h}, children: [
                {ask: a, prompt: "x", budget: {usd: 2.5, wall: 30m}}, {ask: b, prompt: "x", budget: {tokens: 150, wall: 2h}}
            ]}
        ]}"#,
        expect![[r#"
            2:44: warning: WF0405 `budget.tokens` is larger than the one around it, which holds anyway
            3:53: warning: WF0405 `budget.usd` is larger than the one around it, which holds anyway
            3:110: warning: WF0405 `budget.tokens` is larger than the one around it, which holds anyway
            3:121: warning: WF0405 `budget.wall` is larger than the one around it, which holds anyway
        "#]],
    );
}

#[test]
fn successes_asked_for() {
    check_nodes(
        r#"{parallel: p, min_ok: 3, children: [{ask: a, prompt: x}, {ask: b, prompt: y}]},
        {expand: e, over: 3, max_children: 4, min_ok: 5, children: [{ask: a, prompt: x}]}"#,
        expect![[r#"
            1:35: WF0404 `min_ok` is 3, and at most 2 can succeed
            2:55: WF0404 `min_ok` is 5, and at most 4 can succeed
        "#]],
    );
}

#[test]
fn leaves_are_bounded() {
    let nested = r#"{expand: e, over: 200, max_children: 200, children: [
        {loop_until: l, until: true, max_iterations: 200, children: [{ask: a, prompt: x}]}
    ]}"#;
    check_nodes(
        nested,
        expect![[r#"
        1:13: WF0403 a run could start 40000 leaves; at most 20000 are allowed
             hint: lower the bounds, or set `budget.leaves` of the workflow to what a run may really start
    "#]],
    );
    check(&format!("{{workflow: w, budget: {{leaves: 500}}, children: [{nested}]}}"), expect!["ok"]);
}

#[test]
fn leaf_bounds() {
    let bound = |nodes: &str| workflow_of(nodes).leaf_bound();
    assert_eq!(bound("{ask: a, prompt: x}, {wait: w, signal: s}"), Some(2));
    assert_eq!(
        bound(
            "{cond: c, condition: true, then: [{ask: a, prompt: x}, {ask: b, prompt: x}], otherwise: [{ask: d, prompt: x}]}"
        ),
        Some(2)
    );
    assert_eq!(bound("{loop_until: l, until: true, max_iterations: 7, children: [{ask: a, prompt: x}]}"), Some(7));
    assert_eq!(
        bound(
            "{expand: e, over: 3, max_children: 10, children: [{ask: a, prompt: x}]}, {tournament: t, candidates: e, judge: {prompt: p}}"
        ),
        Some(28)
    );
    assert_eq!(
        bound("{ask: a, prompt: x}, {reduce: r, inputs: a, how: model, prompt: p}, {teacher_review: t, of: [a]}"),
        Some(3)
    );
    assert_eq!(bound("{call: c, workflow: other}"), None);
    assert_eq!(
        workflow_of("{sequence: s, children: [{call: c, workflow: o}, {ask: a, prompt: x}]}").leaf_bounds(),
        [None, None, Some(1)]
    );
}
