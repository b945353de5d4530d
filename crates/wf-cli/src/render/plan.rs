//! `plan`: what a workflow would do, as a tree.

use std::fmt::Write as _;

use wf_view::plan::{CeilingsView, PermissionsView};
use wf_view::text::{amount, counted, duration, money};
use wf_view::{PlanNode, PlanView, PriceView, RoleView};

use super::style::{Line, Style, Tone, table};

/// The widest column of the table of roles.
const ROLE_COLUMN_MAX: usize = 48;
/// Where what is said of a fact begins.
const FACT_COLUMN: usize = 12;

/// What `plan` prints.
pub(crate) fn plan_text(plan: &PlanView, style: Style) -> String {
    let mut text = String::new();
    let mut put = |line: Line| _ = writeln!(text, "{}", line.finish(style));
    let title = Line::of(Tone::Bold, &plan.workflow.id).text(" ");
    put(title.add(Tone::Dim, plan.workflow.hash.get(..12).unwrap_or(&plan.workflow.hash)));
    if !plan.description.is_empty() {
        put(Line::default().text(&plan.description));
    }
    let mut fact = |name: &str, what: String| {
        if !what.is_empty() {
            put(Line::of(Tone::Dim, name).pad_to(FACT_COLUMN).text(&what));
        }
    };
    let leaves = plan.totals.leaves_max.map(|most| format!("at most {most}"));
    let dynamic = plan.totals.dynamic.then(|| "dynamic: values of the run decide how many".to_owned());
    fact("leaves", leaves.into_iter().chain(dynamic).collect::<Vec<_>>().join("; "));
    fact("budget", ceilings_text(&plan.budget).unwrap_or_else(|| "no ceiling of its own".to_owned()));
    if plan.who.is_empty() {
        let roles = plan.roles.iter().map(|(role, nodes)| format!("{role} ({})", counted(*nodes, "node", "nodes")));
        fact("roles", roles.collect::<Vec<_>>().join(", "));
    }
    fact("may", permissions_text(&plan.permissions).join("; "));
    fact("does", deeds(plan));
    for input in &plan.inputs {
        let default = match &input.default {
            Some(default) => format!(" = {}", default.to_json()),
            None => ", required".to_owned(),
        };
        let sensitive = if input.sensitive { ", sensitive" } else { "" };
        fact("input", format!("{}: {}{default}{sensitive}  {}", input.name, input.ty, input.description));
    }
    for (name, expression) in &plan.outputs {
        fact("output", format!("{name} = {expression}"));
    }
    text.push_str(&who(&plan.who, style));
    text.push('\n');
    branches(&mut text, &plan.nodes, "", style);
    text
}

/// Who would do the roles, at which price, and why it is not those before them.
fn who(roles: &[RoleView], style: Style) -> String {
    let mut rows = Vec::new();
    for role in roles {
        let name = if rows.is_empty() { "roles" } else { "" };
        let (tone, model, price) = match (&role.model, &role.problem) {
            (Some(model), _) => (Tone::Plain, model.clone(), price_text(role)),
            (None, why) => (Tone::Bad, "nobody".to_owned(), why.clone().unwrap_or_default()),
        };
        rows.push(vec![
            (Tone::Dim, format!("{name:<0$}", FACT_COLUMN - 2)),
            (Tone::Plain, role.role.clone()),
            (Tone::Dim, counted(role.nodes, "node", "nodes")),
            (tone, model),
            (Tone::Dim, price),
        ]);
        rows.extend(role.passed_over.iter().map(|over| {
            let blank = || (Tone::Dim, String::new());
            vec![blank(), blank(), blank(), (Tone::Dim, format!("not {}", over.model)), (Tone::Dim, over.why.clone())]
        }));
    }
    table(&rows, ROLE_COLUMN_MAX, style)
}

fn price_text(role: &RoleView) -> String {
    match role.price {
        _ if role.model.as_deref() == Some("mock/mock") => "costs nothing".to_owned(),
        None => "its price is not known".to_owned(),
        Some(PriceView { input, output, cached, cache_write }) => {
            let parts = [
                Some(format!("{} in", money(input))),
                Some(format!("{} out", money(output))),
                cached.map(|price| format!("{} cached", money(price))),
                cache_write.map(|price| format!("{} cache write", money(price))),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            format!("per million tokens {}", parts.join(", "))
        }
    }
}

/// What it does to the repository and to people, so that nobody is surprised.
fn deeds(plan: &PlanView) -> String {
    let totals = &plan.totals;
    let gates = (totals.gates > 0).then(|| format!("waits for people at {}", counted(totals.gates, "gate", "gates")));
    let deeds = [
        totals.writes_files.then(|| "writes files in trees of its own".to_owned()),
        totals.runs_commands.then(|| "runs commands".to_owned()),
        gates,
    ];
    deeds.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn branches(text: &mut String, nodes: &[PlanNode], indent: &str, style: Style) {
    for (at, node) in nodes.iter().enumerate() {
        let last = at + 1 == nodes.len();
        let (fork, rail) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let line = Line::of(Tone::Dim, indent).add(Tone::Dim, fork);
        _ = writeln!(text, "{}", describe(line, node).finish(style));
        let inner = format!("{indent}{rail}");
        for note in notes(node) {
            let bar = if node.children.is_empty() && node.otherwise.is_empty() { "   " } else { "│  " };
            let line = Line::of(Tone::Dim, &inner).add(Tone::Dim, bar).add(Tone::Dim, &note);
            _ = writeln!(text, "{}", line.finish(style));
        }
        branches(text, &node.children, &inner, style);
        if !node.otherwise.is_empty() {
            let line = Line::of(Tone::Dim, &inner).add(Tone::Dim, "otherwise");
            _ = writeln!(text, "{}", line.finish(style));
            branches(text, &node.otherwise, &inner, style);
        }
    }
}

/// Name, kind, who, how many, what.
fn describe(line: Line, node: &PlanNode) -> Line {
    let line = line.text(&node.id).text(" ").add(Tone::Active, node.kind);
    let is_leaf = node.children.is_empty() && node.leaves_max == Some(1);
    let leaves = if is_leaf { String::new() } else { leaves_text(node.leaves_max, node.dynamic) };
    let width = node.width.as_ref().map_or_else(String::new, |width| format!("{width} at a time"));
    let most = match (node.kind, node.max) {
        ("loop_until", Some(most)) => format!("at most {most} iterations"),
        ("expand", Some(most)) => format!("at most {most} elements"),
        ("pareto", Some(most)) => format!("at most {most} items"),
        _ => String::new(),
    };
    line.dotted([
        (Tone::Plain, node.role.as_deref().unwrap_or_default()),
        (Tone::Dim, leaves.as_str()),
        (Tone::Dim, width.as_str()),
        (Tone::Dim, most.as_str()),
        (Tone::Plain, node.what.as_str()),
    ])
}

/// What stands below a node's line.
fn notes(node: &PlanNode) -> Vec<String> {
    let mut notes = Vec::new();
    let mut say = |name: &str, what: String| {
        if !what.is_empty() {
            notes.push(format!("{name} {what}"));
        }
    };
    say("when", node.when.clone().unwrap_or_default());
    say("writes", node.writes.join(", "));
    say("reads", node.reads.join(", "));
    say("in the tree of", node.tree.clone().unwrap_or_default());
    say("budget", node.budget.as_ref().and_then(ceilings_text).unwrap_or_default());
    say("may", node.permissions.as_ref().map(permissions_text).unwrap_or_default().join("; "));
    say("at most", node.timeout_ms.map(duration).unwrap_or_default());
    say("attempts", node.attempts_max.map(|most| most.to_string()).unwrap_or_default());
    say("needs", node.needs.join(", "));
    say("after", node.after.join(", "));
    notes.extend(node.notes.iter().cloned());
    notes
}

fn leaves_text(leaves_max: Option<u64>, dynamic: bool) -> String {
    match (leaves_max, dynamic) {
        (Some(0), _) => String::new(),
        (Some(most), true) => format!("at most {} (dynamic)", counted(most, "leaf", "leaves")),
        (Some(most), false) => counted(most, "leaf", "leaves"),
        (None, _) => "dynamic".to_owned(),
    }
}

fn ceilings_text(budget: &CeilingsView) -> Option<String> {
    let parts = [
        budget.tokens.map(|tokens| format!("{} tokens", amount(tokens))),
        budget.cost_usd_micros.map(money),
        budget.wall_ms.map(duration),
        budget.leaves.map(|leaves| counted(leaves, "leaf", "leaves")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn permissions_text(permissions: &PermissionsView) -> Vec<String> {
    let lists = [
        ("write", "write nothing", &permissions.writes),
        ("run", "run nothing", &permissions.commands),
        ("reach", "reach no host", &permissions.network),
        ("use", "use no tool", &permissions.tools),
        ("know", "know no secret", &permissions.secrets),
    ];
    let text = |(verb, nothing, list): (&str, &str, &Option<Vec<String>>)| match list.as_deref() {
        None => None,
        Some([]) => Some(nothing.to_owned()),
        Some(list) => Some(format!("{verb} {}", list.join(", "))),
    };
    lists.into_iter().filter_map(text).collect()
}
