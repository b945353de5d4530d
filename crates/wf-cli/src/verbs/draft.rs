//! `draft`: from a goal in words to a workflow, and to its run.

use std::path::Path;

use wf_effects::CancelToken;
use wf_ir::node::Budget;
use wf_server::amounts::parse_usd_micros;
use wf_server::draft::{Drafted, draft as draft_of, keep, write_to};
use wf_server::start::RunOptions;
use wf_server::{Class, Error};
use wf_view::text::counted;
use wf_view::{CommandView, PlanView};

use crate::args::{CheckArgs, DraftArgs, RunArgs, SandboxArg};
use crate::ask;
use crate::interrupt::Interrupts;
use crate::render::plan::plan_text;
use crate::session::Session;

/// `draft GOAL`
pub(crate) async fn draft(session: &Session, args: DraftArgs) -> Result<u8, Error> {
    let drafted = planned(session, &args).await?;
    let (name, rounds) = (drafted.plan.workflow.name().to_owned(), drafted.rounds);
    let message = format!("run {} drafted `{name}` in {}", drafted.run, counted(rounds as u64, "round", "rounds"));
    let view = CommandView::accepted("draft", Some(drafted.run.as_str()), message.as_str());
    if let Some(out) = &args.out {
        write_to(&session.environment.cwd().join(out), &drafted)?;
        let view = view.with("file", out.display().to_string());
        session.out.show(&view, |_, _| format!("{message}; wrote {}\n", out.display()));
        return Ok(0);
    }
    if !session.out.is_json() {
        session.out.message(&message);
        session.out.message(&drafted.source);
        let view = PlanView::of(&drafted.plan.workflow).done_by(drafted.plan.who());
        session.out.message(&plan_text(&view, session.out.message_style()));
    }
    if !args.yes && !ask::confirm(session, "Run it? [y/N] ").await? {
        let view = view.with("source", drafted.source.as_str());
        session.out.show(&view, |_, _| drafted.source.clone());
        session.out.message("not run; --out FILE writes it to a file, --yes runs it");
        return Ok(0);
    }
    let path = keep(session.project.root(), &drafted)?;
    if !session.out.is_json() {
        session.out.message(&format!("wrote {}", shown(session, &path)));
    }
    Box::pin(super::run::run(session, &run_args(args, &path))).await
}

/// Drafts until there is a workflow, or the person has seen enough.
async fn planned(session: &Session, args: &DraftArgs) -> Result<Drafted, Error> {
    let usd = args.budget_usd.as_deref().map(parse_usd_micros).transpose().map_err(Error::usage)?;
    let options = RunOptions {
        budget: Budget { tokens: args.budget_tokens, cost_usd_micros: usd, wall_ms: None, leaves: None },
        seed: args.seed,
        mock: args.mock.clone(),
        args: std::env::args().skip(1).collect(),
        ..RunOptions::default()
    };
    let engine = session.engine()?;
    let owner = engine.announce()?;
    let terms = super::run::terms(session, &args.go_on);
    let stop = CancelToken::default();
    let mut interrupts = Interrupts::catch()?;
    let mut drafting = Box::pin(draft_of(&engine, &owner, &args.goal, options, terms, &stop));
    let mut is_stopping = false;
    let drafted = loop {
        tokio::select! {
            drafted = &mut drafting => break drafted,
            () = interrupts.next() => {
                if is_stopping {
                    std::process::exit(i32::from(Class::Interrupted.exit_code()));
                }
                is_stopping = true;
                stop.cancel();
                session.out.message("ending (Ctrl-C again kills)");
            }
        }
    };
    drop(drafting);
    engine.store.close().await;
    drafted
}

fn shown(session: &Session, path: &Path) -> String {
    path.strip_prefix(session.environment.cwd()).unwrap_or(path).display().to_string()
}

/// The run of a draft that was kept.
fn run_args(args: DraftArgs, path: &Path) -> RunArgs {
    RunArgs {
        what: CheckArgs { workflow: path.display().to_string(), repo: None, mock: args.mock },
        inputs: Vec::new(),
        inputs_file: None,
        labels: Vec::new(),
        budget_usd: args.budget_usd,
        budget_tokens: args.budget_tokens,
        timeout: None,
        seed: args.seed,
        base: None,
        trust: args.trust,
        sandbox: SandboxArg::Auto,
        go_on: args.go_on,
    }
}
