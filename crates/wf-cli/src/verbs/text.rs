//! `explain` and the reference: texts of the program itself.

use std::fmt::Write as _;

use clap::CommandFactory;
use wf_server::{Error, follow};
use wf_view::why::WhyView;
use wf_view::{ExplainView, Keep};

use crate::args::{Cli, ExplainArgs};
use crate::render::replies::why_text;
use crate::session::Session;

/// All codes, with what they mean.
const ERRORS: &str = include_str!("../../../../docs/errors.md");
/// Columns of the reference.
const REFERENCE_COLUMNS: usize = 96;

/// `explain CODE`, `explain RUN NODE`
pub(crate) async fn explain(session: &Session, args: &ExplainArgs) -> Result<u8, Error> {
    let Some(path) = &args.node else {
        let code = args.code.trim().to_ascii_uppercase();
        let view = entry(&code).ok_or_else(|| {
            Error::usage_with(format!("there is no code {code:?}"), "codes look like WF0107; docs/errors.md lists them")
        })?;
        session.out.show(&view, |view, _| view.text.clone());
        return Ok(0);
    };
    let (engine, run) = session.run(&args.code).await?;
    let (fold, _) = follow::fold(&engine.store, &run, Keep::Lean, engine.now_ms()).await?;
    let view = WhyView::of(&fold, path).ok_or_else(|| {
        Error::usage_with(format!("run {run} has no instance {path:?}"), "`whaleflow show RUN` lists them")
    })?;
    session.out.show(&view, why_text);
    Ok(0)
}

/// The entry of a code.
fn entry(code: &str) -> Option<ExplainView> {
    let head = format!("## {code} ");
    let from = ERRORS.lines().skip_while(|line| !line.starts_with(&head));
    let mut lines = from.clone();
    let title = lines.next()?.strip_prefix(&head)?.to_owned();
    let body: Vec<&str> = lines.take_while(|line| !line.starts_with("## ")).collect();
    let text = format!("{code}: {title}\n\n{}\n", body.join("\n").trim());
    Some(ExplainView { version: wf_view::VERSION, code: code.to_owned(), title, text })
}

/// The hidden `reference`: docs/cli.md.
pub(crate) fn reference(session: &Session) -> Result<u8, Error> {
    session.out.data(&reference_text());
    Ok(0)
}

fn reference_text() -> String {
    let mut command = Cli::command().term_width(REFERENCE_COLUMNS);
    command.build();
    let mut text = String::from(
        "# Command line\n\nThis file is written by the program itself; a test holds it true. `whaleflow VERB --help` says the same.\n",
    );
    let mut put = |name: &str, help: String| {
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        _ = write!(text, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n").trim());
    };
    put("whaleflow", command.render_long_help().to_string());
    for verb in command.get_subcommands_mut().filter(|verb| !verb.is_hide_set()) {
        let name = format!("whaleflow {}", verb.get_name());
        let mut verb = verb.clone().term_width(REFERENCE_COLUMNS);
        put(&name, verb.render_long_help().to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_entry() {
        let codes = wf_ir::codes::ALL.iter().chain(wf_server::error::CODES);
        let missing: Vec<_> = codes.filter(|(code, _)| entry(code).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(entry("WF9999").map(|view| view.title), None);
    }

    #[test]
    fn the_reference_is_written_down() {
        expect_test::expect_file!["../../../../docs/cli.md"].assert_eq(&reference_text());
    }
}
