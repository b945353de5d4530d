//! The process's surroundings, read once and in one place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use std::collections::BTreeSet;

use wf_effects::secret::{KeySource, Redactor};

use crate::error::Error;
use crate::keys;

/// Environment variables, working directory and executable, as they were when the process began. Keys are not among the
/// variables: they were taken out.
#[derive(Clone)]
pub struct Environment {
    vars: BTreeMap<String, String>,
    cwd: PathBuf,
    executable: PathBuf,
    keys: KeySource,
}

impl Environment {
    /// Reads the surroundings. Variables that are not UTF-8 are left out: no part of whaleflow can use them.
    ///
    /// The keys that the user's configuration names are taken out of them, and out of what others see of this process:
    /// to be called once, while there is one thread.
    ///
    /// # Errors
    /// When there is no working directory, the executable is not known, or a key would stay to be read.
    pub fn capture() -> Result<Self, Error> {
        let vars =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let vars = vars.collect();
        let cwd = std::env::current_dir().map_err(|error| {
            Error::usage_with(format!("there is no working directory: {error}"), "cd to one that exists")
        })?;
        let executable = std::env::current_exe()
            .map_err(|error| Error::Bug(format!("the executable of this process is not known: {error}")))?;
        let mut environment = Self::of(vars, cwd, executable);
        let named = keys::names(&environment);
        let there: BTreeSet<String> =
            named.env.into_iter().filter(|name| environment.vars.contains_key(name)).collect();
        keys::take(&mut environment)?;
        keys::wipe(&there)?;
        Ok(environment)
    }

    /// Surroundings made up for a test.
    pub fn of(vars: BTreeMap<String, String>, cwd: PathBuf, executable: PathBuf) -> Self {
        Self { vars, cwd, executable, keys: KeySource::none() }
    }

    /// Where keys come from.
    pub fn keys(&self) -> &KeySource {
        &self.keys
    }

    /// What knows the keys of this process, so that they are written nowhere.
    pub fn redactor(&self) -> &Redactor {
        self.keys.redactor()
    }

    pub(crate) fn set_keys(&mut self, keys: KeySource) {
        self.keys = keys;
    }

    pub(crate) fn vars_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.vars
    }

    /// A variable; an empty one counts as not there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All variables.
    pub fn vars(&self) -> &BTreeMap<String, String> {
        &self.vars
    }

    /// The working directory.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// The executable of this process.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// Who uses it.
    pub fn user(&self) -> String {
        self.get("USER").or_else(|| self.get("LOGNAME")).unwrap_or("somebody").chars().take(64).collect()
    }

    /// The directory of all state.
    ///
    /// # Errors
    /// When nothing says where it could be.
    pub fn state_root(&self) -> Result<PathBuf, Error> {
        if let Some(home) = self.get("WHALEFLOW_HOME") {
            return Ok(self.cwd.join(home));
        }
        self.base("XDG_STATE_HOME", ".local/state").ok_or_else(no_home)
    }

    /// Where what can be made again is kept.
    ///
    /// # Errors
    /// When nothing says where it could be.
    pub fn cache_root(&self) -> Result<PathBuf, Error> {
        if let Some(home) = self.get("WHALEFLOW_HOME") {
            return Ok(self.cwd.join(home).join("cache"));
        }
        self.base("XDG_CACHE_HOME", ".cache").ok_or_else(no_home)
    }

    /// The user's file of configuration.
    ///
    /// # Errors
    /// When nothing says where it could be.
    pub fn config_file(&self) -> Result<PathBuf, Error> {
        if let Some(home) = self.get("WHALEFLOW_HOME") {
            return Ok(self.cwd.join(home).join("config.toml"));
        }
        Ok(self.base("XDG_CONFIG_HOME", ".config").ok_or_else(no_home)?.join("config.toml"))
    }

    /// A base directory of the XDG specification: relative ones do not count.
    fn base(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let absolute = |text: &str| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
        let base = self.get(variable).and_then(absolute);
        let base = base.or_else(|| Some(self.get("HOME").and_then(absolute)?.join(below_home)));
        Some(base?.join("whaleflow"))
    }
}

fn no_home() -> Error {
    Error::usage_with("neither WHALEFLOW_HOME nor HOME says where state belongs", "set one of them to an absolute path")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(vars: &[(&str, &str)], state: Option<&str>, config: Option<&str>) {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = Environment::of(vars, "/here".into(), "/bin/whaleflow".into());
        assert_eq!(environment.state_root().ok(), state.map(PathBuf::from));
        assert_eq!(environment.config_file().ok(), config.map(PathBuf::from));
    }

    #[test]
    fn what_can_be_made_again_has_its_place() {
        let cache = |vars: &[(&str, &str)]| {
            let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Environment::of(vars, "/here".into(), "/bin/whaleflow".into()).cache_root().ok()
        };
        assert_eq!(cache(&[("HOME", "/h")]), Some("/h/.cache/whaleflow".into()));
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), Some("/c/whaleflow".into()));
        assert_eq!(cache(&[("HOME", "/h"), ("WHALEFLOW_HOME", "w")]), Some("/here/w/cache".into()));
        assert_eq!(cache(&[]), None);
    }

    #[test]
    fn state_and_configuration_have_their_places() {
        check(&[("HOME", "/h")], Some("/h/.local/state/whaleflow"), Some("/h/.config/whaleflow/config.toml"));
        check(
            &[("HOME", "/h"), ("XDG_STATE_HOME", "/s"), ("XDG_CONFIG_HOME", "/c")],
            Some("/s/whaleflow"),
            Some("/c/whaleflow/config.toml"),
        );
        check(
            &[("HOME", "/h"), ("XDG_STATE_HOME", "relative")],
            Some("/h/.local/state/whaleflow"),
            Some("/h/.config/whaleflow/config.toml"),
        );
        check(&[("HOME", "/h"), ("WHALEFLOW_HOME", "/w")], Some("/w"), Some("/w/config.toml"));
        check(&[("WHALEFLOW_HOME", "w")], Some("/here/w"), Some("/here/w/config.toml"));
        check(&[("HOME", ""), ("XDG_STATE_HOME", "")], None, None);
    }
}
