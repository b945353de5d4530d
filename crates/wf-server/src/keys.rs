//! Keys of the environment: taken out of it when the process begins, so that no child, and nobody who looks at this
//! process from outside, finds them there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;

use wf_effects::secret::{KEY_BYTES_MAX, KeyPlace, KeySource, Keyring, Redactor, Secret, keys_handed};

use crate::config::{KeyNames, read_text};
use crate::environment::Environment;
use crate::error::Error;

/// Says that a process is given its keys on its standard input.
pub(crate) const KEYS_HANDED: &str = "WHALEFLOW_KEYS_HANDED";
/// The most keys in bytes that are handed on: as much as a pipe takes at once.
const HANDED_BYTES_MAX: usize = 60 << 10;
/// Where in `/proc/self/stat`, behind the program's name, the bounds of the environment are.
const ENV_START: usize = 47;
/// Variables that lead to the session's keyring.
const KEYRING_ENV: [&str; 5] = ["PATH", "HOME", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "DISPLAY"];

/// Takes the keys that the user's configuration names out of `vars` and out of this process's own environment.
///
/// # Errors
/// When they would stay where others can read them.
pub(crate) fn take(environment: &mut Environment) -> Result<(), Error> {
    let names = names(environment);
    let vars = environment.vars_mut();
    let mut keys = BTreeMap::new();
    if vars.remove(KEYS_HANDED).is_some() {
        let mut text = String::new();
        let read = std::io::stdin().lock().take(HANDED_BYTES_MAX as u64).read_to_string(&mut text);
        read.map_err(|error| Error::Bug(format!("the keys were not handed on: {error}")))?;
        keys = keys_handed(&Secret::new(text));
    }
    for name in &names.env {
        if let Some(value) = vars.remove(name) {
            keys.insert(name.clone(), Secret::new(value));
        }
    }
    let is_too_much =
        keys.iter().map(|(name, key)| name.len() + key.expose().len() + 2).sum::<usize>() > HANDED_BYTES_MAX;
    if is_too_much || keys.values().any(|key| key.expose().len() > KEY_BYTES_MAX) {
        let message = format!("the keys in the environment are larger than {KEY_BYTES_MAX} bytes each, or too many");
        return Err(Error::Key { message, hint: "is each of them one key?".to_owned() });
    }
    let env = KEYRING_ENV.iter().filter_map(|name| Some(((*name).to_owned(), vars.get(*name)?.clone()))).collect();
    let source = KeySource::new(keys, Keyring { env }, Redactor::default());
    for file in names.files {
        // Only so that it is known to be one; whoever needs it hears what is wrong with it.
        let _ = source.key_at_hand(&KeyPlace::File(file));
    }
    environment.set_keys(source);
    Ok(())
}

/// Wipes variables from the memory that `/proc/PID/environ` shows. To be called while there is one thread.
///
/// # Errors
/// When they can still be read there.
pub(crate) fn wipe(names: &BTreeSet<String>) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    let wiped = try_wipe(names);
    // What counts is what others see.
    let seen = std::fs::read("/proc/self/environ").unwrap_or_default();
    let is_left = entries(&seen).any(|(_, entry)| is_one_of(entry, names));
    match (wiped, is_left) {
        (_, false) => Ok(()),
        (wiped, true) => Err(Error::Key {
            message: format!(
                "a key cannot be taken out of this process's environment{}",
                wiped.err().map_or_else(String::new, |error| format!(": {error}"))
            ),
            hint: "name it by `file` or `keyring` in the configuration, and unset the variable".to_owned(),
        }),
    }
}

fn try_wipe(names: &BTreeSet<String>) -> std::io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let odd = || std::io::Error::other("/proc/self/stat is not as it should be");
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or_else(odd)?.1.split_ascii_whitespace().collect();
    let bound = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).ok_or_else(odd);
    let (start, end) = (bound(ENV_START)?, bound(ENV_START + 1)?);
    let memory: File = OpenOptions::new().read(true).write(true).open("/proc/self/mem")?;
    let mut block = vec![0; usize::try_from(end.saturating_sub(start)).map_err(std::io::Error::other)?];
    memory.read_exact_at(&mut block, start)?;
    for (at, entry) in entries(&block).filter(|(_, entry)| is_one_of(entry, names)) {
        let value = entry.iter().position(|byte| *byte == b'=').map_or(0, |at| at + 1);
        memory.write_all_at(&vec![0; entry.len() - value], start + (at + value) as u64)?;
    }
    // The copy goes too.
    block.fill(0);
    Ok(())
}

/// The entries of an environment, with where each begins.
fn entries(block: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    block.split(|byte| *byte == 0).map(move |entry| {
        let begin = at;
        at += entry.len() + 1;
        (begin, entry)
    })
}

/// Whether an entry is a variable of these names, with a value.
fn is_one_of(entry: &[u8], names: &BTreeSet<String>) -> bool {
    let mut parts = entry.splitn(2, |byte| *byte == b'=');
    let name = parts.next().and_then(|name| std::str::from_utf8(name).ok());
    name.is_some_and(|name| names.contains(name)) && parts.next().is_some_and(|value| !value.is_empty())
}

/// The variables that the user's file names as keys. A file that cannot be read names none, and says so when it is used.
pub(crate) fn names(environment: &Environment) -> KeyNames {
    let file = environment.config_file().ok();
    let text = file.and_then(|file| read_text(&file).ok().flatten()).unwrap_or_default();
    KeyNames::of(&text)
}
