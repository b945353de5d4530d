//! Runs a step: its output is shown as it comes, and kept to be counted.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::Context;

/// What became of a step.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Whether it ended well.
    pub(crate) success: bool,
    /// What it printed, on either stream.
    pub(crate) lines: Vec<String>,
}

/// Runs `command` to its end and shows what it prints.
pub(crate) fn echoing(command: &mut Command) -> anyhow::Result<Ran> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("it does not start")?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let lines = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let streams: [Option<Box<dyn Read + Send>>; 2] =
            [out.map(|out| Box::new(out) as Box<dyn Read + Send>), err.map(|err| Box::new(err) as _)];
        for stream in streams.into_iter().flatten() {
            scope.spawn(|| echo(stream, &lines));
        }
    });
    let status = child.wait().context("it cannot be waited for")?;
    Ok(Ran { success: status.success(), lines: lines.into_inner().unwrap_or_default() })
}

fn echo(stream: impl Read, lines: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        // What is not counted by a line that can be read is counted as failed, so that a lost line hides nothing.
        let _ = io::stdout().write_all(&line);
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if let Ok(mut lines) = lines.lock() {
            lines.push(text);
        }
        line.clear();
    }
}
