//! Where keys come from: the environment (of which they were taken out when the process began), a file, the keyring.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::OFlags;

use super::{Redactor, Secret};
use crate::contract::CancelToken;
use crate::process::{Bounds, End, SpawnError, Spec, run};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 16 << 10;
/// The program that asks the desktop's keyring. `docs/decisions/0012-the-keyring.md` says why it is a program.
const KEYRING_PROGRAM: &str = "secret-tool";
/// How long the keyring may take: somebody may have to unlock it.
const KEYRING_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a key is, as the user's configuration says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyPlace {
    /// A variable of the environment.
    Env(String),
    /// A file that only its owner can read.
    File(PathBuf),
    /// An entry of the desktop's keyring: `service=whaleflow account=NAME`.
    Keyring(String),
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the variable {name}"),
            Self::File(path) => write!(f, "the file {path:?}"),
            Self::Keyring(name) => write!(f, "the keyring's entry {name:?}"),
        }
    }
}

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error("there is no key in {place}")]
    Absent {
        /// Where it was looked for.
        place: KeyPlace,
    },
    /// There is one, and it is not safe to use it.
    #[error("the key in {place} is not used: {why}")]
    Refused {
        /// Where it is.
        place: KeyPlace,
        /// Why not.
        why: String,
    },
    /// It cannot be read.
    #[error("the key in {place} cannot be read: {why}")]
    Unreadable {
        /// Where it is.
        place: KeyPlace,
        /// Why not.
        why: String,
    },
}

impl KeyError {
    /// What a person can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Absent { place: KeyPlace::Env(name) } => format!("export {name} before whaleflow is started"),
            Self::Absent { place: KeyPlace::File(path) } => format!("write the key to {path:?}, and chmod 600 it"),
            Self::Absent { place: KeyPlace::Keyring(name) } => {
                format!("secret-tool store --label={name} service whaleflow account {name}")
            }
            Self::Refused { place: KeyPlace::File(path), .. } => format!("chmod 600 {path:?}"),
            Self::Refused { .. } => "a key is one line of printable characters".to_owned(),
            Self::Unreadable { place: KeyPlace::Keyring(_), .. } => {
                "install secret-tool (libsecret), or name the key by `env` or `file`".to_owned()
            }
            Self::Unreadable { .. } => "look at the file and its permissions".to_owned(),
        }
    }
}

/// How the desktop's keyring is asked.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// The environment of the program that asks it: `PATH`, and what leads to the session's bus.
    pub env: BTreeMap<String, String>,
}

/// Looks keys up. A clone is another handle on the same one.
#[derive(Clone)]
pub struct KeySource(Arc<Inner>);

struct Inner {
    env: BTreeMap<String, Secret>,
    keyring: Keyring,
    redactor: Redactor,
    unlocked: Mutex<BTreeMap<String, Secret>>,
}

impl KeySource {
    /// A source of the keys that were taken out of the environment, of files, and of a keyring. What it finds `redactor`
    /// is told.
    pub fn new(env: BTreeMap<String, Secret>, keyring: Keyring, redactor: Redactor) -> Self {
        env.values().for_each(|secret| redactor.learn(secret));
        Self(Arc::new(Inner { env, keyring, redactor, unlocked: Mutex::default() }))
    }

    /// A source of nothing, for tests and for processes that call no model.
    pub fn none() -> Self {
        Self::new(BTreeMap::new(), Keyring::default(), Redactor::default())
    }

    /// The redactor that is told.
    pub fn redactor(&self) -> &Redactor {
        &self.0.redactor
    }

    /// The key in a place.
    ///
    /// # Errors
    /// When there is none, or none that is safe to use.
    pub async fn key(&self, place: &KeyPlace) -> Result<Secret, KeyError> {
        match place {
            KeyPlace::Env(_) | KeyPlace::File(_) => self.key_at_hand(place),
            KeyPlace::Keyring(name) => {
                let known = self.0.unlocked.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
                if let Some(known) = known {
                    return Ok(known);
                }
                let secret = self.checked(from_keyring(&self.0.keyring, name, place).await?, place)?;
                self.0.unlocked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), secret.clone());
                Ok(secret)
            }
        }
    }

    /// The key in a place for which nobody needs to be asked: not in a keyring, which may want to be unlocked.
    ///
    /// # Errors
    /// As [`Self::key`].
    pub fn key_at_hand(&self, place: &KeyPlace) -> Result<Secret, KeyError> {
        let found = match place {
            KeyPlace::Env(name) => self.0.env.get(name).map(|secret| secret.expose().to_owned()),
            KeyPlace::File(path) => Some(from_file(path, place)?),
            KeyPlace::Keyring(name) => {
                let unlocked = self.0.unlocked.lock().unwrap_or_else(PoisonError::into_inner);
                unlocked.get(name).map(|secret| secret.expose().to_owned())
            }
        };
        self.checked(found.ok_or_else(|| KeyError::Absent { place: place.clone() })?, place)
    }

    /// What was found, as a key: one line that a header can hold.
    fn checked(&self, text: String, place: &KeyPlace) -> Result<Secret, KeyError> {
        let whole = Secret::new(text);
        let secret = Secret::new(whole.expose().trim().to_owned());
        let text = secret.expose();
        if text.is_empty() {
            return Err(KeyError::Absent { place: place.clone() });
        }
        if text.chars().any(char::is_control) || text.len() > KEY_BYTES_MAX {
            let why = format!("it is not one line of at most {KEY_BYTES_MAX} bytes");
            return Err(KeyError::Refused { place: place.clone(), why });
        }
        self.0.redactor.learn(&secret);
        Ok(secret)
    }
}

/// Reads a file that only its owner, who is the user or root, can read.
fn from_file(path: &Path, place: &KeyPlace) -> Result<String, KeyError> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => KeyError::Absent { place: place.clone() },
        _ => KeyError::Unreadable { place: place.clone(), why: error.to_string() },
    };
    let refused = |why: &str| KeyError::Refused { place: place.clone(), why: why.to_owned() };
    // Opening a FIFO would wait for somebody to write.
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY).bits();
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags as i32).open(path);
    let file = opened.map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(refused("it is not a regular file"));
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(refused("it belongs to somebody else"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(refused("others than its owner can read or change it"));
    }
    let mut text = String::new();
    file.take(KEY_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

async fn from_keyring(keyring: &Keyring, name: &str, place: &KeyPlace) -> Result<String, KeyError> {
    let unreadable = |why: String| KeyError::Unreadable { place: place.clone(), why };
    let argv = [KEYRING_PROGRAM, "lookup", "service", "whaleflow", "account", name].map(str::to_owned);
    let spec = Spec {
        argv: argv.into(),
        cwd: PathBuf::from("/"),
        env: keyring.env.clone(),
        stdin: None,
        bounds: Bounds { kept_bytes_max: KEY_BYTES_MAX + 1, ..Bounds::with_timeout(KEYRING_TIMEOUT) },
        supervisor: None,
        sandbox: None,
    };
    let finished = match run(&spec, &CancelToken::default(), &|_, _| {}).await {
        Ok(finished) => finished,
        Err(SpawnError::NotFound(program)) => return Err(unreadable(format!("there is no program {program:?}"))),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    match finished.end {
        End::Exited(0) => String::from_utf8(finished.stdout.kept().to_vec())
            .map_err(|_| unreadable("it is not UTF-8 text".to_owned())),
        End::Exited(1) => Err(KeyError::Absent { place: place.clone() }),
        End::TimedOut => Err(unreadable("the keyring did not answer".to_owned())),
        end => Err(unreadable(format!("{KEYRING_PROGRAM} ended with {:?}", end.exit_code()))),
    }
}

impl KeySource {
    /// The keys of the environment as one text, for a process of our own that goes on after this one and reads it from a
    /// pipe; none when there are no keys.
    pub fn handed_on(&self) -> Option<Secret> {
        let pair = |(name, secret): (&String, &Secret)| format!("{name}\0{}\0", secret.expose());
        (!self.0.env.is_empty()).then(|| Secret::new(self.0.env.iter().map(pair).collect()))
    }
}

/// The keys in a text that [`KeySource::handed_on`] made.
pub fn keys_handed(text: &Secret) -> BTreeMap<String, Secret> {
    let mut parts = text.expose().split_terminator('\0');
    let mut keys = BTreeMap::new();
    while let (Some(name), Some(key)) = (parts.next(), parts.next()) {
        keys.insert(name.to_owned(), Secret::new(key.to_owned()));
    }
    keys
}
