//! The forms in which a secret may turn up: as it is, encoded, reversed, or half of it.

use std::collections::BTreeSet;

/// A form shorter than this is left out: it would be found everywhere.
pub(super) const FORM_BYTES_MIN: usize = 8;
/// Halves of secrets shorter than this are left out.
const HALVED_BYTES_MIN: usize = 16;

/// All forms of a secret, in lower case: they are looked for without regard to case.
pub(super) fn forms(secret: &str) -> BTreeSet<String> {
    let reversed: String = secret.chars().rev().collect();
    let mut plain = vec![secret.to_owned(), reversed];
    if secret.len() >= HALVED_BYTES_MIN {
        let middle = (secret.len() / 2..).find(|at| secret.is_char_boundary(*at)).unwrap_or(secret.len());
        let (first, second) = secret.split_at(middle);
        let turned = |half: &str| half.chars().rev().collect::<String>();
        plain.extend([first.to_owned(), second.to_owned(), turned(first), turned(second)]);
    }
    let mut forms = BTreeSet::new();
    for text in &plain {
        forms.extend(escaped(text));
        forms.extend(spelt_in_hex(text.as_bytes()));
        forms.extend(in_base64(text.as_bytes()));
    }
    forms.into_iter().map(|form| form.to_ascii_lowercase()).filter(|form| form.len() >= FORM_BYTES_MIN).collect()
}

/// As text, and as the text of a URL, a JSON string (once and twice), a page or a shell shows it.
fn escaped(text: &str) -> Vec<String> {
    let json = |text: &str| {
        let quoted = serde_json::Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let once = json(text);
    let percent = |keeps: &dyn Fn(u8) -> bool| -> String {
        text.bytes().map(|it| if keeps(it) { char::from(it).to_string() } else { format!("%{it:02x}") }).collect()
    };
    let unreserved = |it: u8| it.is_ascii_alphanumeric() || b"-._~".contains(&it);
    let component = percent(&unreserved);
    let page = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    vec![
        text.to_owned(),
        json(&once),
        once.replace('/', "\\/"),
        once,
        component.replace("%20", "+"),
        // What `encodeURI` and file names leave as it is.
        percent(&|it| unreserved(it) || b"!*'();:@&=+$,/?#[]".contains(&it)),
        component,
        percent(&|_| false),
        page.replace('\'', "&#39;"),
        page,
        text.replace('\'', "'\\''"),
        units,
    ]
}

/// As hexadecimal digits, with what people put between them.
fn spelt_in_hex(bytes: &[u8]) -> Vec<String> {
    let digits: Vec<String> = bytes.iter().map(|it| format!("{it:02x}")).collect();
    let pairs: Vec<String> = bytes.chunks(2).map(|pair| pair.iter().map(|it| format!("{it:02x}")).collect()).collect();
    let led = |prefix: &str| digits.iter().map(|it| format!("{prefix}{it}")).collect::<Vec<_>>();
    vec![
        digits.concat(),
        digits.join(" "),
        digits.join(":"),
        pairs.join(" "),
        led("\\x").concat(),
        led("0x").join(", "),
        led("0x").join(","),
    ]
}

/// In base64, at each of the three places at which it can begin. What shares a character with its neighbours is left out,
/// so padding does not matter.
fn in_base64(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for before in 0..3 {
        let mut padded = vec![0; before];
        padded.extend(bytes);
        let first = (before * 8).div_ceil(6);
        let end = padded.len() * 8 / 6;
        for alphabet in [STANDARD, URL] {
            found.push(base64(&padded, alphabet).get(first..end).unwrap_or_default().to_owned());
        }
    }
    found
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The whole and the partial characters of `bytes`, without padding.
fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for sextet in 0..=chunk.len() {
            text.push(char::from(alphabet[(bits >> (18 - 6 * sextet) & 63) as usize]));
        }
    }
    text
}
