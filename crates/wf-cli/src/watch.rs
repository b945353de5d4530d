//! Watching a run: a live tree on a terminal, plain lines elsewhere, nothing with `--json`.

use std::collections::BTreeMap;
use std::sync::Arc;

use wf_effects::{Clock, RealClock};
use wf_ir::Workflow;
use wf_server::follow::{Followed, push};
use wf_server::{Engine, Error};
use wf_store::RunId;
use wf_view::{Keep, LogLine, RunFold};

use crate::out::Out;
use crate::render::live::LiveTree;
use crate::render::progress::progress_line;

/// Most instances whose last words are shown.
const TRACES_MAX: usize = 40;
/// Lines of the terminal that are left free.
const MARGIN: usize = 2;

/// Shows a run while it goes on.
pub(crate) struct Watcher<'a> {
    out: &'a Out,
    engine: &'a Engine,
    run: RunId,
    fold: RunFold,
    /// How many lines are on the screen.
    drawn: usize,
    /// The last line that each live instance said, and where to read on.
    traces: BTreeMap<String, String>,
    offsets: BTreeMap<String, u64>,
}

impl<'a> Watcher<'a> {
    pub(crate) fn new(out: &'a Out, engine: &'a Engine, run: &RunId, workflow: Arc<Workflow>) -> Self {
        let fold = RunFold::new(workflow, Keep::Lean);
        Self { out, engine, run: run.clone(), fold, drawn: 0, traces: BTreeMap::new(), offsets: BTreeMap::new() }
    }

    /// The run as far as it was followed.
    pub(crate) fn fold(&self) -> &RunFold {
        &self.fold
    }

    /// The same, for good.
    pub(crate) fn into_fold(self) -> RunFold {
        self.fold
    }

    /// Takes records in without a word.
    pub(crate) fn catch_up(&mut self, page: &[Followed]) -> Result<(), Error> {
        page.iter().try_for_each(|followed| push(&mut self.fold, followed))
    }

    /// Takes records in, and says what is worth a line.
    pub(crate) fn take(&mut self, page: &[Followed]) -> Result<(), Error> {
        self.take_after(0, page)
    }

    /// Takes records in, and says what is worth a line of those after the first `known`.
    pub(crate) fn take_after(&mut self, known: u64, page: &[Followed]) -> Result<(), Error> {
        let shows_lines = !self.out.is_json() && !self.out.can_redraw();
        let style = self.out.message_style();
        for followed in page {
            push(&mut self.fold, followed)?;
            if shows_lines
                && followed.seq.0 > known
                && let Some(line) = progress_line(&self.fold, &followed.record, style)
            {
                self.out.message(&line);
            }
        }
        Ok(())
    }

    /// Draws the tree as it is now.
    pub(crate) async fn draw(&mut self) {
        if self.out.is_json() || !self.out.can_redraw() {
            return;
        }
        self.read_traces().await;
        let (_, height) = self.out.screen();
        let tree = LiveTree { fold: &self.fold, now_ms: RealClock.now_ms(), traces: &self.traces };
        let lines = tree.lines(self.out.message_style(), height.saturating_sub(MARGIN).max(1));
        // Back to where the last picture began, and over it; what is left of it is cleared.
        let mut text = if self.drawn > 0 { format!("\u{1b}[{}A\r", self.drawn) } else { String::new() };
        for line in &lines {
            text.push_str(line);
            text.push_str("\u{1b}[K\n");
        }
        text.push_str("\u{1b}[J");
        self.drawn = lines.len();
        self.out.raw_message(&text);
    }

    /// Leaves the picture where it is; the next one comes below it.
    pub(crate) async fn rest(&mut self) {
        self.draw().await;
        self.drawn = 0;
    }

    /// Reads the last words of what is under way.
    async fn read_traces(&mut self) {
        let live = self.fold.state().live().filter(|instance| self.fold.node(instance).kind.is_leaf());
        let paths: Vec<String> = live.take(TRACES_MAX).map(|instance| instance.path.to_string()).collect();
        self.traces.retain(|path, _| paths.contains(path));
        for path in paths {
            let offset = self.offsets.get(&path).copied().unwrap_or(0);
            // What cannot be read is not shown; a trace is never worth more.
            let Ok(chunk) = self.engine.store.traces.read(&self.run, &path, offset).await else { continue };
            if let Some(line) = chunk.lines.last() {
                let text = LogLine::of_trace(&path, line).text;
                self.traces.insert(path.clone(), text);
            }
            self.offsets.insert(path, chunk.next_offset);
        }
    }
}
