//! Keys, types and forms of fields.

use expect_test::expect;

use super::{check, check_nodes};

#[test]
fn a_small_workflow_is_valid() {
    check(r#"{workflow: hello, children: [{ask: greet, prompt: "hello"}]}"#, expect!["ok"]);
}

#[test]
fn a_workflow_is_a_map() {
    check(
        "[1]",
        expect![[r#"
        1:1: WF0102 a workflow is a map, not a list
             hint: write `{workflow: name, children: […]}`
    "#]],
    );
    check(
        "{}",
        expect![[r#"
        1:1: WF0105 a workflow needs `children`
             hint: `children` is: its nodes, in order
        1:1: WF0105 a workflow needs `workflow`
             hint: `workflow` is: its name
    "#]],
    );
    check(
        "{workflow: 3, children: 4}",
        expect![[r#"
        1:12: WF0106 `workflow` must be a string, not an integer
        1:25: WF0106 `children` must be a list of nodes, not an integer
    "#]],
    );
}

#[test]
fn unknown_and_duplicate_keys() {
    check_nodes(
        "{ask: a, promt: x, prompt: y}",
        expect![[r#"
        1:22: WF0103 `ask` has no field `promt`
             hint: did you mean `prompt`?
    "#]],
    );
    check_nodes(
        "{ask: a, prompt: y, prompt: z, colour: red}",
        expect![[r#"
        1:33: WF0104 the key `prompt` is there twice
        1:44: WF0103 `ask` has no field `colour`
             hint: it has prompt, vars, output, ensure, retry, memo, sample, tree, needs, after, accept, when, budget, permissions, role, timeout
    "#]],
    );
    check_nodes(
        "{ask: a, prompt: y, output: {type: string, type: integer}}",
        expect![[r#"
        1:56: WF0104 the key `type` is there twice
    "#]],
    );
    check_nodes(
        "{ask: a, prompt: y, budget: {dollars: 3}, retry: {attemps: 3}}",
        expect![[r#"
        1:42: WF0103 `budget` has no field `dollars`
             hint: it has tokens, usd, wall, leaves
        1:63: WF0103 `retry` has no field `attemps`
             hint: did you mean `attempts`?
    "#]],
    );
}

#[test]
fn missing_keys() {
    check_nodes(
        "{ask: a}, {command: c}, {search: s}",
        expect![[r#"
        1:13: WF0105 `ask` needs `prompt`
             hint: `prompt` is: what is asked
        1:23: WF0105 `command` needs `argv`
             hint: `argv` is: program and arguments, each a template
        1:37: WF0105 `search` needs `pattern`
             hint: `pattern` is: a regular expression
    "#]],
    );
    check_nodes(
        "{loop_until: l, children: [{ask: a, prompt: x}]}",
        expect![[r#"
        1:13: WF0105 `loop_until` needs `max_iterations`
             hint: `max_iterations` is: the bound
        1:13: WF0105 `loop_until` needs `until`
             hint: `until` is: ends it; sees its children, `iteration` and `prev`
    "#]],
    );
    check_nodes(
        "{memory: m, op: write, key: k}, {reduce: r, inputs: m, how: best}",
        expect![[r#"
        1:13: WF0105 `memory` needs `content` to write it
        1:45: WF0105 `reduce` needs `by` to find the best
    "#]],
    );
    check_nodes(
        "{ask: a, prompt: x}, {reduce: r, inputs: a, how: model}",
        expect![[r#"
        1:34: WF0105 `reduce` needs `prompt` to ask a model
    "#]],
    );
}

#[test]
fn null_is_as_if_not_given() {
    check_nodes("{ask: a, prompt: x, when: null, role: null}", expect!["ok"]);
    check_nodes(
        "{ask: a, prompt: null}",
        expect![[r#"
        1:13: WF0105 `ask` needs `prompt`
             hint: `prompt` is: what is asked
    "#]],
    );
}

#[test]
fn wrong_types() {
    check_nodes(
        "{ask: 3, prompt: [x]}, {ask: b, prompt: x, needs: a, when: [true]}",
        expect![[r#"
        1:19: WF0106 `ask` must be the id of the node, not an integer
        1:30: WF0106 `prompt` must be a string, not a list
        1:63: WF0106 `needs` must be a list, not a string
        1:72: WF0106 `when` must be an expression, not a list
    "#]],
    );
    check_nodes(
        "{test: t, argv: make, cwd: 3, env: [1]}",
        expect![[r#"
        1:29: WF0106 `argv` must be a list, not a string
        1:40: WF0106 `cwd` must be a path, not an integer
        1:49: WF0106 `env[0]` must be a string, not an integer
    "#]],
    );
    check_nodes(
        "{command: t, argv: [make], repeatable: yes, ok_exit: [x]}",
        expect![[r#"
        1:52: WF0106 `repeatable` must be true or false, not a string
        1:67: WF0106 `ok_exit[0]` must be an integer, not a string
    "#]],
    );
    check_nodes(
        "{ask: a, prompt: x, budget: 3, retry: 2, timeout: [1], permissions: {writes: a}}",
        expect![[r#"
        1:41: WF0106 `budget` must be a map with `tokens`, `usd`, `wall`, `leaves`, not an integer
        1:51: WF0106 `retry` must be a map with `attempts`, `backoff`, `factor`, `max_backoff`, `on`, not an integer
        1:63: WF0106 `timeout` must be a duration such as "10m", or an integer of seconds, not a list
        1:90: WF0106 `writes` must be a list, not a string
    "#]],
    );
    check_nodes(
        "{parallel: p, children: {}}, 7",
        expect![[r#"
        1:37: WF0106 `children` must be a list of nodes, not a map
        1:42: WF0106 a node is a map, not an integer
             hint: write a node as `{ask: its_id, prompt: …}`
    "#]],
    );
    check_nodes(
        "{reduce: r, inputs: 3, how: concat}",
        expect![[r#"
        1:33: WF0106 `inputs` must be the id of a node or a list of ids, not an integer
    "#]],
    );
    check(
        r#"{workflow: w, children: [{ask: a, prompt: "x"}], inputs: [a], roles: {big: 3}, outputs: {x: [1]}}"#,
        expect![[r#"
        1:58: WF0106 `inputs` must be a map, not a list
        1:76: WF0106 `big` must be a map with `needs`, `params`, not an integer
        1:93: WF0106 `x` must be an expression, not a list
    "#]],
    );
    check(
        r#"{workflow: w, children: [{ask: a, prompt: "x\u0000y"}], inputs: {a: 3}, roles: 3}"#,
        expect![[r#"
        1:43: WF0106 `prompt` holds a NUL character
        1:69: WF0106 `a` must be a map with `type`, `default`, `sensitive`, `description`, not an integer
        1:80: WF0106 `roles` must be a map, not an integer
    "#]],
    );
}

#[test]
fn kinds() {
    check_nodes(
        "{aks: a, prompt: x}, {}, {prompt: x}, {ask: a, test: b, prompt: x}",
        expect![[r#"
        1:14: WF0109 `aks` is no kind of node
             hint: did you mean `ask`?
        1:34: WF0109 a node needs a kind and an id
             hint: the kinds are agent, ask, command, test, search, memory, approve, wait, branch, parallel, sequence, reduce, pareto, tournament, loop_until, cond, expand, call, rlm, teacher_review
        1:39: WF0109 `prompt` is no kind of node
             hint: the kinds are agent, ask, command, test, search, memory, approve, wait, branch, parallel, sequence, reduce, pareto, tournament, loop_until, cond, expand, call, rlm, teacher_review
        1:60: WF0110 a node is of one kind: `ask` or `test`
    "#]],
    );
    check_nodes("{prompt: x, ask: a}", expect!["ok"]);
}

#[test]
fn a_newer_definition_is_refused_by_name() {
    check(
        "{workflow: w, schema_version: 3, children: [], sparkles: true}",
        expect![[r#"
            1:31: WF0108 this definition has schema version 3; this binary knows versions up to 2
                 hint: use a newer whaleflow
        "#]],
    );
    check(
        "{workflow: w, schema_version: 0, children: [{ask: a, prompt: x}]}",
        expect![[r#"
        1:31: WF0114 `schema_version` must be from 1 to 4294967295, not 0
    "#]],
    );
}

#[test]
fn names_have_a_form() {
    check_nodes(
        "{ask: Find-Cache, prompt: x}, {ask: prev, prompt: x}, {ask: size, prompt: x}, {ask: \"\", prompt: x}",
        expect![[r#"
            1:19: WF0111 an id is a lower-case letter and at most 63 letters, digits and `_`, not "Find-Cache"
                 hint: write `find_cache`
            1:49: WF0113 `prev` cannot be an id: expressions and templates understand it already
            1:97: WF0111 an id is a lower-case letter and at most 63 letters, digits and `_`, not ""
        "#]],
    );
    check_nodes(
        "{ask: a, prompt: x, role: \"Big Model\", vars: {\"a b\": \"1\", node: \"1\"}}",
        expect![[r#"
        1:39: WF0111 `role` must be a lower-case name, not "Big Model"
             hint: write `big_model`
        1:59: WF0111 a name is a lower-case letter and at most 63 letters, digits and `_`, not "a b"
             hint: write `a_b`
        1:71: WF0113 `node` cannot be a name: expressions and templates understand it already
    "#]],
    );
    check(
        "{workflow: My-Flow, inputs: {in: int}, roles: {A: {}}, children: [{wait: a, signal: go}]}",
        expect![[r#"
        1:12: WF0111 a name is a lower-case letter and at most 63 letters, digits and `_`, not "My-Flow"
             hint: write `my_flow`
        1:30: WF0113 `in` cannot be a name: expressions and templates understand it already
        1:48: WF0111 a role is a lower-case name, not "A"
    "#]],
    );
}

#[test]
fn ids_are_unique_among_siblings() {
    check_nodes(
        "{ask: a, prompt: x},\n{ask: a, prompt: y}",
        expect![[r#"
        2:7: WF0112 the id `a` is taken by a sibling in line 1
    "#]],
    );
    check_nodes("{ask: a, prompt: x}, {sequence: s, children: [{ask: a, prompt: y}]}", expect!["ok"]);
    check_nodes(
        "{cond: c, condition: true, then: [{ask: a, prompt: x}], otherwise: [{ask: a, prompt: y}]}",
        expect![[r#"
        1:87: WF0112 the id `a` is taken by a sibling in line 1
    "#]],
    );
}

#[test]
fn numbers_have_bounds() {
    check_nodes(
        "{ask: a, prompt: x, retry: {attempts: 0, factor: 0.5}, budget: {usd: 0, tokens: 0}, sample: -1}",
        expect![[r#"
        1:51: WF0114 `attempts` must be from 1 to 20, not 0
        1:62: WF0114 `factor` must be from 1 to 100, with two decimal places at most
        1:82: WF0114 `usd` must be more than 0 and less than 1,000,000,000 US dollars
        1:93: WF0114 `tokens` must be at least 1, not 0
        1:105: WF0114 `sample` must be from 0 to 1000000, not -1
    "#]],
    );
    check_nodes(
        "{ask: a, prompt: x, retry: {attempts: 21, factor: 1.005}, budget: {usd: -0.5, leaves: 1.5}}",
        expect![[r#"
        1:51: WF0114 `attempts` must be from 1 to 20, not 21
        1:63: WF0114 `factor` must be from 1 to 100, with two decimal places at most
        1:85: WF0114 `usd` must be more than 0 and less than 1,000,000,000 US dollars
        1:99: WF0106 `leaves` must be an integer, not a decimal
    "#]],
    );
    check_nodes(
        "{expand: e, over: 3, max_children: 20001, width: 0, children: [{ask: a, prompt: x}]}",
        expect![[r#"
            1:48: WF0114 `max_children` must be from 1 to 20000, not 20001
                 hint: nothing fans out wider than 20000
            1:62: WF0114 `width` must be from 1 to 20000
        "#]],
    );
    check_nodes(
        "{loop_until: l, until: true, max_iterations: 0, children: [{ask: a, prompt: x}]}",
        expect![[r#"
        1:58: WF0114 `max_iterations` must be from 1 to 20000, not 0
    "#]],
    );
    check_nodes(
        "{command: c, argv: [a], ok_exit: [256]}, {search: s, pattern: x, limit: 10001}",
        expect![[r#"
        1:47: WF0114 `ok_exit[0]` must be from 0 to 255, not 256
        1:85: WF0114 `limit` must be from 1 to 10000, not 10001
    "#]],
    );
}

#[test]
fn durations() {
    check_nodes("{wait: a, duration: 30}, {wait: b, duration: 1h30m}, {wait: c, duration: 250ms}", expect!["ok"]);
    check_nodes(
        "{wait: a, duration: 0}, {wait: b, duration: soon}, {wait: c, duration: 367d}, {wait: d, duration: -1}",
        expect![[r#"
        1:33: WF0115 `duration` must be more than nothing
        1:57: WF0115 "soon" is no duration; write it like "90s", "10m" or "1h30m"
        1:84: WF0115 a duration is at most 366 days
        1:111: WF0115 `duration` must not be negative
    "#]],
    );
    check_nodes(
        "{wait: a, signal: go, timeout: 0s}, {wait: b, duration: 9223372036854775807}",
        expect![[r#"
        1:44: WF0115 `timeout` must be more than nothing
        1:69: WF0115 a duration is at most 366 days
    "#]],
    );
}

#[test]
fn choices() {
    check_nodes(
        "{ask: a, prompt: x, memo: of, accept: [fail]}",
        expect![[r#"
        1:39: WF0116 `memo` must be "auto" or "off", not "of"
             hint: did you mean `off`?
        1:52: WF0116 `accept[0]` must be one of "failed", "skipped", "cancelled", "timed_out", "budget_exceeded", not "fail"
    "#]],
    );
    check_nodes(
        "{agent: a, prompt: x, driver: robot}",
        expect![[r#"
        1:43: WF0116 `driver` must be one of "native", "acp", "cli", not "robot"
    "#]],
    );
}

#[test]
fn globs_paths_patterns_and_schemas() {
    check_nodes(
        "{agent: a, prompt: x, reads: [\"src/[a\", /etc/passwd, ../x]}",
        expect![[r#"
        1:43: WF0117 a `[` without its `]` in glob "src/[a"
        1:53: WF0117 an absolute path in glob "/etc/passwd"
        1:66: WF0117 a segment `..` in glob "../x"
    "#]],
    );
    check_nodes(
        "{test: t, argv: [make], cwd: ../.., expect: \"ok (\"}",
        expect![[r#"
        1:42: WF0122 `cwd` holds `..`: "../.."
             hint: write a path inside the directory, with `/`
        1:57: WF0119 `expect`: unclosed group in the regular expression "ok ("
    "#]],
    );
    check_nodes(
        "{test: t, argv: [\"\"], cwd: /}",
        expect![[r#"
        1:30: WF0122 the program of `argv` is empty
        1:40: WF0122 `cwd` is absolute: "/"
             hint: write a path inside the directory, with `/`
    "#]],
    );
    check_nodes(
        "{search: s, pattern: \"a(\"}, {search: t, pattern: \"{{ inputs }}(\"}",
        expect![[r#"
        1:34: WF0119 `pattern`: unclosed group in the regular expression "a("
    "#]],
    );
    check_nodes(
        "{ask: a, prompt: x, output: {type: strin}}, {ask: b, prompt: x, output: 3}",
        expect![[r#"
        1:41: WF0118 `output` is no JSON Schema that can be checked: at /type: "strin" is no type of JSON Schema
        1:85: WF0118 `output` is no JSON Schema that can be checked: 3 is not of types "boolean", "object"
    "#]],
    );
    check(
        "{workflow: w, fixture: /home, children: [{ask: a, prompt: x}]}",
        expect![[r#"
        1:24: WF0122 `fixture` is absolute: "/home"
             hint: write a path inside the directory, with `/`
    "#]],
    );
}

#[test]
fn exactly_one_of() {
    check_nodes(
        "{wait: a}, {wait: b, duration: 3s, signal: go}",
        expect![[r#"
        1:13: WF0120 `wait` needs exactly one of `duration` and `signal`, and has 0
        1:24: WF0120 `wait` needs exactly one of `duration` and `signal`, and has 2
    "#]],
    );
    check_nodes(
        "{ask: a, prompt: x}, {ask: b, prompt: y}, {tournament: t, candidates: [a, b]}",
        expect![[r#"
        1:55: WF0120 `tournament` needs exactly one of `by` and `judge`, and has 0
    "#]],
    );
    check_nodes(
        "{ask: a, prompt: x}, {ask: b, prompt: y}, {tournament: t, candidates: [a, b], by: \"1\", judge: {prompt: p}}",
        expect![[r#"
            1:55: WF0120 `tournament` needs exactly one of `by` and `judge`, and has 2
        "#]],
    );
}

#[test]
fn fields_that_mean_nothing() {
    check_nodes(
        "{ask: a, prompt: x}, {reduce: r, inputs: [a], how: concat, by: \"1\", prompt: x, output: {}}",
        expect![[r#"
        1:76: WF0121 `by` means nothing when `how` is "concat"
        1:89: WF0121 `prompt` means nothing when `how` is "concat"
        1:100: WF0121 `output` means nothing when `how` is "concat"
    "#]],
    );
    check_nodes(
        "{memory: m, op: read, key: k, content: \"1\"}",
        expect![[r#"
        1:52: WF0121 `content` means nothing to a read
    "#]],
    );
}

#[test]
fn empty_lists() {
    check_nodes(
        "",
        expect![[r#"
        1:12: WF0123 `children` needs at least 1 node
    "#]],
    );
    check_nodes(
        "{branch: b, children: []}, {command: c, argv: []}, {ask: a, prompt: x}, {reduce: r, inputs: [], how: merge}",
        expect![[r#"
        1:35: WF0123 `children` needs at least 1 node
        1:59: WF0123 `argv` needs at least 1 item
        1:105: WF0123 `inputs` needs at least 1 item
    "#]],
    );
}

#[test]
fn inputs() {
    check(
        r#"{workflow: w, children: [{ask: a, prompt: "{{ inputs.goal }}"}], inputs: {
            goal: string, n: {type: int, default: 3}, files: "list(string)", more: {default: null},
            scores: {type: "map(number)", default: {a: 1, b: 0.5}}
        }}"#,
        expect!["ok"],
    );
    check(
        r#"{workflow: w, children: [{ask: a, prompt: "x"}], inputs: {
            n: {type: int, default: "3"}, m: {type: "list(int)", default: [1, x]}, o: text, p: "list(",
            token: {type: string, sensitive: true, default: "s3cret"}, q: {kind: int}
        }}"#,
        expect![[r#"
            2:37: WF0124 the default of `n` does not fit: int is expected, found string
            2:75: WF0124 the default of `m` does not fit: at /1: int is expected, found string
            2:87: WF0126 "text" is no type of an input
                 hint: write string, int, number, bool, any, list, map, list(string), map(int), …
            2:96: WF0126 "list(" is no type of an input
                 hint: write string, int, number, bool, any, list, map, list(string), map(int), …
            3:61: warning: WF0125 `token` is sensitive, and its default is part of the definition
                 hint: leave the default out
            3:76: WF0103 `q` has no field `kind`
                 hint: it has type, default, sensitive, description
        "#]],
    );
}
