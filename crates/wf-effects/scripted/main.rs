//! What tests start in place of the program: the supervisor of commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(wf_effects::process::SUPERVISE_CHILD) if wf_effects::process::supervise().is_ok() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
