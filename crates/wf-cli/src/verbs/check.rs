//! `check`, `plan` and `graph`: what a workflow is, before it runs.

use wf_server::source::texts_of;
use wf_server::start::{RunOptions, plan as plan_of};
use wf_server::{Class, Error, follow};
use wf_view::{CheckView, GraphView, Keep, PlanView, RunFold, dot, mermaid};

use crate::args::{CheckArgs, GraphArgs, GraphFormat};
use crate::render::diagnostics::diagnostics_text;
use crate::render::plan::plan_text;
use crate::session::Session;

/// What the arguments of `check` and `plan` say of a run.
pub(crate) fn options_of(args: &CheckArgs) -> RunOptions {
    RunOptions {
        workflow: args.workflow.clone(),
        repo: args.repo.clone(),
        mock: args.mock.clone(),
        ..RunOptions::default()
    }
}

/// `check WORKFLOW`
pub(crate) async fn check(session: &Session, args: &CheckArgs) -> Result<u8, Error> {
    let (hash, found, preflight) = match plan_of(&session.environment, &session.project, &options_of(args)).await {
        Ok(plan) => (Some(plan.workflow.hash()), plan.notes, plan.preflight),
        Err(Error::Invalid(found)) => (None, found, Vec::new()),
        Err(error) => return Err(error),
    };
    let view = CheckView::of(hash, &found, &preflight);
    session.out.show(&view, |view, style| {
        let mut text = String::new();
        if !found.is_empty() {
            text.push_str(&diagnostics_text(&found, &texts_of(&session.environment, &found), style));
        }
        if let Some(hash) = &view.hash {
            text.push_str(&format!("{} is valid ({})\n", args.workflow, &hash[..12]));
        }
        if !preflight.is_empty() {
            text.push_str("\nto run it here:\n\n");
            text.push_str(&diagnostics_text(&preflight, &texts_of(&session.environment, &preflight), style));
        }
        text
    });
    Ok(if view.valid { 0 } else { Class::Invalid.exit_code() })
}

/// `plan WORKFLOW`
pub(crate) async fn plan(session: &Session, args: &CheckArgs) -> Result<u8, Error> {
    let plan = plan_of(&session.environment, &session.project, &options_of(args)).await?;
    session.out.show(&PlanView::of(&plan.workflow).done_by(plan.who()), plan_text);
    if !plan.preflight.is_empty() && !session.out.is_json() {
        let texts = texts_of(&session.environment, &plan.preflight);
        session.out.message(&diagnostics_text(&plan.preflight, &texts, session.out.message_style()));
    }
    Ok(0)
}

/// `graph WORKFLOW|RUN`
pub(crate) async fn graph(session: &Session, args: &GraphArgs) -> Result<u8, Error> {
    let draw = |workflow: &wf_ir::Workflow, run: Option<&RunFold>| match args.format {
        GraphFormat::Mermaid => ("mermaid", mermaid(workflow, run)),
        GraphFormat::Dot => ("dot", dot(workflow, run)),
    };
    let (format, text) = match session.run(&args.what).await {
        Ok((engine, run)) => {
            let (fold, _) = follow::fold(&engine.store, &run, Keep::Lean, engine.now_ms()).await?;
            draw(fold.workflow(), Some(&fold))
        }
        Err(error @ Error::NoRun { .. }) if args.what.starts_with('@') => return Err(error),
        Err(Error::NoRun { .. }) => {
            let options = RunOptions { workflow: args.what.clone(), ..RunOptions::default() };
            let plan = plan_of(&session.environment, &session.project, &options).await?;
            draw(&plan.workflow, None)
        }
        Err(error) => return Err(error),
    };
    let view = GraphView { version: wf_view::VERSION, format: format.to_owned(), text };
    session.out.show(&view, |view, _| view.text.clone());
    Ok(0)
}
