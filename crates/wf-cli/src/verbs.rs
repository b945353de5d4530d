//! The verbs, one function each. Every one answers with an exit code.

mod act;
mod changes;
mod check;
mod draft;
mod fleet;
mod follow;
mod go;
mod list;
mod logs;
mod place;
mod run;
mod text;
mod transfer;
mod trees;

use wf_server::Error;

use crate::args::Verb;
use crate::session::Session;

/// Does what a command line asks.
pub(crate) async fn run_verb(session: &Session, verb: Verb) -> Result<u8, Error> {
    match verb {
        Verb::Init(args) => place::init(session, &args).await,
        Verb::Doctor => place::doctor(session).await,
        Verb::Trust(args) => place::trust(session, &args).await,
        Verb::Check(args) => check::check(session, &args).await,
        Verb::Plan(args) => check::plan(session, &args).await,
        Verb::Draft(args) => Box::pin(draft::draft(session, args)).await,
        Verb::Run(args) => Box::pin(run::run(session, &args)).await,
        Verb::Ps(args) => list::ps(session, &args).await,
        Verb::Show(args) => list::show(session, &args).await,
        Verb::Logs(args) => logs::logs(session, &args).await,
        Verb::Attach(args) => follow::attach(session, &args).await,
        Verb::Wait(args) => follow::wait(session, &args).await,
        Verb::Resume(args) if args.all => fleet::resume_all(session, &args).await,
        Verb::Resume(args) => run::resume(session, &args).await,
        Verb::Retry(args) => act::retry(session, &args).await,
        Verb::Pause(args) => act::pause(session, &args).await,
        Verb::Cancel(args) if args.all => fleet::cancel_all(session).await,
        Verb::Cancel(args) => act::cancel(session, &args).await,
        Verb::Steer(args) => act::steer(session, &args).await,
        Verb::Worker(args) => fleet::worker(session, &args).await,
        Verb::Fleet { what } => fleet::fleet(session, &what).await,
        Verb::Approve(args) => act::decide(session, &args, true).await,
        Verb::Reject(args) => act::decide(session, &args, false).await,
        Verb::Signal(args) => act::signal(session, &args).await,
        Verb::Replay(args) => list::replay(session, &args).await,
        Verb::Verify(args) => list::verify(session, &args).await,
        Verb::Diff(args) => changes::diff(session, &args).await,
        Verb::Apply(args) => changes::apply(session, &args).await,
        Verb::Trees { what } => trees::trees(session, &what).await,
        Verb::Report(args) => list::report(session, &args).await,
        Verb::Graph(args) => check::graph(session, &args).await,
        Verb::Export(args) => transfer::export(session, &args).await,
        Verb::Import(args) => transfer::import(session, &args).await,
        Verb::Explain(args) => text::explain(session, &args).await,
        Verb::Reference => text::reference(session),
        // `main` has seen to it before anything else; nothing gets here.
        Verb::CompileChild => Err(Error::usage("this is not for people")),
        Verb::DriveChild(args) => go::drive_child(session, &args).await,
    }
}
