//! Colours, widths, and lines that stay within them.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use wf_view::text::clean;

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// Whether escape codes for colours are wanted; the caller has looked at the terminal and at `NO_COLOR`.
    pub(crate) colour: bool,
    /// Columns of the terminal; lines are cut there. Off a terminal it is [`Style::PLAIN`]'s, which is never reached.
    pub(crate) width: usize,
}

impl Style {
    /// For files and pipes: no colours, no cutting.
    pub(crate) const PLAIN: Self = Self { colour: false, width: usize::MAX };

    /// Text of the program itself, coloured.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        match tone.code().filter(|_| self.colour && !text.is_empty()) {
            Some(code) => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            None => text.to_owned(),
        }
    }
}

/// What a text is, which says how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Ordinary.
    Plain,
    /// A title.
    Bold,
    /// Of less importance.
    Dim,
    /// It worked.
    Good,
    /// It did not.
    Bad,
    /// Somebody should look.
    Warn,
    /// It goes on.
    Active,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Good => Some("32"),
            Self::Bad => Some("31"),
            Self::Warn => Some("33"),
            Self::Active => Some("36"),
        }
    }
}

/// A line that is put together from parts and cut to the terminal's width. Every part is cleaned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    parts: Vec<(Tone, String)>,
}

impl Line {
    /// A line with one part.
    pub(crate) fn of(tone: Tone, text: &str) -> Self {
        Self::default().add(tone, text)
    }

    /// The same with another part.
    #[must_use]
    pub(crate) fn add(mut self, tone: Tone, text: &str) -> Self {
        if !text.is_empty() {
            self.parts.push((tone, clean(text).into_owned()));
        }
        self
    }

    /// The same with an ordinary part.
    #[must_use]
    pub(crate) fn text(self, text: &str) -> Self {
        self.add(Tone::Plain, text)
    }

    /// The same with parts that are told apart by dots; those that are empty are left out.
    #[must_use]
    pub(crate) fn dotted<'a>(mut self, parts: impl IntoIterator<Item = (Tone, &'a str)>) -> Self {
        for (tone, text) in parts {
            if text.is_empty() {
                continue;
            }
            if !self.parts.is_empty() {
                self = self.add(Tone::Dim, " · ");
            }
            self = self.add(tone, text);
        }
        self
    }

    /// The same with spaces up to a column, or one space when it is beyond that.
    #[must_use]
    pub(crate) fn pad_to(self, column: usize) -> Self {
        let spaces = column.saturating_sub(self.width()).max(1);
        self.text(&" ".repeat(spaces))
    }

    /// How many columns it takes.
    pub(crate) fn width(&self) -> usize {
        self.parts.iter().map(|(_, text)| text.width()).sum()
    }

    /// The text, cut to the terminal's width.
    pub(crate) fn finish(&self, style: Style) -> String {
        let cut = self.width() > style.width;
        let mut room = if cut { style.width.saturating_sub(1) } else { style.width };
        let mut text = String::new();
        for (tone, part) in &self.parts {
            let kept = head(part, room);
            room -= kept.width().min(room);
            text.push_str(&style.paint(*tone, kept));
            if kept.len() < part.len() {
                break;
            }
        }
        if cut && style.width > 0 {
            text.push('…');
        } else {
            text.truncate(text.trim_end_matches(' ').len());
        }
        text
    }
}

/// The longest beginning of a text that takes at most `columns`.
pub(crate) fn head(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, character) in text.char_indices() {
        used += character.width().unwrap_or(0);
        if used > columns {
            return &text[..at];
        }
    }
    text
}

/// A text cut to so many columns, with a mark where it was cut.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    let text = clean(text);
    if text.width() <= columns {
        return text.into_owned();
    }
    format!("{}…", head(&text, columns.saturating_sub(1)))
}

/// Rows as columns: each as wide as its widest cell, but none wider than `column_max`.
pub(crate) fn table(rows: &[Vec<(Tone, String)>], column_max: usize, style: Style) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; columns];
    for row in rows {
        for (at, (_, cell)) in row.iter().enumerate() {
            widths[at] = cut(cell, column_max).width().max(widths[at]);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = Line::default();
        let mut column = 0;
        for (at, (tone, cell)) in row.iter().enumerate() {
            if at > 0 {
                line = line.pad_to(column);
            }
            let last = at + 1 == row.len();
            line = if last { line.add(*tone, cell) } else { line.add(*tone, &cut(cell, column_max)) };
            column += widths[at] + 2;
        }
        _ = writeln!(text, "{}", line.finish(style));
    }
    text
}
