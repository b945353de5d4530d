//! `diff` and `apply`: what a run changed, and how it gets into the checkout.

use wf_server::changes::{Change, change_of};
use wf_server::{Engine, Error, follow};
use wf_store::RunId;
use wf_view::{ApplyView, DiffView, Keep};

use crate::args::{ApplyArgs, DiffArgs};
use crate::render::diff::{diff_text, stat};
use crate::render::replies::apply_text;
use crate::session::Session;

/// How much of a patch `diff` shows.
const PATCH_BYTES_MAX: usize = 8 << 20;

/// `diff RUN [BRANCH]`
pub(crate) async fn diff(session: &Session, args: &DiffArgs) -> Result<u8, Error> {
    let (engine, run, change) = find(session, &args.run.run, args.branch.as_deref()).await?;
    let (checkpoint, patch) = change.read(&engine, PATCH_BYTES_MAX).await?;
    let view = DiffView::of(run.as_str(), &change.branch, &checkpoint, patch);
    session.out.show(&view, |view, style| if args.stat { stat(&view.files, style) } else { diff_text(view, style) });
    Ok(0)
}

/// `apply RUN [BRANCH]`
pub(crate) async fn apply(session: &Session, args: &ApplyArgs) -> Result<u8, Error> {
    let (engine, run, change) = find(session, &args.run.run, args.branch.as_deref()).await?;
    if args.patch && !session.out.is_json() {
        session.out.bytes(&change.patch(&engine).await?);
        return Ok(0);
    }
    if args.patch {
        return Err(Error::usage_with("a patch is text, not JSON", "`whaleflow diff --json` has it in a field"));
    }
    let (how, applied) = match &args.as_branch {
        Some(name) => ("branch", change.make_branch(&engine, name).await?),
        None => ("patch", change.apply(&engine).await?),
    };
    let view = ApplyView {
        version: wf_view::VERSION,
        run_id: run.to_string(),
        branch: change.branch.clone(),
        commit: change.checkpoint.commit.clone(),
        how: how.to_owned(),
        target: applied.target,
        files: applied.files,
    };
    session.out.show(&view, apply_text);
    Ok(0)
}

async fn find(session: &Session, run: &str, branch: Option<&str>) -> Result<(Engine, RunId, Change), Error> {
    let (engine, run) = session.run(run).await?;
    let (fold, _) = follow::fold(&engine.store, &run, Keep::Lean, engine.now_ms()).await?;
    let change = change_of(&fold, branch)?;
    Ok((engine, run, change))
}
