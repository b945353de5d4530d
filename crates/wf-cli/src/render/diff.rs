//! Differences: which files, and the patch in colour.

use std::fmt::Write as _;

use wf_view::DiffView;
use wf_view::run::FileView;
use wf_view::text::{clean, counted, visible};

use super::style::{Line, Style, Tone};

/// The widest bar of plus and minus signs.
const BAR_MAX: u64 = 40;

/// What `diff` prints: the files, and the patch.
pub(crate) fn diff_text(diff: &DiffView, style: Style) -> String {
    if diff.files.is_empty() {
        return format!("{} changed nothing\n", clean(&diff.branch));
    }
    let mut text = stat(&diff.files, style);
    text.push('\n');
    text.push_str(&patch_text(&diff.patch, style));
    if diff.truncated {
        text.push_str("(the rest is left out; `whaleflow apply --patch` prints all of it)\n");
    }
    text
}

/// One line per file, and their sum.
pub(crate) fn stat(files: &[FileView], style: Style) -> String {
    let most = files.iter().map(|file| file.insertions.unwrap_or(0).saturating_add(file.deletions.unwrap_or(0)));
    let most = most.max().unwrap_or(0).max(1);
    let widest = files.iter().map(|file| file.path.chars().count()).max().unwrap_or(0).min(60);
    let scaled = |count: u64| if most <= BAR_MAX { count } else { (count * BAR_MAX).div_ceil(most) };
    let mut text = String::new();
    for file in files {
        let line = Line::default().text("  ").text(&file.path).pad_to(widest + 4);
        let line = line.add(Tone::Dim, &file.change).pad_to(widest + 14);
        let line = match (file.insertions, file.deletions) {
            (None, _) | (_, None) => line.add(Tone::Dim, "binary"),
            (Some(more), Some(less)) => line
                .text(&format!("{:>5} ", more.saturating_add(less)))
                .add(Tone::Good, &sign('+', scaled(more)))
                .add(Tone::Bad, &sign('-', scaled(less))),
        };
        _ = writeln!(text, "{}", line.finish(style));
    }
    let sum = |part: fn(&FileView) -> Option<u64>| files.iter().filter_map(part).sum::<u64>();
    let sums = format!(
        "  {}, {} added, {} removed",
        counted(files.len() as u64, "file", "files"),
        sum(|file| file.insertions),
        sum(|file| file.deletions)
    );
    _ = writeln!(text, "{}", style.paint(Tone::Dim, &sums));
    text
}

fn sign(sign: char, count: u64) -> String {
    std::iter::repeat_n(sign, usize::try_from(count).unwrap_or(0)).collect()
}

/// A unified patch, safe for a terminal; in colour where that is wanted. Lines are never cut: a patch is read closely.
pub(crate) fn patch_text(patch: &str, style: Style) -> String {
    let mut text = String::with_capacity(patch.len());
    // What is removed may itself begin with dashes, so headers end where the first hunk begins.
    let mut is_header = true;
    for line in patch.lines() {
        is_header = line.starts_with("diff ") || (is_header && !line.starts_with("@@"));
        let tone = match line.as_bytes().first() {
            _ if is_header => Tone::Bold,
            Some(b'+') => Tone::Good,
            Some(b'-') => Tone::Bad,
            Some(b'@') => Tone::Active,
            _ => Tone::Plain,
        };
        // Whoever reads a patch must see that something is there that could deceive them.
        _ = writeln!(text, "{}", style.paint(tone, &visible(line)));
    }
    text
}
