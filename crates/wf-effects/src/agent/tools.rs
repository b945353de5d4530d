//! The tools of the agent: which there are, what a model is told of them, and what comes of a call.

use std::time::Duration;

use wf_ir::Value;

use super::files::{LINES_MAX, Tree};
use super::find;
use super::output::{Outputs, PREFIX, SHOWN_BYTES_MAX, Show};
use super::shell::Shell;
use crate::contract::CancelToken;
use crate::models::ToolSpec;

/// The tool that ends the work.
pub const HAND_BACK: &str = "hand_back";
/// All others, in the order in which models are told of them.
pub const NAMES: [&str; 6] = ["read", "write", "edit", "glob", "grep", "bash"];

/// What an agent has at hand.
pub struct Tools {
    /// The tree it works in, if any.
    pub tree: Option<Tree>,
    /// How it runs commands, or why it cannot.
    pub shell: Result<Shell, String>,
    /// Which tools it may use; none is all.
    pub allowed: Option<Vec<String>>,
    /// Results that were too long to show.
    pub outputs: Outputs,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What the model is shown.
    pub text: String,
    /// Whether it did not work.
    pub is_error: bool,
}

impl Tools {
    /// Whether a tool of this name can be used here.
    pub fn has(&self, name: &str) -> bool {
        let is_allowed = self.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(|it| it == name));
        let writes = self.tree.as_ref().is_some_and(Tree::is_writable);
        is_allowed
            && match name {
                "read" | "glob" | "grep" => self.tree.is_some(),
                "write" | "edit" => writes,
                "bash" => self.tree.is_some() && self.shell.is_ok(),
                _ => false,
            }
    }

    /// What a model is told of the tools, `hand_back` last. Always in one order, so that siblings share a prefix.
    pub fn specs(&self, schema: Option<&Value>, tasks_max: u32) -> Vec<ToolSpec> {
        let mut specs: Vec<ToolSpec> = NAMES.into_iter().filter(|name| self.has(name)).map(spec).collect();
        specs.push(hand_back(schema, tasks_max));
        specs
    }

    /// Does what a model asks for.
    pub async fn call(
        &mut self,
        name: &str,
        arguments: &Value,
        cancel: &CancelToken,
        trace: &(dyn Fn(&str, &str) + Send + Sync),
    ) -> Shown {
        let made = match check(name, arguments) {
            Ok(()) if !self.has(name) => Err(self.missing(name)),
            Ok(()) => self.make(name, arguments, cancel, trace).await,
            Err(reason) => Err(reason),
        };
        let is_error = made.is_err();
        let show = if name == "bash" { Show::Ends } else { Show::First };
        let text = self.outputs.cap(made.unwrap_or_else(|reason| format!("error: {reason}")), show).await;
        Shown { text, is_error }
    }

    fn missing(&self, name: &str) -> String {
        match (&self.shell, name) {
            (Err(reason), "bash") => format!("there is no `bash` here: {reason}"),
            _ => {
                let names: Vec<&str> = NAMES.into_iter().filter(|name| self.has(name)).chain([HAND_BACK]).collect();
                format!("there is no tool {name:?} here; there are: {}", names.join(", "))
            }
        }
    }

    async fn make(
        &mut self,
        name: &str,
        arguments: &Value,
        cancel: &CancelToken,
        trace: &(dyn Fn(&str, &str) + Send + Sync),
    ) -> Result<String, String> {
        let text = |field: &str| arguments.get(field).as_str();
        let number = |field: &str| arguments.get(field).as_int().and_then(|number| usize::try_from(number).ok());
        let path = text("path").map_or("", |path| path.strip_prefix("./").unwrap_or(path));
        if name == "read" && path.starts_with(PREFIX) {
            let limit = number("limit").unwrap_or(SHOWN_BYTES_MAX);
            return self.outputs.read(path, number("offset").unwrap_or(0), limit).await;
        }
        if name == "bash" {
            let shell = self.shell.as_ref().map_err(Clone::clone)?;
            let timeout = number("timeout_s").map(|seconds| Duration::from_secs(seconds as u64));
            return shell.run(text("command").unwrap_or_default(), timeout, cancel, trace).await;
        }
        let tree = self.tree.as_mut().ok_or("there is no tree to work in")?;
        let pattern = text("pattern").unwrap_or_default();
        match name {
            "read" => tree.lines(path, number("offset").unwrap_or(1), number("limit").unwrap_or(LINES_MAX)),
            "write" => tree.write(path, text("content").unwrap_or_default()),
            "edit" => {
                let (old, new) = (text("old").unwrap_or_default(), text("new").unwrap_or_default());
                tree.edit(path, old, new, arguments.get("all") == &Value::Bool(true))
            }
            "glob" | "grep" => {
                let (scope, pattern, cancel) = (tree.scope().clone(), pattern.to_owned(), cancel.clone());
                let (is_glob, within) = (name == "glob", text("within").map(str::to_owned));
                // Looking at a whole tree may take long.
                let found = tokio::task::spawn_blocking(move || match is_glob {
                    true => find::glob(&scope, &pattern, &cancel),
                    false => find::grep(&scope, &pattern, within.as_deref(), &cancel),
                });
                found.await.map_err(|error| error.to_string())?
            }
            _ => Err(format!("there is no tool {name:?}")),
        }
    }
}

/// Whether arguments fit what the model was told.
fn check(name: &str, arguments: &Value) -> Result<(), String> {
    if !NAMES.contains(&name) {
        return Ok(());
    }
    let Value::Map(_) = arguments else {
        return Err("the arguments are not a JSON object".to_owned());
    };
    wf_ir::types::check_schema(&spec(name).parameters, arguments)
        .map_err(|reason| format!("the arguments do not fit: {reason}"))
}

fn field(kind: &str, description: &str) -> Value {
    Value::map([("type", Value::from(kind)), ("description", Value::from(description))])
}

fn parameters(required: &[&str], fields: Vec<(&str, Value)>) -> Value {
    Value::map([
        ("type", Value::from("object")),
        ("properties", Value::map(fields)),
        ("required", Value::List(required.iter().map(|name| Value::from(*name)).collect())),
        ("additionalProperties", Value::from(false)),
    ])
}

fn spec(name: &str) -> ToolSpec {
    let path = || ("path", field("string", "path of a file, from the root of the tree"));
    let (description, parameters) = match name {
        "read" => (
            "Shows a text file with line numbers. With a path \"output:N\" it shows a part of a long result, and then \
             `offset` and `limit` count bytes.",
            parameters(
                &["path"],
                vec![
                    path(),
                    ("offset", field("integer", "first line, from 1")),
                    ("limit", field("integer", "how many lines")),
                ],
            ),
        ),
        "write" => (
            "Makes a file with this content, or writes one anew. A file that exists must be read first.",
            parameters(&["path", "content"], vec![path(), ("content", field("string", "its whole text"))]),
        ),
        "edit" => (
            "Replaces a text in a file. The file must be read first, and must hold `old` exactly once unless `all` is set.",
            parameters(
                &["path", "old", "new"],
                vec![
                    path(),
                    ("old", field("string", "the text as it is, without line numbers")),
                    ("new", field("string", "the text as it shall be")),
                    ("all", field("boolean", "replace it wherever it is")),
                ],
            ),
        ),
        "glob" => (
            "Lists files whose paths match, such as src/**/*.rs. What git ignores is left out.",
            parameters(&["pattern"], vec![("pattern", field("string", "a glob"))]),
        ),
        "grep" => (
            "Shows lines that match a regular expression. What git ignores is left out.",
            parameters(
                &["pattern"],
                vec![
                    ("pattern", field("string", "a regular expression")),
                    ("within", field("string", "a glob that paths must match")),
                ],
            ),
        ),
        _ => (
            "Runs a command with bash in the root of the tree, and shows its exit code and what it wrote. Nothing that it \
             leaves running survives it.",
            parameters(
                &["command"],
                vec![
                    ("command", field("string", "the command")),
                    ("timeout_s", field("integer", "after how many seconds it is ended; 600 unless said otherwise")),
                ],
            ),
        ),
    };
    ToolSpec { name: name.to_owned(), description: description.to_owned(), parameters }
}

fn hand_back(schema: Option<&Value>, tasks_max: u32) -> ToolSpec {
    let result = schema.cloned().unwrap_or_else(|| field("string", "the result, in words"));
    let mut fields = vec![("result", result)];
    if tasks_max > 0 {
        let tasks = Value::map([
            ("type", Value::from("array")),
            ("maxItems", Value::Int(i64::from(tasks_max))),
            ("description", Value::from("further tasks that were found and that others shall do")),
        ]);
        fields.push(("tasks", tasks));
    }
    ToolSpec {
        name: HAND_BACK.to_owned(),
        description: "Ends the work and hands its result back. Call it once, when everything is done, or when it is \
                      certain that it cannot be done."
            .to_owned(),
        parameters: parameters(&["result"], fields),
    }
}
