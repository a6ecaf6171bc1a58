//! Visits every state that a small concurrent system can reach, breadth first, so that the
//! first counterexample is one of the shortest. Besides a model's own guarantees, two are
//! checked: no state is stuck, and the end can be reached from every state.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// More states than any scenario should have: the model is unbounded by mistake.
const TOO_MANY: usize = 2_000_000;

/// A system that moves in atomic steps.
pub(crate) trait Model {
    type State: Clone + Eq + Hash;
    type Label: Display;

    fn start(&self) -> Self::State;

    /// Appends all possible moves.
    fn moves(&self, state: &Self::State, moves: &mut Vec<Move<Self::Label, Self::State>>);

    fn judge(&self, state: &Self::State) -> Verdict;
}

pub(crate) struct Move<Label, State> {
    pub(crate) label: Label,
    pub(crate) state: State,
    /// No progress may depend on it: for example, that a process dies.
    pub(crate) optional: bool,
}

pub(crate) enum Verdict {
    /// Not the end: a move must be possible.
    Going,
    /// No move needs to follow.
    End,
    Wrong(&'static str),
}

/// The statistics of a system without a counterexample.
#[derive(Debug)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    pub(crate) ends: usize,
}

/// The moves to a state that breaks a guarantee.
#[derive(Debug)]
pub(crate) struct Counterexample {
    pub(crate) wrong: &'static str,
    pub(crate) trace: Vec<String>,
}

impl Display for Counterexample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.wrong)?;
        for (index, line) in self.trace.iter().enumerate() {
            write!(formatter, "\n    {:>2}. {line}", index + 1)?;
        }
        Ok(())
    }
}

pub(crate) fn explore<M: Model>(model: &M) -> Result<Explored, Counterexample> {
    let mut seen = Seen::new();
    // Edges for the backward search from the ends. Optional moves are left out.
    let mut edges: Vec<(u32, u32)> = Vec::new();
    let mut ends: Vec<u32> = Vec::new();
    let mut moves = Vec::new();
    seen.insert(model.start(), 0);
    let mut current = 0;
    while current < seen.states.len() {
        assert!(current < TOO_MANY, "more than {TOO_MANY} states");
        let state = seen.states[current].clone();
        moves.clear();
        match model.judge(&state) {
            Verdict::Wrong(wrong) => return Err(counterexample(model, &seen, current, wrong)),
            Verdict::End => ends.push(current as u32),
            Verdict::Going => {
                model.moves(&state, &mut moves);
                if moves.iter().all(|next| next.optional) {
                    return Err(counterexample(model, &seen, current, "stuck: nothing can happen"));
                }
            }
        }
        for next in moves.drain(..) {
            let index = seen.insert(next.state, current as u32);
            if !next.optional {
                edges.push((index, current as u32));
            }
        }
        current += 1;
    }
    match first_without_end(seen.states.len(), &edges, &ends) {
        None => Ok(Explored { states: seen.states.len(), ends: ends.len() }),
        Some(lost) => Err(counterexample(model, &seen, lost, "goes on for ever without an end")),
    }
}

/// The state nearest to the start from which no end can be reached. `edges` lead from a state
/// to one before it.
fn first_without_end(states: usize, edges: &[(u32, u32)], ends: &[u32]) -> Option<usize> {
    // Edges to a state are adjacent: those of state `n` are from `starts[n]` to
    // `starts[n + 1]`.
    let mut starts = vec![0_u32; states + 2];
    for &(to, _) in edges {
        starts[to as usize + 2] += 1;
    }
    for index in 2..starts.len() {
        starts[index] += starts[index - 1];
    }
    let mut before = vec![0; edges.len()];
    for &(to, from) in edges {
        let place = &mut starts[to as usize + 1];
        before[*place as usize] = from;
        *place += 1;
    }
    let mut hopeful = vec![false; states];
    let mut open = ends.to_vec();
    for &end in ends {
        hopeful[end as usize] = true;
    }
    while let Some(state) = open.pop() {
        let (first, last) = (starts[state as usize], starts[state as usize + 1]);
        for &from in &before[first as usize..last as usize] {
            if !hopeful[from as usize] {
                hopeful[from as usize] = true;
                open.push(from);
            }
        }
    }
    hopeful.iter().position(|hopeful| !hopeful)
}

/// The labels of the moves from the start to `state`.
fn counterexample<M: Model>(
    model: &M,
    seen: &Seen<M::State>,
    mut state: usize,
    wrong: &'static str,
) -> Counterexample {
    let mut trace = Vec::new();
    while state != 0 {
        let before = seen.parents[state] as usize;
        let mut moves = Vec::new();
        model.moves(&seen.states[before], &mut moves);
        let taken = moves.iter().find(|next| next.state == seen.states[state]);
        trace.push(taken.expect("the state was reached by one of these moves").label.to_string());
        state = before;
    }
    trace.reverse();
    Counterexample { wrong, trace }
}

/// All visited states, in the order of their discovery. A hash leads to the first state that
/// has it; each state links to the next.
struct Seen<State> {
    states: Vec<State>,
    parents: Vec<u32>,
    links: Vec<u32>,
    heads: HashMap<u64, u32, BuildHasherDefault<Identity>>,
}

const NO_LINK: u32 = u32::MAX;

impl<State: Eq + Hash> Seen<State> {
    fn new() -> Self {
        Self {
            states: Vec::new(),
            parents: Vec::new(),
            links: Vec::new(),
            heads: HashMap::default(),
        }
    }

    fn insert(&mut self, state: State, parent: u32) -> u32 {
        let mut hasher = Mixer::default();
        state.hash(&mut hasher);
        let index = self.states.len() as u32;
        let head = self.heads.entry(hasher.finish()).or_insert(NO_LINK);
        let mut link = *head;
        while link != NO_LINK {
            if self.states[link as usize] == state {
                return link;
            }
            link = self.links[link as usize];
        }
        self.links.push(*head);
        *head = index;
        self.states.push(state);
        self.parents.push(parent);
        index
    }
}

/// A hasher for states of a fixed size. It is fast without optimisation, which the standard
/// one is not.
#[derive(Default)]
struct Mixer {
    mixed: u64,
    /// The bytes that are not mixed in yet, and how many they are.
    word: u64,
    bytes: u32,
}

impl Mixer {
    fn mix(&mut self, word: u64) {
        self.mixed = (self.mixed.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, mut bytes: &[u8]) {
        while let Some((word, rest)) = bytes.split_first_chunk() {
            self.mix(u64::from_le_bytes(*word));
            bytes = rest;
        }
        for &byte in bytes {
            self.write_u8(byte);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.bytes += 1;
        if self.bytes == 8 {
            self.mix(self.word);
            self.bytes = 0;
        }
    }

    /// Which variant of an enum it is.
    fn write_isize(&mut self, variant: isize) {
        self.write_u8(variant as u8);
    }

    /// How long an array is: the same in all states.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        let mut last = Self { mixed: self.mixed, ..Self::default() };
        last.mix(self.word);
        // The best bits are at the top, and a hash table uses those at the bottom too.
        last.mixed ^ (last.mixed >> 32)
    }
}

/// For keys that are hashes already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys are numbers");
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
