//! The rules of a mock: which answer is given to which question. Read from TOML; docs/mock.md describes the format.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use serde::Deserialize;
use toml::Spanned;
use wf_ir::template::{has_tags, reads};
use wf_ir::{Decimal, Diagnostic, Digest, Span, Value};

use super::edit::{self, Change, Edit};
use super::pick::Pick;
use crate::agent::scripted::Turn;

/// Largest file of rules, in bytes.
pub const RULES_BYTES_MAX: usize = 1 << 20;
/// Most rules in one file.
pub const RULES_MAX: usize = 1_000;
/// Longest wait that a rule can ask for.
const WAIT_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Raised when the meaning of rules changes, so that old answers are not taken for new ones.
const FORMAT: i64 = 1;

/// The rules of a mock, in order. The first that fits a question answers it.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub(super) rules: Vec<Rule>,
    digest: Option<Digest>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) pick: Pick,
    pub(super) answer: Answer,
    pub(super) edits: Vec<Edit>,
    pub(super) say: Vec<String>,
    pub(super) usage: UsageRule,
    pub(super) latency_ms: Option<u64>,
    pub(super) throttle: Option<Throttle>,
    pub(super) until_told: bool,
    /// What is added to the list of tasks that an agent works on; texts in it are templates.
    pub(super) tasks: Vec<Value>,
    /// What an agent does with its tools before it answers; texts in arguments are templates.
    pub(super) turns: Vec<Turn>,
}

/// What a rule answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A value that fits the schema.
    Generated,
    /// This text (a template).
    Text(String),
    /// This value; its texts are templates.
    Value(Value),
    /// The value of this JSON text (a template).
    Json(String),
    /// A failure.
    Error(ErrorRule),
}

/// What a rule says of usage; the rest is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UsageRule {
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) cost_usd_micros: Option<u64>,
}

/// How often a question is refused before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Throttle {
    pub(super) times: u32,
    pub(super) retry_after_ms: u64,
}

/// A failure that a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ErrorRule {
    pub(super) code: String,
    pub(super) message: String,
    #[serde(default)]
    pub(super) retryable: bool,
}

impl Rules {
    /// The digest of what the rules say, however they are spelt; none without a file.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether some rule says what an agent does with its tools.
    pub fn has_turns(&self) -> bool {
        self.rules.iter().any(|rule| !rule.turns.is_empty())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Reads a file of rules.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Vec<Diagnostic>> {
        let name = path.display().to_string();
        let span = Span { file: name.as_str().into(), ..Span::default() };
        let source = read(path).map_err(|reason| {
            vec![Diagnostic::error("WF0650", &span, format!("the mock's rules cannot be read: {reason}"))]
        })?;
        Self::parse(&source, &name)
    }

    /// Reads rules. `file` names them in diagnostics.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn parse(source: &str, file: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut reader = Reader { source, file: file.into(), found: Vec::new() };
        let rules = reader.file();
        if !reader.found.is_empty() {
            return Err(reader.found);
        }
        let digest = Some(Digest::of(canonical(&rules).to_json().as_bytes()));
        Ok(Self { rules, digest })
    }
}

fn read(path: &Path) -> Result<String, String> {
    // Opening a FIFO would wait for somebody to write.
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    let opened = OpenOptions::new().read(true).custom_flags(flags as i32).open(path);
    let file = opened.map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(RULES_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > RULES_BYTES_MAX {
        return Err(format!("it is larger than {RULES_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default)]
    rule: Vec<Spanned<RuleText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    #[serde(default, rename = "match")]
    picks: MatchText,
    text: Option<Spanned<String>>,
    json: Option<Spanned<Value>>,
    #[serde(default)]
    edits: Vec<Spanned<EditText>>,
    #[serde(default)]
    say: Vec<String>,
    #[serde(default)]
    usage: UsageText,
    latency_ms: Option<Spanned<u64>>,
    throttle: Option<Spanned<Throttle>>,
    error: Option<Spanned<ErrorRule>>,
    #[serde(default)]
    until_told: bool,
    #[serde(default)]
    tasks: Vec<Value>,
    #[serde(default)]
    turns: Vec<Spanned<TurnText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnText {
    #[serde(default)]
    say: String,
    #[serde(default)]
    calls: Vec<CallText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallText {
    tool: String,
    #[serde(default)]
    args: Value,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MatchText {
    node: Option<Spanned<String>>,
    kind: Option<Spanned<String>>,
    role: Option<String>,
    prompt_contains: Option<String>,
    iteration: Option<u32>,
    attempt: Option<u32>,
    sample: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EditText {
    path: String,
    write: Option<String>,
    append: Option<String>,
    replace: Option<ReplaceText>,
    delete: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplaceText {
    from: String,
    to: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct UsageText {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cost_usd: Option<Spanned<Value>>,
}

type Place = std::ops::Range<usize>;

struct Reader<'a> {
    source: &'a str,
    file: Arc<str>,
    found: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn error(&mut self, code: &'static str, place: Place, message: impl Into<String>, hint: Option<&str>) {
        let (line, column) = position(self.source, place.start);
        let (end_line, end_column) = position(self.source, place.end.max(place.start));
        let span = Span { file: Arc::clone(&self.file), line, column, end_line, end_column };
        let diagnostic = Diagnostic::error(code, &span, message);
        self.found.push(match hint {
            Some(hint) => diagnostic.with_hint(hint),
            None => diagnostic,
        });
    }

    fn file(&mut self) -> Vec<Rule> {
        if self.source.len() > RULES_BYTES_MAX {
            let bytes = self.source.len();
            self.error("WF0650", 0..0, format!("{bytes} bytes of rules, at most {RULES_BYTES_MAX} are allowed"), None);
            return Vec::new();
        }
        let parsed = match toml::Deserializer::parse(self.source) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.error("WF0651", error.span().unwrap_or_default(), one_line(error.message()), None);
                return Vec::new();
            }
        };
        let text = match FileText::deserialize(parsed) {
            Ok(text) => text,
            Err(error) => {
                self.error("WF0652", error.span().unwrap_or_default(), one_line(error.message()), None);
                return Vec::new();
            }
        };
        if let Some(excess) = text.rule.get(RULES_MAX) {
            let count = text.rule.len();
            self.error("WF0650", excess.span(), format!("{count} rules, at most {RULES_MAX} are allowed"), None);
            return Vec::new();
        }
        text.rule.into_iter().map(|rule| self.rule(rule)).collect()
    }

    fn rule(&mut self, rule: Spanned<RuleText>) -> Rule {
        let place = rule.span();
        let rule = rule.into_inner();
        let edits_place = rule.edits.first().map(Spanned::span);
        let is_error = rule.error.is_some();
        let has_edits = edits_place.is_some();
        if let (true, Some(place)) = (is_error, edits_place) {
            self.error("WF0653", place, "a rule that fails cannot edit", Some("leave out `edits` or `error`"));
        }
        let answer = self.answer(&place, rule.text, rule.json, rule.error);
        let latency = rule.latency_ms.map(|latency| {
            self.wait(latency.span(), *latency.get_ref());
            latency.into_inner()
        });
        let throttle = rule.throttle.map(|throttle| {
            self.wait(throttle.span(), throttle.get_ref().retry_after_ms);
            throttle.into_inner()
        });
        Rule {
            pick: self.pick(rule.picks),
            answer,
            edits: rule.edits.into_iter().filter_map(|edit| self.edit(edit)).collect(),
            say: rule.say,
            usage: self.usage(rule.usage),
            latency_ms: latency,
            throttle,
            until_told: rule.until_told,
            tasks: rule.tasks,
            turns: self.turns(rule.turns, has_edits),
        }
    }

    fn turns(&mut self, turns: Vec<Spanned<TurnText>>, has_edits: bool) -> Vec<Turn> {
        if let (true, Some(first)) = (has_edits, turns.first()) {
            let hint = "leave out `edits`, and call `write` or `edit` in a turn";
            self.error("WF0653", first.span(), "a rule with turns edits with its tools", Some(hint));
        }
        let call = |call: CallText| (call.tool, call.args);
        let turn = |turn: TurnText| Turn { text: turn.say, calls: turn.calls.into_iter().map(call).collect() };
        turns.into_iter().map(|it| turn(it.into_inner())).collect()
    }

    fn wait(&mut self, place: Place, ms: u64) {
        if ms > WAIT_MS_MAX {
            self.error("WF0654", place, format!("{ms} ms, at most {WAIT_MS_MAX} are allowed"), None);
        }
    }

    fn answer(
        &mut self,
        rule: &Place,
        text: Option<Spanned<String>>,
        json: Option<Spanned<Value>>,
        error: Option<Spanned<ErrorRule>>,
    ) -> Answer {
        match (text, json, error) {
            (None, None, None) => Answer::Generated,
            (Some(text), None, None) => {
                self.template(text.span(), text.get_ref());
                Answer::Text(text.into_inner())
            }
            (None, Some(json), None) => self.json(json),
            (None, None, Some(error)) => {
                let is_word = |text: &str| {
                    text.starts_with(|c: char| c.is_ascii_lowercase())
                        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                };
                if !is_word(&error.get_ref().code) {
                    let hint = "letters, digits and `_`, as in `provider`";
                    self.error("WF0654", error.span(), "a failure's code is a short lower-case word", Some(hint));
                }
                Answer::Error(error.into_inner())
            }
            _ => {
                let hint = "keep one of `text`, `json` and `error`";
                self.error("WF0653", rule.clone(), "a rule gives one answer", Some(hint));
                Answer::Generated
            }
        }
    }

    fn json(&mut self, json: Spanned<Value>) -> Answer {
        let place = json.span();
        match json.into_inner() {
            Value::Str(text) => {
                self.template(place.clone(), &text);
                // A template is JSON only when it has been rendered.
                if !has_tags(&text)
                    && let Err(error) = Value::from_json(&text)
                {
                    self.error("WF0655", place, format!("`json` is not JSON: {error}"), None);
                }
                Answer::Json(text)
            }
            value => {
                self.texts(&place, &value);
                Answer::Value(value)
            }
        }
    }

    /// Checks the templates in a value.
    fn texts(&mut self, place: &Place, value: &Value) {
        match value {
            Value::Str(text) => self.template(place.clone(), text),
            Value::List(items) => items.iter().for_each(|item| self.texts(place, item)),
            Value::Map(entries) => {
                if entries.contains_key(TOML_DATE) {
                    let hint = "put it into quotes";
                    self.error("WF0655", place.clone(), "JSON has no dates", Some(hint));
                }
                entries.values().for_each(|item| self.texts(place, item));
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Decimal(_) => {}
        }
    }

    fn template(&mut self, place: Place, text: &str) {
        if let Err(error) = reads(text) {
            let hint = "braces that are no template stand in `{% raw %}…{% endraw %}`";
            self.error("WF0656", place, format!("not a template: {error}"), Some(hint));
        }
    }

    fn pick(&mut self, text: MatchText) -> Pick {
        if let Some(node) = &text.node
            && let Err(reason) = Pick::check_node(node.get_ref())
        {
            self.error("WF0654", node.span(), reason, Some("for example `green/fix`, `audit[17]/read` or `**/review`"));
        }
        if let Some(kind) = &text.kind
            && !matches!(kind.get_ref().as_str(), "agent" | "ask")
        {
            let message = format!("the mock never answers for a node of kind {:?}", kind.get_ref());
            self.error("WF0654", kind.span(), message, Some("it answers for `agent` and `ask`"));
        }
        Pick {
            node: text.node.map(Spanned::into_inner),
            kind: text.kind.map(Spanned::into_inner),
            role: text.role,
            prompt_contains: text.prompt_contains,
            iteration: text.iteration,
            attempt: text.attempt,
            sample: text.sample,
        }
    }

    fn edit(&mut self, edit: Spanned<EditText>) -> Option<Edit> {
        let place = edit.span();
        let edit = edit.into_inner();
        self.template(place.clone(), &edit.path);
        if !has_tags(&edit.path)
            && let Err(reason) = edit::names(&edit.path)
        {
            self.error("WF0657", place.clone(), format!("{:?}: {reason}", edit.path), None);
        }
        let replace = edit.replace.map(|replace| Change::Replace { from: replace.from, to: replace.to });
        if matches!(&replace, Some(Change::Replace { from, .. }) if from.is_empty()) {
            self.error("WF0657", place.clone(), "`from` is empty", None);
        }
        let delete = edit.delete.filter(|delete| *delete).map(|_| Change::Delete);
        let changes = [edit.write.map(Change::Write), edit.append.map(Change::Append), replace, delete];
        let mut changes = changes.into_iter().flatten();
        match (changes.next(), changes.next()) {
            (Some(change), None) => Some(Edit { path: edit.path, change }),
            _ => {
                let hint = "`write`, `append`, `replace` or `delete = true`";
                self.error("WF0657", place, "an edit makes one change", Some(hint));
                None
            }
        }
    }

    fn usage(&mut self, usage: UsageText) -> UsageRule {
        let cost_usd_micros = usage.cost_usd.and_then(|cost| {
            let micros = match cost.get_ref() {
                Value::Int(dollars) => Decimal::from_int(*dollars).map(Decimal::micros),
                Value::Decimal(dollars) => Some(dollars.micros()),
                _ => None,
            };
            let micros = micros.and_then(|micros| u64::try_from(micros).ok());
            if micros.is_none() {
                self.error("WF0654", cost.span(), "`cost_usd` is a number of dollars, at least 0", None);
            }
            micros
        });
        UsageRule { input_tokens: usage.input_tokens, output_tokens: usage.output_tokens, cost_usd_micros }
    }
}

/// The key under which the TOML reader hands over a date.
const TOML_DATE: &str = "$__toml_private_datetime";

/// Line and column of a byte, both from 1.
fn position(source: &str, at: usize) -> (u32, u32) {
    let before = &source[..source.floor_char_boundary(at.min(source.len()))];
    let line = before.bytes().filter(|byte| *byte == b'\n').count();
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count());
    let number = |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX);
    (number(line), number(column))
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}

/// What the rules say, in one spelling.
fn canonical(rules: &[Rule]) -> Value {
    let rules = rules.iter().map(canonical_rule).collect();
    map([("format", Value::Int(FORMAT)), ("rules", Value::List(rules))])
}

fn canonical_rule(rule: &Rule) -> Value {
    let (answer, content) = match &rule.answer {
        Answer::Generated => ("generated", Value::Null),
        Answer::Text(text) => ("text", text.as_str().into()),
        Answer::Value(value) => ("value", value.clone()),
        Answer::Json(text) => ("json", text.as_str().into()),
        Answer::Error(error) => (
            "error",
            map([
                ("code", error.code.as_str().into()),
                ("message", error.message.as_str().into()),
                ("retryable", error.retryable.into()),
            ]),
        ),
    };
    let throttle = rule.throttle.map_or(Value::Null, |throttle| {
        map([("times", number(throttle.times)), ("retry_after_ms", number(throttle.retry_after_ms))])
    });
    let mut canonical = map([
        ("match", rule.pick.canonical()),
        ("answer", answer.into()),
        ("content", content),
        ("edits", Value::List(rule.edits.iter().map(canonical_edit).collect())),
        ("say", Value::List(rule.say.iter().map(|line| line.as_str().into()).collect())),
        ("input_tokens", optional(rule.usage.input_tokens)),
        ("output_tokens", optional(rule.usage.output_tokens)),
        ("cost_usd_micros", optional(rule.usage.cost_usd_micros)),
        ("latency_ms", optional(rule.latency_ms)),
        ("throttle", throttle),
        ("until_told", rule.until_told.into()),
        ("tasks", Value::List(rule.tasks.clone())),
    ]);
    // Rules without turns keep the digest that they had before there were any.
    if let (false, Value::Map(fields)) = (rule.turns.is_empty(), &mut canonical) {
        fields.insert("turns".to_owned(), Value::List(rule.turns.iter().map(canonical_turn).collect()));
    }
    canonical
}

fn canonical_turn(turn: &Turn) -> Value {
    let call = |(tool, args): &(String, Value)| Value::List(vec![tool.as_str().into(), args.clone()]);
    map([("say", turn.text.as_str().into()), ("calls", Value::List(turn.calls.iter().map(call).collect()))])
}

fn canonical_edit(edit: &Edit) -> Value {
    let texts: [&str; 2] = match &edit.change {
        Change::Write(text) | Change::Append(text) => [text, ""],
        Change::Replace { from, to } => [from, to],
        Change::Delete => ["", ""],
    };
    Value::List([&edit.path, edit.change.name(), texts[0], texts[1]].map(Value::from).into())
}

pub(super) fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub(super) fn optional(number_or_none: Option<impl Into<u64>>) -> Value {
    number_or_none.map_or(Value::Null, number)
}

fn number(value: impl Into<u64>) -> Value {
    // Larger ones cannot be told apart, and mean the same.
    Value::Int(i64::try_from(value.into()).unwrap_or(i64::MAX))
}
