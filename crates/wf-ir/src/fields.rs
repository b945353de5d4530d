//! The fields of a workflow and of every kind of node, in one table.
//!
//! From this table come the reading of drafts (unknown, missing and mistyped keys), the defaults of the canonical
//! form, the JSON Schema of the definition and the list of field names. A field that is not here does not exist.

use crate::limits::FAN_OUT_MAX;

/// The kinds of nodes, by the words of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is described in the table")]
pub enum KindTag {
    Agent,
    Ask,
    Command,
    Test,
    Search,
    Memory,
    Approve,
    Wait,
    Branch,
    Parallel,
    Sequence,
    Reduce,
    Pareto,
    Tournament,
    LoopUntil,
    Cond,
    Expand,
    Call,
    Rlm,
    TeacherReview,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum FieldType {
    /// true or false
    Bool,
    /// Text.
    Text,
    /// A name: `[a-z][a-z0-9_]*`.
    Name,
    /// The name of a role: as a name, with `-` too.
    RoleName,
    /// A template.
    Template,
    /// An expression; a number or a truth value stands for itself.
    Expr,
    /// An integer within bounds, both included.
    Int {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A number from 1 to 100 with two decimal places at most.
    Factor,
    /// `"1h30m"`, `"250ms"`, or an integer of seconds; at least `min_ms` milliseconds.
    Duration {
        /// Shortest, in milliseconds.
        min_ms: u64,
    },
    /// US dollars, more than none.
    Usd,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The id of a node in scope.
    Ref,
    /// The id of a branch, or the id of a tournament with `.winner`.
    TreeRef,
    /// A glob over the paths of the repository.
    Glob,
    /// A relative path without `..`.
    Path,
    /// A regular expression.
    Regex,
    /// A JSON Schema.
    Schema,
    /// Any value, null too.
    Any,
    /// Any map.
    AnyMap,
    /// The type of an input: `string`, `int`, `number`, `bool`, `any`, `list(…)`, `map(…)`.
    InputType,
    /// The id of a node in scope (its children or elements are meant), or a list of ids.
    Candidates,
    /// The declarations of inputs, each a shape or just its type.
    Inputs,
    /// A list of nodes.
    Nodes {
        /// Fewest.
        min: usize,
    },
    /// A list.
    List {
        /// What its items are.
        item: &'static FieldType,
        /// Fewest items.
        min: usize,
    },
    /// A map with free names as keys.
    MapOf(&'static FieldType),
    /// A map whose keys are free names of roles.
    Roles,
    /// A map with fields of its own.
    Shape(&'static Shape),
}

/// Whether a field must be given, and what it is when it is not.
#[derive(Clone, Copy, Debug)]
pub enum Presence {
    /// It must be given.
    Required,
    /// It may be left out, and then nothing stands for it.
    Optional,
    /// It may be left out; this JSON stands for it.
    Default(&'static str),
    /// It may be left out; what stands for it depends on the node.
    Computed(&'static str),
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// What it holds.
    pub ty: FieldType,
    /// Whether it must be given.
    pub presence: Presence,
    /// One sentence for people.
    pub doc: &'static str,
}

/// A map with fields of its own, inside a field.
#[derive(Debug)]
pub struct Shape {
    /// What it is called.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

/// The fields of one kind of node.
#[derive(Debug)]
pub struct KindFields {
    /// Which kind.
    pub tag: KindTag,
    /// What it does.
    pub doc: &'static str,
    /// Its own fields; [`COMMON`] come beside them.
    pub fields: &'static [Field],
}

impl KindTag {
    /// The word of the sources.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Ask => "ask",
            Self::Command => "command",
            Self::Test => "test",
            Self::Search => "search",
            Self::Memory => "memory",
            Self::Approve => "approve",
            Self::Wait => "wait",
            Self::Branch => "branch",
            Self::Parallel => "parallel",
            Self::Sequence => "sequence",
            Self::Reduce => "reduce",
            Self::Pareto => "pareto",
            Self::Tournament => "tournament",
            Self::LoopUntil => "loop_until",
            Self::Cond => "cond",
            Self::Expand => "expand",
            Self::Call => "call",
            Self::Rlm => "rlm",
            Self::TeacherReview => "teacher_review",
        }
    }

    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        KINDS.iter().map(|kind| kind.tag).find(|tag| tag.as_str() == word)
    }

    /// Its row of the table.
    pub fn table(self) -> &'static KindFields {
        &KINDS[self as usize]
    }

    /// All its fields: its own, then the common ones.
    pub fn fields(self) -> impl Iterator<Item = &'static Field> {
        self.table().fields.iter().chain(COMMON)
    }
}

/// Every name that is a key somewhere in a definition, kinds included, sorted and without repetition.
pub fn names() -> Vec<&'static str> {
    let shapes = [&BUDGET, &PERMISSIONS, &OUTERMOST, &RETRY, &TASKS, &OBJECTIVE, &JUDGE, &INPUT, &ROLE];
    let mut names: Vec<&'static str> = KINDS
        .iter()
        .flat_map(|kind| std::iter::once(kind.tag.as_str()).chain(kind.fields.iter().map(|field| field.name)))
        .chain(COMMON.iter().chain(WORKFLOW).map(|field| field.name))
        .chain(shapes.iter().flat_map(|shape| shape.fields.iter().map(|field| field.name)))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

const fn field(name: &'static str, ty: FieldType, presence: Presence, doc: &'static str) -> Field {
    Field { name, ty, presence, doc }
}

const EMPTY_LIST: Presence = Presence::Default("[]");
const EMPTY_MAP: Presence = Presence::Default("{}");
const FAN_OUT: i64 = FAN_OUT_MAX as i64;
const COUNT: FieldType = FieldType::Int { min: 1, max: i64::MAX };
const WIDTH: FieldType = FieldType::Int { min: 1, max: FAN_OUT };
const MIN_OK: FieldType = FieldType::Int { min: 0, max: FAN_OUT };
const REFS: FieldType = FieldType::List { item: &FieldType::Ref, min: 0 };
const GLOBS: FieldType = FieldType::List { item: &FieldType::Glob, min: 0 };
const TEXTS: FieldType = FieldType::List { item: &FieldType::Text, min: 0 };
const EXPRS: FieldType = FieldType::MapOf(&FieldType::Expr);
const ARGV: FieldType = FieldType::List { item: &FieldType::Template, min: 1 };
const ON_FAILURE: FieldType = FieldType::Choice(&["continue", "abort"]);
const POSITIVE: FieldType = FieldType::Duration { min_ms: 1 };
const STATUSES: FieldType = FieldType::Choice(&["failed", "skipped", "cancelled", "timed_out", "budget_exceeded"]);

/// Most attempts of one leaf.
pub const ATTEMPTS_MAX: i64 = 20;
/// Most matches of one search.
pub const MATCHES_MAX: i64 = 10_000;
/// Longest duration anywhere: 366 days.
pub const DURATION_MS_MAX: u64 = 366 * 24 * 3_600_000;

/// A ceiling.
pub static BUDGET: Shape = Shape {
    name: "budget",
    fields: &[
        field("tokens", COUNT, Presence::Optional, "Input and output tokens together."),
        field("usd", FieldType::Usd, Presence::Optional, "US dollars."),
        field("wall", POSITIVE, Presence::Optional, "Time while the run is not paused."),
        field("leaves", COUNT, Presence::Optional, "Leaf instances begun."),
    ],
};

/// What a subtree may do.
pub static PERMISSIONS: Shape = Shape {
    name: "permissions",
    fields: &[
        field("writes", GLOBS, Presence::Optional, "Files that may be written."),
        field("commands", TEXTS, Presence::Optional, "First words of the commands that may be run."),
        field("network", TEXTS, Presence::Optional, "Hosts that may be reached; none unless the workflow says so."),
        field("tools", TEXTS, Presence::Optional, "Tools an agent may use."),
        field("secrets", TEXTS, Presence::Optional, "Secrets that may be handed to a tool; none unless said so."),
    ],
};

/// What a whole workflow may do.
pub static OUTERMOST: Shape = Shape {
    name: "outermost_permissions",
    fields: &[
        PERMISSIONS.fields[0],
        PERMISSIONS.fields[1],
        field("network", TEXTS, EMPTY_LIST, "Hosts that may be reached."),
        PERMISSIONS.fields[3],
        field("secrets", TEXTS, EMPTY_LIST, "Secrets that may be handed to a tool."),
    ],
};

/// How failures are tried again.
pub static RETRY: Shape = Shape {
    name: "retry",
    fields: &[
        field("attempts", FieldType::Int { min: 1, max: ATTEMPTS_MAX }, Presence::Default("1"), "Attempts in all."),
        field(
            "backoff",
            FieldType::Duration { min_ms: 0 },
            Presence::Default("\"1s\""),
            "Pause before the second attempt.",
        ),
        field("factor", FieldType::Factor, Presence::Default("2"), "Each pause is this many times the one before."),
        field("max_backoff", FieldType::Duration { min_ms: 0 }, Presence::Default("\"60s\""), "Longest pause."),
        field("on", TEXTS, EMPTY_LIST, "Failure codes worth another try; none means all that are not final."),
    ],
};

/// What an agent may add to the list of tasks that it works on.
pub static TASKS: Shape =
    Shape { name: "tasks", fields: &[field("max", WIDTH, Presence::Required, "Most tasks that one instance adds.")] };

/// One thing a pareto set weighs.
pub static OBJECTIVE: Shape = Shape {
    name: "objective",
    fields: &[
        field("by", FieldType::Expr, Presence::Required, "A number from `value`, `status` and `path`."),
        field("goal", FieldType::Choice(&["max", "min"]), Presence::Default("\"max\""), "Which way is better."),
    ],
};

/// Who compares the candidates of a tournament.
pub static JUDGE: Shape = Shape {
    name: "judge",
    fields: &[
        field("prompt", FieldType::Template, Presence::Required, "What is asked; it sees `first` and `second`."),
        field("vars", EXPRS, EMPTY_MAP, "Values for the prompt, by name."),
        field("role", FieldType::RoleName, Presence::Optional, "The role that judges."),
        field("retry", FieldType::Shape(&RETRY), Presence::Default("{}"), "How failures are tried again."),
        field("timeout", POSITIVE, Presence::Optional, "The most time one attempt may take."),
    ],
};

/// A declared input.
pub static INPUT: Shape = Shape {
    name: "input",
    fields: &[
        field("type", FieldType::InputType, Presence::Default("\"any\""), "Its type."),
        field("default", FieldType::Any, Presence::Optional, "What it is when not given; without one it is required."),
        field("sensitive", FieldType::Bool, Presence::Default("false"), "Never logged; expressions cannot read it."),
        field("description", FieldType::Text, Presence::Default("\"\""), "For people."),
    ],
};

/// What a workflow asks of a role.
pub static ROLE: Shape = Shape {
    name: "role",
    fields: &[
        field("needs", TEXTS, EMPTY_LIST, "Capabilities, such as `tools` or `json`."),
        field("params", FieldType::AnyMap, EMPTY_MAP, "Parameters, such as `temperature`."),
    ],
};

/// The fields of a workflow.
pub static WORKFLOW: &[Field] = &[
    field("workflow", FieldType::Name, Presence::Required, "Its name."),
    field(
        "schema_version",
        FieldType::Int { min: 1, max: u32::MAX as i64 },
        Presence::Default("1"),
        "The version of this format.",
    ),
    field("description", FieldType::Text, Presence::Default("\"\""), "One sentence for people."),
    field("inputs", FieldType::Inputs, EMPTY_MAP, "What a run is given, by name."),
    field("budget", FieldType::Shape(&BUDGET), EMPTY_MAP, "The ceiling on a whole run."),
    field("permissions", FieldType::Shape(&OUTERMOST), EMPTY_MAP, "The outermost permissions."),
    field("roles", FieldType::Roles, EMPTY_MAP, "What this workflow asks of roles, by name."),
    field("fixture", FieldType::Path, Presence::Optional, "A directory beside the source that becomes a repository."),
    field("children", FieldType::Nodes { min: 1 }, Presence::Required, "Its nodes, in order."),
    field("outputs", EXPRS, EMPTY_MAP, "What a run returns, by name; without any, the last child's value."),
];

/// The fields that every node has.
pub static COMMON: &[Field] = &[
    field("needs", REFS, EMPTY_LIST, "Nodes whose results it reads beyond those that it names anyway."),
    field("after", REFS, EMPTY_LIST, "Nodes whose end it waits for, whatever it is."),
    field(
        "accept",
        FieldType::List { item: &STATUSES, min: 0 },
        EMPTY_LIST,
        "Statuses of its needs that it can live with, beside succeeded.",
    ),
    field("when", FieldType::Expr, Presence::Optional, "False skips it."),
    field("budget", FieldType::Shape(&BUDGET), EMPTY_MAP, "Its own ceiling."),
    field("permissions", FieldType::Shape(&PERMISSIONS), EMPTY_MAP, "What it and all below it may do."),
    field("role", FieldType::RoleName, Presence::Optional, "The role of it and all below it."),
    field("timeout", POSITIVE, Presence::Optional, "The most time one attempt may take."),
];

const PROMPT: Field = field("prompt", FieldType::Template, Presence::Required, "What is asked.");
const VARS: Field = field("vars", EXPRS, EMPTY_MAP, "Values for its templates, by name.");
const READS: Field = field("reads", GLOBS, EMPTY_LIST, "Files it may read; none given means all.");
const OUTPUT: Field = field("output", FieldType::Schema, Presence::Optional, "JSON Schema of the result; else text.");
const ENSURE: Field = field(
    "ensure",
    FieldType::Expr,
    Presence::Optional,
    "Must hold of `output`; else it is asked again with the reason.",
);
const MEMO: Field =
    field("memo", FieldType::Choice(&["auto", "off"]), Presence::Default("\"auto\""), "Whether it may be remembered.");
const RETRIES: Field = field(
    "retry",
    FieldType::Shape(&RETRY),
    Presence::Computed("1 attempt, or 3 with `ensure`"),
    "How failures are tried again.",
);
const TREE: Field =
    field("tree", FieldType::TreeRef, Presence::Optional, "Where its tree begins: a branch, or `pick.winner`.");
const ARTIFACTS: Field = field("artifacts", GLOBS, EMPTY_LIST, "Files kept with the run.");
const CWD: Field = field("cwd", FieldType::Path, Presence::Default("\".\""), "Directory inside the tree.");
const ENV: Field = field("env", TEXTS, EMPTY_LIST, "Names of the environment variables that it gets.");
const CHILDREN: Field = field("children", FieldType::Nodes { min: 1 }, Presence::Required, "Its nodes, in order.");
const CANDIDATES: Field =
    field("candidates", FieldType::Candidates, Presence::Required, "A parallel, an expand, or a list of nodes.");

/// Every kind of node, in the order of [`KindTag`].
pub static KINDS: &[KindFields] = &[
    KindFields {
        tag: KindTag::Agent,
        doc: "An agent with tools works in a tree until it hands back a typed result.",
        fields: &[
            PROMPT,
            VARS,
            READS,
            field("writes", GLOBS, EMPTY_LIST, "Files it may write; none makes it read-only."),
            OUTPUT,
            field(
                "driver",
                FieldType::Choice(&["native", "acp", "cli"]),
                Presence::Default("\"native\""),
                "Who drives.",
            ),
            field("resumes", FieldType::Ref, Presence::Optional, "An earlier agent whose session it continues."),
            field(
                "tasks",
                FieldType::Shape(&TASKS),
                Presence::Optional,
                "It may add elements to the `expand` around it; none may not.",
            ),
            ARTIFACTS,
            ENSURE,
            RETRIES,
            MEMO,
            TREE,
        ],
    },
    KindFields {
        tag: KindTag::Ask,
        doc: "One model call without tools.",
        fields: &[
            PROMPT,
            VARS,
            OUTPUT,
            ENSURE,
            RETRIES,
            MEMO,
            field(
                "sample",
                FieldType::Int { min: 0, max: 1_000_000 },
                Presence::Default("0"),
                "Distinct samples are distinct questions.",
            ),
            TREE,
        ],
    },
    KindFields {
        tag: KindTag::Command,
        doc: "The engine itself runs a program.",
        fields: &[
            field("argv", ARGV, Presence::Required, "Program and arguments, each a template."),
            VARS,
            CWD,
            ENV,
            field("writes", GLOBS, EMPTY_LIST, "Files it may write; none given, what it leaves is dropped."),
            field(
                "ok_exit",
                FieldType::List { item: &FieldType::Int { min: 0, max: 255 }, min: 0 },
                EMPTY_LIST,
                "Exit codes that count as success, beside 0.",
            ),
            field(
                "repeatable",
                FieldType::Bool,
                Presence::Default("false"),
                "Whether it may run again after a crash without asking.",
            ),
            ARTIFACTS,
            RETRIES,
            TREE,
        ],
    },
    KindFields {
        tag: KindTag::Test,
        doc: "A command whose end is success with `passed` as data, and which counts as verification.",
        fields: &[
            field("argv", ARGV, Presence::Required, "Program and arguments, each a template."),
            VARS,
            CWD,
            ENV,
            field("expect", FieldType::Regex, Presence::Optional, "What its output must show to pass."),
            RETRIES,
            TREE,
        ],
    },
    KindFields {
        tag: KindTag::Search,
        doc: "The engine itself searches the tree.",
        fields: &[
            field("pattern", FieldType::Template, Presence::Required, "A regular expression."),
            VARS,
            READS,
            field(
                "limit",
                FieldType::Int { min: 1, max: MATCHES_MAX },
                Presence::Default("200"),
                "Most matches returned.",
            ),
            RETRIES,
            TREE,
        ],
    },
    KindFields {
        tag: KindTag::Memory,
        doc: "Explicit read or write of external memory.",
        fields: &[
            field("op", FieldType::Choice(&["read", "write"]), Presence::Required, "Which of the two."),
            field("store", FieldType::RoleName, Presence::Default("\"default\""), "Which store."),
            field("key", FieldType::Template, Presence::Required, "Which entry."),
            field("content", FieldType::Expr, Presence::Optional, "What is written."),
            RETRIES,
        ],
    },
    KindFields {
        tag: KindTag::Approve,
        doc: "Waits for a typed decision, resolved once.",
        fields: &[
            PROMPT,
            VARS,
            field("shows", EXPRS, EMPTY_MAP, "Values shown beside the prompt."),
            field("form", FieldType::Schema, Presence::Optional, "JSON Schema of the decision's data."),
            field("by", TEXTS, EMPTY_LIST, "Who may decide; none given means anyone."),
            field(
                "on_timeout",
                FieldType::Choice(&["fail", "reject", "approve"]),
                Presence::Default("\"fail\""),
                "What happens after `timeout`.",
            ),
            TREE,
        ],
    },
    KindFields {
        tag: KindTag::Wait,
        doc: "A timer or a named signal; exactly one of the two.",
        fields: &[
            field("duration", POSITIVE, Presence::Optional, "For so long."),
            field("signal", FieldType::RoleName, Presence::Optional, "Until somebody sends it."),
        ],
    },
    KindFields {
        tag: KindTag::Branch,
        doc: "One speculative line of work, its children in order in a tree of its own.",
        fields: &[
            CHILDREN,
            field("writes", GLOBS, Presence::Optional, "Files that may be written in it; narrows its permissions."),
            TREE,
        ],
    },
    KindFields {
        tag: KindTag::Parallel,
        doc: "Children at the same time.",
        fields: &[
            field("children", FieldType::Nodes { min: 1 }, Presence::Required, "Its nodes, in any order."),
            field("width", WIDTH, Presence::Computed("the number of children"), "Most at the same time."),
            field("min_ok", MIN_OK, Presence::Default("1"), "Fewest that must succeed."),
            field(
                "keep",
                FieldType::Choice(&["all", "first_success"]),
                Presence::Default("\"all\""),
                "Whether the first `min_ok` successes end it.",
            ),
            field(
                "on_failure",
                ON_FAILURE,
                Presence::Default("\"continue\""),
                "What a failed child does to the others.",
            ),
        ],
    },
    KindFields {
        tag: KindTag::Sequence,
        doc: "Children in order.",
        fields: &[
            CHILDREN,
            field(
                "on_failure",
                ON_FAILURE,
                Presence::Default("\"abort\""),
                "What a failed child does to the later ones.",
            ),
        ],
    },
    KindFields {
        tag: KindTag::Reduce,
        doc: "Folds the envelopes of several nodes into one value.",
        fields: &[
            field("inputs", FieldType::Candidates, Presence::Required, "A parallel, an expand, or a list of nodes."),
            field(
                "how",
                FieldType::Choice(&["concat", "merge", "vote", "best", "model", "combine"]),
                Presence::Required,
                "How it folds.",
            ),
            field(
                "by",
                FieldType::Expr,
                Presence::Optional,
                "What `vote` compares and `best` scores; whose fruit `combine` takes.",
            ),
            field(
                "take",
                FieldType::List { item: &FieldType::Choice(&["tests", "patches"]), min: 1 },
                Presence::Computed("both, where `how` is `combine`"),
                "What `combine` takes of a tournament's losers.",
            ),
            field("prompt", FieldType::Template, Presence::Optional, "What `model` is asked; it sees `items`."),
            VARS,
            OUTPUT,
            field("on_empty", FieldType::Any, Presence::Optional, "Its value when nothing succeeded; else it fails."),
            RETRIES,
        ],
    },
    KindFields {
        tag: KindTag::Pareto,
        doc: "The candidates that no other beats in every objective.",
        fields: &[
            CANDIDATES,
            field(
                "objectives",
                FieldType::List { item: &FieldType::Shape(&OBJECTIVE), min: 1 },
                Presence::Required,
                "What is weighed.",
            ),
            field("max_items", WIDTH, Presence::Default("5"), "Most that are kept, diverse ones first."),
        ],
    },
    KindFields {
        tag: KindTag::Tournament,
        doc: "Of the candidates that satisfy `require`, one wins, by score or by judge.",
        fields: &[
            CANDIDATES,
            field("require", FieldType::Expr, Presence::Optional, "What a candidate must satisfy to win."),
            field("by", FieldType::Expr, Presence::Optional, "The score; the highest wins."),
            field("judge", FieldType::Shape(&JUDGE), Presence::Optional, "Who compares them two at a time."),
            field(
                "harvest",
                FieldType::List { item: &FieldType::Choice(&["results", "tests", "patches"]), min: 0 },
                Presence::Default("[\"results\"]"),
                "What is kept of the losers.",
            ),
        ],
    },
    KindFields {
        tag: KindTag::LoopUntil,
        doc: "Repeats its children until a predicate holds.",
        fields: &[
            CHILDREN,
            field("until", FieldType::Expr, Presence::Required, "Ends it; sees its children, `iteration` and `prev`."),
            field("max_iterations", WIDTH, Presence::Required, "The bound."),
            field("on_limit", FieldType::Choice(&["fail", "accept"]), Presence::Default("\"fail\""), "At the bound."),
            field("samples", FieldType::Bool, Presence::Default("true"), "Whether each iteration asks anew."),
        ],
    },
    KindFields {
        tag: KindTag::Cond,
        doc: "Picks one side by a predicate.",
        fields: &[
            field("condition", FieldType::Expr, Presence::Required, "Which side."),
            field("then", FieldType::Nodes { min: 1 }, Presence::Required, "Nodes run when it holds, in order."),
            field("otherwise", FieldType::Nodes { min: 0 }, EMPTY_LIST, "Nodes run when it does not, in order."),
        ],
    },
    KindFields {
        tag: KindTag::Expand,
        doc: "Its children once per element of a list, elements at the same time.",
        fields: &[
            field("over", FieldType::Expr, Presence::Required, "A list, or an integer n for 0 to n - 1."),
            field(
                "width",
                FieldType::Expr,
                Presence::Default("\"8\""),
                "Most elements at the same time: an integer of at least 1.",
            ),
            field("max_children", WIDTH, Presence::Required, "Most elements."),
            CHILDREN,
            field("min_ok", MIN_OK, Presence::Default("1"), "Fewest elements that must succeed."),
            field(
                "on_failure",
                ON_FAILURE,
                Presence::Default("\"continue\""),
                "What a failed element does to the others.",
            ),
        ],
    },
    KindFields {
        tag: KindTag::Call,
        doc: "Another workflow as a child run.",
        fields: &[
            field("workflow", FieldType::Text, Presence::Required, "Its name."),
            field("inputs", EXPRS, EMPTY_MAP, "What it is given, by name."),
        ],
    },
    KindFields {
        tag: KindTag::Rlm,
        doc: "Explores a context too large for a prompt by small programs and sub-questions.",
        fields: &[
            field("context", FieldType::Expr, Presence::Required, "What is explored."),
            field("query", FieldType::Template, Presence::Required, "What is asked."),
            field("max_depth", FieldType::Int { min: 1, max: 8 }, Presence::Default("1"), "Deepest sub-question."),
            field("max_calls", WIDTH, Presence::Default("32"), "Most sub-questions."),
        ],
    },
    KindFields {
        tag: KindTag::TeacherReview,
        doc: "A teacher reads what nodes did and proposes candidates for lessons.",
        fields: &[
            field("of", FieldType::List { item: &FieldType::Ref, min: 1 }, Presence::Required, "Whose work is read."),
            field("policy", FieldType::Template, Presence::Default("\"\""), "What to look for."),
            RETRIES,
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_tags() {
        for (position, row) in KINDS.iter().enumerate() {
            assert_eq!(row.tag as usize, position, "{}", row.tag.as_str());
            assert_eq!(KindTag::from_word(row.tag.as_str()), Some(row.tag));
        }
        assert_eq!(KINDS.len(), 20);
    }

    #[test]
    fn no_field_of_a_node_is_named_as_a_kind() {
        for kind in KINDS {
            for field in kind.tag.fields() {
                assert_eq!(KindTag::from_word(field.name), None, "{}.{}", kind.tag.as_str(), field.name);
            }
        }
    }

    #[test]
    fn no_field_is_there_twice() {
        for kind in KINDS {
            let mut names: Vec<_> = kind.tag.fields().map(|field| field.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", kind.tag.as_str());
        }
    }
}
