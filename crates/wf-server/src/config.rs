//! What is configured: the user's file, and the few harmless keys that a trusted repository may set.

mod agents;
mod models;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use wf_effects::git::{BuildCacheMode, Keep, SEED_BYTES_MAX, UnknownMode};

use crate::amounts::{parse_duration_ms, parse_usd_micros};
use crate::environment::Environment;
use crate::error::Error;
use crate::project::Project;

pub use models::{HeaderConfig, ModelsConfig, ProviderConfig};

/// The largest file of configuration.
const CONFIG_BYTES_MAX: u64 = 256 << 10;

/// The configuration in force. The repository's keys win over the user's, the command line over both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Defaults of `run`.
    pub run: RunConfig,
    /// How trees are shared out, and what builds in them begin with.
    pub trees: TreesConfig,
    /// Who answers for roles; nobody is the mock. Only the user's own file says so.
    pub models: ModelsConfig,
    /// What `~/` stands for.
    home: Option<PathBuf>,
}

/// How trees are shared out, and what builds in them begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreesConfig {
    /// How many there may be at once; nothing to derive it.
    pub max: Option<usize>,
    /// How many unused ones wait for the next branch.
    pub warm: Option<usize>,
    /// How long they wait.
    pub warm_ttl_ms: Option<u64>,
    /// Which stay to be looked at when their branch has ended.
    pub keep: Keep,
    /// How long these stay.
    pub keep_ttl_ms: Option<u64>,
    /// Where they are; nothing for the usual place. Only the user may say so.
    pub dir: Option<PathBuf>,
    /// Whether trees share what was built. Harmless for a repository to set: it is one of three words, and where the
    /// cache lies is the engine's choice.
    pub build_cache: BuildCacheMode,
    /// How many bytes of files a build cache's seed has at most.
    pub build_cache_bytes_max: u64,
}

impl Default for TreesConfig {
    fn default() -> Self {
        Self {
            max: None,
            warm: None,
            warm_ttl_ms: None,
            keep: Keep::default(),
            keep_ttl_ms: None,
            dir: None,
            build_cache: BuildCacheMode::default(),
            build_cache_bytes_max: SEED_BYTES_MAX,
        }
    }
}

/// Defaults of `run`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunConfig {
    /// Ceiling on cost, where the workflow has none.
    pub budget_usd_micros: Option<u64>,
    /// Ceiling on tokens, where the workflow has none.
    pub budget_tokens: Option<u64>,
    /// Ceiling on wall time, where the workflow has none.
    pub timeout_ms: Option<u64>,
    /// Labels of every run.
    pub labels: BTreeMap<String, String>,
}

/// A file as it is written. A repository may have what is harmless, which is all but `trees.dir`, providers, agents and roles: none
/// names a URL, a header, a key, a driver or a sandbox.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    #[serde(default)]
    run: RunSection,
    #[serde(default)]
    trees: TreesSection,
    #[serde(default)]
    providers: BTreeMap<toml::Spanned<String>, models::ProviderSection>,
    #[serde(default)]
    agents: BTreeMap<toml::Spanned<String>, agents::AgentSection>,
    #[serde(default)]
    roles: BTreeMap<toml::Spanned<String>, models::RoleSection>,
}

/// What of a repository's file is refused before it is read any further.
#[derive(Debug, Default, Deserialize)]
struct UsersOwn {
    providers: Option<toml::Spanned<toml::Value>>,
    agents: Option<toml::Spanned<toml::Value>>,
    roles: Option<toml::Spanned<toml::Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TreesSection {
    build_cache: Option<toml::Spanned<String>>,
    build_cache_mib_max: Option<u32>,
    max: Option<toml::Spanned<usize>>,
    warm: Option<usize>,
    warm_ttl: Option<toml::Spanned<String>>,
    keep: Option<toml::Spanned<String>>,
    keep_ttl: Option<toml::Spanned<String>>,
    dir: Option<toml::Spanned<PathBuf>>,
}

/// The places of keys that a file names, found without believing in the rest of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyNames {
    /// Variables of the environment.
    pub(crate) env: BTreeSet<String>,
    /// Files.
    pub(crate) files: BTreeSet<PathBuf>,
}

impl KeyNames {
    /// Those of a text: `providers.*.key` and `providers.*.headers.*`.
    pub(crate) fn of(text: &str) -> Self {
        let file: toml::Table = toml::from_str(text).unwrap_or_default();
        let providers = file.get("providers").and_then(toml::Value::as_table);
        let mut found = Self::default();
        for provider in providers.iter().flat_map(|providers| providers.values()) {
            let headers = provider.get("headers").and_then(toml::Value::as_table);
            let places = headers.iter().flat_map(|headers| headers.values()).chain(provider.get("key"));
            for place in places {
                found.env.extend(place.get("env").and_then(toml::Value::as_str).map(str::to_owned));
                found.files.extend(place.get("file").and_then(toml::Value::as_str).map(PathBuf::from));
            }
        }
        found
    }
}

/// Whose file it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    User,
    Repository,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunSection {
    budget_usd: Option<toml::Spanned<toml::Value>>,
    budget_tokens: Option<u64>,
    timeout: Option<toml::Spanned<String>>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Config {
    /// Reads the user's file and, if it is trusted, the repository's.
    ///
    /// # Errors
    /// When one of them is malformed.
    pub fn load(environment: &Environment, project: &Project, is_trusted: bool) -> Result<Self, Error> {
        let mut config = Self::of(environment);
        config.read(&environment.config_file()?, By::User)?;
        if is_trusted && project.is_repository() {
            config.read(&project.root().join(".whaleflow").join("config.toml"), By::Repository)?;
        }
        Ok(config)
    }

    /// Reads who answers for roles, which only the user's file says.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn load_models(environment: &Environment) -> Result<ModelsConfig, Error> {
        let mut config = Self::of(environment);
        config.read(&environment.config_file()?, By::User)?;
        Ok(config.models)
    }

    fn of(environment: &Environment) -> Self {
        Self { home: environment.get("HOME").map(PathBuf::from), ..Self::default() }
    }

    fn read(&mut self, path: &Path, by: By) -> Result<(), Error> {
        match read_text(path)? {
            Some(text) => self.take(&text, &path.display().to_string(), by),
            None => Ok(()),
        }
    }

    /// Takes in what a file says.
    fn take(&mut self, text: &str, file: &str, by: By) -> Result<(), Error> {
        let at = |span: Option<std::ops::Range<usize>>, message: String| {
            let (line, column) = span.map_or((0, 0), |span| place(text, span.start));
            Error::Config { file: file.to_owned(), line, column, message }
        };
        let malformed = |error: toml::de::Error| at(error.span(), unquoted(error.message()));
        if by == By::Repository {
            let own: UsersOwn = toml::from_str(text).map_err(malformed)?;
            if let Some(found) = own.providers.or(own.agents).or(own.roles) {
                let message =
                    "only the user's own file may name providers, agents and roles; nothing of this one is used";
                return Err(at(Some(found.span()), message.to_owned()));
            }
        }
        let read: ConfigFile = toml::from_str(text).map_err(malformed)?;
        if let Some(usd) = &read.run.budget_usd {
            let text = match usd.get_ref() {
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Float(number) => number.to_string(),
                other => other.as_str().unwrap_or("?").to_owned(),
            };
            let micros = parse_usd_micros(&text).map_err(|why| at(Some(usd.span()), why))?;
            self.run.budget_usd_micros = Some(micros);
        }
        if let Some(timeout) = &read.run.timeout {
            let ms = parse_duration_ms(timeout.get_ref()).map_err(|why| at(Some(timeout.span()), why))?;
            self.run.timeout_ms = Some(ms);
        }
        self.run.budget_tokens = read.run.budget_tokens.or(self.run.budget_tokens);
        self.run.labels.extend(read.run.labels);
        let placed = |(span, message)| at(Some(span), message);
        if by == By::User {
            self.models =
                ModelsConfig::of(read.providers, read.agents, read.roles, self.home.as_deref()).map_err(placed)?;
        }
        self.trees.take(read.trees, by).map_err(placed)
    }
}

impl TreesConfig {
    fn take(&mut self, read: TreesSection, by: By) -> Result<(), (std::ops::Range<usize>, String)> {
        let ms = |text: &toml::Spanned<String>| parse_duration_ms(text.get_ref()).map_err(|why| (text.span(), why));
        if let Some(max) = &read.max {
            if *max.get_ref() == 0 {
                return Err((max.span(), "without a tree no branch can begin: at least 1".to_owned()));
            }
            self.max = Some(*max.get_ref());
        }
        if let Some(dir) = &read.dir {
            if by != By::User || !dir.get_ref().is_absolute() {
                let message = match by {
                    By::User => "the directory of trees must be an absolute path",
                    By::Repository => "only the user's own file may say where trees are",
                };
                return Err((dir.span(), message.to_owned()));
            }
            self.dir = Some(dir.get_ref().clone());
        }
        if let Some(keep) = &read.keep {
            self.keep = match keep.get_ref().as_str() {
                "never" => Keep::Never,
                "failed" => Keep::Failed,
                "always" => Keep::Always,
                other => return Err((keep.span(), format!("{other:?} is none of never, failed and always"))),
            };
        }
        if let Some(ttl) = &read.warm_ttl {
            self.warm_ttl_ms = Some(ms(ttl)?);
        }
        if let Some(ttl) = &read.keep_ttl {
            self.keep_ttl_ms = Some(ms(ttl)?);
        }
        if let Some(mode) = &read.build_cache {
            self.build_cache = mode.get_ref().parse().map_err(|why: UnknownMode| (mode.span(), why.to_string()))?;
        }
        if let Some(mib) = read.build_cache_mib_max {
            self.build_cache_bytes_max = u64::from(mib) << 20;
        }
        self.warm = read.warm.or(self.warm);
        Ok(())
    }
}

/// What a parser says, in one line and without the texts that it quotes: one of them may be a key.
fn unquoted(message: &str) -> String {
    let line = message.replace('\n', ", ");
    let Some((before, rest)) = line.split_once("string \"") else { return line };
    let after = rest.rsplit_once('"').map_or("", |(_, after)| after);
    format!("{before}string{after}")
}

pub(crate) fn read_text(path: &Path) -> Result<Option<String>, Error> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    let odd = |message: &str| Error::Config {
        file: path.display().to_string(),
        line: 0,
        column: 0,
        message: message.to_owned(),
    };
    let metadata = file.metadata().map_err(Error::io("look at", path))?;
    if !metadata.is_file() {
        return Err(odd("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(odd(&format!("it is larger than {CONFIG_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| odd("it is not UTF-8 text"))
}

/// Line and column, from 1, of a byte.
pub(crate) fn place(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        let mut config = Config::default();
        let said = match config.take(text, "config.toml", By::User) {
            Ok(()) => format!("{:?}", config.run),
            Err(error) => format!("{} {error}", error.code()),
        };
        expected.assert_eq(&said);
    }

    #[test]
    fn keys_are_known_or_refused_with_their_place() {
        check(
            "",
            expect![[r#"RunConfig { budget_usd_micros: None, budget_tokens: None, timeout_ms: None, labels: {} }"#]],
        );
        check(
            "[run]\nbudget_usd = 1.5\nbudget_tokens = 1000\ntimeout = \"1h30m\"\nlabels = { team = \"a\" }\n",
            expect![[
                r#"RunConfig { budget_usd_micros: Some(1500000), budget_tokens: Some(1000), timeout_ms: Some(5400000), labels: {"team": "a"} }"#
            ]],
        );
        check(
            "[run]\nbudget_usd = \"2\"",
            expect![[
                r#"RunConfig { budget_usd_micros: Some(2000000), budget_tokens: None, timeout_ms: None, labels: {} }"#
            ]],
        );
        check(
            "[run]\nsandbox = false",
            expect![
                "WF0703 config.toml:2:1: unknown field `sandbox`, expected one of `budget_usd`, `budget_tokens`, `timeout`, `labels`"
            ],
        );
        check(
            "[run]\ntimeout = \"soon\"",
            expect![[r#"WF0703 config.toml:2:11: "soon" is no time, such as 90s, 15m or 1h30m"#]],
        );
        check(
            "[run]\nbudget_usd = -1",
            expect![[r#"WF0703 config.toml:2:14: "-1" is no amount in US dollars, such as 2 or 0.5"#]],
        );
        check(
            "[trees]\nbuild_cache = \"on\"",
            expect![[r#"WF0703 config.toml:2:15: "on" is no way to cache builds: seeded, shared or off"#]],
        );
        check("[run\n", expect!["WF0703 config.toml:1:5: unclosed table, expected `]`"]);
    }

    #[test]
    fn the_later_file_says_how_builds_are_cached() {
        let mut config = Config::default();
        config.take("[trees]\nbuild_cache = \"shared\"\nbuild_cache_mib_max = 3", "user", By::User).unwrap();
        config.take("[trees]\nbuild_cache = \"off\"", "repository", By::Repository).unwrap();
        let expected =
            TreesConfig { build_cache: BuildCacheMode::Off, build_cache_bytes_max: 3 << 20, ..TreesConfig::default() };
        assert_eq!(config.trees, expected);
    }
}
