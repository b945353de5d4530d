//! `export` and `import`: a run as one file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use wf_server::{Error, transfer};
use wf_view::CommandView;

use crate::args::{ExportArgs, ImportArgs};
use crate::render::replies::command_text;
use crate::session::Session;

/// `export RUN`
pub(crate) async fn export(session: &Session, args: &ExportArgs) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run.run).await?;
    let Some(path) = &args.output else {
        if session.out.is_json() {
            return Err(Error::usage_with("--json and an export both want standard output", "name a file with -o"));
        }
        let mut stdout = BufWriter::new(std::io::stdout());
        return match transfer::export(&engine, &run, &mut stdout).await {
            // A reader who has seen enough.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => Ok(0),
            other => other.map(|_| 0),
        };
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { action: "write", path, source }
    };
    // Written aside and renamed: a file of that name is whole.
    let name = path.file_name().ok_or_else(|| Error::usage(format!("{path:?} names no file")))?;
    let aside = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let file = File::options().write(true).create_new(true).mode(0o600).open(&aside).map_err(failed(&aside))?;
    let mut writer = BufWriter::new(file);
    let done = match transfer::export(&engine, &run, &mut writer).await {
        Ok(done) => done,
        Err(error) => {
            let _ = std::fs::remove_file(&aside);
            return Err(error);
        }
    };
    writer.flush().map_err(failed(&aside))?;
    std::fs::rename(&aside, path).map_err(failed(path))?;
    let message = format!("run {run}: {} records and {} blobs", done.records, done.blobs);
    let view = CommandView::accepted("export", Some(run.as_str()), message).with("file", path.display().to_string());
    session.out.show(&view, command_text);
    Ok(0)
}

/// `import FILE`
pub(crate) async fn import(session: &Session, args: &ImportArgs) -> Result<u8, Error> {
    let engine = session.engine()?;
    let done = transfer::import(&engine, &args.file).await?;
    let message = format!("run {}: {} records and {} blobs, all of them checked", done.run, done.records, done.blobs);
    session.out.show(&CommandView::accepted("import", Some(done.run.as_str()), message), command_text);
    engine.store.close().await;
    Ok(0)
}
