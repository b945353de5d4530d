//! Builds in trees begin with what the checkout has built, and can build all of it again.

use serde_json::json;

use crate::place::Place;

/// A library, one that it needs, and a procedural macro: each kind of file that rustc writes anew.
const FILES: [(&str, &str); 8] = [
    (".gitignore", "/target\n"),
    (
        "Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\nbase = { path = \"base\" }\n\
         words = { path = \"words\" }\n\n[workspace]\nmembers = [\"base\", \"words\"]\n",
    ),
    (
        "src/lib.rs",
        "pub fn greet() -> &'static str { words::hello!() }\n#[test]\nfn greets() { assert_eq!(greet(), base::WORD); }\n",
    ),
    ("src/main.rs", "fn main() { println!(\"{}\", app::greet()); }\n"),
    ("base/Cargo.toml", "[package]\nname = \"base\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
    ("base/src/lib.rs", "pub const WORD: &str = \"hello\";\n"),
    (
        "words/Cargo.toml",
        "[package]\nname = \"words\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[lib]\nproc-macro = true\n",
    ),
    (
        "words/src/lib.rs",
        "#[proc_macro]\npub fn hello(_: proc_macro::TokenStream) -> proc_macro::TokenStream { \"\\\"hello\\\"\".parse().unwrap() }\n",
    ),
];

/// Every crate is edited and built, twice in one tree; side by side with another tree.
const FLOW: &str = r##"
def fix(name):
    edit = "for file in src/lib.rs src/main.rs base/src/lib.rs words/src/lib.rs; do echo '// %s' >> $file; done" % name
    return branch(name, writes = ["**"], children = [
        command("begun", argv = ["sh", "-c", "find target -name '*.rlib' -o -name '*.so' | wc -l"]),
        command("edit", argv = ["sh", "-c", edit], writes = ["**"]),
        command("build", argv = ["cargo", "build", "--offline"]),
        command("again", argv = ["sh", "-c", edit], writes = ["**"]),
        test("tests", argv = ["cargo", "test", "--offline"]),
    ])

workflow("builds", children = [parallel("fixes", children = [fix("one"), fix("two")])], outputs = {
    "begun": "[fixes.one.results.begun.stdout, fixes.two.results.begun.stdout]",
    "passed": "[fixes.one.results.tests.passed, fixes.two.results.tests.passed]",
})
"##;

/// A variable of whoever runs the tests.
fn variable(name: &str) -> Option<String> {
    std::env::vars_os().find(|(key, _)| key == name).and_then(|(_, value)| value.into_string().ok())
}

#[test]
fn what_was_linked_from_a_seed_is_built_anew() {
    let place = Place::new();
    for (name, text) in FILES {
        place.write(name, text);
    }
    // By these cargo finds its tool chain.
    let vars = ["HOME", "CARGO_HOME", "RUSTUP_HOME"].map(|name| (name, variable(name)));
    let env: Vec<(&str, &str)> = vars.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    let mut cargo = place.command(&place.dir(), "cargo", &["test", "--offline", "--quiet"]);
    let built = cargo.envs(env.iter().copied()).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    place.introduce();
    place.write("flows/builds.star", FLOW);
    place.commit_all();
    for _ in 0..2 {
        let ran = place.run_env(&env, &["run", "flows/builds.star", "--trust", "--json"]).ok();
        assert_eq!((&ran["status"], &ran["verified"]), (&json!("succeeded"), &json!("passed")), "{ran}");
        assert_eq!(ran["outputs"], json!({ "begun": ["3\n", "3\n"], "passed": [true, true] }));
    }
}
