//! What the kernel knows of a workflow before any run: positions, look-ups by name, who waits for whom.

use std::collections::BTreeMap;

use wf_ir::node::Candidates;
use wf_ir::{Kind, NodeIx, Workflow};

/// Static facts about a workflow's nodes.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Children by id, for the root (index 0) and every node (its index plus one).
    by_id: Vec<BTreeMap<String, NodeIx>>,
    /// Position of each node in the list it stands in.
    position: Vec<u32>,
    /// Whether a branch needs a tree: some leaf below it, not inside another branch, works in one.
    needs_tree: Vec<bool>,
    /// About how many nodes wait for each in a row, one after another.
    height: Vec<u32>,
}

impl Plan {
    pub(crate) fn new(workflow: &Workflow) -> Self {
        let count = workflow.nodes().len();
        let mut plan = Self {
            by_id: vec![BTreeMap::new(); count + 1],
            position: vec![0; count],
            needs_tree: vec![false; count],
            height: heights(workflow),
        };
        plan.add_list(workflow, 0, workflow.children());
        for node in workflow.nodes() {
            let slot = node.ix.0 as usize + 1;
            if let Kind::Cond { then, otherwise, .. } = &node.kind {
                plan.add_list(workflow, slot, then);
                plan.add_list(workflow, slot, otherwise);
            } else {
                let children: Vec<_> = node.kind.children().collect();
                plan.add_list(workflow, slot, &children);
            }
            if works_in_tree(&node.kind) {
                plan.mark_branch(workflow, node.ix);
            }
        }
        plan
    }

    fn add_list(&mut self, workflow: &Workflow, slot: usize, list: &[NodeIx]) {
        for (position, child) in list.iter().enumerate() {
            self.by_id[slot].insert(workflow.node(*child).id.clone(), *child);
            self.position[child.0 as usize] = position as u32;
        }
    }

    fn mark_branch(&mut self, workflow: &Workflow, leaf: NodeIx) {
        if workflow.node(leaf).tree.is_some() {
            return;
        }
        let mut at = workflow.node(leaf).parent;
        while let Some(ix) = at {
            if matches!(workflow.node(ix).kind, Kind::Branch { .. }) {
                self.needs_tree[ix.0 as usize] = true;
                return;
            }
            at = workflow.node(ix).parent;
        }
    }

    /// The child of `parent` (none: the root) with this id.
    pub(crate) fn child(&self, parent: Option<NodeIx>, id: &str) -> Option<NodeIx> {
        self.by_id[parent.map_or(0, |ix| ix.0 as usize + 1)].get(id).copied()
    }

    /// Position of a node in its list.
    pub(crate) fn position(&self, node: NodeIx) -> u32 {
        self.position[node.0 as usize]
    }

    /// About how many nodes wait for this one in a row: what more waits for goes first.
    pub(crate) fn height(&self, node: NodeIx) -> u32 {
        self.height[node.0 as usize]
    }

    /// Whether a branch needs a tree.
    pub(crate) fn needs_tree(&self, node: NodeIx) -> bool {
        self.needs_tree[node.0 as usize]
    }
}

/// For each node, about the longest chain of nodes that wait for it, directly or by their place in a list. Needs lead to
/// later nodes as a rule, so one pass backwards finds the chains among siblings, and one forwards hands them down.
fn heights(workflow: &Workflow) -> Vec<u32> {
    let nodes = workflow.nodes();
    let mut after: Vec<Vec<NodeIx>> = vec![Vec::new(); nodes.len()];
    let mut follow = |list: &[NodeIx]| {
        for pair in list.windows(2) {
            after[pair[0].0 as usize].push(pair[1]);
        }
    };
    follow(workflow.children());
    for node in nodes {
        match &node.kind {
            Kind::Parallel { .. } => {}
            Kind::Cond { then, otherwise, .. } => {
                follow(then);
                follow(otherwise);
            }
            kind => follow(&kind.children().collect::<Vec<_>>()),
        }
    }
    for node in nodes {
        for need in node.needs.iter().chain(&node.after) {
            after[need.0 as usize].push(node.ix);
        }
    }
    let mut height = vec![0u32; nodes.len()];
    for node in nodes.iter().rev() {
        let next = after[node.ix.0 as usize].iter().map(|next| height[next.0 as usize] + 1);
        height[node.ix.0 as usize] = next.max().unwrap_or(0);
    }
    for node in nodes {
        if let Some(parent) = node.parent {
            let around = height[parent.0 as usize];
            let own = &mut height[node.ix.0 as usize];
            *own = own.saturating_add(around);
        }
    }
    height
}

/// Whether a leaf of this kind works in a tree, where there is one.
pub(crate) fn works_in_tree(kind: &Kind) -> bool {
    matches!(kind, Kind::Agent(_) | Kind::Command(_) | Kind::Test(_) | Kind::Search(_))
}

/// What a worker must be able to do for a leaf: its kind, and the role that does it.
pub fn needed_capabilities(node: &wf_ir::Node) -> Vec<String> {
    let role = node.role.as_ref().map(|role| format!("role:{role}"));
    std::iter::once(node.kind.name().to_owned()).chain(role).collect()
}

/// The nodes whose statuses a consumer of candidates takes as they are.
pub(crate) fn candidates(kind: &Kind) -> Option<&Candidates> {
    match kind {
        Kind::Reduce(reduce) => Some(&reduce.inputs),
        Kind::Pareto { candidates, .. } => Some(candidates),
        Kind::Tournament(tournament) => Some(&tournament.candidates),
        _ => None,
    }
}
