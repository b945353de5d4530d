//! What `init` proposes to configure: providers whose keys are in the environment, with models of theirs that a person
//! names, and agents that are on this machine. No name of a model comes with the program; nothing is written that was not
//! confirmed.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use wf_effects::external::{AGENTS, AgentKind, Found, Known as KnownAgent, find};
use wf_effects::models::ModelRef;

use crate::config::Config;
use crate::environment::Environment;
use crate::error::Error;
use crate::project::make_private_dir;

/// A provider whose key has a usual name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What it is called in the configuration.
    pub name: &'static str,
    /// The variable of its key.
    pub variable: &'static str,
    kind: &'static str,
    base_url: &'static str,
}

const fn known(name: &'static str, variable: &'static str, kind: &'static str, base_url: &'static str) -> Known {
    Known { name, variable, kind, base_url }
}

/// Those that docs/providers.md has examples of.
const KNOWN: [Known; 7] = [
    known("anthropic", "ANTHROPIC_API_KEY", "anthropic", "https://api.anthropic.com/v1"),
    known("openai", "OPENAI_API_KEY", "openai", "https://api.openai.com/v1"),
    known("deepseek", "DEEPSEEK_API_KEY", "openai", "https://api.deepseek.com/v1"),
    known("kimi", "MOONSHOT_API_KEY", "openai", "https://api.moonshot.ai/v1"),
    known("glm", "ZAI_API_KEY", "openai", "https://api.z.ai/api/paas/v4"),
    known("minimax", "MINIMAX_API_KEY", "openai", "https://api.minimax.io/v1"),
    known("openrouter", "OPENROUTER_API_KEY", "openai", "https://openrouter.ai/api/v1"),
];

/// What would be written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The user's file.
    pub path: PathBuf,
    /// What is added to it.
    pub text: String,
}

/// Providers whose keys are here and that nobody has configured. Where roles are configured, there is nothing to propose.
///
/// # Errors
/// When the user's file is malformed.
pub fn found(environment: &Environment) -> Result<Vec<Known>, Error> {
    let models = Config::load_models(environment)?;
    if !models.is_empty() || !models.providers.is_empty() {
        return Ok(Vec::new());
    }
    Ok(KNOWN.into_iter().filter(|it| environment.get(it.variable).is_some()).collect())
}

/// Agents that are on this machine. Where something is configured, there is nothing to propose.
///
/// # Errors
/// When the user's file is malformed.
pub fn agents_found(environment: &Environment) -> Result<Vec<Found>, Error> {
    let models = Config::load_models(environment)?;
    if !models.is_empty() || !models.providers.is_empty() || !models.agents.is_empty() {
        return Ok(Vec::new());
    }
    Ok(find(environment.get("PATH").unwrap_or_default()))
}

/// An agent as it is configured. What it may use without saying so is a small sum, which is there to be changed.
fn agent_text(known: &KnownAgent) -> String {
    let quoted = |words: &[String]| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut text = format!("[agents.{}]\nkind = \"{}\"\n", known.name, known.kind.name());
    if known.kind == AgentKind::Acp {
        let command: Vec<String> = [known.program].iter().chain(known.args).map(|word| (*word).to_owned()).collect();
        text.push_str(&format!("command = [{}]\n", quoted(&command)));
    }
    let state: Vec<String> = known.state.iter().map(|place| format!("~/{place}")).collect();
    text.push_str(&format!("state = [{}]\nnetwork = [{}]\n", quoted(&state), quoted(&words(known.network))));
    text.push_str("reserve = { tokens = 1000000, usd = 2 }\n\n");
    text
}

/// What makes these agents and models do every role, the first that can: agents work in trees, models also answer.
///
/// # Errors
/// When a model is not one of a provider in `found`, or an agent is not here.
pub fn propose(
    environment: &Environment,
    found: &[Known],
    models: &[String],
    agents: &[KnownAgent],
) -> Result<Proposal, Error> {
    let mut text: String = agents.iter().map(agent_text).collect();
    let mut refs = Vec::new();
    for name in models {
        let model = ModelRef::parse(name).filter(|model| !model.model.contains(['"', '\\', '\n']));
        let provider = model.as_ref().and_then(|model| found.iter().find(|it| it.name == model.provider));
        let (Some(model), Some(provider)) = (model, provider) else {
            let names: Vec<&str> = found.iter().map(|it| it.name).collect();
            let message = format!("{name:?} is no model of a provider whose key is here ({})", names.join(", "));
            return Err(Error::usage_with(message, "write PROVIDER/MODEL"));
        };
        if !refs.iter().any(|other: &ModelRef| other.provider == model.provider) {
            let Known { name, variable, kind, base_url } = provider;
            text.push_str(&format!(
                "[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{base_url}\"\nkey = {{ env = \"{variable}\" }}\n"
            ));
        }
        text.push_str(&format!("models.\"{}\" = {{ features = [\"tools\"] }}\n", model.model));
        refs.push(model);
    }
    let names = agents.iter().map(|agent| format!("\"{AGENTS}/{}\"", agent.name));
    let names: Vec<String> = names.chain(refs.iter().map(|model| format!("\"{model}\""))).collect();
    let gap = if refs.is_empty() { "" } else { "\n" };
    text.push_str(&format!("{gap}[roles.default]\nmodels = [{}]\n", names.join(", ")));
    Ok(Proposal { path: environment.config_file()?, text })
}

/// Adds what was confirmed to the user's file, which nobody else can read if it is new.
///
/// # Errors
/// When the file system says no.
pub fn write(proposal: &Proposal) -> Result<(), Error> {
    let path = &proposal.path;
    if let Some(dir) = path.parent() {
        make_private_dir(dir)?;
    }
    let file = std::fs::File::options().create(true).append(true).mode(0o600).open(path);
    let mut file = file.map_err(Error::io("open", path))?;
    let is_new = file.metadata().is_ok_and(|it| it.len() == 0);
    let text = if is_new { proposal.text.clone() } else { format!("\n{}", proposal.text) };
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::io("write", path))
}
