//! Rendering: strict, single pass, bounded.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use wf_effects::template::{RENDERED_BYTES_MAX, Scope, TemplateError, Templates};
use wf_ir::Value;
use wf_ir::template::{FILTERS, FUNCTIONS, FaultKind, MORE_TESTS, TESTS, reads};

const VALUES: &str = r#"{
    "name": "wren", "n": 3, "half": 0.5, "yes": true, "nothing": null, "braces": "{{ name }} {% if %}",
    "list": [1, "two", {"three": 3}], "map": {"b": [1, 2], "a": "x\"y"}, "text": "one\ntwo\n\nthree"
}"#;

fn scope(json: &str) -> Scope {
    let Value::Map(entries) = Value::from_json(json).unwrap() else { panic!("a map") };
    let entries: BTreeMap<_, _> = entries.into_iter().map(|(name, value)| (name, Arc::new(value))).collect();
    Scope::new(Arc::new(entries))
}

fn render(source: &str) -> String {
    match Templates::default().render(source, scope(VALUES)) {
        Ok(text) => text,
        Err(error) => format!("error: {error}"),
    }
}

fn check(source: &str, expect: Expect) {
    expect.assert_eq(&render(source));
}

#[test]
fn text_outside_of_tags_stays_as_it_is() {
    check(
        "a {b} 'c' <d> & é\n\n",
        expect![[r#"
        a {b} 'c' <d> & é

    "#]],
    );
    check(
        "{{ name }}\n",
        expect![[r#"
        wren
    "#]],
    );
    check("<{{ map.a }}>", expect![[r#"<x"y>"#]]);
}

#[test]
fn values_are_inserted_as_text_or_json() {
    check(
        "{{ n }} {{ half }} {{ yes }} {{ nothing }} {{ list }} {{ map }}",
        expect![[r#"3 0.5 true null [1,"two",{"three":3}] {"a":"x\"y","b":[1,2]}"#]],
    );
    check("{{ map.b[1] }} {{ list[2].three }} {{ map['a'] }} {{ list|length }}", expect![[r#"2 3 x"y 3"#]]);
    check("{{ n / 2 }} {{ n // 2 }} {{ n + 1 }} {{ 1 / 3 }}", expect!["1.5 1 4 0.333333"]);
    check("{% for key, value in map|items %}{{ key }}={{ value }};{% endfor %}", expect![[r#"a=x"y;b=[1,2];"#]]);
    check("{% for x in list %}{{ loop.index }}:{{ x }} {% endfor %}", expect![[r#"1:1 2:two 3:{"three":3} "#]]);
    check("{{ [n, {'k': name}]|tojson }}", expect![[r#"[3,{"k":"wren"}]"#]]);
    check("{{ list|map(attribute='three')|list }}", expect!["error: line 1: undefined value"]);
    check("{{ [list[2]]|map(attribute='three')|join('-') }}", expect!["3"]);
    check("{{ list|join(', ') }}", expect![[r#"1, two, {"three":3}"#]]);
    check(
        "{{ text|indent(2) }}",
        expect![[r#"
        one
          two

          three"#]],
    );
    check("{{ name|replace('w', 'W')|upper }} {{ text|lines|last }}", expect!["WREN three"]);
}

#[test]
fn what_is_undefined_is_an_error() {
    check("a\n{{ nobody }}", expect!["error: line 2: `nobody` is undefined"]);
    check("{{ map.c }}", expect!["error: line 1: `map.c` is undefined"]);
    check("{{ list[7] }}", expect!["error: line 1: `list[7]` is undefined"]);
    check("{% if nobody %}{% endif %}", expect!["error: line 1: `nobody` is undefined"]);
    check("{% for x in nobody %}{% endfor %}", expect!["error: line 1: `nobody` is undefined"]);
    check("{{ nobody|default('somebody') }} {{ map.c is defined }}", expect!["somebody false"]);
}

#[test]
fn values_are_never_read_as_templates() {
    check("{{ braces }}", expect!["{{ name }} {% if %}"]);
    check("{% raw %}{{ name }}{% endraw %}{# {{ nobody }} #}!", expect!["{{ name }}!"]);
}

#[test]
fn syntax_errors_have_a_line() {
    check(
        "one\n{{ name",
        expect!["error: line 2: syntax error: unexpected end of input, expected end of variable block"],
    );
    check("{% for %}", expect!["error: line 1: syntax error: unexpected end of block, expected in"]);
    check("{% endif %}", expect!["error: line 1: syntax error: unknown statement endif"]);
    check(r"{{ '\x' }}", expect!["error: line 1: syntax error: bad string escape"]);
}

#[test]
fn what_templates_cannot_do_is_refused_by_name() {
    check("{% include 'x' %}", expect!["error: line 1: the tag `include` is not available in prompts"]);
    check("\n{%- macro f() %}{% endmacro %}", expect!["error: line 2: the tag `macro` is not available in prompts"]);
    check("{{ name|pprint }}", expect!["error: line 1: the filter `pprint` is not available in prompts"]);
    check("{{ name is sameas(name) }}", expect!["error: line 1: the test `sameas` is not available in prompts"]);
    check("{{ name is not upper }}", expect!["error: line 1: the test `upper` is not available in prompts"]);
    check("{{ dict(a=1) }}", expect!["error: line 1: the function `dict` is not available in prompts"]);
    check("{{ 'x' * 10 }}", expect!["error: line 1: multiplication is not available in prompts"]);
    check(
        "{% set x = name ~ name %}",
        expect!["error: line 1: `set` cannot build larger values; insert them directly"],
    );
    check("{% set x %}y{% endset %}", expect!["error: line 1: `set` needs a value: `{% set name = value %}`"]);
    check("{% for x in [name, name] %}{% endfor %}", expect!["error: line 1: a list in `for` can hold constants only"]);
    check(
        "{% for x in list recursive %}{% endfor %}",
        expect!["error: line 1: recursive loops are not available in prompts"],
    );
    check(
        "{% with x = 1 if yes else [name, name] %}{% endwith %}",
        expect!["error: line 1: a list in `with` can hold constants only"],
    );
    check("{% for x in ['a', 1] %}{{ x }}{% endfor %}", expect!["a1"]);
    check("{% with x = list[n - 3] %}{{ x }}{% endwith %}{% set y = map['a'] %}{{ y }}", expect![[r#"1x"y"#]]);
    check("{{ '{% include %}' }}{{ {'a': {'b': 1}}.a.b }}", expect!["{% include %}1"]);
}

#[test]
fn hidden_tags_are_found() {
    let refused = expect!["error: line 1: the tag `include` is not available in prompts"];
    for source in [
        "{% raw %}{%-- endraw %}{# {% endraw %}{% include 'x' %}#}",
        "{# #}{%- include 'x' %}",
        "{{ '}}' }}{% include 'x' %}",
        "{{ \"\\\"}}\" }}{% include 'x' %}",
        "{%- raw -%}{# {%- endraw -%}{% include 'x' %}",
        "{% if (1) %}{% include 'x' %}{% endif %}",
    ] {
        assert_eq!(render(source), refused.data(), "{source}");
    }
}

#[test]
fn bombs_end() {
    let nested = "{% for a in range(100000) %}".repeat(5) + "x" + &"{% endfor %}".repeat(5);
    check(&nested, expect!["error: line 1: the template is too much work"]);
    check(
        &("{% for a in range(100000) %}".to_owned() + &"y".repeat(1000) + "{% endfor %}"),
        expect!["error: line 1: the rendered text is larger than 1048576 bytes"],
    );
    let replaced = "{{ 'aaaaaaaaaa'".to_owned() + &"|replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')".repeat(20) + " }}";
    check(&replaced, expect!["error: line 1: invalid operation: the text is larger than 1048576 bytes"]);
    check(
        "{{ range(100000)|join('xxxxxxxxxxxxxxxx') }}",
        expect!["error: line 1: invalid operation: the text is larger than 1048576 bytes"],
    );
    check(
        "{{ 'x'|indent(1000000000) }}",
        expect!["error: line 1: invalid operation: the text is larger than 1048576 bytes"],
    );
    check(
        &format!("{{{{ {} }}}}", vec!["name"; 100].join(" ~ ")),
        expect!["error: line 1: more than 64 texts are joined in one tag"],
    );
    let deep = "{{ ".to_owned() + &"[".repeat(5000) + &"]".repeat(5000) + " }}";
    check(&deep, expect!["error: line 1: a tag of 10006 bytes, at most 1024 are allowed"]);
    let chain = "{% if yes %}".to_owned() + &"{% elif yes %}".repeat(5000) + "{% endif %}";
    check(&chain, expect!["error: line 1: more than 64 `elif`"]);
    let deep = "{% if true %}".repeat(5000) + &"{% endif %}".repeat(5000);
    check(&deep, expect!["error: line 1: syntax error: template exceeds maximum recursion limits"]);
    check(
        &"x".repeat(RENDERED_BYTES_MAX + 1),
        expect!["error: line 1: the rendered text is larger than 1048576 bytes"],
    );
}

#[test]
fn reading_large_values_over_and_over_ends() {
    let large = format!(r#"{{"big": "{}"}}"#, "x".repeat(1 << 20));
    let source = "{% for a in range(1000) %}{% if big == a %}{% endif %}{% endfor %}";
    let error = Templates::default().render(source, scope(&large)).unwrap_err();
    expect!["line 1: the template is too much work"].assert_eq(&error.to_string());
}

#[test]
fn own_names_come_first_and_templates_are_kept() {
    let templates = Templates::default();
    for n in 0..3 {
        let scope = scope(VALUES).with("n", Arc::new(Value::Int(n)));
        assert_eq!(templates.render("{{ name }} {{ n }}", scope).unwrap(), format!("wren {n}"));
    }
}

const PIECES: [&str; 40] = [
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{#",
    "#}",
    "{%-",
    "-%}",
    "if ",
    "elif ",
    "else",
    "endif",
    "for x in ",
    "endfor",
    "raw",
    "endraw",
    "set y = ",
    "name",
    "list",
    "map",
    "x",
    ".a",
    "[0]",
    "['a']",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    " ~ ",
    " + ",
    "|join(',')",
    "|length",
    "|tojson",
    " is defined",
    "'",
    "\\",
    "\n",
    "ä",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rendering_is_total(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24)) {
        let source = pieces.concat();
        let rendered = Templates::default().render(&source, scope(VALUES));
        // What is found before a run and what is found in one agree on what is no template at all.
        match reads(&source) {
            Ok(_) => prop_assert!(
                !rendered.is_err_and(|error| error.message.contains("syntax error")), "{}", source
            ),
            Err(fault) => prop_assert_eq!(rendered.unwrap_err().message, TemplateError::from(fault).message),
        }
    }

    #[test]
    fn well_formed_pieces_render(texts in prop::collection::vec("[a-z{}%#]{0,4}", 0..6), n in 0..9_i64) {
        let source: String = texts.iter().map(|text| format!("{{% raw %}}{text}{{% endraw %}}{{{{ n }}}}")).collect();
        let expected: String = texts.iter().map(|text| format!("{text}{n}")).collect();
        let scope = scope(VALUES).with("n", Arc::new(Value::Int(n)));
        prop_assert_eq!(Templates::default().render(&source, scope), Ok(expected));
    }
}

#[test]
fn what_is_listed_is_provided() {
    let known = |source: String| !render(&source).contains("unknown");
    for name in FILTERS {
        assert!(known(format!("{{{{ name|{name} }}}}")), "{name}");
    }
    for name in TESTS.into_iter().chain(MORE_TESTS) {
        assert!(known(format!("{{{{ name is {name} }}}}")), "{name}");
    }
    for name in FUNCTIONS {
        assert!(known(format!("{{{{ {name}(1) }}}}")), "{name}");
    }
    assert_eq!(reads("{{ name|nothing }}").unwrap_err().kind, FaultKind::Denied);
}
