//! An agent of a model over HTTP, from the command line to the checkpoint: it reads, edits, runs commands in the sandbox
//! and hands a typed result back.

use std::time::Duration;

use expect_test::expect;
use serde_json::{Value, json};

use crate::models::{Answer, Asked, Server, configure};
use crate::place::Place;

const FLOW: &str = r#"
workflow(
    "work",
    children = [
        branch("b", children = [
            agent(
                "fix",
                role = "writer",
                prompt = "Make one two.",
                writes = ["src/**"],
                output = schema.object({"n": schema.integer()}),
            ),
            test("check", argv = ["grep", "-q", "two", "src/a.txt"]),
        ]),
    ],
    outputs = {"n": "b.results.fix.n"},
)
"#;

/// A repository that is trusted, and a role that the server does.
fn place(server: &Server) -> Place {
    let place = Place::new();
    place.write("work.star", FLOW);
    place.write("src/a.txt", "one\n");
    place.commit_all();
    assert_eq!(place.run(&["trust"]).code, 0);
    let port = server.port;
    configure(
        &place,
        &format!(
            "[providers.local]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n\
             [providers.local.models.\"org/tiny\"]\ncontext = 32000\nfeatures = [\"tools\", \"json\"]\n\
             price = {{ input = 0.10, output = 0.40 }}\n\
             [roles.writer]\nneeds = [\"tools\"]\nmodels = [\"local/org/tiny\"]\n"
        ),
    );
    place
}

/// What the model was shown of its tools' work so far.
fn results(body: &Value) -> Vec<&str> {
    let messages = body["messages"].as_array().unwrap().iter();
    messages.filter(|it| it["role"] == "tool").map(|it| it["content"].as_str().unwrap()).collect()
}

fn bash(command: &str) -> (&'static str, String) {
    ("bash", json!({"command": command}).to_string())
}

#[test]
fn an_agent_edits_runs_commands_in_a_sandbox_and_hands_back() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "CANARY-OUTSIDE").unwrap();
    let path = outside.path().display().to_string();
    let server = Server::start({
        let path = path.clone();
        move |asked| turn(asked, &path)
    });
    let place = place(&server);
    let checks = place.run(&["doctor", "--json"]).json()["checks"].clone();
    let sandbox = checks.as_array().unwrap().iter().find(|it| it["name"] == "sandbox").unwrap().clone();
    if sandbox["level"] != "ok" {
        // Without a sandbox it is refused, which is the other test.
        return;
    }
    let ran = place.run(&["run", "work.star", "--json"]).ok();
    assert_eq!((&ran["outputs"], &ran["verified"]), (&json!({"n": 7}), &json!("passed")), "{ran}");
    let asked = server.asked();
    let last = asked.last().unwrap();
    expect![[r#"
        1	one
        ---
        exit code 3
        --- stdout
        made
        ---
        src/a.txt: 1 replaced
        ---
        exit code 1
        --- stderr
        bash: line 1: /usr/new: Read-only file system
        ---
        exit code 1
        --- stderr
        bash: line 1: OUTSIDE/new: No such file or directory
        ---
        exit code 1
        --- stdout
        0
        ---
        exit code 7
        --- stderr
        bash: connect: Connection refused
        bash: line 1: /dev/tcp/127.0.0.1/9: Connection refused
        ---
        exit code 1
        --- stderr
        bash: line 1: .git: Read-only file system
        ---
        error: it cannot be taken: the result does not fit: at /n: "seven" is not of type "integer""#]]
    .assert_eq(
        &results(last).iter().map(|it| it.trim_end()).collect::<Vec<_>>().join("\n---\n").replace(&path, "OUTSIDE"),
    );
    // What it wrote is in the branch, and nowhere else.
    let patch = place.run(&["diff", "@last", "b"]).out;
    assert!(patch.contains("+two") && patch.contains("src/made.txt"), "{patch}");
    assert_eq!(place.read("src/a.txt"), "one\n");
    assert!(!place.dir().join("src/made.txt").exists());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(ran["usage"]["cost_usd_micros"], 5 * 300);
    let shown = place.run(&["show", "@last", "--json"]).ok();
    assert!(!shown.to_string().contains("CANARY-") && !asked.iter().any(|it| it.to_string().contains("CANARY-")));
    assert_eq!(place.run(&["replay", "@last", "--json"]).ok()["equal"], true);
    let started = place.run(&["logs", "@last", "--raw"]).out;
    assert!(started.contains("\"sandbox\":\"namespaces\""), "{started}");
}

fn turn(asked: &Asked, outside: &str) -> Answer {
    let hand_back = |n: Value| vec![("hand_back", json!({"result": {"n": n}}).to_string())];
    Answer::Calls(match asked.number {
        0 => vec![("read", json!({"path": "src/a.txt"}).to_string()), bash("echo made | tee src/made.txt; exit 3")],
        1 => vec![("edit", json!({"path": "src/a.txt", "old": "one", "new": "two"}).to_string())],
        2 => vec![
            bash("echo x > /usr/new"),
            bash(&format!("echo x > {outside}/new")),
            bash(&format!("cat {outside}/secret 2>/dev/null | grep -c CANARY")),
            bash("exec 3<>/dev/tcp/127.0.0.1/9; exit 7"),
            bash("echo x > .git"),
        ],
        3 => hand_back(json!("seven")),
        _ => hand_back(json!(7)),
    })
}

#[test]
fn what_an_agent_did_before_it_was_cancelled_is_kept() {
    let (said, heard) = std::sync::mpsc::channel();
    let said = std::sync::Mutex::new(said);
    let server = Server::start(move |asked| match asked.number {
        0 => Answer::Calls(vec![("write", json!({"path": "src/new.txt", "content": "half done\n"}).to_string())]),
        _ => {
            said.lock().unwrap().send(()).unwrap();
            Answer::Stall
        }
    });
    let place = place(&server);
    let (mut child, _) = place.start(&["run", "work.star", "--json", "--sandbox=off"]);
    heard.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(place.run(&["cancel", "@last", "--json"]).code, 0);
    child.wait().unwrap();
    let shown = place.run(&["show", "@last", "--json"]).ok();
    assert_eq!(shown["status"], "cancelled");
    // Its trace says what it did, and what it had not handed back is saved under a ref.
    let logs = place.run(&["logs", "@last", "b/fix"]).out;
    assert!(logs.contains("write {") && logs.contains("src/new.txt: made, 10 bytes"), "{logs}");
    let rescues = place.run(&["trees", "rescue", "list", "--json"]).ok();
    let name = rescues["rescues"][0]["ref"].as_str().unwrap_or_else(|| panic!("{rescues}"));
    assert_eq!(place.git(&["show", &format!("{name}:src/new.txt")]), "half done\n");
}

#[test]
fn without_a_sandbox_an_agent_with_a_shell_is_refused_before_anything_begins() {
    let server = Server::start(|_| Answer::Stall);
    let place = place(&server);
    let alone = "workflow(\"alone\", children = [branch(\"b\", children = [agent(\"fix\", prompt = \"Go.\", role = \"writer\"WITH)])])";
    place.write("alone.star", &alone.replace("WITH", ""));
    place.write("quiet.star", &alone.replace("WITH", ", permissions = permissions(tools = [\"read\"])"));
    place.write("answers.toml", "");
    place
        .write("acts.toml", "[[rule]]\nturns = [{ calls = [{ tool = \"bash\", args = { command = \"exit 3\" } }] }]\n");
    let refused = |args: &[&str]| {
        let ran = place.run_caged(args);
        let error = ran.json()["error"].clone();
        let message = error["message"].as_str().unwrap().to_owned();
        let hint = error["hint"].as_str().unwrap_or_default();
        let message = message.split(" cannot be had").next().unwrap().to_owned();
        format!("{} {} {message}; {hint}", ran.code, error["code"].as_str().unwrap())
    };
    let by_model = refused(&["run", "alone.star", "--json"]);
    expect!["8 WF0730 this workflow runs commands, and there is no sandbox for them here: none: namespaces; `whaleflow doctor` says what is missing; --sandbox=off runs commands as you"].assert_eq(&by_model);
    assert_eq!(refused(&["run", "alone.star", "--mock", "acts.toml", "--json"]), by_model);
    assert_eq!(refused(&["run", "work.star", "--mock", "answers.toml", "--json"]), by_model);
    let checked = place.run_caged(&["check", "alone.star", "--json"]).ok();
    let found = checked["preflight"][0]["message"].as_str().unwrap().split(" cannot be had").next().unwrap().to_owned();
    expect!["`b/fix` may run commands, and there is no sandbox here: none: namespaces"].assert_eq(&found);
    let planned = place.run_caged(&["plan", "alone.star"]);
    assert!(planned.code == 0 && planned.err.contains("WF0730"), "{planned:?}");
    assert_eq!((place.run(&["ps", "--json"]).ok()["runs"].clone(), server.asked().len()), (json!([]), 0));
    // Nobody there uses a shell, or somebody goes without a sandbox.
    assert_eq!(place.run_caged(&["run", "alone.star", "--mock", "answers.toml", "--json"]).code, 0);
    assert_eq!(place.run_caged(&["check", "quiet.star", "--json"]).ok()["preflight"], json!([]));
    let off = place.run(&["run", "alone.star", "--mock", "acts.toml", "--sandbox=off", "--json"]);
    assert_eq!(off.code, 0, "{off:?}");
    let logs = place.run(&["logs", "@last", "b/fix"]).out;
    assert!(logs.contains("exit code 3"), "{logs}");
}

#[test]
fn a_plan_shows_who_would_do_what_at_which_price() {
    let server = Server::start(|_| Answer::Stall);
    let place = place(&server);
    let config = std::fs::read_to_string(place.home().join("config.toml")).unwrap();
    let config = config.replace("models = [\"local/org/tiny\"]", "models = [\"local/plain\", \"local/org/tiny\"]");
    configure(&place, &config);
    let text = place.run(&["plan", "work.star"]).out;
    let from = text.find("roles").unwrap();
    let lines: Vec<&str> = text[from..].lines().take(2).collect();
    expect![[r#"
        roles       writer  1 node  local/org/tiny   per million tokens $0.1000 in, $0.4000 out
                                    not local/plain  it is not known to have `tools`"#]]
    .assert_eq(&lines.join("\n"));
    let who = place.run(&["plan", "work.star", "--json"]).ok()["who"].clone();
    assert_eq!(
        who,
        json!([{
            "role": "writer",
            "nodes": 1,
            "model": "local/org/tiny",
            "price": {"input": 100_000, "output": 400_000, "cached": null, "cache_write": null},
            "passed_over": [{"model": "local/plain", "why": "it is not known to have `tools`"}],
        }])
    );
    assert_eq!(server.asked().len(), 0);
}
