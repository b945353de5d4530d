use std::os::unix::fs::PermissionsExt;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use wf_kernel::ValueRef;

use std::collections::BTreeMap;

use wf_ir::Value;
use wf_kernel::{Outcome, Usage};

use super::*;

const KEY: &str = "sk-Zq8/3x+Wl=7\"é&pQ'R 2T";

fn told(secret: &str) -> Redactor {
    let redactor = Redactor::default();
    redactor.learn(&Secret::new(secret.to_owned()));
    redactor
}

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&told("abcd1234EFGH5678").text(text));
}

#[test]
fn a_secret_is_found_in_every_form() {
    check("key=abcd1234EFGH5678.", expect!["key=[redacted]."]);
    check("ABCD1234EFGH5678", expect!["[redacted]"]);
    check("8765HGFE4321dcba", expect!["[redacted]"]);
    check("EFGH5678 and abcd1234", expect!["[redacted] and [redacted]"]);
    check("4321dcba", expect!["[redacted]"]);
    check("61626364313233344546474835363738", expect!["[redacted]"]);
    check("61:62:63:64:31:32:33:34:45:46:47:48:35:36:37:38", expect!["[redacted]"]);
    check("%61%62%63%64%31%32%33%34%45%46%47%48%35%36%37%38", expect!["[redacted]"]);
    check(
        r"\u0061\u0062\u0063\u0064\u0031\u0032\u0033\u0034\u0045\u0046\u0047\u0048",
        expect![[r#"[redacted]\u0045\u0046\u0047\u0048"#]],
    );
    // base64 of it alone, after one byte, after two.
    check("YWJjZDEyMzRFRkdINTY3OA==", expect!["[redacted]A=="]);
    check("eGFiY2QxMjM0RUZHSDU2Nzg=", expect!["eG[redacted]g="]);
    check("eHhhYmNkMTIzNEVGR0g1Njc4", expect!["eHh[redacted]"]);
    check("nothing of the kind, abcd123 either", expect!["nothing of the kind, abcd123 either"]);
}

#[test]
fn what_is_too_short_is_not_looked_for() {
    let redactor = told("ollama");
    assert!(redactor.is_idle());
    assert_eq!(redactor.text("ollama"), "ollama");
}

#[test]
fn records_keep_their_shape() {
    let redactor = told(KEY);
    let value = Value::from_json(&format!(
        "{{\"a\":[{quoted},1,null],{quoted}:\"\\nsk-Zq8\"}}",
        quoted = serde_json::to_string(KEY).unwrap()
    ));
    let cleaned = redactor.value(&value.unwrap()).unwrap();
    expect![[r#"{"[redacted]":"\nsk-Zq8","a":["[redacted]",1,null]}"#]].assert_eq(&cleaned.to_json());
    let reference = ValueRef::Inline(Arc::new(Value::from(KEY)));
    let cleaned = redactor.record(reference).unwrap();
    assert_eq!(cleaned, ValueRef::Inline(Arc::new(Value::from("[redacted]"))));
    // A secret that is a word of the format leaves nothing to write.
    assert!(told("inline_of").record(ValueRef::null()).is_some());
    let broken = told("cancelled").outcome(Outcome::Cancelled { usage: Usage::default() });
    let Outcome::Failed(failure) = broken else { panic!("{broken:?}") };
    assert_eq!(failure.code, "secret");
}

#[test]
fn pieces_of_a_stream_are_put_together() {
    let mut stream = told("abcd1234EFGH5678").stream();
    let mut shown = Vec::new();
    for piece in ["see ab", "cd12", "34EFGH56", "78 there, abc", "d12 not", " ab"] {
        shown.push(stream.push(piece));
    }
    shown.push(stream.finish());
    expect![[r#"["see ", "", "", "[redacted] there, ", "abcd12 not", " ", "ab"]"#]].assert_eq(&format!("{shown:?}"));
}

fn key_in(place: &KeyPlace, source: &KeySource) -> String {
    match source.key_at_hand(place) {
        Ok(secret) => format!("found {} bytes", secret.expose().len()),
        Err(error) => format!("{error} ({})", error.hint()),
    }
}

#[test]
fn a_file_that_others_can_read_is_no_place_for_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let source = KeySource::none();
    let place = KeyPlace::File(path.clone());
    let check = |expected: Expect| {
        expected.assert_eq(&key_in(&place, &source).replace(dir.path().to_str().unwrap(), "…"));
    };
    check(expect![[r#"there is no key in the file "…/key" (write the key to "…/key", and chmod 600 it)"#]]);
    std::fs::write(&path, "a-key-of-a-file\n").unwrap();
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for bad in [0o644, 0o640, 0o604, 0o620] {
        mode(bad);
        check(expect![[
            r#"the key in the file "…/key" is not used: others than its owner can read or change it (chmod 600 "…/key")"#
        ]]);
    }
    assert!(!source.redactor().finds("a-key-of-a-file"));
    mode(0o600);
    check(expect!["found 15 bytes"]);
    assert!(source.redactor().finds("a-key-of-a-file"));
    std::fs::write(&path, "two\nlines").unwrap();
    check(expect![[
        r#"the key in the file "…/key" is not used: it is not one line of at most 16384 bytes (chmod 600 "…/key")"#
    ]]);
    std::fs::write(&path, " \n").unwrap();
    check(expect![[r#"there is no key in the file "…/key" (write the key to "…/key", and chmod 600 it)"#]]);
}

#[test]
fn the_environment_is_what_was_taken_out_of_it() {
    let env = [("A_KEY".to_owned(), Secret::new("from-the-environment".to_owned()))];
    let source = KeySource::new(env.into(), Keyring::default(), Redactor::default());
    assert!(source.redactor().finds("from-the-environment"));
    expect!["found 20 bytes"].assert_eq(&key_in(&KeyPlace::Env("A_KEY".to_owned()), &source));
    expect!["there is no key in the variable PATH (export PATH before whaleflow is started)"]
        .assert_eq(&key_in(&KeyPlace::Env("PATH".to_owned()), &source));
}

#[tokio::test]
async fn a_keyring_is_asked_by_its_own_program() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("secret-tool");
    let text = "#!/bin/sh\n[ \"$*\" = 'lookup service whaleflow account local' ] || exit 1\necho $BUS-key\n";
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let env = [("PATH", dir.path().to_str().unwrap()), ("BUS", "of-the-bus")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let source = KeySource::new(BTreeMap::new(), Keyring { env: env.into() }, Redactor::default());
    let place = KeyPlace::Keyring("local".to_owned());
    assert!(source.key_at_hand(&place).is_err(), "nobody was asked yet");
    assert_eq!(source.key(&place).await.ok().unwrap().expose(), "of-the-bus-key");
    assert_eq!(source.key_at_hand(&place).ok().unwrap().expose(), "of-the-bus-key");
    let other = source.key(&KeyPlace::Keyring("other".to_owned())).await.err().unwrap();
    expect![[r#"there is no key in the keyring's entry "other""#]].assert_eq(&other.to_string());
    let none = KeySource::none().key(&place).await.err().unwrap();
    expect![[r#"the key in the keyring's entry "local" cannot be read: there is no program "secret-tool""#]]
        .assert_eq(&none.to_string());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn however_text_is_cut_the_stream_shows_what_the_whole_shows(
        secret in "[a-c]{8,12}",
        text in "[a-cé]{0,60}",
        cuts in proptest::collection::vec(0_usize..60, 0..6),
    ) {
        let redactor = told(&secret);
        let text = format!("{text}{secret}{text}");
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|at| text.is_char_boundary(*at)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut stream = redactor.stream();
        let mut shown: String = cuts.windows(2).map(|pair| stream.push(&text[pair[0]..pair[1]])).collect();
        shown.push_str(&stream.finish());
        prop_assert_eq!(shown, redactor.text(&text).into_owned());
    }

    #[test]
    fn nothing_of_a_secret_is_left(secret in "[ -~]{8,40}", before in "\\PC{0,9}", after in "\\PC{0,9}") {
        let secret = secret.trim().to_owned();
        prop_assume!(secret.len() >= SECRET_BYTES_MIN && !MARKS.contains(&secret.as_str()));
        let redactor = told(&secret);
        let text = format!("{before}{secret}{after}");
        prop_assert!(!redactor.text(&text).contains(&secret));
        let quoted = serde_json::to_string(&text).unwrap();
        let cleaned = redactor.json(&quoted).unwrap();
        prop_assert!(!Value::from_json(&cleaned).unwrap().as_str().unwrap().contains(&secret));
    }
}

/// What stands in a secret's place, and its parts.
const MARKS: [&str; 4] = ["redacted", "[redacted", "redacted]", "[redacted]"];
