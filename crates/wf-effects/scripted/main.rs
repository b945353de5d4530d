//! What tests start in place of other programs: the supervisor of commands, and agents that do what a script says.
//!
//! `wf-scripted acp SCRIPT` speaks the Agent Client Protocol; `wf-scripted headless SCRIPT …` prints what headless command
//! lines print.

mod acp;
mod headless;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mode, script) = (args.next(), args.next());
    let went = match (mode.as_deref(), script) {
        (Some(wf_effects::process::SUPERVISE_CHILD), None) => wf_effects::process::supervise().map(|()| 0),
        (Some("acp"), Some(path)) => read(&path).and_then(|script| acp::speak(&script, &path)),
        (Some("headless"), Some(script)) => {
            read(&script).and_then(|script| headless::print(&script, &args.collect::<Vec<_>>()))
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    went.map_or(ExitCode::FAILURE, ExitCode::from)
}

fn read(path: &str) -> io::Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Writes a file below the working directory, as an agent does that asks nobody.
fn edit(pair: &Value) -> io::Result<()> {
    let (path, text) = (pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default());
    if let Some(parent) = Path::new(path).parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text)
}

/// Writes so many bytes without an end of a line.
fn flood(out: &mut impl io::Write, bytes: &Value) -> io::Result<()> {
    let piece = [b'x'; 1 << 16];
    let mut left = usize::try_from(bytes.as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
    while left > 0 {
        let count = left.min(piece.len());
        out.write_all(&piece[..count])?;
        left -= count;
    }
    out.flush()
}

/// Does nothing, for ever.
fn hang() -> ! {
    loop {
        std::thread::park();
    }
}
