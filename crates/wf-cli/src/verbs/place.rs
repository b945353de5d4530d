//! `init`, `doctor` and `trust`: the place where runs happen.

use std::path::PathBuf;

use wf_effects::external::{Found, Known};
use wf_effects::git::GitError;
use wf_effects::{Clock, RealClock};
use wf_server::trust::{grant, revoke};
use wf_server::{Class, Error, Project, proposal};
use wf_view::CommandView;

use crate::args::{InitArgs, TrustArgs};
use crate::ask::{answer, choose_repository, confirm};
use crate::render::replies::{command_text, doctor_text};
use crate::session::Session;

/// `init`
pub(crate) async fn init(session: &Session, args: &InitArgs) -> Result<u8, Error> {
    let configured = configure(session, args).await?;
    let written = wf_server::init(&session.project)?;
    let shown =
        |path: &std::path::Path| path.strip_prefix(session.environment.cwd()).unwrap_or(path).display().to_string();
    let mut view = CommandView::accepted(
        "init",
        None,
        match written.made.is_empty() {
            true => "everything was there already; nothing was changed",
            false => "a first workflow is ready: whaleflow run starter",
        },
    );
    for path in &written.made {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        view = view.with(&name, shown(path));
    }
    if let Some(path) = &configured {
        view = view.with("configuration", path.display().to_string());
    }
    session.out.show(&view, |view, style| {
        let mut text = String::new();
        for path in &written.made {
            text.push_str(&format!("wrote {}\n", shown(path)));
        }
        if let Some(path) = &configured {
            text.push_str(&format!("wrote {}\n", path.display()));
        }
        for path in &written.kept {
            text.push_str(&format!("kept  {}\n", shown(path)));
        }
        let view = CommandView { made: std::collections::BTreeMap::new(), ..view.clone() };
        text.push_str(&command_text(&view, style));
        text
    });
    Ok(0)
}

/// Proposes who is to answer for roles, and writes it when that is confirmed.
async fn configure(session: &Session, args: &InitArgs) -> Result<Option<PathBuf>, Error> {
    let found = proposal::found(&session.environment)?;
    let agents = agents(session, &args.agents).await?;
    if found.is_empty() && args.models.is_empty() && agents.is_empty() {
        return Ok(None);
    }
    let mut models = args.models.clone();
    if models.is_empty() {
        for it in &found {
            session.out.message(&format!("a key of {} is here, in the variable {}", it.name, it.variable));
            let question = format!("Which model of {}? (empty: none) ", it.name);
            let named = answer(session, &question).await?;
            models.extend(named.map(|name| format!("{}/{name}", it.name)));
        }
    }
    if models.is_empty() && agents.is_empty() {
        session
            .out
            .message("the mock answers for every role; `whaleflow init --model PROVIDER/MODEL --yes` configures one");
        return Ok(None);
    }
    let proposal = proposal::propose(&session.environment, &found, &models, &agents)?;
    session.out.message(&format!("for {}:\n\n{}", proposal.path.display(), proposal.text));
    if models.is_empty() {
        session.out.message("agents work in trees; an `ask` needs a model, see `whaleflow init --model`");
    }
    if !args.yes && !confirm(session, "Write it? [y/N] ").await? {
        session.out.message("not written; --yes writes it");
        return Ok(None);
    }
    proposal::write(&proposal)?;
    Ok(Some(proposal.path))
}

/// Which of the agents on this machine are to be used: those that are named, else those that a person wants.
async fn agents(session: &Session, named: &[String]) -> Result<Vec<Known>, Error> {
    let found = proposal::agents_found(&session.environment)?;
    if let Some(missing) = named.iter().find(|name| !found.iter().any(|it| it.known.name == **name)) {
        let names: Vec<&str> = found.iter().map(|it| it.known.name).collect();
        let message = format!("{missing:?} is no agent that is here and not yet configured ({})", names.join(", "));
        return Err(Error::usage_with(message, "write the name of its program"));
    }
    let mut wanted = Vec::new();
    for Found { known, path } in found {
        if !named.is_empty() {
            if named.iter().any(|name| name == known.name) {
                wanted.push(known);
            }
            continue;
        }
        session.out.message(&format!("the agent {} is here: {}", known.name, path.display()));
        let question = format!("Is {} to work for roles? [y/N] ", known.name);
        if confirm(session, &question).await? {
            wanted.push(known);
        }
    }
    Ok(wanted)
}

/// `doctor`
pub(crate) async fn doctor(session: &Session) -> Result<u8, Error> {
    let view = wf_server::doctor::doctor(&session.environment, &session.project).await;
    session.out.show(&view, doctor_text);
    Ok(if view.ok { 0 } else { Class::Failed.exit_code() })
}

/// `trust`
pub(crate) async fn trust(session: &Session, args: &TrustArgs) -> Result<u8, Error> {
    let mut project = match &args.repo {
        Some(dir) => Project::of(&session.environment, dir)?,
        None => session.project.clone(),
    };
    if let Err(error) = project.require_repository() {
        let candidates = if let GitError::Several { candidates, .. } = &error { candidates.as_slice() } else { &[] };
        let chosen = choose_repository(session, candidates).await?.ok_or(error)?;
        project = Project::of(&session.environment, &chosen)?;
    }
    let root = project.root().display();
    let message = match args.revoke {
        true if revoke(&project)? => format!("{root} is no longer trusted"),
        true => format!("{root} was not trusted"),
        false => {
            grant(&project, &session.environment.user(), RealClock.now_ms())?;
            format!("{root} is trusted: commands of its workflows may run")
        }
    };
    session.out.show(&CommandView::accepted("trust", None, message), command_text);
    Ok(0)
}
