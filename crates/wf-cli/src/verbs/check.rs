//! `check` and `plan`: what a workflow is, before it runs.

use wf_server::source::is_error;
use wf_server::start::{RunOptions, plan as plan_of};
use wf_server::{Class, Error};
use wf_view::CheckView;

use crate::args::CheckArgs;
use crate::session::Session;

pub(crate) fn options_of(args: &CheckArgs) -> RunOptions {
    RunOptions {
        workflow: args.workflow.clone(),
        repo: args.repo.clone(),
        mock: args.mock.clone(),
        ..RunOptions::default()
    }
}

/// `check FILE`
pub(crate) async fn check(session: &Session, args: &CheckArgs) -> Result<u8, Error> {
    let (view, code) = match plan_of(&session.environment, &session.project, &options_of(args)).await {
        Ok(plan) => {
            let view = CheckView::of(Some(plan.workflow.hash()), &plan.notes, &plan.preflight);
            (view, 0)
        }
        Err(error @ Error::Invalid(_)) => {
            (CheckView::of(None, error.diagnostics(), &[]), Class::Invalid.exit_code())
        }
        Err(error) => return Err(error),
    };
    session.out.show(&view, |view| format!("{view:#?}"));
    let _ = is_error;
    Ok(code)
}
