//! Views: what surfaces show of workflows and runs, and every type of wire JSON.
//!
//! A [`RunFold`] takes the records of a log one at a time and keeps what views need; every view is then a function from
//! that fold, or from a workflow, to plain data with `version: 1`. The JSON schemas of all of them are one document
//! ([`view_schema`]) that a golden file holds in place.
//!
//! It stands between `wf-kernel`, whose records it folds, and the surfaces, which only read.
//!
//! It never does IO, reads a clock, decides anything, or writes escape codes for terminals.
//!
//! Start reading at [`fold`], then [`run`].

mod branch;
mod budget;
pub mod check;
mod contest;
pub mod fleet;
pub mod fold;
pub mod gate;
pub mod graph;

pub mod list;
pub mod log;
pub mod plan;
pub mod reply;
pub mod report;
pub mod run;
mod schema;
pub mod text;
pub mod tree;
pub mod why;
pub mod words;
pub mod work;

pub use branch::DiffstatView;
pub use check::{CheckView, DiagnosticView};
pub use contest::{ContestView, FruitView, MatchView, StandingView};
pub use fleet::{TaskView, TaskWait, TaskWhyView, TasksView, WorkerReportView, WorkerView, WorkersView};
pub use fold::{FoldError, Keep, RunFold};
pub use gate::{GateView, GatesView};
pub use graph::{dot, mermaid};
pub use list::{RunList, RunListItem};
pub use log::LogLine;
pub use plan::{PlanNode, PlanView, PriceView, RoleView};
pub use reply::{
    ApplyView, CommandView, CommandsView, DiffView, DoctorView, ErrorView, ExplainView, GraphView, ReplayView,
    VerifyView,
};
pub use report::ReportView;
pub use run::{InstanceDetail, InstanceView, RunDetail, RunFacts, RunSummary};
pub use schema::view_schema;
pub use tree::{CleanView, RescueView, RescuesView, TreeStatusView, TreeView, TreesView};
pub use why::WhyView;
pub use words::{reason_text, wait_text};

/// The version of the wire JSON.
pub const VERSION: u32 = 1;
