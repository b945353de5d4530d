//! Reads the tables of ARCHITECTURE.md, which say what the crates may do.

use std::collections::{BTreeMap, BTreeSet};

/// The file that says it.
pub(crate) const FILE: &str = "ARCHITECTURE.md";

/// A table: its rows, each with its cells by the name of their column.
pub(crate) type Rows = Vec<BTreeMap<String, String>>;

/// The rows of the table that has all of `columns`.
pub(crate) fn table(markdown: &str, columns: &[&str]) -> Option<Rows> {
    let lines: Vec<&str> = markdown.lines().collect();
    let start = lines.iter().position(|line| {
        let heads = cells(line);
        columns.iter().all(|column| heads.iter().any(|head| head == column))
    })?;
    let heads = cells(lines[start]);
    let rows = lines[start + 1..].iter().take_while(|line| line.starts_with('|')).skip(1);
    Some(rows.map(|line| heads.iter().cloned().zip(cells(line)).collect()).collect())
}

fn cells(line: &str) -> Vec<String> {
    let Some(inside) = line.trim().strip_prefix('|') else { return Vec::new() };
    inside.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// What stands between back ticks in a text.
pub(crate) fn ticked(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// For each name between back ticks in column `key`, the names between back ticks in column `value`.
pub(crate) fn names_by_name(markdown: &str, key: &str, value: &str) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let rows = table(markdown, &[key, value])?;
    let mut found = BTreeMap::new();
    for row in rows {
        for name in ticked(&row[key]) {
            found.entry(name).or_insert_with(BTreeSet::new).extend(ticked(row.get(value).map_or("", String::as_str)));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "text\n\n| crate | uses |\n|---|---|\n| `a` | – |\n| `b` | `a`, `c` |\n\nafter | `d` |\n";

    #[test]
    fn a_table_is_read_up_to_its_end() {
        let names = names_by_name(TABLE, "crate", "uses").unwrap();
        assert_eq!(format!("{names:?}"), r#"{"a": {}, "b": {"a", "c"}}"#);
    }

    #[test]
    fn a_table_without_the_columns_is_not_it() {
        assert_eq!(names_by_name(TABLE, "crate", "needs"), None);
    }
}
