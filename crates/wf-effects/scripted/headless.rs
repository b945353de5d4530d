//! A headless command line as a script says: `{"runs": [{"lines": […], "edit": […], "exit": 0}, …]}`, a run for each time
//! that it is started with the same home.
//!
//! In a line that is a text, `{prompt}` and `{args}` stand for what it was given.

use std::io::{self, Read, Write};

use serde_json::Value;

use super::{edit, flood, hang};

/// Counts how often it was started.
const COUNTER: &str = ".scripted-runs";

/// Does one run. Gives the exit code.
pub(super) fn print(script: &Value, args: &[String]) -> io::Result<u8> {
    let number = count()?;
    let runs = script["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let run = runs.get(number).or(runs.last()).cloned().unwrap_or_default();
    let mut prompt = String::new();
    if run["reads"] != false {
        io::stdin().read_to_string(&mut prompt)?;
    }
    for pair in run["edit"].as_array().into_iter().flatten() {
        edit(pair)?;
    }
    let mut out = io::stdout().lock();
    let quoted = |text: &str| Value::from(text).to_string().trim_matches('"').to_owned();
    for line in run["lines"].as_array().into_iter().flatten() {
        match line.as_str() {
            Some(text) => {
                let text = text.replace("{prompt}", &quoted(&prompt)).replace("{args}", &quoted(&args.join(" ")));
                writeln!(out, "{text}")?;
            }
            None => writeln!(out, "{line}")?,
        }
    }
    out.flush()?;
    flood(&mut out, &run["flood"])?;
    io::stderr().write_all(run["stderr"].as_str().unwrap_or_default().as_bytes())?;
    if run["hang"] == true {
        hang();
    }
    Ok(run["exit"].as_u64().unwrap_or(0) as u8)
}

/// How often it was started before.
fn count() -> io::Result<usize> {
    // A directory of its own, as its home is.
    let path = std::env::temp_dir().join(COUNTER);
    let before = std::fs::read_to_string(&path).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    std::fs::write(&path, (before + 1).to_string())?;
    Ok(before)
}
