//! `diff` and `apply`: what a run changed, and how it gets into the checkout.

use wf_server::apply::{self, ApplyOptions, How};
use wf_server::changes::{Change, change_of};
use wf_server::{Engine, Error, follow};
use wf_store::RunId;
use wf_view::reply::RecoveredView;
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
    let checkpoint = change.whole(&engine).await?;
    let patch = if args.stat { None } else { Some(change.text(&engine, PATCH_BYTES_MAX).await?) };
    let view = DiffView::of(run.as_str(), &change.branch, &checkpoint, patch);
    session.out.show(&view, |view, style| if args.stat { stat(&view.files, style) } else { diff_text(view, style) });
    Ok(0)
}

/// `apply RUN [BRANCH]`
pub(crate) async fn apply(session: &Session, args: &ApplyArgs) -> Result<u8, Error> {
    if args.undo {
        return undo(session, args).await;
    }
    let branch = args.branch.as_deref().or(args.of_branch.as_deref());
    let (engine, run, change) = find(session, &args.run.run, branch).await?;
    let mut view = ApplyView {
        version: wf_view::VERSION,
        run_id: run.to_string(),
        branch: change.branch.clone(),
        commit: change.checkpoint.commit.clone(),
        how: "patch".to_owned(),
        target: String::new(),
        files: Vec::new(),
        made: None,
        undone: false,
        left: Vec::new(),
        recovered: None,
    };
    if args.patch {
        return patch(session, &engine, args, &change, view).await;
    }
    let how = match (args.squash, args.merge, &args.as_branch) {
        (true, ..) => How::Squash,
        (_, true, _) => How::Merge,
        (.., Some(_)) => How::Branch,
        (.., None) => How::Files,
    };
    let options = ApplyOptions { how, name: args.as_branch.clone(), repo: args.repo.clone() };
    let applied = apply::apply(&engine, &change, &options).await?;
    how.as_str().clone_into(&mut view.how);
    (view.target, view.files, view.made) = (applied.target, applied.files, applied.made);
    view.recovered = applied.recovered.map(|it| RecoveredView {
        run_id: it.run,
        branch: it.branch,
        finished: it.is_finished,
        left: it.left,
    });
    session.out.show(&view, apply_text);
    Ok(0)
}

/// `apply --patch`
async fn patch(
    session: &Session,
    engine: &Engine,
    args: &ApplyArgs,
    change: &Change,
    mut view: ApplyView,
) -> Result<u8, Error> {
    let Some(file) = &args.output else {
        if session.out.is_json() {
            let hint = "write it into a file with -o, or look at it with `whaleflow diff --json`";
            return Err(Error::usage_with("a patch is text, not JSON", hint));
        }
        session.out.bytes(&change.patch(engine).await?);
        return Ok(0);
    };
    let path = session.environment.cwd().join(file);
    let patch = change.patch(engine).await?;
    std::fs::write(&path, patch).map_err(|source| Error::Io { action: "write", path, source })?;
    view.target = file.display().to_string();
    view.files = change.whole(engine).await?.files.into_iter().map(|file| file.path).collect();
    session.out.show(&view, apply_text);
    Ok(0)
}

/// `apply --undo RUN`
async fn undo(session: &Session, args: &ApplyArgs) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run.run).await?;
    let undone = apply::undo(&engine, &run, args.repo.as_deref()).await?;
    let view = ApplyView {
        version: wf_view::VERSION,
        run_id: run.to_string(),
        branch: undone.branch,
        commit: undone.commit,
        how: undone.how.as_str().to_owned(),
        target: undone.target,
        files: undone.files,
        made: None,
        undone: true,
        left: undone.left,
        recovered: None,
    };
    session.out.show(&view, apply_text);
    Ok(0)
}

async fn find(session: &Session, run: &str, branch: Option<&str>) -> Result<(Engine, RunId, Change), Error> {
    let (engine, run) = session.run(run).await?;
    engine.learn_keys().await;
    let (fold, _) = follow::fold(&engine.store, &run, Keep::Lean, engine.now_ms()).await?;
    let change = change_of(&fold, branch)?;
    Ok((engine, run, change))
}
