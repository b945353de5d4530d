//! What a name means at a place.
//!
//! A name resolves outwards: to a node in the same list, then to a node in the list of each enclosing node. In lists
//! that run in order only earlier nodes are there; in a `parallel` all siblings are, as long as nothing waits for
//! itself. The id of an enclosing `expand` is the current element.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::draft::Span;
use crate::fields::KindTag;

use super::normal::{RawWorkflow, shown};
use super::report::nearest;

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Something whose type is not known.
    Any,
    /// A text.
    Text,
    /// An integer.
    Int,
    /// The inputs of the run.
    Inputs,
    /// `tree`
    Tree,
    /// The value of a node.
    Node(usize),
    /// The current element of an enclosing `expand`.
    Element(usize),
    /// The output of a node, in its own `ensure`.
    Output(usize),
    /// The value of a candidate of this node.
    Candidate(usize),
}

/// What a place adds to the names in scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing.
    Node(usize),
    /// `output`, in `ensure`.
    Ensure(usize),
    /// `value`, `status`, `path`, in what weighs candidates.
    Candidate(usize),
    /// The children of a loop, `iteration` and `prev`, in its `until`.
    Until(usize),
    /// The end of the workflow, in its outputs.
    End,
}

impl Place {
    /// The node whose place it is.
    pub(super) fn node(self) -> Option<usize> {
        match self {
            Self::Node(ix) | Self::Ensure(ix) | Self::Candidate(ix) | Self::Until(ix) => Some(ix),
            Self::End => None,
        }
    }
}

/// How the search for a name ended.
enum Found {
    Node(usize),
    Element(usize),
    /// The node itself.
    Itself,
    /// A node that encloses the place.
    Enclosing(usize),
    /// A node that comes later in a list that runs in order; the one that asks is, or is in, the second.
    Later(usize, usize),
    Nothing,
}

/// The lists of a workflow, by name.
pub(super) struct Scopes<'w> {
    raw: &'w RawWorkflow,
    lists: BTreeMap<Option<usize>, BTreeMap<&'w str, usize>>,
    anywhere: BTreeMap<&'w str, usize>,
    inputs: BTreeSet<&'w str>,
    /// How many more close names are looked for: each look goes over all names in scope.
    looks_left: Cell<usize>,
}

/// Most unknown names for which a close one is looked for.
const LOOKS_MAX: usize = 100;

impl<'w> Scopes<'w> {
    /// Of a workflow with these inputs.
    pub(super) fn new(raw: &'w RawWorkflow, inputs: BTreeSet<&'w str>) -> Self {
        let mut lists: BTreeMap<Option<usize>, BTreeMap<&'w str, usize>> = BTreeMap::new();
        let mut anywhere = BTreeMap::new();
        for (ix, node) in raw.nodes.iter().enumerate().filter(|(_, node)| !node.inner && !node.id.is_empty()) {
            lists.entry(node.parent).or_default().entry(&node.id).or_insert(ix);
            anywhere.entry(node.id.as_str()).or_insert(ix);
        }
        Self { raw, lists, anywhere, inputs, looks_left: Cell::new(LOOKS_MAX) }
    }

    /// The sibling with this id under `parent`.
    pub(super) fn child(&self, parent: Option<usize>, id: &str) -> Option<usize> {
        self.lists.get(&parent)?.get(id).copied()
    }

    /// What `name` means to an expression or a template at `place`.
    pub(super) fn meaning(&self, place: Place, name: &str, span: &Span) -> Result<Meaning, Diagnostic> {
        match (place, name) {
            (Place::Ensure(ix), "output") => return Ok(Meaning::Output(ix)),
            (Place::Candidate(ix), "value") => return Ok(Meaning::Candidate(ix)),
            (Place::Candidate(_), "status" | "path") => return Ok(Meaning::Text),
            (_, "inputs") => return Ok(Meaning::Inputs),
            (_, "iteration") => return self.in_loop(place, name, span).map(|()| Meaning::Int),
            (_, "prev") => return self.in_loop(place, name, span).map(|()| Meaning::Any),
            (_, "tree") => return self.in_tree(place, span).map(|()| Meaning::Tree),
            (_, "node") => {
                let hint = "write `node.x.status` to read the envelope of node `x`".to_owned();
                let message = "`node` stands without the name of a node";
                return Err(Diagnostic::error(codes::BARE_NODE, span, message).with_hint(hint));
            }
            _ => {}
        }
        self.node(place, name, span)
    }

    /// The node that `name` means at `place`.
    pub(super) fn node(&self, place: Place, name: &str, span: &Span) -> Result<Meaning, Diagnostic> {
        match self.find(place, name) {
            Found::Node(ix) => Ok(Meaning::Node(ix)),
            Found::Element(ix) => Ok(Meaning::Element(ix)),
            Found::Itself => Err(Diagnostic::error(codes::CYCLE, span, format!("cycle: {name} -> {name}"))
                .with_hint("a node cannot read its own result".to_owned())),
            Found::Enclosing(ix) => {
                let message = format!("`{name}` encloses this place, so its result is not there yet");
                let hint = match self.raw.nodes[ix].tag {
                    Some(KindTag::LoopUntil) => "in a loop, `prev` has the values of the iteration before",
                    _ => "name a node that ends before this one begins",
                };
                Err(Diagnostic::error(codes::ENCLOSING, span, message).with_hint(hint))
            }
            Found::Later(later, here) => Err(self.downstream(name, later, here, span)),
            Found::Nothing => Err(self.unknown(place, name, span)),
        }
    }

    fn find(&self, place: Place, name: &str) -> Found {
        let from = match place {
            Place::End => return self.child(None, name).map_or(Found::Nothing, Found::Node),
            Place::Until(ix) => {
                if let Some(child) = self.child(Some(ix), name) {
                    return Found::Node(child);
                }
                ix
            }
            Place::Node(ix) | Place::Ensure(ix) | Place::Candidate(ix) => ix,
        };
        let mut here = from;
        loop {
            let node = &self.raw.nodes[here];
            let sibling = if node.inner { None } else { self.child(node.parent, name) };
            match sibling {
                Some(ix) if ix == here && here == from => return Found::Itself,
                Some(ix) if ix == here && node.is(KindTag::Expand) => return Found::Element(ix),
                Some(ix) if ix == here => return Found::Enclosing(ix),
                Some(ix) if self.raw.nodes[ix].side == node.side => {
                    let ordered = node.parent.is_none_or(|parent| !self.raw.nodes[parent].is(KindTag::Parallel));
                    let earlier = self.raw.nodes[ix].position < node.position;
                    return if earlier || !ordered { Found::Node(ix) } else { Found::Later(ix, here) };
                }
                // The other side of a `cond` never runs beside this one.
                Some(_) | None => {}
            }
            match node.parent {
                Some(parent) => here = parent,
                None => return Found::Nothing,
            }
        }
    }

    /// The enclosing nodes of a place, the innermost first, itself included.
    pub(super) fn enclosing(&self, ix: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(Some(ix), |ix| self.raw.nodes[*ix].parent)
    }

    fn in_loop(&self, place: Place, name: &str, span: &Span) -> Result<(), Diagnostic> {
        let inside = match place {
            Place::Until(_) => true,
            Place::End => false,
            Place::Node(ix) | Place::Ensure(ix) | Place::Candidate(ix) => {
                self.enclosing(ix).skip(1).any(|ix| self.raw.nodes[ix].is(KindTag::LoopUntil))
            }
        };
        if inside {
            return Ok(());
        }
        let message = format!("`{name}` exists only in a `loop_until`");
        Err(Diagnostic::error(codes::NO_LOOP, span, message))
    }

    fn in_tree(&self, place: Place, span: &Span) -> Result<(), Diagnostic> {
        let inside = place.node().is_some_and(|ix| {
            let own = self.enclosing(ix).any(|ix| self.raw.nodes[ix].fields.contains_key("tree"));
            own || self.enclosing(ix).skip(1).any(|ix| self.raw.nodes[ix].is(KindTag::Branch))
        });
        if inside {
            return Ok(());
        }
        let hint = "put the node in a branch, or give it `tree`".to_owned();
        let message = "`tree` exists only in a branch or on a node with `tree`";
        Err(Diagnostic::error(codes::NO_TREE, span, message).with_hint(hint))
    }

    fn downstream(&self, name: &str, later: usize, here: usize, span: &Span) -> Diagnostic {
        let asking = &self.raw.nodes[here].id;
        let message = format!("`{name}` comes after `{asking}`, so its result is not there yet");
        let parent = self.raw.nodes[later].parent;
        let hint = if parent.is_some_and(|parent| self.raw.nodes[parent].is(KindTag::LoopUntil)) {
            format!("`prev.{name}` is its value in the iteration before")
        } else {
            format!("move `{name}` before `{asking}`")
        };
        Diagnostic::error(codes::DOWNSTREAM, span, message).with_hint(hint)
    }

    fn unknown(&self, place: Place, name: &str, span: &Span) -> Diagnostic {
        let hint = if self.inputs.contains(name) {
            Some(format!("write `inputs.{name}` for the input"))
        } else if let Some(near) = self.nearest(place, name) {
            Some(format!("did you mean `{near}`?"))
        } else {
            self.anywhere.get(name).and_then(|ix| self.elsewhere(place, *ix))
        };
        let message = format!("`{}` means nothing here", shown(name));
        Diagnostic { hint, ..Diagnostic::error(codes::UNKNOWN_NAME, span, message) }
    }

    fn nearest(&self, place: Place, name: &str) -> Option<&str> {
        self.looks_left.set(self.looks_left.get().checked_sub(1)?);
        let mut parents: Vec<Option<usize>> = vec![None];
        if let Some(ix) = place.node() {
            parents.extend(self.enclosing(ix).map(Some));
        }
        let names = parents.iter().filter_map(|parent| self.lists.get(parent)).flat_map(|list| list.keys().copied());
        nearest(name, names)
    }

    /// A hint for a name that exists, but not in scope: where it is, and how its value is read from here.
    fn elsewhere(&self, place: Place, ix: usize) -> Option<String> {
        let name = &self.raw.nodes[ix].id;
        let mut path = vec![name.as_str()];
        for outer in self.enclosing(ix).skip(1) {
            let node = &self.raw.nodes[outer];
            if node.is(KindTag::Branch) {
                path.push("results");
            }
            path.push(&node.id);
            if matches!(self.find(place, &node.id), Found::Node(found) if found == outer) {
                let elements = self.enclosing(ix).skip(1).take_while(|above| *above != outer).chain([outer]);
                let repeated = elements.into_iter().any(|above| self.raw.nodes[above].is(KindTag::Expand));
                path.reverse();
                let read = if repeated { format!("name `{}`", node.id) } else { format!("read `{}`", path.join(".")) };
                return Some(format!("`{name}` is inside `{}`; {read}", node.id));
            }
        }
        let parent = self.raw.nodes[ix].parent.map(|parent| self.raw.nodes[parent].id.as_str())?;
        Some(format!("there is a `{name}` inside `{parent}`, which cannot be named from here"))
    }
}
