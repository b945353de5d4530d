//! Permissions and budgets only narrow downwards.

use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::draft::{Span, SpannedValue};
use crate::fields::KindTag;
use crate::glob::{self, Glob};
use crate::node::{Budget, Kind, Permissions};

use super::lower::{Lowered, entry, globs};
use super::normal::{RawNode, RawWorkflow, shown};
use super::report::Report;

/// Makes the permissions of every node effective and checks that none is wider than what is around it.
pub(super) fn check(raw: &RawWorkflow, lowered: &mut Lowered, report: &mut Report) {
    let mut ceilings: Vec<Budget> = Vec::new();
    for ix in 0..raw.nodes.len() {
        let node = &raw.nodes[ix];
        let outer = match node.parent {
            Some(parent) => &lowered.nodes[parent].permissions,
            None => &lowered.permissions,
        };
        let effective = narrowed(node, &lowered.nodes[ix].permissions, outer, report);
        let leaf = leaf_writes(&lowered.nodes[ix].kind);
        check_leaf(node, &lowered.nodes[ix].kind, &effective, report);
        let permissions = &mut lowered.nodes[ix].permissions;
        *permissions = effective;
        if let Some(writes) = leaf {
            permissions.writes = Some(writes);
        }
        let outer = node.parent.map_or(lowered.budget, |parent| ceilings[parent]);
        ceilings.push(ceiling(node, &lowered.nodes[ix].budget, &outer, report));
    }
}

/// What a leaf may write: what it says, and nothing without.
fn leaf_writes(kind: &Kind) -> Option<Vec<Glob>> {
    match kind {
        Kind::Agent(agent) => Some(agent.writes.clone()),
        Kind::Command(command) => Some(command.writes.clone()),
        kind if kind.is_leaf() => Some(Vec::new()),
        _ => None,
    }
}

/// The permissions of a node within those around it.
fn narrowed(node: &RawNode, own: &Permissions, outer: &Permissions, report: &mut Report) -> Permissions {
    let span = |name: &str| {
        let field = node.fields.get("permissions");
        let part = field.and_then(|field| entry(field, name)).or(field);
        part.map_or_else(|| node.span.clone(), |part| part.span.clone())
    };
    let mut names = |name: &str, own: &Option<Vec<String>>, outer: &Option<Vec<String>>| match (own, outer) {
        (Some(own), Some(outer)) => {
            for extra in own.iter().filter(|item| !outer.contains(item)) {
                let message = format!("`permissions.{name}` allows {:?}, which nothing around it allows", shown(extra));
                report.push(wider(&span(name), message, name, outer));
            }
            Some(own.clone())
        }
        (Some(own), None) => Some(own.clone()),
        (None, outer) => outer.clone(),
    };
    let commands = names("commands", &own.commands, &outer.commands);
    let network = names("network", &own.network, &outer.network);
    let tools = names("tools", &own.tools, &outer.tools);
    let secrets = names("secrets", &own.secrets, &outer.secrets);
    let mut writes = outer.writes.clone();
    let mut narrow = |wanted: &[Glob], name: &str, span: &Span| {
        if let Some(within) = writes.as_ref().filter(|within| !glob::contains(within, wanted)) {
            let message = format!("`{name}` allows {}, which is more than is allowed around it", listed(wanted));
            report.push(wider(span, message, "writes", &texts(within)));
        }
        writes = Some(wanted.to_vec());
    };
    if let Some(wanted) = &own.writes {
        narrow(wanted, "permissions.writes", &span("writes"));
    }
    let branch = node.fields.get("writes").filter(|_| node.is(KindTag::Branch));
    if let Some(field) = branch
        && let SpannedValue::List(items) = &field.value
    {
        narrow(&globs(items), "writes", &field.span);
    }
    Permissions { writes, commands, network, tools, secrets }
}

fn wider(span: &Span, message: String, name: &str, outer: &[String]) -> Diagnostic {
    let hint = if outer.is_empty() {
        format!("`{name}` around it allows nothing; widen the `permissions` of the workflow")
    } else {
        format!("`{name}` around it allows {}", outer.join(", "))
    };
    Diagnostic::error(codes::PERMISSION_WIDER, span, message).with_hint(hint)
}

fn texts(globs: &[Glob]) -> Vec<String> {
    globs.iter().map(|glob| format!("{:?}", glob.as_str())).collect()
}

fn listed(globs: &[Glob]) -> String {
    texts(globs).join(", ")
}

/// A leaf writes within its permissions, and runs only commands that are allowed.
fn check_leaf(node: &RawNode, kind: &Kind, effective: &Permissions, report: &mut Report) {
    let (writes, argv): (&[Glob], _) = match kind {
        Kind::Agent(agent) => (&agent.writes, None),
        Kind::Command(command) => (&command.writes, command.argv.first()),
        Kind::Test(test) => (&[], test.argv.first()),
        _ => return,
    };
    if let Some(within) = effective.writes.as_ref().filter(|within| !glob::contains(within, writes)) {
        let message = format!("`{}` writes {}, which is more than it is allowed", node.id, listed(writes));
        let allowed = if within.is_empty() { "nothing".to_owned() } else { listed(within) };
        let hint = Some(format!("it may write {allowed}"));
        report.hinted(codes::WRITES_OUTSIDE, node.span_of("writes"), message, hint);
    }
    let literal = argv.filter(|program| program.names.is_empty() && program.envelopes.is_empty());
    if let (Some(program), Some(commands)) = (literal, &effective.commands)
        && !commands.contains(&program.source)
    {
        let message = format!("`{}` runs {:?}, which is not among its `commands`", node.id, shown(&program.source));
        let hint =
            Some(format!("it may run {}", if commands.is_empty() { "none".into() } else { commands.join(", ") }));
        report.hinted(codes::COMMAND_DENIED, node.span_of("argv"), message, hint);
    }
}

/// The tightest ceiling around and in a node; says when its own is no ceiling at all.
fn ceiling(node: &RawNode, own: &Budget, outer: &Budget, report: &mut Report) -> Budget {
    let mut tightest = |name: &str, own: Option<u64>, outer: Option<u64>| match (own, outer) {
        (Some(own), Some(outer)) if own > outer => {
            let field = node.fields.get("budget");
            let part = field.and_then(|field| entry(field, name)).or(field);
            let span = part.map_or(&node.span, |part| &part.span);
            let message = format!("`budget.{name}` is larger than the one around it, which holds anyway");
            report.push(Diagnostic::error(codes::BUDGET_WIDER, span, message).with_severity(Severity::Warning));
            Some(outer)
        }
        (own, outer) => own.or(outer),
    };
    Budget {
        tokens: tightest("tokens", own.tokens, outer.tokens),
        cost_usd_micros: tightest("usd", own.cost_usd_micros, outer.cost_usd_micros),
        wall_ms: tightest("wall", own.wall_ms, outer.wall_ms),
        leaves: tightest("leaves", own.leaves, outer.leaves),
    }
}
