//! Which model does a role, why others do not, and what it costs.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use wf_effects::external::{AgentKind, AgentSpec, AgentTimeouts};
use wf_effects::models::catalog::{Wanted, Work};
use wf_effects::models::outage::{Health, Outages};
use wf_effects::models::price::{estimate, usd_micros};
use wf_effects::models::{
    Catalog, Feature, ModelRef, ModelSpec, ModelUsage, Price, PriceTable, ProviderKind, ProviderSpec, RoleSpec,
};
use wf_ir::node::Driver;
use wf_ir::{Decimal, Value};

use crate::support::{request, spec};

fn catalog() -> Catalog {
    let mut far = spec(ProviderKind::OpenAi, "https://far.example/v1");
    far.models.insert("plain".to_owned(), ModelSpec::default());
    let small = ModelSpec { context: Some(4_000), features: Feature::ALL.into(), ..ModelSpec::default() };
    far.models.insert("a/b/small".to_owned(), small);
    let near = spec(ProviderKind::OpenAi, "http://127.0.0.1:1/v1");
    let fake = spec(ProviderKind::Mock, "");
    let role = |needs: &[Feature], context, models: &[&str]| RoleSpec {
        needs: needs.iter().copied().collect(),
        context,
        models: models.iter().map(|model| ModelRef::parse(model).unwrap()).collect(),
        ..RoleSpec::default()
    };
    let list = ["gone/x", "far/plain", "far/a/b/small", "far/org/tiny", "near/org/tiny"];
    let cheap =
        RoleSpec { price_max: Some(3_000_000), ..role(&[], None, &["far/a/b/small", "far/org/tiny", "fake/any"]) };
    Catalog {
        providers: [("far", far), ("near", near), ("fake", fake)].map(|(name, it)| (name.to_owned(), it)).into(),
        agents: std::collections::BTreeMap::new(),
        absent: std::collections::BTreeMap::new(),
        roles: [
            ("writer", role(&[Feature::Json], Some(8_000), &list)),
            ("small", role(&[Feature::Tools], None, &["far/a/b/small"])),
            ("cheap", cheap),
            ("nobody", role(&[], None, &[])),
            ("lost", role(&[Feature::Tools], None, &["far/plain", "far/unlisted"])),
        ]
        .map(|(name, it)| (name.to_owned(), it))
        .into(),
        prices: PriceTable::parse(
            "source = \"a test\"\nas_of = \"2026-01-01\"\n[[row]]\nhost = \"far.example\"\nmodel = \"a/b/small\"\ninput = 1\noutput = 2.5",
        )
        .unwrap(),
    }
}

fn check(role: &str, wanted: &[&str], health: &Health, expected: Expect) {
    let wanted = Wanted { needs: wanted.iter().map(|need| (*need).to_owned()).collect(), ..Wanted::default() };
    let shown = match catalog().resolve(role, &wanted, health) {
        Ok(resolved) => resolved.to_value().to_json(),
        Err(unsatisfied) => format!("nobody:\n{}", unsatisfied.reasons.join("\n")),
    };
    expected.assert_eq(&shown);
}

#[test]
fn the_first_that_can_do_it_does_it() {
    check(
        "writer",
        &[],
        &Health::new(),
        expect![[
            r#"{"model":"org/tiny","output_tokens_max":8192,"params":{},"passed_over":[{"model":"gone/x","why":"there is no provider `gone`"},{"model":"far/plain","why":"it is not known to have `json`"},{"model":"far/a/b/small","why":"its context is 4000 tokens, 8000 are needed"}],"price":{"cached":100000,"input":1000000,"output":4000000},"provider":"far"}"#
        ]],
    );
    check(
        "small",
        &[],
        &Health::new(),
        expect![[
            r#"{"model":"a/b/small","output_tokens_max":8192,"params":{},"passed_over":[],"price":{"input":1000000,"output":2500000},"provider":"far"}"#
        ]],
    );
    check(
        "cheap",
        &[],
        &Health::new(),
        expect![[
            r#"{"model":"a/b/small","output_tokens_max":8192,"params":{},"passed_over":[],"price":{"input":1000000,"output":2500000},"provider":"far"}"#
        ]],
    );
}

#[test]
fn a_workflow_may_want_more() {
    check(
        "small",
        &["json"],
        &Health::new(),
        expect![[
            r#"{"model":"a/b/small","output_tokens_max":8192,"params":{},"passed_over":[],"price":{"input":1000000,"output":2500000},"provider":"far"}"#
        ]],
    );
    check(
        "small",
        &["context:5000"],
        &Health::new(),
        expect![[r#"
        nobody:
        far/a/b/small: its context is 4000 tokens, 5000 are needed"#]],
    );
    check(
        "small",
        &["wings"],
        &Health::new(),
        expect![[r#"
        nobody:
        `wings` is no capability of a model"#]],
    );
}

#[test]
fn nobody_is_said_in_full() {
    check(
        "lost",
        &[],
        &Health::new(),
        expect![[r#"
        nobody:
        far/plain: it is not known to have `tools`
        far/unlisted: it is not known to have `tools`"#]],
    );
    check(
        "nobody",
        &[],
        &Health::new(),
        expect![[r#"
        nobody:
        the role `nobody` names no model"#]],
    );
    check(
        "unknown",
        &[],
        &Health::new(),
        expect![[r#"
        nobody:
        neither the role `unknown` nor the role `default` is configured"#]],
    );
}

#[test]
fn whoever_is_out_is_passed_over_unless_all_are() {
    let outages = Outages::default();
    outages.note("far", 0, Some(20_000), "answered 503");
    check(
        "writer",
        &[],
        &outages.at(1),
        expect![[
            r#"{"model":"org/tiny","output_tokens_max":8192,"params":{},"passed_over":[{"model":"gone/x","why":"there is no provider `gone`"},{"model":"far/plain","why":"it is not known to have `json`"},{"model":"far/a/b/small","why":"its context is 4000 tokens, 8000 are needed"},{"model":"far/org/tiny","why":"out: answered 503"}],"price":{"cached":100000,"input":1000000,"output":4000000},"provider":"near"}"#
        ]],
    );
    outages.note("near", 0, Some(10_000), "no connection");
    check(
        "writer",
        &[],
        &outages.at(1),
        expect![[
            r#"{"model":"org/tiny","output_tokens_max":8192,"params":{},"passed_over":[{"model":"gone/x","why":"there is no provider `gone`"},{"model":"far/plain","why":"it is not known to have `json`"},{"model":"far/a/b/small","why":"its context is 4000 tokens, 8000 are needed"},{"model":"far/org/tiny","why":"out: answered 503"}],"price":{"cached":100000,"input":1000000,"output":4000000},"provider":"near"}"#
        ]],
    );
}

#[test]
fn nothing_configured_is_the_mock() {
    let resolved = Catalog::default().resolve("writer", &Wanted::default(), &Health::new()).unwrap();
    assert_eq!(resolved.chosen.to_string(), "mock/mock");
}

#[test]
fn the_digest_is_of_what_decides_answers_and_costs() {
    let digest = catalog().digest();
    let mut other = catalog();
    other.providers.get_mut("far").unwrap().timeouts.idle_ms += 1;
    assert_eq!(other.digest(), digest);
    other.prices = PriceTable::default();
    assert_ne!(other.digest(), digest);
    let mut other = catalog();
    other.roles.get_mut("small").unwrap().params.insert("temperature".to_owned(), Value::Int(1));
    assert_ne!(other.digest(), digest);
}

#[test]
fn costs_are_exact_and_rounded_up() {
    let price = Price { input: 1_000_000, output: 4_000_000, cached: Some(100_000), cache_write: Some(1_250_000) };
    let usage = |input, output, cached, written| ModelUsage {
        input_tokens: input,
        output_tokens: output,
        cached_tokens: cached,
        cache_write_tokens: written,
        reasoning_tokens: None,
    };
    let cases = [
        (usage(Some(10), Some(1), None, None), Some(14)),
        (usage(Some(10), Some(0), Some(9), None), Some(2)),
        (usage(Some(10), Some(0), Some(4), Some(4)), Some(8)),
        // More cached than read is a lie.
        (usage(Some(10), Some(0), Some(99), Some(99)), Some(1)),
        (usage(None, Some(1), None, None), None),
        (usage(Some(1), None, None, None), None),
        (usage(Some(u64::MAX), Some(u64::MAX), None, None), Some(u64::MAX)),
    ];
    for (usage, cost) in cases {
        assert_eq!(price.cost(&usage), cost, "{usage:?}");
    }
    let estimate = estimate(&request("hello"), Some(&price));
    // 13 bytes of text, two messages, 100 tokens of output; the input as if all went into the cache.
    assert_eq!((estimate.tokens, estimate.cost_usd_micros), (4 + 3 + 32 + 100, 49 + 400));
}

#[test]
fn a_sum_with_something_unknown_is_unknown() {
    let known = ModelUsage { input_tokens: Some(3), output_tokens: Some(4), ..ModelUsage::NOTHING };
    assert_eq!(ModelUsage::NOTHING.plus(known).plus(known).output_tokens, Some(8));
    assert_eq!(known.plus(ModelUsage::default()).input_tokens, None);
}

#[test]
fn tables_of_prices() {
    let vendored = PriceTable::vendored().unwrap();
    let facts = (vendored.len(), vendored.source(), vendored.as_of());
    assert_eq!(facts, (20, "https://github.com/anomalyco/models.dev", "2026-11-21"));
    // Whoever changes a figure changes what runs record, and sees it here.
    expect!["ceb0e3315536f4a446c0d2f84f23d9c6bf7a24476cfb157b6a9efb3d5f4d0f27"]
        .assert_eq(&vendored.digest().to_string());
    assert_eq!(usd_micros(&Value::Decimal(Decimal::from_micros(100_000).unwrap())), Some(100_000));
    assert_eq!(usd_micros(&Value::Int(-1)), None);
    assert_eq!(usd_micros(&Value::from("1")), None);
    let row = "[[row]]\nhost = \"h\"\nmodel = \"m\"\ninput = 1\noutput = 2\n";
    let head = "source = \"s\"\nas_of = \"d\"\n";
    let shown: Vec<String> = [format!("{head}{row}{row}"), row.to_owned(), format!("{head}{}", row.replace('1', "-1"))]
        .iter()
        .map(|text| PriceTable::parse(text).unwrap_err().to_string().lines().next().unwrap().to_owned())
        .collect();
    expect![[r#"
        the table of prices: h: m: there are two rows
        the table of prices: TOML parse error at line 1, column 1
        the table of prices: h: m: a price is a number of at least 0"#]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn a_price_of_the_table_is_taken_unless_the_user_says_another() {
    let resolve = |base_url: &str, price: Option<Price>, prices: PriceTable| {
        let model = ModelSpec { price, ..ModelSpec::default() };
        let provider = ProviderSpec {
            models: BTreeMap::from([("claude-haiku-4-5".to_owned(), model)]),
            ..spec(ProviderKind::Anthropic, base_url)
        };
        let role = RoleSpec {
            models: vec![ModelRef { provider: "far".to_owned(), model: "claude-haiku-4-5".to_owned() }],
            ..RoleSpec::default()
        };
        let catalog = Catalog {
            providers: BTreeMap::from([("far".to_owned(), provider)]),
            roles: BTreeMap::from([("default".to_owned(), role)]),
            prices,
            ..Catalog::default()
        };
        let resolved = catalog.resolve("default", &Wanted::default(), &Health::default()).unwrap();
        (resolved.price, catalog.digest())
    };
    let table = || PriceTable::vendored().unwrap();
    let own = Price { input: 7, output: 8, cached: None, cache_write: None };
    let (vendored, digest) = resolve("https://api.anthropic.com/v1", None, table());
    let listed = Price { input: 1_000_000, output: 5_000_000, cached: Some(100_000), cache_write: Some(1_250_000) };
    assert_eq!(vendored, Some(listed));
    assert_eq!(resolve("https://api.anthropic.com/v1", Some(own), table()).0, Some(own));
    // Who stands between may charge something else.
    assert_eq!(resolve("https://api.anthropic.com.example.org/v1", None, table()).0, None);
    // A run records the digest of its catalog, and with it that of the table.
    let (none, other) = resolve("https://api.anthropic.com/v1", None, PriceTable::default());
    assert_eq!((none, digest == other), (None, false));
    assert_eq!(resolve("https://api.anthropic.com/v1", None, table()).1, digest);
    // The most that a call can cost is what comes of the same price each time.
    let usage = ModelUsage {
        input_tokens: Some(1_000_000),
        output_tokens: Some(10),
        cached_tokens: Some(500_000),
        cache_write_tokens: Some(100_000),
        reasoning_tokens: None,
    };
    assert_eq!(listed.cost(&usage), Some(400_000 + 50_000 + 125_000 + 50));
}

/// Who does a role, for each kind of work.
fn who(models: &[&str], change: impl Fn(&mut RoleSpec)) -> String {
    let agent = |kind| AgentSpec {
        kind,
        command: vec!["x".to_owned()],
        env: Vec::new(),
        state: Vec::new(),
        reads: Vec::new(),
        network: Vec::new(),
        reserve: wf_kernel::Amount { tokens: 1, cost_usd_micros: 1 },
        price: None,
        timeouts: AgentTimeouts::default(),
    };
    let agents = [("talks", agent(AgentKind::Acp)), ("prints", agent(AgentKind::Claude))];
    let mut role =
        RoleSpec { models: models.iter().map(|it| ModelRef::parse(it).unwrap()).collect(), ..RoleSpec::default() };
    change(&mut role);
    let catalog = Catalog {
        agents: agents.map(|(name, agent)| (name.to_owned(), agent)).into(),
        roles: [("default".to_owned(), role)].into(),
        ..catalog()
    };
    let works = [
        ("ask", Work::Ask),
        ("agent", Work::Agent(Driver::Native)),
        ("acp", Work::Agent(Driver::Acp)),
        ("cli", Work::Agent(Driver::Cli)),
    ];
    let shown = works.map(|(name, work)| {
        let wanted = Wanted { work, ..Wanted::default() };
        match catalog.resolve("default", &wanted, &Health::new()) {
            Ok(resolved) => format!("{name}: {}", resolved.chosen),
            Err(unsatisfied) => format!("{name}: nobody: {}", unsatisfied.reasons.join("; ")),
        }
    });
    shown.join("\n")
}

#[test]
fn agents_work_in_trees_and_models_answer() {
    expect![[r#"
        ask: far/plain
        agent: agents/talks
        acp: agents/talks
        cli: agents/prints"#]]
    .assert_eq(&who(&["agents/talks", "agents/prints", "far/plain"], |_| {}));
    expect![[r#"
        ask: nobody: agents/gone: there is no agent `gone`; agents/talks: it is an agent, which does no `ask`
        agent: agents/talks
        acp: agents/talks
        cli: nobody: agents/gone: there is no agent `gone`; agents/talks: it is spoken to as `acp`, and the driver `cli` is wanted"#]]
    .assert_eq(&who(&["agents/gone", "agents/talks"], |_| {}));
    expect![[r#"
        ask: far/plain
        agent: far/plain
        acp: nobody: far/plain: it is a model, and an agent with the driver `acp` is wanted
        cli: nobody: far/plain: it is a model, and an agent with the driver `cli` is wanted"#]]
    .assert_eq(&who(&["far/plain"], |_| {}));
    let limited = |role: &mut RoleSpec| role.price_max = Some(1);
    let shown = who(&["agents/talks"], limited);
    assert!(shown.contains("agent: nobody: agents/talks: what its tokens cost is up to it"), "{shown}");
    let needy = |role: &mut RoleSpec| role.needs = [Feature::Tools, Feature::Json].into();
    assert!(who(&["agents/prints"], needy).contains("agent: agents/prints"));
}
