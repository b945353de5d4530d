//! The command line as it is written.

mod fleet;
mod trees;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use fleet::{FleetVerb, TaskArg, TaskStatusArg, TasksArgs, WorkerArgs};
pub(crate) use trees::{CleanArgs, NewTreeArgs, OpenArgs, RescueVerb, RestoreArgs, TreeArg, TreesVerb};

/// Runs typed workflows of agents: durable, budgeted, replayable.
#[derive(Debug, Parser)]
#[command(
    name = "whaleflow",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  whaleflow init                          write a first workflow for this repository
  whaleflow run starter                   run it, and watch
  whaleflow show                          what the last run did
  whaleflow resume @last                  go on after a crash or Ctrl-C

RUN is the id of a run, the beginning of one, or @last. Data goes to standard output,
messages to standard error.

Exit codes:
  0 ok                          7 trust or permission missing
  1 run failed or cancelled     8 no sandbox
  2 usage                       9 log damaged, or a replay differs
  3 invalid workflow, config   10 refused
  4 budget exhausted           70 a defect of whaleflow
  5 waiting for a decision    130 interrupted
  6 store unreachable"
)]
pub(crate) struct Cli {
    /// Print one JSON object on standard output instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write a commented starter workflow for this repository
    #[command(after_help = "\
Examples:
  whaleflow init                     writes .whaleflow/workflows/starter.star and what it needs
  whaleflow run starter              runs it
  whaleflow init --model openai/NAME --yes

Where keys of providers or agents are here and nobody is configured, it proposes a configuration
of yours with the models and agents that you name, and writes it when you say so. Nothing that
exists is overwritten.")]
    Init(InitArgs),
    /// Say what works here and what does not
    #[command(after_help = "\
Examples:
  whaleflow doctor
  whaleflow doctor --json | jq '.checks[] | select(.level != \"ok\")'")]
    Doctor,
    /// Let the commands of this repository's workflows run
    #[command(after_help = "\
Examples:
  whaleflow trust             trust the repository around this directory
  whaleflow trust --revoke    take it back
  whaleflow trust --repo ~/src/other

The record lies outside of the repository, so that nothing in a repository can grant it.")]
    Trust(TrustArgs),
    /// Check a workflow, and this machine for it, without running anything
    #[command(after_help = "\
Examples:
  whaleflow check workflows/fanout.star
  whaleflow check starter --json | jq .diagnostics")]
    Check(CheckArgs),
    /// Show what a workflow would do, before anything is spent
    #[command(after_help = "\
Examples:
  whaleflow plan workflows/rlm_cache_change.star
  whaleflow plan starter --json | jq .totals")]
    Plan(CheckArgs),
    /// Have a workflow written for a goal in words, see what it would do, and run it
    #[command(after_help = "\
Examples:
  whaleflow draft 'find every place where errors are dropped, and list them by crate'
  whaleflow draft 'migrate the tests to the new runner' --out migrate.star
  whaleflow draft 'review the last commit' --yes --budget-usd 1

The role `planner` writes it, and the compiler says what is wrong, at most four times. Nothing
runs before you have said so; --out only writes it, --yes runs it unseen.")]
    Draft(DraftArgs),
    /// Run a workflow
    #[command(after_help = "\
Examples:
  whaleflow run workflows/rlm_cache_change.star
  whaleflow run workflows/fanout.star -i n=100 -i width=8 --json
  whaleflow run fix --repo ~/src/app --base worktree --trust
  whaleflow run fix --budget-usd 2 --timeout 1h --detach

The first Ctrl-C ends gracefully, and `whaleflow resume` goes on; the second kills.")]
    Run(RunArgs),
    /// List the runs of this project, newest first
    #[command(after_help = "\
Examples:
  whaleflow ps
  whaleflow ps --live
  whaleflow ps --label team=core --json | jq -r '.runs[].run_id'")]
    Ps(PsArgs),
    /// Show a run, or one instance of it in full
    #[command(after_help = "\
Examples:
  whaleflow show
  whaleflow show 01k2 fix_a/patch
  whaleflow show @last --json | jq '.instances[] | {path, status}'")]
    Show(ShowArgs),
    /// Print what happened in a run: records in words, and what leaves said
    #[command(after_help = "\
Examples:
  whaleflow logs
  whaleflow logs @last fix_a/patch -f
  whaleflow logs @last --raw | jq .")]
    Logs(LogsArgs),
    /// Follow a run again
    #[command(after_help = "\
Examples:
  whaleflow attach
  whaleflow attach 01k2

Ctrl-C stops following; the run goes on.")]
    Attach(AttachArgs),
    /// Wait until a run has ended, and exit as it did
    #[command(after_help = "\
Examples:
  whaleflow wait @last
  whaleflow wait 01k2 --timeout 10m --json")]
    Wait(WaitArgs),
    /// Go on with a run after a crash, an interruption, a pause, or an exhausted budget
    #[command(after_help = "\
Examples:
  whaleflow resume @last
  whaleflow resume 01k2 --budget-usd +2
  whaleflow resume 01k2 --detach
  whaleflow resume 01k2 fixes/fix_b     go on with a part that was paused by itself
  whaleflow resume --all                whatever a crash has left without a process

What has finished does not run again.")]
    Resume(ResumeArgs),
    /// Try again what failed in a run, or one instance of it
    #[command(after_help = "\
Examples:
  whaleflow retry @last
  whaleflow retry 01k2 deploy/push")]
    Retry(RetryArgs),
    /// Let a run order nothing new
    #[command(after_help = "\
Examples:
  whaleflow pause @last
  whaleflow pause 01k2 fixes     only this instance and what is below it
  whaleflow pause 01k2 --now     also end what is under way; no attempt is counted")]
    Pause(PauseArgs),
    /// Cancel a run, or one instance of it
    #[command(after_help = "\
Examples:
  whaleflow cancel @last
  whaleflow cancel 01k2 fixes/fix_b
  whaleflow cancel --all            the stop button of the project")]
    Cancel(CancelArgs),
    /// Tell an agent something while it works
    #[command(after_help = "\
Examples:
  whaleflow steer @last fixes/fix_b/patch 'leave the parser alone'")]
    Steer(SteerArgs),
    /// Perform tasks of this project's runs in this process too
    #[command(after_help = "\
Examples:
  whaleflow worker                             four tasks at once, until Ctrl-C
  whaleflow worker --slots 16 --idle 1m
  whaleflow worker --can command --can test    only what runs commands

A run leaves to workers what its own process has no slot for: `run --slots 4`.")]
    Worker(WorkerArgs),
    /// Show the board of tasks, and who works on them
    #[command(after_help = "\
Examples:
  whaleflow fleet tasks
  whaleflow fleet tasks @last --status blocked
  whaleflow fleet why 01k2:fixes/fix_b/patch
  whaleflow fleet workers --json")]
    Fleet {
        /// What to show
        #[command(subcommand)]
        what: FleetVerb,
    },
    /// Approve a gate
    #[command(after_help = "\
Examples:
  whaleflow approve @last plan_ok
  whaleflow approve 01k2 plan_ok --data '{\"note\": \"go\"}'")]
    Approve(DecideArgs),
    /// Reject a gate
    #[command(after_help = "\
Examples:
  whaleflow reject @last plan_ok
  whaleflow reject 01k2 plan_ok --data '{\"note\": \"too wide\"}'")]
    Reject(DecideArgs),
    /// Send a named signal to a run
    #[command(after_help = "\
Examples:
  whaleflow signal @last deployed
  whaleflow signal 01k2 deployed --data '{\"version\": 7}'")]
    Signal(SignalArgs),
    /// Decide a run again from its log, and compare; nothing is performed
    #[command(after_help = "\
Examples:
  whaleflow replay @last
  whaleflow replay 01k2 --json | jq .equal")]
    Replay(RunArg),
    /// Check the hash chains of all logs, or of one
    #[command(after_help = "\
Examples:
  whaleflow verify
  whaleflow verify @last --json")]
    Verify(VerifyArgs),
    /// Show what a branch of a run changed
    #[command(after_help = "\
Examples:
  whaleflow diff                   of the winner, or the only branch that wrote
  whaleflow diff @last fix_b
  whaleflow diff 01k2 --stat")]
    Diff(DiffArgs),
    /// Bring what a branch changed into the checkout, or into a branch of your own
    #[command(after_help = "\
Examples:
  whaleflow apply @last                        changes the files of a clean checkout
  whaleflow apply @last --squash               makes one commit on the branch that is checked out
  whaleflow apply @last --as-branch fix/cache  makes a branch and leaves the checkout alone
  whaleflow apply 01k2 fix_b --patch > fix.patch
  whaleflow apply --undo                       takes back what was last applied of the last run

Nothing is written over that is not as the run found it. What is done is written down
first: an apply that was killed is finished or taken back by the next one.")]
    Apply(ApplyArgs),
    /// Show the trees of this project, make one, remove those that nobody needs
    #[command(after_help = "\
Examples:
  whaleflow trees list                       what there is, and what is in it
  whaleflow trees status tree-3f2a           one in full, with what no commit has
  cd $(whaleflow trees new v1.2)             a tree of your own, beside your checkout
  whaleflow trees open fixes/fix_b --shell   look around where a branch works
  whaleflow trees clean --dry-run
  whaleflow trees rescue list

TREE is the name of a tree or the beginning of one, its branch, or RUN:BRANCH. What no
commit has is saved under a ref before a tree is removed; one in which a process works, or
whose run goes on, is left alone.")]
    Trees {
        /// What to do
        #[command(subcommand)]
        what: TreesVerb,
    },
    /// Report on a run, as Markdown or JSON
    #[command(after_help = "\
Examples:
  whaleflow report > report.md
  whaleflow report 01k2 --json | jq .failures")]
    Report(RunArg),
    /// Draw a workflow or a run, as Mermaid or DOT
    #[command(after_help = "\
Examples:
  whaleflow graph workflows/fanout.star
  whaleflow graph @last --format dot | dot -Tsvg > run.svg")]
    Graph(GraphArgs),
    /// Write a run into one file that replays anywhere
    #[command(after_help = "\
Examples:
  whaleflow export @last -o run.wfrun
  whaleflow export 01k2 > run.wfrun")]
    Export(ExportArgs),
    /// Take an exported run in, after checking all of it
    #[command(after_help = "\
Examples:
  whaleflow import run.wfrun
  whaleflow replay @last")]
    Import(ImportArgs),
    /// Explain a code such as WF0107, or why an instance of a run is as it is
    #[command(after_help = "\
Examples:
  whaleflow explain WF0107
  whaleflow explain @last fix_b/tests
  whaleflow explain WF0107 --json")]
    Explain(ExplainArgs),
    /// Print the command line reference
    #[command(hide = true)]
    Reference,
    /// Compile a source from standard input, within limits
    #[command(hide = true)]
    CompileChild,
    /// Drive a run in the background
    #[command(hide = true)]
    DriveChild(DriveChildArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// A model that is to do every role, of a provider whose key is in the environment
    #[arg(long = "model", value_name = "PROVIDER/MODEL")]
    pub(crate) models: Vec<String>,
    /// An agent on this machine that is to work for every role: claude, codex, opencode, gemini or goose
    #[arg(long = "agent", value_name = "NAME")]
    pub(crate) agents: Vec<String>,
    /// Write the configuration without asking
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// Take the trust back
    #[arg(long)]
    pub(crate) revoke: bool,
    /// The repository; else the one around this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) repo: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A path, or a name in .whaleflow/workflows or workflows
    #[arg(value_name = "WORKFLOW")]
    pub(crate) workflow: String,
    /// The repository to work in; else the workflow's fixture, else the one around this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) repo: Option<PathBuf>,
    /// The mock's rules; else WORKFLOW.mock.toml beside the workflow
    #[arg(long, value_name = "FILE")]
    pub(crate) mock: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DraftArgs {
    /// What the workflow is for, in words
    #[arg(value_name = "GOAL")]
    pub(crate) goal: String,
    /// Write it to this file, and do not run it
    #[arg(long, value_name = "FILE", conflicts_with = "yes")]
    pub(crate) out: Option<PathBuf>,
    /// Run it without asking
    #[arg(long)]
    pub(crate) yes: bool,
    /// The mock's rules, for the planner and for the run
    #[arg(long, value_name = "FILE")]
    pub(crate) mock: Option<PathBuf>,
    /// The most that drafting may cost, and again the run, in US dollars
    #[arg(long, value_name = "USD")]
    pub(crate) budget_usd: Option<String>,
    /// The most tokens that drafting may use, and again the run
    #[arg(long, value_name = "N")]
    pub(crate) budget_tokens: Option<u64>,
    /// Seed of everything that looks random, the mock's answers included
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Trust the repository, without being asked
    #[arg(long)]
    pub(crate) trust: bool,
    #[command(flatten)]
    pub(crate) go_on: GoOnArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) what: CheckArgs,
    /// An input, read by its declared type
    #[arg(short = 'i', long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,
    /// A file of inputs: .json, .yaml or .toml
    #[arg(long = "inputs", value_name = "FILE")]
    pub(crate) inputs_file: Option<PathBuf>,
    /// A label, for people and filters
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// The most that the run may cost, in US dollars
    #[arg(long, value_name = "USD")]
    pub(crate) budget_usd: Option<String>,
    /// The most tokens that the run may use
    #[arg(long, value_name = "N")]
    pub(crate) budget_tokens: Option<u64>,
    /// The most time that the run may take, such as 90s or 1h30m
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// Seed of everything that looks random, the mock's answers included
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where trees begin: a revision, or `worktree` for the checkout with its uncommitted changes
    #[arg(long, value_name = "REV")]
    pub(crate) base: Option<String>,
    /// Trust the repository, without being asked
    #[arg(long)]
    pub(crate) trust: bool,
    /// Whether commands run in a sandbox: as well as this machine can, or not at all
    #[arg(long, value_name = "WHETHER", default_value = "auto")]
    pub(crate) sandbox: SandboxArg,
    #[command(flatten)]
    pub(crate) go_on: GoOnArgs,
}

/// Whether commands run in a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SandboxArg {
    /// As well as this machine can.
    Auto,
    /// Not at all; the log says so.
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Only runs that have not ended
    #[arg(long)]
    pub(crate) live: bool,
    /// Only runs with this label
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// At most this many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct RunArg {
    /// The run
    #[arg(value_name = "RUN", default_value = "@last")]
    pub(crate) run: String,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// An instance, by its path
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Only this instance, by its path, with what it said
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Go on until the run has ended
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// Print records as they are stored, one JSON object a line
    #[arg(long, conflicts_with = "node")]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Give up after this time
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
}

/// How a run goes on.
#[derive(Debug, Args)]
pub(crate) struct GoOnArgs {
    /// Return at once; the run goes on in a process of its own
    #[arg(short = 'd', long)]
    pub(crate) detach: bool,
    /// Do not let the mock take its time
    #[arg(long)]
    pub(crate) no_pace: bool,
    /// How many leaves this process performs at once; the others are left to workers
    #[arg(long, value_name = "N", default_value_t = wf_server::SLOTS)]
    pub(crate) slots: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Only this instance, which was paused by itself
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Every run of this project that no process drives, each in a process of its own
    #[arg(long, conflicts_with_all = ["run", "node", "budget_usd", "budget_tokens", "timeout", "trust"])]
    pub(crate) all: bool,
    /// Raise the ceiling on cost by this much, in US dollars
    #[arg(long, value_name = "+USD", allow_hyphen_values = true)]
    pub(crate) budget_usd: Option<String>,
    /// Raise the ceiling on tokens by this many
    #[arg(long, value_name = "+N", allow_hyphen_values = true)]
    pub(crate) budget_tokens: Option<String>,
    /// Raise the ceiling on time by this much
    #[arg(long, value_name = "+TIME", allow_hyphen_values = true)]
    pub(crate) timeout: Option<String>,
    /// Trust the repository, without being asked
    #[arg(long)]
    pub(crate) trust: bool,
    #[command(flatten)]
    pub(crate) go_on: GoOnArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// An instance, by its path; else everything that failed
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) go_on: GoOnArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Only this instance and what is below it, by its path
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Also end what is under way; no attempt is counted
    #[arg(long)]
    pub(crate) now: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The run
    #[arg(value_name = "RUN", required_unless_present = "all")]
    pub(crate) run: Option<String>,
    /// Only this instance, by its path
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Every run of this project that has not ended
    #[arg(long, conflicts_with_all = ["run", "node"])]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SteerArgs {
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// The agent, by its path
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// What it is told
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,
    #[command(flatten)]
    pub(crate) go_on: GoOnArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// The gate, by its path
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// The data of the decision, as the gate's form wants it
    #[arg(long, value_name = "JSON")]
    pub(crate) data: Option<String>,
    /// Who decides; else the user
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
    /// What the decision rests on, as `show` names it; else whatever is open
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<String>,
    #[command(flatten)]
    pub(crate) go_on: GoOnArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SignalArgs {
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// The signal's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it carries
    #[arg(long, value_name = "JSON")]
    pub(crate) data: Option<String>,
    #[command(flatten)]
    pub(crate) go_on: GoOnArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The run; else all
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// The branch, by its path; else the winner, or the only one that wrote
    #[arg(value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
    /// Only which files changed, and how much
    #[arg(long)]
    pub(crate) stat: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// The branch, by its path; else the winner, or the only one that wrote
    #[arg(value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
    /// The same, where the run is left out
    #[arg(long = "branch", id = "of_branch", value_name = "BRANCH", conflicts_with = "branch")]
    pub(crate) of_branch: Option<String>,
    /// Make one commit of it on the branch that is checked out
    #[arg(long, group = "how")]
    pub(crate) squash: bool,
    /// Merge it into the branch that is checked out, with a merge commit
    #[arg(long, group = "how")]
    pub(crate) merge: bool,
    /// Make a branch of this name, and leave the checkout alone
    #[arg(long, value_name = "NAME", group = "how")]
    pub(crate) as_branch: Option<String>,
    /// Print a patch that `git apply` takes, and change nothing
    #[arg(long, group = "how")]
    pub(crate) patch: bool,
    /// Take back what was last applied of the run
    #[arg(long, group = "how", conflicts_with_all = ["branch", "of_branch"])]
    pub(crate) undo: bool,
    /// Write the patch into this file
    #[arg(short = 'o', long, value_name = "FILE", requires = "patch")]
    pub(crate) output: Option<PathBuf>,
    /// The checkout; else the one around this directory, else the run's
    #[arg(long, value_name = "DIR")]
    pub(crate) repo: Option<PathBuf>,
}

/// A form of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Mermaid
    Mermaid,
    /// Graphviz
    Dot,
}

#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// A workflow (a path or a name) or a run
    #[arg(value_name = "WORKFLOW|RUN", default_value = "@last")]
    pub(crate) what: String,
    /// The form
    #[arg(long, value_enum, default_value = "mermaid")]
    pub(crate) format: GraphFormat,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// The file; else standard output
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The code, or the run
    #[arg(value_name = "CODE|RUN")]
    pub(crate) code: String,
    /// The instance of that run, by its path
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DriveChildArgs {
    /// The run
    pub(crate) run: String,
    /// Let the mock take its time
    #[arg(long)]
    pub(crate) pace: bool,
    /// How many leaves it performs at once
    #[arg(long)]
    pub(crate) slots: usize,
}
