//! What headless command lines are asked and what they print, as data. [`super::headless`] interprets it; a further
//! program is a further table here.

use super::AgentKind;

/// How one program is used.
pub(super) struct Dialect {
    /// Its arguments. The task comes on its standard input.
    pub(super) args: &'static [&'static str],
    /// Further ones where a sandbox holds it: there it need not ask anybody.
    pub(super) inside: &'static [&'static str],
    /// Further ones where nothing holds it but itself.
    pub(super) outside: &'static [&'static str],
    /// Further ones to go on with a session, whose id follows.
    pub(super) resume: &'static [&'static str],
    /// What comes last.
    pub(super) last: &'static [&'static str],
    /// What lines say. Of one line several rules may hold; what no rule knows says nothing.
    pub(super) rules: &'static [Rule],
}

/// What a line says, if it is of a kind.
pub(super) struct Rule {
    /// What is at places of the line; with `!` before it, what is not.
    pub(super) when: &'static [(Place, &'static str)],
    /// What it then says.
    pub(super) says: Says,
}

/// A place in a line: names of fields, with `*` for every element of a list.
pub(super) type Place = &'static str;

/// What a line can say.
pub(super) enum Says {
    /// The session's id.
    Session(Place),
    /// What the agent says.
    Text(Place),
    /// What it thinks.
    Thought(Place),
    /// Which tool it uses, and on what.
    Tool(Place, &'static [Place]),
    /// What came of a tool.
    Seen(Place),
    /// What it hands back, in place of what it said last.
    Result(Place),
    /// What was used since this was said last.
    Usage(&'static Counts),
    /// What it has cost since this was said last, in dollars.
    Cost(Place),
    /// It did not work.
    Error(&'static [Place]),
    /// It went on after all.
    Recovered,
    /// The turn is over. Who ends without having said so has been cut off.
    End,
}

/// Where tokens are counted. A sum whose first part is missing is not known.
pub(super) struct Counts {
    pub(super) input: &'static [Place],
    pub(super) output: &'static [Place],
    pub(super) cached: Place,
    pub(super) stored: Place,
}

/// How an agent is used that is not spoken to in a protocol.
pub(super) fn dialect(kind: AgentKind) -> Option<&'static Dialect> {
    match kind {
        AgentKind::Acp => None,
        AgentKind::Claude => Some(&CLAUDE),
        AgentKind::Codex => Some(&CODEX),
        AgentKind::OpenCode => Some(&OPENCODE),
    }
}

const fn rule(when: &'static [(Place, &'static str)], says: Says) -> Rule {
    Rule { when, says }
}

static CLAUDE: Dialect = Dialect {
    args: &["-p", "--output-format", "stream-json", "--verbose"],
    inside: &["--dangerously-skip-permissions"],
    outside: &["--permission-mode", "acceptEdits"],
    resume: &["--resume"],
    last: &[],
    rules: &[
        rule(&[("type", "system"), ("subtype", "init")], Says::Session("session_id")),
        rule(&[("type", "assistant"), ("message/content/*/type", "text")], Says::Text("message/content/*/text")),
        rule(
            &[("type", "assistant"), ("message/content/*/type", "thinking")],
            Says::Thought("message/content/*/thinking"),
        ),
        rule(
            &[("type", "assistant"), ("message/content/*/type", "tool_use")],
            Says::Tool(
                "message/content/*/name",
                &[
                    "message/content/*/input/file_path",
                    "message/content/*/input/command",
                    "message/content/*/input/pattern",
                ],
            ),
        ),
        rule(&[("type", "user"), ("message/content/*/type", "tool_result")], Says::Seen("message/content/*/content")),
        rule(&[("type", "result")], Says::Session("session_id")),
        rule(&[("type", "result")], Says::Usage(&CLAUDE_COUNTS)),
        rule(&[("type", "result")], Says::Cost("total_cost_usd")),
        rule(&[("type", "result"), ("is_error", "true")], Says::Error(&["result", "subtype"])),
        rule(
            &[("type", "result"), ("is_error", "!true"), ("subtype", "!success")],
            Says::Error(&["result", "subtype"]),
        ),
        rule(&[("type", "result"), ("is_error", "!true")], Says::Result("result")),
        rule(&[("type", "result")], Says::End),
    ],
};

static CLAUDE_COUNTS: Counts = Counts {
    input: &["usage/input_tokens", "usage/cache_read_input_tokens", "usage/cache_creation_input_tokens"],
    output: &["usage/output_tokens"],
    cached: "usage/cache_read_input_tokens",
    stored: "usage/cache_creation_input_tokens",
};

static CODEX: Dialect = Dialect {
    args: &["exec", "--json", "--skip-git-repo-check"],
    inside: &["--dangerously-bypass-approvals-and-sandbox"],
    outside: &["--sandbox", "workspace-write"],
    resume: &["resume"],
    last: &["-"],
    rules: &[
        rule(&[("type", "thread.started")], Says::Session("thread_id")),
        rule(&[("type", "item.completed"), ("item/type", "agent_message")], Says::Text("item/text")),
        rule(&[("type", "item.completed"), ("item/type", "reasoning")], Says::Thought("item/text")),
        rule(
            &[("type", "item.started"), ("item/type", "command_execution")],
            Says::Tool("item/type", &["item/command"]),
        ),
        rule(
            &[("type", "item.completed"), ("item/type", "file_change")],
            Says::Tool("item/type", &["item/changes/*/path"]),
        ),
        rule(&[("type", "item.started"), ("item/type", "mcp_tool_call")], Says::Tool("item/type", &["item/tool"])),
        rule(&[("type", "item.completed"), ("item/type", "command_execution")], Says::Seen("item/aggregated_output")),
        rule(&[("type", "turn.completed")], Says::Usage(&CODEX_COUNTS)),
        // What it says of lost connections is no error once its turn is complete.
        rule(&[("type", "turn.completed")], Says::Recovered),
        rule(&[("type", "turn.completed")], Says::End),
        rule(&[("type", "turn.failed")], Says::Error(&["error/message"])),
        rule(&[("type", "turn.failed")], Says::End),
        rule(&[("type", "error")], Says::Error(&["message"])),
    ],
};

static CODEX_COUNTS: Counts = Counts {
    input: &["usage/input_tokens"],
    output: &["usage/output_tokens"],
    cached: "usage/cached_input_tokens",
    stored: "",
};

static OPENCODE: Dialect = Dialect {
    args: &["run", "--format", "json"],
    inside: &[],
    outside: &[],
    resume: &["--session"],
    last: &[],
    rules: &[
        rule(&[], Says::Session("sessionID")),
        rule(&[("type", "text")], Says::Text("part/text")),
        rule(&[("type", "reasoning")], Says::Thought("part/text")),
        rule(
            &[("type", "tool_use")],
            Says::Tool(
                "part/tool",
                &["part/state/input/filePath", "part/state/input/command", "part/state/input/pattern"],
            ),
        ),
        rule(&[("type", "tool_use")], Says::Seen("part/state/output")),
        rule(&[("type", "step_finish")], Says::Usage(&OPENCODE_COUNTS)),
        rule(&[("type", "step_finish")], Says::Cost("part/cost")),
        rule(&[("type", "step_finish"), ("part/reason", "!tool-calls")], Says::End),
        rule(&[("type", "error")], Says::Error(&["error/data/message", "error/message", "error/name"])),
        rule(&[("type", "error")], Says::End),
    ],
};

static OPENCODE_COUNTS: Counts = Counts {
    input: &["part/tokens/input", "part/tokens/cache/read", "part/tokens/cache/write"],
    output: &["part/tokens/output", "part/tokens/reasoning"],
    cached: "part/tokens/cache/read",
    stored: "part/tokens/cache/write",
};
