//! What a machine must have, and what this version cannot do yet.

use expect_test::{Expect, expect};
use wf_ir::{Catalog, RoleStatus, preflight, unsupported};

use super::{render, workflow, workflow_of};

const NODES: &str = r#"{ask: a, prompt: "x"}, {ask: b, prompt: "x", role: big}, {ask: c, prompt: "x", role: odd},
    {branch: d, children: [{test: t, argv: [make, test]}, {test: u, argv: [./run]}, {command: v, argv: ["{{ inputs }}"]},
    {command: w, argv: [git]}]}"#;

fn catalog() -> Catalog {
    let unsatisfied = RoleStatus::Unsatisfied { reason: "no model has `tools`".to_owned() };
    Catalog {
        roles: [("default".to_owned(), RoleStatus::Satisfied), ("big".to_owned(), unsatisfied)].into(),
        agents: [].into(),
        programs: ["git".to_owned()].into(),
        trusted: true,
        has_repository: true,
    }
}

fn check(catalog: &Catalog, expected: Expect) {
    expected.assert_eq(&render(&preflight(&workflow_of(NODES), catalog)));
}

#[test]
fn roles_and_programs() {
    check(
        &catalog(),
        expect![[r#"
        1:36: WF0901 nothing here satisfies the role `big` of `b`: no model has `tools`
             hint: configure a model for it, or try the workflow with the mock provider
        1:70: WF0901 nothing here satisfies the role `odd` of `c`: it is not configured
             hint: configure a model for it, or try the workflow with the mock provider
        2:28: WF0902 `d/t` runs `make`, which is not found here
             hint: install it, or put its directory on PATH
    "#]],
    );
}

#[test]
fn a_role_whose_model_has_no_key() {
    let mut catalog = catalog();
    catalog.programs.insert("make".to_owned());
    catalog.roles.insert("odd".to_owned(), RoleStatus::Satisfied);
    let reason = "local/org/tiny: there is no key in the variable KEY".to_owned();
    catalog.roles.insert("big".to_owned(), RoleStatus::Keyless { reason });
    check(
        &catalog,
        expect![[r#"
        1:36: WF0905 there is no key for the role `big` of `b`: local/org/tiny: there is no key in the variable KEY
             hint: `whaleflow doctor` lists where keys are looked for; or give --mock with rules of the mock
    "#]],
    );
}

#[test]
fn trust_and_repository() {
    let mut catalog = catalog();
    catalog.roles.insert("big".to_owned(), RoleStatus::Satisfied);
    catalog.roles.insert("odd".to_owned(), RoleStatus::Satisfied);
    catalog.programs.insert("make".to_owned());
    check(&catalog, expect![""]);
    catalog.trusted = false;
    check(
        &catalog,
        expect![[r#"
        2:28: WF0903 `d/t` runs a command, and this repository is not trusted
             hint: read the workflow, then run `whaleflow trust`
    "#]],
    );
    catalog.has_repository = false;
    check(
        &catalog,
        expect![[r#"
        2:5: WF0904 `d` works in a tree, and there is no repository here
             hint: run it inside a git repository, or name one with --repo
    "#]],
    );
    let fixture = workflow(&format!("{{workflow: w, fixture: here, children: [{NODES}]}}"));
    expect![""].assert_eq(&render(&preflight(&fixture, &catalog)));
    let nothing = workflow_of("{wait: w, duration: 3s}");
    expect![""].assert_eq(&render(&preflight(&nothing, &Catalog::default())));
}

#[test]
fn agents_have_a_status_of_their_own() {
    let workflow = workflow_of(
        r#"{agent: a, prompt: "x"}, {ask: b, prompt: "x"}, {agent: c, prompt: "x", driver: acp},
        {agent: d, prompt: "x", driver: acp}"#,
    );
    let none = || RoleStatus::Unsatisfied { reason: "no agent speaks it".to_owned() };
    let asks = RoleStatus::Unsatisfied { reason: "agents/bot: it is an agent".to_owned() };
    let agents = [("a", RoleStatus::Program), ("c", none()), ("d", none())];
    let mut catalog = Catalog {
        roles: [("default".to_owned(), asks)].into(),
        agents: agents.map(|(path, status)| (path.to_owned(), status)).into(),
        programs: [].into(),
        trusted: false,
        has_repository: true,
    };
    expect![[r#"
        1:13: WF0903 `a` is done by an agent that runs commands, and this repository is not trusted
             hint: read the workflow, then run `whaleflow trust`
        1:38: WF0901 nothing here satisfies the role `default` of `b`: agents/bot: it is an agent
             hint: configure a model for it, or try the workflow with the mock provider
        1:61: WF0901 nothing here satisfies the role `default` of `c`: no agent speaks it
             hint: configure a model for it, or try the workflow with the mock provider
    "#]]
    .assert_eq(&render(&preflight(&workflow, &catalog)));
    catalog.trusted = true;
    catalog.agents.remove("c");
    catalog.agents.remove("d");
    catalog.roles.insert("default".to_owned(), RoleStatus::Satisfied);
    expect![""].assert_eq(&render(&preflight(&workflow, &catalog)));
}

#[test]
fn what_is_not_supported_yet() {
    let workflow = workflow_of(
        r#"{agent: a, prompt: "x"}, {agent: b, prompt: "x", resumes: a}, {agent: c, prompt: "x", driver: acp},
        {agent: d, prompt: "x", driver: cli}, {memory: e, op: read, key: k}, {call: f, workflow: other},
        {rlm: g, context: a, query: "x"}"#,
    );
    expect![[r#"
        1:38: WF0804 `b`: `resumes` is not supported yet
        2:47: WF0802 `e`: `memory` is not supported yet
        2:78: WF0803 `f`: `call` is not supported yet
        3:9: WF0801 `g`: `rlm` is not supported yet
    "#]]
    .assert_eq(&render(&unsupported(&workflow)));
}
