//! A glob as a non-deterministic automaton without empty moves, and the questions that are asked of such automata.
//!
//! Every question is about paths, not about texts, so each walk carries the state of [`Shape`] along, which accepts
//! exactly the texts that are paths.

use std::collections::{BTreeSet, VecDeque};

use super::parse::{CharSet, Token};

/// Most states of one automaton: it bounds the work of every comparison.
const STATES_MAX: usize = 512;
/// Most edges of one automaton.
const EDGES_MAX: usize = 4 * STATES_MAX;
/// Most edges that [`Automaton::is_within`] follows before it gives up.
const WITHIN_WORK_MAX: usize = 1_000_000;

/// An edge: a set of characters, by its place in [`Automaton::sets`], and the state it leads to.
type Edge = (usize, usize);

#[derive(Debug)]
pub(super) struct Automaton {
    sets: Vec<CharSet>,
    states: Vec<Vec<Edge>>,
    begin: Vec<usize>,
}

/// The only accepting state; it has no edges.
const END: usize = 0;

impl Automaton {
    /// The automaton of all texts that match one of `patterns`.
    pub(super) fn build(patterns: &[Vec<Token>]) -> Result<Self, String> {
        let mut automaton = Self { sets: Vec::new(), states: vec![Vec::new()], begin: Vec::new() };
        let mut begin = BTreeSet::new();
        for pattern in patterns {
            begin.extend(automaton.prepend(pattern, vec![END])?);
        }
        automaton.begin = begin.into_iter().collect();
        Ok(automaton)
    }

    /// Builds from the end: the states from which `tokens`, and then what `next` begins, are read.
    fn prepend(&mut self, tokens: &[Token], mut next: Vec<usize>) -> Result<Vec<usize>, String> {
        let mut rest = tokens;
        while let Some((token, before)) = rest.split_last() {
            rest = before;
            next = match token {
                Token::One(set) => vec![self.add(set, false, &next)?],
                Token::Star => self.optional(&CharSet::segment(), next)?,
                // A `**` at the end: at least one character, of whatever segment.
                Token::Deep => vec![self.add(&CharSet::all(), true, &next)?],
                Token::Slash if before.last() == Some(&Token::Deep) => {
                    rest = &before[..before.len() - 1];
                    self.deep(next)?
                }
                Token::Slash => vec![self.add(&CharSet::single('/'), false, &next)?],
                Token::Either(alternatives) => {
                    let mut begins = BTreeSet::new();
                    for alternative in alternatives {
                        begins.extend(self.prepend(alternative, next.clone())?);
                    }
                    begins.into_iter().collect()
                }
            };
        }
        Ok(next)
    }

    /// A state that reads one of `set`, stays if it `repeats`, and goes on to `next`.
    fn add(&mut self, set: &CharSet, repeats: bool, next: &[usize]) -> Result<usize, String> {
        let set = self.intern(set);
        let state = self.states.len();
        let stay = repeats.then_some((set, state));
        self.states.push(stay.into_iter().chain(next.iter().map(|&target| (set, target))).collect());
        self.bound(state)
    }

    /// Any number of `set`, also none, and then `next`.
    fn optional(&mut self, set: &CharSet, mut next: Vec<usize>) -> Result<Vec<usize>, String> {
        let state = self.add(set, true, &next)?;
        next.push(state);
        Ok(next)
    }

    /// `**/`: any text that ends in a slash, or none, and then `next`.
    fn deep(&mut self, mut next: Vec<usize>) -> Result<Vec<usize>, String> {
        let (all, slash) = (self.intern(&CharSet::all()), self.intern(&CharSet::single('/')));
        let state = self.states.len();
        self.states.push([(all, state)].into_iter().chain(next.iter().map(|&target| (slash, target))).collect());
        next.push(state);
        self.bound(state).map(|_| next)
    }

    fn bound(&self, state: usize) -> Result<usize, String> {
        if self.states.len() > STATES_MAX || self.states.iter().map(Vec::len).sum::<usize>() > EDGES_MAX {
            return Err(format!("more than {STATES_MAX} states, too many to compare,"));
        }
        Ok(state)
    }

    fn intern(&mut self, set: &CharSet) -> usize {
        self.sets.iter().position(|known| known == set).unwrap_or_else(|| {
            self.sets.push(set.clone());
            self.sets.len() - 1
        })
    }

    /// Whether `path` is a path and is read.
    pub(super) fn matches(&self, path: &str) -> bool {
        let mut shape = Shape::Begin;
        let mut states = StateSet::new(self.states.len(), &self.begin);
        for character in path.chars() {
            let Some(next) = shape.read(character) else { return false };
            shape = next;
            states = states.read(self, |set| self.sets[set].has(character));
            if states.is_empty() {
                return false;
            }
        }
        shape == Shape::Inside && states.has(END)
    }

    /// A shortest path that both read.
    pub(super) fn common_path(&self, other: &Self) -> Option<String> {
        let mut walk = PairWalk::begin(self, other);
        while let Some(at) = walk.next() {
            let (left, right, shape) = walk.found[at].place;
            if (left, right, shape) == (END, END, Shape::Inside) {
                return Some(walk.text(at));
            }
            for &(left_set, left_next) in &self.states[left] {
                for &(right_set, right_next) in &other.states[right] {
                    for character in examples(&self.sets[left_set].intersection(&other.sets[right_set])) {
                        if let Some(shape) = shape.read(character) {
                            walk.visit((left_next, right_next, shape), at, character);
                        }
                    }
                }
            }
        }
        None
    }

    /// Whether every path that this reads is read by one of `outer`; false too when that takes too long to tell.
    pub(super) fn is_within(&self, outer: &[&Self]) -> bool {
        let letters = letters(outer.iter().copied().chain([self]));
        let mut work = 0;
        let begin: Vec<StateSet> = outer.iter().map(|it| StateSet::new(it.states.len(), &it.begin)).collect();
        let mut queue: VecDeque<(usize, Shape, Vec<StateSet>)> =
            self.begin.iter().map(|&state| (state, Shape::Begin, begin.clone())).collect();
        let mut seen: BTreeSet<(usize, Shape, Vec<StateSet>)> = queue.iter().cloned().collect();
        while let Some((state, shape, around)) = queue.pop_front() {
            if state == END && shape == Shape::Inside && !around.iter().any(|states| states.has(END)) {
                return false;
            }
            work += letters.len() * self.states[state].len();
            for &letter in &letters {
                let mut targets =
                    self.states[state].iter().filter(|(set, _)| self.sets[*set].has(letter)).map(|edge| edge.1);
                let (Some(first), Some(shape)) = (targets.next(), shape.read(letter)) else { continue };
                let read = |(states, it): (&StateSet, &&Self)| states.read(it, |set| it.sets[set].has(letter));
                let next: Vec<StateSet> = around.iter().zip(outer).map(read).collect();
                work += 1 + around.iter().map(StateSet::len).sum::<usize>();
                if work > WITHIN_WORK_MAX {
                    return false;
                }
                for target in [first].into_iter().chain(targets) {
                    let place = (target, shape, next.clone());
                    if seen.insert(place.clone()) {
                        queue.push_back(place);
                    }
                }
            }
        }
        true
    }
}

/// How far a text is a path: segments that are not empty and not `.` or `..`, with single slashes between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    /// Nothing of the segment is read.
    Begin,
    /// The segment is `.`.
    Dot,
    /// The segment is `..`.
    DotDot,
    /// The segment may end here.
    Inside,
}

impl Shape {
    fn read(self, character: char) -> Option<Self> {
        match (self, character) {
            (Self::Inside, '/') => Some(Self::Begin),
            (Self::Begin | Self::Dot | Self::DotDot, '/') => None,
            (Self::Begin, '.') => Some(Self::Dot),
            (Self::Dot, '.') => Some(Self::DotDot),
            (Self::Begin | Self::Dot | Self::DotDot | Self::Inside, _) => Some(Self::Inside),
        }
    }
}

/// A set of states of one automaton.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct StateSet(Vec<u64>);

impl StateSet {
    fn new(count: usize, states: &[usize]) -> Self {
        let mut set = Self(vec![0; count.div_ceil(64)]);
        states.iter().for_each(|&state| set.insert(state));
        set
    }

    fn insert(&mut self, state: usize) {
        self.0[state / 64] |= 1 << (state % 64);
    }

    fn has(&self, state: usize) -> bool {
        self.0[state / 64] & (1 << (state % 64)) != 0
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(place, &word)| {
            let bits = (0..64).filter(move |bit| word & (1 << bit) != 0);
            bits.map(move |bit| place * 64 + bit)
        })
    }

    /// The states after a character that the sets of `reads` hold.
    fn read(&self, automaton: &Automaton, reads: impl Fn(usize) -> bool) -> Self {
        let mut next = Self(vec![0; self.0.len()]);
        for state in self.iter() {
            for &(set, target) in &automaton.states[state] {
                if reads(set) {
                    next.insert(target);
                }
            }
        }
        next
    }
}

/// A place in the walk over two automata at once.
type Place = (usize, usize, Shape);

/// A place that was reached, and the step that reached it first.
struct Found {
    place: Place,
    step: Option<(usize, char)>,
}

/// A walk over pairs of states, nearest first.
struct PairWalk {
    width: usize,
    seen: Vec<u64>,
    found: Vec<Found>,
    at: usize,
}

impl PairWalk {
    fn begin(left: &Automaton, right: &Automaton) -> Self {
        let width = right.states.len();
        let seen = vec![0; (left.states.len() * width * 4).div_ceil(64)];
        let mut walk = Self { width, seen, found: Vec::new(), at: 0 };
        for &left_state in &left.begin {
            for &right_state in &right.begin {
                walk.reach((left_state, right_state, Shape::Begin), None);
            }
        }
        walk
    }

    /// The next place whose edges are to be followed.
    fn next(&mut self) -> Option<usize> {
        let at = self.at;
        self.at += 1;
        (at < self.found.len()).then_some(at)
    }

    fn visit(&mut self, place: Place, from: usize, character: char) {
        self.reach(place, Some((from, character)));
    }

    fn reach(&mut self, place: Place, step: Option<(usize, char)>) {
        let (left, right, shape) = place;
        let bit = (left * self.width + right) * 4 + shape as usize;
        if self.seen[bit / 64] & (1 << (bit % 64)) == 0 {
            self.seen[bit / 64] |= 1 << (bit % 64);
            self.found.push(Found { place, step });
        }
    }

    /// What was read on the way to `at`.
    fn text(&self, mut at: usize) -> String {
        let mut characters = Vec::new();
        while let Some((from, character)) = self.found[at].step {
            characters.push(character);
            at = from;
        }
        characters.iter().rev().collect()
    }
}

/// A character of `set` for each way in which [`Shape`] tells characters apart, readable ones where there are any.
fn examples(set: &CharSet) -> impl Iterator<Item = char> {
    let others = set.ranges().iter().flat_map(|&(low, high)| low..=high).filter_map(char::from_u32);
    let plain = ('a'..='z').chain('0'..='9').chain('!'..='~').filter(|&character| set.has(character)).chain(others);
    let plain = plain.into_iter().find(|character| !matches!(character, '/' | '.'));
    plain.into_iter().chain(['.', '/'].into_iter().filter(|&character| set.has(character)))
}

/// One character for each way in which the sets of `automata` and [`Shape`] tell characters apart.
fn letters<'a>(automata: impl Iterator<Item = &'a Automaton>) -> Vec<char> {
    let mut starts = BTreeSet::from([0, '.' as u32, '.' as u32 + 1, '/' as u32, '/' as u32 + 1]);
    for set in automata.flat_map(|automaton| &automaton.sets) {
        starts.extend(set.ranges().iter().flat_map(|&(low, high)| [low, high.saturating_add(1)]));
    }
    let ends = starts.iter().skip(1).copied().chain([char::MAX as u32 + 1]);
    // Surrogates are no characters: a range that begins among them is represented by the first one after them.
    let after_surrogates = |start: u32| if (0xD800..0xE000).contains(&start) { 0xE000 } else { start };
    let ranges = starts.iter().map(|&start| after_surrogates(start)).zip(ends);
    ranges.filter(|(start, end)| start < end).filter_map(|(start, _)| char::from_u32(start)).collect()
}
