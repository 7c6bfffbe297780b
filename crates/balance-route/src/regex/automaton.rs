//! The automaton of an expression, as small as it can be walked fast.
//!
//! Ten thousand expressions are walked by requests that come for any of them, so what decides the speed is how many lines
//! of memory a walk touches that no cache holds. What `regex-automata` builds has four octets for each step, rows of a
//! power of two and a kilobyte around them; this has two, only the states that can still be reached behind the prefix,
//! and one column for all octets that nothing tells apart.

use std::collections::HashMap;

use regex_automata::dfa::{Automaton as _, dense};
use regex_automata::util::primitives::StateID;

/// Where a walk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State(u16);

impl State {
    /// Nothing that follows leads to a match.
    pub(super) const DEAD: Self = Self(0);
}

/// One step an octet, whatever the text is.
pub(super) struct Automaton {
    /// The column of each octet.
    columns: [u8; 256],
    /// Columns of a row, and one more that says whether the text may end there.
    width: usize,
    /// A row for each state: where an octet leads.
    rows: Box<[u16]>,
    start: State,
}

impl Automaton {
    /// What can be reached from `start`. `None` if that is more states than a `u16` can number.
    pub(super) fn extract(dense: &dense::DFA<Vec<u32>>, start: StateID) -> Option<Self> {
        let classes = dense.byte_classes();
        let octets: Vec<u8> = (classes.representatives(0..=u8::MAX))
            .filter_map(|unit| unit.as_u8())
            .collect();
        let (states, numbers) = reach(dense, start, &octets)?;

        let mut distinct: Vec<Vec<u16>> = Vec::new();
        let mut column_of_class = [0_u8; 256];
        for (column_of, octet) in column_of_class.iter_mut().zip(&octets) {
            let next = |state: &StateID| numbers[&dense.next_state(*state, *octet)];
            let column: Vec<u16> = states.iter().map(next).collect();
            let known = distinct.iter().position(|other| *other == column);
            let position = known.unwrap_or_else(|| {
                distinct.push(column);
                distinct.len() - 1
            });
            *column_of = u8::try_from(position).expect("there are at most 256 classes");
        }

        let width = distinct.len() + 1;
        let mut rows = Vec::with_capacity(states.len() * width);
        for (row, state) in states.iter().enumerate() {
            rows.extend(distinct.iter().map(|column| column[row]));
            rows.push(u16::from(
                dense.is_match_state(dense.next_eoi_state(*state)),
            ));
        }
        let mut columns = [0; 256];
        for (column, octet) in columns.iter_mut().zip(0..=u8::MAX) {
            *column = column_of_class[usize::from(classes.get(octet))];
        }
        Some(Self {
            columns,
            width,
            rows: rows.into_boxed_slice(),
            start: State(numbers[&start]),
        })
    }

    /// Cells of two octets.
    #[cfg(test)]
    pub(super) fn cells(&self) -> usize {
        self.rows.len()
    }

    /// Before the first octet.
    pub(super) fn start(&self) -> State {
        self.start
    }

    pub(super) fn next(&self, state: State, octet: u8) -> State {
        let column = usize::from(self.columns[usize::from(octet)]);
        State(self.rows[usize::from(state.0) * self.width + column])
    }

    /// Whether the text may end here.
    pub(super) fn is_match(&self, state: State) -> bool {
        self.rows[(usize::from(state.0) + 1) * self.width - 1] != 0
    }
}

/// The states from `start` on, that nothing leads to a match from as the first, and their positions.
fn reach(
    dense: &dense::DFA<Vec<u32>>,
    start: StateID,
    octets: &[u8],
) -> Option<(Vec<StateID>, HashMap<StateID, u16>)> {
    let dead = StateID::ZERO;
    let mut states = vec![dead];
    let mut numbers = HashMap::from([(dead, 0)]);
    let mut open = vec![start];
    // Depth first: what a text walks through one after the other mostly lies so.
    while let Some(state) = open.pop() {
        if numbers.contains_key(&state) {
            continue;
        }
        numbers.insert(state, u16::try_from(states.len()).ok()?);
        states.push(state);
        open.extend(octets.iter().map(|octet| dense.next_state(state, *octet)));
    }
    Some((states, numbers))
}
