//! `trees …`: which there are, one of one's own, and what is removed.

use wf_server::trees::{self as yard, CleanOptions};
use wf_server::{Engine, Error};
use wf_view::{CommandView, RescuesView, TreesView, VERSION};

use crate::args::{CleanArgs, NewTreeArgs, OpenArgs, RescueVerb, RestoreArgs, TreeArg, TreesVerb};
use crate::render::replies::command_text;
use crate::render::trees::{clean_text, rescues_table, tree_text, trees_table};
use crate::session::Session;

/// `trees …`
pub(crate) async fn trees(session: &Session, what: &TreesVerb) -> Result<u8, Error> {
    match what {
        TreesVerb::List => list(session).await,
        TreesVerb::Status(args) => status(session, args).await,
        TreesVerb::Clean(args) => clean(session, args).await,
        TreesVerb::Open(args) => open(session, args).await,
        TreesVerb::New(args) => make(session, args).await,
        TreesVerb::Rescue { what: RescueVerb::List } => rescues(session).await,
        TreesVerb::Rescue { what: RescueVerb::Restore(args) } => restore(session, args).await,
    }
}

/// The runs of the project; without one there are no trees.
fn engine_for(session: &Session, tree: &str) -> Result<Engine, Error> {
    let engine = Engine::open_if_any(&session.environment, &session.project)?;
    engine.ok_or_else(|| Error::usage(format!("there is no tree {tree:?}, because this project has none")))
}

async fn list(session: &Session) -> Result<u8, Error> {
    let view = match Engine::open_if_any(&session.environment, &session.project)? {
        Some(engine) => yard::list(&engine).await?,
        None => TreesView::new(Vec::new()),
    };
    session.out.show(&view, trees_table);
    Ok(0)
}

async fn status(session: &Session, args: &TreeArg) -> Result<u8, Error> {
    let view = yard::status(&engine_for(session, &args.tree)?, &args.tree).await?;
    session.out.show(&view, |view, style| tree_text(&view.tree, style));
    Ok(0)
}

async fn clean(session: &Session, args: &CleanArgs) -> Result<u8, Error> {
    let options = CleanOptions { names: args.trees.clone(), with_kept: args.kept, is_dry: args.dry_run };
    let view = yard::clean(&session.engine()?, &options).await?;
    session.out.show(&view, clean_text);
    Ok(0)
}

async fn open(session: &Session, args: &OpenArgs) -> Result<u8, Error> {
    let engine = engine_for(session, &args.tree.tree)?;
    if !args.shell {
        let view = yard::status(&engine, &args.tree.tree).await?;
        let path = yard::path(&engine, &args.tree.tree).await?;
        session.out.show(&view, |_, _| path.display().to_string());
        return Ok(0);
    }
    if !session.out.can_ask() {
        return Err(Error::usage_with("a shell needs a terminal", "without --shell the path is printed"));
    }
    let code = yard::shell(&engine, &args.tree.tree).await?;
    Ok(u8::try_from(code).unwrap_or(wf_server::Class::Failed.exit_code()))
}

async fn make(session: &Session, args: &NewTreeArgs) -> Result<u8, Error> {
    let view = yard::make(&session.engine()?, args.rev.as_deref(), args.name.as_deref()).await?;
    session.out.show(&view, |view, _| view.tree.path.clone().unwrap_or_default());
    Ok(0)
}

async fn rescues(session: &Session) -> Result<u8, Error> {
    let view = match Engine::open_if_any(&session.environment, &session.project)? {
        Some(engine) => yard::rescues(&engine).await?,
        None => RescuesView { version: VERSION, rescues: Vec::new() },
    };
    session.out.show(&view, rescues_table);
    Ok(0)
}

async fn restore(session: &Session, args: &RestoreArgs) -> Result<u8, Error> {
    let restored = yard::restore(&session.engine()?, &args.reference, &args.dir).await?;
    let shown = args.dir.display();
    let mut message = format!("the files of {} are in {shown}", restored.reference);
    if !restored.kept.is_empty() {
        message.push_str(&format!("; what no commit can hold is in {}", restored.kept.join(" and ")));
    }
    let view = CommandView::accepted("restore", None, message).with("dir", shown.to_string());
    session.out.show(&view, command_text);
    Ok(0)
}
