//! `[agents.*]`: agents that are programs of their own. Only the user's own file may name them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use wf_effects::external::{AgentKind, AgentSpec, AgentTimeouts};
use wf_effects::sandbox::HostRule;
use wf_kernel::Amount;

use super::models::{PriceSection, Wrong, is_variable, micros};
use crate::amounts::parse_duration_ms;

/// Most words of a command, variables, places and hosts of an agent.
const WORDS_MAX: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentSection {
    kind: Spanned<String>,
    command: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    env: Vec<Spanned<String>>,
    #[serde(default)]
    state: Vec<Spanned<String>>,
    #[serde(default)]
    reads: Vec<Spanned<String>>,
    #[serde(default)]
    network: Vec<Spanned<String>>,
    reserve: Option<ReserveSection>,
    price: Option<PriceSection>,
    #[serde(default)]
    timeouts: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReserveSection {
    tokens: u64,
    usd: Spanned<toml::Value>,
}

impl AgentSection {
    pub(super) fn read(self, span: Range<usize>, home: Option<&Path>) -> Result<AgentSpec, Wrong> {
        let names = AgentKind::ALL.map(AgentKind::name).join(", ");
        let kind = AgentKind::parse(self.kind.get_ref());
        let kind = kind.ok_or_else(|| (self.kind.span(), format!("an agent is of one of these kinds: {names}")))?;
        let command = match self.command {
            Some(command) if is_command(command.get_ref()) => command.into_inner(),
            Some(command) => {
                return Err((command.span(), "a command is a list of a program and its arguments".to_owned()));
            }
            None if kind == AgentKind::Acp => {
                return Err((span, "an agent of kind acp needs its `command`".to_owned()));
            }
            None => vec![kind.name().to_owned()],
        };
        let reserve = self.reserve.ok_or_else(|| {
            let message = "an agent needs its `reserve = { tokens = …, usd = … }`: the most that it may use, which is held \
                           before it begins and charged when it does not say what it used";
            (span, message.to_owned())
        })?;
        let mut env = Vec::new();
        for name in few(self.env)? {
            if !is_variable(name.get_ref()) {
                return Err((name.span(), "`env` lists names of variables".to_owned()));
            }
            env.push(name.into_inner());
        }
        let mut network = Vec::new();
        for host in few(self.network)? {
            network.push(HostRule::parse(host.get_ref()).map_err(|error| (host.span(), error.to_string()))?);
        }
        Ok(AgentSpec {
            kind,
            command,
            env,
            state: places(self.state, home)?,
            reads: places(self.reads, home)?,
            network,
            reserve: Amount { tokens: reserve.tokens, cost_usd_micros: micros(&reserve.usd)? },
            price: self.price.as_ref().map(PriceSection::read).transpose()?,
            timeouts: timeouts(self.timeouts)?,
        })
    }
}

fn is_command(words: &[String]) -> bool {
    let is_first = words.first().is_some_and(|program| !program.is_empty());
    is_first && words.len() <= WORDS_MAX && words.iter().all(|word| !word.contains('\0'))
}

fn few<T>(listed: Vec<Spanned<T>>) -> Result<Vec<Spanned<T>>, Wrong> {
    match listed.get(WORDS_MAX) {
        Some(more) => Err((more.span(), format!("at most {WORDS_MAX} of them"))),
        None => Ok(listed),
    }
}

/// Absolute paths; `~/` stands for the home of whoever runs the program.
fn places(listed: Vec<Spanned<String>>, home: Option<&Path>) -> Result<Vec<PathBuf>, Wrong> {
    let mut places = Vec::new();
    for place in few(listed)? {
        let below_home = place.get_ref().strip_prefix("~/").and_then(|rest| Some(home?.join(rest)));
        let path = below_home.unwrap_or_else(|| PathBuf::from(place.get_ref()));
        let goes_up = path.components().any(|part| part == std::path::Component::ParentDir);
        if !path.is_absolute() || goes_up || path.parent().is_none() || Some(path.as_path()) == home {
            let message =
                "a place is an absolute path, or one that begins with ~/, of something below `/` and your home";
            return Err((place.span(), message.to_owned()));
        }
        places.push(path);
    }
    Ok(places)
}

fn timeouts(section: BTreeMap<Spanned<String>, Spanned<String>>) -> Result<AgentTimeouts, Wrong> {
    let mut timeouts = AgentTimeouts::default();
    for (name, time) in section {
        let ms = parse_duration_ms(time.get_ref()).map_err(|why| (time.span(), why))?;
        let field = match name.get_ref().as_str() {
            "start" => &mut timeouts.start,
            "idle" => &mut timeouts.idle,
            "total" => &mut timeouts.total,
            _ => return Err((name.span(), "a timeout of an agent is one of start, idle and total".to_owned())),
        };
        *field = Duration::from_millis(ms);
    }
    Ok(timeouts)
}
