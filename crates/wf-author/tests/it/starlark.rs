//! The Starlark spelling.

use expect_test::{Expect, expect};
use wf_author::Spelling;

use crate::support::{compiled, outcome, places};

fn check(source: &str, expected: Expect) {
    check_with(source, &[], expected);
}

fn check_with(source: &str, files: &[(&str, &str)], expected: Expect) {
    expected.assert_eq(&outcome(Spelling::Starlark, source, files));
}

/// `body` as the arguments of a workflow.
fn check_in_workflow(body: &str, expected: Expect) {
    check(&format!("workflow('w', {body})"), expected);
}

#[test]
fn a_workflow_is_a_map_that_begins_with_its_name() {
    check(
        r#"
find = search("find_cache", pattern = "cache", limit = 20)
fix = agent("fix", prompt = "Fix it.", writes = ["src/**"], needs = [find])
workflow("cache_change", description = "One fix.", children = [find, fix], budget = budget(usd = 0.5, wall = "10m"))
"#,
        expect![[r#"
            {workflow: "cache_change", description: "One fix.", children: [{search: "find_cache", pattern: "cache", limit: 20}, {agent: "fix", prompt: "Fix it.", writes: ["src/**"], needs: ["find_cache"]}], budget: {usd: 0.5, wall: "10m"}}
        "#]],
    );
}

#[test]
fn every_part_has_its_place() {
    let source = r#"
def fix(id, model):
    return agent(
        id,
        prompt = "Fix é " + model,
        vars = {"é": "x", "y": 2},
        retry = retry(attempts = 3),
    )

extra = {"role": "coder"}
workflow(
    "w",
    children = [fix("a", "m"), ask("b", prompt = "?", output = schema.object({"ok": schema.boolean()}), **extra)],
)
"#;
    let draft = compiled(Spelling::Starlark, source, &[]).unwrap();
    expect![[r#"
        map <11:1-14:2>
          workflow <11:1-11:9>: "w" <12:5-12:8>
          children <13:5-13:13>: list <13:16-13:114>
            map <3:12-8:6>
              agent <3:12-3:17>: "a" <4:9-4:11>
              prompt <5:9-5:15>: "Fix é m" <5:18-5:34>
              vars <6:9-6:13>: map <6:16-6:34>
                é <6:17-6:20>: "x" <6:22-6:25>
                y <6:27-6:30>: 2 <6:32-6:33>
              retry <7:9-7:14>: map <7:17-7:36>
                attempts <7:23-7:31>: 3 <7:34-7:35>
            map <13:32-13:113>
              ask <13:32-13:35>: "b" <13:36-13:39>
              prompt <13:41-13:47>: "?" <13:50-13:53>
              output <13:55-13:61>: map <13:64-13:103>
                type <13:64-13:103>: "object" <13:64-13:103>
                properties <13:64-13:103>: map <13:78-13:102>
                  ok <13:79-13:83>: map <13:85-13:101>
                    type <13:85-13:101>: "boolean" <13:85-13:101>
                required <13:64-13:103>: list <13:64-13:103>
                  "ok" <13:64-13:103>
                additionalProperties <13:64-13:103>: false <13:64-13:103>
              role <13:107-13:112>: "coder" <13:107-13:112>
    "#]]
    .assert_eq(&places(&draft));
}

#[test]
fn nodes_stay_nodes_under_children_and_are_ids_elsewhere() {
    check(
        r#"
a = branch("a", children = [test("t", argv = ["true"])])
b = branch("b")
both = parallel("both", children = [a, b])
pick = tournament("pick", candidates = both, require = "value.results.t.passed", by = "0 - size(value.files)")
gate = cond("gate", condition = pick.id + ".winner != ''", then = [wait("w", duration = "1s")], otherwise = [])
workflow("w", children = [both, pick, gate, reduce("r", inputs = [a, b], how = "concat", after = (pick, gate))],
    outputs = {"best": "%s.value" % pick})
"#,
        expect![[r#"
            {workflow: "w", children: [{parallel: "both", children: [{branch: "a", children: [{test: "t", argv: ["true"]}]}, {branch: "b"}]}, {tournament: "pick", candidates: "both", require: "value.results.t.passed", by: "0 - size(value.files)"}, {cond: "gate", condition: "pick.winner != ''", then: [{wait: "w", duration: "1s"}], otherwise: []}, {reduce: "r", inputs: ["a", "b"], how: "concat", after: ["pick", "gate"]}], outputs: {best: "pick.value"}}
        "#]],
    );
}

#[test]
fn one_node_may_stand_in_two_lists() {
    check(
        r#"
t = test("t", argv = ["make", "check"])
workflow("w", children = [branch("a", children = [t]), branch("b", children = [t])])
"#,
        expect![[r#"
            {workflow: "w", children: [{branch: "a", children: [{test: "t", argv: ["make", "check"]}]}, {branch: "b", children: [{test: "t", argv: ["make", "check"]}]}]}
        "#]],
    );
}

#[test]
fn schemas_are_plain_json_schema() {
    check_in_workflow(
        r#"a = schema.object({
            "name": schema.string(enum = ["x", "y"]),
            "n": schema.integer(minimum = 1),
            "share": schema.number(),
            "all": schema.list(schema.any(), minItems = 1),
            "raw": {"type": "null"},
        }),
        b = schema.object({"x": schema.boolean(), "y": schema.string()}, required = ["x"], description = "D"),
        c = schema.object(properties = {}, additionalProperties = True),
        d = schema.object(),
        e = schema.list(items = schema.string())"#,
        expect![[r#"
            {workflow: "w", a: {type: "object", properties: {name: {type: "string", enum: ["x", "y"]}, n: {type: "integer", minimum: 1}, share: {type: "number"}, all: {type: "array", items: {}, minItems: 1}, raw: {type: "null"}}, required: ["name", "n", "share", "all", "raw"], additionalProperties: false}, b: {type: "object", properties: {x: {type: "boolean"}, y: {type: "string"}}, required: ["x"], additionalProperties: false, description: "D"}, c: {type: "object", properties: {}, required: [], additionalProperties: true}, d: {type: "object"}, e: {type: "array", items: {type: "string"}}}
        "#]],
    );
}

#[test]
fn parts_are_maps_of_their_arguments() {
    check_in_workflow(
        r#"
        budget = budget(tokens = 1000, usd = 1, wall = "1h", leaves = 3),
        permissions = permissions(writes = ["a"], commands = [], network = [], tools = ["read"], secrets = []),
        inputs = {"n": input(type = "int", default = None, sensitive = False, description = "how many")},
        roles = {"judge": role(needs = ["json"], params = {"temperature": 0.0})},
        children = [tournament("t", judge = judge(prompt = "?", role = "judge")),
                    pareto("p", objectives = [objective(by = "value.cost", goal = "min")])]"#,
        expect![[r#"
            {workflow: "w", budget: {tokens: 1000, usd: 1, wall: "1h", leaves: 3}, permissions: {writes: ["a"], commands: [], network: [], tools: ["read"], secrets: []}, inputs: {n: {type: "int", default: null, sensitive: false, description: "how many"}}, roles: {judge: {needs: ["json"], params: {temperature: 0.0}}}, children: [{tournament: "t", judge: {prompt: "?", role: "judge"}}, {pareto: "p", objectives: [{by: "value.cost", goal: "min"}]}]}
        "#]],
    );
}

#[test]
fn none_is_as_if_not_given_but_where_it_is_a_value() {
    check_in_workflow(
        r#"role = None, children = [reduce("r", on_empty = None, by = None, output = {"default": None})]"#,
        expect![[r#"
            {workflow: "w", children: [{reduce: "r", on_empty: null, output: {default: null}}]}
        "#]],
    );
}

#[test]
fn numbers_are_integers_or_decimals() {
    check_in_workflow(
        "a = 1, b = -7, c = 0.5, d = 1.0, e = 1e3, f = 9223372036854775807, g = True",
        expect![[r#"
            {workflow: "w", a: 1, b: -7, c: 0.5, d: 1.0, e: 1000.0, f: 9223372036854775807, g: true}
        "#]],
    );
    check_in_workflow(
        "a = 9223372036854775808",
        expect![[r#"
            main.star:1:19: WF0606 an integer is outside the range of 64 bits
        "#]],
    );
    check_in_workflow(
        "a = [1, 1 << 10000]",
        expect![[r#"
            main.star:1:23: WF0606 an integer is outside the range of 64 bits
        "#]],
    );
    check_in_workflow(
        "a = {'x': 1e300}",
        expect![[r#"
            main.star:1:25: WF0606 the number 1000000000000000000000000000000000000000… is outside the range of 64-bit integers and of decimals with six places
        "#]],
    );
    check_in_workflow(
        "a = float('nan')",
        expect![[r#"
            main.star:1:19: WF0606 the number NaN is outside the range of 64-bit integers and of decimals with six places
        "#]],
    );
    check_in_workflow(
        "a = float('-inf')",
        expect![[r#"
            main.star:1:19: WF0606 the number -inf is outside the range of 64-bit integers and of decimals with six places
        "#]],
    );
}

#[test]
fn lists_tuples_and_ranges_are_lists() {
    check_in_workflow(
        "a = (1, 'x'), b = range(3), c = [x for x in range(2)], d = {'k': ()}",
        expect![[r#"
            {workflow: "w", a: [1, "x"], b: [0, 1, 2], c: [0, 1], d: {k: []}}
        "#]],
    );
}

#[test]
fn what_is_no_value_is_refused_where_it_stands() {
    check_in_workflow(
        "a = len",
        expect![[r#"
            main.star:1:19: WF0612 a value of type function cannot be part of a workflow
              hint: call the function instead of naming it
        "#]],
    );
    check_in_workflow(
        "\n  children = [ask]",
        expect![[r#"
            main.star:2:15: WF0612 a value of type native_function cannot be part of a workflow
              hint: ask is a function: call it
        "#]],
    );
    check_in_workflow(
        "a = {'x': [lambda: 1]}",
        expect![[r#"
            main.star:1:26: WF0612 a value of type function cannot be part of a workflow
              hint: call the function instead of naming it
        "#]],
    );
    check_in_workflow(
        "a = {1: 2}",
        expect![[r#"
            main.star:1:20: WF0612 the key 1 is not text
              hint: the keys of every map in a workflow are text
        "#]],
    );
    check_in_workflow(
        "a = b'bytes'",
        expect![[r#"
            main.star:1:19: WF0612 a value of type bytes cannot be part of a workflow
        "#]],
    );
    check(
        "x = []\nx.append(x)\nworkflow('w', a = x)",
        expect![[r#"
            main.star:3:19: WF0605 values are nested more than 192 deep
        "#]],
    );
}

#[test]
fn wrong_calls() {
    check(
        "ask()",
        expect![[r#"
            main.star:1:1: WF0611 ask needs an id: ask("its_id", …)
        "#]],
    );
    check(
        "ask(3)",
        expect![[r#"
            main.star:1:5: WF0611 the id of ask is of type int, not text
        "#]],
    );
    check(
        "ask('a', 'b')",
        expect![[r#"
            main.star:1:1: WF0611 only the first argument of ask may stand without its name
        "#]],
    );
    check(
        "ask('a', id = 'b')",
        expect![[r#"
            main.star:1:1: WF0611 ask is given "id" twice
        "#]],
    );
    check(
        "ask(prompt = 'b')",
        expect![[r#"
            main.star:1:1: WF0611 ask needs an id: ask("its_id", …)
        "#]],
    );
    check(
        "budget(3)",
        expect![[r#"
            main.star:1:1: WF0611 the arguments of budget need their names
        "#]],
    );
    check(
        "schema.string('x')",
        expect![[r#"
            main.star:1:1: WF0611 the arguments of schema.string need their names
        "#]],
    );
    check(
        "schema.object([])",
        expect![[r#"
            main.star:1:15: WF0611 the properties of an object are of type list, not a map from names to schemas
        "#]],
    );
    check(
        "workflow()",
        expect![[r#"
            main.star:1:1: WF0611 workflow needs a name: workflow("its_name", …)
        "#]],
    );
    check(
        "file()",
        expect![[r#"
            main.star:1:1: WF0611 file needs a path: file("prompts/patch.md")
        "#]],
    );
    check(
        "file('a', mode = 'r')",
        expect![[r#"
            main.star:1:1: WF0611 file has no argument "mode"
        "#]],
    );
    check(
        "file(1)",
        expect![[r#"
            main.star:1:6: WF0611 the path of a file is of type int, not text
        "#]],
    );
    check(
        "ask('a', prompt = 'x', prompt = 'y')",
        expect![[r#"
            main.star:1:24: WF0602 repeated named argument
        "#]],
    );
    check(
        "ask('a', **{'id': 'b'})",
        expect![[r#"
            main.star:1:1: WF0611 ask is given "id" twice
        "#]],
    );
}

#[test]
fn unknown_fields_pass_to_validation() {
    check_in_workflow(
        "children = [ask('a', promt = 'x', **{'Odd key': 1})]",
        expect![[r#"
            {workflow: "w", children: [{ask: "a", promt: "x", Odd key: 1}]}
        "#]],
    );
    check(
        "workflow(name = 'w', children = [ask(prompt = 'x', id = 'a')])",
        expect![[r#"
            {workflow: "w", children: [{ask: "a", prompt: "x"}]}
        "#]],
    );
}

#[test]
fn exactly_one_workflow() {
    check(
        "x = 1",
        expect![[r#"
            main.star:1:1: WF0607 the file calls no workflow(…)
              hint: end it with workflow("its_name", children = […])
        "#]],
    );
    check(
        "",
        expect![[r#"
            main.star:1:1: WF0607 the file calls no workflow(…)
              hint: end it with workflow("its_name", children = […])
        "#]],
    );
    check(
        "workflow('a')\nworkflow('b')",
        expect![[r#"
            main.star:2:1: WF0608 workflow is called a second time
              hint: a workflow is called once, in the file that is run; functions for it may live in other files
        "#]],
    );
    check_with(
        "load('lib.star', 'x')\nworkflow('a')",
        &[("lib.star", "x = 1\nworkflow('b')")],
        expect![[r#"
            lib.star:2:1: WF0608 workflow is called in a file that is only loaded
              hint: a workflow is called once, in the file that is run; functions for it may live in other files
        "#]],
    );
}

#[test]
fn a_loaded_function_may_make_the_workflow() {
    check_with(
        "load('lib.star', 'make', shared = 'common')\nmake('w', shared)",
        &[(
            "lib.star",
            "common = ask('c', prompt = 'x')\ndef make(name, node):\n  workflow(name, children = [node])\n",
        )],
        expect![[r#"
            {workflow: "w", children: [{ask: "c", prompt: "x"}]}
        "#]],
    );
}

#[test]
fn places_of_what_a_loaded_file_makes_are_in_that_file() {
    let files = [("lib/nodes.star", "def probe(id):\n  return wait(id, duration = '1s')\n")];
    let source = "load('lib/nodes.star', 'probe')\nworkflow('w', children = [probe('p')])";
    let draft = compiled(Spelling::Starlark, source, &files).unwrap();
    expect![[r#"
        map <2:1-2:39>
          workflow <2:1-2:9>: "w" <2:10-2:13>
          children <2:15-2:23>: list <2:26-2:38>
            map <lib/nodes.star 2:10-2:35>
              wait <lib/nodes.star 2:10-2:14>: "p" <lib/nodes.star 2:15-2:17>
              duration <lib/nodes.star 2:19-2:27>: "1s" <lib/nodes.star 2:30-2:34>
    "#]]
    .assert_eq(&places(&draft));
}

#[test]
fn files_are_texts() {
    let files = [("prompts/fix.md", "Fix {{ path }}.\n")];
    check_with(
        "workflow('w', children = [ask('a', prompt = file('prompts/fix.md') + 'Now.')])",
        &files,
        expect![[r#"
            {workflow: "w", children: [{ask: "a", prompt: "Fix {{ path }}.\nNow."}]}
        "#]],
    );
    check_with(
        "workflow('w', children = [ask('a', prompt = {'file': 'prompts/fix.md'})])",
        &files,
        expect![[r#"
            {workflow: "w", children: [{ask: "a", prompt: "Fix {{ path }}.\n"}]}
        "#]],
    );
    check_with(
        "workflow('w', children = [ask('a', prompt = file('prompts/other.md'))])",
        &files,
        expect![[r#"
            main.star:1:50: WF0614 the file "prompts/other.md" cannot be used: it does not exist
              hint: paths are relative to the directory of the workflow's source
        "#]],
    );
    for path in ["../secret", "/etc/passwd", "a/../../b", "", "./a"] {
        let found = compiled(Spelling::Starlark, &format!("x = file({path:?})"), &[]).unwrap_err();
        assert_eq!((found.len(), found[0].code), (1, "WF0613"), "{path}");
        let found = compiled(Spelling::Starlark, &format!("load({path:?}, 'x')"), &[]).unwrap_err();
        assert_eq!((found.len(), found[0].code), (1, "WF0613"), "{path}");
    }
}

#[test]
fn loads() {
    check_with(
        "load('a.star', 'x')",
        &[("a.star", "load('main.star', 'y')\nx = 1")],
        expect![[r#"
            a.star:1:6: WF0615 files load each other: main.star -> a.star -> main.star
        "#]],
    );
    check_with(
        "load('a.star', 'x')",
        &[("a.star", "load('b.star', 'y')\nx = 1"), ("b.star", "\nload('a.star', 'x')\ny = 1")],
        expect![[r#"
            b.star:2:6: WF0615 files load each other: main.star -> a.star -> b.star -> a.star
        "#]],
    );
    check(
        "\nload('gone.star', 'x')",
        expect![[r#"
            main.star:2:6: WF0614 the file "gone.star" cannot be used: it does not exist
              hint: paths are relative to the directory of the workflow's source
        "#]],
    );
    check_with(
        "load('a.star', 'z')",
        &[("a.star", "x = 1")],
        expect![[r#"
            main.star:1:16: WF0609 module has no symbol `z`, did you mean `x`?
        "#]],
    );
    check_with(
        "load('a.star', 'x')",
        &[("a.star", "x = (")],
        expect![[r#"
            a.star:1:5: WF0602 unexpected new line, expected expression
        "#]],
    );
    check_with(
        "load('a.star', 'x')",
        &[("a.star", "x = 1 // 0")],
        expect![[r#"
            a.star:1:5: WF0609 floor division by zero: 1 // 0
        "#]],
    );
    check_with(
        "load('a.star', 'x')\nx.append(1)",
        &[("a.star", "x = []")],
        expect![[r#"
            main.star:2:1: WF0609 immutable
              hint: what a loaded file made cannot be changed; copy it first, with list(…) or dict(…)
        "#]],
    );
    // What a file loaded is not its own to hand on.
    check_with(
        "load('a.star', 'y')",
        &[("a.star", "load('b.star', 'y')\nx = 1"), ("b.star", "y = 1")],
        expect![[r#"
            main.star:1:16: WF0609 module symbol `y` is not exported
        "#]],
    );
}

#[test]
fn loads_are_bounded_in_depth() {
    let files: Vec<(String, String)> =
        (0..20).map(|n| (format!("f{n}.star"), format!("load('f{}.star', 'x')\nx = 1", n + 1))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    check_with(
        "load('f0.star', 'x')",
        &files,
        expect![[r#"
            f15.star:1:6: WF0616 files load each other more than 16 deep
        "#]],
    );
}

#[test]
fn a_file_that_two_files_load_is_run_once() {
    let files = [
        ("a.star", "load('c.star', 'x')\na = x"),
        ("b.star", "load('c.star', 'x')\nb = x"),
        ("c.star", "x = ask('x', prompt = 'x')"),
    ];
    check_with(
        "load('a.star', 'a')\nload('b.star', 'b')\nworkflow('w', same = [a == b], children = [a, b])",
        &files,
        expect![[r#"
            {workflow: "w", same: [true], children: [{ask: "x", prompt: "x"}, {ask: "x", prompt: "x"}]}
        "#]],
    );
}

#[test]
fn syntax_errors_have_their_place() {
    check(
        "x = = 1",
        expect![[r#"
            main.star:1:5: WF0602 unexpected symbol '=', expected expression
        "#]],
    );
    check(
        "workflow('w',\n  children = [\n\n",
        expect![[r#"
            main.star:2:14: WF0602 unexpected new line, expected expression
        "#]],
    );
    check(
        "x = 'abc",
        expect![[r#"
            main.star:1:5: WF0602 unfinished string literal
        "#]],
    );
    check(
        "def f(:\n  pass",
        expect![[r#"
            main.star:1:7: WF0602 unexpected symbol ':', expected identifier
        "#]],
    );
    check(
        "if True:\nx = 1",
        expect![[r#"
            main.star:2:1: WF0602 unexpected identifier 'x', expected new indentation block
        "#]],
    );
    check(
        "ask('a', from = 1)",
        expect![[r#"
            main.star:1:10: WF0602 cannot use reserved keyword `from`
        "#]],
    );
    check(
        "import os",
        expect![[r#"
            main.star:1:1: WF0602 cannot use reserved keyword `import`
        "#]],
    );
    check(
        "while True: pass",
        expect![[r#"
            main.star:1:1: WF0602 cannot use reserved keyword `while`
        "#]],
    );
    check(
        "class A: pass",
        expect![[r#"
            main.star:1:1: WF0602 cannot use reserved keyword `class`
        "#]],
    );
    check(
        "async def f(): pass",
        expect![[r#"
            main.star:1:1: WF0602 cannot use reserved keyword `async`
        "#]],
    );
    check(
        "def f(x: int): pass",
        expect![[r#"
            main.star:1:10: WF0602 type annotations are not allowed in this dialect
        "#]],
    );
    check(
        "\tx = 1",
        expect![[r#"
            main.star:1:1: WF0602 tabs are not allowed
        "#]],
    );
    check(
        "x = 1; return x",
        expect![[r#"
            main.star:1:8: WF0602 `return` cannot be used outside of a `def` function
        "#]],
    );
}

#[test]
fn runtime_errors_have_their_place() {
    check(
        "x = 1\ny = x + 'a'",
        expect![[r#"
            main.star:2:5: WF0609 operation `+` not supported for types `int` and `string`
        "#]],
    );
    check(
        "x = nope",
        expect![[r#"
            main.star:1:5: WF0609 variable `nope` not found, did you mean `None`?
        "#]],
    );
    check(
        "def f(x):\n  return x // 0\n\ny = f(1)",
        expect![[r#"
            main.star:2:10: WF0609 floor division by zero: 1 // 0
              hint: called at main.star:4:5
        "#]],
    );
    check(
        "fail('no luck.')",
        expect![[r#"
            main.star:1:1: WF0610 no luck
        "#]],
    );
    check(
        "def must(x):\n  if not x:\n    fail('x is needed, not', x)\n\n\nmust(0)",
        expect![[r#"
            main.star:3:5: WF0610 x is needed, not 0
              hint: called at main.star:6:1
        "#]],
    );
    check(
        "workflow('w', {}['x'])",
        expect![[r#"
            main.star:1:15: WF0609 key `"x"` was not found
        "#]],
    );
    check(
        "ask('a').prompt",
        expect![[r#"
            main.star:1:1: WF0609 object of type `node` has no attribute `prompt`
        "#]],
    );
    check(
        "test = test('t', argv = ['true'])",
        expect![[r#"
            main.star:1:8: WF0609 local variable `test` referenced before assignment
              hint: a variable hides the function of the same name in the whole file; give it another name
        "#]],
    );
    check(
        "open('/etc/passwd')",
        expect![[r#"
            main.star:1:1: WF0609 variable `open` not found, did you mean `len`?
        "#]],
    );
}

#[test]
fn format_strings_are_refused() {
    check(
        "x = 'a'\ny = f'{x}'",
        expect![[r#"
            main.star:2:5: WF0619 f-strings are not part of this language: they would eat the braces of templates
              hint: put values into a prompt with `vars`, or put texts together with `+` or `%`
        "#]],
    );
    check(
        "y = 'x {}'.format(1)\nz = 'y'.format()",
        expect![[r#"
            main.star:1:12: WF0619 `.format` is not part of this language: it would eat the braces of templates
              hint: put values into a prompt with `vars`, or put texts together with `+` or `%`
            main.star:2:9: WF0619 `.format` is not part of this language: it would eat the braces of templates
              hint: put values into a prompt with `vars`, or put texts together with `+` or `%`
        "#]],
    );
    check(
        "workflow('w', a = '{{ x }} %s {}' % 'y')",
        expect![[r#"
            {workflow: "w", a: "{{ x }} y {}"}
        "#]],
    );
}

#[test]
fn top_level_loops_and_conditions() {
    check(
        "nodes = []\nfor i in range(2):\n  if i > 0:\n    nodes.append(wait('w%d' % i, duration = '1s'))\nprint('x')\nworkflow('w', children = nodes)",
        expect![[r#"
            {workflow: "w", children: [{wait: "w1", duration: "1s"}]}
        "#]],
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_source() {
    check(
        "\u{feff}workflow('w')",
        expect![[r#"
            {workflow: "w"}
        "#]],
    );
}
