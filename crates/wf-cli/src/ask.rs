//! Asking the person at the terminal.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use wf_ir::Value;
use wf_ir::types::check_schema;
use wf_kernel::Command;
use wf_server::{Error, Project};
use wf_view::GateView;
use wf_view::text::clean;

use crate::interrupt::Interrupts;
use crate::render::replies::gate_text;
use crate::session::Session;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// The most repositories that a person is asked to choose from.
const CANDIDATES_MAX: usize = 40;

/// One line from the terminal; none at its end, or when the person interrupts.
async fn line(session: &Session, question: &str) -> Result<Option<String>, Error> {
    session.out.raw_message(question);
    let mut interrupts = Interrupts::catch()?;
    let read = tokio::task::spawn_blocking(|| {
        use std::io::Read;
        let mut text = String::new();
        let count = std::io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut text);
        count.ok().filter(|count| *count > 0).map(|_| text.trim().to_owned())
    });
    tokio::select! {
        answer = read => Ok(answer.unwrap_or(None)),
        () = interrupts.next() => {
            session.out.message("");
            Ok(None)
        }
    }
}

/// Whether a project is to be trusted from now on: by the flag, or by the person at the terminal.
pub(crate) async fn settle_trust(session: &Session, project: &Project, is_given: bool) -> Result<bool, Error> {
    if is_given || !session.out.can_ask() {
        return Ok(is_given);
    }
    session.out.message(&format!("This workflow runs commands on trees of {}, as you.", project.root().display()));
    confirm(session, "Trust this repository? [y/N] ").await
}

/// Whether the person at the terminal says yes; no when nobody can be asked.
pub(crate) async fn confirm(session: &Session, question: &str) -> Result<bool, Error> {
    if !session.out.can_ask() {
        return Ok(false);
    }
    Ok(matches!(line(session, question).await?.as_deref(), Some("y" | "Y" | "yes")))
}

/// What the person at the terminal answers; nothing when nobody can be asked.
pub(crate) async fn answer(session: &Session, question: &str) -> Result<Option<String>, Error> {
    if !session.out.can_ask() {
        return Ok(None);
    }
    Ok(line(session, question).await?.filter(|answer| !answer.is_empty()))
}

/// Which of several repositories the person at the terminal means; none when nobody can be asked, or nobody says.
pub(crate) async fn choose_repository(session: &Session, candidates: &[PathBuf]) -> Result<Option<PathBuf>, Error> {
    if candidates.is_empty() || candidates.len() > CANDIDATES_MAX || !session.out.can_ask() {
        return Ok(None);
    }
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    session.out.message("Several repositories are directly below this directory:");
    for (at, path) in candidates.iter().enumerate() {
        session.out.message(&format!("  {} {}", at + 1, clean(&name(path))));
    }
    loop {
        let question = format!("Which one? [1-{}] ", candidates.len());
        let Some(answer) = line(session, &question).await?.filter(|answer| !answer.is_empty()) else { return Ok(None) };
        let by_number = answer.parse::<usize>().ok().and_then(|number| candidates.get(number.checked_sub(1)?));
        if let Some(chosen) = by_number.or_else(|| candidates.iter().find(|path| name(path) == answer)) {
            return Ok(Some(chosen.clone()));
        }
    }
}

/// The decision of the person at the terminal on a gate; none is later.
pub(crate) async fn decide(session: &Session, gate: &GateView) -> Result<Option<Command>, Error> {
    session.out.message("");
    session.out.message(&gate_text(gate, session.out.message_style()));
    let approved = loop {
        match line(session, "Approve? [y]es, [n]o, [l]ater: ").await?.as_deref() {
            Some("y" | "Y" | "yes") => break true,
            Some("n" | "N" | "no") => break false,
            Some("l" | "L" | "later") | None => return Ok(None),
            Some(_) => {}
        }
    };
    let Some(data) = data_for(session, gate, approved).await? else { return Ok(None) };
    let digest = gate.digest.parse().ok();
    Ok(Some(Command::Decide { path: gate.path.clone(), digest, approved, data, by: session.environment.user() }))
}

/// The data of a decision, where the gate's form wants some.
async fn data_for(session: &Session, gate: &GateView, approved: bool) -> Result<Option<Value>, Error> {
    let Some(form) = gate.form.as_ref().filter(|_| approved) else { return Ok(Some(Value::Null)) };
    loop {
        let Some(text) = line(session, "Data, as JSON: ").await? else { return Ok(None) };
        let value = match Value::from_json(&text) {
            Ok(value) => value,
            Err(error) => {
                session.out.message(&format!("that is not JSON: {error}"));
                continue;
            }
        };
        match check_schema(form, &value) {
            Ok(()) => return Ok(Some(value)),
            Err(why) => session.out.message(&format!("that does not fit: {why}")),
        }
    }
}
