//! Agents that are programs of their own, from the configuration to the replayed run.

use expect_test::{Expect, expect};
use serde_json::json;

use crate::fleet::until;
use crate::hostile_trees::survivors;
use crate::place::Place;

/// An agent that speaks the Agent Client Protocol, as far as it must. `$1` is what it hands back.
const AGENT: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo 'agent 1.2.3'; exit 0; }
said=$1
say() { printf '{"jsonrpc":"2.0",%s}\n' "$1"; }
while IFS= read -r line; do
    id=$(printf %s "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
    case $line in
    *'"method":"initialize"'*) say '"id":'"$id"',"result":{"protocolVersion":1}' ;;
    *'"method":"session/new"'*) say '"id":'"$id"',"result":{"sessionId":"s-1"}' ;;
    *'"method":"session/prompt"'*)
        echo two > src/a.txt
        say '"method":"session/update","params":{"sessionId":"s-1","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"'"$said"'"}}}'
        say '"id":'"$id"',"result":{"stopReason":"end_turn","usage":{"inputTokens":10,"outputTokens":2}}' ;;
    esac
done
"#;

const FLOW: &str = r#"
workflow(
    "fixes",
    children = [
        branch("line", writes = ["src/**"], children = [
            agent("fix", role = "fixer", prompt = "Fix it.", writes = ["src/**"],
                output = schema.object({"n": schema.integer()})),
            test("holds", argv = ["grep", "-q", "two", "src/a.txt"]),
        ]),
    ],
    outputs = {"n": "line.results.fix.n", "passed": "line.results.holds.passed"},
)
"#;

/// An agent that loads sessions. The first time that it is asked, it begins and comes to no end. What it hears is in a
/// file of its own, with what is in the tree at that time; `$1` is its directory.
const STUCK: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo 'agent 1.2.3'; exit 0; }
say() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
hear() { echo "$1: $(cat src/a.txt)" >> "$own/heard"; }
own=$1
while IFS= read -r line; do
    id=$(printf %s "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
    case $line in
    *'"method":"initialize"'*) say '{"protocolVersion":1,"agentCapabilities":{"loadSession":true}}' ;;
    *'"method":"session/new"'*) hear new; say '{"sessionId":"s-1"}' ;;
    *'"method":"session/load"'*'"s-1"'*) hear load; say '{}' ;;
    *'"method":"session/prompt"'*)
        hear prompt
        if mkdir "$own/asked"; then
            echo half > src/a.txt
            (setsid sh -c 'sleep 1000; :' "$own" &)
            hear stuck
            sleep 1000
        fi
        echo two > src/a.txt
        printf '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s-1","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"{\\"n\\":7}"}}}}\n'
        say '{"stopReason":"end_turn","usage":{"inputTokens":10,"outputTokens":2}}' ;;
    esac
done
"#;

/// A repository with the workflow, and an agent that hands back `said`.
fn place(said: &str) -> Place {
    let place = Place::new();
    hire(&place, AGENT, said, "");
    place
}

/// Makes it a repository with the workflow, whose agent is `program` with one argument and further configuration.
fn hire(place: &Place, program: &str, argument: &str, more: &str) {
    place.write("fixes.star", FLOW);
    place.write("src/a.txt", "one\n");
    place.commit_all();
    let tools = place.beside("tools");
    write_program(&tools.join("agent"), program);
    let config = format!(
        "[agents.bot]\nkind = \"acp\"\ncommand = [\"{0}/agent\", {argument:?}]\nreads = [\"{0}\"]\n{more}\
         reserve = {{ tokens = 1000, usd = 0.5 }}\nprice = {{ input = 1, output = 5 }}\n\
         [roles.fixer]\nmodels = [\"agents/bot\"]\n",
        tools.canonicalize().unwrap().display()
    );
    std::fs::create_dir_all(place.home()).unwrap();
    std::fs::write(place.home().join("config.toml"), config).unwrap();
}

fn write_program(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_agent_of_its_own_does_a_node_and_its_run_replays_without_it() {
    let place = place("{\\\"n\\\": 7}");
    let refused = place.run(&["run", "fixes.star", "--json"]);
    assert!(refused.code == 7 && refused.err.contains("WF0903"), "nobody has trusted it: {refused:?}");
    assert_eq!(place.run(&["trust"]).code, 0);
    let poor = place.run(&["run", "fixes.star", "--json", "--budget-tokens", "999"]);
    assert_eq!(poor.code, 4, "so much is not there to be held: {poor:?}");
    let ran = place.run(&["run", "fixes.star", "--json"]).ok();
    assert_eq!(ran["outputs"], json!({"n": 7, "passed": true}));
    // 10 × 1 + 2 × 5 micro-dollars.
    let usage = (&ran["usage"]["cost_usd_micros"], &ran["usage"]["input_tokens"], &ran["usage"]["output_tokens"]);
    assert_eq!(usage, (&json!(20), &json!(10), &json!(2)));
    assert_eq!(place.read("src/a.txt"), "one\n", "the checkout is as it was");
    let shown = place.run(&["show", "@last", "line/fix", "--json"]).ok();
    assert_eq!(
        (&shown["resolved_role"]["provider"], &shown["resolved_role"]["model"]),
        (&json!("agents"), &json!("bot"))
    );
    assert!(shown.to_string().contains("\"session\""), "{shown}");
    let again = place.run(&["run", "fixes.star", "--json"]).ok();
    assert_eq!(again["result_digest"], ran["result_digest"]);
    std::fs::remove_file(place.home().join("config.toml")).unwrap();
    assert_eq!(place.run(&["replay", "@last", "--json"]).ok()["equal"], true);
    let sessions = std::fs::read_dir(place.home().join("projects")).unwrap().flatten();
    let left: Vec<_> =
        sessions.filter(|dir| std::fs::read_dir(dir.path().join("sessions")).is_ok_and(|it| it.count() > 0)).collect();
    assert!(left.is_empty(), "no session is kept of a run that is over: {left:?}");
}

/// A run whose engine was killed while its agent was at work, and a look at what that agent has heard.
fn killed_at_work(budget: &[&str]) -> (Place, impl Fn() -> String + use<>) {
    let place = Place::new();
    let own = place.beside("own").canonicalize().unwrap();
    let at = own.to_str().unwrap();
    hire(&place, STUCK, at, &format!("state = [{at:?}]\n"));
    assert_eq!(place.run(&["trust"]).code, 0);
    let (mut engine, _) = place.start(&[&["run", "fixes.star", "--json"], budget].concat());
    let heard = {
        let file = own.join("heard");
        move || std::fs::read_to_string(&file).unwrap_or_default()
    };
    until("the agent is at work", || heard().ends_with("stuck: half\n"));
    assert!(!survivors(at).is_empty());
    engine.kill().unwrap();
    engine.wait().unwrap();
    until("no process of the agent is left", || survivors(at).is_empty());
    (place, heard)
}

#[test]
fn an_agent_that_was_at_work_when_the_engine_was_killed_goes_on_from_its_beginning() {
    let (place, heard) = killed_at_work(&[]);
    let ran = place.run(&["resume", "@last", "--json"]).ok();
    assert_eq!((&ran["outputs"], &ran["verified"]), (&json!({"n": 7, "passed": true}), &json!("passed")), "{ran}");
    // It went on with its session, on files that are as at the beginning.
    assert_eq!(heard(), "new: one\nprompt: one\nstuck: half\nload: one\nprompt: one\n");
    // What it had begun is not lost.
    let rescues = place.run(&["trees", "rescue", "list", "--json"]).ok()["rescues"].clone();
    let refs: Vec<&str> = rescues.as_array().unwrap().iter().map(|it| it["ref"].as_str().unwrap()).collect();
    let [rescued] = refs[..] else { panic!("{rescues}") };
    assert_eq!(place.git(&["show", &format!("{rescued}:src/a.txt")]), "half\n");
    assert_eq!(place.run(&["replay", "@last", "--json"]).ok()["equal"], true);
}

#[test]
fn what_was_held_for_an_agent_that_was_killed_counts_as_spent() {
    // Nobody knows what it had used; half a dollar was held, and half a dollar is needed to begin again.
    let (place, heard) = killed_at_work(&["--budget-usd", "0.7"]);
    let poor = place.run(&["resume", "@last", "--json"]);
    assert_eq!((poor.code, heard().lines().count()), (4, 3), "{poor:?}");
    let ran = place.run(&["resume", "@last", "--budget-usd", "+0.3", "--json"]).ok();
    assert_eq!((&ran["outputs"]["n"], heard().lines().count()), (&json!(7), 5), "{ran}");
    assert_eq!(place.run(&["replay", "@last", "--json"]).ok()["equal"], true);
}

#[test]
fn an_agent_that_hands_back_what_does_not_fit_fails_its_node() {
    let place = place("I am done.");
    assert_eq!(place.run(&["trust"]).code, 0);
    let ran = place.run(&["run", "fixes.star", "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let shown = place.run(&["show", "@last", "line/fix", "--json"]).ok().to_string();
    assert!(shown.contains("output_invalid") && shown.contains("agents/bot"), "{shown}");
    assert_eq!(place.run(&["replay", "@last", "--json"]).ok()["equal"], true);
}

fn check(flow: &str, expected: Expect) {
    let place = place("x");
    place.write("other.star", flow);
    assert_eq!(place.run(&["trust"]).code, 0);
    let ran = place.run(&["run", "other.star"]);
    expected.assert_eq(&format!("{}\n{}", ran.code, ran.err.trim_end()));
}

#[test]
fn what_an_agent_cannot_do_is_said_before_a_run() {
    check(
        "workflow(\"w\", children = [ask(\"a\", role = \"fixer\", prompt = \"x\")])",
        expect![[r#"
        3
        error[WF0901]: nothing here satisfies the role `fixer` of `a`: agents/bot: it is an agent, which does no `ask`
         --> other.star:1:27
          |
        1 | workflow("w", children = [ask("a", role = "fixer", prompt = "x")])
          |                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: configure a model for it, or try the workflow with the mock provider

        1 error"#]],
    );
    check(
        "workflow(\"w\", children = [agent(\"a\", role = \"fixer\", prompt = \"x\", driver = \"cli\")])",
        expect![[r#"
            3
            error[WF0901]: nothing here satisfies the role `fixer` of `a`: agents/bot: it is spoken to as `acp`, and the driver `cli` is wanted
             --> other.star:1:27
              |
            1 | workflow("w", children = [agent("a", role = "fixer", prompt = "x", driver = "cli")])
              |                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: configure a model for it, or try the workflow with the mock provider

            1 error"#]],
    );
}

#[test]
fn an_agent_whose_program_is_gone_is_passed_over_before_a_run() {
    let place = place("x");
    assert_eq!(place.run(&["trust"]).code, 0);
    std::fs::remove_file(place.beside("tools").join("agent")).unwrap();
    let check = place.run(&["check", "fixes.star"]).out;
    let ran = place.run(&["run", "fixes.star"]);
    assert_eq!((ran.code, place.run(&["ps", "--json"]).ok()["runs"].clone()), (3, json!([])));
    let tools = place.beside("tools").canonicalize().unwrap();
    let said = format!(
        "error[WF0901]: nothing here satisfies the role `fixer` of `line/fix`: agents/bot: its program `{}/agent` is not here\n",
        tools.display()
    );
    assert!(ran.err.starts_with(&said) && check.contains(&said), "{check}\n{ran:?}");
}

#[test]
fn what_is_wrong_with_a_configured_agent_has_its_place() {
    let refused = |config: &str| {
        let place = Place::new();
        std::fs::create_dir_all(place.home()).unwrap();
        std::fs::write(place.home().join("config.toml"), config).unwrap();
        place.write("w.star", "workflow(\"w\", children = [ask(\"a\", prompt = \"x\")])");
        let error = place.run(&["run", "w.star"]).err;
        error.lines().next().unwrap().split_once("config.toml:").unwrap().1.to_owned()
    };
    let reserve = "reserve = { tokens = 1, usd = 1 }\n";
    let cases = [
        "[agents.a]\nkind = \"telepathy\"\n".to_owned(),
        "[agents.a]\nkind = \"claude\"\n".to_owned(),
        format!("[agents.a]\nkind = \"acp\"\n{reserve}"),
        format!("[agents.a]\nkind = \"acp\"\ncommand = []\n{reserve}"),
        format!("[agents.a]\nkind = \"claude\"\nstate = [\"~/\"]\n{reserve}"),
        format!("[agents.a]\nkind = \"claude\"\nstate = [\"../x\"]\n{reserve}"),
        format!("[agents.a]\nkind = \"claude\"\nnetwork = [\"http://x\"]\n{reserve}"),
        format!("[agents.a]\nkind = \"claude\"\nenv = [\"A=b\"]\n{reserve}"),
        format!("[agents.a]\nkind = \"claude\"\ntimeouts = {{ lunch = \"1h\" }}\n{reserve}"),
        format!("[agents.a]\nkind = \"claude\"\n{reserve}[roles.default]\nmodels = [\"agents/b\"]\n"),
        "[providers.agents]\nkind = \"mock\"\n".to_owned(),
    ];
    let said: Vec<String> = cases.iter().map(|config| refused(config)).collect();
    expect![[r#"
        2:8: an agent is of one of these kinds: acp, claude, codex, opencode
        1:9: an agent needs its `reserve = { tokens = …, usd = … }`: the most that it may use, which is held before it begins and charged when it does not say what it used
        1:9: an agent of kind acp needs its `command`
        3:11: a command is a list of a program and its arguments
        3:10: a place is an absolute path, or one that begins with ~/, of something below `/` and your home
        3:10: a place is an absolute path, or one that begins with ~/, of something below `/` and your home
        3:12: "http://x" names no host: NAME, *.NAME, * or an address, each with :PORT if it is not 80 or 443
        3:8: `env` lists names of variables
        3:14: a timeout of an agent is one of start, idle and total
        5:11: there is no agent `b` in this file
        1:12: no provider is called `agents`: roles name agents by that word"#]].assert_eq(&said.join("\n"));
}

#[test]
fn agents_are_found_and_proposed() {
    let place = Place::new();
    let tools = place.beside("tools");
    write_program(&tools.join("claude"), "#!/bin/sh\necho '2.1.0 (Claude Code)'; env | grep -c . >&2\n");
    write_program(&tools.join("codex"), "#!/bin/sh\nexit 3\n");
    write_program(&tools.join("goose"), "#!/bin/sh\nsleep 100\n");
    let at = tools.display().to_string();
    let doctor = |place: &Place| {
        let view = place.run_with(&tools, &["doctor", "--json"]).json();
        let checks =
            view["checks"].as_array().unwrap().iter().filter(|it| it["name"] == "role" || it.to_string().contains(&at));
        let lines = checks.map(|it| format!("{} {}", it["level"].as_str().unwrap(), it["message"].as_str().unwrap()));
        lines.collect::<Vec<_>>().join("\n").replace(&at, "TOOLS")
    };
    expect![[r#"
        ok claude, version 2.1.0 (Claude Code), not configured: TOOLS/claude
        warn codex, not configured: TOOLS/codex; it says no version, and ends with exit code 3
        warn goose, not configured: TOOLS/goose; it does not say its version within 3 s"#]]
    .assert_eq(&doctor(&place));
    let file = place.home().join("config.toml");
    let told = place.run_with(&tools, &["init"]);
    assert!(told.code == 0 && told.err.contains("the agent claude is here") && !file.exists(), "{told:?}");
    let asked = place.run_with(&tools, &["init", "--agent", "claude"]);
    assert!(asked.code == 0 && asked.err.contains("not written") && !file.exists(), "{asked:?}");
    assert_eq!(place.run_with(&tools, &["init", "--agent", "opencode", "--yes"]).code, 2);
    assert_eq!(place.run_with(&tools, &["init", "--agent", "claude", "--agent", "goose", "--yes"]).code, 0);
    expect![[r#"
        [agents.claude]
        kind = "claude"
        state = ["~/.claude", "~/.claude.json"]
        network = ["api.anthropic.com"]
        reserve = { tokens = 1000000, usd = 2 }

        [agents.goose]
        kind = "acp"
        command = ["goose", "acp"]
        state = ["~/.config/goose", "~/.local/share/goose"]
        network = []
        reserve = { tokens = 1000000, usd = 2 }

        [roles.default]
        models = ["agents/claude", "agents/goose"]
    "#]]
    .assert_eq(&std::fs::read_to_string(&file).unwrap());
    expect![[r#"
        ok agents/claude, version 2.1.0 (Claude Code), configured: TOOLS/claude
        warn agents/goose, configured: TOOLS/goose; it does not say its version within 3 s
        warn codex, not configured: TOOLS/codex; it says no version, and ends with exit code 3
        ok default: agents/claude works in trees, nobody (agents/claude: it is an agent, which does no `ask`; agents/goose: it is an agent, which does no `ask`) answers an `ask`"#]].assert_eq(&doctor(&place));
    let again = place.run_with(&tools, &["init"]);
    assert!(again.code == 0 && !again.err.contains("claude"), "nothing is proposed twice: {again:?}");
}
