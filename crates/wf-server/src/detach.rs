//! Letting a run go on in a process of its own.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;

use wf_effects::process::spawn_apart;
use wf_store::RunId;

use crate::engine::{Engine, Terms};
use crate::error::Error;
use crate::keys::KEYS_HANDED;
use crate::project::make_private_dir;
use crate::source::child_program;

/// The hidden subcommand in which a run goes on.
pub const DRIVE_CHILD: &str = "drive-child";
/// The largest log of a detached process that is added to; a larger one is begun anew.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// Starts a process that takes the run over and drives it to its end. Nobody may own the run. Answers with the
/// process's id and the file that it writes into.
///
/// # Errors
/// When it could not be started; the run is as it was.
pub fn detach(engine: &Engine, run: &RunId, terms: Terms) -> Result<(u32, std::path::PathBuf), Error> {
    let dir = engine.project.logs_dir();
    make_private_dir(&dir)?;
    let path = dir.join(format!("{run}.log"));
    let is_long = path.metadata().is_ok_and(|it| it.len() > LOG_BYTES_MAX);
    let log = File::options()
        .create(true)
        .append(!is_long)
        .write(true)
        .truncate(is_long)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    let mut args = vec![DRIVE_CHILD.to_owned(), run.to_string()];
    args.extend(["--slots".to_owned(), terms.slots.to_string()]);
    if terms.is_paced {
        args.push("--pace".to_owned());
    }
    let environment = &engine.environment;
    let program = child_program(environment);
    let keys = environment.keys().handed_on();
    let mut vars = environment.vars().clone();
    vars.extend(keys.is_some().then(|| (KEYS_HANDED.to_owned(), "1".to_owned())));
    let pid = spawn_apart(&program, &args, environment.cwd(), &vars, log, keys.as_ref())
        .map_err(Error::io("start", &program))?;
    Ok((pid, path))
}
