//! Foreign text never steers a terminal, whatever it is.

use proptest::prelude::*;
use wf_view::text::{clean, clean_lines, first_line, visible};

fn is_safe(text: &str) -> bool {
    text.chars().all(|character| !character.is_control() && !('\u{202a}'..='\u{202e}').contains(&character))
}

/// Text with more of what matters than chance would give.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<char>().prop_map(String::from),
        "\\PC{0,4}",
        Just("\u{1b}".to_owned()),
        Just("\u{1b}[31m".to_owned()),
        Just("\u{1b}]0;".to_owned()),
        Just("\u{7}".to_owned()),
        Just("\u{1b}\\".to_owned()),
        Just("\u{9b}".to_owned()),
        Just("\u{202e}".to_owned()),
        Just("\r\n\t".to_owned()),
    ];
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn cleaned_text_is_safe_and_stays_as_it_is(text in hostile()) {
        let line = clean(&text).into_owned();
        prop_assert!(is_safe(&line), "{line:?}");
        prop_assert_eq!(clean(&line), line.as_str());
        let lines = clean_lines(&text).into_owned();
        prop_assert!(lines.split('\n').all(is_safe), "{lines:?}");
        prop_assert!(is_safe(&visible(&text).replace(['\n', '\t'], "")));
        let first = first_line(&text, 5);
        prop_assert!(is_safe(&first) && first.chars().count() <= 5, "{first:?}");
    }
}
