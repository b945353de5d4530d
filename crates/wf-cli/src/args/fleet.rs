//! The command line of workers and of the fleet.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// How many tasks it performs at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) slots: u32,
    /// What it can do, such as `command`, `ask` or `role:writer`; else everything
    #[arg(long = "can", value_name = "NAME")]
    pub(crate) can: Vec<String>,
    /// End after so long without a task, such as 10s
    #[arg(long, value_name = "TIME")]
    pub(crate) idle: Option<String>,
}

/// What to show of the fleet.
#[derive(Debug, Subcommand)]
pub(crate) enum FleetVerb {
    /// List tasks: on the board, and not ordered yet
    Tasks(TasksArgs),
    /// List workers
    Workers,
    /// Say why a task is where it is
    Why(TaskArg),
}

#[derive(Debug, Args)]
pub(crate) struct TasksArgs {
    /// Only tasks of this run; else of all that have not ended
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Only tasks that stand there
    #[arg(long, value_enum)]
    pub(crate) status: Option<TaskStatusArg>,
    /// Also tasks that are over
    #[arg(long)]
    pub(crate) all: bool,
    /// At most this many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 200)]
    pub(crate) limit: usize,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TaskStatusArg {
    /// It may be claimed
    Pending,
    /// Someone performs it
    Claimed,
    /// It ended well
    Done,
    /// It waits for something
    Blocked,
    /// It ended badly
    Failed,
}

#[derive(Debug, Args)]
pub(crate) struct TaskArg {
    /// The task, as RUN:PATH, or its path in the last run
    #[arg(value_name = "TASK")]
    pub(crate) task: String,
}
