//! External agents: programs that a person already uses, which work in a tree until they hand back a result.
//!
//! There are two ways to speak to one: the Agent Client Protocol over its standard streams (`acp`), and what headless
//! command lines print (`headless`, with a table of what each prints). Both are one contract with the native agent:
//! what is seen meanwhile goes to a trace, the result is typed and asked for again where it does not fit, usage is what
//! the agent reports and unknown where it reports none, and the id of its session is kept, so that an attempt that was
//! cut off can go on with it (`session`).
//!
//! An agent runs below the process supervisor, in the sandbox of its leaf. Whatever it writes is bounded, and whatever is
//! wrong with it is a [`Fault`], which is data.

mod acp;
mod answers;
mod course;
mod dialects;
mod find;
mod headless;
mod line;
mod read;
pub(crate) mod session;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use wf_ir::Value;
use wf_ir::node::Driver;
use wf_kernel::{Amount, Usage};

use crate::agent::files::Tree;
use crate::contract::{CancelToken, Steering};
use crate::models::typed::Budget;
use crate::models::{Delta, Price};
use crate::process::{SpawnError, Spec};
use crate::sandbox::HostRule;

pub use find::{Found, KNOWN, Known, find, version};
pub use line::{ALL_BYTES_MAX, LINE_BYTES_MAX};
pub use session::Sessions;

/// What stands before an agent's name where roles name models: `agents/NAME`.
pub const AGENTS: &str = "agents";

/// How an agent is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgentKind {
    /// The Agent Client Protocol.
    Acp,
    /// `claude -p`.
    Claude,
    /// `codex exec`.
    Codex,
    /// `opencode run`.
    OpenCode,
}

impl AgentKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Acp, Self::Claude, Self::Codex, Self::OpenCode];

    /// Its name in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acp => "acp",
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::OpenCode => "opencode",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether a node that wants this driver can have it.
    pub fn serves(self, driver: Driver) -> bool {
        match driver {
            // A node that says nothing leaves it to its role.
            Driver::Native => true,
            Driver::Acp => self == Self::Acp,
            Driver::Cli => self != Self::Acp,
        }
    }
}

/// How long an agent may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentTimeouts {
    /// Until it has begun a session.
    pub start: Duration,
    /// Between two lines of it.
    pub idle: Duration,
    /// For everything, where its node does not say.
    pub total: Duration,
}

impl Default for AgentTimeouts {
    fn default() -> Self {
        Self { start: Duration::from_secs(60), idle: Duration::from_secs(900), total: Duration::from_secs(3_600) }
    }
}

/// An agent, as the user has configured it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSpec {
    /// How it is spoken to.
    pub kind: AgentKind,
    /// Its program, and arguments that come first.
    pub command: Vec<String>,
    /// Variables of the environment that it is given.
    pub env: Vec<String>,
    /// Files and directories of its own, which it may write.
    pub state: Vec<PathBuf>,
    /// What it may read wherever that is.
    pub reads: Vec<PathBuf>,
    /// Whom it may reach, besides those that the node may.
    pub network: Vec<HostRule>,
    /// The most that it can use; so much is reserved before it begins, and charged when it does not say what it used.
    pub reserve: Amount,
    /// What its tokens cost, where it does not say so itself.
    pub price: Option<Price>,
    /// How long it may take.
    pub timeouts: AgentTimeouts,
}

impl AgentSpec {
    /// What of it can change an answer.
    pub fn to_value(&self) -> Value {
        let texts = |texts: &[String]| Value::List(texts.iter().map(|text| Value::from(text.as_str())).collect());
        let network = self.network.iter().map(|host| Value::Str(host.to_string()));
        Value::map([
            ("kind", Value::from(self.kind.name())),
            ("command", texts(&self.command)),
            ("env", texts(&self.env)),
            ("network", Value::List(network.collect())),
        ])
    }
}

/// What is to be done.
pub struct Order<'a> {
    /// Who does it.
    pub agent: &'a AgentSpec,
    /// All that it is told at first.
    pub task: String,
    /// JSON Schema of the result; none is text.
    pub schema: Option<&'a Value>,
    /// Further tasks that it may hand back.
    pub tasks_max: u32,
    /// A session that was cut off, with which it is to go on if it can.
    pub resume: Option<String>,
    /// What was reserved for it.
    pub held: Amount,
    /// The most time that it may take.
    pub timeout: Duration,
}

/// What is around an agent.
pub struct World<'a> {
    /// How its process is started; the command is that of the agent.
    pub process: Spec,
    /// The tree it works in, as far as it asks for files.
    pub tree: Tree,
    /// What it may do when it asks.
    pub may: May,
    /// Ends it.
    pub cancel: &'a CancelToken,
    /// What it is told while it works.
    pub steering: &'a Steering,
    /// What it draws on.
    pub budget: &'a dyn Budget,
    /// Gets what it says and which tools it uses.
    pub seen: &'a mut (dyn FnMut(Delta<'_>) + Send),
    /// Gets lines for those who watch: the stream's name and the text.
    pub trace: &'a (dyn Fn(&str, &str) + Send + Sync),
    /// Gets the id of its session as soon as it is known.
    pub session: &'a (dyn Fn(&str) + Send + Sync),
}

/// What an agent may do, by the permissions of its leaf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct May {
    /// Tools that it may use; none is all.
    pub tools: Option<Vec<String>>,
    /// Whether it may reach anybody.
    pub fetch: bool,
}

impl May {
    /// Whether one of these tools may be used.
    pub fn uses(&self, names: &[&str]) -> bool {
        self.tools.as_ref().is_none_or(|tools| tools.iter().any(|tool| names.contains(&tool.as_str())))
    }
}

/// A result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// It.
    pub value: Value,
    /// Further tasks.
    pub tasks: Vec<Value>,
    /// What was used, as far as the agent said.
    pub usage: Usage,
    /// Its session.
    pub session: Option<String>,
    /// How often it was asked.
    pub prompts: u32,
}

/// An end without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Why.
    pub fault: Fault,
    /// What was used, as far as the agent said.
    pub usage: Usage,
    /// Its session.
    pub session: Option<String>,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its process could not be started.
    Spawn {
        /// A short stable word.
        code: &'static str,
        /// For people.
        message: String,
        /// Whether another attempt could end differently.
        is_retryable: bool,
    },
    /// It did not begin a session.
    Start(String),
    /// It wants to be logged in.
    Login(String),
    /// What it wrote is not what was agreed.
    Protocol(String),
    /// It wrote too much.
    TooMuch(String),
    /// It ended before its turn was over.
    Ended(String),
    /// It said nothing for too long.
    Idle(Duration),
    /// It says itself that it did not work.
    Said(String),
    /// It does not want to do it.
    Refused(String),
    /// It has reached a limit of its own.
    Limit(&'static str),
    /// There is no budget left.
    OverBudget,
    /// It handed nothing back that fits.
    NoResult(String),
    /// It took too long.
    TimedOut,
    /// It was ended because that was asked for.
    Cancelled,
}

impl Fault {
    /// A short stable word for a failure's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Spawn { code, .. } => code,
            Self::Start(_) => "agent_start",
            Self::Login(_) => "agent_login",
            Self::Protocol(_) => "agent_protocol",
            Self::TooMuch(_) => "agent_output",
            Self::Ended(_) => "agent_ended",
            Self::Idle(_) => "agent_idle",
            Self::Said(_) => "agent_error",
            Self::Refused(_) => "refused",
            Self::Limit(_) => "agent_limit",
            Self::OverBudget => "agent_budget",
            Self::NoResult(_) => "output_invalid",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether another attempt could end differently.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Spawn { is_retryable, .. } => *is_retryable,
            Self::Protocol(_) | Self::TooMuch(_) | Self::Ended(_) | Self::Idle(_) | Self::Said(_) => true,
            Self::NoResult(_) | Self::Limit(_) => true,
            Self::Start(_) => true,
            Self::Login(_) | Self::Refused(_) | Self::OverBudget | Self::TimedOut | Self::Cancelled => false,
        }
    }

    /// For people.
    pub fn message(&self) -> String {
        match self {
            Self::Spawn { message, .. } => message.clone(),
            Self::Start(why) => format!("the agent did not begin: {why}"),
            Self::Login(why) => format!("the agent wants to be logged in: {why}"),
            Self::Protocol(why) => format!("the agent did not keep to what was agreed: {why}"),
            Self::TooMuch(why) => format!("the agent wrote too much: {why}"),
            Self::Ended(how) => format!("the agent ended before it was done: {how}"),
            Self::Idle(after) => format!("the agent said nothing for {} s", after.as_secs_f32()),
            Self::Said(what) => format!("the agent says: {what}"),
            Self::Refused(said) => format!("the agent does not want to do it: {said}"),
            Self::Limit(which) => format!("the agent reached a limit of its own: {which}"),
            Self::OverBudget => "the budget was used up before the agent handed anything back".to_owned(),
            Self::NoResult(reason) => format!("the agent handed nothing back that fits: {reason}"),
            Self::TimedOut => "the agent took too long".to_owned(),
            Self::Cancelled => "it was cancelled".to_owned(),
        }
    }
}

impl From<SpawnError> for Fault {
    fn from(error: SpawnError) -> Self {
        Self::Spawn { code: error.code(), message: error.to_string(), is_retryable: error.is_retryable() }
    }
}

/// Works until there is a result.
///
/// # Errors
/// When there is none, with the reason.
pub async fn work(order: Order<'_>, world: World<'_>) -> Result<Done, Stopped> {
    match dialects::dialect(order.agent.kind) {
        None => acp::work(order, world).await,
        Some(dialect) => headless::work(dialect, order, world).await,
    }
}

/// The agents that are configured, by name.
pub type Agents = BTreeMap<String, AgentSpec>;
