//! Trees, in words.

use std::fmt::Write as _;

use wf_view::text::{bytes_text, clean, counted, duration};
use wf_view::{CleanView, RescuesView, TreeView, TreesView};

use super::diff::stat;
use super::style::{Line, Style, Tone, table};

/// The widest that a column gets.
const COLUMN_MAX: usize = 60;

/// What `trees list` prints.
pub(crate) fn trees_table(view: &TreesView, style: Style) -> String {
    if view.trees.is_empty() {
        return "no trees\n".to_owned();
    }
    let head = ["TREE", "STAGE", "RUN", "BRANCH", "AGE", "MERGED", "DISK", "UNSAVED", "PATH"];
    let mut rows = vec![head.map(|name| (Tone::Dim, name.to_owned())).to_vec()];
    rows.extend(view.trees.iter().map(|tree| {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let (unsaved_tone, unsaved) = unsaved(tree);
        vec![
            (Tone::Plain, tree.name.clone()),
            (tone_of(tree), tree.stage.to_owned()),
            (Tone::Plain, or_dash(tree.run_id.as_ref().map(|run| run.chars().take(12).collect()))),
            (Tone::Plain, or_dash(tree.branch.clone())),
            (Tone::Plain, duration(tree.age_ms)),
            (Tone::Plain, or_dash(tree.merged.map(str::to_owned))),
            (Tone::Plain, or_dash(tree.disk_bytes.map(bytes_text))),
            (unsaved_tone, unsaved),
            (Tone::Dim, or_dash(tree.path.clone())),
        ]
    }));
    let count = counted(view.trees.len() as u64, "tree", "trees");
    format!("{}{count}, {}\n", table(&rows, COLUMN_MAX, style), bytes_text(view.disk_bytes))
}

fn tone_of(tree: &TreeView) -> Tone {
    match (tree.stage, &tree.holder) {
        (_, Some(_)) => Tone::Active,
        ("kept", None) => Tone::Warn,
        ("held", None) => Tone::Plain,
        _ => Tone::Dim,
    }
}

fn unsaved(tree: &TreeView) -> (Tone, String) {
    let count = tree.changed.len() + tree.left_out.len();
    match tree.dirty {
        Some(true) if tree.saved.is_some() => (Tone::Dim, "saved".to_owned()),
        Some(true) => (Tone::Warn, counted(count as u64, "file", "files")),
        Some(false) => (Tone::Dim, "no".to_owned()),
        None => (Tone::Dim, "-".to_owned()),
    }
}

/// What `trees status` prints.
pub(crate) fn tree_text(tree: &TreeView, style: Style) -> String {
    let title = Line::of(Tone::Plain, &tree.name).dotted([(tone_of(tree), tree.stage)]);
    let mut text = format!("{}\n", title.finish(style));
    let age = duration(tree.age_ms);
    let merged = tree.merged.map(|merged| match merged {
        "nothing" => "nothing was committed in it",
        "merged" => "merged into the branch that is checked out",
        "squashed" => "all that it changed is in the branch that is checked out",
        _ => "not in the branch that is checked out",
    });
    let disk = tree.disk_bytes.map(bytes_text);
    let rows = [
        ("path", tree.path.as_deref()),
        ("run", tree.run_id.as_deref()),
        ("branch", tree.branch.as_deref()),
        ("made at", tree.base.as_deref()),
        ("commit", tree.commit.as_deref()),
        ("merged", merged),
        ("disk", disk.as_deref()),
        ("age", Some(age.as_str())),
        ("saved", tree.saved.as_deref()),
        ("until", tree.until.as_deref()),
        ("holder", tree.holder.as_deref()),
        ("stays", tree.needed.as_deref()),
        ("error", tree.error.as_deref()),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            _ = writeln!(text, "{}", Line::of(Tone::Dim, name).pad_to(10).text(value).finish(style));
        }
    }
    if tree.dirty == Some(false) {
        _ = writeln!(text, "{}", style.paint(Tone::Dim, "nothing is unsaved"));
    }
    if !tree.changed.is_empty() {
        let title = if tree.saved.is_some() { "saved, and not committed" } else { "unsaved" };
        _ = writeln!(text, "{}", style.paint(Tone::Warn, title));
        text.push_str(&stat(&tree.changed, style));
    }
    for path in &tree.left_out {
        _ = writeln!(text, "  {} (no commit can hold it)", clean(path));
    }
    text
}

/// What `trees clean` prints.
pub(crate) fn clean_text(view: &CleanView, style: Style) -> String {
    let mut text = String::new();
    let verb = if view.dry_run { "would remove" } else { "removed" };
    for tree in &view.removed {
        let unsaved = if tree.dirty == Some(true) && tree.saved.is_none() {
            "with unsaved work, which is saved first"
        } else {
            ""
        };
        let line = Line::of(Tone::Dim, &format!("{verb} ")).text(&tree.name);
        let branch = tree.branch.as_deref().unwrap_or_default();
        let line = line.dotted([(Tone::Plain, tree.stage), (Tone::Plain, branch), (Tone::Warn, unsaved)]);
        _ = writeln!(text, "{}", line.finish(style));
    }
    for tree in &view.left {
        let line = Line::of(Tone::Dim, "left ").text(&tree.name);
        let line = line.dotted([(Tone::Dim, tree.needed.as_deref().unwrap_or_default())]);
        _ = writeln!(text, "{}", line.finish(style));
    }
    for reference in &view.rescued {
        _ = writeln!(text, "saved {}", clean(reference));
    }
    let count = counted(view.removed.len() as u64, "tree", "trees");
    _ = writeln!(
        text,
        "{count} {}, {}",
        if view.dry_run { "to remove" } else { "removed" },
        bytes_text(view.disk_bytes)
    );
    text
}

/// What `trees rescue list` prints.
pub(crate) fn rescues_table(view: &RescuesView, style: Style) -> String {
    if view.rescues.is_empty() {
        return "no work had to be saved\n".to_owned();
    }
    let mut rows = vec![["RUN", "BRANCH", "FROM", "REF"].map(|name| (Tone::Dim, name.to_owned())).to_vec()];
    rows.extend(view.rescues.iter().map(|rescue| {
        vec![
            (Tone::Plain, rescue.run_id.chars().take(12).collect()),
            (Tone::Plain, rescue.branch.clone().unwrap_or_else(|| "-".to_owned())),
            (Tone::Dim, rescue.at.clone()),
            (Tone::Plain, rescue.reference.clone()),
        ]
    }));
    table(&rows, COLUMN_MAX, style)
}
