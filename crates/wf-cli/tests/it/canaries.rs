//! Thirty keys, in every place where a key can be, leaked in every way that there is; and six places in which none of them
//! may be found: the store, its blobs, its traces, what is printed, an exported run, a report.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::models::{Answer, Server};
use crate::place::{Place, Ran};

/// Where keys are: fourteen in variables, eight in files, four in the keyring, four in headers.
const COUNT: usize = 30;

const FLOW: &str = r#"
NAMES = ["KEY_%d" % n for n in range(30)]

workflow(
    "leaks",
    inputs = {"told": input(type = "string")},
    children = [
        ask("echo", role = "writer", prompt = "Say {{ inputs.told }}"),
        search("find", pattern = "cnry", reads = ["**"], limit = 1000),
        command("shows", argv = ["cat", "leak.txt"]),
        command("says", argv = ["echo", "{{ inputs.told }}"]),
        command("fails", argv = ["sh", "-c", "cat leak.txt leak.txt >&2; exit 3"], ok_exit = [3]),
        branch("line", writes = ["*"], children = [
            command("keeps", argv = ["sh", "-c", "cat leak.txt > kept.txt"], writes = ["*"], artifacts = ["*.txt"]),
        ]),
        command("looks", env = NAMES + ["WHALEFLOW_KEYS_HANDED"], argv = ["sh", "-c",
            "env | grep -c '^KEY_'; p=$$; while [ $p -gt 1 ]; do cat /proc/$p/environ; p=$(grep PPid: /proc/$p/status | tr -dc 0-9); done 2>/dev/null | tr '\\0' '\\n' | grep -c '^KEY_[0-9]*=c'; true"]),
        approve("go", prompt = "Go on?", form = schema.object({"note": schema.string()})),
    ],
    outputs = {"echo": "echo", "looks": "looks.stdout", "shows": "shows.stdout", "note": "go.note"},
)
"#;

/// A key like no other text.
fn canary(number: usize) -> String {
    let digest = blake3_like(number);
    // Some have what URLs, JSON and shells escape.
    let odd = ["", "/+=", "\"'", "%&", "\\$", "é ü"][number % 6];
    format!("cnry{number:02}-{}{odd}{}", &digest[..14], &digest[14..28])
}

/// Letters and digits that look random.
fn blake3_like(number: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789"[(state % 55) as usize])
    };
    (0..28).map(|_| next()).collect()
}

fn canaries() -> Vec<String> {
    (0..COUNT).map(canary).collect()
}

/// What is looked for: as it is, and as the usual encodings have it.
fn forms(canary: &str) -> Vec<String> {
    let quoted = serde_json::to_string(canary).unwrap();
    let hex: String = canary.bytes().map(|it| format!("{it:02x}")).collect();
    let percent: String = canary.bytes().map(|it| format!("%{it:02X}")).collect();
    let reversed = canary.chars().rev().collect();
    let base64 = base64(canary.as_bytes());
    let whole = base64.trim_end_matches('=');
    // Its last character depends on what follows.
    let whole = whole[..whole.len() - 1].to_owned();
    vec![canary.to_owned(), quoted[1..quoted.len() - 1].to_owned(), hex, percent, reversed, whole]
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().chain([&0, &0]).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for at in 0..4 {
            let is_there = at <= chunk.len();
            text.push(if is_there { char::from(ALPHABET[bits >> (18 - 6 * at) & 63]) } else { '=' });
        }
    }
    text
}

/// A repository whose files hold every key in every form.
fn place() -> Place {
    let place = Place::new();
    place.write("leaks.star", FLOW);
    let lines: Vec<String> = canaries().iter().flat_map(|it| forms(it)).collect();
    // Longer than a tail, so that it becomes a blob.
    place.write("leak.txt", &format!("{}\n", lines.join("\n")));
    place.commit_all();
    place
}

/// Configures a provider for each key, all of which are at `port`.
fn configure(place: &Place, port: u16) -> PathBuf {
    let (home, keys, programs) = (place.home(), place.beside("keys"), place.beside("programs"));
    std::fs::create_dir_all(&home).unwrap();
    let (mut config, mut ring) = (String::new(), "#!/bin/sh\ncase \"$5\" in\n".to_owned());
    for (number, canary) in canaries().iter().enumerate() {
        let at = match number {
            14..22 => {
                let path = keys.join(format!("{number}"));
                std::fs::write(&path, canary).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
                format!("key = {{ file = {path:?} }}")
            }
            22..26 => {
                let path = keys.join(format!("{number}"));
                std::fs::write(&path, canary).unwrap();
                ring.push_str(&format!("key-{number}) cat {path:?};;\n"));
                format!("key = {{ keyring = \"key-{number}\" }}")
            }
            26.. => format!("headers = {{ x-api-key = {{ env = \"KEY_{number}\" }} }}"),
            _ => format!("key = {{ env = \"KEY_{number}\" }}"),
        };
        config.push_str(&format!(
            "[providers.p{number}]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n{at}\n"
        ));
    }
    let models: Vec<String> = (0..COUNT).map(|number| format!("\"p{number}/tiny\"")).collect();
    config.push_str(&format!("[roles.writer]\nmodels = [{}]\n", models.join(", ")));
    std::fs::write(home.join("config.toml"), config).unwrap();
    let program = programs.join("secret-tool");
    std::fs::write(&program, ring + "*) exit 1;;\nesac\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    programs
}

/// All that a run and its surroundings say and leave.
struct Leaks {
    place: Place,
    env: Vec<(String, String)>,
    said: String,
}

impl Leaks {
    fn run(&mut self, args: &[&str], code: i32) -> Ran {
        let env: Vec<(&str, &str)> = self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let ran = self.place.run_env(&env, args);
        assert_eq!(ran.code, code, "{args:?}: {ran:?}");
        self.said.push_str(&ran.out);
        self.said.push_str(&ran.err);
        ran
    }

    /// Does everything that can leak a key.
    fn leak(&mut self) {
        let told = canaries().join(" ");
        let (told_arg, label) = (format!("told={told}"), format!("of={}", canary(3)));
        self.run(&["run", "leaks.star", "--trust", "--json", "-i", &told_arg, "--label", &label], 5);
        let note = serde_json::json!({"note": told}).to_string();
        self.run(&["approve", "@last", "go", "--data", &note, "--json"], 0);
        let ran = self.run(&["resume", "@last", "--json"], 0);
        assert_eq!(ran.json()["outputs"]["looks"], "0\n0\n", "no process has a key in its environment");
        self.run(&["signal", "@last", "over", "--data", &note], 10);
        for args in [
            &["show"][..],
            &["show", "--json"],
            &["show", "@last", "shows", "--json"],
            &["logs"],
            &["logs", "@last", "echo"],
        ] {
            self.run(args, 0);
        }
        self.run(&["logs", "@last", "--raw"], 0);
        self.run(&["diff", "@last"], 0);
        self.run(&["doctor"], 0);
        // Wrong requests, and a failure whose words hold a key.
        self.run(&["run", "leaks.star", &format!("--{}", canary(0))], 2);
        self.run(&["show", &canary(1)], 2);
        self.run(&["run", &canary(2)], 3);
        self.run(&["run", "leaks.star", "-i", &format!("{}=1", canary(4)), "--json"], 2);
    }

    /// The bytes in which nothing may be found, by the name of the sink.
    fn sinks(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        let report = self.run(&["report"], 0).out + &self.run(&["report", "--json"], 0).out;
        self.run(&["export", "@last", "-o", "run.wfrun"], 0);
        let exported = std::fs::read(self.place.dir().join("run.wfrun")).unwrap();
        let (mut store, mut blobs, mut traces) = (Vec::new(), Vec::new(), Vec::new());
        let mut files = Vec::new();
        walk(&self.place.home(), &mut files);
        for path in files {
            let text = path.to_string_lossy();
            let sink = match () {
                () if text.contains("/blobs/") => &mut blobs,
                () if text.contains("/traces/") => &mut traces,
                // What git keeps of the repository, and where a person wrote down where keys are.
                () if text.contains("/trees/") || text.ends_with("config.toml") => continue,
                () => &mut store,
            };
            sink.extend(std::fs::read(&path).unwrap_or_default());
        }
        vec![
            ("store", store),
            ("blobs", blobs),
            ("traces", traces),
            ("printed", self.said.clone().into_bytes()),
            ("export", exported),
            ("report", report.into_bytes()),
        ]
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => walk(&entry.path(), found),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

/// The keys that are found in a sink, in any form.
fn found(bytes: &[u8]) -> BTreeSet<usize> {
    let text = String::from_utf8_lossy(bytes);
    (0..COUNT).filter(|number| forms(&canary(*number)).iter().any(|form| text.contains(form.as_str()))).collect()
}

/// Answers with the key that it was shown, and with all that it was told, in awkward pieces.
fn echo() -> Server {
    Server::start(|asked| {
        let key = asked.headers.lines().find_map(|line| line.strip_prefix("authorization:")).unwrap_or_default();
        let text = format!("{key} {}", asked.body["messages"][0]["content"].as_str().unwrap());
        let letters: Vec<char> = text.chars().collect();
        Answer::Says(letters.chunks(7).map(|piece| piece.iter().collect()).collect())
    })
}

#[test]
fn no_key_is_found_in_any_sink() {
    let server = echo();
    let place = place();
    let programs = configure(&place, server.port);
    let path = std::env::vars_os().find(|(name, _)| name == "PATH").unwrap().1.into_string().unwrap();
    let keys = canaries().into_iter().enumerate().map(|(number, key)| (format!("KEY_{number}"), key));
    let mut env: Vec<(String, String)> = keys.filter(|(name, _)| !is_elsewhere(name)).collect();
    env.push(("PATH".to_owned(), format!("{}:{path}", programs.display())));
    let mut leaks = Leaks { place, env, said: String::new() };
    leaks.leak();
    for (sink, bytes) in leaks.sinks() {
        assert_eq!(found(&bytes), BTreeSet::new(), "{sink}");
        assert!(String::from_utf8_lossy(&bytes).contains("[redacted]"), "nothing came to {sink}");
    }
}

/// Whether a key is in a file or in the keyring.
fn is_elsewhere(name: &str) -> bool {
    let number: usize = name[4..].parse().unwrap();
    (14..26).contains(&number)
}

#[test]
fn without_a_redactor_all_of_them_are_found() {
    // Nothing is configured, so nothing is known to be a key.
    let mut leaks = Leaks { place: place(), env: Vec::new(), said: String::new() };
    leaks.leak();
    for (sink, bytes) in leaks.sinks() {
        assert_eq!(found(&bytes).len(), COUNT, "{sink}");
    }
}
