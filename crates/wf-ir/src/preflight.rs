//! What a valid workflow needs beyond itself: a machine that has its programs and roles, and a version of this
//! program that does what it asks. It is apart from validation, so that a file is valid everywhere or nowhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::draft::Span;
use crate::node::{Kind, Node, Template, Workflow};

/// The role of an agent or ask that names none.
pub const DEFAULT_ROLE: &str = "default";

/// Whether a role can be had here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleStatus {
    /// Some model does it.
    Satisfied,
    /// An agent does it that is a program of its own, and can run anything.
    Program,
    /// No model does it.
    Unsatisfied {
        /// Why not, for a person.
        reason: String,
    },
    /// Some model would do it, and there is no key for it.
    Keyless {
        /// Which key, and where it was looked for.
        reason: String,
    },
}

/// What a machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Whether each role can be had. One that is not here cannot.
    pub roles: BTreeMap<String, RoleStatus>,
    /// Whether roles can be had for work in a tree, by the paths of nodes. Others are as `roles` says.
    pub agents: BTreeMap<String, RoleStatus>,
    /// Programs that were found.
    pub programs: BTreeSet<String>,
    /// Whether the repository's commands may run.
    pub trusted: bool,
    /// Whether there is a repository.
    pub has_repository: bool,
}

/// What stands in the way of a run of `workflow` here.
pub fn preflight(workflow: &Workflow, catalog: &Catalog) -> Vec<Diagnostic> {
    let mut findings = unsupported(workflow);
    check_roles(workflow, catalog, &mut findings);
    check_programs(workflow, catalog, &mut findings);
    check_repository(workflow, catalog, &mut findings);
    findings.sort_by(|a, b| (&a.span, a.code, &a.message).cmp(&(&b.span, b.code, &b.message)));
    findings
}

/// What this version cannot do yet.
pub fn unsupported(workflow: &Workflow) -> Vec<Diagnostic> {
    workflow.nodes().iter().flat_map(unsupported_in).collect()
}

fn unsupported_in(node: &Node) -> Vec<Diagnostic> {
    let say =
        |code, what: &str| Diagnostic::error(code, &node.span, format!("`{}`: {what} is not supported yet", node.id));
    match &node.kind {
        Kind::Rlm { .. } => vec![say(codes::UNSUPPORTED_RLM, "`rlm`")],
        Kind::Memory(_) => vec![say(codes::UNSUPPORTED_MEMORY, "`memory`")],
        Kind::Call { .. } => vec![say(codes::UNSUPPORTED_CALL, "`call`")],
        Kind::Agent(agent) => agent.resumes.map(|_| say(codes::UNSUPPORTED_RESUMES, "`resumes`")).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The role that does a node, if one does.
fn role_of(node: &Node) -> Option<&str> {
    matches!(node.kind, Kind::Agent(_) | Kind::Ask(_)).then(|| node.role.as_deref().unwrap_or(DEFAULT_ROLE))
}

/// How a node wants its role to work, where it is to work in a tree.
fn driver_of(node: &Node) -> Option<&'static str> {
    match &node.kind {
        Kind::Agent(agent) => Some(agent.driver.name()),
        _ => None,
    }
}

fn check_roles(workflow: &Workflow, catalog: &Catalog, findings: &mut Vec<Diagnostic>) {
    let mut seen = BTreeSet::new();
    for (node, role) in workflow.nodes().iter().filter_map(|node| Some((node, role_of(node)?))) {
        let status = catalog.agents.get(&node.path).or_else(|| catalog.roles.get(role));
        if matches!(status, Some(RoleStatus::Satisfied | RoleStatus::Program)) || !seen.insert((role, driver_of(node)))
        {
            continue;
        }
        let reason = match status {
            Some(RoleStatus::Satisfied | RoleStatus::Program) => continue,
            Some(RoleStatus::Unsatisfied { reason }) => reason.as_str(),
            Some(RoleStatus::Keyless { reason }) => {
                let message = format!("there is no key for the role `{role}` of `{}`: {reason}", node.path);
                let hint = "`whaleflow doctor` lists where keys are looked for; or give --mock with rules of the mock";
                findings.push(Diagnostic::error(codes::KEY_MISSING, &node.span, message).with_hint(hint));
                continue;
            }
            None => "it is not configured",
        };
        let message = format!("nothing here satisfies the role `{role}` of `{}`: {reason}", node.path);
        let hint = "configure a model for it, or try the workflow with the mock provider";
        findings.push(Diagnostic::error(codes::ROLE_UNSATISFIED, &node.span, message).with_hint(hint));
    }
}

/// The program of a node, when it is known before a run.
fn program_of(node: &Node) -> Option<&str> {
    let argv: &[Template] = match &node.kind {
        Kind::Command(command) => &command.argv,
        Kind::Test(test) => &test.argv,
        _ => return None,
    };
    let program = argv.first().filter(|program| program.names.is_empty() && program.envelopes.is_empty())?;
    Some(program.source.as_str()).filter(|source| !source.contains("{{") && !source.contains("{%"))
}

fn check_programs(workflow: &Workflow, catalog: &Catalog, findings: &mut Vec<Diagnostic>) {
    let mut seen = BTreeSet::new();
    for (node, program) in workflow.nodes().iter().filter_map(|node| Some((node, program_of(node)?))) {
        // A path is inside the tree, which is not there yet.
        if program.contains('/') || catalog.programs.contains(program) || !seen.insert(program) {
            continue;
        }
        let message = format!("`{}` runs `{program}`, which is not found here", node.path);
        let hint = "install it, or put its directory on PATH";
        findings.push(Diagnostic::error(codes::PROGRAM_MISSING, &node.span, message).with_hint(hint));
    }
}

fn check_repository(workflow: &Workflow, catalog: &Catalog, findings: &mut Vec<Diagnostic>) {
    // The engine copies a fixture itself: it is a repository, and trusted.
    if workflow.fixture().is_some() {
        return;
    }
    let nodes = workflow.nodes();
    let mut say = |code, node: Option<&Node>, message: String, hint: &str| {
        let span: Option<&Span> = node.map(|node| &node.span);
        findings.extend(span.map(|span| Diagnostic::error(code, span, message).with_hint(hint)));
    };
    let works_in_tree = |node: &&Node| {
        matches!(node.kind, Kind::Agent(_) | Kind::Command(_) | Kind::Test(_) | Kind::Search(_) | Kind::Branch { .. })
    };
    let first = nodes.iter().find(works_in_tree);
    if !catalog.has_repository {
        let name = first.map_or_else(String::new, |node| node.path.clone());
        let message = format!("`{name}` works in a tree, and there is no repository here");
        say(codes::NO_REPOSITORY, first, message, "run it inside a git repository, or name one with --repo");
    }
    let runs_anything = |node: &&Node| {
        matches!(node.kind, Kind::Command(_) | Kind::Test(_))
            || matches!(catalog.agents.get(&node.path), Some(RoleStatus::Program))
    };
    let command = nodes.iter().find(runs_anything);
    if catalog.has_repository && !catalog.trusted {
        let name = command.map_or_else(String::new, |node| node.path.clone());
        let what = match command.map(|node| &node.kind) {
            Some(Kind::Agent(_)) => "is done by an agent that runs commands",
            _ => "runs a command",
        };
        let message = format!("`{name}` {what}, and this repository is not trusted");
        say(codes::UNTRUSTED, command, message, "read the workflow, then run `whaleflow trust`");
    }
}
