//! The binary `whaleflow`: flags, rendering, exit codes.
//!
//! Every verb is a thin function in [`verbs`] over an operation of `wf-server`; what it shows comes from `wf-view` by way
//! of [`render`]. Nothing here is logic that another surface would need.

mod args;
mod ask;
mod interrupt;
mod out;
mod render;
mod session;
mod verbs;
mod watch;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use wf_effects::secret::Redactor;
use wf_server::{Class, Environment, Error};

use crate::args::Cli;
use crate::out::Out;
use crate::session::Session;

/// Stack of worker threads: definitions nest deep.
const STACK_BYTES: usize = 16 << 20;
/// Threads that run tasks. A run is one task, and what it waits for are others.
const WORKERS: usize = 2;
/// How long threads may take to end when everything is done.
const THREADS_WAIT: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    // A child of our own must do nothing before it has limited itself, and start fast.
    match std::env::args_os().nth(1) {
        Some(arg) if arg == wf_server::source::COMPILE_CHILD => return compile_child(),
        Some(arg) if arg == wf_effects::process::SUPERVISE_CHILD => return supervise_child(),
        Some(_) | None => {}
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(misread(&error)),
    };
    ExitCode::from(run(cli))
}

/// What clap could not read, or what it was asked to print.
fn misread(error: &clap::Error) -> u8 {
    // Somebody may have written a key where it does not belong.
    let redactor = Environment::capture().map_or_else(|_| Redactor::default(), |it| it.redactor().clone());
    let text = error.to_string();
    if redactor.finds(&text) {
        let _ = std::io::stderr().write_all(redactor.text(&text).as_bytes());
    } else {
        let _ = error.print();
    }
    if !error.use_stderr() {
        return 0;
    }
    if std::env::args_os().any(|arg| arg == "--json") {
        let text = redactor.text(&text);
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        let hint = Some("`whaleflow --help` and `whaleflow VERB --help` have examples".to_owned());
        let view = wf_view::ErrorView::new(Error::usage("").code(), message, hint, "usage");
        let _ = writeln!(std::io::stdout(), "{}", serde_json::to_string(&view).unwrap_or_default());
    }
    Class::Usage.exit_code()
}

fn run(cli: Cli) -> u8 {
    let environment = match Environment::capture() {
        Ok(environment) => environment,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error[{}]: {error}", error.code());
            return error.class().exit_code();
        }
    };
    let out = Out::new(cli.json, &environment);
    let redactor = environment.redactor().clone();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = writeln!(std::io::stderr(), "{}", redactor.text(&panic.to_string()));
    }));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(WORKERS).thread_stack_size(STACK_BYTES).enable_all();
    let runtime = match runtime.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out.message(&format!("error: the program cannot start: {error}"));
            return Class::Bug.exit_code();
        }
    };
    let done = Session::new(&environment, out.clone())
        .and_then(|session| runtime.block_on(Box::pin(verbs::run_verb(&session, cli.verb))));
    // Threads are joined where they end: glibc may read what a thread has freed that ends while it is detached, as
    // `shutdown_background` does (bug 19951). One that waits for a line from a terminal is not waited for.
    runtime.shutdown_timeout(THREADS_WAIT);
    wf_effects::process::leave_no_orphans();
    match done {
        Ok(code) => code,
        Err(error) => {
            out.error(&environment, &error);
            error.class().exit_code()
        }
    }
}

fn supervise_child() -> ExitCode {
    match wf_effects::process::supervise() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn compile_child() -> ExitCode {
    let answer = wf_server::source::compile_child(&mut std::io::stdin().lock());
    match answer.and_then(|answer| std::io::stdout().lock().write_all(answer.as_bytes())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
