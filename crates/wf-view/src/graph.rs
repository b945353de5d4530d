//! A workflow as a picture: Mermaid and DOT text, coloured by status when there is a run.
//!
//! Control nodes with something inside are boxes around it. A full arrow is a result that is read, a dashed one is
//! order only. The text depends on the workflow and the run's state alone.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use wf_ir::{Kind, Node, NodeIx, Status, Workflow};

use crate::fold::RunFold;
use crate::plan::{role_of, what};

/// The longest line about what a node does, in characters.
const WHAT_CHARS_MAX: usize = 48;

/// Fill and stroke of a node, by what became of it.
const COLOURS: [(&str, &str, &str); 6] = [
    ("succeeded", "#d3f5dc", "#1a7f37"),
    ("failed", "#ffd8d3", "#cf222e"),
    ("skipped", "#eaeef2", "#8c959f"),
    ("running", "#d6ebff", "#0969da"),
    ("waiting", "#fff3c4", "#9a6700"),
    ("pending", "#ffffff", "#8c959f"),
];

/// A Mermaid flowchart.
pub fn mermaid(workflow: &Workflow, run: Option<&RunFold>) -> String {
    let picture = Picture::of(workflow, run);
    let mut text = String::from("flowchart TD\n");
    picture.mermaid_list(&mut text, workflow.children(), 1);
    for edge in &picture.edges {
        let arrow = if edge.is_data { "-->" } else { "-.->" };
        _ = writeln!(text, "  n{} {arrow} n{}", edge.from.0, edge.to.0);
    }
    if run.is_some() {
        for (name, fill, stroke) in COLOURS {
            _ = writeln!(text, "  classDef {name} fill:{fill},stroke:{stroke},color:#1f2328");
        }
        for (at, colour) in picture.colours.iter().enumerate() {
            _ = writeln!(text, "  class n{at} {colour}");
        }
    }
    text
}

/// A DOT digraph.
pub fn dot(workflow: &Workflow, run: Option<&RunFold>) -> String {
    let picture = Picture::of(workflow, run);
    let mut text = String::from("digraph workflow {\n");
    _ = writeln!(text, "  compound=true");
    _ = writeln!(text, "  node [shape=box, style=\"rounded,filled\", fillcolor=\"#ffffff\", fontname=\"sans-serif\"]");
    _ = writeln!(text, "  graph [fontname=\"sans-serif\", style=\"rounded\"]");
    picture.dot_list(&mut text, workflow.children(), 1);
    for edge in &picture.edges {
        let mut attributes = Vec::new();
        if picture.is_box(edge.from) {
            attributes.push(format!("ltail=cluster_{}", edge.from.0));
        }
        if picture.is_box(edge.to) {
            attributes.push(format!("lhead=cluster_{}", edge.to.0));
        }
        if !edge.is_data {
            attributes.push("style=dashed".to_owned());
        }
        let attributes = if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) };
        let (from, to) = (picture.anchor(edge.from), picture.anchor(edge.to));
        _ = writeln!(text, "  n{} -> n{}{attributes}", from.0, to.0);
    }
    text.push_str("}\n");
    text
}

struct Edge {
    from: NodeIx,
    to: NodeIx,
    is_data: bool,
}

struct Picture<'w> {
    workflow: &'w Workflow,
    edges: Vec<Edge>,
    /// What became of each node, by [`NodeIx`]; empty without a run.
    colours: Vec<&'static str>,
    /// How many instances of each node succeeded, and how many there are.
    counts: Vec<(u64, u64)>,
}

impl<'w> Picture<'w> {
    fn of(workflow: &'w Workflow, run: Option<&RunFold>) -> Self {
        let (colours, counts) = run.map_or_else(|| (Vec::new(), Vec::new()), |run| outcomes(workflow, run));
        Self { workflow, edges: edges(workflow), colours, counts }
    }

    /// The nodes inside a node, its own ask included.
    fn inside(&self, ix: NodeIx) -> Vec<NodeIx> {
        let kind = &self.workflow.node(ix).kind;
        kind.children().chain(kind.inner()).collect()
    }

    fn is_box(&self, ix: NodeIx) -> bool {
        !self.inside(ix).is_empty()
    }

    /// The node that stands for a box where an arrow must end at a node.
    fn anchor(&self, ix: NodeIx) -> NodeIx {
        let mut at = ix;
        while let Some(first) = self.inside(at).first() {
            at = *first;
        }
        at
    }

    /// The lines of a node's label.
    fn label(&self, node: &Node) -> Vec<String> {
        let mut head = format!("{} · {}", node.id, node.kind.name());
        if let Some(role) = role_of(node) {
            _ = write!(head, " · {role}");
        }
        if let Some((done, all)) = self.counts.get(node.ix.0 as usize).filter(|(_, all)| *all > 1) {
            _ = write!(head, " · {done}/{all}");
        }
        let shows_what = !matches!(node.kind, Kind::Agent(_) | Kind::Ask(_) | Kind::Approve(_));
        let line = if shows_what { what(node, self.workflow) } else { String::new() };
        let mut lines = vec![head];
        if !line.is_empty() {
            lines.push(crate::text::first_line(&line, WHAT_CHARS_MAX));
        }
        lines
    }

    fn mermaid_list(&self, text: &mut String, list: &[NodeIx], depth: usize) {
        let indent = "  ".repeat(depth);
        for ix in list {
            let node = self.workflow.node(*ix);
            let lines: Vec<String> = self.label(node).iter().map(|line| mermaid_text(line)).collect();
            let label = lines.join("<br/>");
            let inside = self.inside(*ix);
            if inside.is_empty() {
                _ = writeln!(text, "{indent}n{}[\"{label}\"]", ix.0);
            } else {
                _ = writeln!(text, "{indent}subgraph n{}[\"{label}\"]", ix.0);
                self.mermaid_list(text, &inside, depth + 1);
                _ = writeln!(text, "{indent}end");
            }
        }
    }

    fn dot_list(&self, text: &mut String, list: &[NodeIx], depth: usize) {
        let indent = "  ".repeat(depth);
        for ix in list {
            let lines: Vec<String> = self.label(self.workflow.node(*ix)).iter().map(|line| dot_text(line)).collect();
            let label = lines.join("\\n");
            let colour = self.colours.get(ix.0 as usize);
            let colour = colour.and_then(|colour| COLOURS.iter().find(|(name, ..)| name == colour));
            let inside = self.inside(*ix);
            if inside.is_empty() {
                let colour = colour.map_or_else(String::new, |(_, fill, stroke)| {
                    format!(", fillcolor=\"{fill}\", color=\"{stroke}\"")
                });
                _ = writeln!(text, "{indent}n{} [label=\"{label}\"{colour}]", ix.0);
            } else {
                _ = writeln!(text, "{indent}subgraph cluster_{} {{", ix.0);
                _ = writeln!(text, "{indent}  label=\"{label}\"");
                if let Some((_, _, stroke)) = colour {
                    _ = writeln!(text, "{indent}  color=\"{stroke}\"");
                }
                self.dot_list(text, &inside, depth + 1);
                _ = writeln!(text, "{indent}}}");
            }
        }
    }
}

/// What is read from what, and what follows what.
fn edges(workflow: &Workflow) -> Vec<Edge> {
    let mut edges = Vec::new();
    let mut seen = BTreeSet::new();
    let mut add = |from: NodeIx, to: NodeIx, is_data: bool| {
        // An arrow from a box to something in it says nothing.
        let encloses = std::iter::successors(Some(to), |at| workflow.node(*at).parent).any(|at| at == from);
        if !encloses && seen.insert((from, to)) {
            edges.push(Edge { from, to, is_data });
        }
    };
    for node in workflow.nodes() {
        node.needs.iter().for_each(|need| add(*need, node.ix, true));
    }
    for node in workflow.nodes() {
        node.after.iter().for_each(|before| add(*before, node.ix, false));
    }
    let mut follow = |list: &[NodeIx]| list.windows(2).for_each(|pair| add(pair[0], pair[1], false));
    follow(workflow.children());
    for node in workflow.nodes() {
        match &node.kind {
            Kind::Parallel { .. } => {}
            Kind::Cond { then, otherwise, .. } => {
                follow(then);
                follow(otherwise);
            }
            kind => follow(&kind.children().collect::<Vec<_>>()),
        }
    }
    edges
}

/// What became of the instances of each node together, and how many succeeded of how many.
fn outcomes(workflow: &Workflow, run: &RunFold) -> (Vec<&'static str>, Vec<(u64, u64)>) {
    // The most telling one counts: what goes on, then what failed, then what succeeded.
    let rank = |status: Status| match status {
        Status::Pending | Status::Ready => 0,
        Status::Skipped => 1,
        Status::Succeeded => 2,
        Status::Failed | Status::Cancelled | Status::TimedOut | Status::BudgetExceeded => 3,
        Status::Waiting | Status::InDoubt => 4,
        Status::Running => 5,
    };
    let names = ["pending", "skipped", "succeeded", "failed", "waiting", "running"];
    let count = workflow.nodes().len();
    let (mut ranks, mut counts) = (vec![0_usize; count], vec![(0_u64, 0_u64); count]);
    for instance in run.state().instances() {
        let at = instance.node.0 as usize;
        ranks[at] = ranks[at].max(rank(instance.status));
        counts[at].0 += u64::from(instance.status == Status::Succeeded);
        counts[at].1 += 1;
    }
    (ranks.into_iter().map(|rank| names[rank]).collect(), counts)
}

/// Text inside a quoted Mermaid label.
fn mermaid_text(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for character in crate::text::clean(line).chars() {
        match character {
            '#' | '"' | '<' | '>' | '&' | '`' | '\\' | '{' | '}' | '[' | ']' | '|' | ';' => {
                _ = write!(text, "#{};", u32::from(character));
            }
            other => text.push(other),
        }
    }
    text
}

/// Text inside a quoted DOT label.
fn dot_text(line: &str) -> String {
    crate::text::clean(line).replace('\\', "\\\\").replace('"', "\\\"")
}
