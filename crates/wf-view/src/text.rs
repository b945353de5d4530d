//! Times, amounts and foreign text as people read them.

use std::borrow::Cow;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A time in milliseconds since the Unix epoch as RFC 3339 in UTC, such as `2026-01-31T23:59:59.000Z`.
pub fn rfc3339(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(DAY_MS as i64), ms.rem_euclid(DAY_MS as i64) as u64);
    let (year, month, day) = civil(days);
    let (hour, minute) = (rest / HOUR_MS, rest / MINUTE_MS % 60);
    let (second, milli) = (rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The Gregorian date of a day counted from 1970-01-01. Years begin in March here, so that leap days come last, and
/// are counted in eras of 400 years, which all have the same days.
fn civil(days: i64) -> (i64, u32, u32) {
    const ERA_DAYS: i64 = 146_097;
    // Day 0 of the first era is 0000-03-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let leaps = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / (ERA_DAYS - 1);
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u32, day as u32)
}

/// `950ms`, `12.3s`, `4m05s`, `2h03m`, `3d04h`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..MINUTE_MS => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        MINUTE_MS..HOUR_MS => format!("{}m{:02}s", ms / MINUTE_MS, ms / 1_000 % 60),
        HOUR_MS..DAY_MS => format!("{}h{:02}m", ms / HOUR_MS, ms / MINUTE_MS % 60),
        _ => format!("{}d{:02}h", ms / DAY_MS, ms / HOUR_MS % 24),
    }
}

/// `999`, `12.3k`, `4.5M`, `6.7G`.
pub fn amount(count: u64) -> String {
    let scaled = |unit: u64, name: &str| format!("{}.{}{name}", count / unit, count % unit / (unit / 10));
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => scaled(1_000, "k"),
        1_000_000..1_000_000_000 => scaled(1_000_000, "M"),
        _ => scaled(1_000_000_000, "G"),
    }
}

/// Millionths of a US dollar as `$0.0123` below ten dollars, as `$12.35` above.
pub fn money(micros: u64) -> String {
    if (1..50).contains(&micros) {
        return "<$0.0001".to_owned();
    }
    let cents = micros.saturating_add(5_000) / 10_000;
    if cents >= 1_000 {
        return format!("${}.{:02}", cents / 100, cents % 100);
    }
    let parts = micros.saturating_add(50) / 100;
    format!("${}.{:04}", parts / 10_000, parts % 10_000)
}

/// Bytes on a disk, as people say them: `512 B`, `3.1 MiB`.
pub fn bytes_text(bytes: u64) -> String {
    let unit = ["KiB", "MiB", "GiB", "TiB"].into_iter().enumerate().rev();
    let fits = unit.map(|(at, name)| (1_u64 << (10 * (at + 1)), name)).find(|(size, _)| bytes >= *size);
    match fits {
        None => format!("{bytes} B"),
        // One digit after the point, cut and not rounded, so that no number says more than there is.
        Some((size, name)) => format!("{}.{} {name}", bytes / size, bytes % size * 10 / size),
    }
}

/// `1 leaf`, `2 leaves`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Foreign text as one line that is safe for a terminal: no escape sequences, no control characters, nothing that
/// changes the direction of text. Line ends and tabs become spaces.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut made = String::with_capacity(text.len());
    strip(text, |character| match character {
        '\n' | '\t' => made.push(' '),
        other => made.push(other),
    });
    Cow::Owned(made)
}

/// Foreign text of several lines that is safe for a terminal, as [`clean`], with its line ends; tabs become four spaces.
pub fn clean_lines(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|character| character != '\n' && is_hostile(character)) {
        return Cow::Borrowed(text);
    }
    let mut made = String::with_capacity(text.len());
    strip(text, |character| match character {
        '\t' => made.push_str("    "),
        other => made.push(other),
    });
    Cow::Owned(made)
}

/// Foreign text whose every character must be seen: what could steer a terminal becomes a replacement character.
/// Tabs and line ends are left.
pub fn visible(text: &str) -> Cow<'_, str> {
    let hides = |character: char| !matches!(character, '\n' | '\t') && is_hostile(character);
    if !text.chars().any(hides) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|character| if hides(character) { '\u{fffd}' } else { character }).collect())
}

/// A word for a shell, quoted where it must be.
pub fn shell_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.:@+,=".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The first line of a text that is not blank, cleaned and at most `chars_max` characters long.
pub fn first_line(text: &str, chars_max: usize) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line = clean(line);
    match line.char_indices().nth(chars_max) {
        Some(_) => {
            let kept: String = line.chars().take(chars_max.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
        None => line.into_owned(),
    }
}

/// Whether a character must not reach a terminal as it is.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Hands over what is left of a text without escape sequences and hostile characters; line ends and tabs are left.
fn strip(text: &str, mut keep: impl FnMut(char)) {
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '\u{1b}' => rest = after_escape(rest),
            '\u{9b}' => rest = after_csi(rest),
            '\r' if rest.starts_with('\n') => {}
            '\r' | '\n' | '\u{2028}' | '\u{2029}' => keep('\n'),
            '\t' => keep('\t'),
            hostile if is_hostile(hostile) => {}
            other => keep(other),
        }
    }
}

/// What follows an escape sequence whose first character was taken.
fn after_escape(rest: &str) -> &str {
    let Some(kind) = rest.chars().next() else { return rest };
    let after = &rest[kind.len_utf8()..];
    match kind {
        '[' => after_csi(after),
        // Strings for the terminal (titles, links, …) end with a bell or with `ESC \`. One without an end is no reason
        // to hide the rest of the text.
        ']' | 'P' | 'X' | '^' | '_' => {
            let end = after.find(['\u{7}', '\u{9c}']).map(|at| (at, &after[at..]));
            let long = after.find("\u{1b}\\").map(|at| (at, &after[at + 2..]));
            match (end, long) {
                (Some((at, found)), other) if other.is_none_or(|(long, _)| at < long) => {
                    let mut characters = found.chars();
                    characters.next();
                    characters.as_str()
                }
                (_, Some((_, found))) => found,
                _ => after,
            }
        }
        ' '..='/' => {
            let mut characters = after.chars();
            match characters.next() {
                Some('0'..='~') => characters.as_str(),
                _ => after,
            }
        }
        '0'..='~' => after,
        _ => rest,
    }
}

/// What follows the parameters and the final character of a control sequence.
fn after_csi(rest: &str) -> &str {
    let parameters = rest.find(|character| !matches!(character, ' '..='?')).unwrap_or(rest.len());
    let end = &rest[parameters..];
    match end.chars().next() {
        Some('@'..='~') => &end[1..],
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_civil_dates() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_767_225_599_123, "2025-12-31T23:59:59.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ];
        for (ms, text) in cases {
            assert_eq!(rfc3339(ms), text);
        }
        for ms in [i64::MIN, i64::MAX] {
            assert!(rfc3339(ms).ends_with('Z'));
        }
    }

    #[test]
    fn amounts_are_short() {
        let durations = [0, 999, 1_000, 59_999, 60_000, 3_599_999, 3_600_000, 86_399_999, 86_400_000, u64::MAX];
        assert_eq!(
            durations.map(duration),
            ["0ms", "999ms", "1.0s", "59.9s", "1m00s", "59m59s", "1h00m", "23h59m", "1d00h", "213503982334d14h"]
        );
        assert_eq!(
            [0, 999, 1_000, 12_345, 999_999, 4_560_000].map(amount),
            ["0", "999", "1.0k", "12.3k", "999.9k", "4.5M"]
        );
        assert_eq!(
            [0, 49, 50, 12_345, 9_994_999, 9_995_000, 12_345_678, u64::MAX].map(money),
            ["$0.0000", "<$0.0001", "$0.0001", "$0.0123", "$9.9950", "$10.00", "$12.35", "$18446744073709.55"]
        );
    }

    #[test]
    fn hostile_text_is_made_safe() {
        let cases = [
            ("plain text, täxt, 漢字", "plain text, täxt, 漢字"),
            ("a\x1b[31mred\x1b[0m", "ared"),
            ("a\x1b]0;title\x07b", "ab"),
            ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
            ("never\x1b]52;c;ended text", "never52;c;ended text"),
            ("a\u{9b}2Jb", "ab"),
            ("a\x1b(Bb\x1bcc", "abc"),
            ("a\x1b", "a"),
            ("a\x1b[31", "a"),
            ("over\rwrite", "over write"),
            ("two\r\nlines\tand\n", "two lines and "),
            ("bell\x07 back\x08 del\x7f nul\0", "bell back del nul"),
            ("\u{202e}txt.exe", "txt.exe"),
            ("a\x1b\u{202e}b", "ab"),
        ];
        for (text, safe) in cases {
            assert_eq!(clean(text), safe, "{text:?}");
        }
        assert_eq!(clean_lines("a\tb\r\nc\x1b[1m\n"), "a    b\nc\n");
        assert_eq!(visible("a\tb\x1b[1m\u{202e}\n"), "a\tb\u{fffd}[1m\u{fffd}\n");
    }

    #[test]
    fn words_for_a_shell() {
        assert_eq!(
            ["a/b-c.d", "each[0]/leaf", "it's", ""].map(shell_word),
            ["a/b-c.d", "'each[0]/leaf'", "'it'\\''s'", "''"]
        );
    }

    #[test]
    fn first_lines_are_cut_at_characters() {
        assert_eq!(first_line("\n\n  Find   the bug.\nThen", 20), "Find   the bug.");
        assert_eq!(first_line("äöüäöüäöü", 4), "äöü…");
        assert_eq!(first_line("", 4), "");
    }
}
