//! Preparing a leaf: everything that can change its answer becomes data, and the kernel records it before it decides
//! anything.

use std::borrow::Cow;
use std::sync::Arc;

use wf_ir::node::{Approve, Command, Kind, Node, Search, Template, Test};
use wf_ir::{Glob, Value};
use wf_kernel::effect::{LeafRequest, TreeUse};
use wf_kernel::record::Prepared;
use wf_kernel::{Amount, Usage};

use super::failed::{Failed, failure, unsupported};
use super::{LocalEffects, keep, model, role_name};
use crate::contract::Ctx;
use crate::mock::Question;
use crate::template::Scope;

/// How much of `tree.diff` a prompt can show, in bytes.
const DIFF_BYTES_MAX: usize = 256 << 10;
/// Most arguments of a command.
const ARGS_MAX: usize = 1_000;

/// A value of these fields.
pub(super) fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Texts as a value.
fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Value {
    Value::List(texts.into_iter().map(|text| Value::from(text.as_ref())).collect())
}

impl LocalEffects {
    pub(super) async fn prepare(&self, node: &Node, leaf: &LeafRequest, ctx: &Ctx) -> Result<Prepared, Failed> {
        let mut chosen = None;
        let mut estimate = Amount::default();
        let request = match &node.kind {
            Kind::Ask(ask) => {
                let prompt = self.render(node, &ask.prompt, leaf).await?;
                let who = self.chosen(&ctx.workflow, node)?;
                let (request, most) = self.messages(node, leaf, prompt, ask.output.as_ref(), ctx);
                estimate = who
                    .model
                    .as_ref()
                    .map_or(most, |model| model::estimate(&request, &who, model, self.models.as_deref()));
                chosen = Some(who);
                request
            }
            Kind::Agent(agent) => {
                let prompt = self.render(node, &agent.prompt, leaf).await?;
                let who = self.chosen(&ctx.workflow, node)?;
                let (request, most) = self.messages(node, leaf, prompt, agent.output.as_ref(), ctx);
                estimate = who
                    .model
                    .as_ref()
                    .map_or(most, |model| model::estimate(&request, &who, model, self.models.as_deref()));
                chosen = Some(who);
                request
            }
            Kind::Command(command) => Box::pin(self.command_request(node, leaf, command)).await?,
            Kind::Test(test) => Box::pin(self.test_request(node, leaf, test)).await?,
            Kind::Search(search) => Box::pin(self.search_request(node, leaf, search)).await?,
            Kind::Approve(approve) => Box::pin(self.gate_request(node, leaf, approve)).await?,
            Kind::Wait(_) => Value::Null,
            kind => return Err(unsupported(kind)),
        };
        let tree = self.tree_id(&leaf.tree).await?;
        let request = keep::value(Arc::new(request), ctx).await?;
        let model = chosen.as_ref().and_then(|chosen| chosen.model.as_ref());
        let price = model.and_then(|model| model.price).map(|price| Arc::new(price.to_value()));
        let passed_over = model.map(model::passed_over).unwrap_or_default();
        let role = chosen.map_or_else(|| Arc::new(Value::Null), |chosen| chosen.role);
        Ok(Prepared { role, request, tree, estimate, price, passed_over })
    }

    /// What a model is asked, and the most that the answer can use.
    fn messages(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prompt: String,
        schema: Option<&Value>,
        ctx: &Ctx,
    ) -> (Value, Amount) {
        let message = |content: String| map([("role", "user".into()), ("content", Value::Str(content))]);
        let Some(reason) = &leaf.feedback else {
            let estimate = amount(self.mock.estimate(&question(ctx, node, leaf, schema, &prompt)));
            return (request_of(vec![message(prompt)], schema), estimate);
        };
        let feedback =
            format!("Your last answer was not accepted: {reason}\nAnswer again, and see to it that this is put right.");
        let asked = joined([&prompt, &feedback]);
        let estimate = amount(self.mock.estimate(&question(ctx, node, leaf, schema, &asked)));
        (request_of(vec![message(prompt), message(feedback)], schema), estimate)
    }

    async fn command_request(&self, node: &Node, leaf: &LeafRequest, command: &Command) -> Result<Value, Failed> {
        let argv = self.argv(node, leaf, &command.argv).await?;
        self.check_allowed(node, &argv)?;
        let ok_exit = command.ok_exit.iter().map(|code| Value::Int(i64::from(*code))).collect();
        Ok(map([
            ("argv", texts(&argv)),
            ("cwd", command.cwd.as_str().into()),
            ("env", texts(&command.env)),
            ("ok_exit", Value::List(ok_exit)),
            ("writes", texts(command.writes.iter().map(Glob::as_str))),
        ]))
    }

    async fn test_request(&self, node: &Node, leaf: &LeafRequest, test: &Test) -> Result<Value, Failed> {
        let argv = self.argv(node, leaf, &test.argv).await?;
        self.check_allowed(node, &argv)?;
        Ok(map([
            ("argv", texts(&argv)),
            ("cwd", test.cwd.as_str().into()),
            ("env", texts(&test.env)),
            ("expect", test.expect.as_deref().map_or(Value::Null, Value::from)),
        ]))
    }

    async fn search_request(&self, node: &Node, leaf: &LeafRequest, search: &Search) -> Result<Value, Failed> {
        let pattern = self.render(node, &search.pattern, leaf).await?;
        crate::search::compile(&pattern).map_err(|error| failure("pattern", error.to_string()))?;
        Ok(map([
            ("pattern", Value::Str(pattern)),
            ("reads", texts(search.reads.iter().map(Glob::as_str))),
            ("limit", Value::Int(i64::from(search.matches_max))),
        ]))
    }

    async fn gate_request(&self, node: &Node, leaf: &LeafRequest, approve: &Approve) -> Result<Value, Failed> {
        let prompt = self.render(node, &approve.prompt, leaf).await?;
        let shows = leaf.context.get("shows").map_or(Value::Null, |shows| (**shows).clone());
        Ok(map([("prompt", Value::Str(prompt)), ("shows", shows)]))
    }

    async fn argv(&self, node: &Node, leaf: &LeafRequest, argv: &[Template]) -> Result<Vec<String>, Failed> {
        if argv.len() > ARGS_MAX {
            return Err(failure("argv", format!("{} arguments, at most {ARGS_MAX} are allowed", argv.len())));
        }
        let mut rendered = Vec::with_capacity(argv.len());
        for argument in argv {
            rendered.push(self.render(node, argument, leaf).await?);
        }
        Ok(rendered)
    }

    /// Whether a command may be run at all.
    pub(super) fn check_allowed(&self, node: &Node, argv: &[String]) -> Result<(), Failed> {
        if !self.is_trusted {
            let message = "commands of this repository's workflows run only when it is trusted";
            return Err(failure("untrusted", message));
        }
        let program = argv.first().map_or("", String::as_str);
        match &node.permissions.commands {
            Some(allowed) if !allowed.iter().any(|name| name == program) => {
                Err(failure("permission", format!("the command {program:?} is not permitted here")))
            }
            _ => Ok(()),
        }
    }

    /// Renders a template of a leaf. Its values come from the kernel; what it reads of the tree is looked up here.
    async fn render(&self, node: &Node, template: &Template, leaf: &LeafRequest) -> Result<String, Failed> {
        let mut scope = Scope::new(Arc::clone(&leaf.context));
        if template.names.contains("tree") {
            scope = scope.with("tree", Arc::new(Box::pin(self.tree_facts(&leaf.tree)).await?));
        }
        let rendered = self.templates.render(&template.source, scope);
        rendered.map_err(|error| failure("template", format!("the template of `{}`: {error}", node.path)))
    }

    /// `tree`: what a leaf can say of where it works.
    async fn tree_facts(&self, tree: &TreeUse) -> Result<Value, Failed> {
        let (commit, base) = match tree {
            TreeUse::None => return Err(failure("template", "the leaf works in no tree")),
            TreeUse::Branch { begin, base, .. } => (begin, base),
            TreeUse::Snapshot { commit, base } => (commit, base),
        };
        let repository = self.trees()?.repository();
        let (patch, harvest) =
            tokio::try_join!(repository.diff(base, commit, DIFF_BYTES_MAX), repository.harvest(base, commit))?;
        let mut diff = String::from_utf8_lossy(&patch.bytes).into_owned();
        if patch.is_truncated {
            diff.push_str(&format!("\n[cut off after {DIFF_BYTES_MAX} bytes]\n"));
        }
        Ok(map([
            ("diff", Value::Str(diff)),
            ("files", texts(harvest.files.iter().map(|file| &file.path))),
            ("commit", commit.as_str().into()),
        ]))
    }
}

/// The question as the provider sees it.
pub(super) fn question<'a>(
    ctx: &'a Ctx,
    node: &'a Node,
    leaf: &'a LeafRequest,
    schema: Option<&'a Value>,
    prompt: &'a str,
) -> Question<'a> {
    Question {
        run_id: &ctx.run_id,
        path: &leaf.path,
        kind: node.kind.name(),
        role: role_name(node),
        prompt,
        iteration: leaf.iteration,
        attempt: leaf.attempt,
        sample: leaf.sample,
        schema,
        context: &leaf.context,
        told: &leaf.steers,
    }
}

fn request_of(messages: Vec<Value>, schema: Option<&Value>) -> Value {
    map([("messages", Value::List(messages)), ("output", schema.cloned().unwrap_or(Value::Null))])
}

/// The text of a request's messages, all that a model is asked.
pub(super) fn prompt_of(request: &Value) -> Cow<'_, str> {
    let messages = request.get("messages").as_list().unwrap_or(&[]);
    let mut texts = messages.iter().filter_map(|message| message.get("content").as_str());
    match (texts.next(), texts.next()) {
        (Some(only), None) => Cow::Borrowed(only),
        (Some(first), Some(second)) => Cow::Owned(joined([first, second])),
        (None, _) => Cow::Borrowed(""),
    }
}

/// Messages as one text, for what looks at all that is asked.
fn joined<T: AsRef<str>>(messages: [T; 2]) -> String {
    format!("{}\n\n{}", messages[0].as_ref(), messages[1].as_ref())
}

fn amount(usage: Usage) -> Amount {
    usage.amount_or(Amount::default())
}
