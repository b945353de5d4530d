//! The verbs, one function each. Every one answers with an exit code.

mod check;
mod go;
mod list;
mod run;

use wf_server::Error;

use crate::args::Verb;
use crate::session::Session;

/// Does what a command line asks.
pub(crate) async fn run_verb(session: &Session, verb: Verb) -> Result<u8, Error> {
    match verb {
        Verb::Check(args) => check::check(session, &args).await,
        Verb::Run(args) => run::run(session, &args).await,
        Verb::Ps(args) => list::ps(session, &args).await,
        Verb::Show(args) => list::show(session, &args).await,
        Verb::Replay(args) => list::replay(session, &args).await,
        _ => Err(Error::usage("not here yet")),
    }
}
