//! What is done with runs that exist: name them, list them, command them, own them again.

use std::collections::BTreeMap;
use std::time::Duration;

use wf_kernel::record::Adopted;
use wf_kernel::{Command, Decision, Head, Input, InputBody, Record, RunState, RunStatus, in_flight, step};
use wf_runtime::{DriveOptions, Owned, load, post};
use wf_store::{RunFilter, RunId, RunRow, Seq};
use wf_view::words::undriven_text;
use wf_view::{RunList, RunListItem};

use crate::engine::{Engine, Keeper, Owner, Terms};
use crate::error::Error;
use crate::follow::Follower;

/// The name of the run that was started last.
pub const LAST: &str = "@last";
/// Most runs in a list.
pub const LIST_MAX: usize = 10_000;
/// How long the owner of a run is waited for to take a command in.
const ACKNOWLEDGE_WAIT: Duration = Duration::from_secs(10);
/// Most inbox messages that are looked at for an acknowledgement.
const INBOX_PAGE: usize = 10_000;
/// How long a lease that is being given back is waited for.
const HANDOVER_WAIT: Duration = Duration::from_secs(20);
/// How long runs that are cancelled together are waited for.
const CANCEL_WAIT: Duration = Duration::from_secs(10);
/// Between two tries to take a lease.
const HANDOVER_TRY: Duration = Duration::from_millis(50);

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Only runs that have not ended.
    pub live: bool,
    /// Only runs with these labels.
    pub labels: Vec<(String, String)>,
    /// At most this many.
    pub limit: usize,
}

/// The run that a person named: an id, the beginning of one, or `@last`.
///
/// # Errors
/// When there is none, or several begin so.
pub async fn resolve(engine: &Engine, name: &str) -> Result<RunId, Error> {
    if name == LAST {
        let filter = RunFilter { limit: 1, prefix: None, ended: None };
        let row = engine.store.runs.runs(filter).await?.pop();
        return row.map(|row| row.run).ok_or_else(|| Error::NoRun { name: name.to_owned() });
    }
    if name.is_empty() {
        return Err(Error::NoRun { name: String::new() });
    }
    Ok(engine.store.runs.resolve(&name.to_ascii_lowercase()).await?)
}

/// The runs of a project, newest first.
///
/// # Errors
/// When the store cannot be read.
pub async fn list(engine: &Engine, options: &ListOptions) -> Result<RunList, Error> {
    let all = if options.labels.is_empty() { options.limit } else { LIST_MAX };
    let filter = RunFilter { limit: all.min(LIST_MAX), prefix: None, ended: options.live.then_some(false) };
    let mut items = Vec::new();
    for row in engine.store.runs.runs(filter).await? {
        let labels: BTreeMap<String, String> = serde_json::from_str(&row.labels).unwrap_or_default();
        if options.labels.iter().all(|(name, value)| labels.get(name) == Some(value)) {
            items.push(item(engine, &row, labels).await?);
        }
    }
    items.truncate(options.limit);
    Ok(RunList::new(items))
}

async fn item(engine: &Engine, row: &RunRow, labels: BTreeMap<String, String>) -> Result<RunListItem, Error> {
    let head: Head = serde_json::from_str(&row.head.json)
        .map_err(|error| Error::Damaged(format!("the head of run {} is not readable: {error}", row.run)))?;
    let mut item = RunListItem::of(row.run.as_str(), &row.workflow_name, labels, &head, engine.now_ms());
    if !row.head.ended && !engine.is_owned(&row.run).await? {
        item.note = Some(undriven_text(head.due_at, engine.now_ms()));
    }
    Ok(item)
}

/// Gives a command to the process that owns a run, and waits until it took it in.
///
/// # Errors
/// [`Error::Refused`] when it is not possible as the run stands, [`Error::Unheard`] when the owner does not answer.
pub async fn command(engine: &Engine, run: &RunId, command: &Command) -> Result<(), Error> {
    let ticket = send(engine, run, command).await?;
    acknowledged(engine, run, &ticket).await
}

/// A command in an inbox.
pub struct Ticket {
    after: Seq,
    cursor: u64,
    id: u64,
}

/// Puts a command into a run's inbox.
///
/// # Errors
/// When the store cannot take it.
pub async fn send(engine: &Engine, run: &RunId, command: &Command) -> Result<Ticket, Error> {
    if matches!(command, Command::Decide { .. } | Command::Signal { .. } | Command::Steer { .. }) {
        engine.learn_keys().await;
    }
    let what = || Error::HoldsKey { what: "what is said to the run".to_owned() };
    let command = engine.environment.redactor().record(command.clone()).ok_or_else(what)?;
    let row = engine.store.runs.head(run).await?;
    let id = post(&engine.store, run, &command, engine.now_ms()).await?;
    Ok(Ticket { after: row.seq, cursor: row.inbox_cursor, id })
}

/// Waits until a command was taken in.
///
/// # Errors
/// As [`command`].
pub async fn acknowledged(engine: &Engine, run: &RunId, ticket: &Ticket) -> Result<(), Error> {
    let answer = tokio::time::timeout(ACKNOWLEDGE_WAIT, find_answer(engine, run, ticket)).await;
    answer.unwrap_or(Err(Error::Unheard { waited_s: ACKNOWLEDGE_WAIT.as_secs() }))
}

/// Finds the record of a command: the commands of a log are those of the inbox, in its order.
async fn find_answer(engine: &Engine, run: &RunId, ticket: &Ticket) -> Result<(), Error> {
    let messages = engine.store.inbox.inbox(run, ticket.cursor, INBOX_PAGE).await?;
    let up_to = messages.iter().take_while(|message| message.id <= ticket.id);
    let mut expected = up_to.filter_map(|message| command_in(&message.message)).peekable();
    let mut is_taken = false;
    let mut follower = Follower::new(&engine.store, run, ticket.after);
    loop {
        let page = if is_taken { follower.page().await? } else { follower.next().await? };
        // A command that led to nothing may be the last record of the log.
        if is_taken && page.is_empty() {
            return Ok(());
        }
        for followed in page {
            match followed.record {
                // The next input: nothing was said against the command.
                Record::Input(_) if is_taken => return Ok(()),
                Record::Input(Input { body: InputBody::Command(command), .. }) => {
                    if expected.next_if_eq(&command).is_some() {
                        is_taken = expected.peek().is_none();
                    }
                }
                Record::Input(_) => {}
                Record::Decision(Decision::Refused { code, message }) if is_taken => {
                    return Err(Error::Refused { reason: code, message });
                }
                Record::Decision(_) if is_taken => return Ok(()),
                Record::Decision(_) => {}
            }
        }
    }
}

/// The command that an inbox message carries; workers report there too.
fn command_in(message: &str) -> Option<Command> {
    match serde_json::from_str(message) {
        Ok(InputBody::Command(command)) => Some(command),
        _ => None,
    }
}

/// What a run that nobody owns would say to a command. Nothing is written.
///
/// # Errors
/// [`Error::Refused`] when it would refuse it.
pub async fn would_accept(engine: &Engine, run: &RunId, command: &Command) -> Result<(), Error> {
    let mut state = load(&engine.store, run).await?.state;
    let at = engine.now_ms();
    let claimed = in_flight(&state);
    // Whoever takes it over may find that it has brought down one process too many, and parks it.
    let died = engine.store.leases.lease(run).await?.owner.is_some();
    take(&mut state, at, InputBody::Adopted(Adopted { owner: String::new(), epoch: u64::MAX, claimed, died }));
    for decision in take(&mut state, at, InputBody::Command(command.clone())) {
        if let Decision::Refused { code, message } = decision {
            return Err(Error::Refused { reason: code, message });
        }
    }
    Ok(())
}

fn take(state: &mut RunState, at: i64, body: InputBody) -> Vec<Decision> {
    step(state, &Input { at, body }).decisions
}

/// Takes a run over whose owner is gone, and makes it ready to go on as it was begun.
///
/// # Errors
/// [`Error::Held`] while another owner lives; when its checkout is gone or not trusted.
pub async fn adopt(engine: &Engine, owner: &Owner, run: &RunId, terms: Terms) -> Result<Owned, Error> {
    let workflow = wf_runtime::workflow_of(&engine.store, run).await?;
    let started = started_of(engine, run).await?;
    let effects = engine.effects(&workflow, &started, owner.name(), terms.is_paced).await?;
    Ok(engine.runtime(owner, effects, terms.slots).adopt(run).await?)
}

/// As [`adopt`], but waits a while for an owner that is about to let go.
///
/// # Errors
/// As [`adopt`].
pub async fn adopt_soon(engine: &Engine, owner: &Owner, run: &RunId, terms: Terms) -> Result<Owned, Error> {
    let patient = async {
        loop {
            match adopt(engine, owner, run, terms).await {
                Err(Error::Held { .. }) => tokio::time::sleep(HANDOVER_TRY).await,
                other => return other,
            }
        }
    };
    match tokio::time::timeout(HANDOVER_WAIT, patient).await {
        Ok(adopted) => adopted,
        Err(_) => adopt(engine, owner, run, terms).await,
    }
}

/// Lets go of a run that this process owns, so that another can take it at once.
///
/// # Errors
/// When the store cannot be written.
pub async fn let_go(engine: &Engine, owned: Owned) -> Result<(), Error> {
    let run = owned.run_id().clone();
    drop(owned);
    let lease = engine.store.leases.lease(&run).await?;
    engine.store.leases.release_lease(&run, lease.epoch).await.map_err(|error| Error::Store(error.to_string()))
}

/// The runs that have not ended and that no process drives, newest first; those that rest until somebody decides
/// something come with the reason.
///
/// # Errors
/// When the store cannot be read.
pub async fn without_owner(engine: &Engine) -> Result<Vec<(RunId, Option<&'static str>)>, Error> {
    let filter = RunFilter { limit: LIST_MAX, prefix: None, ended: Some(false) };
    let mut found = Vec::new();
    for row in engine.store.runs.runs(filter).await? {
        let is_kept = match engine.keeper(&row.run).await? {
            Keeper::Process => true,
            Keeper::Changing => engine.now_ms() - row.head.updated_ms < HANDOVER_WAIT.as_millis() as i64,
            Keeper::Nobody => false,
        };
        if is_kept {
            continue;
        }
        let is_at = |status: RunStatus| row.head.status == status.as_str();
        let rest = if is_at(RunStatus::Poisoned) {
            Some("it is parked, because it brought its process down too often; `whaleflow resume RUN` lets it go on")
        } else if is_at(RunStatus::Paused) {
            Some("it is paused; `whaleflow resume RUN` lets it go on")
        } else if is_at(RunStatus::Waiting)
            && !is_overdue(&row, engine.now_ms())
            && engine.store.inbox.inbox(&row.run, row.inbox_cursor, 1).await?.is_empty()
        {
            Some("it waits for a decision")
        } else {
            None
        };
        found.push((row.run, rest));
    }
    Ok(found)
}

/// Whether a time limit of a run has passed and nobody saw to it. One whose head is not readable has worse troubles.
fn is_overdue(row: &RunRow, now_ms: i64) -> bool {
    let head = serde_json::from_str::<Head>(&row.head.json);
    head.is_ok_and(|head| head.due_at.is_some_and(|at| at <= now_ms))
}

/// A run that was cancelled with all others.
pub struct Cancelled {
    /// Which.
    pub run: RunId,
    /// Whether it has ended.
    pub is_over: bool,
}

/// Cancels every run that has not ended, and waits until they have. `command` is the command for each.
///
/// # Errors
/// When the store cannot be written, or this process cannot own a run.
pub async fn cancel_all(engine: &Engine, command: &Command) -> Result<Vec<Cancelled>, Error> {
    let filter = RunFilter { limit: LIST_MAX, prefix: None, ended: Some(false) };
    let runs: Vec<RunId> = engine.store.runs.runs(filter).await?.into_iter().map(|row| row.run).collect();
    // All are told before any is waited for.
    for run in &runs {
        send(engine, run, command).await?;
    }
    let owner = engine.announce()?;
    let mut drives = tokio::task::JoinSet::new();
    for run in &runs {
        if engine.keeper(run).await? == Keeper::Process {
            continue;
        }
        match adopt(engine, &owner, run, Terms { is_paced: false, slots: 0 }).await {
            Ok(owned) => {
                drives.spawn(owned.drive(DriveOptions { park_on_people: true, ..DriveOptions::default() }));
            }
            Err(Error::Held { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let ended = async {
        while drives.join_next().await.is_some() {}
        for run in &runs {
            while !engine.store.runs.head(run).await?.head.ended {
                tokio::time::sleep(HANDOVER_TRY).await;
            }
        }
        Ok::<(), Error>(())
    };
    // What has not ended by then is told to the caller.
    if let Ok(ended) = tokio::time::timeout(CANCEL_WAIT, ended).await {
        ended?;
    }
    let mut cancelled = Vec::with_capacity(runs.len());
    for run in runs {
        let is_over = engine.store.runs.head(&run).await?.head.ended;
        cancelled.push(Cancelled { run, is_over });
    }
    Ok(cancelled)
}

/// How a run began.
///
/// # Errors
/// When its log has no beginning.
pub async fn started_of(engine: &Engine, run: &RunId) -> Result<wf_kernel::record::RunStarted, Error> {
    let limit = wf_store::PageLimit { records_max: 1, bytes_max: usize::MAX };
    let first = engine.store.log.read(run, Seq::START, limit).await?;
    let record = first.first().map(wf_runtime::journal::decode).transpose()?;
    match record {
        Some(Record::Input(Input { body: InputBody::RunStarted(started), .. })) => Ok(*started),
        _ => Err(Error::Damaged(format!("the log of run {run} does not begin with its start"))),
    }
}
