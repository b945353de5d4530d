//! The binary `whaleflow`: flags, rendering, exit codes.
//!
//! Every verb is a thin function in [`verbs`] over an operation of `wf-server`; what it shows comes from `wf-view` by way
//! of [`render`]. Nothing here is logic that another surface would need.

mod args;
mod out;
mod session;
mod verbs;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use wf_server::{Class, Environment};

use crate::args::{Cli, Verb};
use crate::out::Out;
use crate::session::Session;

/// Stack of worker threads: definitions nest deep.
const STACK_BYTES: usize = 16 << 20;

fn main() -> ExitCode {
    // A compiling child must do nothing before it has limited itself, and start fast.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == wf_server::source::COMPILE_CHILD) {
        return compile_child();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Class::Usage.exit_code() } else { 0 });
        }
    };
    let out = Out::new(cli.json);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            out.message(&format!("error: no runtime: {error}"));
            return ExitCode::from(Class::Bug.exit_code());
        }
    };
    let code = match runtime.block_on(verb(&out, cli.verb)) {
        Ok(code) => code,
        Err(error) => {
            out.error(&error);
            error.class().exit_code()
        }
    };
    // A thread that waits for a line from a terminal is not waited for.
    runtime.shutdown_background();
    ExitCode::from(code)
}

fn compile_child() -> ExitCode {
    let answer = wf_server::source::compile_child(&mut std::io::stdin().lock());
    match answer.and_then(|answer| std::io::stdout().lock().write_all(answer.as_bytes())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

async fn verb(out: &Out, verb: Verb) -> Result<u8, wf_server::Error> {
    let session = Session::new(Environment::capture()?, out.clone())?;
    verbs::run_verb(&session, verb).await
}
